/* Each call of libuv on a socket fails in turn, and each allocation of our own, once and from then
 * on, while the client connects to the API server, calls, and watches, and while a guest calls
 * through `kube:`: every request ends with an answer or with why not, and the client works once the
 * fault is gone.
 */
#include "fault/seam.h"
#include "support/h2_server.h"

#include "base/clock.h"
#include "base/log.h"
#include "capability/kube.h"
#include "guest/guest.h"
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

struct reply {
    struct kube_stream *stream; /* NULL once it has ended */
    int status;
    size_t got;
    bool ended;
    struct err err;
};

static void on_head(void *ctx, int status, const char *headers, size_t len)
{
    struct reply *a = ctx;

    (void)headers;
    (void)len;
    a->status = status;
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
    struct reply *a = ctx;

    for (size_t i = 0; i < len; i++) /* never a byte of anything else */
        assert_int_equal(data[i], (a->got + i) % 251);
    a->got += len;
    kube_consume(a->stream, len);
}

static void on_end(void *ctx, const struct err *err)
{
    struct reply *a = ctx;

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

static void begin(struct reply *a, enum kube_lane lane, const char *path)
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

static bool wait_for(const struct reply *a, uint64_t ms)
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
    assert_int_equal(loop_timers_reserve(net.loop, 64, &err), 0); /* the test has its own */
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
    struct reply a[3];

    for (int i = 0; i < 3; i++) {
        begin(&a[i], i == 2 ? KUBE_WATCH : KUBE_CALL, paths[i]);
        if (!wait_for(&a[i], sticky ? FAULT_MS : ANSWER_MS)) {
            assert_true(sticky); /* a fault that comes once keeps nobody waiting */
            kube_cancel(a[i].stream);
        }
    }
}

/* --- a guest's calls --- */

static void something_came(void *ctx)
{
    struct call *c = *(struct call **)ctx;

    if (call_ended(c))
        loop_stop(net.loop);
}

/* Through the capability, with a body in two parts; its answer, an echo, is read. */
static void guest_call(struct call_owner *owner, bool sticky)
{
    const struct call_request req = {.method = bytes_of("POST"),
                                     .scheme = bytes_of("kube"),
                                     .target = bytes_of("/api/v1/namespaces/a/configmaps"),
                                     .headers = bytes_of("Content-Type: application/json\n"),
                                     .body = bytes_of("{\"a\":"),
                                     .more = true};
    struct limit limit = {.timer = {.fire = limit_passed}};
    static struct call *c;
    uint8_t text[2000];
    struct err err = {0};

    owner->ctx = &c;
    assert_int_equal(loop_timer_set(net.loop, &limit.timer,
                                    clock_now_ns() + (sticky ? FAULT_MS : ANSWER_MS) * NS_PER_MS,
                                    NULL),
                     0);
    if (call_new(&c, &req, owner, &err) < 0) {
        assert_int_equal(err.code, ERR_NOMEM);
        loop_timer_clear(net.loop, &limit.timer);
        return;
    }
    call_post(c);
    if (call_send(c, bytes_of("1}"), true, &err) < 0)
        assert_int_equal(err.code, ERR_NOMEM);
    else
        while (!call_ended(c) && !limit.passed)
            loop_run(net.loop);
    assert_true(call_ended(c) || sticky || err.code == ERR_NOMEM);
    while (call_read(c, text, sizeof(text)) > 0)
        ;
    if (call_ended(c) && !call_failed(c))
        assert_true(call_status(c) == 200 || call_status(c) >= 500);
    call_close(c);
    loop_timer_clear(net.loop, &limit.timer);
}

static void guest_calls(bool sticky)
{
    struct guest_spec spec = {.namespace_ = (char *)(uintptr_t) "a",
                              .service_account = (char *)(uintptr_t) "b"};
    struct guest guest = {.spec = &spec};
    struct capabilities all = {.loop = net.loop, .n = 1};
    struct call_owner owner = {
        .loop = net.loop, .capabilities = &all, .guest = &guest, .ready = something_came};
    struct kube_capability *kube = NULL;
    struct err err = {0};

    if (kube_capability_new(&kube, net.loop, net.client, &err) < 0) {
        assert_int_equal(err.code, ERR_NOMEM);
        return;
    }
    all.all[0] = kube_capability_of(kube);
    for (int i = 0; i < 2; i++)
        guest_call(&owner, sticky);
    loop_turn(net.loop, false); /* what it posted for itself */
    kube_capability_free(kube);
}

static void works_again(void)
{
    for (int i = 0; i < TRIES; i++) {
        struct reply a;

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

static unsigned torture(enum seam_kind kind, int sys, bool sticky)
{
    unsigned nth = 0, before = 0;
    bool hit;

    do {
        client_start();
        seam_arm(kind, ++nth, sticky, sys);
        work(sticky);
        guest_calls(sticky);
        hit = seam_fired(kind) > 0;
        seam_disarm();
        works_again();
        client_stop();
        if (nth == 3)
            before = descriptors();
    } while (hit);
    /* The server may still have some connections open that it has not seen end. */
    assert_true(descriptors() < before + 8);
    print_message("each of %u %s failed %s\n", nth - 1, kind == SEAM_NET ? "calls" : "allocations",
                  sticky ? "from then on" : "once");
    return nth;
}

static void test_each_call_on_a_socket(void **state)
{
    static const int errors[] = {ECONNRESET, ENOBUFS, EIO};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        assert_true(torture(SEAM_NET, errors[i], false) > 12);
        assert_true(torture(SEAM_NET, errors[i], true) > 12);
    }
}

static void test_each_allocation(void **state)
{
    (void)state;
    assert_true(torture(SEAM_ALLOC, ENOMEM, false) > 30);
    assert_true(torture(SEAM_ALLOC, ENOMEM, true) > 30);
}

static int setup(void **state)
{
    struct h2_server_options o = {.pki = &pki};

    (void)state;
    log_init(LOG_ERROR, "text");
    seam_here_only(); /* the server has threads of its own */
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
        cmocka_unit_test_setup_teardown(test_each_allocation, setup, teardown),
    };

    return cmocka_run_group_tests_name("network faults", tests, NULL, NULL);
}
