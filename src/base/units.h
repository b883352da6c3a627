/* Durations and sizes as people write and read them. Pure functions, any thread. */
#ifndef ROOST_BASE_UNITS_H
#define ROOST_BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNITS_TEXT_MAX 24 /* with its NUL */

/* "50ms", "1m30s", "1.5s", "0": as Go and Kubernetes write durations, in ns, us, ms, s, m, h; not
 * negative. False: anything else, or more than 64 bits. */
bool units_parse_duration(const char *text, uint64_t *ns);
/* "64Mi", "1.5Gi", "500M", "65536": a Kubernetes quantity in bytes, without exponents. A fraction
 * of a byte is cut off. False: anything else, or more than 64 bits. */
bool units_parse_bytes(const char *text, uint64_t *bytes);

/* The shortest text that parses back to the same: "1m30s", "250us", "0s". Returns buf. */
const char *units_format_duration(char buf[UNITS_TEXT_MAX], uint64_t ns);
/* The same for bytes: "64Mi", "1536Ki", "1000". */
const char *units_format_bytes(char buf[UNITS_TEXT_MAX], uint64_t bytes);
/* Rounded for tables: "45s", "3m12s", "5h", "2d"; bytes "12K", "1.5M", "3.2G". */
const char *units_short_age(char buf[UNITS_TEXT_MAX], uint64_t seconds);
const char *units_short_bytes(char buf[UNITS_TEXT_MAX], uint64_t bytes);

#endif
