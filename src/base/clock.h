/* Time: one seam that tests replace, so that they can run hours in a millisecond.
 *
 * Monotonic nanoseconds for durations and timers, wall-clock milliseconds (Unix time) only for what
 * is shown to people or must outlive the machine (persisted requeue times).
 */
#ifndef ROOST_BASE_CLOCK_H
#define ROOST_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

struct clock {
    uint64_t (*mono_ns)(void *ctx);
    int64_t (*wall_ms)(void *ctx);
    void *ctx;
};

/* The real clocks of this machine. */
extern const struct clock clock_real;

/* Shorthand for measuring: CLOCK_MONOTONIC in ns. */
uint64_t clock_now_ns(void);
/* A moment in ns, for calls that take it so. */
struct timespec clock_timespec(uint64_t ns);
/* A condition variable whose timed waits go by CLOCK_MONOTONIC. */
void clock_cond_init(pthread_cond_t *cond);

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

#endif
