/* The sections of a module: order, counts, and what must not be in them.
 *
 * Each reader takes a section's body, must use it up, and notes in struct sections what the
 * rewriter or a later section needs. Indices are checked where the rewriter itself relies on them;
 * types and the rest are the compiler's business.
 */
#include "engine/rewrite_sections.h"

#include "engine/rewrite.h"

#include <inttypes.h>
#include <string.h>

_Static_assert(REWRITE_GLOBALS_MAX <= SNAPSHOT_GLOBALS_MAX, "what is exported can be saved");

/* --- types --- */

#define TYPE_FUNCTION 0x60

static int read_value_types(struct reader *r, uint32_t *n)
{
    uint8_t type;

    if (reader_count(r, n, "value types", "UINT32_MAX", UINT32_MAX) < 0)
        return -1;
    for (uint32_t i = 0; i < *n; i++)
        if (reader_value_type(r, &type) < 0)
            return -1;
    return 0;
}

/* One function type; *nullary: neither parameters nor results. */
static int read_type(struct reader *r, bool *nullary)
{
    size_t begin = r->at;
    uint32_t params, results;
    uint8_t form;

    if (reader_byte(r, &form, "type") < 0)
        return -1;
    if (form >= 0x4c && form < TYPE_FUNCTION)
        return reader_refuse(r, begin,
                             "type 0x%02x (garbage collection or stack switching): build for core "
                             "WebAssembly 2.0",
                             form);
    if (form != TYPE_FUNCTION)
        return reader_invalid(r, begin, "0x%02x is no type", form);
    if (read_value_types(r, &params) < 0 || read_value_types(r, &results) < 0)
        return -1;
    *nullary = params == 0 && results == 0;
    return 0;
}

static int read_types(struct sections *s, struct reader *r)
{
    bool nullary;

    if (COUNT(r, &s->types, "types", REWRITE_TYPES_MAX) < 0)
        return -1;
    for (uint32_t i = 0; i < s->types; i++)
        if (read_type(r, &nullary) < 0)
            return -1;
    return 0;
}

static int read_type_index(const struct sections *s, struct reader *r, uint32_t *out)
{
    size_t begin = r->at;

    if (reader_u32(r, out, "type index") < 0)
        return -1;
    if (*out >= s->types)
        return reader_invalid(r, begin, "type %" PRIu32 " of %" PRIu32, *out, s->types);
    return 0;
}

/* --- imports --- */

static int refuse_import(const struct reader *r, const struct import *i)
{
    switch (i->kind) {
    case KIND_TABLE:
        return reader_refuse(r, i->at,
                             "table \"%s.%s\" is imported: link statically, without --import-table",
                             i->module, i->name);
    case KIND_MEMORY:
        return reader_refuse(
            r, i->at, "memory \"%s.%s\" is imported: link a whole module, without --import-memory",
            i->module, i->name);
    case KIND_TAG:
        return reader_refuse(r, i->at,
                             "exception tag \"%s.%s\" is imported: build without -fwasm-exceptions",
                             i->module, i->name);
    case KIND_EXACT_FUNCTION:
        return reader_refuse(r, i->at,
                             "function \"%s.%s\" is imported by its exact type (custom "
                             "descriptors): build for core WebAssembly 2.0",
                             i->module, i->name);
    default:
        return reader_invalid(r, i->at, "import \"%s.%s\" of unknown kind %u", i->module, i->name,
                              i->kind);
    }
}

/* What dynamic linking would share, and nobody else can give a value to. */
static bool is_linkers(const struct import *i)
{
    return (!strcmp(i->module, "env") && !strncmp(i->name, "__", 2)) ||
           !strncmp(i->module, "GOT.", 4);
}

/* A mutable global that nobody else holds is one of the module's own, with zero in it. Indices stay
 * as they are only where all behind it become so too. */
static int own_global(struct sections *s, const struct reader *r, const struct import *i)
{
    uint32_t index = s->imported_globals;

    if (is_linkers(i))
        return reader_refuse(r, i->at,
                             "mutable global \"%s.%s\" is imported, as dynamic linking does: link "
                             "statically, as one module",
                             i->module, i->name);
    if (index >= REWRITE_GLOBALS_MAX)
        return reader_limit(r, i->at, "imported globals", index + 1ull, "REWRITE_GLOBALS_MAX",
                            REWRITE_GLOBALS_MAX);
    s->owned_globals++;
    if (i->value == TYPE_FUNCREF) {
        reader_unsavable(r, UNSAVABLE_GLOBAL, "global %" PRIu32 " is a mutable reference", index);
        return 0;
    }
    s->mutable_[index / 8] |= (uint8_t)(1u << (index % 8));
    s->mutables++;
    return 0;
}

