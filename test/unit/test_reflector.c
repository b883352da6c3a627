/* The reflector against a scripted server on a clock of the test's own; then, at random, against a
 * server that fails in every way it can, with a change table behind. */
#include "fake_kube.h"

#include "base/limits.h"
#include "kube/reflector.h"
#include "kube/table.h"

#include <stdio.h>

struct fixture {
    struct fake_kube fake;
    struct reflector *r;
    char log[8192]; /* what the sink was told: "begin! +a@1 -a@2 end " */
    enum reflector_state state;
    struct err err;    /* of the last `state`; code 0: well */
    bool stop_in_sink; /* at the next upsert */
};

static void note(struct fixture *f, const char *what, const struct kube_object *obj)
{
    size_t len = strlen(f->log);
    char key[OBJECT_KEY_MAX + 1] = "";

    if (obj)
        kube_object_key(key, obj);
    snprintf(f->log + len, sizeof(f->log) - len, "%s%s%s%s ", what, key, obj ? "@" : "",
             obj ? obj->resource_version : "");
}

static void relist_begin(void *ctx, bool anew)
{
    note(ctx, anew ? "begin!" : "begin", NULL);
}

static void upsert(void *ctx, struct kube_object *obj)
{
    struct fixture *f = ctx;

    note(f, "+", obj);
    if (f->stop_in_sink)
        reflector_stop(f->r);
}

static void deleted(void *ctx, struct kube_object *obj)
{
    note(ctx, "-", obj);
}

static void relist_end(void *ctx)
{
    note(ctx, "end", NULL);
}

static void skipped(void *ctx, const char *namespace_, const char *name, const struct err *err)
{
    struct fixture *f = ctx;
    char text[400];

    assert_true(err->code != ERR_NONE);
    snprintf(text, sizeof(text), "?%s/%s", namespace_, name);
    note(f, text, NULL);
}

static void state_changed(void *ctx, enum reflector_state state, const struct err *err)
{
    struct fixture *f = ctx;

    f->state = state;
    f->err = err ? *err : (struct err){0};
}

static const struct reflector_sink sink = {relist_begin, upsert,        deleted, relist_end,
                                           skipped,      state_changed, NULL};

static int open_with(struct fixture *f, const char *version, const char *query)
{
    struct reflector_opts opts = {.path = "/apis/g/v1/things",
                                  .query = query,
                                  .kind = {.api_version = "g/v1", .kind = "Thing"},
                                  .resource_version = version,
                                  .seed = 1,
                                  .http = fake_http(&f->fake),
                                  .time = fake_time(&f->fake),
                                  .sink = sink};
    struct err err;

    opts.sink.ctx = f;
    assert_int_equal(reflector_new(&f->r, &opts, &err), 0);
    return reflector_start(f->r, &err);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    fake_init(&f->fake);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    reflector_free(f->r);
    for (size_t i = 0; i < f->fake.n; i++)
        assert_false(f->fake.streams[i]->open);
    assert_int_equal(timers_next(&f->fake.timers), 0);
    fake_free(&f->fake);
    free(f);
    return 0;
}

static void check_log(struct fixture *f, const char *want)
{
    assert_string_equal(f->log, want);
    f->log[0] = 0;
}

#define OBJ(name, rv)                                                                              \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"n\",\"resourceVersion\":\"" rv "\"}}"
#define EV(type, name, rv) "{\"type\":\"" type "\",\"object\":" OBJ(name, rv) "}\n"
#define BOOKMARK(rv)                                                                               \
    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" rv "\"}}}\n"
#define SYNCED(rv)                                                                                 \
    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" rv                   \
    "\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n"
#define GONE                                                                                       \
    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\","     \
    "\"message\":\"too old\"}}\n"

static void data(struct kube_stream *s, const char *text)
{
    fake_data(s, text, strlen(text));
}

static bool asks(const struct kube_stream *s, const char *part)
{
    return strstr(s->path, part) != NULL;
}

static unsigned timeout_of(const struct kube_stream *s)
{
    const char *at = strstr(s->path, "timeoutSeconds=");

    assert_non_null(at);
    return (unsigned)strtoul(at + strlen("timeoutSeconds="), NULL, 10);
}

/* Through a streaming list of one object to the watch, at version 10. */
static struct kube_stream *synced(struct fixture *f)
{
    struct kube_stream *s;

    assert_int_equal(open_with(f, NULL, NULL), 0);
    s = fake_last(&f->fake);
    fake_head(s, 200, "");
    data(s, EV("ADDED", "a", "5") SYNCED("10"));
    check_log(f, "begin! +n/a@5 end ");
    assert_int_equal(f->state, REFLECTOR_WATCHING);
    return s;
}

/* No request comes before, one does by then. */
static void check_pause(struct fixture *f, uint64_t min_ms, uint64_t max_ms)
{
    size_t n = f->fake.n;

    fake_pass(&f->fake, min_ms * NS_PER_MS - 1);
    assert_int_equal(f->fake.n, n);
    fake_pass(&f->fake, (max_ms - min_ms) * NS_PER_MS + 1);
    assert_int_equal(f->fake.n, n + 1);
}

