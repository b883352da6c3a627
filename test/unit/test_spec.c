/* guest/spec: what a manifest may say, each refusal with its place, and that a bad manifest touches
 * no other.
 */
#include "base/auto.h"
#include "base/buf.h"
#include "base/limits.h"
#include "guest/spec.h"
#include "support/tmp_dir.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RESULTS_MAX 8

/* Everything that was read, in order. */
struct results {
    struct guest_spec *spec[RESULTS_MAX];
    struct err err[RESULTS_MAX];
    size_t n;
};

static char dir[PATH_MAX]; /* of this program, emptied after each test */

static void take(void *ctx, struct guest_spec *spec, const struct err *err)
{
    struct results *r = ctx;

    assert_true(r->n < RESULTS_MAX);
    assert_true((spec == NULL) == (err != NULL));
    if (err)
        r->err[r->n] = *err;
    r->spec[r->n++] = spec;
}

static void results_free(struct results *r)
{
    for (size_t i = 0; i < r->n; i++)
        guest_spec_free(r->spec[i]);
    r->n = 0;
}

static void path_of(char out[PATH_MAX], const char *name)
{
    assert_true(snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX);
}

static void write_file(const char *name, const char *text, size_t len)
{
    char path[PATH_MAX];
    FILE *f;

    path_of(path, name);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static int read_text(struct results *r, const char *text, struct err *err)
{
    char path[PATH_MAX];

    r->n = 0;
    write_file("f.yaml", text, strlen(text));
    path_of(path, "f.yaml");
    return guest_spec_read_file(path, take, r, err);
}

/* What stands behind "DIR/f.yaml:". */
static const char *behind_file(const char *message)
{
    char prefix[PATH_MAX + 16];

    snprintf(prefix, sizeof(prefix), "%s/f.yaml:", dir);
    if (strncmp(message, prefix, strlen(prefix)) != 0)
        fail_msg("no place in: %s", message);
    return message + strlen(prefix);
}

#define HEAD  "apiVersion: roost.dev/v1alpha1\nkind: Guest\nmetadata: {name: a}\n"
#define WATCH "  triggers: [watch: {apiVersion: v1, kind: ConfigMap}]\n"
#define KUBE  "  capabilities: {kube: {serviceAccount: sa}}\n"
#define SPEC  HEAD "spec:\n  module: file:a.wasm\n" WATCH KUBE /* 7 lines */

static void test_defaults(void **state)
{
    struct results r;
    struct guest_spec *s;
    char module[PATH_MAX];

    (void)state;
    assert_int_equal(read_text(&r, "# first\n\n" SPEC, NULL), 0);
    assert_int_equal(r.n, 1);
    s = r.spec[0];
    assert_non_null(s);
    assert_string_equal(s->name, "a");
    assert_string_equal(s->namespace_, "default");
    path_of(module, "a.wasm");
    assert_string_equal(s->module, module);
    assert_int_equal(s->line, 3);
    path_of(module, "f.yaml");
    assert_string_equal(s->file, module);
    assert_int_equal(s->nenv + s->nargs, 0);
    assert_int_equal(s->limits.memory_bytes, 64 * MIB);
    assert_int_equal(s->limits.cpu_ns, 1000000000);
    assert_int_equal(s->limits.time_ns, 60000000000);
    assert_int_equal(s->limits.calls, 16);
    assert_int_equal(s->sleep_mode, SLEEP_AUTO);
    assert_int_equal(s->sleep_after_ns, SLEEP_AFTER_DEFAULT_NS);
    assert_int_equal(s->on_fresh_start, FRESH_FAILED);
    assert_int_equal(s->nwatches, 1);
    assert_string_equal(s->watches[0].api_version, "v1");
    assert_string_equal(s->watches[0].kind, "ConfigMap");
    assert_null(s->watches[0].namespaces);
    assert_string_equal(s->service_account, "sa");
    results_free(&r);
}

static void test_everything_said(void **state)
{
    static const char text[] =
        "apiVersion: roost.dev/v1alpha1\n"
        "kind: Guest\n"
        "metadata: {name: ring-0, namespace: ring-0, labels: {a: b}, annotations: {}}\n"
        "spec:\n"
        "  module: file:///lib/ring.wasm\n"
        "  env: [{name: OUT_NAMESPACE, value: ring-1}, {name: EMPTY}, {name: N, value: \"1\"}]\n"
        "  args: [-v, '--level=2']\n"
        "  limits: {memory: 1Gi, cpu: 50ms, time: 1m, calls: 4}\n"
        "  sleep: {mode: fresh, after: 50ms, predict: false}\n"
        "  onFreshStart: all\n"
        "  triggers:\n"
        "  - watch: {apiVersion: amurant.io/v1, kind: TestResource, namespaces: [ring-0, b],\n"
        "            selector: {matchLabels: {}}, key: self, on: any, wake: true}\n"
        "  - watch: {apiVersion: v1, kind: Node, namespaces: all}\n"
        "  capabilities:\n"
        "    kube: {serviceAccount: ring.operator}\n";
    struct results r;
    struct guest_spec *s;
    struct err err;

    (void)state;
    if (read_text(&r, text, &err) < 0 || !r.spec[0])
        fail_msg("%s", r.n ? r.err[0].msg : err.msg);
    s = r.spec[0];
    if (!s)
        return; /* fail_msg does not return, which the analyser cannot know */
    assert_string_equal(s->namespace_, "ring-0");
    assert_string_equal(s->module, "/lib/ring.wasm");
    assert_int_equal(s->nenv, 3);
    assert_string_equal(s->env[0].name, "OUT_NAMESPACE");
    assert_string_equal(s->env[0].value, "ring-1");
    assert_string_equal(s->env[1].value, "");
    assert_string_equal(s->env[2].value, "1");
    assert_int_equal(s->nargs, 2);
    assert_string_equal(s->args[1], "--level=2");
    assert_int_equal(s->limits.memory_bytes, 1 << 30);
    assert_int_equal(s->limits.cpu_ns, 50000000);
    assert_int_equal(s->limits.time_ns, 60000000000);
    assert_int_equal(s->limits.calls, 4);
    assert_int_equal(s->sleep_mode, SLEEP_FRESH);
    assert_int_equal(s->sleep_after_ns, 50000000);
    assert_int_equal(s->on_fresh_start, FRESH_ALL);
    assert_int_equal(s->nwatches, 2);
    assert_int_equal(s->watches[0].nnamespaces, 2);
    assert_string_equal(s->watches[0].namespaces[1], "b");
    assert_null(s->watches[1].namespaces);
    assert_string_equal(s->service_account, "ring.operator");
    results_free(&r);
}

struct refusal {
    const char *text;
    const char *message; /* behind the file's name */
    enum err_code code;
};

static void assert_refusals(const struct refusal *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct results r;
        struct err err = {0};

        if (read_text(&r, cases[i].text, &err) < 0)
            fail_msg("%s", err.msg);
        assert_int_equal(r.n, 1);
        if (r.spec[0])
            fail_msg("taken: %s", cases[i].text);
        assert_string_equal(behind_file(r.err[0].msg), cases[i].message);
        assert_int_equal(r.err[0].code, cases[i].code ? cases[i].code : ERR_INVALID);
        results_free(&r);
    }
}

