/* Guests that misbehave: each is cut at its limit, its neighbours on the same worker go on, and it
 * is started afresh for whatever else it has to do.
 */
#include "support/ledger_rig.h"

#include "base/limits.h"

#include <fcntl.h>

static struct guest *add(struct ledgers *l, const char *module, const char *const *env,
                         void (*tweak)(struct guest_spec *spec))
{
    struct guest *g = rig_add(&l->rig, module, module, env, tweak);

    assert_non_null(g);
    return g;
}

static struct guest *neighbour(struct ledgers *l)
{
    struct guest *g;

    ledgers_open(l, 1, true); /* one worker */
    g = ledgers_add(l, 1, 16, NULL);
    ledgers_round(l, g);
    return g;
}

static void neighbour_check(struct ledgers *l, struct guest *near)
{
    ledgers_settle(l);
    ledgers_check_whole(l, near);
    assert_int_equal(near->counts.fresh_starts, 1);
    assert_int_equal(near->counts.failures + near->counts.traps, 0);
}

/* --- cpu --- */

static void test_slow_guest_yields_to_its_neighbour(void **state)
{
    static const char *const env[] = {"MS=300", NULL};
    struct ledgers *l = *state;
    struct guest *near = neighbour(l), *slow = add(l, "slowcpu", env, NULL);

    rig_change(&l->rig, slow, "test/x", "{}");
    assert_true(ledgers_beside(l, near, slow, 1) >= 10);
    assert_int_equal(slow->counts.traps + slow->counts.failures, 0);
    neighbour_check(l, near);
    ledgers_close(l);
}

static void short_cpu(struct guest_spec *spec)
{
    spec->limits.cpu_ns = 20 * NS_PER_MS;
}

/* Ten of them at once. */
static void test_spinning_guests_are_cut(void **state)
{
    struct ledgers *l = *state;
    struct guest *near = neighbour(l), *spin[10];
    char name[16], key[32];
    uint64_t events = 0;

    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "spin-%d", i);
        snprintf(key, sizeof(key), "test/%d", i);
        spin[i] = rig_add(&l->rig, "spin", name, NULL, short_cpu);
        assert_non_null(spin[i]);
        rig_change(&l->rig, spin[i], key, "{}");
    }
    for (int i = 0; i < 10; i++)
        events += ledgers_beside(l, near, spin[i], 1);
    assert_true(events >= 10);
    for (int i = 0; i < 10; i++) {
        assert_true(spin[i]->counts.traps >= 1);
        assert_non_null(strstr(spin[i]->last_error, "limit cpu passed: 20 ms"));
        assert_true(spin[i]->counts.cpu_ns >= spin[i]->counts.traps * 20 * NS_PER_MS);
    }
    neighbour_check(l, near);
    ledgers_close(l);
}

/* Puts the running time of each event's end into ctx. */
static void note_cpu(struct ledgers *l, const struct guest *g, enum guest_event ev)
{
    uint64_t *cpu = l->ctx;

    if ((ev == GE_DONE || ev == GE_SLEPT) && g->counts.events < 2)
        cpu[g->counts.events] = g->awake->cpu_ns;
}

/* The first event's includes that of the start. */
static void test_fresh_start_is_running_time_of_its_event(void **state)
{
    static const char *const env[] = {"TURNS=20000000", NULL};
    static uint64_t cpu[2];
    struct ledgers *l = *state;
    struct guest *g;

    ledgers_open(l, 1, true);
    g = add(l, "slowstart", env, NULL);
    l->seen = note_cpu;
    l->ctx = cpu;
    for (int i = 0; i < 2; i++) {
        rig_change(&l->rig, g, "test/x", "{}");
        assert_true(rig_settle(&l->rig, g, SETTLE_S));
    }
    assert_true(cpu[1] > 0);
    assert_true(cpu[0] > 20 * cpu[1]);
    assert_int_equal(g->counts.cpu_ns, cpu[0] + cpu[1]); /* what roost top shows */
    assert_true(g->counts.handled_ns >= g->counts.cpu_ns);
    ledgers_close(l);
}

static void test_start_that_never_ends(void **state)
{
    struct ledgers *l = *state;
    struct guest *near = neighbour(l), *g = add(l, "slowstart", NULL, short_cpu);

    rig_change(&l->rig, g, "test/x", "{}");
    ledgers_beside(l, near, g, 1);
    assert_int_equal(g->counts.traps, 1);
    assert_non_null(strstr(g->last_error, "limit cpu passed"));
    neighbour_check(l, near);
    ledgers_close(l);
}

/* --- traps --- */

/* A bad key traps again and again; good ones are handled by fresh starts in between. */
static void traps(struct ledgers *l, const char *module, const char *const *env, const char *why)
{
    struct guest *near = neighbour(l), *g = add(l, module, env, short_cpu);

    rig_change(&l->rig, g, "test/bad", "{}");
    ledgers_beside(l, near, g, 3);
    assert_int_equal(g->counts.traps, 3);
    if (!strstr(g->last_error, why))
        fail_msg("last error: %s", g->last_error);
    rig_change(&l->rig, g, "test/good", "{}");
    while (g->counts.events == g->counts.traps)
        assert_true(rig_run(&l->rig, ledgers_any_event, NULL, SETTLE_S));
    /* One for each trap and one for the good key; the bad one may have trapped again since. */
    assert_in_range(g->counts.fresh_starts, g->counts.traps, g->counts.traps + 1);
    neighbour_check(l, near);
    ledgers_close(l);
}

static void test_trap(void **state)
{
    traps(*state, "trap", NULL, "unreachable");
}

static void test_recursion(void **state)
{
    traps(*state, "recurse", NULL, "stack");
}

