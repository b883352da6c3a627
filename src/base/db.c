/* LMDB behind one writer thread.
 *
 * A batch is one buffer of entries, each a fixed head and then table, key and value. Submitting
 * appends it to a list; the commit thread waits DB_GROUP_DELAY_MS after the first one for others
 * (not when much waits already, or when closing), takes the list (up to DB_GROUP_BYTES_MAX of it,
 * since a transaction of LMDB has a most of changed pages), and writes and syncs it in one
 * transaction. Those who submit wake it only for the first batch and for a full group: a wake for
 * each would cost more than writing them.
 *
 * Where that fails because of the disk or for want of memory, everything in it is undone and it is
 * tried again, at growing intervals, until it succeeds or the database closes: what comes meanwhile
 * waits behind it, in order, up to DB_QUEUE_BYTES_MAX. Where the database itself is full, the group
 * is reported failed and the next is tried as if nothing had been. Where LMDB says that its
 * environment is not usable any more (a failed write of its own head page), it is closed and opened
 * again first.
 *
 * There is no lock file: the caller holds the state directory's lock, and inside the process `env`
 * is used under one mutex, by the commit thread and by db_scan. The map is DB_MAP_BYTES_MAX of
 * address space; what is resident is the pages of the tree that were touched, until the environment
 * is opened anew: after DB_REOPEN_BYTES, or DB_IDLE_REOPEN_BYTES and DB_IDLE_MS without a batch.
 *
 * Only this file knows LMDB. A callback of a batch is always the commit thread's, and is called
 * exactly once.
 */
#include "base/db.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/limits.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum entry_kind { ENTRY_PUT = 1, ENTRY_DELETE, ENTRY_COPY, ENTRY_KEEP };

struct entry {
    uint8_t kind, table_len; /* table_len with its NUL */
    uint16_t key_len;
    uint32_t value_len;
};

struct db_batch {
    struct db_batch *next;
    struct buf entries;
    void (*done)(void *ctx, const struct err *err);
    void *ctx;
};

struct db {
    char *path;
    size_t map_bytes;
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t env_lock; /* the environment */
    MDB_env *env;             /* NULL: it was not usable any more, and could not be opened again */
    pthread_mutex_t lock;     /* all below */
    pthread_cond_t ready;     /* on CLOCK_MONOTONIC */
    struct db_batch *head, **tail;
    bool closing;
    size_t since_open;    /* bytes of entries read and committed */
    size_t wake_at_bytes; /* the commit thread waits until so much is there; SIZE_MAX: it works */
    struct db_stats stats;
};

/* --- LMDB's conventions --- */

static int db_error(struct err *err, int rc, const char *what)
{
    enum err_code code = ERR_IO;

    if (rc > 0) { /* an errno */
        if (rc == ENOMEM)
            code = ERR_NOMEM;
        else if (rc == EACCES || rc == EPERM)
            code = ERR_DENIED;
        return err_set(err, code, rc, "%s", what);
    }
    if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID ||
        rc == MDB_VERSION_MISMATCH || rc == MDB_INCOMPATIBLE)
        code = ERR_CORRUPT;
    else if (rc == MDB_DBS_FULL)
        code = ERR_LIMIT;
    return err_set(err, code, 0, "%s: %s", what, mdb_strerror(rc));
}

static int env_configure(MDB_env *env, size_t map_bytes, const char *path)
{
    int rc = mdb_env_set_mapsize(env, map_bytes);

    if (rc == 0)
        rc = mdb_env_set_maxdbs(env, DB_TABLES_MAX);
    if (rc == 0)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD, 0600);
    return rc;
}

static int env_open(struct db *db, struct err *err)
{
    int rc = mdb_env_create(&db->env);

    if (rc)
        return db_error(err, rc, "open");
    rc = env_configure(db->env, db->map_bytes, db->path);
    if (rc == 0)
        return 0;
    mdb_env_close(db->env);
    db->env = NULL;
    return db_error(err, rc, "open");
}

/* --- batches --- */

int db_batch_new(struct db_batch **out, struct err *err)
{
    struct db_batch *b = calloc(1, sizeof(*b));

    if (!b)
        return err_set(err, ERR_NOMEM, 0, "database: no memory for a batch");
    b->entries.max = DB_BATCH_BYTES_MAX;
    *out = b;
    return 0;
}

void db_batch_free(struct db_batch *b)
{
    if (!b)
        return;
    buf_free(&b->entries);
    free(b);
}

