/* Access reviews: what is asked, and what each answer means. */
#include "fake_kube.h"

#include "kube/review.h"

#include <jansson.h>
#include <stdio.h>

struct result {
    int calls;
    bool allowed;
    char reason[200];
    struct err err;
};

static void done(void *ctx, bool allowed, const char *reason, const struct err *err)
{
    struct result *r = ctx;

    r->calls++;
    r->allowed = allowed;
    snprintf(r->reason, sizeof(r->reason), "%s", reason);
    if (err)
        r->err = *err;
}

static const char *const groups[] = {"system:serviceaccounts", "system:authenticated", NULL};
static const struct review_question question = {
    .user = "system:serviceaccount:ns:ring",
    .groups = groups,
    .verb = "list",
    .group = "amurant.io",
    .resource = "testresources",
    .namespace_ = "ring-0",
};

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

static struct kube_stream *start(struct result *r, const struct review_question *q)
{
    struct kube_http http = fake_http(&fake);
    struct review *review;
    struct err err;

    *r = (struct result){0};
    assert_int_equal(review_start(&review, &http, q, done, r, &err), 0);
    assert_int_equal(r->calls, 0);
    return fake_last(&fake);
}

static void ask(struct result *r, int status, const char *body)
{
    fake_answer(start(r, &question), status, "", body);
    assert_int_equal(r->calls, 1);
}

static void test_what_is_asked(void **state)
{
    struct review_question q = question;
    struct kube_stream *s;
    json_t *body, *want;
    struct result r;

    (void)state;
    s = start(&r, &question);
    assert_string_equal(s->method, "POST");
    assert_string_equal(s->path, "/apis/authorization.k8s.io/v1/subjectaccessreviews");
    body = json_loads(s->body, 0, NULL);
    want = json_pack("{s:s, s:s, s:{s:s, s:[s, s], s:{s:s, s:s, s:s, s:s}}}", "apiVersion",
                     "authorization.k8s.io/v1", "kind", "SubjectAccessReview", "spec", "user",
                     question.user, "groups", groups[0], groups[1], "resourceAttributes", "verb",
                     "list", "group", "amurant.io", "resource", "testresources", "namespace",
                     "ring-0");
    assert_non_null(want);
    assert_true(json_equal(body, want));
    json_decref(body);
    json_decref(want);
    fake_answer(s, 201, "", "{\"status\":{\"allowed\":true}}");
    q.user = "a \"quoted\" back\\slash \xc3\xa4";
    s = start(&r, &q);
    body = json_loads(s->body, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json_object_get(body, "spec"), "user")),
                        q.user);
    json_decref(body);
    fake_answer(s, 201, "", "{\"status\":{\"allowed\":true}}");
    q.groups = NULL;
    s = start(&r, &q);
    assert_non_null(strstr(s->body, "\"groups\":[]"));
    fake_break(s);
}

static void test_answers(void **state)
{
    struct result r;

    (void)state;
    ask(&r, 201, "{\"status\":{\"allowed\":true,\"reason\":\"RBAC: allowed by x\"}}");
    assert_true(r.allowed);
    assert_string_equal(r.reason, "RBAC: allowed by x");
    ask(&r, 201, "{\"status\":{\"allowed\":false}}");
    assert_false(r.allowed);
    assert_int_equal(r.err.code, ERR_NONE);
    assert_string_equal(r.reason, "");
    ask(&r, 201, "{\"status\":{\"allowed\":true,\"denied\":true}}");
    assert_false(r.allowed);
    ask(&r, 201, "{\"status\":{\"allowed\":false,\"evaluationError\":\"role x not found\"}}");
    assert_false(r.allowed);
    assert_int_equal(r.err.code, ERR_NONE);
    assert_string_equal(r.reason, "role x not found");
    ask(&r, 201,
        "{\"kind\":\"x\",\"status\":{\"other\":[1,{}],\"allowed\":true,\"denied\":false}}");
    assert_true(r.allowed);
    ask(&r, 201, "{\"status\":{\"allowed\":true}} and more");
    assert_int_equal(r.err.code, ERR_INVALID);
    ask(&r, 201, "{\"status\":{\"allowed\":true");
    assert_int_equal(r.err.code, ERR_INVALID);
    ask(&r, 201, "{\"status\":[true]}");
    assert_int_equal(r.err.code, ERR_INVALID);
}

static void test_no_answer_is_no_verdict(void **state)
{
    struct result r;

    (void)state;
    ask(&r, 403, "{\"kind\":\"Status\",\"message\":\"cannot create subjectaccessreviews\"}");
    assert_false(r.allowed);
    assert_int_equal(r.err.code, ERR_DENIED);
    ask(&r, 500, "");
    assert_int_equal(r.err.code, ERR_AGAIN);
    ask(&r, 201, "{\"status\":{}}");
    assert_int_equal(r.err.code, ERR_INVALID);
    ask(&r, 201, "{\"status\":{\"allowed\":\"true\"}}");
    assert_int_equal(r.err.code, ERR_INVALID);
    assert_false(r.allowed);
    ask(&r, 201, "nonsense");
    assert_int_equal(r.err.code, ERR_INVALID);
    fake_break(start(&r, &question));
    assert_int_equal(r.err.code, ERR_NET);
}

static void test_what_cannot_be_sent(void **state)
{
    struct kube_http http = fake_http(&fake);
    struct review_question q = question;
    struct review *review;
    struct result r = {0};
    struct err err = {0};

    (void)state;
    q.user = "\xff";
    assert_int_equal(review_start(&review, &http, &q, done, &r, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    fake.refuse_sends = 1;
    assert_int_equal(review_start(&review, &http, &question, done, &r, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(review_start(&review, &http, &question, done, &r, &err), 0);
    review_cancel(review);
    review_cancel(NULL);
    assert_int_equal(r.calls, 0);
}

#define WITH_FAKE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FAKE(test_what_is_asked),
        WITH_FAKE(test_answers),
        WITH_FAKE(test_no_answer_is_no_verdict),
        WITH_FAKE(test_what_cannot_be_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
