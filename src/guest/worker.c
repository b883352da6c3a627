/* See worker.h. A guest on a worker is runnable (in a queue), parked (waits for a message or a
 * timer), or being polled; the phases of waking it and of its handler are one switch in `advance`.
 *
 * There are two queues. Who has computed for WORKER_LATE_NS, in this event or in those before it
 * that are not paid for, goes on in the late one, which has a turn when the other is empty, or
 * after WORKER_LATE_TURNS of the other's. And when an event comes, whoever computes yields at once.
 * So however many guests compute, in long events or in many short ones, the others hardly notice,
 * and nobody waits for ever.
 */
#include "guest/worker.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/limits.h"
#include "guest/guest.h"
#include "guest/iopool.h"
#include "guest/spares.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct queue {
    struct awake *first, **last;
};

struct worker {
    struct worker_env env;
    pthread_t thread;
    struct loop *loop;
    struct capabilities capabilities;
    struct queue ready, late; /* runnable */
    unsigned turns;           /* of the first queue since one of the late one */
    long faults;              /* of one on the loop: this thread's, so far */
    uint64_t save_busy_ns;    /* until then no save here while others wait: one took long */
    struct msg stop, rest;
    atomic_bool resting; /* told so, and has not heard it yet */
    bool stopping;
    size_t coming;         /* of one on the loop: sent in this turn */
    atomic_size_t unbegun; /* events posted to it that it has not begun */
    atomic_size_t load;    /* guests that are with it or on their way to it */
    atomic_bool hurry;     /* the loop wants one of them back */
};

static _Thread_local struct worker *self;

struct loop *worker_loop(struct worker *w)
{
    return w->loop;
}

const struct capabilities *worker_capabilities(const struct worker *w)
{
    return &w->capabilities;
}

static void queue_put(struct queue *q, struct awake *a)
{
    a->runnable = true;
    a->parked = false;
    a->next_runnable = NULL;
    *q->last = a;
    q->last = &a->next_runnable;
}

static struct queue *queue_for(const struct awake *a)
{
    uint64_t cpu_ns = a->inst ? instance_cpu_ns(a->inst) : 0;

    return a->debt_ns + cpu_ns < WORKER_LATE_NS ? &self->ready : &self->late;
}

static void make_runnable(struct awake *a)
{
    if (a->runnable)
        return;
    queue_put(queue_for(a), a);
    loop_work_start(self->loop);
}

void worker_resume(struct awake *a)
{
    if (a->parked)
        make_runnable(a);
}

/* --- timers --- */

static void wait_passed(struct timer *t)
{
    struct awake *a = container_of(t, struct awake, wait);

    a->wait_over = true;
    worker_resume(a);
}

void worker_wait_set(struct awake *a, uint32_t ms)
{
    a->wait.fire = wait_passed;
    a->wait_set = true;
    /* Without memory for the timer the event's own limit ends the wait. */
    if (loop_timer_set(self->loop, &a->wait, clock_now_ns() + (uint64_t)ms * NS_PER_MS, NULL) < 0)
        a->cut = "no memory for a timer";
}

void worker_wait_clear(struct awake *a)
{
    if (a->wait_set)
        loop_timer_clear(self->loop, &a->wait);
    a->wait_set = a->wait_over = false;
}

static const char time_limit[] = "limit time passed";

static void time_passed(struct timer *t)
{
    struct awake *a = container_of(t, struct awake, deadline);

    a->cut = time_limit;
    worker_resume(a);
}

/* --- an event's way through the worker --- */

/* Whether this thread waited for pages from the disk since it was asked last. */
static bool waited_for_pages(struct worker *w)
{
    struct rusage usage;
    bool waited;

    if (getrusage(RUSAGE_THREAD, &usage) < 0)
        return false;
    waited = usage.ru_majflt != w->faults;
    w->faults = usage.ru_majflt;
    return waited;
}

static void event_ends(struct awake *a)
{
    a->done_ns = clock_now_ns();
    a->cpu_ns = a->inst ? instance_cpu_ns(a->inst) : 0;
    a->faulted = self->env.on_loop && waited_for_pages(self);
    loop_timer_clear(self->loop, &a->deadline);
    session_end(a);
}

static void drop_instance(struct awake *a)
{
    instance_free(a->inst);
    a->inst = NULL;
}

static void give_back(struct awake *a, enum outcome outcome)
{
    a->outcome = outcome;
    atomic_fetch_sub(&self->load, 1);
    a->msg.run = self->env.back;
    if (self->env.on_loop)
        loop_post_quietly(self->env.loop, &a->msg); /* at the end of this turn */
    else
        loop_post(self->env.loop, &a->msg);
}

