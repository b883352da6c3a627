/* The C SDK (sdk/c), compiled natively against a fake host: buffers, events, calls, targets, JSON.
 */
#include "roost_fake.h"

/* NOLINTBEGIN(bugprone-suspicious-include): static functions are tested too */
#include "roost.c"
#include "roost_json.c"
/* NOLINTEND(bugprone-suspicious-include) */

#include <jansson.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DOC                                                                                        \
    "{\"metadata\":{\"name\":\"a\\u00e9\\ud83d\\ude00\",\"labels\":{\"app.x/"                      \
    "y\":\"1\",\"t~\":true}},"                                                                     \
    " \"spec\" : {\"nonce\": -42, \"list\":[ [], {} , \"x\\n\\\"\\\\\\/\", 1.5e3], "               \
    "\"none\":null},"                                                                              \
    " \"\":{\"\":7},\"e\\u0061\":1,\"z\\u0000\":2}"

/* --- buffers --- */

static void test_fixed_buffer_holds_all_but_the_nul(void **state)
{
    char room[4];
    struct roost_buf b = ROOST_BUF_FIXED(room);

    (void)state;
    assert_int_equal(roost_buf_str(&b, "abc"), 0);
    assert_string_equal(room, "abc");
    assert_int_equal(roost_buf_str(&b, ""), 0);
    assert_int_equal(roost_buf_str(&b, "d"), ROOST_E2BIG);
    assert_int_equal(b.error, ROOST_E2BIG);
    assert_string_equal(room, "abc");
    roost_buf_clear(&b);
    assert_int_equal(b.error, 0);
    assert_string_equal(room, "");
    roost_buf_free(&b); /* the caller's memory stays the caller's */
    assert_ptr_equal(b.data, room);
}

static void test_failed_buffer_stays_failed(void **state)
{
    char room[4];
    struct roost_buf b = ROOST_BUF_FIXED(room);

    (void)state;
    assert_int_equal(roost_buf_str(&b, "abcd"), ROOST_E2BIG);
    assert_int_equal(roost_buf_str(&b, "a"), ROOST_E2BIG);
    assert_int_equal(b.len, 0);
}

static void test_growing_buffer_stops_at_its_maximum(void **state)
{
    struct roost_buf b = ROOST_BUF_GROW(5000);
    char piece[1000];

    (void)state;
    memset(piece, 'x', sizeof(piece));
    for (int i = 0; i < 4; i++)
        assert_int_equal(roost_buf_add(&b, piece, sizeof(piece)), 0);
    assert_int_equal(roost_buf_add(&b, piece, 999), 0);
    assert_int_equal(b.cap, 5000);
    assert_int_equal(roost_buf_add(&b, "y", 1), ROOST_E2BIG);
    assert_int_equal(b.len, 4999);
    assert_int_equal(strlen(b.data), 4999);
    roost_buf_free(&b);
    assert_null(b.data);
    assert_int_equal(roost_buf_str(&b, "again"), 0);
    roost_buf_free(&b);
}

static void test_huge_addition_is_refused(void **state)
{
    struct roost_buf b = ROOST_BUF_GROW(100);

    (void)state;
    assert_int_equal(roost_buf_reserve(&b, SIZE_MAX), ROOST_E2BIG);
    assert_null(b.data);
}

static void test_numbers(void **state)
{
    char room[128];
    struct roost_buf b = ROOST_BUF_FIXED(room);

    (void)state;
    roost_buf_uint(&b, 0);
    roost_buf_str(&b, " ");
    roost_buf_uint(&b, UINT64_MAX);
    roost_buf_str(&b, " ");
    roost_buf_int(&b, INT64_MIN);
    roost_buf_str(&b, " ");
    roost_buf_int(&b, 7);
    roost_buf_str(&b, " ");
    roost_buf_hex(&b, 0xabc);
    assert_int_equal(b.error, 0);
    assert_string_equal(room, "0 18446744073709551615 -9223372036854775808 7 0000000000000abc");
    assert_string_equal(ROOST_DEC(-5), "-5");
}

