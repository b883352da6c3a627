/* The client: lanes and their connections, what it sends and refuses, and what it does when the
 * server is away, full, leaving or dead. */
#include "base/clock.h"
#include "base/limits.h"
#include "kube/client.h"
#include "kube/kubeconfig.h"
#include "kube/wire.h"
#include "support/h2_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct test_pki pki;

struct world {
    struct loop *loop;
    struct h2_server *server;
    struct kube_config config;
    struct kube_client *client;
    char host[32], authority[48];
};

struct answer {
    struct world *world;
    struct kube_stream *stream; /* NULL once it has ended */
    int status;
    struct buf body;
    size_t got;
    bool ended, failed, paused;
    struct err err;
    void (*on_data)(struct answer *a);
};

static void answer_head(void *ctx, int status, const char *headers, size_t len)
{
    struct answer *a = ctx;

    assert_true(len == 0 || headers[len - 1] == '\n');
    a->status = status;
    loop_stop(a->world->loop);
}

static void answer_data(void *ctx, const uint8_t *data, size_t len)
{
    struct answer *a = ctx;

    a->got += len;
    assert_int_equal(buf_append(&a->body, data, len, NULL), 0);
    if (!a->paused)
        kube_consume(a->stream, len);
    if (a->on_data)
        a->on_data(a);
    loop_stop(a->world->loop);
}

static void answer_end(void *ctx, const struct err *err)
{
    struct answer *a = ctx;

    assert_false(a->ended);
    a->ended = true;
    a->stream = NULL;
    a->failed = err != NULL;
    if (err)
        a->err = *err;
    loop_stop(a->world->loop);
}

static const struct kube_receiver receiver = {answer_head, answer_data, answer_end};

#define UNTIL(w, condition)                                                                        \
    do {                                                                                           \
        while (!(condition))                                                                       \
            loop_run((w)->loop);                                                                   \
    } while (0)

/* --- set-up --- */

static void client_start(struct world *w, uint16_t port)
{
    struct err err;

    snprintf(w->host, sizeof(w->host), "127.0.0.1");
    snprintf(w->authority, sizeof(w->authority), "127.0.0.1:%u", port);
    w->config = (struct kube_config){.context = (char *)(uintptr_t) "test",
                                     .host = w->host,
                                     .authority = w->authority,
                                     .path_prefix = (char *)(uintptr_t) "",
                                     .ca_pem = pki.ca,
                                     .port = port};
    assert_int_equal(loop_new(&w->loop, &err), 0);
    assert_int_equal(kube_client_new(&w->client, w->loop, &w->config, &err), 0);
    kube_client_set_timing(w->client,
                           &(struct kube_timing){.backoff_min_ms = 10, .backoff_max_ms = 40});
}

static void world_start(struct world *w, const struct h2_server_options *options)
{
    struct h2_server_options o = *options;

    o.pki = &pki;
    *w = (struct world){.server = h2_server_start(&o)};
    client_start(w, h2_server_port(w->server));
}

static void world_stop(struct world *w)
{
    kube_client_free(w->client);
    loop_free(w->loop);
    if (w->server)
        h2_server_stop(w->server);
}

static void send_request(struct answer *a, struct world *w, const struct kube_request *req)
{
    struct err err = {0};

    a->world = w;
    if (kube_send(&a->stream, w->client, req, &receiver, a, &err) < 0)
        fail_msg("%s", err.msg);
}

static void get(struct answer *a, struct world *w, enum kube_lane lane, const char *path)
{
    send_request(a, w, &(struct kube_request){.method = "GET", .path = path, .lane = lane});
}

static void get_whole(struct world *w, const char *path)
{
    struct answer a = {0};

    get(&a, w, KUBE_CALL, path);
    UNTIL(w, a.ended);
    if (a.failed)
        fail_msg("%s: %s", path, a.err.msg);
    buf_free(&a.body);
}

static void assert_has(struct answer *a, const char *text)
{
    if (!strstr(buf_cstr(&a->body), text))
        fail_msg("\"%s\" is not in:\n%s", text, buf_cstr(&a->body));
}

