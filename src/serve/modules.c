/* See modules.h. A module is prepared in three steps: its image is looked for and checked (another
 * thread: all of it is read), else compiled (another process), and then mapped.
 *
 * What nobody uses is swept out of the store at start and every MODULE_SWEEP_NS: a file is kept
 * while a guest uses it, or for MODULE_KEEP_MS after somebody sent it or asked for it.
 */
#include "serve/modules.h"

#include "base/auto.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct module {
    struct module *next;
    struct modules *all;
    uint8_t digest[IMAGE_DIGEST_BYTES];
    char *path, *image_path;
    size_t users;
    struct compile *compile;
    struct image *image;
    uint64_t image_bytes;
    struct err failed;
    bool done, checking; /* checking: on another thread, which must find it when it is done */
};

struct modules {
    struct modules_opts opts;
    char *images_dir, *store_dir;
    struct compile_queue *queue;
    struct module *list;
    struct timer sweep;
    size_t working; /* on other threads */
    bool ending;
};

/* --- names --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_hex(const char *text, uint8_t digest[IMAGE_DIGEST_BYTES])
{
    for (size_t i = 0; i < IMAGE_DIGEST_BYTES; i++) {
        int high = hex_digit(text[2 * i]), low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);

        if (low < 0)
            return -1;
        digest[i] = (uint8_t)(high * 16 + low);
    }
    return 0;
}

int module_name_read(const char *name, uint8_t digest[IMAGE_DIGEST_BYTES])
{
    if (strlen(name) != MODULE_NAME_BYTES - 1 || strncmp(name, "sha256:", 7) != 0)
        return -1;
    return read_hex(name + 7, digest);
}

void module_name(char out[MODULE_NAME_BYTES], const uint8_t digest[IMAGE_DIGEST_BYTES])
{
    int n = snprintf(out, MODULE_NAME_BYTES, "sha256:");

    for (size_t i = 0; i < IMAGE_DIGEST_BYTES; i++)
        n += snprintf(out + n, MODULE_NAME_BYTES - (size_t)n, "%02x", digest[i]);
}

int module_store_path(char *out, size_t cap, const char *state_dir,
                      const uint8_t digest[IMAGE_DIGEST_BYTES])
{
    char name[MODULE_NAME_BYTES];
    int n;

    module_name(name, digest);
    n = snprintf(out, cap, "%s/modules/%s.wasm", state_dir, name + 7);
    return n < 0 || (size_t)n >= cap ? -1 : 0;
}

/* --- the store --- */

bool module_stored(const char *path)
{
    return utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW) == 0;
}

static int check_bytes(const uint8_t digest[IMAGE_DIGEST_BYTES], const void *data, size_t len,
                       struct err *err)
{
    uint8_t own[IMAGE_DIGEST_BYTES];

    if (image_digest_bytes(data, len, own, err) < 0)
        return -1;
    if (memcmp(own, digest, IMAGE_DIGEST_BYTES) != 0)
        return err_set(err, ERR_CORRUPT, 0, "the bytes that came have another sha256");
    if (len < 8 || memcmp(data, "\0asm", 4) != 0)
        return err_set(err, ERR_INVALID, 0, "this is no WebAssembly module");
    return 0;
}

static int write_all(int fd, const char *data, size_t len, struct err *err)
{
    while (len) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(err, ERR_IO, errno, "write");
        data += n;
        len -= (size_t)n;
    }
    return fsync(fd) < 0 ? err_set(err, ERR_IO, errno, "fsync") : 0;
}

static int sync_dir(const char *dir, struct err *err)
{
    AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || fsync(fd) < 0 ? err_set(err, ERR_IO, errno, "%s", dir) : 0;
}

int module_store(const char *state_dir, const uint8_t digest[IMAGE_DIGEST_BYTES], const void *data,
                 size_t len, struct err *err)
{
    char path[4096], temp[4096 + 16], dir[4096];
    AUTO_CLOSE int fd = -1;

    if (check_bytes(digest, data, len, err) < 0)
        return -1;
    if (module_store_path(path, sizeof(path), state_dir, digest) < 0)
        return err_set(err, ERR_LIMIT, 0, "state directory: its path is too long");
    if (module_stored(path))
        return 0;
    snprintf(temp, sizeof(temp), "%s.XXXXXX", path);
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_IO, errno, "module store");
    if (write_all(fd, data, len, err) < 0 ||
        (rename(temp, path) < 0 && err_set(err, ERR_IO, errno, "rename"))) {
        unlink(temp);
        return err_wrap(err, "module store");
    }
    snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
    return sync_dir(dir, err);
}

