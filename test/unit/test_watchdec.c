/* Watch streams and lists, cut at every byte and at random ones. ROOST_TEST_EVENTS=1000000 in the
 * environment makes the long test longer. */
#include "base/limits.h"
#include "kube/watchdec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the above first
#include <cmocka.h>

static uint64_t rng = 88172645463325252ull;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

/* What was delivered, as text: "ADDED a@1 " and so on. */
struct log {
    char text[4096];
    size_t skipped;
    int stop_after; /* deliveries; 0: never */
};

static int logged(struct log *log, const char *what, const struct object_scan *scan)
{
    char name[KUBE_NAME_MAX + 1] = "?", version[KUBE_VERSION_MAX + 1] = "?";
    size_t len = strlen(log->text);

    if (scan->name.at)
        assert_int_equal(jscan_str_copy(name, sizeof(name), &scan->name), 0);
    if (scan->resource_version.at)
        assert_int_equal(jscan_str_copy(version, sizeof(version), &scan->resource_version), 0);
    snprintf(log->text + len, sizeof(log->text) - len, "%s %s@%s%s;", what, name, version,
             scan->initial_events_end ? " end" : "");
    return log->stop_after && --log->stop_after == 0 ? DEC_STOP : DEC_GO_ON;
}

static int on_event(void *ctx, enum watch_type type, const struct object_scan *scan)
{
    static const char *const names[] = {
        [WATCH_ADDED] = "ADDED",       [WATCH_MODIFIED] = "MODIFIED", [WATCH_DELETED] = "DELETED",
        [WATCH_BOOKMARK] = "BOOKMARK", [WATCH_ERROR] = "ERROR",
    };
    struct log *log = ctx;

    if (type == WATCH_ERROR) {
        size_t len = strlen(log->text);

        snprintf(log->text + len, sizeof(log->text) - len, "ERROR %d;", (int)scan->code);
        return DEC_GO_ON;
    }
    return logged(log, names[type], scan);
}

static int on_event_skipped(void *ctx, enum watch_type type, const struct object_scan *scan,
                            const struct err *err)
{
    struct log *log = ctx;

    assert_int_equal(err->code, ERR_LIMIT);
    log->skipped++;
    return logged(log, type ? "SKIPPED" : "SKIPPED?", scan);
}

static int on_item(void *ctx, const struct object_scan *scan)
{
    return logged(ctx, "ITEM", scan);
}

static int on_item_skipped(void *ctx, const struct object_scan *scan, const struct err *err)
{
    struct log *log = ctx;

    assert_int_equal(err->code, ERR_LIMIT);
    log->skipped++;
    return logged(ctx, "SKIPPED", scan);
}

/* Feeds all in pieces that `next` chooses the lengths of, each in memory of its own. */
static int feed_watch(struct watchdec *d, const char *text, size_t len, size_t (*next)(size_t left),
                      struct err *err)
{
    int rc = DEC_GO_ON;

    for (size_t at = 0; at < len && rc == DEC_GO_ON;) {
        size_t n = next(len - at);
        uint8_t *piece = malloc(n);

        assert_non_null(piece);
        memcpy(piece, text + at, n);
        rc = watchdec_feed(d, piece, n, err);
        free(piece);
        at += n;
    }
    return rc;
}

static size_t all(size_t left)
{
    return left;
}

static size_t one(size_t left)
{
    (void)left;
    return 1;
}

static size_t piece_len;

static size_t fixed(size_t left)
{
    return left < piece_len ? left : piece_len;
}

static int watch(struct log *log, const char *text, size_t (*next)(size_t), struct err *err)
{
    const struct watchdec_sink sink = {on_event, on_event_skipped, log};
    struct watchdec d;
    int rc;

    watchdec_init(&d, &sink);
    rc = feed_watch(&d, text, strlen(text), next, err);
    if (rc == DEC_GO_ON)
        rc = watchdec_end(&d, err);
    watchdec_free(&d);
    return rc;
}

#define OBJ(name, rv) "{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"" rv "\"}}"

