/* /metrics: real guests' numbers through the real socket, read by a strict parser of the format and
 * held to promtool's rules; the page and the dashboard name what is there; the census keeps its
 * bounds and its counters never go back. `test_metrics --write` writes the table of the page.
 */
#include "base/http1.h"
#include "guest/census.h"
#include "rig/rig.h"
#include "serve/admin.h"
#include "serve/metrics.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- a strict parser --- */

#define SERIES_MAX 4096

struct series {
    char *name;   /* the sample's */
    char *labels; /* as written, without "le" */
    char le[32];  /* of a bucket */
    double value;
    size_t family;
};

struct family {
    char name[128];
    char kind[16];
    size_t first, end; /* of its samples */
};

struct exposition {
    struct family families[256];
    size_t nfamilies;
    struct series series[SERIES_MAX];
    size_t n;
};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static size_t name_len(const char *p)
{
    size_t n = 0;

    while (isalpha((unsigned char)p[n]) || p[n] == '_' || p[n] == ':' ||
           (n && isdigit((unsigned char)p[n])))
        n++;
    return n;
}

static const char *expect_text(const char *p, const char *text)
{
    if (strncmp(p, text, strlen(text)) != 0)
        fail_msg("expected \"%s\" at: %.60s", text, p);
    return p + strlen(text);
}

/* "# HELP name text" and "# TYPE name kind", in this order and together. */
static const char *read_family(struct exposition *e, const char *p)
{
    struct family *f = &e->families[e->nfamilies++];
    const char *help = expect_text(p, "# HELP ");
    size_t n = name_len(help), text = strcspn(help + n + 1, "\n");

    assert_true(e->nfamilies < 256 && n > 0 && n < sizeof(f->name) && help[n] == ' ');
    snprintf(f->name, sizeof(f->name), "%.*s", (int)n, help);
    assert_true(text > 10);                        /* a help that says something */
    assert_null(memchr(help + n + 1, '\\', text)); /* it needs no escapes */
    p = expect_text(help + n + 1 + text, "\n# TYPE ");
    p = expect_text(expect_text(p, f->name), " ");
    text = strcspn(p, "\n");
    assert_true(text < sizeof(f->kind));
    snprintf(f->kind, sizeof(f->kind), "%.*s", (int)text, p);
    f->first = e->n;
    return expect_text(p + text, "\n");
}

/* One label, into labels or, "le", into its own. */
static const char *read_label(struct series *s, char *labels, size_t cap, const char *p)
{
    size_t n = name_len(p), len = strlen(labels), v = 0;
    const char *value = expect_text(p + n, "=\"");

    assert_true(n > 0 && !memchr(p, ':', n) && strncmp(p, "__", 2) != 0);
    for (; value[v] != '"'; v++) {
        assert_true(value[v] && value[v] != '\n');
        if (value[v] == '\\')
            assert_non_null(strchr("\\\"n", value[++v]));
    }
    if (n == 2 && strncmp(p, "le", 2) == 0)
        snprintf(s->le, sizeof(s->le), "%.*s", (int)v, value);
    else
        snprintf(labels + len, cap - len, "%.*s,", (int)(value + v + 1 - p), p);
    return value + v + 1;
}

static const char *read_sample(struct exposition *e, const char *p)
{
    struct series *s = &e->series[e->n++];
    size_t n = name_len(p);
    char labels[512] = "", *end;

    assert_true(e->n < SERIES_MAX && n > 0);
    s->name = strndup(p, n);
    s->family = e->nfamilies - 1;
    p += n;
    if (*p == '{') {
        do
            p = read_label(s, labels, sizeof(labels), p + 1);
        while (*p == ',');
        p = expect_text(p, "}");
    }
    s->labels = strdup(labels);
    p = expect_text(p, " ");
    s->value = strtod(p, &end);
    assert_true(end > p && *end == '\n'); /* and no timestamp */
    return end + 1;
}

static void read_exposition(struct exposition *e, const char *text)
{
    memset(e, 0, sizeof(*e));
    while (*text) {
        if (*text == '#') {
            text = read_family(e, text);
        } else {
            assert_true(e->nfamilies > 0);
            text = read_sample(e, text);
        }
        e->families[e->nfamilies - 1].end = e->n;
    }
}

static void exposition_free(struct exposition *e)
{
    for (size_t i = 0; i < e->n; i++) {
        free(e->series[i].name);
        free(e->series[i].labels);
    }
}

