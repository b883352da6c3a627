/* The change table: what counts as a change, relists, tombstones, order, persistence; at random
 * against a model. */
#include "base/limits.h"
#include "kube/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the above first
#include <cmocka.h>

struct fixture {
    struct table *t;
    char log[4096]; /* "key@seq " for changes, "-key " for forgotten ones */
};

static void log_changed(void *ctx, const struct table_entry *e)
{
    struct fixture *f = ctx;
    size_t len = strlen(f->log);

    snprintf(f->log + len, sizeof(f->log) - len, "%s%s@%llu ", table_entry_deleted(e) ? "!" : "",
             table_entry_key(e), (unsigned long long)table_entry_seq(e));
}

static void log_forgotten(void *ctx, const struct table_entry *e)
{
    struct fixture *f = ctx;
    size_t len = strlen(f->log);

    snprintf(f->log + len, sizeof(f->log) - len, "-%s ", table_entry_key(e));
}

static void open_table(struct fixture *f, size_t max)
{
    const struct table_opts opts = {
        .entries_max = max, .changed = log_changed, .forgotten = log_forgotten, .ctx = f};
    struct err err;

    *f = (struct fixture){0};
    assert_int_equal(table_new(&f->t, &opts, &err), 0);
}

static struct kube_object *object(const char *key, const char *uid, const char *version)
{
    const char *slash = strchr(key, '/');
    char text[512];
    struct kube_object *obj = NULL;
    struct err err;
    int len = snprintf(text, sizeof(text),
                       "{\"metadata\":{\"namespace\":\"%.*s\",\"name\":\"%s\",\"uid\":\"%s\","
                       "\"resourceVersion\":\"%s\"}}",
                       slash ? (int)(slash - key) : 0, key, slash ? slash + 1 : key, uid, version);

