/* What of kube/ comes from outside: the way to the server, and time. One seam, which tests replace
 * to answer without a network and to let hours pass in a millisecond.
 */
#ifndef ROOST_KUBE_SEAM_H
#define ROOST_KUBE_SEAM_H

#include "base/err.h"
#include "base/loop.h"
#include "base/timers.h"
#include "kube/client.h"

/* As the functions of kube/client.h, with ctx in the client's place. */
struct kube_http {
    int (*send)(void *ctx, struct kube_stream **out, const struct kube_request *req,
                const struct kube_receiver *receiver, void *receiver_ctx, struct err *err);
    void (*consume)(struct kube_stream *s, size_t n);
    void (*cancel)(struct kube_stream *s);
    void *ctx;
};

/* As loop_now_ns, loop_timer_set and loop_timer_clear. */
struct kube_time {
    uint64_t (*now_ns)(void *ctx);
    int (*set)(void *ctx, struct timer *t, uint64_t due_ns, struct err *err);
    void (*clear)(void *ctx, struct timer *t);
    void *ctx;
};

/* The real ones. Client and loop are borrowed and must outlive whoever uses them. */
struct kube_http kube_http_of(struct kube_client *client);
struct kube_time kube_time_of(struct loop *loop);

#endif