/* NULL: there is none. */
static const struct series *find(const struct exposition *e, const char *name, const char *labels)
{
    for (size_t i = 0; i < e->n; i++)
        if (!e->series[i].le[0] && strcmp(e->series[i].name, name) == 0 &&
            strcmp(e->series[i].labels, labels) == 0)
            return &e->series[i];
    return NULL;
}

static double value(const struct exposition *e, const char *name, const char *labels)
{
    const struct series *s = find(e, name, labels);

    if (!s)
        fail_msg("there is no %s{%s}", name, labels);
    return s ? s->value : 0;
}

/* --- the rules --- */

static void check_name(const struct family *f)
{
    static const char *const units[] = {"_ms",      "_us",    "_ns",    "_minutes",
                                        "_hours",   "_kib",   "_mib",   "_kilobytes",
                                        "_percent", "_milli", "_micro", "_counter"};
    bool counter = strcmp(f->kind, "counter") == 0;

    assert_true(strncmp(f->name, "roost_", 6) == 0 || strncmp(f->name, "process_", 8) == 0);
    for (const char *p = f->name; *p; p++)
        assert_true(islower((unsigned char)*p) || isdigit((unsigned char)*p) || *p == '_');
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        assert_null(strstr(f->name, units[i]));
    assert_int_equal(ends_with(f->name, "_total"), counter);
    assert_false(ends_with(f->name, "_count") || ends_with(f->name, "_sum") ||
                 ends_with(f->name, "_bucket"));
    assert_true(counter || strcmp(f->kind, "gauge") == 0 || strcmp(f->kind, "histogram") == 0);
}

/* The buckets of one set of labels: ascending, cumulative, with all at the end. */
static size_t check_histogram(const struct exposition *e, const struct family *f, size_t at)
{
    const char *labels = e->series[at].labels;
    char name[160];
    double le = 0, n = 0;

    snprintf(name, sizeof(name), "%s_bucket", f->name);
    for (; at < f->end && strcmp(e->series[at].name, name) == 0; at++) {
        const struct series *s = &e->series[at];

        assert_string_equal(s->labels, labels);
        assert_true(s->le[0] && strtod(s->le, NULL) > le);
        assert_true(s->value >= n);
        le = strtod(s->le, NULL);
        n = s->value;
    }
    assert_string_equal(e->series[at - 1].le, "+Inf");
    snprintf(name, sizeof(name), "%s_sum", f->name);
    assert_string_equal(e->series[at].name, name);
    assert_string_equal(e->series[at].labels, labels);
    assert_true(n > 0 || e->series[at].value == 0);
    snprintf(name, sizeof(name), "%s_count", f->name);
    assert_string_equal(e->series[at + 1].name, name);
    assert_string_equal(e->series[at + 1].labels, labels);
    assert_true(e->series[at + 1].value == n);
    return at + 2;
}

static void check_family(const struct exposition *e, const struct family *f)
{
    check_name(f);
    assert_true(f->end > f->first || strcmp(f->name, "roost_worker_busy_seconds_total") == 0);
    if (strcmp(f->kind, "histogram") == 0) {
        for (size_t i = f->first; i < f->end;)
            i = check_histogram(e, f, i);
        return;
    }
    for (size_t i = f->first; i < f->end; i++) {
        assert_string_equal(e->series[i].name, f->name);
        assert_true(e->series[i].value >= 0 && !e->series[i].le[0]);
        for (size_t k = f->first; k < i; k++)
            assert_string_not_equal(e->series[i].labels, e->series[k].labels);
    }
}

static void check_all(const struct exposition *e)
{
    for (size_t i = 0; i < e->nfamilies; i++) {
        check_family(e, &e->families[i]);
        assert_string_equal(e->families[i].name, metrics_name(i));
        if (i)
            assert_true(strcmp(e->families[i - 1].name, e->families[i].name) < 0);
    }
    assert_null(metrics_name(e->nfamilies));
}

/* --- guests at work, and a scrape --- */

static struct rig rig;
static struct metrics *metrics;
static struct admin *admin;
static char sock[300];
static bool without_names;

static void rest(void *ctx, struct metrics_rest *out)
{
    (void)ctx;
    *out = (struct metrics_rest){.images = 1, .image_bytes = 4096, .connections = 2};
}

static void ready(void *ctx, admin_check *check, void *to)
{
    (void)ctx;
    check(to, "made-up", NULL);
}

