#include "support/h2_server.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CONNS_MAX 128

struct stream {
    struct conn *conn;
    struct stream *next, **link;
    int32_t id;
    char path[256];
    struct buf head, body; /* of the request */
    uint64_t left, at;     /* of a body that is made up: bytes to go, offset */
    struct buf answer;     /* of a body that is stored */
    size_t answer_at;
    bool ends; /* the answer has an end */
    bool close_after, reset_after;
};

struct conn {
    struct h2_server *server;
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    struct buf out;
    struct stream *streams;
    unsigned open;
    bool up, frozen, closing;
};

struct h2_server {
    struct h2_server_options o;
    pthread_t thread;
    int listener, wake;
    uint16_t port;
    SSL_CTX *ssl;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    struct conn *conns[CONNS_MAX];
    unsigned refused, gone_away;
    pthread_mutex_t lock; /* of what follows */
    struct h2_server_counts counts;
    unsigned orders[16], order_count;
    bool stop;
};

/* --- streams --- */

static struct stream *stream_new(struct conn *c, int32_t id)
{
    struct stream *s = calloc(1, sizeof(*s));

    assert(s);
    s->conn = c;
    s->id = id;
    s->next = c->streams;
    s->link = &c->streams;
    if (s->next)
        s->next->link = &s->next;
    c->streams = s;
    return s;
}

static void stream_free(struct stream *s)
{
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    buf_free(&s->head);
    buf_free(&s->body);
    buf_free(&s->answer);
    free(s);
}

/* --- answers --- */

static ssize_t answer_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t cap,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct stream *s = source->ptr;
    struct conn *c = user;
    size_t n = s->answer.len - s->answer_at;

    if (n > cap)
        n = cap;
    if (n) {
        memcpy(out, s->answer.data + s->answer_at, n);
        s->answer_at += n;
    }
    for (; n < cap && s->left; n++, s->left--)
        out[n] = (uint8_t)(s->at++ % 251);
    pthread_mutex_lock(&c->server->lock);
    c->server->counts.body_sent += n;
    pthread_mutex_unlock(&c->server->lock);
    if (s->left == 0 && s->answer_at == s->answer.len) {
        if (s->close_after)
            c->closing = true;
        if (s->reset_after)
            nghttp2_submit_rst_stream(session, 0, id, NGHTTP2_INTERNAL_ERROR);
        if (s->ends)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
        else if (n == 0)
            return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

#define NV(n, v, len)                                                                              \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), (len), 0                  \
    }

static void respond(struct stream *s, int status, const char *value, size_t value_len, bool body)
{
    nghttp2_data_provider data = {.source.ptr = s, .read_callback = answer_read};
    char code[16];
    nghttp2_nv nv[4] = {NV(":status", code, 3), NV("content-type", "text/plain", 10),
                        NV("x-big", value ? value : "", value_len),
                        NV("x-large", value ? value : "", value_len)};

    snprintf(code, sizeof(code), "%d", status);
    assert(nghttp2_submit_response(s->conn->session, s->id, nv, value ? 4 : 2,
                                   body ? &data : NULL) == 0);
}

static void echo(struct stream *s)
{
    assert(buf_append(&s->answer, s->head.data, s->head.len, NULL) == 0);
    assert(buf_append(&s->answer, "\n", 1, NULL) == 0);
    assert(buf_append(&s->answer, s->body.data, s->body.len, NULL) == 0);
    s->ends = true;
    respond(s, 200, NULL, 0, true);
}

static void big_header(struct stream *s, size_t n)
{
    char *value = malloc(n);

    assert(value);
    memset(value, 'x', n);
    respond(s, 200, value, n, false);
    free(value);
}

static bool starts(const char *text, const char *with, unsigned long *n)
{
    size_t len = strlen(with);

    *n = 0;
    if (strncmp(text, with, len) != 0)
        return false;
    *n = strtoul(text + len, NULL, 10);
    return true;
}

static void goaway(struct stream *s)
{
    if (s->conn->server->gone_away++)
        echo(s);
    else
        nghttp2_submit_goaway(s->conn->session, 0, s->id - 2 > 0 ? s->id - 2 : 0, NGHTTP2_NO_ERROR,
                              NULL, 0);
}

