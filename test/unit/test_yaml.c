/* base/yaml: the tree, the places in errors, what is refused, every limit at its edge. */
#include "base/buf.h"
#include "base/limits.h"
#include "base/yaml.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct yaml_doc *parse_ok(const char *text)
{
    struct yaml_doc *d = NULL;
    struct err err = {0};

    if (yaml_parse(&d, text, strlen(text), "f.yaml", &err) < 0)
        fail_msg("%s", err.msg);
    return d;
}

static void assert_refused(const char *text, size_t len, enum err_code code, const char *message)
{
    struct yaml_doc *d = (struct yaml_doc *)1;
    struct err err = {0};

    assert_int_equal(yaml_parse(&d, text, len, "f.yaml", &err), -1);
    assert_null(d);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.code, code);
}

static void test_tree_of_mappings_and_lists(void **state)
{
    struct yaml_doc *d = parse_ok("a: 1\nb:\n- x\n- {c: 'two', d: [~]}\ne: |\n  block\n");
    const struct yaml_node *root = yaml_root(d, 0), *value, *b;

    (void)state;
    assert_int_equal(yaml_count(d), 1);
    assert_int_equal(yaml_type(root), YAMLN_MAPPING);
    assert_int_equal(yaml_len(root), 3);
    assert_string_equal(yaml_key(root, 1, &value), "b");
    b = yaml_get(root, "b");
    assert_ptr_equal(b, value);
    assert_int_equal(yaml_type(b), YAMLN_SEQUENCE);
    assert_int_equal(yaml_len(b), 2);
    assert_string_equal(yaml_scalar(yaml_at(b, 0)), "x");
    assert_string_equal(yaml_scalar(yaml_get(yaml_at(b, 1), "c")), "two");
    assert_true(yaml_plain(yaml_get(root, "a")));
    assert_false(yaml_plain(yaml_get(yaml_at(b, 1), "c")));
    assert_true(yaml_is_null(yaml_at(yaml_get(yaml_at(b, 1), "d"), 0)));
    assert_string_equal(yaml_scalar(yaml_get(root, "e")), "block\n");
    assert_int_equal(yaml_line(yaml_at(b, 1)), 4);
    assert_int_equal(yaml_column(yaml_at(b, 1)), 3);
    assert_int_equal(yaml_line(yaml_key_node(root, 2)), 5);
    yaml_doc_free(d);
}

static void test_what_is_not_there_is_null(void **state)
{
    struct yaml_doc *d = parse_ok("a: [x]\n");
    const struct yaml_node *root = yaml_root(d, 0), *value = root;

    (void)state;
    assert_null(yaml_root(d, 1));
    assert_null(yaml_root(NULL, 0));
    assert_null(yaml_get(NULL, "a"));
    assert_null(yaml_get(yaml_get(root, "a"), "a"));
    assert_null(yaml_get(root, "b"));
    assert_null(yaml_at(root, 0));
    assert_null(yaml_at(yaml_get(root, "a"), 1));
    assert_null(yaml_key(root, 1, &value));
    assert_null(value);
    assert_null(yaml_key(yaml_get(root, "a"), 0, NULL));
    assert_null(yaml_scalar(root));
    assert_null(yaml_scalar(NULL));
    assert_int_equal(yaml_len(NULL), 0);
    assert_int_equal(yaml_type(NULL), 0);
    assert_int_equal(yaml_line(NULL), 0);
    assert_true(yaml_is_null(NULL));
    assert_false(yaml_is_null(root));
    yaml_doc_free(d);
    yaml_doc_free(NULL);
}

static void test_null_needs_no_quotes(void **state)
{
    struct yaml_doc *d =
        parse_ok("- \n- ~\n- null\n- Null\n- NULL\n- ''\n- \"null\"\n- nil\n- !!str null\n");
    const struct yaml_node *list = yaml_root(d, 0);
    static const bool is_null[] = {true, true, true, true, true, false, false, false, false};

    (void)state;
    assert_int_equal(yaml_len(list), 9);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(yaml_is_null(yaml_at(list, i)), is_null[i]);
    assert_string_equal(yaml_type_name(yaml_at(list, 0)), "nothing");
    assert_string_equal(yaml_type_name(yaml_at(list, 5)), "text");
    assert_string_equal(yaml_type_name(list), "a list");
    yaml_doc_free(d);
}

static void test_json_is_read(void **state)
{
    struct yaml_doc *d =
        parse_ok("{\n\t\"clusters\": [{\"name\": \"a\\u00e9\", \"n\": 7}],\n\t\"t\": true}\n");
    const struct yaml_node *cluster = yaml_at(yaml_get(yaml_root(d, 0), "clusters"), 0);

    (void)state;
    assert_string_equal(yaml_scalar(yaml_get(cluster, "name")), "a\xc3\xa9");
    assert_false(yaml_plain(yaml_get(cluster, "name")));
    assert_true(yaml_plain(yaml_get(cluster, "n")));
    yaml_doc_free(d);
}

