/* What the time goes to is strings: 16 bytes at a time are looked at for anything that ends a plain
 * run (quote, backslash, control character, non-ASCII), everything else byte by byte. Values nest
 * by recursion, whose depth is limited (base/limits.h).
 */
#include "kube/json.h"

#include "base/limits.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static bool fail(struct jscan *j, enum jscan_rc rc)
{
    if (j->rc == JSCAN_OK)
        j->rc = rc;
    return false;
}

/* The byte at the cursor is not what the grammar wants, or there is none yet. */
static bool unexpected(struct jscan *j)
{
    return fail(j, j->at == j->end ? JSCAN_MORE : JSCAN_BAD);
}

void jscan_init(struct jscan *j, const uint8_t *data, size_t len)
{
    *j = (struct jscan){.at = data, .end = len ? data + len : data};
}

uint8_t jscan_peek_past_space(struct jscan *j)
{
    const uint8_t *p = j->at;

    if (j->rc)
        return 0;
    while (p < j->end && jscan_is_space(*p))
        p++;
    j->at = p;
    return p < j->end ? *p : 0;
}

/* --- strings --- */

/* The first byte at or after p that a plain string does not hold. */
static inline const uint8_t *plain_run(const uint8_t *p, const uint8_t *end)
{
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);

    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* Signed: non-ASCII bytes are below 0x20 as well. */
        __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                                   _mm_cmplt_epi8(v, space));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);

        if (mask)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

static bool in_range(uint8_t c, uint8_t low, uint8_t high)
{
    return c >= low && c <= high;
}

/* Passes one character beyond ASCII: no overlong forms, no surrogates, nothing past U+10FFFF. */
static bool utf8_char(struct jscan *j)
{
    uint8_t c = *j->at, low = 0x80, high = 0xBF;
    int more;

    if (in_range(c, 0xC2, 0xDF))
        more = 1;
    else if (in_range(c, 0xE0, 0xEF))
        more = 2;
    else if (in_range(c, 0xF0, 0xF4))
        more = 3;
    else
        return fail(j, JSCAN_BAD);
    if (c == 0xE0)
        low = 0xA0;
    else if (c == 0xED)
        high = 0x9F;
    else if (c == 0xF0)
        low = 0x90;
    else if (c == 0xF4)
        high = 0x8F;
    j->at++;
    for (; more; more--, j->at++, low = 0x80, high = 0xBF)
        if (j->at == j->end || !in_range(*j->at, low, high))
            return unexpected(j);
    return true;
}

static int hex_digit(uint8_t c)
{
    if (in_range(c, '0', '9'))
        return c - '0';
    c |= 0x20;
    return in_range(c, 'a', 'f') ? c - 'a' + 10 : -1;
}

static bool escape(struct jscan *j)
{
    if (++j->at == j->end)
        return unexpected(j);
    switch (*j->at++) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return true;
    case 'u':
        for (int i = 0; i < 4; i++, j->at++)
            if (j->at == j->end || hex_digit(*j->at) < 0)
                return unexpected(j);
        return true;
    default:
        j->at--;
        return fail(j, JSCAN_BAD);
    }
}

/* The cursor is on the opening quote. */
static bool string_here(struct jscan *j, struct jscan_str *out)
{
    const uint8_t *start = ++j->at;
    bool escaped = false;

    for (;;) {
        j->at = plain_run(j->at, j->end);
        if (j->at == j->end)
            return fail(j, JSCAN_MORE);
        if (*j->at == '"')
            break;
        if (*j->at == '\\') {
            escaped = true;
            if (!escape(j))
                return false;
        } else if (*j->at < 0x20 || !utf8_char(j)) {
            return fail(j, JSCAN_BAD);
        }
    }
    *out = (struct jscan_str){.at = start, .len = (size_t)(j->at - start), .escaped = escaped};
    j->at++;
    return true;
}

bool jscan_string(struct jscan *j, struct jscan_str *out)
{
    if (jscan_peek(j) != '"')
        return unexpected(j);
    return string_here(j, out);
}

/* --- numbers and words --- */

static bool digits(struct jscan *j)
{
    if (j->at == j->end || !in_range(*j->at, '0', '9'))
        return unexpected(j);
    while (j->at < j->end && in_range(*j->at, '0', '9'))
        j->at++;
    return true;
}

