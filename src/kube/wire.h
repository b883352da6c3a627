/* A request of kube/client.h as the header list that HTTP/2 sends.
 *
 * This is where a request is kept from carrying another's identity or breaking out of its place:
 * scheme, authority, credentials and Impersonate-* are the client's own, and a header that would
 * set any of them, that names the hop, or that holds a control character is refused by name.
 * Pure: no I/O. One allocation a request.
 */
#ifndef ROOST_KUBE_WIRE_H
#define ROOST_KUBE_WIRE_H

#include "base/err.h"
#include "base/h2.h"
#include "kube/client.h"
#include "kube/kubeconfig.h"

#include <stddef.h>

struct kube_wire {
    size_t count;
    struct h2_header headers[]; /* their text lies behind them */
};

/* Free with free. ERR_INVALID: a part is malformed; ERR_DENIED: a header that a request
 * must not have; ERR_LIMIT: KUBE_REQUEST_BYTES_MAX or H2_HEADERS_MAX. Messages name the part and
 * never hold its value. */
int kube_wire_new(struct kube_wire **out, const struct kube_config *config,
                  const struct kube_request *req, struct err *err) ERR_CHECK;

#endif
