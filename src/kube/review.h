/* May somebody do something? A SubjectAccessReview: the API server decides, by all of its
 * authorizers, for an identity that is not the daemon's own. Loop thread only.
 */
#ifndef ROOST_KUBE_REVIEW_H
#define ROOST_KUBE_REVIEW_H

#include "base/err.h"
#include "kube/seam.h"

#include <stdbool.h>

struct review_question {
    const char *user;          /* "system:serviceaccount:ns:name" */
    const char *const *groups; /* NULL-terminated, or NULL */
    const char *verb;          /* "list" */
    const char *group;         /* of the API; "" for the core group */
    const char *resource;      /* "testresources" */
    const char *namespace_;    /* "": all of them, or a resource of the cluster */
};

struct review;

/* err NULL: decided; reason is the server's, may be "". Else it could not be decided, which is not
 * the same as refused: ask again. ERR_DENIED: the daemon itself may not ask. */
typedef void review_done(void *ctx, bool allowed, const char *reason, const struct err *err);

/* Borrows nothing. done is called once, never from here; the review is gone then. */
int review_start(struct review **out, const struct kube_http *http,
                 const struct review_question *question, review_done *done, void *ctx,
                 struct err *err) ERR_CHECK;
/* done is not called. NULL is fine. */
void review_cancel(struct review *r);

#endif