static bool next_is(const struct jscan *j, uint8_t c)
{
    return j->at < j->end && *j->at == c;
}

static bool number(struct jscan *j)
{
    if (*j->at == '-')
        j->at++;
    if (next_is(j, '0'))
        j->at++;
    else if (!digits(j))
        return false;
    if (next_is(j, '.')) {
        j->at++;
        if (!digits(j))
            return false;
    }
    if (next_is(j, 'e') || next_is(j, 'E')) {
        j->at++;
        if (next_is(j, '+') || next_is(j, '-'))
            j->at++;
        return digits(j);
    }
    return true;
}

static bool word(struct jscan *j, const char *text)
{
    for (; *text; text++, j->at++)
        if (!next_is(j, (uint8_t)*text))
            return unexpected(j);
    return true;
}

bool jscan_int(struct jscan *j, int64_t *out, bool *is_int)
{
    const uint8_t *p, *start = (jscan_peek(j), j->at);
    int64_t value = 0;

    *is_int = false;
    if (!jscan_skip(j))
        return false;
    p = start + (*start == '-');
    if (!in_range(*p, '0', '9'))
        return true;
    for (; p < j->at; p++)
        if (!in_range(*p, '0', '9') || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, *p - '0', &value))
            return true;
    /* It was counted downwards, where there is room for one more. */
    if (*start != '-' && __builtin_mul_overflow(value, -1, &value))
        return true;
    *out = value;
    *is_int = true;
    return true;
}

/* --- values --- */

bool jscan_open(struct jscan *j, char bracket)
{
    if (jscan_peek(j) != (uint8_t)bracket)
        return unexpected(j);
    if (j->depth == JSON_DEPTH_MAX)
        return fail(j, JSCAN_DEEP);
    j->depth++;
    j->at++;
    j->opened = true;
    return true;
}

/* Before a value of a container: true where one follows. */
static bool another(struct jscan *j, uint8_t close)
{
    bool first = j->opened;
    uint8_t c = jscan_peek(j);

    j->opened = false;
    if (c == close) {
        j->at++;
        j->depth--;
        return false;
    }
    if (first)
        return c ? true : unexpected(j);
    if (c != ',')
        return unexpected(j);
    j->at++;
    return true;
}

bool jscan_member(struct jscan *j, struct jscan_str *key)
{
    if (!another(j, '}') || !jscan_string(j, key))
        return false;
    if (jscan_peek(j) != ':')
        return unexpected(j);
    j->at++;
    return true;
}

bool jscan_element(struct jscan *j)
{
    return another(j, ']');
}

static bool skip_object(struct jscan *j)
{
    struct jscan_str key;

    if (!jscan_open(j, '{'))
        return false;
    while (jscan_member(j, &key))
        jscan_skip(j);
    return j->rc == JSCAN_OK;
}

static bool skip_array(struct jscan *j)
{
    if (!jscan_open(j, '['))
        return false;
    while (jscan_element(j))
        jscan_skip(j);
    return j->rc == JSCAN_OK;
}

bool jscan_skip(struct jscan *j)
{
    struct jscan_str ignored;
    uint8_t c = jscan_peek(j);

    switch (c) {
    case '"':
        return string_here(j, &ignored);
    case '{':
        return skip_object(j);
    case '[':
        return skip_array(j);
    case 't':
        return word(j, "true");
    case 'f':
        return word(j, "false");
    case 'n':
        return word(j, "null");
    default:
        return c == '-' || in_range(c, '0', '9') ? number(j) : unexpected(j);
    }
}

bool jscan_done(struct jscan *j)
{
    return jscan_peek(j) == 0 && j->rc == JSCAN_OK && j->at == j->end;
}

const char *jscan_rc_text(enum jscan_rc rc)
{
    switch (rc) {
    case JSCAN_OK:
        return "valid";
    case JSCAN_MORE:
        return "ends early";
    case JSCAN_DEEP:
        return "nested too deeply";
    case JSCAN_BAD:
    default:
        return "not JSON";
    }
}

/* --- unescaping --- */

static uint32_t hex4(const uint8_t *p)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++)
        value = value << 4 | (uint32_t)hex_digit(p[i]);
    return value;
}

