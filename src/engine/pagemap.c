/* Which pages of a guest's memory were written: the kernel's PAGEMAP_SCAN, or /proc/self/pagemap.
 *
 * A guest's memory is a private mapping: of its image, of zeroes, of a snapshot. A page that was
 * written became anonymous; one that was only read is still the file's or the zero page. So "was
 * copied on write" is: present or swapped, not of a file, not the zero page. The scan walks page
 * tables, not pages: 3 us for a guest that changed 64 KiB, whatever its size. Unprivileged.
 *
 * A kernel without it (before 6.7) is asked for the same bits, one word for each page. There the
 * zero page cannot be told from one that was written, so it counts: more is written than need be,
 * never less. Soft-dirty bits are of no use: clearing them is for the whole process, and they say
 * nothing of what was written before.
 *
 * The kernel's interface (since 6.7) is declared here where the system's headers are older.
 */
#include "engine/snapshot_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VEC_REGIONS   256u /* 6 KiB of stack; the scan goes on where it was full */
#define SCAN_INTR_MAX 1000u
#define WORDS         512u /* of pagemap, read at once: 4 KiB of stack */
#define WORD_PRESENT  (1ull << 63)
#define WORD_SWAPPED  (1ull << 62)
#define WORD_FILE     (1ull << 61)

#ifndef PAGEMAP_SCAN
#define PAGE_IS_FILE    (1u << 2)
#define PAGE_IS_PRESENT (1u << 3)
#define PAGE_IS_SWAPPED (1u << 4)
#define PAGE_IS_PFNZERO (1u << 5)

struct page_region {
    uint64_t start, end, categories;
};

struct pm_scan_arg {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#endif

_Static_assert(sizeof(struct pm_scan_arg) == 96, "as the kernel has it");

/* Opened once and never closed: it is the process's own. */
static pthread_once_t pagemap_once = PTHREAD_ONCE_INIT;
static int pagemap_fd = -1;
static atomic_bool no_scan; /* this kernel has none, or a test says so */

static void pagemap_open(void)
{
    pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

static int runs_add(struct runs *r, uint32_t page, uint32_t count, struct err *err)
{
    struct run *last = r->n ? &r->v[r->n - 1] : NULL;

    if (last && last->page + last->count == page) {
        last->count += count;
        return 0;
    }
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        struct run *v = realloc(r->v, cap * sizeof(*v));

        if (!v)
            return err_set(err, ERR_NOMEM, 0, "no memory for %zu runs of pages", cap);
        r->v = v;
        r->cap = cap;
    }
    r->v[r->n++] = (struct run){.page = page, .count = count};
    return 0;
}

static int scan_error(struct err *err)
{
    if (errno == ENOTTY || errno == EINVAL)
        return err_set(err, ERR_UNSUPPORTED, errno, "this kernel has no PAGEMAP_SCAN");
    return err_set(err, errno == ENOMEM ? ERR_NOMEM : ERR_IO, errno, "scan of changed pages");
}

/* One call of the kernel from `start` on; adds what it found and returns where it ended. */
static int scan_some(struct runs *r, uintptr_t base, uintptr_t *start, uintptr_t end,
                     struct err *err)
{
    struct page_region vec[VEC_REGIONS];
    struct pm_scan_arg arg = {
        .size = sizeof(arg),
        .start = *start,
        .end = end,
        .vec = (uintptr_t)vec,
        .vec_len = VEC_REGIONS,
        .category_mask = PAGE_IS_FILE | PAGE_IS_PFNZERO,
        .category_inverted = PAGE_IS_FILE | PAGE_IS_PFNZERO,
        .category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        .return_mask = PAGE_IS_PRESENT,
    };
    int n = -1;

    for (unsigned tries = 0; tries < SCAN_INTR_MAX; tries++) {
        n = ioctl(pagemap_fd, PAGEMAP_SCAN, &arg);
        if (n >= 0 || errno != EINTR)
            break;
    }
    if (n < 0)
        return scan_error(err);
    for (int k = 0; k < n; k++)
        if (runs_add(r, (uint32_t)((vec[k].start - base) / PAGE_BYTES),
                     (uint32_t)((vec[k].end - vec[k].start) / PAGE_BYTES), err) < 0)
            return -1;
    if (arg.walk_end <= *start || arg.walk_end > end)
        return err_set(err, ERR_IO, 0, "scan of changed pages: the kernel made no progress");
    *start = arg.walk_end;
    return 0;
}

static int scan_all(struct runs *r, uintptr_t base, uintptr_t end, struct err *err)
{
    uintptr_t start = base;

    while (start < end)
        if (scan_some(r, base, &start, end, err) < 0)
            return -1;
    return 0;
}

/* --- without it: a word for each page --- */

static ssize_t words_read(uint64_t *words, size_t n, uintptr_t at)
{
    ssize_t got = -1;

    for (unsigned tries = 0; tries < SCAN_INTR_MAX; tries++) {
        got =
            pread(pagemap_fd, words, n * sizeof(*words), (off_t)(at / PAGE_BYTES * sizeof(*words)));
        if (got >= 0 || errno != EINTR)
            break;
    }
    return got < 0 ? -1 : got / (ssize_t)sizeof(*words);
}

static int words_all(struct runs *r, uintptr_t base, uint32_t pages, struct err *err)
{
    uint64_t words[WORDS];

    for (uint32_t at = 0; at < pages;) {
        size_t want = pages - at < WORDS ? pages - at : WORDS;
        ssize_t n = words_read(words, want, base + (size_t)at * PAGE_BYTES);

        if (n <= 0)
            return err_set(err, ERR_IO, n < 0 ? errno : 0, "read of /proc/self/pagemap");
        for (uint32_t i = 0; i < (uint32_t)n; i++)
            if ((words[i] & (WORD_PRESENT | WORD_SWAPPED)) && !(words[i] & WORD_FILE) &&
                runs_add(r, at + i, 1, err) < 0)
                return -1;
        at += (uint32_t)n;
    }
    return 0;
}

void pagemap_without_scan(bool without)
{
    atomic_store(&no_scan, without);
}

static int changed(struct runs *r, const uint8_t *memory, uint32_t pages, struct err *err)
{
    uintptr_t base = (uintptr_t)memory;

    if (!atomic_load_explicit(&no_scan, memory_order_relaxed)) {
        if (scan_all(r, base, base + (size_t)pages * PAGE_BYTES, err) == 0)
            return 0;
        if (!err || err->code != ERR_UNSUPPORTED)
            return -1;
        r->n = 0;
        atomic_store(&no_scan, true);
    }
    return words_all(r, base, pages, err);
}

int pagemap_changed(struct run **out, size_t *nout, const uint8_t *memory, uint32_t pages,
                    struct err *err)
{
    struct runs r = {0};

    assert((uintptr_t)memory % PAGE_BYTES == 0);
    pthread_once(&pagemap_once, pagemap_open);
    if (pagemap_fd < 0)
        return err_set(err, ERR_UNSUPPORTED, 0, "/proc/self/pagemap cannot be opened");
    if (changed(&r, memory, pages, err) < 0) {
        free(r.v);
        return -1;
    }
    *out = r.v;
    *nout = r.n;
    return 0;
}
