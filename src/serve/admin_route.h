/* The table of the admin API's routes, how a request finds its row, and what its handler is given.
 *
 * A route is a method and a path, of which a part in braces stands for any one part that is not
 * empty: "/v1/guests/{namespace}/{name}". Paths are compared as they were sent, nothing is decoded;
 * values of the query are. A new route is a row in admin.c and its handler, here or in a file of
 * its own, and its description in docs/openapi.json. Loop thread.
 */
#ifndef ROOST_SERVE_ADMIN_ROUTE_H
#define ROOST_SERVE_ADMIN_ROUTE_H

#include "base/http1.h"

#include <jansson.h>
#include <stdbool.h>

struct admin;
struct admin_route;

/* One request on its way through its handler. */
struct admin_call {
    const struct admin_route *route;
    const struct http1_request *req;
    struct http1_response *res;
    const char *param[ADMIN_PARAMS_MAX]; /* the parts in braces, in order; the others are NULL */
    char path[HTTP1_TARGET_MAX + 1];     /* where they are */
};

struct admin_route {
    enum http1_method method; /* GET answers HEAD too, where that has no row */
    const char *path;
    void (*answer)(struct admin *a, const struct admin_call *call);
    uint64_t body_max; /* of the request, in bytes */
    bool streams;      /* its answer has no end of its own */
    const char *query; /* the parameters that it knows, with spaces between; NULL: none */
};

/* The row of a request, with call filled but for res; else NULL, and res is a problem: 404, 405
 * with what is allowed, 400 for a parameter that the route does not know. Pure. */
const struct admin_route *admin_route_find(const struct admin_route *routes, size_t n,
                                           const struct http1_request *req, struct admin_call *call,
                                           struct http1_response *res);

/* The value of a parameter of the query, decoded: 1; 0: it is not there (out is empty); -1: it is
 * malformed or longer than cap, and the response says so. */
int admin_query(const struct admin_call *call, const char *name, char *out, size_t cap);
/* The same for a whole number up to max; *out stays as it is where the parameter is not there. */
int admin_query_number(const struct admin_call *call, const char *name, uint64_t max,
                       uint64_t *out);
/* Whether it is there and says yes: "1", "true" or no value. -1: something else, as above. */
int admin_query_flag(const struct admin_call *call, const char *name);

/* Takes json; NULL is an answer too (500). */
void admin_json(struct http1_response *res, json_t *json);
void admin_text(struct http1_response *res, const char *text);

#endif
