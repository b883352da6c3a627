/* See listserver.h. One thread, poll, TLS in memory buffers, a session of nghttp2 for each
 * connection. A list is made while it is sent (answer_read), so that a million objects take no
 * memory here; what changes meanwhile waits in the watching stream's own buffer.
 */
#include "listserver.h"

#include "base/buf.h"
#include "support/pki.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CONNS_MAX 64
#define OUT_BYTES (128u * 1024)

struct conn;

struct stream {
    struct conn *conn;
    struct stream *next, **link;
    int32_t id;
    char path[512];
    struct buf answer;
    size_t answer_at;
    uint32_t next_object; /* of a list; objects: it is over */
    bool watch, ends;
};

struct conn {
    struct listserver *server;
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    struct buf out;
    struct stream *streams;
    bool up, dead;
};

struct listserver {
    uint32_t n;
    uint32_t *versions; /* changes of each object */
    uint64_t version;   /* of all */
    struct test_pki pki;
    SSL_CTX *ssl;
    nghttp2_session_callbacks *callbacks;
    int listener, wake;
    uint16_t port;
    pthread_t thread;
    bool started;
    struct conn *conns[CONNS_MAX];
    pthread_mutex_t lock; /* of what follows */
    uint32_t *touched;
    size_t ntouched, touched_room;
    bool stop;
    _Atomic uint64_t reviews, objects, streams;
};

static void out_of_memory(void)
{
    fprintf(stderr, "listserver: no memory\n");
    abort();
}

/* --- objects --- */

static void put_event(struct listserver *s, struct buf *out, const char *type, uint32_t i)
{
    /* The first version of an object is its number, each change is 2^32 more. */
    unsigned long long version = ((unsigned long long)s->versions[i] << 32) + i + 1;

    if (buf_printf(out, NULL,
                   "{\"type\":\"%s\",\"object\":{\"apiVersion\":\"amurant.io/v1\",\"kind\":"
                   "\"TestResource\",\"metadata\":{\"name\":\"ball\",\"namespace\":\"d-%07u\","
                   "\"uid\":\"3f2c8b1e-5a47-4d0e-9c61-%012x\",\"resourceVersion\":\"%llu\","
                   "\"generation\":%u,\"creationTimestamp\":\"2026-01-01T00:00:00Z\",\"labels\":{"
                   "\"app.kubernetes.io/name\":\"density\",\"app.kubernetes.io/instance\":"
                   "\"d-%07u\"}},\"spec\":{\"nonce\":%u,\"updated_at\":"
                   "\"2026-01-01T00:00:00.000Z\"}}}\n",
                   type, i, i, version, s->versions[i] + 1, i, s->versions[i]) < 0)
        out_of_memory();
    atomic_fetch_add_explicit(&s->objects, 1, memory_order_relaxed);
}

static void put_end_of_list(struct listserver *s, struct buf *out)
{
    if (buf_printf(out, NULL,
                   "{\"type\":\"BOOKMARK\",\"object\":{\"apiVersion\":\"amurant.io/v1\",\"kind\":"
                   "\"TestResource\",\"metadata\":{\"resourceVersion\":\"%llu\",\"annotations\":{"
                   "\"k8s.io/initial-events-end\":\"true\"}}}}\n",
                   (unsigned long long)s->version) < 0)
        out_of_memory();
}

/* --- answers --- */

/* More of a list, while what is ready is less than a frame. */
static void list_more(struct stream *st, size_t want)
{
    struct listserver *s = st->conn->server;

    if (st->answer_at >= OUT_BYTES || st->answer_at == st->answer.len) {
        buf_consume(&st->answer, st->answer_at);
        st->answer_at = 0;
    }
    while (st->next_object < s->n && st->answer.len - st->answer_at < want) {
        put_event(s, &st->answer, "ADDED", st->next_object++);
        if (st->next_object == s->n)
            put_end_of_list(s, &st->answer);
    }
}

static ssize_t answer_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t cap,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct stream *st = source->ptr;
    size_t n;

    (void)session;
    (void)id;
    (void)user;
    list_more(st, cap);
    n = st->answer.len - st->answer_at;
    n = n < cap ? n : cap;
    if (n)
        memcpy(out, st->answer.data + st->answer_at, n);
    st->answer_at += n;
    if (n == 0 && !st->ends)
        return NGHTTP2_ERR_DEFERRED;
    if (st->ends && st->answer_at == st->answer.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

#define NV(n, v)                                                                                   \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0              \
    }

