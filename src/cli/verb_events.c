/* `roost events`: what happened to guests, when and why. A list is a table; with -f each comes as a
 * line as it happens, so its columns have fixed widths there. */
#include "base/text.h"
#include "cli/journal.h"

#include <stdlib.h>
#include <string.h>

struct show {
    enum cli_output output;
    bool follow;
    struct cli_table *table;
    json_t *items;
    struct err *err;
    bool failed;
    size_t shown;
};

enum { TIME, TYPE, REASON, GUEST, COUNT, MESSAGE, COLUMNS };

static void print_followed(const char *const cells[COLUMNS])
{
    char *text = NULL;

    if (asprintf(&text, "%-24s   %-7s   %-11s   %-24s   %5s   %s", cells[TIME], cells[TYPE],
                 cells[REASON], cells[GUEST], cells[COUNT], cells[MESSAGE]) < 0)
        return;
    text_clean(text);
    puts(text);
    free(text);
}

static bool take_row(struct show *s, const json_t *e)
{
    char guest[2 * CLI_NAME_SIZE] = "-", count[24];
    const char *cells[COLUMNS];

    if (*cli_text(e, "name"))
        snprintf(guest, sizeof(guest), "%s/%s", cli_text(e, "namespace"), cli_text(e, "name"));
    snprintf(count, sizeof(count), "%llu",
             (unsigned long long)(cli_count(e, "count") ? cli_count(e, "count") : 1));
    cells[TIME] = cli_text(e, "time");
    cells[TYPE] = cli_text(e, "type");
    cells[REASON] = cli_text(e, "reason");
    cells[GUEST] = guest;
    cells[COUNT] = count;
    cells[MESSAGE] = cli_text(e, "message");
    if (s->follow)
        print_followed(cells);
    else if (cli_table_row(s->table, cells, s->err) < 0)
        s->failed = true;
    return !s->failed;
}

static bool each(void *ctx, json_t *e)
{
    struct show *s = ctx;

    s->shown++;
    if (s->output == OUTPUT_TABLE)
        return take_row(s, e);
    if (!s->follow)
        return json_array_append(s->items, e) == 0;
    if (s->output == OUTPUT_YAML) {
        puts("---");
        s->failed = cli_print_yaml(e, stdout, s->err) < 0;
    } else if (json_dumpf(e, stdout, JSON_COMPACT) == 0) {
        putchar('\n');
    }
    return !s->failed;
}

static int finish(const struct show *s, struct err *err)
{
    json_t *list;
    int rc;

    if (s->follow)
        return 0;
    if (s->output == OUTPUT_TABLE) {
        if (cli_table_rows(s->table))
            cli_table_flush(s->table, 0, stdout);
        else
            fputs("There are no events.\n", stderr);
        return 0;
    }
    list = json_pack("{s:O}", "items", s->items);
    rc = list ? cli_print(list, s->output, stdout, err) : err_set(err, ERR_NOMEM, 0, "no memory");
    json_decref(list);
    return rc;
}

static int run(const struct cli_line *line, struct err *err)
{
    static const char *const headers[COLUMNS] = {"TIME",  "TYPE",  "REASON",
                                                 "GUEST", "COUNT", "MESSAGE"};
    struct show s = {.output = cli_output(line),
                     .follow = cli_flag(line, "follow"),
                     .items = json_array(),
                     .err = err};
    AUTO_BUF struct buf target = {0};
    int rc = cli_table_new(&s.table, headers, COLUMNS, err);

    if (rc == 0)
        rc = journal_target(&target, "/v1/events", line, err);
    if (rc == 0 && s.follow)
        rc = journal_check(line, err);
    if (rc == 0 && s.follow && s.output == OUTPUT_TABLE)
        print_followed(headers);
    if (rc == 0)
        rc = cli_follow(cli_state(line), buf_cstr(&target), each, &s, err);
    if (rc == 0 && !s.failed && !s.shown)
        rc = journal_check(line, err);
    if (rc == 0)
        rc = s.failed ? -1 : finish(&s, err);
    cli_table_free(s.table);
    json_decref(s.items);
    return rc;
}

static const struct cli_option options[] = {
    JOURNAL_OPTIONS("all that are kept"),
    CLI_OPTION_OUTPUT(cli_formats_one),
    CLI_OPTION_STATE,
    {0},
};
static const char *const synopsis[] = {"[NAME | NAMESPACE/NAME] [options]", NULL};
static const struct cli_example examples[] = {
    {"of all guests", "roost events"},
    {"what goes wrong, as it happens",
     "roost events -f -o json | jq 'select(.type == \"Warning\")'"},
    {"of one guest, the last hour", "roost events ring-0/ring-0 --since 1h"},
    {0},
};
static const enum err_code exits[] = {ERR_NOT_FOUND, ERR_DENIED, ERR_NET,
                                      ERR_TIMEOUT,   ERR_AGAIN,  ERR_NONE};
static const char *const see[] = {"logs", "describe", NULL};

const struct verb verb_events = {
    .name = "events",
    .brief = "show what happened to guests",
    .about = "Shows what happened to guests: that they were woken, slept, trapped, were refused "
             "something, began afresh, were applied or deleted, with the time and the cause. "
             "What repeats is one event with a count. The daemon keeps a bounded number of them, "
             "in memory.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .args = CLI_GUEST,
    .run = run,
};
