/* The embedded database (LMDB): records of guests, change tables. Small values, one writer thread.
 *
 * Any thread queues puts and deletes (copied) into a batch and submits it; a batch is one atomic
 * unit. The one commit thread takes all batches that wait, writes them in the order of their
 * submission in one transaction, syncs it, and then reports each: group commit, so that the cost of
 * a sync is shared. A crash leaves a prefix of the submitted batches, each whole or not at all.
 * Reading happens at start-up only (db_scan), before anything was submitted.
 */
#ifndef ROOST_BASE_DB_H
#define ROOST_BASE_DB_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;
struct db_batch;

/* Opens or creates DIR/FILE (0600). One process at a time: the caller holds the state directory's
 * lock. Starts the commit thread. */
int db_open(struct db **out, const char *path, struct err *err) ERR_CHECK;
/* The same with another size than DB_MAP_BYTES_MAX, in bytes, whole pages: for tests of a full
 * database. */
int db_open_sized(struct db **out, const char *path, size_t map_bytes, struct err *err) ERR_CHECK;
/* Commits what waits, then closes. NULL is fine. */
void db_close(struct db *db);

/* table: a short name ("guest", "change"); key and value are bytes, copied.
 * ERR_LIMIT: key empty or over DB_KEY_MAX, value over DB_VALUE_MAX, or the batch over
 * DB_BATCH_BYTES_MAX; the batch is as it was. */
int db_batch_new(struct db_batch **out, struct err *err) ERR_CHECK;
int db_batch_put(struct db_batch *b, const char *table, const void *key, size_t key_len,
                 const void *value, size_t value_len, struct err *err) ERR_CHECK;
int db_batch_delete(struct db_batch *b, const char *table, const void *key, size_t key_len,
                    struct err *err) ERR_CHECK;
/* The key's value in the table `from`, as it is when the batch is written, goes to the table `to`
 * too; where that has the key already only if `over`. Nothing where `from` has no such key. */
int db_batch_copy(struct db_batch *b, const char *from, const char *to, const void *key,
                  size_t key_len, bool over, struct err *err) ERR_CHECK;
void db_batch_free(struct db_batch *b);
/* Takes the batch. False: DB_QUEUE_BYTES_MAX already wait for the disk, the batch is gone, and done
 * is not called. Else done(ctx, err) is called by the commit thread once it is on disk (err NULL),
 * however long that takes; or not at all, because the database is full or damaged, or was closed
 * while the disk failed (err says so, and the batch is lost). done may be NULL. Callers that live
 * on the loop post from there. */
bool db_submit(struct db *db, struct db_batch *b, void (*done)(void *ctx, const struct err *err),
               void *ctx);
/* Less waits for the disk than three quarters of DB_QUEUE_BYTES_MAX. Any thread. */
bool db_has_room(struct db *db);

/* Calls each(ctx, key, value) for all entries of a table in key order; a non-zero return ends it
 * and is returned. */
int db_scan(struct db *db, const char *table,
            int (*each)(void *ctx, const void *key, size_t key_len, const void *value,
                        size_t value_len, struct err *err),
            void *ctx, struct err *err) ERR_CHECK;

/* Numbers for metrics. */
struct db_stats {
    uint64_t commits, batches, failed, bytes_queued, sync_ns_last;
    uint64_t refused, retries;    /* batches that found the queue full; tries of failed groups */
    uint64_t reopened;            /* to give memory back */
    bool failing;                 /* the last try failed, and is repeated */
    char last_error[ERR_MSG_MAX]; /* why a batch could not be written; empty: none failed */
};
void db_stats(struct db *db, struct db_stats *out);

#endif
