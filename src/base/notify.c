#include "base/notify.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct notify {
    int fd;
    struct sockaddr_un addr;
    socklen_t addr_len;
    uint64_t watchdog_ns; /* between two signs of life; 0: nobody waits for them */
    struct timer timer;
    struct loop *loop; /* NULL: the watchdog does not run */
};

/* "@name" is an abstract socket: a NUL, and no end but the length. */
static int take_address(struct notify *n, const char *name, struct err *err)
{
    size_t len = strlen(name);

    if (*name != '/' && *name != '@')
        return err_set(err, *name ? ERR_UNSUPPORTED : ERR_INVALID, 0,
                       "NOTIFY_SOCKET %.80s: must be a path or begin with @", name);
    if (len >= sizeof(n->addr.sun_path) || len < 2)
        return err_set(err, len < 2 ? ERR_INVALID : ERR_LIMIT, 0,
                       "NOTIFY_SOCKET %.80s: %zu bytes, from 2 to %zu for a socket", name, len,
                       sizeof(n->addr.sun_path) - 1);
    n->addr.sun_family = AF_UNIX;
    memcpy(n->addr.sun_path, name, len);
    if (*name == '@')
        n->addr.sun_path[0] = 0;
    n->addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*name == '/'));
    return 0;
}

static bool read_u64(const char *text, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == 0 && errno == 0;
}

/* The watchdog is this process's where no process is named. */
static int take_watchdog(struct notify *n, const char *usec, const char *pid, struct err *err)
{
    uint64_t us, id;

    if (!usec)
        return 0;
    if (!read_u64(usec, &us) || us < NOTIFY_WATCHDOG_MIN_US || us > NOTIFY_WATCHDOG_MAX_US)
        return err_set(err, ERR_INVALID, 0,
                       "WATCHDOG_USEC %.40s: must be a number of microseconds from %u to %llu",
                       usec, NOTIFY_WATCHDOG_MIN_US, (unsigned long long)NOTIFY_WATCHDOG_MAX_US);
    if (pid && (!read_u64(pid, &id) || id != (uint64_t)getpid()))
        return 0;
    n->watchdog_ns = us * NS_PER_US / 2;
    return 0;
}

static int read_environment(struct notify *n, const char *name, struct err *err)
{
    if (take_address(n, name, err) < 0 ||
        take_watchdog(n, getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"), err) < 0)
        return -1;
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return n->fd < 0 ? err_set(err, ERR_IO, errno, "a socket for NOTIFY_SOCKET") : 0;
}

int notify_open(struct notify **out, struct err *err)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct notify *n;
    int rc;

    *out = NULL;
    if (!name)
        return 0;
    n = calloc(1, sizeof(*n));
    if (!n)
        return err_set(err, ERR_NOMEM, 0, "no memory for NOTIFY_SOCKET");
    rc = read_environment(n, name, err);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (rc < 0) {
        free(n);
        return -1;
    }
    *out = n;
    return 0;
}

void notify_close(struct notify *n)
{
    if (!n)
        return;
    if (n->loop)
        loop_timer_clear(n->loop, &n->timer);
    close(n->fd);
    free(n);
}

static void send_lines(struct notify *n, const char *lines, size_t len)
{
    ssize_t sent =
        sendto(n->fd, lines, len, MSG_NOSIGNAL, (const struct sockaddr *)&n->addr, n->addr_len);

    if (sent < 0)
        log_debug("service manager: %s", strerrordesc_np(errno));
}

void notify_send(struct notify *n, const char *fmt, ...)
{
    char lines[NOTIFY_BYTES_MAX];
    va_list ap;
    int len;

    if (!n)
        return;
    va_start(ap, fmt);
    len = vsnprintf(lines, sizeof(lines), fmt, ap);
    va_end(ap);
    if (len > 0)
        send_lines(n, lines, (size_t)len < sizeof(lines) ? (size_t)len : sizeof(lines) - 1);
}

void notify_reloading(struct notify *n)
{
    notify_send(n, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n",
                (uint64_t)(clock_now_ns() / NS_PER_US));
}

static void sign_of_life(struct timer *t)
{
    struct notify *n = container_of(t, struct notify, timer);

    send_lines(n, "WATCHDOG=1\n", strlen("WATCHDOG=1\n"));
    if (loop_timer_set(n->loop, t, loop_now_ns(n->loop) + n->watchdog_ns, NULL) < 0)
        log_error("service manager: no memory for the watchdog's timer");
}

int notify_watchdog(struct notify *n, struct loop *loop, struct err *err)
{
    if (!n || !n->watchdog_ns)
        return 0;
    n->loop = loop;
    n->timer.fire = sign_of_life;
    return loop_timer_set(loop, &n->timer, loop_now_ns(loop), err);
}
