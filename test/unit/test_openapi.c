/* docs/openapi.json against the running daemon: each path and method in it answers with a status,
 * a content type and fields that it describes, what is required is there and nothing else is; and
 * the daemon has no route that is not in it.
 */
#include "base/auto.h"
#include "base/http1.h"
#include "serve/admin_internal.h"
#include "serve/modules.h"
#include "support/daemon_child.h"
#include "support/tmp_dir.h"

#include <jansson.h>
#include <sched.h>
#include <sys/stat.h>

static struct tmp_dir dir;
static struct daemon_child daemon_;
static char sock[512], config[512];
static json_t *doc; /* as the daemon has it */

/* --- a checker of the part of JSON Schema that the document uses --- */

static char why[512];

static bool fails(const char *where, const char *what, const char *name)
{
    snprintf(why, sizeof(why), "%.200s: %.100s %.100s", where, what, name);
    return false;
}

static const json_t *resolve(const json_t *schema)
{
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    static const char prefix[] = "#/components/schemas/";
    const json_t *schemas = json_object_get(json_object_get(doc, "components"), "schemas");

    if (!ref)
        return schema;
    assert_int_equal(strncmp(ref, prefix, sizeof(prefix) - 1), 0);
    schema = json_object_get(schemas, ref + sizeof(prefix) - 1);
    if (!schema)
        fail_msg("%s is not there", ref);
    return schema;
}

static bool is_type(const json_t *v, const char *type)
{
    return (strcmp(type, "object") == 0 && json_is_object(v)) ||
           (strcmp(type, "array") == 0 && json_is_array(v)) ||
           (strcmp(type, "string") == 0 && json_is_string(v)) ||
           (strcmp(type, "integer") == 0 && json_is_integer(v)) ||
           (strcmp(type, "number") == 0 && json_is_number(v)) ||
           (strcmp(type, "boolean") == 0 && json_is_boolean(v)) ||
           (strcmp(type, "null") == 0 && json_is_null(v));
}

static bool type_fits(const json_t *v, const json_t *type)
{
    const json_t *one;
    size_t i;

    if (!type)
        return true;
    if (json_is_string(type))
        return is_type(v, json_string_value(type));
    json_array_foreach(type, i, one)
    {
        if (is_type(v, json_string_value(one)))
            return true;
    }
    return false;
}

static bool fits(const json_t *v, const json_t *schema, const char *where);

static bool object_fits(const json_t *v, const json_t *schema, const char *where)
{
    const json_t *properties = json_object_get(schema, "properties"), *name, *member;
    const json_t *more = json_object_get(schema, "additionalProperties");
    const char *key;
    size_t i;

    json_array_foreach(json_object_get(schema, "required"), i, name)
    {
        if (!json_object_get(v, json_string_value(name)))
            return fails(where, "lacks", json_string_value(name));
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        const json_t *property = json_object_get(properties, key);
        char path[256];

        snprintf(path, sizeof(path), "%.180s.%.60s", where, key);
        if (!property && json_is_false(more))
            return fails(where, "has what nobody described:", key);
        if (!property)
            property = more;
        if (json_is_object(property) && !fits(member, property, path))
            return false;
    }
    return true;
}

static bool one_of(const json_t *v, const json_t *choices, const char *where)
{
    const json_t *choice;
    size_t i;

    json_array_foreach(choices, i, choice)
    {
        if (fits(v, choice, where))
            return true;
    }
    return false; /* why is that of the last */
}

static bool fits(const json_t *v, const json_t *schema, const char *where)
{
    const json_t *allowed, *item;
    size_t i;

    schema = resolve(schema);
    if (json_object_get(schema, "oneOf"))
        return one_of(v, json_object_get(schema, "oneOf"), where);
    if (!type_fits(v, json_object_get(schema, "type")))
        return fails(where, "has another type", "");
    allowed = json_object_get(schema, "enum");
    if (allowed) {
        json_array_foreach(allowed, i, item)
        {
            if (json_equal(item, v))
                return true;
        }
        return fails(where, "is none of the values:", json_string_value(v));
    }
    json_array_foreach(v, i, item)
    {
        if (!fits(item, json_object_get(schema, "items"), where))
            return false;
    }
    return !json_is_object(v) || object_fits(v, schema, where);
}

