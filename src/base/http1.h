/* HTTP/1.1 over a Unix socket: a small server on the loop, and a blocking client.
 *
 * Heads are parsed by the crate httparse (native/); framing, limits and deadlines are ours. Bodies
 * of requests have a stated length, and are held whole in memory before the handler is called: up
 * to what the server's user allows for that request, and all of them together up to
 * HTTP1_BODIES_BYTES_MAX, until they are answered. Handlers must not block: one that has to wait
 * for something answers later (http1_later). One request of a connection is under way at a time:
 * while it is being handled, and while its answer is being written, nothing is read, so a
 * connection holds at most one head, one body and one answer. Deadlines are absolute, so a peer
 * that sends a byte now and then does not prolong them.
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
#include <sys/types.h>

/* --- requests and answers --- */

enum http1_method { HTTP1_GET = 1, HTTP1_HEAD, HTTP1_PUT, HTTP1_POST, HTTP1_DELETE };
#define HTTP1_METHODS "GET, HEAD, PUT, POST, DELETE"

struct http1_request {
    enum http1_method method;
    bool head;                       /* HEAD: the answer's body is counted, not sent */
    bool close;                      /* the connection ends after this request */
    bool http10;                     /* HTTP/1.0 */
    bool expects;                    /* to be told that its body is welcome */
    char path[HTTP1_TARGET_MAX + 1]; /* as sent: nothing is decoded */
    const char *query;               /* behind the '?', or empty; inside path's buffer */
    uint64_t body_len;               /* as stated */
    /* The whole body, when the handler is called; it may take it, leaving it empty. */
    struct buf *body;
    /* What Authorization says, where there is one of them; points into data. */
    const char *credentials;
    size_t credentials_len;
    int refused; /* the status to refuse it with, and why */
    const char *why;
};

struct http1_response {
    int status;               /* 200 where the handler sets nothing */
    const char *content_type; /* static text; application/json where the handler sets nothing */
    char allow[64];           /* of a 405: the methods; empty: HTTP1_METHODS */
    struct buf body;          /* freed by the server; max is HTTP1_BODY_BYTES_MAX */
    bool streamed;            /* set by http1_stream_open */
};

const char *http1_method_name(enum http1_method method);

/* Reads the head of a request. Returns its length in bytes, 0 where more is needed, -1 where it is
 * refused: req->refused and req->why are set. Pure. */
long http1_read_request(const uint8_t *data, size_t len, struct http1_request *req);

/* "Not Found"; "Unknown" for a status that this server does not send. */
const char *http1_reason(int status);

/* Makes the response a problem+json (RFC 9457) of this status; detail is cleaned text. */
void http1_problem(struct http1_response *res, int status, const char *detail);
/* The same of an error: its status, its reason, its message. */
void http1_problem_err(struct http1_response *res, const struct err *err);

/* --- the server --- */

struct http1_server;

typedef void http1_handler(void *ctx, const struct http1_request *req, struct http1_response *res);

/* 0 means the maximum of base/limits.h. */
struct http1_options {
    unsigned connections_max, head_timeout_ms, body_timeout_ms, work_timeout_ms, idle_timeout_ms,
        write_timeout_ms;
    unsigned streams_max;
    size_t stream_backlog_max;
    /* Of the socket file: who may write to it may ask. 0: 0600, and the process's own group. */
    mode_t mode;
    gid_t group;
    /* Asked with the server's ctx when a head has come: the largest body that the request may have.
     * It may refuse the request by making res a problem; the handler is not called then. NULL: no
     * request has a body. */
    uint64_t (*body_max)(void *ctx, const struct http1_request *req, struct http1_response *res);
};

/* An answer that is not there yet. The handler that begins one leaves the response alone; the owner
 * ends it with http1_later_send, once, on the loop thread, also when the client or the whole server
 * is gone. Past work_timeout the client gets 504, while the work goes on. */
struct http1_later;
/* From within a handler. NULL: no memory, and the response says so. */
struct http1_later *http1_later_begin(struct http1_response *res);
/* To be filled as a handler does. */
struct http1_response *http1_later_response(struct http1_later *later);
/* Sends it and frees it. */
void http1_later_send(struct http1_later *later);

/* Listens at path. A socket file that nobody listens at any more is replaced; the caller
 * holds the lock of the folder. opts may be NULL.
 * ERR_EXISTS: somebody listens there, or it is no socket. ERR_LIMIT: the path is too long for a
 * socket. ERR_DENIED (also: the process is not in the group), ERR_IO. */
int http1_serve_unix(struct http1_server **out, struct loop *loop, const char *path,
                     const struct http1_options *opts, http1_handler *handler, void *ctx,
                     struct err *err) ERR_CHECK;
/* Who is not at the socket, but from elsewhere, must show credentials with each request: true where
 * they are good. Else the answer is 401, and the connection ends. */
struct http1_guard {
    bool (*admit)(void *ctx, const char *credentials, size_t len); /* none: NULL, 0 */
    void *ctx;
};
/* One connection more, over a stream socket that the caller has the other end of. fd is taken, also
 * where that fails. guard is borrowed while the server lives; NULL: nothing is asked. ERR_NOMEM,
 * ERR_IO. */
int http1_server_adopt(struct http1_server *s, int fd, const struct http1_guard *guard,
                       struct err *err) ERR_CHECK;
/* Closes all connections and removes the socket file where it is still ours. The memory goes when
 * the loop has closed the handles. NULL is fine. */
void http1_server_free(struct http1_server *s);
unsigned http1_server_connections(const struct http1_server *s);

