/* engine/snapshot: sleeping guests keep their memory through thousands of sleeps, failing disks,
 * restarts and damage, and never see another's.
 */
#include "engine/snapshot.h"

#include "base/limits.h"
#include "support/fault_disk.h"
#include "support/sleeper.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>

#define IMAGE_PAGES 40u

struct fixture {
    struct tmp_dir dir;
    struct fault_disk fault;
    struct arena *arena;
    int image_fd;
    uint32_t random;
};

static uint32_t rnd(struct fixture *f, uint32_t below)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 17;
    f->random ^= f->random << 5;
    return f->random % below;
}

static void arena_reopen(struct fixture *f)
{
    struct err err = {0};

    arena_close(f->arena);
    f->arena = NULL;
    assert_int_equal(arena_open_on(&f->arena, tmp_file(&f->dir, "arena"), &f->fault.disk, &err), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uint8_t page[PAGE_BYTES];

    if (!f || tmp_dir_make(&f->dir) < 0)
        return -1;
    f->random = 2463534242u;
    fault_disk_init(&f->fault);
    f->image_fd = open(tmp_file(&f->dir, "image"), O_RDWR | O_CREAT, 0600);
    for (unsigned i = 0; i < IMAGE_PAGES; i++) {
        memset(page, (int)i + 1, sizeof(page));
        if (pwrite(f->image_fd, page, sizeof(page), (off_t)i * PAGE_BYTES) != PAGE_BYTES)
            return -1;
    }
    arena_reopen(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    arena_close(f->arena);
    close(f->image_fd);
    tmp_dir_remove(&f->dir);
    free(f);
    return 0;
}

static void sleeper_make(struct sleeper *s, struct fixture *f, uint32_t pages, uint8_t uid)
{
    sleeper_init(s, f->arena, f->image_fd, IMAGE_PAGES, pages, pages + 200, uid);
}

static void save_ok(struct sleeper *s, struct slot *dropped, size_t *ndropped)
{
    struct err err = {0};

    if (sleeper_save(s, dropped, ndropped, &err) < 0)
        fail_msg("%s", err.msg);
}

static void save_and_release(struct sleeper *s)
{
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    size_t n;

    save_ok(s, dropped, &n);
    arena_release(s->arena, dropped, n);
}

static void wake_ok(struct sleeper *s)
{
    sleeper_wake(s);
    assert_true(sleeper_is_right(s));
}

static uint64_t used_pages(struct arena *a)
{
    struct arena_stats st;

    arena_stats(a, &st);
    return st.used_pages;
}

/* What every snapshot must be. */
static void snapshot_sound(const struct snapshot *s, struct arena *a)
{
    const struct slot *slots = snapshot_slots(s);
    const struct run *runs = snapshot_runs(s);
    uint64_t live[SNAPSHOT_SLOTS_MAX] = {0}, total = 0, kept = 0, end = 0;
    struct err err = {0};

    assert_true(s->nruns <= SNAPSHOT_RUNS_MAX && s->nslots <= SNAPSHOT_SLOTS_MAX);
    for (uint32_t i = 0; i < s->nruns; i++) {
        unsigned k = 0;

        assert_true(runs[i].count > 0 && runs[i].page >= end);
        end = runs[i].page + runs[i].count;
        while (runs[i].offset <= slots[k].offset ||
               runs[i].offset + runs[i].count > slots[k].offset + slots[k].pages)
            assert_true(++k < s->nslots);
        live[k] += runs[i].count;
    }
    assert_true(end <= s->memory_pages);
    for (unsigned k = 0; k < s->nslots; k++) {
        assert_true(live[k] > 0 && live[k] == slots[k].live);
        assert_true(k == 0 || slots[k].generation > slots[k - 1].generation);
        total += live[k];
        kept += slots[k].pages - 1;
    }
    assert_true(kept <= 2 * total);
    if (snapshot_check_header(s, a, false, &err) < 0 || snapshot_check_pages(s, a, &err) < 0)
        fail_msg("%s", err.msg);
}

/* --- one sleep --- */

static void test_what_a_guest_wrote_is_there_after_a_wake(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;

    sleeper_make(&s, f, 100, 1);
    sleeper_write(&s, 3, 42); /* of the image */
    for (uint32_t i = 50; i < 70; i++)
        sleeper_write(&s, i, i);
    s.globals[1] = (struct global_bits){.lo = 7, .hi = 9};
    save_and_release(&s);
    assert_int_equal(s.snapshot->nruns, 2);
    assert_int_equal(s.snapshot->nslots, 1);
    assert_int_equal(snapshot_slots(s.snapshot)->pages, 22);
    assert_true(snapshot_globals(s.snapshot)[1].lo == 7 && snapshot_globals(s.snapshot)[1].hi == 9);
    snapshot_sound(s.snapshot, f->arena);
    wake_ok(&s);
    sleeper_free(&s);
}

static void test_a_sleep_writes_only_what_changed_since_the_last(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;

    sleeper_make(&s, f, 1000, 1);
    for (uint32_t i = 0; i < 1000; i++)
        sleeper_write(&s, i, i);
    save_and_release(&s);
    wake_ok(&s);
    sleeper_write(&s, 500, 1);
    save_and_release(&s);
    assert_int_equal(s.snapshot->nslots, 2);
    assert_int_equal(snapshot_slots(s.snapshot)[1].pages, 2);
    assert_int_equal(snapshot_slots(s.snapshot)[0].live, 999);
    assert_int_equal(s.snapshot->nruns, 3);
    snapshot_sound(s.snapshot, f->arena);
    wake_ok(&s);
    sleeper_free(&s);
}

static void test_a_sleep_without_changes_writes_nothing(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;
    unsigned calls;
    uint64_t used;

    sleeper_make(&s, f, 100, 1);
    save_and_release(&s); /* as in the image */
    assert_int_equal(s.snapshot->nslots, 0);
    assert_int_equal(s.snapshot->nruns, 0);
    snapshot_sound(s.snapshot, f->arena);
    wake_ok(&s);
    for (uint32_t i = 0; i < 20; i++)
        sleeper_write(&s, i, i);
    save_and_release(&s);
    wake_ok(&s);
    calls = f->fault.calls;
    used = used_pages(f->arena);
    save_and_release(&s); /* as in its base */
    assert_int_equal(f->fault.calls, calls);
    assert_int_equal(s.snapshot->nslots, 1);
    assert_true(used_pages(f->arena) == used);
    snapshot_sound(s.snapshot, f->arena);
    wake_ok(&s);
    snapshot_discard(s.snapshot, f->arena); /* must not take base's slot with it */
    s.snapshot = NULL;
    assert_true(used_pages(f->arena) == used);
    sleeper_free(&s);
}

static void test_a_discarded_save_gives_its_slot_back(void **state)
{
    struct fixture *f = *state;
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    struct snapshot *made = NULL;
    struct sleeper s;
    struct save save;
    struct err err = {0};
    uint64_t used;
    size_t n;

    sleeper_make(&s, f, 100, 1);
    for (uint32_t i = 0; i < 30; i++)
        sleeper_write(&s, i, i);
    save_and_release(&s);
    used = used_pages(f->arena);
    wake_ok(&s);
    sleeper_write(&s, 5, 99);
    save = sleeper_save_args(&s);
    assert_int_equal(snapshot_save(&made, dropped, &n, &save, &err), 0);
    assert_true(used_pages(f->arena) > used);
    snapshot_discard(made, f->arena);
    assert_true(used_pages(f->arena) == used);
    snapshot_sound(s.snapshot, f->arena);
    sleeper_free(&s);
}

static void test_short_gaps_are_written_too(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;

    sleeper_make(&s, f, 100, 1);
    for (uint32_t i = 0; i < 10; i++)
        sleeper_write(&s, 10 + i * (SNAPSHOT_JOIN_PAGES + 1), i);
    for (uint32_t i = 0; i < 5; i++)
        sleeper_write(&s, 60 + i * (SNAPSHOT_JOIN_PAGES + 2), i);
    save_and_release(&s);
    assert_int_equal(s.snapshot->nruns, 1 + 5);
    wake_ok(&s);
    sleeper_free(&s);
}

/* --- thousands of sleeps --- */

#define GUESTS 3

struct village {
    struct fixture *f;
    struct sleeper guests[GUESTS];
    struct slot late[4 * SNAPSHOT_SLOTS_MAX]; /* dropped, not committed yet */
    size_t nlate;
};

static void village_commit(struct village *v)
{
    arena_release(v->f->arena, v->late, v->nlate);
    v->nlate = 0;
}

static void change_something(struct village *v, struct sleeper *s)
{
    struct fixture *f = v->f;
    uint32_t clusters = rnd(f, 6);

    if (rnd(f, 10) == 0 && s->pages < s->pages_max)
        s->pages += 1 + rnd(f, s->pages_max - s->pages);
    while (clusters--) {
        uint32_t page = rnd(f, s->pages), n = 1 + rnd(f, rnd(f, 8) ? 6 : 150);

        for (; n && page < s->pages; n--, page += rnd(f, 6) ? 1 : 3)
            sleeper_write(s, page, f->random);
    }
    for (int i = 0; i < 3; i++)
        s->globals[i].lo += rnd(f, 1000);
}

static void village_sleep(struct village *v, struct sleeper *s)
{
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    size_t n;

    save_ok(s, dropped, &n);
    assert_true(memcmp(snapshot_globals(s->snapshot), s->globals, sizeof(s->globals)) == 0);
    if (v->nlate + n > sizeof(v->late) / sizeof(v->late[0]))
        village_commit(v);
    memcpy(v->late + v->nlate, dropped, n * sizeof(dropped[0]));
    v->nlate += n;
    sleeper_drop(s);
}

static void claim_all(struct arena *a, const struct snapshot *s)
{
    struct err err = {0};

    for (unsigned i = 0; i < s->nslots; i++)
        if (arena_claim(a, snapshot_slots(s)[i].offset, snapshot_slots(s)[i].pages, &err) < 0)
            fail_msg("%s", err.msg);
}

/* The daemon ends; a new one has the records and claims what they name. */
static void village_restart(struct village *v)
{
    for (int i = 0; i < GUESTS; i++)
        sleeper_drop(&v->guests[i]);
    v->nlate = 0;
    arena_reopen(v->f);
    for (int i = 0; i < GUESTS; i++) {
        struct sleeper *s = &v->guests[i];
        AUTO_BUF struct buf record = {0};
        struct err err = {0};

        s->arena = v->f->arena;
        if (!s->snapshot)
            continue;
        assert_int_equal(snapshot_encode(&record, s->snapshot, &err), 0);
        snapshot_free(s->snapshot);
        s->snapshot = NULL;
        assert_int_equal(snapshot_decode(&s->snapshot, record.data, record.len, &err), 0);
        claim_all(v->f->arena, s->snapshot);
    }
}

static void village_check(struct village *v)
{
    uint64_t pages = 0;

    for (int i = 0; i < GUESTS; i++)
        pages += sleeper_slot_pages(&v->guests[i]);
    for (size_t i = 0; i < v->nlate; i++)
        pages += v->late[i].pages;
    assert_true(used_pages(v->f->arena) == pages); /* nothing leaks, nothing is given back twice */
    arena_check(v->f->arena);
}

static void test_thousands_of_sleeps_keep_every_byte(void **state)
{
    struct village v = {.f = *state};
    struct err err = {0};

    for (int i = 0; i < GUESTS; i++)
        sleeper_make(&v.guests[i], v.f, 100 + 100 * (uint32_t)i, (uint8_t)(i + 1));
    for (int round = 0; round < 4000; round++) {
        struct sleeper *s = &v.guests[rnd(v.f, GUESTS)];

        if (!s->memory || !s->snapshot || rnd(v.f, 5)) {
            wake_ok(s);
            change_something(&v, s);
        }
        if (rnd(v.f, 10)) {
            village_sleep(&v, s);
            if (round % 16 == 0)
                snapshot_sound(s->snapshot, v.f->arena);
        } else if (s->snapshot) { /* it dies and is woken from its last sleep */
            memcpy(s->globals, snapshot_globals(s->snapshot), sizeof(s->globals));
            sleeper_wake(s);
            memcpy(s->model, s->memory, (size_t)s->pages * PAGE_BYTES);
        }
        if (rnd(v.f, 4) == 0)
            village_commit(&v);
        if (rnd(v.f, 200) == 0)
            village_restart(&v);
        if (rnd(v.f, 50) == 0)
            assert_int_equal(arena_trim(v.f->arena, &err), 0);
        village_check(&v);
    }
    for (int i = 0; i < GUESTS; i++) {
        wake_ok(&v.guests[i]);
        sleeper_free(&v.guests[i]);
    }
}

/* --- the maxima of a snapshot --- */

static uint32_t written_pages(const struct snapshot *s)
{
    const struct slot *newest = &snapshot_slots(s)[s->nslots - 1];

    return newest->generation == s->id.generation ? newest->pages - 1 : 0;
}

/* One page at a random place for each sleep, in 2,000 that were all written: the most fragmented.
 */
static void test_scattered_writes_stay_within_the_maxima_and_cheap(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;
    uint64_t written = 0;
    const uint32_t pages = 8000, sleeps = 600;

    sleeper_make(&s, f, pages, 1);
    for (uint32_t i = 0; i < pages; i++)
        sleeper_write(&s, i, i);
    save_and_release(&s);
    for (uint32_t i = 0; i < sleeps; i++) {
        sleeper_wake(&s);
        sleeper_write(&s, rnd(f, pages), i);
        save_and_release(&s);
        written += written_pages(s.snapshot);
        if (i % 20 == 0)
            snapshot_sound(s.snapshot, f->arena);
    }
    wake_ok(&s);
    assert_true(written < (uint64_t)sleeps * pages / 50); /* not all, each time one is reached */
    assert_true(used_pages(f->arena) == sleeper_slot_pages(&s));
    sleeper_free(&s);
}

static void test_runs_at_their_maximum_and_one_more(void **state)
{
    struct fixture *f = *state;

    for (uint32_t more = 0; more <= 1; more++) {
        const uint32_t runs = SNAPSHOT_RUNS_MAX + more;
        struct sleeper s;

        sleeper_make(&s, f, 3 * runs, 1);
        for (uint32_t i = 0; i < runs; i++)
            sleeper_write(&s, 3 * i, i);
        save_and_release(&s);
        if (more)
            assert_int_equal(s.snapshot->nruns, SNAPSHOT_RUNS_MAX / 4 * 3);
        else
            assert_int_equal(s.snapshot->nruns, SNAPSHOT_RUNS_MAX);
        snapshot_sound(s.snapshot, f->arena);
        wake_ok(&s);
        arena_release(f->arena, snapshot_slots(s.snapshot), s.snapshot->nslots);
        sleeper_free(&s);
    }
}

static void test_slots_at_their_maximum_and_one_more(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;

    sleeper_make(&s, f, 2000, 1);
    for (uint32_t i = 0; i < SNAPSHOT_SLOTS_MAX; i++) { /* each sleep elsewhere */
        for (uint32_t p = 0; p < 20; p++)
            sleeper_write(&s, 100 * i + p, i + p);
        save_and_release(&s);
        assert_int_equal(s.snapshot->nslots, i + 1);
        assert_int_equal(written_pages(s.snapshot), 20);
        wake_ok(&s);
    }
    for (uint32_t p = 0; p < 20; p++)
        sleeper_write(&s, 1900 + p, p);
    save_and_release(&s);
    assert_int_equal(s.snapshot->nslots, SNAPSHOT_SLOTS_MAX / 2);
    snapshot_sound(s.snapshot, f->arena);
    assert_true(used_pages(f->arena) == sleeper_slot_pages(&s));
    wake_ok(&s);
    sleeper_free(&s);
}

static void test_dead_space_is_at_most_what_is_live(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;

    sleeper_make(&s, f, 1000, 1);
    for (uint32_t i = 0; i < 1000; i++)
        sleeper_write(&s, i, i);
    save_and_release(&s);
    for (uint32_t round = 0; round < 12; round++) {
        sleeper_wake(&s);
        for (uint32_t i = 0; i < 400; i++) /* always another part, overlapping the last */
            sleeper_write(&s, (round * 350 + i) % 1000, i + round);
        save_and_release(&s);
        snapshot_sound(s.snapshot, f->arena);
        assert_true(used_pages(f->arena) == sleeper_slot_pages(&s));
        wake_ok(&s);
    }
    sleeper_free(&s);
}

static void save_expect(struct sleeper *s, uint16_t nglobals, uint32_t pages, enum err_code want)
{
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    struct global_bits *globals = calloc(nglobals, sizeof(*globals));
    struct save save = sleeper_save_args(s);
    struct snapshot *made = NULL;
    struct err err = {0};
    size_t n;

    assert_non_null(globals);
    save.globals = globals;
    save.nglobals = nglobals;
    save.memory_pages = pages;
    assert_int_equal(snapshot_save(&made, dropped, &n, &save, &err), want == ERR_NONE ? 0 : -1);
    assert_int_equal(err.code, want);
    if (made)
        snapshot_discard(made, s->arena);
    free(globals);
}

static void test_memory_and_globals_at_their_maximum_and_one_more(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;

    sleeper_init(&s, f->arena, -1, 0, MEMORY_PAGES_MAX, MEMORY_PAGES_MAX + 1, 1);
    sleeper_write(&s, 0, 1);
    sleeper_write(&s, MEMORY_PAGES_MAX - 1, 1);
    save_expect(&s, 3, MEMORY_PAGES_MAX, ERR_NONE);
    save_expect(&s, 3, MEMORY_PAGES_MAX + 1, ERR_LIMIT);
    save_expect(&s, SNAPSHOT_GLOBALS_MAX, MEMORY_PAGES_MAX, ERR_NONE);
    save_expect(&s, SNAPSHOT_GLOBALS_MAX + 1, MEMORY_PAGES_MAX, ERR_LIMIT);
    assert_true(used_pages(f->arena) == 0);
    sleeper_free(&s);
}

/* --- failing disks --- */

static void snapshot_restores(struct sleeper *s, const uint8_t *want)
{
    snapshot_sound(s->snapshot, s->arena);
    sleeper_wake(s);
    assert_memory_equal(s->memory, want, (size_t)s->snapshot->memory_pages * PAGE_BYTES);
}

/* One save with the N-th call failing; true if none was left to fail. */
static bool torture_once(struct fixture *f, unsigned nth, bool sticky, int sys)
{
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    struct sleeper s;
    struct err err = {0};
    uint64_t used;
    uint8_t *before;
    size_t n = 0;
    bool over;
    int rc;

    fault_disk_init(&f->fault);
    sleeper_make(&s, f, 400, 1);
    for (uint32_t i = 0; i < 300; i++)
        sleeper_write(&s, i, i + nth);
    save_and_release(&s);
    wake_ok(&s);
    before = malloc(400 * PAGE_BYTES);
    assert_non_null(before);
    memcpy(before, s.memory, 400 * PAGE_BYTES);
    for (uint32_t i = 5; i < 400; i += i % 7 ? 1 : 5)
        sleeper_write(&s, i, i * 3);
    used = used_pages(f->arena);
    f->fault.nth = f->fault.calls + nth;
    f->fault.sticky = sticky;
    f->fault.sys = sys;
    rc = sleeper_save(&s, dropped, &n, &err);
    f->fault.nth = 0;
    over = f->fault.fired == 0;
    assert_true((rc == 0) == (err.code == ERR_NONE));
    assert_true((rc == 0) == (over || sys == 0)); /* short writes are gone on after */
    if (rc == 0) {
        arena_release(f->arena, dropped, n);
        snapshot_restores(&s, s.model);
    } else {
        assert_true(used_pages(f->arena) == used);
        snapshot_restores(&s, before);
    }
    arena_check(f->arena);
    arena_release(f->arena, snapshot_slots(s.snapshot), s.snapshot->nslots);
    assert_true(used_pages(f->arena) == 0);
    sleeper_free(&s);
    free(before);
    return over;
}

static void test_every_disk_call_fails_in_turn(void **state)
{
    static const int errors[] = {EIO, ENOSPC, 0};
    struct fixture *f = *state;

    for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
        for (int sticky = 0; sticky < 2; sticky++) {
            unsigned nth = 1;

            while (!torture_once(f, nth, sticky, errors[e]))
                nth++;
            assert_true(nth > 4);
        }
    }
}

/* --- abandoning --- */

static atomic_bool abandon_flag;
static unsigned abandon_at;

static ssize_t pwrite_and_abandon(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    struct fault_disk *f = ctx;

    if (atomic_fetch_add(&f->calls, 1) + 1 == abandon_at)
        atomic_store(&abandon_flag, true);
    return disk_real.pwrite(NULL, fd, buf, len, offset);
}

static void test_an_event_abandons_a_save_at_the_next_chunk(void **state)
{
    struct fixture *f = *state;
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    struct sleeper s;
    unsigned writes = 0;
    struct err grown = {0};
    uint64_t at;
    size_t n;

    assert_int_equal(arena_alloc(f->arena, &at, 1, &grown), 0); /* so that no save must grow it */
    arena_give(f->arena, at, 1);
    sleeper_make(&s, f, 4 * SAVE_CHUNK_BYTES / PAGE_BYTES, 1);
    for (uint32_t i = 0; i < s.pages; i++)
        sleeper_write(&s, i, i);
    f->fault.disk.pwrite = pwrite_and_abandon;
    f->fault.disk.fstat = disk_real.fstat; /* writes are counted */
    for (abandon_at = 0;; abandon_at++) {  /* 0: set before it begins */
        struct save save = sleeper_save_args(&s);
        struct snapshot *made = NULL;
        struct err err = {0};

        atomic_store(&f->fault.calls, 0);
        atomic_store(&abandon_flag, abandon_at == 0);
        save.abandon = &abandon_flag;
        if (snapshot_save(&made, dropped, &n, &save, &err) == 0) {
            writes = f->fault.calls;
            snapshot_discard(made, f->arena);
            break;
        }
        assert_int_equal(err.code, ERR_AGAIN);
        assert_int_equal(f->fault.calls, abandon_at); /* no further write */
        assert_true(used_pages(f->arena) == 0);
        assert_null(made);
    }
    assert_int_equal(writes,
                     5); /* four chunks and the header; after the last it is not abandoned */
    assert_int_equal(abandon_at, 5);
    assert_true(sleeper_is_right(&s));
    sleeper_free(&s);
}

/* --- damage --- */

static void flip(struct arena *a, uint64_t page, uint32_t byte)
{
    uint8_t b;

    assert_int_equal(pread(arena_fd(a), &b, 1, (off_t)(page * PAGE_BYTES + byte)), 1);
    b ^= 1;
    assert_int_equal(pwrite(arena_fd(a), &b, 1, (off_t)(page * PAGE_BYTES + byte)), 1);
}

static enum err_code header_of(const struct snapshot *s, struct arena *a)
{
    struct err err = {0};

    return snapshot_check_header(s, a, false, &err) < 0 ? err.code : ERR_NONE;
}

static enum err_code pages_of(const struct snapshot *s, struct arena *a)
{
    struct err err = {0};

    return snapshot_check_pages(s, a, &err) < 0 ? err.code : ERR_NONE;
}

static void one_snapshot(struct sleeper *s, struct fixture *f)
{
    sleeper_make(s, f, 100, 1);
    for (uint32_t i = 0; i < 20; i++)
        sleeper_write(s, i, i);
    save_and_release(s);
}

static void test_a_damaged_header_is_found(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;
    uint64_t at;

    one_snapshot(&s, f);
    at = snapshot_slots(s.snapshot)->offset;
    for (uint32_t byte = 0; byte < PAGE_BYTES; byte++) {
        flip(f->arena, at, byte);
        assert_int_equal(header_of(s.snapshot, f->arena), ERR_CORRUPT);
        flip(f->arena, at, byte);
    }
    assert_int_equal(header_of(s.snapshot, f->arena), ERR_NONE);
    sleeper_free(&s);
}

static void test_damaged_data_is_found_by_its_checksum(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;
    uint64_t at;

    one_snapshot(&s, f);
    at = snapshot_slots(s.snapshot)->offset;
    for (uint32_t page = 1; page <= 20; page++) {
        flip(f->arena, at + page, 100 * page);
        assert_int_equal(header_of(s.snapshot, f->arena), ERR_NONE); /* not read on each wake */
        assert_int_equal(pages_of(s.snapshot, f->arena), ERR_CORRUPT);
        flip(f->arena, at + page, 100 * page);
    }
    assert_int_equal(pages_of(s.snapshot, f->arena), ERR_NONE);
    sleeper_free(&s);
}

static void test_a_truncated_arena_is_found(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;
    uint64_t at;
    struct err err = {0};

    one_snapshot(&s, f);
    at = snapshot_slots(s.snapshot)->offset;
    assert_int_equal(ftruncate(arena_fd(f->arena), (off_t)((at + 5) * PAGE_BYTES)), 0);
    assert_int_equal(pages_of(s.snapshot, f->arena), ERR_CORRUPT);
    assert_int_equal(ftruncate(arena_fd(f->arena), (off_t)(at * PAGE_BYTES + 100)), 0);
    assert_int_equal(header_of(s.snapshot, f->arena), ERR_CORRUPT);
    assert_int_equal(snapshot_check_header(s.snapshot, f->arena, true, &err), -1);
    assert_int_equal(err.code, ERR_CORRUPT);
    arena_reopen(f);
    assert_int_equal(arena_claim(f->arena, at, 21, &err), -1);
    assert_int_equal(err.code, ERR_CORRUPT);
    sleeper_free(&s);
}

static void test_another_guests_slot_is_refused(void **state)
{
    struct fixture *f = *state;
    struct sleeper a, b;
    struct snapshot *s;

    one_snapshot(&a, f);
    s = a.snapshot;
    s->id.uid[15] ^= 1;
    assert_int_equal(header_of(s, f->arena), ERR_CORRUPT);
    s->id.uid[15] ^= 1;
    s->id.module[0] ^= 1;
    assert_int_equal(header_of(s, f->arena), ERR_CORRUPT);
    s->id.module[0] ^= 1;
    snapshot_slots(s)->generation++;
    assert_int_equal(header_of(s, f->arena), ERR_CORRUPT);
    snapshot_slots(s)->generation--;
    snapshot_slots(s)->checksum++;
    assert_int_equal(header_of(s, f->arena), ERR_CORRUPT);
    snapshot_slots(s)->checksum--;
    snapshot_slots(s)->pages++;
    assert_int_equal(header_of(s, f->arena), ERR_CORRUPT);
    snapshot_slots(s)->pages--;
    assert_int_equal(header_of(s, f->arena), ERR_NONE);

    /* Its slot was reused for another guest while a stale record still names it. */
    arena_release(f->arena, snapshot_slots(s), 1);
    sleeper_make(&b, f, 100, 2);
    for (uint32_t i = 0; i < 20; i++)
        sleeper_write(&b, i, i);
    save_and_release(&b);
    assert_true(snapshot_slots(b.snapshot)->offset == snapshot_slots(s)->offset);
    assert_int_equal(header_of(s, f->arena), ERR_CORRUPT);
    assert_int_equal(header_of(b.snapshot, f->arena), ERR_NONE);
    sleeper_free(&a);
    sleeper_free(&b);
}

/* A copy of a slot in another place is not that slot. */
static void test_a_misplaced_slot_is_refused(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;
    uint8_t page[PAGE_BYTES];
    struct slot *slot;

    one_snapshot(&s, f);
    slot = snapshot_slots(s.snapshot);
    assert_int_equal(
        pread(arena_fd(f->arena), page, PAGE_BYTES, (off_t)(slot->offset * PAGE_BYTES)),
        PAGE_BYTES);
    assert_int_equal(
        pwrite(arena_fd(f->arena), page, PAGE_BYTES, (off_t)((slot->offset + 100) * PAGE_BYTES)),
        PAGE_BYTES);
    slot->offset += 100;
    assert_int_equal(header_of(s.snapshot, f->arena), ERR_CORRUPT);
    sleeper_free(&s);
}

static void test_what_is_not_in_the_page_cache_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    struct sleeper s;
    struct err err = {0};

    one_snapshot(&s, f);
    f->fault.nth = f->fault.calls + 1;
    f->fault.sys = EAGAIN;
    assert_int_equal(snapshot_check_header(s.snapshot, f->arena, true, &err), -1);
    assert_int_equal(err.code, ERR_AGAIN);
    assert_int_equal(snapshot_check_header(s.snapshot, f->arena, true, &err), 0); /* just written */
    sleeper_free(&s);
}

