#include "e2e.h"

#include "base/clock.h"
#include "base/http1.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- cases --- */

void e2e_case(struct e2e *e, const char *name)
{
    e->name = name;
    e->good = true;
    e->cases++;
}

bool e2e_check(struct e2e *e, bool condition, const char *file, int line, const char *text,
               const char *fmt, ...)
{
    va_list ap;

    if (condition)
        return true;
    e->good = false;
    fprintf(stderr, "%s:%d: %s: %s: ", file, line, e->name, text);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return false;
}

void e2e_done(struct e2e *e)
{
    if (e->ring.interrupted)
        e->good = false;
    e->failed += !e->good;
    printf("%sok %s\n", e->good ? "" : "not ", e->name);
    fflush(stdout);
}

bool e2e_wait(struct e2e *e, bool (*what)(struct e2e *e, void *ctx), void *ctx)
{
    uint64_t until = clock_now_ns() + E2E_WAIT_S * NS_PER_S;

    while (!what(e, ctx)) {
        if (e->ring.interrupted || clock_now_ns() > until)
            return false;
        ring_rest(&e->ring, 20);
    }
    return true;
}

/* --- the API server --- */

static json_t *request(struct e2e *e, const char *method, const char *path, const char *headers,
                       const char *body)
{
    AUTO_BUF struct buf answer = {.max = 4 * MIB};
    json_t *doc;

    e->err = (struct err){0};
    if (ring_request(&e->ring, method, path, headers, body, &answer, &e->err) < 0)
        return NULL;
    doc = json_loadb((const char *)answer.data, answer.len, 0, NULL);
    return doc ? doc : json_null();
}

__attribute__((format(printf, 1, 0))) static char *text_of(const char *fmt, va_list ap)
{
    char *text;

    return vasprintf(&text, fmt, ap) < 0 ? NULL : text;
}

json_t *e2e_get(struct e2e *e, const char *path, ...)
{
    json_t *doc;
    va_list ap;
    char *text;

    va_start(ap, path);
    text = text_of(path, ap);
    va_end(ap);
    doc = request(e, "GET", text, NULL, NULL);
    free(text);
    return doc;
}

/* A request whose body is JSON, by a format. */
__attribute__((format(printf, 5, 0))) static json_t *request_of(struct e2e *e, const char *method,
                                                                const char *path,
                                                                const char *headers,
                                                                const char *fmt, va_list ap)
{
    char *text = text_of(fmt, ap);
    json_t *doc = request(e, method, path, headers, text);

    free(text);
    return doc;
}

bool e2e_create(struct e2e *e, const char *path, const char *fmt, ...)
{
    json_t *doc;
    va_list ap;

    va_start(ap, fmt);
    doc = request_of(e, "POST", path, "Content-Type: application/json\n", fmt, ap);
    va_end(ap);
    json_decref(doc);
    return doc || e->err.code == ERR_EXISTS;
}

json_t *e2e_patch(struct e2e *e, const char *path, const char *fmt, ...)
{
    json_t *doc;
    va_list ap;

    va_start(ap, fmt);
    doc = request_of(e, "PATCH", path, "Content-Type: application/merge-patch+json\n", fmt, ap);
    va_end(ap);
    return doc;
}

bool e2e_delete(struct e2e *e, const char *path)
{
    json_t *doc = request(e, "DELETE", path, NULL, NULL);

    json_decref(doc);
    return doc != NULL;
}

static const char *text_at(const json_t *doc, const char *a, const char *b)
{
    const char *text = json_string_value(json_object_get(json_object_get(doc, a), b));

    return text ? text : "";
}

bool e2e_touch(struct e2e *e, const char *namespace, const char *name, long long nonce,
               char *version)
{
    char path[512];
    json_t *doc;

    snprintf(path, sizeof(path), "/apis/amurant.io/v1/namespaces/%s/testresources/%s", namespace,
             name);
    doc = e2e_patch(e, path, "{\"spec\":{\"nonce\":%lld}}", nonce);
    if (!doc && e->err.code == ERR_NOT_FOUND) {
        *strrchr(path, '/') = 0;
        if (e2e_create(e, path,
                       "{\"apiVersion\":\"amurant.io/v1\",\"kind\":\"TestResource\",\"metadata\":{"
                       "\"name\":\"%s\"},\"spec\":{\"nonce\":%lld}}",
                       name, nonce))
            doc = e2e_get(e, "%s/%s", path, name);
    }
    if (doc && version)
        snprintf(version, 64, "%s", text_at(doc, "metadata", "resourceVersion"));
    json_decref(doc);
    return doc != NULL;
}

