#include "base/log.h"

#include "base/limits.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    _Atomic(enum log_level) level;
    bool json;
} config = {.level = LOG_INFO};

static const char *const names[] = {"debug", "info", "warn", "error"};

void log_init(enum log_level level, const char *format)
{
    log_level_set(level);
    config.json = !strcmp(format, "json") || (strcmp(format, "text") != 0 && !isatty(2));
}

enum log_level log_level_get(void)
{
    return atomic_load_explicit(&config.level, memory_order_relaxed);
}

void log_level_set(enum log_level level)
{
    atomic_store_explicit(&config.level, level, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
    return names[level];
}

/* The longest that one byte of text becomes: \u0000. */
#define ESCAPE_MAX 6u

/* text_char at a place that no NUL need follow. */
static size_t char_at(const char *p, const char *end)
{
    char padded[5] = {0};

    if (end - p >= 4)
        return text_char(p);
    memcpy(padded, p, (size_t)(end - p));
    return text_char(padded);
}

/* One character that stands for no character of the line's: a control byte, or no UTF-8. JSON has
 * no bytes, so what is no UTF-8 becomes the replacement character there. */
static size_t put_escape(char *out, unsigned char c)
{
    static const char short_of[] = {['\t'] = 't', ['\n'] = 'n', ['\r'] = 'r'};

    if (c < sizeof(short_of) && short_of[c])
        return (size_t)snprintf(out, ESCAPE_MAX + 1, "\\%c", short_of[c]);
    if (config.json)
        return (size_t)snprintf(out, ESCAPE_MAX + 1, "\\u%04x", c < 0x80 ? c : 0xfffdu);
    return (size_t)snprintf(out, ESCAPE_MAX + 1, "\\x%02x", c);
}

/* Appends text, of any bytes, so that it cannot forge lines, break JSON or drive a terminal;
 * returns the new length. What does not fit is cut at a whole character or escape. */
static size_t put_text(char *out, size_t len, size_t cap, const char *text, size_t n)
{
    const char *end = text + n;

    for (size_t took; text < end && len + ESCAPE_MAX < cap; text += took ? took : 1) {
        took = char_at(text, end);
        if (took == 0) {
            len += put_escape(out + len, (unsigned char)*text);
            continue;
        }
        if (config.json && (*text == '"' || *text == '\\'))
            out[len++] = '\\';
        memcpy(out + len, text, took);
        len += took;
    }
    return len;
}

static size_t put_time(char *out, size_t cap)
{
    struct timespec ts;
    struct tm tm;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    n = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(out + n, cap - n, ".%03ldZ", ts.tv_nsec / 1000000);
}

static size_t render(char *out, size_t cap, enum log_level level, const char *guest,
                     const char *text, size_t len)
{
    size_t n = 0;
    char now[40];

    put_time(now, sizeof(now));
    n = (size_t)snprintf(out, cap, config.json ? "{\"time\":\"%s\",\"level\":\"%s\"" : "%s %-5s ",
                         now, names[level]);
    if (guest) {
        n += (size_t)snprintf(out + n, cap - n, "%s", config.json ? ",\"guest\":\"" : "");
        n = put_text(out, n, cap - 32, guest, strlen(guest));
        n += (size_t)snprintf(out + n, cap - n, "%s", config.json ? "\"" : ": ");
    }
    n += (size_t)snprintf(out + n, cap - n, "%s", config.json ? ",\"message\":\"" : "");
    n = put_text(out, n, cap - 4, text, len);
    n += (size_t)snprintf(out + n, cap - n, "%s\n", config.json ? "\"}" : "");
    return n;
}

void log_text(enum log_level level, const char *guest, const char *text, size_t len)
{
    char line[4 * LOG_LINE_MAX];
    int saved = errno; /* may be what the caller looks at next */
    ssize_t unused;

    if (level < log_level_get())
        return;
    unused = write(2, line, render(line, sizeof(line), level, guest, text, len));
    (void)unused; /* nowhere to report it */
    errno = saved;
}

void log_line(enum log_level level, const char *guest, const char *fmt, ...)
{
    char text[LOG_LINE_MAX];
    int saved = errno;
    va_list ap;

    if (level < log_level_get())
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    errno = saved;
    log_text(level, guest, text, strlen(text));
}
