/* Computes for a while at its start (TURNS in the environment; 0: for ever) and hardly at all in an
 * event: the limit cpu counts both together.
 */
#include <roost.h>

#include <stdlib.h>

ROOST_START
{
    const char *text = getenv("TURNS");
    unsigned long turns = text ? strtoul(text, NULL, 10) : 0;
    volatile unsigned n = 0;

    for (unsigned long i = 0; !turns || i < turns; i++)
        n = n + 1;
}

ROOST_HANDLE
{
    return 0;
}
