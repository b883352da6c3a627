/* WebAssembly modules, put together byte by byte, for tests: what no assembler would make. */
#ifndef ROOST_TEST_WASM_BUILD_H
#define ROOST_TEST_WASM_BUILD_H

#include "base/buf.h"

#include <assert.h>
#include <stdint.h>

#define WASM_BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static inline void wasm_put(struct buf *b, const uint8_t *bytes, size_t n)
{
    int rc = buf_append(b, bytes, n, NULL);

    assert(rc == 0);
    (void)rc;
}

static inline void wasm_u32(struct buf *b, uint32_t value)
{
    do {
        uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));

        wasm_put(b, &byte, 1);
        value >>= 7;
    } while (value);
}

static inline void wasm_begin(struct buf *b)
{
    wasm_put(b, WASM_BYTES(0, 'a', 's', 'm', 1, 0, 0, 0));
}

static inline void wasm_section(struct buf *b, uint8_t id, const uint8_t *bytes, size_t n)
{
    wasm_put(b, &id, 1);
    wasm_u32(b, (uint32_t)n);
    wasm_put(b, bytes, n);
}

/* One function of type [] -> [] without locals; body without its end. */
static inline void wasm_code(struct buf *b, const uint8_t *body, size_t n)
{
    struct buf section = {.data = NULL};

    wasm_put(&section, WASM_BYTES(1));
    wasm_u32(&section, (uint32_t)n + 2);
    wasm_put(&section, WASM_BYTES(0));
    wasm_put(&section, body, n);
    wasm_put(&section, WASM_BYTES(0x0b));
    wasm_section(b, 10, section.data, section.len);
    buf_free(&section);
}

enum {
    WASM_TYPE = 1,
    WASM_IMPORT,
    WASM_FUNCTION,
    WASM_TABLE,
    WASM_MEMORY,
    WASM_GLOBAL,
    WASM_EXPORT,
    WASM_START,
    WASM_ELEMENT,
    WASM_CODE,
    WASM_DATA,
    WASM_DATA_COUNT,
    WASM_TAG,
};

/* A whole module of one function with this body, a table and a memory. */
static inline void wasm_module_of(struct buf *b, const uint8_t *body, size_t n)
{
    wasm_begin(b);
    wasm_section(b, WASM_TYPE, WASM_BYTES(1, 0x60, 0, 0));
    wasm_section(b, WASM_FUNCTION, WASM_BYTES(1, 0));
    wasm_section(b, WASM_TABLE, WASM_BYTES(1, 0x70, 0, 1));
    wasm_section(b, WASM_MEMORY, WASM_BYTES(1, 0, 1));
    wasm_code(b, body, n);
}

#endif
