/* A guest's life: its record, its mailbox, its states; and the registry of all of them.
 *
 * Loop thread, except where said. Triggers put keys into a guest's mailbox (guest_changed); the
 * state machine (guest/machine.c) wakes it, hands one key after the other to its worker, lets it
 * sleep, and keeps its record in the database. Nothing here knows what kinds of triggers and
 * capabilities exist.
 */
#ifndef ROOST_GUEST_GUEST_H
#define ROOST_GUEST_GUEST_H

#include "base/clock.h"
#include "base/db.h"
#include "base/hist.h"
#include "base/log.h"
#include "base/loop.h"
#include "guest/awake.h"
#include "guest/budget.h"
#include "guest/census.h"
#include "guest/journal.h"
#include "guest/mailbox.h"
#include "guest/spec.h"

#include <stdatomic.h>

/* The states; the table of what leads where is in guest/machine.c and docs/architecture.md. */
enum guest_state {
    G_COLD = 1, /* no instance, nothing saved: the next event starts it afresh */
    G_ASLEEP,   /* no instance, a snapshot */
    G_RUNNING,  /* with a worker */
    G_IDLE,     /* an instance, nothing to do */
    G_SAVING,   /* with an I/O thread */
    G_FAILED,   /* trapped: starts afresh after its back-off */
    G_STOPPING, /* the daemon drains */
    G_GONE,     /* saved or dropped, for good */
    GUEST_STATES
};

enum guest_event {
    GE_NONE,    /* no event: nothing was posted */
    GE_WAKE,    /* a key is due */
    GE_DONE,    /* the handler returned */
    GE_SLEPT,   /* the same, and its worker has put it to sleep */
    GE_TRAP,    /* it trapped, or a limit cut it */
    GE_CORRUPT, /* its snapshot was refused */
    GE_NO_ROOM, /* it could not be made awake for want of memory */
    GE_SLEEP,   /* idle for long enough, or on demand */
    GE_SAVED,   /* asleep, the instance gone */
    GE_KEPT,    /* not saved: the instance is still there */
    GE_RETRY,   /* the back-off is over, nothing is saved */
    GE_REVIVE,  /* the back-off is over, its snapshot is still good */
    GE_RESUME,  /* at start: its record has a snapshot */
    GE_STOP,    /* the daemon drains, or it is taken away */
    GE_WOKEN,   /* awake on demand, without an event */
    GE_RENEW,   /* it is another one from here on: nothing of its memory is kept */
    GUEST_EVENTS
};

/* What one trigger of one guest has seen: all changes up to `seen` are in the mailbox or handled.
 */
struct progress {
    uint64_t seen;
    uint64_t spec_hash; /* of the trigger's manifest: another one starts from 0 */
    uint64_t saved;     /* what its newest record says was seen */
    bool recorded;      /* there is one; else a kill makes it start afresh, all keys due */
};

/* A kind of trigger, seen from the guest: implemented under trigger/. */
struct trigger {
    void *ctx;
    /* What the key's event is now: type, source, uid, body. */
    int (*fill)(void *ctx, const struct guest *g, uint16_t trigger, const char *key,
                struct event *ev, struct err *err);
    /* Puts all keys that changed after `seen` into the mailbox (by guest_changed). */
    void (*due_since)(void *ctx, struct guest *g, uint16_t trigger, uint64_t seen);
    /* All triggers of the guest begin, each holding it until it is admitted; all end, with their
     * holds: no change reaches it any more. NULL: nothing to do. */
    int (*follow)(void *ctx, struct guest *g, struct err *err);
    void (*leave)(void *ctx, struct guest *g);
};

struct change; /* guest/change.c */
struct sub;    /* one trigger of one guest, in the eyes of trigger/ */

/* A token bucket for its log; whoever owns the awake owns this. */
struct log_bucket {
    uint64_t last_ns, tokens_milli, dropped;
};

