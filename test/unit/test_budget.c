/* Room for awake guests: with too little of it events wait, idle guests sleep early, and nothing
 * fails. The last test does it under a memory limit of the kernel's.
 */
#include "guest/budget.h"

#include "base/limits.h"
#include "base/sanitized.h"
#include "guest/worker.h"
#include "rig/rig.h"
#include "support/tmp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>
// cmocka wants the above first
#include <cmocka.h>

#define GUESTS 24

static struct tmp_dir dir;
static struct rig rig;
static struct guest *guests[GUESTS];
static size_t nguests;
static unsigned handled[GUESTS];
static unsigned order[8 * GUESTS]; /* who was put to sleep, in this order */
static size_t norder;
static uint64_t pages_seen, maps_seen; /* the most that was in use at once */

static unsigned number_of(const struct guest *g)
{
    return (unsigned)strtoul(g->spec->name + 1, NULL, 10);
}

static void observe(struct rig *r, const struct guest *g, enum guest_event ev)
{
    const struct budget *b = &r->guests->budget;

    if (b->pages > pages_seen)
        pages_seen = b->pages;
    if (b->maps > maps_seen)
        maps_seen = b->maps;
    if ((ev == GE_DONE || ev == GE_SLEPT) && g->awake->result == 0)
        handled[number_of(g)]++;
    if (ev == GE_SLEEP && norder < sizeof(order) / sizeof(order[0]))
        order[norder++] = number_of(g);
    assert_true(ev != GE_TRAP && ev != GE_CORRUPT && ev != GE_NO_ROOM);
}

/* They would stay awake for ever. */
static void stay(struct guest_spec *spec)
{
    spec->sleep_after_ns = SLEEP_AFTER_MAX_NS;
    spec->limits.memory_bytes = 16ull * MIB;
}

static void begin(size_t n, const char *mib, uint64_t pages_max, uint64_t maps_max)
{
    const char *env[] = {mib, NULL};
    char name[16];

    rig = (struct rig){.observe = observe};
    memset(handled, 0, sizeof(handled));
    norder = 0;
    pages_seen = maps_seen = 0;
    assert_true(rig_open(&rig, dir.path, 2, true));
    rig.guests->budget.pages_max = pages_max;
    rig.guests->budget.maps_max = maps_max;
    for (nguests = 0; nguests < n; nguests++) {
        snprintf(name, sizeof(name), "g%zu", nguests);
        guests[nguests] = rig_add(&rig, "bench_mem", name, env, stay);
        assert_non_null(guests[nguests]);
    }
}

static bool all_handled(struct rig *r, void *ctx)
{
    (void)r;
    for (size_t i = 0; i < nguests; i++)
        if (handled[i] < *(unsigned *)ctx)
            return false;
    return true;
}

static void an_event_each(const char *key, unsigned so_far)
{
    for (size_t i = 0; i < nguests; i++)
        guest_changed(guests[i], 0, key, ++rig.seq);
    assert_true(rig_run(&rig, all_handled, &so_far, 120));
}

static void assert_no_errors(void)
{
    for (size_t i = 0; i < nguests; i++) {
        assert_string_equal(guests[i]->last_error, "");
        assert_int_equal(guests[i]->counts.fresh_starts, 1);
    }
}

static bool is_idle(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_IDLE && g->posted == GE_NONE;
}

static void one_event(size_t i)
{
    guest_changed(guests[i], 0, "touch/1", ++rig.seq);
    assert_true(rig_run(&rig, is_idle, guests[i], 60));
}

/* --- tests --- */

static void test_with_room_nobody_waits(void **state)
{
    (void)state;
    begin(GUESTS, "SIZE_MIB=1", 0, 0);
    an_event_each("touch/1", 1);
    assert_int_equal(rig.guests->budget.awake_max, GUESTS);
    assert_int_equal(rig.guests->budget.waited, 0);
    assert_int_equal(rig.guests->budget.early, 0);
    assert_no_errors();
    rig_close(&rig);
}

static void test_with_few_mappings_events_wait_and_idle_guests_sleep(void **state)
{
    (void)state;
    begin(GUESTS, "SIZE_MIB=1", 0, 5 * AWAKE_MAPS);
    for (unsigned round = 1; round <= 4; round++)
        an_event_each(round % 2 ? "touch/1" : "write/1", round);
    assert_true(maps_seen <= 5 * AWAKE_MAPS);
    assert_true(rig.guests->budget.awake_max <= 5);
    assert_true(rig.guests->budget.waited >= 4 * (GUESTS - 5));
    assert_true(rig.guests->budget.early >= GUESTS - 5);
    assert_no_errors();
    rig_close(&rig);
}

