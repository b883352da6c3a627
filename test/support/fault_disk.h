/* A disk whose N-th call fails, for torture loops.
 *
 * Wraps disk_real. Each call is counted; the one with the number `nth` (and with `sticky` all later
 * ones) fails with `sys`, or, where `sys` is 0, writes only a part. One for each test; any thread.
 */
#ifndef ROOST_TEST_FAULT_DISK_H
#define ROOST_TEST_FAULT_DISK_H

#include "base/disk.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

struct fault_disk {
    struct disk disk;
    atomic_uint calls; /* so far */
    atomic_uint nth;   /* 0: none fails */
    atomic_bool sticky;
    atomic_int sys; /* errno; 0: short writes and reads */
    atomic_uint fired;
};

static inline bool fault_now(void *ctx)
{
    struct fault_disk *f = ctx;
    unsigned n = atomic_fetch_add(&f->calls, 1) + 1;

    if (f->nth == 0 || n < f->nth || (n > f->nth && !f->sticky))
        return false;
    atomic_fetch_add(&f->fired, 1);
    errno = f->sys;
    return true;
}

/* True: the call fails. Else *len may be cut: a short one. */
static inline bool fault_len(void *ctx, size_t *len)
{
    struct fault_disk *f = ctx;

    if (!fault_now(ctx))
        return false;
    if (f->sys)
        return true;
    *len = *len > 1 ? *len / 2 : *len;
    return false;
}

static inline int fault_open(void *ctx, const char *path, int flags, mode_t mode)
{
    return fault_now(ctx) ? -1 : disk_real.open(NULL, path, flags, mode);
}

static inline int fault_fstat(void *ctx, int fd, struct stat *st)
{
    const struct fault_disk *f = ctx;

    return fault_now(ctx) && f->sys ? -1 : disk_real.fstat(NULL, fd, st);
}

static inline ssize_t fault_pread(void *ctx, int fd, void *buf, size_t len, off_t offset)
{
    return fault_len(ctx, &len) ? -1 : disk_real.pread(NULL, fd, buf, len, offset);
}

static inline ssize_t fault_preadv2(void *ctx, int fd, const struct iovec *iov, int n, off_t offset,
                                    int flags)
{
    struct iovec one = iov[0];

    if (fault_len(ctx, &one.iov_len))
        return -1;
    return one.iov_len == iov[0].iov_len ? disk_real.preadv2(NULL, fd, iov, n, offset, flags)
                                         : disk_real.preadv2(NULL, fd, &one, 1, offset, flags);
}

static inline ssize_t fault_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    return fault_len(ctx, &len) ? -1 : disk_real.pwrite(NULL, fd, buf, len, offset);
}

static inline ssize_t fault_pwritev(void *ctx, int fd, const struct iovec *iov, int n, off_t offset)
{
    struct iovec one = iov[0];

    if (fault_len(ctx, &one.iov_len))
        return -1;
    return one.iov_len == iov[0].iov_len ? disk_real.pwritev(NULL, fd, iov, n, offset)
                                         : disk_real.pwritev(NULL, fd, &one, 1, offset);
}

static inline int fault_ftruncate(void *ctx, int fd, off_t len)
{
    return fault_now(ctx) ? -1 : disk_real.ftruncate(NULL, fd, len);
}

static inline int fault_fallocate(void *ctx, int fd, int mode, off_t offset, off_t len)
{
    return fault_now(ctx) ? -1 : disk_real.fallocate(NULL, fd, mode, offset, len);
}

static inline int fault_fsync(void *ctx, int fd)
{
    return fault_now(ctx) ? -1 : disk_real.fsync(NULL, fd);
}

static inline int fault_rename(void *ctx, const char *from, const char *to)
{
    return fault_now(ctx) ? -1 : disk_real.rename(NULL, from, to);
}

static inline void *fault_mmap(void *ctx, void *at, size_t len, int prot, int flags, int fd,
                               off_t offset)
{
    return fault_now(ctx) ? MAP_FAILED : disk_real.mmap(NULL, at, len, prot, flags, fd, offset);
}

static inline int fault_madvise(void *ctx, void *at, size_t len, int advice)
{
    return fault_now(ctx) ? -1 : disk_real.madvise(NULL, at, len, advice);
}

/* In place, since the disk points to it. Set nth, sticky and sys when they are to count. */
static inline void fault_disk_init(struct fault_disk *f)
{
    f->disk = (struct disk){
        .open = fault_open,
        .fstat = fault_fstat,
        .pread = fault_pread,
        .preadv2 = fault_preadv2,
        .pwrite = fault_pwrite,
        .pwritev = fault_pwritev,
        .ftruncate = fault_ftruncate,
        .fallocate = fault_fallocate,
        .fsync = fault_fsync,
        .rename = fault_rename,
        .mmap = fault_mmap,
        .madvise = fault_madvise,
        .ctx = f,
    };
    atomic_store(&f->calls, 0);
    atomic_store(&f->fired, 0);
    f->nth = 0;
    f->sticky = false;
    f->sys = EIO;
}

#endif
