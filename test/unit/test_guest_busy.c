/* Events that come at any moment, above all while a guest is being saved; timers, failures and
 * traps: each key is handled, at its time, by the memory that the guest had.
 */
#include "support/ledger_rig.h"

#include "base/limits.h"

/* --- events while saving --- */

#define GUESTS  8
#define KEYS    5
#define CHANGES 3000

static struct {
    struct ledgers *l;
    struct timer fire[GUESTS]; /* the next change of each guest */
    unsigned left, seed;
    size_t mid_save; /* changes that came while the guest was being saved */
} storm;

static void storm_change(struct timer *t)
{
    struct guest *g = storm.l->guests[t - storm.fire];

    if (storm.left == 0)
        return;
    storm.left--;
    storm.mid_save += g->state == G_SAVING;
    ledgers_change(storm.l, g, (unsigned)rand_r(&storm.seed) % KEYS);
}

static void storm_in(size_t i, uint64_t ns)
{
    struct err err;

    storm.fire[i].fire = storm_change;
    assert_int_equal(loop_timer_set(storm.l->rig.loop, &storm.fire[i], clock_now_ns() + ns, &err),
                     0);
}

/* A guest's next change comes at a random moment of its save, or of its sleep. */
static void storm_seen(struct ledgers *l, const struct guest *g, enum guest_event ev)
{
    for (size_t i = 0; i < l->n - 1; i++) {
        if (l->guests[i] != g)
            continue;
        if (g->state == G_SAVING && ev != GE_WAKE)
            storm_in(i, (unsigned)rand_r(&storm.seed) % (NS_PER_MS / 2));
        else if ((ev == GE_SAVED || ev == GE_SLEPT) && !storm.fire[i].at)
            storm_in(i, (unsigned)rand_r(&storm.seed) % NS_PER_MS);
    }
}

static bool storm_over(struct rig *r, void *ctx)
{
    return storm.left == 0 && ledgers_quiet(r, ctx);
}

static void test_events_at_random_moments_of_saves(void **state)
{
    struct ledgers *l = *state;
    struct guest *idle;
    uint64_t abandoned = 0, events = 0;

    memset(&storm, 0, sizeof(storm));
    storm.l = l;
    storm.left = CHANGES;
    storm.seed = 7;
    ledgers_open(l, 2, true);
    for (int i = 0; i < GUESTS; i++)
        ledgers_add(l, 1 + (unsigned)i % 3, i % 2 ? 64 : 1024, NULL);
    idle = ledgers_add(l, 1, 64, NULL);
    ledgers_round(l, idle);
    l->seen = storm_seen;
    for (size_t i = 0; i < GUESTS; i++)
        storm_in(i, 0);
    if (!rig_run(&l->rig, storm_over, l, 120))
        fail_msg("%u changes left, asleep: %d", storm.left, ledgers_quiet(&l->rig, l));
    l->seen = NULL;
    for (int i = 0; i < GUESTS; i++) {
        const struct guest *g = l->guests[i];

        ledgers_check_whole(l, g);
        assert_int_equal(g->counts.fresh_starts, 1);
        assert_int_equal(g->counts.failures + g->counts.traps, 0);
        assert_string_equal(g->last_error, "");
        abandoned += g->counts.abandoned;
        events += g->counts.events;
    }
    ledgers_check_handled(l);
    assert_int_equal(idle->counts.events, 1);
    assert_int_equal(idle->counts.wakes, 0);
    assert_true(storm.mid_save > CHANGES / 20); /* the test tests what it is for */
    assert_true(abandoned > 0);
    assert_true(events > CHANGES / 2);
    ledgers_close(l);
}

/* --- timers --- */

/* When each event of a guest began, by key. */
struct diary {
    struct {
        char key[64];
        uint64_t begun_ns, done_ns, delay_ns;
        uint32_t failures;
        bool afresh;
    } lines[512];
    size_t n;
};

static void diary_write(struct ledgers *l, const struct guest *g, enum guest_event ev)
{
    struct diary *d = l->ctx;

    if ((ev != GE_DONE && ev != GE_SLEPT && ev != GE_TRAP) || d->n == 512)
        return;
    snprintf(d->lines[d->n].key, sizeof(d->lines[0].key), "%s", g->awake->ev.key);
    d->lines[d->n].begun_ns = g->awake->picked_ns;
    d->lines[d->n].done_ns = clock_now_ns();
    d->lines[d->n].delay_ns = g->awake->answer.requeue_after_ms * NS_PER_MS;
    d->lines[d->n].failures = g->awake->ev.failures;
    d->lines[d->n++].afresh = g->awake->fresh;
}

