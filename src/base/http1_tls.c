/* A client's life: HANDSHAKE, until it has shown that it speaks TLS 1.3; OPEN, while bytes go both
 * ways; ENDING, when the server has closed its end and the last bytes are on their way.
 *
 *   peer ══ tcp ══► tls_input, tls_read ══► pipe ══► the server's connection
 *   peer ◄═ tcp ═══ out ◄═ tls_write ◄═════ pipe ◄══
 *
 * Each direction has one piece under way and reads nothing while it is: a slow reader on one side
 * slows the writer on the other, and no buffer grows past its maximum. The server's own deadlines
 * see a slow peer as a pipe that stays full; here each piece for the peer has one, too.
 *
 * Memory: a client has two libuv handles and goes with the last of them; the listener is one more.
 */
#include "base/http1_tls.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

enum phase { HANDSHAKE = 1, OPEN, ENDING, CLOSED };

struct client {
    uv_tcp_t tcp;
    uv_pipe_t pipe;
    struct http1_tls *all;
    struct client *prev, *next;
    struct timer deadline;
    enum phase phase;
    unsigned handles; /* open */
    bool piped;       /* the pipe is one of them */
    bool peer_ended;
    struct tls *tls;
    struct buf out;                /* for the peer, encrypted */
    struct buf to_peer, to_server; /* under way */
    uv_write_t peer_write, server_write;
    bool peer_busy, server_busy;
};

struct http1_tls {
    uv_tcp_t listener;
    struct loop *loop;
    struct http1_server *server;
    struct tls_context *context;
    struct tls_token token;
    struct http1_guard guard;
    struct http1_tls_options opts;
    struct client *clients;
    unsigned nclients, handshakes, handles;
    uint64_t refill_ns, refused_logged_ns; /* of the bucket; when a wrong token was last told of */
    unsigned bucket, refused;
    unsigned short port;
    bool freed;
    uint8_t scratch[HTTP1_TLS_READ_BYTES], plain[HTTP1_TLS_READ_BYTES];
};

/* --- closing --- */

static void handle_gone(struct http1_tls *t)
{
    if (--t->handles > 0 || !t->freed)
        return;
    tls_context_free(t->context);
    free(t);
}

static void client_handle_closed(uv_handle_t *handle)
{
    struct client *c = handle->data;
    struct http1_tls *t = c->all;

    if (--c->handles > 0)
        return;
    tls_free(c->tls);
    buf_free(&c->out);
    buf_free(&c->to_peer);
    buf_free(&c->to_server);
    free(c);
    handle_gone(t);
}

static void client_phase(struct client *c, enum phase phase)
{
    if (c->phase == HANDSHAKE)
        c->all->handshakes--;
    c->phase = phase;
}

static void client_close(struct client *c)
{
    struct http1_tls *t = c->all;

    if (c->phase == CLOSED)
        return;
    client_phase(c, CLOSED);
    loop_timer_clear(t->loop, &c->deadline);
    if (c->prev)
        c->prev->next = c->next;
    else
        t->clients = c->next;
    if (c->next)
        c->next->prev = c->prev;
    t->nclients--;
    uv_close((uv_handle_t *)&c->tcp, client_handle_closed);
    if (c->piped)
        uv_close((uv_handle_t *)&c->pipe, client_handle_closed);
}

static void deadline_passed(struct timer *t)
{
    client_close(container_of(t, struct client, deadline));
}

static int client_deadline(struct client *c, unsigned ms)
{
    struct loop *loop = c->all->loop;

    return loop_timer_set(loop, &c->deadline, loop_now_ns(loop) + ms * NS_PER_MS, NULL);
}

/* --- to the peer --- */

static void read_server(struct client *c);

static void push_to_peer(struct client *c);

/* While bytes for the peer are on their way nothing of the server's is read, not even that it gave
 * up: so a peer that does not read has a deadline here, for each piece. */
static int peer_deadline(struct client *c)
{
    if (c->phase != OPEN)
        return 0; /* a handshake and an end have theirs */
    return client_deadline(c, c->all->opts.write_timeout_ms);
}

static void peer_written(uv_write_t *req, int status)
{
    struct client *c = req->data;

    c->peer_busy = false;
    buf_free(&c->to_peer);
    if (c->phase == CLOSED)
        return;
    if (status < 0) {
        client_close(c);
        return;
    }
    if (c->out.len) {
        push_to_peer(c);
    } else if (c->phase == ENDING) {
        client_close(c);
    } else if (c->phase == OPEN) {
        loop_timer_clear(c->all->loop, &c->deadline);
        read_server(c);
    }
}

