/* What the daemon says of itself and its guests, as JSON: for the admin API. Loop thread. */
#ifndef ROOST_SERVE_REPORT_H
#define ROOST_SERVE_REPORT_H

#include "capability/kube.h"
#include "guest/guest.h"
#include "trigger/watch.h"

#include <jansson.h>

struct report {
    struct guests *guests;
    struct kube_capability **kube; /* one for each worker */
    size_t nkube;
    const struct kube_client *client; /* the daemon's own; NULL: none */
    struct arena *arena;
    struct db *db;
    uint64_t started_ns;
};

/* "Asleep", "Pending": what is shown of its state. */
const char *report_state(const struct guest *g);
/* One row of `roost get`, as JSON, behind a comma where that is said. -1: no memory, or out is
 * full. */
int report_guest_write(struct buf *out, const struct guest *g, bool comma);
int report_reject_write(struct buf *out, const struct err *err, bool comma);
/* The same as a value. NULL: no memory. */
json_t *report_guest(const struct guest *g);
json_t *report_reject(const struct err *err);
/* `roost describe`. */
json_t *report_describe(const struct guest *g, const struct watch *watch);
/* To the API server, those of all workers. */
unsigned report_connections(const struct report *r);
/* Counters, latencies, memory: what demo and benchmarks read. */
json_t *report_stats(const struct report *r);
/* The histograms and counters start anew. */
void report_reset(const struct report *r);

#endif
