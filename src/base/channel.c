#include "base/channel.h"

#include "base/clock.h"
#include "base/limits.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* libuv's handles live in blocks of their own, which outlive the channel until libuv is done with
 * them; `channel` is NULL from the moment the channel has let go. */
struct sock {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct buf flight; /* being written by libuv */
    struct channel *channel;
};

struct lookup {
    uv_getaddrinfo_t req;
    struct channel *channel;
};

/* Where to connect to, until connected. */
struct dial {
    struct sockaddr_storage to[CHANNEL_ADDRESSES_MAX];
    size_t n, at;
    uint64_t deadline_ns;
};

enum channel_state { RESOLVING = 1, CONNECTING, HANDSHAKE, OPEN, CLOSED, STATES };

struct channel {
    struct channel_context *c;
    const struct channel_events *events;
    void *ctx;
    enum channel_state state;
    int depth; /* how many of our frames are on the stack above an event */
    struct sock *sock;
    struct lookup *lookup;
    struct dial *dial;
    struct tls *tls;
    struct buf out; /* encrypted, not given to libuv yet */
    struct timer timer;
    struct channel *next_dirty, **dirty_link; /* link NULL: not in the list */
    uint16_t port;
    char host[256], name[256];
};

/* The two handles between which dirty channels are flushed. */
struct turns {
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    int open;
    struct channel_context *c;
};

struct channel_context {
    struct loop *loop;
    struct tls_context *tls;
    struct channel_stats stats;
    struct channel *dirty;
    struct turns *turns;
    unsigned channels;
    uint8_t in[CHANNEL_READ_BYTES];   /* as read */
    uint8_t plain[CHANNEL_TLS_BYTES]; /* decrypted */
};

/* --- states --- */

/* Legal successors; CLOSED can follow all. */
static const unsigned next_states[STATES] = {
    [RESOLVING] = 1u << CONNECTING,
    [CONNECTING] = 1u << CONNECTING | 1u << HANDSHAKE,
    [HANDSHAKE] = 1u << OPEN,
};

static void state_set(struct channel *ch, enum channel_state to)
{
    assert(to == CLOSED ? ch->state != CLOSED : (next_states[ch->state] & 1u << to) != 0);
    ch->state = to;
}

/* --- closing --- */

static void sock_closed(uv_handle_t *handle)
{
    struct sock *s = handle->data;

    buf_free(&s->flight);
    free(s);
}

static void sock_drop(struct channel *ch)
{
    if (!ch->sock)
        return;
    ch->sock->channel = NULL;
    uv_close((uv_handle_t *)&ch->sock->tcp, sock_closed);
    ch->sock = NULL;
}

static void lookup_drop(struct channel *ch)
{
    if (!ch->lookup)
        return;
    ch->lookup->channel = NULL;
    uv_cancel((uv_req_t *)&ch->lookup->req); /* its callback comes in any case and frees it */
    ch->lookup = NULL;
}

static void dirty_clear(struct channel *ch)
{
    if (!ch->dirty_link)
        return;
    *ch->dirty_link = ch->next_dirty;
    if (ch->next_dirty)
        ch->next_dirty->dirty_link = ch->dirty_link;
    ch->dirty_link = NULL;
}

static void channel_release(struct channel *ch)
{
    if (ch->depth > 0)
        return; /* whoever is below us on the stack does it */
    ch->c->channels--;
    tls_free(ch->tls);
    buf_free(&ch->out);
    free(ch);
}

/* Everything but the memory. */
static void channel_end(struct channel *ch)
{
    state_set(ch, CLOSED);
    loop_timer_clear(ch->c->loop, &ch->timer);
    dirty_clear(ch);
    lookup_drop(ch);
    sock_drop(ch);
    free(ch->dial);
    ch->dial = NULL;
}

void channel_close(struct channel *ch)
{
    if (!ch || ch->state == CLOSED)
        return;
    channel_end(ch);
    channel_release(ch);
}

