/* Instructions, read for their length and for what a sleep would lose.
 *
 * The compiler validates code; here each instruction is only decoded far enough to find the next
 * one, so that none can hide. For that every opcode of what is enabled (core specification 2.0,
 * tail calls, several memories, atomics) has the form of its immediates in a table, every other
 * opcode is an error: by name where it belongs to a proposal that is known, else as malformed.
 *
 * What changes state that a sleep does not save is noted: the contents or size of tables, and which
 * segments were dropped. (memory.init alone is not: what it copies from does not change.)
 *
 * What may take long in one instruction is told to whoever asked (engine/rewrite_bulk.c), unless
 * its length is a constant right before it, and small.
 */
#include "engine/rewrite_read.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>

enum form {
    FORM_UNKNOWN,
    FORM_NONE,
    FORM_BLOCK,       /* block type */
    FORM_INDEX,       /* label, function, local, global, table, memory */
    FORM_INDEX2,      /* call_indirect: type, table */
    FORM_BR_TABLE,    /* vector of labels, label */
    FORM_TYPES,       /* select with types */
    FORM_MEMORY,      /* alignment, offset */
    FORM_MEMORY_LANE, /* and a lane */
    FORM_CHANGES,     /* as `changes` says */
    FORM_BULK,        /* memory.init memory.copy memory.fill */
    FORM_S32,
    FORM_S64,
    FORM_4,
    FORM_8,
    FORM_16,
    FORM_LANE,
    FORM_REF_NULL,
    FORM_PREFIX,  /* another opcode follows */
    FORM_REFUSED, /* look for it in `refused` */
};

/* The letters of the map below. */
enum {
    U = FORM_UNKNOWN,
    N = FORM_NONE,
    B = FORM_BLOCK,    /* block loop if */
    I = FORM_INDEX,    /* br call local.get global.get table.get memory.size ... */
    J = FORM_INDEX2,   /* call_indirect return_call_indirect */
    T = FORM_BR_TABLE, /* br_table */
    S = FORM_TYPES,    /* select t */
    M = FORM_MEMORY,   /* loads and stores */
    C = FORM_CHANGES,  /* table.set */
    W = FORM_S32,      /* i32.const */
    L = FORM_S64,      /* i64.const */
    F = FORM_4,        /* f32.const */
    D = FORM_8,        /* f64.const */
    Y = FORM_REF_NULL, /* ref.null */
    P = FORM_PREFIX,   /* 0xfb ... 0xfe */
    R = FORM_REFUSED,  /* see `refused` */
};

/* Opcodes of one byte. */
static const uint8_t plain[256] = {
    /* clang-format off */
    /*        0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f */
    /* 0_ */ N, N, B, B, B, N, R, R, R, R, R, N, I, I, T, N,
    /* 1_ */ I, J, I, J, R, R, U, U, R, R, N, N, S, U, U, R,
    /* 2_ */ I, I, I, I, I, I, C, U, M, M, M, M, M, M, M, M,
    /* 3_ */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, I,
    /* 4_ */ I, W, L, F, D, N, N, N, N, N, N, N, N, N, N, N,
    /* 5_ */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    /* 6_ */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    /* 7_ */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    /* 8_ */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    /* 9_ */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    /* a_ */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    /* b_ */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    /* c_ */ N, N, N, N, N, U, U, U, U, U, U, U, U, U, U, U,
    /* d_ */ Y, N, I, R, R, R, R, U, U, U, U, U, U, U, U, U,
    /* e_ */ R, R, R, R, R, R, R, U, U, U, U, U, U, U, U, U,
    /* f_ */ U, U, U, U, U, U, U, U, U, U, U, P, P, P, P, U,
    /* clang-format on */
};

struct range {
    uint16_t first, last;
    enum form form;
};

/* Behind 0xfc. */
static const struct range misc[] = {
    {0, 7, FORM_NONE},      /* trunc_sat */
    {8, 8, FORM_BULK},      /* memory.init */
    {9, 9, FORM_CHANGES},   /* data.drop */
    {10, 11, FORM_BULK},    /* memory.copy memory.fill */
    {12, 15, FORM_CHANGES}, /* table.init elem.drop table.copy table.grow */
    {16, 16, FORM_INDEX},   /* table.size */
    {17, 17, FORM_CHANGES}, /* table.fill */
    {18, 22, FORM_REFUSED}, /* memory.discard, wide arithmetic */
};

