/* base/http1_tls with base/http1_dial: a server on a loop in a thread of its own, and clients that
 * block: of ours, and such as do it wrong.
 */
#include "base/http1_tls.h"

#include "base/auto.h"
#include "base/clock.h"
#include "base/http1_dial.h"
#include "base/log.h"
#include "support/pki.h"
#include "support/tmp_dir.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define TOKEN     "a-token-of-some-length"
#define LARGE     (8u * MIB)
#define FOREVER_S 60 /* of a socket that a test reads from */

static struct test_pki pki;
static struct tmp_dir dir;

/* --- the server --- */

struct server {
    struct loop *loop;
    struct http1_server *http;
    struct http1_tls *tls;
    struct http1_options http_opts;
    struct http1_tls_options tls_opts;
    pthread_t thread;
    sem_t ready;
    char port[16];
};

/* Done on the loop's thread, while the caller waits. */
struct errand {
    struct msg msg;
    struct server *server;
    void (*run)(struct server *s, void *arg);
    void *arg;
    sem_t done;
};

static void errand_run(struct msg *m)
{
    struct errand *e = container_of(m, struct errand, msg);

    e->run(e->server, e->arg);
    sem_post(&e->done);
}

static void on_loop(struct server *s, void (*run)(struct server *s, void *arg), void *arg)
{
    struct errand e = {.msg.run = errand_run, .server = s, .run = run, .arg = arg};

    sem_init(&e.done, 0, 0);
    loop_post(s->loop, &e.msg);
    while (sem_wait(&e.done) < 0)
        ;
    sem_destroy(&e.done);
}

/* Echoes a body; /large is LARGE bytes. */
static void handle(void *ctx, const struct http1_request *req, struct http1_response *res)
{
    (void)ctx;
    assert_null(req->credentials);
    if (strcmp(req->path, "/large") == 0) {
        assert_int_equal(buf_reserve(&res->body, LARGE, NULL), 0);
        for (size_t i = 0; i < LARGE; i++)
            res->body.data[i] = (uint8_t)(i * 31 % 251);
        res->body.len = LARGE;
        return;
    }
    if (req->body_len) {
        res->body = *req->body;
        *req->body = (struct buf){0};
        return;
    }
    assert_int_equal(buf_puts(&res->body, "{}\n", NULL), 0);
}

static uint64_t any_body(void *ctx, const struct http1_request *req, struct http1_response *res)
{
    (void)ctx;
    (void)req;
    (void)res;
    return 4 * MIB;
}

static struct tls_context *context_of(const char *cert, const char *key)
{
    struct tls_options o = {.cert_pem = cert, .key_pem = key, .alpn = "http/1.1"};
    struct tls_context *context;
    struct err err = {0};

    assert_int_equal(tls_server_context_new(&context, &o, &err), 0);
    return context;
}

static void *server_run(void *arg)
{
    struct server *s = arg;
    struct tls_token token;
    struct err err = {0};

    tls_token_of(&token, TOKEN, strlen(TOKEN));
    s->http_opts.body_max = any_body;
    assert_int_equal(loop_new(&s->loop, &err), 0);
    assert_int_equal(http1_serve_unix(&s->http, s->loop, tmp_file(&dir, "sock"), &s->http_opts,
                                      handle, NULL, &err),
                     0);
    assert_int_equal(http1_tls_new(&s->tls, s->http, s->loop, "127.0.0.1:0",
                                   context_of(pki.server_cert, pki.server_key), &token,
                                   &s->tls_opts, &err),
                     0);
    snprintf(s->port, sizeof(s->port), "%u", http1_tls_port(s->tls));
    sem_post(&s->ready);
    loop_run(s->loop);
    return NULL;
}

static void server_start(struct server *s)
{
    sem_init(&s->ready, 0, 0);
    assert_int_equal(pthread_create(&s->thread, NULL, server_run, s), 0);
    while (sem_wait(&s->ready) < 0)
        ;
}

static void end(struct server *s, void *arg)
{
    (void)arg;
    http1_server_free(s->http);
    http1_tls_free(s->tls);
    loop_stop(s->loop);
}

