/* What is read of an object, what is cut out of it, and what is refused. */
#include "kube/object.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the above first
#include <cmocka.h>

static struct kube_object *parse(const char *text)
{
    struct kube_object *obj = NULL;
    struct err err = {0};

    if (kube_object_parse(&obj, text, strlen(text), NULL, &err) < 0)
        fail_msg("%s: %s", err.msg, text);
    return obj;
}

static void check_json(const char *text, const char *want)
{
    struct kube_object *obj = parse(text);

    assert_string_equal(obj->json, want);
    assert_int_equal(obj->json_len, strlen(want));
    kube_object_unref(obj);
}

static enum err_code refused(const void *text, size_t len)
{
    struct kube_object *obj = NULL;
    struct err err = {0};

    assert_int_equal(kube_object_parse(&obj, text, len, NULL, &err), -1);
    assert_null(obj);
    assert_true(err.msg[0]);
    return err.code;
}

static void test_identity_is_read_wherever_it_stands(void **state)
{
    struct kube_object *obj =
        parse("{\"status\":{\"metadata\":{\"name\":\"not this\"}},\"metadata\":{\"generation\":7,"
              "\"deletionTimestamp\":\"2026-01-01T00:00:00Z\",\"labels\":{\"name\":\"nor this\"},"
              "\"resourceVersion\":\"123\",\"uid\":\"u-1\",\"namespace\":\"ns\",\"n\\u0061me\":"
              "\"caf\\u00e9\"},\"kind\":\"K\",\"apiVersion\":\"g/v1\"}");
    char key[OBJECT_KEY_MAX + 1];

    (void)state;
    assert_string_equal(obj->name, "caf\xc3\xa9");
    assert_string_equal(obj->namespace_, "ns");
    assert_string_equal(obj->uid, "u-1");
    assert_string_equal(obj->resource_version, "123");
    assert_int_equal(obj->generation, 7);
    assert_true(obj->deleting);
    kube_object_key(key, obj);
    assert_string_equal(key, "ns/caf\xc3\xa9");
    kube_object_unref(obj);
}

static void test_an_object_of_the_cluster(void **state)
{
    struct kube_object *obj = parse("{\"metadata\":{\"name\":\"n\",\"resourceVersion\":\"1\","
                                    "\"deletionTimestamp\":null,\"namespace\":null}}");
    char key[OBJECT_KEY_MAX + 1];

    (void)state;
    assert_false(obj->deleting);
    assert_string_equal(obj->namespace_, "");
    assert_string_equal(obj->uid, "");
    kube_object_key(key, obj);
    assert_string_equal(key, "n");
    kube_object_unref(obj);
}

#define ID "\"name\":\"n\",\"resourceVersion\":\"1\""
#define LA "\"kubectl.kubernetes.io/last-applied-configuration\":\"{\\\"a\\\":1}\""

static void test_only_two_members_are_cut_and_all_else_stays_as_it_came(void **state)
{
    (void)state;
    check_json("{\"metadata\":{\"managedFields\":[{\"a\":[1]}]," ID "}}",
               "{\"metadata\":{" ID "}}");
    check_json("{\"metadata\":{" ID ",\"managedFields\":[]}}", "{\"metadata\":{" ID "}}");
    check_json("{\"metadata\":{\"name\":\"n\" , \"managedFields\" : [ ] , "
               "\"resourceVersion\":\"1\"}}",
               "{\"metadata\":{\"name\":\"n\"  , \"resourceVersion\":\"1\"}}");
    check_json("{\"metadata\":{" ID ",\"annotations\":{" LA "}}}",
               "{\"metadata\":{" ID ",\"annotations\":{}}}");
    check_json("{\"metadata\":{" ID ",\"annotations\":{" LA ",\"b\":\"c\"}}}",
               "{\"metadata\":{" ID ",\"annotations\":{\"b\":\"c\"}}}");
    check_json("{\"metadata\":{" ID ",\"annotations\":{\"a\":\"b\"," LA ",\"c\":\"d\"}}}",
               "{\"metadata\":{" ID ",\"annotations\":{\"a\":\"b\",\"c\":\"d\"}}}");
    /* Elsewhere the same names mean nothing; numbers, escapes and order stay. */
    check_json("{\"spec\":{\"managedFields\":[1.10,12345678901234567890,\"\\u00e9\"]},"
               "\"metadata\":{" ID ",\"labels\":{" LA "}},\"managedFields\":1 }",
               "{\"spec\":{\"managedFields\":[1.10,12345678901234567890,\"\\u00e9\"]},"
               "\"metadata\":{" ID ",\"labels\":{" LA "}},\"managedFields\":1 }");
}

