/* Each WASI function with good pointers, with pointers at and past the end of memory, with counts
 * that would overflow, and at its limits. A guest here is an array of bytes. */
#include "engine/wasi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"

#define MEMORY  65536u
#define OUTSIDE 0xfffffff0u

/* What reached the log, each line as "fd:text|". */
struct sink {
    char *text;
    size_t len;
    size_t lines, longest;
};

struct guest {
    struct wasi_guest wasi;
    struct wasi_mem mem;
    struct sink sink;
};

static void take_line(void *ctx, int fd, const char *text, size_t len)
{
    struct sink *sink = ctx;
    char *grown = realloc(sink->text, sink->len + len + 4);

    assert_non_null(grown);
    sink->text = grown;
    sink->len += (size_t)snprintf(grown + sink->len, 4, "%d:", fd);
    memcpy(grown + sink->len, text, len);
    sink->len += len;
    grown[sink->len++] = '|';
    grown[sink->len] = 0;
    sink->lines++;
    if (len > sink->longest)
        sink->longest = len;
}

static int setup(void **state)
{
    struct guest *g = calloc(1, sizeof(*g));

    assert_non_null(g);
    g->mem = (struct wasi_mem){.data = malloc(MEMORY), .len = MEMORY};
    memset(g->mem.data, 0xee, MEMORY);
    g->wasi.output = take_line;
    g->wasi.ctx = &g->sink;
    *state = g;
    return 0;
}

static int teardown(void **state)
{
    struct guest *g = *state;

    wasi_guest_free(&g->wasi);
    free(g->sink.text);
    free(g->mem.data);
    free(g);
    return 0;
}

static const struct wasi_function *find(const char *name)
{
    for (size_t i = 0; i < wasi_functions_n; i++)
        if (!strcmp(wasi_functions[i].name, name))
            return &wasi_functions[i];
    fail_msg("no function %s", name);
    return NULL;
}

/* Calls by name with as many arguments as the function has. */
static int32_t call(struct guest *g, const char *name, ...)
{
    const struct wasi_function *f = find(name);
    union wasi_arg args[WASI_PARAMS_MAX] = {0};
    va_list ap;

    va_start(ap, name);
    for (size_t i = 0; f->params[i]; i++) {
        if (f->params[i] == 'I')
            args[i].u64 = va_arg(ap, uint64_t);
        else
            args[i].u32 = va_arg(ap, uint32_t);
    }
    va_end(ap);
    return f->fn(&g->wasi, g->mem, args);
}

static uint32_t read32(const struct guest *g, uint32_t at)
{
    uint32_t v;

    memcpy(&v, g->mem.data + at, 4);
    return v;
}

static uint64_t read64(const struct guest *g, uint32_t at)
{
    uint64_t v;

    memcpy(&v, g->mem.data + at, 8);
    return v;
}

static void write32(struct guest *g, uint32_t at, uint32_t v)
{
    memcpy(g->mem.data + at, &v, 4);
}

static void write64(struct guest *g, uint32_t at, uint64_t v)
{
    memcpy(g->mem.data + at, &v, 8);
}

static void assert_untouched(const struct guest *g)
{
    for (size_t i = 0; i < MEMORY; i++)
        assert_int_equal(g->mem.data[i], 0xee);
}

/* --- the table --- */

static void test_table_is_sorted_and_well_formed(void **state)
{
    (void)state;
    assert_int_equal(wasi_functions_n, 46);
    for (size_t i = 0; i < wasi_functions_n; i++) {
        const struct wasi_function *f = &wasi_functions[i];

        assert_non_null(f->fn);
        assert_true(strlen(f->params) <= WASI_PARAMS_MAX);
        assert_int_equal(strspn(f->params, "iI"), strlen(f->params));
        assert_int_equal(f->has_result, strcmp(f->name, "proc_exit") != 0);
        assert_int_equal(f->may_wait, strcmp(f->name, "poll_oneoff") == 0);
        if (i > 0)
            assert_true(strcmp(wasi_functions[i - 1].name, f->name) < 0);
    }
}

/* --- arguments and environment --- */

static const char *const words[] = {"ring-0", "", "--n=1"};

