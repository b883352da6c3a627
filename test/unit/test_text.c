/* base/text, base/nearest and base/units: small pure functions, each at its edges. */
#include "base/limits.h"
#include "base/nearest.h"
#include "base/text.h"
#include "base/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_text_clean_keeps_utf8_only(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x94", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x94"},
        {"a\nb\tc\x1b[0m\x7f", "a?b?c?[0m?"},
        {"cut \xe2\x82", "cut ??"},
        {"cut \xf0\x9f\x90", "cut ???"},
        {"overlong \xc0\xaf \xe0\x80\xaf", "overlong ?? ???"},
        {"surrogate \xed\xa0\x80", "surrogate ???"},
        {"past \xf4\x90\x80\x80 \xff", "past ???? ?"},
        {"C1 \xc2\x9b", "C1 ??"},
        {"\x80", "?"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];

        snprintf(text, sizeof(text), "%s", cases[i].in);
        assert_int_equal(text_is_clean(text), strcmp(cases[i].in, cases[i].out) == 0);
        text_clean(text);
        assert_string_equal(text, cases[i].out);
        assert_true(text_is_clean(text));
    }
}

static void test_nearest_name(void **state)
{
    static const char *const names[] = {"memory", "cpu", NULL, "time", "serviceAccount"};
    char word[NEAREST_WORD_MAX + 2];

    (void)state;
    assert_string_equal(nearest_name("memry", names, 5), "memory");
    assert_string_equal(nearest_name("meomry", names, 5), "memory");
    assert_string_equal(nearest_name("Memory", names, 5), "memory");
    assert_string_equal(nearest_name("cpus", names, 5), "cpu");
    assert_string_equal(nearest_name("serviceaccountName", names, 5), "serviceAccount");
    assert_null(nearest_name("gpus", names, 5));
    assert_null(nearest_name("x", names, 5));
    assert_null(nearest_name("", names, 5));
    assert_null(nearest_name("memory", names, 0));
    memset(word, 'a', sizeof(word));
    word[NEAREST_WORD_MAX + 1] = 0;
    assert_null(nearest_name(word, (const char *[]){word}, 1));
    assert_string_equal(nearest_name(word + 1, (const char *[]){word, word + 1}, 2), word + 1);
}

static void test_durations(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
        const char *shown; /* NULL: as text */
    } good[] = {
        {"0", 0, "0s"},
        {"0s", 0, NULL},
        {"50ms", 50000000, NULL},
        {"1s", 1000000000, NULL},
        {"1m30s", 90000000000, NULL},
        {"1.5s", 1500000000, "1500ms"},
        {"0.000001s", 1000, "1us"},
        {"250us", 250000, NULL},
        {"250\xc2\xb5s", 250000, "250us"},
        {"7ns", 7, NULL},
        {"1h0m1s", 3601000000000, "1h1s"},
        {"24h", 86400000000000, NULL},
        {"90m", 5400000000000, "1h30m"},
        {"18446744073709551615ns", UINT64_MAX, NULL},
    };
    static const char *const bad[] = {
        "",
        "1",
        "-1s",
        "s",
        "1.s",
        "1 s",
        "1sx",
        "1s5",
        "1d",
        "1e3s",
        ".5s",
        "+1s",
        "0.0000001s",
        "1s ",
        "18446744073709551616ns",
        "5124096h",
        "18446744073709551615ns1ns",
    };
    uint64_t ns;
    char buf[UNITS_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(units_parse_duration(good[i].text, &ns));
        assert_int_equal(ns, good[i].ns);
        assert_string_equal(units_format_duration(buf, ns),
                            good[i].shown ? good[i].shown : good[i].text);
        assert_true(units_parse_duration(buf, &ns));
        assert_int_equal(ns, good[i].ns);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (units_parse_duration(bad[i], &ns))
            fail_msg("%s is taken for a duration", bad[i]);
}

