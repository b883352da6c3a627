/* Modules with state that a sleep would lose, and how their guests live: awake for ever where the
 * manifest says nothing, afresh for each event where it says so, not at all where it insists on
 * sleep. And what needs care but is kept: start sections, passive segments that nothing drops. */
#include "base/limits.h"
#include "rig/rig.h"
#include "serve/report.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>

static int setup(void **state)
{
    static struct tmp_dir dir;

    *state = &dir;
    return tmp_dir_make(&dir);
}

static int teardown(void **state)
{
    tmp_dir_remove(*state);
    return 0;
}

static bool handled(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return mailbox_len(g->mailbox) == 0 && g->state != G_RUNNING && g->state != G_SAVING;
}

static void events(struct rig *r, struct guest *g, int n)
{
    for (int i = 0; i < n; i++) {
        rig_change(r, g, "test/a", "{}");
        assert_true(rig_run(r, handled, g, 20));
    }
}

static void fresh(struct guest_spec *spec)
{
    spec->sleep_mode = SLEEP_FRESH;
    spec->sleep_mode_set = true;
}

static void insists(struct guest_spec *spec)
{
    spec->sleep_mode = SLEEP_AUTO;
    spec->sleep_mode_set = true;
}

/* What the rig has as a trigger cannot be described. */
static void untriggered(struct guest_spec *spec)
{
    free(spec->watches[0].api_version);
    free(spec->watches[0].kind);
    spec->nwatches = 0;
}

static const struct {
    const char *module, *why;
} losers[] = {
    {"table",
     "global 0 is a mutable reference, table 0 (table.init in function 3), element segment "
     "1 (elem.drop in function 3), data segment 0 (data.drop in function 3)"},
    {"memories", "2 memories"},
    {"shared", "shared memory, data segment 0 (data.drop in function 0)"},
};

#define LOSERS (sizeof(losers) / sizeof(losers[0]))

static void test_what_cannot_be_saved_never_sleeps(void **state)
{
    struct tmp_dir *dir = *state;

    for (size_t i = 0; i < LOSERS; i++) {
        struct rig r = {0};
        struct guest *g;

        assert_true(rig_open(&r, dir->path, 1, true));
        g = rig_add(&r, losers[i].module, losers[i].module, NULL, NULL);
        assert_non_null(g);
        assert_string_equal(image_unsavable(g->image), losers[i].why);
        assert_int_equal(g->spec->sleep_mode, SLEEP_NEVER);
        events(&r, g, 6);
        guest_sleep_now(g);
        events(&r, g, 1);
        assert_int_equal(g->state, G_IDLE);
        assert_int_equal(g->counts.events, 7);
        assert_int_equal(g->counts.failures, 0);
        assert_int_equal(g->counts.traps, 0);
        assert_int_equal(g->counts.sleeps, 0);
        assert_int_equal(g->counts.fresh_starts, 1);
        assert_null(g->snapshot);
        rig_close(&r);
    }
}

static void test_what_cannot_be_saved_may_start_afresh(void **state)
{
    struct tmp_dir *dir = *state;

    for (size_t i = 0; i < LOSERS; i++) {
        struct rig r = {0};
        struct guest *g;

        assert_true(rig_open(&r, dir->path, 1, true));
        g = rig_add(&r, losers[i].module, losers[i].module, NULL, fresh);
        assert_non_null(g);
        for (int n = 0; n < 5; n++) {
            events(&r, g, 1);
            assert_true(rig_settle(&r, g, 20));
        }
        assert_int_equal(g->counts.failures, 0);
        assert_int_equal(g->counts.traps, 0);
        assert_int_equal(g->counts.fresh_starts, 5);
        assert_null(g->snapshot);
        rig_close(&r);
    }
}

static void test_what_cannot_be_saved_is_refused_where_it_must_sleep(void **state)
{
    struct tmp_dir *dir = *state;

    for (size_t i = 0; i < LOSERS; i++) {
        struct rig r = {0};
        struct guest *g;

        assert_true(rig_open(&r, dir->path, 1, true));
        g = rig_add(&r, losers[i].module, losers[i].module, NULL, insists);
        assert_non_null(g);
        assert_non_null(g->rejected);
        assert_int_equal(g->rejected->code, ERR_UNSUPPORTED);
        assert_non_null(strstr(g->rejected->msg, "spec.sleep.mode auto: "));
        assert_non_null(strstr(g->rejected->msg, losers[i].why));
        assert_non_null(strstr(g->rejected->msg, "say never (its default) or fresh"));
        assert_true(g->hold > 0);
        rig_close(&r);
    }
}

/* The events of an earlier life are due again, since their effect on memory is gone. */
static void test_a_restart_loses_what_was_never_saved(void **state)
{
    struct tmp_dir *dir = *state;
    uint64_t seen = 0;

    for (int life = 1; life <= 3; life++) {
        struct rig r = {0};
        struct guest *g;

        assert_true(rig_open(&r, dir->path, 1, true));
        g = rig_add(&r, "table", "table", NULL, NULL);
        assert_non_null(g);
        assert_int_equal(guest_seen(g, 0), 0);
        assert_int_equal(guest_needs_after(g, 0, 99, false), 99);
        events(&r, g, 3);
        assert_int_equal(g->counts.failures, 0);
        assert_int_equal(g->counts.fresh_starts, 1);
        seen = guest_seen(g, 0);
        assert_true(seen > 0);
        rig_close(&r);
    }
}

