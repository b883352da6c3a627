/* Answers without an end: chunks (RFC 9112, 7.1), pushed by their owner whenever there is news.
 *
 * What is pushed waits in `pending`. A millisecond after the first push it becomes one chunk and is
 * given to the socket (`writing`), so that a burst costs one system call; while that is on its way,
 * more is collected. Both together are the backlog, and it has a maximum: a push beyond it cuts the
 * stream, which means a last line that says so, the end of the answer and of the connection.
 *
 * The connection's one timer is, in turn: when to write what was pushed (`busy` is false and
 * something waits), the deadline of the write under way, or far away. It is always set, so moving
 * it needs no memory and cannot fail.
 *
 * Must never: call the owner from within a push (an owner walks a list of its streams), or close
 * the connection there. That happens in callbacks of the loop.
 */
#include "base/clock.h"
#include "base/http1_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REST_NS       (3600ull * NS_PER_S) /* nothing to do: the timer only has to be set */
#define PARTS_MAX     5u                   /* of one write: head, size, chunk, its end, the end */
#define LAST_LINE_MAX 256u

struct http1_stream {
    struct conn *conn;
    const struct http1_stream_owner *owner; /* NULL: it has ended the stream */
    void *ctx;
    struct buf pending, writing;
    size_t backlog_max;
    char size[24]; /* of the chunk under way, as its first line */
    bool chunked;  /* HTTP/1.0 has no chunks: the end of the connection is the answer's */
    bool busy;     /* a write is under way */
    bool headed;   /* the answer's head was written */
    bool ending;   /* nothing more may be pushed */
    bool ended;    /* the end was written */
};

static void timer_in(struct conn *c, uint64_t ns)
{
    if (loop_timer_set(c->server->loop, &c->deadline, loop_now_ns(c->server->loop) + ns, NULL) < 0)
        assert(0 && "a timer that is set was moved");
}

/* --- writing --- */

static void stream_write(struct conn *c);

static void write_done(uv_write_t *req, int status)
{
    struct conn *c = req->data;
    struct http1_stream *s = c->stream;

    buf_free(&s->writing);
    s->busy = false;
    if (c->phase == CLOSING)
        return;
    if (status < 0 || s->ended) {
        http1_conn_close(c);
        return;
    }
    timer_in(c, REST_NS);
    if (s->pending.len || s->ending)
        stream_write(c);
    else if (s->owner->drained)
        s->owner->drained(s->ctx);
}

static uv_buf_t part(const char *text)
{
    return uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));
}

/* Head, chunk and end of the answer, as far as each is due. Returns how many parts. */
static unsigned make_parts(struct conn *c, uv_buf_t parts[PARTS_MAX])
{
    struct http1_stream *s = c->stream;
    unsigned n = 0;

    if (!s->headed)
        parts[n++] = part(c->head);
    s->headed = true;
    if (s->pending.len) {
        s->writing = s->pending;
        s->pending = (struct buf){.max = s->writing.max};
        snprintf(s->size, sizeof(s->size), "%zx\r\n", s->writing.len);
        if (s->chunked)
            parts[n++] = part(s->size);
        parts[n++] = uv_buf_init((char *)s->writing.data, (unsigned)s->writing.len);
        if (s->chunked)
            parts[n++] = part("\r\n");
    }
    if (s->ending && s->chunked)
        parts[n++] = part("0\r\n\r\n");
    s->ended = s->ending;
    return n;
}

static void stream_write(struct conn *c)
{
    uv_buf_t parts[PARTS_MAX];
    unsigned n = make_parts(c, parts);

    if (n == 0) { /* the end of what is not chunked, and nothing before it */
        http1_conn_close(c);
        return;
    }
    c->stream->busy = true;
    timer_in(c, c->server->opts.write_timeout_ms * NS_PER_MS);
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t *)&c->handle, parts, n, write_done))
        http1_conn_close(c);
}

void http1_stream_timer(struct conn *c)
{
    const struct http1_stream *s = c->stream;

    if (s->busy)
        http1_conn_close(c); /* its deadline */
    else if (s->pending.len || s->ending)
        stream_write(c);
    else
        timer_in(c, REST_NS);
}

