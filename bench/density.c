/* The benchmark `density`: what a sleeping guest costs, and whether that holds with many of them.
 *
 *   bench_density --dir DIR [--quick | --full] [--guests N] [--json FILE]
 *
 * N guests of one image, each with two changed pages and one TestResource in a namespace of its
 * own, from one file of N documents; an API server of the benchmark's own (listserver.h) has the
 * objects. The daemon is the real one, a child process.
 *
 *   density.N.bytes_per_asleep_guest         PSS beyond that of a daemon without guests
 *   density.N.cgroup_bytes_per_asleep_guest  the cgroup's working set beyond the same: what is
 *                                            charged, without page cache that nobody used twice
 *   density.N.cgroup_cache_bytes_per_guest   that page cache: the kernel takes it back at need
 *   density.N.disk_bytes_per_guest           blocks of arena and database, beyond the same
 *   density.N.wake_p50_us                    put into the mailbox until the handler has returned
 *   density.N.start_s                        the first start: until all have run once and sleep
 *   density.N.restart_s                      from exec until /readyz answers 200, all asleep
 *   density.awake_max                        the most guests that were awake at once, of
 * AWAKE_TRIED that would all like to stay so: as many as the kernel's mappings allow. Each handles
 * its event, none fails
 */
#include "base/clock.h"
#include "listserver.h"
#include "result.h"
#include "ringkit.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAKES        1000u
#define AWAKE_TRIED  20000u
#define WAKE_GAP_MS  2u
#define SETTLE_MS    5000u /* until nothing is kept for the next event */
#define START_S_MAX  3600u
#define WAKING_S_MAX 120u

struct usage {
    double pss, working_set, cache, disk; /* bytes */
};

struct bench {
    struct result *result;
    struct ring turn; /* for its loop only */
    struct listserver *server;
    const char *dir;
    char roost[1024], module[1024], guests[600], state[600], kubeconfig[600], log[600];
    uint32_t n;
    unsigned states;
    bool stay_awake;
    struct usage base;
};

static double seconds_since(uint64_t began)
{
    return (double)(clock_now_ns() - began) / 1e9;
}

/* --- the manifests --- */

static int write_manifests(const struct bench *b, struct err *err)
{
    char path[700];
    FILE *f;

    snprintf(path, sizeof(path), "%s/all.yaml", b->guests);
    f = fopen(path, "we");
    if (!f)
        return err_set(err, ERR_IO, errno, "%s", path);
    for (uint32_t i = 0; i < b->n; i++)
        fprintf(f,
                "---\napiVersion: roost.dev/v1alpha1\nkind: Guest\nmetadata: {name: g-%07u, "
                "namespace: d-%07u}\nspec:\n  module: file:%s\n  triggers:\n  - watch:\n      "
                "apiVersion: amurant.io/v1\n      kind: TestResource\n      namespaces: "
                "[d-%07u]\n  capabilities:\n    kube: {serviceAccount: density}\n",
                i, i, b->module, i);
    if (ferror(f) | fclose(f))
        return err_set(err, ERR_IO, errno, "%s", path);
    return 0;
}

/* --- the daemon --- */

static int start(struct bench *b, struct child *c, struct err *err)
{
    const char *argv[] = {b->roost,      "serve",  "--guests",      b->guests,
                          "--state",     b->state, "--kubeconfig",  b->kubeconfig,
                          "--log-level", "warn",   "--sleep-after", b->stay_awake ? "1h" : "0",
                          NULL};

    snprintf(c->socket, sizeof(c->socket), "%s/admin.sock", b->state);
    return child_start(c, (char *const *)(uintptr_t)argv, b->log, true, err);
}

static int stop(struct child *c, int rc, struct err *err)
{
    int status = child_stop(c);

    if (rc == 0 && status != 0)
        return err_set(err, ERR_IO, 0, "roost serve ended with status %d; see its log", status);
    return rc;
}

static double number(json_t *stats, const char *key)
{
    return (double)json_number_value(json_object_get(stats, key));
}

static double disk_bytes(const struct bench *b)
{
    static const char *const files[] = {"arena", "db"};
    double sum = 0;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[700];
        struct stat st;

        snprintf(path, sizeof(path), "%s/%s", b->state, files[i]);
        if (stat(path, &st) == 0)
            sum += (double)st.st_blocks * 512;
    }
    return sum;
}

static struct usage usage_of(const struct bench *b, const struct child *c)
{
    const double mib = 1 << 20;
    double all = child_cgroup_mib(c, false);
    double unused = child_cgroup_stat_mib(c, "inactive_file");

    return (struct usage){.pss = child_pss_mib(c) * mib,
                          .working_set = (all - unused) * mib,
                          .cache = unused * mib,
                          .disk = disk_bytes(b)};
}

