#include "engine/imagecache.h"

#include "base/auto.h"
#include "base/limits.h"
#include "engine/config.h"
#include "engine/imageseal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* --- digests --- */

#define CHUNK_BYTES (64u * KIB)

static enum err_code file_error(int code)
{
    return code == ENOENT || code == ENOTDIR ? ERR_NOT_FOUND : code == EACCES ? ERR_DENIED : ERR_IO;
}

static int digest_file(EVP_MD_CTX *md, int fd, uint64_t *size, struct err *err)
{
    uint8_t chunk[CHUNK_BYTES];
    ssize_t n;

    *size = 0;
    for (;;) {
        n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_IO, errno, "read");
        if (n == 0)
            return 0;
        *size += (uint64_t)n;
        if (*size > MODULE_BYTES_MAX)
            return err_set(err, ERR_LIMIT, 0, "module of more than %u bytes (MODULE_BYTES_MAX)",
                           MODULE_BYTES_MAX);
        if (!EVP_DigestUpdate(md, chunk, (size_t)n))
            return err_set(err, ERR_NOMEM, 0, "sha256");
    }
}

static int open_regular(int *out, const char *path, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        err_set(err, file_error(errno), errno, "open");
        return err->code == ERR_NOT_FOUND ? err_blame(err, REASON_NO_MODULE) : -1;
    }
    if (!S_ISREG(st.st_mode)) {
        err_set(err, ERR_INVALID, 0, "this is no regular file");
        return err_blame(err, REASON_BAD_MODULE);
    }
    *out = take_fd(&fd);
    return 0;
}

int image_digest(const char *module_path, uint8_t out[IMAGE_DIGEST_BYTES], uint64_t *size,
                 struct err *err)
{
    AUTO_CLOSE int fd = -1;
    uint64_t bytes = 0;
    EVP_MD_CTX *md;
    int rc = -1;

    if (open_regular(&fd, module_path, err) < 0)
        return err_wrap(err, "module %s", module_path);
    md = EVP_MD_CTX_new();
    if (!md || !EVP_DigestInit_ex(md, EVP_sha256(), NULL))
        err_set(err, ERR_NOMEM, 0, "sha256");
    else
        rc = digest_file(md, fd, &bytes, err);
    if (rc == 0 && !EVP_DigestFinal_ex(md, out, NULL))
        rc = err_set(err, ERR_NOMEM, 0, "sha256");
    EVP_MD_CTX_free(md);
    if (rc < 0)
        return err_wrap(err, "module %s", module_path);
    if (size)
        *size = bytes;
    return 0;
}

int image_digest_bytes(const void *data, size_t len, uint8_t out[IMAGE_DIGEST_BYTES],
                       struct err *err)
{
    uint8_t own[EVP_MAX_MD_SIZE];

    if (!EVP_Digest(data, len, own, NULL, EVP_sha256(), NULL))
        return err_set(err, ERR_NOMEM, 0, "sha256");
    memcpy(out, own, IMAGE_DIGEST_BYTES);
    return 0;
}

/* --- names --- */

#define KEY_DIGEST_BYTES 8 /* of the configuration's digest, in an image's name */

static void hex(char *out, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

int image_path(char *out, size_t cap, const char *cache_dir,
               const uint8_t digest[IMAGE_DIGEST_BYTES], struct err *err)
{
    const char *key = engine_config_key();
    char module[2 * IMAGE_DIGEST_BYTES + 1], config[2 * KEY_DIGEST_BYTES + 1];
    uint8_t of_key[EVP_MAX_MD_SIZE];
    int n;

    if (!EVP_Digest(key, strlen(key), of_key, NULL, EVP_sha256(), NULL))
        return err_set(err, ERR_NOMEM, 0, "sha256");
    hex(module, digest, IMAGE_DIGEST_BYTES);
    hex(config, of_key, KEY_DIGEST_BYTES);
    n = snprintf(out, cap, "%s/%s-%s.image", cache_dir, module, config);
    if (n < 0 || (size_t)n >= cap)
        return err_set(err, ERR_LIMIT, 0, "cache directory %s: its path is too long", cache_dir);
    return 0;
}

int image_check(const char *path, struct err *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;

    if (lstat(path, &st) < 0)
        return err_set(err, file_error(errno), errno, "image %s", path);
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return err_set(err, ERR_DENIED, 0,
                       "image %s is not a file of this user with mode 0600: remove it", path);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, file_error(errno), errno, "image %s", path);
    if (image_seal_check(fd, err) == 0)
        return 0;
    err_wrap(err, "image %s", path);
    return err->code == ERR_CORRUPT ? err_blame(err, REASON_IMAGE_DAMAGED) : -1;
}
