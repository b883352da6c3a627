#include "base/buf.h"

#include "base/limits.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int buf_reserve(struct buf *b, size_t more, struct err *err)
{
    size_t max = b->max ? b->max : BUF_DEFAULT_MAX;
    size_t cap = b->cap ? b->cap : 64;
    uint8_t *data;

    if (more > max || b->len > max - more)
        return err_set(err, ERR_LIMIT, 0, "%zu bytes needed, limit %zu", b->len + more, max);
    if (b->cap - b->len >= more)
        return 0;
    while (cap < b->len + more)
        cap = cap + cap / 2 + 16;
    if (cap > max)
        cap = max;
    data = realloc(b->data, cap);
    if (!data)
        return err_set(err, ERR_NOMEM, 0, "no memory for a buffer of %zu bytes", cap);
    b->data = data;
    b->cap = cap;
    return 0;
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
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || buf_reserve(b, (size_t)n + 1, err) < 0) {
        va_end(again);
        return n < 0 ? err_set(err, ERR_INVALID, 0, "format") : -1;
    }
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
    return 0;
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
    size_t max = b->max;
    int rc;

    b->max = b->len + 1 > (max ? max : BUF_DEFAULT_MAX) ? b->len + 1 : max;
    rc = buf_reserve(b, 1, NULL);
    b->max = max;
    if (rc < 0)
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
