/* See deploy.h. Rows and the folder are in deploy_rows.c and deploy_dir.c. */
#include "serve/deploy.h"

#include "base/limits.h"
#include "guest/journal.h"
#include "serve/deploy_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- wishes --- */

static void wish_free(struct wish *w)
{
    struct wish **at = &w->deploy->wishes;

    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
    guest_spec_free(w->spec);
    module_unuse(w->module);
    free(w->id);
    free(w);
}

/* The newest of this guest that waits; NULL: none. */
static struct wish *wish_find(const struct deploy *d, const char *id)
{
    for (struct wish *w = d->wishes; w; w = w->next)
        if (!w->handed && strcmp(w->id, id) == 0)
            return w;
    return NULL;
}

static void moved(struct deploy *d, struct guest *g, const char *id)
{
    if (d->opts.moved)
        d->opts.moved(d->opts.ctx, g, id);
}

/* --- making one --- */

static void image_or_reason(struct guest *g, const struct module *m)
{
    if (module_image(m))
        guest_image_ready(g, image_ref(module_image(m)));
    else if (module_failed(m))
        guest_reject(g, module_failed(m));
}

static void create(struct wish *w)
{
    struct deploy *d = w->deploy;
    const struct trigger *trigger = d->opts.guests->opts.watch;
    struct guest_spec *spec = w->spec;
    struct module *m = w->module;
    struct guest *g;
    struct err err = {0};

    w->spec = NULL;
    if (guests_add(&g, d->opts.guests, spec, w->digest, &err) < 0) {
        deploy_reject(d, &err);
        wish_free(w);
        return;
    }
    w->module = NULL; /* the guest's from here on */
    g->applied = w->applied;
    if (trigger->follow && trigger->follow(trigger->ctx, g, &err) < 0)
        guest_reject(g, &err);
    if (d->started)
        journal_event(d->opts.guests->journal, JOURNAL_APPLIED, g->id, "created");
    wish_free(w);
    image_or_reason(g, m);
    moved(d, g, g->id);
}

/* --- going back --- */

static void rows_settled(void *ctx, const struct err *err)
{
    (void)ctx;
    if (err)
        log_error("applied guests: %s; after a restart a change may be tried again", err->msg);
}

/* back: the row of before is the row again. Else it is not needed any more. */
static void settle_rows(struct deploy *d, const char *id, bool back)
{
    struct db_batch *b = NULL;
    struct err err = {0};
    size_t len = strlen(id);

    if (db_batch_new(&b, &err) == 0 &&
        (!back || db_batch_copy(b, DEPLOY_PREVIOUS, DEPLOY_APPLIED, id, len, true, &err) == 0) &&
        db_batch_delete(b, DEPLOY_PREVIOUS, id, len, &err) == 0) {
        if (!db_submit(d->opts.db, b, rows_settled, NULL))
            log_warn("guest %s: too much waits for the disk: its change may be tried again after a "
                     "restart",
                     id);
        return;
    }
    db_batch_free(b);
    log_warn("guest %s: %s", id, err.msg);
}

static void roll_back(struct wish *w, const struct err *err)
{
    struct deploy *d = w->deploy;
    struct guest *g = guests_find(d->opts.guests, w->id);

    if (g && g->image) {
        log_line(LOG_ERROR, w->id, "cannot be changed: %s; it goes on as it was", err->msg);
        journal_event(d->opts.guests->journal, JOURNAL_ROLLED_BACK, w->id, err->msg);
        guest_note_err(g, err);
    } else if (g) {
        guest_reject(g, err);
    }
    if (w->applied && !wish_find(d, w->id))
        settle_rows(d, w->id, true);
    if (g)
        moved(d, g, g->id);
    wish_free(w);
}

/* --- changing one --- */

static void pump(struct deploy *d);