/* The n-th line of a key; -1: there is none. */
static int diary_find(const struct diary *d, const char *key, int n)
{
    for (size_t i = 0; i < d->n; i++)
        if (!strcmp(d->lines[i].key, key) && n-- == 0)
            return (int)i;
    return -1;
}

static int diary_count(const struct diary *d, const char *key)
{
    int n = 0;

    while (diary_find(d, key, n) >= 0)
        n++;
    return n;
}

static const char *const timed_keys[] = {"test/a-1", "test/b-20", "test/c-150", "test/d-400"};

#define TIMED (sizeof(timed_keys) / sizeof(timed_keys[0]))

static struct guest *add_again(struct ledgers *l)
{
    struct guest *g = rig_add(&l->rig, "again", "again", NULL, NULL);

    assert_non_null(g);
    return g;
}

static bool all_timers_ran(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_ASLEEP && mailbox_len(g->mailbox) == 0;
}

static bool each_ran_once(struct rig *r, void *ctx)
{
    struct ledgers *l = r->ctx;
    const struct guest *g = ctx;

    for (size_t i = 0; i < TIMED; i++)
        if (diary_count(l->ctx, timed_keys[i]) == 0)
            return false;
    return g->state == G_ASLEEP;
}

/* No event before its time, each as often as was asked for. */
static void timers_check(const struct diary *d)
{
    for (size_t k = 0; k < TIMED; k++) {
        assert_int_equal(diary_count(d, timed_keys[k]), 4);
        for (int n = 0; n < 3; n++) {
            int i = diary_find(d, timed_keys[k], n), next = diary_find(d, timed_keys[k], n + 1);
            uint64_t due = d->lines[i].done_ns + d->lines[i].delay_ns;

            assert_true(d->lines[i].delay_ns > 0);
            /* done_ns is noted a moment after the time that counts. */
            if (d->lines[next].begun_ns + NS_PER_MS < due)
                fail_msg("%s: %" PRIu64 " us too early", timed_keys[k],
                         (due - d->lines[next].begun_ns) / 1000);
        }
    }
}

static void test_timers_run_through_sleep(void **state)
{
    static struct diary d;
    struct ledgers *l = *state;
    struct guest *g, *idle;

    d.n = 0;
    l->ctx = &d;
    ledgers_open(l, 1, true);
    idle = ledgers_add(l, 1, 64, NULL);
    ledgers_round(l, idle);
    d.n = 0;
    l->seen = diary_write;
    g = add_again(l);
    for (size_t i = 0; i < TIMED; i++)
        rig_change(&l->rig, g, timed_keys[i], "{}");
    assert_true(rig_run(&l->rig, all_timers_ran, g, SETTLE_S));
    timers_check(&d);
    assert_int_equal(g->counts.fresh_starts, 1);
    assert_true(g->counts.wakes > 3); /* it slept in between */
    assert_int_equal(idle->counts.wakes, 0);
    ledgers_close(l);
}

static void test_timers_run_through_restarts(void **state)
{
    static struct diary d;
    struct ledgers *l = *state;
    struct guest *g;

    d.n = 0;
    l->ctx = &d;
    l->seen = diary_write;
    ledgers_open(l, 1, true);
    g = add_again(l);
    for (size_t i = 0; i < TIMED; i++)
        rig_change(&l->rig, g, timed_keys[i], "{}");
    assert_true(rig_run(&l->rig, each_ran_once, g, SETTLE_S));
    ledgers_close(l);
    for (int life = 0; life < 20 && diary_count(&d, "test/d-400") < 3; life++) {
        ledgers_open(l, 1, life % 3 != 0);
        g = add_again(l);
        assert_non_null(g->snapshot);
        if (life > 2) /* else it ends before anything was due */
            assert_true(rig_run(&l->rig, all_timers_ran, g, SETTLE_S));
        ledgers_close(l);
    }
    timers_check(&d);
    for (size_t i = 1; i < d.n; i++)
        assert_false(d.lines[i].afresh);
}

