/* Saving a guest's memory: scan, plan, one new slot, and the snapshot that results.
 *
 * The pages are written straight from the guest's memory, in chunks, each hashed right after it was
 * written: then it is in the processor's cache, and a page that cannot be read (the guest's memory
 * may be mapped from a snapshot whose file is damaged) was found by the kernel, as an error of the
 * write, and not by us, as a signal. The header page comes last, so an unfinished slot has none.
 *
 * Nothing that the base points to is touched, and nothing is synced: until the caller's record is
 * committed the base is what counts. Every way out but success gives the new slot back.
 */
#include "engine/snapshot.h"

#include "base/disk.h"
#include "base/hash.h"
#include "base/slab.h"
#include "engine/arena.h"
#include "engine/snapshot_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- the one block of a snapshot --- */

_Static_assert(sizeof(struct snapshot) % 8 == 0 && sizeof(struct slot) % 8 == 0 &&
                   sizeof(struct run) % 8 == 0,
               "the arrays behind a snapshot are aligned");

static size_t bytes_of(uint16_t nslots, uint32_t nruns, uint16_t nglobals)
{
    return sizeof(struct snapshot) + nslots * sizeof(struct slot) + nruns * sizeof(struct run) +
           nglobals * sizeof(struct global_bits);
}

struct snapshot *snapshot_new(uint16_t nslots, uint32_t nruns, uint16_t nglobals)
{
    struct snapshot *s = slab_alloc(&slab_common, bytes_of(nslots, nruns, nglobals));

    if (!s)
        return NULL;
    s->nslots = nslots;
    s->nruns = nruns;
    s->nglobals = nglobals;
    return s;
}

struct slot *snapshot_slots(const struct snapshot *s)
{
    return (struct slot *)(uintptr_t)(s + 1);
}

struct run *snapshot_runs(const struct snapshot *s)
{
    return (struct run *)(void *)(snapshot_slots(s) + s->nslots);
}

struct global_bits *snapshot_globals(const struct snapshot *s)
{
    return (struct global_bits *)(void *)(snapshot_runs(s) + s->nruns);
}

void snapshot_free(struct snapshot *s)
{
    if (s)
        slab_free(&slab_common, s, bytes_of(s->nslots, s->nruns, s->nglobals));
}

uint32_t snapshot_written(const struct snapshot *s)
{
    const struct slot *newest = snapshot_slots(s) + s->nslots - 1;

    return s->nslots && newest->generation == s->id.generation ? newest->pages - 1 : 0;
}

uint32_t snapshot_live(const struct snapshot *s)
{
    uint32_t n = 0;

    for (uint16_t i = 0; s && i < s->nslots; i++)
        n += snapshot_slots(s)[i].live + 1;
    return n;
}

void snapshot_discard(struct snapshot *s, struct arena *a)
{
    if (snapshot_written(s))
        arena_release(a, snapshot_slots(s) + s->nslots - 1, 1);
    snapshot_free(s);
}

/* --- writing the slot --- */

struct writer {
    const struct save *save;
    uint64_t at; /* byte of the arena where the next chunk goes */
    struct iovec iov[DISK_IOV_MAX];
    int n;
    size_t bytes; /* gathered in iov */
    struct hash sum;
};

static int abandoned(const struct save *save, struct err *err)
{
    if (save->abandon && atomic_load_explicit(save->abandon, memory_order_relaxed))
        return err_set(err, ERR_AGAIN, 0, "abandoned");
    return 0;
}

static int chunk_write(struct writer *w, struct err *err)
{
    const struct arena *a = w->save->arena;
    struct iovec iov[DISK_IOV_MAX]; /* used up by the write */

    if (w->n == 0)
        return 0;
    if (abandoned(w->save, err) < 0)
        return -1;
    memcpy(iov, w->iov, sizeof(iov[0]) * (size_t)w->n);
    if (disk_writev(arena_disk(a), arena_fd(a), iov, w->n, w->at, err) < 0)
        return -1;
    for (int i = 0; i < w->n; i++)
        hash_add(&w->sum, w->iov[i].iov_base, w->iov[i].iov_len);
    w->at += w->bytes;
    w->n = 0;
    w->bytes = 0;
    return 0;
}