/* The whole request is here. */
static void answer(struct stream *s)
{
    struct conn *c = s->conn;
    unsigned long n;

    if (starts(s->path, "/echo", &n) || starts(s->path, "/api/", &n)) {
        echo(s);
    } else if (starts(s->path, "/bytes/", &n)) {
        s->left = n;
        s->ends = true;
        respond(s, 200, NULL, 0, true);
    } else if (starts(s->path, "/hold", &n) || starts(s->path, "/tick", &n)) {
        respond(s, 200, NULL, 0, true);
    } else if (starts(s->path, "/status/", &n)) {
        respond(s, (int)n, NULL, 0, false);
    } else if (starts(s->path, "/reset", &n) || starts(s->path, "/drop", &n)) {
        s->left = 10;
        s->reset_after = s->path[1] == 'r';
        s->close_after = !s->reset_after;
        respond(s, 200, NULL, 0, true);
    } else if (starts(s->path, "/refuse/", &n)) {
        if (c->server->refused++ < n)
            nghttp2_submit_rst_stream(c->session, 0, s->id, NGHTTP2_REFUSED_STREAM);
        else
            echo(s);
    } else if (starts(s->path, "/goaway", &n)) {
        goaway(s);
    } else if (starts(s->path, "/last", &n)) {
        nghttp2_submit_goaway(c->session, 0, s->id, NGHTTP2_NO_ERROR, NULL, 0);
        echo(s);
    } else if (starts(s->path, "/bigheader/", &n)) {
        big_header(s, n);
    } else if (starts(s->path, "/freeze", &n)) {
        c->frozen = true;
    }
}

/* --- the session's callbacks --- */

static int headers_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct conn *c = user;
    struct stream *s = stream_new(c, frame->hd.stream_id);

    nghttp2_session_set_stream_user_data(session, s->id, s);
    c->open++;
    pthread_mutex_lock(&c->server->lock);
    c->server->counts.requests++;
    if (c->open > c->server->counts.streams_peak)
        c->server->counts.streams_peak = c->open;
    pthread_mutex_unlock(&c->server->lock);
    return 0;
}

static int header_one(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                      size_t name_len, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)user;
    assert(s);
    assert(buf_printf(&s->head, NULL, "%.*s: %.*s%s\n", (int)name_len, (const char *)name, (int)len,
                      (const char *)value,
                      flags & NGHTTP2_NV_FLAG_NO_INDEX ? " (never indexed)" : "") == 0);
    if (name_len == 5 && memcmp(name, ":path", 5) == 0)
        snprintf(s->path, sizeof(s->path), "%.*s", (int)len, (const char *)value);
    return 0;
}

static int frame_in(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    struct conn *c = user;

    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        pthread_mutex_lock(&c->server->lock);
        c->server->counts.resets++;
        pthread_mutex_unlock(&c->server->lock);
    }
    if (s && frame->hd.type == NGHTTP2_HEADERS && strncmp(s->path, "/early", 6) == 0)
        respond(s, 200, NULL, 0, false);
    else if (s && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
             (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA))
        answer(s);
    return 0;
}

static int data_in(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);

    (void)flags;
    (void)user;
    assert(s && buf_append(&s->body, data, len, NULL) == 0);
    return 0;
}

static int stream_done(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);
    struct conn *c = user;

    (void)code;
    if (s) {
        stream_free(s);
        c->open--;
    }
    return 0;
}

/* --- connections --- */

static void conn_free(struct h2_server *srv, int i)
{
    struct conn *c = srv->conns[i];

    while (c->streams)
        stream_free(c->streams);
    nghttp2_session_del(c->session);
    SSL_free(c->ssl);
    close(c->fd);
    buf_free(&c->out);
    free(c);
    srv->conns[i] = NULL;
    pthread_mutex_lock(&srv->lock);
    srv->counts.open--;
    pthread_mutex_unlock(&srv->lock);
}

