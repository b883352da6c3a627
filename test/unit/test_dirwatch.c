/* base/dirwatch and base/work, on a real loop. */
#include "base/dirwatch.h"
#include "base/work.h"
#include "support/tmp_dir.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

struct seen {
    struct loop *loop;
    unsigned times;
    pthread_t thread;
};

static void changed(void *ctx)
{
    struct seen *s = ctx;

    s->times++;
    loop_stop(s->loop);
}

static void touch(struct tmp_dir *dir, const char *name)
{
    FILE *f = fopen(tmp_file(dir, name), "we");

    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
}

static void test_a_burst_is_one_change(void **state)
{
    struct tmp_dir dir;
    struct dirwatch *w = NULL;
    struct seen s = {0};
    struct err err;

    (void)state;
    assert_int_equal(tmp_dir_make(&dir), 0);
    assert_int_equal(loop_new(&s.loop, &err), 0);
    assert_int_equal(dirwatch_new(&w, s.loop, "/nowhere/at/all", 10, changed, &s, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(dirwatch_new(&w, s.loop, dir.path, 10, changed, &s, &err), 0);
    touch(&dir, "a");
    touch(&dir, "b");
    loop_run(s.loop);
    assert_int_equal(s.times, 1);
    touch(&dir, "a");
    loop_run(s.loop);
    assert_int_equal(s.times, 2);
    dirwatch_free(w);
    dirwatch_free(NULL);
    loop_free(s.loop);
    tmp_dir_remove(&dir);
}

static void run(void *ctx)
{
    struct seen *s = ctx;

    s->thread = pthread_self();
}

static void test_work_is_done_elsewhere(void **state)
{
    struct seen s = {0};
    struct err err;

    (void)state;
    assert_int_equal(loop_new(&s.loop, &err), 0);
    s.thread = pthread_self();
    assert_int_equal(work_start(s.loop, run, changed, &s, &err), 0);
    assert_int_equal(s.times, 0);
    loop_run(s.loop);
    assert_int_equal(s.times, 1);
    assert_false(pthread_equal(s.thread, pthread_self()));
    loop_free(s.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_is_one_change),
        cmocka_unit_test(test_work_is_done_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