static void assert_says(const struct err *err, enum err_code code, const char *text)
{
    if (err->code != code || !strstr(err->msg, text))
        fail_msg("%s: \"%s\" lacks \"%s\"", err_code_name(err->code), err->msg, text);
}

/* --- what is sent --- */

static void test_a_request_as_the_server_sees_it(void **state)
{
    static const char *const groups[] = {"system:authenticated", "system:serviceaccounts", NULL};
    struct answer a = {0};
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    w.config.token = (char *)(uintptr_t) "abc.def";
    w.config.path_prefix = (char *)(uintptr_t) "/echo";
    send_request(&a, &w,
                 &(struct kube_request){.method = "POST",
                                        .path = "/apis?x=%20y",
                                        .headers = "Content-Type: application/json\n\nAccept:a\n",
                                        .body = "{}",
                                        .body_len = 2,
                                        .user = "system:serviceaccount:ns:name",
                                        .groups = groups});
    UNTIL(&w, a.ended);
    assert_false(a.failed);
    assert_int_equal(a.status, 200);
    assert_has(&a, ":method: POST\n:scheme: https\n:authority: 127.0.0.1:");
    assert_has(&a, ":path: /echo/apis?x=%20y\nuser-agent: roost/" ROOST_VERSION "\n"
                   "authorization: Bearer abc.def (never indexed)\n"
                   "impersonate-user: system:serviceaccount:ns:name\n"
                   "impersonate-group: system:authenticated\n"
                   "impersonate-group: system:serviceaccounts\n"
                   "content-type: application/json\naccept: a\ncontent-length: 2\n\n{}");
    buf_free(&a.body);
    world_stop(&w);
}

static const struct {
    struct kube_request req;
    enum err_code code;
    const char *text;
} refused[] = {
    {{.method = "GET\r\nX: y", .path = "/"}, ERR_INVALID, "method"},
    {{.method = "", .path = "/"}, ERR_INVALID, "method"},
    {{.method = "GET", .path = ""}, ERR_INVALID, "path"},
    {{.method = "GET", .path = "apis"}, ERR_INVALID, "path"},
    {{.method = "GET", .path = "/a\nb"}, ERR_INVALID, "path"},
    {{.method = "GET", .path = "/a\rb"}, ERR_INVALID, "path"},
    {{.method = "GET", .path = "/a b"}, ERR_INVALID, "path"},
    {{.method = "GET", .path = "/a#b"}, ERR_INVALID, "path"},
    {{.method = "GET", .path = "/", .user = "a\r\nimpersonate-user: root"},
     ERR_INVALID,
     "impersonate-user"},
    {{.method = "GET", .path = "/", .user = "a\nb"}, ERR_INVALID, "impersonate-user"},
    {{.method = "GET", .path = "/", .user = ""}, ERR_INVALID, "impersonate-user"},
    {{.method = "GET", .path = "/", .user = " a"}, ERR_INVALID, "impersonate-user"},
    {{.method = "GET", .path = "/", .user = "a", .groups = (const char *const[]){"g\r", NULL}},
     ERR_INVALID,
     "impersonate-group"},
    {{.method = "GET", .path = "/", .groups = (const char *const[]){"g", NULL}},
     ERR_INVALID,
     "without impersonate-user"},
    {{.method = "GET", .path = "/", .headers = "Accept: a\rX: y\n"}, ERR_INVALID, "accept"},
    {{.method = "GET", .path = "/", .headers = "Accept: a\x01\n"}, ERR_INVALID, "accept"},
    {{.method = "GET", .path = "/", .headers = "Accept: a \n"}, ERR_INVALID, "accept"},
    {{.method = "GET", .path = "/", .headers = "no colon\n"}, ERR_INVALID, "name"},
    {{.method = "GET", .path = "/", .headers = ": v\n"}, ERR_INVALID, "name"},
    {{.method = "GET", .path = "/", .headers = ":path: /x\n"}, ERR_INVALID, "name"},
    {{.method = "GET", .path = "/", .headers = "a b: v\n"}, ERR_INVALID, "name"},
    {{.method = "GET", .path = "/", .headers = "Authorization: Bearer x\n"},
     ERR_DENIED,
     "header authorization cannot be set"},
    {{.method = "GET", .path = "/", .headers = "Accept: a\nIMPERSONATE-User: root\n"},
     ERR_DENIED,
     "impersonate-user"},
    {{.method = "GET", .path = "/", .headers = "Impersonate-Extra-scopes: x\n"},
     ERR_DENIED,
     "impersonate-extra-scopes"},
    {{.method = "GET", .path = "/", .headers = "X-Remote-User: root\n"}, ERR_DENIED, "x-remote"},
    {{.method = "GET", .path = "/", .headers = "Host: x\n"}, ERR_DENIED, "host"},
    {{.method = "GET", .path = "/", .headers = "Connection: close\n"}, ERR_DENIED, "connection"},
    {{.method = "GET", .path = "/", .headers = "Transfer-Encoding: chunked\n"},
     ERR_DENIED,
     "transfer-encoding"},
    {{.method = "GET", .path = "/", .headers = "Content-Length: 5\n"},
     ERR_DENIED,
     "content-length"},
    {{.method = "GET", .path = "/", .headers = "Upgrade: h3\n"}, ERR_DENIED, "upgrade"},
};

