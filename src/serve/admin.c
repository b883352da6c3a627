/* Life, the table of routes, and the handlers of what is only read. Answers are made whole in
 * memory; what does not fit HTTP1_BODY_BYTES_MAX is a 500 and not half an answer. How a request
 * finds its row is in admin_route.c.
 */
#include "base/http1.h"
#include "base/limits.h"
#include "base/log.h"
#include "serve/admin_internal.h"
#include "serve/admin_journal.h"
#include "serve/metrics.h"

#include <stdlib.h>
#include <string.h>

/* --- handlers --- */

/* Conditions, gathered in both forms. */
struct checks {
    struct buf reasons, verbose;
    bool failed, full;
};

static void put(struct checks *c, struct buf *to, const char *text)
{
    c->full |= buf_puts(to, text, NULL) < 0;
}

static void check_failed(struct checks *c, const char *name, const char *reasons)
{
    c->failed = true;
    put(c, &c->reasons, reasons);
    put(c, &c->verbose, "[-]");
    put(c, &c->verbose, name);
    put(c, &c->verbose, " failed: ");
    for (const char *end; (end = strchr(reasons, '\n')); reasons = end + 1) {
        c->full |= buf_append(&c->verbose, reasons, (size_t)(end - reasons), NULL) < 0;
        if (end[1])
            put(c, &c->verbose, "; ");
    }
    put(c, &c->verbose, reasons);
    put(c, &c->verbose, "\n");
}

static void check_one(void *to, const char *name, const char *reasons)
{
    struct checks *c = to;

    if (reasons) {
        check_failed(c, name, reasons);
        return;
    }
    put(c, &c->verbose, "[+]");
    put(c, &c->verbose, name);
    put(c, &c->verbose, " ok\n");
}

static void answer_checks(const struct admin_call *call, struct checks *c, const char *name)
{
    int verbose = admin_query_flag(call, "verbose");

    if (verbose < 0)
        return;
    put(c, &c->verbose, name);
    put(c, &c->verbose, c->failed ? " check failed\n" : " check passed\n");
    call->res->status = c->failed || c->full ? 503 : 200;
    if (verbose && buf_cstr(&c->verbose))
        admin_text(call->res, buf_cstr(&c->verbose));
    else if (c->failed && c->reasons.len && buf_cstr(&c->reasons))
        admin_text(call->res, buf_cstr(&c->reasons));
    else
        admin_text(call->res, c->failed ? "not ready\n" : "ok\n");
}

static void healthz(struct admin *a, const struct admin_call *call)
{
    struct checks c = {0};

    (void)a;
    check_one(&c, "ping", NULL);
    answer_checks(call, &c, "healthz");
    buf_free(&c.verbose);
}

static void readyz(struct admin *a, const struct admin_call *call)
{
    struct checks c = {0};

    check_one(&c, "ping", NULL);
    a->source.ready(a->source.ctx, check_one, &c);
    answer_checks(call, &c, "readyz");
    buf_free(&c.reasons);
    buf_free(&c.verbose);
}

static void version(struct admin *a, const struct admin_call *call)
{
    (void)a;
    admin_json(call->res, json_pack("{s:s}", "version", ROOST_VERSION));
}

static void stats(struct admin *a, const struct admin_call *call)
{
    if (!a->source.stats) {
        http1_problem(call->res, 404, "there is nothing at this path");
        return;
    }
    admin_json(call->res, a->source.stats(a->source.ctx));
    if (a->source.reset && admin_query_flag(call, "reset") == 1 && !call->req->head)
        a->source.reset(a->source.ctx);
}

static void log_level_show(struct admin *a, const struct admin_call *call)
{
    (void)a;
    admin_json(call->res, json_pack("{s:s}", "level", log_level_name(log_level_get())));
}

/* Until it is set again, or a reload of the options changes it. */
static void log_level_change(struct admin *a, const struct admin_call *call)
{
    json_t *body = json_loadb((const char *)call->req->body->data, call->req->body->len, 0, NULL);
    const char *text = json_string_value(json_object_get(body, "level"));
    enum log_level level;

    if (!text || json_object_size(body) != 1) {
        http1_problem(call->res, 400, "the body must be {\"level\": \"info\"}");
    } else if (!log_level_find(text, &level)) {
        http1_problem(call->res, 422, "level: must be one of debug, info, warn, error");
    } else {
        log_level_set(level);
        log_level_show(a, call);
    }
    json_decref(body);
}

