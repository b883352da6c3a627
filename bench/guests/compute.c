/* The guest of the scaling benchmark: the number that an event's key begins with says how many
 * steps it computes, and then it is done. One page of data changes, and that of the stack.
 *
 * A step is a multiplication that waits for the one before it, so that an event takes the same time
 * on every core, whatever its caches hold. A key without a number: 1.
 */
#include <roost.h>

#include <stdlib.h>

static unsigned long long state = 1;

ROOST_HANDLE
{
    char key[64];
    unsigned long steps;

    if (roost_event("key", key, sizeof(key)) < 0)
        return 1;
    steps = strtoul(key, NULL, 10);
    for (unsigned long i = 0; i < steps; i++)
        state = state * 6364136223846793005u + 1442695040888963407u;
    return steps == 0;
}