/* What TLS has to say goes out, unless something is on its way already. */
static void push_to_peer(struct client *c)
{
    uv_buf_t part;

    if (c->peer_busy || c->phase == CLOSED)
        return;
    if (c->out.len == 0) {
        if (c->phase == ENDING)
            client_close(c);
        return;
    }
    c->to_peer = c->out;
    c->out = (struct buf){.max = HTTP1_TLS_OUT_MAX};
    part = uv_buf_init((char *)c->to_peer.data, (unsigned)c->to_peer.len);
    c->peer_write.data = c;
    c->peer_busy = true;
    if (uv_write(&c->peer_write, (uv_stream_t *)&c->tcp, &part, 1, peer_written)) {
        c->peer_busy = false;
        client_close(c);
    } else if (peer_deadline(c) < 0) {
        client_close(c);
    }
}

/* No more comes from the server, or TLS has failed: what is in out still goes. */
static void client_end(struct client *c)
{
    if (c->phase == CLOSED || c->phase == ENDING)
        return;
    client_phase(c, ENDING);
    uv_read_stop((uv_stream_t *)&c->tcp);
    if (client_deadline(c, HTTP1_TLS_DRAIN_MS) < 0)
        client_close(c);
    else
        push_to_peer(c);
}

static void server_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    const struct client *c = handle->data;

    (void)suggested;
    *buf = uv_buf_init((char *)c->all->plain, sizeof(c->all->plain));
}

static void server_said(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;
    struct err err = {0};

    if (n == 0 || c->phase != OPEN)
        return;
    uv_read_stop(stream);
    if (n < 0) {
        tls_end(c->tls);
        client_end(c);
        return;
    }
    if (tls_write(c->tls, buf->base, (size_t)n, &err) < 0) {
        log_debug("admin API over TCP: %s", err.msg);
        client_close(c);
        return;
    }
    push_to_peer(c);
}

static void read_server(struct client *c)
{
    int rc = uv_read_start((uv_stream_t *)&c->pipe, server_alloc, server_said);

    if (rc && rc != UV_EALREADY)
        client_close(c);
}

/* --- from the peer --- */

static void read_peer(struct client *c);

static void server_written(uv_write_t *req, int status)
{
    struct client *c = req->data;

    c->server_busy = false;
    buf_free(&c->to_server);
    if (c->phase == CLOSED || c->phase == ENDING)
        return;
    if (status == UV_EPIPE || status == UV_ECONNRESET)
        return; /* the server has closed: its last words are read first */
    if (status < 0 || c->peer_ended)
        client_close(c);
    else
        read_peer(c);
}

static void push_to_server(struct client *c)
{
    uv_buf_t part = uv_buf_init((char *)c->to_server.data, (unsigned)c->to_server.len);

    if (c->to_server.len == 0) {
        if (c->peer_ended)
            client_close(c);
        return;
    }
    uv_read_stop((uv_stream_t *)&c->tcp);
    c->server_write.data = c;
    c->server_busy = true;
    if (uv_write(&c->server_write, (uv_stream_t *)&c->pipe, &part, 1, server_written)) {
        c->server_busy = false;
        client_close(c);
    }
}

/* A socket pair, its other end the server's. */
static int open_pipe(struct client *c, struct err *err)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return err_set(err, ERR_IO, errno, "a socket pair");
    uv_pipe_init(loop_uv(c->all->loop), &c->pipe, 0);
    c->pipe.data = c;
    c->piped = true;
    c->handles++;
    if (uv_pipe_open(&c->pipe, fds[0])) {
        close(fds[0]);
        close(fds[1]);
        return err_set(err, ERR_IO, 0, "a socket pair");
    }
    return http1_server_adopt(c->all->server, fds[1], &c->all->guard, err);
}

/* 1: done, 0: more is needed; -1: it failed, and is being ended. */
static int shake_hands(struct client *c)
{
    struct err err = {0};
    int rc = tls_handshake(c->tls, &err);

    if (rc > 0) {
        client_phase(c, OPEN);
        loop_timer_clear(c->all->loop, &c->deadline); /* from here on the server's hold */
        if (open_pipe(c, &err) == 0) {
            push_to_peer(c);
            if (c->phase == OPEN)
                read_server(c);
            return c->phase == OPEN ? 1 : -1;
        }
        rc = -1;
    }
    if (rc < 0) {
        log_debug("admin API over TCP: %s", err.msg);
        client_end(c); /* with the alert that says why */
        return -1;
    }
    push_to_peer(c);
    return 0;
}

