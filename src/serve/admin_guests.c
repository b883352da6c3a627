/* What is seen of guests: lists in pages and with selectors, a stream of what changes, one of them;
 * and putting one to sleep or waking it.
 *
 * A list of all guests may be long, and the loop has guests to serve: LIST_AT_ONCE of them are
 * written in each turn, in the order of their names, going on behind the last one that was written.
 * So a list is not one moment's: who came or went meanwhile may be in it or not. A page ends with
 * the name of its last guest as the token to go on with.
 *
 * A stream begins as a list (ADDED for each, then SYNCED), written as fast as the client reads.
 * Then comes MODIFIED for each guest that changed, at most once in GUESTS_TELL_NS however often it
 * did, and DELETED. A guest whose labels do not match any more is DELETED for who asked by them.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "serve/admin_internal.h"
#include "serve/guests_view.h"
#include "serve/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct filter {
    char namespace_[SPEC_SUBDOMAIN_MAX + 1];
    struct selector selector;
};

struct listing {
    struct guests_view *view;
    struct listing *next;
    struct http1_later *later;
    struct filter filter;
    char at[2 * SPEC_SUBDOMAIN_MAX + 2];
    size_t hint;       /* where that is, perhaps */
    uint64_t limit, n; /* limit 0: none */
    struct msg turn;
};

struct watcher {
    struct guests_view *view;
    struct watcher *next;
    struct http1_stream *stream;
    struct filter filter;
    char at[2 * SPEC_SUBDOMAIN_MAX + 2]; /* how far the list is */
    size_t hint;
    bool synced, posted;
    struct msg turn;
};

/* --- filters --- */

static int filter_read(struct filter *f, const struct admin_call *call)
{
    char text[SELECTOR_BYTES_MAX];
    struct err err = {0};

    if (admin_query(call, "namespace", f->namespace_, sizeof(f->namespace_)) < 0 ||
        admin_query(call, "labelSelector", text, sizeof(text)) < 0)
        return -1;
    if (selector_read(&f->selector, text, &err) == 0)
        return 0;
    http1_problem(call->res, 400, err.msg);
    return -1;
}

static bool is_there(const struct filter *f, const struct guest *g)
{
    return !f->namespace_[0] || strcmp(f->namespace_, g->spec->namespace_) == 0;
}

static bool matches(const struct filter *f, const struct guest *g)
{
    return is_there(f, g) && selector_matches(&f->selector, g->spec->labels, g->spec->nlabels);
}

/* The place of the next one: mostly behind the last one's, of which *hint is one more. */
static size_t next_place(const struct guests_view *v, const struct filter *f, const char *at,
                         size_t hint)
{
    char first[SPEC_SUBDOMAIN_MAX + 2];

    if (hint && hint <= v->order.n && strcmp(v->order.v[hint - 1]->id, at) == 0)
        return hint;
    snprintf(first, sizeof(first), "%s/", f->namespace_);
    return order_after(&v->order, f->namespace_[0] && strcmp(at, first) < 0 ? first : at);
}

/* The next guest behind `at`, which it moves; NULL: there is none. One that does not match is told
 * by *fits. */
static const struct guest *next_guest(struct guests_view *v, const struct filter *f, char *at,
                                      size_t cap, size_t *hint, bool *fits)
{
    size_t i = next_place(v, f, at, *hint);
    const struct guest *g = i < v->order.n ? v->order.v[i] : NULL;

    *hint = i + 1;
    if (!g || (f->namespace_[0] && strcmp(f->namespace_, g->spec->namespace_) != 0))
        return NULL;
    snprintf(at, cap, "%s", g->id);
    *fits = matches(f, g);
    return g;
}

/* --- lists --- */

static void listing_over(struct listing *l)
{
    struct listing **at = &l->view->listings;

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    l->view->nlistings--;
    http1_later_send(l->later);
    free(l);
}

static void listing_fail(struct listing *l, int status, const char *why)
{
    http1_problem(http1_later_response(l->later), status, why);
    listing_over(l);
}

static int put_rejects(struct listing *l, struct buf *out)
{
    struct guests_view *v = l->view;
    int rc = 0;

    /* They have neither namespace nor labels. */
    if (l->filter.namespace_[0] || l->filter.selector.n)
        return 0;
    for (size_t i = 0; rc == 0 && v->reject_at(v->ctx, i); i++)
        rc = report_reject_write(out, v->reject_at(v->ctx, i), out->data[out->len - 1] != '[');
    return rc;
}