/* Until `key` of the stats has come to n, and nobody is awake. */
static int wait_for(struct bench *b, const struct child *c, const char *key, double n,
                    unsigned timeout_s, struct err *err)
{
    uint64_t began = clock_now_ns();
    double seen = 0, asleep = 0;

    while (seconds_since(began) < timeout_s && !b->turn.interrupted) {
        json_t *stats = child_stats(c, false);

        seen = number(stats, key);
        asleep = number(json_object_get(stats, "states"), "Asleep");
        json_decref(stats);
        if (seen >= n && asleep == b->n)
            return 0;
        ring_rest(&b->turn, 100);
    }
    return err_set(err, ERR_TIMEOUT, 0, "after %u s %s is %.0f of %.0f, and %.0f guests sleep",
                   timeout_s, key, seen, n, asleep);
}

/* --- what is measured --- */

static void new_state(struct bench *b)
{
    snprintf(b->state, sizeof(b->state), "%s/state-%u", b->dir, b->states++);
}

static int measure_base(struct bench *b, struct err *err)
{
    struct child c = {0};
    int rc;

    new_state(b);
    snprintf(b->guests, sizeof(b->guests), "%s/none", b->dir);
    mkdir(b->guests, 0700);
    if (start(b, &c, err) < 0)
        return -1;
    rc = child_ready(&b->turn, &c, START_S_MAX, err);
    if (rc == 0) {
        ring_rest(&b->turn, SETTLE_MS);
        b->base = usage_of(b, &c);
    }
    return stop(&c, rc, err);
}

static void put_usage(struct bench *b, const struct child *c)
{
    struct usage u = usage_of(b, c);
    double n = b->n;

    result_put(b->result, (u.pss - b->base.pss) / n, "density.%u.bytes_per_asleep_guest", b->n);
    if (c->cgroup[0]) {
        result_put(b->result, (u.working_set - b->base.working_set) / n,
                   "density.%u.cgroup_bytes_per_asleep_guest", b->n);
        result_put(b->result, (u.cache - b->base.cache) / n,
                   "density.%u.cgroup_cache_bytes_per_guest", b->n);
    }
    result_put(b->result, (u.disk - b->base.disk) / n, "density.%u.disk_bytes_per_guest", b->n);
}

static int measure_wakes(struct bench *b, const struct child *c, struct err *err)
{
    uint32_t n = b->n < WAKES ? b->n : WAKES;
    uint64_t random = 1;
    json_t *stats = child_stats(c, true);

    json_decref(stats);
    for (uint32_t i = 0; i < n; i++) { /* one of each n-th part: nobody twice */
        random = random * 6364136223846793005u + 1442695040888963407u;
        listserver_touch(b->server,
                         (uint32_t)((uint64_t)b->n * i / n + (random >> 33) % (b->n / n)));
        ring_rest(&b->turn, WAKE_GAP_MS);
    }
    if (wait_for(b, c, "wakes", n, WAKING_S_MAX, err) < 0)
        return err_wrap(err, "waking %u of %u", n, b->n);
    stats = child_stats(c, false);
    result_put(b->result, number(json_object_get(stats, "wake"), "p50_us"),
               "density.%u.wake_p50_us", b->n);
    result_put(b->result, number(json_object_get(stats, "wake"), "p99_us"),
               "density.%u.wake_p99_us", b->n);
    json_decref(stats);
    return 0;
}

static int first_life(struct bench *b, struct err *err)
{
    uint64_t began = clock_now_ns();
    struct child c = {0};
    int rc;

    if (start(b, &c, err) < 0)
        return -1;
    rc = child_ready(&b->turn, &c, START_S_MAX, err);
    fprintf(stderr, "density: %u guests: ready after %.1f s\n", b->n, seconds_since(began));
    if (rc == 0)
        rc = wait_for(b, &c, "events", b->n, START_S_MAX, err);
    if (rc == 0) {
        result_put(b->result, seconds_since(began), "density.%u.start_s", b->n);
        ring_rest(&b->turn, SETTLE_MS);
        put_usage(b, &c);
        rc = measure_wakes(b, &c, err);
    }
    return stop(&c, rc, err);
}

/* All are asleep, nothing has changed: nobody wakes. */
static int second_life(struct bench *b, struct err *err)
{
    uint64_t began = clock_now_ns();
    struct child c = {0};
    json_t *stats;
    int rc;

    if (start(b, &c, err) < 0)
        return -1;
    rc = child_ready(&b->turn, &c, START_S_MAX, err);
    if (rc == 0) {
        result_put(b->result, seconds_since(began), "density.%u.restart_s", b->n);
        ring_rest(&b->turn, SETTLE_MS);
        stats = child_stats(&c, false);
        if (number(stats, "events") > 0 ||
            number(json_object_get(stats, "states"), "Asleep") != b->n)
            rc = err_set(err, ERR_CORRUPT, 0, "after the restart %.0f guests sleep, %.0f events",
                         number(json_object_get(stats, "states"), "Asleep"),
                         number(stats, "events"));
        json_decref(stats);
        result_put(b->result, (usage_of(b, &c).pss - b->base.pss) / b->n,
                   "density.%u.restarted_bytes_per_guest", b->n);
    }
    return stop(&c, rc, err);
}

