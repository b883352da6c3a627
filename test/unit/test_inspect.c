/* `roost inspect`: what it says of modules, and of files that are none; nothing is left behind. */
#include "cli/cli.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
    struct tmp_dir dir;
    int status;
    char *out, *errors;
};

/* $TMPDIR is the test's own folder meanwhile. */
static char outside[256];

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){.status = -1};
    *state = &f;
    setenv("ROOST_COMPILE", ROOST_BINARY_DIR "/roost-compile", 1);
    snprintf(outside, sizeof(outside), "%s", tmp_base());
    if (tmp_dir_make(&f.dir) < 0)
        return -1;
    return setenv("TMPDIR", f.dir.path, 1);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    free(f->out);
    free(f->errors);
    setenv("TMPDIR", outside, 1);
    /* Of what inspect makes there nothing is left: rmdir would fail. */
    return rmdir(f->dir.path);
}

static void run_verb(struct fixture *f, const char *verb, const char *file, const char *option)
{
    char *argv[] = {(char *)(uintptr_t) "roost", (char *)(uintptr_t)verb, (char *)(uintptr_t)file,
                    (char *)(uintptr_t)option, NULL};
    FILE *real_out = stdout, *real_errors = stderr;
    size_t out_len, errors_len;

    free(f->out);
    free(f->errors);
    stdout = open_memstream(&f->out, &out_len);
    stderr = open_memstream(&f->errors, &errors_len);
    f->status = cli_run(option ? 4 : file ? 3 : 2, argv);
    fclose(stdout);
    fclose(stderr);
    stdout = real_out;
    stderr = real_errors;
}

static void run(struct fixture *f, const char *file, const char *option)
{
    run_verb(f, "inspect", file, option);
}

static json_t *inspect(struct fixture *f, const char *module)
{
    char path[512];
    json_t *doc;

    snprintf(path, sizeof(path), "%s/guests/%s.wasm", ROOST_BINARY_DIR, module);
    run(f, path, "-ojson");
    assert_string_equal(f->errors, "");
    assert_int_equal(f->status, 0);
    doc = json_loads(f->out, 0, NULL);
    assert_non_null(doc);
    assert_string_equal(cli_text(doc, "file"), path);
    assert_int_equal(strlen(cli_text(doc, "sha256")), 64);
    assert_true(cli_count(doc, "moduleBytes") > 0);
    assert_true(cli_count(doc, "imageBytes") > 4096);
    return doc;
}

/* "module.name: type" or "name: type" is in the list. */
static bool lists(const json_t *doc, const char *list, const char *says)
{
    char text[512];
    json_t *item;
    size_t i;

    json_array_foreach(json_object_get(doc, list), i, item)
    {
        const char *module = cli_text(item, "module");

        snprintf(text, sizeof(text), "%s%s%s: %s", module, *module ? "." : "",
                 cli_text(item, "name"), cli_text(item, "type"));
        if (!strcmp(text, says))
            return true;
    }
    return false;
}

static void test_a_guest(void **state)
{
    json_t *doc = inspect(*state, "ring");

    assert_string_equal(cli_text(doc, "sleepMode"), "auto");
    assert_string_equal(cli_text(doc, "whySleepless"), "");
    assert_string_equal(cli_text(doc, "problem"), "");
    assert_int_equal(cli_count(doc, "memories"), 1);
    assert_int_equal(cli_count(doc, "mutableGlobals"), 1);
    assert_true(json_is_false(json_object_get(doc, "startSection")));
    assert_true(cli_count(json_object_get(doc, "memory"), "minBytes") >= 65536);
    assert_null(json_object_get(json_object_get(doc, "memory"), "maxBytes"));
    assert_true(lists(doc, "imports", "roost.log: (i32, i32, i32) -> i32"));
    assert_true(lists(doc, "imports", "wasi_snapshot_preview1.proc_exit: (i32) -> ()"));
    assert_true(lists(doc, "exports", "handle: () -> i32"));
    assert_true(lists(doc, "exports", "_initialize: () -> ()"));
    json_decref(doc);
}

static void test_what_a_sleep_would_lose(void **state)
{
    json_t *doc = inspect(*state, "shared");

    assert_string_equal(cli_text(doc, "sleepMode"), "never");
    assert_string_equal(cli_text(doc, "whySleepless"),
                        "shared memory, data segment 0 (data.drop in function 0)");
    assert_string_equal(cli_text(doc, "problem"), "");
    assert_true(json_is_true(json_object_get(doc, "startSection")));
    assert_int_equal(cli_count(json_object_get(doc, "memory"), "minBytes"), 65536);
    assert_int_equal(cli_count(json_object_get(doc, "memory"), "maxBytes"), 4 * 65536);
    assert_true(lists(doc, "exports", "memory: memory of 1 to 4 pages"));
    assert_int_equal(json_array_size(json_object_get(doc, "exports")), 3);
    json_decref(doc);
    doc = inspect(*state, "memories");
    assert_int_equal(cli_count(doc, "memories"), 2);
    assert_string_equal(cli_text(doc, "whySleepless"), "2 memories");
    json_decref(doc);
}

