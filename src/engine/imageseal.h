/* The seal of an image: its last bytes, a checksum of all before.
 *
 * An image is machine code that will run in the daemon, and the engine believes it. So what a disk
 * made of it is found before it is loaded, and it is compiled again. The seal is against damage,
 * not against malice: whoever can write the file can seal it.
 *
 *     "ROOSTIMG"   u64 length of the image   u64 XXH3-64 of it      little endian
 */
#ifndef ROOST_ENGINE_IMAGESEAL_H
#define ROOST_ENGINE_IMAGESEAL_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define IMAGE_SEAL_BYTES 24

/* The seal of an image of so many bytes with that hash. */
void image_seal_put(uint8_t out[IMAGE_SEAL_BYTES], uint64_t bytes, uint64_t hash);
/* Of a seal and the length of what is before it. ERR_CORRUPT: it is none, or of another length. */
int image_seal_get(const uint8_t seal[IMAGE_SEAL_BYTES], uint64_t bytes, uint64_t *hash,
                   struct err *err) ERR_CHECK;
/* Reads all of the file. Blocks. ERR_CORRUPT: damaged, cut off or not sealed. ERR_IO. ERR_LIMIT:
 * IMAGE_BYTES_MAX. */
int image_seal_check(int fd, struct err *err) ERR_CHECK;

#endif
