/* Errors: what is set is what is read, whoever wraps it, however long it gets. */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

static void test_set_and_wrap_build_one_line(void **state)
{
    struct err err = {0};

    (void)state;
    assert_int_equal(err_set(&err, ERR_IO, ENOSPC, "write %d", 7), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_int_equal(err.sys, ENOSPC);
    assert_string_equal(err.msg, "write 7: No space left on device");
    assert_int_equal(err_wrap(&err, "snapshot %s", "edge-7"), -1);
    assert_int_equal(err_wrap(&err, "guest"), -1);
    assert_string_equal(err.msg, "guest: snapshot edge-7: write 7: No space left on device");
    assert_int_equal(err.code, ERR_IO); /* wrapping keeps the reason */
    assert_int_equal(err.sys, ENOSPC);
    assert_int_equal(err_set(&err, ERR_LIMIT, 0, "anew"), -1);
    assert_string_equal(err.msg, "anew");
    assert_int_equal(err.sys, 0);
}

static void test_a_status_is_no_errno(void **state)
{
    struct err err = {0};

    (void)state;
    assert_int_equal(err_set_status(&err, ERR_DENIED, 2, "status %d", 2), -1);
    assert_int_equal(err.sys, 2);
    assert_string_equal(err.msg, "status 2");
}

static void test_nobody_need_listen(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_IO, ENOSPC, "x"), -1);
    assert_int_equal(err_set_status(NULL, ERR_IO, 404, "x"), -1);
    assert_int_equal(err_wrap(NULL, "x"), -1);
}

static void test_the_message_may_be_its_own_argument(void **state)
{
    struct err err = {0};

    (void)state;
    err_set(&err, ERR_IO, 0, "disk is full");
    err_set(&err, ERR_AGAIN, 0, "later, because %s", err.msg);
    assert_string_equal(err.msg, "later, because disk is full");
    err_wrap(&err, "(%.5s)", err.msg);
    assert_string_equal(err.msg, "(later): later, because disk is full");
    err_set_status(&err, ERR_NET, 500, "%s!", err.msg + 9);
    assert_string_equal(err.msg, "later, because disk is full!");
}

static void test_long_messages_are_cut_not_overrun(void **state)
{
    struct {
        struct err err;
        char after;
    } box = {.after = 'x'};
    char text[2 * ERR_MSG_MAX];

    (void)state;
    memset(text, 'm', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    for (size_t len = ERR_MSG_MAX - 8; len < ERR_MSG_MAX + 8; len++) {
        err_set(&box.err, ERR_IO, ENOENT, "%.*s", (int)len, text);
        assert_int_equal(strlen(box.err.msg), ERR_MSG_MAX - 1);
        err_set(&box.err, ERR_IO, 0, "reason");
        err_wrap(&box.err, "%.*s", (int)len, text);
        assert_true(strlen(box.err.msg) <= ERR_MSG_MAX - 1);
        assert_memory_equal(box.err.msg, text, ERR_MSG_MAX - 16);
    }
    for (int i = 0; i < 1000; i++)
        err_wrap(&box.err, "outer");
    assert_memory_equal(box.err.msg, "outer: outer: ", 14);
    assert_int_equal(box.after, 'x');
}

static void test_codes_have_names_and_exit_statuses(void **state)
{
    (void)state;
    assert_string_equal(err_code_name(ERR_NONE), "ok");
    assert_int_equal(err_exit_status(ERR_NONE), 0);
    for (int a = 1; a < ERR_CODES; a++) {
        assert_non_null(err_code_name((enum err_code)a));
        assert_true(err_exit_status((enum err_code)a) >= 2); /* 1 is for what has no code */
        assert_true(err_exit_status((enum err_code)a) < 64);
        for (int b = 0; b < a; b++) {
            assert_string_not_equal(err_code_name((enum err_code)a),
                                    err_code_name((enum err_code)b));
            assert_int_not_equal(err_exit_status((enum err_code)a),
                                 err_exit_status((enum err_code)b));
        }
    }
    assert_string_equal(err_code_name(ERR_CODES), "unknown");
    assert_int_equal(err_exit_status(ERR_CODES), 1);
    assert_int_equal(err_exit_status((enum err_code) - 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_wrap_build_one_line),
        cmocka_unit_test(test_a_status_is_no_errno),
        cmocka_unit_test(test_nobody_need_listen),
        cmocka_unit_test(test_the_message_may_be_its_own_argument),
        cmocka_unit_test(test_long_messages_are_cut_not_overrun),
        cmocka_unit_test(test_codes_have_names_and_exit_statuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
