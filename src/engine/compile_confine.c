/* What keeps a compilation within bounds, and what it says when it meets them.
 *
 * Limits of the kernel do the work (RLIMIT_DATA rather than _AS: Wasmtime reserves address space
 * that costs nothing). Name spaces for user and network are tried, not required: many systems
 * forbid them to unprivileged processes; the list of system calls (seccomp) is required, and alone
 * is enough: no file can be opened, no socket made, no process started, looked into or signalled.
 * The list holds what a compiler of one thread calls, and nothing that takes a name. The handlers
 * below use only what is safe in a signal handler: they put together a line of parts prepared
 * before, and leave.
 */
#include "base/limits.h"
#include "base/sanitized.h"
#include "engine/compile_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- limits --- */

/* Between the soft limit of CPU time, which is a signal, and the hard one, which kills. */
#define CPU_GRACE_S 2u

static int limit(__rlimit_resource_t what, const char *name, rlim_t soft, rlim_t hard,
                 struct err *err)
{
    struct rlimit now;

    if (getrlimit(what, &now) < 0)
        return err_set(err, ERR_IO, errno, "%s", name);
    if (now.rlim_max != RLIM_INFINITY && hard > now.rlim_max)
        hard = now.rlim_max;
    now.rlim_max = hard;
    now.rlim_cur = soft < hard ? soft : hard;
    if (setrlimit(what, &now) < 0)
        return err_set(err, ERR_IO, errno, "%s", name);
    return 0;
}

static int confine_resources(const struct compile_args *args, struct err *err)
{
#if !SANITIZED /* their shadow memory alone is terabytes */
    if (limit(RLIMIT_DATA, "RLIMIT_DATA", args->memory_bytes, args->memory_bytes, err) < 0)
        return -1;
#endif
    if (limit(RLIMIT_CPU, "RLIMIT_CPU", args->cpu_s, args->cpu_s + CPU_GRACE_S, err) < 0 ||
        limit(RLIMIT_FSIZE, "RLIMIT_FSIZE", IMAGE_BYTES_MAX, IMAGE_BYTES_MAX, err) < 0 ||
        limit(RLIMIT_NOFILE, "RLIMIT_NOFILE", COMPILE_FILES_MAX, COMPILE_FILES_MAX, err) < 0)
        return -1;
    return limit(RLIMIT_CORE, "RLIMIT_CORE", 0, 0, err);
}

int compile_confine(const struct compile_args *args, struct err *err)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_set(err, ERR_IO, errno, "PR_SET_NO_NEW_PRIVS");
    /* An older kernel: roost closes them itself. */
    (void)close_range(args->out ? COMPILE_FD_OUT + 1 : COMPILE_FD_OUT, ~0u, 0);
    umask(077);
    signal(SIGXFSZ, SIG_IGN); /* a write says EFBIG then */
    if (confine_resources(args, err) < 0)
        return -1;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        (void)unshare(CLONE_NEWNET);
    return 0;
}

/* --- system calls --- */

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#else
#error "Roost runs on x86_64 and aarch64"
#endif

static const int allowed_calls[] = {
    /* what is open */
    SYS_read, SYS_pread64, SYS_write, SYS_lseek, SYS_close,
    /* memory */
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_membarrier,
    /* itself */
    SYS_futex, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_getpid,
    SYS_gettid, SYS_sched_yield, SYS_sched_getaffinity, SYS_exit, SYS_exit_group,
    /* clocks and random numbers */
    SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday, SYS_getrandom};

#define ALLOWED_N (sizeof(allowed_calls) / sizeof(allowed_calls[0]))

#define LOAD(field)                                                                                \
    (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define SKIP_UNLESS(value, n)                                                                      \
    (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, n)
#define SKIP_IF(value, n)                                                                          \
    (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), n, 0)
#define ANSWER(what) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, what)

/* abort() signals the process itself; nobody else may be. */
static size_t filter_make(struct sock_filter *f)
{
    size_t n = 0;

    f[n++] = LOAD(arch);
    f[n++] = SKIP_IF(OWN_ARCH, 1);
    f[n++] = ANSWER(SECCOMP_RET_KILL_PROCESS); /* numbers that mean something else */
    f[n++] = LOAD(nr);
    for (size_t i = 0; i < ALLOWED_N; i++) {
        f[n++] = SKIP_UNLESS(allowed_calls[i], 1);
        f[n++] = ANSWER(SECCOMP_RET_ALLOW);
    }
    f[n++] = SKIP_UNLESS(SYS_tgkill, 3);
    f[n++] = LOAD(args[0]);
    f[n++] = SKIP_UNLESS(getpid(), 1);
    f[n++] = ANSWER(SECCOMP_RET_ALLOW);
    f[n++] = ANSWER(SECCOMP_RET_ERRNO | EPERM);
    return n;
}

