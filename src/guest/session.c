/* The nine imports of a guest during one event (docs/abi.md): handles, calls, attributes.
 *
 * Everything here runs on the worker that owns the guest. A handle is a number in a short array;
 * none outlives its event. What the guest passes was checked to lie in its memory (engine/abi.c);
 * here the sizes and the syntax are checked, in the order that docs/abi.md gives for the errors.
 */
#include "base/limits.h"
#include "base/log.h"
#include "guest/awake.h"
#include "guest/guest.h"
#include "guest/worker.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    E_2BIG = -1,
    E_BADF = -8,
    E_FAULT = -21,
    E_INVAL = -28,
    E_IO = -29,
    E_MFILE = -33,
    E_NOENT = -44,
    E_NOMEM = -48,
    E_PERM = -63,
    E_PIPE = -64,
    E_TIMEDOUT = -73,
};

/* The array is in the order of the handles: a `wait` may look for many of them, at each of its
 * tries.
 */
static struct open_call *find(struct awake *a, int32_t h)
{
    size_t lo = 0, hi = a->ncalls;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (a->calls[mid].handle == h)
            return &a->calls[mid];
        if (a->calls[mid].handle < h)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

void session_refused(void *awake, const char *why)
{
    struct awake *a = awake;

    a->refusals++;
    snprintf(a->refusal, sizeof(a->refusal), "%s", why);
}

/* --- call --- */

static bool is_token_char(uint8_t c)
{
    return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool method_ok(struct bytes m)
{
    for (size_t i = 0; i < m.len; i++)
        if (m.data[i] < 'A' || m.data[i] > 'Z')
            return false;
    return m.len > 0;
}

/* Splits "scheme:rest". */
static bool target_split(struct bytes t, struct bytes *scheme, struct bytes *rest)
{
    size_t n = 0;

    while (n < t.len && (islower(t.data[n]) || (n && (isdigit(t.data[n]) || t.data[n] == '-'))))
        n++;
    if (n == 0 || n >= t.len || t.data[n] != ':')
        return false;
    *scheme = (struct bytes){.data = t.data, .len = n};
    *rest = (struct bytes){.data = t.data + n + 1, .len = t.len - n - 1};
    return !memchr(rest->data, 0, rest->len);
}

static bool header_line_ok(const uint8_t *p, size_t len)
{
    size_t n = 0;

    while (n < len && is_token_char(p[n]))
        n++;
    if (n == 0 || n >= len || p[n] != ':')
        return false;
    for (n++; n < len; n++)
        if ((p[n] < 0x20 && p[n] != '\t') || p[n] == 0x7f)
            return false;
    return true;
}

static size_t header_lines(struct bytes h)
{
    size_t lines = h.len && h.data[h.len - 1] != '\n';

    for (size_t i = 0; i < h.len; i++)
        lines += h.data[i] == '\n';
    return lines;
}

static bool headers_ok(struct bytes h)
{
    const uint8_t *p = h.data, *end = h.data + h.len;

    while (p < end) {
        const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((nl ? nl : end) - p);

        if (!header_line_ok(p, len))
            return false;
        p += len + 1;
    }
    return true;
}

static int32_t call_check(const struct host_call *in, struct call_request *out)
{
    if (in->method.len > ABI_METHOD_MAX || in->target.len > ABI_TARGET_MAX ||
        in->headers.len > ABI_HEADERS_MAX || in->body.len > ABI_BODY_MAX ||
        header_lines(in->headers) > ABI_HEADER_LINES_MAX)
        return E_2BIG;
    if (!headers_ok(in->headers) || !method_ok(in->method) ||
        !target_split(in->target, &out->scheme, &out->target) || in->flags > 1)
        return E_INVAL;
    out->method = in->method;
    out->headers = in->headers;
    out->body = in->body;
    out->more = in->flags & 1;
    return 0;
}

static void something_came(void *ctx)
{
    worker_resume(ctx);
}

static int32_t handle_add(struct awake *a, struct call *c, const struct call_request *req)
{
    if (a->ncalls == a->calls_room) {
        size_t room = a->calls_room ? a->calls_room * 2 : 4;
        struct open_call *calls = realloc(a->calls, room * sizeof(*calls));

        if (!calls)
            return E_NOMEM;
        a->calls = calls;
        a->calls_room = room;
    }
    a->calls[a->ncalls++] = (struct open_call){
        .handle = ++a->next_handle, .more = req->more, .sent = req->body.len, .call = c};
    return a->next_handle;
}

static size_t under_way(const struct awake *a)
{
    size_t n = 0;

    for (size_t i = 0; i < a->ncalls; i++)
        n += !call_ended(a->calls[i].call);
    return n;
}

/* Bodies that the host has for it now: what it sends with calls that are not answered yet, and the
 * answers to others that it has not read. Of an answer that is still coming there is at most the
 * stream's window, for each of limits.calls. */
static size_t bodies_room(const struct awake *a)
{
    size_t held = 0;

    for (size_t i = 0; i < a->ncalls; i++) {
        const struct open_call *o = &a->calls[i];

        held += call_ended(o->call) ? call_unread(o->call) : o->sent;
    }
    return held < ABI_BODIES_MAX ? ABI_BODIES_MAX - held : 0;
}

/* Why a call with such a body is refused; NULL: it is not. */
static const char *over_limit(const struct awake *a, size_t body)
{
    size_t room;

    if (under_way(a) >= guest_calls_max(a->guest))
        return "limits.calls calls are under way already";
    room = bodies_room(a);
    if (room == 0 || body > room)
        return "its calls hold 16 MiB of bodies (ABI_BODIES_MAX): answers that were not read, or "
               "calls that were not answered";
    return NULL;
}

static void session_misused(void *ctx, const char *name, int32_t error)
{
    static const struct {
        int32_t error;
        const char *text;
    } texts[] = {
        {E_2BIG, "E2BIG (longer than its limit)"},    {E_BADF, "EBADF (no such handle)"},
        {E_FAULT, "EFAULT (not its memory)"},         {E_INVAL, "EINVAL (malformed)"},
        {E_MFILE, "EMFILE (too many handles)"},       {E_NOENT, "ENOENT (no such attribute)"},
        {E_NOMEM, "ENOMEM (the host has no memory)"}, {E_PERM, "EPERM (not outside an event)"},
        {E_PIPE, "EPIPE (that body has ended)"},
    };
    char text[64];

    snprintf(text, sizeof(text), "import %s: error %d", name, (int)error);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i].error == error)
            snprintf(text, sizeof(text), "import %s: %s", name, texts[i].text);
    session_refused(ctx, text);
}

