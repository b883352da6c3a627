/* serve/daemon in a process of its own, without Kubernetes: what it does when its options are read
 * again, what a service manager hears, and who may ask it, at its socket and over TCP.
 */
#include "base/auto.h"
#include "base/http1.h"
#include "base/http1_dial.h"
#include "cli/cli.h"
#include "support/daemon_child.h"
#include "support/notify_socket.h"
#include "support/pki.h"
#include "support/tmp_dir.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>

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

/* --- who may ask --- */

static const char *in_dir(const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir.path, name);
    return path;
}

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(in_dir(name), "we");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static mode_t mode_of(const char *name, gid_t *group)
{
    struct stat st;

    assert_int_equal(stat(in_dir(name), &st), 0);
    *group = st.st_gid;
    return st.st_mode & 07777;
}

static void test_the_socket_is_the_users_alone(void **state)
{
    struct options_source source = {.file = NULL};
    struct daemon_child d;
    gid_t group;

    (void)state;
    start(&d, &source, BASE);
    assert_int_equal(mode_of("state/admin.sock", &group), 0600);
    assert_int_equal(daemon_child_stop(&d), 0);
}

/* A group that this process is in, and that is not its first one where it has more. */
static void test_the_socket_can_be_a_groups(void **state)
{
    struct options_source source = {.file = NULL};
    struct daemon_child d;
    gid_t groups[64], group, got;
    int n = getgroups(64, groups);
    char text[512];

    (void)state;
    assert_true(n >= 0);
    group = n > 0 ? groups[n - 1] : getgid();
    snprintf(text, sizeof(text), BASE "admin: {socket: there.sock, group: \"%u\"}\n", group);
    start(&d, &source, text);
    assert_int_equal(mode_of("there.sock", &got), 0660);
    assert_int_equal(got, group);
    assert_int_equal(daemon_child_stop(&d), 0);
    assert_int_equal(access(in_dir("there.sock"), F_OK), -1);
    start(&d, &source, BASE "admin: {socket: there.sock, mode: 0660}\n");
    assert_int_equal(mode_of("there.sock", &got), 0660);
    assert_int_equal(daemon_child_stop(&d), 0);
}

/* The daemon refuses these, at its start and with --check-config. */
static void refused(const char *text, enum err_code code, const char *message)
{
    struct options_source source = {.file = NULL};
    struct daemon_opts o;
    struct err err = {0};
    char path[512];

    write_config(text);
    snprintf(path, sizeof(path), "%s", in_dir("roost.yaml"));
    source.file = path;
    if (options_load(&o, &source, &err) == 0) {
        assert_int_equal(daemon_check(&o, &err), -1);
        options_free(&o);
    }
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, message))
        fail_msg("\"%s\" is not in \"%s\"", message, err.msg);
}

#define TCP_HEAD BASE "admin:\n  listen: 127.0.0.1:0\n"
#define TCP_ALL  TCP_HEAD "  certFile: crt\n  keyFile: key\n  tokenFile: token\n"

static void test_tcp_needs_tls_and_a_token(void **state)
{
    struct test_pki pki;

    (void)state;
    test_pki_new(&pki);
    write_text("crt", pki.server_cert);
    write_text("key", pki.server_key);
    write_text("token", "a-token-of-some-length\n");
    refused(TCP_HEAD, ERR_INVALID,
            "admin.listen 127.0.0.1:0 has no admin.certFile: nobody is let "
            "in over TCP without TLS and a token: set admin.certFile, ");
    refused(TCP_HEAD "  certFile: crt\n  tokenFile: token\n", ERR_INVALID, "has no admin.keyFile");
    refused(TCP_HEAD "  certFile: crt\n  keyFile: key\n", ERR_INVALID, "has no admin.tokenFile");
    refused(BASE "admin: {tokenFile: token}\n", ERR_INVALID, "and no admin.listen: set it, ");
    refused(BASE "admin: {group: users}\n", ERR_INVALID,
            "admin.group without admin.socket: members cannot reach a socket in the state "
            "directory");
    refused(BASE "admin: {socket: s, group: no-such-group-here}\n", ERR_NOT_FOUND,
            "admin.group no-such-group-here: there is no such group (make one: groupadd");
    refused(BASE "admin: {listen: \"localhost:1\", certFile: crt, keyFile: key, tokenFile: "
                 "token}\n",
            ERR_INVALID, "admin.listen localhost:1: must be ADDRESS:PORT, such as 127.0.0.1:8443");
    write_text("token", "short\n");
    refused(TCP_ALL, ERR_INVALID,
            "token: a token of 5 characters, must be from 16 to 512 (make "
            "one: openssl rand -hex 32)");
    write_text("token", "sixteen characters and blanks\n");
    refused(TCP_ALL, ERR_INVALID, "a token is one line without blanks, and byte 8 is something");
    unlink(in_dir("token"));
    refused(TCP_ALL, ERR_NOT_FOUND, "admin.tokenFile: ");
    write_text("token", "a-token-of-some-length\n");
    write_text("key", pki.client_key);
    refused(TCP_ALL, ERR_INVALID, "key: it does not belong to the certificate");
    write_text("crt", "");
    refused(TCP_ALL, ERR_INVALID, "certificate: no certificates in PEM, or a damaged one");
    test_pki_free(&pki);
}

