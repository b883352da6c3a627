/* What a save writes: a pure function from (changed pages, base) to (pages to write, runs to keep).
 *
 * The pages that changed are written; what they cover in the base's runs is cut out of those, and
 * the rest of the base stays where it is. Left alone, that makes ever more and smaller runs and
 * slots, so three maxima are held by writing some pages of the base anew, which is always right
 * since the guest's memory holds them all:
 *
 *  - runs (SNAPSHOT_RUNS_MAX): runs shorter than a reach are written anew, and gaps up to the reach
 *    are written too, with the reach doubled until half of the maximum is left. So the many short
 *    pieces go first, and a large run stays unless the pieces around it are as large.
 *  - slots (SNAPSHOT_SLOTS_MAX): the slots with the least live pages are written anew, until half
 *    of the maximum is left: like the levels of a log-structured tree, a page is copied as often as
 *    the logarithm of the sleeps, and one large old slot not at all.
 *  - dead space (at most as much again as is live): the slot with the largest dead part is written
 *    anew.
 *
 * In the worst case that is everything. Short gaps of clean pages are written always: a run costs
 * more at each wake than a page here.
 */
#include "engine/snapshot_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- lists of runs --- */

static uint64_t run_end(const struct run *r)
{
    return (uint64_t)r->page + r->count;
}

static int runs_add(struct runs *r, struct run run, struct err *err)
{
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        struct run *v = realloc(r->v, cap * sizeof(*v));

        if (!v)
            return err_set(err, ERR_NOMEM, 0, "no memory for %zu runs of pages", cap);
        r->v = v;
        r->cap = cap;
    }
    r->v[r->n++] = run;
    return 0;
}

/* Adds a run of pages to write that begins no earlier than the last one, joined with that one where
 * no more than `reach` pages are between. */
static int runs_join(struct runs *r, struct run run, uint32_t reach, struct err *err)
{
    struct run *last = r->n ? &r->v[r->n - 1] : NULL;

    if (!last || run.page > run_end(last) + reach)
        return runs_add(r, run, err);
    if (run_end(&run) > run_end(last))
        last->count = (uint32_t)(run_end(&run) - last->page);
    return 0;
}

/* --- one pass --- */

/* What a pass rewrites of the base. */
struct rewrite {
    uint32_t reach; /* runs shorter than this, gaps up to this */
    uint32_t slots; /* a bit for each slot that is written anew */
};

static unsigned slot_of(const struct snapshot *base, uint64_t offset)
{
    const struct slot *slots = snapshot_slots(base);

    for (unsigned i = 0; i < base->nslots; i++)
        if (offset > slots[i].offset && offset < slots[i].offset + slots[i].pages)
            return i;
    abort(); /* a run that points into none of its snapshot's slots: a bug of ours */
}

/* keep = the base's runs less the pages of `write`. */
static int runs_subtract(struct runs *keep, const struct snapshot *base, const struct runs *write,
                         struct err *err)
{
    const struct run *runs = snapshot_runs(base);
    size_t w = 0;

    keep->n = 0;
    for (uint32_t i = 0; i < base->nruns; i++) {
        uint64_t at = runs[i].page, end = run_end(&runs[i]);

        while (at < end) {
            uint64_t stop = end;

            while (w < write->n && run_end(&write->v[w]) <= at)
                w++;
            if (w < write->n && write->v[w].page <= at) {
                at = run_end(&write->v[w]);
                continue;
            }
            if (w < write->n && write->v[w].page < end)
                stop = write->v[w].page;
            if (runs_add(keep,
                         (struct run){.page = (uint32_t)at,
                                      .count = (uint32_t)(stop - at),
                                      .offset = runs[i].offset + (at - runs[i].page)},
                         err) < 0)
                return -1;
            at = stop;
        }
    }
    return 0;
}

/* write = changed and those of `keep` that the rewrite takes, joined over short gaps. */
static int runs_collect(struct runs *write, const struct run *changed, size_t nchanged,
                        const struct runs *keep, const struct snapshot *base,
                        const struct rewrite *rewrite, struct err *err)
{
    size_t c = 0, k = 0;

    write->n = 0;
    while (c < nchanged || k < keep->n) {
        struct run next;

        if (k == keep->n || (c < nchanged && changed[c].page < keep->v[k].page)) {
            next = changed[c++];
        } else {
            next = keep->v[k++];
            if (next.count >= rewrite->reach &&
                !(rewrite->slots & 1u << slot_of(base, next.offset)))
                continue;
        }
        next.offset = 0;
        if (runs_join(write, next, rewrite->reach, err) < 0)
            return -1;
    }
    return 0;
}

