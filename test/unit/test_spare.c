/* Instances that are used again: a guest that is saved leaves nothing in its instance for the next
 * guest of the image, and that one is as it would be in a new instance, byte for byte.
 */
#include "support/ledger_rig.h"

#include "engine/internal.h"
#include "engine/snapshot_internal.h"
#include "guest/spares.h"

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

/* The last guest has written to every page, also to those that the next one's snapshot has not. */
static void write_all(struct instance *i)
{
    uint8_t *memory = wasmtime_memory_data(i->context, &i->memory);

    for (uint64_t at = 0; at < instance_memory_bytes(i); at += PAGE_BYTES)
        memory[at + at / PAGE_BYTES % PAGE_BYTES] ^= 0x5a;
}

/* The last guest has written to pages in many pieces, more than are remembered one by one, and
 * the snapshot of its save would say so. */
static struct snapshot *write_pieces(struct instance *i)
{
    const uint32_t pages = (uint32_t)(instance_memory_bytes(i) / PAGE_BYTES), step = 5;
    struct snapshot *left = snapshot_new(0, (pages + step - 1) / step, 0);
    uint8_t *memory = wasmtime_memory_data(i->context, &i->memory);

    assert_non_null(left);
    assert_true(left->nruns > INSTANCE_LEFT_MAX);
    for (uint32_t n = 0; n < left->nruns; n++) {
        snapshot_runs(left)[n] = (struct run){.page = n * step, .count = 1};
        memory[(uint64_t)n * step * PAGE_BYTES + n] ^= 0x5a;
    }
    return left;
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

/* Cuts holes into the snapshot, as if pages there had never been changed. */
static void make_holes(struct snapshot *s)
{
    struct run *runs = snapshot_runs(s);

    for (uint32_t n = 0; n < s->nruns; n++) {
        if (runs[n].count > 3) {
            runs[n].page++;
            runs[n].offset++;
            runs[n].count -= 3;
        }
    }
}

static void nothing_is_left(struct ledgers *l, bool keep_pages, unsigned how)
{
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
    make_holes(b->snapshot); /* of pages that a has */
    assert_memory_not_equal(memory_of(used), memory_of(fresh), own);
    if (!keep_pages) /* else its snapshot must say what it has written */
        write_all(used);

    assert_true(instance_blank(used, keep_pages ? a->snapshot : NULL));
    if (!keep_pages) {
        assert_memory_equal(memory_of(used), memory_of(fresh), own);
        for (uint64_t at = own; at < bytes; at += sizeof(zeros))
            assert_memory_equal(memory_of(used) + at, zeros, sizeof(zeros));
    }

    assert_true(instance_reuse(used, b->image, &opts, b->snapshot));
    assert_int_equal(instance_restore(used, b->snapshot, l->rig.arena, how, &err), 0);
    other = make(l, b, b->snapshot);
    assert_int_equal(instance_memory_bytes(used), instance_memory_bytes(other));
    assert_memory_equal(memory_of(used), memory_of(other), instance_memory_bytes(other));
    same_globals(used, other);

    instance_free(used);
    instance_free(fresh);
    instance_free(other);
    ledgers_close(l);
}

/* Of many pieces all are gone, where the next guest's snapshot has next to nothing. */
static void test_no_piece_is_left_for_the_next(void **state)
{
    struct ledgers *l = *state;
    struct instance_opts opts = opts_of();
    struct instance *used, *other;
    struct snapshot *left;
    struct err err = {0};
    struct guest *g;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    ledgers_round(l, g);
    used = make(l, g, g->snapshot);
    assert_true(instance_blank(used, NULL));
    left = write_pieces(used);
    assert_true(instance_blank(used, left));
    assert_true(instance_left_pages(used) >= left->nruns);
    snapshot_free(left);

    for (uint32_t n = 0; n < g->snapshot->nruns; n++)
        snapshot_runs(g->snapshot)[n].count = 1;
    assert_true(instance_reuse(used, g->image, &opts, g->snapshot));
    assert_int_equal(instance_restore(used, g->snapshot, l->rig.arena, RESTORE_READ, &err), 0);
    other = make(l, g, g->snapshot);
    assert_memory_equal(memory_of(used), memory_of(other), instance_memory_bytes(other));
    instance_free(used);
    instance_free(other);
    ledgers_close(l);
}

static void test_nothing_is_left_for_the_next(void **state)
{
    nothing_is_left(*state, false, RESTORE_READ);
}

/* Neither in pages that the next guest's snapshot is read over, nor in those that it does not have,
 * nor where it is mapped. */
static void test_pages_that_stay_are_read_over(void **state)
{
    nothing_is_left(*state, true, RESTORE_READ);
}

static void test_pages_that_stay_are_mapped_over(void **state)
{
    nothing_is_left(*state, true, 0);
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
    assert_true(instance_blank(i, NULL));
    assert_false(instance_reuse(i, b->image, &opts, a->snapshot));
    opts.memory_bytes_max = MIB;
    assert_false(instance_reuse(i, b->image, &opts, b->snapshot));
    instance_free(i);

    i = make(l, b, NULL);
    assert_int_equal(instance_restore(i, b->snapshot, l->rig.arena, 0, &err), 0);
    assert_true(i->mapped);
    assert_false(instance_blank(i, NULL));
    instance_free(i);

    i = make(l, b, b->snapshot);
    i->uses = INSTANCE_USES_MAX - 1;
    assert_false(instance_blank(i, NULL));
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

/* --- guests that write to most of their memory --- */

static struct {
    unsigned read, mapped; /* wakes of such guests */
} heavy;

static void count_heavy(struct ledgers *l, const struct guest *g, enum guest_event ev)
{
    (void)l;
    if (ev != GE_DONE && ev != GE_SLEPT)
        return;
    heavy.read += g->awake->writes_most;
    heavy.mapped += !g->awake->writes_most && g->awake->woke;
}

static void heavy_guests(struct ledgers *l, unsigned mib)
{
    memset(&heavy, 0, sizeof(heavy));
    ledgers_open(l, 2, true);
    for (int i = 0; i < 4; i++)
        ledgers_add(l, mib, mib * 1024, NULL);
    l->seen = count_heavy;
    for (int round = 0; round < ROUNDS; round++)
        ledgers_round(l, l->guests[round % 4]);
    l->seen = NULL;
    for (size_t i = 0; i < l->n; i++)
        ledgers_check_whole(l, l->guests[i]);
    ledgers_check_handled(l);
    assert_true(heavy.read > ROUNDS / 2);
    assert_true(heavy.mapped > ROUNDS / 16); /* at first, and now and then, to see */
    ledgers_close(l);
}

static void test_heavy_guests_are_read(void **state)
{
    heavy_guests(*state, 1); /* by their worker, and what is left of one is the next one's */
}

static void test_large_heavy_guests_are_read(void **state)
{
    heavy_guests(*state, 4); /* by an I/O thread */
}

/* All that is read looks as if it had been written; that must not make it so for ever. */
static void test_who_writes_little_again_is_found_out(void **state)
{
    struct ledgers *l = *state;
    struct guest *g;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 4, NULL);
    ledgers_round(l, g);
    ledgers_round(l, g);
    assert_true(snapshot_written(g->snapshot) < HEAVY_PAGES_MIN);
    g->heavy = 3; /* as if it had written to most of its memory until now */
    ledgers_round(l, g);
    assert_true(snapshot_written(g->snapshot) >= HEAVY_PAGES_MIN);
    for (int i = 0; i < 8; i++)
        ledgers_round(l, g);
    assert_int_equal(g->heavy & 1, 0);
    assert_true(snapshot_written(g->snapshot) < HEAVY_PAGES_MIN);
    ledgers_check_whole(l, g);
    ledgers_close(l);
}

/* --- the pool --- */

struct pool {
    struct spares *spares;
    struct loop *loop;
    unsigned swept;
};

static void sweep_here(void *ctx)
{
    struct pool *p = ctx;

    spares_sweep(p->spares);
    p->swept++;
    loop_stop(p->loop);
}

static void test_the_pool_has_a_size(void **state)
{
    struct ledgers *l = *state;
    struct instance_opts opts = opts_of();
    struct pool p = {0};
    struct err err = {0};
    struct guest *g;
    unsigned n = 0;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    ledgers_round(l, g);
    assert_int_equal(spares_new(&p.spares, l->rig.loop, sweep_here, &p, &err), 0);
    assert_null(spares_take(p.spares, g->image, &opts, g->snapshot, true));
    for (unsigned k = 0; k < SPARES_MAX + 2; k++)
        spares_put(p.spares, make(l, g, g->snapshot), g->snapshot);
    for (struct instance *i; (i = spares_take(p.spares, g->image, &opts, g->snapshot, true)); n++)
        instance_free(i);
    assert_int_equal(n, SPARES_MAX);
    spares_free(p.spares);
    ledgers_close(l);
}

static void test_pages_are_kept_up_to_a_size(void **state)
{
    struct ledgers *l = *state;
    struct instance_opts opts = opts_of();
    struct pool p = {0};
    struct err err = {0};
    struct guest *g;
    uint64_t kept = 0, bytes;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 10, 64, NULL);
    ledgers_round(l, g);
    assert_int_equal(spares_new(&p.spares, l->rig.loop, sweep_here, &p, &err), 0);
    for (unsigned k = 0; k < 5; k++)
        spares_put(p.spares, make(l, g, g->snapshot), g->snapshot);
    /* With pages that are another's it is only for who reads over them. */
    assert_null(spares_take(p.spares, g->image, &opts, g->snapshot, false));
    for (struct instance *i; (i = spares_take(p.spares, g->image, &opts, g->snapshot, true));
         kept += bytes) {
        bytes = instance_memory_bytes(i);
        instance_free(i);
    }
    assert_true(kept > SPARES_KEPT_BYTES / 2 && kept <= SPARES_KEPT_BYTES);
    spares_free(p.spares);
    ledgers_close(l);
}

