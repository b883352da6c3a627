/* YAML documents as a tree, with limits and with the place of everything for error messages.
 *
 * Built over libyaml's event interface (never its loader: 200,000 brackets do not end there). JSON
 * is YAML, so files in JSON are read as well. What configuration does not need is refused: aliases,
 * tags other than !!str, keys that are no scalars, duplicate keys, NUL characters in text.
 * Maxima: YAML_BYTES_MAX, YAML_DEPTH_MAX, YAML_NODES_MAX, YAML_TAG_LINES_MAX.
 *
 * A document is immutable once parsed; any thread may read it, one at a time or several. Nodes and
 * their text are borrowed from the document. Functions that take a node accept NULL and say "not
 * there", so that paths can be walked without a check at each step.
 */
#ifndef ROOST_BASE_YAML_H
#define ROOST_BASE_YAML_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct yaml_doc; /* all documents of a stream */
struct yaml_node;

/* libyaml's own constants begin with YAML_. */
enum yaml_type { YAMLN_SCALAR = 1, YAMLN_SEQUENCE, YAMLN_MAPPING };

/* Parses all documents of the stream. `file` is only for messages, copied. *out is set on success
 * only; free it with yaml_doc_free. Errors read "file:line:col: what".
 * ERR_INVALID: no YAML, or YAML that is refused. ERR_LIMIT: a maximum. ERR_NOMEM. */
int yaml_parse(struct yaml_doc **out, const char *data, size_t len, const char *file,
               struct err *err) ERR_CHECK;
/* The same of a file of at most max_bytes (0: YAML_BYTES_MAX). ERR_NOT_FOUND, ERR_DENIED, ERR_IO:
 * it cannot be read; ERR_LIMIT: it is larger. */
int yaml_parse_file(struct yaml_doc **out, const char *path, size_t max_bytes, struct err *err)
    ERR_CHECK;
/* As yaml_parse_file, but for streams in which one bad document must not touch the others. A
 * document with something refused in it (duplicate key, alias, tag) has no root, and
 * yaml_doc_error tells why. Where the text is no YAML from some point on, or a maximum was passed,
 * -1 is returned, and *out holds what came before. *out is NULL only where nothing could be read.
 */
int yaml_parse_file_each(struct yaml_doc **out, const char *path, size_t max_bytes, struct err *err)
    ERR_CHECK;
/* The same, but each document is handed over as soon as it was read, as the only one of d (which is
 * borrowed until `each` returns), and forgotten: memory for the file and one document, however many
 * there are. YAML_NODES_MAX is of one document here; document_max bytes are the most of one. */
int yaml_parse_file_stream(const char *path, size_t max_bytes, size_t document_max,
                           void (*each)(void *ctx, const struct yaml_doc *d), void *ctx,
                           struct err *err) ERR_CHECK;
/* The same of bytes in memory. */
int yaml_parse_stream(const char *data, size_t len, const char *file, size_t document_max,
                      void (*each)(void *ctx, const struct yaml_doc *d), void *ctx, struct err *err)
    ERR_CHECK;
/* As yaml_parse_file_each, of bytes in memory. */
int yaml_parse_each(struct yaml_doc **out, const char *data, size_t len, const char *file,
                    struct err *err) ERR_CHECK;
/* NULL is fine. (yaml_free is a symbol of libyaml itself.) */
void yaml_doc_free(struct yaml_doc *d);

const char *yaml_file(const struct yaml_doc *d);
/* Documents in the stream; an empty stream has none. */
size_t yaml_count(const struct yaml_doc *d);
/* NULL: no such document, or it has an error. */
const struct yaml_node *yaml_root(const struct yaml_doc *d, size_t i);
/* NULL: document i is fine. Only after yaml_parse_each and yaml_parse_file_each. */
const struct err *yaml_doc_error(const struct yaml_doc *d, size_t i);

/* 0 where n is NULL. */
enum yaml_type yaml_type(const struct yaml_node *n);
/* "a mapping", "a list", "text", "nothing" (null): for messages. */
const char *yaml_type_name(const struct yaml_node *n);
/* The value of a key; NULL: absent, or n is NULL or no mapping. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
/* Entries of a sequence or mapping, else 0. */
size_t yaml_len(const struct yaml_node *n);
/* NULL: past the end, or no sequence. */
const struct yaml_node *yaml_at(const struct yaml_node *seq, size_t i);
/* Entry i of a mapping in the order of the file; value may be NULL. NULL: past the end, no
 * mapping. */
const char *yaml_key(const struct yaml_node *map, size_t i, const struct yaml_node **value);
/* The key's own node, for its place. */
const struct yaml_node *yaml_key_node(const struct yaml_node *map, size_t i);
/* NULL unless a scalar. Empty text for an empty value. */
const char *yaml_scalar(const struct yaml_node *n);
/* True for a scalar without quotes (and not a block): only such ones mean null, true or 7. */
bool yaml_plain(const struct yaml_node *n);
/* True where n is NULL or means null: nothing, ~, null. */
bool yaml_is_null(const struct yaml_node *n);
/* Start of the node, from 1; 0 where n is NULL. Columns count characters. */
unsigned yaml_line(const struct yaml_node *n);
unsigned yaml_column(const struct yaml_node *n);

/* Sets err to "file:line:col: ..."; returns -1. */
int yaml_err(struct err *err, const struct yaml_doc *d, const struct yaml_node *n,
             enum err_code code, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#endif