static int32_t session_call(void *ctx, const struct host_call *in)
{
    struct awake *a = ctx;
    struct call_request req;
    struct call_owner owner;
    struct call *c;
    int32_t rc = call_check(in, &req);
    const char *over;

    if (rc)
        return rc;
    if (a->ncalls >= ABI_HANDLES_MAX || a->next_handle == INT32_MAX)
        return E_MFILE;
    guest_call_owner(a, &owner);
    owner.ready = something_came;
    owner.refused = session_refused;
    owner.ctx = a;
    over = over_limit(a, req.body.len);
    if (over)
        req.body.len = 0; /* nobody will send it */
    if (call_new(&c, &req, &owner, NULL) < 0)
        return E_NOMEM;
    rc = handle_add(a, c, &req);
    if (rc < 0) {
        call_close(c);
        return rc;
    }
    if (over)
        call_refuse(c, 429, "limit", over);
    else
        call_post(c);
    return rc;
}

static int32_t session_send(struct awake *a, int32_t h, struct bytes data, bool last)
{
    struct open_call *o = find(a, h);

    if (h != 0 && !o)
        return E_BADF;
    if (data.len > ABI_BODY_MAX - (o ? o->sent : 0))
        return E_2BIG;
    if (data.len && o && !call_ended(o->call) && data.len > bodies_room(a))
        return E_2BIG;
    if (!o || !o->more)
        return E_PIPE; /* a reconcile event's answer has no body */
    if (call_send(o->call, data, last, NULL) < 0)
        return E_NOMEM;
    o->sent += data.len;
    o->more = !last;
    return last ? 0 : (int32_t)data.len;
}

static int32_t session_write(void *ctx, int32_t h, struct bytes data)
{
    return session_send(ctx, h, data, false);
}

static int32_t session_end_body(void *ctx, int32_t h)
{
    return session_send(ctx, h, (struct bytes){.data = (const uint8_t *)""}, true);
}

/* --- wait, read --- */

/* All handles are looked at: a bad one behind a readable one is an error all the same. */
static int32_t first_readable(struct awake *a, const uint8_t *handles, uint32_t n)
{
    int32_t first = HOST_PENDING;

    for (uint32_t i = 0; i < n; i++) {
        struct open_call *o;
        int32_t h;

        memcpy(&h, handles + (size_t)i * 4, 4);
        o = find(a, h);
        if (h != 0 && !o)
            return E_BADF;
        if (first == HOST_PENDING && (h == 0 || call_readable(o->call)))
            first = (int32_t)i;
    }
    return first;
}

