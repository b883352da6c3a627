/* A page of a mapped snapshot that cannot be read becomes that guest's failure, not the daemon's.
 *
 * A truncated arena file or a read error of its disk reaches whoever touches the mapping as SIGBUS:
 * guest code on its fiber, or a function of the host that copies out of guest memory. Code that
 * touches such memory runs between sigbus_enter and sigbus_leave. A fault inside the guarded range
 * gets an anonymous zero page mapped over the faulting one, sets the guard's flag, and goes on with
 * wrong data; the caller looks at the flag and throws away what came out. A fault anywhere else
 * keeps the action that SIGBUS had before (death, by default).
 *
 * Guards are per thread and nest, innermost first. A guard must be left on the thread that entered
 * it; fibers that run between the two calls on that thread are covered. The page over a fault costs
 * up to two mappings: whoever counts mappings leaves some free, because without them the fault ends
 * the process.
 */
#ifndef ROOST_ENGINE_SIGBUS_H
#define ROOST_ENGINE_SIGBUS_H

#include "base/err.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

/* Owned by the caller, who sets base and len before entering. Memory that grows in place stays
 * covered where it was mapped: what is grown is anonymous and cannot fault. */
struct sigbus_guard {
    const uint8_t *base;
    size_t len;
    volatile sig_atomic_t poisoned; /* set by the handler, never cleared here */
    struct sigbus_guard *outer;
};

/* Installs the handler for the whole process; call after the engine has installed its own. The
 * second call does nothing. ERR_IO: the kernel refused. */
int sigbus_install(struct err *err) ERR_CHECK;

/* This thread now runs code that touches [base, base + len). */
void sigbus_enter(struct sigbus_guard *g);
/* g must be the one entered last. */
void sigbus_leave(struct sigbus_guard *g);

#endif
