/* HTTP/2 over TLS against a server that misbehaves on request (support/h2_server.h). */
#include "base/clock.h"
#include "base/h2.h"
#include "base/limits.h"
#include "support/h2_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct test_pki pki;

/* A connection and what it told. */
struct peer {
    struct loop *loop;
    struct h2_context *context;
    struct h2_conn *conn; /* NULL once it is closed */
    struct h2_server *server;
    struct tls_options tls;
    struct h2_target to;
    bool ready, drained, closed;
    bool clean; /* closed without an error */
    unsigned rooms;
    struct err err;
};

/* A stream and what it told. */
struct answer {
    struct peer *peer;
    struct h2_stream *stream; /* NULL once it has ended */
    int status;
    char headers[4096];
    struct buf body;
    size_t got;
    bool paused; /* nothing is consumed */
    bool ended, failed, unprocessed;
    struct err err;
    const uint8_t *upload;
    size_t upload_len, upload_ready, uploaded;
    void (*then)(struct answer *a); /* called on the head */
};

/* --- events --- */

static void conn_ready(void *ctx)
{
    struct peer *p = ctx;

    p->ready = true;
    loop_stop(p->loop);
}

static void conn_room(void *ctx)
{
    struct peer *p = ctx;

    p->rooms++;
    loop_stop(p->loop);
}

static void conn_drain(void *ctx)
{
    struct peer *p = ctx;

    p->drained = true;
    loop_stop(p->loop);
}

static void conn_close(void *ctx, const struct err *err)
{
    struct peer *p = ctx;

    p->closed = true;
    p->clean = err == NULL;
    p->conn = NULL;
    if (err)
        p->err = *err;
    loop_stop(p->loop);
}

static const struct h2_events events = {conn_ready, conn_room, conn_drain, conn_close};

static void answer_head(void *ctx, int status, const char *headers, size_t len)
{
    struct answer *a = ctx;

    assert_int_equal(a->status, 0);
    a->status = status;
    snprintf(a->headers, sizeof(a->headers), "%.*s", (int)len, headers);
    if (a->then)
        a->then(a);
    loop_stop(a->peer->loop);
}

static void answer_data(void *ctx, const uint8_t *data, size_t len)
{
    struct answer *a = ctx;

    assert_false(a->ended);
    a->got += len;
    assert_int_equal(buf_append(&a->body, data, len, NULL), 0);
    if (!a->paused)
        h2_consume(a->stream, len);
    loop_stop(a->peer->loop);
}

static size_t answer_body(void *ctx, uint8_t *out, size_t cap, bool *end)
{
    struct answer *a = ctx;
    size_t n = a->upload_ready - a->uploaded;

    if (n > cap)
        n = cap;
    if (n)
        memcpy(out, a->upload + a->uploaded, n);
    a->uploaded += n;
    *end = a->uploaded == a->upload_len;
    return n;
}

static void answer_end(void *ctx, const struct err *err, bool unprocessed)
{
    struct answer *a = ctx;

    assert_false(a->ended);
    a->ended = true;
    a->stream = NULL;
    a->failed = err != NULL;
    a->unprocessed = unprocessed;
    if (err)
        a->err = *err;
    loop_stop(a->peer->loop);
}

static const struct h2_receiver receiver = {answer_head, answer_data, answer_body, answer_end};

#define UNTIL(peer, condition)                                                                     \
    do {                                                                                           \
        while (!(condition))                                                                       \
            loop_run((peer)->loop);                                                                \
    } while (0)

/* --- set-up --- */

static void peer_start(struct peer *p, const struct h2_server_options *options)
{
    struct h2_server_options o = *options;
    struct err err;

    *p = (struct peer){.tls = {.ca_pem = pki.ca}};
    o.pki = &pki;
    p->server = h2_server_start(&o);
    p->to = (struct h2_target){
        .to = {.host = "127.0.0.1", .port = h2_server_port(p->server), .timeout_ms = 20000},
        .ping_after_ms = 60000,
        .ping_timeout_ms = 60000};
    assert_int_equal(loop_new(&p->loop, &err), 0);
}

static void peer_connect(struct peer *p)
{
    struct err err;

    if (!p->context)
        assert_int_equal(h2_context_new(&p->context, p->loop, &p->tls, &err), 0);
    p->closed = p->ready = p->drained = false;
    assert_int_equal(h2_open(&p->conn, p->context, &p->to, &events, p, &err), 0);
}

