/* See object.h. A member is cut together with one comma: the one behind it while nothing was kept
 * before it in its object, else the one in front; so what remains is JSON whatever is cut.
 */
#include "kube/object.h"

#include "base/slab.h"

#include <stdlib.h>
#include <string.h>

#define LAST_APPLIED       "kubectl.kubernetes.io/last-applied-configuration"
#define INITIAL_EVENTS_END "k8s.io/initial-events-end"

/* Where the members of one object are, as far as cuts need it. */
struct members {
    const uint8_t *start; /* of this member, behind the comma or bracket in front */
    const uint8_t *comma; /* in front of it; NULL for the first */
    bool kept;            /* a member before it stays */
};

static bool next_member(struct jscan *j, struct members *m, struct jscan_str *key)
{
    const uint8_t *before = j->opened ? NULL : (jscan_peek(j), j->at);

    if (!jscan_member(j, key))
        return false;
    m->comma = before;
    m->start = before ? before + 1 : key->at - 1;
    return true;
}

/* The member's value was just passed. With no room for another cut the member stays, which costs
 * memory and nothing else. */
static void cut_member(struct object_scan *out, struct jscan *j, struct members *m)
{
    const uint8_t *from = m->kept ? m->comma : m->start, *to = j->at;

    if (j->rc)
        return;
    if (out->ncuts == KUBE_OBJECT_CUTS_MAX) {
        m->kept = true;
        return;
    }
    if (!m->kept && jscan_peek(j) == ',')
        to = j->at + 1;
    out->cuts[out->ncuts++] = (struct span){.at = from, .len = (size_t)(to - from)};
}

/* A string, or nothing where the value is something else. */
static void take_string(struct jscan *j, struct jscan_str *out)
{
    struct jscan_str s = {0};

    if (jscan_peek(j) == '"')
        jscan_string(j, &s);
    else
        jscan_skip(j);
    *out = j->rc ? (struct jscan_str){0} : s;
}

static void take_int(struct jscan *j, int64_t *out)
{
    bool is_int;

    *out = 0;
    jscan_int(j, out, &is_int);
}

static void scan_annotations(struct object_scan *out, struct jscan *j)
{
    struct members m = {0};
    struct jscan_str key, value;

    out->initial_events_end = false;
    if (jscan_peek(j) != '{') {
        jscan_skip(j);
        return;
    }
    jscan_open(j, '{');
    while (next_member(j, &m, &key)) {
        if (jscan_key_is(&key, LAST_APPLIED)) {
            jscan_skip(j);
            cut_member(out, j, &m);
            continue;
        }
        m.kept = true;
        if (jscan_key_is(&key, INITIAL_EVENTS_END)) {
            take_string(j, &value);
            out->initial_events_end = jscan_str_is(&value, "true");
        } else {
            jscan_skip(j);
        }
    }
}

static void scan_metadata_member(struct object_scan *out, struct jscan *j, struct jscan_str *key)
{
    if (jscan_key_is(key, "name"))
        take_string(j, &out->name);
    else if (jscan_key_is(key, "namespace"))
        take_string(j, &out->namespace_);
    else if (jscan_key_is(key, "uid"))
        take_string(j, &out->uid);
    else if (jscan_key_is(key, "resourceVersion"))
        take_string(j, &out->resource_version);
    else if (jscan_key_is(key, "generation"))
        take_int(j, &out->generation);
    else if (jscan_key_is(key, "annotations"))
        scan_annotations(out, j);
    else if (jscan_key_is(key, "deletionTimestamp")) {
        out->deleting = jscan_peek(j) == '"';
        jscan_skip(j);
    } else
        jscan_skip(j);
}

static void scan_metadata(struct object_scan *out, struct jscan *j)
{
    struct members m = {0};
    struct jscan_str key;

    /* Of a member that comes twice the last one counts. */
    out->name = out->namespace_ = out->uid = out->resource_version = (struct jscan_str){0};
    out->generation = 0;
    out->deleting = out->initial_events_end = false;
    if (jscan_peek(j) != '{') {
        jscan_skip(j);
        return;
    }
    jscan_open(j, '{');
    while (next_member(j, &m, &key)) {
        if (jscan_key_is(&key, "managedFields")) {
            jscan_skip(j);
            cut_member(out, j, &m);
        } else {
            m.kept = true;
            scan_metadata_member(out, j, &key);
        }
    }
}

