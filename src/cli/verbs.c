/* The table of verbs. A new one is a file verb_NAME.c, its name in cli.h, and a row here. */
#include "cli/cli.h"

#include <string.h>

const struct verb *const cli_verbs[] = {
    &verb_serve,  &verb_apply,      &verb_delete,    &verb_get,     &verb_describe, &verb_logs,
    &verb_events, &verb_top,        &verb_sleep,     &verb_wake,    &verb_compile,  &verb_inspect,
    &verb_new,    &verb_completion, &verb_reference, &verb_version, NULL,
};

const struct verb *cli_find_verb(const char *name)
{
    for (size_t i = 0; cli_verbs[i]; i++)
        if (strcmp(cli_verbs[i]->name, name) == 0)
            return cli_verbs[i];
    return NULL;
}

const struct cli_option *cli_options(const struct verb *v)
{
    return v->options_of ? v->options_of() : v->options;
}
