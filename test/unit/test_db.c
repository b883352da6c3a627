/* base/db: batches whole and in order, a full or failing disk that later has room again, limits. */
#include "base/db.h"

#include "base/limits.h"
#include "base/log.h"
#include "support/tmp_dir.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <fcntl.h>

struct fixture {
    struct tmp_dir dir;
    struct db *db;
};

static void db_reopen(struct fixture *f, size_t map_bytes)
{
    struct err err = {0};

    db_close(f->db);
    f->db = NULL;
    if (db_open_sized(&f->db, tmp_file(&f->dir, "db"), map_bytes, &err) < 0)
        fail_msg("%s", err.msg);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err = {0};

    if (!f || tmp_dir_make(&f->dir) < 0)
        return -1;
    *state = f;
    return db_open(&f->db, tmp_file(&f->dir, "db"), &err);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    db_close(f->db);
    tmp_dir_remove(&f->dir);
    free(f);
    return 0;
}

/* --- batches and what becomes of them --- */

struct results {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned done, failed;
    enum err_code last;
};

static struct results results = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                 .changed = PTHREAD_COND_INITIALIZER};

static void on_done(void *ctx, const struct err *err)
{
    (void)ctx;
    pthread_mutex_lock(&results.lock);
    results.done++;
    results.failed += err != NULL;
    results.last = err ? err->code : ERR_NONE;
    pthread_cond_broadcast(&results.changed);
    pthread_mutex_unlock(&results.lock);
}

static void results_reset(void)
{
    pthread_mutex_lock(&results.lock);
    results.done = results.failed = 0;
    pthread_mutex_unlock(&results.lock);
}

static void results_wait(unsigned n)
{
    pthread_mutex_lock(&results.lock);
    while (results.done < n)
        pthread_cond_wait(&results.changed, &results.lock);
    pthread_mutex_unlock(&results.lock);
}

static struct db_batch *batch(void)
{
    struct db_batch *b = NULL;
    struct err err = {0};

    assert_int_equal(db_batch_new(&b, &err), 0);
    return b;
}

static void put(struct db_batch *b, const char *table, const char *key, const char *value)
{
    struct err err = {0};

    assert_int_equal(db_batch_put(b, table, key, strlen(key), value, strlen(value), &err), 0);
}

static void del(struct db_batch *b, const char *table, const char *key)
{
    struct err err = {0};

    assert_int_equal(db_batch_delete(b, table, key, strlen(key), &err), 0);
}

static void put_bytes(struct db_batch *b, const char *key, size_t len)
{
    uint8_t *value = calloc(1, len ? len : 1);
    struct err err = {0};

    assert_non_null(value);
    memset(value, 'v', len);
    assert_int_equal(db_batch_put(b, "large", key, strlen(key), value, len, &err), 0);
    free(value);
}

/* Submits and waits for the outcome. */
static enum err_code commit(struct fixture *f, struct db_batch *b)
{
    results_reset();
    db_submit(f->db, b, on_done, NULL);
    results_wait(1);
    return results.last;
}

/* --- reading --- */

struct listing {
    char text[4096];
    unsigned n;
    unsigned stop_after;
};

static int list_entry(void *ctx, const void *key, size_t key_len, const void *value,
                      size_t value_len, struct err *err)
{
    struct listing *l = ctx;
    size_t used = strlen(l->text);

    (void)err;
    l->n++;
    snprintf(l->text + used, sizeof(l->text) - used, "%.*s=%.*s ", (int)key_len, (const char *)key,
             (int)(value_len < 20 ? value_len : 20), (const char *)value);
    return l->n == l->stop_after ? 7 : 0;
}

static void expect(struct fixture *f, const char *table, const char *want)
{
    struct listing l = {0};
    struct err err = {0};

    assert_int_equal(db_scan(f->db, table, list_entry, &l, &err), 0);
    assert_string_equal(l.text, want);
}

/* --- tests --- */

