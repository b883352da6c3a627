/* A stand-in for the API server's client and for time (kube/seam.h): requests are kept until the
 * test answers them, and time passes when the test says so. Whatever a real client must never be
 * asked (consuming on, or cancelling, a stream that is gone) fails the test.
 */
#ifndef ROOST_TEST_FAKE_KUBE_H
#define ROOST_TEST_FAKE_KUBE_H

#include "base/clock.h"
#include "kube/seam.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the above first
#include <cmocka.h>

#define FAKE_STREAMS_MAX 20000

struct kube_stream {
    char *path, *body;
    char method[8];
    enum kube_lane lane;
    struct kube_receiver receiver;
    void *receiver_ctx;
    bool open; /* neither ended nor cancelled */
    bool cancelled;
    size_t given, consumed;
};

struct fake_kube {
    struct kube_stream *streams[FAKE_STREAMS_MAX]; /* all that were ever sent */
    size_t n;
    int refuse_sends; /* so many kube_send fail */
    uint64_t now_ns;
    struct timers timers;
};

static int fake_send(void *ctx, struct kube_stream **out, const struct kube_request *req,
                     const struct kube_receiver *receiver, void *receiver_ctx, struct err *err)
{
    struct fake_kube *f = ctx;
    struct kube_stream *s;

    if (f->refuse_sends) {
        f->refuse_sends--;
        return err_set(err, ERR_LIMIT, 0, "refused by the test");
    }
    assert_true(f->n < FAKE_STREAMS_MAX);
    s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->path = strdup(req->path);
    s->body = calloc(1, req->body_len + 1);
    assert_true(s->path && s->body);
    if (req->body_len)
        memcpy(s->body, req->body, req->body_len);
    memcpy(s->method, req->method, strlen(req->method) + 1);
    s->lane = req->lane;
    s->receiver = *receiver;
    s->receiver_ctx = receiver_ctx;
    s->open = true;
    f->streams[f->n++] = s;
    *out = s;
    return 0;
}

static void fake_consume(struct kube_stream *s, size_t n)
{
    assert_true(s->open);
    s->consumed += n;
    assert_true(s->consumed <= s->given);
}

static void fake_cancel(struct kube_stream *s)
{
    assert_true(s->open);
    s->open = false;
    s->cancelled = true;
}

static uint64_t fake_now(void *ctx)
{
    return ((struct fake_kube *)ctx)->now_ns;
}

static int fake_timer_set(void *ctx, struct timer *t, uint64_t due_ns, struct err *err)
{
    return timers_set(&((struct fake_kube *)ctx)->timers, t, due_ns, err);
}

static void fake_timer_clear(void *ctx, struct timer *t)
{
    timers_clear(&((struct fake_kube *)ctx)->timers, t);
}

static inline void fake_init(struct fake_kube *f)
{
    *f = (struct fake_kube){.now_ns = 1000 * NS_PER_S};
}

static inline struct kube_http fake_http(struct fake_kube *f)
{
    return (struct kube_http){
        .send = fake_send, .consume = fake_consume, .cancel = fake_cancel, .ctx = f};
}

static inline struct kube_time fake_time(struct fake_kube *f)
{
    return (struct kube_time){
        .now_ns = fake_now, .set = fake_timer_set, .clear = fake_timer_clear, .ctx = f};
}

static inline void fake_free(struct fake_kube *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->streams[i]->path);
        free(f->streams[i]->body);
        free(f->streams[i]);
    }
    timers_free(&f->timers);
}

/* The newest request; it must be under way. */
static inline struct kube_stream *fake_last(struct fake_kube *f)
{
    assert_true(f->n > 0 && f->streams[f->n - 1]->open);
    return f->streams[f->n - 1];
}

static inline void fake_head(struct kube_stream *s, int status, const char *headers)
{
    if (s->open)
        s->receiver.on_head(s->receiver_ctx, status, headers, strlen(headers));
}

/* Each piece in memory of its own, so that a read past its end is seen. */
static inline void fake_data(struct kube_stream *s, const char *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);

    assert_non_null(copy);
    memcpy(copy, data, len);
    if (s->open) {
        s->given += len;
        s->receiver.on_data(s->receiver_ctx, copy, len);
        /* What was taken was said to be taken. */
        if (s->open)
            assert_int_equal(s->given, s->consumed);
    }
    free(copy);
}

/* err NULL: a clean end. */
static inline void fake_end(struct kube_stream *s, const struct err *err)
{
    if (!s->open)
        return;
    s->open = false;
    s->receiver.on_end(s->receiver_ctx, err);
}

static inline void fake_answer(struct kube_stream *s, int status, const char *headers,
                               const char *body)
{
    fake_head(s, status, headers);
    fake_data(s, body, strlen(body));
    fake_end(s, NULL);
}

static inline void fake_break(struct kube_stream *s)
{
    const struct err err = {.code = ERR_NET, .msg = "connection lost"};

    fake_end(s, &err);
}

/* Time passes, timer by timer. */
static inline void fake_pass(struct fake_kube *f, uint64_t ns)
{
    uint64_t end = f->now_ns + ns, due;

    while ((due = timers_next(&f->timers)) && due <= end) {
        if (due > f->now_ns)
            f->now_ns = due;
        timers_run(&f->timers, f->now_ns);
    }
    f->now_ns = end;
}

#endif
