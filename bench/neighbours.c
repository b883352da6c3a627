/* The benchmark `neighbours`: what ten hostile guests cost those beside them.
 *
 * Twenty guests of 1 MiB sleep on disk; every 2 ms one of them gets an event. Blocks in which they
 * are alone alternate with blocks in which ten hostile guests of ten kinds are at work, on the same
 * two workers, with the limits of a manifest that sets none (but for the time of an event). A guest
 * that is cut has its back-off, as always; who can go on has another event at once.
 *
 * An event's latency is from the moment at which it was to come (not: at which the loop got round
 * to it) until its handler has returned. Everything is the daemon's own; `kube:` answers at once,
 * on the worker's own loop, as the daemon's does.
 *
 *   p50_alone_us, p99_alone_us, p50_hostile_us, p99_hostile_us
 *                   medians of the blocks' own p50 and p99: what else the machine does for a moment
 *                   spoils a block, not the figure
 *   p99_growth_us   the difference of the two
 *   hostile_events  how many events the hostile guests had in all
 */
#include "base/limits.h"
#include "base/sched.h"
#include "result.h"
#include "rig/rig.h"

#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NEIGHBOURS 20
#define PERIOD_NS  (2 * NS_PER_MS)

static const struct kind {
    const char *module, *env;
} kinds[] = {
    {"spin", NULL},     {"slowstart", NULL},       {"recurse", NULL},    {"grow", NULL},
    {"trap", NULL},     {"flood", "LINES=100000"}, {"floodcalls", NULL}, {"hold", NULL},
    {"pointers", NULL}, {"identity", NULL},
};

#define HOSTILE (sizeof(kinds) / sizeof(kinds[0]))

struct bench {
    struct rig rig;
    struct guest *near[NEIGHBOURS], *hostile[HOSTILE];
    uint64_t due_ns[NEIGHBOURS]; /* of the event that it has; 0: none */
    unsigned turn, keys[HOSTILE];
    struct msg next; /* posted by a thread of its own: timers of the loop have milliseconds */
    atomic_bool posted;
    uint64_t at_ns, until_ns;
    struct samples latency; /* of the block */
    bool counting;
    struct samples p50[2], p99[2]; /* of the blocks, alone and beside hostile ones */
    unsigned missed;
    uint64_t hostile_events;
    bool over;
};

/* --- kube: --- */

static void answer(void *ctx, struct call *c, const struct guest *g)
{
    static const char head[] = "content-type: application/json\n";

    (void)ctx;
    (void)g;
    if (strstr(call_target(c), "hang"))
        return;
    call_head(c, 200, head, sizeof(head) - 1);
    call_data(c, (const uint8_t *)"{}", 2);
    call_end(c, true);
}

/* --- the neighbours' events --- */

static void neighbour_event(struct bench *b, uint64_t due)
{
    char key[32];

    for (unsigned tries = 0; tries < NEIGHBOURS; tries++) {
        unsigned i = b->turn++ % NEIGHBOURS;

        if (b->due_ns[i])
            continue;
        b->due_ns[i] = due;
        snprintf(key, sizeof(key), "touch/%u", b->turn);
        guest_changed(b->near[i], 0, key, ++b->rig.seq);
        return;
    }
    b->missed++; /* all have one already */
}

static void next_came(struct msg *m)
{
    struct bench *b = container_of(m, struct bench, next);

    atomic_store(&b->posted, false);
    if (b->over) /* the last moment, after the block */
        return;
    for (uint64_t now = clock_now_ns(); b->at_ns <= now && b->at_ns < b->until_ns;
         b->at_ns += PERIOD_NS)
        neighbour_event(b, b->at_ns);
    b->over = b->at_ns >= b->until_ns;
    if (b->over)
        loop_stop(b->rig.loop);
}

/* Tells the loop when a moment has come for which there is an event. */
static void *moments(void *ctx)
{
    struct bench *b = ctx;
    const uint64_t first = b->at_ns, until = b->until_ns;

    sched_prompt();
    for (uint64_t at = first; at < until + PERIOD_NS; at += PERIOD_NS) {
        struct timespec ts = clock_timespec(at);

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
        if (!atomic_exchange(&b->posted, true))
            loop_post(b->rig.loop, &b->next);
    }
    return NULL;
}

static void neighbour_done(struct bench *b, const struct guest *g)
{
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        if (b->near[i] != g || !b->due_ns[i])
            continue;
        if (b->counting)
            samples_add(&b->latency, (double)(g->awake->done_ns - b->due_ns[i]) / 1e3);
        b->due_ns[i] = 0;
    }
}

/* --- the hostile ones --- */

static void hostile_event(struct bench *b, size_t i)
{
    char key[48];

    snprintf(key, sizeof(key), "test/bad-%zu-%u", i, b->keys[i]++);
    guest_changed(b->hostile[i], 0, key, ++b->rig.seq);
}

static void observe(struct rig *r, const struct guest *g, enum guest_event ev)
{
    struct bench *b = r->ctx;

    if (ev != GE_DONE && ev != GE_SLEPT && ev != GE_TRAP)
        return;
    neighbour_done(b, g);
    for (size_t i = 0; i < HOSTILE; i++) {
        if (b->hostile[i] != g)
            continue;
        b->hostile_events++;
        if (!b->over)
            hostile_event(b, i);
    }
}