static void respond(struct stream *st, const char *status, const char *body)
{
    nghttp2_data_provider data = {.source.ptr = st, .read_callback = answer_read};
    nghttp2_nv nv[] = {NV(":status", status), NV("content-type", "application/json")};

    st->next_object = st->watch ? st->next_object : st->conn->server->n;
    st->ends = !st->watch;
    if (buf_puts(&st->answer, body, NULL) < 0)
        out_of_memory();
    nghttp2_submit_response(st->conn->session, st->id, nv, 2, &data);
}

/* The whole request is here. */
static void answer(struct stream *st)
{
    struct listserver *s = st->conn->server;
    const char *path = st->path;

    if (strstr(path, "subjectaccessreviews")) {
        atomic_fetch_add_explicit(&s->reviews, 1, memory_order_relaxed);
        respond(st, "201", "{\"status\":{\"allowed\":true}}");
    } else if (strcmp(path, "/apis/amurant.io/v1") == 0) {
        respond(st, "200",
                "{\"kind\":\"APIResourceList\",\"resources\":[{\"name\":\"testresources\","
                "\"kind\":\"TestResource\",\"namespaced\":true,\"verbs\":[\"get\",\"list\","
                "\"watch\"]}]}");
    } else if (strstr(path, "watch=true")) {
        st->watch = true;
        st->next_object = strstr(path, "sendInitialEvents=true") ? 0 : s->n;
        respond(st, "200", "");
    } else {
        respond(st, strcmp(path, "/version") == 0 ? "200" : "404", "{}");
    }
}

/* --- the session's callbacks --- */

static int headers_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct conn *c = user;
    struct stream *st = calloc(1, sizeof(*st));

    if (!st)
        out_of_memory();
    st->conn = c;
    st->id = frame->hd.stream_id;
    st->next = c->streams;
    st->link = &c->streams;
    if (st->next)
        st->next->link = &st->next;
    c->streams = st;
    atomic_fetch_add_explicit(&c->server->streams, 1, memory_order_relaxed);
    nghttp2_session_set_stream_user_data(session, st->id, st);
    return 0;
}

static int header_one(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                      size_t name_len, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
    struct stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)flags;
    (void)user;
    if (st && name_len == 5 && memcmp(name, ":path", 5) == 0)
        snprintf(st->path, sizeof(st->path), "%.*s", (int)len, (const char *)value);
    return 0;
}

static int frame_in(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)user;
    if (st && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA))
        answer(st);
    return 0;
}

static void stream_free(struct stream *st)
{
    *st->link = st->next;
    if (st->next)
        st->next->link = st->link;
    buf_free(&st->answer);
    free(st);
}

static int stream_done(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct stream *st = nghttp2_session_get_stream_user_data(session, id);

    (void)code;
    (void)user;
    if (st)
        stream_free(st);
    return 0;
}

/* --- connections --- */

static void conn_free(struct listserver *s, int i)
{
    struct conn *c = s->conns[i];

    while (c->streams)
        stream_free(c->streams);
    nghttp2_session_del(c->session);
    SSL_free(c->ssl);
    close(c->fd);
    buf_free(&c->out);
    free(c);
    s->conns[i] = NULL;
}

