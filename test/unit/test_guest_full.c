/* Nothing fits on the disk any more, or the disk fails now and then: guests stay awake with what
 * they have, sleep once that is possible, and lose nothing; across a restart as well.
 */
#include "support/ledger_rig.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* The arena's disk. */
static struct {
    struct disk disk;
    atomic_int full;  /* an errno: writes and growing fail */
    atomic_int once;  /* an errno: the next write fails */
    atomic_uint hits; /* how often they did */
    /* Torture: of all calls, the one with this number fails with the errno; 0: none. */
    atomic_uint calls, nth;
} bad;

static bool fails(bool writes)
{
    unsigned nth = atomic_load(&bad.nth), n = nth ? atomic_fetch_add(&bad.calls, 1) + 1 : 0;
    int sys = atomic_load(&bad.full);

    if (writes && atomic_load(&bad.once))
        sys = atomic_exchange(&bad.once, 0);
    if (!(nth ? n == nth : writes && sys))
        return false;
    atomic_fetch_add(&bad.hits, 1);
    errno = nth ? EIO : sys;
    return true;
}

static ssize_t bad_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    return fails(true) ? -1 : disk_real.pwrite(ctx, fd, buf, len, offset);
}

static ssize_t bad_pwritev(void *ctx, int fd, const struct iovec *iov, int n, off_t offset)
{
    return fails(true) ? -1 : disk_real.pwritev(ctx, fd, iov, n, offset);
}

static int bad_ftruncate(void *ctx, int fd, off_t len)
{
    return fails(true) ? -1 : disk_real.ftruncate(ctx, fd, len);
}

static int bad_fstat(void *ctx, int fd, struct stat *st)
{
    return fails(false) ? -1 : disk_real.fstat(ctx, fd, st);
}

static ssize_t bad_pread(void *ctx, int fd, void *buf, size_t len, off_t offset)
{
    return fails(false) ? -1 : disk_real.pread(ctx, fd, buf, len, offset);
}

static int setup(void **state)
{
    struct ledgers *l;

    if (ledgers_setup(state) < 0)
        return -1;
    l = *state;
    bad.disk = disk_real;
    bad.disk.pwrite = bad_pwrite;
    bad.disk.pwritev = bad_pwritev;
    bad.disk.ftruncate = bad_ftruncate;
    bad.disk.fstat = bad_fstat;
    bad.disk.pread = bad_pread;
    atomic_store(&bad.full, 0);
    atomic_store(&bad.once, 0);
    atomic_store(&bad.nth, 0);
    atomic_store(&bad.calls, 0);
    atomic_store(&bad.hits, 0);
    l->rig.disk = &bad.disk;
    return 0;
}

static bool stays_awake(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_IDLE && g->save_delay_ns && mailbox_len(g->mailbox) == 0;
}

static void until(struct ledgers *l, bool (*what)(struct rig *, void *), struct guest *g)
{
    if (!rig_run(&l->rig, what, g, SETTLE_S))
        fail_msg("%s: %s, %zu keys, %s", g->id, guest_state_name(g->state), mailbox_len(g->mailbox),
                 g->last_error);
}

/* --- the arena's disk --- */

static void test_full_disk_keeps_the_guest_awake(void **state)
{
    struct ledgers *l = *state;
    struct guest *g, *asleep, *cold;
    struct untouched was;

    ledgers_open(l, 2, true);
    g = ledgers_add(l, 1, 64, NULL);
    asleep = ledgers_add(l, 1, 64, NULL);
    cold = ledgers_add(l, 1, 64, NULL);
    ledgers_round(l, g);
    ledgers_round(l, asleep);
    untouched_note(l, asleep, &was);

    atomic_store(&bad.full, ENOSPC);
    for (int i = 0; i < 5; i++) { /* it goes on handling events */
        ledgers_change(l, g, 0);
        until(l, stays_awake, g);
        assert_int_equal(book_of(l, g->id)->events, 2 + i);
        ledgers_check_whole(l, g);
    }
    assert_non_null(strstr(g->last_error, "No space left"));
    assert_int_equal(g->counts.sleeps, 1);
    assert_int_equal(g->counts.wakes, 1);
    guest_sleep_now(g); /* asked to, it tries; and it cannot */
    until(l, stays_awake, g);
    assert_int_equal(g->counts.sleeps, 1);
    assert_int_equal(g->counts.fresh_starts, 1);
    assert_int_equal(cold->counts.events, 0);
    assert_true(atomic_load(&bad.hits) >= 2);

    atomic_store(&bad.full, 0);
    guest_sleep_now(g);
    ledgers_settle(l);
    assert_int_equal(g->counts.sleeps, 2);
    assert_int_equal(g->save_delay_ns, 0);
    ledgers_round(l, g);
    assert_int_equal(book_of(l, g->id)->events, 7);
    ledgers_check_whole(l, g);
    untouched_check(l, asleep, &was);
    ledgers_check_handled(l);
    ledgers_close(l);
}

