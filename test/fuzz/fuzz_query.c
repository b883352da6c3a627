/* Targets of the admin API: a row is found or the answer is a problem, and what comes out of a
 * query is clean text that fits.
 */
#include "serve/admin_route.h"

#include "base/text.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void answer(struct admin *a, const struct admin_call *call)
{
    (void)a;
    (void)call;
}

static const struct admin_route routes[] = {
    {HTTP1_GET, "/v1/guests", answer, .query = "namespace labelSelector limit watch"},
    {HTTP1_GET, "/v1/guests/{namespace}/{name}", answer, .query = NULL},
    {HTTP1_POST, "/v1/guests/{namespace}/{name}/wake", answer, .query = "now"},
};

static void ask_all(struct admin_call *call)
{
    char out[32];
    uint64_t n = 0;

    if (admin_query(call, "labelSelector", out, sizeof(out)) == 1)
        assert(strlen(out) < sizeof(out) && text_is_clean(out));
    if (admin_query_number(call, "limit", 1000, &n) == 1)
        assert(n <= 1000);
    assert(admin_query_flag(call, "watch") <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct http1_request req = {.method = HTTP1_GET};
    struct http1_response res = {0};
    struct admin_call call = {.res = &res};
    char *query;

    if (len > HTTP1_TARGET_MAX || memchr(data, 0, len))
        return 0;
    memcpy(req.path, data, len);
    query = strchr(req.path, '?');
    if (query)
        *query++ = 0;
    req.query = query ? query : req.path + len;
    if (admin_route_find(routes, sizeof(routes) / sizeof(routes[0]), &req, &call, &res))
        ask_all(&call);
    else
        assert(res.status == 400 || res.status == 404 || res.status == 405);
    buf_free(&res.body);
    return 0;
}