static void test_with_little_memory_events_wait_and_idle_guests_sleep(void **state)
{
    const uint64_t room = 40ull * MIB / PAGE_BYTES; /* two that start afresh */

    (void)state;
    begin(GUESTS, "SIZE_MIB=2", room, 0);
    for (unsigned round = 1; round <= 4; round++)
        an_event_each(round % 2 ? "touch/1" : "write/1", round);
    assert_true(pages_seen <= room);
    assert_true(rig.guests->budget.awake_max > 2); /* when it was known how large they are */
    assert_no_errors();
    rig_close(&rig);
}

static void test_one_larger_than_all_room_runs_alone(void **state)
{
    (void)state;
    begin(3, "SIZE_MIB=2", 16, 1);
    an_event_each("touch/1", 1);
    an_event_each("touch/1", 2);
    assert_int_equal(rig.guests->budget.awake_max, 1);
    assert_no_errors();
    rig_close(&rig);
}

static void test_the_least_recently_used_sleeps_first(void **state)
{
    (void)state;
    begin(4, "SIZE_MIB=1", 0, 3 * AWAKE_MAPS);
    one_event(0);
    one_event(1);
    one_event(2);
    one_event(0); /* 1 is the oldest now */
    one_event(3);
    assert_true(norder >= 1);
    assert_int_equal(order[0], 1);
    assert_int_equal(guests[0]->state, G_IDLE);
    assert_int_equal(guests[2]->state, G_IDLE);
    rig_close(&rig);
}

#define CROWD 2000

static size_t crowd_slept;

static void count_sleeps(struct rig *r, const struct guest *g, enum guest_event ev)
{
    size_t unbegun = 0;

    for (size_t i = 0; i < r->guests->nworkers; i++)
        unbegun += worker_unbegun(r->guests->workers[i]);
    if (ev == GE_WAKE && g->state == G_RUNNING) { /* let in just now, its event not posted yet */
        assert_true(unbegun < BUDGET_COMING_MAX);
        assert_true(r->guests->stats.by_state[G_SAVING] < BUDGET_SAVING_MAX);
    }
    crowd_slept += ev == GE_SAVED || ev == GE_SLEPT;
    assert_true(ev != GE_TRAP && ev != GE_CORRUPT && ev != GE_NO_ROOM);
}

static bool crowd_sleeps(struct rig *r, void *ctx)
{
    (void)r;
    (void)ctx;
    return crowd_slept == CROWD;
}

/* Without any budget: what has begun and is not done is bounded. */
static void test_a_crowd_is_let_in_bit_by_bit(void **state)
{
    static struct guest *crowd[CROWD];
    char name[16];

    (void)state;
    crowd_slept = 0;
    rig = (struct rig){.observe = count_sleeps};
    assert_true(rig_open(&rig, dir.path, 2, true));
    for (size_t i = 0; i < CROWD; i++) {
        snprintf(name, sizeof(name), "g%zu", i);
        crowd[i] = rig_add(&rig, "density", name, NULL, NULL);
        assert_non_null(crowd[i]);
    }
    for (size_t i = 0; i < CROWD; i++)
        guest_changed(crowd[i], 0, "test/one", ++rig.seq);
    /* Nothing came back so far: each was let in, or waits. */
    assert_int_equal(rig.guests->budget.awake + rig.guests->budget.nwaiting, CROWD);
    assert_true(rig_run(&rig, crowd_sleeps, NULL, 120));
    assert_int_equal(rig.guests->budget.nwaiting, 0);
    assert_int_equal(rig.guests->budget.awake, 0);
    assert_true(rig.guests->budget.pages == 0 && rig.guests->budget.maps == 0);
    rig_close(&rig);
}

static void test_one_that_never_sleeps_is_in_nobodys_way(void **state)
{
    (void)state;
    begin(4, "SIZE_MIB=1", 0, AWAKE_MAPS);
    for (int i = 0; i < 3; i++)
        guests[i]->spec->sleep_mode = SLEEP_NEVER;
    for (size_t i = 0; i < 4; i++)
        one_event(i);
    one_event(3);
    assert_int_equal(rig.guests->budget.waited, 0);
    rig_close(&rig);
}

