/* /v1/logs and /v1/events over the real socket: their lines, their parameters, following, all of a
 * full journal in pieces, and readers that are slow or go.
 *
 * Requests are HTTP/1.0: what comes is then the lines alone, to the end of the connection.
 */
#include "base/http1.h"
#include "guest/journal.h"
#include "serve/admin.h"
#include "support/raw_client.h"
#include "support/tmp_dir.h"

#include <jansson.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static struct rig {
    char dir[64], path[80];
    struct loop *loop;
    struct journal *journal;
    struct admin *admin;
    pthread_t thread;
    struct msg msg;
    void (*fn)(void);
    sem_t called;
} rig;

static int64_t wall_now;

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return wall_now;
}

static void ready(void *ctx, admin_check *check, void *to)
{
    (void)ctx;
    check(to, "made-up", NULL);
}

static int no_list(void *ctx, json_t *array)
{
    (void)ctx;
    (void)array;
    return 0;
}

static void *run(void *arg)
{
    loop_run(arg);
    return NULL;
}

static int start(void **state)
{
    struct admin_source source = {.ready = ready, .list = no_list};
    struct clock clock = clock_real;
    struct err err = {0};

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    clock.wall_ms = wall_ms;
    wall_now = 1795214094115; /* 2026-11-20T22:34:54.115Z */
    sem_init(&rig.called, 0, 0);
    snprintf(rig.dir, sizeof(rig.dir), "%s/roost-journal-XXXXXX", tmp_base());
    if (!mkdtemp(rig.dir))
        return -1;
    snprintf(rig.path, sizeof(rig.path), "%s/s", rig.dir);
    if (loop_new(&rig.loop, &err) < 0 || journal_new(&rig.journal, rig.loop, &clock, &err) < 0)
        return -1;
    source.journal = rig.journal;
    if (admin_new(&rig.admin, rig.loop, rig.path, NULL, &source, &err) < 0)
        return -1;
    return pthread_create(&rig.thread, NULL, run, rig.loop);
}

static void call(struct msg *m)
{
    (void)m;
    rig.fn();
    sem_post(&rig.called);
}

static void on_loop(void (*fn)(void))
{
    rig.fn = fn;
    rig.msg.run = call;
    loop_post(rig.loop, &rig.msg);
    while (sem_wait(&rig.called) < 0)
        assert_int_equal(errno, EINTR);
}

static void end_admin(void)
{
    admin_free(rig.admin);
    loop_stop(rig.loop);
}

static void end_server(void)
{
    on_loop(end_admin);
    assert_int_equal(pthread_join(rig.thread, NULL), 0);
}

static int stop(void **state)
{
    (void)state;
    journal_free(rig.journal);
    loop_free(rig.loop);
    sem_destroy(&rig.called);
    return rmdir(rig.dir);
}

static int get(const char *target)
{
    char request[256];
    int fd = raw_dial(rig.path);

    snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", target);
    raw_put(fd, request);
    return fd;
}

/* The body of an answer that ends by itself. */
static const char *body_of(struct buf *b)
{
    const char *end = strstr(buf_cstr(b), "\r\n\r\n");

    assert_non_null(end);
    return end + 4;
}

static const char *ask(struct buf *b, const char *target)
{
    b->len = 0;
    raw_drain(get(target), b);
    return body_of(b);
}

/* Reads on until text is there. */
static void read_until(int fd, struct buf *b, const char *text)
{
    while (!buf_cstr(b) || !strstr(buf_cstr(b), text))
        assert_true(raw_more(fd, b));
}

static void log_some(void)
{
    static const char bytes[] = "\"q\" \xff\n\xc3\xa9";

    journal_line(rig.journal, "ns/a", JOURNAL_STDOUT, LOG_INFO, 0, "one", 3);
    wall_now += 1000;
    journal_line(rig.journal, "ns/b", JOURNAL_STDERR, LOG_WARN, 0, bytes, sizeof(bytes) - 1);
    wall_now += 1000;
    journal_line(rig.journal, "ns/a", JOURNAL_LOG, LOG_ERROR, 3, "two", 3);
}

#define ONE                                                                                        \
    "{\"time\":\"2026-11-20T22:34:54.115Z\",\"namespace\":\"ns\",\"name\":\"a\","                  \
    "\"stream\":\"stdout\",\"level\":\"info\",\"text\":\"one\"}\n"
#define BYTES                                                                                      \
    "{\"time\":\"2026-11-20T22:34:55.115Z\",\"namespace\":\"ns\",\"name\":\"b\","                  \
    "\"stream\":\"stderr\",\"level\":\"warn\",\"text\":\"\\\"q\\\" \\ufffd\\n\xc3\xa9\"}\n"
