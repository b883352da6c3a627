/* serve/selector: what kubectl's label selectors mean, and what is none. */
#include "serve/selector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char web[] = "web", app[] = "app", front[] = "front", tier[] = "tier", empty[] = "";
static char slashed[] = "x.io/kind";

static void test_what_matches(void **state)
{
    static const struct env_var labels[] = {{app, web}, {tier, front}, {slashed, empty}};
    static const struct {
        const char *text;
        bool matches;
    } cases[] = {
        {"", true},
        {"  ", true},
        {"app=web", true},
        {"app==web", true},
        {" app = web , tier=front", true},
        {"app=web,tier=back", false},
        {"app!=web", false},
        {"other!=web", true},
        {"app", true},
        {"!app", false},
        {"!other", true},
        {"other", false},
        {"app in (web,db)", true},
        {"app in(db)", false},
        {"app notin (web, db)", false},
        {"app notin (db)", true},
        {"other notin (db)", true},
        {"x.io/kind=", true},
        {"x.io/kind in ()", true},
        {"x.io/kind in (,a)", true},
        {"app in (a,)", false},
        {"in in (in)", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct selector s;
        struct err err = {0};

        if (selector_read(&s, cases[i].text, &err) < 0)
            fail_msg("%s: %s", cases[i].text, err.msg);
        if (selector_matches(&s, labels, 3) != cases[i].matches)
            fail_msg("%s", cases[i].text);
    }
}

/* A list or a stream keeps a copy, long after the one that was read into is gone. */
static void test_a_copy_is_its_own(void **state)
{
    static const struct env_var labels[] = {{app, web}, {tier, front}};
    struct selector read, kept;

    (void)state;
    assert_int_equal(selector_read(&read, "app in (db,web),tier!=back", NULL), 0);
    kept = read;
    memset(&read, 'x', sizeof(read));
    assert_true(selector_matches(&kept, labels, 2));
    assert_false(selector_matches(&kept, labels, 0));
}

static void test_what_is_none(void **state)
{
    static const char *const bad[] = {",",          "=web",      "app=web,", "app in",
                                      "app in web", "app in (a", "app (a)",  "!",
                                      "app=a b",    "app=a;b",   "a,,b",     "app notin (a))"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct selector s;
        struct err err = {0};

        if (selector_read(&s, bad[i], &err) == 0 && !strstr(bad[i], "app in"))
            fail_msg("taken: %s", bad[i]);
        assert_true(err.code == ERR_INVALID || strcmp(bad[i], "app in") == 0);
    }
}

static void test_limits(void **state)
{
    char text[SELECTOR_BYTES_MAX + 8] = "";
    struct selector s;
    struct err err;

    (void)state;
    for (unsigned i = 0; i < SELECTOR_TERMS_MAX; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%sa", i ? "," : "");
    assert_int_equal(selector_read(&s, text, &err), 0);
    assert_int_equal(s.n, SELECTOR_TERMS_MAX);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), ",a");
    assert_int_equal(selector_read(&s, text, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    memset(text, 'a', SELECTOR_BYTES_MAX - 1);
    text[SELECTOR_BYTES_MAX - 1] = 0;
    assert_int_equal(selector_read(&s, text, &err), 0);
    text[SELECTOR_BYTES_MAX - 1] = 'a';
    text[SELECTOR_BYTES_MAX] = 0;
    assert_int_equal(selector_read(&s, text, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    /* A list of nothing but commas is as many empty words as there can be. */
    snprintf(text, sizeof(text), "a in (");
    memset(text + 6, ',', SELECTOR_BYTES_MAX - 8);
    text[SELECTOR_BYTES_MAX - 2] = ')';
    text[SELECTOR_BYTES_MAX - 1] = 0;
    assert_int_equal(selector_read(&s, text, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_matches),
        cmocka_unit_test(test_a_copy_is_its_own),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
