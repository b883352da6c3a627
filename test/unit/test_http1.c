/* base/http1: what is refused and why, deadlines, limits and pipelining through real sockets, and
 * the client against servers that misbehave.
 */
#include "base/auto.h"
#include "base/clock.h"
#include "base/http1.h"
#include "support/raw_client.h"
#include "support/tmp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], path[80];

/* --- a server on its own thread --- */

struct running {
    struct loop *loop;
    struct http1_server *server;
    pthread_t thread;
    struct msg stop;
    struct http1_later *later; /* of the last request for /later, whose body is taken */
    struct buf body;
    unsigned handled;
};

/* What may be sent to /body, /later and all else. */
#define ECHO_BODY_MAX (128u * KIB)

static uint64_t echo_body_max(void *ctx, const struct http1_request *req,
                              struct http1_response *res)
{
    (void)ctx;
    if (strcmp(req->path, "/refused") == 0)
        http1_problem(res, 401, "who is asking?");
    if (strcmp(req->path, "/large") == 0)
        return HTTP1_BODIES_BYTES_MAX;
    return req->method == HTTP1_PUT ? ECHO_BODY_MAX : 0;
}

static void later_done(struct running *r)
{
    struct http1_response *res = http1_later_response(r->later);

    res->status = 201;
    assert_int_equal(buf_puts(&res->body, "at last", NULL), 0);
    http1_later_send(r->later);
    r->later = NULL;
    buf_free(&r->body);
}

/* "/big" gives 1 MiB, "/none" a problem, "/later" an answer when "/now" is asked for, "/at-once"
 * one that is there before the handler returns, all else itself and its body. */
static void echo(void *ctx, const struct http1_request *req, struct http1_response *res)
{
    struct running *r = ctx;

    __atomic_add_fetch(&r->handled, 1, __ATOMIC_RELEASE);
    if (strcmp(req->path, "/later") == 0 || strcmp(req->path, "/at-once") == 0) {
        r->later = http1_later_begin(res);
        assert_non_null(r->later);
        r->body = *req->body;
        *req->body = (struct buf){0};
        if (req->path[1] == 'a')
            later_done(r);
        return;
    }
    if (strcmp(req->path, "/now") == 0 && r->later)
        later_done(r);
    if (strcmp(req->path, "/none") == 0) {
        http1_problem(res, 404, "nothing at \"/none\"");
    } else if (strcmp(req->path, "/big") == 0) {
        assert_int_equal(buf_reserve(&res->body, MIB, NULL), 0);
        memset(res->body.data, 'b', MIB);
        res->body.len = MIB;
    } else {
        assert_int_equal(buf_printf(&res->body, NULL, "%s|%s", req->path, req->query), 0);
        assert_int_equal(buf_append(&res->body, req->body->data, req->body->len, NULL), 0);
        res->content_type = "text/plain";
    }
}

static void stop_now(struct msg *m)
{
    struct running *r = container_of(m, struct running, stop);

    http1_server_free(r->server);
    loop_stop(r->loop);
}

static void *run(void *arg)
{
    loop_run(((struct running *)arg)->loop);
    return NULL;
}

