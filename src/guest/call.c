/* See call.h. Which thread may touch what is the whole of this file: the struct says it. */
#include "guest/call.h"

#include "base/buf.h"
#include "base/limits.h"

#include <assert.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum piece_kind { PIECE_HEAD, PIECE_DATA, PIECE_SEND };

/* Something on its way to the other thread. Holds a reference to its call. */
struct piece {
    struct msg msg;
    struct call *call;
    struct piece *next;
    enum piece_kind kind;
    int status;
    bool ok;      /* PIECE_SEND: the last */
    bool refused; /* PIECE_HEAD: by the host; why is text behind the head */
    size_t len;
    uint8_t data[];
};

struct call {
    atomic_uint refs;
    struct call_owner owner;
    char *scheme, *method, *target, *headers;
    uint8_t *body;
    size_t body_len;
    bool more;
    struct msg start, cancel, consume, end;
    atomic_size_t consumed; /* read by the guest, not yet reported */

    /* loop side */
    const struct capability *cap; /* NULL: not started, or over */
    void *impl;
    bool over;
    bool lost;     /* a piece of the answer, for want of memory: it must not count as complete */
    bool complete; /* what `end` tells */

    /* worker side */
    bool posted, closed, has_head, head_seen, ended, failed;
    int status;
    struct piece *head;
    struct piece *first, **last; /* data that was not read yet */
    size_t offset;               /* in the first */
    size_t unread;               /* bytes of them, less offset */
};

