/* roost-compile from end to end: its images load in the runtime that the daemon has, its errors
 * come back as they were, bombs end within the limits, and nothing is left behind. Runs the real
 * program.
 */
#include "base/auto.h"
#include "base/limits.h"
#include "engine/config.h"
#include "engine/imagecache.h"
#include "engine/rewrite.h"
#include "support/tmp_dir.h"
#include "support/wasm_build.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wasm.h>
#include <wasmtime.h>

#include <cmocka.h>

#define GUEST(name) ROOST_BINARY_DIR "/guests/" name ".wasm"
#define PROGRAM     ROOST_BINARY_DIR "/roost-compile"

struct fixture {
    struct loop *loop;
    struct tmp_dir dir;
    struct err err; /* of the last that was done */
    int calls, wanted;
    int order[16]; /* whose done was called, in order */
};

static int setup(void **state)
{
    static struct fixture f;
    struct err err;

    f = (struct fixture){.wanted = 1};
    *state = &f;
    setenv("ROOST_COMPILE", PROGRAM, 1);
    return tmp_dir_make(&f.dir) < 0 ? -1 : loop_new(&f.loop, &err);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    loop_free(f->loop);
    tmp_dir_remove(&f->dir);
    return 0;
}

static void done(void *ctx, const struct err *err)
{
    struct fixture *f = ctx;

    f->err = err ? *err : (struct err){.code = ERR_NONE};
    if (++f->calls == f->wanted)
        loop_stop(f->loop);
}

static void write_file(const char *path, const struct buf *content)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(content->data, 1, content->len, file), content->len);
    assert_int_equal(fclose(file), 0);
}

static int files_in(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    int n = 0;

    assert_non_null(dir);
    while ((e = readdir(dir)))
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* Compiles and waits for it. */
static enum err_code compile(struct fixture *f, const struct compile_opts *opts)
{
    struct compile *c = NULL;
    struct err err = {0};

    if (compile_start(&c, f->loop, opts, done, f, &err) < 0)
        fail_msg("%s", err.msg);
    loop_run(f->loop);
    assert_int_equal(f->calls, 1);
    f->calls = 0;
    return f->err.code;
}

static enum err_code compile_file(struct fixture *f, const char *module, const char *image)
{
    const struct compile_opts opts = {.module_path = module, .image_path = image};

    return compile(f, &opts);
}

/* --- images in the runtime --- */

struct running {
    wasm_engine_t *engine;
    wasmtime_module_t *module;
    wasmtime_store_t *store;
    wasmtime_context_t *context;
    wasmtime_instance_t instance;
};

/* Wasmtime's handlers, which make traps of signals, are installed once in a process; cmocka puts
 * its own over them in each test. */
static const int trap_signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS};
static struct sigaction trap_handlers[4];

static void signals_take(void)
{
    wasm_engine_t *engine = wasm_engine_new_with_config(engine_config(false));

    for (int i = 0; i < 4; i++)
        sigaction(trap_signals[i], NULL, &trap_handlers[i]);
    wasm_engine_delete(engine);
}

static void signals_put(void)
{
    for (int i = 0; i < 4; i++)
        sigaction(trap_signals[i], &trap_handlers[i], NULL);
}

static void message_of(wasmtime_error_t *error, char *out, size_t cap)
{
    wasm_byte_vec_t text;

    wasmtime_error_message(error, &text);
    snprintf(out, cap, "%.*s", (int)text.size, text.data);
    wasm_byte_vec_delete(&text);
    wasmtime_error_delete(error);
}

static void instantiate(struct running *r, const char *image)
{
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error;
    char text[500];

    r->engine = wasm_engine_new_with_config(engine_config(false));
    signals_put();
    error = wasmtime_module_deserialize_file(r->engine, image, &r->module);
    if (error) {
        message_of(error, text, sizeof(text));
        fail_msg("%s", text);
    }
    r->store = wasmtime_store_new(r->engine, NULL, NULL);
    r->context = wasmtime_store_context(r->store);
    wasmtime_context_set_epoch_deadline(r->context, 1);
    assert_null(wasmtime_instance_new(r->context, r->module, NULL, 0, &r->instance, &trap));
    assert_null(trap);
}

static void running_free(struct running *r)
{
    wasmtime_store_delete(r->store);
    wasmtime_module_delete(r->module);
    wasm_engine_delete(r->engine);
}

