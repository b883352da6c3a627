/* Reads the module once (rewrite_sections.c), then copies it, section by section. Only the export
 * section is written anew: the module's own entries as they were, then what is added. It is put
 * where it belongs when the module had none. So nothing else moves, no index changes, and code is
 * copied untouched; of a shared memory one byte changes, its flags.
 */
#include "engine/rewrite.h"

#include "base/auto.h"
#include "base/limits.h"
#include "engine/rewrite_sections.h"

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

static int put_u32(struct buf *out, uint32_t value, struct err *err)
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

static int put_export(struct buf *out, const char *name, uint8_t kind, uint32_t index,
                      struct err *err)
{
    if (put_u32(out, (uint32_t)strlen(name), err) < 0 || buf_puts(out, name, err) < 0 ||
        buf_append(out, &kind, 1, err) < 0)
        return -1;
    return put_u32(out, index, err);
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
    const struct reader *own = &s->body[SECTION_EXPORT];

    if (put_u32(out, count, err) < 0)
        return -1;
    if (own->base && buf_append(out, own->base + s->exports_at, own->end - s->exports_at, err) < 0)
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
    static const uint8_t id = SECTION_EXPORT;
    AUTO_BUF struct buf body = {.max = MODULE_BYTES_MAX};
    uint32_t count = s->exports + s->mutables + (s->has_start ? 1 : 0) + (adds_memory(s) ? 1 : 0) +
                     count_unsavable(s);

    if (count == 0)
        return 0;
    if (count > REWRITE_EXPORTS_MAX)
        return err_set(err, ERR_LIMIT, 0,
                       "exports, mutable globals included: %" PRIu32
                       ", limit %u (REWRITE_EXPORTS_MAX)",
                       count, REWRITE_EXPORTS_MAX);
    if (put_exports(&body, s, count, err) < 0 || buf_append(out, &id, 1, err) < 0 ||
        put_u32(out, (uint32_t)body.len, err) < 0)
        return -1;
    return buf_append(out, body.data, body.len, err);
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

static int put_section(struct buf *out, const struct sections *s, const struct reader *module,
                       const struct section *section)
{
    size_t before = out->len;

    if (buf_append(out, module->base + section->at, section->body.end - section->at, module->err) <
        0)
        return -1;
    for (uint32_t i = 0; section->id == SECTION_MEMORY && i < s->nshared; i++)
        out->data[before + s->shared_at[i] - section->at] = LIMITS_HAS_MAX;
    return 0;
}

static int put_sections(struct buf *out, const struct sections *s, struct reader module)
{
    struct err *err = module.err;
    struct section section;
    bool exported = false;

    if (buf_append(out, header, sizeof(header), err) < 0)
        return -1;
    while (module.at < module.end) {
        if (section_next(&module, &section) < 0)
            return -1;
        if (!exported && section_place(section.id) >= section_place(SECTION_EXPORT)) {
            exported = true;
            if (put_export_section(out, s, err) < 0)
                return -1;
        }
        if (keeps(&section) && put_section(out, s, &module, &section) < 0)
            return -1;
    }
    return exported ? 0 : put_export_section(out, s, err);
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
    size_t before = out->len;

    if (len > MODULE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "module of %zu bytes, limit %u (MODULE_BYTES_MAX)", len,
                       MODULE_BYTES_MAX);
    if (len < sizeof(header) || memcmp(module, header, sizeof(header)) != 0)
        return refuse_header(module, len, err);
    if (sections_read(&s, r) < 0)
        return -1;
    if (put_sections(out, &s, r) < 0) {
        out->len = before;
        return -1;
    }
    if (info)
        *info = (struct rewrite_info){.mutable_globals = s.mutables,
                                      .memory_min = s.memory_min,
                                      .memory_max = s.memory_max,
                                      .memories = s.memories,
                                      .had_start = s.has_start};
    if (info)
        memcpy(info->unsavable, s.unsavable.text, sizeof(info->unsavable));
    return 0;
}