static void test_json_escape_reads_back(void **state)
{
    static const char text[] = "q\" b\\ n\n t\t r\r f\f b\b \x01\x1f \x7f \xc3\xa9 /";
    char room[256], back[64];
    struct roost_buf b = ROOST_BUF_FIXED(room);
    json_t *oracle = NULL;

    (void)state;
    assert_int_equal(roost_buf_json(&b, text, sizeof(text) - 1), 0);
    assert_non_null(strstr(room, "\\u0001\\u001f"));
    oracle = json_loads(room, JSON_DECODE_ANY, NULL);
    assert_string_equal(json_string_value(oracle), text);
    json_decref(oracle);
    assert_int_equal(roost_json_get_string(room, b.len, "", back, sizeof(back)), sizeof(text) - 1);
    assert_string_equal(back, text);
}

static void test_json_escape_of_nul_and_of_nothing(void **state)
{
    char room[16];
    struct roost_buf b = ROOST_BUF_FIXED(room);

    (void)state;
    roost_buf_json(&b, "a\0b", 3);
    assert_string_equal(room, "\"a\\u0000b\"");
    roost_buf_clear(&b);
    roost_buf_json(&b, NULL, 0);
    assert_string_equal(room, "\"\"");
}

/* --- the event, the log --- */

static void test_event_attributes(void **state)
{
    char room[6];

    (void)state;
    fake_reset();
    fake_attr(0, "key", "ns/a");
    fake_attr(1, "name", "abcde");
    fake_attr(2, "uid", "abcdef");
    assert_int_equal(roost_event("key", room, sizeof(room)), 4);
    assert_string_equal(room, "ns/a");
    assert_int_equal(roost_event("name", room, sizeof(room)), 5);
    assert_string_equal(room, "abcde");
    assert_int_equal(roost_event("uid", room, sizeof(room)), ROOST_E2BIG);
    assert_string_equal(room, "");
    assert_int_equal(roost_event("none", room, sizeof(room)), ROOST_ENOENT);
    assert_string_equal(room, "");
    assert_int_equal(roost_event("key", room, 0), ROOST_E2BIG);
}

static void test_event_body_in_pieces(void **state)
{
    struct roost_buf b = ROOST_BUF_GROW(100);
    char room[11];
    struct roost_buf exact = ROOST_BUF_FIXED(room), small = {room, 0, 10, 0, 0};

    (void)state;
    fake_reset();
    fake.event_body = "0123456789";
    fake.event_chunk = 3;
    assert_int_equal(roost_event_body(&b), 10);
    assert_string_equal(b.data, "0123456789");
    assert_int_equal(roost_event_body(&b), 0); /* it was read */
    roost_buf_free(&b);
    fake.event_read = 0;
    assert_int_equal(roost_event_body(&exact), 10);
    assert_string_equal(room, "0123456789");
    fake.event_read = 0;
    assert_int_equal(roost_event_body(&small), ROOST_E2BIG);
    assert_string_equal(room, "012345678");
}

static void test_empty_event_body(void **state)
{
    struct roost_buf b = ROOST_BUF_GROW(100);

    (void)state;
    fake_reset();
    assert_int_equal(roost_event_body(&b), 0);
    assert_int_equal(b.len, 0);
    roost_buf_free(&b);
}

static void test_answer_of_the_event(void **state)
{
    (void)state;
    fake_reset();
    assert_int_equal(roost_requeue_after_ms(1500), 0);
    assert_string_equal(fake.requeue_after, "1500");
    assert_int_equal(roost_fail("no luck"), 1);
    assert_string_equal(fake.error, "no luck");
}

static void test_log_joins_and_cuts(void **state)
{
    char text[600];

    (void)state;
    fake_reset();
    roost_warn("a ", ROOST_DEC(3), " b");
    assert_string_equal(fake.log, "a 3 b");
    assert_int_equal(fake.log_level, ROOST_WARN);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    roost_error(text, text);
    assert_int_equal(strlen(fake.log), 511);
    roost_log(ROOST_DEBUG, "plain");
    assert_string_equal(fake.log, "plain");
}

/* --- calls --- */

