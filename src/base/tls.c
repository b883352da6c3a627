#include "base/tls.h"

#include <arpa/inet.h>
#include <assert.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct tls_context {
    SSL_CTX *ssl;
    char alpn[32];
    bool any_server, server;
};

struct tls {
    SSL *ssl;
    const uint8_t *in;
    size_t in_len;
    struct buf *out;
    bool full;   /* out could not take more */
    bool server; /* the peer began it */
    char alpn[32];
    char name[256];
};

/* --- the BIO between OpenSSL and our two buffers --- */

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls *t = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return -1;
    t->full = buf_append(t->out, data, (size_t)len, NULL) < 0;
    return t->full ? -1 : len;
}

static int bio_read(BIO *bio, char *data, int len)
{
    struct tls *t = BIO_get_data(bio);
    size_t n = len > 0 ? (size_t)len : 0;

    BIO_clear_retry_flags(bio);
    if (t->in_len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (n > t->in_len)
        n = t->in_len;
    memcpy(data, t->in, n);
    t->in += n;
    t->in_len -= n;
    return (int)n;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

/* One for the process, for good: sessions outlive the context that they were made of. */
static BIO_METHOD *method;

static void method_make(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "roost");

    if (m && BIO_meth_set_write(m, bio_write) && BIO_meth_set_read(m, bio_read) &&
        BIO_meth_set_ctrl(m, bio_ctrl))
        method = m;
    else
        BIO_meth_free(m);
}

static BIO_METHOD *method_get(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, method_make);
    return method;
}

/* --- errors: the one place that knows OpenSSL's --- */

/* Alerts by which a server says that it does not accept who we are. */
static bool alert_is_denial(int alert)
{
    switch (alert) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

static int verify_error(const struct tls *t, long result, struct err *err)
{
    const char *why = X509_verify_cert_error_string(result);

    switch (result) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return err_set(err, ERR_DENIED, 0, "the server's certificate is not for \"%s\"", t->name);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return err_set(err, ERR_DENIED, 0,
                       "the server's certificate is not signed by the expected authority (%s)",
                       why);
    default:
        return err_set(err, ERR_DENIED, 0, "the server's certificate is not valid: %s", why);
    }
}

/* Sets err from OpenSSL's queue, which is emptied. */
static int ssl_error(struct tls *t, const char *doing, struct err *err)
{
    unsigned long e = ERR_peek_last_error(); /* TLS's own; what it came from is before it */
    int reason = ERR_GET_REASON(e);
    const char *text = ERR_reason_error_string(e);

    ERR_clear_error();
    if (t->full)
        return err_set(err, ERR_LIMIT, 0, "TLS: %zu bytes wait to be sent, limit %zu", t->out->len,
                       t->out->max);
    if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        verify_error(t, SSL_get_verify_result(t->ssl), err);
        return err_blame(err, REASON_SERVER_UNTRUSTED);
    }
    if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET && reason < 1256) {
        bool denied = alert_is_denial(reason - SSL_AD_REASON_OFFSET);

        return err_set(err, denied ? ERR_DENIED : ERR_NET, 0, "%s: the %s answered: %s", doing,
                       t->server ? "client" : "server", text ? text : "an alert");
    }
    return err_set(err, ERR_NET, 0, "%s: %s", doing, text ? text : "unknown failure");
}

/* --- the context --- */

static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return 0; /* instead of asking on the terminal */
}

/* Calls take(c, cert) for each certificate of the text; take owns it and tells success. */
static int each_cert(SSL_CTX *ctx, const char *pem, int (*take)(SSL_CTX *ctx, X509 *cert, int i),
                     const char *what, struct err *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert;
    int n = 0, ok = bio != NULL;

    while (ok && (cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL)
        ok = take(ctx, cert, n++);
    BIO_free(bio);
    if (!ok || n == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        ERR_clear_error();
        return err_set(err, ERR_INVALID, 0, "%s: no certificates in PEM, or a damaged one", what);
    }
    ERR_clear_error();
    return 0;
}

static int take_ca(SSL_CTX *ctx, X509 *cert, int i)
{
    int ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert);

    (void)i;
    X509_free(cert);
    return ok;
}

static int take_own(SSL_CTX *ctx, X509 *cert, int i)
{
    int ok = i == 0 ? SSL_CTX_use_certificate(ctx, cert) : (int)SSL_CTX_add1_chain_cert(ctx, cert);

    X509_free(cert);
    return ok;
}

