/* What the files of WASI share: access to guest memory, and the functions of file descriptors for
 * the table. Nobody else includes this. */
#ifndef ROOST_ENGINE_WASI_INTERNAL_H
#define ROOST_ENGINE_WASI_INTERNAL_H

#include "engine/wasi.h"

#include <endian.h>
#include <string.h>

/* [ptr, ptr + len) of the guest; NULL if any of it lies outside. */
static inline uint8_t *wasi_at(struct wasi_mem mem, uint64_t ptr, uint64_t len)
{
    return ptr <= mem.len && len <= mem.len - ptr ? mem.data + ptr : NULL;
}

static inline uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static inline uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static inline void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

static inline void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

static inline int32_t give32(struct wasi_mem mem, uint32_t ptr, uint32_t v)
{
    uint8_t *p = wasi_at(mem, ptr, 4);

    if (!p)
        return WASI_EFAULT;
    put32(p, v);
    return WASI_ESUCCESS;
}

static inline int32_t give64(struct wasi_mem mem, uint32_t ptr, uint64_t v)
{
    uint8_t *p = wasi_at(mem, ptr, 8);

    if (!p)
        return WASI_EFAULT;
    put64(p, v);
    return WASI_ESUCCESS;
}

/* wasi_fd.c. A stream_ function does nothing and has one answer for the standard streams, EBADF for
 * all else. */
#define WASI_FN(name)                                                                              \
    int32_t name(struct wasi_guest *g, struct wasi_mem mem, const union wasi_arg *a)
WASI_FN(wasi_fd_write);
WASI_FN(wasi_fd_read);
WASI_FN(wasi_fd_fdstat_get);
WASI_FN(wasi_fd_filestat_get);
WASI_FN(wasi_stream_fine);
WASI_FN(wasi_stream_cannot_seek);
WASI_FN(wasi_stream_invalid);
WASI_FN(wasi_stream_unsupported);
WASI_FN(wasi_stream_no_folder);
WASI_FN(wasi_stream_no_socket);
WASI_FN(wasi_stream_not_opened_before);
WASI_FN(wasi_second_no_folder);

#endif
