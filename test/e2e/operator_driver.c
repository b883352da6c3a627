/* operator_driver --controlplane SCRIPT: operators in a daemon against a real API server, one thing
 * after the other: events, rights, kinds that come later, bad manifests, restarts of either side.
 *
 * Each case uses namespaces of its own. Guests are ledgers, which say what they have seen and
 * whether they still are who they were.
 */
#include "e2e.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *controlplane;

/* --- tools --- */

/* A guest's account is of this version of its object. */
struct wanted {
    const char *namespace, *name, *version;
    struct account got;
};

static bool has_version(struct e2e *e, void *ctx)
{
    struct wanted *w = ctx;

    return e2e_account(e, w->namespace, w->name, &w->got) && !strcmp(w->got.version, w->version);
}

static bool handles(struct e2e *e, const char *namespace, const char *name, const char *version,
                    struct account *a)
{
    struct wanted w = {.namespace = namespace, .name = name, .version = version};
    bool done = e2e_wait(e, has_version, &w);

    *a = w.got;
    CHECK(e, done, "%s/%s: last version %s, wanted %s", namespace, name, w.got.version, version);
    CHECK(e, a->errors == 0 && a->starts == 1, "%s/%s: errors %lld, starts %lld", namespace, name,
          a->errors, a->starts);
    return e->good;
}

struct in_state {
    const char *id, *state;
};

static bool is_in_state(struct e2e *e, void *ctx)
{
    const struct in_state *s = ctx;
    char state[32];

    e2e_guest_text(e, s->id, "state", state, sizeof(state));
    return !strcmp(state, s->state);
}

static bool comes_to(struct e2e *e, const char *id, const char *state)
{
    struct in_state s = {.id = id, .state = state};

    return CHECK(e, e2e_wait(e, is_in_state, &s), "%s: not %s", id, state);
}

/* The first trigger's text of that name. */
static void trigger_text(struct e2e *e, const char *id, const char *field, char *out, size_t cap)
{
    char target[300];
    json_t *doc;
    const char *text;

    snprintf(target, sizeof(target), "/v1/guests/%s", id);
    doc = e2e_admin(e, target, NULL);
    text = json_string_value(
        json_object_get(json_array_get(json_object_get(doc, "triggers"), 0), field));
    snprintf(out, cap, "%s", text ? text : "");
    json_decref(doc);
}

static bool log_has(const struct e2e *e, const char *what)
{
    FILE *f = fopen(e->log, "re");
    char line[8192];
    bool found = false;

    while (f && !found && fgets(line, sizeof(line), f))
        found = strstr(line, what) != NULL;
    if (f)
        fclose(f);
    return found;
}

static bool is_logged(struct e2e *e, void *ctx)
{
    return log_has(e, ctx);
}

static bool deleted(struct e2e *e, const char *namespace, const char *name)
{
    char path[300];

    snprintf(path, sizeof(path), "/apis/amurant.io/v1/namespaces/%s/testresources/%s", namespace,
             name);
    return e2e_delete(e, path);
}

/* What no case may touch: one event at first, then never woken. */
static void check_bystander(struct e2e *e)
{
    struct account a;

    CHECK(e, e2e_account(e, "op-idle", "l", &a), "%s", e->err.msg);
    CHECK(e, a.events == 1 && a.repeats == 0 && a.errors == 0, "events %lld, repeats %lld",
          a.events, a.repeats);
    CHECK(e, e2e_guest_number(e, "op-idle/l", "wakes") == 0, "woken");
}

/* --- cases, in this order --- */