/* Until the next request is under way. */
static struct kube_stream *next_request(struct fixture *f)
{
    for (int i = 0; i < 60 && !f->fake.streams[f->fake.n - 1]->open; i++)
        fake_pass(&f->fake, 1 * NS_PER_S);
    return fake_last(&f->fake);
}

/* --- lists --- */

static void test_a_streaming_list_becomes_the_watch(void **state)
{
    struct fixture *f = *state;
    struct reflector_stats stats;
    struct kube_stream *s;

    assert_int_equal(open_with(f, NULL, NULL), 0);
    s = fake_last(&f->fake);
    assert_int_equal(s->lane, KUBE_WATCH);
    assert_true(asks(s, "/apis/g/v1/things?watch=true&sendInitialEvents=true"
                        "&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"));
    assert_false(asks(s, "resourceVersion="));
    assert_in_range(timeout_of(s), 300, 600);
    assert_int_equal(f->state, REFLECTOR_STREAMING);
    fake_head(s, 200, "");
    data(s, EV("ADDED", "a", "5") EV("ADDED", "b", "6"));
    data(s, SYNCED("10") EV("MODIFIED", "a", "11"));
    data(s, EV("DELETED", "b", "12") BOOKMARK("20"));
    check_log(f, "begin! +n/a@5 +n/b@6 end +n/a@11 -n/b@12 ");
    reflector_stats(f->r, &stats);
    assert_int_equal(stats.state, REFLECTOR_WATCHING);
    assert_true(stats.synced);
    assert_int_equal(stats.relists, 1);
    assert_int_equal(stats.events, 2);
    assert_int_equal(stats.bookmarks, 2);
    assert_int_equal(stats.reconnects, 0);
    assert_int_equal(stats.last_contact_ns, f->fake.now_ns);
    assert_string_equal(stats.resource_version, "20");
    assert_int_equal(f->err.code, ERR_NONE);
}

static void refuse_and_list(struct fixture *f, int status, const char *body)
{
    struct kube_stream *s;

    assert_int_equal(open_with(f, NULL, "labelSelector=x%3Dy"), 0);
    fake_answer(fake_last(&f->fake), status, "", body);
    s = fake_last(&f->fake);
    assert_string_equal(s->path, "/apis/g/v1/things?labelSelector=x%3Dy&limit=500");
    assert_int_equal(s->lane, KUBE_CALL);
    assert_int_equal(f->state, REFLECTOR_LISTING);
    assert_int_equal(f->err.code, ERR_NONE);
}

static void test_a_refused_stream_becomes_a_paged_list(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s;

    refuse_and_list(f, 422, "{\"kind\":\"Status\",\"message\":\"sendInitialEvents is forbidden\"}");
    fake_answer(fake_last(&f->fake), 200, "",
                "{\"metadata\":{\"resourceVersion\":\"10\",\"continue\":\"a+/=\"},\"items\":[" OBJ(
                    "a", "1") "]}");
    s = fake_last(&f->fake);
    assert_string_equal(s->path,
                        "/apis/g/v1/things?labelSelector=x%3Dy&limit=500&continue=a%2B%2F%3D");
    fake_answer(s, 200, "",
                "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[" OBJ("b", "2") "]}");
    check_log(f, "begin! +n/a@1 +n/b@2 end ");
    s = fake_last(&f->fake);
    assert_true(asks(s, "&resourceVersion=10"));
    assert_true(asks(s, "allowWatchBookmarks=true"));
    assert_int_equal(s->lane, KUBE_WATCH);
    assert_int_equal(f->state, REFLECTOR_WATCHING);
    fake_head(s, 200, "");
    data(s, EV("ADDED", "c", "11") GONE);
    /* The refusal is remembered. */
    fake_pass(&f->fake, 1);
    assert_true(asks(fake_last(&f->fake), "limit=500"));
}

static void test_which_answers_refuse_a_stream(void **state)
{
    struct fixture *f = *state;
    static const char forbidden[] =
        "{\"kind\":\"Status\",\"message\":\"resourceVersionMatch is forbidden for watch\"}";

    refuse_and_list(f, 400, "");
    reflector_free(f->r);
    refuse_and_list(f, 403, forbidden);
    reflector_free(f->r);
    assert_int_equal(open_with(f, NULL, NULL), 0);
    fake_answer(fake_last(&f->fake), 403, "", "{\"kind\":\"Status\",\"message\":\"RBAC\"}");
    assert_int_equal(f->state, REFLECTOR_RELIST_WAIT);
    assert_int_equal(f->err.code, ERR_DENIED);
}

