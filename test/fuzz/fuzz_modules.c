/* The rewriter and the compiler on any bytes: what the compiler finds valid the rewriter never
 * calls malformed (it may refuse it by name), and what the rewriter makes of it is valid too. */
#include "base/auto.h"
#include "base/limits.h"
#include "engine/config.h"
#include "engine/rewrite.h"

#include <assert.h>
#include <stdbool.h>
#include <wasm.h>
#include <wasmtime.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static wasm_engine_t *engine;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    engine = wasm_engine_new_with_config(engine_config(true));
    return 0;
}

static bool is_valid(const uint8_t *bytes, size_t len)
{
    wasmtime_error_t *error = wasmtime_module_validate(engine, bytes, len);

    if (error)
        wasmtime_error_delete(error);
    return !error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF struct buf out = {.max = REWRITE_BYTES_MAX};
    struct rewrite_info info;
    struct err err = {.code = ERR_NONE};
    bool valid = is_valid(data, size);

    if (rewrite_module(&out, data, size, &info, &err) < 0)
        assert(!valid || err.code != ERR_INVALID);
    else
        assert(!valid || is_valid((const uint8_t *)out.data, out.len));
    return 0;
}
