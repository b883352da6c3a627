/* The state directory: who may have it, one process at a time, and what a new boot means. */
#include "base/state_dir.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* base is an empty folder that goes away afterwards; dir is base/state, not yet there. */
struct place {
    char base[64], dir[80];
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    snprintf(p->base, sizeof(p->base), "%s/test_state_dir.XXXXXX", tmp_base());
    if (!mkdtemp(p->base))
        return -1;
    snprintf(p->dir, sizeof(p->dir), "%s/state", p->base);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    static const char *const files[] = {"lock"};
    struct place *p = *state;
    char path[128];

    for (int i = 0; i < 1; i++) {
        snprintf(path, sizeof(path), "%s/%s", p->dir, files[i]);
        unlink(path);
    }
    unlink(p->dir);
    rmdir(p->dir);
    rmdir(p->base);
    free(p);
    return 0;
}

static struct state_dir *open_ok(const char *path)
{
    struct state_dir *d = NULL;
    struct err err = {0};

    if (state_dir_open(&d, path, &err) < 0)
        fail_msg("%s", err.msg);
    return d;
}

static struct err open_fails(const char *path, enum err_code code)
{
    struct state_dir *d = NULL;
    struct err err = {0};

    assert_int_equal(state_dir_open(&d, path, &err), -1);
    assert_null(d);
    assert_int_equal(err.code, code);
    return err;
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void test_it_is_created_for_its_owner_only(void **state)
{
    struct place *p = *state;
    char file[STATE_PATH_MAX], expected[STATE_PATH_MAX];
    mode_t old = umask(0);
    struct state_dir *d = open_ok(p->dir);

    umask(old);
    assert_int_equal(mode_of(p->dir), 0700);
    assert_int_equal(state_dir_file(d, "lock", file, NULL), 0);
    assert_int_equal(mode_of(file), 0600);
    snprintf(expected, sizeof(expected), "%s/lock", state_dir_path(d));
    assert_string_equal(file, expected);
    state_dir_close(d);
    state_dir_close(NULL);
}

static void test_a_relative_path_becomes_absolute(void **state)
{
    struct place *p = *state;
    char before[STATE_PATH_MAX];
    struct state_dir *d;

    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(p->base), 0);
    d = open_ok("state");
    assert_int_equal(chdir(before), 0);
    assert_int_equal(state_dir_path(d)[0], '/');
    assert_int_equal(mode_of(state_dir_path(d)), 0700);
    state_dir_close(d);
}