/* It retries by itself, without an event and without being asked to. */
static void test_sleeps_by_itself_once_there_is_room(void **state)
{
    struct ledgers *l = *state;
    struct guest *g;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    atomic_store(&bad.full, ENOSPC);
    ledgers_change(l, g, 0);
    until(l, stays_awake, g);
    assert_int_equal(g->save_delay_ns, SAVE_RETRY_MIN_NS);
    atomic_store(&bad.full, 0);
    ledgers_settle(l);
    assert_int_equal(g->counts.sleeps, 1);
    assert_int_equal(g->counts.abandoned, 0);
    ledgers_close(l);
}

/* The daemon stops while the disk is full: what came since the last sleep is due again. */
static void test_full_disk_at_the_end(void **state)
{
    struct ledgers *l = *state;
    struct guest *g;
    struct book before;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    ledgers_change(l, g, 1);
    ledgers_round(l, g);
    before = *book_of(l, g->id);
    atomic_store(&bad.full, ENOSPC);
    ledgers_change(l, g, 0);
    until(l, stays_awake, g);
    assert_int_equal(book_of(l, g->id)->events, before.events + 1);
    ledgers_close(l);

    atomic_store(&bad.full, 0);
    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    assert_int_equal(mailbox_len(g->mailbox), 1); /* that key, and no other */
    ledgers_settle(l);
    assert_int_equal(g->counts.fresh_starts, 0);
    assert_int_equal(book_of(l, g->id)->events, before.events + 1);
    assert_string_equal(book_of(l, g->id)->boot, before.boot);
    ledgers_check_whole(l, g);
    ledgers_check_handled(l);
    ledgers_close(l);
}

/* A page of the guest's memory, mapped from a snapshot on a failing disk, cannot be read by the
 * write that is to save it again: the kernel says EFAULT. */
static void test_memory_that_cannot_be_saved_is_lost(void **state)
{
    struct ledgers *l = *state;
    struct guest *g, *other;
    struct untouched was;
    char boot[24];

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 2, 64, NULL); /* so much that no worker tries it before */
    other = ledgers_add(l, 1, 64, NULL);
    ledgers_round(l, other);
    untouched_note(l, other, &was);
    ledgers_change(l, g, 1);
    ledgers_round(l, g);
    memcpy(boot, book_of(l, g->id)->boot, sizeof(boot));
    atomic_store(&bad.once, EFAULT);
    ledgers_change(l, g, 0);
    ledgers_settle(l);
    assert_non_null(strstr(g->last_error, "Bad address"));
    assert_int_equal(g->counts.fresh_starts, 2);
    assert_string_not_equal(book_of(l, g->id)->boot, boot);
    assert_int_equal(book_of(l, g->id)->events, 2); /* all keys */
    ledgers_check_whole(l, g);
    untouched_check(l, other, &was);
    ledgers_check_handled(l);
    ledgers_close(l);
}

/* Nothing to do: asleep, or awake since it could not be saved. */
static bool resting(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    if (mailbox_len(g->mailbox) || g->posted != GE_NONE)
        return false;
    return g->state == G_ASLEEP || g->state == G_COLD || (g->state == G_IDLE && g->save_delay_ns);
}

