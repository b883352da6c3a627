/* The header page of a slot, and the checks that rest on it.
 *
 * One page in front of a slot's data, little-endian:
 *
 *     0  "ROOSTSLT"           16  uid, 16 bytes            88  checksum of the data pages
 *     8  format version, 4    32  module digest, 32        96  checksum of this page, with 0 here
 *    12  number of runs, 4    64  generation, 8           104  zeroes up to 128
 *                             72  own offset, 8           128  runs: page, count, 4 bytes each
 *                             80  pages of the slot, 4
 *                             84  guest memory pages, 4
 *
 * It is written last, so a slot that was never finished has none. The record in the database and
 * the header each say whose the slot is; a guest's memory is made from a slot only where both
 * agree, so neither a stale record nor a lost write can ever give it another's bytes.
 */
#include "base/disk.h"
#include "base/hash.h"
#include "engine/arena.h"
#include "engine/snapshot_internal.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_VERSION 1u
#define AT_VERSION   8
#define AT_NRUNS     12
#define AT_UID       16
#define AT_MODULE    32
#define AT_GEN       64
#define AT_OFFSET    72
#define AT_PAGES     80
#define AT_MEMORY    84
#define AT_DATA_SUM  88
#define AT_PAGE_SUM  96
#define AT_RUNS      128
_Static_assert(AT_RUNS + SNAPSHOT_RUNS_MAX * 8 <= PAGE_BYTES, "the runs fit in the header page");

static const uint8_t slot_magic[8] = {'R', 'O', 'O', 'S', 'T', 'S', 'L', 'T'};

static void put32(uint8_t *at, uint32_t v)
{
    v = htole32(v);
    memcpy(at, &v, sizeof(v));
}

static void put64(uint8_t *at, uint64_t v)
{
    v = htole64(v);
    memcpy(at, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof(v));
    return le32toh(v);
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof(v));
    return le64toh(v);
}

static uint64_t page_sum(const uint8_t page[PAGE_BYTES])
{
    static const uint8_t zero[8];
    struct hash h;

    hash_begin(&h);
    hash_add(&h, page, AT_PAGE_SUM);
    hash_add(&h, zero, sizeof(zero));
    hash_add(&h, page + AT_PAGE_SUM + 8, PAGE_BYTES - AT_PAGE_SUM - 8);
    return hash_end(&h);
}

void slot_header_put(uint8_t page[PAGE_BYTES], const struct slot_header *h)
{
    uint8_t *at = page + AT_RUNS;

    assert(h->nruns <= SNAPSHOT_RUNS_MAX);
    memset(page, 0, PAGE_BYTES);
    memcpy(page, slot_magic, sizeof(slot_magic));
    put32(page + AT_VERSION, SLOT_VERSION);
    put32(page + AT_NRUNS, h->nruns);
    memcpy(page + AT_UID, h->uid, sizeof(h->uid));
    memcpy(page + AT_MODULE, h->module, sizeof(h->module));
    put64(page + AT_GEN, h->generation);
    put64(page + AT_OFFSET, h->offset);
    put32(page + AT_PAGES, h->pages);
    put32(page + AT_MEMORY, h->memory_pages);
    put64(page + AT_DATA_SUM, h->checksum);
    for (uint32_t i = 0; i < h->nruns; i++, at += 8) {
        put32(at, h->runs[i].page);
        put32(at + 4, h->runs[i].count);
    }
    put64(page + AT_PAGE_SUM, page_sum(page));
}

static int runs_get(struct slot_header *h, const uint8_t *at, struct err *err)
{
    uint64_t end = 0, pages = 0;

    for (uint32_t i = 0; i < h->nruns; i++, at += 8) {
        h->runs[i].page = get32(at);
        h->runs[i].count = get32(at + 4);
        if (h->runs[i].count == 0 || h->runs[i].page < end)
            return err_set(err, ERR_CORRUPT, 0, "run %u of the header is out of order", i);
        end = (uint64_t)h->runs[i].page + h->runs[i].count;
        pages += h->runs[i].count;
    }
    if (end > h->memory_pages || pages + 1 != h->pages)
        return err_set(err, ERR_CORRUPT, 0, "the runs of the header do not fit its %u pages",
                       h->pages);
    return 0;
}

