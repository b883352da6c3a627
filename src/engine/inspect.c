#include "engine/inspect.h"

#include "base/buf.h"
#include "base/limits.h"
#include "engine/internal.h"
#include "engine/rewrite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define WASM_PAGE 65536ull

/* --- types as text --- */

static const char *value_name(const wasm_valtype_t *type)
{
    static const char *const names[] = {
        [WASMTIME_VALTYPE_KIND_I32] = "i32",   [WASMTIME_VALTYPE_KIND_I64] = "i64",
        [WASMTIME_VALTYPE_KIND_F32] = "f32",   [WASMTIME_VALTYPE_KIND_F64] = "f64",
        [WASMTIME_VALTYPE_KIND_V128] = "v128", [WASMTIME_VALTYPE_KIND_REF] = "funcref"};
    uint8_t kind = valtype_kind(type);

    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

static int put_values(struct buf *out, const wasm_valtype_vec_t *types, struct err *err)
{
    if (buf_puts(out, "(", err) < 0)
        return -1;
    for (size_t i = 0; i < types->size; i++)
        if (buf_puts(out, i ? ", " : "", err) < 0 ||
            buf_puts(out, value_name(types->data[i]), err) < 0)
            return -1;
    return buf_puts(out, ")", err);
}

static int put_function(struct buf *out, const wasm_functype_t *type, struct err *err)
{
    const wasm_valtype_vec_t *results = wasm_functype_results(type);

    if (put_values(out, wasm_functype_params(type), err) < 0 || buf_puts(out, " -> ", err) < 0)
        return -1;
    return results->size == 1 ? buf_puts(out, value_name(results->data[0]), err)
                              : put_values(out, results, err);
}

static int put_memory(struct buf *out, const wasm_memorytype_t *type, struct err *err)
{
    uint64_t max;

    if (wasmtime_memorytype_maximum(type, &max))
        return buf_printf(out, err, "memory of %" PRIu64 " to %" PRIu64 " pages",
                          wasmtime_memorytype_minimum(type), max);
    return buf_printf(out, err, "memory of %" PRIu64 " pages and more",
                      wasmtime_memorytype_minimum(type));
}

static int put_type(struct buf *out, const wasm_externtype_t *type, struct err *err)
{
    const wasm_globaltype_t *global = wasm_externtype_as_globaltype_const(type);

    switch (wasm_externtype_kind(type)) {
    case WASM_EXTERN_FUNC:
        return put_function(out, wasm_externtype_as_functype_const(type), err);
    case WASM_EXTERN_MEMORY:
        return put_memory(out, wasm_externtype_as_memorytype_const(type), err);
    case WASM_EXTERN_GLOBAL:
        return buf_printf(out, err, "%s%s", value_name(wasm_globaltype_content(global)),
                          wasm_globaltype_mutability(global) == WASM_VAR ? ", mutable" : "");
    default:
        return buf_puts(out, "table", err);
    }
}

/* --- lists --- */

/* A name of the module's; JSON text has no NUL for us. */
static json_t *name_json(const wasm_name_t *name)
{
    char text[INSPECT_NAME_BYTES];
    size_t n = name->size < sizeof(text) ? name->size : sizeof(text) - 1;

    for (size_t i = 0; i < n; i++)
        text[i] = name->data[i] ? name->data[i] : '?';
    while (n > 0 && n < name->size && (name->data[n] & 0xc0) == 0x80)
        n--; /* not inside a character */
    return json_stringn(text, n);
}

static int add(json_t *list, const wasm_name_t *module, const wasm_name_t *name,
               const wasm_externtype_t *type, struct err *err)
{
    struct buf text = {.max = BUF_DEFAULT_MAX};
    json_t *item = json_object();
    int rc = put_type(&text, type, err);

    if (rc == 0 &&
        ((module && json_object_set_new(item, "module", name_json(module)) < 0) ||
         json_object_set_new(item, "name", name_json(name)) < 0 ||
         json_object_set_new(item, "type", json_stringn((const char *)text.data, text.len)) < 0 ||
         json_array_append(list, item) < 0))
        rc = err_set(err, ERR_NOMEM, 0, "no memory");
    json_decref(item);
    buf_free(&text);
    return rc;
}

static int list_imports(json_t *list, const wasmtime_module_t *module, struct err *err)
{
    wasm_importtype_vec_t imports;
    int rc = 0;

    wasmtime_module_imports(module, &imports);
    for (size_t i = 0; i < imports.size && rc == 0; i++)
        rc = add(list, wasm_importtype_module(imports.data[i]),
                 wasm_importtype_name(imports.data[i]), wasm_importtype_type(imports.data[i]), err);
    wasm_importtype_vec_delete(&imports);
    return rc;
}

/* What the rewriter added says the rest. */
struct found {
    json_int_t memories, globals;
    bool start;
    char unsavable[REWRITE_UNSAVABLE_BYTES];
    json_t *memory; /* its sizes */
};

static const char *behind(const wasm_name_t *name, const char *prefix)
{
    size_t n = strlen(prefix);

    return name->size >= n && memcmp(name->data, prefix, n) == 0 ? name->data + n : NULL;
}

/* True: the export is the rewriter's own. */
static bool note_own(struct found *f, const wasm_name_t *name)
{
    const char *rest = behind(name, REWRITE_UNSAVABLE);

    if (rest)
        snprintf(f->unsavable, sizeof(f->unsavable), "%.*s",
                 (int)(name->size - strlen(REWRITE_UNSAVABLE)), rest);
    else if (behind(name, REWRITE_GLOBAL_PREFIX))
        f->globals++;
    else if (behind(name, REWRITE_MEMORY_PREFIX))
        f->memories++;
    else if (behind(name, REWRITE_START))
        f->start = true;
    else
        return false;
    return true;
}

static void note_memory(struct found *f, const wasm_name_t *name, const wasm_externtype_t *type)
{
    const wasm_memorytype_t *memory = wasm_externtype_as_memorytype_const(type);
    const char *rest = behind(name, "memory");
    uint64_t max;

    if (!memory || !rest || name->size != strlen("memory"))
        return;
    f->memories++;
    f->memory = json_object();
    json_object_set_new(
        f->memory, "minBytes",
        json_integer((json_int_t)(wasmtime_memorytype_minimum(memory) * WASM_PAGE)));
    if (wasmtime_memorytype_maximum(memory, &max))
        json_object_set_new(f->memory, "maxBytes", json_integer((json_int_t)(max * WASM_PAGE)));
}

static int list_exports(json_t *list, struct found *f, const wasmtime_module_t *module,
                        struct err *err)
{
    wasm_exporttype_vec_t exports;
    int rc = 0;

    wasmtime_module_exports(module, &exports);
    for (size_t i = 0; i < exports.size && rc == 0; i++) {
        const wasm_name_t *name = wasm_exporttype_name(exports.data[i]);
        const wasm_externtype_t *type = wasm_exporttype_type(exports.data[i]);

        note_memory(f, name, type);
        if (!note_own(f, name))
            rc = add(list, NULL, name, type, err);
    }
    wasm_exporttype_vec_delete(&exports);
    return rc;
}

/* --- all of it --- */

/* Why its guests could not be deployed: what the daemon would say. */
static void find_problem(struct engine *engine, const char *path, struct err *why)
{
    struct image *image;

    *why = (struct err){.code = ERR_NONE};
    if (image_load(&image, engine, path, why) == 0)
        image_unref(image);
}

static int describe(json_t **out, struct engine *engine, const char *path,
                    wasmtime_module_t *module, struct err *err)
{
    json_t *imports = json_array(), *exports = json_array();
    struct found f = {0};
    struct err problem;
    struct stat st;
    int rc = -1;

    if (stat(path, &st) < 0)
        err_set(err, ERR_IO, errno, "image %s", path);
    else if (list_imports(imports, module, err) == 0 && list_exports(exports, &f, module, err) == 0)
        rc = 0;
    find_problem(engine, path, &problem);
    if (rc == 0) {
        *out = json_pack("{s:I, s:O?, s:I, s:I, s:b, s:s, s:s, s:s, s:O, s:O}", "imageBytes",
                         (json_int_t)st.st_size, "memory", f.memory, "memories", f.memories,
                         "mutableGlobals", f.globals, "startSection", f.start, "sleepMode",
                         f.unsavable[0] ? "never" : "auto", "whySleepless", f.unsavable, "problem",
                         problem.code ? problem.msg : "", "imports", imports, "exports", exports);
        if (!*out)
            rc = err_set(err, ERR_NOMEM, 0, "no memory");
    }
    json_decref(f.memory);
    json_decref(imports);
    json_decref(exports);
    return rc;
}

int image_inspect(json_t **out, struct engine *engine, const char *path, struct err *err)
{
    wasmtime_module_t *module = NULL;
    wasmtime_error_t *error = wasmtime_module_deserialize_file(engine->engine, path, &module);
    int rc;

    if (error)
        return err_wasmtime(err, ERR_CORRUPT, error, NULL, path);
    rc = describe(out, engine, path, module, err);
    wasmtime_module_delete(module);
    return rc;
}
