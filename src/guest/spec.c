/* Manifests from files and folders: one bad manifest is one error and touches no other. Names are
 * remembered with their place over a whole folder, so that the second guest of a name is refused
 * with the place of the first.
 *
 * A folder may hold a million guests that hardly differ, and each stays in memory for as long as
 * its guest: so a spec that was read is packed into one block, with what others of its folder say
 * as well in a shape that they share.
 */
#include "guest/spec.h"

#include "base/auto.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/text.h"
#include "guest/spec_read.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

typedef void each_fn(void *ctx, struct guest_spec *spec, const struct err *err);

/* Where a name was first seen. The name itself is its hash, with a seed that nobody can foresee. */
struct place {
    uint64_t hash; /* 0: free */
    uint32_t file, line;
};

#define SHAPES_KEPT 64u /* of those read last, to be shared by the next ones */

struct reader {
    each_fn *each;
    void *ctx;
    const char *dir;                /* of the file being read */
    const struct spec_taker *taker; /* of texts, in place of each and dir */
    const char *text;               /* and the one that is being read */
    size_t len;
    uint64_t seed;
    struct place *places; /* open addressing */
    size_t nplaces, room;
    char **files;
    size_t nfiles;
    struct spec_shape *shapes[SHAPES_KEPT];
};

/* --- where each name was --- */

static uint64_t name_hash(const struct reader *r, const struct guest_spec *s)
{
    struct hash h;
    uint64_t hash;

    hash_begin(&h);
    hash_add(&h, &r->seed, sizeof(r->seed));
    hash_add(&h, s->namespace_, strlen(s->namespace_) + 1);
    hash_add(&h, s->name, strlen(s->name));
    hash = hash_end(&h);
    return hash ? hash : 1;
}

static struct place *place_find(const struct reader *r, uint64_t hash)
{
    size_t i = hash & (r->room - 1);

    while (r->places[i].hash && r->places[i].hash != hash)
        i = (i + 1) & (r->room - 1);
    return &r->places[i];
}

/* At most half full. */
static int places_grow(struct reader *r)
{
    size_t old_room = r->room;
    struct place *old = r->places;

    if (r->nplaces * 2 < r->room)
        return 0;
    r->room = old_room ? old_room * 2 : 64;
    r->places = calloc(r->room, sizeof(*r->places));
    if (!r->places) {
        r->places = old;
        r->room = old_room;
        return -1;
    }
    for (size_t i = 0; i < old_room; i++)
        if (old[i].hash)
            *place_find(r, old[i].hash) = old[i];
    free(old);
    return 0;
}

/* Notes the guest's name; -1 where it was there before, or too many were. */
static int note_place(struct reader *r, const struct guest_spec *s, struct err *err)
{
    uint64_t hash = name_hash(r, s);
    struct place *p;

    if (places_grow(r) < 0)
        return err_set(err, ERR_NOMEM, 0, "%s:%u: no memory", s->file, s->line);
    p = place_find(r, hash);
    if (p->hash) {
        err_set(err, ERR_EXISTS, 0, "%s:%u:1: guest %s/%s is already declared at %s:%u: rename one",
                s->file, s->line, s->namespace_, s->name, r->files[p->file], p->line);
        return err_blame(err, REASON_DUPLICATE_GUEST);
    }
    if (r->nplaces >= SPEC_GUESTS_MAX)
        return err_set(err, ERR_LIMIT, 0, "%s:%u: more than %u guests", s->file, s->line,
                       SPEC_GUESTS_MAX);
    *p = (struct place){.hash = hash, .file = (uint32_t)(r->nfiles - 1), .line = s->line};
    r->nplaces++;
    return 0;
}

static int note_file(struct reader *r, const char *path, struct err *err)
{
    char **files = realloc(r->files, (r->nfiles + 1) * sizeof(*files));

    if (files)
        r->files = files;
    if (!files || !(files[r->nfiles] = strdup(path)))
        return err_set(err, ERR_NOMEM, 0, "%s: no memory", path);
    r->nfiles++;
    return 0;
}

/* --- shapes --- */

struct spec_shape {
    unsigned refs;
    size_t len;
    char texts[]; /* one after the other, each with its NUL; "\1" in place of one that is not there
                   */
};

static void shape_unref(struct spec_shape *shape)
{
    if (shape && --shape->refs == 0)
        free(shape);
}

