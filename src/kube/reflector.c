/* See reflector.h. The table `steps` is the machine, step_one its only setter.
 *
 * Streams, timer and sink only post events; they are worked off one after the other, also where an
 * action's call to the sink comes back with a stop. A stream that was cancelled while its bytes are
 * being decoded is noticed by its number (turn): the decoder stops then, and is reset only when the
 * next answer begins, so never under its own feet.
 *
 * The one timer is the pause in the waiting states and the watchdog in the others. It stays set
 * from start to stop, since moving a timer cannot fail where setting one may.
 */
#include "kube/reflector_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t reflector_now(const struct reflector *r)
{
    return r->opts.time.now_ns(r->opts.time.ctx);
}

/* splitmix64 */
static uint64_t next_random(struct reflector *r)
{
    uint64_t z = r->rng += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* --- trouble and health --- */

void reflector_healthy(struct reflector *r)
{
    if (!r->healthy_ns)
        r->healthy_ns = reflector_now(r);
    r->notify |= r->err.code != ERR_NONE;
    r->err = (struct err){0};
}

/* err is the reason of the event that is posted next. */
struct err *reflector_trouble(struct reflector *r)
{
    r->notify = true;
    r->err = (struct err){0};
    return &r->err;
}

/* --- the timer --- */

static void set_timer(struct reflector *r, uint64_t due_ns)
{
    struct err err = {0};

    r->deadline_ns = due_ns;
    /* It is set already, or was until just now: there is room for it. */
    if (r->opts.time.set(r->opts.time.ctx, &r->timer, due_ns, &err) < 0)
        abort();
}

static bool is_waiting(const struct reflector *r)
{
    return r->state == REFLECTOR_RELIST_WAIT || r->state == REFLECTOR_REWATCH_WAIT;
}

static void timer_fired(struct timer *t)
{
    struct reflector *r = container_of(t, struct reflector, timer);
    uint64_t due = r->deadline_ns, silent_ns;

    if (!is_waiting(r)) {
        /* Only silence counts: a long list may go on for as long as it comes. */
        silent_ns = r->stats.last_contact_ns + REFLECTOR_SILENCE_S * NS_PER_S;
        if (silent_ns > due)
            due = silent_ns;
    }
    if (due > reflector_now(r)) {
        set_timer(r, due);
        return;
    }
    set_timer(r, due + REFLECTOR_WATCH_MAX_S * NS_PER_S);
    reflector_step(r, EV_TIMER);
}

/* --- requests --- */

/* Text as part of a query. */
static int put_escaped(struct buf *out, const char *text, struct err *err)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

    for (; *text; text++) {
        if (strchr(plain, *text)) {
            if (buf_append(out, text, 1, err) < 0)
                return -1;
        } else if (buf_printf(out, err, "%%%02X", (unsigned)(uint8_t)*text) < 0) {
            return -1;
        }
    }
    return 0;
}

static int put_path(struct buf *out, const struct reflector *r, struct err *err)
{
    if (buf_puts(out, r->opts.path, err) < 0 || buf_puts(out, "?", err) < 0)
        return -1;
    if (r->opts.query && (buf_puts(out, r->opts.query, err) < 0 || buf_puts(out, "&", err) < 0))
        return -1;
    return 0;
}

void reflector_end_stream(struct reflector *r)
{
    if (r->stream)
        r->opts.http.cancel(r->stream);
    r->stream = NULL;
    r->answer = ANSWER_NONE;
    r->turn++;
}

static void send_request(struct reflector *r, struct buf *path, enum kube_lane lane)
{
    struct kube_request req = {
        .method = "GET", .headers = "Accept: application/json\n", .lane = lane};
    struct err err = {0};

    reflector_end_stream(r);
    r->status = 0;
    r->retry_after_s = 0;
    r->began_ns = reflector_now(r);
    r->watch_events = 0;
    r->error_body.len = 0;
    req.path = buf_cstr(path);
    if (!req.path)
        err_set(&err, ERR_NOMEM, 0, "path of a request");
    else if (r->opts.http.send(r->opts.http.ctx, &r->stream, &req, &reflector_receiver, r, &err) ==
             0)
        return;
    r->stream = NULL;
    *reflector_trouble(r) = err;
    reflector_step(r, EV_FAILED);
}

static void out_of_path(struct reflector *r, const struct err *err)
{
    *reflector_trouble(r) = *err;
    reflector_step(r, EV_FAILED);
}