static wasmtime_extern_t exported(struct running *r, const char *name)
{
    wasmtime_extern_t e;

    if (!wasmtime_instance_export_get(r->context, &r->instance, name, strlen(name), &e))
        fail_msg("no export %s", name);
    return e;
}

static wasmtime_val_t global(struct running *r, const char *name)
{
    wasmtime_extern_t e = exported(r, name);
    wasmtime_val_t v;

    assert_int_equal(e.kind, WASMTIME_EXTERN_GLOBAL);
    wasmtime_global_get(r->context, &e.of.global, &v);
    return v;
}

/* The trap's text, or NULL. */
static const char *call(struct running *r, const char *name, const wasmtime_val_t *arg,
                        wasmtime_val_t *result)
{
    static char text[2000];
    wasmtime_extern_t e = exported(r, name);
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error;
    wasm_byte_vec_t message;

    assert_int_equal(e.kind, WASMTIME_EXTERN_FUNC);
    error =
        wasmtime_func_call(r->context, &e.of.func, arg, arg ? 1 : 0, result, result ? 1 : 0, &trap);
    if (error) {
        message_of(error, text, sizeof(text));
        return text;
    }
    if (!trap)
        return NULL;
    wasm_trap_message(trap, &message);
    snprintf(text, sizeof(text), "%.*s", (int)message.size, message.data);
    wasm_byte_vec_delete(&message);
    wasm_trap_delete(trap);
    return text;
}

static void test_image_runs_and_its_globals_are_seen(void **state)
{
    struct fixture *f = *state;
    const char *image = tmp_file(&f->dir, "image");
    struct running r;
    wasmtime_val_t v;
    wasmtime_extern_t memory;

    assert_int_equal(compile_file(f, GUEST("globals"), image), ERR_NONE);
    assert_int_equal(image_check(image, NULL), 0);
    instantiate(&r, image);
    assert_int_equal(global(&r, "roost:global:1").of.i32, 1); /* nothing has run yet */
    assert_null(call(&r, REWRITE_START, NULL, NULL));
    assert_int_equal(global(&r, "roost:global:1").of.i32, 41);
    assert_int_equal(global(&r, "roost:global:2").of.i64, -42);
    v = global(&r, "roost:global:5");
    assert_int_equal(v.kind, WASMTIME_V128);
    assert_int_equal(v.of.v128[0], 43);
    assert_int_equal(v.of.v128[8], 44);
    assert_null(call(&r, "bump", NULL, &v));
    assert_int_equal(v.of.i32, 42);
    memory = exported(&r, "memory");
    assert_int_equal(memory.kind, WASMTIME_EXTERN_MEMORY);
    assert_memory_equal(wasmtime_memory_data(r.context, &memory.of.memory) + 16, "roost", 5);
    running_free(&r);
}

static void test_globals_can_be_set_from_outside(void **state)
{
    struct fixture *f = *state;
    const char *image = tmp_file(&f->dir, "image");
    struct running r;
    wasmtime_extern_t e;
    wasmtime_val_t v = {.kind = WASMTIME_I32, .of.i32 = 1000};

    assert_int_equal(compile_file(f, GUEST("globals"), image), ERR_NONE);
    instantiate(&r, image);
    e = exported(&r, "roost:global:1");
    assert_null(wasmtime_global_set(r.context, &e.of.global, &v));
    assert_null(call(&r, "bump", NULL, &v));
    assert_int_equal(v.of.i32, 1001);
    running_free(&r);
}

static void test_guests_can_be_interrupted(void **state)
{
    struct fixture *f = *state;
    const char *image = tmp_file(&f->dir, "image"), *trap;
    struct running r;

    assert_int_equal(compile_file(f, GUEST("globals"), image), ERR_NONE);
    instantiate(&r, image);
    wasmtime_engine_increment_epoch(r.engine);
    trap = call(&r, "spin", NULL, NULL);
    assert_non_null(trap);
    assert_non_null(strstr(trap, "interrupt"));
    if (!strstr(trap, "spinning")) /* names are kept */
        fail_msg("%s", trap);
    running_free(&r);
}

static void test_recursion_ends_as_a_trap(void **state)
{
    struct fixture *f = *state;
    const char *image = tmp_file(&f->dir, "image"), *trap;
    wasmtime_val_t n = {.kind = WASMTIME_I32, .of.i32 = 1000}, result;
    struct running r;

    assert_int_equal(compile_file(f, GUEST("globals"), image), ERR_NONE);
    instantiate(&r, image);
    assert_null(call(&r, "recurse", &n, &result));
    assert_int_equal(result.of.i32, 1000);
    n.of.i32 = 100000000;
    trap = call(&r, "recurse", &n, &result);
    assert_non_null(trap);
    assert_non_null(strstr(trap, "stack exhausted"));
    running_free(&r);
}

