/* From apiVersion and kind to a path, and what each failure is told as. */
#include "fake_kube.h"

#include "kube/call.h"
#include "kube/discovery.h"

static const char list[] =
    "{\"kind\":\"APIResourceList\",\"groupVersion\":\"amurant.io/v1\",\"resources\":["
    "{\"name\":\"testresources/status\",\"kind\":\"TestResource\",\"namespaced\":true,"
    "\"verbs\":[\"get\"]},"
    "{\"name\":\"testresources\",\"kind\":\"TestResource\",\"namespaced\":true,"
    "\"verbs\":[\"get\",\"list\",\"watch\"]},"
    "{\"name\":\"others\",\"kind\":\"Other\",\"namespaced\":false,\"verbs\":[\"create\"]},"
    "{\"name\":\"o?d\",\"kind\":\"Odd\",\"namespaced\":false,\"verbs\":[]}]}";

struct result {
    int calls;
    struct kube_resource resource;
    struct err err;
};

static void done(void *ctx, const struct kube_resource *resource, const struct err *err)
{
    struct result *r = ctx;

    r->calls++;
    assert_true((resource == NULL) != (err == NULL));
    if (resource)
        r->resource = *resource;
    if (err)
        r->err = *err;
}

static struct fake_kube fake;

static int set_up(void **state)
{
    (void)state;
    fake_init(&fake);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_free(&fake);
    return 0;
}

static void start(struct result *r, const char *api_version, const char *kind)
{
    struct kube_http http = fake_http(&fake);
    struct discovery *d;
    struct err err;

    *r = (struct result){0};
    assert_int_equal(discovery_start(&d, &http, api_version, kind, done, r, &err), 0);
    assert_int_equal(r->calls, 0);
}

static void test_a_kind_of_a_group(void **state)
{
    struct result r;

    (void)state;
    start(&r, "amurant.io/v1", "TestResource");
    assert_string_equal(fake_last(&fake)->path, "/apis/amurant.io/v1");
    assert_string_equal(fake_last(&fake)->method, "GET");
    fake_answer(fake_last(&fake), 200, "", list);
    assert_int_equal(r.calls, 1);
    assert_string_equal(r.resource.path, "/apis/amurant.io/v1/testresources");
    assert_string_equal(r.resource.group, "amurant.io");
    assert_string_equal(r.resource.version, "v1");
    assert_string_equal(r.resource.resource, "testresources");
    assert_true(r.resource.namespaced);
    assert_true(r.resource.can_watch);
    start(&r, "amurant.io/v1", "Other");
    fake_answer(fake_last(&fake), 200, "", list);
    assert_false(r.resource.namespaced);
    assert_false(r.resource.can_watch);
}

static void test_a_kind_of_the_core_group(void **state)
{
    struct result r;

    (void)state;
    start(&r, "v1", "Pod");
    assert_string_equal(fake_last(&fake)->path, "/api/v1");
    fake_answer(fake_last(&fake), 200, "",
                "{\"resources\":[{\"name\":\"pods\",\"kind\":\"Pod\",\"namespaced\":true,"
                "\"verbs\":[\"list\"]}]}");
    assert_string_equal(r.resource.path, "/api/v1/pods");
    assert_string_equal(r.resource.group, "");
}

static enum err_code failed(const char *kind, int status, const char *body)
{
    struct result r;

    start(&r, "amurant.io/v1", kind);
    fake_answer(fake_last(&fake), status, "", body);
    assert_int_equal(r.calls, 1);
    assert_true(r.err.msg[0]);
    return r.err.code;
}

static void test_what_is_not_there_yet_is_told_apart(void **state)
{
    (void)state;
    assert_int_equal(failed("Missing", 200, list), ERR_NOT_FOUND);
    assert_int_equal(failed("TestResource", 404, "404 page not found\n"), ERR_NOT_FOUND);
    assert_int_equal(failed("TestResource", 403, "{\"kind\":\"Status\",\"message\":\"no\"}"),
                     ERR_DENIED);
    assert_int_equal(failed("TestResource", 503, ""), ERR_AGAIN);
    assert_int_equal(failed("TestResource", 200, "{}"), ERR_INVALID);
    assert_int_equal(failed("TestResource", 200, "["), ERR_INVALID);
    assert_int_equal(failed("Odd", 200, list), ERR_INVALID);
}

static void test_a_broken_connection(void **state)
{
    struct result r;

    (void)state;
    start(&r, "v1", "Pod");
    fake_head(fake_last(&fake), 200, "");
    fake_data(fake_last(&fake), list, 20);
    fake_break(fake_last(&fake));
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.err.code, ERR_NET);
}

