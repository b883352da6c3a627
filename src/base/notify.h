/* What a service manager is told: the sd_notify protocol, a datagram of VARIABLE=VALUE lines to the
 * socket that $NOTIFY_SOCKET names. No library: it is one sendto.
 *
 * Nothing here fails a daemon once it runs: a manager that is gone or slow misses a datagram, and
 * nobody waits for it. Loop thread.
 */
#ifndef ROOST_BASE_NOTIFY_H
#define ROOST_BASE_NOTIFY_H

#include "base/err.h"
#include "base/loop.h"

struct notify;

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that no child
 * speaks for the daemon; before threads are started. *out is NULL, and all below does nothing,
 * where nobody wants to know. ERR_INVALID, ERR_LIMIT: a socket's name, or a time, that is none.
 * ERR_UNSUPPORTED: a socket that is neither a path nor abstract ("@name"). ERR_IO, ERR_NOMEM. */
int notify_open(struct notify **out, struct err *err) ERR_CHECK;
/* Ends the watchdog too. NULL is fine. */
void notify_close(struct notify *n);

/* Sends lines, such as "READY=1\nSTATUS=..."; at most NOTIFY_BYTES_MAX of them. NULL is fine. */
void notify_send(struct notify *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "RELOADING=1" with the monotonic time that goes with it. NULL is fine. */
void notify_reloading(struct notify *n);
/* Sends "WATCHDOG=1" from the loop at half of the time the manager waits for it, if it does. NULL
 * is fine. ERR_NOMEM. */
int notify_watchdog(struct notify *n, struct loop *loop, struct err *err) ERR_CHECK;

#endif
