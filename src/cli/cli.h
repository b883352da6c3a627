/* The command line: each verb is one file, src/cli/verb_NAME.c, that defines one `struct verb`: its
 * documentation, its options and the function that runs it; and a row in verbs.c.
 *
 * That struct is the only source of what people read and of what is parsed: `--help` (help.c), the
 * manual pages and docs/reference (reference.c), the completions of shells (completion.c) and the
 * parser (line.c) all walk it, so that they cannot differ.
 *
 * A verb gets its parsed line, writes its result to stdout and returns 0, or -1 with err, which
 * cli_run prints in one line; the exit status is err_exit_status's. Everything that comes from the
 * daemon passes text_clean before it reaches a terminal.
 */
#ifndef ROOST_CLI_CLI_H
#define ROOST_CLI_CLI_H

#include "base/buf.h"
#include "base/err.h"
#include "base/http1.h"
#include "base/limits.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CLI_NAME_SIZE 256 /* of a namespace or a name, with its NUL */

/* --- what a verb is --- */

/* What a value or an argument is, for completion. */
enum cli_what {
    CLI_ANYTHING,
    CLI_FILE,
    CLI_DIR,
    CLI_MODULE, /* a file, *.wasm */
    CLI_GUEST,  /* NAMESPACE/NAME of a guest that the daemon has */
    CLI_SPACE,  /* a namespace that has guests */
    CLI_COMMAND,
};

struct cli_option {
    const char *name;         /* without its two dashes */
    char letter;              /* 0: none */
    const char *arg;          /* what its value is called: "DIR"; NULL: it takes none */
    const char *help;         /* lower case, no full stop at the end; wrapped where it is shown */
    const char *def;          /* the value that holds where it is not given, as shown; NULL: none */
    const char *const *words; /* the only values that are taken, up to NULL; NULL: any */
    enum cli_what what;
    bool repeats; /* it may be given several times, and each counts; else the last does */
};

struct cli_example {
    const char *what, *command; /* "the guests of a namespace"; "roost get guests -n ring-0" */
};

/* A part of the manual with a title of its own. Lines that begin with a blank stay as they are;
 * others are one paragraph up to an empty line. `words` in backquotes are literal. */
struct cli_section {
    const char *title, *text;
};

struct cli_line;

struct verb {
    const char *name;
    const char *brief;                /* one line, lower case */
    const char *about;                /* as a section's text */
    const char *const *synopsis;      /* what follows `roost NAME`, a line each, up to NULL */
    const struct cli_option *options; /* up to a name of NULL; --help is everybody's */
    const struct cli_option *(*options_of)(void); /* the same, where another table has them */
    const struct cli_section *sections;           /* up to a title of NULL; NULL: none */
    const struct cli_example *examples;           /* up to a command of NULL; at least one */
    const enum err_code *exits;                   /* beside 0 and usage, up to ERR_NONE */
    const char *const *see;                       /* verbs, up to NULL */
    enum cli_what args;                           /* what its arguments are */
    const char *const *arg_words; /* words that may be the first of them; NULL: none */
    bool hidden;                  /* not listed */
    int (*run)(const struct cli_line *line, struct err *err);
};

/* All of them, up to NULL, in the order in which they are listed. */
extern const struct verb *const cli_verbs[];

extern const struct verb verb_apply, verb_compile, verb_completion, verb_delete, verb_describe,
    verb_events, verb_get, verb_inspect, verb_logs, verb_new, verb_reference, verb_serve,
    verb_sleep, verb_top, verb_version, verb_wake;

/* Options that several verbs have, alike. */
#define CLI_OPTION_STATE                                                                           \
    {                                                                                              \
        .name = "state", .arg = "DIR", .what = CLI_DIR, .help = "the daemon's state directory",    \
        .def = "$ROOST_STATE, else /var/lib/roost"                                                 \
    }
