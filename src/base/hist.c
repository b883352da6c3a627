#include "base/hist.h"

#include <stddef.h>

/* Values below 8 have a bucket each; above, the top three bits behind the leading one choose. */
static size_t bucket_of(uint64_t ns)
{
    unsigned log;
    size_t at;

    if (ns < 8)
        return (size_t)ns;
    log = 63u - (unsigned)__builtin_clzll(ns);
    at = (size_t)(log - 2) * 8 + ((ns >> (log - 3)) & 7);
    return at < HIST_BUCKETS ? at : HIST_BUCKETS - 1;
}

static uint64_t bucket_low(size_t at)
{
    if (at < 8)
        return at;
    return (8 + (uint64_t)(at % 8)) << (at / 8 - 1);
}

void hist_add(struct hist *h, uint64_t ns)
{
    h->count++;
    h->sum_ns += ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
    h->bucket[bucket_of(ns)]++;
}

void hist_merge(struct hist *to, const struct hist *from)
{
    to->count += from->count;
    to->sum_ns += from->sum_ns;
    if (from->max_ns > to->max_ns)
        to->max_ns = from->max_ns;
    for (size_t i = 0; i < HIST_BUCKETS; i++)
        to->bucket[i] += from->bucket[i];
}

uint64_t hist_quantile(const struct hist *h, double q)
{
    double rank = q * (double)h->count, seen = 0;

    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        double n = h->bucket[i];

        if (n > 0 && seen + n >= rank) {
            double low = (double)bucket_low(i), high = (double)bucket_low(i + 1);
            uint64_t v = (uint64_t)(low + (high - low) * ((rank - seen) / n));

            return v < h->max_ns ? v : h->max_ns;
        }
        seen += n;
    }
    return h->max_ns;
}

uint64_t hist_below(const struct hist *h, unsigned power)
{
    size_t end = bucket_of(1ull << power);
    uint64_t n = 0;

    for (size_t i = 0; i < end; i++)
        n += h->bucket[i];
    return n;
}
