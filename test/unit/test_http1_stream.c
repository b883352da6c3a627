/* base/http1_stream: what is pushed arrives as chunks, whole lines at a time; who reads too slowly
 * is cut and told; the owner hears once that a stream is gone, never from within a push; limits.
 *
 * The server runs on its own thread; `on_loop` calls a function there and waits for it.
 */
#include "base/http1.h"
#include "support/raw_client.h"
#include "support/tmp_dir.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static char dir[64], path[80];

static struct rig {
    struct loop *loop;
    struct http1_server *server;
    pthread_t thread;
    struct msg msg;
    void (*fn)(struct rig *r);
    sem_t called, gone, drained;
    unsigned ngone, in_push; /* loop thread */
    struct http1_stream *stream;
    const char *text; /* what the functions below push */
    unsigned long times;
    int rc;
} rig;

static void drained(void *ctx)
{
    struct rig *r = ctx;

    assert_int_equal(r->in_push, 0);
    sem_post(&r->drained);
}

static void gone(void *ctx)
{
    struct rig *r = ctx;

    assert_int_equal(r->in_push, 0);
    r->ngone++;
    r->stream = NULL;
    sem_post(&r->gone);
}

static void handler(void *ctx, const struct http1_request *req, struct http1_response *res)
{
    static const struct http1_stream_owner owner = {drained, gone};
    struct rig *r = ctx;

    if (strcmp(req->path, "/plain") == 0) {
        assert_int_equal(buf_puts(&res->body, "plain", NULL), 0);
        return;
    }
    if (http1_stream_open(&r->stream, req, res, "application/x-ndjson", &owner, r) < 0 ||
        !r->stream)
        return;
    if (strcmp(req->path, "/hello") == 0)
        assert_int_equal(http1_stream_push(r->stream, "hello\n", 6), 0);
    if (strcmp(req->path, "/done") == 0) {
        assert_int_equal(http1_stream_push(r->stream, "done\n", 5), 0);
        http1_stream_end(r->stream);
    }
    if (strcmp(req->path, "/empty") == 0)
        http1_stream_end(r->stream);
}

static void *run(void *arg)
{
    loop_run(((struct rig *)arg)->loop);
    return NULL;
}

static void start(const struct http1_options *opts)
{
    struct err err = {0};

    rig = (struct rig){0};
    sem_init(&rig.called, 0, 0);
    sem_init(&rig.gone, 0, 0);
    sem_init(&rig.drained, 0, 0);
    if (loop_new(&rig.loop, &err) < 0 ||
        http1_serve_unix(&rig.server, rig.loop, path, opts, handler, &rig, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(pthread_create(&rig.thread, NULL, run, &rig), 0);
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) < 0)
        assert_int_equal(errno, EINTR);
}

static void call(struct msg *m)
{
    struct rig *r = container_of(m, struct rig, msg);

    r->fn(r);
    sem_post(&r->called);
}

static void on_loop(void (*fn)(struct rig *r))
{
    rig.fn = fn;
    rig.msg.run = call;
    loop_post(rig.loop, &rig.msg);
    wait_for(&rig.called);
}

static void stop_server(struct rig *r)
{
    http1_server_free(r->server);
    loop_stop(r->loop);
}

static void stop(void)
{
    on_loop(stop_server);
    assert_int_equal(pthread_join(rig.thread, NULL), 0);
    loop_free(rig.loop);
    sem_destroy(&rig.called);
    sem_destroy(&rig.gone);
    sem_destroy(&rig.drained);
}

static void push(struct rig *r)
{
    r->in_push = 1;
    r->rc = -1;
    for (unsigned long i = 0; r->stream && i < r->times; i++)
        r->rc = http1_stream_push(r->stream, r->text, strlen(r->text));
    r->in_push = 0;
}

static int push_times(const char *text, unsigned long times)
{
    rig.text = text;
    rig.times = times;
    on_loop(push);
    return rig.rc;
}

static int get(const char *target, const char *version)
{
    char request[128];
    int fd = raw_dial(path);

    snprintf(request, sizeof(request), "GET %s HTTP/%s\r\nHost: x\r\n\r\n", target, version);
    raw_put(fd, request);
    return fd;
}

