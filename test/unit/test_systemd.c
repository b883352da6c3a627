/* deploy/systemd/roost.service: systemd-analyze has nothing against it, and the daemon and its
 * compiler run under the system call filter that it sets, which is made here of the same lists.
 */
#include "base/auto.h"
#include "base/buf.h"
#include "base/http1.h"
#include "support/tmp_dir.h"

#include <ftw.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
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

#define UNIT          ROOST_SOURCE_DIR "/deploy/systemd/roost.service"
#define CALLS         512u /* system calls of this architecture */
#define CALL_NAME_MAX 64

static struct tmp_dir dir;

static void read_file(struct buf *out, const char *path)
{
    char block[4096];
    size_t n;
    FILE *f = fopen(path, "re");

    if (!f)
        fail_msg("%s cannot be read", path);
    while ((n = fread(block, 1, sizeof(block), f)) > 0)
        assert_int_equal(buf_append(out, block, n, NULL), 0);
    assert_int_equal(fclose(f), 0);
}

/* Runs a command; its output, of both kinds, goes to out. Returns its exit status. */
static int run(const char *command, struct buf *out)
{
    char block[4096];
    size_t n;
    int status;
    FILE *f = popen(command, "re"); // NOLINT(cert-env33-c): a fixed command

    assert_non_null(f);
    while ((n = fread(block, 1, sizeof(block), f)) > 0)
        assert_int_equal(buf_append(out, block, n, NULL), 0);
    status = pclose(f);
    assert_non_null(buf_cstr(out));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The unit with this build's program in it, since systemd-analyze looks for it. */
static const char *local_unit(void)
{
    static const char installed[] = "/usr/bin/roost ";
    struct buf text = {0};
    const char *path = tmp_file(&dir, "roost.service"), *at;
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    read_file(&text, UNIT);
    at = strstr(buf_cstr(&text), installed);
    assert_non_null(at);
    fprintf(f, "%.*s%s/roost %s", (int)(at - (const char *)text.data), (const char *)text.data,
            ROOST_BINARY_DIR, at + sizeof(installed) - 1);
    assert_int_equal(fclose(f), 0);
    buf_free(&text);
    return path;
}

static void test_verify_finds_nothing(void **state)
{
    struct buf out = {0};
    char command[1024];

    (void)state;
    snprintf(command, sizeof(command), "systemd-analyze verify --man=no %s 2>&1", local_unit());
    if (run(command, &out) != 0 || out.len)
        fail_msg("%s", (const char *)out.data);
    buf_free(&out);
}

/* In tenths, from 0 (locked in) to 100; it was 21. */
static void test_exposure_is_low(void **state)
{
    struct buf out = {0};
    char command[1024];

    (void)state;
    snprintf(command, sizeof(command),
             "systemd-analyze security --offline=yes --threshold=22 %s 2>&1", local_unit());
    if (run(command, &out) != 0)
        fail_msg("%s", (const char *)out.data);
    buf_free(&out);
}

static void test_it_says_what_it_promises(void **state)
{
    static const char *const lines[] = {
        "\nType=notify\n",
        "\nDynamicUser=yes\n",
        "\nStateDirectory=roost\n",
        "\nProtectSystem=strict\n",
        "\nNoNewPrivileges=yes\n",
        "\nMemoryHigh=",
        "\nLimitNOFILE=",
        "\nOOMPolicy=continue\n",
        "\nWatchdogSec=",
        "\nExecReload=",
        "\nKillMode=mixed\n",
        "\nSystemCallErrorNumber=EPERM\n",
        "\nCapabilityBoundingSet=\n",
    };
    struct buf text = {0};

    (void)state;
    read_file(&text, UNIT);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (!strstr(buf_cstr(&text), lines[i]))
            fail_msg("no line %s", lines[i] + 1);
    buf_free(&text);
}

/* --- the filter --- */

static char names[CALLS][CALL_NAME_MAX]; /* by number */
static bool allowed[CALLS];

/* The numbers of this architecture, as the compiler has them. */
static void read_numbers(void)
{
    struct buf out = {0};
    char *line, *rest;

    assert_int_equal(
        run("printf '#include <sys/syscall.h>\\n' | cc -E -dM - 2>&1 | grep ' __NR_'", &out), 0);
    for (rest = (char *)out.data; (line = strsep(&rest, "\n")) && *line;) {
        const char *name = line + strlen("#define __NR_");
        size_t len = strcspn(name, " ");
        char *end;
        unsigned long number = strtoul(name + len, &end, 10);

        if (strncmp(line, "#define __NR_", 13) != 0 || *end || number >= CALLS ||
            len >= CALL_NAME_MAX)
            continue;
        memcpy(names[number], name, len);
    }
    assert_string_equal(names[0], "read");
    buf_free(&out);
}

static void set(const char *what, bool allow);

/* A group is a list of calls and of other groups. */
static void set_group(const char *group, bool allow)
{
    struct buf out = {0};
    char command[128], *line, *rest;

    assert_true(strspn(group, "@abcdefghijklmnopqrstuvwxyz-") == strlen(group));
    snprintf(command, sizeof(command), "systemd-analyze syscall-filter %s", group);
    assert_int_equal(run(command, &out), 0);
    for (rest = (char *)out.data; (line = strsep(&rest, "\n"));) {
        line += strspn(line, " ");
        if (*line && *line != '#' && strcmp(line, group) != 0)
            set(line, allow);
    }
    buf_free(&out);
}

static void set(const char *what, bool allow)
{
    if (*what == '@') {
        set_group(what, allow);
        return;
    }
    for (size_t i = 0; i < CALLS; i++)
        if (strcmp(names[i], what) == 0)
            allowed[i] = allow;
}

/* The lines of the unit, one after the other, as systemd.exec(5) has them; @default is always
 * allowed. */
static void read_filter(void)
{
    struct buf text = {0};
    char *line, *rest;
    int lines = 0;

    read_file(&text, UNIT);
    assert_non_null(buf_cstr(&text));
    for (rest = (char *)text.data; (line = strsep(&rest, "\n"));) {
        char *words, *word;
        bool allow;

        if (strncmp(line, "SystemCallFilter=", 17) != 0)
            continue;
        lines++;
        words = line + 17;
        allow = *words != '~';
        words += !allow;
        while ((word = strsep(&words, " ")))
            set(word, allow);
    }
    set("@default", true);
    assert_int_equal(lines, 3);
    buf_free(&text);
}

/* For this process and all it starts. */
static int install_filter(void)
{
    static struct sock_filter f[2 * CALLS + 8];
    struct sock_fprog program = {.filter = f};
    unsigned short n = 0;

    f[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < CALLS; i++) {
        if (!allowed[i])
            continue;
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, i, 0, 1);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1 /* EPERM */);
    program.len = n;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

static void daemon_exec(const char *state, const char *log)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* A sanitizer looks for leaks by tracing the process, which the filter does not allow. */
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!freopen(log, "we", stderr) || install_filter() < 0)
        _exit(99);
    execl(ROOST_BINARY_DIR "/roost", "roost", "serve", "--no-kubernetes", "--guests",
          ROOST_BINARY_DIR "/examples/hello", "--state", state, (char *)NULL);
    _exit(98);
}

