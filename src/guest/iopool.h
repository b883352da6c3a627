/* I/O threads: what may block on the disk, or takes long to unmap.
 *
 * Saving an idle guest and dropping its instance; bringing a snapshot into the page cache before a
 * worker takes it; checking a snapshot's pages after the machine went down; dropping instances.
 */
#ifndef ROOST_GUEST_IOPOOL_H
#define ROOST_GUEST_IOPOOL_H

#include "guest/awake.h"

struct iopool;
struct spares;

struct iopool_env {
    struct loop *loop;
    struct arena *arena;
    struct spares *spares;
    void (*back)(struct msg *m); /* runs on the loop when a save is over */
};

int iopool_start(struct iopool **out, const struct iopool_env *env, size_t threads, struct err *err)
    ERR_CHECK;
/* Finishes what was given to it; its threads are gone, what they might still be asked for is not.
 * NULL is fine. */
void iopool_join(struct iopool *io);
/* The same, and frees it. */
void iopool_stop(struct iopool *io);

/* Loop: save the guest (a->save_as, a->from) and drop its instance, or only drop it (a->drop_only);
 * it comes back to the loop with OUT_SAVED, OUT_ABANDONED, OUT_UNSAVED, or OUT_CORRUPT (its memory
 * is mapped from a snapshot that cannot be read any more; it is dropped). */
void iopool_save(struct iopool *io, struct awake *a);
/* Any thread: bring its snapshot in (and check its pages where a->verify), then give it to its
 * worker again; where that fails, back to the loop with OUT_CORRUPT or OUT_NO_ROOM. */
void iopool_fetch(struct iopool *io, struct awake *a);
/* Worker: an event that ended its guest: drop the instance, then to the loop with that outcome. For
 * those whose memory takes long to unmap. */
void iopool_drop(struct iopool *io, struct awake *a, enum outcome outcome);
/* Any thread: give space that sleeps have freed back to the file system, where there is enough of
 * it. */
void iopool_trim(struct iopool *io);
/* Worker: the guest will write to most of its memory: read all of its snapshot into its instance,
 * then back to its worker. Where it is not in the page cache, or that fails, as iopool_fetch. */
void iopool_read(struct iopool *io, struct awake *a);
/* Any thread: have spares_sweep called. */
void iopool_sweep(struct iopool *io);

#endif
