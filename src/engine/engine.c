/* The engine and its images. See engine.h. */
#include "base/limits.h"
#include "engine/config.h"
#include "engine/internal.h"
#include "engine/rewrite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text of several lines as one. */
static void flatten(char *out, size_t cap, const char *text, size_t len)
{
    size_t n = 0;
    bool gap = false;

    for (size_t i = 0; i < len && n + 3 < cap; i++) {
        char c = text[i];

        if (c == '\n' || c == ' ' || c == '\t' || c == '\0') {
            gap = n > 0;
            continue;
        }
        if (gap)
            out[n++] = ' ';
        gap = false;
        out[n++] = c;
    }
    out[n] = 0;
}

/* One line of Wasmtime's text: the cause, which it gives last, then the backtrace, which may be too
 * long for us. */
static void one_line(char *out, size_t cap, const char *text, size_t len)
{
    static const char mark[] = "Caused by:";
    const char *cause = len ? memmem(text, len, mark, sizeof(mark) - 1) : NULL;
    size_t n;

    if (!cause) {
        flatten(out, cap, text, len);
        return;
    }
    cause += sizeof(mark) - 1;
    flatten(out, cap, cause, (size_t)(text + len - cause));
    n = strlen(out);
    n += (size_t)snprintf(out + n, cap - n, "; ");
    if (n < cap)
        flatten(out + n, cap - n, text, (size_t)(cause - text) - (sizeof(mark) - 1));
}

int err_wasmtime(struct err *err, enum err_code code, wasmtime_error_t *error, wasm_trap_t *trap,
                 const char *what)
{
    wasm_byte_vec_t text = {0};
    char line[ERR_MSG_MAX];

    if (error)
        wasmtime_error_message(error, &text);
    else if (trap)
        wasm_trap_message(trap, &text);
    one_line(line, sizeof(line), text.data ? text.data : "", text.size);
    if (text.data)
        wasm_byte_vec_delete(&text);
    if (error)
        wasmtime_error_delete(error);
    if (trap)
        wasm_trap_delete(trap);
    return err_set(err, code, 0, "%s: %s", what, line);
}

int engine_new(struct engine **out, const struct host_calls *calls, struct err *err)
{
    struct engine *e = calloc(1, sizeof(*e));
    wasm_config_t *config;

    if (!e)
        return err_set(err, ERR_NOMEM, 0, "no memory for the engine");
    e->calls = calls;
    if (stacks_new(&e->stacks, err) < 0) {
        free(e);
        return -1;
    }
    config = engine_config(false);
    stacks_install(e->stacks, config);
    e->engine = wasm_engine_new_with_config(config);
    e->linker = wasmtime_linker_new(e->engine);
    if (abi_define(e, err) < 0) {
        engine_free(e);
        return -1;
    }
    *out = e;
    return 0;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    if (e->linker)
        wasmtime_linker_delete(e->linker);
    if (e->engine)
        wasm_engine_delete(e->engine);
    free(e);
}

void engine_trim(struct engine *e)
{
    stacks_trim(e->stacks);
}

bool engine_tick(struct engine *e)
{
    if (atomic_load_explicit(&e->computing, memory_order_relaxed) == 0)
        return false;
    atomic_fetch_add_explicit(&e->ticks, 1, memory_order_relaxed);
    wasmtime_engine_increment_epoch(e->engine);
    return true;
}

/* --- images --- */

uint8_t valtype_kind(const wasm_valtype_t *type)
{
    wasmtime_valtype_t of;
    uint8_t kind;

    wasmtime_valtype_new(type, &of);
    kind = of.kind;
    wasmtime_valtype_delete(&of);
    return kind;
}

static bool is_func(const wasm_externtype_t *type, size_t nresults)
{
    const wasm_functype_t *func = wasm_externtype_as_functype_const(type);
    const wasm_valtype_vec_t *results;

    if (!func || wasm_functype_params(func)->size)
        return false;
    results = wasm_functype_results(func);
    return results->size == nresults &&
           (nresults == 0 || valtype_kind(results->data[0]) == WASMTIME_VALTYPE_KIND_I32);
}

static bool name_is(const wasm_name_t *name, const char *text)
{
    return name->size == strlen(text) && memcmp(name->data, text, name->size) == 0;
}

static int add_global(struct image *im, const wasm_name_t *name, struct err *err)
{
    char **more = realloc(im->globals, (im->nglobals + 1) * sizeof(*more));
    char *copy = strndup(name->data, name->size);

    if (more)
        im->globals = more;
    if (!more || !copy) {
        free(copy);
        return err_set(err, ERR_NOMEM, 0, "no memory for %u globals", im->nglobals + 1);
    }
    im->globals[im->nglobals++] = copy;
    return 0;
}

