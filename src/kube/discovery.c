#include "kube/discovery.h"

#include "kube/call.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct discovery {
    struct kube_call *call;
    char api_version[2 * KUBE_NAME_MAX];
    char kind[KUBE_NAME_MAX + 1];
    struct kube_resource found;
    discovery_done *done;
    void *ctx;
};

/* Names become parts of a path: nothing else may be in them. */
static bool is_name(const char *text)
{
    return text[0] && strlen(text) <= KUBE_NAME_MAX && text[0] != '.' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-") == strlen(text);
}

/* "group/version" or "version". */
static int split_version(struct kube_resource *out, const char *api_version, struct err *err)
{
    const char *slash = strchr(api_version, '/');
    const char *version = slash ? slash + 1 : api_version;
    size_t group_len = slash ? (size_t)(slash - api_version) : 0;

    if (group_len > KUBE_NAME_MAX || !is_name(version) || (slash && group_len == 0))
        return err_set(err, ERR_INVALID, 0, "apiVersion %.100s: not of the form GROUP/VERSION",
                       api_version);
    memcpy(out->group, api_version, group_len);
    snprintf(out->version, sizeof(out->version), "%s", version);
    if (slash && !is_name(out->group))
        return err_set(err, ERR_INVALID, 0, "apiVersion %.100s: not of the form GROUP/VERSION",
                       api_version);
    return 0;
}

static bool has_verb(json_t *resource, const char *verb)
{
    json_t *verbs = json_object_get(resource, "verbs"), *item;
    size_t i;

    json_array_foreach(verbs, i, item) if (json_is_string(item) &&
                                           strcmp(json_string_value(item), verb) == 0) return true;
    return false;
}

/* The resource of the kind; subresources ("pods/status") have kinds as well. */
static json_t *find_kind(json_t *list, const char *kind)
{
    json_t *resources = json_object_get(list, "resources"), *item;
    size_t i;

    json_array_foreach(resources, i, item)
    {
        const char *its = json_string_value(json_object_get(item, "kind"));
        const char *name = json_string_value(json_object_get(item, "name"));

        if (its && name && strcmp(its, kind) == 0 && !strchr(name, '/'))
            return item;
    }
    return NULL;
}

static int read_resource(struct discovery *d, json_t *list, struct err *err)
{
    struct kube_resource *r = &d->found;
    json_t *item;
    const char *name;

    if (!json_is_array(json_object_get(list, "resources")))
        return err_set(err, ERR_INVALID, 0, "%s: not a list of resources", d->api_version);
    item = find_kind(list, d->kind);
    if (!item)
        return err_set(err, ERR_NOT_FOUND, 0, "%s has no kind %s", d->api_version, d->kind);
    name = json_string_value(json_object_get(item, "name"));
    if (!is_name(name))
        return err_set(err, ERR_INVALID, 0, "%s: kind %s has an odd resource name", d->api_version,
                       d->kind);
    snprintf(r->resource, sizeof(r->resource), "%s", name);
    r->namespaced = json_is_true(json_object_get(item, "namespaced"));
    r->can_watch = has_verb(item, "list") && has_verb(item, "watch");
    snprintf(r->path, sizeof(r->path), "%s%s/%s/%s", r->group[0] ? "/apis/" : "/api", r->group,
             r->version, r->resource);
    return 0;
}

static void answered(void *ctx, const uint8_t *body, size_t len, const struct err *failed)
{
    struct discovery *d = ctx;
    struct err err = {0};
    json_t *list;

    if (failed) {
        err = *failed;
        err_wrap(&err, "%s", d->api_version);
    } else {
        json_error_t why;

        list = json_loadb((const char *)body, len, 0, &why);
        if (!list)
            err_set(&err, ERR_INVALID, 0, "%s: %s", d->api_version, why.text);
        else if (read_resource(d, list, &err) < 0)
            err_wrap(&err, "discovery");
        json_decref(list);
    }
    d->done(d->ctx, err.code ? NULL : &d->found, err.code ? &err : NULL);
    free(d);
}

int discovery_start(struct discovery **out, const struct kube_http *http, const char *api_version,
                    const char *kind, discovery_done *done, void *ctx, struct err *err)
{
    struct discovery *d = calloc(1, sizeof(*d));
    struct kube_request req = {
        .method = "GET", .headers = "Accept: application/json\n", .lane = KUBE_CALL};
    char path[3 * KUBE_NAME_MAX];

    if (!d)
        return err_set(err, ERR_NOMEM, 0, "discovery of %s", kind);
    d->done = done;
    d->ctx = ctx;
    if (strlen(kind) > KUBE_NAME_MAX) {
        err_set(err, ERR_INVALID, 0, "kind %.100s: over %u bytes", kind, KUBE_NAME_MAX);
        goto fail;
    }
    if (split_version(&d->found, api_version, err) < 0)
        goto fail;
    snprintf(d->kind, sizeof(d->kind), "%s", kind);
    snprintf(d->api_version, sizeof(d->api_version), "%s", api_version);
    snprintf(path, sizeof(path), "%s%s/%s", d->found.group[0] ? "/apis/" : "/api", d->found.group,
             d->found.version);
    req.path = path;
    if (kube_call_start(&d->call, http, &req, answered, d, err) < 0)
        goto fail;
    *out = d;
    return 0;
fail:
    free(d);
    return -1;
}

void discovery_cancel(struct discovery *d)
{
    if (!d)
        return;
    kube_call_cancel(d->call);
    free(d);
}