static void test_names_that_are_too_long_are_refused(void **state)
{
    struct place *p = *state;
    struct state_dir *d = open_ok(p->dir);
    char name[STATE_PATH_MAX], out[STATE_PATH_MAX];
    struct err err = {0};
    size_t room = STATE_PATH_MAX - 1 - strlen(state_dir_path(d)) - 1;

    memset(name, 'n', sizeof(name));
    name[room + 1] = 0;
    assert_int_equal(state_dir_file(d, name, out, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    name[room] = 0;
    assert_int_equal(state_dir_file(d, name, out, &err), 0);
    assert_int_equal(strlen(out), STATE_PATH_MAX - 1);
    state_dir_close(d);
}

static void test_others_must_not_enter(void **state)
{
    static const mode_t bad[] = {0755, 0750, 0701, 0720, 01777};
    struct place *p = *state;
    struct err err;

    state_dir_close(open_ok(p->dir));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(chmod(p->dir, bad[i]), 0);
        err = open_fails(p->dir, ERR_DENIED);
        assert_non_null(strstr(err.msg, "others may enter it (mode "));
        assert_non_null(strstr(err.msg, "chmod 700"));
        assert_int_equal(mode_of(p->dir), bad[i]); /* for its owner to decide */
    }
    assert_int_equal(chmod(p->dir, 0700), 0);
    state_dir_close(open_ok(p->dir));
}

/* The owner of the root folder is root. A root that runs the tests becomes somebody else in a
 * child; there the folder belongs to root and may be entered by nobody. */
static void test_it_must_belong_to_us(void **state)
{
    struct place *p = *state;
    int status;
    pid_t pid;

    state_dir_close(open_ok(p->dir));
    pid = fork();
    if (pid == 0) {
        struct state_dir *d;
        struct err err = {0};
        const char *path = geteuid() == 0 ? p->dir : "/";

        /* Owner first, whatever the mode. */
        if (geteuid() == 0 && (chmod(p->base, 0755) < 0 || chown(p->dir, 4711, 4711) < 0))
            _exit(1);
        if (state_dir_open(&d, path, &err) == 0 || err.code != ERR_DENIED ||
            !strstr(err.msg, "belongs to user"))
            _exit(2);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_what_cannot_be_opened_says_why(void **state)
{
    struct place *p = *state;
    char path[160];
    struct err err;
    int fd;

    snprintf(path, sizeof(path), "%s/no/such", p->dir);
    err = open_fails(path, ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, path));
    assert_non_null(strstr(err.msg, "No such file or directory"));
    fd = open(p->dir, O_CREAT | O_WRONLY, 0600); /* a file of that name */
    assert_true(fd >= 0);
    close(fd);
    err = open_fails(p->dir, ERR_IO);
    assert_non_null(strstr(err.msg, "Not a directory"));
}

/* --- one at a time --- */

static void test_a_second_open_names_the_first(void **state)
{
    struct place *p = *state;
    struct state_dir *d = open_ok(p->dir);
    struct err err = open_fails(p->dir, ERR_EXISTS);
    char expected[64];

    snprintf(expected, sizeof(expected), "in use by process %d", getpid());
    assert_non_null(strstr(err.msg, expected));
    state_dir_close(d);
    state_dir_close(open_ok(p->dir));
}

static void test_a_process_that_dies_gives_it_back(void **state)
{
    struct place *p = *state;
    char expected[64], byte;
    struct err err;
    int ready[2];
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        struct state_dir *d;

        if (state_dir_open(&d, p->dir, NULL) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    err = open_fails(p->dir, ERR_EXISTS);
    snprintf(expected, sizeof(expected), "in use by process %d", pid);
    assert_non_null(strstr(err.msg, expected));
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    state_dir_close(open_ok(p->dir));
    close(ready[0]);
    close(ready[1]);
}

/* Programs that the daemon starts must not keep the lock when it is gone. */
static void test_started_programs_do_not_inherit_it(void **state)
{
    struct place *p = *state;
    struct state_dir *d = open_ok(p->dir);
    int go[2], status;
    pid_t pid;

    assert_int_equal(pipe(go), 0);
    pid = fork();
    if (pid == 0) {
        dup2(go[0], 0);
        close(go[0]);
        close(go[1]);
        execlp("cat", "cat", (char *)NULL); /* until its input ends */
        _exit(127);
    }
    close(go[0]);

    state_dir_close(d);
    for (;;) {
        struct state_dir *again = NULL;
        struct err err = {0};

        if (state_dir_open(&again, p->dir, &err) == 0) {
            state_dir_close(again);
            break;
        }
        assert_int_equal(err.code, ERR_EXISTS);
        assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it still runs */
    }
    close(go[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* --- boots --- */

static void test_a_boot_has_a_number(void **state)
{
    (void)state;
    assert_true(state_dir_boot() != 0);
    assert_true(state_dir_boot() == state_dir_boot());
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_it_is_created_for_its_owner_only),
        TEST(test_a_relative_path_becomes_absolute),
        TEST(test_names_that_are_too_long_are_refused),
        TEST(test_others_must_not_enter),
        TEST(test_it_must_belong_to_us),
        TEST(test_what_cannot_be_opened_says_why),
        TEST(test_a_second_open_names_the_first),
        TEST(test_a_process_that_dies_gives_it_back),
        TEST(test_started_programs_do_not_inherit_it),
        TEST(test_a_boot_has_a_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
