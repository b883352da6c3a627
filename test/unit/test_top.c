/* roost top: what it makes of two looks, its plain text, and the program itself in a terminal: it
 * draws, sorts by keys, follows the window's size, and leaves the terminal as it was.
 */
#include "cli/top.h"
#include "support/api_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#define STATS(wakes, events, ns, cpu)                                                              \
    "{\"wakes\":" #wakes ",\"events\":" #events ",\"handledNs\":" #ns ",\"cpuNs\":" #cpu           \
    ",\"failures\":4,\"uptime_s\":10.0,\"pssBytes\":8388608,"                                      \
    "\"wake\":{\"count\":3,\"p50_us\":112.0,\"p99_us\":909.0},\"event\":{\"count\":0}}"

static const char first_list[] =
    "{\"items\":[{\"namespace\":\"a\",\"name\":\"one\",\"state\":\"Asleep\",\"wakes\":10,"
    "\"events\":20,\"handledNs\":20000000,\"cpuNs\":1000000000,\"snapshotBytes\":4096,"
    "\"memoryBytes\":131072,\"queued\":0}]}";
static const char second_list[] =
    "{\"items\":[{\"namespace\":\"a\",\"name\":\"one\",\"state\":\"Awake\",\"wakes\":14,"
    "\"events\":30,\"handledNs\":50000000,\"cpuNs\":1500000000,\"snapshotBytes\":4096,"
    "\"memoryBytes\":131072,\"queued\":2},"
    "{\"namespace\":\"a\",\"name\":\"two\",\"state\":\"Failed\",\"wakes\":1,\"events\":1,"
    "\"handledNs\":2000000,\"cpuNs\":0,\"queued\":1,\"snapshotBytes\":8192},"
    "{\"namespace\":\"b\",\"name\":\"three\",\"state\":\"Cold\"}]}";

static json_t *load(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    assert_non_null(value);
    return value;
}

static void take(struct top *t, const char *stats, const char *list, const char *namespace_,
                 uint64_t at_ns)
{
    struct err err = {0};

    assert_int_equal(top_take(t, load(stats), load(list), namespace_, at_ns, &err), 0);
}

static void test_rates_are_between_two_looks(void **state)
{
    struct top t = {0};

    (void)state;
    take(&t, STATS(10, 20, 20000000, 1000000000), first_list, NULL, 1000000000);
    assert_float_equal(t.total.wakes, 1, 1e-9); /* of the ten seconds that it is up */
    assert_float_equal(t.rows[0].events, 2, 1e-9);
    assert_float_equal(t.rows[0].latency_us, 1000, 1e-6);
    assert_int_equal(t.rows[0].memory, 0); /* it sleeps */
    take(&t, STATS(15, 31, 52000000, 2000000000), second_list, NULL, 3000000000);
    assert_int_equal(t.nrows, 3);
    assert_float_equal(t.total.wakes, 2.5, 1e-9);
    assert_float_equal(t.total.cpu, .5, 1e-9);
    assert_float_equal(t.failures, 0, 1e-9);
    assert_int_equal(t.total.queue, 3);
    assert_int_equal(t.total.memory, 131072);
    assert_int_equal(t.total.disk, 12288);
    assert_true(t.awake == 1 && t.failed == 1 && t.pending == 1 && t.asleep == 0);
    top_sort(&t, TOP_NAME, false);
    assert_float_equal(t.rows[0].wakes, 2, 1e-9);
    assert_float_equal(t.rows[0].latency_us, 3000, 1e-6);
    assert_float_equal(t.rows[0].cpu, .25, 1e-9);
    assert_float_equal(t.rows[1].wakes, .5, 1e-9);             /* new: from zero */
    assert_true(t.rows[2].latency_us < 0);                     /* nothing happened */
    take(&t, STATS(1, 1, 0, 0), first_list, NULL, 5000000000); /* counters were reset */
    assert_float_equal(t.total.wakes, .5, 1e-9);
    top_free(&t);
}