static void logs(struct admin *a, const struct admin_call *call)
{
    if (a->source.journal)
        admin_logs(a->source.journal, call);
    else
        http1_problem(call->res, 404, "there is nothing at this path");
}

static void events(struct admin *a, const struct admin_call *call)
{
    if (a->source.journal)
        admin_events(a->source.journal, call);
    else
        http1_problem(call->res, 404, "there is nothing at this path");
}

static void metrics(struct admin *a, const struct admin_call *call)
{
    if (a->source.metrics)
        metrics_answer(a->source.metrics, call->res);
    else
        http1_problem(call->res, 404, "there is nothing at this path");
}

static const struct admin_route routes[] = {
    {HTTP1_GET, "/healthz", healthz, .query = "verbose"},
    {HTTP1_GET, "/readyz", readyz, .query = "verbose"},
    {HTTP1_GET, "/metrics", metrics, .query = NULL},
    {HTTP1_GET, "/v1/version", version, .query = NULL},
    {HTTP1_GET, "/v1/openapi.json", admin_openapi, .query = NULL},
    {HTTP1_GET, "/v1/guests", admin_list, .streams = true,
     .query = "namespace labelSelector limit continue watch"},
    {HTTP1_GET, "/v1/guests/{namespace}/{name}", admin_describe, .query = NULL},
    {HTTP1_DELETE, "/v1/guests/{namespace}/{name}", admin_delete, .query = NULL},
    {HTTP1_POST, "/v1/guests/{namespace}/{name}/sleep", admin_sleep, .query = NULL},
    {HTTP1_POST, "/v1/guests/{namespace}/{name}/wake", admin_wake, .query = NULL},
    {HTTP1_POST, "/v1/apply", admin_apply, .body_max = APPLY_BYTES_MAX},
    {HTTP1_PUT, "/v1/modules/{digest}", admin_module_put, .body_max = MODULE_BYTES_MAX},
    {HTTP1_HEAD, "/v1/modules/{digest}", admin_module_head, .query = NULL},
    {HTTP1_GET, "/v1/stats", stats, .query = "reset"},
    {HTTP1_GET, "/v1/log-level", log_level_show, .query = NULL},
    {HTTP1_PUT, "/v1/log-level", log_level_change, .body_max = ADMIN_LOG_LEVEL_BYTES_MAX},
    {HTTP1_GET, "/v1/logs", logs, .streams = true, .query = ADMIN_JOURNAL_QUERY},
    {HTTP1_GET, "/v1/events", events, .streams = true, .query = ADMIN_JOURNAL_QUERY},
};
#define NROUTES (sizeof(routes) / sizeof(routes[0]))

const struct admin_route *admin_routes(size_t *n)
{
    *n = NROUTES;
    return routes;
}

/* --- the server's questions --- */

static uint64_t body_max(void *ctx, const struct http1_request *req, struct http1_response *res)
{
    struct admin_call call;
    const struct admin_route *r = admin_route_find(routes, NROUTES, req, &call, res);

    (void)ctx;
    return r ? r->body_max : 0;
}

static void handle(void *ctx, const struct http1_request *req, struct http1_response *res)
{
    struct admin_call call = {.res = res};
    const struct admin_route *r = admin_route_find(routes, NROUTES, req, &call, res);

    if (r)
        r->answer(ctx, &call);
}

/* --- life --- */

int admin_new(struct admin **out, struct loop *loop, const char *path,
              const struct admin_socket *socket, const struct admin_source *source, struct err *err)
{
    struct http1_options opts = {.body_max = body_max,
                                 .mode = socket ? socket->mode : 0,
                                 .group = socket ? socket->group : 0};
    struct admin *a = calloc(1, sizeof(*a));

    *out = NULL;
    if (!a)
        return err_set(err, ERR_NOMEM, 0, "no memory for the admin API");
    a->source = *source;
    if (http1_serve_unix(&a->server, loop, path, &opts, handle, a, err) < 0) {
        free(a);
        return err_wrap(err, "admin API");
    }
    *out = a;
    return 0;
}

void admin_free(struct admin *a)
{
    if (!a)
        return;
    http1_server_free(a->server);
    free(a);
}

struct http1_server *admin_server(struct admin *a)
{
    return a->server;
}