/* Reads on until text is there. */
static void read_until(int fd, struct buf *out, const char *text)
{
    while (!buf_cstr(out) || !strstr(buf_cstr(out), text))
        assert_true(raw_more(fd, out));
}

#define HEAD_OF_STREAM                                                                             \
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"      \
    "Cache-Control: no-store\r\nConnection: close\r\n\r\n"

/* The chunks' contents; the answer must be framed to the last byte. */
static void unchunk(struct buf *answer, struct buf *out)
{
    const char *p = buf_cstr(answer), *end = p + answer->len;

    assert_memory_equal(p, HEAD_OF_STREAM, strlen(HEAD_OF_STREAM));
    p += strlen(HEAD_OF_STREAM);
    for (;;) {
        char *after;
        size_t n = strtoul(p, &after, 16);

        assert_true(after > p && memcmp(after, "\r\n", 2) == 0);
        p = after + 2;
        assert_true((size_t)(end - p) >= n + 2);
        assert_int_equal(buf_append(out, p, n, NULL), 0);
        p += n;
        assert_memory_equal(p, "\r\n", 2);
        p += 2;
        if (n == 0)
            break;
    }
    assert_ptr_equal(p, end);
    assert_non_null(buf_cstr(out));
}

static void end_stream(struct rig *r)
{
    http1_stream_end(r->stream);
}

static void cut_stream(struct rig *r)
{
    http1_stream_cut(r->stream, "because");
    assert_int_equal(http1_stream_push(r->stream, "late\n", 5), -1);
    assert_int_equal(http1_stream_room(r->stream), 0);
}

static void count(struct rig *r)
{
    r->rc = (int)http1_server_streams(r->server);
}

static int streams(void)
{
    on_loop(count);
    return rig.rc;
}

/* --- tests --- */

static void test_lines_arrive_while_it_is_open(void **state)
{
    AUTO_BUF struct buf b = {0}, lines = {0};
    int fd;

    (void)state;
    start(NULL);
    fd = get("/hello", "1.1");
    read_until(fd, &b, "6\r\nhello\n\r\n");
    assert_int_equal(push_times("one\n", 1), 0);
    read_until(fd, &b, "4\r\none\n\r\n");
    assert_int_equal(push_times("two\n", 3), 0); /* in one turn: one chunk */
    read_until(fd, &b, "c\r\ntwo\ntwo\ntwo\n\r\n");
    on_loop(end_stream);
    raw_drain(fd, &b);
    unchunk(&b, &lines);
    assert_string_equal(buf_cstr(&lines), "hello\none\ntwo\ntwo\ntwo\n");
    assert_int_equal(streams(), 0);
    assert_int_equal(rig.ngone, 0); /* its owner has ended it */
    stop();
}

static void test_ended_by_the_handler(void **state)
{
    static const struct {
        const char *target, *version, *answer;
    } cases[] = {
        {"/done", "1.1", HEAD_OF_STREAM "5\r\ndone\n\r\n0\r\n\r\n"},
        {"/empty", "1.1", HEAD_OF_STREAM "0\r\n\r\n"},
        {"/done", "1.0",
         "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nCache-Control: no-store\r\n"
         "Connection: close\r\n\r\ndone\n"},
        {"/empty", "1.0",
         "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nCache-Control: no-store\r\n"
         "Connection: close\r\n\r\n"},
    };

    (void)state;
    start(NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_BUF struct buf b = {0};

        raw_drain(get(cases[i].target, cases[i].version), &b);
        assert_string_equal(buf_cstr(&b), cases[i].answer);
    }
    stop();
}

