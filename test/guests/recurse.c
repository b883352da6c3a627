/* Recurses without end, on the Wasm stack: clang's own stack in memory is hardly used. */
#include "bad.h"

static volatile unsigned turn;

__attribute__((noinline)) static unsigned down(unsigned n)
{
    unsigned here = turn + n;

    if (here == 0xffffffffu)
        return here;
    return down(here + 1) * 31 + down(here + 2) + here;
}

ROOST_HANDLE
{
    return spared() ? 0 : (int)(down(1) | 1);
}
