/* Module in, image out, in the confined process (compile_parts.h). */
#include "base/auto.h"
#include "base/limits.h"
#include "engine/compile_parts.h"
#include "engine/config.h"
#include "engine/rewrite.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <wasm.h>
#include <wasmtime.h>

#define SHA256_BYTES 32

/* --- the module --- */

static int read_module(struct buf *out, uint64_t size, struct err *err)
{
    if (buf_reserve(out, (size_t)size, err) < 0)
        return -1;
    while (out->len < size) {
        ssize_t n = read(COMPILE_FD_IN, out->data + out->len, (size_t)size - out->len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_IO, errno, "read");
        if (n == 0)
            return err_set(err, ERR_IO, 0, "it became shorter while it was read: try again");
        out->len += (size_t)n;
    }
    return 0;
}

static int check_digest(const struct buf *module, const char *want, struct err *err)
{
    uint8_t digest[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];

    if (!want)
        return 0;
    if (!EVP_Digest(module->data, module->len, digest, NULL, EVP_sha256(), NULL))
        return err_set(err, ERR_NOMEM, 0, "sha256");
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    if (strcasecmp(hex, want) != 0)
        return err_set(err, ERR_CORRUPT, 0, "its sha256 is %s, not %s: it was replaced; try again",
                       hex, want);
    return 0;
}

/* --- Wasmtime's errors --- */

/* Takes error. Its text has lines ("Caused by:"): they become one. */
static int from_wasmtime(wasmtime_error_t *error, enum err_code code, const char *what,
                         struct err *err)
{
    wasm_byte_vec_t text = {0};
    char line[ERR_MSG_MAX];
    size_t n = 0;

    wasmtime_error_message(error, &text);
    wasmtime_error_delete(error);
    for (size_t i = 0; i < text.size && n < sizeof(line) - 1; i++) {
        char c = (unsigned char)text.data[i] < 0x20 ? ' ' : text.data[i];

        if (c != ' ' || (n > 0 && line[n - 1] != ' '))
            line[n++] = c;
    }
    line[n] = 0;
    wasm_byte_vec_delete(&text);
    return err_set(err, code, 0, "%s: %s", what, line);
}

static wasm_engine_t *engine_make(struct err *err)
{
    wasm_engine_t *engine = wasm_engine_new_with_config(engine_config(true));

    if (!engine)
        err_set(err, ERR_NOMEM, 0, "no engine with this configuration");
    return engine;
}

/* Offsets in the validator's text are those of the file only where it sees the file itself. */
static int validate(wasm_engine_t *engine, const struct buf *module, struct err *err)
{
    wasmtime_error_t *error = wasmtime_module_validate(engine, module->data, module->len);

    return error ? from_wasmtime(error, ERR_INVALID, "validation", err) : 0;
}

/* --- the image --- */

static int write_image(const wasm_byte_vec_t *image, struct err *err)
{
    if (image->size > IMAGE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "image of %zu bytes, limit %u (IMAGE_BYTES_MAX)",
                       image->size, IMAGE_BYTES_MAX);
    for (size_t done = 0; done < image->size;) {
        ssize_t n = write(COMPILE_FD_OUT, image->data + done, image->size - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_IO, errno, "write");
        done += (size_t)n;
    }
    return 0;
}

static int serialize(wasmtime_module_t *compiled, struct err *err)
{
    wasm_byte_vec_t image = {0};
    wasmtime_error_t *error = wasmtime_module_serialize(compiled, &image);
    int rc;

    if (error)
        return from_wasmtime(error, ERR_UNSUPPORTED, "image", err);
    rc = write_image(&image, err);
    wasm_byte_vec_delete(&image);
    return rc;
}

/* Validated is what the file has: what was rewritten has lost or gained a few things that matter to
 * validation (a section, an export), and the offsets of errors are then the file's own. */
static int compile(wasm_engine_t *engine, const struct buf *module, const struct buf *rewritten,
                   struct err *err)
{
    wasmtime_module_t *compiled = NULL;
    wasmtime_error_t *error;
    int rc;

    if (validate(engine, module, err) < 0)
        return -1;
    error = wasmtime_module_new(engine, rewritten->data, rewritten->len, &compiled);
    if (error)
        return from_wasmtime(error, ERR_UNSUPPORTED, "compiler", err);
    rc = serialize(compiled, err);
    wasmtime_module_delete(compiled);
    return rc;
}

/* --- all of it --- */

static int print_info(const struct rewrite_info *info, struct err *err)
{
    char max[16] = "null";

    if (info->memory_max != UINT32_MAX)
        snprintf(max, sizeof(max), "%" PRIu32, info->memory_max);
    printf("{\"mutable_globals\":%" PRIu32 ",\"memory_min\":%" PRIu32 ",\"memory_max\":%s,"
           "\"had_start\":%s}\n",
           info->mutable_globals, info->memory_min, max, info->had_start ? "true" : "false");
    return fflush(stdout) ? err_set(err, ERR_IO, errno, "stdout") : 0;
}

static int check(wasm_engine_t *engine, const struct buf *module, const struct buf *rewritten,
                 const struct rewrite_info *info, struct err *err)
{
    if (validate(engine, module, err) < 0)
        return -1;
    if (validate(engine, rewritten, err) < 0)
        return err_wrap(err, "rewritten");
    return print_info(info, err);
}

int compile_run(const struct compile_args *args, struct err *err)
{
    AUTO_BUF struct buf module = {.max = MODULE_BYTES_MAX};
    AUTO_BUF struct buf rewritten = {.max = REWRITE_BYTES_MAX};
    struct rewrite_info info;
    wasm_engine_t *engine;
    int rc;

    if (read_module(&module, args->in_bytes, err) < 0 ||
        check_digest(&module, args->sha256, err) < 0 ||
        rewrite_module(&rewritten, module.data, module.len, &info, err) < 0)
        return -1;
    engine = engine_make(err);
    if (!engine)
        return -1;
    rc = args->check ? check(engine, &module, &rewritten, &info, err)
                     : compile(engine, &module, &rewritten, err);
    wasm_engine_delete(engine);
    return rc;
}
