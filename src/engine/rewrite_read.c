#include "engine/rewrite_read.h"

#include "base/limits.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* --- errors --- */

#define WHERE_MAX 80

static const char *where(char out[WHERE_MAX], const struct reader *r, size_t at)
{
    if (r->function == READER_NO_FUNCTION)
        snprintf(out, WHERE_MAX, "offset %zu (%s)", at, r->where);
    else
        snprintf(out, WHERE_MAX, "offset %zu (function %" PRIu32 ")", at, r->function);
    return out;
}

int reader_invalid(const struct reader *r, size_t at, const char *fmt, ...)
{
    char place[WHERE_MAX], text[ERR_MSG_MAX / 2];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_set(r->err, ERR_INVALID, 0,
                   "%s: %s; the module is damaged: build or download it again", where(place, r, at),
                   text);
}

int reader_refuse(const struct reader *r, size_t at, const char *fmt, ...)
{
    char place[WHERE_MAX], text[ERR_MSG_MAX - WHERE_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_set(r->err, ERR_UNSUPPORTED, 0, "%s: %s", where(place, r, at), text);
}

int reader_limit(const struct reader *r, size_t at, const char *what, uint64_t n,
                 const char *limit_name, uint64_t limit)
{
    char place[WHERE_MAX];

    return err_set(r->err, ERR_LIMIT, 0, "%s: %s: %" PRIu64 ", limit %" PRIu64 " (%s)",
                   where(place, r, at), what, n, limit, limit_name);
}

void reader_unsavable(const struct reader *r, enum unsavable_kind kind, const char *fmt, ...)
{
    struct unsavable *u = r->unsavable;
    size_t used;
    va_list ap;

    if (!u || u->kinds & 1u << kind)
        return;
    u->kinds |= 1u << kind;
    used = strlen(u->text);
    used += (size_t)snprintf(u->text + used, sizeof(u->text) - used, "%s", used ? ", " : "");
    if (used >= sizeof(u->text))
        return;
    va_start(ap, fmt);
    vsnprintf(u->text + used, sizeof(u->text) - used, fmt, ap);
    va_end(ap);
}

const char *name_show(char out[SHOWN_MAX], struct wasm_name name)
{
    uint32_t n = name.len < SHOWN_MAX - 4 ? name.len : SHOWN_MAX - 4;

    for (uint32_t i = 0; i < n; i++)
        out[i] = name.data[i] >= 0x20 && name.data[i] < 0x7f ? (char)name.data[i] : '?';
    memcpy(out + n, n < name.len ? "..." : "", n < name.len ? 4 : 1);
    return out;
}

/* --- bytes and numbers --- */

static int cut_off(const struct reader *r, const char *what)
{
    return reader_invalid(r, r->at, "%s is cut off", what);
}

int reader_byte(struct reader *r, uint8_t *out, const char *what)
{
    if (r->at >= r->end)
        return cut_off(r, what);
    *out = r->base[r->at++];
    return 0;
}

int reader_skip(struct reader *r, size_t n, const char *what)
{
    if (n > r->end - r->at)
        return cut_off(r, what);
    r->at += n;
    return 0;
}

/* The last byte of a number of so many bits may hold at most `last`. */
static int read_unsigned(struct reader *r, uint64_t *out, const char *what, unsigned bits,
                         uint8_t last)
{
    size_t begin = r->at;
    uint8_t byte = 0x80;

    *out = 0;
    for (unsigned shift = 0; byte & 0x80; shift += 7) {
        if (reader_byte(r, &byte, what) < 0)
            return -1;
        if (bits - shift < 7 && byte > last)
            return reader_invalid(r, begin, "%s is a number of more than %u bits", what, bits);
        *out |= (uint64_t)(byte & 0x7f) << shift;
    }
    return 0;
}

int reader_u32(struct reader *r, uint32_t *out, const char *what)
{
    uint64_t value;

    if (read_unsigned(r, &value, what, 32, 0x0f) < 0)
        return -1;
    *out = (uint32_t)value;
    return 0;
}

int reader_u64(struct reader *r, uint64_t *out, const char *what)
{
    return read_unsigned(r, out, what, 64, 0x01);
}

/* The last byte holds the sign and, above it, copies of it only. */
static int signed_end_ok(uint8_t byte, unsigned bits_left)
{
    uint8_t mask = (uint8_t)(0x7fu & ~((1u << (bits_left - 1)) - 1u));

    return (byte & 0x80) == 0 && ((byte & mask) == 0 || (byte & mask) == mask);
}

int reader_signed(struct reader *r, unsigned bits, int64_t *out, const char *what)
{
    size_t begin = r->at;
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte = 0;

    do {
        if (reader_byte(r, &byte, what) < 0)
            return -1;
        if (bits - shift <= 7 && !signed_end_ok(byte, bits - shift))
            return reader_invalid(r, begin, "%s is a number of more than %u bits", what, bits);
        value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    if (shift < 64 && (byte & 0x40))
        value |= ~0ull << shift;
    *out = (int64_t)value;
    return 0;
}

int reader_count(struct reader *r, uint32_t *out, const char *what, const char *limit_name,
                 uint32_t max)
{
    size_t begin = r->at;

    if (reader_u32(r, out, what) < 0)
        return -1;
    if (*out > r->end - r->at)
        return reader_invalid(r, begin, "%s: %" PRIu32 " in %zu bytes", what, *out, r->end - r->at);
    if (*out > max)
        return reader_limit(r, begin, what, *out, limit_name, max);
    return 0;
}

/* Bytes of the UTF-8 character at data; 0: it is none. */
static size_t utf8_char(const uint8_t *data, size_t left)
{
    char text[5] = {0};

    if (data[0] < 0x80)
        return 1;
    if (data[0] == 0xc2 && left > 1 && data[1] >= 0x80 && data[1] < 0xa0)
        return 2; /* control characters are characters */
    memcpy(text, data, left < 4 ? left : 4);
    return text_char(text);
}

static bool is_utf8(const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t n = utf8_char(data + at, len - at);

        if (n == 0)
            return false;
        at += n;
    }
    return true;
}

int reader_name(struct reader *r, struct wasm_name *out, const char *what)
{
    size_t begin = r->at;

    if (reader_u32(r, &out->len, what) < 0)
        return -1;
    if (out->len > r->end - r->at)
        return cut_off(r, what);
    if (out->len > REWRITE_NAME_BYTES_MAX)
        return reader_limit(r, begin, what, out->len, "REWRITE_NAME_BYTES_MAX",
                            REWRITE_NAME_BYTES_MAX);
    out->data = r->base + r->at;
    if (!is_utf8(out->data, out->len))
        return reader_invalid(r, begin, "%s is no UTF-8", what);
    r->at += out->len;
    return 0;
}

int reader_sub(struct reader *r, uint32_t len, struct reader *out, const char *what)
{
    if (len > r->end - r->at)
        return reader_invalid(r, r->at, "%s of %" PRIu32 " bytes, %zu are left", what, len,
                              r->end - r->at);
    *out = *r;
    out->end = r->at + len;
    r->at += len;
    return 0;
}

/* --- types --- */

static int unknown_type(const struct reader *r, size_t at, uint8_t type)
{
    if (type == 0x69 || type == 0x74)
        return reader_refuse(r, at, "exception references: build without -fwasm-exceptions");
    if (type >= 0x62 && type <= 0x78)
        return reader_refuse(r, at,
                             "reference type 0x%02x (typed references or garbage collection): "
                             "build for core WebAssembly 2.0",
                             type);
    return reader_invalid(r, at, "0x%02x is no value type", type);
}

int reader_reference_type(struct reader *r, uint8_t *out)
{
    size_t begin = r->at;

    if (reader_byte(r, out, "reference type") < 0)
        return -1;
    if (*out == TYPE_FUNCREF)
        return 0;
    if (*out == TYPE_EXTERNREF)
        return reader_refuse(r, begin,
                             "externref: there are no objects of the host's that a guest could "
                             "refer to: build without reference types (-mno-reference-types)");
    if (*out >= TYPE_V128 && *out <= TYPE_I32)
        return reader_invalid(r, begin, "0x%02x is no reference type", *out);
    return unknown_type(r, begin, *out);
}

int reader_value_type(struct reader *r, uint8_t *out)
{
    if (r->at < r->end && r->base[r->at] >= TYPE_V128 && r->base[r->at] <= TYPE_I32) {
        *out = r->base[r->at++];
        return 0;
    }
    return reader_reference_type(r, out);
}