static int load_identity(SSL_CTX *ctx, const struct tls_options *o, bool server, struct err *err)
{
    const char *whose = server ? "" : "client ";
    BIO *bio;
    EVP_PKEY *key;
    int ok;

    if (each_cert(ctx, o->cert_pem, take_own, server ? "certificate" : "client certificate", err) <
        0)
        return -1;
    bio = BIO_new_mem_buf(o->key_pem, -1);
    key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    if (!key)
        return err_set(err, ERR_INVALID, 0, "%skey: no unencrypted private key in PEM", whose);
    ok = SSL_CTX_use_PrivateKey(ctx, key) && SSL_CTX_check_private_key(ctx);
    EVP_PKEY_free(key);
    ERR_clear_error();
    if (!ok)
        return err_set(err, ERR_INVALID, 0, "%skey: it does not belong to the certificate", whose);
    return 0;
}

static int load_trust(SSL_CTX *ctx, const struct tls_options *o, struct err *err)
{
    /* A trusted certificate is trusted also where it is no root, as Go's clients have it. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    if (o->accept_any_server_unsafe) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
        return 0;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (o->ca_pem)
        return each_cert(ctx, o->ca_pem, take_ca, "certificate authority", err);
    if (!SSL_CTX_set_default_verify_paths(ctx)) {
        ERR_clear_error();
        return err_set(err, ERR_IO, 0, "the system's certificate authorities cannot be read");
    }
    return 0;
}

static int set_alpn(struct tls_context *c, const char *alpn)
{
    unsigned char wire[sizeof(c->alpn) + 1];
    size_t len = strlen(alpn);

    assert(len > 0 && len < sizeof(c->alpn));
    memcpy(c->alpn, alpn, len + 1);
    wire[0] = (unsigned char)len;
    memcpy(wire + 1, alpn, len);
    return SSL_CTX_set_alpn_protos(c->ssl, wire, (unsigned)len + 1) == 0 ? 0 : -1;
}

/* Small and strict: no buffers while idle, no session cache, nothing older than TLS 1.2. */
static int ssl_ctx_new(struct tls_context *c, const struct tls_options *o, struct err *err)
{
    /* The daemon does not depend on the machine's openssl.cnf. */
    OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    c->ssl = SSL_CTX_new(TLS_client_method());
    if (!c->ssl || !method_get() || !SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION) ||
        set_alpn(c, o->alpn) < 0)
        return err_set(err, ERR_NOMEM, 0, "no memory for TLS");
    SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(c->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_quiet_shutdown(c->ssl, 1);
    c->any_server = o->accept_any_server_unsafe;
    return 0;
}

int tls_context_new(struct tls_context **out, const struct tls_options *o, struct err *err)
{
    struct tls_context *c = calloc(1, sizeof(*c));

    if (!c)
        return err_set(err, ERR_NOMEM, 0, "no memory for TLS");
    assert(!o->cert_pem == !o->key_pem);
    if (ssl_ctx_new(c, o, err) < 0 || load_trust(c->ssl, o, err) < 0 ||
        (o->cert_pem && load_identity(c->ssl, o, false, err) < 0)) {
        tls_context_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

/* What a client may ask for over TLS: ours, or it does not ask. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned len, void *arg)
{
    const struct tls *c = BIO_get_data(SSL_get_rbio(ssl)); /* the context may be gone */

    (void)arg;
    for (unsigned i = 0; i + 1 <= len && i + 1 + in[i] <= len; i += 1u + in[i]) {
        if (in[i] != strlen(c->alpn) || memcmp(in + i + 1, c->alpn, in[i]) != 0)
            continue;
        *out = in + i + 1;
        *out_len = in[i];
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int server_ctx_new(struct tls_context *c, const char *alpn, struct err *err)
{
    OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    c->ssl = SSL_CTX_new(TLS_server_method());
    if (!c->ssl || !method_get() || !SSL_CTX_set_min_proto_version(c->ssl, TLS1_3_VERSION) ||
        !SSL_CTX_set_num_tickets(c->ssl, 0))
        return err_set(err, ERR_NOMEM, 0, "no memory for TLS");
    assert(strlen(alpn) < sizeof(c->alpn));
    memcpy(c->alpn, alpn, strlen(alpn) + 1);
    SSL_CTX_set_alpn_select_cb(c->ssl, choose_alpn, NULL);
    SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(c->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_early_data(c->ssl, 0);
    return 0;
}

int tls_server_context_new(struct tls_context **out, const struct tls_options *o, struct err *err)
{
    struct tls_context *c = calloc(1, sizeof(*c));

    if (!c)
        return err_set(err, ERR_NOMEM, 0, "no memory for TLS");
    assert(o->cert_pem && o->key_pem && o->alpn);
    c->server = true;
    if (server_ctx_new(c, o->alpn, err) < 0 || load_identity(c->ssl, o, true, err) < 0) {
        tls_context_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

void tls_context_free(struct tls_context *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ssl);
    free(c);
}

/* --- a session --- */

static bool is_address(const char *name)
{
    unsigned char raw[16];

    return inet_pton(AF_INET, name, raw) == 1 || inet_pton(AF_INET6, name, raw) == 1;
}

/* Whom the certificate must be for; an address is not sent as SNI (RFC 6066). */
static int expect_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    if (is_address(name))
        return X509_VERIFY_PARAM_set1_ip_asc(param, name);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return X509_VERIFY_PARAM_set1_host(param, name, 0) && SSL_set_tlsext_host_name(ssl, name);
}

static int session_start(struct tls *t, struct tls_context *c)
{
    BIO *bio;

    t->ssl = SSL_new(c->ssl);
    bio = t->ssl ? BIO_new(method_get()) : NULL;
    if (!bio)
        return -1;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio); /* takes it */
    if (c->server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    return 0;
}

int tls_new(struct tls **out_tls, struct tls_context *c, const char *name, struct buf *out,
            struct err *err)
{
    struct tls *t;

    if (strlen(name) >= sizeof(t->name))
        return err_set(err, ERR_INVALID, 0, "a server's name has at most %zu bytes",
                       sizeof(t->name) - 1);
    t = calloc(1, sizeof(*t));
    if (!t)
        return err_set(err, ERR_NOMEM, 0, "no memory for a TLS session");
    t->out = out;
    memcpy(t->alpn, c->alpn, sizeof(t->alpn));
    memcpy(t->name, name, strlen(name) + 1);
    if (session_start(t, c) < 0 || !expect_name(t->ssl, name)) {
        ERR_clear_error();
        tls_free(t);
        return err_set(err, ERR_NOMEM, 0, "TLS session for \"%s\" cannot be set up", name);
    }
    *out_tls = t;
    return 0;
}

int tls_accept(struct tls **out_tls, struct tls_context *c, struct buf *out, struct err *err)
{
    struct tls *t = calloc(1, sizeof(*t));

    if (!t)
        return err_set(err, ERR_NOMEM, 0, "no memory for a TLS session");
    assert(c->server);
    t->out = out;
    t->server = true;
    memcpy(t->alpn, c->alpn, sizeof(t->alpn));
    if (session_start(t, c) < 0) {
        ERR_clear_error();
        tls_free(t);
        return err_set(err, ERR_NOMEM, 0, "no memory for a TLS session");
    }
    *out_tls = t;
    return 0;
}

void tls_end(struct tls *t)
{
    (void)SSL_shutdown(t->ssl); /* one alert, into the owner's buffer */
    ERR_clear_error();
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    free(t);
}

void tls_input(struct tls *t, const uint8_t *data, size_t len)
{
    assert(t->in_len == 0);
    t->in = data;
    t->in_len = len;
}

static int check_alpn(struct tls *t, struct err *err)
{
    const unsigned char *got = NULL;
    unsigned len = 0;

    SSL_get0_alpn_selected(t->ssl, &got, &len);
    if (len == strlen(t->alpn) && memcmp(got, t->alpn, len) == 0)
        return 1;
    return err_set(err, ERR_UNSUPPORTED, 0, "the server does not speak %s over TLS", t->alpn);
}

int tls_handshake(struct tls *t, struct err *err)
{
    int rc;

    ERR_clear_error();
    rc = SSL_do_handshake(t->ssl);
    if (rc == 1)
        return t->server ? 1 : check_alpn(t, err);
    if (SSL_get_error(t->ssl, rc) == SSL_ERROR_WANT_READ)
        return 0;
    return ssl_error(t, "TLS handshake", err);
}

ssize_t tls_read(struct tls *t, void *out, size_t cap, bool *end, struct err *err)
{
    int rc, why;

    *end = false;
    ERR_clear_error();
    rc = SSL_read(t->ssl, out, cap > INT_MAX ? INT_MAX : (int)cap);
    if (rc > 0)
        return rc;
    why = SSL_get_error(t->ssl, rc);
    if (why == SSL_ERROR_WANT_READ)
        return 0;
    if (why == SSL_ERROR_ZERO_RETURN) {
        *end = true;
        t->in_len = 0; /* nothing counts behind the end */
        return 0;
    }
    return ssl_error(t, "TLS", err);
}

int tls_write(struct tls *t, const void *data, size_t len, struct err *err)
{
    int rc;

    if (len == 0)
        return 0;
    if (len > INT_MAX)
        return err_set(err, ERR_LIMIT, 0, "TLS: %zu bytes at once", len);
    ERR_clear_error();
    rc = SSL_write(t->ssl, data, (int)len);
    return rc == (int)len ? 0 : ssl_error(t, "TLS", err);
}
