/* The record of a guest in the database: who it is, what it has handled, where its memory is.
 *
 * One value, so that all of it changes in one transaction. Little endian, lengths before everything
 * that varies, a checksum at the end; every length is checked on reading. Layout, version 1:
 *
 *   u32 magic, u16 version, u16 triggers, u8 uid[16], u8 identity[32], u64 generation, u32 crashes
 *   triggers x { u64 spec_hash, u64 seen }
 *   u32 keys, keys x { u16 trigger, u64 seq, i64 due_wall_ms (0: due), u32 failures, u16 len, key }
 *   u32 length of the snapshot (0: none), the snapshot (snapshot_encode)
 *   u64 XXH3-64 of all before
 *
 * `seen` and the keys say what was handled: every change up to `seen` is, but for the keys listed.
 * Where more keys wait than RECORD_EXCEPTIONS_MAX, `seen` goes back below the oldest of those that
 * are left out: they come again, and some that were handled with them.
 */
#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "guest/guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAGIC   0x74736f52u /* "Rost" */
#define RECORD_VERSION 1u
#define KEY_BYTES      24u /* of a key, without its text */

static void put_u16(struct buf *b, uint16_t v)
{
    (void)!buf_append(b, &v, sizeof(v), NULL);
}

static void put_u32(struct buf *b, uint32_t v)
{
    (void)!buf_append(b, &v, sizeof(v), NULL);
}

static void put_u64(struct buf *b, uint64_t v)
{
    (void)!buf_append(b, &v, sizeof(v), NULL);
}

/* --- writing --- */

struct keys {
    struct buf *out;
    const struct guest *g;
    uint64_t now_ns;
    int64_t wall_ms;
    uint32_t n;
    uint64_t *seen; /* of each trigger, lowered for what is left out */
    bool short_of_memory;
};

static void put_key(void *ctx, uint16_t trigger, const char *key, uint64_t seq, uint64_t due_ns,
                    uint32_t failures)
{
    struct keys *k = ctx;
    size_t len = strlen(key);
    int64_t due = 0;

    if (k->n >= RECORD_EXCEPTIONS_MAX) {
        if (!seq)
            k->seen[trigger] = 0; /* a timer: nothing else brings its key back */
        else if (seq - 1 < k->seen[trigger])
            k->seen[trigger] = seq - 1;
        return;
    }
    if (buf_reserve(k->out, KEY_BYTES + len, NULL) < 0) {
        k->short_of_memory = true;
        return;
    }
    if (due_ns > k->now_ns) /* the wall's milliseconds are cut: one more, so never too early */
        due = k->wall_ms + 1 + (int64_t)((due_ns - k->now_ns + NS_PER_MS - 1) / NS_PER_MS);
    put_u16(k->out, trigger);
    put_u64(k->out, seq);
    put_u64(k->out, (uint64_t)due);
    put_u32(k->out, failures);
    put_u16(k->out, (uint16_t)len);
    (void)!buf_append(k->out, key, len, NULL);
    k->n++;
}

static void put_identity(struct buf *b, const struct guest *g)
{
    put_u32(b, RECORD_MAGIC);
    put_u16(b, RECORD_VERSION);
    put_u16(b, g->spec->nwatches);
    (void)!buf_append(b, g->uid, sizeof(g->uid), NULL);
    (void)!buf_append(b, g->identity, sizeof(g->identity), NULL);
    put_u64(b, g->generation);
    put_u32(b, g->crashes);
}

static int put_snapshot(struct buf *b, const struct guest *g, struct err *err)
{
    AUTO_BUF struct buf snap = {.max = DB_VALUE_MAX};

    if (g->snapshot && snapshot_encode(&snap, g->snapshot, err) < 0)
        return -1;
    put_u32(b, (uint32_t)snap.len);
    return buf_append(b, snap.data, snap.len, err);
}

static int encode(struct buf *b, const struct guest *g, uint64_t *seen, struct err *err)
{
    const struct clock *clock = &g->all->opts.clock;
    AUTO_BUF struct buf keys = {.max = DB_VALUE_MAX};
    struct keys k = {.out = &keys,
                     .g = g,
                     .now_ns = clock->mono_ns(clock->ctx),
                     .wall_ms = clock->wall_ms(clock->ctx),
                     .seen = seen};

    for (size_t t = 0; t < g->spec->nwatches; t++)
        seen[t] = g->progress[t].seen;
    mailbox_each(g->mailbox, put_key, &k);
    if (k.short_of_memory)
        return err_set(err, ERR_NOMEM, 0, "no memory for %zu keys", mailbox_len(g->mailbox));
    /* One check for all the small ones: there is room, or nothing is written. */
    if (buf_reserve(b, 256 + g->spec->nwatches * 16u + keys.len, err) < 0)
        return -1;
    put_identity(b, g);
    for (size_t t = 0; t < g->spec->nwatches; t++) {
        put_u64(b, g->progress[t].spec_hash);
        put_u64(b, seen[t]);
    }
    put_u32(b, k.n);
    if (buf_append(b, keys.data, keys.len, err) < 0 || put_snapshot(b, g, err) < 0 ||
        buf_reserve(b, 8, err) < 0)
        return -1;
    put_u64(b, hash_bytes(b->data, b->len));
    return 0;
}

