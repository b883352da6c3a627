/* memory.fill, memory.copy and memory.init, as they are and as the rewriter cuts them into pieces
 * (engine/rewrite_bulk.c), side by side in the compiler's own engine: the same bytes come out, the
 * same traps, and nothing is written before one. And pieces can be interrupted between them.
 */
#include "base/auto.h"
#include "base/limits.h"
#include "engine/config.h"
#include "engine/rewrite.h"
#include "support/own_signals.h"
#include "support/wasm_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasm.h>
#include <wasmtime.h>

#include <cmocka.h>

#define PIECE   REWRITE_BULK_BYTES
#define PAGE    65536u
#define PAGES   40u /* of the first memory; the second has SECOND */
#define SECOND  12u
#define SEGMENT (2 * PIECE + 12345)

static wasm_engine_t *engine;

/* --- the module --- */

enum function { FILL, COPY, COPY_TO_SECOND, COPY_FROM_SECOND, INIT, INIT_SECOND, DROP, FUNCTIONS };

static const struct {
    const char *name;
    uint8_t code[8];
    uint8_t n;
} functions[FUNCTIONS] = {
    [FILL] = {"fill", {0xfc, 11, 0}, 3},
    [COPY] = {"copy", {0xfc, 10, 0, 0}, 4},
    [COPY_TO_SECOND] = {"copy10", {0xfc, 10, 1, 0}, 4},
    [COPY_FROM_SECOND] = {"copy01", {0xfc, 10, 0, 0x81, 0}, 5}, /* an index may be longer */
    [INIT] = {"init", {0xfc, 8, 1, 0}, 4},
    [INIT_SECOND] = {"init1", {0xfc, 8, 1, 1}, 4},
    [DROP] = {"drop", {0x1a, 0x1a, 0x1a, 0xfc, 9, 1}, 6},
};

static void put_code(struct buf *module)
{
    struct buf section = {.data = NULL};

    wasm_u32(&section, FUNCTIONS);
    for (int f = 0; f < FUNCTIONS; f++) {
        wasm_u32(&section, 8u + functions[f].n);
        wasm_put(&section, WASM_BYTES(0, 0x20, 0, 0x20, 1, 0x20, 2));
        wasm_put(&section, functions[f].code, functions[f].n);
        wasm_put(&section, WASM_BYTES(0x0b));
    }
    wasm_section(module, WASM_CODE, section.data, section.len);
    buf_free(&section);
}

static void put_exports(struct buf *module)
{
    struct buf section = {.data = NULL};

    wasm_u32(&section, FUNCTIONS);
    for (int f = 0; f < FUNCTIONS; f++) {
        wasm_u32(&section, (uint32_t)strlen(functions[f].name));
        wasm_put(&section, (const uint8_t *)functions[f].name, strlen(functions[f].name));
        wasm_put(&section, WASM_BYTES(0));
        wasm_u32(&section, (uint32_t)f);
    }
    wasm_section(module, WASM_EXPORT, section.data, section.len);
    buf_free(&section);
}

static uint8_t pattern(uint32_t i)
{
    return (uint8_t)(i * 2654435761u >> 24);
}

/* A short segment, the long one, and a short one. */
static void put_data(struct buf *module)
{
    struct buf section = {.max = 2 * SEGMENT};

    wasm_put(&section, WASM_BYTES(3, 1, 1, 7, 1));
    wasm_u32(&section, SEGMENT);
    for (uint32_t i = 0; i < SEGMENT; i++) {
        uint8_t byte = pattern(i);

        wasm_put(&section, &byte, 1);
    }
    wasm_put(&section, WASM_BYTES(1, 1, 9));
    wasm_section(module, WASM_DATA, section.data, section.len);
    buf_free(&section);
}

static void make_module(struct buf *m)
{
    struct buf types = {.data = NULL};

    wasm_begin(m);
    wasm_section(m, WASM_TYPE, WASM_BYTES(1, 0x60, 3, 0x7f, 0x7f, 0x7f, 0));
    wasm_u32(&types, FUNCTIONS);
    for (int f = 0; f < FUNCTIONS; f++)
        wasm_put(&types, WASM_BYTES(0));
    wasm_section(m, WASM_FUNCTION, types.data, types.len);
    buf_free(&types);
    wasm_section(m, WASM_MEMORY, WASM_BYTES(2, 0, PAGES, 0, SECOND));
    put_exports(m);
    wasm_section(m, WASM_DATA_COUNT, WASM_BYTES(3));
    put_code(m);
    put_data(m);
}

/* --- running it --- */

struct run {
    wasmtime_store_t *store;
    wasmtime_context_t *context;
    wasmtime_instance_t instance;
    wasmtime_memory_t memory[2];
    unsigned ticks;
};

static wasmtime_extern_t export_of(struct run *r, const char *name)
{
    wasmtime_extern_t item;

    assert_true(wasmtime_instance_export_get(r->context, &r->instance, name, strlen(name), &item));
    return item;
}

