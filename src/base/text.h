/* Foreign text made fit for one line of a terminal, a log or JSON. */
#ifndef ROOST_BASE_TEXT_H
#define ROOST_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length in bytes of the character at text; 0 where it is a control character (the NUL, and those
 * of Latin 1 included) or no UTF-8. */
size_t text_char(const char *text);
/* Replaces control characters and what is no UTF-8 (cut sequences too) by '?', in place. */
void text_clean(char *text);
/* Copies with the NUL and returns where that is; the caller has counted the room. */
char *text_put(char *to, const char *text);
/* True where there is nothing to replace. */
bool text_is_clean(const char *text);

/* The longest that one byte of text becomes by text_escape: \\u0000. */
#define TEXT_ESCAPE_MAX 6u
/* Appends n bytes of anything to out, of which len bytes are used, so that it cannot forge lines,
 * break JSON (where `json`) or drive a terminal: control bytes and what is no UTF-8 are escaped;
 * JSON has no bytes, and its readers no NUL: both become the replacement character. What does not
 * fit in cap is cut at a whole character or escape. Returns the new length; there is no NUL. */
size_t text_escape(char *out, size_t len, size_t cap, const char *text, size_t n, bool json);

/* "2026-11-20T22:34:54.115Z" and its NUL; Unix time in ms. */
#define TEXT_TIME_MAX 32
void text_time(char out[TEXT_TIME_MAX], int64_t wall_ms);
/* Reads RFC 3339, with any fraction and offset. -1: it is none, or before 1970. */
int text_time_read(const char *text, int64_t *wall_ms);

#endif
