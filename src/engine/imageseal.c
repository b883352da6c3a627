#include "engine/imageseal.h"

#include "base/disk.h"
#include "base/hash.h"
#include "base/limits.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define CHUNK_BYTES (64u * KIB)

static const uint8_t magic[8] = {'R', 'O', 'O', 'S', 'T', 'I', 'M', 'G'};

void image_seal_put(uint8_t out[IMAGE_SEAL_BYTES], uint64_t bytes, uint64_t hash)
{
    bytes = htole64(bytes);
    hash = htole64(hash);
    memcpy(out, magic, sizeof(magic));
    memcpy(out + 8, &bytes, sizeof(bytes));
    memcpy(out + 16, &hash, sizeof(hash));
}

int image_seal_get(const uint8_t seal[IMAGE_SEAL_BYTES], uint64_t bytes, uint64_t *hash,
                   struct err *err)
{
    uint64_t len;

    memcpy(&len, seal + 8, sizeof(len));
    memcpy(hash, seal + 16, sizeof(*hash));
    *hash = le64toh(*hash);
    if (memcmp(seal, magic, sizeof(magic)) != 0)
        return err_set(err, ERR_CORRUPT, 0, "it has no seal: cut off, or of another version");
    if (le64toh(len) != bytes)
        return err_set(err, ERR_CORRUPT, 0, "%" PRIu64 " bytes, its seal says %" PRIu64, bytes,
                       le64toh(len));
    return 0;
}

static int hash_file(int fd, uint64_t bytes, uint64_t *out, struct err *err)
{
    uint8_t chunk[CHUNK_BYTES];
    struct hash h;

    hash_begin(&h);
    for (uint64_t at = 0; at < bytes;) {
        size_t len = bytes - at < sizeof(chunk) ? (size_t)(bytes - at) : sizeof(chunk);

        if (disk_read(&disk_real, fd, chunk, len, at, 0, err) < 0)
            return -1;
        hash_add(&h, chunk, len);
        at += len;
    }
    *out = hash_end(&h);
    return 0;
}

int image_seal_check(int fd, struct err *err)
{
    uint8_t seal[IMAGE_SEAL_BYTES];
    uint64_t bytes, want, got;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return disk_error(err, errno, "size");
    if ((uint64_t)st.st_size < IMAGE_SEAL_BYTES)
        return err_set(err, ERR_CORRUPT, 0, "it has no seal: %lld bytes", (long long)st.st_size);
    bytes = (uint64_t)st.st_size - IMAGE_SEAL_BYTES;
    if (bytes > IMAGE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "%" PRIu64 " bytes, limit %u", bytes, IMAGE_BYTES_MAX);
    if (disk_read(&disk_real, fd, seal, sizeof(seal), bytes, 0, err) < 0 ||
        image_seal_get(seal, bytes, &want, err) < 0 || hash_file(fd, bytes, &got, err) < 0)
        return -1;
    return want == got ? 0 : err_set(err, ERR_CORRUPT, 0, "its checksum does not match");
}
