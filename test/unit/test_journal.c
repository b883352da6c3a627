/* guest/journal: what repeats is counted, what is routine does not push out what is not, the bounds
 * of lines in all and for each guest, reading from where one was, and what readers are told of that
 * they missed.
 */
#include "base/limits.h"
#include "guest/journal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t wall_now;

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return wall_now;
}

static struct loop *loop;
static struct journal *journal;
static const struct journal_filter any = {"", ""};

static int setup(void **state)
{
    struct clock clock = clock_real;

    (void)state;
    clock.wall_ms = wall_ms;
    wall_now = 1000;
    assert_int_equal(loop_new(&loop, NULL), 0);
    assert_int_equal(journal_new(&journal, loop, &clock, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    journal_free(journal);
    loop_free(loop);
    return 0;
}

/* --- a reader that writes down what it is given --- */

struct reader {
    struct journal_cursor at;
    char text[8192];
    size_t len, records, room; /* room: how many more it takes; 0: any number */
};

static bool take_event(void *ctx, const struct journal_record *e)
{
    struct reader *r = ctx;
    int n;

    if (r->room && r->records == r->room)
        return false;
    n = snprintf(r->text + r->len, sizeof(r->text) - r->len, "%s %s %s%.*s x%u %d-%d\n", e->id,
                 journal_reason_name(e->reason), e->prefix, (int)e->len, e->text, e->count,
                 (int)e->first_ms, (int)e->wall_ms);
    assert_true(n > 0);
    if (r->len + (size_t)n < sizeof(r->text))
        r->len += (size_t)n;
    r->records++;
    return true;
}

static bool take_line(void *ctx, const struct journal_record *e)
{
    struct reader *r = ctx;
    int n;

    if (r->room && r->records == r->room)
        return false;
    n = snprintf(r->text + r->len, sizeof(r->text) - r->len, "%s %s %s %.*s -%u\n", e->id,
                 journal_stream_name(e->stream), log_level_name(e->level), (int)e->len, e->text,
                 e->count);
    assert_true(n > 0);
    if (r->len + (size_t)n < sizeof(r->text))
        r->len += (size_t)n;
    r->records++;
    return true;
}

static const char *events(struct reader *r, const struct journal_filter *f)
{
    r->len = r->records = 0;
    r->text[0] = 0;
    while (journal_events(journal, &r->at, f, take_event, r))
        ;
    return r->text;
}

static const char *lines(struct reader *r, const struct journal_filter *f)
{
    r->len = r->records = 0;
    r->text[0] = 0;
    while (journal_lines(journal, &r->at, f, take_line, r))
        ;
    return r->text;
}

static const char *all_events(struct reader *r, const struct journal_filter *f)
{
    *r = (struct reader){.at = journal_events_from(journal, f, 0, UINT64_MAX)};
    return events(r, f);
}

static const char *all_lines(struct reader *r, const struct journal_filter *f)
{
    *r = (struct reader){.at = journal_lines_from(journal, f, 0, UINT64_MAX)};
    return lines(r, f);
}

static void say(const char *id, const char *text)
{
    journal_line(journal, id, JOURNAL_LOG, LOG_INFO, 0, text, strlen(text));
}

/* --- events --- */

static void test_what_repeats_is_counted(void **state)
{
    struct reader r;

    (void)state;
    journal_event(journal, JOURNAL_WOKEN, "ns/a", "ns/one");
    journal_event(journal, JOURNAL_SLEPT, "ns/a", "");
    wall_now = 2000;
    journal_event(journal, JOURNAL_TRAPPED, "ns/a", "unreachable");
    journal_event(journal, JOURNAL_WOKEN, "ns/b", "ns/one");
    wall_now = 3000;
    journal_event(journal, JOURNAL_WOKEN, "ns/a", "ns/two");
    journal_event(journal, JOURNAL_TRAPPED, "ns/a", "unreachable");
    journal_event(journal, JOURNAL_TRAPPED, "ns/a", "cpu");
    assert_string_equal(all_events(&r, &any), "ns/a Slept  x1 1000-1000\n"
                                              "ns/b Woken event of ns/one x1 2000-2000\n"
                                              "ns/a Woken event of ns/two x2 1000-3000\n"
                                              "ns/a Trapped unreachable x2 2000-3000\n"
                                              "ns/a Trapped cpu x1 3000-3000\n");
    assert_string_equal(events(&r, &any), "");
    journal_event(journal, JOURNAL_SLEPT, "ns/a", "early: others needed its room");
    assert_string_equal(events(&r, &any),
                        "ns/a Slept early: others needed its room x2 1000-3000\n");
}

/* Texts that differ each time: the newest counts for all that came since. */
static void test_similar_events_at_their_edge(void **state)
{
    struct reader r;
    char text[32];

    (void)state;
    for (unsigned i = 0; i < JOURNAL_SIMILAR_MAX + 3; i++) {
        snprintf(text, sizeof(text), "attempt %u", i);
        journal_event(journal, JOURNAL_FAILED, "ns/a", text);
    }
    all_events(&r, &any);
    assert_int_equal(r.records, JOURNAL_SIMILAR_MAX);
    snprintf(text, sizeof(text), "attempt %u x4", JOURNAL_SIMILAR_MAX + 2);
    assert_non_null(strstr(r.text, text));
    assert_non_null(strstr(r.text, "attempt 0 x1"));
}

static void test_busy_guests_do_not_push_out_what_matters(void **state)
{
    struct reader r;
    char id[32];

    (void)state;
    journal_event(journal, JOURNAL_TRAPPED, "ns/bad", "unreachable");
    for (unsigned i = 0; i < 10 * JOURNAL_EVENTS_MAX; i++) {
        snprintf(id, sizeof(id), "ns/guest-%u", i);
        journal_event(journal, JOURNAL_WOKEN, id, "ns/key");
        journal_event(journal, JOURNAL_SLEPT, id, "");
    }
    all_events(&r, &any);
    assert_int_equal(r.records, JOURNAL_EVENTS_MAX + 1);
    assert_memory_equal(r.text, "ns/bad Trapped", 14);
    assert_int_equal(r.room, 0);
    for (unsigned i = 0; i < JOURNAL_EVENTS_MAX; i++) { /* the others' room has the same edge */
        snprintf(id, sizeof(id), "ns/guest-%u", i);
        journal_event(journal, JOURNAL_FAILED, id, "no");
    }
    all_events(&r, &(struct journal_filter){"ns", "bad"});
    assert_int_equal(r.records, 0);
}

/* A long text is cut, and one that is longer than the place's last is taken whole. */
static void test_texts_of_events_at_their_edge(void **state)
{
    char text[JOURNAL_TEXT_MAX + 2];
    struct reader r;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    journal_event(journal, JOURNAL_WOKEN, "ns/a", "k");
    journal_event(journal, JOURNAL_WOKEN, "ns/a", text);
    all_events(&r, &any);
    text[JOURNAL_TEXT_MAX] = 0;
    assert_non_null(strstr(r.text, text));
    assert_non_null(strstr(r.text, "x x2 "));
}

static void test_filters_tail_and_since(void **state)
{
    static const struct journal_filter a = {"ns", "a"}, ns = {"ns", ""}, name = {"", "a"};
    struct reader r = {0};

    (void)state;
    journal_event(journal, JOURNAL_WOKEN, "ns/a", "1");
    journal_event(journal, JOURNAL_WOKEN, "nsx/a", "2");
    wall_now = 5000;
    journal_event(journal, JOURNAL_FAILED, "ns/a", "3");
    journal_event(journal, JOURNAL_WOKEN, "ns/ab", "4");
    assert_string_equal(all_events(&r, &a),
                        "ns/a Woken event of 1 x1 1000-1000\nns/a Failed 3 x1 5000-5000\n");
    all_events(&r, &ns);
    assert_int_equal(r.records, 3);
    all_events(&r, &name);
    assert_int_equal(r.records, 3);
    r.at = journal_events_from(journal, &a, 0, 1);
    assert_string_equal(events(&r, &a), "ns/a Failed 3 x1 5000-5000\n");
    r.at = journal_events_from(journal, &any, 0, 0);
    assert_string_equal(events(&r, &any), "");
    r.at = journal_events_from(journal, &any, 2000, UINT64_MAX);
    events(&r, &any);
    assert_int_equal(r.records, 2);
}

/* A reader without room is given the rest when it has some. */
static void test_reading_in_pieces(void **state)
{
    struct reader r = {.room = 1};

    (void)state;
    journal_event(journal, JOURNAL_WOKEN, "ns/a", "1");
    journal_event(journal, JOURNAL_FAILED, "ns/a", "2");
    assert_string_equal(events(&r, &any), "ns/a Woken event of 1 x1 1000-1000\n");
    assert_string_equal(events(&r, &any), "ns/a Failed 2 x1 1000-1000\n");
    assert_string_equal(events(&r, &any), "");
    say("ns/a", "one");
    say("ns/a", "two");
    r.at = journal_lines_from(journal, &any, 0, UINT64_MAX);
    assert_string_equal(lines(&r, &any), "ns/a log info one -0\n");
    assert_string_equal(lines(&r, &any), "ns/a log info two -0\n");
    assert_string_equal(lines(&r, &any), "");
}

static void test_a_reader_hears_what_it_missed(void **state)
{
    struct reader r;
    char id[32];

    (void)state;
    journal_event(journal, JOURNAL_WOKEN, "ns/first", "k");
    assert_string_equal(all_events(&r, &any), "ns/first Woken event of k x1 1000-1000\n");
    for (unsigned i = 0; i < JOURNAL_EVENTS_MAX + 1; i++) {
        snprintf(id, sizeof(id), "ns/guest-%u", i);
        journal_event(journal, JOURNAL_WOKEN, id, "k");
    }
    events(&r, &any);
    assert_int_equal(r.records, JOURNAL_EVENTS_MAX + 1);
    assert_memory_equal(r.text, " Skipped more happened at once than is kept x1", 46);
    assert_null(strstr(r.text, "ns/guest-0 "));
    assert_string_equal(events(&r, &any), "");
    all_events(&r, &any); /* who comes later missed nothing */
    assert_int_equal(r.records, JOURNAL_EVENTS_MAX);
}

/* --- lines --- */

static void test_lines_in_order_with_their_streams(void **state)
{
    static const struct journal_filter b = {"ns", "b"};
    struct reader r;

    (void)state;
    journal_line(journal, "ns/a", JOURNAL_STDOUT, LOG_INFO, 0, "out", 3);
    wall_now = 5000;
    journal_line(journal, "ns/b", JOURNAL_STDERR, LOG_WARN, 0, "err", 3);
    journal_line(journal, "ns/a", JOURNAL_LOG, LOG_DEBUG, 7, "", 0);
    assert_string_equal(all_lines(&r, &any), "ns/a stdout info out -0\nns/b stderr warn err -0\n"
                                             "ns/a log debug  -7\n");
    assert_string_equal(all_lines(&r, &b), "ns/b stderr warn err -0\n");
    r.at = journal_lines_from(journal, &any, 2000, UINT64_MAX);
    lines(&r, &any);
    assert_int_equal(r.records, 2);
    r.at = journal_lines_from(journal, &any, 0, 1);
    assert_string_equal(lines(&r, &any), "ns/a log debug  -7\n");
    say("ns/b", "more");
    assert_string_equal(lines(&r, &any), "ns/b log info more -0\n");
}

static size_t line_bytes(void)
{
    struct journal_stats st;

    journal_stats(journal, &st);
    return st.line_bytes;
}

/* One guest has its share, and the oldest of its own lines goes; a quiet one keeps its line. */
static void test_share_of_a_guest_at_its_edge(void **state)
{
    static const struct journal_filter quiet = {"ns", "quiet"}, loud = {"ns", "loud"};
    struct reader r, q;
    char text[1024];

    (void)state;
    memset(text, 'x', sizeof(text));
    say("ns/quiet", "I was here");
    all_lines(&q, &quiet);
    all_lines(&r, &any);
    for (unsigned i = 0; line_bytes() <= JOURNAL_GUEST_BYTES - 1024; i++)
        journal_line(journal, "ns/loud", JOURNAL_LOG, LOG_INFO, 0, text, sizeof(text));
    lines(&r, &any);
    assert_null(strstr(r.text, "missing"));
    for (unsigned i = 0; i < 3 * JOURNAL_GUEST_BYTES / sizeof(text); i++)
        journal_line(journal, "ns/loud", JOURNAL_LOG, LOG_INFO, 0, text, sizeof(text));
    assert_true(line_bytes() <= JOURNAL_GUEST_BYTES + 256);
    assert_string_equal(lines(&q, &quiet), ""); /* it missed nothing of its own */
    lines(&r, &any);
    assert_memory_equal(r.text, " log warn lines are missing here", 32);
    assert_string_equal(all_lines(&q, &quiet), "ns/quiet log info I was here -0\n");
    all_lines(&r, &loud);
    assert_null(strstr(r.text, "missing"));
    assert_true(r.records > JOURNAL_GUEST_BYTES / 1200);
}

static void test_bytes_of_all_at_their_edge(void **state)
{
    struct journal_stats st;
    struct reader r;
    char text[1024], id[32];
    unsigned guests = 2 * JOURNAL_BYTES_MAX / sizeof(text);

    (void)state;
    memset(text, 'x', sizeof(text));
    for (unsigned i = 0; i < guests; i++) {
        snprintf(id, sizeof(id), "ns/guest-%u", i);
        journal_line(journal, id, JOURNAL_LOG, LOG_INFO, 0, text, sizeof(text));
    }
    journal_stats(journal, &st);
    assert_true(st.line_bytes <= JOURNAL_BYTES_MAX);
    assert_true(st.line_bytes > JOURNAL_BYTES_MAX - 2 * sizeof(text));
    assert_int_equal(st.lines_total, guests);
    all_lines(&r, &any);
    assert_int_equal(r.records, st.lines);
    assert_string_equal(all_lines(&r, &(struct journal_filter){"ns", "guest-0"}), "");
    snprintf(id, sizeof(id), "guest-%u", guests - 1);
    all_lines(&r, &(struct journal_filter){"ns", id});
    assert_int_equal(r.records, 1);
}

/* Two guests log, one far more than its share: the slots of what went are used again. */
static void test_slots_are_used_again(void **state)
{
    struct reader r;

    (void)state;
    say("ns/quiet", "first");
    for (unsigned i = 0; i < 200000; i++)
        say("ns/loud", "");
    say("ns/quiet", "last");
    assert_string_equal(all_lines(&r, &(struct journal_filter){"ns", "quiet"}),
                        "ns/quiet log info first -0\nns/quiet log info last -0\n");
    all_lines(&r, &any);
    assert_true(r.records <= JOURNAL_GUEST_BYTES / 64 + 2);
}

/* --- followers --- */

static unsigned told_of_lines, told_of_events;

static void lines_news(struct journal_follower *f)
{
    told_of_lines++;
    journal_unfollow(journal, f);
    loop_stop(loop);
}

static void events_news(struct journal_follower *f)
{
    told_of_events++;
    journal_unfollow(journal, f);
    loop_stop(loop);
}

static void *log_from_a_thread(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 1000; i++)
        say("ns/a", "x");
    return NULL;
}

static void test_followers_are_told_once(void **state)
{
    struct journal_follower f = {.news = lines_news, .lines = true};
    pthread_t thread;
    struct reader r;

    (void)state;
    journal_follow(journal, &f);
    assert_int_equal(pthread_create(&thread, NULL, log_from_a_thread, NULL), 0);
    loop_run(loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(told_of_lines, 1);
    all_lines(&r, &any);
    assert_int_equal(r.records, 1000);
}

static void test_followers_of_events_are_told_together(void **state)
{
    struct journal_follower f = {.news = events_news};

    (void)state;
    journal_follow(journal, &f);
    for (unsigned i = 0; i < 1000; i++)
        journal_event(journal, JOURNAL_WOKEN, "ns/a", "k");
    assert_int_equal(told_of_events, 0);
    loop_run(loop);
    assert_int_equal(told_of_events, 1);
}

/* Lines that were not allowed are told of a second later, all of a guest's together. */
static void test_dropped_lines_are_told_of(void **state)
{
    struct journal_follower f = {.news = lines_news, .lines = true};
    struct journal_stats st;
    struct reader r;
    int saved = dup(2), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    char expected[128];

    (void)state;
    dup2(null, 2);
    journal_follow(journal, &f);
    journal_dropped(journal, "ns/a", 5);
    journal_dropped(journal, "ns/a", 2);
    loop_run(loop);
    dup2(saved, 2);
    close(saved);
    close(null);
    snprintf(expected, sizeof(expected),
             "ns/a log warn 7 lines dropped: more than %u a second -7\n", GUEST_LOG_RATE);
    assert_string_equal(all_lines(&r, &any), expected);
    journal_stats(journal, &st);
    assert_int_equal(st.dropped_total, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_repeats_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_similar_events_at_their_edge, setup, teardown),
        cmocka_unit_test_setup_teardown(test_busy_guests_do_not_push_out_what_matters, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_texts_of_events_at_their_edge, setup, teardown),
        cmocka_unit_test_setup_teardown(test_filters_tail_and_since, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reading_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_reader_hears_what_it_missed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines_in_order_with_their_streams, setup, teardown),
        cmocka_unit_test_setup_teardown(test_share_of_a_guest_at_its_edge, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_of_all_at_their_edge, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slots_are_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_followers_are_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_followers_of_events_are_told_together, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_dropped_lines_are_told_of, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