static void replaced(void *ctx, const struct err *err)
{
    struct wish *w = ctx;
    struct deploy *d = w->deploy;
    struct guest *g = guests_find(d->opts.guests, w->id);

    if (d->ended || (err && err->code == ERR_AGAIN)) { /* the daemon stops: tried again then */
        w->module = NULL;
        wish_free(w);
        return;
    }
    if (err) {
        roll_back(w, err);
        pump(d);
        return;
    }
    module_unuse(w->old);
    w->module = NULL;
    if (w->applied && !wish_find(d, w->id))
        settle_rows(d, w->id, false);
    journal_event(d->opts.guests->journal, JOURNAL_APPLIED, w->id, "configured");
    moved(d, g, w->id);
    wish_free(w);
    pump(d);
}

static void replace(struct wish *w, struct guest *g)
{
    struct guest_spec *spec = w->spec;
    struct err err = {0};

    w->spec = NULL;
    w->handed = true;
    w->old = modules_find(w->deploy->modules, g->module_digest);
    if (guest_replace(g, spec, w->digest, image_ref(module_image(w->module)), replaced, w, &err) ==
        0)
        return;
    if (err.code == ERR_AGAIN)
        wish_free(w);
    else
        roll_back(w, &err);
}

/* Its own module is still being compiled: what there is to go back to is not there yet. */
static bool is_unborn(const struct deploy *d, const struct guest *g)
{
    const struct module *m = modules_find(d->modules, g->module_digest);

    return !g->image && !g->rejected && m && !module_image(m) && !module_failed(m);
}

/* As far as it can be carried out now. True: it is not in the list any more, or not as it was. */
static bool go(struct wish *w)
{
    struct deploy *d = w->deploy;
    struct guest *g = guests_find(d->opts.guests, w->id);

    if (w->handed || (g && (g->change || is_unborn(d, g))))
        return false;
    if (!g)
        create(w);
    else if (module_failed(w->module))
        roll_back(w, module_failed(w->module));
    else if (module_image(w->module))
        replace(w, g);
    else
        return false;
    return true;
}

static void pump(struct deploy *d)
{
    struct wish *w = d->wishes;

    while (w && !d->ended)
        w = go(w) ? d->wishes : w->next; /* who went may have taken others along */
}

static void module_done(void *ctx, struct module *m)
{
    struct deploy *d = ctx;

    if (d->ended)
        return;
    for (size_t i = 0; guests_at(d->opts.guests, i); i++) {
        struct guest *g = guests_at(d->opts.guests, i);

        if (g->image || g->rejected || g->change ||
            memcmp(g->module_digest, module_digest(m), sizeof(g->module_digest)) != 0)
            continue;
        image_or_reason(g, m);
        moved(d, g, g->id);
    }
    pump(d);
}

/* --- one manifest --- */

static char *id_of(const struct guest_spec *spec)
{
    char *id;

    return asprintf(&id, "%s/%s", spec->namespace_, spec->name) < 0 ? NULL : id;
}

enum deploy_result deploy_compare(struct deploy *d, struct guest_spec *spec,
                                  const uint8_t digest[32], bool applied)
{
    char id[2 * SPEC_SUBDOMAIN_MAX + 2];
    const struct guest_spec *now;
    const uint8_t *now_digest;
    const struct wish *w;
    const struct guest *g;

    d->opts.override(d->opts.ctx, spec);
    snprintf(id, sizeof(id), "%s/%s", spec->namespace_, spec->name);
    g = guests_find(d->opts.guests, id);
    w = wish_find(d, id);
    if (!g && !w)
        return DEPLOY_CREATED;
    if ((w ? w->applied : g->applied) != applied)
        return DEPLOY_FOREIGN;
    now = w ? w->spec : g->spec;
    now_digest = w ? w->digest : g->module_digest;
    if (g && !w && g->change) /* to be seen: it is tried again in any case */
        return DEPLOY_CONFIGURED;
    return memcmp(now_digest, digest, 32) == 0 && guest_spec_same(now, spec) &&
                   guest_spec_labels_same(now, spec)
               ? DEPLOY_UNCHANGED
               : DEPLOY_CONFIGURED;
}

static struct wish *wish_new(struct deploy *d, char *id)
{
    struct wish *w = calloc(1, sizeof(*w)), **last = &d->wishes;

    if (!w)
        return NULL;
    w->deploy = d;
    w->id = id;
    while (*last)
        last = &(*last)->next;
    *last = w;
    return w;
}