static void test_an_expired_page_token_becomes_one_full_list(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s;

    refuse_and_list(f, 400, "");
    fake_answer(fake_last(&f->fake), 200, "",
                "{\"metadata\":{\"resourceVersion\":\"10\",\"continue\":\"t\"},\"items\":[" OBJ(
                    "a", "1") "]}");
    fake_answer(fake_last(&f->fake), 410, "", "{\"kind\":\"Status\",\"reason\":\"Expired\"}");
    s = fake_last(&f->fake);
    assert_string_equal(s->path, "/apis/g/v1/things?labelSelector=x%3Dy&limit=0");
    fake_answer(s, 200, "",
                "{\"items\":[" OBJ("a", "1") "," OBJ(
                    "b", "12") "],\"metadata\":{\"resourceVersion\":\"13\"}}");
    check_log(f, "begin! +n/a@1 begin! +n/a@1 +n/b@12 end ");
    assert_true(asks(fake_last(&f->fake), "&resourceVersion=13"));
    assert_int_equal(f->err.code, ERR_NONE);
}

static void test_kind_and_version_are_put_into_items(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);

    /* The fixture's log shows identities alone; the object is looked at in test_object. A name
     * that cannot be is skipped by name, and the stream goes on. */
    data(s, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"x/y\",\"namespace\":\"n\","
            "\"resourceVersion\":\"11\"}}}" EV("ADDED", "b", "12"));
    check_log(f, "?n/x/y +n/b@12 ");
}

static void test_an_object_over_the_limit_is_skipped(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);
    struct reflector_stats stats;
    char *fill = malloc(16384 + 1);

    assert_non_null(fill);
    memset(fill, 'x', 16384);
    fill[16384] = 0;
    data(s, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"big\",\"namespace\":\"n\","
            "\"resourceVersion\":\"11\"},\"data\":\"");
    for (size_t n = 0; n <= KUBE_EVENT_MAX; n += 16384)
        data(s, fill);
    data(s, "\"}}\n" EV("ADDED", "b", "12"));
    check_log(f, "?n/big +n/b@12 ");
    reflector_stats(f->r, &stats);
    assert_int_equal(stats.skipped, 1);
    free(fill);
}

static void test_a_list_that_breaks_off_begins_again(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s;

    assert_int_equal(open_with(f, NULL, NULL), 0);
    fake_head(fake_last(&f->fake), 200, "");
    data(fake_last(&f->fake), EV("ADDED", "a", "5") "{\"type\":\"ADD");
    fake_break(fake_last(&f->fake));
    assert_int_equal(f->state, REFLECTOR_RELIST_WAIT);
    assert_int_equal(f->err.code, ERR_NET);
    check_pause(f, 800, 1600);
    s = fake_last(&f->fake);
    assert_true(asks(s, "sendInitialEvents"));
    fake_head(s, 200, "");
    /* A clean end before the bookmark is no end of a list either. */
    data(s, EV("ADDED", "a", "5"));
    fake_end(s, NULL);
    assert_int_equal(f->state, REFLECTOR_RELIST_WAIT);
    check_log(f, "begin! +n/a@5 begin! +n/a@5 ");
    check_pause(f, 1600, 3200);
}

/* --- watches --- */

static void test_a_clean_end_is_resumed_at_once_from_the_newest_version(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);
    struct reflector_stats stats;

    data(s, EV("MODIFIED", "a", "11"));
    fake_pass(&f->fake, 400 * NS_PER_S);
    fake_end(s, NULL);
    s = fake_last(&f->fake);
    assert_true(asks(s, "&resourceVersion=11"));
    assert_false(asks(s, "sendInitialEvents"));
    fake_head(s, 200, "");
    data(s, BOOKMARK("50"));
    fake_pass(&f->fake, 300 * NS_PER_S);
    fake_end(s, NULL);
    s = fake_last(&f->fake);
    assert_true(asks(s, "&resourceVersion=50"));
    check_log(f, "+n/a@11 ");
    reflector_stats(f->r, &stats);
    assert_int_equal(stats.reconnects, 2);
    assert_int_equal(stats.relists, 1);
    assert_int_equal(f->err.code, ERR_NONE);
}

static void test_a_watch_that_ends_at_once_backs_off(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);

    fake_pass(&f->fake, 200 * NS_PER_S);
    fake_end(s, NULL);
    s = fake_last(&f->fake);
    fake_head(s, 200, "");
    fake_end(s, NULL);
    assert_int_equal(f->state, REFLECTOR_REWATCH_WAIT);
    assert_int_equal(f->err.code, ERR_AGAIN);
    check_pause(f, 800, 1600);
}

static void test_a_broken_watch_resumes_after_a_pause_and_lists_nothing(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);

    data(s, EV("MODIFIED", "a", "11") "{\"type\":\"MODIFIED\",\"obj");
    fake_break(s);
    assert_int_equal(f->state, REFLECTOR_REWATCH_WAIT);
    assert_int_equal(f->err.code, ERR_NET);
    check_pause(f, 800, 1600);
    s = fake_last(&f->fake);
    assert_true(asks(s, "&resourceVersion=11"));
    fake_head(s, 200, "");
    assert_int_equal(f->err.code, ERR_NONE);
    data(s, EV("MODIFIED", "a", "12"));
    check_log(f, "+n/a@11 +n/a@12 ");
}

