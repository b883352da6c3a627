/* `roost serve`: the daemon in the foreground. Its options are rows of serve/options.c. */
#include "cli/cli.h"
#include "serve/daemon.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_COLUMN 23 /* where the texts of --help begin */
#define TEXT_WIDTH  75

enum { OPT_CONFIG = OPTIONS_MAX + 256, OPT_CHECK, OPT_HELP };

/* --- help --- */

/* Words of text from TEXT_COLUMN on; the cursor is at column. */
static void print_text(int column, const char *text)
{
    printf("%*s", column < TEXT_COLUMN ? TEXT_COLUMN - column : 1, "");
    for (int used = 0; *text;) {
        int len = (int)strcspn(text, " ");

        if (used && used + 1 + len > TEXT_WIDTH) {
            printf("\n%*s", TEXT_COLUMN, "");
            used = 0;
        }
        used += printf("%s%.*s", used ? " " : "", len, text);
        text += len + (text[len] == ' ');
    }
    putchar('\n');
}

static void print_option(const struct option_def *def)
{
    char words[96] = "", text[512];
    size_t used = 0;
    const char *initial = def->initial ? def->initial : def->initially;
    bool show = def->argument != NULL;

    for (size_t i = 0; def->words && def->words[i] && used < sizeof(words); i++)
        used += (size_t)snprintf(words + used, sizeof(words) - used, "%s%s", i ? ", " : "",
                                 def->words[i]);
    snprintf(text, sizeof(text), "%s%s%s%s%s%s", def->flag_doc ? def->flag_doc : def->doc,
             used ? ": " : "", words, show ? " (default: " : "", show ? initial : "",
             show ? ")" : "");
    print_text(printf("  --%s%s%s", def->flag, def->argument ? " " : "",
                      def->argument ? def->argument : ""),
               text);
}

static void print_help(void)
{
    size_t n;
    const struct option_def *table = options_table(&n);

    printf("Runs the daemon in the foreground until SIGTERM or SIGINT.\n"
           "\n"
           "Usage: roost serve [--config FILE] [options]\n"
           "\n"
           "Options:\n");
    print_text(printf("  --config FILE"),
               "options from a file (docs/config.md); those given here are stronger. SIGHUP reads "
               "it again");
    print_text(printf("  --check-config"),
               "print what would hold and where it comes from, start nothing; the exit status says "
               "whether the daemon would take it");
    for (size_t i = 0; i < n; i++)
        if (table[i].flag)
            print_option(&table[i]);
    printf("  --help\n"
           "\n"
           "Examples:\n"
           "  roost serve --guests guests/ --state /var/lib/roost\n"
           "  roost serve --guests guests/ --state ./state --kubeconfig admin.kubeconfig\n"
           "  roost serve --config /etc/roost/roost.yaml --log-level debug\n"
           "  roost serve --config /etc/roost/roost.yaml --check-config\n"
           "\n"
           "One daemon at a time can use a state directory. A second SIGTERM ends it at once; "
           "guests then\nresume from their last sleep.\n");
}

/* --- the command line --- */

static void make_longs(struct option longs[OPTIONS_MAX + 4])
{
    size_t n, count = 0;
    const struct option_def *table = options_table(&n);

    for (size_t i = 0; i < n; i++)
        if (table[i].flag)
            longs[count++] =
                (struct option){table[i].flag, table[i].argument ? required_argument : no_argument,
                                NULL, (int)i + 256};
    longs[count++] = (struct option){"config", required_argument, NULL, OPT_CONFIG};
    longs[count++] = (struct option){"check-config", no_argument, NULL, OPT_CHECK};
    longs[count++] = (struct option){"help", no_argument, NULL, OPT_HELP};
    longs[count] = (struct option){0};
}

/* 0: go on; 1: help was printed; -1. */
static int parse(struct options_source *source, bool *check, int argc, char **argv, struct err *err)
{
    struct option longs[OPTIONS_MAX + 4];
    size_t n;
    const struct option_def *table = options_table(&n);
    int opt;

    make_longs(longs);
    optind = 1;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        if (opt == OPT_HELP) {
            print_help();
            return 1;
        }
        if (opt == OPT_CONFIG)
            source->file = optarg;
        else if (opt == OPT_CHECK)
            *check = true;
        else if (opt >= 256)
            source->flags[opt - 256] = optarg ? optarg : table[opt - 256].implied;
        else
            return cli_bad_option(argv, opt, longs, err);
    }
    if (optind < argc)
        return err_set(err, ERR_USAGE, 0, "serve takes no arguments, only options: %s",
                       argv[optind]);
    return 0;
}

static int print_config(const struct daemon_opts *o, const char *file, struct err *err)
{
    struct buf out = {.max = 0};
    int rc = options_print(&out, o, file, err);

    if (rc == 0)
        fwrite(out.data, 1, out.len, stdout);
    buf_free(&out);
    return rc;
}

int verb_serve(int argc, char **argv, struct err *err)
{
    struct options_source source = {.file = NULL};
    struct daemon_opts o;
    bool check = false;
    int rc = parse(&source, &check, argc, argv, err);

    if (rc)
        return rc < 0 ? -1 : 0;
    if (options_load(&o, &source, err) < 0)
        return -1;
    rc = check ? print_config(&o, source.file, err) : daemon_run(&o, &source, err);
    options_free(&o);
    return rc;
}
