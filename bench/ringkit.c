#include "ringkit.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/http1.h"
#include "kube/call.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- turning the loop --- */

struct pause {
    struct timer timer;
    struct ring *ring;
};

static void pause_over(struct timer *t)
{
    struct pause *p = container_of(t, struct pause, timer);

    loop_stop(p->ring->loop);
}

/* Turns the loop until it is stopped from within, at most ms. */
static void turn(struct ring *r, unsigned ms)
{
    struct pause p = {.timer = {.fire = pause_over}, .ring = r};
    struct err err;

    if (loop_timer_set(r->loop, &p.timer, clock_now_ns() + ms * NS_PER_MS, &err) < 0)
        return;
    loop_run(r->loop);
    loop_timer_clear(r->loop, &p.timer);
}

void ring_rest(struct ring *r, unsigned ms)
{
    uint64_t until = clock_now_ns() + ms * NS_PER_MS, now;

    while (!r->interrupted && (now = clock_now_ns()) < until) {
        uint64_t left = (until - now) / NS_PER_MS + 1;

        turn(r, left < 100 ? (unsigned)left : 100);
        if (r->idle)
            r->idle(r->ctx);
    }
}

static void interrupted(void *ctx, int signum)
{
    struct ring *r = ctx;

    (void)signum;
    r->interrupted = true;
    loop_stop(r->loop);
}

/* --- one request --- */

struct request {
    struct ring *ring;
    struct buf *answer;
    struct err *err;
    bool done;
    int rc;
};

static void request_done(void *ctx, const uint8_t *body, size_t len, const struct err *err)
{
    struct request *q = ctx;

    q->done = true;
    q->rc = err ? -1 : 0;
    if (err)
        *q->err = *err;
    else if (q->answer)
        q->rc = buf_append(q->answer, body, len, q->err);
    loop_stop(q->ring->loop);
}

int ring_request(struct ring *r, const char *method, const char *path, const char *headers,
                 const char *body, struct buf *answer, struct err *err)
{
    struct kube_http http = kube_http_of(r->client);
    struct kube_request req = {.method = method,
                               .path = path,
                               .headers = headers,
                               .body = body,
                               .body_len = body ? strlen(body) : 0,
                               .lane = KUBE_CALL};
    struct request q = {.ring = r, .answer = answer, .err = err};
    struct kube_call *call;

    if (kube_call_start(&call, &http, &req, request_done, &q, err) < 0)
        return -1;
    while (!q.done && !r->interrupted)
        turn(r, 1000);
    if (!q.done) {
        kube_call_cancel(call);
        return err_set(err, ERR_AGAIN, 0, "interrupted");
    }
    return q.rc;
}

static int create(struct ring *r, const char *path, const char *body, struct err *err)
{
    if (ring_request(r, "POST", path, "Content-Type: application/json\n", body, NULL, err) == 0 ||
        err->code == ERR_EXISTS)
        return 0;
    return err_wrap(err, "create in %s", path);
}

/* --- what the ring needs --- */

static const char crd[] =
    "{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"CustomResourceDefinition\","
    "\"metadata\":{\"name\":\"testresources.amurant.io\"},\"spec\":{\"group\":\"amurant.io\","
    "\"scope\":\"Namespaced\",\"names\":{\"kind\":\"TestResource\",\"plural\":\"testresources\","
    "\"singular\":\"testresource\"},\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":"
    "true,"
    "\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":"
    "\"object\",\"properties\":{\"nonce\":{\"type\":\"integer\"},\"updated_at\":{\"type\":"
    "\"string\"}}}}}}}]}}";

static const char role[] =
    "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"ClusterRole\",\"metadata\":{"
    "\"name\":\"ring-operator\"},\"rules\":[{\"apiGroups\":[\"amurant.io\"],\"resources\":["
    "\"testresources\"],\"verbs\":[\"get\",\"list\",\"watch\",\"create\",\"update\"]}]}";

static int setup_namespace(struct ring *r, unsigned i, struct err *err)
{
    char path[256], body[1024];
    unsigned before = (i + r->n - 1) % r->n;

    snprintf(body, sizeof(body),
             "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"ring-%u\"}}",
             i);
    if (create(r, "/api/v1/namespaces", body, err) < 0)
        return -1;
    snprintf(path, sizeof(path), "/api/v1/namespaces/ring-%u/serviceaccounts", i);
    if (create(
            r, path,
            "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"ring\"}}",
            err) < 0)
        return -1;
    /* Its own operator watches here, the one before writes here. */
    snprintf(path, sizeof(path),
             "/apis/rbac.authorization.k8s.io/v1/namespaces/ring-%u/rolebindings", i);
    snprintf(body, sizeof(body),
             "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"RoleBinding\","
             "\"metadata\":{\"name\":\"ring-of-%u\"},\"roleRef\":{\"apiGroup\":"
             "\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"ring-operator\"},"
             "\"subjects\":[{\"kind\":\"ServiceAccount\",\"name\":\"ring\",\"namespace\":"
             "\"ring-%u\"},{\"kind\":\"ServiceAccount\",\"name\":\"ring\",\"namespace\":"
             "\"ring-%u\"}]}",
             r->n, i, before);
    return create(r, path, body, err);
}

