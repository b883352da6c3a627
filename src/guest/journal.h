/* What guests said and what happened to them, the newest of it, for `roost logs` and `roost
 * events`.
 *
 * Lines: what guests log, from any thread. Kept in order of arrival, bounded in bytes for each
 * guest and in all; a guest that never logs has nothing here.
 *
 * Events: woken, slept, trapped and so on, on the loop thread. What repeats is counted, as
 * Kubernetes does: of one guest there is one event for each reason that is routine (it wakes, it
 * sleeps) and JOURNAL_SIMILAR_MAX for each other. Routine ones have room of their own, so that busy
 * guests do not push out what matters.
 *
 * Both have numbers that only grow, and who reads keeps the last that it saw. An event that is
 * counted once more gets a new number, and so is read once more.
 */
#ifndef ROOST_GUEST_JOURNAL_H
#define ROOST_GUEST_JOURNAL_H

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

enum journal_reason {
    JOURNAL_WOKEN,
    JOURNAL_SLEPT,
    JOURNAL_FRESH_START,
    JOURNAL_FAILED,        /* its handler refused an event */
    JOURNAL_TRAPPED,       /* or a limit cut it */
    JOURNAL_REFUSED,       /* the host did not do something for it */
    JOURNAL_NO_ROOM,       /* could not be made awake */
    JOURNAL_KEPT_AWAKE,    /* could not be put to sleep */
    JOURNAL_SNAPSHOT_LOST, /* what was saved of it cannot be used */
    JOURNAL_REJECTED,      /* cannot be deployed */
    JOURNAL_APPLIED,
    JOURNAL_DELETED,
    JOURNAL_ROLLED_BACK, /* a new version could not start */
    JOURNAL_SKIPPED,     /* of nobody: more happened at once than a reader could be shown */
    JOURNAL_REASONS
};

enum journal_stream { JOURNAL_STDOUT, JOURNAL_STDERR, JOURNAL_LOG };

/* "Woken", "stdout". */
const char *journal_reason_name(enum journal_reason reason);
bool journal_is_warning(enum journal_reason reason);
const char *journal_stream_name(enum journal_stream stream);

int journal_new(struct journal **out, struct loop *loop, const struct clock *clock, struct err *err)
    ERR_CHECK;
/* Nobody follows any more. NULL is fine. */
void journal_free(struct journal *j);

/* Notes an event of the guest "namespace/name"; text (cut at JOURNAL_TEXT_MAX) may be "", and for
 * JOURNAL_WOKEN and JOURNAL_FRESH_START is the key that it was woken for. Copies. Loop thread;
 * takes some 50 ns. Without memory the event is not kept. */
void journal_event(struct journal *j, enum journal_reason reason, const char *id, const char *text);

/* Keeps a line; `dropped` lines were left out before it. Copies. Any thread. */
void journal_line(struct journal *j, const char *id, enum journal_stream stream,
                  enum log_level level, uint32_t dropped, const char *text, size_t len);
/* Lines that the guest was not allowed: said once a second, in the daemon's log and here. Loop
 * thread. */
void journal_dropped(struct journal *j, const char *id, uint64_t lines);
/* What is said of them. Returns its length. */
#define JOURNAL_DROPPED_TEXT 96
size_t journal_dropped_text(char out[JOURNAL_DROPPED_TEXT], uint64_t lines);

/* --- reading: loop thread --- */

/* "": any. */
struct journal_filter {
    const char *namespace_, *name;
};

struct journal_record {
    uint64_t seq;
    int64_t wall_ms, first_ms; /* of an event that repeated: the last time, the first */
    const char *id;            /* "namespace/name"; "": nobody's */
    const char *text;          /* any bytes */
    size_t len;
    uint32_t count; /* of an event: how often; of a line: how many were left out before it */
    union {
        enum journal_reason reason;
        struct {
            enum journal_stream stream;
            enum log_level level;
        };
    };
    const char *prefix; /* of the text of an event */
};

/* False: no more now; it will be read again. Must not call the journal, nor take long. */
typedef bool journal_read_fn(void *ctx, const struct journal_record *record);

/* How far a reader is. */
struct journal_cursor {
    uint64_t after; /* the number of the last one that it was given or that was none of its own */
    uint64_t lost;  /* the newest one that was pushed out, when it looked last */
};

/* Where to begin, with the newest `tail` (UINT64_MAX: all) of those that match, no older than
 * since_ms (0: of any age). */
struct journal_cursor journal_events_from(const struct journal *j, const struct journal_filter *f,
                                          int64_t since_ms, uint64_t tail);
struct journal_cursor journal_lines_from(struct journal *j, const struct journal_filter *f,
                                         int64_t since_ms, uint64_t tail);
/* Gives those that are new to the reader and match, oldest first; where some that it should have
 * got were pushed out meanwhile, a JOURNAL_SKIPPED first, or a line that says so. True: there may
 * be more, call again; false: fn had enough, or there are none. */
bool journal_events(const struct journal *j, struct journal_cursor *at,
                    const struct journal_filter *f, journal_read_fn *fn, void *ctx);
bool journal_lines(struct journal *j, struct journal_cursor *at, const struct journal_filter *f,
                   journal_read_fn *fn, void *ctx);

/* Who follows is told that there is news, soon after there is: lines at once, events within
 * JOURNAL_NEWS_NS. */
struct journal_follower {
    struct journal_follower *next;
    void (*news)(struct journal_follower *f);
    bool lines; /* else events */
};

void journal_follow(struct journal *j, struct journal_follower *f);
/* May be called from within `news`. */
void journal_unfollow(struct journal *j, struct journal_follower *f);

struct journal_stats {
    size_t lines, line_bytes, events;
    uint64_t lines_total, dropped_total; /* dropped: by the limit of a guest's rate */
};

void journal_stats(struct journal *j, struct journal_stats *out);

#endif
