/* What the server sends, read: from the callbacks of a stream through the decoders to the sink and
 * the machine's events. See reflector.c for the rules.
 */
#include "kube/reflector_internal.h"

#include "base/clock.h"
#include "base/text.h"
#include "kube/call.h"

#include <string.h>

/* --- what came --- */

/* Older than what was seen, and not to be believed. */
static bool is_rewound(struct reflector *r, const char *version)
{
    bool known;

    if (r->anew && r->state != REFLECTOR_WATCHING)
        return false;
    if (kube_version_compare(version, r->version, &known) >= 0)
        return false;
    err_set(reflector_trouble(r), ERR_AGAIN, 0,
            "%s: the server went back in time, from version %s to %s", r->opts.path, r->version,
            version);
    return true;
}

static void take_version(struct reflector *r, const struct jscan_str *s)
{
    char version[KUBE_VERSION_MAX + 1];
    bool known;

    if (!s->at || jscan_str_copy(version, sizeof(version), s) < 0 || !version[0])
        return;
    if (kube_version_compare(version, r->version, &known) >= 0)
        memcpy(r->version, version, sizeof(version));
}

static void bookmark(struct reflector *r, const struct object_scan *scan)
{
    char version[KUBE_VERSION_MAX + 1];
    bool ends_list = r->state == REFLECTOR_STREAMING && scan->initial_events_end;

    r->stats.bookmarks++;
    if (!scan->resource_version.at ||
        jscan_str_copy(version, sizeof(version), &scan->resource_version) < 0 || !version[0])
        return;
    if (r->state == REFLECTOR_STREAMING && !ends_list)
        return;
    if (is_rewound(r, version)) {
        reflector_step(r, EV_REWOUND);
        return;
    }
    memcpy(r->version, version, sizeof(version));
    if (ends_list)
        reflector_step(r, EV_SYNCED);
}

static void error_event(struct reflector *r, const struct object_scan *scan)
{
    char reason[64] = "", message[ERR_MSG_MAX] = "";
    bool gone;

    if (scan->reason.at && jscan_str_copy(reason, sizeof(reason), &scan->reason) < 0)
        reason[0] = 0;
    if (scan->message.at && jscan_str_copy(message, sizeof(message), &scan->message) < 0)
        message[0] = 0;
    text_clean(reason);
    text_clean(message);
    kube_status_err(reflector_trouble(r),
                    scan->code > 0 && scan->code < 1000 ? (int)scan->code : 500, reason, message);
    err_wrap(&r->err, "%s", r->opts.path);
    gone = scan->code == 410 || strcmp(reason, "Expired") == 0 || strcmp(reason, "Gone") == 0;
    reflector_step(r, gone ? EV_GONE : EV_FAILED);
}

static void skip(struct reflector *r, const struct object_scan *scan, const struct err *err)
{
    char name[KUBE_NAME_MAX + 1] = "", namespace_[KUBE_NAMESPACE_MAX + 1] = "";

    if (scan->name.at && jscan_str_copy(name, sizeof(name), &scan->name) < 0)
        name[0] = 0;
    if (scan->namespace_.at &&
        jscan_str_copy(namespace_, sizeof(namespace_), &scan->namespace_) < 0)
        name[0] = namespace_[0] = 0;
    r->stats.skipped++;
    if (r->opts.sink.skipped)
        r->opts.sink.skipped(r->opts.sink.ctx, namespace_, name, err);
}

/* One object to the sink. */
static void pass_on(struct reflector *r, const struct object_scan *scan, bool deleted)
{
    const struct reflector_sink *sink = &r->opts.sink;
    struct kube_object *obj;
    struct err err = {0};

    if (kube_object_make(&obj, scan, &r->opts.kind, &err) < 0) {
        skip(r, scan, &err);
        return;
    }
    if (deleted)
        sink->deleted(sink->ctx, obj);
    else
        sink->upsert(sink->ctx, obj);
    kube_object_unref(obj);
}

