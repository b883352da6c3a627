#include "base/tls.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

/* Of a digest, so that neither length nor first difference of the secret show in the time. */
void tls_token_of(struct tls_token *out, const char *secret, size_t len)
{
    SHA256((const unsigned char *)secret, len, out->digest);
}

bool tls_token_is(const struct tls_token *t, const char *text, size_t len)
{
    struct tls_token other;

    tls_token_of(&other, text, len);
    return CRYPTO_memcmp(t->digest, other.digest, sizeof(other.digest)) == 0;
}
