/* What the files of engine/ that include Wasmtime share. Nobody else includes this. */
#ifndef ROOST_ENGINE_INTERNAL_H
#define ROOST_ENGINE_INTERNAL_H

#include "base/limits.h"
#include "engine/cold.h"
#include "engine/engine.h"
#include "engine/sigbus.h"
#include "engine/wasi.h"

#include <stdatomic.h>
#include <wasm.h>
#include <wasmtime.h>

struct engine {
    wasm_engine_t *engine;
    wasmtime_linker_t *linker;
    const struct host_calls *calls;
    struct stacks *stacks;
    atomic_uint computing; /* instances that are being polled now */
    atomic_ulong ticks;
};

struct image {
    atomic_uint refs;
    wasmtime_module_t *module;
    wasmtime_instance_pre_t *pre;
    bool has_start, has_initialize;
    uint32_t nglobals;
    char **globals; /* export names of the mutable globals, in the module's order */
    uint32_t memories;
    char *unsavable; /* what of it a sleep would lose; NULL: nothing */
};

/* An import that waits: what to try again at each poll. */
struct pending {
    int32_t (*again)(struct instance *i, const wasmtime_val_t *args);
    const struct waiting *import; /* of module roost; NULL: WASI's, which is env */
    const void *env;
    const wasmtime_val_t *args;
    wasmtime_val_t *result;
    wasm_trap_t **trap;
};

struct instance {
    struct engine *engine;
    struct image *image;
    wasmtime_store_t *store;
    wasmtime_context_t *context;
    wasmtime_instance_t instance;
    wasmtime_memory_t memory;
    wasmtime_global_t *globals; /* image->nglobals of them, looked up when first needed */

    wasmtime_call_future_t *future;
    wasmtime_func_t func; /* what future calls: borrowed by it */
    enum instance_fn fn;
    wasmtime_val_t result;
    wasm_trap_t *trap;
    wasmtime_error_t *error;
    struct pending pending;
    bool waiting;
    bool has_memory; /* it was looked up */
    bool sleeping;   /* in WASI's poll_oneoff, until the layer above says that the time passed */

    uint64_t cpu_ns_max, cpu_ns, poll_began_ns;
    bool cpu_cut; /* the limit has cut it */
    unsigned long poll_began_tick;
    struct wasi_guest wasi;
    struct sigbus_guard guard;
    struct cold cold;
    bool mapped; /* some of its memory is a mapping of the arena */
    /* What a guest has left in its memory, and nobody may see. */
    struct left {
        uint32_t page, count;
    } left[INSTANCE_LEFT_MAX];
    unsigned nleft;
    unsigned uses; /* guests that it was before */
    void *user;
};

/* engine/abi.c: defines the imports of "roost" and WASI. */
int abi_define(struct engine *engine, struct err *err) ERR_CHECK;
void abi_bind_output(struct instance *i);

/* engine/stacks.c: a free list of fiber stacks, so that waking maps none. */
int stacks_new(struct stacks **out, struct err *err) ERR_CHECK;
/* Frees all but STACKS_IDLE_MAX of those that nobody uses. Any thread. */
void stacks_trim(struct stacks *s);
/* Gives the creator to the configuration; the configuration then owns `stacks`. */
void stacks_install(struct stacks *stacks, wasm_config_t *config);

/* WASMTIME_VALTYPE_KIND_...; wasm_valtype_kind ends the process at types that wasm.h does not know.
 */
uint8_t valtype_kind(const wasm_valtype_t *type);

/* Takes Wasmtime's error or trap (either may be NULL) and puts its text into err. Returns -1. */
int err_wasmtime(struct err *err, enum err_code code, wasmtime_error_t *error, wasm_trap_t *trap,
                 const char *what);

#endif
