/* `roost get`: a table of guests, or one of them. --watch asks once a second and prints what
 * changed; it ends with Ctrl-C or with the daemon.
 */
#include "base/text.h"
#include "cli/cli.h"

#include <string.h>
#include <time.h>

#define WATCH_PERIOD_S 1

struct wanted {
    const char *state;
    enum cli_output output;
    bool watch;
    struct cli_id id; /* empty: any */
};

/* What is asked for: [guests] [NAME | NAMESPACE/NAME]. */
static int wanted_read(struct wanted *w, const struct cli_line *line, struct err *err)
{
    int n = line->nargs, first = n > 0 && cli_is_kind(line->args[0]) ? 1 : 0;

    if (n == 0)
        return err_set(err, ERR_USAGE, 0, "get what? (`roost get guests`)");
    if (n - first > 1)
        return err_set(err, ERR_USAGE, 0, "get takes one name, and %.40s is one more",
                       line->args[first + 1]);
    if (!first && !strchr(line->args[0], '/'))
        return err_set(err, ERR_USAGE, 0,
                       "get %.40s: guests is what there is to get (`roost get guests %.40s`?)",
                       line->args[0], line->args[0]);
    if (cli_flag(line, "all-namespaces") && cli_flag(line, "namespace"))
        return err_set(err, ERR_USAGE, 0, "-A and -n: one namespace or all, not both");
    w->state = cli_state(line);
    w->output = cli_output(line);
    w->watch = cli_flag(line, "watch");
    return cli_guest_id(line, n > first ? line->args[first] : NULL, &w->id, err);
}

/* The chosen guests, sorted. */
static int fetch(json_t **out, const struct wanted *w, struct err *err)
{
    json_t *list = NULL;

    if (cli_fetch(&list, w->state, "/v1/guests", err) < 0)
        return -1;
    *out = cli_select(json_object_get(list, "items"), &w->id);
    json_decref(list);
    return *out ? 0 : err_set(err, ERR_NOMEM, 0, "no memory for the list");
}

static int print_table(const json_t *guests, struct cli_table *t, bool wide, struct err *err)
{
    for (size_t i = 0; i < json_array_size(guests); i++)
        if (cli_guest_row(t, json_array_get(guests, i), wide, time(NULL), err) < 0)
            return -1;
    cli_table_flush(t, 0, stdout);
    return 0;
}

static void print_names(const json_t *guests)
{
    for (size_t i = 0; i < json_array_size(guests); i++) {
        const json_t *guest = json_array_get(guests, i);
        char name[2 * CLI_NAME_SIZE];

        if (!*cli_text(guest, "name"))
            continue; /* a manifest that was refused */
        snprintf(name, sizeof(name), "%s/%s", cli_text(guest, "namespace"),
                 cli_text(guest, "name"));
        text_clean(name);
        puts(name);
    }
}

/* One guest that was asked for by name is printed as itself, more as a list. */
static int print_document(const json_t *guests, const struct wanted *w, struct err *err)
{
    json_t *list;
    int rc;

    if (*w->id.name && json_array_size(guests) == 1)
        return cli_print(json_array_get(guests, 0), w->output, stdout, err);
    list = json_pack("{s:O}", "items", guests);
    if (!list)
        return err_set(err, ERR_NOMEM, 0, "no memory for the list");
    rc = cli_print(list, w->output, stdout, err);
    json_decref(list);
    return rc;
}

static int print(const json_t *guests, const struct wanted *w, struct cli_table *t, struct err *err)
{
    if (w->output == OUTPUT_JSON || w->output == OUTPUT_YAML)
        return print_document(guests, w, err);
    if (w->output == OUTPUT_NAME) {
        print_names(guests);
        return 0;
    }
    return print_table(guests, t, w->output == OUTPUT_WIDE, err);
}

/* Takes `before`. Ends with an error, or when nobody reads the output any more. */
static int watch(json_t *before, const struct wanted *w, struct cli_table *t, struct err *err)
{
    json_t *now = NULL, *changed;
    int rc = 0;

    while (rc == 0 && fflush(stdout) == 0) {
        nanosleep(&(struct timespec){.tv_sec = WATCH_PERIOD_S}, NULL);
        rc = fetch(&now, w, err);
        if (rc < 0)
            break;
        changed = cli_changed(before, now);
        if (changed && json_array_size(changed))
            rc = print(changed, w, t, err);
        json_decref(changed);
        json_decref(before);
        before = now;
    }
    json_decref(before);
    return rc;
}

static int get(const struct wanted *w, struct cli_table *t, struct err *err)
{
    const char *space = w->id.namespace_, *name = w->id.name;
    bool document = w->output == OUTPUT_JSON || w->output == OUTPUT_YAML;
    json_t *guests = NULL;
    int rc;

    if (fetch(&guests, w, err) < 0)
        return -1;
    if (json_array_size(guests) == 0 && *name && !w->watch) {
        json_decref(guests);
        return err_set(err, ERR_NOT_FOUND, 0,
                       "guest %s%s%s: there is none (see `roost get guests`)", space,
                       *space ? "/" : "", name);
    }
    if (json_array_size(guests) == 0 && w->output <= OUTPUT_WIDE)
        fprintf(stderr, "There are no guests%s%s.\n", *space ? " in namespace " : "", space);
    rc = json_array_size(guests) || document ? print(guests, w, t, err) : 0;
    if (rc == 0 && w->watch)
        return watch(guests, w, t, err);
    json_decref(guests);
    return rc;
}

static int run(const struct cli_line *line, struct err *err)
{
    struct wanted w = {0};
    struct cli_table *t = NULL;
    int rc;

    if (wanted_read(&w, line, err) < 0 || cli_guest_table(&t, w.output == OUTPUT_WIDE, err) < 0)
        return -1;
    rc = get(&w, t, err);
    cli_table_free(t);
    return rc;
}

static const struct cli_option options[] = {
    {.name = "namespace",
     .letter = 'n',
     .arg = "NAME",
     .what = CLI_SPACE,
     .help = "only guests of this namespace",
     .def = "of all"},
    {.name = "all-namespaces", .letter = 'A', .help = "of all namespaces, as without -n"},
    CLI_OPTION_OUTPUT(cli_formats_list),
    {.name = "watch", .letter = 'w', .help = "go on: each second, what has changed"},
    CLI_OPTION_STATE,
    {0},
};
static const char *const synopsis[] = {"guests [NAME | NAMESPACE/NAME] [options]",
                                       "NAMESPACE/NAME [options]", NULL};
static const char *const words[] = {"guests", NULL};
static const struct cli_example examples[] = {
    {"all guests", "roost get guests"},
    {"of one namespace, with module and whole messages", "roost get guests -n ring-0 -o wide"},
    {"what changes, until Ctrl-C", "roost get guests --watch"},
    {"all that the list has of one", "roost get ring-0/ring-0 -o yaml"},
    {0},
};
static const enum err_code exits[] = {ERR_NOT_FOUND, ERR_DENIED, ERR_NET, ERR_TIMEOUT, ERR_NONE};
static const char *const see[] = {"describe", NULL};

const struct verb verb_get = {
    .name = "get",
    .brief = "show guests in a table",
    .about = "Shows guests: their state, what they did, what they hold. A manifest that was "
             "refused is in the table too, as Rejected, with its error; it has no name. `-o json` "
             "and `-o yaml` print a list, `items`; a guest that was asked for by name alone.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .args = CLI_GUEST,
    .arg_words = words,
    .run = run,
};