static void listing_end(struct listing *l, bool more)
{
    struct buf *out = &http1_later_response(l->later)->body;
    int rc = more ? 0 : put_rejects(l, out);

    if (rc == 0)
        rc = more ? buf_printf(out, NULL, "],\"continue\":\"%s\"}\n", l->at)
                  : buf_puts(out, "],\"continue\":\"\"}\n", NULL);
    if (rc < 0)
        listing_fail(l, 500, "the answer could not be made: no memory, or too large");
    else
        listing_over(l);
}

static bool is_last(const struct listing *l)
{
    struct filter f = l->filter;
    char at[sizeof(l->at)];
    size_t hint = l->hint;
    bool fits;

    memcpy(at, l->at, sizeof(at));
    return !next_guest(l->view, &f, at, sizeof(at), &hint, &fits);
}

static void listing_turn(struct msg *m)
{
    struct listing *l = container_of(m, struct listing, turn);
    struct buf *out = &http1_later_response(l->later)->body;

    if (order_ready(&l->view->order, l->view->guests) < 0) {
        listing_fail(l, 503, "no memory: try again");
        return;
    }
    for (size_t i = 0; i < LIST_AT_ONCE; i++) {
        bool fits;
        const struct guest *g =
            next_guest(l->view, &l->filter, l->at, sizeof(l->at), &l->hint, &fits);

        if (!g) {
            listing_end(l, false);
            return;
        }
        if (fits && report_guest_write(out, g, l->n++ > 0) < 0) {
            listing_fail(l, 500, "the answer could not be made: no memory, or too large");
            return;
        }
        if ((l->limit && l->n == l->limit) || out->len > LIST_BYTES_MAX) {
            listing_end(l, !is_last(l));
            return;
        }
    }
    loop_post(l->view->loop, m); /* in the next turn */
}

static void list_begin(struct guests_view *v, const struct admin_call *call,
                       const struct filter *filter)
{
    struct listing *l;
    uint64_t limit = 0;
    char at[2 * SPEC_SUBDOMAIN_MAX + 2];

    if (admin_query_number(call, "limit", LIST_LIMIT_MAX, &limit) < 0 ||
        admin_query(call, "continue", at, sizeof(at)) < 0)
        return;
    if (v->nlistings >= LISTS_MAX) {
        http1_problem(call->res, 429, "too many lists are under way: try again");
        return;
    }
    l = calloc(1, sizeof(*l));
    if (!l || !(l->later = http1_later_begin(call->res))) {
        free(l);
        http1_problem(call->res, 503, "no memory: try again");
        return;
    }
    l->view = v;
    l->filter = *filter;
    l->limit = limit;
    memcpy(l->at, at, sizeof(at));
    l->turn.run = listing_turn;
    l->next = v->listings;
    v->listings = l;
    v->nlistings++;
    if (buf_puts(&http1_later_response(l->later)->body, "{\"items\":[", NULL) < 0)
        listing_fail(l, 503, "no memory: try again");
    else
        listing_turn(&l->turn);
}

/* --- streams --- */

static void watcher_free(struct watcher *w)
{
    struct watcher **at = &w->view->watchers;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (w->posted)
        loop_unpost(w->view->loop, &w->turn);
    free(w);
}

static void watcher_gone(void *ctx)
{
    watcher_free(ctx);
}

/* {"type": TYPE, "object": ...} as a line in v->line; -1: no memory. */
static int make_line(struct guests_view *v, const char *type, const struct guest *g)
{
    v->line.len = 0;
    if (buf_printf(&v->line, NULL, "{\"type\":\"%s\",\"object\":", type) < 0 ||
        report_guest_write(&v->line, g, false) < 0)
        return -1;
    return buf_puts(&v->line, "}\n", NULL);
}

/* What cannot be pushed ends the stream: http1 says so, and calls watcher_gone. */
static void push_line(struct watcher *w)
{
    (void)http1_stream_push(w->stream, w->view->line.data, w->view->line.len);
}

static void watcher_synced(struct watcher *w)
{
    static const char line[] = "{\"type\":\"SYNCED\",\"object\":{}}\n";

    w->synced = true;
    (void)http1_stream_push(w->stream, line, sizeof(line) - 1);
}