static void peer_up(struct peer *p, const struct h2_server_options *options)
{
    peer_start(p, options);
    peer_connect(p);
    UNTIL(p, p->ready || p->closed);
    assert_true(p->ready);
}

static void peer_stop(struct peer *p)
{
    h2_close(p->conn);
    h2_context_free(p->context);
    loop_free(p->loop);
    h2_server_stop(p->server);
}

static int ask_method(struct answer *a, struct peer *p, const char *method, const char *path,
                      struct err *err)
{
    const struct h2_header headers[] = {{":method", method, false},
                                        {":scheme", "https", false},
                                        {":authority", "localhost", false},
                                        {":path", path, false},
                                        {"x-token", "hidden", true}};
    const struct h2_request req = {headers, 5, a->upload != NULL};

    a->peer = p;
    return h2_request(&a->stream, p->conn, &req, &receiver, a, err);
}

static void ask(struct answer *a, struct peer *p, const char *path)
{
    struct err err;

    assert_int_equal(ask_method(a, p, a->upload ? "POST" : "GET", path, &err), 0);
}

/* A whole exchange on the same connection: what the server did before is known after. */
static void round_trip(struct peer *p)
{
    struct answer a = {0};

    ask(&a, p, "/echo");
    UNTIL(p, a.ended);
    assert_false(a.failed);
    buf_free(&a.body);
}

static void assert_pattern(const struct buf *b, size_t len)
{
    assert_int_equal(b->len, len);
    for (size_t i = 0; i < len; i++)
        if (b->data[i] != i % 251)
            fail_msg("byte %zu of %zu is %u", i, len, b->data[i]);
}

static bool body_has(struct answer *a, const char *text)
{
    return strstr(buf_cstr(&a->body), text) != NULL;
}

/* --- the tests --- */

static void test_a_request_gets_its_answer(void **state)
{
    struct answer a = {0};
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&a, &p, "/echo?x=1");
    UNTIL(&p, a.ended);
    assert_false(a.failed);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.headers, "content-type: text/plain\n");
    assert_true(body_has(&a, ":path: /echo?x=1\n"));
    assert_true(body_has(&a, "x-token: hidden (never indexed)\n"));
    assert_int_equal(h2_streams(p.conn), 0);
    buf_free(&a.body);
    peer_stop(&p);
}

static void test_a_large_body_arrives_whole(void **state)
{
    struct answer a = {0};
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&a, &p, "/bytes/12000000"); /* more than the connection's window */
    UNTIL(&p, a.ended);
    assert_false(a.failed);
    assert_pattern(&a.body, 12000000);
    buf_free(&a.body);
    peer_stop(&p);
}

static void test_bytes_cut_anywhere(void **state)
{
    static const struct {
        unsigned piece;
        const char *path;
        size_t len;
    } cuts[] = {
        {1, "/bytes/5000", 5000}, {7, "/bytes/60000", 60000}, {1461, "/bytes/400000", 400000}};

    (void)state;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct answer a = {0};
        struct peer p;

        peer_up(&p, &(struct h2_server_options){.piece = cuts[i].piece});
        ask(&a, &p, cuts[i].path);
        UNTIL(&p, a.ended);
        assert_false(a.failed);
        assert_pattern(&a.body, cuts[i].len);
        buf_free(&a.body);
        peer_stop(&p);
    }
}

static void test_a_paused_receiver_stops_its_stream_only(void **state)
{
    struct answer paused = {.paused = true}, other = {0};
    struct h2_server_counts counts;
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&paused, &p, "/bytes/3000000");
    UNTIL(&p, paused.got == H2_STREAM_WINDOW);
    ask(&other, &p, "/bytes/9000000"); /* more than the connection's window */
    UNTIL(&p, other.ended);
    assert_pattern(&other.body, 9000000);
    assert_int_equal(paused.got, H2_STREAM_WINDOW);
    h2_server_counts(p.server, &counts);
    assert_int_equal(counts.body_sent, 9000000 + H2_STREAM_WINDOW);
    paused.paused = false;
    h2_consume(paused.stream, paused.got);
    UNTIL(&p, paused.ended);
    assert_pattern(&paused.body, 3000000);
    buf_free(&paused.body);
    buf_free(&other.body);
    peer_stop(&p);
}

