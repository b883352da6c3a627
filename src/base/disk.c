#include "base/disk.h"

#include "base/limits.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#undef disk_error /* here is the function itself */

/* --- the real functions --- */

static int real_open(void *ctx, const char *path, int flags, mode_t mode)
{
    (void)ctx;
    return open(path, flags, mode);
}

static int real_fstat(void *ctx, int fd, struct stat *st)
{
    (void)ctx;
    return fstat(fd, st);
}

static ssize_t real_pread(void *ctx, int fd, void *buf, size_t len, off_t offset)
{
    (void)ctx;
    return pread(fd, buf, len, offset);
}

static ssize_t real_preadv2(void *ctx, int fd, const struct iovec *iov, int n, off_t offset,
                            int flags)
{
    (void)ctx;
    return preadv2(fd, iov, n, offset, flags);
}

static ssize_t real_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    (void)ctx;
    return pwrite(fd, buf, len, offset);
}

static ssize_t real_pwritev(void *ctx, int fd, const struct iovec *iov, int n, off_t offset)
{
    (void)ctx;
    return pwritev(fd, iov, n, offset);
}

static int real_ftruncate(void *ctx, int fd, off_t len)
{
    (void)ctx;
    return ftruncate(fd, len);
}

static int real_fallocate(void *ctx, int fd, int mode, off_t offset, off_t len)
{
    (void)ctx;
    return fallocate(fd, mode, offset, len);
}

static int real_fsync(void *ctx, int fd)
{
    (void)ctx;
    return fsync(fd);
}

static int real_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return rename(from, to);
}

static void *real_mmap(void *ctx, void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    (void)ctx;
    return mmap(at, len, prot, flags, fd, offset);
}

static int real_madvise(void *ctx, void *at, size_t len, int advice)
{
    (void)ctx;
    return madvise(at, len, advice);
}

const struct disk disk_real = {
    .open = real_open,
    .fstat = real_fstat,
    .pread = real_pread,
    .preadv2 = real_preadv2,
    .pwrite = real_pwrite,
    .pwritev = real_pwritev,
    .ftruncate = real_ftruncate,
    .fallocate = real_fallocate,
    .fsync = real_fsync,
    .rename = real_rename,
    .mmap = real_mmap,
    .madvise = real_madvise,
};

/* --- what their results mean --- */

int disk_error(struct err *err, int sys, const char *what)
{
    enum err_code code = ERR_IO;

    switch (sys) {
    case EAGAIN:
        code = ERR_AGAIN;
        break;
    case EFAULT:
        code = ERR_CORRUPT;
        break;
    case ENOMEM:
        code = ERR_NOMEM;
        break;
    case ENOENT:
        code = ERR_NOT_FOUND;
        break;
    case EACCES:
    case EPERM:
        code = ERR_DENIED;
        break;
    default:
        break;
    }
    err_set(err, code, sys, "%s", what);
    if (code != ERR_IO)
        return -1;
    return err_blame(err, sys == ENOSPC || sys == EDQUOT ? REASON_DISK_FULL : REASON_DISK_FAULT);
}

static ssize_t read_some(const struct disk *disk, int fd, void *buf, size_t len, uint64_t offset,
                         int flags)
{
    struct iovec iov = {.iov_base = buf, .iov_len = len};

    if (flags == 0)
        return disk->pread(disk->ctx, fd, buf, len, (off_t)offset);
    return disk->preadv2(disk->ctx, fd, &iov, 1, (off_t)offset, flags);
}

int disk_read(const struct disk *disk, int fd, void *buf, size_t len, uint64_t offset, int flags,
              struct err *err)
{
    uint8_t *at = buf;
    unsigned tries = 0;

    while (len) {
        ssize_t n = read_some(disk, fd, at, len, offset, flags);

        if (n < 0) {
            if (errno == EINTR && ++tries < DISK_RETRIES_MAX)
                continue;
            if (flags && (errno == EOPNOTSUPP || errno == EINVAL))
                errno = EAGAIN;
            return disk_error(err, errno, "read");
        }
        if (n == 0)
            return err_set(err, ERR_CORRUPT, 0, "read: the file ends before byte %" PRIu64,
                           offset + len);
        at += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* Takes n written bytes off the pieces; how many pieces are done. */
static int iov_advance(struct iovec *iov, int pieces, size_t n)
{
    int done = 0;

    while (done < pieces && n >= iov[done].iov_len)
        n -= iov[done++].iov_len;
    if (n) {
        assert(done < pieces);
        iov[done].iov_base = (uint8_t *)iov[done].iov_base + n;
        iov[done].iov_len -= n;
    }
    return done;
}

int disk_writev(const struct disk *disk, int fd, struct iovec *iov, int n, uint64_t offset,
                struct err *err)
{
    unsigned tries = 0;

    assert(n <= (int)DISK_IOV_MAX);
    while (n) {
        ssize_t wrote =
            n == 1 ? disk->pwrite(disk->ctx, fd, iov->iov_base, iov->iov_len, (off_t)offset)
                   : disk->pwritev(disk->ctx, fd, iov, n, (off_t)offset);
        int done;

        if (wrote < 0) {
            if (errno == EINTR && ++tries < DISK_RETRIES_MAX)
                continue;
            return disk_error(err, errno, "write");
        }
        if (wrote == 0) /* never for a file; going on would not end */
            return err_set(err, ERR_IO, EIO, "write: nothing was written");
        done = iov_advance(iov, n, (size_t)wrote);
        iov += done;
        n -= done;
        offset += (uint64_t)wrote;
    }
    return 0;
}

int disk_write(const struct disk *disk, int fd, const void *buf, size_t len, uint64_t offset,
               struct err *err)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

    return len ? disk_writev(disk, fd, &iov, 1, offset, err) : 0;
}