/* What waits for the commit: the slots that the record no longer names. */
struct release {
    struct arena *arena;
    size_t n;
    struct slot slots[];
};

/* Commit thread. Where the record could not be written the old one stays, and with it its slots:
 * their space is lost until the next start, not the guest. */
static void committed(void *ctx, const struct err *err)
{
    struct release *r = ctx;

    if (err)
        log_error("database: %s; guests resume from older records if the daemon ends now",
                  err->msg);
    else
        arena_release(r->arena, r->slots, r->n);
    free(r);
}

void guest_record_put(struct guest *g, const struct slot *dropped, size_t ndropped)
{
    AUTO_BUF struct buf value = {.max = DB_VALUE_MAX};
    uint64_t seen[GUEST_TRIGGERS_MAX];
    struct release *r = malloc(sizeof(*r) + ndropped * sizeof(*dropped));
    struct db_batch *batch = NULL;
    struct err err = {0};

    if (!r || encode(&value, g, seen, &err) < 0 || db_batch_new(&batch, &err) < 0 ||
        db_batch_put(batch, "guest", g->id, strlen(g->id), value.data, value.len, &err) < 0) {
        log_line(LOG_ERROR, g->id, "its record could not be written: %s",
                 err.code ? err.msg : "no memory");
        db_batch_free(batch);
        free(r);
        return;
    }
    *r = (struct release){.arena = g->all->opts.arena, .n = ndropped};
    if (ndropped)
        memcpy(r->slots, dropped, ndropped * sizeof(*dropped));
    db_submit(g->all->opts.db, batch, committed, r);
    for (size_t t = 0; t < g->spec->nwatches; t++) {
        g->progress[t].saved = seen[t];
        g->progress[t].recorded = true;
    }
}

/* --- reading --- */

struct reader {
    const uint8_t *p, *end;
    bool bad;
};

static void take(struct reader *r, void *out, size_t n)
{
    if ((size_t)(r->end - r->p) < n) {
        r->bad = true;
        memset(out, 0, n);
        return;
    }
    memcpy(out, r->p, n);
    r->p += n;
}

static uint16_t take_u16(struct reader *r)
{
    uint16_t v;

    take(r, &v, sizeof(v));
    return v;
}

static uint32_t take_u32(struct reader *r)
{
    uint32_t v;

    take(r, &v, sizeof(v));
    return v;
}

static uint64_t take_u64(struct reader *r)
{
    uint64_t v;

    take(r, &v, sizeof(v));
    return v;
}

struct head {
    uint8_t uid[16], identity[32];
    uint64_t generation;
    uint32_t crashes;
    uint16_t triggers;
};

static int read_head(struct reader *r, const uint8_t *data, size_t len, struct head *h,
                     struct err *err)
{
    uint64_t sum;

    if (len < 8)
        return err_set(err, ERR_CORRUPT, 0, "record of %zu bytes", len);
    memcpy(&sum, data + len - 8, 8);
    if (sum != hash_bytes(data, len - 8))
        return err_set(err, ERR_CORRUPT, 0, "record: its checksum is wrong");
    *r = (struct reader){.p = data, .end = data + len - 8};
    if (take_u32(r) != RECORD_MAGIC || take_u16(r) != RECORD_VERSION)
        return err_set(err, ERR_CORRUPT, 0, "record: not of version %u", RECORD_VERSION);
    h->triggers = take_u16(r);
    take(r, h->uid, sizeof(h->uid));
    take(r, h->identity, sizeof(h->identity));
    h->generation = take_u64(r);
    h->crashes = take_u32(r);
    return 0;
}

/* Fills same[]: the record's trigger is the manifest's. */
static void read_progress(struct reader *r, struct guest *g, uint16_t triggers, bool use,
                          bool same[GUEST_TRIGGERS_MAX])
{
    for (uint16_t t = 0; t < triggers; t++) {
        uint64_t hash = take_u64(r), seen = take_u64(r);

        if (!use || t >= g->spec->nwatches || g->progress[t].spec_hash != hash)
            continue;
        same[t] = true;
        g->progress[t].seen = g->progress[t].saved = seen;
        g->progress[t].recorded = true;
    }
}

static uint64_t due_of(const struct guest *g, int64_t due_wall_ms)
{
    const struct clock *clock = &g->all->opts.clock;
    int64_t now = clock->wall_ms(clock->ctx);
    uint64_t mono = clock->mono_ns(clock->ctx);

    return due_wall_ms > now ? mono + (uint64_t)(due_wall_ms - now) * NS_PER_MS : mono;
}

/* Keys of a trigger that is another one now are not its keys. */
static int read_keys(struct reader *r, struct guest *g, const bool same[GUEST_TRIGGERS_MAX],
                     struct err *err)
{
    uint32_t n = take_u32(r);