static void test_what_was_put_is_there_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct db_batch *b = batch();
    struct stat st;

    put(b, "guest", "b", "2");
    put(b, "guest", "a", "1");
    put(b, "change", "a", "other");
    put(b, "guest", "gone", "x");
    del(b, "guest", "gone");
    del(b, "guest", "never-there");
    put(b, "guest", "empty", "");
    assert_int_equal(commit(f, b), ERR_NONE);
    expect(f, "guest", "a=1 b=2 empty= ");
    db_reopen(f, (size_t)DB_MAP_BYTES_MAX);
    expect(f, "guest", "a=1 b=2 empty= ");
    expect(f, "change", "a=other ");
    expect(f, "no-such-table", "");
    assert_int_equal(stat(tmp_file(&f->dir, "db"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(access(tmp_file(&f->dir, "db-lock"), F_OK), -1);
}

/* What is copied is what is there when the batch is written. */
static void test_values_are_copied_between_tables(void **state)
{
    struct fixture *f = *state;
    struct db_batch *b = batch();

    put(b, "now", "a", "1");
    put(b, "now", "b", "2");
    put(b, "before", "b", "old");
    assert_int_equal(commit(f, b), ERR_NONE);
    b = batch();
    assert_int_equal(db_batch_copy(b, "now", "before", "a", 1, false, NULL), 0);
    assert_int_equal(db_batch_copy(b, "now", "before", "b", 1, false, NULL), 0);
    assert_int_equal(db_batch_copy(b, "now", "before", "c", 1, false, NULL), 0);
    put(b, "now", "a", "3");
    assert_int_equal(commit(f, b), ERR_NONE);
    expect(f, "before", "a=1 b=old ");
    b = batch();
    assert_int_equal(db_batch_copy(b, "before", "now", "a", 1, true, NULL), 0);
    del(b, "before", "a");
    assert_int_equal(commit(f, b), ERR_NONE);
    expect(f, "now", "a=1 b=2 ");
    expect(f, "before", "b=old ");
}

static void test_a_scan_ends_where_its_callback_says(void **state)
{
    struct fixture *f = *state;
    struct db_batch *b = batch();
    struct listing l = {.stop_after = 2};
    struct err err = {0};

    put(b, "t", "a", "1");
    put(b, "t", "b", "2");
    put(b, "t", "c", "3");
    assert_int_equal(commit(f, b), ERR_NONE);
    assert_int_equal(db_scan(f->db, "t", list_entry, &l, &err), 7);
    assert_string_equal(l.text, "a=1 b=2 ");
}

static void test_batches_are_written_in_order_and_grouped(void **state)
{
    struct fixture *f = *state;
    struct db_stats stats;
    char value[16];

    results_reset();
    for (unsigned i = 0; i < 1000; i++) {
        struct db_batch *b = batch();

        snprintf(value, sizeof(value), "%u", i);
        put(b, "t", "last", value);
        db_submit(f->db, b, on_done, NULL);
    }
    results_wait(1000);
    expect(f, "t", "last=999 ");
    db_stats(f->db, &stats);
    assert_int_equal(stats.batches, 1000);
    assert_int_equal(stats.failed, 0);
    assert_int_equal(stats.bytes_queued, 0);
    assert_true(stats.commits >= 1 && stats.commits <= 1000);
}

static void test_closing_commits_what_waits(void **state)
{
    struct fixture *f = *state;

    results_reset();
    for (unsigned i = 0; i < 100; i++) {
        struct db_batch *b = batch();
        char key[16];

        snprintf(key, sizeof(key), "%03u", i);
        put(b, "t", key, "x");
        db_submit(f->db, b, i % 2 ? on_done : NULL, NULL);
    }
    db_reopen(f, (size_t)DB_MAP_BYTES_MAX);
    assert_int_equal(results.done, 50);
    assert_int_equal(results.failed, 0);
    struct listing l = {0};
    struct err err = {0};
    assert_int_equal(db_scan(f->db, "t", list_entry, &l, &err), 0);
    assert_int_equal(l.n, 100);
}

static void submit_again(void *ctx, const struct err *err)
{
    struct fixture *f = ctx;
    struct db_batch *b = batch();

    assert_null(err);
    put(b, "t", "second", "2");
    db_submit(f->db, b, on_done, NULL);
}

static void test_a_callback_may_submit(void **state)
{
    struct fixture *f = *state;
    struct db_batch *b = batch();

    results_reset();
    put(b, "t", "first", "1");
    db_submit(f->db, b, submit_again, f);
    results_wait(1);
    expect(f, "t", "first=1 second=2 ");
}

/* --- limits --- */

static void test_keys_and_values_at_their_maximum_and_one_more(void **state)
{
    struct fixture *f = *state;
    struct db_batch *b = batch();
    uint8_t *bytes = calloc(1, DB_VALUE_MAX + 1);
    struct err err = {0};
    struct listing l = {0};

    assert_non_null(bytes);
    memset(bytes, 'k', DB_KEY_MAX + 1);
    assert_int_equal(db_batch_put(b, "t", bytes, DB_KEY_MAX, bytes, DB_VALUE_MAX, &err), 0);
    assert_int_equal(db_batch_put(b, "t", bytes, DB_KEY_MAX + 1, "", 0, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(db_batch_put(b, "t", "k", 1, bytes, DB_VALUE_MAX + 1, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(db_batch_put(b, "t", "", 0, "", 0, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(db_batch_delete(b, "t", bytes, DB_KEY_MAX + 1, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(commit(f, b), ERR_NONE);
    assert_int_equal(db_scan(f->db, "t", list_entry, &l, &err), 0);
    assert_int_equal(l.n, 1);
    free(bytes);
}

static void test_a_batch_has_a_maximum(void **state)
{
    struct fixture *f = *state;
    struct db_batch *b = batch();
    uint8_t *bytes = calloc(1, DB_VALUE_MAX);
    struct err err = {0};
    struct listing l = {0};
    unsigned n = 0;
    char key[16];

    assert_non_null(bytes);
    do {
        snprintf(key, sizeof(key), "%04u", n++);
    } while (db_batch_put(b, "t", key, 4, bytes, DB_VALUE_MAX, &err) == 0);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(n - 1, (DB_BATCH_BYTES_MAX - 1) / DB_VALUE_MAX);
    assert_int_equal(commit(f, b), ERR_NONE); /* what was put before still stands */
    assert_int_equal(db_scan(f->db, "t", list_entry, &l, &err), 0);
    assert_int_equal(l.n, n - 1);
    free(bytes);
}

static void hold_thread(void *ctx, const struct err *err)
{
    (void)err;
    pthread_mutex_lock(ctx);
    pthread_mutex_unlock(ctx);
    on_done(NULL, NULL);
}

static void test_the_queue_has_a_maximum(void **state)
{
    struct fixture *f = *state;
    pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
    const unsigned fit = DB_QUEUE_BYTES_MAX / (DB_VALUE_MAX + 64), n = fit + 8;
    unsigned refused = 0;
    struct db_batch *b = batch();

    results_reset();
    pthread_mutex_lock(&held); /* the commit thread waits in a callback, as behind a slow disk */
    put(b, "t", "first", "1");
    db_submit(f->db, b, hold_thread, &held);
    for (;;) {
        struct db_stats stats;

        db_stats(f->db, &stats);
        if (stats.batches == 1)
            break;
        sched_yield();
    }
    for (unsigned i = 0; i < n; i++) {
        char key[16];

        b = batch();
        snprintf(key, sizeof(key), "%u", i);
        put_bytes(b, key, DB_VALUE_MAX);
        refused += !db_submit(f->db, b, on_done, NULL);
    }
    assert_false(db_has_room(f->db));
    assert_true(refused > 0 && refused <= 9);
    pthread_mutex_unlock(&held);
    results_wait(n + 1 - refused);
    assert_int_equal(results.failed, 0);
    assert_true(db_has_room(f->db));
    b = batch();
    put(b, "t", "after", "1");
    assert_int_equal(commit(f, b), ERR_NONE);
    expect(f, "t", "after=1 first=1 ");
}

/* --- memory --- */

static void wait_reopened(struct fixture *f, uint64_t n)
{
    struct db_stats now;

    do {
        sched_yield();
        db_stats(f->db, &now);
    } while (now.reopened < n);
}

static int count_entry(void *ctx, const void *key, size_t key_len, const void *value,
                       size_t value_len, struct err *err)
{
    size_t *bytes = ctx;

    (void)key;
    (void)key_len;
    (void)value;
    (void)err;
    *bytes += value_len;
    return 0;
}

static void count_large(struct fixture *f)
{
    struct err err = {0};
    size_t bytes = 0;

    assert_int_equal(db_scan(f->db, "large", count_entry, &bytes, &err), 0);
    assert_int_equal(bytes, DB_IDLE_REOPEN_BYTES);
}

static void test_memory_is_given_back_once_nothing_comes(void **state)
{
    struct fixture *f = *state;
    struct db_stats stats;
    struct db_batch *b = batch();

    put(b, "t", "little", "1");
    assert_int_equal(commit(f, b), ERR_NONE);
    db_stats(f->db, &stats);
    assert_int_equal(stats.reopened, 0);
    b = batch();
    put_bytes(b, "much", DB_IDLE_REOPEN_BYTES);
    put(b, "t", "little", "2");
    assert_int_equal(commit(f, b), ERR_NONE);
    wait_reopened(f, 1);
    expect(f, "t", "little=2 "); /* too little was read to do it again */
    db_reopen(f, (size_t)DB_MAP_BYTES_MAX);
    count_large(f);
    wait_reopened(f, 1); /* what is read at the start is not kept either */
    expect(f, "t", "little=2 ");
    b = batch();
    put(b, "t", "after", "1");
    assert_int_equal(commit(f, b), ERR_NONE);
    expect(f, "t", "after=1 little=2 ");
}

/* --- a disk that is full --- */

static void test_a_full_database_fails_that_batch_only(void **state)
{
    struct fixture *f = *state;
    const size_t map = 256 * 1024;
    struct db_stats stats;
    struct db_batch *b;

    db_reopen(f, map);
    b = batch();
    put(b, "t", "small", "1");
    assert_int_equal(commit(f, b), ERR_NONE);
    b = batch();
    put_bytes(b, "too much", map);
    put(b, "t", "small", "2");
    assert_int_equal(commit(f, b), ERR_IO);
    expect(f, "t", "small=1 "); /* none of it */
    expect(f, "large", "");
    b = batch();
    put(b, "t", "other", "3");
    assert_int_equal(commit(f, b), ERR_NONE);
    expect(f, "t", "other=3 small=1 ");
    db_stats(f->db, &stats);
    assert_int_equal(stats.failed, 1);
    db_reopen(f, 16 * map); /* there is room again */
    b = batch();
    put_bytes(b, "too much", map);
    assert_int_equal(commit(f, b), ERR_NONE);
    expect(f, "t", "other=3 small=1 ");
}

/* A batch is tried, in vain. */
static void try_in_vain(struct fixture *f, struct db_batch *b)
{
    struct db_stats before, now;

    results_reset();
    db_stats(f->db, &before);
    db_submit(f->db, b, on_done, NULL);
    do {
        sched_yield();
        db_stats(f->db, &now);
    } while (now.retries < before.retries + 2);
    assert_true(now.failing);
    assert_true(now.last_error[0] != 0);
    assert_int_equal(now.failed, before.failed);
    assert_int_equal(results.done, 0);
}

/* It works again: what was tried is written, and what came meanwhile behind it. */
static void then_written(struct fixture *f)
{
    struct db_stats now;

    results_wait(1);
    assert_int_equal(results.failed, 0);
    db_stats(f->db, &now);
    assert_false(now.failing);
}

/* Writes of the file fail while its size is limited. */
static void test_a_disk_that_is_full_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct rlimit was, now;
    struct db_batch *b = batch();
    struct stat st;

    signal(SIGXFSZ, SIG_IGN);
    put(b, "t", "before", "1");
    assert_int_equal(commit(f, b), ERR_NONE);
    assert_int_equal(stat(tmp_file(&f->dir, "db"), &st), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    now = was;
    for (rlim_t room = 0; room < 5; room++) {
        now.rlim_cur = (rlim_t)st.st_size + room * 4096;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
        b = batch();
        put_bytes(b, "big", 50000 * (2 * room + 1)); /* more than what the last one frees */
        try_in_vain(f, b);
        expect(f, "t", "before=1 ");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
        then_written(f);
        assert_int_equal(stat(f->dir.file, &st), 0);
    }
    /* Not even its first pages can be written: LMDB gives its environment up. */
    now.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
    b = batch();
    put(b, "t", "meanwhile", "1");
    try_in_vain(f, b);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    then_written(f);
    b = batch();
    put(b, "t", "after", "2");
    assert_int_equal(commit(f, b), ERR_NONE);
    expect(f, "t", "after=2 before=1 meanwhile=1 ");
    db_reopen(f, (size_t)DB_MAP_BYTES_MAX);
    expect(f, "t", "after=2 before=1 meanwhile=1 ");
}

/* LMDB writes its head pages through a descriptor of its own, opened with O_DSYNC. */
static int head_descriptor(const char *path)
{
    char link[64], target[512];

    for (int fd = 3; fd < 256; fd++) {
        ssize_t n;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, target, sizeof(target) - 1);
        if (n <= 0)
            continue;
        target[n] = 0;
        if (strcmp(target, path) == 0 && (fcntl(fd, F_GETFL) & O_DSYNC))
            return fd;
    }
    return -1;
}

static void test_a_head_page_that_cannot_be_written(void **state)
{
    struct fixture *f = *state;
    struct db_batch *b = batch();
    int head = head_descriptor(tmp_file(&f->dir, "db"));
    int readonly = open(f->dir.file, O_RDONLY);
    struct db_stats stats;

    assert_true(head >= 0 && readonly >= 0);
    put(b, "t", "before", "1");
    assert_int_equal(commit(f, b), ERR_NONE);
    assert_int_equal(dup2(readonly, head), head);
    close(readonly);
    b = batch();
    put(b, "t", "after", "2"); /* the environment is unusable, and opened again */
    assert_int_equal(commit(f, b), ERR_NONE);
    db_stats(f->db, &stats);
    assert_true(stats.retries > 0 && !stats.failing && stats.last_error[0]);
    expect(f, "t", "after=2 before=1 ");
}

static void test_what_is_no_database_is_not_opened(void **state)
{
    struct fixture *f = *state;
    struct db *db = NULL;
    struct err err = {0};
    FILE *file = fopen(tmp_file(&f->dir, "other"), "w");

    assert_non_null(file);
    for (int i = 0; i < 10000; i++)
        fputc('x', file);
    fclose(file);
    assert_int_equal(db_open(&db, f->dir.file, &err), -1);
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_int_equal(db_open(&db, tmp_file(&f->dir, "no/such"), &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_null(db);
    db_close(NULL);
    db_batch_free(NULL);
}

/* --- a crash --- */

#define CRASH_BATCHES 400u

/* Batches of two keys that must agree, until the process is killed by its own callback. */
static void crash_child(const char *path, unsigned at)
{
    struct db *db = NULL;
    struct err err = {0};

    if (db_open(&db, path, &err) < 0)
        _exit(1);
    for (unsigned i = 1; i <= CRASH_BATCHES; i++) {
        struct db_batch *b = NULL;

        if (db_batch_new(&b, &err) < 0 || db_batch_put(b, "a", "n", 1, &i, sizeof(i), &err) < 0 ||
            db_batch_put(b, "b", "n", 1, &i, sizeof(i), &err) < 0)
            _exit(1);
        db_submit(db, b, NULL, NULL);
        if (i == at)
            raise(SIGKILL);
    }
    _exit(2);
}

static int read_number(void *ctx, const void *key, size_t key_len, const void *value,
                       size_t value_len, struct err *err)
{
    (void)key;
    (void)key_len;
    (void)err;
    assert_int_equal(value_len, sizeof(unsigned));
    memcpy(ctx, value, value_len);
    return 0;
}

static void test_a_kill_leaves_a_prefix_of_whole_batches(void **state)
{
    struct fixture *f = *state;
    char path[512];

    db_close(f->db); /* no thread of ours while forking */
    f->db = NULL;
    snprintf(path, sizeof(path), "%s", tmp_file(&f->dir, "crash"));
    for (unsigned at = 1; at <= CRASH_BATCHES; at += 57) {
        unsigned a = 0, b = 0;
        struct db *db = NULL;
        struct err err = {0};
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0)
            crash_child(path, at);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(db_open(&db, path, &err), 0);
        assert_int_equal(db_scan(db, "a", read_number, &a, &err), 0);
        assert_int_equal(db_scan(db, "b", read_number, &b, &err), 0);
        assert_int_equal(a, b);
        assert_true(a <= CRASH_BATCHES);
        db_close(db);
    }
}

/* --- threads --- */

static void *submitter(void *arg)
{
    struct fixture *f = arg;

    for (unsigned i = 0; i < 200; i++) {
        struct db_batch *b = batch();
        char key[32];

        snprintf(key, sizeof(key), "%lx-%u", (unsigned long)pthread_self(), i);
        put(b, "t", key, "x");
        db_submit(f->db, b, on_done, NULL);
    }
    return NULL;
}

static void test_any_thread_may_submit(void **state)
{
    struct fixture *f = *state;
    struct listing l = {0};
    struct err err = {0};
    pthread_t threads[4];

    results_reset();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submitter, f), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    results_wait(800);
    assert_int_equal(results.failed, 0);
    assert_int_equal(db_scan(f->db, "t", list_entry, &l, &err), 0);
    assert_int_equal(l.n, 800);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_was_put_is_there_after_a_restart),
        TEST(test_values_are_copied_between_tables),
        TEST(test_a_scan_ends_where_its_callback_says),
        TEST(test_batches_are_written_in_order_and_grouped),
        TEST(test_closing_commits_what_waits),
        TEST(test_a_callback_may_submit),
        TEST(test_keys_and_values_at_their_maximum_and_one_more),
        TEST(test_a_batch_has_a_maximum),
        TEST(test_the_queue_has_a_maximum),
        TEST(test_memory_is_given_back_once_nothing_comes),
        TEST(test_a_full_database_fails_that_batch_only),
        TEST(test_a_disk_that_is_full_for_a_while),
        TEST(test_a_head_page_that_cannot_be_written),
        TEST(test_what_is_no_database_is_not_opened),
        TEST(test_a_kill_leaves_a_prefix_of_whole_batches),
        TEST(test_any_thread_may_submit),
    };

    log_init(LOG_ERROR + 1, "text");
    return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
