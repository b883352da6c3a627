/* See kube.h. One for each worker, on the worker's loop. */
#include "capability/kube.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "guest/guest.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHARE_EVERY 8u
#define SHARES_MAX  256u /* requests of one turn whose time is noted */

struct share {
    uint64_t event_ns, sent_ns;
    bool asleep;
};

struct kube_capability {
    struct loop *loop;
    struct kube_client *client;
    struct capability capability;
    pthread_mutex_t lock; /* of numbers: the daemon's loop reads them */
    struct kube_numbers numbers;
    uint64_t events;
    struct share shares[SHARES_MAX];
    size_t nshares;
    struct msg written;
};

/* A call under way: what the stream's callbacks get. */
struct kube_call {
    struct kube_capability *kube;
    struct call *call;
    struct kube_stream *stream;
    bool head;
};

/* --- what may pass --- */

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What "%XX" stands for, -1 where it is none. */
static int percent(const char *p)
{
    int hi = hex_of(p[1]), lo = hi < 0 ? -1 : hex_of(p[2]);

    return lo < 0 ? -1 : hi * 16 + lo;
}

static int char_check(const char *p, bool in_path, struct err *err)
{
    unsigned char c = (unsigned char)*p;
    int v;

    if (c <= 0x20 || c >= 0x7f || c == '\\' || c == '#')
        return err_set(err, ERR_DENIED, 0, "target: byte 0x%02x may not be in it", c);
    if (c != '%')
        return 0;
    v = percent(p);
    if (v < 0)
        return err_set(err, ERR_DENIED, 0, "target: %% without two hexadecimal digits");
    /* What needs no escape has none: else the server would see another path than was checked. */
    if (in_path && (v < 0x20 || v == 0x7f || isalnum(v) || strchr("/\\.%-_~", v)))
        return err_set(err, ERR_DENIED, 0, "target: %%%.2s may not be in a path", p + 1);
    return 0;
}

static int segment_check(const char *p, size_t len, struct err *err)
{
    if (len == 0)
        return err_set(err, ERR_DENIED, 0, "target: empty segment in the path");
    if ((len == 1 && p[0] == '.') || (len == 2 && !memcmp(p, "..", 2)))
        return err_set(err, ERR_DENIED, 0, "target: segment %.*s in the path", (int)len, p);
    return 0;
}

static bool root_ok(const char *t)
{
    static const char *const roots[] = {"/api", "/apis"};

    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(roots[i]);

        if (!strncmp(t, roots[i], n) && (t[n] == 0 || t[n] == '/' || t[n] == '?'))
            return true;
    }
    return !strncmp(t, "/version", 8) && (t[8] == 0 || t[8] == '?');
}

static int query_check(const char *q, struct err *err)
{
    for (const char *p = q; *p; p++)
        if (char_check(p, false, err) < 0)
            return -1;
    for (const char *p = q; p; p = strchr(p, '&') ? strchr(p, '&') + 1 : NULL) {
        /* Any spelling of "watch" would start a watch: none may be escaped into the name. */
        size_t name = strcspn(p, "=&");

        if (memchr(p, '%', name))
            return err_set(err, ERR_DENIED, 0, "target: %% in the name of a query parameter");
        if (name == 5 && !strncasecmp(p, "watch", 5))
            return err_set(err, ERR_DENIED, 0, "target: watches are triggers, not calls");
    }
    return 0;
}

static bool segment_is(const char *p, size_t len, const char *const names[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) == len && !memcmp(names[i], p, len))
            return true;
    return false;
}

/* Subresources that become another protocol, or pass on to somewhere else. They stand behind an
 * object's name, in a namespace or not; and, from the API's early days, `proxy` behind the version.
 * Further to the front these words are names, further behind they are somebody else's path. */
static bool is_upgrade(unsigned first, unsigned segment, bool in_namespace, const char *p,
                       size_t len)
{
    static const char *const names[] = {"exec", "attach", "portforward", "proxy"};

    if (segment == first)
        return segment_is(p, len, names + 3, 1);
    return segment == first + (in_namespace ? 4 : 2) && segment_is(p, len, names, 4);
}

/* /api/VERSION/watch/..., /apis/GROUP/VERSION/watch/...: watches of the API's early days, which it
 * still serves. */
static bool is_watch(unsigned first, unsigned segment, const char *p, size_t len)
{
    return segment == first && len == 5 && !memcmp(p, "watch", 5);
}