static void test_exit(void **state)
{
    static const char *const env[] = {"EXIT_CODE=3", NULL};

    traps(*state, "exit", env, "proc_exit(3)");
}

/* --- memory --- */

#define WASM_PAGE 65536u

static void note_memory(struct ledgers *l, const struct guest *g, enum guest_event ev)
{
    if (ev == GE_DONE)
        *(uint64_t *)l->ctx = instance_memory_bytes(g->awake->inst);
}

static uint64_t memory_limit;

static void small_memory(struct guest_spec *spec)
{
    spec->limits.memory_bytes = memory_limit;
}

/* It gets each page that it may have, and not one more; what does not make a whole page is lost. */
static void test_memory_to_the_page(void **state)
{
    static const uint64_t limits[] = {3 * MIB, 3 * MIB + WASM_PAGE, 3 * MIB + WASM_PAGE - 1,
                                      64 * MIB};
    static uint64_t memory;
    struct ledgers *l = *state;

    l->seen = note_memory;
    l->ctx = &memory;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct guest *g;
        char key[32];

        memory_limit = limits[i];
        memory = 0;
        snprintf(key, sizeof(key), "test/%zu", i);
        ledgers_open(l, 1, true);
        g = rig_add(&l->rig, "grow", key + 5, NULL, small_memory);
        assert_non_null(g);
        rig_change(&l->rig, g, key, "{}");
        assert_true(rig_settle(&l->rig, g, SETTLE_S));
        assert_int_equal(g->counts.failures + g->counts.traps, 0);
        assert_int_equal(memory, limits[i] / WASM_PAGE * WASM_PAGE);
        ledgers_close(l);
    }
}

static bool has_error(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->last_error[0] != 0;
}

/* Less than the module itself needs: that is said, and nothing else happens. */
static void test_less_memory_than_the_module_needs(void **state)
{
    struct ledgers *l = *state;
    struct guest *near = neighbour(l), *g;

    memory_limit = WASM_PAGE;
    g = add(l, "ledger", NULL, small_memory);
    rig_change(&l->rig, g, "test/x", "{}");
    assert_true(rig_run(&l->rig, has_error, g, SETTLE_S));
    assert_non_null(strstr(g->last_error, "memory"));
    assert_int_equal(g->counts.events, 0);
    assert_int_equal(mailbox_len(g->mailbox), 1); /* nothing is lost */
    neighbour_check(l, near);
    ledgers_close(l);
}

/* A snapshot that is larger than the limit, which was lowered: it says so and keeps the snapshot.
 */
static void test_memory_limit_lowered_below_its_snapshot(void **state)
{
    struct ledgers *l = *state;
    struct guest *g;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 4, 64, NULL);
    ledgers_round(l, g);
    ledgers_close(l);

    memory_limit = 2 * MIB;
    ledgers_open(l, 1, true);
    g = ledgers_add(l, 4, 64, small_memory);
    ledgers_change(l, g, 0);
    assert_true(rig_run(&l->rig, has_error, g, SETTLE_S));
    assert_non_null(strstr(g->last_error, "memory"));
    assert_int_equal(g->counts.fresh_starts, 0);
    ledgers_close(l);

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 4, 64, NULL);
    ledgers_settle(l);
    assert_int_equal(book_of(l, g->id)->events, 2);
    ledgers_check_whole(l, g);
    ledgers_check_handled(l);
    ledgers_close(l);
}

/* --- the log --- */

/* Lines that hold `what` in a file. */
static unsigned lines_with(FILE *f, const char *what)
{
    char line[4096];
    unsigned n = 0;

    rewind(f);
    while (fgets(line, sizeof(line), f))
        n += strstr(line, what) != NULL;
    return n;
}

static void test_flood_of_lines_is_cut(void **state)
{
    static const char *const env[] = {"LINES=5000", NULL};
    struct ledgers *l = *state;
    uint64_t began = clock_now_ns(), seconds, most, events;
    FILE *log = tmpfile();
    int kept = dup(STDERR_FILENO);
    unsigned lines, neighbours;
    struct guest *near, *g;

    assert_non_null(log);
    fflush(stderr);
    dup2(fileno(log), STDERR_FILENO);
    log_init(LOG_INFO, "text");
    near = neighbour(l);
    g = add(l, "flood", env, NULL);
    rig_change(&l->rig, g, "test/bad", "{}");
    ledgers_beside(l, near, g, 1);
    neighbour_check(l, near);
    events = near->counts.events;
    ledgers_close(l);
    log_init(LOG_WARN, "text");
    dup2(kept, STDERR_FILENO);
    close(kept);
    seconds = (clock_now_ns() - began) / NS_PER_S + 1;
    most = GUEST_LOG_BURST + GUEST_LOG_RATE * seconds;
    lines = lines_with(log, "flood");
    neighbours = lines_with(log, "test/a0: ledger");
    fclose(log);
    assert_true(lines >= GUEST_LOG_BURST && lines <= most + 1);
    assert_true(neighbours > 0); /* the bucket is the guest's own */
    assert_int_equal(neighbours, events);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, ledgers_setup, ledgers_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_slow_guest_yields_to_its_neighbour),
        TEST(test_spinning_guests_are_cut),
        TEST(test_fresh_start_is_running_time_of_its_event),
        TEST(test_start_that_never_ends),
        TEST(test_trap),
        TEST(test_recursion),
        TEST(test_exit),
        TEST(test_memory_to_the_page),
        TEST(test_less_memory_than_the_module_needs),
        TEST(test_memory_limit_lowered_below_its_snapshot),
        TEST(test_flood_of_lines_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