    for (uint32_t i = 0; i < n && !r->bad; i++) {
        uint16_t trigger = take_u16(r), len;
        uint64_t seq = take_u64(r);
        int64_t due = (int64_t)take_u64(r);
        uint32_t failures = take_u32(r);
        char key[UINT16_MAX + 1];

        len = take_u16(r);
        take(r, key, len);
        key[len] = 0;
        if (!r->bad && trigger < g->spec->nwatches && same[trigger] &&
            mailbox_put_at(&g->mailbox, trigger, key, seq, due_of(g, due), failures, err) < 0)
            return -1;
    }
    return 0;
}

/* *out is NULL where the record has none. */
static int read_snapshot(struct reader *r, struct snapshot **out, struct err *err)
{
    uint32_t len = take_u32(r);

    *out = NULL;
    if (r->bad || (size_t)(r->end - r->p) != len)
        return err_set(err, ERR_CORRUPT, 0, "record: it ends too early or too late");
    return len ? snapshot_decode(out, r->p, len, err) : 0;
}

static int claim(struct arena *arena, const struct snapshot *s, struct err *err)
{
    const struct slot *slots = snapshot_slots(s);

    for (uint16_t i = 0; i < s->nslots; i++) {
        if (arena_claim(arena, slots[i].offset, slots[i].pages, err) < 0) {
            arena_release(arena, slots, i);
            return -1;
        }
    }
    return 0;
}

static void skip(struct reader *r, size_t n)
{
    if ((size_t)(r->end - r->p) < n)
        r->bad = true;
    else
        r->p += n;
}

int guest_record_claim(struct arena *arena, const uint8_t *data, size_t len, struct err *err)
{
    struct reader r = {0};
    struct snapshot *s;
    struct head h = {0};
    uint32_t n;
    int rc;

    if (read_head(&r, data, len, &h, err) < 0)
        return -1;
    skip(&r, h.triggers * (size_t)16);
    n = take_u32(&r);
    for (uint32_t i = 0; i < n && !r.bad; i++) {
        skip(&r, KEY_BYTES - 2);
        skip(&r, take_u16(&r));
    }
    if (read_snapshot(&r, &s, err) < 0)
        return -1;
    rc = s ? claim(arena, s, err) : 0;
    snapshot_free(s);
    return rc;
}

/* The snapshot, if it is this guest's. It must be claimed already, or be claimed now. */
static int take_snapshot(struct guest *g, struct snapshot *s, bool claimed, struct err *err)
{
    if (memcmp(s->id.uid, g->uid, sizeof(g->uid)) != 0 ||
        memcmp(s->id.module, g->identity, sizeof(g->identity)) != 0 ||
        s->id.generation != g->generation) {
        snapshot_free(s);
        return err_set(err, ERR_CORRUPT, 0, "record: the snapshot is another guest's");
    }
    if (!claimed && claim(g->all->opts.arena, s, err) < 0) {
        snapshot_free(s);
        return -1;
    }
    g->snapshot = s;
    return 0;
}

/* The snapshot is not wanted, but the record on disk names it: its place is free once another
 * record is there. */
static void refuse_snapshot(struct guest *g, struct snapshot *s, bool claimed)
{
    guest_record_put(g, claimed ? snapshot_slots(s) : NULL, claimed ? s->nslots : 0);
    snapshot_free(s);
}

static int apply(struct guest *g, const uint8_t *data, size_t len, bool claimed, struct err *err)
{
    struct snapshot *s = NULL;
    struct reader r = {0};
    struct head h = {0};
    bool same, same_trigger[GUEST_TRIGGERS_MAX] = {false};

    if (read_head(&r, data, len, &h, err) < 0)
        return -1;
    /* A guest that never sleeps has no memory to go with what it had handled. */
    same =
        !memcmp(h.identity, g->identity, sizeof(g->identity)) && g->spec->sleep_mode != SLEEP_NEVER;
    memcpy(g->uid, h.uid, sizeof(g->uid));
    g->generation = h.generation;
    g->crashes = same ? h.crashes : 0;
    read_progress(&r, g, h.triggers, same, same_trigger);
    if (read_keys(&r, g, same_trigger, err) < 0 || read_snapshot(&r, &s, err) < 0)
        return -1;
    if (!same)
        log_line(LOG_INFO, g->id, "its module or environment changed: fresh start, all keys due");
    if (s && same && g->spec->sleep_mode != SLEEP_FRESH)
        return take_snapshot(g, s, claimed, err);
    if (s)
        refuse_snapshot(g, s, claimed);
    return 0;
}

int guest_record_apply(struct guest *g, const uint8_t *data, size_t len, bool claimed,
                       struct err *err)
{
    uint64_t generation;

    if (apply(g, data, len, claimed, err) == 0)
        return 0;
    /* Nothing of a bad record is used, but numbers never go back. */
    generation = g->generation;
    mailbox_free(g->mailbox);
    g->mailbox = NULL;
    for (size_t t = 0; t < g->spec->nwatches; t++) {
        g->progress[t].seen = g->progress[t].saved = 0;
        g->progress[t].recorded = false;
    }
    g->generation = generation + 1;
    g->crashes = 0;
    return -1;
}