static void conn_accept(struct listserver *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1, i = 0;
    struct conn *c = calloc(1, sizeof(*c));

    while (i < CONNS_MAX && s->conns[i])
        i++;
    if (fd < 0 || !c || i == CONNS_MAX) {
        free(c);
        if (fd >= 0)
            close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->server = s;
    c->fd = fd;
    c->ssl = SSL_new(s->ssl);
    SSL_set_bio(c->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(c->ssl);
    s->conns[i] = c;
}

static void session_begin(struct conn *c)
{
    nghttp2_settings_entry max = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 250};

    c->up = true;
    if (nghttp2_session_server_new(&c->session, c->server->callbacks, c) != 0 ||
        nghttp2_submit_settings(c->session, 0, &max, 1) != 0)
        out_of_memory();
}

static void conn_input(struct conn *c)
{
    uint8_t plain[16384];
    int n;

    if (!c->up) {
        n = SSL_accept(c->ssl);
        if (n != 1) {
            c->dead = SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ;
            return;
        }
        session_begin(c);
    }
    while ((n = SSL_read(c->ssl, plain, sizeof(plain))) > 0)
        if (nghttp2_session_mem_recv(c->session, plain, (size_t)n) < 0)
            break;
    if (n > 0 || SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
        c->dead = true;
}

static void conn_read(struct conn *c)
{
    uint8_t raw[65536];
    ssize_t n = recv(c->fd, raw, sizeof(raw), 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        c->dead = true;
        return;
    }
    BIO_write(SSL_get_rbio(c->ssl), raw, (int)n);
    conn_input(c);
    ERR_clear_error();
}

static void take_wire(struct conn *c)
{
    char *wire = NULL;
    long len = BIO_get_mem_data(SSL_get_wbio(c->ssl), &wire);

    if (len > 0 && buf_append(&c->out, wire, (size_t)len, NULL) < 0)
        out_of_memory();
    (void)BIO_reset(SSL_get_wbio(c->ssl));
}

static void conn_fill(struct conn *c)
{
    const uint8_t *frame;
    ssize_t n;

    while (c->up && c->out.len < OUT_BYTES &&
           (n = nghttp2_session_mem_send(c->session, &frame)) > 0) {
        if (SSL_write(c->ssl, frame, (int)n) != (int)n)
            c->dead = true;
        take_wire(c);
    }
    take_wire(c);
}

static void conn_write(struct conn *c)
{
    for (conn_fill(c); c->out.len && !c->dead; conn_fill(c)) {
        ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);

        if (n < 0) {
            c->dead = errno != EAGAIN;
            return;
        }
        buf_consume(&c->out, (size_t)n);
    }
}

/* --- changes --- */

static void tell(struct conn *c, uint32_t i)
{
    for (struct stream *st = c->streams; st; st = st->next) {
        if (!st->watch || st->next_object < c->server->n)
            continue;
        put_event(c->server, &st->answer, "MODIFIED", i);
        nghttp2_session_resume_data(c->session, st->id);
    }
}

/* True: the thread is to end. */
static bool take_touched(struct listserver *s)
{
    uint64_t drop;
    bool stop;

    if (read(s->wake, &drop, sizeof(drop)) < 0)
        drop = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t k = 0; k < s->ntouched; k++) {
        s->versions[s->touched[k]]++;
        s->version = ((uint64_t)s->versions[s->touched[k]] << 32) + s->n;
        for (int c = 0; c < CONNS_MAX; c++)
            if (s->conns[c] && s->conns[c]->up)
                tell(s->conns[c], s->touched[k]);
    }
    s->ntouched = 0;
    stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    return stop;
}

static void serve_once(struct listserver *s)
{
    struct pollfd fds[CONNS_MAX + 2] = {{.fd = s->listener, .events = POLLIN},
                                        {.fd = s->wake, .events = POLLIN}};

    for (int i = 0; i < CONNS_MAX; i++) {
        struct conn *c = s->conns[i];

        fds[i + 2] = (struct pollfd){.fd = c ? c->fd : -1, .events = POLLIN};
        if (c && c->out.len)
            fds[i + 2].events |= POLLOUT;
    }
    if (poll(fds, CONNS_MAX + 2, -1) < 0)
        return;
    for (int i = 0; i < CONNS_MAX; i++)
        if (s->conns[i] && (fds[i + 2].revents & (POLLIN | POLLHUP)))
            conn_read(s->conns[i]);
    if (fds[0].revents)
        conn_accept(s);
}

static void *run(void *arg)
{
    struct listserver *s = arg;
    bool stop = false;

    while (!stop) {
        serve_once(s);
        stop = take_touched(s);
        for (int i = 0; i < CONNS_MAX; i++) {
            if (!s->conns[i])
                continue;
            conn_write(s->conns[i]);
            if (s->conns[i]->dead)
                conn_free(s, i);
        }
    }
    for (int i = 0; i < CONNS_MAX; i++)
        if (s->conns[i])
            conn_free(s, i);
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

static bool tls_begin(struct listserver *s)
{
    BIO *cert = BIO_new_mem_buf(s->pki.server_cert, -1);
    BIO *key = BIO_new_mem_buf(s->pki.server_key, -1);
    X509 *x509 = PEM_read_bio_X509(cert, NULL, NULL, NULL);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(key, NULL, NULL, NULL);
    bool ok;

    s->ssl = SSL_CTX_new(TLS_server_method());
    ok = s->ssl && x509 && pkey && SSL_CTX_use_certificate(s->ssl, x509) &&
         SSL_CTX_use_PrivateKey(s->ssl, pkey);
    if (ok)
        SSL_CTX_set_alpn_select_cb(s->ssl, choose_h2, NULL);
    BIO_free(cert);
    BIO_free(key);
    X509_free(x509);
    EVP_PKEY_free(pkey);
    return ok;
}

static bool callbacks_begin(struct listserver *s)
{
    if (nghttp2_session_callbacks_new(&s->callbacks) != 0)
        return false;
    nghttp2_session_callbacks_set_on_begin_headers_callback(s->callbacks, headers_begin);
    nghttp2_session_callbacks_set_on_header_callback(s->callbacks, header_one);
    nghttp2_session_callbacks_set_on_frame_recv_callback(s->callbacks, frame_in);
    nghttp2_session_callbacks_set_on_stream_close_callback(s->callbacks, stream_done);
    return true;
}

static bool listen_begin(struct listserver *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);

    s->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || s->wake < 0 ||
        bind(s->listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(s->listener, 64) < 0 ||
        getsockname(s->listener, (struct sockaddr *)&at, &len) < 0)
        return false;
    s->port = ntohs(at.sin_port);
    return true;
}

