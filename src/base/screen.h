/* A live display in a terminal: frames of lines, drawn in place.
 *
 * It lives on the terminal's second page, so what was on the first is there again afterwards,
 * however the window was resized meanwhile. A frame is made in memory and written at once, each
 * line over the one before it: nothing flickers. The size is asked for each frame; lines are cut at
 * its edge, and a window that is too low shows the first ones.
 *
 * One display for each process. screen_close puts the terminal back and must be called before the
 * program ends; Ctrl-Z puts it back meanwhile.
 */
#ifndef ROOST_BASE_SCREEN_H
#define ROOST_BASE_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

#define SCREEN_FRAME_BYTES_MAX 65536
#define SCREEN_LINE_BYTES_MAX  2048

struct screen {
    bool live, utf8, colour, keys;
    unsigned rows, cols, row;
    size_t len;
    char frame[SCREEN_FRAME_BYTES_MAX];
};

/* Whether a display makes sense on stdout: a terminal that can move its cursor. Also decides on
 * colour (NO_COLOR) and on bars and units in UTF-8 (the locale), which hold without one as well. */
bool screen_open(struct screen *s);
void screen_close(struct screen *s);
/* Keys come at once and unseen, until screen_close: without it they are lines. Nothing where stdin
 * is no terminal: false. */
bool screen_keys(struct screen *s);

void screen_begin(struct screen *s);
/* One line; "\033[...m" may be in it. Call screen_line(s, " ") for an empty one. */
void screen_line(struct screen *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Writes the frame. */
void screen_end(struct screen *s);

/* Makes `line` at most `cols` columns wide, in place, and returns how wide it is: each character of
 * UTF-8 is one wide, colours none. Colours behind the cut stay; without `colour` all go. */
unsigned screen_cut(char *line, unsigned cols, bool colour);
/* A bar `width` columns wide into out, `done` of `total` filled. */
void screen_bar(const struct screen *s, char *out, size_t cap, unsigned width, double done,
                double total);

#endif