static void test_the_checker_finds_what_is_wrong(void **state)
{
    static const struct {
        const char *value;
        bool fits;
    } cases[] = {
        {"{\"a\":1,\"c\":[\"x\"]}", true},
        {"{\"a\":1,\"c\":[]}", true},
        {"{\"c\":[]}", false},
        {"{\"a\":\"1\",\"c\":[]}", false},
        {"{\"a\":1,\"c\":[\"z\"]}", false},
        {"{\"a\":1,\"c\":[],\"d\":1}", false},
        {"[]", false},
        {"{\"a\":1,\"b\":null,\"c\":[]}", true},
        {"{\"a\":1,\"b\":1,\"c\":[]}", false},
    };
    json_t *schema =
        json_loads("{\"type\":\"object\",\"required\":[\"a\",\"c\"],"
                   "\"additionalProperties\":false,\"properties\":{\"a\":{\"type\":\"integer\"},"
                   "\"b\":{\"oneOf\":[{\"type\":\"null\"},{\"type\":[\"string\",\"boolean\"]}]},"
                   "\"c\":{\"type\":\"array\",\"items\":{\"enum\":[\"x\",\"y\"]}}}}",
                   0, NULL);

    (void)state;
    assert_non_null(schema);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *v = json_loads(cases[i].value, 0, NULL);

        if (fits(v, schema, "it") != cases[i].fits)
            fail_msg("%s: %s", cases[i].value, why);
        json_decref(v);
    }
    json_decref(schema);
}

/* --- asking --- */

/* The first answer of each route, and then what is done to provoke others. */
struct asked {
    const char *path, *target; /* the path as described; how it is asked for */
    enum http1_method method;
    const char *body;
    int status;
};

#define GUEST                                                                                      \
    "{\"files\":[{\"name\":\"a.yaml\",\"text\":\"{apiVersion: roost.dev/v1alpha1, kind: Guest, "   \
    "metadata: {name: a}, spec: {module: 'file:m', triggers: [{watch: {apiVersion: v1, kind: "     \
    "Pod}}], capabilities: {kube: {serviceAccount: a}}}}\",\"modules\":{\"m\":\"%s\"}}]}"

static char module[72], put_module[128], guest[2048];
static char wasm[8] = "\0asm\1\0\0";

static const char ONE[] = "/v1/guests/{namespace}/{name}", MODULES[] = "/v1/modules/{digest}";
static const char SLEEP[] = "/v1/guests/{namespace}/{name}/sleep";
static const char WAKE[] = "/v1/guests/{namespace}/{name}/wake";

