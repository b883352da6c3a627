/* Messages between threads: none lost, none twice, each sender's in order, sleepers woken. */
#include "base/inbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define SENDERS 4
#define EACH    20000

struct note {
    struct msg msg;
    int sender, n;
};

static void test_oldest_first(void **state)
{
    struct inbox in;
    struct msg a = {0}, b = {0}, c = {0};

    (void)state;
    inbox_init(&in);
    assert_null(inbox_take(&in));
    assert_true(inbox_put(&in, &a)); /* was empty: somebody must be told */
    assert_false(inbox_put(&in, &b));
    assert_false(inbox_put(&in, &c));
    assert_ptr_equal(inbox_take(&in), &a);
    assert_ptr_equal(a.next, &b);
    assert_ptr_equal(b.next, &c);
    assert_null(c.next);
    assert_null(inbox_take(&in));
    assert_true(inbox_put(&in, &b)); /* a message taken can be sent again */
    assert_ptr_equal(inbox_take(&in), &b);
    assert_null(b.next);
    inbox_destroy(&in);
}

/* What came quietly is there for whoever looks, and does not keep later ones from telling. */
static void test_quiet_messages(void **state)
{
    struct inbox in;
    struct msg a = {0}, b = {0}, c = {0};

    (void)state;
    inbox_init(&in);
    assert_false(inbox_untold(&in)); /* nothing to tell of */
    inbox_put_quietly(&in, &a);
    assert_true(inbox_put(&in, &b)); /* not empty, but nobody was told */
    assert_false(inbox_untold(&in));
    assert_ptr_equal(inbox_take(&in), &a);
    assert_ptr_equal(a.next, &b);
    inbox_put_quietly(&in, &c);
    assert_true(inbox_untold(&in)); /* who asks tells */
    assert_false(inbox_untold(&in));
    assert_false(inbox_put(&in, &a));
    assert_ptr_equal(inbox_take(&in), &c);
    assert_ptr_equal(c.next, &a);
    inbox_destroy(&in);
}

static void test_taken_back(void **state)
{
    struct inbox in;
    struct msg a = {0}, b = {0}, c = {0};

    (void)state;
    inbox_init(&in);
    assert_false(inbox_remove(&in, &a));
    inbox_put(&in, &a);
    inbox_put(&in, &b);
    inbox_put(&in, &c);
    assert_true(inbox_remove(&in, &c)); /* the last: what comes next goes behind b */
    assert_true(inbox_remove(&in, &a));
    assert_false(inbox_remove(&in, &a));
    inbox_put(&in, &c);
    assert_ptr_equal(inbox_take(&in), &b);
    assert_ptr_equal(b.next, &c);
    assert_null(c.next);
    inbox_destroy(&in);
}

static void test_waiting_ends_at_the_deadline(void **state)
{
    struct inbox in;
    struct msg a = {0};
    uint64_t deadline = clock_now_ns() + 2 * NS_PER_MS;

    (void)state;
    inbox_init(&in);
    assert_null(inbox_wait(&in, deadline));
    assert_true(clock_now_ns() >= deadline);
    assert_null(inbox_wait(&in, 1)); /* long past */
    inbox_put(&in, &a);
    assert_ptr_equal(inbox_wait(&in, 1), &a); /* what is there is taken whatever the time */
    inbox_put(&in, &a);
    assert_ptr_equal(inbox_wait(&in, 0), &a);
    inbox_destroy(&in);
}

struct sender {
    pthread_t thread;
    struct inbox *in;
    struct note *notes;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;

    for (int i = 0; i < EACH; i++)
        inbox_put(s->in, &s->notes[i].msg);
    return NULL;
}

static void senders_start(struct sender *senders, struct inbox *in)
{
    for (int s = 0; s < SENDERS; s++) {
        senders[s].in = in;
        senders[s].notes = calloc(EACH, sizeof(struct note));
        assert_non_null(senders[s].notes);
        for (int i = 0; i < EACH; i++)
            senders[s].notes[i] = (struct note){.sender = s, .n = i};
        assert_int_equal(pthread_create(&senders[s].thread, NULL, send_all, &senders[s]), 0);
    }
}

static void senders_end(struct sender *senders)
{
    for (int s = 0; s < SENDERS; s++) {
        pthread_join(senders[s].thread, NULL);
        free(senders[s].notes);
    }
}

static void test_many_senders_one_reader(void **state)
{
    struct sender senders[SENDERS];
    struct inbox in;
    int next[SENDERS] = {0}, got = 0;

    (void)state;
    inbox_init(&in);
    senders_start(senders, &in);
    while (got < SENDERS * EACH) {
        struct msg *following;

        for (struct msg *m = inbox_wait(&in, 0); m; m = following) {
            struct note *note = container_of(m, struct note, msg);

            following = m->next;
            assert_int_equal(note->n, next[note->sender]++);
            got++;
        }
    }
    assert_null(inbox_take(&in));
    senders_end(senders);
    inbox_destroy(&in);
}

/* Two threads may wait on one inbox: each message reaches one of them. */

struct readers {
    struct inbox in;
    atomic_int got;
};

static struct msg the_end;

static void *read_some(void *arg)
{
    struct readers *r = arg;
    bool ended = false;

    while (!ended && atomic_load(&r->got) < SENDERS * EACH) {
        for (struct msg *m = inbox_wait(&r->in, 0), *following; m; m = following) {
            following = m->next;
            ended = m == &the_end;
            if (!ended && atomic_fetch_add(&r->got, 1) + 1 == SENDERS * EACH)
                inbox_put(&r->in, &the_end); /* for the other, which may be waiting */
        }
    }
    return NULL;
}

static void test_two_readers_share_the_messages(void **state)
{
    struct sender senders[SENDERS];
    struct readers r = {.got = 0};
    pthread_t readers[2];

    (void)state;
    inbox_init(&r.in);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_some, &r), 0);
    senders_start(senders, &r.in);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&r.got), SENDERS * EACH);
    inbox_take(&r.in); /* the end, if neither needed it */
    senders_end(senders);
    inbox_destroy(&r.in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oldest_first),
        cmocka_unit_test(test_quiet_messages),
        cmocka_unit_test(test_taken_back),
        cmocka_unit_test(test_waiting_ends_at_the_deadline),
        cmocka_unit_test(test_many_senders_one_reader),
        cmocka_unit_test(test_two_readers_share_the_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
