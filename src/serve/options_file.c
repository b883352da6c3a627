/* The configuration file: YAML by the table of options.c.
 *
 * A key is an option, or the folder of some, or unknown: then the nearest one of the same folder is
 * named. Nothing is guessed: duplicates, aliases and second documents are refused by the YAML
 * reader or here, always with the place.
 */
#include "serve/options.h"

#include "base/auto.h"
#include "base/limits.h"
#include "base/nearest.h"
#include "base/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES 96 /* of an option's name, with what was written wrongly in it */

struct reading {
    struct daemon_opts *o;
    const struct yaml_doc *doc;
    const char *path; /* of the file */
    struct err *err;
};

/* --- names --- */

/* True where some option's path begins with the folder and a point. */
static bool is_folder(const char *path)
{
    size_t n, len = strlen(path);
    const struct option_def *table = options_table(&n);

    for (size_t i = 0; i < n; i++)
        if (strncmp(table[i].path, path, len) == 0 && table[i].path[len] == '.')
            return true;
    return false;
}

/* The names that are known in a folder ("" for the whole file), each once, in rooms of their own.
 */
static size_t names_in(const char *folder, char rooms[OPTIONS_MAX + 2][PATH_MAX_BYTES],
                       const char *names[OPTIONS_MAX + 2])
{
    size_t n, count = 0, len = strlen(folder);
    const struct option_def *table = options_table(&n);

    if (len == 0) {
        names[count++] = "apiVersion";
        names[count++] = "kind";
    }
    for (size_t i = 0; i < n; i++) {
        const char *rest = table[i].path + (len ? len + 1 : 0);

        if (len && (strncmp(table[i].path, folder, len) != 0 || table[i].path[len] != '.'))
            continue;
        snprintf(rooms[count], PATH_MAX_BYTES, "%.*s", (int)strcspn(rest, "."), rest);
        if (count && strcmp(rooms[count], names[count - 1]) == 0)
            continue; /* neighbours have the same folder */
        names[count] = rooms[count];
        count++;
    }
    return count;
}

