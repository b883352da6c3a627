#include "base/screen.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ROWS_DEFAULT 24
#define COLS_DEFAULT 80

/* The second page, no cursor, no wrapping; and back. */
static const char enter[] = "\033[?1049h\033[?25l\033[?7l\033[2J";
static const char leave[] = "\033[?7h\033[?25h\033[?1049l";

/* How the terminal was before screen_keys, and how it is since; one display for each process. */
static struct termios lines, keys;
static volatile sig_atomic_t has_keys;

/* Also from a signal handler. What a terminal does not take is nobody's concern. */
static void put(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

/* Ctrl-Z: the shell gets its own page, and we go on where we were. */
static void suspended(int signum)
{
    int saved = errno;

    (void)signum;
    if (has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &lines);
    put(leave, sizeof(leave) - 1);
    raise(SIGSTOP);
    if (has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &keys);
    put(enter, sizeof(enter) - 1);
    errno = saved;
}

static bool terminal_is_able(void)
{
    const char *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

bool screen_open(struct screen *s)
{
    struct sigaction sa = {.sa_handler = suspended, .sa_flags = SA_RESTART};
    const char *no_colour = getenv("NO_COLOR");

    setlocale(LC_CTYPE, "");
    s->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    s->keys = false;
    s->live = terminal_is_able();
    s->colour = s->live && !(no_colour && *no_colour);
    if (!s->live)
        return false;
    sigaction(SIGTSTP, &sa, NULL);
    put(enter, sizeof(enter) - 1);
    return true;
}

void screen_close(struct screen *s)
{
    if (!s->live)
        return;
    s->live = false;
    if (s->keys) {
        has_keys = 0;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &lines);
    }
    put(leave, sizeof(leave) - 1);
    signal(SIGTSTP, SIG_DFL);
}

bool screen_keys(struct screen *s)
{
    if (!s->live || !isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &lines) < 0)
        return false;
    keys = lines;
    keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* Ctrl-C and Ctrl-Z stay signals */
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    s->keys = tcsetattr(STDIN_FILENO, TCSADRAIN, &keys) == 0;
    has_keys = s->keys;
    return s->keys;
}

/* --- lines --- */

/* The length of what starts at p: an escape sequence (no column), or a character (one). */
static size_t unit_at(const char *p, unsigned *columns)
{
    size_t n = 1;

    *columns = 1;
    if (*p == '\033') {
        *columns = 0;
        while (p[n] && p[n] != 'm')
            n++;
        return p[n] ? n + 1 : n;
    }
    while (((unsigned char)p[n] & 0xC0) == 0x80)
        n++;
    return n;
}

unsigned screen_cut(char *line, unsigned cols, bool colour)
{
    char *to = line;
    unsigned at = 0, columns;

    for (const char *p = line; *p;) {
        size_t n = unit_at(p, &columns);

        if (at + columns <= cols && (columns > 0 || colour)) {
            memmove(to, p, n);
            to += n;
            at += columns;
        }
        p += n;
    }
    *to = 0;
    return at;
}

static size_t glyph(char *out, const struct screen *s, bool filled)
{
    const char *text = s->utf8 ? (filled ? "█" : "░") : (filled ? "#" : ".");
    size_t n = 0;

    for (; text[n]; n++)
        out[n] = text[n];
    return n;
}

void screen_bar(const struct screen *s, char *out, size_t cap, unsigned width, double done,
                double total)
{
    double share = total > 0 ? done / total : 0;
    unsigned filled = (unsigned)((share > 1 ? 1 : share) * width + .5);
    size_t len = 0;

    if (filled == 0 && done > 0)
        filled = 1; /* a few are not none */
    for (unsigned i = 0; i < width && len + 4 < cap; i++)
        len += glyph(out + len, s, i < filled);
    out[len] = 0;
}

/* --- frames --- */

static void frame_add(struct screen *s, const char *text)
{
    size_t n = strlen(text);

    if (n > sizeof(s->frame) - s->len)
        return;
    memcpy(s->frame + s->len, text, n);
    s->len += n;
}

void screen_begin(struct screen *s)
{
    struct winsize w = {0};
    unsigned rows = ROWS_DEFAULT, cols = COLS_DEFAULT;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 0 && w.ws_col > 0) {
        rows = w.ws_row;
        cols = w.ws_col;
    }
    s->len = 0;
    s->row = 0;
    frame_add(s, "\033[?2026h"); /* terminals that can show a frame at once */
    if (rows != s->rows || cols != s->cols)
        frame_add(s, "\033[2J");
    s->rows = rows;
    s->cols = cols;
}

static void place_line(struct screen *s, char *line)
{
    unsigned width = screen_cut(line, s->cols, s->colour);
    char place[32];

    snprintf(place, sizeof(place), "\033[%u;1H", ++s->row);
    frame_add(s, place);
    frame_add(s, line);
    if (s->colour)
        frame_add(s, "\033[0m");
    if (width < s->cols) /* else the last column would go */
        frame_add(s, "\033[K");
}

void screen_line(struct screen *s, const char *fmt, ...)
{
    char line[SCREEN_LINE_BYTES_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (s->row < s->rows)
        place_line(s, line);
}

void screen_end(struct screen *s)
{
    char place[32];

    if (s->row < s->rows) {
        snprintf(place, sizeof(place), "\033[%u;1H\033[J", s->row + 1);
        frame_add(s, place);
    }
    frame_add(s, "\033[?2026l");
    put(s->frame, s->len);
}
