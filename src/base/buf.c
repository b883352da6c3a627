#include "base/buf.h"

#include "base/limits.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* extra: room for a NUL, which is no part of the contents and not under the maximum. */
static int reserve(struct buf *b, size_t more, size_t extra, struct err *err)
{
    size_t max = b->max ? b->max : BUF_DEFAULT_MAX;
    size_t cap = b->cap ? b->cap : 64;
    uint8_t *data;

    if (more > max || b->len > max - more)
        return err_set(err, ERR_LIMIT, 0, "%zu bytes and %zu more, limit %zu", b->len, more, max);
    if (b->cap - b->len >= more + extra)
        return 0;
    while (cap < b->len + more + extra)
        cap = cap + cap / 2 + 16;
    if (cap > max + extra)
        cap = max + extra;
    data = realloc(b->data, cap);
    if (!data)
        return err_set(err, ERR_NOMEM, 0, "no memory for a buffer of %zu bytes", cap);
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_reserve(struct buf *b, size_t more, struct err *err)
{
    return reserve(b, more, 0, err);
}

int buf_append(struct buf *b, const void *data, size_t len, struct err *err)
{
    if (buf_reserve(b, len, err) < 0)
        return -1;
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    return 0;
}

int buf_puts(struct buf *b, const char *text, struct err *err)
{
    return buf_append(b, text, strlen(text), err);
}

int buf_printf(struct buf *b, struct err *err, const char *fmt, ...)
{
    va_list ap, again;
    int n, rc;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        rc = err_set(err, ERR_INVALID, 0, "text that cannot be formatted");
    else if ((rc = reserve(b, (size_t)n, 1, err)) == 0) {
        vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return rc;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->len -= n;
    if (b->len)
        memmove(b->data, b->data + n, b->len);
}

const char *buf_cstr(struct buf *b)
{
    if (reserve(b, 0, 1, NULL) < 0)
        return NULL;
    b->data[b->len] = 0;
    return (const char *)b->data;
}

void buf_free(struct buf *b)
{
    if (!b)
        return;
    free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}
