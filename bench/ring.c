/* The benchmark `ring`: 100 operators pass a value round, against a real API server.
 *
 *   roost   the daemon, every guest asleep between its events
 *   awake   the daemon with --never-sleep
 *   floor   the same requests (impersonation headers included) from a bare C client without guests:
 *           what the API server and the way to it cost
 *
 * The three take turns in one run, in blocks, since these machines are noisy and the API server
 * slows down with age. A round is timed from the change's request until the driver's own watch sees
 * it in the last namespace.
 */
#include "base/clock.h"
#include "result.h"
#include "ringkit.h"

#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCKS 4

enum mode { MODE_FLOOR, MODE_ROOST, MODE_AWAKE, MODES };

static const char *const mode_names[MODES] = {"ring.floor", "ring.roost", "ring.awake"};

struct bench {
    struct ring ring;
    struct result *result;
    struct samples rounds[MODES], share[MODES];
    double idle_pss[MODES], active_pss[MODES], idle_cgroup[MODES], idle_rss[MODES];
    double cpu_s[MODES];
    double wake_p50, wake_p99, sleep_p50, sleep_p99;
    unsigned warm, per_block;             /* rounds */
    const char *kubeconfig, *sleep_after; /* NULL: the default */
    char dir[256], roost[1024], floor[1024], module[1024];
};

static void die(const char *what, const struct err *err)
{
    fprintf(stderr, "ring: %s: %s\n", what, err->msg);
}

static int start(struct bench *b, struct child *c, enum mode mode, struct err *err)
{
    char guests[300], state[300], log[300], n[16];
    char *roost[] = {b->roost,
                     (char *)(uintptr_t) "serve",
                     (char *)(uintptr_t) "--guests",
                     guests,
                     (char *)(uintptr_t) "--state",
                     state,
                     (char *)(uintptr_t) "--kubeconfig",
                     (char *)(uintptr_t)b->kubeconfig,
                     (char *)(uintptr_t) "--never-sleep",
                     NULL,
                     NULL};
    char *floor[] = {b->floor, (char *)(uintptr_t)b->kubeconfig, n, NULL};

    snprintf(guests, sizeof(guests), "%s/guests", b->dir);
    snprintf(state, sizeof(state), "%s/state-%d", b->dir, (int)mode);
    snprintf(log, sizeof(log), "%s/%s.log", b->dir, mode_names[mode]);
    snprintf(n, sizeof(n), "%u", b->ring.n);
    if (mode != MODE_AWAKE)
        roost[8] = NULL;
    if (mode == MODE_ROOST && b->sleep_after) {
        roost[8] = (char *)(uintptr_t) "--sleep-after";
        roost[9] = (char *)(uintptr_t)b->sleep_after;
    }
    snprintf(c->socket, sizeof(c->socket), "%s/admin.sock", state);
    if (child_start(c, mode == MODE_FLOOR ? floor : roost, log, true, err) < 0)
        return -1;
    if (mode == MODE_FLOOR) {
        ring_rest(&b->ring, 500);
        return 0;
    }
    return child_ready(&b->ring, c, 60, err);
}

static double stat_of(const json_t *stats, const char *hist, const char *key)
{
    return json_number_value(json_object_get(json_object_get(stats, hist), key));
}

static void note_stats(struct bench *b, const struct child *c, enum mode mode)
{
    json_t *stats = child_stats(c, false);

    if (mode == MODE_ROOST) {
        samples_add(&b->share[mode], stat_of(stats, "hostShareAsleep", "p50_us"));
        b->wake_p50 = stat_of(stats, "wake", "p50_us");
        b->wake_p99 = stat_of(stats, "wake", "p99_us");
        b->sleep_p50 = stat_of(stats, "sleep", "p50_us");
        b->sleep_p99 = stat_of(stats, "sleep", "p99_us");
    } else {
        samples_add(&b->share[mode], stat_of(stats, "hostShareAwake", "p50_us"));
    }
    json_decref(stats);
}

static int rounds(struct bench *b, struct child *c, enum mode mode, struct err *err)
{
    uint64_t took;

    for (unsigned i = 0; i < b->warm; i++)
        if (ring_round(&b->ring, 60, &took, err) < 0)
            return -1;
    if (mode != MODE_FLOOR)
        json_decref(child_stats(c, true));
    b->cpu_s[mode] -= child_cpu_s(c);
    for (unsigned i = 0; i < b->per_block; i++) {
        if (ring_round(&b->ring, 60, &took, err) < 0)
            return -1;
        samples_add(&b->rounds[mode], (double)took / 1e9);
        if (i == b->per_block / 2) {
            double pss = child_pss_mib(c);

            if (pss > b->active_pss[mode])
                b->active_pss[mode] = pss;
        }
    }
    b->cpu_s[mode] += child_cpu_s(c);
    if (mode != MODE_FLOOR)
        note_stats(b, c, mode);
    return 0;
}