/* Behind 0xfd. */
static const struct range simd[] = {
    {0, 11, FORM_MEMORY},       /* v128.load ... v128.store */
    {12, 12, FORM_16},          /* v128.const */
    {13, 13, FORM_16},          /* i8x16.shuffle */
    {14, 20, FORM_NONE},        /* swizzle, splat */
    {21, 34, FORM_LANE},        /* extract_lane replace_lane */
    {35, 83, FORM_NONE},        /* comparisons, bitwise */
    {84, 91, FORM_MEMORY_LANE}, /* load_lane store_lane */
    {92, 93, FORM_MEMORY},      /* load32_zero load64_zero */
    {94, 255, FORM_NONE},       /* numeric */
    {256, 275, FORM_REFUSED},   /* relaxed */
};

/* Behind 0xfe. */
static const struct range atomics[] = {
    {0, 2, FORM_MEMORY},   /* notify, wait32, wait64 */
    {3, 3, FORM_LANE},     /* fence */
    {16, 78, FORM_MEMORY}, /* loads, stores, read-modify-write */
};

#define RANGES(table) (table), sizeof(table) / sizeof((table)[0])

struct refusal {
    uint16_t prefix; /* 0: none */
    uint16_t first, last;
    const char *name;
    const char *why;
};

static const char why_exceptions[] =
    "exceptions are not supported: build without -fwasm-exceptions";
static const char why_gc[] =
    "typed references and garbage collection are not supported: build for core WebAssembly 2.0";
static const char why_core[] =
    "this proposal is not supported: build for core WebAssembly 2.0, without it";

static const struct refusal refused[] = {
    {0, 0x06, 0x0a, "try, catch, throw", why_exceptions},
    {0, 0x14, 0x15, "call_ref", why_gc},
    {0, 0x18, 0x1f, "delegate, catch_all, try_table", why_exceptions},
    {0, 0xd3, 0xd6, "ref.eq, ref.as_non_null, br_on_null", why_gc},
    {0, 0xe0, 0xe6, "stack switching", why_core},
    {0xfb, 0, UINT16_MAX, "garbage collection", why_gc},
    {0xfc, 18, 18, "memory.discard", why_core},
    {0xfc, 19, 22, "wide arithmetic", why_core},
    {0xfd, 256, 275, "relaxed SIMD",
     "its results differ between machines: build without -mrelaxed-simd"},
};

/* What of the state that a sleep loses an instruction changes. */
static const struct change {
    uint8_t opcode; /* the number behind 0xfc; table.set's own */
    bool two;       /* two immediates; `what` is the second of table.init, else the first */
    enum unsavable_kind kind;
    const char *name;
} changes[] = {
    {0x26, false, UNSAVABLE_TABLE, "table.set"}, {9, false, UNSAVABLE_DATA, "data.drop"},
    {12, true, UNSAVABLE_TABLE, "table.init"},   {13, false, UNSAVABLE_ELEMENTS, "elem.drop"},
    {14, true, UNSAVABLE_TABLE, "table.copy"},   {15, false, UNSAVABLE_TABLE, "table.grow"},
    {17, false, UNSAVABLE_TABLE, "table.fill"},
};

static enum form form_in(const struct range *ranges, size_t n, uint32_t opcode)
{
    for (size_t i = 0; i < n; i++)
        if (opcode >= ranges[i].first && opcode <= ranges[i].last)
            return ranges[i].form;
    return FORM_UNKNOWN;
}

static int refuse(const struct reader *r, size_t at, uint8_t prefix, uint32_t opcode)
{
    uint32_t code = opcode < UINT16_MAX ? opcode : UINT16_MAX;

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const struct refusal *f = &refused[i];

        if (f->prefix == prefix && code >= f->first && code <= f->last)
            return reader_refuse(r, at, "instruction %s: %s", f->name, f->why);
    }
    assert(0 && "a refused opcode has a reason");
    return -1;
}

/* --- immediates --- */

static int read_index(struct reader *r)
{
    uint32_t index;

    return reader_u32(r, &index, "index");
}

static void note_change(const struct reader *r, const struct change *c, uint32_t what)
{
    const char *of = c->kind == UNSAVABLE_TABLE      ? "table"
                     : c->kind == UNSAVABLE_ELEMENTS ? "element segment"
                                                     : "data segment";

    reader_unsavable(r, c->kind, "%s %" PRIu32 " (%s in function %" PRIu32 ")", of, what, c->name,
                     r->function);
}

