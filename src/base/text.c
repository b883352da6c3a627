/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing past U+10FFFF. */
#include "base/text.h"

#include <string.h>

/* A NUL ends every sequence, so nothing behind it is read. */
size_t text_char(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    static const struct {
        unsigned char lead_min, lead_max, second_min, second_max;
        size_t len;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    if (*p < 0x80)
        return *p >= 0x20 && *p != 0x7f;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (*p < forms[i].lead_min || *p > forms[i].lead_max)
            continue;
        if (p[1] < forms[i].second_min || p[1] > forms[i].second_max)
            return 0;
        for (size_t k = 2; k < forms[i].len; k++)
            if (p[k] < 0x80 || p[k] > 0xbf)
                return 0;
        if (forms[i].len == 2 && *p == 0xc2 && p[1] < 0xa0)
            return 0; /* the control characters of Latin 1 */
        return forms[i].len;
    }
    return 0;
}

void text_clean(char *text)
{
    for (char *p = text; *p;) {
        size_t n = text_char(p);

        if (n == 0) {
            *p = '?';
            n = 1;
        }
        p += n;
    }
}

bool text_is_clean(const char *text)
{
    while (*text && text_char(text))
        text += text_char(text);
    return *text == 0;
}

char *text_put(char *to, const char *text)
{
    size_t len = strlen(text);

    memcpy(to, text, len + 1);
    return to + len;
}
