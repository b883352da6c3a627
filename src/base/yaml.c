/* The tree is built by one loop over libyaml's events with an explicit stack, so the depth of the
 * input never becomes depth of our own stack. All nodes hang in one chain from the document, which
 * is how they are freed: a half-built tree needs no special care.
 *
 * What libyaml accepts and we refuse ("defects") condemns one document: its remaining events are
 * read and dropped, and the next document starts clean. Errors of libyaml itself end the stream.
 *
 * Must never: recurse over the input, or trust libyaml's own bounds (it has none that matter).
 */
#include "base/yaml.h"

#include "base/auto.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct yaml_node {
    struct yaml_node *chain;  /* the next of all nodes */
    struct yaml_node **items; /* a sequence's items; a mapping's key, value, key, value */
    size_t nitems, room;
    unsigned line, column;
    enum yaml_type type;
    bool plain;
    char text[]; /* of a scalar */
};

struct document {
    struct yaml_node *root;
    struct err *defect; /* NULL: fine */
};

struct yaml_doc {
    char *file;
    struct document *docs;
    size_t ndocs, room;
    struct yaml_node *chain;
    size_t nnodes;
};

/* --- building ------------------------------------------------------------------------------- */

struct builder {
    struct yaml_doc *doc;
    struct document *cur;
    struct yaml_node *open[YAML_DEPTH_MAX];
    size_t depth; /* of nodes in open */
    size_t level; /* the same, counted in a condemned document as well */
    bool each;    /* a defect condemns its document only */
    void (*take)(void *ctx, const struct yaml_doc *d); /* NULL: all documents are kept */
    void *ctx;
    size_t document_at, document_max; /* where it begins; 0: no limit */
};

static int place_err(struct err *err, const char *file, size_t line, size_t column,
                     enum err_code code, const char *fmt, va_list ap)
    __attribute__((format(printf, 6, 0)));

static int place_err(struct err *err, const char *file, size_t line, size_t column,
                     enum err_code code, const char *fmt, va_list ap)
{
    char what[ERR_MSG_MAX];

    vsnprintf(what, sizeof(what), fmt, ap);
    text_clean(what); /* it quotes the file */
    if (line == 0)
        return err_set(err, code, 0, "%s: %s", file, what);
    return err_set(err, code, 0, "%s:%zu:%zu: %s", file, line, column, what);
}