static void watcher_soon(struct watcher *w)
{
    if (w->posted)
        return;
    w->posted = true;
    loop_post(w->view->loop, &w->turn);
}

static void watcher_turn(struct msg *m)
{
    struct watcher *w = container_of(m, struct watcher, turn);
    struct guests_view *v = w->view;

    w->posted = false;
    if (order_ready(&v->order, v->guests) < 0) {
        http1_stream_cut(w->stream, "no memory for the list");
        return;
    }
    for (size_t i = 0; i < LIST_AT_ONCE; i++) {
        const struct guest *g;
        bool fits;

        if (http1_stream_room(w->stream) < GUEST_LINE_BYTES_MAX)
            return; /* goes on once it is drained */
        g = next_guest(v, &w->filter, w->at, sizeof(w->at), &w->hint, &fits);
        if (!g) {
            watcher_synced(w);
            return;
        }
        if (fits && make_line(v, "ADDED", g) == 0)
            push_line(w);
    }
    watcher_soon(w);
}

static void watcher_drained(void *ctx)
{
    struct watcher *w = ctx;

    if (!w->synced)
        watcher_soon(w);
}

static void watch_begin(struct guests_view *v, const struct admin_call *call,
                        const struct filter *filter)
{
    static const struct http1_stream_owner owner = {.drained = watcher_drained,
                                                    .gone = watcher_gone};
    struct watcher *w = calloc(1, sizeof(*w));

    if (!w) {
        http1_problem(call->res, 503, "no memory: try again");
        return;
    }
    w->view = v;
    w->filter = *filter;
    w->turn.run = watcher_turn;
    if (http1_stream_open(&w->stream, call->req, call->res, "application/x-ndjson", &owner, w) <
            0 ||
        !w->stream) {
        free(w);
        return;
    }
    w->next = v->watchers;
    v->watchers = w;
    watcher_soon(w);
}

/* --- what changed --- */

/* Else it comes with the list. */
static bool is_listed(const struct watcher *w, const struct guest *g)
{
    return w->synced || strcmp(g->id, w->at) <= 0;
}

static void tell(struct guests_view *v, struct guest *g)
{
    for (struct watcher *w = v->watchers; w; w = w->next)
        if (is_listed(w, g) && matches(&w->filter, g) && make_line(v, "MODIFIED", g) == 0)
            push_line(w);
}

/* Its labels may have changed: who asked for others does not see it any more. Who did not see it
 * before either is told as well, but only here and not of each of its changes. */
static void tell_lost(struct guests_view *v, struct guest *g)
{
    for (struct watcher *w = v->watchers; w; w = w->next)
        if (w->filter.selector.n && is_listed(w, g) && is_there(&w->filter, g) &&
            !matches(&w->filter, g) && make_line(v, "DELETED", g) == 0)
            push_line(w);
}

static void tell_all(struct timer *t)
{
    struct guests_view *v = container_of(t, struct guests_view, telling);
    size_t n = v->nchanged;

    v->nchanged = 0;
    for (size_t i = 0; i < n; i++) {
        struct guest *g = v->changed[i];

        if (!g)
            continue;
        g->told = false;
        tell(v, g);
    }
}

static int changed_room(struct guests_view *v)
{
    size_t room = v->changed_room ? v->changed_room * 2 : 64;
    struct guest **changed;

    if (v->nchanged < v->changed_room)
        return 0;
    changed = realloc(v->changed, room * sizeof(*changed));
    if (!changed)
        return -1;
    v->changed = changed;
    v->changed_room = room;
    return 0;
}

void guests_view_changed(struct guests_view *v, struct guest *g)
{
    if (!v->watchers || g->told || guest_leaves(g) || changed_room(v) < 0)
        return;
    g->told = true;
    v->changed[v->nchanged++] = g;
    v->telling.fire = tell_all;
    if (!v->telling.at &&
        loop_timer_set(v->loop, &v->telling, loop_now_ns(v->loop) + GUESTS_TELL_NS, NULL) < 0)
        log_error("no memory for a timer: changes of guests are told with the next one");
}

static void forget_changed(struct guests_view *v, const char *id)
{
    for (size_t i = 0; i < v->nchanged; i++)
        if (v->changed[i] && strcmp(v->changed[i]->id, id) == 0)
            v->changed[i] = NULL;
}

