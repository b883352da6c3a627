/* See watchdec.h. Both decoders take one value at a time through take_value, which hides how it was
 * cut. A list's outer object is a little machine over single bytes, since its values are long and
 * few.
 */
#include "kube/watchdec.h"

#include <string.h>

static void frame_buf_clear(struct frame_buf *v)
{
    if (v->bytes.cap > FRAME_KEEP_BYTES)
        buf_free(&v->bytes);
    v->bytes.len = 0;
    v->dropped = 0;
    v->active = false;
    v->frame = (struct jscan_frame){0};
}

/* Keeps the next part of the value that the frame is in. 1: it is whole; 0: it goes on past the
 * piece, which is used up. */
static int frame_more(struct frame_buf *v, const uint8_t **at, const uint8_t *end, struct err *err)
{
    size_t used, room = v->max - v->bytes.len, keep;
    bool whole = jscan_frame(&v->frame, *at, (size_t)(end - *at), &used);

    keep = used < room ? used : room;
    v->dropped += used - keep;
    if (buf_append(&v->bytes, *at, keep, err) < 0)
        return -1;
    *at += used;
    v->active = true;
    return whole;
}

/* A value that was framed did not scan. True: it is one to skip, since it is too large to have been
 * kept, or nested too deeply; a tenant who can make such an object must not stop everybody's watch.
 */
static bool to_skip(struct err *why, const char *what, const struct frame_buf *v, enum jscan_rc rc)
{
    if (rc == JSCAN_DEEP)
        err_set(why, ERR_LIMIT, 0, "%s: nested deeper than %u", what, JSON_DEPTH_MAX);
    else if (v->dropped && rc == JSCAN_MORE)
        err_set(why, ERR_LIMIT, 0, "%s: %zu bytes, limit %zu", what, v->bytes.len + v->dropped,
                v->max);
    else
        return false;
    return true;
}

static int not_json(const struct jscan *j, const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, 0, "%s: %s", what, jscan_rc_text(j->rc ? j->rc : JSCAN_BAD));
}

/* --- watch streams --- */

struct event {
    struct jscan_str type;
    struct object_scan object;
    bool has_object;
};

/* `{"type":"ADDED","object":{...}}`, in either order. */
static bool scan_event(struct event *ev, struct jscan *j)
{
    struct jscan_str key;

    ev->type = (struct jscan_str){0};
    ev->has_object = false;
    if (!jscan_open(j, '{'))
        return false;
    while (jscan_member(j, &key)) {
        if (jscan_key_is(&key, "object"))
            ev->has_object = object_scan(&ev->object, j);
        else if (jscan_key_is(&key, "type"))
            jscan_string(j, &ev->type);
        else
            jscan_skip(j);
    }
    return j->rc == JSCAN_OK;
}

static enum watch_type event_type(const struct event *ev)
{
    static const struct {
        const char *name;
        enum watch_type type;
    } types[] = {
        {"MODIFIED", WATCH_MODIFIED}, {"ADDED", WATCH_ADDED}, {"DELETED", WATCH_DELETED},
        {"BOOKMARK", WATCH_BOOKMARK}, {"ERROR", WATCH_ERROR},
    };

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (jscan_str_is(&ev->type, types[i].name))
            return types[i].type;
    return 0;
}

static int deliver_event(struct watchdec *d, const struct event *ev, struct err *err)
{
    enum watch_type type = event_type(ev);

    if (!type || !ev->has_object)
        return err_set(err, ERR_INVALID, 0, "watch event: %s",
                       type ? "no object" : "unknown or missing type");
    d->events++;
    return d->sink.event(d->sink.ctx, type, &ev->object);
}

/* All of the event's bytes that were to be kept are in the buffer. */
static int event_framed(struct watchdec *d, struct err *err)
{
    struct event ev = {0};
    struct err why = {0};
    struct jscan j;

    jscan_init(&j, d->value.bytes.data, d->value.bytes.len);
    if (scan_event(&ev, &j) && jscan_done(&j))
        return deliver_event(d, &ev, err);
    if (!to_skip(&why, "watch event", &d->value, j.rc))
        return not_json(&j, "watch event", err);
    return d->sink.skipped(d->sink.ctx, event_type(&ev), &ev.object, &why);
}

/* Passes the rest of an event, or what there is of it. */
static int event_frame(struct watchdec *d, const uint8_t **at, const uint8_t *end, struct err *err)
{
    int rc = frame_more(&d->value, at, end, err);

    if (rc <= 0)
        return rc < 0 ? -1 : DEC_GO_ON;
    rc = event_framed(d, err);
    frame_buf_clear(&d->value);
    return rc;
}

/* The event begins in this piece: most end in it as well. */
static int event_begin(struct watchdec *d, const uint8_t **at, const uint8_t *end, struct err *err)
{
    struct event ev;
    struct jscan j;

    jscan_init(&j, *at, (size_t)(end - *at));
    if (scan_event(&ev, &j)) {
        *at = j.at;
        return deliver_event(d, &ev, err);
    }
    if (j.rc == JSCAN_BAD)
        return not_json(&j, "watch event", err);
    return event_frame(d, at, end, err);
}

