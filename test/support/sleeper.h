/* A guest as the snapshot module sees it: memory over an image, a model of what is in it, sleeps
 * and wakes. Header-only, for the tests of snapshots.
 */
#ifndef ROOST_TEST_SLEEPER_H
#define ROOST_TEST_SLEEPER_H

#include "engine/arena.h"
#include "engine/snapshot_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLEEPER_READ_PAGES 8u /* shorter runs are read at wake, longer ones mapped */

struct sleeper {
    struct arena *arena; /* borrowed */
    int image_fd;        /* borrowed; the memory's first image_pages at first */
    uint32_t image_pages, pages, pages_max;
    uint8_t *memory; /* of the instance */
    uint8_t *model;  /* what must be in it */
    struct global_bits globals[3];
    struct snapshot_id id;
    struct snapshot *snapshot; /* the last one, or NULL */
};

static inline uint8_t *sleeper_map(const struct sleeper *s)
{
    uint8_t *m = mmap(NULL, (size_t)s->pages_max * PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert(m != MAP_FAILED);
    madvise(m, (size_t)s->pages_max * PAGE_BYTES, MADV_NOHUGEPAGE);
    if (s->image_pages) {
        void *at = mmap(m, (size_t)s->image_pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_FIXED, s->image_fd, 0);

        assert(at == m);
    }
    return m;
}

static inline void sleeper_drop(struct sleeper *s)
{
    if (s->memory)
        munmap(s->memory, (size_t)s->pages_max * PAGE_BYTES);
    s->memory = NULL;
}

static inline void sleeper_init(struct sleeper *s, struct arena *arena, int image_fd,
                                uint32_t image_pages, uint32_t pages, uint32_t pages_max,
                                uint8_t uid)
{
    memset(s, 0, sizeof(*s));
    s->arena = arena;
    s->image_fd = image_fd;
    s->image_pages = image_pages;
    s->pages = pages;
    s->pages_max = pages_max;
    memset(s->id.uid, uid, sizeof(s->id.uid));
    memset(s->id.module, 0x5a, sizeof(s->id.module));
    s->memory = sleeper_map(s);
    s->model = mmap(NULL, (size_t)pages_max * PAGE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert(s->model != MAP_FAILED);
    if (image_pages)
        memcpy(s->model, s->memory, (size_t)image_pages * PAGE_BYTES);
}

static inline void sleeper_free(struct sleeper *s)
{
    sleeper_drop(s);
    if (s->model)
        munmap(s->model, (size_t)s->pages_max * PAGE_BYTES);
    snapshot_free(s->snapshot);
}

/* Writes a value to a page, in memory and model. */
static inline void sleeper_write(struct sleeper *s, uint32_t page, uint32_t value)
{
    size_t at = (size_t)page * PAGE_BYTES + value % (PAGE_BYTES / 4) * 4;

    assert(page < s->pages);
    memcpy(s->memory + at, &value, sizeof(value));
    memcpy(s->model + at, &value, sizeof(value));
}

static inline struct save sleeper_save_args(struct sleeper *s)
{
    struct save save = {.arena = s->arena,
                        .memory = s->memory,
                        .memory_pages = s->pages,
                        .globals = s->globals,
                        .nglobals = 3,
                        .base = s->snapshot,
                        .id = s->id};

    save.id.generation++;
    return save;
}

/* Saves; on success the snapshot replaces the old one, and dropped slots are given back where
 * `release` (else they are the caller's). The instance stays. */
static inline int sleeper_save(struct sleeper *s, struct slot *dropped, size_t *ndropped,
                               struct err *err)
{
    struct save save = sleeper_save_args(s);
    struct snapshot *made = NULL;

    if (snapshot_save(&made, dropped, ndropped, &save, err) < 0) {
        assert(!made);
        return -1;
    }
    snapshot_free(s->snapshot);
    s->snapshot = made;
    s->id.generation++;
    return 0;
}

/* A new instance from the snapshot, as the engine makes one. */
static inline void sleeper_wake(struct sleeper *s)
{
    const struct run *run;

    sleeper_drop(s);
    s->memory = sleeper_map(s);
    if (!s->snapshot)
        return;
    run = snapshot_runs(s->snapshot);
    for (uint32_t i = 0; i < s->snapshot->nruns; i++, run++) {
        uint8_t *at = s->memory + (size_t)run->page * PAGE_BYTES;
        size_t len = (size_t)run->count * PAGE_BYTES;
        off_t from = (off_t)(run->offset * PAGE_BYTES);

        if (run->count > SLEEPER_READ_PAGES) {
            void *to = mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                            arena_fd(s->arena), from);

            assert(to == at);
        } else {
            ssize_t n = pread(arena_fd(s->arena), at, len, from);

            assert(n == (ssize_t)len);
        }
    }
}

static inline bool sleeper_is_right(const struct sleeper *s)
{
    return memcmp(s->memory, s->model, (size_t)s->pages * PAGE_BYTES) == 0;
}

static inline uint64_t sleeper_slot_pages(const struct sleeper *s)
{
    uint64_t pages = 0;

    for (unsigned i = 0; s->snapshot && i < s->snapshot->nslots; i++)
        pages += snapshot_slots(s->snapshot)[i].pages;
    return pages;
}

#endif
