/* See apply.h. A job goes through: reading (another thread) -> deciding -> committing -> carrying
 * out -> answering; it ends early where something is wrong. APPLIES_MAX are under way at once.
 */
#include "serve/apply.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/work.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct guest_spec *spec;
    uint8_t digest[IMAGE_DIGEST_BYTES];
    char *id, *row;
    char *file; /* as JSON */
    unsigned line;
    enum deploy_result result;
};

struct job {
    struct deploy *deploy;
    struct http1_later *later;
    struct buf body;
    bool dry_run;
    struct entry *entries;
    size_t n, room, at;
    json_t *errors; /* of the manifests */
    size_t nerrors;
    char malformed[160]; /* the request itself; empty: it is fine */
    /* Of what is being read. */
    const char *state_dir;
    const json_t *modules;
    char written[SPEC_PATH_MAX + 1], path[4096];
    uint8_t digest[IMAGE_DIGEST_BYTES];
    struct msg next;
    struct buf answer;
};

static size_t under_way; /* loop thread */

/* --- reading: another thread --- */

static void tell_error(void *ctx, const struct spec_error *e)
{
    struct job *j = ctx;

    j->nerrors++;
    if (j->nerrors <= APPLY_ERRORS_MAX)
        json_array_append_new(j->errors, json_pack("{s:s, s:I, s:s, s:s}", "file", e->file, "line",
                                                   (json_int_t)e->line, "field", e->field,
                                                   "message", e->message));
}

/* The digest that was sent for a module: under its whole name, or what is behind "file:". */
static const char *digest_of(const struct job *j, const char *written)
{
    const json_t *digest = json_object_get(j->modules, written);

    if (!digest && strncmp(written, "file:", 5) == 0)
        digest = json_object_get(j->modules, written + 5);
    return json_string_value(digest);
}

static const char *module_path(void *ctx, const char *written)
{
    struct job *j = ctx;
    const char *digest = digest_of(j, written);

    snprintf(j->written, sizeof(j->written), "%s", written);
    if (!digest || module_name_read(digest, j->digest) < 0 ||
        module_store_path(j->path, sizeof(j->path), j->state_dir, j->digest) < 0 ||
        (!module_stored(j->path) && !j->dry_run)) /* whoever only asks has sent nothing */
        return NULL;
    return j->path;
}

static struct entry *entry_add(struct job *j)
{
    if (j->n == j->room) {
        size_t room = j->room ? j->room * 2 : 64;
        struct entry *entries = realloc(j->entries, room * sizeof(*entries));

        if (!entries)
            return NULL;
        j->entries = entries;
        j->room = room;
    }
    j->entries[j->n] = (struct entry){0};
    return &j->entries[j->n++];
}

static void mistake(struct job *j, const struct guest_spec *spec, const char *field,
                    const char *message)
{
    struct spec_error e = {
        .file = spec->file, .field = field, .message = message, .line = spec->line};

    tell_error(j, &e);
}

static char *json_text(const char *text)
{
    json_t *json = json_string(text);
    char *out = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;

    json_decref(json);
    return out;
}

static void take_spec(void *ctx, struct guest_spec *spec, const char *text, size_t len)
{
    struct job *j = ctx;
    struct entry *e = entry_add(j);

    if (len > APPLY_DOCUMENT_MAX) {
        mistake(j, spec, "", "a manifest of more than 256 KiB");
    } else if (e && asprintf(&e->id, "%s/%s", spec->namespace_, spec->name) > 0 &&
               (e->row = deploy_row(spec, j->written, j->digest, text, len)) &&
               (e->file = json_text(spec->file))) {
        e->spec = spec;
        e->line = spec->line;
        memcpy(e->digest, j->digest, sizeof(e->digest));
        return;
    } else {
        mistake(j, spec, "", "no memory for it");
    }
    guest_spec_free(spec);
}

static int malformed(struct job *j, const char *what)
{
    snprintf(j->malformed, sizeof(j->malformed), "%s", what);
    return -1;
}

static int read_file(struct job *j, struct spec_texts *reader, const json_t *file)
{
    const json_t *text = json_object_get(file, "text");
    const char *name = json_string_value(json_object_get(file, "name"));

    j->modules = json_object_get(file, "modules");
    if (!name || !json_is_string(text) || (j->modules && !json_is_object(j->modules)))
        return malformed(j, "each of files has a name and a text, and modules is an object");
    if (strlen(name) > SPEC_PATH_MAX)
        return malformed(j, "the name of a file is too long");
    spec_texts_read(reader, name, json_string_value(text), json_string_length(text));
    return 0;
}

