/* One set of options for all verbs that ask the daemon: a verb says which of them it has. */
#include "cli/cli.h"

#include "base/limits.h"
#include "base/nearest.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define STATE_DEFAULT "/var/lib/roost"
#define OPTIONS_MAX   64

static const struct {
    struct option option;
    unsigned bit; /* 0: everybody's */
} known[] = {
    {{"state", required_argument, NULL, 's'}, 0},
    {{"help", no_argument, NULL, 'h'}, 0},
    {{"namespace", required_argument, NULL, 'n'}, CLI_NAMESPACE},
    {{"output", required_argument, NULL, 'o'}, CLI_OUTPUT},
    {{"watch", no_argument, NULL, 'w'}, CLI_WATCH},
    {{"client", no_argument, NULL, 'c'}, CLI_CLIENT},
};

#define KNOWN (sizeof(known) / sizeof(known[0]))

const char *cli_state(const char *given)
{
    const char *env = getenv("ROOST_STATE");

    if (given)
        return given;
    return env && *env ? env : STATE_DEFAULT;
}

int cli_bad_option(char **argv, int got, const struct option *longs, struct err *err)
{
    const char *word = argv[optind - 1], *names[OPTIONS_MAX], *nearest = NULL;
    size_t n = 0;

    if (got == ':')
        return err_set(err, ERR_USAGE, 0, "%.40s needs a value (see `roost %s --help`)", word,
                       argv[0]);
    for (; n < OPTIONS_MAX && longs[n].name; n++)
        names[n] = longs[n].name;
    if (strncmp(word, "--", 2) == 0)
        nearest = nearest_name(word + 2, names, n);
    if (nearest)
        return err_set(err, ERR_USAGE, 0, "unknown option %.40s (did you mean --%s?)", word,
                       nearest);
    if (optopt && strncmp(word, "--", 2) != 0)
        return err_set(err, ERR_USAGE, 0, "unknown option -%c (see `roost %s --help`)", optopt,
                       argv[0]);
    return err_set(err, ERR_USAGE, 0, "unknown option %.40s (see `roost %s --help`)", word,
                   argv[0]);
}

static int set_output(struct cli_opts *o, const char *text, struct err *err)
{
    static const char *const names[] = {[OUTPUT_TABLE] = "table",
                                        [OUTPUT_WIDE] = "wide",
                                        [OUTPUT_JSON] = "json",
                                        [OUTPUT_NAME] = "name"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], text) == 0) {
            o->output = (enum cli_output)i;
            return 0;
        }
    }
    return err_set(err, ERR_USAGE, 0, "-o %.40s: must be one of table, wide, json, name", text);
}

/* The verb's own options for getopt_long, long and short. */
static void choose(unsigned accepted, struct option *longs, char *shorts)
{
    *shorts++ = ':';
    for (size_t i = 0; i < KNOWN; i++) {
        if (known[i].bit && !(known[i].bit & accepted))
            continue;
        *longs++ = known[i].option;
        if (strchr("hnow", known[i].option.val)) {
            *shorts++ = (char)known[i].option.val;
            if (known[i].option.has_arg == required_argument)
                *shorts++ = ':';
        }
    }
    *longs = (struct option){0};
    *shorts = 0;
}

static int take(struct cli_opts *o, int got, struct err *err)
{
    switch (got) {
    case 's':
        o->state = optarg;
        return *optarg ? 0 : err_set(err, ERR_USAGE, 0, "--state needs a folder");
    case 'n':
        o->namespace_ = optarg;
        return *optarg ? 0 : err_set(err, ERR_USAGE, 0, "-n needs a namespace");
    case 'o':
        return set_output(o, optarg, err);
    case 'w':
        o->watch = true;
        return 0;
    case 'c':
        o->client = true;
        return 0;
    default:
        o->helped = true;
        return 0;
    }
}

int cli_options(struct cli_opts *out, int argc, char **argv, unsigned accepted, const char *help,
                struct err *err)
{
    struct option longs[KNOWN + 1];
    char shorts[2 * KNOWN + 2];
    int got;

    *out = (struct cli_opts){0};
    choose(accepted, longs, shorts);
    opterr = 0;
    optind = 0; /* glibc: start afresh */
    while ((got = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (got == '?' || got == ':')
            return cli_bad_option(argv, got, longs, err);
        if (take(out, got, err) < 0)
            return -1;
    }
    if (out->helped)
        fputs(help, stdout);
    out->state = cli_state(out->state);
    out->nargs = argc - optind;
    out->args = argv + optind;
    return 0;
}

int cli_split_name(const char *text, char *namespace_, char *name, size_t size, struct err *err)
{
    const char *slash = strchr(text, '/');
    size_t before = slash ? (size_t)(slash - text) : 0;
    const char *rest = slash ? slash + 1 : text;

    if ((slash && before == 0) || *rest == 0 || strchr(rest, '/'))
        return err_set(err, ERR_USAGE, 0, "%.80s: must be NAME or NAMESPACE/NAME", text);
    if (before >= size || strlen(rest) >= size)
        return err_set(err, ERR_USAGE, 0, "%.80s: no name is that long", text);
    memcpy(namespace_, text, before);
    namespace_[before] = 0;
    memcpy(name, rest, strlen(rest) + 1);
    return 0;
}