/* The page between two that changed is mapped from the base, whose file is gone by now. */
static void test_a_save_from_an_unreadable_snapshot_keeps_nothing(void **state)
{
    struct fixture *f = *state;
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    struct sleeper s;
    struct err err = {0};
    uint64_t room, used;
    size_t n;

    assert_int_equal(arena_alloc(f->arena, &room, 50, &err), 0);
    one_snapshot(&s, f);
    wake_ok(&s);
    arena_give(f->arena, room, 50);
    used = used_pages(f->arena);
    sleeper_write(&s, 18, 1);
    sleeper_write(&s, 20, 1); /* 19, the last of the slot, is a gap */
    assert_int_equal(ftruncate(arena_fd(f->arena),
                               (off_t)((snapshot_slots(s.snapshot)->offset + 20) * PAGE_BYTES)),
                     0);
    assert_int_equal(sleeper_save(&s, dropped, &n, &err), -1);
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_true(used_pages(f->arena) == used);
    sleeper_free(&s);
}

/* --- the header page --- */

static void header_example(struct slot_header *h)
{
    memset(h, 0, sizeof(*h));
    h->generation = 7;
    h->offset = 1000;
    h->pages = 1 + SNAPSHOT_RUNS_MAX;
    h->memory_pages = 3 * SNAPSHOT_RUNS_MAX;
    h->checksum = 0x123456789abcdefull;
    h->nruns = SNAPSHOT_RUNS_MAX;
    for (uint32_t i = 0; i < SNAPSHOT_RUNS_MAX; i++) {
        h->runs[i].page = 3 * i;
        h->runs[i].count = 1;
    }
}

