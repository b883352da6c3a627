/* Completions for bash, zsh and fish, made of the verbs' documentation.
 *
 * Verbs, options and the words that an option takes are written into the script. Names of guests
 * are not known here: the script asks the daemon for them when they are needed, with
 * `roost get guests -o name`, and with the --state that is already on the line. A daemon that does
 * not answer completes nothing and says nothing.
 */
#include "cli/cli.h"

#include <string.h>

static const char *const kinds[] = {
    [CLI_ANYTHING] = "none", [CLI_FILE] = "files",   [CLI_DIR] = "folders",
    [CLI_MODULE] = "files",  [CLI_GUEST] = "guests", [CLI_SPACE] = "namespaces",
    [CLI_COMMAND] = "verbs",
};

static void words(FILE *out, const char *const *list, const char *between)
{
    for (size_t i = 0; list && list[i]; i++)
        fprintf(out, "%s%s", i ? between : "", list[i]);
}

static void verbs(FILE *out)
{
    for (size_t i = 0; cli_verbs[i]; i++)
        if (!cli_verbs[i]->hidden)
            fprintf(out, "%s ", cli_verbs[i]->name);
    fputs("help", out);
}

/* Text within single quotes of a shell: a quote becomes '\''. */
static void quoted(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else
            fputc(*text, out);
    }
    fputc('\'', out);
}

/* --- bash --- */

static const char bash_head[] =
    "# bash completion for roost; made by `roost completion bash`.\n"
    "_roost_guests() { roost \"${state[@]}\" get guests -o name 2>/dev/null; }\n"
    "_roost_namespaces() { _roost_guests | cut -d/ -f1 | sort -u; }\n"
    "_roost_reply() { # KIND [WORDS]\n"
    "    case $1 in\n"
    "    words) mapfile -t COMPREPLY < <(compgen -W \"$2\" -- \"$cur\") ;;\n"
    "    files) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); compopt -o filenames "
    "2>/dev/null "
    ";;\n"
    "    folders) mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"); compopt -o filenames "
    "2>/dev/null ;;\n"
    "    guests) mapfile -t COMPREPLY < <(compgen -W \"$2 $(_roost_guests)\" -- \"$cur\") ;;\n"
    "    namespaces) mapfile -t COMPREPLY < <(compgen -W \"$(_roost_namespaces)\" -- \"$cur\") ;;\n"
    "    esac\n"
    "}\n"
    "_roost() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb='' i state=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        case ${COMP_WORDS[i]} in\n"
    "        --state) state=(--state \"${COMP_WORDS[i+1]}\") && ((i++)) ;;\n"
    "        -*) ;;\n"
    "        *) [ -n \"$verb\" ] || verb=${COMP_WORDS[i]} ;;\n"
    "        esac\n"
    "    done\n"
    "    COMPREPLY=()\n"
    "    case $verb:$prev in\n"
    "    *:--state) _roost_reply folders; return ;;\n";

static void bash_values(FILE *out, const struct verb *v)
{
    for (const struct cli_option *o = cli_options(v); o->name; o++) {
        if (!o->arg || strcmp(o->name, "state") == 0)
            continue;
        fprintf(out, "    %s:--%s", v->name, o->name);
        if (o->letter)
            fprintf(out, " | %s:-%c", v->name, o->letter);
        fprintf(out, ") _roost_reply %s", o->words ? "words '" : kinds[o->what]);
        words(out, o->words, " ");
        fprintf(out, "%s; return ;;\n", o->words ? "'" : "");
    }
}

static void bash_arguments(FILE *out, const struct verb *v)
{
    fprintf(out, "    %s:-*) _roost_reply words '--help", v->name);
    for (const struct cli_option *o = cli_options(v); o->name; o++)
        fprintf(out, " --%s", o->name);
    fprintf(out, "' ;;\n    %s:*) _roost_reply ", v->name);
    if (v->args == CLI_ANYTHING || v->args == CLI_COMMAND)
        fputs("words", out);
    else
        fputs(kinds[v->args], out);
    fputs(" '", out);
    words(out, v->arg_words, " ");
    fputs("' ;;\n", out);
}

