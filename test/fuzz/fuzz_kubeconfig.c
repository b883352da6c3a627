/* Any bytes as a kubeconfig: accepted or refused, never a crash, and whole where accepted. */
#include "kube/kubeconfig.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kube_config *config = NULL;
    struct err err = {0};

    if (kube_config_parse(&config, (const char *)data, size, "no-such-folder/config", NULL, &err) <
        0) {
        assert(!config && err.code != ERR_NONE && err.msg[0]);
        return 0;
    }
    assert(config->context && *config->host && config->authority && config->port);
    assert(config->path_prefix[0] == 0 || config->path_prefix[0] == '/');
    assert(!config->cert_pem == !config->key_pem);
    assert(!config->token || !strpbrk(config->token, "\r\n "));
    kube_config_free(config);
    return 0;
}
