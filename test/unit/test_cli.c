/* cli: golden output of tables and descriptions, messages and exit statuses of wrong usage, and the
 * verbs against an admin API over its real socket.
 */
#include "cli/cli.h"
#include "support/admin_fake.h"

#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const struct verb verbs[] = {
    {"get", "show guests", verb_get},
    {"describe", "show one", verb_describe},
    {"version", "show versions", verb_version},
};

/* --- running a command line with its output in memory --- */

struct outcome {
    int status;
    char *out, *errors;
};

/* words: separated by single blanks. */
static void run(struct outcome *o, const char *words)
{
    char line[512], *argv[32], *save = NULL;
    size_t out_len, errors_len;
    FILE *real_out = stdout, *real_errors = stderr;
    int argc = 0;

    assert_true(strlen(words) < sizeof(line));
    memcpy(line, words, strlen(words) + 1);
    for (char *w = strtok_r(line, " ", &save); w && argc < 31; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    argv[argc] = NULL;
    stdout = open_memstream(&o->out, &out_len);
    stderr = open_memstream(&o->errors, &errors_len);
    o->status = cli_run(verbs, sizeof(verbs) / sizeof(verbs[0]), argc, argv);
    fclose(stdout);
    fclose(stderr);
    stdout = real_out;
    stderr = real_errors;
}

static void expect(const char *words, int status, const char *out, const char *errors)
{
    struct outcome o = {0};

    run(&o, words);
    assert_string_equal(o.errors, errors);
    assert_string_equal(o.out, out);
    assert_int_equal(o.status, status);
    free(o.out);
    free(o.errors);
}

static void test_wrong_usage_is_one_line(void **state)
{
    static const struct {
        const char *words, *message;
    } cases[] = {
        {"roost", "a command is needed (see `roost help`)"},
        {"roost gte", "unknown command gte (did you mean get?)"},
        {"roost descrbie x/y", "unknown command descrbie (did you mean describe?)"},
        {"roost frobnicate", "unknown command frobnicate (see `roost help`)"},
        {"roost -x", "unknown option -x (see `roost help`)"},
        {"roost --state", "--state needs a folder"},
        {"roost --state= get guests", "--state= needs a folder"},
        {"roost help a b", "help takes one command"},
        {"roost help gett", "unknown command gett (did you mean get?)"},
        {"roost get", "get what? (`roost get guests`)"},
        {"roost get ring", "get ring: guests is what there is to get (`roost get guests ring`?)"},
        {"roost get guests a b", "get takes one name, and b is one more"},
        {"roost get guests a/b/c", "a/b/c: must be NAME or NAMESPACE/NAME"},
        {"roost get guests /a", "/a: must be NAME or NAMESPACE/NAME"},
        {"roost get a/", "a/: must be NAME or NAMESPACE/NAME"},
        {"roost get a/b -n c", "-n c, but the name says a"},
        {"roost get guests --namspace x", "unknown option --namspace (did you mean --namespace?)"},
        {"roost get guests --frobnicate", "unknown option --frobnicate (see `roost get --help`)"},
        {"roost get guests -wx", "unknown option -x (see `roost get --help`)"},
        {"roost get guests -n", "-n needs a value (see `roost get --help`)"},
        {"roost get guests --client", "unknown option --client (see `roost get --help`)"},
        {"roost get guests -o yaml", "-o yaml: must be one of table, wide, json, name"},
        {"roost describe", "describe takes one guest (`roost describe NAMESPACE/NAME`)"},
        {"roost describe a b", "describe takes one guest (`roost describe NAMESPACE/NAME`)"},
        {"roost describe a/b -o wide", "describe has -o table and -o json"},
        {"roost describe a?b", "a?b: no guest has such a name"},
        {"roost describe a -n x/../y", "a: no guest has such a name"},
        {"roost version now", "version takes no arguments, only options: now"},
        {"roost version -o name", "version has -o table and -o json"},
        {"roost version --watch", "unknown option --watch (see `roost version --help`)"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char message[256];

        snprintf(message, sizeof(message), "roost: %s\n", cases[i].message);
        expect(cases[i].words, 2, "", message);
    }
}

static void test_names_at_their_edge(void **state)
{
    char name[256 + 8], namespace_[256], rest[256], text[300];
    struct err err;

    (void)state;
    memset(name, 'a', sizeof(name));
    name[255] = 0;
    snprintf(text, sizeof(text), "b/%s", name);
    assert_int_equal(cli_split_name(text, namespace_, rest, 256, &err), 0);
    assert_string_equal(namespace_, "b");
    assert_string_equal(rest, name);
    name[255] = 'a';
    name[256] = 0;
    assert_int_equal(cli_split_name(name, namespace_, rest, 256, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
}

static void test_help(void **state)
{
    static const char *const commands[] = {"roost get --help", "roost describe -h",
                                           "roost version --help", "roost help get"};
    struct outcome o = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        run(&o, commands[i]);
        assert_int_equal(o.status, 0);
        assert_string_equal(o.errors, "");
        assert_non_null(strstr(o.out, "\nUsage: roost "));
        assert_non_null(strstr(o.out, "\nExamples:\n"));
        free(o.out);
        free(o.errors);
    }
    run(&o, "roost --help");
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out, "\n  describe   show one\n"));
    free(o.out);
    free(o.errors);
}

static void test_no_daemon(void **state)
{
    static const char message[] =
        "roost: cannot reach the daemon at /nowhere/admin.sock: No such file or directory (is "
        "`roost serve --state /nowhere` running?)\n";

    (void)state;
    expect("roost get guests --state /nowhere", 10, "", message);
    expect("roost --state /nowhere get guests", 10, "", message);
    expect("roost --state=/nowhere describe a", 10, "", message);
    expect("roost version --state /nowhere", 10, "client: " ROOST_VERSION "\n", message);
    expect("roost version --client --state /nowhere", 0, "client: " ROOST_VERSION "\n", "");
    expect("roost --version", 0, "client: " ROOST_VERSION "\n", "");
    expect("roost version --client -o json", 0, "{\n  \"client\": \"" ROOST_VERSION "\"\n}\n", "");
    assert_int_equal(unsetenv("ROOST_STATE"), 0);
    assert_string_equal(cli_state(NULL), "/var/lib/roost");
    assert_string_equal(cli_state("/x"), "/x");
}

/* --- tables --- */

static json_t *load(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    assert_non_null(value);
    return value;
}

static const char guests[] =
    "[{\"namespace\":\"b\",\"name\":\"ring-10\",\"state\":\"Asleep\",\"module\":\"/m/ring.wasm\","
    "\"created\":\"2026-01-02T03:04:05Z\",\"wakes\":12,\"sleeps\":12,\"events\":15,\"failures\":0,"
    "\"lastError\":\"\",\"memoryBytes\":1245184,\"snapshotBytes\":69632},"
    "{\"namespace\":\"b\",\"name\":\"ring-2\",\"state\":\"Failed\",\"module\":\"/m/ring.wasm\","
    "\"created\":\"2026-01-02T03:04:00Z\",\"wakes\":1,\"sleeps\":0,\"events\":1,\"failures\":3,"
    "\"lastError\":\"trap: out of bounds memory access at ledger_check (ledger.c:12) \\u001b[31m\","
    "\"memoryBytes\":0,\"snapshotBytes\":0},"
    "{\"namespace\":\"\",\"name\":\"\",\"state\":\"Rejected\",\"module\":\"\","
    "\"lastError\":\"/a/long/path/to/the/manifest/x.yaml:3:1: unknown field memry in "
    "spec.limits\"},"
    "{\"namespace\":\"a\",\"name\":\"\xc3\xa9t\xc3\xa9\",\"state\":\"Cold\",\"wakes\":0}]";

static char *table_text(bool wide)
{
    json_t *all = load(guests), *chosen = cli_select(all, NULL, NULL);
    struct cli_table *t = NULL;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_int_equal(cli_guest_table(&t, wide, NULL), 0);
    for (size_t i = 0; i < json_array_size(chosen); i++)
        assert_int_equal(
            cli_guest_row(t, json_array_get(chosen, i), wide, 1767323165 /* 03:06:05 */, NULL), 0);
    cli_table_print(t, 0, 0, f);
    fclose(f);
    cli_table_free(t);
    json_decref(chosen);
    json_decref(all);
    return text;
}

static void test_table_of_guests(void **state)
{
    char *narrow = table_text(false), *wide = table_text(true);

    (void)state;
    assert_string_equal(
        narrow,
        "NAMESPACE   NAME      STATE      WAKES   EVENTS   FAILURES   MEMORY   SNAPSHOT   AGE    "
        "MESSAGE\n"
        "a           \xc3\xa9t\xc3\xa9       Cold       0       0        0          -        -     "
        "     -\n"
        "b           ring-2    Failed     1       1        3          -        -          2m5s   "
        "trap: out of bounds memory access at ledger_check (ledger...\n"
        "b           ring-10   Asleep     12      15       0          1.1M     68K        2m0s\n"
        "-           -         Rejected   0       0        0          -        -          -      "
        "/a/long/path/to/the/manifest/x.yaml:3:1: unknown field memry in spec.limits\n");
    assert_string_equal(
        wide,
        "NAMESPACE   NAME      STATE      WAKES   EVENTS   FAILURES   MEMORY   SNAPSHOT   AGE    "
        "MODULE         SLEEPS   MESSAGE\n"
        "a           \xc3\xa9t\xc3\xa9       Cold       0       0        0          -        -     "
        "     -      -              0\n"
        "b           ring-2    Failed     1       1        3          -        -          2m5s   "
        "/m/ring.wasm   0        trap: out of bounds memory access at ledger_check (ledger.c:12) "
        "?[31m\n"
        "b           ring-10   Asleep     12      15       0          1.1M     68K        2m0s   "
        "/m/ring.wasm   12\n"
        "-           -         Rejected   0       0        0          -        -          -      "
        "-              0        /a/long/path/to/the/manifest/x.yaml:3:1: unknown field memry in "
        "spec.limits\n");
    free(narrow);
    free(wide);
}

/* A message of 60 characters is whole, of 61 cut. */
static void test_messages_at_their_edge(void **state)
{
    char message[62];
    struct cli_table *t = NULL;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    assert_int_equal(cli_guest_table(&t, false, NULL), 0);
    for (size_t n = 60; n <= 61; n++) {
        json_t *guest;

        memset(message, 'm', n);
        message[n] = 0;
        guest = json_pack("{s:s, s:s}", "name", "a", "lastError", message);
        assert_int_equal(cli_guest_row(t, guest, false, 0, NULL), 0);
        json_decref(guest);
    }
    cli_table_print(t, 0, 0, f);
    fclose(f);
    memset(message, 'm', 61);
    message[60] = '\n';
    message[61] = 0;
    assert_non_null(strstr(text, message));
    memcpy(message + 57, "...\n", 5);
    assert_non_null(strstr(text, message));
    cli_table_free(t);
    free(text);
}

static void test_selection(void **state)
{
    json_t *all = load(guests), *some = cli_select(all, "b", NULL);

    (void)state;
    assert_int_equal(json_array_size(some), 2);
    json_decref(some);
    some = cli_select(all, NULL, "ring-2");
    assert_int_equal(json_array_size(some), 1);
    json_decref(some);
    some = cli_select(all, "a", "ring-2");
    assert_int_equal(json_array_size(some), 0);
    json_decref(some);
    some = cli_select(NULL, NULL, NULL); /* a daemon that sends no items */
    assert_int_equal(json_array_size(some), 0);
    json_decref(some);
    json_decref(all);
}

static void test_changes_for_watching(void **state)
{
    static const char before[] = "[{\"name\":\"a\",\"wakes\":1},{\"name\":\"b\",\"wakes\":1},"
                                 "{\"name\":\"c\",\"wakes\":1}]";
    static const char now[] = "[{\"name\":\"a\",\"wakes\":1},{\"name\":\"aa\",\"wakes\":0},"
                              "{\"name\":\"c\",\"wakes\":2},{\"name\":\"d\"}]";
    json_t *x = load(before), *y = load(now), *changed = cli_changed(x, y);
    char *text = json_dumps(changed, JSON_COMPACT);

    (void)state;
    assert_string_equal(text, "[{\"name\":\"aa\",\"wakes\":0},{\"name\":\"c\",\"wakes\":2},"
                              "{\"name\":\"d\"}]");
    free(text);
    json_decref(changed);
    changed = cli_changed(y, y);
    assert_int_equal(json_array_size(changed), 0);
    json_decref(changed);
    json_decref(x);
    json_decref(y);
}

/* --- descriptions --- */

static void test_objects_for_people(void **state)
{
    static const char object[] =
        "{\"namespace\":\"b\",\"name\":\"ring-2\",\"lastError\":\"\",\"whySleepless\":null,"
        "\"resumed\":true,\"spec\":{\"module\":\"/m\",\"env\":[{\"name\":\"A\",\"value\":\"\"},"
        "{\"name\":\"LONG_NAME\",\"value\":\"b\\nc\"}],\"limits\":{\"memoryBytes\":67108864,"
        "\"cpuMs\":1000,\"calls\":16},\"args\":[]},\"wake\":{\"count\":3,\"p50_us\":31.52},"
        "\"uptime_s\":7.5,\"list\":[\"x\",{\"a\":{\"b\":1}}]}";
    json_t *value = load(object);
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    cli_print_object(value, f);
    fclose(f);
    assert_string_equal(text, "Namespace:   b\n"
                              "Name:        ring-2\n"
                              "Resumed:     yes\n"
                              "Uptime:      7.5s\n"
                              "Spec:\n"
                              "  Module:   /m\n"
                              "  Env:\n"
                              "    NAME        VALUE\n"
                              "    A           -\n"
                              "    LONG_NAME   b?c\n"
                              "  Limits:\n"
                              "    Memory:   64M\n"
                              "    Cpu:      1s\n"
                              "    Calls:    16\n"
                              "Wake:\n"
                              "  Count:   3\n"
                              "  P50:     31.5us\n"
                              "List:\n"
                              "  - x\n"
                              "  -\n"
                              "    A:\n"
                              "      B:   1\n");
    free(text);
    json_decref(value);
}

/* However deep an answer is, it is printed to a depth and ends. */
static void test_deep_objects_end(void **state)
{
    json_t *value = json_integer(1);
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    for (int i = 0; i < 1000; i++)
        value = json_pack("{s:o}", "a", value);
    cli_print_object(value, f);
    fclose(f);
    assert_true(len > 0 && len < 1000);
    free(text);
    json_decref(value);
}

/* --- against a daemon --- */

static void test_verbs_and_a_daemon(void **state)
{
    struct admin_fake f = {.guests = "[{\"namespace\":\"default\",\"name\":\"a\",\"wakes\":1},"
                                     "{\"namespace\":\"b\",\"name\":\"a\",\"wakes\":2},"
                                     "{\"namespace\":\"\",\"name\":\"\",\"lastError\":\"no\"}]"};

    (void)state;
    assert_int_equal(admin_fake_start(&f), 0);
    assert_int_equal(setenv("ROOST_STATE", f.dir, 1), 0);
    expect("roost get guests -o name", 0, "b/a\ndefault/a\n", "");
    expect("roost get guests -n b -o name", 0, "b/a\n", "");
    expect("roost get guests a -o name", 0, "b/a\ndefault/a\n", "");
    expect("roost get guest b/a", 0,
           "NAMESPACE   NAME   STATE   WAKES   EVENTS   FAILURES   MEMORY   SNAPSHOT   AGE   "
           "MESSAGE\n"
           "b           a      -       2       0        0          -        -          -\n",
           "");
    expect("roost get b/a -o json", 0,
           "{\n  \"namespace\": \"b\",\n  \"name\": \"a\",\n  \"wakes\": 2\n}\n", "");
    expect("roost get guests -n b --output=json", 0,
           "{\n  \"items\": [\n    {\n      \"namespace\": \"b\",\n      \"name\": \"a\",\n"
           "      \"wakes\": 2\n    }\n  ]\n}\n",
           "");
    expect("roost get guests -n none", 0, "", "There are no guests in namespace none.\n");
    expect("roost get guests -n none -o json", 0, "{\n  \"items\": []\n}\n", "");
    expect("roost get b/none", 4, "",
           "roost: guest b/none: there is none (see `roost get guests`)\n");
    expect("roost describe b/a", 0, "Namespace:   b\nName:        a\nWakes:       2\n", "");
    expect("roost describe guest a -n b", 0, "Namespace:   b\nName:        a\nWakes:       2\n",
           "");
    expect("roost describe a -o json", 0,
           "{\n  \"namespace\": \"default\",\n  \"name\": \"a\",\n  \"wakes\": 1\n}\n", "");
    expect("roost describe b/none", 4, "",
           "roost: guest b/none: there is none (see `roost get guests`)\n");
    expect("roost version", 0, "client: " ROOST_VERSION "\nserver: " ROOST_VERSION "\n", "");
    assert_int_equal(admin_fake_stop(&f), 0);
    assert_int_equal(unsetenv("ROOST_STATE"), 0);
}

static void test_a_daemon_in_trouble(void **state)
{
    struct admin_fake f = {.guests = NULL};

    (void)state;
    assert_int_equal(admin_fake_start(&f), 0);
    assert_int_equal(setenv("ROOST_STATE", f.dir, 1), 0);
    expect("roost get guests", 10, "",
           "roost: the daemon answers 500 Internal Server Error: the answer could not be made: no "
           "memory, or too large\n");
    assert_int_equal(admin_fake_stop(&f), 0);
    assert_int_equal(unsetenv("ROOST_STATE"), 0);
}

/* For verbs with a loop of their own, such as serve. */
static void test_bad_options_of_other_verbs(void **state)
{
    static const struct option longs[] = {{"guests", required_argument, NULL, 'g'}, {0}};
    static const struct {
        const char *word, *message;
    } cases[] = {
        {"--guest-dir", "unknown option --guest-dir (see `roost serve --help`)"},
        {"--geusts", "unknown option --geusts (did you mean --guests?)"},
        {"--guests", "--guests needs a value (see `roost serve --help`)"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[] = "serve", word[32], *argv[] = {name, word, NULL};
        struct err err = {0};
        int got;

        snprintf(word, sizeof(word), "%s", cases[i].word);
        opterr = 0;
        optind = 0;
        got = getopt_long(2, argv, ":", longs, NULL);
        assert_int_equal(cli_bad_option(argv, got, longs, &err), -1);
        assert_string_equal(err.msg, cases[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_usage_is_one_line),
        cmocka_unit_test(test_names_at_their_edge),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_no_daemon),
        cmocka_unit_test(test_table_of_guests),
        cmocka_unit_test(test_messages_at_their_edge),
        cmocka_unit_test(test_selection),
        cmocka_unit_test(test_changes_for_watching),
        cmocka_unit_test(test_objects_for_people),
        cmocka_unit_test(test_deep_objects_end),
        cmocka_unit_test(test_verbs_and_a_daemon),
        cmocka_unit_test(test_a_daemon_in_trouble),
        cmocka_unit_test(test_bad_options_of_other_verbs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