static void test_a_request_cannot_break_out(void **state)
{
    struct kube_client_stats stats;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct kube_stream *s = NULL;
        struct err err = {0};

        if (kube_send(&s, w.client, &refused[i].req, &receiver, NULL, &err) == 0)
            fail_msg("case %zu was accepted", i);
        assert_null(s);
        assert_says(&err, refused[i].code, refused[i].text);
        assert_null(strstr(err.msg, "root"));
    }
    kube_client_stats(w.client, &stats);
    assert_int_equal(stats.requests, 0);
    assert_int_equal(stats.waiting + stats.streams, 0);
    world_stop(&w);
}

static void test_a_head_has_a_limit(void **state)
{
    char *path = malloc(KUBE_REQUEST_BYTES_MAX + 2), *lines = malloc(H2_HEADERS_MAX * 5 + 1);
    struct kube_wire *wire = NULL;
    struct err err = {0};
    struct kube_config config = {.authority = (char *)(uintptr_t) "a:1",
                                 .path_prefix = (char *)(uintptr_t) ""};

    (void)state;
    assert_true(path && lines);
    memset(path, '/', KUBE_REQUEST_BYTES_MAX + 1);
    path[KUBE_REQUEST_BYTES_MAX + 1] = 0;
    assert_int_equal(
        kube_wire_new(&wire, &config, &(struct kube_request){.method = "GET", .path = path}, &err),
        -1);
    assert_int_equal(err.code, ERR_LIMIT);
    path[KUBE_REQUEST_BYTES_MAX / 2] = 0;
    assert_int_equal(
        kube_wire_new(&wire, &config, &(struct kube_request){.method = "GET", .path = path}, &err),
        0);
    free(wire);
    for (size_t i = 0; i < H2_HEADERS_MAX; i++)
        memcpy(lines + 5 * i, "a: b\n", 6);
    assert_int_equal(
        kube_wire_new(&wire, &config,
                      &(struct kube_request){.method = "GET", .path = "/", .headers = lines}, &err),
        -1);
    assert_int_equal(err.code, ERR_LIMIT);
    free(path);
    free(lines);
}

/* --- bodies --- */

static void test_a_body_that_goes_on(void **state)
{
    struct answer a = {0};
    struct err err;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    send_request(
        &a, &w,
        &(struct kube_request){
            .method = "PUT", .path = "/echo", .body = "one ", .body_len = 4, .body_more = true});
    assert_int_equal(kube_write(a.stream, "two ", 4, &err), 0); /* not connected yet */
    get_whole(&w, "/echo");                                     /* now it is */
    assert_int_equal(kube_write(a.stream, "three", 5, &err), 0);
    get_whole(&w, "/echo");
    kube_end(a.stream);
    UNTIL(&w, a.ended);
    assert_false(a.failed);
    assert_has(&a, "\n\none two three");
    assert_null(strstr(buf_cstr(&a.body), "content-length"));
    buf_free(&a.body);
    world_stop(&w);
}

