/* Guests that are applied, changed, rolled back and deleted, and the folder that is watched: the
 * whole daemon in a process of its own, without Kubernetes, asked over its socket as anybody would.
 */
#include "base/auto.h"
#include "base/http1.h"
#include "base/limits.h"
#include "engine/imagecache.h"
#include "serve/modules.h"
#include "support/daemon_child.h"
#include "support/tmp_dir.h"

#include <jansson.h>
#include <sched.h>
#include <sys/stat.h>

static struct tmp_dir dir;
static struct daemon_child daemon_;
static char sock[512], config[512];

/* --- asking --- */

struct answer {
    int status;
    json_t *json;
};

static struct answer ask_with(enum http1_method method, const char *target, const void *body,
                              size_t len)
{
    struct http1_question q = {.method = method, .target = target, .body = body, .body_len = len};
    AUTO_ANSWER struct http1_answer a = {0};
    struct answer out = {0};
    struct err err = {0};

    if (http1_ask_unix(&a, sock, &q, 60000, &err) < 0)
        fail_msg("%s: %s", target, err.msg);
    out.status = a.status;
    if (a.body.len)
        out.json = json_loadb((const char *)a.body.data, a.body.len, 0, NULL);
    return out;
}

static struct answer ask(enum http1_method method, const char *target, const char *body)
{
    return ask_with(method, target, body, body ? strlen(body) : 0);
}

static void expect_status(enum http1_method method, const char *target, const char *body,
                          int status, const char *detail)
{
    struct answer a = ask(method, target, body);
    const char *text = json_string_value(json_object_get(a.json, "detail"));

    if (a.status != status)
        fail_msg("%s: %d, %s", target, a.status, text ? text : "");
    if (detail && (!text || !strstr(text, detail)))
        fail_msg("%s: %s", target, text ? text : "no detail");
    json_decref(a.json);
}

/* A text of what describe shows; the answer is a static buffer. */
static const char *shown(const char *id, const char *field)
{
    static char text[1024];
    char target[256];
    struct answer a;
    const json_t *v;

    snprintf(target, sizeof(target), "/v1/guests/%s", id);
    a = ask(HTTP1_GET, target, NULL);
    v = json_object_get(a.json, field);
    if (json_is_integer(v))
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(v));
    else
        snprintf(text, sizeof(text), "%s", v ? json_string_value(v) : "");
    if (a.status != 200)
        text[0] = 0;
    json_decref(a.json);
    return text;
}

static void until(const char *id, const char *field, const char *part)
{
    while (!strstr(shown(id, field), part))
        sched_yield();
}

static void until_gone(const char *id)
{
    while (shown(id, "name")[0])
        sched_yield();
}

/* --- modules and manifests --- */

static void read_bytes(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    uint8_t block[4096];
    size_t n;

    assert_non_null(f);
    while ((n = fread(block, 1, sizeof(block), f)) > 0)
        assert_int_equal(buf_append(out, block, n, NULL), 0);
    fclose(f);
}

static void name_of(char name[MODULE_NAME_BYTES], const void *data, size_t len)
{
    uint8_t digest[IMAGE_DIGEST_BYTES];

    assert_int_equal(image_digest_bytes(data, len, digest, NULL), 0);
    module_name(name, digest);
}

/* Sends bytes under the name that they should have; the answer's status. */
static int send_bytes(const void *data, size_t len, char name[MODULE_NAME_BYTES])
{
    char target[128];
    struct answer a;

    name_of(name, data, len);
    snprintf(target, sizeof(target), "/v1/modules/%s", name);
    a = ask_with(HTTP1_PUT, target, data, len);
    json_decref(a.json);
    return a.status;
}

static void send_guest(const char *guest, char name[MODULE_NAME_BYTES])
{
    AUTO_BUF struct buf bytes = {0};
    char path[512];

    snprintf(path, sizeof(path), ROOST_BINARY_DIR "/guests/%s.wasm", guest);
    read_bytes(path, &bytes);
    assert_int_equal(send_bytes(bytes.data, bytes.len, name), 200);
}

#define TRIGGERS                                                                                   \
    "  triggers: [{watch: {apiVersion: v1, kind: ConfigMap, namespaces: [default]}}]\n"            \
    "  capabilities: {kube: {serviceAccount: a}}\n"

