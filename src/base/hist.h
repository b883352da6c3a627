/* A histogram of durations: 8 buckets to each power of two, so quantiles are within 12 %.
 *
 * Fixed size, no allocation. One thread writes; readers on the same thread.
 */
#ifndef ROOST_BASE_HIST_H
#define ROOST_BASE_HIST_H

#include <stdint.h>

#define HIST_BUCKETS 320

struct hist {
    uint64_t count, sum_ns, max_ns;
    uint32_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t ns);
/* Adds all of `from`. */
void hist_merge(struct hist *to, const struct hist *from);
/* How many were less than 2^power ns; power is 3 to 42. */
uint64_t hist_below(const struct hist *h, unsigned power);
/* The q-quantile (0 < q <= 1) in ns, interpolated; 0 if empty. */
uint64_t hist_quantile(const struct hist *h, double q);

#endif