static int unknown(struct reading *r, const struct yaml_node *map, size_t at, const char *folder)
{
    char rooms[OPTIONS_MAX + 2][PATH_MAX_BYTES], all[192] = "";
    const char *names[OPTIONS_MAX + 2], *key = yaml_key(map, at, NULL), *nearest;
    size_t n = names_in(folder, rooms, names), used = 0;

    nearest = nearest_name(key, names, n);
    for (size_t i = 0; i < n && used < sizeof(all); i++)
        used += (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", i ? ", " : "", names[i]);
    return yaml_err(r->err, r->doc, yaml_key_node(map, at), ERR_INVALID,
                    "unknown option %.64s%s%s (%s%s%s)", key, *folder ? " in " : "", folder,
                    nearest ? "did you mean " : "known: ", nearest ? nearest : all,
                    nearest ? "?" : "");
}

/* --- values --- */

/* A path in a file is seen from the file's folder. NULL: no memory, or *out is too long. */
static char *from_folder(const struct reading *r, const char *text)
{
    const char *slash = strrchr(r->path, '/');
    char *out = NULL;

    if (*text == '/' || *text == 0 || !slash)
        return strdup(text);
    if (asprintf(&out, "%.*s%s", (int)(slash - r->path) + 1, r->path, text) < 0)
        return NULL;
    return out;
}

static int take_value(struct reading *r, const struct option_def *def,
                      const struct yaml_node *value)
{
    const char *text = yaml_scalar(value);
    AUTO_FREE char *path = NULL;
    struct err why = {0};

    if (!text)
        return yaml_err(r->err, r->doc, value, ERR_INVALID, "%s must be a single value, this is %s",
                        def->path, yaml_type_name(value));
    if (def->type == OPTION_PATH) {
        path = from_folder(r, text);
        if (!path)
            return err_set(r->err, ERR_NOMEM, 0, "%s: no memory", r->path);
        text = path;
    }
    if (options_set(r->o, def, text, OPTION_FILE, yaml_line(value), &why) < 0)
        return yaml_err(r->err, r->doc, value, why.code, "%s %s", def->path, why.msg);
    return 0;
}

static int take_map(struct reading *r, const struct yaml_node *map, const char *folder)
{
    if (yaml_type(map) != YAMLN_MAPPING)
        return yaml_err(r->err, r->doc, map, ERR_INVALID, "%s must be a mapping, this is %s",
                        *folder ? folder : "the configuration", yaml_type_name(map));
    for (size_t i = 0; i < yaml_len(map); i++) {
        const struct yaml_node *value;
        const char *key = yaml_key(map, i, &value);
        const struct option_def *def;
        char path[PATH_MAX_BYTES];
        int n = snprintf(path, sizeof(path), "%s%s%s", folder, *folder ? "." : "", key), rc = 0;
        bool fits = n > 0 && (size_t)n < sizeof(path) && !strchr(key, '.');

        if (!*folder && (strcmp(key, "apiVersion") == 0 || strcmp(key, "kind") == 0))
            continue;
        def = fits ? options_find(path) : NULL;
        if (!def && !(fits && is_folder(path)))
            return unknown(r, map, i, folder);
        if (yaml_is_null(value))
            continue; /* as if it was not written */
        rc = def ? take_value(r, def, value) : take_map(r, value, path);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* --- the file --- */

static int check_word(struct reading *r, const struct yaml_node *root, const char *key,
                      const char *word)
{
    const struct yaml_node *v = yaml_get(root, key);
    const char *text = yaml_scalar(v);

    if (!v || yaml_is_null(v))
        return yaml_err(r->err, r->doc, root, ERR_INVALID, "%s is missing: write %s: %s", key, key,
                        word);
    if (!text || strcmp(text, word) != 0)
        return yaml_err(r->err, r->doc, v, ERR_INVALID, "%s %.64s: must be %s", key,
                        text ? text : yaml_type_name(v), word);
    return 0;
}

static int take_document(struct reading *r)
{
    const struct yaml_node *root = yaml_root(r->doc, 0);

    if (yaml_count(r->doc) == 0)
        return err_set(r->err, ERR_INVALID, 0,
                       "%s:1: nothing in it: it begins with apiVersion: %s and kind: %s", r->path,
                       OPTIONS_API_VERSION, OPTIONS_KIND);
    if (yaml_count(r->doc) > 1)
        return yaml_err(r->err, r->doc, yaml_root(r->doc, 1), ERR_INVALID,
                        "a second document: a configuration is one");
    if (yaml_type(root) == YAMLN_MAPPING &&
        (check_word(r, root, "apiVersion", OPTIONS_API_VERSION) < 0 ||
         check_word(r, root, "kind", OPTIONS_KIND) < 0))
        return -1;
    return take_map(r, root, "");
}

int options_read(struct daemon_opts *o, const char *path, struct err *err)
{
    struct reading r = {.o = o, .path = path, .err = err};
    struct yaml_doc *doc;
    int rc;

    if (yaml_parse_file(&doc, path, OPTIONS_FILE_BYTES_MAX, err) < 0)
        return err->code == ERR_INVALID ? err_blame(err, REASON_BAD_CONFIGURATION) : -1;
    r.doc = doc;
    rc = take_document(&r);
    yaml_doc_free(doc);
    return rc < 0 ? err_blame(err, REASON_BAD_CONFIGURATION) : 0;
}

/* --- what goes together --- */

int options_check(const struct daemon_opts *o, struct err *err)
{
    bool tls = o->admin.cert_file && o->admin.key_file,
         any = o->admin.cert_file || o->admin.key_file || o->admin.token_file;

    if (o->admin.group && !o->admin.socket)
        return err_set(err, ERR_INVALID, 0,
                       "admin.group without admin.socket: members cannot reach a socket in the "
                       "state directory, which is closed to them: set admin.socket too, such as "
                       "/run/roost/admin.sock");
    if (o->admin.listen && !(tls && o->admin.token_file))
        return err_set(err, ERR_INVALID, 0,
                       "admin.listen %s has no %s: nobody is let in over TCP without TLS and a "
                       "token: set admin.certFile, admin.keyFile and admin.tokenFile, or leave "
                       "admin.listen out",
                       o->admin.listen,
                       !o->admin.cert_file  ? "admin.certFile"
                       : !o->admin.key_file ? "admin.keyFile"
                                            : "admin.tokenFile");
    if (any && !o->admin.listen)
        return err_set(
            err, ERR_INVALID, 0,
            "a certificate, key or token for the admin API, and no admin.listen: set it, "
            "such as 127.0.0.1:8443, or leave them out");
    return 0;
}

/* --- all sources together --- */

static int load_flags(struct daemon_opts *o, const struct options_source *source, struct err *err)
{
    size_t n;
    const struct option_def *table = options_table(&n);

    for (size_t i = 0; i < n; i++) {
        if (source->flags[i] &&
            options_set(o, &table[i], source->flags[i], OPTION_FLAG, 0, err) < 0) {
            if (err->code != ERR_NOMEM)
                err->code = ERR_USAGE;
            err_wrap(err, "--%s", table[i].flag);
            return err_blame(err, REASON_BAD_FLAG);
        }
    }
    return 0;
}

int options_load(struct daemon_opts *out, const struct options_source *source, struct err *err)
{
    const char *state = getenv("ROOST_STATE");

    if (options_init(out, err) < 0)
        return -1;
    if ((source->file && options_read(out, source->file, err) < 0) ||
        (state && *state &&
         options_set(out, options_find("stateDir"), state, OPTION_ENVIRONMENT, 0, err) < 0) ||
        load_flags(out, source, err) < 0 || options_check(out, err) < 0) {
        options_free(out);
        return err->code == ERR_INVALID ? err_blame(err, REASON_BAD_CONFIGURATION) : -1;
    }
    return 0;
}

/* --- printing --- */

static int print_origin(struct buf *out, const struct daemon_opts *o, size_t row, const char *file,
                        struct err *err)
{
    size_t n;
    const struct option_def *table = options_table(&n);

    switch (o->origin[row].from) {
    case OPTION_FILE:
        return buf_printf(out, err, "  # %s:%u\n", file ? file : "file", o->origin[row].line);
    case OPTION_ENVIRONMENT:
        return buf_puts(out, "  # environment\n", err);
    case OPTION_FLAG:
        return buf_printf(out, err, "  # --%s\n", table[row].flag);
    default:
        return buf_puts(out, "  # default\n", err);
    }
}

/* The line of the folder, where the row before was not in it. */
static int print_folder(struct buf *out, const struct option_def *table, size_t row,
                        struct err *err)
{
    const char *point = strrchr(table[row].path, '.');
    size_t len = point ? (size_t)(point - table[row].path) : 0;

    if (!point || (row && strncmp(table[row - 1].path, table[row].path, len + 1) == 0))
        return 0;
    return buf_printf(out, err, "%.*s:\n", (int)len, table[row].path);
}

static int print_row(struct buf *out, const struct daemon_opts *o, size_t row, const char *file,
                     struct err *err)
{
    size_t n;
    const struct option_def *table = options_table(&n), *def = &table[row];
    const char *point = strrchr(def->path, '.');
    bool set = false;
    struct buf value = {.max = 4 * SPEC_PATH_MAX + 8};
    int rc = options_format(&value, o, def, &set, err);

    if (rc == 0 && set) {
        rc = buf_printf(out, err, "%s%s: %.*s", point ? "  " : "", point ? point + 1 : def->path,
                        (int)value.len, (const char *)value.data);
        rc = rc < 0 ? rc : print_origin(out, o, row, file, err);
    } else if (rc == 0) {
        rc = buf_printf(out, err, "%s# %s is not set: %s\n", point ? "  " : "",
                        point ? point + 1 : def->path, def->initially);
    }
    buf_free(&value);
    return rc;
}

int options_print(struct buf *out, const struct daemon_opts *o, const char *file, struct err *err)
{
    size_t n;
    const struct option_def *table = options_table(&n);

    if (buf_puts(out, "apiVersion: " OPTIONS_API_VERSION "\nkind: " OPTIONS_KIND "\n", err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (print_folder(out, table, i, err) < 0 || print_row(out, o, i, file, err) < 0)
            return -1;
    return 0;
}
