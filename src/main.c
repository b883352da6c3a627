/* The table of verbs. A new one is a file src/cli/verb_NAME.c, its prototype in cli.h, and a row
 * here. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    static const struct verb verbs[] = {
        {"serve", "run the daemon", verb_serve},
        {"get", "show guests in a table", verb_get},
        {"describe", "show all of one guest", verb_describe},
        {"inspect", "show what a module is", verb_inspect},
        {"version", "show the versions of client and daemon", verb_version},
    };

    return cli_run(verbs, sizeof(verbs) / sizeof(verbs[0]), argc, argv);
}
