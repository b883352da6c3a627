#include "base/clock.h"

#include <time.h>

static uint64_t real_mono_ns(void *ctx)
{
    (void)ctx;
    return clock_now_ns();
}

static int64_t real_wall_ms(void *ctx)
{
    struct timespec ts;

    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const struct clock clock_real = {.mono_ns = real_mono_ns, .wall_ms = real_wall_ms};

uint64_t clock_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}
