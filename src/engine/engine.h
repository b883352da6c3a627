/* All that touches Wasmtime: the engine, images, and instances that run guests.
 *
 * An engine is made once. An image is a module compiled by roost-compile, mapped from its file and
 * shared by all guests that use it. An instance is one awake guest: a store, its memory, and at
 * most one call under way, on a fiber of its own. A call is begun and then polled: it runs until it
 * is done, traps, waits in an import for something outside, or has computed for a tick and yields
 * to others. Between calls an instance has no Wasm stack, so its state is its memory and its
 * mutable globals, and it can be saved (engine/snapshot.h) and made again from them
 * (instance_restore).
 *
 * Threads: engine and images are shared and immutable. An instance belongs to one thread at a time;
 * handing it over is the caller's business. Nothing here blocks except instance_free (unmapping)
 * and image_load (a file).
 */
#ifndef ROOST_ENGINE_ENGINE_H
#define ROOST_ENGINE_ENGINE_H

#include "base/bytes.h"
#include "base/err.h"
#include "engine/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct image;
struct instance;

/* What a function of struct host_calls returns when it must wait: the guest's fiber is suspended
 * and the function called again, with the same arguments, at each later instance_poll. */
#define HOST_PENDING INT32_MIN

struct host_call {
    struct bytes method, target, headers, body;
    uint32_t flags;
};

/* The nine imports of module "roost" (docs/abi.md), implemented by the layer above. Called on the
 * thread that polls, with pointers already checked against the guest's memory and valid until
 * return. ctx is the instance's user pointer. Only wait, read and attr may answer HOST_PENDING. */
struct host_calls {
    int32_t (*call)(void *ctx, const struct host_call *call);
    int32_t (*write)(void *ctx, int32_t h, struct bytes data);
    int32_t (*end)(void *ctx, int32_t h);
    /* handles: n little-endian i32, unaligned. */
    int32_t (*wait)(void *ctx, const uint8_t *handles, uint32_t n, int32_t timeout_ms);
    int32_t (*read)(void *ctx, int32_t h, uint8_t *buf, uint32_t cap);
    int32_t (*attr)(void *ctx, int32_t h, struct bytes name, uint8_t *buf, uint32_t cap);
    int32_t (*set)(void *ctx, int32_t h, struct bytes name, struct bytes value);
    int32_t (*close)(void *ctx, int32_t h);
    int32_t (*log)(void *ctx, int32_t level, struct bytes text);
    /* The import `name` gave the guest this error, which says that the guest misused it. */
    void (*misused)(void *ctx, const char *name, int32_t error);
    /* A line of the guest's stdout or stderr. */
    void (*output)(void *ctx, int fd, const char *text, size_t len);
};

int engine_new(struct engine **out, const struct host_calls *calls, struct err *err) ERR_CHECK;
/* All images and instances must be gone. NULL is fine. */
void engine_free(struct engine *engine);
/* When nothing runs: gives back what is kept for the next guests. Any thread. */
void engine_trim(struct engine *engine);
/* One tick: guests that compute for longer yield or are cut. Any thread. To be called each
 * millisecond while guests compute. False: none does at this moment. */
bool engine_tick(struct engine *engine);

/* Loads what roost-compile made. ERR_UNSUPPORTED: an import that the host does not have (named), no
 * export `roost_abi_1` or `handle`; ERR_CORRUPT: no image, or of another engine or configuration.
 */
int image_load(struct image **out, struct engine *engine, const char *path, struct err *err)
    ERR_CHECK;
struct image *image_ref(struct image *image);
void image_unref(struct image *image); /* NULL is fine; any thread */
uint32_t image_globals(const struct image *image);
/* What of its guests' state a sleep would lose, such as "table 0 (table.set in function 7)", so
 * that they cannot be saved (instance_save refuses); NULL: nothing. Lives as long as the image. */
const char *image_unsavable(const struct image *image);

struct instance_opts {
    uint64_t memory_bytes_max;            /* growth past it is refused to the guest; of several
                                             memories each gets an equal part */
    uint64_t cpu_ns_max;                  /* running time of one event; past it the call traps */
    const char *const *args, *const *env; /* WASI's; borrowed for the instance's life */
    size_t nargs, nenv;
    void *user; /* ctx of the host calls */
};

