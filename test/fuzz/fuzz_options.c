/* Any file is either a configuration within its limits or an error with text; what is a
 * configuration is printed as one that is read as the same.
 */
#include "base/limits.h"
#include "serve/options.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int load(struct daemon_opts *o, const void *data, size_t len, struct err *err)
{
    char path[32];
    struct options_source source = {.file = path};
    int fd = memfd_create("options", MFD_CLOEXEC), rc;

    assert(fd >= 0);
    assert(write(fd, data, len) == (ssize_t)len && lseek(fd, 0, SEEK_SET) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    rc = options_load(o, &source, err);
    close(fd);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct daemon_opts a, b;
    struct err err = {0};
    struct buf text = {0};
    size_t n;
    const struct option_def *t = options_table(&n);

    if (load(&a, data, len, &err) < 0) {
        assert(err.code != ERR_NONE && err.msg[0]);
        return 0;
    }
    assert(a.workers <= WORKERS_MAX && a.io_threads >= 1 && a.io_threads <= IO_THREADS_MAX);
    assert(a.sleep_after_ns <= SLEEP_AFTER_MAX_NS && strlen(a.state_dir) <= SPEC_PATH_MAX + 16);
    assert(options_print(&text, &a, "FILE", &err) == 0);
    if (load(&b, text.data, text.len, &err) < 0)
        abort();
    for (size_t i = 0; i < n; i++)
        assert(options_same(&a, &b, &t[i]));
    options_free(&a);
    options_free(&b);
    buf_free(&text);
    return 0;
}
