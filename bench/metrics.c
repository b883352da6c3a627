/* The benchmark `metrics`: what a scrape takes with 10,000 guests (--quick: 1,000), and what it
 * does to the wakes of the others.
 *
 * Real guests on the rig; AWAKENED of them are woken in turn, one at a time, in blocks: one in
 * which nobody asks and one in which a thread asks for /metrics twenty times a second, and so on,
 * so that what else the machine does meets both alike.
 *
 *   scrape_ms            from connecting until the whole answer is there; the median
 *   scrape_p99_ms
 *   wake_p99_us          put into the mailbox until the handler has returned, nobody asks; the
 *                        median of the blocks
 *   wake_scraped_p99_us  the same while scrapes go on
 *   wake_p99_ratio       of the two, in the same round; the median
 *   event_ns             noting a wake and a sleep in the journal
 */
#include "serve/metrics.h"
#include "base/http1.h"
#include "base/limits.h"
#include "result.h"
#include "rig/rig.h"
#include "serve/admin.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GUESTS       10000
#define GUESTS_QUICK 1000
#define AWAKENED     100
#define ROUNDS       9
#define BLOCK        1000
#define PAUSE_US     50000
#define NOTED        1000000

struct bench {
    struct rig rig;
    struct metrics *metrics;
    struct admin *admin;
    char socket[300];
    struct guest *guests[AWAKENED];
    struct samples wake, scrape, plain, scraped, ratio;
    pthread_t asker;
    atomic_bool asking, failed;
    unsigned changes;
};

static void die(const char *what)
{
    fprintf(stderr, "metrics: %s\n", what);
    exit(1);
}

static void observe(struct rig *r, const struct guest *g, enum guest_event ev)
{
    struct bench *b = r->ctx;

    if (ev == GE_DONE || ev == GE_SLEPT)
        samples_add(&b->wake, (double)(g->awake->done_ns - g->awake->put_ns) / 1e3);
}

static void rest(void *ctx, struct metrics_rest *out)
{
    (void)ctx;
    *out = (struct metrics_rest){0};
}

static void ready(void *ctx, admin_check *check, void *to)
{
    (void)ctx;
    check(to, "made-up", NULL);
}

static void open_all(struct bench *b, const char *dir, unsigned guests)
{
    static const char *const env[] = {"SEED=7", "MEMORY_MIB=1", "GROW_EVERY=1000000", NULL};
    static const bool without_names;
    struct metrics_source source = {.without_names = &without_names, .rest = rest};
    struct admin_source asource = {.ready = ready};
    struct err err = {0};

    b->rig.ctx = b;
    if (!rig_open(&b->rig, dir, 2, true))
        exit(1);
    for (unsigned i = 0; i < guests; i++) {
        char name[32];
        struct guest *g;

        snprintf(name, sizeof(name), "g-%u", i);
        g = rig_add(&b->rig, "ledger", name, env, NULL);
        if (!g)
            exit(1);
        if (i < AWAKENED)
            b->guests[i] = g;
    }
    source.loop = b->rig.loop;
    source.guests = b->rig.guests;
    source.arena = b->rig.arena;
    source.db = b->rig.db;
    snprintf(b->socket, sizeof(b->socket), "%s/admin.sock", dir);
    if (metrics_new(&b->metrics, &source, &err) < 0)
        die(err.msg);
    asource.metrics = b->metrics;
    if (admin_new(&b->admin, b->rig.loop, b->socket, NULL, &asource, &err) < 0)
        die(err.msg);
}

static void *ask(void *arg)
{
    struct bench *b = arg;

    while (atomic_load(&b->asking)) {
        struct http1_answer answer = {0};
        uint64_t began = clock_now_ns();

        if (http1_get_unix(&answer, b->socket, "/metrics", 0, NULL) < 0 || answer.status != 200)
            atomic_store(&b->failed, true);
        else
            samples_add(&b->scrape, (double)(clock_now_ns() - began) / 1e6);
        http1_answer_free(&answer);
        usleep(PAUSE_US);
    }
    return NULL;
}