static int read_imported_global(struct sections *s, struct reader *r, struct import *i)
{
    uint8_t mutability;

    if (reader_value_type(r, &i->value) < 0 || reader_byte(r, &mutability, "mutability") < 0)
        return -1;
    if (mutability > 1)
        return reader_invalid(r, r->at - 1, "mutability %u", mutability);
    i->is_mutable = mutability;
    if (i->is_mutable && own_global(s, r, i) < 0)
        return -1;
    if (!i->is_mutable && s->owned_globals)
        return reader_refuse(r, i->at,
                             "global \"%s.%s\" is imported: the host has none to give: define it "
                             "in the module",
                             i->module, i->name);
    s->imported_globals++;
    return 0;
}

int section_read_import(struct sections *s, struct reader *r, struct import *i)
{
    struct wasm_name module, name;

    i->at = r->at;
    if (reader_name(r, &module, "import's module name") < 0 ||
        reader_name(r, &name, "import's name") < 0 || reader_byte(r, &i->kind, "import's kind") < 0)
        return -1;
    name_show(i->module, module);
    name_show(i->name, name);
    if (i->kind == KIND_GLOBAL)
        return read_imported_global(s, r, i);
    if (i->kind != KIND_FUNCTION)
        return refuse_import(r, i);
    s->imported_functions++;
    return read_type_index(s, r, &i->type);
}

static int read_imports(struct sections *s, struct reader *r)
{
    struct import import;

    if (COUNT(r, &s->imports, "imports", REWRITE_IMPORTS_MAX) < 0)
        return -1;
    for (uint32_t i = 0; i < s->imports; i++)
        if (section_read_import(s, r, &import) < 0)
            return -1;
    s->globals = s->imported_globals;
    if (s->globals > REWRITE_GLOBALS_MAX)
        return reader_limit(r, r->at, "imported globals", s->globals, "REWRITE_GLOBALS_MAX",
                            REWRITE_GLOBALS_MAX);
    return 0;
}

/* --- functions, tags, globals --- */

static int read_functions(struct sections *s, struct reader *r)
{
    uint32_t type;

    if (COUNT(r, &s->functions, "functions", REWRITE_FUNCTIONS_MAX) < 0)
        return -1;
    for (uint32_t i = 0; i < s->functions; i++)
        if (read_type_index(s, r, &type) < 0)
            return -1;
    return 0;
}

static int read_tags(struct sections *s, struct reader *r)
{
    (void)s;
    return reader_refuse(r, r->at, "exception tags: build without -fwasm-exceptions");
}

static int read_global(struct sections *s, struct reader *r, uint32_t index)
{
    size_t begin = r->at;
    uint8_t type, mutability;

    if (reader_value_type(r, &type) < 0 || reader_byte(r, &mutability, "mutability") < 0)
        return -1;
    if (mutability > 3)
        return reader_invalid(r, begin, "mutability %u", mutability);
    if (mutability > 1)
        return reader_refuse(r, begin,
                             "shared global %" PRIu32 ": threads are not supported: build without "
                             "-pthread and -matomics",
                             index);
    if (mutability && type == TYPE_FUNCREF) {
        reader_unsavable(r, UNSAVABLE_GLOBAL, "global %" PRIu32 " is a mutable reference", index);
    } else if (mutability) {
        s->mutable_[index / 8] |= (uint8_t)(1u << (index % 8));
        s->mutables++;
    }
    return code_read_const(r);
}

static int read_globals(struct sections *s, struct reader *r)
{
    uint32_t n;

    if (COUNT(r, &n, "globals", REWRITE_GLOBALS_MAX - s->imported_globals) < 0)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        if (read_global(s, r, s->globals + i) < 0)
            return -1;
    s->globals += n;
    return 0;
}

/* --- exports and start --- */

static uint32_t functions_all(const struct sections *s)
{
    return s->imported_functions + s->functions;
}

static bool name_is(struct wasm_name name, const char *text)
{
    return name.len == strlen(text) && memcmp(name.data, text, name.len) == 0;
}

#define RESERVED_PREFIX "roost:"

