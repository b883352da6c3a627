/* What logs and events have in common: which lines, of whom, since when. */
#include "cli/journal.h"

#include "base/units.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TAIL_MAX 1000000ul

/* "5m", or a time as it is: RFC 3339 begins with a year. */
static int since_of(char out[40], const char *text, struct err *err)
{
    struct timespec now;
    struct tm tm;
    uint64_t ns;
    time_t s;

    if (strlen(text) >= 20 && text[4] == '-') {
        snprintf(out, 40, "%.39s", text);
        return 0;
    }
    if (!units_parse_duration(text, &ns))
        return err_set(err, ERR_USAGE, 0,
                       "--since %.40s: a duration such as 90s or 5m, or a time such as "
                       "2026-01-31T12:00:00Z",
                       text);
    clock_gettime(CLOCK_REALTIME, &now);
    s = now.tv_sec - (time_t)(ns / 1000000000u);
    if (s < 0 || !gmtime_r(&s, &tm))
        return err_set(err, ERR_USAGE, 0, "--since %.40s: before all time", text);
    strftime(out, 40, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return 0;
}

static int check_tail(const char *text, struct err *err)
{
    if (strlen(text) > 7 || text[strspn(text, "0123456789")] || strtoul(text, NULL, 10) > TAIL_MAX)
        return err_set(err, ERR_USAGE, 0, "--tail %.40s: a number from 0 to %lu", text, TAIL_MAX);
    return 0;
}

/* [guest] [NAME | NAMESPACE/NAME]; an empty name: of all. */
static int read_id(struct cli_id *out, const struct cli_line *line, struct err *err)
{
    int kind = line->nargs == 2 && cli_is_kind(line->args[0]);

    if (line->nargs > kind + 1)
        return err_set(err, ERR_USAGE, 0, "%s takes one guest, and %.40s is one more",
                       line->verb->name, line->args[kind + 1]);
    if (line->nargs)
        return cli_one_guest(line, line->args[kind], out, err);
    return cli_guest_id(line, NULL, out, err);
}

int journal_check(const struct cli_line *line, struct err *err)
{
    char target[2 * CLI_NAME_SIZE + 16];
    json_t *guest = NULL;
    struct cli_id id;

    if (read_id(&id, line, err) < 0)
        return -1;
    if (!*id.name)
        return 0;
    snprintf(target, sizeof(target), "/v1/guests/%s/%s", id.namespace_, id.name);
    if (cli_fetch(&guest, cli_state(line), target, err) == 0) {
        json_decref(guest);
        return 0;
    }
    if (err->code == ERR_NOT_FOUND)
        err_set(err, ERR_NOT_FOUND, 0, "guest %s/%s: there is none (see `roost get guests`)",
                id.namespace_, id.name);
    return -1;
}

int journal_target(struct buf *out, const char *path, const struct cli_line *line, struct err *err)
{
    const char *since = cli_value(line, "since"), *tail = cli_value(line, "tail");
    char time[40];
    struct cli_id id;

    if (read_id(&id, line, err) < 0 || (since && since_of(time, since, err) < 0) ||
        (tail && check_tail(tail, err) < 0))
        return -1;
    if (buf_puts(out, path, err) < 0 ||
        (*id.namespace_ && cli_query(out, "namespace", id.namespace_, err) < 0) ||
        (*id.name && cli_query(out, "name", id.name, err) < 0) ||
        (cli_flag(line, "follow") && cli_query(out, "follow", "1", err) < 0) ||
        (since && cli_query(out, "since", time, err) < 0) ||
        (tail && cli_query(out, "tail", tail, err) < 0))
        return -1;
    return buf_cstr(out) ? 0 : err_set(err, ERR_NOMEM, 0, "no memory");
}