static void test_a_clean_end_in_the_middle_of_an_event_is_none(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);

    fake_pass(&f->fake, 10 * NS_PER_S);
    data(s, "{\"type\":\"MODIFIED\",\"object\":{}");
    fake_end(s, NULL);
    assert_int_equal(f->state, REFLECTOR_REWATCH_WAIT);
    assert_int_equal(f->err.code, ERR_NET);
}

static void test_gone_as_an_event_or_a_status_relists(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);

    data(s, GONE EV("ADDED", "never", "1"));
    assert_true(s->cancelled);
    assert_int_equal(f->err.code, ERR_GONE);
    fake_pass(&f->fake, 0); /* the first one after health is immediate */
    s = fake_last(&f->fake);
    assert_true(asks(s, "sendInitialEvents"));
    fake_head(s, 200, "");
    data(s, EV("ADDED", "b", "70") SYNCED("80"));
    check_log(f, "begin +n/b@70 end ");
    assert_int_equal(f->err.code, ERR_NONE);
    fake_pass(&f->fake, 1 * NS_PER_S);
    fake_end(s, NULL);
    fake_answer(fake_last(&f->fake), 410, "", "{\"kind\":\"Status\",\"code\":410}");
    assert_int_equal(f->state, REFLECTOR_RELIST_WAIT);
    check_pause(f, 800, 1600); /* the second one is not */
}

static void test_too_many_requests_backs_off_without_a_relist(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);

    fake_pass(&f->fake, 5 * NS_PER_S);
    fake_end(s, NULL);
    fake_answer(fake_last(&f->fake), 429, "retry-after: 17\n", "");
    assert_int_equal(f->state, REFLECTOR_REWATCH_WAIT);
    assert_int_equal(f->err.code, ERR_AGAIN);
    check_pause(f, 17000, 17000);
    assert_true(asks(fake_last(&f->fake), "&resourceVersion=10"));
    /* A server cannot silence us for ever. */
    fake_answer(fake_last(&f->fake), 503, "Retry-After: 86400\n", "");
    check_pause(f, REFLECTOR_RETRY_AFTER_MAX_S * 1000, REFLECTOR_RETRY_AFTER_MAX_S * 1000);
}

static void test_no_rights_and_no_such_resource_are_conditions_and_retried(void **state)
{
    static const struct {
        int status;
        enum err_code code;
    } cases[] = {{401, ERR_DENIED}, {403, ERR_DENIED}, {404, ERR_NOT_FOUND}};
    struct fixture *f = *state;
    unsigned pause_ms = 800;

    assert_int_equal(open_with(f, NULL, NULL), 0);
    for (size_t i = 0; i < 3; i++, pause_ms *= 2) {
        fake_answer(fake_last(&f->fake), cases[i].status, "",
                    "{\"kind\":\"Status\",\"message\":\"why\"}");
        assert_int_equal(f->err.code, cases[i].code);
        assert_non_null(strstr(f->err.msg, "/apis/g/v1/things: why"));
        check_pause(f, pause_ms, 2 * pause_ms);
    }
    fake_head(fake_last(&f->fake), 200, "");
    data(fake_last(&f->fake), SYNCED("10"));
    assert_int_equal(f->err.code, ERR_NONE);
}

static void test_back_off_doubles_to_its_maximum_and_health_ends_it(void **state)
{
    static const unsigned pauses_ms[] = {800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);

    for (size_t i = 0; i < sizeof(pauses_ms) / sizeof(pauses_ms[0]); i++) {
        /* Connected, but not for two minutes. */
        fake_pass(&f->fake, 10 * NS_PER_S);
        fake_break(s);
        check_pause(f, pauses_ms[i], 2 * pauses_ms[i]);
        s = fake_last(&f->fake);
        fake_head(s, 200, "");
    }
    fake_pass(&f->fake, 120 * NS_PER_S);
    fake_break(s);
    check_pause(f, 800, 1600);
}

static void test_a_long_outage(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);
    size_t n = f->fake.n;

    fake_break(s);
    while (f->fake.now_ns < 1600 * NS_PER_S) {
        fake_pass(&f->fake, 1 * NS_PER_S);
        if (f->fake.streams[f->fake.n - 1]->open)
            fake_break(fake_last(&f->fake));
    }
    /* Ten minutes: some 15 attempts, not hundreds. */
    assert_in_range(f->fake.n - n, 10, 30);
    assert_true(asks(next_request(f), "&resourceVersion=10"));
    fake_head(fake_last(&f->fake), 200, "");
    data(fake_last(&f->fake), GONE);
    assert_true(asks(next_request(f), "sendInitialEvents"));
}

static void test_garbled_bytes_relist(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);

    data(s, EV("ADDED", "b", "11") "<html>");
    assert_true(s->cancelled);
    assert_int_equal(f->err.code, ERR_INVALID);
    fake_pass(&f->fake, 0);
    assert_true(asks(fake_last(&f->fake), "sendInitialEvents"));
    check_log(f, "+n/b@11 ");
}