#define SHAPE_TEXTS_MAX (3 + 2 * GUEST_TRIGGERS_MAX)

/* Where the texts of a shape are in a spec, always in this order. */
static size_t shared_texts(struct guest_spec *s, char **out[SHAPE_TEXTS_MAX])
{
    size_t n = 0;

    out[n++] = &s->module;
    out[n++] = &s->file;
    out[n++] = &s->service_account;
    for (uint16_t i = 0; i < s->nwatches; i++) {
        out[n++] = &s->watches[i].api_version;
        out[n++] = &s->watches[i].kind;
    }
    return n;
}

static struct spec_shape *shape_make(struct guest_spec *s)
{
    char **texts[SHAPE_TEXTS_MAX];
    size_t n = shared_texts(s, texts), len = 0;
    struct spec_shape *shape;
    char *at;

    for (size_t i = 0; i < n; i++)
        len += (*texts[i] ? strlen(*texts[i]) : 1) + 1;
    shape = malloc(sizeof(*shape) + len);
    if (!shape)
        return NULL;
    *shape = (struct spec_shape){.refs = 1, .len = len};
    at = shape->texts;
    for (size_t i = 0; i < n; i++)
        at = text_put(at, *texts[i] ? *texts[i] : "\1") + 1;
    return shape;
}

/* Its own, or an equal one that somebody had before; a reference for the caller. */
static struct spec_shape *shape_get(struct reader *r, struct guest_spec *s)
{
    struct spec_shape *shape = shape_make(s), **kept;

    if (!shape)
        return NULL;
    kept = &r->shapes[hash_bytes(shape->texts, shape->len) % SHAPES_KEPT];
    if (*kept && (*kept)->len == shape->len &&
        memcmp((*kept)->texts, shape->texts, shape->len) == 0) {
        shape_unref(shape);
    } else {
        shape_unref(*kept);
        *kept = shape;
    }
    (*kept)->refs++;
    return *kept;
}

/* --- packing --- */

/* The spec's own texts and arrays go here, one behind the other; NULL: only counted. */
struct packing {
    char *at;
    size_t len;
};

static void *pack(struct packing *p, const void *data, size_t len, size_t align)
{
    size_t pad = (align - p->len % align) % align;
    char *at = p->at ? p->at + p->len + pad : NULL;

    if (at && len)
        memcpy(at, data, len);
    p->len += pad + len;
    return at;
}

static char *pack_text(struct packing *p, const char *text)
{
    return pack(p, text, strlen(text) + 1, 1);
}

static char **pack_texts(struct packing *p, char *const *texts, size_t n)
{
    char **out = n ? pack(p, texts, n * sizeof(*texts), sizeof(char *)) : NULL;

    for (size_t i = 0; i < n; i++) {
        char *text = pack_text(p, texts[i]);

        if (out)
            out[i] = text;
    }
    return out;
}

static struct env_var *pack_vars(struct packing *p, const struct env_var *vars, size_t n)
{
    struct env_var *out = n ? pack(p, vars, n * sizeof(*vars), sizeof(char *)) : NULL;

    for (size_t i = 0; i < n; i++) {
        char *name = pack_text(p, vars[i].name), *value = pack_text(p, vars[i].value);

        if (out)
            out[i] = (struct env_var){.name = name, .value = value};
    }
    return out;
}

/* All that is the spec's own, into p; to is the packed spec, or any while it is only counted. */
static void pack_all(struct packing *p, struct guest_spec *to, const struct guest_spec *s)
{
    struct watch_spec *watches =
        s->nwatches ? pack(p, s->watches, s->nwatches * sizeof(*s->watches), sizeof(char *)) : NULL;

    to->watches = watches;
    for (uint16_t i = 0; i < s->nwatches; i++) {
        char **namespaces = pack_texts(p, s->watches[i].namespaces, s->watches[i].nnamespaces);

        if (watches)
            watches[i].namespaces = namespaces;
    }
    to->env = pack_vars(p, s->env, s->nenv);
    to->labels = pack_vars(p, s->labels, s->nlabels);
    to->args = pack_texts(p, s->args, s->nargs);
    to->name = pack_text(p, s->name);
    to->namespace_ = pack_text(p, s->namespace_);
}

