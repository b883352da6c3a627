/* Cold memory: read in blocks as it is touched (engine/cold.h), alone and under a sleeping guest.
 */
#include "base/limits.h"
#include "engine/cold.h"
#include "rig/rig.h"
#include "support/tmp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

#define PAGES 4096u

/* cmocka puts its own handlers in place around each test. */
static struct sigaction kept[4];
static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};

static void signals_keep(void)
{
    for (int i = 0; i < 4; i++)
        sigaction(signals[i], NULL, &kept[i]);
}

static void signals_put_back(void)
{
    for (int i = 0; i < 4; i++)
        sigaction(signals[i], &kept[i], NULL);
}

struct fixture {
    struct tmp_dir dir;
    int fd;
    uint8_t *memory;
    struct run runs[3];
    struct cold cold;
};

/* Each page of the file begins with its number. */
static int setup(void **state)
{
    static struct fixture f;
    uint32_t page[PAGE_BYTES / 4] = {0};

    *state = &f;
    if (tmp_dir_make(&f.dir) < 0)
        return -1;
    f.fd = open(tmp_file(&f.dir, "arena"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (uint32_t i = 0; i < PAGES; i++) {
        page[0] = i;
        if (pwrite(f.fd, page, sizeof(page), (off_t)i * PAGE_BYTES) != (ssize_t)sizeof(page))
            return -1;
    }
    fdatasync(f.fd);
    posix_fadvise(f.fd, 0, 0, POSIX_FADV_DONTNEED);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    close(f->fd);
    tmp_dir_remove(&f->dir);
    return 0;
}

/* Guest memory of 2000 pages: [0, 4) open, [4, 1004) and [1500, 2000) closed, the rest anonymous.
 */
static void map(struct fixture *f)
{
    f->runs[0] = (struct run){.page = 0, .count = 4, .offset = 0};
    f->runs[1] = (struct run){.page = 4, .count = 1000, .offset = 100};
    f->runs[2] = (struct run){.page = 1500, .count = 500, .offset = 2000};
    f->memory = mmap(NULL, (size_t)2000 * PAGE_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f->memory != MAP_FAILED);
    for (int i = 0; i < 3; i++)
        assert_true(mmap(f->memory + (size_t)f->runs[i].page * PAGE_BYTES,
                         (size_t)f->runs[i].count * PAGE_BYTES,
                         i ? PROT_NONE : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, f->fd,
                         (off_t)(f->runs[i].offset * PAGE_BYTES)) != MAP_FAILED);
    f->cold = (struct cold){.memory = f->memory,
                            .runs = f->runs,
                            .nruns = 3,
                            .run_pages_min = 8,
                            .fd = f->fd,
                            .closed = true};
}

static uint32_t number_at(const struct fixture *f, uint32_t page)
{
    return *(volatile uint32_t *)(void *)(f->memory + (size_t)page * PAGE_BYTES);
}

static void test_a_touch_opens_its_block_only(void **state)
{
    struct fixture *f = *state;

    signals_put_back();
    map(f);
    cold_enter(&f->cold);
    assert_int_equal(number_at(f, 0), 0);
    assert_int_equal(f->cold.blocks, 0);
    assert_int_equal(number_at(f, 4), 100); /* the first of a run: a block that begins before it */
    assert_int_equal(f->cold.blocks, 1);
    assert_int_equal(number_at(f, 15), 111);
    assert_int_equal(f->cold.blocks, 1);
    assert_int_equal(number_at(f, 16), 112);
    assert_int_equal(f->cold.blocks, 2);
    assert_int_equal(number_at(f, 1999), 2499);   /* the last of a run */
    f->memory[(size_t)1000 * PAGE_BYTES + 8] = 7; /* a write */
    assert_int_equal(number_at(f, 1000), 1096);
    assert_int_equal(f->cold.blocks, 4);
    assert_int_equal(number_at(f, 1200), 0); /* no run's */
    cold_leave();
    munmap(f->memory, (size_t)2000 * PAGE_BYTES);
}

static void test_many_blocks_open_all(void **state)
{
    struct fixture *f = *state;
    const struct run *last = &f->runs[2];

    signals_put_back();
    map(f);
    cold_enter(&f->cold);
    for (uint32_t i = 0; i <= COLD_BLOCKS_MAX; i++) {
        assert_true(f->cold.closed);
        assert_int_equal(number_at(f, 16 + i * COLD_BLOCK_PAGES), 112 + i * COLD_BLOCK_PAGES);
    }
    assert_false(f->cold.closed);
    cold_leave();
    for (uint32_t i = 0; i < last->count; i++) /* without the handler */
        assert_int_equal(number_at(f, last->page + i), last->offset + i);
    munmap(f->memory, (size_t)2000 * PAGE_BYTES);
}

/* How a child ends that touches the page. */
static int end_of(struct fixture *f, uint32_t page, bool entered)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        sigaction(SIGSEGV, &kept[0], NULL);
        if (entered)
            cold_enter(&f->cold);
        _exit((int)(number_at(f, page) & 1));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void test_other_faults_end_the_process(void **state)
{
    struct fixture *f = *state;

    signals_put_back();
    map(f);
    mprotect(f->memory + (size_t)1200 * PAGE_BYTES, PAGE_BYTES, PROT_NONE);
    assert_int_equal(end_of(f, 4, true), 0);
    assert_int_equal(end_of(f, 4, false), SIGSEGV);
    assert_int_equal(end_of(f, 1200, true), SIGSEGV);
    munmap(f->memory, (size_t)2000 * PAGE_BYTES);
}

/* --- under a guest --- */

static void change(struct rig *r, struct guest *g, int version)
{
    char body[256];

    snprintf(body, sizeof(body),
             "{\"metadata\":{\"name\":\"a\",\"namespace\":\"test\",\"uid\":\"u\","
             "\"resourceVersion\":\"%d\"}}",
             version);
    rig_change(r, g, "test/a", body);
    assert_true(rig_settle(r, g, 30));
}

static void test_a_guest_wakes_from_a_cold_disk_with_all_of_its_memory(void **state)
{
    static const char *const env[] = {"SEED=3", "MEMORY_MIB=4", "DIRTY_KIB=2048", NULL};
    struct fixture *f = *state;
    struct rig r = {0};
    struct guest *g;
    unsigned fetched = 0;

    unlink(tmp_file(&f->dir, "arena"));
    assert_true(rig_open(&r, f->dir.path, 1, true));
    signals_put_back();
    g = rig_add(&r, "ledger", "ledger", env, NULL);
    assert_non_null(g);
    for (int i = 1; i <= 10; i++) {
        char expect[64];

        change(&r, g, i);
        snprintf(expect, sizeof(expect), "\"events\":\"%d\"", i);
        assert_non_null(strstr(r.last_body, expect));
        assert_non_null(strstr(r.last_body, "\"errors\":\"0\""));
        assert_non_null(strstr(r.last_body, "\"starts\":\"1\""));
        assert_int_equal(fdatasync(arena_fd(r.arena)), 0);
        assert_int_equal(posix_fadvise(arena_fd(r.arena), 0, 0, POSIX_FADV_DONTNEED), 0);
        fetched += snapshot_check_header(g->snapshot, r.arena, true, NULL) < 0;
    }
    assert_int_equal(g->counts.fresh_starts, 1);
    assert_true(fetched > 0); /* else the file system keeps all, and nothing was cold */
    rig_close(&r);
}

/* --- a file system that cannot say what is in the page cache --- */

static ssize_t never_knows(void *ctx, int fd, const struct iovec *iov, int n, off_t offset,
                           int flags)
{
    if (!flags)
        return disk_real.preadv2(ctx, fd, iov, n, offset, flags);
    errno = EOPNOTSUPP;
    return -1;
}

static struct {
    unsigned woken, fetched;
} wakes;

static void note_wake(struct rig *r, const struct guest *g, enum guest_event ev)
{
    (void)r;
    if ((ev != GE_DONE && ev != GE_SLEPT) || !g->awake->woke)
        return;
    wakes.woken++;
    wakes.fetched += g->awake->fetched;
}

/* Neither a worker nor the loop, where quick guests run, waits for such a disk: an I/O thread has
 * read what they read. */
static void test_without_nowait_io_threads_read_first(void **state)
{
    static const char *const env[] = {"SEED=3", "MEMORY_MIB=1", "DIRTY_KIB=4", NULL};
    struct fixture *f = *state;
    struct disk disk = disk_real;
    struct rig r = {.disk = &disk, .observe = note_wake};
    struct guest *g;

    disk.preadv2 = never_knows;
    unlink(tmp_file(&f->dir, "arena"));
    assert_true(rig_open(&r, f->dir.path, 1, true));
    signals_put_back();
    g = rig_add(&r, "ledger", "ledger", env, NULL);
    assert_non_null(g);
    for (int i = 1; i <= 20; i++)
        change(&r, g, i);
    assert_true(wakes.woken >= 19);
    assert_int_equal(wakes.fetched, wakes.woken);
    assert_int_equal(g->counts.fresh_starts, 1);
    assert_int_equal(g->counts.failures + g->counts.traps, 0);
    rig_close(&r);
}

/* How many mappings a process may have. */
static size_t mappings_max(void)
{
    char text[32] = "";
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text) - 1);

    assert_true(n > 0);
    close(fd);
    return strtoul(text, NULL, 10);
}