/* The server, and what the daemon will find. */
static int open_sizes(struct bench *b, struct err *err)
{
    if (listserver_start(&b->server, b->n, err) < 0 ||
        listserver_kubeconfig(b->server, b->kubeconfig, err) < 0)
        return -1;
    new_state(b);
    snprintf(b->guests, sizeof(b->guests), "%s/guests-%u", b->dir, b->n);
    mkdir(b->guests, 0700);
    return write_manifests(b, err);
}

static int measure(struct bench *b, uint32_t n, struct err *err)
{
    int rc = -1;

    b->n = n;
    fprintf(stderr, "density: %u guests\n", n);
    if (open_sizes(b, err) == 0 && measure_base(b, err) == 0) {
        snprintf(b->guests, sizeof(b->guests), "%s/guests-%u", b->dir, n);
        new_state(b);
        if (first_life(b, err) == 0)
            rc = second_life(b, err);
    }
    listserver_stop(b->server);
    b->server = NULL;
    return rc;
}

static int awake_life(struct bench *b, const struct child *c, struct err *err)
{
    uint64_t began = clock_now_ns();
    double events = 0, bad = 0, most = 0;

    while (events < b->n && seconds_since(began) < WAKING_S_MAX && !b->turn.interrupted) {
        json_t *stats = child_stats(c, false);

        events = number(stats, "events");
        bad = number(stats, "failures") + number(stats, "traps");
        most = number(json_object_get(stats, "room"), "awakeMax");
        json_decref(stats);
        ring_rest(&b->turn, 200);
    }
    if (events != b->n || bad > 0)
        return err_set(err, ERR_LIMIT, 0, "all awake: %.0f events of %u, %.0f failed", events, b->n,
                       bad);
    result_put(b->result, most, "density.awake_max");
    return 0;
}

static int measure_awake(struct bench *b, struct err *err)
{
    struct child c = {0};
    int rc;

    b->n = AWAKE_TRIED;
    fprintf(stderr, "density: %u guests that stay awake\n", b->n);
    if (open_sizes(b, err) < 0)
        return -1;
    b->stay_awake = true;
    rc = start(b, &c, err);
    if (rc == 0)
        rc = child_ready(&b->turn, &c, START_S_MAX, err);
    if (rc == 0)
        rc = awake_life(b, &c, err);
    b->stay_awake = false;
    if (c.pid)
        rc = stop(&c, rc, err);
    listserver_stop(b->server);
    b->server = NULL;
    return rc;
}

/* --- the program --- */

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
    if (loop_new(&b->turn.loop, err) < 0 ||
        loop_on_signal(b->turn.loop, SIGINT, interrupted, b, err) < 0)
        return -1;
    return loop_on_signal(b->turn.loop, SIGTERM, interrupted, b, err);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"quick", no_argument, NULL, 'q'},        {"full", no_argument, NULL, 'f'},
        {"json", required_argument, NULL, 'j'},   {"dir", required_argument, NULL, 'd'},
        {"guests", required_argument, NULL, 'n'}, {0}};
    static const uint32_t sizes[] = {1000, 10000, 100000, 1000000};
    static struct bench b;
    const char *json = NULL;
    struct err err = {0};
    size_t nsizes = 3;
    uint32_t only = 0;
    int opt, rc = 0;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'f')
            nsizes = 4;
        else if (opt == 'j')
            json = optarg;
        else if (opt == 'd')
            b.dir = optarg;
        else if (opt == 'n')
            only = (uint32_t)strtoul(optarg, NULL, 10);
        else if (opt != 'q')
            return 2;
    }
    if (!b.dir || optind != argc) {
        fprintf(stderr, "usage: bench_density --dir DIR [--quick | --full] [--guests N] "
                        "[--json FILE]\n");
        return 2;
    }
    b.result = result_new("density");
    if (open_all(&b, &err) < 0)
        rc = -1;
    else if (only)
        rc = measure(&b, only, &err);
    for (size_t i = 0; i < nsizes && rc == 0 && !only; i++)
        rc = measure(&b, sizes[i], &err);
    if (rc == 0 && (!only || only == AWAKE_TRIED))
        rc = measure_awake(&b, &err);
    if (rc < 0)
        fprintf(stderr, "density: %s\n", err.msg);
    if (b.turn.loop)
        loop_free(b.turn.loop);
    return result_finish(b.result, rc < 0 ? NULL : json) < 0 || rc < 0;
}