static void test_a_header_comes_back_as_it_was(void **state)
{
    struct slot_header in, out;
    uint8_t page[PAGE_BYTES];
    struct err err = {0};

    (void)state;
    header_example(&in);
    slot_header_put(page, &in);
    memset(&out, 0, sizeof(out));
    assert_int_equal(slot_header_get(&out, page, &err), 0);
    assert_memory_equal(&in, &out, sizeof(in));
}

static void header_bad(const struct slot_header *h)
{
    struct slot_header out;
    uint8_t page[PAGE_BYTES];
    struct err err = {0};

    slot_header_put(page, h);
    assert_int_equal(slot_header_get(&out, page, &err), -1);
    assert_int_equal(err.code, ERR_CORRUPT);
}

static void test_an_unsound_header_is_refused_whatever_its_checksum(void **state)
{
    struct slot_header good, h;

    (void)state;
    header_example(&good);
    h = good;
    h.pages++;
    header_bad(&h);
    h = good;
    h.memory_pages = 10;
    header_bad(&h);
    h = good;
    h.memory_pages = MEMORY_PAGES_MAX + 1;
    header_bad(&h);
    h = good;
    h.runs[5].count = 0;
    header_bad(&h);
    h = good;
    h.runs[5].page = h.runs[4].page;
    header_bad(&h);
    h = good;
    h.runs[h.nruns - 1].page = UINT32_MAX;
    header_bad(&h);
}

