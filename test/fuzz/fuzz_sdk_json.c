/* The C SDK's JSON reader: a pointer up to the first line end, then a text. What is found lies
 * within the text and is JSON by itself; strings decode into no more bytes than they have, and
 * survive being escaped and read again; going through arrays and objects ends.
 */
#include "roost_fake.h"

/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "roost.c"
#include "roost_json.c"
/* NOLINTEND(bugprone-suspicious-include) */

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_string(const struct roost_json *v)
{
    struct roost_buf again = ROOST_BUF_GROW(16u << 20);
    char *text = malloc(v->len), *back = malloc(v->len);
    int n = roost_json_string(v, text, v->len);

    assert(text && back && n != ROOST_E2BIG);
    if (n >= 0) {
        assert(roost_buf_json(&again, text, (size_t)n) == 0);
        assert(roost_json_get_string(again.data, again.len, "", back, v->len) == n);
        assert(memcmp(text, back, (size_t)n) == 0);
    }
    roost_buf_free(&again);
    free(text);
    free(back);
}

static void check_parts(const struct roost_json *v)
{
    struct roost_json key, value;
    size_t it = 0, before = 0;
    int rc = 1;

    while ((rc = roost_json_next(v, &it, &key, &value)) == 1) {
        assert(it > before && it <= v->len);
        assert(value.at > v->at && value.at + value.len <= v->at + v->len);
        assert((key.type == ROOST_JSON_STRING) == (v->type == ROOST_JSON_OBJECT));
        before = it;
    }
    assert(rc == 0);
}

static void check_value(const char *text, size_t len, const struct roost_json *v)
{
    int64_t n = 0;
    bool b = false;

    assert(v->type != ROOST_JSON_NONE && v->at >= text && v->at + v->len <= text + len);
    assert(roost_json_check(v->at, v->len) == 0);
    assert(v->type == ROOST_JSON_NUMBER || roost_json_int(v, &n) == ROOST_EINVAL);
    assert((roost_json_bool(v, &b) == 0) == (v->type == ROOST_JSON_BOOL));
    if (v->type == ROOST_JSON_STRING)
        check_string(v);
    if (v->type == ROOST_JSON_ARRAY || v->type == ROOST_JSON_OBJECT)
        check_parts(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const uint8_t *line = len ? memchr(data, '\n', len) : NULL;
    size_t pointer_len = line ? (size_t)(line - data) : 0, text_len = len - pointer_len - !!line;
    char *pointer = calloc(1, pointer_len + 1), *text = malloc(text_len + 1);
    char *exact = text + 1; /* ends where the allocation ends */
    struct roost_json v;

    assert(pointer && text);
    if (pointer_len)
        memcpy(pointer, data, pointer_len);
    if (text_len)
        memcpy(exact, data + len - text_len, text_len);
    if (roost_json_get(exact, text_len, pointer, &v) == 0)
        check_value(exact, text_len, &v);
    if (roost_json_check(exact, text_len) == 0)
        assert(roost_json_get(exact, text_len, "", &v) == 0);
    free(pointer);
    free(text);
    return 0;
}
