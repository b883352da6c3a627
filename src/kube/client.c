/* A request waits in its lane's queue until the lane's pool has a connection with room, then lives
 * as a stream of that connection until it ends. What is needed to send it again (its head and the
 * body so far) is kept until the head of the answer came, so that an idle watch holds neither.
 *
 *   waiting ── room ──► active ── answer, reset, loss, cancel ──► gone
 *      ▲                  │
 *      └── not processed ─┘   (REFUSED_STREAM, GOAWAY before it; at most KUBE_RESENDS_MAX times)
 */
#include "kube/client.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/h2.h"
#include "base/limits.h"
#include "kube/kubeconfig.h"
#include "kube/pool.h"
#include "kube/wire.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

TAILQ_HEAD(stream_list, kube_stream);

struct lane {
    struct kube_client *client;
    struct kube_pool *pool;
    struct stream_list waiting, active;
    unsigned waiting_count, active_count;
};

struct kube_stream {
    TAILQ_ENTRY(kube_stream) entry;
    struct lane *lane;
    struct h2_stream *h2; /* NULL: waiting */
    struct kube_receiver receiver;
    void *ctx;
    struct kube_wire *wire; /* until the head came */
    struct buf body;        /* kept until the head came; then only what is not sent */
    size_t body_sent;       /* of body, on this connection */
    bool has_body, body_more;
    bool body_cut; /* the beginning of body is gone: it cannot be sent again */
    bool answered;
    unsigned char resends;
    uint32_t timeout_ms;
    uint64_t head_due_ns;
    uint64_t due_ns;    /* when its timer ends it */
    struct timer timer; /* for the connection, then for the head */
};

struct kube_client {
    struct loop *loop;
    const struct kube_config *config;
    struct h2_context *h2;
    struct lane lanes[2]; /* by enum kube_lane */
    struct kube_timing timing;
    uint64_t requests;
    pthread_mutex_t lock; /* of answers: the daemon's loop reads those of workers */
    struct kube_answers answers[2];
};

static const struct kube_timing timing_default = {
    .connect_ms = KUBE_CONNECT_TIMEOUT_MS,
    .backoff_min_ms = KUBE_BACKOFF_MIN_MS,
    .backoff_max_ms = KUBE_BACKOFF_MAX_MS,
    .ping_after_ms = KUBE_PING_AFTER_MS,
    .ping_timeout_ms = KUBE_PING_TIMEOUT_MS,
    .idle_ms = KUBE_IDLE_MS,
};

/* --- a stream's life --- */

static void stream_unlink(struct kube_stream *s)
{
    if (s->h2) {
        TAILQ_REMOVE(&s->lane->active, s, entry);
        s->lane->active_count--;
    } else {
        TAILQ_REMOVE(&s->lane->waiting, s, entry);
        s->lane->waiting_count--;
    }
}

/* Takes it out of everything and frees it; h2's part is gone already or is forgotten. */
static void stream_free(struct kube_stream *s)
{
    stream_unlink(s);
    loop_timer_clear(s->lane->client->loop, &s->timer);
    free(s->wire);
    buf_free(&s->body);
    free(s);
}

static void count_answer(const struct kube_stream *s, int status);

static void stream_end(struct kube_stream *s, const struct err *err)
{
    struct kube_receiver receiver = s->receiver;
    void *ctx = s->ctx;

    if (!s->answered)
        count_answer(s, 0);
    stream_free(s);
    receiver.on_end(ctx, err);
}

/* The first of the times by which it must have a connection, or by which its head must have come.
 */
static int stream_arm(struct kube_stream *s, struct err *err)
{
    struct kube_client *c = s->lane->client;
    uint64_t due = s->head_due_ns;

    if (!s->h2) {
        uint64_t wait = loop_now_ns(c->loop) + c->timing.connect_ms * NS_PER_MS;

        if (wait < due)
            due = wait;
    }
    s->due_ns = due;
    return loop_timer_set(c->loop, &s->timer, due, err);
}

static void lane_pump(struct lane *lane);

/* There was no memory to begin it, though there is a connection: soon again. */
static void stream_start_later(struct kube_stream *s)
{
    struct kube_client *c = s->lane->client;
    uint64_t soon = loop_now_ns(c->loop) + KUBE_START_AGAIN_MS * NS_PER_MS;
    int rc = loop_timer_set(c->loop, &s->timer, soon < s->due_ns ? soon : s->due_ns, NULL);

    assert(rc == 0); /* it is set already */
    (void)rc;
}