static void set_up(struct e2e *e)
{
    static const char *const namespaces[] = {"op-idle", "op-a", "op-b", "op-c", "op-d",
                                             "op-e",    "op-f", "op-g", "op-h"};
    char ring[1024], echo[1024];

    e2e_case(e, "operator_setup");
    for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
        CHECK(e, e2e_namespace(e, namespaces[i]), "%s", e->err.msg);
        if (strcmp(namespaces[i], "op-e") != 0 && strcmp(namespaces[i], "op-d") != 0)
            CHECK(e, e2e_grant(e, namespaces[i], namespaces[i]), "%s", e->err.msg);
    }
    CHECK(e, e2e_grant(e, "op-c", "op-b"), "%s", e->err.msg);
    build_path(ring, sizeof(ring), "guests/ring.wasm");
    build_path(echo, sizeof(echo), "guests/echo_abi.wasm");
    CHECK(e,
          e2e_ledger(e, "op-idle", "l", "op-idle", "") && e2e_ledger(e, "op-a", "l", "op-a", "") &&
              e2e_ledger(e, "op-b", "l", "op-b, op-c", "") &&
              e2e_ledger(e, "op-e", "l", "op-e", "") &&
              e2e_file(e, "op-f.yaml",
                       "apiVersion: roost.dev/v1alpha1\n"
                       "kind: Guest\n"
                       "metadata: {name: ring, namespace: op-f}\n"
                       "spec:\n"
                       "  module: file:%s\n"
                       "  env: [{name: OUT_NAMESPACE, value: op-g}]\n"
                       "  triggers:\n"
                       "  - watch: {apiVersion: amurant.io/v1, kind: TestResource, namespaces: "
                       "[op-f]}\n"
                       "  capabilities: {kube: {serviceAccount: ledger}}\n",
                       ring) &&
              e2e_file(e, "op-h.yaml",
                       "apiVersion: roost.dev/v1alpha1\n"
                       "kind: Guest\n"
                       "metadata: {name: echo, namespace: op-h}\n"
                       "spec:\n"
                       "  module: file:%s\n"
                       "  triggers:\n"
                       "  - watch: {apiVersion: amurant.io/v1, kind: TestResource, namespaces: "
                       "[op-h]}\n"
                       "  capabilities: {kube: {serviceAccount: ledger}}\n",
                       echo),
          "manifests");
    CHECK(e, e2e_touch(e, "op-idle", "a", 1, NULL), "%s", e->err.msg);
    e2e_start(e, true);
    comes_to(e, "op-idle/l", "Asleep");
    e2e_done(e);
}

static void events(struct e2e *e)
{
    struct account a, first;
    char version[64];

    e2e_case(e, "operator_sleeps_between_events");
    CHECK(e, e2e_touch(e, "op-a", "a", 1, version), "%s", e->err.msg);
    handles(e, "op-a", "l", version, &first);
    for (int i = 2; i <= 6 && e->good; i++) {
        comes_to(e, "op-a/l", "Asleep");
        CHECK(e, e2e_touch(e, "op-a", "a", i, version), "%s", e->err.msg);
        handles(e, "op-a", "l", version, &a);
        CHECK(e, a.events == i && a.repeats == 0 && !strcmp(a.boot, first.boot), "events %lld",
              a.events);
    }
    comes_to(e, "op-a/l", "Asleep");
    CHECK(e, e2e_guest_number(e, "op-a/l", "freshStarts") == 1, "fresh starts");
    CHECK(e, e2e_guest_number(e, "op-a/l", "wakes") == 5, "wakes");
    CHECK(e, e2e_guest_number(e, "op-a/l", "sleeps") == 6, "sleeps");
    check_bystander(e);
    e2e_done(e);
}

static void deletion(struct e2e *e)
{
    struct account a, before;
    char version[64];

    e2e_case(e, "operator_sees_a_deletion_and_a_new_object");
    e2e_account(e, "op-a", "l", &before);
    CHECK(e, deleted(e, "op-a", "a"), "%s", e->err.msg);
    handles(e, "op-a", "l", "", &a); /* no body, no version */
    CHECK(e, a.events == before.events + 1 && !strcmp(a.key, "op-a/a"), "events %lld, key %s",
          a.events, a.key);
    CHECK(e, e2e_touch(e, "op-a", "a", 7, version), "%s", e->err.msg);
    handles(e, "op-a", "l", version, &a);
    CHECK(e, a.events == before.events + 2 && !strcmp(a.boot, before.boot), "events %lld",
          a.events);
    e2e_done(e);
}

static void two_namespaces(struct e2e *e)
{
    struct account a;
    char version[64];

    e2e_case(e, "operator_watches_two_namespaces");
    CHECK(e, e2e_touch(e, "op-b", "x", 1, version), "%s", e->err.msg);
    handles(e, "op-b", "l", version, &a);
    CHECK(e, e2e_touch(e, "op-d", "x", 1, NULL), "%s", e->err.msg); /* none of its own */
    CHECK(e, e2e_touch(e, "op-c", "x", 1, version), "%s", e->err.msg);
    handles(e, "op-b", "l", version, &a);
    CHECK(e, a.events == 2 && !strcmp(a.key, "op-c/x"), "events %lld, key %s", a.events, a.key);
    check_bystander(e);
    e2e_done(e);
}

