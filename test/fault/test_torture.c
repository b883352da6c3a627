/* Each call that can fail fails in turn, once and from then on: of the disk, of LMDB's I/O, and
 * each allocation of our own code; while guests start, handle, sleep, wake, are restarted and
 * upgraded.
 *
 * Each round is a life of the daemon with one fault, on a state directory as an earlier life left
 * it, and one without: once the fault is gone everything works, nothing is lost, and no ledger
 * finds a byte of its memory changed. Leaks are found where this runs under AddressSanitizer.
 */
#include "fault/seam.h"
#include "support/fault_disk.h"
#include "support/ledger_rig.h"

#include "base/limits.h"
#include "engine/snapshot_internal.h"

#include <fcntl.h>

#define PROD_MS  3u
#define GUESTS   2u
#define FAULT_S  5u  /* a life with a fault that stays takes no longer to come to rest ... */
#define STUCK_MS 25u /* ... or to be stuck where it must wait for the fault to end */

static struct ledgers *l;
static struct fault_disk disk;

/* --- what is logged, which is nobody's to read but this test's --- */

static int stderr_fd = -1, lines_fd = -1;

static void log_to_lines(bool on)
{
    if (getenv("LEDGERS_LOG"))
        return;
    if (stderr_fd < 0)
        stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
    if (lines_fd < 0)
        lines_fd = memfd_create("lines", MFD_CLOEXEC);
    dup2(on ? lines_fd : stderr_fd, STDERR_FILENO);
}

static off_t log_bytes(void)
{
    return lseek(lines_fd, 0, SEEK_END);
}

/* --- the state directory, and what the test knows, as a life left them --- */

struct kept {
    uint8_t *db, *arena;
    size_t db_len, arena_len;
    off_t db_size, arena_size;
    struct ledgers ledgers;
};

static uint8_t *file_get(const char *name, size_t max, size_t *len, off_t *size)
{
    int fd = open(tmp_file(&l->dir, name), O_RDONLY | O_CLOEXEC);
    uint8_t *data = malloc(max);
    struct stat st;
    ssize_t n;

    assert_true(fd >= 0 && data);
    assert_int_equal(fstat(fd, &st), 0);
    n = pread(fd, data, max, 0);
    assert_true(n >= 0);
    close(fd);
    while (n > 0 && data[n - 1] == 0) /* a hole, most of it */
        n--;
    *len = (size_t)n;
    *size = st.st_size;
    return data;
}

