/* memory.fill, memory.copy and memory.init, cut into pieces.
 *
 * Each is one instruction, however much it writes, and a guest is interrupted between instructions
 * only: one that fills a gigabyte would keep its thread for a third of a second, whatever its
 * limits. So each becomes a call of a function that is added behind all others (no index changes),
 * of type (i32, i32, i32) -> ():
 *
 *     if n > REWRITE_BULK_BYTES and to + n <= size of the memory, and the same of what is read:
 *         loop: one piece; to, from and n move by it; again while n > REWRITE_BULK_BYTES
 *     the instruction, with what is left
 *
 * The engine looks at the epoch at each turn of the loop. What is out of bounds goes to the
 * instruction whole, which traps before it writes anything; so nothing is seen of a part of it. A
 * memory does not shrink meanwhile, since nobody else runs in it. A copy within one memory to a
 * higher address begins at its end. A data segment that was dropped has no bytes: its first piece
 * traps. Where the length is a small constant, the instruction stays (rewrite_code.c).
 *
 * The code is read twice more for it: once for which functions are needed, as types and functions
 * stand before code, and once to replace. Nothing is kept for an instruction beyond its function.
 */
#include "engine/rewrite_bulk.h"

#include "base/auto.h"
#include "engine/rewrite_write.h"

#include <assert.h>
#include <string.h>

#define CALL 0x10

/* One of them: b->helpers is an array of these. */
struct helper {
    enum bulk_kind kind;
    uint32_t first, second; /* the instruction's immediates */
    uint32_t len;           /* of the segment */
};

/* One instruction that is replaced: b->sites has those of one function. */
struct site {
    size_t at, end;
    uint32_t function;
};

/* --- which are needed --- */

