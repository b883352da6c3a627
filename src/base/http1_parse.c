/* Heads of requests and answers: httparse says whether the bytes are a head, and this file what we
 * make of it. Refused here although httparse takes it: a missing or second Host, a body whose
 * length is not stated once, methods that nothing here knows, targets that are not paths of
 * printable ASCII.
 *
 * Must never: decode a path (what is compared must be what was sent), or guess at framing.
 */
#include "base/http1.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct span {
    const uint8_t *ptr;
    size_t len;
};

struct header {
    struct span name, value;
};

/* native/src/lib.rs: length of the head, 0 for more, -1 for malformed. Spans point into data. */
extern ptrdiff_t roost_http_request(const uint8_t *data, size_t len, struct span *method,
                                    struct span *target, uint8_t *minor_version,
                                    struct header *headers, size_t *count);
extern ptrdiff_t roost_http_response(const uint8_t *data, size_t len, uint16_t *status,
                                     struct header *headers, size_t *count);

/* --- spans --- */

static bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.ptr, text, s.len) == 0;
}

static bool span_is_word(struct span s, const char *word)
{
    return s.len == strlen(word) && strncasecmp((const char *)s.ptr, word, s.len) == 0;
}

/* Only digits, and no more than 18 of them: -1 otherwise. */
static long long span_number(struct span s)
{
    long long n = 0;

    if (s.len == 0 || s.len > 18)
        return -1;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return -1;
        n = n * 10 + (s.ptr[i] - '0');
    }
    return n;
}

/* True where a comma-separated list has the word. */
static bool list_has(struct span list, const char *word)
{
    const uint8_t *p = list.ptr, *end = list.ptr + list.len;

    while (p < end) {
        const uint8_t *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
        struct span item = {p, (size_t)(stop - p)};

        while (item.len && (*item.ptr == ' ' || *item.ptr == '\t')) {
            item.ptr++;
            item.len--;
        }
        while (item.len && (item.ptr[item.len - 1] == ' ' || item.ptr[item.len - 1] == '\t'))
            item.len--;
        if (span_is_word(item, word))
            return true;
        p = comma ? comma + 1 : end;
    }
    return false;
}

/* How often a header is there; *value is its last. */
static unsigned find_header(const struct header *headers, size_t count, const char *name,
                            struct span *value)
{
    unsigned found = 0;

    for (size_t i = 0; i < count; i++) {
        if (!span_is_word(headers[i].name, name))
            continue;
        *value = headers[i].value;
        found++;
    }
    return found;
}

/* --- requests --- */

static long refuse(struct http1_request *req, int status, const char *why)
{
    req->refused = status;
    req->why = why;
    req->close = true; /* what follows cannot be framed with certainty */
    return -1;
}

/* A body has a stated length: one that comes in chunks has no certain end until it is there. */
static long check_body(const struct header *headers, size_t count, struct http1_request *req)
{
    struct span length, coding, expect;
    unsigned lengths = find_header(headers, count, "content-length", &length);
    unsigned codings = find_header(headers, count, "transfer-encoding", &coding);

    if (lengths > 1 || (lengths && codings) || (lengths && span_number(length) < 0))
        return refuse(req, 400, "the length of the body is ambiguous");
    if (codings)
        return refuse(req, 411, "the length of the body must be stated, in Content-Length");
    req->body_len = lengths ? (uint64_t)span_number(length) : 0;
    req->expects =
        find_header(headers, count, "expect", &expect) == 1 && span_is_word(expect, "100-continue");
    return 0;
}

static const struct {
    enum http1_method method;
    const char *name;
} methods[] = {
    {HTTP1_GET, "GET"},   {HTTP1_HEAD, "HEAD"},     {HTTP1_PUT, "PUT"},
    {HTTP1_POST, "POST"}, {HTTP1_DELETE, "DELETE"},
};

const char *http1_method_name(enum http1_method method)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (methods[i].method == method)
            return methods[i].name;
    return "?";
}