/* op-e was not given its rights. */
static void denied(struct e2e *e)
{
    struct account a;
    char version[64], reason[512], state[32];

    e2e_case(e, "operator_without_rights_gets_nothing_until_it_has_them");
    CHECK(e, e2e_touch(e, "op-e", "a", 1, version), "%s", e->err.msg);
    e2e_guest_text(e, "op-e/l", "state", state, sizeof(state));
    trigger_text(e, "op-e/l", "reason", reason, sizeof(reason));
    CHECK(e, !strcmp(state, "Pending"), "%s", state);
    CHECK(e, strstr(reason, "service account ledger may not list testresources in namespace op-e"),
          "%s", reason);
    CHECK(e, e2e_guest_number(e, "op-e/l", "events") == 0, "events");
    CHECK(e, !e2e_account(e, "op-e", "l", &a), "an account");
    CHECK(e, e2e_grant(e, "op-e", "op-e"), "%s", e->err.msg);
    handles(e, "op-e", "l", version, &a);
    CHECK(e, a.events == 1, "events %lld", a.events);
    trigger_text(e, "op-e/l", "reason", reason, sizeof(reason));
    CHECK(e, !reason[0], "%s", reason);
    e2e_done(e);
}

static bool copy_is_there(struct e2e *e, void *ctx)
{
    json_t *doc =
        e2e_get(e, "/apis/amurant.io/v1/namespaces/op-g/testresources/%s", (const char *)ctx);

    json_decref(doc);
    return doc != NULL;
}

/* The kubeconfig's user may do everything; the guest's service account may not `get`. */
static void impersonation(struct e2e *e)
{
    char forbidden[] = "status 403", name[] = "copy";

    e2e_case(e, "operator_acts_as_its_own_service_account");
    CHECK(e, e2e_touch(e, "op-f", name, 1, NULL), "%s", e->err.msg);
    CHECK(e, e2e_wait(e, is_logged, forbidden), "no answer 403 in the log");
    CHECK(e, !copy_is_there(e, name), "the copy was made");
    CHECK(e,
          e2e_create(e, "/apis/rbac.authorization.k8s.io/v1/namespaces/op-g/rolebindings",
                     "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"RoleBinding\","
                     "\"metadata\":{\"name\":\"ring\"},\"roleRef\":{\"apiGroup\":"
                     "\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":"
                     "\"ring-operator\"},\"subjects\":[{\"kind\":\"ServiceAccount\",\"name\":"
                     "\"ledger\",\"namespace\":\"op-f\"}]}"),
          "%s", e->err.msg);
    CHECK(e, e2e_wait(e, copy_is_there, name), "no copy: %s", e->err.msg);
    CHECK(e, e2e_guest_number(e, "op-f/ring", "freshStarts") == 1, "fresh starts");
    e2e_done(e);
}

static bool has_tried(struct e2e *e, void *ctx)
{
    (void)ctx;
    return e2e_guest_number(e, "op-h/echo", "events") > 0;
}

/* test/guests/echo_abi.c: answers of a real server, and what is refused before it gets there. */
static void calls(struct e2e *e)
{
    char why[512];

    e2e_case(e, "operator_calls_are_what_the_abi_says");
    CHECK(e, e2e_touch(e, "op-h", "a", 1, NULL), "%s", e->err.msg);
    CHECK(e, e2e_wait(e, has_tried, NULL), "no event");
    comes_to(e, "op-h/echo", "Asleep");
    e2e_guest_text(e, "op-h/echo", "lastError", why, sizeof(why));
    CHECK(e, !why[0], "%s", why);
    CHECK(e, e2e_guest_number(e, "op-h/echo", "failures") == 0, "failures");
    e2e_done(e);
}

