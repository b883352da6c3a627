/* The mailbox: its rules one by one, then tens of thousands of random operations against a model
 * that is slow and obvious, then its limits. */
#include "guest/mailbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"

static void put(struct mailbox **mb, const char *key, uint64_t seq, uint64_t now)
{
    struct err err = {0};

    assert_int_equal(mailbox_put(mb, 0, key, seq, now, &err), 0);
}

static struct mail take(struct mailbox **mb, uint64_t now)
{
    struct mail mail;

    assert_true(mailbox_take(mb, now, &mail));
    return mail;
}

static void assert_nothing_due(struct mailbox **mb, uint64_t now)
{
    struct mail mail;

    assert_false(mailbox_take(mb, now, &mail));
}

/* --- the rules --- */

static void test_empty_owns_nothing(void **state)
{
    struct mailbox *mb = NULL;

    (void)state;
    assert_int_equal(mailbox_len(mb), 0);
    assert_int_equal(mailbox_next_due(mb), 0);
    assert_int_equal(mailbox_oldest_ns(mb, 5), 0);
    assert_nothing_due(&mb, UINT64_MAX);
    mailbox_clear(&mb, UINT16_MAX);
    mailbox_each(mb, NULL, NULL);
    mailbox_free(mb);
    put(&mb, "a", 1, 10);
    assert_non_null(mb);
    take(&mb, 10);
    mailbox_done(&mb, 11, 0);
    assert_null(mb);
}

static void test_keys_come_in_the_order_they_were_put(void **state)
{
    static const char *const keys[] = {"d", "b", "a", "c"};
    struct mailbox *mb = NULL;

    (void)state;
    for (int i = 0; i < 4; i++)
        put(&mb, keys[i], 1, 10); /* one turn of the loop has one time */
    put(&mb, "early", 1, 9);
    assert_string_equal(take(&mb, 10).key, "early");
    mailbox_done(&mb, 10, 0);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(take(&mb, 10).key, keys[i]);
        mailbox_done(&mb, 10, 0);
    }
    assert_null(mb);
}

static void test_a_key_is_in_it_once_with_its_newest_change(void **state)
{
    struct mailbox *mb = NULL;
    struct mail mail;

    (void)state;
    put(&mb, "a", 5, 10);
    put(&mb, "a", 9, 20);
    put(&mb, "a", 7, 30);
    put(&mb, "a", 0, 40);
    assert_int_equal(mailbox_len(mb), 1);
    assert_int_equal(mailbox_oldest_ns(mb, 50), 40);
    mail = take(&mb, 50);
    assert_int_equal(mail.seq, 9);
    assert_int_equal(mail.put_ns, 10);
    assert_int_equal(mail.failures, 0);
    mailbox_done(&mb, 60, 0);
    assert_null(mb);
}

static void test_triggers_have_keys_of_their_own(void **state)
{
    struct mailbox *mb = NULL;

    (void)state;
    assert_int_equal(mailbox_put(&mb, 1, "a", 1, 10, NULL), 0);
    assert_int_equal(mailbox_put(&mb, 2, "a", 2, 10, NULL), 0);
    assert_int_equal(mailbox_len(mb), 2);
    assert_int_equal(take(&mb, 10).trigger, 1);
    mailbox_done(&mb, 10, 0);
    assert_int_equal(take(&mb, 10).trigger, 2);
    mailbox_done(&mb, 10, 0);
    assert_null(mb);
}

static void test_put_while_handled_is_due_again_after(void **state)
{
    struct mailbox *mb = NULL;
    struct mail mail;

    (void)state;
    put(&mb, "a", 1, 10);
    mail = take(&mb, 10);
    put(&mb, "a", 2, 20);
    put(&mb, "a", 3, 30);
    assert_int_equal(mailbox_len(mb), 1);
    assert_int_equal(mailbox_next_due(mb), 0); /* nobody handles it twice at once */
    assert_int_equal(mail.seq, 1);
    mailbox_done(&mb, 40, 0);
    mail = take(&mb, 40);
    assert_int_equal(mail.seq, 3);
    assert_int_equal(mail.put_ns, 20);
    mailbox_done(&mb, 50, 0);
    assert_null(mb);
}