/* One limit for all memories: each may grow to its part of it, and no further. */
static void small(struct guest_spec *spec)
{
    spec->limits.memory_bytes = 6ull * 64 * KIB;
}

static bool failed(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.failures > 0;
}

static void test_memories_share_the_limit(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g;

    assert_true(rig_open(&r, dir->path, 1, true));
    g = rig_add(&r, "memories", "memories", NULL, small);
    assert_non_null(g);
    events(&r, g, 2); /* the second memory has three pages then */
    assert_int_equal(g->counts.failures, 0);
    rig_change(&r, g, "test/b", "{}");
    assert_true(rig_run(&r, failed, g, 20));
    assert_non_null(strstr(g->last_error, "handle returned 3"));
    rig_close(&r);
}

static bool trapped(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.traps > 0;
}

static void test_nobody_waits_for_another_thread(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g;

    assert_true(rig_open(&r, dir->path, 1, true));
    g = rig_add(&r, "waits", "waits", NULL, NULL);
    assert_non_null(g);
    rig_change(&r, g, "test/a", "{}");
    assert_true(rig_run(&r, trapped, g, 20));
    assert_non_null(strstr(g->last_error, "non-shared memory"));
    rig_close(&r);
}

/* Through sleeps, wakes and a restart. */
static void lives_on(const char *path, const char *module)
{
    for (int life = 0; life < 3; life++) {
        struct rig r = {0};
        struct guest *g;

        assert_true(rig_open(&r, path, 1, true));
        g = rig_add(&r, module, module, NULL, insists);
        assert_non_null(g);
        assert_null(image_unsavable(g->image));
        assert_null(g->rejected);
        for (int i = 0; i < 4; i++) {
            events(&r, g, 1);
            assert_true(rig_settle(&r, g, 20));
            assert_int_equal(g->state, G_ASLEEP);
        }
        assert_int_equal(g->counts.events, 4);
        assert_int_equal(g->counts.failures, 0);
        assert_int_equal(g->counts.traps, 0);
        assert_int_equal(g->counts.fresh_starts, life == 0);
        assert_int_equal(g->counts.sleeps, 4);
        rig_close(&r);
    }
}

static void test_passive_segments_that_stay_are_no_state(void **state)
{
    struct tmp_dir *dir = *state;

    lives_on(dir->path, "passive");
}

static void test_a_start_section_runs_once(void **state)
{
    struct tmp_dir *dir = *state;

    lives_on(dir->path, "started");
}

static void test_imported_mutable_globals_survive(void **state)
{
    struct tmp_dir *dir = *state;

    lives_on(dir->path, "imported");
}

static void expect_description(struct rig *r, const char *module, const char *name,
                               void (*tweak)(struct guest_spec *spec), const char *mode,
                               const char *why)
{
    struct guest *g = rig_add(r, module, name, NULL, tweak);
    json_t *shown;

    assert_non_null(g);
    shown = report_describe(g, NULL);
    assert_non_null(shown);
    assert_string_equal(json_string_value(json_object_get(shown, "sleepMode")), mode);
    assert_string_equal(json_string_value(json_object_get(shown, "whySleepless")), why);
    json_decref(shown);
}

static void fresh_untriggered(struct guest_spec *spec)
{
    fresh(spec);
    untriggered(spec);
}

static void never_untriggered(struct guest_spec *spec)
{
    spec->sleep_mode = SLEEP_NEVER;
    spec->sleep_mode_set = true;
    untriggered(spec);
}

static void test_descriptions_say_which_mode_and_why(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};

    assert_true(rig_open(&r, dir->path, 1, true));
    expect_description(&r, "memories", "a", untriggered, "never", "never: 2 memories");
    expect_description(&r, "memories", "b", fresh_untriggered, "fresh",
                       "fresh: sleep.mode says so; its module cannot be saved: 2 memories");
    expect_description(&r, "passive", "c", untriggered, "auto", "");
    expect_description(&r, "passive", "d", never_untriggered, "never", "never: sleep.mode says so");
    rig_close(&r);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_what_cannot_be_saved_never_sleeps),
        TEST(test_what_cannot_be_saved_may_start_afresh),
        TEST(test_what_cannot_be_saved_is_refused_where_it_must_sleep),
        TEST(test_a_restart_loses_what_was_never_saved),
        TEST(test_memories_share_the_limit),
        TEST(test_nobody_waits_for_another_thread),
        TEST(test_passive_segments_that_stay_are_no_state),
        TEST(test_a_start_section_runs_once),
        TEST(test_imported_mutable_globals_survive),
        TEST(test_descriptions_say_which_mode_and_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
