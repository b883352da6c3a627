#include "support/pki.h"

#include <assert.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct pair {
    EVP_PKEY *key;
    X509 *cert;
};

static char *bio_text(BIO *bio)
{
    char *data = NULL, *text;
    long n = BIO_get_mem_data(bio, &data);

    text = strndup(data, (size_t)n);
    assert(text);
    BIO_free(bio);
    return text;
}

static char *cert_pem(X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());

    assert(PEM_write_bio_X509(bio, cert));
    return bio_text(bio);
}

static char *key_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());

    assert(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
    return bio_text(bio);
}

static void extend(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    assert(ext && X509_add_ext(cert, ext, -1));
    X509_EXTENSION_free(ext);
}

static void name_it(X509 *cert, const char *common_name)
{
    X509_NAME *name = X509_get_subject_name(cert);

    assert(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name,
                                      -1, -1, 0));
}

/* issuer NULL: signs itself. */
static struct pair issue(const char *name, const char *alt_names, const struct pair *issuer)
{
    static long serial;
    struct pair p = {.key = EVP_EC_gen("P-256"), .cert = X509_new()};

    assert(p.key && p.cert && X509_set_version(p.cert, 2));
    ASN1_INTEGER_set(X509_get_serialNumber(p.cert), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(p.cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(p.cert), 3600);
    X509_set_pubkey(p.cert, p.key);
    name_it(p.cert, name);
    X509_set_issuer_name(p.cert, X509_get_subject_name(issuer ? issuer->cert : p.cert));
    if (!issuer)
        extend(p.cert, NID_basic_constraints, "critical,CA:TRUE");
    if (alt_names)
        extend(p.cert, NID_subject_alt_name, alt_names);
    assert(X509_sign(p.cert, issuer ? issuer->key : p.key, EVP_sha256()));
    return p;
}

static void pair_free(struct pair *p)
{
    EVP_PKEY_free(p->key);
    X509_free(p->cert);
}

void test_pki_new(struct test_pki *pki)
{
    struct pair ca = issue("test authority", NULL, NULL);
    struct pair server = issue("server", "DNS:localhost,DNS:roost.test,IP:127.0.0.1", &ca);
    struct pair client = issue("tester", NULL, &ca);

    pki->ca = cert_pem(ca.cert);
    pki->server_cert = cert_pem(server.cert);
    pki->server_key = key_pem(server.key);
    pki->client_cert = cert_pem(client.cert);
    pki->client_key = key_pem(client.key);
    pair_free(&ca);
    pair_free(&server);
    pair_free(&client);
}

void test_pki_free(struct test_pki *pki)
{
    free(pki->ca);
    free(pki->server_cert);
    free(pki->server_key);
    free(pki->client_cert);
    free(pki->client_key);
}