void guests_view_moved(struct guests_view *v, struct guest *g, const char *id)
{
    const char *slash = strchr(id, '/');

    if (g) {
        if (!order_came(&v->order, g))
            tell_lost(v, g);
        guests_view_changed(v, g);
        return;
    }
    order_went(&v->order, id);
    forget_changed(v, id);
    v->line.len = 0;
    if (!v->watchers ||
        buf_printf(&v->line, NULL,
                   "{\"type\":\"DELETED\",\"object\":{\"namespace\":\"%.*s\",\"name\":\"%s\"}}\n",
                   (int)(slash - id), id, slash + 1) < 0)
        return;
    for (struct watcher *w = v->watchers; w; w = w->next)
        if (!w->filter.namespace_[0] ||
            (strncmp(id, w->filter.namespace_, strlen(w->filter.namespace_)) == 0 &&
             id[strlen(w->filter.namespace_)] == '/'))
            push_line(w);
}

void guests_view_free(struct guests_view *v)
{
    loop_timer_clear(v->loop, &v->telling);
    while (v->listings) {
        loop_unpost(v->loop, &v->listings->turn);
        listing_fail(v->listings, 503, "the daemon stops");
    }
    while (v->watchers) {
        http1_stream_end(v->watchers->stream);
        watcher_free(v->watchers);
    }
    order_free(&v->order);
    buf_free(&v->line);
    free(v->changed);
}

/* --- routes --- */

/* Where there is no view, as in tests of the other routes. */
static void list_plainly(struct admin *a, const struct admin_call *call)
{
    json_t *items = json_array();

    if (!items || a->source.list(a->source.ctx, items) < 0) {
        json_decref(items);
        admin_json(call->res, NULL);
        return;
    }
    admin_json(call->res, json_pack("{s:o}", "items", items));
}

void admin_list(struct admin *a, const struct admin_call *call)
{
    struct guests_view *v = a->source.view;
    struct filter filter = {0};
    int watch = admin_query_flag(call, "watch");

    if (!v && watch >= 0)
        list_plainly(a, call);
    else if (watch < 0 || filter_read(&filter, call) < 0)
        return;
    else if (watch)
        watch_begin(v, call, &filter);
    else
        list_begin(v, call, &filter);
}

void admin_describe(struct admin *a, const struct admin_call *call)
{
    json_t *guest = NULL;

    if (a->source.describe(a->source.ctx, call->param[0], call->param[1], &guest) < 0)
        http1_problem(call->res, 404, "there is no such guest");
    else
        admin_json(call->res, guest);
}

static struct guest *find(struct admin *a, const struct admin_call *call)
{
    char id[2 * SPEC_SUBDOMAIN_MAX + 2];
    struct guest *g;

    snprintf(id, sizeof(id), "%.253s/%.253s", call->param[0], call->param[1]);
    g = a->source.view ? guests_find(a->source.view->guests, id) : NULL;
    if (!g)
        http1_problem(call->res, 404, "there is no such guest");
    return g;
}

static void answer_state(const struct guest *g, const struct admin_call *call)
{
    admin_json(call->res, json_pack("{s:s}", "state", report_state(g)));
}

static const char *why_held(const struct guest *g)
{
    if (g->rejected)
        return "it cannot be deployed: see its last error";
    if (g->change)
        return "it is being changed, or deleted: try again";
    return g->hold ? "it waits for its module, its rights or its watch: see roost describe" : NULL;
}

void admin_sleep(struct admin *a, const struct admin_call *call)
{
    struct guest *g = find(a, call);
    const char *why = g ? why_held(g) : NULL;

    if (!g)
        return;
    if (!why && !guest_sleeps(g))
        why = "it never sleeps: see whySleepless in roost describe";
    if (!why && g->state == G_FAILED)
        why = "it failed, and is not awake: it starts again after its back-off, or with roost wake";
    if (why) {
        http1_problem(call->res, 409, why);
        return;
    }
    guest_sleep_now(g);
    answer_state(g, call);
}

void admin_wake(struct admin *a, const struct admin_call *call)
{
    struct guest *g = find(a, call);
    const char *why = g ? why_held(g) : NULL;

    if (!g)
        return;
    if (why) {
        http1_problem(call->res, 409, why);
        return;
    }
    guest_wake_now(g);
    answer_state(g, call);
}
