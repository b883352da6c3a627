/* The reflector: one list and watch, kept up for as long as it runs.
 *
 * It tells its sink what exists and what changes, whatever happens in between: connections that
 * die, history that was compacted, servers that refuse or limit. It caches nothing; the change
 * table (kube/table.h) sits behind the sink.
 *
 *   stream   a watch that first sends all there is (sendInitialEvents), until the bookmark
 *            k8s.io/initial-events-end; then the same stream goes on as the watch
 *   list     pages of 500 where the server refuses that; a continue token that expired makes it one
 *            full list
 *   watch    from the newest resourceVersion; its clean end is answered by the next one at once
 *
 * A failure of a watch backs off and resumes from the newest version; 410, or bytes that make no
 * sense, cost a relist. Back-off doubles from 800 ms to 30 s, each taken 1 to 2 times by chance;
 * two minutes of health end it, and the first relist after health is immediate. Retry-After is
 * obeyed up to REFLECTOR_RETRY_AFTER_MAX_S.
 *
 * resourceVersions are compared in order for one purpose: a list, or a bookmark, that is older than
 * what was seen is not believed (a stale replica), and asked for again. After REFLECTOR_REWINDS_MAX
 * such lists in a row time did go back (a restored backup), and the next is believed whatever it
 * says. All lists are consistent reads: they name no version that would do.
 *
 * Loop thread only.
 */
#ifndef ROOST_KUBE_REFLECTOR_H
#define ROOST_KUBE_REFLECTOR_H

#include "base/err.h"
#include "kube/object.h"
#include "kube/seam.h"

#include <stdbool.h>
#include <stdint.h>

struct reflector;

enum reflector_state {
    REFLECTOR_IDLE = 1, /* not started, or stopped */
    REFLECTOR_STREAMING,
    REFLECTOR_LISTING,
    REFLECTOR_WATCHING, /* what the sink was told is complete */
    REFLECTOR_RELIST_WAIT,
    REFLECTOR_REWATCH_WAIT,
    REFLECTOR_STATES
};

/* Called on the loop thread, in the order of the stream. From within, reflector_stop is allowed,
 * reflector_free is not. All may be NULL but upsert and deleted. */
struct reflector_sink {
    /* All that exists follows as upserts. May come again without an end: forget the first. anew:
     * the list is the first of this reflector, or time went back: believe versions that are older
     * than what is kept. */
    void (*relist_begin)(void *ctx, bool anew);
    /* Exists in this form. obj is borrowed: kube_object_ref to keep it. */
    void (*upsert)(void *ctx, struct kube_object *obj);
    /* Is gone; obj is its last form, with the resourceVersion of its end. */
    void (*deleted)(void *ctx, struct kube_object *obj);
    /* What was neither upserted nor skipped since relist_begin is gone. */
    void (*relist_end)(void *ctx);
    /* Something exists that is not passed on (too large, too deep, without a name). namespace_ and
     * name are "" where they are not known. What is cached of it is out of date. */
    void (*skipped)(void *ctx, const char *namespace_, const char *name, const struct err *err);
    /* The state or the trouble changed. err is NULL while all is well; while it is not, what was
     * told goes on being served, and is as old as reflector_stats says. */
    void (*state)(void *ctx, enum reflector_state state, const struct err *err);
    void *ctx;
};

struct reflector_opts {
    const char *path;             /* "/apis/amurant.io/v1/testresources"; copied */
    const char *query;            /* more of the query, "labelSelector=a%3Db", or NULL; copied */
    struct object_kind kind;      /* put into items that lack it (no escapes needed); copied */
    const char *resource_version; /* the newest that was ever seen, or NULL; copied */
    uint64_t seed;                /* of all chance */
    struct kube_http http;
    struct kube_time time;
    struct reflector_sink sink;
};

/* ERR_LIMIT: path and query over KUBE_PATH_MAX / 2. */
int reflector_new(struct reflector **out, const struct reflector_opts *opts, struct err *err)
    ERR_CHECK;
/* Begins; the sink is not called from here but for `state`. Only when idle. */
int reflector_start(struct reflector *r, struct err *err) ERR_CHECK;
/* Ends all that is under way; no more calls to the sink but a last `state`. Start begins anew. */
void reflector_stop(struct reflector *r);
/* Stops without any call. NULL is fine. */
void reflector_free(struct reflector *r);

struct reflector_stats {
    enum reflector_state state;
    bool synced;              /* what the sink was told was complete at some time */
    uint64_t last_contact_ns; /* when the server last sent anything, bookmarks included; 0: never */
    uint64_t relists;         /* complete ones */
    uint64_t reconnects;      /* watches begun after the first */
    uint64_t events;          /* changes of a watch, bookmarks apart */
    uint64_t bookmarks, skipped, failures, rewinds;
    const char *resource_version; /* newest; borrowed until the next turn */
};
void reflector_stats(const struct reflector *r, struct reflector_stats *out);
/* "watching", ... */
const char *reflector_state_name(enum reflector_state state);

#endif
