#include "base/h2.h"

#include "base/clock.h"
#include "base/limits.h"

#include <assert.h>
#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

struct h2_context {
    struct loop *loop;
    struct channel_context *channels;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    uint8_t frames[H2_WRITE_BYTES]; /* frames on their way into one TLS record */
};

struct h2_stream {
    struct h2_conn *conn;
    struct h2_stream *next, **link;
    const struct h2_receiver *receiver;
    void *ctx;
    int32_t id;
    bool sent;     /* our HEADERS have left */
    bool head;     /* on_head was called */
    bool ended;    /* the server's half is complete */
    bool body_end; /* our half is */
    bool too_big;  /* the head of the answer */
};

enum h2_state { H2_OPENING = 1, H2_UP, H2_DRAINING, H2_CLOSED, H2_STATES };

struct h2_conn {
    struct h2_context *c;
    struct channel *channel;
    nghttp2_session *session; /* NULL until the channel is open */
    const struct h2_events *events;
    void *ctx;
    enum h2_state state;
    int depth; /* how many of our frames are on the stack above an event */
    uint32_t ping_after_ms, ping_timeout_ms;
    uint64_t read_ns, pinged_ns; /* last bytes; the PING that is unanswered, or 0 */
    struct timer alive;
    struct h2_stream *streams;
    uint64_t answers; /* heads received */
    unsigned open;    /* streams of the session, cancelled ones included until they are closed */
    struct buf head;
    int head_status;
};

static void conn_fail(struct h2_conn *conn, const struct err *err);

/* --- states --- */

static const unsigned next_states[H2_STATES] = {
    [H2_OPENING] = 1u << H2_UP | 1u << H2_DRAINING | 1u << H2_CLOSED,
    [H2_UP] = 1u << H2_DRAINING | 1u << H2_CLOSED,
    [H2_DRAINING] = 1u << H2_CLOSED,
};

static void state_set(struct h2_conn *conn, enum h2_state to)
{
    assert(next_states[conn->state] & 1u << to);
    conn->state = to;
}

static void conn_dirty(struct h2_conn *conn)
{
    if (conn->state != H2_CLOSED)
        channel_dirty(conn->channel);
}

/* When to look whether the peer is still there. */
static int alive_set(struct h2_conn *conn, uint64_t due_ns)
{
    struct err err;

    if (loop_timer_set(conn->c->loop, &conn->alive, due_ns, &err) == 0)
        return 0;
    conn_fail(conn, &err);
    return -1;
}

/* --- streams --- */

static void stream_link(struct h2_stream *s)
{
    struct h2_conn *conn = s->conn;

    s->next = conn->streams;
    s->link = &conn->streams;
    if (s->next)
        s->next->link = &s->next;
    conn->streams = s;
}

/* The session forgets it too; its frames may still come and go. */
static void stream_free(struct h2_stream *s)
{
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    nghttp2_session_set_stream_user_data(s->conn->session, s->id, NULL);
    free(s);
}

static void stream_end(struct h2_stream *s, const struct err *err, bool unprocessed)
{
    const struct h2_receiver *receiver = s->receiver;
    void *ctx = s->ctx;

    stream_free(s);
    receiver->on_end(ctx, err, unprocessed);
}

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* --- what the session tells us --- */

/* Callbacks stop the session as soon as the owner has closed the connection. */
static int go_on(const struct h2_conn *conn)
{
    return conn->state == H2_CLOSED ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int header_begins(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_conn *conn = user;

    (void)session;
    (void)frame;
    conn->head.len = 0;
    conn->head_status = 0;
    return go_on(conn);
}

static int head_add(struct h2_conn *conn, const uint8_t *name, size_t name_len,
                    const uint8_t *value, size_t len)
{
    struct buf *b = &conn->head;

    if (buf_reserve(b, name_len + len + 3, NULL) < 0)
        return -1;
    memcpy(b->data + b->len, name, name_len);
    memcpy(b->data + b->len + name_len, ": ", 2);
    memcpy(b->data + b->len + name_len + 2, value, len);
    b->len += name_len + len + 3;
    b->data[b->len - 1] = '\n';
    return 0;
}

/* The session has checked that a status is three digits. */
static int header_came(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_len, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
    struct h2_conn *conn = user;
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);

    (void)flags;
    if (!s || s->head)
        return go_on(conn);
    if (name_len == 7 && memcmp(name, ":status", 7) == 0 && len == 3) {
        conn->head_status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
        return 0;
    }
    if (head_add(conn, name, name_len, value, len) == 0)
        return 0;
    s->too_big = true;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
}

