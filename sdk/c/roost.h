/* Roost's SDK for guests in C: this header, roost.c and roost_json.c, no dependency but
 * wasi-libc.
 *
 *     #include <roost.h>
 *
 *     ROOST_HANDLE
 *     {
 *         static unsigned seen;                    // survives sleep and restarts of the host
 *         char name[254];
 *
 *         if (roost_event("name", name, sizeof(name)) < 0)
 *             return roost_fail("event without a name");
 *         seen++;
 *         roost_info("saw ", name);
 *         return 0;                                // done; anything else: again, later
 *     }
 *
 * The host calls the handler once for each event, one at a time, to completion. Between events the
 * guest may sleep on disk: memory stays as it is, so static variables and heap are still there in
 * the next event; open calls are not. docs/abi.md is the contract below this header.
 *
 * Three habits of this SDK:
 *  - Results below 0 are errors, the numbers of enum roost_error. An HTTP status is a result, not
 *    an error: look at it.
 *  - Text goes to a place that the caller provides, always ends in NUL, and is never cut without an
 *    error. Only a growing buffer (ROOST_BUF_GROW) allocates, up to the maximum that it was given.
 *  - Building text needs one check at the end: a buffer that overflowed once stays failed.
 *
 * Pages that a guest writes to are what its sleep costs. So this SDK keeps no state of its own and
 * uses little stack; snprintf works, but adds 18 KB to a module.
 */
#ifndef ROOST_H
#define ROOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum roost_error {
    ROOST_E2BIG = -1,      /* longer than a limit, or than the place for it */
    ROOST_EBADF = -8,      /* no such handle in this event */
    ROOST_EFAULT = -21,    /* memory that is not the guest's */
    ROOST_EINVAL = -28,    /* malformed; JSON: malformed, or another type than asked for */
    ROOST_EIO = -29,       /* an answer broke off in its body */
    ROOST_EMFILE = -33,    /* too many open handles */
    ROOST_ENOENT = -44,    /* no attribute, no member of that name */
    ROOST_ENOMEM = -48,    /* out of memory */
    ROOST_EPERM = -63,     /* not outside an event */
    ROOST_EPIPE = -64,     /* that body has ended */
    ROOST_ETIMEDOUT = -73, /* the time passed */
};

enum roost_level { ROOST_DEBUG, ROOST_INFO, ROOST_WARN, ROOST_ERROR };

/* roost_abi_call: the body goes on with roost_abi_write and roost_abi_end. */
#define ROOST_MORE 1u

/* A target, its end included. */
#define ROOST_TARGET_SIZE 1024u
/* Nested arrays and objects of JSON; deeper is ROOST_EINVAL. */
#define ROOST_JSON_DEPTH_MAX 128u

/* --- The module --- */

#ifdef __wasm__
#define ROOST_IMPORT(name) __attribute__((import_module("roost"), import_name(name)))
#define ROOST_EXPORT(name) __attribute__((export_name(name)))
#else /* natively, for tests: whoever links provides roost_abi_* */
#define ROOST_IMPORT(name)
#define ROOST_EXPORT(name)
#endif

/* Opens the handler: `ROOST_HANDLE { ...; return 0; }`, once in a module. */
#define ROOST_HANDLE                                                                               \
    ROOST_EXPORT("roost_abi_1") void roost_abi_1(void);                                            \
    void roost_abi_1(void)                                                                         \
    {                                                                                              \
    }                                                                                              \
    ROOST_EXPORT("handle") int roost_handle(void);                                                 \
    int roost_handle(void)

/* Opens what runs once at each fresh start, before the first event: `ROOST_START { ... }`. Only
 * logging and WASI (getenv, clocks, random numbers) work there. */
#define ROOST_START                                                                                \
    __attribute__((constructor)) static void roost_start(void);                                    \
    static void roost_start(void)

/* --- The nine imports, as they are (docs/abi.md) --- */

int roost_abi_call(const char *method, size_t method_len, const char *target, size_t target_len,
                   const char *headers, size_t headers_len, const void *body, size_t body_len,
                   uint32_t flags) ROOST_IMPORT("call");
int roost_abi_write(int h, const void *data, size_t len) ROOST_IMPORT("write");
int roost_abi_end(int h) ROOST_IMPORT("end");
int roost_abi_wait(const int *handles, size_t n, int timeout_ms) ROOST_IMPORT("wait");
int roost_abi_read(int h, void *buf, size_t cap) ROOST_IMPORT("read");
int roost_abi_attr(int h, const char *name, size_t name_len, char *buf, size_t cap)
    ROOST_IMPORT("attr");
