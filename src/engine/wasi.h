/* WASI preview 1 for guests without files: what C, Rust and Go reactors import, and nothing more.
 *
 * Arguments, environment, clocks, random numbers, and lines on stdout and stderr. There is no file,
 * folder or socket: those functions exist, because libraries import them, and answer with the errno
 * that a program without files expects. A guest has no state here between events but its unfinished
 * lines, so it can be dropped and made again at any time: closing a standard stream, for example,
 * changes nothing.
 *
 * Nothing here knows Wasmtime. The engine binds the table below to module wasi_snapshot_preview1
 * and hands in guest memory as it is at the moment of the call. Every pointer and count of the
 * guest is checked against it, and each call's work is bounded (WASI_*_MAX in base/limits.h).
 *
 * Threads: a guest's functions are called on the thread that runs it. Nothing blocks.
 */
#ifndef ROOST_ENGINE_WASI_H
#define ROOST_ENGINE_WASI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WASI_PARAMS_MAX 9

/* What WASI needs to know of a guest. Zeroed it is a guest without arguments whose output is thrown
 * away. The first block is set by the owner, and what it points to must outlive the guest. */
struct wasi_guest {
    const char *const *args; /* args[0] is the program's name: Go needs one */
    size_t nargs;
    const char *const *env; /* "NAME=value" */
    size_t nenv;
    /* A line without its newline; not NUL-terminated, may hold any byte; borrowed until return. A
     * line longer than WASI_LINE_MAX comes in pieces. fd is 1 or 2. */
    void (*output)(void *ctx, int fd, const char *text, size_t len);
    void *ctx;
    /* Whether a function that answers WASI_PENDING is called again. Where not, a guest's sleep ends
     * at once, as if its time had passed. */
    bool can_wait;

    int32_t exit_code;  /* valid after WASI_EXIT */
    uint64_t resume_ns; /* CLOCK_MONOTONIC; valid after WASI_PENDING: when to call again */

    uint64_t sleep_began_ns; /* of the poll_oneoff under way; 0 if there is none */
    struct wasi_line {       /* unfinished lines of stdout and stderr; NULL while there is none */
        char *text;
        size_t len;
    } lines[2];
};

/* Guest memory as it is now; a guest that grows may move it. */
struct wasi_mem {
    uint8_t *data;
    uint64_t len;
};

union wasi_arg {
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
};

/* Results that are no errno. */
enum {
    WASI_EXIT = -1,   /* proc_exit: the guest must not go on; its code is in exit_code */
    WASI_PENDING = -2 /* poll_oneoff: call again with the same arguments at resume_ns */
};

/* One import. */
struct wasi_function {
    const char *name;
    const char *params; /* a letter each: i is i32, I is i64 */
    bool has_result;    /* an i32: the errno */
    bool may_wait;      /* may answer WASI_PENDING */
    int32_t (*fn)(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *args);
};

extern const struct wasi_function wasi_functions[];
extern const size_t wasi_functions_n;

/* Hands unfinished lines to output and gives their buffers back: when an event has ended. */
void wasi_flush(struct wasi_guest *g);
/* Frees what the guest holds, without output; it can be used again. */
void wasi_guest_free(struct wasi_guest *g);

/* WASI's numbers for errno, as far as they are used. */
enum {
    WASI_ESUCCESS = 0,
    WASI_EBADF = 8,
    WASI_EFAULT = 21,
    WASI_EINVAL = 28,
    WASI_EIO = 29,
    WASI_ENOSYS = 52,
    WASI_ENOTDIR = 54,
    WASI_ENOTSOCK = 57,
    WASI_ENOTSUP = 58,
    WASI_EOVERFLOW = 61,
    WASI_ESPIPE = 70
};

#endif