static void test_a_body_has_a_limit(void **state)
{
    uint8_t *big = calloc(1, KUBE_BODY_MAX + 1);
    struct answer a = {0};
    struct err err = {0};
    struct world w;

    (void)state;
    assert_non_null(big);
    world_start(&w, &(struct h2_server_options){0});
    assert_int_equal(
        kube_send(NULL, w.client,
                  &(struct kube_request){
                      .method = "PUT", .path = "/echo", .body = big, .body_len = KUBE_BODY_MAX + 1},
                  &receiver, &a, &err),
        -1);
    assert_int_equal(err.code, ERR_LIMIT);
    send_request(&a, &w,
                 &(struct kube_request){.method = "PUT",
                                        .path = "/echo",
                                        .body = big,
                                        .body_len = KUBE_BODY_MAX,
                                        .body_more = true});
    assert_int_equal(kube_write(a.stream, "x", 1, &err), -1);
    assert_says(&err, ERR_LIMIT, "not sent yet");
    while (kube_write(a.stream, "x", 1, &err) < 0) /* until some of it was sent */
        get_whole(&w, "/echo");
    kube_end(a.stream);
    UNTIL(&w, a.ended);
    assert_false(a.failed);
    assert_true(a.got > KUBE_BODY_MAX);
    assert_int_equal(a.body.data[a.body.len - 1], 'x');
    buf_free(&a.body);
    world_stop(&w);
    free(big);
}

static void test_a_paused_answer_waits_at_the_server(void **state)
{
    struct answer a = {.paused = true};
    struct h2_server_counts counts;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    get(&a, &w, KUBE_CALL, "/bytes/1000000");
    UNTIL(&w, a.got == KUBE_STREAM_WINDOW);
    get_whole(&w, "/status/204");
    h2_server_counts(w.server, &counts);
    assert_int_equal(counts.body_sent, KUBE_STREAM_WINDOW);
    a.paused = false;
    kube_consume(a.stream, a.got);
    UNTIL(&w, a.ended);
    assert_false(a.failed);
    assert_int_equal(a.got, 1000000);
    buf_free(&a.body);
    world_stop(&w);
}

/* --- lanes and connections --- */

static void test_watches_and_calls_do_not_share_a_connection(void **state)
{
    struct answer watch = {0};
    struct h2_server_counts counts;
    struct kube_client_stats stats;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){.streams_max = 1});
    get(&watch, &w, KUBE_WATCH, "/tick");
    UNTIL(&w, watch.status);
    get_whole(&w, "/echo");
    get_whole(&w, "/echo");
    h2_server_counts(w.server, &counts);
    assert_int_equal(counts.connections, 2);
    assert_int_equal(counts.streams_peak, 1);
    h2_server_do(w.server, TICK);
    UNTIL(&w, watch.got == 5);
    kube_client_stats(w.client, &stats);
    assert_int_equal(stats.connections, 2);
    assert_int_equal(stats.streams, 1);
    assert_int_equal(stats.requests, 3);
    assert_true(stats.bytes_read > 0 && stats.bytes_written > 0);
    assert_true(stats.last_read_ns > 0 && stats.last_write_ns > 0);
    buf_free(&watch.body);
    world_stop(&w);
}

