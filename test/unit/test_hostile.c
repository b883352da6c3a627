/* Guests that mean harm, one kind after the other: each is cut or refused, the cause stands in what
 * `describe` shows, it is tried again later and later, and a neighbour on the same worker goes on
 * as if it were alone. Then limits, to the page and to the tick.
 */
#include "support/ledger_rig.h"

#include "base/limits.h"
#include "capability/kube.h"
#include "serve/report.h"

#include <fcntl.h>

/* --- kinds --- */

#define MEMORY_LIMIT (6 * MIB) /* more than a worker unmaps by itself */

static bool ends; /* the one being added: by itself, also under a sanitizer, where all is slow */

static void small(struct guest_spec *spec)
{
    spec->limits.memory_bytes = MEMORY_LIMIT;
    spec->limits.cpu_ns = ends ? 20 * NS_PER_S : 20 * NS_PER_MS;
    /* Only what computes nothing is to be cut by it: a busy machine makes 20 ms of running long. */
    spec->limits.time_ns = strcmp(spec->module, "hold") ? 30 * NS_PER_S : 100 * NS_PER_MS;
    spec->limits.calls = 4;
}

static const struct kind {
    const char *module, *env;
    const char *error;   /* in lastError; NULL: its events end well */
    const char *refusal; /* in lastRefusal; NULL: nothing is refused */
    bool traps;          /* else the event fails, or is done */
} kinds[] = {
    {"spin", NULL, "limit cpu passed: 20 ms in one event", NULL, true},
    {"slowstart", NULL, "limit cpu passed: 20 ms in one event", NULL, true},
    {"startloop", NULL, "limit cpu passed: 20 ms in one event", NULL, true},
    {"recurse", NULL, "call stack exhausted", NULL, true},
    {"trap", NULL, "unreachable", NULL, true},
    {"exit", "EXIT_CODE=3", "proc_exit(3)", NULL, true},
    {"grow", NULL, NULL, "memory: all of limits.memory, 6144 KiB, is in use", false},
    {"bigtrap", NULL, "unreachable", "memory: all of limits.memory, 6144 KiB", true},
    {"flood", "LINES=3000", NULL, "log: lines were dropped", false},
    {"floodcalls", NULL, "limit cpu passed: 20 ms in one event",
     "limits.calls calls are under way already", true},
    {"hold", NULL, "limit time passed after ", "limits.calls calls are under way already", true},
    {"badptr", NULL, NULL, "import wait: EBADF (no such handle)", false},
    {"pointers", NULL, NULL, "import log: EFAULT (not its memory)", false},
    {"identity", NULL, NULL, "import call: EINVAL (malformed)", false},
};

/* --- the rig's kube:, with the real one's rules --- */

static struct kube_capability *rules; /* without a connection: what passes them gets a 503 */

static void start_kube(void *ctx, struct call *c, const struct guest *g)
{
    const struct capability *real = kube_capability_of(rules);

    if (strstr(call_target(c), "hang"))
        return; /* never answered */
    if (call_body(c).len && !strcmp(g->spec->module, "ledger"))
        ledgers_report(ctx, c, g);
    else
        real->start(real->ctx, c, g);
}

static struct guest *begin(struct ledgers *l)
{
    struct err err;
    struct guest *near;

    log_init(LOG_INFO, "text"); /* else what a guest says is not even counted */
    ledgers_open(l, 1, true);   /* one worker */
    assert_int_equal(kube_capability_new(&rules, l->rig.loop, NULL, &err), 0);
    l->rig.kube.start = start_kube;
    l->rig.kube.granted = kube_capability_of(rules)->granted;
    near = ledgers_add(l, 1, 16, NULL);
    ledgers_round(l, near);
    return near;
}

static void end(struct ledgers *l)
{
    ledgers_close(l);
    kube_capability_free(rules);
    log_init(LOG_WARN, "text");
}

/* --- each of them --- */

static void quiet_log(int *kept)
{
    int null = open("/dev/null", O_WRONLY);

    fflush(stderr);
    *kept = dup(STDERR_FILENO);
    dup2(null, STDERR_FILENO);
    close(null);
}

static void log_back(int kept)
{
    dup2(kept, STDERR_FILENO);
    close(kept);
}

