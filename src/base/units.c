/* A number with at most six decimals is read exactly, as whole millionths, and multiplied with its
 * unit; no floating point, so what parses is what was written.
 */
#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MILLION 1000000u

struct unit {
    const char *name;
    uint64_t size;
};

/* Longer names first where one begins another. */
static const struct unit durations[] = {
    {"ns", 1},           {"us", 1000},         {"\xc2\xb5s", 1000}, /* both signs for micro */
    {"\xce\xbcs", 1000}, {"ms", 1000000},      {"s", 1000000000},
    {"m", 60000000000},  {"h", 3600000000000},
};

static const struct unit sizes[] = {
    {"Ki", 1ull << 10}, {"Mi", 1ull << 20}, {"Gi", 1ull << 30}, {"Ti", 1ull << 40},
    {"k", 1000},        {"M", 1000000},     {"G", 1000000000},  {"T", 1000000000000},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct number {
    uint64_t whole;
    uint64_t millionths;
};

/* Reads digits, and up to six decimals. Returns what follows, NULL where there is no number. */
static const char *read_number(const char *p, struct number *n)
{
    uint64_t scale = MILLION / 10;

    *n = (struct number){0};
    if (*p < '0' || *p > '9')
        return NULL;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(n->whole, 10, &n->whole) ||
            __builtin_add_overflow(n->whole, (uint64_t)(*p - '0'), &n->whole))
            return NULL;
    if (*p != '.')
        return p;
    p++;
    if (*p < '0' || *p > '9')
        return NULL;
    for (; *p >= '0' && *p <= '9'; p++, scale /= 10) {
        if (scale == 0)
            return NULL;
        n->millionths += (uint64_t)(*p - '0') * scale;
    }
    return p;
}

/* Adds n units to *sum. The part after the point cannot overflow: units are below 2^44. */
static bool add(uint64_t *sum, const struct number *n, uint64_t unit)
{
    uint64_t whole;

    return !__builtin_mul_overflow(n->whole, unit, &whole) &&
           !__builtin_add_overflow(*sum, whole, sum) &&
           !__builtin_add_overflow(*sum, n->millionths * unit / MILLION, sum);
}

static const struct unit *unit_at(const char *p, const struct unit *units, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(p, units[i].name, strlen(units[i].name)) == 0)
            return &units[i];
    return NULL;
}

bool units_parse_duration(const char *text, uint64_t *ns)
{
    const char *p = text;

    *ns = 0;
    if (strcmp(text, "0") == 0)
        return true;
    do {
        struct number n;
        const struct unit *unit;

        p = read_number(p, &n);
        if (!p)
            return false;
        unit = unit_at(p, durations, COUNT(durations));
        if (!unit || !add(ns, &n, unit->size))
            return false;
        p += strlen(unit->name);
    } while (*p);
    return true;
}

bool units_parse_bytes(const char *text, uint64_t *bytes)
{
    static const struct unit one = {"", 1};
    const struct unit *unit;
    struct number n;
    const char *p = read_number(text, &n);

    *bytes = 0;
    if (!p)
        return false;
    unit = *p ? unit_at(p, sizes, COUNT(sizes)) : &one;
    return unit && p[strlen(unit->name)] == 0 && add(bytes, &n, unit->size);
}

const char *units_format_duration(char buf[UNITS_TEXT_MAX], uint64_t ns)
{
    static const struct unit parts[] = {{"h", 3600000000000}, {"m", 60000000000}};
    static const struct unit rest[] = {{"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}};
    size_t used = 0;

    buf[0] = 0;
    for (size_t i = 0; i < COUNT(parts) && ns % 1000000000 == 0; i++) {
        if (ns < parts[i].size)
            continue;
        used += (size_t)snprintf(buf + used, UNITS_TEXT_MAX - used, "%" PRIu64 "%s",
                                 ns / parts[i].size, parts[i].name);
        ns %= parts[i].size;
    }
    for (size_t i = 0; i < COUNT(rest) && (ns || used == 0); i++) {
        if (ns % rest[i].size)
            continue;
        snprintf(buf + used, UNITS_TEXT_MAX - used, "%" PRIu64 "%s", ns / rest[i].size,
                 rest[i].name);
        break;
    }
    return buf;
}

const char *units_format_bytes(char buf[UNITS_TEXT_MAX], uint64_t bytes)
{
    static const struct unit parts[] = {{"Gi", 1ull << 30}, {"Mi", 1ull << 20}, {"Ki", 1ull << 10}};

    for (size_t i = 0; i < COUNT(parts) && bytes; i++) {
        if (bytes % parts[i].size)
            continue;
        snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64 "%s", bytes / parts[i].size, parts[i].name);
        return buf;
    }
    snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64, bytes);
    return buf;
}

const char *units_short_age(char buf[UNITS_TEXT_MAX], uint64_t seconds)
{
    uint64_t minutes = seconds / 60, hours = seconds / 3600;

    if (seconds < 120)
        snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64 "s", seconds);
    else if (minutes < 10)
        snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64 "m%" PRIu64 "s", minutes, seconds % 60);
    else if (hours < 3)
        snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64 "m", minutes);
    else if (hours < 48)
        snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64 "h", hours);
    else
        snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64 "d", hours / 24);
    return buf;
}

const char *units_short_bytes(char buf[UNITS_TEXT_MAX], uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    uint64_t tenths = bytes, size = 1;
    size_t i = 0;

    if (bytes < 1024) {
        snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64, bytes);
        return buf;
    }
    for (size = 1024; bytes / size >= 1024; i++)
        size *= 1024;
    tenths = bytes / size * 10 + bytes % size * 10 / size;
    if (tenths < 100 && tenths % 10)
        snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10, tenths % 10,
                 units[i]);
    else
        snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64 "%c", tenths / 10, units[i]);
    return buf;
}
