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

static const struct verb *find_verb(const struct verb *verbs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int unknown_verb(const struct verb *verbs, size_t n, const char *name, struct err *err)
{
    const char *names[VERBS_MAX], *nearest;
    size_t count = 0;

    for (; count < n && count < VERBS_MAX; count++)
        names[count] = verbs[count].name;
    nearest = nearest_name(name, names, count);
    if (nearest)
        return err_set(err, ERR_USAGE, 0, "unknown command %.40s (did you mean %s?)", name,
                       nearest);
    return err_set(err, ERR_USAGE, 0, "unknown command %.40s (see `roost help`)", name);
}

static void print_help(const struct verb *verbs, size_t n)
{
    printf("Runs Kubernetes operators as WebAssembly guests that sleep until something happens.\n"
           "\n"
           "Usage: roost [--state DIR] COMMAND [options]\n"
           "\n"
           "Commands:\n");
    for (size_t i = 0; i < n; i++)
        printf("  %-10s %s\n", verbs[i].name, verbs[i].help);
    printf("  %-10s %s\n", "help", "this text, or that of a command");
    printf("\n"
           "Options:\n"
           "  --state DIR  the daemon's state directory (default $ROOST_STATE, else\n"
           "               /var/lib/roost)\n"
           "  --version    the same as `roost version --client`\n"
           "  --help       this text; after a command, that of the command\n"
           "\n"
           "Examples:\n"
           "  roost serve --guests guests/ --state ./state\n"
           "  roost get guests --state ./state\n"
           "  roost help serve\n"
           "\n"
           "Exit status: 0 fine, 2 wrong usage, 4 not found, 10 the daemon cannot be reached; all "
           "of\nthem are in docs/cli.md.\n");
}

int cli_help(const struct verb *verbs, size_t n, int argc, char **argv, struct err *err)
{
    char *help_argv[] = {argc > 1 ? argv[1] : NULL, (char[]){"--help"}, NULL};
    const struct verb *verb;

    if (argc > 2)
        return err_set(err, ERR_USAGE, 0, "help takes one command");
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0) {
        print_help(verbs, n);
        return 0;
    }
    verb = find_verb(verbs, n, argv[1]);
    return verb ? verb->run(2, help_argv, err) : unknown_verb(verbs, n, argv[1], err);
}

/* Takes the options before the verb. Returns how many words they are, -1: error. */
static int globals(int argc, char **argv, struct err *err)
{
    int i = 1;

    while (i < argc && strncmp(argv[i], "--state", 7) == 0) {
        const char *value = argv[i][7] == '=' ? argv[i] + 8 : NULL;

        if (argv[i][7] == 0 && i + 1 < argc)
            value = argv[++i];
        if (!value || !*value)
            return err_set(err, ERR_USAGE, 0, "%.40s needs a folder", argv[i]);
        if (setenv("ROOST_STATE", value, 1) < 0)
            return err_set(err, ERR_NOMEM, errno, "--state");
        i++;
    }
    return i - 1;
}

static int dispatch(const struct verb *verbs, size_t n, int argc, char **argv, struct err *err)
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
        return cli_help(verbs, n, argc, argv, err);
    if (strcmp(name, "--version") == 0)
        return verb_version(2, (char *[]){name, (char[]){"--client"}, NULL}, err);
    verb = find_verb(verbs, n, name);
    if (!verb && *name == '-')
        return err_set(err, ERR_USAGE, 0, "unknown option %.40s (see `roost help`)", name);
    return verb ? verb->run(argc, argv, err) : unknown_verb(verbs, n, name, err);
}

/* Output that nobody reads any more (`roost get guests | head`) is no failure. */
static int finish_output(struct err *err)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return errno == EPIPE ? 0 : err_set(err, ERR_IO, errno, "output");
}

int cli_run(const struct verb *verbs, size_t n, int argc, char **argv)
{
    struct err err = {0};
    int rc;

    signal(SIGPIPE, SIG_IGN);
    rc = dispatch(verbs, n, argc, argv, &err);
    if (finish_output(rc < 0 ? NULL : &err) < 0)
        rc = -1;
    if (rc == 0)
        return 0;
    fprintf(stderr, "roost: %s\n", err.msg);
    return err_exit_status(err.code);
}
