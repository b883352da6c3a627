/* The module rewriter: what it adds, what it refuses and how it says so, and that no bytes make it
 * do anything else. Modules are made byte by byte, apart from two that are assembled from
 * test/guests/. */
#include "base/auto.h"
#include "base/limits.h"
#include "engine/rewrite.h"
#include "support/wasm_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A vector's count, an entry of which may be repeated. */
struct part {
    uint8_t id;
    const uint8_t *bytes;
    size_t n;
};

#define PART(id, ...)                                                                              \
    {                                                                                              \
        id, WASM_BYTES(__VA_ARGS__)                                                                \
    }
#define TYPE_NONE WASM_TYPE, WASM_BYTES(1, 0x60, 0, 0)

static int rewrite(struct buf *out, const struct buf *module, struct rewrite_info *info,
                   struct err *err)
{
    uint8_t *copy = malloc(module->len ? module->len : 1); /* so that a sanitizer sees its end */
    int rc;

    assert_non_null(copy);
    if (module->len)
        memcpy(copy, module->data, module->len);
    *err = (struct err){.code = ERR_NONE};
    rc = rewrite_module(out, copy, module->len, info, err);
    free(copy);
    assert_int_equal(rc == 0, err->code == ERR_NONE);
    return rc;
}

static enum err_code outcome(const struct buf *module, struct err *err)
{
    AUTO_BUF struct buf out = {.max = REWRITE_BYTES_MAX};

    rewrite(&out, module, NULL, err);
    return err->code;
}

static void expect(const struct buf *module, enum err_code code, const char *says)
{
    struct err err;

    outcome(module, &err);
    if (err.code != code || !strstr(err.msg, says))
        fail_msg("expected %s with \"%s\", got %s: %s", err_code_name(code), says,
                 err_code_name(err.code), err.msg);
}

static void load(struct buf *out, const char *name)
{
    char path[1024];
    FILE *f;
    int c;

    snprintf(path, sizeof(path), "%s/guests/%s.wasm", ROOST_BINARY_DIR, name);
    f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing: build the target guests", path);
    while ((c = fgetc(f)) != EOF) {
        uint8_t byte = (uint8_t)c;

        wasm_put(out, &byte, 1);
    }
    fclose(f);
}

/* --- instructions --- */

static const struct {
    const char *says;
    uint8_t body[12];
    size_t n;
} refused_instructions[] = {
    {"memory.discard", {0xfc, 18, 0}, 3},
    {"wide arithmetic", {0xfc, 19}, 2},
    {"relaxed SIMD", {0xfd, 0x80, 2}, 3},
    {"garbage collection", {0xfb, 0, 0}, 3},
    {"exceptions", {0x06, 0x40, 0x0b}, 3},
    {"exceptions", {0x08, 0}, 2},
    {"exceptions", {0x1f, 0x40, 0, 0x0b}, 4},
    {"exceptions", {0x0a}, 1},
    {"call_ref", {0x14, 0}, 2},
    {"call_ref", {0x15, 0}, 2},
    {"ref.as_non_null", {0xd4}, 1},
    {"stack switching", {0xe0, 0}, 2},
    {"reference type 0x6e", {0xd0, 0x6e}, 2},
    {"reference to type 0 (typed references)", {0xd0, 0}, 2},
    {"reference type 0x64", {0x02, 0x64, 0x70, 0x0b}, 4},
};

static void test_refused_instructions_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused_instructions) / sizeof(refused_instructions[0]); i++) {
        AUTO_BUF struct buf module = {.data = NULL};

        wasm_module_of(&module, refused_instructions[i].body, refused_instructions[i].n);
        expect(&module, ERR_UNSUPPORTED, refused_instructions[i].says);
        expect(&module, ERR_UNSUPPORTED, "(function 0)");
        expect(&module, ERR_UNSUPPORTED, "offset ");
    }
}

static void test_unknown_instructions_are_malformed(void **state)
{
    static const uint8_t unknown[] = {0x16, 0x17, 0x1d, 0x1e, 0x27, 0xc5, 0xcf, 0xd7, 0xe7, 0xff};
    static const uint8_t prefixed[][3] = {{0xfc, 23, 0}, {0xfc, 0xff, 1}, {0xfd, 0x94, 2},
                                          {0xfe, 4, 0},  {0xfe, 15, 0},   {0xfe, 79, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(unknown); i++) {
        AUTO_BUF struct buf module = {.data = NULL};

        wasm_module_of(&module, unknown + i, 1);
        expect(&module, ERR_INVALID, "unknown instruction");
    }
    for (size_t i = 0; i < sizeof(prefixed) / sizeof(prefixed[0]); i++) {
        AUTO_BUF struct buf module = {.data = NULL};

        wasm_module_of(&module, prefixed[i], 3);
        expect(&module, ERR_INVALID, "unknown instruction");
    }
}

static const struct {
    const char *says;
    uint8_t body[14];
    size_t n;
} malformed_instructions[] = {
    {"index is a number of more than 32 bits", {0x20, 0xff, 0xff, 0xff, 0xff, 0x1f}, 6},
    {"index is a number of more than 32 bits", {0x20, 0x80, 0x80, 0x80, 0x80, 0x80, 0}, 7},
    {"i32.const is a number of more than 32", {0x41, 0xff, 0xff, 0xff, 0xff, 0x0f}, 6},
    {"i32.const is a number of more than 32", {0x41, 0x80, 0x80, 0x80, 0x80, 0x70}, 6},
    {"i64.const is a number of more than 64",
     {0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
     11},
    {"block type is a number of more than 33", {0x02, 0x80, 0x80, 0x80, 0x80, 0x20, 0x0b}, 7},
    {"alignment", {0x28, 0x80, 1, 0}, 4},
    {"br_table's labels: 100", {0x0e, 100, 0}, 3},
    {"select's types: 9", {0x1c, 9, 0x7f}, 3},
    {"0x01 is no value type", {0x1c, 1, 0x01}, 3},
    {"0x7f is no reference type", {0xd0, 0x7f}, 2},
    {"is cut off", {0x44, 0, 0, 0, 0}, 5},
    {"is cut off", {0xfd, 12, 0, 0, 0}, 5},
};

static void test_malformed_immediates_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(malformed_instructions) / sizeof(malformed_instructions[0]);
         i++) {
        AUTO_BUF struct buf module = {.data = NULL};

        wasm_module_of(&module, malformed_instructions[i].body, malformed_instructions[i].n);
        expect(&module, ERR_INVALID, malformed_instructions[i].says);
    }
}

