/* The peer of the ring: the same requests as N ring operators make, from one bare C client without
 * guests. What is left of a round in Roost above this is Roost's own.
 *
 *   bench_ring_floor KUBECONFIG N
 *
 * One watch over all namespaces; for each change in ring-i: GET in ring-(i+1) as the service
 * account of ring-i, then POST or PUT there if it is behind.
 */
#include "ringkit.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/sched.h"
#include "kube/call.h"
#include "kube/client.h"
#include "kube/kubeconfig.h"
#include "kube/reflector.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    struct loop *loop;
    struct kube_http http;
    unsigned n;
} floor_;

/* One hop under way. */
struct hop {
    unsigned from;
    long long nonce;
    char name[64], user[128], group[128];
    const char *groups[4];
};

static unsigned target_of(const struct hop *h)
{
    return (h->from + 1) % floor_.n;
}

static int hop_send(struct hop *h, const char *method, const char *path, const char *body,
                    kube_call_done *done)
{
    struct kube_request req = {.method = method,
                               .path = path,
                               .headers = body ? "Content-Type: application/json\n" : NULL,
                               .body = body,
                               .body_len = body ? strlen(body) : 0,
                               .user = h->user,
                               .groups = h->groups,
                               .lane = KUBE_CALL};
    struct kube_call *call;
    struct err err = {0};

    if (kube_call_start(&call, &floor_.http, &req, done, h, &err) == 0)
        return 0;
    fprintf(stderr, "floor: %s %s: %s\n", method, path, err.msg);
    free(h);
    return -1;
}

static void written(void *ctx, const uint8_t *body, size_t len, const struct err *err)
{
    struct hop *h = ctx;

    (void)body;
    (void)len;
    if (err)
        fprintf(stderr, "floor: write: %s\n", err->msg);
    free(h);
}

static void write_next(struct hop *h, const char *version)
{
    char path[256], body[512];

    snprintf(path, sizeof(path), "/apis/amurant.io/v1/namespaces/ring-%u/testresources%s%s",
             target_of(h), version ? "/" : "", version ? h->name : "");
    snprintf(body, sizeof(body),
             "{\"apiVersion\":\"amurant.io/v1\",\"kind\":\"TestResource\",\"metadata\":{\"name\":"
             "\"%s\",\"namespace\":\"ring-%u\"%s%s%s},\"spec\":{\"nonce\":%lld,\"updated_at\":"
             "\"\"}}",
             h->name, target_of(h), version ? ",\"resourceVersion\":\"" : "",
             version ? version : "", version ? "\"" : "", h->nonce);
    hop_send(h, version ? "PUT" : "POST", path, body, written);
}

static void got(void *ctx, const uint8_t *body, size_t len, const struct err *err)
{
    struct hop *h = ctx;
    json_t *doc;
    const char *version;
    long long there;

    if (err && err->code == ERR_NOT_FOUND) {
        write_next(h, NULL);
        return;
    }
    if (err) {
        fprintf(stderr, "floor: read: %s\n", err->msg);
        free(h);
        return;
    }
    doc = json_loadb((const char *)body, len, 0, NULL);
    version =
        json_string_value(json_object_get(json_object_get(doc, "metadata"), "resourceVersion"));
    there = json_integer_value(json_object_get(json_object_get(doc, "spec"), "nonce"));
    if (version && there < h->nonce)
        write_next(h, version);
    else
        free(h);
    json_decref(doc);
}

static void upsert(void *ctx, struct kube_object *obj)
{
    struct hop *h;
    char path[256];
    unsigned from = ring_place(obj->namespace_);
    json_t *doc;

    (void)ctx;
    if (from >= floor_.n)
        return;
    h = calloc(1, sizeof(*h));
    doc = h ? json_loadb(obj->json, obj->json_len, 0, NULL) : NULL;
    if (!doc) {
        free(h);
        return;
    }
    h->from = from;
    h->nonce = json_integer_value(json_object_get(json_object_get(doc, "spec"), "nonce"));
    json_decref(doc);
    snprintf(h->name, sizeof(h->name), "%s", obj->name);
    snprintf(h->user, sizeof(h->user), "system:serviceaccount:ring-%u:ring", from);
    snprintf(h->group, sizeof(h->group), "system:serviceaccounts:ring-%u", from);
    h->groups[0] = "system:serviceaccounts";
    h->groups[1] = h->group;
    h->groups[2] = "system:authenticated";
    snprintf(path, sizeof(path), "/apis/amurant.io/v1/namespaces/ring-%u/testresources/%s",
             target_of(h), h->name);
    hop_send(h, "GET", path, NULL, got);
}

static void deleted(void *ctx, struct kube_object *obj)
{
    (void)ctx;
    (void)obj;
}

static void stop(void *ctx, int signum)
{
    (void)signum;
    loop_stop(ctx);
}

static int run(const char *kubeconfig, struct err *err)
{
    struct kube_config *config = NULL;
    struct kube_client *client = NULL;
    struct reflector *reflector = NULL;
    struct reflector_opts opts = {.path = "/apis/amurant.io/v1/testresources",
                                  .seed = 1,
                                  .sink = {.upsert = upsert, .deleted = deleted}};

    if (kube_config_load(&config, kubeconfig, NULL, err) < 0 || loop_new(&floor_.loop, err) < 0 ||
        kube_client_new(&client, floor_.loop, config, err) < 0)
        return -1;
    floor_.http = kube_http_of(client);
    opts.http = floor_.http;
    opts.time = kube_time_of(floor_.loop);
    if (loop_on_signal(floor_.loop, SIGTERM, stop, floor_.loop, err) < 0 ||
        reflector_new(&reflector, &opts, err) < 0 || reflector_start(reflector, err) < 0)
        return -1;
    sched_prompt(); /* as the daemon's loop does */
    loop_run(floor_.loop);
    /* Calls under way go with the process. */
    return 0;
}

int main(int argc, char **argv)
{
    struct err err = {0};

    if (argc != 3) {
        fprintf(stderr, "usage: bench_ring_floor KUBECONFIG N\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    log_init(LOG_INFO, "text");
    floor_.n = (unsigned)strtoul(argv[2], NULL, 10);
    if (run(argv[1], &err) < 0) {
        fprintf(stderr, "floor: %s\n", err.msg);
        return 1;
    }
    return 0;
}
