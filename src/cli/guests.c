/* Lists of guests: choosing, sorting, rows of the table. */
#include "base/text.h"
#include "base/units.h"
#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_CHARACTERS 60 /* of an error in the table; `wide` shows all of it */

static bool matches(const json_t *guest, const struct cli_id *id)
{
    return (!*id->namespace_ || strcmp(cli_text(guest, "namespace"), id->namespace_) == 0) &&
           (!*id->name || strcmp(cli_text(guest, "name"), id->name) == 0);
}

/* ring-2 before ring-10; what has no name is last. */
static int compare(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    int nameless = (*cli_text(x, "name") == 0) - (*cli_text(y, "name") == 0);
    int order = strverscmp(cli_text(x, "namespace"), cli_text(y, "namespace"));

    if (nameless)
        return nameless;
    return order ? order : strverscmp(cli_text(x, "name"), cli_text(y, "name"));
}

json_t *cli_select(const json_t *items, const struct cli_id *id)
{
    size_t n = 0, all = json_array_size(items);
    json_t **chosen = calloc(all + 1, sizeof(json_t *)), *out = json_array();

    for (size_t i = 0; chosen && i < all; i++)
        if (matches(json_array_get(items, i), id))
            chosen[n++] = json_array_get(items, i);
    if (chosen)
        qsort(chosen, n, sizeof(json_t *), compare);
    for (size_t i = 0; i < n && out; i++)
        if (json_array_append(out, chosen[i]) < 0)
            break;
    if (out && (!chosen || json_array_size(out) < n)) {
        json_decref(out);
        out = NULL;
    }
    free(chosen);
    return out;
}

/* --- the table --- */

enum { NAMESPACE, NAME, STATE, WAKES, EVENTS, FAILURES, MEMORY, SNAPSHOT, AGE, MESSAGE, COLUMNS };
enum { MODULE = MESSAGE, SLEEPS, WIDE_MESSAGE, WIDE_COLUMNS };

int cli_guest_table(struct cli_table **out, bool wide, struct err *err)
{
    static const char *const narrow[] = {
        [NAMESPACE] = "NAMESPACE", [NAME] = "NAME",         [STATE] = "STATE",
        [WAKES] = "WAKES",         [EVENTS] = "EVENTS",     [FAILURES] = "FAILURES",
        [MEMORY] = "MEMORY",       [SNAPSHOT] = "SNAPSHOT", [AGE] = "AGE",
        [MESSAGE] = "MESSAGE"};
    static const char *const all[] = {
        [NAMESPACE] = "NAMESPACE", [NAME] = "NAME",         [STATE] = "STATE",
        [WAKES] = "WAKES",         [EVENTS] = "EVENTS",     [FAILURES] = "FAILURES",
        [MEMORY] = "MEMORY",       [SNAPSHOT] = "SNAPSHOT", [AGE] = "AGE",
        [MODULE] = "MODULE",       [SLEEPS] = "SLEEPS",     [WIDE_MESSAGE] = "MESSAGE"};

    return cli_table_new(out, wide ? all : narrow, wide ? WIDE_COLUMNS : COLUMNS, err);
}

/* Cuts text to so many characters, with three dots where something was cut. */
static void shorten(char *text, size_t characters)
{
    size_t seen = 0;
    char *cut = NULL;

    text_clean(text);
    for (char *p = text; *p; p++) {
        if (((unsigned char)*p & 0xc0) == 0x80)
            continue;
        if (seen == characters - 3)
            cut = p;
        if (seen++ == characters) {
            memcpy(cut, "...", 4);
            return;
        }
    }
}

static const char *dash(const char *text)
{
    return *text ? text : "-";
}

static const char *number(char buf[UNITS_TEXT_MAX], const json_t *guest, const char *key)
{
    snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64, cli_count(guest, key));
    return buf;
}

static const char *size(char buf[UNITS_TEXT_MAX], const json_t *guest, const char *key)
{
    uint64_t bytes = cli_count(guest, key);

    return bytes ? units_short_bytes(buf, bytes) : "-";
}

int cli_guest_row(struct cli_table *t, const json_t *guest, bool wide, int64_t now_s,
                  struct err *err)
{
    char text[WIDE_COLUMNS][UNITS_TEXT_MAX];
    const char *cells[WIDE_COLUMNS];
    char *message = strdup(cli_text(guest, "lastError"));
    uint64_t age;
    int rc;

    if (!message)
        return err_set(err, ERR_NOMEM, 0, "no memory for a row");
    cells[NAMESPACE] = dash(cli_text(guest, "namespace"));
    cells[NAME] = dash(cli_text(guest, "name"));
    cells[STATE] = dash(cli_text(guest, "state"));
    cells[WAKES] = number(text[WAKES], guest, "wakes");
    cells[EVENTS] = number(text[EVENTS], guest, "events");
    cells[FAILURES] = number(text[FAILURES], guest, "failures");
    cells[MEMORY] = size(text[MEMORY], guest, "memoryBytes");
    cells[SNAPSHOT] = size(text[SNAPSHOT], guest, "snapshotBytes");
    cells[AGE] =
        cli_seconds_since(guest, "created", now_s, &age) ? units_short_age(text[AGE], age) : "-";
    if (wide) {
        cells[MODULE] = dash(cli_text(guest, "module"));
        cells[SLEEPS] = number(text[SLEEPS], guest, "sleeps");
    } else if (*cli_text(guest, "name")) { /* a refused manifest has nothing else to show */
        shorten(message, MESSAGE_CHARACTERS);
    }
    cells[wide ? WIDE_MESSAGE : MESSAGE] = message;
    rc = cli_table_row(t, cells, err);
    free(message);
    return rc;
}
