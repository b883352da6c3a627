#include "engine/cold.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

/* initial-exec: reading it in the handler must not allocate. */
static _Thread_local struct cold *current __attribute__((tls_model("initial-exec")));

static struct sigaction before; /* what SIGSEGV did until cold_install */
static bool installed;

/* The closed run that holds the page, by bisection; NULL if none does. */
static const struct run *run_of(const struct cold *c, uint64_t page)
{
    uint32_t lo = 0, hi = c->nruns;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        const struct run *r = &c->runs[mid];

        if (page < r->page)
            hi = mid;
        else if (page - r->page >= r->count)
            lo = mid + 1;
        else
            return r->count > c->run_pages_min ? r : NULL;
    }
    return NULL;
}

static bool open_pages(const struct cold *c, uint64_t page, uint64_t count)
{
    return mprotect(c->memory + page * PAGE_BYTES, count * PAGE_BYTES, PROT_READ | PROT_WRITE) == 0;
}

bool cold_open(struct cold *c)
{
    bool all = true;

    for (uint32_t i = 0; c->closed && i < c->nruns; i++)
        if (c->runs[i].count > c->run_pages_min)
            all &= open_pages(c, c->runs[i].page, c->runs[i].count);
    c->closed = c->closed && !all;
    return all;
}

/* Reads and opens the block around the page. False: it is not ours to open. Signal handler. */
static bool open_block(struct cold *c, uint64_t page)
{
    const struct run *r = run_of(c, page);
    uint64_t from, to;

    if (!r)
        return false;
    if (++c->blocks > COLD_BLOCKS_MAX && cold_open(c))
        return true;
    from = page / COLD_BLOCK_PAGES * COLD_BLOCK_PAGES;
    to = from + COLD_BLOCK_PAGES;
    from = from > r->page ? from : r->page;
    to = to < (uint64_t)r->page + r->count ? to : (uint64_t)r->page + r->count;
    /* Begins the read; the access that is repeated after the handler waits for it. */
    posix_fadvise(c->fd, (off_t)((r->offset + from - r->page) * PAGE_BYTES),
                  (off_t)((to - from) * PAGE_BYTES), POSIX_FADV_WILLNEED);
    /* A block parts the run's mapping; where there may be no more of those, all of the run is
     * opened, which takes none. */
    return open_pages(c, from, to - from) || open_pages(c, r->page, r->count);
}

static bool ours(const siginfo_t *info)
{
    struct cold *c = current;
    uintptr_t at = (uintptr_t)info->si_addr;

    if (!c || !c->closed || info->si_code != SEGV_ACCERR || at < (uintptr_t)c->memory)
        return false;
    return open_block(c, (at - (uintptr_t)c->memory) / PAGE_BYTES);
}

static void pass_on(int signum, siginfo_t *info, void *context)
{
    static const struct sigaction by_default = {.sa_handler = SIG_DFL};

    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(signum, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(signum);
    else
        sigaction(signum, &by_default, NULL); /* it faults again, and ends the process */
}

static void on_sigsegv(int signum, siginfo_t *info, void *context)
{
    int saved = errno;

    if (!ours(info))
        pass_on(signum, info, context);
    errno = saved;
}

int cold_install(struct err *err)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

    if (installed)
        return 0;
    action.sa_sigaction = on_sigsegv;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGSEGV, NULL, &before) < 0 || sigaction(SIGSEGV, &action, NULL) < 0)
        return err_set(err, ERR_IO, errno, "handler for SIGSEGV");
    installed = true;
    return 0;
}

void cold_enter(struct cold *c)
{
    current = c;
    atomic_signal_fence(memory_order_seq_cst);
}

void cold_leave(void)
{
    atomic_signal_fence(memory_order_seq_cst);
    current = NULL;
}
