/* The one engine configuration, shared by the daemon and roost-compile.
 *
 * Wasmtime loads an image only into an engine that is configured as the one that made it, so nobody
 * else may set a property that changes code. A change here changes engine_config_key, and with it
 * the name of every image: old ones are simply not found any more.
 */
#ifndef ROOST_ENGINE_CONFIG_H
#define ROOST_ENGINE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

struct wasm_config_t; /* wasm_config_t of wasm.h, which only engine/ includes */

/* What guests' code may use of a fiber's stack, and the whole fiber's stack, in bytes: the rest is
 * for the host's functions that the guest calls. */
#define ENGINE_WASM_STACK_BYTES  (512u * 1024u)
#define ENGINE_FIBER_STACK_BYTES (1024u * 1024u)

/* A new configuration; wasm_engine_new_with_config takes it. compiler: with what only the compiling
 * build knows (it must then be that build). Never NULL: Wasmtime ends the process when memory is
 * short. */
struct wasm_config_t *engine_config(bool compiler);

/* Names all that an image depends on apart from its module: Wasmtime's version, the rewriter's, the
 * target with its CPU features, the settings. Any thread; the text lives for ever. */
const char *engine_config_key(void);

#endif
