#include "kube/seam.h"

static int client_send(void *ctx, struct kube_stream **out, const struct kube_request *req,
                       const struct kube_receiver *receiver, void *receiver_ctx, struct err *err)
{
    return kube_send(out, ctx, req, receiver, receiver_ctx, err);
}

struct kube_http kube_http_of(struct kube_client *client)
{
    return (struct kube_http){
        .send = client_send, .consume = kube_consume, .cancel = kube_cancel, .ctx = client};
}

static uint64_t time_now(void *ctx)
{
    return loop_now_ns(ctx);
}

static int time_set(void *ctx, struct timer *t, uint64_t due_ns, struct err *err)
{
    return loop_timer_set(ctx, t, due_ns, err);
}

static void time_clear(void *ctx, struct timer *t)
{
    loop_timer_clear(ctx, t);
}

struct kube_time kube_time_of(struct loop *loop)
{
    return (struct kube_time){
        .now_ns = time_now, .set = time_set, .clear = time_clear, .ctx = loop};
}
