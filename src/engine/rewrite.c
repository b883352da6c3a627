/* Reads the module once (rewrite_sections.c), then copies it, section by section. The export
 * section is written anew: the module's own entries as they were, then what is added. It is put
 * where it belongs when the module had none. Some modules have more that is not copied as it is:
 * the sections of imports and globals (rewrite_imports.c), and those of types, functions and code,
 * where instructions are replaced (rewrite_bulk.c). Nothing else moves, and no index changes; of a
 * shared memory one byte changes, its flags.
 */
#include "engine/rewrite.h"

#include "base/auto.h"
#include "base/limits.h"
#include "engine/rewrite_bulk.h"
#include "engine/rewrite_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const uint8_t header[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
#define MAGIC_BYTES     4
#define LAYER_COMPONENT 1 /* two bytes behind the version */

/* --- the header --- */

static int refuse_header(const uint8_t *module, size_t len, struct err *err)
{
    const bool magic = len >= sizeof(header) && memcmp(module, header, MAGIC_BYTES) == 0;

    if (magic && module[6] == LAYER_COMPONENT && module[7] == 0) /* of any version */
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "this is a WebAssembly component; Roost runs core modules: build for "
                       "wasm32-wasip1, as a reactor, and do not wrap the result (no wit-component, "
                       "no wasm32-wasip2)");
    if (len >= 2 && module[0] == '(' && module[1] != 0)
        return err_set(err, ERR_INVALID, 0,
                       "this is WebAssembly text: translate it first, with wat2wasm");
    if (!magic)
        return err_set(err, ERR_INVALID, 0,
                       "this is no WebAssembly module (it does not begin with \\0asm): build or "
                       "download it again");
    return err_set(err, ERR_UNSUPPORTED, 0, "WebAssembly binary version %u.%u: build for version 1",
                   module[4] | module[5] << 8, module[6] | module[7] << 8);
}

/* --- writing --- */

int write_u32(struct buf *out, uint32_t value, struct err *err)
{
    uint8_t bytes[5];
    size_t n = 0;

    do {
        bytes[n] = value & 0x7f;
        value >>= 7;
        if (value)
            bytes[n] |= 0x80;
        n++;
    } while (value);
    return buf_append(out, bytes, n, err);
}

int write_section(struct buf *out, uint8_t id, const struct buf *body, struct err *err)
{
    if (buf_append(out, &id, 1, err) < 0 || write_u32(out, (uint32_t)body->len, err) < 0)
        return -1;
    return buf_append(out, body->data, body->len, err);
}

int write_entries(struct buf *out, const struct sections *s, uint8_t id, struct err *err)
{
    struct reader r = s->body[id];
    uint32_t n;

    if (!r.base)
        return 0;
    r.err = err;
    if (reader_u32(&r, &n, "count") < 0)
        return -1;
    return buf_append(out, r.base + r.at, r.end - r.at, err);
}

static int put_export(struct buf *out, const char *name, uint8_t kind, uint32_t index,
                      struct err *err)
{
    if (write_u32(out, (uint32_t)strlen(name), err) < 0 || buf_puts(out, name, err) < 0 ||
        buf_append(out, &kind, 1, err) < 0)
        return -1;
    return write_u32(out, index, err);
}

static int put_globals(struct buf *out, const struct sections *s, struct err *err)
{
    char name[sizeof(REWRITE_GLOBAL_PREFIX) + 10];

    for (uint32_t i = 0; i < s->globals; i++) {
        if (!sections_is_mutable(s, i))
            continue;
        snprintf(name, sizeof(name), REWRITE_GLOBAL_PREFIX "%" PRIu32, i);
        if (put_export(out, name, KIND_GLOBAL, i, err) < 0)
            return -1;
    }
    return 0;
}

/* The memories beyond the first, and what a sleep would lose. */
static int put_unsavable(struct buf *out, const struct sections *s, struct err *err)
{
    char name[sizeof(REWRITE_UNSAVABLE) + REWRITE_UNSAVABLE_BYTES];

    for (uint32_t i = 1; i < s->memories; i++) {
        snprintf(name, sizeof(name), REWRITE_MEMORY_PREFIX "%" PRIu32, i);
        if (put_export(out, name, KIND_MEMORY, i, err) < 0)
            return -1;
    }
    if (!s->unsavable.kinds || !s->memories)
        return 0;
    snprintf(name, sizeof(name), REWRITE_UNSAVABLE "%s", s->unsavable.text);
    return put_export(out, name, KIND_MEMORY, 0, err);
}

static uint32_t count_unsavable(const struct sections *s)
{
    if (!s->memories) /* such a module is no guest */
        return 0;
    return s->memories - 1 + (s->unsavable.kinds ? 1 : 0);
}

static bool adds_memory(const struct sections *s)
{
    return s->memories && !s->exports_memory;
}

/* The export section's body: how many, the module's own, ours. */
static int put_exports(struct buf *out, const struct sections *s, uint32_t count, struct err *err)
{
    if (write_u32(out, count, err) < 0 || write_entries(out, s, SECTION_EXPORT, err) < 0)
        return -1;
    if (adds_memory(s) && put_export(out, "memory", KIND_MEMORY, 0, err) < 0)
        return -1;
    if (s->has_start && put_export(out, REWRITE_START, KIND_FUNCTION, s->start, err) < 0)
        return -1;
    if (put_unsavable(out, s, err) < 0)
        return -1;
    return put_globals(out, s, err);
}

