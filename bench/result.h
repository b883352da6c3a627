/* The result of a benchmark: one flat object of numbers and `_meta`, and a table for people. */
#ifndef ROOST_BENCH_RESULT_H
#define ROOST_BENCH_RESULT_H

#include <stddef.h>
#include <stdint.h>

struct result;

struct result *result_new(const char *benchmark);
/* key: printf-like, "wake.%s.touch.wake_p50_us". */
void result_put(struct result *r, double value, const char *key, ...)
    __attribute__((format(printf, 3, 4)));
/* A setting, into _meta. */
void result_setting(struct result *r, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Prints the table to stdout, writes file (NULL: none); frees. 0, or -1 with a line on stderr. */
int result_finish(struct result *r, const char *file);

/* Values of one measurement, for quantiles over exact values. */
struct samples {
    double *v;
    size_t n, room;
};
void samples_add(struct samples *s, double v);
/* Sorts; 0 if empty. */
double samples_quantile(struct samples *s, double q);
void samples_free(struct samples *s);

#endif
