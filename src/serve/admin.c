/* Routes as a table: an exact path, or a prefix whose rest the function takes apart. Answers are
 * made whole in memory; what does not fit HTTP1_BODY_BYTES_MAX is a 500 and not half an answer.
 */
#include "serve/admin.h"

#include "base/http1.h"
#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

struct admin {
    struct http1_server *server;
    struct admin_source source;
};

struct route {
    const char *path;
    bool prefix;
    void (*answer)(const struct admin *a, const struct http1_request *req,
                   struct http1_response *res);
};

/* --- answers --- */

static int append(const char *data, size_t len, void *ctx)
{
    return buf_append(ctx, data, len, NULL);
}

/* Takes json; NULL is an answer too. */
static void answer_json(struct http1_response *res, json_t *json)
{
    if (!json || json_dump_callback(json, append, &res->body, JSON_COMPACT) < 0 ||
        buf_puts(&res->body, "\n", NULL) < 0)
        http1_problem(res, 500, "the answer could not be made: no memory, or too large");
    json_decref(json);
}

static void answer_text(struct http1_response *res, const char *text)
{
    res->content_type = "text/plain; charset=utf-8";
    if (buf_puts(&res->body, text, NULL) < 0)
        res->status = 500;
}

static void healthz(const struct admin *a, const struct http1_request *req,
                    struct http1_response *res)
{
    (void)a;
    (void)req;
    answer_text(res, "ok\n");
}

static void readyz(const struct admin *a, const struct http1_request *req,
                   struct http1_response *res)
{
    (void)req;
    if (a->source.ready(a->source.ctx, &res->body)) {
        res->body.len = 0;
        answer_text(res, "ok\n");
        return;
    }
    res->status = 503;
    answer_text(res, res->body.len ? "" : "not ready\n");
}

static void version(const struct admin *a, const struct http1_request *req,
                    struct http1_response *res)
{
    (void)a;
    (void)req;
    answer_json(res, json_pack("{s:s}", "version", ROOST_VERSION));
}

static void list(const struct admin *a, const struct http1_request *req, struct http1_response *res)
{
    json_t *items = json_array();

    (void)req;
    if (!items || a->source.list(a->source.ctx, items) < 0) {
        json_decref(items);
        answer_json(res, NULL);
        return;
    }
    answer_json(res, json_pack("{s:o}", "items", items));
}

static void describe(const struct admin *a, const struct http1_request *req,
                     struct http1_response *res)
{
    char names[HTTP1_TARGET_MAX + 1];
    char *slash;
    json_t *guest = NULL;

    memcpy(names, req->path, strlen(req->path) + 1);
    memmove(names, names + strlen("/v1/guests/"), strlen(names) - strlen("/v1/guests/") + 1);
    slash = strchr(names, '/');
    if (!slash || slash == names || !slash[1] || strchr(slash + 1, '/')) {
        http1_problem(res, 404, "a guest is /v1/guests/NAMESPACE/NAME");
        return;
    }
    *slash = 0;
    if (a->source.describe(a->source.ctx, names, slash + 1, &guest) < 0)
        http1_problem(res, 404, "there is no such guest");
    else
        answer_json(res, guest);
}

static void stats(const struct admin *a, const struct http1_request *req,
                  struct http1_response *res)
{
    if (!a->source.stats) {
        http1_problem(res, 404, "there is nothing at this path");
        return;
    }
    answer_json(res, a->source.stats(a->source.ctx));
    if (a->source.reset && strcmp(req->query, "reset") == 0 && !req->head)
        a->source.reset(a->source.ctx);
}

static void handle(void *ctx, const struct http1_request *req, struct http1_response *res)
{
    static const struct route routes[] = {
        {"/healthz", false, healthz},    {"/readyz", false, readyz},
        {"/v1/version", false, version}, {"/v1/guests", false, list},
        {"/v1/guests/", true, describe}, {"/v1/stats", false, stats},
    };

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *r = &routes[i];

        if (r->prefix ? strncmp(req->path, r->path, strlen(r->path)) == 0
                      : strcmp(req->path, r->path) == 0) {
            r->answer(ctx, req, res);
            return;
        }
    }
    http1_problem(res, 404, "there is nothing at this path");
}

/* --- life --- */

int admin_new(struct admin **out, struct loop *loop, const char *path,
              const struct admin_source *source, struct err *err)
{
    struct admin *a = calloc(1, sizeof(*a));

    *out = NULL;
    if (!a)
        return err_set(err, ERR_NOMEM, 0, "no memory for the admin API");
    a->source = *source;
    if (http1_serve_unix(&a->server, loop, path, NULL, handle, a, err) < 0) {
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
