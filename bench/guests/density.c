/* The guest of the density benchmark: counts its events. Two pages of memory change, that of the
 * counter and that of the stack.
 */
#include <roost.h>

static unsigned count;

ROOST_HANDLE
{
    char key[512];

    if (roost_event("key", key, sizeof(key)) < 0)
        return 1;
    count++;
    return 0;
}
