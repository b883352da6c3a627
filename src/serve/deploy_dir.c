/* The folder of --guests. It is read as a whole, at start and whenever it has changed and come to
 * rest (base/dirwatch.h), on another thread: manifests, and the digests of the modules that they
 * name. Then, a few in each turn of the loop: what is new is made, what differs replaced, and what
 * is not there any more taken away.
 *
 * A file with a mistake in it touches nothing: the guests that came from it stay as they are, until
 * it is right or gone. So half of a file, or of a module, does no harm; the mistake is said once.
 */
#include "base/auto.h"
#include "base/limits.h"
#include "base/work.h"
#include "serve/deploy_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
    struct guest_spec *spec; /* NULL: err */
    uint8_t digest[IMAGE_DIGEST_BYTES];
    struct err *err;
};

struct known_module {
    struct known_module *next;
    char *path;
    uint8_t digest[IMAGE_DIGEST_BYTES];
    struct err err;
};

struct dir_reading {
    struct deploy *deploy;
    char *dir;
    struct item *items;
    size_t n, room, at;
    struct known_module *modules;
    struct err failed; /* the folder could not be read */
    struct timer next; /* the next turn */
    size_t left;       /* guests, from the first on, whose absence is not looked at yet */
    bool putting;      /* else: taking away */
};

/* --- reading: any thread --- */

static struct item *item_add(struct dir_reading *r)
{
    if (r->n == r->room) {
        size_t room = r->room ? r->room * 2 : 64;
        struct item *items = realloc(r->items, room * sizeof(*items));

        if (!items)
            return NULL;
        r->items = items;
        r->room = room;
    }
    r->items[r->n] = (struct item){0};
    return &r->items[r->n++];
}

static void add_error(struct dir_reading *r, const struct err *err)
{
    struct item *i = item_add(r);

    if (i)
        i->err = malloc(sizeof(*i->err));
    if (i && i->err)
        *i->err = *err;
    else
        err_set(&r->failed, ERR_NOMEM, 0, "%s: no memory", r->dir);
}

/* Read once for all guests that name it. */
static const struct known_module *module_read(struct dir_reading *r, const char *path)
{
    struct known_module *m = r->modules;

    while (m && strcmp(m->path, path) != 0)
        m = m->next;
    if (m)
        return m;
    m = calloc(1, sizeof(*m));
    if (!m || !(m->path = strdup(path))) {
        free(m);
        return NULL;
    }
    if (image_digest(path, m->digest, NULL, &m->err) < 0 && m->err.code == ERR_NONE)
        m->err.code = ERR_IO;
    m->next = r->modules;
    r->modules = m;
    return m;
}

static void took(void *ctx, struct guest_spec *spec, const struct err *err)
{
    struct dir_reading *r = ctx;
    const struct known_module *m;
    struct err why = {0};
    struct item *i;

    if (!spec) {
        add_error(r, err);
        return;
    }
    m = module_read(r, spec->module);
    if (m && m->err.code == ERR_NONE && (i = item_add(r))) {
        i->spec = spec;
        memcpy(i->digest, m->digest, sizeof(i->digest));
        return;
    }
    if (m)
        why = m->err;
    else
        err_set(&why, ERR_NOMEM, 0, "no memory");
    err_wrap(&why, "%s:%u: guest %s/%s", spec->file, spec->line, spec->namespace_, spec->name);
    add_error(r, &why);
    guest_spec_free(spec);
}

static void read_all(void *ctx)
{
    struct dir_reading *r = ctx;
    struct err err = {0};

    if (guest_spec_read_dir(r->dir, took, r, &err) < 0)
        r->failed = err;
}

static struct dir_reading *reading_new(struct deploy *d)
{
    struct dir_reading *r = calloc(1, sizeof(*r));

    if (!r || !(r->dir = strdup(d->opts.guests_dir))) {
        free(r);
        return NULL;
    }
    r->deploy = d;
    r->putting = true;
    return r;
}

static void reading_free(struct dir_reading *r)
{
    for (size_t i = 0; i < r->n; i++) {
        guest_spec_free(r->items[i].spec);
        free(r->items[i].err);
    }
    for (struct known_module *m = r->modules, *next; m; m = next) {
        next = m->next;
        free(m->path);
        free(m);
    }
    free(r->items);
    free(r->dir);
    free(r);
}

/* --- carrying out --- */

static void foreign(struct deploy *d, const struct guest_spec *spec)
{
    struct err err = {0};

    err_set(&err, ERR_EXISTS, 0,
            "%s:%u: guest %s/%s was applied already: delete that one (roost delete) or this file",
            spec->file, spec->line, spec->namespace_, spec->name);
    deploy_reject(d, &err);
}

static void note_listed(const struct deploy *d, const char *id)
{
    struct guest *g = guests_find(d->opts.guests, id);

    if (g && !g->applied)
        g->listed = true;
}

static void put_item(struct deploy *d, struct item *i)
{
    struct guest_spec *spec = i->spec;
    char id[2 * SPEC_SUBDOMAIN_MAX + 2];

    if (!spec) {
        deploy_reject(d, i->err);
        return;
    }
    i->spec = NULL;
    snprintf(id, sizeof(id), "%s/%s", spec->namespace_, spec->name);
    switch (deploy_compare(d, spec, i->digest, false)) {
    case DEPLOY_UNCHANGED:
        guest_spec_free(spec);
        break;
    case DEPLOY_FOREIGN:
        foreign(d, spec);
        guest_spec_free(spec);
        break;
    case DEPLOY_CREATED:
    case DEPLOY_CONFIGURED:
        deploy_put(d, spec, i->digest, false);
        break;
    }
    note_listed(d, id);
}

