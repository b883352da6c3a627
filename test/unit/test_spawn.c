/* Running programs from the loop: how they end, what they print, what they inherit. */
#include "base/auto.h"
#include "base/limits.h"
#include "base/spawn.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct outcome {
    struct loop *loop;
    struct spawn_result result;
    char text[4096];
    int calls, wanted;
};

static void done(void *ctx, const struct spawn_result *r)
{
    struct outcome *o = ctx;

    o->result = *r;
    snprintf(o->text, sizeof(o->text), "%s", r->text);
    assert_int_equal(strlen(r->text), r->len);
    if (++o->calls == o->wanted)
        loop_stop(o->loop);
}

static int setup(void **state)
{
    static struct outcome o;
    struct err err;

    o = (struct outcome){.wanted = 1};
    *state = &o;
    return loop_new(&o.loop, &err);
}

static int teardown(void **state)
{
    struct outcome *o = *state;

    loop_free(o->loop);
    return 0;
}

static struct spawn *start(struct outcome *o, const char *script, uint64_t timeout_ms, size_t max)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    const struct spawn_opts opts = {
        .argv = argv, .timeout_ms = timeout_ms, .stderr_bytes_max = max};
    struct spawn *s = NULL;
    struct err err = {0};

    if (spawn_start(&s, o->loop, &opts, done, o, &err) < 0)
        fail_msg("%s", err.msg);
    return s;
}

static void run(struct outcome *o, const char *script, uint64_t timeout_ms, size_t max)
{
    start(o, script, timeout_ms, max);
    loop_run(o->loop);
    assert_int_equal(o->calls, 1);
}

static void test_status_and_stderr_come_back(void **state)
{
    struct outcome *o = *state;

    run(o, "echo to nobody; echo went wrong >&2; exit 3", 0, 100);
    assert_int_equal(o->result.status, 3);
    assert_int_equal(o->result.signum, 0);
    assert_false(o->result.timed_out);
    assert_string_equal(o->text, "went wrong\n");
}

static void test_signal_comes_back(void **state)
{
    struct outcome *o = *state;

    run(o, "kill -TERM $$", 0, 100);
    assert_int_equal(o->result.signum, SIGTERM);
    assert_string_equal(o->text, "");
}

/* More than a pipe holds: it must be read for the program to end. */
static void test_stderr_is_cut_at_its_maximum(void **state)
{
    struct outcome *o = *state;

    run(o, "i=0; while [ $i -lt 20000 ]; do echo 0123456789 >&2; i=$((i+1)); done; exit 7", 0, 22);
    assert_int_equal(o->result.status, 7);
    assert_string_equal(o->text, "0123456789\n0123456789\n");
}

static void test_no_stderr_is_kept_where_none_is_wanted(void **state)
{
    struct outcome *o = *state;

    run(o, "echo x >&2", 0, 0);
    assert_string_equal(o->text, "");
    assert_int_equal(o->result.status, 0);
}

static void test_timeout_kills_the_whole_group(void **state)
{
    struct outcome *o = *state;

    /* The sleeping grandchild holds the pipe as well: the shell's end is enough. */
    run(o, "sleep 1000 & echo begun >&2; wait", 50, 100);
    assert_true(o->result.timed_out);
    assert_int_equal(o->result.signum, SIGKILL);
}

static void test_nothing_is_inherited(void **state)
{
    struct outcome *o = *state;
    AUTO_CLOSE int leak = dup(0); /* not close-on-exec */

    assert_true(leak > 2);
    run(o, "ls /proc/self/fd >&2; read line; echo \"<$line>\" >&2", 0, 1000);
    /* ls has its own folder open as 3. */
    assert_string_equal(o->text, "0\n1\n2\n3\n<>\n");
}

static void test_environment_is_empty(void **state)
{
    struct outcome *o = *state;

    run(o, "tr '\\0' '\\n' < /proc/$$/environ >&2", 0, 1000);
    assert_string_equal(o->text, "");
    assert_int_equal(o->result.status, 0);
}

static void test_signals_are_as_by_default(void **state)
{
    struct outcome *o = *state;
    unsigned long long blk, ign;
    sigset_t blocked, before;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    run(o, "grep -E 'Sig(Blk|Ign)' /proc/self/status >&2", 0, 1000);
    sigprocmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, SIG_DFL);
    assert_non_null(strstr(o->text, "SigBlk:"));
    assert_non_null(strstr(o->text, "SigIgn:"));
    blk = strtoull(strstr(o->text, "SigBlk:") + 7, NULL, 16);
    ign = strtoull(strstr(o->text, "SigIgn:") + 7, NULL, 16);
    assert_int_equal(blk, 0);
    assert_int_equal(ign & 0x7fffffff, 0); /* above are glibc's own */
}

static void test_missing_program_is_an_error(void **state)
{
    struct outcome *o = *state;
    const char *argv[] = {"/nonexistent/program", NULL};
    const struct spawn_opts opts = {.argv = argv, .stderr_bytes_max = 10};
    struct spawn *s = NULL;
    struct err err = {0};

    assert_int_equal(spawn_start(&s, o->loop, &opts, done, o, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nonexistent/program"));
    assert_null(s);
}

/* The cancelled one is not heard of again; the loop is free of it (teardown checks). */
static void test_cancelled_is_not_reported(void **state)
{
    struct outcome *o = *state;
    struct spawn *s = start(o, "sleep 1000", 0, 100);

    spawn_cancel(s);
    spawn_cancel(NULL);
    run(o, "exit 5", 0, 100);
    assert_int_equal(o->result.status, 5);
}

static void test_many_at_once(void **state)
{
    struct outcome *o = *state;

    o->wanted = 20;
    for (int i = 0; i < 20; i++)
        start(o, "exit 1", 0, 100);
    loop_run(o->loop);
    assert_int_equal(o->calls, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_status_and_stderr_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signal_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stderr_is_cut_at_its_maximum, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_stderr_is_kept_where_none_is_wanted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_timeout_kills_the_whole_group, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_inherited, setup, teardown),
        cmocka_unit_test_setup_teardown(test_environment_is_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signals_are_as_by_default, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_program_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_is_not_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