static void manifest(char out[1024], const char *name, const char *more)
{
    snprintf(out, 1024,
             "apiVersion: roost.dev/v1alpha1\nkind: Guest\n"
             "metadata: {name: %s, labels: {app: %s}}\nspec:\n  module: file:m.wasm\n%s" TRIGGERS,
             name, name, more);
}

static struct answer apply(const char *text, const char *module, bool dry_run)
{
    json_t *body = json_pack("{s:b, s:[{s:s, s:s, s:{s:s}}]}", "dryRun", dry_run, "files", "name",
                             "guests.yaml", "text", text, "modules", "file:m.wasm", module);
    AUTO_FREE char *sent = json_dumps(body, 0);
    struct answer a = ask(HTTP1_POST, "/v1/apply", sent);

    json_decref(body);
    return a;
}

static void applied(const char *text, const char *module, bool dry_run, const char *result)
{
    struct answer a = apply(text, module, dry_run);
    const json_t *first = json_array_get(json_object_get(a.json, "results"), 0);

    if (a.status != 200)
        fail_msg("%d: %s", a.status, json_string_value(json_object_get(a.json, "detail")));
    assert_string_equal(json_string_value(json_object_get(first, "result")), result);
    assert_int_equal(json_is_true(json_object_get(first, "dryRun")), dry_run);
    json_decref(a.json);
}

/* --- the daemon --- */

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(tmp_file(&dir, name), "we");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void start(void)
{
    static struct options_source source;

    source = (struct options_source){.file = config};
    source.flags[options_find("log.format") - options_find("stateDir")] = "text";
    daemon_child_start(&daemon_, &source);
    daemon_child_expect(&daemon_, "guests, 1 workers");
}

static void restart(void)
{
    assert_int_equal(daemon_child_stop(&daemon_), 0);
    start();
}

static int setup(void **state)
{
    (void)state;
    setenv("ROOST_COMPILE", ROOST_BINARY_DIR "/roost-compile", 1);
    if (tmp_dir_make(&dir) < 0)
        return -1;
    snprintf(sock, sizeof(sock), "%s/state/admin.sock", dir.path);
    snprintf(config, sizeof(config), "%s/roost.yaml", dir.path);
    mkdir(tmp_file(&dir, "guests"), 0700);
    write_file("roost.yaml", "apiVersion: roost.dev/v1alpha1\nkind: RoostConfiguration\n"
                             "stateDir: state\nguestsDir: guests\nworkers: 1\n"
                             "kubernetes: {enabled: false}\n");
    start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (daemon_child_stop(&daemon_) != 0)
        return -1;
    tmp_dir_remove(&dir);
    return 0;
}

/* --- applying --- */

static void test_created_configured_unchanged(void **state)
{
    char module[MODULE_NAME_BYTES], one[1024], two[1024], both[2200];

    (void)state;
    manifest(one, "one", "");
    snprintf(module, sizeof(module), "sha256:%064d", 0); /* only asked: nothing was sent yet */
    applied(one, module, true, "created");
    send_guest("ledger", module);
    applied(one, module, true, "created");
    assert_string_equal(shown("default/one", "name"), "");
    applied(one, module, false, "created");
    assert_string_equal(shown("default/one", "state"), "Pending"); /* there is no Kubernetes */
    assert_string_equal(shown("default/one", "managedBy"), "apply");
    assert_string_equal(shown("default/one", "file"), "guests.yaml");
    applied(one, module, false, "unchanged");
    manifest(two, "two", "");
    snprintf(both, sizeof(both), "# both\n%s---\n%s", one, two);
    applied(both, module, false, "unchanged");
    assert_string_equal(shown("default/two", "line"), "10");
    manifest(one, "one", "  limits: {cpu: 2s}\n");
    applied(one, module, true, "configured");
    applied(one, module, false, "configured");
    applied(one, module, false, "unchanged");
    restart();
    assert_string_equal(shown("default/two", "line"), "10");
    assert_string_equal(shown("default/two", "managedBy"), "apply");
    applied(one, module, false, "unchanged");
}

