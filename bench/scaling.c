/* The benchmark `scaling`: how many events that compute two workers handle in the time of one.
 *
 * GUESTS guests of little memory; IN_HAND events are under way at any time, each for whoever has
 * rested longest: when one is handled, the next comes. An event computes a fixed number of steps,
 * found at the start so that they take about 1 ms. Rounds of blocks, one kind after the other, so
 * that what else the machine does meets all alike: one worker and two, with guests that sleep after
 * their event, the same with guests that stay awake, and bare threads that compute as many steps.
 * Everything else is the daemon's own: loop, mailbox, workers, I/O threads, database with its
 * syncs.
 *
 *   N.events_per_s    handled by N workers; the median of the blocks, as all that follows
 *   speedup           of two workers over one, in the same round
 *   loop_us_per_event CPU time of the loop's thread, with two workers
 *   loop_wakes_per_event   how often it was woken for that
 *   N.cpu_us          of all the daemon's threads, for an event ...
 *   N.worker_us       ... of the workers' among them ...
 *   N.guest_us        ... and what of that was the guest's
 *   N.cores           CPU time of the daemon over the time that went by: what it got of the machine
 *   cpu_speedup       by CPU time alone, for a machine of two cores with nothing else to do: there
 *                     one worker takes 1.worker_us for an event, two share both cores with all
 *                     other threads and take 2.cpu_us / 2
 *   handover_p50_us   from the loop to a worker whose thread sleeps; handover_back_p50_us: from its
 *                     handler's return to the loop. One event at a time.
 *   floor.handover_p50_us   one message from a loop to another that sleeps, and nothing else
 */
#include "base/limits.h"
#include "result.h"
#include "rig/rig.h"

#include <dirent.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define GUESTS        64
#define IN_HAND       32
#define WARM_UP_NS    (100 * NS_PER_MS)
#define TRIAL_STEPS   400000u
#define TRIALS        20
#define PAUSE_NS      (3 * NS_PER_MS) /* for the other thread to fall asleep */
#define HANDOVERS_MAX 1000

enum kind { ASLEEP, AWAKE, BARE, KINDS };
static const char *const kind_names[KINDS] = {
    [ASLEEP] = "scaling", [AWAKE] = "scaling.awake", [BARE] = "scaling.bare"};

/* What a kind of block gave, for one worker and for two. */
struct figures {
    struct samples rate, loop_us, loop_wakes, cpu_us, worker_us, guest_us, cores;
};

struct mark {
    uint64_t wall_ns, loop_ns, all_ns, workers_ns, guest_ns, events, wakes;
};

struct bench {
    struct rig rig;
    struct guest *guests[GUESTS], *rested[GUESTS]; /* rested: a ring, longest first */
    size_t first, nrested, n;
    unsigned long steps;
    unsigned turn;
    uint64_t events, guest_ns;
    bool over;
    struct timer timer;
    struct samples trial, forth, back, floor;
    bool trying, handing;
    unsigned returned;
    struct figures figures[KINDS][3];
    struct samples speedup[KINDS];
    const char *dir, *only;
};

static uint64_t cpu_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static bool read_line(char *out, size_t cap, const char *task, const char *file)
{
    char path[320];
    FILE *f;
    bool ok;

    snprintf(path, sizeof(path), "/proc/self/task/%s/%s", task, file);
    f = fopen(path, "r");
    ok = f && fgets(out, (int)cap, f);
    if (f)
        fclose(f);
    return ok;
}

/* Of the threads that run guests. */
static uint64_t workers_cpu_ns(void)
{
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *d;
    uint64_t sum = 0;
    char line[128];

    while (tasks && (d = readdir(tasks)))
        if (read_line(line, sizeof(line), d->d_name, "comm") && !strcmp(line, "roost-worker\n") &&
            read_line(line, sizeof(line), d->d_name, "schedstat"))
            sum += strtoull(line, NULL, 10);
    if (tasks)
        closedir(tasks);
    return sum;
}

/* --- events --- */

static void give(struct bench *b, struct guest *g, unsigned long steps)
{
    char key[48];

    snprintf(key, sizeof(key), "%lu/%u", steps, b->turn++);
    guest_changed(g, 0, key, ++b->rig.seq);
}

static void rests(struct bench *b, struct guest *g)
{
    b->rested[(b->first + b->nrested++) % GUESTS] = g;
}

static void give_next(struct bench *b)
{
    struct guest *g = b->rested[b->first];

    b->first = (b->first + 1) % GUESTS;
    b->nrested--;
    give(b, g, b->steps);
}

