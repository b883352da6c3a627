#include "cli/manifests.h"

#include "base/auto.h"
#include "base/limits.h"
#include "base/yaml.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --- reading --- */

static int read_stream(struct buf *out, FILE *f, const char *name, struct err *err)
{
    char block[16384];
    size_t n;

    while ((n = fread(block, 1, sizeof(block), f)) > 0)
        if (buf_append(out, block, n, err) < 0)
            return err_wrap(err, "%s", name);
    return ferror(f) ? err_set(err, ERR_IO, errno, "%s", name) : 0;
}

/* What a JSON string can be. */
static bool is_text(struct buf *text)
{
    json_t *string = buf_cstr(text) ? json_stringn((const char *)text->data, text->len) : NULL;
    bool is = string && strlen((const char *)text->data) == text->len;

    json_decref(string);
    return is;
}

static int add(struct manifests *m, const char *name, const char *dir, struct buf *text,
               struct err *err)
{
    struct manifest_file *f;

    if (m->n == SPEC_FILES_MAX)
        return err_set(err, ERR_LIMIT, 0, "%s: more than %u files", name, SPEC_FILES_MAX);
    if (m->n == m->room) {
        size_t room = m->room ? 2 * m->room : 16;
        struct manifest_file *grown = reallocarray(m->files, room, sizeof(*grown));

        if (!grown)
            return err_set(err, ERR_NOMEM, 0, "no memory for %zu files", room);
        m->files = grown;
        m->room = room;
    }
    if (!is_text(text))
        return err_set(err, ERR_INVALID, 0, "%s: no UTF-8 text", name);
    f = &m->files[m->n++];
    *f = (struct manifest_file){strdup(name), strdup(dir), (char *)text->data, text->len};
    m->bytes += text->len;
    *text = (struct buf){0};
    return f->name && f->dir ? 0 : err_set(err, ERR_NOMEM, 0, "no memory for %s", name);
}

static int read_file(struct manifests *m, const char *path, FILE *f, const char *name,
                     struct err *err)
{
    AUTO_BUF struct buf text = {.max = MANIFESTS_BYTES_MAX - m->bytes};
    AUTO_FREE char *copy = strdup(path);

    if (!f)
        return err_set(err,
                       errno == ENOENT   ? ERR_NOT_FOUND
                       : errno == EACCES ? ERR_DENIED
                                         : ERR_IO,
                       errno, "%s", name);
    if (!copy)
        return err_set(err, ERR_NOMEM, 0, "no memory for %s", name);
    if (read_stream(&text, f, name, err) < 0)
        return -1;
    return add(m, name, dirname(copy), &text, err);
}

static int is_manifest(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');

    return e->d_name[0] != '.' && dot &&
           (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0 || strcmp(dot, ".json") == 0);
}

static int read_path(struct manifests *m, const char *path, struct err *err)
{
    FILE *f = fopen(path, "re");
    int rc = read_file(m, path, f, path, err);

    if (f)
        fclose(f);
    return rc;
}

static int read_dir(struct manifests *m, const char *path, struct err *err)
{
    struct dirent **names = NULL;
    int n = scandir(path, &names, is_manifest, versionsort), rc = 0;
    char file[PATH_MAX];

    if (n < 0)
        return err_set(err, ERR_IO, errno, "%s", path);
    if (n == 0)
        rc = err_set(err, ERR_NOT_FOUND, 0, "%s: has no *.yaml, *.yml or *.json", path);
    for (int i = 0; i < n; i++) {
        if (rc == 0 &&
            snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name) >= (int)sizeof(file))
            rc = err_set(err, ERR_LIMIT, 0, "%.80s...: the path is too long", path);
        if (rc == 0)
            rc = read_path(m, file, err);
        free(names[i]);
    }
    free(names);
    return rc;
}

int manifests_read(struct manifests *m, const struct cli_line *line, struct err *err)
{
    const char *path;
    bool from_stdin = false;
    struct stat st;

    *m = (struct manifests){0};
    for (size_t i = 0; (path = cli_value_at(line, "filename", i)); i++) {
        int rc;

        if (strcmp(path, "-") == 0 && from_stdin)
            return err_set(err, ERR_USAGE, 0, "-f -: there is one stdin");
        if (strcmp(path, "-") == 0) {
            from_stdin = true;
            rc = read_file(m, "./-", stdin, "stdin", err);
        } else if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            rc = read_dir(m, path, err);
        } else {
            rc = read_path(m, path, err);
        }
        if (rc < 0)
            return -1;
    }
    if (m->n == 0)
        return err_set(err, ERR_USAGE, 0, "%s what? (-f FILE, a folder, or - for stdin)",
                       line->verb->name);
    return 0;
}

void manifests_free(struct manifests *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->files[i].name);
        free(m->files[i].dir);
        free(m->files[i].text);
    }
    free(m->files);
    *m = (struct manifests){0};
}

/* --- looking into them --- */

int manifests_documents(const struct manifest_file *f,
                        int (*each)(void *ctx, const struct manifest_file *f,
                                    const struct yaml_node *document, struct err *err),
                        void *ctx, struct err *err)
{
    struct yaml_doc *doc = NULL;
    struct err own = {0};
    int rc = yaml_parse_each(&doc, f->text, f->len, f->name, &own);

    if (rc < 0 && own.code == ERR_NOMEM) {
        *err = own;
        yaml_doc_free(doc);
        return -1;
    }
    rc = 0;
    for (size_t i = 0; rc == 0 && i < yaml_count(doc); i++)
        if (yaml_type(yaml_root(doc, i)) == YAMLN_MAPPING)
            rc = each(ctx, f, yaml_root(doc, i), err);
    yaml_doc_free(doc);
    return rc;
}

struct ids {
    struct cli_id *list;
    size_t n, room;
};

static int take_id(void *ctx, const struct manifest_file *f, const struct yaml_node *document,
                   struct err *err)
{
    const struct yaml_node *meta = yaml_get(document, "metadata");
    const char *name = yaml_scalar(yaml_get(meta, "name"));
    const char *space = yaml_scalar(yaml_get(meta, "namespace"));
    struct ids *ids = ctx;
    char whole[2 * CLI_NAME_SIZE];

    if (!name || !*name || strchr(name, '/'))
        return err_set(err, ERR_INVALID, 0, "%s:%u: metadata.name: no guest has such a name",
                       f->name, yaml_line(document));
    if (ids->n == ids->room) {
        size_t room = ids->room ? 2 * ids->room : 16;
        struct cli_id *grown = reallocarray(ids->list, room, sizeof(*grown));

        if (!grown)
            return err_set(err, ERR_NOMEM, 0, "no memory for %zu names", room);
        ids->list = grown;
        ids->room = room;
    }
    snprintf(whole, sizeof(whole), "%s/%s", space && *space ? space : "default", name);
    return cli_path_id(whole, &ids->list[ids->n++], err);
}

int manifests_ids(const struct manifests *m, struct cli_id **out, size_t *n, struct err *err)
{
    struct ids ids = {0};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < m->n; i++)
        rc = manifests_documents(&m->files[i], take_id, &ids, err);
    *out = ids.list;
    *n = ids.n;
    return rc;
}
