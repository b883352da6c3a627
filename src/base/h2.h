/* HTTP/2 as a client, over a channel: one connection with many streams, nothing of HTTP's meaning.
 *
 * Flow control is manual where it protects memory: a stream whose owner does not call h2_consume
 * stops after H2_STREAM_WINDOW bytes. The connection's own window is given back as bytes are handed
 * over, so that one slow receiver never stops the others. Request bodies are pulled: the owner is
 * asked for bytes when the server has room for them.
 *
 * A connection may be used from on_ready on (the server's limit of streams is known then). After
 * GOAWAY (on_drain) it takes no new streams, those under way go on, and it closes when the last has
 * ended. A peer that sends nothing for ping_after_ms is asked with a PING, and given up
 * ping_timeout_ms later.
 *
 * Loop thread only. No event comes from within a call of the owner's. Requests leave in the same
 * turn of the loop (channel.h). Every h2_close, h2_cancel may be called from within any event.
 */
#ifndef ROOST_BASE_H2_H
#define ROOST_BASE_H2_H

#include "base/channel.h"
#include "base/err.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct h2_context; /* what connections to one kind of server share */
struct h2_conn;
struct h2_stream;

struct h2_target {
    struct channel_target to;
    uint32_t ping_after_ms, ping_timeout_ms;
};

struct h2_events {
    /* Once: requests may be made. */
    void (*on_ready)(void *ctx);
    /* There may be room for another stream. */
    void (*on_room)(void *ctx);
    /* No further streams here; those under way go on. */
    void (*on_drain)(void *ctx);
    /* The connection is gone; the ends of its streams follow at once. err NULL: it was drained. */
    void (*on_close)(void *ctx, const struct err *err);
};

struct h2_receiver {
    /* headers: "name: value\n" lines, names in lower case; borrowed. Once; informational heads
     * (1xx) and trailers are left out. */
    void (*on_head)(void *ctx, int status, const char *headers, size_t len);
    /* Borrowed; counts against the stream's window until h2_consume. */
    void (*on_data)(void *ctx, const uint8_t *data, size_t len);
    /* More of the request's body into out[0..cap): the bytes put there. *end: none follow. 0
     * without *end: none now, h2_resume tells when. */
    size_t (*on_body)(void *ctx, uint8_t *out, size_t cap, bool *end);
    /* The stream is gone. err NULL: the answer is complete. unprocessed: the server did certainly
     * not act on the request, so it may be sent again. */
    void (*on_end)(void *ctx, const struct err *err, bool unprocessed);
};

struct h2_header {
    const char *name; /* lower case */
    const char *value;
    bool secret; /* never put into a compression table */
};

struct h2_request {
    const struct h2_header *headers; /* pseudo-headers first; checked by the caller */
    size_t count;
    bool body; /* on_body is asked for one */
};

/* Copies what it needs of tls (whose alpn is ignored). ERR_NOMEM, ERR_INVALID as
 * tls_context_new. */
int h2_context_new(struct h2_context **out, struct loop *loop, const struct tls_options *tls,
                   struct err *err) ERR_CHECK;
/* All connections must be closed. NULL is fine. */
void h2_context_free(struct h2_context *c);
const struct channel_stats *h2_context_stats(const struct h2_context *c);

/* Copies to; events is borrowed for the connection's life. Fails at once only where nothing was
 * started. */
int h2_open(struct h2_conn **out, struct h2_context *c, const struct h2_target *to,
            const struct h2_events *events, void *ctx, struct err *err) ERR_CHECK;
/* No events from now on, neither of the connection nor of its streams, which are gone. NULL is
 * fine. */
void h2_close(struct h2_conn *conn);
/* How many more streams can be started now. */
unsigned h2_room(const struct h2_conn *conn);
unsigned h2_streams(const struct h2_conn *conn);
/* Heads of answers received so far: whether the connection was ever of use. */
uint64_t h2_answers(const struct h2_conn *conn);

/* Copies the request; receiver is borrowed for the stream's life. ERR_LIMIT: no room. ERR_NOMEM. */
int h2_request(struct h2_stream **out, struct h2_conn *conn, const struct h2_request *req,
               const struct h2_receiver *receiver, void *ctx, struct err *err) ERR_CHECK;
/* There is more of the body, or its end. */
void h2_resume(struct h2_stream *s);
void h2_consume(struct h2_stream *s, size_t n);
/* Tells the server, and forgets: no further events of this stream. */
void h2_cancel(struct h2_stream *s);

#endif