/* What `describe` shows of it. */
static void check_report(const struct guest *g, const struct kind *k)
{
    json_t *report = report_guest(g);
    const char *error = json_string_value(json_object_get(report, "lastError"));
    const char *refusal = json_string_value(json_object_get(report, "lastRefusal"));

    assert_non_null(error);
    assert_non_null(refusal);
    if (k->error ? !strstr(error, k->error) : error[0] != 0)
        fail_msg("%s: lastError: %s", k->module, error);
    if (k->refusal ? !strstr(refusal, k->refusal) : refusal[0] != 0)
        fail_msg("%s: lastRefusal: %s", k->module, refusal);
    assert_int_equal(json_integer_value(json_object_get(report, "refusals")) > 0,
                     k->refusal != NULL);
    assert_int_equal(json_integer_value(json_object_get(report, "traps")) > 0, k->traps);
    json_decref(report);
}

struct tries {
    const struct guest *g;
    uint64_t picked[8], over[8];
    unsigned n;
};

static void note_tries(struct ledgers *l, const struct guest *g, enum guest_event ev)
{
    struct tries *t = l->ctx;

    if (g != t->g || ev != GE_TRAP || t->n == 8)
        return;
    t->picked[t->n] = g->awake->picked_ns;
    t->over[t->n++] = clock_now_ns();
}

/* From the end of each try until the next one: 10 ms, 20 ms, 40 ms. */
static void check_back_off(const struct tries *t, const char *module)
{
    uint64_t least = CRASH_BACKOFF_MIN_NS;

    for (unsigned i = 1; i < t->n; i++, least *= 2)
        if (t->picked[i] - t->over[i - 1] < least)
            fail_msg("%s: try %u after %llu us", module, i,
                     (unsigned long long)(t->picked[i] - t->over[i - 1]) / 1000);
}

static void one_kind(struct ledgers *l, struct guest *near, const struct kind *k)
{
    const char *env[] = {k->env, NULL};
    struct tries tries = {.n = 0};
    struct guest *g;
    char key[64];
    int kept;

    ends = !k->traps;
    g = rig_add(&l->rig, k->module, k->module, env, small);
    ends = false;
    assert_non_null(g);
    tries.g = g;
    l->seen = note_tries;
    l->ctx = &tries;
    snprintf(key, sizeof(key), "test/bad-%s", k->module);
    rig_change(&l->rig, g, key, "{}");
    quiet_log(&kept);
    ledgers_beside(l, near, g, k->traps ? 4 : 1);
    log_back(kept);
    l->seen = NULL;
    if (k->traps)
        assert_true(tries.n >= 4);
    check_back_off(&tries, k->module);
    check_report(g, k);
}

static void test_each_is_stopped_and_says_why(void **state)
{
    struct ledgers *l = *state;
    struct guest *near = begin(l);
    uint64_t began = near->counts.events;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        one_kind(l, near, &kinds[i]);
    assert_true(near->counts.events > began + 10);
    assert_int_equal(near->counts.fresh_starts, 1);
    assert_int_equal(near->counts.failures + near->counts.traps, 0);
    if (near->last_refusal) /* it says a line for each event */
        assert_non_null(strstr(near->last_refusal, "log: lines were dropped"));
    assert_string_equal(near->last_error, "");
    ledgers_check_whole(l, near);
    end(l);
}

/* All of them at once, on one worker. */
static void test_all_at_once(void **state)
{
    struct ledgers *l = *state;
    struct guest *near = begin(l), *g[16];
    size_t n = sizeof(kinds) / sizeof(kinds[0]);
    char key[64];
    int kept;

    quiet_log(&kept);
    for (size_t i = 0; i < n; i++) {
        const char *env[] = {kinds[i].env, NULL};

        ends = !kinds[i].traps;
        g[i] = rig_add(&l->rig, kinds[i].module, kinds[i].module, env, small);
        ends = false;
        assert_non_null(g[i]);
        snprintf(key, sizeof(key), "test/bad-%zu", i);
        rig_change(&l->rig, g[i], key, "{}");
    }
    for (size_t i = 0; i < n; i++)
        ledgers_beside(l, near, g[i], kinds[i].traps ? 3 : 1);
    log_back(kept);
    for (size_t i = 0; i < n; i++)
        check_report(g[i], &kinds[i]);
    assert_int_equal(near->counts.fresh_starts, 1);
    assert_int_equal(near->counts.failures + near->counts.traps, 0);
    ledgers_check_whole(l, near);
    end(l);
}

