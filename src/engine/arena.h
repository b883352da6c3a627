/* The arena beyond what engine/snapshot.h shows of it: for the snapshots' own files, the I/O thread
 * that trims it, and tests.
 */
#ifndef ROOST_ENGINE_ARENA_H
#define ROOST_ENGINE_ARENA_H

#include "base/disk.h"
#include "engine/snapshot.h"

/* arena_open on another disk, which is borrowed until arena_close. */
int arena_open_on(struct arena **out, const char *path, const struct disk *disk, struct err *err)
    ERR_CHECK;
const struct disk *arena_disk(const struct arena *a);

/* Takes `pages` pages that lie together; the file grows where nothing free is large enough.
 * What was there before is undefined. Any thread.
 * ERR_LIMIT: ARENA_BYTES_MAX, ARENA_SLOTS_MAX. ERR_IO: the file cannot grow, or was cut off from
 * outside and has no room before its end. ERR_NOMEM. */
int arena_alloc(struct arena *a, uint64_t *offset, uint32_t pages, struct err *err) ERR_CHECK;

/* The same for a slot, a header page and then data: where the data are larger than a chunk
 * (SAVE_CHUNK_BYTES) they begin at a multiple of it in the file. Written in such chunks they are in
 * the page cache in large folios, which are mapped up to five times faster than single pages. */
int arena_alloc_slot(struct arena *a, uint64_t *offset, uint32_t pages, struct err *err) ERR_CHECK;

/* Gives back what one arena_alloc (or arena_claim) took, whole. Never fails, no I/O. Any thread. */
void arena_give(struct arena *a, uint64_t offset, uint32_t pages);

/* Something free is worth giving back to the file system. Any thread; cheap. */
bool arena_trim_due(struct arena *a);

/* Gives free space back: punches holes into free extents, first those of ARENA_PUNCH_MIN_BYTES and
 * more, where more hold blocks than are kept because writing to them is fast (arena_live), and cuts
 * a long free tail off the file. At most ARENA_TRIM_EXTENTS_MAX extents a call: call again while
 * due. I/O thread; blocks. ERR_IO: the rest stays as it is. */
int arena_trim(struct arena *a, struct err *err) ERR_CHECK;

/* Asserts that the map of free space is sound, in O(free extents). For tests. */
void arena_check(struct arena *a);

#endif