static void add(char *text, size_t cap, const char *more)
{
    size_t len = strlen(text);

    assert_true(len + strlen(more) < cap);
    snprintf(text + len, cap - len, "%s", more);
}

/* All orders of four members, of which any may be one to cut, give JSON without those. */
static void test_cuts_leave_json_in_every_order(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 16; bits++) {
        struct kube_object *obj;
        char text[1024] = "{\"metadata\":{\"annotations\":{";
        json_t *tree, *notes;
        size_t kept = 0;

        for (unsigned i = 0; i < 4; i++) {
            static const char *const others[] = {"\"a\":\"1\"", "\"b\":\"2\"", "\"c\":\"3\"",
                                                 "\"d\":\"4\""};

            add(text, sizeof(text), i ? " , " : " ");
            add(text, sizeof(text), bits >> i & 1 ? LA : others[i]);
            kept += !(bits >> i & 1);
        }
        add(text, sizeof(text), " }," ID "}}");
        obj = parse(text);
        tree = json_loads(obj->json, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(tree);
        notes = json_object_get(json_object_get(tree, "metadata"), "annotations");
        assert_int_equal(json_object_size(notes), kept);
        json_decref(tree);
        kube_object_unref(obj);
    }
}

static void test_more_cuts_than_there_is_room_for_stay(void **state)
{
    char text[4096] = "{\"metadata\":{" ID;
    struct kube_object *obj;
    size_t left = 0;

    (void)state;
    for (unsigned i = 0; i < KUBE_OBJECT_CUTS_MAX + 2; i++)
        add(text, sizeof(text), ",\"managedFields\":[1]");
    add(text, sizeof(text), "}}");
    obj = parse(text);
    for (const char *p = obj->json; (p = strstr(p, "managedFields")); p++)
        left++;
    assert_int_equal(left, 2);
    kube_object_unref(obj);
}

static void test_the_last_of_two_equal_members_counts(void **state)
{
    struct kube_object *obj = parse("{\"metadata\":{\"name\":\"a\",\"uid\":\"u\"},"
                                    "\"metadata\":{\"name\":\"b\",\"name\":\"c\","
                                    "\"resourceVersion\":\"1\"}}");

    (void)state;
    assert_string_equal(obj->name, "c");
    assert_string_equal(obj->uid, "");
    kube_object_unref(obj);
}

static void test_kind_is_put_in_where_a_list_left_it_out(void **state)
{
    static const struct object_kind pod = {.api_version = "v1", .kind = "Pod"};
    static const char bare[] = "{\"metadata\":{" ID "}}";
    static const char full[] = "{\"kind\":\"Other\",\"metadata\":{" ID "}}";
    struct kube_object *obj;
    struct err err;

    (void)state;
    assert_int_equal(kube_object_parse(&obj, bare, sizeof(bare) - 1, &pod, &err), 0);
    assert_string_equal(obj->json,
                        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{" ID "}}");
    assert_int_equal(obj->json_len, strlen(obj->json));
    kube_object_unref(obj);
    assert_int_equal(kube_object_parse(&obj, full, sizeof(full) - 1, &pod, &err), 0);
    assert_string_equal(obj->json,
                        "{\"apiVersion\":\"v1\",\"kind\":\"Other\",\"metadata\":{" ID "}}");
    kube_object_unref(obj);
}