/* The extremes of each width are numbers. */
static void test_longest_numbers_are_read(void **state)
{
    static const uint8_t body[] = {
        0x41, 0xff, 0xff, 0xff, 0xff, 0x07, 0x1a,                               /* i32 max */
        0x41, 0x80, 0x80, 0x80, 0x80, 0x78, 0x1a,                               /* i32 min */
        0x42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x1a, /* i64 max */
        0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f, 0x1a, /* i64 min */
        0x02, 0x80, 0x80, 0x80, 0x80, 0x00, 0x0b,                               /* type 0 in full */
        0x23, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x1a,                               /* index 2^32-1 */
    };
    AUTO_BUF struct buf module = {.data = NULL};
    struct err err;

    (void)state;
    wasm_module_of(&module, body, sizeof(body));
    assert_int_equal(outcome(&module, &err), ERR_NONE);
}

static void test_body_must_end(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL};

    (void)state;
    wasm_begin(&module);
    wasm_section(&module, TYPE_NONE);
    wasm_section(&module, WASM_FUNCTION, WASM_BYTES(1, 0));
    wasm_section(&module, WASM_CODE, WASM_BYTES(1, 2, 0, 0x01));
    expect(&module, ERR_INVALID, "without an end");
}

/* --- sections --- */

static const struct {
    enum err_code code;
    const char *says;
    struct part parts[5];
} refused_modules[] = {
    {ERR_UNSUPPORTED,
     "memory \"env.m\" is imported",
     {PART(2, 1, 3, 'e', 'n', 'v', 1, 'm', 2, 0, 1)}},
    {ERR_UNSUPPORTED, "table \"e.t\" is imported", {PART(2, 1, 1, 'e', 1, 't', 1, 0x70, 0, 1)}},
    {ERR_UNSUPPORTED,
     "mutable global \"env.__sp\" is imported, as dynamic linking does",
     {PART(2, 1, 3, 'e', 'n', 'v', 4, '_', '_', 's', 'p', 3, 0x7f, 1)}},
    {ERR_UNSUPPORTED,
     "mutable global \"GOT.mem.x\" is imported",
     {PART(2, 1, 7, 'G', 'O', 'T', '.', 'm', 'e', 'm', 1, 'x', 3, 0x7f, 1)}},
    {ERR_UNSUPPORTED,
     "global \"e.h\" is imported: the host has none to give",
     {PART(2, 2, 1, 'e', 1, 'g', 3, 0x7f, 1, 1, 'e', 1, 'h', 3, 0x7f, 0)}},
    {ERR_UNSUPPORTED, "exception tag \"e.x\" is imported", {PART(2, 1, 1, 'e', 1, 'x', 4, 0, 0)}},
    {ERR_INVALID, "import \"e.?\" of unknown kind 9", {PART(2, 1, 1, 'e', 1, 7, 9, 0)}},
    {ERR_INVALID, "type 0 of 0", {PART(2, 1, 1, 'e', 1, 'f', 0, 0)}},
    {ERR_INVALID, "mutability 2", {PART(2, 1, 1, 'e', 1, 'g', 3, 0x7f, 2)}},
    {ERR_INVALID, "shared memory without a maximum", {PART(5, 1, 2, 1)}},
    {ERR_UNSUPPORTED, "shared table", {PART(4, 1, 0x70, 3, 1, 2)}},
    {ERR_UNSUPPORTED, "memory64", {PART(5, 1, 7, 1, 2)}},
    {ERR_INVALID, "minimum 3 above maximum 2", {PART(5, 1, 3, 3, 2)}},
    {ERR_INVALID, "minimum of 4294967296", {PART(5, 1, 0, 0x80, 0x80, 0x80, 0x80, 0x10)}},
    {ERR_INVALID,
     "maximum is a number of more than 64 bits",
     {PART(4, 1, 0x70, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2)}},
    {ERR_LIMIT,
     "GUEST_MEMORIES_MAX",
     {PART(5, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
           0, 0, 0, 0, 0, 0, 0)}},
    {ERR_UNSUPPORTED, "memory64", {PART(5, 1, 4, 1)}},
    {ERR_UNSUPPORTED, "its own page size", {PART(5, 1, 8, 1, 0)}},
    {ERR_INVALID, "minimum 3 above maximum 2", {PART(5, 1, 1, 3, 2)}},
    {ERR_INVALID, "more than 65536 pages", {PART(5, 1, 0, 0x81, 0x80, 4)}},
    {ERR_INVALID, "flags 0x10", {PART(5, 1, 0x10, 1)}},
    {ERR_UNSUPPORTED,
     "table with an initial value",
     {PART(4, 1, 0x40, 0, 0x70, 0, 1, 0xd0, 0x70, 0x0b)}},
    {ERR_UNSUPPORTED, "table of 64 bits", {PART(4, 1, 0x70, 4, 1)}},
    {ERR_LIMIT, "GUEST_TABLE_ELEMENTS_MAX", {PART(4, 1, 0x70, 0, 0xff, 0xff, 0xff, 0xff, 0x0f)}},
    {ERR_LIMIT,
     "GUEST_TABLES_MAX",
     {PART(4, 17, 0x70, 0, 0, 0x70, 0, 0, 0x70, 0, 0, 0x70, 0, 0, 0x70, 0, 0, 0x70, 0, 0)}},
    {ERR_UNSUPPORTED, "exception tags", {PART(13, 1, 0, 0)}},
    {ERR_UNSUPPORTED, "shared global 0", {PART(6, 1, 0x7f, 3, 0x41, 0, 0x0b)}},
    {ERR_INVALID, "in a constant expression", {PART(6, 1, 0x7f, 1, 0x20, 0, 0x0b)}},
    {ERR_INVALID,
     "in a constant expression",
     {PART(6, 1, 0x7f, 1, 0xfd, 0x0d, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x0b)}},
    {ERR_UNSUPPORTED, "type 0x4e", {PART(1, 1, 0x4e, 0)}},
    {ERR_UNSUPPORTED, "type 0x5f", {PART(1, 1, 0x5f, 0)}},
    {ERR_UNSUPPORTED, "reference type 0x63", {PART(1, 1, 0x60, 1, 0x63, 0x70, 0)}},
    {ERR_UNSUPPORTED, "exception references", {PART(1, 1, 0x60, 1, 0x69, 0)}},
    {ERR_INVALID, "0x61 is no type", {PART(1, 1, 0x61, 0, 0)}},
    {ERR_INVALID, "export of kind 2 with index 0 of 0", {PART(7, 1, 1, 'm', 2, 0)}},
    {ERR_INVALID, "export of unknown kind 7", {PART(7, 1, 1, 'm', 7, 0)}},
    {ERR_UNSUPPORTED, "exported exception tag", {PART(7, 1, 1, 'm', 4, 0)}},
    {ERR_UNSUPPORTED,
     "export \"roost:x\"",
     {PART(5, 1, 0, 1), PART(7, 1, 7, 'r', 'o', 'o', 's', 't', ':', 'x', 2, 0)}},
    {ERR_UNSUPPORTED,
     "export \"memory\" is no memory",
     {PART(6, 1, 0x7f, 0, 0x41, 0, 0x0b), PART(7, 1, 6, 'm', 'e', 'm', 'o', 'r', 'y', 3, 0)}},
    {ERR_INVALID, "start function 0 of 0", {PART(8, 0)}},
    {ERR_INVALID,
     "start function 0 has parameters",
     {PART(1, 1, 0x60, 1, 0x7f, 0), PART(3, 1, 0), PART(8, 0), PART(10, 1, 2, 0, 0x0b)}},
    {ERR_INVALID,
     "start function 0 has parameters",
     {PART(1, 1, 0x60, 0, 1, 0x7f), PART(2, 1, 1, 'e', 1, 'f', 0, 0), PART(8, 0)}},
    {ERR_INVALID, "elements of kind 1", {PART(9, 1, 3, 1, 0)}},
    {ERR_INVALID, "element segment with flags 0x8", {PART(9, 1, 8, 0, 0)}},
    {ERR_INVALID, "data segment with flags 0x3", {PART(11, 1, 3)}},
    {ERR_INVALID,
     "data segment is cut off",
     {PART(5, 1, 0, 1), PART(11, 1, 0, 0x41, 0, 0x0b, 5, 1, 2)}},
    {ERR_INVALID, "0 data segments, announced were 2", {PART(12, 2)}},
    {ERR_INVALID, "1 functions with 0 bodies", {PART(1, 1, 0x60, 0, 0), PART(3, 1, 0)}},
    {ERR_INVALID, "0 functions with 1 bodies", {PART(10, 1, 2, 0, 0x0b)}},
    {ERR_INVALID, "type 1 of 1", {PART(1, 1, 0x60, 0, 0), PART(3, 1, 1)}},
    {ERR_INVALID, "memory section twice or out of order", {PART(5, 1, 0, 1), PART(5, 1, 0, 1)}},
    {ERR_INVALID, "type section twice or out of order", {PART(5, 1, 0, 1), PART(1, 0)}},
    {ERR_INVALID, "unknown section 14", {PART(14, 0)}},
    {ERR_INVALID, "1 bytes too many", {PART(1, 0, 0)}},
    {ERR_INVALID, "types: 200 in 3 bytes", {PART(1, 0xc8, 1, 0x60, 0, 0)}},
    {ERR_INVALID,
     "function's body of 9 bytes, 2 are left",
     {PART(1, 1, 0x60, 0, 0), PART(3, 1, 0), PART(10, 1, 9, 0, 0x0b)}},
    {ERR_INVALID, "name of a custom section is cut off", {PART(0, 5, 'n')}},
    {ERR_INVALID, "name of a custom section is no UTF-8", {PART(0, 2, 0xc0, 0x80)}},
    {ERR_INVALID, "import's name is no UTF-8", {PART(2, 1, 1, 'e', 3, 0xed, 0xa0, 0x80, 0, 0)}},
    {ERR_INVALID, "export's name is no UTF-8", {PART(5, 1, 0, 1), PART(7, 1, 1, 0x80, 2, 0)}},
};

