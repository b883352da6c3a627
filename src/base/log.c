#include "base/log.h"

#include "base/limits.h"
#include "base/text.h"

#include <errno.h>
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
 * character or escape; what is no UTF-8 becomes the replacement character, since JSON has no bytes.
 */
static size_t put_escaped(char *out, size_t len, size_t cap, const char *text)
{
    for (size_t n; *text && len + 7 < cap; text += n ? n : 1) {
        unsigned char c = (unsigned char)*text;

        n = text_char(text);
        if (c == '"' || c == '\\') {
            out[len++] = '\\';
            out[len++] = *text;
        } else if (n == 0) {
            len += (size_t)snprintf(out + len, cap - len, "\\u%04x", c < 0x80 ? c : 0xfffdu);
        } else {
            memcpy(out + len, text, n);
            len += n;
        }
    }
    return len;
}

/* A guest's text must not be able to forge lines or drive the terminal. */
static size_t put_plain(char *out, size_t len, size_t cap, const char *text)
{
    for (size_t n; *text && len + 5 < cap; text += n ? n : 1) {
        n = text_char(text);
        if (n == 0)
            out[len++] = (unsigned char)*text < 0x80 ? ' ' : '?';
        memcpy(out + len, text, n);
        len += n;
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
    int saved = errno; /* may be what the caller looks at next */
    va_list ap;
    ssize_t unused;

    if (level < config.level)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    unused = write(2, line, render(line, sizeof(line), level, guest, text));
    (void)unused; /* nowhere to report it */
    errno = saved;
}