static void test_call_reads_the_whole_answer(void **state)
{
    struct roost_buf b = ROOST_BUF_GROW(100);

    (void)state;
    fake_reset();
    fake.answers[0] = (struct fake_answer){201, NULL, "hello world", 4, 0};
    assert_int_equal(roost_call("POST", "kube:/x", "A: b\n", "data", 4, &b), 201);
    assert_string_equal(b.data, "hello world");
    assert_string_equal(fake.calls[0].method, "POST");
    assert_string_equal(fake.calls[0].target, "kube:/x");
    assert_string_equal(fake.calls[0].headers, "A: b\n");
    assert_string_equal(fake.calls[0].body, "data");
    assert_int_equal(fake.open, 0);
    roost_buf_free(&b);
}

static void test_call_that_breaks_off_is_an_error(void **state)
{
    struct roost_buf b = ROOST_BUF_GROW(100);

    (void)state;
    fake_reset();
    fake.answers[0] = (struct fake_answer){200, NULL, "hello world", 4, 8};
    fake.answers[1] = fake.answers[0];
    assert_int_equal(roost_call("GET", "kube:/x", NULL, NULL, 0, &b), ROOST_EIO);
    assert_string_equal(b.data, "hello wo");
    assert_int_equal(roost_call("GET", "kube:/x", NULL, NULL, 0, NULL), ROOST_EIO);
    assert_int_equal(fake.open, 0);
    roost_buf_free(&b);
}

static void test_call_with_a_body_over_the_buffer(void **state)
{
    char room[5];
    struct roost_buf b = ROOST_BUF_FIXED(room);

    (void)state;
    fake_reset();
    fake.answers[0] = (struct fake_answer){200, NULL, "1234", 0, 0};
    fake.answers[1] = (struct fake_answer){200, NULL, "12345", 0, 0};
    assert_int_equal(roost_call("GET", "kube:/x", NULL, NULL, 0, &b), 200);
    roost_buf_clear(&b);
    assert_int_equal(roost_call("GET", "kube:/x", NULL, NULL, 0, &b), ROOST_E2BIG);
    assert_string_equal(room, "1234");
    assert_int_equal(fake.open, 0);
}

static void test_call_refused_by_the_host(void **state)
{
    (void)state;
    fake_reset();
    fake.ncalls = FAKE_CALLS_MAX;
    assert_int_equal(roost_call("GET", "kube:/x", NULL, NULL, 0, NULL), ROOST_EMFILE);
}

static void test_two_calls_at_once(void **state)
{
    struct roost_buf b = ROOST_BUF_GROW(100);
    char type[32];
    int h[2];

    (void)state;
    fake_reset();
    fake.answers[0] = (struct fake_answer){404, "content-type: text/plain", "", 0, 0};
    fake.answers[1] = (struct fake_answer){200, NULL, "x", 0, 0};
    h[0] = roost_call_start("GET", "kube:/a", NULL, NULL, 0);
    h[1] = roost_call_start("GET", "kube:/b", NULL, NULL, 0);
    assert_int_equal(roost_wait(h, 2, -1), 0);
    assert_int_equal(roost_header(h[0], "content-type", type, sizeof(type)), 10);
    assert_string_equal(type, "text/plain");
    assert_int_equal(roost_header(h[0], "etag", type, sizeof(type)), ROOST_ENOENT);
    assert_int_equal(roost_call_finish(h[1], &b), 200);
    assert_int_equal(roost_call_finish(h[0], NULL), 404);
    assert_int_equal(roost_call_finish(h[0], NULL), ROOST_EBADF);
    roost_buf_free(&b);
}

static void test_odd_statuses_are_refused(void **state)
{
    (void)state;
    fake_reset();
    fake.answers[0].status = 20;
    fake.answers[1].status = 2000;
    fake.answers[2].status = -20;
    assert_int_equal(roost_call("GET", "kube:/a", NULL, NULL, 0, NULL), ROOST_EINVAL);
    assert_int_equal(roost_call("GET", "kube:/a", NULL, NULL, 0, NULL), ROOST_E2BIG);
    assert_int_equal(roost_call("GET", "kube:/a", NULL, NULL, 0, NULL), ROOST_EINVAL);
    assert_int_equal(fake.open, 0);
}

/* --- Kubernetes --- */

