/* Timers in a heap: embedded in what they belong to, so 100,000 of them cost 24 bytes each.
 *
 * Pure: no clock. The loop has one such heap, each worker another. A timer knows its place, so that
 * moving and clearing it is O(log n).
 */
#ifndef ROOST_BASE_TIMERS_H
#define ROOST_BASE_TIMERS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct timer {
    uint64_t due_ns;               /* CLOCK_MONOTONIC; 0 means not set */
    size_t at;                     /* place in the heap + 1; 0 means not in it */
    void (*fire)(struct timer *t); /* the timer is no longer set when this is called */
};

struct timers {
    struct timer **heap;
    size_t n, room;
    uint64_t running_ns; /* in timers_run: its time, else 0 */
};

/* Sets or moves. ERR_NOMEM only when it was not set before. */
int timers_set(struct timers *ts, struct timer *t, uint64_t due_ns, struct err *err) ERR_CHECK;
/* Room for n timers that are set: as long as there are no more, timers_set does not fail. */
int timers_reserve(struct timers *ts, size_t n, struct err *err) ERR_CHECK;
void timers_clear(struct timers *ts, struct timer *t);
/* When the next one is due; 0 if there is none. */
uint64_t timers_next(const struct timers *ts);
/* Fires what is due, earliest first. What a callback sets for now or earlier fires at the next
 * call, so this always ends and no timer keeps others from their turn. now_ns is less than
 * UINT64_MAX. */
void timers_run(struct timers *ts, uint64_t now_ns);
/* Forgets all timers (they read as not set) and the heap. */
void timers_free(struct timers *ts);

#endif
