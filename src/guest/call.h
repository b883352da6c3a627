/* A call of a guest to the outside: one request, one answer, two sides.
 *
 * The guest's side is a session on a worker; the other side is a capability on a loop. As a rule
 * that is the worker's own loop, and then everything here is a function call on one thread: a call
 * and its answer change no thread. A capability may also live on another loop; then the two sides
 * meet only in messages, and each has its half of the struct and its own reference.
 *
 * A call ends for the guest when it closes it or its event is over: the capability is told to
 * cancel, pieces still on their way find nobody and are dropped.
 *
 * Flow control: what the guest has read is reported back (capability->consume), so that a guest
 * that does not read stops its peer, not the host's memory.
 */
#ifndef ROOST_GUEST_CALL_H
#define ROOST_GUEST_CALL_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/loop.h"

#include <stdatomic.h>
#include <stdbool.h>

struct call;
struct guest;
struct worker;

/* What a guest may call, by scheme: one for each file of capability/. On its loop's thread. */
struct capability {
    const char *scheme; /* "kube" */
    void *ctx;
    /* Whether the guest's manifest grants it. */
    bool (*granted)(void *ctx, const struct guest *g);
    /* Begins; answers by call_head/call_data/call_end, at once or later. Whatever is wrong becomes
     * an answer (call_problem). */
    void (*start)(void *ctx, struct call *c, const struct guest *g);
    /* More of the request's body; last: it ends here. */
    void (*write)(void *ctx, struct call *c, const uint8_t *data, size_t len, bool last);
    /* The guest has read n bytes of the answer. */
    void (*consume)(void *ctx, struct call *c, size_t n);
    /* The guest does not want it any more: no further callbacks, no answer. */
    void (*cancel)(void *ctx, struct call *c);
};

struct capabilities {
    struct loop *loop; /* where all of them live */
    const struct capability *all[8];
    size_t n;
};

/* Makes and frees a worker's own capabilities on the worker's loop; both are called while that
 * loop's thread does not run. */
struct capability_source {
    void *ctx;
    int (*open)(void *ctx, size_t worker, struct loop *loop, struct capabilities *out,
                struct err *err);
    void (*close)(void *ctx, size_t worker);
};

/* --- the request, immutable from call_post on --- */
const char *call_method(const struct call *c);
const char *call_target(const struct call *c);  /* behind "scheme:" */
const char *call_headers(const struct call *c); /* "Name: value\n" lines, checked */
struct bytes call_body(const struct call *c);
bool call_body_more(const struct call *c);
/* When the event came that this call was made for, CLOCK_MONOTONIC; *woke: its guest was asleep. */
uint64_t call_event_ns(const struct call *c, bool *woke);
bool call_first(const struct call *c); /* of its event */

/* --- loop side: for capabilities --- */
void call_set_impl(struct call *c, void *impl);
void *call_impl(const struct call *c);
/* headers: "name: value\n" lines, names in lower case. Copied. */
void call_head(struct call *c, int status, const char *headers, size_t len);
void call_data(struct call *c, const uint8_t *data, size_t len);
/* The answer is complete (ok) or broke off. The capability must not touch the call afterwards. */
void call_end(struct call *c, bool ok);
/* The host's own answer (RFC 9457): head, body, end. type: "denied", "limit", ... */
void call_problem(struct call *c, int status, const char *type, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* --- worker side: for sessions --- */
struct call_request {
    struct bytes method, scheme, target, headers, body;
    bool more;
};

/* What the worker needs to know about where calls go and whom an answer wakes. */
struct call_owner {
    struct loop *loop; /* the worker's */
    const struct capabilities *capabilities;
    const struct guest *guest;
    uint64_t put_ns;          /* when the event in hand came, for the latency histograms */
    bool woke;                /* and whether the guest was asleep then */
    bool first;               /* the first call of the event */
    void (*ready)(void *ctx); /* worker thread: something of the answer came */
    /* Worker thread: the host refused the call (403, 429), and why; may be NULL. */
    void (*refused)(void *ctx, const char *why);
    void *ctx;
};

int call_new(struct call **out, const struct call_request *req, const struct call_owner *owner,
             struct err *err) ERR_CHECK;
/* Hands it to its capability. */
void call_post(struct call *c);
/* Answers it here, without the loop; instead of call_post. */
void call_refuse(struct call *c, int status, const char *type, const char *detail);
/* More of the request's body. ERR_NOMEM. */
int call_send(struct call *c, struct bytes data, bool last, struct err *err) ERR_CHECK;
/* Drops the worker's side; the loop is told to cancel if the answer is not complete. */
void call_close(struct call *c);

bool call_has_head(const struct call *c);
bool call_ended(const struct call *c);  /* nothing more will come */
bool call_failed(const struct call *c); /* it broke off */
/* Bytes of the answer's body that came and were not read. */
size_t call_unread(const struct call *c);
/* Something came that was not looked at: a head, data, or the end (for good). */
bool call_readable(const struct call *c);
/* The guest has looked at the head. */
void call_head_seen(struct call *c);
int call_status(const struct call *c);
struct bytes call_head_lines(const struct call *c);
/* Copies at most cap bytes of what came and reports them as consumed. */
size_t call_read(struct call *c, uint8_t *buf, size_t cap);

#endif
