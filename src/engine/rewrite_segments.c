/* Tables and memories, and the segments that fill them: what a sleep could lose.
 *
 * A table's contents are those that its active segments gave it, for ever, where no instruction
 * changes a table (rewrite_code.c notes those); so it needs not be saved. A passive segment has
 * state of its own only where one is dropped at run time, which is an instruction too. Of several
 * memories only one would be saved. A shared memory becomes a plain one, since a guest has one
 * thread: its atomic instructions mean the same then, and the limit on memory holds for it, as it
 * would not for a shared one. See engine/rewrite_sections.c for the other sections.
 */
#include "engine/rewrite_sections.h"

#include <assert.h>
#include <inttypes.h>

/* --- limits of tables and memories --- */

static int refuse_limits(const struct reader *r, size_t at, uint8_t flags, const char *what)
{
    if (flags > 15)
        return reader_invalid(r, at, "limits of a %s: flags 0x%02x", what, flags);
    if (flags == LIMITS_SHARED)
        return reader_invalid(r, at, "shared %s without a maximum", what);
    if (flags == (LIMITS_SHARED | LIMITS_HAS_MAX)) /* memories were read apart */
        return reader_refuse(r, at, "shared %s: build for core WebAssembly 2.0", what);
    if (flags & LIMITS_64)
        return reader_refuse(r, at, "%s of 64 bits (memory64): build for wasm32", what);
    return reader_refuse(r, at, "%s with its own page size: build for core WebAssembly 2.0", what);
}

/* The binary has 64 bits for them; no table or memory of 32 bits may have more than 32. */
static int read_bound(struct reader *r, uint32_t *out, const char *what)
{
    size_t begin = r->at;
    uint64_t n;

    if (reader_u64(r, &n, what) < 0)
        return -1;
    if (n > UINT32_MAX)
        return reader_invalid(r, begin, "%s of %" PRIu64, what, n);
    *out = (uint32_t)n;
    return 0;
}

static int read_bounds(struct reader *r, const char *what, uint8_t flags, size_t begin,
                       uint32_t *min, uint32_t *max)
{
    *min = 0;
    *max = UINT32_MAX;
    if (read_bound(r, min, "minimum") < 0)
        return -1;
    if ((flags & LIMITS_HAS_MAX) && read_bound(r, max, "maximum") < 0)
        return -1;
    if (*min > *max)
        return reader_invalid(r, begin, "%s with minimum %" PRIu32 " above maximum %" PRIu32, what,
                              *min, *max);
    return 0;
}

static int read_limits(struct reader *r, const char *what, uint32_t *min, uint32_t *max)
{
    size_t begin = r->at;
    uint8_t flags;

    if (reader_byte(r, &flags, "limits") < 0)
        return -1;
    if (flags > LIMITS_HAS_MAX)
        return refuse_limits(r, begin, flags, what);
    return read_bounds(r, what, flags, begin, min, max);
}

/* --- tables and memories --- */

static int read_table(struct sections *s, struct reader *r)
{
    size_t begin = r->at;
    uint32_t min = 0, max = 0;
    uint8_t type;

    if (r->at < r->end && r->base[r->at] == 0x40)
        return reader_refuse(r, begin,
                             "table with an initial value (typed references): build for core "
                             "WebAssembly 2.0");
    if (reader_reference_type(r, &type) < 0 || read_limits(r, "table", &min, &max) < 0)
        return -1;
    s->table_elements += min;
    if (s->table_elements > GUEST_TABLE_ELEMENTS_MAX)
        return reader_limit(r, begin, "elements of all tables", s->table_elements,
                            "GUEST_TABLE_ELEMENTS_MAX", GUEST_TABLE_ELEMENTS_MAX);
    return 0;
}

int section_read_tables(struct sections *s, struct reader *r)
{
    if (COUNT(r, &s->tables, "tables", GUEST_TABLES_MAX) < 0)
        return -1;
    for (uint32_t i = 0; i < s->tables; i++)
        if (read_table(s, r) < 0)
            return -1;
    return 0;
}

/* A shared memory, made plain here and, by rewrite.c, in the output: as the reader's own bytes are
 * not ours to change, its limits are read behind their flags. */
static int read_shared(struct sections *s, struct reader *r, uint32_t *min, uint32_t *max)
{
    size_t begin = r->at;

    reader_unsavable(r, UNSAVABLE_SHARED, "shared memory");
    s->shared_at[s->nshared++] = begin;
    r->at++;
    return read_bounds(r, "memory", LIMITS_HAS_MAX, begin, min, max);
}