static void test_orders(void **state)
{
    static const struct {
        enum top_key key;
        bool reverse;
        const char *order[3];
    } cases[] = {
        {TOP_NAME, false, {"one", "two", "three"}},   {TOP_NAME, true, {"three", "two", "one"}},
        {TOP_STATE, false, {"one", "three", "two"}},  {TOP_WAKES, false, {"one", "two", "three"}},
        {TOP_LATENCY, true, {"three", "one", "two"}}, {TOP_QUEUE, false, {"one", "two", "three"}},
        {TOP_DISK, false, {"two", "one", "three"}},   {TOP_CPU, false, {"one", "two", "three"}},
        {TOP_MEMORY, true, {"two", "three", "one"}},  {TOP_EVENTS, false, {"one", "two", "three"}},
    };
    struct top t = {0};

    (void)state;
    take(&t, STATS(15, 31, 52000000, 2000000000), second_list, NULL, 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        top_sort(&t, cases[i].key, cases[i].reverse);
        for (size_t r = 0; r < 3; r++)
            assert_string_equal(cli_text(t.rows[r].guest, "name"), cases[i].order[r]);
    }
    take(&t, STATS(15, 31, 52000000, 2000000000), second_list, "b", 2);
    assert_int_equal(t.nrows, 1);
    top_free(&t);
}

static void add_line(void *ctx, bool head, const char *text)
{
    (void)head;
    assert_int_equal(buf_printf(ctx, NULL, "%s\n", text), 0);
}

static void test_plain_text(void **state)
{
    struct top t = {0};
    struct buf out = {0};

    (void)state;
    take(&t, STATS(10, 20, 20000000, 1000000000), first_list, NULL, 1000000000);
    take(&t, STATS(15, 31, 52000000, 2000000000), second_list, NULL, 3000000000);
    top_sort(&t, TOP_CPU, false);
    top_print(&t, TOP_CPU, false, false, 2, add_line, &out);
    assert_string_equal(
        buf_cstr(&out),
        "3 guests: 1 awake, 0 asleep, 1 failed, 1 other; up 10s\n"
        "a second: 2.5 wakes, 5.5 events, 0.0 failures; queue 3\n"
        "wake p50 112us p99 909us, awake p50 - p99 -, sleep p99 -, handled in 2.9ms\n"
        "memory 8M (awake guests 128K), on disk 12K, CPU 50.0%\n"
        "\n"
        "NAMESPACE NAME      STATE     WAKE/S   EV/S  LATENCY  QUEUE  CPU%v  MEMORY   DISK\n"
        "a         one       Awake        2.0    5.0    3.0ms      2   25.0    128K     4K\n"
        "a         two       Failed       0.5    0.5    2.0ms      1    0.0       -     8K\n");
    buf_free(&out);
    top_free(&t);
}

/* --- in a terminal --- */

struct terminal {
    int fd, other; /* ours; the program's, kept open to ask how it is left */
    pid_t pid;
    struct buf out;
};

static void terminal_size(const struct terminal *t, unsigned short rows, unsigned short cols)
{
    struct winsize w = {.ws_row = rows, .ws_col = cols};

    assert_int_equal(ioctl(t->fd, TIOCSWINSZ, &w), 0);
}