#define CLI_OPTION_OUTPUT(list)                                                                    \
    {                                                                                              \
        .name = "output", .letter = 'o', .arg = "FORMAT", .help = "how to print it",               \
        .words = (list), .def = "table"                                                            \
    }
#define CLI_OPTION_SELECTOR                                                                        \
    {                                                                                              \
        .name = "selector", .letter = 'l', .arg = "LABELS",                                        \
        .help = "only guests with these labels: a=b, a!=b, a, !a, a in (b,c), with commas between" \
    }
#define CLI_OPTION_ALL_NAMESPACES                                                                  \
    {                                                                                              \
        .name = "all-namespaces", .letter = 'A', .help = "of all namespaces"                       \
    }
/* How a verb is told which guests to act on; cli_choose reads it. */
#define CLI_OPTIONS_CHOICE                                                                         \
    CLI_OPTION_SELECTOR, {.name = "all", .help = "all guests of the namespace, or with -A all"},   \
        {.name = "namespace",                                                                      \
         .letter = 'n',                                                                            \
         .arg = "NAME",                                                                            \
         .what = CLI_SPACE,                                                                        \
         .help = "their namespace; of names without one it is default"},                           \
        CLI_OPTION_ALL_NAMESPACES
extern const char *const cli_formats_list[]; /* table, wide, json, yaml, name */
extern const char *const cli_formats_one[];  /* table, json, yaml */

/* Finds the verb, parses its line and runs it; `help` and the global options are handled here.
 * Prints the error. Returns the exit status. */
int cli_run(int argc, char **argv);
/* A verb's options, up to a name of NULL. */
const struct cli_option *cli_options(const struct verb *v);
/* NULL: no such verb. */
const struct verb *cli_find_verb(const char *name);

/* --- a parsed line --- */

struct cli_given {
    const struct cli_option *option;
    const char *value; /* "" where it takes none */
};

struct cli_line {
    const struct verb *verb;
    struct cli_given *given; /* in the order of the line */
    size_t ngiven;
    bool helped; /* --help */
    int nargs;   /* what is no option */
    char **args;
};

/* Reads the verb's options, wherever among the arguments they are; argv[0] is the verb's name and
 * argv is permuted and borrowed. Free with cli_line_free, also after an error.
 * ERR_USAGE: an unknown option (with the nearest), a value that is missing, empty or not one of its
 * words. */
int cli_line_read(struct cli_line *out, const struct verb *verb, int argc, char **argv,
                  struct err *err) ERR_CHECK;
void cli_line_free(struct cli_line *line);
/* The option's last value; NULL: it was not given. The verb must have an option of that name. */
const char *cli_value(const struct cli_line *line, const char *option);
/* Its n-th value, from 0; NULL: there is none. */
const char *cli_value_at(const struct cli_line *line, const char *option, size_t n);
bool cli_flag(const struct cli_line *line, const char *option);

enum cli_output { OUTPUT_TABLE, OUTPUT_WIDE, OUTPUT_JSON, OUTPUT_YAML, OUTPUT_NAME };
/* Of --output. */
enum cli_output cli_output(const struct cli_line *line);
/* The state directory: --state, else $ROOST_STATE, else /var/lib/roost. */
const char *cli_state(const struct cli_line *line);

/* Where the daemon is asked: the socket of its state directory, or what --server says, which is
 * ROOST_SERVER, with ROOST_TOKEN_FILE and ROOST_CA_FILE: https://HOST:PORT or unix:PATH. */
struct cli_way {
    const char *shown; /* in messages; path, or the address */
    char path[4096];
    struct http1_remote remote;
    bool over_tls;
    char host[256], port[8], token[ADMIN_TOKEN_MAX + 1];
    struct buf ca;
};
#define AUTO_WAY __attribute__((cleanup(cli_way_free)))
/* Sets what the question needs; way outlives it. Freed by cli_way_free, also after an error.
 * ERR_USAGE: the address, or no token; ERR_INVALID: the token; errors of file_read. */
