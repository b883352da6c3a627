/* Between the files of the snapshot module (snapshot*.c), their tests and their fuzzer. */
#ifndef ROOST_ENGINE_SNAPSHOT_INTERNAL_H
#define ROOST_ENGINE_SNAPSHOT_INTERNAL_H

#include "base/limits.h"
#include "engine/snapshot.h"

#define MEMORY_PAGES_MAX ((uint32_t)(SNAPSHOT_BYTES_MAX / PAGE_BYTES))

/* --- snapshot.c --- */

/* A zeroed snapshot with room for the arrays, as one block; NULL where memory is short. */
struct snapshot *snapshot_new(uint16_t nslots, uint32_t nruns, uint16_t nglobals);

/* --- snapshot_plan.c: which pages a save writes, and what the result is made of. Pure. --- */

struct runs {
    struct run *v;
    size_t n, cap;
};

struct plan {
    struct runs write; /* pages to write, by page; offset: place in the new slot's data, from 0 */
    struct runs keep;  /* runs of the base that stay, by page */
    uint32_t write_pages;
    uint32_t live[SNAPSHOT_SLOTS_MAX]; /* of the base's slots, by index */
};

/* changed: by page, neither touching nor overlapping. base may be NULL. The plan is freed with
 * plan_free, also after a failure. ERR_NOMEM. */
int plan_make(struct plan *p, const struct run *changed, size_t nchanged,
              const struct snapshot *base, uint32_t memory_pages, struct err *err) ERR_CHECK;
void plan_free(struct plan *p);

/* --- pagemap.c --- */

/* For tests: as on a kernel without PAGEMAP_SCAN. */
void pagemap_without_scan(bool without);

/* --- snapshot_slot.c: the header page of a slot --- */

struct slot_header {
    uint8_t uid[16], module[32];
    uint64_t generation;
    uint64_t offset; /* its own place: a copy elsewhere is not it */
    uint32_t pages, memory_pages;
    uint64_t checksum; /* of the data pages */
    uint32_t nruns;
    struct {
        uint32_t page, count;
    } runs[SNAPSHOT_RUNS_MAX]; /* what the data pages are, in their order */
};

/* Fills a page; the header must be sound. */
void slot_header_put(uint8_t page[PAGE_BYTES], const struct slot_header *h);
/* ERR_CORRUPT: not a header, of another version, damaged, or not sound. Reads the page only. */
int slot_header_get(struct slot_header *h, const uint8_t page[PAGE_BYTES], struct err *err)
    ERR_CHECK;

#endif
