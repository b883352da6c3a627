#include "fault/seam.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
    atomic_uint calls, fired, nth;
    atomic_bool sticky;
    atomic_int sys;
} faults[SEAM_KINDS];

struct seam_watch seam_watch;

static bool here_only;
static _Thread_local bool here;

void seam_here_only(void)
{
    here_only = here = true;
}

void seam_arm(enum seam_kind kind, unsigned nth, bool sticky, int sys)
{
    atomic_store(&faults[kind].nth, 0);
    atomic_store(&faults[kind].calls, 0);
    atomic_store(&faults[kind].fired, 0);
    atomic_store(&faults[kind].sticky, sticky);
    atomic_store(&faults[kind].sys, sys);
    atomic_store(&faults[kind].nth, nth);
}

void seam_disarm(void)
{
    for (int k = 0; k < SEAM_KINDS; k++)
        atomic_store(&faults[k].nth, 0);
}

unsigned seam_fired(enum seam_kind kind)
{
    return atomic_load(&faults[kind].fired);
}

unsigned seam_calls(enum seam_kind kind)
{
    return atomic_load(&faults[kind].calls);
}

static bool fails(enum seam_kind kind)
{
    unsigned nth = atomic_load_explicit(&faults[kind].nth, memory_order_relaxed), n;

    if (nth == 0 || (kind == SEAM_ALLOC && here_only && !here))
        return false;
    n = atomic_fetch_add(&faults[kind].calls, 1) + 1;
    if (n < nth || (n > nth && !atomic_load(&faults[kind].sticky)))
        return false;
    atomic_fetch_add(&faults[kind].fired, 1);
    errno = atomic_load(&faults[kind].sys);
    return true;
}

/* --- allocations --- */

void *seam_malloc(size_t size);
void *seam_calloc(size_t n, size_t size);
void *seam_realloc(void *p, size_t size);
void *seam_reallocarray(void *p, size_t n, size_t size);
char *seam_strdup(const char *s);
char *seam_strndup(const char *s, size_t n);
int seam_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));

void *seam_malloc(size_t size)
{
    return fails(SEAM_ALLOC) ? NULL : malloc(size);
}

void *seam_calloc(size_t n, size_t size)
{
    return fails(SEAM_ALLOC) ? NULL : calloc(n, size);
}

void *seam_realloc(void *p, size_t size)
{
    return fails(SEAM_ALLOC) ? NULL : realloc(p, size);
}

void *seam_reallocarray(void *p, size_t n, size_t size)
{
    return fails(SEAM_ALLOC) ? NULL : reallocarray(p, n, size);
}

char *seam_strdup(const char *s)
{
    return fails(SEAM_ALLOC) ? NULL : strdup(s);
}

char *seam_strndup(const char *s, size_t n)
{
    return fails(SEAM_ALLOC) ? NULL : strndup(s, n);
}

int seam_asprintf(char **out, const char *format, ...)
{
    va_list args;
    int n;

    if (fails(SEAM_ALLOC))
        return -1;
    va_start(args, format);
    n = vasprintf(out, format, args);
    va_end(args);
    return n;
}

/* --- memory that is mapped, files that are read --- */

void *seam_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
int seam_madvise(void *at, size_t len, int advice);
ssize_t seam_pread(int fd, void *buf, size_t len, off_t offset);
ssize_t seam_preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags);

void *seam_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    return fails(SEAM_MAP) ? MAP_FAILED : mmap(at, len, prot, flags, fd, offset);
}

int seam_madvise(void *at, size_t len, int advice)
{
    return fails(SEAM_MAP) ? -1 : madvise(at, len, advice);
}

ssize_t seam_pread(int fd, void *buf, size_t len, off_t offset)
{
    return fails(SEAM_READ) ? -1 : pread(fd, buf, len, offset);
}

ssize_t seam_preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
    return fails(SEAM_READ) ? -1 : preadv2(fd, iov, n, offset, flags);
}

/* --- LMDB's I/O --- */

ssize_t seam_db_pwrite(int fd, const void *buf, size_t len, off_t offset);
ssize_t seam_db_pread(int fd, void *buf, size_t len, off_t offset);
ssize_t seam_db_writev(int fd, const struct iovec *iov, int n);
int seam_db_fdatasync(int fd);
int seam_db_fsync(int fd);
int seam_db_ftruncate(int fd, off_t len);
int seam_db_open(const char *path, int flags, ...);
void *seam_db_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *seam_db_malloc(size_t size);
void *seam_db_calloc(size_t n, size_t size);
void *seam_db_realloc(void *p, size_t size);
char *seam_db_strdup(const char *s);