static void handed_over(struct bench *b, const struct awake *a)
{
    if (b->returned++ > 0)
        return; /* the one that makes the loop hear of the first at once */
    samples_add(&b->forth, (double)(a->picked_ns - a->sent_ns) / 1e3);
    samples_add(&b->back, (double)(clock_now_ns() - a->done_ns) / 1e3);
}

static void observe(struct rig *r, const struct guest *g, enum guest_event ev)
{
    struct bench *b = r->ctx;

    if (ev == GE_TRAP || ev == GE_CORRUPT || ev == GE_NO_ROOM) {
        fprintf(stderr, "scaling: guest %s: unexpected event %d\n", g->id, (int)ev);
        exit(1);
    }
    if (ev != GE_DONE && ev != GE_SLEPT)
        return;
    if (g->awake->result != 0) {
        fprintf(stderr, "scaling: handler of %s returned %d\n", g->id, g->awake->result);
        exit(1);
    }
    b->events++;
    b->guest_ns += g->awake->cpu_ns;
    if (b->trying)
        samples_add(&b->trial, (double)g->awake->cpu_ns);
    if (b->handing)
        handed_over(b, g->awake);
    if (b->trying || b->handing)
        return;
    rests(b, (struct guest *)(uintptr_t)g);
    if (!b->over)
        give_next(b);
}

/* --- blocks --- */

static void stay_awake(struct guest_spec *spec)
{
    spec->sleep_after_ns = 3600 * NS_PER_S;
}

static void begin(struct bench *b, size_t workers, size_t guests, bool awake)
{
    char name[32];

    b->rig = (struct rig){.observe = observe, .ctx = b, .kube_on_workers = true};
    b->first = b->nrested = 0;
    b->over = true;
    b->n = guests;
    if (!rig_open(&b->rig, b->dir, workers, true))
        exit(1);
    for (size_t i = 0; i < guests; i++) {
        snprintf(name, sizeof(name), "g%zu", i);
        b->guests[i] = rig_add(&b->rig, "bench_compute", name, NULL, awake ? stay_awake : NULL);
        if (!b->guests[i])
            exit(1);
    }
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

static void end(struct bench *b)
{
    rig_close(&b->rig);
    empty_dir(b->dir);
}

static bool all_rested(struct rig *r, void *ctx)
{
    struct bench *b = ctx;

    (void)r;
    return b->nrested == b->n;
}

/* All of them have started, and where they sleep they have slept. */
static void start_all(struct bench *b)
{
    for (size_t i = 0; i < b->n; i++)
        give(b, b->guests[i], b->steps); /* as quick as the rest */
    if (!rig_run(&b->rig, all_rested, b, 60)) {
        fprintf(stderr, "scaling: the guests did not start in 60 s\n");
        exit(1);
    }
    for (size_t i = 0; i < b->n; i++)
        if (!b->guests[i]->spec->sleep_after_ns && !rig_settle(&b->rig, b->guests[i], 60))
            exit(1);
}

static void time_is_up(struct timer *t)
{
    struct bench *b = container_of(t, struct bench, timer);

    loop_stop(b->rig.loop);
}

static void run_for(struct bench *b, uint64_t ns)
{
    struct err err;

    b->timer = (struct timer){.fire = time_is_up};
    if (loop_timer_set(b->rig.loop, &b->timer, clock_now_ns() + ns, &err) < 0)
        exit(1);
    loop_run(b->rig.loop);
}

static struct mark mark(const struct bench *b)
{
    struct rusage loop;

    getrusage(RUSAGE_THREAD, &loop);
    return (struct mark){.wall_ns = clock_now_ns(),
                         .loop_ns = cpu_ns(CLOCK_THREAD_CPUTIME_ID),
                         .all_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID),
                         .workers_ns = workers_cpu_ns(),
                         .guest_ns = b->guest_ns,
                         .events = b->events,
                         .wakes = (uint64_t)loop.ru_nvcsw};
}

static double note(struct figures *f, const struct mark *from, const struct mark *to)
{
    double events = (double)(to->events - from->events),
           wall_ns = (double)(to->wall_ns - from->wall_ns),
           all_ns = (double)(to->all_ns - from->all_ns);

    samples_add(&f->rate, events * 1e9 / wall_ns);
    samples_add(&f->loop_us, (double)(to->loop_ns - from->loop_ns) / events / 1e3);
    samples_add(&f->loop_wakes, (double)(to->wakes - from->wakes) / events);
    samples_add(&f->cpu_us, all_ns / events / 1e3);
    samples_add(&f->worker_us, (double)(to->workers_ns - from->workers_ns) / events / 1e3);
    samples_add(&f->guest_us, (double)(to->guest_ns - from->guest_ns) / events / 1e3);
    samples_add(&f->cores, all_ns / wall_ns);
    return events * 1e9 / wall_ns;
}