static void command_line(struct e2e *e)
{
    char out[65536];

    e2e_case(e, "operator_command_line");
    CHECK(e, e2e_run(e, out, sizeof(out), "--state", e->state, "get", "guests", NULL) == 0, "%s",
          out);
    CHECK(e, strstr(out, "NAMESPACE") && strstr(out, "op-a") && strstr(out, "Asleep"), "%s", out);
    CHECK(e,
          e2e_run(e, out, sizeof(out), "--state", e->state, "get", "guests", "-o", "name", NULL) ==
                  0 &&
              strstr(out, "op-a/l\n"),
          "%s", out);
    CHECK(e, e2e_run(e, out, sizeof(out), "--state", e->state, "describe", "op-a/l", NULL) == 0,
          "%s", out);
    CHECK(e, strstr(out, "TestResource") && strstr(out, "ledger.wasm"), "%s", out);
    CHECK(e, e2e_run(e, out, sizeof(out), "--state", e->state, "describe", "op-a/none", NULL) == 4,
          "%s", out);
    CHECK(e, e2e_run(e, out, sizeof(out), "--state", e->state, "version", NULL) == 0, "%s", out);
    CHECK(e, strstr(out, "0."), "%s", out);
    CHECK(e, e2e_run(e, out, sizeof(out), "--state", e->dir, "get", "guests", NULL) == 10, "%s",
          out);
    e2e_done(e);
}