void channel_fail(struct channel *ch, const struct err *err)
{
    if (ch->state == CLOSED)
        return;
    channel_end(ch);
    ch->depth++;
    ch->events->on_close(ch->ctx, err);
    ch->depth--;
    channel_release(ch);
}

/* --- writing --- */

static void written(uv_write_t *req, int status);

static void count_written(struct channel *ch, size_t n)
{
    ch->c->stats.bytes_written += n;
    ch->c->stats.last_write_ns = clock_now_ns();
}

/* What libuv could not write at once goes as a request; meanwhile more gathers in ch->out. */
static int push_later(struct channel *ch)
{
    struct sock *s = ch->sock;
    uv_buf_t b = uv_buf_init((char *)ch->out.data, (unsigned)ch->out.len);

    s->flight = ch->out;
    ch->out = (struct buf){.max = CHANNEL_OUT_MAX};
    return uv_write(&s->write, (uv_stream_t *)&s->tcp, &b, 1, written);
}

/* Gives what is encrypted to the kernel. */
static int push(struct channel *ch, struct err *err)
{
    uv_buf_t b = uv_buf_init((char *)ch->out.data, (unsigned)ch->out.len);
    int rc;

    if (ch->out.len == 0 || ch->sock->flight.len)
        return 0;
    rc = uv_try_write((uv_stream_t *)&ch->sock->tcp, &b, 1);
    if (rc > 0) {
        count_written(ch, (size_t)rc);
        buf_consume(&ch->out, (size_t)rc);
    }
    if (rc == UV_EAGAIN || (rc >= 0 && ch->out.len))
        rc = push_later(ch);
    else if (ch->out.cap > CHANNEL_KEEP_BYTES)
        buf_free(&ch->out);
    return rc < 0 ? err_set(err, ERR_NET, -rc, "write") : 0;
}

static void written(uv_write_t *req, int status)
{
    struct sock *s = req->handle->data;
    struct channel *ch = s->channel;
    size_t n = s->flight.len;
    struct err err;

    buf_free(&s->flight);
    if (!ch)
        return;
    if (status < 0) {
        err_set(&err, ERR_NET, -status, "write");
        channel_fail(ch, &err);
        return;
    }
    count_written(ch, n);
    if (push(ch, &err) < 0)
        channel_fail(ch, &err);
    else if (ch->state == OPEN)
        channel_dirty(ch); /* the owner may go on */
}

size_t channel_backlog(const struct channel *ch)
{
    return ch->out.len + (ch->sock ? ch->sock->flight.len : 0);
}

int channel_write(struct channel *ch, const void *data, size_t len, struct err *err)
{
    return tls_write(ch->tls, data, len, err);
}

/* --- flushing, once a turn --- */

static void turns_stop(struct turns *t)
{
    uv_prepare_stop(&t->before_poll);
    uv_check_stop(&t->after_poll);
}

static void channel_flush(struct channel *ch)
{
    struct err err;

    ch->depth++;
    ch->events->on_flush(ch->ctx);
    if (ch->state == OPEN && push(ch, &err) < 0)
        channel_fail(ch, &err);
    ch->depth--;
    if (ch->state == CLOSED)
        channel_release(ch);
}

/* What gets dirty meanwhile is flushed too: each round moves bytes, and the backlog has a limit. */
static void flush_dirty(struct channel_context *c)
{
    while (c->dirty) {
        struct channel *ch = c->dirty;

        dirty_clear(ch);
        channel_flush(ch);
    }
    turns_stop(c->turns);
}

static void turn_prepare(uv_prepare_t *handle)
{
    flush_dirty(((struct turns *)handle->data)->c);
}

static void turn_check(uv_check_t *handle)
{
    flush_dirty(((struct turns *)handle->data)->c);
}

void channel_dirty(struct channel *ch)
{
    struct channel_context *c = ch->c;

    if (ch->state != OPEN || ch->dirty_link)
        return;
    if (!c->dirty) {
        uv_prepare_start(&c->turns->before_poll, turn_prepare);
        uv_check_start(&c->turns->after_poll, turn_check);
    }
    ch->next_dirty = c->dirty;
    if (c->dirty)
        c->dirty->dirty_link = &ch->next_dirty;
    ch->dirty_link = &c->dirty;
    c->dirty = ch;
}

