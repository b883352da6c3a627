#include "base/log.h"

#include "base/limits.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    enum log_level level;
    bool json;
} config = {.level = LOG_INFO};

static const char *const names[] = {"debug", "info", "warn", "error"};

void log_init(enum log_level level, const char *format)
{
    config.level = level;
    config.json = !strcmp(format, "json") || (strcmp(format, "text") != 0 && !isatty(2));
}

enum log_level log_level_get(void)
{
    return config.level;
}

/* Appends text with JSON escapes; returns the new length. What does not fit is cut at a whole
 * escape. */
static size_t put_escaped(char *out, size_t len, size_t cap, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p && len + 7 < cap; p++) {
        if (*p == '"' || *p == '\\')
            len += (size_t)snprintf(out + len, cap - len, "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7f)
            len += (size_t)snprintf(out + len, cap - len, "\\u%04x", *p);
        else
            out[len++] = (char)*p;
    }
    return len;
}

/* A guest's text must not be able to forge lines or drive the terminal. */
static size_t put_plain(char *out, size_t len, size_t cap, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p && len + 2 < cap; p++)
        out[len++] = *p < 0x20 || *p == 0x7f ? ' ' : (char)*p;
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
                     const char *text)
{
    char now[40];
    size_t n;

    put_time(now, sizeof(now));
    if (!config.json) {
        n = (size_t)snprintf(out, cap, "%s %-5s ", now, names[level]);
        if (guest) {
            n = put_plain(out, n, cap, guest);
            n = put_plain(out, n, cap, ": ");
        }
        n = put_plain(out, n, cap, text);
    } else {
        n = (size_t)snprintf(out, cap, "{\"time\":\"%s\",\"level\":\"%s\"", now, names[level]);
        if (guest) {
            n += (size_t)snprintf(out + n, cap - n, ",\"guest\":\"");
            n = put_escaped(out, n, cap - 16, guest);
            out[n++] = '"';
        }
        n += (size_t)snprintf(out + n, cap - n, ",\"message\":\"");
        n = put_escaped(out, n, cap - 4, text);
        out[n++] = '"';
        out[n++] = '}';
    }
    out[n++] = '\n';
    return n;
}

void log_line(enum log_level level, const char *guest, const char *fmt, ...)
{
    char text[LOG_LINE_MAX], line[2 * LOG_LINE_MAX];
    va_list ap;
    ssize_t unused;

    if (level < config.level)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    unused = write(2, line, render(line, sizeof(line), level, guest, text));
    (void)unused; /* nowhere to report it */
}
