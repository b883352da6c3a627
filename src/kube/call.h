/* One question to the API server whose answer is read whole: discovery, reviews, and whatever else
 * is small. Also what a failed answer means, for those that stream.
 */
#ifndef ROOST_KUBE_CALL_H
#define ROOST_KUBE_CALL_H

#include "base/err.h"
#include "kube/seam.h"

#include <stddef.h>
#include <stdint.h>

struct kube_call;

/* A complete answer with status 2xx has err NULL; its body is borrowed until the return. Otherwise
 * err says why, with err->sys the HTTP status where there was one (see kube_answer_err), and body
 * is NULL. Called once; the call is gone then. */
typedef void kube_call_done(void *ctx, const uint8_t *body, size_t len, const struct err *err);

/* Sends; done is never called from here. The answer's limit is KUBE_ANSWER_MAX (ERR_LIMIT). */
int kube_call_start(struct kube_call **out, const struct kube_http *http,
                    const struct kube_request *req, kube_call_done *done, void *ctx,
                    struct err *err) ERR_CHECK;
/* Forgets it: done is not called. NULL is fine. Not from within done. */
void kube_call_cancel(struct kube_call *call);

/* Sets err from a failed answer: 401 and 403 ERR_DENIED, 404 ERR_NOT_FOUND, 409 ERR_EXISTS, 410
 * ERR_GONE, 429 and 5xx ERR_AGAIN, anything else ERR_INVALID; err->sys is the status; the text is
 * the message of the Status in the body, where it is one. Always returns -1. */
int kube_answer_err(struct err *err, int status, const uint8_t *body, size_t len);
/* The same for a Status that arrived as an event. */
int kube_status_err(struct err *err, int code, const char *reason, const char *message);
/* Seconds from a Retry-After header among "name: value\n" lines; 0 where there is none, or it is a
 * date. */
uint32_t kube_retry_after_s(const char *headers, size_t len);

#endif
