/* The client: one request for each connection, blocking, with one deadline for all of it, or for an
 * answer that goes on until its head. What the command line needs and no more; the daemon never
 * calls it.
 */
#include "base/auto.h"
#include "base/clock.h"
#include "base/http1.h"
#include "base/http1_dial.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PROGRESS_STEP (512u * KIB) /* of a body, between two reports */

static enum err_code code_of_errno(int sys)
{
    return sys == EACCES || sys == EPERM ? ERR_DENIED : ERR_NET;
}

/* Waits until the socket is ready for events, or the deadline. */
static int wait_for(int fd, short events, uint64_t deadline_ns, struct err *err)
{
    struct pollfd p = {.fd = fd, .events = events};
    uint64_t now;
    int n;

    do {
        now = clock_now_ns();
        if (now >= deadline_ns) {
            err_set(err, ERR_TIMEOUT, 0, "no answer in time");
            return err_blame(err, REASON_NO_ANSWER);
        }
        n = poll(&p, 1, (int)((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS));
    } while (n == 0 || (n < 0 && errno == EINTR));
    return n < 0 ? err_set(err, ERR_NET, errno, "poll") : 0;
}

static int connect_to(int fd, const struct sockaddr_un *addr, uint64_t deadline_ns, struct err *err)
{
    /* EAGAIN: its queue of connections is full; there is nothing to poll for. */
    while (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            int sys = errno;

            return err_set_status(err, code_of_errno(sys), sys, "%s", strerror(sys));
        }
        if (clock_now_ns() >= deadline_ns)
            return err_set(err, ERR_TIMEOUT, 0, "too many connections wait there");
        poll(NULL, 0, 10);
    }
    return 0;
}

/* The caller closes *out, set or not. */
static int open_socket(int *out, const char *path, uint64_t deadline_ns, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(addr.sun_path))
        return err_set(err, ERR_LIMIT, 0, "path of %zu bytes, limit %zu for a socket", strlen(path),
                       sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    *out = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*out < 0)
        return err_set(err, ERR_NET, errno, "socket");
    return connect_to(*out, &addr, deadline_ns, err);
}

/* To the socket at path, or to where the question says. */
static int open_way(int *out, const char *path, const struct http1_question *q,
                    uint64_t deadline_ns, struct err *err)
{
    uint64_t now = clock_now_ns();

    if (!q->remote)
        return open_socket(out, path, deadline_ns, err);
    return http1_dial_tls(out, q->remote->host, q->remote->port, q->remote->ca_pem,
                          now < deadline_ns ? (unsigned)((deadline_ns - now) / NS_PER_MS) : 1, err);
}

static int send_all(int fd, const char *data, size_t len, uint64_t deadline_ns, struct err *err)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (wait_for(fd, POLLOUT, deadline_ns, err) < 0)
                return -1;
            continue;
        }
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return 0; /* closed already: perhaps it said why */
        if (n < 0)
            return err_set(err, ERR_NET, errno, "send");
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int send_body(int fd, const struct http1_question *q, uint64_t deadline_ns, struct err *err)
{
    const char *body = q->body;
    size_t step = q->progress ? PROGRESS_STEP : q->body_len;

    for (size_t done = 0; done < q->body_len;) {
        size_t n = q->body_len - done < step ? q->body_len - done : step;

        if (send_all(fd, body + done, n, deadline_ns, err) < 0)
            return -1;
        done += n;
        if (q->progress)
            q->progress(q->progress_ctx, done, q->body_len);
    }
    return 0;
}

static int receive_all(struct buf *in, int fd, uint64_t deadline_ns, struct err *err)
{
    for (;;) {
        ssize_t n;

        if (in->len == in->max)
            return err_set(err, ERR_LIMIT, 0, "answer over %u bytes", HTTP1_BODY_BYTES_MAX);
        if (buf_reserve(in, in->max - in->len < 16384 ? in->max - in->len : 16384, err) < 0)
            return -1;
        n = recv(fd, in->data + in->len, in->cap - in->len, 0);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return 0;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return err_set(err, ERR_NET, errno, "receive");
        if (n < 0 && wait_for(fd, POLLIN, deadline_ns, err) < 0)
            return -1;
        if (n > 0)
            in->len += (size_t)n;
    }
}