static bool is_reserved(struct wasm_name name)
{
    size_t n = strlen(RESERVED_PREFIX);

    return name.len >= n && memcmp(name.data, RESERVED_PREFIX, n) == 0;
}

static int check_export_name(struct sections *s, const struct reader *r, size_t at,
                             struct wasm_name name, uint8_t kind)
{
    char shown[SHOWN_MAX];

    if (is_reserved(name))
        return reader_refuse(r, at,
                             "export \"%s\": names with " RESERVED_PREFIX
                             " are Roost's own: rename it, or deploy the module as it was before "
                             "it was rewritten",
                             name_show(shown, name));
    if (!name_is(name, "memory"))
        return 0;
    if (kind != KIND_MEMORY)
        return reader_refuse(r, at, "export \"memory\" is no memory: rename it");
    s->exports_memory = true;
    return 0;
}

static int read_export(struct sections *s, struct reader *r)
{
    const uint32_t counts[] = {functions_all(s), s->tables, s->memories, s->globals};
    size_t begin = r->at;
    struct wasm_name name;
    uint32_t index;
    uint8_t kind;

    if (reader_name(r, &name, "export's name") < 0 || reader_byte(r, &kind, "export's kind") < 0 ||
        reader_u32(r, &index, "export's index") < 0)
        return -1;
    if (kind == KIND_TAG)
        return reader_refuse(r, begin, "exported exception tag: build without -fwasm-exceptions");
    if (kind > KIND_TAG)
        return reader_invalid(r, begin, "export of unknown kind %u", kind);
    if (index >= counts[kind])
        return reader_invalid(r, begin, "export of kind %u with index %" PRIu32 " of %" PRIu32,
                              kind, index, counts[kind]);
    return check_export_name(s, r, begin, name, kind);
}

static int read_exports(struct sections *s, struct reader *r)
{
    if (COUNT(r, &s->exports, "exports", REWRITE_EXPORTS_MAX) < 0)
        return -1;
    for (uint32_t i = 0; i < s->exports; i++)
        if (read_export(s, r) < 0)
            return -1;
    return 0;
}

static int read_start(struct sections *s, struct reader *r)
{
    size_t begin = r->at;

    if (reader_u32(r, &s->start, "start function") < 0)
        return -1;
    if (s->start >= functions_all(s))
        return reader_invalid(r, begin, "start function %" PRIu32 " of %" PRIu32, s->start,
                              functions_all(s));
    s->has_start = true;
    return 0;
}

/* --- code --- */

static int count_bulk(void *ctx, const struct bulk_use *use, struct err *err)
{
    struct sections *s = ctx;

    (void)use;
    (void)err;
    s->bulk++;
    return 0;
}

static int read_code(struct sections *s, struct reader *r)
{
    struct reader body;
    uint32_t len;

    if (COUNT(r, &s->bodies, "function bodies", REWRITE_FUNCTIONS_MAX) < 0)
        return -1;
    for (uint32_t i = 0; i < s->bodies; i++) {
        if (reader_u32(r, &len, "length of a function's body") < 0 ||
            reader_sub(r, len, &body, "function's body") < 0)
            return -1;
        body.function = s->imported_functions + i;
        body.bulk = count_bulk;
        body.bulk_ctx = s;
        if (code_read_body(&body) < 0)
            return -1;
    }
    return 0;
}

/* --- all of them --- */

static const struct {
    const char *name;
    int place;
    int (*read)(struct sections *s, struct reader *r);
} kinds[SECTIONS] = {
    [SECTION_CUSTOM] = {"custom section", 0, NULL},
    [SECTION_TYPE] = {"type section", 1, read_types},
    [SECTION_IMPORT] = {"import section", 2, read_imports},
    [SECTION_FUNCTION] = {"function section", 3, read_functions},
    [SECTION_TABLE] = {"table section", 4, section_read_tables},
    [SECTION_MEMORY] = {"memory section", 5, section_read_memories},
    [SECTION_TAG] = {"tag section", 6, read_tags},
    [SECTION_GLOBAL] = {"global section", 7, read_globals},
    [SECTION_EXPORT] = {"export section", 8, read_exports},
    [SECTION_START] = {"start section", 9, read_start},
    [SECTION_ELEMENT] = {"element section", 10, section_read_element_segments},
    [SECTION_DATA_COUNT] = {"data count section", 11, section_read_data_count},
    [SECTION_CODE] = {"code section", 12, read_code},
    [SECTION_DATA] = {"data section", 13, section_read_data_segments},
};

