/* See order.h. */
#include "serve/order.h"

#include <stdlib.h>
#include <string.h>

static int by_id(const void *a, const void *b)
{
    const struct guest *const *x = a, *const *y = b;

    return strcmp((*x)->id, (*y)->id);
}

/* The place of the first whose id is not before id. */
static size_t lower(const struct order *o, const char *id)
{
    size_t lo = 0, hi = o->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (strcmp(o->v[mid]->id, id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int make_room(struct order *o, size_t n)
{
    size_t room = o->room ? o->room : 64;
    struct guest **v;

    while (room < n)
        room *= 2;
    if (room == o->room)
        return 0;
    v = realloc(o->v, room * sizeof(*v));
    if (!v)
        return -1;
    o->v = v;
    o->room = room;
    return 0;
}

bool order_came(struct order *o, struct guest *g)
{
    size_t at;

    if (!o->sorted)
        return false;
    at = lower(o, g->id);
    if (at < o->n && strcmp(o->v[at]->id, g->id) == 0)
        return false; /* it was there before, and changed */
    if (make_room(o, o->n + 1) < 0) {
        o->sorted = false;
        return true;
    }
    memmove(&o->v[at + 1], &o->v[at], (o->n - at) * sizeof(o->v[0]));
    o->v[at] = g;
    o->n++;
    return true;
}

void order_went(struct order *o, const char *id)
{
    size_t at;

    if (!o->sorted)
        return;
    at = lower(o, id);
    if (at == o->n || strcmp(o->v[at]->id, id) != 0)
        return;
    o->n--;
    memmove(&o->v[at], &o->v[at + 1], (o->n - at) * sizeof(o->v[0]));
}

int order_ready(struct order *o, const struct guests *all)
{
    if (o->sorted)
        return 0;
    o->n = 0;
    if (make_room(o, all->n + 1) < 0)
        return -1;
    for (size_t i = 0; i < all->n; i++)
        if (!guest_leaves(all->list[i]))
            o->v[o->n++] = all->list[i];
    qsort(o->v, o->n, sizeof(struct guest *), by_id);
    o->sorted = true;
    return 0;
}

size_t order_after(const struct order *o, const char *id)
{
    size_t at = lower(o, id);

    return at < o->n && strcmp(o->v[at]->id, id) == 0 ? at + 1 : at;
}

void order_free(struct order *o)
{
    free(o->v);
    *o = (struct order){0};
}