/* Each look at the epoch finds the deadline passed. */
static wasmtime_error_t *tick(wasmtime_context_t *context, void *data, uint64_t *delta,
                              wasmtime_update_deadline_kind_t *kind)
{
    struct run *r = data;

    (void)context;
    r->ticks++;
    *delta = 0;
    *kind = WASMTIME_UPDATE_DEADLINE_CONTINUE;
    return NULL;
}

static void fine(wasmtime_error_t *error, wasm_trap_t *trap)
{
    wasm_byte_vec_t text = {0};

    if (!error && !trap)
        return;
    if (error)
        wasmtime_error_message(error, &text);
    else
        wasm_trap_message(trap, &text);
    fail_msg("%.*s", (int)text.size, text.data);
}

static void start(struct run *r, const struct buf *bytes)
{
    wasmtime_module_t *module = NULL;
    wasm_trap_t *trap = NULL;

    fine(wasmtime_module_new(engine, bytes->data, bytes->len, &module), NULL);
    r->store = wasmtime_store_new(engine, NULL, NULL);
    r->context = wasmtime_store_context(r->store);
    wasmtime_context_set_epoch_deadline(r->context, 1);
    wasmtime_store_epoch_deadline_callback(r->store, tick, r, NULL);
    fine(wasmtime_instance_new(r->context, module, NULL, 0, &r->instance, &trap), trap);
    wasmtime_module_delete(module);
}

/* The memories are exported by the rewriter alone. */
static void find_memories(struct run *r)
{
    r->memory[0] = export_of(r, "memory").of.memory;
    r->memory[1] = export_of(r, REWRITE_MEMORY_PREFIX "1").of.memory;
}

/* What it traps with; -1: it does not. */
static int call(struct run *r, enum function f, const uint32_t args[3])
{
    wasmtime_extern_t item = export_of(r, functions[f].name);
    wasm_trap_t *trap = NULL;
    wasmtime_trap_code_t code = 0;
    wasmtime_val_t values[3];

    for (int i = 0; i < 3; i++)
        values[i] = (wasmtime_val_t){.kind = WASMTIME_I32, .of.i32 = (int32_t)args[i]};
    fine(wasmtime_func_call(r->context, &item.of.func, values, 3, NULL, 0, &trap), NULL);
    if (!trap)
        return -1;
    assert_true(wasmtime_trap_code(trap, &code));
    wasm_trap_delete(trap);
    return code;
}

static uint8_t *bytes_of(struct run *r, int memory)
{
    return wasmtime_memory_data(r->context, &r->memory[memory]);
}

static const uint32_t sizes[] = {PAGES * PAGE, SECOND *PAGE};

/* --- what is expected: the specification, in C --- */

struct model {
    uint8_t *memory[2];
    bool dropped;
};

static bool within(uint32_t at, uint32_t n, uint32_t size)
{
    return (uint64_t)at + n <= size;
}

static int model_copy(struct model *m, int to, int from, const uint32_t a[3])
{
    if (!within(a[0], a[2], sizes[to]) || !within(a[1], a[2], sizes[from]))
        return WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS;
    memmove(m->memory[to] + a[0], m->memory[from] + a[1], a[2]);
    return -1;
}

static int model_init(struct model *m, int to, const uint32_t a[3])
{
    if (!within(a[0], a[2], sizes[to]) || !within(a[1], a[2], m->dropped ? 0 : SEGMENT))
        return WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS;
    for (uint32_t i = 0; i < a[2]; i++)
        m->memory[to][a[0] + i] = pattern(a[1] + i);
    return -1;
}

static int model_call(struct model *m, enum function f, const uint32_t a[3])
{
    switch (f) {
    case FILL:
        if (!within(a[0], a[2], sizes[0]))
            return WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS;
        memset(m->memory[0] + a[0], (int)(a[1] & 0xff), a[2]);
        return -1;
    case COPY:
        return model_copy(m, 0, 0, a);
    case COPY_TO_SECOND:
        return model_copy(m, 1, 0, a);
    case COPY_FROM_SECOND:
        return model_copy(m, 0, 1, a);
    case INIT:
        return model_init(m, 0, a);
    case INIT_SECOND:
        return model_init(m, 1, a);
    default:
        m->dropped = true;
        return -1;
    }
}

/* --- tests --- */

struct both {
    struct run run;
    struct model model;
    unsigned traps;
};