static void stream_start_again(struct kube_stream *s)
{
    int rc = loop_timer_set(s->lane->client->loop, &s->timer, s->due_ns, NULL);

    assert(rc == 0); /* it was set until just now */
    (void)rc;
    lane_pump(s->lane);
}

static void stream_due(struct timer *t)
{
    struct kube_stream *s = container_of(t, struct kube_stream, timer);
    struct kube_client *c = s->lane->client;
    struct err err;

    if (!s->h2 && loop_now_ns(c->loop) < s->due_ns) {
        stream_start_again(s);
        return;
    }
    if (s->h2) {
        h2_cancel(s->h2);
        err_set(&err, ERR_TIMEOUT, 0, "no answer within %u ms", s->timeout_ms);
        (void)err_blame(&err, REASON_NO_ANSWER);
    } else {
        err_set(&err, loop_now_ns(c->loop) >= s->head_due_ns ? ERR_TIMEOUT : ERR_NET, 0,
                "no connection to %s: %s", c->config->authority, kube_pool_problem(s->lane->pool));
        (void)err_blame(&err, REASON_API_SERVER_UNREACHABLE);
    }
    stream_end(s, &err);
}

/* --- what its connection tells --- */

static void count_code(struct kube_answers *a, uint16_t status, uint64_t n)
{
    unsigned i = 0;

    while (i < a->ncodes && a->code[i].status != status)
        i++;
    if (i == KUBE_CODES_MAX) {
        a->others += n;
        return;
    }
    if (i == a->ncodes) {
        a->code[i].status = status;
        a->code[i].n = 0;
        a->ncodes++;
    }
    a->code[i].n += n;
}

/* status 0: it ended without. */
static void count_answer(const struct kube_stream *s, int status)
{
    struct kube_client *c = s->lane->client;
    struct kube_answers *a = &c->answers[s->lane - c->lanes];
    uint64_t sent = s->head_due_ns - s->timeout_ms * NS_PER_MS, now = loop_now_ns(c->loop);

    pthread_mutex_lock(&c->lock);
    count_code(a, (uint16_t)status, 1);
    if (status)
        hist_add(&a->head, now > sent ? now - sent : 0);
    pthread_mutex_unlock(&c->lock);
}

void kube_client_answers(struct kube_client *c, enum kube_lane lane, struct kube_answers *out)
{
    const struct kube_answers *from = &c->answers[lane];

    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < from->ncodes; i++)
        count_code(out, from->code[i].status, from->code[i].n);
    out->others += from->others;
    hist_merge(&out->head, &from->head);
    pthread_mutex_unlock(&c->lock);
}

static void answer_head(void *ctx, int status, const char *headers, size_t len)
{
    struct kube_stream *s = ctx;

    s->answered = true;
    count_answer(s, status);
    loop_timer_clear(s->lane->client->loop, &s->timer);
    free(s->wire);
    s->wire = NULL;
    if (s->body_sent == s->body.len && !s->body_more) {
        buf_free(&s->body);
        s->body_sent = 0;
    }
    s->receiver.on_head(s->ctx, status, headers, len);
}

static void answer_data(void *ctx, const uint8_t *data, size_t len)
{
    struct kube_stream *s = ctx;

    s->receiver.on_data(s->ctx, data, len);
}

static size_t body_take(void *ctx, uint8_t *out, size_t cap, bool *end)
{
    struct kube_stream *s = ctx;
    size_t n = s->body.len - s->body_sent;

    if (n > cap)
        n = cap;
    if (n)
        memcpy(out, s->body.data + s->body_sent, n);
    s->body_sent += n;
    *end = !s->body_more && s->body_sent == s->body.len;
    return n;
}

/* Back to the head of the queue: it is older than what waits there. */
static int send_again(struct kube_stream *s, struct err *err)
{
    struct lane *lane = s->lane;

    if (s->answered || s->body_cut || s->resends == KUBE_RESENDS_MAX)
        return -1;
    s->resends++;
    stream_unlink(s);
    s->h2 = NULL;
    s->body_sent = 0;
    TAILQ_INSERT_HEAD(&lane->waiting, s, entry);
    lane->waiting_count++;
    if (stream_arm(s, err) < 0)
        return -1;
    lane_pump(lane);
    return 0;
}

static void answer_end(void *ctx, const struct err *err, bool unprocessed)
{
    struct kube_stream *s = ctx;
    struct err why;

    if (!err) {
        stream_end(s, NULL);
        return;
    }
    why = *err;
    if (unprocessed && send_again(s, &why) == 0)
        return;
    stream_end(s, &why);
}

