/* A snapshot as bytes, for the record in the database.
 *
 *     version (1)  uid (16)  module digest (32)
 *     generation, memory pages, slots, runs, globals           varints
 *     each slot: offset, pages, generation less the one before's, varints; checksum (8)
 *     each run:  page less the end of the one before, count, slot, place in the slot's data,
 * varints each global: low and high half                           varints XXH3-64 of all before
 * (8)
 *
 * Varints are LEB128, numbers little-endian. A sleeping guest with two runs takes some 110 bytes.
 * Decoding trusts nothing: the checksum is against damage, and behind it every length, order and
 * range is checked, so that no record can make the host read or map anything but pages of the slots
 * that it names (whose headers say whose they are). What is derived (live pages) is not stored.
 */
#include "base/hash.h"
#include "engine/snapshot_internal.h"

#include <endian.h>
#include <string.h>

#define CODEC_VERSION   1u
#define HEAD_BYTES      (1 + 16 + 32)
#define SUM_BYTES       8u
#define VARINT_MAX      10u
#define ARENA_PAGES_MAX (ARENA_BYTES_MAX / PAGE_BYTES)

_Static_assert(HEAD_BYTES + 5 * VARINT_MAX + SNAPSHOT_SLOTS_MAX * (3 * VARINT_MAX + 8) +
                       SNAPSHOT_RUNS_MAX * (5 + 5 + 1 + 5) + SNAPSHOT_GLOBALS_MAX * 2 * VARINT_MAX +
                       SUM_BYTES <=
                   SNAPSHOT_RECORD_MAX,
               "the largest snapshot fits in a record");

/* --- writing --- */

