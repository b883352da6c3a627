/* The heap of timers: order, moving, clearing, also from within callbacks, and fairness. */
#include "base/timers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/inbox.h" /* container_of */

struct alarm {
    struct timer timer;
    struct timers *set; /* NULL: only counts */
    uint64_t again_ns;  /* set anew for then; 0: not */
    unsigned fired;
};

static uint64_t last_due;

static void fire(struct timer *t)
{
    struct alarm *a = container_of(t, struct alarm, timer);

    assert_int_equal(t->at, 0);
    assert_int_equal(t->due_ns, 0);
    a->fired++;
    if (a->again_ns)
        assert_int_equal(timers_set(a->set, t, a->again_ns, NULL), 0);
}

static void test_fires_what_is_due_in_order(void **state)
{
    enum { N = 500 };
    struct alarm alarms[N];
    struct timers ts = {0};
    unsigned seed = 7;

    (void)state;
    assert_int_equal(timers_next(&ts), 0);
    timers_run(&ts, 100);
    for (int i = 0; i < N; i++) {
        seed = seed * 1103515245u + 12345u;
        alarms[i] = (struct alarm){.timer.fire = fire};
        assert_int_equal(timers_set(&ts, &alarms[i].timer, 1000 + (seed >> 16) % 1000, NULL), 0);
    }
    for (int i = 0; i < N; i += 3) /* moved to other places */
        assert_int_equal(timers_set(&ts, &alarms[i].timer, 900 + (uint64_t)i * 3, NULL), 0);
    for (int i = 1; i < N; i += 3)
        timers_clear(&ts, &alarms[i].timer);
    timers_clear(&ts, &alarms[1].timer); /* twice is fine */
    last_due = 0;
    while (timers_next(&ts)) {
        uint64_t due = timers_next(&ts);
        unsigned before = 0, after = 0;

        assert_true(due > last_due);
        last_due = due;
        for (int i = 0; i < N; i++)
            before += alarms[i].fired;
        timers_run(&ts, due - 1);
        for (int i = 0; i < N; i++)
            after += alarms[i].fired;
        assert_int_equal(before, after);
        timers_run(&ts, due);
        assert_true(timers_next(&ts) == 0 || timers_next(&ts) > due);
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(alarms[i].fired, i % 3 == 1 ? 0 : 1);
    timers_free(&ts);
}

/* One that always sets itself for now or the past fires once a run, and the others have their turn.
 */
static void test_a_timer_set_for_now_by_itself_is_fair(void **state)
{
    struct timers ts = {0};
    struct alarm busy[3] = {0}, patient = {.timer.fire = fire};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        busy[i] = (struct alarm){.timer.fire = fire, .set = &ts, .again_ns = 1 + i};
        assert_int_equal(timers_set(&ts, &busy[i].timer, 1, NULL), 0);
    }
    assert_int_equal(timers_set(&ts, &patient.timer, 1000, NULL), 0);
    for (unsigned run = 1; run <= 5; run++) {
        timers_run(&ts, 1000 + run);
        assert_int_equal(busy[0].fired, run);
        assert_int_equal(busy[1].fired, run);
        assert_int_equal(busy[2].fired, run);
        assert_int_equal(patient.fired, 1);
    }
    timers_free(&ts);
    assert_int_equal(busy[0].timer.at, 0);
    assert_int_equal(timers_next(&ts), 0);
}

static struct timers victims;
static struct alarm victim[4];

static void clear_others(struct timer *t)
{
    victim[0].fired++;
    for (int i = 1; i < 4; i++)
        timers_clear(&victims, &victim[i].timer);
    (void)t;
}

static void test_a_callback_may_clear_what_is_due_too(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        victim[i] = (struct alarm){.timer.fire = i ? fire : clear_others};
        assert_int_equal(timers_set(&victims, &victim[i].timer, 10 + i, NULL), 0);
    }
    timers_run(&victims, 100);
    assert_int_equal(victim[0].fired, 1);
    assert_int_equal(victim[1].fired + victim[2].fired + victim[3].fired, 0);
    assert_int_equal(timers_next(&victims), 0);
    timers_free(&victims);
}

static void test_time_zero_means_at_once(void **state)
{
    struct timers ts = {0};
    struct alarm a = {.timer.fire = fire};

    (void)state;
    assert_int_equal(timers_set(&ts, &a.timer, 0, NULL), 0);
    assert_int_equal(timers_next(&ts), 1);
    timers_run(&ts, 1);
    assert_int_equal(a.fired, 1);
    timers_free(&ts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fires_what_is_due_in_order),
        cmocka_unit_test(test_a_timer_set_for_now_by_itself_is_fair),
        cmocka_unit_test(test_a_callback_may_clear_what_is_due_too),
        cmocka_unit_test(test_time_zero_means_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
