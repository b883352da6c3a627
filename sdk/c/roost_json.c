/* The C SDK's JSON reader: looks values up in place.
 *
 * One scanner, without recursion: a foreign document can neither overflow the stack nor make
 * anything allocate. A lookup goes down from the outermost value, passing over what it does not
 * want; what it passes over is checked. No byte at or past the end is read.
 */
#include "roost.h"

#include <string.h>

/* --- JSON: the scanner --- */

struct scan {
    const char *p, *end;
    unsigned depth;
    uint8_t object[ROOST_JSON_DEPTH_MAX / 8]; /* a bit for each level: object, else array */
};

static char peek(const struct scan *s)
{
    return s->p < s->end ? *s->p : '\0';
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

/* Takes c, after space, if it is next. */
static bool take(struct scan *s, char c)
{
    skip_space(s);
    if (peek(s) != c || s->p == s->end)
        return false;
    s->p++;
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* After the backslash. */
static bool scan_escape(struct scan *s)
{
    char c = peek(s);

    if (c == '\0' || !strchr("\"\\/bfnrtu", c))
        return false;
    s->p++;
    for (int i = 0; c == 'u' && i < 4; i++, s->p++)
        if (hex_value(peek(s)) < 0)
            return false;
    return true;
}

static bool scan_string(struct scan *s)
{
    if (peek(s) != '"')
        return false;
    s->p++;
    while (s->p < s->end) {
        unsigned char c = (unsigned char)*s->p++;

        if (c == '"')
            return true;
        if (c < 0x20 || (c == '\\' && !scan_escape(s)))
            return false;
    }
    return false;
}

static bool scan_digits(struct scan *s)
{
    const char *from = s->p;

    while (peek(s) >= '0' && peek(s) <= '9')
        s->p++;
    return s->p > from;
}

static bool scan_number(struct scan *s)
{
    if (peek(s) == '-')
        s->p++;
    if (peek(s) == '0')
        s->p++;
    else if (!scan_digits(s))
        return false;
    if (peek(s) == '.') {
        s->p++;
        if (!scan_digits(s))
            return false;
    }
    if (peek(s) != 'e' && peek(s) != 'E')
        return true;
    s->p++;
    if (peek(s) == '+' || peek(s) == '-')
        s->p++;
    return scan_digits(s);
}

static bool scan_word(struct scan *s, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len) != 0)
        return false;
    s->p += len;
    return true;
}

static enum roost_json_type type_at(const struct scan *s)
{
    static const char first[] = "ntf\"[{-0123456789";
    static const enum roost_json_type types[] = {ROOST_JSON_NULL,  ROOST_JSON_BOOL,
                                                 ROOST_JSON_BOOL,  ROOST_JSON_STRING,
                                                 ROOST_JSON_ARRAY, ROOST_JSON_OBJECT};
    const char *known = peek(s) ? strchr(first, peek(s)) : NULL;

    if (!known)
        return ROOST_JSON_NONE;
    return known - first < 6 ? types[known - first] : ROOST_JSON_NUMBER;
}

static bool scan_scalar(struct scan *s)
{
    switch (type_at(s)) {
    case ROOST_JSON_STRING:
        return scan_string(s);
    case ROOST_JSON_NUMBER:
        return scan_number(s);
    case ROOST_JSON_BOOL:
        return scan_word(s, *s->p == 't' ? "true" : "false");
    case ROOST_JSON_NULL:
        return scan_word(s, "null");
    default:
        return false;
    }
}

/* A member's name and its colon. */
static bool scan_name(struct scan *s)
{
    skip_space(s);
    return scan_string(s) && take(s, ':');
}

static bool in_object(const struct scan *s)
{
    return s->object[(s->depth - 1) / 8] >> ((s->depth - 1) % 8) & 1;
}

/* Enters the array or object at p. */
static bool scan_open(struct scan *s, bool object)
{
    unsigned bit = 1u << (s->depth % 8);

    if (s->depth == ROOST_JSON_DEPTH_MAX)
        return false;
    if (object)
        s->object[s->depth / 8] |= (uint8_t)bit;
    else
        s->object[s->depth / 8] &= (uint8_t)~bit;
    s->depth++;
    s->p++;
    return true;
}

/* After a value: closes what ends here, and goes to the next value, if a level is still open. */
static bool scan_after(struct scan *s)
{
    while (s->depth > 0) {
        if (take(s, ','))
            return !in_object(s) || scan_name(s);
        if (!take(s, in_object(s) ? '}' : ']'))
            return false;
        s->depth--;
    }
    return true;
}

/* After an opening bracket: to the first value, or past the closing one. */
static bool scan_first(struct scan *s)
{
    if (take(s, in_object(s) ? '}' : ']')) {
        s->depth--;
        return scan_after(s);
    }
    return !in_object(s) || scan_name(s);
}