static const char ledger_role[] =
    "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"ClusterRole\",\"metadata\":{"
    "\"name\":\"ledger\"},\"rules\":[{\"apiGroups\":[\"amurant.io\"],\"resources\":["
    "\"testresources\"],\"verbs\":[\"list\",\"watch\"]},{\"apiGroups\":[\"\"],\"resources\":["
    "\"configmaps\"],\"verbs\":[\"create\",\"patch\"]}]}";

bool e2e_grant(struct e2e *e, const char *namespace, const char *of_namespace)
{
    char path[512];

    snprintf(path, sizeof(path), "/apis/rbac.authorization.k8s.io/v1/namespaces/%s/rolebindings",
             namespace);
    return e2e_create(e, "/apis/rbac.authorization.k8s.io/v1/clusterroles", ledger_role) &&
           e2e_create(e, path,
                      "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"RoleBinding\","
                      "\"metadata\":{\"name\":\"ledger-of-%s\"},\"roleRef\":{\"apiGroup\":"
                      "\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"ledger\"},"
                      "\"subjects\":[{\"kind\":\"ServiceAccount\",\"name\":\"ledger\","
                      "\"namespace\":\"%s\"}]}",
                      of_namespace, of_namespace);
}

bool e2e_namespace(struct e2e *e, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/serviceaccounts", name);
    return e2e_create(e, "/api/v1/namespaces",
                      "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"%s\"}"
                      "}",
                      name) &&
           e2e_create(e, path,
                      "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":"
                      "\"ledger\"}}");
}

static long long number_at(const json_t *doc, const char *a, const char *b)
{
    const char *text = text_at(doc, a, b);

    return *text ? strtoll(text, NULL, 10) : -1;
}

bool e2e_account(struct e2e *e, const char *namespace, const char *name, struct account *a)
{
    json_t *doc = e2e_get(e, "/api/v1/namespaces/%s/configmaps/ledger-%s", namespace, name);

    memset(a, 0, sizeof(*a));
    if (!doc)
        return false;
    a->events = number_at(doc, "data", "events");
    a->repeats = number_at(doc, "data", "repeats");
    a->starts = number_at(doc, "data", "starts");
    a->errors = number_at(doc, "data", "errors");
    snprintf(a->boot, sizeof(a->boot), "%s", text_at(doc, "data", "boot"));
    snprintf(a->key, sizeof(a->key), "%s", text_at(doc, "data", "lastKey"));
    snprintf(a->version, sizeof(a->version), "%s", text_at(doc, "data", "lastVersion"));
    json_decref(doc);
    return true;
}

/* --- the daemon --- */

bool e2e_file(struct e2e *e, const char *name, const char *fmt, ...)
{
    char path[512];
    va_list ap;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", e->guests, name);
    f = fopen(path, "we");
    if (!f)
        return false;
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    return fclose(f) == 0;
}

bool e2e_ledger(struct e2e *e, const char *namespace, const char *name, const char *namespaces,
                const char *more)
{
    char file[300], module[1024];

    build_path(module, sizeof(module), "guests/ledger.wasm");
    snprintf(file, sizeof(file), "%s-%s.yaml", namespace, name);
    return e2e_file(e, file,
                    "apiVersion: roost.dev/v1alpha1\n"
                    "kind: Guest\n"
                    "metadata: {name: %s, namespace: %s}\n"
                    "spec:\n"
                    "  module: file:%s\n"
                    "  env:\n"
                    "  - {name: SEED, value: \"%u\"}\n"
                    "  - {name: REPORT_NAMESPACE, value: %s}\n"
                    "  triggers:\n"
                    "  - watch: {apiVersion: amurant.io/v1, kind: TestResource, namespaces: [%s]}\n"
                    "  capabilities: {kube: {serviceAccount: ledger}}\n"
                    "%s",
                    name, namespace, module, (unsigned)strlen(namespace) * 31 + (unsigned)name[0],
                    namespace, namespaces, more);
}

bool e2e_start(struct e2e *e, bool ready)
{
    char *argv[] = {e->roost,
                    (char *)(uintptr_t) "serve",
                    (char *)(uintptr_t) "--guests",
                    e->guests,
                    (char *)(uintptr_t) "--state",
                    e->state,
                    (char *)(uintptr_t) "--kubeconfig",
                    (char *)(uintptr_t)e->kubeconfig,
                    NULL};

    snprintf(e->child.socket, sizeof(e->child.socket), "%s", e->socket);
    return CHECK(e, child_start(&e->child, argv, e->log, false, &e->err) == 0, "%s", e->err.msg) &&
           (!ready || e2e_ready(e));
}