static void test_an_error_event_that_is_not_gone_resumes(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);

    data(s, "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":500,\"message\":\"x\"}}");
    assert_int_equal(f->state, REFLECTOR_REWATCH_WAIT);
    assert_int_equal(f->err.code, ERR_AGAIN);
    check_pause(f, 800, 1600);
    assert_true(asks(fake_last(&f->fake), "&resourceVersion=10"));
}

static void test_a_version_that_the_server_refuses_relists(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);

    fake_pass(&f->fake, 5 * NS_PER_S);
    fake_end(s, NULL);
    fake_answer(fake_last(&f->fake), 400, "", "");
    fake_pass(&f->fake, 0);
    assert_true(asks(fake_last(&f->fake), "sendInitialEvents"));
}

static void test_silence_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s;
    unsigned seconds;

    assert_int_equal(open_with(f, NULL, NULL), 0);
    s = fake_last(&f->fake);
    fake_head(s, 200, "");
    /* A list may take long, as long as it goes on. */
    for (int i = 0; i < 20; i++) {
        fake_pass(&f->fake, 50 * NS_PER_S);
        data(s, " ");
    }
    fake_pass(&f->fake, 59 * NS_PER_S);
    assert_int_equal(f->state, REFLECTOR_STREAMING);
    fake_pass(&f->fake, 1 * NS_PER_S);
    assert_int_equal(f->state, REFLECTOR_RELIST_WAIT);
    assert_int_equal(f->err.code, ERR_TIMEOUT);
    assert_true(s->cancelled);
    fake_pass(&f->fake, 2 * NS_PER_S);
    s = fake_last(&f->fake);
    fake_head(s, 200, "");
    data(s, SYNCED("10"));
    /* A watch may be silent until it should have ended. */
    fake_pass(&f->fake, 5 * NS_PER_S);
    fake_end(s, NULL);
    s = fake_last(&f->fake);
    fake_head(s, 200, "");
    seconds = timeout_of(s);
    fake_pass(&f->fake, (seconds + 59) * NS_PER_S);
    assert_int_equal(f->state, REFLECTOR_WATCHING);
    fake_pass(&f->fake, 1 * NS_PER_S);
    assert_int_equal(f->state, REFLECTOR_REWATCH_WAIT);
    assert_true(s->cancelled);
}

/* --- back in time --- */

static void test_an_older_list_is_refused_until_it_must_be_true(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);
    struct reflector_stats stats;

    data(s, GONE);
    for (unsigned i = 0; i < REFLECTOR_REWINDS_MAX; i++) {
        s = next_request(f);
        fake_head(s, 200, "");
        data(s, EV("ADDED", "a", "3") SYNCED("9"));
        assert_true(s->cancelled);
        assert_int_equal(f->err.code, ERR_AGAIN);
        assert_non_null(strstr(f->err.msg, "from version 10 to 9"));
        check_log(f, "begin +n/a@3 ");
    }
    s = next_request(f);
    fake_head(s, 200, "");
    data(s, EV("ADDED", "a", "3") SYNCED("9"));
    check_log(f, "begin! +n/a@3 end ");
    reflector_stats(f->r, &stats);
    assert_int_equal(stats.rewinds, REFLECTOR_REWINDS_MAX);
    assert_string_equal(stats.resource_version, "9");
}

static void test_an_older_page_is_refused_before_its_items(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(open_with(f, "99999999999999999999", NULL), 0);
    fake_answer(fake_last(&f->fake), 400, "", "");
    fake_head(fake_last(&f->fake), 200, "");
    data(fake_last(&f->fake), "{\"metadata\":{\"resourceVersion\":\"99999999999999999998\"},"
                              "\"items\":[" OBJ("a", "1"));
    assert_int_equal(f->state, REFLECTOR_RELIST_WAIT);
    check_log(f, "begin ");
    fake_pass(&f->fake, 2 * NS_PER_S);
    fake_answer(fake_last(&f->fake), 200, "",
                "{\"metadata\":{\"resourceVersion\":\"100000000000000000000\"},\"items\":[]}");
    check_log(f, "begin end ");
}

static void test_an_older_bookmark_relists_and_an_older_event_does_not_turn_back(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);
    struct reflector_stats stats;

    data(s, EV("MODIFIED", "a", "8"));
    reflector_stats(f->r, &stats);
    assert_string_equal(stats.resource_version, "10");
    data(s, BOOKMARK("9"));
    assert_true(s->cancelled);
    fake_pass(&f->fake, 0);
    assert_true(asks(fake_last(&f->fake), "sendInitialEvents"));
}

static void test_versions_that_are_no_decimals_are_never_older(void **state)
{
    struct fixture *f = *state;
    struct kube_stream *s = synced(f);
    struct reflector_stats stats;

    data(s, BOOKMARK("abc") BOOKMARK("2"));
    reflector_stats(f->r, &stats);
    assert_string_equal(stats.resource_version, "2");
    assert_int_equal(f->state, REFLECTOR_WATCHING);
}

