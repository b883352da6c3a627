/* The benchmark `wake`: what it takes to wake a guest that sleeps on disk, and to put it to sleep.
 *
 * Guests of 1, 10, 50 and 90 MiB, all of it changed since their image; as many different ones as
 * keep the snapshots under 4 GiB (at least 40; --quick: 1 GiB, at least 10), woken in random order,
 * one at a time, by an event put into the mailbox on the loop thread. Everything is the daemon's
 * own: loop, mailbox, state machine, workers, I/O threads, database with its syncs.
 *
 *   wake_p50_us    put into the mailbox until the handler has returned, on the worker
 *   worker_p50_us  the same from the worker's pick-up on
 *   cold_p50_us    with the arena's pages dropped from the page cache
 *   engine_p50_us  bare: instantiate, map, the touch call, in this program, without a daemon around
 *   fresh_p50_us   bare: instantiate, read the snapshot into newly grown memory, the write handler
 *   sleep_p50_us   from the decision until the record is switched and the instance dropped
 */
#include "base/limits.h"
#include "result.h"
#include "rig/rig.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GUESTS_AT_ONCE_MAX 5000
#define ROUNDS             5 /* a guest's own history tells where and how it is woken */
#define COLD_SAMPLES       100

struct bench {
    struct rig rig;
    struct result *result;
    struct samples wake, worker, sleep;
    struct guest *guests[GUESTS_AT_ONCE_MAX];
    size_t n;
    unsigned mib;
    bool quick;
    uint64_t random;
};

static uint32_t next_random(struct bench *b)
{
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(b->random >> 33);
}

static void observe(struct rig *r, const struct guest *g, enum guest_event ev)
{
    struct bench *b = r->ctx;
    const struct awake *a = g->awake;

    if (ev == GE_DONE || ev == GE_SLEPT) {
        samples_add(&b->wake, (double)(a->done_ns - a->put_ns) / 1e3);
        samples_add(&b->worker, (double)(a->done_ns - a->picked_ns) / 1e3);
        if (a->result != 0) {
            fprintf(stderr, "wake: handler of %s returned %d\n", a->ev.key, a->result);
            exit(1);
        }
    }
    if (ev == GE_SAVED || ev == GE_SLEPT)
        samples_add(&b->sleep, (double)(a->slept_ns - a->decided_ns) / 1e3);
    if (ev != GE_DONE && ev != GE_SLEPT && ev != GE_SAVED && ev != GE_WAKE && ev != GE_SLEEP &&
        ev != GE_STOP) {
        fprintf(stderr, "wake: guest %s: unexpected event %d: %s\n", g->id, (int)ev, g->last_error);
        exit(1);
    }
}

static void samples_clear(struct bench *b)
{
    b->wake.n = b->worker.n = b->sleep.n = 0;
}

static void tweak(struct guest_spec *spec)
{
    spec->limits.memory_bytes = 128ull * MIB;
}

static void one_event(struct bench *b, struct guest *g, const char *key)
{
    guest_changed(g, 0, key, ++b->rig.seq);
    if (!rig_settle(&b->rig, g, 60)) {
        fprintf(stderr, "wake: guest %s did not come to rest in 60 s: %s\n", g->id, g->last_error);
        exit(1);
    }
}

static void shuffle(struct bench *b)
{
    for (size_t i = b->n; i > 1; i--) {
        size_t j = next_random(b) % i;
        struct guest *g = b->guests[i - 1];

        b->guests[i - 1] = b->guests[j];
        b->guests[j] = g;
    }
}

/* One event for each guest (at most `most`), in random order. */
static void pass(struct bench *b, const char *handler, size_t most)
{
    char key[64];

    shuffle(b);
    for (size_t i = 0; i < b->n && i < most; i++) {
        snprintf(key, sizeof(key), "%s/%u", handler, next_random(b));
        one_event(b, b->guests[i], key);
    }
}

