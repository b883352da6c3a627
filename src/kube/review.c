#include "kube/review.h"

#include "base/auto.h"
#include "kube/call.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define REVIEW_PATH "/apis/authorization.k8s.io/v1/subjectaccessreviews"

struct review {
    struct kube_call *call;
    review_done *done;
    void *ctx;
};

static json_t *groups_json(const char *const *groups)
{
    json_t *list = json_array();

    for (; groups && *groups; groups++)
        json_array_append_new(list, json_string(*groups));
    return list;
}

/* NULL where a string is no UTF-8, or memory is short. */
static char *question_json(const struct review_question *q)
{
    json_t *tree =
        json_pack("{s:s, s:s, s:{s:s, s:o, s:{s:s, s:s, s:s, s:s}}}", "apiVersion",
                  "authorization.k8s.io/v1", "kind", "SubjectAccessReview", "spec", "user", q->user,
                  "groups", groups_json(q->groups), "resourceAttributes", "verb", q->verb, "group",
                  q->group, "resource", q->resource, "namespace", q->namespace_);
    char *text = tree ? json_dumps(tree, JSON_COMPACT) : NULL;

    json_decref(tree);
    return text;
}

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* The answer's status. An authorizer that failed (a role that does not exist) did not allow. */
static void answered(void *ctx, const uint8_t *body, size_t len, const struct err *failed)
{
    struct review *r = ctx;
    struct err err = {0};
    json_t *tree = NULL, *status, *allowed;
    const char *reason;

    if (failed) {
        err = *failed;
    } else {
        tree = json_loadb((const char *)body, len, 0, NULL);
        if (!json_is_boolean(json_object_get(json_object_get(tree, "status"), "allowed")))
            err_set(&err, ERR_INVALID, 0, "the answer has no status.allowed");
    }
    if (err.code) {
        err_wrap(&err, "access review");
        r->done(r->ctx, false, "", &err);
    } else {
        status = json_object_get(tree, "status");
        allowed = json_object_get(status, "allowed");
        reason = text_of(status, "reason");
        if (!reason[0])
            reason = text_of(status, "evaluationError");
        r->done(r->ctx, json_is_true(allowed) && !json_is_true(json_object_get(status, "denied")),
                reason, NULL);
    }
    json_decref(tree);
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
    AUTO_FREE char *body = question_json(q);

    if (!r)
        return err_set(err, ERR_NOMEM, 0, "access review of %.100s", q->user);
    if (!body) {
        free(r);
        return err_set(err, ERR_INVALID, 0, "access review of %.100s: not UTF-8", q->user);
    }
    r->done = done;
    r->ctx = ctx;
    req.body = body;
    req.body_len = strlen(body);
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
