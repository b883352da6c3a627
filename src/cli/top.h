/* What `roost top` shows: two looks at the daemon, and what happened between them.
 *
 * A look is /v1/stats and /v1/guests. Rates are differences of counters over the time between the
 * looks; of the first look, since the daemon started. Values that went down (counters that were
 * reset, a guest that is new) count from zero.
 */
#ifndef ROOST_CLI_TOP_H
#define ROOST_CLI_TOP_H

#include "base/screen.h"
#include "cli/cli.h"

enum top_key {
    TOP_NAME,
    TOP_STATE,
    TOP_WAKES,
    TOP_EVENTS,
    TOP_LATENCY,
    TOP_QUEUE,
    TOP_CPU,
    TOP_MEMORY,
    TOP_DISK,
    TOP_KEYS
};
extern const char *const top_keys[]; /* "name", ..., NULL */

struct top_row {
    const json_t *guest;  /* borrowed of the look */
    double wakes, events; /* a second */
    double latency_us;    /* of an event, due until handled, on average; below 0: there was none */
    double cpu;           /* share of a core */
    uint64_t queue, memory, disk; /* memory: awake, in bytes */
};

struct top_look {
    uint64_t at_ns;
    json_t *stats, *guests, *by_id; /* NULL: none yet */
};

struct top {
    struct top_look now, before;
    struct top_row total, *rows;
    size_t nrows, awake, asleep, failed, pending;
    double failures; /* a second */
};

/* Takes another look, made at at_ns: stats and list are /v1/stats and /v1/guests; both become its
 * own. ERR_NOMEM. */
int top_take(struct top *t, json_t *stats, json_t *list, const char *namespace_, uint64_t at_ns,
             struct err *err) ERR_CHECK;
/* Sorts the rows: numbers from the largest, names and states from the first; reverse turns it
 * round. What is equal is in the order of names. */
void top_sort(struct top *t, enum top_key key, bool reverse);
void top_free(struct top *t);

/* --- top_show.c --- */

/* Calls line for each line, without its end: figures of all, then a table of guests, of which at
 * most rows (0: all). */
void top_print(const struct top *t, enum top_key key, bool reverse, bool utf8, size_t rows,
               void (*line)(void *ctx, bool head, const char *text), void *ctx);
/* Lines besides those of guests. */
#define TOP_HEAD_LINES 6

#endif
