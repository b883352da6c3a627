/* The two halves of the journal: journal.c has life, followers and events, journal_lines.c lines.
 */
#ifndef ROOST_GUEST_JOURNAL_INTERNAL_H
#define ROOST_GUEST_JOURNAL_INTERNAL_H

#include "base/limits.h"
#include "guest/journal.h"

#include <pthread.h>

struct source; /* a guest that has lines */
struct slot_of_line;

/* Under `lock`, all of it. */
struct lines {
    pthread_mutex_t lock;
    struct slot_of_line *slots; /* by number; some are empty */
    size_t first, n, room, live;
    struct source **table;
    size_t nsources, table_room;
    struct source *owing; /* told of once a second */
    size_t bytes;
    uint64_t seq, lost; /* the newest number, the newest that was pushed out */
    uint64_t total, dropped;
    unsigned followers;
    bool told; /* of news */
};

#define NONE UINT16_MAX

struct happening {
    uint64_t seq;
    int64_t first_ms, last_ms;
    char *data; /* the guest, a NUL, the text, a NUL */
    uint32_t hash, count;
    uint16_t cap, id_len, text_len;
    uint16_t older, newer, chain;
    uint8_t reason;
};

struct happenings {
    struct happening *all;
    uint16_t *table; /* of twice JOURNAL_EVENTS_MAX, by hash */
    uint16_t n, room, oldest, newest;
    unsigned similar_max;
    uint64_t lost; /* the newest number that was pushed out */
};

struct journal {
    struct loop *loop;
    struct clock clock;
    struct lines lines;
    struct happenings routine, notable;
    uint64_t seq;
    struct journal_follower *followers;
    unsigned event_followers;
    struct timer news, owed;
    bool news_set, owed_set;
    struct msg lines_came;
};

bool journal_matches(const struct journal_filter *f, const char *id);
int journal_lines_init(struct journal *j, struct err *err) ERR_CHECK;
void journal_lines_free(struct journal *j);

#endif
