/* The way into an HTTP/1.1 server over TCP: TLS 1.3, and a bearer token with each request.
 *
 * A TLS end in front of the server: what it decrypts goes through a socket pair, and the server
 * knows no difference but that credentials are asked for (http1_server_adopt). So all limits and
 * deadlines of the server hold here too; those of what comes before a request are this file's:
 * clients, handshakes at once and for each second, the time of a handshake, and of a piece that the
 * peer takes.
 *
 * Loop thread.
 */
#ifndef ROOST_BASE_HTTP1_TLS_H
#define ROOST_BASE_HTTP1_TLS_H

#include "base/http1.h"
#include "base/tls.h"

struct http1_tls;

/* 0 means the maximum of base/limits.h. */
struct http1_tls_options {
    unsigned clients_max, handshakes_max, handshake_timeout_ms, write_timeout_ms, rate, burst;
};

/* True for an address that http1_tls_new takes: "127.0.0.1:8443", "[::1]:8443"; no names. */
bool http1_tls_address_ok(const char *listen);
/* Listens; port 0 is any free one. The context (a server's, taken also where this fails) and the
 * token are for connections from now on. The server must outlive it, and be freed before it: its
 * connections still ask for the token. opts may be NULL. ERR_INVALID: the address; ERR_EXISTS:
 * somebody listens there; ERR_DENIED, ERR_IO, ERR_NOMEM. */
int http1_tls_new(struct http1_tls **out, struct http1_server *server, struct loop *loop,
                  const char *listen, struct tls_context *context, const struct tls_token *token,
                  const struct http1_tls_options *opts, struct err *err) ERR_CHECK;
/* Another certificate (taken), another token: for what comes from now on. Connections that are
 * there stay, but each of their requests must show the new token. */
void http1_tls_change(struct http1_tls *t, struct tls_context *context,
                      const struct tls_token *token);
/* Closes the listener and all connections. NULL is fine. */
void http1_tls_free(struct http1_tls *t);
/* Where it listens, 0: nowhere. */
unsigned short http1_tls_port(const struct http1_tls *t);
unsigned http1_tls_clients(const struct http1_tls *t);

#endif
