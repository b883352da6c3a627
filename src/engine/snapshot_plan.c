/* What a save writes: a pure function from (changed pages, base) to (pages to write, runs to keep).
 *
 * The pages that changed are written; what they cover in the base's runs is cut out of those, and
 * the rest of the base stays where it is. Left alone, that makes ever more and smaller runs and
 * slots, so three maxima are held by writing some pages of the base anew, which is always right
 * since the guest's memory holds them all:
 *
 *  - runs (SNAPSHOT_RUNS_MAX): neighbouring runs are joined, those first whose join writes the
 *    fewest pages (of the base's runs, and of the gap between), until three quarters of the maximum
 *    are left. So what is written is spread over many sleeps, and a large run stays as it is.
 *    Where there are more than twice the maximum (a guest that touched every third page), gaps are
 *    closed up to a reach first, doubled until there are not.
 *  - slots (SNAPSHOT_SLOTS_MAX): the slots with the least live pages are written anew, until half
 *    of the maximum is left: like the levels of a log-structured tree, a page is copied as often as
 *    the logarithm of the sleeps, and one large old slot not at all.
 *  - dead space (slots take at most twice the pages that are live, their headers included): the
 *    slot with the largest dead part is written anew.
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

/* What a pass writes besides what changed. */
struct rewrite {
    uint32_t reach; /* runs of the base shorter than this, gaps up to this */
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
    assert(base || !p->keep.n);
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

/* --- too many runs --- */

struct piece {
    uint32_t page, count;
    bool written;
    bool joined; /* with the next */
};

/* Both lists of a plan in one, by page. */
static struct piece *pieces_make(const struct plan *p)
{
    size_t n = p->write.n + p->keep.n, w = 0, k = 0;
    struct piece *pieces = calloc(n, sizeof(*pieces));

    for (size_t i = 0; pieces && i < n; i++) {
        bool written = k == p->keep.n || (w < p->write.n && p->write.v[w].page < p->keep.v[k].page);
        const struct run *run = written ? &p->write.v[w++] : &p->keep.v[k++];

        pieces[i] = (struct piece){.page = run->page, .count = run->count, .written = written};
    }
    return pieces;
}

/* Pages to write for joining a piece with the next. */
static uint32_t join_cost(const struct piece *a)
{
    const struct piece *b = a + 1;

    return b->page - (a->page + a->count) + (a->written ? 0 : a->count) +
           (b->written ? 0 : b->count);
}

static void join_cheapest(struct piece *pieces, size_t n)
{
    struct piece *best = NULL;

    for (size_t i = 0; i + 1 < n; i++)
        if (!pieces[i].joined && (!best || join_cost(&pieces[i]) < join_cost(best)))
            best = &pieces[i];
    assert(best);
    best->joined = best->written = best[1].written = true;
}

/* Joins neighbours until no more than `most` runs are left. */
static int plan_squeeze(struct plan *p, const struct snapshot *base, size_t most, struct err *err)
{
    size_t n = p->write.n + p->keep.n;
    struct piece *pieces = pieces_make(p);
    int rc = 0;

    if (!pieces)
        return err_set(err, ERR_NOMEM, 0, "no memory for %zu runs of pages", n);
    for (size_t left = n; left > most; left--)
        join_cheapest(pieces, n);
    p->write.n = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct run run = {.page = pieces[i].page, .count = pieces[i].count};

        if (pieces[i].joined)
            run.count = pieces[i + 1].page + pieces[i + 1].count - run.page;
        if (pieces[i].written)
            rc = runs_join(&p->write, run, 0, err);
    }
    free(pieces);
    if (rc == 0 && base)
        rc = runs_subtract(&p->keep, base, &p->write, err);
    pages_count(p, base);
    return rc;
}

/* --- the other maxima; each says what more is to be rewritten, or nothing --- */

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
    uint64_t kept = p->write_pages ? p->write_pages + 1 : 0, live = p->write_pages, dead_most = 0;
    unsigned worst = 0;

    for (unsigned i = 0; i < base->nslots; i++) {
        uint64_t pages = slots[i].pages;

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
        size_t runs;

        if (plan_pass(p, changed, nchanged, base, &rewrite, err) < 0)
            return -1;
        runs = p->write.n + p->keep.n;
        if (nchanged == 0) /* nothing to write: the base as it is, which is within the maxima */
            return 0;
        if (runs > 2 * SNAPSHOT_RUNS_MAX) {
            assert(rewrite.reach <= memory_pages); /* else all is one run by now */
            rewrite.reach *= 2;
            continue;
        }
        if (runs > SNAPSHOT_RUNS_MAX && plan_squeeze(p, base, SNAPSHOT_RUNS_MAX / 4 * 3, err) < 0)
            return -1;
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