static void make_guests(struct bench *b)
{
    const size_t room = (b->quick ? 1024u : 4096u) / (b->mib + 1);
    const size_t least = b->quick ? 10 : 40;
    char size[32], name[32];
    const char *env[] = {size, NULL};

    snprintf(size, sizeof(size), "SIZE_MIB=%u", b->mib);
    b->n = room > least ? room : least;
    if (b->n > GUESTS_AT_ONCE_MAX)
        b->n = GUESTS_AT_ONCE_MAX;
    for (size_t i = 0; i < b->n; i++) {
        snprintf(name, sizeof(name), "g%zu", i);
        b->guests[i] = rig_add(&b->rig, "bench_mem", name, env, tweak);
        if (!b->guests[i])
            exit(1);
    }
}

static void put_wake(struct bench *b, const char *handler)
{
    result_put(b->result, samples_quantile(&b->wake, .5), "wake.%uMiB.%s.wake_p50_us", b->mib,
               handler);
    result_put(b->result, samples_quantile(&b->wake, .99), "wake.%uMiB.%s.wake_p99_us", b->mib,
               handler);
    result_put(b->result, samples_quantile(&b->worker, .5), "wake.%uMiB.%s.worker_p50_us", b->mib,
               handler);
}

/* After a moment of rest, in which the database has committed what the last sleeps gave it. */
static void drop_page_cache(struct bench *b)
{
    int fd = arena_fd(b->rig.arena);

    usleep(500000);
    if (fdatasync(fd) < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        perror("wake: page cache");
}

static void measure_warm(struct bench *b, const char *handler, unsigned rounds)
{
    samples_clear(b);
    for (unsigned i = 0; i < rounds; i++)
        pass(b, handler, b->n);
    put_wake(b, handler);
}

static bool idle(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_IDLE && mailbox_len(g->mailbox) == 0;
}

/* The guests stay awake after their event: what a sleep writes would be in the way of the next read
 * from the same disk. */
static void measure_cold(struct bench *b, const char *handler)
{
    size_t n = b->n < COLD_SAMPLES ? b->n : COLD_SAMPLES;
    char key[64];

    drop_page_cache(b);
    samples_clear(b);
    shuffle(b);
    for (size_t i = 0; i < n; i++) {
        struct guest *g = b->guests[i];

        g->spec->sleep_after_ns = 3600 * NS_PER_S;
        snprintf(key, sizeof(key), "%s/%u", handler, next_random(b));
        guest_changed(g, 0, key, ++b->rig.seq);
        if (!rig_run(&b->rig, idle, g, 60)) {
            fprintf(stderr, "wake: guest %s did not wake in 60 s\n", g->id);
            exit(1);
        }
    }
    for (size_t i = 0; i < n; i++) {
        b->guests[i]->spec->sleep_after_ns = 0;
        guest_sleep_now(b->guests[i]);
        rig_settle(&b->rig, b->guests[i], 60);
    }
    result_put(b->result, samples_quantile(&b->wake, .5), "wake.%uMiB.%s.cold_p50_us", b->mib,
               handler);
}

static void measure_sleep(struct bench *b, const char *handler, const char *part)
{
    /* Gigabytes that wait to be written make the kernel slow down whoever writes more. */
    fdatasync(arena_fd(b->rig.arena));
    samples_clear(b);
    shuffle(b);
    for (size_t i = 0; i < b->n; i++)
        one_event(b, b->guests[i], handler);
    result_put(b->result, samples_quantile(&b->sleep, .5), "sleep.%uMiB.%s.sleep_p50_us", b->mib,
               part);
}

/* --- bare: the same engine, without a daemon around it --- */

static double bare_once(struct bench *b, const struct guest *g, char *key, unsigned how)
{
    struct awake stub = {.ev = {.key = key}};
    const char *args[] = {"bare"}, *env[] = {"SIZE_MIB=0"};
    struct instance_opts opts = {.memory_bytes_max = 128ull * MIB,
                                 .cpu_ns_max = 60 * NS_PER_S,
                                 .args = args,
                                 .env = env,
                                 .nargs = 1,
                                 .nenv = 1,
                                 .user = &stub};
    struct instance *inst = NULL;
    struct err err = {0};
    int32_t result = -1;
    uint64_t began = clock_now_ns(), took;
    enum run_result run;

    if (instance_new(&inst, b->rig.engine, g->image, &opts, &err) < 0 ||
        instance_restore(inst, g->snapshot, b->rig.arena, how, &err) < 0) {
        fprintf(stderr, "wake: bare: %s\n", err.msg);
        exit(1);
    }
    instance_begin(inst, INSTANCE_HANDLE);
    do
        run = instance_poll(inst, &result, &err);
    while (run == RUN_YIELDED);
    took = clock_now_ns() - began;
    if (run != RUN_DONE || result != 0) {
        fprintf(stderr, "wake: bare: handler %s: %d %s\n", key, result, err.msg);
        exit(1);
    }
    instance_free(inst);
    return (double)took / 1e3;
}

static void measure_bare(struct bench *b)
{
    struct samples engine = {0}, fresh = {0};
    char key[64];

    shuffle(b);
    for (size_t i = 0; i < b->n; i++) {
        snprintf(key, sizeof(key), "touch/%u", next_random(b));
        samples_add(&engine, bare_once(b, b->guests[i], key, 0));
    }
    for (size_t i = 0; i < b->n; i++) {
        snprintf(key, sizeof(key), "write/%u", next_random(b));
        samples_add(&fresh, bare_once(b, b->guests[i], key, RESTORE_READ));
    }
    result_put(b->result, samples_quantile(&engine, .5), "wake.%uMiB.engine_p50_us", b->mib);
    result_put(b->result, samples_quantile(&fresh, .5), "wake.%uMiB.fresh_p50_us", b->mib);
    samples_free(&engine);
    samples_free(&fresh);
}

static void say(struct bench *b, const char *what)
{
    fprintf(stderr, "wake: %u MiB, %zu guests: %s\n", b->mib, b->n, what);
}

static void measure_size(struct bench *b, const char *dir, unsigned mib)
{
    b->mib = mib;
    b->rig = (struct rig){.observe = observe, .ctx = b};
    if (!rig_open(&b->rig, dir, 2, true))
        exit(1);
    make_guests(b);
    say(b, "filling");
    pass(b, "fill", b->n);
    say(b, "touch");
    measure_warm(b, "touch", ROUNDS);
    say(b, "read");
    measure_warm(b, "read", ROUNDS);
    say(b, "bare engine");
    measure_bare(b);
    say(b, "sleep after 1 MiB");
    measure_sleep(b, "dirty/1", "1MiB");
    say(b, "write");
    measure_warm(b, "write", ROUNDS);
    result_put(b->result, samples_quantile(&b->sleep, .5), "sleep.%uMiB.all.sleep_p50_us", mib);
    say(b, "cold"); /* last: it empties the page cache */
    measure_cold(b, "touch");
    measure_cold(b, "read");
    rig_close(&b->rig);
}

static void empty_dir(const char *dir)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/arena", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/db", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/db-lock", dir);
    unlink(path);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {"size", required_argument, NULL, 's'},
                                            {0}};
    static const unsigned sizes[] = {1, 10, 50, 90};
    static struct bench b = {.random = 1};
    const char *json = NULL, *dir = NULL;
    char made[] = "/var/tmp/roost-wake-XXXXXX";
    unsigned only = 0;
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'q')
            b.quick = true;
        else if (opt == 'j')
            json = optarg;
        else if (opt == 'd')
            dir = optarg;
        else if (opt == 's')
            only = (unsigned)strtoul(optarg, NULL, 10);
        else
            return 2;
    }
    if (!dir)
        dir = mkdtemp(made);
    if (!dir) {
        perror("wake: a folder for the arena");
        return 1;
    }
    log_init(LOG_WARN, "text");
    b.result = result_new("wake");
    result_setting(b.result, "quick", "%d", b.quick);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (only && only != sizes[i])
            continue;
        measure_size(&b, dir, sizes[i]);
        empty_dir(dir);
    }
    if (dir == made)
        rmdir(dir);
    return result_finish(b.result, json) < 0;
}
