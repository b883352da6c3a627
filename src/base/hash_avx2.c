/* XXH3 compiled for AVX2, twice as fast as the SSE2 that Debian's library has.
 *
 * This file alone is compiled with -mavx2 (CMakeLists.txt), and its functions must only be called
 * where the processor has AVX2. Everything of the library that it uses is inlined here, so no code
 * compiled for AVX2 can be taken by the linker for anybody else. The streaming state is the same
 * struct in all variants.
 */
#if defined(__x86_64__)

#define XXH_INLINE_ALL
#include "base/hash_internal.h"

#include <xxhash.h>

uint64_t hash_avx2_bytes(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

void hash_avx2_add(void *state, const void *data, size_t len)
{
    XXH3_64bits_update(state, data, len);
}

#else

extern int hash_avx2_is_empty; /* a translation unit must not be */

#endif