static void test_requeue_after_is_exact(void **state)
{
    struct mailbox *mb = NULL;
    struct mail mail;

    (void)state;
    put(&mb, "a", 7, 10);
    take(&mb, 10);
    mailbox_done(&mb, 100, 1000);
    assert_int_equal(mailbox_next_due(mb), 1100);
    assert_int_equal(mailbox_oldest_ns(mb, 1099), 0);
    assert_nothing_due(&mb, 1099);
    mail = take(&mb, 1100);
    assert_int_equal(mail.seq, 0); /* the change was handled; this is a timer */
    assert_int_equal(mail.put_ns, 1100);
    mailbox_done(&mb, 1100, UINT64_MAX); /* for ever, not before */
    assert_int_equal(mailbox_next_due(mb), UINT64_MAX);
    put(&mb, "a", 8, 1200); /* a change does not wait for the timer */
    assert_int_equal(take(&mb, 1200).seq, 8);
    put(&mb, "a", 9, 1300);
    mailbox_done(&mb, 1400, 1000); /* nor does one that came meanwhile */
    assert_int_equal(mailbox_next_due(mb), 1300);
    mailbox_free(mb);
}

static void test_failures_back_off_for_each_key(void **state)
{
    struct mailbox *mb = NULL;
    uint64_t now = 1000, expected = 5 * NS_PER_MS;

    (void)state;
    put(&mb, "a", 3, now);
    for (uint32_t n = 0; n < 40; n++) {
        struct mail mail = take(&mb, now);
        uint64_t delay;

        assert_int_equal(mail.failures, n);
        assert_int_equal(mail.seq, 3); /* not handled yet */
        now += 17;
        delay = mailbox_failed(&mb, now);
        assert_int_equal(delay, expected);
        assert_int_equal(mailbox_next_due(mb), now + delay);
        now += delay;
        expected = expected * 2 < 1000 * NS_PER_S ? expected * 2 : 1000 * NS_PER_S;
    }
    take(&mb, now);
    mailbox_done(&mb, now, 5); /* success forgets the count */
    assert_int_equal(take(&mb, now + 5).failures, 0);
    assert_int_equal(mailbox_failed(&mb, now + 5), 5 * NS_PER_MS);
    mailbox_free(mb);
}

static void test_a_change_ends_a_back_off_but_not_its_count(void **state)
{
    struct mailbox *mb = NULL;
    struct mail mail;

    (void)state;
    put(&mb, "a", 1, 10);
    take(&mb, 10);
    mailbox_failed(&mb, 10);
    put(&mb, "a", 2, 20);
    mail = take(&mb, 20);
    assert_int_equal(mail.failures, 1);
    assert_int_equal(mail.seq, 2);
    assert_int_equal(mail.put_ns, 20);
    put(&mb, "a", 3, 30); /* and one that comes while it fails */
    assert_int_equal(mailbox_failed(&mb, 40), 0);
    mail = take(&mb, 40);
    assert_int_equal(mail.failures, 2);
    assert_int_equal(mail.seq, 3);
    mailbox_free(mb);
}

static void test_all_failures_share_a_bucket(void **state)
{
    struct mailbox *mb = NULL;
    uint64_t now = 1000 * NS_PER_S, delay;
    char key[16];

    (void)state;
    for (int i = 0; i < 120; i++) {
        snprintf(key, sizeof(key), "k%03d", i);
        put(&mb, key, 1, now);
    }
    for (int i = 0; i < 120; i++) {
        take(&mb, now);
        delay = mailbox_failed(&mb, now);
        /* 100 at once, then 10 a second, or the key's own delay where that is more */
        assert_int_equal(delay, i < 100 ? 5 * NS_PER_MS : (uint64_t)(i - 99) * 100 * NS_PER_MS);
    }
    mailbox_clear(&mb, UINT16_MAX);
    assert_null(mb);
}

/* A key that changes and fails all the time must not put off the others' retries for ever. */
static void test_one_busy_key_does_not_use_up_the_bucket(void **state)
{
    struct mailbox *mb = NULL;
    uint64_t now = 1000 * NS_PER_S;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        put(&mb, "busy", 1, now);
        take(&mb, now);
        mailbox_failed(&mb, now);
    }
    put(&mb, "other", 1, now);
    take(&mb, now);
    assert_true(mailbox_failed(&mb, now) <= 200 * NS_PER_MS);
    mailbox_free(mb);
}