/* --- reading --- */

static void opened(struct channel *ch)
{
    state_set(ch, OPEN);
    loop_timer_clear(ch->c->loop, &ch->timer);
    ch->events->on_open(ch->ctx);
}

/* -1: err is set. 0: all that came is used up. */
static int take_plain(struct channel *ch, struct err *err)
{
    while (ch->state == OPEN) {
        bool end;
        ssize_t n = tls_read(ch->tls, ch->c->plain, sizeof(ch->c->plain), &end, err);

        if (n < 0)
            return -1;
        if (end)
            return err_set(err, ERR_NET, 0, "the server closed the connection");
        if (n == 0)
            return 0;
        ch->events->on_bytes(ch->ctx, ch->c->plain, (size_t)n);
    }
    return 0;
}

static int take_input(struct channel *ch, struct err *err)
{
    if (ch->state == HANDSHAKE) {
        int rc = tls_handshake(ch->tls, err);

        if (rc <= 0)
            return rc;
        opened(ch);
    }
    return take_plain(ch, err);
}

/* A failed session may still owe the peer an alert that says why. */
static void channel_take(struct channel *ch, const uint8_t *data, size_t len)
{
    struct err err, ignored;
    int rc;

    ch->depth++;
    tls_input(ch->tls, data, len);
    rc = take_input(ch, &err);
    if (ch->state != CLOSED) {
        int pushed = push(ch, rc < 0 ? &ignored : &err);

        if (rc < 0 || pushed < 0)
            channel_fail(ch, &err);
    }
    ch->depth--;
    if (ch->state == CLOSED)
        channel_release(ch);
}

static void read_room(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
    struct sock *s = handle->data;

    (void)suggested;
    *b = s->channel ? uv_buf_init((char *)s->channel->c->in, CHANNEL_READ_BYTES)
                    : uv_buf_init(NULL, 0);
}

static void read_done(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct sock *s = stream->data;
    struct channel *ch = s->channel;
    struct err err;

    if (!ch || n == 0)
        return;
    if (n > 0) {
        ch->c->stats.last_read_ns = clock_now_ns();
        ch->c->stats.bytes_read += (uint64_t)n;
        channel_take(ch, (const uint8_t *)b->base, (size_t)n);
        return;
    }
    if (n == UV_EOF)
        err_set(&err, ERR_NET, 0, "the server closed the connection");
    else
        err_set(&err, ERR_NET, (int)-n, "read");
    channel_fail(ch, &err);
}

/* --- connecting --- */

static int dial_next(struct channel *ch, struct err *err);

static void dial_failed(struct channel *ch, int status)
{
    struct err err;

    err_set(&err, status == UV_ETIMEDOUT ? ERR_TIMEOUT : ERR_NET, -status, "connect");
    sock_drop(ch);
    if (dial_next(ch, &err) < 0)
        channel_fail(ch, &err);
}

/* The client speaks first. */
static int handshake_begin(struct channel *ch, struct err *err)
{
    state_set(ch, HANDSHAKE);
    free(ch->dial);
    ch->dial = NULL;
    uv_tcp_nodelay(&ch->sock->tcp, 1);
    if (tls_new(&ch->tls, ch->c->tls, ch->name, &ch->out, err) < 0 ||
        tls_handshake(ch->tls, err) < 0 || push(ch, err) < 0)
        return -1;
    return uv_read_start((uv_stream_t *)&ch->sock->tcp, read_room, read_done) == 0
               ? 0
               : err_set(err, ERR_NET, 0, "read");
}

static void connected(uv_connect_t *req, int status)
{
    struct sock *s = req->data;
    struct channel *ch = s->channel;
    struct err err;

    if (!ch)
        return;
    if (status < 0) {
        dial_failed(ch, status);
        return;
    }
    if (loop_timer_set(ch->c->loop, &ch->timer, ch->dial->deadline_ns, &err) < 0 ||
        handshake_begin(ch, &err) < 0)
        channel_fail(ch, &err);
}