static void test_every_mistake_is_told(void **state)
{
    static const struct {
        long long line;
        const char *field, *message;
    } expected[] = {
        {3, "metadata.nam", "unknown field nam in metadata (did you mean name)"},
        {5, "spec.module", "spec.module file:other.wasm: this module was not sent"},
        {6, "spec.limits.cpu", "spec.limits.cpu never: no duration"},
        {6, "spec.limits.memory", "spec.limits.memory lots: no size"},
        {7, "spec.triggers", "spec.triggers is empty"},
        {9, "", "kind Pod: only Guest is read here"},
    };
    char module[MODULE_NAME_BYTES], good[1024], text[2048];
    const json_t *errors, *e;
    struct answer a;

    (void)state;
    send_guest("ledger", module);
    manifest(good, "good", "");
    snprintf(text, sizeof(text),
             "apiVersion: roost.dev/v1alpha1\nkind: Guest\nmetadata: {nam: bad}\nspec:\n"
             "  module: file:other.wasm\n  limits: {cpu: never, memory: lots}\n  triggers: []\n"
             "---\n{apiVersion: v1, kind: Pod}\n---\n%s",
             good);
    a = apply(text, module, false);
    assert_int_equal(a.status, 422);
    errors = json_object_get(a.json, "errors");
    assert_int_equal(json_array_size(errors), sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < json_array_size(errors); i++) {
        e = json_array_get(errors, i);
        assert_string_equal(json_string_value(json_object_get(e, "file")), "guests.yaml");
        assert_string_equal(json_string_value(json_object_get(e, "field")), expected[i].field);
        assert_int_equal(json_integer_value(json_object_get(e, "line")), expected[i].line);
        assert_non_null(
            strstr(json_string_value(json_object_get(e, "message")), expected[i].message));
    }
    json_decref(a.json);
    assert_string_equal(shown("default/good", "name"), ""); /* nothing was applied */
}

static void test_requests_that_are_none(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"files\": {}}",
        "{\"files\": [], \"dryrun\": true}",
        "{\"files\": [], \"dryRun\": 1}",
        "{\"files\": [{\"name\": \"a\"}]}",
        "{\"files\": [{\"name\": \"a\", \"text\": \"\", \"modules\": []}]}",
    };
    struct answer a;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_status(HTTP1_POST, "/v1/apply", bad[i], 400, NULL);
    a = ask(HTTP1_POST, "/v1/apply", "{\"files\": []}");
    assert_int_equal(a.status, 200);
    json_decref(a.json);
}

static void test_limits_of_applying(void **state)
{
    AUTO_BUF struct buf text = {0};
    AUTO_FREE char *much = calloc(1, APPLY_BYTES_MAX + 1);
    char module[MODULE_NAME_BYTES], one[1024];
    struct answer a;

    (void)state;
    send_guest("ledger", module);
    manifest(one, "large", "");
    assert_int_equal(buf_puts(&text, one, NULL), 0);
    while (text.len <= APPLY_DOCUMENT_MAX)
        assert_int_equal(buf_puts(&text, "# a comment is a part of it\n", NULL), 0);
    a = apply(buf_cstr(&text), module, false);
    assert_int_equal(a.status, 422);
    json_decref(a.json);
    text.len = 0;
    for (unsigned i = 0; i < APPLY_ERRORS_MAX + 1; i++)
        assert_int_equal(buf_puts(&text, "--- 1\n", NULL), 0);
    a = apply(buf_cstr(&text), module, false);
    assert_int_equal(a.status, 422);
    assert_int_equal(json_array_size(json_object_get(a.json, "errors")), APPLY_ERRORS_MAX);
    assert_string_equal(json_string_value(json_object_get(a.json, "detail")),
                        "1001 mistakes; nothing was applied");
    json_decref(a.json);
    a = ask_with(HTTP1_POST, "/v1/apply", much, APPLY_BYTES_MAX + 1);
    assert_int_equal(a.status, 413);
    json_decref(a.json);
}

/* --- modules --- */

