/* Running another program from the loop: no shell, no inherited files, a limit on everything.
 *
 * The child gets /dev/null as stdin and stdout, a pipe as stderr, no other open file, an empty
 * environment, default signals and a process group of its own. What it prints on stderr is kept up
 * to a maximum; the rest is read and dropped, so that it never waits for us. Its end comes through
 * a pidfd: no SIGCHLD, nobody else's children touched. Loop thread only.
 */
#ifndef ROOST_BASE_SPAWN_H
#define ROOST_BASE_SPAWN_H

#include "base/err.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn;

struct spawn_opts {
    const char *const *argv; /* [0] is the program's path; ends with NULL; borrowed until return */
    uint64_t timeout_ms;     /* killed after; 0: never */
    size_t stderr_bytes_max; /* at most SPAWN_STDERR_BYTES_MAX */
};

struct spawn_result {
    pid_t pid;
    int status; /* the exit status, where signum is 0 */
    int signum; /* what killed it, or 0 */
    bool timed_out;
    const char *text; /* stderr, NUL-terminated; valid during the callback */
    size_t len;
};

/* done is called once, from the loop, when the program has ended and all of its stderr was read;
 * the spawn is gone then. ERR_NOT_FOUND: no such program; ERR_IO: it cannot be started. */
int spawn_start(struct spawn **out, struct loop *loop, const struct spawn_opts *opts,
                void (*done)(void *ctx, const struct spawn_result *result), void *ctx,
                struct err *err) ERR_CHECK;
/* Kills the program and its process group and forgets it: done is not called. NULL is fine. */
void spawn_cancel(struct spawn *s);

#endif
