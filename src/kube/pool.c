#include "kube/pool.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct member {
    struct kube_pool *pool;
    struct h2_conn *h2;
    uint64_t ready_ns; /* 0: still opening */
    bool draining;
    struct timer idle;
    struct member *next, **link;
};

struct kube_pool {
    struct kube_pool_options o;
    const struct kube_pool_events *events;
    void *ctx;
    struct member *members; /* oldest first */
    struct member *opening;
    unsigned count;
    unsigned failures; /* in a row: decides how long the next attempt waits */
    uint64_t next_ns;  /* no attempt before */
    uint64_t reconnects, random;
    struct timer retry;
    struct err problem; /* of the last attempt */
};

/* --- back-off --- */

static uint64_t random_next(struct kube_pool *p)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    p->random ^= p->random << 17;
    return p->random;
}

/* How long the attempt after `failures` failures waits: 0, then min doubling to max, times a random
 * .75 to 1.25, so that many hosts do not come back as one. */
static uint64_t backoff_ns(struct kube_pool *p)
{
    uint64_t ms = p->o.timing.backoff_min_ms;

    if (p->failures == 0)
        return 0;
    for (unsigned i = 1; i < p->failures && ms < p->o.timing.backoff_max_ms; i++)
        ms *= 2;
    if (ms > p->o.timing.backoff_max_ms)
        ms = p->o.timing.backoff_max_ms;
    return ms * NS_PER_MS / 4 * 3 + random_next(p) % (ms * NS_PER_MS / 2 + 1);
}

/* A connection that was up and is lost is replaced at once the first time; an attempt that failed
 * is never repeated at once. */
static void failed(struct kube_pool *p, bool was_up)
{
    if (!was_up && p->failures == 0)
        p->failures = 1;
    p->next_ns = loop_now_ns(p->o.loop) + backoff_ns(p);
    if (p->failures < 32)
        p->failures++;
}

static void retry_due(struct timer *t)
{
    struct kube_pool *p = container_of(t, struct kube_pool, retry);

    p->events->on_room(p->ctx);
}

/* --- members --- */

static void member_link(struct member *m)
{
    struct member **last = &m->pool->members;

    while (*last)
        last = &(*last)->next;
    m->link = last;
    *last = m;
    m->pool->count++;
}

static void member_free(struct member *m)
{
    struct kube_pool *p = m->pool;

    *m->link = m->next;
    if (m->next)
        m->next->link = m->link;
    if (p->opening == m)
        p->opening = NULL;
    p->count--;
    loop_timer_clear(p->o.loop, &m->idle);
    free(m);
}

/* Another connection than m can take requests. */
static bool has_other(const struct member *m)
{
    for (const struct member *o = m->pool->members; o; o = o->next)
        if (o != m && h2_room(o->h2) > 0)
            return true;
    return false;
}

/* One that is alone stays. */
static void idle_watch(struct member *m)
{
    struct kube_pool *p = m->pool;
    struct err ignored; /* it stays open, then */

    if (h2_streams(m->h2) > 0 || p->count == 1)
        loop_timer_clear(p->o.loop, &m->idle);
    else if (loop_timer_set(p->o.loop, &m->idle,
                            loop_now_ns(p->o.loop) + p->o.timing.idle_ms * NS_PER_MS, &ignored) < 0)
        return;
}

static void idle_due(struct timer *t)
{
    struct member *m = container_of(t, struct member, idle);

    if (h2_streams(m->h2) > 0 || !has_other(m)) {
        idle_watch(m);
        return;
    }
    h2_close(m->h2);
    member_free(m);
}

/* --- what the connections tell --- */

static void conn_ready(void *ctx)
{
    struct member *m = ctx;
    struct kube_pool *p = m->pool;

    p->opening = NULL;
    m->ready_ns = loop_now_ns(p->o.loop);
    log_debug("kube: %s connection %u to %s:%u is up", p->o.name, p->count, p->o.to.host,
              p->o.to.port);
    p->events->on_room(p->ctx);
    idle_watch(m); /* what it was opened for may have found its place elsewhere */
}

static void conn_room(void *ctx)
{
    struct member *m = ctx;
    struct kube_pool *p = m->pool;

    p->events->on_room(p->ctx);
    idle_watch(m);
}

/* Was it worth having? Decides whether its end counts as a failure. */
static bool was_healthy(const struct member *m, uint64_t now)
{
    return m->ready_ns && now - m->ready_ns >= KUBE_HEALTHY_MS * NS_PER_MS;
}

static void conn_drain(void *ctx)
{
    struct member *m = ctx;
    struct kube_pool *p = m->pool;

    if (p->opening == m)
        p->opening = NULL;
    m->draining = true;
    p->reconnects++;
    if (h2_answers(m->h2) == 0)
        failed(p, m->ready_ns != 0);
    p->events->on_room(p->ctx);
}

