/* What the process of roost-compile that reads a module can still do: tried from inside, each in a
 * process of its own that has confined itself as the compiler does. A compiler that a module has
 * taken over can do what is in these tables, and no more.
 */
#include "base/limits.h"
#include "base/sanitized.h"
#include "engine/compile_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct compile_args args = {
    .in = "module", .out = "image", .memory_bytes = 256ull * MIB, .cpu_s = 1};

/* --- a confined process --- */

static pid_t parent;

enum { NOT_CONFINED = 200, AS_EXPECTED = 0, OTHERWISE = 1 };

/* How the process ended that confined itself and then did this: as of waitpid. */
static int confined(int (*does)(const void *ctx), const void *ctx)
{
    struct err err = {0};
    int status = -1;
    pid_t pid;

    parent = getpid();
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (compile_confine(&args, &err) < 0 || compile_seal(&err) < 0) {
            fprintf(stderr, "%s\n", err.msg);
            _exit(NOT_CONFINED);
        }
        _exit(does(ctx));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int exit_status(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* --- system calls --- */

struct probe {
    const char *name;
    long (*call)(void);
};

#define PROBE(name, expression)                                                                    \
    static long probe_##name(void)                                                                 \
    {                                                                                              \
        return (long)(expression);                                                                 \
    }

static char *const no_strings[] = {NULL};
static struct rlimit any_limit = {RLIM_INFINITY, RLIM_INFINITY};

PROBE(open, open("/etc/passwd", O_RDONLY))
PROBE(open_write, open("/dev/null", O_WRONLY))
PROBE(create, open("/dev/shm/roost-confine", O_CREAT | O_WRONLY, 0600))
PROBE(openat2, syscall(SYS_openat2, AT_FDCWD, "/", NULL, 0))
PROBE(stat, faccessat(AT_FDCWD, "/etc/passwd", R_OK, 0))
PROBE(readlink, readlink("/proc/self/exe", (char[64]){0}, 64))
PROBE(unlink, unlink("/nonexistent"))
PROBE(rename, rename("/nonexistent", "/nonexistent-too"))
PROBE(mkdir, mkdir("/dev/shm/roost-confine", 0700))
PROBE(chmod, fchmod(2, 0777))
PROBE(memfd, memfd_create("x", 0))
PROBE(dup, dup(2))
PROBE(fcntl, fcntl(2, F_GETFL))
PROBE(ioctl, syscall(SYS_ioctl, 2, 0x5401, NULL))
PROBE(socket_unix, socket(AF_UNIX, SOCK_STREAM, 0))
PROBE(socket_inet, socket(AF_INET, SOCK_STREAM, 0))
PROBE(socket_netlink, socket(AF_NETLINK, SOCK_RAW, 0))
PROBE(socketpair, socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){0}))
PROBE(connect, connect(0, NULL, 0))
PROBE(exec, execve("/bin/true", no_strings, no_strings))
PROBE(fork, syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))
PROBE(clone3, syscall(SYS_clone3, NULL, 0))
PROBE(ptrace, ptrace(PTRACE_TRACEME, 0, NULL, NULL))
PROBE(peek, syscall(SYS_process_vm_readv, parent, NULL, 0, NULL, 0, 0))
PROBE(signal, kill(parent, 0))
PROBE(signal_thread, syscall(SYS_tgkill, parent, parent, 0))
PROBE(pidfd, syscall(SYS_pidfd_open, parent, 0))
PROBE(unshare, unshare(CLONE_NEWUSER))
PROBE(mount, syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL))
PROBE(setrlimit, setrlimit(RLIMIT_CPU, &any_limit))
PROBE(prctl, syscall(SYS_prctl, 1, 0, 0, 0, 0))
PROBE(setuid, syscall(SYS_setuid, 0))
PROBE(bpf, syscall(SYS_bpf, 0, NULL, 0))
PROBE(keyctl, syscall(SYS_keyctl, 0, 0, 0))
PROBE(io_uring, syscall(SYS_io_uring_setup, 1, NULL))
PROBE(perf, syscall(SYS_perf_event_open, NULL, 0, 0, -1, 0))
PROBE(userfaultfd, syscall(SYS_userfaultfd, 0))

#define ROW(name)                                                                                  \
    {                                                                                              \
#name, probe_##name                                                                        \
    }