/* Until the kernel allows no more; the address space that took them. */
static uint8_t *mappings_use_up(size_t *len)
{
    size_t max = mappings_max(), n = 0;
    uint8_t *m;

    *len = 2 * max * PAGE_BYTES;
    m = mmap(NULL, *len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(m != MAP_FAILED);
    while (n < max && mprotect(m + 2 * n * PAGE_BYTES, PAGE_BYTES, PROT_READ) == 0)
        n++;
    assert_true(n < max);
    return m;
}

/* A block cannot be opened alone then; its run can. */
static void test_a_touch_without_mappings_left_opens_the_run(void **state)
{
    struct fixture *f = *state;
    uint32_t got[2];
    uint8_t *full;
    size_t len;

    signals_put_back();
    map(f);
    full = mappings_use_up(&len);
    cold_enter(&f->cold);
    got[0] = number_at(f, 500);
    got[1] = number_at(f, 1003);
    cold_leave();
    munmap(full, len);
    assert_int_equal(got[0], 100 + 496);
    assert_int_equal(got[1], 100 + 999);
    assert_int_equal(f->cold.blocks, 1);
    assert_true(cold_open(&f->cold));
    assert_false(f->cold.closed);
    munmap(f->memory, (size_t)2000 * PAGE_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_touch_opens_its_block_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_touch_without_mappings_left_opens_the_run, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_many_blocks_open_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_faults_end_the_process, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_guest_wakes_from_a_cold_disk_with_all_of_its_memory,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_nowait_io_threads_read_first, setup, teardown),
    };
    struct engine *engine;
    struct err err = {0};

    signal(SIGSEGV, SIG_DFL); /* sanitizers have a handler of their own */
    /* In the daemon's order: the engine's handlers first. */
    if (engine_new(&engine, &session_calls, &err) < 0 || cold_install(&err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    signals_keep();
    engine_free(engine);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
