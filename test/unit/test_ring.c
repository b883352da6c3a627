/* The ring operator, compiled natively: what it decides, and what it then does against a fake host.
 */
#include "roost_fake.h"

/* NOLINTBEGIN(bugprone-suspicious-include): static functions are tested too */
#include "roost.c"
#include "roost_json.c"

#include "../../examples/operators/ring/main.c"
/* NOLINTEND(bugprone-suspicious-include) */

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HERE   "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"nonce\":5,\"updated_at\":\"now \\u00e9\"}}"
#define TARGET "kube:/apis/amurant.io/v1/namespaces/out/testresources"

static struct ring_object parsed(const char *text)
{
    struct ring_object o = {0};

    assert_int_equal(ring_parse(text, strlen(text), &o), 0);
    return o;
}

/* An event about HERE; answers[0] is the GET's. */
static void begin(const char *ours, int status, const char *there)
{
    fake_reset();
    fake_attr(0, "name", "a");
    fake_attr(1, "namespace", "in");
    fake.event_body = ours;
    fake.answers[0] = (struct fake_answer){status, NULL, there, 5, 0};
    in_namespace = "in";
    out_namespace = "out";
}

/* --- decisions --- */

static void test_parse(void **state)
{
    struct ring_object o = parsed(HERE);

    (void)state;
    assert_true(o.has_nonce);
    assert_int_equal(o.nonce, 5);
    assert_memory_equal(o.updated_at.at, "\"now \\u00e9\"", o.updated_at.len);
    o = parsed("{\"spec\":{}}");
    assert_false(o.has_nonce);
    assert_int_equal(o.updated_at.type, ROOST_JSON_NONE);
    assert_false(parsed("{}").has_nonce);
    assert_int_equal(ring_parse("{\"spec\":{\"nonce\":\"5\"}}", 22, &o), ROOST_EINVAL);
    assert_int_equal(ring_parse("{\"spec\":{\"nonce\":5", 18, &o), ROOST_EINVAL);
    assert_int_equal(ring_parse("{\"spec\":{\"nonce\":5,x", 20, &o), ROOST_EINVAL);
}

static void test_what_a_get_leads_to(void **state)
{
    struct ring_object here = parsed(HERE), lower = here, higher = here, none = here;

    (void)state;
    lower.nonce--;
    higher.nonce++;
    none.has_nonce = false;
    assert_int_equal(ring_after_get(404, &here, &none), RING_CREATE);
    assert_int_equal(ring_after_get(200, &here, &lower), RING_UPDATE);
    assert_int_equal(ring_after_get(200, &here, &none), RING_UPDATE);
    assert_int_equal(ring_after_get(200, &here, &here), RING_DONE);
    assert_int_equal(ring_after_get(200, &here, &higher), RING_DONE);
    assert_int_equal(ring_after_get(403, &here, &lower), RING_LATER);
    assert_int_equal(ring_after_get(502, &here, &lower), RING_LATER);
    assert_int_equal(ring_after_get(ROOST_EIO, &here, &lower), RING_LATER);
}

static void test_what_a_write_leads_to(void **state)
{
    (void)state;
    assert_int_equal(ring_after_write(200), RING_DONE);
    assert_int_equal(ring_after_write(201), RING_DONE);
    assert_int_equal(ring_after_write(409), RING_REREAD);
    assert_int_equal(ring_after_write(404), RING_LATER);
    assert_int_equal(ring_after_write(500), RING_LATER);
    assert_int_equal(ring_after_write(ROOST_EINVAL), RING_LATER);
}

static void test_changed_copy_keeps_all_else(void **state)
{
    static const char there[] = " {\"metadata\":{\"resourceVersion\":\"9\",\"x\":1.10},\"spec\":{"
                                "\"nonce\":1},\"status\":{}} ";
    struct ring_object here = parsed(HERE);
    char room[256];
    struct roost_buf b = ROOST_BUF_FIXED(room);

    (void)state;
    assert_int_equal(ring_changed_copy(&b, &here, there, sizeof(there) - 1), 0);
    assert_string_equal(
        room, " {\"metadata\":{\"resourceVersion\":\"9\",\"x\":1.10},\"spec\":{\"nonce\":5,"
              "\"updated_at\":\"now \\u00e9\"},\"status\":{}} ");
    roost_buf_clear(&b);
    assert_int_equal(ring_changed_copy(&b, &here, "{\"a\":1}", 7), 0);
    assert_string_equal(room, "{\"spec\":{\"nonce\":5,\"updated_at\":\"now \\u00e9\"},\"a\":1}");
    assert_int_equal(ring_changed_copy(&b, &here, "[]", 2), ROOST_EINVAL);
    assert_int_equal(ring_changed_copy(&b, &here, "{\"spec\":", 8), ROOST_EINVAL);
}

/* --- what it does --- */

