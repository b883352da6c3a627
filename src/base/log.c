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

bool log_level_find(const char *name, enum log_level *level)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static void put_time(char out[TEXT_TIME_MAX])
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    text_time(out, (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
}

static size_t render(char *out, size_t cap, enum log_level level, const char *guest,
                     const char *text, size_t len)
{
    size_t n = 0;
    char now[TEXT_TIME_MAX];

    put_time(now);
    n = (size_t)snprintf(out, cap, config.json ? "{\"time\":\"%s\",\"level\":\"%s\"" : "%s %-5s ",
                         now, names[level]);
    if (guest) {
        n += (size_t)snprintf(out + n, cap - n, "%s", config.json ? ",\"guest\":\"" : "");
        n = text_escape(out, n, cap - 32, guest, strlen(guest), config.json);
        n += (size_t)snprintf(out + n, cap - n, "%s", config.json ? "\"" : ": ");
    }
    n += (size_t)snprintf(out + n, cap - n, "%s", config.json ? ",\"message\":\"" : "");
    n = text_escape(out, n, cap - 4, text, len, config.json);
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