static int sock_new(struct channel *ch, struct err *err)
{
    struct sock *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return err_set(err, ERR_NOMEM, 0, "no memory for a socket");
    rc = uv_tcp_init(loop_uv(ch->c->loop), &s->tcp);
    if (rc < 0) {
        free(s);
        return err_set(err, ERR_NET, -rc, "socket");
    }
    s->tcp.data = s;
    s->connect.data = s;
    s->channel = ch;
    ch->sock = s;
    return 0;
}

/* Each address gets an equal part of the time that is left. */
static int dial_one(struct channel *ch, const struct sockaddr *to, struct err *err)
{
    struct dial *d = ch->dial;
    uint64_t now = clock_now_ns(), left = d->deadline_ns > now ? d->deadline_ns - now : 0;
    int rc;

    if (sock_new(ch, err) < 0 ||
        loop_timer_set(ch->c->loop, &ch->timer, now + left / (d->n - d->at + 1), err) < 0)
        return -1;
    rc = uv_tcp_connect(&ch->sock->connect, &ch->sock->tcp, to, connected);
    if (rc == 0)
        return 0;
    sock_drop(ch);
    return err_set(err, ERR_NET, -rc, "connect");
}

/* -1: no address is left, err tells of the last one (as it came, where none was tried). */
static int dial_next(struct channel *ch, struct err *err)
{
    struct dial *d = ch->dial;

    state_set(ch, CONNECTING);
    while (d->at < d->n) {
        const struct sockaddr *to = (const struct sockaddr *)&d->to[d->at++];

        if (dial_one(ch, to, err) == 0)
            return 0;
    }
    return -1;
}

static void deadline_passed(struct timer *t)
{
    struct channel *ch = container_of(t, struct channel, timer);
    struct err err;

    if (ch->state == CONNECTING) {
        dial_failed(ch, UV_ETIMEDOUT);
        return;
    }
    err_set(&err, ERR_TIMEOUT, 0, "%s",
            ch->state == RESOLVING ? "the name was not resolved in time"
                                   : "the TLS handshake was not done in time");
    channel_fail(ch, &err);
}

/* --- addresses --- */

static void dial_add(struct dial *d, const void *addr, size_t len)
{
    if (d->n < CHANNEL_ADDRESSES_MAX && len <= sizeof(d->to[0]))
        memcpy(&d->to[d->n++], addr, len);
}

/* Adds nothing where text is no address. */
static void dial_add_text(struct dial *d, const char *text, uint16_t port)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (uv_ip4_addr(text, port, &v4) == 0)
        dial_add(d, &v4, sizeof(v4));
    else if (uv_ip6_addr(text, port, &v6) == 0)
        dial_add(d, &v6, sizeof(v6));
}

static void resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct lookup *l = container_of(req, struct lookup, req);
    struct channel *ch = l->channel;
    struct err err;

    if (ch) {
        ch->lookup = NULL;
        for (struct addrinfo *a = found; a; a = a->ai_next)
            dial_add(ch->dial, a->ai_addr, a->ai_addrlen);
        err_set(&err, ERR_NET, 0, "no address: %s",
                status < 0 ? uv_strerror(status) : "none found");
        if (dial_next(ch, &err) < 0)
            channel_fail(ch, &err);
    }
    uv_freeaddrinfo(found);
    free(l);
}

static int lookup_start(struct channel *ch, struct err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct lookup *l = calloc(1, sizeof(*l));
    char port[8];
    int rc;

    if (!l)
        return err_set(err, ERR_NOMEM, 0, "no memory to resolve a name");
    snprintf(port, sizeof(port), "%u", ch->port);
    rc = uv_getaddrinfo(loop_uv(ch->c->loop), &l->req, resolved, ch->host, port, &hints);
    if (rc < 0) {
        free(l);
        return err_set(err, ERR_NET, 0, "name lookup: %s", uv_strerror(rc));
    }
    l->channel = ch;
    ch->lookup = l;
    return 0;
}

