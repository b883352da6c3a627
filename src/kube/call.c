#include "kube/call.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/text.h"
#include "kube/object.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct kube_call {
    struct kube_http http;
    struct kube_stream *stream;
    struct buf body;
    int status;
    kube_call_done *done;
    void *ctx;
};

static void call_free(struct kube_call *c)
{
    buf_free(&c->body);
    free(c);
}

static void call_finish(struct kube_call *c, const struct err *err)
{
    if (err)
        c->done(c->ctx, NULL, 0, err);
    else
        c->done(c->ctx, c->body.data, c->body.len, NULL);
    call_free(c);
}

static void call_head(void *ctx, int status, const char *headers, size_t len)
{
    struct kube_call *c = ctx;

    (void)headers, (void)len;
    c->status = status;
}

static void call_data(void *ctx, const uint8_t *data, size_t len)
{
    struct kube_call *c = ctx;
    struct err err = {0};

    if (buf_append(&c->body, data, len, &err) < 0) {
        err_wrap(&err, "answer");
        c->http.cancel(c->stream);
        call_finish(c, &err);
        return;
    }
    c->http.consume(c->stream, len);
}

static void call_end(void *ctx, const struct err *cut)
{
    struct kube_call *c = ctx;
    struct err err = {0};

    if (!cut && (c->status < 200 || c->status > 299)) {
        kube_answer_err(&err, c->status, c->body.data, c->body.len);
        cut = &err;
    }
    call_finish(c, cut);
}

int kube_call_start(struct kube_call **out, const struct kube_http *http,
                    const struct kube_request *req, kube_call_done *done, void *ctx,
                    struct err *err)
{
    static const struct kube_receiver receiver = {
        .on_head = call_head, .on_data = call_data, .on_end = call_end};
    struct kube_call *c = calloc(1, sizeof(*c));

    if (!c)
        return err_set(err, ERR_NOMEM, 0, "%s %s", req->method, req->path);
    c->http = *http;
    c->body.max = KUBE_ANSWER_MAX;
    c->done = done;
    c->ctx = ctx;
    if (http->send(http->ctx, &c->stream, req, &receiver, c, err) < 0) {
        call_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

void kube_call_cancel(struct kube_call *c)
{
    if (!c)
        return;
    c->http.cancel(c->stream);
    call_free(c);
}

/* --- what a failed answer means --- */

static enum err_code status_code(int status)
{
    switch (status) {
    case 401:
    case 403:
        return ERR_DENIED;
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_EXISTS;
    case 410:
        return ERR_GONE;
    case 429:
        return ERR_AGAIN;
    default:
        return status >= 500 && status <= 599 ? ERR_AGAIN : ERR_INVALID;
    }
}

int kube_status_err(struct err *err, int code, const char *reason, const char *message)
{
    if (!message[0])
        return err_set_status(err, status_code(code), code, "HTTP %d%s%s", code,
                              reason[0] ? " " : "", reason);
    return err_set_status(err, status_code(code), code, "%s (HTTP %d)", message, code);
}

/* As much of the string as fits. */
static void copy_text(char *out, size_t cap, const struct jscan_str *s)
{
    struct jscan_str part = *s;

    out[0] = 0;
    if (!s->at)
        return;
    /* Unescaped it is not longer; a cut escape would read past the end, so those are not cut. */
    if (!s->escaped && part.len >= cap)
        part.len = cap - 1;
    if (jscan_str_copy(out, cap, &part) < 0)
        out[0] = 0;
    text_clean(out);
}

int kube_answer_err(struct err *err, int status, const uint8_t *body, size_t len)
{
    char reason[64] = "", message[ERR_MSG_MAX] = "";
    struct object_scan scan;
    struct jscan j;

    jscan_init(&j, body, len < KUBE_ERROR_BODY_MAX ? len : KUBE_ERROR_BODY_MAX);
    if (object_scan(&scan, &j) && jscan_str_is(&scan.kind, "Status")) {
        copy_text(reason, sizeof(reason), &scan.reason);
        copy_text(message, sizeof(message), &scan.message);
    }
    return kube_status_err(err, status, reason, message);
}

uint32_t kube_retry_after_s(const char *headers, size_t len)
{
    static const char name[] = "retry-after:";
    const char *at = headers, *end = headers + len;

    while (at < end) {
        const char *next = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = next ? next : end;

        if ((size_t)(line_end - at) > sizeof(name) - 1 &&
            strncasecmp(at, name, sizeof(name) - 1) == 0) {
            uint32_t value = 0;

            at += sizeof(name) - 1;
            while (at < line_end && *at == ' ')
                at++;
            for (; at < line_end && *at >= '0' && *at <= '9'; at++)
                value = value < 100000 ? value * 10 + (uint32_t)(*at - '0') : value;
            return value;
        }
        at = next ? next + 1 : end;
    }
    return 0;
}
