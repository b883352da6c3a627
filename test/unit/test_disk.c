/* base/disk: short counts and signals are gone on after, and each errno means what it should. */
#include "base/disk.h"

#include "base/limits.h"
#include "support/fault_disk.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <fcntl.h>

struct fixture {
    struct tmp_dir dir;
    struct fault_disk fault;
    int fd;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f || tmp_dir_make(&f->dir) < 0)
        return -1;
    fault_disk_init(&f->fault);
    f->fd = open(tmp_file(&f->dir, "file"), O_RDWR | O_CREAT, 0600);
    *state = f;
    return f->fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    close(f->fd);
    tmp_dir_remove(&f->dir);
    free(f);
    return 0;
}

static void test_short_writes_and_reads_are_completed(void **state)
{
    struct fixture *f = *state;
    char out[3000], in[sizeof(out)];
    struct iovec iov[3] = {{out, 1000}, {out + 1000, 999}, {out + 1999, 1001}};
    struct err err = {0};

    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (char)(i * 7);
    f->fault.nth = 1;
    f->fault.sticky = true;
    f->fault.sys = 0;
    assert_int_equal(disk_writev(&f->fault.disk, f->fd, iov, 3, 100, &err), 0);
    assert_int_equal(disk_read(&f->fault.disk, f->fd, in, sizeof(in), 100, 0, &err), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_true(f->fault.fired > 10);
    assert_int_equal(err.code, ERR_NONE);
}

static void test_each_errno_has_its_code(void **state)
{
    static const struct {
        int sys;
        enum err_code code;
    } table[] = {{EIO, ERR_IO},        {ENOSPC, ERR_IO},    {EFAULT, ERR_CORRUPT},
                 {EAGAIN, ERR_AGAIN},  {ENOMEM, ERR_NOMEM}, {ENOENT, ERR_NOT_FOUND},
                 {EACCES, ERR_DENIED}, {EFBIG, ERR_IO}};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct err err = {0};

        fault_disk_init(&f->fault);
        f->fault.nth = 1;
        f->fault.sys = table[i].sys;
        assert_int_equal(disk_write(&f->fault.disk, f->fd, "x", 1, 0, &err), -1);
        assert_int_equal(err.code, table[i].code);
        assert_int_equal(err.sys, table[i].sys);
    }
}

static void test_signals_are_retried_but_not_for_ever(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    char c;

    f->fault.nth = 1;
    f->fault.sys = EINTR;
    assert_int_equal(disk_write(&f->fault.disk, f->fd, "x", 1, 0, &err), 0);
    f->fault.sticky = true;
    assert_int_equal(disk_write(&f->fault.disk, f->fd, "x", 1, 0, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_int_equal(disk_read(&f->fault.disk, f->fd, &c, 1, 0, 0, &err), -1);
    assert_true(f->fault.calls >= 2 * DISK_RETRIES_MAX);
}

static void test_end_of_file_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    char in[10];

    assert_int_equal(disk_write(&f->fault.disk, f->fd, "12345", 5, 0, &err), 0);
    assert_int_equal(disk_read(&f->fault.disk, f->fd, in, 10, 0, 0, &err), -1);
    assert_int_equal(err.code, ERR_CORRUPT);
}

static void test_a_file_system_that_cannot_tell_means_not_now(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    char c;

    f->fault.nth = 1;
    f->fault.sys = EOPNOTSUPP;
    assert_int_equal(disk_read(&f->fault.disk, f->fd, &c, 1, 0, RWF_NOWAIT, &err), -1);
    assert_int_equal(err.code, ERR_AGAIN);
}

static void test_writing_from_unreadable_memory_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    char *map;

    /* What a snapshot is mapped from after its file was cut. */
    assert_int_equal(ftruncate(f->fd, 8192), 0);
    map = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, f->fd, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(ftruncate(f->fd, 4096), 0);
    assert_int_equal(disk_write(&disk_real, f->fd, map, 8192, 0, &err), -1);
    assert_int_equal(err.code, ERR_CORRUPT);
    munmap(map, 8192);
}

static void test_a_write_of_nothing_does_not_hang(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};

    assert_int_equal(disk_write(&disk_real, f->fd, "", 0, 0, &err), 0);
    assert_int_equal(disk_read(&disk_real, f->fd, NULL, 0, 0, 0, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_short_writes_and_reads_are_completed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_each_errno_has_its_code, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_signals_are_retried_but_not_for_ever, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_end_of_file_is_corrupt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_system_that_cannot_tell_means_not_now, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_writing_from_unreadable_memory_is_corrupt, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_write_of_nothing_does_not_hang, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
