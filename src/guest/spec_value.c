/* Values of a manifest, each check with the place and the way out in its message.
 *
 * Text must be text: `value: 1` is refused with "quote it", as the Kubernetes API would, so that
 * the same manifest works as a file and as a custom resource.
 */
#include "guest/spec_read.h"

#include "base/limits.h"
#include "base/nearest.h"
#include "base/units.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_TEXT_MAX 96 /* of paths like spec.triggers[15].watch.namespaces[63] */

int spec_no_memory(struct manifest *m)
{
    return err_set(m->err, ERR_NOMEM, 0, "%s: no memory", yaml_file(m->doc));
}

int spec_needs(struct manifest *m, const struct yaml_node *v, const char *where, const char *what)
{
    return yaml_err(m->err, m->doc, v, ERR_INVALID, "%s must be %s, this is %s", where, what,
                    yaml_type_name(v));
}

/* True for what YAML takes for a number or a truth value: what the Kubernetes API would refuse as
 * text. */
static bool is_typed(const struct yaml_node *v)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off"};
    const char *text = yaml_scalar(v);
    char *end;

    if (!yaml_plain(v))
        return false;
    for (size_t i = 0; i < COUNT(words); i++)
        if (strcasecmp(text, words[i]) == 0)
            return true;
    (void)strtod(text, &end);
    return *end == 0 && end != text && !strchr("iInN", text[strspn(text, "+-")]);
}

/* Borrowed text of at most max bytes; NULL and an error otherwise. */
const char *spec_text(struct manifest *m, const struct yaml_node *v, const char *where, size_t max)
{
    const char *text = yaml_scalar(v);

    if (!text || yaml_is_null(v)) {
        spec_needs(m, v, where, "text");
        return NULL;
    }
    if (is_typed(v)) {
        yaml_err(m->err, m->doc, v, ERR_INVALID,
                 "%s must be text, and YAML takes %.32s for something else: write \"%.32s\"", where,
                 text, text);
        return NULL;
    }
    if (strlen(text) > max) {
        yaml_err(m->err, m->doc, v, ERR_LIMIT, "%s: %zu bytes, limit %zu", where, strlen(text),
                 max);
        return NULL;
    }
    return text;
}

int spec_copy(struct manifest *m, char **out, const char *text)
{
    assert(!*out);
    *out = strdup(text);
    return *out ? 0 : spec_no_memory(m);
}

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* A DNS-1123 label; with dots allowed a subdomain, which is labels between dots. */
bool spec_is_dns(const char *text, bool dots)
{
    size_t label = 0;

    for (const char *p = text;; p++) {
        if (*p == 0 || (*p == '.' && dots)) {
            if (label == 0 || label > SPEC_NAME_MAX || p[-1] == '-')
                return false;
            label = 0;
            if (*p == 0)
                return true;
            continue;
        }
        if (!is_lower_alnum(*p) && (*p != '-' || label == 0))
            return false;
        label++;
    }
}

/* A name as Kubernetes has them: a label of 63 characters, or with dots one of 253. */
const char *spec_dns_name(struct manifest *m, const struct yaml_node *v, const char *where,
                          bool dots)
{
    const char *text = spec_text(m, v, where, dots ? SPEC_SUBDOMAIN_MAX : SPEC_NAME_MAX);

    if (text && !spec_is_dns(text, dots)) {
        yaml_err(m->err, m->doc, v, ERR_INVALID,
                 "%s %.80s: a name has lower-case letters, digits and '-' within%s", where, text,
                 dots ? ", in parts between dots" : "");
        return NULL;
    }
    return text;
}

