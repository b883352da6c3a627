/* Between the files of the manifest reader: spec.c (files and folders), spec_fields.c (what a
 * manifest may say) and spec_value.c (how values are checked).
 */
#ifndef ROOST_GUEST_SPEC_READ_H
#define ROOST_GUEST_SPEC_READ_H

#include "base/yaml.h"
#include "guest/spec.h"

/* What is being read. */
struct manifest {
    const struct yaml_doc *doc;
    const char *dir; /* absolute, of the file */
    struct guest_spec *spec;
    size_t env_bytes;
    struct err *err; /* the last mistake, where it was not noted yet */
    struct err first;
    bool bad;
    const struct spec_taker *taker; /* NULL: a file; the first mistake is all that is told */
};

/* Checks a value (not null) and takes it. where: its path, such as spec.limits.cpu. */
typedef int spec_parse(struct manifest *m, const struct yaml_node *value, const char *where);

struct field {
    const char *name;
    spec_parse *parse;
    bool required;
};

#define SPEC_FIELDS_MAX 16 /* of one level */
#define COUNT(array)    (sizeof(array) / sizeof((array)[0]))

/* One document. NULL and err: it is bad. */
struct guest_spec *spec_read_document(const struct yaml_doc *doc, const char *dir, size_t i,
                                      struct err *err);
/* The same of a text: every mistake is told to the taker, err is the first. */
struct guest_spec *spec_read_text(const struct yaml_doc *doc, const struct spec_taker *taker,
                                  struct err *err);
/* A mistake with its place before it, taken apart, told. */
void spec_tell(const struct spec_taker *taker, const char *file, const char *field,
               const struct err *err);

/* All of these set m->err with the value's place where they return -1 or NULL. */
int spec_no_memory(struct manifest *m);
/* "WHERE must be WHAT, this is a list"; returns -1. */
int spec_needs(struct manifest *m, const struct yaml_node *v, const char *where, const char *what);
/* "WHERE has no NAME, which is needed"; returns -1. */
int spec_missing(struct manifest *m, const struct yaml_node *map, const char *where,
                 const char *name);
/* Borrowed text of at most max bytes. Not what YAML takes for a number or a truth value. */
const char *spec_text(struct manifest *m, const struct yaml_node *v, const char *where, size_t max);
int spec_copy(struct manifest *m, char **out, const char *text);
/* A DNS-1123 label; with dots a subdomain, which is labels between dots. */
bool spec_is_dns(const char *text, bool dots);
const char *spec_dns_name(struct manifest *m, const struct yaml_node *v, const char *where,
                          bool dots);
/* The place of one of the words; -1: none of them. */
int spec_word(struct manifest *m, const struct yaml_node *v, const char *where,
              const char *const *words, size_t n);
int spec_bool(struct manifest *m, const struct yaml_node *v, const char *where, bool *out);
int spec_duration(struct manifest *m, const struct yaml_node *v, const char *where, uint64_t min,
                  uint64_t max, uint64_t *ns);
int spec_bytes(struct manifest *m, const struct yaml_node *v, const char *where, uint64_t min,
               uint64_t max, uint64_t *bytes);
int spec_count(struct manifest *m, const struct yaml_node *v, const char *where, uint32_t max,
               uint32_t *count);
/* Reads a mapping by a table; where is empty for the whole manifest. A field whose value is null
 * counts as not written. */
int spec_fields(struct manifest *m, const struct yaml_node *map, const char *where,
                const struct field *fields, size_t n);
/* Room, zeroed, for what a list of at most max items becomes; freed by the caller. */
void *spec_items_room(struct manifest *m, const struct yaml_node *list, const char *where,
                      size_t max, size_t item_size);
int spec_items(struct manifest *m, const struct yaml_node *list, const char *where,
               spec_parse *item);
/* For tables: any mapping will do; nothing will. */
spec_parse spec_ignored_mapping, spec_not_yet;

#endif