/* BLOCK wakes, one after the other. The p99 in us. */
static double block(struct bench *b)
{
    b->wake.n = 0;
    for (unsigned i = 0; i < BLOCK; i++) {
        struct guest *g = b->guests[i % AWAKENED];
        char key[64], body[256];

        snprintf(key, sizeof(key), "test/%s", g->spec->name);
        snprintf(
            body, sizeof(body),
            "{\"apiVersion\":\"amurant.io/v1\",\"kind\":\"TestResource\",\"metadata\":{"
            "\"name\":\"%s\",\"namespace\":\"test\",\"uid\":\"u\",\"resourceVersion\":\"%u\"}}",
            g->spec->name, ++b->changes);
        rig_change(&b->rig, g, key, body);
        if (!rig_settle(&b->rig, g, 20))
            die("a guest did not settle");
    }
    return samples_quantile(&b->wake, .99);
}

static void one_round(struct bench *b)
{
    double plain = block(b), scraped;

    atomic_store(&b->asking, true);
    if (pthread_create(&b->asker, NULL, ask, b) != 0)
        die("no thread");
    scraped = block(b);
    atomic_store(&b->asking, false);
    while (pthread_tryjoin_np(b->asker, NULL) != 0) /* its last answer is the loop's to give */
        loop_turn(b->rig.loop, false);
    samples_add(&b->plain, plain);
    samples_add(&b->scraped, scraped);
    samples_add(&b->ratio, scraped / plain);
}

static double note_events(struct bench *b)
{
    struct journal *j = guests_journal(b->rig.guests);
    uint64_t began = clock_now_ns();

    for (unsigned i = 0; i < NOTED; i++) {
        const struct guest *g = b->guests[i % AWAKENED];

        journal_event(j, JOURNAL_WOKEN, g->id, "test/a");
        journal_event(j, JOURNAL_SLEPT, g->id, "");
    }
    return (double)(clock_now_ns() - began) / NOTED;
}

static void run(struct bench *b, struct result *r)
{
    block(b); /* all of them have slept once */
    for (int i = 0; i < ROUNDS; i++)
        one_round(b);
    if (atomic_load(&b->failed))
        die("a scrape failed");
    result_put(r, samples_quantile(&b->scrape, .5), "metrics.scrape_ms");
    result_put(r, samples_quantile(&b->scrape, .99), "metrics.scrape_p99_ms");
    result_put(r, samples_quantile(&b->plain, .5), "metrics.wake_p99_us");
    result_put(r, samples_quantile(&b->scraped, .5), "metrics.wake_scraped_p99_us");
    result_put(r, samples_quantile(&b->ratio, .5), "metrics.wake_p99_ratio");
    result_put(r, note_events(b), "metrics.event_ns");
}

static void close_all(struct bench *b)
{
    admin_free(b->admin);
    metrics_free(b->metrics);
    rig_close(&b->rig);
    samples_free(&b->wake);
    samples_free(&b->scrape);
    samples_free(&b->plain);
    samples_free(&b->scraped);
    samples_free(&b->ratio);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"quick", no_argument, NULL, 'q'},
                                            {0}};
    static struct bench b = {.rig.observe = observe};
    const char *dir = NULL, *json = NULL;
    unsigned guests = GUESTS;
    struct result *r;
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'd')
            dir = optarg;
        else if (opt == 'j')
            json = optarg;
        else if (opt == 'q')
            guests = GUESTS_QUICK;
        else
            return 2;
    }
    if (!dir)
        die("--dir is missing");
    signal(SIGPIPE, SIG_IGN);
    log_init(LOG_ERROR, "text");
    r = result_new("metrics");
    result_setting(r, "guests", "%u", guests);
    open_all(&b, dir, guests);
    run(&b, r);
    close_all(&b);
    return result_finish(r, json) < 0;
}