/* An error at a mark of libyaml, which counts from 0. Returns -1. */
static int mark_err(struct err *err, const struct builder *b, const yaml_mark_t *at,
                    enum err_code code, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static int mark_err(struct err *err, const struct builder *b, const yaml_mark_t *at,
                    enum err_code code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    place_err(err, b->doc->file, at->line + 1, at->column + 1, code, fmt, ap);
    va_end(ap);
    return -1;
}

static int no_memory(struct err *err, const struct builder *b)
{
    return err_set(err, ERR_NOMEM, 0, "%s: no memory", b->doc->file);
}

static int document_begin(struct builder *b, struct err *err)
{
    struct yaml_doc *d = b->doc;

    if (d->ndocs == d->room) {
        size_t room = d->room ? d->room * 2 : 4;
        struct document *docs = realloc(d->docs, room * sizeof(*docs));

        if (!docs)
            return no_memory(err, b);
        d->docs = docs;
        d->room = room;
    }
    b->cur = &d->docs[d->ndocs++];
    *b->cur = (struct document){0};
    b->depth = b->level = 0;
    return 0;
}

static struct yaml_node *node_new(struct builder *b, const yaml_event_t *ev, enum yaml_type type,
                                  size_t text_len, struct err *err)
{
    struct yaml_node *n;

    if (b->doc->nnodes >= YAML_NODES_MAX) {
        mark_err(err, b, &ev->start_mark, ERR_LIMIT, "more than %u values in the file",
                 YAML_NODES_MAX);
        return NULL;
    }
    n = calloc(1, sizeof(*n) + text_len + 1);
    if (!n) {
        no_memory(err, b);
        return NULL;
    }
    n->type = type;
    n->line = (unsigned)ev->start_mark.line + 1;
    n->column = (unsigned)ev->start_mark.column + 1;
    n->chain = b->doc->chain;
    b->doc->chain = n;
    b->doc->nnodes++;
    return n;
}

/* Hangs a node where the next one belongs: in the innermost open collection, or as the root. */
static int node_hang(struct builder *b, struct yaml_node *n, struct err *err)
{
    struct yaml_node *parent = b->depth ? b->open[b->depth - 1] : NULL;

    if (!parent) {
        b->cur->root = n;
        return 0;
    }
    if (parent->nitems == parent->room) {
        size_t room = parent->room ? parent->room * 2 : 4;
        struct yaml_node **items = realloc(parent->items, room * sizeof(struct yaml_node *));

        if (!items)
            return no_memory(err, b);
        parent->items = items;
        parent->room = room;
    }
    parent->items[parent->nitems++] = n;
    return 0;
}

/* True where the next node is a key of a mapping. */
static bool key_is_due(const struct builder *b)
{
    const struct yaml_node *parent = b->depth ? b->open[b->depth - 1] : NULL;

    return parent && parent->type == YAMLN_MAPPING && parent->nitems % 2 == 0;
}

static bool tag_is_string(const yaml_char_t *tag)
{
    return strcmp((const char *)tag, YAML_STR_TAG) == 0 || strcmp((const char *)tag, "!") == 0;
}

/* Returns 0, -1 (the end), or 1: a defect of this document, told in err. */
static int add_scalar(struct builder *b, const yaml_event_t *ev, struct err *err)
{
    const char *text = (const char *)ev->data.scalar.value;
    size_t len = ev->data.scalar.length;
    struct yaml_node *n;

    if (ev->data.scalar.tag && !tag_is_string(ev->data.scalar.tag)) {
        mark_err(err, b, &ev->start_mark, ERR_INVALID, "tag %.80s: tags are not supported",
                 (const char *)ev->data.scalar.tag);
        return 1;
    }
    if (memchr(text, 0, len)) {
        mark_err(err, b, &ev->start_mark, ERR_INVALID, "text with a NUL character in it");
        return 1;
    }
    n = node_new(b, ev, YAMLN_SCALAR, len, err);
    if (!n)
        return -1;
    memcpy(n->text, text, len);
    n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !ev->data.scalar.tag;
    return node_hang(b, n, err);
}

static int open_collection(struct builder *b, const yaml_event_t *ev, enum yaml_type type,
                           const yaml_char_t *tag, struct err *err)
{
    struct yaml_node *n;

    if (tag) {
        mark_err(err, b, &ev->start_mark, ERR_INVALID, "tag %.80s: tags are not supported",
                 (const char *)tag);
        return 1;
    }
    if (key_is_due(b)) {
        mark_err(err, b, &ev->start_mark, ERR_INVALID, "a key must be text");
        return 1;
    }
    n = node_new(b, ev, type, 0, err);
    if (!n || node_hang(b, n, err) < 0)
        return -1;
    b->open[b->depth++] = n;
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    const struct yaml_node *const *x = a, *const *y = b;
    int order = strcmp((*x)->text, (*y)->text);

    if (order)
        return order;
    if ((*x)->line != (*y)->line)
        return (*x)->line < (*y)->line ? -1 : 1;
    return (*x)->column < (*y)->column ? -1 : (*x)->column > (*y)->column;
}

/* Closes the innermost collection. A mapping's keys are compared now, sorted: a file with a mapping
 * of 50,000 keys must not take 10^9 comparisons. */
static int close_collection(struct builder *b, struct err *err)
{
    struct yaml_node *n = b->open[--b->depth];
    size_t nkeys = n->nitems / 2;
    AUTO_FREE struct yaml_node **keys = NULL;

    if (n->type != YAMLN_MAPPING || nkeys < 2)
        return 0;
    keys = malloc(nkeys * sizeof(struct yaml_node *));
    if (!keys)
        return no_memory(err, b);
    for (size_t i = 0; i < nkeys; i++)
        keys[i] = n->items[2 * i];
    qsort(keys, nkeys, sizeof(struct yaml_node *), compare_keys);
    for (size_t i = 1; i < nkeys; i++) {
        if (strcmp(keys[i - 1]->text, keys[i]->text) != 0)
            continue;
        yaml_err(err, b->doc, keys[i], ERR_INVALID,
                 "key %.80s is there twice, first at line %u: remove one", keys[i]->text,
                 keys[i - 1]->line);
        return 1;
    }
    return 0;
}

/* One event into the tree. As add_scalar. */
static int take_event(struct builder *b, const yaml_event_t *ev, struct err *err)
{
    switch (ev->type) {
    case YAML_ALIAS_EVENT:
        mark_err(err, b, &ev->start_mark, ERR_INVALID,
                 "alias *%.80s: aliases are not supported, write the value out",
                 (const char *)ev->data.alias.anchor);
        return 1;
    case YAML_SCALAR_EVENT:
        return add_scalar(b, ev, err);
    case YAML_SEQUENCE_START_EVENT:
        return open_collection(b, ev, YAMLN_SEQUENCE, ev->data.sequence_start.tag, err);
    case YAML_MAPPING_START_EVENT:
        return open_collection(b, ev, YAMLN_MAPPING, ev->data.mapping_start.tag, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_collection(b, err);
    default:
        return 0; /* stream start, document end */
    }
}

/* Condemns the current document: its rest is skipped. */
static int document_spoil(struct builder *b, const struct err *why, struct err *err)
{
    assert(b->cur); /* defects are found in documents only */
    b->cur->defect = malloc(sizeof(*b->cur->defect));
    if (!b->cur->defect)
        return no_memory(err, b);
    *b->cur->defect = *why;
    b->cur->root = NULL;
    return 0;
}

/* libyaml's time for a token grows with the depth: the limit holds wherever it is passed. */
static int check_level(struct builder *b, const yaml_event_t *ev, struct err *err)
{
    if (ev->type == YAML_SEQUENCE_START_EVENT || ev->type == YAML_MAPPING_START_EVENT)
        b->level++;
    if (ev->type == YAML_SEQUENCE_END_EVENT || ev->type == YAML_MAPPING_END_EVENT)
        b->level--;
    if (b->level <= YAML_DEPTH_MAX)
        return 0;
    return mark_err(err, b, &ev->start_mark, ERR_LIMIT, "nested deeper than %u levels",
                    YAML_DEPTH_MAX);
}

static int check_document(struct builder *b, const yaml_event_t *ev, struct err *err)
{
    if (ev->type == YAML_DOCUMENT_START_EVENT)
        b->document_at = ev->start_mark.index;
    if (!b->document_max || ev->end_mark.index - b->document_at <= b->document_max)
        return 0;
    return mark_err(err, b, &ev->start_mark, ERR_LIMIT, "a document of more than %zu bytes",
                    b->document_max);
}

static int build_event(struct builder *b, const yaml_event_t *ev, struct err *err)
{
    struct err why = {0};
    int rc;

    if (check_level(b, ev, err) < 0 || check_document(b, ev, err) < 0)
        return -1;
    if (ev->type == YAML_DOCUMENT_START_EVENT)
        return document_begin(b, err);
    if (b->cur && b->cur->defect)
        return 0;
    rc = take_event(b, ev, &why);
    if (rc == 1 && b->each)
        return document_spoil(b, &why, err);
    if (rc && err)
        *err = why;
    return rc ? -1 : 0;
}

/* --- libyaml's errors ----------------------------------------------------------------------- */

/* The reader knows bytes only: their line and column. */
static yaml_mark_t mark_of_offset(const char *data, size_t len, size_t offset)
{
    yaml_mark_t at = {.index = offset};

    for (size_t i = 0; i < offset && i < len; i++) {
        at.column++;
        if (data[i] == '\n') {
            at.line++;
            at.column = 0;
        }
    }
    return at;
}

/* Marks count characters. */
static bool tab_at(const char *data, size_t len, size_t character)
{
    size_t i = 0;

    for (; i < len && character > 0; character--)
        for (i++; i < len && ((unsigned char)data[i] & 0xc0) == 0x80;)
            i++;
    return i < len && data[i] == '\t';
}

static int parser_err(struct err *err, const struct builder *b, const yaml_parser_t *p,
                      const char *data, size_t len)
{
    const char *what = p->problem ? p->problem : "no YAML";
    yaml_mark_t at = p->problem_mark;

    if (p->error == YAML_MEMORY_ERROR)
        return no_memory(err, b);
    if (p->error == YAML_READER_ERROR) {
        at = mark_of_offset(data, len, p->problem_offset);
        return mark_err(err, b, &at, ERR_INVALID, "%s (the file must be UTF-8 text)", what);
    }
    if (strstr(what, "cannot start any token") && tab_at(data, len, at.index))
        what = "a tab: YAML is indented with spaces";
    if (p->context)
        return mark_err(err, b, &at, ERR_INVALID, "%s, %s that began at line %zu", what, p->context,
                        p->context_mark.line + 1);
    return mark_err(err, b, &at, ERR_INVALID, "%s", what);
}

/* --- parsing -------------------------------------------------------------------------------- */

/* libyaml compares each %TAG line with all before it: bounded here, before it sees them. */
static int check_tag_lines(const struct builder *b, const char *data, size_t len, struct err *err)
{
    const char *end = data + len;
    size_t seen = 0;

    for (const char *p = data; p; p = memchr(p, '\n', (size_t)(end - p))) {
        if (*p == '\n')
            p++;
        if (end - p < 4)
            break;
        if (memcmp(p, "%TAG", 4) == 0 && ++seen > YAML_TAG_LINES_MAX)
            return err_set(err, ERR_LIMIT, 0, "%s: more than %u lines that begin with %%TAG",
                           b->doc->file, YAML_TAG_LINES_MAX);
    }
    return 0;
}

static void documents_free(struct yaml_doc *d)
{
    for (struct yaml_node *n = d->chain, *next; n; n = next) {
        next = n->chain;
        free(n->items);
        free(n);
    }
    for (size_t i = 0; i < d->ndocs; i++)
        free(d->docs[i].defect);
    d->chain = NULL;
    d->ndocs = d->nnodes = 0;
}

static void document_over(struct builder *b)
{
    b->cur = NULL;
    if (!b->take)
        return;
    b->take(b->ctx, b->doc);
    documents_free(b->doc);
}

static int parse_events(struct builder *b, const char *data, size_t len, struct err *err)
{
    yaml_parser_t parser;
    bool more = true;
    int rc = 0;

    if (!yaml_parser_initialize(&parser))
        return no_memory(err, b);
    yaml_parser_set_input_string(&parser, (const unsigned char *)data, len);
    while (more && rc == 0) {
        yaml_event_t ev;

        if (!yaml_parser_parse(&parser, &ev)) {
            rc = parser_err(err, b, &parser, data, len);
            break;
        }
        rc = build_event(b, &ev, err);
        more = ev.type != YAML_STREAM_END_EVENT;
        if (rc == 0 && ev.type == YAML_DOCUMENT_END_EVENT)
            document_over(b);
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&parser);
    if (b->cur) { /* cut short: it was never whole */
        free(b->cur->defect);
        b->doc->ndocs--;
    }
    return rc;
}

static int parse_with(struct builder *b, const char *data, size_t len, const char *file,
                      struct err *err)
{
    b->doc = calloc(1, sizeof(*b->doc));
    if (!b->doc || !(b->doc->file = strdup(file))) {
        yaml_doc_free(b->doc);
        b->doc = NULL;
        return err_set(err, ERR_NOMEM, 0, "%s: no memory", file);
    }
    if (check_tag_lines(b, data, len, err) < 0)
        return -1;
    return parse_events(b, data, len, err);
}

static int parse(struct yaml_doc **out, const char *data, size_t len, const char *file, bool each,
                 struct err *err)
{
    struct builder b = {.each = each};
    int rc;

    *out = NULL;
    if (len > YAML_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "%s: %zu bytes, limit %u", file, len, YAML_BYTES_MAX);
    rc = parse_with(&b, data, len, file, err);
    if (rc < 0 && !each) {
        yaml_doc_free(b.doc);
        return -1;
    }
    *out = b.doc;
    return rc;
}

int yaml_parse(struct yaml_doc **out, const char *data, size_t len, const char *file,
               struct err *err)
{
    return parse(out, data, len, file, false, err);
}

int yaml_parse_each(struct yaml_doc **out, const char *data, size_t len, const char *file,
                    struct err *err)
{
    return parse(out, data, len, file, true, err);
}

/* --- files ---------------------------------------------------------------------------------- */

static int parse_file(struct yaml_doc **out, const char *path, size_t max_bytes, bool each,
                      struct err *err)
{
    AUTO_BUF struct buf data = {.max = (max_bytes ? max_bytes : YAML_BYTES_MAX) + 1};

    *out = NULL;
    if (file_read(&data, path, err) < 0)
        return -1;
    return parse(out, data.len ? (const char *)data.data : "", data.len, path, each, err);
}

int yaml_parse_stream(const char *data, size_t len, const char *file, size_t document_max,
                      void (*each)(void *ctx, const struct yaml_doc *d), void *ctx, struct err *err)
{
    struct builder b = {.each = true, .take = each, .ctx = ctx, .document_max = document_max};
    int rc = parse_with(&b, data, len, file, err);

    yaml_doc_free(b.doc);
    return rc;
}

int yaml_parse_file_stream(const char *path, size_t max_bytes, size_t document_max,
                           void (*each)(void *ctx, const struct yaml_doc *d), void *ctx,
                           struct err *err)
{
    AUTO_BUF struct buf data = {.max = max_bytes + 1};

    if (file_read(&data, path, err) < 0)
        return -1;
    return yaml_parse_stream(data.len ? (const char *)data.data : "", data.len, path, document_max,
                             each, ctx, err);
}

int yaml_parse_file(struct yaml_doc **out, const char *path, size_t max_bytes, struct err *err)
{
    return parse_file(out, path, max_bytes, false, err);
}

int yaml_parse_file_each(struct yaml_doc **out, const char *path, size_t max_bytes, struct err *err)
{
    return parse_file(out, path, max_bytes, true, err);
}

void yaml_doc_free(struct yaml_doc *d)
{
    if (!d)
        return;
    documents_free(d);
    free(d->docs);
    free(d->file);
    free(d);
}

/* --- reading the tree ----------------------------------------------------------------------- */

const char *yaml_file(const struct yaml_doc *d)
{
    return d->file;
}

size_t yaml_count(const struct yaml_doc *d)
{
    return d ? d->ndocs : 0;
}

const struct yaml_node *yaml_root(const struct yaml_doc *d, size_t i)
{
    return i < yaml_count(d) ? d->docs[i].root : NULL;
}

const struct err *yaml_doc_error(const struct yaml_doc *d, size_t i)
{
    return i < yaml_count(d) ? d->docs[i].defect : NULL;
}

enum yaml_type yaml_type(const struct yaml_node *n)
{
    return n ? n->type : 0;
}

const char *yaml_type_name(const struct yaml_node *n)
{
    if (yaml_is_null(n))
        return "nothing";
    if (n->type == YAMLN_SCALAR)
        return "text";
    return n->type == YAMLN_SEQUENCE ? "a list" : "a mapping";
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    if (!map || map->type != YAMLN_MAPPING)
        return NULL;
    for (size_t i = 0; i < map->nitems; i += 2)
        if (strcmp(map->items[i]->text, key) == 0)
            return map->items[i + 1];
    return NULL;
}

size_t yaml_len(const struct yaml_node *n)
{
    if (!n)
        return 0;
    return n->type == YAMLN_MAPPING ? n->nitems / 2 : n->nitems;
}

const struct yaml_node *yaml_at(const struct yaml_node *seq, size_t i)
{
    return seq && seq->type == YAMLN_SEQUENCE && i < seq->nitems ? seq->items[i] : NULL;
}

const struct yaml_node *yaml_key_node(const struct yaml_node *map, size_t i)
{
    if (!map || map->type != YAMLN_MAPPING || i >= map->nitems / 2)
        return NULL;
    return map->items[2 * i];
}

const char *yaml_key(const struct yaml_node *map, size_t i, const struct yaml_node **value)
{
    const struct yaml_node *key = yaml_key_node(map, i);

    if (value)
        *value = key ? map->items[2 * i + 1] : NULL;
    return key ? key->text : NULL;
}

const char *yaml_scalar(const struct yaml_node *n)
{
    return n && n->type == YAMLN_SCALAR ? n->text : NULL;
}

bool yaml_plain(const struct yaml_node *n)
{
    return n && n->type == YAMLN_SCALAR && n->plain;
}

bool yaml_is_null(const struct yaml_node *n)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

    if (!n)
        return true;
    for (size_t i = 0; yaml_plain(n) && i < sizeof(nulls) / sizeof(nulls[0]); i++)
        if (strcmp(n->text, nulls[i]) == 0)
            return true;
    return false;
}

unsigned yaml_line(const struct yaml_node *n)
{
    return n ? n->line : 0;
}

unsigned yaml_column(const struct yaml_node *n)
{
    return n ? n->column : 0;
}

int yaml_err(struct err *err, const struct yaml_doc *d, const struct yaml_node *n,
             enum err_code code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    place_err(err, d->file, yaml_line(n), yaml_column(n), code, fmt, ap);
    va_end(ap);
    return -1;
}
