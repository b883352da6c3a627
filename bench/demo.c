/* The demo: 100 operators in one daemon, asleep between their events, against a real API server.
 *
 *   bench_demo --kubeconfig FILE --dir DIR [--operators N] [--rounds N]
 *
 * Makes what the ring needs in the API server, starts `roost serve` with a ring operator for each
 * namespace, sends a value round several times, and shows it live in a terminal, as lines
 * elsewhere. DIR takes the manifests, the state and the daemon's log (roost.log). scripts/demo
 * builds and starts all that is around it.
 *
 * Exit status: 0 only if every hop arrived; 1: not, and it says which; 2: usage; 130: interrupted.
 * Must never leave the daemon running or the terminal changed.
 */
#include "demo.h"

#include "base/clock.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ROUNDS_DEFAULT    10
#define ROUNDS_MAX        100000
#define OPERATORS_DEFAULT 100
#define ROUND_TIMEOUT_S   30
#define READY_TIMEOUT_S   60
#define REST_MS           3000 /* all asleep, and what was freed is given back */

/* --- what the daemon says --- */

static struct latency latency_of(const json_t *stats, const char *name)
{
    const json_t *h = json_object_get(stats, name);

    return (struct latency){.p50_us = json_number_value(json_object_get(h, "p50_us")),
                            .p99_us = json_number_value(json_object_get(h, "p99_us"))};
}

static unsigned state_of(const json_t *stats, const char *name)
{
    return (unsigned)json_integer_value(json_object_get(json_object_get(stats, "states"), name));
}

static long long count_of(const json_t *stats, const char *name)
{
    return json_integer_value(json_object_get(stats, name));
}

static void note_rate(struct demo *d)
{
    uint64_t now = clock_now_ns();

    if (now - d->mark_ns < NS_PER_S)
        return;
    d->wakes_per_s = (double)(d->now.wakes - d->mark_wakes) * 1e9 / (double)(now - d->mark_ns);
    d->mark_ns = now;
    d->mark_wakes = d->now.wakes;
}

static void ask(struct demo *d, bool reset)
{
    json_t *stats = child_stats(&d->child, reset);
    struct demo_stats *s = &d->now;

    if (!stats)
        return;
    s->guests = (unsigned)count_of(stats, "guests");
    s->awake = state_of(stats, "Running") + state_of(stats, "Awake") + state_of(stats, "Saving");
    s->asleep = state_of(stats, "Asleep");
    s->cold = state_of(stats, "Cold");
    s->events = count_of(stats, "events");
    s->wakes = count_of(stats, "wakes");
    s->fresh_starts = count_of(stats, "freshStarts");
    s->failures = count_of(stats, "failures");
    s->traps = count_of(stats, "traps");
    s->pss_mib = (double)count_of(stats, "pssBytes") / (1 << 20);
    s->wake = latency_of(stats, "hostShareAsleep");
    s->event = latency_of(stats, "wake");
    s->sleep = latency_of(stats, "sleep");
    json_decref(stats);
    note_rate(d);
}

/* The figures start anew: the first round is like no other. */
static void ask_anew(struct demo *d)
{
    ask(d, true);
    d->first = d->now; /* with what was counted up to that moment: one answer, none is lost */
    ask(d, false);
    d->mark_ns = clock_now_ns();
    d->mark_wakes = d->now.wakes;
}

static void note_active(struct demo *d)
{
    double cgroup = child_cgroup_mib(&d->child, false);

    if (d->now.pss_mib > d->active_pss_mib)
        d->active_pss_mib = d->now.pss_mib;
    if (cgroup > d->active_cgroup_mib)
        d->active_cgroup_mib = cgroup;
}

/* Its end is ours: what follows would only time out. */
static void note_end(struct demo *d)
{
    int status;

    if (d->child.pid <= 0 || waitpid(d->child.pid, &status, WNOHANG) != d->child.pid)
        return;
    d->child.pid = 0;
    d->child_ended = true;
    d->child_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    d->ring.interrupted = true;
}

/* Ten times a second, from wherever the ring waits. */
static void idle(void *ctx)
{
    struct demo *d = ctx;

    if (d->phase >= DEMO_ROUNDS) {
        note_end(d);
        if (d->child.pid > 0)
            ask(d, false);
        if (d->phase == DEMO_ROUNDS)
            note_active(d);
    }
    show_frame(d);
}

