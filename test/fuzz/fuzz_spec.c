/* Any file is either specs within the limits or errors with text, and all is freed. */
#include "base/limits.h"
#include "guest/spec.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(void *ctx, struct guest_spec *s, const struct err *err)
{
    (void)ctx;
    assert((s == NULL) == (err != NULL));
    if (err) {
        assert(err->code != ERR_NONE && err->msg[0]);
        return;
    }
    assert(*s->name && strlen(s->name) <= SPEC_NAME_MAX && *s->namespace_);
    assert(s->module[0] == '/');
    assert(s->nenv <= GUEST_ENV_MAX && s->nargs <= GUEST_ARGS_MAX);
    assert(s->nwatches >= 1 && s->nwatches <= GUEST_TRIGGERS_MAX && s->service_account);
    assert(s->limits.memory_bytes <= GUEST_MEMORY_MAX && s->limits.calls <= GUEST_CALLS_MAX);
    for (size_t i = 0; i < s->nenv; i++)
        assert(s->env[i].name && s->env[i].value);
    for (size_t i = 0; i < s->nwatches; i++)
        assert(s->watches[i].api_version && s->watches[i].kind);
    guest_spec_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char path[32];
    struct err err = {0};
    int fd = memfd_create("manifest", MFD_CLOEXEC);

    assert(fd >= 0);
    if (write(fd, data, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) != 0) {
        close(fd);
        return 0;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    assert((guest_spec_read_file(path, check, NULL, &err) == 0) == (err.code == ERR_NONE));
    close(fd);
    return 0;
}