struct guest {
    struct guests *all;
    struct guest_spec *spec;
    char *id; /* "namespace/name" */
    enum guest_state state;
    enum guest_event posted; /* by an action, to be handled after it */
    bool stepping;
    unsigned hold; /* what must be there before it may run: its image, each trigger */
    bool behind;   /* the mailbox was full: what came since must be looked up again */
    bool sleep_now, sleep_asked, wake_now, stop_saved;
    bool named; /* in the census */
    /* serve/: not the folder's; the folder has it still; its change is to be told */
    bool applied : 1, listed : 1, told : 1;
    struct change *change; /* it is being replaced or taken away; NULL: neither */
    struct image *image;
    struct err *rejected; /* why it can't be deployed; NULL: it is */
    struct mailbox *mailbox;
    struct charge charge;
    struct timer timer; /* the next thing due: a key, the sleep, the end of a back-off */
    struct awake *awake;
    struct snapshot *snapshot;
    bool verify;          /* the machine went down since it was written */
    bool record_due;      /* its record could not be queued for the database */
    struct release *owed; /* slots that are free once its next record is on disk */
    uint8_t uid[16], identity[32], module_digest[32];
    uint64_t generation;
    uint8_t heavy; /* its last sleeps, newest in bit 0: whether most of its memory was written */
    struct progress *progress; /* spec->nwatches of them */
    struct sub **subs;         /* the trigger's own, as many; the array is the guest's to free */
    uint32_t crashes;          /* in a row */
    uint64_t off_loop_ns;      /* it may not run on the loop before */
    uint32_t busy_us;          /* of a worker, by its last event; 0: none yet, or it failed */
    uint32_t wall_us;          /* of that, to wake and to sleep */
    uint64_t idle_since_ns, retry_ns, save_delay_ns;
    uint64_t paid_ns; /* when its running time will be paid for, at WORKER_LATE_SHARE of the time */
    struct guest_counts counts;
    struct log_bucket log;
    const char *last_error;  /* "" or of its own; guest_note_error sets it */
    const char *last_reason; /* err_reason_of it, or "" */
    char *last_refusal;      /* what the host last refused to do for it; NULL: nothing */
    int64_t created_wall_ms, last_error_wall_ms;
    const char **argv; /* while it is awake: args, then env, as WASI gives them, in one block */
};

struct guests_opts {
    struct loop *loop;
    struct clock clock;
    struct engine *engine;
    struct arena *arena;
    struct db *db;
    const struct capability_source *capabilities;
    const struct trigger *watch; /* the trigger kind of spec->watches */
    size_t workers, io_threads;
    uint64_t maps_max;          /* mappings of all awake guests; 0: any number */
    uint64_t boot;              /* the machine's, never 0: what was written in it is as it was */
    void (*drained)(void *ctx); /* after guests_drain: all are gone */
    void *ctx;
    /* What happens to a guest: `observe` when its state has changed but before the action, with the
     * awake as it came back; `after` the action. For tests and benchmarks; NULL: nobody wants to
     * know. They must not change the guest. */
    void (*observe)(void *ctx, const struct guest *g, enum guest_event ev);
    void (*after)(void *ctx, const struct guest *g, enum guest_event ev);
};

struct guests_stats {
    size_t guests, by_state[GUEST_STATES];
    struct guest_counts counts;
    uint64_t retries; /* events that had failed before */
    struct hist wake; /* put into the mailbox of a sleeping guest until its handler has returned */
    struct hist worker; /* from the worker's pick-up on */
    struct hist sleep;  /* from the decision until the instance is dropped */
    struct hist event;  /* put until returned, of guests that were awake */
    struct hist host;   /* sleeping guest: put until its first call was made */
};

struct guests;

int guests_new(struct guests **out, const struct guests_opts *opts, struct err *err) ERR_CHECK;
/* All must be gone (guests_drain). NULL is fine. */
void guests_free(struct guests *all);
/* Records whose guest was not added: notes since when each is missing, and, where `remove`, removes
 * those that are for longer than ORPHAN_KEEP_MS. Once, after all guests were added. */
void guests_forget_absent(struct guests *all, bool remove);
/* Adds a guest (takes spec); its record, if the database has one, gives it its memory and progress.
 * It is held (hold = 1) until guest_image_ready. ERR_EXISTS, ERR_LIMIT (GUESTS_MAX). */
int guests_add(struct guest **out, struct guests *all, struct guest_spec *spec,
               const uint8_t module_digest[32], struct err *err) ERR_CHECK;
struct guest *guests_find(const struct guests *all, const char *id);
/* In the order they were added; NULL ends. */
struct guest *guests_at(const struct guests *all, size_t i);
/* What guests said and what happened to them. */
struct journal *guests_journal(struct guests *all);
/* Borrowed, current. */
const struct guests_stats *guests_stats(struct guests *all);
/* The same since the daemon began, whatever was reset. */
void guests_totals(struct guests *all, struct guests_stats *out);
/* No event is begun any more; all guests are saved; then opts.drained is called. */
void guests_drain(struct guests *all);
/* Nothing has happened for a while: threads give back what they keep of the allocator. */
void guests_flush(struct guests *all);
/* What all awake guests may have together; 0: any amount. For what wakes from now on. */
void guests_set_memory(struct guests *all, uint64_t bytes);
/* Once a second or so: space on disk that guests wrote to lately is given back where none has slept
 * since the last time. */
