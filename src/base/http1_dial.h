/* A way over TLS for programs that block: to whoever holds it, it is a stream socket. */
#ifndef ROOST_BASE_HTTP1_DIAL_H
#define ROOST_BASE_HTTP1_DIAL_H

#include "base/err.h"

/* Connects to host (a name or an address) and port, shakes hands within timeout_ms in all (0:
 * HTTP1_CLIENT_TIMEOUT_MS), and lends *fd: what is written there is encrypted and sent, and the
 * other way round, by a thread of its own, which ends when either side does. *fd is the caller's to
 * close, and is not blocking. ca_pem: whom to trust; NULL: the system's authorities.
 * ERR_NET: no such host, nobody listens, no TLS 1.3 with HTTP/1.1; ERR_DENIED: the certificate is
 * not one that is trusted for host; ERR_INVALID: ca_pem; ERR_TIMEOUT; ERR_NOMEM. */
int http1_dial_tls(int *fd, const char *host, const char *port, const char *ca_pem,
                   unsigned timeout_ms, struct err *err) ERR_CHECK;

#endif
