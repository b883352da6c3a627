/* cli: the verbs that change something or follow a stream, against canned answers: what they ask,
 * what they print, how they end.
 */
#include "cli/cli.h"
#include "support/api_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct outcome {
    int status;
    char *out, *errors;
};

/* words: separated by single blanks; '~' is the folder of the fake. */
static void run(struct outcome *o, const struct api_fake *f, const char *words)
{
    char line[1024] = "", *argv[32], *save = NULL;
    size_t out_len, errors_len, len = 0;
    FILE *real_out = stdout, *real_errors = stderr;
    int argc = 0;

    for (const char *p = words; *p && len + 80 < sizeof(line); p++)
        len += (size_t)snprintf(line + len, sizeof(line) - len, *p == '~' ? "%s" : "%.1s",
                                *p == '~' ? f->dir : p);
    for (char *w = strtok_r(line, " ", &save); w && argc < 31; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    argv[argc] = NULL;
    stdout = open_memstream(&o->out, &out_len);
    stderr = open_memstream(&o->errors, &errors_len);
    o->status = cli_run(argc, argv);
    fclose(stdout);
    fclose(stderr);
    stdout = real_out;
    stderr = real_errors;
}

static void expect(const struct api_fake *f, const char *words, int status, const char *out,
                   const char *errors)
{
    struct outcome o = {0};

    run(&o, f, words);
    assert_string_equal(o.errors, errors);
    assert_string_equal(o.out, out);
    assert_int_equal(o.status, status);
    free(o.out);
    free(o.errors);
}

static void finish(struct api_fake *f, const char *asked)
{
    assert_int_equal(api_fake_stop(f), 0);
    assert_string_equal(buf_cstr(&f->log), asked);
    buf_free(&f->log);
}

/* --- logs --- */

static const char two_lines[] =
    "{\"time\":\"2026-11-20T22:34:54.115Z\",\"namespace\":\"a\",\"name\":\"g\",\"stream\":\"log\","
    "\"level\":\"info\",\"text\":\"hello \\u001b[31m\"}\n"
    "{\"time\":\"2026-11-20T22:34:55.115Z\",\"namespace\":\"a\",\"name\":\"g\",\"stream\":\"log\","
    "\"level\":\"error\",\"text\":\"bye\",\"dropped\":7}\n";

static void test_logs(void **state)
{
    struct api_fake f = {
        .answers = {
            {HTTP1_GET, "/v1/logs?namespace=a&name=g", .body = two_lines, .stream = true},
            {HTTP1_GET, "/v1/logs?namespace=a&name=g&follow=1&tail=2", .body = two_lines,
             .stream = true},
            {HTTP1_GET, "/v1/logs?namespace=a&name=quiet", .body = "", .stream = true},
            {HTTP1_GET, "/v1/logs?namespace=a&name=none", .body = "", .stream = true},
            {HTTP1_GET, "/v1/logs?since=2026-01-31T12%3A00%3A00Z", .body = "", .stream = true},
            {HTTP1_GET, "/v1/guests/a/g", .body = "{}"},
            {HTTP1_GET, "/v1/guests/a/quiet", .body = "{}"},
        }};

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    expect(&f, "roost logs a/g", 0,
           "2026-11-20T22:34:54.115Z info  a/g: hello ?[31m\n"
           "2026-11-20T22:34:55.115Z warn  a/g: 7 lines were left out here\n"
           "2026-11-20T22:34:55.115Z error a/g: bye\n",
           "");
    expect(&f, "roost logs guest g -n a -f --tail 2 -o json", 0,
           "{\"time\":\"2026-11-20T22:34:54.115Z\",\"namespace\":\"a\",\"name\":\"g\",\"stream\":"
           "\"log\",\"level\":\"info\",\"text\":\"hello \\u001B[31m\"}\n"
           "{\"time\":\"2026-11-20T22:34:55.115Z\",\"namespace\":\"a\",\"name\":\"g\",\"stream\":"
           "\"log\",\"level\":\"error\",\"text\":\"bye\",\"dropped\":7}\n",
           "");
    expect(&f, "roost logs a/quiet", 0, "", "");
    expect(&f, "roost logs a/none", 4, "",
           "roost: guest a/none: there is none (see `roost get guests`)\n");
    expect(&f, "roost logs -f a/none", 4, "",
           "roost: guest a/none: there is none (see `roost get guests`)\n");
    expect(&f, "roost logs --since 2026-01-31T12:00:00Z", 0, "", "");
    expect(&f, "roost logs a/g b/h", 2, "", "roost: logs takes one guest, and b/h is one more\n");
    expect(&f, "roost logs --tail -1", 2, "", "roost: --tail -1: a number from 0 to 1000000\n");
    expect(&f, "roost logs --tail +1", 2, "", "roost: --tail +1: a number from 0 to 1000000\n");
    expect(&f, "roost logs --tail 1000001", 2, "",
           "roost: --tail 1000001: a number from 0 to 1000000\n");
    expect(&f, "roost logs --since yesterday", 2, "",
           "roost: --since yesterday: a duration such as 90s or 5m, or a time such as "
           "2026-01-31T12:00:00Z\n");
    finish(&f, "GET /v1/logs?namespace=a&name=g\n"
               "GET /v1/guests/a/g\n"
               "GET /v1/logs?namespace=a&name=g&follow=1&tail=2\n"
               "GET /v1/logs?namespace=a&name=quiet\n"
               "GET /v1/guests/a/quiet\n"
               "GET /v1/logs?namespace=a&name=none\n"
               "GET /v1/guests/a/none\n"
               "GET /v1/guests/a/none\n"
               "GET /v1/logs?since=2026-01-31T12%3A00%3A00Z\n");
}

/* "5m" is that long ago. */
static void test_since_a_duration(void **state)
{
    struct api_fake f = {
        .answers = {{HTTP1_GET, "/v1/events?since=2*", .body = "", .stream = true}}};

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    expect(&f, "roost events --since 5m", 0, "", "There are no events.\n");
    assert_int_equal(api_fake_stop(&f), 0);
    assert_non_null(strstr(buf_cstr(&f.log), "Z\n"));
    buf_free(&f.log);
}

static void test_a_stream_that_was_cut(void **state)
{
    struct api_fake f = {
        .answers = {{HTTP1_GET, "/v1/logs", .body = "{\"error\":\"the client is too slow\"}\n",
                     .stream = true, .times = 1},
                    {HTTP1_GET, "/v1/logs", .body = "nonsense\n", .stream = true, .times = 1},
                    {HTTP1_GET, "/v1/logs", 503, .body = "{\"detail\":\"there are 32 streams\"}"}}};

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    expect(&f, "roost logs", 12, "",
           "roost: the daemon ended the stream: the client is too slow\n");
    expect(&f, "roost logs", 10, "", "roost: the daemon sends a line that is no JSON object\n");
    expect(&f, "roost logs", 12, "",
           "roost: the daemon answers 503 Service Unavailable: there are 32 streams\n");
    finish(&f, "GET /v1/logs\nGET /v1/logs\nGET /v1/logs\n");
}

/* --- events --- */

static const char two_events[] =
    "{\"time\":\"2026-11-20T22:34:54.115Z\",\"type\":\"Normal\",\"reason\":\"Woken\",\"namespace\":"
    "\"a\",\"name\":\"g\",\"message\":\"event of a/x\",\"count\":3}\n"
    "{\"time\":\"2026-11-20T22:34:55.115Z\",\"type\":\"Normal\",\"reason\":\"Skipped\","
    "\"namespace\":\"\",\"name\":\"\",\"message\":\"some are missing\",\"count\":1}\n";

static void test_events(void **state)
{
    struct api_fake f = {
        .answers = {{HTTP1_GET, "/v1/events", .body = two_events, .stream = true},
                    {HTTP1_GET, "/v1/events?follow=1", .body = two_events, .stream = true}}};

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    expect(&f, "roost events", 0,
           "TIME                       TYPE     REASON    GUEST   COUNT   MESSAGE\n"
           "2026-11-20T22:34:54.115Z   Normal   Woken     a/g     3       event of a/x\n"
           "2026-11-20T22:34:55.115Z   Normal   Skipped   -       1       some are missing\n",
           "");
    expect(&f, "roost events -f", 0,
           "TIME                       TYPE      REASON        GUEST                      COUNT   "
           "MESSAGE\n"
           "2026-11-20T22:34:54.115Z   Normal    Woken         a/g                            3   "
           "event of a/x\n"
           "2026-11-20T22:34:55.115Z   Normal    Skipped       -                              1   "
           "some are missing\n",
           "");
    expect(&f, "roost events -o yaml", 0,
           "items:\n- time: \"2026-11-20T22:34:54.115Z\"\n  type: Normal\n  reason: Woken\n"
           "  namespace: a\n  name: g\n  message: event of a/x\n  count: 3\n"
           "- time: \"2026-11-20T22:34:55.115Z\"\n  type: Normal\n  reason: Skipped\n"
           "  namespace: \"\"\n  name: \"\"\n  message: some are missing\n  count: 1\n",
           "");
    finish(&f, "GET /v1/events\nGET /v1/events?follow=1\nGET /v1/events\n");
}

/* --- get --watch --- */

static void test_watch(void **state)
{
    static const char changes[] =
        "{\"type\":\"ADDED\",\"object\":{\"namespace\":\"b\",\"name\":\"two\",\"state\":\"Cold\"}}"
        "\n"
        "{\"type\":\"ADDED\",\"object\":{\"namespace\":\"a\",\"name\":\"one\",\"state\":\"Cold\"}}"
        "\n"
        "{\"type\":\"SYNCED\"}\n"
        "{\"type\":\"MODIFIED\",\"object\":{\"namespace\":\"a\",\"name\":\"one\",\"state\":"
        "\"Awake\"}}\n"
        "{\"type\":\"DELETED\",\"object\":{\"namespace\":\"b\",\"name\":\"two\",\"state\":\"Cold\"}"
        "}\n";
    struct api_fake f = {
        .answers = {{HTTP1_GET, "/v1/guests?watch=1", .body = changes, .stream = true},
                    {HTTP1_GET, "/v1/guests?namespace=a&watch=1", .body = changes, .stream = true},
                    {HTTP1_GET, "/v1/guests?namespace=a&labelSelector=x%3Dy%2C%21z&watch=1",
                     .body = "{\"type\":\"SYNCED\"}\n", .stream = true}}};

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    expect(&f, "roost get guests -w", 0,
           "NAMESPACE   NAME   STATE   WAKES   EVENTS   FAILURES   MEMORY   SNAPSHOT   AGE   "
           "MESSAGE\n"
           "a           one    Cold    0       0        0          -        -          -\n"
           "b           two    Cold    0       0        0          -        -          -\n"
           "a           one    Awake   0       0        0          -        -          -\n"
           "b           two    Deleted   0       0        0          -        -          -\n",
           "");
    expect(&f, "roost get guests -w -o name", 0, "a/one\nb/two\na/one\nb/two\n", "");
    expect(
        &f, "roost get a/one -w -o yaml", 0,
        "---\nnamespace: a\nname: one\nstate: Cold\n---\nnamespace: a\nname: one\nstate: Awake\n",
        "");
    expect(&f, "roost get guests -n a -l x=y,!z -w", 0,
           "NAMESPACE   NAME   STATE   WAKES   EVENTS   FAILURES   MEMORY   SNAPSHOT   AGE   "
           "MESSAGE\n",
           "");
    finish(&f,
           "GET /v1/guests?watch=1\nGET /v1/guests?watch=1\nGET /v1/guests?namespace=a&watch=1\n"
           "GET /v1/guests?namespace=a&labelSelector=x%3Dy%2C%21z&watch=1\n");
}

/* --- apply --- */

static void write_file(const struct api_fake *f, const char *name, const char *text)
{
    char path[256];
    FILE *out;

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    out = fopen(path, "we");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void remove_file(const struct api_fake *f, const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    assert_int_equal(unlink(path), 0);
}

static const char guest_yaml[] = "apiVersion: roost.dev/v1alpha1\nkind: Guest\n"
                                 "metadata: {name: g, namespace: a}\n"
                                 "spec: {module: \"file:m.wasm\"}\n";

/* What was asked begins so; the digest is that of the module's bytes. */
static void expect_asked(struct api_fake *f, const char *const *parts)
{
    const char *at;

    assert_int_equal(api_fake_stop(f), 0);
    at = buf_cstr(&f->log);
    assert_non_null(at);
    for (size_t i = 0; parts[i]; i++) {
        const char *found = strstr(at, parts[i]);

        if (!found)
            fail_msg("not asked: %s, in: %s", parts[i], (const char *)f->log.data);
        at = found ? found + strlen(parts[i]) : at;
    }
    buf_free(&f->log);
}

static void test_apply(void **state)
{
    static const char *const asked[] = {
        "HEAD /v1/modules/sha256:", "\nPUT /v1/modules/sha256:", " bytes of a module\n",
        "POST /v1/apply {\"dryRun\":false,\"files\":[{\"name\":\"", "/guest.yaml\",\"text\":\"api",
        "\"modules\":{\"file:m.wasm\":\"sha256:", "\"}}]}\n",
        /* known now */
        "HEAD /v1/modules/sha256:", "POST /v1/apply {\"dryRun\":false",
        "POST /v1/apply {\"dryRun\":true", NULL};
    struct api_fake f = {
        .answers = {{HTTP1_HEAD, "/v1/modules/*", .status = 404, .times = 1},
                    {HTTP1_HEAD, "/v1/modules/*", .status = 200},
                    {HTTP1_PUT, "/v1/modules/*", .status = 201},
                    {HTTP1_POST, "/v1/apply",
                     .body = "{\"results\":[{\"namespace\":\"a\",\"name\":\"g\",\"result\":"
                             "\"created\"}]}"}}};

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    write_file(&f, "guest.yaml", guest_yaml);
    write_file(&f, "m.wasm", "bytes of a module");
    expect(&f, "roost apply -f ~/guest.yaml", 0, "guest a/g created\n", "");
    expect(&f, "roost apply -f ~ -o name", 0, "a/g\n", "");
    expect(&f, "roost apply -f ~ --dry-run", 0, "guest a/g created (dry run)\n", "");
    remove_file(&f, "m.wasm");
    remove_file(&f, "guest.yaml");
    expect_asked(&f, asked);
}

static void test_apply_and_mistakes(void **state)
{
    struct api_fake f = {
        .answers = {{HTTP1_POST, "/v1/apply", 422,
                     .body =
                         "{\"detail\":\"2 mistakes\",\"errors\":[{\"file\":\"x.yaml\",\"line\":7,"
                         "\"field\":\"spec.sleeep\",\"message\":\"unknown field\"},"
                         "{\"file\":\"\",\"line\":0,\"field\":\"\",\"message\":\"no\"}]}",
                     .times = 1},
                    {HTTP1_POST, "/v1/apply", 409, .body = "{\"detail\":\"is the folder's\"}"}}};
    char message[512];

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    write_file(&f, "a.yml", "metadata: {name: g}\n");
    expect(&f, "roost apply -f ~/a.yml", 3, "",
           "x.yaml:7: spec.sleeep: unknown field\nno\nroost: 2 errors, and nothing was applied\n");
    expect(&f, "roost apply -f ~/a.yml", 5, "",
           "roost: the daemon answers 409 Conflict: is the folder's\n");
    write_file(&f, "a.yml", "spec: {module: \"file:none.wasm\"}\n");
    snprintf(
        message, sizeof(message),
        "roost: %s/a.yml:1: spec.module: module %s/none.wasm: open: No such file or directory\n",
        f.dir, f.dir);
    expect(&f, "roost apply -f ~/a.yml", 4, "", message);
    write_file(&f, "a.yml", "a: \xff\n");
    snprintf(message, sizeof(message), "roost: %s/a.yml: no UTF-8 text\n", f.dir);
    expect(&f, "roost apply -f ~/a.yml", 3, "", message);
    remove_file(&f, "a.yml");
    snprintf(message, sizeof(message), "roost: %s: has no *.yaml, *.yml or *.json\n", f.dir);
    expect(&f, "roost apply -f ~", 4, "", message);
    expect(&f, "roost apply -f /nowhere.yaml", 4, "",
           "roost: /nowhere.yaml: No such file or directory\n");
    expect(&f, "roost apply", 2, "", "roost: apply what? (-f FILE, a folder, or - for stdin)\n");
    expect(&f, "roost apply x.yaml", 2, "", "roost: apply takes files by -f: -f x.yaml\n");
    expect(&f, "roost apply -f - -f -", 2, "", "roost: -f -: there is one stdin\n");
    assert_int_equal(api_fake_stop(&f), 0);
    buf_free(&f.log);
}

/* --- delete, sleep, wake --- */

static void test_delete(void **state)
{
    struct api_fake f = {
        .answers = {
            {HTTP1_DELETE, "/v1/guests/a/one", .body = "{\"result\":\"deleted\"}"},
            {HTTP1_DELETE, "/v1/guests/a/dirs", 409, .body = "{\"detail\":\"remove d.yaml\"}"},
            {HTTP1_GET, "/v1/guests/a/one", .body = "{}", .times = 1},
            {HTTP1_GET, "/v1/guests?namespace=a",
             .body = "{\"items\":[{\"namespace\":\"a\",\"name\":\"one\"},"
                     "{\"namespace\":\"\",\"name\":\"\"}]}"}}};

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    expect(&f, "roost delete a/one", 0, "guest a/one deleted\n", "");
    expect(&f, "roost delete one -n a --wait", 0, "guest a/one deleted\n", "");
    expect(&f, "roost delete a/none a/dirs a/one", 5, "guest a/one deleted\n",
           "roost: guest a/none: there is none (see `roost get guests`)\n"
           "roost: guest a/dirs: the daemon answers 409 Conflict: remove d.yaml\n");
    expect(&f, "roost delete a/none --ignore-not-found", 0, "", "");
    expect(&f, "roost delete --all -n a", 0, "guest a/one deleted\n", "");
    write_file(&f, "g.yaml", "metadata: {name: one, namespace: a}\n---\nmetadata: {name: d}\n");
    expect(&f, "roost delete -f ~/g.yaml", 4, "guest a/one deleted\n",
           "roost: guest default/d: there is none (see `roost get guests`)\n");
    remove_file(&f, "g.yaml");
    expect(&f, "roost delete", 2, "", "roost: delete what? (a name, -l SELECTOR or --all)\n");
    expect(&f, "roost delete --all", 2, "",
           "roost: --all: in which namespace? (-n NAME, or -A for all)\n");
    expect(&f, "roost delete a/one --all", 2, "", "roost: names, -l or --all: one of them\n");
    expect(&f, "roost delete a/one -f /nowhere.yaml", 2, "",
           "roost: names, -f, -l or --all: one of them\n");
    finish(&f, "DELETE /v1/guests/a/one\n"
               "DELETE /v1/guests/a/one\nGET /v1/guests/a/one\nGET /v1/guests/a/one\n"
               "DELETE /v1/guests/a/none\nDELETE /v1/guests/a/dirs\nDELETE /v1/guests/a/one\n"
               "DELETE /v1/guests/a/none\n"
               "GET /v1/guests?namespace=a\nDELETE /v1/guests/a/one\n"
               "DELETE /v1/guests/a/one\nDELETE /v1/guests/default/d\n");
}

static void test_sleep_and_wake(void **state)
{
    struct api_fake f = {
        .answers = {{HTTP1_POST, "/v1/guests/a/one/sleep", .body = "{\"state\":\"Asleep\"}"},
                    {HTTP1_POST, "/v1/guests/a/one/wake", .body = "{\"state\":\"Awake\"}"},
                    {HTTP1_POST, "/v1/guests/a/never/sleep", 409,
                     .body = "{\"detail\":\"it never sleeps\"}"},
                    {HTTP1_GET, "/v1/guests?labelSelector=t%3Dx", .body = "{\"items\":[]}"}}};

    (void)state;
    assert_int_equal(api_fake_start(&f), 0);
    expect(&f, "roost sleep a/one", 0, "guest a/one Asleep\n", "");
    expect(&f, "roost wake guest one -n a", 0, "guest a/one Awake\n", "");
    expect(&f, "roost sleep a/never", 12, "",
           "roost: guest a/never: the daemon answers 409 Conflict: it never sleeps\n");
    expect(&f, "roost wake -A -l t=x", 0, "", "There are no such guests.\n");
    expect(&f, "roost wake -l t=x", 2, "",
           "roost: -l: in which namespace? (-n NAME, or -A for all)\n");
    finish(&f, "POST /v1/guests/a/one/sleep\nPOST /v1/guests/a/one/wake\n"
               "POST /v1/guests/a/never/sleep\nGET /v1/guests?labelSelector=t%3Dx\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logs),
        cmocka_unit_test(test_since_a_duration),
        cmocka_unit_test(test_a_stream_that_was_cut),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_apply_and_mistakes),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_sleep_and_wake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