void guests_rest(struct guests *all);
/* Forgets counts and histograms: a benchmark's next phase begins. */
void guests_stats_reset(struct guests *all);

/* The image is there (taken); or it never will be (err). Ends the hold of guests_add. Where a sleep
 * would lose some of the module's state, a guest whose manifest says nothing never sleeps from here
 * on, and one that insists (sleep.mode auto) is rejected. */
void guest_image_ready(struct guest *g, struct image *image);
void guest_reject(struct guest *g, const struct err *err);
void guest_hold(struct guest *g);
void guest_release(struct guest *g);
/* A trigger: the key changed, with that number; numbers of one trigger only grow. */
void guest_changed(struct guest *g, uint16_t trigger, const char *key, uint64_t seq);
/* Everything the trigger knows of is due: after a fresh start that lost what was handled. */
void guest_all_due(struct guest *g);
/* Sleep at once, whatever sleep.after says. */
void guest_sleep_now(struct guest *g);
/* Wake without an event, and stay so for WAKE_STAY_NS or as long as sleep.after says; a guest that
 * failed is tried again now. */
void guest_wake_now(struct guest *g);
const char *guest_state_name(enum guest_state s);
/* Whether mode and module allow it to sleep. */
bool guest_sleeps(const struct guest *g);
/* Its snapshot from here on (taken; NULL: none). What it had is the caller's. */
void guest_set_snapshot(struct guest *g, struct snapshot *s);
uint64_t guest_seen(const struct guest *g, uint16_t trigger);
/* Changes up to this number the guest will not ask for again, even if the daemon is killed now;
 * newest: the newest number there is, live: it has been told of all that concerns it. */
uint64_t guest_needs_after(const struct guest *g, uint16_t trigger, uint64_t newest, bool live);

/* --- machine.c --- */
void guest_step(struct guest *g, enum guest_event ev);
/* Wakes it if a key is due and it may run; else sets its timer. */
void guest_kick(struct guest *g);
/* What `roost get` shows as its last error; "" takes it back, as does a want of memory. */
void guest_note_error(struct guest *g, const char *text);
/* The same with its reason. */
void guest_note_err(struct guest *g, const struct err *err);
/* For the test of the table: the next state, 0 where the event is a bug. */
enum guest_state guest_next_state(enum guest_state from, enum guest_event ev);

/* --- record.c --- */
/* Queues the guest's record for the database; dropped slots are released once it is on disk. */
void guest_record_put(struct guest *g, const struct slot *dropped, size_t ndropped);
/* At start: takes the place in the arena of what the record's snapshot consists of, so that nobody
 * else gets it. ERR_CORRUPT: nothing is claimed. */
int guest_record_claim(struct arena *arena, const uint8_t *data, size_t len, struct err *err)
    ERR_CHECK;
/* Removes a record from the database; what guest_record_claim took for it is free once that is
 * done.
 */
int guest_record_remove(struct guests *all, const char *id, const uint8_t *data, size_t len,
                        bool claimed, struct err *err) ERR_CHECK;
/* Since when its guest is missing, 0: not; and notes it, in data and in the database. */
int64_t guest_record_absent(const uint8_t *data, size_t len);
int guest_record_note_absent(struct guests *all, const char *id, uint8_t *data, size_t len,
                             int64_t wall_ms, struct err *err) ERR_CHECK;
/* Frees what waits for its next record. */
void guest_record_forget(struct guest *g);
/* Applies a record to a new guest; claimed: guest_record_claim was done for it. ERR_CORRUPT with
 * what is wrong, nothing applied, and another record queued in its place. */
int guest_record_apply(struct guest *g, const uint8_t *data, size_t len, bool claimed,
                       struct err *err) ERR_CHECK;

/* The same for a guest that goes; its snapshot's space is free once that is done. Frees the
 * snapshot and what was owed. */
int guest_record_end(struct guest *g, struct err *err) ERR_CHECK;

/* --- change.c: while the daemon runs --- */
typedef void guest_changed_over(void *ctx, const struct err *err);

