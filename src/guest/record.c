/* The record of a guest in the database: who it is, what it has handled, where its memory is.
 *
 * One value, so that all of it changes in one transaction. Little endian, lengths before everything
 * that varies, a checksum at the end; every length is checked on reading. Layout, version 2:
 *
 *   u32 magic, u16 version, u16 triggers, u8 uid[16], u8 identity[32], u64 generation, u32 crashes,
 *   u64 boot, i64 absent_wall_ms
 *   triggers x { u64 spec_hash, u64 seen }
 *   u32 keys, keys x { u16 trigger, u64 seq, i64 due_wall_ms (0: due), u32 failures, u16 len, key }
 *   u32 length of the snapshot (0: none), the snapshot (snapshot_encode)
 *   u64 XXH3-64 of all before
 *
 * `seen` and the keys say what was handled: every change up to `seen` is, but for the keys listed.
 * Where more keys wait than RECORD_EXCEPTIONS_MAX, `seen` goes back below the oldest of those that
 * are left out: they come again, and some that were handled with them.
 *
 * `boot` says in which boot of the machine the snapshot was last known to be whole (0: in none);
 * in another one its pages are checked before they are used. `absent` says when the record's guest
 * was first missing at a start; such a record is kept for ORPHAN_KEEP_MS.
 */
#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "guest/guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAGIC   0x74736f52u /* "Rost" */
#define RECORD_VERSION 2u
#define KEY_BYTES      24u                                /* of a key, without its text */
#define ABSENT_AT      (4u + 2 + 2 + 16 + 32 + 8 + 4 + 8) /* where in a record that is */

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
    put_u64(b, g->verify ? 0 : g->all->opts.boot);
    put_u64(b, 0); /* it is here */
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

/* Commit thread. Where the record could not be written, ever, the old one stays, and with it its
 * slots: their space is lost until the next start, not the guest. */
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

/* The slots of what is released with the next record: those dropped now, and those owed since a
 * record could not be queued. */
static struct release *release_new(struct guest *g, const struct slot *dropped, size_t ndropped)
{
    size_t owed = g->owed ? g->owed->n : 0;
    struct release *r = malloc(sizeof(*r) + (owed + ndropped) * sizeof(*dropped));

    if (!r)
        return NULL;
    *r = (struct release){.arena = g->all->opts.arena, .n = owed + ndropped};
    if (owed)
        memcpy(r->slots, g->owed->slots, owed * sizeof(*dropped));
    if (ndropped)
        memcpy(r->slots + owed, dropped, ndropped * sizeof(*dropped));
    return r;
}

static int submit(struct guest *g, struct release *r, uint64_t *seen, struct err *err)
{
    AUTO_BUF struct buf value = {.max = DB_VALUE_MAX};
    struct db_batch *batch = NULL;

    if (encode(&value, g, seen, err) < 0 || db_batch_new(&batch, err) < 0)
        return -1;
    if (db_batch_put(batch, "guest", g->id, strlen(g->id), value.data, value.len, err) < 0) {
        db_batch_free(batch);
        return -1;
    }
    if (!db_submit(g->all->opts.db, batch, committed, r))
        return err_set(err, ERR_LIMIT, 0, "database: too much waits for the disk");
    return 0;
}

/* It is put again in a while, or with the next sleep. */
static void record_owed(struct guest *g, struct release *r, const struct err *err)
{
    if (!g->record_due)
        log_line(LOG_ERROR, g->id, "its record could not be queued: %s; tried again", err->msg);
    g->record_due = true;
    if (!r) /* no memory even for that: what was dropped is lost until the next start */
        return;
    free(g->owed);
    g->owed = r->n ? r : NULL;
    if (!r->n)
        free(r);
}

void guest_record_put(struct guest *g, const struct slot *dropped, size_t ndropped)
{
    uint64_t seen[GUEST_TRIGGERS_MAX];
    struct err err = {0};
    struct release *r = release_new(g, dropped, ndropped);

    if (!r)
        err_set(&err, ERR_NOMEM, 0, "no memory");
    if (!r || submit(g, r, seen, &err) < 0) {
        record_owed(g, r, &err);
        return;
    }
    free(g->owed);
    g->owed = NULL;
    g->record_due = false;
    for (size_t t = 0; t < g->spec->nwatches; t++) {
        g->progress[t].saved = seen[t];
        g->progress[t].recorded = true;
    }
}

