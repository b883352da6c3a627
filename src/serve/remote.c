#include "serve/remote.h"

#include "base/auto.h"
#include "base/file.h"
#include "base/limits.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- files --- */

/* The bytes may be a secret: they are not left in memory that is given back. */
static void wipe(struct buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->cap);
    buf_free(b);
}

/* A token is one line of printable ASCII without blanks. */
static int take_token(struct tls_token *token, const struct buf *text, const char *path,
                      struct err *err)
{
    size_t len = text->len;

    if (len && text->data[len - 1] == '\n')
        len--;
    if (len < ADMIN_TOKEN_MIN || len > ADMIN_TOKEN_MAX)
        return err_set(err, ERR_INVALID, 0,
                       "%s: a token of %zu characters, must be from %u to %u (make one: openssl "
                       "rand -hex 32)",
                       path, len, ADMIN_TOKEN_MIN, ADMIN_TOKEN_MAX);
    for (size_t i = 0; i < len; i++)
        if (text->data[i] <= ' ' || text->data[i] >= 0x7f)
            return err_set(err, ERR_INVALID, 0,
                           "%s: a token is one line without blanks, and byte %zu is something else",
                           path, i + 1);
    tls_token_of(token, (const char *)text->data, len);
    return 0;
}

static int load_token(struct tls_token *token, const char *path, struct err *err)
{
    struct buf text = {.max = ADMIN_TOKEN_MAX + 3};
    int rc = file_read(&text, path, err);

    if (rc == 0)
        rc = take_token(token, &text, path, err);
    wipe(&text);
    if (rc == 0)
        return 0;
    err_wrap(err, "admin.tokenFile");
    return err->code == ERR_INVALID ? err_blame(err, REASON_BAD_TOKEN) : -1;
}

static int load_context(struct tls_context **context, const struct daemon_opts *o, struct err *err)
{
    struct buf cert = {.max = ADMIN_PEM_BYTES_MAX + 1}, key = {.max = ADMIN_PEM_BYTES_MAX + 1};
    struct tls_options tls = {.alpn = "http/1.1"};
    int rc = file_read(&cert, o->admin.cert_file, err);

    if (rc < 0)
        err_wrap(err, "admin.certFile");
    else if ((rc = file_read(&key, o->admin.key_file, err)) < 0)
        err_wrap(err, "admin.keyFile");
    else if (!(tls.cert_pem = buf_cstr(&cert)) || !(tls.key_pem = buf_cstr(&key)))
        rc = err_set(err, ERR_NOMEM, 0, "no memory for a certificate");
    else if ((rc = tls_server_context_new(context, &tls, err)) < 0)
        err_wrap(err, "admin.certFile %s, admin.keyFile %s", o->admin.cert_file, o->admin.key_file);
    wipe(&cert);
    wipe(&key);
    return rc < 0 && err->code == ERR_INVALID ? err_blame(err, REASON_BAD_CERTIFICATE) : rc;
}

int remote_load(struct tls_context **context, struct tls_token *token, const struct daemon_opts *o,
                struct err *err)
{
    *context = NULL;
    if (!o->admin.listen)
        return 0;
    if (!http1_tls_address_ok(o->admin.listen))
        return err_set(err, ERR_INVALID, 0,
                       "admin.listen %s: must be ADDRESS:PORT, such as 127.0.0.1:8443 or "
                       "[::1]:8443; 0.0.0.0:8443 is every address",
                       o->admin.listen);
    return load_token(token, o->admin.token_file, err) < 0 ? -1 : load_context(context, o, err);
}

int remote_new(struct http1_tls **out, struct loop *loop, struct admin *admin,
               const struct daemon_opts *o, struct err *err)
{
    struct tls_context *context;
    struct tls_token token;

    *out = NULL;
    if (remote_load(&context, &token, o, err) < 0)
        return -1;
    if (!context)
        return 0;
    if (http1_tls_new(out, admin_server(admin), loop, o->admin.listen, context, &token, NULL, err) <
        0) {
        err_wrap(err, "admin.listen");
        return err->code == ERR_EXISTS ? err_blame(err, REASON_ADDRESS_IN_USE) : -1;
    }
    return 0;
}

/* --- the socket --- */

static int find_group(gid_t *out, const char *name, struct err *err)
{
    char room[16384], *end;
    struct group entry, *found = NULL;
    unsigned long number = strtoul(name, &end, 10);
    int rc;

    if (*end == 0 && *name >= '0' && *name <= '9' && number < UINT32_MAX) {
        *out = (gid_t)number;
        return 0;
    }
    rc = getgrnam_r(name, &entry, room, sizeof(room), &found);
    if (!found) {
        err_set(err, ERR_NOT_FOUND, rc,
                "admin.group %s: there is no such group (make one: groupadd --system %s)", name,
                name);
        return err_blame(err, REASON_NO_SUCH_GROUP);
    }
    *out = found->gr_gid;
    return 0;
}

int admin_socket_of(struct admin_socket *out, const struct daemon_opts *o, struct err *err)
{
    static const mode_t modes[] = {0, 0600, 0660};

    *out = (struct admin_socket){.mode = modes[o->admin.mode]};
    if (!out->mode)
        out->mode = o->admin.group ? 0660 : 0600;
    return o->admin.group ? find_group(&out->group, o->admin.group, err) : 0;
}