/* Takes the guest away: its triggers end, the event in hand is finished, its instance, its record
 * and its snapshot go. done is called on the loop when it is freed (err NULL), in a later turn.
 * ERR_AGAIN: it is being changed, or the daemon drains. ERR_NOMEM. */
int guest_remove(struct guest *g, guest_changed_over *done, void *ctx, struct err *err) ERR_CHECK;
/* Puts another manifest in its place (takes spec, and image: the module's, loaded). The event in
 * hand is finished first. Where module, arguments and environment are the same it keeps its memory
 * and what it has handled, unless one of the two manifests lets it never sleep. Else the new one is
 * started, without an event, and only if that goes well takes the place of the old, with all keys
 * due; where it does not, the old one goes on as it was, done gets the reason, and the guest has it
 * as its last error. done is called on the loop, in a later turn. Errors as guest_remove's, and
 * ERR_UNSUPPORTED where a sleep would lose some of the module's state although the manifest insists
 * on it: nothing was changed then, and done is not called. */
int guest_replace(struct guest *g, struct guest_spec *spec, const uint8_t module_digest[32],
                  struct image *image, guest_changed_over *done, void *ctx, struct err *err)
    ERR_CHECK;
/* It is being taken away. */
bool guest_leaves(const struct guest *g);
/* Where a sleep would lose some of the module's state: never sleeps from here on (true); or its
 * manifest insists, and it cannot be deployed (-1). 0: it may sleep as its manifest says. */
int guest_mode_for(struct guest_spec *spec, const struct image *image, struct err *err) ERR_CHECK;

/* --- any thread that owns the awake --- */
struct image *guest_image(const struct guest *g);
uint64_t guest_time_max(const struct guest *g);
uint64_t guest_memory_max(const struct guest *g);
uint32_t guest_calls_max(const struct guest *g);
void guest_instance_opts(struct awake *a, struct instance_opts *opts);
void guest_call_owner(struct awake *a, struct call_owner *owner);
/* All attributes of the event as "name: value\n" lines; returns their length. */
size_t guest_event_lines(const struct awake *a, char *out, size_t cap);
void guest_log(struct awake *a, enum journal_stream stream, enum log_level level, const char *text,
               size_t len);

/* --- shared by the files of guest/ --- */
/* For the journal: what went wrong with the event in hand; that it was woken for it, or started
 * afresh; that it sleeps, and why now. */
void guest_note_event(struct guest *g, enum journal_reason reason, const char *why);
void guest_note_woken(struct guest *g);
void guest_note_slept(struct guest *g);
/* The event is over: lines of its log that were left out and not told of yet are the journal's to
 * tell of. */
void guest_log_settle(struct guest *g);
/* Makes g->argv, unless it is there; -1: no memory. It goes with the awake. */
int guest_argv_make(struct guest *g);
void guest_argv_drop(struct guest *g);

struct guests {
    struct guests_opts opts;
    struct worker *workers[WORKERS_MAX + 1]; /* the first on the loop */
    size_t nworkers;
    struct iopool *io;
    struct spares *spares;
    struct guest **list;
    size_t n, room;
    struct journal *journal;
    struct guest **index; /* open addressing by id */
    size_t index_room;
    struct orphan **records; /* read at start, without their guests yet; by the hash of the id */
    size_t nrecords, records_room;
    struct guests_stats stats,
        past; /* past: before the last guests_stats_reset, counts and histograms */
    struct census census;
    struct ticker *ticker;
    atomic_uint_fast64_t slow_save_ns; /* when a worker last found the disk slow */
    struct budget budget;
    bool draining, drained;
    struct change *tries, **tries_tail; /* that wait for their turn to be started */
    size_t ntries;                      /* under way */
    uint64_t rested_at;                 /* sleeps when guests_rest was called last */
    uint64_t event_ids;
};

int guest_make(struct guest **out, struct guests *all, struct guest_spec *spec,
               const uint8_t digest[32], struct err *err) ERR_CHECK;
void guest_free(struct guest *g);
/* Off the list and the index. */
void guests_forget(struct guests *all, struct guest *g);
void guests_note_gone(struct guests *all);
/* After each step of a guest that has a change. */
void guest_change_moved(struct guest *g);
/* Its instance goes without being saved. */
bool guest_change_drops(const struct guest *g);
/* An awake came back: true, it was that of a guest to be. */
bool guest_change_tried(struct awake *a);
void guest_change_free(struct guest *g);
/* The place in workers[] of the one that is best for its next event; it has an awake. */
size_t guests_pick_worker(const struct guest *g);

#endif
