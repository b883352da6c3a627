/* The ledger guest, compiled natively: that it finds what it is there to find. A test guest that
 * sees no damage would make every test of sleep pass. */
#include "roost_fake.h"

/* NOLINTBEGIN(bugprone-suspicious-include): static functions are tested too */
#include "roost.c"
#include "roost_json.c"

#include "../../examples/operators/ledger/main.c"
/* NOLINTEND(bugprone-suspicious-include) */

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint64_t global_events, global_mix;

uint64_t ledger_globals_get_events(void)
{
    return global_events;
}

uint64_t ledger_globals_get_mix(void)
{
    return global_mix;
}

void ledger_globals_set(uint64_t events, uint64_t mix)
{
    global_events = events;
    global_mix = mix;
}

static void close_ledger(struct ledger *l)
{
    for (uint32_t i = 0; i < l->nblocks; i++)
        free(l->blocks[i]);
    free(l->blocks);
    free(l->versions);
}

static int fresh(void **state)
{
    struct ledger *l = &ledger;

    (void)state;
    close_ledger(l);
    memset(l, 0, sizeof(*l));
    settings.ready = ledger_open(l, 7, 4, 6);
    return settings.ready ? 0 : -1;
}

static uint64_t errors_found(void)
{
    ledger.errors = 0;
    ledger_verify(&ledger);
    return ledger.errors;
}

static void test_an_undisturbed_ledger_has_no_errors(void **state)
{
    uint64_t before = 0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(errors_found(), 0);
        assert_true(ledger.checksum != before);
        before = ledger.checksum;
        ledger_advance(&ledger, 5);
    }
    assert_int_equal(ledger.events, 20);
}

static void test_every_changed_byte_is_found(void **state)
{
    (void)state;
    for (uint32_t leaf = 0; leaf < ledger.nblocks * BLOCK_LEAVES; leaf++) {
        uint8_t *byte = (uint8_t *)ledger_leaf(&ledger, leaf) + (leaf * 67) % LEAF_BYTES;

        *byte ^= 1;
        assert_int_equal(errors_found(), 1);
        *byte ^= 1;
    }
    assert_int_equal(errors_found(), 0);
}

static void test_zeroed_page_is_found(void **state)
{
    (void)state;
    memset(ledger_leaf(&ledger, 9), 0, LEAF_BYTES);
    assert_int_equal(errors_found(), 1);
}

static void test_swapped_pages_are_found(void **state)
{
    uint64_t kept[LEAF_WORDS];

    (void)state;
    memcpy(kept, ledger_leaf(&ledger, 3), LEAF_BYTES);
    memcpy(ledger_leaf(&ledger, 3), ledger_leaf(&ledger, 4), LEAF_BYTES);
    memcpy(ledger_leaf(&ledger, 4), kept, LEAF_BYTES);
    assert_int_equal(errors_found(), 2);
}

static void test_stale_page_is_found(void **state)
{
    uint64_t kept[LEAF_WORDS];

    (void)state;
    memcpy(kept, ledger_leaf(&ledger, 3), LEAF_BYTES);
    ledger_leaf_write(&ledger, 3);
    ledger_globals_set(ledger.events, ledger_mix(&ledger));
    assert_int_equal(errors_found(), 0);
    memcpy(ledger_leaf(&ledger, 3), kept, LEAF_BYTES);
    assert_int_equal(errors_found(), 1);
}

static void test_stale_versions_are_found(void **state)
{
    (void)state;
    ledger.versions[5]--;
    assert_int_equal(errors_found(), 2); /* the leaf, and the sum */
}

static void test_lost_globals_are_found(void **state)
{
    (void)state;
    ledger_advance(&ledger, 1);
    ledger_globals_set(0, 0);
    assert_int_equal(errors_found(), 2);
}

static void test_another_seed_is_another_memory(void **state)
{
    (void)state;
    ledger.seed = 8;
    assert_int_equal(errors_found(), ledger.nblocks * BLOCK_LEAVES + 1);
}

static void test_growth_stops_at_its_limit(void **state)
{
    (void)state;
    assert_true(ledger_grow(&ledger));
    assert_true(ledger_grow(&ledger));
    assert_false(ledger_grow(&ledger));
    assert_int_equal(ledger.nblocks, 6);
    ledger_globals_set(ledger.events, ledger_mix(&ledger));
    assert_int_equal(errors_found(), 0);
}

