/* Between the files of the admin API: admin.c (life, the table), and those with handlers. */
#ifndef ROOST_SERVE_ADMIN_INTERNAL_H
#define ROOST_SERVE_ADMIN_INTERNAL_H

#include "serve/admin.h"
#include "serve/admin_route.h"

struct admin {
    struct http1_server *server;
    struct admin_source source;
};

/* The table, for the test that compares it with docs/openapi.json. */
const struct admin_route *admin_routes(size_t *n);

typedef void admin_handler(struct admin *a, const struct admin_call *call);

/* --- admin_guests.c: what is seen of guests, and put to sleep or woken --- */
admin_handler admin_list, admin_describe, admin_sleep, admin_wake;

/* --- admin_deploy.c: what changes guests --- */
admin_handler admin_apply, admin_delete, admin_module_put, admin_module_head, admin_openapi;

#endif