void deploy_put(struct deploy *d, struct guest_spec *spec, const uint8_t digest[32], bool applied)
{
    struct err err = {0};
    struct module *m = modules_use(d->modules, digest, spec->module, &err);
    char *id = id_of(spec);
    struct wish *w = id ? wish_find(d, id) : NULL;

    if (w) { /* not begun yet: this is what is wanted now */
        free(id);
        guest_spec_free(w->spec);
        module_unuse(w->module);
        w->spec = NULL;
        w->module = NULL;
    } else if (id) {
        w = wish_new(d, id);
        if (!w)
            free(id);
    }
    if (!w || !m) {
        if (w)
            wish_free(w);
        module_unuse(m);
        if (m)
            err_set(&err, ERR_NOMEM, 0, "no memory for it");
        err_wrap(&err, "%s:%u: guest %s/%s", spec->file, spec->line, spec->namespace_, spec->name);
        deploy_reject(d, &err);
        guest_spec_free(spec);
        return;
    }
    w->spec = spec;
    w->module = m;
    w->applied = applied;
    memcpy(w->digest, digest, sizeof(w->digest));
    go(w);
}

/* --- taking one away --- */

struct removal {
    struct deploy *deploy;
    char *id;
    bool applied;
    struct module *module;
    void (*done)(void *ctx, const struct err *err);
    void *ctx;
};

static void removal_over(void *ctx, const struct err *err)
{
    struct removal *r = ctx;

    if (r->done)
        r->done(r->ctx, err);
    free(r->id);
    free(r);
}

static void removed(void *ctx, const struct err *err)
{
    struct removal *r = ctx;
    struct deploy *d = r->deploy;
    struct db_batch *b = NULL;
    struct err why = {0};
    size_t len = strlen(r->id);

    (void)err;
    if (d->ended) {
        removal_over(r, NULL);
        return;
    }
    module_unuse(r->module);
    journal_event(d->opts.guests->journal, JOURNAL_DELETED, r->id, "");
    if (!r->applied || wish_find(d, r->id)) { /* it is wanted again already */
        removal_over(r, NULL);
    } else if (db_batch_new(&b, &why) < 0 ||
               db_batch_delete(b, DEPLOY_APPLIED, r->id, len, &why) < 0 ||
               db_batch_delete(b, DEPLOY_PREVIOUS, r->id, len, &why) < 0) {
        db_batch_free(b);
        removal_over(r, &why);
    } else if (deploy_commit(d, b, removal_over, r, &why) < 0) {
        removal_over(r, &why);
    }
    pump(d);
}

int deploy_take(struct deploy *d, struct guest *g, void (*done)(void *ctx, const struct err *err),
                void *ctx, struct err *err)
{
    struct removal *r = calloc(1, sizeof(*r));
    struct wish *w;

    if (!r || !(r->id = strdup(g->id))) {
        free(r);
        return err_set(err, ERR_NOMEM, 0, "guest %s: no memory", g->id);
    }
    r->deploy = d;
    r->done = done;
    r->ctx = ctx;
    r->applied = g->applied;
    r->module = modules_find(d->modules, g->module_digest);
    if (guest_remove(g, removed, r, err) < 0) {
        free(r->id);
        free(r);
        return -1;
    }
    while ((w = wish_find(d, r->id)))
        wish_free(w);
    moved(d, NULL, r->id);
    return 0;
}

int deploy_remove(struct deploy *d, const char *id, void (*done)(void *ctx, const struct err *err),
                  void *ctx, struct err *err)
{
    struct guest *g = guests_find(d->opts.guests, id);

    if (!g)
        return err_set(err, ERR_NOT_FOUND, 0, "there is no guest %s", id);
    if (!g->applied)
        return err_set(
            err, ERR_EXISTS, 0,
            "guest %s comes from %s, line %u, in the folder of --guests: remove it there", id,
            g->spec->file, g->spec->line);
    return deploy_take(d, g, done, ctx, err);
}

/* --- commits that somebody on the loop waits for --- */

struct commit {
    struct msg msg;
    struct loop *loop;
    bool failed;
    struct err err;
    void (*done)(void *ctx, const struct err *err);
    void *ctx;
};