int cli_way_open(struct cli_way *way, const char *state, struct http1_question *question,
                 struct err *err) ERR_CHECK;
void cli_way_free(struct cli_way *way);

/* A namespace and a name; each may be empty: any. */
struct cli_id {
    char namespace_[CLI_NAME_SIZE], name[CLI_NAME_SIZE];
};

/* "NAMESPACE/NAME" into its parts; without a slash the namespace is empty.
 * ERR_USAGE: malformed or too long. */
int cli_split_name(const char *text, struct cli_id *out, struct err *err) ERR_CHECK;
/* The same for the guest that a verb is about, with -n (empty where the verb has none or it was not
 * given). ERR_USAGE: also where both name a namespace, and not the same. */
int cli_guest_id(const struct cli_line *line, const char *text, struct cli_id *out, struct err *err)
    ERR_CHECK;
/* As above, and fit for a path: a namespace that nobody named is `default`. */
int cli_one_guest(const struct cli_line *line, const char *text, struct cli_id *out,
                  struct err *err) ERR_CHECK;
/* cli_split_name of a name that is fit for a path. */
int cli_path_id(const char *text, struct cli_id *out, struct err *err) ERR_CHECK;
/* True for "guest" and "guests", which may stand before a name, as in kubectl. */
bool cli_is_kind(const char *word);

/* --- what is made of the documentation --- */

/* The whole program's help, and a verb's. */
void cli_help(FILE *out);
void cli_verb_help(const struct verb *v, FILE *out);
/* The manual page in troff, and the page of docs/reference: of a verb, or with NULL the program's
 * own, which names all verbs and exit statuses. */
void cli_man(const struct verb *v, FILE *out);
void cli_markdown(const struct verb *v, FILE *out);
/* The completion of a shell: bash, zsh, fish. */
void cli_completion(const char *shell, FILE *out);
/* What an exit status means; NULL: the command line never ends with that code. */
const char *cli_exit_text(enum err_code code);
/* An option as it is written, "-n, --namespace NAME", and all that is said of it: its help, its
 * words, its default. */
void cli_option_left(char *out, size_t size, const struct cli_option *o);
void cli_option_text(struct buf *out, const struct cli_option *o);
/* --help, which every verb has. */
extern const struct cli_option cli_option_help;
/* Prints text wrapped to `width` columns, each line behind `indent` blanks; the first is taken to
 * have `column` columns already. */
void cli_wrap(FILE *out, const char *text, int indent, int width, int column);

/* --- the daemon --- */

struct cli_answer {
    int status;
    json_t *json; /* NULL: none; the caller's */
};

/* Asks the daemon at its socket. Any status is a success; timeout_ms 0: HTTP1_CLIENT_TIMEOUT_MS.
 * ERR_NET, ERR_DENIED, ERR_TIMEOUT: cannot reach it. */
int cli_ask(struct cli_answer *out, const char *state, const struct http1_question *question,
            unsigned timeout_ms, struct err *err) ERR_CHECK;
/* Sets err to what a status other than 200 and its problem+json say; returns -1. 400, 422:
 * ERR_INVALID; 403: ERR_DENIED; 404: ERR_NOT_FOUND; 409: ERR_EXISTS; 413: ERR_LIMIT; 429, 503:
 * ERR_AGAIN; others: ERR_NET. */
int cli_refused(const struct cli_answer *a, struct err *err);
/* GET target; *out is a new reference. Errors are those of both above. */
int cli_fetch(json_t **out, const char *state, const char *target, struct err *err) ERR_CHECK;
/* GET of a stream: each object as it comes, borrowed, until `each` returns false, the stream ends
 * or nobody reads stdout any more. ERR_AGAIN: the daemon cut it; ERR_NET: it broke. */
typedef bool cli_each(void *ctx, json_t *object);
int cli_follow(const char *state, const char *target, cli_each *each, void *ctx, struct err *err)
    ERR_CHECK;
