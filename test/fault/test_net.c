/* Each call of libuv on a socket fails in turn, once and from then on, while the client connects to
 * the API server, calls, and watches: every request ends with an answer or with why not, and the
 * client works once the fault is gone.
 */
#include "fault/seam.h"
#include "support/h2_server.h"

#include "base/clock.h"
#include "base/log.h"
#include "kube/client.h"
#include "kube/kubeconfig.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FAULT_MS  60u   /* a request whose fault stays is waited for so long */
#define ANSWER_MS 5000u /* and any other */
#define TRIES     10

static struct test_pki pki;

static struct {
    struct loop *loop;
    struct h2_server *server;
    struct kube_config config;
    struct kube_client *client;
    char host[32], authority[48];
} net;

struct answer {
    struct kube_stream *stream; /* NULL once it has ended */
    int status;
    size_t got;
    bool ended;
    struct err err;
};

static void on_head(void *ctx, int status, const char *headers, size_t len)
{
    struct answer *a = ctx;

    (void)headers;
    (void)len;
    a->status = status;
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
    struct answer *a = ctx;

    for (size_t i = 0; i < len; i++) /* never a byte of anything else */
        assert_int_equal(data[i], (a->got + i) % 251);
    a->got += len;
    kube_consume(a->stream, len);
}

static void on_end(void *ctx, const struct err *err)
{
    struct answer *a = ctx;

    assert_false(a->ended);
    a->ended = true;
    a->stream = NULL;
    if (err) {
        a->err = *err;
        assert_true(err->code != ERR_NONE && err->msg[0]);
    }
    loop_stop(net.loop);
}

static const struct kube_receiver receiver = {on_head, on_data, on_end};

static void begin(struct answer *a, enum kube_lane lane, const char *path)
{
    const struct kube_request req = {.method = "GET", .path = path, .lane = lane};
    struct err err = {0};

    memset(a, 0, sizeof(*a));
    if (kube_send(&a->stream, net.client, &req, &receiver, a, &err) == 0)
        return;
    assert_true(err.msg[0]);
    a->err = err;
    a->ended = true;
}

struct limit {
    struct timer timer;
    bool passed;
};

static void limit_passed(struct timer *t)
{
    container_of(t, struct limit, timer)->passed = true;
    loop_stop(net.loop);
}

static bool wait_for(const struct answer *a, uint64_t ms)
{
    struct limit limit = {.timer = {.fire = limit_passed}};

    assert_int_equal(loop_timer_set(net.loop, &limit.timer, clock_now_ns() + ms * NS_PER_MS, NULL),
                     0);
    while (!a->ended && !limit.passed)
        loop_run(net.loop);
    loop_timer_clear(net.loop, &limit.timer);
    return a->ended;
}

static void client_start(void)
{
    const struct kube_timing timing = {.backoff_min_ms = 2, .backoff_max_ms = 4};
    struct err err;

    assert_int_equal(loop_new(&net.loop, &err), 0);
    assert_int_equal(kube_client_new(&net.client, net.loop, &net.config, &err), 0);
    kube_client_set_timing(net.client, &timing);
}

static void client_stop(void)
{
    kube_client_free(net.client);
    loop_free(net.loop);
}

/* A call, a longer one, and one on the lane of the watches. */
static void work(bool sticky)
{
    static const char *const paths[] = {"/bytes/10", "/bytes/300000", "/bytes/5000"};
    struct answer a[3];

    for (int i = 0; i < 3; i++) {
        begin(&a[i], i == 2 ? KUBE_WATCH : KUBE_CALL, paths[i]);
        if (!wait_for(&a[i], sticky ? FAULT_MS : ANSWER_MS)) {
            assert_true(sticky); /* a fault that comes once keeps nobody waiting */
            kube_cancel(a[i].stream);
        }
    }
}

static void works_again(void)
{
    for (int i = 0; i < TRIES; i++) {
        struct answer a;

        begin(&a, KUBE_CALL, "/bytes/100000");
        if (!wait_for(&a, ANSWER_MS))
            fail_msg("no answer once the fault was gone");
        if (a.err.code == ERR_NONE) {
            assert_int_equal(a.status, 200);
            assert_int_equal(a.got, 100000);
            return;
        }
    }
    fail_msg("no good answer once the fault was gone");
}

static unsigned descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void torture(int sys, bool sticky)
{
    unsigned nth = 0, before = 0;
    bool hit;

    do {
        client_start();
        seam_arm(SEAM_NET, ++nth, sticky, sys);
        work(sticky);
        hit = seam_fired(SEAM_NET) > 0;
        seam_disarm();
        works_again();
        client_stop();
        if (nth == 3)
            before = descriptors();
    } while (hit);
    /* The server may still have some connections open that it has not seen end. */
    assert_true(descriptors() < before + 8);
    print_message("each of %u calls failed %s\n", nth - 1, sticky ? "from then on" : "once");
    assert_true(nth > 12);
}

static void test_each_call_on_a_socket(void **state)
{
    static const int errors[] = {ECONNRESET, ENOBUFS, EIO};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        torture(errors[i], false);
        torture(errors[i], true);
    }
}

static int setup(void **state)
{
    struct h2_server_options o = {.pki = &pki};

    (void)state;
    log_init(LOG_ERROR, "text");
    test_pki_new(&pki);
    net.server = h2_server_start(&o);
    snprintf(net.host, sizeof(net.host), "127.0.0.1");
    snprintf(net.authority, sizeof(net.authority), "127.0.0.1:%u", h2_server_port(net.server));
    net.config = (struct kube_config){.context = (char *)(uintptr_t) "test",
                                      .host = net.host,
                                      .authority = net.authority,
                                      .path_prefix = (char *)(uintptr_t) "",
                                      .ca_pem = pki.ca,
                                      .port = h2_server_port(net.server)};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    h2_server_stop(net.server);
    test_pki_free(&pki);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_call_on_a_socket, setup, teardown),
    };

    return cmocka_run_group_tests_name("network faults", tests, NULL, NULL);
}