static int entry_check(const char *table, size_t key_len, size_t value_len, struct err *err)
{
    size_t len = strlen(table);

    assert(len > 0 && len <= DB_TABLE_NAME_MAX);
    if (key_len == 0 || key_len > DB_KEY_MAX)
        return err_set(err, ERR_LIMIT, 0, "database: table %s: key of %zu bytes, limit 1 to %u",
                       table, key_len, DB_KEY_MAX);
    if (value_len > DB_VALUE_MAX)
        return err_set(err, ERR_LIMIT, 0, "database: table %s: value of %zu bytes, limit %u", table,
                       value_len, DB_VALUE_MAX);
    return 0;
}

static int entry_add(struct db_batch *b, enum entry_kind kind, const char *table, const void *key,
                     size_t key_len, const void *value, size_t value_len, struct err *err)
{
    struct entry e = {.kind = (uint8_t)kind, .table_len = (uint8_t)(strlen(table) + 1)};

    if (entry_check(table, key_len, value_len, err) < 0)
        return -1;
    e.key_len = (uint16_t)key_len;
    e.value_len = (uint32_t)value_len;
    /* All at once, so that a failure leaves no half entry. */
    if (buf_reserve(&b->entries, sizeof(e) + e.table_len + key_len + value_len, err) < 0)
        return err_wrap(err, "database: batch");
    if (buf_append(&b->entries, &e, sizeof(e), err) < 0 ||
        buf_append(&b->entries, table, e.table_len, err) < 0 ||
        buf_append(&b->entries, key, key_len, err) < 0 ||
        buf_append(&b->entries, value, value_len, err) < 0)
        abort(); /* there is room */
    return 0;
}

int db_batch_put(struct db_batch *b, const char *table, const void *key, size_t key_len,
                 const void *value, size_t value_len, struct err *err)
{
    return entry_add(b, ENTRY_PUT, table, key, key_len, value, value_len, err);
}

int db_batch_delete(struct db_batch *b, const char *table, const void *key, size_t key_len,
                    struct err *err)
{
    return entry_add(b, ENTRY_DELETE, table, key, key_len, NULL, 0, err);
}

int db_batch_copy(struct db_batch *b, const char *from, const char *to, const void *key,
                  size_t key_len, bool over, struct err *err)
{
    return entry_add(b, over ? ENTRY_COPY : ENTRY_KEEP, to, key, key_len, from, strlen(from) + 1,
                     err);
}

bool db_has_room(struct db *db)
{
    bool room;

    pthread_mutex_lock(&db->lock);
    room = db->stats.bytes_queued < DB_QUEUE_BYTES_MAX / 4 * 3;
    pthread_mutex_unlock(&db->lock);
    return room;
}

bool db_submit(struct db *db, struct db_batch *b, void (*done)(void *ctx, const struct err *err),
               void *ctx)
{
    bool wake, refused;

    b->next = NULL;
    b->done = done;
    b->ctx = ctx;
    pthread_mutex_lock(&db->lock);
    refused = db->stats.bytes_queued + b->entries.len > DB_QUEUE_BYTES_MAX;
    if (!refused) {
        db->stats.bytes_queued += b->entries.len;
        *db->tail = b;
        db->tail = &b->next;
    }
    db->stats.refused += refused;
    wake = !refused && db->stats.bytes_queued >= db->wake_at_bytes;
    pthread_mutex_unlock(&db->lock);
    if (wake)
        pthread_cond_signal(&db->ready);
    if (refused)
        db_batch_free(b);
    return !refused;
}

/* --- writing a group --- */

/* The value is the name of the table where the key's value is. */
static int entry_copy(MDB_txn *txn, MDB_dbi to, MDB_val *key, const char *from_name, bool over)
{
    MDB_val value;
    MDB_dbi from;
    int rc = mdb_dbi_open(txn, from_name, MDB_CREATE, &from);

    if (rc == 0)
        rc = mdb_get(txn, from, key, &value);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc == 0) {
        /* It lies in the map, which the put may move. */
        void *copy = malloc(value.mv_size + 1);

        if (!copy)
            return ENOMEM;
        memcpy(copy, value.mv_data, value.mv_size);
        value.mv_data = copy;
        rc = mdb_put(txn, to, key, &value, over ? 0 : MDB_NOOVERWRITE);
        free(copy);
    }
    return rc == MDB_KEYEXIST ? 0 : rc;
}