static void test_a_streamed_request_body(void **state)
{
    static uint8_t upload[400000]; /* more than the server's window and than one flush */
    struct answer a = {.upload = upload, .upload_len = sizeof(upload)};
    struct peer p;
    const char *body;

    (void)state;
    memset(upload, 'u', sizeof(upload));
    peer_up(&p, &(struct h2_server_options){0});
    ask(&a, &p, "/echo");
    round_trip(&p); /* the body is not ready: nothing but the head was sent */
    assert_int_equal(a.uploaded, 0);
    a.upload_ready = 1000;
    h2_resume(a.stream);
    round_trip(&p);
    assert_int_equal(a.uploaded, 1000);
    a.upload_ready = sizeof(upload);
    h2_resume(a.stream);
    UNTIL(&p, a.ended);
    assert_false(a.failed);
    body = strstr(buf_cstr(&a.body), "\n\n");
    assert_non_null(body);
    assert_int_equal(strspn(body + 2, "u"), sizeof(upload));
    buf_free(&a.body);
    peer_stop(&p);
}

static void test_an_early_answer_ends_the_upload(void **state)
{
    static const uint8_t upload[10] = {0};
    struct answer a = {.upload = upload, .upload_len = 10, .upload_ready = 5};
    struct h2_server_counts counts;
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&a, &p, "/early");
    UNTIL(&p, a.ended);
    assert_false(a.failed);
    assert_int_equal(a.status, 200);
    round_trip(&p);
    h2_server_counts(p.server, &counts);
    assert_int_equal(counts.resets, 1);
    peer_stop(&p);
}

static void test_goaway_leaves_a_request_unprocessed(void **state)
{
    struct answer held = {0}, a = {0};
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&held, &p, "/hold");
    UNTIL(&p, held.status);
    ask(&a, &p, "/goaway");
    UNTIL(&p, a.ended);
    assert_true(a.failed && a.unprocessed);
    assert_true(p.drained);
    assert_int_equal(h2_room(p.conn), 0);
    assert_false(held.ended); /* goes on until it ends by itself */
    h2_server_do(p.server, HOLD_END);
    UNTIL(&p, held.ended && p.closed);
    assert_false(held.failed);
    assert_true(p.clean);
    peer_stop(&p);
}

static void test_goaway_behind_a_request_lets_it_end(void **state)
{
    struct answer a = {0};
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&a, &p, "/last");
    UNTIL(&p, a.ended && p.closed);
    assert_false(a.failed);
    assert_true(p.drained && p.clean);
    buf_free(&a.body);
    peer_stop(&p);
}

static void test_a_reset_ends_one_stream(void **state)
{
    struct answer a = {0};
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&a, &p, "/reset");
    UNTIL(&p, a.ended);
    assert_true(a.failed);
    assert_false(a.unprocessed);
    assert_int_equal(a.err.code, ERR_NET);
    assert_non_null(strstr(a.err.msg, "INTERNAL_ERROR"));
    round_trip(&p);
    buf_free(&a.body);
    peer_stop(&p);
}

static void test_a_refused_stream_is_unprocessed(void **state)
{
    struct answer a = {0};
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&a, &p, "/refuse/1");
    UNTIL(&p, a.ended);
    assert_true(a.failed && a.unprocessed);
    assert_false(p.drained);
    peer_stop(&p);
}

static void test_a_lost_connection_cuts_its_streams(void **state)
{
    struct answer held = {0}, a = {0};
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&held, &p, "/hold");
    UNTIL(&p, held.status);
    ask(&a, &p, "/drop");
    UNTIL(&p, a.ended && held.ended);
    assert_true(p.closed && !p.clean);
    assert_int_equal(a.got, 10);
    assert_true(a.failed && held.failed);
    assert_int_equal(a.err.code, ERR_NET);
    assert_string_equal(a.err.msg, "the server closed the connection");
    assert_false(a.unprocessed || held.unprocessed);
    buf_free(&a.body);
    peer_stop(&p);
}