static const struct asked asked[] = {
    {"/healthz", "/healthz", HTTP1_GET, NULL, 200},
    {"/readyz", "/readyz", HTTP1_GET, NULL, 200},
    {"/readyz", "/readyz?verbose", HTTP1_GET, NULL, 200},
    {"/v1/version", "/v1/version", HTTP1_GET, NULL, 200},
    {"/v1/openapi.json", "/v1/openapi.json", HTTP1_GET, NULL, 200},
    {"/v1/stats", "/v1/stats?reset", HTTP1_GET, NULL, 200},
    {"/v1/guests", "/v1/guests", HTTP1_GET, NULL, 200},
    {"/v1/guests", "/v1/guests?limit=x", HTTP1_GET, NULL, 400},
    {"/v1/apply", "/v1/apply", HTTP1_POST, "{}", 400},
    {"/v1/apply", "/v1/apply", HTTP1_POST, guest, 422},
    {MODULES, put_module, HTTP1_HEAD, NULL, 404},
    {MODULES, "/v1/modules/x", HTTP1_HEAD, NULL, 400},
    {MODULES, "/v1/modules/x", HTTP1_PUT, "x", 400},
    {MODULES, put_module, HTTP1_PUT, "x", 422},
    {MODULES, put_module, HTTP1_PUT, wasm, 200},
    {MODULES, put_module, HTTP1_HEAD, NULL, 200},
    {"/v1/apply", "/v1/apply", HTTP1_POST, guest, 200},
    {"/v1/guests", "/v1/guests?labelSelector=", HTTP1_GET, NULL, 200},
    {ONE, "/v1/guests/default/a", HTTP1_GET, NULL, 200},
    {ONE, "/v1/guests/default/b", HTTP1_GET, NULL, 404},
    {SLEEP, "/v1/guests/default/a/sleep", HTTP1_POST, NULL, 409},
    {SLEEP, "/v1/guests/default/b/sleep", HTTP1_POST, NULL, 404},
    {WAKE, "/v1/guests/default/a/wake", HTTP1_POST, NULL, 409},
    {WAKE, "/v1/guests/default/b/wake", HTTP1_POST, NULL, 404},
    {ONE, "/v1/guests/default/b", HTTP1_DELETE, NULL, 404},
    {ONE, "/v1/guests/default/a", HTTP1_DELETE, NULL, 200},
    {"/v1/log-level", "/v1/log-level", HTTP1_GET, NULL, 200},
    {"/v1/log-level", "/v1/log-level", HTTP1_PUT, "{\"level\":\"info\"}", 200},
    {"/v1/log-level", "/v1/log-level", HTTP1_PUT, "{}", 400},
    {"/v1/log-level", "/v1/log-level", HTTP1_PUT, "{\"level\":\"x\"}", 422},
    {"/v1/logs", "/v1/logs", HTTP1_GET, NULL, 200},
    {"/v1/logs", "/v1/logs?tail=x", HTTP1_GET, NULL, 400},
    {"/v1/events", "/v1/events", HTTP1_GET, NULL, 200},
    {"/v1/events", "/v1/events?since=x", HTTP1_GET, NULL, 400},
    {"/metrics", "/metrics", HTTP1_GET, NULL, 200},
};
#define NASKED (sizeof(asked) / sizeof(asked[0]))

static const json_t *operation(const char *path, enum http1_method method)
{
    char name[16];
    const json_t *paths = json_object_get(doc, "paths");

    snprintf(name, sizeof(name), "%s", http1_method_name(method));
    for (char *p = name; *p; p++)
        *p = (char)(*p | 0x20);
    return json_object_get(json_object_get(paths, path), name);
}

static void check_lines(const struct asked *q, const struct buf *body, const json_t *schema)
{
    const char *at = (const char *)body->data, *end = at + body->len;

    while (at < end) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        json_t *v;

        assert_non_null(line);
        v = json_loadb(at, (size_t)(line - at), 0, NULL);
        if (!fits(v, schema, q->target))
            fail_msg("%s", why);
        json_decref(v);
        at = line + 1;
    }
}

static void check_answer(const struct asked *q, struct http1_answer *a)
{
    const json_t *op = operation(q->path, q->method), *response, *content;
    char status[8];

    if (!op)
        fail_msg("%s %s is not described", http1_method_name(q->method), q->path);
    snprintf(status, sizeof(status), "%d", a->status);
    response = json_object_get(json_object_get(op, "responses"), status);
    if (!response || a->status != q->status)
        fail_msg("%s %s: %d: %s", http1_method_name(q->method), q->target, a->status,
                 buf_cstr(&a->body));
    if (q->method == HTTP1_HEAD)
        return;
    content = json_object_get(json_object_get(response, "content"), a->content_type);
    if (!content)
        fail_msg("%s: %d as %s is not described", q->target, a->status, a->content_type);
    if (strstr(a->content_type, "ndjson")) {
        check_lines(q, &a->body, json_object_get(content, "schema"));
    } else if (strstr(a->content_type, "json")) {
        json_t *v = json_loadb((const char *)a->body.data, a->body.len, 0, NULL);

        if (!v || !fits(v, json_object_get(content, "schema"), q->target))
            fail_msg("%s", v ? why : "no JSON");
        json_decref(v);
    }
}