static void test_who_waits_when_the_daemon_stops_is_not_in_its_way(void **state)
{
    (void)state;
    begin(GUESTS, "SIZE_MIB=1", 0, AWAKE_MAPS);
    for (size_t i = 0; i < nguests; i++)
        guest_changed(guests[i], 0, "touch/1", ++rig.seq);
    assert_true(rig.guests->budget.nwaiting > 0);
    rig_close(&rig); /* ends */
    assert_true(rig.drained);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_true(budget_maps_default() > 0);
    assert_true(budget_memory_default(1024ull * MIB, 1000) < 768ull * MIB);
    assert_true(budget_memory_default(1024ull * MIB, 1000) > 700ull * MIB);
    assert_true(budget_memory_default(16ull * MIB, 100000) == MIB);
}

/* --- under a limit of the kernel's --- */

static char group[256];

static bool put_in_group(const char *file, const char *text)
{
    char path[320];
    int fd;
    bool ok;

    snprintf(path, sizeof(path), "%s/%s", group, file);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Version 1, or 2 where a group may be made; false where there is neither. */
static bool group_make(uint64_t limit)
{
    static const char *const roots[] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"};
    static const char *const files[] = {"memory.limit_in_bytes", "memory.max"};
    char text[32];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)limit);
    for (size_t i = 0; i < 2; i++) {
        snprintf(group, sizeof(group), "%s/roost-test-budget-%d", roots[i], (int)getpid());
        if (mkdir(group, 0755) == 0 && put_in_group(files[i], text))
            return true;
        rmdir(group);
    }
    return false;
}

/* What a sanitizer needs for itself comes on top; the budget is the same. */
#define SANITIZER_FACTOR (SANITIZED_THREAD ? 16 : SANITIZED_ADDRESS ? 4 : 1)

#define PRESSED     GUESTS
#define PRESSED_MIB 8u

/* What this program does where it is called with the limit: it is in the group by then. */
static int under_pressure(uint64_t limit)
{
    uint64_t room = budget_memory_default(limit, PRESSED);

    if (tmp_dir_make(&dir) < 0)
        return 2;
    begin(PRESSED, "SIZE_MIB=8", room / PAGE_BYTES, 0);
    an_event_each("fill/1", 1);
    for (unsigned round = 2; round <= 6; round++)
        an_event_each("write/1", round);
    assert_no_errors();
    if (rig.guests->budget.early == 0 || rig.guests->budget.waited == 0)
        return 3;
    rig_close(&rig);
    tmp_dir_remove(&dir);
    return 0;
}

/* A process that has ended may be counted in it for another moment. */
static void group_remove(void)
{
    uint64_t until = clock_now_ns() + 10 * NS_PER_S;

    while (rmdir(group) < 0 && errno == EBUSY && clock_now_ns() < until)
        sched_yield();
    assert_int_not_equal(access(group, F_OK), 0);
}

/* Not merely a fork: a process knows its own memory by files that it opened. */
static void enter_and_exec(uint64_t limit)
{
    char text[32];

    snprintf(text, sizeof(text), "%d", (int)getpid());
    if (!put_in_group("cgroup.procs", text))
        _exit(4);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)limit);
    execl("/proc/self/exe", "test_budget", text, (char *)NULL);
    _exit(5);
}

static void test_half_of_what_all_need_is_enough(void **state)
{
    const uint64_t limit = (uint64_t)PRESSED * PRESSED_MIB * MIB / 2;
    pid_t pid;
    int status = -1;

    (void)state;
    if (!group_make(limit * SANITIZER_FACTOR))
        fail_msg("no memory cgroup can be made here: this was not tested");
    pid = fork();
    if (pid == 0)
        enter_and_exec(limit);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    group_remove();
    assert_true(WIFEXITED(status)); /* not killed */
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int set_up(void **state)
{
    (void)state;
    return tmp_dir_make(&dir);
}

static int tear_down(void **state)
{
    (void)state;
    tmp_dir_remove(&dir);
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(test_with_room_nobody_waits),
        T(test_with_few_mappings_events_wait_and_idle_guests_sleep),
        T(test_with_little_memory_events_wait_and_idle_guests_sleep),
        T(test_one_larger_than_all_room_runs_alone),
        T(test_the_least_recently_used_sleeps_first),
        T(test_a_crowd_is_let_in_bit_by_bit),
        T(test_one_that_never_sleeps_is_in_nobodys_way),
        T(test_who_waits_when_the_daemon_stops_is_not_in_its_way),
        T(test_defaults),
        T(test_half_of_what_all_need_is_enough),
    };

    log_init(LOG_WARN, "text");
    if (argc == 2)
        return under_pressure(strtoull(argv[1], NULL, 10));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