static int entry_write(MDB_txn *txn, const struct entry *e, const uint8_t *data)
{
    MDB_val key = {.mv_size = e->key_len, .mv_data = (void *)(uintptr_t)(data + e->table_len)};
    MDB_val value = {.mv_size = e->value_len, .mv_data = (uint8_t *)key.mv_data + e->key_len};
    MDB_dbi table;
    int rc = mdb_dbi_open(txn, (const char *)data, MDB_CREATE, &table);

    if (rc)
        return rc;
    if (e->kind == ENTRY_PUT)
        return mdb_put(txn, table, &key, &value, 0);
    if (e->kind == ENTRY_COPY || e->kind == ENTRY_KEEP)
        return entry_copy(txn, table, &key, value.mv_data, e->kind == ENTRY_COPY);
    rc = mdb_del(txn, table, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int batch_write(MDB_txn *txn, const struct db_batch *b)
{
    const uint8_t *at = b->entries.data, *end = at + b->entries.len;

    while (at < end) {
        struct entry e;
        int rc;

        memcpy(&e, at, sizeof(e));
        at += sizeof(e);
        rc = entry_write(txn, &e, at);
        if (rc)
            return rc;
        at += e.table_len + (size_t)e.key_len + e.value_len;
    }
    return 0;
}

static int group_write(MDB_env *env, const struct db_batch *group)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);

    if (rc)
        return rc;
    for (const struct db_batch *b = group; b; b = b->next) {
        rc = batch_write(txn, b);
        if (rc) {
            mdb_txn_abort(txn);
            return rc;
        }
    }
    return mdb_txn_commit(txn);
}

/* Opens the environment again where LMDB has given it up. */
static int env_revive(struct db *db, struct err *err)
{
    MDB_txn *txn;
    int rc;

    if (db->env) {
        rc = mdb_txn_begin(db->env, NULL, 0, &txn);
        if (rc == 0)
            mdb_txn_abort(txn);
        if (rc != MDB_PANIC)
            return rc ? db_error(err, rc, "begin") : 0;
        mdb_env_close(db->env);
        db->env = NULL;
    }
    return env_open(db, err);
}

/* Opens it anew where so much was touched since: LMDB keeps each page that it ever changed in
 * memory, and what it read of the map counts as the process's. If that fails, env_revive tries
 * again. */
static void env_slim(struct db *db, size_t touched_min)
{
    struct err err = {0};
    bool enough;

    pthread_mutex_lock(&db->lock);
    enough = db->since_open >= touched_min;
    if (enough)
        db->since_open = 0;
    db->stats.reopened += enough;
    pthread_mutex_unlock(&db->lock);
    if (!enough)
        return;
    pthread_mutex_lock(&db->env_lock);
    if (db->env)
        mdb_env_close(db->env);
    db->env = NULL;
    if (env_open(db, &err) < 0)
        log_error("database %s: %s", db->path, err.msg);
    pthread_mutex_unlock(&db->env_lock);
}

static int group_commit(struct db *db, const struct db_batch *group, struct err *err)
{
    uint64_t start = clock_now_ns();
    int rc;

    pthread_mutex_lock(&db->env_lock);
    rc = env_revive(db, err);
    if (rc == 0) {
        rc = group_write(db->env, group);
        if (rc)
            db_error(err, rc, "commit");
    }
    pthread_mutex_unlock(&db->env_lock);
    pthread_mutex_lock(&db->lock);
    db->stats.sync_ns_last = clock_now_ns() - start;
    pthread_mutex_unlock(&db->lock);
    return rc ? err_wrap(err, "database %s", db->path) : 0;
}

/* --- the commit thread --- */

static void wait_until(struct db *db, uint64_t deadline_ns)
{
    struct timespec t = clock_timespec(deadline_ns);

    db->wake_at_bytes = DB_GROUP_BYTES;
    while (!db->closing && db->stats.bytes_queued < DB_GROUP_BYTES)
        if (pthread_cond_timedwait(&db->ready, &db->lock, &t) == ETIMEDOUT)
            break;
    db->wake_at_bytes = SIZE_MAX;
}

/* Takes batches off the list: all, or as many as one transaction of LMDB holds in the worst case.
 */
static struct db_batch *group_cut(struct db *db)
{
    struct db_batch *group = db->head, *last = group;
    size_t bytes = last->entries.len;

    while (last->next && bytes + last->next->entries.len <= DB_GROUP_BYTES_MAX) {
        last = last->next;
        bytes += last->entries.len;
    }
    db->head = last->next;
    if (!db->head)
        db->tail = &db->head;
    last->next = NULL;
    return group;
}

