/* The client against a real API server. Run by with-controlplane, which gives the environment. */
#include "base/buf.h"
#include "kube/client.h"
#include "kube/kubeconfig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WATCHES 300

static struct loop *loop;
static struct kube_config *config;
static struct kube_client *client;

struct answer {
    struct kube_stream *stream;
    int status;
    struct buf body;
    unsigned lines; /* a watch: events */
    bool ended, failed;
    struct err err;
};

static void answer_head(void *ctx, int status, const char *headers, size_t len)
{
    struct answer *a = ctx;

    (void)headers;
    (void)len;
    a->status = status;
    loop_stop(loop);
}

static void answer_data(void *ctx, const uint8_t *data, size_t len)
{
    struct answer *a = ctx;

    for (size_t i = 0; i < len; i++)
        a->lines += data[i] == '\n';
    assert_int_equal(buf_append(&a->body, data, len, NULL), 0);
    kube_consume(a->stream, len);
    loop_stop(loop);
}

static void answer_end(void *ctx, const struct err *err)
{
    struct answer *a = ctx;

    a->ended = true;
    a->failed = err != NULL;
    if (err)
        a->err = *err;
    loop_stop(loop);
}

static const struct kube_receiver receiver = {answer_head, answer_data, answer_end};

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        while (!(condition))                                                                       \
            loop_run(loop);                                                                        \
    } while (0)

static void ask(struct answer *a, const struct kube_request *req)
{
    struct err err = {0};

    memset(a, 0, sizeof(*a));
    if (kube_send(&a->stream, client, req, &receiver, a, &err) < 0)
        fail_msg("%s", err.msg);
}

/* Returns the status. */
static int call(struct answer *a, const struct kube_request *req)
{
    ask(a, req);
    UNTIL(a->ended);
    if (a->failed)
        fail_msg("%s %s: %s", req->method, req->path, a->err.msg);
    return a->status;
}

static int call_and_forget(const struct kube_request *req)
{
    struct answer a;
    int status = call(&a, req);

    buf_free(&a.body);
    return status;
}

static struct kube_request write_config_map(const char *method, const char *path, const char *value)
{
    static char body[256];

    snprintf(body, sizeof(body),
             "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"live\","
             "\"labels\":{\"live\":\"yes\"}},\"data\":{\"value\":\"%s\"}}",
             value);
    return (struct kube_request){.method = method,
                                 .path = path,
                                 .headers = "Content-Type: application/json\n",
                                 .body = body,
                                 .body_len = strlen(body)};
}

static void watch(struct answer *a, const char *path)
{
    ask(a, &(struct kube_request){.method = "GET", .path = path, .lane = KUBE_WATCH});
    UNTIL(a->status || a->ended);
    assert_int_equal(a->status, 200);
}

static void test_version(void **state)
{
    struct answer a;

    (void)state;
    assert_int_equal(call(&a, &(struct kube_request){.method = "GET", .path = "/version"}), 200);
    assert_non_null(strstr(buf_cstr(&a.body), "\"gitVersion\": \"v1."));
    buf_free(&a.body);
}

static void test_impersonation(void **state)
{
    static const char *const groups[] = {"system:serviceaccounts", "system:authenticated", NULL};
    static const char review[] =
        "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"SelfSubjectReview\"}";
    struct kube_request req = {.method = "POST",
                               .path = "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                               .headers = "content-type: application/json\n",
                               .body = review,
                               .body_len = sizeof(review) - 1,
                               .user = "system:serviceaccount:default:tester",
                               .groups = groups};
    struct answer a;

    (void)state;
    assert_int_equal(call(&a, &req), 201);
    assert_non_null(strstr(buf_cstr(&a.body),
                           "\"userInfo\":{\"username\":\"system:serviceaccount:default:tester\","
                           "\"groups\":[\"system:serviceaccounts\",\"system:authenticated\"]}"));
    buf_free(&a.body);
    req = (struct kube_request){.method = "GET", .path = "/api/v1/secrets"};
    assert_int_equal(call_and_forget(&req), 200);
    req.user = "system:serviceaccount:default:tester";
    req.groups = groups;
    assert_int_equal(call_and_forget(&req), 403);
}

static void test_a_watch_that_the_server_ends(void **state)
{
    struct answer a;

    (void)state;
    watch(&a, "/api/v1/configmaps?watch=1&timeoutSeconds=1");
    UNTIL(a.ended);
    assert_false(a.failed);
    buf_free(&a.body);
}

static void each_sees(struct answer *watches, unsigned n)
{
    for (int i = 0; i < WATCHES; i++) {
        UNTIL(watches[i].lines >= n || watches[i].ended);
        assert_false(watches[i].ended);
        assert_int_equal(watches[i].lines, n);
    }
}

static void test_many_watches_and_a_server_that_restarts(void **state)
{
    static struct answer watches[WATCHES];
    struct kube_request post = {0};
    struct kube_client_stats before, stats;
    struct answer a;

    (void)state;
    kube_client_stats(client, &before);
    for (int i = 0; i < WATCHES; i++)
        ask(&watches[i],
            &(struct kube_request){.method = "GET",
                                   .path = "/api/v1/configmaps?watch=1&labelSelector=live",
                                   .lane = KUBE_WATCH});
    for (int i = 0; i < WATCHES; i++)
        UNTIL(watches[i].status == 200);
    kube_client_stats(client, &stats);
    assert_int_equal(stats.streams, WATCHES);
    assert_in_range(stats.connections, 3, 4); /* calls; watches, 100 or 250 on each */
    post = write_config_map("POST", "/api/v1/namespaces/default/configmaps", "a");
    assert_int_equal(call_and_forget(&post), 201);
    each_sees(watches, 1);
    post = write_config_map("PUT", "/api/v1/namespaces/default/configmaps/live", "b");
    assert_int_equal(call_and_forget(&post), 200);
    each_sees(watches, 2);

    assert_int_equal(system(ROOST_SOURCE_DIR
                            "/scripts/controlplane stop --dir \"$CONTROLPLANE_DIR\" >/dev/null"),
                     0);
    for (int i = 0; i < WATCHES; i++) { /* an end, or a cut: never silence */
        UNTIL(watches[i].ended);
        buf_free(&watches[i].body);
    }
    assert_int_equal(system(ROOST_SOURCE_DIR
                            "/scripts/controlplane start --dir \"$CONTROLPLANE_DIR\" >/dev/null"),
                     0);
    assert_int_equal(call_and_forget(&(struct kube_request){
                         .method = "GET", .path = "/api/v1/namespaces/default/configmaps/live"}),
                     200);
    watch(&a, "/api/v1/configmaps?watch=1&labelSelector=live&resourceVersion=0");
    UNTIL(a.lines == 1);
    assert_non_null(strstr(buf_cstr(&a.body), "\"value\":\"b\""));
    kube_cancel(a.stream);
    buf_free(&a.body);
}

static int start(void **state)
{
    struct err err = {0};

    (void)state;
    assert_int_equal(loop_new(&loop, &err), 0);
    if (kube_config_load(&config, NULL, NULL, &err) < 0 ||
        kube_client_new(&client, loop, config, &err) < 0) {
        print_error("%s\n", err.msg);
        return -1;
    }
    return 0;
}

static int stop(void **state)
{
    (void)state;
    kube_client_free(client);
    kube_config_free(config);
    loop_free(loop);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_impersonation),
        cmocka_unit_test(test_a_watch_that_the_server_ends),
        cmocka_unit_test(test_many_watches_and_a_server_that_restarts),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
