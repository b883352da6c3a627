/* The benchmark `admin`: the admin API with ten thousand guests, and what it costs them.
 *
 *   bench_admin --dir DIR [--quick] [--json FILE]
 *
 * The guests are from a folder and asleep, with objects of an API server of the benchmark's own
 * (listserver.h), as in `density`. The daemon is the real one, a child process.
 *
 *   admin.get_10000_ms     GET /v1/guests, all of them as JSON: the median
 *   admin.apply_1000_s     POST /v1/apply of 1,000 new guests, until the answer: they are on disk
 *                          and there
 *   metrics.scrape_ms      GET /metrics: the median
 *   admin.wake_p99_us      waking 1,000 of them, one every 2 ms, with nothing else going on, and
 *   admin.busy_wake_p99_us while another thread lists all guests and scrapes four times a second
 *                          and applies 1,000 changed manifests every two seconds
 *   admin.wake_p99_ratio   the second through the first
 */
#include "base/clock.h"
#include "base/http1.h"
#include "engine/imagecache.h"
#include "listserver.h"
#include "result.h"
#include "ringkit.h"
#include "serve/modules.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GUESTS      10000u
#define APPLIED     1000u
#define WAKES       1000u
#define WAKE_GAP_MS 2u
#define START_S_MAX 600u

struct bench {
    struct result *result;
    struct ring turn;
    struct listserver *server;
    const char *dir;
    char roost[1024], module[1024], guests[600], state[600], kubeconfig[600], log[600];
    char digest[MODULE_NAME_BYTES];
    struct child child;
    unsigned rounds; /* of each question */
    uint32_t n;      /* that should be asleep */
    atomic_bool busy_ends, busy_failed;
};

static double since_ms(uint64_t began)
{
    return (double)(clock_now_ns() - began) / 1e6;
}

/* end: a line's, as a file has it or as JSON escapes it. */
static void put_manifest(FILE *f, const char *end, const char *module, uint32_t i, unsigned calls)
{
    fprintf(f,
            "---%s{apiVersion: roost.dev/v1alpha1, kind: Guest, metadata: {name: g-%07u, "
            "namespace: d-%07u}, spec: {module: 'file:%s', limits: {calls: %u}, triggers: [{watch: "
            "{apiVersion: amurant.io/v1, kind: TestResource, namespaces: [d-%07u]}}], "
            "capabilities: {kube: {serviceAccount: density}}}}%s",
            end, i, i, module, calls, i, end);
}

static int write_manifests(const struct bench *b, struct err *err)
{
    char path[700];
    FILE *f;

    snprintf(path, sizeof(path), "%s/all.yaml", b->guests);
    f = fopen(path, "we");
    if (!f)
        return err_set(err, ERR_IO, errno, "%s", path);
    for (uint32_t i = 0; i < GUESTS; i++)
        put_manifest(f, "\n", b->module, i, 16);
    if (ferror(f) | fclose(f))
        return err_set(err, ERR_IO, errno, "%s", path);
    return 0;
}

/* The body of an apply of all that come beyond the folder's. */
static char *apply_body(const struct bench *b, unsigned calls, size_t *len)
{
    char *body = NULL;
    FILE *f = open_memstream(&body, len);

    if (!f)
        return NULL;
    fprintf(f, "{\"files\":[{\"name\":\"many.yaml\",\"modules\":{\"m.wasm\":\"%s\"},\"text\":\"",
            b->digest);
    for (uint32_t i = GUESTS; i < GUESTS + APPLIED; i++)
        put_manifest(f, "\\n", "m.wasm", i, calls);
    fputs("\"}]}", f);
    fclose(f);
    return body;
}

/* One question; ms, or -1. */
static double ask(const struct bench *b, enum http1_method method, const char *target,
                  const void *body, size_t len, struct err *err)
{
    struct http1_question q = {.method = method, .target = target, .body = body, .body_len = len};
    struct http1_answer a = {0};
    uint64_t began = clock_now_ns();
    double ms;

    if (http1_ask_unix(&a, b->child.socket, &q, 60000, err) < 0)
        return err_wrap(err, "%s", target);
    ms = since_ms(began);
    if (a.status != 200) {
        err_set(err, ERR_IO, 0, "%s: status %d: %.200s", target, a.status, buf_cstr(&a.body));
        ms = -1;
    }
    http1_answer_free(&a);
    return ms;
}

