/* serve/options: each option from file, environment and command line; each refusal with its place;
 * what is printed is read back as the same; docs/config.md and deploy/roost.yaml are what the table
 * says. `test_options --write` writes those two.
 */
#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "serve/options.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "apiVersion: roost.dev/v1alpha1\nkind: RoostConfiguration\n"

static struct tmp_dir dir;

static const char *write_file(const char *text)
{
    const char *path = tmp_file(&dir, "roost.yaml");
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    return path;
}

static int load(struct daemon_opts *o, const char *text, struct err *err)
{
    struct options_source source = {.file = text ? write_file(text) : NULL};

    return options_load(o, &source, err);
}

/* The text is refused with this message behind "DIR/roost.yaml:". */
static void refuse(const char *text, enum err_code code, const char *message)
{
    struct daemon_opts o;
    struct err err = {0};
    const char *got;

    assert_int_equal(load(&o, text, &err), -1);
    got = strncmp(err.msg, dir.file, strlen(dir.file)) == 0 ? err.msg + strlen(dir.file) : err.msg;
    if (*got == ':')
        got++;
    assert_string_equal(got, message);
    assert_int_equal(err.code, code);
}

/* --- the table --- */

static void test_rows_are_whole_and_differ(void **state)
{
    size_t n;
    const struct option_def *t = options_table(&n);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        assert_true(t[i].initial || t[i].initially);
        assert_true(t[i].initial || t[i].example);
        assert_true(!t[i].flag || !t[i].argument == (t[i].implied && t[i].flag_doc));
        assert_true(t[i].doc[strlen(t[i].doc) - 1] != '.');
        assert_ptr_equal(options_find(t[i].path), &t[i]);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(t[i].path, t[j].path);
            assert_true(!t[i].flag || !t[j].flag || strcmp(t[i].flag, t[j].flag) != 0);
            assert_true(t[i].at != t[j].at);
        }
    }
}

static void test_defaults_are_those_of_the_table(void **state)
{
    struct daemon_opts o;
    struct err err = {0};

    (void)state;
    assert_int_equal(load(&o, NULL, &err), 0);
    assert_string_equal(o.state_dir, "/var/lib/roost");
    assert_null(o.guests_dir);
    assert_true(o.kubernetes);
    assert_int_equal(o.workers, 0);
    assert_int_equal(o.io_threads, 2);
    assert_int_equal(o.log_level, LOG_INFO);
    assert_int_equal(o.memory_bytes, 0);
    options_free(&o);
}

/* --- the file --- */

static void test_a_file_sets_every_option(void **state)
{
    struct daemon_opts o;
    struct err err = {0};
    size_t n;
    const struct option_def *t = options_table(&n);
    struct buf text = {0};

    (void)state;
    assert_int_equal(buf_puts(&text, HEAD, &err), 0);
    for (size_t i = 0; i < n; i++) { /* a folder each time it begins */
        const char *point = strchr(t[i].path, '.');
        size_t len = point ? (size_t)(point - t[i].path) : 0;

        if (point && (i == 0 || strncmp(t[i - 1].path, t[i].path, len + 1) != 0))
            assert_int_equal(buf_printf(&text, &err, "%.*s:\n", (int)len, t[i].path), 0);
        assert_int_equal(buf_printf(&text, &err, "%s%s: %s\n", point ? "  " : "",
                                    point ? point + 1 : t[i].path,
                                    t[i].example ? t[i].example : t[i].initial),
                         0);
    }
    assert_int_equal(load(&o, buf_cstr(&text), &err), 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(o.origin[i].from, OPTION_FILE);
        assert_true(o.origin[i].line > 2);
    }
    options_free(&o);
    buf_free(&text);
}

static void test_paths_are_seen_from_the_files_folder(void **state)
{
    struct daemon_opts o;
    struct err err = {0};
    char want[600];

    (void)state;
    assert_int_equal(load(&o, HEAD "guestsDir: guests\nstateDir: /s\n", &err), 0);
    snprintf(want, sizeof(want), "%s/guests", dir.path);
    assert_string_equal(o.guests_dir, want);
    assert_string_equal(o.state_dir, "/s");
    options_free(&o);
}

