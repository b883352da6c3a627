#include "base/base64.h"

#include <string.h>

/* The value of a digit, or -1. */
static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* n digits (2 to 4) hold n - 1 bytes; what is left over must be 0. */
static int group_put(struct buf *out, uint32_t bits, int n, struct err *err)
{
    uint8_t bytes[3];

    bits <<= 6 * (4 - n);
    for (int i = 0; i < 3; i++)
        bytes[i] = (uint8_t)(bits >> (16 - 8 * i));
    for (int i = n - 1; i < 3; i++)
        if (bytes[i])
            return err_set(err, ERR_INVALID, 0, "base64: stray bits at the end");
    return buf_append(out, bytes, (size_t)n - 1, err);
}

static const char *skip_breaks(const char *p)
{
    while (*p == '\n' || *p == '\r')
        p++;
    return p;
}

/* From the first '=' on: as many as the last group lacks, and then nothing. */
static int check_padding(const char *p, int digits, struct err *err)
{
    int missing = digits ? 4 - digits : 0;

    for (p = skip_breaks(p); *p == '=' && missing > 0; p = skip_breaks(p + 1))
        missing--;
    if (*p || missing || digits == 1)
        return err_set(err, ERR_INVALID, 0,
                       *p ? "base64: a character that is none of its digits"
                          : "base64: it ends too early");
    return 0;
}

static int decode(struct buf *out, const char *p, struct err *err)
{
    uint32_t bits = 0;
    int n = 0;

    for (p = skip_breaks(p); digit(*p) >= 0; p = skip_breaks(p + 1)) {
        bits = bits << 6 | (uint32_t)digit(*p);
        if (++n < 4)
            continue;
        if (group_put(out, bits, 4, err) < 0)
            return -1;
        bits = 0;
        n = 0;
    }
    if (check_padding(p, n, err) < 0)
        return -1;
    return n ? group_put(out, bits, n, err) : 0;
}

int base64_decode(struct buf *out, const char *text, struct err *err)
{
    size_t before = out->len;

    if (decode(out, text, err) == 0)
        return 0;
    out->len = before;
    return -1;
}