/* --- the record --- */

static struct snapshot *record_example(uint16_t nslots, uint32_t nruns, uint16_t nglobals)
{
    struct snapshot *s = snapshot_new(nslots, nruns, nglobals);

    assert_non_null(s);
    memset(s->id.uid, 3, sizeof(s->id.uid));
    memset(s->id.module, 4, sizeof(s->id.module));
    s->id.generation = UINT64_MAX;
    s->memory_pages = MEMORY_PAGES_MAX;
    for (unsigned i = 0; i < nslots; i++)
        snapshot_slots(s)[i] = (struct slot){.offset = 100000 + 1000000 * (uint64_t)i,
                                             .pages = 2 * SNAPSHOT_RUNS_MAX,
                                             .generation = UINT64_MAX - nslots + i,
                                             .checksum = 0xfedcba9876543210ull + i};
    for (uint32_t i = 0; i < nruns; i++) {
        struct slot *slot = &snapshot_slots(s)[i % nslots];

        snapshot_runs(s)[i] =
            (struct run){.page = 2000 * i, .count = 2, .offset = slot->offset + 1 + slot->live};
        slot->live += 2;
    }
    for (unsigned i = 0; i < nglobals; i++)
        snapshot_globals(s)[i] = (struct global_bits){.lo = UINT64_MAX - i, .hi = UINT64_MAX};
    return s;
}

