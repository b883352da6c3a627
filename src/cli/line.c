/* A command line against the table of a verb's options: what is taken is what is documented.
 *
 * getopt_long does the reading; its two lists are made of the table. A long option is known to it
 * by its place in the table, so nothing has to be kept in step by hand.
 */
#include "cli/cli.h"

#include "base/nearest.h"

#include <assert.h>
#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define STATE_DEFAULT    "/var/lib/roost"
#define LINE_OPTIONS_MAX 64
#define OPTION_BASE      1000 /* + its place: what getopt_long returns for it */
#define OPTION_HELP      999

const char *const cli_formats_list[] = {"table", "wide", "json", "yaml", "name", NULL};
const char *const cli_formats_one[] = {"table", "json", "yaml", NULL};

/* --- the lists for getopt_long --- */

struct lists {
    struct option longs[LINE_OPTIONS_MAX + 2];
    char shorts[2 * LINE_OPTIONS_MAX + 4];
};

static void lists_make(struct lists *l, const struct verb *v)
{
    char *shorts = l->shorts;
    int i = 0;

    *shorts++ = ':';
    for (const struct cli_option *o = cli_options(v); o->name; o++) {
        assert(i < LINE_OPTIONS_MAX);
        l->longs[i] = (struct option){o->name, o->arg ? required_argument : no_argument, NULL,
                                      OPTION_BASE + i};
        i++;
        if (!o->letter)
            continue;
        *shorts++ = o->letter;
        if (o->arg)
            *shorts++ = ':';
    }
    l->longs[i] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    l->longs[i + 1] = (struct option){0};
    *shorts++ = 'h';
    *shorts = 0;
}

static const struct cli_option *option_of(const struct verb *v, int got)
{
    if (got >= OPTION_BASE)
        return &cli_options(v)[got - OPTION_BASE];
    for (const struct cli_option *o = cli_options(v); o->name; o++)
        if (o->letter == got)
            return o;
    return NULL;
}

/* --- what is wrong --- */

static int bad_option(const struct verb *v, char **argv, int got, struct err *err)
{
    const char *word = argv[optind - 1], *names[LINE_OPTIONS_MAX + 1] = {"help"}, *nearest = NULL;
    size_t n = 1;

    if (got == ':')
        return err_set(err, ERR_USAGE, 0, "%.40s needs a value (see `roost %s --help`)", word,
                       v->name);
    if (optopt >= OPTION_HELP)
        return err_set(err, ERR_USAGE, 0, "%.40s takes no value (see `roost %s --help`)", word,
                       v->name);
    for (const struct cli_option *o = cli_options(v); o->name; o++)
        names[n++] = o->name;
    if (strncmp(word, "--", 2) == 0)
        nearest = nearest_name(word + 2, names, n);
    if (nearest)
        return err_set(err, ERR_USAGE, 0, "unknown option %.40s (did you mean --%s?)", word,
                       nearest);
    if (optopt && strncmp(word, "--", 2) != 0)
        return err_set(err, ERR_USAGE, 0, "unknown option -%c (see `roost %s --help`)", optopt,
                       v->name);
    return err_set(err, ERR_USAGE, 0, "unknown option %.40s (see `roost %s --help`)", word,
                   v->name);
}

static int bad_word(const struct cli_option *o, const char *value, struct err *err)
{
    const char *nearest;
    char list[160] = "";
    size_t n = 0, len = 0;

    for (; o->words[n] && len < sizeof(list); n++)
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", n ? ", " : "", o->words[n]);
    nearest = nearest_name(value, o->words, n);
    if (nearest)
        return err_set(err, ERR_USAGE, 0, "--%s %.40s: did you mean %s? It is one of %s", o->name,
                       value, nearest, list);
    return err_set(err, ERR_USAGE, 0, "--%s %.40s: must be one of %s", o->name, value, list);
}

static int check_value(const struct cli_option *o, const char *value, struct err *err)
{
    if (!o->arg)
        return 0;
    if (!*value)
        return err_set(err, ERR_USAGE, 0, "--%s needs a value that is not empty", o->name);
    for (size_t i = 0; o->words && o->words[i]; i++)
        if (strcmp(o->words[i], value) == 0)
            return 0;
    return o->words ? bad_word(o, value, err) : 0;
}

/* --- reading --- */

static int take(struct cli_line *l, const struct cli_option *o, struct err *err)
{
    const char *value = o->arg ? optarg : "";

    if (check_value(o, value, err) < 0)
        return -1;
    l->given[l->ngiven++] = (struct cli_given){o, value};
    return 0;
}

int cli_line_read(struct cli_line *out, const struct verb *verb, int argc, char **argv,
                  struct err *err)
{
    struct lists lists;
    int got;