static void test_documents_of_a_stream(void **state)
{
    struct yaml_doc *d = parse_ok("a: 1\n---\n---\nb: 2\n...\n# end\n");

    (void)state;
    assert_int_equal(yaml_count(d), 3);
    assert_string_equal(yaml_scalar(yaml_get(yaml_root(d, 0), "a")), "1");
    assert_true(yaml_is_null(yaml_root(d, 1)));
    assert_int_equal(yaml_line(yaml_root(d, 2)), 4);
    yaml_doc_free(d);
    d = parse_ok("# only a comment\n");
    assert_int_equal(yaml_count(d), 0);
    yaml_doc_free(d);
    d = parse_ok("");
    assert_int_equal(yaml_count(d), 0);
    yaml_doc_free(d);
}

static void test_refusals_have_places(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "f.yaml:3:1: key a is there twice, first at line 1: remove one"},
        {"x:\n  {k: 1, 'k': 2}\n",
         "f.yaml:2:10: key k is there twice, first at line 2: remove one"},
        {"a: &x 1\nb: *x\n",
         "f.yaml:2:4: alias *x: aliases are not supported, write the value out"},
        {"a: !!binary eA==\n", "f.yaml:1:4: tag tag:yaml.org,2002:binary: tags are not supported"},
        {"a: !x {}\n", "f.yaml:1:4: tag !x: tags are not supported"},
        {"a: !x []\n", "f.yaml:1:4: tag !x: tags are not supported"},
        {"? [a]\n: b\n", "f.yaml:1:3: a key must be text"},
        {"? {a: b}\n: b\n", "f.yaml:1:3: a key must be text"},
        {"a: \"x\\0y\"\n", "f.yaml:1:4: text with a NUL character in it"},
        {"a:\n\tb: 1\n", "f.yaml:2:1: a tab: YAML is indented with spaces, while scanning for the "
                         "next token that began at line 2"},
        {"\xc3\xa9:\n\tb: 1\n", "f.yaml:2:1: a tab: YAML is indented with spaces, while "
                                "scanning for the next token that began at line 2"},
        {"a: [1\nb: 2\n", "f.yaml:2:2: did not find expected ',' or ']', while parsing a flow "
                          "sequence that began at line 1"},
        {"a: '\xff'\n", "f.yaml:1:5: invalid leading UTF-8 octet (the file must be UTF-8 text)"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_refused(cases[i].text, strlen(cases[i].text), ERR_INVALID, cases[i].message);
}

static void test_depth_at_its_edge(void **state)
{
    char text[2 * YAML_DEPTH_MAX + 3];

    (void)state;
    for (unsigned depth = YAML_DEPTH_MAX; depth <= YAML_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = 0;
        if (depth == YAML_DEPTH_MAX)
            yaml_doc_free(parse_ok(text));
        else
            assert_refused(text, 2 * depth, ERR_LIMIT, "f.yaml:1:65: nested deeper than 64 levels");
    }
}

/* libyaml alone would not end here, not even where the document is already condemned. */
static void test_a_million_brackets_end(void **state)
{
    static const char *const begins[] = {"", "[*x, ", "{? [] : "};
    size_t len = 1000000;
    char *text = malloc(len);
    struct yaml_doc *d;
    struct err err;

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < 3; i++) {
        memset(text, '[', len);
        memcpy(text, begins[i], strlen(begins[i]));
        assert_int_equal(yaml_parse_each(&d, text, len, "f.yaml", &err), -1);
        assert_int_equal(err.code, ERR_LIMIT);
        yaml_doc_free(d);
    }
    free(text);
}

/* "[,..." of n values in all: the list itself and n - 1 items. */
static void list_of(struct buf *b, unsigned n)
{
    b->len = 0;
    assert_int_equal(buf_puts(b, "[", NULL), 0);
    for (unsigned i = 1; i < n; i++)
        assert_int_equal(buf_puts(b, "x,", NULL), 0);
    assert_int_equal(buf_puts(b, "]", NULL), 0);
}

static void test_nodes_at_their_edge(void **state)
{
    AUTO_BUF struct buf b = {0};
    struct yaml_doc *d = NULL;

    (void)state;
    list_of(&b, YAML_NODES_MAX);
    assert_int_equal(yaml_parse(&d, (char *)b.data, b.len, "f", NULL), 0);
    assert_int_equal(yaml_len(yaml_root(d, 0)), YAML_NODES_MAX - 1);
    yaml_doc_free(d);
    list_of(&b, YAML_NODES_MAX + 1);
    assert_refused((char *)b.data, b.len, ERR_LIMIT,
                   "f.yaml:1:200000: more than 100000 values in the file");
}

static void test_bytes_at_their_edge(void **state)
{
    size_t len = (size_t)YAML_BYTES_MAX + 1;
    char *text = malloc(len);
    struct yaml_doc *d = NULL;

    (void)state;
    assert_non_null(text);
    memset(text, '\n', len);
    assert_int_equal(yaml_parse(&d, text, len - 1, "f.yaml", NULL), 0);
    yaml_doc_free(d);
    assert_refused(text, len, ERR_LIMIT, "f.yaml: 16777217 bytes, limit 16777216");
    free(text);
}

