/* base/hash: the variants agree with the published algorithm and with each other. */
#include "base/hash.h"

#include "base/hash_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <xxhash.h>

#define BYTES 20000u

static uint8_t *data_make(void)
{
    uint8_t *data = malloc(BYTES);
    uint32_t x = 1;

    assert_non_null(data);
    for (size_t i = 0; i < BYTES; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (uint8_t)(x >> 24);
    }
    return data;
}

static void test_known_value_of_nothing(void **state)
{
    (void)state;
    assert_true(hash_bytes("", 0) == 0x2d06800538d394c2ull); /* XXH3-64, seed 0 */
}

static void test_all_lengths_agree_with_the_library(void **state)
{
    uint8_t *data = data_make();

    (void)state;
    for (size_t len = 0; len < BYTES; len += len < 600 ? 1 : 517)
        assert_true(hash_bytes(data, len) == XXH3_64bits(data, len));
    free(data);
}

static void test_pieces_give_what_the_whole_gives(void **state)
{
    uint8_t *data = data_make();

    (void)state;
    for (size_t piece = 1; piece < 5000; piece = piece * 2 + 1) {
        struct hash h;

        hash_begin(&h);
        for (size_t at = 0; at < BYTES; at += piece)
            hash_add(&h, data + at, piece < BYTES - at ? piece : BYTES - at);
        assert_true(hash_end(&h) == hash_bytes(data, BYTES));
        assert_true(hash_end(&h) == hash_bytes(data, BYTES)); /* ending changes nothing */
    }
    free(data);
}

static void test_one_bit_changes_it(void **state)
{
    uint8_t *data = data_make();
    uint64_t whole = hash_bytes(data, BYTES);

    (void)state;
    for (size_t i = 0; i < BYTES; i += 97) {
        data[i] ^= 1;
        assert_false(hash_bytes(data, BYTES) == whole);
        data[i] ^= 1;
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_value_of_nothing),
        cmocka_unit_test(test_all_lengths_agree_with_the_library),
        cmocka_unit_test(test_pieces_give_what_the_whole_gives),
        cmocka_unit_test(test_one_bit_changes_it),
    };

    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
