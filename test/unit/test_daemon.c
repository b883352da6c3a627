/* serve/daemon in a process of its own, without Kubernetes: what it does when its options are read
 * again.
 */
#include "support/daemon_child.h"
#include "support/notify_socket.h"
#include "support/tmp_dir.h"

#include <fcntl.h>
#include <ftw.h>

#define HEAD "apiVersion: roost.dev/v1alpha1\nkind: RoostConfiguration\n"
#define BASE HEAD "stateDir: state\nworkers: 1\nkubernetes: {enabled: false}\n"

static struct tmp_dir dir;

static void write_config(const char *text)
{
    FILE *f = fopen(tmp_file(&dir, "roost.yaml"), "we");

    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
}

static void start(struct daemon_child *d, struct options_source *source, const char *text)
{
    static char path[512];

    write_config(text);
    snprintf(path, sizeof(path), "%s/roost.yaml", dir.path);
    source->file = path;
    source->flags[options_find("log.format") - options_find("stateDir")] = "text";
    daemon_child_start(d, source);
    daemon_child_expect(d, "guests, 1 workers");
}

static void reload(struct daemon_child *d, const char *text)
{
    write_config(text);
    assert_int_equal(kill(d->pid, SIGHUP), 0);
}

static void test_reload_changes_what_can_change(void **state)
{
    struct options_source source = {.file = NULL};
    struct daemon_child d;

    (void)state;
    start(&d, &source, BASE);
    reload(&d, BASE "sleep: {after: 1s}\nmemory: 64Mi\n");
    daemon_child_expect(&d, "options read again: ");
    assert_non_null(strstr(d.line, "changed memory, sleep.after\n"));
    reload(&d, BASE "sleep: {after: 1s}\nmemory: 64Mi\n");
    daemon_child_expect(&d, "options read again: ");
    assert_non_null(strstr(d.line, "nothing changed\n"));
    assert_int_equal(daemon_child_stop(&d), 0);
}

static void test_reload_says_what_cannot_change(void **state)
{
    struct options_source source = {.file = NULL};
    struct daemon_child d;

    (void)state;
    start(&d, &source, BASE);
    reload(&d, HEAD "stateDir: state\nworkers: 2\nioThreads: 3\nkubernetes: {enabled: false}\n");
    daemon_child_expect(&d, "cannot change");
    assert_non_null(strstr(d.line, "warn  options read again: workers, ioThreads cannot change "
                                   "while the daemon runs: start it again for them\n"));
    assert_int_equal(daemon_child_stop(&d), 0);
}

static void test_a_bad_file_changes_nothing(void **state)
{
    struct options_source source = {.file = NULL};
    struct daemon_child d;

    (void)state;
    start(&d, &source, BASE "log: {level: info}\n");
    reload(&d, BASE "memory: 64Mi\nlog: {level: silent}\n");
    daemon_child_expect(&d, "options read again: ");
    assert_non_null(strstr(d.line, "error options read again: "));
    assert_non_null(strstr(d.line, "roost.yaml:7:14: log.level silent: must be one of debug, info, "
                                   "warn, error; all stay as they were\n"));
    reload(&d, BASE "memory: 64Mi\n"); /* it was not taken in before */
    daemon_child_expect(&d, "changed memory\n");
    assert_int_equal(daemon_child_stop(&d), 0);
}

static void test_flags_stay_stronger(void **state)
{
    struct options_source source = {.file = NULL};
    struct daemon_child d;

    (void)state;
    source.flags[options_find("memory") - options_find("stateDir")] = "128Mi";
    start(&d, &source, BASE);
    reload(&d, BASE "memory: 64Mi\n");
    daemon_child_expect(&d, "options read again: nothing changed\n");
    assert_int_equal(daemon_child_stop(&d), 0);
}

static void test_the_log_level_holds_at_once(void **state)
{
    struct options_source source = {.file = NULL};
    struct daemon_child d;

    (void)state;
    start(&d, &source, BASE);
    reload(&d, BASE "log: {level: warn}\nioThreads: 3\n");
    daemon_child_expect(&d, "options read again: "); /* not "changed": that is below it already */
    assert_non_null(strstr(d.line, "warn  options read again: ioThreads cannot change"));
    reload(&d, BASE "log: {level: debug}\n");
    daemon_child_expect(&d, "options read again: changed log.level\n");
    assert_int_equal(daemon_child_stop(&d), 0);
}

static void test_a_service_manager_is_told(void **state)
{
    struct options_source source = {.file = NULL};
    struct daemon_child d;
    char text[2048], path[512];
    int fd;

    (void)state;
    snprintf(path, sizeof(path), "%s/notify", dir.path);
    fd = notify_socket(path);
    setenv("NOTIFY_SOCKET", path, 1);
    setenv("WATCHDOG_USEC", "20000", 1);
    start(&d, &source, BASE);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    notify_expect(fd, "READY=1\nSTATUS=0 guests\n", text);
    notify_expect(fd, "WATCHDOG=1\n", text);
    notify_expect(fd, "WATCHDOG=1\n", text);
    reload(&d, BASE "wokers: 2\n");
    notify_expect(fd, "RELOADING=1\nMONOTONIC_USEC=", text);
    notify_expect(fd, "READY=1\nSTATUS=0 guests; options read again: ", text);
    assert_non_null(strstr(text, "roost.yaml:6:1: unknown option wokers"));
    reload(&d, BASE);
    notify_expect(fd, "RELOADING=1\nMONOTONIC_USEC=", text);
    notify_expect(fd, "READY=1\nSTATUS=0 guests\n", text);
    assert_int_equal(kill(d.pid, SIGTERM), 0);
    notify_expect(fd, "STOPPING=1\nSTATUS=saving 0 guests\n", text);
    assert_int_equal(daemon_child_wait(&d), 0);
    close(fd);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    unsetenv("ROOST_STATE");
    return tmp_dir_make(&dir);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(dir.path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reload_changes_what_can_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reload_says_what_cannot_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_bad_file_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flags_stay_stronger, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_log_level_holds_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_service_manager_is_told, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