int kube_target_check(const char *target, struct err *err)
{
    size_t path = strcspn(target, "?");
    const unsigned first = !strncmp(target, "/apis", 5) ? 3 : 2; /* segment behind the version */
    const char *p = target;
    bool in_namespace = false;

    if (strlen(target) > ABI_TARGET_MAX)
        return err_set(err, ERR_DENIED, 0, "target: over %u bytes", ABI_TARGET_MAX);
    if (!root_ok(target))
        return err_set(err, ERR_DENIED, 0,
                       "target: the path must be /api, /apis or /version, or below the first two");
    for (size_t i = 0; i < path; i++)
        if (char_check(target + i, true, err) < 0)
            return -1;
    for (unsigned segment = 0; p < target + path; segment++) {
        size_t len = strcspn(p + 1, "/?");

        if (segment_check(p + 1, len, err) < 0)
            return -1;
        if (is_watch(first, segment, p + 1, len))
            return err_set(err, ERR_DENIED, 0, "target: watches are triggers, not calls");
        if (segment == first)
            in_namespace = len == 10 && !memcmp(p + 1, "namespaces", 10);
        if (is_upgrade(first, segment, in_namespace, p + 1, len))
            return err_set(err, ERR_DENIED, 0, "target: subresource %.*s may not be called",
                           (int)len, p + 1);
        p += 1 + len;
    }
    return target[path] ? query_check(target + path + 1, err) : 0;
}

static bool header_passes(const char *name, size_t len)
{
    static const char *const pass[] = {
        "accept",   "content-type",        "if-match", "if-none-match", "if-modified-since",
        "if-range", "if-unmodified-since", "range",    "traceparent"};

    for (size_t i = 0; i < sizeof(pass) / sizeof(pass[0]); i++)
        if (strlen(pass[i]) == len && !strncasecmp(pass[i], name, len))
            return true;
    return false;
}

int kube_headers_filter(struct buf *out, const char *headers, bool *only_if_cached, struct err *err)
{
    *only_if_cached = false;
    while (*headers) {
        size_t line = strcspn(headers, "\n"), name = strcspn(headers, ":");
        const char *value = headers + name + 1;
        size_t len = line - name - 1;

        if (name >= line)
            return err_set(err, ERR_DENIED, 0, "header %.*s: no colon",
                           (int)(line < 64 ? line : 64), headers);
        for (; len && (*value == ' ' || *value == '\t'); value++)
            len--;
        while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
            len--;
        if (name == 13 && !strncasecmp(headers, "cache-control", 13)) {
            /* Not the server's business: it says whether our cache may answer. */
            *only_if_cached |= memmem(value, len, "only-if-cached", 14) != NULL;
        } else if (!header_passes(headers, name)) {
            return err_set(err, ERR_DENIED, 0,
                           "header %.*s may not be sent to kube:", (int)(name < 64 ? name : 64),
                           headers);
        } else if (buf_append(out, headers, name, err) < 0 || buf_puts(out, ": ", err) < 0 ||
                   buf_append(out, value, len, err) < 0 || buf_puts(out, "\n", err) < 0) {
            return -1;
        }
        headers += line + (headers[line] == '\n');
    }
    return 0;
}

static bool method_passes(const char *method)
{
    static const char *const pass[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};

    for (size_t i = 0; i < sizeof(pass) / sizeof(pass[0]); i++)
        if (!strcmp(pass[i], method))
            return true;
    return false;
}

/* --- the time from event to request, for the benchmarks --- */

static void shares_written(struct msg *m)
{
    struct kube_capability *k = container_of(m, struct kube_capability, written);
    struct kube_client_stats st;

    kube_client_stats(k->client, &st);
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->nshares; i++) {
        const struct share *s = &k->shares[i];
        uint64_t at = st.last_write_ns > s->sent_ns ? st.last_write_ns : s->sent_ns;

        hist_add(s->asleep ? &k->numbers.asleep : &k->numbers.awake, at - s->event_ns);
    }
    k->numbers.requests = st.requests;
    k->numbers.connections = st.connections;
    pthread_mutex_unlock(&k->lock);
    k->nshares = 0;
}

static void share_note(struct kube_capability *k, const struct call *c)
{
    struct share *s;

    /* One event in SHARE_EVERY: to know when the bytes left costs a turn of the loop. */
    if (k->nshares >= SHARES_MAX || !call_first(c) || k->events++ % SHARE_EVERY)
        return;
    s = &k->shares[k->nshares++];
    s->event_ns = call_event_ns(c, &s->asleep);
    s->sent_ns = clock_now_ns();
    if (k->nshares == 1) {
        k->written.run = shares_written;
        loop_post(k->loop, &k->written); /* the next turn: what was sent in this one is written */
    }
}

/* --- a call's way --- */

static void on_head(void *ctx, int status, const char *headers, size_t len)
{
    struct kube_call *kc = ctx;

    kc->head = true;
    call_head(kc->call, status, headers, len);
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
    struct kube_call *kc = ctx;

    call_data(kc->call, data, len);
}

static void on_end(void *ctx, const struct err *err)
{
    struct kube_call *kc = ctx;

    if (!err)
        call_end(kc->call, true);
    else if (kc->head)
        call_end(kc->call, false);
    else if (err->code == ERR_TIMEOUT)
        call_problem(kc->call, 504, "timeout", "%s", err->msg);
    else
        call_problem(kc->call, 502, "unreachable", "%s", err->msg);
    free(kc);
}

static const struct kube_receiver receiver = {
    .on_head = on_head, .on_data = on_data, .on_end = on_end};

