/* --help, made of a verb's documentation; and what the other makers of it share: wrapped text, an
 * option as it is written, what the exit statuses mean. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#define HELP_COLUMNS 80
#define LEFT_MAX     26 /* columns of the options' names; longer ones have a line of their own */
#define OPTION_SIZE  96

/* --- text --- */

static size_t columns(const char *text, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* One paragraph, up to an end that is not part of it. */
static void wrap_paragraph(FILE *out, const char *text, const char *end, int indent, int width,
                           int column)
{
    bool first = true;

    while (text < end) {
        size_t len = 0;
        int wide;

        text += strspn(text, " \n");
        while (text + len < end && !strchr(" \n", text[len]))
            len++;
        if (len == 0)
            break;
        wide = (int)columns(text, len);
        if (!first && column + 1 + wide > width) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
            first = true;
        }
        fprintf(out, "%s%.*s", first ? "" : " ", (int)len, text);
        column += wide + !first;
        first = false;
        text += len;
    }
}

void cli_wrap(FILE *out, const char *text, int indent, int width, int column)
{
    wrap_paragraph(out, text, text + strlen(text), indent, width, column);
    fputc('\n', out);
}

/* A section's text: paragraphs are wrapped, lines that begin with a blank stay. */
static void print_text(FILE *out, const char *text, int indent)
{
    while (*text) {
        const char *end = strchrnul(text, '\n');

        if (*text == '\n') {
            fputc('\n', out);
        } else if (*text == ' ') {
            fprintf(out, "%*s%.*s\n", indent, "", (int)(end - text), text);
        } else {
            while (*end && end[1] && end[1] != '\n' && end[1] != ' ')
                end = strchrnul(end + 1, '\n');
            fprintf(out, "%*s", indent, "");
            wrap_paragraph(out, text, end, indent, HELP_COLUMNS, indent);
            fputc('\n', out);
        }
        text = *end ? end + 1 : end;
    }
}

/* --- options --- */

void cli_option_left(char *out, size_t size, const struct cli_option *o)
{
    char letter[8] = "    ";

    if (o->letter)
        snprintf(letter, sizeof(letter), "-%c, ", o->letter);
    snprintf(out, size, "%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
}

void cli_option_text(struct buf *out, const struct cli_option *o)
{
    (void)!buf_puts(out, o->help, NULL);
    for (size_t i = 0; o->words && o->words[i]; i++)
        (void)!buf_printf(out, NULL, "%s%s",
                          i == 0            ? ": "
                          : o->words[i + 1] ? ", "
                                            : " or ",
                          o->words[i]);
    if (o->repeats)
        (void)!buf_puts(out, "; may be given several times", NULL);
    if (o->def)
        (void)!buf_printf(out, NULL, " (default: %s)", o->def);
}

static int left_width(const struct verb *v)
{
    char left[OPTION_SIZE];
    int widest = (int)strlen("-h, --help");

    for (const struct cli_option *o = cli_options(v); o->name; o++) {
        int len;

        cli_option_left(left, sizeof(left), o);
        len = (int)strlen(left);
        if (len > widest && len <= LEFT_MAX)
            widest = len;
    }
    return widest;
}

static void print_option(FILE *out, const struct cli_option *o, int width)
{
    AUTO_BUF struct buf text = {0};
    char left[OPTION_SIZE];

    cli_option_left(left, sizeof(left), o);
    cli_option_text(&text, o);
    fprintf(out, "  %-*s", width, left);
    if ((int)strlen(left) > width)
        fprintf(out, "\n  %*s", width, "");
    fputs("  ", out);
    cli_wrap(out, buf_cstr(&text) ? buf_cstr(&text) : "", width + 4, HELP_COLUMNS, width + 4);
}

const struct cli_option cli_option_help = {.name = "help", .letter = 'h', .help = "this text"};

static void print_options(const struct verb *v, FILE *out)
{
    int width = left_width(v);

    fputs("\nOptions:\n", out);
    for (const struct cli_option *o = cli_options(v); o->name; o++)
        print_option(out, o, width);
    print_option(out, &cli_option_help, width);
}

/* --- exit statuses --- */

static const struct {
    enum err_code code;
    const char *text;
} exits[] = {
    {ERR_NONE, "fine"},
    {ERR_USAGE, "the command line is wrong: nothing was done"},
    {ERR_INVALID, "malformed input: a file, a manifest, a module"},
    {ERR_NOT_FOUND, "no such guest, file or folder"},
    {ERR_EXISTS, "already there, or held by somebody else"},
    {ERR_DENIED, "not permitted: by the system, the API server or the daemon"},
    {ERR_LIMIT, "a stated maximum was reached; the message names it"},
    {ERR_NOMEM, "no memory"},
    {ERR_IO, "a disk or a file failed"},
    {ERR_NET, "the daemon or the API server cannot be reached, or answers nonsense"},
    {ERR_TIMEOUT, "no answer in time"},
    {ERR_AGAIN, "not now: try later"},
    {ERR_GONE, "what was asked for is no longer there"},
    {ERR_CORRUPT, "a checksum or an identity does not match"},
    {ERR_TRAP, "a guest trapped"},
    {ERR_UNSUPPORTED, "this version cannot do that"},
};

const char *cli_exit_text(enum err_code code)
{
    for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++)
        if (exits[i].code == code)
            return exits[i].text;
    return NULL;
}

