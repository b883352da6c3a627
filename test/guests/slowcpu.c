/* Computes for MS milliseconds (10) by the clock on the wall, then is done. */
#include "bad.h"

#include <stdlib.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

ROOST_HANDLE
{
    const char *text = getenv("MS");
    uint64_t end = now_ns() + (text ? strtoull(text, NULL, 10) : 10) * 1000000u;
    volatile uint32_t x = 1;

    if (spared())
        return 0;
    while (now_ns() < end)
        for (int i = 0; i < 10000; i++)
            x = x * 1664525u + 1013904223u;
    return 0;
}