/* Two guests, some events each, a restart in between; one call of the disk fails. */
static bool torture_once(struct ledgers *l, unsigned nth)
{
    struct guest *g[2];

    atomic_store(&bad.calls, 0);
    atomic_store(&bad.hits, 0);
    for (int life = 0; life < 2; life++) {
        ledgers_open(l, 1, true); /* a start that fails is no start */
        atomic_store(&bad.nth, nth);
        for (int i = 0; i < 2; i++)
            g[i] = ledgers_add(l, 1, 64, NULL);
        for (int round = 0; round < 2; round++) {
            for (int i = 0; i < 2; i++) {
                ledgers_change(l, g[i], 0);
                guest_sleep_now(g[i]); /* not after the second that a failed save waits */
            }
            for (int i = 0; i < 2; i++)
                until(l, resting, g[i]);
        }
        ledgers_close(l);
        atomic_store(&bad.nth, 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(book_of(l, i ? "test/b0" : "test/a0")->errors, 0);
    ledgers_check_handled(l);
    return atomic_load(&bad.hits) > 0;
}

static void test_every_call_of_the_disk_fails_in_turn(void **state)
{
    struct ledgers *l = *state;
    unsigned nth = 0;

    do {
        tmp_dir_remove(&l->dir);
        l->nbooks = l->rig.nobjects = 0;
        l->rig.seq = 0;
        memset(l->handled, 0, sizeof(l->handled));
        assert_int_equal(tmp_dir_make(&l->dir), 0);
        nth++;
    } while (torture_once(l, nth));
    assert_true(nth > 20);
}

/* --- the database --- */

/* The database's descriptors, exchanged for ones that cannot be written to. */
struct unwritable {
    int fds[8], kept[8];
    size_t n;
};

static void unwritable_begin(struct unwritable *u, const char *path)
{
    char link[64], to[512];

    u->n = 0;
    for (int fd = 3; fd < 256 && u->n < 8; fd++) {
        ssize_t len;
        int other;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        len = readlink(link, to, sizeof(to) - 1);
        if (len < 0)
            continue;
        to[len] = 0;
        if (strcmp(to, path) != 0)
            continue;
        u->fds[u->n] = fd;
        u->kept[u->n++] = fcntl(fd, F_DUPFD_CLOEXEC, 256);
        other = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(dup2(other, fd), fd);
        close(other);
    }
    assert_true(u->n > 0);
}

/* It can be written to again. */
static void unwritable_undo(const struct unwritable *u)
{
    for (size_t i = 0; i < u->n; i++)
        assert_int_equal(dup2(u->kept[i], u->fds[i]), u->fds[i]);
}

/* The database is closed. */
static void unwritable_end(struct unwritable *u)
{
    for (size_t i = 0; i < u->n; i++)
        close(u->kept[i]);
}

static void test_database_that_cannot_be_written(void **state)
{
    struct ledgers *l = *state;
    struct db_stats before, after;
    struct guest *g, *asleep;
    struct untouched was;
    struct unwritable u;
    struct book book;

    ledgers_open(l, 2, true);
    g = ledgers_add(l, 1, 64, NULL);
    asleep = ledgers_add(l, 1, 64, NULL);
    ledgers_change(l, g, 1);
    ledgers_round(l, g);
    ledgers_round(l, asleep);
    untouched_note(l, asleep, &was);
    book = *book_of(l, g->id);
    db_idle(l->rig.db);
    unwritable_begin(&u, tmp_file(&l->dir, "db"));
    db_stats(l->rig.db, &before);
    for (int i = 0; i < 5; i++) /* it sleeps and wakes: what it is is known, though not written */
        ledgers_round(l, g);
    do
        db_stats(l->rig.db, &after);
    while (after.retries == before.retries);
    assert_true(after.failing);
    assert_int_equal(after.failed, before.failed);
    assert_non_null(strstr(after.last_error, "Bad file descriptor"));
    assert_int_equal(g->counts.fresh_starts, 1);
    assert_int_equal(book_of(l, g->id)->events, book.events + 5);
    ledgers_check_whole(l, g);
    assert_int_equal(asleep->counts.wakes, was.wakes);
    ledgers_close(l);
    unwritable_end(&u);

    /* The next life begins from the last record that was written: its slots were not used again. */
    ledgers_open(l, 2, false);
    g = ledgers_add(l, 1, 64, NULL);
    asleep = ledgers_add(l, 1, 64, NULL);
    assert_int_equal(mailbox_len(g->mailbox), 1);
    assert_int_equal(mailbox_len(asleep->mailbox), 0);
    untouched_note(l, asleep, &was);
    ledgers_settle(l);
    assert_int_equal(g->counts.fresh_starts, 0);
    assert_string_equal(book_of(l, g->id)->boot, book.boot);
    assert_int_equal(book_of(l, g->id)->events, book.events + 1);
    ledgers_check_whole(l, g);
    untouched_check(l, asleep, &was);
    ledgers_check_handled(l);
    db_idle(l->rig.db);
    db_stats(l->rig.db, &after);
    assert_int_equal(after.failed, 0);
    ledgers_close(l);
}

static uint64_t pages_used(struct ledgers *l)
{
    struct arena_stats st;

    arena_stats(l->rig.arena, &st);
    return st.used_pages;
}

/* A small guest is saved by its worker; that asks for room in the queue as any sleep does. */
static void test_full_queue_keeps_small_guests_awake(void **state)
{
    static uint8_t bytes[1 << 19];
    struct ledgers *l = *state;
    struct unwritable u;
    struct err err = {0};
    struct guest *g;
    uint64_t sleeps;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 8, NULL);
    for (int i = 0; i < 4; i++)
        ledgers_round(l, g);
    db_idle(l->rig.db);
    unwritable_begin(&u, tmp_file(&l->dir, "db"));
    for (unsigned k = 0; k < 140; k++) {
        struct db_batch *b;

        assert_int_equal(db_batch_new(&b, &err), 0);
        assert_int_equal(db_batch_put(b, "t", &k, sizeof(k), bytes, sizeof(bytes), &err), 0);
        (void)db_submit(l->rig.db, b, NULL, NULL);
    }
    assert_false(db_has_room(l->rig.db));
    sleeps = g->counts.sleeps;
    for (int i = 0; i < 4; i++) {
        ledgers_change(l, g, 0);
        assert_true(rig_run(&l->rig, ledgers_any_event, NULL, SETTLE_S));
        while (g->state != G_IDLE || mailbox_len(g->mailbox))
            assert_true(rig_run(&l->rig, ledgers_any_event, NULL, SETTLE_S));
    }
    assert_int_equal(g->counts.sleeps, sleeps);
    unwritable_undo(&u);
    ledgers_close(l);
    unwritable_end(&u);
}

/* What could not be committed for a while is, and what waited for it is free again. */
static void test_database_that_works_again(void **state)
{
    struct ledgers *l = *state;
    struct unwritable u;
    struct db_stats st;
    struct guest *g;
    uint64_t before;

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    for (int i = 0; i < 4; i++)
        ledgers_round(l, g);
    db_idle(l->rig.db);
    before = pages_used(l);
    unwritable_begin(&u, tmp_file(&l->dir, "db"));
    for (int i = 0; i < 20; i++)
        ledgers_round(l, g);
    assert_true(pages_used(l) > 2 * before); /* nothing was given back */
    unwritable_undo(&u);
    db_idle(l->rig.db);
    db_stats(l->rig.db, &st);
    assert_false(st.failing);
    assert_int_equal(st.failed, 0);
    assert_true(pages_used(l) < 2 * before);
    ledgers_check_whole(l, g);
    ledgers_check_handled(l);
    ledgers_close(l);
    unwritable_end(&u);

    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    assert_int_equal(g->state, G_ASLEEP);
    assert_int_equal(mailbox_len(g->mailbox), 0);
    ledgers_round(l, g);
    assert_int_equal(book_of(l, g->id)->events, 25);
    ledgers_check_whole(l, g);
    ledgers_close(l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, ledgers_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_full_disk_keeps_the_guest_awake),
        TEST(test_sleeps_by_itself_once_there_is_room),
        TEST(test_full_disk_at_the_end),
        TEST(test_memory_that_cannot_be_saved_is_lost),
        TEST(test_every_call_of_the_disk_fails_in_turn),
        TEST(test_database_that_cannot_be_written),
        TEST(test_database_that_works_again),
        TEST(test_full_queue_keeps_small_guests_awake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
