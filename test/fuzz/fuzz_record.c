/* What is read back from disk beside snapshots: records of guests and the seals of images. The
 * first byte chooses; with its low bit set the checksum is made right first, so that what is behind
 * it is reached.
 */
#include "base/hash.h"
#include "base/limits.h"
#include "engine/arena.h"
#include "engine/imageseal.h"
#include "guest/guest.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int memory_open(void *ctx, const char *path, int flags, mode_t mode)
{
    int fd = memfd_create(path, MFD_CLOEXEC);

    (void)ctx;
    (void)flags;
    (void)mode;
    return fd < 0 || ftruncate(fd, 64 * MIB) < 0 ? -1 : fd;
}

static struct arena *arena_make(void)
{
    static struct disk disk;
    struct arena *a;

    disk = disk_real;
    disk.open = memory_open;
    if (arena_open_on(&a, "arena", &disk, NULL) < 0)
        abort();
    return a;
}

/* Claims what it names and nothing else; what is claimed cannot be claimed twice. */
static void try_record(uint8_t *data, size_t len, int fix)
{
    static struct arena *a;
    struct arena_stats st;
    struct err err = {0};
    uint64_t sum;

    if (!a)
        a = arena_make();
    if (fix && len >= 8) {
        sum = hash_bytes(data, len - 8);
        memcpy(data + len - 8, &sum, sizeof(sum));
    }
    (void)guest_record_absent(data, len);
    if (guest_record_claim(a, data, len, &err) < 0) {
        assert(err.code == ERR_CORRUPT || err.code == ERR_LIMIT);
        return;
    }
    arena_stats(a, &st);
    assert(st.used_pages == 0 || guest_record_claim(a, data, len, &err) < 0);
    arena_check(a);
    arena_close(a);
    a = NULL;
}

static void try_seal(const uint8_t *data, size_t len)
{
    uint8_t again[IMAGE_SEAL_BYTES];
    uint64_t hash = 0, bytes;
    struct err err = {0};

    if (len < IMAGE_SEAL_BYTES)
        return;
    memcpy(&bytes, data + 8, sizeof(bytes));
    if (image_seal_get(data, bytes, &hash, &err) < 0) {
        assert(err.code == ERR_CORRUPT);
        return;
    }
    image_seal_put(again, bytes, hash);
    assert(memcmp(data, again, sizeof(again)) == 0);
    assert(image_seal_get(data, bytes + 1, &hash, &err) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t *copy;

    if (len < 1)
        return 0;
    copy = malloc(len);
    assert(copy);
    memcpy(copy, data + 1, len - 1);
    if (data[0] & 2)
        try_seal(copy, len - 1);
    else
        try_record(copy, len - 1, data[0] & 1);
    free(copy);
    return 0;
}
