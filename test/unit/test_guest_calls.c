/* A guest's calls, seen from both sides: answers that come in pieces, late, broken or never, bodies
 * that go in pieces, handles, and what happens to calls whose guest is gone. The guest
 * (test/guests/caller.c) checks what it gets; the script (support/script_kube.h) what is taken.
 */
#include "support/own_signals.h"
#include "support/script_kube.h"
#include "support/tmp_dir.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECONDS_MAX 60u
#define BYTES       300000

struct fixture {
    struct tmp_dir dir;
    struct rig rig;
    struct script script;
    struct guest *g;
};

static void few_calls(struct guest_spec *spec)
{
    spec->limits.calls = 4;
    spec->limits.cpu_ns = 2 * NS_PER_S;
    spec->sleep_after_ns = 3600 * NS_PER_S;
}

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    *state = &f;
    log_init(LOG_ERROR, "text");
    return tmp_dir_make(&f.dir);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    tmp_dir_remove(&f->dir);
    return 0;
}

static void begin(struct fixture *f, void (*tweak)(struct guest_spec *spec))
{
    static const char *const env[] = {"BYTES=300000", NULL};

    f->script.bytes = BYTES;
    assert_true(rig_open(&f->rig, f->dir.path, 1, true));
    signals_own();
    script_install(&f->script, &f->rig);
    f->g = rig_add(&f->rig, "caller", "caller", env, tweak);
    assert_non_null(f->g);
}

/* All calls are over, on both sides. */
static void end(struct fixture *f)
{
    rig_close(&f->rig);
}

static bool tried(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.failures || g->counts.traps || (mailbox_len(g->mailbox) == 0);
}

static void handles(struct fixture *f, const char *key)
{
    rig_change(&f->rig, f->g, key, "{}");
    assert_true(rig_run(&f->rig, tried, f->g, SECONDS_MAX));
    if (f->g->counts.failures || f->g->counts.traps)
        fail_msg("%s: %s", key, f->g->last_error);
}

static void test_answers_in_pieces(void **state)
{
    struct fixture *f = *state;
    char key[32];

    begin(f, NULL);
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof(key), "test/stream-%d", i);
        handles(f, key);
    }
    handles(f, "test/several");
    assert_int_equal(f->script.started, 24);
    assert_int_equal(f->script.ended, 24);
    assert_int_equal(f->script.cancelled, 0);
    end(f);
}

/* By threes, with a wait before each: some 7,000 of them. */
static void test_answers_read_by_small_pieces(void **state)
{
    struct fixture *f = *state;
    static const char *const env[] = {"BYTES=20000", NULL};

    begin(f, NULL);
    f->script.bytes = 20000;
    f->g = rig_add(&f->rig, "caller", "small", env, NULL);
    assert_non_null(f->g);
    handles(f, "test/slowly");
    end(f);
}

/* What a guest does not read, its peer does not send. */
static void test_unread_answers_stop_their_sender(void **state)
{
    struct fixture *f = *state;

    f->script.window = 7000;
    begin(f, NULL);
    handles(f, "test/stream-1");
    handles(f, "test/several");
    assert_true(f->script.unread_max <= 7000);
    assert_true(f->script.unread_max > 3000);
    end(f);
}

static void test_answer_that_breaks_off(void **state)
{
    struct fixture *f = *state;

    begin(f, NULL);
    handles(f, "test/broken");
    handles(f, "test/unreachable");
    end(f);
}

static void test_bodies_in_pieces(void **state)
{
    struct fixture *f = *state;

    begin(f, NULL);
    handles(f, "test/echo");
    handles(f, "test/early");
    handles(f, "test/body");
    end(f);
}

static void test_calls_under_way_are_limited(void **state)
{
    struct fixture *f = *state;

    begin(f, few_calls);
    handles(f, "test/many");
    assert_int_equal(f->script.started, 6); /* those that were refused never came here */
    handles(f, "test/pause"); /* what the last event left was closed: there is room again */
    end(f);
    assert_int_equal(f->script.cancelled, 5);
}