static int start(void **state)
{
    static struct tmp_dir dir;
    struct metrics_source source = {.without_names = &without_names, .rest = rest};
    struct admin_source asource = {.ready = ready};
    struct err err = {0};

    *state = &dir;
    signal(SIGPIPE, SIG_IGN);
    without_names = false;
    rig = (struct rig){0};
    if (tmp_dir_make(&dir) < 0 || !rig_open(&rig, dir.path, 1, true))
        return -1;
    source.loop = rig.loop;
    source.guests = rig.guests;
    source.arena = rig.arena;
    source.db = rig.db;
    if (metrics_new(&metrics, &source, &err) < 0)
        return -1;
    asource.metrics = metrics;
    snprintf(sock, sizeof(sock), "%s/s", dir.path);
    return admin_new(&admin, rig.loop, sock, NULL, &asource, &err);
}

static int stop(void **state)
{
    admin_free(admin);
    metrics_free(metrics);
    rig_close(&rig);
    tmp_dir_remove(*state);
    return 0;
}

struct question {
    struct http1_answer answer;
    struct err err;
    int rc;
    atomic_bool done;
};

static void *ask(void *arg)
{
    struct question *q = arg;

    q->rc = http1_get_unix(&q->answer, sock, "/metrics", 0, &q->err);
    atomic_store(&q->done, true);
    loop_wake(rig.loop);
    return NULL;
}

static void scrape(struct exposition *e)
{
    struct question q = {0};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, ask, &q), 0);
    while (!atomic_load(&q.done))
        loop_turn(rig.loop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (q.rc < 0)
        fail_msg("%s", q.err.msg);
    assert_int_equal(q.answer.status, 200);
    assert_string_equal(q.answer.content_type, METRICS_CONTENT_TYPE);
    read_exposition(e, buf_cstr(&q.answer.body));
    check_all(e);
    http1_answer_free(&q.answer);
}

static struct exposition before, after;

static void change(struct guest *g, int n)
{
    char body[256];

    snprintf(body, sizeof(body),
             "{\"apiVersion\":\"amurant.io/v1\",\"kind\":\"TestResource\",\"metadata\":{\"name\":"
             "\"a\",\"namespace\":\"test\",\"uid\":\"u\",\"resourceVersion\":\"%d\"}}",
             n);
    rig_change(&rig, g, "test/a", body);
    assert_true(rig_settle(&rig, g, 20));
}

static void check_counters_only_grow(void)
{
    for (size_t i = 0; i < before.n; i++) {
        const struct series *s = &before.series[i];

        if (!s->le[0] && strcmp(before.families[s->family].kind, "gauge") != 0)
            assert_true(value(&after, s->name, s->labels) >= s->value);
    }
}

static void test_numbers_of_guests_at_work(void **state)
{
    static const char *const env[] = {"SEED=7", "MEMORY_MIB=1", "GROW_EVERY=3", NULL};
    struct guest *a, *b;
    double states = 0;

    (void)state;
    scrape(&before);
    assert_true(value(&before, "roost_wakes_total", "") == 0);
    a = rig_add(&rig, "ledger", "a", env, NULL);
    b = rig_add(&rig, "ledger", "b", env, NULL);
    assert_true(a && b);
    for (int i = 1; i <= 10; i++)
        change(a, i);
    change(b, 11);
    scrape(&after);
    check_counters_only_grow();
    assert_true(value(&after, "roost_events_total", "result=\"handled\",") == 11);
    assert_true(value(&after, "roost_fresh_starts_total", "") == 2);
    assert_true(value(&after, "roost_wakes_total", "") == 9);
    assert_true(value(&after, "roost_sleeps_total", "") == 11);
    assert_true(value(&after, "roost_wake_duration_seconds_count", "") == 11);
    assert_true(value(&after, "roost_sleep_duration_seconds_count", "") == 11);
    assert_true(value(&after, "roost_guests", "state=\"Asleep\",") == 2);
    guest_hold(b);
    exposition_free(&after);
    scrape(&after);
    guest_release(b);
    assert_true(value(&after, "roost_guests", "state=\"Asleep\",") == 1);
    assert_true(value(&after, "roost_guests", "state=\"Pending\",") == 1);
    assert_true(value(&after, "roost_queue_depth", "") == 0);
    assert_true(value(&after, "roost_snapshot_bytes", "") > 0);
    assert_true(value(&after, "roost_image_bytes", "") == 4096);
    assert_true(value(&after, "process_resident_memory_bytes", "") > 1 << 20);
    assert_true(value(&after, "roost_guest_events_total", "guest=\"a\",namespace=\"test\",") == 10);
    assert_true(value(&after, "roost_guest_wakes_total", "guest=\"a\",namespace=\"test\",") == 9);
    for (size_t i = 0; i < after.n; i++)
        if (strcmp(after.series[i].name, "roost_guests") == 0)
            states += after.series[i].value;
    assert_true(states == 2);
    exposition_free(&before);
    exposition_free(&after);
}

