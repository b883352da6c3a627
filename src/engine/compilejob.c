/* The daemon's side of roost-compile: start it, read what it says, one after the other.
 *
 * See engine/imagecache.h. A compile is in one of three places: waiting in its queue, running (it
 * has a process), or gone. Its process's exit status is the code of the error that it printed, so
 * the error comes out here as it went in there.
 */
#include "engine/imagecache.h"

#include "base/auto.h"
#include "base/limits.h"
#include "base/spawn.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES 4096
#define PROGRAM_NAME   "roost-compile"

struct compile {
    struct compile *next, **prev; /* in its queue, waiting or running */
    struct compile_queue *queue;  /* NULL: started directly */
    struct loop *loop;
    struct spawn *process; /* NULL: waits */
    char *program, *module_path, *image_path;
    char sha256[2 * IMAGE_DIGEST_BYTES + 1]; /* empty: any */
    uint64_t memory_bytes, time_ms;
    uint32_t cpu_s;
    compile_done *done;
    void *ctx;
};

struct compile_queue {
    struct loop *loop;
    struct compile *waiting, **waiting_end;
    struct compile *running;
    unsigned nrunning, jobs_max, nwaiting;
};

/* --- lists --- */

static void list_put(struct compile **at, struct compile *c)
{
    c->next = *at;
    c->prev = at;
    if (c->next)
        c->next->prev = &c->next;
    *at = c;
}

static void list_remove(struct compile *c)
{
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->next = NULL;
    c->prev = NULL;
}

static void waiting_put(struct compile_queue *q, struct compile *c)
{
    list_put(q->waiting_end, c);
    q->waiting_end = &c->next;
    q->nwaiting++;
}

static void waiting_remove(struct compile_queue *q, struct compile *c)
{
    if (q->waiting_end == &c->next)
        q->waiting_end = c->prev;
    list_remove(c);
    q->nwaiting--;
}

/* --- a compile --- */

static void compile_free(struct compile *c)
{
    if (!c)
        return;
    free(c->program);
    free(c->module_path);
    free(c->image_path);
    free(c);
}

/* roost-compile is installed beside roost. */
static int program_find(char **out, struct err *err)
{
    const char *given = getenv("ROOST_COMPILE");
    char exe[PATH_MAX_BYTES];
    ssize_t n;
    char *slash;

    if (given && *given) {
        *out = strdup(given);
        return *out ? 0 : err_set(err, ERR_NOMEM, 0, PROGRAM_NAME);
    }
    n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    if (n < 0)
        return err_set(err, ERR_IO, errno, "/proc/self/exe");
    exe[n] = 0;
    slash = strrchr(exe, '/');
    if (slash)
        slash[1] = 0;
    return asprintf(out, "%s" PROGRAM_NAME, exe) < 0 ? err_set(err, ERR_NOMEM, 0, PROGRAM_NAME) : 0;
}

static int compile_fill(struct compile *c, const struct compile_opts *opts, struct err *err)
{
    c->memory_bytes = opts->memory_bytes ? opts->memory_bytes : COMPILE_MEMORY_BYTES_MAX;
    c->cpu_s = opts->cpu_s ? opts->cpu_s : COMPILE_CPU_S_MAX;
    c->time_ms = opts->time_ms ? opts->time_ms : COMPILE_TIME_MS_MAX;
    for (size_t i = 0; opts->digest && i < IMAGE_DIGEST_BYTES; i++)
        snprintf(c->sha256 + 2 * i, 3, "%02x", opts->digest[i]);
    c->module_path = strdup(opts->module_path);
    c->image_path = strdup(opts->image_path);
    if (!c->module_path || !c->image_path)
        return err_set(err, ERR_NOMEM, 0, "module %s", opts->module_path);
    if (!opts->program)
        return program_find(&c->program, err);
    c->program = strdup(opts->program);
    return c->program ? 0 : err_set(err, ERR_NOMEM, 0, "module %s", opts->module_path);
}

