/* The dispatch between the variants of XXH3. The processor is asked once, at the first use. */
#define XXH_STATIC_LINKING_ONLY /* the size of the state */
#include "base/hash.h"

#include "base/hash_internal.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <xxhash.h>

_Static_assert(sizeof(XXH3_state_t) <= sizeof(struct hash), "the state fits");
_Static_assert(_Alignof(XXH3_state_t) <= _Alignof(struct hash), "the state is aligned");

static bool has_avx2(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2");
#else
    return false;
#endif
}

uint64_t hash_bytes(const void *data, size_t len)
{
#if defined(__x86_64__)
    if (has_avx2())
        return hash_avx2_bytes(data, len);
#endif
    return XXH3_64bits(data, len);
}

void hash_begin(struct hash *h)
{
    XXH3_state_t *state = (void *)h->state;

    XXH3_INITSTATE(state);
    XXH3_64bits_reset(state);
}

void hash_add(struct hash *h, const void *data, size_t len)
{
#if defined(__x86_64__)
    if (has_avx2()) {
        hash_avx2_add(h->state, data, len);
        return;
    }
#endif
    XXH3_64bits_update((void *)h->state, data, len);
}

uint64_t hash_end(const struct hash *h)
{
    return XXH3_64bits_digest((const void *)h->state);
}
