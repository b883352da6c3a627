/* Small blocks that stay for long, apart from what comes and goes.
 *
 * A sleeping guest is a few small blocks among what its last event needed for a moment. In malloc's
 * heap each such block keeps a page that is otherwise free: after a burst of a thousand events 150
 * bytes for each guest held .7 MB. Here blocks of about the same size share pages of their own, and
 * a page without a block goes back to the system.
 *
 * The owner says how large a block is when it frees it; so a block has no head. Any thread.
 */
#ifndef ROOST_BASE_SLAB_H
#define ROOST_BASE_SLAB_H

#include "base/limits.h"

#include <pthread.h>
#include <stddef.h>

struct slab_page;
struct slab_chunk;

struct slab {
    pthread_mutex_t lock;
    struct slab_page *room[SLAB_BLOCK_MAX / 16]; /* of each size: pages with a free block */
    struct slab_page **empty;                    /* pages without any */
    size_t nempty, npages;                       /* npages: all, and the room in empty */
    struct slab_chunk *chunks;
};

#define SLAB_INIT                                                                                  \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER                                                          \
    }

/* The one that all share who have no reason for their own. */
extern struct slab slab_common;

/* n bytes, all zero, aligned to 16; above SLAB_BLOCK_MAX from malloc. NULL: no memory. */
void *slab_alloc(struct slab *s, size_t n);
/* n as it was given to slab_alloc. p may be NULL. */
void slab_free(struct slab *s, void *p, size_t n);
/* Pages that hold blocks. */
size_t slab_pages(struct slab *s);
/* All of it; every block must have been freed. The slab is as new. */
void slab_destroy(struct slab *s);

#endif