static double block(struct bench *b, enum kind kind, size_t workers, double seconds)
{
    struct mark from, to;

    begin(b, workers, GUESTS, kind == AWAKE);
    start_all(b);
    b->over = false;
    for (size_t i = 0; i < IN_HAND; i++)
        give_next(b);
    run_for(b, WARM_UP_NS);
    from = mark(b);
    run_for(b, (uint64_t)(seconds * 1e9));
    to = mark(b);
    b->over = true;
    if (!rig_run(&b->rig, all_rested, b, 60))
        exit(1);
    end(b);
    return note(&b->figures[kind][workers], &from, &to);
}

/* --- bare threads --- */

struct bare {
    pthread_t thread;
    unsigned long steps;
    uint64_t until_ns, events;
};

static void *compute(void *arg)
{
    struct bare *c = arg;
    uint64_t state = 1;

    while (clock_now_ns() < c->until_ns) {
        for (unsigned long i = 0; i < c->steps; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            __asm__ volatile("" : "+r"(state)); /* each step is taken */
        }
        c->events++;
    }
    return NULL;
}

static double bare_block(struct bench *b, size_t workers, double seconds)
{
    struct bare threads[2] = {0};
    struct mark from = mark(b), to;
    uint64_t events = 0;

    for (size_t i = 0; i < workers; i++) {
        threads[i] =
            (struct bare){.steps = b->steps, .until_ns = from.wall_ns + (uint64_t)(seconds * 1e9)};
        if (pthread_create(&threads[i].thread, NULL, compute, &threads[i]) != 0)
            exit(1);
    }
    for (size_t i = 0; i < workers; i++) {
        pthread_join(threads[i].thread, NULL);
        events += threads[i].events;
    }
    to = mark(b);
    to.events = from.events + events;
    return note(&b->figures[BARE][workers], &from, &to);
}

/* --- how many steps are 1 ms --- */

static bool idle(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_IDLE && mailbox_len(g->mailbox) == 0;
}

/* The quickest of several: nothing was in its way. */
static void find_steps(struct bench *b)
{
    begin(b, 1, 1, true);
    b->trying = true;
    for (unsigned i = 0; i < TRIALS; i++) {
        give(b, b->guests[0], TRIAL_STEPS);
        if (!rig_run(&b->rig, idle, b->guests[0], 60))
            exit(1);
    }
    b->trying = false;
    end(b);
    b->steps = (unsigned long)(1e6 / samples_quantile(&b->trial, 0) * TRIAL_STEPS);
}

/* --- the hand-over --- */

/* Two keys at once: the loop hears of the first's end when it ends, since another is due. */
static void measure_handover(struct bench *b, unsigned times)
{
    begin(b, 2, 1, true);
    give(b, b->guests[0], b->steps);
    if (!rig_run(&b->rig, idle, b->guests[0], 60))
        exit(1);
    b->handing = true;
    for (unsigned i = 0; i < times; i++) {
        run_for(b, PAUSE_NS);
        b->returned = 0;
        give(b, b->guests[0], b->steps);
        give(b, b->guests[0], b->steps);
        if (!rig_run(&b->rig, idle, b->guests[0], 60))
            exit(1);
    }
    b->handing = false;
    end(b);
}

struct other {
    pthread_t thread;
    struct loop *loop;
    struct msg msg;
    uint64_t sent_ns;
    double us;
    atomic_bool got, stop;
};

static void got(struct msg *m)
{
    struct other *o = container_of(m, struct other, msg);

    o->us = (double)(clock_now_ns() - o->sent_ns) / 1e3;
    atomic_store(&o->got, true);
}

static void *turn_other(void *arg)
{
    struct other *o = arg;

    while (!atomic_load(&o->stop))
        loop_turn(o->loop, true);
    return NULL;
}

static void measure_floor(struct bench *b, unsigned times)
{
    const struct timespec pause = {.tv_nsec = (long)PAUSE_NS};
    struct other o = {.msg = {.run = got}};
    struct err err;

    if (loop_new(&o.loop, &err) < 0 || pthread_create(&o.thread, NULL, turn_other, &o) != 0)
        exit(1);
    for (unsigned i = 0; i < times; i++) {
        nanosleep(&pause, NULL);
        atomic_store(&o.got, false);
        o.sent_ns = clock_now_ns();
        loop_post(o.loop, &o.msg);
        while (!atomic_load(&o.got))
            nanosleep(&pause, NULL);
        samples_add(&b->floor, o.us);
    }
    atomic_store(&o.stop, true);
    loop_wake(o.loop);
    pthread_join(o.thread, NULL);
    loop_free(o.loop);
}

