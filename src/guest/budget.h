/* Room for guests that are awake: memory, and mappings, of which the kernel gives a process only so
 * many. Who is awake has a charge; who is to be woken and finds no room waits in line, in order of
 * arrival, and guests that are awake and idle sleep early, the one that was used longest ago first.
 * Nothing fails for want of room: events wait.
 *
 * The charge is an estimate. A guest that wakes is charged with the memory that it had when it went
 * to sleep, one that starts afresh with all that it may have; once its event is over, with what it
 * has. One guest always has room, however small the budget is. One that never sleeps is not
 * counted: nobody could have its place.
 *
 * Nor does anybody wake while many are still being saved, or on their way to a worker: it would be
 * no sooner for it, and their memory would be the larger. Loop thread.
 */
#ifndef ROOST_GUEST_BUDGET_H
#define ROOST_GUEST_BUDGET_H

#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest;
struct guests;

struct budget {
    uint64_t pages_max, maps_max;         /* 0: any number; of 4096 bytes, of mappings */
    uint64_t pages, maps;                 /* of all that are awake */
    uint64_t leaving_pages, leaving_maps; /* of those that sleep early, not gone yet */
    size_t awake, awake_max;              /* now, and the most so far */
    uint64_t waited;                      /* wakes that had to wait, so far */
    uint64_t early;                       /* sleeps that came early, so far */
    struct guest *waiting, **waiting_tail;
    size_t nwaiting;
    struct guest *idle_oldest, *idle_newest;
    struct timer again; /* while somebody waits */
    struct msg pump;
    bool pump_posted, pumping;
};

/* In each guest. */
struct charge {
    struct guest *next_waiting;
    uint32_t pages;
    uint16_t maps;
    bool waiting : 1, leaving : 1, idle : 1;
};

void budget_init(struct budget *b);
/* Before a guest that is not awake wakes: true, and it is charged; false, and it is kicked when
 * there is room. Any other state: true. */
bool budget_admit(struct guest *g);
/* It is awake and has nothing to do: it may be asked to sleep early. */
void budget_idle(struct guest *g);
/* It has something to do, or goes to sleep. */
void budget_busy(struct guest *g);
/* It is not awake any more. */
void budget_release(struct guest *g);
/* It waits for room no more: it goes, or is changed. */
void budget_forget(struct guest *g);

/* How many mappings this process may have awake guests use: vm.max_map_count, less what the daemon
 * itself needs. 0: it cannot be read. */
uint64_t budget_maps_default(void);
/* Of a memory limit of this process: what awake guests may have, with so many guests in all. */
uint64_t budget_memory_default(uint64_t limit_bytes, size_t guests);

#endif
