/* `roost reference man|markdown DIR`: the manual pages, or docs/reference, written into a folder.
 * For the build and for whoever changes a verb; not listed. */
#include "base/text.h"
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

struct form {
    const char *name, *program, *page; /* names of files; page has the verb's in it */
    void (*print)(const struct verb *v, FILE *out);
};

static const struct form forms[] = {
    {"man", "roost.1", "roost-%s.1", cli_man},
    {"markdown", "README.md", "%s.md", cli_markdown},
};

static int write_page(const struct form *f, const struct verb *v, const char *dir, struct err *err)
{
    char name[NAME_MAX], path[PATH_MAX];
    const char *at = strchr(f->page, '%');
    FILE *out;
    int rc;

    if (v)
        snprintf(name, sizeof(name), "%.*s%s%s", (int)(at - f->page), f->page, v->name, at + 2);
    else
        snprintf(name, sizeof(name), "%s", f->program);
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        return err_set(err, ERR_LIMIT, 0, "%.80s...: the path is too long", dir);
    out = fopen(path, "we");
    if (!out)
        return err_set(err, ERR_IO, errno, "%s", path);
    f->print(v, out);
    rc = ferror(out);
    if (fclose(out) != 0 || rc)
        return err_set(err, ERR_IO, errno, "%s", path);
    return 0;
}

static int run(const struct cli_line *line, struct err *err)
{
    const struct form *f = NULL;
    const char *dir = line->nargs == 2 ? line->args[1] : NULL;

    for (size_t i = 0; dir && i < sizeof(forms) / sizeof(forms[0]); i++)
        if (strcmp(forms[i].name, line->args[0]) == 0)
            f = &forms[i];
    if (!f)
        return err_set(err, ERR_USAGE, 0, "reference takes man or markdown, and a folder");
    if (mkdir(dir, 0777) < 0 && errno != EEXIST)
        return err_set(err, ERR_IO, errno, "%s", dir);
    if (write_page(f, NULL, dir, err) < 0)
        return -1;
    for (size_t i = 0; cli_verbs[i]; i++)
        if (!cli_verbs[i]->hidden && write_page(f, cli_verbs[i], dir, err) < 0)
            return -1;
    return 0;
}

static const struct cli_option options[] = {{0}};
static const char *const synopsis[] = {"man | markdown DIR", NULL};
static const char *const words[] = {"man", "markdown", NULL};
static const struct cli_example examples[] = {
    {"docs/reference, after a change of a verb's documentation",
     "roost reference markdown docs/reference"},
    {0},
};
static const enum err_code exits[] = {ERR_IO, ERR_NONE};

const struct verb verb_reference = {
    .name = "reference",
    .brief = "write the manual pages or docs/reference",
    .about = "Writes the manual pages (troff) or the pages of docs/reference (Markdown) into a "
             "folder, made of what --help shows. A test fails while docs/reference differs.",
    .synopsis = synopsis,
    .options = options,
    .examples = examples,
    .exits = exits,
    .args = CLI_DIR,
    .arg_words = words,
    .hidden = true,
    .run = run,
};
