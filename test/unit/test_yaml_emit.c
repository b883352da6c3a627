/* yaml_emit: what is written is read back as the same text by yaml.c, and quoted where another
 * reader would take it for something else. */
#include "base/limits.h"
#include "base/yaml.h"
#include "base/yaml_emit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *json, const char *yaml)
{
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    struct buf out = {0};
    struct err err = {0};

    assert_non_null(value);
    assert_int_equal(yaml_emit(&out, value, &err), 0);
    assert_string_equal(buf_cstr(&out), yaml);
    buf_free(&out);
    json_decref(value);
}

static void test_documents(void **state)
{
    (void)state;
    expect("{\"a\":1,\"b\":{\"c\":[true,null,2.5,\"x y\"]},\"e\":{},\"l\":[]}",
           "a: 1\nb:\n  c:\n  - true\n  - null\n  - 2.5\n  - x y\ne: {}\nl: []\n");
    expect("[{\"a\":1,\"b\":2},3]", "- a: 1\n  b: 2\n- 3\n");
    expect("{\"x\":31.52}", "x: 31.52\n");
    expect("{\"x\":0.1}", "x: 0.1\n");
}

static void test_text_stays_text(void **state)
{
    (void)state;
    expect(
        "[\"true\",\"No\",\"\",\"~\",\"1e3\",\"2026-01-02\",\".5\",\"-\",\"null\",\"plain\"]",
        "- \"true\"\n- \"No\"\n- \"\"\n- \"~\"\n- \"1e3\"\n- \"2026-01-02\"\n- \".5\"\n- \"-\"\n- "
        "\"null\"\n- plain\n");
    expect("{\"yes\":\"a: b\"}", "\"yes\": 'a: b'\n");
    expect("{\"t\":\"one\\ntwo\\n\"}", "t: |\n  one\n  two\n");
    expect("[\"\\u001b[31m\",\"\xc3\xa9\"]", "- \"\\e[31m\"\n- \xc3\xa9\n");
}

static void test_it_is_read_back(void **state)
{
    static const char *const texts[] = {"",    " lead", "trail ", "a\n\n b\n", "#",
                                        "'\"", "- x",   "\t",     "k: v",      "\xf0\x9f\x90\x93",
                                        "@",   "%",     "|",      "{",         "a\rb"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        json_t *value = json_pack("{s:s}", "k", texts[i]);
        struct yaml_doc *doc = NULL;
        struct buf out = {0};
        struct err err = {0};

        assert_int_equal(yaml_emit(&out, value, &err), 0);
        assert_int_equal(yaml_parse(&doc, (const char *)out.data, out.len, "x", &err), 0);
        assert_string_equal(yaml_scalar(yaml_get(yaml_root(doc, 0), "k")), texts[i]);
        yaml_doc_free(doc);
        buf_free(&out);
        json_decref(value);
    }
}

static json_t *nested(unsigned depth)
{
    json_t *value = json_array();

    for (unsigned i = 1; i < depth; i++)
        value = json_pack("[o]", value);
    return value;
}

static void test_limits(void **state)
{
    json_t *deepest = nested(YAML_DEPTH_MAX), *deeper = nested(YAML_DEPTH_MAX + 1);
    struct buf out = {0}, small = {.max = 8};
    struct err err = {0};

    (void)state;
    assert_int_equal(yaml_emit(&out, deepest, &err), 0);
    buf_free(&out);
    assert_int_equal(yaml_emit(&out, deeper, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(err.msg, "YAML: nested deeper than 64");
    buf_free(&out);
    assert_int_equal(yaml_emit(&small, deepest, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    buf_free(&small);
    json_decref(deepest);
    json_decref(deeper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_text_stays_text),
        cmocka_unit_test(test_it_is_read_back),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