/* Appends a parameter to a target, encoded. */
int cli_query(struct buf *target, const char *name, const char *value, struct err *err) ERR_CHECK;

/* Has roost-compile make the module's image; up to some seconds. *signum: SIGINT or SIGTERM came
 * meanwhile; nothing was left behind, and nothing is to be said. Errors are those of a compile. */
int cli_compile(const char *module, const uint8_t *digest, const char *image, int *signum,
                struct err *err) ERR_CHECK;

/* --- the guests that a verb acts on --- */

/* The target of a list: the namespace of id, the line's selector. */
int cli_guests_target(struct buf *out, const struct cli_line *line, const struct cli_id *id,
                      struct err *err) ERR_CHECK;
/* For verbs with CLI_OPTIONS_CHOICE: the names among the arguments, or all that -l, --all, -n and
 * -A leave. *out is the caller's, also after an error. ERR_USAGE: none or several of these ways. */
int cli_choose(struct cli_id **out, size_t *n, const struct cli_line *line, struct err *err)
    ERR_CHECK;
/* act on each, also after one failed, unless the daemon cannot be reached; all errors but the last
 * are printed, the last is returned. */
int cli_for_each(const struct cli_id *ids, size_t n,
                 int (*act)(void *ctx, const struct cli_id *id, struct err *err), void *ctx,
                 struct err *err) ERR_CHECK;
/* A request about one guest: /v1/guests/NAMESPACE/NAME, and action where it is not empty. Other
 * statuses than 200 are errors as in cli_refused, in words about the guest. out->json is the
 * caller's where it succeeds. */
int cli_act(struct cli_answer *out, const struct cli_line *line, enum http1_method method,
            const struct cli_id *id, const char *action, struct err *err) ERR_CHECK;

/* --- output --- */

struct cli_table;

/* The last column is not padded. headers are borrowed. */
int cli_table_new(struct cli_table **out, const char *const *headers, size_t ncols, struct err *err)
    ERR_CHECK;
/* Copies and cleans the cells; NULL is an empty one. */
int cli_table_row(struct cli_table *t, const char *const *cells, struct err *err) ERR_CHECK;
/* Prints the rows behind so many blanks, below the header where it is the first time, and forgets
 * them; widths are those of all rows so far. */
void cli_table_flush(struct cli_table *t, int indent, FILE *out);
size_t cli_table_rows(const struct cli_table *t);
void cli_table_free(struct cli_table *t);

/* A string of an object; "" where there is none. */
const char *cli_text(const json_t *object, const char *key);
uint64_t cli_count(const json_t *object, const char *key);
/* Seconds since the RFC 3339 time in object[key]; false: there is none. */
bool cli_seconds_since(const json_t *object, const char *key, int64_t now_s, uint64_t *seconds);

/* An object for people: a line for each field, "last error" for lastError, sizes and durations by
 * the name's end (Bytes, Ms, Ns), nested objects and lists indented; null and empty are left out.
 */
void cli_print_object(const json_t *object, FILE *out);
/* Indented JSON and a newline, or YAML. */
int cli_print_json(const json_t *value, FILE *out, struct err *err) ERR_CHECK;
int cli_print_yaml(const json_t *value, FILE *out, struct err *err) ERR_CHECK;
/* The one of the three that -o says. */
int cli_print(const json_t *value, enum cli_output output, FILE *out, struct err *err) ERR_CHECK;

/* The guests of `items` that match (an empty part of id: any), sorted by namespace and name with
 * numbers in order: a new array of borrowed objects. */
json_t *cli_select(const json_t *items, const struct cli_id *id);
/* Adds a row for a guest. */
int cli_guest_row(struct cli_table *t, const json_t *guest, bool wide, int64_t now_s,
                  struct err *err) ERR_CHECK;
int cli_guest_table(struct cli_table **out, bool wide, struct err *err) ERR_CHECK;

#endif
