/* TLS over memory, as a client and as a server: bytes in, bytes out, no socket.
 *
 * A context holds the trusted certificates, the client's own certificate and what is spoken over
 * TLS (ALPN); a session is one connection. The session reads from the slice that tls_input lends it
 * and appends what must go to the peer to a buffer of its owner, so no byte is copied into a BIO
 * that would keep its largest size, and an idle session holds no buffers. The server's name or
 * address is always checked against its certificate, unless the context is insecure by request.
 *
 * Nothing here blocks; one thread at a time. No message ever holds key material.
 */
#ifndef ROOST_BASE_TLS_H
#define ROOST_BASE_TLS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tls_context;
struct tls;

struct tls_options {
    const char *ca_pem;            /* one certificate or more; NULL: those of the system */
    const char *cert_pem;          /* own certificate, chain behind it; NULL: none */
    const char *key_pem;           /* its key, not encrypted; given exactly if cert_pem is */
    const char *alpn;              /* what the server must agree to speak, such as "h2" */
    bool accept_any_server_unsafe; /* the server is not verified at all */
};

/* All is borrowed until return. ERR_INVALID: a PEM text that holds nothing usable, or a key that
 * does not belong to the certificate; the message says which. ERR_NOMEM. */
int tls_context_new(struct tls_context **out, const struct tls_options *o, struct err *err)
    ERR_CHECK;
/* For sessions that peers begin: TLS 1.3 and nothing older, no client certificates, no tickets.
 * cert_pem, its chain behind it, and key_pem are needed; alpn is what we speak: a client that asks
 * for protocols must name it. ca_pem and accept_any_server_unsafe mean nothing. */
int tls_server_context_new(struct tls_context **out, const struct tls_options *o, struct err *err)
    ERR_CHECK;
/* Sessions keep what they need. NULL is fine. */
void tls_context_free(struct tls_context *c);

/* name: the DNS name or address that the certificate must be for; a name is also sent (SNI). `out`
 * is the owner's buffer, borrowed for the session's life: all functions below may append to it, up
 * to its maximum. ERR_NOMEM, ERR_INVALID (name). */
int tls_new(struct tls **out_tls, struct tls_context *c, const char *name, struct buf *out,
            struct err *err) ERR_CHECK;
/* A session that a peer began: of a server's context. ERR_NOMEM. */
int tls_accept(struct tls **out_tls, struct tls_context *c, struct buf *out, struct err *err)
    ERR_CHECK;
void tls_free(struct tls *t);

/* Lends received bytes, until tls_handshake or tls_read says that it needs more. */
void tls_input(struct tls *t, const uint8_t *data, size_t len);
/* 1: done, 0: needs more bytes, -1: failed for good. ERR_DENIED: a certificate of either side was
 * refused; ERR_NET: anything else. */
int tls_handshake(struct tls *t, struct err *err) ERR_CHECK;
/* Bytes read; 0: needs more bytes, or, with *end set, the peer has finished. -1: ERR_DENIED (the
 * server refused our certificate: TLS 1.3 says so only here), ERR_NET. */
ssize_t tls_read(struct tls *t, void *out, size_t cap, bool *end, struct err *err) ERR_CHECK;
/* Takes all of it. ERR_LIMIT: the owner's buffer is full (the session is broken then). */
int tls_write(struct tls *t, const void *data, size_t len, struct err *err) ERR_CHECK;
/* Tells the peer that nothing more comes; for a server's session, after its handshake. */
void tls_end(struct tls *t);

/* --- tls_token.c: a secret that is only ever compared --- */

struct tls_token {
    uint8_t digest[32]; /* SHA-256: what is kept is not the secret */
};

void tls_token_of(struct tls_token *out, const char *secret, size_t len);
/* Takes as long whatever the text is, but for its length. */
bool tls_token_is(const struct tls_token *t, const char *text, size_t len);

#endif