static int on_event(void *ctx, enum watch_type type, const struct object_scan *scan)
{
    struct reflector *r = ctx;
    uint64_t turn = r->turn;

    r->watch_events++;
    if (type == WATCH_BOOKMARK) {
        bookmark(r, scan);
    } else if (type == WATCH_ERROR) {
        error_event(r, scan);
    } else {
        if (r->state == REFLECTOR_WATCHING) {
            r->stats.events++;
            take_version(r, &scan->resource_version);
        }
        pass_on(r, scan, type == WATCH_DELETED);
    }
    return turn == r->turn ? DEC_GO_ON : DEC_STOP;
}

static int on_event_skipped(void *ctx, enum watch_type type, const struct object_scan *scan,
                            const struct err *err)
{
    struct reflector *r = ctx;
    uint64_t turn = r->turn;

    (void)type;
    r->watch_events++;
    if (r->state == REFLECTOR_WATCHING)
        take_version(r, &scan->resource_version);
    skip(r, scan, err);
    return turn == r->turn ? DEC_GO_ON : DEC_STOP;
}

/* Before the first item of a page, where its metadata came first, else at its end. */
static bool page_is_good(struct reflector *r)
{
    if (r->page_known || !r->list.has_metadata)
        return true;
    r->page_known = true;
    if (!is_rewound(r, r->list.resource_version))
        return true;
    reflector_step(r, EV_REWOUND);
    return false;
}

static int on_item(void *ctx, const struct object_scan *scan)
{
    struct reflector *r = ctx;
    uint64_t turn = r->turn;

    if (page_is_good(r))
        pass_on(r, scan, false);
    return turn == r->turn ? DEC_GO_ON : DEC_STOP;
}

static int on_item_skipped(void *ctx, const struct object_scan *scan, const struct err *err)
{
    struct reflector *r = ctx;
    uint64_t turn = r->turn;

    skip(r, scan, err);
    return turn == r->turn ? DEC_GO_ON : DEC_STOP;
}

/* --- the stream's callbacks --- */

static void answer_begins(struct reflector *r)
{
    bool begins_list =
        r->state == REFLECTOR_STREAMING || (r->state == REFLECTOR_LISTING && !r->continue_[0]);

    if (r->state == REFLECTOR_LISTING) {
        r->answer = ANSWER_LIST;
        listdec_reset(&r->list);
    } else {
        r->answer = ANSWER_STREAM;
        watchdec_reset(&r->watch);
    }
    if (r->state == REFLECTOR_WATCHING) {
        reflector_healthy(r);
        reflector_notify(r);
    }
    if (begins_list && r->opts.sink.relist_begin)
        r->opts.sink.relist_begin(r->opts.sink.ctx, r->anew);
}

static void on_head(void *ctx, int status, const char *headers, size_t len)
{
    struct reflector *r = ctx;

    r->stats.last_contact_ns = reflector_now(r);
    r->status = status;
    if (status == 200) {
        answer_begins(r);
        return;
    }
    r->answer = ANSWER_ERROR;
    r->retry_after_s = kube_retry_after_s(headers, len);
    if (r->retry_after_s > REFLECTOR_RETRY_AFTER_MAX_S)
        r->retry_after_s = REFLECTOR_RETRY_AFTER_MAX_S;
}

static int decode(struct reflector *r, const uint8_t *data, size_t len, struct err *err)
{
    size_t room;

    switch (r->answer) {
    case ANSWER_STREAM:
        return watchdec_feed(&r->watch, data, len, err);
    case ANSWER_LIST:
        return listdec_feed(&r->list, data, len, err);
    case ANSWER_NONE:
    case ANSWER_ERROR:
    default:
        room = KUBE_ERROR_BODY_MAX - r->error_body.len;
        return buf_append(&r->error_body, data, len < room ? len : room, err);
    }
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
    struct reflector *r = ctx;
    struct kube_stream *stream = r->stream;
    uint64_t turn = r->turn;
    struct err err = {0};

    r->stats.last_contact_ns = reflector_now(r);
    if (decode(r, data, len, &err) < 0) {
        err_wrap(&err, "%s", r->opts.path);
        *reflector_trouble(r) = err;
        /* Nothing can be gone on from: what was lost in the garbled bytes is not known. */
        reflector_step(r, r->state == REFLECTOR_WATCHING ? EV_GONE : EV_FAILED);
    }
    if (turn == r->turn)
        r->opts.http.consume(stream, len);
}

