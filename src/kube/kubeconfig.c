#include "kube/kubeconfig.h"

#include "base/auto.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/yaml.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What loading works on. */
struct load {
    const struct yaml_doc *doc;
    const char *file;
    const struct yaml_node *root;
    struct kube_config *config;
    struct err *err;
};

/* Fields that would change whom or what we connect to, and that this version does not do. */
struct refusal {
    const char *field, *instead;
};

static const struct refusal cluster_refusals[] = {
    {"proxy-url", "connect without a proxy"},
};

static const struct refusal user_refusals[] = {
    {"exec", "use a client certificate, a token or a tokenFile"},
    {"auth-provider", "use a client certificate, a token or a tokenFile"},
    {"username", "use a client certificate, a token or a tokenFile"},
    {"password", "use a client certificate, a token or a tokenFile"},
    {"as", "name a user that is not impersonated"},
    {"as-uid", "name a user that is not impersonated"},
    {"as-groups", "name a user that is not impersonated"},
    {"as-user-extra", "name a user that is not impersonated"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- small things --- */

static void wipe_free(char *text)
{
    if (!text)
        return;
    explicit_bzero(text, strlen(text));
    free(text);
}

static void secret_buf_free(struct buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->len);
    buf_free(b);
}

static int nomem(struct err *err)
{
    return err_set(err, ERR_NOMEM, 0, "no memory for the kubeconfig");
}

static int copy(char **out, const char *text, struct err *err)
{
    *out = strdup(text);
    return *out ? 0 : nomem(err);
}

/* Text of a field, NULL where it is absent, null or empty. ERR_INVALID: it is no text. */
static int text_of(const struct load *l, const struct yaml_node *map, const char *field,
                   const char **out)
{
    const struct yaml_node *n = yaml_get(map, field);
    const char *text = yaml_scalar(n);

    *out = NULL;
    if (!yaml_is_null(n) && !text)
        return yaml_err(l->err, l->doc, n, ERR_INVALID, "%s must be text, not %s", field,
                        yaml_type_name(n));
    if (text && *text && !yaml_is_null(n))
        *out = text;
    return 0;
}

static int bool_of(const struct load *l, const struct yaml_node *map, const char *field, bool *out)
{
    const struct yaml_node *n = yaml_get(map, field);
    const char *text = yaml_scalar(n);

    *out = false;
    if (yaml_is_null(n))
        return 0;
    if (!text || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0))
        return yaml_err(l->err, l->doc, n, ERR_INVALID, "%s must be true or false", field);
    *out = *text == 't';
    return 0;
}

static int refuse(const struct load *l, const struct yaml_node *map, const char *what,
                  const struct refusal *refusals, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct yaml_node *node = yaml_get(map, refusals[i].field);
        const char *text = yaml_scalar(node);

        if (!yaml_is_null(node) && !(text && !*text))
            return yaml_err(l->err, l->doc, node, ERR_UNSUPPORTED, "%s: %s is not supported: %s",
                            what, refusals[i].field, refusals[i].instead);
    }
    return 0;
}

/* The mapping `key` of the entry called name in a list of {name, key} entries. */
static int find(const struct load *l, const char *list, const char *key, const char *name,
                const struct yaml_node **out)
{
    const struct yaml_node *entries = yaml_get(l->root, list);

    for (size_t i = 0; i < yaml_len(entries); i++) {
        const struct yaml_node *e = yaml_at(entries, i);
        const char *its = yaml_scalar(yaml_get(e, "name"));

        if (!its || strcmp(its, name) != 0)
            continue;
        *out = yaml_get(e, key);
        if (yaml_type(*out) != YAMLN_MAPPING)
            return yaml_err(l->err, l->doc, e, ERR_INVALID, "%s \"%s\" has no %s", key, name, key);
        return 0;
    }
    return yaml_err(l->err, l->doc, entries ? entries : l->root, ERR_NOT_FOUND,
                    "no %s is called \"%s\"", key, name);
}

/* --- files --- */

/* name, relative to the kubeconfig's own folder. */
static char *beside(const char *file, const char *name)
{
    const char *slash = strrchr(file, '/');
    char *path = NULL;

    if (name[0] == '/' || !slash)
        return strdup(name);
    if (asprintf(&path, "%.*s/%s", (int)(slash - file), file, name) < 0)
        return NULL;
    return path;
}

