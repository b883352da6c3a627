/* base/notify against sockets of the test's own. */
#include "base/notify.h"

#include "base/clock.h"
#include "base/limits.h"
#include "support/notify_socket.h"
#include "support/tmp_dir.h"

static struct tmp_dir dir;

static struct notify *open_at(const char *name)
{
    struct notify *n = NULL;
    struct err err = {0};

    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    assert_int_equal(notify_open(&n, &err), 0);
    assert_non_null(n);
    return n;
}

static void test_nobody_listens_where_nothing_is_set(void **state)
{
    struct notify *n;
    struct err err = {0};

    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(notify_open(&n, &err), 0);
    assert_null(n);
    notify_send(n, "READY=1\n");
    notify_reloading(n);
    assert_int_equal(notify_watchdog(n, NULL, &err), 0);
    notify_close(n);
}

static void test_lines_arrive_at_a_path(void **state)
{
    const char *path = tmp_file(&dir, "notify");
    char text[2048];
    int fd = notify_socket(path);
    struct notify *n = open_at(path);

    (void)state;
    notify_send(n, "READY=1\nSTATUS=%d guests\n", 3);
    assert_string_equal(notify_next(fd, text), "READY=1\nSTATUS=3 guests\n");
    notify_close(n);
    close(fd);
    unlink(path);
}

static void test_lines_arrive_at_an_abstract_name(void **state)
{
    char name[64], text[2048];
    struct notify *n;
    int fd;

    (void)state;
    snprintf(name, sizeof(name), "@roost-test-notify-%d", getpid());
    fd = notify_socket(name);
    n = open_at(name);
    notify_send(n, "STOPPING=1\n");
    assert_string_equal(notify_next(fd, text), "STOPPING=1\n");
    notify_close(n);
    close(fd);
}

static void test_children_do_not_inherit_it(void **state)
{
    struct notify *n;

    (void)state;
    setenv("WATCHDOG_USEC", "1000000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    n = open_at("/nowhere/notify");
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
    notify_send(n, "READY=1\n"); /* nobody is there: no harm */
    notify_close(n);
}

static void test_reloading_has_its_time(void **state)
{
    const char *path = tmp_file(&dir, "notify");
    char text[2048];
    int fd = notify_socket(path);
    struct notify *n = open_at(path);
    uint64_t before = clock_now_ns() / 1000, at;
    char *end;

    (void)state;
    notify_reloading(n);
    notify_next(fd, text);
    assert_int_equal(strncmp(text, "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
    at = strtoull(text + 27, &end, 10);
    assert_string_equal(end, "\n");
    assert_true(at >= before && at <= clock_now_ns() / 1000);
    notify_close(n);
    close(fd);
    unlink(path);
}

static void test_the_watchdog_goes_on(void **state)
{
    const char *path = tmp_file(&dir, "notify");
    char text[2048], pid[32];
    int fd = notify_socket(path);
    struct loop *loop;
    struct notify *n;
    struct err err = {0};

    (void)state;
    snprintf(pid, sizeof(pid), "%d", getpid());
    setenv("WATCHDOG_USEC", "2000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    n = open_at(path);
    assert_int_equal(loop_new(&loop, &err), 0);
    assert_int_equal(notify_watchdog(n, loop, &err), 0);
    for (int i = 0; i < 3; i++) {
        while (recv(fd, text, sizeof(text), MSG_DONTWAIT | MSG_PEEK) < 0)
            loop_turn(loop, true);
        assert_string_equal(notify_next(fd, text), "WATCHDOG=1\n");
    }
    notify_close(n);
    loop_free(loop);
    close(fd);
    unlink(path);
}

/* No timer is set: the loop has nothing to wait for. */
static void test_another_processes_watchdog_is_left_alone(void **state)
{
    const char *path = tmp_file(&dir, "notify");
    char text[2048];
    int fd = notify_socket(path);
    struct loop *loop;
    struct notify *n;
    struct err err = {0};

    (void)state;
    setenv("WATCHDOG_USEC", "2", 1);
    setenv("WATCHDOG_PID", "1", 1);
    n = open_at(path);
    assert_int_equal(loop_new(&loop, &err), 0);
    assert_int_equal(notify_watchdog(n, loop, &err), 0);
    loop_turn(loop, false);
    loop_turn(loop, false);
    assert_int_equal(recv(fd, text, sizeof(text), MSG_DONTWAIT), -1);
    notify_close(n);
    loop_free(loop);
    close(fd);
    unlink(path);
}

static void test_long_text_is_cut(void **state)
{
    const char *path = tmp_file(&dir, "notify");
    char text[2048], much[4096];
    int fd = notify_socket(path);
    struct notify *n = open_at(path);

    (void)state;
    memset(much, 'x', sizeof(much) - 1);
    much[sizeof(much) - 1] = 0;
    notify_send(n, "STATUS=%s\n", much);
    assert_int_equal(strlen(notify_next(fd, text)), NOTIFY_BYTES_MAX - 1);
    notify_close(n);
    close(fd);
    unlink(path);
}

static void test_what_is_wrong_is_said(void **state)
{
    char longest[120];
    const struct {
        const char *name, *usec;
        enum err_code code;
    } cases[] = {
        {"", NULL, ERR_INVALID},
        {"@", NULL, ERR_INVALID},
        {"vsock:2:1234", NULL, ERR_UNSUPPORTED},
        {longest, NULL, ERR_LIMIT},
        {"/n", "soon", ERR_INVALID},
        {"/n", "0", ERR_INVALID},
        {"/n", "-1", ERR_INVALID},
        {"/n", "99999999999999999999999", ERR_INVALID},
    };

    (void)state;
    memset(longest, 'a', sizeof(longest) - 1);
    longest[0] = '/';
    longest[sizeof(longest) - 1] = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct notify *n;
        struct err err = {0};

        setenv("NOTIFY_SOCKET", cases[i].name, 1);
        if (cases[i].usec)
            setenv("WATCHDOG_USEC", cases[i].usec, 1);
        assert_int_equal(notify_open(&n, &err), -1);
        assert_null(n);
        assert_int_equal(err.code, cases[i].code);
        assert_non_null(strstr(err.msg, cases[i].usec ? "WATCHDOG_USEC" : "NOTIFY_SOCKET"));
    }
}

static int group_setup(void **state)
{
    (void)state;
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return tmp_dir_make(&dir);
}

static int group_teardown(void **state)
{
    (void)state;
    tmp_dir_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_listens_where_nothing_is_set),
        cmocka_unit_test(test_lines_arrive_at_a_path),
        cmocka_unit_test(test_lines_arrive_at_an_abstract_name),
        cmocka_unit_test(test_children_do_not_inherit_it),
        cmocka_unit_test(test_reloading_has_its_time),
        cmocka_unit_test(test_the_watchdog_goes_on),
        cmocka_unit_test(test_another_processes_watchdog_is_left_alone),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_what_is_wrong_is_said),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