static bool keep_piece(void *ctx, const uint8_t *data, size_t len)
{
    assert_int_equal(buf_append(ctx, data, len, NULL), 0);
    return true;
}

static void ask(const struct asked *q, struct http1_answer *a)
{
    struct http1_question question = {.method = q->method, .target = q->target, .body = q->body};
    AUTO_BUF struct buf body = {0};
    struct err err = {0};

    if (q->body)
        question.body_len = q->body == wasm ? sizeof(wasm) : strlen(q->body);
    if ((q->method == HTTP1_HEAD
             ? http1_ask_unix(a, sock, &question, 0, &err)
             : http1_follow_unix(a, sock, &question, keep_piece, &body, &err)) < 0)
        fail_msg("%s: %s", q->target, err.msg);
    if (body.len) {
        buf_free(&a->body);
        a->body = body;
        body = (struct buf){0};
    }
}

static bool is_described(const struct asked *q)
{
    return operation(q->path, q->method) || strcmp(q->path, "/metrics") != 0;
}

static void test_every_answer_is_as_described(void **state)
{
    (void)state;
    for (size_t i = 0; i < NASKED; i++) {
        struct http1_answer a = {0};

        if (!is_described(&asked[i]))
            continue;
        ask(&asked[i], &a);
        check_answer(&asked[i], &a);
        http1_answer_free(&a);
    }
}

static bool is_asked(const char *path, const char *method)
{
    for (size_t i = 0; i < NASKED; i++)
        if (strcmp(asked[i].path, path) == 0 &&
            strcasecmp(http1_method_name(asked[i].method), method) == 0)
            return true;
    return false;
}

static void test_every_operation_is_asked_for(void **state)
{
    const json_t *paths = json_object_get(doc, "paths"), *item, *op;
    const char *path, *method;

    (void)state;
    json_object_foreach((json_t *)(uintptr_t)paths, path, item)
    {
        json_object_foreach((json_t *)(uintptr_t)item, method, op)
        {
            if (strcmp(method, "parameters") == 0)
                continue;
            if (!is_asked(path, method))
                fail_msg("nobody asks for %s %s", method, path);
            assert_non_null(json_object_get(op, "operationId"));
        }
    }
}

static bool has_parameter(const json_t *op, const char *name, size_t len)
{
    const json_t *p;
    size_t i;

    json_array_foreach(json_object_get(op, "parameters"), i, p)
    {
        const char *own = json_string_value(json_object_get(p, "name"));

        if (strlen(own) == len && strncmp(own, name, len) == 0)
            return true;
    }
    return false;
}

/* The other way round: what the daemon has is described, with its parameters. */
static void test_every_route_is_described(void **state)
{
    size_t n;
    const struct admin_route *routes = admin_routes(&n);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        const struct admin_route *r = &routes[i];
        const json_t *op = operation(r->path, r->method);

        if (!op)
            fail_msg("%s %s is not described", http1_method_name(r->method), r->path);
        for (const char *p = r->query; p && *p;) {
            size_t len = strcspn(p, " ");

            if (!has_parameter(op, p, len))
                fail_msg("%s: parameter %.*s is not described", r->path, (int)len, p);
            p += len + strspn(p + len, " ");
        }
        assert_int_equal(json_object_get(op, "requestBody") != NULL, r->body_max > 0);
    }
}

/* --- a watch --- */

struct seen {
    unsigned added, synced, deleted;
    char line[65536];
    size_t len;
};

static void take_line(struct seen *s, const char *line)
{
    json_t *v = json_loads(line, 0, NULL),
           *schema = json_pack("{s:s}", "$ref", "#/components/schemas/GuestChange");
    const char *type = json_string_value(json_object_get(v, "type"));

    if (!fits(v, schema, "watch"))
        fail_msg("%s: %s", why, line);
    s->added += strcmp(type, "ADDED") == 0;
    s->synced += strcmp(type, "SYNCED") == 0;
    s->deleted += strcmp(type, "DELETED") == 0;
    json_decref(v);
    json_decref(schema);
}