static const struct h2_receiver h2_receiver = {
    .on_head = answer_head,
    .on_data = answer_data,
    .on_body = body_take,
    .on_end = answer_end,
};

/* --- lanes --- */

/* -1: it stays in the queue, for a while. */
static int stream_start(struct kube_stream *s, struct h2_conn *conn)
{
    const struct h2_request req = {
        .headers = s->wire->headers, .count = s->wire->count, .body = s->has_body};
    struct lane *lane = s->lane;
    struct h2_stream *h2 = NULL;
    struct err err;

    if (h2_request(&h2, conn, &req, &h2_receiver, s, &err) < 0)
        return -1;
    stream_unlink(s);
    s->h2 = h2;
    TAILQ_INSERT_TAIL(&lane->active, s, entry);
    lane->active_count++;
    return stream_arm(s, &err); /* it is set already: moving it needs no memory */
}

static void lane_pump(struct lane *lane)
{
    struct kube_stream *s;
    struct h2_conn *conn;

    while ((s = TAILQ_FIRST(&lane->waiting)) && (conn = kube_pool_take(lane->pool)))
        if (stream_start(s, conn) < 0) {
            stream_start_later(s);
            return;
        }
}

static void pool_room(void *ctx)
{
    lane_pump(ctx);
}

/* What a new attempt would not change is told at once. Those who come meanwhile wait again. */
static void pool_failed(void *ctx, const struct err *err)
{
    struct lane *lane = ctx;
    struct err why = *err;

    if (err->code != ERR_DENIED && err->code != ERR_UNSUPPORTED)
        return;
    err_wrap(&why, "connection to %s", lane->client->config->authority);
    for (unsigned n = lane->waiting_count; n > 0 && !TAILQ_EMPTY(&lane->waiting); n--)
        stream_end(TAILQ_FIRST(&lane->waiting), &why);
}

static const struct kube_pool_events pool_events = {.on_room = pool_room, .on_fail = pool_failed};

static int lane_init(struct kube_client *c, struct lane *lane, const char *name, struct err *err)
{
    const struct kube_pool_options o = {
        .loop = c->loop,
        .h2 = c->h2,
        .to = {.host = c->config->host,
               .server_name = c->config->server_name,
               .port = c->config->port},
        .name = name,
        .timing = c->timing,
    };

    lane->client = c;
    return kube_pool_new(&lane->pool, &o, &pool_events, lane, err);
}

/* --- the client --- */

int kube_client_new(struct kube_client **out, struct loop *loop, const struct kube_config *config,
                    struct err *err)
{
    const struct tls_options tls = {.ca_pem = config->ca_pem,
                                    .cert_pem = config->cert_pem,
                                    .key_pem = config->key_pem,
                                    .accept_any_server_unsafe = config->insecure};
    struct kube_client *c = calloc(1, sizeof(*c));

    if (!c)
        return err_set(err, ERR_NOMEM, 0, "no memory for a client");
    pthread_mutex_init(&c->lock, NULL);
    c->loop = loop;
    c->config = config;
    c->timing = timing_default;
    for (int i = 0; i < 2; i++) {
        TAILQ_INIT(&c->lanes[i].waiting);
        TAILQ_INIT(&c->lanes[i].active);
    }
    if (h2_context_new(&c->h2, loop, &tls, err) < 0 ||
        lane_init(c, &c->lanes[KUBE_CALL], "call", err) < 0 ||
        lane_init(c, &c->lanes[KUBE_WATCH], "watch", err) < 0) {
        kube_client_free(c);
        return err_wrap(err, "kubeconfig, context %s", config->context);
    }
    *out = c;
    return 0;
}

static void lane_free(struct lane *lane)
{
    kube_pool_free(lane->pool); /* with all streams of its connections */
    while (!TAILQ_EMPTY(&lane->waiting))
        stream_free(TAILQ_FIRST(&lane->waiting));
    while (!TAILQ_EMPTY(&lane->active))
        stream_free(TAILQ_FIRST(&lane->active));
}

