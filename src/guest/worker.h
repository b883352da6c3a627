/* Workers: threads that run guests' code, one per core.
 *
 * A worker owns the guests that were posted to it until it posts them back. It runs each until it
 * waits, yields at a tick, or ends; those that can run take turns. Each worker has a loop of its
 * own, on which the capabilities of its guests live (its own connections to the API server): a
 * guest's call and the answer stay on one thread, because waking another core costs more than a
 * wake from disk. It does no file I/O: where a snapshot is not in the page cache, the guest goes to
 * an I/O thread first (guest/iopool.h) and comes back.
 */
#ifndef ROOST_GUEST_WORKER_H
#define ROOST_GUEST_WORKER_H

#include "guest/awake.h"

struct worker;
struct iopool;

struct worker_env {
    size_t index;
    struct loop *loop; /* the daemon's, where awakes come back to */
    const struct capability_source *capabilities;
    struct engine *engine;
    struct arena *arena;
    struct iopool *io;
    void (*back)(struct msg *m); /* runs on the loop when an awake comes back */
};

int worker_start(struct worker **out, const struct worker_env *env, struct err *err) ERR_CHECK;
/* Waits for the thread to end; no guest may be with it. NULL is fine. */
void worker_stop(struct worker *w);
/* Loop thread: run the event that a->ev holds. */
void worker_run(struct worker *w, struct awake *a);
struct loop *worker_loop(struct worker *w);
const struct capabilities *worker_capabilities(const struct worker *w);

/* --- for sessions, on the worker's thread --- */
void worker_resume(struct awake *a);
void worker_wait_set(struct awake *a, uint32_t ms);
void worker_wait_clear(struct awake *a);

#endif
