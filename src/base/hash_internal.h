/* Between hash.c and hash_avx2.c: the same functions compiled for AVX2. */
#ifndef ROOST_BASE_HASH_INTERNAL_H
#define ROOST_BASE_HASH_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_avx2_bytes(const void *data, size_t len);
void hash_avx2_add(void *state, const void *data, size_t len);

#endif
