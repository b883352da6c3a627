/* The daemon is killed: what counts is what was committed, and a guest goes on from there.
 *
 * A child process runs the rig and ends without any farewell; what tests need to know of it is in
 * memory that both share. A crash of the machine itself, with pages that were never synced, is
 * test_guest_faults.c.
 */
#include "support/ledger_rig.h"

#include "base/limits.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* Passed on to the child by number. */
static int shared_fd;

static struct ledgers *shared_map(void)
{
    void *at = mmap(NULL, sizeof(struct ledgers), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);

    log_init(getenv("LEDGERS_LOG") ? LOG_DEBUG : LOG_ERROR, "text");
    return at == MAP_FAILED ? NULL : at;
}

static int setup(void **state)
{
    struct ledgers *l;

    shared_fd = memfd_create("ledgers", 0);
    if (shared_fd < 0 || ftruncate(shared_fd, sizeof(*l)) < 0 || !(l = shared_map()))
        return -1;
    *state = l;
    return tmp_dir_make(&l->dir);
}

static int teardown(void **state)
{
    struct ledgers *l = *state;

    tmp_dir_remove(&l->dir);
    munmap(l, sizeof(*l));
    return close(shared_fd);
}

/* This program again, as `PROGRAM LIFE FD`: a life may not begin as a fork of a process that had an
 * engine. */