static void test_args_and_environment_are_copied(void **state)
{
    static const char *const get[] = {"args_get", "environ_get"};
    static const char *const sizes[] = {"args_sizes_get", "environ_sizes_get"};
    struct guest *g = *state;

    g->wasi.args = g->wasi.env = words;
    g->wasi.nargs = g->wasi.nenv = 3;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(call(g, sizes[i], 101, 105), 0);
        assert_int_equal(read32(g, 101), 3);
        assert_int_equal(read32(g, 105), 14);
        assert_int_equal(call(g, get[i], 201, MEMORY - 14), 0);
        assert_int_equal(read32(g, 201), MEMORY - 14);
        assert_int_equal(read32(g, 205), MEMORY - 7);
        assert_int_equal(read32(g, 209), MEMORY - 6);
        assert_memory_equal(g->mem.data + MEMORY - 14, "ring-0\0\0--n=1", 14);
        assert_int_equal(g->mem.data[213], 0xee);
        memset(g->mem.data, 0xee, MEMORY);
    }
}

static void test_args_that_do_not_fit_write_nothing(void **state)
{
    struct guest *g = *state;

    g->wasi.args = g->wasi.env = words;
    g->wasi.nargs = g->wasi.nenv = 3;
    assert_int_equal(call(g, "args_get", 0, MEMORY - 13), WASI_EFAULT);
    assert_int_equal(call(g, "args_get", MEMORY - 11, 0), WASI_EFAULT);
    assert_int_equal(call(g, "args_get", 0, OUTSIDE), WASI_EFAULT);
    assert_int_equal(call(g, "environ_get", OUTSIDE, 0), WASI_EFAULT);
    assert_int_equal(call(g, "args_sizes_get", 0, MEMORY - 3), WASI_EFAULT);
    assert_int_equal(call(g, "args_sizes_get", MEMORY, 0), WASI_EFAULT);
    assert_int_equal(call(g, "environ_sizes_get", 0, UINT32_MAX), WASI_EFAULT);
    assert_untouched(g);
}

static void test_no_args_is_fine(void **state)
{
    struct guest *g = *state;

    assert_int_equal(call(g, "environ_sizes_get", 0, 4), 0);
    assert_int_equal(read64(g, 0), 0);
    assert_int_equal(call(g, "environ_get", MEMORY, MEMORY), 0);
    assert_int_equal(call(g, "environ_get", MEMORY + 1, 0), WASI_EFAULT);
}

/* --- clocks and random numbers --- */

static uint64_t wall_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void test_clocks_are_read(void **state)
{
    struct guest *g = *state;
    uint64_t before = wall_now_ns(), last = 0;

    assert_int_equal(call(g, "clock_time_get", 0, (uint64_t)1, 8), 0);
    assert_true(read64(g, 8) >= before && read64(g, 8) <= wall_now_ns());
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(call(g, "clock_time_get", 1, (uint64_t)0, 8), 0);
        assert_true(read64(g, 8) >= last);
        last = read64(g, 8);
    }
    /* It goes on over a reboot: at least all that CLOCK_MONOTONIC had, and the wall's order. */
    assert_true(last > clock_now_ns());
    assert_int_equal(call(g, "clock_res_get", 0, 8), 0);
    assert_true(read64(g, 8) > 0 && read64(g, 8) < NS_PER_S);
    assert_int_equal(call(g, "clock_res_get", 1, 8), 0);
    assert_true(read64(g, 8) > 0 && read64(g, 8) < NS_PER_S);
}

static void test_bad_clocks_and_pointers_are_refused(void **state)
{
    static const char *const get[] = {"clock_time_get", "clock_res_get"};
    struct guest *g = *state;

    assert_int_equal(call(g, get[0], 2, (uint64_t)0, 8), WASI_ENOTSUP);
    assert_int_equal(call(g, get[0], 3, (uint64_t)0, 8), WASI_ENOTSUP);
    assert_int_equal(call(g, get[0], 4, (uint64_t)0, 8), WASI_EINVAL);
    assert_int_equal(call(g, get[0], UINT32_MAX, (uint64_t)0, 8), WASI_EINVAL);
    assert_int_equal(call(g, get[0], 0, (uint64_t)0, MEMORY - 7), WASI_EFAULT);
    assert_int_equal(call(g, get[1], 2, 8), WASI_ENOTSUP);
    assert_int_equal(call(g, get[1], 9, 8), WASI_EINVAL);
    assert_int_equal(call(g, get[1], 1, UINT32_MAX), WASI_EFAULT);
    assert_untouched(g);
}