static void terminal_start(struct terminal *t, const char *const *argv)
{
    char name[128];

    *t = (struct terminal){.fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    assert_true(t->fd >= 0 && grantpt(t->fd) == 0 && unlockpt(t->fd) == 0);
    assert_int_equal(ptsname_r(t->fd, name, sizeof(name)), 0);
    t->other = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(t->other >= 0);
    terminal_size(t, 24, 100);
    t->pid = fork();
    if (t->pid == 0) {
        setsid();
        if (ioctl(t->other, TIOCSCTTY, 0) < 0 || dup2(t->other, 0) < 0 || dup2(t->other, 1) < 0 ||
            dup2(t->other, 2) < 0)
            _exit(126);
        setenv("TERM", "xterm", 1);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    assert_true(t->pid > 0);
}

/* Reads until the text has come, from where the last one ended. */
static void terminal_shows(struct terminal *t, const char *text)
{
    char block[4096];

    while (!t->out.len || !memmem(t->out.data, t->out.len, text, strlen(text))) {
        struct pollfd p = {.fd = t->fd, .events = POLLIN};
        ssize_t n;

        if (poll(&p, 1, 20000) != 1)
            fail_msg("never shown: %s, in: %.*s", text, (int)t->out.len, (char *)t->out.data);
        n = read(t->fd, block, sizeof(block));
        assert_true(n > 0);
        assert_int_equal(buf_append(&t->out, block, (size_t)n, NULL), 0);
    }
    buf_consume(&t->out, (size_t)((uint8_t *)memmem(t->out.data, t->out.len, text, strlen(text)) -
                                  t->out.data) +
                             strlen(text));
}

static void terminal_key(const struct terminal *t, char key)
{
    assert_int_equal(write(t->fd, &key, 1), 1);
}

static struct termios terminal_mode(const struct terminal *t)
{
    struct termios mode;

    assert_int_equal(tcgetattr(t->other, &mode), 0);
    return mode;
}

static int terminal_end(struct terminal *t)
{
    int status = -1;

    assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
    close(t->fd);
    close(t->other);
    buf_free(&t->out);
    return status;
}

static const char leave[] = "\033[?7h\033[?25h\033[?1049l";
static const char program[] = ROOST_BINARY_DIR "/roost";
static const char *const live[] = {program, "top", "-d", "3600", NULL};

static void fake_start(struct api_fake *f)
{
    *f = (struct api_fake){
        .answers = {{HTTP1_GET, "/v1/stats", .body = STATS(10, 20, 20000000, 1000000000)},
                    {HTTP1_GET, "/v1/guests", .body = second_list}}};
    assert_int_equal(api_fake_start(f), 0);
}

static void fake_stop(struct api_fake *f)
{
    assert_int_equal(api_fake_stop(f), 0);
    buf_free(&f->log);
}

static void test_live_until_ctrl_c(void **state)
{
    struct termios before, during;
    struct terminal t;
    struct api_fake f;
    int status;

    (void)state;
    fake_start(&f);
    terminal_start(&t, live);
    before = terminal_mode(&t);
    terminal_shows(&t, "\033[?1049h");
    terminal_shows(&t, "3 guests: 1 awake");
    terminal_shows(&t, "CPU%v");
    terminal_shows(&t, "q quits");
    during = terminal_mode(&t);
    assert_int_equal(during.c_lflag & (ICANON | ECHO), 0);
    assert_int_not_equal(during.c_lflag & ISIG, 0);
    terminal_key(&t, 'n');
    terminal_shows(&t, "NAMEv");
    terminal_key(&t, 'n'); /* the same again turns it round */
    terminal_shows(&t, "NAME^");
    terminal_size(&t, 9, 60); /* two guests less fit */
    terminal_shows(&t, "\033[2J");
    terminal_shows(&t, "\033[8;1Ha         two");
    terminal_shows(&t, "\033[9;1H");
    terminal_shows(&t, "\033[?2026l");
    terminal_key(&t, 3);
    terminal_shows(&t, leave);
    status = -1;
    assert_int_equal(waitpid(t.pid, &status, 0), t.pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    during = terminal_mode(&t);
    assert_int_equal(during.c_lflag, before.c_lflag);
    close(t.fd);
    close(t.other);
    buf_free(&t.out);
    fake_stop(&f);
}

static void test_q_leaves(void **state)
{
    struct terminal t;
    struct api_fake f;
    int status;

    (void)state;
    fake_start(&f);
    terminal_start(&t, live);
    terminal_shows(&t, "q quits");
    terminal_key(&t, 'q');
    terminal_shows(&t, leave);
    status = terminal_end(&t);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fake_stop(&f);
}

/* Nothing is drawn, and the error is on the page that the shell has. */
static void test_a_daemon_that_is_away(void **state)
{
    struct terminal t;
    int status;

    (void)state;
    assert_int_equal(setenv("ROOST_STATE", "/nowhere", 1), 0);
    terminal_start(&t, live);
    terminal_shows(&t, "roost: cannot reach the daemon");
    assert_null(memmem(t.out.data, t.out.len, "\033[", 2));
    status = terminal_end(&t);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 10);
    assert_int_equal(unsetenv("ROOST_STATE"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates_are_between_two_looks),
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_plain_text),
        cmocka_unit_test(test_live_until_ctrl_c),
        cmocka_unit_test(test_q_leaves),
        cmocka_unit_test(test_a_daemon_that_is_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
