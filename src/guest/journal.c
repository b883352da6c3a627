/* Events of guests: two lists of them, in order of their numbers, each in one array that grows to
 * its maximum. An event that repeats goes to the new end of its list; one that comes when the list
 * is full takes the place of the oldest, its buffer too, so that in the long run nothing is
 * allocated: the wake path passes here twice.
 */
#include "base/hash.h"
#include "base/slab.h"
#include "guest/journal_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_ROOM (2 * JOURNAL_EVENTS_MAX)
_Static_assert(JOURNAL_EVENTS_MAX < NONE && (JOURNAL_EVENTS_MAX & (JOURNAL_EVENTS_MAX - 1)) == 0,
               "a place in a list is a short number, and one in its table a mask");

static const struct {
    const char *name, *prefix; /* of a text; of none, `bare` */
    bool routine, warning;
    const char *bare;
} reasons[JOURNAL_REASONS] = {
    [JOURNAL_WOKEN] = {"Woken", "event of ", true, false, "it was told to"},
    [JOURNAL_SLEPT] = {"Slept", "", true, false, ""},
    [JOURNAL_FRESH_START] = {"FreshStart", "event of ", false, false, "without an event"},
    [JOURNAL_FAILED] = {"Failed", "", false, true, ""},
    [JOURNAL_TRAPPED] = {"Trapped", "", false, true, ""},
    [JOURNAL_REFUSED] = {"Refused", "", false, true, ""},
    [JOURNAL_NO_ROOM] = {"NoRoom", "", false, true, ""},
    [JOURNAL_KEPT_AWAKE] = {"KeptAwake", "", false, true, ""},
    [JOURNAL_SNAPSHOT_LOST] = {"SnapshotLost", "", false, true, ""},
    [JOURNAL_REJECTED] = {"Rejected", "", false, true, ""},
    [JOURNAL_APPLIED] = {"Applied", "", false, false, ""},
    [JOURNAL_DELETED] = {"Deleted", "", false, false, ""},
    [JOURNAL_ROLLED_BACK] = {"RolledBack", "", false, true, ""},
    [JOURNAL_SKIPPED] = {"Skipped", "", false, false, ""},
};

const char *journal_reason_name(enum journal_reason reason)
{
    return reasons[reason].name;
}

bool journal_is_warning(enum journal_reason reason)
{
    return reasons[reason].warning;
}

const char *journal_stream_name(enum journal_stream stream)
{
    static const char *const names[] = {
        [JOURNAL_STDOUT] = "stdout", [JOURNAL_STDERR] = "stderr", [JOURNAL_LOG] = "log"};

    return names[stream];
}

bool journal_matches(const struct journal_filter *f, const char *id)
{
    size_t n = strlen(f->namespace_);
    const char *slash;

    if (n && (strncmp(id, f->namespace_, n) != 0 || id[n] != '/'))
        return false;
    if (!f->name[0])
        return true;
    slash = strchr(id, '/');
    return slash && strcmp(slash + 1, f->name) == 0;
}

/* --- the list --- */

static void list_out(struct happenings *l, uint16_t at)
{
    const struct happening *e = &l->all[at];

    if (e->older != NONE)
        l->all[e->older].newer = e->newer;
    else
        l->oldest = e->newer;
    if (e->newer != NONE)
        l->all[e->newer].older = e->older;
    else
        l->newest = e->older;
}

static void list_in(struct happenings *l, uint16_t at)
{
    struct happening *e = &l->all[at];

    e->older = l->newest;
    e->newer = NONE;
    if (l->newest != NONE)
        l->all[l->newest].newer = at;
    else
        l->oldest = at;
    l->newest = at;
}

static uint16_t *bucket_of(const struct happenings *l, uint32_t hash)
{
    return &l->table[hash & (TABLE_ROOM - 1)];
}

static void table_out(struct happenings *l, uint16_t at)
{
    uint16_t *from = bucket_of(l, l->all[at].hash);

    while (*from != at)
        from = &l->all[*from].chain;
    *from = l->all[at].chain;
}

static void table_in(struct happenings *l, uint16_t at)
{
    uint16_t *bucket = bucket_of(l, l->all[at].hash);

    l->all[at].chain = *bucket;
    *bucket = at;
}

static int list_grow(struct happenings *l)
{
    uint16_t room = l->room ? (uint16_t)(l->room * 2) : 16;
    struct happening *all;

    if (!l->table) {
        l->table = malloc(TABLE_ROOM * sizeof(*l->table));
        if (!l->table)
            return -1;
        memset(l->table, 0xff, TABLE_ROOM * sizeof(*l->table));
    }
    all = realloc(l->all, room * sizeof(*all));
    if (!all)
        return -1;
    l->all = all;
    l->room = room;
    return 0;
}

