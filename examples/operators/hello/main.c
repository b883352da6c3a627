/* The smallest operator: says hello to each object that changes, and counts them.
 *
 * The count is a static variable. Nothing saves it: it is still there after the guest has slept on
 * disk and after the daemon was restarted.
 */
#include <roost.h>

ROOST_HANDLE
{
    static unsigned count;
    char key[512], uid[64];

    if (roost_event("key", key, sizeof(key)) < 0)
        return roost_fail("the event has no key");
    count++;
    if (roost_event("uid", uid, sizeof(uid)) < 0)
        roost_info("goodbye ", key, ", number ", ROOST_DEC(count));
    else
        roost_info("hello ", key, ", number ", ROOST_DEC(count));
    return 0;
}
