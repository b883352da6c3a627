/* Discovery: from what a manifest names (apiVersion and kind) to where the server keeps it.
 *
 * Asked anew each time, since kinds come and go with their definitions; whoever waits for a kind
 * asks again. Loop thread only.
 */
#ifndef ROOST_KUBE_DISCOVERY_H
#define ROOST_KUBE_DISCOVERY_H

#include "base/err.h"
#include "base/limits.h"
#include "kube/seam.h"

#include <stdbool.h>

struct kube_resource {
    char group[KUBE_NAME_MAX + 1]; /* "" for the core group */
    char version[KUBE_NAME_MAX + 1];
    char resource[KUBE_NAME_MAX + 1]; /* "testresources" */
    char path[3 * KUBE_NAME_MAX];     /* "/apis/amurant.io/v1/testresources": of all namespaces */
    bool namespaced;
    bool can_watch; /* list and watch are among its verbs */
};

struct discovery;

/* resource is borrowed until the return; NULL with err. ERR_NOT_FOUND: no such group, version or
 * kind (yet): ask again later; ERR_INVALID: the answer makes no sense; else as kube_call_done. */
typedef void discovery_done(void *ctx, const struct kube_resource *resource, const struct err *err);

/* Borrows nothing. done is called once, never from here; the discovery is gone then. ERR_INVALID:
 * api_version is neither "v1" nor "group/v1". */
int discovery_start(struct discovery **out, const struct kube_http *http, const char *api_version,
                    const char *kind, discovery_done *done, void *ctx, struct err *err) ERR_CHECK;
/* done is not called. NULL is fine. */
void discovery_cancel(struct discovery *d);

#endif