static int run_write(struct writer *w, const struct run *run, struct err *err)
{
    const uint8_t *from = w->save->memory + (size_t)run->page * PAGE_BYTES;
    size_t left = (size_t)run->count * PAGE_BYTES;

    while (left) {
        size_t room = SAVE_CHUNK_BYTES - w->bytes, len = left < room ? left : room;

        w->iov[w->n++] = (struct iovec){.iov_base = (void *)(uintptr_t)from, .iov_len = len};
        w->bytes += len;
        from += len;
        left -= len;
        if ((w->bytes == SAVE_CHUNK_BYTES || w->n == (int)DISK_IOV_MAX) && chunk_write(w, err) < 0)
            return -1;
    }
    return 0;
}

static int header_write(const struct save *save, const struct plan *plan, const struct slot *slot,
                        struct err *err)
{
    struct slot_header h;
    uint8_t page[PAGE_BYTES];

    memcpy(h.uid, save->id.uid, sizeof(h.uid));
    memcpy(h.module, save->id.module, sizeof(h.module));
    h.generation = slot->generation;
    h.offset = slot->offset;
    h.pages = slot->pages;
    h.memory_pages = save->memory_pages;
    h.checksum = slot->checksum;
    h.nruns = (uint32_t)plan->write.n;
    for (size_t i = 0; i < plan->write.n; i++) {
        h.runs[i].page = plan->write.v[i].page;
        h.runs[i].count = plan->write.v[i].count;
    }
    slot_header_put(page, &h);
    if (abandoned(save, err) < 0)
        return -1;
    return disk_write(arena_disk(save->arena), arena_fd(save->arena), page, sizeof(page),
                      slot->offset * PAGE_BYTES, err);
}

/* Writes data and header into the slot's place; its checksum is known then. */
static int slot_fill(const struct save *save, const struct plan *plan, struct slot *slot,
                     struct err *err)
{
    struct writer w;

    w.save = save;
    w.at = (slot->offset + 1) * PAGE_BYTES;
    w.n = 0;
    w.bytes = 0;
    hash_begin(&w.sum);
    for (size_t i = 0; i < plan->write.n; i++)
        if (run_write(&w, &plan->write.v[i], err) < 0)
            return -1;
    if (chunk_write(&w, err) < 0)
        return -1;
    slot->checksum = hash_end(&w.sum);
    return header_write(save, plan, slot, err);
}

static int slot_write(struct slot *slot, const struct save *save, const struct plan *plan,
                      struct err *err)
{
    *slot = (struct slot){.pages = plan->write_pages + 1,
                          .live = plan->write_pages,
                          .generation = save->id.generation};
    if (arena_alloc_slot(save->arena, &slot->offset, slot->pages, err) < 0)
        return -1;
    if (slot_fill(save, plan, slot, err) < 0) {
        arena_give(save->arena, slot->offset, slot->pages);
        return -1;
    }
    return 0;
}

/* --- the result --- */

static unsigned slots_kept(const struct plan *plan)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SNAPSHOT_SLOTS_MAX; i++)
        n += plan->live[i] != 0;
    return n;
}

/* The runs that were written, now at their place, and those that stay, by page. */
static void runs_fill(struct run *out, const struct plan *plan, uint64_t slot_offset)
{
    const struct runs *write = &plan->write, *keep = &plan->keep;
    size_t w = 0, k = 0;

    while (w < write->n || k < keep->n) {
        if (k == keep->n || (w < write->n && write->v[w].page < keep->v[k].page)) {
            *out = write->v[w++];
            out->offset += slot_offset + 1;
            out++;
        } else {
            *out++ = keep->v[k++];
        }
    }
}

