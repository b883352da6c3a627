/* What is read back from disk: records of snapshots and header pages of slots, and the plan of a
 * save over whatever a record may say. The first byte chooses; with its low bit set the checksum is
 * made right first, so that what is behind it is reached.
 */
#include "base/hash.h"
#include "engine/snapshot_internal.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define AT_PAGE_SUM    96 /* of the header page, see snapshot_slot.c */
#define PLAN_PAGES_MAX 20000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* 1: pages that changed, 2: of the base, 4: written, 8: kept. */
static void mark(uint8_t *pages, uint8_t bit, const struct run *runs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (uint32_t p = runs[i].page; p < runs[i].page + runs[i].count; p++) {
            assert(!(pages[p] & bit));
            pages[p] |= bit;
        }
    }
}

static size_t changes_make(struct run *changed, size_t max, const uint8_t *data, size_t len,
                           uint32_t memory_pages)
{
    size_t n = 0, at = 0;
    uint32_t page = 0;

    while (n < max && at + 2 <= len) {
        uint32_t count = 1u + data[at + 1] % 16;

        page += data[at] % 32 + 1u; /* runs never touch */
        if (page + count > memory_pages)
            break;
        changed[n++] = (struct run){.page = page, .count = count};
        page += count;
        at += 2;
    }
    return n;
}

static void check_plan(const struct snapshot *base, const uint8_t *data, size_t len)
{
    struct run changed[256];
    uint8_t *pages;
    struct plan plan;
    struct err err = {0};
    size_t n;

    if (base->memory_pages > PLAN_PAGES_MAX || base->memory_pages == 0)
        return;
    n = changes_make(changed, sizeof(changed) / sizeof(changed[0]), data, len, base->memory_pages);
    pages = calloc(base->memory_pages, 1);
    assert(pages);
    if (plan_make(&plan, changed, n, base, base->memory_pages, &err) < 0)
        abort();
    mark(pages, 1, changed, n);
    mark(pages, 2, snapshot_runs(base), base->nruns);
    mark(pages, 4, plan.write.v, plan.write.n);
    mark(pages, 8, plan.keep.v, plan.keep.n);
    for (uint32_t p = 0; p < base->memory_pages; p++) {
        assert(!(pages[p] & 1) || (pages[p] & 4));       /* what changed is written */
        assert(!(pages[p] & 2) || (pages[p] & (4 | 8))); /* nothing of the base is lost */
        assert((pages[p] & (4 | 8)) != (4 | 8));         /* each page has one place */
        assert(!(pages[p] & 8) || (pages[p] & 2));
    }
    assert(n == 0 || plan.write.n + plan.keep.n <= SNAPSHOT_RUNS_MAX);
    plan_free(&plan);
    free(pages);
}

static void try_record(uint8_t *data, size_t len, int fix)
{
    struct snapshot *s = NULL;
    struct err err = {0};
    AUTO_BUF struct buf out = {0};

    if (fix && len >= 8) {
        uint64_t sum = htole64(hash_bytes(data, len - 8));

        memcpy(data + len - 8, &sum, sizeof(sum));
    }
    if (snapshot_decode(&s, data, len, &err) < 0) {
        assert(err.code == ERR_CORRUPT && !s);
        return;
    }
    if (snapshot_encode(&out, s, &err) < 0)
        abort();
    assert(out.len == len && memcmp(out.data, data, len) == 0); /* one form only */
    check_plan(s, data, len);
    snapshot_free(s);
}

static void try_header(const uint8_t *data, size_t len, int fix)
{
    uint8_t page[PAGE_BYTES] = {0}, again[PAGE_BYTES];
    struct slot_header h;
    struct err err = {0};

    memcpy(page, data, len < PAGE_BYTES ? len : PAGE_BYTES);
    if (fix) {
        uint64_t sum;

        memset(page + AT_PAGE_SUM, 0, 8);
        sum = htole64(hash_bytes(page, PAGE_BYTES));
        memcpy(page + AT_PAGE_SUM, &sum, 8);
    }
    if (slot_header_get(&h, page, &err) < 0) {
        assert(err.code == ERR_CORRUPT);
        return;
    }
    slot_header_put(again, &h);
    assert(memcmp(page, again, 104) == 0 || memcmp(page + 104, again + 104, PAGE_BYTES - 104) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t *copy;

    if (len < 1)
        return 0;
    copy = malloc(len);
    assert(copy);
    memcpy(copy, data + 1, len - 1);
    if (data[0] & 2)
        try_header(copy, len - 1, data[0] & 1);
    else
        try_record(copy, len - 1, data[0] & 1);
    free(copy);
    return 0;
}