static void committed_here(struct msg *m)
{
    struct commit *c = container_of(m, struct commit, msg);

    c->done(c->ctx, c->failed ? &c->err : NULL);
    free(c);
}

/* Commit thread. */
static void committed(void *ctx, const struct err *err)
{
    struct commit *c = ctx;

    c->failed = err != NULL;
    if (err)
        c->err = *err;
    c->msg.run = committed_here;
    loop_post(c->loop, &c->msg);
}

int deploy_commit(struct deploy *d, struct db_batch *b,
                  void (*done)(void *ctx, const struct err *err), void *ctx, struct err *err)
{
    struct commit *c = calloc(1, sizeof(*c));

    if (!c) {
        db_batch_free(b);
        return err_set(err, ERR_NOMEM, 0, "no memory");
    }
    *c = (struct commit){.loop = d->opts.loop, .done = done, .ctx = ctx};
    if (db_submit(d->opts.db, b, committed, c))
        return 0;
    free(c);
    return err_set(err, ERR_AGAIN, 0, "too much waits for the disk: try again");
}

/* --- rejects --- */

void deploy_reject(struct deploy *d, const struct err *err)
{
    struct reject *r;

    for (r = d->rejects; r; r = r->next) {
        if (strcmp(r->err.msg, err->msg) == 0) {
            r->current = true; /* said before */
            return;
        }
    }
    log_error("%s", err->msg);
    r = d->nrejects < GUESTS_DIR_ERRORS_MAX ? calloc(1, sizeof(*r)) : NULL;
    if (!r)
        return;
    r->err = *err;
    r->current = true;
    r->of_rows = d->rows;
    r->next = d->rejects;
    d->rejects = r;
    d->nrejects++;
}

const struct err *deploy_reject_at(const struct deploy *d, size_t i)
{
    const struct reject *r = d->rejects;

    while (r && i--)
        r = r->next;
    return r ? &r->err : NULL;
}

/* --- life --- */

const struct deploy_opts *deploy_options(const struct deploy *d)
{
    return &d->opts;
}

bool deploy_ended(const struct deploy *d)
{
    return d->ended;
}

void deploy_images(const struct deploy *d, uint64_t *n, uint64_t *bytes)
{
    modules_images(d->modules, n, bytes);
}

bool deploy_ready(const struct deploy *d, struct buf *why)
{
    return modules_ready(d->modules, why);
}

int deploy_new(struct deploy **out, const struct deploy_opts *opts, struct err *err)
{
    struct modules_opts mopts = {
        .loop = opts->loop, .engine = opts->engine, .state_dir = opts->state_dir};
    struct deploy *d = calloc(1, sizeof(*d));

    *out = NULL;
    if (!d)
        return err_set(err, ERR_NOMEM, 0, "no memory for guests");
    d->opts = *opts;
    mopts.done = module_done;
    mopts.ctx = d;
    if (modules_new(&d->modules, &mopts, err) < 0) {
        free(d);
        return -1;
    }
    *out = d;
    return 0;
}

int deploy_start(struct deploy *d, const struct deploy_rows *rows, struct err *err)
{
    d->rows = true;
    deploy_rows_apply(d, rows);
    d->rows = false;
    if (d->opts.guests_dir && deploy_dir_start(d, err) < 0)
        return -1;
    /* Not while one may be missing by a slip. */
    guests_forget_absent(d->opts.guests, !d->rejects);
    d->started = true;
    return 0;
}

void deploy_stop(struct deploy *d)
{
    if (!d)
        return;
    d->ended = true;
    deploy_dir_stop(d);
    for (struct wish *w = d->wishes, *next; w; w = next) {
        next = w->next;
        if (!w->handed)
            wish_free(w);
    }
    modules_free(d->modules);
    d->modules = NULL;
}

void deploy_free(struct deploy *d)
{
    if (!d)
        return;
    while (d->wishes) {
        struct wish *w = d->wishes;

        d->wishes = w->next;
        free(w->id);
        free(w);
    }
    for (struct reject *r = d->rejects, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    free(d);
}