bool object_scan(struct object_scan *out, struct jscan *j)
{
    struct jscan_str key;

    memset(out, 0, offsetof(struct object_scan, cuts));
    jscan_peek(j);
    out->whole.at = j->at;
    if (!jscan_open(j, '{'))
        return false;
    while (jscan_member(j, &key)) {
        if (jscan_key_is(&key, "metadata"))
            scan_metadata(out, j);
        else if (jscan_key_is(&key, "apiVersion"))
            take_string(j, &out->api_version);
        else if (jscan_key_is(&key, "kind"))
            take_string(j, &out->kind);
        else if (jscan_key_is(&key, "code"))
            take_int(j, &out->code);
        else if (jscan_key_is(&key, "reason"))
            take_string(j, &out->reason);
        else if (jscan_key_is(&key, "message"))
            take_string(j, &out->message);
        else
            jscan_skip(j);
    }
    out->whole.len = (size_t)(j->at - out->whole.at);
    return j->rc == JSCAN_OK;
}

/* --- making --- */

/* The strings of an object, unescaped and checked. */
struct identity {
    char namespace_[KUBE_NAMESPACE_MAX + 1], name[KUBE_NAME_MAX + 1];
    char uid[KUBE_UID_MAX + 1], version[KUBE_VERSION_MAX + 1];
};

static int copy_string(char *out, size_t cap, const struct jscan_str *s, const char *what,
                       struct err *err)
{
    out[0] = 0;
    if (!s->at || jscan_str_copy(out, cap, s) == 0)
        return 0;
    return err_set(err, s->len >= cap ? ERR_LIMIT : ERR_INVALID, 0,
                   "metadata.%s: %zu bytes, limit %zu, or holds a NUL", what, s->len, cap - 1);
}

static int identity_read(struct identity *id, const struct object_scan *scan, struct err *err)
{
    if (copy_string(id->name, sizeof(id->name), &scan->name, "name", err) < 0 ||
        copy_string(id->namespace_, sizeof(id->namespace_), &scan->namespace_, "namespace", err) <
            0 ||
        copy_string(id->uid, sizeof(id->uid), &scan->uid, "uid", err) < 0 ||
        copy_string(id->version, sizeof(id->version), &scan->resource_version, "resourceVersion",
                    err) < 0)
        return -1;
    if (!id->name[0])
        return err_set(err, ERR_INVALID, 0, "object without metadata.name");
    if (!id->version[0])
        return err_set(err, ERR_INVALID, 0, "object %s without metadata.resourceVersion", id->name);
    /* Keys are joined by a slash. */
    if (strchr(id->name, '/') || strchr(id->namespace_, '/'))
        return err_set(err, ERR_INVALID, 0, "object %s: a slash in its name", id->name);
    return 0;
}

static char *put_bytes(char *to, const void *from, size_t len)
{
    memcpy(to, from, len);
    return to + len;
}

static const char *put_string(char **to, const char *text)
{
    char *at = *to;

    *to = put_bytes(at, text, strlen(text) + 1);
    return at;
}

/* `"kind":"Pod",` */
static char *put_member(char *to, const char *key, const char *value)
{
    to = put_bytes(to, "\"", 1);
    to = put_bytes(to, key, strlen(key));
    to = put_bytes(to, "\":\"", 3);
    to = put_bytes(to, value, strlen(value));
    return put_bytes(to, "\",", 2);
}

#define MEMBER_EXTRA 6u /* what put_member puts besides key and value */

static char *put_json(char *to, const struct object_scan *scan, const char *api_version,
                      const char *kind)
{
    const uint8_t *at = scan->whole.at, *end = at + scan->whole.len;

    to = put_bytes(to, at++, 1);
    if (api_version)
        to = put_member(to, "apiVersion", api_version);
    if (kind)
        to = put_member(to, "kind", kind);
    for (uint32_t i = 0; i < scan->ncuts; i++) {
        to = put_bytes(to, at, (size_t)(scan->cuts[i].at - at));
        at = scan->cuts[i].at + scan->cuts[i].len;
    }
    return put_bytes(to, at, (size_t)(end - at));
}

