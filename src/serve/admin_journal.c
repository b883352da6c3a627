/* A reader of the journal is a stream with a cursor. It takes as much as the stream has room for, a
 * piece at a time, and goes on when that was taken by the socket; so one that reads slowly holds up
 * nobody and costs no more than the stream's backlog. If it falls so far behind that the journal
 * has pushed out what it did not see, the journal tells it so in its place.
 *
 *   {"time":T,"namespace":N,"name":N,"stream":"stdout|stderr|log","level":L,"text":...,"dropped":n}
 *   {"time":T,"firstTime":T,"type":"Normal|Warning","reason":R,"namespace":N,"name":N,
 *    "message":...,"count":n}
 *
 * "dropped" is there only where lines were left out before this one.
 */
#include "serve/admin_journal.h"

#include "base/limits.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest line: all of its text escaped, and what is around it. */
#define JSON_LINE_MAX ((ABI_LOG_MAX + 16) * TEXT_ESCAPE_MAX + 1024)
_Static_assert(JOURNAL_TEXT_MAX <= ABI_LOG_MAX, "a line has room for an event, too");
_Static_assert(ADMIN_PIECE_BYTES + JSON_LINE_MAX < HTTP1_STREAM_BACKLOG,
               "a piece fits in a stream");

struct reader {
    struct journal_follower follower;
    struct journal *journal;
    struct http1_stream *stream;
    struct journal_cursor at;
    bool follow, full; /* full: goes on when the stream has taken what it has */
    size_t pushed;     /* of this piece */
    char namespace_[SPEC_SUBDOMAIN_MAX + 1], name[SPEC_SUBDOMAIN_MAX + 1];
};

/* --- lines of JSON --- */

static size_t put(char *out, size_t n, const char *text)
{
    return (size_t)(text_put(out + n, text) - out);
}

static size_t put_string(char *out, size_t n, const char *key, const char *text, size_t len)
{
    n = put(out, n, key);
    n = put(out, n, ":\"");
    n = text_escape(out, n, JSON_LINE_MAX - 256, text, len, true);
    return put(out, n, "\",");
}

static size_t put_time(char *out, size_t n, const char *key, int64_t wall_ms)
{
    char text[TEXT_TIME_MAX];

    text_time(text, wall_ms);
    return put_string(out, n, key, text, strlen(text));
}

static size_t put_guest(char *out, size_t n, const char *id)
{
    const char *slash = strchr(id, '/'), *name = slash ? slash + 1 : "";

    n = put_string(out, n, "\"namespace\"", id, slash ? (size_t)(slash - id) : 0);
    return put_string(out, n, "\"name\"", name, strlen(name));
}

/* In the place of the last comma. */
static size_t put_end(char *out, size_t n)
{
    return put(out, n - 1, "}\n");
}

static size_t log_json(char *out, const struct journal_record *r)
{
    const char *stream = journal_stream_name(r->stream), *level = log_level_name(r->level);
    size_t n = put_time(out, put(out, 0, "{"), "\"time\"", r->wall_ms);

    n = put_guest(out, n, r->id);
    n = put_string(out, n, "\"stream\"", stream, strlen(stream));
    n = put_string(out, n, "\"level\"", level, strlen(level));
    n = put_string(out, n, "\"text\"", r->text, r->len);
    if (r->count)
        n += (size_t)snprintf(out + n, 32, "\"dropped\":%u,", r->count);
    return put_end(out, n);
}

static size_t event_json(char *out, const struct journal_record *r)
{
    const char *type = journal_is_warning(r->reason) ? "Warning" : "Normal";
    const char *reason = journal_reason_name(r->reason);
    char message[JOURNAL_TEXT_MAX + 64];
    int len = snprintf(message, sizeof(message), "%s%.*s", r->prefix, (int)r->len, r->text);
    size_t n = put_time(out, put(out, 0, "{"), "\"time\"", r->wall_ms);

    n = put_time(out, n, "\"firstTime\"", r->first_ms);
    n = put_string(out, n, "\"type\"", type, strlen(type));
    n = put_string(out, n, "\"reason\"", reason, strlen(reason));
    n = put_guest(out, n, r->id);
    n = put_string(out, n, "\"message\"", message, (size_t)len);
    n += (size_t)snprintf(out + n, 32, "\"count\":%u,", r->count);
    return put_end(out, n);
}