/* --- the owner's side --- */

static int over_limit(struct http1_response *res)
{
    http1_problem(res, 503, "too many streams: close one, or try again");
    return -1;
}

int http1_stream_open(struct http1_stream **out, const struct http1_request *req,
                      struct http1_response *res, const char *content_type,
                      const struct http1_stream_owner *owner, void *ctx)
{
    struct conn *c = container_of(res, struct conn, res);
    struct http1_server *server = c->server;
    struct http1_stream *s;

    *out = NULL;
    assert(c->handling && !c->stream);
    if (server->nstreams >= server->opts.streams_max)
        return over_limit(res);
    res->content_type = content_type;
    res->streamed = true;
    if (req->head)
        return 0;
    s = calloc(1, sizeof(*s));
    if (!s) {
        res->streamed = false;
        http1_problem(res, 503, "no memory for a stream: try again");
        return -1;
    }
    server->nstreams++;
    *s = (struct http1_stream){.conn = c,
                               .owner = owner,
                               .ctx = ctx,
                               .chunked = !req->http10,
                               .backlog_max = server->opts.stream_backlog_max};
    s->pending.max = s->backlog_max + LAST_LINE_MAX;
    c->stream = s;
    *out = s;
    return 0;
}

size_t http1_stream_room(const struct http1_stream *s)
{
    size_t used = s->pending.len + s->writing.len;

    return s->ending || used >= s->backlog_max ? 0 : s->backlog_max - used;
}

/* Before the head was written the handler has not returned yet. */
static void write_soon(const struct http1_stream *s)
{
    if (!s->busy && s->headed)
        timer_in(s->conn, HTTP1_STREAM_FLUSH_NS);
}

int http1_stream_push(struct http1_stream *s, const void *data, size_t len)
{
    bool first = s->pending.len == 0;

    if (s->ending)
        return -1;
    if (len > http1_stream_room(s) || buf_append(&s->pending, data, len, NULL) < 0) {
        http1_stream_cut(s, "read too slowly: what waited was over the limit");
        return -1;
    }
    if (first && len)
        write_soon(s);
    return 0;
}

void http1_stream_cut(struct http1_stream *s, const char *why)
{
    char line[LAST_LINE_MAX];
    int n = snprintf(line, sizeof(line), "{\"error\":\"%s\"}\n", why);

    assert(n > 0 && (size_t)n < sizeof(line));
    if (s->ending)
        return;
    s->ending = true;
    if (buf_append(&s->pending, line, (size_t)n, NULL) < 0)
        s->chunked = false; /* without memory for the line it has no proper end either */
    write_soon(s);
}

void http1_stream_end(struct http1_stream *s)
{
    s->owner = NULL;
    if (s->ending)
        return;
    s->ending = true;
    write_soon(s);
}

/* --- the connection's side --- */

void http1_stream_begin(struct conn *c)
{
    const struct http1_stream *s = c->stream;
    int n = snprintf(c->head, sizeof(c->head),
                     "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sCache-Control: no-store\r\n"
                     "Connection: close\r\n\r\n",
                     c->res.content_type, s->chunked ? "Transfer-Encoding: chunked\r\n" : "");

    assert(n > 0 && (size_t)n < sizeof(c->head));
    c->last = true;
    stream_write(c);
}

void http1_stream_farewell(struct conn *c)
{
    struct http1_stream *s = c->stream;
    uv_buf_t parts[PARTS_MAX];
    unsigned n;

    if (!s || s->busy || s->ended)
        return;
    s->ending = true;
    n = make_parts(c, parts);
    if (n)
        (void)uv_try_write((uv_stream_t *)&c->handle, parts, n);
}

void http1_stream_gone(struct conn *c)
{
    struct http1_stream *s = c->stream;
    const struct http1_stream_owner *owner = s ? s->owner : NULL;

    if (!s)
        return;
    c->server->nstreams--;
    s->owner = NULL;
    s->ending = true;
    if (owner)
        owner->gone(s->ctx);
}

void http1_stream_free(struct conn *c)
{
    if (!c->stream)
        return;
    buf_free(&c->stream->pending);
    buf_free(&c->stream->writing);
    free(c->stream);
}