static void file_put(const char *name, const uint8_t *data, size_t len, off_t size)
{
    int fd = open(tmp_file(&l->dir, name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, 0), (ssize_t)len);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static void keep(struct kept *k)
{
    k->db = file_get("db", 4 * MIB, &k->db_len, &k->db_size);
    k->arena = file_get("arena", 32 * MIB, &k->arena_len, &k->arena_size);
    k->ledgers = *l;
}

static void restore(const struct kept *k)
{
    *l = k->ledgers;
    if (!k->db) {
        unlink(tmp_file(&l->dir, "db"));
        unlink(tmp_file(&l->dir, "arena"));
        return;
    }
    file_put("db", k->db, k->db_len, k->db_size);
    file_put("arena", k->arena, k->arena_len, k->arena_size);
}

static void kept_free(struct kept *k)
{
    free(k->db);
    free(k->arena);
}

/* --- a life --- */

static bool upgraded;
static long long starts_max = 1; /* of a guest, so far */
static bool heavy; /* the second guest writes most of its memory, and is prepared for that */

static void tweak(struct guest_spec *spec)
{
    if (!upgraded)
        return;
    free(spec->env[3].value); /* another environment is another guest, for its memory */
    spec->env[3].value = strdup("4");
}

static bool life_open(void)
{
    l->rig.ctx = l;
    l->rig.disk = &disk.disk;
    l->rig.own_keys = true;
    l->rig.may_fail = true;
    l->rig.observe = ledgers_observe;
    l->n = 0;
    if (!rig_open(&l->rig, l->dir.path, 1, true)) {
        assert_true(l->rig.error[0] != 0); /* it says why */
        return false;
    }
    signals_own();
    l->rig.kube.ctx = l;
    l->rig.kube.start = ledgers_report;
    l->rig.kube.write = ledgers_written;
    return true;
}

static void add(unsigned i)
{
    static const char *const names[GUESTS] = {"a0", "b0"};
    /* The second writes to most of its memory, so that it is prepared for that at its third wake.
     */
    const char *const env[] = {
        i ? "SEED=2" : "SEED=1", "MEMORY_MIB=1", i && heavy ? "DIRTY_KIB=800" : "DIRTY_KIB=4",
        "GROW_EVERY=3",          "GROW_MIB=1",   NULL};
    struct guest *g = rig_add(&l->rig, "ledger", names[i], env, tweak);

    if (!g) {
        assert_true(l->rig.error[0] != 0);
        return;
    }
    l->guests[l->n++] = g;
    l->rig.trigger.due_since(&l->rig, g, 0, guest_seen(g, 0));
}

static bool at_rest(const struct guest *g)
{
    if (g->rejected || g->hold)
        return true;
    if (mailbox_len(g->mailbox) || g->behind || g->posted != GE_NONE)
        return false;
    return g->state == G_ASLEEP || g->state == G_COLD;
}

static bool all_rest(struct rig *r, void *ctx)
{
    (void)r;
    (void)ctx;
    for (size_t i = 0; i < l->n; i++)
        if (!at_rest(l->guests[i]))
            return false;
    return true;
}

static unsigned fired_now(void);

struct limit {
    struct timer timer;
    uint64_t until_ns;
    bool passed;
};

static void prod(struct timer *t)
{
    struct limit *limit = container_of(t, struct limit, timer);
    uint64_t now = clock_now_ns();

    /* Time counts from the fault on: a busy machine is not stuck. */
    limit->passed = now >= limit->until_ns + (fired_now() ? 0 : FAULT_S * NS_PER_S) ||
                    loop_timer_set(l->rig.loop, t, now + PROD_MS * NS_PER_MS, NULL) < 0;
    if (limit->passed) {
        loop_stop(l->rig.loop);
        return;
    }
    for (size_t i = 0; i < l->n; i++) /* not after the second that a failed save waits */
        if (l->guests[i]->state == G_IDLE)
            guest_sleep_now(l->guests[i]);
}

/* Until all rest, or the time is over: then a fault that stays keeps them from it. */
static bool rest(uint64_t ms)
{
    struct limit limit = {.timer = {.fire = prod}, .until_ns = clock_now_ns() + ms * NS_PER_MS};

    if (all_rest(&l->rig, NULL))
        return true;
    if (loop_timer_set(l->rig.loop, &limit.timer, clock_now_ns() + PROD_MS * NS_PER_MS, NULL) < 0)
        return false;
    l->rig.until = all_rest;
    loop_run(l->rig.loop);
    l->rig.until = NULL;
    loop_timer_clear(l->rig.loop, &limit.timer);
    return !limit.passed;
}

static void change_all(unsigned key)
{
    for (size_t i = 0; i < l->n; i++)
        ledgers_change(l, l->guests[i], key);
}

/* What happens in each life: an old key and a new one, with a sleep between. */
static void work(uint64_t ms)
{
    for (unsigned i = 0; i < GUESTS; i++)
        add(i);
    change_all(0);
    rest(ms);
    change_all(1);
    rest(ms);
    if (heavy) {
        change_all(0);
        rest(ms);
    }
}

static void fail_where(const char *what)
{
    log_to_lines(false);
    for (size_t i = 0; i < l->n; i++) {
        const struct guest *g = l->guests[i];

        print_error("%s: %s, %zu keys%s, last error: %s\n", g->id, guest_state_name(g->state),
                    mailbox_len(g->mailbox), g->behind ? ", behind" : "", g->last_error);
    }
    fail_msg("%s", what);
}

/* The fault is gone: what could start comes to rest. */
static void recover(void)
{
    for (int tries = 0; tries < 20; tries++)
        if (rest(FAULT_S * 100))
            return;
    fail_where("not at rest once the fault was gone");
}

static void books_sound(void)
{
    for (size_t i = 0; i < l->nbooks; i++)
        if (l->books[i].errors || l->books[i].starts > starts_max) {
            log_to_lines(false);
            fail_msg("%s: errors %lld, starts %lld", l->books[i].id, l->books[i].errors,
                     l->books[i].starts);
        }
}

/* Whether anything was said of it. */
static bool life_with_fault(bool sticky)
{
    off_t said = log_bytes();

    if (!life_open())
        return true;
    work(sticky ? STUCK_MS : FAULT_S * 1000);
    seam_disarm();
    disk.nth = 0;
    recover();
    books_sound();
    rig_close(&l->rig);
    return log_bytes() > said;
}

static void life_without(void)
{
    assert_true(life_open());
    work(FAULT_S * 1000);
    recover();
    assert_int_equal(l->n, GUESTS);
    for (size_t i = 0; i < l->n; i++)
        assert_null(l->guests[i]->rejected);
    ledgers_check_handled(l);
    books_sound();
    rig_close(&l->rig);
}

/* --- turns --- */

enum kind { DISK, DATABASE, MEMORY, MAPS, READS };

static const struct kind_of {
    const char *name;
    int sys;
} kinds[] = {[DISK] = {"disk", EIO},
             [DATABASE] = {"database", EIO},
             [MEMORY] = {"memory", ENOMEM},
             [MAPS] = {"mappings", ENOMEM},
             [READS] = {"reads", EIO}};

static enum seam_kind seam_of(enum kind kind)
{
    static const enum seam_kind seams[] = {
        [DATABASE] = SEAM_DB, [MEMORY] = SEAM_ALLOC, [MAPS] = SEAM_MAP, [READS] = SEAM_READ};

    return seams[kind];
}

static void arm(enum kind kind, unsigned nth, bool sticky, int sys)
{
    if (kind == DISK) {
        atomic_store(&disk.calls, 0);
        atomic_store(&disk.fired, 0);
        disk.sticky = sticky;
        disk.sys = sys;
        disk.nth = nth;
    } else {
        seam_arm(seam_of(kind), nth, sticky, sys);
    }
}

static unsigned fired(enum kind kind)
{
    if (kind == DISK)
        return atomic_load(&disk.fired);
    return seam_fired(seam_of(kind));
}

static enum kind turn;

static unsigned fired_now(void)
{
    return fired(turn);
}

static unsigned torture(const struct kept *k, enum kind kind, bool sticky, int sys)
{
    unsigned nth = 0;
    bool hit, said;

    do {
        restore(k);
        turn = kind;
        arm(kind, ++nth, sticky, sys);
        if (getenv("TORTURE_LOG"))
            print_message("%s %u %s\n", kinds[kind].name, nth, sticky ? "on" : "once");
        log_to_lines(true);
        said = life_with_fault(sticky);
        log_to_lines(false);
        seam_disarm();
        disk.nth = 0;
        hit = fired(kind) > 0;
        if (sticky && nth == 1 && sys) /* where nothing works any more, it says so */
            assert_true(said);
        life_without();
    } while (hit);
    return nth - 1;
}

/* Guests that slept once, of this or of another environment; without any yet. */
static void prepare(struct kept *k, bool empty)
{
    memset(k, 0, sizeof(*k));
    upgraded = false;
    if (!empty) {
        life_without();
        keep(k);
    } else {
        k->ledgers = *l;
    }
}

static void turns(enum kind kind, int sys, unsigned least)
{
    static const char *const names[] = {"a first start", "a restart", "an upgrade"};
    struct kept k;

    for (int scene = 0; scene < 3; scene++) {
        for (int sticky = 0; sticky < 2; sticky++) {
            unsigned n;

            tmp_dir_remove(&l->dir);
            memset(l, 0, sizeof(*l));
            assert_int_equal(tmp_dir_make(&l->dir), 0);
            prepare(&k, scene == 0);
            upgraded = scene == 2;
            n = torture(&k, kind, sticky, sys);
            print_message("%s: each of %u calls failed %s, in %s\n", kinds[kind].name, n,
                          sticky ? "from then on" : "once", names[scene]);
            assert_true(n >= least);
            kept_free(&k);
        }
    }
}

static void test_disk(void **state)
{
    (void)state;
    heavy = true;
    turns(DISK, EIO, 15);
    heavy = false;
}

static void test_full_disk(void **state)
{
    (void)state;
    turns(DISK, ENOSPC, 15);
}

static void test_short_reads_and_writes(void **state)
{
    (void)state;
    turns(DISK, 0, 15);
}

static void test_database(void **state)
{
    (void)state;
    turns(DATABASE, EIO, 10);
}

static void test_memory(void **state)
{
    (void)state;
    turns(MEMORY, ENOMEM, 50);
}

static void test_mappings(void **state)
{
    (void)state;
    heavy = true;
    turns(MAPS, ENOMEM, 3);
    heavy = false;
}

/* A snapshot that could not be read is given up: its guest starts afresh, and says so. */
static void test_reads(void **state)
{
    (void)state;
    starts_max = 3;
    turns(READS, EIO, 3);
    starts_max = 1;
}

/* The same without PAGEMAP_SCAN. */
static void test_restart_on_an_old_kernel(void **state)
{
    struct kept k;

    (void)state;
    pagemap_without_scan(true);
    prepare(&k, false);
    assert_true(torture(&k, DISK, false, EIO) > 0);
    pagemap_without_scan(false);
    kept_free(&k);
}

static int setup(void **state)
{
    int rc = ledgers_setup(state);

    l = *state;
    log_init(getenv("LEDGERS_LOG") ? LOG_DEBUG : LOG_WARN, "text");
    fault_disk_init(&disk);
    return rc;
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, ledgers_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_disk),
        TEST(test_full_disk),
        TEST(test_short_reads_and_writes),
        TEST(test_database),
        TEST(test_memory),
        TEST(test_mappings),
        TEST(test_reads),
        TEST(test_restart_on_an_old_kernel),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("torture", tests, NULL, NULL);
}
