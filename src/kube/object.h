/* Kubernetes objects: what the host must know of one, and the bytes that guests see.
 *
 * An object is kept as the bytes that came (UTF-8, escapes, the form of numbers and the order of
 * members survive), without metadata.managedFields and the annotation
 * kubectl.kubernetes.io/last-applied-configuration, which are most of many objects and of use to no
 * operator. Items of a list name neither apiVersion nor kind where the server leaves them out; they
 * are then put in front.
 *
 * object_scan passes over the bytes once, checks all of them and notes what matters as spans;
 * kube_object_make copies what is to be kept. Never is an object re-serialised from a tree: that
 * would change numbers and lose members.
 */
#ifndef ROOST_KUBE_OBJECT_H
#define ROOST_KUBE_OBJECT_H

#include "base/err.h"
#include "base/limits.h"
#include "kube/json.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
    const uint8_t *at;
    size_t len;
};

/* What was found in one object; all spans point into the scanned bytes. A string's at is NULL where
 * the member is absent or no string. */
struct object_scan {
    struct jscan_str api_version, kind;
    struct jscan_str namespace_, name, uid, resource_version; /* of metadata */
    int64_t generation;                                       /* 0: none */
    bool deleting;           /* metadata.deletionTimestamp is set */
    bool initial_events_end; /* a bookmark's annotation */
    /* Of a Status, which is what a watch's ERROR event carries. */
    int64_t code;
    struct jscan_str reason, message;
    struct span whole; /* the object itself, first to last byte */
    uint32_t ncuts;
    struct span cuts[KUBE_OBJECT_CUTS_MAX]; /* to leave out, by place; with one comma each */
};

/* Scans the value at the cursor, which must be an object, and passes it. False: j->rc says why;
 * what was found until then is in out. */
bool object_scan(struct object_scan *out, struct jscan *j);

/* Immutable, one allocation. Shared between threads by counting references. */
struct kube_object {
    atomic_uint refs;
    bool deleting;
    uint32_t json_len, room; /* room: of the allocation */
    int64_t generation;
    const char *namespace_; /* "" for an object of the cluster */
    const char *name, *uid, *resource_version;
    const char *json; /* NUL-terminated behind json_len bytes */
};

/* What items of a list leave out; either may be NULL: nothing is put in then. */
struct object_kind {
    const char *api_version, *kind;
};

/* Makes the object of a scan whose bytes are still there, with one reference. ERR_LIMIT: over
 * KUBE_OBJECT_MAX, or a name over its maximum; ERR_INVALID: no name or no resourceVersion, or a
 * name that cannot be one; ERR_NOMEM. */
int kube_object_make(struct kube_object **out, const struct object_scan *scan,
                     const struct object_kind *kind, struct err *err) ERR_CHECK;
/* Scans and makes; the bytes must hold one object and nothing else. */
int kube_object_parse(struct kube_object **out, const void *json, size_t len,
                      const struct object_kind *kind, struct err *err) ERR_CHECK;

/* Any thread. ref returns obj; unref accepts NULL and frees with the last reference. */
struct kube_object *kube_object_ref(struct kube_object *obj);
void kube_object_unref(struct kube_object *obj);

#define OBJECT_KEY_MAX (KUBE_NAMESPACE_MAX + 1u + KUBE_NAME_MAX)
/* "namespace/name", or "name" for an object of the cluster. */
void kube_object_key(char out[OBJECT_KEY_MAX + 1], const struct kube_object *obj);

/* resourceVersions are opaque but for one question: whether time went back. -1, 0, 1 as a is older,
 * equal, newer, by value as decimals of any length; *known is false (and the result 0) where one of
 * them is no decimal. */
int kube_version_compare(const char *a, const char *b, bool *known);

#endif
