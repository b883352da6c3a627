/* base/text: times that are read are those that are written, and what is escaped is text that a
 * line or JSON can hold, however short the room.
 */
#include "base/text.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_time(const uint8_t *data, size_t len)
{
    char text[TEXT_TIME_MAX], *copy = strndup((const char *)data, len);
    int64_t ms, again;

    assert(copy);
    if (text_time_read(copy, &ms) == 0) {
        text_time(text, ms);
        assert(text_time_read(text, &again) == 0 && again == ms);
    }
    free(copy);
}

static void check_escape(const uint8_t *data, size_t len, size_t cap, bool json)
{
    char *out = malloc(cap + 2);
    size_t n;
    json_t *value;

    assert(out);
    out[0] = '"';
    n = text_escape(out, 1, cap, (const char *)data, len, json);
    assert(n == 1 || n < cap);
    for (size_t i = 0; i < n; i++)
        assert((unsigned char)out[i] >= 0x20);
    out[n++] = '"';
    value = json ? json_loadb(out, n, JSON_DECODE_ANY, NULL) : NULL;
    assert(!json || value);
    json_decref(value);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    check_time(data + 1, len - 1);
    check_escape(data + 1, len - 1, 1 + data[0], true);
    check_escape(data + 1, len - 1, len * TEXT_ESCAPE_MAX + 16, data[0] & 1);
    return 0;
}
