/* Where the API server is and who we are to it, from a kubeconfig file.
 *
 * Read once, at start: certificates, keys and tokens are loaded from where the file names them
 * (relative names are relative to its folder) and kept as PEM and text. What this version does not
 * do is refused by name instead of being ignored, since ignoring it would connect as somebody
 * else: exec and auth-provider plugins, user name and password, proxies, impersonation ("as").
 *
 * No message ever holds a credential. They are wiped from memory when the configuration is freed.
 */
#ifndef ROOST_KUBE_KUBECONFIG_H
#define ROOST_KUBE_KUBECONFIG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kube_config {
    char *context;     /* its name, for messages */
    char *namespace;   /* of the context, or NULL */
    char *host;        /* name or address, without brackets */
    char *authority;   /* as it is sent: host:port, brackets where needed */
    char *path_prefix; /* "" or "/prefix", no slash at its end */
    char *server_name; /* tls-server-name, or NULL: host */
    char *ca_pem;      /* NULL: the system's authorities */
    char *cert_pem;    /* with key_pem, or both NULL */
    char *key_pem;
    char *token; /* or NULL */
    uint16_t port;
    bool insecure; /* insecure-skip-tls-verify was set */
};

/* path NULL: $KUBECONFIG, else ~/.kube/config. context NULL: the file's current one. The caller
 * frees *out with kube_config_free. ERR_NOT_FOUND: no file, or no such context, cluster or user in
 * it; ERR_INVALID; ERR_UNSUPPORTED: something that this version does not do; ERR_LIMIT; ERR_DENIED,
 * ERR_IO: a file cannot be read. Messages name file and line. */
int kube_config_load(struct kube_config **out, const char *path, const char *context,
                     struct err *err) ERR_CHECK;
/* The same of a text in memory; `file` is for messages, and its folder for relative names. */
int kube_config_parse(struct kube_config **out, const char *text, size_t len, const char *file,
                      const char *context, struct err *err) ERR_CHECK;
/* NULL is fine. */
void kube_config_free(struct kube_config *config);

#endif