static void test_bytes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
        const char *shown;
    } good[] = {
        {"0", 0, NULL},
        {"65536", 65536, "64Ki"},
        {"64Mi", 64 << 20, NULL},
        {"1Gi", 1 << 30, NULL},
        {"1.5Gi", 3u << 29, "1536Mi"},
        {"500M", 500000000, NULL},
        {"1k", 1000, "1000"},
        {"2T", 2000000000000, "1953125000Ki"},
        {"16777215Ti", 16777215ull << 40, "17179868160Gi"},
        {"1.1", 1, "1"},
    };
    static const char *const bad[] = {
        "",     "Mi", "-1",  "1 Mi",       "1mi",         "1MiB",
        "1e3",  "1m", "1Ei", "16777216Ti", "1.1234567Gi", "18446744073709551616",
        "0x10",
    };
    uint64_t bytes;
    char buf[UNITS_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(units_parse_bytes(good[i].text, &bytes));
        assert_int_equal(bytes, good[i].bytes);
        units_format_bytes(buf, bytes);
        if (good[i].shown)
            assert_string_equal(buf, good[i].shown);
        assert_true(units_parse_bytes(buf, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (units_parse_bytes(bad[i], &bytes))
            fail_msg("%s is taken for a size", bad[i]);
}

static void test_short_forms_for_tables(void **state)
{
    static const struct {
        uint64_t n;
        const char *age, *bytes;
    } cases[] = {
        {0, "0s", "0"},
        {119, "119s", "119"},
        {120, "2m0s", "120"},
        {599, "9m59s", "599"},
        {600, "10m", "600"},
        {1536, "25m", "1.5K"},
        {10800, "3h", "10K"},
        {172800, "2d", "168K"},
        {1048576, "12d", "1M"},
        {10433331, "120d", "9.9M"},
        {UINT64_MAX, "213503982334601d", "15E"},
    };
    char buf[UNITS_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(units_short_age(buf, cases[i].n), cases[i].age);
        assert_string_equal(units_short_bytes(buf, cases[i].n), cases[i].bytes);
    }
}

static void test_times(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-20T22:34:54.115Z", 1795214094115},
        {"2026-11-20t22:34:54.1159z", 1795214094115},
        {"2026-11-21 00:04:54.1+01:30", 1795214094100},
        {"2026-11-20T17:34:54-05:00", 1795214094000},
        {"2028-02-29T00:00:00Z", 1835395200000},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
    };
    static const char *const bad[] = {
        "",
        "2026-11-20",
        "2026-11-20T22:34:54",
        "2026-11-20T22:34:54.Z",
        "2026-11-20T22:34:54Z ",
        "2026-11-20T22:34Z",
        "2026-13-20T22:34:54Z",
        "2026-00-20T22:34:54Z",
        "2026-02-29T22:34:54Z",
        "2026-11-00T22:34:54Z",
        "2026-11-20T24:34:54Z",
        "2026-11-20T22:60:54Z",
        "2026-11-20T22:34:54+0100",
        "2026-11-20T22:34:54+24:00",
        "1969-12-31T23:59:59Z",
        "+026-11-20T22:34:54Z",
    };
    char text[TEXT_TIME_MAX];
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(text_time_read(good[i].text, &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (text_time_read(bad[i], &ms) == 0)
            fail_msg("%s is taken for a time", bad[i]);
    text_time(text, 1795214094005);
    assert_string_equal(text, "2026-11-20T22:34:54.005Z");
}

static void test_escapes_for_lines_and_json(void **state)
{
    static const char in[] = "a\tb\n\"c\\\x1b\xff\xc3\xa9";
    char out[64];
    size_t n;

    (void)state;
    n = text_escape(out, 0, sizeof(out), in, sizeof(in), true);
    out[n] = 0;
    assert_string_equal(out, "a\\tb\\n\\\"c\\\\\\u001b\\ufffd\xc3\xa9\\ufffd");
    n = text_escape(out, 0, sizeof(out), in, sizeof(in), false);
    out[n] = 0;
    assert_string_equal(out, "a\\tb\\n\"c\\\\x1b\\xff\xc3\xa9\\x00");
    for (size_t cap = 0; cap < 40; cap++) {
        memset(out, '#', sizeof(out));
        n = text_escape(out, 1, cap, in, sizeof(in), true);
        assert_true(n == 1 || n < cap);
        assert_int_equal(out[cap ? cap : 1], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_clean_keeps_utf8_only),
        cmocka_unit_test(test_nearest_name),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_short_forms_for_tables),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_escapes_for_lines_and_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