/* One whole value with all below it. */
static bool scan_value(struct scan *s, struct roost_json *out)
{
    skip_space(s);
    out->type = type_at(s);
    out->at = s->p;
    s->depth = 0;
    do {
        enum roost_json_type type = ROOST_JSON_NONE;

        skip_space(s);
        type = type_at(s);
        if (type == ROOST_JSON_OBJECT || type == ROOST_JSON_ARRAY) {
            if (!scan_open(s, type == ROOST_JSON_OBJECT) || !scan_first(s))
                return false;
        } else if (!scan_scalar(s) || !scan_after(s)) {
            return false;
        }
    } while (s->depth > 0);
    out->len = (size_t)(s->p - out->at);
    return true;
}

/* --- JSON: strings --- */

/* Four hexadecimal digits, already checked. */
static uint32_t hex4(const char *p)
{
    uint32_t n = 0;

    for (int i = 0; i < 4; i++)
        n = n << 4 | (uint32_t)hex_value(p[i]);
    return n;
}

static int utf8_put(uint32_t c, char out[4])
{
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t mark[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (int i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(mark[n] | c);
    return n;
}

/* \uXXXX, maybe a pair, at *p just after the u. */
static int unescape_unicode(const char **p, const char *end, char out[4])
{
    uint32_t c = hex4(*p), low = 0;

    *p += 4;
    if (c == 0 || (c >= 0xdc00 && c < 0xe000))
        return -1;
    if (c < 0xd800 || c >= 0xe000)
        return utf8_put(c, out);
    if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return -1;
    low = hex4(*p + 2);
    if (low < 0xdc00 || low >= 0xe000)
        return -1;
    *p += 6;
    return utf8_put(0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00), out);
}

/* The next character of a scanned string, decoded: 1 to 4 bytes, or -1 for what C text cannot hold.
 */
static int unescape(const char **p, const char *end, char out[4])
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *known = NULL;

    out[0] = *(*p)++;
    if (out[0] != '\\')
        return 1;
    out[0] = *(*p)++;
    if (out[0] == 'u')
        return unescape_unicode(p, end, out);
    known = strchr(from, out[0]);
    if (known)
        out[0] = to[known - from];
    return 1;
}

int roost_json_string(const struct roost_json *v, char *out, size_t cap)
{
    const char *p = v->at, *end = v->at + v->len;
    size_t len = 0;

    if (cap)
        out[0] = '\0';
    if (v->type != ROOST_JSON_STRING)
        return ROOST_EINVAL;
    if (cap == 0)
        return ROOST_E2BIG;
    for (p++, end--; p < end;) {
        char bytes[4];
        int n = unescape(&p, end, bytes);

        if (n < 0 || (size_t)n >= cap - len) {
            out[0] = '\0';
            return n < 0 ? ROOST_EINVAL : ROOST_E2BIG;
        }
        memcpy(out + len, bytes, (size_t)n);
        len += (size_t)n;
    }
    out[len] = '\0';
    return (int)len;
}

/* --- JSON: looking up --- */

/* The next byte of a pointer's token, decoded: -1 at its end, -2 for a bad escape. */
static int token_next(const char **token)
{
    const char *t = *token;

    if (*t == '\0' || *t == '/')
        return -1;
    *token = t + (*t == '~' ? 2 : 1);
    if (*t != '~')
        return (unsigned char)*t;
    return t[1] == '0' ? '~' : t[1] == '1' ? '/' : -2;
}

/* Is the scanned string (with its quotes) what the token says? */
static bool name_is(const struct roost_json *name, const char *token)
{
    const char *p = name->at + 1, *end = name->at + name->len - 1;

    while (p < end) {
        char bytes[4];
        int n = unescape(&p, end, bytes);

        if (n < 0)
            return false;
        for (int i = 0; i < n; i++)
            if (token_next(&token) != (unsigned char)bytes[i])
                return false;
    }
    return token_next(&token) == -1;
}

/* The index of an array that a token names: no sign, no leading zero; -1 if it is none. */
static int64_t token_index(const char *token)
{
    int64_t n = 0;
    int c = token_next(&token);

    if (c == '0')
        return token_next(&token) == -1 ? 0 : -1;
    if (c < 0)
        return -1;
    for (; c >= '0' && c <= '9' && n < INT32_MAX; c = token_next(&token))
        n = n * 10 + (c - '0');
    return c == -1 ? n : -1;
}

/* From the object at p to the value of the member that the token names. */
static int enter_member(struct scan *s, const char *token)
{
    struct roost_json name = {ROOST_JSON_STRING, NULL, 0}, value;

    s->p++;
    if (take(s, '}'))
        return ROOST_ENOENT;
    do {
        skip_space(s);
        name.at = s->p;
        if (!scan_string(s))
            return ROOST_EINVAL;
        name.len = (size_t)(s->p - name.at);
        if (!take(s, ':'))
            return ROOST_EINVAL;
        if (name_is(&name, token))
            return 0;
        if (!scan_value(s, &value))
            return ROOST_EINVAL;
    } while (take(s, ','));
    return take(s, '}') ? ROOST_ENOENT : ROOST_EINVAL;
}

