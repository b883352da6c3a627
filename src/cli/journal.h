/* What logs and events have in common: the options that say which lines of whom, and the target
 * that they make. */
#ifndef ROOST_CLI_JOURNAL_H
#define ROOST_CLI_JOURNAL_H

#include "cli/cli.h"

#define JOURNAL_OPTIONS(def_tail)                                                                  \
    {.name = "follow", .letter = 'f', .help = "go on with what comes, until Ctrl-C"},              \
        {.name = "since",                                                                          \
         .arg = "TIME",                                                                            \
         .help = "only what is newer: a duration such as 5m, or a time such as "                   \
                 "2026-01-31T12:00:00Z"},                                                          \
        {.name = "tail", .arg = "N", .help = "only the last so many", .def = (def_tail)},          \
    {                                                                                              \
        .name = "namespace", .letter = 'n', .arg = "NAME", .what = CLI_SPACE,                      \
        .help = "only of guests of this namespace; of a name without one it is default"            \
    }

/* The target at path for the verb's line: [guest] [NAME | NAMESPACE/NAME] and JOURNAL_OPTIONS.
 * ERR_USAGE. */
int journal_target(struct buf *out, const char *path, const struct cli_line *line, struct err *err)
    ERR_CHECK;
/* Where the line names a guest: is there one? Nothing to show is else no error. ERR_NOT_FOUND. */
int journal_check(const struct cli_line *line, struct err *err) ERR_CHECK;

#endif
