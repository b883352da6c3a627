/* Columns as wide as their widest cell (in characters, not bytes), three spaces between them. */
#include "cli/cli.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define COLUMN_GAP 3

struct cli_table {
    const char *const *headers;
    size_t ncols, nrows, room;
    char **cells;   /* row after row */
    size_t *widths; /* of the rows that were flushed; NULL: none was */
};

int cli_table_new(struct cli_table **out, const char *const *headers, size_t ncols, struct err *err)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return err_set(err, ERR_NOMEM, 0, "no memory for a table");
    (*out)->headers = headers;
    (*out)->ncols = ncols;
    return 0;
}

int cli_table_row(struct cli_table *t, const char *const *cells, struct err *err)
{
    if (t->nrows == t->room) {
        size_t room = t->room ? t->room * 2 : 64;
        char **grown = reallocarray(t->cells, room * t->ncols, sizeof(char *));

        if (!grown)
            return err_set(err, ERR_NOMEM, 0, "no memory for %zu rows", room);
        t->cells = grown;
        t->room = room;
    }
    for (size_t i = 0; i < t->ncols; i++) {
        char *cell = strdup(cells[i] ? cells[i] : "");

        if (!cell) {
            while (i > 0)
                free(t->cells[t->nrows * t->ncols + --i]);
            return err_set(err, ERR_NOMEM, 0, "no memory for a row");
        }
        text_clean(cell);
        t->cells[t->nrows * t->ncols + i] = cell;
    }
    t->nrows++;
    return 0;
}

/* Characters of UTF-8. */
static size_t width(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static size_t column_width(const struct cli_table *t, size_t col)
{
    size_t widest = width(t->headers[col]);

    if (t->widths && t->widths[col] > widest)
        widest = t->widths[col];

    for (size_t row = 0; row < t->nrows; row++) {
        size_t w = width(t->cells[row * t->ncols + col]);

        widest = w > widest ? w : widest;
    }
    return widest;
}

/* No blanks at the end of a line. */
static void print_line(const char *const *cells, const size_t *widths, size_t ncols, int indent,
                       FILE *out)
{
    size_t blanks = (size_t)indent; /* before the next cell that is not empty */

    for (size_t i = 0; i < ncols; i++) {
        if (*cells[i])
            fprintf(out, "%*s%s", (int)blanks, "", cells[i]);
        blanks = (*cells[i] ? 0 : blanks) + widths[i] - width(cells[i]) + COLUMN_GAP;
    }
    fputc('\n', out);
}

static void free_rows(struct cli_table *t)
{
    for (size_t i = 0; i < t->nrows * t->ncols; i++)
        free(t->cells[i]);
    t->nrows = 0;
}

void cli_table_flush(struct cli_table *t, int indent, FILE *out)
{
    size_t *widths = calloc(t->ncols, sizeof(*widths));

    if (!widths)
        return;
    for (size_t i = 0; i < t->ncols; i++)
        widths[i] = column_width(t, i);
    if (!t->widths)
        print_line(t->headers, widths, t->ncols, indent, out);
    for (size_t row = 0; row < t->nrows; row++)
        print_line((const char *const *)&t->cells[row * t->ncols], widths, t->ncols, indent, out);
    free_rows(t);
    free(t->widths);
    t->widths = widths;
}

size_t cli_table_rows(const struct cli_table *t)
{
    return t->nrows;
}

void cli_table_free(struct cli_table *t)
{
    if (!t)
        return;
    free_rows(t);
    free(t->cells);
    free(t->widths);
    free(t);
}
