#include "base/spawn.h"

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

struct spawn {
    struct loop *loop;
    pid_t pid;
    int pidfd, pipe;
    uv_poll_t ended, readable;
    int handles; /* open, or closing */
    struct timer timer;
    struct buf text;
    size_t text_max;
    bool closing, cancelled;
    struct spawn_result result;
    void (*done)(void *ctx, const struct spawn_result *result);
    void *ctx;
};

/* --- the child --- */

static int actions_fill(posix_spawn_file_actions_t *a, int pipe)
{
    int rc = posix_spawn_file_actions_addopen(a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(a, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(a, pipe, STDERR_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(a, STDERR_FILENO + 1);
    return rc;
}

static int attributes_fill(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    int rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                POSIX_SPAWN_SETPGROUP);

    sigemptyset(&none);
    sigfillset(&all);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attr, &all);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(attr, 0);
    return rc;
}

/* Returns an errno. */
static int child_start(pid_t *pid, const char *const *argv, int pipe)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    char *const environment[] = {NULL};
    int rc;

    if ((rc = posix_spawn_file_actions_init(&actions)) != 0)
        return rc;
    if ((rc = posix_spawnattr_init(&attr)) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return rc;
    }
    rc = actions_fill(&actions, pipe);
    if (rc == 0)
        rc = attributes_fill(&attr);
    if (rc == 0) /* argv is only read: the prototype is older than const */
        rc =
            posix_spawn(pid, argv[0], &actions, &attr, (char *const *)(uintptr_t)argv, environment);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static void child_kill(pid_t pid)
{
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
}

/* --- its end --- */

static void spawn_free(struct spawn *s)
{
    if (s->pidfd >= 0)
        close(s->pidfd);
    if (s->pipe >= 0)
        close(s->pipe);
    buf_free(&s->text);
    free(s);
}

static void handle_closed(uv_handle_t *handle)
{
    struct spawn *s = handle->data;
    const char *text;

    if (--s->handles > 0)
        return;
    if (!s->cancelled) {
        text = buf_cstr(&s->text);
        s->result.text = text ? text : "";
        s->result.len = text ? s->text.len : 0;
        s->done(s->ctx, &s->result);
    }
    spawn_free(s);
}

static void spawn_close(struct spawn *s)
{
    assert(!s->closing);
    s->closing = true;
    loop_timer_clear(s->loop, &s->timer);
    uv_close((uv_handle_t *)&s->ended, handle_closed);
    uv_close((uv_handle_t *)&s->readable, handle_closed);
}

/* Keeps what there is room for. False at the end of the file, or where it cannot be read. */
static bool text_read(struct spawn *s)
{
    char chunk[4096];
    ssize_t n;

    while ((n = read(s->pipe, chunk, sizeof(chunk))) > 0) {
        size_t room = s->text_max - s->text.len;

        /* Without memory the text is shorter, that is all. */
        if (buf_append(&s->text, chunk, (size_t)n < room ? (size_t)n : room, NULL) < 0)
            s->text_max = s->text.len;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void pipe_readable(uv_poll_t *handle, int status, int events)
{
    struct spawn *s = handle->data;

    (void)events;
    if (status < 0 || !text_read(s))
        uv_poll_stop(handle);
}

static void child_ended(uv_poll_t *handle, int uv_status, int events)
{
    struct spawn *s = handle->data;
    int status = 0;

    (void)uv_status;
    (void)events;
    if (waitpid(s->pid, &status, WNOHANG) == 0)
        return; /* not yet: asked again in the next turn */
    text_read(s);
    if (WIFSIGNALED(status))
        s->result.signum = WTERMSIG(status);
    else
        s->result.status = WEXITSTATUS(status);
    spawn_close(s);
}

static void time_is_up(struct timer *t)
{
    struct spawn *s = container_of(t, struct spawn, timer);

    s->result.timed_out = true;
    child_kill(s->pid);
}

/* A child that was told to die takes a moment, which the loop does not have. */
static void *reap(void *arg)
{
    pid_t pid = (pid_t)(intptr_t)arg;

    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return NULL;
}

static void child_forget(pid_t pid)
{
    pthread_t thread;

    child_kill(pid);
    if (pthread_create(&thread, NULL, reap, (void *)(intptr_t)pid) == 0)
        pthread_detach(thread);
    else
        reap((void *)(intptr_t)pid);
}

void spawn_cancel(struct spawn *s)
{
    if (!s)
        return;
    s->cancelled = true;
    if (s->closing) /* it has ended, and was reaped */
        return;
    child_forget(s->pid);
    spawn_close(s);
}

/* --- its beginning --- */

/* The child runs. What fails from here on ends it. */
static int spawn_watch(struct spawn *s, const struct spawn_opts *opts, struct err *err)
{
    uv_loop_t *uv = loop_uv(s->loop);
    int rc;

    s->pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
    if (s->pidfd < 0)
        return err_set(err, ERR_IO, errno, "pidfd_open");
    if (opts->timeout_ms &&
        loop_timer_set(s->loop, &s->timer, clock_now_ns() + opts->timeout_ms * NS_PER_MS, err) < 0)
        return -1;
    rc = uv_poll_init(uv, &s->ended, s->pidfd);
    if (rc == 0) {
        s->handles++;
        rc = uv_poll_init(uv, &s->readable, s->pipe);
    }
    if (rc)
        return err_set(err, ERR_IO, -rc, "poll");
    s->handles++;
    rc = uv_poll_start(&s->ended, UV_READABLE, child_ended);
    if (rc == 0)
        rc = uv_poll_start(&s->readable, UV_READABLE, pipe_readable);
    return rc ? err_set(err, ERR_IO, -rc, "poll") : 0;
}

static int spawn_failed(struct spawn *s)
{
    child_forget(s->pid);
    loop_timer_clear(s->loop, &s->timer);
    s->cancelled = true;
    if (s->handles == 0) {
        spawn_free(s);
        return -1;
    }
    s->closing = true;
    uv_close((uv_handle_t *)&s->ended, handle_closed);
    if (s->handles == 2)
        uv_close((uv_handle_t *)&s->readable, handle_closed);
    return -1;
}

static struct spawn *spawn_alloc(struct loop *loop, const struct spawn_opts *opts, int pipe)
{
    struct spawn *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->loop = loop;
    s->pidfd = -1;
    s->pipe = pipe;
    s->text.max = opts->stderr_bytes_max + 1;
    s->text_max = opts->stderr_bytes_max;
    s->timer.fire = time_is_up;
    s->ended.data = s->readable.data = s;
    return s;
}

int spawn_start(struct spawn **out, struct loop *loop, const struct spawn_opts *opts,
                void (*done)(void *ctx, const struct spawn_result *result), void *ctx,
                struct err *err)
{
    int ends[2], rc;
    struct spawn *s;

    assert(opts->stderr_bytes_max <= SPAWN_STDERR_BYTES_MAX);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_IO, errno, "%s: pipe", opts->argv[0]);
    s = spawn_alloc(loop, opts, ends[0]);
    if (!s) {
        close(ends[0]);
        close(ends[1]);
        return err_set(err, ERR_NOMEM, 0, "%s", opts->argv[0]);
    }
    s->done = done;
    s->ctx = ctx;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    rc = child_start(&s->pid, opts->argv, ends[1]);
    close(ends[1]);
    if (rc) {
        spawn_free(s);
        return err_set(err, rc == ENOENT ? ERR_NOT_FOUND : ERR_IO, rc, "%s", opts->argv[0]);
    }
    s->result.pid = s->pid;
    if (spawn_watch(s, opts, err) < 0) {
        err_wrap(err, "%s", opts->argv[0]);
        return spawn_failed(s);
    }
    *out = s;
    return 0;
}