static int put_head(struct buf *out, const struct http1_question *q, struct err *err)
{
    bool has_body = q->method == HTTP1_PUT || q->method == HTTP1_POST;

    if (buf_printf(out, err, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n",
                   http1_method_name(q->method), q->target,
                   q->remote ? q->remote->host : "localhost") < 0)
        return -1;
    if (q->token && buf_printf(out, err, "Authorization: Bearer %s\r\n", q->token) < 0)
        return -1;
    if (has_body &&
        buf_printf(out, err, "Content-Type: %s\r\nContent-Length: %zu\r\n",
                   q->content_type ? q->content_type : "application/json", q->body_len) < 0)
        return -1;
    return buf_puts(out, "\r\n", err);
}

static uint64_t deadline_of(unsigned timeout_ms)
{
    return clock_now_ns() + (timeout_ms ? timeout_ms : HTTP1_CLIENT_TIMEOUT_MS) * NS_PER_MS;
}

static int ask(struct http1_answer *out, int fd, const struct http1_question *question,
               uint64_t deadline_ns, struct err *err)
{
    AUTO_BUF struct buf request = {.max = 4 * HTTP1_TARGET_MAX};
    AUTO_BUF struct buf in = {.max = HTTP1_HEAD_BYTES_MAX + HTTP1_BODY_BYTES_MAX + 1};

    if (put_head(&request, question, err) < 0)
        return err_wrap(err, "request");
    if (send_all(fd, (const char *)request.data, request.len, deadline_ns, err) < 0 ||
        send_body(fd, question, deadline_ns, err) < 0 || receive_all(&in, fd, deadline_ns, err) < 0)
        return -1;
    return http1_read_answer(out, in.data ? in.data : (const uint8_t *)"", in.len,
                             question->method == HTTP1_HEAD, err);
}

int http1_ask_fd(struct http1_answer *out, int fd, const struct http1_question *question,
                 unsigned timeout_ms, struct err *err)
{
    *out = (struct http1_answer){0};
    return ask(out, fd, question, deadline_of(timeout_ms), err);
}

int http1_ask_unix(struct http1_answer *out, const char *path,
                   const struct http1_question *question, unsigned timeout_ms, struct err *err)
{
    uint64_t deadline_ns = deadline_of(timeout_ms);
    AUTO_CLOSE int fd = -1;

    *out = (struct http1_answer){0};
    if (open_way(&fd, path, question, deadline_ns, err) < 0)
        return -1;
    return ask(out, fd, question, deadline_ns, err);
}

int http1_get_unix(struct http1_answer *out, const char *path, const char *target,
                   unsigned timeout_ms, struct err *err)
{
    struct http1_question question = {.method = HTTP1_GET, .target = target};

    return http1_ask_unix(out, path, &question, timeout_ms, err);
}

/* --- answers that go on --- */

/* Of a body in chunks: what the next byte is. */
enum chunk_state { SIZE = 0, SIZE_LF, DATA, DATA_CR, DATA_LF, LAST_CR, LAST_LF, END };

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte that is not data. False: malformed. */
static bool take_byte(struct http1_chunks *c, uint8_t byte)
{
    static const struct {
        uint8_t byte;
        enum chunk_state next;
    } steps[] = {
        [DATA_CR] = {'\r', DATA_LF},
        [DATA_LF] = {'\n', SIZE},
        [LAST_CR] = {'\r', LAST_LF},
        [LAST_LF] = {'\n', END},
    };

    if (c->at == SIZE && hex(byte) >= 0 && c->digits < 8) {
        c->left = c->left * 16 + (uint64_t)hex(byte);
        c->digits++;
        return true;
    }
    if (c->at == SIZE) {
        c->at = SIZE_LF;
        return c->digits > 0 && byte == '\r';
    }
    if (c->at == SIZE_LF) {
        c->at = c->left ? DATA : LAST_CR;
        c->digits = 0;
        return byte == '\n';
    }
    if (c->at == END || byte != steps[c->at].byte)
        return false;
    c->at = steps[c->at].next;
    return true;
}