static void test_what_comes_later_is_stronger(void **state)
{
    struct options_source source = {.file = write_file(HEAD "stateDir: /file\nworkers: 3\n")};
    struct daemon_opts o;
    struct err err = {0};

    (void)state;
    assert_int_equal(setenv("ROOST_STATE", "/environment", 1), 0);
    assert_int_equal(options_load(&o, &source, &err), 0);
    assert_string_equal(o.state_dir, "/environment");
    assert_int_equal(o.workers, 3);
    options_free(&o);
    source.flags[0] = "/flag"; /* stateDir is the first row */
    source.flags[options_find("workers") - options_find("stateDir")] = "5";
    assert_int_equal(options_load(&o, &source, &err), 0);
    assert_string_equal(o.state_dir, "/flag");
    assert_int_equal(o.workers, 5);
    options_free(&o);
    assert_int_equal(unsetenv("ROOST_STATE"), 0);
}

static void test_what_is_wrong_is_named_with_its_place(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
        const char *message;
    } cases[] = {
        {HEAD "wokers: 3\n", ERR_INVALID, "3:1: unknown option wokers (did you mean workers?)"},
        {HEAD "log:\n  levle: info\n", ERR_INVALID,
         "4:3: unknown option levle in log (did you mean level?)"},
        {HEAD "sleep: {colour: red}\n", ERR_INVALID,
         "3:9: unknown option colour in sleep (known: after, never)"},
        {HEAD "workers: 0\n", ERR_LIMIT, "3:10: workers 0: must be from 1 to 64"},
        {HEAD "workers: 65\n", ERR_LIMIT, "3:10: workers 65: must be from 1 to 64"},
        {HEAD "workers: many\n", ERR_INVALID, "3:10: workers many: must be a whole number"},
        {HEAD "workers: -1\n", ERR_INVALID, "3:10: workers -1: must be a whole number"},
        {HEAD "workers: 99999999999999999999999\n", ERR_INVALID,
         "3:10: workers 99999999999999999999999: must be a whole number"},
        {HEAD "workers: [1]\n", ERR_INVALID,
         "3:10: workers must be a single value, this is a list"},
        {HEAD "memory: 1Ki\n", ERR_LIMIT, "3:9: memory 1Ki: must be at least 1Mi"},
        {HEAD "memory: lots\n", ERR_INVALID,
         "3:9: memory lots: must be a size such as 64Mi, 1Gi or a number of bytes"},
        {HEAD "sleep: {after: 25h}\n", ERR_LIMIT, "3:16: sleep.after 25h: must be from 0s to 24h"},
        {HEAD "sleep: {after: soon}\n", ERR_INVALID,
         "3:16: sleep.after soon: must be a duration such as 0, 50ms, 1s or 1m30s"},
        {HEAD "sleep: {never: perhaps}\n", ERR_INVALID,
         "3:16: sleep.never perhaps: must be true or false"},
        {HEAD "log: {level: loud}\n", ERR_INVALID,
         "3:14: log.level loud: must be one of debug, info, warn, error"},
        {HEAD "stateDir: \"\"\n", ERR_INVALID, "3:11: stateDir must not be empty"},
        {HEAD "log: info\n", ERR_INVALID, "3:6: log must be a mapping, this is text"},
        {HEAD "workers: 1\nworkers: 2\n", ERR_INVALID, NULL},
        {HEAD "workers: &a 1\nioThreads: *a\n", ERR_INVALID, NULL},
        {HEAD "---\nworkers: 1\n", ERR_INVALID, "4:1: a second document: a configuration is one"},
        {"", ERR_INVALID,
         "1: nothing in it: it begins with apiVersion: roost.dev/v1alpha1 and kind: "
         "RoostConfiguration"},
        {"workers: 1\n", ERR_INVALID,
         "1:1: apiVersion is missing: write apiVersion: roost.dev/v1alpha1"},
        {"apiVersion: roost.dev/v1\n", ERR_INVALID,
         "1:13: apiVersion roost.dev/v1: must be roost.dev/v1alpha1"},
        {"apiVersion: roost.dev/v1alpha1\nkind: Guest\n", ERR_INVALID,
         "2:7: kind Guest: must be RoostConfiguration"},
        {"- 1\n", ERR_INVALID, "1:1: the configuration must be a mapping, this is a list"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct daemon_opts o;
        struct err err = {0};

        if (cases[i].message) {
            refuse(cases[i].text, cases[i].code, cases[i].message);
            continue;
        }
        assert_int_equal(load(&o, cases[i].text, &err), -1); /* the YAML reader's own words */
        assert_int_equal(err.code, cases[i].code);
        assert_non_null(strstr(err.msg, "roost.yaml:4:"));
    }
}

