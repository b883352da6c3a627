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

/* Situations that a user meets and can do something about, finer than the codes: stable names that
 * programs may rely on, as `reason` in what the admin API says. The table in err_reason.c has what
 * to do about each, docs/errors.md is made of it, and test_errors produces each. */
enum err_reason {
    REASON_NONE = 0, /* the code says all there is to say */
    REASON_BAD_FLAG,
    REASON_BAD_CONFIGURATION,
    REASON_BAD_CERTIFICATE,
    REASON_BAD_TOKEN,
    REASON_NO_SUCH_GROUP,
    REASON_ADDRESS_IN_USE,
    REASON_SOCKET_IN_USE,
    REASON_STATE_IN_USE,
    REASON_STATE_UNSAFE,
    REASON_NO_KUBECONFIG,
    REASON_BAD_KUBECONFIG,
    REASON_SERVER_UNTRUSTED,
    REASON_API_SERVER_UNREACHABLE,
    REASON_MAY_NOT_WATCH,
    REASON_DAEMON_UNREACHABLE,
    REASON_NO_ANSWER,
    REASON_FILE_TOO_LARGE,
    REASON_BAD_MANIFEST,
    REASON_NOT_YET,
    REASON_DUPLICATE_GUEST,
    REASON_NO_MODULE,
    REASON_BAD_MODULE,
    REASON_MODULE_UNFIT,
    REASON_CANNOT_SLEEP,
    REASON_IMAGE_DAMAGED,
    REASON_SNAPSHOT_DAMAGED,
    REASON_TRAPPED,
    REASON_CPU_LIMIT,
    REASON_TIME_LIMIT,
    REASON_HANDLER_FAILED,
    REASON_DISK_FULL,
    REASON_DISK_FAULT,
    ERR_REASONS
};

struct err {
    enum err_code code;
    enum err_reason reason;
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

/* Names the situation of an error that has none yet: by who knows it, where the error passes.
 * Always returns -1. err may be NULL. */
int err_blame(struct err *err, enum err_reason reason);

/* "denied", "not_found", ...: stable names for JSON and metrics. */
const char *err_code_name(enum err_code code);
/* "StateInUse", ...; of an error without a situation that of its code: "NotFound". */
const char *err_reason_of(const struct err *err);

/* So that compilers and the static analyser see at each call that it fails. */
static inline int err_always(int rc)
{
    (void)rc;
    return -1;
}
#define err_set(...)        err_always(err_set(__VA_ARGS__))
#define err_set_status(...) err_always(err_set_status(__VA_ARGS__))
#define err_wrap(...)       err_always(err_wrap(__VA_ARGS__))
#define err_blame(...)      err_always(err_blame(__VA_ARGS__))

/* The process exit status of a code; documented in docs/cli.md. */
int err_exit_status(enum err_code code);
/* The status of the admin API's answer. */
int err_http_status(enum err_code code);

/* What docs/errors.md says of a situation. */
struct err_reason_row {
    const char *name;
    enum err_code code; /* that of the error as a rule */
    const char *todo;   /* sentences, with the last full stop */
};
/* NULL for REASON_NONE and what is none. */
const struct err_reason_row *err_reason_row(enum err_reason reason);
/* The same of a code's own; NULL for ERR_NONE. */
const struct err_reason_row *err_code_row(enum err_code code);

#endif
