#include "cli/top.h"

#include <stdlib.h>
#include <string.h>

const char *const top_keys[] = {
    [TOP_NAME] = "name",     [TOP_STATE] = "state",     [TOP_WAKES] = "wakes",
    [TOP_EVENTS] = "events", [TOP_LATENCY] = "latency", [TOP_QUEUE] = "queue",
    [TOP_CPU] = "cpu",       [TOP_MEMORY] = "memory",   [TOP_DISK] = "disk",
    [TOP_KEYS] = NULL,
};

/* --- looks --- */

static void look_free(struct top_look *l)
{
    json_decref(l->stats);
    json_decref(l->guests);
    json_decref(l->by_id);
    *l = (struct top_look){0};
}

static void id_of(char out[2 * CLI_NAME_SIZE], const json_t *guest)
{
    snprintf(out, 2 * CLI_NAME_SIZE, "%s/%s", cli_text(guest, "namespace"),
             cli_text(guest, "name"));
}

static json_t *index_of(json_t *guests)
{
    json_t *out = json_object();
    char id[2 * CLI_NAME_SIZE];

    for (size_t i = 0; out && i < json_array_size(guests); i++) {
        id_of(id, json_array_get(guests, i));
        json_object_set(out, id, json_array_get(guests, i));
    }
    return out;
}

/* --- differences --- */

static double since(const json_t *now, const json_t *before, const char *key)
{
    uint64_t a = cli_count(now, key), b = cli_count(before, key);

    return (double)(a >= b ? a - b : a);
}

static bool is_awake(const char *state)
{
    return strcmp(state, "Awake") == 0 || strcmp(state, "Running") == 0 ||
           strcmp(state, "Saving") == 0;
}

static void fill(struct top_row *r, const json_t *now, const json_t *before, double seconds,
                 const char *cpu)
{
    double events = since(now, before, "events");

    r->guest = now;
    r->wakes = since(now, before, "wakes") / seconds;
    r->events = events / seconds;
    r->latency_us = events > 0 ? since(now, before, "handledNs") / events / 1e3 : -1;
    r->cpu = since(now, before, cpu) / 1e9 / seconds;
    r->queue = cli_count(now, "queued");
    r->memory = is_awake(cli_text(now, "state")) ? cli_count(now, "memoryBytes") : 0;
    r->disk = cli_count(now, "snapshotBytes");
}

static void count_state(struct top *t, const char *state)
{
    if (is_awake(state))
        t->awake++;
    else if (strcmp(state, "Asleep") == 0)
        t->asleep++;
    else if (strcmp(state, "Failed") == 0 || strcmp(state, "Rejected") == 0)
        t->failed++;
    else
        t->pending++;
}

static int make_rows(struct top *t, double seconds, struct err *err)
{
    size_t n = json_array_size(t->now.guests);
    char id[2 * CLI_NAME_SIZE];

    free(t->rows);
    t->nrows = t->awake = t->asleep = t->failed = t->pending = 0;
    t->total.queue = t->total.memory = t->total.disk = 0;
    t->rows = calloc(n + 1, sizeof(*t->rows));
    if (!t->rows)
        return err_set(err, ERR_NOMEM, 0, "no memory for %zu guests", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *guest = json_array_get(t->now.guests, i);
        struct top_row *r = &t->rows[t->nrows++];

        id_of(id, guest);
        fill(r, guest, json_object_get(t->before.by_id, id), seconds, "cpuNs");
        count_state(t, cli_text(guest, "state"));
        t->total.queue += r->queue;
        t->total.memory += r->memory;
        t->total.disk += r->disk;
    }
    return 0;
}

int top_take(struct top *t, json_t *stats, json_t *list, const char *namespace_, uint64_t at_ns,
             struct err *err)
{
    struct cli_id id = {.namespace_ = ""};
    double seconds;

    snprintf(id.namespace_, sizeof(id.namespace_), "%s", namespace_ ? namespace_ : "");
    look_free(&t->before);
    t->before = t->now;
    t->now = (struct top_look){.at_ns = at_ns, .stats = stats};
    t->now.guests = cli_select(json_object_get(list, "items"), &id);
    t->now.by_id = index_of(t->now.guests);
    json_decref(list);
    if (!t->now.guests || !t->now.by_id)
        return err_set(err, ERR_NOMEM, 0, "no memory for the list");
    seconds = t->before.stats ? (double)(at_ns - t->before.at_ns) / 1e9
                              : json_number_value(json_object_get(stats, "uptime_s"));
    if (seconds <= 0)
        seconds = 1;
    fill(&t->total, stats, t->before.stats, seconds, "guestCpuNs");
    t->failures = since(stats, t->before.stats, "failures") / seconds;
    t->total.cpu = since(stats, t->before.stats, "cpuNs") / 1e9 / seconds;
    return make_rows(t, seconds, err);
}

void top_free(struct top *t)
{
    look_free(&t->now);
    look_free(&t->before);
    free(t->rows);
    *t = (struct top){0};
}

/* --- order --- */

struct order {
    enum top_key key;
    bool reverse;
};

static double number_of(const struct top_row *r, enum top_key key)
{
    switch (key) {
    case TOP_WAKES:
        return r->wakes;
    case TOP_EVENTS:
        return r->events;
    case TOP_LATENCY:
        return r->latency_us;
    case TOP_QUEUE:
        return (double)r->queue;
    case TOP_CPU:
        return r->cpu;
    case TOP_MEMORY:
        return (double)r->memory;
    case TOP_DISK:
        return (double)r->disk;
    default:
        return 0;
    }
}

static int by_names(const struct top_row *a, const struct top_row *b)
{
    int order = strverscmp(cli_text(a->guest, "namespace"), cli_text(b->guest, "namespace"));

    return order ? order : strverscmp(cli_text(a->guest, "name"), cli_text(b->guest, "name"));
}

static int compare(const void *x, const void *y, void *ctx)
{
    const struct order *o = ctx;
    const struct top_row *a = x, *b = y;
    int order = 0;

    if (o->key == TOP_STATE)
        order = strcmp(cli_text(a->guest, "state"), cli_text(b->guest, "state"));
    else if (o->key != TOP_NAME)
        order = (number_of(a, o->key) < number_of(b, o->key)) -
                (number_of(a, o->key) > number_of(b, o->key));
    else
        order = by_names(a, b);
    if (order)
        return o->reverse ? -order : order;
    return by_names(a, b);
}

void top_sort(struct top *t, enum top_key key, bool reverse)
{
    struct order order = {key, reverse};

    if (t->nrows)
        qsort_r(t->rows, t->nrows, sizeof(*t->rows), compare, &order);
}