static void test_the_servers_limit_opens_further_connections(void **state)
{
    struct answer a[5] = {0};
    struct h2_server_counts counts;
    struct kube_client_stats stats;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){.streams_max = 2});
    for (int i = 0; i < 5; i++)
        get(&a[i], &w, KUBE_WATCH, "/hold");
    kube_client_stats(w.client, &stats);
    assert_int_equal(stats.waiting, 5);
    for (int i = 0; i < 5; i++)
        UNTIL(&w, a[i].status);
    h2_server_counts(w.server, &counts);
    assert_int_equal(counts.connections, 3);
    assert_int_equal(counts.streams_peak, 2);
    kube_client_stats(w.client, &stats);
    assert_int_equal(stats.connections, 3);
    assert_int_equal(stats.streams, 5);
    assert_int_equal(stats.waiting, 0);
    h2_server_do(w.server, HOLD_END);
    for (int i = 0; i < 5; i++)
        UNTIL(&w, a[i].ended && !a[i].failed);
    world_stop(&w);
}

static void test_connections_have_a_limit(void **state)
{
    static struct answer a[KUBE_CONNECTIONS_MAX + 1];
    struct h2_server_counts counts;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){.streams_max = 1});
    kube_client_set_timing(w.client, &(struct kube_timing){.connect_ms = 60000});
    for (unsigned i = 0; i < KUBE_CONNECTIONS_MAX; i++)
        get(&a[i], &w, KUBE_CALL, "/hold");
    for (unsigned i = 0; i < KUBE_CONNECTIONS_MAX; i++)
        UNTIL(&w, a[i].status);
    kube_client_set_timing(w.client, &(struct kube_timing){.connect_ms = 20});
    get(&a[KUBE_CONNECTIONS_MAX], &w, KUBE_CALL, "/echo");
    UNTIL(&w, a[KUBE_CONNECTIONS_MAX].ended);
    assert_says(&a[KUBE_CONNECTIONS_MAX].err, ERR_NET, "all connections are in use");
    h2_server_counts(w.server, &counts);
    assert_int_equal(counts.connections, KUBE_CONNECTIONS_MAX);
    kube_client_set_timing(w.client, &(struct kube_timing){.connect_ms = 60000});
    memset(&a[KUBE_CONNECTIONS_MAX], 0, sizeof(a[0]));
    get(&a[KUBE_CONNECTIONS_MAX], &w, KUBE_CALL, "/status/200"); /* gets the first free place */
    h2_server_do(w.server, HOLD_END);
    UNTIL(&w, a[KUBE_CONNECTIONS_MAX].ended);
    assert_false(a[KUBE_CONNECTIONS_MAX].failed);
    world_stop(&w);
}

static void test_idle_connections_are_closed_but_for_one(void **state)
{
    struct answer a[6] = {0};
    struct h2_server_counts counts;
    struct kube_client_stats stats;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){.streams_max = 2});
    kube_client_set_timing(w.client, &(struct kube_timing){.idle_ms = 1});
    for (int i = 0; i < 6; i++)
        get(&a[i], &w, KUBE_CALL, "/hold");
    for (int i = 0; i < 6; i++)
        UNTIL(&w, a[i].status);
    h2_server_do(w.server, HOLD_END);
    do {
        get_whole(&w, "/echo");
        kube_client_stats(w.client, &stats);
    } while (stats.connections > 1);
    get_whole(&w, "/echo");
    h2_server_counts(w.server, &counts);
    assert_in_range(counts.connections, 3, 4); /* and none since */
    assert_int_equal(stats.reconnects, 0);
    world_stop(&w);
}

static void test_requests_have_a_limit(void **state)
{
    const struct kube_request req = {.method = "GET", .path = "/never"};
    struct kube_client_stats stats;
    struct answer a = {0};
    struct err err = {0};
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    for (unsigned i = 0; i < KUBE_STREAMS_MAX; i++)
        assert_int_equal(kube_send(NULL, w.client, &req, &receiver, &a, &err), 0);
    assert_int_equal(kube_send(NULL, w.client, &req, &receiver, &a, &err), -1);
    assert_says(&err, ERR_LIMIT, "requests are under way");
    kube_client_stats(w.client, &stats);
    assert_int_equal(stats.waiting, KUBE_STREAMS_MAX);
    world_stop(&w); /* all are cancelled without a word */
    assert_false(a.ended);
}

/* --- a server that goes, comes and refuses --- */