/* opcode: table.set's, or what is behind 0xfc. */
static int read_change(struct reader *r, uint32_t opcode)
{
    const struct change *c = changes;
    uint32_t first, second = 0;

    while (c->opcode != opcode)
        c++;
    if (reader_u32(r, &first, "index") < 0 || (c->two && reader_u32(r, &second, "index") < 0))
        return -1;
    note_change(r, c, opcode == 12 ? second : first);
    return 0;
}

/* opcode: what is behind 0xfc. */
static int read_bulk(struct reader *r, size_t begin, uint32_t opcode)
{
    struct bulk_use use = {.at = begin};

    use.kind = opcode == 11 ? BULK_FILL : opcode == 10 ? BULK_COPY : BULK_INIT;
    if (reader_u32(r, &use.first, "index") < 0 ||
        (use.kind != BULK_FILL && reader_u32(r, &use.second, "index") < 0))
        return -1;
    use.end = r->at;
    if (!r->bulk || (r->constant_end == begin && r->constant <= REWRITE_BULK_BYTES))
        return 0;
    return r->bulk(r->bulk_ctx, &use, r->err);
}

static int read_i32_const(struct reader *r)
{
    int64_t number;

    if (reader_signed(r, 32, &number, "i32.const") < 0)
        return -1;
    r->constant = (uint32_t)number;
    r->constant_end = r->at;
    return 0;
}

/* Positive numbers are types, negative ones value types in one byte. */
static int read_block_type(struct reader *r)
{
    int64_t index;
    uint8_t type;

    if (r->at < r->end && r->base[r->at] == 0x40)
        return reader_skip(r, 1, "block type");
    if (r->at < r->end && (r->base[r->at] & 0xc0) == 0x40)
        return reader_value_type(r, &type);
    return reader_signed(r, 33, &index, "block type");
}

static int read_br_table(struct reader *r)
{
    uint32_t n;

    if (reader_count(r, &n, "br_table's labels", "UINT32_MAX", UINT32_MAX) < 0)
        return -1;
    for (uint64_t i = 0; i <= n; i++)
        if (read_index(r) < 0)
            return -1;
    return 0;
}

static int read_types(struct reader *r)
{
    uint32_t n;
    uint8_t type;

    if (reader_count(r, &n, "select's types", "UINT32_MAX", UINT32_MAX) < 0)
        return -1;
    while (n--)
        if (reader_value_type(r, &type) < 0)
            return -1;
    return 0;
}

#define ALIGN_MEMORY_INDEX 0x40u

static int read_memory(struct reader *r)
{
    size_t begin = r->at;
    uint32_t align, memory, offset;

    if (reader_u32(r, &align, "alignment") < 0)
        return -1;
    if (align >= 2 * ALIGN_MEMORY_INDEX)
        return reader_invalid(r, begin, "alignment 2^%" PRIu32, align);
    if (align >= ALIGN_MEMORY_INDEX && reader_u32(r, &memory, "memory index") < 0)
        return -1;
    return reader_u32(r, &offset, "offset of a memory access");
}

/* A type in one byte; any other number is the index of one. */
static int read_heap_type(struct reader *r)
{
    size_t begin = r->at;
    int64_t index;
    uint8_t type;

    if (r->at < r->end && (r->base[r->at] & 0xc0) == 0x40)
        return reader_reference_type(r, &type);
    if (reader_signed(r, 33, &index, "heap type") < 0)
        return -1;
    return reader_refuse(r, begin,
                         "reference to type %" PRId64 " (typed references): build for core "
                         "WebAssembly 2.0",
                         index);
}

