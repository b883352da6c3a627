/* `roost describe`: all that the daemon knows of one guest. */
#include "cli/cli.h"

#include <string.h>

/* Its 404 in the words of the command line. */
static int fetch(json_t **out, const char *state, const struct cli_id *id, struct err *err)
{
    char target[2 * CLI_NAME_SIZE + 16];

    snprintf(target, sizeof(target), "/v1/guests/%s/%s", id->namespace_, id->name);
    if (cli_fetch(out, state, target, err) == 0)
        return 0;
    if (err->code == ERR_NOT_FOUND)
        err_set(err, ERR_NOT_FOUND, 0, "guest %s/%s: there is none (see `roost get guests`)",
                id->namespace_, id->name);
    return -1;
}

static int run(const struct cli_line *line, struct err *err)
{
    int kind = line->nargs == 2 && cli_is_kind(line->args[0]);
    json_t *guest = NULL;
    struct cli_id id;
    int rc = 0;

    if (line->nargs != kind + 1)
        return err_set(err, ERR_USAGE, 0,
                       "describe takes one guest (`roost describe NAMESPACE/NAME`)");
    if (cli_one_guest(line, line->args[kind], &id, err) < 0 ||
        fetch(&guest, cli_state(line), &id, err) < 0)
        return -1;
    if (cli_output(line) == OUTPUT_TABLE)
        cli_print_object(guest, stdout);
    else
        rc = cli_print(guest, cli_output(line), stdout, err);
    json_decref(guest);
    return rc;
}

static const struct cli_option options[] = {
    {.name = "namespace",
     .letter = 'n',
     .arg = "NAME",
     .what = CLI_SPACE,
     .help = "the guest's namespace",
     .def = "default"},
    CLI_OPTION_OUTPUT(cli_formats_one),
    CLI_OPTION_STATE,
    {0},
};
static const char *const synopsis[] = {"NAMESPACE/NAME [options]", "NAME [-n NAMESPACE] [options]",
                                       NULL};
static const struct cli_example examples[] = {
    {"one guest", "roost describe ring-0/ring-0"},
    {"why it does not sleep", "roost describe ring-0 -n ring-0 -o json | jq -r .whySleepless"},
    {0},
};
static const enum err_code exits[] = {ERR_NOT_FOUND, ERR_DENIED, ERR_NET, ERR_TIMEOUT, ERR_NONE};
static const char *const see[] = {"get", NULL};

const struct verb verb_describe = {
    .name = "describe",
    .brief = "show all of one guest",
    .about =
        "Shows all that the daemon knows of one guest: its effective configuration, triggers, "
        "counters, last error. Units are taken from the fields' names: `memoryBytes` is shown as "
        "`Memory: 64M`, `afterMs` as `After: 50ms`.\n"
        "\n"
        "`sleepMode` is the mode that holds: `auto`, `never` or `fresh`; where it is not `auto`, "
        "`whySleepless` says why: what a sleep would lose of the module's state, or who said so.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .args = CLI_GUEST,
    .run = run,
};
