/* See iopool.h. One queue, several threads; each takes one job at a time. */
#include "guest/iopool.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/limits.h"
#include "base/log.h"
#include "engine/arena.h"
#include "guest/spares.h"
#include "guest/worker.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

struct iopool {
    struct iopool_env env;
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct msg *first, **last;
    struct msg trim, sweep;
    atomic_bool trim_ordered, sweep_ordered;
    bool stopping;
    size_t n;
    pthread_t threads[IO_THREADS_MAX];
};

static _Thread_local struct iopool *self;

static void put(struct iopool *io, struct msg *m)
{
    m->next = NULL;
    pthread_mutex_lock(&io->lock);
    *io->last = m;
    io->last = &m->next;
    pthread_mutex_unlock(&io->lock);
    pthread_cond_signal(&io->ready);
}

static void back_to_loop(struct awake *a, enum outcome outcome)
{
    a->outcome = outcome;
    a->msg.run = self->env.back;
    loop_post(self->env.loop, &a->msg);
}

static void drop_instance(struct awake *a)
{
    instance_free(a->inst);
    a->inst = NULL;
}

static void leave_instance(struct awake *a)
{
    if (a->saved)
        spares_put(self->env.spares, a->inst, a->saved);
    else
        instance_free(a->inst);
    a->inst = NULL;
}

/* Space that sleeps have freed goes back to the file system here, where it delays nobody. */
static void trim(void)
{
    struct err err = {0};

    if (arena_trim_due(self->env.arena) && arena_trim(self->env.arena, &err) < 0)
        log_warn("arena: %s", err.msg);
}

static void trim_ordered(struct msg *m)
{
    struct iopool *io = container_of(m, struct iopool, trim);

    atomic_store(&io->trim_ordered, false);
    trim();
}

void iopool_trim(struct iopool *io)
{
    if (!arena_trim_due(io->env.arena) || atomic_exchange(&io->trim_ordered, true))
        return;
    io->trim.run = trim_ordered;
    put(io, &io->trim);
}

static void sweep_ordered(struct msg *m)
{
    struct iopool *io = container_of(m, struct iopool, sweep);

    atomic_store(&io->sweep_ordered, false);
    spares_sweep(io->env.spares);
}

void iopool_sweep(struct iopool *io)
{
    if (atomic_exchange(&io->sweep_ordered, true))
        return;
    io->sweep.run = sweep_ordered;
    put(io, &io->sweep);
}

static void not_saved(struct awake *a)
{
    if (a->err.code == ERR_CORRUPT) {
        drop_instance(a);
        back_to_loop(a, OUT_CORRUPT);
    } else {
        back_to_loop(a, a->err.code == ERR_AGAIN ? OUT_ABANDONED : OUT_UNSAVED);
    }
}

static void save(struct msg *m)
{
    struct awake *a = container_of(m, struct awake, msg);

    a->err.code = ERR_NONE;
    a->saved = NULL;
    a->ndropped = 0;
    if (!a->drop_only &&
        instance_save(&a->saved, a->dropped, &a->ndropped, a->inst, self->env.arena, a->from,
                      &a->save_as, 0, &a->abandon, &a->err) < 0) {
        not_saved(a);
        return;
    }
    leave_instance(a);
    a->slept_ns = clock_now_ns();
    back_to_loop(a, OUT_SAVED);
    trim();
}

void iopool_save(struct iopool *io, struct awake *a)
{
    atomic_store(&a->abandon, false);
    a->decided_ns = clock_now_ns();
    a->msg.run = save;
    put(io, &a->msg);
}

static void not_fetched(struct awake *a)
{
    bool damaged = a->err.code == ERR_CORRUPT || a->err.code == ERR_IO;

    a->done_ns = clock_now_ns();
    back_to_loop(a, damaged ? OUT_CORRUPT : OUT_NO_ROOM);
}

static void fetch(struct msg *m)
{
    struct awake *a = container_of(m, struct awake, msg);
    int rc = a->verify ? snapshot_check_pages(a->from, self->env.arena, &a->err)
                       : snapshot_fetch(a->from, self->env.arena, &a->err);

    if (rc < 0) {
        not_fetched(a);
        return;
    }
    a->fetched = true;
    worker_run(a->worker, a);
}

