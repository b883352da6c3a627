/* Base64 (RFC 4648, standard alphabet), decoding only. */
#ifndef ROOST_BASE_BASE64_H
#define ROOST_BASE_BASE64_H

#include "base/buf.h"
#include "base/err.h"

/* Appends the decoded bytes to out. Line breaks are skipped; anything else that is not base64, a
 * wrong length or stray bits at the end are ERR_INVALID, and out is as it was. */
int base64_decode(struct buf *out, const char *text, struct err *err) ERR_CHECK;

#endif
