/* Lines of guests. Each is one piece of memory, in two orders: by number in `slots`, and by guest
 * in its source. A guest that has more than its share loses its oldest line, which leaves an empty
 * slot; where all have too much, the oldest of all goes. When the slots are full, the empty ones
 * are taken out before there are more of them. A source is there as long as it has lines.
 *
 * Everything is under one lock: whoever logs has just made a system call for the same line, and who
 * reads gives it up after JOURNAL_READ_MAX lines.
 */
#include "base/hash.h"
#include "guest/journal_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
    struct line *next; /* of the same guest */
    struct source *source;
    uint64_t seq;
    int64_t wall_ms;
    uint32_t len, dropped;
    uint8_t stream, level;
    char text[];
};

struct slot_of_line {
    uint64_t seq;
    struct line *line; /* NULL: it is gone */
};

struct source {
    struct source *next; /* in its bucket */
    struct source *next_owing;
    struct line *first, **last;
    size_t bytes;
    uint64_t owed; /* lines left out, not told of yet */
    uint64_t lost; /* the newest of its lines that was pushed out */
    bool owing;
    char id[];
};

static size_t cost(const struct line *line)
{
    return sizeof(*line) + line->len + sizeof(struct slot_of_line);
}

/* --- sources --- */

static struct source **bucket_of(const struct lines *l, const char *id)
{
    return &l->table[hash_bytes(id, strlen(id)) & (l->table_room - 1)];
}

static int table_grow(struct lines *l)
{
    size_t room = l->table_room ? l->table_room * 2 : 16, old_room = l->table_room;
    struct source **old = l->table, **table;

    if (l->nsources < l->table_room)
        return 0;
    table = calloc(room, sizeof(struct source *));
    if (!table)
        return old ? 0 : -1;
    l->table = table;
    l->table_room = room;
    for (size_t i = 0; i < old_room; i++) {
        for (struct source *s = old[i], *next; s; s = next) {
            struct source **bucket = bucket_of(l, s->id);

            next = s->next;
            s->next = *bucket;
            *bucket = s;
        }
    }
    free(old);
    return 0;
}

static struct source *source_find(const struct lines *l, const char *id)
{
    struct source *s = l->table_room ? *bucket_of(l, id) : NULL;

    while (s && strcmp(s->id, id) != 0)
        s = s->next;
    return s;
}

static struct source *source_get(struct lines *l, const char *id)
{
    struct source *s = source_find(l, id), **bucket;
    size_t len = strlen(id) + 1;

    if (s || table_grow(l) < 0)
        return s;
    s = calloc(1, sizeof(*s) + len);
    if (!s)
        return NULL;
    memcpy(s->id, id, len);
    s->last = &s->first;
    bucket = bucket_of(l, id);
    s->next = *bucket;
    *bucket = s;
    l->nsources++;
    return s;
}

static void source_drop_if_empty(struct lines *l, struct source *s)
{
    struct source **at = bucket_of(l, s->id);

    if (s->first || s->owing)
        return;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
    l->nsources--;
}

/* --- slots --- */

