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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logs),
        cmocka_unit_test(test_since_a_duration),
        cmocka_unit_test(test_a_stream_that_was_cut),
        cmocka_unit_test(test_events),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