/* /v1/stats?reset is for benchmarks; what Prometheus reads goes on growing. */
static void test_a_reset_of_stats_is_not_seen(void **state)
{
    static const char *const env[] = {"SEED=7", "MEMORY_MIB=1", "GROW_EVERY=3", NULL};
    struct guest *a;

    (void)state;
    a = rig_add(&rig, "ledger", "a", env, NULL);
    assert_non_null(a);
    change(a, 1);
    change(a, 2);
    scrape(&before);
    guests_stats_reset(rig.guests);
    assert_int_equal(guests_stats(rig.guests)->counts.events, 0);
    scrape(&after);
    check_counters_only_grow();
    exposition_free(&after);
    change(a, 3);
    scrape(&after);
    assert_true(value(&after, "roost_events_total", "result=\"handled\",") == 3);
    assert_true(value(&after, "roost_wakes_total", "") == 2);
    assert_true(value(&after, "roost_wake_duration_seconds_count", "") == 3);
    exposition_free(&before);
    exposition_free(&after);
}

static void test_names_can_be_left_out(void **state)
{
    static const char *const env[] = {"SEED=7", "MEMORY_MIB=1", "GROW_EVERY=3", NULL};
    struct guest *a;

    (void)state;
    a = rig_add(&rig, "ledger", "a", env, NULL);
    assert_non_null(a);
    change(a, 1);
    without_names = true;
    scrape(&after);
    assert_null(find(&after, "roost_guest_events_total", "guest=\"a\",namespace=\"test\","));
    assert_true(value(&after, "roost_guest_events_total", "guest=\"other\",namespace=\"\",") == 1);
    exposition_free(&after);
}

/* A client that goes before its answer is made, and a server that ends before. */
static void test_a_scrape_that_nobody_waits_for(void **state)
{
    struct question q = {0};
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, ask, &q), 0);
    while (http1_server_connections(admin_server(admin)) == 0)
        loop_turn(rig.loop, true);
    admin_free(admin);
    metrics_free(metrics);
    admin = NULL;
    metrics = NULL;
    while (!atomic_load(&q.done))
        loop_turn(rig.loop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(q.rc, -1);
    http1_answer_free(&q.answer);
}

/* --- the census --- */

#define MANY (3 * METRICS_GUESTS_MAX)

static void have_events(struct census *c, struct guest *g, struct guest_counts *total, unsigned n)
{
    for (; n > 0; n--) {
        g->counts.events++;
        total->events++;
        if (!g->named && g->counts.events >= c->bar)
            census_event(c, g);
    }
}

static bool is_named(const struct census *c, const struct guest *g)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->named[i].guest == g)
            return true;
    return false;
}

static void test_names_at_their_edge(void **state)
{
    static struct guest guests[MANY];
    struct census c = {0};
    struct guest_counts total = {0};
    uint64_t others = 0;

    (void)state;
    memset(guests, 0, sizeof(guests));
    for (unsigned round = 0; round < 100; round++) { /* all have as many: names do not change */
        for (size_t i = 0; i < MANY; i++)
            have_events(&c, &guests[i], &total, 1);
        assert_int_equal(c.n, METRICS_GUESTS_MAX);
        for (size_t i = 0; i < MANY; i++)
            assert_int_equal(is_named(&c, &guests[i]), i < METRICS_GUESTS_MAX);
        assert_true(census_others(&c, &total).events >= others);
        others = census_others(&c, &total).events;
    }
    for (size_t i = MANY - METRICS_GUESTS_MAX; i < MANY; i++) { /* these are clearly busier */
        have_events(&c, &guests[i], &total, 1000);
        assert_true(is_named(&c, &guests[i]));
        assert_true(guests[i].named);
        assert_true(census_others(&c, &total).events >= others);
        others = census_others(&c, &total).events;
    }
    assert_false(is_named(&c, &guests[0]) || guests[0].named);
    census_forget(&c, &guests[MANY - 1]);
    assert_int_equal(c.n, METRICS_GUESTS_MAX - 1);
    assert_int_equal(census_others(&c, &total).events, others);
    have_events(&c, &guests[0], &total, 1);
    assert_true(is_named(&c, &guests[0]));
}