static void slots_fill(struct snapshot *s, const struct save *save, const struct plan *plan,
                       struct slot *dropped, size_t *ndropped)
{
    const struct slot *old = save->base ? snapshot_slots(save->base) : NULL;
    struct slot *out = snapshot_slots(s);

    *ndropped = 0;
    for (unsigned i = 0; save->base && i < save->base->nslots; i++) {
        if (plan->live[i]) {
            *out = old[i];
            out->live = plan->live[i];
            out++;
        } else {
            dropped[(*ndropped)++] = old[i];
        }
    }
}

/* All but the new slot's own content, which is not written yet. */
static struct snapshot *snapshot_make(const struct save *save, const struct plan *plan)
{
    unsigned nslots = slots_kept(plan) + (plan->write_pages ? 1 : 0);
    struct snapshot *s =
        snapshot_new((uint16_t)nslots, (uint32_t)(plan->write.n + plan->keep.n), save->nglobals);

    if (!s)
        return NULL;
    s->id = save->id;
    s->memory_pages = save->memory_pages;
    if (save->nglobals)
        memcpy(snapshot_globals(s), save->globals, save->nglobals * sizeof(*save->globals));
    return s;
}

static int save_check(const struct save *save, struct err *err)
{
    if (save->memory_pages > MEMORY_PAGES_MAX)
        return err_set(err, ERR_LIMIT, 0, "memory of %u pages, limit %u", save->memory_pages,
                       MEMORY_PAGES_MAX);
    if (save->nglobals > SNAPSHOT_GLOBALS_MAX)
        return err_set(err, ERR_LIMIT, 0, "%u globals, limit %u", save->nglobals,
                       SNAPSHOT_GLOBALS_MAX);
    if (save->base) {
        const struct snapshot_id *was = &save->base->id;

        assert(memcmp(was->uid, save->id.uid, sizeof(was->uid)) == 0);
        assert(memcmp(was->module, save->id.module, sizeof(was->module)) == 0);
        assert(was->generation < save->id.generation);
        assert(save->base->memory_pages <= save->memory_pages); /* memory never shrinks */
    }
    return 0;
}

static int save_planned(struct snapshot **out, struct slot *dropped, size_t *ndropped,
                        const struct save *save, const struct plan *plan, struct err *err)
{
    struct snapshot *s = snapshot_make(save, plan);
    struct slot *newest;

    if (!s)
        return err_set(err, ERR_NOMEM, 0, "no memory");
    newest = snapshot_slots(s) + s->nslots - 1;
    if (plan->write_pages && slot_write(newest, save, plan, err) < 0) {
        snapshot_free(s);
        return -1;
    }
    slots_fill(s, save, plan, dropped, ndropped);
    runs_fill(snapshot_runs(s), plan, plan->write_pages ? newest->offset : 0);
    *out = s;
    return 0;
}

int snapshot_save(struct snapshot **out, struct slot *dropped, size_t *ndropped,
                  const struct save *save, struct err *err)
{
    struct run *changed = NULL;
    size_t nchanged = 0;
    struct plan plan = {0};
    int rc;

    rc = save_check(save, err);
    if (rc == 0)
        rc = abandoned(save, err);
    if (rc == 0)
        rc = pagemap_changed(&changed, &nchanged, save->memory, save->memory_pages, err);
    if (rc == 0)
        rc = plan_make(&plan, changed, nchanged, save->base, save->memory_pages, err);
    if (rc == 0 && save->pages_most && plan.write_pages > save->pages_most)
        rc = err_set(err, ERR_AGAIN, 0, "%u pages to write", plan.write_pages);
    if (rc == 0)
        rc = save_planned(out, dropped, ndropped, save, &plan, err);
    plan_free(&plan);
    free(changed);
    return rc < 0 ? err_wrap(err, "snapshot save") : 0;
}