static int32_t session_wait(void *ctx, const uint8_t *handles, uint32_t n, int32_t timeout_ms)
{
    struct awake *a = ctx;
    int32_t rc;

    if (n > ABI_WAIT_MAX)
        return E_2BIG;
    if (n == 0 && timeout_ms < 0)
        return E_INVAL;
    rc = first_readable(a, handles, n);
    if (rc == HOST_PENDING && (timeout_ms == 0 || a->wait_over))
        rc = E_TIMEDOUT;
    if (rc == HOST_PENDING) {
        if (timeout_ms > 0 && !a->wait_set)
            worker_wait_set(a, (uint32_t)timeout_ms);
        return rc;
    }
    worker_wait_clear(a);
    return rc;
}

static int32_t read_event_body(struct awake *a, uint8_t *buf, uint32_t cap)
{
    size_t left = a->ev.body.len - a->body_read;
    size_t n = left < cap ? left : cap;

    if (n)
        memcpy(buf, a->ev.body.data + a->body_read, n);
    a->body_read += n;
    return (int32_t)n;
}

static int32_t session_read(void *ctx, int32_t h, uint8_t *buf, uint32_t cap)
{
    struct awake *a = ctx;
    struct open_call *o = find(a, h);
    size_t n;

    if (h != 0 && !o)
        return E_BADF;
    if (cap == 0)
        return E_INVAL;
    if (cap > INT32_MAX)
        cap = INT32_MAX;
    if (h == 0)
        return read_event_body(a, buf, cap);
    call_head_seen(o->call);
    n = call_read(o->call, buf, cap);
    if (n)
        return (int32_t)n;
    if (!call_ended(o->call))
        return HOST_PENDING;
    return call_failed(o->call) ? E_IO : 0;
}

/* --- attributes --- */

static int32_t give(struct bytes value, uint8_t *buf, uint32_t cap)
{
    size_t n = value.len < cap ? value.len : cap;

    if (n)
        memcpy(buf, value.data, n);
    return (int32_t)value.len;
}

static int32_t give_text(const char *text, uint8_t *buf, uint32_t cap)
{
    return text ? give(bytes_of(text), buf, cap) : E_NOENT;
}

/* The first "name: value" line of that name. */
static bool line_find(struct bytes lines, struct bytes name, struct bytes *value)
{
    const uint8_t *p = lines.data, *end = lines.data + lines.len;

    while (p < end) {
        const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((nl ? nl : end) - p);

        if (len > name.len + 1 && p[name.len] == ':' && !memcmp(p, name.data, name.len)) {
            size_t skip = name.len + 1 + (p[name.len + 1] == ' ');

            *value = (struct bytes){.data = p + skip, .len = len - skip};
            return true;
        }
        p += len + 1;
    }
    return false;
}

static int32_t answer_attr(struct call *c, struct bytes name, uint8_t *buf, uint32_t cap)
{
    char status[8];
    struct bytes value;

    snprintf(status, sizeof(status), "%03d", call_status(c));
    if (bytes_equal(name, "status"))
        return give_text(status, buf, cap);
    if (name.len == 0) {
        struct bytes lines = call_head_lines(c);
        char first[24];
        size_t n = (size_t)snprintf(first, sizeof(first), "status: %s\n", status);
        uint32_t used = n < cap ? (uint32_t)n : cap;

        give((struct bytes){.data = (const uint8_t *)first, .len = n}, buf, cap);
        give(lines, buf + used, cap - used);
        return (int32_t)(n + lines.len);
    }
    if (!line_find(call_head_lines(c), name, &value))
        return E_NOENT;
    return give(value, buf, cap);
}

static int32_t event_attr(struct awake *a, struct bytes name, uint8_t *buf, uint32_t cap)
{
    char all[ABI_HEAD_MAX / 16];
    struct bytes lines = {.data = (const uint8_t *)all}, value;

    if (bytes_equal(name, "key")) /* the one that every handler asks for */
        return give_text(a->ev.key, buf, cap);
    lines.len = guest_event_lines(a, all, sizeof(all));
    if (name.len == 0)
        return give(lines, buf, cap);
    return line_find(lines, name, &value) ? give(value, buf, cap) : E_NOENT;
}