/* "a, b, c", as much as fits. */
static void list_words(char *out, size_t size, const char *const *words, size_t n)
{
    size_t used = 0;

    out[0] = 0;
    for (size_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", words[i]);
}

/* One of a list of words; -1: none of them. */
int spec_word(struct manifest *m, const struct yaml_node *v, const char *where,
              const char *const *words, size_t n)
{
    const char *text = spec_text(m, v, where, SPEC_NAME_MAX), *nearest;
    char all[128];

    if (!text)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (strcmp(words[i], text) == 0)
            return (int)i;
    list_words(all, sizeof(all), words, n);
    nearest = nearest_name(text, words, n);
    return yaml_err(m->err, m->doc, v, ERR_INVALID, "%s %s: must be one of %s%s%s%s", where, text,
                    all, nearest ? " (did you mean " : "", nearest ? nearest : "",
                    nearest ? "?)" : "");
}

int spec_bool(struct manifest *m, const struct yaml_node *v, const char *where, bool *out)
{
    const char *text = yaml_plain(v) ? yaml_scalar(v) : "";

    *out = strcmp(text, "true") == 0;
    if (*out || strcmp(text, "false") == 0)
        return 0;
    return spec_needs(m, v, where, "true or false");
}

int spec_duration(struct manifest *m, const struct yaml_node *v, const char *where, uint64_t min,
                  uint64_t max, uint64_t *out)
{
    const char *text = yaml_scalar(v);
    char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];

    if (!text)
        return spec_needs(m, v, where, "a duration such as 50ms");
    if (!units_parse_duration(text, out))
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s %.32s: no duration (write 50ms, 1s or 1m30s)", where, text);
    if (*out < min || *out > max)
        return yaml_err(m->err, m->doc, v, ERR_LIMIT, "%s %.32s: must be from %s to %s", where,
                        text, units_format_duration(a, min), units_format_duration(b, max));
    return 0;
}

int spec_bytes(struct manifest *m, const struct yaml_node *v, const char *where, uint64_t min,
               uint64_t max, uint64_t *bytes)
{
    const char *text = yaml_scalar(v);
    char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];

    if (!text)
        return spec_needs(m, v, where, "a size such as 64Mi");
    if (!units_parse_bytes(text, bytes))
        return yaml_err(m->err, m->doc, v, ERR_INVALID,
                        "%s %.32s: no size (write 64Mi, 1Gi or a number of bytes)", where, text);
    if (*bytes < min || *bytes > max)
        return yaml_err(m->err, m->doc, v, ERR_LIMIT, "%s %.32s: must be from %s to %s", where,
                        text, units_format_bytes(a, min), units_format_bytes(b, max));
    return 0;
}

int spec_count(struct manifest *m, const struct yaml_node *v, const char *where, uint32_t max,
               uint32_t *count)
{
    const char *text = yaml_plain(v) ? yaml_scalar(v) : "";
    unsigned long n;
    char *end;

    if (*text < '0' || *text > '9')
        return spec_needs(m, v, where, "a whole number");
    errno = 0;
    n = strtoul(text, &end, 10);
    if (*end)
        return yaml_err(m->err, m->doc, v, ERR_INVALID, "%s %.32s: no whole number", where, text);
    if (errno || n < 1 || n > max)
        return yaml_err(m->err, m->doc, v, ERR_LIMIT, "%s %.32s: must be from 1 to %u", where, text,
                        max);
    *count = (uint32_t)n;
    return 0;
}

/* --- the one reader of mappings and lists --- */

static int unknown_field(struct manifest *m, const struct yaml_node *map, size_t at,
                         const char *where, const struct field *fields, size_t n)
{
    const char *names[SPEC_FIELDS_MAX], *key = yaml_key(map, at, NULL), *nearest;
    char all[160];

    for (size_t i = 0; i < n; i++)
        names[i] = fields[i].name;
    nearest = nearest_name(key, names, n);
    list_words(all, sizeof(all), names, n);
    return yaml_err(m->err, m->doc, yaml_key_node(map, at), ERR_INVALID,
                    "unknown field %.64s in %s (%s%s)", key, *where ? where : "the manifest",
                    nearest ? "did you mean " : "known: ", nearest ? nearest : all);
}

int spec_missing(struct manifest *m, const struct yaml_node *map, const char *where,
                 const char *name)
{
    return yaml_err(m->err, m->doc, map, ERR_INVALID, "%s has no %s, which is needed",
                    *where ? where : "the manifest", name);
}

/* ":LINE:COLUMN: ", where it begins so: what is behind it. */
static const char *skip_place(const char *text, unsigned *line)
{
    char *end;
    unsigned long n;

    if (*text != ':')
        return NULL;
    n = strtoul(text + 1, &end, 10);
    if (end == text + 1 || *end != ':')
        return NULL;
    text = end + 1;
    (void)strtoul(text, &end, 10);
    if (end == text || strncmp(end, ": ", 2) != 0)
        return NULL;
    *line = (unsigned)n;
    return end + 2;
}

void spec_tell(const struct spec_taker *taker, const char *file, const char *field,
               const struct err *err)
{
    struct spec_error e = {.file = file, .field = field, .message = err->msg, .code = err->code};
    size_t n = strlen(file);
    const char *message =
        strncmp(err->msg, file, n) == 0 ? skip_place(err->msg + n, &e.line) : NULL;

    if (message)
        e.message = message;
    taker->error(taker->ctx, &e);
}