/* --- sweeping --- */

static bool is_used(const struct modules *ms, const char *file)
{
    uint8_t digest[IMAGE_DIGEST_BYTES];
    size_t hex = 2 * (size_t)IMAGE_DIGEST_BYTES;

    return strlen(file) == hex + 5 && strcmp(file + hex, ".wasm") == 0 &&
           read_hex(file, digest) == 0 && modules_find(ms, digest);
}

static void sweep_file(const struct modules *ms, int dir, const char *file, time_t before)
{
    struct stat st;

    if (file[0] == '.' || is_used(ms, file) || fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode) || st.st_mtime > before)
        return;
    if (unlinkat(dir, file, 0) == 0)
        log_info("module store: %s is used by no guest: removed", file);
}

void modules_sweep(struct modules *ms, uint64_t keep_ms)
{
    DIR *dir = opendir(ms->store_dir);
    const struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir)))
        sweep_file(ms, dirfd(dir), entry->d_name, time(NULL) - (time_t)(keep_ms / 1000));
    closedir(dir);
}

static void sweep(struct timer *t)
{
    struct modules *ms = container_of(t, struct modules, sweep);

    modules_sweep(ms, MODULE_KEEP_MS);
    t->fire = sweep;
    if (loop_timer_set(ms->opts.loop, t, loop_now_ns(ms->opts.loop) + MODULE_SWEEP_NS, NULL) < 0)
        log_error("no memory for a timer: unused modules stay until the next start");
}

/* --- preparing --- */

static void module_free(struct module *m)
{
    struct module **at = &m->all->list;

    while (*at && *at != m)
        at = &(*at)->next;
    if (*at)
        *at = m->next;
    compile_cancel(m->compile);
    image_unref(m->image);
    free(m->path);
    free(m->image_path);
    free(m);
}

static void finished(struct module *m)
{
    m->done = true;
    m->all->opts.done(m->all->opts.ctx, m);
}

static void load(struct module *m)
{
    struct stat st;

    if (image_load(&m->image, m->all->opts.engine, m->image_path, &m->failed) < 0)
        err_wrap(&m->failed, "module %s", m->path);
    else if (stat(m->image_path, &st) == 0)
        m->image_bytes = (uint64_t)st.st_size;
    finished(m);
}

static void compiled(void *ctx, const struct err *err)
{
    struct module *m = ctx;

    m->compile = NULL;
    if (err) {
        m->failed = *err;
        finished(m);
        return;
    }
    load(m);
}

static void compile(struct module *m)
{
    struct compile_opts opts = {
        .module_path = m->path, .image_path = m->image_path, .digest = m->digest};

    if (m->failed.code == ERR_CORRUPT)
        log_warn("%s: compiled again", m->failed.msg);
    m->failed = (struct err){0};
    log_info("module %s: compiling", m->path);
    if (compile_queue_add(&m->compile, m->all->queue, &opts, compiled, m, &m->failed) < 0)
        finished(m);
}

static void check(void *ctx)
{
    struct module *m = ctx;

    m->failed = (struct err){0};
    if (image_check(m->image_path, &m->failed) < 0)
        return; /* code says so */
}

static void checked(void *ctx)
{
    struct module *m = ctx;
    struct modules *ms = m->all;

    m->checking = false;
    ms->working--;
    if (ms->ending || m->users == 0) {
        bool last = ms->ending && ms->working == 0;

        module_free(m);
        if (last)
            modules_free(ms);
        return;
    }
    if (m->failed.code == ERR_NONE)
        load(m);
    else if (m->failed.code == ERR_NOT_FOUND || m->failed.code == ERR_CORRUPT)
        compile(m);
    else
        finished(m);
}

