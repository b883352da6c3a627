/* The benchmark `base`: what the daemon costs before it has a guest.
 *
 *   bench_base --kubeconfig FILE --dir DIR [--roost PROGRAM] [--quick] [--json FILE]
 *
 *   unconnected_mib   PSS of `roost serve --no-kubernetes`, a second after it is ready
 *   connected_mib     the same, connected to the API server
 *   binary_mib        the size of the program (bench/run gives the installed one, stripped)
 *   ready_ms          from just before fork and exec until /readyz answers 200, connected; with the
 *                     state directory of an earlier start
 *   ready_first_ms    the same with a new one, which is made and synced
 *
 * Each is the median of several starts. PSS counts pages of libraries that others use as well in
 * part, and the page cache of a program's own file in full, as far as it is mapped.
 */
#include "base/clock.h"
#include "base/http1.h"
#include "result.h"
#include "ringkit.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLE_US                                                                                  \
    3000000u /* until memory that the start needed has gone back, in steps of a second */
#define POLL_US         500
#define READY_TIMEOUT_S 20

struct bench {
    struct result *result;
    const char *kubeconfig, *dir;
    char roost[1024], state[512], log[512];
    unsigned memory_starts, ready_starts, first_starts, states;
};

static void new_state(struct bench *b)
{
    snprintf(b->state, sizeof(b->state), "%s/state-%u", b->dir, b->states++);
}

static int start(const struct bench *b, struct child *c, bool connected, struct err *err)
{
    char *argv[] = {(char *)(uintptr_t)b->roost,
                    (char *)(uintptr_t) "serve",
                    (char *)(uintptr_t) "--state",
                    (char *)(uintptr_t)b->state,
                    (char *)(uintptr_t)(connected ? "--kubeconfig" : "--no-kubernetes"),
                    connected ? (char *)(uintptr_t)b->kubeconfig : NULL,
                    NULL};

    snprintf(c->socket, sizeof(c->socket), "%s/admin.sock", b->state);
    return child_start(c, argv, b->log, false, err);
}

/* Asks until it is ready; *ns: when the answer was there. */
static int wait_ready(const struct child *c, uint64_t *ns, struct err *err)
{
    uint64_t until = clock_now_ns() + READY_TIMEOUT_S * NS_PER_S;
    bool ready = false;

    while (!ready && clock_now_ns() < until) {
        struct http1_answer answer = {0};
        struct err why = {0};

        ready =
            http1_get_unix(&answer, c->socket, "/readyz", 1000, &why) == 0 && answer.status == 200;
        http1_answer_free(&answer);
        *ns = clock_now_ns();
        if (!ready)
            usleep(POLL_US);
    }
    if (ready)
        return 0;
    return err_set(err, ERR_TIMEOUT, 0, "roost serve: not ready in %d s; see its log",
                   READY_TIMEOUT_S);
}

static int one_start(const struct bench *b, bool connected, double *ready_ms, double *pss_mib,
                     struct err *err)
{
    uint64_t began = clock_now_ns(), ready = 0;
    struct child c = {0};
    int rc;

    if (start(b, &c, connected, err) < 0)
        return -1;
    rc = wait_ready(&c, &ready, err);
    *ready_ms = (double)(ready - began) / 1e6;
    if (rc == 0 && pss_mib) {
        usleep(SETTLE_US);
        *pss_mib = child_pss_mib(&c);
    }
    if (child_stop(&c) != 0 && rc == 0)
        rc = err_set(err, ERR_IO, 0, "roost serve: it did not end with status 0; see its log");
    return rc;
}

static int measure_memory(struct bench *b, bool connected, const char *key, struct err *err)
{
    struct samples s = {0};
    double ms, mib = 0;

    for (unsigned i = 0; i < b->memory_starts; i++) {
        if (one_start(b, connected, &ms, &mib, err) < 0)
            return -1;
        samples_add(&s, mib);
    }
    result_put(b->result, samples_quantile(&s, .5), "base.%s", key);
    samples_free(&s);
    return 0;
}

static int measure_ready(struct bench *b, unsigned starts, bool first, const char *key,
                         struct err *err)
{
    struct samples s = {0};
    double ms;

    for (unsigned i = 0; i < starts; i++) {
        if (first)
            new_state(b);
        if (one_start(b, true, &ms, NULL, err) < 0)
            return -1;
        samples_add(&s, ms);
    }
    result_put(b->result, samples_quantile(&s, .5), "base.%s", key);
    samples_free(&s);
    return 0;
}

static int measure(struct bench *b, struct err *err)
{
    struct stat st;

    if (stat(b->roost, &st) < 0)
        return err_set(err, ERR_NOT_FOUND, 0, "%s: no such program", b->roost);
    result_put(b->result, (double)st.st_size / (1 << 20), "base.binary_mib");
    fprintf(stderr, "base: memory\n");
    new_state(b);
    if (measure_memory(b, false, "unconnected_mib", err) < 0 ||
        measure_memory(b, true, "connected_mib", err) < 0)
        return -1;
    fprintf(stderr, "base: time to ready\n");
    if (measure_ready(b, b->ready_starts, false, "ready_ms", err) < 0)
        return -1;
    return measure_ready(b, b->first_starts, true, "ready_first_ms", err);
}

static bool parse(struct bench *b, const char **json, int argc, char **argv)
{
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"kubeconfig", required_argument, NULL, 'k'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {"roost", required_argument, NULL, 'r'},
                                            {0}};
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'q')
            b->memory_starts = 3;
        else if (opt == 'j')
            *json = optarg;
        else if (opt == 'k')
            b->kubeconfig = optarg;
        else if (opt == 'd')
            b->dir = optarg;
        else if (opt == 'r')
            snprintf(b->roost, sizeof(b->roost), "%s", optarg);
        else
            return false;
    }
    return optind == argc && b->kubeconfig && b->dir;
}

int main(int argc, char **argv)
{
    struct bench b = {.memory_starts = 7, .ready_starts = 20, .first_starts = 20};
    const char *json = NULL;
    struct err err = {0};
    int rc;

    build_path(b.roost, sizeof(b.roost), "roost");
    if (!parse(&b, &json, argc, argv)) {
        fprintf(stderr, "usage: bench_base --kubeconfig FILE --dir DIR [--roost PROGRAM] "
                        "[--quick] [--json FILE]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    snprintf(b.log, sizeof(b.log), "%s/base.log", b.dir);
    b.result = result_new("base");
    result_setting(b.result, "memory_starts", "%u", b.memory_starts);
    result_setting(b.result, "ready_starts", "%u", b.ready_starts);
    rc = measure(&b, &err);
    if (rc < 0)
        fprintf(stderr, "base: %s\n", err.msg);
    return result_finish(b.result, rc < 0 ? NULL : json) < 0 || rc < 0;
}