/* What was just found wrong at this field is told, and what comes after it is looked at too. In a
 * file the first is all that counts. True: go on. */
static bool note(struct manifest *m, const char *where)
{
    if (m->err->code == ERR_NONE) /* it was told by who found it */
        return m->taker != NULL;
    if (!m->bad)
        m->first = *m->err;
    m->bad = true;
    if (m->taker)
        spec_tell(m->taker, yaml_file(m->doc), where, m->err);
    *m->err = (struct err){0};
    return m->taker != NULL;
}

/* The needed ones that are not there; not where a field is unknown: that will be its misspelling.
 */
static int missing_fields(struct manifest *m, const struct yaml_node *map, const char *where,
                          const struct field *fields, size_t n, const bool *seen)
{
    int rc = 0;

    for (size_t i = 0; i < n; i++) {
        char path[PATH_TEXT_MAX];

        if (!fields[i].required || seen[i])
            continue;
        rc = spec_missing(m, map, where, fields[i].name);
        snprintf(path, sizeof(path), "%s%s%s", where, *where ? "." : "", fields[i].name);
        if (!note(m, path))
            return -1;
    }
    return rc;
}

/* Reads a mapping by a table; where is empty for the whole manifest. A field whose value is null
 * counts as not written. */
int spec_fields(struct manifest *m, const struct yaml_node *map, const char *where,
                const struct field *fields, size_t n)
{
    bool seen[SPEC_FIELDS_MAX] = {false}, unknown = false;
    int rc = 0;

    assert(n <= SPEC_FIELDS_MAX);
    if (yaml_type(map) != YAMLN_MAPPING)
        return spec_needs(m, map, where, "a mapping");
    for (size_t at = 0; at < yaml_len(map); at++) {
        const struct yaml_node *value;
        const char *key = yaml_key(map, at, &value);
        char path[PATH_TEXT_MAX];
        size_t i = 0;

        while (i < n && strcmp(fields[i].name, key) != 0)
            i++;
        if (i < n && yaml_is_null(value))
            continue;
        unknown |= i == n;
        if (i < n)
            seen[i] = true;
        snprintf(path, sizeof(path), "%s%s%s", where, *where ? "." : "", key);
        if ((i == n ? unknown_field(m, map, at, where, fields, n)
                    : fields[i].parse(m, value, path)) == 0)
            continue;
        rc = -1;
        if (!note(m, path))
            return -1;
    }
    return rc < 0 && unknown ? -1 : missing_fields(m, map, where, fields, n, seen) < 0 ? -1 : rc;
}

/* Room, zeroed, for what a list of at most max items becomes; NULL and an error otherwise. */
void *spec_items_room(struct manifest *m, const struct yaml_node *list, const char *where,
                      size_t max, size_t item_size)
{
    void *room;

    if (yaml_type(list) != YAMLN_SEQUENCE) {
        spec_needs(m, list, where, "a list");
        return NULL;
    }
    if (yaml_len(list) > max) {
        yaml_err(m->err, m->doc, list, ERR_LIMIT, "%s: %zu entries, limit %zu", where,
                 yaml_len(list), max);
        return NULL;
    }
    room = calloc(yaml_len(list) + !yaml_len(list), item_size);
    if (!room)
        spec_no_memory(m);
    return room;
}

int spec_items(struct manifest *m, const struct yaml_node *list, const char *where,
               int (*item)(struct manifest *, const struct yaml_node *, const char *))
{
    int rc = 0;

    for (size_t i = 0; i < yaml_len(list); i++) {
        char path[PATH_TEXT_MAX];

        snprintf(path, sizeof(path), "%s[%zu]", where, i);
        if (item(m, yaml_at(list, i), path) == 0)
            continue;
        rc = -1;
        if (!note(m, path))
            return -1;
    }
    return rc;
}

int spec_ignored_mapping(struct manifest *m, const struct yaml_node *v, const char *where)
{
    return yaml_type(v) == YAMLN_MAPPING ? 0 : spec_needs(m, v, where, "a mapping");
}

int spec_not_yet(struct manifest *m, const struct yaml_node *v, const char *where)
{
    return yaml_err(m->err, m->doc, v, ERR_UNSUPPORTED, "%s is not supported yet: leave it out",
                    where);
}
