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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_clean_keeps_utf8_only),
        cmocka_unit_test(test_nearest_name),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_short_forms_for_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