static void pages_count(struct plan *p, const struct snapshot *base)
{
    p->write_pages = 0;
    for (size_t i = 0; i < p->write.n; i++) {
        p->write.v[i].offset = p->write_pages;
        p->write_pages += p->write.v[i].count;
    }
    memset(p->live, 0, sizeof(p->live));
    for (size_t i = 0; i < p->keep.n; i++)
        p->live[slot_of(base, p->keep.v[i].offset)] += p->keep.v[i].count;
}

static int plan_pass(struct plan *p, const struct run *changed, size_t nchanged,
                     const struct snapshot *base, const struct rewrite *rewrite, struct err *err)
{
    /* First only what changed, for what it leaves of the base; then what of that is rewritten. */
    static const struct rewrite none = {.reach = SNAPSHOT_JOIN_PAGES};
    static const struct runs nothing;

    if (runs_collect(&p->write, changed, nchanged, &nothing, base, &none, err) < 0)
        return -1;
    if (base && runs_subtract(&p->keep, base, &p->write, err) < 0)
        return -1;
    if (base && (rewrite->reach > SNAPSHOT_JOIN_PAGES || rewrite->slots)) {
        if (runs_collect(&p->write, changed, nchanged, &p->keep, base, rewrite, err) < 0 ||
            runs_subtract(&p->keep, base, &p->write, err) < 0)
            return -1;
    } else if (rewrite->reach > SNAPSHOT_JOIN_PAGES) {
        if (runs_collect(&p->write, changed, nchanged, &nothing, base, rewrite, err) < 0)
            return -1;
    }
    pages_count(p, base);
    return 0;
}

/* --- the maxima; each says what more is to be rewritten, or nothing --- */

static bool runs_too_many(const struct plan *p, struct rewrite *rewrite)
{
    size_t max = rewrite->reach > SNAPSHOT_JOIN_PAGES ? SNAPSHOT_RUNS_MAX / 2 : SNAPSHOT_RUNS_MAX;

    if (p->write.n + p->keep.n <= max)
        return false;
    rewrite->reach *= 2;
    return true;
}

static bool slots_too_many(const struct plan *p, const struct snapshot *base,
                           struct rewrite *rewrite)
{
    unsigned kept = 0, least = 0;
    unsigned max = rewrite->slots ? SNAPSHOT_SLOTS_MAX / 2 : SNAPSHOT_SLOTS_MAX;

    for (unsigned i = 0; i < base->nslots; i++) {
        if (p->live[i] == 0)
            continue;
        if (kept++ == 0 || p->live[i] < p->live[least])
            least = i;
    }
    if (kept + (p->write_pages ? 1 : 0) <= max)
        return false;
    rewrite->slots |= 1u << least;
    return true;
}

static bool dead_too_much(const struct plan *p, const struct snapshot *base,
                          struct rewrite *rewrite)
{
    const struct slot *slots = snapshot_slots(base);
    uint64_t kept = p->write_pages, live = p->write_pages, dead_most = 0;
    unsigned worst = 0;

    for (unsigned i = 0; i < base->nslots; i++) {
        uint64_t pages = slots[i].pages - 1;

        if (p->live[i] == 0)
            continue;
        kept += pages;
        live += p->live[i];
        if (pages - p->live[i] > dead_most) {
            dead_most = pages - p->live[i];
            worst = i;
        }
    }
    if (kept <= 2 * live)
        return false;
    rewrite->slots |= 1u << worst;
    return true;
}

int plan_make(struct plan *p, const struct run *changed, size_t nchanged,
              const struct snapshot *base, uint32_t memory_pages, struct err *err)
{
    struct rewrite rewrite = {.reach = SNAPSHOT_JOIN_PAGES};

    memset(p, 0, sizeof(*p));
    for (;;) {
        if (plan_pass(p, changed, nchanged, base, &rewrite, err) < 0)
            return -1;
        assert(rewrite.reach <= 2 * memory_pages + 2); /* all is one run by then */
        if (nchanged == 0) /* nothing to write: the base as it is, which is within the maxima */
            return 0;
        if (runs_too_many(p, &rewrite))
            continue;
        if (!base || (!slots_too_many(p, base, &rewrite) && !dead_too_much(p, base, &rewrite)))
            return 0;
    }
}

void plan_free(struct plan *p)
{
    free(p->write.v);
    free(p->keep.v);
    memset(p, 0, sizeof(*p));
}
