/* What a guest has only while it is awake: instance, the event in hand, its calls.
 *
 * It is one message that travels. The loop fills in an event and posts it to a worker; the worker
 * makes the instance if there is none, runs the handler and posts it back; the loop posts it to an
 * I/O thread to be saved and dropped. Exactly one thread owns it at any time, so nothing in here is
 * locked; what the others may touch meanwhile is `abandon` alone.
 */
#ifndef ROOST_GUEST_AWAKE_H
#define ROOST_GUEST_AWAKE_H

#include "base/inbox.h"
#include "base/limits.h"
#include "base/timers.h"
#include "engine/engine.h"
#include "guest/call.h"
#include "guest/event.h"

#include <stdatomic.h>

struct guest;
struct guests;
struct worker;

/* How an event ended, or a save. */
enum outcome {
    OUT_DONE,      /* handle returned; result says 0 = handled */
    OUT_SLEPT,     /* handled, and saved at once as after OUT_SAVED */
    OUT_TRAPPED,   /* trap, limit, proc_exit: err says why; the instance is gone */
    OUT_CORRUPT,   /* its snapshot was refused, or could not be read while the guest ran; err says
                      why; the instance is gone */
    OUT_NO_ROOM,   /* could not be made awake for want of memory or mappings; try later */
    OUT_SAVED,     /* saved is the new snapshot (NULL: dropped without); the instance is gone */
    OUT_ABANDONED, /* not saved, an event came: the instance is as it was */
    OUT_UNSAVED,   /* not saved, err says why: the instance is as it was */
};

enum phase { PHASE_NEW, PHASE_START, PHASE_INITIALIZE, PHASE_HANDLE };

struct open_call {
    int32_t handle;
    bool more; /* its request's body goes on */
    size_t sent;
    struct call *call;
};

struct awake {
    struct msg msg;
    struct guest *guest; /* loop only, but for what is immutable or its log */
    struct guests *guests;
    struct worker *worker;
    size_t worker_at; /* its place in guests->workers */
    struct instance *inst;
    const struct snapshot *from; /* to wake from; borrowed from the guest, NULL: fresh */
    bool verify;                 /* check its pages first: the machine went down since */
    bool writes_most;            /* its last events wrote to most of its memory: so will this one */
    bool restored;               /* back from an I/O thread that has read all of it */
    bool fetched;                /* an I/O thread brought it in: read it, whatever it takes */

    struct event ev;
    struct answer answer;
    enum outcome outcome;
    struct err err;
    int32_t result;
    bool woke, fresh; /* during this event: made from a snapshot, or anew */
    bool no_event;    /* only made awake: there is nothing to handle */
    uint64_t put_ns, sent_ns, picked_ns, handling_ns, done_ns;
    uint64_t cpu_ns;  /* running time of the last event */
    bool faulted;     /* on the loop: it waited for a page from the disk */
    uint64_t debt_ns; /* running time of those before it that is not paid for */

    /* worker's */
    enum phase phase;
    struct awake *next_runnable;
    bool runnable, parked;
    bool unbegun;    /* posted, not begun */
    const char *cut; /* why the event must end now */
    struct timer deadline, wait;
    bool wait_set, wait_over;
    struct open_call *calls;
    size_t ncalls, calls_room;
    int32_t next_handle;
    size_t body_read;  /* of the event's own body */
    uint32_t refusals; /* what the host refused to do during this event, and the last of it */
    char refusal[REFUSAL_MAX];
    bool memory_full; /* it has all the memory that it may have, and that was said */

    struct guest *idle_older, *idle_newer; /* loop only: guest/budget.c */

    /* saving */
    bool alone;     /* nothing else of it is due soon: the loop need not be woken when it is done */
    bool stays;     /* awake, for a while at least */
    bool save_here; /* when it is done its worker may save it, if that is a matter of few pages */
    atomic_bool abandon; /* set by the loop: something came for it */
    bool drop_only;      /* sleep: {mode: fresh}, or never and the daemon stops */
    struct snapshot_id save_as;
    struct snapshot *saved;
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    size_t ndropped;
    uint64_t decided_ns, slept_ns;
};

/* The host calls of the engine, on sessions. ctx is the awake. */
extern const struct host_calls session_calls;
/* Worker: the event begins, ends (all its calls are closed). */
void session_begin(struct awake *a);
void session_end(struct awake *a);
/* For describe: what the host did not do for this guest, and why. The awake's owner. */
void session_refused(void *awake, const char *why);

#endif