static void server_stop(struct server *s)
{
    on_loop(s, end, NULL);
    pthread_join(s->thread, NULL);
    loop_free(s->loop); /* not by its thread: whoever posted the end may still be in it */
    sem_destroy(&s->ready);
}

static void count_clients(struct server *s, void *arg)
{
    *(unsigned *)arg = http1_tls_clients(s->tls) + http1_server_connections(s->http);
}

static void wait_until_empty(struct server *s)
{
    unsigned n;

    do
        on_loop(s, count_clients, &n);
    while (n > 0);
}

/* --- clients --- */

static int dial(const struct server *s, const char *host, const char *ca, int *fd, struct err *err)
{
    return http1_dial_tls(fd, host, s->port, ca, 0, err);
}

static int ask(const struct server *s, const struct http1_question *q, struct http1_answer *a)
{
    AUTO_CLOSE int fd = -1;
    struct err err = {0};

    assert_int_equal(dial(s, "127.0.0.1", pki.ca, &fd, &err), 0);
    assert_int_equal(http1_ask_fd(a, fd, q, FOREVER_S * 1000, &err), 0);
    return a->status;
}

static int status_of(const struct server *s, const char *token)
{
    struct http1_question q = {.method = HTTP1_GET, .target = "/x", .token = token};
    struct http1_answer a;
    int status = ask(s, &q, &a);

    http1_answer_free(&a);
    return status;
}

