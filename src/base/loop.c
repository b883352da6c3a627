#include "base/loop.h"

#include "base/clock.h"
#include "base/limits.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

struct signal_slot {
    uv_signal_t handle;
    void (*fn)(void *ctx, int signum);
    void *ctx;
    bool used;
};

/* The loop that this thread turns. */
static _Thread_local const struct loop *here;

struct loop {
    uv_loop_t uv;
    int wake_fd; /* an eventfd; see wake_up */
    atomic_uint told;
    uv_poll_t wake;
    uv_timer_t timer;
    struct inbox inbox;
    uint64_t now_ns;
    struct timers timers;
    struct signal_slot signals[LOOP_SIGNALS_MAX];
    uv_prepare_t before_poll;
    uv_idle_t work;
    bool (*work_fn)(void *ctx);
    void *work_ctx;
    bool stopping;
};

/* --- waking it --- */

/* Not through uv_async: libuv 1.44 has the loop spin until the sender is back from its system call,
 * and that cannot go on where the loop, as it should, was let in on its processor at once.
 *
 * `told` is odd where somebody has written since the loop heard last: the others need not. It is
 * made so after the write, so that nobody relies on a sender that was interrupted before it; and
 * only where the loop did not hear meanwhile, which makes it another even number. */
static void wake_up(struct loop *l)
{
    static const uint64_t one = 1;
    unsigned told = atomic_load(&l->told);

    if (told & 1)
        return;
    while (write(l->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    atomic_compare_exchange_strong(&l->told, &told, told | 1);
}

/* Before anything is looked at: who tells after this writes again. */
static void heard(struct loop *l)
{
    uint64_t n;

    while (read(l->wake_fd, &n, sizeof(n)) < 0 && errno == EINTR)
        ;
    atomic_store(&l->told, (atomic_load(&l->told) | 1) + 1);
}

/* --- timers --- */

static void timer_fired(uv_timer_t *handle);

/* What is due already comes with the next poll, through wake_fd. Not through a libuv timer
 * of no time: one that is started again from its own callback runs again before any poll, and a
 * timer that always sets itself for now would shut out all else. libuv counts in milliseconds: when
 * its timer comes too early by a part of one, it is armed once more. */
static void timer_arm(struct loop *l)
{
    uint64_t now = clock_now_ns(), due = timers_next(&l->timers);

    uv_timer_stop(&l->timer);
    if (due == 0 || l->stopping)
        return;
    if (due <= now) {
        wake_up(l);
        return;
    }
    uv_update_time(&l->uv);
    uv_timer_start(&l->timer, timer_fired, (due - now + NS_PER_MS - 1) / NS_PER_MS, 0);
}

static void timers_due(struct loop *l)
{
    uint64_t now = clock_now_ns(), due = timers_next(&l->timers);

    if (due == 0 || l->stopping)
        return;
    if (due <= now) {
        l->now_ns = now;
        timers_run(&l->timers, now);
    }
    timer_arm(l);
}

static void timer_fired(uv_timer_t *handle)
{
    timers_due(handle->data);
}

int loop_timers_reserve(struct loop *l, size_t n, struct err *err)
{
    return timers_reserve(&l->timers, n, err);
}

int loop_timer_set(struct loop *l, struct timer *t, uint64_t due_ns, struct err *err)
{
    if (timers_set(&l->timers, t, due_ns, err) < 0)
        return -1;
    if (t->at == 1)
        timer_arm(l);
    return 0;
}

void loop_timer_clear(struct loop *l, struct timer *t)
{
    timers_clear(&l->timers, t);
}

/* --- messages --- */

/* Returns whether there were any. */
static bool inbox_drain(struct loop *l)
{
    struct msg *m = inbox_take(&l->inbox), *next;
    bool any = m != NULL;

    for (; m; m = next) {
        next = m->next;
        m->run(m);
    }
    return any;
}

static void woken(uv_poll_t *handle, int status, int events)
{
    struct loop *l = handle->data;

    (void)status;
    (void)events;
    heard(l);
    inbox_drain(l);
    timers_due(l);
}

void loop_post(struct loop *l, struct msg *m)
{
    (void)inbox_put(&l->inbox, m); /* who came first may not have come to its write yet */
    wake_up(l);
}

void loop_post_quietly(struct loop *l, struct msg *m)
{
    inbox_put_quietly(&l->inbox, m);
}

void loop_unpost(struct loop *l, struct msg *m)
{
    (void)inbox_remove(&l->inbox, m);
}

void loop_wake(struct loop *l)
{
    wake_up(l);
}

void loop_wake_if_posted(struct loop *l)
{
    if (inbox_untold(&l->inbox))
        wake_up(l);
}

void loop_send(struct loop *l, struct msg *m)
{
    if (here == l)
        m->run(m);
    else
        loop_post(l, m);
}

/* --- life --- */

/* Before the poll: what came quietly is not left lying while the loop sleeps. The poll may take
 * long: whoever asks first after it reads the clock for the whole turn. */
static void turn_ends(uv_prepare_t *handle)
{
    struct loop *l = handle->data;

    inbox_drain(l);
    loop_wake_if_posted(l); /* by those that were just run */
    l->now_ns = 0;
}

static void work_turn(uv_idle_t *handle)
{
    struct loop *l = handle->data;

    if (!l->work_fn(l->work_ctx))
        uv_idle_stop(handle);
}

void loop_work_init(struct loop *l, bool (*fn)(void *ctx), void *ctx)
{
    l->work_fn = fn;
    l->work_ctx = ctx;
}

void loop_work_start(struct loop *l)
{
    uv_idle_start(&l->work, work_turn);
}

uint64_t loop_now_ns(struct loop *l)
{
    if (l->now_ns == 0)
        l->now_ns = clock_now_ns();
    return l->now_ns;
}

void *loop_uv(struct loop *l)
{
    return &l->uv;
}

/* 0, or a number of errno with nothing kept. */
static int open_uv(struct loop *l)
{
    int rc = uv_loop_init(&l->uv);

    if (rc)
        return -rc;
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0) {
        rc = errno;
        uv_loop_close(&l->uv);
        return rc;
    }
    rc = uv_poll_init(&l->uv, &l->wake, l->wake_fd);
    if (rc == 0 && (rc = uv_poll_start(&l->wake, UV_READABLE, woken)) != 0) {
        uv_close((uv_handle_t *)&l->wake, NULL);
        uv_run(&l->uv, UV_RUN_DEFAULT); /* until it is closed */
    }
    if (rc) {
        uv_loop_close(&l->uv);
        close(l->wake_fd);
    }
    return -rc;
}

int loop_new(struct loop **out, struct err *err)
{
    struct loop *l = calloc(1, sizeof(*l));
    int rc;

    if (!l)
        return err_set(err, ERR_NOMEM, 0, "no memory for the loop");
    rc = open_uv(l);
    if (rc) {
        free(l);
        return err_set(err, ERR_NOMEM, rc, "event loop");
    }
    uv_timer_init(&l->uv, &l->timer);
    uv_prepare_init(&l->uv, &l->before_poll);
    uv_prepare_start(&l->before_poll, turn_ends);
    uv_unref((uv_handle_t *)&l->before_poll);
    uv_idle_init(&l->uv, &l->work);
    l->wake.data = l->timer.data = l->before_poll.data = l->work.data = l;
    inbox_init(&l->inbox);
    *out = l;
    return 0;
}

void loop_turn(struct loop *l, bool wait)
{
    here = l;
    uv_run(&l->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

void loop_run(struct loop *l)
{
    here = l;
    l->stopping = false;
    timer_arm(l);
    while (!l->stopping)
        uv_run(&l->uv, UV_RUN_ONCE);
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
    uv_stop(&l->uv);
}

/* One turn that completes what owners closed. Waits a little where a request is under way in
 * another thread (a name lookup): that cannot be closed, only end. */
static void closing_turn(struct loop *l)
{
    struct pollfd events = {.fd = uv_backend_fd(&l->uv), .events = POLLIN};

    if (uv_backend_timeout(&l->uv) != 0 && uv_loop_alive(&l->uv))
        poll(&events, 1, LOOP_CLOSE_TURN_MS);
    uv_run(&l->uv, UV_RUN_NOWAIT);
}

void loop_free(struct loop *l)
{
    bool more = true;
    int rc;

    if (!l)
        return;
    l->stopping = true;
    inbox_drain(l);
    for (size_t i = 0; i < LOOP_SIGNALS_MAX; i++)
        if (l->signals[i].used)
            uv_close((uv_handle_t *)&l->signals[i].handle, NULL);
    uv_close((uv_handle_t *)&l->work, NULL);
    uv_close((uv_handle_t *)&l->before_poll, NULL);
    uv_close((uv_handle_t *)&l->timer, NULL);
    uv_close((uv_handle_t *)&l->wake, NULL);
    for (int turns = 0; turns < LOOP_CLOSE_TURNS_MAX && more; turns++) {
        closing_turn(l);
        more = inbox_drain(l) || uv_loop_alive(&l->uv);
    }
    rc = uv_loop_close(&l->uv);
    if (rc && l->uv.active_reqs.count > 0)
        return; /* its thread will still write to the loop, which must stay: the program ends */
    assert(rc == 0); /* else a handle that nobody closed */
    close(l->wake_fd);
    inbox_destroy(&l->inbox);
    timers_free(&l->timers);
    free(l);
}

/* --- signals --- */

static void signal_came(uv_signal_t *handle, int signum)
{
    struct signal_slot *slot = handle->data;

    slot->fn(slot->ctx, signum);
}

int loop_on_signal(struct loop *l, int signum, void (*fn)(void *ctx, int signum), void *ctx,
                   struct err *err)
{
    for (size_t i = 0; i < LOOP_SIGNALS_MAX; i++) {
        struct signal_slot *slot = &l->signals[i];
        int rc;

        if (slot->used)
            continue;
        *slot = (struct signal_slot){.fn = fn, .ctx = ctx};
        rc = uv_signal_init(&l->uv, &slot->handle);
        if (rc == 0) {
            slot->used = true; /* and closed by loop_free, started or not */
            slot->handle.data = slot;
            rc = uv_signal_start(&slot->handle, signal_came, signum);
        }
        return rc ? err_set(err, ERR_IO, -rc, "signal %d", signum) : 0;
    }
    return err_set(err, ERR_LIMIT, 0, "signal handlers: limit %d", LOOP_SIGNALS_MAX);
}