static void failed(struct awake *a, enum outcome outcome)
{
    event_ends(a);
    if (a->inst && instance_memory_bytes(a->inst) > SAVE_HERE_MEMORY * PAGE_BYTES) {
        atomic_fetch_sub(&self->load, 1);
        iopool_drop(self->env.io, a, outcome);
        return;
    }
    drop_instance(a);
    give_back(a, outcome);
}

/* The loop hears of it at its next tick: nothing that it would do now depends on it. If something
 * came meanwhile, it has said so in a->abandon before it looked into its inbox for the last time;
 * then either this sees it, or hurry, or the loop saw the message. a is the loop's from the post
 * on. */
static void give_back_quietly(struct awake *a, enum outcome outcome)
{
    struct worker *w = self;

    if (atomic_load(&a->abandon)) {
        give_back(a, outcome);
        return;
    }
    a->outcome = outcome;
    atomic_fetch_sub(&w->load, 1);
    a->msg.run = w->env.back;
    loop_post_quietly(w->env.loop, &a->msg);
    if (atomic_exchange(&w->hurry, false))
        loop_wake(w->env.loop);
}

static bool has_runnable(const struct worker *w)
{
    return w->ready.first || w->late.first;
}

/* --- saving --- */

/* One worker that had to wait speaks for all, and the loop believes it for longer. */
static bool disk_is_slow(uint64_t now)
{
    uint64_t slow = atomic_load(self->env.slow_save_ns);

    return slow && now < slow + (self->env.on_loop ? SAVE_HERE_LOOP_PAUSE_NS : SAVE_HERE_PAUSE_NS);
}

/* Pages of it that this worker may write by itself: more where nobody waits meanwhile. 0: none. */
static uint32_t save_pages_most(const struct awake *a, uint64_t now)
{
    if (!a->save_here || disk_is_slow(now) || (has_runnable(self) && now < self->save_busy_ns))
        return 0;
    if (!has_runnable(self) && (!self->env.on_loop || worker_load(self) == 1))
        return SAVE_IDLE_PAGES;
    if (a->from->memory_pages > SAVE_HERE_MEMORY)
        return 0;
    return SAVE_HERE_PAGES;
}

/* Saves the guest and drops its instance. Where that fails it is as it was, and an I/O thread will
 * try it again and say why. */
static bool save_here(struct awake *a)
{
    uint64_t now = clock_now_ns();
    uint32_t most = save_pages_most(a, now);

    if (most == 0 || snapshot_written(a->from) > most)
        return false;
    a->decided_ns = now;
    a->saved = NULL;
    a->ndropped = 0;
    if (instance_save(&a->saved, a->dropped, &a->ndropped, a->inst, self->env.arena, a->from,
                      &a->save_as, most, &a->abandon, &a->err) < 0)
        return false;
    spares_put(self->env.spares, a->inst, a->saved);
    a->inst = NULL;
    a->slept_ns = clock_now_ns();
    if (a->slept_ns - now > SAVE_HERE_SLOW_NS)
        atomic_store(self->env.slow_save_ns, a->slept_ns);
    if (a->slept_ns - now > SAVE_HERE_BUSY_NS)
        self->save_busy_ns = a->slept_ns + SAVE_HERE_REST_NS;
    iopool_trim(self->env.io);
    return true;
}

static void handled(struct awake *a)
{
    bool quiet = a->alone && a->result == 0 && a->answer.requeue_after_ms == 0;

    event_ends(a);
    if (a->result == 0 && save_here(a)) {
        if (quiet)
            give_back_quietly(a, OUT_SLEPT);
        else
            give_back(a, OUT_SLEPT);
    } else if (quiet && a->stays) {
        give_back_quietly(a, OUT_DONE);
    } else {
        give_back(a, OUT_DONE);
    }
}

/* What an I/O thread had to fetch is cold, but for what was read whole to be checked. */
static unsigned restore_how(const struct awake *a)
{
    if (a->fetched)
        return a->verify ? 0 : RESTORE_COLD;
    return RESTORE_NOWAIT | (a->writes_most ? RESTORE_READ : 0);
}

/* To an I/O thread, and back later. */
static void leaves(struct awake *a)
{
    loop_timer_clear(self->loop, &a->deadline);
    atomic_fetch_sub(&self->load, 1);
    if (self->env.on_loop && !a->inst)
        self->env.elsewhere(a);
}

/* To an I/O thread, and back with its snapshot in the page cache. */
static int fetch(struct awake *a)
{
    leaves(a);
    iopool_fetch(self->env.io, a);
    return 1;
}

static int new_instance(struct awake *a)
{
    struct instance_opts opts;

    guest_instance_opts(a, &opts);
    if (a->from)
        a->inst =
            spares_take(self->env.spares, guest_image(a->guest), &opts, a->from, a->writes_most);
    if (a->inst)
        return 0;
    return instance_new(&a->inst, self->env.engine, guest_image(a->guest), &opts, &a->err);
}

