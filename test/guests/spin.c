/* Never returns: to be cut by limits.cpu. */
#include "bad.h"

ROOST_HANDLE
{
    volatile unsigned n = 0;

    if (spared())
        return 0;
    for (;;)
        n = n + 1;
}