static void module_of_parts(struct buf *out, const struct part *parts, size_t n)
{
    wasm_begin(out);
    for (size_t i = 0; i < n && parts[i].bytes; i++)
        wasm_section(out, parts[i].id, parts[i].bytes, parts[i].n);
}

static void test_refused_modules_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused_modules) / sizeof(refused_modules[0]); i++) {
        AUTO_BUF struct buf module = {.data = NULL};

        module_of_parts(&module, refused_modules[i].parts, 5);
        expect(&module, refused_modules[i].code, refused_modules[i].says);
    }
}

static const struct part accepted_modules[][5] = {
    {PART(0, 1, 'x')},
    {PART(0, 9, 0xc2, 0x80, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x90, 0x93)}, /* any UTF-8 */
    /* passive segments that nothing drops */
    {PART(9, 2, 1, 0, 0, 5, 0x70, 0)},
    {PART(5, 1, 0, 1), PART(11, 2, 0, 0x41, 0, 0x0b, 0, 1, 0)},
    {PART(5, 1, 1, 0, 0)},
    {PART(5, 1, 1, 1, 0x80, 0x80, 4)},                   /* 4 GiB */
    {PART(5, 1, 1, 0x81, 0x80, 0x80, 0x80, 0x80, 0, 1)}, /* bounds have up to 64 bits */
    {PART(5, 1, 0, 1), PART(12, 1), PART(11, 1, 0, 0x41, 0, 0x0b, 1, 9)},
    {PART(5, 1, 0, 1), PART(11, 1, 2, 0, 0x41, 0, 0x0b, 1, 9)},
    {PART(1, 1, 0x60, 0, 0), PART(3, 1, 0), PART(9, 1, 3, 0, 1, 0), PART(10, 1, 2, 0, 0x0b)},
    {PART(1, 1, 0x60, 0, 0), PART(3, 1, 0), PART(9, 1, 7, 0x70, 1, 0xd2, 0, 0x0b),
     PART(10, 1, 2, 0, 0x0b)},
    {PART(4, 1, 0x70, 0, 1), PART(9, 1, 6, 0, 0x41, 0, 0x0b, 0x70, 1, 0xd0, 0x70, 0x0b)},
    {PART(4, 1, 0x70, 0, 1), PART(9, 1, 4, 0x41, 0, 0x0b, 1, 0xd0, 0x70, 0x0b)},
    /* extended constants, an imported global, a reference that does not change */
    {PART(2, 1, 1, 'e', 1, 'g', 3, 0x7f, 0),
     PART(6, 2, 0x7f, 1, 0x23, 0, 0x41, 1, 0x6a, 0x0b, 0x70, 0, 0xd0, 0x70, 0x0b)},
    /* an imported start function */
    {PART(1, 2, 0x60, 1, 0x7f, 0, 0x60, 0, 0),
     PART(2, 2, 1, 'e', 1, 'f', 0, 0, 1, 'e', 1, 's', 0, 1), PART(8, 1)},
};

