/* What the rewriter's writers share. Private to engine/rewrite*.c. */
#ifndef ROOST_ENGINE_REWRITE_WRITE_H
#define ROOST_ENGINE_REWRITE_WRITE_H

#include "base/buf.h"
#include "base/err.h"
#include "engine/rewrite_sections.h"

#include <stdint.h>

/* LEB128, as short as it goes. */
int write_u32(struct buf *out, uint32_t value, struct err *err) ERR_CHECK;
/* A section of this id: its length and its bytes. */
int write_section(struct buf *out, uint8_t id, const struct buf *body, struct err *err) ERR_CHECK;
/* The entries of a section as the file has them, what counts them left out; a section that the
 * module does not have has none. */
int write_entries(struct buf *out, const struct sections *s, uint8_t id, struct err *err) ERR_CHECK;

/* --- rewrite_imports.c: imported globals that become the module's own (owned_globals > 0) --- */

/* The whole import section without them, and the whole global section with them in front. */
int imports_write(struct buf *out, const struct sections *s, struct err *err) ERR_CHECK;
int globals_write(struct buf *out, const struct sections *s, struct err *err) ERR_CHECK;

#endif