/* Until there is a batch, or it closes. False: for DB_IDLE_MS there was none, and there is memory
 * to give back. */
static bool wait_for_batch(struct db *db)
{
    bool idle = false;

    while (!db->head && !db->closing && !idle) {
        struct timespec t = clock_timespec(clock_now_ns() + DB_IDLE_MS * NS_PER_MS);

        if (db->since_open < DB_IDLE_REOPEN_BYTES)
            pthread_cond_wait(&db->ready, &db->lock);
        else
            idle = pthread_cond_timedwait(&db->ready, &db->lock, &t) == ETIMEDOUT;
    }
    return db->head || db->closing;
}

/* The next group; NULL when closing and nothing is left. */
static struct db_batch *group_take(struct db *db)
{
    struct db_batch *group;

    pthread_mutex_lock(&db->lock);
    db->wake_at_bytes = 0;
    while (!wait_for_batch(db)) {
        pthread_mutex_unlock(&db->lock);
        env_slim(db, DB_IDLE_REOPEN_BYTES);
        heap_flush();
        pthread_mutex_lock(&db->lock);
    }
    db->wake_at_bytes = SIZE_MAX;
    if (db->head)
        wait_until(db, clock_now_ns() + DB_GROUP_DELAY_MS * NS_PER_MS);
    group = db->head ? group_cut(db) : NULL;
    pthread_mutex_unlock(&db->lock);
    return group;
}

static void group_count(struct db *db, const struct db_batch *group, int rc)
{
    pthread_mutex_lock(&db->lock);
    db->stats.commits += rc == 0;
    for (const struct db_batch *b = group; b; b = b->next) {
        db->stats.batches++;
        db->stats.failed += rc < 0;
        db->stats.bytes_queued -= b->entries.len;
        db->since_open += sizeof(struct db_batch) + b->entries.len;
    }
    pthread_mutex_unlock(&db->lock);
}

static void group_report(struct db_batch *group, const struct err *failed)
{
    while (group) {
        struct db_batch *b = group;

        group = b->next;
        if (b->done)
            b->done(b->ctx, failed);
        db_batch_free(b);
    }
}

static void note_failure(struct db *db, const struct err *err)
{
    pthread_mutex_lock(&db->lock);
    db->stats.failing = true;
    snprintf(db->stats.last_error, sizeof(db->stats.last_error), "%s", err->msg);
    pthread_mutex_unlock(&db->lock);
}

static void note_success(struct db *db, bool retried)
{
    if (!retried)
        return;
    log_warn("database %s: works again", db->path);
    pthread_mutex_lock(&db->lock);
    db->stats.failing = false;
    pthread_mutex_unlock(&db->lock);
}

/* False: it closes. */
static bool wait_for_retry(struct db *db, uint64_t ns)
{
    uint64_t due = clock_now_ns() + ns;
    struct timespec t = clock_timespec(due);
    bool closing;

    pthread_mutex_lock(&db->lock);
    db->stats.retries++;
    while (!db->closing && pthread_cond_timedwait(&db->ready, &db->lock, &t) != ETIMEDOUT)
        continue;
    closing = db->closing;
    pthread_mutex_unlock(&db->lock);
    return !closing;
}

/* Until it is on disk, cannot be, or the database closes: then with one last try. */
static int group_insist(struct db *db, const struct db_batch *group, struct err *err)
{
    uint64_t delay = DB_RETRY_MIN_NS;
    bool retried = false, open = true;

    while (group_commit(db, group, err) < 0) {
        bool again = err->sys > 0 && open;

        note_failure(db, err);
        log_error("%s%s", err->msg, again ? ": tried again until it works" : "");
        if (!again)
            return -1;
        open = wait_for_retry(db, delay);
        delay = delay * 2 < DB_RETRY_MAX_NS ? delay * 2 : DB_RETRY_MAX_NS;
        err->code = ERR_NONE;
        err->sys = 0;
        retried = true;
    }
    note_success(db, retried);
    return 0;
}

static void *commit_main(void *arg)
{
    struct db *db = arg;
    struct db_batch *group;

    while ((group = group_take(db))) {
        struct err err = {0};
        int rc = group_insist(db, group, &err);

        group_count(db, group, rc);
        group_report(group, rc < 0 ? &err : NULL);
        env_slim(db, DB_REOPEN_BYTES);
    }
    return NULL;
}

