/* Gives each import of each module, in turn, bad pointers and lengths: for each argument that is
 * one, each of a list of values, alone and together with each value of its partner. Whether the
 * memory that an argument names is the guest's own is computed here, and must be what the host
 * says. Done (0), or how many were not, with the last in `error`.
 *
 * The parameters of an import are letters: p a pointer, l its length in bytes behind it; w, i, s
 * counts of things of 4, 8 and 48 bytes behind their pointer; q, o, f, t a pointer to 4, 8, 24 and
 * 64 bytes; n one to the text of all arguments; a a number that is fine as it is given.
 */
#include "bad.h"

#include <stdio.h>

#define PARAMS_MAX 9

typedef uint32_t u;

#define FROM(module, name) __attribute__((import_module(module), import_name(name)))
#define WASI(name)         FROM("wasi_snapshot_preview1", name)

u r_call(u, u, u, u, u, u, u, u, u) FROM("roost", "call");
u r_write(u, u, u) FROM("roost", "write");
u r_wait(u, u, u) FROM("roost", "wait");
u r_read(u, u, u) FROM("roost", "read");
u r_attr(u, u, u, u, u) FROM("roost", "attr");
u r_set(u, u, u, u, u) FROM("roost", "set");
u r_log(u, u, u) FROM("roost", "log");
u w_args_get(u, u) WASI("args_get");
u w_args_sizes_get(u, u) WASI("args_sizes_get");
u w_environ_sizes_get(u, u) WASI("environ_sizes_get");
u w_clock_res_get(u, u) WASI("clock_res_get");
u w_clock_time_get(u, uint64_t, u) WASI("clock_time_get");
u w_fd_fdstat_get(u, u) WASI("fd_fdstat_get");
u w_fd_filestat_get(u, u) WASI("fd_filestat_get");
u w_fd_read(u, u, u, u) WASI("fd_read");
u w_fd_write(u, u, u, u) WASI("fd_write");
u w_poll_oneoff(u, u, u, u) WASI("poll_oneoff");
u w_random_get(u, u) WASI("random_get");

enum import {
    CALL,
    WRITE,
    WAIT,
    READ,
    ATTR,
    SET,
    LOG,
    ARGS,
    ARGS_SIZES,
    ENV_SIZES,
    RES,
    TIME,
    STAT,
    FILESTAT,
    FDREAD,
    FDWRITE,
    POLL,
    RANDOM,
    IMPORTS
};

/* An area of our own for whatever is read or written: all of it zeros but what is said. */
static _Alignas(64) char area[8192];
static const char method[] = "GET", target[] = "kube:/version", key[] = "key";

#define AT(p) ((u)(uintptr_t)(p))

static const struct {
    const char *name, *params;
    bool wasi;
} imports[IMPORTS] = {
    [CALL] = {"call", "plplplpla", false},
    [WRITE] = {"write", "apl", false},
    [WAIT] = {"wait", "pwa", false},
    [READ] = {"read", "apl", false},
    [ATTR] = {"attr", "aplpl", false},
    [SET] = {"set", "aplpl", false},
    [LOG] = {"log", "apl", false},
    [ARGS] = {"args_get", "qn", true},
    [ARGS_SIZES] = {"args_sizes_get", "qq", true},
    [ENV_SIZES] = {"environ_sizes_get", "qq", true},
    [RES] = {"clock_res_get", "ao", true},
    [TIME] = {"clock_time_get", "ao", true},
    [STAT] = {"fd_fdstat_get", "af", true},
    [FILESTAT] = {"fd_filestat_get", "at", true},
    [FDREAD] = {"fd_read", "apiq", true},
    [FDWRITE] = {"fd_write", "apiq", true},
    [POLL] = {"poll_oneoff", "ppsq", true},
    [RANDOM] = {"random_get", "pl", true},
};

