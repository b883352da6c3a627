/* The admin API over TCP, as the options have it: certificate, key and token come from files, which
 * a reload reads again. Loop thread; reading may block for as long as a small file takes. */
#ifndef ROOST_SERVE_REMOTE_H
#define ROOST_SERVE_REMOTE_H

#include "base/http1_tls.h"
#include "serve/admin.h"
#include "serve/options.h"

/* What the files hold. *context is NULL where there is no admin.listen. Errors name the option and
 * the file. ERR_INVALID: no PEM, a key of another certificate, a token that is none, an address
 * that is none; ERR_LIMIT: too large; and those of file_read. */
int remote_load(struct tls_context **context, struct tls_token *token, const struct daemon_opts *o,
                struct err *err) ERR_CHECK;
/* *out is NULL where there is no admin.listen. Errors are those of remote_load and http1_tls_new.
 */
int remote_new(struct http1_tls **out, struct loop *loop, struct admin *admin,
               const struct daemon_opts *o, struct err *err) ERR_CHECK;
/* Mode and group of the admin socket. ERR_NOT_FOUND: there is no such group. */
int admin_socket_of(struct admin_socket *out, const struct daemon_opts *o, struct err *err)
    ERR_CHECK;

#endif
