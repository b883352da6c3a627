#include "guest/budget.h"

#include "base/limits.h"
#include "guest/guest.h"
#include "guest/worker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* --- what a guest needs --- */

/* One that never sleeps is not counted: nobody could ever have its place. */
static struct charge need_of(const struct guest *g)
{
    uint64_t pages = g->snapshot ? g->snapshot->memory_pages
                                 : (g->spec->limits.memory_bytes + PAGE_BYTES - 1) / PAGE_BYTES;
    uint32_t maps = AWAKE_MAPS;

    if (!guest_sleeps(g))
        return (struct charge){.maps = 1};
    for (uint32_t i = 0; g->snapshot && i < g->snapshot->nruns; i++)
        if (snapshot_runs(g->snapshot)[i].count > RESTORE_READ_PAGES_MAX)
            maps += 2;
    return (struct charge){.pages = (uint32_t)pages + AWAKE_PAGES, .maps = (uint16_t)maps};
}

/* Enough has begun that is not done: by the disk, by the workers. */
static bool is_behind(const struct guests *all)
{
    size_t coming = 0;

    for (size_t i = 0; i < all->nworkers; i++)
        coming += worker_unbegun(all->workers[i]);
    return coming >= BUDGET_COMING_MAX || all->stats.by_state[G_SAVING] >= BUDGET_SAVING_MAX;
}

static bool fits(const struct guests *all, const struct charge *need)
{
    const struct budget *b = &all->budget;

    if (b->pages == 0)
        return true;
    if (is_behind(all))
        return false;
    if (need->pages == 0)
        return true;
    return (!b->pages_max || b->pages + need->pages <= b->pages_max) &&
           (!b->maps_max || b->maps + need->maps <= b->maps_max);
}

/* --- the idle, by when they were used last --- */

static void idle_remove(struct budget *b, struct guest *g)
{
    struct awake *a = g->awake;

    if (!g->charge.idle)
        return;
    g->charge.idle = false;
    if (a->idle_older)
        a->idle_older->awake->idle_newer = a->idle_newer;
    else
        b->idle_oldest = a->idle_newer;
    if (a->idle_newer)
        a->idle_newer->awake->idle_older = a->idle_older;
    else
        b->idle_newest = a->idle_older;
    a->idle_older = a->idle_newer = NULL;
}

static void idle_add(struct budget *b, struct guest *g)
{
    assert(!g->charge.idle);
    g->charge.idle = true;
    g->awake->idle_older = b->idle_newest;
    g->awake->idle_newer = NULL;
    if (b->idle_newest)
        b->idle_newest->awake->idle_newer = g;
    else
        b->idle_oldest = g;
    b->idle_newest = g;
}

static bool over(uint64_t used, uint64_t leaving, uint64_t need, uint64_t max)
{
    return max && used - leaving + need > max;
}

/* Idle guests sleep until there will be room for need. */
static void make_room(struct budget *b, const struct charge *need)
{
    while (b->idle_oldest && (over(b->pages, b->leaving_pages, need->pages, b->pages_max) ||
                              over(b->maps, b->leaving_maps, need->maps, b->maps_max))) {
        struct guest *g = b->idle_oldest;

        idle_remove(b, g);
        g->charge.leaving = true;
        b->leaving_pages += g->charge.pages;
        b->leaving_maps += g->charge.maps;
        b->early++;
        guest_step(g, GE_SLEEP);
    }
}

/* --- those who wait --- */

static void wait_in_line(struct budget *b, struct guest *g)
{
    g->charge.waiting = true;
    g->charge.next_waiting = NULL;
    *b->waiting_tail = g;
    b->waiting_tail = &g->charge.next_waiting;
    b->nwaiting++;
    b->waited++;
}

static struct guest *first_in_line(struct budget *b)
{
    struct guest *g = b->waiting;

    b->waiting = g->charge.next_waiting;
    if (!b->waiting)
        b->waiting_tail = &b->waiting;
    b->nwaiting--;
    g->charge.waiting = false;
    return g;
}

static void let_in(struct guests *all)
{
    struct budget *b = &all->budget;
    struct charge need;

    b->pumping = true;
    while (b->waiting) {
        need = need_of(b->waiting);
        if (!fits(all, &need)) {
            make_room(b, &need);
            break;
        }
        guest_kick(first_in_line(b));
    }
    b->pumping = false;
}

static void again(struct timer *t);

