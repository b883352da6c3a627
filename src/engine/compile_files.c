/* The process of roost-compile that knows files: it never looks into the module or the image.
 *
 * It opens the module, starts the confined process with it, and puts the image that comes through a
 * pipe into a file. The image is whole or absent: it is written beside its name, synced and renamed
 * once the other process has ended well, because a torn one would be machine code of unknown
 * content. What was wrong is said by whoever found it; the other's exit status is passed on.
 */
#include "base/auto.h"
#include "base/hash.h"
#include "base/limits.h"
#include "engine/compile_parts.h"
#include "engine/imageseal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE_BYTES (64u * KIB)
#define FD_AWAY     10 /* above what the other process is to have */

static int open_module(int *out, const char *path, uint64_t *size, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0)
        return err_set(err,
                       errno == ENOENT   ? ERR_NOT_FOUND
                       : errno == EACCES ? ERR_DENIED
                                         : ERR_IO,
                       errno, "open");
    if (fstat(fd, &st) < 0)
        return err_set(err, ERR_IO, errno, "stat");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, 0, "this is no regular file");
    if ((uint64_t)st.st_size > MODULE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "module of %lld bytes, limit %u (MODULE_BYTES_MAX)",
                       (long long)st.st_size, MODULE_BYTES_MAX);
    *size = (uint64_t)st.st_size;
    *out = take_fd(&fd);
    return 0;
}

/* --- the other process --- */

static int say(const struct compile_args *args, const struct err *err)
{
    dprintf(compile_stderr(), "roost-compile: %s: %s\n", args->in, err->msg);
    return err_exit_status(err->code);
}

/* Puts the two files where compile_run looks for them. */
static int files_place(int module, int image, struct err *err)
{
    AUTO_CLOSE int in = fcntl(module, F_DUPFD_CLOEXEC, FD_AWAY);
    AUTO_CLOSE int out = image < 0 ? -1 : fcntl(image, F_DUPFD_CLOEXEC, FD_AWAY);

    if (in < 0 || dup2(in, COMPILE_FD_IN) < 0 ||
        (image >= 0 && (out < 0 || dup2(out, COMPILE_FD_OUT) < 0)))
        return err_set(err, ERR_IO, errno, "files");
    return 0;
}

/* Never returns. */
static void child(const struct compile_args *args, int module, int image, pid_t parent)
{
    struct err err = {0};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it ended before that was set */
        _exit(err_exit_status(ERR_IO));
    if (files_place(module, image, &err) < 0 || compile_confine(args, &err) < 0 ||
        compile_guard(args, &err) < 0 || compile_seal(&err) < 0 || compile_run(args, &err) < 0)
        _exit(say(args, &err));
    _exit(0);
}

/* Its exit status; a signal that nobody in it caught is a limit of the machine's. */
static int child_wait(pid_t pid, struct err *err)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(err, ERR_IO, errno, "wait");
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    return err_set(err, WTERMSIG(status) == SIGKILL ? ERR_LIMIT : ERR_UNSUPPORTED, 0,
                   "the compiler was ended by signal %d (%s)", WTERMSIG(status),
                   WTERMSIG(status) == SIGKILL ? "memory of the machine, or CPU time"
                                               : "a bug of it");
}

/* --- the image --- */

static int write_all(int fd, const char *data, size_t len, struct err *err)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_IO, errno, "write");
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int seal(int to, uint64_t bytes, uint64_t hash, struct err *err)
{
    uint8_t text[IMAGE_SEAL_BYTES];

    image_seal_put(text, bytes, hash);
    return write_all(to, (const char *)text, sizeof(text), err);
}

/* Whatever the other process sends, and not a byte more than an image may have; then its seal. */
static int receive(int from, int to, struct err *err)
{
    char piece[PIECE_BYTES];
    uint64_t total = 0;
    struct hash sum;

    hash_begin(&sum);
    for (;;) {
        ssize_t n = read(from, piece, sizeof(piece));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_IO, errno, "read");
        if (n == 0)
            return seal(to, total, hash_end(&sum), err);
        total += (uint64_t)n;
        if (total > IMAGE_BYTES_MAX)
            return err_set(err, ERR_LIMIT, 0, "image of more than %u bytes (IMAGE_BYTES_MAX)",
                           IMAGE_BYTES_MAX);
        if (write_all(to, piece, (size_t)n, err) < 0)
            return -1;
        hash_add(&sum, piece, (size_t)n);
    }
}

static int name_temporary(char *out, size_t cap, const char *path, struct err *err)
{
    int n = snprintf(out, cap, "%s.%d.tmp", path, (int)getpid());

    if (n < 0 || (size_t)n >= cap)
        return err_set(err, ERR_INVALID, 0, "the image's path is too long");
    return 0;
}

static int write_temporary(const char *path, int from, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return err_set(err, errno == EACCES ? ERR_DENIED : ERR_IO, errno, "create");
    if (receive(from, fd, err) < 0)
        return -1;
    return fsync(fd) < 0 ? err_set(err, ERR_IO, errno, "sync") : 0;
}

/* Waits for the first byte: a module that is refused leaves no trace, not even for a moment. */
static bool something_comes(int from)
{
    struct pollfd p = {.fd = from, .events = POLLIN};

    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
    return p.revents & POLLIN;
}

/* Returns the exit status of the other process, or -1 with err set. */
static int take_image(const char *path, int from, pid_t pid, struct err *err)
{
    char temporary[4096];
    int status;

    if (!something_comes(from))
        return child_wait(pid, err);
    if (name_temporary(temporary, sizeof(temporary), path, err) < 0)
        return -1;
    if (write_temporary(temporary, from, err) < 0) {
        unlink(temporary);
        return err_wrap(err, "image %s", temporary);
    }
    status = child_wait(pid, err);
    if (status == 0 && rename(temporary, path) < 0)
        status = err_set(err, ERR_IO, errno, "image %s: rename", path);
    if (status != 0)
        unlink(temporary);
    return status;
}

/* --- both --- */

static int start(struct compile_args *args, int *image, pid_t *pid, struct err *err)
{
    AUTO_CLOSE int module = -1;
    AUTO_CLOSE int to = -1;
    int ends[2] = {-1, -1};
    pid_t self = getpid();

    if (open_module(&module, args->in, &args->in_bytes, err) < 0)
        return -1;
    if (args->out && pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_IO, errno, "pipe");
    *image = ends[0];
    to = ends[1];
    *pid = fork();
    if (*pid < 0)
        return err_set(err, ERR_IO, errno, "fork");
    if (*pid == 0)
        child(args, module, to, self);
    return 0;
}

int compile_in_child(struct compile_args *args)
{
    AUTO_CLOSE int image = -1;
    struct err err = {0};
    pid_t pid = -1;
    int status;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    umask(077);
    if (start(args, &image, &pid, &err) < 0)
        return say(args, &err);
    status = args->out ? take_image(args->out, image, pid, &err) : child_wait(pid, &err);
    if (status >= 0)
        return status;
    kill(pid, SIGKILL); /* it may be waiting to send the rest */
    return say(args, &err);
}