#define TWO                                                                                        \
    "{\"time\":\"2026-11-20T22:34:56.115Z\",\"namespace\":\"ns\",\"name\":\"a\","                  \
    "\"stream\":\"log\",\"level\":\"error\",\"text\":\"two\",\"dropped\":3}\n"

static void test_logs_and_their_parameters(void **state)
{
    AUTO_BUF struct buf b = {0};

    (void)state;
    assert_string_equal(ask(&b, "/v1/logs"), "");
    log_some();
    assert_string_equal(ask(&b, "/v1/logs"), ONE BYTES TWO);
    assert_non_null(strstr(buf_cstr(&b), "\r\nContent-Type: application/x-ndjson\r\n"));
    assert_string_equal(ask(&b, "/v1/logs?namespace=ns&name=a"), ONE TWO);
    assert_string_equal(ask(&b, "/v1/logs?name=b"), BYTES);
    assert_string_equal(ask(&b, "/v1/logs?namespace=other"), "");
    assert_string_equal(ask(&b, "/v1/logs?tail=1"), TWO);
    assert_string_equal(ask(&b, "/v1/logs?tail=0"), "");
    assert_string_equal(ask(&b, "/v1/logs?tail=1&name=b"), BYTES);
    assert_string_equal(ask(&b, "/v1/logs?since=2026-11-20T22:34:55Z"), BYTES TWO);
    assert_string_equal(ask(&b, "/v1/logs?since=2026-11-20T23:34:56%2B01:00"), TWO);
    end_server();
}

static void event_some(void)
{
    journal_event(rig.journal, JOURNAL_WOKEN, "ns/a", "ns/key");
    journal_event(rig.journal, JOURNAL_TRAPPED, "ns/b", "un\"reachable");
    wall_now += 1000;
    journal_event(rig.journal, JOURNAL_WOKEN, "ns/a", "ns/key");
}

#define TRAPPED                                                                                    \
    "{\"time\":\"2026-11-20T22:34:54.115Z\",\"firstTime\":\"2026-11-20T22:34:54.115Z\","           \
    "\"type\":\"Warning\",\"reason\":\"Trapped\",\"namespace\":\"ns\",\"name\":\"b\","             \
    "\"message\":\"un\\\"reachable\",\"count\":1}\n"
#define WOKEN                                                                                      \
    "{\"time\":\"2026-11-20T22:34:55.115Z\",\"firstTime\":\"2026-11-20T22:34:54.115Z\","           \
    "\"type\":\"Normal\",\"reason\":\"Woken\",\"namespace\":\"ns\",\"name\":\"a\","                \
    "\"message\":\"event of ns/key\",\"count\":2}\n"

static void test_events_and_their_parameters(void **state)
{
    AUTO_BUF struct buf b = {0};

    (void)state;
    assert_string_equal(ask(&b, "/v1/events"), "");
    on_loop(event_some);
    assert_string_equal(ask(&b, "/v1/events"), TRAPPED WOKEN);
    assert_string_equal(ask(&b, "/v1/events?namespace=ns&name=b"), TRAPPED);
    assert_string_equal(ask(&b, "/v1/events?tail=1"), WOKEN);
    assert_string_equal(ask(&b, "/v1/events?since=2026-11-20T22:34:55Z"), WOKEN);
    end_server();
}

static void test_malformed_parameters(void **state)
{
    static const char *const targets[] = {
        "/v1/logs?tail=x",     "/v1/logs?tail=4294967296", "/v1/events?since=yesterday",
        "/v1/logs?follow=yes", "/v1/events?names=a",       "/v1/logs?since=2026-11-20"};
    AUTO_BUF struct buf b = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        b.len = 0;
        raw_drain(get(targets[i]), &b);
        if (!strstr(buf_cstr(&b), "HTTP/1.1 400 Bad Request\r\n"))
            fail_msg("%s: %s", targets[i], buf_cstr(&b));
    }
    end_server();
}

