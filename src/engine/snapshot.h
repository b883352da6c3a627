/* Snapshots: the memory of sleeping guests, as slots in an arena file.
 *
 * A slot holds the pages that one sleep wrote, behind one header page that repeats whose they are
 * (uid, generation, module digest) with a checksum of header and pages. A snapshot is the whole
 * list of runs (guest pages -> place in the arena) and the guest's mutable globals; its runs may
 * point into older slots of the same guest, which stay in use while one does. A slot is written
 * once, never again while anything may point to it or have it mapped; its space is used again only
 * after the caller said so (snapshot_release), which it does once the commit that dropped it is on
 * disk.
 *
 * Units: page = 4096 bytes. Offsets into the arena are in pages.
 */
#ifndef ROOST_ENGINE_SNAPSHOT_H
#define ROOST_ENGINE_SNAPSHOT_H

#include "base/buf.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u

struct arena; /* one file of slots, with the map of what is free; thread-safe */

struct run {
    uint32_t page;   /* first page of guest memory */
    uint32_t count;  /* pages */
    uint64_t offset; /* where they are in the arena */
};

struct slot {
    uint64_t offset; /* the header page in the arena */
    uint32_t pages;  /* header included */
    uint32_t live;   /* data pages that runs still point to */
    uint64_t generation;
    uint64_t checksum; /* XXH3-64 of the data pages, as in the header */
};

/* Who a snapshot belongs to; it is restored under no other. */
struct snapshot_id {
    uint8_t uid[16];     /* the guest's, random, made at its first deployment */
    uint8_t module[32];  /* digest of module, rewriter version, environment and arguments */
    uint64_t generation; /* counts the guest's sleeps */
};

/* One allocation, so that a sleeping guest costs one block. Arrays behind the struct. */
struct snapshot {
    struct snapshot_id id;
    uint32_t memory_pages; /* guest memory in pages of 4096 bytes */
    uint16_t nglobals, nslots;
    uint32_t nruns;
    /* then: struct slot slots[nslots], newest last; struct run runs[nruns], by page;
     *       struct { uint64_t lo, hi; } globals[nglobals] */
};

struct global_bits {
    uint64_t lo, hi; /* hi is 0 but for v128 */
};

struct slot *snapshot_slots(const struct snapshot *s);
struct run *snapshot_runs(const struct snapshot *s);
struct global_bits *snapshot_globals(const struct snapshot *s);
void snapshot_free(struct snapshot *s);
/* Data pages that its own sleep wrote: 0 where nothing had changed. */
uint32_t snapshot_written(const struct snapshot *s);

/* Pages of its slots that count, headers included; NULL: none. */
uint32_t snapshot_live(const struct snapshot *s);

/* Opens or creates the arena file (0600). Nothing is in use until arena_claim. */
int arena_open(struct arena **out, const char *path, struct err *err) ERR_CHECK;
void arena_close(struct arena *a);
int arena_fd(const struct arena *a);
/* At start-up: these pages are in use by a restored record. ERR_CORRUPT: overlaps another's, or
 * lies beyond the end of the file. */
int arena_claim(struct arena *a, uint64_t offset, uint32_t pages, struct err *err) ERR_CHECK;
/* Gives all of a snapshot's slots back (or those listed). Only once no record on disk and no
 * mapping points there. */
void arena_release(struct arena *a, const struct slot *slots, size_t n);

/* What counts of all slots in use has changed by so many pages: twice that, and
 * ARENA_FREE_KEEP_BYTES, may stay on disk while guests sleep one after the other, since what was
 * free a moment ago is soon written again. Any thread. */
void arena_live(struct arena *a, int64_t pages);
/* No guest has slept for a while: what is free goes back to the file system down to
 * ARENA_FREE_KEEP_BYTES, and what lies behind the last slot leaves the page cache, until a slot is
 * taken again. Any thread. */
void arena_rest(struct arena *a);

struct arena_stats {
    uint64_t file_pages, used_pages, free_extents;
    uint64_t held_pages; /* that may take blocks of the disk: in use, or free and no hole yet */
};
void arena_stats(struct arena *a, struct arena_stats *out);

/* What a save needs. Borrowed until it returns. */
struct save {
    struct arena *arena;
    const uint8_t *memory; /* the guest's, nobody else touching it */
    uint32_t memory_pages;
    const struct global_bits *globals;
    uint16_t nglobals;
    const struct snapshot *base; /* the snapshot the instance was woken from, or NULL */
    struct snapshot_id id;
    uint32_t pages_most;  /* more to write than this: give up; 0: any number */
    atomic_bool *abandon; /* looked at before each chunk of SAVE_CHUNK_BYTES; set: give up */
};

/* Writes the pages that changed since `base` (all that differ from the image where base is NULL) to
 * a new slot and makes the new snapshot: base's runs overlaid with the new ones. Where the result
 * would have more than SNAPSHOT_RUNS_MAX runs, neighbouring runs are joined over clean pages; where
 * it would have more than SNAPSHOT_SLOTS_MAX slots, or slots of more than twice the pages that are
 * live (headers included), the smallest or deadest slots are written anew (snapshot_plan.c). Where
 * nothing changed no slot is written, and the new snapshot stands on base's alone. I/O thread;
 * blocks for the writes; does not sync.
 *
 * dropped: slots of base that the new snapshot no longer uses (array of SNAPSHOT_SLOTS_MAX given by
 * the caller), *ndropped how many. id.generation must be above base's, the rest of the id the same.
 *
 * Nothing is kept after an error. ERR_AGAIN: abandoned, or more than pages_most. ERR_LIMIT:
 * SNAPSHOT_BYTES_MAX, SNAPSHOT_GLOBALS_MAX, ARENA_BYTES_MAX. ERR_IO. ERR_CORRUPT: a page of the
 * guest's memory cannot be read, since the snapshot that it is mapped from is damaged. */
int snapshot_save(struct snapshot **out, struct slot *dropped, size_t *ndropped,
                  const struct save *save, struct err *err) ERR_CHECK;

/* Undoes a save whose result is not kept (its record could not be committed, the guest is
 * poisoned): gives back the slot that it wrote, if it wrote one (a save that found no changed page
 * did not), and frees the snapshot. What it had from its base is left alone. */
void snapshot_discard(struct snapshot *s, struct arena *a);

/* Reads the newest slot's header and compares it with the record: ERR_CORRUPT with what differs.
 * nowait: ERR_AGAIN where it is not in the page cache (any thread); else it blocks (I/O thread). */
int snapshot_check_header(const struct snapshot *s, const struct arena *a, bool nowait,
                          struct err *err) ERR_CHECK;
/* Reads all pages of all slots and checks their checksums. I/O thread; blocks. */
int snapshot_check_pages(const struct snapshot *s, const struct arena *a, struct err *err)
    ERR_CHECK;

/* For the record in the database. decode checks every length and range. */
int snapshot_encode(struct buf *out, const struct snapshot *s, struct err *err) ERR_CHECK;
int snapshot_decode(struct snapshot **out, const uint8_t *data, size_t len, struct err *err)
    ERR_CHECK;

/* engine/pagemap.c: the pages of [memory, memory + pages) that were copied on write (anonymous and
 * not the zero page), by PAGEMAP_SCAN; on kernels before 6.7 by /proc/self/pagemap, which counts
 * the zero page as well. Runs in page order, in an array that the caller frees; offset is 0.
 * ERR_UNSUPPORTED: there is no /proc/self/pagemap. */
int pagemap_changed(struct run **out, size_t *nout, const uint8_t *memory, uint32_t pages,
                    struct err *err) ERR_CHECK;

#endif