static void test_the_store_of_modules(void **state)
{
    char name[MODULE_NAME_BYTES], target[128], path[1024];
    AUTO_FREE char *much = calloc(1, MODULE_BYTES_MAX + 1);
    uint8_t digest[IMAGE_DIGEST_BYTES];
    struct stat st;
    struct answer a;

    (void)state;
    assert_int_equal(send_bytes("not wasm", 8, name), 422);
    send_guest("ledger", name);
    send_guest("ledger", name); /* again is fine */
    snprintf(target, sizeof(target), "/v1/modules/%s", name);
    a = ask(HTTP1_HEAD, target, NULL);
    assert_int_equal(a.status, 200);
    a = ask(HTTP1_PUT, target, "other bytes");
    assert_int_equal(a.status, 422);
    json_decref(a.json);
    assert_int_equal(module_name_read(name, digest), 0);
    assert_int_equal(module_store_path(path, sizeof(path), tmp_file(&dir, "state"), digest), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    target[strlen(target) - 1] = 'g';
    expect_status(HTTP1_PUT, target, "x", 400, "a module is called sha256:");
    expect_status(HTTP1_PUT, "/v1/modules/md5:0", "x", 400, NULL);
    target[strlen(target) - 1] = '0';
    a = ask(HTTP1_HEAD, target, NULL);
    assert_true(a.status == 404 || strcmp(target + 12, name) == 0);
    snprintf(target, sizeof(target), "/v1/modules/%s", name);
    a = ask_with(HTTP1_PUT, target, much, MODULE_BYTES_MAX + 1);
    assert_int_equal(a.status, 413);
    json_decref(a.json);
}

/* --- a new module, and back --- */

static void test_a_module_that_cannot_be_goes_back(void **state)
{
    static const char no_code[] = "\0asm\1\0\0\0\xffjunk", no_handle[] = "\0asm\1\0\0\0";
    char good[MODULE_NAME_BYTES], bad[MODULE_NAME_BYTES], one[1024], loop[1024], path[128];

    (void)state;
    send_guest("ledger", good);
    manifest(one, "one", "");
    applied(one, good, false, "created");
    snprintf(path, sizeof(path), "modules/%s.wasm", good + 7);

    assert_int_equal(send_bytes(no_code, sizeof(no_code) - 1, bad), 200);
    applied(one, bad, false, "configured");
    daemon_child_expect(&daemon_, "it goes on as it was");
    assert_non_null(strstr(shown("default/one", "module"), path));
    assert_true(shown("default/one", "lastError")[0]);

    assert_int_equal(send_bytes(no_handle, sizeof(no_handle) - 1, bad), 200);
    applied(one, bad, false, "configured");
    daemon_child_expect(&daemon_, "it goes on as it was");

    send_guest("startloop", bad); /* it does not get past its start */
    manifest(loop, "one", "  limits: {cpu: 20ms}\n");
    applied(loop, bad, false, "configured");
    daemon_child_expect(&daemon_, "it goes on as it was");
    assert_non_null(strstr(daemon_.line, "the new module cannot start"));
    assert_non_null(strstr(shown("default/one", "module"), path));
    assert_non_null(strstr(shown("default/one", "lastError"), "the new module cannot start"));

    restart(); /* what is kept is what runs */
    assert_non_null(strstr(shown("default/one", "module"), path));
    applied(one, good, false, "unchanged");

    send_guest("started", bad); /* one that can */
    applied(one, bad, false, "configured");
    until("default/one", "module", bad + 7);
    assert_string_equal(shown("default/one", "lastError"), "");
    restart();
    assert_non_null(strstr(shown("default/one", "module"), bad + 7));
}

/* --- deleting --- */

static void test_deleting(void **state)
{
    char module[MODULE_NAME_BYTES], one[1024];
    struct answer a;

    (void)state;
    expect_status(HTTP1_DELETE, "/v1/guests/default/one", NULL, 404, "there is no guest");
    send_guest("ledger", module);
    manifest(one, "one", "");
    applied(one, module, false, "created");
    a = ask(HTTP1_DELETE, "/v1/guests/default/one", NULL);
    assert_int_equal(a.status, 200);
    json_decref(a.json);
    assert_string_equal(shown("default/one", "name"), "");
    restart();
    assert_string_equal(shown("default/one", "name"), "");
    applied(one, module, false, "created");
}

/* --- sleep, wake --- */

static void test_who_waits_is_not_woken(void **state)
{
    char module[MODULE_NAME_BYTES], one[1024];

    (void)state;
    send_guest("ledger", module);
    manifest(one, "one", "");
    applied(one, module, false, "created");
    expect_status(HTTP1_POST, "/v1/guests/default/one/wake", NULL, 409, "it waits for its module");
    expect_status(HTTP1_POST, "/v1/guests/default/one/sleep", NULL, 409, "it waits for its module");
    expect_status(HTTP1_POST, "/v1/guests/default/two/wake", NULL, 404, "there is no such guest");
    expect_status(HTTP1_GET, "/v1/guests/default/one/wake", NULL, 405, NULL);
}

/* --- pages --- */

static size_t count_pages(const char *query, size_t *pages)
{
    char at[512] = "", last[512] = "", target[HTTP1_TARGET_MAX];
    size_t n = 0;

    *pages = 0;
    do {
        struct answer a;
        const json_t *items, *item;
        size_t i;

        snprintf(target, sizeof(target), "/v1/guests?%s&continue=%s", query, at);
        a = ask(HTTP1_GET, target, NULL);
        assert_int_equal(a.status, 200);
        items = json_object_get(a.json, "items");
        json_array_foreach(items, i, item)
        {
            const char *name = json_string_value(json_object_get(item, "name"));

            assert_true(strcmp(last, name) < 0); /* in order, each once */
            snprintf(last, sizeof(last), "%s", name);
        }
        n += json_array_size(items);
        snprintf(at, sizeof(at), "%s", json_string_value(json_object_get(a.json, "continue")));
        json_decref(a.json);
        ++*pages;
    } while (at[0]);
    return n;
}

static void test_pages_and_selectors(void **state)
{
    enum { N = 150 };
    char module[MODULE_NAME_BYTES], one[1024], name[32];
    AUTO_BUF struct buf text = {0};
    size_t pages;

    (void)state;
    send_guest("nothing", module);
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "g%03u", i);
        manifest(one, name, "");
        assert_int_equal(buf_printf(&text, NULL, "---\n%s", one), 0);
    }
    applied(buf_cstr(&text), module, false, "created");
    assert_int_equal(count_pages("", &pages), N);
    assert_int_equal(pages, 1);
    assert_int_equal(count_pages("limit=40", &pages), N);
    assert_int_equal(pages, 4);
    assert_int_equal(count_pages("limit=50", &pages), N);
    assert_int_equal(pages, 3); /* no empty one at the end */
    assert_int_equal(count_pages("limit=1&labelSelector=app+in+(g001,g002,x)", &pages), 2);
    assert_int_equal(count_pages("labelSelector=app!%3Dg001", &pages), N - 1);
    assert_int_equal(count_pages("namespace=default", &pages), N);
    assert_int_equal(count_pages("namespace=other", &pages), 0);
    expect_status(HTTP1_GET, "/v1/guests?labelSelector=%3Dx", NULL, 400, "a label's name");
    expect_status(HTTP1_GET, "/v1/guests?limit=-1", NULL, 400, "limit: must be a whole number");
    expect_status(HTTP1_GET, "/v1/guests?label=x", NULL, 400, "has no parameter");
}

