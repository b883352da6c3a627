/* What there is to say of all guests at once, without walking over them: totals since the daemon
 * began, and the few busiest by name. What does take a walk, their queues, is done in slices.
 *
 * A guest is named when it has had clearly more events than the least busy of those that are, so
 * that the names change seldom: each is a time series in somebody's database. What is not of a
 * named guest is `others`, which, like all counters here, only grows: a guest that is named from
 * now on leaves in it what it had before.
 */
#ifndef ROOST_GUEST_CENSUS_H
#define ROOST_GUEST_CENSUS_H

#include "base/hist.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CENSUS_STATES 10 /* those of a guest, Pending and Rejected */

struct guest;
struct guests;

struct guest_counts {
    uint64_t wakes, fresh_starts, sleeps, abandoned, events, failures, traps, calls, refusals;
    uint64_t cpu_ns;     /* running time of all events, those that trapped included */
    uint64_t handled_ns; /* of all events that were handled: from being due until returned */
};

struct census {
    struct {
        struct guest *guest;
        struct guest_counts before; /* it was named */
    } named[METRICS_GUESTS_MAX];
    size_t n;
    uint64_t bar;             /* how many events a guest must have had to be named */
    struct guest_counts left; /* by those that were named once, while they were */
};

/* A guest that is not named has had an event. */
void census_event(struct census *c, struct guest *g);
/* It is gone. */
void census_forget(struct census *c, const struct guest *g);
/* Of `total`, what is not of a named guest. */
struct guest_counts census_others(const struct census *c, const struct guest_counts *total);

void census_add(struct guest_counts *to, const struct guest_counts *more);

/* What a walk over all guests found, and how far it is. */
struct census_walk {
    size_t next;
    uint64_t keys, queues; /* keys that wait; guests that have any */
    uint64_t oldest_ns;
    size_t state[CENSUS_STATES]; /* as `roost get` shows them */
};
/* Goes on with the next CENSUS_SLICE guests; false: that was all. What comes and goes meanwhile may
 * be counted or not. */
bool census_walk(struct census_walk *w, const struct guests *all, uint64_t now_ns);
/* The name of the i-th state; NULL past the last. */
const char *census_state_name(size_t i);

#endif
