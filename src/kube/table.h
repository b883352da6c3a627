/* The change table of one shared watch: what exists, in which version, and when it last changed.
 *
 * For each object: key ("namespace/name", or "name" for objects of the cluster), uid,
 * resourceVersion, the number (seq) of its last change, and the cached object. Numbers are the
 * host's own, one sequence for each table, so that each guest can remember with one number what it
 * has handled. Deletions stay as tombstones until every guest has passed them. The table, without
 * the objects, is kept in the database: its owner writes each entry that `changed` names, and
 * restores them at start; so a relist after a restart finds what changed meanwhile.
 *
 * Entries of a namespace, and all living and all dead ones, are linked in the order of their
 * numbers: what changed after N is found from the newest end, at the cost of what is found. About
 * 100 bytes an entry besides its key and the object. Loop thread only.
 */
#ifndef ROOST_KUBE_TABLE_H
#define ROOST_KUBE_TABLE_H

#include "base/buf.h"
#include "base/err.h"
#include "kube/object.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table;
struct table_entry;

struct table_opts {
    size_t entries_max; /* 0: TABLE_ENTRIES_MAX; tombstones count */
    /* The entry changed and has a new number: persist it, and tell the guests. */
    void (*changed)(void *ctx, const struct table_entry *e);
    /* A tombstone is dropped: delete it from the database. */
    void (*forgotten)(void *ctx, const struct table_entry *e);
    void *ctx; /* neither callback may change the table */
};

int table_new(struct table **out, const struct table_opts *opts, struct err *err) ERR_CHECK;
void table_free(struct table *t);

/* --- what the reflector's sink does with it --- */

enum table_change {
    TABLE_SAME,    /* uid and version were known: obj is now the cached object, no new number */
    TABLE_CHANGED, /* a new number; `changed` was called */
    TABLE_STALE,   /* older than what is known: nothing changed */
    TABLE_FAILED   /* err says why: ERR_LIMIT entries_max, ERR_NOMEM; nothing changed */
};

/* Takes a reference of its own. */
enum table_change table_upsert(struct table *t, struct kube_object *obj, struct err *err);
/* TABLE_SAME: it was not known, or known as gone. */
enum table_change table_delete(struct table *t, const struct kube_object *obj, struct err *err);
/* Between begin and end all that is upserted or touched counts as seen; at the end what was not
 * becomes a tombstone. Begin may come again without an end. anew: until the end older versions are
 * believed. */
void table_relist_begin(struct table *t, bool anew);
void table_relist_end(struct table *t);
/* Exists, though nothing is known of its present form (see the reflector's `skipped`). */
void table_touch(struct table *t, const char *namespace_, const char *name);

/* --- reading --- */

const struct table_entry *table_find(const struct table *t, const char *key);
const char *table_entry_key(const struct table_entry *e);
uint64_t table_entry_seq(const struct table_entry *e);
bool table_entry_deleted(const struct table_entry *e);
/* Borrowed. NULL: a tombstone, or restored and not seen since. */
struct kube_object *table_entry_object(const struct table_entry *e);
void table_entry_uid(const struct table_entry *e, char out[KUBE_UID_MAX + 1]);
void table_entry_version(const struct table_entry *e, char out[KUBE_VERSION_MAX + 1]);

/* Calls each for all entries with a number above seq, tombstones included, oldest change first, in
 * one namespace or (NULL) in all. A non-zero return ends it and is returned. each must not change
 * the table. */
int table_each(const struct table *t, const char *namespace_, uint64_t seq,
               int (*each)(void *ctx, const struct table_entry *e), void *ctx);

/* The newest number that was given; 0: none. */
uint64_t table_seq(const struct table *t);

struct table_stats {
    size_t entries, tombstones, cached; /* entries count tombstones; cached have their object */
    uint64_t object_bytes;              /* of the cached objects */
    uint64_t stale;                     /* refused as older */
    bool relisting;
};
void table_stats(const struct table *t, struct table_stats *out);

/* --- persistence --- */

struct table_record {
    uint64_t seq;
    bool deleted;
    char uid[KUBE_UID_MAX + 1], version[KUBE_VERSION_MAX + 1];
};

/* The value for the database; its key is up to the owner and holds table_entry_key. */
int table_entry_encode(struct buf *out, const struct table_entry *e, struct err *err) ERR_CHECK;
/* ERR_CORRUPT: not what encode wrote. */
int table_entry_decode(struct table_record *out, const void *data, size_t len, struct err *err)
    ERR_CHECK;
/* At start, in any order, before anything else; then table_restored once. ERR_EXISTS: the key is
 * there already; ERR_CORRUPT: the number 0, or no key that an object can have. */
int table_restore(struct table *t, const char *key, const struct table_record *record,
                  struct err *err) ERR_CHECK;
/* seq_min: no number up to it is ever given again. It must be the greatest that any guest has
 * handled, since the tombstone that had it may be forgotten. */
int table_restored(struct table *t, uint64_t seq_min, struct err *err) ERR_CHECK;
/* Every guest has handled all up to this number: drops the tombstones among it. */
void table_forget_tombstones(struct table *t, uint64_t handled_seq);

#endif
