/* serve/admin: every route and what is not one, over its real socket. */
#include "base/http1.h"
#include "base/log.h"
#include "support/admin_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void start(struct admin_fake *f)
{
    assert_int_equal(admin_fake_start(f), 0);
}

/* Status, type and body of one answer. */
static void expect(const struct admin_fake *f, const char *target, int status, const char *type,
                   const char *body)
{
    AUTO_ANSWER struct http1_answer a = {0};
    struct err err;

    if (http1_get_unix(&a, f->path, target, 0, &err) < 0)
        fail_msg("%s: %s", target, err.msg);
    assert_string_equal(buf_cstr(&a.body), body);
    assert_int_equal(a.status, status);
    assert_string_equal(a.content_type, type);
}

#define JSON    "application/json"
#define TEXT    "text/plain; charset=utf-8"
#define PROBLEM "application/problem+json"

static void test_health_and_readiness(void **state)
{
    struct admin_fake f = {.guests = "[]"};

    (void)state;
    start(&f);
    expect(&f, "/healthz", 200, TEXT, "ok\n");
    expect(&f, "/readyz", 200, TEXT, "ok\n");
    expect(&f, "/healthz?verbose", 200, TEXT, "[+]ping ok\nhealthz check passed\n");
    expect(&f, "/readyz?verbose", 200, TEXT,
           "[+]ping ok\n[+]made-up ok\n[+]always ok\nreadyz check passed\n");
    assert_int_equal(admin_fake_stop(&f), 0);
    f.reasons = "API server: connecting\nmodule a.wasm: compiling\n";
    start(&f);
    expect(&f, "/healthz", 200, TEXT, "ok\n");
    expect(&f, "/readyz", 503, TEXT, f.reasons);
    expect(&f, "/readyz?verbose=0", 503, TEXT, f.reasons);
    expect(&f, "/readyz?verbose", 503, TEXT,
           "[+]ping ok\n[-]made-up failed: API server: connecting; module a.wasm: compiling\n"
           "[+]always ok\nreadyz check failed\n");
    assert_int_equal(admin_fake_stop(&f), 0);
    f.reasons = "";
    start(&f);
    expect(&f, "/readyz", 503, TEXT, "not ready\n");
    assert_int_equal(admin_fake_stop(&f), 0);
}

static void test_version(void **state)
{
    struct admin_fake f = {.guests = "[]"};

    (void)state;
    start(&f);
    expect(&f, "/v1/version", 200, JSON, "{\"version\":\"" ROOST_VERSION "\"}\n");
    assert_int_equal(admin_fake_stop(&f), 0);
}

static int put(const struct admin_fake *f, const char *target, const char *body)
{
    struct http1_question q = {
        .method = HTTP1_PUT, .target = target, .body = body, .body_len = strlen(body)};
    AUTO_ANSWER struct http1_answer a = {0};
    struct err err;

    if (http1_ask_unix(&a, f->path, &q, 0, &err) < 0)
        fail_msg("%s: %s", target, err.msg);
    return a.status;
}

static void test_log_level(void **state)
{
    struct admin_fake f = {.guests = "[]"};
    enum log_level before = log_level_get();

    (void)state;
    start(&f);
    assert_int_equal(put(&f, "/v1/log-level", "{\"level\":\"warn\"}"), 200);
    assert_int_equal(log_level_get(), LOG_WARN);
    expect(&f, "/v1/log-level", 200, JSON, "{\"level\":\"warn\"}\n");
    assert_int_equal(put(&f, "/v1/log-level", "{\"level\":\"loud\"}"), 422);
    assert_int_equal(put(&f, "/v1/log-level", "{\"level\":7}"), 400);
    assert_int_equal(put(&f, "/v1/log-level", "{\"level\":\"info\",\"for\":\"1m\"}"), 400);
    assert_int_equal(put(&f, "/v1/log-level", "warn"), 400);
    assert_int_equal(put(&f, "/v1/log-level", ""), 400);
    assert_int_equal(log_level_get(), LOG_WARN);
    log_level_set(before);
    assert_int_equal(admin_fake_stop(&f), 0);
}

static void test_guests(void **state)
{
    struct admin_fake f = {.guests = "[{\"namespace\":\"n\",\"name\":\"a\"}]"};

    (void)state;
    start(&f);
    expect(&f, "/v1/guests", 200, JSON, "{\"items\":[{\"namespace\":\"n\",\"name\":\"a\"}]}\n");
    expect(&f, "/v1/guests/n/a", 200, JSON, "{\"namespace\":\"n\",\"name\":\"a\"}\n");
    assert_int_equal(admin_fake_stop(&f), 0);
    f.guests = "[]";
    start(&f);
    expect(&f, "/v1/guests", 200, JSON, "{\"items\":[]}\n");
    assert_int_equal(admin_fake_stop(&f), 0);
    f.guests = NULL;
    start(&f);
    expect(&f, "/v1/guests", 500, PROBLEM,
           "{\"type\":\"about:blank\",\"title\":\"Internal Server "
           "Error\",\"status\":500,\"reason\":\"Internal\","
           "\"detail\":\"the answer could not be made: no memory, or too large\"}\n");
    assert_int_equal(admin_fake_stop(&f), 0);
}

