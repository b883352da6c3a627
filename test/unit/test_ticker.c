/* The ticker: wakes the loop for quiet messages while something is in hand, parks when nothing is,
 * and can be stopped in each of its states. */
#include "guest/ticker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct host_calls no_calls;
static struct loop *loop;
static struct engine *engine;
static struct ticker *ticker;

static int setup(void **state)
{
    (void)state;
    if (loop_new(&loop, NULL) < 0 || engine_new(&engine, &no_calls, NULL) < 0)
        return -1;
    return ticker_start(&ticker, engine, loop, NULL);
}

static int teardown(void **state)
{
    (void)state;
    ticker_stop(ticker);
    engine_free(engine);
    loop_free(loop);
    return 0;
}

static void came(struct msg *m)
{
    (void)m;
    loop_stop(loop);
}

/* Nobody else wakes the loop: without the ticker this would not end. */
static void test_quiet_messages_are_found(void **state)
{
    struct msg m = {.run = came};

    (void)state;
    for (int i = 0; i < 5; i++) {
        ticker_begin(ticker, i % 2 == 0);
        loop_turn(loop, false);
        loop_post_quietly(loop, &m);
        loop_run(loop);
        ticker_end(ticker);
    }
}

static void test_it_ends_while_it_rests(void **state)
{
    (void)state;
    ticker_begin(ticker, true);
    ticker_end(ticker);
}

static void test_it_ends_while_parked(void **state)
{
    (void)state;
}

static void test_nothing_to_stop_is_fine(void **state)
{
    (void)state;
    ticker_stop(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_quiet_messages_are_found),
        TEST(test_it_ends_while_it_rests),
        TEST(test_it_ends_while_parked),
        cmocka_unit_test(test_nothing_to_stop_is_fine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