static const struct probe refused[] = {
    ROW(open),        ROW(open_write),     ROW(create),
    ROW(openat2),     ROW(stat),           ROW(readlink),
    ROW(unlink),      ROW(rename),         ROW(mkdir),
    ROW(chmod),       ROW(memfd),          ROW(dup),
    ROW(fcntl),       ROW(ioctl),          ROW(socket_unix),
    ROW(socket_inet), ROW(socket_netlink), ROW(socketpair),
    ROW(connect),     ROW(exec),           ROW(fork),
    ROW(clone3),      ROW(ptrace),         ROW(peek),
    ROW(signal),      ROW(signal_thread),  ROW(pidfd),
    ROW(unshare),     ROW(mount),          ROW(setrlimit),
    ROW(prctl),       ROW(setuid),         ROW(bpf),
    ROW(keyctl),      ROW(io_uring),       ROW(perf),
    ROW(userfaultfd),
};

static int is_refused(const void *ctx)
{
    const struct probe *p = ctx;

    errno = 0;
    return p->call() == -1 && errno == EPERM ? AS_EXPECTED : OTHERWISE;
}

static void test_system_calls_that_name_something_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (exit_status(confined(is_refused, &refused[i])) != AS_EXPECTED)
            fail_msg("%s was not refused", refused[i].name);
}

/* --- what is left --- */

static int computes(const void *ctx)
{
    volatile char *memory =
        mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)ctx;
    if (memory == MAP_FAILED)
        return OTHERWISE;
    memory[MIB - 1] = 1;
    return munmap((void *)(uintptr_t)memory, MIB) == 0 && write(2, "", 0) == 0 ? AS_EXPECTED
                                                                               : OTHERWISE;
}

static void test_memory_and_open_files_are_left(void **state)
{
    (void)state;
    assert_int_equal(exit_status(confined(computes, NULL)), AS_EXPECTED);
}

static int aborts(const void *ctx)
{
    (void)ctx;
    signal(SIGABRT, SIG_DFL);
    abort();
}

/* How Rust reports a bug of itself, or that memory is short: it must stay possible. */
static void test_it_can_abort(void **state)
{
    int status = confined(aborts, NULL);

    (void)state;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* Whatever the daemon has open that is not marked close-on-exec. */
static int inherited_is_closed(const void *ctx)
{
    const int *fd = ctx;

    errno = 0;
    return write(*fd, "", 0) == -1 && errno == EBADF ? AS_EXPECTED : OTHERWISE;
}

static void test_inherited_files_are_closed(void **state)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD, 50);

    (void)state;
    assert_true(fd >= 50);
    assert_int_equal(write(fd, "", 0), 0);
    assert_int_equal(exit_status(confined(inherited_is_closed, &fd)), AS_EXPECTED);
    close(fd);
}

/* --- how much of it --- */

static int spins(const void *ctx)
{
    volatile unsigned n = 0;

    (void)ctx;
    signal(SIGXCPU, SIG_DFL);
    while (n + 1 != 0)
        n = n | 1;
    return OTHERWISE;
}

static void test_cpu_time_ends(void **state)
{
    int status = confined(spins, NULL);

    (void)state;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGXCPU);
}

/* What the kernel says that it will hold the process to; asked before the door is shut. */
static void test_limits_are_what_was_asked_for(void **state)
{
    static const struct {
        __rlimit_resource_t what;
        rlim_t most;
    } rows[] = {
#if !SANITIZED /* a sanitizer's own memory is past any limit: see compile_confine.c */
        {RLIMIT_DATA, 256ull * MIB},
#endif
        {RLIMIT_CPU, 1},
        {RLIMIT_FSIZE, IMAGE_BYTES_MAX},
        {RLIMIT_NOFILE, COMPILE_FILES_MAX},
        {RLIMIT_CORE, 0},
    };
    struct err err = {0};
    struct rlimit now;
    int status = -1;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        if (compile_confine(&args, &err) < 0)
            _exit(NOT_CONFINED);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
            if (getrlimit(rows[i].what, &now) < 0 || now.rlim_cur > rows[i].most)
                _exit((int)i + 1);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(exit_status(status), 0);
}

#if !SANITIZED
static int memory_ends(const void *ctx)
{
    size_t bytes = 0;

    (void)ctx;
    while (mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
           MAP_FAILED)
        bytes += MIB;
    return bytes > 128 * MIB && bytes <= args.memory_bytes && errno == ENOMEM ? AS_EXPECTED
                                                                              : OTHERWISE;
}

static void test_memory_ends(void **state)
{
    (void)state;
    assert_int_equal(exit_status(confined(memory_ends, NULL)), AS_EXPECTED);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_system_calls_that_name_something_are_refused),
        cmocka_unit_test(test_memory_and_open_files_are_left),
        cmocka_unit_test(test_it_can_abort),
        cmocka_unit_test(test_inherited_files_are_closed),
        cmocka_unit_test(test_cpu_time_ends),
        cmocka_unit_test(test_limits_are_what_was_asked_for),
#if !SANITIZED
        cmocka_unit_test(test_memory_ends),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
