/* A client of a Unix socket made of bare calls, for tests of what a server does with bytes. */
#ifndef ROOST_TEST_RAW_CLIENT_H
#define ROOST_TEST_RAW_CLIENT_H

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static inline int raw_dial(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0 && strlen(path) < sizeof(addr.sun_path));
    memcpy(addr.sun_path, path, strlen(path) + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

/* The server may have answered and closed already. */
static inline void raw_put(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        assert_true(errno == EPIPE || errno == ECONNRESET);
}

/* Appends what the next recv gives: false at the end. */
static inline bool raw_more(int fd, struct buf *out)
{
    uint8_t block[4096];
    ssize_t n = recv(fd, block, sizeof(block), 0);

    if (n <= 0)
        return false;
    assert_int_equal(buf_append(out, block, (size_t)n, NULL), 0);
    assert_non_null(buf_cstr(out));
    return true;
}

/* All until the server closes. */
static inline void raw_drain(int fd, struct buf *out)
{
    while (raw_more(fd, out))
        ;
    close(fd);
    assert_non_null(buf_cstr(out));
}

#endif
