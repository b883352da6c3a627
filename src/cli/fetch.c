/* One question to the daemon, and its failures told in a way that says what to do. */
#include "base/http1.h"
#include "base/text.h"
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static const char *advice(char *out, size_t size, const char *state, const struct err *why)
{
    if (why->code == ERR_DENIED)
        return "run this as the user of the daemon";
    if (why->code != ERR_NET || (why->sys != ENOENT && why->sys != ECONNREFUSED))
        return "see its log";
    snprintf(out, size, "is `roost serve --state %s` running?", state);
    return out;
}

static int unreachable(const char *path, const char *state, struct err *err)
{
    struct err why = *err;
    char hint[PATH_MAX + 64];

    return err_set_status(err, why.code, why.sys, "cannot reach the daemon at %s: %s (%s)", path,
                          why.msg, advice(hint, sizeof(hint), state, &why));
}

/* The text of a problem+json, else the status. */
static int refused(const struct http1_answer *a, struct err *err)
{
    json_t *problem = json_loadb((const char *)a->body.data, a->body.len, 0, NULL);
    char detail[256];

    snprintf(detail, sizeof(detail), "%s", cli_text(problem, "detail"));
    text_clean(detail);
    json_decref(problem);
    return err_set_status(err, a->status == 404 ? ERR_NOT_FOUND : ERR_NET, a->status,
                          "the daemon answers %d %s%s%s", a->status, http1_reason(a->status),
                          *detail ? ": " : "", detail);
}

int cli_fetch(json_t **out, const char *state, const char *target, struct err *err)
{
    AUTO_ANSWER struct http1_answer a = {0};
    char path[PATH_MAX];

    *out = NULL;
    if (snprintf(path, sizeof(path), "%s/admin.sock", state) >= (int)sizeof(path))
        return err_set(err, ERR_LIMIT, 0, "--state %.80s...: the path is too long", state);
    if (http1_get_unix(&a, path, target, 0, err) < 0)
        return unreachable(path, state, err);
    if (a.status != 200)
        return refused(&a, err);
    *out = json_loadb((const char *)a.body.data, a.body.len, 0, NULL);
    if (!*out)
        return err_set(err, ERR_NET, 0, "the daemon at %s answers what is no JSON", path);
    return 0;
}
