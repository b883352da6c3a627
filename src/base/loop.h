/* The loop thread: sockets, timers and messages, on libuv.
 *
 * One thread owns the loop and all registries of the daemon, so there are no locks there. Nothing
 * that runs on it may block or take long: no waiting for a disk, no Wasm but guests that are quick
 * (guest/worker.h). Other threads reach it only through loop_post. What a message that is run at
 * the end of a turn (loop_post_quietly) writes to a connection leaves in the turn after. Timers are
 * embedded in what they belong to and kept in one heap over a single libuv timer: 100,000 sleeping
 * guests have 100,000 timers at 32 bytes each.
 */
#ifndef ROOST_BASE_LOOP_H
#define ROOST_BASE_LOOP_H

#include "base/err.h"
#include "base/inbox.h"
#include "base/timers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

int loop_new(struct loop **out, struct err *err) ERR_CHECK;
/* Runs until loop_stop was called and the turn is over. */
void loop_run(struct loop *loop);
/* One turn, for a thread that has other work between turns; waits for something only where `wait`
 * says so. The thread of the first turn is the loop's for good. */
void loop_turn(struct loop *loop, bool wait);
/* Loop thread only. */
void loop_stop(struct loop *loop);
/* Closes what is left of the loop's own and frees it; every other handle must be closed by its
 * owner before. Closes pending since are completed here, messages run, and timers forgotten without
 * firing. Waits up to LOOP_CLOSE_TURNS_MAX times LOOP_CLOSE_TURN_MS for a name lookup under way; a
 * longer one keeps the loop's memory. NULL is fine. */
void loop_free(struct loop *loop);
/* Monotonic ns, read once a turn: the same for all that happens in it. Loop thread only. */
uint64_t loop_now_ns(struct loop *loop);
/* Any thread: m->run(m) is called on the loop thread, in order. */
void loop_post(struct loop *loop, struct msg *m);
/* The same, without waking the loop: m is run at the latest at the end of its next turn, whatever
 * that comes from. For what costs nothing to be late, where a turn is sure to come. */
void loop_post_quietly(struct loop *loop, struct msg *m);
/* Any thread: makes sure of a turn. */
void loop_wake(struct loop *loop);
/* Any thread: the same, but only if something lies there that was posted quietly. */
void loop_wake_if_posted(struct loop *loop);
/* Loop thread: takes back a message that was posted and not run yet. */
void loop_unpost(struct loop *loop, struct msg *m);
/* As loop_post, but on the loop's own thread it is run at once, from here. */
void loop_send(struct loop *loop, struct msg *m);
/* Work between turns: fn is called once in each turn, before that waits for anything, as long as it
 * returns true; while it does, no turn waits. loop_work_start begins it (again); fn and ctx are set
 * once, before that. Loop thread only. */
void loop_work_init(struct loop *loop, bool (*fn)(void *ctx), void *ctx);
void loop_work_start(struct loop *loop);
/* Sets (or moves) a timer; a due time in the past fires in the next turn, never from here. May be
 * up to 2 ms late, never early. ERR_NOMEM only when it was not set before. Loop thread only. */
int loop_timer_set(struct loop *loop, struct timer *t, uint64_t due_ns, struct err *err) ERR_CHECK;
/* As timers_reserve. */
int loop_timers_reserve(struct loop *loop, size_t n, struct err *err) ERR_CHECK;
void loop_timer_clear(struct loop *loop, struct timer *t);
/* Calls fn(ctx) on the loop thread for SIGTERM, SIGINT or SIGHUP. One function for each signal. */
int loop_on_signal(struct loop *loop, int signum, void (*fn)(void *ctx, int signum), void *ctx,
                   struct err *err) ERR_CHECK;
/* For the other files of base/ that wrap libuv: a uv_loop_t. */
void *loop_uv(struct loop *loop);

#endif