static int read_immediates(struct reader *r, enum form form)
{
    int64_t number;

    switch (form) {
    case FORM_NONE:
        return 0;
    case FORM_BLOCK:
        return read_block_type(r);
    case FORM_INDEX:
        return read_index(r);
    case FORM_INDEX2:
        return read_index(r) < 0 ? -1 : read_index(r);
    case FORM_BR_TABLE:
        return read_br_table(r);
    case FORM_TYPES:
        return read_types(r);
    case FORM_MEMORY:
        return read_memory(r);
    case FORM_MEMORY_LANE:
        return read_memory(r) < 0 ? -1 : reader_skip(r, 1, "lane");
    case FORM_S32:
        return read_i32_const(r);
    case FORM_S64:
        return reader_signed(r, 64, &number, "i64.const");
    case FORM_4:
        return reader_skip(r, 4, "f32.const");
    case FORM_8:
        return reader_skip(r, 8, "f64.const");
    case FORM_16:
        return reader_skip(r, 16, "vector immediate");
    case FORM_LANE:
        return reader_skip(r, 1, "lane");
    case FORM_REF_NULL:
        return read_heap_type(r);
    default:
        assert(0 && "forms are handled by the caller or here");
        return -1;
    }
}

/* --- instructions --- */

static int read_prefixed(struct reader *r, uint8_t prefix, uint32_t *opcode, enum form *form)
{
    if (reader_u32(r, opcode, "opcode") < 0)
        return -1;
    if (prefix == 0xfc)
        *form = form_in(RANGES(misc), *opcode);
    else if (prefix == 0xfd)
        *form = form_in(RANGES(simd), *opcode);
    else if (prefix == 0xfe)
        *form = form_in(RANGES(atomics), *opcode);
    else
        *form = FORM_REFUSED;
    return 0;
}

/* Reads one instruction; *opcode is its first byte, *sub the number behind a prefix. */
static int read_instruction(struct reader *r, uint8_t *opcode, uint32_t *sub)
{
    size_t begin = r->at;
    enum form form;

    *sub = 0;
    if (reader_byte(r, opcode, "instruction") < 0)
        return -1;
    form = (enum form)plain[*opcode];
    if (form == FORM_PREFIX && read_prefixed(r, *opcode, sub, &form) < 0)
        return -1;
    if (form == FORM_REFUSED)
        return *opcode >= 0xfb ? refuse(r, begin, *opcode, *sub) : refuse(r, begin, 0, *opcode);
    if (form == FORM_UNKNOWN)
        return reader_invalid(r, begin, "unknown instruction 0x%02x %" PRIu32, *opcode, *sub);
    if (form == FORM_CHANGES)
        return read_change(r, *opcode == 0xfc ? *sub : *opcode);
    if (form == FORM_BULK)
        return read_bulk(r, begin, *sub);
    return read_immediates(r, form);
}

static int read_locals(struct reader *r)
{
    uint32_t groups, count;
    uint8_t type;

    if (reader_count(r, &groups, "groups of locals", "UINT32_MAX", UINT32_MAX) < 0)
        return -1;
    while (groups--)
        if (reader_u32(r, &count, "count of locals") < 0 || reader_value_type(r, &type) < 0)
            return -1;
    return 0;
}

#define OP_END 0x0b

int code_read_body(struct reader *r)
{
    uint8_t opcode = 0;
    uint32_t sub;

    if (read_locals(r) < 0)
        return -1;
    while (r->at < r->end)
        if (read_instruction(r, &opcode, &sub) < 0)
            return -1;
    if (opcode != OP_END)
        return reader_invalid(r, r->at, "a function's body without an end");
    return 0;
}

/* Constants, global.get, ref.null, ref.func, and the arithmetic of extended constants. */
static bool is_constant(uint8_t opcode, uint32_t sub)
{
    switch (opcode) {
    case 0x23: /* global.get */
    case 0x41: /* i32.const */
    case 0x42: /* i64.const */
    case 0x43: /* f32.const */
    case 0x44: /* f64.const */
    case 0x6a: /* i32.add */
    case 0x6b: /* i32.sub */
    case 0x6c: /* i32.mul */
    case 0x7c: /* i64.add */
    case 0x7d: /* i64.sub */
    case 0x7e: /* i64.mul */
    case 0xd0: /* ref.null */
    case 0xd2: /* ref.func */
        return true;
    case 0xfd:
        return sub == 12; /* v128.const */
    default:
        return false;
    }
}

int code_read_const(struct reader *r)
{
    uint8_t opcode;
    uint32_t sub;

    for (;;) {
        size_t begin = r->at;

        if (read_instruction(r, &opcode, &sub) < 0)
            return -1;
        if (opcode == OP_END)
            return 0;
        if (!is_constant(opcode, sub))
            return reader_invalid(r, begin, "instruction 0x%02x in a constant expression", opcode);
    }
}
