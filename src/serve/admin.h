/* The admin API: HTTP/1.1 with JSON over a Unix socket in the state directory (0600). What there is
 * is the table of routes in admin.c, described in docs/openapi.json.
 *
 * Errors are problem+json. Handlers are in admin.c, and by what they are about in admin_guests.c,
 * admin_deploy.c and admin_journal.c. Loop thread.
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
struct deploy;
struct guests_view;
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
    struct guests_view *view; /* NULL: list is asked */
    struct deploy *deploy;    /* NULL: nothing can be changed */
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
