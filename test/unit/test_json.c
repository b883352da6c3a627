/* The JSON scanner against what RFC 8259 says and, on mutated documents, against jansson. */
#include "base/limits.h"
#include "kube/json.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the above first
#include <cmocka.h>

static enum jscan_rc scan(const void *data, size_t len)
{
    struct jscan j;

    jscan_init(&j, data, len);
    if (jscan_skip(&j) && jscan_done(&j))
        return JSCAN_OK;
    return j.rc ? j.rc : JSCAN_BAD;
}

static enum jscan_rc scan_text(const char *text)
{
    return scan(text, strlen(text));
}

static void test_valid_values(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        " [ ] ",
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.10",
        "-12.5e+300",
        "1E5",
        "123456789012345678901234567890",
        "\"\"",
        "\"a long string without anything special in it\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u0000\\ud800\"",
        "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf \xed\x9f\xbf \xee\x80\x80\"",
        "{\"a\":1,\"a\":[{},[],{\"b\":null}] , \"c\" : \"d\"}\r\n\t ",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (scan_text(texts[i]) != JSCAN_OK)
            fail_msg("refused: %s", texts[i]);
}

static void test_invalid_values(void **state)
{
    static const char *const texts[] = {
        "{]",
        "[1,]",
        "{\"a\":1,}",
        "{,}",
        "[,1]",
        "[1 2]",
        "{\"a\" 1}",
        "{1:2}",
        "01",
        "-a",
        ".5",
        "1.a",
        "1ea",
        "+1",
        "tru3",
        "nul!",
        "NaN",
        "'a'",
        "\"\x01\"",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\x80\"",
        "\"\xc0\x80\"",
        "\"\xc1\"",
        "\"\xe0\x9f\xbf\"",
        "\"\xed\xa0\x80\"",
        "\"\xf0\x8f\xbf\xbf\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xf5\"",
        "\"\xc3(\"",
        "{} x",
        "{}{}",
        "]",
        ":",
        "\"a\" \"b\"",
        "1-",
        "[1]]",
        "\xef\xbb\xbf{}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (scan_text(texts[i]) != JSCAN_BAD)
            fail_msg("not refused: %s", texts[i]);
}

static const char document[] =
    "{\"apiVersion\":\"v1\",\"list\":[1,-2.50,3e8,true,false,null,[],{}], \"t\\u00e9xt\" : "
    "\"caf\xc3\xa9 \\ud83d\\ude00 \\\\ \\\" \xf0\x9f\x98\x80 and so on for more than 16 bytes\",\n"
    "\"deep\":{\"a\":{\"b\":[[[{\"c\":\"d\"}]]]}},\"empty\":\"\",\"zero\":0}";

static void test_every_beginning_of_a_document_asks_for_more(void **state)
{
    (void)state;
    assert_int_equal(scan_text(document), JSCAN_OK);
    for (size_t len = 0; len + 1 < sizeof(document) - 1; len++) {
        /* A copy of its own, so that sanitizers see a read past the end. */
        uint8_t *copy = malloc(len + 1);

        assert_non_null(copy);
        memcpy(copy, document, len);
        if (scan(copy, len) != JSCAN_MORE)
            fail_msg("the first %zu bytes", len);
        free(copy);
    }
}

static void test_depth_limit(void **state)
{
    char text[2 * JSON_DEPTH_MAX + 3];
    size_t n = JSON_DEPTH_MAX;

    (void)state;
    memset(text, '[', n);
    memset(text + n, ']', n);
    assert_int_equal(scan(text, 2 * n), JSCAN_OK);
    n++;
    memset(text, '[', n);
    memset(text + n, ']', n);
    assert_int_equal(scan(text, 2 * n), JSCAN_DEEP);
}

static void test_members_and_elements(void **state)
{
    static const char text[] = "{ \"a\" : [ 1 , \"x\" , {} ] , \"b\" : {\"c\":{}} , \"d\":-7 }";
    char keys[16] = "";
    int elements = 0;
    struct jscan_str key;
    struct jscan j;
    int64_t value = 0;
    bool is_int = false;

    (void)state;
    jscan_init(&j, (const uint8_t *)text, sizeof(text) - 1);
    assert_true(jscan_open(&j, '{'));
    while (jscan_member(&j, &key)) {
        strncat(keys, (const char *)key.at, key.len);
        if (jscan_key_is(&key, "a")) {
            assert_true(jscan_open(&j, '['));
            while (jscan_element(&j)) {
                elements++;
                assert_true(jscan_skip(&j));
            }
        } else if (jscan_key_is(&key, "d")) {
            assert_true(jscan_int(&j, &value, &is_int));
        } else {
            assert_true(jscan_skip(&j));
        }
    }
    assert_true(jscan_done(&j));
    assert_string_equal(keys, "abd");
    assert_int_equal(elements, 3);
    assert_true(is_int);
    assert_int_equal(value, -7);
    assert_int_equal(j.depth, 0);
}

static void test_peeking_does_not_change_what_follows(void **state)
{
    struct jscan j;

    (void)state;
    jscan_init(&j, (const uint8_t *)"[ 1]", 4);
    assert_true(jscan_open(&j, '['));
    assert_int_equal(jscan_peek(&j), '1');
    assert_true(jscan_element(&j));
    assert_true(jscan_skip(&j));
    assert_false(jscan_element(&j));
    assert_true(jscan_done(&j));
}

static void check_int(const char *text, bool want_int, int64_t want)
{
    struct jscan j;
    int64_t value = 99;
    bool is_int;

    jscan_init(&j, (const uint8_t *)text, strlen(text));
    assert_true(jscan_int(&j, &value, &is_int));
    assert_true(jscan_done(&j));
    if (is_int != want_int || value != want)
        fail_msg("%s: %d %lld", text, is_int, (long long)value);
}

static void test_integers(void **state)
{
    (void)state;
    check_int("0", true, 0);
    check_int("-0", true, 0);
    check_int("42", true, 42);
    check_int("9223372036854775807", true, INT64_MAX);
    check_int("-9223372036854775808", true, INT64_MIN);
    check_int("9223372036854775808", false, 99);
    check_int("-9223372036854775809", false, 99);
    check_int("1.0", false, 99);
    check_int("1e3", false, 99);
    check_int("\"1\"", false, 99);
    check_int("{\"a\":1}", false, 99);
}

static void check_copy(const char *text, const char *want)
{
    struct jscan_str s;
    struct jscan j;
    char out[64];

    jscan_init(&j, (const uint8_t *)text, strlen(text));
    assert_true(jscan_string(&j, &s));
    assert_int_equal(jscan_str_copy(out, sizeof(out), &s), 0);
    assert_string_equal(out, want);
    assert_true(jscan_str_is(&s, want));
    assert_false(jscan_str_is(&s, "something else"));
    assert_int_equal(jscan_str_copy(out, strlen(want) + 1, &s), 0);
    assert_int_equal(jscan_str_copy(out, strlen(want), &s), -1);
}

static void test_unescaping(void **state)
{
    struct jscan_str s;
    struct jscan j;
    char out[16];

    (void)state;
    check_copy("\"plain\"", "plain");
    check_copy("\"\\b\\f\\n\\r\\t\\/\\\\\\\"\"", "\b\f\n\r\t/\\\"");
    check_copy("\"n\\u0061me\"", "name");
    check_copy("\"\\u00e9\\u20AC\\ud83d\\ude00\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    /* Unpaired surrogates become U+FFFD, one each. */
    check_copy("\"\\ud83dx\\ude00\\ud83d\\u0041\"", "\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbd"
                                                    "A");
    jscan_init(&j, (const uint8_t *)"\"a\\u0000b\"", 10);
    assert_true(jscan_string(&j, &s));
    assert_int_equal(jscan_str_copy(out, sizeof(out), &s), -1);
    assert_false(jscan_str_is(&s, "a"));
}

static void test_framing_finds_the_end_however_cut(void **state)
{
    static const char *const texts[] = {document, "\"a\\\\\\\"b\"", "[]",  "{\"]\":\"}\\\"\"}",
                                        "12.5",   "null",           "\"\""};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t len = strlen(texts[i]);
        bool scalar = !strchr("{[\"", texts[i][0]);

        for (size_t cut = 1; cut <= len; cut++) {
            struct jscan_frame f = {0};
            size_t used, behind;
            char tail[512];

            /* What follows the value must not be looked at. */
            snprintf(tail, sizeof(tail), "%s,\"x\"]", texts[i] + cut);
            if (jscan_frame(&f, (const uint8_t *)texts[i], cut, &used)) {
                assert_int_equal(cut, len);
                assert_false(scalar);
                assert_int_equal(used, len);
                continue;
            }
            assert_int_equal(used, cut);
            assert_true(jscan_frame(&f, (const uint8_t *)tail, strlen(tail), &behind));
            assert_int_equal(used + behind, len);
        }
    }
}

/* --- the oracle --- */

static uint64_t rng = 88172645463325252ull;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

/* jansson refuses what the grammar allows: integers beyond int64, reals beyond double, \u0000 and
 * unpaired surrogates. Where it says so, it is no oracle. */
static bool knows_better(const json_error_t *e)
{
    enum json_error_code code = json_error_code(e);

    return code == json_error_numeric_overflow || code == json_error_null_character ||
           strstr(e->text, "surrogate") || strstr(e->text, "\\u0000") ||
           strstr(e->text, "invalid Unicode");
}

static void test_mutations_agree_with_jansson(void **state)
{
    static const char alphabet[] = "{}[]\",:\\0123.eE-+ntu \n\x80\xc3\xe2\xf0\xff";
    size_t valid = 0, len = sizeof(document) - 1;
    char *copy = malloc(len);

    (void)state;
    assert_non_null(copy);
    for (int round = 0; round < 40000; round++) {
        json_error_t e;
        json_t *tree;
        bool ours;

        memcpy(copy, document, len);
        for (uint64_t n = 1 + next_random() % 2; n; n--)
            copy[next_random() % len] = alphabet[next_random() % (sizeof(alphabet) - 1)];
        tree = json_loadb(copy, len, JSON_DECODE_ANY, &e);
        ours = scan(copy, len) == JSCAN_OK;
        valid += ours;
        if (ours != (tree != NULL) && !(ours && knows_better(&e)))
            fail_msg("ours %d, jansson \"%s\": %.*s", ours, tree ? "" : e.text, (int)len, copy);
        json_decref(tree);
    }
    free(copy);
    /* The mutations must be of both kinds for the comparison to mean something. */
    assert_in_range(valid, 5000, 35000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid_values),
        cmocka_unit_test(test_invalid_values),
        cmocka_unit_test(test_every_beginning_of_a_document_asks_for_more),
        cmocka_unit_test(test_depth_limit),
        cmocka_unit_test(test_members_and_elements),
        cmocka_unit_test(test_peeking_does_not_change_what_follows),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_unescaping),
        cmocka_unit_test(test_framing_finds_the_end_however_cut),
        cmocka_unit_test(test_mutations_agree_with_jansson),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
