/* See metrics.h. A scrape walks over all guests in slices, for their states and queues, then writes
 * everything at once: what it reads then are counters that are kept anyway.
 *
 * Histograms keep the boundaries of base/hist, which are powers of two in ns, so no value is
 * counted in the wrong bucket. Must never: give a label a value that is not bounded in number; the
 * names of guests are METRICS_GUESTS_MAX.
 */
#include "serve/metrics.h"

#include "base/clock.h"
#include "base/db.h"
#include "base/limits.h"
#include "engine/arena.h"
#include "guest/guest.h"
#include "guest/worker.h"
#include "kube/client.h"
#include "trigger/watch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define POWER_MIN 13u /* 8 us */
#define POWER_MAX 36u /* 69 s */

struct metrics {
    struct metrics_source source;
    struct hist lag;
    struct scrape *scrapes;
    double started; /* Unix time, in s */
};

struct scrape {
    struct metrics *metrics;
    struct scrape *next;
    struct http1_later *later;
    struct msg msg;
    struct census_walk walk;
    struct buf *out;
    bool full;
    /* Gathered at its end. */
    struct guests_stats all;
    struct watch_numbers watch;
    struct arena_stats arena;
    struct db_stats db;
    struct journal_stats journal;
    struct kube_answers answers[2];
    struct metrics_rest rest;
};

enum kind { COUNTER, GAUGE, HISTOGRAM };

struct metric {
    const char *name;
    enum kind kind;
    const char *help, *labels; /* labels: for the page; "": none */
    void (*values)(struct scrape *s, const struct metric *m);
};

/* --- samples --- */

#define put(s, ...) ((s)->full |= buf_printf((s)->out, NULL, __VA_ARGS__) < 0)

static void put_count(struct scrape *s, const struct metric *m, uint64_t n)
{
    put(s, "%s %llu\n", m->name, (unsigned long long)n);
}

static void put_number(struct scrape *s, const struct metric *m, double n)
{
    put(s, "%s %.12g\n", m->name, n);
}

/* One label; the value needs no escape. */
static void put_labelled(struct scrape *s, const struct metric *m, const char *label,
                         const char *value, uint64_t n)
{
    put(s, "%s{%s=\"%s\"} %llu\n", m->name, label, value, (unsigned long long)n);
}

static double seconds(uint64_t ns)
{
    return (double)ns / (double)NS_PER_S;
}

/* labels: "" or such as `lane="call",`. */
static void put_hist(struct scrape *s, const struct metric *m, const char *labels,
                     const struct hist *h)
{
    int n = (int)strlen(labels);

    for (unsigned p = POWER_MIN; p <= POWER_MAX; p++)
        put(s, "%s_bucket{%sle=\"%.12g\"} %llu\n", m->name, labels, seconds(1ull << p),
            (unsigned long long)hist_below(h, p));
    put(s, "%s_bucket{%sle=\"+Inf\"} %llu\n", m->name, labels, (unsigned long long)h->count);
    if (n) { /* without the last comma */
        put(s, "%s_sum{%.*s} %.12g\n", m->name, n - 1, labels, seconds(h->sum_ns));
        put(s, "%s_count{%.*s} %llu\n", m->name, n - 1, labels, (unsigned long long)h->count);
        return;
    }
    put(s, "%s_sum %.12g\n", m->name, seconds(h->sum_ns));
    put(s, "%s_count %llu\n", m->name, (unsigned long long)h->count);
}

/* --- the process --- */

static double cpu_seconds(clockid_t clock)
{
    struct timespec ts = {0};

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void process_cpu(struct scrape *s, const struct metric *m)
{
    put_number(s, m, cpu_seconds(CLOCK_PROCESS_CPUTIME_ID));
}

static void process_max_fds(struct scrape *s, const struct metric *m)
{
    struct rlimit limit = {0};

    getrlimit(RLIMIT_NOFILE, &limit);
    put_count(s, m, limit.rlim_cur);
}

static void process_open_fds(struct scrape *s, const struct metric *m)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t n = 0;

    if (dir) {
        for (const struct dirent *e; (e = readdir(dir));)
            n += e->d_name[0] != '.';
        n--; /* the folder itself */
        closedir(dir);
    }
    put_count(s, m, n);
}

