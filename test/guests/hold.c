/* Holds calls open: as many as it may, none of which is answered or whose body ends, and waits for
 * ever, to be cut by limits.time. */
#include "bad.h"

ROOST_HANDLE
{
    static const char target[] = "kube:/api/v1/namespaces/test/configmaps/hang";
    int h[16];

    if (spared())
        return 0;
    for (int i = 0; i < 16; i++)
        h[i] = roost_abi_call("POST", 4, target, sizeof(target) - 1, NULL, 0, "x", 1,
                              i & 1 ? ROOST_MORE : 0);
    return roost_abi_wait(h, 1, -1); /* the first was not refused */
}