static int put_varint(struct buf *out, uint64_t v, struct err *err)
{
    uint8_t bytes[VARINT_MAX];
    size_t n = 0;

    while (v >= 0x80) {
        bytes[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[n++] = (uint8_t)v;
    return buf_append(out, bytes, n, err);
}

static int put_u64(struct buf *out, uint64_t v, struct err *err)
{
    v = htole64(v);
    return buf_append(out, &v, sizeof(v), err);
}

static int put_slots(struct buf *out, const struct snapshot *s, struct err *err)
{
    const struct slot *slot = snapshot_slots(s);
    uint64_t before = 0;

    for (unsigned i = 0; i < s->nslots; i++, slot++) {
        if (put_varint(out, slot->offset, err) < 0 || put_varint(out, slot->pages, err) < 0 ||
            put_varint(out, slot->generation - before, err) < 0 ||
            put_u64(out, slot->checksum, err) < 0)
            return -1;
        before = slot->generation;
    }
    return 0;
}

static unsigned slot_of(const struct snapshot *s, uint64_t offset)
{
    const struct slot *slots = snapshot_slots(s);
    unsigned i = 0;

    while (i + 1 < s->nslots &&
           (offset <= slots[i].offset || offset >= slots[i].offset + slots[i].pages))
        i++;
    return i;
}

static int put_runs(struct buf *out, const struct snapshot *s, struct err *err)
{
    const struct run *run = snapshot_runs(s);
    uint32_t end = 0;

    for (uint32_t i = 0; i < s->nruns; i++, run++) {
        unsigned slot = slot_of(s, run->offset);

        if (put_varint(out, run->page - end, err) < 0 || put_varint(out, run->count, err) < 0 ||
            put_varint(out, slot, err) < 0 ||
            put_varint(out, run->offset - snapshot_slots(s)[slot].offset - 1, err) < 0)
            return -1;
        end = run->page + run->count;
    }
    return 0;
}

static int put_globals(struct buf *out, const struct snapshot *s, struct err *err)
{
    const struct global_bits *g = snapshot_globals(s);

    for (unsigned i = 0; i < s->nglobals; i++)
        if (put_varint(out, g[i].lo, err) < 0 || put_varint(out, g[i].hi, err) < 0)
            return -1;
    return 0;
}

static int put_all(struct buf *out, const struct snapshot *s, struct err *err)
{
    const uint8_t version = CODEC_VERSION;
    size_t start = out->len;

    if (buf_append(out, &version, 1, err) < 0 ||
        buf_append(out, s->id.uid, sizeof(s->id.uid), err) < 0 ||
        buf_append(out, s->id.module, sizeof(s->id.module), err) < 0 ||
        put_varint(out, s->id.generation, err) < 0 || put_varint(out, s->memory_pages, err) < 0 ||
        put_varint(out, s->nslots, err) < 0 || put_varint(out, s->nruns, err) < 0 ||
        put_varint(out, s->nglobals, err) < 0 || put_slots(out, s, err) < 0 ||
        put_runs(out, s, err) < 0 || put_globals(out, s, err) < 0)
        return -1;
    return put_u64(out, hash_bytes(out->data + start, out->len - start), err);
}

int snapshot_encode(struct buf *out, const struct snapshot *s, struct err *err)
{
    size_t start = out->len;

    if (put_all(out, s, err) < 0) {
        out->len = start;
        return err_wrap(err, "snapshot record");
    }
    return 0;
}

/* --- reading --- */

/* Once something is missing or out of range, `bad` names it, and all that is read is 0. */
struct reader {
    const uint8_t *at, *end;
    const char *bad;
};

static uint64_t fail(struct reader *r, const char *what)
{
    if (!r->bad)
        r->bad = what;
    return 0;
}

/* At most `max`. A varint has one form: the shortest. */
static uint64_t get_varint(struct reader *r, uint64_t max, const char *what)
{
    uint64_t v = 0;

    if (r->bad)
        return 0;
    for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;

        if (shift == 63 && byte > 1)
            return fail(r, what);
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return (byte == 0 && shift) || v > max ? fail(r, what) : v;
    }
    return fail(r, what);
}

static void get_bytes(struct reader *r, void *out, size_t len)
{
    if (r->bad || (size_t)(r->end - r->at) < len) {
        memset(out, 0, len);
        fail(r, "its length");
        return;
    }
    memcpy(out, r->at, len);
    r->at += len;
}

/* No two slots share a page. */
static void slot_apart(struct reader *r, const struct slot *slots, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (slots[n].offset < slots[i].offset + slots[i].pages &&
            slots[i].offset < slots[n].offset + slots[n].pages)
            fail(r, "a slot's place");
}

static void get_slots(struct reader *r, struct snapshot *s)
{
    struct slot *slot = snapshot_slots(s);
    uint64_t before = 0;

    for (unsigned i = 0; i < s->nslots && !r->bad; i++, slot++) {
        slot->offset = get_varint(r, ARENA_PAGES_MAX - 1, "a slot's offset");
        slot->pages = (uint32_t)get_varint(r, MEMORY_PAGES_MAX + 1, "a slot's size");
        slot->generation = before + get_varint(r, s->id.generation - before, "a slot's generation");
        get_bytes(r, &slot->checksum, sizeof(slot->checksum));
        slot->checksum = le64toh(slot->checksum);
        if (slot->pages < 2 || slot->offset + slot->pages > ARENA_PAGES_MAX)
            fail(r, "a slot's size");
        if (i && slot->generation == before)
            fail(r, "a slot's generation");
        slot_apart(r, snapshot_slots(s), i);
        before = slot->generation;
    }
}

static void get_run(struct reader *r, struct snapshot *s, struct run *run, uint32_t end)
{
    struct slot *slot;
    uint64_t index, place;

    run->page = end + (uint32_t)get_varint(r, s->memory_pages - end, "a run's page");
    run->count = (uint32_t)get_varint(r, s->memory_pages - run->page, "a run's length");
    index = get_varint(r, s->nslots ? s->nslots - 1u : 0, "a run's slot");
    place = get_varint(r, MEMORY_PAGES_MAX, "a run's place");
    if (run->count == 0 || s->nslots == 0)
        fail(r, "a run's length");
    if (r->bad)
        return;
    slot = &snapshot_slots(s)[index];
    run->offset = slot->offset + 1 + place;
    slot->live += run->count;
    if (place + run->count > slot->pages - 1u || slot->live > slot->pages - 1u)
        fail(r, "a run's place");
}

static void get_runs(struct reader *r, struct snapshot *s)
{
    struct run *runs = snapshot_runs(s);
    uint32_t end = 0;

    for (uint32_t i = 0; i < s->nruns && !r->bad; i++) {
        get_run(r, s, &runs[i], end);
        end = runs[i].page + runs[i].count;
    }
    for (unsigned i = 0; i < s->nslots && !r->bad; i++)
        if (snapshot_slots(s)[i].live == 0)
            fail(r, "a slot without a run");
}

static void get_globals(struct reader *r, struct snapshot *s)
{
    struct global_bits *g = snapshot_globals(s);

    for (unsigned i = 0; i < s->nglobals && !r->bad; i++) {
        g[i].lo = get_varint(r, UINT64_MAX, "a global");
        g[i].hi = get_varint(r, UINT64_MAX, "a global");
    }
}

static struct snapshot *get_head(struct reader *r, struct err *err)
{
    struct snapshot_id id;
    uint32_t memory_pages, nslots, nruns, nglobals;
    struct snapshot *s;
    uint8_t version;

    get_bytes(r, &version, 1);
    if (version != CODEC_VERSION)
        fail(r, "its version");
    get_bytes(r, id.uid, sizeof(id.uid));
    get_bytes(r, id.module, sizeof(id.module));
    id.generation = get_varint(r, UINT64_MAX, "its generation");
    memory_pages = (uint32_t)get_varint(r, MEMORY_PAGES_MAX, "the size of memory");
    nslots = (uint32_t)get_varint(r, SNAPSHOT_SLOTS_MAX, "the number of slots");
    nruns = (uint32_t)get_varint(r, SNAPSHOT_RUNS_MAX, "the number of runs");
    nglobals = (uint32_t)get_varint(r, SNAPSHOT_GLOBALS_MAX, "the number of globals");
    if (r->bad) {
        err_set(err, ERR_CORRUPT, 0, "snapshot record: wrong: %s", r->bad);
        return NULL;
    }
    s = snapshot_new((uint16_t)nslots, nruns, (uint16_t)nglobals);
    if (!s) {
        err_set(err, ERR_NOMEM, 0, "snapshot record: no memory");
        return NULL;
    }
    s->id = id;
    s->memory_pages = memory_pages;
    return s;
}

static int sum_check(const uint8_t *data, size_t len, struct err *err)
{
    uint64_t sum;

    if (len < HEAD_BYTES + SUM_BYTES || len > SNAPSHOT_RECORD_MAX)
        return err_set(err, ERR_CORRUPT, 0, "snapshot record of %zu bytes", len);
    memcpy(&sum, data + len - SUM_BYTES, SUM_BYTES);
    if (le64toh(sum) != hash_bytes(data, len - SUM_BYTES))
        return err_set(err, ERR_CORRUPT, 0, "snapshot record: its checksum does not match");
    return 0;
}

int snapshot_decode(struct snapshot **out, const uint8_t *data, size_t len, struct err *err)
{
    struct reader r = {.at = data, .end = data + (len < SUM_BYTES ? 0 : len - SUM_BYTES)};
    struct snapshot *s;

    if (sum_check(data, len, err) < 0)
        return -1;
    s = get_head(&r, err);
    if (!s)
        return -1;
    get_slots(&r, s);
    get_runs(&r, s);
    get_globals(&r, s);
    if (!r.bad && r.at != r.end)
        fail(&r, "its length");
    if (r.bad) {
        snapshot_free(s);
        return err_set(err, ERR_CORRUPT, 0, "snapshot record: wrong: %s", r.bad);
    }
    *out = s;
    return 0;
}