static void test_missing_copy_is_created(void **state)
{
    (void)state;
    begin(HERE, 404, "{}");
    fake.answers[1].status = 201;
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 2);
    assert_string_equal(fake.calls[0].method, "GET");
    assert_string_equal(fake.calls[0].target, TARGET "/a");
    assert_string_equal(fake.calls[1].method, "POST");
    assert_string_equal(fake.calls[1].target, TARGET);
    assert_string_equal(fake.calls[1].body,
                        "{\"apiVersion\":\"amurant.io/v1\",\"kind\":\"TestResource\",\"metadata\":{"
                        "\"name\":\"a\"},\"spec\":{\"nonce\":5,\"updated_at\":\"now \\u00e9\"}}");
    assert_string_equal(fake.requeue_after, "");
    assert_int_equal(fake.open, 0);
}

static void test_lower_copy_is_updated(void **state)
{
    (void)state;
    begin(HERE, 200, "{\"metadata\":{\"resourceVersion\":\"9\"},\"spec\":{\"nonce\":4}}");
    fake.answers[1].status = 200;
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 2);
    assert_string_equal(fake.calls[1].method, "PUT");
    assert_string_equal(fake.calls[1].target, TARGET "/a");
    assert_string_equal(fake.calls[1].body, "{\"metadata\":{\"resourceVersion\":\"9\"},\"spec\":{"
                                            "\"nonce\":5,\"updated_at\":\"now \\u00e9\"}}");
}

static void test_equal_copy_is_left_alone(void **state)
{
    (void)state;
    begin(HERE, 200, "{\"spec\":{\"nonce\":5}}");
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 1);
    assert_string_equal(fake.requeue_after, "");
}

static void test_conflict_is_looked_at_anew(void **state)
{
    (void)state;
    begin(HERE, 200, "{\"spec\":{\"nonce\":3}}");
    fake.answers[1].status = 409;
    fake.answers[2] = (struct fake_answer){200, NULL, "{\"spec\":{\"nonce\":6}}", 0, 0};
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 3);
    assert_string_equal(fake.requeue_after, "");
}

static void test_endless_conflict_is_left_for_later(void **state)
{
    (void)state;
    begin(HERE, 200, "{\"spec\":{\"nonce\":3}}");
    for (int i = 0; i < 2 * RING_READS_MAX; i++)
        fake.answers[i] = i % 2 ? (struct fake_answer){409, NULL, NULL, 0, 0} : fake.answers[0];
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 2 * RING_READS_MAX);
    assert_string_equal(fake.requeue_after, "1000");
}

static void test_failures_come_again_after_a_second(void **state)
{
    (void)state;
    begin(HERE, 502, "{}");
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 1);
    assert_string_equal(fake.requeue_after, "1000");
    begin(HERE, 404, "{}");
    fake.answers[1].status = 403;
    assert_int_equal(roost_handle(), 0);
    assert_string_equal(fake.requeue_after, "1000");
    begin(HERE, 200, "{\"spec\":{\"nonce\":");
    assert_int_equal(roost_handle(), 0);
    assert_string_equal(fake.requeue_after, "1000");
    assert_int_equal(fake.ncalls, 1);
    assert_int_equal(fake.log_level, ROOST_WARN);
}

static void test_objects_that_are_not_ours(void **state)
{
    (void)state;
    begin("", 200, "{}"); /* gone */
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 0);
    begin(HERE, 200, "{}");
    fake_attr(1, "namespace", "elsewhere");
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 0);
    begin("{\"spec\":{}}", 200, "{}"); /* nothing to carry */
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 0);
}

static void test_events_that_cannot_be_handled(void **state)
{
    (void)state;
    begin("{\"spec\":{\"nonce\":\"x\"}}", 200, "{}");
    assert_int_equal(roost_handle(), 1);
    assert_string_equal(fake.error, "the object's nonce is no integer");
    begin(HERE, 200, "{}");
    out_namespace = NULL;
    assert_int_equal(roost_handle(), 1);
    assert_string_equal(fake.error, "OUT_NAMESPACE is not set");
    begin(HERE, 200, "{}");
    out_namespace = "../x";
    assert_int_equal(roost_handle(), 1);
    begin(HERE, 200, "{}");
    fake_attr(1, "other", "in");
    assert_int_equal(roost_handle(), 1);
    assert_int_equal(fake.ncalls, 0);
}

static int release(void **state)
{
    (void)state;
    roost_buf_free(&object);
    roost_buf_free(&copy);
    roost_buf_free(&body);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_what_a_get_leads_to),
        cmocka_unit_test(test_what_a_write_leads_to),
        cmocka_unit_test(test_changed_copy_keeps_all_else),
        cmocka_unit_test(test_missing_copy_is_created),
        cmocka_unit_test(test_lower_copy_is_updated),
        cmocka_unit_test(test_equal_copy_is_left_alone),
        cmocka_unit_test(test_conflict_is_looked_at_anew),
        cmocka_unit_test(test_endless_conflict_is_left_for_later),
        cmocka_unit_test(test_failures_come_again_after_a_second),
        cmocka_unit_test(test_objects_that_are_not_ours),
        cmocka_unit_test(test_events_that_cannot_be_handled),
    };

    return cmocka_run_group_tests(tests, NULL, release);
}
