/* `roost get`: a table of guests, or one of them. --watch asks once a second and prints what
 * changed; it ends with Ctrl-C or with the daemon.
 */
#include "base/text.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WATCH_PERIOD_S 1
#define NAME_SIZE      256

static const char help[] =
    "Shows guests: their state, what they did, what they hold.\n"
    "\n"
    "Usage: roost get guests [NAME | NAMESPACE/NAME] [options]\n"
    "       roost get NAMESPACE/NAME [options]\n"
    "\n"
    "Options:\n"
    "  -n, --namespace NAME  only guests of this namespace (default: of all)\n"
    "  -o, --output FORMAT   table, wide, json or name (default table)\n"
    "  -w, --watch           go on: each second, what has changed\n"
    "      --state DIR       the daemon's state directory (default $ROOST_STATE, else\n"
    "                        /var/lib/roost)\n"
    "  -h, --help            this text\n"
    "\n"
    "Examples:\n"
    "  roost get guests\n"
    "  roost get guests -n ring-0 -o wide\n"
    "  roost get guests --watch\n"
    "  roost get ring-0/ring-0 -o json\n";

struct wanted {
    struct cli_opts opts;
    char namespace_[NAME_SIZE], name[NAME_SIZE]; /* empty: any */
};

static bool is_kind(const char *word)
{
    return strcmp(word, "guests") == 0 || strcmp(word, "guest") == 0;
}

/* What is asked for: [guests] [NAME | NAMESPACE/NAME]. */
static int wanted_read(struct wanted *w, struct err *err)
{
    int n = w->opts.nargs, first = n > 0 && is_kind(w->opts.args[0]) ? 1 : 0;

    if (n == 0)
        return err_set(err, ERR_USAGE, 0, "get what? (`roost get guests`)");
    if (n - first > 1)
        return err_set(err, ERR_USAGE, 0, "get takes one name, and %.40s is one more",
                       w->opts.args[first + 1]);
    if (!first && !strchr(w->opts.args[0], '/'))
        return err_set(err, ERR_USAGE, 0,
                       "get %.40s: guests is what there is to get (`roost get guests %.40s`?)",
                       w->opts.args[0], w->opts.args[0]);
    if (n > first &&
        cli_split_name(w->opts.args[first], w->namespace_, w->name, NAME_SIZE, err) < 0)
        return -1;
    if (!w->opts.namespace_)
        return 0;
    if (*w->namespace_ && strcmp(w->namespace_, w->opts.namespace_) != 0)
        return err_set(err, ERR_USAGE, 0, "-n %.40s, but the name says %.40s", w->opts.namespace_,
                       w->namespace_);
    if (strlen(w->opts.namespace_) >= NAME_SIZE)
        return err_set(err, ERR_USAGE, 0, "-n %.40s...: no namespace is that long",
                       w->opts.namespace_);
    memcpy(w->namespace_, w->opts.namespace_, strlen(w->opts.namespace_) + 1);
    return 0;
}

/* The chosen guests, sorted. */
static int fetch(json_t **out, const struct wanted *w, struct err *err)
{
    json_t *list = NULL;

    if (cli_fetch(&list, w->opts.state, "/v1/guests", err) < 0)
        return -1;
    *out = cli_select(json_object_get(list, "items"), *w->namespace_ ? w->namespace_ : NULL,
                      *w->name ? w->name : NULL);
    json_decref(list);
    return *out ? 0 : err_set(err, ERR_NOMEM, 0, "no memory for the list");
}

static int print_table(const json_t *guests, struct cli_table *t, bool wide, struct err *err)
{
    size_t from = cli_table_rows(t);

    for (size_t i = 0; i < json_array_size(guests); i++)
        if (cli_guest_row(t, json_array_get(guests, i), wide, time(NULL), err) < 0)
            return -1;
    cli_table_print(t, from, 0, stdout);
    return 0;
}

static void print_names(const json_t *guests)
{
    for (size_t i = 0; i < json_array_size(guests); i++) {
        const json_t *guest = json_array_get(guests, i);
        char name[2 * NAME_SIZE];

        if (!*cli_text(guest, "name"))
            continue; /* a manifest that was refused */
        snprintf(name, sizeof(name), "%s/%s", cli_text(guest, "namespace"),
                 cli_text(guest, "name"));
        text_clean(name);
        puts(name);
    }
}

/* One guest that was asked for by name is printed as itself, more as a list. */
static int print_json(const json_t *guests, const struct wanted *w, struct err *err)
{
    json_t *list;
    int rc;

    if (*w->name && json_array_size(guests) == 1)
        return cli_print_json(json_array_get(guests, 0), stdout, err);
    list = json_pack("{s:O}", "items", guests);
    if (!list)
        return err_set(err, ERR_NOMEM, 0, "no memory for the list");
    rc = cli_print_json(list, stdout, err);
    json_decref(list);
    return rc;
}

static int print(const json_t *guests, const struct wanted *w, struct cli_table *t, struct err *err)
{
    if (w->opts.output == OUTPUT_JSON)
        return print_json(guests, w, err);
    if (w->opts.output == OUTPUT_NAME) {
        print_names(guests);
        return 0;
    }
    return print_table(guests, t, w->opts.output == OUTPUT_WIDE, err);
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
    json_t *guests = NULL;
    int rc;

    if (fetch(&guests, w, err) < 0)
        return -1;
    if (json_array_size(guests) == 0 && *w->name && !w->opts.watch) {
        json_decref(guests);
        return err_set(err, ERR_NOT_FOUND, 0,
                       "guest %s%s%s: there is none (see `roost get guests`)", w->namespace_,
                       *w->namespace_ ? "/" : "", w->name);
    }
    if (json_array_size(guests) == 0 && w->opts.output <= OUTPUT_WIDE) {
        fputs("There are no guests", stderr);
        fprintf(stderr, "%s%s.\n", *w->namespace_ ? " in namespace " : "", w->namespace_);
    }
    rc = json_array_size(guests) || w->opts.output == OUTPUT_JSON ? print(guests, w, t, err) : 0;
    if (rc == 0 && w->opts.watch)
        return watch(guests, w, t, err);
    json_decref(guests);
    return rc;
}

int verb_get(int argc, char **argv, struct err *err)
{
    struct wanted w = {0};
    struct cli_table *t = NULL;
    int rc;

    if (cli_options(&w.opts, argc, argv, CLI_NAMESPACE | CLI_OUTPUT | CLI_WATCH, help, err) < 0)
        return -1;
    if (w.opts.helped)
        return 0;
    if (wanted_read(&w, err) < 0 || cli_guest_table(&t, w.opts.output == OUTPUT_WIDE, err) < 0)
        return -1;
    rc = get(&w, t, err);
    cli_table_free(t);
    return rc;
}
