/* The loop: messages from other threads, timers, signals, and an end that completes what was begun.
 * Nothing here asserts how long anything took: only that it came, in order, and not too early. */
#include "base/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/limits.h"

static struct loop *loop;

static int setup(void **state)
{
    (void)state;
    return loop_new(&loop, NULL);
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    loop = NULL;
    return 0;
}

static void stop(struct timer *t)
{
    (void)t;
    loop_stop(loop);
}

/* --- messages --- */

#define SENDERS 4
#define EACH    5000

struct note {
    struct msg msg;
    int sender, n;
};

static int next_of[SENDERS], received;
static pthread_t loop_thread;

static void note_run(struct msg *m)
{
    struct note *note = container_of(m, struct note, msg);

    assert_true(pthread_equal(pthread_self(), loop_thread));
    assert_int_equal(note->n, next_of[note->sender]++);
    if (++received == SENDERS * EACH)
        loop_stop(loop);
}

static void *post_all(void *arg)
{
    struct note *notes = arg;

    for (int i = 0; i < EACH; i++)
        loop_post(loop, &notes[i].msg);
    return NULL;
}

static void test_messages_arrive_in_order_on_the_loop_thread(void **state)
{
    struct note *notes = calloc(SENDERS * EACH, sizeof(*notes));
    pthread_t threads[SENDERS];

    (void)state;
    assert_non_null(notes);
    received = 0;
    memset(next_of, 0, sizeof(next_of));
    loop_thread = pthread_self();
    for (int s = 0; s < SENDERS; s++) {
        for (int i = 0; i < EACH; i++)
            notes[s * EACH + i] = (struct note){.msg.run = note_run, .sender = s, .n = i};
        assert_int_equal(pthread_create(&threads[s], NULL, post_all, notes + s * EACH), 0);
    }
    loop_run(loop);
    for (int s = 0; s < SENDERS; s++)
        pthread_join(threads[s], NULL);
    assert_int_equal(received, SENDERS * EACH);
    free(notes);
}

static int runs;

static void run_again(struct msg *m)
{
    if (++runs < 100)
        loop_post(loop, m); /* it was run: it may be sent again */
    else
        loop_stop(loop);
}

static void test_a_message_may_send_itself_again(void **state)
{
    struct msg m = {.run = run_again};

    (void)state;
    runs = 0;
    loop_post(loop, &m); /* before the loop runs: it waits */
    loop_run(loop);
    assert_int_equal(runs, 100);
}

/* --- timers --- */

struct alarm {
    struct timer timer;
    uint64_t due, fired_at;
    int order;
};

static int fired;

static void alarm_fire(struct timer *t)
{
    struct alarm *a = container_of(t, struct alarm, timer);

    a->fired_at = clock_now_ns();
    a->order = fired++;
}

/* --- quiet messages, work between turns --- */

struct quiet {
    struct msg msg;
    struct timer timer;
    unsigned run, turns;
};

static void quiet_run(struct msg *m)
{
    container_of(m, struct quiet, msg)->run++;
}

static void quiet_post(struct timer *t)
{
    struct quiet *q = container_of(t, struct quiet, timer);

    loop_post_quietly(loop, &q->msg);
}

/* A turn that comes for another reason runs it before it waits again. */
static void test_a_quiet_message_is_run_at_the_end_of_a_turn(void **state)
{
    struct quiet q = {.msg.run = quiet_run, .timer.fire = quiet_post};
    struct timer end = {.fire = stop};

    (void)state;
    assert_int_equal(loop_timer_set(loop, &q.timer, clock_now_ns(), NULL), 0);
    assert_int_equal(loop_timer_set(loop, &end, clock_now_ns() + 20 * NS_PER_MS, NULL), 0);
    loop_run(loop);
    assert_int_equal(q.run, 1);
}

static void quiet_again(struct msg *m)
{
    struct quiet *q = container_of(m, struct quiet, msg);

    if (++q->run < 5)
        loop_post_quietly(loop, m);
    else
        loop_stop(loop);
}

/* One that is posted by another quiet one is not left lying while the loop waits. */
static void test_a_quiet_message_may_post_another(void **state)
{
    struct quiet q = {.msg.run = quiet_again};

    (void)state;
    loop_post_quietly(loop, &q.msg);
    loop_run(loop); /* ends by itself */
    assert_int_equal(q.run, 5);
}

static void *wake_if_posted(void *arg)
{
    (void)arg;
    loop_wake_if_posted(loop);
    return NULL;
}

static void test_another_thread_may_wake_for_quiet_ones(void **state)
{
    struct quiet q = {.msg.run = quiet_again, .run = 4};
    pthread_t thread;

    (void)state;
    loop_turn(loop, false); /* nothing is there */
    loop_post_quietly(loop, &q.msg);
    assert_int_equal(pthread_create(&thread, NULL, wake_if_posted, NULL), 0);
    loop_run(loop);
    pthread_join(thread, NULL);
    assert_int_equal(q.run, 5);
}