static void test_random_fills_exactly(void **state)
{
    struct guest *g = *state;
    size_t zeros = 0;

    assert_int_equal(call(g, "random_get", 100, 1000), 0);
    assert_int_equal(g->mem.data[99], 0xee);
    for (size_t i = 1100; i < MEMORY; i++)
        assert_int_equal(g->mem.data[i], 0xee);
    for (size_t i = 100; i < 1100; i++)
        zeros += g->mem.data[i] == 0xee;
    assert_true(zeros < 50); /* 1000 bytes, each with odds of 1 in 256 */
    assert_int_equal(call(g, "random_get", MEMORY, 0), 0);
    assert_int_equal(call(g, "random_get", MEMORY - 4, 5), WASI_EFAULT);
    assert_int_equal(call(g, "random_get", UINT32_MAX, UINT32_MAX), WASI_EFAULT);
}

static void test_random_has_a_limit(void **state)
{
    struct guest *g = *state;

    free(g->mem.data);
    g->mem.len = WASI_RANDOM_BYTES_MAX + 1;
    g->mem.data = calloc(1, g->mem.len);
    assert_int_equal(call(g, "random_get", 0, WASI_RANDOM_BYTES_MAX + 1), WASI_EINVAL);
    assert_int_equal(g->mem.data[0] | g->mem.data[1] | g->mem.data[2] | g->mem.data[3], 0);
    assert_int_equal(call(g, "random_get", 1, WASI_RANDOM_BYTES_MAX), 0);
    assert_true(read64(g, 1) != 0 && read64(g, WASI_RANDOM_BYTES_MAX - 7) != 0);
}

/* --- writing --- */

/* Writes text from guest memory with one piece; returns the errno. */
static int32_t print(struct guest *g, uint32_t fd, const char *text)
{
    uint32_t len = (uint32_t)strlen(text);

    memcpy(g->mem.data + 4096, text, len);
    write32(g, 16, 4096);
    write32(g, 20, len);
    return call(g, "fd_write", fd, 16, 1, 24);
}

static void assert_sink(struct guest *g, const char *expected)
{
    assert_string_equal(g->sink.text ? g->sink.text : "", expected);
}

static void test_lines_reach_the_log_whole(void **state)
{
    struct guest *g = *state;

    assert_int_equal(print(g, 1, "one\ntwo"), 0);
    assert_int_equal(read32(g, 24), 7);
    assert_sink(g, "1:one|");
    assert_int_equal(print(g, 2, "err\n\n"), 0);
    assert_int_equal(print(g, 1, " and a half\nthree\n"), 0);
    assert_sink(g, "1:one|2:err|2:|1:two and a half|1:three|");
    wasi_flush(&g->wasi);
    assert_sink(g, "1:one|2:err|2:|1:two and a half|1:three|");
}

static void test_flush_ends_unfinished_lines(void **state)
{
    struct guest *g = *state;

    assert_int_equal(print(g, 1, "out"), 0);
    assert_int_equal(print(g, 2, "err"), 0);
    assert_sink(g, "");
    wasi_flush(&g->wasi);
    assert_sink(g, "1:out|2:err|");
    assert_null(g->wasi.lines[0].text);
    wasi_flush(&g->wasi);
    assert_sink(g, "1:out|2:err|");
    assert_int_equal(print(g, 1, "again\n"), 0);
    assert_sink(g, "1:out|2:err|1:again|");
}

static void test_pieces_of_one_write_are_joined(void **state)
{
    static const char *const pieces[] = {"he", "", "llo\nwor", "ld\n"};
    struct guest *g = *state;

    for (uint32_t i = 0; i < 4; i++) {
        memcpy(g->mem.data + 4096 + i * 64, pieces[i], strlen(pieces[i]));
        write32(g, 101 + i * 8, 4096 + i * 64);
        write32(g, 105 + i * 8, (uint32_t)strlen(pieces[i]));
    }
    assert_int_equal(call(g, "fd_write", 1, 101, 4, 24), 0);
    assert_int_equal(read32(g, 24), 12);
    assert_sink(g, "1:hello|1:world|");
}

/* Writes n bytes 'x' from one piece. */
static void print_xs(struct guest *g, uint32_t n)
{
    memset(g->mem.data + 4096, 'x', n);
    write32(g, 16, 4096);
    write32(g, 20, n);
    assert_int_equal(call(g, "fd_write", 1, 16, 1, 24), 0);
    assert_int_equal(read32(g, 24), n);
}