/* --- blocks --- */

static void defaults(struct guest_spec *spec)
{
    spec->limits.memory_bytes = GUEST_MEMORY_DEFAULT;
    spec->limits.cpu_ns = GUEST_CPU_DEFAULT_NS;
    spec->limits.time_ns = 3 * NS_PER_S; /* a block's end waits for it */
    spec->limits.calls = GUEST_CALLS_DEFAULT;
}

static void add(struct guest **out, struct bench *b, const char *module, const char *name,
                const char *env)
{
    const char *envs[] = {env, NULL};

    *out = rig_add(&b->rig, module, name, envs, defaults);
    if (!*out)
        exit(1);
}

static void begin(struct bench *b, const char *dir)
{
    char name[32];

    b->rig = (struct rig){.observe = observe, .ctx = b, .kube_on_workers = true};
    memset(b->hostile, 0, sizeof(b->hostile));
    memset(b->due_ns, 0, sizeof(b->due_ns));
    b->counting = false;
    b->latency.n = 0;
    b->over = true;
    if (!rig_open(&b->rig, dir, 2, true))
        exit(1);
    b->rig.kube.start = answer;
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        snprintf(name, sizeof(name), "near-%u", i);
        add(&b->near[i], b, "bench_mem", name, "SIZE_MIB=1");
        guest_changed(b->near[i], 0, "fill/0", ++b->rig.seq);
    }
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        if (!rig_settle(&b->rig, b->near[i], 60))
            exit(1);
}

static void run(struct bench *b, double seconds)
{
    pthread_t clock;

    b->counting = true;
    b->over = false;
    for (size_t i = 0; i < HOSTILE; i++)
        if (b->hostile[i])
            hostile_event(b, i);
    b->at_ns = clock_now_ns() + PERIOD_NS;
    b->until_ns = b->at_ns + (uint64_t)(seconds * 1e9);
    b->next.run = next_came;
    atomic_store(&b->posted, false);
    if (pthread_create(&clock, NULL, moments, b) != 0)
        exit(1);
    loop_run(b->rig.loop);
    pthread_join(clock, NULL);
    for (unsigned i = 0; i < NEIGHBOURS; i++) /* the last ones count as well */
        if (!rig_settle(&b->rig, b->near[i], 60))
            exit(1);
}

static void empty_dir(const char *dir)
{
    static const char *const names[] = {"arena", "db", "db-lock"};
    char path[512];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
}

static void block(struct bench *b, const char *dir, bool hostile, const char *only, double seconds)
{
    begin(b, dir);
    for (size_t i = 0; hostile && i < HOSTILE; i++)
        if (!only || !strcmp(only, kinds[i].module))
            add(&b->hostile[i], b, kinds[i].module, kinds[i].module, kinds[i].env);
    run(b, seconds);
    samples_add(&b->p50[hostile], samples_quantile(&b->latency, .5));
    samples_add(&b->p99[hostile], samples_quantile(&b->latency, .99));
    rig_close(&b->rig);
    empty_dir(dir);
}

/* What the guests and the daemon say goes where a daemon's log goes: into a file. */
static void log_to(const char *dir)
{
    char path[512];
    int fd;

    snprintf(path, sizeof(path), "%s/guests.out", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        exit(1);
    close(fd);
    unlink(path);
    log_init(LOG_INFO, "text");
}

static void put(struct result *r, struct bench *b)
{
    double alone = samples_quantile(&b->p99[false], .5),
           beside = samples_quantile(&b->p99[true], .5);

    result_put(r, samples_quantile(&b->p50[false], .5), "neighbours.p50_alone_us");
    result_put(r, alone, "neighbours.p99_alone_us");
    result_put(r, samples_quantile(&b->p50[true], .5), "neighbours.p50_hostile_us");
    result_put(r, beside, "neighbours.p99_hostile_us");
    result_put(r, beside - alone, "neighbours.p99_growth_us");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {"only", required_argument, NULL, 'o'},
                                            {0}};
    static struct bench b;
    const char *json = NULL, *dir = NULL, *only = NULL;
    char made[] = "/var/tmp/roost-neighbours-XXXXXX";
    unsigned pairs = 10;
    double seconds = 2;
    struct result *r;
    int opt, kept;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'q')
            pairs = 7, seconds = 1;
        else if (opt == 'j')
            json = optarg;
        else if (opt == 'd')
            dir = optarg;
        else if (opt == 'o')
            only = optarg;
        else
            return 2;
    }
    if (!dir)
        dir = mkdtemp(made);
    if (!dir) {
        perror("neighbours: a folder for the arena");
        return 1;
    }
    kept = dup(STDERR_FILENO);
    log_to(dir);
    for (unsigned i = 0; i < pairs; i++) {
        dprintf(kept, "neighbours: pair %u of %u\n", i + 1, pairs);
        block(&b, dir, false, NULL, seconds);
        block(&b, dir, true, only, seconds);
    }
    dup2(kept, STDERR_FILENO);
    if (dir == made)
        rmdir(dir);
    r = result_new("neighbours");
    result_setting(r, "pairs", "%u", pairs);
    result_setting(r, "block_s", "%g", seconds);
    put(r, &b);
    result_put(r, (double)b.hostile_events, "neighbours.hostile_events");
    result_put(r, (double)b.missed, "neighbours.missed");
    return result_finish(r, json) < 0;
}