/* What is there, then what comes, until the server ends: then the answer ends too. */
static void test_following(void **state)
{
    AUTO_BUF struct buf logs = {0}, events = {0};
    int log_fd, event_fd;

    (void)state;
    journal_line(rig.journal, "ns/a", JOURNAL_STDOUT, LOG_INFO, 0, "one", 3);
    log_fd = get("/v1/logs?follow=1&namespace=ns");
    event_fd = get("/v1/events?follow=1");
    read_until(log_fd, &logs, "\"one\"");
    journal_line(rig.journal, "other/a", JOURNAL_STDOUT, LOG_INFO, 0, "not its own", 11);
    journal_line(rig.journal, "ns/b", JOURNAL_STDOUT, LOG_INFO, 0, "live", 4);
    read_until(log_fd, &logs, "\"live\"");
    read_until(event_fd, &events, "\r\n\r\n");
    on_loop(event_some);
    read_until(event_fd, &events, TRAPPED WOKEN);
    on_loop(event_some);
    read_until(event_fd, &events, "\"message\":\"event of ns/key\",\"count\":4}\n");
    end_server();
    raw_drain(log_fd, &logs);
    raw_drain(event_fd, &events);
    assert_null(strstr(buf_cstr(&logs), "not its own"));
}

static size_t count_lines(const char *text)
{
    size_t n = 0;

    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

/* In the first line. (Under sanitizers strstr looks at all of what it is given.) */
static unsigned long number_behind(const char *lines, const char *what)
{
    char line[512];
    const char *at;

    snprintf(line, sizeof(line), "%.*s", (int)strcspn(lines, "\n"), lines);
    at = strstr(line, what);
    assert_non_null(at);
    return strtoul(at + strlen(what), NULL, 10);
}

/* 4 MiB of lines pass through a stream whose backlog is 256 KiB. */
static void test_all_of_a_full_journal(void **state)
{
    AUTO_BUF struct buf b = {0};
    struct journal_stats st;
    char id[32], text[64];
    const char *line;

    (void)state;
    for (unsigned i = 0; i < JOURNAL_BYTES_MAX / 64; i++) {
        snprintf(id, sizeof(id), "ns/guest-%u", i % 1000);
        snprintf(text, sizeof(text), "number %u of all", i);
        journal_line(rig.journal, id, JOURNAL_LOG, LOG_INFO, 0, text, strlen(text));
    }
    line = ask(&b, "/v1/logs");
    journal_stats(rig.journal, &st);
    assert_int_equal(count_lines(line), st.lines);
    for (unsigned long n = number_behind(line, "number "); st.lines > 0; n++, st.lines--) {
        assert_int_equal(number_behind(line, "number "), n);
        line = strchr(line, '\n') + 1;
    }
    end_server();
}

static void *log_much(void *arg)
{
    char text[512];

    memset(text, 'x', sizeof(text));
    for (unsigned i = 0; i < 3 * JOURNAL_BYTES_MAX / sizeof(text); i++) {
        char id[32];

        snprintf(id, sizeof(id), "ns/guest-%u", i % 100);
        journal_line(rig.journal, id, JOURNAL_LOG, LOG_INFO, 0, text, sizeof(text));
    }
    return arg;
}

/* Who does not read holds up nobody, and hears of what it missed when it does. */
static void test_slow_reader_is_told_of_the_gap(void **state)
{
    AUTO_BUF struct buf b = {0};
    pthread_t thread;
    int fd;

    (void)state;
    journal_line(rig.journal, "ns/a", JOURNAL_LOG, LOG_INFO, 0, "first", 5);
    fd = get("/v1/logs?follow=1");
    read_until(fd, &b, "first");
    assert_int_equal(pthread_create(&thread, NULL, log_much, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    journal_line(rig.journal, "ns/a", JOURNAL_LOG, LOG_INFO, 0, "last", 4);
    read_until(fd, &b, "\"last\"");
    assert_non_null(strstr(buf_cstr(&b), "\"namespace\":\"\",\"name\":\"\",\"stream\":\"log\","
                                         "\"level\":\"warn\",\"text\":\"lines are missing here"));
    end_server();
    close(fd);
}

static void test_reader_that_goes(void **state)
{
    AUTO_BUF struct buf b = {0};
    int fd;

    (void)state;
    for (unsigned i = 0; i < 2 * HTTP1_STREAMS_MAX; i++) {
        b.len = 0;
        do { /* until the server has seen that the one before went */
            b.len = 0;
            fd = get("/v1/logs?follow=1");
            read_until(fd, &b, "\r\n\r\n");
            close(fd);
        } while (strstr(buf_cstr(&b), " 503 "));
    }
    log_some();
    assert_string_equal(ask(&b, "/v1/logs"), ONE BYTES TWO);
    end_server();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_logs_and_their_parameters), TEST(test_events_and_their_parameters),
        TEST(test_malformed_parameters),      TEST(test_following),
        TEST(test_all_of_a_full_journal),     TEST(test_slow_reader_is_told_of_the_gap),
        TEST(test_reader_that_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