static void test_who_is_not_wanted_goes(void **state)
{
    struct ledgers *l = *state;
    struct instance_opts opts = opts_of();
    struct pool p = {0};
    struct err err = {0};
    struct guest *g;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    ledgers_round(l, g);
    assert_int_equal(spares_new(&p.spares, l->rig.loop, sweep_here, &p, &err), 0);
    p.loop = l->rig.loop;
    spares_put(p.spares, make(l, g, g->snapshot), g->snapshot);
    spares_sweep(p.spares); /* it is young */
    spares_tend(p.spares);
    loop_run(l->rig.loop);
    assert_int_equal(p.swept, 1);
    assert_null(spares_take(p.spares, g->image, &opts, g->snapshot, true));
    spares_free(p.spares);
    ledgers_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_piece_is_left_for_the_next, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_left_for_the_next, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_pages_that_stay_are_read_over, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_pages_that_stay_are_mapped_over, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_heavy_guests_are_read, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_large_heavy_guests_are_read, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_who_writes_little_again_is_found_out, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_the_pool_has_a_size, ledgers_setup, ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_pages_are_kept_up_to_a_size, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_who_is_not_wanted_goes, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_what_does_not_fit_is_not_used, ledgers_setup,
                                        ledgers_teardown),
        cmocka_unit_test_setup_teardown(test_guests_take_turns, ledgers_setup, ledgers_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