#define M(text) HEAD "spec:\n  module: " text "\n" WATCH KUBE
#define S(text) SPEC "  " text "\n"
#define T(text) HEAD "spec:\n  module: file:a\n" KUBE "  triggers: " text "\n"
#define W(text) T("[watch: {apiVersion: v1, kind: K, " text "}]")

static void test_refusals_of_the_whole(void **state)
{
    static const struct refusal cases[] = {
        {"[a]\n",
         "1:1: a manifest must be a mapping with apiVersion, kind, metadata and spec, this is a "
         "list",
         0},
        {"kind: Pod\n", "1:7: kind Pod: only Guest is read here", 0},
        {"kind: [a]\n", "1:7: kind must be text, this is a list", 0},
        {"kind: Guest\napiVersion: v1\n",
         "2:13: apiVersion v1: this version reads "
         "roost.dev/v1alpha1",
         0},
        {"kind: Guest\n", "1:1: the manifest has no apiVersion, which is needed", 0},
        {"apiVersion: roost.dev/v1alpha1\n", "1:1: the manifest has no kind, which is needed", 0},
        {HEAD, "1:1: the manifest has no spec, which is needed", 0},
        {HEAD "spec:\n", "1:1: the manifest has no spec, which is needed", 0},
        {HEAD "spec: x\n", "4:7: spec must be a mapping, this is text", 0},
        {HEAD "sepc: {}\n", "4:1: unknown field sepc in the manifest (did you mean spec)", 0},
        {HEAD "status: {}\n",
         "4:1: unknown field status in the manifest (known: apiVersion, kind, "
         "metadata, spec)",
         0},
        {HEAD "spec: {}\n", "4:7: spec has no module, which is needed", 0},
        {HEAD "spec: {module: file:a}\n", "4:7: spec has no triggers, which is needed", 0},
        {HEAD "spec:\n  module: file:a.wasm\n" WATCH,
         "5:3: spec.triggers has a watch, but spec.capabilities.kube.serviceAccount is missing: in "
         "whose name may the guest see these objects?",
         0},
        {SPEC "kind: Guest\n", "8:1: key kind is there twice, first at line 2: remove one", 0},
    };

    (void)state;
    assert_refusals(cases, sizeof(cases) / sizeof(cases[0]));
}

