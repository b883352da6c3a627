/* How it works: a stack of guards for each thread, read by the handler on the same thread, so
 * neither locks nor atomics are needed, only that the compiler keeps the order (signal fences).
 *
 * The handler calls mmap, sigaction, getpid, gettid and tgkill only, all of them plain system
 * calls, and keeps errno. It runs on the thread's alternate stack where there is one: guest code
 * may have almost used up its fiber's. It must never touch guest memory itself.
 *
 * A SIGBUS that another process sent carries no address; it must not be mistaken for a fault, and
 * because nothing faults again when its handler returns, it is raised once more under the default
 * action.
 */
#include "engine/sigbus.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

/* initial-exec: reading it in the handler must not allocate. */
static _Thread_local struct sigbus_guard *innermost __attribute__((tls_model("initial-exec")));

static struct sigaction before; /* what SIGBUS did until sigbus_install */
static uintptr_t page_bytes;
static bool installed;

static bool is_read_error(const siginfo_t *info)
{
    return info->si_code == BUS_ADRERR || info->si_code == BUS_OBJERR ||
           info->si_code == BUS_MCEERR_AR;
}

static struct sigbus_guard *guard_of(uintptr_t at)
{
    for (struct sigbus_guard *g = innermost; g; g = g->outer)
        if (at >= (uintptr_t)g->base && at - (uintptr_t)g->base < g->len)
            return g;
    return NULL;
}

static bool cover(const siginfo_t *info)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    struct sigbus_guard *g = is_read_error(info) ? guard_of(at) : NULL;
    void *page = (void *)(at & ~(page_bytes - 1));

    if (!g || mmap(page, page_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        return false;
    g->poisoned = 1;
    return true;
}

/* A fault happens again when the handler returns, and then ends the process where it is. */
static void pass_on(int signum, siginfo_t *info, void *context)
{
    static const struct sigaction by_default = {.sa_handler = SIG_DFL};
    bool sent = info->si_code <= 0;

    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(signum, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(signum);
    } else if (!sent || before.sa_handler == SIG_DFL) {
        sigaction(signum, &by_default, NULL);
        if (sent)
            tgkill(getpid(), gettid(), signum);
    }
}

static void on_sigbus(int signum, siginfo_t *info, void *context)
{
    int saved = errno;

    if (!cover(info))
        pass_on(signum, info, context);
    errno = saved;
}

int sigbus_install(struct err *err)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (installed)
        return 0;
    action.sa_sigaction = on_sigbus;
    sigemptyset(&action.sa_mask);
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    /* First `before`, then the handler that reads it. */
    if (sigaction(SIGBUS, NULL, &before) < 0 || sigaction(SIGBUS, &action, NULL) < 0)
        return err_set(err, ERR_IO, errno, "handler for SIGBUS");
    installed = true;
    return 0;
}

void sigbus_enter(struct sigbus_guard *g)
{
    g->outer = innermost;
    atomic_signal_fence(memory_order_seq_cst);
    innermost = g;
    atomic_signal_fence(memory_order_seq_cst);
}

void sigbus_leave(struct sigbus_guard *g)
{
    assert(innermost == g);
    atomic_signal_fence(memory_order_seq_cst);
    innermost = g->outer;
    atomic_signal_fence(memory_order_seq_cst);
}
