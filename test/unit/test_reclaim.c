/* The space of sleeping guests is reclaimed: over a million sleeps the arena never holds more than
 * twice what is live and 64 MiB.
 *
 * `Live` are the pages of guest memory that snapshots stand on; `held` what the file may take on
 * disk: slots in use (those that wait for a commit included), and free space that is no hole yet.
 * Sleeps are real ones, with the kernel's scan, of one scratch memory that stands for each guest's
 * in turn; the commit that gives slots back comes some sleeps later, as the database's does. The
 * million writes nothing; fewer sleeps that do show what is held on disk.
 */
#include "engine/arena.h"
#include "engine/snapshot_internal.h"

#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#define MILLION      1000000u
#define GUESTS       2000u
#define MEMORY_PAGES 1024u
#define EXTRA_PAGES  (64u * MIB / PAGE_BYTES)
#define COMMIT_EVERY 300u
#define PHASE        20000u /* sleeps until the number of guests changes */
#define WRITTEN      60000u /* sleeps with all their writes */

struct scene {
    struct tmp_dir dir;
    struct disk disk;
    struct arena *arena;
    uint32_t random;
    uint64_t live;
    uint8_t *memory;
    struct snapshot *guests[GUESTS];
    struct slot waiting[COMMIT_EVERY * SNAPSHOT_SLOTS_MAX];
    size_t nwaiting;
};

static uint32_t rnd(struct scene *s, uint32_t below)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 17;
    s->random ^= s->random << 5;
    return s->random % below;
}

static ssize_t not_written(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    (void)ctx;
    (void)fd;
    (void)buf;
    (void)offset;
    return (ssize_t)len;
}

static ssize_t none_written(void *ctx, int fd, const struct iovec *iov, int n, off_t offset)
{
    ssize_t len = 0;

    (void)ctx;
    (void)fd;
    (void)offset;
    for (int i = 0; i < n; i++)
        len += (ssize_t)iov[i].iov_len;
    return len;
}

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct err err = {0};

    if (!s || tmp_dir_make(&s->dir) < 0)
        return -1;
    s->disk = disk_real;
    if (arena_open_on(&s->arena, tmp_file(&s->dir, "arena"), &s->disk, &err) < 0)
        return -1;
    s->random = 2463534242u;
    s->memory = mmap(NULL, MEMORY_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    *state = s;
    return s->memory == MAP_FAILED ? -1
                                   : madvise(s->memory, MEMORY_PAGES * PAGE_BYTES, MADV_NOHUGEPAGE);
}

static int tear_down(void **state)
{
    struct scene *s = *state;

    for (size_t i = 0; i < GUESTS; i++)
        snapshot_free(s->guests[i]);
    arena_close(s->arena);
    munmap(s->memory, MEMORY_PAGES * PAGE_BYTES);
    tmp_dir_remove(&s->dir);
    free(s);
    return 0;
}

static void trim(struct arena *a)
{
    struct err err = {0};

    while (arena_trim_due(a))
        assert_int_equal(arena_trim(a, &err), 0);
}

static uint64_t held(struct arena *a)
{
    struct arena_stats st;

    arena_stats(a, &st);
    return st.held_pages;
}

static uint64_t on_disk(struct arena *a)
{
    struct stat st;

    assert_int_equal(fstat(arena_fd(a), &st), 0);
    return (uint64_t)st.st_blocks * 512 / PAGE_BYTES;
}

/* --- the arena alone --- */

static uint32_t some_pages(struct scene *s)
{
    return rnd(s, 50) ? 2 + rnd(s, 6) : 2 + rnd(s, 3000);
}