/* Bytes as text; a NUL in them would hide what follows it. */
static int text_of_bytes(char **out, struct buf *bytes, struct err *err)
{
    if (bytes->len && memchr(bytes->data, 0, bytes->len))
        return err_set(err, ERR_INVALID, 0, "it holds a NUL byte");
    *out = strndup(bytes->data ? (const char *)bytes->data : "", bytes->len);
    return *out ? 0 : nomem(err);
}

/* name: what the node says. */
static int load_file(const struct load *l, const struct yaml_node *node, const char *field,
                     const char *name, char **out)
{
    AUTO_FREE char *path = beside(l->file, name);
    struct buf bytes = {.max = KUBECONFIG_BYTES_MAX};
    struct err why = {0};
    int rc;

    if (!path)
        return nomem(l->err);
    rc = file_read(&bytes, path, &why) < 0 || text_of_bytes(out, &bytes, &why) < 0 ? -1 : 0;
    secret_buf_free(&bytes);
    if (rc == 0)
        return 0;
    yaml_err(l->err, l->doc, node, why.code, "%s: %s", field, why.msg);
    l->err->sys = why.sys;
    return -1;
}

static int load_data(const struct load *l, const struct yaml_node *node, const char *field,
                     const char *data, char **out)
{
    struct buf bytes = {.max = KUBECONFIG_BYTES_MAX};
    struct err why = {0};
    int rc = base64_decode(&bytes, data, &why) < 0 || text_of_bytes(out, &bytes, &why) < 0 ? -1 : 0;

    secret_buf_free(&bytes);
    return rc == 0 ? 0 : yaml_err(l->err, l->doc, node, why.code, "%s: %s", field, why.msg);
}

/* FIELD-data, in base64, goes before FIELD, a file's name. *out stays NULL where neither is set. */
static int load_pem(const struct load *l, const struct yaml_node *map, const char *field,
                    char **out)
{
    const char *data, *name;
    char data_field[64];

    snprintf(data_field, sizeof(data_field), "%s-data", field);
    if (text_of(l, map, data_field, &data) < 0 || text_of(l, map, field, &name) < 0)
        return -1;
    if (data)
        return load_data(l, yaml_get(map, data_field), data_field, data, out);
    return name ? load_file(l, yaml_get(map, field), field, name, out) : 0;
}

/* --- the server's URL --- */

/* Splits "host:port", "[v6]:port" and the same without port, in place. */
static const char *split_host(char *text, char **host, const char **port)
{
    char *end = text;

    *port = NULL;
    if (*text == '[') {
        end = strchr(text, ']');
        if (!end)
            return "has no ] behind its address";
        *end++ = 0;
        text++;
    } else {
        end += strcspn(text, ":");
    }
    if (*end == ':')
        *port = end + 1;
    else if (*end)
        return "has text behind its address";
    *end = 0;
    *host = text;
    return *text ? NULL : "names no host";
}

static const char *parse_port(const char *text, uint16_t *port)
{
    unsigned n = 0;

    *port = 443;
    if (!text)
        return NULL;
    for (const char *p = text; *p; p++) {
        if (!isdigit((unsigned char)*p) || n > 6553)
            return "has a port that is none";
        n = n * 10 + (unsigned)(*p - '0');
    }
    if (n == 0 || n > 65535)
        return "has a port that is none";
    *port = (uint16_t)n;
    return NULL;
}

/* Only what may stand in a URL without escapes; no query, no fragment, no user. */
static const char *check_chars(const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '?' || *p == '#')
            return "must not have a query or a fragment";
        if (*p == '@')
            return "must not name a user";
        if (*p <= ' ' || *p >= 0x7f || strchr("\\\"<>^`{|}", *p))
            return "has a character that must not stand in a URL";
    }
    return NULL;
}

/* NULL, or what is wrong. rest: what follows https:// */
static const char *parse_server(struct kube_config *config, char *rest)
{
    const char *why = check_chars(rest), *port;
    char *path = rest + strcspn(rest, "/"), *host;
    size_t n = strlen(path);

    while (n && path[n - 1] == '/')
        path[--n] = 0;
    config->path_prefix = strdup(path);
    *path = 0;
    if (why || (why = split_host(rest, &host, &port)) || (why = parse_port(port, &config->port)))
        return why;
    config->host = strdup(host);
    if (asprintf(&config->authority, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, config->port) <
        0)
        config->authority = NULL;
    return NULL;
}

