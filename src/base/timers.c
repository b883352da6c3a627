#include "base/timers.h"

#include <stdlib.h>

static void put(struct timers *ts, size_t i, struct timer *t)
{
    ts->heap[i] = t;
    t->at = i + 1;
}

static void up(struct timers *ts, size_t i)
{
    struct timer *t = ts->heap[i];

    while (i > 0 && ts->heap[(i - 1) / 2]->due_ns > t->due_ns) {
        put(ts, i, ts->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put(ts, i, t);
}

static void down(struct timers *ts, size_t i)
{
    struct timer *t = ts->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= ts->n)
            break;
        if (child + 1 < ts->n && ts->heap[child + 1]->due_ns < ts->heap[child]->due_ns)
            child++;
        if (ts->heap[child]->due_ns >= t->due_ns)
            break;
        put(ts, i, ts->heap[child]);
        i = child;
    }
    put(ts, i, t);
}

int timers_reserve(struct timers *ts, size_t n, struct err *err)
{
    size_t room = ts->room ? ts->room : 16;
    struct timer **heap;

    if (n <= ts->room)
        return 0;
    while (room < n)
        room *= 2;
    heap = realloc(ts->heap, room * sizeof(*heap));
    if (!heap)
        return err_set(err, ERR_NOMEM, 0, "no memory for %zu timers", room);
    ts->heap = heap;
    ts->room = room;
    return 0;
}

int timers_set(struct timers *ts, struct timer *t, uint64_t due_ns, struct err *err)
{
    if (due_ns <= ts->running_ns)
        due_ns = ts->running_ns + 1;
    if (!t->at) {
        if (timers_reserve(ts, ts->n + 1, err) < 0)
            return -1;
        put(ts, ts->n++, t);
    }
    t->due_ns = due_ns;
    up(ts, t->at - 1);
    down(ts, t->at - 1);
    return 0;
}

void timers_clear(struct timers *ts, struct timer *t)
{
    size_t i = t->at - 1;
    struct timer *last;

    if (!t->at)
        return;
    t->at = 0;
    t->due_ns = 0;
    last = ts->heap[--ts->n];
    if (last == t)
        return;
    put(ts, i, last);
    up(ts, i);
    down(ts, last->at - 1);
}

uint64_t timers_next(const struct timers *ts)
{
    return ts->n ? ts->heap[0]->due_ns : 0;
}

void timers_run(struct timers *ts, uint64_t now_ns)
{
    ts->running_ns = now_ns;
    while (ts->n && ts->heap[0]->due_ns <= now_ns) {
        struct timer *t = ts->heap[0];

        timers_clear(ts, t);
        t->fire(t);
    }
    ts->running_ns = 0;
}

void timers_free(struct timers *ts)
{
    while (ts->n)
        timers_clear(ts, ts->heap[ts->n - 1]);
    free(ts->heap);
    ts->heap = NULL;
    ts->room = 0;
}