/* Of /proc/self/statm: 0 is all that is mapped, 1 what is in memory. */
static uint64_t statm_bytes(unsigned field)
{
    unsigned long long pages[2] = {0};
    FILE *f = fopen("/proc/self/statm", "re");
    char line[128] = "", *at = line;

    if (!f)
        return 0;
    if (fgets(line, sizeof(line), f))
        for (unsigned i = 0; i <= field; i++)
            pages[i] = strtoull(at, &at, 10);
    fclose(f);
    return pages[field] * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void process_resident(struct scrape *s, const struct metric *m)
{
    put_count(s, m, statm_bytes(1));
}

static void process_start(struct scrape *s, const struct metric *m)
{
    put_number(s, m, s->metrics->started);
}

static void process_virtual(struct scrape *s, const struct metric *m)
{
    put_count(s, m, statm_bytes(0));
}

/* --- the API server --- */

static const char *const lanes[] = {[KUBE_CALL] = "call", [KUBE_WATCH] = "watch"};

static void api_connections(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->rest.connections);
}

static void api_duration(struct scrape *s, const struct metric *m)
{
    for (int i = 0; i < 2; i++) {
        char labels[32];

        snprintf(labels, sizeof(labels), "lane=\"%s\",", lanes[i]);
        put_hist(s, m, labels, &s->answers[i].head);
    }
}

static void api_requests(struct scrape *s, const struct metric *m)
{
    for (int i = 0; i < 2; i++) {
        const struct kube_answers *a = &s->answers[i];

        for (unsigned k = 0; k < a->ncodes; k++) {
            char code[16] = "none";

            if (a->code[k].status)
                snprintf(code, sizeof(code), "%u", a->code[k].status);
            put(s, "%s{code=\"%s\",lane=\"%s\"} %llu\n", m->name, code, lanes[i],
                (unsigned long long)a->code[k].n);
        }
        put(s, "%s{code=\"other\",lane=\"%s\"} %llu\n", m->name, lanes[i],
            (unsigned long long)a->others);
    }
}

static void watches(struct scrape *s, const struct metric *m)
{
    put_labelled(s, m, "state", "synced", s->watch.synced);
    put_labelled(s, m, "state", "unsynced", s->watch.watches - s->watch.synced);
}

static void watch_events(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->watch.events);
}

static void watch_relists(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->watch.relists);
}

static void cache_bytes(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->watch.object_bytes);
}

static void cache_objects(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->watch.objects);
}

/* --- disk --- */

static void arena_file(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->arena.file_pages * (uint64_t)PAGE_BYTES);
}

static void arena_waste(struct scrape *s, const struct metric *m)
{
    put_count(s, m, (s->arena.file_pages - s->arena.used_pages) * (uint64_t)PAGE_BYTES);
}

static void snapshot_bytes(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->arena.used_pages * (uint64_t)PAGE_BYTES);
}

static void db_commits(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->db.commits);
}

static void db_failed(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->db.failed);
}

static void images(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->rest.images);
}

static void image_bytes(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->rest.image_bytes);
}

/* --- guests --- */

static void build_info(struct scrape *s, const struct metric *m)
{
    put_labelled(s, m, "version", ROOST_VERSION, 1);
}

static void event_duration(struct scrape *s, const struct metric *m)
{
    put_hist(s, m, "", &s->all.event);
}

static void event_retries(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->all.retries);
}

static void events(struct scrape *s, const struct metric *m)
{
    const struct guest_counts *c = &s->all.counts;

    put_labelled(s, m, "result", "failed", c->failures);
    put_labelled(s, m, "result", "handled", c->events - c->failures - c->traps);
    put_labelled(s, m, "result", "trapped", c->traps);
}

static void fresh_starts(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->all.counts.fresh_starts);
}

/* A count of one guest, or of many; times are in ns. */
static void put_guest(struct scrape *s, const struct metric *m, const char *namespace_,
                      const char *name, const struct guest_counts *counts, size_t offset)
{
    uint64_t n = *(const uint64_t *)((const char *)counts + offset);

    put(s, "%s{guest=\"%s\",namespace=\"%s\"} ", m->name, name, namespace_);
    if (offset == offsetof(struct guest_counts, cpu_ns))
        put(s, "%.12g\n", seconds(n));
    else
        put(s, "%llu\n", (unsigned long long)n);
}

/* A count of the named guests, by its place in the struct, then that of all others. */
static void by_guest(struct scrape *s, const struct metric *m, size_t offset)
{
    const struct census *c = &s->metrics->source.guests->census;
    struct guest_counts others = s->all.counts;

    if (!*s->metrics->source.without_names) {
        others = census_others(c, &s->all.counts);
        for (size_t i = 0; i < c->n; i++) {
            const struct guest *g = c->named[i].guest;

            put_guest(s, m, g->spec->namespace_, g->spec->name, &g->counts, offset);
        }
    }
    put_guest(s, m, "", "other", &others, offset);
}

