/* The disk seam: the system calls that snapshots rest on, as a struct of functions.
 *
 * Production uses disk_real; a test puts its own functions there and fails the N-th call, once or
 * from then on, writes short, or says ENOSPC. The functions have the system calls' own
 * conventions (-1 and errno, short counts); the helpers below them are the one place where those
 * are turned into errors: they go on after short counts and signals, and know what each errno
 * means to us.
 */
#ifndef ROOST_BASE_DISK_H
#define ROOST_BASE_DISK_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct disk {
    int (*open)(void *ctx, const char *path, int flags, mode_t mode);
    int (*fstat)(void *ctx, int fd, struct stat *st);
    ssize_t (*pread)(void *ctx, int fd, void *buf, size_t len, off_t offset);
    ssize_t (*preadv2)(void *ctx, int fd, const struct iovec *iov, int n, off_t offset, int flags);
    ssize_t (*pwrite)(void *ctx, int fd, const void *buf, size_t len, off_t offset);
    ssize_t (*pwritev)(void *ctx, int fd, const struct iovec *iov, int n, off_t offset);
    int (*ftruncate)(void *ctx, int fd, off_t len);
    int (*fallocate)(void *ctx, int fd, int mode, off_t offset, off_t len);
    int (*fsync)(void *ctx, int fd);
    int (*rename)(void *ctx, const char *from, const char *to);
    void *(*mmap)(void *ctx, void *at, size_t len, int prot, int flags, int fd, off_t offset);
    int (*madvise)(void *ctx, void *at, size_t len, int advice);
    void *ctx;
};

/* The system calls themselves. */
extern const struct disk disk_real;

/* Sets err for an errno of a disk call. EFAULT is ERR_CORRUPT: the memory that was to be written
 * stands for a file that ends before it or cannot be read. EAGAIN is ERR_AGAIN, ENOMEM ERR_NOMEM,
 * ENOENT ERR_NOT_FOUND, EACCES and EPERM ERR_DENIED, all else ERR_IO. Always -1. */
int disk_error(struct err *err, int sys, const char *what);
#define disk_error(...) err_always(disk_error(__VA_ARGS__))

/* Reads exactly len bytes. flags: 0 or RWF_NOWAIT (ERR_AGAIN: not in the page cache, or the file
 * system cannot tell; any thread). ERR_CORRUPT: the file ends before. */
int disk_read(const struct disk *disk, int fd, void *buf, size_t len, uint64_t offset, int flags,
              struct err *err) ERR_CHECK;
/* Writes all of it. */
int disk_write(const struct disk *disk, int fd, const void *buf, size_t len, uint64_t offset,
               struct err *err) ERR_CHECK;
/* The same for up to DISK_IOV_MAX pieces; iov is used up. */
int disk_writev(const struct disk *disk, int fd, struct iovec *iov, int n, uint64_t offset,
                struct err *err) ERR_CHECK;

#endif
