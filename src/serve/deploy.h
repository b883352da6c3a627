/* Which guests there are: those that were applied, which the database keeps, and those of the
 * folder of --guests, which is looked at again whenever it changes.
 *
 * Each manifest that is to be is a wish, carried out as soon as its module's image is there: a
 * guest is made, or the one that is there is replaced (guest_replace). Where that cannot be (its
 * module does not compile, or does not start), the old one goes on, the event RolledBack and its
 * last error say why, and what the database keeps is the old manifest again.
 *
 * Two tables: `applied` has a row for each guest that was applied, `previous` the one before, from
 * the moment a new one is written until it runs. So a restart half way begins with the old one and
 * tries the new one again.
 *
 * Loop thread, except where said.
 */
#ifndef ROOST_SERVE_DEPLOY_H
#define ROOST_SERVE_DEPLOY_H

#include "base/db.h"
#include "guest/guest.h"
#include "serve/modules.h"

struct deploy;

struct deploy_opts {
    struct loop *loop;
    struct guests *guests;
    struct db *db;
    struct engine *engine;
    const char *state_dir;
    const char *guests_dir; /* NULL: none */
    /* What the daemon's options say of a manifest that does not; before anything is made of it. */
    void (*override)(void *ctx, struct guest_spec *spec);
    /* A guest came, went or was replaced; name is "namespace/name". */
    void (*moved)(void *ctx, struct guest *g, const char *id);
    void *ctx;
};

/* Reads the database, so before anything was written to it. */
struct deploy_rows;
int deploy_rows_read(struct deploy_rows **out, struct db *db, struct err *err) ERR_CHECK;
void deploy_rows_free(struct deploy_rows *rows);

int deploy_new(struct deploy **out, const struct deploy_opts *opts, struct err *err) ERR_CHECK;
/* Makes all guests of the start (rows, then the folder's) before the loop runs. -1: the folder
 * cannot be read. */
int deploy_start(struct deploy *d, const struct deploy_rows *rows, struct err *err) ERR_CHECK;
/* Nothing is begun any more; what is under way finds its end in the loop. Before the engine. */
void deploy_stop(struct deploy *d);
/* After the loop. NULL is fine. */
void deploy_free(struct deploy *d);

const struct deploy_opts *deploy_options(const struct deploy *d);
/* Images that are mapped, and their bytes. */
void deploy_images(const struct deploy *d, uint64_t *n, uint64_t *bytes);
bool deploy_ready(const struct deploy *d, struct buf *why);
/* Manifests of the folder that are no guests, one after the other; NULL ends. */
const struct err *deploy_reject_at(const struct deploy *d, size_t i);
/* Whether it ended: for work that comes back. */
bool deploy_ended(const struct deploy *d);

/* --- one manifest --- */

enum deploy_result {
    DEPLOY_CREATED,
    DEPLOY_CONFIGURED,
    DEPLOY_UNCHANGED,
    DEPLOY_FOREIGN, /* it is the folder's, or it was applied and this is the folder's */
};

/* What putting it would do. May change spec as the options say. */
enum deploy_result deploy_compare(struct deploy *d, struct guest_spec *spec,
                                  const uint8_t digest[32], bool applied);
/* Carries it out (takes spec). Errors are the guest's to show. */
void deploy_put(struct deploy *d, struct guest_spec *spec, const uint8_t digest[32], bool applied);
/* Takes a guest away, and its rows; done is called in a later turn, once that is on disk.
 * ERR_NOT_FOUND; ERR_EXISTS: it is the folder's; ERR_AGAIN: it is being changed, or the daemon
 * stops. */
int deploy_remove(struct deploy *d, const char *id, void (*done)(void *ctx, const struct err *err),
                  void *ctx, struct err *err) ERR_CHECK;

/* --- rows --- */

/* What a row holds, as text: any thread. NULL: no memory, or it is too large. */
char *deploy_row(const struct guest_spec *spec, const char *written, const uint8_t digest[32],
                 const char *text, size_t len);
/* Adds the row, and keeps the one before it if the guest is there. */
int deploy_row_put(struct db_batch *b, const char *id, const char *row, bool keep, struct err *err)
    ERR_CHECK;
/* Takes the batch; done is called on the loop once it is on disk, or could not be written. */
int deploy_commit(struct deploy *d, struct db_batch *b,
                  void (*done)(void *ctx, const struct err *err), void *ctx, struct err *err)
    ERR_CHECK;

#endif