/* Slots of very different sizes, of which now many and now few are in use. */
static void test_a_million_slots_taken_and_given_back(void **state)
{
    static struct {
        uint64_t at;
        uint32_t pages;
    } slots[20000];
    struct scene *s = *state;
    struct err err = {0};
    uint64_t live = 0;
    uint32_t most = 20000;

    for (uint32_t i = 0; i < MILLION; i++) {
        uint32_t k = rnd(s, 20000);

        if (i % PHASE == 0)
            most = most == 20000 ? 200 : 20000;
        if (slots[k].pages) {
            arena_give(s->arena, slots[k].at, slots[k].pages);
            live -= slots[k].pages;
            slots[k].pages = 0;
        }
        if (k < most) {
            slots[k].pages = some_pages(s);
            assert_int_equal(arena_alloc_slot(s->arena, &slots[k].at, slots[k].pages, &err), 0);
            live += slots[k].pages;
        }
        if (i % 16 == 0)
            trim(s->arena);
        assert_true(held(s->arena) <= 2 * live + EXTRA_PAGES);
    }
    arena_check(s->arena);
}

/* --- sleeps --- */

static uint64_t live_pages(const struct snapshot *snapshot)
{
    uint64_t n = 0;

    for (unsigned i = 0; snapshot && i < snapshot->nslots; i++)
        n += snapshot_slots(snapshot)[i].live;
    return n;
}

/* On disk is the record that drops them. */
static void commit(struct scene *s)
{
    arena_release(s->arena, s->waiting, s->nwaiting);
    s->nwaiting = 0;
    trim(s->arena);
}

static void drop(struct scene *s, const struct slot *slots, size_t n)
{
    if (s->nwaiting + n > sizeof(s->waiting) / sizeof(s->waiting[0]))
        commit(s);
    if (n)
        memcpy(s->waiting + s->nwaiting, slots, n * sizeof(*slots));
    s->nwaiting += n;
}

static void change_memory(struct scene *s)
{
    uint32_t n = rnd(s, 2000) ? 1 + rnd(s, 5) : rnd(s, MEMORY_PAGES);

    for (uint32_t i = 0; i < n; i++)
        s->memory[(size_t)rnd(s, n > 5 ? MEMORY_PAGES : 64) * PAGE_BYTES] = 1;
}

static void guest_sleeps(struct scene *s, uint32_t k)
{
    struct snapshot *made, *was = s->guests[k];
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    struct err err = {0};
    size_t n = 0;
    struct save save = {.arena = s->arena,
                        .memory = s->memory,
                        .memory_pages = MEMORY_PAGES,
                        .base = was,
                        .id = {.generation = was ? was->id.generation + 1 : 1}};

    change_memory(s);
    if (snapshot_save(&made, dropped, &n, &save, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(madvise(s->memory, MEMORY_PAGES * PAGE_BYTES, MADV_DONTNEED), 0);
    s->live += live_pages(made) - live_pages(was);
    drop(s, dropped, n);
    snapshot_free(was);
    s->guests[k] = made;
}

static void guest_removed(struct scene *s, uint32_t k)
{
    struct snapshot *was = s->guests[k];

    if (!was)
        return;
    s->live -= live_pages(was);
    drop(s, snapshot_slots(was), was->nslots);
    snapshot_free(was);
    s->guests[k] = NULL;
}

static void sleeps(struct scene *s, uint32_t sleeps)
{
    uint32_t most = GUESTS;

    for (uint32_t i = 1; i <= sleeps; i++) {
        guest_sleeps(s, rnd(s, most));
        if (i % COMMIT_EVERY == 0)
            commit(s);
        assert_true(held(s->arena) <= 2 * s->live + EXTRA_PAGES);
        if (i % 1000 == 0)
            assert_true(on_disk(s->arena) <= 2 * s->live + EXTRA_PAGES);
        if (i % PHASE == 0) {
            most = most == GUESTS ? GUESTS / 20 : GUESTS;
            for (uint32_t k = most; k < GUESTS; k++)
                guest_removed(s, k);
            commit(s);
        }
    }
    arena_check(s->arena);
}

static void test_a_million_sleeps(void **state)
{
    struct scene *s = *state;

    s->disk.pwrite = not_written;
    s->disk.pwritev = none_written;
    sleeps(s, MILLION);
}

static void test_sleeps_on_a_disk(void **state)
{
    sleeps(*state, WRITTEN);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_million_slots_taken_and_given_back),
        TEST(test_a_million_sleeps),
        TEST(test_sleeps_on_a_disk),
    };

    return cmocka_run_group_tests_name("reclaim", tests, NULL, NULL);
}