static const char stream[] = "{\"type\":\"ADDED\",\"object\":" OBJ(
    "a", "1") "}\n"
              "{\"object\":" OBJ(
                  "b}{\\\"",
                  "2") ",\"type\":\"MODIFIED\"}"
                       "{\"type\":\"DELETED\",\"object\":" OBJ(
                           "a\xc3\xa9",
                           "3") "} \r\n\n"
                                "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"K\",\"metadata\":{"
                                "\"resourceVersion\":\"4\","
                                "\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n"
                                "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,"
                                "\"reason\":\"Expired\"}}\n";
static const char delivered[] = "ADDED a@1;MODIFIED b}{\"@2;DELETED a\xc3\xa9@3;BOOKMARK ?@4 end;"
                                "ERROR 410;";

static void test_events_at_every_cut(void **state)
{
    struct err err;

    (void)state;
    for (piece_len = 1; piece_len < sizeof(stream); piece_len++) {
        struct log log = {0};

        assert_int_equal(watch(&log, stream, fixed, &err), 0);
        assert_string_equal(log.text, delivered);
    }
}

static void test_a_stream_that_ends_in_an_event_was_cut(void **state)
{
    (void)state;
    for (piece_len = 1; piece_len < 40; piece_len++) {
        char begin[64];
        struct log log = {0};
        struct err err = {0};

        snprintf(begin, sizeof(begin), "%.*s", (int)piece_len, stream);
        assert_int_equal(watch(&log, begin, one, &err), -1);
        assert_int_equal(err.code, ERR_NET);
        assert_string_equal(log.text, "");
    }
}

