/* `roost version`: of this program, and of the daemon that it finds. */
#include "base/text.h"
#include "cli/cli.h"

#include <string.h>

static int print(enum cli_output output, const char *server, struct err *err)
{
    json_t *both;
    int rc;

    if (output == OUTPUT_TABLE) {
        printf("client: %s\n", ROOST_VERSION);
        if (*server)
            printf("server: %s\n", server);
        return 0;
    }
    both = *server ? json_pack("{s:s, s:s}", "client", ROOST_VERSION, "server", server)
                   : json_pack("{s:s}", "client", ROOST_VERSION);
    if (!both)
        return err_set(err, ERR_NOMEM, 0, "no memory");
    rc = cli_print(both, output, stdout, err);
    json_decref(both);
    return rc;
}

static int run(const struct cli_line *line, struct err *err)
{
    char server[64] = ""; /* where it was asked and did answer */
    json_t *answer = NULL;
    int rc = 0;

    if (line->nargs)
        return err_set(err, ERR_USAGE, 0, "version takes no arguments, only options: %.40s",
                       line->args[0]);
    if (!cli_flag(line, "client"))
        rc = cli_fetch(&answer, cli_state(line), "/v1/version", err);
    if (answer)
        snprintf(server, sizeof(server), "%s", cli_text(answer, "version"));
    json_decref(answer);
    text_clean(server);
    /* This program's own is shown in any case. */
    return print(cli_output(line), server, rc < 0 ? NULL : err) < 0 ? -1 : rc;
}

static const struct cli_option options[] = {
    {.name = "client", .help = "only of this program; asks nobody"},
    CLI_OPTION_OUTPUT(cli_formats_one),
    CLI_OPTION_STATE,
    {0},
};
static const char *const synopsis[] = {"[options]", NULL};
static const struct cli_example examples[] = {
    {"of both", "roost version"},
    {"of this program", "roost version --client"},
    {0},
};
static const enum err_code exits[] = {ERR_DENIED, ERR_NET, ERR_TIMEOUT, ERR_NONE};

const struct verb verb_version = {
    .name = "version",
    .brief = "show the versions of client and daemon",
    .about = "Shows the version of this program and of the running daemon. Without a daemon this "
             "program's own is shown, and the exit status is 10.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .run = run,
};