static void test_untake_gives_back_the_place(void **state)
{
    struct mailbox *mb = NULL;
    struct mail mail;

    (void)state;
    put(&mb, "a", 1, 10);
    put(&mb, "b", 1, 10);
    take(&mb, 10);
    mailbox_failed(&mb, 10);
    take(&mb, 10);
    mailbox_done(&mb, 10, 0);
    put(&mb, "c", 1, 20 * NS_PER_MS);
    mail = take(&mb, 20 * NS_PER_MS);
    assert_string_equal(mail.key, "a");
    put(&mb, "a", 5, 20 * NS_PER_MS);
    mailbox_untake(&mb, 20 * NS_PER_MS);
    mail = take(&mb, 20 * NS_PER_MS);
    assert_string_equal(mail.key, "a");
    assert_int_equal(mail.failures, 1);
    assert_int_equal(mail.seq, 5);
    assert_int_equal(mail.put_ns, 10 + 5 * NS_PER_MS);
    mailbox_free(mb);
}

static void test_restored_keys_keep_time_and_count(void **state)
{
    struct mailbox *mb = NULL;
    struct mail mail;

    (void)state;
    assert_int_equal(mailbox_put_at(&mb, 3, "a", 4, 1000, 6, NULL), 0);
    assert_int_equal(mailbox_put_at(&mb, 3, "a", 2, 2000, 5, NULL), 0); /* delays nothing */
    assert_int_equal(mailbox_next_due(mb), 1000);
    assert_int_equal(mailbox_put_at(&mb, 3, "b", 0, 0, 0, NULL), 0);
    assert_int_equal(mailbox_next_due(mb), 1); /* 0 would say that there is none */
    take(&mb, 1);
    mailbox_done(&mb, 1, 0);
    mail = take(&mb, 1000);
    assert_int_equal(mail.failures, 6);
    assert_int_equal(mail.seq, 4);
    assert_int_equal(mailbox_failed(&mb, 1000), 320 * NS_PER_MS);
    mailbox_free(mb);
}

struct seen {
    unsigned n, triggers;
    uint64_t seqs;
};

static void count(void *ctx, uint16_t trigger, const char *key, uint64_t seq, uint64_t due_ns,
                  uint32_t failures)
{
    struct seen *seen = ctx;

    (void)key;
    (void)due_ns;
    (void)failures;
    seen->n++;
    seen->triggers |= 1u << trigger;
    seen->seqs += seq;
}

static void test_clear_forgets_a_trigger_but_not_what_is_handled(void **state)
{
    struct mailbox *mb = NULL;
    struct seen seen = {0};
    char key[16];

    (void)state;
    for (uint16_t i = 0; i < 30; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(mailbox_put(&mb, i % 3, key, 1, i + 1, NULL), 0);
    }
    assert_string_equal(take(&mb, 100).key, "k0");
    assert_int_equal(mailbox_put(&mb, 0, "k0", 8, 100, NULL), 0);
    mailbox_each(mb, count, &seen);
    assert_int_equal(seen.n, 30);
    assert_int_equal(seen.seqs, 29 + 8);
    mailbox_clear(&mb, 0);
    seen = (struct seen){0};
    mailbox_each(mb, count, &seen);
    assert_int_equal(seen.n, 21);
    assert_int_equal(seen.triggers, 7);
    mailbox_done(&mb, 100, 0); /* what came for it meanwhile is forgotten too */
    assert_int_equal(mailbox_len(mb), 20);
    for (uint64_t last = 0; mailbox_len(mb) > 0;) {
        struct mail mail = take(&mb, 100);

        assert_true(mail.put_ns > last && mail.trigger != 0);
        last = mail.put_ns;
        mailbox_done(&mb, 100, 0);
    }
    assert_null(mb);
}

/* --- against a model --- */

#define MODEL_KEYS 60

/* All that client-go keeps in its dirty and processing sets, its heap and its limiters, for each
 * key; found and chosen by looking at all of them. */
struct model {
    struct {
        bool waits, handled, dirty;
        uint64_t due, seq, order, dirty_due, dirty_seq, dirty_order;
        uint32_t failures;
    } keys[MODEL_KEYS];
    int64_t tokens, tokens_at; /* in ns of refilling, as golang.org/x/time/rate counts them */
    uint64_t orders;
    int handled; /* -1: none */
};