static void test_a_long_line_comes_in_pieces(void **state)
{
    struct guest *g = *state;

    print_xs(g, WASI_LINE_MAX);
    assert_int_equal(g->sink.lines, 0);
    assert_int_equal(print(g, 1, "\n"), 0); /* of exactly the limit: one line, no empty one */
    assert_int_equal(g->sink.lines, 1);
    assert_int_equal(g->sink.longest, WASI_LINE_MAX);
    print_xs(g, 3 * WASI_LINE_MAX + 5);
    assert_int_equal(g->sink.lines, 4);
    print_xs(g, WASI_LINE_MAX - 5);
    assert_int_equal(g->sink.lines, 4);
    assert_int_equal(print(g, 1, "y\n"), 0);
    assert_int_equal(g->sink.lines, 6);
    assert_int_equal(g->sink.longest, WASI_LINE_MAX);
    assert_string_equal(g->sink.text + g->sink.len - 4, "1:y|");
}

/* However the same text is cut into writes, the same lines come out. */
static void test_cuts_do_not_change_lines(void **state)
{
    struct guest *g = *state;
    char text[3000], *whole;
    unsigned seed = 12345;

    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        seed = seed * 1103515245u + 12345u;
        text[i] = (seed >> 16) % 400 == 0 || (i > 2900 && i % 7 == 0) ? '\n' : 'a';
    }
    text[sizeof(text) - 1] = 0;
    print(g, 1, text);
    wasi_flush(&g->wasi);
    whole = g->sink.text;
    for (size_t cut = 1; cut < 2999; cut += 13) {
        char *head = strndup(text, cut);

        g->sink = (struct sink){0};
        print(g, 1, head);
        print(g, 1, text + cut);
        wasi_flush(&g->wasi);
        assert_string_equal(g->sink.text, whole);
        free(head);
        free(g->sink.text);
    }
    g->sink = (struct sink){0};
    free(whole);
}

static void test_a_write_is_short_at_its_limit(void **state)
{
    struct guest *g = *state;

    /* The same 64 KiB twice: the guest's list may name the same memory as often as it likes. */
    memset(g->mem.data, 'x', MEMORY);
    for (uint32_t i = 0; i < 2; i++) {
        write32(g, 16 + i * 8, 2048);
        write32(g, 20 + i * 8, MEMORY - 2048);
    }
    assert_int_equal(call(g, "fd_write", 2, 16, 2, 40), 0);
    assert_int_equal(read32(g, 40), WASI_WRITE_BYTES_MAX);
    wasi_flush(&g->wasi);
    assert_int_equal(g->sink.lines, WASI_WRITE_BYTES_MAX / WASI_LINE_MAX);
}

/* Lines cost the host more than bytes. What was not taken is not lost: the guest writes it again.
 */
static void test_a_write_is_short_at_its_lines(void **state)
{
    struct guest *g = *state;

    memset(g->mem.data, '\n', MEMORY);
    memset(g->mem.data + 2048 + WASI_WRITE_LINES_MAX - 1, 'a', 3); /* a last line of "aaa" */
    for (uint32_t i = 0; i < 2; i++) {
        write32(g, 16 + i * 8, 2048);
        write32(g, 20 + i * 8, MEMORY - 2048);
    }
    assert_int_equal(call(g, "fd_write", 2, 16, 2, 40), 0);
    assert_int_equal(read32(g, 40), WASI_WRITE_LINES_MAX + 3);
    assert_int_equal(g->sink.lines, WASI_WRITE_LINES_MAX);
    assert_string_equal(g->sink.text + g->sink.len - 8, ":|2:aaa|");
    wasi_flush(&g->wasi);
    assert_int_equal(g->sink.lines, WASI_WRITE_LINES_MAX);
}

static void test_bad_writes_write_nothing(void **state)
{
    struct guest *g = *state;

    write32(g, 16, 4096); /* a good piece, */
    write32(g, 20, 3);
    write32(g, 24, MEMORY - 2); /* a bad one, */
    write32(g, 28, 3);
    write32(g, 32, 0xffffffff); /* and one that would wrap */
    write32(g, 36, 0xffffffff);
    assert_int_equal(call(g, "fd_write", 1, 16, 2, 64), WASI_EFAULT);
    assert_int_equal(call(g, "fd_write", 1, 32, 1, 64), WASI_EFAULT);
    assert_int_equal(call(g, "fd_write", 1, 16, 1, MEMORY - 3), WASI_EFAULT);
    assert_int_equal(call(g, "fd_write", 1, MEMORY - 7, 1, 64), WASI_EFAULT);
    assert_int_equal(call(g, "fd_write", 1, 16, WASI_IOVS_MAX + 1, 64), WASI_EINVAL);
    assert_int_equal(call(g, "fd_write", 1, 16, UINT32_MAX, 64), WASI_EINVAL);
    assert_int_equal(call(g, "fd_write", 0, 16, 1, 64), WASI_EBADF);
    assert_int_equal(call(g, "fd_write", 3, 16, 1, 64), WASI_EBADF);
    assert_int_equal(call(g, "fd_write", UINT32_MAX, 16, 1, 64), WASI_EBADF);
    assert_int_equal(read32(g, 64), 0xeeeeeeee);
    wasi_flush(&g->wasi);
    assert_int_equal(g->sink.lines, 0);
    /* Nothing to write is fine, and so is the last place in memory. */
    assert_int_equal(call(g, "fd_write", 1, MEMORY, 0, MEMORY - 4), 0);
    assert_int_equal(read32(g, MEMORY - 4), 0);
}