static size_t member_room(const char *key, const char *value)
{
    return value ? strlen(key) + strlen(value) + MEMBER_EXTRA : 0;
}

static size_t object_room(const struct object_scan *scan, const struct identity *id,
                          const char *api_version, const char *kind)
{
    size_t room = sizeof(struct kube_object) + scan->whole.len + 1;

    for (uint32_t i = 0; i < scan->ncuts; i++)
        room -= scan->cuts[i].len;
    room += strlen(id->name) + strlen(id->namespace_) + strlen(id->uid) + strlen(id->version) + 4;
    return room + member_room("apiVersion", api_version) + member_room("kind", kind);
}

int kube_object_make(struct kube_object **out, const struct object_scan *scan,
                     const struct object_kind *kind, struct err *err)
{
    const char *add_version = kind && !scan->api_version.at ? kind->api_version : NULL;
    const char *add_kind = kind && !scan->kind.at ? kind->kind : NULL;
    struct identity id;
    struct kube_object *obj;
    size_t room;
    char *at, *json;

    if (identity_read(&id, scan, err) < 0)
        return -1;
    if (scan->whole.len > KUBE_OBJECT_MAX)
        return err_set(err, ERR_LIMIT, 0, "object %s: %zu bytes, limit %u", id.name,
                       scan->whole.len, KUBE_OBJECT_MAX);
    room = object_room(scan, &id, add_version, add_kind);
    obj = slab_alloc(&slab_common, room);
    if (!obj)
        return err_set(err, ERR_NOMEM, 0, "object %s", id.name);
    obj->room = (uint32_t)room;
    atomic_init(&obj->refs, 1);
    obj->deleting = scan->deleting;
    obj->generation = scan->generation;
    at = (char *)(obj + 1);
    obj->namespace_ = put_string(&at, id.namespace_);
    obj->name = put_string(&at, id.name);
    obj->uid = put_string(&at, id.uid);
    obj->resource_version = put_string(&at, id.version);
    json = at;
    at = put_json(at, scan, add_version, add_kind);
    *at = 0;
    obj->json = json;
    obj->json_len = (uint32_t)(at - json);
    *out = obj;
    return 0;
}

int kube_object_parse(struct kube_object **out, const void *json, size_t len,
                      const struct object_kind *kind, struct err *err)
{
    struct object_scan scan;
    struct jscan j;

    jscan_init(&j, json, len);
    if (!object_scan(&scan, &j) || !jscan_done(&j))
        return err_set(err, ERR_INVALID, 0, "object: %s at byte %zu",
                       jscan_rc_text(j.rc ? j.rc : JSCAN_BAD),
                       (size_t)(j.at - (const uint8_t *)json));
    return kube_object_make(out, &scan, kind, err);
}

struct kube_object *kube_object_ref(struct kube_object *obj)
{
    atomic_fetch_add_explicit(&obj->refs, 1, memory_order_relaxed);
    return obj;
}

void kube_object_unref(struct kube_object *obj)
{
    if (obj && atomic_fetch_sub_explicit(&obj->refs, 1, memory_order_acq_rel) == 1)
        slab_free(&slab_common, obj, obj->room);
}

void kube_object_key(char out[OBJECT_KEY_MAX + 1], const struct kube_object *obj)
{
    size_t len = strlen(obj->namespace_);

    if (len) {
        memcpy(out, obj->namespace_, len);
        out[len++] = '/';
    }
    memcpy(out + len, obj->name, strlen(obj->name) + 1);
}

int kube_version_compare(const char *a, const char *b, bool *known)
{
    size_t alen, blen;
    int order;

    *known =
        *a && *b && strspn(a, "0123456789") == strlen(a) && strspn(b, "0123456789") == strlen(b);
    if (!*known)
        return 0;
    a += strspn(a, "0");
    b += strspn(b, "0");
    alen = strlen(a);
    blen = strlen(b);
    if (alen != blen)
        return alen < blen ? -1 : 1;
    order = memcmp(a, b, alen);
    return (order > 0) - (order < 0);
}
