/* A channel: one TLS connection to a server on the loop.
 *
 * It resolves the name, tries each address in turn, does the TLS handshake, all within one
 * deadline, and then carries bytes both ways. Its owner sees four events and no libuv. Channels of
 * one context share the buffers that bytes are read into, so an idle channel holds no more than its
 * socket and its TLS session.
 *
 * Writing is pulled: the owner says channel_dirty, and is asked (on_flush) after the poll that made
 * it so, or before the next, whichever comes first: what is written in one turn leaves in one
 * system call, and nothing waits for a turn of the loop. Past CHANNEL_BACKLOG_MAX unsent bytes the
 * owner must stop writing (channel_backlog) and is asked again when they are gone.
 *
 * Loop thread only. Events never come from within a call of the owner's, and none comes after
 * channel_close, which may be called from any of them.
 */
#ifndef ROOST_BASE_CHANNEL_H
#define ROOST_BASE_CHANNEL_H

#include "base/err.h"
#include "base/loop.h"
#include "base/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel_context;
struct channel;

struct channel_target {
    const char *host;        /* a name, or an address as text */
    const char *server_name; /* what the certificate is for; NULL: host */
    uint16_t port;
    uint32_t timeout_ms; /* until the handshake is done, all addresses together */
};

struct channel_events {
    void (*on_open)(void *ctx);
    /* Borrowed until return. */
    void (*on_bytes)(void *ctx, const uint8_t *data, size_t len);
    void (*on_flush)(void *ctx);
    /* The channel is gone. ERR_NET, ERR_TIMEOUT, ERR_DENIED, ERR_UNSUPPORTED (ALPN), ERR_LIMIT. */
    void (*on_close)(void *ctx, const struct err *err);
};

/* Of all channels of a context. Times are CLOCK_MONOTONIC, taken right after the system call that
 * moved bytes. */
struct channel_stats {
    uint64_t bytes_read, bytes_written, last_read_ns, last_write_ns;
};

/* Borrows loop, copies what it needs of tls. From here on the process ignores SIGPIPE: libuv's
 * writes would raise it. */
int channel_context_new(struct channel_context **out, struct loop *loop,
                        const struct tls_options *tls, struct err *err) ERR_CHECK;
/* All its channels must be closed. NULL is fine. */
void channel_context_free(struct channel_context *c);
const struct channel_stats *channel_context_stats(const struct channel_context *c);

/* Copies the target; borrows events (a constant) for the channel's life. Fails at once only where
 * nothing could be started: ERR_NET, ERR_NOMEM, ERR_INVALID. */
int channel_open(struct channel **out, struct channel_context *c, const struct channel_target *to,
                 const struct channel_events *events, void *ctx, struct err *err) ERR_CHECK;
/* No events from now on; memory goes at once or when the event that this is called from returns. */
void channel_close(struct channel *ch);
/* The same with on_close(ctx, err) first: for owners that find that the peer broke their protocol.
 * From within on_bytes and on_flush only. */
void channel_fail(struct channel *ch, const struct err *err);

/* Asks for on_flush. Once open. */
void channel_dirty(struct channel *ch);
/* Encrypts; what is written leaves when on_flush returns. From on_flush only. */
int channel_write(struct channel *ch, const void *data, size_t len, struct err *err) ERR_CHECK;
/* Bytes that the kernel did not take yet. */
size_t channel_backlog(const struct channel *ch);

#endif