static int compile_make(struct compile **out, struct loop *loop, const struct compile_opts *opts,
                        compile_done *done, void *ctx, struct err *err)
{
    struct compile *c = calloc(1, sizeof(*c));

    if (!c)
        return err_set(err, ERR_NOMEM, 0, "module %s", opts->module_path);
    c->loop = loop;
    c->done = done;
    c->ctx = ctx;
    if (compile_fill(c, opts, err) < 0) {
        compile_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

/* --- what the process says --- */

static enum err_code code_of(int exit_status)
{
    for (int code = ERR_USAGE; code < ERR_CODES; code++)
        if (err_exit_status((enum err_code)code) == exit_status)
            return (enum err_code)code;
    return ERR_IO;
}

/* The first line, without the program's name. */
static const char *reason(char *out, size_t cap, const char *text)
{
    static const char prefix[] = PROGRAM_NAME ": ";

    if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
        text += sizeof(prefix) - 1;
    snprintf(out, cap, "%.*s", (int)strcspn(text, "\n"), text);
    return out;
}

/* Returns -1 with err set where it failed. */
static int judge(const struct compile *c, const struct spawn_result *r, struct err *err)
{
    char line[ERR_MSG_MAX];

    reason(line, sizeof(line), r->text);
    if (r->timed_out)
        return err_set(err, ERR_TIMEOUT, 0, "module %s: not compiled within %" PRIu64 " ms",
                       c->module_path, c->time_ms);
    if (r->signum == SIGKILL)
        return err_set(err, ERR_LIMIT, 0,
                       "module %s: its compiler was killed (memory of the machine, or CPU time)",
                       c->module_path);
    if (r->signum)
        return err_set(err, ERR_UNSUPPORTED, 0, "module %s: its compiler ended by signal %d: %s",
                       c->module_path, r->signum, line);
    if (r->status == 0)
        return 0;
    if (line[0]) {
        err_set(err, code_of(r->status), 0, "%s", line);
        if (err->code == ERR_INVALID)
            (void)err_blame(err, REASON_BAD_MODULE);
        return err->code == ERR_UNSUPPORTED ? err_blame(err, REASON_MODULE_UNFIT) : -1;
    }
    return err_set(err, code_of(r->status), 0,
                   "module %s: %s ended with status %d and said nothing", c->module_path,
                   c->program, r->status);
}

/* What a killed compiler may leave behind; see compile_run.c. */
static void temporary_remove(const struct compile *c, pid_t pid)
{
    char path[PATH_MAX_BYTES];
    int n = snprintf(path, sizeof(path), "%s.%d.tmp", c->image_path, (int)pid);

    if (n > 0 && (size_t)n < sizeof(path))
        unlink(path);
}

static void queue_next(struct compile_queue *q);

static void process_ended(void *ctx, const struct spawn_result *r)
{
    struct compile *c = ctx;
    struct compile_queue *q = c->queue;
    struct err err = {0};
    int rc = judge(c, r, &err);

    c->process = NULL;
    if (r->signum)
        temporary_remove(c, r->pid);
    if (q) {
        list_remove(c);
        q->nrunning--;
    }
    c->done(c->ctx, rc < 0 ? &err : NULL);
    compile_free(c);
    if (q)
        queue_next(q);
}

static int process_start(struct compile *c, struct err *err)
{
    char memory[24], cpu[16];
    const char *argv[11];
    size_t n = 0;
    struct spawn_opts opts = {
        .argv = argv, .timeout_ms = c->time_ms, .stderr_bytes_max = COMPILE_STDERR_BYTES_MAX};

    snprintf(memory, sizeof(memory), "%" PRIu64, (c->memory_bytes + MIB - 1) / MIB);
    snprintf(cpu, sizeof(cpu), "%" PRIu32, c->cpu_s);
    argv[n++] = c->program;
    argv[n++] = "--memory-mib";
    argv[n++] = memory;
    argv[n++] = "--cpu-s";
    argv[n++] = cpu;
    if (c->sha256[0]) {
        argv[n++] = "--sha256";
        argv[n++] = c->sha256;
    }
    argv[n++] = "--";
    argv[n++] = c->module_path;
    argv[n++] = c->image_path;
    argv[n++] = NULL;
    assert(n <= sizeof(argv) / sizeof(argv[0]));
    return spawn_start(&c->process, c->loop, &opts, process_ended, c, err);
}

int compile_start(struct compile **out, struct loop *loop, const struct compile_opts *opts,
                  compile_done *done, void *ctx, struct err *err)
{
    struct compile *c = NULL;

    if (compile_make(&c, loop, opts, done, ctx, err) < 0)
        return -1;
    if (process_start(c, err) < 0) {
        compile_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

/* --- the queue --- */

static int queue_run(struct compile_queue *q, struct compile *c, struct err *err)
{
    if (process_start(c, err) < 0)
        return -1;
    list_put(&q->running, c);
    q->nrunning++;
    return 0;
}

/* A compile that cannot be started ends like one that failed. */
static void queue_next(struct compile_queue *q)
{
    while (q->waiting && q->nrunning < q->jobs_max) {
        struct compile *c = q->waiting;
        struct err err = {0};

        waiting_remove(q, c);
        if (queue_run(q, c, &err) == 0)
            continue;
        c->done(c->ctx, &err);
        compile_free(c);
    }
}

int compile_queue_new(struct compile_queue **out, struct loop *loop, unsigned jobs_max,
                      struct err *err)
{
    struct compile_queue *q = calloc(1, sizeof(*q));

    assert(jobs_max > 0);
    if (!q)
        return err_set(err, ERR_NOMEM, 0, "no memory for the queue of compilations");
    q->loop = loop;
    q->jobs_max = jobs_max;
    q->waiting_end = &q->waiting;
    *out = q;
    return 0;
}

int compile_queue_add(struct compile **out, struct compile_queue *q,
                      const struct compile_opts *opts, compile_done *done, void *ctx,
                      struct err *err)
{
    struct compile *c = NULL;

    if (q->nwaiting >= COMPILE_QUEUE_MAX)
        return err_set(err, ERR_LIMIT, 0,
                       "module %s: %u modules wait to be compiled (COMPILE_QUEUE_MAX)",
                       opts->module_path, q->nwaiting);
    if (compile_make(&c, q->loop, opts, done, ctx, err) < 0)
        return -1;
    c->queue = q;
    if (q->nrunning >= q->jobs_max) {
        waiting_put(q, c);
    } else if (queue_run(q, c, err) < 0) {
        compile_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

/* Out of its queue, process gone; the queue does not go on by itself. */
static void compile_drop(struct compile *c)
{
    struct compile_queue *q = c->queue;

    spawn_cancel(c->process);
    if (q && c->process) {
        list_remove(c);
        q->nrunning--;
    } else if (q) {
        waiting_remove(q, c);
    }
    compile_free(c);
}

void compile_cancel(struct compile *c)
{
    struct compile_queue *q;

    if (!c)
        return;
    q = c->queue;
    compile_drop(c);
    if (q)
        queue_next(q);
}

void compile_queue_free(struct compile_queue *q)
{
    if (!q)
        return;
    while (q->waiting)
        compile_drop(q->waiting);
    while (q->running)
        compile_drop(q->running);
    free(q);
}