static void guest_cpu(struct scrape *s, const struct metric *m)
{
    by_guest(s, m, offsetof(struct guest_counts, cpu_ns));
}

static void guest_events(struct scrape *s, const struct metric *m)
{
    by_guest(s, m, offsetof(struct guest_counts, events));
}

static void guest_failures(struct scrape *s, const struct metric *m)
{
    by_guest(s, m, offsetof(struct guest_counts, failures));
}

static void guest_traps(struct scrape *s, const struct metric *m)
{
    by_guest(s, m, offsetof(struct guest_counts, traps));
}

static void guest_wakes(struct scrape *s, const struct metric *m)
{
    by_guest(s, m, offsetof(struct guest_counts, wakes));
}

static void guests_by_state(struct scrape *s, const struct metric *m)
{
    for (size_t i = 0; census_state_name(i); i++)
        put_labelled(s, m, "state", census_state_name(i), s->walk.state[i]);
}

static void guests_memory(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->metrics->source.guests->budget.pages * (uint64_t)PAGE_BYTES);
}

static void guests_memory_limit(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->metrics->source.guests->budget.pages_max * (uint64_t)PAGE_BYTES);
}

static void guests_waiting(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->metrics->source.guests->budget.nwaiting);
}

static void log_dropped(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->journal.dropped_total);
}

static void log_kept(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->journal.line_bytes);
}

static void log_lines(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->journal.lines_total);
}

static void loop_cpu(struct scrape *s, const struct metric *m)
{
    put_number(s, m, cpu_seconds(CLOCK_THREAD_CPUTIME_ID));
}

static void loop_lag(struct scrape *s, const struct metric *m)
{
    put_hist(s, m, "", &s->metrics->lag);
}

static void queue_depth(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->walk.keys);
}

static void queue_guests(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->walk.queues);
}

static void queue_oldest(struct scrape *s, const struct metric *m)
{
    put_number(s, m, seconds(s->walk.oldest_ns));
}

static void refusals(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->all.counts.refusals);
}

static void sleep_duration(struct scrape *s, const struct metric *m)
{
    put_hist(s, m, "", &s->all.sleep);
}

static void sleeps_abandoned(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->all.counts.abandoned);
}

static void sleeps(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->all.counts.sleeps);
}

static void wake_duration(struct scrape *s, const struct metric *m)
{
    put_hist(s, m, "", &s->all.wake);
}

static void wake_worker_duration(struct scrape *s, const struct metric *m)
{
    put_hist(s, m, "", &s->all.worker);
}

static void wakes(struct scrape *s, const struct metric *m)
{
    put_count(s, m, s->all.counts.wakes);
}

static void worker_busy(struct scrape *s, const struct metric *m)
{
    const struct guests *all = s->metrics->source.guests;

    for (size_t i = 1; i < all->nworkers; i++)
        put(s, "%s{worker=\"%zu\"} %.12g\n", m->name, i, seconds(worker_cpu_ns(all->workers[i])));
}

/* --- the table, by name --- */

#define GUEST_LABELS "`namespace`, `guest`"