/* --- what a sleep would lose --- */

static const struct {
    const char *says;
    uint8_t body[8];
    size_t n;
} changing_instructions[] = {
    {"table 0 (table.set in function 0)", {0x41, 0, 0xd0, 0x70, 0x26, 0}, 6},
    {"table 7 (table.init in function 0)", {0xfc, 12, 1, 7}, 4},
    {"table 7 (table.copy in function 0)", {0xfc, 14, 7, 1}, 4},
    {"table 3 (table.grow in function 0)", {0xfc, 15, 3}, 3},
    {"table 0 (table.fill in function 0)", {0xfc, 17, 0}, 3},
    {"table 0 (table.fill in function 0)", {0xfc, 0x91, 0x80, 0x80, 0, 0}, 6}, /* a longer LEB */
    {"element segment 3 (elem.drop in function 0)", {0xfc, 13, 3}, 3},
    {"data segment 2 (data.drop in function 0)", {0xfc, 9, 2}, 3},
    {"table 0 (table.set in function 0)", {0x26, 0, 0x26, 1}, 4}, /* one of each kind */
    {"table 0 (table.set in function 0), element segment 1 (elem.drop in function 0)",
     {0x26, 0, 0xfc, 13, 1},
     5},
    /* what changes memory, or nothing */
    {"", {0xfc, 8, 0, 0}, 4},
    {"", {0xfc, 10, 0, 0}, 4},
    {"", {0xfc, 11, 0}, 3},
    {"", {0xfc, 16, 0}, 3},
    {"", {0x25, 0}, 2},
    {"", {0xfe, 0, 2, 0}, 4},
    {"", {0xfe, 3, 0}, 3},
    {"", {0xfe, 0x4e, 3, 0}, 4},
    {"", {0x28, 0x42, 1, 0}, 4}, /* of memory 1 */
    {"", {0xfc, 10, 0, 1}, 4},
};

static void expect_unsavable(const struct buf *module, const char *says)
{
    AUTO_BUF struct buf out = {.max = REWRITE_BYTES_MAX};
    struct rewrite_info info;
    struct err err;
    char export[REWRITE_UNSAVABLE_BYTES + 32];

    if (rewrite(&out, module, &info, &err) < 0)
        fail_msg("%s: %s", says, err.msg);
    assert_string_equal(info.unsavable, says);
    snprintf(export, sizeof(export), REWRITE_UNSAVABLE "%s", says);
    if (says[0] && info.memories)
        assert_non_null(memmem(out.data, out.len, export, strlen(export)));
    else
        assert_null(memmem(out.data, out.len, REWRITE_UNSAVABLE, strlen(REWRITE_UNSAVABLE)));
}

static void test_instructions_that_a_sleep_undoes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(changing_instructions) / sizeof(changing_instructions[0]); i++) {
        AUTO_BUF struct buf module = {.data = NULL};

        wasm_module_of(&module, changing_instructions[i].body, changing_instructions[i].n);
        expect_unsavable(&module, changing_instructions[i].says);
    }
}

static const struct {
    const char *says;
    struct part parts[5];
} losing_modules[] = {
    {"2 memories", {PART(5, 2, 0, 1, 0, 1)}},
    {"shared memory", {PART(5, 1, 3, 1, 2)}},
    {"2 memories, shared memory", {PART(5, 2, 0, 1, 3, 1, 2)}},
    {"global 1 is a mutable reference",
     {PART(5, 1, 0, 1), PART(6, 2, 0x7f, 1, 0x41, 0, 0x0b, 0x70, 1, 0xd0, 0x70, 0x0b)}},
    {"global 0 is a mutable reference", {PART(6, 1, 0x70, 1, 0xd0, 0x70, 0x0b)}},
    {"", {PART(5, 1, 0, 1), PART(6, 1, 0x70, 0, 0xd0, 0x70, 0x0b)}},
};

