/* File descriptors: the three standard streams, and nothing else.
 *
 * What a guest writes is cut into lines. A line that is whole in guest memory goes to the log
 * without a copy; an unfinished one is kept, up to WASI_LINE_MAX, until its newline comes or the
 * event ends (wasi_flush). There is no order between stdout and stderr. Nothing else is kept for a
 * guest, so that it can be dropped between events: that is why fd_close closes nothing.
 */
#include "base/limits.h"
#include "engine/wasi_internal.h"

#include <stdlib.h>

/* --- stdout and stderr, by lines --- */

static void give_line(struct wasi_guest *g, int fd, const char *text, size_t len)
{
    if (g->output)
        g->output(g->ctx, fd, text, len);
}

static void line_end(struct wasi_guest *g, int fd)
{
    struct wasi_line *line = &g->lines[fd - 1];

    give_line(g, fd, line->text, line->len);
    line->len = 0;
}

/* Keeps a part of a line; where memory is short it goes out as it is. len fits. */
static void line_add(struct wasi_guest *g, int fd, const char *text, size_t len)
{
    struct wasi_line *line = &g->lines[fd - 1];

    if (len == 0)
        return;
    if (!line->text && !(line->text = malloc(WASI_LINE_MAX))) {
        give_line(g, fd, text, len);
        return;
    }
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

/* Returns how much of it was taken: all, unless *lines more were written before its end. */
static size_t lines_put(struct wasi_guest *g, int fd, const char *text, size_t len, unsigned *lines)
{
    struct wasi_line *line = &g->lines[fd - 1];
    const char *begin = text;

    while (len > 0 && *lines > 0) {
        size_t room = WASI_LINE_MAX - line->len;
        /* One byte further than there is room for: the newline itself needs none. */
        const char *end = memchr(text, '\n', len <= room ? len : room + 1);
        size_t part = end ? (size_t)(end - text) : len < room ? len : room;

        if (end && line->len == 0) {
            give_line(g, fd, text, part);
        } else {
            line_add(g, fd, text, part);
            if (line->len > 0 && (end || (part == room && len > part)))
                line_end(g, fd);
        }
        if (line->len == 0)
            (*lines)--;
        part += end ? 1 : 0;
        text += part;
        len -= part;
    }
    return (size_t)(text - begin);
}

void wasi_flush(struct wasi_guest *g)
{
    for (int fd = 1; fd <= 2; fd++)
        if (g->lines[fd - 1].len)
            line_end(g, fd);
    wasi_guest_free(g);
}

void wasi_guest_free(struct wasi_guest *g)
{
    for (int i = 0; i < 2; i++) {
        free(g->lines[i].text);
        g->lines[i] = (struct wasi_line){0};
    }
}

/* The list of pieces of a read or write: n times {u32 ptr, u32 len}, each checked. */
static int32_t iovs_check(struct wasi_mem mem, uint32_t ptr, uint32_t n, const uint8_t **out)
{
    const uint8_t *iovs = wasi_at(mem, ptr, (uint64_t)n * 8);

    if (n > WASI_IOVS_MAX)
        return WASI_EINVAL;
    if (!iovs)
        return WASI_EFAULT;
    for (size_t i = 0; i < n; i++)
        if (!wasi_at(mem, get32(iovs + i * 8), get32(iovs + i * 8 + 4)))
            return WASI_EFAULT;
    *out = iovs;
    return WASI_ESUCCESS;
}

/* Takes up to WASI_WRITE_BYTES_MAX and _LINES_MAX at a time; libraries then write the rest. */
int32_t wasi_fd_write(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    uint32_t fd = a[0].u32, left = WASI_WRITE_BYTES_MAX;
    unsigned lines = WASI_WRITE_LINES_MAX;
    uint8_t *written = wasi_at(mem, a[3].u32, 4);
    const uint8_t *iovs = NULL;
    int32_t rc = iovs_check(mem, a[1].u32, a[2].u32, &iovs);

    if (fd != 1 && fd != 2)
        return WASI_EBADF;
    if (rc || !written)
        return rc ? rc : WASI_EFAULT;
    for (size_t i = 0; i < a[2].u32 && left > 0 && lines > 0; i++) {
        uint32_t len = get32(iovs + i * 8 + 4), part = len < left ? len : left;
        const char *text = (const char *)mem.data + get32(iovs + i * 8);

        left -= (uint32_t)lines_put(g, (int)fd, text, part, &lines);
    }
    put32(written, WASI_WRITE_BYTES_MAX - left);
    return WASI_ESUCCESS;
}

/* stdin is at its end. */
int32_t wasi_fd_read(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    const uint8_t *iovs;
    int32_t rc = iovs_check(mem, a[1].u32, a[2].u32, &iovs);

    (void)g;
    if (a[0].u32 != 0)
        return WASI_EBADF;
    return rc ? rc : give32(mem, a[3].u32, 0);
}

/* --- what else can be asked of a standard stream --- */

#define FILETYPE_CHARACTER_DEVICE 2
#define RIGHT_FD_READ             (1u << 1)
#define RIGHT_FD_WRITE            (1u << 6)

static bool is_standard(const union wasi_arg *a)
{
    return a[0].u32 <= 2;
}

/* A character device that cannot seek is a terminal to wasi-libc: it then writes line by line, and
 * does not keep what a guest printed until the buffer is full. */
int32_t wasi_fd_fdstat_get(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    uint8_t *p = wasi_at(mem, a[1].u32, 24);

    (void)g;
    if (!is_standard(a))
        return WASI_EBADF;
    if (!p)
        return WASI_EFAULT;
    memset(p, 0, 24);
    p[0] = FILETYPE_CHARACTER_DEVICE;
    put64(p + 8, a[0].u32 == 0 ? RIGHT_FD_READ : RIGHT_FD_WRITE);
    return WASI_ESUCCESS;
}

int32_t wasi_fd_filestat_get(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    uint8_t *p = wasi_at(mem, a[1].u32, 64);

    (void)g;
    if (!is_standard(a))
        return WASI_EBADF;
    if (!p)
        return WASI_EFAULT;
    memset(p, 0, 64);
    p[16] = FILETYPE_CHARACTER_DEVICE;
    put64(p + 24, 1); /* links */
    return WASI_ESUCCESS;
}

/* Functions that do nothing, told apart by what they answer for a standard stream. */
#define ANSWER_FOR_STANDARD(fn_name, answer)                                                       \
    int32_t fn_name(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)            \
    {                                                                                              \
        (void)g;                                                                                   \
        (void)mem;                                                                                 \
        return is_standard(a) ? (answer) : WASI_EBADF;                                             \
    }

ANSWER_FOR_STANDARD(wasi_stream_fine, WASI_ESUCCESS)
ANSWER_FOR_STANDARD(wasi_stream_cannot_seek, WASI_ESPIPE)
ANSWER_FOR_STANDARD(wasi_stream_invalid, WASI_EINVAL)
ANSWER_FOR_STANDARD(wasi_stream_unsupported, WASI_ENOTSUP)
ANSWER_FOR_STANDARD(wasi_stream_no_folder, WASI_ENOTDIR)
ANSWER_FOR_STANDARD(wasi_stream_no_socket, WASI_ENOTSOCK)
/* There are no folders opened before the start: how a library learns it. */
ANSWER_FOR_STANDARD(wasi_stream_not_opened_before, WASI_EBADF)

/* path_symlink alone has its folder second. */
int32_t wasi_second_no_folder(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    return wasi_stream_no_folder(g, mem, &a[2]);
}
