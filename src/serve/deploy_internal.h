/* Between the files of deploying: deploy.c (wishes), deploy_rows.c (what the database keeps) and
 * deploy_dir.c (the folder of --guests).
 */
#ifndef ROOST_SERVE_DEPLOY_INTERNAL_H
#define ROOST_SERVE_DEPLOY_INTERNAL_H

#include "base/dirwatch.h"
#include "serve/deploy.h"

#define DEPLOY_APPLIED  "applied"
#define DEPLOY_PREVIOUS "previous"

/* A manifest that is to be, until it is, or cannot be. */
struct wish {
    struct wish *next;
    struct deploy *deploy;
    char *id;
    struct guest_spec *spec; /* NULL: handed over */
    uint8_t digest[32];
    struct module *module; /* one use of it is the wish's */
    struct module *old;    /* of the guest that it replaces */
    bool applied, handed;
};

/* A manifest that is no guest: shown with the others, so that nobody looks for it in the log. */
struct reject {
    struct reject *next;
    struct err err;
    bool current; /* found by the newest reading of the folder */
    bool of_rows; /* of a guest that was applied */
};

struct dir_reading;

struct deploy {
    struct deploy_opts opts;
    struct modules *modules;
    struct wish *wishes;
    struct reject *rejects;
    size_t nrejects;
    struct dirwatch *watch;
    struct dir_reading *reading; /* under way */
    bool read_again;             /* it changed meanwhile */
    bool rows, started, ended;   /* rows: they are being applied */
};

/* Kept and shown; logged once. */
void deploy_reject(struct deploy *d, const struct err *err);
/* As deploy_remove, of any guest. */
int deploy_take(struct deploy *d, struct guest *g, void (*done)(void *ctx, const struct err *err),
                void *ctx, struct err *err) ERR_CHECK;
void deploy_rows_apply(struct deploy *d, const struct deploy_rows *rows);
/* Reads it now, then watches it. */
int deploy_dir_start(struct deploy *d, struct err *err) ERR_CHECK;
void deploy_dir_stop(struct deploy *d);

#endif