static void headers_came(struct h2_conn *conn, struct h2_stream *s)
{
    if (s->head || conn->head_status < 200)
        return;
    s->head = true;
    conn->answers++;
    s->receiver->on_head(s->ctx, conn->head_status, (const char *)conn->head.data, conn->head.len);
    if (conn->state != H2_CLOSED && conn->head.cap > H2_HEAD_KEEP_BYTES)
        buf_free(&conn->head);
}

/* An answer that ends before our body does: the rest of the body is not wanted. */
static void answer_ends(struct h2_conn *conn, struct h2_stream *s)
{
    s->ended = true;
    if (!s->body_end)
        nghttp2_submit_rst_stream(conn->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
}

static void settings_came(struct h2_conn *conn, const nghttp2_frame *frame)
{
    if (frame->hd.flags & NGHTTP2_FLAG_ACK)
        return;
    if (conn->state == H2_OPENING) {
        state_set(conn, H2_UP);
        if (alive_set(conn, conn->read_ns + conn->ping_after_ms * NS_PER_MS) < 0)
            return;
        conn->events->on_ready(conn->ctx);
    } else if (conn->state == H2_UP) {
        conn->events->on_room(conn->ctx);
    }
}

static void drain(struct h2_conn *conn)
{
    if (conn->state == H2_DRAINING || conn->state == H2_CLOSED)
        return;
    state_set(conn, H2_DRAINING);
    conn->events->on_drain(conn->ctx);
}

static int frame_came(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_conn *conn = user;
    struct h2_stream *s;

    if (frame->hd.type == NGHTTP2_SETTINGS)
        settings_came(conn, frame);
    else if (frame->hd.type == NGHTTP2_GOAWAY)
        drain(conn);
    else if (frame->hd.type == NGHTTP2_HEADERS && (s = stream_of(session, frame->hd.stream_id)))
        headers_came(conn, s);
    if (conn->state == H2_CLOSED)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        (s = stream_of(session, frame->hd.stream_id)))
        answer_ends(conn, s);
    return 0;
}

static int data_came(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                     size_t len, void *user)
{
    struct h2_conn *conn = user;
    struct h2_stream *s = stream_of(session, id);

    (void)flags;
    nghttp2_session_consume_connection(session, len);
    if (s)
        s->receiver->on_data(s->ctx, data, len);
    return go_on(conn);
}

static int stream_error(const struct h2_stream *s, uint32_t code, struct err *err)
{
    if (s->too_big)
        return err_set(err, ERR_LIMIT, 0, "the answer's head is larger than %u bytes", H2_HEAD_MAX);
    if (code == NGHTTP2_REFUSED_STREAM)
        return err_set(err, ERR_NET, 0, "the server took no more requests on this connection");
    if (code == NGHTTP2_NO_ERROR)
        return err_set(err, ERR_NET, 0, "the server ended the stream before the answer was whole");
    return err_set(err, ERR_NET, 0, "the stream was reset: %s", nghttp2_http2_strerror(code));
}

static int stream_closed(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_conn *conn = user;
    struct h2_stream *s = stream_of(session, id);
    struct err err;

    conn->open--;
    if (s && s->ended) {
        stream_end(s, NULL, false);
    } else if (s) {
        stream_error(s, code, &err);
        stream_end(s, &err, code == NGHTTP2_REFUSED_STREAM && !s->head);
    }
    if (conn->state == H2_UP && nghttp2_session_get_next_stream_id(session) > H2_STREAM_ID_MAX)
        drain(conn);
    else if (conn->state == H2_UP)
        conn->events->on_room(conn->ctx);
    return go_on(conn);
}

