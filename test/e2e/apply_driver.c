/* Guests applied, changed, rolled back and deleted with the command line, in a daemon against a
 * real API server: what they handle, and what they remember. See test_apply.
 */
#include "e2e.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMESPACE "ap-a"
#define ID        NAMESPACE "/l"

struct wanted {
    const char *version;
    struct account got;
};

static bool has_version(struct e2e *e, void *ctx)
{
    struct wanted *w = ctx;

    return e2e_account(e, NAMESPACE, "l", &w->got) && !strcmp(w->got.version, w->version);
}

/* The object changes and the ledger handles it. */
static void handles(struct e2e *e, long long nonce, struct account *a)
{
    char version[64];
    struct wanted w = {.version = version};

    CHECK(e, e2e_touch(e, NAMESPACE, "one", nonce, version), "%s", e->err.msg);
    CHECK(e, e2e_wait(e, has_version, &w), "last version %s, wanted %s", w.got.version, version);
    *a = w.got;
    CHECK(e, a->errors == 0, "errors %lld", a->errors);
}

/* A manifest beside the folder that is watched. */
static void write_manifest(struct e2e *e, const char *module, const char *more)
{
    char path[1024], name[64];

    snprintf(name, sizeof(name), "guests/%s.wasm", module);
    build_path(path, sizeof(path), name);
    CHECK(e,
          e2e_file(e, "../one.yaml",
                   "apiVersion: roost.dev/v1alpha1\nkind: Guest\n"
                   "metadata: {name: l, namespace: " NAMESPACE ", labels: {app: ledger}}\nspec:\n"
                   "  module: file:%s\n  env:\n  - {name: SEED, value: \"3\"}\n"
                   "  - {name: REPORT_NAMESPACE, value: " NAMESPACE "}\n  triggers:\n"
                   "  - watch: {apiVersion: amurant.io/v1, kind: TestResource, namespaces: "
                   "[" NAMESPACE "]}\n  capabilities: {kube: {serviceAccount: ledger}}\n%s",
                   path, more),
          "%s", "one.yaml");
}

static void applies(struct e2e *e, const char *result)
{
    char out[4096], file[512];

    snprintf(file, sizeof(file), "%s/one.yaml", e->dir);
    CHECK(e,
          e2e_run(e, out, sizeof(out), "--state", e->state, "apply", "-f", file, NULL) == 0 &&
              strstr(out, result),
          "%s", out);
}

static bool has_error(struct e2e *e, void *ctx)
{
    char text[512];

    e2e_guest_text(e, ID, "lastError", text, sizeof(text));
    return strstr(text, ctx) != NULL;
}

static bool has_calls(struct e2e *e, void *ctx)
{
    int status = 0;
    json_t *doc = e2e_admin(e, "/v1/guests/" ID, &status);
    json_t *calls =
        json_object_get(json_object_get(json_object_get(doc, "spec"), "limits"), "calls");
    bool has = json_integer_value(calls) == *(long long *)ctx;

    json_decref(doc);
    return has;
}

/* --- cases, in this order --- */

static void applied(struct e2e *e)
{
    struct account a;

    e2e_case(e, "apply_creates");
    CHECK(e, e2e_namespace(e, NAMESPACE), "%s", e->err.msg);
    CHECK(e, e2e_grant(e, NAMESPACE, NAMESPACE), "%s", e->err.msg);
    CHECK(e,
          e2e_create(e, "/apis/amurant.io/v1/namespaces/" NAMESPACE "/testresources",
                     "{\"apiVersion\":\"amurant.io/v1\",\"kind\":\"TestResource\",\"metadata\":"
                     "{\"name\":\"one\",\"namespace\":\"" NAMESPACE "\"},\"spec\":{\"nonce\":0}}"),
          "%s", e->err.msg);
    CHECK(e, e2e_start(e, true), "%s", e->err.msg);
    write_manifest(e, "ledger", "");
    applies(e, "created");
    handles(e, 1, &a);
    CHECK(e, a.starts == 1, "starts %lld", a.starts);
    applies(e, "unchanged");
    e2e_done(e);
}