/* Addresses need no lookup, and neither does localhost: a lookup starts libuv's thread pool, whose
 * memory a daemon that talks to one address should not pay for. */
static int dial_start(struct channel *ch, struct err *err)
{
    if (strcmp(ch->host, "localhost") == 0) {
        dial_add_text(ch->dial, "127.0.0.1", ch->port);
        dial_add_text(ch->dial, "::1", ch->port);
    } else {
        dial_add_text(ch->dial, ch->host, ch->port);
    }
    if (ch->dial->n)
        return dial_next(ch, err);
    if (loop_timer_set(ch->c->loop, &ch->timer, ch->dial->deadline_ns, err) < 0)
        return -1;
    return lookup_start(ch, err);
}

static int copy_name(char out[256], const char *name, struct err *err)
{
    size_t len = strlen(name);

    if (len == 0 || len > 255)
        return err_set(err, ERR_INVALID, 0, "a host's name has 1 to 255 bytes");
    memcpy(out, name, len + 1);
    return 0;
}

int channel_open(struct channel **out, struct channel_context *c, const struct channel_target *to,
                 const struct channel_events *events, void *ctx, struct err *err)
{
    struct channel *ch = calloc(1, sizeof(*ch));

    if (!ch || !(ch->dial = calloc(1, sizeof(*ch->dial)))) {
        free(ch);
        return err_set(err, ERR_NOMEM, 0, "no memory for a connection");
    }
    ch->c = c;
    c->channels++;
    ch->events = events;
    ch->ctx = ctx;
    ch->state = RESOLVING;
    ch->out.max = CHANNEL_OUT_MAX;
    ch->port = to->port;
    ch->timer.fire = deadline_passed;
    ch->dial->deadline_ns = clock_now_ns() + to->timeout_ms * NS_PER_MS;
    if (copy_name(ch->host, to->host, err) < 0 ||
        copy_name(ch->name, to->server_name ? to->server_name : to->host, err) < 0 ||
        dial_start(ch, err) < 0) {
        channel_close(ch);
        return -1;
    }
    *out = ch;
    return 0;
}

/* --- the context --- */

static int turns_new(struct channel_context *c)
{
    uv_loop_t *uv = loop_uv(c->loop);

    c->turns = calloc(1, sizeof(*c->turns));
    if (!c->turns)
        return -1;
    c->turns->c = c;
    uv_prepare_init(uv, &c->turns->before_poll);
    uv_check_init(uv, &c->turns->after_poll);
    c->turns->before_poll.data = c->turns->after_poll.data = c->turns;
    return 0;
}

static void turns_closed(uv_handle_t *handle)
{
    struct turns *t = handle->data;

    if (--t->open == 0)
        free(t);
}

static void turns_free(struct turns *t)
{
    if (!t)
        return;
    t->open = 2;
    uv_close((uv_handle_t *)&t->before_poll, turns_closed);
    uv_close((uv_handle_t *)&t->after_poll, turns_closed);
}

int channel_context_new(struct channel_context **out, struct loop *loop,
                        const struct tls_options *tls, struct err *err)
{
    struct channel_context *c = calloc(1, sizeof(*c));

    if (!c)
        return err_set(err, ERR_NOMEM, 0, "no memory for connections");
    c->loop = loop;
    if (tls_context_new(&c->tls, tls, err) < 0) {
        channel_context_free(c);
        return -1;
    }
    if (turns_new(c) < 0) {
        channel_context_free(c);
        return err_set(err, ERR_NOMEM, 0, "no memory for connections");
    }
    signal(SIGPIPE, SIG_IGN);
    *out = c;
    return 0;
}

void channel_context_free(struct channel_context *c)
{
    if (!c)
        return;
    assert(c->channels == 0);
    turns_free(c->turns);
    tls_context_free(c->tls);
    free(c);
}

const struct channel_stats *channel_context_stats(const struct channel_context *c)
{
    return &c->stats;
}