int listserver_start(struct listserver **out, uint32_t objects, struct err *err)
{
    struct listserver *s = calloc(1, sizeof(*s));

    if (!s || !(s->versions = calloc(objects + 1, sizeof(*s->versions)))) {
        free(s);
        return err_set(err, ERR_NOMEM, 0, "no memory for %u objects", objects);
    }
    s->n = objects;
    s->version = objects;
    s->listener = s->wake = -1;
    pthread_mutex_init(&s->lock, NULL);
    test_pki_new(&s->pki);
    if (!tls_begin(s) || !callbacks_begin(s) || !listen_begin(s) ||
        pthread_create(&s->thread, NULL, run, s) != 0) {
        listserver_stop(s);
        return err_set(err, ERR_NET, errno, "list server");
    }
    s->started = true;
    *out = s;
    return 0;
}

static void put_base64(FILE *f, const char *name, const char *text)
{
    size_t len = strlen(text);
    unsigned char *b64 = malloc(len * 2 + 4);

    if (!b64)
        out_of_memory();
    EVP_EncodeBlock(b64, (const unsigned char *)text, (int)len);
    fprintf(f, "    %s: %s\n", name, (const char *)b64);
    free(b64);
}

int listserver_kubeconfig(const struct listserver *s, const char *path, struct err *err)
{
    FILE *f = fopen(path, "we");

    if (!f)
        return err_set(err, ERR_IO, errno, "%s", path);
    fprintf(f,
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: "
            "{cluster: c, user: u}\nclusters:\n- name: c\n  cluster:\n    server: "
            "https://localhost:%u\n",
            s->port);
    put_base64(f, "certificate-authority-data", s->pki.ca);
    fprintf(f, "users:\n- name: u\n  user:\n    token: none\n");
    return fclose(f) == 0 ? 0 : err_set(err, ERR_IO, errno, "%s", path);
}

static void poke(struct listserver *s)
{
    uint64_t one = 1;

    if (write(s->wake, &one, sizeof(one)) < 0)
        perror("listserver");
}

void listserver_touch(struct listserver *s, uint32_t i)
{
    pthread_mutex_lock(&s->lock);
    if (s->ntouched == s->touched_room) {
        s->touched_room = s->touched_room ? s->touched_room * 2 : 1024;
        s->touched = realloc(s->touched, s->touched_room * sizeof(*s->touched));
        if (!s->touched)
            out_of_memory();
    }
    s->touched[s->ntouched++] = i;
    pthread_mutex_unlock(&s->lock);
    poke(s);
}

void listserver_counts(struct listserver *s, struct listserver_counts *out)
{
    out->reviews = atomic_load_explicit(&s->reviews, memory_order_relaxed);
    out->objects = atomic_load_explicit(&s->objects, memory_order_relaxed);
    out->streams = atomic_load_explicit(&s->streams, memory_order_relaxed);
}

void listserver_stop(struct listserver *s)
{
    if (!s)
        return;
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_mutex_unlock(&s->lock);
        poke(s);
        pthread_join(s->thread, NULL);
    }
    if (s->listener >= 0)
        close(s->listener);
    if (s->wake >= 0)
        close(s->wake);
    SSL_CTX_free(s->ssl);
    nghttp2_session_callbacks_del(s->callbacks);
    test_pki_free(&s->pki);
    pthread_mutex_destroy(&s->lock);
    free(s->touched);
    free(s->versions);
    free(s);
}
