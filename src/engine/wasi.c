/* Arguments, clocks, random numbers, sleeping, and the table of all functions.
 *
 * Guest pointers are 32 bits, and memory is at most 4 GiB, so sums and products are made in 64 bits
 * and cannot wrap. Values are copied in and out byte by byte: a guest's pointer may be unaligned.
 * What a function writes, it checks completely before it writes any of it.
 *
 * The monotonic clock. A guest sleeps on disk and may go on after the machine was started anew,
 * when CLOCK_MONOTONIC has begun again at zero; a Go guest whose clock goes back waits for ever. So
 * guests see CLOCK_MONOTONIC plus the Unix time at which it was zero, read once for each run of the
 * daemon: it goes back only if the wall clock was set back while the daemon was down.
 *
 * Sleeping (poll_oneoff) does not block the worker: the function remembers when the sleep began,
 * answers WASI_PENDING, and is called again when it is over.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "engine/wasi_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* --- arguments and environment --- */

static uint64_t strings_bytes(const char *const *strings, size_t n)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        bytes += strlen(strings[i]) + 1;
    return bytes;
}

static int32_t strings_sizes(struct wasi_mem mem, const union wasi_arg *a,
                             const char *const *strings, size_t n)
{
    uint64_t bytes = strings_bytes(strings, n);
    uint8_t *count = wasi_at(mem, a[0].u32, 4), *size = wasi_at(mem, a[1].u32, 4);

    if (!count || !size)
        return WASI_EFAULT;
    if (n > UINT32_MAX || bytes > UINT32_MAX)
        return WASI_EOVERFLOW;
    put32(count, (uint32_t)n);
    put32(size, (uint32_t)bytes);
    return WASI_ESUCCESS;
}

static int32_t strings_get(struct wasi_mem mem, const union wasi_arg *a, const char *const *strings,
                           size_t n)
{
    uint8_t *list = wasi_at(mem, a[0].u32, (uint64_t)n * 4);
    uint8_t *text = wasi_at(mem, a[1].u32, strings_bytes(strings, n));
    uint32_t ptr = a[1].u32;

    if (!list || !text)
        return WASI_EFAULT;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(strings[i]) + 1;

        put32(list + i * 4, ptr);
        memcpy(text, strings[i], len);
        text += len;
        ptr += (uint32_t)len;
    }
    return WASI_ESUCCESS;
}

static int32_t args_sizes_get(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    return strings_sizes(mem, a, g->args, g->nargs);
}

static int32_t args_get(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    return strings_get(mem, a, g->args, g->nargs);
}

static int32_t environ_sizes_get(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    return strings_sizes(mem, a, g->env, g->nenv);
}

static int32_t environ_get(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    return strings_get(mem, a, g->env, g->nenv);
}

/* --- clocks --- */

enum { CLOCK_WALL = 0, CLOCK_MONO = 1, CLOCK_CPU_PROCESS = 2, CLOCK_CPU_THREAD = 3 };

static uint64_t wall_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t mono_zero_ns; /* the Unix time at which CLOCK_MONOTONIC was zero */
static pthread_once_t mono_zero_once = PTHREAD_ONCE_INIT;

static void mono_zero_read(void)
{
    uint64_t wall = wall_ns(), mono = clock_now_ns();

    mono_zero_ns = wall > mono ? wall - mono : 0; /* a machine whose clock was never set */
}

static uint64_t mono_zero(void)
{
    pthread_once(&mono_zero_once, mono_zero_read);
    return mono_zero_ns;
}

/* A guest's CPU time is the host's to count, and other guests' is none of its business. */
static int32_t clock_check(uint32_t id)
{
    if (id == CLOCK_WALL || id == CLOCK_MONO)
        return WASI_ESUCCESS;
    return id == CLOCK_CPU_PROCESS || id == CLOCK_CPU_THREAD ? WASI_ENOTSUP : WASI_EINVAL;
}

static uint64_t clock_read(uint32_t id)
{
    return id == CLOCK_WALL ? wall_ns() : mono_zero() + clock_now_ns();
}

