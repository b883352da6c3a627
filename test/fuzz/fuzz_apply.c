/* Bodies of POST /v1/apply (first byte even) and label selectors (odd): whatever they are, they are
 * read without harm, and a selector that is taken can be asked.
 */
#include "serve/apply.h"
#include "serve/selector.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_selector(const uint8_t *data, size_t len)
{
    static char key[] = "app", value[] = "web";
    const struct env_var label = {.name = key, .value = value};
    char text[2 * SELECTOR_BYTES_MAX];
    struct selector s;
    struct err err = {0};

    if (len >= sizeof(text) || memchr(data, 0, len))
        return;
    memcpy(text, data, len);
    text[len] = 0;
    if (selector_read(&s, text, &err) < 0) {
        assert(err.code == ERR_INVALID || err.code == ERR_LIMIT);
        return;
    }
    assert(s.n <= SELECTOR_TERMS_MAX);
    (void)selector_matches(&s, &label, 1);
    (void)selector_matches(&s, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    if (data[0] % 2)
        check_selector(data + 1, len - 1);
    else
        assert(apply_check((const char *)data + 1, len - 1, "/nowhere") >= -1);
    return 0;
}