static bool has_prefix(const wasm_name_t *name, const char *prefix)
{
    return name->size > strlen(prefix) && !memcmp(name->data, prefix, strlen(prefix));
}

/* What the rewriter says (rewrite.h), behind the prefix of its export. */
static int set_unsavable(struct image *im, const wasm_name_t *name, struct err *err)
{
    const size_t n = strlen(REWRITE_UNSAVABLE);

    free(im->unsavable);
    im->unsavable = strndup(name->data + n, name->size - n);
    return im->unsavable ? 0 : err_set(err, ERR_NOMEM, 0, "no memory for an image");
}

struct exports {
    bool abi, handle, memory;
    bool odd_initialize; /* of another type */
};

static int note_export(struct image *im, struct exports *seen, const wasm_exporttype_t *export,
                       struct err *err)
{
    const wasm_name_t *name = wasm_exporttype_name(export);
    const wasm_externtype_t *type = wasm_exporttype_type(export);

    if (name_is(name, "roost_abi_1"))
        seen->abi = is_func(type, 0);
    else if (name_is(name, "handle"))
        seen->handle = is_func(type, 1);
    else if (name_is(name, "memory"))
        seen->memory = wasm_externtype_kind(type) == WASM_EXTERN_MEMORY;
    else if (name_is(name, "_initialize"))
        seen->odd_initialize = !(im->has_initialize = is_func(type, 0));
    else if (name_is(name, REWRITE_START))
        im->has_start = is_func(type, 0);
    else if (has_prefix(name, REWRITE_MEMORY_PREFIX))
        im->memories++;
    else if (has_prefix(name, REWRITE_UNSAVABLE))
        return set_unsavable(im, name, err);
    else if (has_prefix(name, REWRITE_GLOBAL_PREFIX))
        return add_global(im, name, err);
    return 0;
}

static int read_exports(struct image *im, struct err *err)
{
    wasm_exporttype_vec_t exports;
    struct exports seen = {0};
    int rc = 0;

    im->memories = 1; /* those beyond are exports of the rewriter's */
    wasmtime_module_exports(im->module, &exports);
    for (size_t i = 0; i < exports.size && rc == 0; i++)
        rc = note_export(im, &seen, exports.data[i], err);
    wasm_exporttype_vec_delete(&exports);
    if (rc < 0)
        return -1;
    if (!seen.abi)
        err_set(err, ERR_UNSUPPORTED, 0,
                "no function `roost_abi_1` is exported: not built with a Roost SDK");
    else if (!seen.handle)
        err_set(err, ERR_UNSUPPORTED, 0, "no function `handle() -> i32` is exported");
    else if (seen.odd_initialize)
        err_set(err, ERR_UNSUPPORTED, 0,
                "export `_initialize` is no function without parameters and results");
    else if (!seen.memory)
        err_set(err, ERR_UNSUPPORTED, 0, "no memory is exported");
    else
        return 0;
    return err_blame(err, REASON_MODULE_UNFIT);
}

int image_load(struct image **out, struct engine *e, const char *path, struct err *err)
{
    struct image *im = calloc(1, sizeof(*im));
    wasmtime_error_t *error;

    if (!im)
        return err_set(err, ERR_NOMEM, 0, "no memory for an image");
    atomic_init(&im->refs, 1);
    error = wasmtime_module_deserialize_file(e->engine, path, &im->module);
    if (error) {
        err_wasmtime(err, ERR_CORRUPT, error, NULL, path);
        image_unref(im);
        return -1;
    }
    if (read_exports(im, err) < 0) {
        image_unref(im);
        return -1;
    }
    error = wasmtime_linker_instantiate_pre(e->linker, im->module, &im->pre);
    if (error) {
        err_wasmtime(err, ERR_UNSUPPORTED, error, NULL, "imports");
        image_unref(im);
        return -1;
    }
    *out = im;
    return 0;
}

struct image *image_ref(struct image *im)
{
    atomic_fetch_add_explicit(&im->refs, 1, memory_order_relaxed);
    return im;
}

void image_unref(struct image *im)
{
    if (!im || atomic_fetch_sub_explicit(&im->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (im->pre)
        wasmtime_instance_pre_delete(im->pre);
    if (im->module)
        wasmtime_module_delete(im->module);
    for (uint32_t i = 0; i < im->nglobals; i++)
        free(im->globals[i]);
    free(im->globals);
    free(im->unsavable);
    free(im);
}

uint32_t image_globals(const struct image *im)
{
    return im->nglobals;
}

const char *image_unsavable(const struct image *im)
{
    return im->unsavable;
}