/* --- opening and closing --- */

static void locks_init(struct db *db)
{
    clock_cond_init(&db->ready);
    pthread_mutex_init(&db->lock, NULL);
    pthread_mutex_init(&db->env_lock, NULL);
    db->tail = &db->head;
    db->wake_at_bytes = SIZE_MAX;
}

static int thread_start(struct db *db, struct err *err)
{
    pthread_attr_t attr;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, DB_STACK_BYTES);
    rc = pthread_create(&db->thread, &attr, commit_main, db);
    pthread_attr_destroy(&attr);
    if (rc)
        return err_set(err, ERR_NOMEM, rc, "commit thread");
    db->thread_runs = true;
    return 0;
}

int db_open_sized(struct db **out, const char *path, size_t map_bytes, struct err *err)
{
    struct db *db = calloc(1, sizeof(*db));

    if (!db)
        return err_set(err, ERR_NOMEM, 0, "database %s: no memory", path);
    locks_init(db);
    db->map_bytes = map_bytes;
    db->path = strdup(path);
    if (!db->path)
        err_set(err, ERR_NOMEM, 0, "no memory");
    if (!db->path || env_open(db, err) < 0 || thread_start(db, err) < 0) {
        db_close(db);
        return err_wrap(err, "database %s", path);
    }
    *out = db;
    return 0;
}

int db_open(struct db **out, const char *path, struct err *err)
{
    return db_open_sized(out, path, (size_t)DB_MAP_BYTES_MAX, err);
}

void db_close(struct db *db)
{
    if (!db)
        return;
    pthread_mutex_lock(&db->lock);
    db->closing = true;
    pthread_cond_signal(&db->ready);
    pthread_mutex_unlock(&db->lock);
    if (db->thread_runs)
        pthread_join(db->thread, NULL);
    assert(!db->head);
    if (db->env)
        mdb_env_close(db->env);
    pthread_cond_destroy(&db->ready);
    pthread_mutex_destroy(&db->lock);
    pthread_mutex_destroy(&db->env_lock);
    free(db->path);
    free(db);
}

void db_stats(struct db *db, struct db_stats *out)
{
    pthread_mutex_lock(&db->lock);
    *out = db->stats;
    pthread_mutex_unlock(&db->lock);
}

/* --- reading --- */

typedef int scan_each(void *ctx, const void *key, size_t key_len, const void *value,
                      size_t value_len, struct err *err);

static int scan_cursor(MDB_cursor *cursor, scan_each *each, void *ctx, size_t *bytes,
                       struct err *err)
{
    MDB_val key, value;
    int rc;

    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        *bytes += key.mv_size + value.mv_size;
        rc = each(ctx, key.mv_data, key.mv_size, value.mv_data, value.mv_size, err);
        if (rc)
            return rc;
    }
    return rc == MDB_NOTFOUND ? 0 : db_error(err, rc, "scan");
}

static int scan_txn(MDB_txn *txn, const char *table, scan_each *each, void *ctx, size_t *bytes,
                    struct err *err)
{
    MDB_cursor *cursor;
    MDB_dbi dbi;
    int rc = mdb_dbi_open(txn, table, 0, &dbi);

    if (rc == MDB_NOTFOUND) /* nothing was ever put there */
        return 0;
    if (rc == 0)
        rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc)
        return db_error(err, rc, "scan");
    rc = scan_cursor(cursor, each, ctx, bytes, err);
    mdb_cursor_close(cursor);
    return rc;
}

/* The commit thread is to give the memory back, when nothing more is read. */
static void count_read(struct db *db, size_t bytes)
{
    pthread_mutex_lock(&db->lock);
    db->since_open += bytes;
    pthread_mutex_unlock(&db->lock);
    pthread_cond_signal(&db->ready);
}

int db_scan(struct db *db, const char *table, scan_each *each, void *ctx, struct err *err)
{
    MDB_txn *txn;
    size_t bytes = 0;
    int rc;

    pthread_mutex_lock(&db->env_lock);
    rc = db->env ? mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn) : MDB_PANIC;
    if (rc == 0) {
        rc = scan_txn(txn, table, each, ctx, &bytes, err);
        mdb_txn_commit(txn); /* and not abort: it would close the table's handle */
    } else {
        db_error(err, rc, "scan");
        rc = err_wrap(err, "database %s", db->path);
    }
    pthread_mutex_unlock(&db->env_lock);
    count_read(db, bytes);
    return rc;
}