static size_t model_len(const struct model *m)
{
    size_t n = 0;

    for (int i = 0; i < MODEL_KEYS; i++)
        n += m->keys[i].waits || m->keys[i].handled;
    return n;
}

static void model_put(struct model *m, int i, uint64_t seq, uint64_t due, uint32_t failures)
{
    if (failures > m->keys[i].failures)
        m->keys[i].failures = failures;
    if (m->keys[i].handled) {
        if (!m->keys[i].dirty || due < m->keys[i].dirty_due) {
            m->keys[i].dirty_due = due;
            m->keys[i].dirty_order = m->orders++;
        }
        if (seq > m->keys[i].dirty_seq)
            m->keys[i].dirty_seq = seq;
        m->keys[i].dirty = true;
        return;
    }
    if (!m->keys[i].waits || due < m->keys[i].due) {
        m->keys[i].due = due;
        m->keys[i].order = m->orders++;
    }
    if (!m->keys[i].waits || seq > m->keys[i].seq)
        m->keys[i].seq = seq;
    m->keys[i].waits = true;
}

static int model_first(const struct model *m)
{
    int first = -1;

    for (int i = 0; i < MODEL_KEYS; i++)
        if (m->keys[i].waits &&
            (first < 0 || m->keys[i].due < m->keys[first].due ||
             (m->keys[i].due == m->keys[first].due && m->keys[i].order < m->keys[first].order)))
            first = i;
    return first;
}

static void model_end(struct model *m, bool waits, uint64_t due, uint64_t order)
{
    int i = m->handled;

    m->keys[i].handled = false;
    m->handled = -1;
    if (m->keys[i].dirty && (!waits || m->keys[i].dirty_due < due)) {
        due = m->keys[i].dirty_due;
        order = m->keys[i].dirty_order;
    }
    if (m->keys[i].dirty && m->keys[i].dirty_seq > m->keys[i].seq)
        m->keys[i].seq = m->keys[i].dirty_seq;
    m->keys[i].waits = waits || m->keys[i].dirty;
    m->keys[i].due = due;
    m->keys[i].order = order;
    m->keys[i].dirty = false;
    m->keys[i].dirty_seq = 0;
    if (!m->keys[i].waits)
        m->keys[i].failures = 0;
}

static void model_reset_bucket(struct model *m, uint64_t now)
{
    m->tokens = 100 * 100000000ll;
    m->tokens_at = (int64_t)now;
}

static uint64_t model_failed(struct model *m, uint64_t now)
{
    int i = m->handled;
    double own = 0.005;
    int64_t least = -(int64_t)model_len(m) * 100000000ll;
    uint64_t delay, wait;

    m->tokens += (int64_t)now - m->tokens_at;
    m->tokens_at = (int64_t)now;
    if (m->tokens > 100 * 100000000ll)
        m->tokens = 100 * 100000000ll;
    m->tokens -= 100000000ll;
    if (m->tokens < least)
        m->tokens = least;
    wait = m->tokens < 0 ? (uint64_t)-m->tokens : 0;
    for (uint32_t n = 0; n < m->keys[i].failures; n++)
        own *= 2;
    delay = own > 1000 ? 1000 * NS_PER_S : (uint64_t)llround(own * 1e9);
    m->keys[i].failures++;
    model_end(m, true, now + (delay > wait ? delay : wait), m->orders++);
    return m->keys[i].due > now ? m->keys[i].due - now : 0;
}

static void model_done(struct model *m, uint64_t now, uint64_t after)
{
    m->keys[m->handled].failures = 0;
    m->keys[m->handled].seq = 0;
    model_end(m, after != 0, now + after, m->orders++);
}

static void model_untake(struct model *m)
{
    model_end(m, true, m->keys[m->handled].due, m->keys[m->handled].order);
}

static void model_clear(struct model *m, unsigned trigger)
{
    for (int i = 0; i < MODEL_KEYS; i++) {
        if (trigger != UINT16_MAX && (unsigned)i % 4 != trigger)
            continue;
        m->keys[i].waits = m->keys[i].dirty = false;
        m->keys[i].dirty_seq = 0;
        if (!m->keys[i].handled)
            m->keys[i].failures = 0;
    }
}

struct walk {
    const struct model *model;
    bool seen[MODEL_KEYS];
};