static void test_all_instructions_compile(void **state)
{
    struct fixture *f = *state;
    const char *image = tmp_file(&f->dir, "image");
    wasm_engine_t *engine = wasm_engine_new_with_config(engine_config(false));
    wasmtime_module_t *module = NULL;
    enum err_code code = compile_file(f, GUEST("instructions"), image);

    if (code != ERR_NONE)
        fail_msg("%s", f->err.msg);
    assert_null(wasmtime_module_deserialize_file(engine, image, &module));
    wasmtime_module_delete(module);
    wasm_engine_delete(engine);
}

static void test_image_for_another_configuration_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *image = tmp_file(&f->dir, "image");
    wasm_engine_t *engine = wasm_engine_new();
    wasmtime_module_t *module = NULL;
    wasmtime_error_t *error;
    char text[500];

    assert_int_equal(compile_file(f, GUEST("globals"), image), ERR_NONE);
    error = wasmtime_module_deserialize_file(engine, image, &module);
    assert_non_null(error);
    message_of(error, text, sizeof(text));
    assert_non_null(strstr(text, "Module was compiled"));
    wasm_engine_delete(engine);
}

/* --- what goes wrong --- */

static enum err_code compile_bytes(struct fixture *f, const struct buf *module)
{
    char path[600], image[600];

    snprintf(path, sizeof(path), "%s", tmp_file(&f->dir, "module.wasm"));
    snprintf(image, sizeof(image), "%s", tmp_file(&f->dir, "image"));
    write_file(path, module);
    return compile_file(f, path, image);
}

static void test_errors_come_back_as_they_were(void **state)
{
    struct fixture *f = *state;
    AUTO_BUF struct buf refused = {.data = NULL}, invalid = {.data = NULL}, text = {.data = NULL};

    wasm_module_of(&refused, WASM_BYTES(0xfc, 18, 0));
    assert_int_equal(compile_bytes(f, &refused), ERR_UNSUPPORTED);
    assert_non_null(strstr(f->err.msg, "module.wasm: offset "));
    assert_non_null(strstr(f->err.msg, "memory.discard"));
    wasm_module_of(&invalid, WASM_BYTES(0x41, 0)); /* leaves a value on the stack */
    assert_int_equal(compile_bytes(f, &invalid), ERR_INVALID);
    assert_non_null(strstr(f->err.msg, "validation"));
    wasm_put(&text, (const uint8_t *)"(module)", 8);
    assert_int_equal(compile_bytes(f, &text), ERR_INVALID);
    assert_non_null(strstr(f->err.msg, "wat2wasm"));
    assert_int_equal(files_in(f->dir.path), 1); /* the module */
}

static void test_files_that_are_not_there(void **state)
{
    struct fixture *f = *state;
    char image[600];

    snprintf(image, sizeof(image), "%s", tmp_file(&f->dir, "no/image"));
    assert_int_equal(compile_file(f, tmp_file(&f->dir, "absent"), image), ERR_NOT_FOUND);
    assert_non_null(strstr(f->err.msg, "absent"));
    assert_int_equal(compile_file(f, f->dir.path, image), ERR_INVALID);
    assert_non_null(strstr(f->err.msg, "no regular file"));
    assert_int_equal(compile_file(f, GUEST("globals"), image), ERR_IO);
    assert_non_null(strstr(f->err.msg, "no/image"));
}

static void test_module_that_was_replaced_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t digest[IMAGE_DIGEST_BYTES];
    struct err err = {0};
    struct compile_opts opts = {.module_path = GUEST("globals"),
                                .image_path = tmp_file(&f->dir, "image"),
                                .digest = digest};

    assert_int_equal(image_digest(GUEST("globals"), digest, NULL, &err), 0);
    assert_int_equal(compile(f, &opts), ERR_NONE);
    digest[5] ^= 1;
    assert_int_equal(compile(f, &opts), ERR_CORRUPT);
    assert_non_null(strstr(f->err.msg, "replaced"));
}