/* A place for one more, in no list: an unused one or the oldest's. NONE: no memory. */
static uint16_t list_place(struct happenings *l)
{
    uint16_t at = l->oldest;

    if (l->n < JOURNAL_EVENTS_MAX) {
        if (l->n == l->room && list_grow(l) < 0)
            return NONE;
        l->all[l->n] = (struct happening){0};
        return l->n++;
    }
    l->lost = l->all[at].seq;
    list_out(l, at);
    table_out(l, at);
    l->all[at].count = 0;
    return at;
}

/* --- events --- */

static bool same_guest(const struct happening *e, const char *id, size_t len)
{
    return e->id_len == len && memcmp(e->data, id, len) == 0;
}

/* The one that this is one more of; NONE: it is new. Past the maximum of similar ones it is the
 * newest of those. */
static uint16_t find(const struct happenings *l, uint32_t hash, enum journal_reason reason,
                     const char *id, size_t id_len, const char *text, size_t len)
{
    uint16_t newest = NONE;
    unsigned similar = 0;

    for (uint16_t at = l->table ? *bucket_of(l, hash) : NONE; at != NONE; at = l->all[at].chain) {
        const struct happening *e = &l->all[at];

        if (e->hash != hash || e->reason != reason || !same_guest(e, id, id_len))
            continue;
        if (e->text_len == len && memcmp(e->data + id_len + 1, text, len) == 0)
            return at;
        similar++;
        if (newest == NONE || e->seq > l->all[newest].seq)
            newest = at;
    }
    return similar < l->similar_max ? NONE : newest;
}

/* The texts go into the buffer that is there, if they fit. */
static int set_data(struct happening *e, const char *id, size_t id_len, const char *text,
                    size_t len)
{
    size_t need = id_len + len + 2;

    if (need > e->cap) {
        size_t cap = (need + 31) & ~31ul;
        char *data = slab_alloc(&slab_common, cap);

        if (!data)
            return -1;
        slab_free(&slab_common, e->data, e->cap);
        e->data = data;
        e->cap = (uint16_t)cap;
    }
    assert(e->data);
    memcpy(e->data, id, id_len + 1);
    memcpy(e->data + id_len + 1, text, len);
    e->data[need - 1] = 0;
    e->id_len = (uint16_t)id_len;
    e->text_len = (uint16_t)len;
    return 0;
}

static void news_due(struct timer *t)
{
    struct journal *j = container_of(t, struct journal, news);

    j->news_set = false;
    for (struct journal_follower *f = j->followers, *next; f; f = next) {
        next = f->next;
        if (!f->lines)
            f->news(f);
    }
}

/* Without memory for the timer it is tried again at the next event. */
static void tell_followers(struct journal *j)
{
    if (!j->event_followers || j->news_set)
        return;
    j->news.fire = news_due;
    j->news_set =
        loop_timer_set(j->loop, &j->news, loop_now_ns(j->loop) + JOURNAL_NEWS_NS, NULL) == 0;
}

void journal_event(struct journal *j, enum journal_reason reason, const char *id, const char *text)
{
    struct happenings *l = reasons[reason].routine ? &j->routine : &j->notable;
    size_t id_len = strlen(id), len = strnlen(text, JOURNAL_TEXT_MAX);
    uint32_t hash = (uint32_t)hash_bytes(id, id_len) + (uint32_t)reason * 0x9e3779b1u;
    uint16_t at = find(l, hash, reason, id, id_len, text, len);
    struct happening *e;

    if (at != NONE)
        list_out(l, at);
    else if ((at = list_place(l)) == NONE)
        return;
    e = &l->all[at];
    if (e->count == 0) {
        e->hash = hash;
        e->reason = (uint8_t)reason;
        table_in(l, at);
    }
    e->last_ms = j->clock.wall_ms(j->clock.ctx);
    if (e->count == 0)
        e->first_ms = e->last_ms;
    if (set_data(e, id, id_len, text, len) == 0 || e->count)
        e->count++;
    else
        e->id_len = 0; /* nobody's: passed over until its place is used again */
    e->seq = ++j->seq;
    list_in(l, at);
    tell_followers(j);
}

/* --- reading --- */

static const struct happening *at_place(const struct happenings *l, uint16_t at)
{
    return at == NONE ? NULL : &l->all[at];
}

/* The oldest that is newer than `after`. */
static const struct happening *first_after(const struct happenings *l, uint64_t after)
{
    uint16_t at = l->newest;

    if (at == NONE || l->all[at].seq <= after)
        return NULL;
    while (l->all[at].older != NONE && l->all[l->all[at].older].seq > after)
        at = l->all[at].older;
    return &l->all[at];
}

