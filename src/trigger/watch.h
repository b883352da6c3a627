/* The trigger `watch`: Kubernetes objects that change.
 *
 * One upstream watch for each resource that any guest names, over the whole cluster and as the
 * host; namespaces are filtered here. Behind it stands the change table (kube/table.h), kept in the
 * database, so that a relist or a restart of the daemon puts into a guest's mailbox only what
 * changed meanwhile. A guest gets nothing before the API server has said (SubjectAccessReview, for
 * list and for watch, in each of its namespaces) that its service account may see it, nor before
 * the table is complete.
 *
 * Loop thread.
 */
#ifndef ROOST_TRIGGER_WATCH_H
#define ROOST_TRIGGER_WATCH_H

#include "guest/guest.h"
#include "kube/seam.h"

#include <jansson.h>

struct watch;

struct watch_opts {
    struct loop *loop;
    struct db *db;
    struct kube_http http; /* send NULL: no Kubernetes; guests stay held */
    struct kube_time time;
    uint64_t seed;
};

/* Reads the change tables from the database. */
int watch_new(struct watch **out, const struct watch_opts *opts, struct err *err) ERR_CHECK;
void watch_free(struct watch *w);
/* For struct guests_opts; lives as long as w. */
const struct trigger *watch_trigger(const struct watch *w);
/* All of the guest's watches, each holding the guest until it is admitted and synced. */
int watch_subscribe(struct watch *w, struct guest *g, struct err *err) ERR_CHECK;
/* After the guests of the start were added: begins. Later subscriptions begin by themselves. */
void watch_start(struct watch *w);
/* No more changes reach guests. */
void watch_stop(struct watch *w);

struct watch_numbers {
    size_t watches, synced; /* upstream, one for each resource */
    uint64_t events, relists, reconnects;
    size_t objects; /* that are kept, with what they take */
    uint64_t object_bytes;
};
void watch_numbers(const struct watch *w, struct watch_numbers *out);
/* True if everything asked for is synced and reviewed (denied counts: it is decided). Else why not,
 * one line for each reason, appended. */
struct buf;
bool watch_ready(const struct watch *w, struct buf *why);
/* What one trigger of a guest is at, for `describe`. */
json_t *watch_describe(const struct watch *w, const struct guest *g, uint16_t trigger);

#endif