static int median(const struct bench *b, const char *target, const char *key, struct err *err)
{
    struct samples s = {0};

    for (unsigned i = 0; i < b->rounds; i++) {
        double ms = ask(b, HTTP1_GET, target, NULL, 0, err);

        if (ms < 0)
            return -1;
        samples_add(&s, ms);
    }
    result_put(b->result, samples_quantile(&s, .5), "%s", key);
    samples_free(&s);
    return 0;
}

static double apply(const struct bench *b, unsigned calls, struct err *err)
{
    size_t len;
    char *body = apply_body(b, calls, &len);
    double ms = body ? ask(b, HTTP1_POST, "/v1/apply", body, len, err)
                     : err_set(err, ERR_NOMEM, 0, "no memory");

    free(body);
    return ms;
}

/* Sends the module, and remembers its name. */
static int send_module(struct bench *b, struct err *err)
{
    struct buf bytes = {0};
    char target[128], block[4096];
    uint8_t digest[IMAGE_DIGEST_BYTES];
    FILE *f = fopen(b->module, "re");
    int rc = f ? 0 : err_set(err, ERR_IO, errno, "%s", b->module);
    size_t n;

    while (rc == 0 && (n = fread(block, 1, sizeof(block), f)) > 0)
        rc = buf_append(&bytes, block, n, err);
    if (rc == 0)
        rc = image_digest_bytes(bytes.data, bytes.len, digest, err);
    if (rc == 0) {
        module_name(b->digest, digest);
        snprintf(target, sizeof(target), "/v1/modules/%s", b->digest);
        rc = ask(b, HTTP1_PUT, target, bytes.data, bytes.len, err) < 0 ? -1 : 0;
    }
    if (f)
        fclose(f);
    buf_free(&bytes);
    return rc;
}

/* --- waiting and waking --- */

static double number(json_t *stats, const char *key)
{
    return (double)json_number_value(json_object_get(stats, key));
}

static int wait_for(struct bench *b, const char *key, double n, struct err *err)
{
    uint64_t began = clock_now_ns();

    while (since_ms(began) < START_S_MAX * 1e3 && !b->turn.interrupted) {
        json_t *stats = child_stats(&b->child, false);
        double seen = number(stats, key);
        double asleep = number(json_object_get(stats, "states"), "Asleep");

        json_decref(stats);
        if (seen >= n && asleep >= b->n)
            return 0;
        ring_rest(&b->turn, 50);
    }
    return err_set(err, ERR_TIMEOUT, 0, "%s did not come to %.0f with all asleep", key, n);
}

static double wake_p99_us(struct bench *b, struct err *err)
{
    json_t *stats = child_stats(&b->child, true);
    double p99;

    json_decref(stats);
    for (uint32_t i = 0; i < WAKES; i++) {
        listserver_touch(b->server, i * (GUESTS / WAKES));
        ring_rest(&b->turn, WAKE_GAP_MS);
    }
    if (wait_for(b, "wakes", WAKES, err) < 0)
        return -1;
    stats = child_stats(&b->child, false);
    p99 = number(json_object_get(stats, "wake"), "p99_us");
    json_decref(stats);
    return p99;
}

/* What people and machines ask meanwhile. */
static void *busy_main(void *arg)
{
    struct bench *b = arg;
    struct err err = {0};
    bool failed = false;

    for (unsigned i = 0; !b->busy_ends && !failed; i++) {
        failed = ask(b, HTTP1_GET, "/v1/guests", NULL, 0, &err) < 0 ||
                 ask(b, HTTP1_GET, "/metrics", NULL, 0, &err) < 0 ||
                 (i % 8 == 0 && apply(b, 17 + i % 100, &err) < 0);
        usleep(250000);
    }
    if (failed)
        fprintf(stderr, "admin: meanwhile: %s\n", err.msg);
    b->busy_failed = failed;
    return NULL;
}

