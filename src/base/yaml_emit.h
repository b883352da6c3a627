/* JSON values as YAML, for people and for kubectl. */
#ifndef ROOST_BASE_YAML_EMIT_H
#define ROOST_BASE_YAML_EMIT_H

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>

/* Appends value as one YAML document in block style, members in their order. Text that YAML 1.1
 * or 1.2 would read as something else (true, 1e3, ~, 2026-01-02) is quoted; text of several lines
 * is a literal block. Any thread.
 * ERR_LIMIT: deeper than YAML_DEPTH_MAX, or over out's maximum. ERR_NOMEM. */
int yaml_emit(struct buf *out, const json_t *value, struct err *err) ERR_CHECK;

#endif
