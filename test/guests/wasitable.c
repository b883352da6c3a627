/* Calls each function of WASI preview 1 with the arguments of a table, good and bad, and compares
 * its errno; then checks that what WASI gives is the same before and after a sleep: arguments,
 * environment, the three descriptors; that the clocks go on, and that random numbers do not.
 *
 * Done (0), or the row that was not as expected, with its function in `error`.
 */
#include <roost.h>

#include <string.h>
#include <wasi/api.h>

typedef uint32_t u;
typedef uint64_t uu;

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) name

/* Those that wasi-libc gives another shape to. */
int WASI(fd_prestat_get)(u, u);
int WASI(sock_accept)(u, u, u);
int WASI(proc_raise)(u);

enum {
    OK = 0,
    BADF = 8,
    FAULT = 21,
    INVAL = 28,
    NOSYS = 52,
    NOTDIR = 54,
    NOTSOCK = 57,
    NOTSUP = 58,
    SPIPE = 70
};

static _Alignas(8) uint8_t area[4096];
static __wasi_iovec_t iov = {area, 8};
static __wasi_ciovec_t ciov = {area, 0}, outside_iov = {(uint8_t *)0xfffffff0u, 64};
static __wasi_size_t n;
static __wasi_subscription_t clock_now, unknown_type;

#define OUT  ((void *)0xfffffff0u) /* reaches outside from here */
#define LAST ((void *)0xfffffffeu)
#define A    ((void *)area)
#define S    ((const char *)area)

static int row;
static const char *wrong;

static void expect(const char *what, int got, int want)
{
    row++;
    if (got != want && !wrong) {
        static char text[80];
        struct roost_buf b = ROOST_BUF_FIXED(text);

        (void)roost_buf_str(&b, what);
        (void)roost_buf_str(&b, " gave ");
        (void)roost_buf_int(&b, got);
        (void)roost_buf_str(&b, ", not ");
        (void)roost_buf_int(&b, want);
        wrong = text;
    }
}

#define E(call, want) expect(#call, (int)(call), want)

static void arguments(void)
{
    E(__wasi_args_sizes_get(A, (void *)(area + 8)), OK);
    E(__wasi_args_sizes_get(OUT, A), FAULT);
    E(__wasi_args_get(A, area + 64), OK);
    E(__wasi_args_get(A, OUT), FAULT);
    E(__wasi_environ_sizes_get(A, (void *)(area + 8)), OK);
    E(__wasi_environ_sizes_get(A, OUT), FAULT);
    E(__wasi_environ_get(A, area + 64), OK);
    E(__wasi_environ_get(OUT, area), FAULT);
}

static void clocks_and_chance(void)
{
    E(__wasi_clock_res_get(0, A), OK);
    E(__wasi_clock_res_get(1, OUT), FAULT);
    E(__wasi_clock_res_get(2, A), NOTSUP);
    E(__wasi_clock_res_get(77, A), INVAL);
    E(__wasi_clock_time_get(0, 1, A), OK);
    E(__wasi_clock_time_get(1, 0, A), OK);
    E(__wasi_clock_time_get(1, 0, OUT), FAULT);
    E(__wasi_clock_time_get(3, 0, A), NOTSUP);
    E(__wasi_clock_time_get(4, 0, A), INVAL);
    E(__wasi_random_get(area, 256), OK);
    E(__wasi_random_get(OUT, 17), FAULT);
    E(__wasi_sched_yield(), OK);
    E(proc_raise(1), NOSYS);
}

static void streams(__wasi_fd_t fd)
{
    const int there = fd >= 0 && fd <= 2, in = fd == 0, out = fd == 1 || fd == 2;

    E(__wasi_fd_write(fd, &ciov, 1, &n), out ? OK : BADF);
    E(__wasi_fd_write(fd, &outside_iov, 1, &n), out ? FAULT : BADF);
    E(__wasi_fd_write(fd, OUT, 4, &n), out ? FAULT : BADF);
    E(__wasi_fd_write(fd, &ciov, 1, LAST), out ? FAULT : BADF);
    E(__wasi_fd_write(fd, &ciov, 100000, &n), out ? INVAL : BADF);
    E(__wasi_fd_read(fd, &iov, 1, &n), in ? OK : BADF);
    E(__wasi_fd_read(fd, OUT, 4, &n), in ? FAULT : BADF);
    E(__wasi_fd_pread(fd, &iov, 1, 0, &n), there ? SPIPE : BADF);
    E(__wasi_fd_pwrite(fd, &ciov, 1, 0, &n), there ? SPIPE : BADF);
    E(__wasi_fd_seek(fd, 0, 0, A), there ? SPIPE : BADF);
    E(__wasi_fd_tell(fd, A), there ? SPIPE : BADF);
    E(__wasi_fd_advise(fd, 0, 0, 0), there ? SPIPE : BADF);
    E(__wasi_fd_allocate(fd, 0, 1), there ? SPIPE : BADF);
    E(__wasi_fd_fdstat_get(fd, A), there ? OK : BADF);
    E(__wasi_fd_fdstat_get(fd, OUT), there ? FAULT : BADF);
    E(__wasi_fd_fdstat_set_flags(fd, 0), there ? OK : BADF);
    E(__wasi_fd_fdstat_set_rights(fd, 0, 0), there ? NOTSUP : BADF);
    E(__wasi_fd_filestat_get(fd, A), there ? OK : BADF);
    E(__wasi_fd_filestat_get(fd, OUT), there ? FAULT : BADF);
    E(__wasi_fd_filestat_set_size(fd, 0), there ? INVAL : BADF);
    E(__wasi_fd_filestat_set_times(fd, 0, 0, 0), there ? NOTSUP : BADF);
    E(__wasi_fd_sync(fd), there ? INVAL : BADF);
    E(__wasi_fd_datasync(fd), there ? INVAL : BADF);
    E(__wasi_fd_readdir(fd, area, 8, 0, &n), there ? NOTDIR : BADF);
    E(__wasi_fd_renumber(fd, 1), there ? NOTSUP : BADF);
    E(fd_prestat_get((u)fd, (u)(uintptr_t)area), BADF);
    E(__wasi_fd_prestat_dir_name(fd, area, 8), BADF);
    E(__wasi_fd_close(fd), there ? OK : BADF);
}