static void test_targets(void **state)
{
    char t[ROOST_TARGET_SIZE];

    (void)state;
    assert_int_equal(roost_kube_target(t, sizeof(t), "amurant.io/v1", "ns", "testresources", "a"),
                     54);
    assert_string_equal(t, "kube:/apis/amurant.io/v1/namespaces/ns/testresources/a");
    roost_kube_target(t, sizeof(t), "v1", "", "nodes", "n1");
    assert_string_equal(t, "kube:/api/v1/nodes/n1");
    roost_kube_target(t, sizeof(t), "rbac.authorization.k8s.io/v1", NULL, "clusterroles",
                      "system:node");
    assert_string_equal(t, "kube:/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node");
    roost_kube_target(t, sizeof(t), "v1", "ns", "configmaps", NULL);
    assert_string_equal(t, "kube:/api/v1/namespaces/ns/configmaps");
}

static void test_targets_that_are_none(void **state)
{
    static const char *const bad[] = {"a/b",  "..",  ".",        "a?b", "a#",
                                      "a%2f", "a b", "\xc3\xa9", "a\n"};
    char t[ROOST_TARGET_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(roost_kube_target(t, sizeof(t), "v1", "ns", "pods", bad[i]), ROOST_EINVAL);
        assert_string_equal(t, "");
        assert_int_equal(roost_kube_target(t, sizeof(t), "v1", bad[i], "pods", "a"), ROOST_EINVAL);
        assert_int_equal(roost_kube_target(t, sizeof(t), "v1", "ns", bad[i], "a"), ROOST_EINVAL);
    }
    assert_int_equal(roost_kube_target(t, sizeof(t), "", "ns", "pods", "a"), ROOST_EINVAL);
    assert_int_equal(roost_kube_target(t, sizeof(t), "a/b/c", "ns", "pods", "a"), ROOST_EINVAL);
    assert_int_equal(roost_kube_target(t, sizeof(t), "/v1", "ns", "pods", "a"), ROOST_EINVAL);
    assert_int_equal(roost_kube_target(t, sizeof(t), "v1", "ns", "", "a"), ROOST_EINVAL);
    assert_int_equal(roost_kube_target(t, 10, "v1", "ns", "pods", "a"), ROOST_E2BIG);
    assert_string_equal(t, "");
    assert_int_equal(roost_kube_target(t, 0, "v1", "ns", "pods", "a"), ROOST_E2BIG);
}

static void test_kube_verbs(void **state)
{
    static const char *const expected[][2] = {
        {"GET", NULL},
        {"POST", "Content-Type: application/json\n"},
        {"PUT", "Content-Type: application/json\n"},
        {"PATCH", "Content-Type: application/merge-patch+json\n"},
        {"PATCH", "Content-Type: application/apply-patch+yaml\n"},
        {"DELETE", NULL}};

    (void)state;
    fake_reset();
    for (int i = 0; i < 6; i++)
        fake.answers[i].status = 200 + i;
    assert_int_equal(roost_kube_get("kube:/x", NULL), 200);
    assert_int_equal(roost_kube_create("kube:/x", "{}", 2, NULL), 201);
    assert_int_equal(roost_kube_update("kube:/x", "{}", 2, NULL), 202);
    assert_int_equal(roost_kube_patch("kube:/x", "{}", 2, NULL), 203);
    assert_int_equal(roost_kube_apply("kube:/x", "{}", 2, NULL), 204);
    assert_int_equal(roost_kube_delete("kube:/x", NULL), 205);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(fake.calls[i].method, expected[i][0]);
        assert_non_null(strstr(fake.calls[i].headers, "Accept: application/json\n"));
        if (expected[i][1])
            assert_non_null(strstr(fake.calls[i].headers, expected[i][1]));
        else
            assert_null(strstr(fake.calls[i].headers, "Content-Type"));
    }
}

/* --- JSON --- */

/* Over a copy of exactly its size, so that a sanitizer sees a byte read past it. */
static int get(const char *text, const char *pointer, struct roost_json *out)
{
    static char *copy;
    size_t len = strlen(text);

    free(copy);
    copy = malloc(len + !len);
    assert_non_null(copy);
    memcpy(copy, text, len);
    return roost_json_get(copy, len, pointer, out);
}