static pid_t child(const char *life)
{
    pid_t pid = fork();
    char fd[16];

    assert_true(pid >= 0);
    if (pid == 0) {
        snprintf(fd, sizeof(fd), "%d", shared_fd);
        setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failing assertion ends the child there */
        execl("/proc/self/exe", "life", life, fd, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* A life that ends in the middle of everything when its function returns. */
static void dies_after(const char *life)
{
    pid_t pid = child(life);
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* --- between the loss of a snapshot and the next one --- */

static void lies_awake(struct guest_spec *spec)
{
    spec->sleep_after_ns = 3600 * NS_PER_S;
}

static bool is_idle(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_IDLE && mailbox_len(g->mailbox) == 0;
}

static bool has_failed(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_FAILED;
}

/* Its snapshot is refused; all its keys are due and handled; then the daemon dies before the guest
 * has slept again. */
static void life_with_damage(struct ledgers *l)
{
    static const uint8_t nonsense[PAGE_BYTES] = {1};
    struct guest *g;
    uint64_t at;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, lies_awake);
    assert_int_equal(g->state, G_ASLEEP);
    at = snapshot_slots(g->snapshot)[g->snapshot->nslots - 1].offset;
    assert_int_equal(pwrite(arena_fd(l->rig.arena), nonsense, PAGE_BYTES, (off_t)at * PAGE_BYTES),
                     PAGE_BYTES);
    ledgers_change(l, g, 0);
    assert_true(rig_run(&l->rig, is_idle, g, SETTLE_S));
    assert_int_equal(g->counts.events, 3);
    db_idle(l->rig.db);
}

static void test_damage_then_death_leaves_all_keys_due(void **state)
{
    struct ledgers *l = *state;
    struct guest *g;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    ledgers_change(l, g, 1);
    ledgers_change(l, g, 2);
    ledgers_round(l, g);
    ledgers_close(l);
    dies_after("damage");

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    ledgers_settle(l);
    assert_int_equal(g->counts.fresh_starts, 1);
    assert_int_equal(g->counts.events, 3);
    assert_int_equal(book_of(l, g->id)->events, 3);
    ledgers_check_whole(l, g);
    ledgers_check_handled(l);
    ledgers_close(l);
}

static void all_due(struct guest_spec *spec)
{
    spec->on_fresh_start = FRESH_ALL;
}

static struct guest *trap_guest(struct ledgers *l, void (*tweak)(struct guest_spec *spec))
{
    struct guest *g;

    ledgers_open(l, 1, true);
    g = rig_add(&l->rig, "trap", "trap", NULL, tweak);
    assert_non_null(g);
    return g;
}

static void life_with_a_trap(struct ledgers *l)
{
    struct guest *g = trap_guest(l, all_due);

    assert_int_equal(g->state, G_ASLEEP);
    rig_change(&l->rig, g, "test/bad", "{}");
    assert_true(rig_run(&l->rig, has_failed, g, SETTLE_S));
    db_idle(l->rig.db);
}

static bool good_was_handled(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->counts.events - g->counts.traps >= 2;
}

/* onFreshStart: all. */
static void test_trap_then_death_leaves_all_keys_due(void **state)
{
    struct ledgers *l = *state;
    struct guest *g = trap_guest(l, all_due);

    rig_change(&l->rig, g, "test/good-1", "{}");
    rig_change(&l->rig, g, "test/good-2", "{}");
    assert_true(rig_settle(&l->rig, g, SETTLE_S));
    ledgers_close(l);
    dies_after("trap");

    g = trap_guest(l, NULL); /* the bad key traps again: then it alone is due */
    l->rig.trigger.due_since(&l->rig, g, 0, guest_seen(g, 0));
    assert_true(rig_run(&l->rig, good_was_handled, g, SETTLE_S));
    ledgers_close(l);
}

/* --- at any moment --- */

#define GUESTS 6
#define KILLS  16

static void add_all(struct ledgers *l)
{
    for (int i = 0; i < GUESTS; i++) /* the last one has nothing to do, ever */
        ledgers_add(l, i % 2 ? 1 : 2, i % 3 ? 64 : 512, NULL);
}

static struct timer changes;
static struct ledgers *changing;
static unsigned seed;

static void change_some(struct timer *t)
{
    (void)t;
    for (int n = rand_r(&seed) % 4; n > 0; n--)
        ledgers_change(changing, changing->guests[rand_r(&seed) % (GUESTS - 1)],
                       (unsigned)rand_r(&seed) % 4);
    if (loop_timer_set(changing->rig.loop, &changes,
                       clock_now_ns() + (unsigned)rand_r(&seed) % (2 * NS_PER_MS), NULL) < 0)
        abort();
}

static bool never(struct rig *r, void *ctx)
{
    (void)r;
    (void)ctx;
    return false;
}

/* Until it is killed. */
static void restless_life(struct ledgers *l)
{
    ledgers_open(l, 2, true);
    add_all(l);
    for (int i = 0; i < GUESTS; i++)
        assert_int_equal(l->guests[i]->state == G_ASLEEP || l->guests[i]->state == G_RUNNING, 1);
    changing = l;
    seed = (unsigned)getpid();
    changes.fire = change_some;
    change_some(&changes);
    rig_run(&l->rig, never, NULL, 60);
}

static void test_killed_at_any_moment(void **state)
{
    struct ledgers *l = *state;
    char boots[GUESTS][24];
    struct untouched idle;

    seed = 1;
    ledgers_open(l, 2, true);
    add_all(l);
    for (int i = 0; i < GUESTS; i++) {
        ledgers_round(l, l->guests[i]);
        memcpy(boots[i], book_of(l, l->guests[i]->id)->boot, sizeof(boots[i]));
    }
    ledgers_close(l);

    for (int k = 0; k < KILLS; k++) {
        const struct timespec moment = {.tv_nsec = 100000000 + rand_r(&seed) % 300000000};
        pid_t pid;
        int status;

        pid = child("restless");
        nanosleep(&moment, NULL);
        assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it lives until now */
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (k % 5)
            continue; /* killed again and again, and looked after now and then */
        ledgers_open(l, 2, true);
        add_all(l);
        untouched_note(l, l->guests[GUESTS - 1], &idle);
        ledgers_settle(l);
        ledgers_check_handled(l);
        for (int i = 0; i < GUESTS; i++) {
            assert_int_equal(l->guests[i]->counts.fresh_starts, 0);
            assert_string_equal(l->guests[i]->last_error, "");
            assert_string_equal(book_of(l, l->guests[i]->id)->boot, boots[i]);
            ledgers_check_whole(l, l->guests[i]);
        }
        assert_int_equal(l->guests[GUESTS - 1]->counts.wakes, 0);
        untouched_check(l, l->guests[GUESTS - 1], &idle);
        ledgers_close(l);
    }
}

static int live(const char *life, const char *fd)
{
    static const struct {
        const char *name;
        void (*body)(struct ledgers *l);
    } lives[] = {
        {"damage", life_with_damage}, {"trap", life_with_a_trap}, {"restless", restless_life}};
    struct ledgers *l;

    shared_fd = (int)strtol(fd, NULL, 10);
    l = shared_map();
    for (size_t i = 0; l && i < sizeof(lives) / sizeof(lives[0]); i++) {
        if (strcmp(lives[i].name, life) == 0) {
            lives[i].body(l);
            _exit(0); /* nothing is closed */
        }
    }
    return 1;
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_damage_then_death_leaves_all_keys_due),
        TEST(test_trap_then_death_leaves_all_keys_due),
        TEST(test_killed_at_any_moment),
    };

    if (argc == 3)
        return live(argv[1], argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