static void test_what_was_not_processed_is_sent_again(void **state)
{
    static const char *const paths[] = {"/refuse/3", "/goaway"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct answer a = {0};
        struct h2_server_counts counts;
        struct world w;

        world_start(&w, &(struct h2_server_options){0});
        send_request(&a, &w,
                     &(struct kube_request){
                         .method = "POST", .path = paths[i], .body = "body", .body_len = 4});
        UNTIL(&w, a.ended);
        if (a.failed)
            fail_msg("%s: %s", paths[i], a.err.msg);
        assert_has(&a, "\n\nbody");
        h2_server_counts(w.server, &counts);
        assert_int_equal(counts.requests, i == 0 ? 4 : 2);
        assert_int_equal(counts.connections, i == 0 ? 1 : 2);
        buf_free(&a.body);
        world_stop(&w);
    }
}

static void test_sending_again_has_a_limit(void **state)
{
    struct answer a = {0};
    struct h2_server_counts counts;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    get(&a, &w, KUBE_CALL, "/refuse/1000");
    UNTIL(&w, a.ended);
    assert_says(&a.err, ERR_NET, "took no more requests");
    h2_server_counts(w.server, &counts);
    assert_int_equal(counts.requests, KUBE_RESENDS_MAX + 1);
    world_stop(&w);
}

static void test_a_drained_connection_is_replaced(void **state)
{
    struct answer watch = {0};
    struct h2_server_counts counts;
    struct kube_client_stats stats;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    get_whole(&w, "/echo");
    get(&watch, &w, KUBE_CALL, "/tick");
    UNTIL(&w, watch.status);
    h2_server_do(w.server, GOAWAY_ALL);
    do {
        get_whole(&w, "/echo");
        h2_server_counts(w.server, &counts);
    } while (counts.connections == 1);
    h2_server_do(w.server, TICK); /* the old one still carries its stream */
    UNTIL(&w, watch.got == 5);
    assert_false(watch.ended);
    kube_client_stats(w.client, &stats);
    assert_int_equal(stats.reconnects, 1);
    kube_cancel(watch.stream);
    do { /* and closes behind the last of them */
        get_whole(&w, "/echo");
        h2_server_counts(w.server, &counts);
    } while (counts.open > 1);
    assert_int_equal(counts.connections, 2);
    buf_free(&watch.body);
    world_stop(&w);
}

static void test_a_lost_connection_is_replaced_at_once(void **state)
{
    struct answer a = {0};
    struct kube_client_stats stats;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    kube_client_set_timing(
        w.client, &(struct kube_timing){.backoff_min_ms = 3600000, .backoff_max_ms = 3600000});
    get(&a, &w, KUBE_CALL, "/drop");
    UNTIL(&w, a.ended);
    assert_says(&a.err, ERR_NET, "closed the connection");
    assert_int_equal(a.got, 10);
    get_whole(&w, "/echo"); /* the first attempt does not wait */
    kube_client_stats(w.client, &stats);
    assert_int_equal(stats.reconnects, 1);
    buf_free(&a.body);
    world_stop(&w);
}

static void test_a_server_that_is_away_and_comes_back(void **state)
{
    struct answer a = {0}, b = {0};
    struct kube_client_stats stats;
    struct world w;
    uint16_t port;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    port = h2_server_port(w.server);
    h2_server_stop(w.server);
    kube_client_set_timing(w.client, &(struct kube_timing){.connect_ms = 100});
    get(&a, &w, KUBE_CALL, "/echo");
    UNTIL(&w, a.ended);
    assert_says(&a.err, ERR_NET, "no connection to 127.0.0.1:");
    assert_says(&a.err, ERR_NET, "Connection refused");
    kube_client_set_timing(w.client, &(struct kube_timing){.connect_ms = 60000});
    get(&b, &w, KUBE_CALL, "/echo");
    w.server = h2_server_start(&(struct h2_server_options){.pki = &pki, .port = port});
    UNTIL(&w, b.ended);
    assert_false(b.failed);
    kube_client_stats(w.client, &stats);
    assert_int_equal(stats.waiting, 0);
    buf_free(&b.body);
    world_stop(&w);
}