static int read_files(struct job *j, const json_t *files)
{
    struct spec_taker taker = {
        .ctx = j, .spec = take_spec, .error = tell_error, .module = module_path};
    struct spec_texts *reader = spec_texts_new(&taker);
    const json_t *file;
    size_t i;
    int rc = reader ? 0 : malformed(j, "no memory to read it");

    json_array_foreach(files, i, file)
    {
        if (rc == 0)
            rc = read_file(j, reader, file);
    }
    spec_texts_free(reader);
    return rc;
}

static int read_request(struct job *j, const json_t *root)
{
    static const char *const known[] = {"dryRun", "files"};
    const json_t *dry_run = json_object_get(root, "dryRun"),
                 *files = json_object_get(root, "files");
    size_t members = 0;

    for (size_t i = 0; i < 2; i++)
        members += json_object_get(root, known[i]) != NULL;
    if (!json_is_object(root) || members != json_object_size(root))
        return malformed(j, "this must be an object with dryRun and files, and nothing else");
    if (dry_run && !json_is_boolean(dry_run))
        return malformed(j, "dryRun must be true or false");
    if (!json_is_array(files) || json_array_size(files) > APPLY_FILES_MAX)
        return malformed(j, "files must be a list, of at most 10000");
    j->dry_run = json_is_true(dry_run);
    return read_files(j, files);
}

static void read_body(void *ctx)
{
    struct job *j = ctx;
    json_error_t why;
    json_t *root = json_loadb(j->body.data ? (const char *)j->body.data : "", j->body.len,
                              JSON_REJECT_DUPLICATES, &why);

    j->errors = json_array();
    if (!root)
        snprintf(j->malformed, sizeof(j->malformed), "line %d: no JSON: %.100s", why.line,
                 why.text);
    else
        (void)!read_request(j, root);
    json_decref(root);
    buf_free(&j->body);
}

/* --- answering --- */

static void job_free(struct job *j)
{
    for (size_t i = 0; i < j->n; i++) {
        guest_spec_free(j->entries[i].spec);
        free(j->entries[i].id);
        free(j->entries[i].row);
        free(j->entries[i].file);
    }
    free(j->entries);
    json_decref(j->errors);
    buf_free(&j->body);
    buf_free(&j->answer);
    free(j);
}

static void job_over(struct job *j)
{
    http1_later_send(j->later);
    under_way--;
    job_free(j);
}

static void refuse(struct job *j, int status, const char *why)
{
    http1_problem(http1_later_response(j->later), status, why);
    job_over(j);
}

/* A problem with all that is wrong. */
static void refuse_all(struct job *j, int status, const char *what)
{
    struct http1_response *res = http1_later_response(j->later);
    char detail[160];
    json_t *problem;
    char *text;

    snprintf(detail, sizeof(detail), "%zu %s%s; nothing was applied", j->nerrors, what,
             j->nerrors == 1 ? "" : "s");
    problem = json_pack("{s:s, s:s, s:i, s:s, s:s, s:O}", "type", "about:blank", "title",
                        http1_reason(status), "status", status, "reason",
                        status == 422 ? err_reason_row(REASON_BAD_MANIFEST)->name
                                      : err_code_row(ERR_EXISTS)->name,
                        "detail", detail, "errors", j->errors);
    text = problem ? json_dumps(problem, JSON_COMPACT) : NULL;
    http1_problem(res, status, detail); /* without memory this much must do */
    if (text) {
        res->body.len = 0;
        if (buf_puts(&res->body, text, NULL) < 0 || buf_puts(&res->body, "\n", NULL) < 0)
            http1_problem(res, status, detail);
    }
    free(text);
    json_decref(problem);
    job_over(j);
}

static void answer(struct job *j)
{
    static const char *const names[] = {[DEPLOY_CREATED] = "created",
                                        [DEPLOY_CONFIGURED] = "configured",
                                        [DEPLOY_UNCHANGED] = "unchanged"};
    struct http1_response *res = http1_later_response(j->later);
    int rc = buf_puts(&res->body, "{\"results\":[", NULL);

    for (size_t i = 0; i < j->n && rc == 0; i++) {
        const struct entry *e = &j->entries[i];
        const char *slash = strchr(e->id, '/');

        rc = buf_printf(&res->body, NULL,
                        "%s{\"namespace\":\"%.*s\",\"name\":\"%s\",\"result\":\"%s\",\"file\":%s,"
                        "\"line\":%u,\"dryRun\":%s}",
                        i ? "," : "", (int)(slash - e->id), e->id, slash + 1, names[e->result],
                        e->file, e->line, j->dry_run ? "true" : "false");
    }
    if (rc < 0 || buf_puts(&res->body, "]}\n", NULL) < 0)
        http1_problem(res, 500, "applied, but there was no memory for the answer");
    job_over(j);
}

/* --- carrying out --- */

