/* Asks to be called again: an event of the key NAME-MS is due again after MS milliseconds, three
 * times (COUNT in the environment), then no more. fail-…: fails, as often. Each key has a count of
 * its own in memory, which survives sleep.
 */
#include <roost.h>

#include <stdlib.h>
#include <string.h>

#define KEYS 64

static struct {
    char name[64];
    unsigned long tries;
} keys[KEYS];

static unsigned long *tries_of(const char *name)
{
    for (unsigned i = 0; i < KEYS; i++) {
        if (!keys[i].name[0])
            strncpy(keys[i].name, name, sizeof(keys[i].name) - 1);
        if (!strcmp(keys[i].name, name))
            return &keys[i].tries;
    }
    return NULL;
}

ROOST_HANDLE
{
    const char *text = getenv("COUNT"), *ms;
    unsigned long count = text ? strtoul(text, NULL, 10) : 3, *tries;
    char name[64];

    if (roost_event("name", name, sizeof(name)) < 0 || !(tries = tries_of(name)))
        return roost_fail("again: no name, or too many");
    if ((*tries)++ >= count)
        return 0;
    if (!strncmp(name, "fail-", 5))
        return roost_fail("again: as was asked for");
    ms = strrchr(name, '-');
    return ms ? roost_abi_set(0, "requeue-after", 13, ms + 1, strlen(ms + 1)) : 1;
}