/* A path is written as folders, not with points. */
static void test_a_name_with_points_is_unknown(void **state)
{
    struct daemon_opts o;
    struct err err = {0};

    (void)state;
    assert_int_equal(load(&o, HEAD "log.level: info\n", &err), -1);
    assert_non_null(strstr(err.msg, ":3:1: unknown option log.level (known: apiVersion, kind, "));
}

static void test_sizes_have_a_maximum(void **state)
{
    AUTO_FREE char *text = malloc(OPTIONS_FILE_BYTES_MAX + 2);
    struct daemon_opts o;
    struct err err = {0};
    int n;

    (void)state;
    assert_non_null(text);
    memset(text, '#', OPTIONS_FILE_BYTES_MAX + 1);
    text[OPTIONS_FILE_BYTES_MAX + 1] = 0;
    assert_int_equal(load(&o, text, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    n = snprintf(text, OPTIONS_FILE_BYTES_MAX, HEAD "stateDir: /");
    memset(text + n, 'a', SPEC_PATH_MAX - 1);
    text[n + (int)SPEC_PATH_MAX - 1] = 0; /* as long as may be */
    assert_int_equal(load(&o, text, &err), 0);
    options_free(&o);
    text[n + (int)SPEC_PATH_MAX - 1] = 'a';
    text[n + (int)SPEC_PATH_MAX] = 0;
    err = (struct err){0};
    assert_int_equal(load(&o, text, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "4096 bytes, limit 4095"));
}

static void test_files_that_cannot_be_read(void **state)
{
    struct options_source source = {.file = "/nowhere/roost.yaml"};
    struct daemon_opts o;
    struct err err = {0};

    (void)state;
    assert_int_equal(options_load(&o, &source, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    source.file = dir.path;
    assert_int_equal(options_load(&o, &source, &err), -1);
    assert_true(err.code != ERR_NONE);
}

static void test_a_wrong_flag_is_named(void **state)
{
    struct options_source source = {.file = NULL};
    struct daemon_opts o;
    struct err err = {0};

    (void)state;
    source.flags[options_find("workers") - options_find("stateDir")] = "100";
    assert_int_equal(options_load(&o, &source, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_string_equal(err.msg, "--workers: 100: must be from 1 to 64");
}

/* --- printing --- */

static void test_what_is_printed_is_read_as_the_same(void **state)
{
    static const char text[] = HEAD "guestsDir: \"a b: # \\\"q\\\"\"\nmemory: 1536Ki\n"
                                    "sleep: {after: 90s}\nkubernetes: {context: \"null\"}\n";
    struct daemon_opts a, b;
    struct err err = {0};
    struct buf out = {0};
    size_t n;
    const struct option_def *t = options_table(&n);

    (void)state;
    assert_int_equal(load(&a, text, &err), 0);
    assert_int_equal(options_print(&out, &a, "roost.yaml", &err), 0);
    assert_non_null(strstr(buf_cstr(&out), "memory: 1536Ki  # roost.yaml:4\n"));
    assert_non_null(strstr(buf_cstr(&out), "ioThreads: 2  # default\n"));
    assert_non_null(strstr(buf_cstr(&out), "# workers is not set: one for each core\n"));
    assert_int_equal(load(&b, buf_cstr(&out), &err), 0);
    for (size_t i = 0; i < n; i++)
        assert_true(options_same(&a, &b, &t[i]));
    assert_string_equal(b.context, "null");
    options_free(&a);
    options_free(&b);
    buf_free(&out);
}

static void test_swap_exchanges_one(void **state)
{
    struct daemon_opts a, b;
    struct err err = {0};

    (void)state;
    assert_int_equal(load(&a, HEAD "stateDir: /a\nworkers: 1\n", &err), 0);
    assert_int_equal(load(&b, HEAD "stateDir: /b\nworkers: 2\n", &err), 0);
    options_swap(&a, &b, options_find("stateDir"));
    assert_string_equal(a.state_dir, "/b");
    assert_string_equal(b.state_dir, "/a");
    assert_int_equal(a.workers, 1);
    options_swap(&a, &b, options_find("workers"));
    assert_int_equal(a.workers, 2);
    options_free(&a);
    options_free(&b);
}

/* --- documents made from the table --- */

static const char *const config_intro =
    "# The configuration file\n"
    "\n"
    "`roost serve --config FILE` reads one YAML document. Every option can be in it; flags are "
    "stronger\n"
    "than the file, and the file is stronger than the defaults. A key that is not known is refused "
    "with the\n"
    "nearest one, a key that is there twice is refused, values are checked; each error has "
    "`FILE:LINE:COLUMN`.\n"
    "Relative paths are seen from the file's folder, those of flags from the working directory.\n"
    "\n"
    "```console\n"
    "$ roost serve --config /etc/roost/roost.yaml --check-config\n"
    "```\n"
    "prints what would hold, as a file, with where each value comes from, and starts nothing. Its "
    "exit status\n"
    "is 0, or that of the error ([cli.md](cli.md#exit-status)).\n"
    "\n"
    "`SIGHUP` (`systemctl reload roost`) reads the file again. Options marked *reload* change; for "
    "others a\n"
    "line of the log says that they wait for the next start. Where the file is wrong, one line "
    "says so and\n"
    "everything stays as it was.\n"
    "\n"
    "This page and [deploy/roost.yaml](../deploy/roost.yaml) are made from the table in "
    "`src/serve/options.c`\n"
    "(`test_options --write`); a test holds them to it.\n"
    "\n"
    "The document begins with `apiVersion: " OPTIONS_API_VERSION "` and `kind: " OPTIONS_KIND "`.\n"
    "\n"
    "| option | flag | value | default | reload | |\n"
    "|---|---|---|---|---|---|\n";

/* What a value may be. */
static void put_range(struct buf *out, const struct option_def *d)
{
    struct daemon_opts o = {0};
    struct buf min = {0}, max = {0};
    bool set;

    switch (d->type) {
    case OPTION_TEXT:
        assert_int_equal(buf_puts(out, "text", NULL), 0);
        return;
    case OPTION_PATH:
        assert_int_equal(buf_puts(out, "path", NULL), 0);
        return;
    case OPTION_BOOL:
        assert_int_equal(buf_puts(out, "`true`, `false`", NULL), 0);
        return;
    case OPTION_WORD:
        for (size_t i = 0; d->words[i]; i++)
            assert_int_equal(buf_printf(out, NULL, "%s`%s`", i ? ", " : "", d->words[i]), 0);
        return;
    default:
        break;
    }
    *(uint64_t *)(void *)((char *)&o + d->at) = d->min;
    assert_int_equal(options_format(&min, &o, d, &set, NULL), 0);
    *(uint64_t *)(void *)((char *)&o + d->at) = d->max;
    assert_int_equal(options_format(&max, &o, d, &set, NULL), 0);
    if (d->max == INT64_MAX)
        assert_int_equal(buf_printf(out, NULL, "at least %s", buf_cstr(&min)), 0);
    else
        assert_int_equal(
            buf_printf(out, NULL, "%s to %s", min.len ? buf_cstr(&min) : "0", buf_cstr(&max)), 0);
    buf_free(&min);
    buf_free(&max);
}

static void make_page(struct buf *out)
{
    size_t n;
    const struct option_def *t = options_table(&n);

    assert_int_equal(buf_puts(out, config_intro, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(
            buf_printf(out, NULL, "| `%s` | %s%s%s%s%s | ", t[i].path, t[i].flag ? "`--" : "",
                       t[i].flag ? t[i].flag : "", t[i].argument && t[i].flag ? " " : "",
                       t[i].argument && t[i].flag ? t[i].argument : "", t[i].flag ? "`" : ""),
            0);
        put_range(out, &t[i]);
        assert_int_equal(buf_printf(out, NULL, " | %s%s%s | %s | %s |\n", t[i].initial ? "`" : "",
                                    t[i].initial ? t[i].initial : t[i].initially,
                                    t[i].initial ? "`" : "", t[i].reload ? "yes" : "", t[i].doc),
                         0);
    }
}

/* Each option with its text; what has no default is written as a remark. */
static void make_example(struct buf *out)
{
    size_t n;
    const struct option_def *t = options_table(&n);

    assert_int_equal(buf_puts(out,
                              "# The configuration of `roost serve --config FILE`: every option "
                              "with its default, or as a\n# remark with an example. What they mean "
                              "in full: docs/config.md.\n" HEAD,
                              NULL),
                     0);
    for (size_t i = 0; i < n; i++) {
        const char *point = strchr(t[i].path, '.');
        size_t len = point ? (size_t)(point - t[i].path) : 0;
        const char *pad = point ? "  " : "";

        if (point && strncmp(t[i - 1].path, t[i].path, len + 1) != 0)
            assert_int_equal(buf_printf(out, NULL, "\n%.*s:\n", (int)len, t[i].path), 0);
        else if (!point)
            assert_int_equal(buf_puts(out, "\n", NULL), 0);
        assert_int_equal(buf_printf(out, NULL, "%s# %s\n%s%s%s: %s\n", pad, t[i].doc, pad,
                                    t[i].initial ? "" : "# ", point ? point + 1 : t[i].path,
                                    t[i].initial ? t[i].initial : t[i].example),
                         0);
    }
}

static const struct {
    const char *path;
    void (*make)(struct buf *out);
} documents[] = {
    {ROOST_SOURCE_DIR "/docs/config.md", make_page},
    {ROOST_SOURCE_DIR "/deploy/roost.yaml", make_example},
};

static void test_documents_are_current(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct buf want = {0}, got = {0};
        char block[4096];
        size_t len;
        FILE *f = fopen(documents[i].path, "re");

        assert_non_null(f);
        documents[i].make(&want);
        while ((len = fread(block, 1, sizeof(block), f)) > 0)
            assert_int_equal(buf_append(&got, block, len, NULL), 0);
        assert_int_equal(fclose(f), 0);
        if (strcmp(buf_cstr(&want), buf_cstr(&got)) != 0)
            fail_msg("%s is not what src/serve/options.c says: run test_options --write",
                     documents[i].path);
        buf_free(&want);
        buf_free(&got);
    }
}

static void test_the_example_is_a_configuration(void **state)
{
    struct options_source source = {.file = documents[1].path};
    struct daemon_opts o, defaults;
    struct err err = {0};
    size_t n;
    const struct option_def *t = options_table(&n);

    (void)state;
    assert_int_equal(options_load(&o, &source, &err), 0);
    assert_int_equal(load(&defaults, NULL, &err), 0);
    for (size_t i = 0; i < n; i++)
        assert_true(options_same(&o, &defaults, &t[i]));
    options_free(&o);
    options_free(&defaults);
}

static int write_documents(void)
{
    for (size_t i = 0; i < 2; i++) {
        struct buf text = {0};
        FILE *f = fopen(documents[i].path, "we");

        documents[i].make(&text);
        if (!f || fwrite(text.data, 1, text.len, f) != text.len || fclose(f) != 0)
            return 1;
        buf_free(&text);
    }
    return 0;
}

static int group_setup(void **state)
{
    (void)state;
    unsetenv("ROOST_STATE");
    return tmp_dir_make(&dir);
}

static int group_teardown(void **state)
{
    (void)state;
    tmp_dir_remove(&dir);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_whole_and_differ),
        cmocka_unit_test(test_defaults_are_those_of_the_table),
        cmocka_unit_test(test_a_file_sets_every_option),
        cmocka_unit_test(test_paths_are_seen_from_the_files_folder),
        cmocka_unit_test(test_what_comes_later_is_stronger),
        cmocka_unit_test(test_what_is_wrong_is_named_with_its_place),
        cmocka_unit_test(test_a_name_with_points_is_unknown),
        cmocka_unit_test(test_sizes_have_a_maximum),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_a_wrong_flag_is_named),
        cmocka_unit_test(test_what_is_printed_is_read_as_the_same),
        cmocka_unit_test(test_swap_exchanges_one),
        cmocka_unit_test(test_documents_are_current),
        cmocka_unit_test(test_the_example_is_a_configuration),
    };

    if (argc == 2 && strcmp(argv[1], "--write") == 0)
        return write_documents();
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