static void test_bytes_that_are_no_events_end_it(void **state)
{
    static const char *const texts[] = {
        "x",
        "[]",
        "{}",
        "{\"type\":\"ADDED\"}",
        "{\"type\":\"OTHER\",\"object\":" OBJ("a", "1") "}",
        "{\"type\":\"ADDED\",\"object\":[]}",
        "{\"type\":\"ADDED\",\"object\":{\"a\":\"\x80\"}}",
        "{\"type\":\"ADDED\",\"object\":" OBJ("a", "1") "}}",
        "{\"type\":1,\"object\":" OBJ("a", "1") "}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct log whole = {0}, cut = {0};
        struct err err = {0};

        assert_int_equal(watch(&whole, texts[i], all, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        err.code = 0;
        assert_int_equal(watch(&cut, texts[i], one, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(whole.text, cut.text);
    }
}

static void test_a_sink_stops_the_decoder(void **state)
{
    struct err err;

    (void)state;
    for (piece_len = 1; piece_len < sizeof(stream); piece_len += 7) {
        struct log log = {.stop_after = 2};

        assert_int_equal(watch(&log, stream, fixed, &err), DEC_STOP);
        assert_string_equal(log.text, "ADDED a@1;MODIFIED b}{\"@2;");
    }
}

/* An event with a string of n bytes before or behind what tells whose it is. */
static char *large_event(size_t n, const char *before, const char *behind)
{
    size_t head = strlen(before), tail = strlen(behind);
    char *text = malloc(n + head + tail + 1);

    assert_non_null(text);
    memcpy(text, before, head + 1);
    memset(text + head, 'x', n);
    memcpy(text + head + n, behind, tail + 1);
    return text;
}

static void test_an_event_over_the_limit_is_skipped_and_named(void **state)
{
    char *text = large_event(KUBE_EVENT_MAX,
                             "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":\"big\","
                             "\"resourceVersion\":\"5\"},\"data\":\"",
                             "\"}}\n{\"type\":\"ADDED\",\"object\":" OBJ("small", "6") "}\n");
    struct log log = {0};
    struct err err;

    (void)state;
    piece_len = 16384;
    assert_int_equal(watch(&log, text, fixed, &err), 0);
    assert_string_equal(log.text, "SKIPPED big@5;ADDED small@6;");
    free(text);
}

static void test_an_event_of_just_the_limit_is_delivered(void **state)
{
    static const char before[] = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"big\","
                                 "\"resourceVersion\":\"5\"},\"data\":\"";
    char *text = large_event(KUBE_EVENT_MAX - (sizeof(before) - 1) - 3, before, "\"}}");
    struct log log = {0};
    struct err err;

    (void)state;
    piece_len = 16384;
    assert_int_equal(watch(&log, text, fixed, &err), 0);
    assert_string_equal(log.text, "ADDED big@5;");
    free(text);
}

static void test_an_event_nested_too_deeply_is_skipped(void **state)
{
    char text[4096] = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"deep\"},\"spec\":";
    size_t at = strlen(text);

    (void)state;
    memset(text + at, '[', JSON_DEPTH_MAX);
    memset(text + at + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    at += 2 * JSON_DEPTH_MAX;
    snprintf(text + at, sizeof(text) - at, "%s",
             "}}{\"type\":\"ADDED\",\"object\":" OBJ("b", "2") "}");
    for (piece_len = 1; piece_len < 3000; piece_len += 111) {
        struct log log = {0};
        struct err err;

        assert_int_equal(watch(&log, text, fixed, &err), 0);
        assert_string_equal(log.text, "SKIPPED deep@?;ADDED b@2;");
    }
}

static void test_a_large_event_does_not_keep_its_memory(void **state)
{
    char *text = large_event(
        1u * MIB, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"big\"},\"data\":\"",
        "\"}}\n");
    struct log log = {0};
    const struct watchdec_sink sink = {on_event, on_event_skipped, &log};
    struct watchdec d;
    struct err err;

    (void)state;
    piece_len = 16384;
    watchdec_init(&d, &sink);
    assert_int_equal(feed_watch(&d, text, strlen(text), fixed, &err), 0);
    assert_true(d.value.bytes.cap <= FRAME_KEEP_BYTES);
    assert_string_equal(log.text, "ADDED big@?;");
    watchdec_free(&d);
    free(text);
}

/* --- many events --- */

struct sequence {
    uint64_t next;
};

static int in_sequence(void *ctx, enum watch_type type, const struct object_scan *scan)
{
    struct sequence *seq = ctx;
    char version[24], want[24];

    assert_int_equal(type, WATCH_ADDED + (int)(seq->next % 3));
    assert_int_equal(jscan_str_copy(version, sizeof(version), &scan->resource_version), 0);
    snprintf(want, sizeof(want), "%llu", (unsigned long long)seq->next);
    assert_string_equal(version, want);
    seq->next++;
    return DEC_GO_ON;
}

static int no_skips(void *ctx, enum watch_type type, const struct object_scan *scan,
                    const struct err *err)
{
    (void)ctx, (void)type, (void)scan;
    fail_msg("skipped: %s", err->msg);
    return DEC_STOP;
}

static size_t put_event(char *to, size_t cap, uint64_t n)
{
    static const char *const types[] = {"ADDED", "MODIFIED", "DELETED"};
    static const char *const fills[] = {"\\\"", "}", "\xe2\x82\xac", "\\\\", "{[", "x"};
    int len = snprintf(to, cap,
                       "{\"type\":\"%s\",\"object\":{\"metadata\":{\"name\":\"n%llu\","
                       "\"resourceVersion\":\"%llu\"},\"d\":\"",
                       types[n % 3], (unsigned long long)(n % 97), (unsigned long long)n);
    size_t at = (size_t)len;

    for (uint64_t k = next_random() % 60; k; k--)
        at += (size_t)snprintf(to + at, cap - at, "%s", fills[next_random() % 6]);
    return at + (size_t)snprintf(to + at, cap - at, "\"}}%s", next_random() % 2 ? "\n" : "");
}

/* Cut at random bytes: each event once, in order. */
static void test_many_events_cut_at_random(void **state)
{
    const char *env = getenv("ROOST_TEST_EVENTS");
    uint64_t events = env ? strtoull(env, NULL, 10) : 100000, made = 0;
    struct sequence seq = {0};
    const struct watchdec_sink sink = {in_sequence, no_skips, &seq};
    struct watchdec d;
    char bytes[8192];
    size_t len = 0;

    (void)state;
    watchdec_init(&d, &sink);
    while (made < events || len) {
        struct err err = {0};
        size_t n;

        while (made < events && len < 6000)
            len += put_event(bytes + len, sizeof(bytes) - len, made++);
        n = 1 + next_random() % (next_random() % 4 ? len : 20);
        n = n < len ? n : len;
        if (watchdec_feed(&d, (const uint8_t *)bytes, n, &err))
            fail_msg("%s", err.msg);
        len -= n;
        memmove(bytes, bytes + n, len);
    }
    assert_int_equal(seq.next, events);
    assert_int_equal(d.events, events);
    watchdec_free(&d);
}

/* --- lists --- */

static int list(struct listdec *d, struct log *log, const char *text, size_t piece, struct err *err)
{
    const struct listdec_sink sink = {on_item, on_item_skipped, log};
    size_t len = strlen(text);
    int rc = DEC_GO_ON;

    listdec_init(d, &sink);
    for (size_t at = 0; at < len && rc == DEC_GO_ON; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(n);

        assert_non_null(copy);
        memcpy(copy, text + at, n);
        rc = listdec_feed(d, copy, n, err);
        free(copy);
    }
    if (rc == DEC_GO_ON)
        rc = listdec_end(d, err);
    listdec_free(d);
    return rc;
}

static void check_list(const char *text, const char *items, const char *version,
                       const char *continue_)
{
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        struct log log = {0};
        struct err err = {0};
        struct listdec d;

        if (list(&d, &log, text, piece, &err))
            fail_msg("%s: %s", err.msg, text);
        assert_string_equal(log.text, items);
        assert_string_equal(d.resource_version, version);
        assert_string_equal(d.continue_, continue_);
    }
}

static void test_lists_at_every_cut_and_in_any_order(void **state)
{
    (void)state;
    check_list("{\"kind\":\"KList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"10\","
               "\"continue\":\"abc=\",\"remainingItemCount\":3},\"items\":[" OBJ("a", "1") "," OBJ(
                   "b]\\\\", "2") "]}\n",
               "ITEM a@1;ITEM b]\\@2;", "10", "abc=");
    check_list(
        " { \"items\" : [ " OBJ("a", "1") " , " OBJ(
            "b", "2") " ] , \"x\" : -1.5 , "
                      "\"y\":{\"items\":[{}]} , \"metadata\" : { \"resourceVersion\" : \"9\" } } ",
        "ITEM a@1;ITEM b@2;", "9", "");
    check_list("{\"metadata\":{\"resourceVersion\":\"1\",\"continue\":null},\"items\":[]}", "", "1",
               "");
    check_list("{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":null,\"n\":12}", "", "1", "");
    check_list("{\"metadata\":{\"resourceVersion\":\"1\"}}", "", "1", "");
}

static void test_metadata_is_known_before_the_items_where_it_comes_first(void **state)
{
    struct log log = {.stop_after = 1};
    struct listdec d;
    struct err err;

    (void)state;
    assert_int_equal(list(&d, &log,
                          "{\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[" OBJ("a", "1"),
                          1000, &err),
                     DEC_STOP);
    assert_true(d.has_metadata);
    assert_string_equal(d.resource_version, "7");
}

static void test_bytes_that_are_no_list(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
    } cases[] = {
        {"[]", ERR_INVALID},
        {"{]", ERR_INVALID},
        {"{\"a\":1,}", ERR_INVALID},
        {"{\"a\" 1}", ERR_INVALID},
        {"{a:1}", ERR_INVALID},
        {"{\"items\":{}}", ERR_INVALID},
        {"{\"items\":[1]}", ERR_INVALID},
        {"{\"items\":[{},]}", ERR_INVALID},
        {"{\"items\":[{} {}]}", ERR_INVALID},
        {"{\"items\":[{\"a\":\"\xff\"}]}", ERR_INVALID},
        {"{\"metadata\":[]}", ERR_INVALID},
        {"{\"a\":tru}", ERR_INVALID},
        {"{\"a\":}", ERR_INVALID},
        {"{\"metadata\":{\"resourceVersion\":\"1\"}} x", ERR_INVALID},
        {"{\"items\":[]}", ERR_INVALID}, /* no resourceVersion */
        {"{\"items\":[{}", ERR_NET},
        {"{\"metadata\":{\"resourceVersion\":\"1\"}", ERR_NET},
        {"", ERR_NET},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t piece = 1; piece < 60; piece += 58) {
            struct log log = {0};
            struct err err = {0};
            struct listdec d;

            if (list(&d, &log, cases[i].text, piece, &err) != -1 || err.code != cases[i].code)
                fail_msg("%s: %s", cases[i].text, err.msg);
        }
    }
}

static void test_limits_of_a_list(void **state)
{
    char *item = large_event(KUBE_OBJECT_MAX,
                             "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[{\"metadata\":"
                             "{\"name\":\"big\",\"resourceVersion\":\"5\"},\"data\":\"",
                             "\"}," OBJ("small", "6") "]}\n");
    char *other = large_event(KUBE_LIST_META_MAX, "{\"x\":\"",
                              "\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}");
    char *metadata =
        large_event(KUBE_LIST_META_MAX, "{\"metadata\":{\"x\":\"", "\"},\"items\":[]}");
    char *token = large_event(KUBE_CONTINUE_MAX + 1, "{\"metadata\":{\"continue\":\"",
                              "\",\"resourceVersion\":\"1\"}}");
    struct log log = {0};
    struct err err = {0};
    struct listdec d;

    (void)state;
    assert_int_equal(list(&d, &log, item, 16384, &err), 0);
    assert_string_equal(log.text, "SKIPPED big@5;ITEM small@6;");
    assert_int_equal(list(&d, &log, other, 16384, &err), 0);
    assert_int_equal(list(&d, &log, metadata, 16384, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(list(&d, &log, token, 16384, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    free(item);
    free(other);
    free(metadata);
    free(token);
}

static void test_a_list_holds_one_item_at_most(void **state)
{
    struct log log = {0};
    const struct listdec_sink sink = {on_item, on_item_skipped, &log};
    static const char head[] =
        "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[" OBJ("a", "1");
    static const char next[] = "," OBJ("a", "1");
    struct listdec d;
    struct err err;

    (void)state;
    listdec_init(&d, &sink);
    assert_int_equal(listdec_feed(&d, (const uint8_t *)head, sizeof(head) - 1, &err), 0);
    for (int i = 0; i < 100000; i++)
        for (size_t at = 0; at < sizeof(next) - 1; at += 30)
            assert_int_equal(listdec_feed(&d, (const uint8_t *)next + at,
                                          sizeof(next) - 1 - at < 30 ? sizeof(next) - 1 - at : 30,
                                          &err),
                             0);
    assert_int_equal(d.items, 100001);
    assert_true(d.value.bytes.cap < 256);
    listdec_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_at_every_cut),
        cmocka_unit_test(test_a_stream_that_ends_in_an_event_was_cut),
        cmocka_unit_test(test_bytes_that_are_no_events_end_it),
        cmocka_unit_test(test_a_sink_stops_the_decoder),
        cmocka_unit_test(test_an_event_over_the_limit_is_skipped_and_named),
        cmocka_unit_test(test_an_event_of_just_the_limit_is_delivered),
        cmocka_unit_test(test_an_event_nested_too_deeply_is_skipped),
        cmocka_unit_test(test_a_large_event_does_not_keep_its_memory),
        cmocka_unit_test(test_many_events_cut_at_random),
        cmocka_unit_test(test_lists_at_every_cut_and_in_any_order),
        cmocka_unit_test(test_metadata_is_known_before_the_items_where_it_comes_first),
        cmocka_unit_test(test_bytes_that_are_no_list),
        cmocka_unit_test(test_limits_of_a_list),
        cmocka_unit_test(test_a_list_holds_one_item_at_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
