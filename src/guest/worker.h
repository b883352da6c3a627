/* Workers: they run guests' code. One for each core with a thread of its own, and one more on the
 * daemon's loop.
 *
 * The one on the loop takes guests that were quick the last time and fit into the page cache, one
 * at a time: to wake another thread for them would take longer than they do. All others, and
 * bursts, go to the threads; there is no other difference between the two kinds.
 *
 * A worker owns the guests that were posted to it until it posts them back. It runs each until it
 * waits, yields at a tick, or ends; those that can run take turns. Each worker has a loop of its
 * own, on which the capabilities of its guests live (its own connections to the API server): a
 * guest's call and the answer stay on one thread, because waking another core costs more than a
 * wake from disk. It reads no files: where a snapshot is not in the page cache, the guest goes to
 * an I/O thread first (guest/iopool.h) and comes back.
 *
 * A guest that is to sleep after its event and changed a few pages is saved here, as long as the
 * disk takes that at once: handing it to another thread costs more than writing it, also where
 * others wait. For the same reason the loop is not woken for news that can wait for its next tick.
 */
#ifndef ROOST_GUEST_WORKER_H
#define ROOST_GUEST_WORKER_H

#include "guest/awake.h"

struct worker;
struct iopool;
struct spares;

struct worker_env {
    size_t index;
    bool on_loop; /* no thread of its own: it runs in the turns of `loop`, and is made by its thread
                   */
    struct loop *loop; /* the daemon's, where awakes come back to */
    const struct capability_source *capabilities;
    struct engine *engine;
    struct arena *arena;
    struct iopool *io;
    struct spares *spares;
    atomic_uint_fast64_t *slow_save_ns; /* of all workers: when one last found the disk slow */
    void (*back)(struct msg *m);        /* runs on the loop when an awake comes back */
    /* Of one on the loop: the disk is needed, choose a worker that may wait (a->worker). */
    void (*elsewhere)(struct awake *a);
};

int worker_start(struct worker **out, const struct worker_env *env, struct err *err) ERR_CHECK;
/* Waits for the thread to end; no guest may be with it. NULL is fine. */
void worker_stop(struct worker *w);
/* Loop or I/O thread: run the event that a->ev holds. */
void worker_run(struct worker *w, struct awake *a);
/* Events that were posted to it and that it has not begun. Any thread. */
size_t worker_unbegun(const struct worker *w);
/* Any thread: guests with an event on it or on their way to it. */
size_t worker_load(const struct worker *w);
/* Loop thread, of a worker on the loop: nothing runs there or is about to. */
bool worker_free_now(const struct worker *w);
/* Loop thread: a guest that is with it is wanted (a->abandon): the loop is woken when it is done.
 */
void worker_hurry(struct worker *w);
/* CPU time that its thread took so far, in ns; 0 for the one on the loop. Loop thread. */
uint64_t worker_cpu_ns(const struct worker *w);
/* Loop thread: nothing has happened for a while; what its thread keeps of the allocator goes back.
 */
void worker_rest(struct worker *w);
struct loop *worker_loop(struct worker *w);
const struct capabilities *worker_capabilities(const struct worker *w);

/* --- for sessions, on the worker's thread --- */
void worker_resume(struct awake *a);
void worker_wait_set(struct awake *a, uint32_t ms);
void worker_wait_clear(struct awake *a);

#endif
