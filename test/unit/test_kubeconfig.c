/* kubeconfig files: what is read, what is refused, and that no message holds a credential. */
#include "base/base64.h"
#include "base/limits.h"
#include "kube/kubeconfig.h"
#include "support/tmp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A kubeconfig with the given text in its cluster and in its user. */
static char *config_text(const char *cluster, const char *user)
{
    char *text = NULL;

    assert_true(asprintf(&text,
                         "apiVersion: v1\n"
                         "kind: Config\n"
                         "current-context: main\n"
                         "contexts:\n"
                         "- name: other\n"
                         "  context: {cluster: nowhere, user: me}\n"
                         "- name: main\n"
                         "  context: {cluster: here, user: me, namespace: prod}\n"
                         "clusters:\n"
                         "- name: here\n"
                         "  cluster: {%s}\n"
                         "users:\n"
                         "- name: me\n"
                         "  user: {%s}\n",
                         cluster, user) > 0);
    return text;
}

static int parse(struct kube_config **out, const char *cluster, const char *user, struct err *err)
{
    char *text = config_text(cluster, user);
    int rc = kube_config_parse(out, text, strlen(text), "dir/config", NULL, err);

    free(text);
    return rc;
}

#define SERVER "server: 'https://api.test:6443'"

static void test_all_that_is_inline(void **state)
{
    struct kube_config *c = NULL;
    struct err err = {0};

    (void)state;
    if (parse(&c,
              "server: 'https://[::1]:6443/base/', tls-server-name: api.test, "
              "certificate-authority-data: Q0EK",
              "client-certificate-data: Q0VSVAo=, client-key-data: S0VZCg==, token: abc.def-1",
              &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(c->context, "main");
    assert_string_equal(c->namespace, "prod");
    assert_string_equal(c->host, "::1");
    assert_int_equal(c->port, 6443);
    assert_string_equal(c->authority, "[::1]:6443");
    assert_string_equal(c->path_prefix, "/base");
    assert_string_equal(c->server_name, "api.test");
    assert_string_equal(c->ca_pem, "CA\n");
    assert_string_equal(c->cert_pem, "CERT\n");
    assert_string_equal(c->key_pem, "KEY\n");
    assert_string_equal(c->token, "abc.def-1");
    assert_false(c->insecure);
    kube_config_free(c);
}

static void test_the_least(void **state)
{
    struct kube_config *c = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(parse(&c, "server: 'https://api.test'", "", &err), 0);
    assert_int_equal(c->port, 443);
    assert_string_equal(c->authority, "api.test:443");
    assert_string_equal(c->path_prefix, "");
    assert_null(c->server_name);
    assert_null(c->ca_pem);
    assert_null(c->cert_pem);
    assert_null(c->token);
    assert_false(c->insecure);
    kube_config_free(c);
    assert_int_equal(parse(&c, SERVER ", insecure-skip-tls-verify: true", "token: x", &err), 0);
    assert_true(c->insecure);
    kube_config_free(c);
    kube_config_free(NULL);
}

static void test_json_is_read_too(void **state)
{
    static const char text[] =
        "{\"current-context\":\"c\",\"contexts\":[{\"name\":\"c\",\"context\":{\"cluster\":\"k\","
        "\"user\":\"u\"}}],\"clusters\":[{\"name\":\"k\",\"cluster\":{\"server\":"
        "\"https://localhost:1\"}}],\"users\":[{\"name\":\"u\",\"user\":{\"token\":\"t\"}}]}";
    struct kube_config *c = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(kube_config_parse(&c, text, sizeof(text) - 1, "c.json", NULL, &err), 0);
    assert_string_equal(c->authority, "localhost:1");
    assert_null(c->namespace);
    kube_config_free(c);
}

/* What is wrong, and what the message must say; line numbers are those of config_text. */
static const struct {
    const char *cluster, *user;
    enum err_code code;
    const char *text;
} bad[] = {
    {"server: 'http://api.test'", "", ERR_UNSUPPORTED, "dir/config:11:"},
    {"server: 'http://api.test'", "", ERR_UNSUPPORTED, "must be an https:// address"},
    {"", "", ERR_INVALID, "the cluster has no server"},
    {"server: [a]", "", ERR_INVALID, "server must be text, not a list"},
    {"server: 'https://'", "", ERR_INVALID, "names no host"},
    {"server: 'https://:1'", "", ERR_INVALID, "names no host"},
    {"server: 'https://a:0'", "", ERR_INVALID, "port"},
    {"server: 'https://a:'", "", ERR_INVALID, "port"},
    {"server: 'https://a:65536'", "", ERR_INVALID, "port"},
    {"server: 'https://a:99999999999999999999'", "", ERR_INVALID, "port"},
    {"server: 'https://a:1x'", "", ERR_INVALID, "port"},
    {"server: 'https://[::1'", "", ERR_INVALID, "no ]"},
    {"server: 'https://[::1]x'", "", ERR_INVALID, "text behind"},
    {"server: 'https://me@a'", "", ERR_INVALID, "must not name a user"},
    {"server: 'https://a/?x'", "", ERR_INVALID, "query"},
    {"server: \"https://a\\r\\nX: y\"", "", ERR_INVALID, "character"},
    {"server: 'https://a b'", "", ERR_INVALID, "character"},
    {SERVER ", proxy-url: 'http://p'", "", ERR_UNSUPPORTED, "cluster: proxy-url is not supported"},
    {SERVER ", certificate-authority-data: '!'", "", ERR_INVALID,
     "certificate-authority-data: base64"},
    {SERVER ", certificate-authority-data: AAAA", "", ERR_INVALID, "NUL"},
    {SERVER ", certificate-authority: no-such.pem", "", ERR_NOT_FOUND,
     "dir/config:11:69: certificate-authority: dir/no-such.pem: No such file"},
    {SERVER ", insecure-skip-tls-verify: maybe", "", ERR_INVALID, "true or false"},
    {SERVER ", insecure-skip-tls-verify: true, certificate-authority-data: Q0EK", "", ERR_INVALID,
     "exclude each other"},
    {SERVER, "exec: {command: aws}", ERR_UNSUPPORTED,
     "dir/config:14:16: user: exec is not supported: use a client certificate"},
    {SERVER, "auth-provider: {name: gcp}", ERR_UNSUPPORTED, "auth-provider"},
    {SERVER, "username: a", ERR_UNSUPPORTED, "username"},
    {SERVER, "password: secret", ERR_UNSUPPORTED, "password"},
    {SERVER, "as: root", ERR_UNSUPPORTED, "as is not supported: name a user that is not"},
    {SERVER, "as-groups: [a]", ERR_UNSUPPORTED, "as-groups"},
    {SERVER, "client-certificate-data: Q0VSVAo=", ERR_INVALID, "without a client-key"},
    {SERVER, "client-key-data: c2VjcmV0", ERR_INVALID, "without a client-certificate"},
    {SERVER, "token: 'secret secret'", ERR_INVALID, "holds a character that no token has"},
    {SERVER, "token: \"secret\\nsecret\"", ERR_INVALID, "holds a character that no token has"},
    {SERVER, "tokenFile: no-such", ERR_NOT_FOUND, "tokenFile: dir/no-such"},
    {SERVER ", server: 'https://b'", "", ERR_INVALID, "dir/config:11:"},
};

static void test_what_is_wrong_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct kube_config *c = NULL;
        struct err err = {0};

        if (parse(&c, bad[i].cluster, bad[i].user, &err) == 0)
            fail_msg("{%s} {%s} was accepted", bad[i].cluster, bad[i].user);
        assert_null(c);
        if (err.code != bad[i].code || !strstr(err.msg, bad[i].text))
            fail_msg("{%s} {%s}: %s: \"%s\" lacks \"%s\"", bad[i].cluster, bad[i].user,
                     err_code_name(err.code), err.msg, bad[i].text);
        assert_null(strstr(err.msg, "secret"));
        assert_null(strstr(err.msg, "c2VjcmV0"));
    }
}