static int32_t session_attr(void *ctx, int32_t h, struct bytes name, uint8_t *buf, uint32_t cap)
{
    struct awake *a = ctx;
    struct open_call *o = find(a, h);

    if (h != 0 && !o)
        return E_BADF;
    if (name.len > ABI_NAME_MAX)
        return E_2BIG;
    if (h == 0)
        return event_attr(a, name, buf, cap);
    if (!call_has_head(o->call))
        return call_ended(o->call) ? E_NOENT : HOST_PENDING;
    call_head_seen(o->call);
    return answer_attr(o->call, name, buf, cap);
}

/* A decimal number without sign; false where it is none or larger than max. */
static bool decimal(struct bytes text, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;

    if (text.len == 0 || text.len > 18)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (!isdigit(text.data[i]))
            return false;
        v = v * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = v;
    return v <= max;
}

static int32_t set_requeue(struct awake *a, struct bytes value)
{
    uint64_t ms = 0;

    if (value.len && !decimal(value, ABI_REQUEUE_MS_MAX, &ms))
        return E_INVAL;
    a->answer.requeue_after_ms = ms;
    return 0;
}

static int32_t set_status(struct awake *a, struct bytes value)
{
    uint64_t status = 0;

    if (value.len && (value.len != 3 || !decimal(value, 599, &status) || status < 100))
        return E_INVAL;
    a->answer.status = (int)status;
    return 0;
}

static int32_t set_error(struct awake *a, struct bytes value)
{
    size_t n = value.len < EVENT_ERROR_MAX ? value.len : EVENT_ERROR_MAX;

    if (n)
        memcpy(a->answer.error, value.data, n);
    a->answer.error[n] = 0;
    return 0;
}

static int32_t session_set(void *ctx, int32_t h, struct bytes name, struct bytes value)
{
    struct awake *a = ctx;

    if (h != 0)
        return E_BADF;
    if (name.len > ABI_NAME_MAX || value.len > ABI_VALUE_MAX)
        return E_2BIG;
    if (bytes_equal(name, "requeue-after"))
        return set_requeue(a, value);
    if (bytes_equal(name, "error"))
        return set_error(a, value);
    if (bytes_equal(name, "status"))
        return set_status(a, value);
    return E_NOENT;
}

static int32_t session_close(void *ctx, int32_t h)
{
    struct awake *a = ctx;
    struct open_call *o = find(a, h);

    if (!o)
        return E_BADF;
    call_close(o->call);
    a->ncalls--;
    memmove(o, o + 1, (size_t)(a->calls + a->ncalls - o) * sizeof(*o));
    return 0;
}

/* --- log --- */

static int32_t session_log(void *ctx, int32_t level, struct bytes text)
{
    struct awake *a = ctx;

    if (level < 0 || level > 3)
        return E_INVAL;
    guest_log(a, JOURNAL_LOG, (enum log_level)level, (const char *)text.data, text.len);
    return 0;
}

static void session_output(void *ctx, int fd, const char *text, size_t len)
{
    bool is_error = fd == 2;

    guest_log(ctx, is_error ? JOURNAL_STDERR : JOURNAL_STDOUT, is_error ? LOG_WARN : LOG_INFO, text,
              len);
}

const struct host_calls session_calls = {
    .call = session_call,
    .write = session_write,
    .end = session_end_body,
    .wait = session_wait,
    .read = session_read,
    .attr = session_attr,
    .set = session_set,
    .close = session_close,
    .log = session_log,
    .misused = session_misused,
    .output = session_output,
};

void session_begin(struct awake *a)
{
    a->answer = (struct answer){0};
    a->next_handle = 0;
    a->body_read = 0;
    a->refusals = 0;
    a->cut = NULL;
    a->wait_set = a->wait_over = false;
}

/* The engine refuses a growth by itself. A guest that has all its memory is told of once. */
static void note_memory(struct awake *a)
{
    const uint64_t most = guest_memory_max(a->guest), wasm_page = 64 * KIB;
    uint64_t has = a->inst ? instance_memory_bytes(a->inst) : 0;
    bool full = has + wasm_page > most;
    char text[96];

    if (full && !a->memory_full &&
        !(a->woke && a->from && (uint64_t)a->from->memory_pages * PAGE_BYTES == has)) {
        snprintf(text, sizeof(text), "memory: all of limits.memory, %llu KiB, is in use",
                 (unsigned long long)(most / KIB));
        session_refused(a, text);
    }
    a->memory_full = full;
}

void session_end(struct awake *a)
{
    note_memory(a);
    for (size_t i = 0; i < a->ncalls; i++)
        call_close(a->calls[i].call);
    free(a->calls);
    a->calls = NULL;
    a->ncalls = a->calls_room = 0;
    worker_wait_clear(a);
}