static struct journal_record record_of(const struct happening *e)
{
    return (struct journal_record){.seq = e->seq,
                                   .wall_ms = e->last_ms,
                                   .first_ms = e->first_ms,
                                   .id = e->data,
                                   .text = e->data + e->id_len + 1,
                                   .len = e->text_len,
                                   .count = e->count,
                                   .prefix = e->text_len ? reasons[e->reason].prefix
                                                         : reasons[e->reason].bare,
                                   .reason = e->reason};
}

static bool read_one(const struct happening *e, const struct journal_filter *f, journal_read_fn *fn,
                     void *ctx)
{
    struct journal_record record;

    if (e->count == 0 || !journal_matches(f, e->data))
        return true;
    record = record_of(e);
    return fn(ctx, &record);
}

static bool read_skipped(const struct journal *j, journal_read_fn *fn, void *ctx)
{
    static const char text[] = "more happened at once than is kept";
    struct journal_record record = {.wall_ms = j->clock.wall_ms(j->clock.ctx),
                                    .id = "",
                                    .text = text,
                                    .len = sizeof(text) - 1,
                                    .count = 1,
                                    .prefix = "",
                                    .reason = JOURNAL_SKIPPED};

    record.first_ms = record.wall_ms;
    return fn(ctx, &record);
}

static uint64_t lost_of(const struct journal *j)
{
    return j->routine.lost > j->notable.lost ? j->routine.lost : j->notable.lost;
}

bool journal_events(const struct journal *j, struct journal_cursor *at,
                    const struct journal_filter *f, journal_read_fn *fn, void *ctx)
{
    const struct happening *a = first_after(&j->routine, at->after);
    const struct happening *b = first_after(&j->notable, at->after);
    uint64_t lost = lost_of(j);

    if (lost > at->lost && lost > at->after && !read_skipped(j, fn, ctx))
        return false;
    at->lost = lost;
    while (a || b) {
        bool routine = a && (!b || a->seq < b->seq);
        const struct happening *e = routine ? a : b;

        if (!read_one(e, f, fn, ctx))
            return false;
        at->after = e->seq;
        if (routine)
            a = at_place(&j->routine, a->newer);
        else
            b = at_place(&j->notable, b->newer);
    }
    at->after = j->seq;
    return false;
}

struct journal_cursor journal_events_from(const struct journal *j, const struct journal_filter *f,
                                          int64_t since_ms, uint64_t tail)
{
    const struct happening *a = at_place(&j->routine, j->routine.newest);
    const struct happening *b = at_place(&j->notable, j->notable.newest);
    struct journal_cursor from = {.after = j->seq, .lost = lost_of(j)};

    while (tail && (a || b)) {
        bool routine = a && (!b || a->seq > b->seq);
        const struct happening *e = routine ? a : b;

        if (e->last_ms < since_ms)
            break;
        if (e->count && tail != UINT64_MAX && journal_matches(f, e->data))
            tail--;
        from.after = e->seq - 1;
        if (routine)
            a = at_place(&j->routine, a->older);
        else
            b = at_place(&j->notable, b->older);
    }
    return from;
}

/* --- followers --- */

void journal_follow(struct journal *j, struct journal_follower *f)
{
    f->next = j->followers;
    j->followers = f;
    if (!f->lines) {
        j->event_followers++;
        return;
    }
    pthread_mutex_lock(&j->lines.lock);
    j->lines.followers++;
    pthread_mutex_unlock(&j->lines.lock);
}

void journal_unfollow(struct journal *j, struct journal_follower *f)
{
    struct journal_follower **at = &j->followers;

    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    if (!f->lines) {
        j->event_followers--;
        return;
    }
    pthread_mutex_lock(&j->lines.lock);
    j->lines.followers--;
    pthread_mutex_unlock(&j->lines.lock);
}

/* --- life --- */

static void happenings_init(struct happenings *l, unsigned similar_max)
{
    l->oldest = l->newest = NONE;
    l->similar_max = similar_max;
}

static void happenings_free(struct happenings *l)
{
    for (uint16_t i = 0; i < l->n; i++)
        slab_free(&slab_common, l->all[i].data, l->all[i].cap);
    free(l->all);
    free(l->table);
}

int journal_new(struct journal **out, struct loop *loop, const struct clock *clock, struct err *err)
{
    struct journal *j = calloc(1, sizeof(*j));

    *out = NULL;
    if (!j)
        return err_set(err, ERR_NOMEM, 0, "no memory for the journal");
    j->loop = loop;
    j->clock = *clock;
    happenings_init(&j->routine, 1);
    happenings_init(&j->notable, JOURNAL_SIMILAR_MAX);
    if (journal_lines_init(j, err) < 0) {
        free(j);
        return -1;
    }
    *out = j;
    return 0;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    assert(!j->followers);
    loop_timer_clear(j->loop, &j->news);
    loop_timer_clear(j->loop, &j->owed);
    journal_lines_free(j);
    happenings_free(&j->routine);
    happenings_free(&j->notable);
    free(j);
}
