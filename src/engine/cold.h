/* Memory of a guest that was woken from a cold disk: read in blocks of 64 KiB, as it is touched.
 *
 * The kernel reads around a fault in a mapped file by as much as the block device's read-ahead
 * says, which may be megabytes: milliseconds for one word. Or, told that access is random, page by
 * page: sixteen neighbours cost sixteen reads. So the large runs of a guest whose snapshot was not
 * in the page cache are mapped without access. The first touch of a block is a SIGSEGV on the
 * guest's own thread; the handler has the kernel read just that block (one request) and opens it. A
 * guest that touches more than COLD_BLOCKS_MAX blocks gets all of it opened, and the kernel's own
 * read-ahead.
 *
 * Must never be used for what is warm (a signal costs more than mapping), nor be left closed when
 * somebody else reads the memory: cold_open first. A system call with a pointer into a closed block
 * fails with EFAULT, so host functions copy instead.
 */
#ifndef ROOST_ENGINE_COLD_H
#define ROOST_ENGINE_COLD_H

#include "base/err.h"
#include "engine/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cold {
    uint8_t *memory;        /* the guest's */
    const struct run *runs; /* of its snapshot; those longer than run_pages_min are closed */
    uint32_t nruns, run_pages_min;
    int fd;          /* the arena */
    uint32_t blocks; /* opened so far */
    bool closed;     /* some of it may still be */
};

/* Installs the handler for the whole process, after the engine's own, to which it passes on all
 * other faults. Once; later calls do nothing. */
int cold_install(struct err *err) ERR_CHECK;
/* This thread now runs code that touches c->memory (NULL: no cold memory). Not nested. */
void cold_enter(struct cold *c);
void cold_leave(void);
/* Opens all of it. Any thread that owns the memory. False: the kernel has no memory for that, and
 * some may be closed still. */
bool cold_open(struct cold *c);

#endif