static void test_the_most_pieces_are_taken(void **state)
{
    struct guest *g = *state;

    for (uint32_t i = 0; i < WASI_IOVS_MAX; i++) {
        write32(g, 1024 + i * 8, 0);
        write32(g, 1028 + i * 8, 1);
    }
    g->mem.data[0] = 'x';
    assert_int_equal(call(g, "fd_write", 1, 1024, WASI_IOVS_MAX, 16), 0);
    assert_int_equal(read32(g, 16), WASI_IOVS_MAX);
    wasi_flush(&g->wasi);
    assert_int_equal(g->sink.longest, WASI_IOVS_MAX);
}

static void test_without_a_listener_output_is_thrown_away(void **state)
{
    struct guest *g = *state;

    g->wasi.output = NULL;
    assert_int_equal(print(g, 1, "one\ntwo"), 0);
    wasi_flush(&g->wasi);
    assert_int_equal(g->sink.lines, 0);
}

/* --- the other functions of streams --- */

static void test_stdin_is_at_its_end(void **state)
{
    struct guest *g = *state;

    write32(g, 16, 4096);
    write32(g, 20, 100);
    assert_int_equal(call(g, "fd_read", 0, 16, 1, 64), 0);
    assert_int_equal(read32(g, 64), 0);
    assert_int_equal(g->mem.data[4096], 0xee);
    assert_int_equal(call(g, "fd_read", 1, 16, 1, 64), WASI_EBADF);
    assert_int_equal(call(g, "fd_read", 3, 16, 1, 64), WASI_EBADF);
    assert_int_equal(call(g, "fd_read", 0, 16, 1, MEMORY - 3), WASI_EFAULT);
    assert_int_equal(call(g, "fd_read", 0, OUTSIDE, 1, 64), WASI_EFAULT);
    assert_int_equal(call(g, "fd_read", 0, 16, WASI_IOVS_MAX + 1, 64), WASI_EINVAL);
}

static void test_standard_streams_are_character_devices(void **state)
{
    struct guest *g = *state;

    for (uint32_t fd = 0; fd <= 2; fd++) {
        assert_int_equal(call(g, "fd_fdstat_get", fd, 8), 0);
        assert_int_equal(read64(g, 8), 2);
        assert_int_equal(read64(g, 16), fd == 0 ? 2 : 64);
        assert_int_equal(read64(g, 24), 0);
        assert_int_equal(g->mem.data[32], 0xee);
        assert_int_equal(call(g, "fd_filestat_get", fd, 101), 0);
        assert_int_equal(g->mem.data[117], 2);
        assert_int_equal(read64(g, 125), 1);
        assert_int_equal(g->mem.data[165], 0xee);
    }
    assert_int_equal(call(g, "fd_fdstat_get", 3, 8), WASI_EBADF);
    assert_int_equal(call(g, "fd_filestat_get", 3, 8), WASI_EBADF);
    assert_int_equal(call(g, "fd_fdstat_get", 1, MEMORY - 23), WASI_EFAULT);
    assert_int_equal(call(g, "fd_filestat_get", 1, MEMORY - 63), WASI_EFAULT);
    assert_int_equal(call(g, "fd_filestat_get", 1, UINT32_MAX), WASI_EFAULT);
}

