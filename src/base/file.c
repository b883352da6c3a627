#include "base/file.h"

#include "base/auto.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static enum err_code code_of_errno(int sys)
{
    if (sys == ENOENT || sys == ENOTDIR)
        return ERR_NOT_FOUND;
    return sys == EACCES || sys == EPERM ? ERR_DENIED : ERR_IO;
}

static int too_large(const char *path, size_t max, struct err *err)
{
    err_set(err, ERR_LIMIT, 0, "%s: larger than %zu bytes", path, max - 1);
    return err_blame(err, REASON_FILE_TOO_LARGE);
}

static int read_all(struct buf *out, int fd, const char *path, struct err *err)
{
    for (;;) {
        ssize_t n;

        if (out->len == out->max)
            return too_large(path, out->max, err);
        /* Less than 4 KiB at the end, so that growing stops at the limit and not past it. */
        if (buf_reserve(out, out->max - out->len < 4096 ? out->max - out->len : 4096, err) < 0)
            return err_wrap(err, "%s", path);
        n = read(fd, out->data + out->len, out->cap - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, code_of_errno(errno), errno, "%s: read", path);
        if (n == 0)
            return 0;
        out->len += (size_t)n;
    }
}

int file_read(struct buf *out, const char *path, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0)
        return err_set(err, code_of_errno(errno), errno, "%s", path);
    if (fstat(fd, &st) < 0)
        return err_set(err, ERR_IO, errno, "%s", path);
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return err_set(err, ERR_INVALID, 0, "%s: not a file", path);
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size >= out->max)
        return too_large(path, out->max, err);
    /* At once, so that no outgrown copy of a secret is left behind. */
    if (S_ISREG(st.st_mode) && buf_reserve(out, (size_t)st.st_size + 1, err) < 0)
        return err_wrap(err, "%s", path);
    if (S_ISFIFO(st.st_mode) && fcntl(fd, F_SETFL, 0) < 0) /* kubectl ... <(a command) */
        return err_set(err, ERR_IO, errno, "%s", path);
    return read_all(out, fd, path, err);
}
