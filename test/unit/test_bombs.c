/* Modules made to use a compiler up: each is compiled within the limits, or refused with a clear
 * line within them, and nothing is left behind; meanwhile the daemon goes on serving. Runs the real
 * roost-compile.
 */
#include "support/ledger_rig.h"
#include "support/wasm_build.h"

#include "base/auto.h"
#include "base/limits.h"
#include "base/sanitized.h"
#include "engine/imagecache.h"

#include <dirent.h>

#define PROGRAM ROOST_BINARY_DIR "/roost-compile"

/* --- the bombs --- */

static void repeat(struct buf *b, uint32_t n, const uint8_t *bytes, size_t len)
{
    for (uint32_t i = 0; i < n; i++)
        wasm_put(b, bytes, len);
}

/* A module of one function. */
static void one_function(struct buf *out, struct buf *body)
{
    wasm_module_of(out, body->data, body->len);
    buf_free(body);
}

/* Loops in loops: memory that grows with the square of their number. */
static void loops_in_loops(struct buf *out)
{
    struct buf body = {.data = NULL};

    repeat(&body, 100000, WASM_BYTES(0x03, 0x40));
    repeat(&body, 100000, WASM_BYTES(0x0b));
    one_function(out, &body);
}

static void blocks_in_blocks(struct buf *out)
{
    struct buf body = {.data = NULL};

    repeat(&body, 1000000, WASM_BYTES(0x02, 0x40));
    repeat(&body, 1000000, WASM_BYTES(0x0b));
    one_function(out, &body);
}

static void ifs_in_ifs(struct buf *out)
{
    struct buf body = {.data = NULL};

    repeat(&body, 300000, WASM_BYTES(0x41, 1, 0x04, 0x40));
    repeat(&body, 300000, WASM_BYTES(0x05, 0x0b));
    one_function(out, &body);
}

/* One function of millions of instructions. */
static void huge_function(struct buf *out)
{
    struct buf body = {.data = NULL};

    wasm_put(&body, WASM_BYTES(0x41, 0));
    repeat(&body, 1200000, WASM_BYTES(0x41, 0, 0x2d, 0, 0, 0x6a));
    wasm_put(&body, WASM_BYTES(0x1a));
    one_function(out, &body);
}

/* Longer than a function may be. */
static void longest_function(struct buf *out)
{
    struct buf body = {.data = NULL};

    repeat(&body, 8000000, WASM_BYTES(0x01));
    one_function(out, &body);
}

static void huge_br_table(struct buf *out)
{
    struct buf body = {.data = NULL};

    wasm_put(&body, WASM_BYTES(0x41, 0, 0x0e));
    wasm_u32(&body, 5000000);
    repeat(&body, 5000001, WASM_BYTES(0));
    one_function(out, &body);
}

/* Each of thousands of tables goes to each of hundreds of blocks. */
static void many_br_tables(struct buf *out)
{
    struct buf body = {.data = NULL};

    repeat(&body, 400, WASM_BYTES(0x02, 0x40));
    for (int k = 0; k < 4000; k++) {
        wasm_put(&body, WASM_BYTES(0x02, 0x40, 0x41, 0, 0x0e));
        wasm_u32(&body, 400);
        for (uint32_t i = 0; i <= 400; i++)
            wasm_u32(&body, i);
        wasm_put(&body, WASM_BYTES(0x0b));
    }
    repeat(&body, 400, WASM_BYTES(0x0b));
    one_function(out, &body);
}

static void many_functions(struct buf *out, uint32_t n)
{
    struct buf functions = {.data = NULL}, code = {.data = NULL};

    wasm_u32(&functions, n);
    wasm_u32(&code, n);
    repeat(&functions, n, WASM_BYTES(0));
    repeat(&code, n, WASM_BYTES(5, 0, 0x41, 1, 0x1a, 0x0b));
    wasm_begin(out);
    wasm_section(out, WASM_TYPE, WASM_BYTES(1, 0x60, 0, 0));
    wasm_section(out, WASM_FUNCTION, functions.data, functions.len);
    wasm_section(out, WASM_MEMORY, WASM_BYTES(1, 0, 1));
    wasm_section(out, WASM_CODE, code.data, code.len);
    buf_free(&functions);
    buf_free(&code);
}