static void another_manifest(struct e2e *e)
{
    struct account before, after;
    long long calls = 7;

    e2e_case(e, "apply_another_manifest_keeps_the_memory");
    handles(e, 2, &before);
    write_manifest(e, "ledger", "  limits: {calls: 7}\n");
    applies(e, "configured");
    CHECK(e, e2e_wait(e, has_calls, &calls), "%s", "limits.calls is not 7");
    handles(e, 3, &after);
    CHECK(e, after.starts == 1 && after.events == before.events + 1, "starts %lld, events %lld",
          after.starts, after.events);
    e2e_done(e);
}

static void rolled_back(struct e2e *e)
{
    char what[] = "the new module cannot start", out[8192];
    struct account before, after;

    e2e_case(e, "apply_goes_back");
    handles(e, 4, &before);
    write_manifest(e, "startloop", "  limits: {cpu: 50ms}\n");
    applies(e, "configured");
    CHECK(e, e2e_wait(e, has_error, what), "%s", "no such error");
    handles(e, 5, &after);
    CHECK(e, after.starts == 1 && after.events == before.events + 1, "starts %lld, events %lld",
          after.starts, after.events);
    CHECK(e,
          e2e_run(e, out, sizeof(out), "--state", e->state, "events", NULL) == 0 &&
              strstr(out, "RolledBack"),
          "%s", out);
    e2e_done(e);
}

static void restarted(struct e2e *e)
{
    struct account before, after;

    e2e_case(e, "apply_survives_a_restart");
    handles(e, 6, &before);
    CHECK(e, e2e_stop(e) == 0, "%s", "its end");
    CHECK(e, e2e_start(e, true), "%s", e->err.msg);
    handles(e, 7, &after);
    CHECK(e, after.starts == 1 && after.events == before.events + 1 && after.repeats == 0,
          "starts %lld, events %lld, repeats %lld", after.starts, after.events, after.repeats);
    e2e_done(e);
}

static bool is_asleep(struct e2e *e, void *ctx)
{
    char state[32];

    (void)ctx;
    e2e_guest_text(e, ID, "state", state, sizeof(state));
    return strcmp(state, "Asleep") == 0;
}

static void another_module(struct e2e *e)
{
    char error[512];

    e2e_case(e, "apply_another_module");
    write_manifest(e, "started", "");
    applies(e, "configured");
    CHECK(e, e2e_wait(e, is_asleep, NULL), "%s", "not asleep");
    e2e_guest_text(e, ID, "lastError", error, sizeof(error));
    CHECK(e, !error[0], "%s", error);
    applies(e, "unchanged");
    e2e_done(e);
}

static void deleted(struct e2e *e)
{
    char out[4096];

    e2e_case(e, "apply_delete");
    CHECK(e, e2e_run(e, out, sizeof(out), "--state", e->state, "delete", ID, NULL) == 0, "%s", out);
    CHECK(e, e2e_run(e, out, sizeof(out), "--state", e->state, "describe", ID, NULL) == 4, "%s",
          out);
    CHECK(e, e2e_stop(e) == 0, "%s", "its end");
    CHECK(e, e2e_start(e, true), "%s", e->err.msg);
    CHECK(e, e2e_run(e, out, sizeof(out), "--state", e->state, "describe", ID, NULL) == 4, "%s",
          out);
    e2e_done(e);
}

int main(void)
{
    static struct e2e e;
    static void (*const cases[])(struct e2e * e) = {applied,   another_manifest, rolled_back,
                                                    restarted, another_module,   deleted};

    if (!getenv("KUBECONFIG")) {
        fprintf(stderr, "Usage: apply_driver; $KUBECONFIG\n");
        return 2;
    }
    if (!e2e_open(&e, getenv("KUBECONFIG"), 2))
        return 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !e.ring.interrupted; i++) {
        cases[i](&e);
        if (e.child.pid <= 0) {
            fprintf(stderr, "apply: the daemon is gone\n");
            e.failed++;
            break;
        }
    }
    return e2e_close(&e);
}