/* How long the server is asked to hold a watch; by chance, so that not all end at once. */
static unsigned watch_seconds(struct reflector *r)
{
    return REFLECTOR_WATCH_MIN_S +
           (unsigned)(next_random(r) % (REFLECTOR_WATCH_MAX_S - REFLECTOR_WATCH_MIN_S + 1));
}

static void begin_stream(struct reflector *r)
{
    AUTO_BUF struct buf path = {.max = KUBE_PATH_MAX};
    struct err err = {0};

    r->anew = !r->version[0] || r->rewound >= REFLECTOR_REWINDS_MAX;
    if (r->no_stream) {
        reflector_step(r, EV_REFUSED);
        return;
    }
    set_timer(r, reflector_now(r) + REFLECTOR_SILENCE_S * NS_PER_S);
    if (put_path(&path, r, &err) < 0 ||
        buf_printf(&path, &err,
                   "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                   "&allowWatchBookmarks=true&timeoutSeconds=%u",
                   watch_seconds(r)) < 0)
        out_of_path(r, &err);
    else
        send_request(r, &path, KUBE_WATCH);
}

static void request_page(struct reflector *r)
{
    AUTO_BUF struct buf path = {.max = KUBE_PATH_MAX};
    struct err err = {0};
    int rc = put_path(&path, r, &err);

    r->page_known = false;
    set_timer(r, reflector_now(r) + REFLECTOR_SILENCE_S * NS_PER_S);
    if (rc == 0)
        rc = buf_printf(&path, &err, "limit=%u", r->full_list ? 0 : REFLECTOR_PAGE_ITEMS);
    if (rc == 0 && r->continue_[0]) {
        rc = buf_puts(&path, "&continue=", &err);
        if (rc == 0)
            rc = put_escaped(&path, r->continue_, &err);
    }
    if (rc < 0)
        out_of_path(r, &err);
    else
        send_request(r, &path, KUBE_CALL);
}

static void begin_list(struct reflector *r)
{
    r->no_stream = true;
    r->full_list = false;
    r->continue_[0] = 0;
    request_page(r);
}

static void begin_full_list(struct reflector *r)
{
    r->full_list = true;
    r->continue_[0] = 0;
    request_page(r);
}

static void begin_watch(struct reflector *r)
{
    AUTO_BUF struct buf path = {.max = KUBE_PATH_MAX};
    struct err err = {0};
    unsigned seconds = watch_seconds(r);
    int rc = put_path(&path, r, &err);

    set_timer(r, reflector_now(r) + (seconds + REFLECTOR_SILENCE_S) * NS_PER_S);
    if (rc == 0)
        rc = buf_printf(
            &path, &err,
            "watch=true&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=", seconds);
    if (rc == 0)
        rc = put_escaped(&path, r->version, &err);
    if (rc < 0)
        out_of_path(r, &err);
    else
        send_request(r, &path, KUBE_WATCH);
}

static void rewatch(struct reflector *r)
{
    r->stats.reconnects++;
    begin_watch(r);
}

/* --- the end of a list --- */

static void believe_list(struct reflector *r)
{
    r->rewound = 0;
    r->full_list = false;
    r->stats.relists++;
    r->stats.synced = true;
    reflector_healthy(r);
    if (r->opts.sink.relist_end)
        r->opts.sink.relist_end(r->opts.sink.ctx);
}

/* The stream goes on as the watch. */
static void stream_synced(struct reflector *r)
{
    set_timer(r, r->began_ns + (REFLECTOR_WATCH_MAX_S + REFLECTOR_SILENCE_S) * NS_PER_S);
    believe_list(r);
}

static void list_complete(struct reflector *r)
{
    believe_list(r);
    begin_watch(r);
}

/* --- pauses --- */

/* What is waited after the n-th failure in a row (from 0): doubled each time, 1 to 2 times of it.
 */
static uint64_t pause_ns(struct reflector *r, unsigned n)
{
    uint64_t base_ms = n < 16 ? (uint64_t)REFLECTOR_BACKOFF_MIN_MS << n : REFLECTOR_BACKOFF_MAX_MS;
    uint64_t asked_ns = r->retry_after_s * NS_PER_S, pause;

    if (base_ms > REFLECTOR_BACKOFF_MAX_MS)
        base_ms = REFLECTOR_BACKOFF_MAX_MS;
    pause = base_ms * NS_PER_MS;
    pause += next_random(r) % pause;
    return pause > asked_ns ? pause : asked_ns;
}

static void forget_old_failures(struct reflector *r)
{
    if (r->healthy_ns && reflector_now(r) - r->healthy_ns >= REFLECTOR_HEALTHY_S * NS_PER_S)
        r->failures = 0;
    r->healthy_ns = 0;
}