/* The place of the first slot whose number is at least seq. */
static size_t slot_from(const struct lines *l, uint64_t seq)
{
    size_t lo = l->first, hi = l->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (l->slots[mid].seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void slots_compact(struct lines *l)
{
    size_t to = 0;

    for (size_t i = l->first; i < l->n; i++)
        if (l->slots[i].line)
            l->slots[to++] = l->slots[i];
    l->first = 0;
    l->n = to;
}

/* Room for one more. */
static int slots_reserve(struct lines *l)
{
    struct slot_of_line *slots;
    size_t room = l->room ? l->room * 2 : 64;

    if (l->n < l->room)
        return 0;
    if (l->live <= l->room / 2 && l->room) {
        slots_compact(l);
        return 0;
    }
    slots = realloc(l->slots, room * sizeof(*slots));
    if (!slots)
        return -1;
    l->slots = slots;
    l->room = room;
    return 0;
}

/* --- lines --- */

/* The oldest of its guest's goes: the oldest of all is the oldest of its guest, too. */
static void push_out(struct lines *l, struct source *s)
{
    struct line *line = s->first;
    size_t at = slot_from(l, line->seq);

    assert(l->slots[at].line == line);
    l->slots[at].line = NULL;
    while (l->first < l->n && !l->slots[l->first].line)
        l->first++;
    s->first = line->next;
    if (!s->first)
        s->last = &s->first;
    s->bytes -= cost(line);
    l->bytes -= cost(line);
    l->live--;
    s->lost = line->seq;
    if (line->seq > l->lost)
        l->lost = line->seq;
    free(line);
}

static void make_room(struct lines *l, struct source *s)
{
    while (s->bytes > JOURNAL_GUEST_BYTES)
        push_out(l, s);
    while (l->bytes > JOURNAL_BYTES_MAX) {
        struct source *oldest = l->slots[l->first].line->source;

        push_out(l, oldest);
        source_drop_if_empty(l, oldest);
    }
}

static void keep(struct lines *l, const char *id, struct line *line)
{
    struct source *s = slots_reserve(l) < 0 ? NULL : source_get(l, id);

    if (!s) {
        free(line);
        return;
    }
    line->source = s;
    line->seq = ++l->seq;
    *s->last = line;
    s->last = &line->next;
    l->slots[l->n++] = (struct slot_of_line){line->seq, line};
    l->live++;
    s->bytes += cost(line);
    l->bytes += cost(line);
    l->total++;
    l->dropped += line->dropped;
    make_room(l, s);
}

void journal_line(struct journal *j, const char *id, enum journal_stream stream,
                  enum log_level level, uint32_t dropped, const char *text, size_t len)
{
    struct lines *l = &j->lines;
    struct line *line = malloc(sizeof(*line) + len);
    bool tell;

    if (!line)
        return;
    *line = (struct line){.wall_ms = j->clock.wall_ms(j->clock.ctx),
                          .len = (uint32_t)len,
                          .dropped = dropped,
                          .stream = (uint8_t)stream,
                          .level = (uint8_t)level};
    memcpy(line->text, text, len);
    pthread_mutex_lock(&l->lock);
    keep(l, id, line);
    tell = l->followers && !l->told;
    l->told |= tell;
    pthread_mutex_unlock(&l->lock);
    if (tell)
        loop_post(j->loop, &j->lines_came);
}

static void lines_came(struct msg *m)
{
    struct journal *j = container_of(m, struct journal, lines_came);

    pthread_mutex_lock(&j->lines.lock);
    j->lines.told = false;
    pthread_mutex_unlock(&j->lines.lock);
    for (struct journal_follower *f = j->followers, *next; f; f = next) {
        next = f->next;
        if (f->lines)
            f->news(f);
    }
}

/* --- lines that were not allowed --- */

/* Takes one guest off the list of those that are owing; its lines in *owed. */
static bool owing_next(struct lines *l, char id[JOURNAL_TEXT_MAX], uint64_t *owed)
{
    struct source *s;

    pthread_mutex_lock(&l->lock);
    s = l->owing;
    if (s) {
        l->owing = s->next_owing;
        s->owing = false;
        *owed = s->owed;
        s->owed = 0;
        snprintf(id, JOURNAL_TEXT_MAX, "%s", s->id);
        source_drop_if_empty(l, s);
    }
    pthread_mutex_unlock(&l->lock);
    return s != NULL;
}

size_t journal_dropped_text(char out[JOURNAL_DROPPED_TEXT], uint64_t lines)
{
    return (size_t)snprintf(out, JOURNAL_DROPPED_TEXT, "%llu lines dropped: more than %u a second",
                            (unsigned long long)lines, GUEST_LOG_RATE);
}

static void owed_due(struct timer *t)
{
    struct journal *j = container_of(t, struct journal, owed);
    char id[JOURNAL_TEXT_MAX];
    uint64_t owed;

    j->owed_set = false;
    while (owing_next(&j->lines, id, &owed)) {
        char text[JOURNAL_DROPPED_TEXT];
        size_t n = journal_dropped_text(text, owed);

        log_text(LOG_WARN, id, text, n);
        journal_line(j, id, JOURNAL_LOG, LOG_WARN, owed < UINT32_MAX ? (uint32_t)owed : UINT32_MAX,
                     text, n);
    }
}

void journal_dropped(struct journal *j, const char *id, uint64_t dropped)
{
    struct lines *l = &j->lines;
    struct source *s;

    pthread_mutex_lock(&l->lock);
    s = source_get(l, id);
    if (s) {
        s->owed += dropped;
        if (!s->owing) {
            s->owing = true;
            s->next_owing = l->owing;
            l->owing = s;
        }
    }
    pthread_mutex_unlock(&l->lock);
    if (j->owed_set)
        return;
    j->owed.fire = owed_due;
    j->owed_set =
        loop_timer_set(j->loop, &j->owed, loop_now_ns(j->loop) + JOURNAL_DROPPED_NS, NULL) == 0;
}

/* --- reading --- */

static struct journal_record record_of(const struct line *line)
{
    return (struct journal_record){.seq = line->seq,
                                   .wall_ms = line->wall_ms,
                                   .first_ms = line->wall_ms,
                                   .id = line->source->id,
                                   .text = line->text,
                                   .len = line->len,
                                   .count = line->dropped,
                                   .prefix = "",
                                   .stream = line->stream,
                                   .level = line->level};
}

/* The newest number that was pushed out, of those that the reader would have got: of one guest, or
 * of any. */
static uint64_t lost_of(const struct lines *l, const struct journal_filter *f)
{
    char id[JOURNAL_TEXT_MAX];
    const struct source *s;

    if (!f->namespace_[0] || !f->name[0])
        return l->lost;
    snprintf(id, sizeof(id), "%s/%s", f->namespace_, f->name);
    s = source_find(l, id);
    return s ? s->lost : 0;
}

static bool read_lost(const struct journal *j, journal_read_fn *fn, void *ctx)
{
    static const char text[] = "lines are missing here: more came than is kept";
    struct journal_record record = {.wall_ms = j->clock.wall_ms(j->clock.ctx),
                                    .id = "",
                                    .text = text,
                                    .len = sizeof(text) - 1,
                                    .prefix = "",
                                    .stream = JOURNAL_LOG,
                                    .level = LOG_WARN};

    return fn(ctx, &record);
}

static bool read_slots(const struct lines *l, struct journal_cursor *at,
                       const struct journal_filter *f, journal_read_fn *fn, void *ctx)
{
    size_t i = slot_from(l, at->after + 1);

    for (unsigned n = 0; i < l->n; i++, n++) {
        const struct slot_of_line *slot = &l->slots[i];
        struct journal_record record;

        if (n == JOURNAL_READ_MAX)
            return true;
        if (slot->line && journal_matches(f, slot->line->source->id)) {
            record = record_of(slot->line);
            if (!fn(ctx, &record))
                return false;
        }
        at->after = slot->seq;
    }
    at->after = l->seq;
    return false;
}

bool journal_lines(struct journal *j, struct journal_cursor *at, const struct journal_filter *f,
                   journal_read_fn *fn, void *ctx)
{
    struct lines *l = &j->lines;
    bool more = false;
    uint64_t lost;

    pthread_mutex_lock(&l->lock);
    lost = lost_of(l, f);
    if (lost <= at->lost || lost <= at->after || read_lost(j, fn, ctx)) {
        at->lost = lost > at->lost ? lost : at->lost;
        more = read_slots(l, at, f, fn, ctx);
    }
    pthread_mutex_unlock(&l->lock);
    return more;
}

struct journal_cursor journal_lines_from(struct journal *j, const struct journal_filter *f,
                                         int64_t since_ms, uint64_t tail)
{
    struct lines *l = &j->lines;
    struct journal_cursor from;

    pthread_mutex_lock(&l->lock);
    from = (struct journal_cursor){.after = l->seq, .lost = lost_of(l, f)};
    for (size_t i = l->n; tail && i > l->first; i--) {
        const struct slot_of_line *slot = &l->slots[i - 1];

        if (slot->line && slot->line->wall_ms < since_ms)
            break;
        if (slot->line && tail != UINT64_MAX && journal_matches(f, slot->line->source->id))
            tail--;
        from.after = slot->seq - 1;
    }
    pthread_mutex_unlock(&l->lock);
    return from;
}

/* --- life --- */

int journal_lines_init(struct journal *j, struct err *err)
{
    j->lines_came.run = lines_came;
    if (pthread_mutex_init(&j->lines.lock, NULL) != 0)
        return err_set(err, ERR_NOMEM, 0, "no memory for the journal");
    return 0;
}

void journal_lines_free(struct journal *j)
{
    struct lines *l = &j->lines;

    if (l->told)
        loop_unpost(j->loop, &j->lines_came);
    for (size_t i = 0; i < l->table_room; i++) {
        for (struct source *s = l->table[i], *next; s; s = next) {
            next = s->next;
            for (struct line *line = s->first, *after; line; line = after) {
                after = line->next;
                free(line);
            }
            free(s);
        }
    }
    free(l->table);
    free(l->slots);
    pthread_mutex_destroy(&l->lock);
}

void journal_stats(struct journal *j, struct journal_stats *out)
{
    struct lines *l = &j->lines;

    pthread_mutex_lock(&l->lock);
    *out = (struct journal_stats){.lines = l->live,
                                  .line_bytes = l->bytes,
                                  .events = (size_t)j->routine.n + j->notable.n,
                                  .lines_total = l->total,
                                  .dropped_total = l->dropped};
    pthread_mutex_unlock(&l->lock);
}