static void bash(FILE *out)
{
    fputs(bash_head, out);
    for (size_t i = 0; cli_verbs[i]; i++)
        if (!cli_verbs[i]->hidden)
            bash_values(out, cli_verbs[i]);
    fputs("    esac\n    case $verb:$cur in\n    :-*) _roost_reply words '--help --state "
          "--version' ;;\n    :* | help:*) _roost_reply words '",
          out);
    verbs(out);
    fputs("' ;;\n", out);
    for (size_t i = 0; cli_verbs[i]; i++)
        if (!cli_verbs[i]->hidden)
            bash_arguments(out, cli_verbs[i]);
    fputs("    esac\n}\ncomplete -F _roost roost\n", out);
}

/* --- zsh --- */

static const char zsh_head[] =
    "#compdef roost\n"
    "# zsh completion for roost; made by `roost completion zsh`.\n"
    "_roost_state() { local i; state=(); for ((i = 1; i < $#words_all; i++)); do\n"
    "    [[ $words_all[i] == --state ]] && state=(--state $words_all[i+1]); done; }\n"
    "_roost_guests() { local -a state list; _roost_state\n"
    "    list=(${(f)\"$(roost $state get guests -o name 2>/dev/null)\"})\n"
    "    compadd -a list; }\n"
    "_roost_namespaces() { local -a state list; _roost_state\n"
    "    list=(${(f)\"$(roost $state get guests -o name 2>/dev/null)\"})\n"
    "    list=(${(u)list%%/*}); compadd -a list; }\n"
    "_roost_none() { return 1; }\n";

/* In a specification of _arguments a bracket and a colon end something. */
static void zsh_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (strchr("[]:\\", *text))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

static const char *zsh_action(enum cli_what what)
{
    static const char *const actions[] = {
        [CLI_ANYTHING] = " ",    [CLI_FILE] = "_files",         [CLI_DIR] = "_files -/",
        [CLI_MODULE] = "_files", [CLI_GUEST] = "_roost_guests", [CLI_SPACE] = "_roost_namespaces",
        [CLI_COMMAND] = " ",
    };

    return actions[what];
}

static void zsh_form(FILE *out, const struct cli_option *o, bool letter)
{
    char form[64];

    if (letter)
        snprintf(form, sizeof(form), "-%c", o->letter);
    else
        snprintf(form, sizeof(form), "--%s", o->name);
    fprintf(out, " \\\n        '%s%s[", o->repeats ? "*" : "", form);
    zsh_text(out, o->help);
    fputc(']', out);
    if (o->arg) {
        fputs(":", out);
        zsh_text(out, o->arg);
        fputs(":", out);
        if (o->words) {
            fputc('(', out);
            words(out, o->words, " ");
            fputc(')', out);
        } else {
            fputs(zsh_action(o->what), out);
        }
    }
    fputc('\'', out);
}

static void zsh_verb(FILE *out, const struct verb *v)
{
    fprintf(out, "    %s) _arguments", v->name);
    for (const struct cli_option *o = cli_options(v); o->name; o++) {
        if (o->letter)
            zsh_form(out, o, true);
        zsh_form(out, o, false);
    }
    zsh_form(out, &cli_option_help, false);
    if (v->arg_words) {
        fputs(" \\\n        '1:what:{ compadd ", out);
        words(out, v->arg_words, " ");
        fprintf(out, "%s%s }'", v->args == CLI_ANYTHING ? "" : "; ",
                v->args == CLI_ANYTHING ? "" : zsh_action(v->args));
    }
    if (v->args != CLI_ANYTHING)
        fprintf(out, " \\\n        '*:what:%s'", zsh_action(v->args));
    fputs(" ;;\n", out);
}

static void zsh(FILE *out)
{
    fputs(zsh_head, out);
    fputs("_roost() {\n    local -a words_all verbs\n    words_all=($words)\n"
          "    while [[ $words[2] == --state && $CURRENT -gt 3 ]]; do\n"
          "        shift 2 words; ((CURRENT -= 2)); done\n"
          "    if ((CURRENT == 2)) || [[ $words[2] == help ]]; then\n        verbs=(",
          out);
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (cli_verbs[i]->hidden)
            continue;
        fputs("\n            '", out);
        zsh_text(out, cli_verbs[i]->name);
        fputc(':', out);
        zsh_text(out, cli_verbs[i]->brief);
        fputc('\'', out);
    }
    fputs(")\n        _describe command verbs\n        return\n    fi\n    local "
          "verb=$words[2]\n    shift words; ((CURRENT--))\n    case $verb in\n",
          out);
    for (size_t i = 0; cli_verbs[i]; i++)
        if (!cli_verbs[i]->hidden)
            zsh_verb(out, cli_verbs[i]);
    fputs("    esac\n}\nif [ \"$funcstack[1]\" = _roost ]; then _roost \"$@\"; else compdef _roost "
          "roost; fi\n",
          out);
}