#define META(text) "apiVersion: roost.dev/v1alpha1\nkind: Guest\nmetadata: " text "\nspec: {}\n"
#define X63        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_refusals_of_names(void **state)
{
    static const struct refusal cases[] = {
        {META("{}"), "3:11: metadata has no name, which is needed", 0},
        {META("{name: Ring}"),
         "3:18: metadata.name Ring: a name has lower-case letters, digits "
         "and '-' within",
         0},
        {META("{name: -a}"),
         "3:18: metadata.name -a: a name has lower-case letters, digits and "
         "'-' within",
         0},
        {META("{name: a-}"),
         "3:18: metadata.name a-: a name has lower-case letters, digits and "
         "'-' within",
         0},
        {META("{name: a.b}"),
         "3:18: metadata.name a.b: a name has lower-case letters, digits and "
         "'-' within",
         0},
        {META("{name: ''}"),
         "3:18: metadata.name : a name has lower-case letters, digits and '-' "
         "within",
         0},
        {META("{name: \"a\\nb\"}"),
         "3:18: metadata.name a?b: a name has lower-case letters, digits "
         "and '-' within",
         0},
        {META("{name: " X63 "a}"), "3:18: metadata.name: 64 bytes, limit 63", ERR_LIMIT},
        {META("{name: 17}"),
         "3:18: metadata.name must be text, and YAML takes 17 for something "
         "else: write \"17\"",
         0},
        {META("{name: a, namespace: A}"),
         "3:32: metadata.namespace A: a name has lower-case "
         "letters, digits and '-' within",
         0},
        {META("{name: a, generation: 1}"),
         "3:21: unknown field generation in metadata (known: "
         "name, namespace, labels, annotations)",
         0},
        {META("{name: a, labels: x}"), "3:29: metadata.labels must be a mapping, this is text", 0},
        {HEAD "spec:\n  module: file:a\n" WATCH "  capabilities: {kube: {serviceAccount: a..b}}\n",
         "7:41: spec.capabilities.kube.serviceAccount a..b: a name has lower-case letters, digits "
         "and '-' within, in parts between dots",
         0},
    };

    (void)state;
    assert_refusals(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_refusals_of_modules_and_environment(void **state)
{
    static const struct refusal cases[] = {
        {M("https://x/a.wasm"),
         "5:11: spec.module https://x/a.wasm: https: and oci: modules are "
         "not supported yet (use file:)",
         ERR_UNSUPPORTED},
        {M("oci:x/a:1"),
         "5:11: spec.module oci:x/a:1: https: and oci: modules are not supported "
         "yet (use file:)",
         ERR_UNSUPPORTED},
        {M("a.wasm"), "5:11: spec.module a.wasm: must begin with file: (write file:a.wasm)", 0},
        {M("'file:'"), "5:11: spec.module file:: names no file", 0},
        {M("file://host/a"),
         "5:11: spec.module file://host/a: names a host (write file:PATH or "
         "file:///PATH)",
         0},
        {M("{a: b}"), "5:11: spec.module must be text, this is a mapping", 0},
        {S("env: {A: b}"), "8:8: spec.env must be a list, this is a mapping", 0},
        {S("env: [{value: b}]"), "8:9: spec.env[0] has no name, which is needed", 0},
        {S("env: [{name: A, value: 1}]"),
         "8:26: spec.env[0].value must be text, and YAML takes 1 "
         "for something else: write \"1\"",
         0},
        {S("env: [{name: A, value: yes}]"),
         "8:26: spec.env[0].value must be text, and YAML takes "
         "yes for something else: write \"yes\"",
         0},
        {S("env: [{name: A=B}]"),
         "8:16: spec.env[0].name \"A=B\": a variable's name is not empty "
         "and has no '='",
         0},
        {S("env: [{name: ''}]"),
         "8:16: spec.env[0].name \"\": a variable's name is not empty and "
         "has no '='",
         0},
        {S("env: [{name: A}, {name: A}]"), "8:27: spec.env[1].name A is there twice: remove one",
         0},
        {S("env: [{name: A, valueFrom: {}}]"),
         "8:30: spec.env[0].valueFrom is not supported yet: "
         "leave it out",
         ERR_UNSUPPORTED},
        {S("args: [a, 2]"),
         "8:13: spec.args[1] must be text, and YAML takes 2 for something else: "
         "write \"2\"",
         0},
    };

    (void)state;
    assert_refusals(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_refusals_of_limits_and_sleep(void **state)
{
    static const struct refusal cases[] = {
        {S("limits: {memry: 1Mi}"),
         "8:12: unknown field memry in spec.limits (did you mean "
         "memory)",
         0},
        {S("limits: {memory: 64MB}"),
         "8:20: spec.limits.memory 64MB: no size (write 64Mi, 1Gi or "
         "a number of bytes)",
         0},
        {S("limits: {memory: 65535}"), "8:20: spec.limits.memory 65535: must be from 64Ki to 4Gi",
         ERR_LIMIT},
        {S("limits: {memory: 4294967297}"),
         "8:20: spec.limits.memory 4294967297: must be from "
         "64Ki to 4Gi",
         ERR_LIMIT},
        {S("limits: {cpu: 1}"), "8:17: spec.limits.cpu 1: no duration (write 50ms, 1s or 1m30s)",
         0},
        {S("limits: {cpu: 999us}"), "8:17: spec.limits.cpu 999us: must be from 1ms to 1h",
         ERR_LIMIT},
        {S("limits: {time: 3601s}"), "8:18: spec.limits.time 3601s: must be from 1ms to 1h",
         ERR_LIMIT},
        {S("limits: {calls: 0}"), "8:19: spec.limits.calls 0: must be from 1 to 256", ERR_LIMIT},
        {S("limits: {calls: 257}"), "8:19: spec.limits.calls 257: must be from 1 to 256",
         ERR_LIMIT},
        {S("limits: {calls: 99999999999999999999}"),
         "8:19: spec.limits.calls 99999999999999999999: must be from 1 to 256", ERR_LIMIT},
        {S("limits: {calls: '4'}"), "8:19: spec.limits.calls must be a whole number, this is text",
         0},
        {S("limits: {calls: 4.5}"), "8:19: spec.limits.calls 4.5: no whole number", 0},
        {S("sleep: {mode: atuo}"),
         "8:17: spec.sleep.mode atuo: must be one of auto, never, fresh "
         "(did you mean auto?)",
         0},
        {S("sleep: {mode: deep}"), "8:17: spec.sleep.mode deep: must be one of auto, never, fresh",
         0},
        {S("sleep: {after: 25h}"), "8:18: spec.sleep.after 25h: must be from 0s to 24h", ERR_LIMIT},
        {S("sleep: {predict: true}"),
         "8:20: spec.sleep.predict: prediction is not supported yet: "
         "leave it out or write false",
         ERR_UNSUPPORTED},
        {S("sleep: {predict: 1}"), "8:20: spec.sleep.predict must be true or false, this is text",
         0},
        {S("onFreshStart: none"), "8:17: spec.onFreshStart none: must be one of failed, all", 0},
        {S("concurrency: 2"), "8:16: spec.concurrency is not supported yet: leave it out",
         ERR_UNSUPPORTED},
    };

    (void)state;
    assert_refusals(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_refusals_of_triggers_and_capabilities(void **state)
{
    static const struct refusal cases[] = {
        {T("[]"), "7:13: spec.triggers is empty: nothing would ever wake this guest", 0},
        {T("{watch: {}}"), "7:13: spec.triggers must be a list, this is a mapping", 0},
        {T("[{}]"),
         "7:14: spec.triggers[0] must have one field, the kind of trigger, such as "
         "watch",
         0},
        {T("[{watch: }]"), "7:14: spec.triggers[0] has no watch, which is needed", 0},
        {T("[wacth: {}]"), "7:14: unknown field wacth in spec.triggers[0] (did you mean watch)", 0},
        {T("[http: {}]"), "7:20: spec.triggers[0].http is not supported yet: leave it out",
         ERR_UNSUPPORTED},
        {T("[watch: {apiVersion: v1}]"),
         "7:21: spec.triggers[0].watch has no kind, which is "
         "needed",
         0},
        {T("[watch: {kind: K, apiVersion: a/b/c}]"),
         "7:43: spec.triggers[0].watch.apiVersion a/b/c: must be VERSION or GROUP/VERSION, such as "
         "v1 or apps/v1",
         0},
        {T("[watch: {kind: config-map, apiVersion: v1}]"),
         "7:28: spec.triggers[0].watch.kind config-map: a kind is letters and digits, such as "
         "ConfigMap",
         0},
        {W("namespaces: a"),
         "7:59: spec.triggers[0].watch.namespaces must be a list or all (write "
         "[a])",
         0},
        {W("namespaces: []"),
         "7:59: spec.triggers[0].watch.namespaces is empty: name some, or "
         "leave it out for all",
         0},
        {W("namespaces: [a, a]"),
         "7:63: spec.triggers[0].watch.namespaces[1] a is there twice: "
         "remove one",
         0},
        {W("namespaces: [a/b]"),
         "7:60: spec.triggers[0].watch.namespaces[0] a/b: a name has "
         "lower-case letters, digits and '-' within",
         0},
        {W("selector: {matchLabels: {a: b}}"),
         "7:57: spec.triggers[0].watch.selector is not "
         "supported yet: leave it out",
         ERR_UNSUPPORTED},
        {W("fields: {a: b}"),
         "7:55: spec.triggers[0].watch.fields is not supported yet: leave it "
         "out",
         ERR_UNSUPPORTED},
        {W("key: owner"),
         "7:52: spec.triggers[0].watch.key: only self is supported yet: leave it "
         "out",
         ERR_UNSUPPORTED},
        {W("on: generation"),
         "7:51: spec.triggers[0].watch.on: only any is supported yet: leave it "
         "out",
         ERR_UNSUPPORTED},
        {W("wake: false"),
         "7:53: spec.triggers[0].watch.wake: only true is supported yet: leave "
         "it out",
         ERR_UNSUPPORTED},
        {HEAD "spec:\n  module: file:a\n" WATCH "  capabilities: {kube: {}}\n",
         "7:24: spec.capabilities.kube has no serviceAccount, which is needed", 0},
        {HEAD "spec:\n  module: file:a\n" WATCH "  capabilities: {state: {}}\n",
         "7:25: spec.capabilities.state is not supported yet: leave it out", ERR_UNSUPPORTED},
    };

    (void)state;
    assert_refusals(cases, sizeof(cases) / sizeof(cases[0]));
}

/* A list of n entries made of a format with a number. */
static void list_of(struct buf *b, const char *before, const char *item, unsigned n)
{
    b->len = 0;
    assert_int_equal(buf_puts(b, before, NULL), 0);
    for (unsigned i = 0; i < n; i++) {
        char number[16];

        snprintf(number, sizeof(number), "%u", i);
        for (const char *p = item; *p; p++)
            assert_int_equal(*p == '#' ? buf_puts(b, number, NULL) : buf_append(b, p, 1, NULL), 0);
    }
    assert_int_equal(buf_puts(b, "]\n", NULL), 0);
}

static void test_lists_at_their_edge(void **state)
{
    static const struct {
        const char *before, *item;
        unsigned max;
        const char *message;
    } cases[] = {
        {SPEC "  env: [", "{name: A#},", GUEST_ENV_MAX, "8:8: spec.env: 65 entries, limit 64"},
        {SPEC "  args: [", "a#,", GUEST_ARGS_MAX, "8:9: spec.args: 65 entries, limit 64"},
        {HEAD "spec:\n  module: file:a\n" KUBE "  triggers: [",
         "{watch: {apiVersion: v1, kind: K#}},", GUEST_TRIGGERS_MAX,
         "7:13: spec.triggers: 17 entries, limit 16"},
        {HEAD "spec:\n  module: file:a\n" KUBE
              "  triggers:\n  - watch:\n      apiVersion: v1\n      kind: K\n      namespaces: [",
         "n#,", GUEST_NAMESPACES_MAX,
         "11:19: spec.triggers[0].watch.namespaces: 65 entries, limit 64"},
    };
    AUTO_BUF struct buf b = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct results r;

        list_of(&b, cases[i].before, cases[i].item, cases[i].max);
        assert_int_equal(read_text(&r, buf_cstr(&b), NULL), 0);
        assert_non_null(r.spec[0]);
        results_free(&r);
        list_of(&b, cases[i].before, cases[i].item, cases[i].max + 1);
        assert_int_equal(read_text(&r, buf_cstr(&b), NULL), 0);
        assert_null(r.spec[0]);
        assert_string_equal(behind_file(r.err[0].msg), cases[i].message);
        assert_int_equal(r.err[0].code, ERR_LIMIT);
    }
}

static void test_environment_bytes_at_their_edge(void **state)
{
    AUTO_BUF struct buf b = {0};
    struct results r;

    (void)state;
    for (unsigned over = 0; over <= 1; over++) {
        /* "A" and its NUL, the value and its NUL. */
        size_t len = GUEST_ENV_BYTES_MAX - 3 + over;
        AUTO_FREE char *value = malloc(len + 1);

        assert_non_null(value);
        memset(value, 'v', len);
        value[len] = 0;
        b.len = 0;
        assert_int_equal(buf_printf(&b, NULL, SPEC "  env: [{name: A, value: %s}]\n", value), 0);
        assert_int_equal(read_text(&r, buf_cstr(&b), NULL), 0);
        if (over)
            assert_string_equal(behind_file(r.err[0].msg), "8:26: spec.env and spec.args: more "
                                                           "than 65536 bytes together");
        else
            assert_int_equal(strlen(r.spec[0]->env[0].value), len);
        results_free(&r);
    }
}

static void test_ceilings_are_accepted(void **state)
{
    struct results r;

    (void)state;
    assert_int_equal(
        read_text(&r, S("limits: {memory: 4Gi, cpu: 1h, time: 60m, calls: 256}"), NULL), 0);
    assert_int_equal(r.spec[0]->limits.memory_bytes, GUEST_MEMORY_MAX);
    assert_int_equal(r.spec[0]->limits.calls, 256);
    results_free(&r);
    assert_int_equal(read_text(&r, S("limits: {memory: 65536, cpu: 1ms}"), NULL), 0);
    assert_int_equal(r.spec[0]->limits.memory_bytes, 65536);
    results_free(&r);
}

static void test_a_bad_document_touches_no_other(void **state)
{
    struct results r;
    struct err err = {0};

    (void)state;
    assert_int_equal(read_text(&r,
                               "---\n" SPEC "---\nkind: *x\n---\n---\n"
                               "apiVersion: roost.dev/v1alpha1\nkind: Guest\nmetadata: {name: b}\n"
                               "spec:\n  module: file:a\n" WATCH KUBE "---\n[\n",
                               &err),
                     -1);
    assert_string_equal(behind_file(err.msg), "22:1: did not find expected node content, while "
                                              "parsing a flow node that began at line 22");
    assert_int_equal(r.n, 3);
    assert_string_equal(r.spec[0]->name, "a");
    assert_int_equal(r.spec[0]->line, 2);
    assert_null(r.spec[1]);
    assert_string_equal(behind_file(r.err[1].msg), "10:7: alias *x: aliases are not supported, "
                                                   "write the value out");
    assert_string_equal(r.spec[2]->name, "b");
    assert_int_equal(r.spec[2]->line, 13);
    results_free(&r);
}

static void test_a_name_is_taken_once_in_a_file(void **state)
{
    struct results r;
    char message[PATH_MAX + 64];

    (void)state;
    assert_int_equal(read_text(&r, SPEC "---\n" SPEC "---\n" META("{name: a}"), NULL), 0);
    assert_int_equal(r.n, 3);
    assert_non_null(r.spec[0]);
    assert_null(r.spec[1]);
    snprintf(message, sizeof(message),
             "9:1: guest default/a is already declared at %s/f.yaml:1: rename one", dir);
    assert_string_equal(behind_file(r.err[1].msg), message);
    assert_int_equal(r.err[1].code, ERR_EXISTS);
    assert_int_equal(r.err[2].code, ERR_INVALID); /* its own error comes first */
    results_free(&r);
}

static void remove_file(const char *name)
{
    char path[PATH_MAX];

    path_of(path, name);
    assert_int_equal(remove(path), 0);
}

static void test_folders_in_name_order(void **state)
{
    static const char two[] = "apiVersion: roost.dev/v1alpha1\nkind: Guest\n"
                              "metadata: {name: two, namespace: b}\n"
                              "spec:\n  module: file:a\n" WATCH KUBE;
    char path[PATH_MAX], message[2 * PATH_MAX];
    struct results r = {.n = 0};
    struct err err = {0};

    (void)state;
    remove_file("f.yaml"); /* of the tests before */
    write_file("10.yaml", two, sizeof(two) - 1);
    write_file("2.yml", SPEC, sizeof(SPEC) - 1);
    write_file("3.yaml", SPEC, sizeof(SPEC) - 1);
    write_file("4.yaml", "a: [", 4);
    write_file("5.yaml", "", 0);
    write_file("not.json", "{", 1);
    write_file(".hidden.yaml", "{", 1);
    path_of(path, "6.yaml");
    assert_int_equal(mkdir(path, 0700), 0);
    if (guest_spec_read_dir(dir, take, &r, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(r.n, 5);
    assert_string_equal(r.spec[0]->name, "two");
    assert_string_equal(r.spec[1]->name, "a");
    snprintf(message, sizeof(message),
             "%s/3.yaml:1:1: guest default/a is already declared at %s/2.yml:1: rename one", dir,
             dir);
    assert_string_equal(r.err[2].msg, message);
    snprintf(message, sizeof(message),
             "%s/4.yaml:2:1: did not find expected node content, while parsing a flow node that "
             "began at line 2",
             dir);
    assert_string_equal(r.err[3].msg, message);
    assert_non_null(strstr(r.err[4].msg, "/6.yaml: not a file"));
    results_free(&r);
    for (const char *const *name =
             (const char *[]){"10.yaml", "2.yml", "3.yaml", "4.yaml", "5.yaml", "not.json",
                              ".hidden.yaml", "6.yaml", NULL};
         *name; name++)
        remove_file(*name);
}

/* Without its NUL. */
static void put_text(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
}

static void test_what_cannot_be_read(void **state)
{
    struct results r = {.n = 0};
    struct err err = {0};
    char path[PATH_MAX], message[PATH_MAX + 64];
    AUTO_FREE char *big = calloc(1, SPEC_BYTES_MAX + 2);

    (void)state;
    path_of(path, "absent");
    snprintf(message, sizeof(message), "%s: No such file or directory", path);
    assert_int_equal(guest_spec_read_dir(path, take, &r, &err), -1);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(guest_spec_read_file(path, take, &r, &err), -1);
    assert_string_equal(err.msg, message);
    assert_non_null(big);
    /* A document of the most bytes; one that ends nowhere; one of more bytes. */
    memset(big, ' ', SPEC_BYTES_MAX);
    put_text(big, "--- ~");
    path_of(path, "f.yaml");
    write_file("f.yaml", big, SPEC_BYTES_MAX);
    assert_int_equal(guest_spec_read_file(path, take, &r, &err), 0);
    put_text(big + SPEC_BYTES_MAX - 4, "{x: ");
    put_text(big, "--- [");
    write_file("f.yaml", big, SPEC_BYTES_MAX);
    assert_int_equal(guest_spec_read_file(path, take, &r, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    memset(big, ' ', SPEC_BYTES_MAX + 2);
    put_text(big, "--- [");
    big[SPEC_BYTES_MAX + 1] = ']';
    write_file("f.yaml", big, SPEC_BYTES_MAX + 2);
    assert_int_equal(guest_spec_read_file(path, take, &r, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "a document of more than 1048576 bytes"));
    assert_int_equal(truncate(path, (off_t)SPEC_FILE_BYTES_MAX + 1), 0); /* holes */
    assert_int_equal(guest_spec_read_file(path, take, &r, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "larger than 536870912 bytes"));
    assert_int_equal(r.n, 0);
}

static void count(void *ctx, struct guest_spec *spec, const struct err *err)
{
    struct guest_spec **last = ctx;

    assert_null(err);
    if (last[0]) /* the texts that all have in common are there once */
        assert_true(last[0]->module == spec->module &&
                    last[0]->watches[0].kind == spec->watches[0].kind);
    guest_spec_free(last[0]);
    last[0] = spec;
}

static void test_one_file_has_any_number_of_guests(void **state)
{
    const size_t n = 20000, room = n * 256;
    struct guest_spec *last[1] = {NULL};
    AUTO_FREE char *text = malloc(room);
    struct err err = {0};
    char path[PATH_MAX];
    size_t len = 0;

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(
            text + len, room - len,
            "---\napiVersion: roost.dev/v1alpha1\nkind: Guest\nmetadata: {name: g%zu}\nspec: "
            "{module: file:m.wasm, triggers: [{watch: {apiVersion: v1, kind: ConfigMap, "
            "namespaces: [n%zu]}}], capabilities: {kube: {serviceAccount: a}}}\n",
            i, i);
    assert_true(len > 2 * SPEC_BYTES_MAX && len < room);
    write_file("f.yaml", text, len);
    path_of(path, "f.yaml");
    assert_int_equal(guest_spec_read_file(path, count, last, &err), 0);
    assert_string_equal(last[0]->name, "g19999");
    assert_string_equal(last[0]->watches[0].namespaces[0], "n19999");
    assert_string_equal(last[0]->service_account, "a");
    assert_int_equal(last[0]->line, 5 * (n - 1) + 2);
    guest_spec_free(last[0]);
}

/* A relative manifest still gives an absolute module. */
static void test_modules_are_absolute(void **state)
{
    struct results r = {.n = 0};
    char cwd[PATH_MAX], module[PATH_MAX];

    (void)state;
    write_file("f.yaml", SPEC, sizeof(SPEC) - 1);
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(guest_spec_read_file("f.yaml", take, &r, NULL), 0);
    assert_int_equal(chdir(cwd), 0);
    path_of(module, "a.wasm");
    assert_string_equal(r.spec[0]->module, module);
    assert_string_equal(r.spec[0]->file, "f.yaml");
    results_free(&r);
}

static int dir_make(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "%s/roost-spec-XXXXXX", tmp_base());
    return mkdtemp(dir) ? 0 : -1;
}

static int dir_remove(void **state)
{
    char path[PATH_MAX];

    (void)state;
    path_of(path, "f.yaml");
    unlink(path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_everything_said),
        cmocka_unit_test(test_refusals_of_the_whole),
        cmocka_unit_test(test_refusals_of_names),
        cmocka_unit_test(test_refusals_of_modules_and_environment),
        cmocka_unit_test(test_refusals_of_limits_and_sleep),
        cmocka_unit_test(test_refusals_of_triggers_and_capabilities),
        cmocka_unit_test(test_lists_at_their_edge),
        cmocka_unit_test(test_environment_bytes_at_their_edge),
        cmocka_unit_test(test_ceilings_are_accepted),
        cmocka_unit_test(test_a_bad_document_touches_no_other),
        cmocka_unit_test(test_a_name_is_taken_once_in_a_file),
        cmocka_unit_test(test_folders_in_name_order),
        cmocka_unit_test(test_what_cannot_be_read),
        cmocka_unit_test(test_one_file_has_any_number_of_guests),
        cmocka_unit_test(test_modules_are_absolute),
    };

    return cmocka_run_group_tests(tests, dir_make, dir_remove);
}
