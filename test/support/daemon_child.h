/* The whole daemon in a child process, for tests of what it does with signals, its log and its
 * sockets. Its log comes through a pipe: reading a line waits for it, nothing else waits.
 */
#ifndef ROOST_TEST_DAEMON_CHILD_H
#define ROOST_TEST_DAEMON_CHILD_H

#include "serve/daemon.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct daemon_child {
    pid_t pid;
    FILE *log;
    char line[4096]; /* the one that was read last */
};

static inline void daemon_child_run(const struct options_source *source)
{
    struct daemon_opts o;
    struct err err = {0};
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (options_load(&o, source, &err) < 0 || daemon_run(&o, source, &err) < 0) {
        dprintf(2, "failed: %s\n", err.msg);
        _exit(err_exit_status(err.code));
    }
    _exit(0);
}

/* Starts it; its log is text. */
static inline void daemon_child_start(struct daemon_child *d, const struct options_source *source)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    d->pid = fork();
    assert_true(d->pid >= 0);
    if (d->pid == 0) {
        dup2(fds[1], 2);
        close(fds[0]);
        close(fds[1]);
        daemon_child_run(source);
    }
    close(fds[1]);
    d->log = fdopen(fds[0], "r");
    assert_non_null(d->log);
}

/* Reads lines until one has the text in it, which is then in d->line. */
static inline void daemon_child_expect(struct daemon_child *d, const char *text)
{
    do {
        if (!fgets(d->line, sizeof(d->line), d->log))
            fail_msg("the daemon ended without: %s", text);
    } while (!strstr(d->line, text));
}

/* Waits for its end; returns its exit status, -1: by a signal. */
static inline int daemon_child_wait(struct daemon_child *d)
{
    int status;

    while (fgets(d->line, sizeof(d->line), d->log))
        ;
    fclose(d->log);
    assert_int_equal(waitpid(d->pid, &status, 0), d->pid);
    d->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline int daemon_child_stop(struct daemon_child *d)
{
    assert_int_equal(kill(d->pid, SIGTERM), 0);
    return daemon_child_wait(d);
}

#endif
