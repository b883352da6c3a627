/* `roost delete`: guests that were applied go: the event in hand is finished, their memory and
 * their records are gone. By name, by selector, or those of the manifests that made them. */
#include "cli/cli.h"
#include "cli/manifests.h"

#include "base/clock.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_STEP_MS 100

/* --- gone? --- */

/* Asks until there is no such guest any more. */
static int wait_gone(const struct cli_line *line, const struct cli_id *id, struct err *err)
{
    uint64_t deadline_ns = clock_now_ns() + CLI_ACT_TIMEOUT_MS * NS_PER_MS;
    struct cli_answer a;

    while (cli_act(&a, line, HTTP1_GET, id, "", err) == 0) {
        json_decref(a.json);
        if (clock_now_ns() >= deadline_ns)
            return err_set(err, ERR_TIMEOUT, 0, "guest %s/%s: is still there after %u s",
                           id->namespace_, id->name, CLI_ACT_TIMEOUT_MS / 1000);
        poll(NULL, 0, WAIT_STEP_MS);
    }
    if (err->code != ERR_NOT_FOUND)
        return -1;
    *err = (struct err){0};
    return 0;
}

static int act(void *ctx, const struct cli_id *id, struct err *err)
{
    const struct cli_line *line = ctx;
    struct cli_answer a;

    if (cli_act(&a, line, HTTP1_DELETE, id, "", err) < 0) {
        if (err->code != ERR_NOT_FOUND || !cli_flag(line, "ignore-not-found"))
            return -1;
        *err = (struct err){0};
        return 0;
    }
    json_decref(a.json);
    if (cli_flag(line, "wait") && wait_gone(line, id, err) < 0)
        return -1;
    printf("guest %s/%s deleted\n", id->namespace_, id->name);
    return 0;
}

/* --- which --- */

static int by_manifests(struct cli_id **out, size_t *n, const struct cli_line *line,
                        struct err *err)
{
    struct manifests m;
    int rc;

    if (line->nargs || cli_flag(line, "all") || cli_flag(line, "selector"))
        return err_set(err, ERR_USAGE, 0, "names, -f, -l or --all: one of them");
    rc = manifests_read(&m, line, err);
    if (rc == 0)
        rc = manifests_ids(&m, out, n, err);
    manifests_free(&m);
    return rc;
}

static int run(const struct cli_line *line, struct err *err)
{
    struct cli_id *ids = NULL;
    size_t n = 0;
    int rc = cli_flag(line, "filename") ? by_manifests(&ids, &n, line, err)
                                        : cli_choose(&ids, &n, line, err);

    if (rc == 0 && n == 0)
        fputs("There are no such guests.\n", stderr);
    if (rc == 0)
        rc = cli_for_each(ids, n, act, (void *)(uintptr_t)line, err);
    free(ids);
    return rc;
}

static const struct cli_option options[] = {
    {.name = "filename",
     .letter = 'f',
     .arg = "PATH",
     .what = CLI_FILE,
     .repeats = true,
     .help = "the guests of these manifests: a file, a folder (its *.yaml, *.yml and *.json) or - "
             "for stdin"},
    CLI_OPTIONS_CHOICE,
    {.name = "wait", .help = "until they are gone: their events in hand are finished first"},
    {.name = "ignore-not-found", .help = "a guest that is not there is no error"},
    CLI_OPTION_STATE,
    {0},
};
static const char *const synopsis[] = {"NAME | NAMESPACE/NAME ... [options]",
                                       "-f PATH ... [options]",
                                       "-l SELECTOR | --all {-n NAMESPACE | -A} [options]", NULL};
static const struct cli_example examples[] = {
    {"one guest", "roost delete ring-0/ring-0"},
    {"what was applied from a folder, and wait", "roost delete -f guests/ --wait"},
    {"all of a namespace", "roost delete --all -n ring-0"},
    {0},
};
static const enum err_code exits[] = {ERR_INVALID, ERR_NOT_FOUND, ERR_EXISTS,  ERR_DENIED,
                                      ERR_AGAIN,   ERR_NET,       ERR_TIMEOUT, ERR_NONE};
static const char *const see[] = {"apply", "get", NULL};

const struct verb verb_delete = {
    .name = "delete",
    .brief = "delete guests",
    .about = "Deletes guests that were applied: the event in hand is finished, then their memory, "
             "their snapshots and their records are gone. What they have handled is forgotten: "
             "applied again, they begin afresh.\n"
             "\n"
             "A guest of the daemon's own folder (`roost serve --guests`) is deleted there, by "
             "removing its manifest; here it is refused, with exit status 5. Of several guests "
             "each is tried; every failure is said.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .args = CLI_GUEST,
    .run = run,
};
