/* The capability `kube:`: the Kubernetes API, as the guest's own service account (docs/abi.md).
 *
 * A guest gives path and query; address, connection, credentials and identity are the host's. The
 * target is checked segment by segment, only the headers of a short list pass, and the request is
 * sent with Impersonate-User and -Group of the guest's service account, so that the API server's
 * RBAC decides on each request. Nothing of another identity can be named by the guest.
 */
#ifndef ROOST_CAPABILITY_KUBE_H
#define ROOST_CAPABILITY_KUBE_H

#include "base/hist.h"
#include "guest/call.h"
#include "kube/client.h"

struct kube_capability;

/* client may be NULL: each call is then answered with 503. Borrows both; lives on the loop. */
int kube_capability_new(struct kube_capability **out, struct loop *loop, struct kube_client *client,
                        struct err *err) ERR_CHECK;
/* No call may be under way. NULL is fine. */
void kube_capability_free(struct kube_capability *k);
/* For the list of capabilities; lives as long as k. */
const struct capability *kube_capability_of(const struct kube_capability *k);

/* From an event's arrival to its guest's first request written, for guests that were asleep and for
 * those that were awake; and how many requests were sent in all. */
struct kube_numbers {
    struct hist asleep, awake;
    uint64_t requests;
    unsigned connections;
};
/* Any thread: adds those of k to out; reset: they start anew. */
void kube_capability_numbers(struct kube_capability *k, struct kube_numbers *out, bool reset);

/* The check of a target, pure: 0, or ERR_DENIED with what may not pass. */
int kube_target_check(const char *target, struct err *err) ERR_CHECK;
/* The headers that pass, appended to out as "Name: value\n" lines; ERR_DENIED names the first that
 * may not. *only_if_cached: the guest forbids asking the server. */
struct buf;
int kube_headers_filter(struct buf *out, const char *headers, bool *only_if_cached, struct err *err)
    ERR_CHECK;

#endif
