/* Certificates for tests, made when they run: an authority, a server's for localhost, 127.0.0.1 and
 * roost.test, and a client's called "tester". ECDSA P-256. Assert-fails where something goes wrong.
 */
#ifndef TEST_SUPPORT_PKI_H
#define TEST_SUPPORT_PKI_H

struct test_pki {
    char *ca, *server_cert, *server_key, *client_cert, *client_key; /* PEM */
};

void test_pki_new(struct test_pki *pki);
void test_pki_free(struct test_pki *pki);

#endif