static int put_export_section(struct buf *out, const struct sections *s, struct err *err)
{
    AUTO_BUF struct buf body = {.max = REWRITE_BYTES_MAX};
    uint32_t count = s->exports + s->mutables + (s->has_start ? 1 : 0) + (adds_memory(s) ? 1 : 0) +
                     count_unsavable(s);

    if (count == 0)
        return 0;
    if (count > REWRITE_EXPORTS_MAX)
        return err_set(err, ERR_LIMIT, 0,
                       "exports, mutable globals included: %" PRIu32
                       ", limit %u (REWRITE_EXPORTS_MAX)",
                       count, REWRITE_EXPORTS_MAX);
    if (put_exports(&body, s, count, err) < 0)
        return -1;
    return write_section(out, SECTION_EXPORT, &body, err);
}

static int put_owned_globals(struct buf *out, const struct sections *s, struct err *err)
{
    return s->owned_globals ? globals_write(out, s, err) : 0;
}

/* Of the custom sections only names are kept: traps show them. */
static bool keeps(const struct section *section)
{
    struct reader r = section->body;
    struct wasm_name name;

    if (section->id != SECTION_CUSTOM)
        return section->id != SECTION_EXPORT && section->id != SECTION_START;
    return section_custom_name(&r, &name) == 0 && name.len == 4 &&
           memcmp(name.data, "name", 4) == 0;
}

static int copy_section(struct buf *out, const struct sections *s, const struct reader *module,
                        const struct section *section)
{
    size_t before = out->len;

    if (!keeps(section))
        return 0;
    if (buf_append(out, module->base + section->at, section->body.end - section->at, module->err) <
        0)
        return -1;
    for (uint32_t i = 0; section->id == SECTION_MEMORY && i < s->nshared; i++)
        out->data[before + s->shared_at[i] - section->at] = LIMITS_HAS_MAX;
    return 0;
}

static int put_section(struct buf *out, struct bulk *bulk, const struct reader *module,
                       const struct section *section)
{
    const struct sections *s = bulk->s;

    if (s->owned_globals && section->id == SECTION_IMPORT)
        return imports_write(out, s, module->err);
    if (s->owned_globals && section->id == SECTION_GLOBAL)
        return 0; /* it was put in front */
    if (bulk->n && section->id == SECTION_TYPE)
        return bulk_write_types(out, bulk, module->err);
    if (bulk->n && section->id == SECTION_FUNCTION)
        return bulk_write_functions(out, bulk, module->err);
    if (bulk->n && section->id == SECTION_CODE)
        return bulk_write_code(out, bulk, module->err);
    return copy_section(out, s, module, section);
}

/* The sections that are made where the module may have none, in their places. */
static const struct made {
    uint8_t id;
    int (*put)(struct buf *out, const struct sections *s, struct err *err);
} made[] = {{SECTION_GLOBAL, put_owned_globals}, {SECTION_EXPORT, put_export_section}};

#define MADE (sizeof(made) / sizeof(made[0]))

/* Those of them that come before a section at `place`; *next is the first that was not put yet. */
static int put_made(struct buf *out, const struct sections *s, int place, size_t *next,
                    struct err *err)
{
    for (; *next < MADE && section_place(made[*next].id) <= place; ++*next)
        if (made[*next].put(out, s, err) < 0)
            return -1;
    return 0;
}

static int put_sections(struct buf *out, struct bulk *bulk, struct reader module)
{
    const struct sections *s = bulk->s;
    struct section section;
    size_t next = 0;

    if (buf_append(out, header, sizeof(header), module.err) < 0)
        return -1;
    while (module.at < module.end) {
        if (section_next(&module, &section) < 0 ||
            put_made(out, s, section_place(section.id), &next, module.err) < 0 ||
            put_section(out, bulk, &module, &section) < 0)
            return -1;
    }
    return put_made(out, s, section_place(SECTION_DATA), &next, module.err);
}

/* --- all of it --- */

static void tell(struct rewrite_info *info, const struct sections *s, const struct bulk *bulk)
{
    *info = (struct rewrite_info){.mutable_globals = s->mutables,
                                  .memory_min = s->memory_min,
                                  .memory_max = s->memory_max,
                                  .memories = s->memories,
                                  .owned_globals = s->owned_globals,
                                  .pieces = bulk->n,
                                  .had_start = s->has_start};
    memcpy(info->unsavable, s->unsavable.text, sizeof(info->unsavable));
}

static int rewrite_read(struct buf *out, struct bulk *bulk, struct sections *s, struct reader r)
{
    if (sections_read(s, r) < 0 || bulk_plan(bulk, s, r.err) < 0)
        return -1;
    return put_sections(out, bulk, r);
}

int rewrite_module(struct buf *out, const uint8_t *module, size_t len, struct rewrite_info *info,
                   struct err *err)
{
    struct reader r = {.base = module,
                       .at = sizeof(header),
                       .end = len,
                       .function = READER_NO_FUNCTION,
                       .err = err};
    struct sections s = {0};
    struct bulk bulk = {.s = &s};
    size_t before = out->len;
    int rc;

    if (len > MODULE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "module of %zu bytes, limit %u (MODULE_BYTES_MAX)", len,
                       MODULE_BYTES_MAX);
    if (len < sizeof(header) || memcmp(module, header, sizeof(header)) != 0)
        return refuse_header(module, len, err);
    rc = rewrite_read(out, &bulk, &s, r);
    if (rc < 0)
        out->len = before;
    else if (info)
        tell(info, &s, &bulk);
    bulk_free(&bulk);
    return rc;
}