static void test_the_limit_of_streams_is_obeyed(void **state)
{
    struct answer a[3] = {0};
    struct err err = {0};
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){.streams_max = 2});
    assert_int_equal(h2_room(p.conn), 2);
    ask(&a[0], &p, "/hold");
    ask(&a[1], &p, "/hold");
    assert_int_equal(h2_room(p.conn), 0);
    assert_int_equal(ask_method(&a[2], &p, "GET", "/hold", &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    UNTIL(&p, a[0].status && a[1].status);
    p.rooms = 0;
    h2_server_do(p.server, HOLD_END);
    UNTIL(&p, p.rooms == 2);
    assert_true(a[0].ended && a[1].ended);
    assert_int_equal(h2_room(p.conn), 2);
    peer_stop(&p);
}

static void test_too_many_headers_are_refused(void **state)
{
    struct h2_header headers[H2_HEADERS_MAX + 1];
    const struct h2_request req = {headers, H2_HEADERS_MAX + 1, false};
    struct h2_stream *s = NULL;
    struct err err = {0};
    struct peer p;

    (void)state;
    for (size_t i = 0; i <= H2_HEADERS_MAX; i++)
        headers[i] = (struct h2_header){"x", "y", false};
    peer_up(&p, &(struct h2_server_options){0});
    assert_int_equal(h2_request(&s, p.conn, &req, &receiver, NULL, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(h2_streams(p.conn), 0);
    peer_stop(&p);
}

static void test_a_head_that_is_too_large(void **state)
{
    struct answer a = {0};
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&a, &p, "/bigheader/30000");
    UNTIL(&p, a.ended);
    assert_false(a.failed);
    memset(&a, 0, sizeof(a));
    ask(&a, &p, "/bigheader/40000");
    UNTIL(&p, a.ended);
    assert_true(a.failed);
    assert_int_equal(a.status, 0);
    assert_int_equal(a.err.code, ERR_LIMIT);
    round_trip(&p);
    peer_stop(&p);
}

/* --- being closed and cancelled from anywhere --- */

static void cancel_it(struct answer *a)
{
    h2_cancel(a->stream);
    a->stream = NULL;
}

static void close_it(struct answer *a)
{
    h2_close(a->peer->conn);
    a->peer->conn = NULL;
}

static void test_cancel_is_told_to_the_server(void **state)
{
    struct answer at_once = {0}, a = {.then = cancel_it};
    struct h2_server_counts counts;
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&at_once, &p, "/echo"); /* cancelled before it left: the server never hears of it */
    h2_cancel(at_once.stream);
    ask(&a, &p, "/bytes/100000000");
    UNTIL(&p, a.status);
    round_trip(&p);
    assert_int_equal(h2_streams(p.conn), 0);
    assert_int_equal(a.got, 0);
    assert_false(a.ended || at_once.ended);
    h2_server_counts(p.server, &counts);
    assert_int_equal(counts.resets, 1);
    assert_int_equal(counts.requests, 2);
    peer_stop(&p);
}

static void test_close_from_within_an_event(void **state)
{
    struct answer a = {.then = close_it}, other = {0};
    struct peer p;

    (void)state;
    peer_up(&p, &(struct h2_server_options){0});
    ask(&other, &p, "/hold");
    ask(&a, &p, "/bytes/100000");
    UNTIL(&p, a.status);
    assert_null(p.conn);
    assert_false(a.ended || other.ended || p.closed);
    peer_stop(&p);
}

static void test_close_while_connecting(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, &(struct h2_server_options){0});
    peer_connect(&p);
    h2_close(p.conn);
    p.to.to.host = "127.1"; /* is looked up */
    peer_connect(&p);
    h2_close(p.conn);
    p.to.to.host = "localhost";
    peer_connect(&p);
    UNTIL(&p, p.ready);
    peer_stop(&p);
}

/* --- connecting --- */

static void fails(struct peer *p, enum err_code code, const char *text)
{
    peer_connect(p);
    UNTIL(p, p->ready || p->closed);
    assert_false(p->ready);
    assert_int_equal(p->err.code, code);
    if (!strstr(p->err.msg, text))
        fail_msg("\"%s\" is not in \"%s\"", text, p->err.msg);
}

static void test_an_unknown_authority_is_refused(void **state)
{
    struct test_pki other;
    struct peer p;

    (void)state;
    test_pki_new(&other);
    peer_start(&p, &(struct h2_server_options){0});
    p.tls.ca_pem = other.ca;
    fails(&p, ERR_DENIED, "not signed by the expected authority");
    peer_stop(&p);
    test_pki_free(&other);
}