/* A kind can be used only some moments after its definition was made. */
static int wait_for_kind(struct ring *r, struct err *err)
{
    for (int i = 0; i < 100 && !r->interrupted; i++) {
        if (ring_request(r, "GET", "/apis/amurant.io/v1/testresources?limit=1", NULL, NULL, NULL,
                         err) == 0)
            return 0;
        turn(r, 100);
    }
    return err_wrap(err, "TestResource does not become usable");
}

int ring_setup(struct ring *r, struct err *err)
{
    if (create(r, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd, err) < 0 ||
        create(r, "/apis/rbac.authorization.k8s.io/v1/clusterroles", role, err) < 0)
        return -1;
    for (unsigned i = 0; i < r->n; i++) {
        if (setup_namespace(r, i, err) < 0)
            return -1;
        r->set_up = i + 1;
        if (r->idle)
            r->idle(r->ctx);
    }
    return wait_for_kind(r, err);
}

int ring_manifests(const struct ring *r, const char *dir, const char *module, struct err *err)
{
    for (unsigned i = 0; i < r->n; i++) {
        char path[1024];
        FILE *f;

        snprintf(path, sizeof(path), "%s/ring-%u.yaml", dir, i);
        f = fopen(path, "we");
        if (!f)
            return err_set(err, ERR_IO, errno, "%s", path);
        fprintf(
            f,
            "apiVersion: roost.dev/v1alpha1\n"
            "kind: Guest\n"
            "metadata: {name: ring, namespace: ring-%u}\n"
            "spec:\n"
            "  module: file:%s\n"
            "  env:\n"
            "  - {name: IN_NAMESPACE, value: ring-%u}\n"
            "  - {name: OUT_NAMESPACE, value: ring-%u}\n"
            "  triggers:\n"
            "  - watch: {apiVersion: amurant.io/v1, kind: TestResource, namespaces: [ring-%u]}\n"
            "  capabilities: {kube: {serviceAccount: ring}}\n",
            i, module, i, (i + 1) % r->n, i);
        if (fclose(f) != 0)
            return err_set(err, ERR_IO, errno, "%s", path);
    }
    return 0;
}

/* --- seeing it go round --- */

static void seen(struct ring *r, const struct kube_object *obj, bool gone)
{
    unsigned i = ring_place(obj->namespace_);
    json_t *doc;

    if (i >= r->n || strcmp(obj->name, "ball") != 0)
        return;
    doc = json_loadb(obj->json, obj->json_len, 0, NULL);
    r->nonce[i] =
        gone ? -1 : json_integer_value(json_object_get(json_object_get(doc, "spec"), "nonce"));
    r->arrived_ns[i] = clock_now_ns();
    json_decref(doc);
    if (i == r->n - 1)
        loop_stop(r->loop);
}

static void upsert(void *ctx, struct kube_object *obj)
{
    seen(ctx, obj, false);
}

static void deleted(void *ctx, struct kube_object *obj)
{
    seen(ctx, obj, true);
}

static void relist_end(void *ctx)
{
    struct ring *r = ctx;

    r->synced = true;
    loop_stop(r->loop);
}

int ring_watch(struct ring *r, struct err *err)
{
    struct reflector_opts opts = {
        .path = "/apis/amurant.io/v1/testresources",
        .seed = 1,
        .http = kube_http_of(r->client),
        .time = kube_time_of(r->loop),
        .sink = {.upsert = upsert, .deleted = deleted, .relist_end = relist_end, .ctx = r}};

    if (reflector_new(&r->reflector, &opts, err) < 0 || reflector_start(r->reflector, err) < 0)
        return -1;
    for (int i = 0; i < 300 && !r->synced && !r->interrupted; i++)
        turn(r, 100);
    for (unsigned i = 0; i < r->n; i++)
        if (r->nonce[i] > r->round)
            r->round = r->nonce[i];
    return r->synced ? 0 : err_set(err, ERR_TIMEOUT, 0, "the driver's own watch does not sync");
}