static void call_unref(struct call *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (struct piece *p = c->first, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    free(c->head);
    free(c->scheme);
    free(c->method);
    free(c->target);
    free(c->headers);
    free(c->body);
    free(c);
}

static struct call *call_ref(struct call *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

static struct piece *piece_new(struct call *c, enum piece_kind kind, const void *data, size_t len)
{
    struct piece *p = malloc(sizeof(*p) + len);

    if (!p)
        return NULL;
    *p = (struct piece){.call = call_ref(c), .kind = kind, .len = len};
    if (len)
        memcpy(p->data, data, len);
    return p;
}

const char *call_method(const struct call *c)
{
    return c->method;
}

const char *call_target(const struct call *c)
{
    return c->target;
}

const char *call_headers(const struct call *c)
{
    return c->headers;
}

struct bytes call_body(const struct call *c)
{
    return (struct bytes){.data = c->body, .len = c->body_len};
}

bool call_body_more(const struct call *c)
{
    return c->more;
}

uint64_t call_event_ns(const struct call *c, bool *woke)
{
    *woke = c->owner.woke;
    return c->owner.put_ns;
}

bool call_first(const struct call *c)
{
    return c->owner.first;
}

/* --- loop side --- */

void call_set_impl(struct call *c, void *impl)
{
    c->impl = impl;
}

void *call_impl(const struct call *c)
{
    return c->impl;
}

static void piece_arrived(struct msg *m);
static void end_arrived(struct msg *m);

static void piece_to_worker(struct call *c, struct piece *p)
{
    if (!p) {
        c->lost = true;
        return;
    }
    p->msg.run = piece_arrived;
    loop_send(c->owner.loop, &p->msg);
}

/* Without a header that is itself called `status`: that name is the answer's own. */
static size_t leave_out_status(uint8_t *lines, size_t len)
{
    size_t kept = 0;

    for (size_t at = 0, n; at < len; at += n) {
        const uint8_t *end = memchr(lines + at, '\n', len - at);

        n = end ? (size_t)(end - (lines + at)) + 1 : len - at;
        if (n > 7 && !memcmp(lines + at, "status:", 7))
            continue;
        memmove(lines + kept, lines + at, n);
        kept += n;
    }
    return kept;
}

void call_head(struct call *c, int status, const char *headers, size_t len)
{
    struct piece *p = piece_new(c, PIECE_HEAD, headers, len);

    if (p) {
        p->status = status;
        p->len = leave_out_status(p->data, len);
    }
    piece_to_worker(c, p);
}

void call_data(struct call *c, const uint8_t *data, size_t len)
{
    if (len)
        piece_to_worker(c, piece_new(c, PIECE_DATA, data, len));
}

static void loop_side_over(struct call *c)
{
    assert(!c->over);
    c->over = true;
    c->cap = NULL;
    c->impl = NULL;
    call_unref(c);
}

void call_end(struct call *c, bool ok)
{
    c->complete = ok && !c->lost;
    c->end.run = end_arrived;
    call_ref(c); /* the message's own */
    loop_send(c->owner.loop, &c->end);
    loop_side_over(c);
}

static const char *title_of(int status)
{
    switch (status) {
    case 403:
        return "Forbidden";
    case 429:
        return "Too Many Requests";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Bad Gateway";
    }
}

static char *problem_body(int status, const char *type, const char *detail)
{
    char full_type[64], *text;
    json_t *doc;

    snprintf(full_type, sizeof(full_type), "roost:%s", type);
    doc = json_pack("{s:s, s:s, s:i, s:s}", "type", full_type, "title", title_of(status), "status",
                    status, "detail", detail);
    text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    json_decref(doc);
    return text ? text : strdup("{}");
}

static const char problem_head[] = "content-type: application/problem+json\n";

/* The head of the host's own answer. With it goes why the host refused, where it did. */
static struct piece *problem_piece(struct call *c, int status, const char *detail)
{
    const size_t len = sizeof(problem_head) - 1;
    char text[sizeof(problem_head) + ERR_MSG_MAX];
    struct piece *p;

    snprintf(text, sizeof(text), "%s%s", problem_head, detail);
    p = piece_new(c, PIECE_HEAD, text, strlen(text) + 1);
    if (!p)
        return NULL;
    p->status = status;
    p->len = len;
    p->refused = status == 403 || status == 429;
    return p;
}

void call_problem(struct call *c, int status, const char *type, const char *fmt, ...)
{
    char detail[ERR_MSG_MAX], *body;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    body = problem_body(status, type, detail);
    piece_to_worker(c, problem_piece(c, status, detail));
    if (body)
        call_data(c, (const uint8_t *)body, strlen(body));
    free(body);
    call_end(c, true);
}

static void started(struct msg *m)
{
    struct call *c = container_of(m, struct call, start);
    const struct capabilities *caps = c->owner.capabilities;

    for (size_t i = 0; i < caps->n; i++) {
        const struct capability *cap = caps->all[i];

        if (strcmp(cap->scheme, c->scheme) != 0 || !cap->granted(cap->ctx, c->owner.guest))
            continue;
        c->cap = cap;
        call_ref(c); /* it may be over before start returns */
        cap->start(cap->ctx, c, c->owner.guest);
        free(c->body); /* sent, or copied by the capability */
        c->body = NULL;
        c->body_len = 0;
        call_unref(c);
        return;
    }
    call_problem(c, 403, "denied", "capability %s: is not granted to this guest by its manifest",
                 c->scheme);
}

static void cancelled(struct msg *m)
{
    struct call *c = container_of(m, struct call, cancel);

    if (!c->over) {
        if (c->cap)
            c->cap->cancel(c->cap->ctx, c);
        loop_side_over(c);
    }
    call_unref(c); /* the message's own */
}

static void was_consumed(struct msg *m)
{
    struct call *c = container_of(m, struct call, consume);
    size_t n = atomic_exchange(&c->consumed, 0);

    if (!c->over && c->cap)
        c->cap->consume(c->cap->ctx, c, n);
    call_unref(c);
}

static void was_sent(struct msg *m)
{
    struct piece *p = container_of(m, struct piece, msg);
    struct call *c = p->call;

    if (!c->over && c->cap)
        c->cap->write(c->cap->ctx, c, p->data, p->len, p->ok);
    free(p);
    call_unref(c);
}

/* --- worker side --- */

static char *text_of(struct bytes b)
{
    return strndup(b.data ? (const char *)b.data : "", b.len);
}

int call_new(struct call **out, const struct call_request *req, const struct call_owner *owner,
             struct err *err)
{
    struct call *c = calloc(1, sizeof(*c));

    if (!c)
        return err_set(err, ERR_NOMEM, 0, "no memory for a call");
    atomic_init(&c->refs, 1);
    atomic_init(&c->consumed, 0);
    c->owner = *owner;
    c->last = &c->first;
    c->method = text_of(req->method);
    c->scheme = text_of(req->scheme);
    c->target = text_of(req->target);
    c->headers = text_of(req->headers);
    c->body = malloc(req->body.len + 1);
    if (!c->method || !c->scheme || !c->target || !c->headers || !c->body) {
        call_unref(c);
        return err_set(err, ERR_NOMEM, 0, "no memory for a call");
    }
    if (req->body.len)
        memcpy(c->body, req->body.data, req->body.len);
    c->body_len = req->body.len;
    c->more = req->more;
    *out = c;
    return 0;
}

void call_post(struct call *c)
{
    c->posted = true;
    call_ref(c); /* the loop's */
    c->start.run = started;
    loop_send(c->owner.capabilities->loop, &c->start);
}

static void take_head(struct call *c, struct piece *p)
{
    c->has_head = true;
    c->status = p->status;
    c->head = p;
    if (p->refused && c->owner.refused)
        c->owner.refused(c->owner.ctx, (const char *)p->data + p->len);
}

static void take_data(struct call *c, struct piece *p)
{
    p->next = NULL;
    *c->last = p;
    c->last = &p->next;
    c->unread += p->len;
}

/* Without a head, for which there was no memory, the answer is as if there had been none. */
static void take_end(struct call *c)
{
    c->ended = true;
    c->failed = !c->complete;
    if (!c->has_head)
        c->status = 502;
    c->has_head = true;
}

/* A piece of the answer is here, on the worker's thread. */
static void piece_arrived(struct msg *m)
{
    static void (*const take[])(struct call *, struct piece *) = {
        [PIECE_HEAD] = take_head, [PIECE_DATA] = take_data};
    struct piece *p = container_of(m, struct piece, msg);
    struct call *c = p->call;

    if (c->closed || (p->kind == PIECE_HEAD && c->has_head)) {
        free(p);
    } else {
        take[p->kind](c, p);
        c->owner.ready(c->owner.ctx);
    }
    call_unref(c);
}

/* The message is the call's own, so that no guest waits for an end that there was no memory for. */
static void end_arrived(struct msg *m)
{
    struct call *c = container_of(m, struct call, end);

    if (!c->closed) {
        take_end(c);
        c->owner.ready(c->owner.ctx);
    }
    call_unref(c);
}

void call_refuse(struct call *c, int status, const char *type, const char *detail)
{
    char *body = problem_body(status, type, detail);
    struct piece *head = problem_piece(c, status, detail);
    struct piece *data = body ? piece_new(c, PIECE_DATA, body, strlen(body)) : NULL;

    free(body);
    if (head) {
        call_unref(c);
        take_head(c, head);
    }
    if (data) {
        call_unref(c);
        take_data(c, data);
    }
    c->has_head = true;
    c->status = status;
    c->ended = true;
}

int call_send(struct call *c, struct bytes data, bool last, struct err *err)
{
    struct piece *p;

    if (!c->posted || c->ended) /* nobody wants it any more: dropped */
        return 0;
    p = piece_new(c, PIECE_SEND, data.data, data.len);
    if (!p)
        return err_set(err, ERR_NOMEM, 0, "no memory for %zu bytes of a body", data.len);
    p->ok = last;
    p->msg.run = was_sent;
    loop_send(c->owner.capabilities->loop, &p->msg);
    return 0;
}

void call_close(struct call *c)
{
    c->closed = true;
    if (c->posted && !c->ended) {
        call_ref(c);
        c->cancel.run = cancelled;
        loop_send(c->owner.capabilities->loop, &c->cancel);
    }
    call_unref(c);
}

bool call_has_head(const struct call *c)
{
    return c->has_head;
}

bool call_ended(const struct call *c)
{
    return c->ended;
}

size_t call_unread(const struct call *c)
{
    return c->unread;
}

bool call_failed(const struct call *c)
{
    return c->failed;
}

bool call_readable(const struct call *c)
{
    return (c->has_head && !c->head_seen) || c->first || c->ended;
}

void call_head_seen(struct call *c)
{
    c->head_seen = true;
}

int call_status(const struct call *c)
{
    return c->status;
}

struct bytes call_head_lines(const struct call *c)
{
    if (!c->head)
        return (struct bytes){.data = (const uint8_t *)"", .len = 0};
    return (struct bytes){.data = c->head->data, .len = c->head->len};
}

/* One message for all that was read since the last one was taken. */
static void report_consumed(struct call *c, size_t n)
{
    if (!c->posted || c->ended)
        return;
    if (atomic_fetch_add(&c->consumed, n) != 0)
        return;
    call_ref(c);
    c->consume.run = was_consumed;
    loop_send(c->owner.capabilities->loop, &c->consume);
}

size_t call_read(struct call *c, uint8_t *buf, size_t cap)
{
    size_t got = 0;

    while (c->first && got < cap) {
        struct piece *p = c->first;
        size_t n = p->len - c->offset < cap - got ? p->len - c->offset : cap - got;

        memcpy(buf + got, p->data + c->offset, n);
        got += n;
        c->offset += n;
        c->unread -= n;
        if (c->offset < p->len)
            break;
        c->offset = 0;
        c->first = p->next;
        if (!c->first)
            c->last = &c->first;
        free(p);
    }
    if (got)
        report_consumed(c, got);
    return got;
}
