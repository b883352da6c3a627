/* A guest's life on real parts (engine, arena, database, threads), driven by the rig. */
#include "rig/rig.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>

static const char *const ledger_env[] = {"SEED=7", "MEMORY_MIB=1", "GROW_EVERY=3", NULL};

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

/* A number of the ledger's last account; -1 where there is none. */
static long long account(const struct rig *r, const char *name)
{
    json_t *doc = json_loads(r->last_body, 0, NULL);
    const char *text = json_string_value(json_object_get(json_object_get(doc, "data"), name));
    long long v = text ? strtoll(text, NULL, 10) : -1;

    json_decref(doc);
    return v;
}

static void change(struct rig *r, struct guest *g, int n)
{
    char body[256];

    snprintf(body, sizeof(body),
             "{\"apiVersion\":\"amurant.io/v1\",\"kind\":\"TestResource\",\"metadata\":{\"name\":"
             "\"a\",\"namespace\":\"test\",\"uid\":\"u\",\"resourceVersion\":\"%d\"}}",
             n);
    rig_change(r, g, "test/a", body);
}

static void test_sleeps_and_resumes_with_all_of_its_memory(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g, *other;

    assert_true(rig_open(&r, dir->path, 2, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    other = rig_add(&r, "ledger", "other", ledger_env, NULL);
    assert_non_null(g);
    assert_non_null(other);
    for (int i = 1; i <= 40; i++) {
        change(&r, g, i);
        assert_true(rig_settle(&r, g, 20));
        assert_int_equal(g->state, G_ASLEEP);
        assert_int_equal(account(&r, "events"), i);
        assert_int_equal(account(&r, "starts"), 1);
        assert_int_equal(account(&r, "errors"), 0);
    }
    assert_int_equal(g->counts.fresh_starts, 1);
    assert_int_equal(g->counts.wakes, 39);
    assert_int_equal(g->counts.sleeps, 40);
    assert_int_equal(g->counts.failures, 0);
    assert_int_equal(other->counts.events, 0); /* unrelated guests are not woken */
    assert_int_equal(other->state, G_COLD);
    rig_close(&r);
}

static void test_resumes_after_a_restart(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g;

    for (int life = 1; life <= 5; life++) {
        bool same_boot = life != 3; /* the third checks every page first */

        assert_true(rig_open(&r, dir->path, 1, same_boot));
        g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
        assert_non_null(g);
        if (life > 1) {
            assert_int_equal(g->state, G_ASLEEP);
            assert_int_equal(guest_seen(g, 0), (uint64_t)(life - 1) * 3);
        }
        for (int i = 1; i <= 3; i++) {
            change(&r, g, (life - 1) * 3 + i);
            assert_true(rig_settle(&r, g, 20));
        }
        assert_int_equal(account(&r, "events"), life * 3);
        assert_int_equal(account(&r, "starts"), 1);
        assert_int_equal(account(&r, "errors"), 0);
        assert_int_equal(g->counts.fresh_starts, life == 1);
        rig_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sleeps_and_resumes_with_all_of_its_memory, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_resumes_after_a_restart, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