static void back_off(struct reflector *r)
{
    reflector_end_stream(r);
    forget_old_failures(r);
    r->stats.failures++;
    set_timer(r, reflector_now(r) + pause_ns(r, r->failures++));
    r->retry_after_s = 0;
}

/* The first relist after health is immediate; if those go on, they back off like anything else. */
static void back_off_to_relist(struct reflector *r)
{
    reflector_end_stream(r);
    forget_old_failures(r);
    r->stats.failures++;
    set_timer(r, reflector_now(r) + (r->failures ? pause_ns(r, r->failures - 1) : 0));
    r->failures++;
    r->retry_after_s = 0;
}

static void silent(struct reflector *r)
{
    err_set(reflector_trouble(r), ERR_TIMEOUT, 0, "%s: the server fell silent for %u s",
            r->opts.path, REFLECTOR_SILENCE_S);
    back_off(r);
}

static void list_rewound(struct reflector *r)
{
    r->rewound++;
    r->stats.rewinds++;
    back_off(r);
}

static void watch_rewound(struct reflector *r)
{
    r->stats.rewinds++;
    back_off_to_relist(r);
}

static void stop(struct reflector *r)
{
    reflector_end_stream(r);
    r->opts.time.clear(r->opts.time.ctx, &r->timer);
    r->err = (struct err){0};
    r->failures = 0;
    r->healthy_ns = 0;
    r->rewound = 0;
    r->notify = true;
}

/* --- the machine --- */

static const struct {
    enum reflector_state next;
    void (*act)(struct reflector *r);
} steps[REFLECTOR_STATES][EVENTS] = {
    [REFLECTOR_IDLE] =
        {
            [EV_START] = {REFLECTOR_STREAMING, begin_stream},
            [EV_STOP] = {REFLECTOR_IDLE, NULL},
        },
    [REFLECTOR_STREAMING] =
        {
            [EV_STOP] = {REFLECTOR_IDLE, stop},
            [EV_SYNCED] = {REFLECTOR_WATCHING, stream_synced},
            [EV_REFUSED] = {REFLECTOR_LISTING, begin_list},
            [EV_FAILED] = {REFLECTOR_RELIST_WAIT, back_off},
            [EV_GONE] = {REFLECTOR_RELIST_WAIT, back_off},
            [EV_REWOUND] = {REFLECTOR_RELIST_WAIT, list_rewound},
            [EV_TIMER] = {REFLECTOR_RELIST_WAIT, silent},
        },
    [REFLECTOR_LISTING] =
        {
            [EV_STOP] = {REFLECTOR_IDLE, stop},
            [EV_PAGE] = {REFLECTOR_LISTING, request_page},
            [EV_LISTED] = {REFLECTOR_WATCHING, list_complete},
            [EV_EXPIRED] = {REFLECTOR_LISTING, begin_full_list},
            [EV_FAILED] = {REFLECTOR_RELIST_WAIT, back_off},
            [EV_GONE] = {REFLECTOR_RELIST_WAIT, back_off},
            [EV_REWOUND] = {REFLECTOR_RELIST_WAIT, list_rewound},
            [EV_TIMER] = {REFLECTOR_RELIST_WAIT, silent},
        },
    [REFLECTOR_WATCHING] =
        {
            [EV_STOP] = {REFLECTOR_IDLE, stop},
            [EV_ENDED] = {REFLECTOR_WATCHING, rewatch},
            [EV_FAILED] = {REFLECTOR_REWATCH_WAIT, back_off},
            [EV_GONE] = {REFLECTOR_RELIST_WAIT, back_off_to_relist},
            [EV_REWOUND] = {REFLECTOR_RELIST_WAIT, watch_rewound},
            [EV_TIMER] = {REFLECTOR_REWATCH_WAIT, silent},
        },
    [REFLECTOR_RELIST_WAIT] =
        {
            [EV_STOP] = {REFLECTOR_IDLE, stop},
            [EV_TIMER] = {REFLECTOR_STREAMING, begin_stream},
        },
    [REFLECTOR_REWATCH_WAIT] =
        {
            [EV_STOP] = {REFLECTOR_IDLE, stop},
            [EV_TIMER] = {REFLECTOR_WATCHING, rewatch},
        },
};

static void step_one(struct reflector *r, enum reflector_event ev)
{
    enum reflector_state from = r->state, next = steps[from][ev].next;

    assert(next != 0); /* an event that cannot be here: a mistake of ours */
    r->notify |= from != next;
    r->state = next;
    if (steps[from][ev].act)
        steps[from][ev].act(r);
}