/* Reads or maps the snapshot, here or, where that would take long, on an I/O thread. As
 * make_instance. */
static int restore(struct awake *a)
{
    bool long_read = a->writes_most && !a->fetched && a->from->memory_pages > READ_INLINE_PAGES;

    if (!long_read &&
        instance_restore(a->inst, a->from, self->env.arena, restore_how(a), &a->err) == 0) {
        a->woke = true;
        return 0;
    }
    if (long_read) {
        leaves(a);
        iopool_read(self->env.io, a);
        return 1;
    }
    drop_instance(a);
    if (!a->fetched && a->err.code == ERR_AGAIN)
        return fetch(a);
    failed(a, a->err.code == ERR_CORRUPT ? OUT_CORRUPT : OUT_NO_ROOM);
    return -1;
}

/* Makes the instance. 0: go on; 1: the guest went to an I/O thread; -1: given back. */
static int make_instance(struct awake *a)
{
    if (a->from && a->verify && !a->fetched)
        return fetch(a);
    if (new_instance(a) < 0) {
        failed(a, OUT_NO_ROOM);
        return -1;
    }
    if (a->from)
        return restore(a);
    a->fresh = true;
    return 0;
}

/* Begins the next function there is, in the order of the phases. */
static void begin_next(struct awake *a)
{
    static const enum instance_fn fns[] = {[PHASE_START] = INSTANCE_START,
                                           [PHASE_INITIALIZE] = INSTANCE_INITIALIZE,
                                           [PHASE_HANDLE] = INSTANCE_HANDLE};

    for (a->phase++; a->phase < PHASE_HANDLE; a->phase++)
        if (a->fresh && instance_begin(a->inst, fns[a->phase]))
            return;
    a->handling_ns = clock_now_ns();
    if (!a->no_event && !instance_begin(a->inst, INSTANCE_HANDLE))
        a->cut = "no function `handle`"; /* image_load checked that it is there */
}

static void cut(struct awake *a)
{
    err_set(&a->err, ERR_TIMEOUT, 0, "%s after %llu ms", a->cut,
            (unsigned long long)((clock_now_ns() - a->picked_ns) / NS_PER_MS));
    if (a->cut == time_limit)
        (void)err_blame(&a->err, REASON_TIME_LIMIT);
    instance_cancel(a->inst);
    failed(a, OUT_TRAPPED);
}

/* A page of its snapshot that cannot be read is no mistake of the guest's. */
static void trapped(struct awake *a)
{
    failed(a, a->err.code == ERR_CORRUPT ? OUT_CORRUPT : OUT_TRAPPED);
}

/* It was only to be made awake, and is. */
static bool is_awake(struct awake *a)
{
    if (!a->no_event || a->phase != PHASE_HANDLE)
        return false;
    event_ends(a);
    give_back(a, OUT_DONE);
    return true;
}

/* Polls once. True: it can go on at once. */
static bool poll_once(struct awake *a)
{
    switch (instance_poll(a->inst, &a->result, &a->err)) {
    case RUN_DONE:
        if (a->phase == PHASE_HANDLE) {
            handled(a);
            return false;
        }
        begin_next(a);
        return !is_awake(a);
    case RUN_TRAPPED:
        trapped(a);
        return false;
    case RUN_YIELDED:
        queue_put(queue_for(a), a);
        return false;
    case RUN_WAITING:
        a->parked = true;
        return false;
    }
    return false;
}

static void begun(struct awake *a)
{
    if (!a->unbegun)
        return;
    a->unbegun = false;
    atomic_fetch_sub_explicit(&a->worker->unbegun, 1, memory_order_relaxed);
}

static void advance(struct awake *a)
{
    bool more = true;

    begun(a);

    if (!a->inst) {
        if (make_instance(a) != 0)
            return;
        a->phase = PHASE_NEW;
        begin_next(a);
    }
    if (is_awake(a)) /* also where an I/O thread has read all of it */
        return;
    while (more) {
        if (a->cut) {
            cut(a);
            return;
        }
        more = poll_once(a);
    }
}

/* The message that brings an event. */
static void event_came(struct msg *m)
{
    struct awake *a = container_of(m, struct awake, msg);

    self->coming = 0;
    a->runnable = a->parked = false;
    a->err.code = ERR_NONE;
    a->woke = a->restored;
    a->restored = a->fresh = false;
    if (!a->picked_ns) /* not when it comes back from an I/O thread */
        a->picked_ns = clock_now_ns();
    a->deadline.fire = time_passed; /* from here on: what an I/O thread took is not the guest's */
    session_begin(a);
    if (loop_timer_set(self->loop, &a->deadline, clock_now_ns() + guest_time_max(a->guest),
                       &a->err) < 0) {
        begun(a);
        failed(a, a->inst ? OUT_TRAPPED : OUT_NO_ROOM);
        return;
    }
    if (a->inst) {
        a->phase = PHASE_INITIALIZE;
        begin_next(a);
    }
    make_runnable(a);
}

