/* The way to one API server: requests and watches over a few HTTP/2 connections.
 *
 * Loop thread only; nothing blocks. Calls and watches use separate connections, each filled up to
 * the server's limit of streams before another is opened, one at a time. Flow control is manual: a
 * stream whose receiver does not call kube_consume stops after KUBE_STREAM_WINDOW bytes, and the
 * server waits, not our memory. The client adds scheme, authority and credentials; it never lets a
 * request carry another's. It retries nothing by itself beyond (a) reconnecting, and (b) sending a
 * request again that the server verifiably did not process (REFUSED_STREAM, GOAWAY past the
 * stream).
 */
#ifndef ROOST_KUBE_CLIENT_H
#define ROOST_KUBE_CLIENT_H

#include "base/err.h"
#include "base/hist.h"
#include "base/limits.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kube_config; /* kube/kubeconfig.h */
struct kube_client;
struct kube_stream;

enum kube_lane { KUBE_CALL, KUBE_WATCH };

struct kube_request {
    const char *method;  /* "GET" */
    const char *path;    /* starts with '/', with the query; checked by the caller */
    const char *headers; /* "Name: value\n" lines, or NULL; checked by the caller */
    const void *body;    /* copied; NULL for none */
    size_t body_len;
    bool body_more;            /* the body goes on: kube_write, kube_end */
    const char *user;          /* Impersonate-User, or NULL for the daemon itself */
    const char *const *groups; /* Impersonate-Group, NULL-terminated, or NULL */
    enum kube_lane lane;
    uint32_t timeout_ms; /* until the head came; 0: KUBE_HEAD_TIMEOUT_MS */
};

/* None is called from within kube_send. After on_end the stream is gone. */
struct kube_receiver {
    /* headers: "name: value\n" lines, names in lower case, pseudo-headers left out; borrowed. */
    void (*on_head)(void *ctx, int status, const char *headers, size_t headers_len);
    /* Borrowed bytes. They count against the stream's window until kube_consume. */
    void (*on_data)(void *ctx, const uint8_t *data, size_t len);
    /* err NULL: the answer is complete. Else it was cut: ERR_NET, ERR_TIMEOUT, ERR_DENIED (TLS). */
    void (*on_end)(void *ctx, const struct err *err);
};

/* Takes a copy of nothing: config is borrowed and must outlive the client. */
int kube_client_new(struct kube_client **out, struct loop *loop, const struct kube_config *config,
                    struct err *err) ERR_CHECK;
/* Cancels all streams (no callbacks) and closes; libuv's part of the memory goes when the loop has
 * closed the handles. Not from within a receiver's callback. NULL is fine. */
void kube_client_free(struct kube_client *client);

/* Starts a request; out may be NULL. ERR_LIMIT: KUBE_STREAMS_MAX under way. Requests made while
 * no connection is up wait for one (at most KUBE_CONNECT_TIMEOUT_MS, then on_end with ERR_NET that
 * says why). */
int kube_send(struct kube_stream **out, struct kube_client *client, const struct kube_request *req,
              const struct kube_receiver *receiver, void *ctx, struct err *err) ERR_CHECK;
/* More of the body. ERR_LIMIT past KUBE_BODY_MAX unsent bytes. */
int kube_write(struct kube_stream *s, const void *data, size_t len, struct err *err) ERR_CHECK;
void kube_end(struct kube_stream *s);
/* The receiver is done with n bytes. */
void kube_consume(struct kube_stream *s, size_t n);
/* Forgets the stream: RST_STREAM(CANCEL), no further callbacks. */
void kube_cancel(struct kube_stream *s);

/* Times that tests shorten; the defaults are in base/limits.h. A member that is 0 stays as it is.
 */
struct kube_timing {
    uint32_t connect_ms; /* for an attempt to connect, and for a request's wait for a connection */
    uint32_t backoff_min_ms, backoff_max_ms;
    uint32_t ping_after_ms, ping_timeout_ms;
    uint32_t idle_ms;
};
void kube_client_set_timing(struct kube_client *client, const struct kube_timing *timing);

struct kube_client_stats {
    unsigned connections, streams, waiting;
    uint64_t bytes_read, bytes_written, requests, reconnects;
    /* When the last bytes were read from a socket / written to one, CLOCK_MONOTONIC ns: for the
     * benchmarks' host share. */
    uint64_t last_read_ns, last_write_ns;
};
void kube_client_stats(const struct kube_client *client, struct kube_client_stats *out);

/* How requests of one lane ended: by status, and how long the head took from kube_send on. */
struct kube_answers {
    struct {
        uint16_t status; /* 0: none came */
        uint64_t n;
    } code[KUBE_CODES_MAX];
    unsigned ncodes;
    uint64_t others; /* of statuses that found no room */
    struct hist head;
};
/* Adds those of a client to out. Any thread. */
void kube_client_answers(struct kube_client *client, enum kube_lane lane, struct kube_answers *out);

#endif