static void compare_key(void *ctx, uint16_t trigger, const char *key, uint64_t seq, uint64_t due,
                        uint32_t failures)
{
    struct walk *w = ctx;
    const struct model *m = w->model;
    int i = (int)strtol(key + 1, NULL, 10);

    assert_int_equal(trigger, i % 4);
    assert_false(w->seen[i]);
    w->seen[i] = true;
    assert_true(m->keys[i].waits || m->keys[i].handled);
    assert_int_equal(seq, m->keys[i].dirty && m->keys[i].dirty_seq > m->keys[i].seq
                              ? m->keys[i].dirty_seq
                              : m->keys[i].seq);
    assert_int_equal(due, m->keys[i].due);
    assert_int_equal(failures, m->keys[i].failures);
}

static void compare_all(const struct mailbox *mb, const struct model *m, uint64_t now)
{
    struct walk walk = {.model = m};
    int first = model_first(m);
    uint64_t due = first < 0 ? 0 : m->keys[first].due;

    assert_int_equal(mailbox_len(mb), model_len(m));
    assert_int_equal(mb == NULL, model_len(m) == 0);
    assert_int_equal(mailbox_next_due(mb), due);
    assert_int_equal(mailbox_oldest_ns(mb, now), due && due < now ? now - due : 0);
    mailbox_each(mb, compare_key, &walk);
}

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed >> 11;
}

static void step_put(struct mailbox **mb, struct model *m, uint64_t *seed, uint64_t now)
{
    int i = (int)(random_next(seed) % MODEL_KEYS);
    uint64_t seq = random_next(seed) % 1000;
    uint32_t failures = (uint32_t)(random_next(seed) % 20);
    uint64_t due = now + random_next(seed) % (2 * NS_PER_S) - NS_PER_S;
    char key[16];

    if (m->handled >= 0 && random_next(seed) % 3 == 0)
        i = m->handled;
    snprintf(key, sizeof(key), "k%d", i);
    if (random_next(seed) % 4) {
        assert_int_equal(mailbox_put(mb, (uint16_t)(i % 4), key, seq, now, NULL), 0);
        model_put(m, i, seq, now, 0);
    } else {
        assert_int_equal(mailbox_put_at(mb, (uint16_t)(i % 4), key, seq, due, failures, NULL), 0);
        model_put(m, i, seq, due, failures);
    }
}

static void step_take(struct mailbox **mb, struct model *m, uint64_t now)
{
    int first = model_first(m);
    bool due = first >= 0 && m->keys[first].due <= now;
    struct mail mail;

    assert_int_equal(mailbox_take(mb, now, &mail), due);
    if (!due)
        return;
    assert_int_equal(strtol(mail.key + 1, NULL, 10), first);
    assert_int_equal(mail.trigger, first % 4);
    assert_int_equal(mail.seq, m->keys[first].seq);
    assert_int_equal(mail.failures, m->keys[first].failures);
    assert_int_equal(mail.put_ns, m->keys[first].due);
    m->keys[first].waits = false;
    m->keys[first].handled = true;
    m->handled = first;
}

static void step_end(struct mailbox **mb, struct model *m, uint64_t *seed, uint64_t now)
{
    uint64_t kind = random_next(seed) % 8, after = 1 + random_next(seed) % (3 * NS_PER_S);

    if (kind < 3) {
        mailbox_done(mb, now, 0);
        model_done(m, now, 0);
    } else if (kind < 4) {
        mailbox_done(mb, now, after);
        model_done(m, now, after);
    } else if (kind < 7) {
        assert_int_equal(mailbox_failed(mb, now), model_failed(m, now));
    } else {
        mailbox_untake(mb, now);
        model_untake(m);
    }
}

