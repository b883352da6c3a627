/* Questions to the daemon, and its failures told in a way that says what to do. */
#include "base/http1.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* --- what went wrong --- */

static const char *advice(char *out, size_t size, const char *state, const struct err *why)
{
    if (why->code == ERR_DENIED)
        return "run this as the user of the daemon";
    if (why->code != ERR_NET || (why->sys != ENOENT && why->sys != ECONNREFUSED))
        return "see its log";
    snprintf(out, size, "is `roost serve --state %s` running?", state);
    return out;
}

static const char *advice_tls(const struct err *why)
{
    if (why->reason == REASON_SERVER_UNTRUSTED)
        return "--ca-file FILE says whom to trust";
    return "is that its admin.listen?";
}

static int unreachable(const struct cli_way *way, const char *state, struct err *err)
{
    struct err why = *err;
    char hint[PATH_MAX + 64];

    err_set_status(err, why.code, why.sys, "cannot reach the daemon at %s: %s (%s)", way->shown,
                   why.msg,
                   way->over_tls ? advice_tls(&why) : advice(hint, sizeof(hint), state, &why));
    err->reason = why.reason;
    return err_blame(err, REASON_DAEMON_UNREACHABLE);
}

/* What a status of the API means to whoever asked. */
static enum err_code code_of(int status)
{
    static const struct {
        int status;
        enum err_code code;
    } codes[] = {
        {400, ERR_INVALID}, {401, ERR_DENIED},      {403, ERR_DENIED}, {404, ERR_NOT_FOUND},
        {409, ERR_EXISTS},  {410, ERR_GONE},        {413, ERR_LIMIT},  {414, ERR_LIMIT},
        {422, ERR_INVALID}, {429, ERR_AGAIN},       {503, ERR_AGAIN},  {504, ERR_TIMEOUT},
        {507, ERR_IO},      {501, ERR_UNSUPPORTED},
    };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].status == status)
            return codes[i].code;
    return ERR_NET;
}

int cli_refused(const struct cli_answer *a, struct err *err)
{
    char detail[ERR_MSG_MAX];

    snprintf(detail, sizeof(detail), "%s", cli_text(a->json, "detail"));
    text_clean(detail);
    return err_set_status(err, code_of(a->status), a->status, "the daemon answers %d %s%s%s",
                          a->status, http1_reason(a->status), *detail ? ": " : "", detail);
}

/* --- asking --- */

int cli_ask(struct cli_answer *out, const char *state, const struct http1_question *question,
            unsigned timeout_ms, struct err *err)
{
    AUTO_ANSWER struct http1_answer a = {0};
    struct http1_question asked = *question;
    AUTO_WAY struct cli_way way;

    *out = (struct cli_answer){0};
    if (cli_way_open(&way, state, &asked, err) < 0)
        return -1;
    if (http1_ask_unix(&a, way.path, &asked, timeout_ms, err) < 0)
        return unreachable(&way, state, err);
    out->status = a.status;
    out->json = json_loadb((const char *)a.body.data, a.body.len, 0, NULL);
    if (!out->json && a.body.len && a.status == 200)
        return err_set(err, ERR_NET, 0, "the daemon at %s answers what is no JSON", way.shown);
    return 0;
}

int cli_fetch(json_t **out, const char *state, const char *target, struct err *err)
{
    struct http1_question question = {.method = HTTP1_GET, .target = target};
    struct cli_answer a;

    *out = NULL;
    if (cli_ask(&a, state, &question, 0, err) < 0)
        return -1;
    if (a.status != 200) {
        cli_refused(&a, err);
        json_decref(a.json);
        return -1;
    }
    if (!a.json)
        return err_set(err, ERR_NET, 0, "the daemon answers nothing to %.80s", target);
    *out = a.json;
    return 0;
}

/* --- streams --- */

struct follow {
    struct buf line;
    cli_each *each;
    void *ctx;
    struct err *err;
    bool stopped, failed;
};

/* One line; the last of a stream that was cut says why. */
static bool take_line(struct follow *f, const char *text, size_t len)
{
    json_t *object = json_loadb(text, len, 0, NULL);
    bool on = true;

    if (!json_is_object(object)) {
        err_set(f->err, ERR_NET, 0, "the daemon sends a line that is no JSON object");
        f->failed = true;
    } else if (json_is_string(json_object_get(object, "error")) && json_object_size(object) == 1) {
        err_set(f->err, ERR_AGAIN, 0, "the daemon ended the stream: %.200s",
                cli_text(object, "error"));
        f->failed = true;
    } else {
        on = f->each(f->ctx, object);
    }
    json_decref(object);
    f->stopped = !on;
    return on && !f->failed;
}

static bool take_piece(void *ctx, const uint8_t *data, size_t len)
{
    struct follow *f = ctx;

    while (len) {
        const uint8_t *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) : len;

        if (buf_append(&f->line, data, n, f->err) < 0) {
            f->failed = true;
            return false;
        }
        if (!end)
            return true;
        if (f->line.len && !take_line(f, (const char *)f->line.data, f->line.len))
            return false;
        f->line.len = 0;
        data += n + 1;
        len -= n + 1;
    }
    return fflush(stdout) == 0; /* else nobody reads it any more */
}

int cli_follow(const char *state, const char *target, cli_each *each, void *ctx, struct err *err)
{
    struct http1_question question = {.method = HTTP1_GET, .target = target};
    struct follow f = {.line.max = CLI_LINE_BYTES_MAX, .each = each, .ctx = ctx, .err = err};
    AUTO_ANSWER struct http1_answer a = {0};
    struct cli_answer answer;
    AUTO_WAY struct cli_way way;
    int rc;

    if (cli_way_open(&way, state, &question, err) < 0)
        return -1;
    rc = http1_follow_unix(&a, way.path, &question, take_piece, &f, err);
    buf_free(&f.line);
    if (f.failed)
        return -1;
    if (rc < 0)
        return a.status == 200 ? err_wrap(err, "the daemon at %s", way.shown)
                               : unreachable(&way, state, err);
    if (a.status == 200)
        return 0;
    answer =
        (struct cli_answer){a.status, json_loadb((const char *)a.body.data, a.body.len, 0, NULL)};
    cli_refused(&answer, err);
    json_decref(answer.json);
    return -1;
}

/* --- targets --- */

int cli_query(struct buf *target, const char *name, const char *value, struct err *err)
{
    bool first = !target->len || !memchr(target->data, '?', target->len);

    if (buf_printf(target, err, "%c%s=", first ? '?' : '&', name) < 0)
        return -1;
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-._~", c);

        if (buf_printf(target, err, plain ? "%c" : "%%%02X", c) < 0)
            return -1;
    }
    return 0;
}
