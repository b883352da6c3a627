/* See admin_route.h. Must never: decode a path, or let a parameter that nothing looks at pass for
 * one that was heeded.
 */
#include "serve/admin_route.h"

#include "base/nearest.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- paths --- */

static size_t part_len(const char *s)
{
    return strcspn(s, "/");
}

/* Whether path is as the pattern says. Cuts the parts in braces out of path, which it may change
 * also where it says no. */
static bool path_matches(const char *pattern, char *path, const char **param)
{
    size_t n = 0;

    for (;;) {
        size_t want = part_len(pattern), have = part_len(path);
        bool any = pattern[0] == '{';

        if (any ? have == 0 : want != have || memcmp(pattern, path, want) != 0)
            return false;
        if (any && n < ADMIN_PARAMS_MAX)
            param[n++] = path;
        if (!pattern[want] || !path[have])
            return !pattern[want] && !path[have];
        path[have] = 0; /* the part before this '/' ends here */
        pattern += want + 1;
        path += have + 1;
    }
}

static bool route_matches(const struct admin_route *r, const struct http1_request *req,
                          struct admin_call *call)
{
    memset(call->param, 0, sizeof(call->param));
    memcpy(call->path, req->path, strlen(req->path) + 1);
    return path_matches(r->path, call->path, call->param);
}

/* --- the query --- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Control characters and what is no UTF-8 are refused: no value has a use for them. */
static int decode(const char *s, size_t len, char *out, size_t cap)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        int c = s[i] == '+' ? ' ' : (unsigned char)s[i];

        if (c == '%') {
            int high = i + 2 < len ? hex(s[i + 1]) : -1, low = high >= 0 ? hex(s[i + 2]) : -1;

            if (low < 0)
                return -1;
            c = high * 16 + low;
            i += 2;
        }
        if (c == 0 || n + 1 >= cap)
            return -1;
        out[n++] = (char)c;
    }
    out[n] = 0;
    return text_is_clean(out) ? 0 : -1;
}

/* The next "name=value" of a query, moving *at behind it; false: there is none. */
static bool next_pair(const char **at, const char **name, size_t *name_len, const char **value,
                      size_t *value_len)
{
    const char *p = *at, *equals;
    size_t len;

    while (*p == '&')
        p++;
    if (!*p)
        return false;
    len = strcspn(p, "&");
    equals = memchr(p, '=', len);
    *name = p;
    *name_len = equals ? (size_t)(equals - p) : len;
    *value = equals ? equals + 1 : p + len;
    *value_len = (size_t)(p + len - *value);
    *at = p + len;
    return true;
}

static bool word_in(const char *list, const char *word, size_t len)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, " ");

        if (n == len && memcmp(p, word, len) == 0)
            return true;
        p += n + strspn(p + n, " ");
    }
    return false;
}

static void unknown_parameter(const struct admin_route *r, const char *name, size_t len,
                              struct http1_response *res)
{
    char text[256], word[NEAREST_WORD_MAX + 1];

    snprintf(word, sizeof(word), "%.*s", (int)(len < NEAREST_WORD_MAX ? len : NEAREST_WORD_MAX),
             name);
    snprintf(text, sizeof(text), "%s has no parameter \"%s\"; it has: %s", r->path, word,
             r->query ? r->query : "none");
    text_clean(text);
    http1_problem(res, 400, text);
}

static bool query_known(const struct admin_route *r, const struct http1_request *req,
                        struct http1_response *res)
{
    const char *at = req->query, *name, *value;
    size_t len, value_len;

    while (next_pair(&at, &name, &len, &value, &value_len)) {
        if (!word_in(r->query, name, len)) {
            unknown_parameter(r, name, len, res);
            return false;
        }
    }
    return true;
}

static void malformed(const struct admin_call *call, const char *name, const char *what)
{
    char text[160];

    snprintf(text, sizeof(text), "parameter %s: %s", name, what);
    http1_problem(call->res, 400, text);
}

int admin_query(const struct admin_call *call, const char *name, char *out, size_t cap)
{
    const char *at = call->req->query, *key, *value;
    size_t len, value_len;

    out[0] = 0;
    while (next_pair(&at, &key, &len, &value, &value_len)) {
        if (len != strlen(name) || memcmp(key, name, len) != 0)
            continue;
        if (decode(value, value_len, out, cap) == 0)
            return 1;
        out[0] = 0;
        malformed(call, name, "is malformed or too long");
        return -1;
    }
    return 0;
}

int admin_query_number(const struct admin_call *call, const char *name, uint64_t max, uint64_t *out)
{
    char text[16], what[64];
    uint64_t n = 0;
    int there = admin_query(call, name, text, sizeof(text));
    bool digits = text[0] && text[strspn(text, "0123456789")] == 0;

    if (there <= 0)
        return there;
    for (const char *p = text; digits && *p; p++)
        n = n * 10 + (uint64_t)(*p - '0');
    if (!digits || n > max) {
        snprintf(what, sizeof(what), "must be a whole number up to %llu", (unsigned long long)max);
        malformed(call, name, what);
        return -1;
    }
    *out = n;
    return 1;
}

int admin_query_flag(const struct admin_call *call, const char *name)
{
    char text[8];
    int there = admin_query(call, name, text, sizeof(text));

    if (there <= 0)
        return there;
    if (!text[0] || strcmp(text, "1") == 0 || strcmp(text, "true") == 0)
        return 1;
    if (strcmp(text, "0") == 0 || strcmp(text, "false") == 0)
        return 0;
    malformed(call, name, "must be 1 or 0");
    return -1;
}

/* --- the row --- */

static void note_allowed(struct http1_response *res, enum http1_method method)
{
    size_t len = strlen(res->allow);

    if (!strstr(res->allow, http1_method_name(method)))
        snprintf(res->allow + len, sizeof(res->allow) - len, "%s%s", len ? ", " : "",
                 http1_method_name(method));
    if (method == HTTP1_GET)
        note_allowed(res, HTTP1_HEAD);
}

const struct admin_route *admin_route_find(const struct admin_route *routes, size_t n,
                                           const struct http1_request *req, struct admin_call *call,
                                           struct http1_response *res)
{
    const struct admin_route *found = NULL, *get = NULL;

    res->allow[0] = 0;
    for (size_t i = 0; i < n && !found; i++) {
        if (!route_matches(&routes[i], req, call))
            continue;
        if (routes[i].method == req->method)
            found = &routes[i];
        else if (routes[i].method == HTTP1_GET && req->head)
            get = &routes[i];
        note_allowed(res, routes[i].method);
    }
    if (!found)
        found = get;
    if (!found && res->allow[0])
        http1_problem(res, 405, "this path does not answer this method");
    else if (!found)
        http1_problem(res, 404, "there is nothing at this path");
    if (!found || !query_known(found, req, res))
        return NULL;
    route_matches(found, req, call);
    call->route = found;
    call->req = req;
    return found;
}

/* --- answers --- */

static int append(const char *data, size_t len, void *ctx)
{
    return buf_append(ctx, data, len, NULL);
}

void admin_json(struct http1_response *res, json_t *json)
{
    if (!json || json_dump_callback(json, append, &res->body, JSON_COMPACT) < 0 ||
        buf_puts(&res->body, "\n", NULL) < 0)
        http1_problem(res, 500, "the answer could not be made: no memory, or too large");
    json_decref(json);
}

void admin_text(struct http1_response *res, const char *text)
{
    res->content_type = "text/plain; charset=utf-8";
    if (buf_puts(&res->body, text, NULL) < 0)
        res->status = 500;
}