/* The status of GET /v1/version over TCP; 0: the certificate was refused. */
static int ask_tcp(const char *port, const char *ca, const char *token)
{
    struct http1_question q = {.method = HTTP1_GET, .target = "/v1/version", .token = token};
    AUTO_ANSWER struct http1_answer a = {0};
    AUTO_CLOSE int fd = -1;
    struct err err = {0};

    if (http1_dial_tls(&fd, "127.0.0.1", port, ca, 60000, &err) < 0) {
        assert_int_equal(err.code, ERR_DENIED);
        return 0;
    }
    assert_int_equal(http1_ask_fd(&a, fd, &q, 60000, &err), 0);
    return a.status;
}

static void test_over_tcp_with_changes(void **state)
{
    struct options_source source = {.file = NULL};
    struct test_pki old, new;
    struct daemon_child d;
    char port[8];

    (void)state;
    test_pki_new(&old);
    test_pki_new(&new);
    write_text("crt", old.server_cert);
    write_text("key", old.server_key);
    write_text("token", "the-first-token-there-is\n");
    write_config(TCP_ALL);
    source.file = tmp_file(&dir, "roost.yaml");
    source.flags[options_find("log.format") - options_find("stateDir")] = "text";
    daemon_child_start(&d, &source);
    daemon_child_expect(&d, "admin API over TCP: port ");
    snprintf(port, sizeof(port), "%.*s", (int)strspn(strstr(d.line, "port ") + 5, "0123456789"),
             strstr(d.line, "port ") + 5);
    daemon_child_expect(&d, "guests, 1 workers");
    assert_int_equal(ask_tcp(port, old.ca, "the-first-token-there-is"), 200);
    assert_int_equal(ask_tcp(port, old.ca, "the-second-token-there-is"), 401);
    assert_int_equal(ask_tcp(port, new.ca, "the-first-token-there-is"), 0);
    write_text("token", "the-second-token-there-is"); /* under the same name */
    write_text("crt", new.server_cert);
    write_text("key", new.server_key);
    assert_int_equal(kill(d.pid, SIGHUP), 0);
    daemon_child_expect(&d, "options read again: ");
    assert_int_equal(ask_tcp(port, new.ca, "the-first-token-there-is"), 401);
    assert_int_equal(ask_tcp(port, new.ca, "the-second-token-there-is"), 200);
    write_text("token", "bad"); /* half of a change is none */
    write_text("crt", old.server_cert);
    write_text("key", old.server_key);
    assert_int_equal(kill(d.pid, SIGHUP), 0);
    daemon_child_expect(&d, "all stay as they were");
    assert_int_equal(ask_tcp(port, new.ca, "the-second-token-there-is"), 200);
    assert_int_equal(daemon_child_stop(&d), 0);
    test_pki_free(&old);
    test_pki_free(&new);
}

/* --- the command line over TCP --- */

static bool next_event(void *ctx, json_t *object)
{
    (void)object;
    (*(int *)ctx)++;
    return true;
}

static void asked(const char *server, enum err_code code, const char *message)
{
    json_t *answer = NULL;
    struct err err = {0};
    int rc;

    setenv("ROOST_SERVER", server, 1);
    rc = cli_fetch(&answer, "/nowhere", "/v1/version", &err);
    json_decref(answer);
    assert_int_equal(rc, code ? -1 : 0);
    assert_int_equal(err.code, code);
    if (message && !strstr(err.msg, message))
        fail_msg("\"%s\" is not in \"%s\"", message, err.msg);
}

