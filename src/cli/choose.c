/* The guests that a verb is to act on: by name, or all that a selector and a namespace leave. Then
 * each in turn: one that fails does not keep the others from theirs.
 */
#include "cli/cli.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

int cli_guests_target(struct buf *out, const struct cli_line *line, const struct cli_id *id,
                      struct err *err)
{
    const char *selector = cli_value(line, "selector");

    if (buf_puts(out, "/v1/guests", err) < 0 ||
        (*id->namespace_ && cli_query(out, "namespace", id->namespace_, err) < 0) ||
        (selector && cli_query(out, "labelSelector", selector, err) < 0))
        return -1;
    return buf_cstr(out) ? 0 : err_set(err, ERR_NOMEM, 0, "no memory");
}

/* --- which --- */

static int by_name(struct cli_id **out, size_t *n, const struct cli_line *line, int first,
                   struct err *err)
{
    *out = calloc((size_t)(line->nargs - first), sizeof(**out));
    if (!*out)
        return err_set(err, ERR_NOMEM, 0, "no memory for the names");
    for (int i = first; i < line->nargs; i++)
        if (cli_one_guest(line, line->args[i], &(*out)[(*n)++], err) < 0)
            return -1;
    return 0;
}

static int by_list(struct cli_id **out, size_t *n, const struct cli_line *line, struct err *err)
{
    AUTO_BUF struct buf target = {0};
    json_t *list = NULL, *chosen;
    struct cli_id id;
    int rc = -1;

    if (cli_guest_id(line, NULL, &id, err) < 0 || cli_guests_target(&target, line, &id, err) < 0 ||
        cli_fetch(&list, cli_state(line), buf_cstr(&target), err) < 0)
        return -1;
    chosen = cli_select(json_object_get(list, "items"), &id);
    *out = calloc(json_array_size(chosen) + 1, sizeof(**out));
    for (size_t i = 0; *out && i < json_array_size(chosen); i++) {
        const json_t *guest = json_array_get(chosen, i);

        if (!*cli_text(guest, "name"))
            continue; /* a manifest that was refused */
        snprintf((*out)[*n].namespace_, CLI_NAME_SIZE, "%s", cli_text(guest, "namespace"));
        snprintf((*out)[*n].name, CLI_NAME_SIZE, "%s", cli_text(guest, "name"));
        (*n)++;
    }
    rc = chosen && *out ? 0 : err_set(err, ERR_NOMEM, 0, "no memory for the list");
    json_decref(chosen);
    json_decref(list);
    return rc;
}

int cli_choose(struct cli_id **out, size_t *n, const struct cli_line *line, struct err *err)
{
    bool all = cli_flag(line, "all"), selected = cli_flag(line, "selector");
    int first = line->nargs > 0 && cli_is_kind(line->args[0]) ? 1 : 0, names = line->nargs - first;

    *out = NULL;
    *n = 0;
    if (names && (all || selected))
        return err_set(err, ERR_USAGE, 0, "names, -l or --all: one of them");
    if (!names && !all && !selected)
        return err_set(err, ERR_USAGE, 0, "%s what? (a name, -l SELECTOR or --all)",
                       line->verb->name);
    if (cli_flag(line, "all-namespaces") && cli_flag(line, "namespace"))
        return err_set(err, ERR_USAGE, 0, "-A and -n: one namespace or all, not both");
    if (!names && !cli_flag(line, "all-namespaces") && !cli_flag(line, "namespace"))
        return err_set(err, ERR_USAGE, 0, "%s: in which namespace? (-n NAME, or -A for all)",
                       all ? "--all" : "-l");
    return names ? by_name(out, n, line, first, err) : by_list(out, n, line, err);
}

/* --- each --- */

/* Errors before the last are printed here, the last by who called. */
static void keep_error(struct err *kept, const struct err *now)
{
    if (kept->code)
        fprintf(stderr, "roost: %s\n", kept->msg);
    *kept = *now;
}

int cli_for_each(const struct cli_id *ids, size_t n,
                 int (*act)(void *ctx, const struct cli_id *id, struct err *err), void *ctx,
                 struct err *err)
{
    struct err kept = {0}, now;

    for (size_t i = 0; i < n; i++) {
        now = (struct err){0};
        if (act(ctx, &ids[i], &now) < 0)
            keep_error(&kept, &now);
        if (now.code == ERR_NET || now.code == ERR_DENIED)
            break; /* the others would say the same */
    }
    if (!kept.code)
        return 0;
    *err = kept;
    return -1;
}

int cli_act(struct cli_answer *out, const struct cli_line *line, enum http1_method method,
            const struct cli_id *id, const char *action, struct err *err)
{
    char target[2 * CLI_NAME_SIZE + 32];
    struct http1_question question = {.method = method, .target = target};

    snprintf(target, sizeof(target), "/v1/guests/%s/%s%s%s", id->namespace_, id->name,
             *action ? "/" : "", action);
    if (cli_ask(out, cli_state(line), &question, CLI_ACT_TIMEOUT_MS, err) < 0)
        return -1;
    if (out->status == 200)
        return 0;
    cli_refused(out, err);
    if (out->status == 404)
        err_set(err, ERR_NOT_FOUND, 0, "guest %s/%s: there is none (see `roost get guests`)",
                id->namespace_, id->name);
    else
        err_wrap(err, "guest %s/%s", id->namespace_, id->name);
    json_decref(out->json);
    out->json = NULL;
    return -1;
}
