/* The table of a guest's states: every cell is what docs/architecture.md says, and every state can
 * reach GONE. */
#include "guest/guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* 0 is an empty cell: the event cannot happen there. Columns in the order of enum guest_event. */
static const enum guest_state expected[GUEST_STATES][GUEST_EVENTS] = {
    /*               WAKE        DONE        SLEPT     TRAP      CORRUPT  NO_ROOM   SLEEP
     *               SAVED     KEPT        RETRY   REVIVE    RESUME    STOP   WOKEN   RENEW */
    [G_COLD] = {0, G_RUNNING, 0, 0, 0, 0, 0, G_COLD, 0, 0, 0, 0, G_ASLEEP, G_GONE, 0, G_COLD},
    [G_ASLEEP] = {0, G_RUNNING, 0, 0, 0, 0, 0, G_ASLEEP, 0, 0, 0, 0, 0, G_GONE, 0, G_COLD},
    [G_RUNNING] = {0, G_RUNNING, G_IDLE, G_ASLEEP, G_FAILED, G_COLD, G_FAILED, G_RUNNING, 0, G_IDLE,
                   0, 0, 0, G_STOPPING, G_IDLE, 0},
    [G_IDLE] = {0, G_RUNNING, 0, 0, 0, 0, 0, G_SAVING, 0, 0, 0, 0, 0, G_STOPPING, 0, 0},
    [G_SAVING] = {0, G_SAVING, 0, 0, 0, G_COLD, 0, G_SAVING, G_ASLEEP, G_IDLE, 0, 0, 0, G_STOPPING,
                  0, 0},
    [G_FAILED] = {0, G_FAILED, 0, 0, 0, 0, 0, G_FAILED, 0, 0, G_COLD, G_ASLEEP, 0, G_GONE, 0,
                  G_COLD},
    [G_STOPPING] = {0, G_STOPPING, G_STOPPING, G_GONE, G_GONE, G_GONE, G_GONE, G_STOPPING, G_GONE,
                    G_STOPPING, 0, 0, 0, G_STOPPING, G_STOPPING, 0},
    [G_GONE] = {0, G_GONE, 0, 0, 0, 0, 0, G_GONE, 0, 0, 0, 0, 0, G_GONE, 0, 0},
};

static void test_every_cell(void **state)
{
    (void)state;
    for (int s = G_COLD; s < GUEST_STATES; s++)
        for (int e = GE_WAKE; e < GUEST_EVENTS; e++)
            if (guest_next_state((enum guest_state)s, (enum guest_event)e) != expected[s][e])
                fail_msg("state %s, event %d", guest_state_name((enum guest_state)s), e);
}

static void test_every_state_can_end(void **state)
{
    bool ends[GUEST_STATES] = {[G_GONE] = true};
    size_t found = 1;

    (void)state;
    for (int round = 0; round < GUEST_STATES; round++)
        for (int s = G_COLD; s < GUEST_STATES; s++)
            for (int e = GE_WAKE; e < GUEST_EVENTS && !ends[s]; e++)
                if (ends[guest_next_state((enum guest_state)s, (enum guest_event)e)]) {
                    ends[s] = true;
                    found++;
                }
    assert_int_equal(found, GUEST_STATES - G_COLD);
}

/* Whatever thread may still send its event must find a cell: nothing that comes late is a bug. */
static void test_late_wakes_and_stops_are_no_bugs(void **state)
{
    (void)state;
    for (int s = G_COLD; s < GUEST_STATES; s++) {
        assert_int_not_equal(guest_next_state((enum guest_state)s, GE_WAKE), 0);
        assert_int_not_equal(guest_next_state((enum guest_state)s, GE_SLEEP), 0);
        assert_int_not_equal(guest_next_state((enum guest_state)s, GE_STOP), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell),
        cmocka_unit_test(test_every_state_can_end),
        cmocka_unit_test(test_late_wakes_and_stops_are_no_bugs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