    if (kube_object_parse(&obj, text, (size_t)len, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    return obj;
}

static enum table_change upsert(struct table *t, const char *key, const char *uid,
                                const char *version)
{
    struct kube_object *obj = object(key, uid, version);
    struct err err;
    enum table_change change = table_upsert(t, obj, &err);

    kube_object_unref(obj);
    return change;
}

static enum table_change remove_object(struct table *t, const char *key, const char *uid,
                                       const char *version)
{
    struct kube_object *obj = object(key, uid, version);
    struct err err;
    enum table_change change = table_delete(t, obj, &err);

    kube_object_unref(obj);
    return change;
}

static int log_entry(void *ctx, const struct table_entry *e)
{
    log_changed(ctx, e);
    return 0;
}

static void check_each(const struct table *t, const char *space, uint64_t seq, const char *want)
{
    struct fixture got = {0};

    assert_int_equal(table_each(t, space, seq, log_entry, &got), 0);
    assert_string_equal(got.log, want);
}

#define UID_A "3c7e0a0e-6f3e-4b43-9d6c-1234567890ab"
#define UID_B "3c7e0a0e-6f3e-4b43-9d6c-1234567890ac"

static void test_only_another_uid_or_version_is_a_change(void **state)
{
    const struct table_entry *e;
    struct fixture f;

    (void)state;
    open_table(&f, 0);
    assert_int_equal(upsert(f.t, "ns/a", UID_A, "5"), TABLE_CHANGED);
    assert_int_equal(upsert(f.t, "ns/a", UID_A, "5"), TABLE_SAME);
    assert_int_equal(upsert(f.t, "ns/a", UID_A, "6"), TABLE_CHANGED);
    assert_int_equal(upsert(f.t, "ns/a", UID_B, "6"), TABLE_CHANGED);
    assert_int_equal(upsert(f.t, "a", UID_A, "5"), TABLE_CHANGED);
    assert_string_equal(f.log, "ns/a@1 ns/a@2 ns/a@3 a@4 ");
    e = table_find(f.t, "ns/a");
    assert_non_null(e);
    assert_int_equal(table_entry_seq(e), 3);
    assert_string_equal(table_entry_object(e)->uid, UID_B);
    assert_null(table_find(f.t, "ns/b"));
    assert_int_equal(table_seq(f.t), 4);
    table_free(f.t);
}

static void test_older_versions_are_refused(void **state)
{
    const struct table_entry *e;
    struct fixture f;
    char version[KUBE_VERSION_MAX + 1];
    struct table_stats stats;

    (void)state;
    open_table(&f, 0);
    upsert(f.t, "a", UID_A, "10");
    assert_int_equal(upsert(f.t, "a", UID_A, "9"), TABLE_STALE);
    assert_int_equal(upsert(f.t, "a", UID_B, "9"), TABLE_STALE);
    assert_int_equal(remove_object(f.t, "a", UID_B, "9"), TABLE_STALE);
    e = table_find(f.t, "a");
    table_entry_version(e, version);
    assert_string_equal(version, "10");
    assert_string_equal(table_entry_object(e)->resource_version, "10");
    /* What is no decimal has no order. */
    assert_int_equal(upsert(f.t, "a", UID_A, "x"), TABLE_CHANGED);
    table_stats(f.t, &stats);
    assert_int_equal(stats.stale, 3);
    /* A list that is to be believed. */
    upsert(f.t, "a", UID_A, "20");
    table_relist_begin(f.t, true);
    assert_int_equal(upsert(f.t, "a", UID_A, "3"), TABLE_CHANGED);
    table_relist_end(f.t);
    assert_int_equal(upsert(f.t, "a", UID_A, "2"), TABLE_STALE);
    table_free(f.t);
}

static void test_deletion_leaves_a_tombstone(void **state)
{
    struct fixture f;
    struct table_stats stats;

    (void)state;
    open_table(&f, 0);
    assert_int_equal(remove_object(f.t, "ns/x", UID_A, "1"), TABLE_SAME);
    upsert(f.t, "ns/a", UID_A, "1");
    upsert(f.t, "ns/b", UID_B, "2");
    assert_int_equal(remove_object(f.t, "ns/a", UID_A, "3"), TABLE_CHANGED);
    assert_int_equal(remove_object(f.t, "ns/a", UID_A, "3"), TABLE_SAME);
    assert_true(table_entry_deleted(table_find(f.t, "ns/a")));
    assert_null(table_entry_object(table_find(f.t, "ns/a")));
    assert_int_equal(upsert(f.t, "ns/a", UID_A, "2"), TABLE_STALE);
    table_stats(f.t, &stats);
    assert_int_equal(stats.entries, 2);
    assert_int_equal(stats.tombstones, 1);
    assert_int_equal(stats.cached, 1);
    /* Made again under the same name. */
    assert_int_equal(upsert(f.t, "ns/a", UID_B, "4"), TABLE_CHANGED);
    assert_string_equal(f.log, "ns/a@1 ns/b@2 !ns/a@3 ns/a@4 ");
    table_stats(f.t, &stats);
    assert_int_equal(stats.tombstones, 0);
    assert_int_equal(stats.cached, 2);
    table_free(f.t);
}

static void test_a_relist_finds_what_changed_and_what_is_gone(void **state)
{
    struct fixture f;

    (void)state;
    open_table(&f, 0);
    upsert(f.t, "n/a", UID_A, "1");
    upsert(f.t, "n/b", UID_A, "2");
    upsert(f.t, "n/c", UID_A, "3");
    upsert(f.t, "n/d", UID_A, "4");
    f.log[0] = 0;
    table_relist_begin(f.t, false);
    upsert(f.t, "n/d", UID_A, "4");
    /* It broke off and begins again. */
    table_relist_begin(f.t, false);
    upsert(f.t, "n/a", UID_A, "1");
    upsert(f.t, "n/b", UID_A, "9");
    upsert(f.t, "n/e", UID_A, "8");
    table_touch(f.t, "n", "c");
    table_touch(f.t, "n", "unknown");
    table_touch(f.t, "", "");
    table_relist_end(f.t);
    assert_string_equal(f.log, "n/b@5 n/e@6 !n/d@7 ");
    /* A second one without differences changes nothing. */
    table_relist_begin(f.t, false);
    upsert(f.t, "n/a", UID_A, "1");
    upsert(f.t, "n/b", UID_A, "9");
    upsert(f.t, "n/c", UID_A, "3");
    upsert(f.t, "n/e", UID_A, "8");
    table_relist_end(f.t);
    assert_string_equal(f.log, "n/b@5 n/e@6 !n/d@7 ");
    table_free(f.t);
}

static void test_deletions_during_a_relist(void **state)
{
    struct fixture f;

    (void)state;
    open_table(&f, 0);
    upsert(f.t, "a", UID_A, "1");
    upsert(f.t, "b", UID_A, "2");
    table_relist_begin(f.t, false);
    upsert(f.t, "a", UID_A, "1");
    upsert(f.t, "b", UID_A, "2");
    remove_object(f.t, "a", UID_A, "3");
    upsert(f.t, "b", UID_A, "4");
    table_relist_end(f.t);
    assert_string_equal(f.log, "a@1 b@2 !a@3 b@4 ");
    table_free(f.t);
}

static void test_what_changed_after_a_number(void **state)
{
    struct fixture f;

    (void)state;
    open_table(&f, 0);
    upsert(f.t, "n/a", UID_A, "1");
    upsert(f.t, "m/b", UID_A, "2");
    upsert(f.t, "n/c", UID_A, "3");
    upsert(f.t, "d", UID_A, "4");
    remove_object(f.t, "m/b", UID_A, "5");
    upsert(f.t, "n/a", UID_A, "6");
    check_each(f.t, NULL, 0, "n/c@3 d@4 !m/b@5 n/a@6 ");
    check_each(f.t, NULL, 4, "!m/b@5 n/a@6 ");
    check_each(f.t, NULL, 5, "n/a@6 ");
    check_each(f.t, NULL, 6, "");
    check_each(f.t, "n", 0, "n/c@3 n/a@6 ");
    check_each(f.t, "n", 3, "n/a@6 ");
    check_each(f.t, "m", 0, "!m/b@5 ");
    check_each(f.t, "", 0, "d@4 ");
    check_each(f.t, "none", 0, "");
    table_free(f.t);
}

static int stop_at_second(void *ctx, const struct table_entry *e)
{
    int *n = ctx;

    (void)e;
    return ++*n == 2 ? 42 : 0;
}

static void test_iteration_can_end_early(void **state)
{
    struct fixture f;
    int n = 0;

    (void)state;
    open_table(&f, 0);
    upsert(f.t, "n/a", UID_A, "1");
    upsert(f.t, "n/b", UID_A, "2");
    upsert(f.t, "n/c", UID_A, "3");
    assert_int_equal(table_each(f.t, NULL, 0, stop_at_second, &n), 42);
    n = 0;
    assert_int_equal(table_each(f.t, "n", 0, stop_at_second, &n), 42);
    table_free(f.t);
}

static void test_tombstones_go_once_handled_by_all(void **state)
{
    struct fixture f;

    (void)state;
    open_table(&f, 0);
    upsert(f.t, "n/a", UID_A, "1");
    upsert(f.t, "n/b", UID_A, "2");
    upsert(f.t, "m/c", UID_A, "3");
    remove_object(f.t, "m/c", UID_A, "4");
    remove_object(f.t, "n/a", UID_A, "5");
    f.log[0] = 0;
    table_forget_tombstones(f.t, 3);
    assert_string_equal(f.log, "");
    table_forget_tombstones(f.t, 4);
    assert_string_equal(f.log, "-m/c ");
    assert_null(table_find(f.t, "m/c"));
    check_each(f.t, "m", 0, "");
    table_forget_tombstones(f.t, 100);
    assert_string_equal(f.log, "-m/c -n/a ");
    check_each(f.t, NULL, 0, "n/b@2 ");
    /* Numbers are not given again. */
    upsert(f.t, "m/c", UID_B, "9");
    assert_int_equal(table_entry_seq(table_find(f.t, "m/c")), 6);
    table_free(f.t);
}

static void test_entries_limit(void **state)
{
    struct kube_object *obj = object("c", UID_A, "9");
    struct err err = {0};
    struct fixture f;

    (void)state;
    open_table(&f, 2);
    upsert(f.t, "a", UID_A, "1");
    upsert(f.t, "b", UID_A, "2");
    assert_int_equal(table_upsert(f.t, obj, &err), TABLE_FAILED);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "limit 2"));
    assert_int_equal(upsert(f.t, "a", UID_A, "3"), TABLE_CHANGED);
    remove_object(f.t, "b", UID_A, "4");
    assert_int_equal(table_upsert(f.t, obj, &err), TABLE_FAILED);
    table_forget_tombstones(f.t, 4);
    assert_int_equal(table_upsert(f.t, obj, &err), TABLE_CHANGED);
    kube_object_unref(obj);
    table_free(f.t);
}

