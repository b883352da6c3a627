/* roost new: what it refuses, and that its two kinds of projects build and pass their native tests,
 * by the roost of this build. test/e2e/test_newcomer runs one against a real API server.
 */
#include "base/auto.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char program[] = ROOST_BINARY_DIR "/roost";

/* The exit status; *out is what it said on both, the caller's. */
static int run(const char *dir, const char *command, char **out)
{
    AUTO_FREE char *line = NULL;
    size_t room = 0;
    FILE *f;
    int status;

    assert_true(asprintf(&line, "cd %s && ROOST=%s && { %s ; } 2>&1", dir, program, command) > 0);
    *out = NULL;
    f = popen(line, "re");
    assert_non_null(f);
    if (getdelim(out, &room, EOF, f) < 0) {
        free(*out);
        *out = strdup("");
    }
    status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *dir, const char *command, int status, const char *said)
{
    char *out;
    int rc = run(dir, command, &out);

    if (rc != status || !strstr(out, said))
        fail_msg("%s: status %d, said: %s", command, rc, out);
    free(out);
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *command;
        int status;
        const char *said;
    } cases[] = {
        {"$ROOST new", 2, "new what?"},
        {"$ROOST new function x", 2, "new what?"},
        {"$ROOST new operator", 2, "takes a name"},
        {"$ROOST new operator Greeter", 2, "a name is small letters"},
        {"$ROOST new operator ../x", 2, "a name is small letters"},
        {"$ROOST new operator x-", 2, "a name is small letters"},
        {"$ROOST new operator x --kind greeting", 2, "a capital letter"},
        {"$ROOST new operator x --group example.org", 2, "--group is of a kind"},
        {"$ROOST new operator x --kind X --group example", 2, "a domain"},
        {"$ROOST new operator x --kind X --group a..b", 2, "a domain"},
        {"$ROOST new operator x -n A", 2, "no namespace has such a name"},
        {"mkdir x && $ROOST new operator x", 5, "x: File exists"},
        {"ROOST_SHARE=/nowhere $ROOST new operator y", 4, "$ROOST_SHARE: /nowhere/sdk"},
    };
    struct tmp_dir dir;

    (void)state;
    assert_int_equal(tmp_dir_make(&dir), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect(dir.path, cases[i].command, cases[i].status, cases[i].said);
    expect(dir.path, "rm -rf -- *", 0, "");
    tmp_dir_remove(&dir);
}

static void test_projects_build_and_pass(void **state)
{
    struct tmp_dir dir;

    (void)state;
    assert_int_equal(tmp_dir_make(&dir), 0);
    expect(dir.path, "$ROOST new operator greeter", 0, "greeter/src/main.c\n");
    expect(dir.path, "make -s -C greeter check all", 0, "test_main: all is well");
    expect(dir.path, "$ROOST inspect greeter/build/greeter.wasm -o json", 0,
           "\"sleepMode\": \"auto\"");
    expect(dir.path, "$ROOST new operator hi --kind Greeting -n web --dir other", 0,
           "other/deploy/crd.yaml\n");
    expect(dir.path, "make -s -C other check all", 0, "test_main: all is well");
    expect(dir.path, "! grep -rn '@[A-Z_]*@' greeter other --include='*[!m]'", 0, "");
    expect(dir.path, "cat other/guest.yaml", 0,
           "apiVersion: example.org/v1, kind: Greeting, namespaces: [web]");
    expect(dir.path, "rm -rf -- *", 0, "");
    tmp_dir_remove(&dir);
}

/* A change that breaks it is seen by its own test. */
static void test_a_project_notices_mistakes(void **state)
{
    struct tmp_dir dir;

    (void)state;
    assert_int_equal(tmp_dir_make(&dir), 0);
    expect(dir.path, "$ROOST new operator greeter", 0, "README.md");
    expect(dir.path, "sed -i 's/Hello, /Helo, /' greeter/src/logic.h && make -s -C greeter check",
           2, "not so: strcmp(fake.calls[0].body");
    expect(dir.path, "make -s -C greeter check ROOST=/nowhere/roost", 2,
           "/nowhere/roost does not run: say where roost is");
    expect(dir.path, "rm -rf -- *", 0, "");
    tmp_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_projects_build_and_pass),
        cmocka_unit_test(test_a_project_notices_mistakes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