/* --- fish --- */

static const char fish_head[] =
    "# fish completion for roost; made by `roost completion fish`.\n"
    "function __roost_state\n"
    "    set -l words (commandline -opc)\n"
    "    for i in (seq (count $words))\n"
    "        if test $words[$i] = --state; and test $i -lt (count $words)\n"
    "            echo --state\n"
    "            echo $words[(math $i + 1)]\n"
    "        end\n"
    "    end\n"
    "end\n"
    "function __roost_guests\n"
    "    roost (__roost_state) get guests -o name 2>/dev/null\n"
    "end\n"
    "function __roost_namespaces\n"
    "    __roost_guests | string replace -r '/.*' '' | sort -u\n"
    "end\n"
    "function __roost_verb\n"
    "    set -l skip 0\n"
    "    for word in (commandline -opc)[2..-1]\n"
    "        if test $skip = 1\n"
    "            set skip 0\n"
    "        else if test $word = --state\n"
    "            set skip 1\n"
    "        else if not string match -q -- '-*' $word\n"
    "            echo $word\n"
    "            return\n"
    "        end\n"
    "    end\n"
    "end\n"
    "function __roost_is\n"
    "    set -l verb (__roost_verb)\n"
    "    test \"$verb\" = \"$argv[1]\"\n"
    "end\n"
    "complete -c roost -f\n"
    "complete -c roost -n '__roost_is \"\"' -l state -d 'the daemon'\\''s state directory' -xa "
    "'(__fish_complete_directories)'\n";

static const char *fish_source(enum cli_what what)
{
    static const char *const sources[] = {
        [CLI_ANYTHING] = "",
        [CLI_FILE] = "(__fish_complete_path)",
        [CLI_DIR] = "(__fish_complete_directories)",
        [CLI_MODULE] = "(__fish_complete_suffix .wasm)",
        [CLI_GUEST] = "(__roost_guests)",
        [CLI_SPACE] = "(__roost_namespaces)",
        [CLI_COMMAND] = "",
    };

    return sources[what];
}

static void fish_option(FILE *out, const char *verb, const struct cli_option *o)
{
    fprintf(out, "complete -c roost -n '__roost_is %s' -l %s", verb, o->name);
    if (o->letter)
        fprintf(out, " -s %c", o->letter);
    fputs(" -d ", out);
    quoted(out, o->help);
    if (o->arg) {
        fprintf(out, " -xa '%s", o->words ? "" : fish_source(o->what));
        words(out, o->words, " ");
        fputs("'", out);
    }
    fputc('\n', out);
}

static void fish_verb(FILE *out, const struct verb *v)
{
    fprintf(out, "complete -c roost -n '__roost_is \"\"; or __roost_is help' -a %s -d ", v->name);
    quoted(out, v->brief);
    fputc('\n', out);
    for (const struct cli_option *o = cli_options(v); o->name; o++)
        fish_option(out, v->name, o);
    fish_option(out, v->name, &cli_option_help);
    if (v->args == CLI_ANYTHING && !v->arg_words)
        return;
    fprintf(out, "complete -c roost -n '__roost_is %s' -a '", v->name);
    words(out, v->arg_words, " ");
    fprintf(out, " %s'\n", fish_source(v->args));
}

static void fish(FILE *out)
{
    fputs(fish_head, out);
    for (size_t i = 0; cli_verbs[i]; i++)
        if (!cli_verbs[i]->hidden)
            fish_verb(out, cli_verbs[i]);
}

void cli_completion(const char *shell, FILE *out)
{
    if (strcmp(shell, "bash") == 0)
        bash(out);
    else if (strcmp(shell, "zsh") == 0)
        zsh(out);
    else
        fish(out);
}
