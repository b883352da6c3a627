/* Tables and memories, and the segments that fill them: what a sleep could lose.
 *
 * A table's contents are those that its active segments gave it, for ever, since no instruction
 * that changes a table is let through; so it needs not be saved. A passive segment has state of its
 * own (whether it was dropped). See engine/rewrite_sections.c for the other sections.
 */
#include "engine/rewrite_sections.h"

#include <inttypes.h>

/* --- limits of tables and memories --- */

enum { LIMITS_HAS_MAX = 1, LIMITS_SHARED = 2, LIMITS_64 = 4, LIMITS_PAGE_SIZE = 8 };

static int refuse_limits(const struct reader *r, size_t at, uint8_t flags, const char *what)
{
    if (flags > 15)
        return reader_invalid(r, at, "limits of a %s: flags 0x%02x", what, flags);
    if (flags & LIMITS_SHARED)
        return reader_refuse(
            r, at, "shared %s: threads are not supported: build without -pthread and -matomics",
            what);
    if (flags & LIMITS_64)
        return reader_refuse(r, at, "%s of 64 bits (memory64): build for wasm32", what);
    return reader_refuse(r, at, "%s with its own page size: build for core WebAssembly 2.0", what);
}

static int read_limits(struct reader *r, const char *what, uint32_t *min, uint32_t *max)
{
    size_t begin = r->at;
    uint8_t flags;

    *min = 0;
    *max = UINT32_MAX;
    if (reader_byte(r, &flags, "limits") < 0)
        return -1;
    if (flags > LIMITS_HAS_MAX)
        return refuse_limits(r, begin, flags, what);
    if (reader_u32(r, min, "minimum") < 0)
        return -1;
    if ((flags & LIMITS_HAS_MAX) && reader_u32(r, max, "maximum") < 0)
        return -1;
    if (*min > *max)
        return reader_invalid(r, begin, "%s with minimum %" PRIu32 " above maximum %" PRIu32, what,
                              *min, *max);
    return 0;
}

/* --- tables and memories --- */

static int read_table(struct sections *s, struct reader *r)
{
    size_t begin = r->at;
    uint32_t min, max;
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

int section_read_memories(struct sections *s, struct reader *r)
{
    size_t begin = r->at;

    if (reader_count(r, &s->memories, "memories", "UINT32_MAX", UINT32_MAX) < 0)
        return -1;
    if (s->memories > 1)
        return reader_refuse(r, begin, "%" PRIu32 " memories: link with one memory only",
                             s->memories);
    if (s->memories == 0)
        return 0;
    if (read_limits(r, "memory", &s->memory_min, &s->memory_max) < 0)
        return -1;
    if (s->memory_min > REWRITE_MEMORY_PAGES_MAX ||
        (s->memory_max > REWRITE_MEMORY_PAGES_MAX && s->memory_max != UINT32_MAX))
        return reader_invalid(r, begin, "memory of more than %u pages", REWRITE_MEMORY_PAGES_MAX);
    return 0;
}

/* --- segments --- */

enum { SEGMENT_PASSIVE = 1, SEGMENT_EXPLICIT = 2, SEGMENT_EXPRESSIONS = 4 };

static int refuse_passive(const struct reader *r, size_t at, const char *what, uint32_t index)
{
    return reader_refuse(r, at,
                         "passive segment (%s %" PRIu32 "), whose state is lost when the guest "
                         "sleeps: build without threads (-pthread, --shared-memory)",
                         what, index);
}

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

static int read_element_segment(struct reader *r, uint32_t index)
{
    size_t begin = r->at;
    uint32_t flags, table;

    if (reader_u32(r, &flags, "flags of an element segment") < 0)
        return -1;
    if (flags > (SEGMENT_PASSIVE | SEGMENT_EXPLICIT | SEGMENT_EXPRESSIONS))
        return reader_invalid(r, begin, "element segment with flags 0x%" PRIx32, flags);
    if ((flags & SEGMENT_PASSIVE) && !(flags & SEGMENT_EXPLICIT))
        return refuse_passive(r, begin, "elements", index);
    if (!(flags & SEGMENT_PASSIVE)) { /* else it only declares what ref.func may name */
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
        if (read_element_segment(r, i) < 0)
            return -1;
    return 0;
}

static int read_data_segment(struct reader *r, uint32_t index)
{
    size_t begin = r->at;
    uint32_t flags, memory = 0, len;

    if (reader_u32(r, &flags, "flags of a data segment") < 0)
        return -1;
    if (flags > SEGMENT_EXPLICIT)
        return reader_invalid(r, begin, "data segment with flags 0x%" PRIx32, flags);
    if (flags & SEGMENT_PASSIVE)
        return refuse_passive(r, begin, "data", index);
    if ((flags & SEGMENT_EXPLICIT) && reader_u32(r, &memory, "memory index") < 0)
        return -1;
    if (memory != 0)
        return reader_refuse(r, begin, "several memories: link with one memory only");
    if (code_read_const(r) < 0 || reader_u32(r, &len, "length of a data segment") < 0)
        return -1;
    return reader_skip(r, len, "data segment");
}

int section_read_data_segments(struct sections *s, struct reader *r)
{
    if (COUNT(r, &s->segments, "data segments", REWRITE_SEGMENTS_MAX) < 0)
        return -1;
    for (uint32_t i = 0; i < s->segments; i++)
        if (read_data_segment(r, i) < 0)
            return -1;
    return 0;
}

int section_read_data_count(struct sections *s, struct reader *r)
{
    s->has_data_count = true;
    return reader_u32(r, &s->data_count, "data count");
}