static int measure_wakes(struct bench *b, struct err *err)
{
    pthread_t thread;
    double quiet = wake_p99_us(b, err), busy;

    if (quiet < 0 || pthread_create(&thread, NULL, busy_main, b))
        return -1;
    busy = wake_p99_us(b, err);
    b->busy_ends = true;
    pthread_join(thread, NULL);
    if (busy < 0 || b->busy_failed)
        return busy < 0 ? -1 : err_set(err, ERR_IO, 0, "what was asked meanwhile failed");
    result_put(b->result, quiet, "admin.wake_p99_us");
    result_put(b->result, busy, "admin.busy_wake_p99_us");
    result_put(b->result, busy / quiet, "admin.wake_p99_ratio");
    return 0;
}

static int measure(struct bench *b, struct err *err)
{
    double ms;

    if (child_ready(&b->turn, &b->child, START_S_MAX, err) < 0 ||
        wait_for(b, "events", b->n, err) < 0 || send_module(b, err) < 0 ||
        median(b, "/v1/guests", "admin.get_10000_ms", err) < 0 ||
        median(b, "/metrics", "metrics.scrape_ms", err) < 0)
        return -1;
    ms = apply(b, 16, err);
    if (ms < 0)
        return -1;
    result_put(b->result, ms / 1e3, "admin.apply_1000_s");
    b->n = GUESTS + APPLIED;
    return wait_for(b, "events", b->n, err) < 0 ? -1 : measure_wakes(b, err);
}

static int run(struct bench *b, struct err *err)
{
    const char *argv[] = {b->roost, "serve",        "--guests",    b->guests,     "--state",
                          b->state, "--kubeconfig", b->kubeconfig, "--log-level", "warn",
                          NULL};
    int rc;

    b->n = GUESTS;
    mkdir(b->guests, 0700);
    if (listserver_start(&b->server, GUESTS + APPLIED, err) < 0 ||
        listserver_kubeconfig(b->server, b->kubeconfig, err) < 0 || write_manifests(b, err) < 0)
        return -1;
    snprintf(b->child.socket, sizeof(b->child.socket), "%s/admin.sock", b->state);
    if (child_start(&b->child, (char *const *)(uintptr_t)argv, b->log, true, err) < 0)
        return -1;
    rc = measure(b, err);
    if (child_stop(&b->child) != 0 && rc == 0)
        rc = err_set(err, ERR_IO, 0, "roost serve ended badly; see its log");
    return rc;
}

static void interrupted(void *ctx, int signum)
{
    struct bench *b = ctx;

    (void)signum;
    b->turn.interrupted = true;
    loop_stop(b->turn.loop);
}

static int open_all(struct bench *b, struct err *err)
{
    signal(SIGPIPE, SIG_IGN);
    build_path(b->roost, sizeof(b->roost), "roost");
    build_path(b->module, sizeof(b->module), "guests/density.wasm");
    snprintf(b->kubeconfig, sizeof(b->kubeconfig), "%s/kubeconfig", b->dir);
    snprintf(b->log, sizeof(b->log), "%s/roost.log", b->dir);
    snprintf(b->guests, sizeof(b->guests), "%s/guests", b->dir);
    snprintf(b->state, sizeof(b->state), "%s/state", b->dir);
    if (loop_new(&b->turn.loop, err) < 0 ||
        loop_on_signal(b->turn.loop, SIGINT, interrupted, b, err) < 0)
        return -1;
    return loop_on_signal(b->turn.loop, SIGTERM, interrupted, b, err);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {0}};
    static struct bench b = {.rounds = 20};
    const char *json = NULL;
    struct err err = {0};
    int opt, rc = -1;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'j')
            json = optarg;
        else if (opt == 'd')
            b.dir = optarg;
        else if (opt == 'q')
            b.rounds = 5;
        else
            return 2;
    }
    if (!b.dir || optind != argc) {
        fprintf(stderr, "usage: bench_admin --dir DIR [--quick] [--json FILE]\n");
        return 2;
    }
    b.result = result_new("admin");
    if (open_all(&b, &err) == 0)
        rc = run(&b, &err);
    listserver_stop(b.server);
    if (rc < 0)
        fprintf(stderr, "admin: %s\n", err.msg);
    if (b.turn.loop)
        loop_free(b.turn.loop);
    return result_finish(b.result, rc < 0 ? NULL : json) < 0 || rc < 0;
}