/* --- persistence --- */

static void check_record(const char *uid, const char *version, bool deleted)
{
    struct buf bytes = {0};
    struct table_record r;
    struct fixture f;
    struct err err;
    char text[KUBE_UID_MAX + 1];

    open_table(&f, 0);
    upsert(f.t, "n/a", uid, version);
    if (deleted)
        remove_object(f.t, "n/a", uid, version);
    assert_int_equal(table_entry_encode(&bytes, table_find(f.t, "n/a"), &err), 0);
    assert_int_equal(table_entry_decode(&r, bytes.data, bytes.len, &err), 0);
    assert_string_equal(r.uid, uid);
    assert_string_equal(r.version, version);
    assert_int_equal(r.deleted, deleted);
    assert_int_equal(r.seq, deleted ? 2 : 1);
    table_entry_uid(table_find(f.t, "n/a"), text);
    assert_string_equal(text, uid);
    for (size_t len = 0; len < bytes.len; len++) {
        assert_int_equal(table_entry_decode(&r, bytes.data, len, &err), -1);
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    bytes.data[0]++;
    assert_int_equal(table_entry_decode(&r, bytes.data, bytes.len, &err), -1);
    buf_free(&bytes);
    table_free(f.t);
}

static void test_records_hold_any_uid_and_version(void **state)
{
    (void)state;
    check_record(UID_A, "123", false);
    check_record(UID_A, "18446744073709551615", true);
    check_record(UID_A, "18446744073709551616", false);
    check_record(UID_A, "0", false);
    check_record(UID_A, "007", false);
    check_record("3C7E0A0E-6F3E-4B43-9D6C-1234567890AB", "1", false);
    check_record("3c7e0a0e-6f3e-4b43-9d6c-1234567890a", "1", false);
    check_record("3c7e0a0e-6f3e-4b43-9d6c_1234567890ab", "1", false);
    check_record("ffffffff-ffff-ffff-ffff-ffffffffffff", "1", false);
    check_record("", "1", false);
    check_record("some uid", "some version", true);
}

static void restore(struct table *t, const char *key, const char *uid, const char *version,
                    uint64_t seq, bool deleted)
{
    struct table_record r = {.seq = seq, .deleted = deleted};
    struct err err;

    snprintf(r.uid, sizeof(r.uid), "%s", uid);
    snprintf(r.version, sizeof(r.version), "%s", version);
    assert_int_equal(table_restore(t, key, &r, &err), 0);
}

static void test_after_a_restart_only_what_differs_changes(void **state)
{
    struct fixture f;
    struct table_stats stats;
    struct err err;

    (void)state;
    open_table(&f, 0);
    restore(f.t, "n/a", UID_A, "1", 10, false);
    restore(f.t, "n/b", UID_A, "2", 7, false);
    restore(f.t, "m/c", UID_A, "3", 9, true);
    restore(f.t, "m/d", UID_A, "4", 8, false);
    assert_int_equal(table_restored(f.t, 12, &err), 0);
    check_each(f.t, NULL, 0, "n/b@7 m/d@8 !m/c@9 n/a@10 ");
    check_each(f.t, "n", 7, "n/a@10 ");
    table_stats(f.t, &stats);
    assert_int_equal(stats.cached, 0);
    assert_int_equal(stats.tombstones, 1);
    table_relist_begin(f.t, true);
    assert_int_equal(upsert(f.t, "n/a", UID_A, "1"), TABLE_SAME);
    assert_non_null(table_entry_object(table_find(f.t, "n/a")));
    assert_int_equal(upsert(f.t, "n/b", UID_A, "5"), TABLE_CHANGED);
    table_relist_end(f.t);
    /* Numbers go on behind what any guest handled, though no entry has them. */
    assert_string_equal(f.log, "n/b@13 !m/d@14 ");
    table_free(f.t);
}

static void test_bad_records_are_refused(void **state)
{
    const struct table_record r = {.seq = 1, .uid = UID_A, .version = "1"}, zero = {.version = "1"};
    char longest[OBJECT_KEY_MAX + 8];
    struct fixture f;
    struct err err;

    (void)state;
    open_table(&f, 0);
    assert_int_equal(table_restore(f.t, "n/a", &r, &err), 0);
    assert_int_equal(table_restore(f.t, "n/a", &r, &err), -1);
    assert_int_equal(err.code, ERR_EXISTS);
    assert_int_equal(table_restore(f.t, "n/b", &zero, &err), -1);
    assert_int_equal(err.code, ERR_CORRUPT);
    static const char *const keys[] = {"", "/", "a/", "/a", "a/b/c"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_int_equal(table_restore(f.t, keys[i], &r, &err), -1);
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    longest[KUBE_NAMESPACE_MAX + 1] = '/';
    assert_int_equal(table_restore(f.t, longest, &r, &err), -1);
    longest[KUBE_NAMESPACE_MAX + 1] = 'a';
    longest[KUBE_NAME_MAX + 1] = 0;
    assert_int_equal(table_restore(f.t, longest, &r, &err), -1);
    longest[KUBE_NAME_MAX] = 0;
    assert_int_equal(table_restore(f.t, longest, &r, &err), 0);
    table_free(f.t);
}

/* --- at random, against a model --- */

#define KEYS 300

struct model {
    struct {
        uint64_t seq;
        unsigned version;
        bool known, deleted, seen;
    } of[KEYS];
    uint64_t seq;
    unsigned version;
};

static uint64_t rng = 88172645463325252ull;

static unsigned next_random(unsigned below)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (unsigned)(rng % below);
}

static void key_name(char out[32], unsigned k)
{
    snprintf(out, 32, "ns%u/k%u", k % 7, k);
}

static void model_change(struct model *m, unsigned k, bool deleted)
{
    m->of[k].known = true;
    m->of[k].deleted = deleted;
    m->of[k].seen = true;
    m->of[k].seq = ++m->seq;
}

static void random_upsert(struct model *m, struct table *t, unsigned k, bool same)
{
    char key[32], version[16];

    key_name(key, k);
    if (!same || !m->of[k].known || m->of[k].deleted) {
        m->of[k].version = ++m->version;
        model_change(m, k, false);
    }
    m->of[k].seen = true;
    snprintf(version, sizeof(version), "%u", m->of[k].version);
    upsert(t, key, UID_A, version);
}

static void random_delete(struct model *m, struct table *t, unsigned k)
{
    char key[32], version[16];

    key_name(key, k);
    if (m->of[k].known && !m->of[k].deleted) {
        m->of[k].version = ++m->version;
        model_change(m, k, true);
    }
    snprintf(version, sizeof(version), "%u", m->version);
    remove_object(t, key, UID_A, version);
}

static int count_entry(void *ctx, const struct table_entry *e)
{
    struct model *m = ctx;
    unsigned k = (unsigned)strtoul(strchr(table_entry_key(e), 'k') + 1, NULL, 10);

    assert_true(m->of[k].known);
    assert_int_equal(m->of[k].seq, table_entry_seq(e));
    assert_int_equal(m->of[k].deleted, table_entry_deleted(e));
    assert_true(table_entry_seq(e) > m->seq);
    m->seq = table_entry_seq(e);
    m->version++;
    return 0;
}

static void check_model(const struct model *m, const struct table *t, uint64_t after, int space)
{
    struct model counted = *m;
    unsigned want = 0;
    char name[8];

    counted.seq = after;
    counted.version = 0;
    snprintf(name, sizeof(name), "ns%d", space);
    assert_int_equal(table_each(t, space < 0 ? NULL : name, after, count_entry, &counted), 0);
    for (unsigned k = 0; k < KEYS; k++)
        want += m->of[k].known && m->of[k].seq > after && (space < 0 || k % 7 == (unsigned)space);
    assert_int_equal(counted.version, want);
}

static void random_relist(struct model *m, struct table *t)
{
    for (unsigned k = 0; k < KEYS; k++)
        m->of[k].seen = false;
    table_relist_begin(t, false);
    for (unsigned k = 0; k < KEYS; k++)
        if (m->of[k].known && !m->of[k].deleted && next_random(20))
            random_upsert(m, t, k, next_random(4) != 0);
    table_relist_end(t);
    /* What is gone gets its numbers in the order of the old ones. */
    for (uint64_t seq = 0, last = m->seq; seq <= last; seq++)
        for (unsigned k = 0; k < KEYS; k++)
            if (m->of[k].known && !m->of[k].deleted && !m->of[k].seen && m->of[k].seq == seq)
                model_change(m, k, true);
}

static void random_forget(struct model *m, struct table *t)
{
    uint64_t upto = next_random((unsigned)m->seq + 1);

    table_forget_tombstones(t, upto);
    for (unsigned k = 0; k < KEYS; k++)
        if (m->of[k].known && m->of[k].deleted && m->of[k].seq <= upto)
            m->of[k].known = false;
}

static void test_at_random_against_a_model(void **state)
{
    struct model *m = calloc(1, sizeof(*m));
    struct table_opts opts = {0};
    struct table *t;
    struct err err;

    (void)state;
    assert_non_null(m);
    assert_int_equal(table_new(&t, &opts, &err), 0);
    for (int round = 0; round < 6000; round++) {
        unsigned k = next_random(KEYS);

        switch (next_random(50)) {
        case 0:
            if (m->seq < 3000)
                random_relist(m, t);
            break;
        case 1:
            random_forget(m, t);
            break;
        default:
            if (next_random(3))
                random_upsert(m, t, k, next_random(2));
            else
                random_delete(m, t, k);
        }
        if (round % 20 == 0) {
            check_model(m, t, next_random((unsigned)m->seq + 1), -1);
            check_model(m, t, 0, (int)next_random(7));
        }
    }
    assert_int_equal(table_seq(t), m->seq);
    table_free(t);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_another_uid_or_version_is_a_change),
        cmocka_unit_test(test_older_versions_are_refused),
        cmocka_unit_test(test_deletion_leaves_a_tombstone),
        cmocka_unit_test(test_a_relist_finds_what_changed_and_what_is_gone),
        cmocka_unit_test(test_deletions_during_a_relist),
        cmocka_unit_test(test_what_changed_after_a_number),
        cmocka_unit_test(test_iteration_can_end_early),
        cmocka_unit_test(test_tombstones_go_once_handled_by_all),
        cmocka_unit_test(test_entries_limit),
        cmocka_unit_test(test_records_hold_any_uid_and_version),
        cmocka_unit_test(test_after_a_restart_only_what_differs_changes),
        cmocka_unit_test(test_bad_records_are_refused),
        cmocka_unit_test(test_at_random_against_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
