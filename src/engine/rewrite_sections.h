/* What the rewriter learns of a module by reading all of its sections once. Private to
 * engine/rewrite*.c.
 */
#ifndef ROOST_ENGINE_REWRITE_SECTIONS_H
#define ROOST_ENGINE_REWRITE_SECTIONS_H

#include "base/limits.h"
#include "engine/rewrite_read.h"

#include <stdbool.h>
#include <stdint.h>

/* Section ids, as in the binary. */
enum {
    SECTION_CUSTOM,
    SECTION_TYPE,
    SECTION_IMPORT,
    SECTION_FUNCTION,
    SECTION_TABLE,
    SECTION_MEMORY,
    SECTION_GLOBAL,
    SECTION_EXPORT,
    SECTION_START,
    SECTION_ELEMENT,
    SECTION_CODE,
    SECTION_DATA,
    SECTION_DATA_COUNT,
    SECTION_TAG,
    SECTIONS,
};

enum {
    KIND_FUNCTION,
    KIND_TABLE,
    KIND_MEMORY,
    KIND_GLOBAL,
    KIND_TAG,
    KIND_EXACT_FUNCTION = 0x20, /* of an import, where custom descriptors are proposed */
};

/* Flags of a memory's or table's limits. */
enum { LIMITS_HAS_MAX = 1, LIMITS_SHARED = 2, LIMITS_64 = 4, LIMITS_PAGE_SIZE = 8 };

struct sections {
    struct reader body[SECTIONS]; /* of those that were seen, customs apart; base NULL: absent */
    uint32_t customs;

    uint32_t types;
    uint32_t imports, imported_functions, imported_globals;
    uint32_t owned_globals; /* of the imported ones: mutable, so they become the module's own */
    uint32_t functions;     /* defined here */
    uint32_t bodies;
    uint32_t tables;
    uint64_t table_elements;
    uint32_t memories, memory_min, memory_max; /* the sizes are the first one's */
    uint32_t nshared;
    size_t shared_at[GUEST_MEMORIES_MAX];      /* offsets of shared memories' flags */
    uint32_t globals;                          /* imported and defined */
    uint8_t mutable_[REWRITE_GLOBALS_MAX / 8]; /* a bit for each that can be saved */
    uint32_t mutables;
    uint32_t exports;
    bool exports_memory;
    bool has_start;
    uint32_t start;
    uint32_t bulk; /* instructions that may take long (struct bulk_use) */
    uint32_t segments;
    struct long_segment {
        uint32_t index, len;
    } long_segments[REWRITE_BULK_SEGMENTS_MAX]; /* of data, longer than REWRITE_BULK_BYTES */
    uint32_t nlong;
    bool has_data_count;
    uint32_t data_count;
    struct unsavable unsavable;
};

/* An entry of the import section. */
struct import {
    size_t at;
    uint8_t kind;
    uint32_t type;   /* of a function */
    uint8_t value;   /* type of a global */
    bool is_mutable; /* a global */
    char module[SHOWN_MAX], name[SHOWN_MAX];
};

/* Reads one and counts it. */
int section_read_import(struct sections *s, struct reader *r, struct import *out) ERR_CHECK;

/* One section in the file, as found by section_next. */
struct section {
    size_t at; /* offset of its id */
    uint8_t id;
    struct reader body;
};

/* The next section of a module whose header was read; r->at == r->end must be asked before. */
int section_next(struct reader *r, struct section *out) ERR_CHECK;
/* A custom section's name; body goes on behind it. */
int section_custom_name(struct reader *body, struct wasm_name *out) ERR_CHECK;
/* Where in a module a section belongs: 1 ... 13 by id, 0 for customs. */
int section_place(uint8_t id);

/* Reads all sections behind the module's header. */
int sections_read(struct sections *s, struct reader module) ERR_CHECK;

/* A vector's count against a limit of base/limits.h, which errors name. */
#define COUNT(r, out, what, limit) reader_count(r, out, what, #limit, limit)

/* The sections of engine/rewrite_segments.c. */
int section_read_tables(struct sections *s, struct reader *r) ERR_CHECK;
int section_read_memories(struct sections *s, struct reader *r) ERR_CHECK;
int section_read_element_segments(struct sections *s, struct reader *r) ERR_CHECK;
int section_read_data_segments(struct sections *s, struct reader *r) ERR_CHECK;
int section_read_data_count(struct sections *s, struct reader *r) ERR_CHECK;

static inline bool sections_is_mutable(const struct sections *s, uint32_t global)
{
    return (s->mutable_[global / 8] >> (global % 8)) & 1;
}

#endif
