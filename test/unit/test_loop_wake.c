/* A sender that is interrupted on its way into the system call keeps nobody else's message from the
 * loop. `write` is this program's own here: one thread is held up in it for as long as the test
 * likes. */
#include "base/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Thread_local bool held;
static sem_t in_write, may_go;

ssize_t write(int fd, const void *buf, size_t n)
{
    if (held) {
        held = false;
        sem_post(&in_write);
        sem_wait(&may_go);
    }
    return syscall(SYS_write, fd, buf, n);
}

struct sender {
    struct loop *loop;
    struct msg msg;
    bool held, ran;
};

static void ran(struct msg *m)
{
    struct sender *s = container_of(m, struct sender, msg);

    s->ran = true;
    if (!s->held)
        loop_stop(s->loop);
}

static void *send(void *ctx)
{
    struct sender *s = ctx;

    held = s->held;
    s->msg.run = ran;
    loop_post(s->loop, &s->msg);
    return NULL;
}

static void test_nobody_waits_for_a_sender_that_was_interrupted(void **state)
{
    struct sender first = {.held = true}, second = {.held = false};
    pthread_t threads[2];

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct loop *loop;

        assert_int_equal(loop_new(&loop, NULL), 0);
        first.loop = second.loop = loop;
        first.ran = second.ran = false;
        assert_int_equal(pthread_create(&threads[0], NULL, send, &first), 0);
        sem_wait(&in_write); /* its message is there, and the loop does not know */
        assert_int_equal(pthread_create(&threads[1], NULL, send, &second), 0);
        loop_run(loop); /* for ever, were the second to count on the first */
        assert_true(first.ran && second.ran);
        sem_post(&may_go);
        pthread_join(threads[0], NULL);
        pthread_join(threads[1], NULL);
        second.ran = false;
        send(&second); /* and what came late says nothing of what comes then */
        loop_run(loop);
        assert_true(second.ran);
        loop_free(loop);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_waits_for_a_sender_that_was_interrupted),
    };

    sem_init(&in_write, 0, 0);
    sem_init(&may_go, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
