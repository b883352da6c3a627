/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing past U+10FFFF. */
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A NUL ends every sequence, so nothing behind it is read. */
size_t text_char(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    static const struct {
        unsigned char lead_min, lead_max, second_min, second_max;
        size_t len;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    if (*p < 0x80)
        return *p >= 0x20 && *p != 0x7f;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (*p < forms[i].lead_min || *p > forms[i].lead_max)
            continue;
        if (p[1] < forms[i].second_min || p[1] > forms[i].second_max)
            return 0;
        for (size_t k = 2; k < forms[i].len; k++)
            if (p[k] < 0x80 || p[k] > 0xbf)
                return 0;
        if (forms[i].len == 2 && *p == 0xc2 && p[1] < 0xa0)
            return 0; /* the control characters of Latin 1 */
        return forms[i].len;
    }
    return 0;
}

void text_clean(char *text)
{
    for (char *p = text; *p;) {
        size_t n = text_char(p);

        if (n == 0) {
            *p = '?';
            n = 1;
        }
        p += n;
    }
}

bool text_is_clean(const char *text)
{
    while (*text && text_char(text))
        text += text_char(text);
    return *text == 0;
}

char *text_put(char *to, const char *text)
{
    size_t len = strlen(text);

    memcpy(to, text, len + 1);
    return to + len;
}

/* --- escapes --- */

/* text_char at a place that no NUL need follow. */
static size_t char_at(const char *p, const char *end)
{
    char padded[5] = {0};

    if (end - p >= 4)
        return text_char(p);
    memcpy(padded, p, (size_t)(end - p));
    return text_char(padded);
}

/* One character that stands for no character of the line's: a control byte, or no UTF-8. */
static size_t put_escape(char *out, unsigned char c, bool json)
{
    static const char short_of[] = {['\t'] = 't', ['\n'] = 'n', ['\r'] = 'r'};

    if (c < sizeof(short_of) && short_of[c])
        return (size_t)snprintf(out, TEXT_ESCAPE_MAX + 1, "\\%c", short_of[c]);
    if (json)
        return (size_t)snprintf(out, TEXT_ESCAPE_MAX + 1, "\\u%04x", c && c < 0x80 ? c : 0xfffdu);
    return (size_t)snprintf(out, TEXT_ESCAPE_MAX + 1, "\\x%02x", c);
}

size_t text_escape(char *out, size_t len, size_t cap, const char *text, size_t n, bool json)
{
    const char *end = text + n;

    for (size_t took; text < end && len + TEXT_ESCAPE_MAX < cap; text += took ? took : 1) {
        took = char_at(text, end);
        if (took == 0) {
            len += put_escape(out + len, (unsigned char)*text, json);
            continue;
        }
        if (json && (*text == '"' || *text == '\\'))
            out[len++] = '\\';
        memcpy(out + len, text, took);
        len += took;
    }
    return len;
}

/* --- times --- */

void text_time(char out[TEXT_TIME_MAX], int64_t wall_ms)
{
    time_t s = (time_t)(wall_ms / 1000);
    struct tm tm;
    size_t n;

    gmtime_r(&s, &tm);
    n = strftime(out, TEXT_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, TEXT_TIME_MAX - n, ".%03dZ", (int)(wall_ms % 1000));
}

static bool two_digits(const char *p, int max, int *out)
{
    if (!isdigit((unsigned char)p[0]) || !isdigit((unsigned char)p[1]))
        return false;
    *out = (p[0] - '0') * 10 + p[1] - '0';
    return *out <= max;
}

/* ".115" and any more digits; in ms. */
static const char *read_fraction(const char *p, int64_t *ms)
{
    int64_t unit = 100;

    *ms = 0;
    if (*p != '.')
        return p;
    if (!isdigit((unsigned char)p[1]))
        return NULL;
    for (p++; isdigit((unsigned char)*p); p++, unit /= 10)
        *ms += (*p - '0') * unit;
    return p;
}

/* "Z" or "+01:00", to the end; in ms. */
static int read_offset(const char *p, int64_t *ms)
{
    int hours, minutes;

    *ms = 0;
    if ((*p == 'Z' || *p == 'z') && !p[1])
        return 0;
    if ((*p != '+' && *p != '-') || !two_digits(p + 1, 23, &hours) || p[3] != ':' ||
        !two_digits(p + 4, 59, &minutes) || p[6])
        return -1;
    *ms = (*p == '-' ? -1 : 1) * (int64_t)(hours * 60 + minutes) * 60000;
    return 0;
}

int text_time_read(const char *text, int64_t *wall_ms)
{
    struct tm tm = {0}, seen;
    int century, year;
    int64_t fraction, offset;
    const char *p = text;

    if (!two_digits(p, 99, &century) || !two_digits(p + 2, 99, &year) || p[4] != '-' ||
        !two_digits(p + 5, 12, &tm.tm_mon) || p[7] != '-' || !two_digits(p + 8, 31, &tm.tm_mday) ||
        (p[10] != 'T' && p[10] != 't' && p[10] != ' ') || !two_digits(p + 11, 23, &tm.tm_hour) ||
        p[13] != ':' || !two_digits(p + 14, 59, &tm.tm_min) || p[16] != ':' ||
        !two_digits(p + 17, 60, &tm.tm_sec))
        return -1;
    p = read_fraction(p + 19, &fraction);
    if (!p || read_offset(p, &offset) < 0 || tm.tm_mon == 0 || tm.tm_mday == 0)
        return -1;
    tm.tm_mon--;
    tm.tm_year = century * 100 + year - 1900;
    seen = tm;
    *wall_ms = (int64_t)timegm(&seen) * 1000 + fraction - offset;
    return seen.tm_mon == tm.tm_mon && *wall_ms >= 0 ? 0 : -1; /* there is no 31 February */
}