/* Functions without any effect: what they answer for stdout, and EBADF for all that is not open. */
static void test_what_a_host_without_files_answers(void **state)
{
    static const struct {
        const char *name;
        int32_t answer;
    } rows[] = {
        {"fd_advise", WASI_ESPIPE},
        {"fd_allocate", WASI_ESPIPE},
        {"fd_close", WASI_ESUCCESS},
        {"fd_datasync", WASI_EINVAL},
        {"fd_fdstat_set_flags", WASI_ESUCCESS},
        {"fd_fdstat_set_rights", WASI_ENOTSUP},
        {"fd_filestat_set_size", WASI_EINVAL},
        {"fd_filestat_set_times", WASI_ENOTSUP},
        {"fd_pread", WASI_ESPIPE},
        {"fd_prestat_dir_name", WASI_EBADF},
        {"fd_prestat_get", WASI_EBADF},
        {"fd_pwrite", WASI_ESPIPE},
        {"fd_readdir", WASI_ENOTDIR},
        {"fd_renumber", WASI_ENOTSUP},
        {"fd_seek", WASI_ESPIPE},
        {"fd_sync", WASI_EINVAL},
        {"fd_tell", WASI_ESPIPE},
        {"path_create_directory", WASI_ENOTDIR},
        {"path_filestat_get", WASI_ENOTDIR},
        {"path_filestat_set_times", WASI_ENOTDIR},
        {"path_link", WASI_ENOTDIR},
        {"path_open", WASI_ENOTDIR},
        {"path_readlink", WASI_ENOTDIR},
        {"path_remove_directory", WASI_ENOTDIR},
        {"path_rename", WASI_ENOTDIR},
        {"path_symlink", WASI_ENOTDIR},
        {"path_unlink_file", WASI_ENOTDIR},
        {"sock_accept", WASI_ENOTSOCK},
        {"sock_recv", WASI_ENOTSOCK},
        {"sock_send", WASI_ENOTSOCK},
        {"sock_shutdown", WASI_ENOTSOCK},
    };
    static const uint32_t closed[] = {3, 4, UINT32_MAX};
    struct guest *g = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct wasi_function *f = find(rows[i].name);
        union wasi_arg args[WASI_PARAMS_MAX];
        uint32_t fd = !strcmp(f->name, "path_symlink") ? 2 : 0;

        memset(args, 0xff, sizeof(args));
        for (uint32_t standard = 0; standard <= 2; standard++) {
            args[fd].u32 = standard;
            assert_int_equal(f->fn(&g->wasi, g->mem, args), rows[i].answer);
        }
        for (size_t k = 0; k < 3; k++) {
            args[fd].u32 = closed[k];
            assert_int_equal(f->fn(&g->wasi, g->mem, args), WASI_EBADF);
        }
    }
    assert_untouched(g);
    assert_int_equal(print(g, 1, "still open\n"), 0);
    assert_sink(g, "1:still open|");
}

/* --- poll_oneoff --- */

#define IN    1001u /* unaligned on purpose */
#define OUT   9001u
#define COUNT 17u

static void subscribe_clock(struct guest *g, uint32_t i, uint32_t id, uint64_t timeout,
                            bool absolute)
{
    uint32_t at = IN + i * 48;

    memset(g->mem.data + at, 0, 48);
    write64(g, at, 7000 + i);
    write32(g, at + 16, id);
    write64(g, at + 24, timeout);
    g->mem.data[at + 40] = absolute;
}

static void subscribe_fd(struct guest *g, uint32_t i, uint8_t type, uint32_t fd)
{
    uint32_t at = IN + i * 48;

    memset(g->mem.data + at, 0, 48);
    write64(g, at, 7000 + i);
    g->mem.data[at + 8] = type;
    write32(g, at + 16, fd);
}

static void assert_event(struct guest *g, uint32_t i, uint32_t subscription, uint16_t error,
                         uint8_t type)
{
    uint32_t at = OUT + i * 32;

    assert_int_equal(read64(g, at), 7000 + subscription);
    assert_int_equal(g->mem.data[at + 8] | g->mem.data[at + 9] << 8, error);
    assert_int_equal(g->mem.data[at + 10], type);
}

static int32_t poll(struct guest *g, uint32_t n)
{
    return call(g, "poll_oneoff", IN, OUT, n, COUNT);
}

static void test_a_sleep_is_waited_for(void **state)
{
    struct guest *g = *state;
    uint64_t before, first;

    g->wasi.can_wait = true;
    subscribe_clock(g, 0, 1, 3600 * NS_PER_S, false);
    subscribe_clock(g, 1, 0, 2 * 3600 * NS_PER_S, false);
    before = clock_now_ns();
    assert_int_equal(poll(g, 2), WASI_PENDING);
    first = g->wasi.resume_ns;
    assert_true(first >= before + 3600 * NS_PER_S && first <= clock_now_ns() + 3600 * NS_PER_S);
    assert_int_equal(read32(g, COUNT), 0xeeeeeeee);
    /* Asked again too early: the end does not move. */
    assert_int_equal(poll(g, 2), WASI_PENDING);
    assert_int_equal(g->wasi.resume_ns, first);
    /* Its time is over, were it a nanosecond. */
    write64(g, IN + 24, 1);
    assert_int_equal(poll(g, 2), 0);
    assert_int_equal(read32(g, COUNT), 1);
    assert_event(g, 0, 0, 0, 0);
    /* The next sleep begins anew. */
    write64(g, IN + 24, 3600 * NS_PER_S);
    assert_int_equal(poll(g, 2), WASI_PENDING);
    assert_true(g->wasi.resume_ns >= first);
}