static mode_t mode_of(const struct e2e *e, const char *name)
{
    char path[512];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", e->state, name);
    return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

static void state_directory(struct e2e *e)
{
    char out[8192];
    struct account a;
    char version[64];

    e2e_case(e, "operator_state_directory_is_one_daemons_and_private");
    CHECK(e,
          e2e_run(e, out, sizeof(out), "serve", "--guests", e->guests, "--state", e->state,
                  "--kubeconfig", e->kubeconfig, NULL) == 5,
          "%s", out);
    CHECK(e, strstr(out, e->state), "%s", out);
    CHECK(e, mode_of(e, ".") == 0700, "%o", mode_of(e, "."));
    CHECK(e, mode_of(e, "admin.sock") == 0600, "%o", mode_of(e, "admin.sock"));
    CHECK(e, mode_of(e, "arena") == 0600, "%o", mode_of(e, "arena"));
    CHECK(e, mode_of(e, "db") == 0600, "%o", mode_of(e, "db"));
    CHECK(e, e2e_touch(e, "op-a", "a", 8, version), "%s", e->err.msg); /* the first one works on */
    handles(e, "op-a", "l", version, &a);
    e2e_done(e);
}

/* Changes, a deletion and a new object while the daemon is away. */
static void restart(struct e2e *e)
{
    struct account a, b, got;
    char changed[64], made[64];

    e2e_case(e, "operator_resumes_and_wakes_only_for_what_changed");
    CHECK(e, e2e_touch(e, "op-b", "gone", 1, made), "%s", e->err.msg);
    handles(e, "op-b", "l", made, &b);
    e2e_account(e, "op-a", "l", &a);
    CHECK(e, e2e_stop(e) == 0, "exit status");
    CHECK(e, e2e_touch(e, "op-a", "a", 20, NULL) && e2e_touch(e, "op-a", "a", 21, changed), "%s",
          e->err.msg);
    CHECK(e, deleted(e, "op-b", "gone"), "%s", e->err.msg);
    if (e2e_start(e, true)) {
        handles(e, "op-a", "l", changed, &got);
        CHECK(e, got.events == a.events + 1 && !strcmp(got.boot, a.boot), "events %lld",
              got.events); /* two changes, one event; its memory is what it was */
        handles(e, "op-b", "l", "", &got);
        CHECK(e, !strcmp(got.key, "op-b/gone") && !strcmp(got.boot, b.boot), "key %s", got.key);
        CHECK(e, got.events == b.events + 1, "events %lld", got.events);
        comes_to(e, "op-a/l", "Asleep");
        CHECK(e, e2e_guest_number(e, "op-a/l", "freshStarts") == 0, "fresh starts");
        CHECK(e, e2e_guest_number(e, "op-e/l", "events") == 0, "op-e was woken");
        CHECK(e, e2e_guest_number(e, "op-f/ring", "events") == 0, "op-f was woken");
        check_bystander(e);
    }
    e2e_done(e);
}

static bool run_controlplane(const char *verb)
{
    const char *dir = getenv("CONTROLPLANE_DIR");
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(127);
        execl(controlplane, controlplane, verb, "--dir", dir, (char *)NULL);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool kill_controlplane(void)
{
    char path[512], line[32] = "";
    long pid;
    FILE *f;

    snprintf(path, sizeof(path), "%s/pid", getenv("CONTROLPLANE_DIR"));
    f = fopen(path, "re");
    if (!f)
        return false;
    pid = fgets(line, sizeof(line), f) ? strtol(line, NULL, 10) : 0;
    fclose(f);
    return pid > 1 && kill((pid_t)pid, SIGKILL) == 0;
}

static bool server_answers(struct e2e *e, void *ctx)
{
    json_t *doc = e2e_get(e, "/version");

    (void)ctx;
    json_decref(doc);
    return doc != NULL;
}

static void server_restart(struct e2e *e)
{
    struct account a, got;
    char version[64];
    long long wakes;

    e2e_case(e, "operator_goes_on_after_the_api_server_was_killed");
    comes_to(e, "op-a/l", "Asleep");
    wakes = e2e_guest_number(e, "op-a/l", "wakes");
    e2e_account(e, "op-a", "l", &a);
    CHECK(e, kill_controlplane() && run_controlplane("start"), "the control plane");
    CHECK(e, e2e_wait(e, server_answers, NULL), "%s", e->err.msg);
    CHECK(e, e2e_touch(e, "op-a", "a", 30, version), "%s", e->err.msg);
    handles(e, "op-a", "l", version, &got);
    CHECK(e, got.events == a.events + 1 && !strcmp(got.boot, a.boot), "events %lld", got.events);
    comes_to(e, "op-a/l", "Asleep");
    CHECK(e, e2e_guest_number(e, "op-a/l", "wakes") == wakes + 1, "wakes");
    CHECK(e, e2e_guest_number(e, "op-e/l", "events") == 0, "op-e was woken");
    check_bystander(e);
    e2e_done(e);
}

static const char widget_crd[] =
    "{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"CustomResourceDefinition\","
    "\"metadata\":{\"name\":\"widgets.example.org\"},\"spec\":{\"group\":\"example.org\","
    "\"scope\":\"Namespaced\",\"names\":{\"kind\":\"Widget\",\"plural\":\"widgets\","
    "\"singular\":\"widget\"},\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":true,"
    "\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\"}}}]}}";

static bool widget_made(struct e2e *e, void *ctx)
{
    (void)ctx;
    return e2e_create(e, "/apis/example.org/v1/namespaces/op-d/widgets",
                      "{\"apiVersion\":\"example.org/v1\",\"kind\":\"Widget\",\"metadata\":{"
                      "\"name\":\"w\"}}");
}

static bool widget_seen(struct e2e *e, void *ctx)
{
    struct account *a = ctx;

    return e2e_account(e, "op-d", "w", a) && a->events == 1;
}

/* A bad manifest, one of a module that is not there, and one of a kind that is not there yet: all
 * the others are as before. */
static void bad_manifests(struct e2e *e)
{
    struct account a, got;
    char version[64], out[65536], module[1024];

    e2e_case(e, "operator_bad_manifests_touch_no_other");
    build_path(module, sizeof(module), "guests/ledger.wasm");
    e2e_account(e, "op-a", "l", &a);
    CHECK(e, e2e_stop(e) == 0, "exit status");
    CHECK(e,
          e2e_file(e, "bad.yaml",
                   "apiVersion: roost.dev/v1alpha1\n"
                   "kind: Guest\n"
                   "metadata: {name: bad, namespace: op-d}\n"
                   "spec:\n"
                   "  module: file:%s\n"
                   "  limits: {memory: 1Gi}\n"
                   "  sleeep: {mode: auto}\n",
                   module) &&
              e2e_file(e, "missing.yaml",
                       "apiVersion: roost.dev/v1alpha1\n"
                       "kind: Guest\n"
                       "metadata: {name: missing, namespace: op-d}\n"
                       "spec:\n"
                       "  module: file:/nowhere/missing.wasm\n"
                       "  triggers:\n"
                       "  - watch: {apiVersion: v1, kind: ConfigMap}\n"
                       "  capabilities: {kube: {serviceAccount: ledger}}\n") &&
              e2e_file(e, "widget.yaml",
                       "apiVersion: roost.dev/v1alpha1\n"
                       "kind: Guest\n"
                       "metadata: {name: w, namespace: op-d}\n"
                       "spec:\n"
                       "  module: file:%s\n"
                       "  triggers:\n"
                       "  - watch: {apiVersion: example.org/v1, kind: Widget, namespaces: [op-d]}\n"
                       "  capabilities: {kube: {serviceAccount: ledger}}\n",
                       module),
          "manifests");
    CHECK(e, e2e_touch(e, "op-a", "a", 40, version), "%s", e->err.msg);
    if (e2e_start(e, false)) {
        handles(e, "op-a", "l", version, &got);
        CHECK(e, got.events == a.events + 1 && !strcmp(got.boot, a.boot), "events %lld",
              got.events);
        CHECK(e, e2e_run(e, out, sizeof(out), "--state", e->state, "get", "guests", NULL) == 0,
              "%s", out);
        CHECK(e, strstr(out, "Rejected") && strstr(out, "bad.yaml:7") && strstr(out, "sleeep"),
              "%s", out);
        CHECK(e, strstr(out, "missing.yaml:") && strstr(out, "/nowhere/missing.wasm"), "%s", out);
        comes_to(e, "op-a/l", "Asleep");
        check_bystander(e);
    }
    e2e_done(e);
}

static void late_kind(struct e2e *e)
{
    struct account a;
    char trouble[512], out[8192];
    int status = 0;

    e2e_case(e, "operator_waits_for_a_kind_that_comes_later");
    comes_to(e, "op-d/w", "Pending");
    json_decref(e2e_admin(e, "/readyz", &status));
    CHECK(e, status == 503, "readyz %d", status);
    trigger_text(e, "op-d/w", "trouble", trouble, sizeof(trouble));
    CHECK(e, trouble[0], "nothing is said");
    CHECK(e, e2e_grant(e, "op-d", "op-d"), "%s", e->err.msg);
    CHECK(e,
          e2e_create(e, "/apis/rbac.authorization.k8s.io/v1/clusterroles",
                     "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"ClusterRole\","
                     "\"metadata\":{\"name\":\"widgets\"},\"rules\":[{\"apiGroups\":["
                     "\"example.org\"],\"resources\":[\"widgets\"],\"verbs\":[\"list\",\"watch\"]}"
                     "]}") &&
              e2e_create(e, "/apis/rbac.authorization.k8s.io/v1/namespaces/op-d/rolebindings",
                         "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":"
                         "\"RoleBinding\",\"metadata\":{\"name\":\"widgets\"},\"roleRef\":{"
                         "\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\","
                         "\"name\":\"widgets\"},\"subjects\":[{\"kind\":\"ServiceAccount\","
                         "\"name\":\"ledger\",\"namespace\":\"op-d\"}]}"),
          "%s", e->err.msg);
    CHECK(e, e2e_create(e, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widget_crd),
          "%s", e->err.msg);
    CHECK(e, e2e_wait(e, widget_made, NULL), "%s", e->err.msg);
    CHECK(e, e2e_wait(e, widget_seen, &a), "the guest has not seen it");
    e2e_ready(e);
    CHECK(e, e2e_run(e, out, sizeof(out), "--state", e->state, "describe", "op-d/w", NULL) == 0,
          "%s", out);
    CHECK(e, e2e_stop(e) == 0, "exit status");
    e2e_done(e);
}

int main(int argc, char **argv)
{
    static struct e2e e;
    static void (*const cases[])(struct e2e * e) = {
        set_up,         events,        deletion,     two_namespaces,  denied,
        impersonation,  calls,         command_line, state_directory, restart,
        server_restart, bad_manifests, late_kind};

    if (argc != 3 || strcmp(argv[1], "--controlplane") != 0 || !getenv("CONTROLPLANE_DIR")) {
        fprintf(stderr, "Usage: operator_driver --controlplane SCRIPT; $KUBECONFIG, "
                        "$CONTROLPLANE_DIR\n");
        return 2;
    }
    controlplane = argv[2];
    if (!e2e_open(&e, getenv("KUBECONFIG"), 2))
        return 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !e.ring.interrupted; i++) {
        cases[i](&e);
        if (e.child.pid <= 0 && i + 1 < sizeof(cases) / sizeof(cases[0])) {
            fprintf(stderr, "operator: the daemon is gone\n");
            break;
        }
    }
    return e2e_close(&e);
}