static size_t snapshot_size(const struct snapshot *s)
{
    return (size_t)((const uint8_t *)(snapshot_globals(s) + s->nglobals) - (const uint8_t *)s);
}

static void test_a_record_comes_back_as_it_was(void **state)
{
    static const struct {
        uint16_t nslots;
        uint32_t nruns;
        uint16_t nglobals;
    } sizes[] = {{0, 0, 0},
                 {1, 2, 1},
                 {3, 47, 8},
                 {SNAPSHOT_SLOTS_MAX, SNAPSHOT_RUNS_MAX, SNAPSHOT_GLOBALS_MAX}};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct snapshot *s = record_example(sizes[i].nslots, sizes[i].nruns, sizes[i].nglobals);
        AUTO_BUF struct buf out = {0};
        struct snapshot *back = NULL;
        struct err err = {0};

        assert_int_equal(snapshot_encode(&out, s, &err), 0);
        assert_true(out.len <= SNAPSHOT_RECORD_MAX);
        if (sizes[i].nruns == 2)
            assert_true(out.len < 150);
        if (snapshot_decode(&back, out.data, out.len, &err) < 0)
            fail_msg("%s", err.msg);
        assert_int_equal(snapshot_size(back), snapshot_size(s));
        assert_memory_equal(back, s, snapshot_size(s));
        snapshot_free(back);
        snapshot_free(s);
    }
}

