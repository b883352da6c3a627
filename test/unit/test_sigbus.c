/* A file is mapped privately and then cut short: touching what is gone raises SIGBUS. Inside a
 * guard that is a zero page and a flag; outside, the process (a child here) dies as it did before.
 */
#include "engine/sigbus.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* The handler under test, as the kernel knows it. */
static struct sigaction ours;

/* cmocka puts a handler of its own in place for each test. */
static void use_handler(void **state)
{
    (void)state;
    assert_int_equal(sigaction(SIGBUS, &ours, NULL), 0);
}

#define PAGE  4096u
#define PAGES 8u

/* PAGES pages of 'x', privately mapped, of which the file keeps only the first `kept`. */
static uint8_t *map_and_cut(unsigned kept)
{
    FILE *file = tmpfile();
    uint8_t page[PAGE], *at;
    int fd;

    assert_non_null(file);
    fd = fileno(file);
    memset(page, 'x', sizeof(page));
    for (unsigned i = 0; i < PAGES; i++)
        assert_int_equal(write(fd, page, PAGE), PAGE);
    at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    assert_true(at != MAP_FAILED);
    assert_int_equal(ftruncate(fd, kept * PAGE), 0);
    fclose(file);
    return at;
}

static struct sigbus_guard guard_on(const uint8_t *at)
{
    return (struct sigbus_guard){.base = at, .len = PAGES * PAGE};
}

static void test_read_and_write_inside_a_guard_see_a_zero_page(void **state)
{
    uint8_t *at = map_and_cut(2);
    struct sigbus_guard g = guard_on(at);
    volatile uint8_t *p = at;

    use_handler(state);
    sigbus_enter(&g);
    assert_int_equal(p[PAGE], 'x');
    assert_false(g.poisoned);
    errno = 4711;
    assert_int_equal(p[3 * PAGE + 17], 0);
    assert_int_equal(errno, 4711);
    assert_true(g.poisoned);
    p[5 * PAGE] = 'w';
    assert_int_equal(p[5 * PAGE], 'w');
    assert_int_equal(p[5 * PAGE + 1], 0);
    assert_int_equal(p[2 * PAGE - 1], 'x'); /* what could be read stays */
    sigbus_leave(&g);
    munmap(at, PAGES * PAGE);
}

static void test_a_host_copy_goes_on(void **state)
{
    uint8_t *at = map_and_cut(2), *copy = malloc(PAGES * PAGE);
    struct sigbus_guard g = guard_on(at);

    use_handler(state);
    assert_non_null(copy);
    sigbus_enter(&g);
    memcpy(copy, at, PAGES * PAGE);
    sigbus_leave(&g);
    assert_true(g.poisoned);
    for (size_t i = 0; i < PAGES * PAGE; i++)
        assert_int_equal(copy[i], i < 2 * PAGE ? 'x' : 0);
    free(copy);
    munmap(at, PAGES * PAGE);
}

/* The kernel's own copy raises no signal: it is short, and the flag stays as it was. */
static void test_a_system_call_is_just_short(void **state)
{
    uint8_t *at = map_and_cut(1);
    struct sigbus_guard g = guard_on(at);
    int fd = memfd_create("sink", 0);

    use_handler(state);
    sigbus_enter(&g);
    assert_int_equal(write(fd, at, 2 * PAGE), PAGE);
    sigbus_leave(&g);
    assert_false(g.poisoned);
    close(fd);
    munmap(at, PAGES * PAGE);
}

static void test_guards_nest_and_only_the_one_hit_is_poisoned(void **state)
{
    uint8_t *a = map_and_cut(1), *b = map_and_cut(1);
    struct sigbus_guard outer = guard_on(a), inner = guard_on(b);
    volatile uint8_t *pa = a, *pb = b;

    use_handler(state);
    sigbus_enter(&outer);
    sigbus_enter(&inner);
    assert_int_equal(pa[PAGE], 0);
    assert_true(outer.poisoned);
    assert_false(inner.poisoned);
    assert_int_equal(pb[PAGE], 0);
    assert_true(inner.poisoned);
    sigbus_leave(&inner);
    assert_int_equal(pa[2 * PAGE], 0);
    sigbus_leave(&outer);
    munmap(a, PAGES * PAGE);
    munmap(b, PAGES * PAGE);
}

static void *fault_in_thread(void *arg)
{
    uint8_t *at = map_and_cut(1);
    struct sigbus_guard g = guard_on(at);
    unsigned sum = 0;

    (void)arg;
    sigbus_enter(&g);
    for (unsigned i = 0; i < PAGES; i++)
        sum += ((volatile uint8_t *)at)[i * PAGE];
    sigbus_leave(&g);
    munmap(at, PAGES * PAGE);
    return g.poisoned && sum == 'x' ? arg : NULL;
}

static void test_threads_fault_at_once(void **state)
{
    pthread_t threads[8];
    char names[8];
    void *ok;

    use_handler(state);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fault_in_thread, &names[i]), 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], &ok);
        assert_ptr_equal(ok, &names[i]);
    }
}

static void *fault_on_alternate_stack(void *arg)
{
    stack_t alt = {.ss_size = 64 * 1024};
    void *ok;

    alt.ss_sp = malloc(alt.ss_size);
    sigaltstack(&alt, NULL);
    ok = fault_in_thread(arg);
    alt.ss_flags = SS_DISABLE;
    sigaltstack(&alt, NULL);
    free(alt.ss_sp);
    return ok;
}