/* Decrypts all that was read. */
static void decrypt(struct client *c)
{
    struct http1_tls *t = c->all;
    struct err err = {0};
    ssize_t n;

    while ((n = tls_read(c->tls, t->plain, sizeof(t->plain), &c->peer_ended, &err)) > 0) {
        if (buf_append(&c->to_server, t->plain, (size_t)n, &err) < 0) {
            n = -1;
            break;
        }
    }
    push_to_peer(c); /* answers of TLS's own */
    if (n < 0) {
        log_debug("admin API over TCP: %s", err.msg);
        client_close(c);
    } else if (c->phase == OPEN) {
        push_to_server(c);
    }
}

static void peer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    const struct client *c = handle->data;

    (void)suggested;
    *buf = uv_buf_init((char *)c->all->scratch, sizeof(c->all->scratch));
}

static void peer_said(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;

    if (n == 0 || (c->phase != HANDSHAKE && c->phase != OPEN))
        return;
    if (n < 0) {
        client_close(c);
        return;
    }
    tls_input(c->tls, (const uint8_t *)buf->base, (size_t)n);
    if (c->phase == HANDSHAKE && shake_hands(c) <= 0)
        return;
    decrypt(c);
}

static void read_peer(struct client *c)
{
    int rc = uv_read_start((uv_stream_t *)&c->tcp, peer_alloc, peer_said);

    if (rc && rc != UV_EALREADY)
        client_close(c);
}

/* --- accepting --- */

/* A token bucket: handshakes are what a stranger can make us compute. */
static bool take_turn(struct http1_tls *t)
{
    uint64_t now = loop_now_ns(t->loop), each = NS_PER_S / t->opts.rate;
    uint64_t new = (now - t->refill_ns) / each;

    if (new > t->opts.burst) {
        t->bucket = t->opts.burst;
        t->refill_ns = now;
    } else {
        t->bucket += (unsigned)new;
        t->refill_ns += new *each;
    }
    if (t->bucket > t->opts.burst)
        t->bucket = t->opts.burst;
    if (t->bucket == 0)
        return false;
    t->bucket--;
    return true;
}

static struct client *client_new(struct http1_tls *t)
{
    struct client *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->all = t;
    c->phase = HANDSHAKE;
    c->deadline.fire = deadline_passed;
    c->out.max = HTTP1_TLS_OUT_MAX;
    c->to_server.max = HTTP1_TLS_PLAIN_MAX;
    c->next = t->clients;
    if (c->next)
        c->next->prev = c;
    t->clients = c;
    t->nclients++;
    t->handshakes++;
    t->handles++;
    c->handles = 1;
    uv_tcp_init(loop_uv(t->loop), &c->tcp);
    c->tcp.data = c;
    return c;
}

/* Beyond a limit the connection is closed at once: no answer can be given before TLS. */
static void connection_came(uv_stream_t *listener, int status)
{
    struct http1_tls *t = listener->data;
    struct client *c;
    bool full;

    if (status < 0) {
        log_warn("admin API over TCP: accept: %s", uv_strerror(status));
        return;
    }
    full = t->nclients >= t->opts.clients_max || t->handshakes >= t->opts.handshakes_max ||
           !take_turn(t);
    c = client_new(t);
    if (!c)
        return; /* the peer waits in the backlog */
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) < 0 || full ||
        tls_accept(&c->tls, t->context, &c->out, NULL) < 0 ||
        client_deadline(c, t->opts.handshake_timeout_ms) < 0) {
        client_close(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, HTTP1_TLS_KEEPALIVE_S); /* who waits for news may be gone */
    read_peer(c);
}

/* --- credentials --- */

static bool admit(void *ctx, const char *credentials, size_t len)
{
    static const char scheme[] = "bearer ";
    struct http1_tls *t = ctx;
    size_t n = sizeof(scheme) - 1;
    uint64_t now = loop_now_ns(t->loop);

    if (credentials && len > n && strncasecmp(credentials, scheme, n) == 0 &&
        tls_token_is(&t->token, credentials + n, len - n))
        return true;
    t->refused++;
    if (!t->refused_logged_ns || now - t->refused_logged_ns > 10 * NS_PER_S) {
        t->refused_logged_ns = now;
        log_warn("admin API over TCP: a request without the right token, %u so far", t->refused);
    }
    return false;
}

/* --- life --- */

