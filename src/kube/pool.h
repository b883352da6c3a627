/* The connections of one lane: filled up to the server's limit of streams, opened one at a time.
 *
 * Lazy: a connection is opened when somebody asks and none has room, up to KUBE_CONNECTIONS_MAX.
 * After a failure the next attempt waits (backoff_min doubling to backoff_max, with jitter), and a
 * connection that lived KUBE_HEALTHY_MS ends that; the first attempt is immediate. A connection
 * that the server drains after use is no failure. Those that have been without streams for idle_ms
 * are closed, but for one. Loop thread only.
 */
#ifndef ROOST_KUBE_POOL_H
#define ROOST_KUBE_POOL_H

#include "base/err.h"
#include "base/h2.h"
#include "base/loop.h"
#include "kube/client.h"

#include <stdint.h>

struct kube_pool;

struct kube_pool_options {
    struct loop *loop;
    struct h2_context *h2;
    struct channel_target to; /* its strings outlive the pool; timeout_ms is timing's */
    const char *name;         /* "call": for the log */
    struct kube_timing timing;
};

struct kube_pool_events {
    /* There may be a connection with room, or the time to open one. */
    void (*on_room)(void *ctx);
    /* An attempt to connect failed. on_room follows. */
    void (*on_fail)(void *ctx, const struct err *err);
};

/* Copies the options. events is borrowed. */
int kube_pool_new(struct kube_pool **out, const struct kube_pool_options *options,
                  const struct kube_pool_events *events, void *ctx, struct err *err) ERR_CHECK;
/* Closes all connections, without any event. NULL is fine. */
void kube_pool_free(struct kube_pool *p);
void kube_pool_set_timing(struct kube_pool *p, const struct kube_timing *timing);

/* A connection with room for a stream. NULL: none now; on_room tells when to ask again. */
struct h2_conn *kube_pool_take(struct kube_pool *p);
/* Why there is none, for messages. */
const char *kube_pool_problem(const struct kube_pool *p);

struct kube_pool_stats {
    unsigned connections;
    uint64_t reconnects; /* connections that broke or were drained */
};
void kube_pool_stats(const struct kube_pool *p, struct kube_pool_stats *out);

#endif