/* --- reading --- */

static bool take(void *ctx, const struct journal_record *record)
{
    struct reader *r = ctx;
    char line[JSON_LINE_MAX];
    size_t n;

    r->full = r->pushed >= ADMIN_PIECE_BYTES || http1_stream_room(r->stream) < JSON_LINE_MAX;
    if (r->full)
        return false;
    n = r->follower.lines ? log_json(line, record) : event_json(line, record);
    r->pushed += n;
    return http1_stream_push(r->stream, line, n) == 0;
}

static void reader_free(struct reader *r)
{
    if (r->follow)
        journal_unfollow(r->journal, &r->follower);
    free(r);
}

/* One piece. Where all was given and nobody waits for more, the stream ends, and the reader. */
static void read_on(struct reader *r)
{
    const struct journal_filter filter = {r->namespace_, r->name};

    r->full = false;
    r->pushed = 0;
    if (r->follower.lines)
        while (journal_lines(r->journal, &r->at, &filter, take, r))
            ;
    else
        while (journal_events(r->journal, &r->at, &filter, take, r))
            ;
    if (r->full || r->follow)
        return;
    http1_stream_end(r->stream);
    reader_free(r);
}

static void stream_drained(void *ctx)
{
    struct reader *r = ctx;

    if (r->full)
        read_on(r);
}

static void stream_gone(void *ctx)
{
    reader_free(ctx);
}

static void journal_news(struct journal_follower *f)
{
    struct reader *r = container_of(f, struct reader, follower);

    if (!r->full)
        read_on(r);
}

/* --- requests --- */

static int read_since(const struct admin_call *call, int64_t *ms)
{
    char text[64];
    int given = admin_query(call, "since", text, sizeof(text));

    *ms = 0;
    if (given <= 0)
        return given;
    if (text_time_read(text, ms) == 0)
        return 0;
    http1_problem(call->res, 400, "since: a time like 2026-11-20T22:34:54Z is expected");
    return -1;
}

/* Fills it in; -1: the request is malformed, and the response says so. */
static int read_query(struct reader *r, const struct admin_call *call, int64_t *since_ms,
                      uint64_t *tail)
{
    int follow = admin_query_flag(call, "follow");

    *tail = UINT64_MAX;
    if (follow < 0 || admin_query(call, "namespace", r->namespace_, sizeof(r->namespace_)) < 0 ||
        admin_query(call, "name", r->name, sizeof(r->name)) < 0 || read_since(call, since_ms) < 0 ||
        admin_query_number(call, "tail", UINT32_MAX, tail) < 0)
        return -1;
    r->follow = follow;
    return 0;
}

static void begin(struct reader *r, int64_t since_ms, uint64_t tail)
{
    const struct journal_filter filter = {r->namespace_, r->name};

    r->at = r->follower.lines ? journal_lines_from(r->journal, &filter, since_ms, tail)
                              : journal_events_from(r->journal, &filter, since_ms, tail);
    r->follower.news = journal_news;
    if (r->follow)
        journal_follow(r->journal, &r->follower);
    read_on(r);
}

static void answer(struct journal *j, const struct admin_call *call, bool lines)
{
    static const struct http1_stream_owner owner = {stream_drained, stream_gone};
    struct reader *r = calloc(1, sizeof(*r));
    uint64_t tail;
    int64_t since_ms;

    if (!r) {
        http1_problem(call->res, 503, "no memory for this: try again");
        return;
    }
    r->journal = j;
    r->follower.lines = lines;
    if (read_query(r, call, &since_ms, &tail) < 0 ||
        http1_stream_open(&r->stream, call->req, call->res, "application/x-ndjson", &owner, r) <
            0 ||
        !r->stream) {
        free(r);
        return;
    }
    begin(r, since_ms, tail);
}

void admin_logs(struct journal *j, const struct admin_call *call)
{
    answer(j, call, true);
}

void admin_events(struct journal *j, const struct admin_call *call)
{
    answer(j, call, false);
}
