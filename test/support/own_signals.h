/* The engine's signal handlers, kept from cmocka, which puts its own over them around each test and
 * each setup: traps of guests and faults in mapped snapshots arrive as signals.
 *
 * Call signals_own after each rig_open (or engine_new) in a test: the first call notes what is
 * there then, each later one puts it back.
 */
#ifndef ROOST_TEST_OWN_SIGNALS_H
#define ROOST_TEST_OWN_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

static inline void signals_own(void)
{
    static const int signals[] = {SIGILL, SIGSEGV, SIGFPE, SIGBUS};
    static struct sigaction kept[4];
    static bool noted;

    for (size_t i = 0; i < 4; i++)
        sigaction(signals[i], noted ? &kept[i] : NULL, noted ? NULL : &kept[i]);
    noted = true;
}

#endif
