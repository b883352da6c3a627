/* See ticker.h. Every TICK_NS while a guest computes, every TICK_REST_NS while those with an event
 * in hand only wait, and not at all when there are none. For an event that may take long it is
 * woken at once; for one that should be over before the first tick it is not, unless it sleeps for
 * good. After the last event it goes on for TICK_LINGER rests: at a steady trickle of events nobody
 * pays for waking it.
 */
#include "guest/ticker.h"

#include "base/clock.h"
#include "base/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct ticker {
    struct engine *engine;
    struct loop *loop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    atomic_size_t in_hand;
    atomic_bool parked, resting, hurry, stopping;
};

static void tell(struct ticker *t)
{
    pthread_mutex_lock(&t->lock);
    pthread_cond_signal(&t->wanted);
    pthread_mutex_unlock(&t->lock);
}

/* Until there is something in hand. `parked` is set before in_hand is looked at, and whoever raises
 * in_hand looks at `parked` after that: one of the two sees the other. */
static void park(struct ticker *t)
{
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->parked, true);
    while (atomic_load(&t->in_hand) == 0 && !atomic_load(&t->stopping))
        pthread_cond_wait(&t->wanted, &t->lock);
    atomic_store(&t->parked, false);
    pthread_mutex_unlock(&t->lock);
}

static void rest(struct ticker *t)
{
    uint64_t until = clock_now_ns() + TICK_REST_NS;
    struct timespec ts = clock_timespec(until);
    int rc = 0;

    pthread_mutex_lock(&t->lock);
    atomic_store(&t->resting, true);
    while (rc == 0 && !atomic_load(&t->hurry) && !atomic_load(&t->stopping))
        rc = pthread_cond_timedwait(&t->wanted, &t->lock, &ts);
    atomic_store(&t->resting, false);
    pthread_mutex_unlock(&t->lock);
}

static void nap(void)
{
    const struct timespec tick = {.tv_nsec = TICK_NS};

    clock_nanosleep(CLOCK_MONOTONIC, 0, &tick, NULL);
}

static void *ticker_main(void *arg)
{
    struct ticker *t = arg;
    unsigned lingered = TICK_LINGER;

    while (!atomic_load(&t->stopping)) {
        lingered = atomic_load(&t->in_hand) ? 0 : lingered + 1;
        if (lingered > TICK_LINGER) {
            park(t);
            lingered = 0;
            continue;
        }
        loop_wake_if_posted(t->loop);
        if (engine_tick(t->engine) || atomic_exchange(&t->hurry, false))
            nap();
        else
            rest(t);
    }
    return NULL;
}

int ticker_start(struct ticker **out, struct engine *engine, struct loop *loop, struct err *err)
{
    struct ticker *t = calloc(1, sizeof(*t));
    pthread_attr_t attr;
    int rc;

    if (!t)
        return err_set(err, ERR_NOMEM, 0, "no memory for the ticker");
    t->engine = engine;
    t->loop = loop;
    pthread_mutex_init(&t->lock, NULL);
    clock_cond_init(&t->wanted);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, TICKER_STACK_BYTES);
    rc = pthread_create(&t->thread, &attr, ticker_main, t);
    pthread_attr_destroy(&attr);
    if (rc) {
        free(t);
        return err_set(err, ERR_NOMEM, rc, "ticker thread");
    }
    pthread_setname_np(t->thread, "roost-tick");
    *out = t;
    return 0;
}

void ticker_stop(struct ticker *t)
{
    if (!t)
        return;
    atomic_store(&t->stopping, true);
    tell(t);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->wanted);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void ticker_begin(struct ticker *t, bool quick)
{
    atomic_fetch_add(&t->in_hand, 1);
    if (!quick)
        atomic_store(&t->hurry, true);
    if (atomic_load(&t->parked) || (!quick && atomic_load(&t->resting)))
        tell(t);
}

void ticker_end(struct ticker *t)
{
    atomic_fetch_sub(&t->in_hand, 1);
}