/* Whether the file has a mistake in it: then nothing is concluded from what it lacks. */
static bool in_trouble(const struct deploy *d, const char *file)
{
    size_t n = strlen(file);

    for (const struct reject *r = d->rejects; r; r = r->next)
        if (r->current && strncmp(r->err.msg, file, n) == 0 && r->err.msg[n] == ':')
            return true;
    return false;
}

static void look_at_absent(struct dir_reading *r)
{
    struct deploy *d = r->deploy;
    struct guest *g = guests_at(d->opts.guests, --r->left);
    struct err err = {0};

    if (g->applied || g->listed || in_trouble(d, g->spec->file))
        return;
    log_line(LOG_INFO, g->id, "is not in %s any more: deleted", r->dir);
    if (deploy_take(d, g, NULL, NULL, &err) < 0) {
        log_line(LOG_INFO, g->id, "%s", err.msg); /* it is being changed: looked at again */
        d->read_again = true;
    }
}

static void rejects_age(struct deploy *d)
{
    for (struct reject *r = d->rejects; r; r = r->next)
        r->current = r->of_rows;
}

static void rejects_forget(struct deploy *d)
{
    for (struct reject **at = &d->rejects, *r; (r = *at);) {
        if (r->current) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        d->nrejects--;
        free(r);
    }
}

/* One more step. False: all is done. */
static bool step(struct dir_reading *r)
{
    struct deploy *d = r->deploy;

    if (r->putting && r->at < r->n) {
        put_item(d, &r->items[r->at++]);
        return true;
    }
    /* Backwards: who goes between two turns moves only those up that were looked at. */
    if (r->putting || r->left > d->opts.guests->n)
        r->left = d->opts.guests->n;
    r->putting = false;
    if (r->left == 0)
        return false;
    look_at_absent(r);
    return true;
}

static void read_later(struct deploy *d);

static void reading_over(struct dir_reading *r)
{
    struct deploy *d = r->deploy;

    rejects_forget(d);
    d->reading = NULL;
    reading_free(r);
    if (d->read_again)
        read_later(d);
}

static void next_steps(struct timer *t)
{
    struct dir_reading *r = container_of(t, struct dir_reading, next);
    struct loop *loop = r->deploy->opts.loop;

    for (size_t i = 0; i < APPLY_AT_ONCE; i++) {
        if (!step(r)) {
            reading_over(r);
            return;
        }
    }
    if (loop_timer_set(loop, t, loop_now_ns(loop), NULL) < 0)
        reading_over(r); /* with the next change of the folder, all of it again */
}

static void begin_steps(struct dir_reading *r)
{
    struct deploy *d = r->deploy;

    rejects_age(d);
    for (size_t i = 0; guests_at(d->opts.guests, i); i++)
        guests_at(d->opts.guests, i)->listed = false;
    r->next.fire = next_steps;
}

static void was_read(void *ctx)
{
    struct dir_reading *r = ctx;
    struct deploy *d = r->deploy;

    if (d->ended) {
        reading_free(r);
        return;
    }
    if (r->failed.code != ERR_NONE) {
        deploy_reject(d, &r->failed); /* and nothing is touched */
        d->reading = NULL;
        reading_free(r);
        if (d->read_again)
            read_later(d);
        return;
    }
    begin_steps(r);
    next_steps(&r->next);
}

static void read_later(struct deploy *d)
{
    struct err err = {0};

    if (d->reading) {
        d->read_again = true;
        return;
    }
    d->read_again = false;
    d->reading = reading_new(d);
    if (!d->reading || work_start(d->opts.loop, read_all, was_read, d->reading, &err) < 0) {
        log_error("%s: no memory to read it again", d->opts.guests_dir);
        if (d->reading)
            reading_free(d->reading);
        d->reading = NULL;
    }
}

static void dir_changed(void *ctx)
{
    struct deploy *d = ctx;

    if (!d->ended)
        read_later(d);
}

int deploy_dir_start(struct deploy *d, struct err *err)
{
    struct dir_reading *r;

    /* First: what changes from here on is seen. */
    if (dirwatch_new(&d->watch, d->opts.loop, d->opts.guests_dir, GUESTS_DIR_SETTLE_MS, dir_changed,
                     d, err) < 0)
        return -1;
    r = reading_new(d);
    if (!r)
        return err_set(err, ERR_NOMEM, 0, "%s: no memory", d->opts.guests_dir);
    read_all(r);
    if (r->failed.code != ERR_NONE) {
        *err = r->failed;
        reading_free(r);
        return -1;
    }
    for (size_t i = 0; i < r->n; i++)
        put_item(d, &r->items[i]);
    reading_free(r);
    return 0;
}

void deploy_dir_stop(struct deploy *d)
{
    dirwatch_free(d->watch);
    d->watch = NULL;
    if (d->reading && !d->reading->next.fire)
        return; /* it is being read: freed when it comes back */
    if (d->reading) {
        loop_timer_clear(d->opts.loop, &d->reading->next);
        reading_free(d->reading);
        d->reading = NULL;
    }
}