static bool refuses_stream(int status, const char *message)
{
    if (status == 400 || status == 405 || status == 422 || status == 501)
        return true;
    return status == 403 &&
           (strstr(message, "sendInitialEvents") || strstr(message, "resourceVersionMatch"));
}

static void answer_failed(struct reflector *r)
{
    struct err err = {0};

    kube_answer_err(&err, r->status, r->error_body.data, r->error_body.len);
    err_wrap(&err, "%s", r->opts.path);
    if (r->state == REFLECTOR_STREAMING && refuses_stream(r->status, err.msg)) {
        reflector_step(r, EV_REFUSED);
        return;
    }
    *reflector_trouble(r) = err;
    if (r->status == 410)
        reflector_step(r, r->state == REFLECTOR_LISTING && r->continue_[0] ? EV_EXPIRED : EV_GONE);
    else if (r->state == REFLECTOR_WATCHING && (r->status == 400 || r->status == 422))
        reflector_step(r, EV_GONE); /* it takes our version for nonsense */
    else
        reflector_step(r, EV_FAILED);
}

static void stream_ended(struct reflector *r)
{
    struct err err = {0};
    bool is_short =
        reflector_now(r) - r->began_ns < REFLECTOR_SHORT_WATCH_MS * NS_PER_MS && !r->watch_events;

    if (watchdec_end(&r->watch, &err) < 0)
        err_wrap(&err, "%s", r->opts.path);
    else if (r->state == REFLECTOR_STREAMING)
        err_set(&err, ERR_NET, 0, "%s: the stream ended before the list was complete",
                r->opts.path);
    else if (is_short)
        err_set(&err, ERR_AGAIN, 0, "%s: the watch ended at once", r->opts.path);
    if (err.code)
        *reflector_trouble(r) = err;
    reflector_step(r, err.code ? EV_FAILED : EV_ENDED);
}

static void list_ended(struct reflector *r)
{
    struct err err = {0};

    if (listdec_end(&r->list, &err) < 0) {
        err_wrap(&err, "%s", r->opts.path);
        *reflector_trouble(r) = err;
        reflector_step(r, EV_FAILED);
        return;
    }
    if (!page_is_good(r))
        return;
    memcpy(r->continue_, r->list.continue_, sizeof(r->continue_));
    if (r->continue_[0]) {
        reflector_step(r, EV_PAGE);
        return;
    }
    memcpy(r->version, r->list.resource_version, sizeof(r->version));
    reflector_step(r, EV_LISTED);
}

static void on_end(void *ctx, const struct err *cut)
{
    struct reflector *r = ctx;
    enum answer answer = r->answer;

    r->stream = NULL; /* it is gone: nothing to cancel */
    reflector_end_stream(r);
    if (cut || answer == ANSWER_NONE) {
        if (cut)
            *reflector_trouble(r) = *cut;
        else
            err_set(reflector_trouble(r), ERR_NET, 0, "no answer");
        err_wrap(&r->err, "%s", r->opts.path);
        reflector_step(r, EV_FAILED);
    } else if (answer == ANSWER_ERROR) {
        answer_failed(r);
    } else if (answer == ANSWER_LIST) {
        list_ended(r);
    } else {
        stream_ended(r);
    }
}

const struct kube_receiver reflector_receiver = {
    .on_head = on_head, .on_data = on_data, .on_end = on_end};

void reflector_answer_init(struct reflector *r)
{
    const struct watchdec_sink watch_sink = {on_event, on_event_skipped, r};
    const struct listdec_sink list_sink = {on_item, on_item_skipped, r};

    watchdec_init(&r->watch, &watch_sink);
    listdec_init(&r->list, &list_sink);
}