static long take_method(struct span method, struct http1_request *req)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (span_is(method, methods[i].name)) {
            req->method = methods[i].method;
            req->head = req->method == HTTP1_HEAD;
            return 0;
        }
    }
    return refuse(req, 405, "methods here are " HTTP1_METHODS);
}

static long take_target(struct span target, struct http1_request *req)
{
    char *query;

    if (target.len > HTTP1_TARGET_MAX)
        return refuse(req, 414, "the target is too long");
    if (target.len == 0 || target.ptr[0] != '/')
        return refuse(req, 400, "the target must be a path");
    for (size_t i = 0; i < target.len; i++)
        if (target.ptr[i] <= ' ' || target.ptr[i] >= 0x7f)
            return refuse(req, 400, "the target must be printable ASCII");
    memcpy(req->path, target.ptr, target.len);
    req->path[target.len] = 0;
    query = strchr(req->path, '?');
    if (query)
        *query++ = 0;
    req->query = query ? query : req->path + target.len;
    return 0;
}

static long check_request(struct span method, struct span target, unsigned minor_version,
                          const struct header *headers, size_t count, struct http1_request *req)
{
    struct span value;
    unsigned hosts = find_header(headers, count, "host", &value);

    if (hosts > 1 || (hosts == 0 && minor_version >= 1))
        return refuse(req, 400, "there must be exactly one Host");
    if (find_header(headers, count, "authorization", &value) == 1) {
        req->credentials = (const char *)value.ptr;
        req->credentials_len = value.len;
    }
    if (check_body(headers, count, req) < 0)
        return -1;
    if (take_method(method, req) < 0)
        return -1;
    req->http10 = minor_version == 0;
    req->close = req->http10;
    for (size_t i = 0; i < count; i++)
        if (span_is_word(headers[i].name, "connection") && list_has(headers[i].value, "close"))
            req->close = true;
    return take_target(target, req);
}

long http1_read_request(const uint8_t *data, size_t len, struct http1_request *req)
{
    struct header headers[HTTP1_HEADERS_MAX];
    struct span method = {0}, target = {0};
    uint8_t minor_version = 0;
    size_t count = 0;
    ptrdiff_t used;

    *req = (struct http1_request){.query = ""};
    if (len == 0)
        return 0;
    used = roost_http_request(data, len < HTTP1_HEAD_BYTES_MAX ? len : HTTP1_HEAD_BYTES_MAX,
                              &method, &target, &minor_version, headers, &count);
    if (used < 0)
        return refuse(req, 400, "no HTTP request, or more than 64 headers");
    if (used == 0 && len >= HTTP1_HEAD_BYTES_MAX)
        return refuse(req, 431, "the head is larger than 16 KiB");
    if (used == 0)
        return 0;
    return check_request(method, target, minor_version, headers, count, req) < 0 ? -1 : used;
}

/* --- answers --- */

static int malformed(struct err *err, const char *why)
{
    return err_set(err, ERR_NET, 0, "malformed answer: %s", why);
}

static void keep_content_type(struct http1_head *out, const struct header *headers, size_t count)
{
    struct span type;
    size_t n;

    if (find_header(headers, count, "content-type", &type) != 1)
        return;
    n = type.len < sizeof(out->content_type) - 1 ? type.len : sizeof(out->content_type) - 1;
    memcpy(out->content_type, type.ptr, n);
    out->content_type[n] = 0;
}

/* Exactly one way to know where the body ends. */
static int read_framing(struct http1_head *out, const struct header *headers, size_t count,
                        struct err *err)
{
    struct span length, coding;
    unsigned lengths = find_header(headers, count, "content-length", &length);
    unsigned codings = find_header(headers, count, "transfer-encoding", &coding);