/* --- all of it --- */

static void put(struct result *r, struct bench *b, enum kind kind)
{
    const char *name = kind_names[kind];

    for (unsigned n = 1; n <= 2; n++) {
        struct figures *f = &b->figures[kind][n];

        result_put(r, samples_quantile(&f->rate, .5), "%s.%u.events_per_s", name, n);
        result_put(r, samples_quantile(&f->cores, .5), "%s.%u.cores", name, n);
        result_put(r, samples_quantile(&f->cpu_us, .5), "%s.%u.cpu_us", name, n);
        if (kind == BARE)
            continue;
        result_put(r, samples_quantile(&f->worker_us, .5), "%s.%u.worker_us", name, n);
        result_put(r, samples_quantile(&f->guest_us, .5), "%s.%u.guest_us", name, n);
    }
    result_put(r, samples_quantile(&b->speedup[kind], .5), "%s.speedup", name);
    if (kind == BARE)
        return;
    result_put(r,
               2 * samples_quantile(&b->figures[kind][1].worker_us, .5) /
                   samples_quantile(&b->figures[kind][2].cpu_us, .5),
               "%s.cpu_speedup", name);
    result_put(r, samples_quantile(&b->figures[kind][2].loop_us, .5), "%s.loop_us_per_event", name);
    result_put(r, samples_quantile(&b->figures[kind][2].loop_wakes, .5), "%s.loop_wakes_per_event",
               name);
}

static bool wanted(const struct bench *b, enum kind kind)
{
    return !b->only || !strcmp(b->only, kind_names[kind]);
}

static void round_of_blocks(struct bench *b, double seconds)
{
    for (enum kind kind = ASLEEP; kind < KINDS; kind++) {
        double one, two;

        if (!wanted(b, kind))
            continue;
        one = kind == BARE ? bare_block(b, 1, seconds) : block(b, kind, 1, seconds);
        two = kind == BARE ? bare_block(b, 2, seconds) : block(b, kind, 2, seconds);
        samples_add(&b->speedup[kind], two / one);
    }
}

static int report(struct bench *b, unsigned rounds, double seconds, const char *json)
{
    struct result *r = result_new("scaling");

    result_setting(r, "rounds", "%u", rounds);
    result_setting(r, "block_s", "%g", seconds);
    result_setting(r, "steps", "%lu", b->steps);
    result_setting(r, "guests", "%d", GUESTS);
    result_setting(r, "in_hand", "%d", IN_HAND);
    for (enum kind kind = ASLEEP; kind < KINDS; kind++)
        if (wanted(b, kind))
            put(r, b, kind);
    result_put(r, samples_quantile(&b->forth, .5), "scaling.handover_p50_us");
    result_put(r, samples_quantile(&b->back, .5), "scaling.handover_back_p50_us");
    result_put(r, samples_quantile(&b->floor, .5), "scaling.floor.handover_p50_us");
    return result_finish(r, json) < 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {"only", required_argument, NULL, 'o'}, /* a kind */
                                            {0}};
    static struct bench b;
    const char *json = NULL;
    char made[] = "/var/tmp/roost-scaling-XXXXXX";
    unsigned rounds = 10, handovers = HANDOVERS_MAX;
    double seconds = 2;
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'q')
            rounds = 7, seconds = .7, handovers = HANDOVERS_MAX / 4;
        else if (opt == 'j')
            json = optarg;
        else if (opt == 'd')
            b.dir = optarg;
        else if (opt == 'o')
            b.only = optarg;
        else
            return 2;
    }
    if (!b.dir)
        b.dir = mkdtemp(made);
    if (!b.dir) {
        perror("scaling: a folder for the arena");
        return 1;
    }
    log_init(LOG_WARN, "text");
    find_steps(&b);
    measure_handover(&b, handovers);
    measure_floor(&b, handovers);
    for (unsigned i = 0; i < rounds; i++) {
        fprintf(stderr, "scaling: round %u of %u\n", i + 1, rounds);
        round_of_blocks(&b, seconds);
    }
    if (b.dir == made)
        rmdir(made);
    return report(&b, rounds, seconds, json);
}