int section_place(uint8_t id)
{
    return kinds[id].place;
}

int section_next(struct reader *r, struct section *out)
{
    uint32_t len;

    out->at = r->at;
    r->where = "section header";
    if (reader_byte(r, &out->id, "section id") < 0)
        return -1;
    if (out->id >= SECTIONS)
        return reader_invalid(r, out->at, "unknown section %u", out->id);
    if (reader_u32(r, &len, "section's length") < 0 ||
        reader_sub(r, len, &out->body, kinds[out->id].name) < 0)
        return -1;
    out->body.where = kinds[out->id].name;
    return 0;
}

int section_custom_name(struct reader *body, struct wasm_name *out)
{
    return reader_name(body, out, "name of a custom section");
}

static int read_custom(struct sections *s, const struct section *section)
{
    struct reader r = section->body;
    struct wasm_name name;

    if (++s->customs > REWRITE_CUSTOM_SECTIONS_MAX)
        return reader_limit(&r, section->at, "custom sections", s->customs,
                            "REWRITE_CUSTOM_SECTIONS_MAX", REWRITE_CUSTOM_SECTIONS_MAX);
    return section_custom_name(&r, &name);
}

static int read_section(struct sections *s, const struct section *section, int *place)
{
    struct reader r = section->body;

    if (section->id == SECTION_CUSTOM)
        return read_custom(s, section);
    if (kinds[section->id].place <= *place)
        return reader_invalid(&r, section->at, "%s twice or out of order", kinds[section->id].name);
    *place = kinds[section->id].place;
    s->body[section->id] = section->body;
    if (kinds[section->id].read(s, &r) < 0)
        return -1;
    if (r.at != r.end)
        return reader_invalid(&r, r.at, "%zu bytes too many", r.end - r.at);
    return 0;
}

/* --- what concerns several sections --- */

/* The type index of a function, imported or defined. */
static int type_of_function(const struct sections *s, uint32_t function, uint32_t *type)
{
    bool imported = function < s->imported_functions;
    struct sections scratch = {.types = s->types};
    struct reader r = s->body[imported ? SECTION_IMPORT : SECTION_FUNCTION];
    struct import import;
    uint32_t n, left = imported ? function : function - s->imported_functions;

    if (reader_u32(&r, &n, "count") < 0)
        return -1;
    if (!imported) {
        for (uint32_t i = 0; i <= left; i++)
            if (reader_u32(&r, type, "type index") < 0)
                return -1;
        return 0;
    }
    r.unsavable = NULL;
    while (scratch.imported_functions <= left)
        if (section_read_import(&scratch, &r, &import) < 0)
            return -1;
    *type = import.type;
    return 0;
}

/* The start function becomes an export that the host calls without arguments: its type must be
 * right, and nobody else will check that it is. */
static int check_start(const struct sections *s)
{
    const struct reader *start = &s->body[SECTION_START];
    struct reader r = s->body[SECTION_TYPE];
    uint32_t n, type = 0;
    bool nullary = false;

    if (type_of_function(s, s->start, &type) < 0 || reader_u32(&r, &n, "count") < 0)
        return -1;
    for (uint32_t i = 0; i <= type; i++)
        if (read_type(&r, &nullary) < 0)
            return -1;
    if (!nullary)
        return reader_invalid(start, start->at,
                              "start function %" PRIu32 " has parameters or results", s->start);
    return 0;
}

static int check_together(const struct sections *s, const struct reader *r)
{
    if (s->functions != s->bodies)
        return reader_invalid(r, r->end, "%" PRIu32 " functions with %" PRIu32 " bodies",
                              s->functions, s->bodies);
    if (functions_all(s) > REWRITE_FUNCTIONS_MAX)
        return reader_limit(r, r->end, "functions", functions_all(s), "REWRITE_FUNCTIONS_MAX",
                            REWRITE_FUNCTIONS_MAX);
    if (s->has_data_count && s->data_count != s->segments)
        return reader_invalid(r, r->end, "%" PRIu32 " data segments, announced were %" PRIu32,
                              s->segments, s->data_count);
    return s->has_start ? check_start(s) : 0;
}

int sections_read(struct sections *s, struct reader module)
{
    struct section section;
    int place = 0;

    module.unsavable = &s->unsavable;
    while (module.at < module.end)
        if (section_next(&module, &section) < 0 || read_section(s, &section, &place) < 0)
            return -1;
    module.where = "end of the module";
    return check_together(s, &module);
}