static const struct metric table[] = {
    {"process_cpu_seconds_total", COUNTER, "CPU time of the daemon, user and system, in seconds.",
     "", process_cpu},
    {"process_max_fds", GAUGE, "How many files the daemon may have open.", "", process_max_fds},
    {"process_open_fds", GAUGE, "How many files the daemon has open.", "", process_open_fds},
    {"process_resident_memory_bytes", GAUGE,
     "Memory of the daemon that is resident, mapped snapshots and images included.", "",
     process_resident},
    {"process_start_time_seconds", GAUGE, "When the daemon began, in Unix time.", "",
     process_start},
    {"process_virtual_memory_bytes", GAUGE,
     "Address space of the daemon; most of it is reserved for guests and never used.", "",
     process_virtual},
    {"roost_api_connections", GAUGE, "Connections to the API server.", "", api_connections},
    {"roost_api_request_duration_seconds", HISTOGRAM,
     "From a request to the API server until the head of its answer.",
     "`lane`: `call` (by guests and for reviews), `watch` (lists and watches)", api_duration},
    {"roost_api_requests_total", COUNTER, "Requests to the API server, by how they ended.",
     "`lane`; `code`: the status, `none` where no answer came, `other` past 24 different ones",
     api_requests},
    {"roost_arena_file_bytes", GAUGE, "Size of the file of all snapshots.", "", arena_file},
    {"roost_arena_waste_bytes", GAUGE, "Part of that file that no snapshot uses.", "", arena_waste},
    {"roost_build_info", GAUGE, "1, with what was built.", "`version`", build_info},
    {"roost_cache_bytes", GAUGE, "Objects that are kept for guests, in bytes.", "", cache_bytes},
    {"roost_cache_objects", GAUGE, "Objects that are kept for guests.", "", cache_objects},
    {"roost_db_commits_total", COUNTER, "Commits of the database.", "", db_commits},
    {"roost_db_failures_total", COUNTER, "Batches that could not be written.", "", db_failed},
    {"roost_event_duration_seconds", HISTOGRAM,
     "Events of guests that were awake: from the change until the handler returned.", "",
     event_duration},
    {"roost_event_retries_total", COUNTER, "Events that were handled again after a failure.", "",
     event_retries},
    {"roost_events_total", COUNTER, "Events that were given to guests.",
     "`result`: `handled`, `failed` (the handler said so), `trapped` (or cut by a limit)", events},
    {"roost_fresh_starts_total", COUNTER, "Guests started without a snapshot.", "", fresh_starts},
    {"roost_guest_cpu_seconds_total", COUNTER, "Running time of handlers by guest, in seconds.",
     GUEST_LABELS, guest_cpu},
    {"roost_guest_events_total", COUNTER, "Events by guest.", GUEST_LABELS, guest_events},
    {"roost_guest_failures_total", COUNTER, "Events that its handler refused, by guest.",
     GUEST_LABELS, guest_failures},
    {"roost_guest_traps_total", COUNTER, "Events that ended in a trap, by guest.", GUEST_LABELS,
     guest_traps},
    {"roost_guest_wakes_total", COUNTER, "Wakes from a snapshot, by guest.", GUEST_LABELS,
     guest_wakes},
    {"roost_guests", GAUGE, "Guests by state.",
     "`state`: `Rejected`, `Pending` (for its module, its rights, its watch), `Cold`, `Asleep`, "
     "`Running`, `Awake`, `Saving`, `Failed`, `Stopping`, `Gone`",
     guests_by_state},
    {"roost_guests_memory_bytes", GAUGE,
     "Memory that guests that are awake are charged with; those that never sleep are not.", "",
     guests_memory},
    {"roost_guests_memory_limit_bytes", GAUGE, "What they may have together; 0: any amount.", "",
     guests_memory_limit},
    {"roost_guests_waiting", GAUGE, "Guests that wait for room to be woken.", "", guests_waiting},
    {"roost_image_bytes", GAUGE, "Compiled modules that are mapped, in bytes.", "", image_bytes},
    {"roost_images", GAUGE, "Compiled modules that are mapped.", "", images},
    {"roost_log_dropped_lines_total", COUNTER,
     "Lines of guests that were dropped for being too many.", "", log_dropped},
    {"roost_log_kept_bytes", GAUGE, "Lines of guests that are kept for `roost logs`.", "",
     log_kept},
    {"roost_log_lines_total", COUNTER, "Lines that guests logged.", "", log_lines},
    {"roost_loop_cpu_seconds_total", COUNTER, "CPU time of the main loop, in seconds.", "",
     loop_cpu},
    {"roost_loop_lag_seconds", HISTOGRAM,
     "How late a timer of the main loop fired; one a second. Up to 2 ms is its resolution.", "",
     loop_lag},
    {"roost_queue_depth", GAUGE, "Keys that wait to be handled, of all guests.", "", queue_depth},
    {"roost_queue_guests", GAUGE, "Guests for which any key waits.", "", queue_guests},
    {"roost_queue_oldest_seconds", GAUGE, "For how long the oldest key that is due has been so.",
     "", queue_oldest},
    {"roost_refusals_total", COUNTER, "What the host refused to do for guests.", "", refusals},
    {"roost_sleep_duration_seconds", HISTOGRAM,
     "From the decision that a guest sleeps until it is saved and its memory is free.", "",
     sleep_duration},
    {"roost_sleeps_abandoned_total", COUNTER, "Sleeps that an event put an end to.", "",
     sleeps_abandoned},
    {"roost_sleeps_total", COUNTER, "Guests put to sleep.", "", sleeps},
    {"roost_snapshot_bytes", GAUGE, "What snapshots take on disk.", "", snapshot_bytes},
    {"roost_wake_duration_seconds", HISTOGRAM,
     "Events of guests that slept: from the change until the handler returned.", "", wake_duration},
    {"roost_wake_worker_duration_seconds", HISTOGRAM,
     "The part of that after a worker took it up: waking and handling.", "", wake_worker_duration},
    {"roost_wakes_total", COUNTER, "Guests woken from a snapshot.", "", wakes},
    {"roost_watch_events_total", COUNTER, "Changes that watches brought.", "", watch_events},
    {"roost_watch_relists_total", COUNTER, "Lists that were read to their end.", "", watch_relists},
    {"roost_watches", GAUGE, "Watches of the API server, one for each resource.",
     "`state`: `synced`, `unsynced`", watches},
    {"roost_worker_busy_seconds_total", COUNTER, "CPU time of a worker's thread, in seconds.",
     "`worker`: its number, from 1", worker_busy},
};
#define METRICS (sizeof(table) / sizeof(table[0]))