/* Who watches by labels hears of what has them, and of what had them; of nothing else. */
struct labelled {
    const char *module;
    char line[65536], seen[256];
    size_t len;
};

static void change_others_and_one(const struct labelled *l)
{
    char text[1024], other[1024];
    char *label;

    manifest(text, "two", "  limits: {calls: 3}\n"); /* of another label: changed ... */
    applied(text, l->module, false, "configured");
    manifest(text, "three", ""); /* ... and new */
    applied(text, l->module, false, "created");
    manifest(text, "one", "");
    label = strstr(text, "app: one");
    assert_non_null(label);
    snprintf(other, sizeof(other), "%.*sapp: x%s", (int)(label - text), text, label + 8);
    applied(other, l->module, false, "configured");
}

static bool take_labelled(void *ctx, const uint8_t *data, size_t len)
{
    struct labelled *l = ctx;

    for (size_t i = 0; i < len; i++) {
        json_t *v;
        const char *type;

        assert_true(l->len + 1 < sizeof(l->line));
        l->line[l->len++] = (char)data[i];
        if (data[i] != '\n')
            continue;
        v = json_loadb(l->line, l->len, 0, NULL);
        l->len = 0;
        type = json_string_value(json_object_get(v, "type"));
        if (strcmp(type, "MODIFIED") != 0) /* as often as it changes */
            snprintf(l->seen + strlen(l->seen), sizeof(l->seen) - strlen(l->seen), "%s %s,", type,
                     json_object_get(json_object_get(v, "object"), "name")
                         ? json_string_value(json_object_get(json_object_get(v, "object"), "name"))
                         : "-");
        if (strcmp(type, "SYNCED") == 0)
            change_others_and_one(l);
        json_decref(v);
    }
    return !strstr(l->seen, "DELETED one");
}

static void test_a_watch_by_labels(void **state)
{
    struct http1_question q = {.method = HTTP1_GET,
                               .target = "/v1/guests?watch=1&labelSelector=app%3Done"};
    char module[MODULE_NAME_BYTES], one[1024], two[1024], both[2200];
    struct labelled *l = calloc(1, sizeof(*l));
    AUTO_ANSWER struct http1_answer a = {0};
    struct err err = {0};

    (void)state;
    send_guest("ledger", module);
    manifest(one, "one", "");
    manifest(two, "two", "");
    snprintf(both, sizeof(both), "%s---\n%s", one, two);
    applied(both, module, false, "created");
    assert_non_null(l);
    l->module = module;
    if (http1_follow_unix(&a, sock, &q, take_labelled, l, &err) < 0)
        fail_msg("%s", err.msg);
    assert_ptr_equal(strstr(l->seen, "ADDED one,SYNCED -,"), l->seen);
    assert_null(strstr(l->seen, "three"));
    free(l);
}