static int kick(struct ring *r, struct err *err)
{
    char body[512];

    if (r->nonce[0] < 0) {
        snprintf(body, sizeof(body),
                 "{\"apiVersion\":\"amurant.io/v1\",\"kind\":\"TestResource\",\"metadata\":{"
                 "\"name\":\"ball\"},\"spec\":{\"nonce\":%lld,\"updated_at\":\"\"}}",
                 r->round);
        return create(r, "/apis/amurant.io/v1/namespaces/ring-0/testresources", body, err);
    }
    snprintf(body, sizeof(body), "{\"spec\":{\"nonce\":%lld}}", r->round);
    return ring_request(r, "PATCH", "/apis/amurant.io/v1/namespaces/ring-0/testresources/ball",
                        "Content-Type: application/merge-patch+json\n", body, NULL, err);
}

int ring_round(struct ring *r, unsigned timeout_s, uint64_t *took_ns, struct err *err)
{
    uint64_t began = clock_now_ns(), until = began + timeout_s * NS_PER_S, shown = began;

    r->round++;
    if (kick(r, err) < 0)
        return -1;
    while (r->nonce[r->n - 1] != r->round && !r->interrupted) {
        if (clock_now_ns() > until) {
            unsigned at = 0;

            while (at < r->n && r->nonce[at] == r->round)
                at++;
            return err_set(err, ERR_TIMEOUT, 0,
                           "value %lld did not go round in %u s: it reached %u of %u", r->round,
                           timeout_s, at, r->n);
        }
        turn(r, 100);
        if (r->idle && clock_now_ns() - shown > 100 * NS_PER_MS) {
            r->idle(r->ctx);
            shown = clock_now_ns();
        }
    }
    if (r->interrupted)
        return err_set(err, ERR_AGAIN, 0, "interrupted");
    *took_ns = r->arrived_ns[r->n - 1] - began;
    return 0;
}

int ring_open(struct ring *r, const char *kubeconfig, unsigned n, struct err *err)
{
    r->n = n;
    for (unsigned i = 0; i < RING_MAX; i++)
        r->nonce[i] = -1;
    signal(SIGPIPE, SIG_IGN);
    if (n < 2 || n > RING_MAX)
        return err_set(err, ERR_USAGE, 0, "%u operators: from 2 to %d", n, RING_MAX);
    if (kube_config_load(&r->config, kubeconfig, NULL, err) < 0 || loop_new(&r->loop, err) < 0 ||
        kube_client_new(&r->client, r->loop, r->config, err) < 0 ||
        loop_on_signal(r->loop, SIGINT, interrupted, r, err) < 0 ||
        loop_on_signal(r->loop, SIGTERM, interrupted, r, err) < 0)
        return -1;
    return 0;
}

void ring_close(struct ring *r)
{
    reflector_free(r->reflector);
    kube_client_free(r->client);
    if (r->loop)
        loop_free(r->loop);
    kube_config_free(r->config);
}

/* --- the child --- */

/* Groups of benchmarks that were killed. */
static void cgroup_sweep(const char *folder)
{
    char pattern[300];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "%s/roost-bench-*", folder);
    if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        pid_t owner = (pid_t)strtol(strrchr(found.gl_pathv[i], '-') + 1, NULL, 10);

        if (owner > 0 && kill(owner, 0) < 0 && errno == ESRCH)
            rmdir(found.gl_pathv[i]); /* only if it is empty */
    }
    globfree(&found);
}

/* A version 1 memory controller, or version 2 where this process may make a group below its own. */
static bool cgroup_make(struct child *c)
{
    static const char *const roots[] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"};

    for (size_t i = 0; i < 2; i++) {
        char control[300];

        cgroup_sweep(roots[i]);
        snprintf(c->cgroup, sizeof(c->cgroup), "%s/roost-bench-%d", roots[i], (int)getpid());
        if (mkdir(c->cgroup, 0755) < 0)
            continue;
        snprintf(control, sizeof(control), "%s/%s", c->cgroup,
                 i == 0 ? "memory.usage_in_bytes" : "memory.current");
        if (access(control, R_OK) == 0)
            return true;
        rmdir(c->cgroup);
    }
    c->cgroup[0] = 0;
    return false;
}

static void cgroup_enter(const struct child *c)
{
    char path[300];
    FILE *f;

    snprintf(path, sizeof(path), "%s/cgroup.procs", c->cgroup);
    f = fopen(path, "we");
    if (f) {
        fprintf(f, "%d\n", (int)getpid());
        fclose(f);
    }
}

void build_path(char *out, size_t cap, const char *name)
{
    char self[1024] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    for (int up = 0; up < 2 && n > 0; up++) { /* BUILD/bench/bench_NAME */
        while (n > 0 && self[n - 1] != '/')
            n--;
        n -= n > 0;
    }
    snprintf(out, cap, "%.*s/%s", (int)(n > 0 ? n : 0), self, name);
}

