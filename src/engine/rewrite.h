/* The module rewriter: what makes a compiled guest's state savable from outside.
 *
 * Reads a core WebAssembly module (binary) and writes an equal one in which
 *  - every mutable global that it defines is exported, as "roost:global:N" (N its index),
 *  - the memory is exported as "memory" where it was not (whatever other names it has),
 *  - a start section is gone and its function exported as "roost:start",
 *  - custom sections other than "name" are dropped.
 * What would be lost by a sleep is refused by name (ERR_UNSUPPORTED):
 * table.set/grow/init/copy/fill, elem.drop, data.drop, memory.init, passive segments, shared or
 * several memories, memory64, imported mutable globals, imported memories and tables, mutable
 * globals of reference type. So is what is not enabled (threads, exceptions, garbage collection,
 * relaxed SIMD, ...), an export whose name begins with "roost:", and a component, each with what to
 * do. Everything is checked before use; a malformed module is ERR_INVALID with the offset. It does
 * not validate code beyond what it must read (the compiler does), but for one thing: that the start
 * function has neither parameters nor results, since the host will call it unchecked.
 */
#ifndef ROOST_ENGINE_REWRITE_H
#define ROOST_ENGINE_REWRITE_H

#include "base/buf.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Part of every image's key and snapshot's identity: raise it when the output changes. */
#define REWRITER_VERSION 1u

#define REWRITE_GLOBAL_PREFIX "roost:global:"
#define REWRITE_START         "roost:start"

struct rewrite_info {
    uint32_t mutable_globals;
    uint32_t memory_min,
        memory_max; /* in Wasm pages of 64 KiB; max UINT32_MAX where not declared */
    int had_start;
};

/* out is appended to; info may be NULL. ERR_LIMIT: MODULE_BYTES_MAX, REWRITE_GLOBALS_MAX, ... */
int rewrite_module(struct buf *out, const uint8_t *module, size_t len, struct rewrite_info *info,
                   struct err *err) ERR_CHECK;

#endif
