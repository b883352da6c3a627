/* What is to be tried again, where there was no memory for the timer that would have said when.
 *
 * All that goes wrong here is tried again after a while, by a timer of its own. A timer needs a
 * place in the loop's heap, which may have to grow: in need of memory that fails, and nobody would
 * come back to it. So one timer of the watch is always set, since moving one cannot fail; as a rule
 * it is far away. Who found no memory moves it near (sweep_later), and then all is looked through
 * for what waits for nothing: neither for an answer nor for a timer.
 */
#include "trigger/watch_internal.h"

#include <assert.h>

#define FAR_NS (365ull * 24 * 3600 * NS_PER_S)

static void set(struct watch *w, uint64_t ns)
{
    int rc = watch_timer_in(w, &w->sweep, ns, NULL);

    assert(rc == 0); /* it is set, or was until just now */
    (void)rc;
}

static void ask_again(struct sub *sub)
{
    if (sub->guest->spec->service_account && !(sub->trouble && sub->trouble->retry.at))
        admit_ask(sub); /* only where it is not admitted, nor asked about */
}

static void sweep(struct timer *t)
{
    struct watch *w = container_of(t, struct watch, sweep);

    set(w, FAR_NS);
    for (struct source *s = w->sources; s; s = s->next) {
        watch_source_again(s);
        for (struct sub *sub = s->subs; sub; sub = sub->next)
            ask_again(sub);
    }
}

int sweep_init(struct watch *w, struct err *err)
{
    w->sweep.fire = sweep;
    return watch_timer_in(w, &w->sweep, FAR_NS, err);
}

void sweep_stop(struct watch *w)
{
    w->opts.time.clear(w->opts.time.ctx, &w->sweep);
}

void sweep_later(struct watch *w)
{
    if (!w->stopped)
        set(w, WATCH_RETRY_MAX_MS * NS_PER_MS);
}