static void test_a_message_taken_back_is_not_run(void **state)
{
    struct quiet q = {.msg.run = quiet_run};

    (void)state;
    loop_post(loop, &q.msg);
    loop_unpost(loop, &q.msg);
    loop_turn(loop, false);
    assert_int_equal(q.run, 0);
    loop_unpost(loop, &q.msg); /* not there: fine */
}

static bool turn_of_work(void *ctx)
{
    struct quiet *q = ctx;

    return ++q->turns < 3;
}

/* As often as it says, a turn each, and none of those turns waits. */
static void test_work_between_turns(void **state)
{
    struct quiet q = {0};

    (void)state;
    loop_work_init(loop, turn_of_work, &q);
    loop_turn(loop, false);
    assert_int_equal(q.turns, 0); /* not begun */
    loop_work_start(loop);
    loop_work_start(loop); /* twice is once */
    for (unsigned n = 1; n <= 3; n++) {
        loop_turn(loop, n < 3);
        assert_int_equal(q.turns, n);
    }
    loop_turn(loop, false);
    assert_int_equal(q.turns, 3);
    q.turns = 0;
    loop_work_start(loop);
    loop_turn(loop, true);
    assert_int_equal(q.turns, 1);
}

static void test_timers_fire_in_order_and_never_early(void **state)
{
    struct alarm alarms[50] = {0};
    struct timer end = {.fire = stop};
    uint64_t now = clock_now_ns();

    (void)state;
    fired = 0;
    for (unsigned i = 0; i < 50; i++) {
        alarms[i].timer.fire = alarm_fire;
        alarms[i].due = now + (i * 37 % 50) * 300000 + 12345;
        assert_int_equal(loop_timer_set(loop, &alarms[i].timer, alarms[i].due, NULL), 0);
    }
    loop_timer_clear(loop, &alarms[7].timer);
    loop_timer_clear(loop, &alarms[7].timer);
    assert_int_equal(loop_timer_set(loop, &end, now + 50 * 300000 + 12345, NULL), 0);
    loop_run(loop);
    assert_int_equal(fired, 49);
    assert_int_equal(alarms[7].fired_at, 0);
    for (unsigned i = 0; i < 50; i++) {
        for (unsigned k = 0; k < 50; k++)
            if (i != 7 && k != 7 && alarms[i].due < alarms[k].due)
                assert_true(alarms[i].order < alarms[k].order);
        if (i != 7)
            assert_true(alarms[i].fired_at >= alarms[i].due);
    }
}

static void test_a_timer_in_the_past_fires_from_the_loop(void **state)
{
    struct alarm a = {.timer.fire = alarm_fire};
    struct timer end = {.fire = stop};

    (void)state;
    fired = 0;
    assert_int_equal(loop_timer_set(loop, &a.timer, 0, NULL), 0);
    assert_int_equal(fired, 0);
    assert_int_equal(loop_timer_set(loop, &end, 2, NULL), 0);
    loop_run(loop);
    assert_int_equal(fired, 1);
}

static int pipe_ends[2], busy_fires;

static void busy_fire(struct timer *t)
{
    if (busy_fires++ == 0)
        assert_int_equal(write(pipe_ends[1], "x", 1), 1);
    assert_int_equal(loop_timer_set(loop, t, loop_now_ns(loop), NULL), 0);
}

static void pipe_came(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    uv_poll_stop(handle);
    loop_stop(loop);
}

/* Hangs where it fails: a socket is never served while a timer sets itself for now. */
static void test_a_busy_timer_does_not_shut_out_sockets(void **state)
{
    struct timer busy = {.fire = busy_fire};
    uv_poll_t handle;

    (void)state;
    busy_fires = 0;
    assert_int_equal(pipe(pipe_ends), 0);
    assert_int_equal(uv_poll_init(loop_uv(loop), &handle, pipe_ends[0]), 0);
    assert_int_equal(uv_poll_start(&handle, UV_READABLE, pipe_came), 0);
    assert_int_equal(loop_timer_set(loop, &busy, 1, NULL), 0);
    loop_run(loop);
    assert_true(busy_fires >= 1);
    uv_close((uv_handle_t *)&handle, NULL);
    loop_free(loop); /* completes the close: handle is on this stack */
    assert_int_equal(busy.at, 0);
    assert_int_equal(loop_new(&loop, NULL), 0);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static uint64_t seen_now[2];

static void remember_now(struct msg *m)
{
    seen_now[runs++] = loop_now_ns(loop);
    (void)m;
    if (runs == 2)
        loop_stop(loop);
}

static void test_time_stands_still_within_a_turn(void **state)
{
    struct msg a = {.run = remember_now}, b = {.run = remember_now};
    uint64_t before = clock_now_ns();

    (void)state;
    runs = 0;
    loop_post(loop, &a);
    loop_post(loop, &b);
    loop_run(loop);
    assert_int_equal(seen_now[0], seen_now[1]);
    assert_true(seen_now[0] >= before && seen_now[0] <= clock_now_ns());
}

static void test_the_loop_can_run_again(void **state)
{
    struct timer end = {.fire = stop};

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loop_timer_set(loop, &end, 1, NULL), 0);
        loop_run(loop);
        assert_int_equal(end.at, 0);
    }
}

