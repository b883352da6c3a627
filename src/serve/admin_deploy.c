/* What changes guests: applying and deleting them, and the store of modules. Answers come when the
 * thing is done: on disk, or gone.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/work.h"
#include "serve/admin_internal.h"
#include "serve/apply.h"
#include "serve/openapi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool here(struct admin *a, const struct admin_call *call)
{
    if (a->source.deploy)
        return true;
    http1_problem(call->res, 503, "this daemon deploys nothing");
    return false;
}

void admin_apply(struct admin *a, const struct admin_call *call)
{
    if (here(a, call))
        apply_begin(a->source.deploy, call->req->body, call->res);
}

/* --- deleting --- */

static int status_of(const struct err *err)
{
    switch (err->code) {
    case ERR_NOT_FOUND:
        return 404;
    case ERR_EXISTS:
    case ERR_AGAIN:
        return 409;
    case ERR_IO:
        return 507;
    default:
        return 503;
    }
}

static void deleted(void *ctx, const struct err *err)
{
    struct http1_later *later = ctx;
    struct http1_response *res = http1_later_response(later);

    if (err)
        http1_problem(res, status_of(err), err->msg);
    else
        admin_json(res, json_pack("{s:s}", "result", "deleted"));
    http1_later_send(later);
}

void admin_delete(struct admin *a, const struct admin_call *call)
{
    char id[2 * SPEC_SUBDOMAIN_MAX + 2];
    struct http1_later *later;
    struct err err = {0};

    if (!here(a, call) || !(later = http1_later_begin(call->res)))
        return;
    snprintf(id, sizeof(id), "%.253s/%.253s", call->param[0], call->param[1]);
    if (deploy_remove(a->source.deploy, id, deleted, later, &err) < 0)
        deleted(later, &err);
}

/* --- modules --- */

struct storing {
    const char *state_dir;
    struct http1_later *later;
    struct buf body;
    uint8_t digest[IMAGE_DIGEST_BYTES];
    struct err err;
};

static void store(void *ctx)
{
    struct storing *s = ctx;

    if (module_store(s->state_dir, s->digest, s->body.data ? s->body.data : (const void *)"",
                     s->body.len, &s->err) == 0)
        s->err = (struct err){0};
}

static void stored(void *ctx)
{
    struct storing *s = ctx;
    struct http1_response *res = http1_later_response(s->later);
    char name[MODULE_NAME_BYTES];

    module_name(name, s->digest);
    if (s->err.code == ERR_CORRUPT || s->err.code == ERR_INVALID)
        http1_problem(res, 422, s->err.msg);
    else if (s->err.code != ERR_NONE)
        http1_problem(res, 507, s->err.msg);
    else
        admin_json(res, json_pack("{s:s, s:I}", "digest", name, "bytes", (json_int_t)s->body.len));
    http1_later_send(s->later);
    buf_free(&s->body);
    free(s);
}

static int digest_of(const struct admin_call *call, uint8_t digest[IMAGE_DIGEST_BYTES])
{
    if (module_name_read(call->param[0], digest) == 0)
        return 0;
    http1_problem(call->res, 400, "a module is called sha256: and 64 digits, in lower case");
    return -1;
}

void admin_module_put(struct admin *a, const struct admin_call *call)
{
    struct storing *s = here(a, call) ? calloc(1, sizeof(*s)) : NULL;
    struct err err = {0};

    if (!a->source.deploy)
        return;
    if (!s || digest_of(call, s->digest) < 0 || !(s->later = http1_later_begin(call->res))) {
        if (!s)
            http1_problem(call->res, 503, "no memory: try again");
        free(s);
        return;
    }
    s->state_dir = deploy_options(a->source.deploy)->state_dir;
    s->body = *call->req->body;
    *call->req->body = (struct buf){0};
    if (work_start(deploy_options(a->source.deploy)->loop, store, stored, s, &err) < 0) {
        s->err = err;
        stored(s);
    }
}

void admin_module_head(struct admin *a, const struct admin_call *call)
{
    uint8_t digest[IMAGE_DIGEST_BYTES];
    char path[4096];

    if (!here(a, call) || digest_of(call, digest) < 0)
        return;
    if (module_store_path(path, sizeof(path), deploy_options(a->source.deploy)->state_dir, digest) <
            0 ||
        !module_stored(path))
        http1_problem(call->res, 404, "this module is not in the store");
}

/* --- what there is --- */

void admin_openapi(struct admin *a, const struct admin_call *call)
{
    (void)a;
    if (buf_append(&call->res->body, openapi_json, openapi_json_len, NULL) < 0)
        http1_problem(call->res, 500, "no memory for the answer");
}
