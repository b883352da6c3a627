/* Every option of the daemon, in one table: what it is called in the configuration file and on the
 * command line, what it may be, and what it means.
 *
 * From the table come the parser of the file, the options of `roost serve`, the text of its
 * --help, what --check-config prints, docs/config.md and deploy/roost.yaml. What is set later wins:
 * default, file, environment, command line. A value is text everywhere until options_set, so a
 * range is checked in one place whatever it came from.
 *
 * Any thread; a struct daemon_opts belongs to one at a time.
 */
#ifndef ROOST_SERVE_OPTIONS_H
#define ROOST_SERVE_OPTIONS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_MAX 48 /* rows of the table */

/* Where a value comes from, the weakest first. */
enum option_from { OPTION_DEFAULT, OPTION_FILE, OPTION_ENVIRONMENT, OPTION_FLAG };

/* What the daemon runs with. Texts are its own or NULL. */
struct daemon_opts {
    char *guests_dir; /* manifests; NULL: none */
    char *state_dir;
    bool kubernetes;         /* false: guests with watches stay held */
    char *kubeconfig;        /* NULL: $KUBECONFIG, ~/.kube/config */
    char *context;           /* NULL: the kubeconfig's current one */
    uint64_t workers;        /* 0: one for each core */
    uint64_t io_threads;     /* never 0 */
    uint64_t memory_bytes;   /* of all awake guests; 0: what the control group's limit leaves */
    uint64_t sleep_after_ns; /* for guests whose manifest does not say */
    bool never_sleep;        /* for comparison: as if each guest said sleep: {mode: never} */
    bool metrics_without_names;
    uint64_t log_level;  /* an enum log_level */
    uint64_t log_format; /* the place in option_log_formats */
    struct {
        char *socket;  /* NULL: admin.sock in state_dir */
        char *group;   /* whose members may use the socket; NULL: only the daemon's user */
        uint64_t mode; /* the place in option_admin_modes */
        char *listen;  /* ADDRESS:PORT; NULL: no TCP */
        char *cert_file, *key_file, *token_file;
    } admin;
    struct option_origin {
        enum option_from from;
        unsigned line;     /* of the file */
    } origin[OPTIONS_MAX]; /* of each row */
};

extern const char *const option_log_formats[]; /* "auto", "text", "json", NULL */

/* "auto", "0600", "0660", NULL; auto is 0660 where there is a group. */
extern const char *const option_admin_modes[];

enum option_type {
    OPTION_TEXT,
    OPTION_PATH, /* in a file relative to the file's folder */
    OPTION_BOOL,
    OPTION_COUNT,
    OPTION_BYTES,
    OPTION_DURATION,
    OPTION_WORD, /* its place in words */
};

struct option_def {
    const char *path;     /* in the file: "sleep.after" */
    const char *flag;     /* on the command line, without "--"; NULL: only in the file */
    const char *argument; /* what --help calls the flag's value; NULL: it has none, it sets ... */
    const char *implied;  /* ... this */
    enum option_type type;
    size_t at;             /* offset in struct daemon_opts */
    const char *initial;   /* as it would be written; NULL: not set, ... */
    const char *initially; /* ... which means this */
    uint64_t min, max;     /* of numbers; of text the bytes */
    const char *const *words;
    bool reload;          /* SIGHUP changes it */
    const char *example;  /* in deploy/roost.yaml, where it has no initial value */
    const char *doc;      /* a sentence or more, without the last full stop */
    const char *flag_doc; /* of a flag without a value */
};

/* The table; *n rows. Rows whose paths have a folder in common are neighbours. */
const struct option_def *options_table(size_t *n);
/* NULL: there is no such option. */
const struct option_def *options_find(const char *path);

/* Sets all to their defaults. o is zero, or was freed. ERR_NOMEM. */
int options_init(struct daemon_opts *o, struct err *err) ERR_CHECK;
/* NULL is fine. */
void options_free(struct daemon_opts *o);
/* Sets one from text; the old value is freed. The message has neither name nor place: "128: must be
 * from 1 to 64". ERR_INVALID, ERR_LIMIT, ERR_NOMEM: o is as it was. */
int options_set(struct daemon_opts *o, const struct option_def *def, const char *text,
                enum option_from from, unsigned line, struct err *err) ERR_CHECK;
/* Appends the value as it is written in a file, quoted where needed. False: it is not set.
 * -1: no memory. */
int options_format(struct buf *out, const struct daemon_opts *o, const struct option_def *def,
                   bool *set, struct err *err) ERR_CHECK;
bool options_same(const struct daemon_opts *a, const struct daemon_opts *b,
                  const struct option_def *def);

/* Exchanges the values of one option, and where they come from. */
void options_swap(struct daemon_opts *a, struct daemon_opts *b, const struct option_def *def);

/* --- options_file.c --- */

/* Reads a configuration file over what o has: a YAML document with apiVersion and kind. On an error
 * some options may be set. Errors read "FILE:LINE:COLUMN: what", with the way out.
 * ERR_NOT_FOUND, ERR_DENIED, ERR_IO: it cannot be read; ERR_INVALID; ERR_LIMIT: out of range, or
 * more than OPTIONS_FILE_BYTES_MAX; ERR_NOMEM. */
int options_read(struct daemon_opts *o, const char *path, struct err *err) ERR_CHECK;
/* Appends all of them as a file that options_read takes, with where each comes from; file is the
 * name in those remarks, NULL: none was read. */
int options_print(struct buf *out, const struct daemon_opts *o, const char *file, struct err *err)
    ERR_CHECK;

/* What does not go together, after all were set. ERR_INVALID, with what to do. */
int options_check(const struct daemon_opts *o, struct err *err) ERR_CHECK;

/* --- all sources together --- */

struct options_source {
    const char *file;               /* NULL: none */
    const char *flags[OPTIONS_MAX]; /* of each row, what the command line says; NULL: nothing */
};

/* Defaults, then the file, the environment and the flags; then options_check. All is borrowed until
 * return. On an error *out is freed. Errors are those of options_read, and ERR_USAGE where a flag
 * is wrong. */
int options_load(struct daemon_opts *out, const struct options_source *source, struct err *err)
    ERR_CHECK;

#define OPTIONS_API_VERSION "roost.dev/v1alpha1"
#define OPTIONS_KIND        "RoostConfiguration"

#endif