static void test_works_on_an_alternate_stack(void **state)
{
    pthread_t thread;
    void *ok;

    use_handler(state);
    assert_int_equal(pthread_create(&thread, NULL, fault_on_alternate_stack, state), 0);
    pthread_join(thread, &ok);
    assert_ptr_equal(ok, state);
}

/* --- what ends the process: each in a child, which exits with 0 if it lives on --- */

static int wait_status_of(void (*run)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_dies_of_sigbus(void (*run)(void))
{
    int status = wait_status_of(run);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
}

static void fault_without_guard(void)
{
    volatile uint8_t *p = map_and_cut(1);

    (void)p[PAGE];
}

static void fault_after_leave(void)
{
    uint8_t *at = map_and_cut(1);
    struct sigbus_guard g = guard_on(at);

    sigbus_enter(&g);
    sigbus_leave(&g);
    (void)*(volatile uint8_t *)(at + PAGE);
}

static void fault_one_byte_past_the_guard(void)
{
    uint8_t *at = map_and_cut(1);
    struct sigbus_guard g = {.base = at, .len = 2 * PAGE};

    sigbus_enter(&g);
    (void)*(volatile uint8_t *)(at + 2 * PAGE - 1);
    if (!g.poisoned)
        _exit(0);
    (void)*(volatile uint8_t *)(at + 2 * PAGE);
}

static void fault_one_byte_before_the_guard(void)
{
    uint8_t *at = map_and_cut(1);
    struct sigbus_guard g = {.base = at + 2 * PAGE, .len = 2 * PAGE};

    sigbus_enter(&g);
    (void)*(volatile uint8_t *)(at + 2 * PAGE - 1);
}

static void *hold_guard(void *arg)
{
    sigbus_enter(arg);
    fault_without_guard();
    return NULL;
}

static void fault_in_a_thread_without_guard(void)
{
    uint8_t *at = map_and_cut(1);
    struct sigbus_guard g = guard_on(at);
    pthread_t thread;

    sigbus_enter(&g); /* this thread's: no help to the other */
    pthread_create(&thread, NULL, hold_guard, &(struct sigbus_guard){.base = NULL, .len = 0});
    pthread_join(thread, NULL);
}

static void sent_by_kill_inside_a_guard(void)
{
    /* Every address is inside: whatever si_addr aliases, it must not count as a fault. */
    struct sigbus_guard g = {.base = NULL, .len = SIZE_MAX};

    sigbus_enter(&g);
    kill(getpid(), SIGBUS);
}

static void test_a_fault_elsewhere_keeps_its_default_action(void **state)
{
    use_handler(state);
    assert_dies_of_sigbus(fault_without_guard);
    assert_dies_of_sigbus(fault_after_leave);
    assert_dies_of_sigbus(fault_one_byte_past_the_guard);
    assert_dies_of_sigbus(fault_one_byte_before_the_guard);
    assert_dies_of_sigbus(fault_in_a_thread_without_guard);
    assert_dies_of_sigbus(sent_by_kill_inside_a_guard);
}

static void earlier_handler(int signum)
{
    _exit(40 + (signum == SIGBUS));
}

static void earlier_action(int signum, siginfo_t *info, void *context)
{
    (void)context;
    _exit(signum == SIGBUS && info->si_code == BUS_ADRERR ? 51 : 50);
}

/* This runs before the parent's sigbus_install, so that the child's is the first. */
static void test_an_earlier_handler_is_called(void **state)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    pid_t pid;
    int status;

    (void)state;
    for (int with_info = 0; with_info < 2; with_info++) {
        pid = fork();
        if (pid == 0) {
            if (with_info)
                action.sa_sigaction = earlier_action;
            else
                action = (struct sigaction){.sa_handler = earlier_handler};
            sigaction(SIGBUS, &action, NULL);
            if (sigbus_install(NULL) < 0)
                _exit(1);
            fault_without_guard();
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), with_info ? 51 : 41);
    }
}

static void ignored_and_sent(void)
{
    kill(getpid(), SIGBUS);
    _exit(7);
}

static void test_an_ignored_signal_stays_ignored_but_a_fault_kills(void **state)
{
    pid_t pid;
    int status;

    (void)state;
    for (int fault = 0; fault < 2; fault++) {
        pid = fork();
        if (pid == 0) {
            signal(SIGBUS, SIG_IGN);
            if (sigbus_install(NULL) < 0)
                _exit(1);
            if (fault)
                fault_without_guard();
            else
                ignored_and_sent();
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (fault)
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
        else
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
}

int main(void)
{
    const struct CMUnitTest first[] = {
        cmocka_unit_test(test_an_earlier_handler_is_called),
        cmocka_unit_test(test_an_ignored_signal_stays_ignored_but_a_fault_kills),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_and_write_inside_a_guard_see_a_zero_page),
        cmocka_unit_test(test_a_host_copy_goes_on),
        cmocka_unit_test(test_a_system_call_is_just_short),
        cmocka_unit_test(test_guards_nest_and_only_the_one_hit_is_poisoned),
        cmocka_unit_test(test_threads_fault_at_once),
        cmocka_unit_test(test_works_on_an_alternate_stack),
        cmocka_unit_test(test_a_fault_elsewhere_keeps_its_default_action),
    };
    int failed;

    signal(SIGBUS, SIG_DFL); /* sanitizers have a handler of their own */
    failed = cmocka_run_group_tests(first, NULL, NULL);
    /* Twice: the second must not make the handler its own predecessor. */
    for (int i = 0; i < 2; i++)
        if (sigbus_install(NULL) < 0)
            return 1;
    sigaction(SIGBUS, NULL, &ours);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