    if (lengths + codings != 1)
        return malformed(err, "no certain length");
    out->chunked = codings == 1;
    if (out->chunked)
        return span_is_word(coding, "chunked") ? 0 : malformed(err, "an unknown transfer coding");
    if (span_number(length) < 0)
        return malformed(err, "no certain length");
    out->length = (uint64_t)span_number(length);
    return 0;
}

long http1_read_head(struct http1_head *out, const uint8_t *data, size_t len, struct err *err)
{
    struct header headers[HTTP1_HEADERS_MAX];
    uint16_t status = 0;
    size_t count = 0;
    ptrdiff_t used = len ? roost_http_response(data, len, &status, headers, &count) : 0;

    *out = (struct http1_head){0};
    if (used < 0 || (used > 0 && (status < 200 || status > 599)))
        return malformed(err, "no HTTP");
    if (used == 0)
        return len < HTTP1_HEAD_BYTES_MAX ? 0 : malformed(err, "a head over its limit");
    out->status = status;
    keep_content_type(out, headers, count);
    return read_framing(out, headers, count, err) < 0 ? -1 : used;
}

int http1_read_answer(struct http1_answer *out, const uint8_t *data, size_t len, bool head,
                      struct err *err)
{
    struct http1_head h;
    long used = http1_read_head(&h, data, len, err);
    size_t body_len;

    *out = (struct http1_answer){.body.max = HTTP1_BODY_BYTES_MAX};
    if (used < 0)
        return -1;
    if (used == 0)
        return malformed(err, "cut within the head");
    if (h.chunked)
        return malformed(err, "a transfer coding that was not asked for");
    body_len = len - (size_t)used;
    if (head ? body_len != 0 : h.length != body_len)
        return malformed(err, "cut within the body");
    out->status = h.status;
    memcpy(out->content_type, h.content_type, sizeof(h.content_type));
    if (buf_append(&out->body, data + used, body_len, err) < 0) {
        http1_answer_free(out);
        return err_wrap(err, "answer");
    }
    return 0;
}

void http1_answer_free(struct http1_answer *a)
{
    buf_free(&a->body);
}

/* --- responses --- */

const char *http1_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {507, "Insufficient Storage"},
    };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

/* What holds for a status where nothing finer is known. */
static const char *reason_of_status(int status)
{
    static const struct {
        int status;
        enum err_code code;
    } codes[] = {{400, ERR_USAGE}, {401, ERR_DENIED},  {403, ERR_DENIED},  {404, ERR_NOT_FOUND},
                 {405, ERR_USAGE}, {408, ERR_TIMEOUT}, {409, ERR_EXISTS},  {410, ERR_GONE},
                 {413, ERR_LIMIT}, {414, ERR_LIMIT},   {422, ERR_INVALID}, {429, ERR_AGAIN},
                 {431, ERR_LIMIT}, {503, ERR_AGAIN},   {504, ERR_TIMEOUT}, {507, ERR_IO}};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].status == status)
            return err_code_row(codes[i].code)->name;
    return status < 500 ? err_code_row(ERR_USAGE)->name : "Internal";
}

static void problem_of(struct http1_response *res, int status, const char *reason,
                       const char *detail)
{
    json_t *problem =
        json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", "about:blank", "title", http1_reason(status),
                  "status", status, "reason", reason, "detail", detail);
    char *text = problem ? json_dumps(problem, JSON_COMPACT) : NULL;

    res->status = status;
    res->content_type = "application/problem+json";
    res->body.len = 0;
    /* Without memory for a body the status alone must do. */
    if (text && (buf_puts(&res->body, text, NULL) < 0 || buf_puts(&res->body, "\n", NULL) < 0))
        res->body.len = 0;
    free(text);
    json_decref(problem);
}

void http1_problem(struct http1_response *res, int status, const char *detail)
{
    problem_of(res, status, reason_of_status(status), detail);
}

void http1_problem_err(struct http1_response *res, const struct err *err)
{
    problem_of(res, err_http_status(err->code), err_reason_of(err), err->msg);
}
