/* What the misbehaving guests share: a key whose name begins with "good" is spared, so that one
 * guest can show both that a bad event is cut and that the next one is handled.
 */
#ifndef TEST_GUESTS_BAD_H
#define TEST_GUESTS_BAD_H

#include <roost.h>

#include <string.h>

static inline bool spared(void)
{
    char name[5];
    int n = roost_abi_attr(0, "name", 4, name, 4);

    return n >= 4 && memcmp(name, "good", 4) == 0;
}

#endif