static void test_tag_lines_at_their_edge(void **state)
{
    AUTO_BUF struct buf b = {0};
    struct yaml_doc *d = NULL;

    (void)state;
    for (unsigned i = 0; i < YAML_TAG_LINES_MAX; i++)
        assert_int_equal(buf_printf(&b, NULL, "%%TAG !t%u! tag:x,2000:\n", i), 0);
    assert_int_equal(buf_puts(&b, "--- a\n", NULL), 0);
    assert_int_equal(yaml_parse(&d, (char *)b.data, b.len, "f", NULL), 0);
    yaml_doc_free(d);
    assert_int_equal(buf_puts(&b, "...\n%TAG !u! tag:x,2000:\n--- b\n", NULL), 0);
    assert_refused((char *)b.data, b.len, ERR_LIMIT,
                   "f.yaml: more than 16 lines that begin with %TAG");
}

/* Many keys are compared in n log n: 49,999 pairs would take 10^9 comparisons. */
static void test_many_keys(void **state)
{
    AUTO_BUF struct buf b = {0};

    (void)state;
    for (unsigned i = 0; i < YAML_NODES_MAX / 2 - 1; i++)
        assert_int_equal(buf_printf(&b, NULL, "k%u:\n", i), 0);
    yaml_doc_free(parse_ok(buf_cstr(&b)));
    b.len -= strlen("k49998:\n");
    assert_int_equal(buf_puts(&b, "k7:\n", NULL), 0);
    assert_refused((char *)b.data, b.len, ERR_INVALID,
                   "f.yaml:49999:1: key k7 is there twice, first at line 8: remove one");
}

static void test_each_keeps_the_good_documents(void **state)
{
    static const char text[] = "a: 1\n---\nb: *x\nc: [{}]\n---\nd: 4\n---\n\"e\n";
    struct yaml_doc *d = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(yaml_parse_each(&d, text, sizeof(text) - 1, "f.yaml", &err), -1);
    assert_string_equal(err.msg, "f.yaml:9:1: found unexpected end of stream, while scanning a "
                                 "quoted scalar that began at line 8");
    assert_int_equal(yaml_count(d), 3);
    assert_string_equal(yaml_scalar(yaml_get(yaml_root(d, 0), "a")), "1");
    assert_null(yaml_doc_error(d, 0));
    assert_null(yaml_root(d, 1));
    assert_string_equal(yaml_doc_error(d, 1)->msg, "f.yaml:3:4: alias *x: aliases are not "
                                                   "supported, write the value out");
    assert_string_equal(yaml_scalar(yaml_get(yaml_root(d, 2), "d")), "4");
    assert_null(yaml_doc_error(d, 3));
    yaml_doc_free(d);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_int_equal(fputs(text, f) < 0, 0);
    assert_int_equal(fclose(f), 0);
}

static void test_files(void **state)
{
    char path[512], message[600];
    struct tmp_dir dir;
    struct yaml_doc *d = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(tmp_dir_make(&dir), 0);
    snprintf(path, sizeof(path), "%s", tmp_file(&dir, "a.yaml"));
    write_file(path, "a: 1\n");
    assert_int_equal(yaml_parse_file(&d, path, 5, &err), 0);
    assert_string_equal(yaml_file(d), path);
    yaml_doc_free(d);
    assert_int_equal(yaml_parse_file(&d, path, 4, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    snprintf(message, sizeof(message), "%s: larger than 4 bytes", path);
    assert_string_equal(err.msg, message);
    write_file(path, "a: *b\n");
    assert_int_equal(yaml_parse_file_each(&d, path, 0, &err), 0);
    assert_non_null(yaml_doc_error(d, 0));
    yaml_doc_free(d);
    assert_int_equal(yaml_parse_file(&d, "/", 0, &err), -1);
    assert_string_equal(err.msg, "/: not a file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(yaml_parse_file(&d, path, 0, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    snprintf(message, sizeof(message), "%s: No such file or directory", path);
    assert_string_equal(err.msg, message);
    assert_null(d);
    tmp_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_of_mappings_and_lists),
        cmocka_unit_test(test_what_is_not_there_is_null),
        cmocka_unit_test(test_null_needs_no_quotes),
        cmocka_unit_test(test_json_is_read),
        cmocka_unit_test(test_documents_of_a_stream),
        cmocka_unit_test(test_refusals_have_places),
        cmocka_unit_test(test_depth_at_its_edge),
        cmocka_unit_test(test_a_million_brackets_end),
        cmocka_unit_test(test_nodes_at_their_edge),
        cmocka_unit_test(test_bytes_at_their_edge),
        cmocka_unit_test(test_tag_lines_at_their_edge),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_each_keeps_the_good_documents),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