/* Instantiates: memory as in the module, nothing has run. ERR_NOMEM: the kernel's mappings or
 * memory are used up. */
int instance_new(struct instance **out, struct engine *engine, struct image *image,
                 const struct instance_opts *opts, struct err *err) ERR_CHECK;
enum restore_flags {
    RESTORE_NOWAIT = 1, /* what would be read from the disk is ERR_AGAIN instead */
    RESTORE_READ = 2,   /* read large runs too, instead of mapping them */
    RESTORE_COLD = 4, /* large runs are not in the page cache: read as they are touched (cold.h) */
};
/* Puts a snapshot's memory and globals in place; the instance must be new. Large runs are mapped,
 * small ones read; with RESTORE_READ all of them, which is right for a guest that will write to
 * most of them. ERR_AGAIN: a run to read or the header is not in the page cache (the caller has
 * snapshot_fetch done elsewhere and tries again with a new instance); ERR_CORRUPT: the header is
 * not what the record says, or the arena is too short. */
int instance_restore(struct instance *i, const struct snapshot *s, const struct arena *arena,
                     unsigned flags, struct err *err) ERR_CHECK;
/* The other user of an instance's lifetime: a guest that is awake changes hands between threads. */
void instance_set_user(struct instance *i, void *user);

enum instance_fn {
    INSTANCE_START,      /* roost:start, the module's start section; absent in most */
    INSTANCE_INITIALIZE, /* _initialize; absent in some */
    INSTANCE_HANDLE,     /* handle */
};
/* False: the module has no such function, nothing was begun. */
bool instance_begin(struct instance *i, enum instance_fn fn);

enum run_result {
    RUN_DONE,    /* result is set */
    RUN_WAITING, /* in an import; poll again when something came */
    RUN_YIELDED, /* computed for a tick; poll again after the others */
    RUN_TRAPPED, /* err says why, with a backtrace; ERR_CORRUPT: it is poisoned. The instance can
                    only be freed */
};
enum run_result instance_poll(struct instance *i, int32_t *result, struct err *err);
/* Drops the call under way; the instance can only be freed then. */
void instance_cancel(struct instance *i);
/* Running time of the current or last event, a fresh start for it included, in ns. */
uint64_t instance_cpu_ns(const struct instance *i);
/* A page of its mapped snapshot could not be read: the guest must not go on. */
bool instance_poisoned(const struct instance *i);
/* Guest memory now, in bytes. */
uint64_t instance_memory_bytes(const struct instance *i);

/* Saves (see snapshot_save). I/O thread, or a worker where pages_most makes it short; no call may
 * be under way. */
int instance_save(struct snapshot **out, struct slot *dropped, size_t *ndropped, struct instance *i,
                  struct arena *arena, const struct snapshot *base, const struct snapshot_id *id,
                  uint32_t pages_most, atomic_bool *abandon, struct err *err) ERR_CHECK;
/* After a save: takes all of the guest's out of the instance, so that another guest of the same
 * image can be woken in it: its memory is again as the module describes it, its globals are those
 * of the next snapshot, and what else of its state could have changed would have kept it from being
 * saved. Cheaper than a new one by the address space that is neither mapped nor unmapped, and by
 * the other processors that need not be told.
 *
 * left: the snapshot of that save, which says what differs from the module; these pages stay, and
 * the next guest's are read over them, or they go then: so where guests of an image use the same
 * pages nothing is given back, and nothing touched for the first time. NULL: all pages go now.
 * False: it cannot be used again; free it. */
bool instance_blank(struct instance *i, const struct snapshot *left);
/* Pages that a blank instance still has of its last guest. */
uint64_t instance_left_pages(const struct instance *i);
/* A blank instance becomes the guest whose snapshot will be restored into it next. False: it does
 * not fit (another image, or more memory than that guest has); it is blank still. */
bool instance_reuse(struct instance *i, const struct image *image, const struct instance_opts *opts,
                    const struct snapshot *s);
/* NULL is fine. Unmaps: milliseconds for a large guest. */
void instance_free(struct instance *i);

/* Brings a snapshot's header and small runs into the page cache. I/O thread; blocks. */
int snapshot_fetch(const struct snapshot *s, const struct arena *arena, struct err *err) ERR_CHECK;

#endif
