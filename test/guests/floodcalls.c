/* Floods calls: starts them as fast as it can, each with a body, and keeps 512 of them open; for
 * ever, to be cut by limits.cpu. CALLS in the environment: so many, then done (0).
 */
#include "bad.h"

#include <stdlib.h>

static char body[65536];

ROOST_HANDLE
{
    static const char target[] = "kube:/api/v1/namespaces/test/configmaps";
    const char *text = getenv("CALLS");
    unsigned long most = text ? strtoul(text, NULL, 10) : 0;
    int first = 1;

    if (spared())
        return 0;
    for (unsigned long n = 0; !most || n < most; n++) {
        int h = roost_abi_call("POST", 4, target, sizeof(target) - 1, NULL, 0, body, sizeof(body),
                               n & 1 ? ROOST_MORE : 0);

        if (h < 0)
            return h;
        if (h - first == 512)
            (void)roost_abi_close(first++);
    }
    return 0;
}