static void before(enum seam_op op, int fd, size_t len, off_t offset)
{
    if (seam_watch.before)
        seam_watch.before(op, fd, len, offset);
}

static void after(enum seam_op op, int fd)
{
    int saved = errno;

    if (seam_watch.after)
        seam_watch.after(op, fd);
    errno = saved;
}

ssize_t seam_db_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    ssize_t n;

    if (fails(SEAM_DB))
        return -1;
    before(SEAM_WRITE, fd, len, offset);
    n = pwrite(fd, buf, len, offset);
    after(SEAM_WRITE, fd);
    return n;
}

ssize_t seam_db_pread(int fd, void *buf, size_t len, off_t offset)
{
    return fails(SEAM_DB) ? -1 : pread(fd, buf, len, offset);
}

ssize_t seam_db_writev(int fd, const struct iovec *iov, int n)
{
    size_t len = 0;
    ssize_t wrote;

    if (fails(SEAM_DB))
        return -1;
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    before(SEAM_WRITE, fd, len, lseek(fd, 0, SEEK_CUR));
    wrote = writev(fd, iov, n);
    after(SEAM_WRITE, fd);
    return wrote;
}

static int synced(int (*sync_)(int fd), int fd)
{
    int rc;

    if (fails(SEAM_DB))
        return -1;
    before(SEAM_SYNC, fd, 0, 0);
    rc = sync_(fd);
    after(SEAM_SYNC, fd);
    return rc;
}

int seam_db_fdatasync(int fd)
{
    return synced(fdatasync, fd);
}

int seam_db_fsync(int fd)
{
    return synced(fsync, fd);
}

int seam_db_ftruncate(int fd, off_t len)
{
    return fails(SEAM_DB) ? -1 : ftruncate(fd, len);
}

int seam_db_open(const char *path, int flags, ...)
{
    va_list args;
    int mode;

    va_start(args, flags);
    mode = va_arg(args, int);
    va_end(args);
    return fails(SEAM_DB) ? -1 : open(path, flags, mode);
}

void *seam_db_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    return fails(SEAM_DB) ? MAP_FAILED : mmap(at, len, prot, flags, fd, offset);
}

void *seam_db_malloc(size_t size)
{
    return fails(SEAM_DB) ? NULL : malloc(size);
}

void *seam_db_calloc(size_t n, size_t size)
{
    return fails(SEAM_DB) ? NULL : calloc(n, size);
}

void *seam_db_realloc(void *p, size_t size)
{
    return fails(SEAM_DB) ? NULL : realloc(p, size);
}

char *seam_db_strdup(const char *s)
{
    return fails(SEAM_DB) ? NULL : strdup(s);
}

/* --- libuv's sockets --- */

ssize_t seam_net_read(int fd, void *buf, size_t len);
ssize_t seam_net_write(int fd, const void *buf, size_t len);
ssize_t seam_net_writev(int fd, const struct iovec *iov, int n);
int seam_net_socket(int domain, int type, int protocol);
int seam_net_connect(int fd, const struct sockaddr *to, socklen_t len);
int seam_net_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int seam_net_setsockopt(int fd, int level, int name, const void *value, socklen_t len);

static bool is_socket(int fd)
{
    socklen_t len = sizeof(int);
    int type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
}

ssize_t seam_net_read(int fd, void *buf, size_t len)
{
    return is_socket(fd) && fails(SEAM_NET) ? -1 : read(fd, buf, len);
}

ssize_t seam_net_write(int fd, const void *buf, size_t len)
{
    return is_socket(fd) && fails(SEAM_NET) ? -1 : write(fd, buf, len);
}

ssize_t seam_net_writev(int fd, const struct iovec *iov, int n)
{
    return is_socket(fd) && fails(SEAM_NET) ? -1 : writev(fd, iov, n);
}

int seam_net_socket(int domain, int type, int protocol)
{
    return fails(SEAM_NET) ? -1 : socket(domain, type, protocol);
}

int seam_net_connect(int fd, const struct sockaddr *to, socklen_t len)
{
    return fails(SEAM_NET) ? -1 : connect(fd, to, len);
}

int seam_net_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    return fails(SEAM_NET) ? -1 : getsockopt(fd, level, name, value, len);
}

int seam_net_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    return fails(SEAM_NET) ? -1 : setsockopt(fd, level, name, value, len);
}