static void functions_100k(struct buf *out)
{
    many_functions(out, 100000);
}

static void functions_2m(struct buf *out)
{
    many_functions(out, 2000000);
}

/* A function of n locals whose every block may change every one of them. */
static void locals(struct buf *out, uint32_t n, uint32_t blocks)
{
    struct buf body = {.data = NULL}, code = {.data = NULL};

    wasm_put(&body, WASM_BYTES(1));
    wasm_u32(&body, n);
    wasm_put(&body, WASM_BYTES(0x7e));
    for (uint32_t i = 0; i < blocks; i++) {
        wasm_put(&body, WASM_BYTES(0x03, 0x40, 0x42, 1, 0x21));
        wasm_u32(&body, i % n);
        wasm_put(&body, WASM_BYTES(0x41, 0, 0x0d, 0, 0x0b));
    }
    wasm_put(&body, WASM_BYTES(0x0b));
    wasm_put(&code, WASM_BYTES(1));
    wasm_u32(&code, (uint32_t)body.len);
    wasm_put(&code, body.data, body.len);
    wasm_begin(out);
    wasm_section(out, WASM_TYPE, WASM_BYTES(1, 0x60, 0, 0));
    wasm_section(out, WASM_FUNCTION, WASM_BYTES(1, 0));
    wasm_section(out, WASM_MEMORY, WASM_BYTES(1, 0, 1));
    wasm_section(out, WASM_CODE, code.data, code.len);
    buf_free(&body);
    buf_free(&code);
}

static void locals_50k(struct buf *out)
{
    locals(out, 50000, 20000);
}

static void locals_4g(struct buf *out)
{
    locals(out, UINT32_MAX, 1);
}

/* A memory as large as there is, with a byte at each end. */
static void far_data(struct buf *out)
{
    struct buf data = {.data = NULL};

    wasm_begin(out);
    wasm_section(out, WASM_MEMORY, WASM_BYTES(1, 0, 0x80, 0x80, 4));
    wasm_put(&data, WASM_BYTES(2, 0, 0x41, 0, 0x0b, 1, 'a', 0, 0x41, 0x7f, 0x0b, 1, 'z'));
    wasm_section(out, WASM_DATA, data.data, data.len);
    buf_free(&data);
}

static void many_types(struct buf *out)
{
    struct buf types = {.data = NULL};

    wasm_u32(&types, 3000000);
    repeat(&types, 3000000, WASM_BYTES(0x60, 0, 0));
    wasm_begin(out);
    wasm_section(out, WASM_TYPE, types.data, types.len);
    wasm_section(out, WASM_MEMORY, WASM_BYTES(1, 0, 1));
    buf_free(&types);
}

static void huge_table(struct buf *out)
{
    wasm_begin(out);
    wasm_section(out, WASM_TABLE, WASM_BYTES(1, 0x70, 0, 0xff, 0xff, 0xff, 0xff, 0x0f));
    wasm_section(out, WASM_MEMORY, WASM_BYTES(1, 0, 1));
}

/* --- each of them --- */

static const struct bomb {
    const char *name;
    void (*make)(struct buf *out);
    enum err_code code;
    const char *says;
    unsigned mib; /* of memory to compile it with; 0: 512 */
} bombs[] = {
    /* Whether the first limit met is memory or CPU time is the compiler's matter. */
    {"loops_in_loops", loops_in_loops, ERR_LIMIT, "the module needs more than ", 0},
    {"blocks_in_blocks", blocks_in_blocks, ERR_LIMIT, "the module needs more than ", 0},
    {"ifs_in_ifs", ifs_in_ifs, ERR_LIMIT, "the module needs more than ", 0},
    {"huge_function", huge_function, ERR_LIMIT, "the module needs more than ", 0},
    {"locals_50k", locals_50k, ERR_LIMIT, "the module needs more than ", 0},
    {"longest_function", longest_function, ERR_INVALID, "function body size", 0},
    {"locals_4g", locals_4g, ERR_INVALID, "too many locals", 0},
    {"huge_br_table", huge_br_table, ERR_UNSUPPORTED, "`br_table` has 5000000 targets", 0},
    {"functions_2m", functions_2m, ERR_LIMIT, "REWRITE_FUNCTIONS_MAX", 0},
    {"many_types", many_types, ERR_LIMIT, "REWRITE_TYPES_MAX", 0},
    {"huge_table", huge_table, ERR_LIMIT, "GUEST_TABLE_ELEMENTS_MAX", 0},
    {"functions_100k", functions_100k, ERR_NONE, "", 2048},
    {"many_br_tables", many_br_tables, ERR_NONE, "", 0},
    {"far_data", far_data, ERR_NONE, "", 0},
};