static const struct long_segment *find_segment(const struct sections *s, uint32_t index)
{
    uint32_t low = 0, high = s->nlong;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (s->long_segments[middle].index == index)
            return &s->long_segments[middle];
        if (s->long_segments[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Where its helper's number is; NULL: it stays as it is (it is short, or the module not valid). */
static uint16_t *slot_of(struct bulk *b, const struct bulk_use *use)
{
    const struct sections *s = b->s;
    const struct long_segment *segment;

    switch (use->kind) {
    case BULK_FILL:
        return use->first < s->memories ? &b->fill[use->first] : NULL;
    case BULK_COPY:
        if (use->first >= s->memories || use->second >= s->memories)
            return NULL;
        return &b->copy[use->first][use->second];
    default:
        segment = find_segment(s, use->first);
        if (!segment || use->second >= s->memories)
            return NULL;
        return &b->init[segment - s->long_segments][use->second];
    }
}

static int plan_one(void *ctx, const struct bulk_use *use, struct err *err)
{
    struct bulk *b = ctx;
    uint16_t *slot = slot_of(b, use);
    struct helper helper = {.kind = use->kind, .first = use->first, .second = use->second};

    if (!slot || *slot)
        return 0;
    if (use->kind == BULK_INIT)
        helper.len = find_segment(b->s, use->first)->len;
    if (buf_append(&b->helpers, &helper, sizeof(helper), err) < 0)
        return -1;
    *slot = (uint16_t)++b->n;
    return 0;
}

/* The next function's body in the code section; what is in it is told to `found`. */
static int read_body(struct reader *code, struct reader *body,
                     int (*found)(void *, const struct bulk_use *, struct err *), struct bulk *b)
{
    struct reader r;
    uint32_t len;

    if (reader_u32(code, &len, "length of a function's body") < 0 ||
        reader_sub(code, len, body, "function's body") < 0)
        return -1;
    r = *body;
    r.bulk = found;
    r.bulk_ctx = b;
    return code_read_body(&r);
}

static int open_code(const struct bulk *b, struct reader *code, struct err *err)
{
    uint32_t n;

    *code = b->s->body[SECTION_CODE];
    code->unsavable = NULL; /* noted before */
    code->err = err;
    return reader_u32(code, &n, "count");
}

int bulk_plan(struct bulk *b, const struct sections *s, struct err *err)
{
    struct reader code, body;

    b->s = s;
    b->sites.max = MODULE_BYTES_MAX / 3 * sizeof(struct site); /* three bytes are the shortest */
    if (!s->bulk)
        return 0;
    if (open_code(b, &code, err) < 0)
        return -1;
    for (uint32_t i = 0; i < s->bodies; i++)
        if (read_body(&code, &body, plan_one, b) < 0)
            return -1;
    return 0;
}

void bulk_free(struct bulk *b)
{
    buf_free(&b->helpers);
    buf_free(&b->sites);
}

/* --- the functions that are added --- */

struct code {
    uint8_t bytes[256];
    size_t n;
};

#define EMIT(c, ...) emit(c, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void emit(struct code *c, const uint8_t *bytes, size_t n)
{
    assert(c->n + n <= sizeof(c->bytes));
    memcpy(c->bytes + c->n, bytes, n);
    c->n += n;
}

/* Five bytes hold any number; that they could be fewer does not matter here. */
static void emit_u32(struct code *c, uint32_t value)
{
    EMIT(c, (uint8_t)(value | 0x80), (uint8_t)(value >> 7 | 0x80), (uint8_t)(value >> 14 | 0x80),
         (uint8_t)(value >> 21 | 0x80), (uint8_t)(value >> 28));
}

_Static_assert(REWRITE_BULK_BYTES < 1u << 31 && MODULE_BYTES_MAX < 1u << 31,
               "as a signed number it is the same");

static void emit_const(struct code *c, uint32_t value)
{
    EMIT(c, 0x41);
    emit_u32(c, value);
}

enum { TO, FROM, LEN }; /* parameters; FROM is the value where it fills */
enum { ADD = 0x6a, SUB = 0x6b };

static void emit_get(struct code *c, uint8_t local)
{
    EMIT(c, 0x20, local);
}

/* local = local (op) REWRITE_BULK_BYTES */
static void emit_move(struct code *c, uint8_t local, uint8_t op)
{
    emit_get(c, local);
    emit_const(c, REWRITE_BULK_BYTES);
    EMIT(c, op, 0x21, local);
}

/* Leaves whether more is left than one piece. */
static void emit_is_long(struct code *c)
{
    emit_get(c, LEN);
    emit_const(c, REWRITE_BULK_BYTES);
    EMIT(c, 0x4b); /* i32.gt_u */
}

static void emit_instruction(struct code *c, const struct helper *h)
{
    static const uint8_t opcodes[] = {[BULK_FILL] = 11, [BULK_COPY] = 10, [BULK_INIT] = 8};

    EMIT(c, 0xfc, opcodes[h->kind]);
    emit_u32(c, h->first);
    if (h->kind != BULK_FILL)
        emit_u32(c, h->second);
}

/* Leaves whether local + LEN is at most a memory's size, in 64 bits. */
static void emit_within_memory(struct code *c, uint8_t local, uint32_t memory)
{
    emit_get(c, local);
    EMIT(c, 0xad); /* i64.extend_i32_u */
    emit_get(c, LEN);
    EMIT(c, 0xad, 0x7c, 0x3f); /* i64.add, memory.size */
    emit_u32(c, memory);
    EMIT(c, 0xad, 0x42, 16, 0x86, 0x58); /* << 16, i64.le_u */
}

static void emit_within_segment(struct code *c, uint32_t len)
{
    emit_get(c, FROM);
    EMIT(c, 0xad);
    emit_get(c, LEN);
    EMIT(c, 0xad, 0x7c, 0x42);
    emit_u32(c, len);
    EMIT(c, 0x58);
}

static void emit_within(struct code *c, const struct helper *h)
{
    emit_within_memory(c, TO, h->kind == BULK_INIT ? h->second : h->first);
    if (h->kind == BULK_FILL)
        return;
    if (h->kind == BULK_COPY)
        emit_within_memory(c, FROM, h->second);
    else
        emit_within_segment(c, h->len);
    EMIT(c, 0x71); /* i32.and */
}

static void emit_forwards(struct code *c, const struct helper *h)
{
    EMIT(c, 0x03, 0x40); /* loop */
    emit_get(c, TO);
    emit_get(c, FROM);
    emit_const(c, REWRITE_BULK_BYTES);
    emit_instruction(c, h);
    emit_move(c, TO, ADD);
    if (h->kind != BULK_FILL)
        emit_move(c, FROM, ADD);
    emit_move(c, LEN, SUB);
    emit_is_long(c);
    EMIT(c, 0x0d, 0, 0x0b); /* br_if, end */
}

/* The last piece first; what is left then is at the beginning. */
static void emit_backwards(struct code *c, const struct helper *h)
{
    EMIT(c, 0x03, 0x40);
    emit_move(c, LEN, SUB);
    emit_get(c, TO);
    emit_get(c, LEN);
    EMIT(c, ADD);
    emit_get(c, FROM);
    emit_get(c, LEN);
    EMIT(c, ADD);
    emit_const(c, REWRITE_BULK_BYTES);
    emit_instruction(c, h);
    emit_is_long(c);
    EMIT(c, 0x0d, 0, 0x0b);
}

static void emit_pieces(struct code *c, const struct helper *h)
{
    if (h->kind != BULK_COPY || h->first != h->second) {
        emit_forwards(c, h);
        return;
    }
    emit_get(c, TO);
    emit_get(c, FROM);
    EMIT(c, 0x4d, 0x04, 0x40); /* i32.le_u, if */
    emit_forwards(c, h);
    EMIT(c, 0x05); /* else */
    emit_backwards(c, h);
    EMIT(c, 0x0b);
}

static void emit_helper(struct code *c, const struct helper *h)
{
    EMIT(c, 0); /* no locals */
    emit_is_long(c);
    EMIT(c, 0x04, 0x40); /* if */
    emit_within(c, h);
    EMIT(c, 0x04, 0x40);
    emit_pieces(c, h);
    EMIT(c, 0x0b, 0x0b);
    emit_get(c, TO);
    emit_get(c, FROM);
    emit_get(c, LEN);
    emit_instruction(c, h);
    EMIT(c, 0x0b);
}

static int put_helpers(struct buf *out, const struct bulk *b, struct err *err)
{
    const struct helper *helpers = (const void *)b->helpers.data;

    for (uint32_t i = 0; i < b->n; i++) {
        struct code c = {.n = 0};

        emit_helper(&c, &helpers[i]);
        if (write_u32(out, (uint32_t)c.n, err) < 0 || buf_append(out, c.bytes, c.n, err) < 0)
            return -1;
    }
    return 0;
}

/* --- the sections --- */

int bulk_write_types(struct buf *out, const struct bulk *b, struct err *err)
{
    static const uint8_t type[] = {0x60, 3, TYPE_I32, TYPE_I32, TYPE_I32, 0};
    AUTO_BUF struct buf body = {.max = REWRITE_BYTES_MAX};

    if (write_u32(&body, b->s->types + 1, err) < 0 ||
        write_entries(&body, b->s, SECTION_TYPE, err) < 0 ||
        buf_append(&body, type, sizeof(type), err) < 0)
        return -1;
    return write_section(out, SECTION_TYPE, &body, err);
}

int bulk_write_functions(struct buf *out, const struct bulk *b, struct err *err)
{
    AUTO_BUF struct buf body = {.max = REWRITE_BYTES_MAX};

    if (write_u32(&body, b->s->functions + b->n, err) < 0 ||
        write_entries(&body, b->s, SECTION_FUNCTION, err) < 0)
        return -1;
    for (uint32_t i = 0; i < b->n; i++)
        if (write_u32(&body, b->s->types, err) < 0)
            return -1;
    return write_section(out, SECTION_FUNCTION, &body, err);
}

static size_t u32_bytes(uint32_t value)
{
    size_t n = 1;

    while (value >>= 7)
        n++;
    return n;
}

static int note_site(void *ctx, const struct bulk_use *use, struct err *err)
{
    struct bulk *b = ctx;
    const uint16_t *slot = slot_of(b, use);
    const uint32_t before = b->s->imported_functions + b->s->functions;
    struct site site = {.at = use->at, .end = use->end};

    if (!slot)
        return 0;
    site.function = before + *slot - 1;
    return buf_append(&b->sites, &site, sizeof(site), err);
}

/* A body with calls in the places that b->sites names. */
static int put_body(struct buf *out, const struct bulk *b, const struct reader *body,
                    struct err *err)
{
    static const uint8_t call = CALL;
    const struct site *sites = (const void *)b->sites.data;
    size_t n = b->sites.len / sizeof(*sites), begin = body->at, len = body->end - begin;

    for (size_t i = 0; i < n; i++)
        len += 1 + u32_bytes(sites[i].function) - (sites[i].end - sites[i].at);
    if (write_u32(out, (uint32_t)len, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (buf_append(out, body->base + begin, sites[i].at - begin, err) < 0 ||
            buf_append(out, &call, 1, err) < 0 || write_u32(out, sites[i].function, err) < 0)
            return -1;
        begin = sites[i].end;
    }
    return buf_append(out, body->base + begin, body->end - begin, err);
}

int bulk_write_code(struct buf *out, struct bulk *b, struct err *err)
{
    AUTO_BUF struct buf section = {.max = REWRITE_BYTES_MAX};
    struct reader code, body;

    if (open_code(b, &code, err) < 0 || write_u32(&section, b->s->bodies + b->n, err) < 0)
        return -1;
    for (uint32_t i = 0; i < b->s->bodies; i++) {
        b->sites.len = 0;
        if (read_body(&code, &body, note_site, b) < 0 || put_body(&section, b, &body, err) < 0)
            return -1;
    }
    if (put_helpers(&section, b, err) < 0)
        return -1;
    return write_section(out, SECTION_CODE, &section, err);
}