static void test_another_name_is_refused(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, &(struct h2_server_options){0});
    p.to.to.server_name = "elsewhere.test";
    fails(&p, ERR_DENIED, "certificate is not for \"elsewhere.test\"");
    p.to.to.server_name = "127.0.0.2";
    fails(&p, ERR_DENIED, "certificate is not for \"127.0.0.2\"");
    p.to.to.server_name = "roost.test";
    peer_connect(&p);
    UNTIL(&p, p.ready || p.closed);
    assert_true(p.ready);
    peer_stop(&p);
}

static void test_any_server_where_that_is_asked_for(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, &(struct h2_server_options){0});
    p.tls = (struct tls_options){.accept_any_server_unsafe = true};
    p.to.to.server_name = "elsewhere.test";
    peer_connect(&p);
    UNTIL(&p, p.ready || p.closed);
    assert_true(p.ready);
    peer_stop(&p);
}

static void test_a_server_without_http2_is_refused(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, &(struct h2_server_options){.no_alpn = true});
    fails(&p, ERR_UNSUPPORTED, "does not speak h2");
    peer_stop(&p);
}

static void test_client_certificates(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, &(struct h2_server_options){.need_client = true});
    fails(&p, ERR_DENIED, "certificate");
    h2_context_free(p.context);
    p.context = NULL;
    p.tls.cert_pem = pki.client_cert;
    p.tls.key_pem = pki.client_key;
    peer_connect(&p);
    UNTIL(&p, p.ready || p.closed);
    assert_true(p.ready);
    peer_stop(&p);
}

static void test_bad_pem_is_a_clear_error(void **state)
{
    static const char junk[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const struct {
        struct tls_options o;
        const char *text;
    } bad[] = {
        {{.ca_pem = "nothing"}, "certificate authority: no certificates"},
        {{.ca_pem = junk}, "certificate authority: no certificates in PEM, or a damaged one"},
        {{.ca_pem = pki.ca, .cert_pem = junk, .key_pem = pki.client_key}, "client certificate"},
        {{.ca_pem = pki.ca, .cert_pem = pki.client_cert, .key_pem = junk}, "client key: no"},
        {{.ca_pem = pki.ca, .cert_pem = pki.client_cert, .key_pem = pki.server_key}, "not belong"},
    };
    struct h2_context *c = NULL;
    struct loop *loop;
    struct err err;

    (void)state;
    assert_int_equal(loop_new(&loop, &err), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(h2_context_new(&c, loop, &bad[i].o, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        if (!strstr(err.msg, bad[i].text))
            fail_msg("\"%s\" is not in \"%s\"", bad[i].text, err.msg);
    }
    loop_free(loop);
}

static void test_names_and_addresses(void **state)
{
    /* 127.1 is no address to us, but one to the resolver: a lookup without a network. */
    static const char *const hosts[] = {"127.0.0.1", "localhost", "127.1"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct peer p;

        peer_start(&p, &(struct h2_server_options){0});
        p.to.to.host = hosts[i];
        p.to.to.server_name = "localhost";
        peer_connect(&p);
        UNTIL(&p, p.ready || p.closed);
        assert_true(p.ready);
        peer_stop(&p);
    }
}

static void test_nobody_listens(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, &(struct h2_server_options){0});
    h2_server_stop(p.server); /* its port is free now */
    fails(&p, ERR_NET, "Connection refused");
    p.to.to.host = "localhost"; /* two addresses */
    fails(&p, ERR_NET, "connect");
    p.to.to.host = "no name at all";
    fails(&p, ERR_NET, "no address");
    p.server = h2_server_start(&(struct h2_server_options){.pki = &pki});
    peer_stop(&p);
}

static void test_a_server_that_closes_in_the_handshake(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, &(struct h2_server_options){.close_at_once = true});
    peer_connect(&p);
    UNTIL(&p, p.closed);
    assert_int_equal(p.err.code, ERR_NET);
    peer_stop(&p);
}

static void test_the_handshake_has_a_deadline(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, &(struct h2_server_options){.mute = true});
    p.to.to.timeout_ms = 20;
    fails(&p, ERR_TIMEOUT, "TLS handshake");
    peer_stop(&p);
}

/* A listener whose queue is full: further attempts get no answer at all. */
static int full_listener(uint16_t *port, int fill[8])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t len = sizeof(at);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port = ntohs(at.sin_port);
    for (int i = 0; i < 8; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fill[i], (struct sockaddr *)&at, sizeof(at)) < 0)
            assert_int_equal(errno, EINPROGRESS);
    }
    return fd;
}