static void test_handles_are_limited_and_end_with_their_event(void **state)
{
    struct fixture *f = *state;

    begin(f, few_calls);
    handles(f, "test/open");
    assert_int_equal(f->script.started, ABI_HANDLES_MAX + 1);
    handles(f, "test/known");
    handles(f, "test/open");
    end(f);
}

static void one_call(struct guest_spec *spec)
{
    spec->limits.calls = 1;
}

/* What the host holds of bodies does not grow with calls, handles or answers that nobody reads. */
static void test_bodies_are_limited_over_all_calls(void **state)
{
    static const char *const env[] = {"BYTES=3000000", NULL};
    struct fixture *f = *state;

    begin(f, NULL);
    handles(f, "test/full");
    assert_non_null(strstr(f->g->last_refusal, "ABI_BODIES_MAX"));
    handles(f, "test/early"); /* none of it is left for the next event */
    f->script.bytes = 3000000;
    f->g = rig_add(&f->rig, "caller", "unread", env, one_call);
    assert_non_null(f->g);
    handles(f, "test/wasted");
    assert_non_null(strstr(f->g->last_refusal, "ABI_BODIES_MAX"));
    end(f);
}

static void test_calls_that_were_left_are_cancelled(void **state)
{
    struct fixture *f = *state;

    begin(f, few_calls);
    handles(f, "test/leave");
    handles(f, "test/nothing");
    end(f);
    assert_int_equal(f->script.cancelled, 4);
}

/* --- limit time --- */

static void short_time(struct guest_spec *spec)
{
    spec->limits.time_ns = 50 * NS_PER_MS;
}

static bool has_trapped(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.traps > 0;
}

static bool good_handled(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.events > g->counts.traps;
}

static void test_call_that_is_never_answered(void **state)
{
    struct fixture *f = *state;
    struct guest *other;
    uint64_t began;

    begin(f, short_time);
    other = rig_add(&f->rig, "caller", "other", NULL, NULL);
    began = clock_now_ns();
    rig_change(&f->rig, f->g, "test/hang", "{}");
    rig_change(&f->rig, other, "test/unreachable", "{}"); /* on the same worker, meanwhile */
    assert_true(rig_run(&f->rig, has_trapped, f->g, SECONDS_MAX));
    assert_true(clock_now_ns() - began >= 50 * NS_PER_MS);
    assert_non_null(strstr(f->g->last_error, "limit time passed"));
    assert_int_equal(other->counts.events, 1);
    assert_int_equal(other->counts.failures + other->counts.traps, 0);
    rig_change(&f->rig, f->g, "test/unreachable", "{}");
    assert_true(rig_run(&f->rig, good_handled, f->g, SECONDS_MAX));
    assert_true(f->script.cancelled >= 1);
    assert_true(f->g->counts.fresh_starts >= 2);
    end(f);
}

static void short_cpu(struct guest_spec *spec)
{
    spec->limits.cpu_ns = 20 * NS_PER_MS;
}

/* 60 ms of waiting under a limit of 20 ms of running. */
static void test_waiting_is_not_running(void **state)
{
    struct fixture *f = *state;

    begin(f, short_cpu);
    handles(f, "test/pause");
    end(f);
}

/* --- the daemon stops while a call is under way --- */

static bool is_running(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_RUNNING;
}

static void test_stopping_waits_for_the_event(void **state)
{
    struct fixture *f = *state;

    begin(f, short_time);
    rig_change(&f->rig, f->g, "test/hang", "{}");
    assert_true(rig_run(&f->rig, is_running, f->g, SECONDS_MAX));
    end(f); /* within limits.time */
    assert_int_equal(f->script.cancelled, f->script.started);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_answers_in_pieces),
        TEST(test_answers_read_by_small_pieces),
        TEST(test_unread_answers_stop_their_sender),
        TEST(test_answer_that_breaks_off),
        TEST(test_bodies_in_pieces),
        TEST(test_calls_under_way_are_limited),
        TEST(test_handles_are_limited_and_end_with_their_event),
        TEST(test_bodies_are_limited_over_all_calls),
        TEST(test_calls_that_were_left_are_cancelled),
        TEST(test_call_that_is_never_answered),
        TEST(test_waiting_is_not_running),
        TEST(test_stopping_waits_for_the_event),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