static void take_shape(struct guest_spec *s, struct spec_shape *shape)
{
    char **texts[SHAPE_TEXTS_MAX], *at = shape->texts;
    size_t n = shared_texts(s, texts);

    for (size_t i = 0; i < n; i++) {
        *texts[i] = strcmp(at, "\1") == 0 ? NULL : at;
        at += strlen(at) + 1;
    }
    s->shape = shape;
}

/* The same spec in one block; without memory for it the one that was given. */
static struct guest_spec *spec_pack(struct reader *r, struct guest_spec *s)
{
    struct guest_spec counted, *out;
    struct packing p = {0};
    struct spec_shape *shape = shape_get(r, s);

    pack_all(&p, &counted, s);
    out = shape ? malloc(sizeof(*out) + p.len) : NULL;
    if (!out) {
        shape_unref(shape);
        return s;
    }
    *out = *s;
    p = (struct packing){.at = (char *)(out + 1)};
    pack_all(&p, out, s);
    take_shape(out, shape);
    guest_spec_free(s);
    return out;
}

/* --- files --- */

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

static void read_one(void *ctx, const struct yaml_doc *doc)
{
    struct reader *r = ctx;
    struct err why = {0};
    struct guest_spec *spec;

    if (yaml_root(doc, 0) && yaml_is_null(yaml_root(doc, 0)))
        return; /* nothing between two --- */
    spec = spec_read_document(doc, r->dir, 0, &why);
    if (spec && note_place(r, spec, &why) < 0) {
        guest_spec_free(spec);
        spec = NULL;
    }
    if (!spec && why.code == ERR_UNSUPPORTED)
        (void)err_blame(&why, REASON_NOT_YET);
    else if (!spec && why.code != ERR_NOMEM)
        (void)err_blame(&why, REASON_BAD_MANIFEST);
    if (spec)
        spec = spec_pack(r, spec);
    r->each(r->ctx, spec, spec ? NULL : &why);
}

/* --- texts --- */

/* Where line `line` begins. */
static const char *line_at(const char *text, const char *end, unsigned line)
{
    for (unsigned i = 1; i < line && text < end; i++) {
        const char *next = memchr(text, '\n', (size_t)(end - text));

        text = next ? next + 1 : end;
    }
    return text;
}

/* The document that begins there, up to the next marker of one. */
static size_t document_len(const char *at, const char *end)
{
    const char *p = at;

    while ((p = memchr(p, '\n', (size_t)(end - p)))) {
        p++;
        if (end - p >= 3 && (memcmp(p, "---", 3) == 0 || memcmp(p, "...", 3) == 0))
            return (size_t)(p - at);
    }
    return (size_t)(end - at);
}

static void read_one_text(void *ctx, const struct yaml_doc *doc)
{
    struct reader *r = ctx;
    struct err why = {0};
    struct guest_spec *spec;
    const char *at, *end = r->text + r->len;

    if (yaml_root(doc, 0) && yaml_is_null(yaml_root(doc, 0)))
        return; /* nothing between two --- */
    spec = spec_read_text(doc, r->taker, &why);
    if (!spec)
        return;
    if (note_place(r, spec, &why) < 0) {
        spec_tell(r->taker, spec->file, "metadata.name", &why);
        guest_spec_free(spec);
        return;
    }
    at = line_at(r->text, end, spec->line);
    spec = spec_pack(r, spec);
    r->taker->spec(r->taker->ctx, spec, at, document_len(at, end));
}

struct spec_texts {
    struct reader reader;
    struct spec_taker taker;
};

void spec_texts_read(struct spec_texts *t, const char *name, const char *text, size_t len)
{
    struct reader *r = &t->reader;
    struct err err = {0};

    r->text = text;
    r->len = len;
    if (note_file(r, name, &err) < 0 ||
        yaml_parse_stream(text, len, name, SPEC_BYTES_MAX, read_one_text, r, &err) < 0)
        spec_tell(&t->taker, name, "", &err);
}

static int read_file(struct reader *r, const char *path, struct err *err)
{
    AUTO_FREE char *dir = folder_of(path);

    if (!dir)
        return err_set(err, ERR_NOMEM, errno, "%s", path);
    if (strlen(dir) > SPEC_PATH_MAX)
        return err_set(err, ERR_LIMIT, 0, "%.80s...: the path is longer than %u bytes", path,
                       SPEC_PATH_MAX);
    if (note_file(r, path, err) < 0)
        return -1;
    r->dir = dir;
    return yaml_parse_file_stream(path, SPEC_FILE_BYTES_MAX, SPEC_BYTES_MAX, read_one, r, err);
}

