/* Damerau-Levenshtein distance (optimal string alignment) over three rows, so in constant memory.
 */
#include "base/nearest.h"

#include "base/limits.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Both at most NEAREST_WORD_MAX long. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t rows[3][NEAREST_WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];

    for (size_t j = 0; j <= nb; j++)
        last[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *spare = before;

        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t change = last[j - 1] + !same(a[i - 1], b[j - 1]);

            row[j] = least(last[j] + 1, row[j - 1] + 1, change);
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1, row[j]);
        }
        before = last;
        last = row;
        row = spare;
    }
    return last[nb];
}

const char *nearest_name(const char *word, const char *const *names, size_t n)
{
    size_t len = strlen(word), best = NEAREST_WORD_MAX + 1;
    const char *nearest = NULL;

    if (len > NEAREST_WORD_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t nlen = names[i] ? strlen(names[i]) : NEAREST_WORD_MAX + 1, d;

        if (nlen > NEAREST_WORD_MAX)
            continue;
        d = distance(word, len, names[i], nlen);
        if (d < best && d * 3 <= (len > nlen ? len : nlen)) {
            best = d;
            nearest = names[i];
        }
    }
    return nearest;
}