void iopool_fetch(struct iopool *io, struct awake *a)
{
    a->msg.run = fetch;
    put(io, &a->msg);
}

static void read_all(struct msg *m)
{
    struct awake *a = container_of(m, struct awake, msg);

    a->err.code = ERR_NONE;
    if (instance_restore(a->inst, a->from, self->env.arena, RESTORE_READ | RESTORE_NOWAIT,
                         &a->err) == 0) {
        a->restored = true;
        worker_run(a->worker, a);
        return;
    }
    drop_instance(a);
    if (a->err.code == ERR_AGAIN)
        fetch(m); /* cold: what of it the handler touches is read then */
    else
        not_fetched(a);
}

void iopool_read(struct iopool *io, struct awake *a)
{
    a->msg.run = read_all;
    put(io, &a->msg);
}

static void drop(struct msg *m)
{
    struct awake *a = container_of(m, struct awake, msg);

    drop_instance(a);
    back_to_loop(a, a->outcome);
}

void iopool_drop(struct iopool *io, struct awake *a, enum outcome outcome)
{
    a->outcome = outcome;
    a->msg.run = drop;
    put(io, &a->msg);
}

/* What the thread's jobs left with the allocator goes back after a while without any: *worked says
 * whether there is something. Under the lock. */
static void wait_for_job(struct iopool *io, bool *worked)
{
    struct timespec t = clock_timespec(clock_now_ns() + IO_IDLE_NS);

    if (!*worked) {
        pthread_cond_wait(&io->ready, &io->lock);
    } else if (pthread_cond_timedwait(&io->ready, &io->lock, &t) == ETIMEDOUT) {
        *worked = false;
        pthread_mutex_unlock(&io->lock);
        heap_flush();
        pthread_mutex_lock(&io->lock);
    }
}

static void *io_main(void *arg)
{
    struct iopool *io = arg;
    bool worked = false;

    self = io;
    /* Sleeping is never urgent: workers and the loop go first where there are too few cores. By so
     * much, whatever they have: else a daemon that is favoured would starve its own sleeps. */
    setpriority(PRIO_PROCESS, (id_t)gettid(),
                getpriority(PRIO_PROCESS, (id_t)gettid()) + IO_THREAD_NICE);
    pthread_mutex_lock(&io->lock);
    for (;;) {
        struct msg *m = io->first;

        if (!m && io->stopping)
            break;
        if (!m) {
            wait_for_job(io, &worked);
            continue;
        }
        worked = true;
        io->first = m->next;
        if (!io->first)
            io->last = &io->first;
        pthread_mutex_unlock(&io->lock);
        m->run(m);
        pthread_mutex_lock(&io->lock);
    }
    pthread_mutex_unlock(&io->lock);
    return NULL;
}

int iopool_start(struct iopool **out, const struct iopool_env *env, size_t threads, struct err *err)
{
    struct iopool *io = calloc(1, sizeof(*io));
    int rc = 0;

    if (!io)
        return err_set(err, ERR_NOMEM, 0, "no memory for the I/O threads");
    io->env = *env;
    io->last = &io->first;
    pthread_mutex_init(&io->lock, NULL);
    clock_cond_init(&io->ready);
    for (; io->n < threads && io->n < IO_THREADS_MAX; io->n++) {
        rc = pthread_create(&io->threads[io->n], NULL, io_main, io);
        if (rc)
            break;
        pthread_setname_np(io->threads[io->n], "roost-io");
    }
    if (rc) {
        iopool_stop(io);
        return err_set(err, ERR_NOMEM, rc, "I/O thread");
    }
    *out = io;
    return 0;
}

void iopool_join(struct iopool *io)
{
    if (!io)
        return;
    pthread_mutex_lock(&io->lock);
    io->stopping = true;
    pthread_mutex_unlock(&io->lock);
    pthread_cond_broadcast(&io->ready);
    for (size_t i = 0; i < io->n; i++)
        pthread_join(io->threads[i], NULL);
    io->n = 0;
}

void iopool_stop(struct iopool *io)
{
    if (!io)
        return;
    iopool_join(io);
    assert(!io->first);
    pthread_cond_destroy(&io->ready);
    pthread_mutex_destroy(&io->lock);
    free(io);
}
