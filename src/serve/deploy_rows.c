/* What the database keeps of a guest that was applied: the text of its manifest as it came, where
 * from, and the digest of its module. As JSON: {"file", "line", "module", "digest", "text"}. The
 * manifest is read again at each start, by the same reader, so that a row says no more than its
 * text does.
 */
#include "base/auto.h"
#include "base/limits.h"
#include "serve/deploy_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct row {
    struct row *next;
    char *id;
    json_t *json;
    bool previous;
};

struct deploy_rows {
    struct row *first, **last;
    bool previous; /* what is being read */
};

/* --- writing --- */

char *deploy_row(const struct guest_spec *spec, const char *written, const uint8_t digest[32],
                 const char *text, size_t len)
{
    char name[MODULE_NAME_BYTES];
    json_t *json;
    char *row;

    module_name(name, digest);
    json = json_pack("{s:s, s:I, s:s, s:s, s:s%}", "file", spec->file, "line",
                     (json_int_t)spec->line, "module", written, "digest", name, "text", text, len);
    row = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (row && strlen(row) > DB_VALUE_MAX) {
        free(row);
        row = NULL;
    }
    return row;
}

int deploy_row_put(struct db_batch *b, const char *id, const char *row, bool keep, struct err *err)
{
    size_t len = strlen(id);

    if (keep && db_batch_copy(b, DEPLOY_APPLIED, DEPLOY_PREVIOUS, id, len, false, err) < 0)
        return -1;
    return db_batch_put(b, DEPLOY_APPLIED, id, len, row, strlen(row), err);
}

/* --- reading --- */

static int take_row(void *ctx, const void *key, size_t key_len, const void *value, size_t len,
                    struct err *err)
{
    struct deploy_rows *rows = ctx;
    struct row *r = calloc(1, sizeof(*r));

    if (!r || !(r->id = strndup(key, key_len))) {
        free(r);
        return err_set(err, ERR_NOMEM, 0, "no memory for the guests that were applied");
    }
    r->json = json_loadb(value, len, 0, NULL); /* NULL: said when it is applied */
    r->previous = rows->previous;
    *rows->last = r;
    rows->last = &r->next;
    return 0;
}

int deploy_rows_read(struct deploy_rows **out, struct db *db, struct err *err)
{
    struct deploy_rows *rows = calloc(1, sizeof(*rows));

    *out = NULL;
    if (!rows)
        return err_set(err, ERR_NOMEM, 0, "no memory for the guests that were applied");
    rows->last = &rows->first;
    rows->previous = true; /* first: it is there before what takes its place */
    if (db_scan(db, DEPLOY_PREVIOUS, take_row, rows, err) < 0) {
        deploy_rows_free(rows);
        return -1;
    }
    rows->previous = false;
    if (db_scan(db, DEPLOY_APPLIED, take_row, rows, err) < 0) {
        deploy_rows_free(rows);
        return -1;
    }
    *out = rows;
    return 0;
}

void deploy_rows_free(struct deploy_rows *rows)
{
    if (!rows)
        return;
    for (struct row *r = rows->first, *next; r; r = next) {
        next = r->next;
        json_decref(r->json);
        free(r->id);
        free(r);
    }
    free(rows);
}

/* --- at start --- */

struct applying {
    struct deploy *deploy;
    const struct row *row;
    uint8_t digest[IMAGE_DIGEST_BYTES];
    char path[4096];
};

static const char *module_path(void *ctx, const char *written)
{
    struct applying *a = ctx;

    (void)written; /* a row has one manifest, and that has one module */
    return a->path;
}

static void take_spec(void *ctx, struct guest_spec *spec, const char *text, size_t len)
{
    struct applying *a = ctx;

    (void)text;
    (void)len;
    spec->line = (unsigned)json_integer_value(json_object_get(a->row->json, "line"));
    if (deploy_compare(a->deploy, spec, a->digest, true) == DEPLOY_UNCHANGED)
        guest_spec_free(spec);
    else
        deploy_put(a->deploy, spec, a->digest, true);
}

static void tell_error(void *ctx, const struct spec_error *e)
{
    struct applying *a = ctx;
    struct err err = {0};

    err_set(&err, e->code, 0, "%s:%u: applied guest %s: %s (apply it again, or delete it)", e->file,
            e->line, a->row->id, e->message);
    deploy_reject(a->deploy, &err);
}

static void apply_row(struct applying *a, struct spec_texts *reader)
{
    const char *file = json_string_value(json_object_get(a->row->json, "file"));
    const char *digest = json_string_value(json_object_get(a->row->json, "digest"));
    const json_t *text = json_object_get(a->row->json, "text");
    struct err err = {0};

    if (!file || !digest || !json_is_string(text) || module_name_read(digest, a->digest) < 0 ||
        module_store_path(a->path, sizeof(a->path), a->deploy->opts.state_dir, a->digest) < 0) {
        err_set(&err, ERR_CORRUPT, 0, "applied guest %s: what the database keeps of it is damaged",
                a->row->id);
        deploy_reject(a->deploy, &err);
        return;
    }
    spec_texts_read(reader, file, json_string_value(text), json_string_length(text));
}

/* One reader for all of a kind: so they share what they have in common. */
static void apply_rows(struct applying *a, const struct deploy_rows *rows, bool previous)
{
    struct spec_taker taker = {
        .ctx = a, .spec = take_spec, .error = tell_error, .module = module_path};
    struct spec_texts *reader = spec_texts_new(&taker);

    for (const struct row *r = rows->first; r && reader; r = r->next) {
        if (r->previous != previous)
            continue;
        a->row = r;
        apply_row(a, reader);
    }
    spec_texts_free(reader);
}

void deploy_rows_apply(struct deploy *d, const struct deploy_rows *rows)
{
    struct applying *a = rows ? calloc(1, sizeof(*a)) : NULL;

    if (!a)
        return;
    a->deploy = d;
    apply_rows(a, rows, true);
    apply_rows(a, rows, false);
    free(a);
}