static void paths(__wasi_fd_t fd)
{
    const int want = fd <= 2 ? NOTDIR : BADF;

    area[0] = 'x';
    area[1] = 0;
    E(__wasi_path_create_directory(fd, S), want);
    E(__wasi_path_filestat_get(fd, 0, S, A), want);
    E(__wasi_path_filestat_set_times(fd, 0, S, 0, 0, 0), want);
    E(__wasi_path_link(fd, 0, S, fd, S), want);
    E(__wasi_path_open(fd, 0, S, 0, 0, 0, 0, A), want);
    E(__wasi_path_readlink(fd, S, area, 8, &n), want);
    E(__wasi_path_remove_directory(fd, S), want);
    E(__wasi_path_rename(fd, S, fd, S), want);
    E(__wasi_path_symlink(S, fd, S), want);
    E(__wasi_path_unlink_file(fd, S), want);
}

static void sockets(__wasi_fd_t fd)
{
    const int want = fd <= 2 ? NOTSOCK : BADF;
    __wasi_roflags_t flags;

    E(sock_accept((u)fd, 0, (u)(uintptr_t)area), want);
    E(__wasi_sock_recv(fd, &iov, 1, 0, &n, &flags), want);
    E(__wasi_sock_send(fd, &ciov, 1, 0, &n), want);
    E(__wasi_sock_shutdown(fd, 1), want);
}

static void polls(void)
{
    static __wasi_event_t events[2];

    clock_now.u.tag = __WASI_EVENTTYPE_CLOCK;
    clock_now.u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
    unknown_type.u.tag = 9;
    E(__wasi_poll_oneoff(&clock_now, events, 1, &n), OK);
    E(n, 1);
    E(__wasi_poll_oneoff(&unknown_type, events, 1, &n), INVAL);
    E(__wasi_poll_oneoff(&clock_now, events, 0, &n), INVAL);
    E(__wasi_poll_oneoff(&clock_now, events, 1025, &n), INVAL);
    E(__wasi_poll_oneoff(OUT, events, 1, &n), FAULT);
    E(__wasi_poll_oneoff(&clock_now, OUT, 1, &n), FAULT);
    E(__wasi_poll_oneoff(&clock_now, events, 1, LAST), FAULT);
}

/* --- over a sleep --- */

static struct seen {
    uint8_t args[256], env[256], chance[32], stats[3 * 24];
    uu wall, mono;
} last;
static unsigned events;

static void look(struct seen *s)
{
    memset(s, 0, sizeof(*s));
    E(__wasi_args_get((void *)area, s->args), OK);
    E(__wasi_environ_get((void *)area, s->env), OK);
    E(__wasi_random_get(s->chance, sizeof(s->chance)), OK);
    for (__wasi_fd_t fd = 0; fd < 3; fd++)
        E(__wasi_fd_fdstat_get(fd, (void *)(s->stats + 24 * fd)), OK);
    E(__wasi_clock_time_get(0, 1, &s->wall), OK);
    E(__wasi_clock_time_get(1, 1, &s->mono), OK);
}

static void compare(const struct seen *s)
{
    E(memcmp(s->args, last.args, sizeof(s->args)), 0);
    E(memcmp(s->env, last.env, sizeof(s->env)), 0);
    E(memcmp(s->stats, last.stats, sizeof(s->stats)), 0);
    E(memcmp(s->chance, last.chance, sizeof(s->chance)) == 0, 0);
    E(s->mono <= last.mono, 0);
    E(s->wall + 60000000000u < last.wall, 0); /* a clock may be set back a little */
}

ROOST_HANDLE
{
    static struct seen now;

    row = 0;
    wrong = NULL;
    arguments();
    clocks_and_chance();
    for (__wasi_fd_t fd = 0; fd <= 4; fd++) {
        streams(fd);
        paths(fd);
        sockets(fd);
    }
    streams(-1);
    polls();
    look(&now);
    if (events++ > 0)
        compare(&now);
    last = now;
    if (wrong)
        (void)roost_fail(wrong);
    return wrong ? row : 0;
}