static void print_exits(const struct verb *v, FILE *out)
{
    fputs("\nExit status:\n", out);
    fprintf(out, "  %-3d %s\n  %-3d %s\n", 0, cli_exit_text(ERR_NONE), err_exit_status(ERR_USAGE),
            cli_exit_text(ERR_USAGE));
    for (size_t i = 0; v->exits && v->exits[i]; i++)
        fprintf(out, "  %-3d %s\n", err_exit_status(v->exits[i]), cli_exit_text(v->exits[i]));
}

/* --- the whole --- */

void cli_verb_help(const struct verb *v, FILE *out)
{
    print_text(out, v->about, 0);
    for (size_t i = 0; v->synopsis[i]; i++)
        fprintf(out, "%s roost %s%s%s\n", i ? "      " : "\nUsage:", v->name,
                *v->synopsis[i] ? " " : "", v->synopsis[i]);
    print_options(v, out);
    for (size_t i = 0; v->sections && v->sections[i].title; i++) {
        fprintf(out, "\n%s:\n", v->sections[i].title);
        print_text(out, v->sections[i].text, 2);
    }
    fputs("\nExamples:\n", out);
    for (size_t i = 0; v->examples[i].command; i++)
        fprintf(out, "  # %s\n  %s\n", v->examples[i].what, v->examples[i].command);
    print_exits(v, out);
    for (size_t i = 0; v->see && v->see[i]; i++)
        fprintf(out, "%s roost %s%s", i ? "," : "\nSee also:", v->see[i],
                v->see[i + 1] ? "" : "\n");
}

void cli_help(FILE *out)
{
    fputs("Runs Kubernetes operators as WebAssembly guests that sleep until something\n"
          "happens.\n"
          "\n"
          "Usage: roost [--state DIR | --server URL] COMMAND [options]\n"
          "\n"
          "Commands:\n",
          out);
    for (size_t i = 0; cli_verbs[i]; i++)
        if (!cli_verbs[i]->hidden)
            fprintf(out, "  %-10s  %s\n", cli_verbs[i]->name, cli_verbs[i]->brief);
    fprintf(out, "  %-10s  %s\n", "help", "this text, or that of a command");
    fputs("\n"
          "Options:\n"
          "  --state DIR  the daemon's state directory (default: $ROOST_STATE, else\n"
          "               /var/lib/roost)\n"
          "  --server URL, --token-file FILE, --ca-file FILE\n"
          "               a daemon elsewhere, https://HOST:PORT (its admin.listen), with its\n"
          "               token and whom to trust; or unix:PATH (its admin.socket). Else\n"
          "               $ROOST_SERVER, $ROOST_TOKEN_FILE, $ROOST_CA_FILE\n"
          "  --version    the same as `roost version --client`\n"
          "  -h, --help   this text; after a command, that of the command\n"
          "\n"
          "Examples:\n"
          "  # the daemon, with the guests of a folder\n"
          "  roost serve --guests guests/ --state ./state\n"
          "  # what its guests do\n"
          "  roost get guests --state ./state\n"
          "  # all of a command\n"
          "  roost help serve\n"
          "\n"
          "Exit status: 0 fine, 2 wrong usage, 4 not found, 10 the daemon cannot be reached;\n"
          "`man roost` and docs/reference/README.md have them all.\n",
          out);
}