/* --- the phases --- */

static double since_s(uint64_t began_ns)
{
    return (double)(clock_now_ns() - began_ns) / 1e9;
}

static int set_up(struct demo *d, struct err *err)
{
    uint64_t began = clock_now_ns();

    d->phase = DEMO_SET_UP;
    show_note(d, "API server %s: making %u namespaces, each with an account and its rights",
              d->ring.config->authority, d->ring.n);
    if (ring_setup(&d->ring, err) < 0 || ring_watch(&d->ring, err) < 0)
        return err_wrap(err, "set-up");
    show_note(d, "set up in %.1f s", since_s(began));
    return 0;
}

static int make_guests(struct demo *d, char *guests, size_t cap, struct err *err)
{
    char module[1024];

    build_path(module, sizeof(module), "guests/ring.wasm");
    snprintf(guests, cap, "%s/guests", d->dir);
    if (mkdir(guests, 0700) < 0 && errno != EEXIST)
        return err_set(err, ERR_IO, errno, "%s", guests);
    return ring_manifests(&d->ring, guests, module, err);
}

static int start(struct demo *d, struct err *err)
{
    char roost[1024], guests[512], state[512], log[512];
    char *argv[] = {roost,
                    (char *)(uintptr_t) "serve",
                    (char *)(uintptr_t) "--guests",
                    guests,
                    (char *)(uintptr_t) "--state",
                    state,
                    (char *)(uintptr_t) "--kubeconfig",
                    (char *)(uintptr_t)d->kubeconfig,
                    NULL};
    uint64_t began = clock_now_ns();

    d->phase = DEMO_START;
    if (make_guests(d, guests, sizeof(guests), err) < 0)
        return -1;
    build_path(roost, sizeof(roost), "roost");
    snprintf(state, sizeof(state), "%s/state", d->dir);
    snprintf(log, sizeof(log), "%s/roost.log", d->dir);
    snprintf(d->child.socket, sizeof(d->child.socket), "%s/admin.sock", state);
    show_note(d, "starting roost serve with %u guests; it compiles their module", d->ring.n);
    if (child_start(&d->child, argv, log, true, err) < 0 ||
        child_ready(&d->ring, &d->child, READY_TIMEOUT_S, err) < 0)
        return err_wrap(err, "roost serve");
    ask(d, false);
    show_note(d, "ready in %.1f s: %u guests, %.1f MiB", since_s(began), d->now.guests,
              d->now.pss_mib);
    return 0;
}

unsigned demo_arrived(const struct demo *d)
{
    unsigned n = 0;

    for (unsigned i = 0; i < d->ring.n; i++)
        n += d->ring.nonce[i] == d->ring.round;
    return n;
}

/* Which hop is missing: each namespace must have the value. */
static int check_hops(const struct demo *d, struct err *err)
{
    unsigned n = d->ring.n;

    for (unsigned i = 0; i < n; i++) {
        if (d->ring.nonce[i] == d->ring.round)
            continue;
        if (i == 0)
            return err_set(err, ERR_TIMEOUT, 0, "round %u: the value did not reach ring-0 itself",
                           d->round);
        return err_set(err, ERR_TIMEOUT, 0,
                       "round %u: the hop from ring-%u to ring-%u did not arrive in %u s (%u of %u "
                       "did)",
                       d->round, i - 1, i, ROUND_TIMEOUT_S, demo_arrived(d), n);
    }
    return 0;
}

static int one_round(struct demo *d, struct err *err)
{
    uint64_t took;

    d->round_ns = clock_now_ns();
    if (ring_round(&d->ring, ROUND_TIMEOUT_S, &took, err) < 0) {
        if (err->code == ERR_TIMEOUT)
            (void)!check_hops(d, err); /* says which */
        return -1;
    }
    if (check_hops(d, err) < 0)
        return -1;
    if (d->round > 1 || d->rounds == 1)
        samples_add(&d->took, (double)took / 1e9);
    ask(d, false);
    note_active(d);
    show_note(d, "round %u of %u: %.3f s, %.1f ms a hop; %.1f MiB, %u of %u guests asleep",
              d->round, d->rounds, (double)took / 1e9, (double)took / 1e6 / d->ring.n,
              d->now.pss_mib, d->now.asleep, d->ring.n);
    return 0;
}