static int frame_left(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_stream *s;

    (void)user;
    if (frame->hd.type == NGHTTP2_HEADERS && (s = stream_of(session, frame->hd.stream_id)))
        s->sent = true;
    return 0;
}

static ssize_t body_wanted(nghttp2_session *session, int32_t id, uint8_t *out, size_t cap,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2_stream *s = stream_of(session, id);
    bool end = false;
    size_t n;

    (void)source;
    (void)user;
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    n = s->receiver->on_body(s->ctx, out, cap, &end);
    if (n == 0 && !end)
        return NGHTTP2_ERR_DEFERRED;
    if (end) {
        s->body_end = true;
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)n;
}

/* --- reading and writing --- */

static void conn_release(struct h2_conn *conn)
{
    if (conn->depth > 0)
        return;
    nghttp2_session_del(conn->session);
    buf_free(&conn->head);
    free(conn);
}

static void conn_enter(struct h2_conn *conn)
{
    conn->depth++;
}

static void conn_leave(struct h2_conn *conn)
{
    conn->depth--;
    if (conn->state == H2_CLOSED)
        conn_release(conn);
}

static void bytes_came(void *ctx, const uint8_t *data, size_t len)
{
    struct h2_conn *conn = ctx;
    struct err err;
    ssize_t n;

    conn_enter(conn);
    conn->read_ns = loop_now_ns(conn->c->loop);
    n = nghttp2_session_mem_recv(conn->session, data, len);
    if (conn->state != H2_CLOSED) {
        if (n == (ssize_t)len) {
            channel_dirty(conn->channel); /* acknowledgements, window updates, the end */
        } else {
            err_set(&err, n == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : ERR_NET, 0, "HTTP/2: %s",
                    n < 0 ? nghttp2_strerror((int)n) : "the server broke the protocol");
            channel_fail(conn->channel, &err);
        }
    }
    conn_leave(conn);
}

/* Gathers frames up to a TLS record's worth, so that small ones share a record. */
static int write_frames(struct h2_conn *conn, struct err *err)
{
    uint8_t *frames = conn->c->frames;
    const uint8_t *data;
    size_t used = 0;
    ssize_t n = 0;

    while (channel_backlog(conn->channel) < H2_BACKLOG_MAX &&
           (n = nghttp2_session_mem_send(conn->session, &data)) > 0) {
        size_t left = (size_t)n;

        while (left) {
            size_t part = left < H2_WRITE_BYTES - used ? left : H2_WRITE_BYTES - used;

            memcpy(frames + used, data, part);
            data += part;
            left -= part;
            used += part;
            if (used == H2_WRITE_BYTES) {
                if (channel_write(conn->channel, frames, used, err) < 0)
                    return -1;
                used = 0;
            }
        }
    }
    if (conn->state == H2_CLOSED)
        return 0;
    if (n < 0)
        return err_set(err, ERR_NET, 0, "HTTP/2: %s", nghttp2_strerror((int)n));
    return channel_write(conn->channel, frames, used, err);
}

/* Nothing is under way here and nothing can be started any more. */
static bool is_drained(const struct h2_conn *conn)
{
    return conn->state == H2_DRAINING && conn->open == 0 &&
           !nghttp2_session_want_write(conn->session);
}

static void flush(void *ctx)
{
    struct h2_conn *conn = ctx;
    struct err err;

    conn_enter(conn);
    if (write_frames(conn, &err) < 0 && conn->state != H2_CLOSED)
        channel_fail(conn->channel, &err);
    else if (conn->state != H2_CLOSED && is_drained(conn))
        conn_fail(conn, NULL);
    conn_leave(conn);
}

/* --- is the peer there? --- */

static void ping(struct h2_conn *conn, uint64_t now)
{
    conn->pinged_ns = now;
    if (alive_set(conn, now + conn->ping_timeout_ms * NS_PER_MS) < 0)
        return;
    nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL);
    channel_dirty(conn->channel);
}

