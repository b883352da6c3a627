/* /metrics: what the daemon counts, in Prometheus' text format (0.0.4).
 *
 * One table has each metric with its type, its labels and what it means; the exposition and
 * docs/metrics.md are made from it. What is asked of all guests is gathered a slice at a time, in
 * turns of the loop of their own, so that a scrape holds up nobody. Loop thread.
 */
#ifndef ROOST_SERVE_METRICS_H
#define ROOST_SERVE_METRICS_H

#include "base/buf.h"
#include "base/hist.h"
#include "base/http1.h"
#include "base/loop.h"

#include <stdbool.h>

struct arena;
struct db;
struct guests;
struct kube_client;
struct metrics;
struct watch;

struct metrics_rest {
    size_t images; /* compiled modules that are loaded */
    uint64_t image_bytes;
    unsigned connections; /* to the API server */
};

/* Borrowed, all of it. */
struct metrics_source {
    struct loop *loop;
    struct guests *guests;
    struct watch *watch;
    struct arena *arena;
    struct db *db;
    struct kube_client *const *clients; /* nclients places; some may be NULL */
    size_t nclients;
    const bool *without_names; /* no metric says how busy which guest is */
    /* What nobody but the daemon knows. */
    void (*rest)(void *ctx, struct metrics_rest *out);
    void *ctx;
};

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

int metrics_new(struct metrics **out, const struct metrics_source *source, struct err *err)
    ERR_CHECK;
/* Ends scrapes under way; their clients are gone already. NULL is fine. */
void metrics_free(struct metrics *m);
/* A timer of the loop fired so late. */
void metrics_lag(struct metrics *m, uint64_t ns);
/* Answers a request, in a while. */
void metrics_answer(struct metrics *m, struct http1_response *res);

/* The page of all metrics, in Markdown. */
int metrics_document(struct buf *out) ERR_CHECK;
/* The name of the i-th metric; NULL past the last. */
const char *metrics_name(size_t i);

#endif
