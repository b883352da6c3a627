/* `roost wake`: they are awake before the next event comes. */
#include "base/text.h"
#include "cli/cli.h"

#include <stdlib.h>

static int act(void *ctx, const struct cli_id *id, struct err *err)
{
    const struct cli_line *line = ctx;
    struct cli_answer a;
    char state[64];

    if (cli_act(&a, line, HTTP1_POST, id, "wake", err) < 0) {
        if (err->code == ERR_EXISTS) /* 409: not in this state */
            err->code = ERR_AGAIN;
        return -1;
    }
    snprintf(state, sizeof(state), "%s", cli_text(a.json, "state"));
    text_clean(state);
    printf("guest %s/%s %s\n", id->namespace_, id->name, *state ? state : "awake");
    json_decref(a.json);
    return 0;
}

static int run(const struct cli_line *line, struct err *err)
{
    struct cli_id *ids;
    size_t n;
    int rc = cli_choose(&ids, &n, line, err);

    if (rc == 0 && n == 0)
        fputs("There are no such guests.\n", stderr);
    if (rc == 0)
        rc = cli_for_each(ids, n, act, (void *)(uintptr_t)line, err);
    free(ids);
    return rc;
}

static const struct cli_option options[] = {CLI_OPTIONS_CHOICE, CLI_OPTION_STATE, {0}};
static const char *const synopsis[] = {"NAME | NAMESPACE/NAME ... [options]",
                                       "-l SELECTOR | --all {-n NAMESPACE | -A} [options]", NULL};
static const struct cli_example examples[] = {
    {"one guest", "roost wake ring-0/ring-0"},
    {"those with a label, everywhere", "roost wake -l tier=front -A"},
    {0},
};
static const enum err_code exits[] = {ERR_NOT_FOUND, ERR_AGAIN,   ERR_DENIED,
                                      ERR_NET,       ERR_TIMEOUT, ERR_NONE};
static const char *const see[] = {"sleep", "get", NULL};

const struct verb verb_wake = {
    .name = "wake",
    .brief = "wake guests now",
    .about =
        "Wakes guests now, without an event: their memory is there when the next one comes. One "
        "that failed and waits for its next try is tried now. A guest that cannot run yet (its "
        "module is being compiled, its watch is not there yet) is refused with the reason, and the "
        "exit status is 12. How long it stays awake is up to `sleep.after` of its manifest.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .args = CLI_GUEST,
    .run = run,
};