/* "ADDRESS:PORT" with an IPv6 address in brackets. */
static bool read_address(const char *listen, struct sockaddr_storage *out)
{
    char host[HTTP1_TLS_ADDRESS_MAX];
    const char *colon = strrchr(listen, ':');
    size_t len = colon ? (size_t)(colon - listen) : 0;
    bool six = len > 2 && listen[0] == '[' && listen[len - 1] == ']';
    char *end;
    unsigned long port;

    if (!colon || len == 0 || len >= sizeof(host) || colon[1] < '0' || colon[1] > '9')
        return false;
    port = strtoul(colon + 1, &end, 10);
    if (*end || port > 65535)
        return false;
    memcpy(host, listen + six, len - 2 * six);
    host[len - 2 * six] = 0;
    memset(out, 0, sizeof(*out));
    return six ? uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)out) == 0
               : uv_ip4_addr(host, (int)port, (struct sockaddr_in *)out) == 0;
}

bool http1_tls_address_ok(const char *listen)
{
    struct sockaddr_storage address;

    return read_address(listen, &address);
}

static void listener_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void options_fill(struct http1_tls_options *to, const struct http1_tls_options *from)
{
    static const struct http1_tls_options none = {0};
    const struct http1_tls_options *o = from ? from : &none;

    to->clients_max = o->clients_max ? o->clients_max : HTTP1_TLS_CLIENTS_MAX;
    to->handshakes_max = o->handshakes_max ? o->handshakes_max : HTTP1_TLS_HANDSHAKES_MAX;
    to->handshake_timeout_ms =
        o->handshake_timeout_ms ? o->handshake_timeout_ms : HTTP1_TLS_HANDSHAKE_MS;
    to->write_timeout_ms = o->write_timeout_ms ? o->write_timeout_ms : HTTP1_WRITE_TIMEOUT_MS;
    to->rate = o->rate ? o->rate : HTTP1_TLS_RATE;
    to->burst = o->burst ? o->burst : HTTP1_TLS_BURST;
}

static int listen_at(struct http1_tls *t, const char *listen, struct err *err)
{
    struct sockaddr_storage address;
    int len = sizeof(address), rc;

    if (!read_address(listen, &address))
        return err_set(err, ERR_INVALID, 0,
                       "%.64s: must be ADDRESS:PORT, such as 127.0.0.1:8443 or [::1]:8443", listen);
    rc = uv_tcp_bind(&t->listener, (struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&t->listener, HTTP1_BACKLOG, connection_came);
    if (rc)
        return err_set(err,
                       rc == UV_EADDRINUSE ? ERR_EXISTS
                       : rc == UV_EACCES   ? ERR_DENIED
                                           : ERR_IO,
                       -rc, "listen at %s", listen);
    if (uv_tcp_getsockname(&t->listener, (struct sockaddr *)&address, &len) == 0)
        t->port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                      : ((struct sockaddr_in *)&address)->sin_port);
    return 0;
}

int http1_tls_new(struct http1_tls **out, struct http1_server *server, struct loop *loop,
                  const char *listen, struct tls_context *context, const struct tls_token *token,
                  const struct http1_tls_options *opts, struct err *err)
{
    struct http1_tls *t = calloc(1, sizeof(*t));

    *out = NULL;
    if (!t) {
        tls_context_free(context);
        return err_set(err, ERR_NOMEM, 0, "no memory for the admin API over TCP");
    }
    t->server = server;
    t->loop = loop;
    t->context = context;
    t->token = *token;
    t->guard = (struct http1_guard){.admit = admit, .ctx = t};
    options_fill(&t->opts, opts);
    t->bucket = t->opts.burst;
    t->refill_ns = loop_now_ns(loop);
    uv_tcp_init(loop_uv(loop), &t->listener);
    t->listener.data = t;
    t->handles = 1;
    if (listen_at(t, listen, err) < 0) {
        http1_tls_free(t);
        return -1;
    }
    *out = t;
    return 0;
}

void http1_tls_change(struct http1_tls *t, struct tls_context *context,
                      const struct tls_token *token)
{
    tls_context_free(t->context);
    t->context = context;
    t->token = *token;
}

void http1_tls_free(struct http1_tls *t)
{
    if (!t)
        return;
    t->freed = true;
    while (t->clients)
        client_close(t->clients);
    uv_close((uv_handle_t *)&t->listener, listener_closed);
}

unsigned short http1_tls_port(const struct http1_tls *t)
{
    return t->port;
}

unsigned http1_tls_clients(const struct http1_tls *t)
{
    return t->nclients;
}
