/* From the command line to a verb, and from its error to an exit status.
 *
 * Options before the verb are the global ones. --state there is handed on through the environment,
 * where verbs look for it anyway.
 */
#include "cli/cli.h"

#include "base/nearest.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define VERBS_MAX 32

static int unknown_verb(const char *name, struct err *err)
{
    const char *names[VERBS_MAX] = {"help"}, *nearest;
    size_t count = 1;

    for (size_t i = 0; cli_verbs[i] && count < VERBS_MAX; i++)
        if (!cli_verbs[i]->hidden)
            names[count++] = cli_verbs[i]->name;
    nearest = nearest_name(name, names, count);
    if (nearest)
        return err_set(err, ERR_USAGE, 0, "unknown command %.40s (did you mean %s?)", name,
                       nearest);
    return err_set(err, ERR_USAGE, 0, "unknown command %.40s (see `roost help`)", name);
}

/* `roost help [VERB]`. */
static int help(int argc, char **argv, struct err *err)
{
    const struct verb *verb;

    if (argc > 2)
        return err_set(err, ERR_USAGE, 0, "help takes one command");
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0) {
        cli_help(stdout);
        return 0;
    }
    verb = cli_find_verb(argv[1]);
    if (!verb)
        return unknown_verb(argv[1], err);
    cli_verb_help(verb, stdout);
    return 0;
}

/* Options before the verb; each is handed on through the environment. */
static const struct {
    const char *option, *variable, *what;
} global_options[] = {
    {"--state", "ROOST_STATE", "a folder"},
    {"--server", "ROOST_SERVER", "https://HOST:PORT or unix:PATH"},
    {"--token-file", "ROOST_TOKEN_FILE", "a file"},
    {"--ca-file", "ROOST_CA_FILE", "a file"},
};
#define GLOBALS (sizeof(global_options) / sizeof(global_options[0]))

/* Its place in the table; GLOBALS: it is none of them. */
static size_t find_global(const char *word)
{
    size_t i = 0, len = strcspn(word, "=");

    while (i < GLOBALS && (strlen(global_options[i].option) != len ||
                           strncmp(global_options[i].option, word, len) != 0))
        i++;
    return i;
}

/* Takes the options before the verb. Returns how many words they are, -1: error. */
static int globals(int argc, char **argv, struct err *err)
{
    int i = 1;

    for (size_t g; i < argc && (g = find_global(argv[i])) < GLOBALS; i++) {
        const char *equals = strchr(argv[i], '='), *value = equals ? equals + 1 : NULL;

        if (!equals && i + 1 < argc)
            value = argv[++i];
        if (!value || !*value)
            return err_set(err, ERR_USAGE, 0, "%s needs %s", global_options[g].option,
                           global_options[g].what);
        if (setenv(global_options[g].variable, value, 1) < 0)
            return err_set(err, ERR_NOMEM, errno, "%s", global_options[g].option);
    }
    return i - 1;
}

static int run_verb(const struct verb *verb, int argc, char **argv, struct err *err)
{
    struct cli_line line;
    int rc = cli_line_read(&line, verb, argc, argv, err);

    if (rc == 0 && line.helped)
        cli_verb_help(verb, stdout);
    else if (rc == 0)
        rc = verb->run(&line, err);
    cli_line_free(&line);
    return rc;
}

static int dispatch(int argc, char **argv, struct err *err)
{
    int skip = globals(argc, argv, err);
    const struct verb *verb;
    char *name;

    if (skip < 0)
        return -1;
    argc -= skip + 1;
    argv += skip + 1;
    if (argc == 0)
        return err_set(err, ERR_USAGE, 0, "a command is needed (see `roost help`)");
    name = argv[0];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help(argc, argv, err);
    if (strcmp(name, "--version") == 0)
        return run_verb(&verb_version, 2, (char *[]){name, (char[]){"--client"}, NULL}, err);
    verb = cli_find_verb(name);
    if (!verb && *name == '-')
        return err_set(err, ERR_USAGE, 0, "unknown option %.40s (see `roost help`)", name);
    return verb ? run_verb(verb, argc, argv, err) : unknown_verb(name, err);
}

/* Output that nobody reads any more (`roost get guests | head`) is no failure. */
static int finish_output(struct err *err)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return errno == EPIPE ? 0 : err_set(err, ERR_IO, errno, "output");
}

int cli_run(int argc, char **argv)
{
    struct err err = {0};
    int rc;

    signal(SIGPIPE, SIG_IGN);
    rc = dispatch(argc, argv, &err);
    if (finish_output(rc < 0 ? NULL : &err) < 0)
        rc = -1;
    if (rc == 0)
        return 0;
    fprintf(stderr, "roost: %s\n", err.msg);
    return err_exit_status(err.code);
}