static void open_both(struct both *b)
{
    AUTO_BUF struct buf module = {.max = 4 * MIB}, out = {.max = 4 * MIB};
    struct rewrite_info info;
    struct err err = {.code = ERR_NONE};

    make_module(&module);
    if (rewrite_module(&out, module.data, module.len, &info, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(info.pieces, 6); /* of what is dropped none is made */
    start(&b->run, &out);
    signals_own();
    find_memories(&b->run);
    for (int m = 0; m < 2; m++) {
        b->model.memory[m] = malloc(sizes[m]);
        assert_non_null(b->model.memory[m]);
        for (uint32_t i = 0; i < sizes[m]; i++)
            b->model.memory[m][i] = bytes_of(&b->run, m)[i] = pattern(i + 77);
    }
}

static void close_both(struct both *b)
{
    wasmtime_store_delete(b->run.store);
    for (int m = 0; m < 2; m++)
        free(b->model.memory[m]);
}

static void check(struct both *b, enum function f, uint32_t to, uint32_t from, uint32_t n)
{
    const uint32_t args[3] = {to, from, n};
    int want = model_call(&b->model, f, args), got = call(&b->run, f, args);

    if (want != got)
        fail_msg("%s(%u, %u, %u): trap %d, not %d", functions[f].name, to, from, n, got, want);
    if (got >= 0 && ++b->traps % 8)
        return; /* it takes time, and what was written shows in the next one too */
    for (int m = 0; m < 2; m++)
        if (memcmp(b->model.memory[m], bytes_of(&b->run, m), sizes[m]) != 0)
            fail_msg("%s(%u, %u, %u): memory %d differs", functions[f].name, to, from, n, m);
}

/* Around each edge that there is: of a piece, of the memories, of the segment, of 32 bits. */
static const uint32_t edges[] = {0,
                                 1,
                                 PIECE - 1,
                                 PIECE,
                                 PIECE + 1,
                                 2 * PIECE,
                                 2 * PIECE + 7,
                                 SEGMENT - PIECE,
                                 SEGMENT,
                                 SEGMENT + 1,
                                 SECOND *PAGE - PIECE,
                                 SECOND *PAGE,
                                 PAGES *PAGE - PIECE - 1,
                                 PAGES *PAGE - PIECE,
                                 PAGES *PAGE - 1,
                                 PAGES *PAGE,
                                 PAGES *PAGE + 1,
                                 0x80000000u,
                                 UINT32_MAX - PIECE,
                                 UINT32_MAX};

#define EDGES (sizeof(edges) / sizeof(edges[0]))

static void test_at_the_edges(void **state)
{
    struct both b = {.run = {.ticks = 0}};

    (void)state;
    open_both(&b);
    for (int f = 0; f < DROP; f++)
        for (size_t to = 0; to < EDGES; to++)
            for (size_t n = 0; n < EDGES; n++)
                for (size_t from = 0; from < EDGES; from += f == FILL ? EDGES : 1 + (to + n) % 5)
                    check(&b, (enum function)f, edges[to], edges[from], edges[n]);
    close_both(&b);
}

static uint32_t random_below(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)*seed * n) >> 32);
}

/* Overlapping in both directions, by less than a piece and by more. */
static void test_anywhere(void **state)
{
    struct both b = {.run = {.ticks = 0}};
    uint32_t seed = 7;

    (void)state;
    open_both(&b);
    for (int i = 0; i < 1000; i++) {
        enum function f = (enum function)random_below(&seed, DROP);
        uint32_t n = random_below(&seed, 4 * PIECE);
        uint32_t to = random_below(&seed, PAGES * PAGE - 2 * PIECE);
        uint32_t from = f == COPY && i % 2 ? to + random_below(&seed, 2000) - 1000
                                           : random_below(&seed, PAGES * PAGE);

        check(&b, f, to, from, n);
    }
    close_both(&b);
}

static void test_segments_that_were_dropped(void **state)
{
    struct both b = {.run = {.ticks = 0}};

    (void)state;
    open_both(&b);
    check(&b, INIT, 5, 3, SEGMENT - 3);
    check(&b, DROP, 0, 0, 0);
    check(&b, INIT, 5, 0, SEGMENT);
    check(&b, INIT, 5, 0, 1);
    check(&b, INIT_SECOND, 5, 0, 0);
    close_both(&b);
}

static void test_each_piece_can_be_interrupted(void **state)
{
    static const struct {
        enum function f;
        uint32_t to, from, n;
    } calls[] = {
        {FILL, 0, 1, PAGES * PAGE},          {COPY, 0, PIECE / 2, 2 * MIB},
        {COPY, PIECE / 2, 0, 2 * MIB},       {COPY_TO_SECOND, 0, 0, SECOND * PAGE},
        {COPY_FROM_SECOND, 0, 0, 2 * PIECE}, {INIT, 0, 0, SEGMENT},
    };
    struct both b = {.run = {.ticks = 0}};

    (void)state;
    open_both(&b);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        const uint32_t args[3] = {calls[i].to, calls[i].from, calls[i].n};

        b.run.ticks = 0;
        wasmtime_engine_increment_epoch(engine);
        assert_int_equal(call(&b.run, calls[i].f, args), -1);
        if (b.run.ticks < calls[i].n / PIECE)
            fail_msg("%s: %u looks at the epoch", functions[calls[i].f].name, b.run.ticks);
    }
    close_both(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_the_edges),
        cmocka_unit_test(test_anywhere),
        cmocka_unit_test(test_segments_that_were_dropped),
        cmocka_unit_test(test_each_piece_can_be_interrupted),
    };
    int rc;

    engine = wasm_engine_new_with_config(engine_config(true));
    signals_own();
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    wasm_engine_delete(engine);
    return rc;
}