static void test_a_sleep_until_a_time_is_waited_for(void **state)
{
    struct guest *g = *state;
    uint64_t mono;

    g->wasi.can_wait = true;
    assert_int_equal(call(g, "clock_time_get", 1, (uint64_t)0, 8), 0);
    mono = read64(g, 8);
    subscribe_clock(g, 0, 1, mono + 100 * NS_PER_S, true);
    assert_int_equal(poll(g, 1), WASI_PENDING);
    assert_true(g->wasi.resume_ns > clock_now_ns() + 50 * NS_PER_S);
    assert_true(g->wasi.resume_ns <= clock_now_ns() + 100 * NS_PER_S);
    subscribe_clock(g, 0, 0, wall_now_ns() + 100 * NS_PER_S, true);
    assert_int_equal(poll(g, 1), WASI_PENDING);
    assert_true(g->wasi.resume_ns > clock_now_ns() + 50 * NS_PER_S);
    assert_true(g->wasi.resume_ns <= clock_now_ns() + 100 * NS_PER_S);
    subscribe_clock(g, 0, 0, wall_now_ns() - 1, true); /* past already */
    assert_int_equal(poll(g, 1), 0);
    assert_event(g, 0, 0, 0, 0);
    subscribe_clock(g, 0, 1, 0, false); /* no time at all */
    assert_int_equal(poll(g, 1), 0);
    assert_int_equal(read32(g, COUNT), 1);
    subscribe_clock(g, 0, 1, UINT64_MAX, false); /* for ever */
    assert_int_equal(poll(g, 1), WASI_PENDING);
    assert_int_equal(g->wasi.resume_ns, UINT64_MAX);
}

static void test_a_sleep_that_cannot_wait_ends_at_once(void **state)
{
    struct guest *g = *state;

    subscribe_clock(g, 0, 1, 2 * NS_PER_S, false);
    subscribe_clock(g, 1, 1, NS_PER_S, false); /* only the one that would have ended first */
    assert_int_equal(poll(g, 2), 0);
    assert_int_equal(read32(g, COUNT), 1);
    assert_event(g, 0, 1, 0, 0);
    subscribe_clock(g, 0, 1, UINT64_MAX, false);
    assert_int_equal(poll(g, 1), 0);
    assert_int_equal(read32(g, COUNT), 1);
}

static void test_streams_are_ready(void **state)
{
    struct guest *g = *state;

    g->wasi.can_wait = true;
    subscribe_fd(g, 0, 2, 1);
    subscribe_clock(g, 1, 1, NS_PER_S, false);
    subscribe_fd(g, 2, 1, 0);
    subscribe_fd(g, 3, 1, 1); /* stdout cannot be read */
    subscribe_fd(g, 4, 2, 7); /* not open */
    subscribe_clock(g, 5, 2, NS_PER_S, false);
    assert_int_equal(poll(g, 6), 0);
    assert_int_equal(read32(g, COUNT), 5);
    assert_event(g, 0, 0, 0, 2);
    assert_event(g, 1, 2, 0, 1);
    assert_int_equal(g->mem.data[OUT + 32 + 24], 1); /* hung up */
    assert_event(g, 2, 3, WASI_EBADF, 1);
    assert_event(g, 3, 4, WASI_EBADF, 2);
    assert_event(g, 4, 5, WASI_ENOTSUP, 0);
}

static void test_bad_polls_are_refused(void **state)
{
    struct guest *g = *state;

    g->wasi.can_wait = true;
    subscribe_clock(g, 0, 1, NS_PER_S, false);
    assert_int_equal(poll(g, 0), WASI_EINVAL);
    assert_int_equal(poll(g, WASI_SUBSCRIPTIONS_MAX + 1), WASI_EINVAL);
    assert_int_equal(poll(g, UINT32_MAX), WASI_EINVAL);
    assert_int_equal(call(g, "poll_oneoff", MEMORY - 47, OUT, 1, COUNT), WASI_EFAULT);
    assert_int_equal(call(g, "poll_oneoff", IN, MEMORY - 31, 1, COUNT), WASI_EFAULT);
    assert_int_equal(call(g, "poll_oneoff", IN, OUT, 1, MEMORY - 3), WASI_EFAULT);
    assert_int_equal(call(g, "poll_oneoff", IN, OUT, WASI_SUBSCRIPTIONS_MAX, UINT32_MAX),
                     WASI_EFAULT);
    subscribe_fd(g, 1, 3, 0); /* there is no third type */
    assert_int_equal(poll(g, 2), WASI_EINVAL);
    assert_int_equal(g->wasi.sleep_began_ns, 0);
}

