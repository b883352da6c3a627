/* "Did you mean": the known word that is closest to what somebody typed. */
#ifndef ROOST_BASE_NEAREST_H
#define ROOST_BASE_NEAREST_H

#include <stddef.h>

/* The nearest of n names by edit distance (case ignored, swapped neighbours count once), borrowed;
 * NULL where none is near enough to be meant: more than a third of the longer word differs, or the
 * word is longer than NEAREST_WORD_MAX. NULL entries in names are passed over. */
const char *nearest_name(const char *word, const char *const *names, size_t n);

#endif
