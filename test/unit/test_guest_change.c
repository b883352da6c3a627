/* Guests that are taken away or replaced while the daemon runs, on real parts: the event in hand is
 * finished, memory is kept where that is sound, and a module that cannot start changes nothing.
 */
#include "base/limits.h"
#include "engine/arena.h"
#include "rig/rig.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

static const char *const ledger_env[] = {"SEED=7", "MEMORY_MIB=1", "GROW_EVERY=3", NULL};
static const char *const other_env[] = {"SEED=8", "MEMORY_MIB=1", "GROW_EVERY=3", NULL};

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

/* What done was told. */
struct over {
    struct rig *rig;
    unsigned times;
    struct err err;
};

static void done(void *ctx, const struct err *err)
{
    struct over *o = ctx;

    o->times++;
    o->err = err ? *err : (struct err){0};
    loop_stop(o->rig->loop); /* no guest has a step after this */
}

static bool is_over(struct rig *r, void *ctx)
{
    const struct over *o = ctx;

    (void)r;
    return o->times > 0;
}

static void wait_over(struct rig *r, struct over *o)
{
    assert_true(rig_run(r, is_over, o, 20));
    assert_int_equal(o->times, 1);
}

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

/* Its n-th event, handled. */
static void handle(struct rig *r, struct guest *g, int n)
{
    change(r, g, n);
    assert_true(rig_settle(r, g, 20));
    assert_int_equal(account(r, "errors"), 0);
}

