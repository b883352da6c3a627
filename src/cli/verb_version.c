/* `roost version`: of this program, and of the daemon that it finds. */
#include "base/text.h"
#include "cli/cli.h"

#include <string.h>

static const char help[] =
    "Shows the version of this program and of the running daemon.\n"
    "\n"
    "Usage: roost version [options]\n"
    "\n"
    "Options:\n"
    "      --client         only of this program; asks nobody\n"
    "  -o, --output FORMAT  table (text for people) or json (default table)\n"
    "      --state DIR      the daemon's state directory (default $ROOST_STATE, else\n"
    "                       /var/lib/roost)\n"
    "  -h, --help           this text\n"
    "\n"
    "Examples:\n"
    "  roost version\n"
    "  roost version --client\n"
    "  roost version -o json\n";

/* server is empty where it was not asked or did not answer. */
static int print(const struct cli_opts *o, const char *server, struct err *err)
{
    json_t *both;
    int rc;

    if (o->output != OUTPUT_JSON) {
        printf("client: %s\n", ROOST_VERSION);
        if (*server)
            printf("server: %s\n", server);
        return 0;
    }
    both = *server ? json_pack("{s:s, s:s}", "client", ROOST_VERSION, "server", server)
                   : json_pack("{s:s}", "client", ROOST_VERSION);
    if (!both)
        return err_set(err, ERR_NOMEM, 0, "no memory");
    rc = cli_print_json(both, stdout, err);
    json_decref(both);
    return rc;
}

int verb_version(int argc, char **argv, struct err *err)
{
    struct cli_opts o;
    char server[64] = "";
    json_t *answer = NULL;
    int rc = 0;

    if (cli_options(&o, argc, argv, CLI_OUTPUT | CLI_CLIENT, help, err) < 0)
        return -1;
    if (o.helped)
        return 0;
    if (o.nargs)
        return err_set(err, ERR_USAGE, 0, "version takes no arguments, only options: %.40s",
                       o.args[0]);
    if (o.output == OUTPUT_WIDE || o.output == OUTPUT_NAME)
        return err_set(err, ERR_USAGE, 0, "version has -o table and -o json");
    if (!o.client)
        rc = cli_fetch(&answer, o.state, "/v1/version", err);
    if (answer)
        snprintf(server, sizeof(server), "%s", cli_text(answer, "version"));
    json_decref(answer);
    text_clean(server);
    /* This program's own is shown in any case. */
    return print(&o, server, rc < 0 ? NULL : err) < 0 ? -1 : rc;
}