/* Asks until nothing is being compiled any more; then what became of the guest. */
static void wait_for_guest(pid_t pid, const char *socket, struct http1_answer *a)
{
    struct err err = {0};
    bool compiling = true;

    while (compiling) {
        AUTO_ANSWER struct http1_answer ready = {0};

        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* it has not ended */
        if (http1_get_unix(&ready, socket, "/readyz", 0, &err) < 0)
            continue; /* not there yet */
        compiling = ready.body.len && strstr(buf_cstr(&ready.body), "compiling");
    }
    assert_int_equal(http1_get_unix(a, socket, "/v1/guests/default/hello", 0, &err), 0);
}

static void test_the_daemon_and_its_compiler_run_under_the_filter(void **state)
{
    AUTO_ANSWER struct http1_answer a = {0};
    struct buf said = {0};
    char where[300], socket[320], log[320];
    int status;
    pid_t pid;

    (void)state;
    read_numbers();
    read_filter();
    assert_false(allowed[165]); /* mount: the filter is one */
    snprintf(where, sizeof(where), "%s/state", dir.path);
    snprintf(socket, sizeof(socket), "%s/admin.sock", where);
    snprintf(log, sizeof(log), "%s/log", dir.path);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        daemon_exec(where, log);
    wait_for_guest(pid, socket, &a);
    assert_int_equal(a.status, 200);
    if (!strstr(buf_cstr(&a.body), "\"lastError\":\"\""))
        fail_msg("%s", buf_cstr(&a.body));
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    read_file(&said, log);
    if (strstr(buf_cstr(&said), "Operation not permitted"))
        fail_msg("%s", (const char *)said.data);
    buf_free(&said);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    return tmp_dir_make(&dir);
}

static int group_teardown(void **state)
{
    (void)state;
    return nftw(dir.path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify_finds_nothing),
        cmocka_unit_test(test_exposure_is_low),
        cmocka_unit_test(test_it_says_what_it_promises),
        cmocka_unit_test(test_the_daemon_and_its_compiler_run_under_the_filter),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
