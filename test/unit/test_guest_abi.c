/* docs/abi.md, seen from inside: guests that try each import and WASI function, right and wrong, on
 * the real engine. Each says itself what was not as it should be. */
#include "rig/rig.h"
#include "support/tmp_dir.h"

#include "base/limits.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECONDS_MAX 60u
#define OBJECT      "{\"metadata\":{\"name\":\"x\",\"resourceVersion\":\"1\"}}"

struct fixture {
    struct tmp_dir dir;
    struct rig rig;
};

/* cmocka puts its own handlers over the engine's, which live on signals, around each test and each
 * setup: what was there after the first engine was made is kept, and put back in each test. */
static const int signals[] = {SIGILL, SIGSEGV, SIGFPE, SIGBUS};
static struct sigaction kept[4];

static void signals_keep(void)
{
    static bool done;

    for (size_t i = 0; i < 4 && !done; i++)
        sigaction(signals[i], NULL, &kept[i]);
    done = true;
}

static void signals_put_back(void)
{
    for (size_t i = 0; i < 4; i++)
        sigaction(signals[i], &kept[i], NULL);
}

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    *state = &f;
    if (tmp_dir_make(&f.dir) < 0)
        return -1;
    if (!rig_open(&f.rig, f.dir.path, 1, true))
        return -1;
    signals_keep();
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->rig.guests)
        rig_close(&f->rig);
    tmp_dir_remove(&f->dir);
    return 0;
}

/* One try of its event is over, well or not. */
static bool tried(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    if (g->counts.failures || g->counts.traps)
        return true;
    return g->counts.events > 0 && mailbox_len(g->mailbox) == 0;
}

/* Runs one event of a guest, and asserts that it ended well. */
static void handles_well(struct fixture *f, const char *module, const char *const *env)
{
    struct guest *g = rig_add(&f->rig, module, module, env, NULL);

    signals_put_back();
    assert_non_null(g);
    rig_change(&f->rig, g, "test/x", OBJECT);
    assert_true(rig_run(&f->rig, tried, g, SECONDS_MAX));
    if (g->counts.failures || g->counts.traps)
        fail_msg("%s: %s", module, g->last_error);
    assert_int_equal(g->counts.events, 1);
}

static void test_nothing_is_fine(void **state)
{
    handles_well(*state, "nothing", NULL);
}

static void test_bad_pointers_handles_and_values_are_refused(void **state)
{
    handles_well(*state, "badptr", NULL);
}

/* Every pointer and every length of every import, with every bad value. */
static void test_each_pointer_and_length_of_each_import(void **state)
{
    handles_well(*state, "pointers", NULL);
}

static void test_several_calls_at_once(void **state)
{
    static const char *const env[] = {"REFUSALS=no", NULL};

    handles_well(*state, "echo_abi", env);
}

static void test_wasi_answers(void **state)
{
    static const char *const env[] = {"WASI_TEST=a b", NULL};

    handles_well(*state, "wasi", env);
}

/* Each function, good and bad; and what it gives is the same after a sleep on disk. */
static void test_wasi_by_a_table_and_over_a_sleep(void **state)
{
    static const char *const env[] = {"A=1", "B=two words", NULL};
    struct fixture *f = *state;
    struct guest *g = rig_add(&f->rig, "wasitable", "wasitable", env, NULL);

    signals_put_back();
    assert_non_null(g);
    for (unsigned i = 1; i <= 3; i++) {
        rig_change(&f->rig, g, "test/x", OBJECT);
        assert_true(rig_settle(&f->rig, g, SECONDS_MAX));
        if (g->counts.failures || g->counts.traps)
            fail_msg("%s", g->last_error);
        assert_int_equal(g->counts.events, i);
        assert_int_equal(g->counts.wakes, i - 1);
        assert_int_equal(g->counts.sleeps, i);
    }
}

static void test_growth_past_the_limit_is_refused_and_harmless(void **state)
{
    handles_well(*state, "grow", NULL);
}

static void test_flood_of_lines_is_no_failure(void **state)
{
    static const char *const env[] = {"LINES=2000", NULL};

    handles_well(*state, "flood", env);
}

static void test_slow_guest_ends(void **state)
{
    handles_well(*state, "slowcpu", NULL);
}

/* --- what ends like a trap --- */

static void short_cpu(struct guest_spec *spec)
{
    spec->limits.cpu_ns = 20 * NS_PER_MS;
}

static bool good_handled(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.events > g->counts.traps;
}

/* A bad key traps, with text in the error; a good one is then handled, by a fresh start. */
static void traps(struct fixture *f, const char *module, const char *text)
{
    struct guest *g = rig_add(&f->rig, module, module, NULL, short_cpu);

    signals_put_back();
    assert_non_null(g);
    rig_change(&f->rig, g, "test/bad", OBJECT);
    assert_true(rig_run(&f->rig, tried, g, SECONDS_MAX));
    assert_int_equal(g->counts.traps, 1);
    if (!strstr(g->last_error, text))
        fail_msg("%s: %s", module, g->last_error);
    rig_change(&f->rig, g, "test/good", OBJECT);
    assert_true(rig_run(&f->rig, good_handled, g, SECONDS_MAX));
    assert_true(g->counts.fresh_starts >= 2);
    rig_close(&f->rig); /* the bad key comes again: not under cmocka's handlers */
}

static void test_trap(void **state)
{
    traps(*state, "trap", "fall");
}

static void test_endless_loop(void **state)
{
    traps(*state, "spin", "limit cpu");
}

static void test_endless_recursion(void **state)
{
    traps(*state, "recurse", "stack");
}

static void test_exit(void **state)
{
    traps(*state, "exit", "proc_exit(0)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_is_fine, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_pointers_handles_and_values_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_each_pointer_and_length_of_each_import, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_several_calls_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wasi_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wasi_by_a_table_and_over_a_sleep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_growth_past_the_limit_is_refused_and_harmless, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_flood_of_lines_is_no_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_guest_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endless_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endless_recursion, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exit, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