void watchdec_init(struct watchdec *d, const struct watchdec_sink *sink)
{
    *d = (struct watchdec){.sink = *sink};
    d->value.max = KUBE_EVENT_MAX;
    d->value.bytes.max = KUBE_EVENT_MAX;
}

int watchdec_feed(struct watchdec *d, const uint8_t *data, size_t len, struct err *err)
{
    const uint8_t *at = data, *end = data + len;
    int rc = DEC_GO_ON;

    d->bytes += len;
    while (at < end && rc == DEC_GO_ON) {
        if (d->value.active)
            rc = event_frame(d, &at, end, err);
        else if (jscan_is_space(*at))
            at++;
        else
            rc = event_begin(d, &at, end, err);
    }
    return rc;
}

int watchdec_end(const struct watchdec *d, struct err *err)
{
    if (d->value.active)
        return err_set(err, ERR_NET, 0, "watch: the stream ended in the middle of an event");
    return 0;
}

void watchdec_reset(struct watchdec *d)
{
    frame_buf_clear(&d->value);
}

void watchdec_free(struct watchdec *d)
{
    buf_free(&d->value.bytes);
}

/* --- lists --- */

enum { MEMBER_OTHER, MEMBER_ITEMS, MEMBER_METADATA };

static int bad_list(const char *wanted, struct err *err)
{
    return err_set(err, ERR_INVALID, 0, "list: %s expected", wanted);
}

static int item_scanned(struct listdec *d, const struct object_scan *scan)
{
    d->items++;
    d->state = LISTDEC_ITEM_BEHIND;
    return d->sink.item(d->sink.ctx, scan);
}

static int item_framed(struct listdec *d, struct err *err)
{
    struct object_scan scan;
    struct err why = {0};
    struct jscan j;

    jscan_init(&j, d->value.bytes.data, d->value.bytes.len);
    if (object_scan(&scan, &j) && jscan_done(&j))
        return item_scanned(d, &scan);
    if (!to_skip(&why, "list item", &d->value, j.rc))
        return not_json(&j, "list item", err);
    d->state = LISTDEC_ITEM_BEHIND;
    return d->sink.skipped(d->sink.ctx, &scan, &why);
}

static int list_string(char *out, size_t cap, struct jscan *j, const char *what, struct err *err)
{
    struct jscan_str s = {0};

    out[0] = 0;
    if (jscan_peek(j) != '"') {
        jscan_skip(j);
        return 0;
    }
    if (jscan_string(j, &s) && jscan_str_copy(out, cap, &s) < 0)
        return err_set(err, ERR_LIMIT, 0, "list: metadata.%s over %zu bytes", what, cap - 1);
    return 0;
}