static int enter_element(struct scan *s, const char *token)
{
    int64_t left = token_index(token);
    struct roost_json value;

    s->p++;
    if (left < 0 || take(s, ']'))
        return ROOST_ENOENT;
    for (; left > 0; left--) {
        if (!scan_value(s, &value))
            return ROOST_EINVAL;
        if (!take(s, ','))
            return take(s, ']') ? ROOST_ENOENT : ROOST_EINVAL;
    }
    return 0;
}

static int enter(struct scan *s, const char *token)
{
    struct roost_json scalar;

    skip_space(s);
    switch (type_at(s)) {
    case ROOST_JSON_OBJECT:
        return enter_member(s, token);
    case ROOST_JSON_ARRAY:
        return enter_element(s, token);
    default:
        return scan_value(s, &scalar) ? ROOST_ENOENT : ROOST_EINVAL;
    }
}

/* To the next token of a checked pointer; NULL after the last. */
static const char *pointer_next(const char *pointer)
{
    pointer = strchr(pointer, '/');
    return pointer ? pointer + 1 : NULL;
}

static bool pointer_ok(const char *pointer)
{
    if (*pointer && *pointer != '/')
        return false;
    for (; *pointer; pointer++)
        if (*pointer == '~' && pointer[1] != '0' && pointer[1] != '1')
            return false;
    return true;
}

int roost_json_get(const char *text, size_t len, const char *pointer, struct roost_json *out)
{
    struct scan s = {text, text, 0, {0}};

    *out = (struct roost_json){ROOST_JSON_NONE, NULL, 0};
    if (!text || !pointer_ok(pointer))
        return ROOST_EINVAL;
    s.end += len;
    for (const char *token = pointer_next(pointer); token; token = pointer_next(token)) {
        int rc = enter(&s, token);

        if (rc < 0)
            return rc;
    }
    if (scan_value(&s, out))
        return 0;
    *out = (struct roost_json){ROOST_JSON_NONE, NULL, 0};
    return ROOST_EINVAL;
}

/* Between two of an array's or object's values: 1 there is another, 0 it ends here. */
static int next_begins(struct scan *s, bool first, char close)
{
    if (first) {
        s->p++;
        return !take(s, close);
    }
    if (take(s, ','))
        return 1;
    return take(s, close) ? 0 : ROOST_EINVAL;
}

int roost_json_next(const struct roost_json *of, size_t *it, struct roost_json *key,
                    struct roost_json *value)
{
    struct scan s = {of->at, of->at, 0, {0}};
    bool object = of->type == ROOST_JSON_OBJECT;
    int rc = 0;

    *key = *value = (struct roost_json){ROOST_JSON_NONE, NULL, 0};
    if ((!object && of->type != ROOST_JSON_ARRAY) || *it > of->len)
        return ROOST_EINVAL;
    if (*it == of->len) /* after the last, asked again */
        return 0;
    s.p += *it;
    s.end += of->len;
    rc = next_begins(&s, *it == 0, object ? '}' : ']');
    if (rc > 0 && object &&
        (!scan_value(&s, key) || key->type != ROOST_JSON_STRING || !take(&s, ':')))
        return ROOST_EINVAL;
    if (rc > 0 && !scan_value(&s, value))
        return ROOST_EINVAL;
    *it = (size_t)(s.p - of->at);
    return rc;
}

int roost_json_int(const struct roost_json *v, int64_t *out)
{
    const char *p = v->at, *end = v->at + v->len;
    bool negative = false;
    int64_t n = 0;

    if (v->type != ROOST_JSON_NUMBER)
        return ROOST_EINVAL;
    negative = *p == '-';
    for (p += negative; p < end; p++) {
        if (*p < '0' || *p > '9')
            return ROOST_EINVAL;
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, negative ? '0' - *p : *p - '0', &n))
            return ROOST_E2BIG;
    }
    *out = n;
    return 0;
}

int roost_json_bool(const struct roost_json *v, bool *out)
{
    if (v->type != ROOST_JSON_BOOL)
        return ROOST_EINVAL;
    *out = *v->at == 't';
    return 0;
}

int roost_json_get_string(const char *text, size_t len, const char *pointer, char *out, size_t cap)
{
    struct roost_json v;
    int rc = roost_json_get(text, len, pointer, &v);

    if (rc == 0)
        return roost_json_string(&v, out, cap);
    if (cap)
        out[0] = '\0';
    return rc;
}

int roost_json_get_int(const char *text, size_t len, const char *pointer, int64_t *out)
{
    struct roost_json v;
    int rc = roost_json_get(text, len, pointer, &v);

    return rc < 0 ? rc : roost_json_int(&v, out);
}

int roost_json_check(const char *text, size_t len)
{
    struct scan s = {text, text, 0, {0}};
    struct roost_json v;

    if (!text)
        return ROOST_EINVAL;
    s.end += len;
    if (!scan_value(&s, &v))
        return ROOST_EINVAL;
    skip_space(&s);
    return s.p == s.end ? 0 : ROOST_EINVAL;
}
