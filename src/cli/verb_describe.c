/* `roost describe`: all that the daemon knows of one guest. */
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>

#define NAME_SIZE 256

static const char help[] =
    "Shows all that the daemon knows of one guest: its effective configuration, triggers,\n"
    "counters, latencies, last error, and why it does not sleep where it does not.\n"
    "\n"
    "Usage: roost describe NAMESPACE/NAME [options]\n"
    "       roost describe NAME -n NAMESPACE [options]\n"
    "\n"
    "Options:\n"
    "  -n, --namespace NAME  the guest's namespace (default: default)\n"
    "  -o, --output FORMAT   table (text for people) or json (default table)\n"
    "      --state DIR       the daemon's state directory (default $ROOST_STATE, else\n"
    "                        /var/lib/roost)\n"
    "  -h, --help            this text\n"
    "\n"
    "Examples:\n"
    "  roost describe ring-0/ring-0\n"
    "  roost describe ring-0 -n ring-0 -o json\n";

/* What may stand in a path as it is; all that a guest's name can have. */
static bool is_path_safe(const char *text)
{
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr("-._", *text))
            return false;
    return true;
}

/* The path to ask for, from the arguments: [guest] NAME | NAMESPACE/NAME. */
static int target_of(char *out, size_t size, const struct cli_opts *o, struct err *err)
{
    bool kind =
        o->nargs == 2 && (strcmp(o->args[0], "guest") == 0 || strcmp(o->args[0], "guests") == 0);
    char namespace_[NAME_SIZE], name[NAME_SIZE];
    const char *where;

    if (o->nargs != (kind ? 2 : 1))
        return err_set(err, ERR_USAGE, 0,
                       "describe takes one guest (`roost describe NAMESPACE/NAME`)");
    if (cli_split_name(o->args[kind], namespace_, name, NAME_SIZE, err) < 0)
        return -1;
    if (*namespace_ && o->namespace_ && strcmp(namespace_, o->namespace_) != 0)
        return err_set(err, ERR_USAGE, 0, "-n %.40s, but the name says %.40s", o->namespace_,
                       namespace_);
    where = *namespace_ ? namespace_ : o->namespace_ ? o->namespace_ : "default";
    if (!is_path_safe(where) || !is_path_safe(name) || strlen(where) >= NAME_SIZE)
        return err_set(err, ERR_USAGE, 0, "%.80s: no guest has such a name", o->args[kind]);
    snprintf(out, size, "/v1/guests/%s/%s", where, name);
    return 0;
}

/* Its 404 in the words of the command line. */
static int fetch(json_t **out, const char *state, const char *target, struct err *err)
{
    if (cli_fetch(out, state, target, err) == 0)
        return 0;
    if (err->code == ERR_NOT_FOUND)
        err_set(err, ERR_NOT_FOUND, 0, "guest %s: there is none (see `roost get guests`)",
                target + strlen("/v1/guests/"));
    return -1;
}

int verb_describe(int argc, char **argv, struct err *err)
{
    struct cli_opts o;
    char target[2 * NAME_SIZE + 16];
    json_t *guest = NULL;
    int rc = 0;

    if (cli_options(&o, argc, argv, CLI_NAMESPACE | CLI_OUTPUT, help, err) < 0)
        return -1;
    if (o.helped)
        return 0;
    if (o.output == OUTPUT_WIDE || o.output == OUTPUT_NAME)
        return err_set(err, ERR_USAGE, 0, "describe has -o table and -o json");
    if (target_of(target, sizeof(target), &o, err) < 0 || fetch(&guest, o.state, target, err) < 0)
        return -1;
    if (o.output == OUTPUT_JSON)
        rc = cli_print_json(guest, stdout, err);
    else
        cli_print_object(guest, stdout);
    json_decref(guest);
    return rc;
}