/* A TCP connection without TLS. */
static int plain(const struct server *s)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)strtoul(s->port, NULL, 10)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval forever = {.tv_sec = FOREVER_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

/* Waits for the other side's end; returns how many bytes came before. */
static size_t read_to_end(int fd)
{
    char block[4096];
    size_t all = 0;
    ssize_t n;

    while ((n = recv(fd, block, sizeof(block), 0)) > 0)
        all += (size_t)n;
    assert_true(n == 0 || errno == ECONNRESET);
    return all;
}

/* --- tests --- */

static void test_requests_are_answered(void **state)
{
    static const char body[] = "some bytes";
    struct server s = {0};
    struct http1_question get = {.method = HTTP1_GET, .target = "/", .token = TOKEN};
    struct http1_question put = {
        .method = HTTP1_PUT, .target = "/", .token = TOKEN, .body = body, .body_len = sizeof(body)};
    struct http1_answer a;

    (void)state;
    server_start(&s);
    assert_int_equal(ask(&s, &get, &a), 200);
    assert_int_equal(a.body.len, 3);
    http1_answer_free(&a);
    assert_int_equal(ask(&s, &put, &a), 200);
    assert_int_equal(a.body.len, sizeof(body));
    assert_memory_equal(a.body.data, body, sizeof(body));
    http1_answer_free(&a);
    server_stop(&s);
}

static void test_large_bodies_come_whole(void **state)
{
    struct server s = {0};
    struct http1_question get = {.method = HTTP1_GET, .target = "/large", .token = TOKEN};
    struct http1_question put = {.method = HTTP1_PUT, .target = "/", .token = TOKEN};
    AUTO_FREE uint8_t *body = malloc(4 * MIB);
    struct http1_answer a;

    (void)state;
    assert_non_null(body);
    for (size_t i = 0; i < 4 * MIB; i++)
        body[i] = (uint8_t)(i * 7 % 253);
    server_start(&s);
    assert_int_equal(ask(&s, &get, &a), 200);
    assert_int_equal(a.body.len, LARGE);
    for (size_t i = 0; i < LARGE; i++)
        if (a.body.data[i] != (uint8_t)(i * 31 % 251))
            fail_msg("byte %zu of the answer", i);
    http1_answer_free(&a);
    put.body = body;
    put.body_len = 4 * MIB;
    assert_int_equal(ask(&s, &put, &a), 200);
    assert_int_equal(a.body.len, 4 * MIB);
    assert_memory_equal(a.body.data, body, 4 * MIB);
    http1_answer_free(&a);
    server_stop(&s);
}

static void test_without_the_token_nothing_is_told(void **state)
{
    static const char *const tokens[] = {NULL, "", "a-token-of-some-lengthx",
                                         "a-token-of-some-lengtx", "A-TOKEN-OF-SOME-LENGTH"};
    struct server s = {0};

    (void)state;
    server_start(&s);
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        assert_int_equal(status_of(&s, tokens[i]), 401);
    assert_int_equal(status_of(&s, TOKEN), 200);
    server_stop(&s);
}

/* The bytes of an answer to raw bytes. */
static void say(const struct server *s, const char *text, char answer[2048])
{
    AUTO_CLOSE int fd = -1;
    struct err err = {0};
    size_t got = 0;
    ssize_t n = 1;

    assert_int_equal(dial(s, "127.0.0.1", pki.ca, &fd, &err), 0);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    while (n != 0) {
        n = recv(fd, answer + got, 2047 - got, 0);
        got += n > 0 ? (size_t)n : 0;
        assert_true(n >= 0 || errno == EAGAIN);
    }
    answer[got] = 0;
}

static void test_a_refusal_says_how(void **state)
{
    struct server s = {0};
    char answer[2048];

    (void)state;
    server_start(&s);
    say(&s, "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic " TOKEN "\r\n\r\n", answer);
    assert_int_equal(strncmp(answer, "HTTP/1.1 401 Unauthorized\r\n", 27), 0);
    assert_non_null(strstr(answer, "\r\nWWW-Authenticate: Bearer realm=\"roost\"\r\n"));
    assert_non_null(strstr(answer, "application/problem+json"));
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    /* Two of them are none, and the scheme's case means nothing. */
    say(&s,
        "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN
        "\r\nAuthorization: Bearer " TOKEN "\r\n\r\n",
        answer);
    assert_int_equal(strncmp(answer, "HTTP/1.1 401 ", 13), 0);
    say(&s,
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: bEARER " TOKEN "\r\n\r\n",
        answer);
    assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    /* Each request of a connection is asked. */
    say(&s,
        "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN
        "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        answer);
    assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    assert_non_null(strstr(answer, "HTTP/1.1 401 "));
    server_stop(&s);
}

static void test_clients_check_the_certificate(void **state)
{
    struct server s = {0};
    struct test_pki other;
    struct err err = {0};
    int fd = -1;

    (void)state;
    test_pki_new(&other);
    server_start(&s);
    assert_int_equal(dial(&s, "127.0.0.1", other.ca, &fd, &err), -1);
    assert_int_equal(err.code, ERR_DENIED);
    err = (struct err){0};
    assert_int_equal(dial(&s, "127.0.0.1", "no certificate", &fd, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(fd, -1);
    test_pki_free(&other);
    server_stop(&s);
}

/* A TLS client of the test's own. Returns whether the handshake worked. */
static bool handshake(const struct server *s, int version_max, const char *alpn)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl;
    AUTO_CLOSE int fd = plain(s);
    bool ok;

    assert_non_null(ctx);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_max_proto_version(ctx, version_max);
    if (alpn)
        SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    ssl = SSL_new(ctx);
    assert_non_null(ssl);
    SSL_set_fd(ssl, fd);
    ok = SSL_connect(ssl) == 1;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return ok;
}

static void test_older_tls_and_other_protocols_are_refused(void **state)
{
    struct server s = {0};

    (void)state;
    server_start(&s);
    assert_true(handshake(&s, TLS1_3_VERSION, NULL));
    assert_true(handshake(&s, TLS1_3_VERSION, "\x02h2\x08http/1.1"));
    assert_false(handshake(&s, TLS1_3_VERSION, "\x02h2"));
    assert_false(handshake(&s, TLS1_2_VERSION, NULL));
    assert_int_equal(status_of(&s, TOKEN), 200);
    server_stop(&s);
}

static void test_http_without_tls_is_no_way_in(void **state)
{
    static const char request[] =
        "GET /x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN "\r\n\r\n";
    struct server s = {0};
    char answer[64] = "";
    int fd;

    (void)state;
    server_start(&s);
    fd = plain(&s);
    assert_int_equal(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL), sizeof(request) - 1);
    assert_true(recv(fd, answer, sizeof(answer), 0) >= 0);
    assert_int_not_equal(strncmp(answer, "HTTP", 4), 0);
    (void)read_to_end(fd);
    close(fd);
    server_stop(&s);
}

static void test_handshakes_have_a_maximum(void **state)
{
    struct server s = {.tls_opts = {.handshakes_max = 2}};
    int fds[3];

    (void)state;
    server_start(&s);
    for (int i = 0; i < 3; i++)
        fds[i] = plain(&s);
    assert_int_equal(read_to_end(fds[2]), 0); /* one too many: closed at once */
    close(fds[2]);
    close(fds[0]);
    close(fds[1]);
    wait_until_empty(&s);
    assert_int_equal(status_of(&s, TOKEN), 200); /* and there is room again */
    server_stop(&s);
}

static void test_a_handshake_has_a_deadline(void **state)
{
    struct server s = {.tls_opts = {.handshake_timeout_ms = 20}};
    int fd;

    (void)state;
    server_start(&s);
    fd = plain(&s);
    assert_int_equal(read_to_end(fd), 0);
    close(fd);
    server_stop(&s);
}

static void test_handshakes_have_a_rate(void **state)
{
    struct server s = {.tls_opts = {.rate = 1, .burst = 2}};
    int fds[3];

    (void)state;
    server_start(&s);
    for (int i = 0; i < 3; i++)
        fds[i] = plain(&s);
    assert_int_equal(read_to_end(fds[2]), 0);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    server_stop(&s);
}

static void test_clients_have_a_maximum(void **state)
{
    struct server s = {.tls_opts = {.clients_max = 1}};
    struct err err = {0};
    int first = -1, second;

    (void)state;
    server_start(&s);
    assert_int_equal(dial(&s, "127.0.0.1", pki.ca, &first, &err), 0);
    second = plain(&s);
    assert_int_equal(read_to_end(second), 0);
    close(second);
    close(first);
    wait_until_empty(&s);
    server_stop(&s);
}

/* It asks for much and reads nothing: it is closed, without doing anything itself. */
static void test_who_does_not_read_is_cut(void **state)
{
    static const char request[] =
        "GET /large HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN "\r\n\r\n";
    struct server s = {.http_opts = {.write_timeout_ms = 50}, .tls_opts = {.write_timeout_ms = 50}};
    struct err err = {0};
    unsigned n;
    int fd = -1;

    (void)state;
    server_start(&s);
    assert_int_equal(dial(&s, "127.0.0.1", pki.ca, &fd, &err), 0);
    assert_int_equal(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL), sizeof(request) - 1);
    do
        on_loop(&s, count_clients, &n);
    while (n > 0);
    wait_until_empty(&s);
    close(fd);
    server_stop(&s);
}

struct change {
    const char *token, *cert, *key;
};

static void change(struct server *s, void *arg)
{
    const struct change *c = arg;
    struct tls_token token;

    tls_token_of(&token, c->token, strlen(c->token));
    http1_tls_change(s->tls, context_of(c->cert, c->key), &token);
}

static void test_token_and_certificate_change_while_it_runs(void **state)
{
    struct server s = {0};
    struct test_pki other;
    struct change c = {.token = "another-token-of-length"};
    struct err err = {0};
    struct http1_answer a;
    struct http1_question q = {.method = HTTP1_GET, .target = "/", .token = TOKEN};
    int before = -1, fd = -1;

    (void)state;
    test_pki_new(&other);
    c.cert = other.server_cert;
    c.key = other.server_key;
    server_start(&s);
    assert_int_equal(dial(&s, "127.0.0.1", pki.ca, &before, &err), 0);
    on_loop(&s, change, &c);
    /* Who was connected is still connected, and needs the new token. */
    assert_int_equal(http1_ask_fd(&a, before, &q, FOREVER_S * 1000, &err), 0);
    assert_int_equal(a.status, 401);
    http1_answer_free(&a);
    close(before);
    assert_int_equal(dial(&s, "127.0.0.1", pki.ca, &fd, &err), -1); /* another authority */
    assert_int_equal(dial(&s, "127.0.0.1", other.ca, &fd, &err), 0);
    q.token = c.token;
    assert_int_equal(http1_ask_fd(&a, fd, &q, FOREVER_S * 1000, &err), 0);
    assert_int_equal(a.status, 200);
    http1_answer_free(&a);
    close(fd);
    test_pki_free(&other);
    server_stop(&s);
}

static void test_the_server_may_end_with_clients_in_it(void **state)
{
    struct server s = {0};
    struct err err = {0};
    int shaken = -1, fresh;
    char byte;

    (void)state;
    server_start(&s);
    assert_int_equal(dial(&s, "127.0.0.1", pki.ca, &shaken, &err), 0);
    fresh = plain(&s);
    server_stop(&s);
    assert_int_equal(read_to_end(fresh), 0);
    while (recv(shaken, &byte, 1, 0) < 0)
        assert_int_equal(errno, EAGAIN);
    close(shaken);
    close(fresh);
}

static void test_addresses(void **state)
{
    static const char *const good[] = {"127.0.0.1:8443", "0.0.0.0:1", "[::1]:65535", "[::]:0"};
    static const char *const bad[] = {"",
                                      "8443",
                                      ":8443",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "::1:8443",
                                      "[::1]",
                                      "[]:1",
                                      "localhost:1",
                                      "1.2.3.4:65536",
                                      "1.2.3.4:-1",
                                      "1.2.3.4:1x",
                                      "[1.2.3.4]:1",
                                      "1.2.3.4:99999999999999999999"};
    struct tls_token token = {0};
    struct http1_tls *t;
    struct loop *loop;
    struct err err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(http1_tls_address_ok(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(http1_tls_address_ok(bad[i]));
    assert_int_equal(loop_new(&loop, &err), 0);
    assert_int_equal(http1_tls_new(&t, NULL, loop, "localhost:1",
                                   context_of(pki.server_cert, pki.server_key), &token, NULL, &err),
                     -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_null(t);
    loop_free(loop);
}

static void test_nobody_there(void **state)
{
    struct server s = {0};
    struct err err = {0};
    char port[16];
    int fd = -1;

    (void)state;
    server_start(&s);
    memcpy(port, s.port, sizeof(port));
    server_stop(&s);
    assert_int_equal(http1_dial_tls(&fd, "127.0.0.1", port, pki.ca, 0, &err), -1);
    assert_int_equal(err.code, ERR_NET);
    assert_int_equal(fd, -1);
}

static void test_tokens_are_compared_whole(void **state)
{
    struct tls_token t;

    (void)state;
    tls_token_of(&t, "secret", 6);
    assert_true(tls_token_is(&t, "secret", 6));
    assert_false(tls_token_is(&t, "secreT", 6));
    assert_false(tls_token_is(&t, "secret", 5));
    assert_false(tls_token_is(&t, "secret\0", 7));
    assert_false(tls_token_is(&t, "", 0));
}

static void test_contexts_need_what_fits(void **state)
{
    struct tls_options o = {.cert_pem = pki.server_cert, .key_pem = pki.client_key, .alpn = "a"};
    struct tls_context *context;
    struct err err = {0};

    (void)state;
    assert_int_equal(tls_server_context_new(&context, &o, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.msg, "key: it does not belong to the certificate");
    o.cert_pem = "nothing";
    assert_int_equal(tls_server_context_new(&context, &o, &err), -1);
    assert_string_equal(err.msg, "certificate: no certificates in PEM, or a damaged one");
}

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    log_init(LOG_ERROR, "text");
    test_pki_new(&pki);
    return tmp_dir_make(&dir);
}

static int group_teardown(void **state)
{
    (void)state;
    test_pki_free(&pki);
    tmp_dir_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_answered),
        cmocka_unit_test(test_large_bodies_come_whole),
        cmocka_unit_test(test_without_the_token_nothing_is_told),
        cmocka_unit_test(test_a_refusal_says_how),
        cmocka_unit_test(test_clients_check_the_certificate),
        cmocka_unit_test(test_older_tls_and_other_protocols_are_refused),
        cmocka_unit_test(test_http_without_tls_is_no_way_in),
        cmocka_unit_test(test_handshakes_have_a_maximum),
        cmocka_unit_test(test_a_handshake_has_a_deadline),
        cmocka_unit_test(test_handshakes_have_a_rate),
        cmocka_unit_test(test_clients_have_a_maximum),
        cmocka_unit_test(test_who_does_not_read_is_cut),
        cmocka_unit_test(test_token_and_certificate_change_while_it_runs),
        cmocka_unit_test(test_the_server_may_end_with_clients_in_it),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_tokens_are_compared_whole),
        cmocka_unit_test(test_contexts_need_what_fits),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