static void test_state_that_a_sleep_loses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(losing_modules) / sizeof(losing_modules[0]); i++) {
        AUTO_BUF struct buf module = {.data = NULL};

        module_of_parts(&module, losing_modules[i].parts, 5);
        expect_unsavable(&module, losing_modules[i].says);
    }
}

/* All kinds at once fit into the text. */
static void test_all_kinds_are_named(void **state)
{
    static const char says[] =
        "2 memories, shared memory, global 0 is a mutable reference, table 4294967295 (table.init "
        "in function 0), element segment 4294967295 (elem.drop in function 0), data segment "
        "4294967295 (data.drop in function 0)";
#define LARGE 0xff, 0xff, 0xff, 0xff, 0x0f
    AUTO_BUF struct buf module = {.data = NULL};

    (void)state;
    wasm_begin(&module);
    wasm_section(&module, TYPE_NONE);
    wasm_section(&module, WASM_FUNCTION, WASM_BYTES(1, 0));
    wasm_section(&module, WASM_MEMORY, WASM_BYTES(2, 3, 1, 2, 0, 1));
    wasm_section(&module, WASM_GLOBAL, WASM_BYTES(1, 0x70, 1, 0xd0, 0x70, 0x0b));
    wasm_code(&module, WASM_BYTES(0xfc, 12, 0, LARGE, 0xfc, 13, LARGE, 0xfc, 9, LARGE));
    expect_unsavable(&module, says);
}

/* The flags become those of a plain memory, all else is as it was; further memories are exported.
 */
static void test_shared_memories_become_plain(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL}, out = {.data = NULL};
    struct rewrite_info info;
    struct err err;

    (void)state;
    wasm_begin(&module);
    wasm_section(&module, WASM_MEMORY, WASM_BYTES(3, 3, 1, 3, 0, 3, 3, 3, 0x83, 0));
    assert_int_equal(rewrite(&out, &module, &info, &err), 0);
    assert_int_equal(info.memories, 3);
    assert_int_equal(info.memory_min, 1);
    assert_int_equal(info.memory_max, 3);
    assert_non_null(memmem(out.data, out.len, "\5\x0a\3\1\1\3\0\3\1\3\x83\0", 12));
    assert_non_null(memmem(out.data, out.len, "\x0eroost:memory:1\2\1", 17));
    assert_non_null(memmem(out.data, out.len, "\x0eroost:memory:2\2\2", 17));
}

static void test_what_a_sleep_keeps_is_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(accepted_modules) / sizeof(accepted_modules[0]); i++) {
        AUTO_BUF struct buf module = {.data = NULL};
        struct err err;

        module_of_parts(&module, accepted_modules[i], 5);
        if (outcome(&module, &err) != ERR_NONE)
            fail_msg("module %zu: %s", i, err.msg);
        expect_unsavable(&module, "");
    }
}

/* --- limits --- */

static void repeat(struct buf *module, uint8_t id, uint32_t count, const uint8_t *entry, size_t n)
{
    AUTO_BUF struct buf section = {.data = NULL};

    wasm_u32(&section, count);
    for (uint32_t i = 0; i < count; i++)
        wasm_put(&section, entry, n);
    wasm_section(module, id, section.data, section.len);
}

static void test_limits_are_named(void **state)
{
    static const struct {
        uint8_t id;
        uint32_t limit;
        const char *name;
        uint8_t entry[8];
        size_t n;
    } limits[] = {
        {WASM_TYPE, REWRITE_TYPES_MAX, "REWRITE_TYPES_MAX", {0x60, 0, 0}, 3},
        {WASM_IMPORT, REWRITE_IMPORTS_MAX, "REWRITE_IMPORTS_MAX", {0, 0, 0, 0}, 4},
        {WASM_FUNCTION, REWRITE_FUNCTIONS_MAX, "REWRITE_FUNCTIONS_MAX", {0}, 1},
        {WASM_GLOBAL, REWRITE_GLOBALS_MAX, "REWRITE_GLOBALS_MAX", {0x7f, 1, 0x41, 0, 0x0b}, 5},
        {WASM_EXPORT, REWRITE_EXPORTS_MAX, "REWRITE_EXPORTS_MAX", {1, 'x', 2, 0}, 4},
        {WASM_ELEMENT, REWRITE_SEGMENTS_MAX, "REWRITE_SEGMENTS_MAX", {0, 0x41, 0, 0x0b, 0}, 5},
        {WASM_CODE, REWRITE_FUNCTIONS_MAX, "REWRITE_FUNCTIONS_MAX", {2, 0, 0x0b}, 3},
        {WASM_DATA, REWRITE_SEGMENTS_MAX, "REWRITE_SEGMENTS_MAX", {0, 0x41, 0, 0x0b, 0}, 5},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        AUTO_BUF struct buf module = {.data = NULL};

        wasm_begin(&module);
        if (limits[i].id > WASM_TYPE)
            wasm_section(&module, TYPE_NONE);
        if (limits[i].id == WASM_EXPORT)
            wasm_section(&module, WASM_MEMORY, WASM_BYTES(1, 0, 1));
        repeat(&module, limits[i].id, limits[i].limit + 1, limits[i].entry, limits[i].n);
        expect(&module, ERR_LIMIT, limits[i].name);
    }
}

static void test_most_globals_are_exported(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL}, out = {.data = NULL};
    struct rewrite_info info;
    struct err err;

    (void)state;
    wasm_begin(&module);
    repeat(&module, WASM_GLOBAL, REWRITE_GLOBALS_MAX, WASM_BYTES(0x7f, 1, 0x41, 0, 0x0b));
    assert_int_equal(rewrite(&out, &module, &info, &err), 0);
    assert_int_equal(info.mutable_globals, REWRITE_GLOBALS_MAX);
    assert_non_null(memmem(out.data, out.len, "roost:global:4095\3\xff\x1f", 20));
}