static void alive_due(struct timer *t)
{
    struct h2_conn *conn = container_of(t, struct h2_conn, alive);
    uint64_t now = loop_now_ns(conn->c->loop);
    uint64_t ping_due = conn->read_ns + conn->ping_after_ms * NS_PER_MS;
    struct err err;

    if (conn->read_ns > conn->pinged_ns)
        conn->pinged_ns = 0;
    if (conn->state == H2_OPENING) {
        err_set(&err, ERR_TIMEOUT, 0, "the server sent no HTTP/2 settings for %u ms",
                conn->ping_timeout_ms);
        conn_fail(conn, &err);
    } else if (conn->pinged_ns) {
        err_set(&err, ERR_NET, 0, "the server sent nothing for %u ms and did not answer a ping",
                conn->ping_after_ms + conn->ping_timeout_ms);
        conn_fail(conn, &err);
    } else if (now >= ping_due) {
        ping(conn, now);
    } else {
        alive_set(conn, ping_due);
    }
}

/* --- life of a connection --- */

/* Everything but the memory. */
static void conn_end(struct h2_conn *conn)
{
    state_set(conn, H2_CLOSED);
    loop_timer_clear(conn->c->loop, &conn->alive);
    channel_close(conn->channel);
}

/* The owner hears of the connection first, so that what it starts from on_end goes elsewhere. The
 * list of streams may change under us. */
static void conn_fail(struct h2_conn *conn, const struct err *err)
{
    static const struct err drained = {.code = ERR_NET, .msg = "the connection was drained"};

    if (conn->state == H2_CLOSED)
        return;
    conn_enter(conn);
    conn_end(conn);
    conn->events->on_close(conn->ctx, err);
    while (conn->streams)
        stream_end(conn->streams, err ? err : &drained, !conn->streams->sent);
    conn_leave(conn);
}

static void channel_closed(void *ctx, const struct err *err)
{
    conn_fail(ctx, err);
}

void h2_close(struct h2_conn *conn)
{
    if (!conn)
        return;
    while (conn->streams)
        stream_free(conn->streams);
    if (conn->state == H2_CLOSED) /* from within on_close: it is being freed already */
        return;
    conn_end(conn);
    conn_release(conn);
}

static int session_start(struct h2_conn *conn)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEAD_MAX},
    };

    if (nghttp2_session_client_new2(&conn->session, conn->c->callbacks, conn, conn->c->option))
        return -1;
    return nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings,
                                   sizeof(settings) / sizeof(settings[0])) == 0 &&
                   nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0,
                                                         H2_CONNECTION_WINDOW) == 0
               ? 0
               : -1;
}

static void channel_opened(void *ctx)
{
    static const struct err nomem = {.code = ERR_NOMEM, .msg = "no memory for HTTP/2"};
    struct h2_conn *conn = ctx;

    conn_enter(conn);
    conn->read_ns = loop_now_ns(conn->c->loop);
    if (session_start(conn) < 0)
        conn_fail(conn, &nomem);
    else if (alive_set(conn, conn->read_ns + conn->ping_timeout_ms * NS_PER_MS) == 0)
        channel_dirty(conn->channel);
    conn_leave(conn);
}

static const struct channel_events channel_events = {
    .on_open = channel_opened,
    .on_bytes = bytes_came,
    .on_flush = flush,
    .on_close = channel_closed,
};

int h2_open(struct h2_conn **out, struct h2_context *c, const struct h2_target *to,
            const struct h2_events *events, void *ctx, struct err *err)
{
    struct h2_conn *conn = calloc(1, sizeof(*conn));

    if (!conn)
        return err_set(err, ERR_NOMEM, 0, "no memory for a connection");
    *conn = (struct h2_conn){.c = c,
                             .events = events,
                             .ctx = ctx,
                             .state = H2_OPENING,
                             .ping_after_ms = to->ping_after_ms,
                             .ping_timeout_ms = to->ping_timeout_ms,
                             .alive.fire = alive_due,
                             .head.max = H2_HEAD_MAX};
    if (channel_open(&conn->channel, c->channels, &to->to, &channel_events, conn, err) < 0) {
        free(conn);
        return -1;
    }
    *out = conn;
    return 0;
}

