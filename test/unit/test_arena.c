/* engine/arena: the map of free space against a plain bitmap, and what happens at its limits. */
#include "engine/arena.h"

#include "base/limits.h"
#include "support/fault_disk.h"
#include "support/tmp_dir.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <sys/mman.h>
#include <sys/vfs.h>

#include <cmocka.h>
#include <fcntl.h>
#include <linux/magic.h>

#define GROW_PAGES (ARENA_GROW_BYTES / PAGE_BYTES)

struct fixture {
    struct tmp_dir dir;
    struct fault_disk fault;
    struct arena *a;
};

static void reopen(struct fixture *f)
{
    struct err err = {0};

    arena_close(f->a);
    f->a = NULL;
    assert_int_equal(arena_open_on(&f->a, tmp_file(&f->dir, "arena"), &f->fault.disk, &err), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f || tmp_dir_make(&f->dir) < 0)
        return -1;
    fault_disk_init(&f->fault);
    reopen(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    arena_close(f->a);
    tmp_dir_remove(&f->dir);
    free(f);
    return 0;
}

static uint64_t take(struct arena *a, uint32_t pages)
{
    struct err err = {0};
    uint64_t at = 0;

    assert_int_equal(arena_alloc(a, &at, pages, &err), 0);
    return at;
}

static void claim(struct arena *a, uint64_t at, uint32_t pages, enum err_code want)
{
    struct err err = {0};

    assert_int_equal(arena_claim(a, at, pages, &err), want == ERR_NONE ? 0 : -1);
    assert_int_equal(err.code, want);
    arena_check(a);
}

static struct arena_stats stats(struct arena *a)
{
    struct arena_stats s;

    arena_stats(a, &s);
    return s;
}

static uint64_t blocks(struct arena *a)
{
    struct stat st;

    assert_int_equal(fstat(arena_fd(a), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void fill(struct arena *a, uint64_t at, uint32_t pages)
{
    uint8_t *bytes = calloc(pages, PAGE_BYTES);
    struct err err = {0};

    assert_non_null(bytes);
    memset(bytes, 1, (size_t)pages * PAGE_BYTES);
    assert_int_equal(disk_write(&disk_real, arena_fd(a), bytes, (size_t)pages * PAGE_BYTES,
                                at * PAGE_BYTES, &err),
                     0);
    free(bytes);
}

/* --- what is free --- */

static void test_a_new_arena_is_empty_and_private(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(fstat(arena_fd(f->a), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(stats(f->a).file_pages == 0 && stats(f->a).used_pages == 0);
}

static void test_it_grows_in_steps_and_reuses_the_lowest_fit(void **state)
{
    struct fixture *f = *state;
    uint64_t a = take(f->a, 10), b = take(f->a, 20), c = take(f->a, 10);

    assert_true(stats(f->a).file_pages == GROW_PAGES && stats(f->a).used_pages == 40);
    arena_give(f->a, b, 20);
    assert_true(take(f->a, 21) > c); /* does not fit */
    assert_true(take(f->a, 5) == b);
    assert_true(take(f->a, 15) == b + 5);
    assert_true(a == 0 && c == 30);
    arena_check(f->a);
    assert_true(take(f->a, GROW_PAGES) > 0);
    assert_true(stats(f->a).file_pages == 2 * GROW_PAGES);
}

static void test_neighbours_are_joined(void **state)
{
    struct fixture *f = *state;
    uint64_t at[5];

    for (int i = 0; i < 5; i++)
        at[i] = take(f->a, 8);
    arena_give(f->a, at[1], 8);
    arena_give(f->a, at[3], 8);
    assert_true(stats(f->a).free_extents == 3);
    arena_give(f->a, at[2], 8);
    assert_true(stats(f->a).free_extents == 2);
    assert_true(take(f->a, 24) == at[1]);
    arena_check(f->a);
}

/* 100,000 slots taken, every other one given back, all of it against a bitmap. */
static void test_many_extents_match_a_bitmap(void **state)
{
    struct fixture *f = *state;
    const uint32_t n = 100000;
    uint64_t *at = calloc(n, sizeof(*at));
    uint64_t total = 0;
    uint8_t *used;
    uint32_t x = 12345;

    assert_non_null(at);
    for (uint32_t i = 0; i < n; i++)
        at[i] = take(f->a, 1 + i % 7);
    for (uint32_t i = 0; i < n; i += 2)
        arena_give(f->a, at[i], 1 + i % 7);
    arena_check(f->a);
    assert_true(stats(f->a).free_extents >= n / 2);
    for (uint32_t round = 0; round < 2 * n; round++) {
        uint32_t i;

        x = x * 1664525u + 1013904223u;
        i = (x >> 8) % n & ~1u;
        if (at[i] != UINT64_MAX && round >= n) {
            at[i] = take(f->a, 1 + i % 7);
            at[i + 1] = at[i + 1] == UINT64_MAX ? take(f->a, 1 + (i + 1) % 7) : at[i + 1];
            arena_give(f->a, at[i], 1 + i % 7);
        } else if (at[i + 1] != UINT64_MAX) {
            arena_give(f->a, at[i + 1], 1 + (i + 1) % 7);
            at[i + 1] = UINT64_MAX;
        }
    }
    arena_check(f->a);
    used = calloc(stats(f->a).file_pages, 1);
    assert_non_null(used);
    for (uint32_t i = 1; i < n; i += 2) {
        for (uint32_t p = 0; at[i] != UINT64_MAX && p < 1 + i % 7; p++) {
            assert_true(at[i] + p < stats(f->a).file_pages);
            assert_int_equal(used[at[i] + p]++, 0); /* never given out twice */
            total++;
        }
    }
    assert_true(total == stats(f->a).used_pages);
    free(used);
    free(at);
}

/* --- at start-up --- */

static void test_claims_after_a_restart(void **state)
{
    struct fixture *f = *state;
    uint64_t a = take(f->a, 10), b = take(f->a, 10), c = take(f->a, 10);

    reopen(f);
    assert_true(stats(f->a).used_pages == 0);
    claim(f->a, b, 10, ERR_NONE);
    claim(f->a, b, 10, ERR_CORRUPT);
    claim(f->a, a + 5, 10, ERR_CORRUPT);
    claim(f->a, b + 9, 2, ERR_CORRUPT);
    claim(f->a, c, 10, ERR_NONE);
    claim(f->a, a, 10, ERR_NONE);
    assert_true(stats(f->a).used_pages == 30);
    assert_true(take(f->a, 1) == 30);
    arena_give(f->a, b, 10);
    assert_true(take(f->a, 10) == b);
}

static void test_claims_beyond_the_end_are_corrupt(void **state)
{
    struct fixture *f = *state;

    take(f->a, 1);
    reopen(f);
    claim(f->a, GROW_PAGES - 1, 1, ERR_NONE);
    claim(f->a, GROW_PAGES - 2, 3, ERR_CORRUPT);
    claim(f->a, GROW_PAGES, 1, ERR_CORRUPT);
    claim(f->a, UINT64_MAX, 2, ERR_CORRUPT);
    claim(f->a, 0, 0, ERR_CORRUPT);
    claim(f->a, 0, UINT32_MAX, ERR_CORRUPT);
}

static void test_a_directory_or_link_is_no_arena(void **state)
{
    struct fixture *f = *state;
    struct arena *a = NULL;
    struct err err = {0};

    assert_int_equal(arena_open(&a, f->dir.path, &err), -1);
    assert_int_equal(symlink("arena", tmp_file(&f->dir, "link")), 0);
    assert_int_equal(arena_open(&a, f->dir.file, &err), -1);
    assert_int_equal(mkfifo(tmp_file(&f->dir, "fifo"), 0600), 0);
    assert_int_equal(arena_open(&a, f->dir.file, &err), -1);
    assert_int_equal(arena_open(&a, tmp_file(&f->dir, "no/such"), &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_null(a);
}

/* --- limits and faults --- */

/* Slots large and small, in any order: large ones' data are aligned, nothing overlaps, and what was
 * given back is one extent again. */
static void test_data_of_large_slots_are_aligned(void **state)
{
    struct fixture *f = *state;
    const uint32_t chunk = SAVE_CHUNK_BYTES / PAGE_BYTES;
    const uint32_t sizes[] = {3, 1000, 64, 65, 66, 1, 5000, 300, 129, 2};
    const size_t n = sizeof(sizes) / sizeof(sizes[0]);
    uint64_t at[10], used = 0;
    struct err err = {0};

    for (size_t i = 0; i < n; i++) {
        assert_int_equal(arena_alloc_slot(f->a, &at[i], sizes[i], &err), 0);
        if (sizes[i] > chunk)
            assert_int_equal((at[i] + 1) % chunk, 0);
        for (size_t k = 0; k < i; k++)
            assert_true(at[k] + sizes[k] <= at[i] || at[i] + sizes[i] <= at[k]);
        used += sizes[i];
        arena_check(f->a);
    }
    assert_true(stats(f->a).used_pages == used);
    for (size_t i = 0; i < n; i++)
        arena_give(f->a, at[i], sizes[i]);
    arena_check(f->a);
    assert_int_equal(stats(f->a).free_extents, 1);
    assert_true(stats(f->a).used_pages == 0);
}

static void test_the_file_has_a_maximum(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    const uint32_t half = (uint32_t)(ARENA_BYTES_MAX / PAGE_BYTES / 2);
    uint64_t at;

    take(f->a, half);
    assert_int_equal(arena_alloc(f->a, &at, half + 1, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    arena_check(f->a);
    assert_true(take(f->a, half) == half);
    assert_int_equal(arena_alloc(f->a, &at, 1, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
}

static void test_slots_have_a_maximum(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint64_t at, last = 0;

    for (uint32_t i = 0; i < ARENA_SLOTS_MAX; i++)
        last = take(f->a, 1);
    assert_int_equal(arena_alloc(f->a, &at, 1, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    arena_give(f->a, last, 1);
    assert_true(take(f->a, 1) == last);
}

static void test_a_file_that_cannot_grow_takes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint64_t at;

    f->fault.nth = f->fault.calls + 1;
    f->fault.sys = ENOSPC;
    assert_int_equal(arena_alloc(f->a, &at, 1, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_true(stats(f->a).file_pages == 0 && stats(f->a).used_pages == 0);
    arena_check(f->a);
    assert_true(take(f->a, 1) == 0);
}

static void test_opening_fails_cleanly(void **state)
{
    struct fixture *f = *state;

    for (unsigned nth = 1;; nth++) {
        struct arena *a = NULL;
        struct err err = {0};
        int rc;

        fault_disk_init(&f->fault);
        f->fault.nth = nth;
        rc = arena_open_on(&a, tmp_file(&f->dir, "other"), &f->fault.disk, &err);
        assert_true((rc == 0) == (err.code == ERR_NONE));
        arena_close(a);
        if (f->fault.fired == 0)
            break;
        assert_int_equal(rc, -1);
    }
    fault_disk_init(&f->fault);
}

/* --- giving back to the file system --- */

static void test_trim_keeps_what_is_soon_used_again(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    const uint32_t pages = ARENA_FREE_KEEP_BYTES / PAGE_BYTES;
    uint64_t a = take(f->a, pages);

    take(f->a, 1);
    arena_give(f->a, a, pages);
    assert_false(arena_trim_due(f->a));
    assert_int_equal(arena_trim(f->a, &err), 0);
    arena_check(f->a);
}

static void test_trim_punches_large_free_extents(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    const uint32_t keep = ARENA_FREE_KEEP_BYTES / PAGE_BYTES, pages = 1024;
    uint64_t a = take(f->a, keep), b, before;

    take(f->a, 1);
    b = take(f->a, pages);
    take(f->a, 1);
    fill(f->a, b, pages);
    arena_give(f->a, a, keep);
    arena_give(f->a, b, pages);
    before = blocks(f->a);
    assert_true(arena_trim_due(f->a));
    assert_int_equal(arena_trim(f->a, &err), 0);
    arena_check(f->a);
    assert_true(blocks(f->a) + pages * PAGE_BYTES <= before);
    assert_false(arena_trim_due(f->a));
    assert_true(take(f->a, pages) == a); /* free it is, all the same */
}

/* While guests sleep, as much as counts may be kept beside it; afterwards no more than ever. */
static void test_trim_keeps_more_while_there_is_work(void **state)
{
    struct fixture *f = *state;
    const uint32_t keep = ARENA_FREE_KEEP_BYTES / PAGE_BYTES, pages = GROW_PAGES;
    struct err err = {0};
    uint64_t a = take(f->a, pages + keep);

    take(f->a, pages);
    arena_give(f->a, a, pages + keep);
    assert_true(arena_trim_due(f->a));
    arena_live(f->a, pages); /* twice that: what is in use, and as much again */
    assert_false(arena_trim_due(f->a));
    arena_live(f->a, -1);
    assert_true(arena_trim_due(f->a));
    arena_live(f->a, 1);
    arena_rest(f->a);
    assert_true(arena_trim_due(f->a));
    take(f->a, 1);
    assert_false(arena_trim_due(f->a));
    arena_rest(f->a);
    while (arena_trim_due(f->a))
        assert_int_equal(arena_trim(f->a, &err), 0);
    assert_true(stats(f->a).held_pages <= pages + 1 + keep);
    arena_check(f->a);
}

static size_t cached_pages(struct arena *a, uint64_t at, uint32_t pages)
{
    unsigned char in[64];
    size_t n = 0;
    void *map = mmap(NULL, pages * PAGE_BYTES, PROT_READ, MAP_SHARED, arena_fd(a),
                     (off_t)(at * PAGE_BYTES));

    assert_true(map != MAP_FAILED && pages <= sizeof(in));
    assert_int_equal(mincore(map, pages * PAGE_BYTES, in), 0);
    munmap(map, pages * PAGE_BYTES);
    for (uint32_t i = 0; i < pages; i++)
        n += in[i] & 1;
    return n;
}

/* Behind the last slot; what is in use stays where it is. */
static void test_the_tail_of_one_that_rests_is_not_cached(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint64_t used = take(f->a, 16), tail = take(f->a, 16);
    struct statfs fs;

    fill(f->a, used, 16);
    fill(f->a, tail, 16);
    assert_int_equal(fdatasync(arena_fd(f->a)), 0);
    arena_give(f->a, tail, 16);
    assert_false(arena_trim_due(f->a));
    assert_int_equal(cached_pages(f->a, tail, 16), 16);
    arena_rest(f->a);
    assert_true(arena_trim_due(f->a));
    assert_int_equal(arena_trim(f->a, &err), 0);
    assert_int_equal(fstatfs(arena_fd(f->a), &fs), 0);
    assert_int_equal(cached_pages(f->a, tail, 16),
                     fs.f_type == TMPFS_MAGIC ? 16 : 0); /* which has nothing but a page cache */
    assert_int_equal(cached_pages(f->a, used, 16), 16);
    assert_false(arena_trim_due(f->a)); /* once */
}

static void test_trim_cuts_a_long_free_tail(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint64_t a = take(f->a, 100), b = take(f->a, 5 * GROW_PAGES);
    uint64_t pages = stats(f->a).file_pages;

    fill(f->a, b + 4 * GROW_PAGES, 100);
    assert_false(arena_trim_due(f->a));
    arena_give(f->a, b, 5 * GROW_PAGES);
    assert_true(arena_trim_due(f->a));
    assert_int_equal(arena_trim(f->a, &err), 0);
    arena_check(f->a);
    assert_true(stats(f->a).file_pages == 2 * GROW_PAGES && pages > 5 * GROW_PAGES);
    assert_true(stats(f->a).used_pages == 100);
    assert_false(arena_trim_due(f->a));
    arena_give(f->a, a, 100);
    take(f->a, 3 * GROW_PAGES);
    arena_check(f->a);
}

static void test_trim_never_touches_what_is_in_use(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    const uint32_t pages = 512, n = 80;
    uint64_t at[80];
    uint8_t page[PAGE_BYTES];

    for (uint32_t i = 0; i < n; i++) {
        at[i] = take(f->a, pages);
        fill(f->a, at[i], pages);
    }
    for (uint32_t i = 0; i < n; i += 2)
        arena_give(f->a, at[i], pages);
    while (arena_trim_due(f->a))
        assert_int_equal(arena_trim(f->a, &err), 0);
    arena_check(f->a);
    for (uint32_t i = 1; i < n; i += 2) {
        for (uint32_t p = 0; p < pages; p += pages - 1) {
            assert_int_equal(disk_read(&disk_real, arena_fd(f->a), page, sizeof(page),
                                       (at[i] + p) * PAGE_BYTES, 0, &err),
                             0);
            assert_int_equal(page[4000], 1);
        }
    }
}

static void test_trim_that_fails_loses_nothing(void **state)
{
    static const int errors[] = {EIO, EOPNOTSUPP};
    struct fixture *f = *state;
    const uint32_t pages = 4 * GROW_PAGES;

    for (size_t e = 0; e < 2; e++) {
        struct err err = {0};
        uint64_t a = take(f->a, pages);

        take(f->a, 1); /* so that there is something to punch, and no tail */
        arena_give(f->a, a, pages);
        f->fault.nth = f->fault.calls + 1;
        f->fault.sticky = true;
        f->fault.sys = errors[e];
        assert_int_equal(arena_trim(f->a, &err), errors[e] == EIO ? -1 : 0);
        assert_int_equal(err.code, errors[e] == EIO ? ERR_IO : ERR_NONE);
        f->fault.nth = 0;
        arena_check(f->a);
        assert_true(take(f->a, pages) == a); /* still free */
        arena_give(f->a, a, pages);
        assert_true(arena_trim_due(f->a) == (errors[e] == EIO));
    }
}

/* --- threads --- */

static void *churn(void *arg)
{
    struct arena *a = arg;
    uint64_t at[64];

    for (uint32_t round = 0; round < 200; round++) {
        for (uint32_t i = 0; i < 64; i++)
            at[i] = take(a, 1 + (round * 31 + i * 7) % 400);
        for (uint32_t i = 0; i < 64; i++)
            arena_give(a, at[i], 1 + (round * 31 + i * 7) % 400);
    }
    return NULL;
}

static void test_threads_take_give_and_trim_at_once(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[3];
    struct err err = {0};

    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, f->a), 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(arena_trim(f->a, &err), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    arena_check(f->a);
    assert_true(stats(f->a).used_pages == 0);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

/* Somebody else truncated the file: what is left is used, and nothing makes it longer again. */
static void test_file_that_was_cut_off_never_grows(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct stat st;
    uint64_t low = take(f->a, 10), high = take(f->a, 10), at;

    arena_give(f->a, low, 10);
    assert_int_equal(truncate(tmp_file(&f->dir, "arena"), (off_t)(15 * PAGE_BYTES)), 0);
    assert_int_equal(take(f->a, 10), low);
    assert_int_equal(arena_alloc(f->a, &at, 10, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.msg, "15 of"));
    assert_int_equal(arena_alloc(f->a, &at, 2 * GROW_PAGES, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    arena_give(f->a, high, 10);
    assert_int_equal(fstat(arena_fd(f->a), &st), 0);
    assert_int_equal(st.st_size, 15 * PAGE_BYTES);
    arena_check(f->a);
    reopen(f); /* the next life begins with what there is */
    assert_int_equal(arena_claim(f->a, high, 10, &err), -1);
    assert_int_equal(arena_claim(f->a, low, 10, &err), 0);
    take(f->a, GROW_PAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_file_that_was_cut_off_never_grows),
        TEST(test_a_new_arena_is_empty_and_private),
        TEST(test_it_grows_in_steps_and_reuses_the_lowest_fit),
        TEST(test_neighbours_are_joined),
        TEST(test_many_extents_match_a_bitmap),
        TEST(test_claims_after_a_restart),
        TEST(test_claims_beyond_the_end_are_corrupt),
        TEST(test_a_directory_or_link_is_no_arena),
        TEST(test_data_of_large_slots_are_aligned),
        TEST(test_the_file_has_a_maximum),
        TEST(test_slots_have_a_maximum),
        TEST(test_a_file_that_cannot_grow_takes_nothing),
        TEST(test_opening_fails_cleanly),
        TEST(test_trim_keeps_what_is_soon_used_again),
        TEST(test_trim_punches_large_free_extents),
        TEST(test_trim_keeps_more_while_there_is_work),
        TEST(test_the_tail_of_one_that_rests_is_not_cached),
        TEST(test_trim_cuts_a_long_free_tail),
        TEST(test_trim_never_touches_what_is_in_use),
        TEST(test_trim_that_fails_loses_nothing),
        TEST(test_threads_take_give_and_trim_at_once),
    };

    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