static void test_exports_that_are_added_count(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL};

    (void)state;
    wasm_begin(&module);
    wasm_section(&module, WASM_MEMORY, WASM_BYTES(1, 0, 1));
    repeat(&module, WASM_EXPORT, REWRITE_EXPORTS_MAX, WASM_BYTES(1, 'x', 2, 0));
    expect(&module, ERR_LIMIT, "mutable globals included: 20001");
}

static void test_long_names_and_many_customs(void **state)
{
    AUTO_BUF struct buf name = {.data = NULL}, named = {.data = NULL}, customs = {.data = NULL};

    (void)state;
    wasm_u32(&name, 1);
    wasm_u32(&name, REWRITE_NAME_BYTES_MAX + 1);
    for (uint32_t i = 0; i <= REWRITE_NAME_BYTES_MAX; i++)
        wasm_put(&name, WASM_BYTES('n'));
    wasm_begin(&named);
    wasm_section(&named, WASM_IMPORT, name.data, name.len);
    expect(&named, ERR_LIMIT, "REWRITE_NAME_BYTES_MAX");
    wasm_begin(&customs);
    for (uint32_t i = 0; i <= REWRITE_CUSTOM_SECTIONS_MAX; i++)
        wasm_section(&customs, 0, WASM_BYTES(1, 'c'));
    expect(&customs, ERR_LIMIT, "REWRITE_CUSTOM_SECTIONS_MAX");
}

static void test_module_bytes(void **state)
{
    uint8_t *huge = calloc(1, MODULE_BYTES_MAX + 1);
    AUTO_BUF struct buf out = {.data = NULL};
    struct err err = {0};

    (void)state;
    assert_non_null(huge);
    assert_int_equal(rewrite_module(&out, huge, MODULE_BYTES_MAX + 1, NULL, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "MODULE_BYTES_MAX"));
    free(huge);
}

static void test_output_that_does_not_fit_leaves_the_buffer(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL}, out = {.max = 40};
    struct err err;

    (void)state;
    load(&module, "globals");
    wasm_put(&out, WASM_BYTES('k', 'e', 'p', 't'));
    assert_int_equal(rewrite(&out, &module, NULL, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(out.len, 4);
    assert_memory_equal(out.data, "kept", 4);
}

/* --- what is not a module --- */

static void test_other_files_are_recognised(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        enum err_code code;
        const char *says;
    } files[] = {
        {"", 0, ERR_INVALID, "no WebAssembly module"},
        {"\0asm\1\0\0", 7, ERR_INVALID, "no WebAssembly module"},
        {"\x7f"
         "ELF\2\1\1\0\0",
         9, ERR_INVALID, "no WebAssembly module"},
        {"(module)", 8, ERR_INVALID, "wat2wasm"},
        {"\0asm\x0d\0\1\0", 8, ERR_UNSUPPORTED, "component; Roost runs core modules: build for"},
        {"\0asm\x0e\0\1\0\0\1", 10, ERR_UNSUPPORTED, "component"},
        {"\0asm\1\0\2\0", 8, ERR_UNSUPPORTED, "version 1.2"},
        {"\0asm\2\0\0\0", 8, ERR_UNSUPPORTED, "version 2.0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        AUTO_BUF struct buf file = {.data = NULL};

        wasm_put(&file, (const uint8_t *)files[i].bytes, files[i].n);
        expect(&file, files[i].code, files[i].says);
    }
}

/* --- what comes out --- */

static void test_globals_memory_and_start_are_exported(void **state)
{
    static const char *const added[] = {"\6memory\2",
                                        "\x0broost:start\0",
                                        "\x0eroost:global:1\3\1",
                                        "\x0eroost:global:5\3\5",
                                        "\x0eroost:global:6\3\6",
                                        "\5named\3\6",
                                        "\4bump\0\1"};
    AUTO_BUF struct buf module = {.data = NULL}, out = {.data = NULL};
    struct rewrite_info info;
    struct err err;

    (void)state;
    load(&module, "globals");
    assert_int_equal(rewrite(&out, &module, &info, &err), 0);
    assert_int_equal(info.mutable_globals, 6);
    assert_int_equal(info.memory_min, 2);
    assert_int_equal(info.memory_max, 16);
    assert_true(info.had_start);
    for (size_t i = 0; i < sizeof(added) / sizeof(added[0]); i++) {
        size_t n = 1 + (size_t)added[i][0] + 1; /* length, name, kind; the index may be 0 */

        assert_non_null(memmem(out.data, out.len, added[i], n));
    }
    assert_null(memmem(out.data, out.len, "roost:global:0", 14)); /* it never changes */
    /* A start section would be run at each instantiation, so at each wake. */
    assert_null(memmem(out.data, out.len, "\x08\x01\x00\x0a", 4));
    assert_non_null(memmem(module.data, module.len, "\x08\x01\x00\x0a", 4));
}

/* All that is not the export section is copied as it is. */
static void test_the_rest_is_untouched(void **state)
{
    static const uint8_t exports[] = {1, 1, 'm', 2, 0};
    static const uint8_t rewritten[] = {3,   1,   'm', 2,   0,   6,   'm', 'e', 'm', 'o', 'r',
                                        'y', 2,   0,   14,  'r', 'o', 'o', 's', 't', ':', 'g',
                                        'l', 'o', 'b', 'a', 'l', ':', '0', 3,   0};
    AUTO_BUF struct buf module = {.data = NULL}, out = {.data = NULL}, want = {.data = NULL};
    struct buf *both[] = {&module, &want};
    struct err err;

    (void)state;
    for (int i = 0; i < 2; i++) {
        wasm_begin(both[i]);
        wasm_section(both[i], TYPE_NONE);
        wasm_section(both[i], WASM_FUNCTION, WASM_BYTES(1, 0));
        wasm_section(both[i], WASM_MEMORY, WASM_BYTES(1, 0, 1));
        wasm_section(both[i], WASM_GLOBAL, WASM_BYTES(1, 0x7f, 1, 0x41, 0, 0x0b));
        wasm_section(both[i], WASM_EXPORT, i ? rewritten : exports,
                     i ? sizeof(rewritten) : sizeof(exports));
        if (i == 0) {
            wasm_section(both[i], 0, WASM_BYTES(9, 'p', 'r', 'o', 'd', 'u', 'c', 'e', 'r', 's', 0));
            wasm_section(both[i], 0, WASM_BYTES(5, 'n', 'a', 'm', 'e', 's', 0));
        }
        wasm_code(both[i], WASM_BYTES(0x01));
        wasm_section(both[i], 0, WASM_BYTES(4, 'n', 'a', 'm', 'e', 1, 2, 3));
    }
    wasm_put(&out, WASM_BYTES('x'));
    assert_int_equal(rewrite(&out, &module, NULL, &err), 0);
    assert_int_equal(out.len, want.len + 1);
    assert_memory_equal(out.data + 1, want.data, want.len);
}

/* Imported mutable globals come first among those that are defined, so no index changes. */
static void test_imported_mutable_globals_become_its_own(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL}, out = {.data = NULL}, want = {.data = NULL};
    struct rewrite_info info;
    struct err err;

    (void)state;
    wasm_begin(&module);
    wasm_section(&module, TYPE_NONE);
    wasm_section(&module, WASM_IMPORT,
                 WASM_BYTES(4, 1, 'e', 1, 'i', 3, 0x7f, 1, 1, 'e', 1, 'f', 0, 0, 1, 'e', 1, 'd', 3,
                            0x7c, 1, 1, 'e', 1, 'v', 3, 0x7b, 1));
    wasm_section(&module, WASM_GLOBAL, WASM_BYTES(1, 0x7e, 0, 0x42, 7, 0x0b));
    wasm_begin(&want);
    wasm_section(&want, TYPE_NONE);
    wasm_section(&want, WASM_IMPORT, WASM_BYTES(1, 1, 'e', 1, 'f', 0, 0));
    wasm_section(&want, WASM_GLOBAL,
                 WASM_BYTES(4, 0x7f, 1, 0x41, 0, 0x0b, 0x7c, 1, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b,
                            0x7b, 1, 0xfd, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b,
                            0x7e, 0, 0x42, 7, 0x0b));
    assert_int_equal(rewrite(&out, &module, &info, &err), 0);
    assert_int_equal(info.owned_globals, 3);
    assert_int_equal(info.mutable_globals, 3);
    assert_true(out.len > want.len);
    assert_memory_equal(out.data, want.data, want.len);
    for (int i = 0; i < 4; i++) {
        char name[] = "roost:global:0";

        name[13] = (char)(name[13] + i);
        assert_int_equal(memmem(out.data, out.len, name, 14) != NULL, i < 3);
    }
}

