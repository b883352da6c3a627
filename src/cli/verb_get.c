/* `roost get`: a table of guests, or one of them. --watch follows the daemon's own stream of
 * changes and ends with Ctrl-C or with the daemon.
 */
#include "base/text.h"
#include "cli/cli.h"

#include <string.h>
#include <time.h>

struct wanted {
    const struct cli_line *line;
    enum cli_output output;
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
    w->line = line;
    w->output = cli_output(line);
    return cli_guest_id(line, n > first ? line->args[first] : NULL, &w->id, err);
}

/* The chosen guests, sorted. */
static int fetch(json_t **out, const struct wanted *w, struct err *err)
{
    AUTO_BUF struct buf target = {0};
    json_t *list = NULL;

    if (cli_guests_target(&target, w->line, &w->id, err) < 0 ||
        cli_fetch(&list, cli_state(w->line), buf_cstr(&target), err) < 0)
        return -1;
    *out = cli_select(json_object_get(list, "items"), &w->id);
    json_decref(list);
    return *out ? 0 : err_set(err, ERR_NOMEM, 0, "no memory for the list");
}

/* --- printing --- */

static int print_table(const json_t *guests, struct cli_table *t, bool wide, struct err *err)
{
    for (size_t i = 0; i < json_array_size(guests); i++)
        if (cli_guest_row(t, json_array_get(guests, i), wide, time(NULL), err) < 0)
            return -1;
    cli_table_flush(t, 0, stdout);
    return 0;
}

static void print_name(const json_t *guest)
{
    char name[2 * CLI_NAME_SIZE];

    if (!*cli_text(guest, "name"))
        return; /* a manifest that was refused */
    snprintf(name, sizeof(name), "%s/%s", cli_text(guest, "namespace"), cli_text(guest, "name"));
    text_clean(name);
    puts(name);
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
        for (size_t i = 0; i < json_array_size(guests); i++)
            print_name(json_array_get(guests, i));
        return 0;
    }
    return print_table(guests, t, w->output == OUTPUT_WIDE, err);
}

/* --- watching --- */

struct watch {
    const struct wanted *wanted;
    struct cli_table *table;
    json_t *first; /* what was there at the beginning, until all of it came */
    struct err *err;
    bool failed;
};

static int print_change(const struct watch *w, json_t *guest, bool gone)
{
    json_t *one;
    int rc;

    if (w->wanted->output == OUTPUT_YAML)
        puts("---");
    if (w->wanted->output == OUTPUT_JSON || w->wanted->output == OUTPUT_YAML)
        return cli_print(guest, w->wanted->output, stdout, w->err);
    if (gone)
        json_object_set_new(guest, "state", json_string("Deleted"));
    one = json_pack("[O]", guest);
    rc = one ? print(one, w->wanted, w->table, w->err) : err_set(w->err, ERR_NOMEM, 0, "no memory");
    json_decref(one);
    return rc;
}

/* All that was there has come: one table, sorted. */
static int print_first(struct watch *w)
{
    json_t *sorted = cli_select(w->first, &w->wanted->id);
    int rc = sorted ? 0 : err_set(w->err, ERR_NOMEM, 0, "no memory");

    if (sorted && w->wanted->output <= OUTPUT_WIDE)
        rc = print(sorted, w->wanted, w->table, w->err);
    for (size_t i = 0; w->wanted->output > OUTPUT_WIDE && rc == 0 && i < json_array_size(sorted);
         i++)
        rc = print_change(w, json_array_get(sorted, i), false);
    json_decref(sorted);
    json_decref(w->first);
    w->first = NULL;
    return rc;
}

static bool take_change(void *ctx, json_t *change)
{
    struct watch *w = ctx;
    const char *type = cli_text(change, "type");
    json_t *guest = json_object_get(change, "object");
    int rc = 0;

    if (strcmp(type, "SYNCED") == 0)
        rc = w->first ? print_first(w) : 0;
    else if (w->first)
        rc = json_array_append(w->first, guest);
    else if (!*w->wanted->id.name || strcmp(cli_text(guest, "name"), w->wanted->id.name) == 0)
        rc = print_change(w, guest, strcmp(type, "DELETED") == 0);
    w->failed = rc < 0;
    return !w->failed;
}

static int watch(const struct wanted *wanted, struct cli_table *t, struct err *err)
{
    struct watch w = {.wanted = wanted, .table = t, .first = json_array(), .err = err};
    AUTO_BUF struct buf target = {0};
    int rc = cli_guests_target(&target, wanted->line, &wanted->id, err);

    if (rc == 0)
        rc = cli_query(&target, "watch", "1", err);
    if (rc == 0)
        rc = cli_follow(cli_state(wanted->line), buf_cstr(&target), take_change, &w, err);
    json_decref(w.first);
    return w.failed ? -1 : rc;
}

/* --- the verb --- */

static int get(const struct wanted *w, struct cli_table *t, struct err *err)
{
    const char *space = w->id.namespace_, *name = w->id.name;
    bool document = w->output == OUTPUT_JSON || w->output == OUTPUT_YAML;
    json_t *guests = NULL;
    int rc;

    if (fetch(&guests, w, err) < 0)
        return -1;
    if (json_array_size(guests) == 0 && *name) {
        json_decref(guests);
        return err_set(err, ERR_NOT_FOUND, 0,
                       "guest %s%s%s: there is none (see `roost get guests`)", space,
                       *space ? "/" : "", name);
    }
    if (json_array_size(guests) == 0 && w->output <= OUTPUT_WIDE)
        fprintf(stderr, "There are no guests%s%s.\n", *space ? " in namespace " : "", space);
    rc = json_array_size(guests) || document ? print(guests, w, t, err) : 0;
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
    rc = cli_flag(line, "watch") ? watch(&w, t, err) : get(&w, t, err);
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
    CLI_OPTION_SELECTOR,
    CLI_OPTION_OUTPUT(cli_formats_list),
    {.name = "watch", .letter = 'w', .help = "go on: each guest that changed, as it changes"},
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
    {"with a label, as names", "roost get guests -l tier=front -o name"},
    {"all that the list has of one", "roost get ring-0/ring-0 -o yaml"},
    {0},
};
static const enum err_code exits[] = {ERR_NOT_FOUND, ERR_DENIED, ERR_NET, ERR_TIMEOUT, ERR_NONE};
static const char *const see[] = {"describe", "top", "events", NULL};

const struct verb verb_get = {
    .name = "get",
    .brief = "show guests in a table",
    .about =
        "Shows guests: their state, what they did, what they hold. A manifest that was "
        "refused is in the table too, as Rejected, with its error; it has no name. `-o json` "
        "and `-o yaml` print a list, `items`; a guest that was asked for by name, and each change "
        "with --watch, alone. A guest that went is shown by --watch as Deleted.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .args = CLI_GUEST,
    .arg_words = words,
    .run = run,
};