static void reader_begin(struct reader *r)
{
    /* Without random numbers, names that collide could be thought up: nothing worse. */
    if (getrandom(&r->seed, sizeof(r->seed), 0) != sizeof(r->seed))
        r->seed = (uint64_t)(uintptr_t)r;
}

static void reader_end(struct reader *r)
{
    for (size_t i = 0; i < SHAPES_KEPT; i++)
        shape_unref(r->shapes[i]);
    for (size_t i = 0; i < r->nfiles; i++)
        free(r->files[i]);
    free(r->files);
    free(r->places);
}

struct spec_texts *spec_texts_new(const struct spec_taker *taker)
{
    struct spec_texts *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->taker = *taker;
    t->reader.taker = &t->taker;
    reader_begin(&t->reader);
    return t;
}

void spec_texts_free(struct spec_texts *t)
{
    if (!t)
        return;
    reader_end(&t->reader);
    free(t);
}

int guest_spec_read_file(const char *path, each_fn *each, void *ctx, struct err *err)
{
    struct reader r = {.each = each, .ctx = ctx};
    int rc;

    reader_begin(&r);
    rc = read_file(&r, path, err);
    reader_end(&r);
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

    reader_begin(&r);
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
    reader_end(&r);
    return rc;
}

void guest_spec_free(struct guest_spec *s)
{
    if (!s)
        return;
    if (s->shape) {
        shape_unref(s->shape);
        free(s);
        return;
    }
    for (size_t i = 0; i < s->nenv; i++) {
        free(s->env[i].name);
        free(s->env[i].value);
    }
    for (size_t i = 0; i < s->nlabels; i++) {
        free(s->labels[i].name);
        free(s->labels[i].value);
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
    free(s->labels);
    free(s->args);
    free(s->watches);
    free(s->name);
    free(s->namespace_);
    free(s->module);
    free(s->service_account);
    free(s->file);
    free(s);
}

/* --- comparing --- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_vars(const struct env_var *a, size_t na, const struct env_var *b, size_t nb)
{
    for (size_t i = 0; na == nb && i < na; i++)
        if (strcmp(a[i].name, b[i].name) != 0 || strcmp(a[i].value, b[i].value) != 0)
            return false;
    return na == nb;
}

static bool same_texts(char *const *a, size_t na, char *const *b, size_t nb)
{
    for (size_t i = 0; na == nb && i < na; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return na == nb;
}

static bool same_watches(const struct guest_spec *a, const struct guest_spec *b)
{
    for (uint16_t i = 0; a->nwatches == b->nwatches && i < a->nwatches; i++) {
        const struct watch_spec *x = &a->watches[i], *y = &b->watches[i];

        if (strcmp(x->api_version, y->api_version) != 0 || strcmp(x->kind, y->kind) != 0 ||
            !same_texts(x->namespaces, x->nnamespaces, y->namespaces, y->nnamespaces))
            return false;
    }
    return a->nwatches == b->nwatches;
}

bool guest_spec_same(const struct guest_spec *a, const struct guest_spec *b)
{
    return same_text(a->name, b->name) && same_text(a->namespace_, b->namespace_) &&
           same_text(a->module, b->module) && same_vars(a->env, a->nenv, b->env, b->nenv) &&
           same_texts(a->args, a->nargs, b->args, b->nargs) &&
           a->limits.memory_bytes == b->limits.memory_bytes &&
           a->limits.cpu_ns == b->limits.cpu_ns && a->limits.time_ns == b->limits.time_ns &&
           a->limits.calls == b->limits.calls && a->sleep_mode_set == b->sleep_mode_set &&
           (!a->sleep_mode_set || a->sleep_mode == b->sleep_mode) &&
           a->sleep_after_set == b->sleep_after_set &&
           (!a->sleep_after_set || a->sleep_after_ns == b->sleep_after_ns) &&
           a->on_fresh_start == b->on_fresh_start && same_watches(a, b) &&
           same_text(a->service_account, b->service_account);
}

bool guest_spec_triggers_same(const struct guest_spec *a, const struct guest_spec *b)
{
    return same_watches(a, b) && same_text(a->service_account, b->service_account);
}

bool guest_spec_labels_same(const struct guest_spec *a, const struct guest_spec *b)
{
    return same_vars(a->labels, a->nlabels, b->labels, b->nlabels);
}
