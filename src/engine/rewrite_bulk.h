/* Instructions that may take long are cut into pieces; see the .c file. Private to
 * engine/rewrite*.c.
 */
#ifndef ROOST_ENGINE_REWRITE_BULK_H
#define ROOST_ENGINE_REWRITE_BULK_H

#include "base/buf.h"
#include "base/limits.h"
#include "engine/rewrite_sections.h"

#include <stdint.h>

/* Which helper functions a module needs. Zero: none. */
struct bulk {
    const struct sections *s;
    uint32_t n;
    struct buf helpers, sites;
    /* The helper for each pair of immediates, counted from 1; 0: none yet. */
    uint16_t fill[GUEST_MEMORIES_MAX];
    uint16_t copy[GUEST_MEMORIES_MAX][GUEST_MEMORIES_MAX];
    uint16_t init[REWRITE_BULK_SEGMENTS_MAX][GUEST_MEMORIES_MAX];
};

/* Reads the module's code for them; s is borrowed for b's life. ERR_NOMEM. */
int bulk_plan(struct bulk *b, const struct sections *s, struct err *err) ERR_CHECK;
void bulk_free(struct bulk *b);

/* Where b->n > 0, the whole section with what it adds. */
int bulk_write_types(struct buf *out, const struct bulk *b, struct err *err) ERR_CHECK;
int bulk_write_functions(struct buf *out, const struct bulk *b, struct err *err) ERR_CHECK;
int bulk_write_code(struct buf *out, struct bulk *b, struct err *err) ERR_CHECK;

#endif
