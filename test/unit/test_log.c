/* The log: one line a message whatever is in it, JSON that always parses, text that cannot drive a
 * terminal. stderr is a file while a line is written. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"

static char line[6 * LOG_LINE_MAX];

static void through_line(enum log_level level, const char *guest, const char *text, size_t len)
{
    (void)len;
    log_line(level, guest, "%s", text);
}

/* What write writes, in `line`. */
static size_t logged_by(void (*write)(enum log_level, const char *, const char *, size_t),
                        enum log_level level, const char *guest, const char *text, size_t len)
{
    FILE *file = tmpfile();
    int saved = dup(2);
    ssize_t n;

    assert_non_null(file);
    dup2(fileno(file), 2);
    write(level, guest, text, len);
    dup2(saved, 2);
    close(saved);
    n = pread(fileno(file), line, sizeof(line) - 1, 0);
    assert_true(n >= 0);
    line[n] = 0;
    fclose(file);
    return (size_t)n;
}

static size_t logged(enum log_level level, const char *guest, const char *text)
{
    return logged_by(through_line, level, guest, text, strlen(text));
}

static json_t *logged_json(const char *guest, const char *text)
{
    size_t n = logged(LOG_WARN, guest, text);
    json_t *json = json_loadb(line, n, 0, NULL);

    assert_int_equal(line[n - 1], '\n');
    assert_ptr_equal(strchr(line, '\n'), line + n - 1);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "level")), "warn");
    assert_int_equal(strlen(json_string_value(json_object_get(json, "time"))), 24);
    return json;
}

static void test_text_has_time_level_guest_and_message(void **state)
{
    (void)state;
    log_init(LOG_INFO, "text");
    logged(LOG_ERROR, "ns/ring-0", "it \"failed\"");
    assert_string_equal(line + 24, " error ns/ring-0: it \"failed\"\n");
    assert_int_equal(line[10], 'T');
    assert_int_equal(line[23], 'Z');
    logged(LOG_INFO, NULL, "started");
    assert_string_equal(line + 24, " info  started\n");
}

static void test_levels_below_are_left_out(void **state)
{
    (void)state;
    log_init(LOG_WARN, "text");
    assert_int_equal(log_level_get(), LOG_WARN);
    assert_int_equal(logged(LOG_INFO, NULL, "x"), 0);
    assert_true(logged(LOG_WARN, NULL, "x") > 0);
}

static void test_text_cannot_forge_lines_or_drive_a_terminal(void **state)
{
    (void)state;
    log_init(LOG_INFO, "text");
    logged(LOG_INFO, "g\n1",
           "a\r\nb \x1b[2J c \xc2\x9b"
           "2J d \xff\xe2\x82\xac");
    assert_string_equal(line + 24,
                        " info  g\\n1: a\\r\\nb \\x1b[2J c \\xc2\\x9b2J d \\xff\xe2\x82\xac\n");
}

static void test_json_keeps_the_message(void **state)
{
    json_t *json;

    (void)state;
    log_init(LOG_INFO, "json");
    json = logged_json("ring-0", "two\nlines \"and\" a \\ \xe2\x82\xac");
    assert_string_equal(json_string_value(json_object_get(json, "guest")), "ring-0");
    assert_string_equal(json_string_value(json_object_get(json, "message")),
                        "two\nlines \"and\" a \\ \xe2\x82\xac");
    json_decref(json);
    json = logged_json(NULL, "cut \xe2\x82");
    assert_null(json_object_get(json, "guest"));
    assert_string_equal(json_string_value(json_object_get(json, "message")),
                        "cut \xef\xbf\xbd\xef\xbf\xbd");
    json_decref(json);
}

/* Any bytes in both formats, shorter and longer than a line may be. */
static void test_any_bytes_make_one_valid_line(void **state)
{
    char text[3 * LOG_LINE_MAX], name[3 * LOG_LINE_MAX];
    unsigned seed = 3;

    (void)state;
    for (int round = 0; round < 400; round++) {
        size_t len = round % 2 ? sizeof(text) - 1 : (size_t)round;

        for (size_t i = 0; i < len; i++) {
            seed = seed * 1103515245u + 12345u;
            text[i] = (char)(1 + (seed >> 16) % 255);
            if (round % 3 == 0)
                text[i] = "\"\\\n\x01"[(seed >> 16) % 4];
        }
        text[len] = 0;
        snprintf(name, sizeof(name), "%s", round % 5 ? "g" : text);
        log_init(LOG_INFO, "json");
        json_decref(logged_json(name, text));
        log_init(LOG_INFO, "text");
        len = logged(LOG_INFO, name, text);
        assert_true(len <= 4 * LOG_LINE_MAX);
        assert_int_equal(line[len - 1], '\n');
        line[len - 1] = 0;
        assert_true(text_is_clean(line));
    }
}

/* Bytes that no C string can hold, and a character that is cut by their end. */
static void test_a_guests_bytes_are_whole(void **state)
{
    static const char bytes[] = {'a', 0, 'b', '\n', 0x1b, 'c', (char)0xe2, (char)0x82};
    json_t *json;
    size_t n;

    (void)state;
    log_init(LOG_INFO, "text");
    logged_by(log_text, LOG_INFO, "g", bytes, sizeof(bytes));
    assert_string_equal(line + 24, " info  g: a\\x00b\\n\\x1bc\\xe2\\x82\n");
    log_init(LOG_INFO, "json");
    n = logged_by(log_text, LOG_INFO, "g", bytes, sizeof(bytes));
    json = json_loadb(line, n, 0, NULL); /* a NUL is what readers refuse: U+FFFD */
    assert_non_null(json);
    assert_int_equal(json_string_length(json_object_get(json, "message")), 14);
    json_decref(json);
}

/* All of it escaped is the longest that it can be. */
static void test_a_guests_longest_line_is_not_cut(void **state)
{
    char text[ABI_LOG_MAX];
    size_t n, escapes = 0;

    (void)state;
    memset(text, 1, sizeof(text));
    for (int json = 0; json < 2; json++) {
        log_init(LOG_INFO, json ? "json" : "text");
        n = logged_by(log_text, LOG_INFO, "namespace/guest", text, sizeof(text));
        escapes = 0;
        for (size_t i = 0; i < n; i++)
            escapes += line[i] == '\\';
        assert_int_equal(escapes, ABI_LOG_MAX);
        assert_int_equal(line[n - 1], '\n');
    }
}

static void test_errno_is_kept_when_nothing_can_be_written(void **state)
{
    int saved = dup(2);

    (void)state;
    log_init(LOG_INFO, "text");
    close(2);
    errno = 4711;
    log_line(LOG_ERROR, NULL, "lost");
    assert_int_equal(errno, 4711);
    dup2(saved, 2);
    close(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_has_time_level_guest_and_message),
        cmocka_unit_test(test_levels_below_are_left_out),
        cmocka_unit_test(test_text_cannot_forge_lines_or_drive_a_terminal),
        cmocka_unit_test(test_json_keeps_the_message),
        cmocka_unit_test(test_any_bytes_make_one_valid_line),
        cmocka_unit_test(test_a_guests_bytes_are_whole),
        cmocka_unit_test(test_a_guests_longest_line_is_not_cut),
        cmocka_unit_test(test_errno_is_kept_when_nothing_can_be_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
