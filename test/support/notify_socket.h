/* A service manager's end of sd_notify: a datagram socket of the test's own. */
#ifndef ROOST_TEST_NOTIFY_SOCKET_H
#define ROOST_TEST_NOTIFY_SOCKET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* "@name" is abstract. Closed by the caller. */
static inline int notify_socket(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0 && len < sizeof(addr.sun_path));
    memcpy(addr.sun_path, name, len);
    if (*name == '@')
        addr.sun_path[0] = 0;
    assert_int_equal(
        bind(fd, (struct sockaddr *)&addr,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*name == '/'))),
        0);
    return fd;
}

/* Waits for the next datagram. */
static inline const char *notify_next(int fd, char text[2048])
{
    ssize_t n = recv(fd, text, 2047, 0);

    assert_true(n > 0);
    text[n] = 0;
    return text;
}

/* Waits for one that begins so; others are passed over. */
static inline void notify_expect(int fd, const char *begin, char text[2048])
{
    while (strncmp(notify_next(fd, text), begin, strlen(begin)) != 0)
        ;
}

#endif