static const char *const kinds[] = {
    [COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};

const char *metrics_name(size_t i)
{
    return i < METRICS ? table[i].name : NULL;
}

int metrics_document(struct buf *out)
{
    for (size_t i = 0; i < METRICS; i++) {
        const struct metric *m = &table[i];

        if (buf_printf(out, NULL, "| `%s` | %s | %s | %s |\n", m->name, kinds[m->kind], m->help,
                       m->labels) < 0)
            return -1;
    }
    return 0;
}

/* --- a scrape --- */

static void gather(struct scrape *s)
{
    const struct metrics_source *from = &s->metrics->source;

    guests_totals(from->guests, &s->all);
    arena_stats(from->arena, &s->arena);
    db_stats(from->db, &s->db);
    journal_stats(guests_journal(from->guests), &s->journal);
    if (from->watch)
        watch_numbers(from->watch, &s->watch);
    from->rest(from->ctx, &s->rest);
    for (size_t i = 0; i < from->nclients; i++)
        for (int lane = 0; from->clients[i] && lane < 2; lane++)
            kube_client_answers(from->clients[i], (enum kube_lane)lane, &s->answers[lane]);
}

static void expose(struct scrape *s)
{
    for (size_t i = 0; i < METRICS; i++) {
        put(s, "# HELP %s %s\n# TYPE %s %s\n", table[i].name, table[i].help, table[i].name,
            kinds[table[i].kind]);
        table[i].values(s, &table[i]);
    }
}

static void scrape_end(struct scrape *s)
{
    struct scrape **at = &s->metrics->scrapes;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    http1_later_send(s->later);
    free(s);
}

static void scrape_on(struct msg *m)
{
    struct scrape *s = container_of(m, struct scrape, msg);
    struct http1_response *res = http1_later_response(s->later);

    if (census_walk(&s->walk, s->metrics->source.guests, clock_now_ns())) {
        loop_post(s->metrics->source.loop, &s->msg);
        return;
    }
    s->out = &res->body;
    res->content_type = METRICS_CONTENT_TYPE;
    gather(s);
    expose(s);
    if (s->full)
        http1_problem(res, 500, "the answer could not be made: no memory");
    scrape_end(s);
}

void metrics_answer(struct metrics *m, struct http1_response *res)
{
    struct http1_later *later = http1_later_begin(res);
    struct scrape *s = later ? calloc(1, sizeof(*s)) : NULL;

    if (!later)
        return;
    if (!s) {
        http1_problem(http1_later_response(later), 503, "no memory for this: try again");
        http1_later_send(later);
        return;
    }
    s->metrics = m;
    s->later = later;
    s->msg.run = scrape_on;
    s->next = m->scrapes;
    m->scrapes = s;
    loop_post(m->source.loop, &s->msg);
}

/* --- life --- */

int metrics_new(struct metrics **out, const struct metrics_source *source, struct err *err)
{
    struct metrics *m = calloc(1, sizeof(*m));

    *out = m;
    if (!m)
        return err_set(err, ERR_NOMEM, 0, "no memory for metrics");
    m->source = *source;
    m->started = cpu_seconds(CLOCK_REALTIME);
    return 0;
}

void metrics_lag(struct metrics *m, uint64_t ns)
{
    hist_add(&m->lag, ns);
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    while (m->scrapes) {
        loop_unpost(m->source.loop, &m->scrapes->msg);
        scrape_end(m->scrapes);
    }
    free(m);
}
