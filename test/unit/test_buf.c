/* Buffers: growing, taking from the front, and the maximum, at which nothing changes. */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

static void test_appends_follow_each_other(void **state)
{
    AUTO_BUF struct buf b = {.max = 1000};
    struct err err = {0};

    (void)state;
    assert_int_equal(buf_append(&b, NULL, 0, &err), 0); /* nothing to add, nothing owned */
    assert_int_equal(b.len, 0);
    assert_int_equal(buf_append(&b, "ab\0c", 4, &err), 0);
    assert_int_equal(buf_puts(&b, "de", &err), 0);
    assert_int_equal(buf_printf(&b, &err, "<%d %s>", 42, "x"), 0);
    assert_int_equal(buf_printf(&b, &err, "%s", ""), 0);
    assert_int_equal(b.len, 12);
    assert_memory_equal(b.data, "ab\0cde<42 x>", 12);
}

static void test_consume_keeps_the_rest(void **state)
{
    AUTO_BUF struct buf b = {0};

    (void)state;
    assert_int_equal(buf_puts(&b, "0123456789", NULL), 0);
    buf_consume(&b, 0);
    buf_consume(&b, 4);
    assert_int_equal(b.len, 6);
    assert_memory_equal(b.data, "456789", 6);
    buf_consume(&b, 6);
    assert_int_equal(b.len, 0);
    buf_consume(&b, 0);
    assert_int_equal(buf_puts(&b, "again", NULL), 0);
    assert_memory_equal(b.data, "again", 5);
}

static void test_cstr_ends_the_contents(void **state)
{
    struct buf b = {.max = 8};

    (void)state;
    assert_string_equal(buf_cstr(&b), "");
    assert_int_equal(b.len, 0);
    assert_int_equal(buf_puts(&b, "12345678", NULL), 0);
    assert_string_equal(buf_cstr(&b), "12345678"); /* the NUL is not under the maximum */
    assert_int_equal(b.len, 8);
    assert_int_equal(b.max, 8);
    assert_int_equal(buf_puts(&b, "9", NULL), -1);
    buf_consume(&b, 4);
    assert_string_equal(buf_cstr(&b), "5678");
    buf_free(&b);
    assert_int_equal(b.max, 8);
    assert_int_equal(b.len + b.cap, 0);
    assert_string_equal(buf_cstr(&b), ""); /* usable again */
    buf_free(&b);
    buf_free(&b);
    buf_free(NULL);
}

static void test_at_the_maximum_nothing_changes(void **state)
{
    AUTO_BUF struct buf b = {.max = 10};
    struct err err = {0};

    (void)state;
    assert_int_equal(buf_puts(&b, "123456", &err), 0);
    assert_int_equal(buf_append(&b, "abcde", 5, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(err.msg, "6 bytes and 5 more, limit 10");
    assert_int_equal(buf_printf(&b, &err, "%s", "abcde"), -1);
    assert_int_equal(buf_reserve(&b, SIZE_MAX, &err), -1);
    assert_int_equal(buf_reserve(&b, SIZE_MAX - 5, &err), -1);
    assert_int_equal(b.len, 6);
    assert_memory_equal(b.data, "123456", 6);
    assert_int_equal(buf_printf(&b, &err, "%s", "abcd"), 0); /* exactly full */
    assert_int_equal(b.len, 10);
    assert_int_equal(buf_append(&b, "x", 1, &err), -1);
    assert_int_equal(buf_append(&b, "", 0, &err), 0);
    assert_int_equal(buf_puts(&b, "", &err), 0);
    assert_memory_equal(b.data, "123456abcd", 10);
}

static void test_the_default_maximum_holds(void **state)
{
    AUTO_BUF struct buf b = {0};
    struct err err = {0};

    (void)state;
    assert_int_equal(buf_reserve(&b, BUF_DEFAULT_MAX + 1u, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(buf_reserve(&b, BUF_DEFAULT_MAX, &err), 0);
    assert_true(b.cap >= BUF_DEFAULT_MAX);
}

/* Against a plain array: the same bytes whatever the order of operations. */
static void test_random_operations_match_an_array(void **state)
{
    enum { MAX = 3000 };
    AUTO_BUF struct buf b = {.max = MAX};
    uint8_t model[MAX], text[300];
    size_t len = 0;
    unsigned seed = 1;

    (void)state;
    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)('a' + i % 26);
    for (int round = 0; round < 20000; round++) {
        size_t n;

        seed = seed * 1103515245u + 12345u;
        n = (seed >> 16) % sizeof(text);
        if ((seed >> 8) % 5 < 2) {
            n = n < len ? n : len;
            buf_consume(&b, n);
            memmove(model, model + n, len - n);
            len -= n;
        } else {
            int rc = (seed >> 8) % 2 ? buf_append(&b, text, n, NULL)
                                     : buf_printf(&b, NULL, "%.*s", (int)n, (const char *)text);

            assert_int_equal(rc, len + n <= MAX ? 0 : -1);
            if (rc == 0)
                memcpy(model + len, text, n);
            len += rc == 0 ? n : 0;
        }
        assert_int_equal(b.len, len);
        assert_true(b.cap <= MAX + 1);
        if (len)
            assert_memory_equal(b.data, model, len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends_follow_each_other),
        cmocka_unit_test(test_consume_keeps_the_rest),
        cmocka_unit_test(test_cstr_ends_the_contents),
        cmocka_unit_test(test_at_the_maximum_nothing_changes),
        cmocka_unit_test(test_the_default_maximum_holds),
        cmocka_unit_test(test_random_operations_match_an_array),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