/* Also where it has no globals of its own, and where one is a reference, which is lost. */
static void test_imported_mutable_globals_alone(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL}, out = {.data = NULL}, want = {.data = NULL};
    struct rewrite_info info;
    struct err err;

    (void)state;
    wasm_begin(&module);
    wasm_section(&module, WASM_IMPORT,
                 WASM_BYTES(2, 1, 'e', 1, 'r', 3, 0x70, 1, 1, 'e', 1, 'i', 3, 0x7e, 1));
    wasm_section(&module, WASM_MEMORY, WASM_BYTES(1, 0, 1));
    wasm_begin(&want);
    wasm_section(&want, WASM_IMPORT, WASM_BYTES(0));
    wasm_section(&want, WASM_MEMORY, WASM_BYTES(1, 0, 1));
    wasm_section(&want, WASM_GLOBAL,
                 WASM_BYTES(2, 0x70, 1, 0xd0, 0x70, 0x0b, 0x7e, 1, 0x42, 0, 0x0b));
    assert_int_equal(rewrite(&out, &module, &info, &err), 0);
    assert_memory_equal(out.data, want.data, want.len);
    assert_int_equal(info.mutable_globals, 1);
    assert_string_equal(info.unsavable, "global 0 is a mutable reference");
}

static uint32_t pieces_of(const uint8_t *body, size_t n, struct buf *out)
{
    AUTO_BUF struct buf module = {.data = NULL};
    struct rewrite_info info;
    struct err err;

    wasm_module_of(&module, body, n);
    out->len = 0;
    assert_int_equal(rewrite(out, &module, &info, &err), 0);
    return info.pieces;
}

/* What it does when it runs: test/spec/test_bulk.c. */
static void test_long_instructions_are_calls(void **state)
{
    static const uint8_t three[] = {0x41, 0,    0x41, 0,    0x20, 0, 0xfc, 11, 0, 0x41, 0, 0x41,
                                    0,    0x20, 0,    0xfc, 11,   0, 0xfc, 10, 0, 0x80, 0};
    static const uint8_t calls[] = {0x41, 0, 0x41, 0, 0x20, 0, 0x10, 1, 0x41, 0,
                                    0x41, 0, 0x20, 0, 0x10, 1, 0x10, 2, 0x0b};
    AUTO_BUF struct buf out = {.max = REWRITE_BYTES_MAX};

    (void)state;
    assert_int_equal(pieces_of(three, sizeof(three), &out), 2);
    assert_non_null(memmem(out.data, out.len, calls, sizeof(calls)));
    /* of 256 KiB, of one more, where something is between, of memories that there are not */
    assert_int_equal(pieces_of(WASM_BYTES(0x41, 0x80, 0x80, 0x10, 0xfc, 11, 0), &out), 0);
    assert_int_equal(pieces_of(WASM_BYTES(0x41, 0x81, 0x80, 0x10, 0xfc, 11, 0), &out), 1);
    assert_int_equal(pieces_of(WASM_BYTES(0x41, 0x7f, 0xfc, 11, 0), &out), 1);
    assert_int_equal(pieces_of(WASM_BYTES(0x41, 5, 0x0b, 0xfc, 11, 0), &out), 1);
    assert_int_equal(pieces_of(WASM_BYTES(0x20, 0, 0xfc, 11, 1, 0xfc, 10, 0, 3), &out), 0);
}