/* The guest may let its lists overlap: it gets nonsense, and nothing outside is touched. */
static void test_overlapping_lists_are_harmless(void **state)
{
    struct guest *g = *state;

    for (uint32_t i = 0; i < 8; i++)
        subscribe_fd(g, i, 2, 1);
    assert_int_equal(call(g, "poll_oneoff", IN, IN + 8, 8, IN + 16), 0);
    assert_int_equal(g->mem.data[IN - 1], 0xee);
    assert_int_equal(g->mem.data[IN + 8 * 48], 0xee);
}

/* --- leaving --- */

static void test_exit_and_the_rest(void **state)
{
    struct guest *g = *state;

    assert_int_equal(call(g, "proc_exit", 3), WASI_EXIT);
    assert_int_equal(g->wasi.exit_code, 3);
    assert_int_equal(call(g, "proc_exit", 0), WASI_EXIT);
    assert_int_equal(g->wasi.exit_code, 0);
    assert_int_equal(call(g, "sched_yield"), 0);
    assert_int_equal(call(g, "proc_raise", 6), WASI_ENOSYS);
}

/* Any function with any arguments stays inside guest memory (the sanitizers watch the heap block)
 * and answers with an errno or one of the two special results. */
static void test_random_arguments_stay_inside(void **state)
{
    static const uint32_t places[] = {0,          1,          MEMORY - 1, MEMORY,    MEMORY + 1,
                                      0x7fffffff, 0x80000000, UINT32_MAX, OUTSIDE,   MEMORY - 8,
                                      MEMORY / 2, 2,          3,          0x1000000, 1024};
    struct guest *g = *state;
    uint64_t seed = 88172645463325252ull;

    g->wasi.output = NULL;
    g->wasi.args = g->wasi.env = words;
    g->wasi.nargs = g->wasi.nenv = 3;
    for (int round = 0; round < 50000; round++) {
        const struct wasi_function *f;
        union wasi_arg args[WASI_PARAMS_MAX];
        int32_t rc;

        for (size_t i = 0; i < WASI_PARAMS_MAX; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            args[i].u64 = seed & 3 ? places[(seed >> 8) % 15] : seed;
        }
        g->wasi.can_wait = round & 1;
        f = &wasi_functions[(seed >> 20) % wasi_functions_n];
        rc = f->fn(&g->wasi, g->mem, args);
        assert_true(rc >= WASI_PENDING && rc <= 76);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_table_is_sorted_and_well_formed),
        TEST(test_args_and_environment_are_copied),
        TEST(test_args_that_do_not_fit_write_nothing),
        TEST(test_no_args_is_fine),
        TEST(test_clocks_are_read),
        TEST(test_bad_clocks_and_pointers_are_refused),
        TEST(test_random_fills_exactly),
        TEST(test_random_has_a_limit),
        TEST(test_lines_reach_the_log_whole),
        TEST(test_flush_ends_unfinished_lines),
        TEST(test_pieces_of_one_write_are_joined),
        TEST(test_a_long_line_comes_in_pieces),
        TEST(test_cuts_do_not_change_lines),
        TEST(test_a_write_is_short_at_its_limit),
        TEST(test_a_write_is_short_at_its_lines),
        TEST(test_bad_writes_write_nothing),
        TEST(test_the_most_pieces_are_taken),
        TEST(test_without_a_listener_output_is_thrown_away),
        TEST(test_stdin_is_at_its_end),
        TEST(test_standard_streams_are_character_devices),
        TEST(test_what_a_host_without_files_answers),
        TEST(test_a_sleep_is_waited_for),
        TEST(test_a_sleep_until_a_time_is_waited_for),
        TEST(test_a_sleep_that_cannot_wait_ends_at_once),
        TEST(test_streams_are_ready),
        TEST(test_bad_polls_are_refused),
        TEST(test_overlapping_lists_are_harmless),
        TEST(test_exit_and_the_rest),
        TEST(test_random_arguments_stay_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
