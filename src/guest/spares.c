/* See spares.h. A stack: who came last is taken first, and its caches are the warmest; those that
 * are in excess grow old at the bottom.
 */
#include "guest/spares.h"

#include "base/clock.h"
#include "base/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct spare {
    struct instance *inst;
    uint64_t since_ns;
    uint64_t kept_bytes;
};

struct spares {
    pthread_mutex_t lock; /* v, n, kept_bytes */
    struct spare v[SPARES_MAX];
    size_t n;
    uint64_t kept_bytes;
    atomic_bool any;
    struct loop *loop;
    struct timer sweep_at;
    void (*sweep)(void *ctx);
    void *ctx;
};

/* Under the lock. */
static struct instance *take_at(struct spares *s, size_t at)
{
    struct instance *i = s->v[at].inst;

    s->kept_bytes -= s->v[at].kept_bytes;
    memmove(&s->v[at], &s->v[at + 1], (--s->n - at) * sizeof(s->v[0]));
    atomic_store_explicit(&s->any, s->n > 0, memory_order_relaxed);
    return i;
}

/* The one that goes to make room, or NULL. */
static struct instance *in_excess(struct spares *s, uint64_t kept_bytes)
{
    struct instance *i = NULL;

    pthread_mutex_lock(&s->lock);
    for (size_t at = 0; !i && at < s->n; at++)
        if (s->n == SPARES_MAX ||
            (s->v[at].kept_bytes && s->kept_bytes + kept_bytes > SPARES_KEPT_BYTES))
            i = take_at(s, at);
    pthread_mutex_unlock(&s->lock);
    return i;
}

static bool push(struct spares *s, const struct spare *spare)
{
    bool fits;

    pthread_mutex_lock(&s->lock);
    fits = s->n < SPARES_MAX && s->kept_bytes + spare->kept_bytes <= SPARES_KEPT_BYTES;
    if (fits) {
        s->v[s->n++] = *spare;
        s->kept_bytes += spare->kept_bytes;
        atomic_store_explicit(&s->any, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s->lock);
    return fits;
}

/* The pages that it may leave behind. */
static uint64_t left_bytes(const struct snapshot *saved)
{
    uint64_t pages = 0;

    for (uint32_t n = 0; n < saved->nruns; n++)
        pages += snapshot_runs(saved)[n].count;
    return pages * PAGE_BYTES;
}

void spares_put(struct spares *s, struct instance *i, const struct snapshot *saved)
{
    struct spare spare = {.inst = i, .since_ns = clock_now_ns()};
    struct instance *excess;

    if (!instance_blank(i, left_bytes(saved) <= SPARES_KEPT_BYTES / 2 ? saved : NULL)) {
        instance_free(i);
        return;
    }
    spare.kept_bytes = instance_left_pages(i) * PAGE_BYTES;
    while ((excess = in_excess(s, spare.kept_bytes)))
        instance_free(excess);
    if (!push(s, &spare)) /* another thread was quicker */
        instance_free(i);
}

struct instance *spares_take(struct spares *s, const struct image *image,
                             const struct instance_opts *opts, const struct snapshot *from,
                             bool writes_most)
{
    struct instance *i = NULL;

    if (!atomic_load_explicit(&s->any, memory_order_relaxed))
        return NULL;
    pthread_mutex_lock(&s->lock);
    for (size_t at = s->n; !i && at-- > 0;)
        if ((writes_most || s->v[at].kept_bytes <= SPARES_LIGHT_PAGES * PAGE_BYTES) &&
            instance_reuse(s->v[at].inst, image, opts, from))
            i = take_at(s, at);
    pthread_mutex_unlock(&s->lock);
    return i;
}

static struct instance *take_old(struct spares *s, uint64_t before_ns)
{
    struct instance *i = NULL;

    pthread_mutex_lock(&s->lock);
    if (s->n > 0 && s->v[0].since_ns <= before_ns)
        i = take_at(s, 0);
    pthread_mutex_unlock(&s->lock);
    return i;
}

void spares_sweep(struct spares *s)
{
    const uint64_t before_ns = clock_now_ns() - SPARE_NS;
    struct instance *i;

    while ((i = take_old(s, before_ns)))
        instance_free(i);
}

static void sweep_due(struct timer *t)
{
    struct spares *s = container_of(t, struct spares, sweep_at);

    if (!atomic_load_explicit(&s->any, memory_order_relaxed))
        return;
    s->sweep(s->ctx);
    spares_tend(s);
}

void spares_tend(struct spares *s)
{
    if (s->sweep_at.at || !atomic_load_explicit(&s->any, memory_order_relaxed))
        return;
    s->sweep_at.fire = sweep_due;
    /* Without memory for the timer the next sleep tries again. */
    (void)!loop_timer_set(s->loop, &s->sweep_at, clock_now_ns() + SPARE_NS, NULL);
}

int spares_new(struct spares **out, struct loop *loop, void (*sweep)(void *ctx), void *ctx,
               struct err *err)
{
    struct spares *s = calloc(1, sizeof(*s));

    if (!s)
        return err_set(err, ERR_NOMEM, 0, "no memory for spare instances");
    pthread_mutex_init(&s->lock, NULL);
    s->loop = loop;
    s->sweep = sweep;
    s->ctx = ctx;
    *out = s;
    return 0;
}

void spares_free(struct spares *s)
{
    if (!s)
        return;
    loop_timer_clear(s->loop, &s->sweep_at);
    while (s->n > 0)
        instance_free(take_at(s, s->n - 1));
    pthread_mutex_destroy(&s->lock);
    free(s);
}