/* --- the folder --- */

static void copy_module(const char *guest, const char *to)
{
    AUTO_BUF struct buf bytes = {0};
    char path[512];
    FILE *f;

    snprintf(path, sizeof(path), ROOST_BINARY_DIR "/guests/%s.wasm", guest);
    read_bytes(path, &bytes);
    f = fopen(tmp_file(&dir, to), "we");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes.data, 1, bytes.len, f), bytes.len);
    assert_int_equal(fclose(f), 0);
}

static void test_the_folder_is_watched(void **state)
{
    char one[1024], two[1024], half[1024], module[MODULE_NAME_BYTES];

    (void)state;
    copy_module("ledger", "guests/m.wasm");
    manifest(one, "one", "");
    manifest(two, "two", "");
    write_file("guests/one.yaml", one);
    write_file("guests/two.yml", two);
    until("default/one", "state", "Pending");
    until("default/two", "managedBy", "folder");
    expect_status(HTTP1_DELETE, "/v1/guests/default/one", NULL, 409, "remove it there");
    send_guest("ledger", module);
    {
        struct answer a = apply(one, module, false);

        assert_int_equal(a.status, 409);
        json_decref(a.json);
    }
    manifest(one, "one", "  limits: {calls: 3}\n"); /* changed */
    write_file("guests/one.yaml", one);
    while (true) {
        struct answer a = ask(HTTP1_GET, "/v1/guests/default/one", NULL);
        json_int_t calls = json_integer_value(
            json_object_get(json_object_get(json_object_get(a.json, "spec"), "limits"), "calls"));

        json_decref(a.json);
        if (calls == 3)
            break;
    }
    snprintf(half, sizeof(half), "%.60s\"", one); /* half of it: nothing is harmed */
    write_file("guests/one.yaml", half);
    daemon_child_expect(&daemon_, "guests/one.yaml:");
    assert_non_null(strstr(daemon_.line, "error"));
    assert_string_equal(shown("default/one", "managedBy"), "folder");
    write_file("guests/one.yaml", one);
    copy_module("nothing", "guests/m.wasm"); /* its module */
    daemon_child_expect(&daemon_, "compiling");
    unlink(tmp_file(&dir, "guests/two.yml"));
    daemon_child_expect(&daemon_, "default/two: is not in");
    until_gone("default/two");
    assert_string_equal(shown("default/one", "managedBy"), "folder");
    unlink(tmp_file(&dir, "guests/one.yaml"));
    until_gone("default/one");
}

/* More of them than one turn of the loop takes away: none is passed over. */
static void test_a_folder_that_is_emptied(void **state)
{
    enum { N = 5 * APPLY_AT_ONCE };
    char one[1024], path[64], id[64];

    (void)state;
    copy_module("nothing", "guests/m.wasm");
    for (unsigned i = 0; i < N; i++) {
        snprintf(id, sizeof(id), "g%03u", i);
        snprintf(path, sizeof(path), "guests/g%03u.yaml", i);
        manifest(one, id, "");
        write_file(path, one);
    }
    snprintf(id, sizeof(id), "default/g%03u", N - 1);
    until(id, "managedBy", "folder");
    for (unsigned i = 0; i < N; i++) {
        snprintf(path, sizeof(path), "guests/g%03u.yaml", i);
        unlink(tmp_file(&dir, path));
    }
    for (unsigned i = 0; i < N; i++) {
        snprintf(id, sizeof(id), "default/g%03u", i);
        until_gone(id);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_created_configured_unchanged),
        CASE(test_every_mistake_is_told),
        CASE(test_requests_that_are_none),
        CASE(test_limits_of_applying),
        CASE(test_the_store_of_modules),
        CASE(test_a_module_that_cannot_be_goes_back),
        CASE(test_deleting),
        CASE(test_who_waits_is_not_woken),
        CASE(test_pages_and_selectors),
        CASE(test_a_watch_by_labels),
        CASE(test_the_folder_is_watched),
        CASE(test_a_folder_that_is_emptied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
