/* Manifests from files and folders: one bad manifest is one error and touches no other. Names are
 * remembered with their place over a whole folder, so that the second guest of a name is refused
 * with the place of the first.
 */
#include "guest/spec.h"

#include "base/auto.h"
#include "base/limits.h"
#include "guest/spec_read.h"

#include <dirent.h>
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void each_fn(void *ctx, struct guest_spec *spec, const struct err *err);

/* Where a name was first seen. */
struct place {
    unsigned line;
    char *file;
    char name[2 * (SPEC_NAME_MAX + 1)]; /* namespace/name */
};

struct reader {
    each_fn *each;
    void *ctx;
    void *seen; /* tsearch tree of struct place */
    size_t guests;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static void place_free(void *p)
{
    struct place *place = p;

    free(place->file);
    free(place);
}

/* Notes the guest's name; -1 where it was there before, or too many were. */
static int note_place(struct reader *r, const struct guest_spec *s, struct err *err)
{
    struct place *mine = calloc(1, sizeof(*mine)), **found;

    if (!mine || !(mine->file = strdup(s->file))) {
        free(mine);
        return err_set(err, ERR_NOMEM, 0, "%s:%u: no memory", s->file, s->line);
    }
    mine->line = s->line;
    snprintf(mine->name, sizeof(mine->name), "%s/%s", s->namespace_, s->name);
    found = tsearch(mine, &r->seen, compare_places);
    if (found && *found == mine && ++r->guests <= SPEC_GUESTS_MAX)
        return 0;
    if (found && *found == mine)
        return err_set(err, ERR_LIMIT, 0, "%s:%u: more than %u guests", s->file, s->line,
                       SPEC_GUESTS_MAX);
    if (found)
        err_set(err, ERR_EXISTS, 0, "%s:%u:1: guest %s is already declared at %s:%u: rename one",
                s->file, s->line, mine->name, (*found)->file, (*found)->line);
    else
        err_set(err, ERR_NOMEM, 0, "%s:%u: no memory", s->file, s->line);
    place_free(mine);
    return -1;
}

/* The absolute folder of a file, symbolic links kept: a mounted config map swaps its folder. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *cwd = *path == '/' ? strdup("") : getcwd(NULL, 0), *dir = NULL;
    int n = slash ? (int)(slash - path) : 0;

    if (cwd && asprintf(&dir, "%s%s%.*s", cwd, *path != '/' && n ? "/" : "", n, path) < 0)
        dir = NULL;
    free(cwd);
    return dir;
}

static int read_file(struct reader *r, const char *path, struct err *err)
{
    AUTO_FREE char *dir = folder_of(path);
    struct yaml_doc *doc = NULL;
    int rc;

    if (!dir)
        return err_set(err, ERR_NOMEM, errno, "%s", path);
    if (strlen(dir) > SPEC_PATH_MAX)
        return err_set(err, ERR_LIMIT, 0, "%.80s...: the path is longer than %u bytes", path,
                       SPEC_PATH_MAX);
    rc = yaml_parse_file_each(&doc, path, SPEC_FILE_BYTES_MAX, err);
    for (size_t i = 0; i < yaml_count(doc); i++) {
        struct err why = {0};
        struct guest_spec *spec;

        if (yaml_root(doc, i) && yaml_is_null(yaml_root(doc, i)))
            continue; /* nothing between two --- */
        spec = spec_read_document(doc, dir, i, &why);
        if (spec && note_place(r, spec, &why) < 0) {
            guest_spec_free(spec);
            spec = NULL;
        }
        r->each(r->ctx, spec, spec ? NULL : &why);
    }
    yaml_doc_free(doc);
    return rc;
}

int guest_spec_read_file(const char *path, each_fn *each, void *ctx, struct err *err)
{
    struct reader r = {.each = each, .ctx = ctx};
    int rc = read_file(&r, path, err);

    tdestroy(r.seen, place_free);
    return rc;
}

static int is_manifest(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');

    return entry->d_name[0] != '.' && dot &&
           (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

/* Not by locale: the order is the same everywhere. */
static int compare_entries(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_entry(struct reader *r, const char *dir, const char *name)
{
    AUTO_FREE char *path = NULL;
    struct err err = {0};
    size_t len = strlen(dir);

    if (asprintf(&path, "%s%s%s", dir, len && dir[len - 1] == '/' ? "" : "/", name) < 0) {
        path = NULL;
        err_set(&err, ERR_NOMEM, 0, "%s/%s: no memory", dir, name);
        r->each(r->ctx, NULL, &err);
    } else if (read_file(r, path, &err) < 0) {
        r->each(r->ctx, NULL, &err);
    }
}

int guest_spec_read_dir(const char *dir, each_fn *each, void *ctx, struct err *err)
{
    struct reader r = {.each = each, .ctx = ctx};
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, is_manifest, compare_entries), rc = 0;

    if (n < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "%s", dir);
    if ((unsigned)n > SPEC_FILES_MAX)
        rc = err_set(err, ERR_LIMIT, 0, "%s: %d manifests, limit %u files in one folder", dir, n,
                     SPEC_FILES_MAX);
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            read_entry(&r, dir, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    tdestroy(r.seen, place_free);
    return rc;
}

void guest_spec_free(struct guest_spec *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->nenv; i++) {
        free(s->env[i].name);
        free(s->env[i].value);
    }
    for (size_t i = 0; i < s->nargs; i++)
        free(s->args[i]);
    for (size_t i = 0; i < s->nwatches; i++) {
        struct watch_spec *w = &s->watches[i];

        free(w->api_version);
        free(w->kind);
        for (size_t k = 0; k < w->nnamespaces; k++)
            free(w->namespaces[k]);
        free(w->namespaces);
    }
    free(s->env);
    free(s->args);
    free(s->watches);
    free(s->name);
    free(s->namespace_);
    free(s->module);
    free(s->service_account);
    free(s->file);
    free(s);
}