static void test_program_that_is_missing_or_strange(void **state)
{
    struct fixture *f = *state;
    struct compile_opts opts = {.program = "/nonexistent/roost-compile",
                                .module_path = GUEST("globals"),
                                .image_path = tmp_file(&f->dir, "image")};
    struct compile *c = NULL;
    struct err err = {0};

    assert_int_equal(compile_start(&c, f->loop, &opts, done, f, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    opts.program = "/bin/false";
    assert_int_equal(compile(f, &opts), ERR_IO);
    assert_non_null(strstr(f->err.msg, "said nothing"));
}

/* --- bombs --- */

/* Loops in loops: memory that grows with the square of their number. */
static void make_nest(struct buf *out)
{
    AUTO_BUF struct buf body = {.data = NULL};

    for (int i = 0; i < 100000; i++)
        wasm_put(&body, WASM_BYTES(0x03, 0x40));
    for (int i = 0; i < 100000; i++)
        wasm_put(&body, WASM_BYTES(0x0b));
    wasm_module_of(out, body.data, body.len);
}

/* One function of millions of instructions. */
static void make_huge(struct buf *out)
{
    AUTO_BUF struct buf body = {.data = NULL};

    wasm_put(&body, WASM_BYTES(0x41, 0));
    for (int i = 0; i < 1200000; i++)
        wasm_put(&body, WASM_BYTES(0x41, 0, 0x2d, 0, 0, 0x6a));
    wasm_put(&body, WASM_BYTES(0x1a));
    wasm_module_of(out, body.data, body.len);
}

static void bomb(struct fixture *f, const struct buf *module, struct compile_opts opts,
                 enum err_code code, const char *says)
{
    char path[600];

    snprintf(path, sizeof(path), "%s", tmp_file(&f->dir, "bomb.wasm"));
    write_file(path, module);
    opts.module_path = path;
    opts.image_path = tmp_file(&f->dir, "image");
    assert_int_equal(compile(f, &opts), code);
    if (!strstr(f->err.msg, says) || !strstr(f->err.msg, "bomb.wasm"))
        fail_msg("%s", f->err.msg);
    assert_int_equal(files_in(f->dir.path), 1);
}

/* Under a sanitizer there is no limit on memory: then CPU time ends it. */
static void test_memory_is_limited(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL};

    make_nest(&module);
    bomb(*state, &module, (struct compile_opts){.memory_bytes = 100 * MIB, .cpu_s = 2}, ERR_LIMIT,
         "the module needs more than ");
}

static void test_cpu_time_is_limited(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL};

    make_huge(&module);
    bomb(*state, &module, (struct compile_opts){.cpu_s = 1}, ERR_LIMIT,
         "needs more than 1 s of CPU time");
}

static void test_time_is_limited(void **state)
{
    AUTO_BUF struct buf module = {.data = NULL};

    make_huge(&module);
    bomb(*state, &module, (struct compile_opts){.time_ms = 1}, ERR_TIMEOUT,
         "not compiled within 1 ms");
}

