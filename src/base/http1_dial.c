/* The thread copies: peer ► tls ► pair, pair ► tls ► peer. It alone has the session once the
 * handshake is done. What the other side does not take yet is waited for, so each direction holds
 * one piece, and the program's deadlines see a slow peer as a socket that is not ready.
 */
#include "base/http1_dial.h"

#include "base/auto.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/tls.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

struct way {
    int peer, pair; /* ours; the sockets do not block */
    struct tls *tls;
    struct buf out; /* encrypted, for the peer */
    uint8_t in[HTTP1_TLS_READ_BYTES], plain[HTTP1_TLS_READ_BYTES];
};

static void way_free(struct way *w)
{
    if (!w)
        return;
    tls_free(w->tls);
    buf_free(&w->out);
    if (w->peer >= 0)
        close(w->peer);
    if (w->pair >= 0)
        close(w->pair);
    free(w);
}

/* deadline_ns 0: there is none. */
static int wait_for(int fd, short events, uint64_t deadline_ns, struct err *err)
{
    struct pollfd p = {.fd = fd, .events = events};
    int n, ms = -1;

    do {
        uint64_t now = clock_now_ns();

        if (deadline_ns && now >= deadline_ns) {
            err_set(err, ERR_TIMEOUT, 0, "no answer in time");
            return err_blame(err, REASON_NO_ANSWER);
        }
        if (deadline_ns)
            ms = (int)((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS);
        n = poll(&p, 1, ms);
    } while (n == 0 || (n < 0 && errno == EINTR));
    return n < 0 ? err_set(err, ERR_NET, errno, "poll") : 0;
}

static int send_all(int fd, const uint8_t *data, size_t len, uint64_t deadline_ns, struct err *err)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (wait_for(fd, POLLOUT, deadline_ns, err) < 0)
                return -1;
            continue;
        }
        if (n < 0)
            return err_set(err, ERR_NET, errno, "send");
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int flush_out(struct way *w, uint64_t deadline_ns, struct err *err)
{
    int rc = send_all(w->peer, w->out.data, w->out.len, deadline_ns, err);

    w->out.len = 0;
    return rc;
}

/* --- while it lasts --- */

/* All that was received. True while there is more to come. */
static bool decrypt(struct way *w)
{
    ssize_t n;
    bool end = false;

    while ((n = tls_read(w->tls, w->plain, sizeof(w->plain), &end, NULL)) > 0)
        if (send_all(w->pair, w->plain, (size_t)n, 0, NULL) < 0)
            return false;
    return n == 0 && !end && flush_out(w, 0, NULL) == 0;
}

static bool from_peer(struct way *w)
{
    ssize_t got = recv(w->peer, w->in, sizeof(w->in), 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (got <= 0)
        return false;
    tls_input(w->tls, w->in, (size_t)got);
    return decrypt(w);
}

static bool from_pair(struct way *w)
{
    ssize_t n = recv(w->pair, w->plain, sizeof(w->plain), 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    return n > 0 && tls_write(w->tls, w->plain, (size_t)n, NULL) == 0 && flush_out(w, 0, NULL) == 0;
}

static void *way_run(void *arg)
{
    struct way *w = arg;
    struct pollfd p[2] = {{.fd = w->peer, .events = POLLIN}, {.fd = w->pair, .events = POLLIN}};
    bool on = decrypt(w); /* what came with the end of the handshake */

    while (on && (poll(p, 2, -1) > 0 || errno == EINTR)) {
        if (p[0].revents)
            on = from_peer(w);
        if (on && p[1].revents)
            on = from_pair(w);
    }
    way_free(w);
    return NULL;
}

/* --- to begin it --- */

/* One address after the other; err is of the last. */
static int connect_any(const struct addrinfo *list, uint64_t deadline_ns, struct err *err)
{
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        AUTO_CLOSE int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int sys = 0, on = 1;
        socklen_t len = sizeof(sys);

        if (fd < 0 || (connect(fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS)) {
            err_set(err, ERR_NET, errno, "connect");
            continue;
        }
        if (wait_for(fd, POLLOUT, deadline_ns, err) < 0)
            return -1;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &len) == 0 && sys == 0) {
            /* A stream may be silent for long: the system notices that the other host is gone. */
            (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
            return take_fd(&fd);
        }
        err_set(err, ERR_NET, sys, "connect");
    }
    return -1;
}

static int connect_to(struct way *w, const char *host, const char *port, uint64_t deadline_ns,
                      struct err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    int rc = getaddrinfo(host, port, &hints, &list);

    if (rc)
        return err_set(err, ERR_NET, 0, "%s: %s", host, gai_strerror(rc));
    w->peer = connect_any(list, deadline_ns, err);
    freeaddrinfo(list);
    return w->peer < 0 ? -1 : 0;
}

static int shake_hands(struct way *w, uint64_t deadline_ns, struct err *err)
{
    int rc;

    while ((rc = tls_handshake(w->tls, err)) == 0) {
        ssize_t n;

        if (flush_out(w, deadline_ns, err) < 0 || wait_for(w->peer, POLLIN, deadline_ns, err) < 0)
            return -1;
        n = recv(w->peer, w->in, sizeof(w->in), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return err_set(err, ERR_NET, n < 0 ? errno : 0,
                           n < 0 ? "TLS handshake"
                                 : "it closed the connection during the TLS handshake");
        tls_input(w->tls, w->in, (size_t)n);
    }
    return rc < 0 ? -1 : flush_out(w, deadline_ns, err);
}

static int begin(struct way *w, const char *host, const char *port, const char *ca_pem,
                 uint64_t deadline_ns, struct err *err)
{
    const struct tls_options options = {.ca_pem = ca_pem, .alpn = "http/1.1"};
    struct tls_context *context;
    int rc;

    if (tls_context_new(&context, &options, err) < 0)
        return -1;
    rc = tls_new(&w->tls, context, host, &w->out, err);
    tls_context_free(context);
    if (rc < 0 || connect_to(w, host, port, deadline_ns, err) < 0)
        return -1;
    return shake_hands(w, deadline_ns, err);
}

/* The thread gets the way; on failure it is freed here. */
static int start(struct way *w, int *fd, struct err *err)
{
    int pair[2], rc;
    pthread_t thread;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        way_free(w);
        return err_set(err, ERR_IO, errno, "a socket pair");
    }
    w->pair = pair[0];
    rc = pthread_create(&thread, NULL, way_run, w);
    if (rc) {
        close(pair[1]);
        way_free(w);
        return err_set(err, ERR_NOMEM, rc, "a thread for TLS");
    }
    pthread_detach(thread);
    *fd = pair[1];
    return 0;
}

int http1_dial_tls(int *fd, const char *host, const char *port, const char *ca_pem,
                   unsigned timeout_ms, struct err *err)
{
    uint64_t deadline_ns =
        clock_now_ns() + (timeout_ms ? timeout_ms : HTTP1_CLIENT_TIMEOUT_MS) * NS_PER_MS;
    struct way *w = calloc(1, sizeof(*w));

    *fd = -1;
    if (!w)
        return err_set(err, ERR_NOMEM, 0, "no memory for TLS");
    w->peer = w->pair = -1;
    w->out.max = 4 * HTTP1_TLS_OUT_MAX;
    if (begin(w, host, port, ca_pem, deadline_ns, err) < 0) {
        way_free(w);
        return -1;
    }
    return start(w, fd, err);
}
