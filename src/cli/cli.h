/* The command line: each verb is one file with one function, and a row in main.c's table.
 *
 * A verb gets its own arguments (argv[0] is its name), writes its result to stdout and returns 0,
 * or -1 with err, which cli_run prints in one line; the exit status is err_exit_status's.
 * Everything that comes from the daemon passes text_clean before it reaches a terminal.
 */
#ifndef ROOST_CLI_CLI_H
#define ROOST_CLI_CLI_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* --- verbs --- */

struct verb {
    const char *name;
    const char *help; /* one line */
    int (*run)(int argc, char **argv, struct err *err);
};

int verb_serve(int argc, char **argv, struct err *err);
int verb_get(int argc, char **argv, struct err *err);
int verb_describe(int argc, char **argv, struct err *err);
int verb_inspect(int argc, char **argv, struct err *err);
int verb_version(int argc, char **argv, struct err *err);

/* Finds the verb and runs it; `help` and the global options are handled here. Prints the error.
 * Returns the exit status. */
int cli_run(const struct verb *verbs, size_t n, int argc, char **argv);
/* `roost help [VERB]`. */
int cli_help(const struct verb *verbs, size_t n, int argc, char **argv, struct err *err);

/* --- options of the verbs that ask the daemon --- */

enum cli_output { OUTPUT_TABLE, OUTPUT_WIDE, OUTPUT_JSON, OUTPUT_NAME };

/* Bits: which options a verb has. --state and --help are everybody's. */
enum { CLI_NAMESPACE = 1, CLI_OUTPUT = 2, CLI_WATCH = 4, CLI_CLIENT = 8 };

struct cli_opts {
    const char *state;      /* --state, $ROOST_STATE or the default */
    const char *namespace_; /* NULL: all */
    enum cli_output output;
    bool watch, client;
    bool helped; /* --help was given, and help printed: the verb is done */
    int nargs;   /* what is no option */
    char **args;
};

/* Reads the verb's options; argv is permuted. help is printed for --help.
 * ERR_USAGE: unknown option (with the nearest), missing or bad value. */
int cli_options(struct cli_opts *out, int argc, char **argv, unsigned accepted, const char *help,
                struct err *err) ERR_CHECK;
/* For verbs with a getopt_long loop of their own, after it returned '?' or ':': sets err to what is
 * wrong with which option. opterr must be 0, the short options begin with ':'. Returns -1. */
struct option;
int cli_bad_option(char **argv, int got, const struct option *longs, struct err *err);
/* The state directory: given, else $ROOST_STATE, else /var/lib/roost. */
const char *cli_state(const char *given);

/* "NAMESPACE/NAME" into its parts, each of size bytes; without a slash the namespace is empty.
 * ERR_USAGE: malformed or too long. */
int cli_split_name(const char *text, char *namespace_, char *name, size_t size, struct err *err)
    ERR_CHECK;

/* --- the daemon --- */

/* GET target from the daemon's socket; *out is a new reference.
 * ERR_NET, ERR_DENIED, ERR_TIMEOUT: cannot reach it; ERR_NOT_FOUND: its 404. */
int cli_fetch(json_t **out, const char *state, const char *target, struct err *err) ERR_CHECK;

/* --- output --- */

struct cli_table;

/* The last column is not padded. headers are borrowed. */
int cli_table_new(struct cli_table **out, const char *const *headers, size_t ncols, struct err *err)
    ERR_CHECK;
/* Copies and cleans the cells; NULL is an empty one. */
int cli_table_row(struct cli_table *t, const char *const *cells, struct err *err) ERR_CHECK;
/* Prints the rows from `from` on behind so many blanks, with the header where from is 0; widths are
 * those of all rows. */
void cli_table_print(const struct cli_table *t, size_t from, int indent, FILE *out);
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
/* Indented JSON and a newline. */
int cli_print_json(const json_t *value, FILE *out, struct err *err) ERR_CHECK;

/* The guests of `items` that match (namespace_ NULL or name NULL: any), sorted by namespace and
 * name with numbers in order: a new array of borrowed objects. */
json_t *cli_select(const json_t *items, const char *namespace_, const char *name);
/* Those of `now` that are not in `before` just so: for --watch. A new array. */
json_t *cli_changed(const json_t *before, const json_t *now);
/* Adds a row for a guest. */
int cli_guest_row(struct cli_table *t, const json_t *guest, bool wide, int64_t now_s,
                  struct err *err) ERR_CHECK;
int cli_guest_table(struct cli_table **out, bool wide, struct err *err) ERR_CHECK;

#endif
