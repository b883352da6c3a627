/* Calls what WASI offers through wasi-libc and directly, and checks the answers (docs/abi.md).
 *
 * Expects one argument at least and the environment variable WASI_TEST=a b. Returns 0, or the
 * number of the step that failed, with `error` set. Writes "stdout line" and "stderr line".
 */
#include <roost.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

static int failed(int step, const char *what)
{
    (void)roost_fail(what);
    return step;
}

static int arguments(void)
{
    static uint8_t *args[16];
    static char text[1024];
    __wasi_size_t n = 0, bytes = 0;

    if (__wasi_args_sizes_get(&n, &bytes) != 0 || n < 1 || n > 16 || bytes > sizeof(text))
        return failed(1, "args_sizes_get");
    if (__wasi_args_get(args, (uint8_t *)text) != 0 || args[0] != (uint8_t *)text || !text[0])
        return failed(2, "args_get");
    if (text[bytes - 1] != '\0')
        return failed(3, "args_get: no NUL at the end");
    if (__wasi_args_get((uint8_t **)0xfffffff0u, (uint8_t *)text) != __WASI_ERRNO_FAULT)
        return failed(4, "args_get: outside memory");
    return 0;
}

static int environment(void)
{
    const char *value = getenv("WASI_TEST");

    if (!value || strcmp(value, "a b") != 0)
        return failed(5, "environ_get: WASI_TEST");
    return getenv("PATH") || getenv("HOME") ? failed(6, "environ_get: the host's own") : 0;
}

static int clocks(void)
{
    struct timespec wall = {0}, before = {0}, after = {0}, res = {0};
    __wasi_timestamp_t cpu = 0;

    if (clock_gettime(CLOCK_REALTIME, &wall) != 0 || wall.tv_sec < 1700000000)
        return failed(7, "clock_time_get: realtime");
    if (clock_gettime(CLOCK_MONOTONIC, &before) != 0 || clock_gettime(CLOCK_MONOTONIC, &after) != 0)
        return failed(8, "clock_time_get: monotonic");
    if (after.tv_sec < before.tv_sec ||
        (after.tv_sec == before.tv_sec && after.tv_nsec < before.tv_nsec))
        return failed(9, "clock_time_get: monotonic went back");
    if (clock_getres(CLOCK_MONOTONIC, &res) != 0 || (res.tv_sec == 0 && res.tv_nsec == 0))
        return failed(10, "clock_res_get");
    if (__wasi_clock_time_get(__WASI_CLOCKID_PROCESS_CPUTIME_ID, 1, &cpu) != __WASI_ERRNO_NOTSUP)
        return failed(11, "clock_time_get: CPU time");
    return __wasi_clock_time_get(9, 1, &cpu) == __WASI_ERRNO_INVAL
               ? 0
               : failed(12, "clock_time_get: unknown clock");
}

static int randomness(void)
{
    static unsigned char a[4096];
    unsigned ones = 0;

    if (__wasi_random_get(a, sizeof(a)) != 0)
        return failed(13, "random_get");
    for (size_t i = 0; i < sizeof(a); i++)
        ones += (unsigned)__builtin_popcount(a[i]);
    if (ones < sizeof(a) * 3 || ones > sizeof(a) * 5)
        return failed(14, "random_get: not random");
    return __wasi_random_get((uint8_t *)0xfffffff0u, 64) == __WASI_ERRNO_FAULT
               ? 0
               : failed(15, "random_get: outside memory");
}

static int output(void)
{
    static const char half[] = "half a line";
    struct stat st;

    if (printf("stdout %s\n", "line") != 12 || fflush(stdout) != 0)
        return failed(16, "fd_write: stdout");
    if (fprintf(stderr, "stderr line\n") != 12)
        return failed(17, "fd_write: stderr");
    if (write(1, half, sizeof(half) - 1) != (ssize_t)sizeof(half) - 1)
        return failed(18, "fd_write: without line end");
    if (write(7, half, 1) != -1 || errno != EBADF)
        return failed(19, "fd_write: no such descriptor");
    if (fstat(1, &st) != 0 || !S_ISCHR(st.st_mode))
        return failed(20, "fd_filestat_get: stdout");
    return (lseek)(1, 0, SEEK_SET) == -1 && errno == ESPIPE ? 0 : failed(21, "fd_seek: stdout");
}

static int input(void)
{
    char byte = 0;

    if (read(0, &byte, 1) != 0)
        return failed(22, "fd_read: stdin");
    if (open("/etc/passwd", O_RDONLY) != -1)
        return failed(23, "path_open");
    return mkdir("x", 0700) == -1 ? 0 : failed(24, "path_create_directory");
}

static int waiting(void)
{
    struct timespec pause = {0, 3000000}, before = {0}, after = {0};
    struct pollfd fd = {1, POLLOUT, 0};

    if (sched_yield() != 0)
        return failed(25, "sched_yield");
    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    if (nanosleep(&pause, NULL) != 0)
        return failed(26, "poll_oneoff: clock");
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    if ((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec < 3000000)
        return failed(28, "poll_oneoff: woke too early");
    return poll(&fd, 1, 1000) == 1 ? 0 : failed(27, "poll_oneoff: stdout");
}

ROOST_HANDLE
{
    int step = 0;

    if ((step = arguments()) || (step = environment()) || (step = clocks()) ||
        (step = randomness()) || (step = output()) || (step = input()) || (step = waiting()))
        return step;
    return 0;
}
