/* A growing byte buffer with a stated maximum.
 *
 * Zero-initialised (`struct buf b = {.max = N}`) it is empty and owns nothing. All growing
 * functions fail with ERR_LIMIT past max and ERR_NOMEM where memory is short, and leave the
 * contents as they were. The contents are not NUL-terminated unless buf_cstr is called.
 */
#ifndef ROOST_BASE_BUF_H
#define ROOST_BASE_BUF_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len, cap;
    size_t max; /* 0 means BUF_DEFAULT_MAX of base/limits.h */
};

#define AUTO_BUF __attribute__((cleanup(buf_free)))

/* Room for `more` bytes behind len. */
int buf_reserve(struct buf *b, size_t more, struct err *err) ERR_CHECK;
int buf_append(struct buf *b, const void *data, size_t len, struct err *err) ERR_CHECK;
int buf_puts(struct buf *b, const char *text, struct err *err) ERR_CHECK;
int buf_printf(struct buf *b, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4))) ERR_CHECK;
/* Drops the first n bytes (n <= len), keeping the rest. */
void buf_consume(struct buf *b, size_t n);
/* The contents with a NUL behind them (not counted in len); NULL where memory is short. Borrowed.
 */
const char *buf_cstr(struct buf *b);
/* Frees what it holds; the buffer is empty and usable again. NULL is fine. */
void buf_free(struct buf *b);

#endif
