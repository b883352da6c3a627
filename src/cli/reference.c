/* The manual pages and docs/reference, made of the verbs' documentation.
 *
 * Both walk the same parts in the same order as --help does; what differs is how a name is set off
 * and what has to be escaped: in troff the backslash, and a dot or a quote that begins a line; in
 * Markdown what is in a table's cell.
 */
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>

#define OPTION_SIZE 96

/* --- troff --- */

/* One character of text; *literal says whether it is within backquotes. */
static void man_character(FILE *out, char c, bool *literal, bool line_start)
{
    if (c == '`') {
        *literal = !*literal;
        fputs(*literal ? "\\fB" : "\\fR", out);
    } else if (c == '\\') {
        fputs("\\e", out);
    } else if (c == '-') {
        fputs("\\-", out);
    } else {
        if (line_start && (c == '.' || c == '\''))
            fputs("\\&", out);
        fputc(c, out);
    }
}

static void man_words(FILE *out, const char *text, size_t len)
{
    bool literal = false, start = true;

    for (size_t i = 0; i < len; i++) {
        man_character(out, text[i], &literal, start);
        start = text[i] == '\n';
    }
}

static void man_text(FILE *out, const char *text)
{
    bool verbatim = false;

    while (*text) {
        const char *end = strchrnul(text, '\n');

        if ((*text == ' ') != verbatim)
            fputs(verbatim ? ".fi\n.RE\n" : ".PP\n.RS\n.nf\n", out);
        verbatim = *text == ' ';
        if (text == end)
            fputs(".PP", out);
        man_words(out, text, (size_t)(end - text));
        fputc('\n', out);
        text = *end ? end + 1 : end;
    }
    if (verbatim)
        fputs(".fi\n.RE\n", out);
}

static void man_head(FILE *out, const char *name, const char *brief)
{
    char title[64];
    size_t n = 0;

    for (; name[n] && n + 1 < sizeof(title); n++)
        title[n] = (char)toupper((unsigned char)name[n]);
    title[n] = 0;
    fprintf(out, ".\\\" Made by `roost reference`; change src/cli instead.\n");
    fprintf(out, ".TH %s 1 \"\" \"roost %s\" \"Roost\"\n.SH NAME\n", title, ROOST_VERSION);
    man_words(out, name, strlen(name));
    fprintf(out, " \\- ");
    man_words(out, brief, strlen(brief));
    fputc('\n', out);
}

static void man_option(FILE *out, const struct cli_option *o)
{
    AUTO_BUF struct buf text = {0};

    cli_option_text(&text, o);
    fputs(".TP\n", out);
    if (o->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", out);
    man_words(out, o->name, strlen(o->name));
    fprintf(out, "\\fR%s%s%s\n", o->arg ? " \\fI" : "", o->arg ? o->arg : "", o->arg ? "\\fR" : "");
    man_words(out, (const char *)text.data, text.len);
    fputc('\n', out);
}

static void man_exit(FILE *out, enum err_code code)
{
    fprintf(out, ".TP\n.B %d\n", err_exit_status(code));
    man_words(out, cli_exit_text(code), strlen(cli_exit_text(code)));
    fputc('\n', out);
}

static void man_examples(FILE *out, const struct cli_example *examples)
{
    fputs(".SH EXAMPLES\n", out);
    for (size_t i = 0; examples[i].command; i++) {
        fputs(".TP\n", out);
        man_words(out, examples[i].what, strlen(examples[i].what));
        fputs("\n.nf\n\\fB", out);
        man_words(out, examples[i].command, strlen(examples[i].command));
        fputs("\\fR\n.fi\n", out);
    }
}

static void man_verb(const struct verb *v, FILE *out)
{
    char name[64];

    snprintf(name, sizeof(name), "roost-%s", v->name);
    man_head(out, name, v->brief);
    fputs(".SH SYNOPSIS\n.nf\n", out);
    for (size_t i = 0; v->synopsis[i]; i++) {
        fprintf(out, "\\fBroost %s\\fR ", v->name);
        man_words(out, v->synopsis[i], strlen(v->synopsis[i]));
        fputc('\n', out);
    }
    fputs(".fi\n.SH DESCRIPTION\n", out);
    man_text(out, v->about);
    fputs(".SH OPTIONS\n", out);
    for (const struct cli_option *o = cli_options(v); o->name; o++)
        man_option(out, o);
    man_option(out, &cli_option_help);
    for (size_t i = 0; v->sections && v->sections[i].title; i++) {
        fputs(".SH ", out);
        for (const char *c = v->sections[i].title; *c; c++)
            fputc(toupper((unsigned char)*c), out);
        fputc('\n', out);
        man_text(out, v->sections[i].text);
    }
    man_examples(out, v->examples);
    fputs(".SH EXIT STATUS\n", out);
    man_exit(out, ERR_NONE);
    man_exit(out, ERR_USAGE);
    for (size_t i = 0; v->exits && v->exits[i]; i++)
        man_exit(out, v->exits[i]);
    fputs(".SH SEE ALSO\n.BR roost (1)", out);
    for (size_t i = 0; v->see && v->see[i]; i++)
        fprintf(out, ",\n.BR roost\\-%s (1)", v->see[i]);
    fputc('\n', out);
}

static void man_program(FILE *out)
{
    man_head(out, "roost", "runs Kubernetes operators as WebAssembly guests that sleep");
    fputs(".SH SYNOPSIS\n\\fBroost\\fR [\\fB\\-\\-state\\fR \\fIDIR\\fR] \\fICOMMAND\\fR "
          "[\\fIoptions\\fR]\n.SH DESCRIPTION\nOne daemon runs many operators in one process; each "
          "sleeps on disk until one of its objects changes. All commands but\n"
          ".BR roost\\-serve (1),\n.BR roost\\-inspect (1)\nand those that say so ask a running "
          "daemon, over the Unix socket \\fIadmin.sock\\fR in its state directory.\n.SH COMMANDS\n",
          out);
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (cli_verbs[i]->hidden)
            continue;
        fprintf(out, ".TP\n.BR roost\\-%s (1)\n", cli_verbs[i]->name);
        man_words(out, cli_verbs[i]->brief, strlen(cli_verbs[i]->brief));
        fputc('\n', out);
    }
    fputs(".SH ENVIRONMENT\n.TP\n.B ROOST_STATE\nthe daemon's state directory, where "
          "\\fB\\-\\-state\\fR is not given; else /var/lib/roost\n.SH EXIT STATUS\n",
          out);
    for (int c = 0; c < ERR_CODES; c++)
        man_exit(out, (enum err_code)c);
    fputs(".TP\n.B 1\n\\fBroost serve\\fR was told twice to stop\n.TP\n.B 130\nCtrl\\-C\n", out);
}

