/* What real guests leave in the journal: the events of their lives with what each was for, their
 * lines by stream, and how many lines were left out, told of even if nothing more is logged.
 */
#include "guest/journal.h"
#include "rig/rig.h"
#include "support/own_signals.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct tmp_dir dir;
static struct rig rig;

static int setup(void **state)
{
    (void)state;
    return tmp_dir_make(&dir);
}

static int teardown(void **state)
{
    (void)state;
    tmp_dir_remove(&dir);
    return 0;
}

static struct guest *start(const char *module, const char *const *env)
{
    struct guest *g;

    rig = (struct rig){0};
    assert_true(rig_open(&rig, dir.path, 1, true));
    signals_own();
    g = rig_add(&rig, module, "a", env, NULL);
    assert_non_null(g);
    return g;
}

struct seen {
    char text[16384];
    size_t len;
    uint64_t lines, dropped;
};

static bool take_event(void *ctx, const struct journal_record *e)
{
    struct seen *s = ctx;

    s->len +=
        (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "%s %s: %s%.*s x%u\n", e->id,
                         journal_reason_name(e->reason), e->prefix, (int)e->len, e->text, e->count);
    return s->len < sizeof(s->text);
}

static bool take_line(void *ctx, const struct journal_record *e)
{
    struct seen *s = ctx;

    s->lines += e->count == 0;
    s->dropped += e->count;
    if (s->len + e->len + 64 < sizeof(s->text))
        s->len += (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "%s %s: %.*s\n",
                                   journal_stream_name(e->stream), log_level_name(e->level),
                                   (int)e->len, e->text);
    return true;
}

static const struct journal_filter any = {"", ""};

static const char *events(struct seen *s)
{
    struct journal *j = guests_journal(rig.guests);
    struct journal_cursor at = journal_events_from(j, &any, 0, UINT64_MAX);

    s->len = 0;
    while (journal_events(j, &at, &any, take_event, s))
        ;
    return s->text;
}

static const char *lines(struct seen *s)
{
    struct journal *j = guests_journal(rig.guests);
    struct journal_cursor at = journal_lines_from(j, &any, 0, UINT64_MAX);

    *s = (struct seen){0};
    while (journal_lines(j, &at, &any, take_line, s))
        ;
    return s->text;
}

static void change(struct guest *g, const char *key)
{
    rig_change(&rig, g, key, "{}");
    assert_true(rig_settle(&rig, g, 20));
}

static void has(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("no \"%s\" in:\n%s", what, text);
}

static bool has_trapped(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.traps > 0 && g->state != G_RUNNING;
}

static void test_events_of_a_life(void **state)
{
    struct guest *g = start("trap", NULL);
    struct seen s;

    (void)state;
    change(g, "test/good-1");
    assert_string_equal(events(&s), "test/a FreshStart: event of test/good-1 x1\n"
                                    "test/a Slept:  x1\n");
    change(g, "test/good-1");
    change(g, "test/good-2");
    assert_string_equal(events(&s), "test/a FreshStart: event of test/good-1 x1\n"
                                    "test/a Woken: event of test/good-2 x2\n"
                                    "test/a Slept:  x3\n");
    rig_change(&rig, g, "test/bad", "{}");
    assert_true(rig_run(&rig, has_trapped, g, 20));
    events(&s);
    has(s.text, "test/a Woken: event of test/bad x3\n");
    has(s.text, "test/a Trapped: event of test/bad: trapped: wasm trap: ");
    rig_close(&rig);
}

static void test_sleep_and_wake_on_demand_say_so(void **state)
{
    struct guest *g = start("trap", NULL);
    struct seen s;

    (void)state;
    change(g, "test/good-1");
    guest_wake_now(g);
    while (g->state != G_IDLE)
        loop_turn(rig.loop, true);
    has(events(&s), "test/a Woken: it was told to x1\n");
    guest_sleep_now(g);
    while (g->state != G_ASLEEP)
        loop_turn(rig.loop, true);
    has(events(&s), "test/a Slept: it was told to x2\n");
    rig_close(&rig);
}

static void test_lines_by_stream(void **state)
{
    static const char *const env[] = {"WASI_TEST=a b", NULL};
    struct guest *g = start("wasi", env), *other;
    struct seen s;

    (void)state;
    other = rig_add(&rig, "trap", "b", NULL, NULL);
    assert_non_null(other);
    change(g, "test/key");
    change(other, "test/good");
    lines(&s);
    has(s.text, "stdout info: stdout line\n");
    has(s.text, "stderr warn: stderr line\n");
    has(s.text, "log info: events 1\n");
    rig_close(&rig);
}

static uint64_t lines_in(struct seen *s)
{
    lines(s);
    return s->lines + s->dropped;
}

static void line_came(struct journal_follower *f)
{
    static struct seen s;

    (void)f;
    if (lines_in(&s) >= 3000)
        loop_stop(rig.loop);
}

/* 3,000 lines at once: the burst is kept, the rest counted, and told of without another line. */
static void test_lines_left_out_are_counted(void **state)
{
    static const char *const env[] = {"LINES=3000", NULL};
    struct journal_follower follower = {.news = line_came, .lines = true};
    struct guest *g = start("flood", env);
    struct seen s;

    (void)state;
    change(g, "test/bad");
    journal_follow(guests_journal(rig.guests), &follower);
    if (lines_in(&s) < 3000)
        loop_run(rig.loop);
    journal_unfollow(guests_journal(rig.guests), &follower);
    assert_true(lines_in(&s) >= 3000);
    assert_true(s.lines >= GUEST_LOG_BURST);
    assert_true(s.dropped > 0);
    has(s.text, "log info: flood\n");
    events(&s);
    has(s.text, "test/a Refused: log: lines were dropped");
    rig_close(&rig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_events_of_a_life),
        TEST(test_sleep_and_wake_on_demand_say_so),
        TEST(test_lines_by_stream),
        TEST(test_lines_left_out_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