static void conn_accept(struct h2_server *srv)
{
    int fd = accept4(srv->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1, i = 0;
    struct conn *c;

    if (fd < 0)
        return;
    pthread_mutex_lock(&srv->lock);
    srv->counts.connections++;
    if (!srv->o.close_at_once)
        srv->counts.open++;
    pthread_mutex_unlock(&srv->lock);
    if (srv->o.close_at_once) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    while (srv->conns[i])
        i++;
    assert(i < CONNS_MAX);
    c = calloc(1, sizeof(*c));
    assert(c);
    *c = (struct conn){.server = srv, .fd = fd, .ssl = SSL_new(srv->ssl), .frozen = srv->o.mute};
    SSL_set_bio(c->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(c->ssl);
    srv->conns[i] = c;
}

static void session_begin(struct conn *c)
{
    nghttp2_settings_entry max = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                  c->server->o.streams_max ? c->server->o.streams_max : 100};

    c->up = true;
    assert(nghttp2_session_server_new2(&c->session, c->server->callbacks, c, c->server->option) ==
           0);
    assert(nghttp2_submit_settings(c->session, 0, &max, 1) == 0);
}

/* False: the connection is over. */
static bool conn_input(struct conn *c)
{
    uint8_t plain[16384];
    int n;

    if (!c->up) {
        n = SSL_accept(c->ssl);
        if (n != 1)
            return SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ;
        session_begin(c);
    }
    while ((n = SSL_read(c->ssl, plain, sizeof(plain))) > 0)
        if (nghttp2_session_mem_recv(c->session, plain, (size_t)n) < 0 || c->frozen)
            return c->frozen;
    return SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ;
}

static bool conn_read(struct conn *c)
{
    uint8_t raw[16384];
    ssize_t n = recv(c->fd, raw, sizeof(raw), 0);
    bool ok;

    if (n < 0 && errno == EAGAIN)
        return true;
    if (n <= 0)
        return false;
    BIO_write(SSL_get_rbio(c->ssl), raw, (int)n);
    ok = conn_input(c);
    ERR_clear_error();
    return ok;
}

/* Frames into c->out, as long as that is short. */
static void conn_fill(struct conn *c)
{
    const uint8_t *frame;
    char *wire = NULL;
    ssize_t n;
    long len;

    while (c->up && c->out.len < 65536 && !c->closing &&
           (n = nghttp2_session_mem_send(c->session, &frame)) > 0) {
        assert(SSL_write(c->ssl, frame, (int)n) == (int)n);
        len = BIO_get_mem_data(SSL_get_wbio(c->ssl), &wire);
        assert(buf_append(&c->out, wire, (size_t)len, NULL) == 0);
        (void)BIO_reset(SSL_get_wbio(c->ssl));
    }
    len = BIO_get_mem_data(SSL_get_wbio(c->ssl), &wire);
    assert(buf_append(&c->out, wire, (size_t)len, NULL) == 0);
    (void)BIO_reset(SSL_get_wbio(c->ssl));
}

/* False: over. */
static bool conn_write(struct conn *c)
{
    if (c->frozen)
        return true;
    for (conn_fill(c); c->out.len; conn_fill(c)) {
        size_t piece =
            c->server->o.piece && c->server->o.piece < c->out.len ? c->server->o.piece : c->out.len;
        ssize_t n = send(c->fd, c->out.data, piece, MSG_NOSIGNAL);

        if (n < 0)
            return errno == EAGAIN;
        buf_consume(&c->out, (size_t)n);
    }
    return !c->closing && (!c->up || nghttp2_session_want_read(c->session) ||
                           nghttp2_session_want_write(c->session));
}

/* --- orders --- */

static void conn_order(struct conn *c, unsigned order)
{
    for (struct stream *s = c->streams; s; s = s->next) {
        if (order == TICK && strncmp(s->path, "/tick", 5) == 0)
            assert(buf_append(&s->answer, "tick\n", 5, NULL) == 0);
        else if (order == HOLD_END && strncmp(s->path, "/hold", 5) == 0)
            s->ends = true;
        else
            continue;
        nghttp2_session_resume_data(c->session, s->id);
    }
    if (order == GOAWAY_ALL)
        nghttp2_submit_goaway(c->session, 0, nghttp2_session_get_last_proc_stream_id(c->session),
                              NGHTTP2_NO_ERROR, NULL, 0);
    if (order == DROP_ALL)
        c->closing = true;
}

/* True: the thread is to end. */
static bool take_orders(struct h2_server *srv)
{
    unsigned orders[16], n;
    uint64_t drop;
    bool stop;

    if (read(srv->wake, &drop, sizeof(drop)) < 0)
        drop = 0;
    pthread_mutex_lock(&srv->lock);
    n = srv->order_count;
    memcpy(orders, srv->orders, sizeof(orders));
    srv->order_count = 0;
    stop = srv->stop;
    pthread_mutex_unlock(&srv->lock);
    for (unsigned i = 0; i < n; i++)
        for (int k = 0; k < CONNS_MAX; k++)
            if (srv->conns[k] && srv->conns[k]->up)
                conn_order(srv->conns[k], orders[i]);
    return stop;
}

/* One round: waits, and reads from all that have something. */
static void serve_once(struct h2_server *srv)
{
    struct pollfd fds[CONNS_MAX + 2] = {{.fd = srv->listener, .events = POLLIN},
                                        {.fd = srv->wake, .events = POLLIN}};

    for (int i = 0; i < CONNS_MAX; i++) {
        struct conn *c = srv->conns[i];

        fds[i + 2] = (struct pollfd){.fd = c && !c->frozen ? c->fd : -1, .events = POLLIN};
        if (c && c->out.len)
            fds[i + 2].events |= POLLOUT;
    }
    assert(poll(fds, CONNS_MAX + 2, -1) >= 0 || errno == EINTR);
    for (int i = 0; i < CONNS_MAX; i++)
        if (srv->conns[i] && fds[i + 2].fd >= 0 && (fds[i + 2].revents & (POLLIN | POLLHUP)) &&
            !conn_read(srv->conns[i])) {
            conn_write(srv->conns[i]);
            conn_free(srv, i);
        }
    if (fds[0].revents)
        conn_accept(srv);
}

static void write_all(struct h2_server *srv)
{
    for (int i = 0; i < CONNS_MAX; i++)
        if (srv->conns[i] && !conn_write(srv->conns[i]))
            conn_free(srv, i);
}

static void *run(void *arg)
{
    struct h2_server *srv = arg;
    bool stop = false;

    while (!stop) {
        serve_once(srv);
        stop = take_orders(srv);
        write_all(srv);
    }
    for (int i = 0; i < CONNS_MAX; i++)
        if (srv->conns[i])
            conn_free(srv, i);
    return NULL;
}

/* --- life --- */

static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *len,
                     const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char h2[] = "\x02h2";

    (void)ssl;
    (void)arg;
    return SSL_select_next_proto((unsigned char **)(uintptr_t)out, len, h2, 3, in, in_len) ==
                   OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

static X509 *cert_of(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free(bio);
    assert(cert);
    return cert;
}

static void load_pki(struct h2_server *srv)
{
    BIO *bio = BIO_new_mem_buf(srv->o.pki->server_key, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    X509 *cert = cert_of(srv->o.pki->server_cert), *ca = cert_of(srv->o.pki->ca);

    assert(key && SSL_CTX_use_certificate(srv->ssl, cert) && SSL_CTX_use_PrivateKey(srv->ssl, key));
    if (srv->o.need_client) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(srv->ssl), ca);
        SSL_CTX_set_verify(srv->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    BIO_free(bio);
    EVP_PKEY_free(key);
    X509_free(cert);
    X509_free(ca);
}

static void set_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, headers_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, header_one);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, frame_in);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, data_in);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, stream_done);
}