void reflector_notify(struct reflector *r)
{
    struct err err = r->err;

    if (!r->notify)
        return;
    r->notify = false;
    if (r->opts.sink.state)
        r->opts.sink.state(r->opts.sink.ctx, r->state, err.code ? &err : NULL);
}

void reflector_step(struct reflector *r, enum reflector_event ev)
{
    assert(r->queued < EVENTS_QUEUED_MAX);
    r->queue[r->queued].ev = ev;
    r->queue[r->queued++].turn = r->turn;
    if (r->stepping)
        return;
    r->stepping = true;
    while (r->queued) {
        uint64_t turn = r->queue[0].turn;

        ev = r->queue[0].ev;
        r->queued--;
        memmove(r->queue, r->queue + 1, r->queued * sizeof(r->queue[0]));
        if (turn == r->turn || ev == EV_START || ev == EV_STOP)
            step_one(r, ev);
    }
    r->stepping = false;
    reflector_notify(r);
}

/* --- public --- */

static char *copy_or_null(const char *text, bool *failed)
{
    char *copy = text ? strdup(text) : NULL;

    *failed |= text && !copy;
    return copy;
}

int reflector_new(struct reflector **out, const struct reflector_opts *opts, struct err *err)
{
    const char *version = opts->resource_version ? opts->resource_version : "";
    struct reflector *r = calloc(1, sizeof(*r));
    bool failed = false;

    if (!r)
        return err_set(err, ERR_NOMEM, 0, "%s", opts->path);
    r->opts = *opts;
    r->opts.path = copy_or_null(opts->path, &failed);
    r->opts.query = copy_or_null(opts->query, &failed);
    r->opts.kind.api_version = copy_or_null(opts->kind.api_version, &failed);
    r->opts.kind.kind = copy_or_null(opts->kind.kind, &failed);
    r->opts.resource_version = NULL;
    r->state = REFLECTOR_IDLE;
    r->rng = opts->seed;
    r->timer.fire = timer_fired;
    r->error_body.max = KUBE_ERROR_BODY_MAX;
    reflector_answer_init(r);
    if (failed)
        err_set(err, ERR_NOMEM, 0, "%s", opts->path);
    else if (strlen(opts->path) + (opts->query ? strlen(opts->query) : 0) > KUBE_PATH_MAX / 2 ||
             strlen(version) > KUBE_VERSION_MAX)
        failed = err_set(err, ERR_LIMIT, 0, "%.100s: path, query or version too long", opts->path);
    if (failed) {
        reflector_free(r);
        return -1;
    }
    snprintf(r->version, sizeof(r->version), "%s", version);
    *out = r;
    return 0;
}

int reflector_start(struct reflector *r, struct err *err)
{
    uint64_t far_ns = reflector_now(r) + REFLECTOR_WATCH_MAX_S * NS_PER_S;

    assert(r->state == REFLECTOR_IDLE);
    if (r->opts.time.set(r->opts.time.ctx, &r->timer, far_ns, err) < 0)
        return err_wrap(err, "%s", r->opts.path);
    reflector_step(r, EV_START);
    return 0;
}

void reflector_stop(struct reflector *r)
{
    reflector_step(r, EV_STOP);
}

void reflector_free(struct reflector *r)
{
    if (!r)
        return;
    assert(!r->stepping);
    reflector_end_stream(r);
    if (r->state != REFLECTOR_IDLE)
        r->opts.time.clear(r->opts.time.ctx, &r->timer);
    watchdec_free(&r->watch);
    listdec_free(&r->list);
    buf_free(&r->error_body);
    free((char *)(uintptr_t)r->opts.path);
    free((char *)(uintptr_t)r->opts.query);
    free((char *)(uintptr_t)r->opts.kind.api_version);
    free((char *)(uintptr_t)r->opts.kind.kind);
    free(r);
}

void reflector_stats(const struct reflector *r, struct reflector_stats *out)
{
    *out = r->stats;
    out->state = r->state;
    out->resource_version = r->version;
}

const char *reflector_state_name(enum reflector_state state)
{
    static const char *const names[REFLECTOR_STATES] = {
        [REFLECTOR_IDLE] = "idle",
        [REFLECTOR_STREAMING] = "streaming",
        [REFLECTOR_LISTING] = "listing",
        [REFLECTOR_WATCHING] = "watching",
        [REFLECTOR_RELIST_WAIT] = "waiting to list",
        [REFLECTOR_REWATCH_WAIT] = "waiting to watch",
    };

    return (unsigned)state < REFLECTOR_STATES && names[state] ? names[state] : "unknown";
}