void cli_man(const struct verb *v, FILE *out)
{
    if (v)
        man_verb(v, out);
    else
        man_program(out);
}

/* --- Markdown --- */

/* In a table's cell a bar would end it. */
static void md_cell(FILE *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '|')
            fputc('\\', out);
        fputc(text[i] == '\n' ? ' ' : text[i], out);
    }
}

/* Lines that begin with a blank are a block of code. */
static void md_text(FILE *out, const char *text)
{
    bool verbatim = false;

    while (*text) {
        const char *end = strchrnul(text, '\n');

        if ((*text == ' ') != verbatim)
            fputs("```\n", out);
        verbatim = *text == ' ';
        fprintf(out, "%.*s\n", (int)(end - text), text);
        text = *end ? end + 1 : end;
    }
    if (verbatim)
        fputs("```\n", out);
}

static void md_option(FILE *out, const struct cli_option *o)
{
    AUTO_BUF struct buf text = {0};

    cli_option_text(&text, o);
    fputs("| ", out);
    if (o->letter)
        fprintf(out, "`-%c`, ", o->letter);
    fprintf(out, "`--%s%s%s` | ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    md_cell(out, (const char *)text.data, text.len);
    fputs(" |\n", out);
}

static void md_exit(FILE *out, enum err_code code)
{
    fprintf(out, "| %d | %s | %s |\n", err_exit_status(code), err_code_name(code),
            cli_exit_text(code));
}

static const char made[] = "<!-- Made by `roost reference`; change src/cli instead. -->\n";

static void md_verb(const struct verb *v, FILE *out)
{
    fprintf(out, "%s# roost %s\n\n%c%s.\n\n```\n", made, v->name, toupper((unsigned char)*v->brief),
            v->brief + 1);
    for (size_t i = 0; v->synopsis[i]; i++)
        fprintf(out, "roost %s%s%s\n", v->name, *v->synopsis[i] ? " " : "", v->synopsis[i]);
    fputs("```\n\n", out);
    md_text(out, v->about);
    fputs("\n## Options\n\n| option | |\n|---|---|\n", out);
    for (const struct cli_option *o = cli_options(v); o->name; o++)
        md_option(out, o);
    md_option(out, &cli_option_help);
    for (size_t i = 0; v->sections && v->sections[i].title; i++) {
        fprintf(out, "\n## %s\n\n", v->sections[i].title);
        md_text(out, v->sections[i].text);
    }
    fputs("\n## Examples\n\n```sh\n", out);
    for (size_t i = 0; v->examples[i].command; i++)
        fprintf(out, "# %s\n%s\n", v->examples[i].what, v->examples[i].command);
    fputs("```\n\n## Exit status\n\n| status | name | |\n|---|---|---|\n", out);
    md_exit(out, ERR_NONE);
    md_exit(out, ERR_USAGE);
    for (size_t i = 0; v->exits && v->exits[i]; i++)
        md_exit(out, v->exits[i]);
    fputs("\nSee also: [all commands](README.md)", out);
    for (size_t i = 0; v->see && v->see[i]; i++)
        fprintf(out, ", [roost %s](%s.md)", v->see[i], v->see[i]);
    fputs(".\n", out);
}

static void md_program(FILE *out)
{
    fprintf(out,
            "%s# The command line\n\n```\nroost [--state DIR | --server URL] COMMAND "
            "[options]\n```\n\n",
            made);
    fputs("| command | |\n|---|---|\n", out);
    for (size_t i = 0; cli_verbs[i]; i++)
        if (!cli_verbs[i]->hidden)
            fprintf(out, "| [roost %s](%s.md) | %s |\n", cli_verbs[i]->name, cli_verbs[i]->name,
                    cli_verbs[i]->brief);
    fputs("\n## Exit status\n\n| status | name | |\n|---|---|---|\n", out);
    for (int c = 0; c < ERR_CODES; c++)
        md_exit(out, (enum err_code)c);
    fputs(
        "| 1 | | `roost serve` was told twice to stop |\n| 130 | | Ctrl-C |\n\nThey are stable: a "
        "status keeps its meaning. Errors are one line on stderr that begins with `roost: `.\n",
        out);
}

void cli_markdown(const struct verb *v, FILE *out)
{
    if (v)
        md_verb(v, out);
    else
        md_program(out);
}
