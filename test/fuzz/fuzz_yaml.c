/* Any bytes are either a tree within the limits or an error with text; both ways agree. */
#include "base/limits.h"
#include "base/yaml.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Every node can be reached through the public functions, and none is past the limits. */
static size_t walk(const struct yaml_node *n, unsigned depth)
{
    size_t nodes = 1;

    assert(depth <= YAML_DEPTH_MAX + 1);
    assert(yaml_line(n) > 0 && yaml_column(n) > 0);
    if (yaml_type(n) == YAMLN_SCALAR)
        assert(yaml_scalar(n) && yaml_len(n) == 0);
    for (size_t i = 0; i < yaml_len(n); i++) {
        const struct yaml_node *value = yaml_at(n, i);

        if (yaml_type(n) == YAMLN_MAPPING) {
            assert(yaml_key(n, i, &value));
            assert(yaml_get(n, yaml_key(n, i, NULL)) == value);
            nodes++;
        }
        nodes += walk(value, depth + 1);
    }
    return nodes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = len ? (const char *)data : "";
    struct err err = {0}, err_each = {0};
    struct yaml_doc *d, *each;
    size_t nodes = 0;
    bool defect = false;
    int rc = yaml_parse(&d, text, len, "f", &err);
    int rc_each = yaml_parse_each(&each, text, len, "f", &err_each);

    assert((rc == 0) == (err.code == ERR_NONE) && (rc == 0) == (d != NULL));
    assert(each);
    for (size_t i = 0; i < yaml_count(each); i++) {
        assert((yaml_root(each, i) == NULL) == (yaml_doc_error(each, i) != NULL));
        defect = defect || yaml_doc_error(each, i);
        if (yaml_root(each, i))
            nodes += walk(yaml_root(each, i), 1);
    }
    assert(nodes <= YAML_NODES_MAX);
    assert((rc == 0) == (rc_each == 0 && !defect));
    yaml_doc_free(each);
    yaml_doc_free(d);
    return 0;
}