static void test_contexts(void **state)
{
    char *text = config_text(SERVER, "token: x");
    struct kube_config *c = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(kube_config_parse(&c, text, strlen(text), "f", "other", &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "no cluster is called \"nowhere\""));
    assert_int_equal(kube_config_parse(&c, text, strlen(text), "f", "third", &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "no context is called \"third\""));
    free(text);
    assert_int_equal(kube_config_parse(&c, "contexts: []\n", 13, "f", NULL, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "no current-context"));
    assert_int_equal(kube_config_parse(&c, "", 0, "f", NULL, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(kube_config_parse(&c, "a: b\n---\na: b\n", 14, "f", NULL, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
}

/* --- files --- */

static void put(struct tmp_dir *d, const char *name, const char *text, size_t len)
{
    FILE *f = fopen(tmp_file(d, name), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void put_config(struct tmp_dir *d, const char *cluster, const char *user)
{
    char *text = config_text(cluster, user);

    put(d, "config", text, strlen(text));
    free(text);
}

static void test_files_beside_the_kubeconfig(void **state)
{
    struct kube_config *c = NULL;
    struct err err = {0};
    struct tmp_dir d;

    (void)state;
    assert_int_equal(tmp_dir_make(&d), 0);
    put(&d, "ca.pem", "CA\n", 3);
    put(&d, "cert.pem", "CERT\n", 5);
    put(&d, "key.pem", "KEY\n", 4);
    put(&d, "token", " from-file\n", 11);
    put_config(&d, SERVER ", certificate-authority: ca.pem",
               "client-certificate: ./cert.pem, client-key: key.pem, token: x, tokenFile: token");
    if (kube_config_load(&c, tmp_file(&d, "config"), NULL, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(c->ca_pem, "CA\n");
    assert_string_equal(c->cert_pem, "CERT\n");
    assert_string_equal(c->key_pem, "KEY\n");
    assert_string_equal(c->token, "from-file");
    kube_config_free(c);
    put(&d, "token", "\n", 1);
    assert_int_equal(kube_config_load(&c, tmp_file(&d, "config"), NULL, &err), -1);
    assert_non_null(strstr(err.msg, "the token is empty"));
    tmp_dir_remove(&d);
}

static void test_where_the_file_is_looked_for(void **state)
{
    struct kube_config *c = NULL;
    struct err err = {0};
    struct tmp_dir d;

    (void)state;
    assert_int_equal(tmp_dir_make(&d), 0);
    put_config(&d, SERVER, "");
    setenv("KUBECONFIG", tmp_file(&d, "config"), 1);
    assert_int_equal(kube_config_load(&c, NULL, NULL, &err), 0);
    kube_config_free(c);
    setenv("KUBECONFIG", "/a:/b", 1);
    assert_int_equal(kube_config_load(&c, NULL, NULL, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    unsetenv("KUBECONFIG");
    setenv("HOME", d.path, 1);
    assert_int_equal(kube_config_load(&c, NULL, NULL, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/.kube/config: No such file"));
    unsetenv("HOME");
    assert_int_equal(kube_config_load(&c, NULL, NULL, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    tmp_dir_remove(&d);
}

static void test_a_file_that_is_too_large(void **state)
{
    char *big = malloc(KUBECONFIG_BYTES_MAX);
    struct kube_config *c = NULL;
    struct err err = {0};
    struct tmp_dir d;

    (void)state;
    assert_non_null(big);
    memset(big, '#', KUBECONFIG_BYTES_MAX);
    assert_int_equal(tmp_dir_make(&d), 0);
    put(&d, "config", big, KUBECONFIG_BYTES_MAX);
    assert_int_equal(kube_config_load(&c, tmp_file(&d, "config"), NULL, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    put(&d, "config", big, KUBECONFIG_BYTES_MAX - 1); /* fits, and says nothing */
    assert_int_equal(kube_config_load(&c, tmp_file(&d, "config"), NULL, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    tmp_dir_remove(&d);
    free(big);
}

/* --- base64 --- */

static void test_base64(void **state)
{
    static const struct {
        const char *in, *out; /* out NULL: refused */
    } cases[] = {
        {"", ""},
        {"Zg==", "f"},
        {"Zm8=", "fo"},
        {"Zm9v", "foo"},
        {"Zm9vYg==", "foob"},
        {"Zm9vYmE=", "fooba"},
        {"Zm9v\nYmFy\r\n", "foobar"},
        {"+/+/", "\xfb\xff\xbf"},
        {"Zg=\n=\n", "f"},
        {"Z", NULL},
        {"Zg", NULL},
        {"Zg=", NULL},
        {"Zm8", NULL},
        {"Zh==", NULL},
        {"Zm9=", NULL},
        {"Zg==Zg==", NULL},
        {"Zm9v=", NULL},
        {"=", NULL},
        {"====", NULL},
        {"Zm9v Zm9v", NULL},
        {"Zm-_", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_BUF struct buf b = {0};
        struct err err = {0};
        int rc = base64_decode(&b, cases[i].in, &err);

        if ((rc == 0) != (cases[i].out != NULL))
            fail_msg("\"%s\": %s", cases[i].in, rc == 0 ? "accepted" : err.msg);
        assert_int_equal(b.len, cases[i].out ? strlen(cases[i].out) : 0);
        if (b.len)
            assert_memory_equal(b.data, cases[i].out, b.len);
        if (rc < 0)
            assert_int_equal(err.code, ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_that_is_inline),
        cmocka_unit_test(test_the_least),
        cmocka_unit_test(test_json_is_read_too),
        cmocka_unit_test(test_what_is_wrong_is_named),
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_files_beside_the_kubeconfig),
        cmocka_unit_test(test_where_the_file_is_looked_for),
        cmocka_unit_test(test_a_file_that_is_too_large),
        cmocka_unit_test(test_base64),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