int child_start(struct child *c, char *const argv[], const char *logfile, bool cgroup,
                struct err *err)
{
    c->cgroup[0] = 0;
    if (cgroup)
        cgroup_make(c);
    c->pid = fork();
    if (c->pid < 0)
        return err_set(err, ERR_NOMEM, errno, "fork");
    if (c->pid == 0) {
        int fd = open(logfile, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        setpgid(0, 0); /* a Ctrl-C in the terminal is for us; we tell the child */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (c->cgroup[0])
            cgroup_enter(c);
        if (fd >= 0) {
            dup2(fd, 1);
            dup2(fd, 2);
        }
        execv(argv[0], argv);
        _exit(127);
    }
    return 0;
}

static bool child_alive(const struct child *c)
{
    return waitpid(c->pid, NULL, WNOHANG) == 0;
}

int child_ready(struct ring *r, struct child *c, unsigned timeout_s, struct err *err)
{
    uint64_t until = clock_now_ns() + timeout_s * NS_PER_S;
    struct http1_answer answer = {0};
    struct err why = {0};

    while (clock_now_ns() < until && !r->interrupted) {
        bool ready;

        if (!child_alive(c)) {
            c->pid = 0;
            return err_set(err, ERR_IO, 0, "it ended at once: see its log");
        }
        ready =
            http1_get_unix(&answer, c->socket, "/readyz", 1000, &why) == 0 && answer.status == 200;
        http1_answer_free(&answer);
        answer = (struct http1_answer){0};
        if (ready)
            return 0;
        turn(r, 20);
        if (r->idle)
            r->idle(r->ctx);
    }
    return err_set(err, ERR_TIMEOUT, 0, "not ready in %u s: %s", timeout_s, why.msg);
}

/* A process that has ended may be counted in it for another moment. */
static void cgroup_remove(struct child *c)
{
    for (int i = 0; i < 200 && c->cgroup[0]; i++) {
        if (rmdir(c->cgroup) == 0 || errno == ENOENT)
            c->cgroup[0] = 0;
        else
            usleep(10000);
    }
}

int child_stop(struct child *c)
{
    int status = 0;

    if (c->pid <= 0) {
        cgroup_remove(c);
        return 0;
    }
    kill(c->pid, SIGTERM);
    for (int i = 0; i < 2000; i++) {
        pid_t got = waitpid(c->pid, &status, WNOHANG);

        if (got == c->pid || (got < 0 && errno == ECHILD))
            break;
        if (i == 1999) {
            kill(c->pid, SIGKILL);
            waitpid(c->pid, &status, 0);
        }
        usleep(10000);
    }
    c->pid = 0;
    cgroup_remove(c);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

double child_pss_mib(const struct child *c)
{
    char path[64], line[256];
    long long kib = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)c->pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, "Pss:", 4) == 0) {
            kib = strtoll(line + 4, NULL, 10);
            break;
        }
    if (f)
        fclose(f);
    return (double)kib / 1024;
}

double child_cpu_s(const struct child *c)
{
    char path[64], text[1024];
    unsigned long long user = 0, system = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)c->pid);
    f = fopen(path, "re");
    if (f && fgets(text, sizeof(text), f)) {
        const char *p = strrchr(text, ')'); /* the name may hold anything */
        char *rest;

        for (int field = 3; p && field <= 14; field++) /* to before the 14th */
            p = strchr(p + 1, ' ');
        if (p) {
            user = strtoull(p, &rest, 10);
            system = strtoull(rest, NULL, 10);
        }
    }
    if (f)
        fclose(f);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double cgroup_value(const struct child *c, const char *file, const char *key)
{
    char path[320], line[256];
    double value = -1;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", c->cgroup, file);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        size_t n = key ? strlen(key) : 0;

        if (n && (strncmp(line, key, n) != 0 || line[n] != ' '))
            continue;
        value = strtod(line + n, NULL) / (1 << 20);
        break;
    }
    if (f)
        fclose(f);
    return value;
}

double child_cgroup_mib(const struct child *c, bool rss_only)
{
    double v;

    if (!c->cgroup[0])
        return -1;
    if (rss_only) {
        v = cgroup_value(c, "memory.stat", "rss");
        return v >= 0 ? v : cgroup_value(c, "memory.stat", "anon");
    }
    v = cgroup_value(c, "memory.usage_in_bytes", NULL);
    return v >= 0 ? v : cgroup_value(c, "memory.current", NULL);
}

double child_cgroup_stat_mib(const struct child *c, const char *key)
{
    return c->cgroup[0] ? cgroup_value(c, "memory.stat", key) : -1;
}

json_t *child_stats(const struct child *c, bool reset)
{
    struct http1_answer answer = {0};
    json_t *stats = NULL;

    if (http1_get_unix(&answer, c->socket, reset ? "/v1/stats?reset" : "/v1/stats", 5000, NULL) ==
        0)
        stats = json_loadb((const char *)answer.body.data, answer.body.len, 0, NULL);
    http1_answer_free(&answer);
    return stats;
}