static void start_tcp(struct daemon_child *d, struct options_source *source,
                      const struct test_pki *pki, char server[64])
{
    write_text("crt", pki->server_cert);
    write_text("key", pki->server_key);
    write_text("ca", pki->ca);
    write_text("token", "the-token-of-this-daemon\n");
    write_config(TCP_ALL "  socket: there.sock\n");
    source->file = tmp_file(&dir, "roost.yaml");
    source->flags[options_find("log.format") - options_find("stateDir")] = "text";
    daemon_child_start(d, source);
    daemon_child_expect(d, "admin API over TCP: port ");
    snprintf(server, 64, "https://127.0.0.1:%d",
             (int)strtol(strstr(d->line, "port ") + 5, NULL, 10));
    daemon_child_expect(d, "guests, 1 workers");
}

static void test_the_command_line_asks_over_tcp(void **state)
{
    struct options_source source = {.file = NULL};
    struct test_pki pki, other;
    struct daemon_child d;
    struct err err = {0};
    char server[64], unix_server[600];
    int events = 0;

    (void)state;
    test_pki_new(&pki);
    test_pki_new(&other);
    start_tcp(&d, &source, &pki, server);
    asked(server, ERR_USAGE, "needs --token-file FILE: what its admin.tokenFile has");
    setenv("ROOST_TOKEN_FILE", in_dir("token"), 1);
    asked(server, ERR_DENIED, "--ca-file FILE says whom to trust");
    setenv("ROOST_CA_FILE", in_dir("ca"), 1);
    asked(server, ERR_NONE, NULL);
    assert_int_equal(cli_follow("/nowhere", "/v1/events", next_event, &events, &err), 0);
    write_text("token", "another-token-than-that");
    asked(server, ERR_DENIED, "401 Unauthorized: over TCP a bearer token is needed");
    write_text("token", "two words");
    asked(server, ERR_INVALID, "a token is one line without blanks");
    write_text("token", "the-token-of-this-daemon");
    write_text("ca", other.ca);
    asked(server, ERR_DENIED, "is not signed by the expected authority");
    asked("https://127.0.0.1", ERR_USAGE, "must be https://HOST:PORT or unix:PATH");
    asked("https://127.0.0.1:1/v1", ERR_USAGE, "must be https://HOST:PORT");
    asked("http://127.0.0.1:1", ERR_USAGE, "must be https://HOST:PORT");
    asked("https://[::1:1", ERR_USAGE, "must be https://HOST:PORT");
    snprintf(unix_server, sizeof(unix_server), "unix:%s", in_dir("there.sock"));
    asked(unix_server, ERR_NONE, NULL);
    unsetenv("ROOST_SERVER");
    unsetenv("ROOST_TOKEN_FILE");
    unsetenv("ROOST_CA_FILE");
    assert_int_equal(daemon_child_stop(&d), 0);
    test_pki_free(&pki);
    test_pki_free(&other);
}

/* As options before the command. */
static void test_global_options_say_where(void **state)
{
    struct options_source source = {.file = NULL};
    char roost[] = "roost", server_option[] = "--server", ca_option[160],
         token_option[] = "--token-file";
    char version[] = "version", server[64], token[160], json[] = "-o", format[] = "json";
    struct test_pki pki;
    struct daemon_child d;
    char *argv[] = {roost,     server_option, server, token_option, token,
                    ca_option, version,       json,   format,       NULL};
    char *incomplete[] = {roost, server_option, NULL};

    (void)state;
    test_pki_new(&pki);
    start_tcp(&d, &source, &pki, server);
    snprintf(token, sizeof(token), "%s", in_dir("token"));
    snprintf(ca_option, sizeof(ca_option), "--ca-file=%s", in_dir("ca"));
    assert_int_equal(cli_run(9, argv), 0);
    assert_string_equal(getenv("ROOST_SERVER"), server);
    assert_int_equal(cli_run(2, incomplete), 2);
    unsetenv("ROOST_SERVER");
    unsetenv("ROOST_TOKEN_FILE");
    unsetenv("ROOST_CA_FILE");
    assert_int_equal(daemon_child_stop(&d), 0);
    test_pki_free(&pki);
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
    tmp_dir_remove(&dir);
    return 0;
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
        cmocka_unit_test_setup_teardown(test_the_socket_is_the_users_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_socket_can_be_a_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tcp_needs_tls_and_a_token, setup, teardown),
        cmocka_unit_test_setup_teardown(test_over_tcp_with_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_command_line_asks_over_tcp, setup, teardown),
        cmocka_unit_test_setup_teardown(test_global_options_say_where, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