static void report_end(const struct member *m, const struct err *err)
{
    const struct kube_pool *p = m->pool;
    uint64_t now = loop_now_ns(p->o.loop);

    log_warn("kube: %s connection to %s:%u %s: %s; the next attempt waits %llu ms", p->o.name,
             p->o.to.host, p->o.to.port, m->ready_ns ? "broke" : "failed", err->msg,
             (unsigned long long)(p->next_ns > now ? (p->next_ns - now) / NS_PER_MS : 0));
}

static void conn_broke(struct member *m, const struct err *err)
{
    struct kube_pool *p = m->pool;

    if (was_healthy(m, loop_now_ns(p->o.loop)))
        p->failures = 0;
    if (m->ready_ns)
        p->reconnects++;
    failed(p, m->ready_ns != 0);
    p->problem = *err;
    report_end(m, err);
}

static void conn_closed(void *ctx, const struct err *err)
{
    struct member *m = ctx;
    struct kube_pool *p = m->pool;
    bool attempt = m->ready_ns == 0 && err;

    if (err && !m->draining)
        conn_broke(m, err);
    member_free(m);
    if (attempt)
        p->events->on_fail(p->ctx, err);
    p->events->on_room(p->ctx);
}

static const struct h2_events h2_events = {
    .on_ready = conn_ready,
    .on_room = conn_room,
    .on_drain = conn_drain,
    .on_close = conn_closed,
};

/* --- opening --- */

static int member_open(struct kube_pool *p, struct err *err)
{
    const struct h2_target to = {.to = p->o.to,
                                 .ping_after_ms = p->o.timing.ping_after_ms,
                                 .ping_timeout_ms = p->o.timing.ping_timeout_ms};
    struct member *m = calloc(1, sizeof(*m));

    if (!m)
        return err_set(err, ERR_NOMEM, 0, "no memory for a connection");
    m->pool = p;
    m->idle.fire = idle_due;
    if (h2_open(&m->h2, p->o.h2, &to, &h2_events, m, err) < 0) {
        free(m);
        return -1;
    }
    member_link(m);
    p->opening = m;
    return 0;
}

static void open_another(struct kube_pool *p)
{
    struct err ignored; /* without a timer: the next caller of take tries again */

    if (p->opening || p->count >= KUBE_CONNECTIONS_MAX)
        return;
    if (p->next_ns <= loop_now_ns(p->o.loop)) {
        if (member_open(p, &p->problem) == 0)
            return;
        failed(p, false);
    }
    if (loop_timer_set(p->o.loop, &p->retry, p->next_ns, &ignored) < 0)
        return;
}

struct h2_conn *kube_pool_take(struct kube_pool *p)
{
    for (struct member *m = p->members; m; m = m->next)
        if (h2_room(m->h2) > 0)
            return m->h2;
    open_another(p);
    return NULL;
}

const char *kube_pool_problem(const struct kube_pool *p)
{
    if (p->count >= KUBE_CONNECTIONS_MAX)
        return "all connections are in use, and there are as many as there may be";
    return p->problem.code ? p->problem.msg : "the connection was not up in time";
}

/* --- life --- */

int kube_pool_new(struct kube_pool **out, const struct kube_pool_options *options,
                  const struct kube_pool_events *events, void *ctx, struct err *err)
{
    struct kube_pool *p = calloc(1, sizeof(*p));

    if (!p)
        return err_set(err, ERR_NOMEM, 0, "no memory for connections");
    p->o = *options;
    p->events = events;
    p->ctx = ctx;
    p->retry.fire = retry_due;
    if (getrandom(&p->random, sizeof(p->random), 0) != sizeof(p->random) || p->random == 0)
        p->random = clock_now_ns() | 1;
    kube_pool_set_timing(p, &options->timing);
    *out = p;
    return 0;
}

void kube_pool_free(struct kube_pool *p)
{
    if (!p)
        return;
    loop_timer_clear(p->o.loop, &p->retry);
    while (p->members) {
        h2_close(p->members->h2);
        member_free(p->members);
    }
    free(p);
}

void kube_pool_set_timing(struct kube_pool *p, const struct kube_timing *timing)
{
    p->o.timing = *timing;
    p->o.to.timeout_ms = timing->connect_ms;
}

void kube_pool_stats(const struct kube_pool *p, struct kube_pool_stats *out)
{
    *out = (struct kube_pool_stats){.reconnects = p->reconnects};
    for (const struct member *m = p->members; m; m = m->next)
        out->connections += m->ready_ns != 0;
}
