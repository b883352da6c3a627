/* Instances that are used again: a guest that is saved leaves nothing in its instance for the next
 * guest of the image, and that one is as it would be in a new instance, byte for byte.
 */
#include "support/ledger_rig.h"

#include "engine/internal.h"

#define ROUNDS 60

static struct instance_opts opts_of(void)
{
    static const char *const args[] = {"bare"};

    return (struct instance_opts){
        .memory_bytes_max = 64 * MIB, .cpu_ns_max = NS_PER_S, .args = args, .nargs = 1};
}

static struct instance *make(struct ledgers *l, const struct guest *g, const struct snapshot *s)
{
    struct instance_opts opts = opts_of();
    struct instance *i = NULL;
    struct err err = {0};

    assert_int_equal(instance_new(&i, l->rig.engine, g->image, &opts, &err), 0);
    if (s)
        assert_int_equal(instance_restore(i, s, l->rig.arena, RESTORE_READ, &err), 0);
    return i;
}

static const uint8_t *memory_of(const struct instance *i)
{
    return wasmtime_memory_data(i->context, &i->memory);
}

static void same_globals(const struct instance *a, const struct instance *b)
{
    for (uint32_t n = 0; n < a->image->nglobals; n++) {
        wasmtime_val_t x, y;

        wasmtime_global_get(a->context, &a->globals[n], &x);
        wasmtime_global_get(b->context, &b->globals[n], &y);
        assert_int_equal(x.kind, y.kind);
        assert_int_equal(x.of.i64, y.of.i64);
    }
}

static void test_nothing_is_left_for_the_next(void **state)
{
    struct ledgers *l = *state;
    struct instance *used, *fresh, *other;
    struct instance_opts opts = opts_of();
    struct err err = {0};
    struct guest *a, *b;
    uint64_t bytes, own;
    static const uint8_t zeros[4096];

    ledgers_open(l, 1, true);
    a = ledgers_add(l, 1, 64, NULL);
    b = ledgers_add(l, 2, 64, NULL); /* larger: a's instance can become b's */
    ledgers_round(l, a);
    ledgers_round(l, b);
    used = make(l, a, a->snapshot);
    fresh = make(l, a, NULL);
    bytes = instance_memory_bytes(used);
    own = instance_memory_bytes(fresh);
    assert_true(bytes > own);
    assert_memory_not_equal(memory_of(used), memory_of(fresh), own);

    assert_true(instance_blank(used));
    assert_memory_equal(memory_of(used), memory_of(fresh), own);
    for (uint64_t at = own; at < bytes; at += sizeof(zeros))
        assert_memory_equal(memory_of(used) + at, zeros, sizeof(zeros));

    assert_true(instance_reuse(used, b->image, &opts, b->snapshot));
    assert_int_equal(instance_restore(used, b->snapshot, l->rig.arena, RESTORE_READ, &err), 0);
    other = make(l, b, b->snapshot);
    assert_int_equal(instance_memory_bytes(used), instance_memory_bytes(other));
    assert_memory_equal(memory_of(used), memory_of(other), instance_memory_bytes(other));
    same_globals(used, other);

    instance_free(used);
    instance_free(fresh);
    instance_free(other);
    ledgers_close(l);
}

/* Memory never shrinks, so the instance of a large guest does not fit a small one; and one that has
 * runs of the arena mapped would show them to the next guest. */
static void test_what_does_not_fit_is_not_used(void **state)
{
    struct ledgers *l = *state;
    struct instance_opts opts = opts_of();
    struct instance *i;
    struct err err = {0};
    struct guest *a, *b;

    ledgers_open(l, 1, true);
    a = ledgers_add(l, 1, 64, NULL);
    b = ledgers_add(l, 2, 64, NULL);
    ledgers_round(l, a);
    ledgers_round(l, b);
    i = make(l, b, b->snapshot);
    assert_true(instance_blank(i));
    assert_false(instance_reuse(i, b->image, &opts, a->snapshot));
    opts.memory_bytes_max = MIB;
    assert_false(instance_reuse(i, b->image, &opts, b->snapshot));
    instance_free(i);

    i = make(l, b, NULL);
    assert_int_equal(instance_restore(i, b->snapshot, l->rig.arena, 0, &err), 0);
    assert_true(i->mapped);
    assert_false(instance_blank(i));
    instance_free(i);

    i = make(l, b, b->snapshot);
    i->uses = INSTANCE_USES_MAX - 1;
    assert_false(instance_blank(i));
    instance_free(i);
    ledgers_close(l);
}

static unsigned slept_here;

static void count_slept(struct ledgers *l, const struct guest *g, enum guest_event ev)
{
    (void)l;
    (void)g;
    slept_here += ev == GE_SLEPT;
}

/* Guests of one image take turns in it, through the whole of their way. */
static void test_guests_take_turns(void **state)
{
    struct ledgers *l = *state;

    slept_here = 0;
    ledgers_open(l, 1, true);
    for (int i = 0; i < 6; i++)
        ledgers_add(l, 1, 4, NULL);
    l->seen = count_slept;
    for (int round = 0; round < ROUNDS; round++)
        ledgers_round(l, l->guests[round % 6]);
    l->seen = NULL;
    for (size_t i = 0; i < l->n; i++)
        ledgers_check_whole(l, l->guests[i]);
    ledgers_check_handled(l);
    assert_true(slept_here >
                ROUNDS / 3); /* saved where they ran: their instances were used again */
    ledgers_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_is_left_for_the_next, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_what_does_not_fit_is_not_used, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_guests_take_turns, ledgers_setup, ledgers_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
