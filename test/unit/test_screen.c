/* base/screen: lines cut at the edge of a terminal, and bars. test_top has one that is a terminal.
 */
#include "base/screen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_a_line_that_fits_stays(void **state)
{
    char line[] = "87 µs";

    (void)state;
    assert_int_equal(screen_cut(line, 5, true), 5);
    assert_string_equal(line, "87 µs");
}

static void test_a_long_line_is_cut_between_characters(void **state)
{
    char line[] = "██░░";

    (void)state;
    assert_int_equal(screen_cut(line, 3, true), 3);
    assert_string_equal(line, "██░");
}

static void test_colours_take_no_room_and_outlive_the_cut(void **state)
{
    char line[] = "\033[1mbold\033[0m tail";

    (void)state;
    assert_int_equal(screen_cut(line, 2, true), 2);
    assert_string_equal(line, "\033[1mbo\033[0m");
}

static void test_without_colour_none_is_left(void **state)
{
    char line[] = "\033[1mbold\033[0m tail";

    (void)state;
    assert_int_equal(screen_cut(line, 80, false), 9);
    assert_string_equal(line, "bold tail");
}

static void test_no_columns_no_text(void **state)
{
    char line[] = "text", broken[] = "\033[1";

    (void)state;
    assert_int_equal(screen_cut(line, 0, true), 0);
    assert_string_equal(line, "");
    assert_int_equal(screen_cut(broken, 80, false), 0);
    assert_string_equal(broken, "");
}

static void test_a_bar_shows_a_share(void **state)
{
    struct screen plain = {.utf8 = false}, utf8 = {.utf8 = true};
    char bar[64];

    (void)state;
    screen_bar(&plain, bar, sizeof(bar), 4, 50, 100);
    assert_string_equal(bar, "##..");
    screen_bar(&utf8, bar, sizeof(bar), 4, 50, 100);
    assert_string_equal(bar, "██░░");
    screen_bar(&plain, bar, sizeof(bar), 4, 0, 100);
    assert_string_equal(bar, "....");
    screen_bar(&plain, bar, sizeof(bar), 4, 1, 0);
    assert_string_equal(bar, "#...");
}

static void test_a_few_are_not_none_and_too_many_are_all(void **state)
{
    struct screen plain = {.utf8 = false};
    char bar[64];

    (void)state;
    screen_bar(&plain, bar, sizeof(bar), 4, 1, 1000);
    assert_string_equal(bar, "#...");
    screen_bar(&plain, bar, sizeof(bar), 4, 200, 100);
    assert_string_equal(bar, "####");
}

static void test_a_bar_stays_within_its_buffer(void **state)
{
    struct screen utf8 = {.utf8 = true};
    char bar[12];

    (void)state;
    screen_bar(&utf8, bar, sizeof(bar), 100, 1, 1);
    assert_true(strlen(bar) < sizeof(bar));
    assert_int_equal(strlen(bar) % strlen("█"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_that_fits_stays),
        cmocka_unit_test(test_a_long_line_is_cut_between_characters),
        cmocka_unit_test(test_colours_take_no_room_and_outlive_the_cut),
        cmocka_unit_test(test_without_colour_none_is_left),
        cmocka_unit_test(test_no_columns_no_text),
        cmocka_unit_test(test_a_bar_shows_a_share),
        cmocka_unit_test(test_a_few_are_not_none_and_too_many_are_all),
        cmocka_unit_test(test_a_bar_stays_within_its_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