int slot_header_get(struct slot_header *h, const uint8_t page[PAGE_BYTES], struct err *err)
{
    if (memcmp(page, slot_magic, sizeof(slot_magic)) != 0)
        return err_set(err, ERR_CORRUPT, 0, "no snapshot header there");
    if (get32(page + AT_VERSION) != SLOT_VERSION)
        return err_set(err, ERR_CORRUPT, 0, "header of version %u, this is version %u",
                       get32(page + AT_VERSION), SLOT_VERSION);
    if (get64(page + AT_PAGE_SUM) != page_sum(page))
        return err_set(err, ERR_CORRUPT, 0, "the checksum of the header does not match");
    memcpy(h->uid, page + AT_UID, sizeof(h->uid));
    memcpy(h->module, page + AT_MODULE, sizeof(h->module));
    h->generation = get64(page + AT_GEN);
    h->offset = get64(page + AT_OFFSET);
    h->pages = get32(page + AT_PAGES);
    h->memory_pages = get32(page + AT_MEMORY);
    h->checksum = get64(page + AT_DATA_SUM);
    h->nruns = get32(page + AT_NRUNS);
    if (h->nruns > SNAPSHOT_RUNS_MAX || h->memory_pages > MEMORY_PAGES_MAX)
        return err_set(err, ERR_CORRUPT, 0, "header with %u runs, %u pages of memory", h->nruns,
                       h->memory_pages);
    return runs_get(h, page + AT_RUNS, err);
}

/* --- header against record --- */

static int header_compare(const struct slot_header *h, const struct snapshot *s,
                          const struct slot *slot, struct err *err)
{
    const char *what = NULL;

    if (memcmp(h->uid, s->id.uid, sizeof(h->uid)) != 0)
        what = "it is another guest's";
    else if (memcmp(h->module, s->id.module, sizeof(h->module)) != 0)
        what = "it is of another module";
    else if (h->generation != slot->generation)
        what = "it is of another generation";
    else if (h->offset != slot->offset || h->pages != slot->pages)
        what = "its place and size are others";
    else if (h->memory_pages > s->memory_pages)
        what = "it has more memory";
    else if (h->checksum != slot->checksum)
        what = "its data has another checksum";
    return what ? err_set(err, ERR_CORRUPT, 0, "header is not what the record says: %s", what) : 0;
}

static int slot_check_header(const struct snapshot *s, const struct slot *slot,
                             const struct arena *a, int flags, struct err *err)
{
    uint8_t page[PAGE_BYTES];
    struct slot_header h;

    if (disk_read(arena_disk(a), arena_fd(a), page, sizeof(page), slot->offset * PAGE_BYTES, flags,
                  err) < 0 ||
        slot_header_get(&h, page, err) < 0 || header_compare(&h, s, slot, err) < 0)
        return err_wrap(err, "snapshot slot at page %llu", (unsigned long long)slot->offset);
    return 0;
}

int snapshot_check_header(const struct snapshot *s, const struct arena *a, bool nowait,
                          struct err *err)
{
    if (s->nslots == 0) /* nothing changed since the image: nothing there to check */
        return 0;
    return slot_check_header(s, &snapshot_slots(s)[s->nslots - 1], a, nowait ? RWF_NOWAIT : 0, err);
}

/* --- data --- */

static int slot_check_data(const struct slot *slot, const struct arena *a, uint8_t *chunk,
                           struct err *err)
{
    uint64_t at = (slot->offset + 1) * PAGE_BYTES;
    uint64_t left = ((uint64_t)slot->pages - 1) * PAGE_BYTES;
    struct hash h;

    hash_begin(&h);
    while (left) {
        size_t len = left < SAVE_CHUNK_BYTES ? (size_t)left : SAVE_CHUNK_BYTES;

        if (disk_read(arena_disk(a), arena_fd(a), chunk, len, at, 0, err) < 0)
            return err_wrap(err, "snapshot slot at page %llu", (unsigned long long)slot->offset);
        hash_add(&h, chunk, len);
        at += len;
        left -= len;
    }
    if (hash_end(&h) != slot->checksum)
        return err_set(err, ERR_CORRUPT, 0,
                       "snapshot slot at page %llu: the checksum of its data does not match",
                       (unsigned long long)slot->offset);
    return 0;
}

int snapshot_check_pages(const struct snapshot *s, const struct arena *a, struct err *err)
{
    const struct slot *slots = snapshot_slots(s);
    uint8_t *chunk = malloc(SAVE_CHUNK_BYTES);
    int rc = 0;

    if (!chunk)
        return err_set(err, ERR_NOMEM, 0, "no memory to check a snapshot");
    for (unsigned i = 0; rc == 0 && i < s->nslots; i++) {
        rc = slot_check_header(s, &slots[i], a, 0, err);
        if (rc == 0)
            rc = slot_check_data(&slots[i], a, chunk, err);
    }
    free(chunk);
    return rc;
}