static int send_as(struct kube_call *kc, const struct guest *g, const char *headers,
                   struct err *err)
{
    const struct guest_spec *spec = g->spec;
    char user[2 * SPEC_SUBDOMAIN_MAX + 32], of_namespace[SPEC_SUBDOMAIN_MAX + 32];
    const char *groups[] = {"system:serviceaccounts", of_namespace, "system:authenticated", NULL};
    struct bytes body = call_body(kc->call);
    struct kube_request req = {.method = call_method(kc->call),
                               .path = call_target(kc->call),
                               .headers = headers,
                               .body = body.data,
                               .body_len = body.len,
                               .body_more = call_body_more(kc->call),
                               .user = user,
                               .groups = groups,
                               .lane = KUBE_CALL};

    snprintf(user, sizeof(user), "system:serviceaccount:%s:%s", spec->namespace_,
             spec->service_account);
    snprintf(of_namespace, sizeof(of_namespace), "system:serviceaccounts:%s", spec->namespace_);
    return kube_send(&kc->stream, kc->kube->client, &req, &receiver, kc, err);
}

static void start(void *ctx, struct call *c, const struct guest *g)
{
    struct kube_capability *k = ctx;
    AUTO_BUF struct buf headers = {.max = 2 * ABI_HEADERS_MAX};
    struct kube_call *kc;
    struct err err = {0};
    bool only_if_cached;

    if (!method_passes(call_method(c))) {
        call_problem(c, 403, "denied", "method %s may not be sent to kube:", call_method(c));
        return;
    }
    if (kube_target_check(call_target(c), &err) < 0 ||
        kube_headers_filter(&headers, call_headers(c), &only_if_cached, &err) < 0) {
        if (err.code == ERR_NOMEM)
            call_problem(c, 503, "unavailable", "%s", err.msg);
        else
            call_problem(c, 403, "denied", "%s", err.msg);
        return;
    }
    if (!k->client) {
        call_problem(c, 503, "unavailable", "the host has no connection to Kubernetes");
        return;
    }
    if (only_if_cached) {
        call_problem(c, 504, "timeout", "only-if-cached: not in the host's cache");
        return;
    }
    kc = calloc(1, sizeof(*kc));
    if (!kc) {
        call_problem(c, 503, "unavailable", "no memory for a call");
        return;
    }
    kc->kube = k;
    kc->call = c;
    if (send_as(kc, g, headers.len ? buf_cstr(&headers) : NULL, &err) < 0) {
        free(kc);
        call_problem(c, 502, "unreachable", "%s", err.msg);
        return;
    }
    call_set_impl(c, kc);
    share_note(k, c);
}

static void more(void *ctx, struct call *c, const uint8_t *data, size_t len, bool last)
{
    struct kube_call *kc = call_impl(c);
    struct err err = {0};

    (void)ctx;
    if (!kc)
        return;
    if (len && kube_write(kc->stream, data, len, &err) < 0) {
        kube_cancel(kc->stream);
        call_problem(c, 502, "unreachable", "%s", err.msg);
        free(kc);
        return;
    }
    if (last)
        kube_end(kc->stream);
}

static void consume(void *ctx, struct call *c, size_t n)
{
    struct kube_call *kc = call_impl(c);

    (void)ctx;
    if (kc)
        kube_consume(kc->stream, n);
}

static void cancel(void *ctx, struct call *c)
{
    struct kube_call *kc = call_impl(c);

    (void)ctx;
    if (!kc)
        return;
    kube_cancel(kc->stream);
    free(kc);
}

static bool granted(void *ctx, const struct guest *g)
{
    (void)ctx;
    return g->spec->service_account != NULL;
}

int kube_capability_new(struct kube_capability **out, struct loop *loop, struct kube_client *client,
                        struct err *err)
{
    struct kube_capability *k = calloc(1, sizeof(*k));

    if (!k)
        return err_set(err, ERR_NOMEM, 0, "no memory for the capability kube:");
    pthread_mutex_init(&k->lock, NULL);
    k->loop = loop;
    k->client = client;
    k->capability = (struct capability){.scheme = "kube",
                                        .ctx = k,
                                        .granted = granted,
                                        .start = start,
                                        .write = more,
                                        .consume = consume,
                                        .cancel = cancel};
    *out = k;
    return 0;
}

void kube_capability_free(struct kube_capability *k)
{
    if (!k)
        return;
    pthread_mutex_destroy(&k->lock);
    free(k);
}

const struct capability *kube_capability_of(const struct kube_capability *k)
{
    return &k->capability;
}

void kube_capability_numbers(struct kube_capability *k, struct kube_numbers *out, bool reset)
{
    pthread_mutex_lock(&k->lock);
    hist_merge(&out->asleep, &k->numbers.asleep);
    hist_merge(&out->awake, &k->numbers.awake);
    out->requests += k->numbers.requests;
    out->connections += k->numbers.connections;
    if (reset) {
        memset(&k->numbers.asleep, 0, sizeof(k->numbers.asleep));
        memset(&k->numbers.awake, 0, sizeof(k->numbers.awake));
    }
    pthread_mutex_unlock(&k->lock);
}