/* What may pass does: so what was refused was refused for what it is. */
static void test_calls_that_may_pass(void **state)
{
    struct ledgers *l = *state;
    struct guest *g;

    begin(l);
    g = rig_add(&l->rig, "identity", "identity", NULL, small);
    assert_non_null(g);
    rig_change(&l->rig, g, "test/good", "{}");
    assert_true(rig_settle(&l->rig, g, SETTLE_S));
    assert_int_equal(g->counts.events, 1);
    assert_int_equal(g->counts.failures + g->counts.traps + g->counts.refusals, 0);
    end(l);
}

static unsigned begun; /* calls that came to the capability */

static void note_begun(void *ctx, struct call *c, const struct guest *g)
{
    begun += !strcmp(g->spec->name, "ungranted");
    start_kube(ctx, c, g);
}

static void without_account(struct guest_spec *spec)
{
    small(spec);
    free(spec->service_account);
    spec->service_account = NULL;
}

static bool has_failed(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.failures > 0;
}

/* The same calls of a guest whose manifest has no capabilities.kube never come to it. */
static void test_what_was_not_granted_is_refused(void **state)
{
    struct ledgers *l = *state;
    struct guest *g;

    begin(l);
    begun = 0;
    l->rig.kube.start = note_begun;
    g = rig_add(&l->rig, "identity", "ungranted", NULL, without_account);
    assert_non_null(g);
    rig_change(&l->rig, g, "test/good", "{}");
    assert_true(rig_run(&l->rig, has_failed, g, SETTLE_S));
    assert_int_equal(begun, 0);
    assert_true(g->counts.refusals > 0);
    assert_string_equal(g->last_refusal,
                        "capability kube: is not granted to this guest by its manifest");
    end(l);
}

/* --- exactness --- */

struct cut {
    const struct guest *g;
    uint64_t cpu_ns, took_ns; /* the least of all tries */
    unsigned tries;
};

static void note_cut(struct ledgers *l, const struct guest *g, enum guest_event ev)
{
    struct cut *c = l->ctx;
    const struct awake *a = g->awake;

    if (g != c->g || ev != GE_TRAP)
        return;
    if (!c->tries || a->cpu_ns < c->cpu_ns)
        c->cpu_ns = a->cpu_ns;
    if (!c->tries || a->done_ns - a->picked_ns < c->took_ns)
        c->took_ns = a->done_ns - a->picked_ns;
    c->tries++;
}

/* The least of some tries: on a machine with other things to do single ones are late. Never early.
 */
static struct cut cuts_of(struct ledgers *l, const char *module, unsigned tries,
                          void (*tweak)(struct guest_spec *spec))
{
    struct cut c = {.tries = 0};
    char key[64];
    struct guest *g = rig_add(&l->rig, module, module, NULL, tweak);

    assert_non_null(g);
    c.g = g;
    l->seen = note_cut;
    l->ctx = &c;
    snprintf(key, sizeof(key), "test/exact-%s", module);
    rig_change(&l->rig, g, key, "{}");
    while (c.tries < tries)
        assert_true(rig_run(&l->rig, ledgers_any_event, NULL, SETTLE_S));
    l->seen = NULL;
    return c;
}

#define TICK_SLACK_NS (NS_PER_MS / 2) /* what a poll costs beside the guest's own code */

static void test_cpu_is_cut_within_two_ticks(void **state)
{
    struct ledgers *l = *state;
    struct cut c;

    begin(l);
    c = cuts_of(l, "spin", 6, small);
    assert_true(c.cpu_ns > 20 * NS_PER_MS);
    assert_true(c.cpu_ns <= 20 * NS_PER_MS + 2 * TICK_NS + TICK_SLACK_NS);
    end(l);
}

static void test_time_is_cut_within_ten_ms(void **state)
{
    struct ledgers *l = *state;
    struct cut c;

    begin(l);
    c = cuts_of(l, "hold", 6, small);
    assert_true(c.took_ns >= 100 * NS_PER_MS);
    assert_true(c.took_ns <= 110 * NS_PER_MS);
    end(l);
}