void worker_run(struct worker *w, struct awake *a)
{
    a->worker = w;
    atomic_fetch_add(&w->load, 1);
    atomic_fetch_add_explicit(&w->unbegun, 1, memory_order_relaxed);
    a->unbegun = true;
    a->msg.run = event_came;
    a->sent_ns = clock_now_ns();
    if (w == self) { /* on the loop, from the loop */
        w->coming++;
        loop_post_quietly(w->loop, &a->msg);
        return;
    }
    loop_post(w->loop, &a->msg);
    if (atomic_load(&w->load) > 1)
        engine_tick(w->env.engine); /* one that computes there lets this one in */
}

bool worker_free_now(const struct worker *w)
{
    return !has_runnable(w) && w->coming == 0 && worker_load(w) < WORKER_ON_LOOP_MAX;
}

size_t worker_unbegun(const struct worker *w)
{
    return atomic_load_explicit(&w->unbegun, memory_order_relaxed);
}

size_t worker_load(const struct worker *w)
{
    return atomic_load_explicit(&w->load, memory_order_relaxed);
}

void worker_hurry(struct worker *w)
{
    atomic_store(&w->hurry, true);
}

uint64_t worker_cpu_ns(const struct worker *w)
{
    struct timespec ts = {0};
    clockid_t clock;

    if (w->env.on_loop || pthread_getcpuclockid(w->thread, &clock) != 0 ||
        clock_gettime(clock, &ts) < 0)
        return 0;
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* --- the thread --- */

static void stop_came(struct msg *m)
{
    struct worker *w = container_of(m, struct worker, stop);

    w->stopping = true;
}

static struct awake *next_runnable(struct worker *w)
{
    bool late = w->late.first && (!w->ready.first || w->turns >= WORKER_LATE_TURNS);
    struct queue *q = late ? &w->late : &w->ready;
    struct awake *a = q->first;

    if (!a)
        return NULL;
    w->turns = late ? 0 : w->turns + 1;
    q->first = a->next_runnable;
    if (!q->first)
        q->last = &q->first;
    a->runnable = false;
    return a;
}

/* One guest in each turn: between two the loop takes what came for the others. */
static bool run_one(void *ctx)
{
    struct worker *w = ctx;
    struct awake *a = next_runnable(w);

    if (a)
        advance(a);
    return has_runnable(w);
}

static void rest(struct msg *m)
{
    struct worker *w = container_of(m, struct worker, rest);

    atomic_store(&w->resting, false);
    heap_flush();
}

void worker_rest(struct worker *w)
{
    if (w->env.on_loop || atomic_exchange(&w->resting, true))
        return;
    w->rest.run = rest;
    loop_post(w->loop, &w->rest);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    self = w;
    while (!w->stopping || has_runnable(w))
        loop_turn(w->loop, true);
    return NULL;
}

static void worker_free(struct worker *w)
{
    if (w->env.capabilities)
        w->env.capabilities->close(w->env.capabilities->ctx, w->env.index);
    if (w->env.on_loop)
        self = NULL;
    else
        loop_free(w->loop);
    free(w);
}

static int loop_open(struct worker *w, struct err *err)
{
    const struct capability_source *from = w->env.capabilities;

    if (w->env.on_loop)
        w->loop = w->env.loop;
    else if (loop_new(&w->loop, err) < 0)
        return -1;
    loop_work_init(w->loop, run_one, w);
    return from->open(from->ctx, w->env.index, w->loop, &w->capabilities, err);
}

static int thread_open(struct worker *w, struct err *err)
{
    int rc;

    if (w->env.on_loop) {
        self = w;
        return 0;
    }
    rc = pthread_create(&w->thread, NULL, worker_main, w);
    if (rc)
        return err_set(err, ERR_NOMEM, rc, "worker thread");
    pthread_setname_np(w->thread, "roost-worker");
    return 0;
}

int worker_start(struct worker **out, const struct worker_env *env, struct err *err)
{
    struct worker *w = calloc(1, sizeof(*w));

    if (!w)
        return err_set(err, ERR_NOMEM, 0, "no memory for a worker");
    w->env = *env;
    w->ready.last = &w->ready.first;
    w->late.last = &w->late.first;
    if (loop_open(w, err) < 0 || thread_open(w, err) < 0) {
        worker_free(w);
        return -1;
    }
    *out = w;
    return 0;
}

void worker_stop(struct worker *w)
{
    if (!w)
        return;
    if (!w->env.on_loop) {
        w->stop.run = stop_came;
        loop_post(w->loop, &w->stop);
        pthread_join(w->thread, NULL);
    }
    assert(worker_load(w) == 0);
    worker_free(w);
}
