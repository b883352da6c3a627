#include "serve/report.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static json_t *time_text(int64_t wall_ms)
{
    time_t s = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[32];

    if (wall_ms == 0)
        return json_null();
    gmtime_r(&s, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

static json_int_t snapshot_bytes(const struct guest *g)
{
    json_int_t pages = 0;

    for (uint16_t i = 0; g->snapshot && i < g->snapshot->nslots; i++)
        pages += snapshot_slots(g->snapshot)[i].pages;
    return pages * PAGE_BYTES;
}

/* Memory is the worker's to ask while the guest runs. */
static json_int_t memory_bytes(const struct guest *g)
{
    if (g->state == G_IDLE && g->awake && g->awake->inst)
        return (json_int_t)instance_memory_bytes(g->awake->inst);
    return g->snapshot ? (json_int_t)g->snapshot->memory_pages * PAGE_BYTES : 0;
}

static const char *state_of(const struct guest *g)
{
    if (g->rejected)
        return "Rejected";
    return g->hold ? "Pending" : guest_state_name(g->state);
}

static const char *last_error(const struct guest *g)
{
    return g->rejected ? g->rejected->msg : g->last_error;
}

static const char *last_reason(const struct guest *g)
{
    return g->rejected ? err_reason_of(g->rejected) : g->last_reason;
}

const char *report_state(const struct guest *g)
{
    return state_of(g);
}

/* Formatted once, which is most of what a list takes; at most 1 KiB. */
static int put_format(struct buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int put_format(struct buf *out, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return n < 0 || (size_t)n >= sizeof(text) ? -1 : buf_append(out, text, (size_t)n, NULL);
}

/* "name":"text" with a comma before it. */
static int put_text(struct buf *out, const char *name, const char *text)
{
    size_t n = strlen(text);

    if (put_format(out, ",\"%s\":\"", name) < 0 ||
        buf_reserve(out, n * TEXT_ESCAPE_MAX + 1, NULL) < 0)
        return -1;
    out->len = text_escape((char *)out->data, out->len, out->cap, text, n, true);
    return buf_puts(out, "\"", NULL);
}

static int put_labels(struct buf *out, const struct guest_spec *s)
{
    if (buf_puts(out, ",\"labels\":{", NULL) < 0)
        return -1;
    for (size_t i = 0; i < s->nlabels; i++) /* checked when they were read: nothing to escape */
        if (buf_printf(out, NULL, "%s\"%s\":\"%s\"", i ? "," : "", s->labels[i].name,
                       s->labels[i].value) < 0)
            return -1;
    return buf_puts(out, "}", NULL);
}

static int put_created(struct buf *out, const struct guest *g)
{
    time_t s = (time_t)(g->created_wall_ms / 1000);
    struct tm tm;

    gmtime_r(&s, &tm);
    return put_format(out, ",\"created\":\"%04d-%02d-%02dT%02d:%02d:%02dZ\"", tm.tm_year + 1900,
                      tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* By hand: a list has thousands of them, and the loop has guests to serve. */
int report_guest_write(struct buf *out, const struct guest *g, bool comma)
{
    const struct guest_counts *c = &g->counts;

    if (put_format(out,
                   "%s{\"namespace\":\"%s\",\"name\":\"%s\",\"state\":\"%s\","
                   "\"managedBy\":\"%s\"",
                   comma ? "," : "", g->spec->namespace_, g->spec->name, state_of(g),
                   g->applied ? "apply" : "folder") < 0 ||
        put_text(out, "module", g->spec->module) < 0 || put_labels(out, g->spec) < 0 ||
        put_created(out, g) < 0)
        return -1;
    if (put_format(out,
                   ",\"wakes\":%llu,\"freshStarts\":%llu,\"sleeps\":%llu,\"events\":%llu,"
                   "\"failures\":%llu,\"traps\":%llu,\"refusals\":%llu,\"queued\":%zu,"
                   "\"memoryBytes\":%lld,\"snapshotBytes\":%lld,\"cpuNs\":%llu,"
                   "\"handledNs\":%llu",
                   (unsigned long long)c->wakes, (unsigned long long)c->fresh_starts,
                   (unsigned long long)c->sleeps, (unsigned long long)c->events,
                   (unsigned long long)c->failures, (unsigned long long)c->traps,
                   (unsigned long long)c->refusals, mailbox_len(g->mailbox),
                   (long long)memory_bytes(g), (long long)snapshot_bytes(g),
                   (unsigned long long)c->cpu_ns, (unsigned long long)c->handled_ns) < 0)
        return -1;
    if (put_text(out, "lastError", last_error(g)) < 0 ||
        put_text(out, "lastErrorReason", last_reason(g)) < 0 ||
        put_text(out, "lastRefusal", g->last_refusal ? g->last_refusal : "") < 0)
        return -1;
    return buf_puts(out, "}", NULL);
}

json_t *report_guest(const struct guest *g)
{
    AUTO_BUF struct buf text = {0};

    if (report_guest_write(&text, g, false) < 0)
        return NULL;
    return json_loadb((const char *)text.data, text.len, 0, NULL);
}

int report_reject_write(struct buf *out, const struct err *err, bool comma)
{
    if (buf_printf(out, NULL,
                   "%s{\"namespace\":\"\",\"name\":\"\",\"state\":\"Rejected\",\"module\":\"\"",
                   comma ? "," : "") < 0 ||
        put_text(out, "lastError", err->msg) < 0 ||
        put_text(out, "lastErrorReason", err_reason_of(err)) < 0)
        return -1;
    return buf_puts(out, "}", NULL);
}

json_t *report_reject(const struct err *err)
{
    AUTO_BUF struct buf text = {0};

    if (report_reject_write(&text, err, false) < 0)
        return NULL;
    return json_loadb((const char *)text.data, text.len, 0, NULL);
}

static const char *const modes[] = {
    [SLEEP_AUTO] = "auto", [SLEEP_NEVER] = "never", [SLEEP_FRESH] = "fresh"};

static json_t *spec_json(const struct guest_spec *s)
{
    json_t *env = json_array();

    for (size_t i = 0; i < s->nenv; i++)
        json_array_append_new(
            env, json_pack("{s:s, s:s}", "name", s->env[i].name, "value", s->env[i].value));
    return json_pack(
        "{s:s, s:o, s:{s:I, s:I, s:I, s:I}, s:{s:s, s:I}, s:s, s:s?}", "module", s->module, "env",
        env, "limits", "memoryBytes", (json_int_t)s->limits.memory_bytes, "cpuMs",
        (json_int_t)(s->limits.cpu_ns / NS_PER_MS), "timeMs",
        (json_int_t)(s->limits.time_ns / NS_PER_MS), "calls", (json_int_t)s->limits.calls, "sleep",
        "mode", modes[s->sleep_mode], "afterMs", (json_int_t)(s->sleep_after_ns / NS_PER_MS),
        "onFreshStart", s->on_fresh_start == FRESH_ALL ? "all" : "failed", "serviceAccount",
        s->service_account);
}

static json_t *triggers_json(const struct guest *g, const struct watch *watch)
{
    json_t *out = json_array();

    for (uint16_t t = 0; t < g->spec->nwatches; t++)
        json_array_append_new(out, watch_describe(watch, g, t));
    return out;
}

/* "never: table 0 (table.set in function 7)"; empty where a sleep keeps all. */
static void why_sleepless(const struct guest *g, char *out, size_t cap)
{
    const char *mode = modes[g->spec->sleep_mode];
    const char *unsavable = g->image ? image_unsavable(g->image) : NULL;
    const char *said = g->spec->sleep_mode_set ? "sleep.mode says so" : "the daemon was told so";

    if (g->spec->sleep_mode == SLEEP_AUTO)
        out[0] = 0;
    else if (!unsavable)
        snprintf(out, cap, "%s: %s", mode, said);
    else if (g->spec->sleep_mode_set)
        snprintf(out, cap, "%s: %s; its module cannot be saved: %s", mode, said, unsavable);
    else
        snprintf(out, cap, "%s: %s", mode, unsavable);
}

json_t *report_describe(const struct guest *g, const struct watch *watch)
{
    json_t *out = report_guest(g), *more;
    char why[REWRITE_UNSAVABLE_BYTES + 64];

    why_sleepless(g, why, sizeof(why));
    more = json_pack("{s:o, s:o, s:s, s:s, s:s, s:I, s:I, s:o, s:I, s:b}", "spec",
                     spec_json(g->spec), "triggers", triggers_json(g, watch), "sleepMode",
                     modes[g->spec->sleep_mode], "whySleepless", why, "file", g->spec->file, "line",
                     (json_int_t)g->spec->line, "generation", (json_int_t)g->generation,
                     "lastErrorTime", time_text(g->last_error_wall_ms), "abandonedSleeps",
                     (json_int_t)g->counts.abandoned, "resumed", g->snapshot != NULL);
    if (!out || !more || json_object_update_new(out, more) < 0) {
        json_decref(out);
        return NULL;
    }
    return out;
}

static json_t *hist_json(const struct hist *h)
{
    return json_pack("{s:I, s:f, s:f, s:f, s:f}", "count", (json_int_t)h->count, "p50_us",
                     (double)hist_quantile(h, .5) / 1e3, "p90_us",
                     (double)hist_quantile(h, .9) / 1e3, "p99_us",
                     (double)hist_quantile(h, .99) / 1e3, "max_us", (double)h->max_ns / 1e3);
}

static json_t *states_json(const struct guests_stats *st)
{
    json_t *out = json_object();

    for (int s = G_COLD; s < GUEST_STATES; s++)
        json_object_set_new(out, guest_state_name((enum guest_state)s),
                            json_integer((json_int_t)st->by_state[s]));
    return out;
}

/* The proportional set size, from the kernel. 0 where it cannot be read. */
static json_int_t pss_bytes(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    char line[256];
    json_int_t kib = 0;

    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, "Pss:", 4) == 0) {
            kib = strtoll(line + 4, NULL, 10);
            break;
        }
    if (f)
        fclose(f);
    return kib * 1024;
}

/* Of all threads, in the kernel too. */
static json_int_t process_cpu_ns(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (json_int_t)t.tv_sec * (json_int_t)NS_PER_S + t.tv_nsec;
}

static json_t *disk_json(const struct report *r)
{
    struct arena_stats arena;
    struct db_stats db;

    arena_stats(r->arena, &arena);
    db_stats(r->db, &db);
    return json_pack("{s:I, s:I, s:I, s:I, s:s}", "arenaFileBytes",
                     (json_int_t)arena.file_pages * PAGE_BYTES, "arenaUsedBytes",
                     (json_int_t)arena.used_pages * PAGE_BYTES, "commits", (json_int_t)db.commits,
                     "commitsFailed", (json_int_t)db.failed, "commitError", db.last_error);
}

static json_t *room_json(const struct report *r)
{
    const struct budget *b = &r->guests->budget;

    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "awake", (json_int_t)b->awake,
                     "awakeMax", (json_int_t)b->awake_max, "waiting", (json_int_t)b->nwaiting,
                     "waited", (json_int_t)b->waited, "earlySleeps", (json_int_t)b->early,
                     "memoryBytes", (json_int_t)b->pages * PAGE_BYTES, "memoryBytesMax",
                     (json_int_t)b->pages_max * PAGE_BYTES, "mappings", (json_int_t)b->maps,
                     "mappingsMax", (json_int_t)b->maps_max);
}

static void kube_all(const struct report *r, struct kube_client_stats *kube,
                     struct kube_numbers *calls)
{
    if (r->client)
        kube_client_stats(r->client, kube);
    for (size_t i = 0; i < r->nkube; i++) {
        kube_capability_numbers(r->kube[i], calls, false);
        if (i == 0) /* the loop's own client: counted above */
            calls->requests = calls->connections = 0;
    }
}

unsigned report_connections(const struct report *r)
{
    struct kube_client_stats kube = {0};
    struct kube_numbers calls = {0};

    kube_all(r, &kube, &calls);
    return kube.connections + calls.connections;
}

json_t *report_stats(const struct report *r)
{
    const struct guests_stats *st = guests_stats(r->guests);
    const struct guest_counts *c = &st->counts;
    struct kube_client_stats kube = {0};
    struct kube_numbers calls = {0};

    kube_all(r, &kube, &calls);
    return json_pack(
        "{s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:I, "
        "s:I, s:I, s:f, s:I, s:I, s:I}",
        "guests", (json_int_t)st->guests, "states", states_json(st), "wakes", (json_int_t)c->wakes,
        "freshStarts", (json_int_t)c->fresh_starts, "sleeps", (json_int_t)c->sleeps, "abandoned",
        (json_int_t)c->abandoned, "events", (json_int_t)c->events, "failures",
        (json_int_t)c->failures, "traps", (json_int_t)c->traps, "wake", hist_json(&st->wake),
        "worker", hist_json(&st->worker), "sleep", hist_json(&st->sleep), "event",
        hist_json(&st->event), "hostShareAsleep", hist_json(&calls.asleep), "hostShareAwake",
        hist_json(&calls.awake), "disk", disk_json(r), "room", room_json(r), "pssBytes",
        pss_bytes(), "connections", (json_int_t)kube.connections + calls.connections, "requests",
        (json_int_t)kube.requests + (json_int_t)calls.requests, "uptime_s",
        (double)(clock_now_ns() - r->started_ns) / (double)NS_PER_S, "guestCpuNs",
        (json_int_t)c->cpu_ns, "handledNs", (json_int_t)c->handled_ns, "cpuNs", process_cpu_ns());
}

void report_reset(const struct report *r)
{
    struct kube_numbers old = {0};

    guests_stats_reset(r->guests);
    for (size_t i = 0; i < r->nkube; i++)
        kube_capability_numbers(r->kube[i], &old, true);
}