/* --- what names the metrics --- */

static bool writing; /* the page, anew */

static char *read_file(const char *path)
{
    static char full[1024];
    FILE *f;
    char *text = calloc(1, MIB);

    snprintf(full, sizeof(full), "%s/%s", ROOST_SOURCE_DIR, path);
    f = fopen(full, "re");
    if (!f)
        fail_msg("%s: %s", full, strerror(errno));
    assert_true(fread(text, 1, MIB - 1, f) > 0);
    fclose(f);
    return text;
}

static void test_the_page_has_each_metric(void **state)
{
    static const char head[] = "| name | type | | labels |\n|---|---|---|---|\n";
    AUTO_BUF struct buf table = {0};
    char *page = read_file("docs/metrics.md"), *at = strstr(page, head);
    FILE *f;

    (void)state;
    assert_non_null(at);
    assert_int_equal(metrics_document(&table), 0);
    if (writing) {
        at[strlen(head)] = 0;
        f = fopen(ROOST_SOURCE_DIR "/docs/metrics.md", "we");
        assert_non_null(f);
        fprintf(f, "%s%s", page, buf_cstr(&table));
        fclose(f);
    } else {
        assert_string_equal(at + strlen(head), buf_cstr(&table));
    }
    free(page);
}

static bool is_metric(const char *name, size_t len)
{
    static const char *const ends[] = {"", "_bucket", "_sum", "_count"};

    for (size_t i = 0; metrics_name(i); i++) {
        size_t n = strlen(metrics_name(i));

        for (size_t k = 0; k < 4 && n <= len && memcmp(name, metrics_name(i), n) == 0; k++)
            if (strlen(ends[k]) == len - n && memcmp(name + n, ends[k], len - n) == 0)
                return true;
    }
    return false;
}

/* How many metrics an expression names; each must be there. */
static size_t check_expression(const char *expr)
{
    size_t found = 0;

    for (const char *p = expr; *p;) {
        size_t n = name_len(p);

        if (n && (strncmp(p, "roost_", 6) == 0 || strncmp(p, "process_", 8) == 0)) {
            if (!is_metric(p, n))
                fail_msg("there is no metric %.*s: %s", (int)n, p, expr);
            found++;
        }
        p += n ? n : 1;
    }
    return found;
}

static size_t check_expressions(const json_t *json)
{
    size_t found = 0, i;
    const char *key;
    json_t *value;

    if (json_is_array(json))
        json_array_foreach(json, i, value) found += check_expressions(value);
    json_object_foreach((json_t *)json, key, value)
    {
        if (json_is_string(value) && (strcmp(key, "expr") == 0 || strcmp(key, "query") == 0 ||
                                      strcmp(key, "definition") == 0))
            found += check_expression(json_string_value(value));
        else
            found += check_expressions(value);
    }
    return found;
}

static void test_the_dashboard_names_only_what_is_there(void **state)
{
    char *text = read_file("deploy/grafana/roost.json");
    json_error_t error;
    json_t *board = json_loads(text, JSON_REJECT_DUPLICATES, &error);

    (void)state;
    if (!board)
        fail_msg("deploy/grafana/roost.json:%d: %s", error.line, error.text);
    assert_true(json_array_size(json_object_get(board, "panels")) > 10);
    assert_true(check_expressions(board) > 20);
    assert_int_equal(
        check_expression("rate(roost_wakes_total[5m]) + roost_wake_duration_seconds_sum"), 2);
    assert_false(is_metric("roost_wakes", 11));
    json_decref(board);
    free(text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_numbers_of_guests_at_work, start, stop),
        cmocka_unit_test_setup_teardown(test_a_reset_of_stats_is_not_seen, start, stop),
        cmocka_unit_test_setup_teardown(test_names_can_be_left_out, start, stop),
        cmocka_unit_test_setup_teardown(test_a_scrape_that_nobody_waits_for, start, stop),
        cmocka_unit_test(test_names_at_their_edge),
        cmocka_unit_test(test_the_page_has_each_metric),
        cmocka_unit_test(test_the_dashboard_names_only_what_is_there),
    };

    writing = argc > 1 && strcmp(argv[1], "--write") == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