static void test_a_cut_or_damaged_record_is_refused(void **state)
{
    struct snapshot *s = record_example(2, 5, 3), *back = NULL;
    AUTO_BUF struct buf out = {0};
    struct err err = {0};

    (void)state;
    assert_int_equal(snapshot_encode(&out, s, &err), 0);
    for (size_t len = 0; len < out.len; len++) {
        assert_int_equal(snapshot_decode(&back, out.data, len, &err), -1);
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    for (size_t i = 0; i < out.len; i++) {
        out.data[i] ^= 0x10;
        assert_int_equal(snapshot_decode(&back, out.data, out.len, &err), -1);
        assert_int_equal(err.code, ERR_CORRUPT);
        out.data[i] ^= 0x10;
    }
    assert_null(back);
    snapshot_free(s);
}

static void bad_record(const struct snapshot *s)
{
    AUTO_BUF struct buf out = {0};
    struct snapshot *back = NULL;
    struct err err = {0};

    assert_int_equal(snapshot_encode(&out, s, &err), 0);
    assert_int_equal(snapshot_decode(&back, out.data, out.len, &err), -1);
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_null(back);
}

/* With a right checksum: nothing out of range gets past the decoder. */
static void test_an_unsound_record_is_refused_whatever_its_checksum(void **state)
{
    struct snapshot *s;

    (void)state;
#define BAD(change)                                                                                \
    do {                                                                                           \
        s = record_example(2, 4, 1);                                                               \
        change;                                                                                    \
        bad_record(s);                                                                             \
        snapshot_free(s);                                                                          \
    } while (0)
    BAD(s->memory_pages = MEMORY_PAGES_MAX + 1);
    BAD(s->memory_pages = snapshot_runs(s)[3].page + 1);
    BAD(snapshot_slots(s)[0].pages = 1);
    BAD(snapshot_slots(s)[0].pages = 2);
    BAD(snapshot_slots(s)[0].offset = ARENA_BYTES_MAX / PAGE_BYTES);
    BAD(snapshot_slots(s)[1].offset = ARENA_BYTES_MAX / PAGE_BYTES - 5);
    BAD(snapshot_slots(s)[1].generation = snapshot_slots(s)[0].generation);
    BAD(snapshot_slots(s)[1].offset = snapshot_slots(s)[0].offset + 2 * SNAPSHOT_RUNS_MAX - 1);
    BAD(s->id.generation = snapshot_slots(s)[0].generation);
    BAD(snapshot_runs(s)[1].count = 0);
    BAD(snapshot_runs(s)[1].page = snapshot_runs(s)[0].page);
    BAD(snapshot_runs(s)[1].count = 2 * SNAPSHOT_RUNS_MAX);
    BAD(snapshot_runs(s)[1].offset = snapshot_slots(s)[1].offset);
    BAD(snapshot_runs(s)[1].offset = snapshot_slots(s)[0].offset + 1;
        snapshot_runs(s)[3].offset = snapshot_slots(s)[0].offset + 1); /* slot 1 without a run */
#undef BAD
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_a_guest_wrote_is_there_after_a_wake),
        TEST(test_a_sleep_writes_only_what_changed_since_the_last),
        TEST(test_a_sleep_without_changes_writes_nothing),
        TEST(test_a_discarded_save_gives_its_slot_back),
        TEST(test_short_gaps_are_written_too),
        TEST(test_thousands_of_sleeps_keep_every_byte),
        TEST(test_scattered_writes_stay_within_the_maxima_and_cheap),
        TEST(test_runs_at_their_maximum_and_one_more),
        TEST(test_slots_at_their_maximum_and_one_more),
        TEST(test_dead_space_is_at_most_what_is_live),
        TEST(test_memory_and_globals_at_their_maximum_and_one_more),
        TEST(test_every_disk_call_fails_in_turn),
        TEST(test_an_event_abandons_a_save_at_the_next_chunk),
        TEST(test_a_damaged_header_is_found),
        TEST(test_damaged_data_is_found_by_its_checksum),
        TEST(test_a_truncated_arena_is_found),
        TEST(test_another_guests_slot_is_refused),
        TEST(test_a_misplaced_slot_is_refused),
        TEST(test_what_is_not_in_the_page_cache_is_not_waited_for),
        TEST(test_a_save_from_an_unreadable_snapshot_keeps_nothing),
        cmocka_unit_test(test_a_header_comes_back_as_it_was),
        cmocka_unit_test(test_an_unsound_header_is_refused_whatever_its_checksum),
        cmocka_unit_test(test_a_record_comes_back_as_it_was),
        cmocka_unit_test(test_a_cut_or_damaged_record_is_refused),
        cmocka_unit_test(test_an_unsound_record_is_refused_whatever_its_checksum),
    };

    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