static int rounds(struct demo *d, struct err *err)
{
    d->phase = DEMO_ROUNDS;
    for (d->round = 1; d->round <= d->rounds; d->round++) {
        if (one_round(d, err) < 0)
            return -1;
        if (d->round == 1 && d->rounds > 1)
            ask_anew(d);
    }
    d->round = d->rounds;
    d->active = d->now;
    return 0;
}

static int rest(struct demo *d, struct err *err)
{
    d->phase = DEMO_REST;
    show_note(d, "resting %d s: every guest asleep", REST_MS / 1000);
    ring_rest(&d->ring, REST_MS);
    if (d->ring.interrupted)
        return err_set(err, ERR_AGAIN, 0, "interrupted");
    ask(d, false);
    d->idle_pss_mib = child_pss_mib(&d->child);
    d->idle_cgroup_mib = child_cgroup_mib(&d->child, false);
    d->idle_cgroup_rss_mib = child_cgroup_mib(&d->child, true);
    return 0;
}

static int run(struct demo *d, struct err *err)
{
    if (set_up(d, err) < 0 || start(d, err) < 0 || rounds(d, err) < 0)
        return -1;
    return rest(d, err);
}

/* Puts all back; the exit status. */
static int finish(struct demo *d, int rc, const struct err *err)
{
    int ended;

    screen_close(&d->screen);
    ended = child_stop(&d->child);
    if (d->child_ended) {
        fprintf(stderr, "demo: roost serve ended with status %d\n", d->child_status);
        return 1;
    }
    if (d->ring.interrupted) {
        fprintf(stderr, "demo: interrupted\n");
        return 130;
    }
    if (rc < 0) {
        fprintf(stderr, "demo: %s\n", err->msg);
        return 1;
    }
    show_report(d);
    if (ended != 0)
        fprintf(stderr, "demo: roost serve ended with status %d when told to stop\n", ended);
    return ended != 0;
}

static const char usage[] =
    "Usage: bench_demo --kubeconfig FILE --dir DIR [--operators N] [--rounds N]\n";

static bool number(unsigned *out, const char *text, unsigned min, unsigned max)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    *out = (unsigned)n;
    return *text >= '0' && *text <= '9' && !*end && n >= min && n <= max;
}

static bool parse(struct demo *d, unsigned *operators, int argc, char **argv)
{
    static const struct option options[] = {{"kubeconfig", required_argument, NULL, 'k'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {"operators", required_argument, NULL, 'n'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {0}};
    bool ok = true;
    int opt;

    while (ok && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'k')
            d->kubeconfig = optarg;
        else if (opt == 'd')
            d->dir = optarg;
        else if (opt == 'n')
            ok = number(operators, optarg, 2, RING_MAX);
        else
            ok = opt == 'r' && number(&d->rounds, optarg, 1, ROUNDS_MAX);
    }
    return ok && optind == argc && d->kubeconfig && d->dir;
}

static void hung_up(void *ctx, int signum)
{
    struct demo *d = ctx;

    (void)signum;
    d->ring.interrupted = true;
    loop_stop(d->ring.loop);
}

int main(int argc, char **argv)
{
    static struct demo d = {.rounds = ROUNDS_DEFAULT};
    unsigned operators = OPERATORS_DEFAULT;
    struct err err = {0};
    int rc;

    if (!parse(&d, &operators, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    d.began_ns = clock_now_ns();
    if (ring_open(&d.ring, d.kubeconfig, operators, &err) < 0 ||
        loop_on_signal(d.ring.loop, SIGHUP, hung_up, &d, &err) < 0) {
        fprintf(stderr, "demo: %s\n", err.msg);
        return 1;
    }
    d.ring.idle = idle;
    d.ring.ctx = &d;
    screen_open(&d.screen);
    rc = finish(&d, run(&d, &err), &err);
    ring_close(&d.ring);
    samples_free(&d.took);
    return rc;
}
