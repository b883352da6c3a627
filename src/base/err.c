#include "base/err.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#undef err_set /* here are the functions themselves */
#undef err_set_status
#undef err_wrap
#undef err_blame

static const struct {
    const char *name;
    int exit_status, http_status;
} codes[ERR_CODES] = {
    [ERR_NONE] = {"ok", 0, 200},
    [ERR_USAGE] = {"usage", 2, 400},
    [ERR_INVALID] = {"invalid", 3, 422},
    [ERR_NOT_FOUND] = {"not_found", 4, 404},
    [ERR_EXISTS] = {"exists", 5, 409},
    [ERR_DENIED] = {"denied", 6, 403},
    [ERR_LIMIT] = {"limit", 7, 422},
    [ERR_NOMEM] = {"nomem", 8, 503},
    [ERR_IO] = {"io", 9, 507},
    [ERR_NET] = {"net", 10, 503},
    [ERR_TIMEOUT] = {"timeout", 11, 504},
    [ERR_AGAIN] = {"again", 12, 503},
    [ERR_GONE] = {"gone", 13, 410},
    [ERR_CORRUPT] = {"corrupt", 14, 500},
    [ERR_TRAP] = {"trap", 15, 500},
    [ERR_UNSUPPORTED] = {"unsupported", 16, 422},
};

static void err_fill(struct err *err, enum err_code code, int sys, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));

/* Through a copy: the arguments may be a part of the old message. */
static void err_fill(struct err *err, enum err_code code, int sys, const char *fmt, va_list ap)
{
    char msg[ERR_MSG_MAX];

    vsnprintf(msg, sizeof(msg), fmt, ap);
    text_clean(msg); /* a peer's bytes, or cut inside a character: JSON must take it */
    err->code = code;
    err->reason = REASON_NONE;
    err->sys = sys;
    memcpy(err->msg, msg, sizeof(msg));
}

int err_set(struct err *err, enum err_code code, int sys, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return -1;
    va_start(ap, fmt);
    err_fill(err, code, sys, fmt, ap);
    va_end(ap);
    if (sys) {
        char text[96];
        size_t used = strlen(err->msg);

        /* GNU strerror_r may return a constant instead of filling the buffer. */
        snprintf(err->msg + used, sizeof(err->msg) - used, ": %s",
                 strerror_r(sys, text, sizeof(text)));
    }
    return -1;
}

int err_set_status(struct err *err, enum err_code code, int status, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return -1;
    va_start(ap, fmt);
    err_fill(err, code, status, fmt, ap);
    va_end(ap);
    return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char msg[ERR_MSG_MAX];
    va_list ap;
    int used;

    if (!err)
        return -1;
    va_start(ap, fmt);
    used = vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    if (used >= 0 && (size_t)used < sizeof(msg))
        snprintf(msg + used, sizeof(msg) - (size_t)used, ": %s", err->msg);
    text_clean(msg);
    memcpy(err->msg, msg, sizeof(msg));
    return -1;
}

int err_blame(struct err *err, enum err_reason reason)
{
    if (err && err->reason == REASON_NONE)
        err->reason = reason;
    return -1;
}

const char *err_code_name(enum err_code code)
{
    return (unsigned)code < ERR_CODES ? codes[code].name : "unknown";
}

int err_exit_status(enum err_code code)
{
    return (unsigned)code < ERR_CODES ? codes[code].exit_status : 1;
}

int err_http_status(enum err_code code)
{
    return (unsigned)code < ERR_CODES ? codes[code].http_status : 500;
}