/* In a turn of its own: what calls for this is in the middle of another guest's step. */
static void pump(struct msg *m)
{
    struct budget *b = container_of(m, struct budget, pump);
    struct guests *all = container_of(b, struct guests, budget);

    b->pump_posted = false;
    if (all->draining)
        return;
    let_in(all);
    b->again.fire = again;
    /* Who made room said so; but a worker does not say that it has begun. */
    if (b->waiting && !b->again.at &&
        loop_timer_set(all->opts.loop, &b->again, clock_now_ns() + BUDGET_AGAIN_NS, NULL) < 0)
        log_error("no memory for a timer: events wait until a guest sleeps");
}

static void pump_soon(struct guests *all)
{
    struct budget *b = &all->budget;

    if (!b->waiting || b->pump_posted || all->draining)
        return;
    b->pump_posted = true;
    b->pump.run = pump;
    loop_post(all->opts.loop, &b->pump);
}

static void again(struct timer *t)
{
    struct budget *b = container_of(t, struct budget, again);

    pump_soon(container_of(b, struct guests, budget));
}

bool budget_admit(struct guest *g)
{
    struct budget *b = &g->all->budget;
    struct charge need;

    if (g->state != G_COLD && g->state != G_ASLEEP)
        return true;
    if (g->charge.waiting)
        return false;
    need = need_of(g);
    if ((b->waiting && !b->pumping) || !fits(g->all, &need)) {
        wait_in_line(b, g);
        pump_soon(g->all);
        return false;
    }
    assert(g->charge.maps == 0);
    g->charge.pages = need.pages;
    g->charge.maps = need.maps;
    b->pages += need.pages;
    b->maps += need.maps;
    if (++b->awake > b->awake_max)
        b->awake_max = b->awake;
    return true;
}

/* --- those who are awake --- */

static void not_leaving(struct budget *b, struct guest *g)
{
    if (!g->charge.leaving)
        return;
    g->charge.leaving = false;
    b->leaving_pages -= g->charge.pages;
    b->leaving_maps -= g->charge.maps;
}

void budget_idle(struct guest *g)
{
    struct budget *b = &g->all->budget;
    uint32_t pages = (uint32_t)(instance_memory_bytes(g->awake->inst) / PAGE_BYTES) + AWAKE_PAGES;

    not_leaving(b, g);
    if (!guest_sleeps(g))
        return;
    b->pages += pages;
    b->pages -= g->charge.pages;
    g->charge.pages = pages;
    /* One that could not be saved just now is left alone until its time has come. */
    if (!g->save_delay_ns && !g->charge.idle)
        idle_add(b, g);
    pump_soon(g->all);
}

void budget_busy(struct guest *g)
{
    idle_remove(&g->all->budget, g);
}

void budget_release(struct guest *g)
{
    struct budget *b = &g->all->budget;

    if (!g->charge.maps)
        return;
    if (g->awake)
        idle_remove(b, g);
    not_leaving(b, g);
    b->pages -= g->charge.pages;
    b->maps -= g->charge.maps;
    b->awake--;
    g->charge.pages = 0;
    g->charge.maps = 0;
    pump_soon(g->all);
}

void budget_forget(struct guest *g)
{
    struct budget *b = &g->all->budget;
    struct guest **at = &b->waiting;

    if (!g->charge.waiting)
        return;
    while (*at != g)
        at = &(*at)->charge.next_waiting;
    *at = g->charge.next_waiting;
    if (b->waiting_tail == &g->charge.next_waiting)
        b->waiting_tail = at;
    b->nwaiting--;
    g->charge.waiting = false;
}

/* --- how much there is --- */

void budget_init(struct budget *b)
{
    b->waiting_tail = &b->waiting;
}

uint64_t budget_maps_default(void)
{
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    unsigned long long n = 0;
    char line[32];

    if (f && fgets(line, sizeof(line), f))
        n = strtoull(line, NULL, 10);
    if (f)
        fclose(f);
    if (n == 0)
        return 0;
    return n > 2 * BUDGET_MAPS_KEPT ? n - BUDGET_MAPS_KEPT : n / 2;
}

uint64_t budget_memory_default(uint64_t limit_bytes, size_t guests)
{
    uint64_t own = BUDGET_MEMORY_KEPT + guests * (uint64_t)BUDGET_GUEST_BYTES;
    uint64_t most = limit_bytes / 4 * 3;

    return most > own + MIB ? most - own : MIB;
}