static int load_server(const struct load *l, const struct yaml_node *cluster)
{
    const struct yaml_node *node = yaml_get(cluster, "server");
    AUTO_FREE char *rest = NULL;
    const char *url, *why;

    if (text_of(l, cluster, "server", &url) < 0)
        return -1;
    if (!url)
        return yaml_err(l->err, l->doc, cluster, ERR_INVALID, "the cluster has no server");
    if (strncasecmp(url, "https://", 8) != 0)
        return yaml_err(l->err, l->doc, node, ERR_UNSUPPORTED,
                        "server must be an https:// address, for example https://localhost:6443");
    rest = strdup(url + 8);
    if (!rest)
        return nomem(l->err);
    why = parse_server(l->config, rest);
    if (why)
        return yaml_err(l->err, l->doc, node, ERR_INVALID, "server %s", why);
    if (!l->config->host || !l->config->authority || !l->config->path_prefix)
        return nomem(l->err);
    return 0;
}

/* --- cluster and user --- */

static int load_cluster(const struct load *l, const struct yaml_node *cluster)
{
    struct kube_config *config = l->config;
    const char *name;

    if (refuse(l, cluster, "cluster", cluster_refusals, COUNT(cluster_refusals)) < 0 ||
        load_server(l, cluster) < 0 || text_of(l, cluster, "tls-server-name", &name) < 0 ||
        bool_of(l, cluster, "insecure-skip-tls-verify", &config->insecure) < 0 ||
        load_pem(l, cluster, "certificate-authority", &config->ca_pem) < 0)
        return -1;
    if (config->insecure && config->ca_pem)
        return yaml_err(l->err, l->doc, yaml_get(cluster, "insecure-skip-tls-verify"), ERR_INVALID,
                        "a certificate-authority and insecure-skip-tls-verify exclude each other");
    return name ? copy(&config->server_name, name, l->err) : 0;
}

/* A token is one word of visible characters; white space around it (a file's last line) is cut. */
static int take_token(const struct load *l, const struct yaml_node *node, const char *text)
{
    size_t n;

    while (isspace((unsigned char)*text))
        text++;
    for (n = strlen(text); n && isspace((unsigned char)text[n - 1]); n--)
        ;
    if (n == 0)
        return yaml_err(l->err, l->doc, node, ERR_INVALID, "the token is empty");
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return yaml_err(l->err, l->doc, node, ERR_INVALID,
                            "the token holds a character that no token has");
    l->config->token = strndup(text, n);
    return l->config->token ? 0 : nomem(l->err);
}

/* A tokenFile goes before a token. */
static int load_token(const struct load *l, const struct yaml_node *user)
{
    const char *token, *file;
    char *text = NULL;
    int rc;

    if (text_of(l, user, "token", &token) < 0 || text_of(l, user, "tokenFile", &file) < 0)
        return -1;
    if (!file)
        return token ? take_token(l, yaml_get(user, "token"), token) : 0;
    if (load_file(l, yaml_get(user, "tokenFile"), "tokenFile", file, &text) < 0)
        return -1;
    rc = take_token(l, yaml_get(user, "tokenFile"), text);
    wipe_free(text);
    return rc;
}

static int load_user(const struct load *l, const struct yaml_node *user)
{
    struct kube_config *config = l->config;

    if (refuse(l, user, "user", user_refusals, COUNT(user_refusals)) < 0 ||
        load_pem(l, user, "client-certificate", &config->cert_pem) < 0 ||
        load_pem(l, user, "client-key", &config->key_pem) < 0 || load_token(l, user) < 0)
        return -1;
    if (!config->cert_pem != !config->key_pem)
        return yaml_err(l->err, l->doc, user, ERR_INVALID, "the user has a %s without a %s",
                        config->cert_pem ? "client-certificate" : "client-key",
                        config->cert_pem ? "client-key" : "client-certificate");
    return 0;
}

