/* The lock is flock(2) on DIR/lock, which the kernel drops with the process; the pid in that file
 * is for the message only. DIR/boot_id holds the boot in which all that is here was last known to
 * be whole. It is neither synced nor replaced atomically: whatever else a crash leaves there is not
 * the id of the next boot, and means "check".
 */
#include "base/state_dir.h"

#include "base/auto.h"
#include "base/disk.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define BOOT_ID_FILE  "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_BYTES 37 /* a UUID and a newline, or what a kernel has instead */

struct state_dir {
    char *path;
    int dir, lock;
};

/* --- opening --- */

static int dir_open(const char *path, struct err *err)
{
    int fd;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return disk_error(err, errno, "create");
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? disk_error(err, errno, "open") : fd;
}

static int dir_check(int fd, const char *path, struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return disk_error(err, errno, "stat");
    if (st.st_uid != geteuid())
        err_set(err, ERR_DENIED, 0,
                "belongs to user %u, but this is user %u: chown it, or use another directory",
                st.st_uid, geteuid());
    else if (st.st_mode & (S_IRWXG | S_IRWXO))
        err_set(err, ERR_DENIED, 0, "others may enter it (mode %04o): run chmod 700 %s",
                st.st_mode & 07777u, path);
    else
        return 0;
    return err_blame(err, REASON_STATE_UNSAFE);
}

static int in_use(int lock, struct err *err)
{
    char pid[16] = "";
    ssize_t n = pread(lock, pid, sizeof(pid) - 1, 0);

    /* The one that has it may not have written its pid yet. */
    if (n <= 0 || strspn(pid, "0123456789") == 0)
        err_set(err, ERR_EXISTS, 0, "in use by another process: stop it, or use another directory");
    else
        err_set(err, ERR_EXISTS, 0, "in use by process %.*s: stop it, or use another directory",
                (int)strspn(pid, "0123456789"), pid);
    return err_blame(err, REASON_STATE_IN_USE);
}

static int lock_take(int dir, struct err *err)
{
    AUTO_CLOSE int lock = openat(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    char pid[16];
    ssize_t n;

    if (lock < 0)
        return disk_error(err, errno, "open the lock");
    if (flock(lock, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? in_use(lock, err) : disk_error(err, errno, "lock");
    n = snprintf(pid, sizeof(pid), "%d\n", getpid());
    if (ftruncate(lock, 0) < 0 || pwrite(lock, pid, (size_t)n, 0) != n)
        return disk_error(err, errno ? errno : EIO, "write the lock");
    return take_fd(&lock);
}

/* --- boots --- */

/* Reads a small file into out, which is empty where there is none. */
static void read_id(int dir, const char *name, char out[BOOT_ID_BYTES + 1])
{
    AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, BOOT_ID_BYTES);

    out[n > 0 ? n : 0] = 0;
}

uint64_t state_dir_boot(void)
{
    char now[BOOT_ID_BYTES + 1];

    read_id(AT_FDCWD, BOOT_ID_FILE, now);
    return *now ? hash_bytes(now, strlen(now)) : 0;
}

/* --- life --- */

static int fill(struct state_dir *d, const char *path, struct err *err)
{
    if ((d->dir = dir_open(path, err)) < 0 || dir_check(d->dir, path, err) < 0 ||
        (d->lock = lock_take(d->dir, err)) < 0)
        return -1;
    d->path = realpath(path, NULL);
    if (!d->path)
        return disk_error(err, errno, "resolve");
    return 0;
}

int state_dir_open(struct state_dir **out, const char *path, struct err *err)
{
    struct state_dir *d = calloc(1, sizeof(*d));

    if (!d)
        return err_set(err, ERR_NOMEM, 0, "state directory %s", path);
    d->dir = d->lock = -1;
    if (fill(d, path, err) < 0) {
        state_dir_close(d);
        return err_wrap(err, "state directory %s", path);
    }
    *out = d;
    return 0;
}

void state_dir_close(struct state_dir *d)
{
    if (!d)
        return;
    if (d->lock >= 0)
        close(d->lock);
    if (d->dir >= 0)
        close(d->dir);
    free(d->path);
    free(d);
}

const char *state_dir_path(const struct state_dir *d)
{
    return d->path;
}

int state_dir_file(const struct state_dir *d, const char *name, char out[STATE_PATH_MAX],
                   struct err *err)
{
    int n = snprintf(out, STATE_PATH_MAX, "%s/%s", d->path, name);

    if (n < 0 || n >= STATE_PATH_MAX)
        return err_set(err, ERR_LIMIT, 0, "%s in the state directory: its path is longer than %d",
                       name, STATE_PATH_MAX - 1);
    return 0;
}