/* --- stopping, and failures of our own --- */

static void test_stopping_in_every_state(void **state)
{
    struct fixture *f = *state;
    struct err err;

    assert_int_equal(open_with(f, NULL, NULL), 0);
    for (int i = 0; i < 6; i++) {
        struct kube_stream *s = f->fake.streams[f->fake.n - 1];

        if (i == 1)
            fake_answer(s, 500, "", ""); /* RELIST_WAIT */
        if (i >= 2)
            fake_head(s, 200, "");
        if (i >= 3)
            data(s, SYNCED("10")); /* WATCHING */
        if (i == 4)
            fake_break(s); /* REWATCH_WAIT */
        if (i == 5) {
            data(s, GONE);
            fake_pass(&f->fake, NS_PER_MS);
            fake_answer(fake_last(&f->fake), 400, "", ""); /* LISTING */
            assert_int_equal(f->state, REFLECTOR_LISTING);
        }
        reflector_stop(f->r);
        assert_int_equal(f->state, REFLECTOR_IDLE);
        assert_int_equal(f->err.code, ERR_NONE);
        assert_int_equal(timers_next(&f->fake.timers), 0);
        for (size_t k = 0; k < f->fake.n; k++)
            assert_false(f->fake.streams[k]->open);
        reflector_stop(f->r);
        assert_int_equal(reflector_start(f->r, &err), 0);
    }
}

static void test_stopping_from_within_the_sink(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(open_with(f, NULL, NULL), 0);
    f->stop_in_sink = true;
    fake_head(fake_last(&f->fake), 200, "");
    data(fake_last(&f->fake), EV("ADDED", "a", "1") EV("ADDED", "b", "2") SYNCED("10"));
    check_log(f, "begin! +n/a@1 ");
    assert_int_equal(f->state, REFLECTOR_IDLE);
}

static void test_a_request_that_cannot_be_sent_is_tried_again(void **state)
{
    struct fixture *f = *state;

    f->fake.refuse_sends = 2;
    assert_int_equal(open_with(f, NULL, NULL), 0);
    assert_int_equal(f->state, REFLECTOR_RELIST_WAIT);
    assert_int_equal(f->err.code, ERR_LIMIT);
    fake_pass(&f->fake, 5 * NS_PER_S);
    assert_int_equal(f->state, REFLECTOR_STREAMING);
}