static void good_arguments(enum import import, u *a)
{
    const u good[IMPORTS][PARAMS_MAX] = {
        [CALL] = {AT(method), 3, AT(target), 13, AT(area), 0, AT(area), 1, 0},
        [WRITE] = {0, AT(area), 1},
        [WAIT] = {AT(area), 1, 0},
        [READ] = {0, AT(area), 8},
        [ATTR] = {0, AT(key), 3, AT(area), 8},
        [SET] = {0, AT("error"), 5, AT("x"), 1},
        [LOG] = {0, AT("x"), 1},
        [ARGS] = {AT(area), AT(area + 1024)},
        [ARGS_SIZES] = {AT(area), AT(area + 4)},
        [ENV_SIZES] = {AT(area), AT(area + 4)},
        [RES] = {1, AT(area)},
        [TIME] = {1, AT(area)},
        [STAT] = {1, AT(area)},
        [FILESTAT] = {1, AT(area)},
        [FDREAD] = {0, AT(area), 1, AT(area + 64)},
        [FDWRITE] = {1, AT(area), 1, AT(area + 64)},
        [POLL] = {AT(area), AT(area + 4096), 1, AT(area + 4092)},
        [RANDOM] = {AT(area), 8},
    };

    memset(area, 0, sizeof(area));
    memcpy(a, good[import], sizeof(good[import]));
}

static int call_it(enum import import, const u *a)
{
    switch (import) {
    case CALL:
        return (int)r_call(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]);
    case WRITE:
        return (int)r_write(a[0], a[1], a[2]);
    case WAIT:
        return (int)r_wait(a[0], a[1], a[2]);
    case READ:
        return (int)r_read(a[0], a[1], a[2]);
    case ATTR:
        return (int)r_attr(a[0], a[1], a[2], a[3], a[4]);
    case SET:
        return (int)r_set(a[0], a[1], a[2], a[3], a[4]);
    case LOG:
        return (int)r_log(a[0], a[1], a[2]);
    case ARGS:
        return (int)w_args_get(a[0], a[1]);
    case ARGS_SIZES:
        return (int)w_args_sizes_get(a[0], a[1]);
    case ENV_SIZES:
        return (int)w_environ_sizes_get(a[0], a[1]);
    case RES:
        return (int)w_clock_res_get(a[0], a[1]);
    case TIME:
        return (int)w_clock_time_get(a[0], 1, a[1]);
    case STAT:
        return (int)w_fd_fdstat_get(a[0], a[1]);
    case FILESTAT:
        return (int)w_fd_filestat_get(a[0], a[1]);
    case FDREAD:
        return (int)w_fd_read(a[0], a[1], a[2], a[3]);
    case FDWRITE:
        return (int)w_fd_write(a[0], a[1], a[2], a[3]);
    case POLL:
        return (int)w_poll_oneoff(a[0], a[1], a[2], a[3]);
    default:
        return (int)w_random_get(a[0], a[1]);
    }
}

/* --- what should come of it --- */

static uint64_t memory_size(void)
{
    return (uint64_t)__builtin_wasm_memory_size(0) * 65536u;
}

static unsigned size_of_count(char kind)
{
    return kind == 'l' ? 1 : kind == 'w' ? 4 : kind == 'i' ? 8 : kind == 's' ? 48 : 0;
}

static u args_bytes;

static unsigned size_of_pointer(char kind)
{
    if (kind == 'n')
        return args_bytes;
    return kind == 'q' ? 4 : kind == 'o' ? 8 : kind == 'f' ? 24 : kind == 't' ? 64 : 0;
}

/* How many bytes the pointer at `at` names. */
static uint64_t bytes_at(enum import import, const u *a, unsigned at)
{
    const char *params = imports[import].params;

    for (unsigned i = at + 1; params[at] == 'p' && params[i]; i++)
        if (size_of_count(params[i]))
            return (uint64_t)a[i] * (import == POLL && at == 1 ? 32 : size_of_count(params[i]));
    return size_of_pointer(params[at]);
}

static bool reaches_outside(enum import import, const u *a)
{
    const char *params = imports[import].params;
    bool outside = false;

    for (unsigned i = 0; params[i]; i++) {
        uint64_t bytes = bytes_at(import, a, i);

        if (bytes && a[i] + bytes > memory_size())
            outside = true;
    }
    return outside;
}