static void test_memory_that_is_exported_is_not_again(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL}, out = {.data = NULL};
    struct err err;

    (void)state;
    wasm_begin(&module);
    wasm_section(&module, WASM_MEMORY, WASM_BYTES(1, 0, 1));
    wasm_section(&module, WASM_EXPORT, WASM_BYTES(1, 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0));
    assert_int_equal(rewrite(&out, &module, NULL, &err), 0);
    assert_int_equal(out.len, module.len);
    assert_memory_equal(out.data, module.data, out.len);
}

static void test_module_without_memory(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL}, out = {.data = NULL};
    struct rewrite_info info;
    struct err err;

    (void)state;
    wasm_begin(&module);
    assert_int_equal(rewrite(&out, &module, &info, &err), 0);
    assert_int_equal(out.len, 8);
    assert_int_equal(info.memory_min, 0);
    assert_int_equal(info.mutable_globals, 0);
    assert_false(info.had_start);
}

static void test_every_instruction_is_read(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL}, out = {.data = NULL};
    struct rewrite_info info;
    struct err err;

    (void)state;
    load(&module, "instructions");
    if (rewrite(&out, &module, &info, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(info.mutable_globals, 5);
    assert_int_equal(info.memory_max, 38);
}

static void test_rewritten_module_is_refused(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL}, once = {.data = NULL};
    struct err err;

    (void)state;
    load(&module, "globals");
    assert_int_equal(rewrite(&once, &module, NULL, &err), 0);
    expect(&once, ERR_UNSUPPORTED, "export \"roost:start\"");
    expect(&once, ERR_UNSUPPORTED, "before it was rewritten");
}

/* --- damage --- */

/* Offsets at which a section begins: a module cut there may be whole. */
static bool section_begins_at(const struct buf *module, size_t offset)
{
    size_t at = 8;

    while (at < offset) {
        uint32_t len = 0;
        unsigned shift = 0;
        uint8_t byte;

        at++;
        do {
            byte = module->data[at++];
            len |= (uint32_t)(byte & 0x7f) << shift;
            shift += 7;
        } while (byte & 0x80);
        at += len;
    }
    return at == offset;
}

static void test_truncated_anywhere_is_malformed(void **state)
{
    static const char *const names[] = {"instructions", "globals"};
    size_t whole = 0, cut = 0;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        AUTO_BUF struct buf module = {.data = NULL};
        size_t len;

        load(&module, names[i]);
        len = module.len;
        for (module.len = 0; module.len < len; module.len++) {
            struct err err;

            if (outcome(&module, &err) == ERR_INVALID)
                cut++;
            else if (err.code == ERR_NONE && section_begins_at(&module, module.len))
                whole++;
            else
                fail_msg("%s cut at %zu: %s %s", names[i], module.len, err_code_name(err.code),
                         err.msg);
        }
    }
    assert_true(cut > 4000);
    assert_true(whole < 20);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* What comes out of a damaged module that is accepted is never accepted again. */
static void test_damaged_modules_end_well(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL}, damaged = {.data = NULL};
    uint32_t seed = 1, accepted = 0, refused = 0;

    (void)state;
    load(&module, "instructions");
    for (int round = 0; round < 20000; round++) {
        AUTO_BUF struct buf out = {.data = NULL};
        struct err err;

        damaged.len = 0;
        wasm_put(&damaged, module.data, module.len);
        for (uint32_t n = 1 + next_random(&seed) % 3; n > 0; n--)
            damaged.data[next_random(&seed) % damaged.len] = (uint8_t)next_random(&seed);
        if (rewrite(&out, &damaged, NULL, &err) < 0) {
            assert_true(err.code == ERR_INVALID || err.code == ERR_UNSUPPORTED ||
                        err.code == ERR_LIMIT);
            assert_int_equal(out.len, 0);
            refused++;
            continue;
        }
        accepted++;
        assert_int_not_equal(outcome(&out, &err), ERR_NONE);
    }
    assert_true(accepted > 100);
    assert_true(refused > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_instructions_are_named),
        cmocka_unit_test(test_unknown_instructions_are_malformed),
        cmocka_unit_test(test_malformed_immediates_are_found),
        cmocka_unit_test(test_longest_numbers_are_read),
        cmocka_unit_test(test_body_must_end),
        cmocka_unit_test(test_refused_modules_are_named),
        cmocka_unit_test(test_what_a_sleep_keeps_is_accepted),
        cmocka_unit_test(test_instructions_that_a_sleep_undoes),
        cmocka_unit_test(test_state_that_a_sleep_loses),
        cmocka_unit_test(test_all_kinds_are_named),
        cmocka_unit_test(test_shared_memories_become_plain),
        cmocka_unit_test(test_limits_are_named),
        cmocka_unit_test(test_most_globals_are_exported),
        cmocka_unit_test(test_exports_that_are_added_count),
        cmocka_unit_test(test_long_names_and_many_customs),
        cmocka_unit_test(test_module_bytes),
        cmocka_unit_test(test_output_that_does_not_fit_leaves_the_buffer),
        cmocka_unit_test(test_other_files_are_recognised),
        cmocka_unit_test(test_globals_memory_and_start_are_exported),
        cmocka_unit_test(test_the_rest_is_untouched),
        cmocka_unit_test(test_imported_mutable_globals_become_its_own),
        cmocka_unit_test(test_imported_mutable_globals_alone),
        cmocka_unit_test(test_long_instructions_are_calls),
        cmocka_unit_test(test_memory_that_is_exported_is_not_again),
        cmocka_unit_test(test_module_without_memory),
        cmocka_unit_test(test_every_instruction_is_read),
        cmocka_unit_test(test_rewritten_module_is_refused),
        cmocka_unit_test(test_truncated_anywhere_is_malformed),
        cmocka_unit_test(test_damaged_modules_end_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
