#include "guest/census.h"

#include "guest/guest.h"
#include "guest/mailbox.h"

#include <assert.h>

/* Clearly more, so that those who have about as many do not take turns. */
static uint64_t bar_above(uint64_t events)
{
    return events + events / 4 + 16;
}

static size_t least(const struct census *c)
{
    size_t at = 0;

    for (size_t i = 1; i < c->n; i++)
        if (c->named[i].guest->counts.events < c->named[at].guest->counts.events)
            at = i;
    return at;
}

/* All counts are of one type, so that they are added as an array. */
#define COUNTS (sizeof(struct guest_counts) / sizeof(uint64_t))
_Static_assert(COUNTS * sizeof(uint64_t) == sizeof(struct guest_counts), "nothing but counts");

/* to += a - b, or to -= that. */
static void add(struct guest_counts *to, const struct guest_counts *a, const struct guest_counts *b,
                bool minus)
{
    uint64_t *t = &to->wakes;
    const uint64_t *from = &a->wakes, *less = &b->wakes;

    for (size_t i = 0; i < COUNTS; i++)
        t[i] += minus ? less[i] - from[i] : from[i] - less[i];
}

void census_add(struct guest_counts *to, const struct guest_counts *more)
{
    const struct guest_counts none = {0};

    add(to, more, &none, false);
}

static void take_out(struct census *c, size_t at)
{
    struct guest *g = c->named[at].guest;

    add(&c->left, &g->counts, &c->named[at].before, false);
    g->named = false;
    c->named[at] = c->named[--c->n];
}

/* Those that are named go on having events, so the bar is looked at only when it is reached. */
void census_event(struct census *c, struct guest *g)
{
    static const uint64_t first = 1;

    if (c->n == METRICS_GUESTS_MAX) {
        size_t at = least(c);

        c->bar = bar_above(c->named[at].guest->counts.events);
        if (g->counts.events < c->bar)
            return;
        take_out(c, at);
    }
    g->named = true;
    c->named[c->n].guest = g;
    c->named[c->n++].before = g->counts;
    c->bar =
        c->n == METRICS_GUESTS_MAX ? bar_above(c->named[least(c)].guest->counts.events) : first;
}

void census_forget(struct census *c, const struct guest *g)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->named[i].guest != g)
            continue;
        take_out(c, i);
        c->bar = 1;
        return;
    }
}

struct guest_counts census_others(const struct census *c, const struct guest_counts *total)
{
    struct guest_counts others = *total;
    const struct guest_counts none = {0};

    add(&others, &c->left, &none, true);
    for (size_t i = 0; i < c->n; i++)
        add(&others, &c->named[i].guest->counts, &c->named[i].before, true);
    return others;
}

/* The first two places are no states of the machine. */
enum { REJECTED, PENDING, FIRST_STATE };
_Static_assert(CENSUS_STATES == GUEST_STATES - G_COLD + FIRST_STATE, "each state has its place");

const char *census_state_name(size_t i)
{
    if (i >= CENSUS_STATES)
        return NULL;
    return i == REJECTED  ? "Rejected"
           : i == PENDING ? "Pending"
                          : guest_state_name((enum guest_state)(i - FIRST_STATE + G_COLD));
}

static size_t place_of(const struct guest *g)
{
    if (g->rejected)
        return REJECTED;
    return g->hold ? PENDING : (size_t)(g->state - G_COLD) + FIRST_STATE;
}

bool census_walk(struct census_walk *w, const struct guests *all, uint64_t now_ns)
{
    size_t end = w->next + CENSUS_SLICE < all->n ? w->next + CENSUS_SLICE : all->n;

    for (; w->next < end; w->next++) {
        const struct guest *g = all->list[w->next];
        uint64_t age;

        w->state[place_of(g)]++;
        if (!g->mailbox)
            continue;
        age = mailbox_oldest_ns(g->mailbox, now_ns);
        w->keys += mailbox_len(g->mailbox);
        w->queues++;
        if (age > w->oldest_ns)
            w->oldest_ns = age;
    }
    return w->next < all->n;
}
