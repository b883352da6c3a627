/* `roost logs`: what guests said: their log lines, stdout and stderr. */
#include "base/text.h"
#include "cli/journal.h"

#include <stdlib.h>
#include <string.h>

struct show {
    bool json;
    size_t shown;
};

/* Who said it; a line of the daemon's own about what is missing has no guest. */
static void print_text(const json_t *l, const char *level, const char *text)
{
    bool of_guest = *cli_text(l, "name") != 0;
    char *line = NULL;

    if (asprintf(&line, "%s %-5s %s%s%s%s%s", cli_text(l, "time"), level, cli_text(l, "namespace"),
                 of_guest ? "/" : "", cli_text(l, "name"), of_guest ? ": " : "", text) < 0)
        return;
    text_clean(line);
    puts(line);
    free(line);
}

/* As a line of the daemon's own log: time, level, guest, text. */
static void print_line(const json_t *l)
{
    uint64_t dropped = cli_count(l, "dropped");
    char note[64];

    snprintf(note, sizeof(note), "%llu line%s left out here", (unsigned long long)dropped,
             dropped == 1 ? " was" : "s were");
    if (dropped)
        print_text(l, "warn", note);
    print_text(l, cli_text(l, "level"), cli_text(l, "text"));
}

static bool each(void *ctx, json_t *object)
{
    struct show *s = ctx;

    s->shown++;
    if (!s->json)
        print_line(object);
    else if (json_dumpf(object, stdout, JSON_COMPACT) == 0)
        putchar('\n');
    return true;
}

static int run(const struct cli_line *line, struct err *err)
{
    const char *format = cli_value(line, "output");
    struct show s = {.json = format && strcmp(format, "json") == 0};
    AUTO_BUF struct buf target = {0};

    if (journal_target(&target, "/v1/logs", line, err) < 0 ||
        (cli_flag(line, "follow") && journal_check(line, err) < 0) ||
        cli_follow(cli_state(line), buf_cstr(&target), each, &s, err) < 0)
        return -1;
    return s.shown ? 0 : journal_check(line, err);
}

static const char *const formats[] = {"text", "json", NULL};
static const struct cli_option options[] = {
    JOURNAL_OPTIONS("all that is kept"),
    {.name = "output",
     .letter = 'o',
     .arg = "FORMAT",
     .words = formats,
     .help = "how to print it; json is a line for each object",
     .def = "text"},
    CLI_OPTION_STATE,
    {0},
};
static const char *const synopsis[] = {"[NAME | NAMESPACE/NAME] [options]", NULL};
static const struct cli_example examples[] = {
    {"of one guest, and what comes", "roost logs ring-0/ring-0 -f"},
    {"of all guests, the last five minutes", "roost logs --since 5m"},
    {"the last ten lines, for a program", "roost logs ring-0/ring-0 --tail 10 -o json"},
    {0},
};
static const enum err_code exits[] = {ERR_NOT_FOUND, ERR_DENIED, ERR_NET,
                                      ERR_TIMEOUT,   ERR_AGAIN,  ERR_NONE};
static const char *const see[] = {"events", "describe", NULL};

const struct verb verb_logs = {
    .name = "logs",
    .brief = "show what guests logged",
    .about = "Shows what guests wrote: by `log`, to stdout and to stderr, in the order in which it "
             "came. The daemon keeps a bounded number of lines of all guests together, in memory; "
             "older ones are in its own log. Where a guest logged faster than it may, a line says "
             "how many are missing.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .see = see,
    .args = CLI_GUEST,
    .run = run,
};
