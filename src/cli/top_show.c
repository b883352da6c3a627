/* The lines of top: the same in a terminal and in plain text. */
#include "base/text.h"
#include "base/units.h"
#include "cli/top.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_SIZE     512
#define NAME_COLS     9 /* at least, of namespace and name */
#define NAME_MAX_COLS 40

struct lines {
    void (*line)(void *ctx, bool head, const char *text);
    void *ctx;
    bool utf8;
};

static void put(const struct lines *l, bool head, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void put(const struct lines *l, bool head, const char *fmt, ...)
{
    char text[LINE_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    l->line(l->ctx, head, text);
}

/* --- figures --- */

/* "87us", "3.2ms", "1.4s"; "-" where there was none. */
static const char *us_text(char out[24], double us)
{
    if (us < 0)
        return "-";
    if (us < 1000)
        snprintf(out, 24, "%.0fus", us);
    else if (us < 1e6)
        snprintf(out, 24, us < 1e5 ? "%.1fms" : "%.0fms", us / 1e3);
    else
        snprintf(out, 24, "%.1fs", us / 1e6);
    return out;
}

static const char *size_text(char out[UNITS_TEXT_MAX], uint64_t bytes)
{
    return bytes ? units_short_bytes(out, bytes) : "-";
}

static double hist(const struct top *t, const char *name, const char *quantile)
{
    const json_t *h = json_object_get(t->now.stats, name);

    return cli_count(h, "count") ? json_number_value(json_object_get(h, quantile)) : -1;
}

/* --- the head --- */

static void print_head(const struct lines *l, const struct top *t)
{
    char a[24], b[24], c[24], d[24], up[UNITS_TEXT_MAX], pss[UNITS_TEXT_MAX];
    char memory[UNITS_TEXT_MAX], disk[UNITS_TEXT_MAX];
    double uptime = json_number_value(json_object_get(t->now.stats, "uptime_s"));

    put(l, true, "%zu guest%s: %zu awake, %zu asleep, %zu failed, %zu other; up %s", t->nrows,
        t->nrows == 1 ? "" : "s", t->awake, t->asleep, t->failed, t->pending,
        units_short_age(up, uptime > 0 ? (uint64_t)uptime : 0));
    put(l, false, "a second: %.1f wakes, %.1f events, %.1f failures; queue %llu", t->total.wakes,
        t->total.events, t->failures, (unsigned long long)t->total.queue);
    put(l, false, "wake p50 %s p99 %s, awake p50 %s p99 %s, sleep p99 %s, handled in %s",
        us_text(a, hist(t, "wake", "p50_us")), us_text(b, hist(t, "wake", "p99_us")),
        us_text(c, hist(t, "event", "p50_us")), us_text(d, hist(t, "event", "p99_us")),
        us_text(up, hist(t, "sleep", "p99_us")), us_text(pss, t->total.latency_us));
    put(l, false, "memory %s (awake guests %s), on disk %s, CPU %.1f%%",
        size_text(pss, cli_count(t->now.stats, "pssBytes")), size_text(memory, t->total.memory),
        size_text(disk, t->total.disk), 100 * t->total.cpu);
    put(l, false, "%s", "");
}

/* --- the table --- */

static int columns_of(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static int widest(const struct top *t, const char *key)
{
    int wide = NAME_COLS;

    for (size_t i = 0; i < t->nrows; i++) {
        int n = columns_of(cli_text(t->rows[i].guest, key));

        wide = n > wide ? n : wide;
    }
    return wide < NAME_MAX_COLS ? wide : NAME_MAX_COLS;
}

/* Padded or cut to so many columns, and clean. */
static void column(char *out, size_t size, const char *text, int cols)
{
    char clean[LINE_SIZE];
    size_t used = 0;
    int at = 0;

    snprintf(clean, sizeof(clean), "%s", *text ? text : "-");
    text_clean(clean);
    for (const char *p = clean; *p && at < cols && used + 8 < size; at++) {
        size_t n = text_char(p);

        memcpy(out + used, p, n ? n : 1);
        used += n ? n : 1;
        p += n ? n : 1;
    }
    for (; at < cols && used + 1 < size; at++)
        out[used++] = ' ';
    out[used] = 0;
}

static void print_row(const struct lines *l, const struct top_row *r, int namespaces, int names)
{
    char space[LINE_SIZE / 2], name[LINE_SIZE / 2], state[32], latency[24];
    char memory[UNITS_TEXT_MAX], disk[UNITS_TEXT_MAX];

    column(space, sizeof(space), cli_text(r->guest, "namespace"), namespaces);
    column(name, sizeof(name), cli_text(r->guest, "name"), names);
    column(state, sizeof(state), cli_text(r->guest, "state"), 8);
    put(l, false, "%s %s %s %7.1f %6.1f %8s %6llu %6.1f %7s %6s", space, name, state, r->wakes,
        r->events, us_text(latency, r->latency_us), (unsigned long long)r->queue, 100 * r->cpu,
        size_text(memory, r->memory), size_text(disk, r->disk));
}

/* The column that sorts is marked. */
static void print_columns(const struct lines *l, enum top_key key, bool reverse, int namespaces,
                          int names)
{
    static const char *const titles[TOP_KEYS] = {
        [TOP_NAME] = "NAME",   [TOP_STATE] = "STATE",     [TOP_WAKES] = "WAKE/S",
        [TOP_EVENTS] = "EV/S", [TOP_LATENCY] = "LATENCY", [TOP_QUEUE] = "QUEUE",
        [TOP_CPU] = "CPU%",    [TOP_MEMORY] = "MEMORY",   [TOP_DISK] = "DISK"};
    char shown[TOP_KEYS][16];

    for (int k = 0; k < TOP_KEYS; k++)
        snprintf(shown[k], sizeof(shown[k]), "%s%s", titles[k],
                 k != (int)key ? ""
                 : reverse     ? "^"
                               : "v");
    put(l, true, "%-*s %-*s %-8s %7s %6s %8s %6s %6s %7s %6s", namespaces, "NAMESPACE", names,
        shown[TOP_NAME], shown[TOP_STATE], shown[TOP_WAKES], shown[TOP_EVENTS], shown[TOP_LATENCY],
        shown[TOP_QUEUE], shown[TOP_CPU], shown[TOP_MEMORY], shown[TOP_DISK]);
}

void top_print(const struct top *t, enum top_key key, bool reverse, bool utf8, size_t rows,
               void (*line)(void *ctx, bool head, const char *text), void *ctx)
{
    struct lines l = {line, ctx, utf8};
    int namespaces = widest(t, "namespace"), names = widest(t, "name");
    size_t n = rows && rows < t->nrows ? rows : t->nrows;

    print_head(&l, t);
    print_columns(&l, key, reverse, namespaces, names);
    for (size_t i = 0; i < n; i++)
        print_row(&l, &t->rows[i], namespaces, names);
}