/* --- streams: answers that go on until their owner or the client ends them --- */

struct http1_stream;

/* What the owner of a stream is told, on the loop thread and never from within a function below. */
struct http1_stream_owner {
    /* All that was pushed was taken by the socket: who has more to say than there is room for goes
     * on here. NULL: it never has. */
    void (*drained)(void *ctx);
    /* The client went, was too slow, or the server ends: the stream is not there any more. Called
     * once, unless the owner ended it by http1_stream_end. */
    void (*gone)(void *ctx);
};

/* In a handler: the answer is a stream, 200 of this type (static text), in chunks; the connection
 * ends with it. May be pushed to at once. -1: there are streams_max of them, or no memory: the
 * answer says so. 0 with *out NULL: the request is a HEAD, and there is nothing more to do. */
int http1_stream_open(struct http1_stream **out, const struct http1_request *req,
                      struct http1_response *res, const char *content_type,
                      const struct http1_stream_owner *owner, void *ctx) ERR_CHECK;
/* How many bytes may wait in it, besides those that do. */
size_t http1_stream_room(const struct http1_stream *s);
/* Appends, and writes soon. Push whole lines: the stream may be cut between two pushes. -1: it is
 * being cut, because there was no room or memory, or was so before: its last line says why, `gone`
 * comes later, and what is pushed until then is dropped. */
int http1_stream_push(struct http1_stream *s, const void *data, size_t len);
/* Ends it with a last line {"error": why}; why is plain text without quotes, at most 200 bytes. */
void http1_stream_cut(struct http1_stream *s, const char *why);
/* No more comes: what waits is written, then the connection ends. The stream is the server's from
 * here on and its owner hears no more. */
void http1_stream_end(struct http1_stream *s);
unsigned http1_server_streams(const struct http1_server *s);

/* --- the client --- */

struct http1_answer {
    int status;
    char content_type[64];
    struct buf body; /* freed by the caller */
};

#define AUTO_ANSWER __attribute__((cleanup(http1_answer_free)))

/* A server over TLS. */
struct http1_remote {
    const char *host, *port; /* a name or an address */
    const char *ca_pem;      /* whom to trust; NULL: the system's authorities */
};

/* A request with a body; body may be NULL. */
struct http1_question {
    enum http1_method method;
    const char *target, *content_type;
    const void *body;
    size_t body_len;
    const char *token;                 /* sent as a bearer token; NULL: none */
    const struct http1_remote *remote; /* where to ask instead of a socket; NULL: at the socket */
    /* Told how much of the body was sent, now and then and at its end; NULL: nobody is. */
    void (*progress)(void *ctx, size_t done, size_t total);
    void *progress_ctx;
};

/* The same over a stream socket that is connected already; fd is the caller's. */
int http1_ask_fd(struct http1_answer *out, int fd, const struct http1_question *question,
                 unsigned timeout_ms, struct err *err) ERR_CHECK;

/* As http1_get_unix. An answer to HEAD has no body. */
int http1_ask_unix(struct http1_answer *out, const char *path,
                   const struct http1_question *question, unsigned timeout_ms, struct err *err)
    ERR_CHECK;
/* GET target over the socket at path, within timeout_ms in all (0: HTTP1_CLIENT_TIMEOUT_MS). Any
 * status is a success. ERR_NET: nobody listens, or the answer is malformed or cut; ERR_DENIED: no
 * permission; ERR_TIMEOUT; ERR_LIMIT: body over HTTP1_BODY_BYTES_MAX. err->sys is the errno. */
int http1_get_unix(struct http1_answer *out, const char *path, const char *target,
                   unsigned timeout_ms, struct err *err) ERR_CHECK;
void http1_answer_free(struct http1_answer *a);

/* As http1_ask_unix, for an answer that goes on: each piece of the body of a 200 is handed over as
 * it comes, until `each` returns false or the answer ends; out->body stays empty then. Its head
 * must come within HTTP1_CLIENT_TIMEOUT_MS; after it any silence is fine. A body of another status
 * is in out. ERR_NET: also where the answer is cut before its end. */
typedef bool http1_piece(void *ctx, const uint8_t *data, size_t len);
int http1_follow_unix(struct http1_answer *out, const char *path,
                      const struct http1_question *question, http1_piece *each, void *ctx,
                      struct err *err) ERR_CHECK;

/* --- reading answers, for the client --- */

struct http1_head {
    int status;
    char content_type[64];
    bool chunked;
    uint64_t length; /* of the body, where it is not chunked */
};

/* The head of an answer: its length in bytes, 0 where more is needed, -1. Pure. */
long http1_read_head(struct http1_head *out, const uint8_t *data, size_t len, struct err *err)
    ERR_CHECK;

/* A body in chunks, without extensions and trailers. Zero is its beginning. */
struct http1_chunks {
    unsigned at; /* one of the states in http1_client.c */
    unsigned digits;
    uint64_t left;
};
/* Takes all of data, which may be cut anywhere, and hands over what is in the chunks. 1: the body
 * has ended; 0: more is to come; -1: malformed, or something is behind the end; 2: `each` wants no
 * more. Pure. */
int http1_read_chunks(struct http1_chunks *c, const uint8_t *data, size_t len, http1_piece *each,
                      void *ctx);

/* Reads a whole answer (to the end of the stream) out of data, for the client: 0, or -1. head: to a
 * HEAD, so its body is not there. Pure. */
int http1_read_answer(struct http1_answer *out, const uint8_t *data, size_t len, bool head,
                      struct err *err) ERR_CHECK;

#endif
