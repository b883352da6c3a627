/* Images on disk: where they are, whether one can be used, and having one made.
 *
 * An image's name holds its module's digest and a digest of all else that it depends on
 * (engine_config_key), so an image is either right for this daemon or not found. It is machine code
 * that will run in this process: only a file of our own that nobody else may write is used.
 * Making one is roost-compile's work, in another process; at most so many at once, the others wait
 * in order.
 */
#ifndef ROOST_ENGINE_IMAGECACHE_H
#define ROOST_ENGINE_IMAGECACHE_H

#include "base/err.h"
#include "base/loop.h"

#include <stddef.h>
#include <stdint.h>

#define IMAGE_DIGEST_BYTES 32

/* The sha256 and size of a module's file. Blocks: I/O thread. ERR_NOT_FOUND, ERR_DENIED, ERR_IO;
 * ERR_LIMIT past MODULE_BYTES_MAX; ERR_INVALID: no regular file. size may be NULL. */
int image_digest(const char *module_path, uint8_t out[IMAGE_DIGEST_BYTES], uint64_t *size,
                 struct err *err) ERR_CHECK;

/* The same of a module in memory. ERR_NOMEM. */
int image_digest_bytes(const void *data, size_t len, uint8_t out[IMAGE_DIGEST_BYTES],
                       struct err *err) ERR_CHECK;

/* CACHE_DIR/<module's digest>-<16 digits of the configuration's>.image. ERR_LIMIT: cap. */
int image_path(char *out, size_t cap, const char *cache_dir,
               const uint8_t digest[IMAGE_DIGEST_BYTES], struct err *err) ERR_CHECK;

/* May this image be loaded? Reads all of it. ERR_NOT_FOUND: it is to be compiled. ERR_CORRUPT: it
 * is damaged, and to be compiled again. ERR_DENIED: something else is there, or it belongs to or
 * can be written by somebody else (remove it). ERR_IO. */
int image_check(const char *path, struct err *err) ERR_CHECK;

/* --- compiling --- */

struct compile;

struct compile_opts {
    const char *program; /* NULL: $ROOST_COMPILE, else roost-compile beside this program */
    const char *module_path, *image_path;
    const uint8_t *digest; /* the module must still have it; NULL: any */
    uint64_t memory_bytes; /* 0: COMPILE_MEMORY_BYTES_MAX */
    uint32_t cpu_s;        /* 0: COMPILE_CPU_S_MAX */
    uint64_t time_ms;      /* wall clock; 0: COMPILE_TIME_MS_MAX */
};

/* err NULL: the image is in place. Else err says what is wrong with the module or the compiler;
 * ERR_LIMIT and ERR_TIMEOUT may be worth another try, ERR_INVALID and ERR_UNSUPPORTED are not.
 * The compile is gone when this is called. Loop thread. */
typedef void compile_done(void *ctx, const struct err *err);

/* Starts at once. Copies the options. Loop thread, as all below. */
int compile_start(struct compile **out, struct loop *loop, const struct compile_opts *opts,
                  compile_done *done, void *ctx, struct err *err) ERR_CHECK;
/* Kills it, or takes it out of its queue: done is not called. NULL is fine. */
void compile_cancel(struct compile *c);

/* At most jobs_max run at once, the others in order of arrival; ERR_LIMIT past COMPILE_QUEUE_MAX
 * waiting. */
struct compile_queue;
int compile_queue_new(struct compile_queue **out, struct loop *loop, unsigned jobs_max,
                      struct err *err) ERR_CHECK;
int compile_queue_add(struct compile **out, struct compile_queue *queue,
                      const struct compile_opts *opts, compile_done *done, void *ctx,
                      struct err *err) ERR_CHECK;
/* Cancels all that wait or run. Not from a compile_done. NULL is fine. */
void compile_queue_free(struct compile_queue *queue);

#endif
