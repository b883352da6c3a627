/* `roost sleep`: they sleep at once, whatever their manifests say. */
#include "base/text.h"
#include "cli/cli.h"

#include <stdlib.h>

static int act(void *ctx, const struct cli_id *id, struct err *err)
{
    const struct cli_line *line = ctx;
    struct cli_answer a;
    char state[64];

    if (cli_act(&a, line, HTTP1_POST, id, "sleep", err) < 0) {
        if (err->code == ERR_EXISTS) /* 409: not in this state */
            err->code = ERR_AGAIN;
        return -1;
    }
    snprintf(state, sizeof(state), "%s", cli_text(a.json, "state"));
    text_clean(state);
    printf("guest %s/%s %s\n", id->namespace_, id->name, *state ? state : "asleep");
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
    {"one guest", "roost sleep ring-0/ring-0"},
    {"all of a namespace", "roost sleep --all -n ring-0"},
    {0},
};
static const enum err_code exits[] = {ERR_NOT_FOUND, ERR_AGAIN,   ERR_DENIED,
                                      ERR_NET,       ERR_TIMEOUT, ERR_NONE};
static const char *const see[] = {"wake", "get", NULL};

const struct verb verb_sleep = {
    .name = "sleep",
    .brief = "put guests to sleep now",
    .about = "Puts guests to sleep now, whatever `sleep.after` of their manifests says: an event "
             "in hand is finished first. A guest that never sleeps, or that is held (its module is "
             "being compiled, its watch is not there yet), is refused with the reason, and the "
             "exit status is 12.\n"
             "\n"
             "A guest that sleeps already stays so; the next event wakes it as always.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .args = CLI_GUEST,
    .run = run,
};
