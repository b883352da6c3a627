/* Ticks: what makes guests that compute yield, and limits their time.
 *
 * A thread of its own, since guests run on the loop as well. It sleeps for good while no guest has
 * an event in hand, so a daemon with nothing to do wakes nobody.
 */
#ifndef ROOST_GUEST_TICKER_H
#define ROOST_GUEST_TICKER_H

#include "base/loop.h"
#include "engine/engine.h"

struct ticker;

/* With each tick the loop is woken if something was posted to it quietly. */
int ticker_start(struct ticker **out, struct engine *engine, struct loop *loop, struct err *err)
    ERR_CHECK;
/* NULL is fine. */
void ticker_stop(struct ticker *t);
/* Loop thread: one more guest has an event in hand (quick: it should be over before the first tick,
 * which may come as late as TICK_REST_NS); one less. */
void ticker_begin(struct ticker *t, bool quick);
void ticker_end(struct ticker *t);

#endif
