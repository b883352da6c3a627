/* Takes all the memory that it may have, writes to each page of it, and traps: a large guest to be
 * got rid of. */
#include "bad.h"

#define PAGE 4096u

ROOST_HANDLE
{
    size_t pages = 0, first = __builtin_wasm_memory_size(0) * 16;

    if (spared())
        return 0;
    while (__builtin_wasm_memory_grow(0, 1) != SIZE_MAX)
        pages += 16;
    for (size_t i = 0; i < pages; i++)
        *(volatile size_t *)((first + i) * PAGE) = i;
    __builtin_trap();
}