int http1_read_chunks(struct http1_chunks *c, const uint8_t *data, size_t len, http1_piece *each,
                      void *ctx)
{
    while (len) {
        size_t n = 1;

        if (c->at == DATA) {
            n = c->left < len ? (size_t)c->left : len;
            if (!each(ctx, data, n))
                return 2;
            c->left -= n;
            c->at = c->left ? DATA : DATA_CR;
        } else if (!take_byte(c, *data)) {
            return -1;
        }
        data += n;
        len -= n;
    }
    return c->at == END;
}

/* At least one byte more behind in. deadline 0: waits for ever. */
static int receive_some(struct buf *in, int fd, uint64_t deadline_ns, struct err *err)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (buf_reserve(in, 16384, err) < 0)
            return -1;
        n = recv(fd, in->data + in->len, 16384, 0);
        if (n > 0) {
            in->len += (size_t)n;
            return 0;
        }
        if (n == 0 || errno == ECONNRESET)
            return err_set(err, ERR_NET, 0, "the connection broke");
        if (errno != EAGAIN && errno != EINTR)
            return err_set(err, ERR_NET, errno, "receive");
        if (deadline_ns && wait_for(fd, POLLIN, deadline_ns, err) < 0)
            return -1;
        if (!deadline_ns)
            poll(&p, 1, -1);
    }
}

/* The pieces of a body in chunks; what came of it already is in `in`. */
static int follow_chunks(int fd, struct buf *in, http1_piece *each, void *ctx, struct err *err)
{
    struct http1_chunks chunks = {0};

    for (;;) {
        int rc = http1_read_chunks(&chunks, in->data, in->len, each, ctx);

        if (rc < 0)
            return err_set(err, ERR_NET, 0, "malformed answer: its chunks");
        if (rc > 0)
            return 0;
        in->len = 0;
        if (receive_some(in, fd, 0, err) < 0)
            return -1;
    }
}

/* A body of a stated length, whole. */
static int receive_body(struct http1_answer *out, int fd, const struct http1_head *h,
                        struct buf *in, uint64_t deadline_ns, struct err *err)
{
    if (h->length > HTTP1_BODY_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "answer over %u bytes", HTTP1_BODY_BYTES_MAX);
    while (in->len < h->length)
        if (receive_some(in, fd, deadline_ns, err) < 0)
            return -1;
    return buf_append(&out->body, in->data, (size_t)h->length, err);
}

int http1_follow_unix(struct http1_answer *out, const char *path,
                      const struct http1_question *question, http1_piece *each, void *ctx,
                      struct err *err)
{
    uint64_t deadline_ns = clock_now_ns() + HTTP1_CLIENT_TIMEOUT_MS * NS_PER_MS;
    AUTO_BUF struct buf request = {.max = 4 * HTTP1_TARGET_MAX};
    AUTO_BUF struct buf in = {.max = HTTP1_HEAD_BYTES_MAX + HTTP1_BODY_BYTES_MAX + 65536};
    AUTO_CLOSE int fd = -1;
    struct http1_head h;
    long used = 0;

    *out = (struct http1_answer){.body.max = HTTP1_BODY_BYTES_MAX};
    if (put_head(&request, question, err) < 0)
        return err_wrap(err, "request");
    if (open_way(&fd, path, question, deadline_ns, err) < 0 ||
        send_all(fd, (const char *)request.data, request.len, deadline_ns, err) < 0 ||
        send_body(fd, question, deadline_ns, err) < 0)
        return -1;
    while (used == 0) {
        if (receive_some(&in, fd, deadline_ns, err) < 0)
            return -1;
        used = http1_read_head(&h, in.data, in.len, err);
    }
    if (used < 0)
        return -1;
    buf_consume(&in, (size_t)used);
    out->status = h.status;
    memcpy(out->content_type, h.content_type, sizeof(h.content_type));
    if (h.chunked)
        return follow_chunks(fd, &in, each, ctx, err);
    if (receive_body(out, fd, &h, &in, deadline_ns, err) < 0)
        return -1;
    if (h.status == 200 && out->body.len) {
        each(ctx, out->body.data, out->body.len);
        buf_free(&out->body);
    }
    return 0;
}
