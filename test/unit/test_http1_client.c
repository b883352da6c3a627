/* base/http1_client: bodies in chunks however they are cut, and answers that go on. */
#include "base/http1.h"
#include "support/api_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct taken {
    char text[256];
    size_t len, pieces, stop_after;
};

static bool take(void *ctx, const uint8_t *data, size_t len)
{
    struct taken *t = ctx;

    assert_true(t->len + len < sizeof(t->text));
    memcpy(t->text + t->len, data, len);
    t->len += len;
    t->pieces++;
    return !t->stop_after || t->pieces < t->stop_after;
}

static int read_all(const char *text, size_t step, struct taken *t)
{
    struct http1_chunks c = {0};
    int rc = 0;

    *t = (struct taken){.len = 0};
    for (size_t i = 0, n = strlen(text); i < n && rc == 0; i += step)
        rc = http1_read_chunks(&c, (const uint8_t *)text + i, i + step < n ? step : n - i, take, t);
    return rc;
}

static void test_chunks_however_they_are_cut(void **state)
{
    static const char body[] = "5\r\nhello\r\n1a\r\n, abcdefghijklmnopqrstuvwx\r\n0\r\n\r\n";
    struct taken t;

    (void)state;
    for (size_t step = 1; step < sizeof(body); step++) {
        assert_int_equal(read_all(body, step, &t), 1);
        assert_string_equal(t.text, "hello, abcdefghijklmnopqrstuvwx");
    }
}

static void test_chunks_that_are_none(void **state)
{
    static const char *const bad[] = {"\r\n",     "x\r\n",         "5;a=b\r\nhello\r\n",
                                      "5\nhello", "2\r\nabc",      "0\r\nTrailer: x\r\n\r\n",
                                      "-1\r\n",   "123456789\r\n", "1\r\na\r\r\n"};
    struct taken t;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(read_all(bad[i], 1, &t), -1);
        assert_int_equal(read_all(bad[i], 100, &t), -1);
    }
    assert_int_equal(read_all("0\r\n\r\nx", 100, &t), -1);
    assert_int_equal(read_all("3\r\nab", 1, &t), 0); /* cut: more is to come */
    assert_int_equal(read_all("ffffffff\r\n", 1, &t), 0);
}

static void test_an_answer_that_goes_on(void **state)
{
    struct api_fake f = {
        .answers = {{HTTP1_GET, "/s", .body = "{\"a\":1}\n{\"a\":2}\n", .stream = true},
                    {HTTP1_GET, "/plain", .body = "whole"}}};
    struct http1_question q = {.method = HTTP1_GET, .target = "/s"};
    struct taken t = {.len = 0};
    struct http1_answer a;
    struct err err = {0};

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    assert_int_equal(http1_follow_unix(&a, f.path, &q, take, &t, &err), 0);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.content_type, "application/x-ndjson");
    assert_string_equal(t.text, "{\"a\":1}\n{\"a\":2}\n");
    http1_answer_free(&a);
    q.target = "/plain";
    t = (struct taken){.len = 0};
    assert_int_equal(http1_follow_unix(&a, f.path, &q, take, &t, &err), 0);
    assert_string_equal(t.text, "whole");
    http1_answer_free(&a);
    q.target = "/none";
    t = (struct taken){.len = 0};
    assert_int_equal(http1_follow_unix(&a, f.path, &q, take, &t, &err), 0);
    assert_int_equal(a.status, 404);
    assert_int_equal(t.len, 0);
    assert_non_null(strstr(buf_cstr(&a.body), "there is nothing at this path"));
    http1_answer_free(&a);
    assert_int_equal(api_fake_stop(&f), 0);
    buf_free(&f.log);
}

/* Who has heard enough ends it, although the daemon would go on for ever. */
static void test_it_ends_when_nobody_listens(void **state)
{
    struct api_fake f = {
        .answers = {{HTTP1_GET, "/s", .body = "{\"a\":1}\n", .stream = true, .broken = true}}};
    struct http1_question q = {.method = HTTP1_GET, .target = "/s"};
    struct taken t = {.stop_after = 1};
    struct http1_answer a;
    struct err err = {0};

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    assert_int_equal(http1_follow_unix(&a, f.path, &q, take, &t, &err), 0);
    assert_int_equal(t.pieces, 1);
    http1_answer_free(&a);
    assert_int_equal(api_fake_stop(&f), 0);
    buf_free(&f.log);
    assert_int_equal(http1_follow_unix(&a, f.path, &q, take, &t, &err), -1);
    assert_int_equal(err.code, ERR_NET);
}

/* --- bodies that are sent --- */

static void count_progress(void *ctx, size_t done, size_t total)
{
    size_t *seen = ctx;

    assert_true(done > seen[0] && done <= total);
    seen[0] = done;
    seen[1]++;
}

static void test_a_large_body_tells_how_far_it_is(void **state)
{
    struct api_fake f = {.answers = {{HTTP1_PUT, "/m", .body = "{}"}}};
    size_t seen[2] = {0}, len = 2 * MIB + 1;
    char *body = calloc(1, len);
    struct http1_question q = {.method = HTTP1_PUT,
                               .target = "/m",
                               .body = body,
                               .body_len = len,
                               .progress = count_progress,
                               .progress_ctx = seen};
    struct http1_answer a;
    struct err err = {0};

    (void)state;
    assert_non_null(body);
    assert_int_equal(api_fake_start(&f), 0);
    assert_int_equal(http1_ask_unix(&a, f.path, &q, 0, &err), 0);
    assert_int_equal(a.status, 200);
    assert_int_equal(seen[0], len);
    assert_int_equal(seen[1], 5); /* each half of a MiB, and the rest */
    http1_answer_free(&a);
    assert_int_equal(api_fake_stop(&f), 0);
    assert_string_equal(buf_cstr(&f.log), "PUT /m 2097153 bytes\n");
    buf_free(&f.log);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_however_they_are_cut),
        cmocka_unit_test(test_chunks_that_are_none),
        cmocka_unit_test(test_an_answer_that_goes_on),
        cmocka_unit_test(test_it_ends_when_nobody_listens),
        cmocka_unit_test(test_a_large_body_tells_how_far_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