void guest_record_forget(struct guest *g)
{
    free(g->owed);
    g->owed = NULL;
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
    uint64_t generation, boot;
    int64_t absent_wall_ms;
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
    h->boot = take_u64(r);
    h->absent_wall_ms = (int64_t)take_u64(r);
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

/* Its snapshot, which may be none, and its head. */
static int read_all(const uint8_t *data, size_t len, struct head *h, struct snapshot **out,
                    struct err *err)
{
    struct reader r = {0};
    uint32_t n;

    if (read_head(&r, data, len, h, err) < 0)
        return -1;
    skip(&r, h->triggers * (size_t)16);
    n = take_u32(&r);
    for (uint32_t i = 0; i < n && !r.bad; i++) {
        skip(&r, KEY_BYTES - 2);
        skip(&r, take_u16(&r));
    }
    return read_snapshot(&r, out, err);
}

int guest_record_claim(struct arena *arena, const uint8_t *data, size_t len, struct err *err)
{
    struct snapshot *s = NULL;
    struct head h = {0};
    int rc;

    if (read_all(data, len, &h, &s, err) < 0)
        return -1;
    rc = s ? claim(arena, s, err) : 0;
    snapshot_free(s);
    return rc;
}

/* --- records whose guest is not there --- */

static int remove_record(struct guests *all, const char *id, struct release *r, struct err *err)
{
    struct db_batch *batch;

    if (db_batch_new(&batch, err) < 0)
        return -1;
    if (db_batch_delete(batch, "guest", id, strlen(id), err) < 0) {
        db_batch_free(batch);
        return -1;
    }
    if (!db_submit(all->opts.db, batch, r ? committed : NULL, r))
        return err_set(err, ERR_LIMIT, 0, "database: too much waits for the disk");
    return 0;
}

int guest_record_remove(struct guests *all, const char *id, const uint8_t *data, size_t len,
                        bool claimed, struct err *err)
{
    struct snapshot *s = NULL;
    struct release *r = NULL;
    struct head h = {0};
    int rc;

    if (claimed && read_all(data, len, &h, &s, err) < 0)
        return -1;
    if (s) {
        r = malloc(sizeof(*r) + s->nslots * sizeof(r->slots[0]));
        if (!r) {
            snapshot_free(s);
            return err_set(err, ERR_NOMEM, 0, "no memory");
        }
        *r = (struct release){.arena = all->opts.arena, .n = s->nslots};
        memcpy(r->slots, snapshot_slots(s), s->nslots * sizeof(r->slots[0]));
    }
    snapshot_free(s);
    rc = remove_record(all, id, r, err);
    if (rc < 0)
        free(r);
    return rc;
}

int guest_record_end(struct guest *g, struct err *err)
{
    struct snapshot *s = g->snapshot;
    struct release *r = release_new(g, s ? snapshot_slots(s) : NULL, s ? s->nslots : 0);

    if (!r)
        return err_set(err, ERR_NOMEM, 0, "no memory");
    if (remove_record(g->all, g->id, r, err) < 0) {
        free(r);
        return -1;
    }
    guest_set_snapshot(g, NULL);
    snapshot_free(s);
    guest_record_forget(g);
    g->record_due = false;
    return 0;
}

int64_t guest_record_absent(const uint8_t *data, size_t len)
{
    struct reader r;
    struct head h = {0};

    return read_head(&r, data, len, &h, NULL) < 0 ? 0 : h.absent_wall_ms;
}

int guest_record_note_absent(struct guests *all, const char *id, uint8_t *data, size_t len,
                             int64_t wall_ms, struct err *err)
{
    struct db_batch *batch;
    uint64_t sum;

    if (len < ABSENT_AT + 8 + 8)
        return err_set(err, ERR_CORRUPT, 0, "record of %zu bytes", len);
    memcpy(data + ABSENT_AT, &wall_ms, sizeof(wall_ms));
    sum = hash_bytes(data, len - 8);
    memcpy(data + len - 8, &sum, 8);
    if (db_batch_new(&batch, err) < 0)
        return -1;
    if (db_batch_put(batch, "guest", id, strlen(id), data, len, err) < 0) {
        db_batch_free(batch);
        return -1;
    }
    if (!db_submit(all->opts.db, batch, NULL, NULL))
        return err_set(err, ERR_LIMIT, 0, "database: too much waits for the disk");
    return 0;
}

/* The snapshot, if it is this guest's. It must be claimed already, or be claimed now. */
static int take_snapshot(struct guest *g, struct snapshot *s, bool claimed, struct err *err)
{
    if (memcmp(s->id.uid, g->uid, sizeof(g->uid)) != 0 ||
        memcmp(s->id.module, g->identity, sizeof(g->identity)) != 0 ||
        s->id.generation != g->generation)
        return err_set(err, ERR_CORRUPT, 0, "record: the snapshot is another guest's");
    if (!claimed && claim(g->all->opts.arena, s, err) < 0)
        return -1;
    guest_set_snapshot(g, s);
    return 0;
}

/* Leaves in *s a snapshot that is not used. */
static int apply(struct guest *g, const uint8_t *data, size_t len, bool claimed,
                 struct snapshot **s, struct err *err)
{
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
    g->verify = h.boot != g->all->opts.boot || h.boot == 0;
    read_progress(&r, g, h.triggers, same, same_trigger);
    if (read_keys(&r, g, same_trigger, err) < 0 || read_snapshot(&r, s, err) < 0)
        return -1;
    if (!same)
        log_line(LOG_INFO, g->id, "its module or environment changed: fresh start, all keys due");
    if (h.absent_wall_ms)
        log_line(LOG_WARN, g->id,
                 "is back; of objects that were deleted while it was away it may not hear");
    if (*s && same && g->spec->sleep_mode != SLEEP_FRESH) {
        if (take_snapshot(g, *s, claimed, err) < 0)
            return -1;
        *s = NULL;
    }
    return 0;
}

/* Nothing of a bad record is used, but numbers never go back. */
static void start_over(struct guest *g)
{
    mailbox_free(g->mailbox);
    g->mailbox = NULL;
    for (size_t t = 0; t < g->spec->nwatches; t++) {
        g->progress[t].seen = g->progress[t].saved = 0;
        g->progress[t].recorded = false;
    }
    g->generation++;
    g->crashes = 0;
}

int guest_record_apply(struct guest *g, const uint8_t *data, size_t len, bool claimed,
                       struct err *err)
{
    struct snapshot *s = NULL;
    struct err why = {0};
    int rc = apply(g, data, len, claimed, &s, &why);

    if (!g->snapshot)
        g->verify = false;
    if (rc < 0)
        start_over(g);
    /* What is not wanted, or no good, is replaced on disk: it would be read again at the next
     * start, and may by then name what is another's. Its place is free once that is done. */
    if (s || (rc < 0 && why.code == ERR_CORRUPT))
        guest_record_put(g, s && claimed ? snapshot_slots(s) : NULL, s && claimed ? s->nslots : 0);
    snapshot_free(s);
    if (rc < 0 && err)
        *err = why;
    return rc;
}