static int block(struct bench *b, enum mode mode, bool last, struct err *err)
{
    struct child c = {0};
    int rc = start(b, &c, mode, err);

    if (rc == 0)
        rc = rounds(b, &c, mode, err);
    if (rc == 0 && last) {
        ring_rest(&b->ring, 3000); /* all asleep, what was freed given back */
        b->idle_pss[mode] = child_pss_mib(&c);
        b->idle_cgroup[mode] = child_cgroup_mib(&c, false);
        b->idle_rss[mode] = child_cgroup_mib(&c, true);
    }
    child_stop(&c);
    return rc < 0 ? err_wrap(err, "%s", mode_names[mode]) : 0;
}

static void put_mode(struct bench *b, enum mode mode)
{
    const char *name = mode_names[mode];

    result_put(b->result, samples_quantile(&b->rounds[mode], .5), "%s.ring_p50_s", name);
    result_put(b->result, samples_quantile(&b->rounds[mode], .99), "%s.ring_p99_s", name);
    result_put(b->result, b->idle_pss[mode], "%s.idle_pss_mib", name);
    result_put(b->result, b->active_pss[mode], "%s.active_pss_mib", name);
    result_put(b->result, b->idle_cgroup[mode], "%s.idle_cgroup_mib", name);
    result_put(b->result, b->idle_rss[mode], "%s.idle_cgroup_rss_mib", name);
    result_put(b->result, b->cpu_s[mode] * 1e6 / (double)b->rounds[mode].n / b->ring.n,
               "%s.cpu_us_per_hop", name);
    if (mode != MODE_FLOOR)
        result_put(b->result, samples_quantile(&b->share[mode], .5), "%s.host_share_us", name);
}

static int measure(struct bench *b, struct err *err)
{
    char guests[300];

    snprintf(guests, sizeof(guests), "%s/guests", b->dir);
    if (mkdir(guests, 0700) < 0 && errno != EEXIST)
        return err_set(err, ERR_IO, errno, "%s", guests);
    fprintf(stderr, "ring: setting up %u namespaces\n", b->ring.n);
    if (ring_setup(&b->ring, err) < 0 || ring_manifests(&b->ring, guests, b->module, err) < 0 ||
        ring_watch(&b->ring, err) < 0)
        return -1;
    for (unsigned i = 0; i < BLOCKS; i++) {
        for (enum mode m = MODE_FLOOR; m < MODES; m++) {
            fprintf(stderr, "ring: block %u of %u, %s\n", i + 1, BLOCKS, mode_names[m]);
            if (block(b, m, i == BLOCKS - 1, err) < 0)
                return -1;
        }
    }
    for (enum mode m = MODE_FLOOR; m < MODES; m++)
        put_mode(b, m);
    result_put(b->result, b->wake_p50, "ring.roost.wake_p50_us");
    result_put(b->result, b->wake_p99, "ring.roost.wake_p99_us");
    result_put(b->result, b->sleep_p50, "ring.roost.sleep_p50_us");
    result_put(b->result, b->sleep_p99, "ring.roost.sleep_p99_us");
    return 0;
}

/* The programs and modules that were built with this one. */
static void find_programs(struct bench *b)
{
    char self[900] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *build;

    if (n > 0)
        self[n] = 0;
    build = dirname(dirname(self));
    snprintf(b->roost, sizeof(b->roost), "%s/roost", build);
    snprintf(b->floor, sizeof(b->floor), "%s/bench/bench_ring_floor", build);
    snprintf(b->module, sizeof(b->module), "%s/guests/ring.wasm", build);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"kubeconfig", required_argument, NULL, 'k'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {"operators", required_argument, NULL, 'n'},
                                            {"sleep-after", required_argument, NULL, 'a'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {0}};
    static struct bench b = {.warm = 5, .per_block = 50};
    const char *json = NULL;
    unsigned n = 100;
    struct err err = {0};
    int opt, rc;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'q') {
            b.warm = 2;
            b.per_block = 5;
        } else if (opt == 'j')
            json = optarg;
        else if (opt == 'k')
            b.kubeconfig = optarg;
        else if (opt == 'd')
            snprintf(b.dir, sizeof(b.dir), "%s", optarg);
        else if (opt == 'a')
            b.sleep_after = optarg;
        else if (opt == 'r')
            b.per_block = (unsigned)strtoul(optarg, NULL, 10);
        else if (opt == 'n')
            n = (unsigned)strtoul(optarg, NULL, 10);
        else
            return 2;
    }
    if (!b.kubeconfig || !b.dir[0]) {
        fprintf(stderr, "usage: bench_ring --kubeconfig FILE --dir DIR [--quick] [--json FILE] "
                        "[--operators N] [--sleep-after TIME] [--rounds N, in a block]\n");
        return 2;
    }
    find_programs(&b);
    if (ring_open(&b.ring, b.kubeconfig, n, &err) < 0) {
        die("start", &err);
        return 1;
    }
    b.result = result_new("ring");
    result_setting(b.result, "operators", "%u", n);
    result_setting(b.result, "sleep_after", "%s", b.sleep_after ? b.sleep_after : "default");
    result_setting(b.result, "rounds", "%u", b.per_block * BLOCKS);
    rc = measure(&b, &err);
    if (rc < 0)
        die("measure", &err);
    ring_close(&b.ring);
    return result_finish(b.result, rc < 0 ? NULL : json) < 0 || rc < 0;
}