/* --- its handler --- */

static void event(const char *version, int status)
{
    fake_reset();
    fake_attr(0, "key", "ns/a");
    fake_attr(1, "namespace", "ns");
    fake.event_body = version;
    fake.answers[0].status = status;
    settings.kube = true;
    settings.dirty_leaves = 3;
    settings.grow_every = 2;
    memcpy(settings.report_name, "seven", 6);
}

static void test_counts_each_version_once(void **state)
{
    (void)state;
    event("{\"metadata\":{\"resourceVersion\":\"1\"}}", 500);
    assert_int_equal(roost_handle(), 1);
    event("{\"metadata\":{\"resourceVersion\":\"1\"}}", 200);
    assert_int_equal(roost_handle(), 0);
    event("{\"metadata\":{\"resourceVersion\":\"2\"}}", 200);
    assert_int_equal(roost_handle(), 0);
    event("", 200); /* gone */
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(ledger.events, 3);
    assert_int_equal(ledger.repeats, 1);
    assert_int_equal(ledger.errors, 0);
    assert_int_equal(ledger.nblocks, 5);
}

static void test_report_is_a_config_map(void **state)
{
    char text[32];
    const char *body = fake.calls[0].body;

    (void)state;
    event("{\"metadata\":{\"resourceVersion\":\"1\"}}", 201);
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 1);
    assert_string_equal(fake.calls[0].method, "PATCH");
    assert_string_equal(fake.calls[0].target, "kube:/api/v1/namespaces/ns/configmaps/"
                                              "ledger-seven?fieldManager=ledger&force=true");
    assert_int_equal(roost_json_check(body, strlen(body)), 0);
    assert_int_equal(roost_json_get_string(body, strlen(body), "/metadata/name", text, 32), 12);
    assert_string_equal(text, "ledger-seven");
    assert_int_equal(roost_json_get_string(body, strlen(body), "/data/events", text, 32), 1);
    assert_string_equal(text, "1");
    assert_int_equal(roost_json_get_string(body, strlen(body), "/data/lastKey", text, 32), 4);
    assert_string_equal(text, "ns/a");
    assert_true(roost_json_get_string(body, strlen(body), "/data/lastVersion", text, 32) > 0);
    assert_int_equal(fake.log_level, ROOST_INFO);
}

static void test_report_to_the_log_only(void **state)
{
    (void)state;
    event("{\"metadata\":{\"resourceVersion\":\"1\"}}", 200);
    settings.kube = false;
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.ncalls, 0);
    assert_non_null(strstr(fake.log, "\"events\":\"1\""));
}

static void test_damage_is_logged_as_an_error(void **state)
{
    (void)state;
    event("{\"metadata\":{\"resourceVersion\":\"1\"}}", 200);
    *ledger_leaf(&ledger, 0) ^= 1;
    settings.kube = false;
    assert_int_equal(roost_handle(), 0);
    assert_int_equal(fake.log_level, ROOST_ERROR);
    assert_non_null(strstr(fake.log, "\"errors\":\"1\""));
}

static int release(void **state)
{
    (void)state;
    close_ledger(&ledger);
    roost_buf_free(&object);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_an_undisturbed_ledger_has_no_errors, fresh),
        cmocka_unit_test_setup(test_every_changed_byte_is_found, fresh),
        cmocka_unit_test_setup(test_zeroed_page_is_found, fresh),
        cmocka_unit_test_setup(test_swapped_pages_are_found, fresh),
        cmocka_unit_test_setup(test_stale_page_is_found, fresh),
        cmocka_unit_test_setup(test_stale_versions_are_found, fresh),
        cmocka_unit_test_setup(test_lost_globals_are_found, fresh),
        cmocka_unit_test_setup(test_another_seed_is_another_memory, fresh),
        cmocka_unit_test_setup(test_growth_stops_at_its_limit, fresh),
        cmocka_unit_test_setup(test_counts_each_version_once, fresh),
        cmocka_unit_test_setup(test_report_is_a_config_map, fresh),
        cmocka_unit_test_setup(test_report_to_the_log_only, fresh),
        cmocka_unit_test_setup(test_damage_is_logged_as_an_error, fresh),
    };

    return cmocka_run_group_tests(tests, NULL, release);
}