static void test_head_of_a_stream_is_only_its_head(void **state)
{
    AUTO_BUF struct buf b = {0};
    int fd;

    (void)state;
    start(NULL);
    fd = raw_dial(path);
    raw_put(fd, "HEAD /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    raw_drain(fd, &b);
    assert_string_equal(buf_cstr(&b), HEAD_OF_STREAM);
    assert_int_equal(streams(), 0);
    stop();
}

/* Who does not read is cut when the backlog is full: whole lines, then why, then a proper end. */
static void test_slow_reader_is_cut(void **state)
{
    static const struct http1_options small = {.stream_backlog_max = 4096};
    static const char last[] = "{\"error\":\"read too slowly: what waited was over the limit\"}\n";
    AUTO_BUF struct buf b = {0}, lines = {0};
    size_t whole;
    int fd;

    (void)state;
    start(&small);
    fd = get("/hello", "1.1");
    wait_for(&rig.drained);
    while (push_times("0123456789abcde\n", 64) == 0) /* the socket takes some first */
        ;
    assert_int_equal(rig.rc, -1);
    assert_int_equal(push_times("late\n", 1), -1);
    raw_drain(fd, &b);
    wait_for(&rig.gone);
    unchunk(&b, &lines);
    assert_true(lines.len > strlen(last));
    assert_string_equal(buf_cstr(&lines) + lines.len - strlen(last), last);
    whole = lines.len - strlen(last) - strlen("hello\n");
    assert_true(whole >= 4096 - 16 && whole % 16 == 0);
    assert_null(strstr(buf_cstr(&lines), "late"));
    assert_int_equal(streams(), 0);
    stop();
    assert_int_equal(rig.ngone, 1);
}

/* Nobody reads until the deadline of the write: the connection ends without more. */
static void test_write_that_nobody_takes_has_a_deadline(void **state)
{
    static const struct http1_options quick = {.write_timeout_ms = 20};
    AUTO_BUF struct buf b = {0};
    int fd;

    (void)state;
    start(&quick);
    fd = get("/hello", "1.1");
    wait_for(&rig.drained);
    for (unsigned i = 0;
         i < HTTP1_STREAM_BACKLOG * 4 / 16 && push_times("0123456789abcde\n", 1) == 0; i++)
        ;
    wait_for(&rig.gone);
    raw_drain(fd, &b);
    assert_null(strstr(buf_cstr(&b), "\r\n0\r\n\r\n"));
    stop();
    assert_int_equal(rig.ngone, 1);
}

static void check_room(struct rig *r)
{
    size_t room = http1_stream_room(r->stream);
    char *bytes = malloc(room + 1);

    assert_int_equal(room, HTTP1_STREAM_BACKLOG);
    memset(bytes, 'x', room + 1);
    assert_int_equal(http1_stream_push(r->stream, bytes, room), 0);
    assert_int_equal(http1_stream_room(r->stream), 0);
    assert_int_equal(http1_stream_push(r->stream, "", 0), 0);
    r->rc = http1_stream_push(r->stream, bytes, 1);
    free(bytes);
}

/* The whole backlog fits, one byte more does not; a reader that reads gets all of it. */
static void test_backlog_at_its_edge(void **state)
{
    AUTO_BUF struct buf b = {0}, lines = {0};
    int fd;

    (void)state;
    start(NULL);
    fd = get("/hello", "1.1");
    wait_for(&rig.drained);
    on_loop(check_room);
    assert_int_equal(rig.rc, -1);
    raw_drain(fd, &b);
    unchunk(&b, &lines);
    assert_true(lines.len > HTTP1_STREAM_BACKLOG);
    stop();
}

/* Back-pressure: who waits for `drained` and looks at the room is never cut. */
static void test_all_of_it_arrives_where_the_owner_waits(void **state)
{
    static const struct http1_options small = {.stream_backlog_max = 4096};
    AUTO_BUF struct buf b = {0}, lines = {0};
    unsigned long sent = 0;
    int fd;

    (void)state;
    start(&small);
    fd = get("/hello", "1.1");
    for (; sent < 100; sent++) {
        wait_for(&rig.drained);
        assert_int_equal(push_times("0123456789abcde\n", 4096 / 16), 0);
        read_until(fd, &b, "abcde\n"); /* something of what came before */
        while (recv(fd, (char[1]){0}, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
            assert_true(raw_more(fd, &b));
    }
    on_loop(end_stream);
    raw_drain(fd, &b);
    unchunk(&b, &lines);
    assert_int_equal(lines.len, strlen("hello\n") + sent * 4096);
    stop();
}

static void test_client_that_goes_is_noticed(void **state)
{
    int fd;

    (void)state;
    start(NULL);
    fd = get("/hello", "1.1");
    wait_for(&rig.drained);
    raw_put(fd, "GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"); /* nothing comes after a stream */
    close(fd);
    wait_for(&rig.gone);
    assert_int_equal(streams(), 0);
    stop();
    assert_int_equal(rig.ngone, 1);
}

static void test_cut_by_the_owner(void **state)
{
    AUTO_BUF struct buf b = {0}, lines = {0};
    int fd;

    (void)state;
    start(NULL);
    fd = get("/hello", "1.1");
    wait_for(&rig.drained);
    on_loop(cut_stream);
    raw_drain(fd, &b);
    wait_for(&rig.gone);
    unchunk(&b, &lines);
    assert_string_equal(buf_cstr(&lines), "hello\n{\"error\":\"because\"}\n");
    stop();
    assert_int_equal(rig.ngone, 1);
}

static void push_and_stop(struct rig *r)
{
    push(r);
    stop_server(r);
}

/* The server ends: what was pushed is written, and the answer's end. */
static void test_server_that_ends(void **state)
{
    AUTO_BUF struct buf b = {0}, lines = {0};
    int fd;

    (void)state;
    start(NULL);
    fd = get("/hello", "1.1");
    wait_for(&rig.drained);
    rig.text = "last words\n";
    rig.times = 1;
    on_loop(push_and_stop);
    assert_int_equal(pthread_join(rig.thread, NULL), 0);
    loop_free(rig.loop);
    assert_int_equal(rig.ngone, 1);
    raw_drain(fd, &b);
    unchunk(&b, &lines);
    assert_string_equal(buf_cstr(&lines), "hello\nlast words\n");
}

/* Without chunks there may be nothing left to write. */
static void test_server_that_ends_with_nothing_to_say(void **state)
{
    AUTO_BUF struct buf b = {0};
    int fd;

    (void)state;
    start(NULL);
    fd = get("/hello", "1.0");
    wait_for(&rig.drained);
    stop();
    raw_drain(fd, &b);
    assert_string_equal(buf_cstr(&b) + b.len - 10, "\r\n\r\nhello\n");
}

static void test_streams_at_their_edge(void **state)
{
    AUTO_BUF struct buf b = {0};
    int fds[HTTP1_STREAMS_MAX];

    (void)state;
    start(NULL);
    for (size_t i = 0; i < HTTP1_STREAMS_MAX; i++) {
        AUTO_BUF struct buf hello = {0};

        fds[i] = get("/hello", "1.1");
        read_until(fds[i], &hello, "hello\n");
    }
    assert_int_equal(streams(), HTTP1_STREAMS_MAX);
    raw_drain(get("/hello", "1.0"), &b);
    assert_non_null(strstr(buf_cstr(&b), "HTTP/1.1 503 Service Unavailable\r\n"));
    assert_non_null(strstr(buf_cstr(&b), "too many streams: close one, or try again"));
    b.len = 0;
    raw_drain(get("/plain", "1.0"), &b); /* others are answered */
    assert_non_null(strstr(buf_cstr(&b), "HTTP/1.1 200 OK\r\n"));
    close(fds[0]);
    wait_for(&rig.gone);
    b.len = 0;
    fds[0] = get("/hello", "1.1");
    read_until(fds[0], &b, "hello\n");
    stop();
    assert_int_equal(rig.ngone, HTTP1_STREAMS_MAX + 1);
    for (size_t i = 0; i < HTTP1_STREAMS_MAX; i++)
        close(fds[i]);
}

static int dir_make(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    snprintf(dir, sizeof(dir), "%s/roost-stream-XXXXXX", tmp_base());
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/s", dir);
    return 0;
}

static int dir_remove(void **state)
{
    (void)state;
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_arrive_while_it_is_open),
        cmocka_unit_test(test_ended_by_the_handler),
        cmocka_unit_test(test_head_of_a_stream_is_only_its_head),
        cmocka_unit_test(test_slow_reader_is_cut),
        cmocka_unit_test(test_write_that_nobody_takes_has_a_deadline),
        cmocka_unit_test(test_backlog_at_its_edge),
        cmocka_unit_test(test_all_of_it_arrives_where_the_owner_waits),
        cmocka_unit_test(test_client_that_goes_is_noticed),
        cmocka_unit_test(test_cut_by_the_owner),
        cmocka_unit_test(test_server_that_ends),
        cmocka_unit_test(test_server_that_ends_with_nothing_to_say),
        cmocka_unit_test(test_streams_at_their_edge),
    };

    return cmocka_run_group_tests(tests, dir_make, dir_remove);
}
