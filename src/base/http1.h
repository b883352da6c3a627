/* HTTP/1.1 over a Unix socket: a small read-only server on the loop, and a blocking client.
 *
 * Heads are parsed by the crate httparse (native/); framing, limits and deadlines are ours. The
 * server answers GET and HEAD without a body and refuses all else; handlers are synchronous and
 * must not block. One request of a connection is under way at a time: while its answer is being
 * written nothing is read, so a connection holds at most one head and one answer. Deadlines are
 * absolute, so a peer that sends a byte now and then does not prolong them.
 *
 * The server lives on the loop thread; the client anywhere. SIGPIPE must be ignored by the process.
 */
#ifndef ROOST_BASE_HTTP1_H
#define ROOST_BASE_HTTP1_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- requests and answers --- */

struct http1_request {
    bool head;                       /* HEAD: the answer's body is counted, not sent */
    bool close;                      /* the connection ends after this request */
    char path[HTTP1_TARGET_MAX + 1]; /* as sent: nothing is decoded */
    const char *query;               /* behind the '?', or empty; inside path's buffer */
    int refused;                     /* the status to refuse it with, and why */
    const char *why;
};

struct http1_response {
    int status;               /* 200 where the handler sets nothing */
    const char *content_type; /* static text; application/json where the handler sets nothing */
    struct buf body;          /* freed by the server; max is HTTP1_BODY_BYTES_MAX */
};

/* Reads the head of a request. Returns its length in bytes, 0 where more is needed, -1 where it is
 * refused: req->refused and req->why are set. Pure. */
long http1_read_request(const uint8_t *data, size_t len, struct http1_request *req);

/* "Not Found"; "Unknown" for a status that this server does not send. */
const char *http1_reason(int status);

/* Makes the response a problem+json (RFC 9457) of this status; detail is cleaned text. */
void http1_problem(struct http1_response *res, int status, const char *detail);

/* --- the server --- */

struct http1_server;

typedef void http1_handler(void *ctx, const struct http1_request *req, struct http1_response *res);

/* 0 means the maximum of base/limits.h. */
struct http1_options {
    unsigned connections_max, head_timeout_ms, idle_timeout_ms, write_timeout_ms;
};

/* Listens at path (0600). A socket file that nobody listens at any more is replaced; the caller
 * holds the lock of the folder. opts may be NULL.
 * ERR_EXISTS: somebody listens there, or it is no socket. ERR_LIMIT: the path is too long for a
 * socket. ERR_DENIED, ERR_IO. */
int http1_serve_unix(struct http1_server **out, struct loop *loop, const char *path,
                     const struct http1_options *opts, http1_handler *handler, void *ctx,
                     struct err *err) ERR_CHECK;
/* Closes all connections and removes the socket file where it is still ours. The memory goes when
 * the loop has closed the handles. NULL is fine. */
void http1_server_free(struct http1_server *s);
unsigned http1_server_connections(const struct http1_server *s);

/* --- the client --- */

struct http1_answer {
    int status;
    char content_type[64];
    struct buf body; /* freed by the caller */
};

#define AUTO_ANSWER __attribute__((cleanup(http1_answer_free)))

/* GET target over the socket at path, within timeout_ms in all (0: HTTP1_CLIENT_TIMEOUT_MS). Any
 * status is a success. ERR_NET: nobody listens, or the answer is malformed or cut; ERR_DENIED: no
 * permission; ERR_TIMEOUT; ERR_LIMIT: body over HTTP1_BODY_BYTES_MAX. err->sys is the errno. */
int http1_get_unix(struct http1_answer *out, const char *path, const char *target,
                   unsigned timeout_ms, struct err *err) ERR_CHECK;
void http1_answer_free(struct http1_answer *a);

/* Reads a whole answer (to the end of the stream) out of data, for the client: 0, or -1. Pure. */
int http1_read_answer(struct http1_answer *out, const uint8_t *data, size_t len, struct err *err)
    ERR_CHECK;

#endif