static void test_pointers_find_values(void **state)
{
    static const struct {
        const char *pointer, *raw;
    } found[] = {{"/metadata/labels/app.x~1y", "\"1\""},
                 {"/metadata/labels/t~0", "true"},
                 {"/spec/nonce", "-42"},
                 {"/spec/list/0", "[]"},
                 {"/spec/list/1", "{}"},
                 {"/spec/list/3", "1.5e3"},
                 {"/spec/none", "null"},
                 {"//", "7"},
                 {"/ea", "1"}};
    struct roost_json v;

    (void)state;
    for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++) {
        assert_int_equal(get(DOC, found[i].pointer, &v), 0);
        assert_int_equal(v.len, strlen(found[i].raw));
        assert_memory_equal(v.at, found[i].raw, v.len);
    }
    assert_int_equal(get(" 7 ", "", &v), 0);
    assert_int_equal(v.len, 1);
}

static void test_pointers_that_find_nothing(void **state)
{
    static const char *const missing[] = {
        "/x",           "/spec/list/4",  "/spec/list/-",   "/spec/list/00",
        "/spec/list/x", "/spec/nonce/a", "/spec/none/0",   "/z",
        "/spec/list/",  "/metadata/",    "/spec/list/0/0", "/spec/list/99999999999999999999"};
    struct roost_json v;

    (void)state;
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        assert_int_equal(get(DOC, missing[i], &v), ROOST_ENOENT);
        assert_int_equal(v.type, ROOST_JSON_NONE);
    }
    assert_int_equal(get(DOC, "spec", &v), ROOST_EINVAL);
    assert_int_equal(get(DOC, "/a~2", &v), ROOST_EINVAL);
    assert_int_equal(get(DOC, "/a~", &v), ROOST_EINVAL);
    assert_int_equal(roost_json_get(NULL, 0, "/a", &v), ROOST_EINVAL);
}

static void test_strings_are_decoded(void **state)
{
    char room[64];

    (void)state;
    assert_int_equal(roost_json_get_string(DOC, sizeof(DOC) - 1, "/metadata/name", room, 64), 7);
    assert_string_equal(room, "a\xc3\xa9\xf0\x9f\x98\x80");
    assert_int_equal(roost_json_get_string(DOC, sizeof(DOC) - 1, "/spec/list/2", room, 64), 5);
    assert_string_equal(room, "x\n\"\\/");
    assert_int_equal(roost_json_get_string(DOC, sizeof(DOC) - 1, "/metadata/name", room, 8), 7);
    assert_int_equal(roost_json_get_string(DOC, sizeof(DOC) - 1, "/metadata/name", room, 7),
                     ROOST_E2BIG);
    assert_string_equal(room, "");
    assert_int_equal(roost_json_get_string("\"\"", 2, "", room, 1), 0);
    assert_int_equal(roost_json_get_string("\"\"", 2, "", room, 0), ROOST_E2BIG);
    assert_int_equal(roost_json_get_string("7", 1, "", room, 64), ROOST_EINVAL);
    assert_int_equal(roost_json_get_string("{}", 2, "/a", room, 64), ROOST_ENOENT);
}

static void test_strings_that_c_cannot_hold(void **state)
{
    static const char *const bad[] = {"\"\\u0000\"",         "\"\\ud800\"",        "\"\\ud800x\"",
                                      "\"\\ud800\\n12345\"", "\"\\ud800\\u0041\"", "\"\\udc00\""};
    char room[64];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(roost_json_get_string(bad[i], strlen(bad[i]), "", room, sizeof(room)),
                         ROOST_EINVAL);
}