int compile_seal(struct err *err)
{
    struct sock_filter filter[2 * ALLOWED_N + 16];
    struct sock_fprog program = {.filter = filter, .len = (unsigned short)filter_make(filter)};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
        return err_set(err, ERR_UNSUPPORTED, errno, "seccomp");
    return 0;
}

/* --- the guard --- */

#define LINE_MAX_BYTES 1024

static struct {
    int fd;       /* the real stderr, once guarded */
    int captured; /* what libraries print; a file in memory */
    const char *file;
    char no_memory[96], no_time[96];
    char stack[64 * 1024]; /* for a handler after the stack's end was reached */
} guard = {.fd = STDERR_FILENO, .captured = -1};

int compile_stderr(void)
{
    return guard.fd;
}

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

/* Control characters become spaces: it is one line. */
static void line_add(struct line *l, const char *text, size_t n)
{
    for (size_t i = 0; i < n && l->len < sizeof(l->text) - 1; i++)
        l->text[l->len++] = (unsigned char)text[i] < 0x20 ? ' ' : text[i];
}

static void line_puts(struct line *l, const char *text)
{
    line_add(l, text, strlen(text));
}

/* The first lines of what was printed; how many bytes. */
static size_t captured_read(char *out, size_t cap)
{
    ssize_t n = pread(guard.captured, out, cap - 1, 0);

    if (n < 0)
        n = 0;
    while (n > 0 && (unsigned char)out[n - 1] <= 0x20)
        n--;
    out[n] = 0;
    return (size_t)n;
}

/* Rust says "memory allocation of N bytes failed", or has ENOMEM in a panic's text. */
static int is_about_memory(const char *text)
{
    return strstr(text, "memory allocation") || strstr(text, "annot allocate memory") ||
           strstr(text, "out of memory");
}

static void crashed(int signum)
{
    struct line line = {.len = 0};
    enum err_code code = ERR_UNSUPPORTED;
    char said[512];
    size_t n = captured_read(said, sizeof(said));
    ssize_t ignored;

    line_puts(&line, "roost-compile: ");
    line_puts(&line, guard.file);
    line_puts(&line, ": ");
    if (signum == SIGXCPU) {
        code = ERR_LIMIT;
        line_puts(&line, guard.no_time);
    } else if (is_about_memory(said)) {
        code = ERR_LIMIT;
        line_puts(&line, guard.no_memory);
    } else if (signum == SIGSEGV || signum == SIGBUS) {
        line_puts(&line, "the compiler crashed (the module nests too deeply, or it has a bug)");
    } else {
        line_puts(&line, "the compiler failed, which is a bug of it: ");
        line_add(&line, said, n);
    }
    line.text[line.len++] = '\n';
    ignored = write(guard.fd, line.text, line.len);
    (void)ignored;
    /* As _exit, which under a sanitizer would want to read files first. */
    syscall(SYS_exit_group, err_exit_status(code));
}

static int guard_signals(struct err *err)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGXCPU};
    stack_t stack = {.ss_sp = guard.stack, .ss_size = sizeof(guard.stack)};
    struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK};

    if (sigaltstack(&stack, NULL) < 0)
        return err_set(err, ERR_IO, errno, "sigaltstack");
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (sigaction(signals[i], &action, NULL) < 0)
            return err_set(err, ERR_IO, errno, "sigaction %d", signals[i]);
    return 0;
}

int compile_guard(const struct compile_args *args, struct err *err)
{
    int real = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    int captured = memfd_create("compiler-stderr", MFD_CLOEXEC);

    if (real < 0 || captured < 0)
        return err_set(err, ERR_IO, errno, "stderr");
    guard.file = args->in;
    snprintf(guard.no_memory, sizeof(guard.no_memory),
             "the module needs more than %llu MiB to compile: make it smaller",
             (unsigned long long)args->memory_bytes / MIB);
    snprintf(guard.no_time, sizeof(guard.no_time),
             "the module needs more than %u s of CPU time to compile: make it smaller",
             args->cpu_s);
    if (guard_signals(err) < 0)
        return -1;
    if (dup2(captured, STDERR_FILENO) < 0)
        return err_set(err, ERR_IO, errno, "stderr");
    guard.fd = real;
    guard.captured = captured;
    return 0;
}