int roost_abi_set(int h, const char *name, size_t name_len, const char *value, size_t value_len)
    ROOST_IMPORT("set");
int roost_abi_close(int h) ROOST_IMPORT("close");
int roost_abi_log(int level, const char *text, size_t len) ROOST_IMPORT("log");

/* --- Buffers --- */

/* Bytes with a maximum. data ends in NUL (not counted in len) once anything was added. */
struct roost_buf {
    char *data;
    size_t len, cap; /* cap includes the NUL */
    size_t max;      /* of a growing buffer; 0: data is the caller's */
    int error;       /* the first failure: ROOST_E2BIG, ROOST_ENOMEM; further adding does nothing */
};

/* Over an array of the caller's: struct roost_buf b = ROOST_BUF_FIXED(array); */
#define ROOST_BUF_FIXED(array)                                                                     \
    {                                                                                              \
        (array), 0, sizeof(array), 0, 0                                                            \
    }
/* Growing by malloc to at most max_bytes; roost_buf_free releases it. */
#define ROOST_BUF_GROW(max_bytes)                                                                  \
    {                                                                                              \
        NULL, 0, 0, (max_bytes), 0                                                                 \
    }

/* All return the buffer's error: 0 or negative. */
int roost_buf_add(struct roost_buf *b, const void *data, size_t len);
int roost_buf_str(struct roost_buf *b, const char *text);
int roost_buf_uint(struct roost_buf *b, uint64_t n);
int roost_buf_int(struct roost_buf *b, int64_t n);
int roost_buf_hex(struct roost_buf *b, uint64_t n); /* 16 digits */
/* A JSON string with its quotes: ", \ and control characters are escaped, the rest is copied. */
int roost_buf_json(struct roost_buf *b, const char *text, size_t len);
/* Makes room for extra more bytes and the NUL. */
int roost_buf_reserve(struct roost_buf *b, size_t extra);
/* Empty again, memory kept, error forgotten. */
void roost_buf_clear(struct roost_buf *b);
/* Releases what a growing buffer allocated; it is empty then and can be used again. */
void roost_buf_free(struct roost_buf *b);

/* --- Logging --- */

void roost_log(enum roost_level level, const char *text);
/* The pieces in one line, up to NULL; cut after 511 bytes. Use the macros. */
void roost_log_pieces(enum roost_level level, ...) __attribute__((sentinel));
#define roost_debug(...) roost_log_pieces(ROOST_DEBUG, __VA_ARGS__, (const char *)0)
#define roost_info(...)  roost_log_pieces(ROOST_INFO, __VA_ARGS__, (const char *)0)
#define roost_warn(...)  roost_log_pieces(ROOST_WARN, __VA_ARGS__, (const char *)0)
#define roost_error(...) roost_log_pieces(ROOST_ERROR, __VA_ARGS__, (const char *)0)

/* n in decimal, for the log macros: roost_info("n = ", ROOST_DEC(n)). Lives to the end of the
 * enclosing block. */
struct roost_decimal {
    char text[24];
};
const char *roost_decimal(struct roost_decimal *d, int64_t n);
#define ROOST_DEC(n) roost_decimal(&(struct roost_decimal){{0}}, (int64_t)(n))

/* --- The event --- */

/* An attribute of the event: "key", "namespace", "name", "uid", "source", ... Returns its length.
 * ROOST_ENOENT: there is none (out is ""). ROOST_E2BIG: it does not fit into cap bytes with its NUL
 * (out is ""). */
int roost_event(const char *name, char *out, size_t cap);
/* Adds the event's body: the object as JSON, nothing if it is gone. Returns the length added.
 * ROOST_E2BIG: more than the buffer takes (what fits was added). */
int roost_event_body(struct roost_buf *b);
/* The same key again in so many milliseconds (if this handling ends well); 0: not. */
int roost_requeue_after_ms(uint64_t ms);
/* Says why this event fails, and returns 1: `return roost_fail("..."); `. */
int roost_fail(const char *why);

/* --- Calls --- */

/* A whole call: starts it, waits, adds the answer's body to answer (NULL: dropped), closes it.
 * headers: "Name: value\n" lines, or NULL. Returns the status (100 to 599); what the host could not
 * do is a status too (502, 504, 403, 429 with application/problem+json). Negative: misuse,
 * ROOST_EIO (cut short), or ROOST_E2BIG (more than answer takes; what fits was added). */
