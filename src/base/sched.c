/* Linux schedules by deadlines (EEVDF): who asks for a short slice has an earlier one, and is let
 * in when it wakes even if all processors compute. That may be asked for since Linux 6.12, without
 * any privilege; an older kernel ignores the slice of an ordinary thread.
 */
#include "base/sched.h"

#include "base/limits.h"

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As in linux/sched/types.h, which does not go together with sched.h. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

#define RESET_ON_FORK 1u

void sched_prompt(void)
{
    struct attributes a = {.size = sizeof(a), .policy = SCHED_OTHER};
    long rc = syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0);

    if (rc < 0 || a.policy != SCHED_OTHER)
        return;
    a.flags = RESET_ON_FORK;
    a.runtime = SCHED_PROMPT_NS;
    rc = syscall(SYS_sched_setattr, 0, &a, 0);
    (void)rc; /* a hint */
}