static int32_t clock_res_get(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    int32_t rc = clock_check(a[0].u32);
    struct timespec ts = {0};

    (void)g;
    clock_getres(a[0].u32 == CLOCK_WALL ? CLOCK_REALTIME : CLOCK_MONOTONIC, &ts);
    return rc ? rc : give64(mem, a[1].u32, (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec);
}

/* a[1] is the precision that would do; ours is always better. */
static int32_t clock_time_get(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    int32_t rc = clock_check(a[0].u32);

    (void)g;
    return rc ? rc : give64(mem, a[2].u32, clock_read(a[0].u32));
}

/* --- random numbers --- */

/* Through a buffer of our own: a page of guest memory may be a mapped one that cannot be read,
 * which the kernel would answer with EFAULT and the guest could not tell from its own mistake. */
static int32_t random_get(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    uint32_t left = a[1].u32;
    uint8_t *out = wasi_at(mem, a[0].u32, left), chunk[256];

    (void)g;
    if (!out)
        return WASI_EFAULT;
    if (left > WASI_RANDOM_BYTES_MAX)
        return WASI_EINVAL;
    while (left > 0) {
        uint32_t n = left < sizeof(chunk) ? left : (uint32_t)sizeof(chunk);

        /* Up to 256 bytes come whole and uninterrupted. */
        if (getrandom(chunk, n, 0) != (ssize_t)n)
            return WASI_EIO;
        memcpy(out, chunk, n);
        out += n;
        left -= n;
    }
    return WASI_ESUCCESS;
}

/* --- poll_oneoff: sleeping, and asking what is ready --- */

#define SUBSCRIPTION_BYTES  48u
#define EVENT_BYTES         32u
#define CLOCK_IS_ABSOLUTE   1u
#define FD_CLOSED_BY_OTHERS 1u

enum { POLL_CLOCK = 0, POLL_FD_READ = 1, POLL_FD_WRITE = 2 };

struct subscription {
    uint64_t userdata, timeout;
    uint32_t id; /* the clock or the file descriptor */
    uint8_t type;
    bool absolute;
};

static struct subscription subscription_read(const uint8_t *p)
{
    return (struct subscription){.userdata = get64(p),
                                 .type = p[8],
                                 .id = get32(p + 16),
                                 .timeout = get64(p + 24),
                                 .absolute = p[40] & CLOCK_IS_ABSOLUTE};
}

static uint64_t add_up_to_max(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* When a clock subscription is due, on CLOCK_MONOTONIC. */
static uint64_t due_at(const struct subscription *s, uint64_t began, uint64_t now)
{
    uint64_t then;

    if (!s->absolute)
        return add_up_to_max(began, s->timeout);
    then = clock_read(s->id);
    return s->timeout > then ? add_up_to_max(now, s->timeout - then) : now;
}

/* Streams are always ready: stdin to say that it is at its end. */
static uint64_t ready_at(const struct subscription *s, uint64_t began, uint64_t now)
{
    return s->type != POLL_CLOCK || clock_check(s->id) ? now : due_at(s, began, now);
}

static int32_t event_error(const struct subscription *s)
{
    if (s->type == POLL_CLOCK)
        return clock_check(s->id);
    return s->type == POLL_FD_READ ? (s->id == 0 ? WASI_ESUCCESS : WASI_EBADF)
                                   : (s->id == 1 || s->id == 2 ? WASI_ESUCCESS : WASI_EBADF);
}

static void event_write(uint8_t *p, const struct subscription *s)
{
    memset(p, 0, EVENT_BYTES);
    put64(p, s->userdata);
    p[8] = (uint8_t)event_error(s);
    p[10] = s->type;
    if (s->type == POLL_FD_READ && s->id == 0)
        p[24] = FD_CLOSED_BY_OTHERS;
}

/* The earliest of them; UINT64_MAX if a type is not known. */
static uint64_t earliest(const uint8_t *in, uint32_t n, uint64_t began, uint64_t now, bool *known)
{
    uint64_t first = UINT64_MAX;

    *known = true;
    for (uint32_t i = 0; i < n; i++) {
        struct subscription s = subscription_read(in + (size_t)i * SUBSCRIPTION_BYTES);
        uint64_t due = ready_at(&s, began, now);

        if (s.type > POLL_FD_WRITE)
            *known = false;
        if (due < first)
            first = due;
    }
    return first;
}

static uint32_t events_write(uint8_t *out, const uint8_t *in, uint32_t n, uint64_t began,
                             uint64_t now, uint64_t until)
{
    uint32_t written = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct subscription s = subscription_read(in + (size_t)i * SUBSCRIPTION_BYTES);

        if (ready_at(&s, began, now) <= until)
            event_write(out + (size_t)written++ * EVENT_BYTES, &s);
    }
    return written;
}

static int32_t poll_oneoff(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    uint32_t n = a[2].u32;
    const uint8_t *in = wasi_at(mem, a[0].u32, (uint64_t)n * SUBSCRIPTION_BYTES);
    uint8_t *out = wasi_at(mem, a[1].u32, (uint64_t)n * EVENT_BYTES),
            *count = wasi_at(mem, a[3].u32, 4);
    uint64_t now = clock_now_ns(), began = g->sleep_began_ns ? g->sleep_began_ns : now, first;
    bool known;

    if (n == 0 || n > WASI_SUBSCRIPTIONS_MAX)
        return WASI_EINVAL;
    if (!in || !out || !count)
        return WASI_EFAULT;
    first = earliest(in, n, began, now, &known);
    if (known && first > now && g->can_wait) {
        g->sleep_began_ns = began;
        g->resume_ns = first;
        return WASI_PENDING;
    }
    g->sleep_began_ns = 0;
    if (!known)
        return WASI_EINVAL;
    put32(count, events_write(out, in, n, began, now, first > now ? first : now));
    return WASI_ESUCCESS;
}

/* --- the rest --- */

static int32_t proc_exit(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    (void)mem;
    g->exit_code = a[0].i32;
    return WASI_EXIT;
}

static int32_t proc_raise(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    (void)g;
    (void)mem;
    (void)a;
    return WASI_ENOSYS;
}

/* A guest that computes for long is made to yield by the engine's ticks. */
static int32_t yield(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
{
    (void)g;
    (void)mem;
    (void)a;
    return WASI_ESUCCESS;
}

const struct wasi_function wasi_functions[] = {
    {"args_get", "ii", true, false, args_get},
    {"args_sizes_get", "ii", true, false, args_sizes_get},
    {"clock_res_get", "ii", true, false, clock_res_get},
    {"clock_time_get", "iIi", true, false, clock_time_get},
    {"environ_get", "ii", true, false, environ_get},
    {"environ_sizes_get", "ii", true, false, environ_sizes_get},
    {"fd_advise", "iIIi", true, false, wasi_stream_cannot_seek},
    {"fd_allocate", "iII", true, false, wasi_stream_cannot_seek},
    {"fd_close", "i", true, false, wasi_stream_fine},
    {"fd_datasync", "i", true, false, wasi_stream_invalid},
    {"fd_fdstat_get", "ii", true, false, wasi_fd_fdstat_get},
    {"fd_fdstat_set_flags", "ii", true, false, wasi_stream_fine},
    {"fd_fdstat_set_rights", "iII", true, false, wasi_stream_unsupported},
    {"fd_filestat_get", "ii", true, false, wasi_fd_filestat_get},
    {"fd_filestat_set_size", "iI", true, false, wasi_stream_invalid},
    {"fd_filestat_set_times", "iIIi", true, false, wasi_stream_unsupported},
    {"fd_pread", "iiiIi", true, false, wasi_stream_cannot_seek},
    {"fd_prestat_dir_name", "iii", true, false, wasi_stream_not_opened_before},
    {"fd_prestat_get", "ii", true, false, wasi_stream_not_opened_before},
    {"fd_pwrite", "iiiIi", true, false, wasi_stream_cannot_seek},
    {"fd_read", "iiii", true, false, wasi_fd_read},
    {"fd_readdir", "iiiIi", true, false, wasi_stream_no_folder},
    {"fd_renumber", "ii", true, false, wasi_stream_unsupported},
    {"fd_seek", "iIii", true, false, wasi_stream_cannot_seek},
    {"fd_sync", "i", true, false, wasi_stream_invalid},
    {"fd_tell", "ii", true, false, wasi_stream_cannot_seek},
    {"fd_write", "iiii", true, false, wasi_fd_write},
    {"path_create_directory", "iii", true, false, wasi_stream_no_folder},
    {"path_filestat_get", "iiiii", true, false, wasi_stream_no_folder},
    {"path_filestat_set_times", "iiiiIIi", true, false, wasi_stream_no_folder},
    {"path_link", "iiiiiii", true, false, wasi_stream_no_folder},
    {"path_open", "iiiiiIIii", true, false, wasi_stream_no_folder},
    {"path_readlink", "iiiiii", true, false, wasi_stream_no_folder},
    {"path_remove_directory", "iii", true, false, wasi_stream_no_folder},
    {"path_rename", "iiiiii", true, false, wasi_stream_no_folder},
    {"path_symlink", "iiiii", true, false, wasi_second_no_folder},
    {"path_unlink_file", "iii", true, false, wasi_stream_no_folder},
    {"poll_oneoff", "iiii", true, true, poll_oneoff},
    {"proc_exit", "i", false, false, proc_exit},
    {"proc_raise", "i", true, false, proc_raise},
    {"random_get", "ii", true, false, random_get},
    {"sched_yield", "", true, false, yield},
    {"sock_accept", "iii", true, false, wasi_stream_no_socket},
    {"sock_recv", "iiiiii", true, false, wasi_stream_no_socket},
    {"sock_send", "iiiii", true, false, wasi_stream_no_socket},
    {"sock_shutdown", "ii", true, false, wasi_stream_no_socket},
};

const size_t wasi_functions_n = sizeof(wasi_functions) / sizeof(wasi_functions[0]);