static void start(struct running *r, const struct http1_options *opts)
{
    struct http1_options all = opts ? *opts : (struct http1_options){0};
    struct err err = {0};

    *r = (struct running){.stop.run = stop_now};
    all.body_max = echo_body_max;
    if (loop_new(&r->loop, &err) < 0 ||
        http1_serve_unix(&r->server, r->loop, path, &all, echo, r, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(pthread_create(&r->thread, NULL, run, r), 0);
}

static void stop(struct running *r)
{
    loop_post(r->loop, &r->stop);
    assert_int_equal(pthread_join(r->thread, NULL), 0);
    loop_free(r->loop);
    assert_int_equal(access(path, F_OK), -1);
}

/* --- a client made of bare sockets --- */

static int dial(void)
{
    return raw_dial(path);
}

/* The whole of what comes back for text. */
static const char *ask(struct buf *out, const char *text)
{
    int fd = dial();

    out->len = 0;
    raw_put(fd, text);
    raw_drain(fd, out);
    return buf_cstr(out);
}

/* --- parsing, without sockets --- */

#define GET_A "GET /a HTTP/1.1\r\nHost: x\r\n"

static void test_requests_are_read(void **state)
{
    static const struct {
        const char *text;
        bool head, close;
        const char *path, *query;
    } cases[] = {
        {GET_A "\r\n", false, false, "/a", ""},
        {"HEAD /a?b=c?d HTTP/1.1\r\nhost:\r\n\r\n", true, false, "/a", "b=c?d"},
        {"GET / HTTP/1.0\r\n\r\n", false, true, "/", ""},
        {GET_A "Connection: keep-alive, Close\r\n\r\n", false, true, "/a", ""},
        {GET_A "Content-Length: 0\r\n\r\n", false, false, "/a", ""},
        {"\r\n" GET_A "X:   y  \r\n\r\n", false, false, "/a", ""},
        {"PUT /m HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n", false, false, "/m", ""},
        {"POST /m HTTP/1.1\r\nHost: x\r\n\r\n", false, false, "/m", ""},
        {"DELETE /m HTTP/1.1\r\nHost: x\r\n\r\n", false, false, "/m", ""},
        {"GET /%2e%2e/ HTTP/1.1\r\nHost: x\r\n\r\n", false, false, "/%2e%2e/", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t len = strlen(cases[i].text);
        struct http1_request req;

        assert_int_equal(http1_read_request((const uint8_t *)cases[i].text, len, &req), len);
        assert_int_equal(req.refused, 0);
        assert_int_equal(req.head, cases[i].head);
        assert_int_equal(req.close, cases[i].close);
        assert_string_equal(req.path, cases[i].path);
        assert_string_equal(req.query, cases[i].query);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(http1_read_request((const uint8_t *)cases[i].text, cut, &req), 0);
    }
}

static void test_malformed_requests_are_refused(void **state)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET /a HTTP/1.1\r\n\r\n", 400}, /* no Host */
        {GET_A "Host: x\r\n\r\n", 400},   /* two */
        {"GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", 400},
        {"PATCH /a HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"get /a HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {GET_A "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411},
        {GET_A "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400},
        {GET_A "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400},
        {GET_A "Content-Length: 0, 0\r\n\r\n", 400},
        {GET_A "Content-Length: -1\r\n\r\n", 400},
        {GET_A "Content-Length: +0\r\n\r\n", 400},
        {GET_A "Content-Length: 0x0\r\n\r\n", 400},
        {GET_A "Content-Length: 9999999999999999999\r\n\r\n", 400},
        {GET_A "Content-Length:\r\n\r\n", 400},
        {GET_A "Content-Length: 1\r\n 0\r\n\r\n", 400}, /* folded */
        {GET_A "Content-Length : 0\r\n\r\n", 400},
        {GET_A "X: a\x01\r\n\r\n", 400},
        {GET_A "X: a\rb\r\n\r\n", 400},
        {GET_A "\r\rX", 400},
        {GET_A ": x\r\n\r\n", 400},
        {GET_A "X y\r\n\r\n", 400},
        {"GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET  /a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /a HTTP/2.0\r\nHost: x\r\n\r\n", 400},
        {"GET /a HTTP/1.2\r\nHost: x\r\n\r\n", 400},
        {"GET /a\r\n", 400},
        {"\x16\x03\x01\x02", 400}, /* TLS */
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http1_request req;

        if (http1_read_request((const uint8_t *)cases[i].text, strlen(cases[i].text), &req) != -1)
            fail_msg("taken: %s", cases[i].text);
        if (req.refused != cases[i].status)
            fail_msg("%d (%s) for %s", req.refused, req.why, cases[i].text);
        assert_true(req.close);
    }
}

static long read_buf(struct buf *b, struct http1_request *req)
{
    return http1_read_request(b->data, b->len, req);
}

static void test_limits_of_heads(void **state)
{
    AUTO_BUF struct buf b = {0};
    struct http1_request req;

    (void)state;
    for (unsigned over = 0; over <= 1; over++) {
        b.len = 0; /* headers: Host and 63 or 64 more */
        assert_int_equal(buf_puts(&b, GET_A, NULL), 0);
        for (unsigned i = 0; i < HTTP1_HEADERS_MAX - 1 + over; i++)
            assert_int_equal(buf_puts(&b, "X: y\r\n", NULL), 0);
        assert_int_equal(buf_puts(&b, "\r\n", NULL), 0);
        assert_int_equal(read_buf(&b, &req), over ? -1 : (long)b.len);
        assert_int_equal(req.refused, over ? 400 : 0);

        b.len = 0; /* bytes */
        assert_int_equal(buf_puts(&b, GET_A "X: ", NULL), 0);
        while (b.len < HTTP1_HEAD_BYTES_MAX - 4 + over)
            assert_int_equal(buf_puts(&b, "y", NULL), 0);
        assert_int_equal(buf_puts(&b, "\r\n\r\n", NULL), 0);
        assert_int_equal(read_buf(&b, &req), over ? -1 : (long)b.len);
        assert_int_equal(req.refused, over ? 431 : 0);

        b.len = 0; /* the target */
        assert_int_equal(buf_puts(&b, "GET /", NULL), 0);
        for (unsigned i = 1; i < HTTP1_TARGET_MAX + over; i++)
            assert_int_equal(buf_puts(&b, "t", NULL), 0);
        assert_int_equal(buf_puts(&b, " HTTP/1.1\r\nHost: x\r\n\r\n", NULL), 0);
        assert_int_equal(read_buf(&b, &req), over ? -1 : (long)b.len);
        assert_int_equal(req.refused, over ? 414 : 0);
    }
}

static void test_answers_are_read(void **state)
{
    static const char good[] = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n"
                               "Content-Length: 2\r\n\r\nno";
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "malformed answer: cut within the head"},
        {"HTTP/1.1 200 OK\r\nContent-Le", "malformed answer: cut within the head"},
        {"SSH-2.0-x\r\n", "malformed answer: no HTTP"},
        {"HTTP/1.1 99 x\r\n\r\n", "malformed answer: no HTTP"},
        {"HTTP/1.1 100 Continue\r\n\r\n", "malformed answer: no HTTP"},
        {"HTTP/1.1 200 OK\r\n\r\nx", "malformed answer: no certain length"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
         "malformed answer: no certain length"},
        {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nx", "malformed answer: no certain length"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", "malformed answer: cut within the body"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "malformed answer: a transfer coding that was not asked for"},
    };
    struct http1_answer a;
    struct err err;

    (void)state;
    assert_int_equal(http1_read_answer(&a, (const uint8_t *)good, sizeof(good) - 1, false, &err),
                     0);
    assert_int_equal(a.status, 404);
    assert_string_equal(a.content_type, "text/plain");
    assert_string_equal(buf_cstr(&a.body), "no");
    http1_answer_free(&a);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(
            http1_read_answer(&a, (const uint8_t *)bad[i].text, strlen(bad[i].text), false, &err),
            -1);
        assert_string_equal(err.msg, bad[i].message);
        assert_int_equal(err.code, ERR_NET);
    }
}

/* --- the server --- */

static void test_answers_over_the_socket(void **state)
{
    AUTO_BUF struct buf b = {0};
    struct running r;
    struct stat st;

    (void)state;
    start(&r, NULL);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_string_equal(ask(&b, GET_A "Connection: close\r\n\r\n"),
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
                        "Cache-Control: no-store\r\nConnection: close\r\n\r\n/a|");
    assert_string_equal(ask(&b, "HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
                        "Cache-Control: no-store\r\nConnection: close\r\n\r\n");
    assert_string_equal(
        ask(&b, "GET /none HTTP/1.0\r\n\r\n"),
        "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\n"
        "Content-Length: 108\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        "{\"type\":\"about:blank\",\"title\":\"Not "
        "Found\",\"status\":404,\"reason\":\"NotFound\",\"detail\":\"nothing at "
        "\\\"/none\\\"\"}\n");
    assert_non_null(strstr(ask(&b, "PATCH /a HTTP/1.1\r\nHost: x\r\n\r\n"),
                           "HTTP/1.1 405 Method Not Allowed\r\n"));
    assert_non_null(strstr(buf_cstr(&b), "\r\nAllow: GET, HEAD, PUT, POST, DELETE\r\n"));
    assert_non_null(strstr(ask(&b, "nonsense\r\n\r\n"), "HTTP/1.1 400 Bad Request\r\n"));
    stop(&r);
}

/* However the bytes come, each request is answered once and in order. */
static void test_pipelined_and_byte_by_byte(void **state)
{
    static const char requests[] = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
                                   "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
                                   "GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                                   "GET /4 HTTP/1.1\r\nHost: x\r\n\r\n";
    AUTO_BUF struct buf whole = {0}, bytes = {0};
    struct running r;
    int fd;

    (void)state;
    start(&r, NULL);
    ask(&whole, requests);
    fd = dial();
    for (const char *p = requests; *p; p++) {
        if (send(fd, p, 1, MSG_NOSIGNAL) < 0)
            break;     /* closed after the third */
        sched_yield(); /* some bytes come alone */
    }
    raw_drain(fd, &bytes);
    assert_string_equal(buf_cstr(&whole), buf_cstr(&bytes));
    assert_non_null(strstr(buf_cstr(&whole), "/1|HTTP/1.1 200 OK"));
    assert_non_null(strstr(buf_cstr(&whole), "/2|HTTP/1.1 200 OK"));
    assert_string_equal(buf_cstr(&whole) + whole.len - 3, "/3|");
    stop(&r);
}

/* What is sent while an answer waits is not read: the sender's socket fills up. */
static void test_nothing_is_read_while_an_answer_waits(void **state)
{
    static const char request[] = "GET /big HTTP/1.1\r\nHost: x\r\n\r\n";
    struct running r;
    size_t sent = 0;
    int fd;

    (void)state;
    start(&r, NULL);
    fd = dial();
    raw_put(fd, request);
    /* The first byte is here, so the rest of the 1 MiB waits in the server. */
    assert_int_equal(recv(fd, (char[1]){0}, 1, 0), 1);
    while (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        sent += sizeof(request) - 1;
    assert_int_equal(errno, EAGAIN);
    assert_true(sent < 4 * MIB);
    close(fd);
    stop(&r);
}

static void test_deadlines(void **state)
{
    static const struct http1_options heads = {.head_timeout_ms = 20};
    static const struct http1_options idles = {.idle_timeout_ms = 20};
    static const struct http1_options writes = {.write_timeout_ms = 20};
    AUTO_BUF struct buf b = {0};
    struct running r;
    int fd;

    (void)state;
    start(&r, &heads); /* a head that never ends, and one that never begins */
    assert_string_equal(ask(&b, "GET /a HT"), "");
    assert_string_equal(ask(&b, ""), "");
    /* A byte now and then prolongs nothing: this loop ends only with the connection. */
    fd = dial();
    raw_put(fd, "GET /");
    while (send(fd, "a", 1, MSG_NOSIGNAL) == 1)
        sched_yield();
    assert_true(errno == EPIPE || errno == ECONNRESET);
    close(fd);
    stop(&r);

    start(&r, &idles);
    b.len = 0;
    assert_non_null(strstr(ask(&b, GET_A "\r\n"), "/a|")); /* ends without Connection: close */
    stop(&r);

    start(&r, &writes);
    fd = dial();
    raw_put(fd, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    b.len = 0;
    /* Nobody reads until the server has hung up; what was written before is still there. */
    while (send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 || errno == EAGAIN)
        sched_yield();
    raw_drain(fd, &b);
    assert_true(b.len > 0 && b.len < MIB);
    stop(&r);
}

static void test_connections_at_their_edge(void **state)
{
    AUTO_BUF struct buf b = {0};
    int fds[HTTP1_CONNECTIONS_MAX];
    char byte;
    struct running r;

    (void)state;
    start(&r, NULL);
    for (size_t i = 0; i < HTTP1_CONNECTIONS_MAX; i++) {
        fds[i] = dial();
        raw_put(fds[i], GET_A "\r\n");
        assert_int_equal(recv(fds[i], &byte, 1, 0), 1);
    }
    assert_non_null(strstr(ask(&b, ""), "HTTP/1.1 503 Service Unavailable\r\n"));
    close(fds[0]);
    /* Until the server has seen it, others are told to try again: 200 in the end. */
    do {
        b.len = 0;
        ask(&b, GET_A "Connection: close\r\n\r\n");
    } while (strstr(buf_cstr(&b), " 503 "));
    assert_non_null(strstr(buf_cstr(&b), "HTTP/1.1 200 OK"));
    for (size_t i = 1; i < HTTP1_CONNECTIONS_MAX; i++)
        close(fds[i]);
    stop(&r);
}

#define PUT_A "PUT /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

/* However the bytes come, and whatever comes behind them. */
static void test_bodies(void **state)
{
    static const char two[] = "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
                              "GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    AUTO_BUF struct buf whole = {0}, bytes = {0};
    struct running r;
    int fd;

    (void)state;
    start(&r, NULL);
    assert_non_null(strstr(ask(&whole, PUT_A "Content-Length: 0\r\n\r\n"), "\r\n\r\n/a|"));
    ask(&whole, two);
    assert_non_null(strstr(buf_cstr(&whole), "\r\n\r\n/a|helloHTTP/1.1 200 OK"));
    assert_string_equal(buf_cstr(&whole) + whole.len - 3, "/b|");
    fd = dial();
    for (const char *p = two; *p; p++) {
        assert_int_equal(send(fd, p, 1, MSG_NOSIGNAL), 1);
        sched_yield();
    }
    raw_drain(fd, &bytes);
    assert_string_equal(buf_cstr(&whole), buf_cstr(&bytes));
    stop(&r);
}

static void test_who_asks_first_is_told_to_go_on(void **state)
{
    static const char expected[] = "HTTP/1.1 100 Continue\r\n\r\n";
    char text[sizeof(expected)] = "";
    AUTO_BUF struct buf b = {0};
    struct running r;
    int fd;

    (void)state;
    start(&r, NULL);
    fd = dial();
    raw_put(fd, PUT_A "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(recv(fd, text, sizeof(expected) - 1, MSG_WAITALL), sizeof(expected) - 1);
    assert_string_equal(text, expected);
    raw_put(fd, "hi");
    raw_drain(fd, &b);
    assert_non_null(strstr(buf_cstr(&b), "/a|hi"));
    stop(&r);
}

static void test_limits_of_bodies(void **state)
{
    AUTO_FREE char *body = malloc(ECHO_BODY_MAX + 1);
    struct http1_question q = {
        .method = HTTP1_PUT, .target = "/a", .body = body, .body_len = ECHO_BODY_MAX};
    AUTO_BUF struct buf b = {0};
    struct http1_answer a;
    struct running r;
    struct err err;

    (void)state;
    assert_non_null(body);
    memset(body, 'b', ECHO_BODY_MAX + 1);
    start(&r, NULL);
    assert_int_equal(http1_ask_unix(&a, path, &q, 0, &err), 0);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.len, 3 + ECHO_BODY_MAX);
    http1_answer_free(&a);
    q.body_len++;
    assert_int_equal(http1_ask_unix(&a, path, &q, 0, &err), 0);
    assert_int_equal(a.status, 413);
    assert_non_null(strstr(buf_cstr(&a.body), "a body of 131073 bytes, limit 131072"));
    http1_answer_free(&a);
    assert_non_null(strstr(ask(&b, GET_A "Content-Length: 1\r\n\r\nx"), " 413 "));
    assert_non_null(strstr(buf_cstr(&b), "this request takes no body"));
    assert_non_null(
        strstr(ask(&b, "PUT /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"),
               "HTTP/1.1 401 Unauthorized\r\n"));
    assert_int_equal(r.handled, 1);
    stop(&r);
}

/* What all bodies together may hold is kept for those that were let in, until they are over. */
static void test_room_for_all_bodies(void **state)
{
    AUTO_BUF struct buf b = {0};
    struct running r;
    char head[128];
    int fd;

    (void)state;
    start(&r, NULL);
    fd = dial();
    snprintf(head, sizeof(head),
             "PUT /large HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
             "Content-Length: %u\r\n\r\n",
             HTTP1_BODIES_BYTES_MAX);
    raw_put(fd, head);
    assert_int_equal(recv(fd, (char[1]){0}, 1, 0), 1); /* it was let in */
    assert_non_null(strstr(ask(&b, PUT_A "Content-Length: 1\r\n\r\nx"), " 503 "));
    assert_non_null(strstr(buf_cstr(&b), "too many bodies of requests are under way: try again"));
    close(fd);
    do /* until the server has seen it */
        ask(&b, PUT_A "Content-Length: 1\r\n\r\nx");
    while (strstr(buf_cstr(&b), " 503 "));
    assert_non_null(strstr(buf_cstr(&b), "/a|x"));
    stop(&r);
}

static void test_body_has_a_deadline(void **state)
{
    static const struct http1_options bodies = {.body_timeout_ms = 20};
    AUTO_BUF struct buf b = {0};
    struct running r;

    (void)state;
    start(&r, &bodies);
    assert_string_equal(ask(&b, PUT_A "Content-Length: 3\r\n\r\nx"), "");
    assert_int_equal(r.handled, 0);
    stop(&r);
}

static void test_answers_that_come_later(void **state)
{
    static const struct http1_options works = {.work_timeout_ms = 20};
    AUTO_BUF struct buf b = {0}, now = {0};
    struct running r;
    int fd;

    (void)state;
    start(&r, NULL);
    assert_non_null(strstr(ask(&b, "GET /at-once HTTP/1.0\r\n\r\n"), "at last"));
    fd = dial();
    raw_put(fd, "GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.0\r\n\r\n");
    do /* until its handler was called */
        ask(&now, "GET /now HTTP/1.0\r\n\r\n");
    while (recv(fd, (char[1]){0}, 1, MSG_PEEK | MSG_DONTWAIT) != 1);
    b.len = 0;
    raw_drain(fd, &b);
    assert_non_null(strstr(buf_cstr(&b), "HTTP/1.1 201 Created\r\n"));
    assert_non_null(strstr(buf_cstr(&b), "at lastHTTP/1.1 200 OK"));
    stop(&r);

    start(&r, &works); /* the client is told; the answer finds nobody */
    assert_non_null(strstr(ask(&b, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"), " 504 "));
    ask(&now, "GET /now HTTP/1.0\r\n\r\n");
    assert_null(r.later);
    stop(&r);
}

/* The client and the server may be gone by then. */
static void test_later_outlives_all(void **state)
{
    struct running r;
    int fd;

    (void)state;
    start(&r, NULL);
    fd = dial();
    raw_put(fd, "PUT /later HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    while (__atomic_load_n(&r.handled, __ATOMIC_ACQUIRE) == 0)
        sched_yield();
    loop_post(r.loop, &r.stop);
    assert_int_equal(pthread_join(r.thread, NULL), 0);
    later_done(&r);
    loop_free(r.loop);
    close(fd);
}

/* Whoever took a body and answers later still has it, also when the client is gone. */
static void test_a_body_counts_until_its_answer(void **state)
{
    AUTO_BUF struct buf b = {0};
    struct running r;
    char head[160];
    int fd;

    (void)state;
    snprintf(head, sizeof(head),
             "PUT /large HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n"
             "Content-Length: %u\r\n\r\n",
             HTTP1_BODIES_BYTES_MAX);
    start(&r, NULL);
    fd = dial();
    raw_put(fd, "PUT /later HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    while (__atomic_load_n(&r.handled, __ATOMIC_ACQUIRE) == 0)
        sched_yield();
    close(fd);
    assert_non_null(strstr(ask(&b, head), " 503 "));
    ask(&b, "GET /now HTTP/1.0\r\n\r\n");
    fd = dial();
    raw_put(fd, head);
    b.len = 0;
    assert_int_equal(buf_reserve(&b, 64, NULL), 0);
    assert_int_equal(recv(fd, b.data, 12, MSG_WAITALL), 12);
    assert_memory_equal(b.data, "HTTP/1.1 100", 12);
    close(fd);
    stop(&r);
}

static void leave_socket(bool listening, int *out)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    memcpy(addr.sun_path, path, sizeof(path));
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    if (listening)
        assert_int_equal(listen(fd, 1), 0);
    else
        close(fd);
    *out = fd;
}

static void test_only_stale_sockets_are_replaced(void **state)
{
    char message[160], long_path[200];
    struct http1_server *s = NULL;
    struct running r;
    struct err err;
    struct loop *loop = NULL;
    int fd;

    (void)state;
    leave_socket(false, &fd);
    start(&r, NULL);
    stop(&r);
    assert_int_equal(loop_new(&loop, NULL), 0);
    leave_socket(true, &fd);
    assert_int_equal(http1_serve_unix(&s, loop, path, NULL, echo, NULL, &err), -1);
    snprintf(message, sizeof(message),
             "another process listens at %s: stop it, or use another socket", path);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.code, ERR_EXISTS);
    close(fd);
    assert_int_equal(unlink(path), 0);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(http1_serve_unix(&s, loop, path, NULL, echo, NULL, &err), -1);
    snprintf(message, sizeof(message), "%s is no socket: move it away", path);
    assert_string_equal(err.msg, message);
    assert_int_equal(unlink(path), 0);
    memset(long_path, 'x', sizeof(long_path));
    long_path[sizeof(long_path) - 1] = 0;
    assert_int_equal(http1_serve_unix(&s, loop, long_path, NULL, echo, NULL, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(http1_serve_unix(&s, loop, "/nowhere/at/all", NULL, echo, NULL, &err), -1);
    assert_string_equal(err.msg, "bind /nowhere/at/all: No such file or directory");
    assert_null(s);
    loop_free(loop);
}

/* A socket file of somebody else is left alone when the server ends. */
static void test_foreign_socket_survives_the_end(void **state)
{
    struct running r;
    int fd;

    (void)state;
    start(&r, NULL);
    assert_int_equal(unlink(path), 0);
    leave_socket(true, &fd);
    loop_post(r.loop, &r.stop);
    assert_int_equal(pthread_join(r.thread, NULL), 0);
    loop_free(r.loop);
    assert_int_equal(unlink(path), 0); /* it is still there */
    close(fd);
}

/* --- the client --- */

static void test_client(void **state)
{
    struct http1_answer a;
    struct err err;
    struct running r;

    (void)state;
    assert_int_equal(http1_get_unix(&a, path, "/a", 0, &err), -1);
    assert_string_equal(err.msg, "No such file or directory");
    assert_int_equal(err.code, ERR_NET);
    assert_int_equal(err.sys, ENOENT);
    start(&r, NULL);
    assert_int_equal(http1_get_unix(&a, path, "/a?b", 0, &err), 0);
    assert_int_equal(a.status, 200);
    assert_string_equal(buf_cstr(&a.body), "/a|b");
    http1_answer_free(&a);
    assert_int_equal(http1_get_unix(&a, path, "/big", 0, &err), 0);
    assert_int_equal(a.body.len, MIB);
    http1_answer_free(&a);
    assert_int_equal(http1_get_unix(&a, path, "/none", 0, &err), 0);
    assert_int_equal(a.status, 404);
    assert_string_equal(a.content_type, "application/problem+json");
    http1_answer_free(&a);
    stop(&r);
}

/* A server that takes the connection and says nothing, and one that hangs up. */
static void test_client_and_bad_servers(void **state)
{
    struct http1_answer a;
    struct err err;
    int fd;

    (void)state;
    leave_socket(true, &fd);
    assert_int_equal(http1_get_unix(&a, path, "/a", 20, &err), -1);
    assert_int_equal(err.code, ERR_TIMEOUT);
    assert_string_equal(err.msg, "no answer in time");
    close(fd);
    assert_int_equal(http1_get_unix(&a, path, "/a", 20, &err), -1);
    assert_string_equal(err.msg, "Connection refused");
    assert_int_equal(unlink(path), 0);
}

static int dir_make(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    snprintf(dir, sizeof(dir), "%s/roost-http1-XXXXXX", tmp_base());
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/s", dir);
    return 0;
}

static int dir_remove(void **state)
{
    (void)state;
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_read),
        cmocka_unit_test(test_malformed_requests_are_refused),
        cmocka_unit_test(test_limits_of_heads),
        cmocka_unit_test(test_answers_are_read),
        cmocka_unit_test(test_answers_over_the_socket),
        cmocka_unit_test(test_pipelined_and_byte_by_byte),
        cmocka_unit_test(test_nothing_is_read_while_an_answer_waits),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_connections_at_their_edge),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_who_asks_first_is_told_to_go_on),
        cmocka_unit_test(test_limits_of_bodies),
        cmocka_unit_test(test_room_for_all_bodies),
        cmocka_unit_test(test_body_has_a_deadline),
        cmocka_unit_test(test_answers_that_come_later),
        cmocka_unit_test(test_later_outlives_all),
        cmocka_unit_test(test_a_body_counts_until_its_answer),
        cmocka_unit_test(test_only_stale_sockets_are_replaced),
        cmocka_unit_test(test_foreign_socket_survives_the_end),
        cmocka_unit_test(test_client),
        cmocka_unit_test(test_client_and_bad_servers),
    };

    return cmocka_run_group_tests(tests, dir_make, dir_remove);
}
