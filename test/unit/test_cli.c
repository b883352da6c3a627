/* cli: golden output of tables and descriptions, messages and exit statuses of wrong usage, and the
 * verbs against an admin API over its real socket.
 */
#include "cli/cli.h"
#include "support/admin_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

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
    o->status = cli_run(argc, argv);
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
        {"roost --state= get guests", "--state needs a folder"},
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
        {"roost get guests -o yml",
         "--output yml: did you mean yaml? It is one of table, wide, json, yaml, name"},
        {"roost get guests -o x", "--output x: must be one of table, wide, json, yaml, name"},
        {"roost get guests -A -n a", "-A and -n: one namespace or all, not both"},
        {"roost get guests --namespace=", "--namespace needs a value that is not empty"},
        {"roost get guests --watch=yes", "--watch=yes takes no value (see `roost get --help`)"},
        {"roost completion", "completion takes one shell: bash, zsh or fish"},
        {"roost completion ksh", "completion ksh: must be bash, zsh or fish"},
        {"roost serve --log-level wran",
         "--log-level wran: did you mean warn? It is one of debug, info, warn, error"},
        {"roost serve --geusts x", "unknown option --geusts (did you mean --guests?)"},
        {"roost serve --guest-dir x", "unknown option --guest-dir (see `roost serve --help`)"},
        {"roost serve --guests", "--guests needs a value (see `roost serve --help`)"},
        {"roost serve here", "serve takes no arguments, only options: here"},
        {"roost describe", "describe takes one guest (`roost describe NAMESPACE/NAME`)"},
        {"roost describe a b", "describe takes one guest (`roost describe NAMESPACE/NAME`)"},
        {"roost describe a/b -o wide", "--output wide: must be one of table, json, yaml"},
        {"roost describe a?b", "a?b: no guest has such a name"},
        {"roost describe a -n x/../y", "a: no guest has such a name"},
        {"roost version now", "version takes no arguments, only options: now"},
        {"roost version -o name", "--output name: must be one of table, json, yaml"},
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
    char name[CLI_NAME_SIZE + 8], text[300];
    struct cli_id id;
    struct err err;

    (void)state;
    memset(name, 'a', sizeof(name));
    name[CLI_NAME_SIZE - 1] = 0;
    snprintf(text, sizeof(text), "b/%s", name);
    assert_int_equal(cli_split_name(text, &id, &err), 0);
    assert_string_equal(id.namespace_, "b");
    assert_string_equal(id.name, name);
    name[CLI_NAME_SIZE - 1] = 'a';
    name[CLI_NAME_SIZE] = 0;
    assert_int_equal(cli_split_name(name, &id, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
}

/* Every verb: by --help, -h and help; with each part of its documentation in it. */
static void test_help(void **state)
{
    struct outcome o = {0}, h = {0};
    char words[64];

    (void)state;
    for (size_t i = 0; cli_verbs[i]; i++) {
        const struct verb *v = cli_verbs[i];

        snprintf(words, sizeof(words), "roost %s --help", v->name);
        run(&o, words);
        assert_int_equal(o.status, 0);
        assert_string_equal(o.errors, "");
        assert_non_null(strstr(o.out, "\nUsage: roost "));
        assert_non_null(strstr(o.out, "\nExamples:\n  # "));
        assert_non_null(strstr(o.out, "\nExit status:\n  0   fine\n  2 "));
        for (const struct cli_option *option = cli_options(v); option->name; option++) {
            char left[96];

            cli_option_left(left, sizeof(left), option);
            assert_non_null(strstr(o.out, left));
        }
        snprintf(words, sizeof(words), "roost help %s", v->name);
        run(&h, words);
        assert_string_equal(o.out, h.out);
        free(h.out);
        free(h.errors);
        snprintf(words, sizeof(words), "roost %s -h", v->name);
        run(&h, words);
        assert_string_equal(o.out, h.out);
        free(h.out);
        free(h.errors);
        free(o.out);
        free(o.errors);
    }
    run(&o, "roost --help");
    assert_int_equal(o.status, 0);
    for (size_t i = 0; cli_verbs[i]; i++)
        assert_true((strstr(o.out, cli_verbs[i]->brief) != NULL) != cli_verbs[i]->hidden);
    free(o.out);
    free(o.errors);
}

/* No line of --help is wider than a terminal, options' names aside. */
static void test_help_fits_a_terminal(void **state)
{
    struct outcome o = {0};
    char words[64];

    (void)state;
    for (size_t i = 0; cli_verbs[i]; i++) {
        snprintf(words, sizeof(words), "roost %s --help", cli_verbs[i]->name);
        run(&o, words);
        for (char *save, *line = strtok_r(o.out, "\n", &save); line;
             line = strtok_r(NULL, "\n", &save))
            if (strncmp(line, "  roost ", 8) != 0 && strlen(line) > 80)
                fail_msg("%s: %s", words, line);
        free(o.out);
        free(o.errors);
    }
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
    assert_string_equal(cli_state(&(struct cli_line){.verb = &verb_get}), "/var/lib/roost");
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
    json_t *all = load(guests), *chosen = cli_select(all, &(struct cli_id){0});
    struct cli_table *t = NULL;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_int_equal(cli_guest_table(&t, wide, NULL), 0);
    for (size_t i = 0; i < json_array_size(chosen); i++)
        assert_int_equal(
            cli_guest_row(t, json_array_get(chosen, i), wide, 1767323165 /* 03:06:05 */, NULL), 0);
    cli_table_flush(t, 0, f);
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
    cli_table_flush(t, 0, f);
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
    json_t *all = load(guests), *some = cli_select(all, &(struct cli_id){.namespace_ = "b"});

    (void)state;
    assert_int_equal(json_array_size(some), 2);
    json_decref(some);
    some = cli_select(all, &(struct cli_id){.name = "ring-2"});
    assert_int_equal(json_array_size(some), 1);
    json_decref(some);
    some = cli_select(all, &(struct cli_id){.namespace_ = "a", .name = "ring-2"});
    assert_int_equal(json_array_size(some), 0);
    json_decref(some);
    some = cli_select(NULL, &(struct cli_id){0}); /* a daemon that sends no items */
    assert_int_equal(json_array_size(some), 0);
    json_decref(some);
    json_decref(all);
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
    expect("roost get b/a -o yaml", 0, "namespace: b\nname: a\nwakes: 2\n", "");
    expect("roost get guests -A -o name", 0, "b/a\ndefault/a\n", "");
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

/* Scripts rely on them: a status keeps its number and its name. */
static void test_exit_statuses_are_stable(void **state)
{
    static const struct {
        enum err_code code;
        int status;
        const char *name;
    } codes[] = {
        {ERR_NONE, 0, "ok"},
        {ERR_USAGE, 2, "usage"},
        {ERR_INVALID, 3, "invalid"},
        {ERR_NOT_FOUND, 4, "not_found"},
        {ERR_EXISTS, 5, "exists"},
        {ERR_DENIED, 6, "denied"},
        {ERR_LIMIT, 7, "limit"},
        {ERR_NOMEM, 8, "nomem"},
        {ERR_IO, 9, "io"},
        {ERR_NET, 10, "net"},
        {ERR_TIMEOUT, 11, "timeout"},
        {ERR_AGAIN, 12, "again"},
        {ERR_GONE, 13, "gone"},
        {ERR_CORRUPT, 14, "corrupt"},
        {ERR_TRAP, 15, "trap"},
        {ERR_UNSUPPORTED, 16, "unsupported"},
    };

    (void)state;
    assert_int_equal(sizeof(codes) / sizeof(codes[0]), ERR_CODES);
    for (size_t i = 0; i < ERR_CODES; i++) {
        assert_int_equal(codes[i].code, i);
        assert_int_equal(err_exit_status(codes[i].code), codes[i].status);
        assert_string_equal(err_code_name(codes[i].code), codes[i].name);
        assert_non_null(cli_exit_text(codes[i].code));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_usage_is_one_line),
        cmocka_unit_test(test_names_at_their_edge),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_help_fits_a_terminal),
        cmocka_unit_test(test_no_daemon),
        cmocka_unit_test(test_table_of_guests),
        cmocka_unit_test(test_messages_at_their_edge),
        cmocka_unit_test(test_selection),
        cmocka_unit_test(test_objects_for_people),
        cmocka_unit_test(test_deep_objects_end),
        cmocka_unit_test(test_verbs_and_a_daemon),
        cmocka_unit_test(test_a_daemon_in_trouble),
        cmocka_unit_test(test_exit_statuses_are_stable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