/* A change comes before the timer: it is handled at once, and the timer is forgotten. */
static void test_change_goes_before_the_timer(void **state)
{
    static struct diary d;
    struct ledgers *l = *state;
    struct guest *g;

    d.n = 0;
    l->ctx = &d;
    l->seen = diary_write;
    ledgers_open(l, 1, true);
    g = rig_add(&l->rig, "again", "again", (const char *const[]){"COUNT=1", NULL}, NULL);
    assert_non_null(g);
    rig_change(&l->rig, g, "test/far-3600000", "{}");
    while (diary_count(&d, "test/far-3600000") < 1 || g->state != G_ASLEEP)
        assert_true(rig_run(&l->rig, ledgers_any_event, g, SETTLE_S));
    assert_int_equal(mailbox_len(g->mailbox), 1); /* in an hour */
    rig_change(&l->rig, g, "test/far-3600000", "{}");
    assert_true(rig_settle(&l->rig, g, SETTLE_S));
    assert_int_equal(diary_count(&d, "test/far-3600000"), 2);
    ledgers_close(l);
}

/* --- failures and traps --- */

/* 5 ms, 10 ms, 20 ms: the key that fails waits, the others do not. */
static void test_failures_back_off_by_key(void **state)
{
    static struct diary d;
    struct ledgers *l = *state;
    struct guest *g;
    uint64_t delay = MAILBOX_BACKOFF_MIN_NS;

    d.n = 0;
    l->ctx = &d;
    l->seen = diary_write;
    ledgers_open(l, 1, true);
    g = rig_add(&l->rig, "again", "again", (const char *const[]){"COUNT=6", NULL}, NULL);
    assert_non_null(g);
    rig_change(&l->rig, g, "test/fail-1", "{}");
    rig_change(&l->rig, g, "test/fine-1", "{}");
    assert_true(rig_run(&l->rig, all_timers_ran, g, SETTLE_S));
    assert_int_equal(diary_count(&d, "test/fail-1"), 7);
    assert_int_equal(diary_count(&d, "test/fine-1"), 7);
    assert_int_equal(g->counts.failures, 6);
    assert_int_equal(g->counts.fresh_starts, 1); /* a failure costs no memory */
    assert_non_null(strstr(g->last_error, "as was asked for"));
    for (int n = 0; n < 6; n++, delay *= 2) {
        int i = diary_find(&d, "test/fail-1", n), next = diary_find(&d, "test/fail-1", n + 1);

        assert_int_equal(d.lines[i].failures, n);
        assert_true(d.lines[next].begun_ns + NS_PER_MS >= d.lines[i].done_ns + delay);
    }
    ledgers_close(l);
}

static bool trapped_thrice(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.traps >= 3 && g->state == G_FAILED;
}

/* The key that traps backs off, and so does the guest's fresh start; another key's event, put
 * meanwhile, is handled by that fresh start and ends the guest's back-off. */
static void test_trap_fails_its_key_only(void **state)
{
    static struct diary d;
    struct ledgers *l = *state;
    struct guest *g, *idle;

    d.n = 0;
    l->ctx = &d;
    ledgers_open(l, 1, true);
    idle = ledgers_add(l, 1, 64, NULL);
    ledgers_round(l, idle);
    l->seen = diary_write;
    g = rig_add(&l->rig, "trap", "trap", NULL, NULL);
    assert_non_null(g);
    rig_change(&l->rig, g, "test/good-1", "{}");
    rig_change(&l->rig, g, "test/good-2", "{}");
    assert_true(rig_settle(&l->rig, g, SETTLE_S));
    rig_change(&l->rig, g, "test/bad", "{}");
    assert_true(rig_run(&l->rig, trapped_thrice, g, SETTLE_S));
    assert_int_equal(diary_count(&d, "test/good-1"), 1); /* not again */
    assert_int_equal(diary_count(&d, "test/good-2"), 1);
    assert_non_null(strstr(g->last_error, "stumble")); /* a backtrace by name */
    assert_int_equal(g->crashes, 3);
    for (int n = 0; n < 2; n++) {
        int i = diary_find(&d, "test/bad", n), next = diary_find(&d, "test/bad", n + 1);

        assert_true(d.lines[next].afresh);
        assert_true(d.lines[next].begun_ns + NS_PER_MS >=
                    d.lines[i].done_ns + (CRASH_BACKOFF_MIN_NS << n));
    }
    rig_change(&l->rig, g, "test/good-1", "{}");
    while (diary_count(&d, "test/good-1") < 2)
        assert_true(rig_run(&l->rig, ledgers_any_event, g, SETTLE_S));
    assert_true(d.lines[diary_find(&d, "test/good-1", 1)].afresh);
    assert_int_equal(idle->counts.wakes, 0);
    ledgers_close(l);
}

static void all_due(struct guest_spec *spec)
{
    spec->on_fresh_start = FRESH_ALL;
}