static void large(struct guest_spec *spec)
{
    small(spec);
    spec->limits.memory_bytes = 512 * MIB;
}

static void large_and_patient(struct guest_spec *spec)
{
    large(spec);
    spec->limits.cpu_ns = 3600 * NS_PER_S;
    spec->limits.time_ns = 100 * NS_PER_MS;
}

/* Within one instruction, which alone would take far longer (engine/rewrite_bulk.c). */
static void test_long_instructions_are_cut(void **state)
{
    static const char *const modules[] = {"fills", "copies"};
    struct ledgers *l = *state;

    for (int i = 0; i < 2; i++) {
        struct cut c;

        begin(l);
        c = cuts_of(l, modules[i], 6, large);
        assert_true(c.cpu_ns > 20 * NS_PER_MS);
        assert_true(c.cpu_ns <= 20 * NS_PER_MS + 2 * TICK_NS + TICK_SLACK_NS);
        end(l);
        begin(l);
        c = cuts_of(l, modules[i], 6, large_and_patient);
        assert_true(c.took_ns >= 100 * NS_PER_MS);
        assert_true(c.took_ns <= 110 * NS_PER_MS);
        end(l);
    }
}

static void note_debt(struct ledgers *l, const struct guest *g, enum guest_event ev)
{
    uint64_t *most = l->ctx;

    if (!strcmp(g->spec->name, "spin") && ev == GE_TRAP && g->awake->debt_ns > *most)
        *most = g->awake->debt_ns;
}

/* Who has computed begins its next event behind the others, until that is paid for. */
static void test_running_time_is_paid_for(void **state)
{
    struct ledgers *l = *state;
    uint64_t most = 0;
    struct guest *g;

    begin(l);
    g = rig_add(&l->rig, "spin", "spin", NULL, small);
    assert_non_null(g);
    l->seen = note_debt;
    l->ctx = &most;
    rig_change(&l->rig, g, "test/exact-0", "{}");
    while (g->counts.traps < 5)
        assert_true(rig_run(&l->rig, ledgers_any_event, NULL, SETTLE_S));
    l->seen = NULL;
    assert_true(most >= WORKER_LATE_NS); /* 20 ms each time, with little time between them */
    assert_true(most <= WORKER_DEBT_MAX_NS);
    assert_true(g->paid_ns > clock_now_ns());
    end(l);
}

static void long_cpu(struct guest_spec *spec)
{
    spec->limits.cpu_ns = 3600 * NS_PER_S;
    spec->limits.time_ns = 300 * NS_PER_MS;
}

/* Its own turn comes late among so many that compute: its end does not. */
static void test_time_is_cut_among_many_that_compute(void **state)
{
    struct ledgers *l = *state;
    struct cut c = {.tries = 0};
    struct guest *g[24];
    char name[32], key[64];

    begin(l);
    for (size_t i = 0; i < 24; i++) {
        snprintf(name, sizeof(name), "spin-%zu", i);
        snprintf(key, sizeof(key), "test/spin-%zu", i);
        g[i] = rig_add(&l->rig, "spin", name, NULL, long_cpu);
        assert_non_null(g[i]);
        if (i == 0)
            c.g = g[i];
    }
    l->seen = note_cut;
    l->ctx = &c;
    for (size_t i = 0; i < 24; i++) {
        snprintf(key, sizeof(key), "test/spin-%zu", i);
        rig_change(&l->rig, g[i], key, "{}");
    }
    while (c.tries < 4)
        assert_true(rig_run(&l->rig, ledgers_any_event, NULL, SETTLE_S));
    l->seen = NULL;
    assert_true(c.took_ns >= 300 * NS_PER_MS);
    assert_true(c.took_ns <= 310 * NS_PER_MS);
    end(l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, ledgers_setup, ledgers_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_each_is_stopped_and_says_why),
        TEST(test_all_at_once),
        TEST(test_calls_that_may_pass),
        TEST(test_what_was_not_granted_is_refused),
        TEST(test_cpu_is_cut_within_two_ticks),
        TEST(test_time_is_cut_within_ten_ms),
        TEST(test_time_is_cut_among_many_that_compute),
        TEST(test_running_time_is_paid_for),
        TEST(test_long_instructions_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
