/* Question and answer are written and read without a tree: 100,000 guests ask at once when the
 * daemon starts.
 */
#include "kube/review.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/text.h"
#include "kube/call.h"
#include "kube/json.h"

#include <stdlib.h>
#include <string.h>

#define REVIEW_PATH "/apis/authorization.k8s.io/v1/subjectaccessreviews"

struct review {
    struct kube_call *call;
    review_done *done;
    void *ctx;
};

/* --- the question --- */

/* A string in quotes. -1: it is no UTF-8, has control characters, or memory is short. */
static int put_text(struct buf *b, const char *text)
{
    if (!text_is_clean(text) || buf_puts(b, "\"", NULL) < 0)
        return -1;
    while (*text) {
        size_t n = strcspn(text, "\"\\");

        if (n && buf_append(b, text, n, NULL) < 0)
            return -1;
        text += n;
        if (*text && (buf_puts(b, "\\", NULL) < 0 || buf_append(b, text++, 1, NULL) < 0))
            return -1;
    }
    return buf_puts(b, "\"", NULL);
}

static int put_member(struct buf *b, const char *before, const char *value)
{
    return buf_puts(b, before, NULL) < 0 ? -1 : put_text(b, value);
}

static int put_groups(struct buf *b, const char *const *groups)
{
    if (buf_puts(b, ",\"groups\":[", NULL) < 0)
        return -1;
    for (size_t i = 0; groups && groups[i]; i++)
        if (put_member(b, i ? "," : "", groups[i]) < 0)
            return -1;
    return buf_puts(b, "]", NULL);
}

static int put_question(struct buf *b, const struct review_question *q)
{
    if (put_member(b,
                   "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":"
                   "\"SubjectAccessReview\",\"spec\":{\"user\":",
                   q->user) < 0 ||
        put_groups(b, q->groups) < 0 ||
        put_member(b, ",\"resourceAttributes\":{\"verb\":", q->verb) < 0 ||
        put_member(b, ",\"group\":", q->group) < 0 ||
        put_member(b, ",\"resource\":", q->resource) < 0 ||
        put_member(b, ",\"namespace\":", q->namespace_) < 0)
        return -1;
    return buf_puts(b, "}}}", NULL);
}

/* --- the answer --- */

struct verdict {
    bool said, allowed, denied;
    char reason[2048], error[2048];
};

/* True and false only; *said where it is one of them. */
static bool take_bool(struct jscan *j, bool *said)
{
    uint8_t c = jscan_peek(j);

    *said = c == 't' || c == 'f';
    return jscan_skip(j) && c == 't';
}

/* Nothing where it is no string; what is too long says so. */
static void take_text(struct jscan *j, char *out, size_t cap)
{
    struct jscan_str s = {0};

    out[0] = 0;
    if (jscan_peek(j) != '"') {
        jscan_skip(j);
        return;
    }
    if (jscan_string(j, &s) && jscan_str_copy(out, cap, &s) < 0)
        memcpy(out, "(a long reason)", sizeof("(a long reason)"));
}

static void read_status(struct jscan *j, struct verdict *v)
{
    struct jscan_str key;
    bool said;

    if (jscan_peek(j) != '{') {
        jscan_skip(j);
        return;
    }
    jscan_open(j, '{');
    while (jscan_member(j, &key)) {
        if (jscan_key_is(&key, "allowed"))
            v->allowed = take_bool(j, &v->said);
        else if (jscan_key_is(&key, "denied"))
            v->denied = take_bool(j, &said);
        else if (jscan_key_is(&key, "reason"))
            take_text(j, v->reason, sizeof(v->reason));
        else if (jscan_key_is(&key, "evaluationError"))
            take_text(j, v->error, sizeof(v->error));
        else
            jscan_skip(j);
    }
}

static int read_answer(struct verdict *v, const uint8_t *body, size_t len, struct err *err)
{
    struct jscan_str key;
    struct jscan j;

    *v = (struct verdict){0};
    jscan_init(&j, body, len);
    if (jscan_open(&j, '{'))
        while (jscan_member(&j, &key)) {
            if (jscan_key_is(&key, "status"))
                read_status(&j, v);
            else
                jscan_skip(&j);
        }
    if (!jscan_done(&j) || !v->said)
        return err_set(err, ERR_INVALID, 0, "the answer has no status.allowed");
    return 0;
}

/* An authorizer that failed (a role that does not exist) did not allow. */
static void answered(void *ctx, const uint8_t *body, size_t len, const struct err *failed)
{
    struct review *r = ctx;
    struct err err = {0};
    struct verdict v = {0};

    if (failed)
        err = *failed;
    else
        (void)!read_answer(&v, body, len, &err);
    if (err.code) {
        err_wrap(&err, "access review");
        r->done(r->ctx, false, "", &err);
    } else {
        r->done(r->ctx, v.allowed && !v.denied, v.reason[0] ? v.reason : v.error, NULL);
    }
    free(r);
}

int review_start(struct review **out, const struct kube_http *http, const struct review_question *q,
                 review_done *done, void *ctx, struct err *err)
{
    struct kube_request req = {.method = "POST",
                               .path = REVIEW_PATH,
                               .headers = "Accept: application/json\n"
                                          "Content-Type: application/json\n",
                               .lane = KUBE_CALL};
    struct review *r = calloc(1, sizeof(*r));
    AUTO_BUF struct buf body = {.max = KUBE_BODY_MAX};

    if (!r)
        return err_set(err, ERR_NOMEM, 0, "access review of %.100s", q->user);
    if (put_question(&body, q) < 0) {
        free(r);
        return err_set(err, ERR_INVALID, 0, "access review of %.100s: not UTF-8", q->user);
    }
    r->done = done;
    r->ctx = ctx;
    req.body = (const char *)body.data;
    req.body_len = body.len;
    if (kube_call_start(&r->call, http, &req, answered, r, err) < 0) {
        free(r);
        return err_wrap(err, "access review");
    }
    *out = r;
    return 0;
}

void review_cancel(struct review *r)
{
    if (!r)
        return;
    kube_call_cancel(r->call);
    free(r);
}
