/* A guest of each toolchain (test/toolchains, and clang's of test/guests), as its compiler makes
 * it: rewritten, compiled, and then through events, sleeps, wakes and restarts with all of its
 * memory. They all do the same: count their events in what their language has for that, and report.
 */
#include "rig/rig.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LIVES  3
#define EVENTS 8 /* in each */
#define KEYS   5

static const char *const env[] = {"WORD=kept", NULL};

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

static void one_event(struct rig *r, struct guest *g, const char *says, int n)
{
    char key[32], want[128];

    snprintf(key, sizeof(key), "test/%d", n % KEYS);
    rig_change(r, g, key, "{}");
    assert_true(rig_settle(r, g, 60));
    snprintf(want, sizeof(want), "%s events=%d keys=%d", says, n + 1, n + 1 < KEYS ? n + 1 : KEYS);
    assert_string_equal(r->last_body, want);
    assert_int_equal(g->state, G_ASLEEP);
    assert_int_equal(g->counts.failures, 0);
    assert_int_equal(g->counts.traps, 0);
}

static void lives(const char *path, const char *module, const char *says)
{
    for (int life = 0; life < LIVES; life++) {
        bool same_boot = life != 2; /* the third checks every page first */
        struct rig r = {0};
        struct guest *g;

        assert_true(rig_open(&r, path, 1, same_boot));
        r.own_keys = true;
        g = rig_add(&r, module, "a-guest", env, NULL);
        assert_non_null(g); /* guests/MODULE.wasm: see test/spec/with-modules */
        assert_null(image_unsavable(guest_image(g)));
        for (int i = 0; i < EVENTS; i++)
            one_event(&r, g, says, life * EVENTS + i);
        assert_int_equal(g->counts.fresh_starts, life == 0);
        assert_int_equal(g->counts.wakes, life == 0 ? EVENTS - 1 : EVENTS);
        assert_int_equal(g->counts.sleeps, EVENTS);
        rig_close(&r);
    }
}

static void test_clang(void **state)
{
    struct tmp_dir *dir = *state;

    lives(dir->path, "clang", "clang a-guest env=kept");
}

static void test_rust(void **state)
{
    struct tmp_dir *dir = *state;

    lives(dir->path, "rust", "rust a-guest env=kept");
}

static void test_go(void **state)
{
    struct tmp_dir *dir = *state;

    lives(dir->path, "go", "go a-guest env=kept");
}

static void test_assemblyscript(void **state)
{
    struct tmp_dir *dir = *state;

    lives(dir->path, "assemblyscript", "assemblyscript");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_clang),
        TEST(test_rust),
        TEST(test_go),
        TEST(test_assemblyscript),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
