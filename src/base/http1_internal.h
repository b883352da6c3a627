/* A connection of the HTTP/1.1 server and the stream that may be its answer: shared by http1.c,
 * which reads requests and writes whole answers, and http1_stream.c. Loop thread.
 */
#ifndef ROOST_BASE_HTTP1_INTERNAL_H
#define ROOST_BASE_HTTP1_INTERNAL_H

#include "base/http1.h"

#include <sys/types.h>
#include <uv.h>

enum phase { IDLE = 1, HEAD, BODY, WORKING, WRITING, STREAMING, CLOSING };

struct http1_later {
    struct conn *conn; /* NULL: nobody waits any more */
    struct http1_response res;
    struct http1_server *server; /* of which it holds so many bytes of a body; NULL: none */
    uint64_t held;
};

struct conn {
    uv_pipe_t handle;
    struct http1_server *server;
    struct conn *prev, *next;
    struct timer deadline;
    enum phase phase;
    const struct http1_guard *guard; /* NULL: whoever reached the socket may ask */
    struct buf in;
    /* The request under way, from its body on. */
    struct http1_request *req;
    struct buf body;
    /* The answer under way. */
    struct http1_later *later;
    uv_write_t write;
    struct http1_response res;
    char head[384];
    bool last, head_only;        /* close after it; no body is sent */
    bool handling;               /* its handler is being called */
    struct http1_stream *stream; /* the answer is one; freed with the connection */
};

struct http1_server {
    uv_pipe_t listener;
    struct loop *loop;
    http1_handler *handler;
    void *ctx;
    struct http1_options opts;
    struct conn *conns;
    unsigned nconns, nstreams, handles; /* handles: and answers that hold a body */
    uint64_t bodies;                    /* bytes of all requests under way, as they were stated */
    char *path;
    dev_t dev; /* the socket file that is ours */
    ino_t ino;
    char scratch[4096]; /* what was just read */
};

/* --- http1.c --- */

void http1_conn_close(struct conn *c);

/* --- http1_stream.c --- */

/* The handler has opened a stream: its head goes out, and what was pushed already. */
void http1_stream_begin(struct conn *c);
/* The connection's timer fired while it streams. */
void http1_stream_timer(struct conn *c);
/* The server ends: the last bytes and the end of the answer, if the socket takes them at once. */
void http1_stream_farewell(struct conn *c);
/* The connection is being closed: tells the owner. */
void http1_stream_gone(struct conn *c);
/* After the connection's handle was closed. */
void http1_stream_free(struct conn *c);

#endif
