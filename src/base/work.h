/* Work that may block or takes long, of the loop thread: done elsewhere, over on the loop.
 *
 * On libuv's threads, which are made when they are first needed and are few: for what people ask
 * for, not for what guests do all the time (guest/iopool.h).
 */
#ifndef ROOST_BASE_WORK_H
#define ROOST_BASE_WORK_H

#include "base/loop.h"

/* Calls run(ctx) on another thread, then done(ctx) on the loop. Whoever frees ctx or the loop waits
 * for done. ERR_NOMEM: neither is called. Loop thread. */
int work_start(struct loop *loop, void (*run)(void *ctx), void (*done)(void *ctx), void *ctx,
               struct err *err) ERR_CHECK;

#endif
