/* Modules of guests, by their digest: each is compiled once and its image shared, for as long as a
 * guest uses it; and the store of modules that were sent, STATE/modules/HEX.wasm.
 *
 * What is in the store is what its name says (the digest is checked before the file is there). A
 * module that no guest uses stays for MODULE_KEEP_MS, since it is sent before the manifest that
 * names it. Loop thread, except where said; files are read on other threads.
 */
#ifndef ROOST_SERVE_MODULES_H
#define ROOST_SERVE_MODULES_H

#include "base/buf.h"
#include "base/loop.h"
#include "engine/engine.h"
#include "engine/imagecache.h"

#include <stdbool.h>

struct modules;
struct module;

#define MODULE_NAME_BYTES (sizeof("sha256:") + 2 * (size_t)IMAGE_DIGEST_BYTES) /* with its NUL */

struct modules_opts {
    struct loop *loop;
    struct engine *engine;
    const char *state_dir;
    /* The module is ready or has failed; not from within a function below. */
    void (*done)(void *ctx, struct module *m);
    void *ctx;
};

/* Makes the folder. */
int modules_new(struct modules **out, const struct modules_opts *opts, struct err *err) ERR_CHECK;
/* NULL is fine. */
void modules_free(struct modules *ms);

/* One more user of the module with this digest; its bytes are at path. NULL: no memory, or the
 * state directory's path is too long. */
struct module *modules_use(struct modules *ms, const uint8_t digest[IMAGE_DIGEST_BYTES],
                           const char *path, struct err *err);
struct module *modules_find(const struct modules *ms, const uint8_t digest[IMAGE_DIGEST_BYTES]);
/* One user less; with the last its image goes. NULL is fine. */
void module_unuse(struct module *m);
/* The image, borrowed; NULL: not ready, or failed. */
struct image *module_image(const struct module *m);
/* Why it cannot be used; NULL: nothing is wrong so far. */
const struct err *module_failed(const struct module *m);
const uint8_t *module_digest(const struct module *m);
/* Images that are mapped, and their bytes; added to. */
void modules_images(const struct modules *ms, uint64_t *n, uint64_t *bytes);
/* A line for each that is being compiled, appended. False: there are some. */
bool modules_ready(const struct modules *ms, struct buf *why);

/* --- the store --- */

/* "sha256:HEX" to bytes, and back. -1: it is none. Pure. */
int module_name_read(const char *name, uint8_t digest[IMAGE_DIGEST_BYTES]);
void module_name(char out[MODULE_NAME_BYTES], const uint8_t digest[IMAGE_DIGEST_BYTES]);
/* Where it is, or would be. -1: the path is too long. Any thread. */
int module_store_path(char *out, size_t cap, const char *state_dir,
                      const uint8_t digest[IMAGE_DIGEST_BYTES]);
/* It is there, and will stay for a while. Any thread; touches the file. */
bool module_stored(const char *path);
/* Puts it there, whole or not at all, synced. ERR_CORRUPT: the bytes have another digest.
 * ERR_INVALID: they are no WebAssembly. ERR_IO. Blocks: not on the loop. */
int module_store(const char *state_dir, const uint8_t digest[IMAGE_DIGEST_BYTES], const void *data,
                 size_t len, struct err *err) ERR_CHECK;

/* Removes from the store what no guest uses and nobody asked for in keep_ms; done every
 * MODULE_SWEEP_NS by itself. */
void modules_sweep(struct modules *ms, uint64_t keep_ms);

#endif
