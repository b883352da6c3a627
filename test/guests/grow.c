/* Grows its memory until that is refused, and writes to each new page: limits.memory. Done (0) if
 * the growth was refused, and what it had is as it was written; 1 if it never was refused, 2 if
 * not.
 */
#include "bad.h"

#define PAGE      65536u
#define PAGES_MAX 65535u

static size_t first, pages; /* one run: nobody else grows memory here */

static bool intact(void)
{
    for (size_t i = 0; i < pages; i++)
        if (*(volatile size_t *)((first + i) * PAGE) != i + 1)
            return false;
    return true;
}

ROOST_HANDLE
{
    if (spared())
        return 0;
    while (pages < PAGES_MAX) {
        size_t at = __builtin_wasm_memory_grow(0, 1);

        if (at == SIZE_MAX)
            break;
        if (pages == 0)
            first = at;
        *(volatile size_t *)(at * PAGE) = ++pages;
    }
    roost_info("grew by ", ROOST_DEC(pages), " pages");
    if (__builtin_wasm_memory_grow(0, 1) != SIZE_MAX)
        return 1;
    return intact() ? 0 : 2;
}
