/* Checksums: XXH3, 64 bits, at memory speed. Against damage, not against an attacker.
 *
 * The AVX2 variant runs where the processor has it (chosen at run time, base/hash_avx2.c), the
 * library's own elsewhere; the result is the same. Streaming: pieces of any size give what one
 * call over all of them gives.
 */
#ifndef ROOST_BASE_HASH_H
#define ROOST_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* The state of a streaming checksum; opaque, embedded by the caller, no destructor. */
struct hash {
    _Alignas(64) uint8_t state[640];
};

uint64_t hash_bytes(const void *data, size_t len);

void hash_begin(struct hash *h);
void hash_add(struct hash *h, const void *data, size_t len);
/* Of all that was added; more may be added after it. */
uint64_t hash_end(const struct hash *h);

#endif
