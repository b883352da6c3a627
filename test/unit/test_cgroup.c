/* The memory limit of a control group, from files as the kernel has them. */
#include "base/cgroup.h"

#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
// cmocka wants the above first
#include <cmocka.h>

static struct tmp_dir dir;

static void put(const char *name, const char *text)
{
    FILE *f = fopen(tmp_file(&dir, name), "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void make(const char *name)
{
    assert_int_equal(mkdir(tmp_file(&dir, name), 0700), 0);
}

static void gone(const char *name)
{
    assert_int_equal(remove(tmp_file(&dir, name)), 0);
}

static uint64_t limit(const char *self)
{
    char path[512];

    put("self", self);
    snprintf(path, sizeof(path), "%s", tmp_file(&dir, "self"));
    return cgroup_memory_limit_at(path, dir.path);
}

static void test_the_least_of_all_above_counts(void **state)
{
    (void)state;
    make("a");
    make("a/b");
    put("a/memory.max", "1073741824\n");
    put("a/b/memory.max", "max\n");
    assert_true(limit("0::/a/b\n") == 1073741824);
    put("a/b/memory.high", "536870912\n");
    assert_true(limit("0::/a/b\n") == 536870912);
    assert_true(limit("0::/a\n") == 1073741824);
    gone("a/memory.max");
    gone("a/b/memory.max");
    gone("a/b/memory.high");
    assert_true(limit("0::/a/b\n") == UINT64_MAX);
    gone("a/b");
    gone("a");
}

static void test_version_1_and_hybrids(void **state)
{
    (void)state;
    make("memory");
    make("memory/x");
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/x/memory.limit_in_bytes", "268435456\n");
    assert_true(limit("9:cpu,cpuacct:/x\n4:memory:/x\n0::/y\n") == 268435456);
    assert_true(limit("4:memory:/\n") == UINT64_MAX);
    assert_true(limit("4:notmemory:/x\n") == UINT64_MAX);
    put("memory.max", "100000000\n"); /* a container's own root */
    assert_true(limit("0::/\n") == 100000000);
    gone("memory.max");
    gone("memory/x/memory.limit_in_bytes");
    gone("memory/memory.limit_in_bytes");
    gone("memory/x");
    gone("memory");
}

static void test_what_is_not_there_is_no_limit(void **state)
{
    (void)state;
    assert_true(cgroup_memory_limit_at("/nonexistent", dir.path) == UINT64_MAX);
    assert_true(limit("") == UINT64_MAX);
    assert_true(limit("nonsense\n:\n::\n") == UINT64_MAX);
}

static int set_up(void **state)
{
    (void)state;
    return tmp_dir_make(&dir);
}

static int tear_down(void **state)
{
    (void)state;
    tmp_dir_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_least_of_all_above_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_version_1_and_hybrids, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_not_there_is_no_limit, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
