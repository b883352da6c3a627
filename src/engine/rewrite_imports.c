/* Imported mutable globals become the module's own.
 *
 * A global that a guest imports and may write is one that it shares with somebody, and there is
 * nobody: the host has none and guests are not linked to each other. So it is given one of its own,
 * with zero in it, by moving it from the import section to the front of the global section. Its
 * index stays what it was, since imported globals come before all others and rewrite_sections.c
 * refuses those that would have to stay behind. Then it is saved as any other.
 */
#include "engine/rewrite_write.h"

#include "base/auto.h"

#include <assert.h>
#include <stdbool.h>

/* --- both sections --- */

/* Calls each for every entry of the import section; end is where it ends. */
static int each_import(const struct sections *s, struct err *err,
                       int (*each)(struct buf *out, const struct import *import,
                                   const struct reader *r, struct err *err),
                       struct buf *out)
{
    struct sections scratch = {.types = s->types};
    struct reader r = s->body[SECTION_IMPORT];
    struct import import;
    uint32_t n;

    r.unsavable = NULL;
    r.err = err;
    if (reader_u32(&r, &n, "count") < 0)
        return -1;
    while (n--)
        if (section_read_import(&scratch, &r, &import) < 0 || each(out, &import, &r, err) < 0)
            return -1;
    return 0;
}

static bool is_owned(const struct import *import)
{
    return import->kind == KIND_GLOBAL && import->is_mutable;
}

/* --- imports --- */

static int put_import(struct buf *out, const struct import *import, const struct reader *r,
                      struct err *err)
{
    if (is_owned(import))
        return 0;
    return buf_append(out, r->base + import->at, r->at - import->at, err);
}

int imports_write(struct buf *out, const struct sections *s, struct err *err)
{
    AUTO_BUF struct buf body = {.max = REWRITE_BYTES_MAX};

    if (write_u32(&body, s->imports - s->owned_globals, err) < 0 ||
        each_import(s, err, put_import, &body) < 0)
        return -1;
    return write_section(out, SECTION_IMPORT, &body, err);
}

/* --- globals --- */

static int put_global(struct buf *out, const struct import *import, const struct reader *r,
                      struct err *err)
{
    static const struct {
        uint8_t type, n, zero[19];
    } zeros[] = {
        {TYPE_I32, 2, {0x41, 0}},       {TYPE_I64, 2, {0x42, 0}},
        {TYPE_F32, 5, {0x43, 0}},       {TYPE_F64, 9, {0x44, 0}},
        {TYPE_V128, 18, {0xfd, 12, 0}}, {TYPE_FUNCREF, 2, {0xd0, TYPE_FUNCREF}},
    };
    const uint8_t type[] = {import->value, 1}, end = 0x0b;
    size_t i = 0;

    (void)r;
    if (!is_owned(import))
        return 0;
    while (zeros[i].type != import->value) {
        i++;
        assert(i < sizeof(zeros) / sizeof(zeros[0]));
    }
    if (buf_append(out, type, sizeof(type), err) < 0 ||
        buf_append(out, zeros[i].zero, zeros[i].n, err) < 0)
        return -1;
    return buf_append(out, &end, 1, err);
}

int globals_write(struct buf *out, const struct sections *s, struct err *err)
{
    AUTO_BUF struct buf body = {.max = REWRITE_BYTES_MAX};
    uint32_t defined = s->globals - s->imported_globals;

    if (write_u32(&body, defined + s->owned_globals, err) < 0 ||
        each_import(s, err, put_global, &body) < 0 ||
        write_entries(&body, s, SECTION_GLOBAL, err) < 0)
        return -1;
    return write_section(out, SECTION_GLOBAL, &body, err);
}
