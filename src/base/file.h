/* Small files, read whole: configuration, certificates, tokens. May block: at start, at a reload,
 * or in a program that has nothing else to do. */
#ifndef ROOST_BASE_FILE_H
#define ROOST_BASE_FILE_H

#include "base/buf.h"

/* Appends the file to out, which must have a max: a file of more than max - 1 bytes is too large. A
 * pipe is read to its end. Errors begin with the path. ERR_NOT_FOUND, ERR_DENIED, ERR_IO;
 * ERR_INVALID: a folder or a device; ERR_LIMIT; ERR_NOMEM. */
int file_read(struct buf *out, const char *path, struct err *err) ERR_CHECK;

#endif
