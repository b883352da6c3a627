/* The module rewriter: what makes a compiled guest's state savable from outside.
 *
 * Reads a core WebAssembly module (binary) and writes an equal one in which
 *  - every mutable global that it defines is exported, as "roost:global:N" (N its index),
 *  - the memory is exported as "memory" where it was not (whatever other names it has),
 *  - a start section is gone and its function exported as "roost:start",
 *  - custom sections other than "name" are dropped,
 *  - each memory beyond the first is exported as "roost:memory:N",
 *  - a shared memory is a plain one,
 *  - an imported mutable global is one of the module's own, with zero in it, at its index,
 *  - memory.fill, memory.copy and memory.init whose length is no small constant are calls of
 *    functions that are added behind all others, and work in pieces: so they can be interrupted,
 *  - where a sleep would lose state, the first memory is exported once more, as
 *    "roost:unsavable:TEXT": so the fact goes through the compiler into the image, and cannot be
 *    parted from it.
 * State that a sleep would lose: tables that change (table.set/grow/init/copy/fill), segments that
 * are dropped at run time (elem.drop, data.drop), mutable globals of reference type, several
 * memories, shared memories.
 * Refused by name (ERR_UNSUPPORTED) is what the host has nothing for (imported memories and tables,
 * mutable globals of dynamic linking), what is not enabled (memory64, exceptions, garbage
 * collection, relaxed SIMD, ...), an export whose name begins with "roost:", and a component, each
 * with what to do.
 * Everything is checked before use; a malformed module is ERR_INVALID with the offset. It does not
 * validate code beyond what it must read (the compiler does), but for what the output no longer
 * shows it: that names of custom sections are UTF-8, and that the start function has neither
 * parameters nor results, since the host will call it unchecked.
 */
#ifndef ROOST_ENGINE_REWRITE_H
#define ROOST_ENGINE_REWRITE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"

#include <stddef.h>
#include <stdint.h>

/* Part of every image's key and snapshot's identity: raise it when the output changes. */
#define REWRITER_VERSION 2u

#define REWRITE_GLOBAL_PREFIX "roost:global:"
#define REWRITE_MEMORY_PREFIX "roost:memory:"
#define REWRITE_UNSAVABLE     "roost:unsavable:"
#define REWRITE_START         "roost:start"

struct rewrite_info {
    uint32_t mutable_globals;
    uint32_t memory_min,
        memory_max;         /* in Wasm pages of 64 KiB; max UINT32_MAX where not declared */
    uint32_t memories;      /* memory_min and memory_max are the first one's */
    uint32_t owned_globals; /* that were imported, and became its own */
    uint32_t pieces;        /* functions added, which write in pieces */
    int had_start;
    char unsavable[REWRITE_UNSAVABLE_BYTES]; /* "": a sleep keeps all of its state */
};

/* out is appended to, REWRITE_BYTES_MAX are enough; info may be NULL. ERR_LIMIT: MODULE_BYTES_MAX,
 * REWRITE_GLOBALS_MAX, ... */
int rewrite_module(struct buf *out, const uint8_t *module, size_t len, struct rewrite_info *info,
                   struct err *err) ERR_CHECK;

#endif