    *out = (struct cli_line){.verb = verb};
    out->given = calloc(2 * (size_t)argc + 64, sizeof(*out->given)); /* -abc is three */
    if (!out->given)
        return err_set(err, ERR_NOMEM, 0, "no memory for the command line");
    lists_make(&lists, verb);
    opterr = 0;
    optind = 0; /* glibc: start afresh */
    while ((got = getopt_long(argc, argv, lists.shorts, lists.longs, NULL)) != -1) {
        if (got == '?' || got == ':')
            return bad_option(verb, argv, got, err);
        if (got == 'h' || got == OPTION_HELP) {
            out->helped = true;
            continue;
        }
        if (out->ngiven == 2 * (size_t)argc + 64)
            return err_set(err, ERR_LIMIT, 0, "too many options");
        if (take(out, option_of(verb, got), err) < 0)
            return -1;
    }
    out->nargs = argc - optind;
    out->args = argv + optind;
    return 0;
}

void cli_line_free(struct cli_line *line)
{
    free(line->given);
    line->given = NULL;
}

/* --- asking --- */

static bool has_option(const struct verb *v, const char *name)
{
    for (const struct cli_option *o = cli_options(v); o->name; o++)
        if (strcmp(o->name, name) == 0)
            return true;
    return false;
}

const char *cli_value_at(const struct cli_line *line, const char *option, size_t n)
{
    assert(has_option(line->verb, option)); /* undocumented otherwise */
    for (size_t i = 0; i < line->ngiven; i++)
        if (strcmp(line->given[i].option->name, option) == 0 && n-- == 0)
            return line->given[i].value;
    return NULL;
}

const char *cli_value(const struct cli_line *line, const char *option)
{
    const char *last = NULL, *value;

    for (size_t n = 0; (value = cli_value_at(line, option, n)); n++)
        last = value;
    return last;
}

bool cli_flag(const struct cli_line *line, const char *option)
{
    return cli_value(line, option) != NULL;
}

enum cli_output cli_output(const struct cli_line *line)
{
    const char *text = cli_value(line, "output");

    for (size_t i = 0; text && cli_formats_list[i]; i++)
        if (strcmp(cli_formats_list[i], text) == 0)
            return (enum cli_output)i;
    return OUTPUT_TABLE;
}

const char *cli_state(const struct cli_line *line)
{
    const char *given = cli_value(line, "state"), *env = getenv("ROOST_STATE");

    if (given)
        return given;
    return env && *env ? env : STATE_DEFAULT;
}

/* --- names --- */

bool cli_is_kind(const char *word)
{
    return strcmp(word, "guests") == 0 || strcmp(word, "guest") == 0;
}

int cli_split_name(const char *text, struct cli_id *out, struct err *err)
{
    const char *slash = strchr(text, '/');
    size_t before = slash ? (size_t)(slash - text) : 0;
    const char *rest = slash ? slash + 1 : text;

    if ((slash && before == 0) || *rest == 0 || strchr(rest, '/'))
        return err_set(err, ERR_USAGE, 0, "%.80s: must be NAME or NAMESPACE/NAME", text);
    if (before >= CLI_NAME_SIZE || strlen(rest) >= CLI_NAME_SIZE)
        return err_set(err, ERR_USAGE, 0, "%.80s: no name is that long", text);
    memcpy(out->namespace_, text, before);
    out->namespace_[before] = 0;
    memcpy(out->name, rest, strlen(rest) + 1);
    return 0;
}

int cli_guest_id(const struct cli_line *line, const char *text, struct cli_id *out, struct err *err)
{
    const char *space = has_option(line->verb, "namespace") ? cli_value(line, "namespace") : NULL;

    *out = (struct cli_id){0};
    if (text && cli_split_name(text, out, err) < 0)
        return -1;
    if (*out->namespace_ && space && strcmp(out->namespace_, space) != 0)
        return err_set(err, ERR_USAGE, 0, "-n %.40s, but the name says %.40s", space,
                       out->namespace_);
    if (space && strlen(space) >= CLI_NAME_SIZE)
        return err_set(err, ERR_USAGE, 0, "%.80s: no namespace is that long", space);
    if (space)
        memcpy(out->namespace_, space, strlen(space) + 1);
    return 0;
}

/* What may stand in a path as it is; all that a guest's name can have. */
static bool is_path_safe(const char *text)
{
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr("-._", *text))
            return false;
    return true;
}

static int path_safe(const struct cli_id *id, const char *text, struct err *err)
{
    if (is_path_safe(id->namespace_) && is_path_safe(id->name))
        return 0;
    return err_set(err, ERR_USAGE, 0, "%.80s: no guest has such a name", text);
}

int cli_path_id(const char *text, struct cli_id *out, struct err *err)
{
    return cli_split_name(text, out, err) < 0 ? -1 : path_safe(out, text, err);
}

int cli_one_guest(const struct cli_line *line, const char *text, struct cli_id *out,
                  struct err *err)
{
    if (cli_guest_id(line, text, out, err) < 0)
        return -1;
    if (!*out->namespace_)
        memcpy(out->namespace_, "default", sizeof("default"));
    return path_safe(out, text, err);
}