static int read_memory(struct sections *s, struct reader *r, uint32_t index)
{
    size_t begin = r->at;
    uint32_t min = 0, max = 0;
    bool shared = r->at < r->end && r->base[r->at] == (LIMITS_HAS_MAX | LIMITS_SHARED);

    if ((shared ? read_shared(s, r, &min, &max) : read_limits(r, "memory", &min, &max)) < 0)
        return -1;
    if (min > REWRITE_MEMORY_PAGES_MAX || (max > REWRITE_MEMORY_PAGES_MAX && max != UINT32_MAX))
        return reader_invalid(r, begin, "memory of more than %u pages", REWRITE_MEMORY_PAGES_MAX);
    if (index == 0) {
        s->memory_min = min;
        s->memory_max = max;
    }
    return 0;
}

int section_read_memories(struct sections *s, struct reader *r)
{
    if (COUNT(r, &s->memories, "memories", GUEST_MEMORIES_MAX) < 0)
        return -1;
    if (s->memories > 1)
        reader_unsavable(r, UNSAVABLE_MEMORIES, "%" PRIu32 " memories", s->memories);
    for (uint32_t i = 0; i < s->memories; i++)
        if (read_memory(s, r, i) < 0)
            return -1;
    return 0;
}

/* --- segments --- */

/* Of elements, SEGMENT_PASSIVE with SEGMENT_EXPLICIT only declares. */
enum { SEGMENT_PASSIVE = 1, SEGMENT_EXPLICIT = 2, SEGMENT_EXPRESSIONS = 4 };

/* What the elements are: a kind of its own, or a reference type where they are expressions. */
static int read_element_kind(struct reader *r, uint32_t flags)
{
    size_t begin = r->at;
    uint8_t kind;

    if (flags & SEGMENT_EXPRESSIONS)
        return reader_reference_type(r, &kind);
    if (reader_byte(r, &kind, "kind of elements") < 0)
        return -1;
    return kind == 0 ? 0 : reader_invalid(r, begin, "elements of kind %u", kind);
}

static int read_elements(struct reader *r, uint32_t flags)
{
    uint32_t n, index;

    if (reader_count(r, &n, "elements", "UINT32_MAX", UINT32_MAX) < 0)
        return -1;
    while (n--)
        if ((flags & SEGMENT_EXPRESSIONS ? code_read_const(r) : reader_u32(r, &index, "element")) <
            0)
            return -1;
    return 0;
}

static int read_element_segment(struct reader *r)
{
    size_t begin = r->at;
    uint32_t flags, table;

    if (reader_u32(r, &flags, "flags of an element segment") < 0)
        return -1;
    if (flags > (SEGMENT_PASSIVE | SEGMENT_EXPLICIT | SEGMENT_EXPRESSIONS))
        return reader_invalid(r, begin, "element segment with flags 0x%" PRIx32, flags);
    if (!(flags & SEGMENT_PASSIVE)) { /* passive, or it only declares what ref.func may name */
        if ((flags & SEGMENT_EXPLICIT) && reader_u32(r, &table, "table index") < 0)
            return -1;
        if (code_read_const(r) < 0)
            return -1;
    }
    if ((flags & (SEGMENT_PASSIVE | SEGMENT_EXPLICIT)) && read_element_kind(r, flags) < 0)
        return -1;
    return read_elements(r, flags);
}

int section_read_element_segments(struct sections *s, struct reader *r)
{
    uint32_t n;

    (void)s;
    if (COUNT(r, &n, "element segments", REWRITE_SEGMENTS_MAX) < 0)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        if (read_element_segment(r) < 0)
            return -1;
    return 0;
}

/* Their sum is less than the module's bytes, so there is room for all. */
static void note_long(struct sections *s, uint32_t index, uint32_t len)
{
    if (len <= REWRITE_BULK_BYTES)
        return;
    assert(s->nlong < REWRITE_BULK_SEGMENTS_MAX);
    s->long_segments[s->nlong++] = (struct long_segment){.index = index, .len = len};
}

static int read_data_segment(struct sections *s, struct reader *r, uint32_t index)
{
    size_t begin = r->at;
    uint32_t flags, memory, len;

    if (reader_u32(r, &flags, "flags of a data segment") < 0)
        return -1;
    if (flags > SEGMENT_EXPLICIT)
        return reader_invalid(r, begin, "data segment with flags 0x%" PRIx32, flags);
    if ((flags & SEGMENT_EXPLICIT) && reader_u32(r, &memory, "memory index") < 0)
        return -1;
    if (!(flags & SEGMENT_PASSIVE) && code_read_const(r) < 0)
        return -1;
    if (reader_u32(r, &len, "length of a data segment") < 0)
        return -1;
    if (reader_skip(r, len, "data segment") < 0)
        return -1;
    note_long(s, index, len);
    return 0;
}

int section_read_data_segments(struct sections *s, struct reader *r)
{
    if (COUNT(r, &s->segments, "data segments", REWRITE_SEGMENTS_MAX) < 0)
        return -1;
    for (uint32_t i = 0; i < s->segments; i++)
        if (read_data_segment(s, r, i) < 0)
            return -1;
    return 0;
}

int section_read_data_count(struct sections *s, struct reader *r)
{
    s->has_data_count = true;
    return reader_u32(r, &s->data_count, "data count");
}
