/* base/slab, base/heap: blocks that stay, and what is given back. */
#include "base/slab.h"

#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define BLOCKS 5000u

static size_t size_at(size_t i)
{
    return 1 + i * 7 % (2 * SLAB_BLOCK_MAX); /* from the slab and from malloc */
}

static void assert_all(const uint8_t *block, size_t n, int byte)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(block[i], byte);
}

static void test_blocks_are_zero_aligned_and_their_owners_alone(void **state)
{
    static uint8_t *blocks[BLOCKS];
    struct slab s = SLAB_INIT;

    (void)state;
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            if (blocks[i])
                continue;
            blocks[i] = slab_alloc(&s, size_at(i));
            assert_non_null(blocks[i]);
            assert_int_equal((uintptr_t)blocks[i] % 16, 0);
            assert_all(blocks[i], size_at(i), 0);
            memset(blocks[i], (int)(i % 255 + 1), size_at(i));
        }
        for (size_t i = round; i < BLOCKS; i += 1 + round) {
            assert_all(blocks[i], size_at(i), (int)(i % 255 + 1));
            slab_free(&s, blocks[i], size_at(i));
            blocks[i] = NULL;
        }
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        slab_free(&s, blocks[i], size_at(i));
        blocks[i] = NULL;
    }
    assert_int_equal(slab_pages(&s), 0);
    slab_destroy(&s);
}

/* Pages of the address range that have memory. */
static size_t resident(const void *from, size_t bytes)
{
    unsigned char in[64];
    size_t n = 0, pages = bytes / 4096;

    assert_true(pages <= sizeof(in));
    assert_int_equal(mincore((void *)(uintptr_t)from, bytes, in), 0);
    for (size_t i = 0; i < pages; i++)
        n += in[i] & 1;
    return n;
}

static void test_the_memory_of_empty_pages_is_given_back(void **state)
{
    const size_t n = SLAB_CHUNK_BYTES / 4096 * 7; /* seven of the largest fit in a page */
    struct slab s = SLAB_INIT;
    void **blocks = calloc(n, sizeof(void *));
    uintptr_t first = UINTPTR_MAX;

    (void)state;
    assert_non_null(blocks);
    for (size_t i = 0; i < n; i++) {
        blocks[i] = slab_alloc(&s, SLAB_BLOCK_MAX);
        assert_non_null(blocks[i]);
        first = (uintptr_t)blocks[i] < first ? (uintptr_t)blocks[i] : first;
    }
    first &= ~(uintptr_t)4095;
    assert_int_equal(slab_pages(&s), SLAB_CHUNK_BYTES / 4096);
    assert_int_equal(resident((void *)first, SLAB_CHUNK_BYTES), SLAB_CHUNK_BYTES / 4096);
    for (size_t i = 0; i < n; i++)
        slab_free(&s, blocks[i], SLAB_BLOCK_MAX);
    assert_int_equal(slab_pages(&s), 0);
    assert_int_equal(resident((void *)first, SLAB_CHUNK_BYTES), SLAB_EMPTY_KEEP);
    free(blocks);
    slab_destroy(&s);
}

static void test_nothing_and_the_maximum(void **state)
{
    struct slab s = SLAB_INIT;
    void *none = slab_alloc(&s, 0), *most = slab_alloc(&s, SLAB_BLOCK_MAX),
         *more = slab_alloc(&s, SLAB_BLOCK_MAX + 1);

    (void)state;
    assert_true(none && most && more && none != most);
    assert_int_equal(slab_pages(&s), 2); /* the larger one is malloc's */
    slab_free(&s, none, 0);
    slab_free(&s, most, SLAB_BLOCK_MAX);
    slab_free(&s, more, SLAB_BLOCK_MAX + 1);
    slab_free(&s, NULL, 16);
    assert_int_equal(slab_pages(&s), 0);
    slab_destroy(&s);
}

/* What it is for is a figure (bench/run density); here, that blocks in use are left alone. */
static void test_flushing_leaves_what_is_in_use(void **state)
{
    static uint8_t *blocks[1000];

    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        blocks[i] = malloc(i + 1);
        assert_non_null(blocks[i]);
        memset(blocks[i], (int)(i % 256), i + 1);
    }
    for (size_t i = 0; i < 1000; i += 2) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
    heap_flush();
    for (size_t i = 1; i < 1000; i += 2) {
        assert_all(blocks[i], i + 1, (int)(i % 256));
        free(blocks[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_zero_aligned_and_their_owners_alone),
        cmocka_unit_test(test_the_memory_of_empty_pages_is_given_back),
        cmocka_unit_test(test_nothing_and_the_maximum),
        cmocka_unit_test(test_flushing_leaves_what_is_in_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