static void test_module_of_too_many_bytes(void **state)
{
    struct fixture *f = *state;
    char path[600];
    uint8_t digest[IMAGE_DIGEST_BYTES];
    struct err err = {0};
    FILE *file;

    snprintf(path, sizeof(path), "%s", tmp_file(&f->dir, "large.wasm"));
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), MODULE_BYTES_MAX + 1), 0);
    fclose(file);
    assert_int_equal(compile_file(f, path, tmp_file(&f->dir, "image")), ERR_LIMIT);
    assert_non_null(strstr(f->err.msg, "MODULE_BYTES_MAX"));
    assert_int_equal(image_digest(path, digest, NULL, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(truncate(path, MODULE_BYTES_MAX), 0);
    assert_int_equal(image_digest(path, digest, NULL, &err), 0);
}

/* --- the queue --- */

struct job {
    struct fixture *fixture;
    int number;
};

static void job_done(void *ctx, const struct err *err)
{
    struct job *job = ctx;

    job->fixture->order[job->fixture->calls] = job->number;
    done(job->fixture, err);
}

static struct compile *queue_add(struct compile_queue *q, struct job *job)
{
    char name[20], image[600];
    struct compile_opts opts = {.module_path = GUEST("globals"), .image_path = image};
    struct compile *c = NULL;
    struct err err = {0};

    snprintf(name, sizeof(name), "image-%d", job->number);
    snprintf(image, sizeof(image), "%s", tmp_file(&job->fixture->dir, name));
    if (compile_queue_add(&c, q, &opts, job_done, job, &err) < 0)
        fail_msg("%s", err.msg);
    return c;
}

static void test_queue_runs_one_after_the_other(void **state)
{
    struct fixture *f = *state;
    struct compile_queue *q = NULL;
    struct job jobs[5];
    struct err err = {0};

    assert_int_equal(compile_queue_new(&q, f->loop, 1, &err), 0);
    f->wanted = 5;
    for (int i = 0; i < 5; i++) {
        jobs[i] = (struct job){f, i};
        queue_add(q, &jobs[i]);
    }
    loop_run(f->loop);
    for (int i = 0; i < 5; i++)
        assert_int_equal(f->order[i], i);
    assert_int_equal(files_in(f->dir.path), 5);
    compile_queue_free(q);
}

static void test_cancelled_jobs_are_not_heard_of(void **state)
{
    struct fixture *f = *state;
    struct compile_queue *q = NULL;
    struct compile *c[5];
    struct job jobs[5];
    struct err err = {0};

    assert_int_equal(compile_queue_new(&q, f->loop, 2, &err), 0);
    f->wanted = 2;
    for (int i = 0; i < 5; i++) {
        jobs[i] = (struct job){f, i};
        c[i] = queue_add(q, &jobs[i]);
    }
    compile_cancel(c[4]); /* the last that waits */
    compile_cancel(c[0]); /* runs: the next one starts */
    compile_cancel(c[3]);
    compile_cancel(NULL);
    loop_run(f->loop);
    assert_int_equal(f->order[0] + f->order[1], 1 + 2);
    compile_queue_free(q);
}

static void test_queue_has_a_maximum_and_can_be_dropped(void **state)
{
    struct fixture *f = *state;
    struct compile_queue *q = NULL;
    struct compile *c = NULL;
    struct job job = {f, 0};
    struct compile_opts opts = {.module_path = GUEST("globals"),
                                .image_path = tmp_file(&f->dir, "image")};
    struct err err = {0};

    assert_int_equal(compile_queue_new(&q, f->loop, COMPILE_JOBS_MAX, &err), 0);
    for (unsigned i = 0; i < COMPILE_JOBS_MAX + COMPILE_QUEUE_MAX; i++)
        assert_int_equal(compile_queue_add(&c, q, &opts, job_done, &job, &err), 0);
    assert_int_equal(compile_queue_add(&c, q, &opts, job_done, &job, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "COMPILE_QUEUE_MAX"));
    compile_queue_free(q);
    assert_int_equal(f->calls, 0);
}

/* --- the cache --- */

static void test_digest_is_sha256(void **state)
{
    static const uint8_t abc[IMAGE_DIGEST_BYTES] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                                    0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                                    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                                    0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    struct fixture *f = *state;
    AUTO_BUF struct buf content = {.data = NULL};
    const char *path = tmp_file(&f->dir, "abc");
    uint8_t digest[IMAGE_DIGEST_BYTES];
    uint64_t size = 0;
    struct err err = {0};

    wasm_put(&content, (const uint8_t *)"abc", 3);
    write_file(path, &content);
    assert_int_equal(image_digest(path, digest, &size, &err), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(digest, abc, sizeof(abc));
    assert_int_equal(image_digest(f->dir.path, digest, NULL, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(image_digest(tmp_file(&f->dir, "absent"), digest, NULL, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void test_path_names_module_and_configuration(void **state)
{
    const uint8_t digest[IMAGE_DIGEST_BYTES] = {0xab, 1};
    char path[200], again[200];
    struct err err = {0};

    (void)state;
    assert_int_equal(image_path(path, sizeof(path), "/cache", digest, &err), 0);
    assert_int_equal(image_path(again, sizeof(again), "/cache", digest, &err), 0);
    assert_string_equal(path, again);
    assert_memory_equal(path, "/cache/ab01000000", 17);
    assert_int_equal(strlen(path), strlen("/cache/") + 64 + 1 + 16 + strlen(".image"));
    assert_int_equal(image_path(path, 20, "/cache", digest, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(engine_config_key(), WASMTIME_VERSION));
}

static void test_only_our_own_images_are_used(void **state)
{
    struct fixture *f = *state;
    AUTO_BUF struct buf content = {.data = NULL};
    char path[600];
    struct err err = {0};

    snprintf(path, sizeof(path), "%s", tmp_file(&f->dir, "image"));
    assert_int_equal(image_check(path, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    wasm_put(&content, WASM_BYTES(1));
    write_file(path, &content);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(image_check(path, &err), -1);
    assert_int_equal(err.code, ERR_DENIED);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(image_check(path, &err), -1);
    assert_int_equal(err.code, ERR_CORRUPT); /* not sealed */
    assert_int_equal(symlink(path, tmp_file(&f->dir, "link")), 0);
    assert_int_equal(image_check(tmp_file(&f->dir, "link"), &err), -1);
    assert_int_equal(err.code, ERR_DENIED);
}

/* A bit here and there, and every length near either end: never loaded, and made anew. */
static void test_a_damaged_image_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[600];
    struct err err = {0};
    struct stat st;
    uint8_t byte;
    int fd;

    snprintf(path, sizeof(path), "%s", tmp_file(&f->dir, "image"));
    assert_int_equal(compile_file(f, GUEST("globals"), path), ERR_NONE);
    assert_int_equal(image_check(path, &err), 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t at = 0; at<st.st_size; at += st.st_size - at> 64 && at > 64 ? 997 : 1) {
        at = at < st.st_size ? at : st.st_size - 1;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        assert_int_equal(image_check(path, &err), -1);
        assert_int_equal(err.code, ERR_CORRUPT);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    assert_int_equal(image_check(path, &err), 0);
    for (off_t len = st.st_size - 1; len > 0; len = len > st.st_size - 40 ? len - 1 : len / 2) {
        assert_int_equal(ftruncate(fd, len), 0);
        assert_int_equal(image_check(path, &err), -1);
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    close(fd);
    assert_int_equal(compile_file(f, GUEST("globals"), path), ERR_NONE);
    assert_int_equal(image_check(path, &err), 0);
}

/* --- the command line --- */

static int command(char *out, size_t cap, const char *arguments)
{
    char line[2000];
    FILE *pipe;
    size_t n;

    snprintf(line, sizeof(line), PROGRAM " %s 2>&1", arguments);
    pipe = popen(line, "r");
    assert_non_null(pipe);
    n = fread(out, 1, cap - 1, pipe);
    out[n] = 0;
    return WEXITSTATUS(pclose(pipe));
}

static void test_command_line(void **state)
{
    char out[4000];

    (void)state;
    assert_int_equal(command(out, sizeof(out), "--check " GUEST("globals")), 0);
    assert_string_equal(
        out, "{\"mutable_globals\":6,\"memory_min\":2,\"memory_max\":16,\"had_start\":true}\n");
    assert_int_equal(command(out, sizeof(out), "--help"), 0);
    assert_non_null(strstr(out, "usage: roost-compile"));
    assert_int_equal(command(out, sizeof(out), "--version"), 0);
    assert_non_null(strstr(out, WASMTIME_VERSION));
    assert_int_equal(command(out, sizeof(out), "one-argument"), 2);
    assert_non_null(strstr(out, "roost-compile: give a module"));
    assert_int_equal(command(out, sizeof(out), "--memory-mib 0 a b"), 2);
    assert_int_equal(command(out, sizeof(out), "--memory-mib 999999 a b"), 2);
    assert_int_equal(command(out, sizeof(out), "--cpu-s -1 a b"), 2);
    assert_int_equal(command(out, sizeof(out), "--nonsense a b"), 2);
    assert_int_equal(command(out, sizeof(out), "--check /nonexistent.wasm"), 4);
    assert_string_equal(out, "roost-compile: /nonexistent.wasm: open: No such file or directory\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_image_runs_and_its_globals_are_seen),
        TEST(test_globals_can_be_set_from_outside),
        TEST(test_guests_can_be_interrupted),
        TEST(test_recursion_ends_as_a_trap),
        TEST(test_all_instructions_compile),
        TEST(test_image_for_another_configuration_is_refused),
        TEST(test_errors_come_back_as_they_were),
        TEST(test_files_that_are_not_there),
        TEST(test_module_that_was_replaced_is_refused),
        TEST(test_program_that_is_missing_or_strange),
        TEST(test_memory_is_limited),
        TEST(test_cpu_time_is_limited),
        TEST(test_time_is_limited),
        TEST(test_module_of_too_many_bytes),
        TEST(test_queue_runs_one_after_the_other),
        TEST(test_cancelled_jobs_are_not_heard_of),
        TEST(test_queue_has_a_maximum_and_can_be_dropped),
        TEST(test_digest_is_sha256),
        TEST(test_path_names_module_and_configuration),
        TEST(test_only_our_own_images_are_used),
        TEST(test_a_damaged_image_is_refused),
        TEST(test_command_line),
    };

    signals_take();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
