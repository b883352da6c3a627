/* docs/reference is what the verbs' documentation makes of it, and that documentation is whole; the
 * manual pages are troff that groff takes without a word; the completions work in their shells.
 */
#include "base/auto.h"
#include "cli/cli.h"
#include "support/admin_fake.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- docs/reference --- */

static char *read_all(FILE *f)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t len = f ? getdelim(&text, &room, EOF, f) : -1;

    if (f)
        fclose(f);
    if (len < 0) {
        free(text);
        return strdup("");
    }
    return text;
}

static void expect_page(const struct verb *v)
{
    char path[512], *made = NULL;
    size_t len;
    FILE *out = open_memstream(&made, &len);
    char *kept;

    snprintf(path, sizeof(path), "%s/docs/reference/%s.md", ROOST_SOURCE_DIR,
             v ? v->name : "README");
    kept = read_all(fopen(path, "re"));
    cli_markdown(v, out);
    fclose(out);
    if (strcmp(kept, made) != 0)
        fail_msg("%s is out of date: run `ninja -C BUILD reference`", path);
    free(kept);
    free(made);
}

static void test_the_reference_is_up_to_date(void **state)
{
    size_t verbs = 1, pages = 0;
    DIR *dir = opendir(ROOST_SOURCE_DIR "/docs/reference");

    (void)state;
    expect_page(NULL);
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (cli_verbs[i]->hidden)
            continue;
        expect_page(cli_verbs[i]);
        verbs++;
    }
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));)
        pages += *e->d_name != '.';
    closedir(dir);
    assert_int_equal(pages, verbs); /* none of a verb that is gone */
}

/* --- the documentation is whole --- */

static void check_option(const struct verb *v, const struct cli_option *o)
{
    if (!o->help || !*o->help || o->help[strlen(o->help) - 1] == '.')
        fail_msg("roost %s --%s: its help", v->name, o->name);
    if (!o->arg && (o->words || o->def))
        fail_msg("roost %s --%s: words or a default without a value", v->name, o->name);
    for (const struct cli_option *p = cli_options(v); p < o; p++)
        if (strcmp(p->name, o->name) == 0 || (o->letter && p->letter == o->letter))
            fail_msg("roost %s --%s: twice", v->name, o->name);
    if (o->letter == 'h' || strcmp(o->name, "help") == 0)
        fail_msg("roost %s --%s: is everybody's", v->name, o->name);
}

/* The words of an example that are options are options of its verb. */
static void check_example(const struct verb *v, const char *command)
{
    char line[256], *save = NULL;
    bool own = false, program = false;

    snprintf(line, sizeof(line), "%s", command);
    for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        bool found = false;

        if (strcmp(w, "|") == 0 || strcmp(w, "&&") == 0)
            program = false;
        program = program || strstr(w, "roost") != NULL;
        if (!program)
            continue; /* another program's words */
        own = own || strcmp(w, v->name) == 0;
        if (strncmp(w, "--", 2) != 0 || !w[2])
            continue;
        w[strcspn(w, "=")] = 0;
        for (const struct cli_option *o = cli_options(v); o->name; o++)
            found = found || strcmp(o->name, w + 2) == 0;
        if (!found)
            fail_msg("roost %s: example with an unknown %s", v->name, w);
    }
    if (!own)
        fail_msg("roost %s: an example of another verb: %s", v->name, command);
}

static void test_each_verb_is_documented(void **state)
{
    (void)state;
    for (size_t i = 0; cli_verbs[i]; i++) {
        const struct verb *v = cli_verbs[i];

        assert_true(v->run && v->about && v->brief && v->synopsis[0] && v->examples[0].command);
        for (const struct cli_option *o = cli_options(v); o->name; o++)
            check_option(v, o);
        for (const struct cli_example *e = v->examples; e->command; e++)
            check_example(v, e->command);
        for (size_t e = 0; v->exits && v->exits[e]; e++)
            assert_non_null(cli_exit_text(v->exits[e]));
        for (size_t s = 0; v->see && v->see[s]; s++)
            assert_non_null(cli_find_verb(v->see[s]));
    }
}

/* --- manual pages --- */

static char *output_of(const char *command)
{
    return read_all(popen(command, "re"));
}

static void test_groff_takes_the_manual_pages(void **state)
{
    (void)state;
    for (size_t i = 0;; i++) {
        char path[128], command[256], *said;
        FILE *out;

        snprintf(path, sizeof(path), "%s/roost-man-%d.1", tmp_base(), getpid());
        out = fopen(path, "we");
        assert_non_null(out);
        cli_man(cli_verbs[i], out); /* the last is the program's own */
        fclose(out);
        snprintf(command, sizeof(command), "groff -man -ww -z -Tutf8 %s 2>&1 && echo done", path);
        said = output_of(command);
        assert_string_equal(said, "done\n");
        free(said);
        unlink(path);
        if (!cli_verbs[i])
            break;
    }
}

/* --- completions --- */

/* bash asks with words; the last is what is being completed. */
static const char bash_driver[] =
    "eval \"$(\"$ROOST\" completion bash)\"; roost() { \"$ROOST\" \"$@\"; };"
    "COMP_WORDS=(\"$@\" ''); case $LAST in ?*) COMP_WORDS[$#]=$LAST;; esac;"
    "COMP_CWORD=$#; _roost; printf '%s\\n' \"${COMPREPLY[@]}\"";

