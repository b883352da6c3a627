/* `roost serve`: the daemon in the foreground. Its options are those of serve/options.h, which the
 * configuration file has too, and two about that file. */
#include "cli/cli.h"
#include "serve/daemon.h"
#include "serve/options.h"

#include <stdio.h>
#include <string.h>

#define OWN 2 /* options that are no rows of the table; they come first */

/* --- running --- */

static int print_config(const struct daemon_opts *o, const char *file, struct err *err)
{
    AUTO_BUF struct buf out = {.max = 0};

    if (daemon_check(o, err) < 0 || options_print(&out, o, file, err) < 0)
        return -1;
    fwrite(out.data, 1, out.len, stdout);
    return 0;
}

static void take_flags(struct options_source *source, const struct cli_line *line)
{
    size_t n;
    const struct option_def *table = options_table(&n);

    source->file = cli_value(line, "config");
    for (size_t i = 0; i < n; i++) {
        const char *value = table[i].flag ? cli_value(line, table[i].flag) : NULL;

        if (value)
            source->flags[i] = table[i].argument ? value : table[i].implied;
    }
}

static int run(const struct cli_line *line, struct err *err)
{
    struct options_source source = {.file = NULL};
    struct daemon_opts o;
    int rc;

    if (line->nargs)
        return err_set(err, ERR_USAGE, 0, "serve takes no arguments, only options: %s",
                       line->args[0]);
    take_flags(&source, line);
    if (options_load(&o, &source, err) < 0)
        return -1;
    rc = cli_flag(line, "check-config") ? print_config(&o, source.file, err)
                                        : daemon_run(&o, &source, err);
    options_free(&o);
    return rc;
}

/* --- its documentation --- */

static enum cli_what what_of(const struct option_def *def)
{
    if (def->type != OPTION_PATH)
        return CLI_ANYTHING;
    return def->argument && strcmp(def->argument, "DIR") == 0 ? CLI_DIR : CLI_FILE;
}

/* Made once of the daemon's table; the command line has one thread. */
static const struct cli_option *options(void)
{
    static struct cli_option made[OWN + OPTIONS_MAX + 1];
    size_t n, count = 0;
    const struct option_def *table = options_table(&n);

    if (made[0].name)
        return made;
    made[count++] = (struct cli_option){
        .name = "config",
        .arg = "FILE",
        .what = CLI_FILE,
        .help = "options from a file; those given here are stronger. SIGHUP reads it again"};
    made[count++] = (struct cli_option){
        .name = "check-config",
        .help = "print what would hold and where it comes from, start nothing; the exit status "
                "says whether the daemon would take it"};
    for (size_t i = 0; i < n; i++) {
        if (!table[i].flag)
            continue;
        made[count++] =
            (struct cli_option){.name = table[i].flag,
                                .arg = table[i].argument,
                                .what = what_of(&table[i]),
                                .help = table[i].flag_doc ? table[i].flag_doc : table[i].doc,
                                .words = table[i].argument ? table[i].words : NULL,
                                .def = !table[i].argument ? NULL
                                       : table[i].initial ? table[i].initial
                                                          : table[i].initially};
    }
    return made;
}

static const char *const synopsis[] = {"[--config FILE] [options]", NULL};
static const struct cli_example examples[] = {
    {"with the guests of a folder", "roost serve --guests guests/ --state /var/lib/roost"},
    {"against a certain cluster",
     "roost serve --guests guests/ --state ./state --kubeconfig admin.kubeconfig"},
    {"from a file, but more to read",
     "roost serve --config /etc/roost/roost.yaml --log-level debug"},
    {"what that file means", "roost serve --config /etc/roost/roost.yaml --check-config"},
    {0},
};
static const enum err_code exits[] = {ERR_INVALID, ERR_NOT_FOUND, ERR_EXISTS, ERR_DENIED,
                                      ERR_LIMIT,   ERR_IO,        ERR_NET,    ERR_NONE};
static const char *const see[] = {"apply", "get", NULL};

const struct verb verb_serve = {
    .name = "serve",
    .brief = "run the daemon",
    .about = "Runs the daemon in the foreground until SIGTERM or SIGINT. One daemon at a time can "
             "use a state directory. A second SIGTERM ends it at once, with status 1; guests then "
             "resume from their last sleep.\n"
             "\n"
             "Every option can be in a file too (docs/config.md): flags are stronger than the "
             "file, and the file than the defaults.",
    .synopsis = synopsis,
    .options_of = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .run = run,
};
