/* The manifests that -f names, for apply and delete: read whole, and looked into just as far as
 * needed. What they mean, and what is wrong with them, is the daemon's to say.
 */
#ifndef ROOST_CLI_MANIFESTS_H
#define ROOST_CLI_MANIFESTS_H

#include "base/yaml.h"
#include "cli/cli.h"

struct manifest_file {
    char *name; /* as messages call it */
    char *dir;  /* what its modules are relative to */
    char *text;
    size_t len;
};

struct manifests {
    struct manifest_file *files;
    size_t n, room, bytes;
};

/* All files of the line's -f options, in their order; a folder's in the order of their names. Free
 * with manifests_free, also after an error. ERR_USAGE: no -f, or - twice. ERR_NOT_FOUND,
 * ERR_DENIED, ERR_IO; also where a folder has no manifest. ERR_LIMIT: SPEC_FILES_MAX files,
 * MANIFESTS_BYTES_MAX bytes. ERR_INVALID: no UTF-8. */
int manifests_read(struct manifests *m, const struct cli_line *line, struct err *err) ERR_CHECK;
void manifests_free(struct manifests *m);

/* Calls each for every document that is a mapping, with its place in the file. What is no YAML is
 * passed over: the daemon says so with line and column. -1: no memory, or `each` failed. */
int manifests_documents(const struct manifest_file *f,
                        int (*each)(void *ctx, const struct manifest_file *f,
                                    const struct yaml_node *document, struct err *err),
                        void *ctx, struct err *err) ERR_CHECK;
/* The names of the guests in them; *out is the caller's. ERR_INVALID: a document has no name. */
int manifests_ids(const struct manifests *m, struct cli_id **out, size_t *n, struct err *err)
    ERR_CHECK;

#endif