static bool take_piece(void *ctx, const uint8_t *data, size_t len)
{
    static const struct asked take_away = {ONE, "/v1/guests/default/a", HTTP1_DELETE, NULL, 200};
    struct seen *s = ctx;
    unsigned before = s->synced;

    for (size_t i = 0; i < len; i++) {
        s->line[s->len++] = (char)data[i];
        assert_true(s->len < sizeof(s->line));
        if (data[i] != '\n')
            continue;
        s->line[s->len - 1] = 0;
        s->len = 0;
        take_line(s, s->line);
    }
    if (s->synced && !before) {
        struct http1_answer a = {0};

        ask(&take_away, &a);
        assert_int_equal(a.status, 200);
        http1_answer_free(&a);
    }
    return s->deleted == 0;
}

static void test_a_watch_is_as_described(void **state)
{
    static const struct asked make = {"/v1/apply", "/v1/apply", HTTP1_POST, guest, 200};
    struct http1_question q = {.method = HTTP1_GET, .target = "/v1/guests?watch=1"};
    struct http1_answer a = {0};
    struct seen *seen = calloc(1, sizeof(*seen));
    struct err err = {0};

    (void)state;
    ask(&make, &a);
    assert_int_equal(a.status, 200);
    http1_answer_free(&a);
    if (http1_follow_unix(&a, sock, &q, take_piece, seen, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(a.content_type, "application/x-ndjson");
    assert_int_equal(seen->added, 1);
    assert_int_equal(seen->synced, 1);
    assert_int_equal(seen->deleted, 1);
    free(seen);
    http1_answer_free(&a);
}

/* --- the daemon --- */

static void describe_module(void)
{
    uint8_t digest[IMAGE_DIGEST_BYTES];

    assert_int_equal(image_digest_bytes(wasm, sizeof(wasm), digest, NULL), 0);
    module_name(module, digest);
    snprintf(put_module, sizeof(put_module), "/v1/modules/%s", module);
    snprintf(guest, sizeof(guest), GUEST, module);
}

static int setup(void **state)
{
    static struct options_source source = {.file = config};
    static const struct asked get = {"", "/v1/openapi.json", HTTP1_GET, NULL, 200};
    struct http1_answer a = {0};
    FILE *f;

    (void)state;
    setenv("ROOST_COMPILE", ROOST_BINARY_DIR "/roost-compile", 1);
    if (tmp_dir_make(&dir) < 0)
        return -1;
    snprintf(sock, sizeof(sock), "%s/state/admin.sock", dir.path);
    snprintf(config, sizeof(config), "%s/roost.yaml", dir.path);
    f = fopen(config, "we");
    if (!f ||
        fputs("apiVersion: roost.dev/v1alpha1\nkind: RoostConfiguration\nstateDir: state\n"
              "workers: 1\nkubernetes: {enabled: false}\n",
              f) < 0 ||
        fclose(f))
        return -1;
    source.flags[options_find("log.format") - options_find("stateDir")] = "text";
    daemon_child_start(&daemon_, &source);
    daemon_child_expect(&daemon_, "guests, 1 workers");
    describe_module();
    ask(&get, &a);
    doc = json_loadb((const char *)a.body.data, a.body.len, JSON_REJECT_DUPLICATES, NULL);
    http1_answer_free(&a);
    return doc ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(doc);
    if (daemon_child_stop(&daemon_) != 0)
        return -1;
    tmp_dir_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_checker_finds_what_is_wrong),
        cmocka_unit_test(test_every_answer_is_as_described),
        cmocka_unit_test(test_every_operation_is_asked_for),
        cmocka_unit_test(test_every_route_is_described),
        cmocka_unit_test(test_a_watch_is_as_described),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