static const char fish_driver[] =
    "function roost; $ROOST $argv; end; $ROOST completion fish | source;"
    "complete -C \"$argv $LAST\" | string replace -r '\\t.*' ''";

/* compsys works only in an interactive zsh: what it would insert is kept by a compadd of ours. */
static const char zsh_driver[] =
    "autoload -Uz compinit && compinit -D -u\n"
    "roost() { \"$ROOST\" \"$@\" }\n"
    "eval \"$(\"$ROOST\" completion zsh)\"\n"
    "typeset -a shown\n"
    "compadd() { local -a got; local -i i\n"
    "  if [[ $1 == -a ]]; then shown+=(${(P)2})\n"
    "  elif (( ${@[(I)-O|-A|-D]} )); then return 1\n"
    "  else shown+=(${@:#-*}); fi }\n"
    "_arguments() { local a; for a; do\n"
    "  case $a in\n"
    "  ('*:'*:_roost_*) [[ $LAST == -* ]] || ${a##*:} ;;\n"
    "  (1:*) [[ $LAST == -* ]] || eval ${${a#*\\{}%\\}} ;;\n"
    "  (\\**|-*) if [[ $LAST == -* ]]; then shown+=(${${a#\\*}%%\\[*})\n"
    "    elif [[ ${${a#\\*}%%\\[*} == $PREV ]]; then\n"
    "      case ${a##*:} in (\\(*) shown+=(${=${${a##*:}#\\(}%\\)}) ;; (_roost*) ${a##*:} ;; esac\n"
    "    fi ;;\n"
    "  esac; done }\n"
    "_describe() { local -a l; l=(${(P)2}); shown+=(${l%%:*}) }\n"
    "words=(\"$@\" \"$LAST\") CURRENT=$(($# + 1)) PREV=${@[-1]}\n"
    "_roost; print -l -- $shown\n";

struct shell {
    const char *name, *command, *driver;
};

static const struct shell shells[] = {
    {"bash", "bash --norc -c \"$DRIVER\" x", bash_driver},
    {"zsh", "zsh -f -c \"$DRIVER\" x", zsh_driver},
    {"fish", "fish --no-config -c \"$DRIVER\"", fish_driver},
};

/* True where one line of what the shell offers is the word. */
static bool offers(const struct shell *s, const char *words, const char *last, const char *word)
{
    char command[512], needle[128];
    AUTO_FREE char *said = NULL, *lines = NULL;

    snprintf(command, sizeof(command), "%s %s 2>&1", s->command, words);
    assert_int_equal(setenv("DRIVER", s->driver, 1), 0);
    assert_int_equal(setenv("LAST", last, 1), 0);
    said = output_of(command);
    assert_true(asprintf(&lines, "\n%s", said) > 0);
    snprintf(needle, sizeof(needle), "\n%s\n", word);
    if (!strstr(lines, needle))
        print_message("%s offers for `%s %s`: %s\n", s->name, words, last, said);
    return strstr(lines, needle) != NULL;
}

static void test_shells_complete(void **state)
{
    static const struct {
        const char *words, *last, *word;
    } cases[] = {
        {"roost", "", "describe"},        {"roost", "de", "describe"},
        {"roost get", "--", "--watch"},   {"roost get -o", "", "yaml"},
        {"roost completion", "", "fish"}, {"roost describe", "", "b/ring-0"},
        {"roost get", "", "guests"},      {"roost get -n", "", "b"},
        {"roost help", "", "inspect"},
    };
    struct admin_fake f = {.guests = "[{\"namespace\":\"b\",\"name\":\"ring-0\"},"
                                     "{\"namespace\":\"c\",\"name\":\"ring-1\"}]"};

    (void)state;
    assert_int_equal(admin_fake_start(&f), 0);
    assert_int_equal(setenv("ROOST_STATE", f.dir, 1), 0);
    assert_int_equal(setenv("ROOST", ROOST_BINARY_DIR "/roost", 1), 0);
    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++)
        for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
            assert_true(offers(&shells[i], cases[c].words, cases[c].last, cases[c].word));
    assert_int_equal(unsetenv("ROOST_STATE"), 0);
    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        char words[128];

        snprintf(words, sizeof(words), "roost --state %s describe", f.dir);
        assert_true(offers(&shells[i], words, "", "c/ring-1"));
    }
    assert_int_equal(admin_fake_stop(&f), 0);
}

/* A daemon that is away completes nothing, without a word. */
static void test_no_daemon_no_names(void **state)
{
    (void)state;
    assert_int_equal(setenv("ROOST_STATE", "/nowhere", 1), 0);
    assert_int_equal(setenv("ROOST", ROOST_BINARY_DIR "/roost", 1), 0);
    assert_int_equal(setenv("LAST", "", 1), 0);
    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        char command[512], *said;

        assert_int_equal(setenv("DRIVER", shells[i].driver, 1), 0);
        snprintf(command, sizeof(command), "%s roost describe 2>&1", shells[i].command);
        said = output_of(command);
        said[strcspn(said, "\n")] = 0;
        assert_string_equal(said, "");
        free(said);
    }
    assert_int_equal(unsetenv("ROOST_STATE"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_reference_is_up_to_date),
        cmocka_unit_test(test_each_verb_is_documented),
        cmocka_unit_test(test_groff_takes_the_manual_pages),
        cmocka_unit_test(test_shells_complete),
        cmocka_unit_test(test_no_daemon_no_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