unsigned h2_room(const struct h2_conn *conn)
{
    uint32_t max;

    if (conn->state != H2_UP)
        return 0;
    max =
        nghttp2_session_get_remote_settings(conn->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (max > H2_STREAMS_MAX)
        max = H2_STREAMS_MAX;
    return conn->open < max ? max - conn->open : 0;
}

unsigned h2_streams(const struct h2_conn *conn)
{
    return conn->open;
}

uint64_t h2_answers(const struct h2_conn *conn)
{
    return conn->answers;
}

/* --- requests --- */

static void header_put(nghttp2_nv *nv, const struct h2_header *h)
{
    /* nghttp2 declares the bytes as its to change, and does not. */
    *nv = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)h->name,
                       .value = (uint8_t *)(uintptr_t)h->value,
                       .namelen = strlen(h->name),
                       .valuelen = strlen(h->value),
                       .flags = h->secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
}

static int submit(struct h2_stream *s, const struct h2_request *req, struct err *err)
{
    nghttp2_data_provider body = {.read_callback = body_wanted};
    nghttp2_nv nv[H2_HEADERS_MAX];

    if (req->count > H2_HEADERS_MAX)
        return err_set(err, ERR_LIMIT, 0, "%zu headers, limit %u", req->count, H2_HEADERS_MAX);
    for (size_t i = 0; i < req->count; i++)
        header_put(&nv[i], &req->headers[i]);
    s->id =
        nghttp2_submit_request(s->conn->session, NULL, nv, req->count, req->body ? &body : NULL, s);
    if (s->id < 0)
        return err_set(err, s->id == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : ERR_NET, 0, "HTTP/2: %s",
                       nghttp2_strerror(s->id));
    return 0;
}

int h2_request(struct h2_stream **out, struct h2_conn *conn, const struct h2_request *req,
               const struct h2_receiver *receiver, void *ctx, struct err *err)
{
    struct h2_stream *s;

    if (h2_room(conn) == 0)
        return err_set(err, ERR_LIMIT, 0, "the connection has no room for another stream");
    s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(err, ERR_NOMEM, 0, "no memory for a stream");
    *s = (struct h2_stream){.conn = conn, .receiver = receiver, .ctx = ctx, .body_end = !req->body};
    if (submit(s, req, err) < 0) {
        free(s);
        return -1;
    }
    conn->open++;
    stream_link(s);
    channel_dirty(conn->channel);
    *out = s;
    return 0;
}

void h2_resume(struct h2_stream *s)
{
    nghttp2_session_resume_data(s->conn->session, s->id); /* not deferred: nothing to do */
    conn_dirty(s->conn);
}

void h2_consume(struct h2_stream *s, size_t n)
{
    nghttp2_session_consume_stream(s->conn->session, s->id, n);
    if (nghttp2_session_want_write(s->conn->session))
        conn_dirty(s->conn);
}

void h2_cancel(struct h2_stream *s)
{
    struct h2_conn *conn = s->conn;

    nghttp2_submit_rst_stream(conn->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
    stream_free(s);
    conn_dirty(conn);
}

/* --- the context --- */

static void set_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, header_begins);
    nghttp2_session_callbacks_set_on_header_callback(cb, header_came);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, frame_came);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, data_came);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, stream_closed);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, frame_left);
}

int h2_context_new(struct h2_context **out, struct loop *loop, const struct tls_options *tls,
                   struct err *err)
{
    struct tls_options h2 = *tls;
    struct h2_context *c = calloc(1, sizeof(*c));

    if (!c || nghttp2_session_callbacks_new(&c->callbacks) || nghttp2_option_new(&c->option)) {
        h2_context_free(c);
        return err_set(err, ERR_NOMEM, 0, "no memory for HTTP/2");
    }
    c->loop = loop;
    set_callbacks(c->callbacks);
    nghttp2_option_set_no_auto_window_update(c->option, 1);
    h2.alpn = "h2";
    if (channel_context_new(&c->channels, loop, &h2, err) < 0) {
        h2_context_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

void h2_context_free(struct h2_context *c)
{
    if (!c)
        return;
    channel_context_free(c->channels);
    nghttp2_session_callbacks_del(c->callbacks);
    nghttp2_option_del(c->option);
    free(c);
}

const struct channel_stats *h2_context_stats(const struct h2_context *c)
{
    return channel_context_stats(c->channels);
}