int roost_call(const char *method, const char *target, const char *headers, const void *body,
               size_t body_len, struct roost_buf *answer);
/* The same in two parts, so that several calls are under way at once. Returns a handle. */
int roost_call_start(const char *method, const char *target, const char *headers, const void *body,
                     size_t body_len);
int roost_call_finish(int h, struct roost_buf *answer);
/* The first of n handles that has something to read: its index. timeout_ms < 0: for ever;
 * ROOST_ETIMEDOUT. */
int roost_wait(const int *handles, size_t n, int timeout_ms);
/* The status of an answer, waiting for it. */
int roost_status(int h);
/* A header of an answer by its name in lower case; like roost_event. */
int roost_header(int h, const char *name, char *out, size_t cap);

/* --- Kubernetes --- */

/* Writes the target of an object, "kube:/apis/GROUP/VERSION/namespaces/NS/PLURAL/NAME", and returns
 * its length. api_version is as in manifests ("amurant.io/v1", "v1"); ns NULL or "":
 * cluster-scoped; name NULL or "": the collection. ROOST_EINVAL: a part with a character that no
 * name has; ROOST_E2BIG. */
int roost_kube_target(char *out, size_t cap, const char *api_version, const char *ns,
                      const char *plural, const char *name);
/* Each returns as roost_call does. Targets begin with "kube:"; objects are JSON. */
int roost_kube_get(const char *target, struct roost_buf *answer);
int roost_kube_create(const char *collection, const char *object, size_t len,
                      struct roost_buf *answer);
/* Replaces it. With metadata.resourceVersion in the object: 409 if it has changed since. */
int roost_kube_update(const char *target, const char *object, size_t len, struct roost_buf *answer);
/* A JSON merge patch. */
int roost_kube_patch(const char *target, const char *patch, size_t len, struct roost_buf *answer);
/* Server-side apply: creates or updates. The target's query must name ?fieldManager=. */
int roost_kube_apply(const char *target, const char *object, size_t len, struct roost_buf *answer);
int roost_kube_delete(const char *target, struct roost_buf *answer);

/* --- JSON ---
 * Looks values up in place: nothing is copied, built or allocated. What it passes over on its way
 * is checked to be JSON (but for UTF-8, which the host has checked); what comes after is not looked
 * at.
 */

enum roost_json_type {
    ROOST_JSON_NONE,
    ROOST_JSON_NULL,
    ROOST_JSON_BOOL,
    ROOST_JSON_NUMBER,
    ROOST_JSON_STRING,
    ROOST_JSON_ARRAY,
    ROOST_JSON_OBJECT,
};

/* A value: its bytes within the text (a string with its quotes). */
struct roost_json {
    enum roost_json_type type;
    const char *at;
    size_t len;
};

/* The value at a JSON pointer (RFC 6901): "/spec/nonce", "/items/0/metadata/name",
 * "/metadata/labels/app.kubernetes.io~1name" (~1 is /, ~0 is ~); "" is the whole. Of members of the
 * same name the first. Returns 0; ROOST_ENOENT: not there; ROOST_EINVAL: not JSON, or the pointer
 * is none. */
int roost_json_get(const char *text, size_t len, const char *pointer, struct roost_json *out);
/* Goes through an array's elements or an object's members. Zero *it before the first; key is NONE
 * in arrays. Returns 1 with the next value, 0 after the last, ROOST_EINVAL. */
int roost_json_next(const struct roost_json *of, size_t *it, struct roost_json *key,
                    struct roost_json *value);
/* Decodes a string into out with a NUL; returns its length. ROOST_EINVAL: no string, or it holds
 * \u0000 or half a surrogate pair; ROOST_E2BIG. */
int roost_json_string(const struct roost_json *v, char *out, size_t cap);
/* An integer: ROOST_EINVAL for anything else, 1.0 and 1e3 included; ROOST_E2BIG outside int64. */
int roost_json_int(const struct roost_json *v, int64_t *out);
int roost_json_bool(const struct roost_json *v, bool *out);
/* Get and convert in one. */
int roost_json_get_string(const char *text, size_t len, const char *pointer, char *out, size_t cap);
int roost_json_get_int(const char *text, size_t len, const char *pointer, int64_t *out);
/* 0 if the whole text is one JSON value; ROOST_EINVAL. */
int roost_json_check(const char *text, size_t len);

#ifdef __cplusplus
}
#endif

#endif
