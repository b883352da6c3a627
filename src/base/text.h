/* Foreign text made fit for one line of a terminal, a log or JSON. */
#ifndef ROOST_BASE_TEXT_H
#define ROOST_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Length in bytes of the character at text; 0 where it is a control character (the NUL, and those
 * of Latin 1 included) or no UTF-8. */
size_t text_char(const char *text);
/* Replaces control characters and what is no UTF-8 (cut sequences too) by '?', in place. */
void text_clean(char *text);
/* Copies with the NUL and returns where that is; the caller has counted the room. */
char *text_put(char *to, const char *text);
/* True where there is nothing to replace. */
bool text_is_clean(const char *text);

#endif