/* A pointer past the end that names nothing: roost does not look at it, WASI may. */
static bool names_nothing_outside(enum import import, const u *a)
{
    const char *params = imports[import].params;
    bool outside = false;

    for (unsigned i = 0; params[i]; i++)
        outside |= params[i] == 'p' && a[i] > memory_size();
    return outside && imports[import].wasi;
}

static int failures;

/* WASI has a limit for each count, and may say EINVAL first. */
static void check(enum import import, const u *a)
{
    const int fault = imports[import].wasi ? 21 : ROOST_EFAULT;
    const bool outside = reaches_outside(import, a);
    int rc = call_it(import, a);
    bool right = outside ? rc == fault || (imports[import].wasi && rc == 28)
                         : rc != fault || names_nothing_outside(import, a);
    char text[200];

    if (import == CALL && rc > 0)
        (void)roost_abi_close(rc);
    if (right)
        return;
    failures++;
    snprintf(text, sizeof(text), "%s(%x %x %x %x %x %x %x %x %x) = %d", imports[import].name, a[0],
             a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], rc);
    (void)roost_fail(text);
}

/* --- the values --- */

/* The guest's own memory behind its data is left alone: what is written goes to the area, to
 * the far end of the stack, at the first bytes of memory, or to its last ones. */
static unsigned bad_values(u *out, u good)
{
    const u end = (u)memory_size();
    const u values[] = {0,          good + 1,   good + 3,   end,        end - 1,
                        end - 4,    end - 63,   end + 1,    0x7fffffff, 0x80000000,
                        0xffff0000, 0xfffffff0, 0xfffffffc, 0xffffffff};

    memcpy(out, values, sizeof(values));
    return sizeof(values) / sizeof(values[0]);
}

static unsigned bad_counts(u *out, u good)
{
    const u end = (u)memory_size();
    const u values[] = {0,          good,       end,        end + 1,    0x40000000, 0x40000001,
                        0x20000000, 0x05555556, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff};

    memcpy(out, values, sizeof(values));
    return sizeof(values) / sizeof(values[0]);
}

/* An in-bounds length from 0 on would have the host write over all of our memory. */
static bool would_harm(enum import import, const u *a)
{
    const bool writes = import == READ || import == ATTR || import == RANDOM || import == POLL;

    for (unsigned i = 0; writes && imports[import].params[i]; i++) {
        uint64_t bytes = bytes_at(import, a, i);

        if (bytes > 64 && a[i] + bytes <= memory_size())
            return true;
    }
    return false;
}

static bool is_argument(char kind)
{
    return size_of_count(kind) || size_of_pointer(kind) || kind == 'p';
}

static unsigned values_of(char kind, u good, u *out)
{
    return size_of_count(kind) ? bad_counts(out, good) : bad_values(out, good);
}

static void try_pair(enum import import, unsigned first, unsigned second)
{
    const char *params = imports[import].params;
    u good[PARAMS_MAX], a[PARAMS_MAX], firsts[16], seconds[16];
    unsigned nfirsts, nseconds;

    good_arguments(import, good);
    nfirsts = values_of(params[first], good[first], firsts);
    nseconds = values_of(params[second], good[second], seconds);
    for (unsigned i = 0; i < nfirsts; i++)
        for (unsigned k = 0; k < nseconds; k++) {
            good_arguments(import, a);
            a[second] = seconds[k];
            a[first] = firsts[i];
            if (!would_harm(import, a))
                check(import, a);
        }
}

ROOST_HANDLE
{
    u nargs = 0;

    failures = 0;
    (void)w_args_sizes_get(AT(&nargs), AT(&args_bytes));
    for (enum import import = 0; import < IMPORTS; import++)
        for (unsigned i = 0; imports[import].params[i]; i++) {
            if (!is_argument(imports[import].params[i]))
                continue;
            try_pair(import, i, i);
            for (unsigned k = i + 1; imports[import].params[k]; k++)
                if (is_argument(imports[import].params[k]))
                    try_pair(import, i, k);
        }
    return failures;
}