static void random_run(uint64_t seed, int steps)
{
    struct model m = {.handled = -1};
    struct mailbox *mb = NULL;
    uint64_t now = 5000 * NS_PER_S;
    /* How busy: from a few keys at a time to all of them. */
    unsigned puts = 1 + (unsigned)(seed % 6);

    model_reset_bucket(&m, now);
    for (int n = 0; n < steps; n++) {
        uint64_t kind = random_next(&seed) % 16;

        if (kind < puts)
            step_put(&mb, &m, &seed, now);
        else if (kind < 13 && m.handled >= 0)
            step_end(&mb, &m, &seed, now);
        else if (kind < 13)
            step_take(&mb, &m, now);
        else if (kind < 15)
            now += random_next(&seed) % (kind == 13 ? NS_PER_MS : 500 * NS_PER_MS);
        else if (random_next(&seed) % 40 == 0) {
            uint16_t trigger = (uint16_t)(random_next(&seed) % 5 ? n % 4 : UINT16_MAX);

            mailbox_clear(&mb, trigger);
            model_clear(&m, trigger);
        }
        if (model_len(&m) == 0)
            model_reset_bucket(&m, now);
        compare_all(mb, &m, now);
    }
    mailbox_free(mb);
}

static void test_random_operations_match_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++)
        random_run(seed * 0x9e3779b97f4a7c15ull, 5000);
}

/* --- limits --- */

static void test_a_key_that_is_too_long_is_refused(void **state)
{
    char key[MAILBOX_KEY_BYTES_MAX + 2];
    struct mailbox *mb = NULL;
    struct err err = {0};

    (void)state;
    memset(key, 'k', sizeof(key));
    key[MAILBOX_KEY_BYTES_MAX + 1] = 0;
    assert_int_equal(mailbox_put(&mb, 0, key, 1, 1, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "513 bytes, limit 512"));
    assert_null(mb);
    key[MAILBOX_KEY_BYTES_MAX] = 0;
    assert_int_equal(mailbox_put(&mb, 0, key, 1, 1, &err), 0);
    assert_string_equal(take(&mb, 1).key, key);
    mailbox_free(mb);
}

/* A name for each number, in no order. */
static const char *nth_key(uint64_t n)
{
    static char key[16];

    snprintf(key, sizeof(key), "%07u", (unsigned)(n * 7919 % MAILBOX_KEYS_MAX));
    return key;
}

static void test_the_most_keys_are_taken_and_no_more(void **state)
{
    struct mailbox *mb = NULL;
    struct err err = {0};

    (void)state;
    for (unsigned i = 0; i < MAILBOX_KEYS_MAX; i++)
        if (mailbox_put(&mb, 0, nth_key(i), 1, 1000 + i, &err) < 0)
            fail_msg("%s", err.msg);
    assert_int_equal(mailbox_put(&mb, 0, "one more", 1, 1, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "1000000 keys, limit 1000000"));
    assert_int_equal(mailbox_len(mb), MAILBOX_KEYS_MAX);
    put(&mb, nth_key(5), 2, 5000); /* one that is there joins */
    assert_string_equal(take(&mb, 1000).key, nth_key(0));
    assert_int_equal(mailbox_put(&mb, 0, "one more", 1, 1, &err), -1); /* what is handled counts */
    mailbox_done(&mb, 5000, 0);
    for (uint64_t i = 1; i < MAILBOX_KEYS_MAX; i++) {
        struct mail mail = take(&mb, UINT64_MAX);

        if (mail.put_ns != 1000 + i || strcmp(mail.key, nth_key(i)) != 0)
            fail_msg("%s, put at %u, instead of %s", mail.key, (unsigned)mail.put_ns, nth_key(i));
        mailbox_done(&mb, 5000, 0);
    }
    assert_null(mb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_owns_nothing),
        cmocka_unit_test(test_keys_come_in_the_order_they_were_put),
        cmocka_unit_test(test_a_key_is_in_it_once_with_its_newest_change),
        cmocka_unit_test(test_triggers_have_keys_of_their_own),
        cmocka_unit_test(test_put_while_handled_is_due_again_after),
        cmocka_unit_test(test_requeue_after_is_exact),
        cmocka_unit_test(test_failures_back_off_for_each_key),
        cmocka_unit_test(test_a_change_ends_a_back_off_but_not_its_count),
        cmocka_unit_test(test_all_failures_share_a_bucket),
        cmocka_unit_test(test_one_busy_key_does_not_use_up_the_bucket),
        cmocka_unit_test(test_untake_gives_back_the_place),
        cmocka_unit_test(test_restored_keys_keep_time_and_count),
        cmocka_unit_test(test_clear_forgets_a_trigger_but_not_what_is_handled),
        cmocka_unit_test(test_random_operations_match_the_model),
        cmocka_unit_test(test_a_key_that_is_too_long_is_refused),
        cmocka_unit_test(test_the_most_keys_are_taken_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
