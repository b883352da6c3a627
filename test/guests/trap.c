/* Traps; two functions down, so that the backtrace has something to tell. A spared event says how
 * many events this memory has seen: a fresh start begins at 1 again. */
#include "bad.h"

static unsigned events;

__attribute__((noinline)) static void fall(void)
{
    __builtin_trap();
}

__attribute__((noinline)) static void stumble(void)
{
    fall();
}

ROOST_HANDLE
{
    events++;
    if (!spared())
        stumble();
    roost_info("events ", ROOST_DEC(events));
    return 0;
}