static void carry_out(struct msg *m)
{
    struct job *j = container_of(m, struct job, next);
    size_t done = 0;

    if (deploy_ended(j->deploy)) {
        refuse(j, 503, "the daemon stops: it was written, and will be carried out at its start");
        return;
    }
    for (; j->at < j->n && done < APPLY_AT_ONCE; j->at++) {
        struct entry *e = &j->entries[j->at];

        if (e->result == DEPLOY_UNCHANGED)
            continue;
        deploy_put(j->deploy, e->spec, e->digest, true);
        e->spec = NULL;
        done++;
    }
    if (j->at == j->n)
        answer(j);
    else
        loop_post(deploy_options(j->deploy)->loop, m); /* in the next turn */
}

static void committed(void *ctx, const struct err *err)
{
    struct job *j = ctx;
    char why[ERR_MSG_MAX + 64];

    if (err) {
        snprintf(why, sizeof(why), "could not be written: %.300s; nothing was applied", err->msg);
        refuse(j, 507, why);
        return;
    }
    j->next.run = carry_out;
    carry_out(&j->next);
}

/* All rows, in as few batches as they fit in; the last one says when all are on disk. */
static int commit_rows(struct job *j, struct err *err)
{
    struct guests *guests = deploy_options(j->deploy)->guests;
    struct db_batch *b = NULL;
    size_t bytes = 0;

    if (db_batch_new(&b, err) < 0)
        return -1;
    for (size_t i = 0; i < j->n; i++) {
        const struct entry *e = &j->entries[i];
        size_t more = 2 * (strlen(e->id) + 128) + strlen(e->row);
        const struct guest *g = guests_find(guests, e->id);

        if (e->result == DEPLOY_UNCHANGED)
            continue;
        if (bytes && bytes + more > DB_BATCH_BYTES_MAX) {
            if (!db_submit(deploy_options(j->deploy)->db, b, NULL, NULL))
                return err_set(err, ERR_AGAIN, 0, "too much waits for the disk: try again");
            bytes = 0;
            if (db_batch_new(&b, err) < 0)
                return -1;
        }
        bytes += more;
        if (deploy_row_put(b, e->id, e->row, g != NULL, err) < 0) {
            db_batch_free(b);
            return -1;
        }
    }
    return deploy_commit(j->deploy, b, committed, j, err);
}

/* --- deciding --- */

static bool decide(struct job *j)
{
    bool any = false;

    for (size_t i = 0; i < j->n; i++) {
        struct entry *e = &j->entries[i];

        e->result = deploy_compare(j->deploy, e->spec, e->digest, true);
        any |= e->result != DEPLOY_UNCHANGED;
        if (e->result == DEPLOY_FOREIGN)
            mistake(j, e->spec, "metadata.name",
                    "this guest comes from the folder of --guests: change its file there, or "
                    "remove it and apply again");
    }
    return any;
}

static void was_read(void *ctx)
{
    struct job *j = ctx;
    struct err err = {0};
    bool any;

    if (j->malformed[0]) {
        refuse(j, 400, j->malformed);
    } else if (!j->errors) {
        refuse(j, 503, "no memory: try again");
    } else if (j->nerrors) {
        refuse_all(j, 422, "mistake");
    } else if (deploy_ended(j->deploy)) {
        refuse(j, 503, "the daemon stops");
    } else {
        any = decide(j);
        if (j->nerrors)
            refuse_all(j, 409, "conflict");
        else if (j->dry_run || !any)
            answer(j);
        else if (commit_rows(j, &err) < 0)
            refuse(j, 503, err.msg);
    }
}

void apply_begin(struct deploy *d, struct buf *body, struct http1_response *res)
{
    struct job *j;
    struct err err = {0};

    if (under_way >= APPLIES_MAX) {
        http1_problem(res, 429, "too many applies are under way: try again");
        return;
    }
    j = calloc(1, sizeof(*j));
    if (!j) {
        http1_problem(res, 503, "no memory: try again");
        return;
    }
    j->deploy = d;
    j->state_dir = deploy_options(d)->state_dir;
    j->body = *body;
    *body = (struct buf){0};
    if (!(j->later = http1_later_begin(res))) {
        job_free(j);
        return;
    }
    under_way++;
    if (work_start(deploy_options(d)->loop, read_body, was_read, j, &err) < 0)
        refuse(j, 503, err.msg);
}

int apply_check(const char *body, size_t len, const char *state_dir)
{
    struct job *j = calloc(1, sizeof(*j));
    int rc = -1;

    if (!j)
        return -1;
    j->state_dir = state_dir;
    if (buf_append(&j->body, body, len, NULL) == 0) {
        read_body(j);
        rc = j->malformed[0] ? -1 : (int)j->nerrors;
    }
    job_free(j);
    return rc;
}
