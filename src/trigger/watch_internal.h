/* Between the files of the trigger `watch`: watch.c (sources, subscriptions, changes) and
 * watch_admit.c (who may see what).
 */
#ifndef ROOST_TRIGGER_WATCH_INTERNAL_H
#define ROOST_TRIGGER_WATCH_INTERNAL_H

#include "kube/discovery.h"
#include "kube/reflector.h"
#include "kube/review.h"
#include "kube/table.h"
#include "trigger/watch.h"

struct source;

/* One namespace of a sub in its source's index; "" is all namespaces. */
struct place {
    struct place *next; /* of the bucket */
    uint32_t hash;
    uint16_t at; /* its number in sub->places */
};

/* Why a sub is not admitted; there only while that is so. */
struct trouble {
    struct sub *sub;
    struct timer retry;
    uint32_t tries;
    char reason[ERR_MSG_MAX];
};

/* One trigger of one guest. A sleeping guest has one for as long as it is there: 88 bytes. */
struct sub {
    struct source *source;
    struct guest *guest;
    struct sub *next, **prev; /* of the source; prev: where it hangs */
    struct sub *waiting; /* of those that are asked about, or have the same question under way */
    struct trouble *trouble;
    uint16_t trigger, nplaces;
    uint16_t question; /* which namespace and verb is asked about next */
    bool admitted : 1, denied : 1, live : 1, asking : 1;
    struct place places[];
};

struct source {
    struct watch *watch;
    struct source *next;
    char *api_version, *kind;
    struct table *table;
    struct sub *subs;
    struct place **index; /* by namespace; a power of two, or 0 */
    size_t nindex, nplaces;
    size_t undecided; /* subs neither admitted nor denied */
    bool restored, resolved, synced;
    bool idle; /* nobody is there any more for whom it ran */
    struct discovery *discovery;
    struct kube_resource resource;
    struct reflector *reflector;
    struct timer retry, relist;
    bool relist_missed; /* there was no memory for its timer */
    uint32_t tries;
    char trouble[ERR_MSG_MAX];
    uint64_t since_forget;
};

/* One review under way, and all who wait for its answer. */
struct flight {
    struct watch *watch;
    struct review *review; /* NULL: free */
    char *key;
    struct sub *waiters;
};

struct admit {
    struct sub *queue, **queue_tail;
    struct flight flights[WATCH_REVIEWS_MAX];
    size_t nflights;
    char *allowed[WATCH_ANSWERS_MAX]; /* answers of this burst of questions, by their hash */
};

struct watch {
    struct watch_opts opts;
    struct trigger trigger;
    struct source *sources;
    struct admit admit;
    bool started, stopped;
    struct db_batch *batch; /* changes of this turn */
    size_t batched;
    struct msg flush, rest;
    bool flush_posted, rest_posted;
    struct timer sweep; /* always set: watch_sweep.c */
};

/* --- watch.c --- */
int watch_timer_in(struct watch *w, struct timer *t, uint64_t ns, struct err *err) ERR_CHECK;
/* WATCH_RETRY_MIN_MS doubling to WATCH_RETRY_MAX_MS. */
void watch_retry(struct watch *w, struct timer *t, void (*fire)(struct timer *), uint32_t *tries);
/* It is admitted: live, if its source is synced. */
void watch_admitted(struct sub *sub);
const struct watch_spec *sub_spec(const struct sub *sub);
uint32_t watch_hash(const char *text, size_t len);

/* It has something to do for which it has neither an answer nor a timer to wait for: does it. */
void watch_source_again(struct source *s);

/* --- watch_sweep.c --- */
int sweep_init(struct watch *w, struct err *err) ERR_CHECK;
void sweep_stop(struct watch *w);
/* There was no memory for a timer, and what it was for is looked for again later. */
void sweep_later(struct watch *w);

/* --- watch_admit.c --- */
void admit_init(struct admit *a);
/* Asks what is to be asked, as soon as its turn comes; ends in watch_admitted, or in trouble. */
void admit_ask(struct sub *sub);
/* Nothing is asked any more. */
void admit_stop(struct watch *w);
/* Its retry is over. */
void admit_forget(struct sub *sub);
/* The sub goes: nothing is asked for it any more. */
void admit_leave(struct sub *sub);

#endif