bool e2e_ready(struct e2e *e)
{
    return CHECK(e, child_ready(&e->ring, &e->child, E2E_WAIT_S, &e->err) == 0, "%s", e->err.msg);
}

int e2e_stop(struct e2e *e)
{
    return child_stop(&e->child);
}

void e2e_kill(struct e2e *e)
{
    if (e->child.pid <= 0)
        return;
    kill(e->child.pid, SIGKILL);
    waitpid(e->child.pid, NULL, 0);
    e->child.pid = 0;
}

json_t *e2e_admin(struct e2e *e, const char *target, int *status)
{
    AUTO_ANSWER struct http1_answer answer = {0};

    if (http1_get_unix(&answer, e->socket, target, 5000, &e->err) < 0)
        return NULL;
    if (status)
        *status = answer.status;
    return json_loadb((const char *)answer.body.data, answer.body.len, 0, NULL);
}

static json_t *guest_field(struct e2e *e, const char *id, const char *field)
{
    char target[600];
    json_t *doc, *value;

    snprintf(target, sizeof(target), "/v1/guests/%s", id);
    doc = e2e_admin(e, target, NULL);
    value = json_incref(json_object_get(doc, field));
    json_decref(doc);
    return value;
}

long long e2e_guest_number(struct e2e *e, const char *id, const char *field)
{
    json_t *value = guest_field(e, id, field);
    long long n = json_is_integer(value) ? json_integer_value(value) : -1;

    json_decref(value);
    return n;
}

void e2e_guest_text(struct e2e *e, const char *id, const char *field, char *out, size_t cap)
{
    json_t *value = guest_field(e, id, field);

    snprintf(out, cap, "%s", json_is_string(value) ? json_string_value(value) : "");
    json_decref(value);
}

static size_t read_all(int fd, char *out, size_t cap)
{
    size_t len = 0;
    ssize_t n;

    while (len + 1 < cap && (n = read(fd, out + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = 0;
    return len;
}

int e2e_run(struct e2e *e, char *out, size_t cap, ...)
{
    char *argv[32] = {e->roost};
    int pipes[2], status = -1;
    va_list ap;
    pid_t pid;

    va_start(ap, cap);
    for (size_t n = 1; n < 31 && (argv[n] = va_arg(ap, char *)); n++)
        ;
    va_end(ap);
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        dup2(pipes[1], 1);
        dup2(pipes[1], 2);
        execv(e->roost, argv);
        _exit(127);
    }
    close(pipes[1]);
    read_all(pipes[0], out, cap);
    close(pipes[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* --- begin and end --- */

static void remove_below(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char below[1024];

        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
        if (unlink(below) < 0 && (errno == EISDIR || errno == EPERM))
            remove_below(below);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

bool e2e_open(struct e2e *e, const char *kubeconfig, unsigned operators)
{
    const char *base = getenv("TMPDIR");

    memset(e, 0, sizeof(*e));
    e->kubeconfig = kubeconfig;
    e->name = "setup";
    snprintf(e->dir, sizeof(e->dir), "%s/roost-e2e-XXXXXX", base ? base : "/tmp");
    if (!kubeconfig || !mkdtemp(e->dir)) {
        fprintf(stderr, "e2e: no kubeconfig, or no folder\n");
        return false;
    }
    snprintf(e->guests, sizeof(e->guests), "%s/guests", e->dir);
    snprintf(e->state, sizeof(e->state), "%s/state", e->dir);
    snprintf(e->log, sizeof(e->log), "%s/roost.log", e->dir);
    snprintf(e->socket, sizeof(e->socket), "%s/admin.sock", e->state);
    build_path(e->roost, sizeof(e->roost), "roost");
    if (mkdir(e->guests, 0700) < 0 || ring_open(&e->ring, kubeconfig, operators, &e->err) < 0 ||
        ring_setup(&e->ring, &e->err) < 0) {
        fprintf(stderr, "e2e: %s\n", e->err.msg);
        e2e_close(e);
        return false;
    }
    return true;
}

/* The end of the daemon's log, where something was wrong. */
static void show_log(const struct e2e *e)
{
    char command[400];

    fprintf(stderr, "--- the end of the daemon's log:\n");
    snprintf(command, sizeof(command), "tail -n 40 '%s' >&2", e->log);
    if (system(command) != 0)
        fprintf(stderr, "(none)\n");
}

int e2e_close(struct e2e *e)
{
    bool failed = e->failed || e->cases == 0 || e->ring.interrupted;

    e2e_stop(e);
    ring_close(&e->ring);
    if (failed && !e->ring.interrupted)
        show_log(e);
    remove_below(e->dir);
    return failed ? 1 : 0;
}
