/* What a Guest manifest says, checked and with its defaults: roost.dev/v1alpha1, kind Guest.
 *
 * Read from YAML with the place of every error (file:line:column); a bad manifest is one line and
 * touches no other guest. Unknown fields are refused with the nearest known one. Immutable once
 * made, but for sleep_mode.
 */
#ifndef ROOST_GUEST_SPEC_H
#define ROOST_GUEST_SPEC_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sleep_mode { SLEEP_AUTO, SLEEP_NEVER, SLEEP_FRESH };
enum fresh_start { FRESH_FAILED, FRESH_ALL };

struct env_var {
    char *name, *value;
};

/* One watch. */
struct watch_spec {
    char *api_version, *kind; /* "amurant.io/v1", "TestResource" */
    char **namespaces;        /* NULL: all */
    size_t nnamespaces;
};

/* What many guests of one folder have in common: shared, loop thread only. */
struct spec_shape;

struct guest_spec {
    struct spec_shape *shape; /* of a packed one: holds module, file, service_account, and of each
                                 watch api_version and kind; all else is in the spec's own block */
    char *name, *namespace_;  /* metadata; namespace defaults to "default" */
    struct env_var *labels;   /* of its metadata */
    size_t nlabels;
    char *module; /* absolute path (from file:, relative to the manifest's folder) */
    struct env_var *env;
    size_t nenv;
    char **args; /* without argv[0], which is the guest's name */
    size_t nargs;
    struct {
        uint64_t memory_bytes, cpu_ns, time_ns;
        uint32_t calls;
    } limits;
    enum sleep_mode sleep_mode; /* where the manifest does not say it, the module may change it */
    bool sleep_mode_set;        /* the manifest says it */
    uint64_t sleep_after_ns;
    bool sleep_after_set; /* the manifest says it */
    enum fresh_start on_fresh_start;
    struct watch_spec *watches;
    uint16_t nwatches;     /* GUEST_TRIGGERS_MAX at most */
    char *service_account; /* capabilities.kube.serviceAccount in the guest's namespace; NULL: no
                              kube */
    char *file;            /* where it was read */
    unsigned line;         /* of its document */
};

/* Calls each for every manifest in the file (several documents are fine), in order: with spec
 * (taken) or, for a bad one, with spec NULL and err. Returns -1 only where the file cannot be read
 * at all or is no YAML from some point on (what came before was reported). */
int guest_spec_read_file(const char *path,
                         void (*each)(void *ctx, struct guest_spec *spec, const struct err *err),
                         void *ctx, struct err *err) ERR_CHECK;
/* All *.yaml and *.yml of a folder in name order, through guest_spec_read_file; what is wrong with
 * one file goes to each as an error too. -1: the folder cannot be read. */
int guest_spec_read_dir(const char *dir,
                        void (*each)(void *ctx, struct guest_spec *spec, const struct err *err),
                        void *ctx, struct err *err) ERR_CHECK;
void guest_spec_free(struct guest_spec *spec);

/* --- manifests that are no files: what somebody applies --- */

struct spec_texts;

/* One mistake of a manifest. The texts are borrowed until the function returns. */
struct spec_error {
    const char *file, *field, *message; /* field: such as spec.limits.cpu; empty: the document's */
    unsigned line;
    enum err_code code;
};

/* Who is told of what was read, on the thread that reads. */
struct spec_taker {
    void *ctx;
    /* A good one (taken), with the text of its document. */
    void (*spec)(void *ctx, struct guest_spec *spec, const char *text, size_t len);
    /* Each mistake of a bad one, and not only the first. */
    void (*error)(void *ctx, const struct spec_error *e);
    /* The path of the module that a manifest names so (as it is written there); NULL: there is
     * none. */
    const char *(*module)(void *ctx, const char *written);
};

/* Reads texts one after the other, as the files of one folder: a name is there once in all of them.
 * NULL: no memory. Any thread; what was read may be given to another once spec_texts_free was
 * called. */
struct spec_texts *spec_texts_new(const struct spec_taker *taker);
/* name is what messages call it. Everything that is wrong goes to taker->error. */
void spec_texts_read(struct spec_texts *t, const char *name, const char *text, size_t len);
void spec_texts_free(struct spec_texts *t);

/* Whether two manifests say the same; where they were read does not matter, nor do labels. */
bool guest_spec_same(const struct guest_spec *a, const struct guest_spec *b);
/* The same triggers, in the name of the same account. */
bool guest_spec_triggers_same(const struct guest_spec *a, const struct guest_spec *b);
bool guest_spec_labels_same(const struct guest_spec *a, const struct guest_spec *b);

#endif