static void test_what_is_not_there(void **state)
{
    static const struct {
        const char *target, *detail;
    } cases[] = {
        {"/", "there is nothing at this path"},
        {"/v1", "there is nothing at this path"},
        {"/readyz/", "there is nothing at this path"},
        {"/v1/guestsx", "there is nothing at this path"},
        {"//v1/guests", "there is nothing at this path"},
        {"/v1/guests/", "there is nothing at this path"},
        {"/v1/guests/n", "there is nothing at this path"},
        {"/v1/guests/n/", "there is nothing at this path"},
        {"/v1/guests//a", "there is nothing at this path"},
        {"/v1/guests/n/a/b", "there is nothing at this path"},
        {"/v1/guests/n/b", "there is no such guest"},
        {"/v1/guests/n/%61", "there is no such guest"}, /* nothing is decoded */
        {"/v1/guests/../a", "there is no such guest"},
    };
    struct admin_fake f = {.guests = "[{\"namespace\":\"n\",\"name\":\"a\"}]"};

    (void)state;
    start(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[256];

        snprintf(body, sizeof(body),
                 "{\"type\":\"about:blank\",\"title\":\"Not "
                 "Found\",\"status\":404,\"reason\":\"NotFound\","
                 "\"detail\":\"%s\"}\n",
                 cases[i].detail);
        expect(&f, cases[i].target, 404, PROBLEM, body);
    }
    assert_int_equal(admin_fake_stop(&f), 0);
}

static void test_longest_target(void **state)
{
    struct admin_fake f = {.guests = "[]"};
    char target[HTTP1_TARGET_MAX + 2] = "/v1/guests/";

    (void)state;
    memset(target + strlen(target), 'n', sizeof(target) - 1 - strlen(target));
    target[HTTP1_TARGET_MAX] = 0;
    start(&f);
    expect(
        &f, target, 404, PROBLEM,
        "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\"reason\":\"NotFound\","
        "\"detail\":\"there is nothing at this path\"}\n");
    target[HTTP1_TARGET_MAX] = 'n';
    expect(&f, target, 414, PROBLEM,
           "{\"type\":\"about:blank\",\"title\":\"URI Too "
           "Long\",\"status\":414,\"reason\":\"OverLimit\","
           "\"detail\":\"the target is too long\"}\n");
    assert_int_equal(admin_fake_stop(&f), 0);
}

static void test_stats_and_their_reset(void **state)
{
    struct admin_fake f = {.guests = "[]"};

    (void)state;
    start(&f);
    expect(&f, "/v1/stats", 200, JSON, "{\"resets\":0}\n");
    expect(&f, "/v1/stats?reset", 200, JSON, "{\"resets\":0}\n");
    expect(&f, "/v1/stats", 200, JSON, "{\"resets\":1}\n");
    expect(&f, "/v1/stats?reset=0", 200, JSON, "{\"resets\":1}\n");
    expect(&f, "/v1/stats", 200, JSON, "{\"resets\":1}\n");
    assert_int_equal(admin_fake_stop(&f), 0);
}

static void test_what_a_route_does_not_know(void **state)
{
    static const struct http1_question wrong = {.method = HTTP1_DELETE, .target = "/v1/guests"};
    struct admin_fake f = {.guests = "[]"};
    AUTO_ANSWER struct http1_answer a = {0};

    (void)state;
    start(&f);
    expect(&f, "/v1/stats?resets", 400, PROBLEM,
           "{\"type\":\"about:blank\",\"title\":\"Bad "
           "Request\",\"status\":400,\"reason\":\"Usage\",\"detail\":"
           "\"/v1/stats has no parameter \\\"resets\\\"; it has: reset\"}\n");
    assert_int_equal(http1_ask_unix(&a, f.path, &wrong, 0, NULL), 0);
    assert_int_equal(a.status, 405);
    assert_non_null(strstr(buf_cstr(&a.body), "this path does not answer this method"));
    assert_int_equal(admin_fake_stop(&f), 0);
}

static void test_where_it_cannot_listen(void **state)
{
    static const struct admin_source source = {0};
    struct admin *admin = NULL;
    struct loop *loop = NULL;
    struct err err;

    (void)state;
    assert_int_equal(loop_new(&loop, NULL), 0);
    assert_int_equal(admin_new(&admin, loop, "/nowhere/admin.sock", NULL, &source, &err), -1);
    assert_string_equal(err.msg, "admin API: bind /nowhere/admin.sock: No such file or directory");
    assert_null(admin);
    admin_free(NULL);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_and_readiness),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_log_level),
        cmocka_unit_test(test_guests),
        cmocka_unit_test(test_what_is_not_there),
        cmocka_unit_test(test_longest_target),
        cmocka_unit_test(test_stats_and_their_reset),
        cmocka_unit_test(test_what_a_route_does_not_know),
        cmocka_unit_test(test_where_it_cannot_listen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