static void replace(struct rig *r, struct guest *g, const char *module, const char *const *env,
                    void (*tweak)(struct guest_spec *), struct over *o)
{
    struct err err = {0};

    *o = (struct over){.rig = r};
    if (rig_replace(r, g, module, env, tweak, done, o, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(o->times, 0); /* in a later turn */
    wait_over(r, o);
}

static void take_away(struct rig *r, struct guest *g)
{
    struct over o = {.rig = r};
    struct err err = {0};

    if (guest_remove(g, done, &o, &err) < 0)
        fail_msg("%s", err.msg);
    wait_over(r, &o);
    assert_int_equal(o.err.code, ERR_NONE);
}

/* --- taken away --- */

static void never(struct guest_spec *s)
{
    s->sleep_mode = SLEEP_NEVER;
    s->sleep_mode_set = true;
}

static void little_cpu(struct guest_spec *s)
{
    s->limits.cpu_ns = 20 * NS_PER_MS;
}

static void stay(struct guest_spec *s)
{
    s->sleep_after_ns = 3600 * NS_PER_S;
}

static bool is_failed(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_FAILED;
}

static bool is_idle(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_IDLE && mailbox_len(g->mailbox) == 0;
}

static bool is_quiet(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return (g->state == G_IDLE || g->state == G_ASLEEP) && mailbox_len(g->mailbox) == 0 &&
           g->posted == GE_NONE;
}

static void test_removed_in_any_state(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {.own_keys = true};
    struct guest *cold, *asleep, *idle, *awake, *failed, *left;
    const struct guests_stats *st;

    assert_true(rig_open(&r, dir->path, 2, true));
    cold = rig_add(&r, "ledger", "cold", ledger_env, NULL);
    asleep = rig_add(&r, "ledger", "asleep", ledger_env, NULL);
    idle = rig_add(&r, "ledger", "idle", ledger_env, stay);
    awake = rig_add(&r, "ledger", "awake", ledger_env, never);
    failed = rig_add(&r, "startloop", "failed", NULL, little_cpu);
    left = rig_add(&r, "ledger", "left", ledger_env, NULL);
    handle(&r, asleep, 1);
    handle(&r, left, 2);
    change(&r, idle, 3);
    assert_true(rig_run(&r, is_idle, idle, 20));
    change(&r, awake, 4);
    assert_true(rig_run(&r, is_idle, awake, 20));
    change(&r, failed, 5);
    assert_true(rig_run(&r, is_failed, failed, 20));
    take_away(&r, cold);
    take_away(&r, asleep);
    take_away(&r, idle);
    take_away(&r, awake);
    take_away(&r, failed);
    st = guests_stats(r.guests);
    assert_int_equal(st->guests, 1);
    assert_int_equal(st->by_state[G_ASLEEP], 1);
    assert_int_equal(st->by_state[G_GONE] + st->by_state[G_STOPPING] + st->by_state[G_IDLE], 0);
    assert_int_equal(r.guests->budget.awake, 0);
    assert_int_equal(r.guests->census.n, 1); /* and nobody names one that is gone */
    assert_ptr_equal(r.guests->census.named[0].guest, left);
    assert_null(guests_find(r.guests, "test/asleep"));
    assert_ptr_equal(guests_find(r.guests, "test/left"), left);
    handle(&r, left, 6);
    assert_int_equal(account(&r, "events"), 2);
    rig_close(&r);
}

/* Its record is gone, and the space of its snapshot: one of that name begins from nothing. */
static void test_nothing_is_left_on_disk(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct arena_stats arena;
    struct guest *g;

    assert_true(rig_open(&r, dir->path, 1, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    handle(&r, g, 1);
    arena_stats(r.arena, &arena);
    assert_true(arena.used_pages > 0);
    take_away(&r, g);
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL); /* at once */
    assert_int_equal(g->state, G_COLD);
    take_away(&r, g);
    rig_close(&r);
    assert_true(rig_open(&r, dir->path, 1, true));
    arena_stats(r.arena, &arena);
    assert_int_equal(arena.used_pages, 0);
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    assert_int_equal(g->state, G_COLD);
    handle(&r, g, 2);
    assert_int_equal(account(&r, "events"), 1);
    rig_close(&r);
}

static bool is_running(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_RUNNING;
}

static void test_the_event_in_hand_is_finished(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct over o = {.rig = &r};
    struct err err;
    struct guest *g;

    assert_true(rig_open(&r, dir->path, 1, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    change(&r, g, 1);
    assert_true(rig_run(&r, is_running, g, 20));
    assert_int_equal(guest_remove(g, done, &o, &err), 0);
    assert_int_equal(guest_remove(g, done, &o, &err), -1);
    assert_int_equal(err.code, ERR_AGAIN);
    assert_string_equal(err.msg, "guest test/ledger: it is being changed: try again");
    wait_over(&r, &o);
    assert_int_equal(account(&r, "events"), 1); /* its call was made, and answered */
    assert_int_equal(guests_stats(r.guests)->counts.events, 1);
    assert_null(guests_find(r.guests, "test/ledger"));
    rig_close(&r);
}

/* Whatever the order, each that is left is found. */
static void test_the_index_is_right(void **state)
{
    enum { N = 300 };
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *all[N];
    struct over o[N];
    unsigned seed = 5, left = N;
    char id[64];

    assert_true(rig_open(&r, dir->path, 1, true));
    for (int i = 0; i < N; i++) {
        snprintf(id, sizeof(id), "g%d", i);
        all[i] = rig_add(&r, "nothing", id, NULL, NULL);
        assert_non_null(all[i]);
    }
    while (left > 0) {
        int at = rand_r(&seed) % N;

        if (!all[at])
            continue;
        o[at] = (struct over){.rig = &r};
        assert_int_equal(guest_remove(all[at], done, &o[at], NULL), 0);
        wait_over(&r, &o[at]);
        all[at] = NULL;
        left--;
        for (int i = 0; i < N; i++) {
            snprintf(id, sizeof(id), "test/g%d", i);
            assert_ptr_equal(guests_find(r.guests, id), all[i]);
        }
        assert_int_equal(guests_stats(r.guests)->guests, left);
    }
    assert_null(guests_at(r.guests, 0));
    rig_close(&r);
}

/* --- replaced --- */

static void more_time(struct guest_spec *s)
{
    s->limits.time_ns = 40 * NS_PER_S;
}

static void test_another_manifest_keeps_the_memory(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g;
    struct over o;

    assert_true(rig_open(&r, dir->path, 2, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, stay);
    change(&r, g, 1);
    assert_true(rig_run(&r, is_idle, g, 20)); /* it is to be asleep first */
    replace(&r, g, "ledger", ledger_env, more_time, &o);
    assert_int_equal(o.err.code, ERR_NONE);
    assert_int_equal(g->state, G_ASLEEP);
    assert_int_equal(g->spec->limits.time_ns, 40 * NS_PER_S);
    assert_int_equal(mailbox_len(g->mailbox), 0);
    handle(&r, g, 2);
    assert_int_equal(account(&r, "events"), 2);
    assert_int_equal(account(&r, "starts"), 1);
    rig_close(&r);
    assert_true(rig_open(&r, dir->path, 2, true)); /* and its record says so */
    g = rig_add(&r, "ledger", "ledger", ledger_env, more_time);
    assert_int_equal(g->state, G_ASLEEP);
    handle(&r, g, 3);
    assert_int_equal(account(&r, "events"), 3);
    rig_close(&r);
}

static void test_another_environment_starts_afresh(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g;
    struct over o;

    assert_true(rig_open(&r, dir->path, 2, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    handle(&r, g, 1);
    replace(&r, g, "ledger", other_env, NULL, &o);
    assert_int_equal(o.err.code, ERR_NONE);
    assert_true(rig_settle(&r, g, 20)); /* its key is due */
    assert_int_equal(account(&r, "events"), 1);
    assert_int_equal(account(&r, "starts"), 1);
    assert_int_equal(g->counts.events, 2); /* the guest is the same */
    handle(&r, g, 2);
    assert_int_equal(account(&r, "events"), 2);
    rig_close(&r);
    assert_true(rig_open(&r, dir->path, 2, true));
    g = rig_add(&r, "ledger", "ledger", other_env, NULL);
    assert_int_equal(g->state, G_ASLEEP);
    rig_close(&r);
}

static void test_another_module_takes_its_place(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct arena_stats arena;
    struct guest *g;
    struct over o;

    assert_true(rig_open(&r, dir->path, 2, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    handle(&r, g, 1);
    replace(&r, g, "started", NULL, NULL, &o);
    assert_int_equal(o.err.code, ERR_NONE);
    assert_true(rig_settle(&r, g, 20));
    assert_int_equal(g->counts.events, 2);
    assert_int_equal(g->counts.failures, 0); /* started once, initialized once */
    rig_close(&r);
    assert_true(rig_open(&r, dir->path, 2, true));
    arena_stats(r.arena, &arena);
    g = rig_add(&r, "started", "ledger", NULL, NULL);
    assert_int_equal(g->state, G_ASLEEP);
    assert_int_equal(arena.used_pages,
                     snapshot_slots(g->snapshot)[0].pages); /* the old's is free */
    rig_close(&r);
}

static void goes_back(struct rig *r, struct guest *g)
{
    struct over o;

    replace(r, g, "startloop", NULL, little_cpu, &o);
    assert_int_equal(o.err.code, ERR_TRAP);
    assert_non_null(strstr(o.err.msg, "the new module cannot start: "));
    assert_string_equal(g->last_error, o.err.msg);
    assert_string_equal(g->spec->module, "ledger");
}

static void test_a_module_that_cannot_start_changes_nothing(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g, *awake;

    assert_true(rig_open(&r, dir->path, 2, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    handle(&r, g, 1);
    goes_back(&r, g);
    handle(&r, g, 2);
    assert_int_equal(account(&r, "events"), 2);
    assert_int_equal(account(&r, "starts"), 1);

    awake = rig_add(&r, "ledger", "awake", ledger_env, never);
    change(&r, awake, 3);
    assert_true(rig_run(&r, is_idle, awake, 20));
    goes_back(&r, awake);
    change(&r, awake, 4);
    assert_true(rig_run(&r, is_idle, awake, 20));
    assert_int_equal(account(&r, "events"), 2); /* nor has one that never sleeps lost anything */
    assert_int_equal(account(&r, "starts"), 1);
    rig_close(&r);
}

static bool is_asleep(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_ASLEEP;
}

/* While another is started beside it no event of it begins; that keeps it from nothing else. */
static void test_a_held_one_sleeps_though_a_key_is_due(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g;

    assert_true(rig_open(&r, dir->path, 1, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, stay);
    change(&r, g, 1);
    assert_true(rig_run(&r, is_idle, g, 20));
    guest_hold(g);
    g->spec->sleep_after_ns = NS_PER_MS;
    change(&r, g, 2);
    assert_true(rig_run(&r, is_asleep, g, 20));
    assert_int_equal(mailbox_len(g->mailbox), 1);
    guest_release(g);
    assert_true(rig_settle(&r, g, 20));
    assert_int_equal(account(&r, "events"), 2);
    assert_int_equal(account(&r, "starts"), 1);
    rig_close(&r);
}

static void told(void *ctx, const struct err *err)
{
    struct over *o = ctx;

    o->times++;
    o->err = err ? *err : (struct err){0};
}

/* The daemon stops when it is known that the new one cannot start, but nothing was done about it.
 */
static void test_draining_keeps_what_was_not_replaced(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct over o = {.rig = &r};
    struct err err = {0};
    struct guest *g;

    assert_true(rig_open(&r, dir->path, 1, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, stay);
    change(&r, g, 1);
    assert_true(rig_run(&r, is_idle, g, 20));
    assert_int_equal(rig_replace(&r, g, "startloop", NULL, little_cpu, told, &o, &err), 0);
    while (r.guests->ntries == 0)
        loop_turn(r.loop, true);
    while (r.guests->ntries > 0)
        loop_turn(r.loop, true);
    assert_int_equal(g->state, G_IDLE);
    assert_int_equal(o.times, 0);
    rig_close(&r);
    assert_int_equal(o.err.code, ERR_AGAIN);

    r = (struct rig){0};
    assert_true(rig_open(&r, dir->path, 1, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    handle(&r, g, 2);
    assert_int_equal(account(&r, "events"), 2);
    rig_close(&r);
}

static void insists(struct guest_spec *s)
{
    s->sleep_mode = SLEEP_AUTO;
    s->sleep_mode_set = true;
}

static void test_what_cannot_be_is_said_at_once(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct err err = {0};
    struct guest *g;

    assert_true(rig_open(&r, dir->path, 1, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    assert_int_equal(rig_replace(&r, g, "table", NULL, insists, done, NULL, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_null(g->change);
    handle(&r, g, 1);
    rig_close(&r);
}

/* Changes of any kind, at any moment of an event: each object's last change is handled in the end,
 * by the memory that belongs to it, and none twice at once. */
static void test_changes_at_any_moment(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g;
    struct over o;

    assert_true(rig_open(&r, dir->path, 2, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    for (int i = 1; i <= 40; i++) {
        change(&r, g, i);
        replace(&r, g, "ledger", ledger_env, i % 2 ? more_time : stay, &o);
        assert_int_equal(o.err.code, ERR_NONE);
        assert_true(rig_run(&r, is_quiet, g, 20));
        assert_int_equal(account(&r, "errors"), 0);
    }
    assert_int_equal(account(&r, "starts"), 1);
    assert_int_equal(account(&r, "events"), 40);
    rig_close(&r);
}

/* --- on demand --- */

static void test_wake_and_sleep_on_demand(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g;

    assert_true(rig_open(&r, dir->path, 2, true));
    g = rig_add(&r, "ledger", "ledger", ledger_env, NULL);
    guest_wake_now(g);
    assert_true(rig_run(&r, is_idle, g, 20));
    assert_int_equal(g->counts.fresh_starts, 1);
    assert_int_equal(g->counts.events, 0);
    guest_sleep_now(g);
    assert_true(rig_settle(&r, g, 20));
    assert_int_equal(g->state, G_ASLEEP);
    guest_wake_now(g);
    assert_true(rig_run(&r, is_idle, g, 20));
    assert_int_equal(g->counts.wakes, 1);
    change(&r, g, 1); /* it sleeps after its time, once there was an event */
    guest_sleep_now(g);
    assert_true(rig_settle(&r, g, 20));
    assert_int_equal(account(&r, "events"), 1);
    assert_int_equal(account(&r, "starts"), 1);
    rig_close(&r);
}

/* An I/O thread reads its memory, and its worker finds it awake. */
static void test_a_large_heavy_one_is_woken_on_demand(void **state)
{
    static const char *const large_env[] = {"SEED=7", "MEMORY_MIB=4", NULL};
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g;

    assert_true(rig_open(&r, dir->path, 2, true));
    g = rig_add(&r, "ledger", "ledger", large_env, NULL);
    handle(&r, g, 1);
    assert_true(g->snapshot->memory_pages > READ_INLINE_PAGES);
    g->heavy = 3; /* as if it had written to most of its memory until now */
    guest_wake_now(g);
    assert_true(rig_run(&r, is_idle, g, 20));
    assert_int_equal(g->counts.wakes, 1);
    change(&r, g, 2);
    guest_sleep_now(g);
    assert_true(rig_settle(&r, g, 20));
    assert_int_equal(account(&r, "errors"), 0);
    assert_int_equal(account(&r, "events"), 2);
    assert_int_equal(account(&r, "starts"), 1);
    rig_close(&r);
}

static void test_a_failed_one_is_tried_again_at_once(void **state)
{
    struct tmp_dir *dir = *state;
    struct rig r = {0};
    struct guest *g;

    assert_true(rig_open(&r, dir->path, 2, true));
    g = rig_add(&r, "startloop", "loop", NULL, little_cpu);
    change(&r, g, 1);
    assert_true(rig_run(&r, is_failed, g, 20));
    g->retry_ns += 3600 * NS_PER_S;
    guest_wake_now(g);
    assert_int_not_equal(g->state, G_FAILED);
    assert_true(rig_run(&r, is_failed, g, 20));
    assert_true(g->counts.traps >= 2);
    rig_close(&r);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_removed_in_any_state),
        CASE(test_nothing_is_left_on_disk),
        CASE(test_the_event_in_hand_is_finished),
        CASE(test_the_index_is_right),
        CASE(test_another_manifest_keeps_the_memory),
        CASE(test_another_environment_starts_afresh),
        CASE(test_another_module_takes_its_place),
        CASE(test_a_module_that_cannot_start_changes_nothing),
        CASE(test_a_held_one_sleeps_though_a_key_is_due),
        CASE(test_draining_keeps_what_was_not_replaced),
        CASE(test_what_cannot_be_is_said_at_once),
        CASE(test_changes_at_any_moment),
        CASE(test_wake_and_sleep_on_demand),
        CASE(test_a_large_heavy_one_is_woken_on_demand),
        CASE(test_a_failed_one_is_tried_again_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