static struct module *module_new(struct modules *ms, const uint8_t digest[IMAGE_DIGEST_BYTES],
                                 const char *path, struct err *err)
{
    struct module *m = calloc(1, sizeof(*m));
    char image[4096];

    if (!m || !(m->path = strdup(path))) {
        free(m);
        err_set(err, ERR_NOMEM, 0, "no memory for a module");
        return NULL;
    }
    m->all = ms;
    memcpy(m->digest, digest, sizeof(m->digest));
    if (image_path(image, sizeof(image), ms->images_dir, digest, err) < 0 ||
        !(m->image_path = strdup(image))) {
        module_free(m);
        return NULL;
    }
    if (work_start(ms->opts.loop, check, checked, m, err) < 0) {
        module_free(m);
        return NULL;
    }
    m->checking = true;
    ms->working++;
    m->next = ms->list;
    ms->list = m;
    return m;
}

struct module *modules_find(const struct modules *ms, const uint8_t digest[IMAGE_DIGEST_BYTES])
{
    for (struct module *m = ms->list; m; m = m->next)
        if (memcmp(m->digest, digest, sizeof(m->digest)) == 0)
            return m;
    return NULL;
}

struct module *modules_use(struct modules *ms, const uint8_t digest[IMAGE_DIGEST_BYTES],
                           const char *path, struct err *err)
{
    struct module *m = modules_find(ms, digest);

    if (!m)
        m = module_new(ms, digest, path, err);
    if (m)
        m->users++;
    return m;
}

void module_unuse(struct module *m)
{
    if (m && --m->users == 0 && !m->checking)
        module_free(m);
}

struct image *module_image(const struct module *m)
{
    return m->done ? m->image : NULL;
}

const struct err *module_failed(const struct module *m)
{
    return m->done && !m->image ? &m->failed : NULL;
}

const uint8_t *module_digest(const struct module *m)
{
    return m->digest;
}

void modules_images(const struct modules *ms, uint64_t *n, uint64_t *bytes)
{
    for (const struct module *m = ms->list; m; m = m->next) {
        *n += m->image != NULL;
        *bytes += m->image ? m->image_bytes : 0;
    }
}

bool modules_ready(const struct modules *ms, struct buf *why)
{
    bool ready = true;

    for (const struct module *m = ms->list; m; m = m->next) {
        if (m->done || m->users == 0)
            continue;
        ready = false;
        if (why)
            (void)!buf_printf(why, NULL, "module %s: compiling\n", m->path);
    }
    return ready;
}

/* --- life --- */

static int make_dir(char **out, const char *state_dir, const char *name, struct err *err)
{
    if (asprintf(out, "%s/%s", state_dir, name) < 0) {
        *out = NULL;
        return err_set(err, ERR_NOMEM, 0, "no memory for a path");
    }
    if (mkdir(*out, 0700) < 0 && errno != EEXIST)
        return err_set(err, ERR_IO, errno, "%s", *out);
    return 0;
}

int modules_new(struct modules **out, const struct modules_opts *opts, struct err *err)
{
    struct modules *ms = calloc(1, sizeof(*ms));

    *out = NULL;
    if (!ms)
        return err_set(err, ERR_NOMEM, 0, "no memory for modules");
    ms->opts = *opts;
    ms->sweep.fire = sweep;
    if (make_dir(&ms->images_dir, opts->state_dir, "images", err) < 0 ||
        make_dir(&ms->store_dir, opts->state_dir, "modules", err) < 0 ||
        compile_queue_new(&ms->queue, opts->loop, COMPILE_JOBS_MAX, err) < 0 ||
        loop_timer_set(opts->loop, &ms->sweep, loop_now_ns(opts->loop) + MODULE_SWEEP_NS, err) <
            0) {
        modules_free(ms);
        return -1;
    }
    *out = ms;
    return 0;
}

void modules_free(struct modules *ms)
{
    if (!ms)
        return;
    loop_timer_clear(ms->opts.loop, &ms->sweep);
    ms->ending = true;
    for (struct module *m = ms->list, *next; m; m = next) {
        next = m->next;
        if (!m->checking)
            module_free(m);
    }
    if (ms->working) /* the last of them comes here again */
        return;
    compile_queue_free(ms->queue);
    free(ms->images_dir);
    free(ms->store_dir);
    free(ms);
}
