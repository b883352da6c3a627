/* serve/admin_route: which row a request finds, and what its query says. */
#include "serve/admin_route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void answer(struct admin *a, const struct admin_call *call)
{
    (void)a;
    (void)call;
}

static const struct admin_route routes[] = {
    {HTTP1_GET, "/things", answer, .query = "limit watch name"},
    {HTTP1_GET, "/things/{space}/{name}", answer, .query = NULL},
    {HTTP1_DELETE, "/things/{space}/{name}", answer, .query = NULL},
    {HTTP1_POST, "/things/{space}/{name}/wake", answer, .body_max = 1},
    {HTTP1_HEAD, "/files/{digest}", answer, .query = NULL},
    {HTTP1_PUT, "/files/{digest}", answer, .query = NULL},
};

struct asked {
    struct http1_request req;
    struct http1_response res;
    struct admin_call call;
    const struct admin_route *found;
};

static void ask(struct asked *q, enum http1_method method, const char *target)
{
    char text[HTTP1_TARGET_MAX + 64];

    buf_free(&q->res.body);
    memset(q, 0, sizeof(*q));
    snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", http1_method_name(method),
             target);
    assert_true(http1_read_request((const uint8_t *)text, strlen(text), &q->req) > 0);
    q->found =
        admin_route_find(routes, sizeof(routes) / sizeof(routes[0]), &q->req, &q->call, &q->res);
    q->call.res = &q->res;
}

static void test_rows_are_found(void **state)
{
    struct asked q = {0};

    (void)state;
    ask(&q, HTTP1_GET, "/things");
    assert_ptr_equal(q.found, &routes[0]);
    assert_null(q.call.param[0]);
    ask(&q, HTTP1_HEAD, "/things/a/b");
    assert_ptr_equal(q.found, &routes[1]);
    assert_string_equal(q.call.param[0], "a");
    assert_string_equal(q.call.param[1], "b");
    assert_null(q.call.param[2]);
    ask(&q, HTTP1_DELETE, "/things/a/b");
    assert_ptr_equal(q.found, &routes[2]);
    ask(&q, HTTP1_POST, "/things/a/%62/wake");
    assert_ptr_equal(q.found, &routes[3]);
    assert_string_equal(q.call.param[1], "%62");
    ask(&q, HTTP1_HEAD, "/files/sha256:00");
    assert_ptr_equal(q.found, &routes[4]);
    assert_string_equal(q.call.param[0], "sha256:00");
}

static void test_no_row(void **state)
{
    static const char *const nothing[] = {
        "/",           "/thing",       "/thingss",        "/things/", "/things/a",     "/things/a/",
        "/things//b",  "/things/a/b/", "/things/a/b/wak", "//things", "/things/a/b/c", "/files/",
        "/{things}/a", "/files/a/b"};
    static const struct {
        enum http1_method method;
        const char *target, *allow;
    } wrong[] = {
        {HTTP1_POST, "/things", "GET, HEAD"},
        {HTTP1_PUT, "/things/a/b", "GET, HEAD, DELETE"},
        {HTTP1_GET, "/things/a/b/wake", "POST"},
        {HTTP1_GET, "/files/a", "HEAD, PUT"},
    };
    struct asked q = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
        ask(&q, HTTP1_GET, nothing[i]);
        if (q.found || q.res.status != 404)
            fail_msg("%s: %d", nothing[i], q.res.status);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ask(&q, wrong[i].method, wrong[i].target);
        assert_null(q.found);
        assert_int_equal(q.res.status, 405);
        assert_string_equal(q.res.allow, wrong[i].allow);
    }
    buf_free(&q.res.body);
}

static void test_parameters(void **state)
{
    struct asked q = {0};
    uint64_t n = 7;
    char out[8];

    (void)state;
    ask(&q, HTTP1_GET, "/things?&limit=12&&watch&name=a%2fb+%C3%A9");
    assert_non_null(q.found);
    assert_int_equal(admin_query(&q.call, "name", out, sizeof(out)), 1);
    assert_string_equal(out, "a/b \xc3\xa9");
    assert_int_equal(admin_query_number(&q.call, "limit", 12, &n), 1);
    assert_int_equal(n, 12);
    assert_int_equal(admin_query_flag(&q.call, "watch"), 1);
    assert_int_equal(admin_query_flag(&q.call, "wat"), 0);
    assert_int_equal(admin_query_number(&q.call, "limi", 12, &n), 0);
    assert_int_equal(n, 12);
    assert_int_equal(q.res.status, 0);
    assert_int_equal(admin_query_number(&q.call, "limit", 11, &n), -1);
    assert_int_equal(q.res.status, 400);
    assert_non_null(strstr(buf_cstr(&q.res.body), "limit: must be a whole number up to 11"));
    assert_int_equal(admin_query(&q.call, "name", out, 6), -1); /* no room for the NUL */
    assert_string_equal(out, "");
    buf_free(&q.res.body);
}

static void test_malformed_parameters(void **state)
{
    static const char *const values[] = {"%",   "%2",  "%g0", "%0g", "%00", "%0a",
                                         "%c3", "%7f", "-1",  "1x",  "",    "12345678901234567890"};
    struct asked q = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char target[64];
        uint64_t n = 7;

        snprintf(target, sizeof(target), "/things?limit=%s", values[i]);
        ask(&q, HTTP1_GET, target);
        assert_non_null(q.found);
        assert_int_equal(admin_query_number(&q.call, "limit", UINT32_MAX, &n), -1);
        assert_int_equal(n, 7);
        assert_int_equal(q.res.status, 400);
    }
    ask(&q, HTTP1_GET, "/things?watch=yes");
    assert_int_equal(admin_query_flag(&q.call, "watch"), -1);
    assert_int_equal(q.res.status, 400);
    ask(&q, HTTP1_GET, "/things?Limit=1");
    assert_null(q.found);
    assert_int_equal(q.res.status, 400);
    assert_non_null(strstr(buf_cstr(&q.res.body),
                           "/things has no parameter \\\"Limit\\\"; it has: limit watch name"));
    ask(&q, HTTP1_DELETE, "/things/a/b?x");
    assert_null(q.found);
    assert_non_null(strstr(buf_cstr(&q.res.body), "it has: none"));
    buf_free(&q.res.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_found),
        cmocka_unit_test(test_no_row),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_malformed_parameters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