/* --- signals --- */

static int signals_seen;

static void on_signal(void *ctx, int signum)
{
    assert_ptr_equal(ctx, &signals_seen);
    signals_seen += signum;
    if (signals_seen == SIGTERM + SIGHUP)
        loop_stop(loop);
    else
        raise(SIGHUP);
}

static void test_signals_reach_the_loop(void **state)
{
    struct err err = {0};

    (void)state;
    signals_seen = 0;
    assert_int_equal(loop_on_signal(loop, SIGTERM, on_signal, &signals_seen, &err), 0);
    assert_int_equal(loop_on_signal(loop, SIGHUP, on_signal, &signals_seen, &err), 0);
    raise(SIGTERM);
    loop_run(loop);
    assert_int_equal(signals_seen, SIGTERM + SIGHUP);
    assert_int_equal(loop_on_signal(loop, SIGKILL, on_signal, NULL, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.msg, "signal 9"));
    for (int i = 3; i < LOOP_SIGNALS_MAX; i++)
        assert_int_equal(loop_on_signal(loop, SIGUSR1, on_signal, NULL, &err), 0);
    assert_int_equal(loop_on_signal(loop, SIGUSR1, on_signal, NULL, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
}

/* --- the end --- */

static void count_run(struct msg *m)
{
    (void)m;
    runs++;
}

static void post_another(struct msg *m)
{
    static struct msg another = {.run = count_run};

    (void)m;
    runs++;
    loop_post(loop, &another);
}

static void test_messages_are_run_before_the_end(void **state)
{
    struct msg m = {.run = post_another};

    (void)state;
    runs = 0;
    loop_post(loop, &m);
    loop_free(loop);
    assert_int_equal(runs, 2);
    assert_int_equal(loop_new(&loop, NULL), 0);
}

static struct msg from_close = {.run = count_run};

static void closed(uv_handle_t *handle)
{
    free(handle);
    loop_post(loop, &from_close);
}

static void test_closes_under_way_are_completed(void **state)
{
    uv_timer_t *handle = malloc(sizeof(*handle));

    (void)state;
    runs = 0;
    assert_int_equal(uv_timer_init(loop_uv(loop), handle), 0);
    uv_close((uv_handle_t *)handle, closed);
    loop_free(loop);
    assert_int_equal(runs, 1);
    assert_int_equal(loop_new(&loop, NULL), 0);
}

static sem_t go_on;
static bool worked;

static void work(uv_work_t *req)
{
    (void)req;
    while (sem_wait(&go_on) < 0)
        ;
}

static void work_ended(uv_work_t *req, int status)
{
    (void)req;
    assert_int_equal(status, 0);
    worked = true;
}

static void let_it_go_on(uv_handle_t *handle)
{
    (void)handle;
    sem_post(&go_on);
}

/* A name lookup is such work; the loop is freed while it runs. */
static void test_work_in_another_thread_is_waited_for(void **state)
{
    uv_timer_t handle;
    uv_work_t req;

    (void)state;
    worked = false;
    sem_init(&go_on, 0, 0);
    assert_int_equal(uv_timer_init(loop_uv(loop), &handle), 0);
    assert_int_equal(uv_queue_work(loop_uv(loop), &req, work, work_ended), 0);
    uv_close((uv_handle_t *)&handle, let_it_go_on); /* called within loop_free */
    loop_free(loop);
    assert_true(worked);
    assert_int_equal(loop_new(&loop, NULL), 0);
    sem_destroy(&go_on);
}

static void test_nothing_to_free_is_fine(void **state)
{
    (void)state;
    loop_free(NULL);
    assert_non_null(loop);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_messages_arrive_in_order_on_the_loop_thread),
        TEST(test_a_message_may_send_itself_again),
        TEST(test_a_quiet_message_is_run_at_the_end_of_a_turn),
        TEST(test_a_quiet_message_may_post_another),
        TEST(test_another_thread_may_wake_for_quiet_ones),
        TEST(test_a_message_taken_back_is_not_run),
        TEST(test_work_between_turns),
        TEST(test_timers_fire_in_order_and_never_early),
        TEST(test_a_timer_in_the_past_fires_from_the_loop),
        TEST(test_a_busy_timer_does_not_shut_out_sockets),
        TEST(test_time_stands_still_within_a_turn),
        TEST(test_the_loop_can_run_again),
        TEST(test_signals_reach_the_loop),
        TEST(test_messages_are_run_before_the_end),
        TEST(test_closes_under_way_are_completed),
        TEST(test_work_in_another_thread_is_waited_for),
        TEST(test_nothing_to_free_is_fine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
