/* The demo: what its parts share. demo.c does, demo_show.c shows. */
#ifndef ROOST_BENCH_DEMO_H
#define ROOST_BENCH_DEMO_H

#include "base/screen.h"
#include "result.h"
#include "ringkit.h"

#define DEMO_NOTES      6 /* the newest ones, on the display */
#define DEMO_NOTE_BYTES 256

enum demo_phase { DEMO_SET_UP, DEMO_START, DEMO_ROUNDS, DEMO_REST, DEMO_PHASES };

struct latency {
    double p50_us, p99_us;
};

/* What the daemon said last. */
struct demo_stats {
    unsigned guests, awake, asleep, cold;
    long long events, wakes, fresh_starts, failures, traps;
    double pss_mib;
    struct latency wake; /* the host's share: watch event read until the first request is written */
    struct latency event; /* waiting in the mailbox, waking, the handler with its API calls */
    struct latency sleep;
};

struct demo {
    struct ring ring;
    struct child child;
    struct screen screen;
    const char *kubeconfig, *dir;
    unsigned rounds, round; /* the one under way, from 1 */
    enum demo_phase phase;
    uint64_t began_ns, round_ns, mark_ns;
    long long mark_wakes;
    double wakes_per_s;
    struct demo_stats now, active; /* active: as the last round ended; its last handlers may run */
    struct demo_stats first;       /* when the counts began anew, after the first round */
    struct samples took;
    double active_pss_mib, idle_pss_mib, active_cgroup_mib, idle_cgroup_mib, idle_cgroup_rss_mib;
    bool child_ended;
    int child_status;
    char notes[DEMO_NOTES][DEMO_NOTE_BYTES];
    unsigned nnotes;
};

/* How many namespaces have the value of this round. */
unsigned demo_arrived(const struct demo *d);

/* A line for people: printed at once, or part of the next frame. */
void show_note(struct demo *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Draws the display; nothing without one. */
void show_frame(struct demo *d);
/* The report, after the display is closed. */
void show_report(struct demo *d);

#endif