static void test_connecting_has_a_deadline(void **state)
{
    int fill[8], fd;
    struct peer p;

    (void)state;
    peer_start(&p, &(struct h2_server_options){0});
    fd = full_listener(&p.to.to.port, fill);
    p.to.to.timeout_ms = 20;
    fails(&p, ERR_TIMEOUT, "connect");
    close(fd);
    for (int i = 0; i < 8; i++)
        close(fill[i]);
    peer_stop(&p);
}

static void test_a_dead_peer_is_noticed(void **state)
{
    struct answer a = {0};
    struct peer p;

    (void)state;
    peer_start(&p, &(struct h2_server_options){0});
    p.to.ping_after_ms = p.to.ping_timeout_ms = 100;
    peer_connect(&p);
    UNTIL(&p, p.ready);
    ask(&a, &p, "/freeze");
    UNTIL(&p, a.ended && p.closed);
    assert_int_equal(p.err.code, ERR_NET);
    assert_non_null(strstr(p.err.msg, "did not answer a ping"));
    assert_true(a.failed && !a.unprocessed);
    peer_stop(&p);
}

static struct peer *expiring;

static void stop_waiting(struct timer *t)
{
    t->fire = NULL;
    loop_stop(expiring->loop);
}

static void test_a_quiet_peer_that_answers_pings_lives(void **state)
{
    struct timer t = {.fire = stop_waiting};
    struct channel_stats before;
    struct peer p;
    struct err err;

    (void)state;
    peer_start(&p, &(struct h2_server_options){0});
    p.to.ping_after_ms = 5;
    p.to.ping_timeout_ms = 60000;
    peer_connect(&p);
    UNTIL(&p, p.ready);
    expiring = &p;
    before = *h2_context_stats(p.context);
    assert_int_equal(loop_timer_set(p.loop, &t, clock_now_ns() + 50 * NS_PER_MS, &err), 0);
    UNTIL(&p, !t.fire);
    assert_false(p.closed);
    assert_true(h2_context_stats(p.context)->bytes_written > before.bytes_written);
    round_trip(&p);
    peer_stop(&p);
}

static int make_pki(void **state)
{
    (void)state;
    test_pki_new(&pki);
    return 0;
}

static int free_pki(void **state)
{
    (void)state;
    test_pki_free(&pki);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_gets_its_answer),
        cmocka_unit_test(test_a_large_body_arrives_whole),
        cmocka_unit_test(test_bytes_cut_anywhere),
        cmocka_unit_test(test_a_paused_receiver_stops_its_stream_only),
        cmocka_unit_test(test_a_streamed_request_body),
        cmocka_unit_test(test_an_early_answer_ends_the_upload),
        cmocka_unit_test(test_goaway_leaves_a_request_unprocessed),
        cmocka_unit_test(test_goaway_behind_a_request_lets_it_end),
        cmocka_unit_test(test_a_reset_ends_one_stream),
        cmocka_unit_test(test_a_refused_stream_is_unprocessed),
        cmocka_unit_test(test_a_lost_connection_cuts_its_streams),
        cmocka_unit_test(test_the_limit_of_streams_is_obeyed),
        cmocka_unit_test(test_too_many_headers_are_refused),
        cmocka_unit_test(test_a_head_that_is_too_large),
        cmocka_unit_test(test_cancel_is_told_to_the_server),
        cmocka_unit_test(test_close_from_within_an_event),
        cmocka_unit_test(test_close_while_connecting),
        cmocka_unit_test(test_an_unknown_authority_is_refused),
        cmocka_unit_test(test_another_name_is_refused),
        cmocka_unit_test(test_any_server_where_that_is_asked_for),
        cmocka_unit_test(test_a_server_without_http2_is_refused),
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_bad_pem_is_a_clear_error),
        cmocka_unit_test(test_names_and_addresses),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_a_server_that_closes_in_the_handshake),
        cmocka_unit_test(test_the_handshake_has_a_deadline),
        cmocka_unit_test(test_connecting_has_a_deadline),
        cmocka_unit_test(test_a_dead_peer_is_noticed),
        cmocka_unit_test(test_a_quiet_peer_that_answers_pings_lives),
    };

    return cmocka_run_group_tests(tests, make_pki, free_pki);
}
