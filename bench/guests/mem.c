/* The guest of the wake benchmark: memory of SIZE_MIB, and an event's key says what to do with it.
 *
 *   touch/N       a word in each of 16 neighbouring pages at a place that N (any u32) names; writes
 *                 one of them
 *   read/any      a word in each page
 *   write/any     writes a word in each page
 *   dirty/MIB     writes a word in each page of the first so many MiB
 *   fill/any      writes every word
 *
 * The handler makes one call to the host, attr(0, "key"), so that what is measured is the wake. A
 * key that it does not know: 1; no memory: 2.
 */
#include <roost.h>

#include <stdlib.h>
#include <string.h>

#define PAGE       4096u
#define PAGE_WORDS (PAGE / 8)
#define TOUCHED    16u

static uint64_t *memory;
static uint32_t npages;
static uint64_t sink; /* what was read, so that reading is not optimised away */

static void fill(uint64_t seed)
{
    for (size_t i = 0; i < (size_t)npages * PAGE_WORDS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        memory[i] = seed;
    }
}

ROOST_START
{
    const char *size = getenv("SIZE_MIB");
    uint32_t mib = size ? (uint32_t)strtoul(size, NULL, 10) : 1;

    if (mib == 0 || mib > 2048)
        return;
    memory = aligned_alloc(PAGE, (size_t)mib << 20);
    if (!memory)
        return;
    npages = (mib << 20) / PAGE;
    fill(mib);
}

static uint64_t *page(uint32_t n)
{
    return memory + (size_t)n * PAGE_WORDS;
}

static int touch(uint32_t at)
{
    uint32_t first = at % (npages - TOUCHED + 1);
    uint64_t sum = 0;

    for (uint32_t i = 0; i < TOUCHED; i++)
        sum += *page(first + i);
    *page(first + at % TOUCHED) = sum;
    return 0;
}

static int read_all(uint32_t at)
{
    uint64_t sum = at;

    for (uint32_t i = 0; i < npages; i++)
        sum += *page(i);
    sink = sum;
    return 0;
}

static int write_pages(uint32_t pages)
{
    for (uint32_t i = 0; i < pages && i < npages; i++)
        *page(i) += 1;
    return 0;
}

static int run(const char *verb, uint32_t n)
{
    switch (verb[0]) {
    case 't':
        return touch(n);
    case 'r':
        return read_all(n);
    case 'w':
        return write_pages(npages);
    case 'd':
        return write_pages(n * (1048576u / PAGE));
    case 'f':
        fill(sink + n);
        return 0;
    default:
        return 1;
    }
}

ROOST_HANDLE
{
    char key[64];
    int len = roost_abi_attr(0, "key", 3, key, sizeof(key) - 1);
    uint32_t n = 0;

    if (npages < TOUCHED)
        return 2;
    if (len <= 0 || (size_t)len >= sizeof(key))
        return 1;
    key[len] = '\0';
    for (const char *p = strchr(key, '/'); p && *++p >= '0' && *p <= '9';)
        n = n * 10 + (uint32_t)(*p - '0');
    return run(key, n);
}
