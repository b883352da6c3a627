/* Reading a module's bytes for the rewriter: a place, an end, and errors that say where.
 *
 * Nothing is read past the end of what encloses it (section, function body), every number is
 * checked for its width, and each error names the offset in the file and what is being read.
 * Private to engine/rewrite*.c.
 */
#ifndef ROOST_ENGINE_REWRITE_READ_H
#define ROOST_ENGINE_REWRITE_READ_H

#include "base/err.h"
#include "base/limits.h"

#include <stddef.h>
#include <stdint.h>

#define READER_NO_FUNCTION UINT32_MAX

/* What a sleep would lose of a module's state, as text for people: one cause of each kind. */
enum unsavable_kind {
    UNSAVABLE_TABLE,
    UNSAVABLE_ELEMENTS,
    UNSAVABLE_DATA,
    UNSAVABLE_GLOBAL,
    UNSAVABLE_MEMORIES,
    UNSAVABLE_SHARED,
};

struct unsavable {
    unsigned kinds; /* bits */
    char text[REWRITE_UNSAVABLE_BYTES];
};

/* An instruction that may take long: memory.fill, memory.copy, memory.init. */
enum bulk_kind { BULK_FILL, BULK_COPY, BULK_INIT };

struct bulk_use {
    size_t at, end; /* offsets of the instruction in the file */
    enum bulk_kind kind;
    uint32_t first, second; /* immediates: memory; to, from; segment, memory */
};

struct reader {
    const uint8_t *base;         /* the module's first byte */
    size_t at, end;              /* offsets from there */
    const char *where;           /* "code section" */
    uint32_t function;           /* whose body it is, or READER_NO_FUNCTION */
    struct unsavable *unsavable; /* where to note it; NULL: it was noted before */
    /* Who is told of each bulk_use that is not known to be short; NULL: nobody. */
    int (*bulk)(void *ctx, const struct bulk_use *use, struct err *err);
    void *bulk_ctx;
    size_t constant_end; /* where the last i32.const ended, and what it was */
    uint32_t constant;
    struct err *err;
};

struct wasm_name {
    const uint8_t *data;
    uint32_t len;
};

/* Set the error for what begins at offset `at`; always -1. invalid: malformed. refuse: well-formed,
 * but not for us (ERR_UNSUPPORTED). limit: more of something than a maximum of base/limits.h. */
int reader_invalid(const struct reader *r, size_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int reader_refuse(const struct reader *r, size_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int reader_limit(const struct reader *r, size_t at, const char *what, uint64_t n,
                 const char *limit_name, uint64_t limit);

/* Notes a cause why the module cannot be saved; the first of its kind is kept. */
void reader_unsavable(const struct reader *r, enum unsavable_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

int reader_byte(struct reader *r, uint8_t *out, const char *what) ERR_CHECK;
int reader_skip(struct reader *r, size_t n, const char *what) ERR_CHECK;
/* LEB128, at most 5 bytes and 32 bits. */
int reader_u32(struct reader *r, uint32_t *out, const char *what) ERR_CHECK;
/* LEB128, at most 10 bytes and 64 bits. */
int reader_u64(struct reader *r, uint64_t *out, const char *what) ERR_CHECK;
/* A signed LEB128 of 32, 33 or 64 bits. */
int reader_signed(struct reader *r, unsigned bits, int64_t *out, const char *what) ERR_CHECK;
/* A vector's count: at most max, and at most one entry for each byte that is left. */
int reader_count(struct reader *r, uint32_t *out, const char *what, const char *limit_name,
                 uint32_t max) ERR_CHECK;
/* UTF-8, at most REWRITE_NAME_BYTES_MAX. */
int reader_name(struct reader *r, struct wasm_name *out, const char *what) ERR_CHECK;
/* The next len bytes as a reader of their own; r goes on behind them. */
int reader_sub(struct reader *r, uint32_t len, struct reader *out, const char *what) ERR_CHECK;

/* A value type, or an error: i32 i64 f32 f64 v128 funcref. */
int reader_value_type(struct reader *r, uint8_t *out) ERR_CHECK;
int reader_reference_type(struct reader *r, uint8_t *out) ERR_CHECK;

enum {
    TYPE_I32 = 0x7f,
    TYPE_I64 = 0x7e,
    TYPE_F32 = 0x7d,
    TYPE_F64 = 0x7c,
    TYPE_V128 = 0x7b,
    TYPE_FUNCREF = 0x70,
    TYPE_EXTERNREF = 0x6f,
};

/* A name of the module for a message: printable, cut at some length. */
#define SHOWN_MAX 72
const char *name_show(char out[SHOWN_MAX], struct wasm_name name);

/* --- rewrite_code.c: instructions --- */

/* Reads a function's body (locals and instructions) to its end, notes what cannot be saved and
 * refuses what is not enabled. */
int code_read_body(struct reader *r) ERR_CHECK;
/* Reads a constant expression, its `end` included. */
int code_read_const(struct reader *r) ERR_CHECK;

#endif