static enum err_code refused_name(size_t len, char fill)
{
    char text[1024] = "{\"metadata\":{\"resourceVersion\":\"1\",\"name\":\"";
    size_t at = strlen(text);

    memset(text + at, fill, len);
    snprintf(text + at + len, sizeof(text) - at - len, "\"}}");
    return refused(text, strlen(text));
}

static void test_what_is_refused(void **state)
{
    static const char nul[] = "{\"metadata\":{\"name\":\"a\\u0000\",\"resourceVersion\":\"1\"}}";
    static const char no_version[] = "{\"metadata\":{\"name\":\"a\"}}";

    (void)state;
    assert_int_equal(refused("{}", 2), ERR_INVALID);
    assert_int_equal(refused("[]", 2), ERR_INVALID);
    assert_int_equal(refused("", 0), ERR_INVALID);
    assert_int_equal(refused(nul, strlen(nul)), ERR_INVALID);
    assert_int_equal(refused(no_version, strlen(no_version)), ERR_INVALID);
    assert_int_equal(refused_name(1, '/'), ERR_INVALID);
    assert_int_equal(refused_name(KUBE_NAME_MAX + 1, 'a'), ERR_LIMIT);
}

static void test_object_size_limit(void **state)
{
    static const char head[] = "{\"metadata\":{" ID "},\"a\":\"";
    size_t len = KUBE_OBJECT_MAX;
    char *text = malloc(len + 1);
    struct kube_object *obj;
    struct err err;

    (void)state;
    assert_non_null(text);
    memset(text, 'x', len + 1);
    memcpy(text, head, sizeof(head) - 1);
    text[len - 2] = '"';
    text[len - 1] = '}';
    assert_int_equal(kube_object_parse(&obj, text, len, NULL, &err), 0);
    kube_object_unref(obj);
    text[len - 2] = 'x';
    text[len - 1] = '"';
    text[len] = '}';
    assert_int_equal(refused(text, len + 1), ERR_LIMIT);
    free(text);
}

static void test_references(void **state)
{
    struct kube_object *obj = parse("{\"metadata\":{" ID "}}");

    (void)state;
    assert_ptr_equal(kube_object_ref(obj), obj);
    kube_object_unref(obj);
    assert_string_equal(obj->name, "n");
    kube_object_unref(obj);
    kube_object_unref(NULL);
}

static void check_order(const char *a, const char *b, bool known, int want)
{
    bool k;

    assert_int_equal(kube_version_compare(a, b, &k), want);
    assert_int_equal(k, known);
    assert_int_equal(kube_version_compare(b, a, &k), -want);
    assert_int_equal(k, known);
}

static void test_versions_as_decimals_of_any_length(void **state)
{
    (void)state;
    check_order("9", "10", true, -1);
    check_order("10", "10", true, 0);
    check_order("0010", "10", true, 0);
    check_order("184467440737095516160000000000", "184467440737095516160000000001", true, -1);
    check_order("99999999999999999999", "100000000000000000000", true, -1);
    check_order("0", "", false, 0);
    check_order("12", "abc", false, 0);
    check_order("12", "-3", false, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity_is_read_wherever_it_stands),
        cmocka_unit_test(test_an_object_of_the_cluster),
        cmocka_unit_test(test_only_two_members_are_cut_and_all_else_stays_as_it_came),
        cmocka_unit_test(test_cuts_leave_json_in_every_order),
        cmocka_unit_test(test_more_cuts_than_there_is_room_for_stay),
        cmocka_unit_test(test_the_last_of_two_equal_members_counts),
        cmocka_unit_test(test_kind_is_put_in_where_a_list_left_it_out),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_object_size_limit),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_versions_as_decimals_of_any_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
