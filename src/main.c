/* The program: all that it does is a verb (src/cli/verbs.c). */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return cli_run(argc, argv);
}