struct verdict {
    struct loop *loop; /* to stop, or NULL */
    struct err err;
    bool done;
};

static void done(void *ctx, const struct err *err)
{
    struct verdict *o = ctx;

    o->done = true;
    o->err = err ? *err : (struct err){.code = ERR_NONE};
    if (o->loop)
        loop_stop(o->loop);
}

static void start(struct ledgers *l, struct verdict *o, struct loop *loop, const struct bomb *bomb,
                  uint32_t cpu_s)
{
    AUTO_BUF struct buf module = {.max = MODULE_BYTES_MAX};
    char path[300], image[300];
    struct compile_opts opts = {.program = PROGRAM,
                                .module_path = path,
                                .image_path = image,
                                .memory_bytes = (bomb->mib ? bomb->mib : 512ull) * MIB,
                                .cpu_s = cpu_s};
    struct compile *c = NULL;
    struct err err = {0};
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s.wasm", l->dir.path, bomb->name);
    snprintf(image, sizeof(image), "%s/%s.image", l->dir.path, bomb->name);
    bomb->make(&module);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(module.data, 1, module.len, file), module.len);
    assert_int_equal(fclose(file), 0);
    if (compile_start(&c, loop, &opts, done, o, &err) < 0)
        fail_msg("%s", err.msg);
}

/* Its image, or something half done. */
static bool left_behind(const struct ledgers *l, const char *name)
{
    DIR *dir = opendir(l->dir.path);
    struct dirent *e;
    bool found = false;

    assert_non_null(dir);
    while ((e = readdir(dir)))
        found |= strstr(e->d_name, ".image") && !strncmp(e->d_name, name, strlen(name));
    closedir(dir);
    return found;
}

/* Under a sanitizer, whose own memory is past any limit, what needs much memory may compile. */
static const bool without_memory_limit = SANITIZED;

static void check(const struct ledgers *l, const struct bomb *b, const struct err *err)
{
    bool fine = err->code == ERR_NONE;

    if (fine && without_memory_limit && !strncmp(b->says, "the module needs", 16))
        return;
    if (err->code != b->code ||
        (!fine && (!strstr(err->msg, b->says) || !strstr(err->msg, b->name))))
        fail_msg("%s: code %d, %s", b->name, (int)err->code, err->msg);
    assert_int_equal(left_behind(l, b->name), fine);
}

static void test_each_bomb_is_refused_or_compiled(void **state)
{
    struct ledgers *l = *state;
    struct verdict o = {.loop = NULL};
    struct err err;

    assert_int_equal(loop_new(&o.loop, &err), 0);
    for (size_t i = 0; i < sizeof(bombs) / sizeof(bombs[0]); i++) {
        const struct bomb *b = &bombs[i];

        start(l, &o, o.loop, b, b->mib ? COMPILE_CPU_S_MAX : 5);
        loop_run(o.loop);
        check(l, b, &o.err);
    }
    loop_free(o.loop);
}

/* --- meanwhile --- */

static void test_guests_are_served_while_a_bomb_is_compiled(void **state)
{
    static const struct bomb bomb = {"huge_function", huge_function, ERR_LIMIT, "", 0};
    struct ledgers *l = *state;
    struct verdict o = {.loop = NULL};
    unsigned rounds = 0;
    struct guest *g;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 16, NULL);
    ledgers_round(l, g);
    start(l, &o, l->rig.loop, &bomb, 1);
    for (; !o.done; rounds++)
        ledgers_round(l, g);
    assert_int_equal(o.err.code, ERR_LIMIT);
    assert_true(rounds >= 10); /* in a second of CPU time or more */
    ledgers_check_whole(l, g);
    ledgers_check_handled(l);
    ledgers_close(l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, ledgers_setup, ledgers_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_each_bomb_is_refused_or_compiled),
        TEST(test_guests_are_served_while_a_bomb_is_compiled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