static void test_paths_have_a_limit(void **state)
{
    struct fixture *f = *state;
    struct reflector_opts opts = {.http = fake_http(&f->fake), .time = fake_time(&f->fake)};
    char path[KUBE_PATH_MAX] = "/";
    struct reflector *r;
    struct err err;

    memset(path + 1, 'a', sizeof(path) - 2);
    opts.path = path;
    assert_int_equal(reflector_new(&r, &opts, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    reflector_free(NULL);
}

/* --- at random --- */

/* A server of up to 40 objects whose history is compacted now and then. Its clients' streams break
 * anywhere, its answers fail in every way, and sometimes it is a stale replica. */
#define OBJECTS 40
#define HISTORY 4000

struct server {
    struct fake_kube *fake;
    uint64_t version, compacted;
    uint64_t objects[OBJECTS]; /* the version of each; 0: it does not exist */
    struct {
        unsigned object;
        bool deleted;
    } history[HISTORY]; /* by version */
    uint64_t rng;
    /* The stream that is being served. */
    size_t served;
    uint64_t at; /* the last version that was sent on it */
    bool listing, answered;
};

static uint64_t chance(struct server *s, uint64_t below)
{
    s->rng ^= s->rng << 13;
    s->rng ^= s->rng >> 7;
    s->rng ^= s->rng << 17;
    return s->rng % below;
}

static void server_change(struct server *s)
{
    unsigned k = (unsigned)chance(s, OBJECTS);

    s->version++;
    assert_true(s->version < HISTORY);
    s->history[s->version].object = k;
    s->history[s->version].deleted = s->objects[k] && chance(s, 3) == 0;
    s->objects[k] = s->history[s->version].deleted ? 0 : s->version;
}

static size_t put(char *to, size_t cap, const char *type, unsigned k, uint64_t version)
{
    int n = snprintf(to, cap,
                     "{\"type\":\"%s\",\"object\":{\"metadata\":{\"name\":\"o%u\",\"namespace\":"
                     "\"n\",\"resourceVersion\":\"%llu\"}}}\n",
                     type, k, (unsigned long long)version);

    return (size_t)n;
}

/* In pieces; true: the connection broke in the middle. */
static bool server_write(struct server *s, struct kube_stream *stream, const char *text,
                         bool may_break)
{
    size_t len = strlen(text), at = 0;
    uint64_t breaks = may_break && chance(s, 15) == 0 ? chance(s, len) : len;

    while (at < breaks && stream->open) {
        size_t n = 1 + chance(s, 60);

        n = n < breaks - at ? n : (size_t)(breaks - at);
        fake_data(stream, text + at, n);
        at += n;
    }
    if (at < len)
        fake_break(stream);
    return at < len;
}

static void server_stream_list(struct server *s, struct kube_stream *stream, bool stale)
{
    static char text[16384];
    uint64_t version = stale && s->version > 3 ? s->version - 3 : s->version;
    size_t len = 0;

    for (unsigned k = 0; k < OBJECTS; k++)
        if (s->objects[k] && s->objects[k] <= version)
            len += put(text + len, sizeof(text) - len, "ADDED", k, s->objects[k]);
    snprintf(text + len, sizeof(text) - len,
             "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"%llu\","
             "\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n",
             (unsigned long long)version);
    s->at = version;
    server_write(s, stream, text, !stale);
}

static void server_page(struct server *s, struct kube_stream *stream)
{
    static char text[16384];
    const char *token = strstr(stream->path, "continue=");
    unsigned from = token ? (unsigned)strtoul(token + 9, NULL, 10) : 0;
    unsigned to = strstr(stream->path, "limit=500") ? from + 15 : OBJECTS;
    size_t len;

    if (token && chance(s, 4) == 0) {
        fake_answer(stream, 410, "", "{\"kind\":\"Status\",\"code\":410}");
        return;
    }
    len = (size_t)snprintf(text, sizeof(text), "{\"metadata\":{\"resourceVersion\":\"%llu\"",
                           (unsigned long long)s->version);
    if (to < OBJECTS)
        len += (size_t)snprintf(text + len, sizeof(text) - len, ",\"continue\":\"%u\"", to);
    len += (size_t)snprintf(text + len, sizeof(text) - len, "},\"items\":[");
    for (unsigned k = from, n = 0; k < to && k < OBJECTS; k++)
        if (s->objects[k])
            len += (size_t)snprintf(text + len, sizeof(text) - len,
                                    "%s{\"metadata\":{\"name\":\"o%u\",\"namespace\":\"n\","
                                    "\"resourceVersion\":\"%llu\"}}",
                                    n++ ? "," : "", k, (unsigned long long)s->objects[k]);
    snprintf(text + len, sizeof(text) - len, "]}");
    fake_head(stream, 200, "");
    if (!server_write(s, stream, text, true))
        fake_end(stream, NULL);
}

static void server_refuse(struct server *s, struct kube_stream *stream)
{
    static const int statuses[] = {500, 503, 429, 401, 403, 404};
    uint64_t which = chance(s, 8);

    if (which < 6)
        fake_answer(stream, statuses[which], which == 2 ? "retry-after: 1\n" : "", "");
    else if (which == 6)
        fake_break(stream);
    else
        s->fake->refuse_sends = 1;
}

/* A new request is answered. */
static void server_begin(struct server *s, struct kube_stream *stream)
{
    const char *from = strstr(stream->path, "&resourceVersion=");

    if (chance(s, 5) == 0) {
        server_refuse(s, stream);
    } else if (strstr(stream->path, "sendInitialEvents")) {
        fake_head(stream, 200, "");
        server_stream_list(s, stream, chance(s, 8) == 0);
    } else if (!from) {
        server_page(s, stream);
    } else {
        s->at = strtoull(from + strlen("&resourceVersion="), NULL, 10);
        if (s->at < s->compacted && chance(s, 2)) {
            fake_answer(stream, 410, "", "");
            return;
        }
        fake_head(stream, 200, "");
        if (s->at < s->compacted)
            server_write(s, stream, GONE, false);
    }
}

/* What happened since is sent. */
static void server_go_on(struct server *s, struct kube_stream *stream)
{
    char text[256];

    while (stream->open && s->at < s->version) {
        uint64_t v = ++s->at;

        put(text, sizeof(text), s->history[v].deleted ? "DELETED" : "MODIFIED",
            s->history[v].object, v);
        server_write(s, stream, text, true);
    }
    if (chance(s, 10) == 0 && stream->open) {
        snprintf(text, sizeof(text),
                 "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"%llu\"}}}",
                 (unsigned long long)s->version);
        server_write(s, stream, text, true);
    }
    if (chance(s, 20) == 0)
        fake_end(stream, NULL);
}

static void server_turn(struct server *s)
{
    struct kube_stream *stream = s->fake->streams[s->fake->n - 1];

    if (!stream->open)
        return;
    if (s->served != s->fake->n) {
        s->served = s->fake->n;
        server_begin(s, stream);
    } else {
        server_go_on(s, stream);
    }
}

static void table_begin(void *ctx, bool anew)
{
    table_relist_begin(ctx, anew);
}

static void table_up(void *ctx, struct kube_object *obj)
{
    assert_true(table_upsert(ctx, obj, NULL) != TABLE_FAILED);
}

static void table_down(void *ctx, struct kube_object *obj)
{
    assert_true(table_delete(ctx, obj, NULL) != TABLE_FAILED);
}

static void table_end(void *ctx)
{
    table_relist_end(ctx);
}

static void check_equal(const struct server *s, const struct table *t)
{
    for (unsigned k = 0; k < OBJECTS; k++) {
        const struct table_entry *e;
        char key[16], version[KUBE_VERSION_MAX + 1], want[24];

        snprintf(key, sizeof(key), "n/o%u", k);
        e = table_find(t, key);
        if (!s->objects[k]) {
            assert_true(!e || table_entry_deleted(e));
            continue;
        }
        assert_true(e && !table_entry_deleted(e));
        table_entry_version(e, version);
        snprintf(want, sizeof(want), "%llu", (unsigned long long)s->objects[k]);
        assert_string_equal(version, want);
        assert_string_equal(table_entry_object(e)->resource_version, want);
    }
}

static void run_at_random(struct fake_kube *fake, uint64_t seed)
{
    struct server *s = calloc(1, sizeof(*s));
    const struct table_opts table_opts = {0};
    struct reflector_opts opts = {.path = "/apis/g/v1/things",
                                  .seed = seed,
                                  .http = fake_http(fake),
                                  .time = fake_time(fake),
                                  .sink = {.relist_begin = table_begin,
                                           .upsert = table_up,
                                           .deleted = table_down,
                                           .relist_end = table_end}};
    struct reflector_stats stats;
    struct reflector *r;
    struct table *t;
    struct err err;

    assert_non_null(s);
    s->fake = fake;
    s->rng = seed * 0x9e3779b97f4a7c15ull | 1;
    s->version = 1;
    assert_int_equal(table_new(&t, &table_opts, &err), 0);
    opts.sink.ctx = t;
    assert_int_equal(reflector_new(&r, &opts, &err), 0);
    assert_int_equal(reflector_start(r, &err), 0);
    for (int turn = 0; turn < 3000; turn++) {
        if (chance(s, 3) == 0)
            server_change(s);
        if (chance(s, 60) == 0)
            s->compacted = s->version;
        server_turn(s);
        fake_pass(fake, chance(s, 3000) * NS_PER_MS);
    }
    /* Nothing more changes or fails: all must be seen. */
    fake->refuse_sends = 0;
    for (int turn = 0; turn < 2000; turn++) {
        server_turn(s);
        fake_pass(fake, 500 * NS_PER_MS);
    }
    reflector_stats(r, &stats);
    assert_true(stats.relists > 3 && stats.reconnects > 20 && stats.events > 100);
    check_equal(s, t);
    reflector_free(r);
    table_free(t);
    free(s);
}

static void test_whatever_fails_the_table_comes_to_equal_the_server(void **state)
{
    struct fixture *f = *state;

    for (uint64_t seed = 1; seed <= 30; seed++) {
        run_at_random(&f->fake, seed);
        fake_free(&f->fake);
        fake_init(&f->fake);
    }
}

#define WITH_FAKE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FAKE(test_a_streaming_list_becomes_the_watch),
        WITH_FAKE(test_a_refused_stream_becomes_a_paged_list),
        WITH_FAKE(test_which_answers_refuse_a_stream),
        WITH_FAKE(test_an_expired_page_token_becomes_one_full_list),
        WITH_FAKE(test_kind_and_version_are_put_into_items),
        WITH_FAKE(test_an_object_over_the_limit_is_skipped),
        WITH_FAKE(test_a_list_that_breaks_off_begins_again),
        WITH_FAKE(test_a_clean_end_is_resumed_at_once_from_the_newest_version),
        WITH_FAKE(test_a_watch_that_ends_at_once_backs_off),
        WITH_FAKE(test_a_broken_watch_resumes_after_a_pause_and_lists_nothing),
        WITH_FAKE(test_a_clean_end_in_the_middle_of_an_event_is_none),
        WITH_FAKE(test_gone_as_an_event_or_a_status_relists),
        WITH_FAKE(test_too_many_requests_backs_off_without_a_relist),
        WITH_FAKE(test_no_rights_and_no_such_resource_are_conditions_and_retried),
        WITH_FAKE(test_back_off_doubles_to_its_maximum_and_health_ends_it),
        WITH_FAKE(test_a_long_outage),
        WITH_FAKE(test_garbled_bytes_relist),
        WITH_FAKE(test_an_error_event_that_is_not_gone_resumes),
        WITH_FAKE(test_a_version_that_the_server_refuses_relists),
        WITH_FAKE(test_silence_is_noticed),
        WITH_FAKE(test_an_older_list_is_refused_until_it_must_be_true),
        WITH_FAKE(test_an_older_page_is_refused_before_its_items),
        WITH_FAKE(test_an_older_bookmark_relists_and_an_older_event_does_not_turn_back),
        WITH_FAKE(test_versions_that_are_no_decimals_are_never_older),
        WITH_FAKE(test_stopping_in_every_state),
        WITH_FAKE(test_stopping_from_within_the_sink),
        WITH_FAKE(test_a_request_that_cannot_be_sent_is_tried_again),
        WITH_FAKE(test_paths_have_a_limit),
        WITH_FAKE(test_whatever_fails_the_table_comes_to_equal_the_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
