/* The daemon's log: one line a message on stderr, text in a terminal, JSON lines elsewhere.
 *
 * Safe from any thread; a message is one write(2), so lines never mix. Fields that a machine would
 * filter by are given as key, value pairs; the message itself is for people. Never log a token, a
 * header of a guest's request, or the contents of an object.
 */
#ifndef ROOST_BASE_LOG_H
#define ROOST_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* format: "auto", "text" or "json". Call once, before threads start. */
void log_init(enum log_level level, const char *format);
enum log_level log_level_get(void);
/* Any thread: from the next line on. */
void log_level_set(enum log_level level);
/* "debug", "info", "warn", "error". */
const char *log_level_name(enum log_level level);
/* The other way round; false: there is no such level. */
bool log_level_find(const char *name, enum log_level *level);

/* guest may be NULL: the line is the daemon's own. */
void log_line(enum log_level level, const char *guest, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for len bytes of anything: control bytes, NUL among them, and what is no UTF-8 are
 * escaped (\n, \x1b; in JSON \u001b). A guest's line (ABI_LOG_MAX) is never cut by it. */
void log_text(enum log_level level, const char *guest, const char *text, size_t len);

#define log_debug(...) log_line(LOG_DEBUG, NULL, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, NULL, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, NULL, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, NULL, __VA_ARGS__)

#endif
