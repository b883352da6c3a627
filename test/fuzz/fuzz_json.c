/* The scanner and the framer against jansson: what one takes and the other refuses is a crash here,
 * but for what jansson is known to refuse although the grammar allows it. */
#include "kube/json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool no_oracle(const json_error_t *e)
{
    switch (json_error_code(e)) {
    case json_error_numeric_overflow:
    case json_error_null_character:
    case json_error_null_byte_in_key:
    case json_error_stack_overflow:
    case json_error_out_of_memory:
        return true;
    default:
        return strstr(e->text, "\\u0000") || strstr(e->text, "invalid Unicode");
    }
}

/* The frame of a valid value ends where the scan ended, wherever the value is cut. */
static void check_frame(const uint8_t *data, size_t len, size_t cut)
{
    struct jscan_frame f = {0};
    size_t used = 0, more = 0;
    bool scalar = !strchr("{[\"", data[0]);

    if (jscan_frame(&f, data, cut, &used)) {
        if (scalar ? used > len : cut < len || used != len)
            abort();
        return;
    }
    if (used != cut)
        abort();
    if (jscan_frame(&f, data + cut, len - cut, &more) == scalar || used + more != len)
        abort();
}

static void check_strings(const uint8_t *data, size_t size)
{
    struct jscan_str s;
    struct jscan j;
    char *out = malloc(size + 1);

    jscan_init(&j, data, size);
    if (out && jscan_string(&j, &s) && jscan_str_copy(out, size + 1, &s) == 0 &&
        !jscan_str_is(&s, out))
        abort();
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jscan j;
    json_error_t e = {0};
    json_t *tree;
    bool ours;

    jscan_init(&j, data, size);
    ours = jscan_skip(&j) && jscan_done(&j);
    /* jansson takes a NUL byte for the end of its input. */
    if (j.rc == JSCAN_DEEP || (size && memchr(data, 0, size)))
        return 0;
    tree = json_loadb((const char *)data, size, JSON_DECODE_ANY, &e);
    if (ours != (tree != NULL) && !(ours && no_oracle(&e)))
        abort();
    json_decref(tree);
    check_strings(data, size);

    jscan_init(&j, data, size);
    if (jscan_peek(&j)) {
        const uint8_t *start = j.at;

        if (jscan_skip(&j)) {
            size_t len = (size_t)(j.at - start);

            check_frame(start, len, len / 2 ? len / 2 : 1);
            check_frame(start, len, len);
        }
    }
    return 0;
}