/* The daemon's own words; and every type has a name. */
static void test_what_could_not_be_deployed(void **state)
{
    json_t *doc = inspect(*state, "vector");

    assert_non_null(strstr(cli_text(doc, "problem"), "no function `handle() -> i32` is exported"));
    assert_true(lists(doc, "exports", "handle: () -> v128"));
    assert_true(lists(doc, "exports", "other: (i64, f32, f64) -> (funcref, i32)"));
    json_decref(doc);
    doc = inspect(*state, "stray");
    assert_non_null(strstr(cli_text(doc, "problem"), "env"));
    assert_non_null(strstr(cli_text(doc, "problem"), "sbrk"));
    assert_true(lists(doc, "imports", "env.sbrk: (i32) -> i64"));
    json_decref(doc);
    doc = inspect(*state, "globals");
    assert_non_null(strstr(cli_text(doc, "problem"), "no function `roost_abi_1`"));
    assert_true(lists(doc, "exports", "named: i32, mutable"));
    assert_int_equal(cli_count(doc, "mutableGlobals"), 6);
    json_decref(doc);
}

static void test_for_people(void **state)
{
    struct fixture *f = *state;

    run(f, ROOST_BINARY_DIR "/guests/memories.wasm", NULL);
    assert_int_equal(f->status, 0);
    assert_non_null(strstr(f->out, "Sleep mode:        never\n"));
    assert_non_null(strstr(f->out, "Why sleepless:     2 memories\n"));
    assert_non_null(strstr(f->out, "  handle        () -> i32\n"));
    assert_null(strstr(f->out, "Problem"));
}

static void expect_error(struct fixture *f, const char *bytes, size_t n, int status,
                         const char *says)
{
    char path[300];
    FILE *file;

    snprintf(path, sizeof(path), "%s/module.wasm", f->dir.path);
    file = fopen(path, "wbe");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    run(f, path, NULL);
    unlink(path);
    assert_string_equal(f->out, "");
    if (f->status != status || !strstr(f->errors, says) || strchr(f->errors, '\n')[1])
        fail_msg("status %d: %s", f->status, f->errors);
}

static void test_what_is_no_module(void **state)
{
    static const char component[] = "\0asm\x0d\0\1\0", broken[] = "\0asm\1\0\0\0\1\5\1";
    struct fixture *f = *state;

    expect_error(f, component, 8, 16,
                 "component; Roost runs core modules: build for wasm32-wasip1");
    expect_error(f, broken, 11, 3, "module.wasm: offset ");
    expect_error(f, "(module)", 8, 3, "wat2wasm");
    expect_error(f, "", 0, 3, "no WebAssembly module");
    run(f, "nothing-here.wasm", NULL);
    assert_int_equal(f->status, 4);
    assert_string_equal(f->errors,
                        "roost: module nothing-here.wasm: open: No such file or directory\n");
    run(f, f->dir.path, NULL);
    assert_int_equal(f->status, 3);
    assert_non_null(strstr(f->errors, "this is no regular file"));
}

/* Into the state directory, where the daemon looks; a second time there is nothing to do. */
static void test_compile(void **state)
{
    struct fixture *f = *state;
    char module[512], option[512], image[1024];
    char *end;

    snprintf(module, sizeof(module), "%s/guests/nothing.wasm", ROOST_BINARY_DIR);
    snprintf(option, sizeof(option), "--state=%s", f->dir.path);
    run_verb(f, "compile", module, option);
    assert_string_equal(f->errors, "");
    assert_int_equal(f->status, 0);
    end = strstr(f->out, " compiled, ");
    assert_non_null(end);
    snprintf(image, sizeof(image), "%.*s", (int)(end - f->out), f->out);
    assert_int_equal(strncmp(image, f->dir.path, strlen(f->dir.path)), 0);
    assert_int_equal(access(image, R_OK), 0);
    run_verb(f, "compile", module, option);
    assert_int_equal(f->status, 0);
    assert_non_null(strstr(f->out, " unchanged\n"));
    assert_int_equal(unlink(image), 0);
    *strrchr(image, '/') = 0;
    assert_int_equal(rmdir(image), 0);
    run_verb(f, "compile", "nothing-here.wasm", option);
    assert_int_equal(f->status, 4);
    run_verb(f, "compile", NULL, NULL);
    assert_int_equal(f->status, 2);
}

static void test_wrong_usage(void **state)
{
    struct fixture *f = *state;

    run(f, NULL, NULL);
    assert_int_equal(f->status, 2);
    assert_string_equal(f->errors, "roost: inspect takes one module (`roost inspect FILE.wasm`)\n");
    run(f, "a.wasm", "b.wasm");
    assert_int_equal(f->status, 2);
    run(f, "a.wasm", "-owide");
    assert_string_equal(f->errors, "roost: --output wide: must be one of table, json, yaml\n");
    run(f, "--help", NULL);
    assert_int_equal(f->status, 0);
    assert_non_null(strstr(f->out, "roost inspect ring.wasm -o json"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_guest),
        TEST(test_what_a_sleep_would_lose),
        TEST(test_what_could_not_be_deployed),
        TEST(test_for_people),
        TEST(test_what_is_no_module),
        TEST(test_compile),
        TEST(test_wrong_usage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