static void test_an_answer_over_the_limit(void **state)
{
    struct result r;
    char *half = calloc(1, KUBE_ANSWER_MAX / 2 + 1);

    (void)state;
    assert_non_null(half);
    memset(half, ' ', KUBE_ANSWER_MAX / 2);
    start(&r, "v1", "Pod");
    fake_head(fake_last(&fake), 200, "");
    fake_data(fake_last(&fake), half, KUBE_ANSWER_MAX / 2);
    fake_data(fake_last(&fake), half, KUBE_ANSWER_MAX / 2);
    assert_int_equal(r.calls, 0);
    fake_data(fake_last(&fake), half, 1);
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.err.code, ERR_LIMIT);
    assert_true(fake.streams[0]->cancelled);
    free(half);
}

static void test_names_that_would_leave_their_place(void **state)
{
    static const char *const versions[] = {"",     "/v1",   "a/b/c",  "../v1", "a/..",
                                           "A/v1", "a/v1?", "a b/v1", "a/",    "v1#"};
    struct kube_http http = fake_http(&fake);
    struct discovery *d;
    struct result r;
    char kind[KUBE_NAME_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        struct err err = {0};

        assert_int_equal(discovery_start(&d, &http, versions[i], "Pod", done, &r, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
    }
    memset(kind, 'a', sizeof(kind) - 1);
    kind[sizeof(kind) - 1] = 0;
    assert_int_equal(discovery_start(&d, &http, "v1", kind, done, &r, NULL), -1);
    assert_int_equal(fake.n, 0);
}

static void test_a_cancelled_one_is_silent(void **state)
{
    struct kube_http http = fake_http(&fake);
    struct result r = {0};
    struct discovery *d;
    struct err err;

    (void)state;
    assert_int_equal(discovery_start(&d, &http, "v1", "Pod", done, &r, &err), 0);
    discovery_cancel(d);
    discovery_cancel(NULL);
    assert_true(fake.streams[0]->cancelled);
    assert_int_equal(r.calls, 0);
    fake.refuse_sends = 1;
    assert_int_equal(discovery_start(&d, &http, "v1", "Pod", done, &r, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
}

static void test_what_failed_answers_mean(void **state)
{
    static const struct {
        int status;
        enum err_code code;
    } cases[] = {{400, ERR_INVALID}, {401, ERR_DENIED}, {403, ERR_DENIED},  {404, ERR_NOT_FOUND},
                 {409, ERR_EXISTS},  {410, ERR_GONE},   {422, ERR_INVALID}, {429, ERR_AGAIN},
                 {500, ERR_AGAIN},   {503, ERR_AGAIN},  {302, ERR_INVALID}};
    static const char body[] =
        "{\"kind\":\"Status\",\"message\":\"too\\nold\",\"reason\":\"Expired\"}";
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(kube_answer_err(&err, cases[i].status, NULL, 0), -1);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(err.sys, cases[i].status);
    }
    kube_answer_err(&err, 410, (const uint8_t *)body, sizeof(body) - 1);
    assert_string_equal(err.msg, "too?old (HTTP 410)");
    kube_answer_err(&err, 500, (const uint8_t *)"garbage", 7);
    assert_string_equal(err.msg, "HTTP 500");
}

static uint32_t retry_after(const char *headers)
{
    return kube_retry_after_s(headers, strlen(headers));
}

static void test_retry_after(void **state)
{
    (void)state;
    assert_int_equal(retry_after("date: x\nretry-after: 12\nx: y\n"), 12);
    assert_int_equal(retry_after("Retry-After:7"), 7);
    assert_int_equal(retry_after("x-retry-after: 12\n"), 0);
    assert_int_equal(retry_after("retry-after: Fri, 31 Dec 2026 23:59:59 GMT\n"), 0);
    assert_int_equal(retry_after("retry-after: \n5\n"), 0);
    assert_int_equal(retry_after(""), 0);
    assert_true(retry_after("retry-after: 99999999999999999999\n") >= 100000);
}

#define WITH_FAKE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FAKE(test_a_kind_of_a_group),
        WITH_FAKE(test_a_kind_of_the_core_group),
        WITH_FAKE(test_what_is_not_there_yet_is_told_apart),
        WITH_FAKE(test_a_broken_connection),
        WITH_FAKE(test_an_answer_over_the_limit),
        WITH_FAKE(test_names_that_would_leave_their_place),
        WITH_FAKE(test_a_cancelled_one_is_silent),
        cmocka_unit_test(test_what_failed_answers_mean),
        cmocka_unit_test(test_retry_after),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
