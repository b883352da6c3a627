/* The ring, for benchmark and demo: N operators, each copying TestResources from its namespace to
 * the next one, so that a change goes round.
 *
 * Sets up what the ring needs in the API server, starts `roost serve` (or the bare client) as a
 * child process, sends a value round by changing the object in the first namespace, and sees its
 * arrival in each namespace through a watch of its own. Blocking: each function turns the loop
 * until it is done.
 */
#ifndef ROOST_BENCH_RINGKIT_H
#define ROOST_BENCH_RINGKIT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/loop.h"
#include "kube/client.h"
#include "kube/kubeconfig.h"
#include "kube/reflector.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define RING_MAX 1000

struct ring {
    struct loop *loop;
    struct kube_config *config;
    struct kube_client *client;
    struct reflector *reflector;
    unsigned n;
    long long nonce[RING_MAX];     /* seen in each namespace; -1: no object */
    uint64_t arrived_ns[RING_MAX]; /* when it was seen */
    long long round;               /* the nonce of the last round */
    unsigned set_up;               /* namespaces that ring_setup has made so far */
    bool synced;
    volatile bool interrupted; /* by SIGINT or SIGTERM: everything returns soon */
    /* Called every 100 ms while waiting, and for each namespace made: for a live display. */
    void (*idle)(void *ctx);
    void *ctx;
};

/* Its place in the ring by a namespace's name; RING_MAX: none of them. */
static inline unsigned ring_place(const char *namespace)
{
    char *end = NULL;
    unsigned long i = strncmp(namespace, "ring-", 5) == 0 ? strtoul(namespace + 5, &end, 10) : 0;

    return end && !*end && i < RING_MAX ? (unsigned)i : RING_MAX;
}

int ring_open(struct ring *r, const char *kubeconfig, unsigned n, struct err *err) ERR_CHECK;
void ring_close(struct ring *r);
/* CRD, namespaces ring-0…, service accounts, roles, and the first object. Idempotent. */
int ring_setup(struct ring *r, struct err *err) ERR_CHECK;
/* Writes N Guest manifests to dir (which exists). */
int ring_manifests(const struct ring *r, const char *dir, const char *module, struct err *err)
    ERR_CHECK;
/* Watches all TestResources from here on. */
int ring_watch(struct ring *r, struct err *err) ERR_CHECK;
/* One request as the kubeconfig's user. headers, body and answer may be NULL. Not 2xx is an error:
 * err->sys is the status. */
int ring_request(struct ring *r, const char *method, const char *path, const char *headers,
                 const char *body, struct buf *answer, struct err *err) ERR_CHECK;
/* Sends the next value round. *took_ns: from the change's request until it was seen in the last
 * namespace. ERR_TIMEOUT: it did not arrive in so many seconds. */
int ring_round(struct ring *r, unsigned timeout_s, uint64_t *took_ns, struct err *err) ERR_CHECK;
/* Turns the loop for so long. */
void ring_rest(struct ring *r, unsigned ms);

/* --- the child --- */
struct child {
    pid_t pid;
    char cgroup[256]; /* its memory cgroup's folder; "" where none can be made */
    char socket[512]; /* the admin socket; "" for the bare client */
};

/* The path of a program or module of the build that this program is from: "roost",
 * "guests/ring.wasm". */
void build_path(char *out, size_t cap, const char *name);
/* Starts argv with its output in logfile; cgroup: in a memory cgroup of its own, if one can be
 * made. It ends with us, however we end. */
int child_start(struct child *c, char *const argv[], const char *logfile, bool cgroup,
                struct err *err) ERR_CHECK;
/* Waits until the admin socket answers /readyz with 200. */
int child_ready(struct ring *r, struct child *c, unsigned timeout_s, struct err *err) ERR_CHECK;
/* SIGTERM, and waits; SIGKILL after 20 s. Its exit status, 128 + signal if one ended it. */
int child_stop(struct child *c);
/* PSS in MiB, from /proc. */
double child_pss_mib(const struct child *c);
/* CPU time so far, in seconds. */
double child_cpu_s(const struct child *c);
/* Charged to the cgroup, in MiB; -1 where there is none. rss_only: without the page cache. */
double child_cgroup_mib(const struct child *c, bool rss_only);
/* One line of the cgroup's memory.stat, in MiB; -1 where there is none. */
double child_cgroup_stat_mib(const struct child *c, const char *key);
/* GET /v1/stats; reset: they start anew. NULL on failure. */
json_t *child_stats(const struct child *c, bool reset);

#endif