static void test_a_server_that_hangs_up_is_not_hammered(void **state)
{
    struct h2_server_counts counts;
    struct answer a = {0};
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){.close_at_once = true});
    kube_client_set_timing(
        w.client,
        &(struct kube_timing){.connect_ms = 300, .backoff_min_ms = 20, .backoff_max_ms = 80});
    get(&a, &w, KUBE_CALL, "/echo");
    UNTIL(&w, a.ended);
    assert_int_equal(a.err.code, ERR_NET);
    h2_server_counts(w.server, &counts);
    assert_in_range(counts.connections, 1, 10); /* at 0, 20, 40, 80, 80 ... ms, less a quarter */
    world_stop(&w);
}

/* A receiver that asks again as soon as it is told of the end, for ever. */
static unsigned asked;

static void ask_again(void *ctx, const struct err *err)
{
    static const struct kube_receiver again = {answer_head, answer_data, ask_again};
    struct answer *a = ctx;

    assert_non_null(err);
    a->err = *err;
    if (++asked < 1000)
        assert_int_equal(kube_send(NULL, a->world->client,
                                   &(struct kube_request){.method = "GET", .path = "/drop"}, &again,
                                   a, &a->err),
                         0);
    loop_stop(a->world->loop);
}

static void test_a_receiver_that_asks_again_at_once_waits_too(void **state)
{
    static const struct kube_receiver again = {answer_head, answer_data, ask_again};
    struct h2_server_counts counts;
    struct answer a = {0}, last = {0};
    struct err err;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    kube_client_set_timing(w.client, &(struct kube_timing){.connect_ms = 100,
                                                           .backoff_min_ms = 3600000,
                                                           .backoff_max_ms = 3600000});
    a.world = &w;
    a.paused = true; /* there is no stream to consume from */
    asked = 0;
    assert_int_equal(kube_send(NULL, w.client,
                               &(struct kube_request){.method = "GET", .path = "/drop"}, &again, &a,
                               &err),
                     0);
    UNTIL(&w, asked == 2); /* the first loss is mended at once, the second is not */
    get(&last, &w, KUBE_CALL, "/echo");
    UNTIL(&w, last.ended);
    assert_int_equal(last.err.code, ERR_NET);
    h2_server_counts(w.server, &counts);
    assert_int_equal(counts.connections, 2);
    buf_free(&a.body);
    world_stop(&w);
}

static void test_a_wrong_authority_is_told_at_once(void **state)
{
    struct answer a = {0}, b = {0};
    struct test_pki other;
    struct world w;

    (void)state;
    test_pki_new(&other);
    w = (struct world){.server = h2_server_start(&(struct h2_server_options){.pki = &other})};
    client_start(&w, h2_server_port(w.server));
    get(&a, &w, KUBE_CALL, "/echo");
    get(&b, &w, KUBE_CALL, "/echo");
    UNTIL(&w, a.ended && b.ended);
    assert_says(&a.err, ERR_DENIED, "not signed by the expected authority");
    assert_says(&b.err, ERR_DENIED, "connection to 127.0.0.1:");
    world_stop(&w);
    test_pki_free(&other);
}

static void test_the_head_has_a_deadline(void **state)
{
    struct answer a = {0}, held = {0};
    struct h2_server_counts counts;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    get_whole(&w, "/echo");
    send_request(&held, &w,
                 &(struct kube_request){.method = "GET", .path = "/hold", .timeout_ms = 2000});
    UNTIL(&w, held.status);
    send_request(&a, &w,
                 &(struct kube_request){.method = "GET", .path = "/never", .timeout_ms = 20});
    UNTIL(&w, a.ended);
    assert_says(&a.err, ERR_TIMEOUT, "no answer within 20 ms");
    get_whole(&w, "/echo");
    h2_server_counts(w.server, &counts);
    assert_int_equal(counts.resets, 1); /* the server was told */
    assert_false(held.ended);           /* its head has come: no deadline any more */
    world_stop(&w);
}