/* The character of an escape whose backslash is at *p; *p is moved behind it. It was checked when
 * the string was scanned. */
static uint32_t escape_char(const uint8_t **p, const uint8_t *end)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    uint8_t c = (*p)[1];
    uint32_t high, low;

    if (c != 'u') {
        const char *found = strchr(from, c);

        *p += 2;
        return found ? (uint8_t)to[found - from] : c;
    }
    high = hex4(*p + 2);
    *p += 6;
    if (high < 0xD800 || high > 0xDFFF)
        return high;
    if (high < 0xDC00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        low = hex4(*p + 2);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *p += 6;
            return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return 0xFFFD;
}

static size_t utf8_put(uint8_t out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

int jscan_str_copy(char *out, size_t cap, const struct jscan_str *s)
{
    const uint8_t *p = s->at, *end = s->at + s->len;
    size_t len = 0;

    while (p < end) {
        uint8_t piece[4] = {*p};
        size_t n = 1;

        if (*p == '\\')
            n = utf8_put(piece, escape_char(&p, end));
        else
            p++;
        if (piece[0] == 0 || len + n >= cap)
            return -1;
        memcpy(out + len, piece, n);
        len += n;
    }
    if (len >= cap)
        return -1;
    out[len] = 0;
    return 0;
}

bool jscan_str_is(const struct jscan_str *s, const char *text)
{
    const uint8_t *p = s->at, *end;
    size_t want = strlen(text);

    if (!p)
        return false;
    end = p + s->len;
    if (!s->escaped)
        return s->len == want && memcmp(s->at, text, want) == 0;
    while (p < end) {
        uint8_t piece[4] = {*p};
        size_t n = 1;

        if (*p == '\\')
            n = utf8_put(piece, escape_char(&p, end));
        else
            p++;
        if (n > want || memcmp(text, piece, n) != 0)
            return false;
        text += n;
        want -= n;
    }
    return want == 0;
}

/* --- framing --- */

/* The end of the string that the frame is in; false: it goes on past the piece. */
static bool frame_string(struct jscan_frame *f, const uint8_t *data, size_t len, size_t *at)
{
    size_t i = *at;

    if (f->after_backslash && i < len) {
        f->after_backslash = false;
        i++;
    }
    while (i < len) {
        i = (size_t)(plain_run(data + i, data + len) - data);
        if (i == len)
            break;
        if (data[i] == '"') {
            *at = i + 1;
            f->in_string = false;
            return true;
        }
        if (data[i] == '\\') {
            if (++i == len) {
                f->after_backslash = true;
                break;
            }
        }
        i++;
    }
    *at = len;
    return false;
}

static bool frame_scalar(const uint8_t *data, size_t len, size_t *used)
{
    size_t i = 0;

    while (i < len && !jscan_is_space(data[i]) && !strchr(",]}:[{\"", data[i]))
        i++;
    *used = i;
    return i < len;
}

/* Brackets and strings until the value closes. */
static bool frame_nested(struct jscan_frame *f, const uint8_t *data, size_t len, size_t *at)
{
    while (*at < len) {
        if (f->in_string) {
            if (!frame_string(f, data, len, at))
                return false;
            if (f->depth == 0)
                return true;
            continue;
        }
        switch (data[(*at)++]) {
        case '"':
            f->in_string = true;
            break;
        case '{':
        case '[':
            f->depth++;
            break;
        case '}':
        case ']':
            if (--f->depth == 0)
                return true;
            break;
        default:
            break;
        }
    }
    return false;
}

bool jscan_frame(struct jscan_frame *f, const uint8_t *data, size_t len, size_t *used)
{
    size_t at = 0;
    bool whole;

    *used = 0;
    if (len == 0)
        return false;
    if (f->kind == 0) {
        f->kind = data[0];
        at = 1;
        f->in_string = f->kind == '"';
        f->depth = f->kind == '{' || f->kind == '[';
        if (f->depth == 0 && !f->in_string) {
            whole = frame_scalar(data + 1, len - 1, used);
            *used += 1;
            return whole;
        }
    } else if (f->depth == 0 && !f->in_string) {
        return frame_scalar(data, len, used);
    }
    whole = frame_nested(f, data, len, &at);
    *used = at;
    return whole;
}