static int load_context(const struct load *l, const char *name)
{
    const struct yaml_node *context = NULL, *cluster = NULL, *user = NULL;
    const char *cluster_name = NULL, *user_name = NULL, *namespace = NULL;

    if (find(l, "contexts", "context", name, &context) < 0 ||
        text_of(l, context, "cluster", &cluster_name) < 0 ||
        text_of(l, context, "user", &user_name) < 0 ||
        text_of(l, context, "namespace", &namespace) < 0)
        return -1;
    if (!cluster_name || !user_name)
        return yaml_err(l->err, l->doc, context, ERR_INVALID, "context \"%s\" names no %s", name,
                        cluster_name ? "user" : "cluster");
    if (copy(&l->config->context, name, l->err) < 0 ||
        (namespace && copy(&l->config->namespace, namespace, l->err) < 0))
        return -1;
    if (find(l, "clusters", "cluster", cluster_name, &cluster) < 0 ||
        load_cluster(l, cluster) < 0 || find(l, "users", "user", user_name, &user) < 0)
        return -1;
    return load_user(l, user);
}

static int load_doc(struct load *l, const char *context)
{
    const char *current;

    l->root = yaml_root(l->doc, 0);
    if (yaml_count(l->doc) != 1 || yaml_type(l->root) != YAMLN_MAPPING)
        return yaml_err(l->err, l->doc, l->root, ERR_INVALID,
                        "a kubeconfig is one document with clusters, users and contexts");
    if (context)
        return load_context(l, context);
    if (text_of(l, l->root, "current-context", &current) < 0)
        return -1;
    if (!current)
        return yaml_err(l->err, l->doc, l->root, ERR_NOT_FOUND,
                        "no current-context is set: set it, or name a context");
    return load_context(l, current);
}

int kube_config_parse(struct kube_config **out, const char *text, size_t len, const char *file,
                      const char *context, struct err *err)
{
    struct yaml_doc *doc = NULL;
    struct load l = {.file = file, .err = err};
    int rc;

    if (yaml_parse(&doc, text, len, file, err) < 0)
        return -1;
    l.doc = doc;
    l.config = calloc(1, sizeof(*l.config));
    rc = l.config ? load_doc(&l, context) : nomem(err);
    yaml_doc_free(doc);
    if (rc < 0) {
        kube_config_free(l.config);
        return err_wrap(err, "kubeconfig");
    }
    *out = l.config;
    return 0;
}

/* --- finding the file --- */

static int default_path(char **out, struct err *err)
{
    const char *list = getenv("KUBECONFIG"), *home = getenv("HOME");

    if (list && strchr(list, ':'))
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "KUBECONFIG names several files, and merging them is not supported: name "
                       "one file");
    if (list && *list)
        return copy(out, list, err);
    if (!home || !*home) {
        err_set(err, ERR_NOT_FOUND, 0,
                "no kubeconfig: neither a file nor KUBECONFIG nor HOME is given");
        return err_blame(err, REASON_NO_KUBECONFIG);
    }
    if (asprintf(out, "%s/.kube/config", home) < 0) {
        *out = NULL;
        return nomem(err);
    }
    return 0;
}

int kube_config_load(struct kube_config **out, const char *path, const char *context,
                     struct err *err)
{
    AUTO_FREE char *found = NULL;
    struct buf text = {.max = KUBECONFIG_BYTES_MAX};
    int rc;

    if (!path) {
        if (default_path(&found, err) < 0 || !found)
            return -1;
        path = found;
    }
    rc = file_read(&text, path, err);
    if (rc < 0) {
        err_wrap(err, "kubeconfig");
        if (err->code == ERR_NOT_FOUND)
            (void)err_blame(err, REASON_NO_KUBECONFIG);
    } else {
        rc = kube_config_parse(out, text.data ? (const char *)text.data : "", text.len, path,
                               context, err);
        if (rc < 0 && err->code != ERR_NOMEM)
            (void)err_blame(err, REASON_BAD_KUBECONFIG);
    }
    secret_buf_free(&text);
    return rc;
}

void kube_config_free(struct kube_config *config)
{
    if (!config)
        return;
    free(config->context);
    free(config->namespace);
    free(config->host);
    free(config->authority);
    free(config->path_prefix);
    free(config->server_name);
    free(config->ca_pem);
    free(config->cert_pem);
    wipe_free(config->key_pem);
    wipe_free(config->token);
    free(config);
}