void kube_client_free(struct kube_client *c)
{
    if (!c)
        return;
    for (int i = 0; i < 2; i++)
        lane_free(&c->lanes[i]);
    h2_context_free(c->h2);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

#define PICK(member) c->timing.member = timing->member ? timing->member : c->timing.member

void kube_client_set_timing(struct kube_client *c, const struct kube_timing *timing)
{
    PICK(connect_ms);
    PICK(backoff_min_ms);
    PICK(backoff_max_ms);
    PICK(ping_after_ms);
    PICK(ping_timeout_ms);
    PICK(idle_ms);
    for (int i = 0; i < 2; i++)
        kube_pool_set_timing(c->lanes[i].pool, &c->timing);
}

void kube_client_stats(const struct kube_client *c, struct kube_client_stats *out)
{
    const struct channel_stats *io = h2_context_stats(c->h2);

    *out = (struct kube_client_stats){.bytes_read = io->bytes_read,
                                      .bytes_written = io->bytes_written,
                                      .last_read_ns = io->last_read_ns,
                                      .last_write_ns = io->last_write_ns,
                                      .requests = c->requests};
    for (int i = 0; i < 2; i++) {
        struct kube_pool_stats pool;

        kube_pool_stats(c->lanes[i].pool, &pool);
        out->connections += pool.connections;
        out->reconnects += pool.reconnects;
        out->streams += c->lanes[i].active_count;
        out->waiting += c->lanes[i].waiting_count;
    }
}

/* --- requests --- */

static int check_room(const struct kube_client *c, const struct kube_request *req, struct err *err)
{
    unsigned n = 0;

    for (int i = 0; i < 2; i++)
        n += c->lanes[i].active_count + c->lanes[i].waiting_count;
    if (n >= KUBE_STREAMS_MAX)
        return err_set(err, ERR_LIMIT, 0, "%u requests are under way, limit %u", n,
                       KUBE_STREAMS_MAX);
    if (req->body_len > KUBE_BODY_MAX)
        return err_set(err, ERR_LIMIT, 0, "a body of %zu bytes, limit %u", req->body_len,
                       KUBE_BODY_MAX);
    return 0;
}

static int stream_new(struct kube_stream **out, struct kube_client *c,
                      const struct kube_request *req, const struct kube_receiver *receiver,
                      void *ctx, struct err *err)
{
    struct kube_stream *s = calloc(1, sizeof(*s));

    if (!s)
        return err_set(err, ERR_NOMEM, 0, "no memory for a request");
    s->lane = &c->lanes[req->lane];
    s->receiver = *receiver;
    s->ctx = ctx;
    s->body.max = KUBE_BODY_MAX;
    s->body_more = req->body_more;
    s->has_body = req->body_more || req->body_len > 0;
    s->timer.fire = stream_due;
    s->timeout_ms = req->timeout_ms ? req->timeout_ms : KUBE_HEAD_TIMEOUT_MS;
    s->head_due_ns = loop_now_ns(c->loop) + s->timeout_ms * NS_PER_MS;
    TAILQ_INSERT_TAIL(&s->lane->waiting, s, entry);
    s->lane->waiting_count++;
    if (kube_wire_new(&s->wire, c->config, req, err) < 0 ||
        buf_append(&s->body, req->body, req->body_len, err) < 0 || stream_arm(s, err) < 0) {
        stream_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

int kube_send(struct kube_stream **out, struct kube_client *c, const struct kube_request *req,
              const struct kube_receiver *receiver, void *ctx, struct err *err)
{
    struct kube_stream *s = NULL;

    assert(req->lane == KUBE_CALL || req->lane == KUBE_WATCH);
    if (check_room(c, req, err) < 0 || stream_new(&s, c, req, receiver, ctx, err) < 0)
        return err_wrap(err, "request to the API server");
    c->requests++;
    if (out)
        *out = s;
    lane_pump(&c->lanes[req->lane]);
    return 0;
}

/* Gives up what was sent, where it will not be needed again or there is no room for it. */
static void body_cut(struct kube_stream *s)
{
    if (s->body_sent == 0)
        return;
    buf_consume(&s->body, s->body_sent);
    s->body_sent = 0;
    s->body_cut = true;
}

int kube_write(struct kube_stream *s, const void *data, size_t len, struct err *err)
{
    assert(s->body_more);
    if (s->answered || len > KUBE_BODY_MAX - s->body.len)
        body_cut(s);
    if (len > KUBE_BODY_MAX - s->body.len)
        return err_set(err, ERR_LIMIT, 0, "%zu bytes of a body are not sent yet, limit %u",
                       s->body.len + len, KUBE_BODY_MAX);
    if (buf_append(&s->body, data, len, err) < 0)
        return -1;
    if (s->h2)
        h2_resume(s->h2);
    return 0;
}

void kube_end(struct kube_stream *s)
{
    s->body_more = false;
    if (s->h2)
        h2_resume(s->h2);
}

void kube_consume(struct kube_stream *s, size_t n)
{
    if (s->h2)
        h2_consume(s->h2, n);
}

void kube_cancel(struct kube_stream *s)
{
    if (s->h2)
        h2_cancel(s->h2);
    stream_free(s);
}