static void test_trap_makes_all_keys_due_where_asked_for(void **state)
{
    static struct diary d;
    struct ledgers *l = *state;
    struct guest *g;

    d.n = 0;
    l->ctx = &d;
    l->seen = diary_write;
    ledgers_open(l, 1, true);
    g = rig_add(&l->rig, "trap", "trap", NULL, all_due);
    assert_non_null(g);
    rig_change(&l->rig, g, "test/good-1", "{}");
    rig_change(&l->rig, g, "test/good-2", "{}");
    assert_true(rig_settle(&l->rig, g, SETTLE_S));
    rig_change(&l->rig, g, "test/bad", "{}");
    while (diary_count(&d, "test/good-1") < 2 || diary_count(&d, "test/good-2") < 2)
        assert_true(rig_run(&l->rig, ledgers_any_event, g, SETTLE_S));
    ledgers_close(l);
}

/* --- no memory --- */

static unsigned refusals;
static int (*real_fill)(void *ctx, const struct guest *g, uint16_t trigger, const char *key,
                        struct event *ev, struct err *err);

static int fill_or_not(void *ctx, const struct guest *g, uint16_t trigger, const char *key,
                       struct event *ev, struct err *err)
{
    if (refusals == 0)
        return real_fill(ctx, g, trigger, key, ev, err);
    refusals--;
    return err_set(err, ERR_NOMEM, 0, "no memory");
}

static void lies_awake(struct guest_spec *spec)
{
    spec->sleep_after_ns = 3600 * NS_PER_S;
}

static bool has_events(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.events == 2;
}

/* There is no memory for its next event, four times: it waits for longer each time, loses nothing,
 * and does not keep the loop busy meanwhile. */
static void no_memory(struct ledgers *l, void (*tweak)(struct guest_spec *spec))
{
    struct guest *g;
    uint64_t began;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, tweak);
    ledgers_change(l, g, 0);
    while (g->counts.events == 0 || g->state == G_RUNNING || g->state == G_SAVING)
        assert_true(rig_run(&l->rig, ledgers_any_event, NULL, SETTLE_S));
    real_fill = l->rig.trigger.fill;
    l->rig.trigger.fill = fill_or_not;
    refusals = 4;
    began = clock_now_ns();
    ledgers_change(l, g, 0);
    assert_true(rig_run(&l->rig, has_events, g, SETTLE_S));
    assert_int_equal(refusals, 0);
    assert_true(clock_now_ns() - began >= (1 + 2 + 4 + 8) * CRASH_BACKOFF_MIN_NS);
    assert_int_equal(g->counts.fresh_starts, 1);
    assert_int_equal(g->crashes, 0);
    ledgers_check_whole(l, g);
    ledgers_check_handled(l);
    ledgers_close(l);
}

static void test_no_memory_for_an_event_of_a_sleeping_guest(void **state)
{
    no_memory(*state, NULL);
}

static void test_no_memory_for_an_event_of_a_guest_that_is_awake(void **state)
{
    no_memory(*state, lies_awake);
}

/* --- those that start afresh by choice --- */

static void by_choice(struct guest_spec *spec)
{
    spec->sleep_mode = SLEEP_FRESH;
}

/* sleep.mode fresh: nothing of its memory is kept, but what it handled is, and its timers. */
static void test_fresh_by_choice_is_not_due_again(void **state)
{
    struct ledgers *l = *state;
    struct guest *g;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, by_choice);
    ledgers_change(l, g, 1);
    ledgers_round(l, g);
    ledgers_round(l, g);
    assert_int_equal(g->counts.fresh_starts, 2);
    assert_int_equal(book_of(l, g->id)->events, 1);
    assert_null(g->snapshot);
    ledgers_close(l);
    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, by_choice);
    assert_int_equal(mailbox_len(g->mailbox), 0);
    ledgers_round(l, g);
    assert_int_equal(g->counts.events, 1);
    ledgers_close(l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, ledgers_setup, ledgers_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_events_at_random_moments_of_saves),
        TEST(test_timers_run_through_sleep),
        TEST(test_timers_run_through_restarts),
        TEST(test_change_goes_before_the_timer),
        TEST(test_failures_back_off_by_key),
        TEST(test_trap_fails_its_key_only),
        TEST(test_trap_makes_all_keys_due_where_asked_for),
        TEST(test_no_memory_for_an_event_of_a_sleeping_guest),
        TEST(test_no_memory_for_an_event_of_a_guest_that_is_awake),
        TEST(test_fresh_by_choice_is_not_due_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
