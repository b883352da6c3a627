/* engine/pagemap: exactly the pages that were written; each test by PAGEMAP_SCAN and without it. */
#include "engine/snapshot_internal.h"
#include "support/tmp_dir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static uint8_t *map(uint32_t pages, int fd)
{
    uint8_t *m = mmap(NULL, (size_t)pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

    assert_true(m != MAP_FAILED);
    madvise(m, (size_t)pages * PAGE_BYTES, MADV_NOHUGEPAGE);
    return m;
}

static void unmap(uint8_t *m, uint32_t pages)
{
    munmap(m, (size_t)pages * PAGE_BYTES);
}

static void expect(const uint8_t *m, uint32_t pages, const struct run *want, size_t n)
{
    struct run *got = NULL;
    struct err err = {0};
    size_t ngot = 0;

    assert_int_equal(pagemap_changed(&got, &ngot, m, pages, &err), 0);
    assert_int_equal(ngot, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got[i].page, want[i].page);
        assert_int_equal(got[i].count, want[i].count);
        assert_true(got[i].offset == 0);
    }
    free(got);
}

static void test_untouched_memory_has_none(void **state)
{
    uint8_t *m = map(100, -1);

    (void)state;
    expect(m, 100, NULL, 0);
    expect(m, 0, NULL, 0);
    unmap(m, 100);
}

static bool without_scan;

static int by_scan(void **state)
{
    (void)state;
    without_scan = false;
    pagemap_without_scan(false);
    return 0;
}

static int by_words(void **state)
{
    (void)state;
    without_scan = true;
    pagemap_without_scan(true);
    return 0;
}

/* The zero page: without the scan it counts, which is too much and never wrong. */
static void test_read_pages_do_not_count(void **state)
{
    uint8_t *m = map(100, -1);
    volatile uint8_t sum = 0;

    (void)state;
    for (size_t i = 0; i < 100; i++)
        sum = (uint8_t)(sum + m[i * PAGE_BYTES]); /* the zero page */
    expect(m, 100, (struct run[]){{.page = 0, .count = 100}}, without_scan ? 1 : 0);
    unmap(m, 100);
}

static void test_written_pages_are_joined_to_runs(void **state)
{
    static const struct run want[] = {
        {.page = 0, .count = 1}, {.page = 10, .count = 3}, {.page = 98, .count = 2}};
    static const unsigned written[] = {98, 11, 0, 10, 99, 12};
    uint8_t *m = map(100, -1);

    (void)state;
    for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++)
        m[written[i] * PAGE_BYTES + 17] = 1;
    expect(m, 100, want, 3);
    expect(m, 99, (struct run[]){want[0], want[1], {.page = 98, .count = 1}},
           3); /* the range's end */
    unmap(m, 100);
}

static void test_pages_of_a_private_file_count_once_written(void **state)
{
    struct tmp_dir dir;
    uint8_t *m;
    int fd;

    (void)state;
    assert_int_equal(tmp_dir_make(&dir), 0);
    fd = open(tmp_file(&dir, "image"), O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 50 * PAGE_BYTES), 0);
    m = map(50, fd);
    assert_int_equal(m[20 * PAGE_BYTES], 0); /* read: it stays the file's */
    m[30 * PAGE_BYTES] = 1;
    expect(m, 50, (struct run[]){{.page = 30, .count = 1}}, 1);
    unmap(m, 50);
    close(fd);
    tmp_dir_remove(&dir);
}

static void test_runs_past_one_call_of_the_kernel(void **state)
{
    const uint32_t pages = 8192; /* every other one: 4,096 runs */
    uint8_t *m = map(pages, -1);
    struct run *got = NULL;
    struct err err = {0};
    size_t n = 0;

    (void)state;
    for (uint32_t i = 0; i < pages; i += 2)
        m[(size_t)i * PAGE_BYTES] = 1;
    assert_int_equal(pagemap_changed(&got, &n, m, pages, &err), 0);
    assert_int_equal(n, pages / 2);
    for (uint32_t i = 0; i < n; i++)
        assert_true(got[i].page == 2 * i && got[i].count == 1);
    free(got);
    unmap(m, pages);
}

int main(void)
{
#define TEST(f)                                                                                    \
    cmocka_unit_test_setup(f, by_scan),                                                            \
    {                                                                                              \
#f "_without_scan", f, by_words, NULL, NULL                                                \
    }
    const struct CMUnitTest tests[] = {
        TEST(test_untouched_memory_has_none),
        TEST(test_read_pages_do_not_count),
        TEST(test_written_pages_are_joined_to_runs),
        TEST(test_pages_of_a_private_file_count_once_written),
        TEST(test_runs_past_one_call_of_the_kernel),
    };

    return cmocka_run_group_tests_name("pagemap", tests, NULL, NULL);
}
