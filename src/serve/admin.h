/* The admin API: read-only HTTP/1.1 with JSON over a Unix socket in the state directory (0600).
 *
 *   /healthz                  200 "ok": the loop turns
 *   /readyz                   200 "ok", or 503 with a reason on each line; with ?verbose a line for
 *                             each condition, as kube-apiserver has them
 *   /v1/version               {"version": ...}
 *   /v1/guests                {"items": [guest, ...]}
 *   /v1/guests/NAMESPACE/NAME what `roost describe` shows
 *   /metrics                  Prometheus' text format
 *   /v1/logs, /v1/events      what guests said, what happened to them: streams
 *   /v1/stats                 counters and latencies; with ?reset they start anew after the answer
 *
 * Errors are problem+json. docs/cli.md has the fields. It knows nothing of guests: what it shows
 * comes through the source below, on the loop thread.
 */
#ifndef ROOST_SERVE_ADMIN_H
#define ROOST_SERVE_ADMIN_H

#include "base/buf.h"
#include "base/loop.h"
#include "guest/journal.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct admin;
struct http1_server;

/* What one condition of readiness is: reasons NULL: it holds; else a line for each reason why it
 * does not. */
typedef void admin_check(void *to, const char *name, const char *reasons);

/* Where the answers come from. stats, reset, journal and metrics may be NULL: the route is then not
 * there.
 */
struct admin_source {
    void *ctx;
    struct journal *journal;
    /* Calls check for each condition; the daemon is ready if all hold. */
    void (*ready)(void *ctx, admin_check *check, void *to);
    /* Appends an object for each guest. -1: no memory. */
    int (*list)(void *ctx, json_t *array);
    /* 0 and *out, a new reference; -1: there is no such guest. The names are not checked. */
    int (*describe)(void *ctx, const char *namespace_, const char *name, json_t **out);
    /* A new reference; NULL: no memory. */
    json_t *(*stats)(void *ctx);
    void (*reset)(void *ctx);
    struct metrics *metrics;
};

/* Of the socket file; 0: 0600, and the process's group. */
struct admin_socket {
    mode_t mode;
    gid_t group;
};

/* Listens at the path. Copies source; socket may be NULL. Errors are those of http1_serve_unix. */
int admin_new(struct admin **out, struct loop *loop, const char *path,
              const struct admin_socket *socket, const struct admin_source *source, struct err *err)
    ERR_CHECK;
/* For those who bring it connections from elsewhere. */
struct http1_server *admin_server(struct admin *a);
/* Closes; the memory goes when the loop has closed the handles. No function of the source is called
 * any more. NULL is fine. */
void admin_free(struct admin *a);

#endif