/* --- being cancelled --- */

static void cancel_it(struct answer *a)
{
    kube_cancel(a->stream);
    a->stream = NULL;
}

static void test_cancel(void **state)
{
    struct answer waiting = {0}, active = {0}, within = {.on_data = cancel_it};
    struct h2_server_counts counts;
    struct kube_client_stats stats;
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){0});
    get(&waiting, &w, KUBE_CALL, "/echo");
    kube_cancel(waiting.stream);
    get(&active, &w, KUBE_CALL, "/hold");
    UNTIL(&w, active.status);
    kube_cancel(active.stream);
    get(&within, &w, KUBE_CALL, "/bytes/10000000");
    UNTIL(&w, within.got);
    get_whole(&w, "/echo");
    assert_false(waiting.ended || active.ended || within.ended);
    h2_server_counts(w.server, &counts);
    assert_int_equal(counts.requests, 3);
    assert_int_equal(counts.resets, 2);
    kube_client_stats(w.client, &stats);
    assert_int_equal(stats.streams + stats.waiting, 0);
    buf_free(&within.body);
    world_stop(&w);
}

static void test_a_client_is_freed_with_all_under_way(void **state)
{
    struct answer a[3] = {0};
    struct world w;

    (void)state;
    world_start(&w, &(struct h2_server_options){.streams_max = 1});
    get(&a[0], &w, KUBE_WATCH, "/hold");
    UNTIL(&w, a[0].status);
    get(&a[1], &w, KUBE_WATCH, "/hold"); /* connecting */
    get(&a[2], &w, KUBE_CALL, "/echo");
    world_stop(&w);
    assert_false(a[0].ended || a[1].ended || a[2].ended);
}

static void test_a_bad_configuration_names_its_context(void **state)
{
    struct kube_config config = {.context = (char *)(uintptr_t) "prod",
                                 .host = (char *)(uintptr_t) "localhost",
                                 .ca_pem = (char *)(uintptr_t) "none"};
    struct kube_client *client = NULL;
    struct loop *loop;
    struct err err = {0};

    (void)state;
    assert_int_equal(loop_new(&loop, &err), 0);
    assert_int_equal(kube_client_new(&client, loop, &config, &err), -1);
    assert_says(&err, ERR_INVALID, "kubeconfig, context prod: certificate authority: no certi");
    loop_free(loop);
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
        cmocka_unit_test(test_a_request_as_the_server_sees_it),
        cmocka_unit_test(test_a_request_cannot_break_out),
        cmocka_unit_test(test_a_head_has_a_limit),
        cmocka_unit_test(test_a_body_that_goes_on),
        cmocka_unit_test(test_a_body_has_a_limit),
        cmocka_unit_test(test_a_paused_answer_waits_at_the_server),
        cmocka_unit_test(test_watches_and_calls_do_not_share_a_connection),
        cmocka_unit_test(test_the_servers_limit_opens_further_connections),
        cmocka_unit_test(test_connections_have_a_limit),
        cmocka_unit_test(test_idle_connections_are_closed_but_for_one),
        cmocka_unit_test(test_requests_have_a_limit),
        cmocka_unit_test(test_what_was_not_processed_is_sent_again),
        cmocka_unit_test(test_sending_again_has_a_limit),
        cmocka_unit_test(test_a_drained_connection_is_replaced),
        cmocka_unit_test(test_a_lost_connection_is_replaced_at_once),
        cmocka_unit_test(test_a_server_that_is_away_and_comes_back),
        cmocka_unit_test(test_a_server_that_hangs_up_is_not_hammered),
        cmocka_unit_test(test_a_receiver_that_asks_again_at_once_waits_too),
        cmocka_unit_test(test_a_wrong_authority_is_told_at_once),
        cmocka_unit_test(test_the_head_has_a_deadline),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_a_client_is_freed_with_all_under_way),
        cmocka_unit_test(test_a_bad_configuration_names_its_context),
    };

    return cmocka_run_group_tests(tests, make_pki, free_pki);
}