static int list_metadata(struct listdec *d, struct jscan *j, struct err *err)
{
    struct jscan_str key;

    d->has_metadata = true;
    if (jscan_peek(j) != '{')
        return bad_list("an object as metadata", err);
    jscan_open(j, '{');
    while (jscan_member(j, &key)) {
        int rc = 0;

        if (jscan_key_is(&key, "resourceVersion"))
            rc = list_string(d->resource_version, sizeof(d->resource_version), j, "resourceVersion",
                             err);
        else if (jscan_key_is(&key, "continue"))
            rc = list_string(d->continue_, sizeof(d->continue_), j, "continue", err);
        else
            jscan_skip(j);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* A member of the list besides its items is whole. */
static int member_framed(struct listdec *d, struct err *err)
{
    const struct buf *bytes = &d->value.bytes;
    struct jscan j;

    d->state = LISTDEC_BEHIND;
    jscan_init(&j, bytes->data, bytes->len);
    if (d->value.dropped && d->member == MEMBER_OTHER)
        return DEC_GO_ON;
    if (d->value.dropped)
        return err_set(err, ERR_LIMIT, 0, "list: metadata over %u bytes", KUBE_LIST_META_MAX);
    if (d->member == MEMBER_ITEMS && (bytes->len != 4 || memcmp(bytes->data, "null", 4) != 0))
        return bad_list("an array as items", err);
    if (d->member == MEMBER_METADATA) {
        if (list_metadata(d, &j, err) < 0)
            return -1;
    } else {
        jscan_skip(&j);
    }
    return jscan_done(&j) ? DEC_GO_ON : not_json(&j, "list", err);
}

static int key_framed(struct listdec *d, struct err *err)
{
    struct jscan_str key;
    struct jscan j;

    jscan_init(&j, d->value.bytes.data, d->value.bytes.len);
    if (!jscan_string(&j, &key) || !jscan_done(&j))
        return bad_list("the name of a member", err);
    d->member = MEMBER_OTHER;
    if (jscan_key_is(&key, "items"))
        d->member = MEMBER_ITEMS;
    else if (jscan_key_is(&key, "metadata"))
        d->member = MEMBER_METADATA;
    d->state = LISTDEC_COLON;
    return DEC_GO_ON;
}

/* Passes the rest of the value that the state is about, or what there is of it. */
static int list_frame(struct listdec *d, const uint8_t **at, const uint8_t *end, struct err *err)
{
    int rc;

    d->value.max = d->state == LISTDEC_ITEM ? KUBE_OBJECT_MAX : KUBE_LIST_META_MAX;
    rc = frame_more(&d->value, at, end, err);
    if (rc <= 0)
        return rc < 0 ? -1 : DEC_GO_ON;
    if (d->state == LISTDEC_ITEM)
        rc = item_framed(d, err);
    else
        rc = d->state == LISTDEC_KEY ? key_framed(d, err) : member_framed(d, err);
    frame_buf_clear(&d->value);
    return rc;
}

/* An item begins in this piece: most end in it as well. */
static int item_begin(struct listdec *d, const uint8_t **at, const uint8_t *end, struct err *err)
{
    struct object_scan scan;
    struct jscan j;

    jscan_init(&j, *at, (size_t)(end - *at));
    if (object_scan(&scan, &j)) {
        *at = j.at;
        return item_scanned(d, &scan);
    }
    if (j.rc == JSCAN_BAD)
        return not_json(&j, "list item", err);
    return list_frame(d, at, end, err);
}

/* What stands between the values. `otherwise`: a value begins here, in that state. */
static const struct {
    struct {
        char byte;
        enum listdec_state next;
    } on[2];
    enum listdec_state otherwise;
} punctuation[] = {
    [LISTDEC_START] = {.on = {{'{', LISTDEC_FIRST_KEY}}},
    [LISTDEC_FIRST_KEY] = {.on = {{'}', LISTDEC_DONE}}, .otherwise = LISTDEC_KEY},
    [LISTDEC_COLON] = {.on = {{':', LISTDEC_VALUE}}},
    [LISTDEC_FIRST_ITEM] = {.on = {{']', LISTDEC_BEHIND}}, .otherwise = LISTDEC_ITEM},
    [LISTDEC_ITEM_BEHIND] = {.on = {{',', LISTDEC_ITEM}, {']', LISTDEC_BEHIND}}},
    [LISTDEC_BEHIND] = {.on = {{',', LISTDEC_KEY}, {'}', LISTDEC_DONE}}},
    [LISTDEC_DONE] = {.on = {{0}}},
};

static int list_punctuation(struct listdec *d, const uint8_t **at, struct err *err)
{
    for (int i = 0; i < 2; i++) {
        if (punctuation[d->state].on[i].byte == (char)**at && **at) {
            d->state = punctuation[d->state].on[i].next;
            ++*at;
            return DEC_GO_ON;
        }
    }
    if (!punctuation[d->state].otherwise)
        return bad_list("a bracket, comma or colon", err);
    d->state = punctuation[d->state].otherwise;
    return DEC_GO_ON;
}

/* At a byte that is no white space, outside of any value. */
static int list_step(struct listdec *d, const uint8_t **at, const uint8_t *end, struct err *err)
{
    switch (d->state) {
    case LISTDEC_KEY:
        if (**at != '"')
            return bad_list("the name of a member", err);
        return list_frame(d, at, end, err);
    case LISTDEC_ITEM:
        return item_begin(d, at, end, err);
    case LISTDEC_VALUE:
        if (strchr(",:]}", **at))
            return bad_list("a value", err);
        if (d->member != MEMBER_ITEMS || **at != '[')
            return list_frame(d, at, end, err);
        d->state = LISTDEC_FIRST_ITEM;
        ++*at;
        return DEC_GO_ON;
    default:
        return list_punctuation(d, at, err);
    }
}

void listdec_init(struct listdec *d, const struct listdec_sink *sink)
{
    *d = (struct listdec){.sink = *sink};
    d->value.bytes.max = KUBE_OBJECT_MAX;
}

int listdec_feed(struct listdec *d, const uint8_t *data, size_t len, struct err *err)
{
    const uint8_t *at = data, *end = data + len;
    int rc = DEC_GO_ON;

    d->bytes += len;
    while (at < end && rc == DEC_GO_ON) {
        if (d->value.active)
            rc = list_frame(d, &at, end, err);
        else if (jscan_is_space(*at))
            at++;
        else
            rc = list_step(d, &at, end, err);
    }
    return rc;
}

int listdec_end(const struct listdec *d, struct err *err)
{
    if (d->state != LISTDEC_DONE)
        return err_set(err, ERR_NET, 0, "list: the answer ended early");
    if (!d->resource_version[0])
        return err_set(err, ERR_INVALID, 0, "list: no metadata.resourceVersion");
    return 0;
}

void listdec_reset(struct listdec *d)
{
    frame_buf_clear(&d->value);
    d->state = LISTDEC_START;
    d->has_metadata = false;
    d->resource_version[0] = d->continue_[0] = 0;
}

void listdec_free(struct listdec *d)
{
    buf_free(&d->value.bytes);
}
