/* Errors: one small struct that the caller owns, filled by whoever fails.
 *
 * Fallible functions return 0 or -1 and take `struct err *err` last. The lowest layer sets the
 * reason (err_set), each layer above wraps once with its own noun (err_wrap: "guest ring-0:
 * snapshot: read: No space left on device"), only the edge prints. Nothing here allocates, so an
 * error can be reported when memory is short. Branch on codes, never on text. Errors are about the
 * world; what would be a mistake of ours is an assert, and asserts stay on in release builds.
 */
#ifndef ROOST_BASE_ERR_H
#define ROOST_BASE_ERR_H

#define ERR_MSG_MAX 384

enum err_code {
    ERR_NONE = 0,
    ERR_USAGE,   /* the command line */
    ERR_INVALID, /* malformed input: file, manifest, module, bytes of a peer */
    ERR_NOT_FOUND,
    ERR_EXISTS, /* already there, or held by another process */
    ERR_DENIED, /* permission, RBAC, TLS verification */
    ERR_LIMIT,  /* a stated maximum was reached */
    ERR_NOMEM,
    ERR_IO,  /* disk */
    ERR_NET, /* connection, DNS, TLS, protocol */
    ERR_TIMEOUT,
    ERR_AGAIN,   /* not now: try later */
    ERR_GONE,    /* HTTP 410, or a handle of an event that ended */
    ERR_CORRUPT, /* a checksum or an identity does not match */
    ERR_TRAP,    /* the guest trapped */
    ERR_UNSUPPORTED,
    ERR_CODES
};

struct err {
    enum err_code code;
    int sys; /* errno or HTTP status where there is one, else 0 */
    char msg[ERR_MSG_MAX];
};

#define ERR_CHECK __attribute__((warn_unused_result))

/* Sets the reason. With sys an errno, its text is appended. Always returns -1. err may be NULL. */
int err_set(struct err *err, enum err_code code, int sys, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for a number that is no errno (an HTTP status): kept in err->sys, no text appended. */
int err_set_status(struct err *err, enum err_code code, int status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "what: " before the message. Always returns -1. err may be NULL. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "denied", "not_found", ...: stable names for JSON and metrics. */
const char *err_code_name(enum err_code code);

/* So that compilers and the static analyser see at each call that it fails. */
static inline int err_always(int rc)
{
    (void)rc;
    return -1;
}
#define err_set(...)        err_always(err_set(__VA_ARGS__))
#define err_set_status(...) err_always(err_set_status(__VA_ARGS__))
#define err_wrap(...)       err_always(err_wrap(__VA_ARGS__))

/* The process exit status of a code; documented in docs/cli.md. */
int err_exit_status(enum err_code code);

#endif