static void listen_on(struct h2_server *srv)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(srv->o.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int on = 1;

    srv->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert(srv->listener >= 0);
    setsockopt(srv->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert(bind(srv->listener, (struct sockaddr *)&at, sizeof(at)) == 0);
    assert(listen(srv->listener, 128) == 0);
    assert(getsockname(srv->listener, (struct sockaddr *)&at, &len) == 0);
    srv->port = ntohs(at.sin_port);
}

struct h2_server *h2_server_start(const struct h2_server_options *options)
{
    struct h2_server *srv = calloc(1, sizeof(*srv));

    assert(srv);
    signal(SIGPIPE, SIG_IGN);
    srv->o = *options;
    srv->ssl = SSL_CTX_new(TLS_server_method());
    assert(srv->ssl && nghttp2_session_callbacks_new(&srv->callbacks) == 0);
    load_pki(srv);
    if (!srv->o.no_alpn)
        SSL_CTX_set_alpn_select_cb(srv->ssl, choose_h2, NULL);
    set_callbacks(srv->callbacks);
    assert(nghttp2_option_new(&srv->option) == 0);
    nghttp2_option_set_max_send_header_block_length(srv->option, 1 << 20);
    pthread_mutex_init(&srv->lock, NULL);
    srv->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    listen_on(srv);
    assert(pthread_create(&srv->thread, NULL, run, srv) == 0);
    return srv;
}

uint16_t h2_server_port(const struct h2_server *srv)
{
    return srv->port;
}

static void wake(struct h2_server *srv)
{
    uint64_t one = 1;

    assert(write(srv->wake, &one, sizeof(one)) == sizeof(one));
}

void h2_server_do(struct h2_server *srv, enum h2_server_order order)
{
    pthread_mutex_lock(&srv->lock);
    assert(srv->order_count < 16);
    srv->orders[srv->order_count++] = order;
    pthread_mutex_unlock(&srv->lock);
    wake(srv);
}

void h2_server_counts(struct h2_server *srv, struct h2_server_counts *out)
{
    pthread_mutex_lock(&srv->lock);
    *out = srv->counts;
    pthread_mutex_unlock(&srv->lock);
}

void h2_server_stop(struct h2_server *srv)
{
    pthread_mutex_lock(&srv->lock);
    srv->stop = true;
    pthread_mutex_unlock(&srv->lock);
    wake(srv);
    pthread_join(srv->thread, NULL);
    close(srv->listener);
    close(srv->wake);
    SSL_CTX_free(srv->ssl);
    nghttp2_session_callbacks_del(srv->callbacks);
    nghttp2_option_del(srv->option);
    pthread_mutex_destroy(&srv->lock);
    free(srv);
}