static void test_integers(void **state)
{
    static const struct {
        const char *text;
        int rc;
        int64_t n;
    } cases[] = {{"0", 0, 0},
                 {"-0", 0, 0},
                 {"9223372036854775807", 0, INT64_MAX},
                 {"-9223372036854775808", 0, INT64_MIN},
                 {"9223372036854775808", ROOST_E2BIG, 0},
                 {"-9223372036854775809", ROOST_E2BIG, 0},
                 {"1.0", ROOST_EINVAL, 0},
                 {"1e3", ROOST_EINVAL, 0},
                 {"01", 0, 0}, /* a 0; what comes after is not looked at */
                 {"-", ROOST_EINVAL, 0},
                 {"+1", ROOST_EINVAL, 0},
                 {"\"1\"", ROOST_EINVAL, 0},
                 {"", ROOST_EINVAL, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t n = 99;

        assert_int_equal(roost_json_get_int(cases[i].text, strlen(cases[i].text), "", &n),
                         cases[i].rc);
        assert_true(n == (cases[i].rc ? 99 : cases[i].n));
    }
}

static void test_booleans(void **state)
{
    struct roost_json v;
    bool b = false;

    (void)state;
    assert_int_equal(get("[true,false,1]", "/0", &v), 0);
    assert_int_equal(roost_json_bool(&v, &b), 0);
    assert_true(b);
    assert_int_equal(get("[true,false,1]", "/1", &v), 0);
    assert_int_equal(roost_json_bool(&v, &b), 0);
    assert_false(b);
    assert_int_equal(get("[true,false,1]", "/2", &v), 0);
    assert_int_equal(roost_json_bool(&v, &b), ROOST_EINVAL);
}

static void test_next_goes_through_members(void **state)
{
    struct roost_json of, key, value;
    size_t it = 0;
    char name[8];
    int64_t n = 0, sum = 0;

    (void)state;
    assert_int_equal(get(" { \"a\" : 1 , \"b\":[2,{}],\"c\":3 } ", "", &of), 0);
    while (roost_json_next(&of, &it, &key, &value) == 1) {
        assert_int_equal(roost_json_string(&key, name, sizeof(name)), 1);
        if (roost_json_int(&value, &n) == 0)
            sum += n * (name[0] - 'a' + 1);
    }
    assert_int_equal(sum, 10);
    assert_int_equal(roost_json_next(&of, &it, &key, &value), 0);
    assert_int_equal(value.type, ROOST_JSON_NONE);
}

static void test_next_goes_through_elements(void **state)
{
    struct roost_json of, key, value;
    size_t it = 0;
    int n = 0;

    (void)state;
    assert_int_equal(get("[1, [2], {\"a\":3}]", "", &of), 0);
    while (roost_json_next(&of, &it, &key, &value) == 1) {
        assert_int_equal(key.type, ROOST_JSON_NONE);
        n++;
    }
    assert_int_equal(n, 3);
    it = 0;
    assert_int_equal(get("[ ]", "", &of), 0);
    assert_int_equal(roost_json_next(&of, &it, &key, &value), 0);
    assert_int_equal(get("7", "", &of), 0);
    assert_int_equal(roost_json_next(&of, &it, &key, &value), ROOST_EINVAL);
    of = (struct roost_json){ROOST_JSON_NONE, NULL, 0};
    assert_int_equal(roost_json_next(&of, &it, &key, &value), ROOST_EINVAL);
}

static void test_what_is_passed_over_is_checked(void **state)
{
    struct roost_json v;

    (void)state;
    assert_int_equal(get("{\"a\":01,\"b\":2}", "/b", &v), ROOST_EINVAL);
    assert_int_equal(get("{\"a\":[1,],\"b\":2}", "/b", &v), ROOST_EINVAL);
    assert_int_equal(get("{\"a\":\"\t\",\"b\":2}", "/b", &v), ROOST_EINVAL);
    assert_int_equal(get("{\"a\" 1,\"b\":2}", "/b", &v), ROOST_EINVAL);
    assert_int_equal(get("{a:1,\"b\":2}", "/b", &v), ROOST_EINVAL);
    assert_int_equal(get("[1 2]", "/1", &v), ROOST_EINVAL);
    assert_int_equal(get("[1,2", "/3", &v), ROOST_EINVAL);
    assert_int_equal(get("{\"a\":1", "/b", &v), ROOST_EINVAL);
}

static void test_depth_has_a_limit(void **state)
{
    char text[2 * ROOST_JSON_DEPTH_MAX + 3];
    size_t d = ROOST_JSON_DEPTH_MAX;

    (void)state;
    memset(text, '[', d);
    memset(text + d, ']', d);
    assert_int_equal(roost_json_check(text, 2 * d), 0);
    memset(text, '[', d + 1);
    memset(text + d + 1, ']', d + 1);
    assert_int_equal(roost_json_check(text, 2 * d + 2), ROOST_EINVAL);
}

static void test_every_cut_document_is_refused(void **state)
{
    struct roost_json v;
    char text[sizeof(DOC)];

    (void)state;
    for (size_t len = 0; len < sizeof(DOC) - 1; len++) {
        memcpy(text, DOC, len);
        text[len] = '\0';
        assert_int_equal(get(text, "", &v), ROOST_EINVAL);
        (void)get(text, "/spec/list/3", &v);
    }
    assert_int_equal(roost_json_check(DOC, sizeof(DOC) - 1), 0);
    assert_int_equal(roost_json_check(DOC "]", sizeof(DOC)), ROOST_EINVAL);
}

/* What jansson refuses and the SDK's reader takes: numbers and strings that are JSON all the same.
 */
static bool only_jansson(const json_error_t *e)
{
    enum json_error_code code = json_error_code(e);

    return code == json_error_numeric_overflow || code == json_error_null_character ||
           code == json_error_null_byte_in_key || strstr(e->text, "Unicode") != NULL;
}

static void test_agrees_with_jansson_on_mutations(void **state)
{
    static const char bytes[] = "{}[]\",:\\/0123456789.-+eEtrufalsn \n\t\x01";
    static const char seed_doc[] = "{\"a\":[1,-0.5e+3,true,false,null,{\"b\\n\":"
                                   "\"\\u00e9\\ud83d\\ude00\"}],\"c\":{}, \"d\" :[ ] }";
    uint64_t r = 1;
    unsigned agreed = 0;

    (void)state;
    for (int round = 0; round < 40000; round++) {
        char text[sizeof(seed_doc)];
        size_t len = sizeof(seed_doc) - 1;
        json_error_t e;
        json_t *oracle = NULL;
        int rc = 0;

        memcpy(text, seed_doc, sizeof(text));
        for (int i = 0; i < 1 + round % 3; i++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            text[(r >> 33) % len] = bytes[(r >> 20) % (sizeof(bytes) - 1)];
        }
        len -= (r >> 50) % 8 == 0 ? (r >> 53) % len : 0;
        rc = roost_json_check(text, len);
        oracle = json_loadb(text, len, JSON_DECODE_ANY, &e);
        if (oracle)
            assert_int_equal(rc, 0);
        else if (rc == 0)
            assert_true(only_jansson(&e));
        agreed += (rc == 0) == (oracle != NULL);
        json_decref(oracle);
    }
    assert_true(agreed > 39000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed_buffer_holds_all_but_the_nul),
        cmocka_unit_test(test_failed_buffer_stays_failed),
        cmocka_unit_test(test_growing_buffer_stops_at_its_maximum),
        cmocka_unit_test(test_huge_addition_is_refused),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_json_escape_reads_back),
        cmocka_unit_test(test_json_escape_of_nul_and_of_nothing),
        cmocka_unit_test(test_event_attributes),
        cmocka_unit_test(test_event_body_in_pieces),
        cmocka_unit_test(test_empty_event_body),
        cmocka_unit_test(test_answer_of_the_event),
        cmocka_unit_test(test_log_joins_and_cuts),
        cmocka_unit_test(test_call_reads_the_whole_answer),
        cmocka_unit_test(test_call_that_breaks_off_is_an_error),
        cmocka_unit_test(test_call_with_a_body_over_the_buffer),
        cmocka_unit_test(test_call_refused_by_the_host),
        cmocka_unit_test(test_two_calls_at_once),
        cmocka_unit_test(test_odd_statuses_are_refused),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_targets_that_are_none),
        cmocka_unit_test(test_kube_verbs),
        cmocka_unit_test(test_pointers_find_values),
        cmocka_unit_test(test_pointers_that_find_nothing),
        cmocka_unit_test(test_strings_are_decoded),
        cmocka_unit_test(test_strings_that_c_cannot_hold),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_next_goes_through_members),
        cmocka_unit_test(test_next_goes_through_elements),
        cmocka_unit_test(test_what_is_passed_over_is_checked),
        cmocka_unit_test(test_depth_has_a_limit),
        cmocka_unit_test(test_every_cut_document_is_refused),
        cmocka_unit_test(test_agrees_with_jansson_on_mutations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
