/* The server. A connection is in one of four phases, and each has its deadline:
 *
 *   IDLE     between requests; nothing of a head is there yet   idle_timeout
 *   HEAD     some bytes of a head                               head_timeout, from its first byte
 *   WRITING  an answer is on its way; nothing is read           write_timeout
 *   CLOSING  its handle is being closed
 *
 * A new connection is in HEAD: whoever connects has something to say. Bytes that came behind a
 * request wait in `in` until its answer is written (pipelining), which is why reading stops: `in`
 * never holds more than one head's maximum.
 *
 * Memory: the listener and each connection hold a libuv handle and are released in its close
 * callback; the server goes with the last of them.
 */
#include "base/http1.h"

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <uv.h>

enum phase { IDLE = 1, HEAD, WRITING, CLOSING };

struct conn {
    uv_pipe_t handle;
    struct http1_server *server;
    struct conn *prev, *next;
    struct timer deadline;
    enum phase phase;
    struct buf in;
    /* The answer under way. */
    uv_write_t write;
    struct http1_response res;
    char head[256];
    bool last; /* close after it */
};

struct http1_server {
    uv_pipe_t listener;
    struct loop *loop;
    http1_handler *handler;
    void *ctx;
    struct http1_options opts;
    struct conn *conns;
    unsigned nconns, handles;
    char *path;
    dev_t dev; /* the socket file that is ours */
    ino_t ino;
    char scratch[4096]; /* what was just read */
};

static void conn_parse(struct conn *c);

/* --- closing --- */

static void handle_gone(struct http1_server *s)
{
    if (--s->handles > 0)
        return;
    free(s->path);
    free(s);
}

static void conn_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    struct http1_server *s = c->server;

    buf_free(&c->in);
    buf_free(&c->res.body);
    free(c);
    handle_gone(s);
}

static void conn_close(struct conn *c)
{
    struct http1_server *s = c->server;

    if (c->phase == CLOSING)
        return;
    c->phase = CLOSING;
    loop_timer_clear(s->loop, &c->deadline);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->nconns--;
    uv_close((uv_handle_t *)&c->handle, conn_closed);
}

/* --- phases --- */

static void deadline_passed(struct timer *t)
{
    conn_close(container_of(t, struct conn, deadline));
}

/* Enters a phase and starts its deadline. Entering the phase that it is in changes nothing: that is
 * what makes deadlines absolute. */
static void conn_enter(struct conn *c, enum phase phase)
{
    const struct http1_options *o = &c->server->opts;
    const unsigned timeouts[] = {
        [IDLE] = o->idle_timeout_ms, [HEAD] = o->head_timeout_ms, [WRITING] = o->write_timeout_ms};

    if (c->phase == phase || c->phase == CLOSING)
        return;
    c->phase = phase;
    if (loop_timer_set(c->server->loop, &c->deadline,
                       loop_now_ns(c->server->loop) + timeouts[phase] * NS_PER_MS, NULL) < 0)
        conn_close(c); /* without a deadline it must not stay */
}

/* --- reading --- */

static void read_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = handle->data;
    size_t room = HTTP1_HEAD_BYTES_MAX - c->in.len;

    (void)suggested;
    *buf = uv_buf_init(
        c->server->scratch,
        (unsigned)(room < sizeof(c->server->scratch) ? room : sizeof(c->server->scratch)));
}

static void read_came(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;

    if (n == 0)
        return;
    if (n < 0 || buf_append(&c->in, buf->base, (size_t)n, NULL) < 0) {
        conn_close(c);
        return;
    }
    conn_parse(c);
}

static void read_on(struct conn *c)
{
    int rc = 0;

    if (c->phase != CLOSING)
        rc = uv_read_start((uv_stream_t *)&c->handle, read_alloc, read_came);
    if (rc && rc != UV_EALREADY)
        conn_close(c);
}

/* --- answering --- */

static void write_done(uv_write_t *req, int status)
{
    struct conn *c = req->data;

    buf_free(&c->res.body);
    if (c->phase == CLOSING)
        return;
    if (status < 0 || c->last) {
        conn_close(c);
        return;
    }
    conn_enter(c, c->in.len ? HEAD : IDLE);
    conn_parse(c);
}

static void conn_answer(struct conn *c, bool head_only)
{
    struct http1_response *res = &c->res;
    uv_buf_t parts[2];
    int n = snprintf(c->head, sizeof(c->head),
                     "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                     "Cache-Control: no-store\r\n%s%s\r\n",
                     res->status, http1_reason(res->status), res->content_type, res->body.len,
                     res->status == 405 ? "Allow: GET, HEAD\r\n" : "",
                     c->last ? "Connection: close\r\n" : "");

    assert(n > 0 && (size_t)n < sizeof(c->head));
    parts[0] = uv_buf_init(c->head, (unsigned)n);
    parts[1] = uv_buf_init((char *)res->body.data, head_only ? 0 : (unsigned)res->body.len);
    uv_read_stop((uv_stream_t *)&c->handle);
    conn_enter(c, WRITING);
    c->write.data = c;
    if (c->phase == WRITING &&
        uv_write(&c->write, (uv_stream_t *)&c->handle, parts, parts[1].len ? 2 : 1, write_done))
        conn_close(c);
}

static void conn_respond(struct conn *c, const struct http1_request *req)
{
    struct http1_server *s = c->server;

    c->last = req->close;
    c->res = (struct http1_response){
        .status = 200, .content_type = "application/json", .body.max = HTTP1_BODY_BYTES_MAX};
    if (req->refused)
        http1_problem(&c->res, req->refused, req->why);
    else
        s->handler(s->ctx, req, &c->res);
    conn_answer(c, req->head);
}

/* Reads on where no whole head is there, else answers. */
static void conn_parse(struct conn *c)
{
    struct http1_request req;
    long used = http1_read_request(c->in.data, c->in.len, &req);

    if (used == 0) {
        if (c->in.len)
            conn_enter(c, HEAD);
        else
            buf_free(&c->in); /* an idle connection holds no buffer */
        read_on(c);
        return;
    }
    if (used > 0)
        buf_consume(&c->in, (size_t)used);
    conn_respond(c, &req);
}

/* --- accepting --- */

static struct conn *conn_new(struct http1_server *s)
{
    struct conn *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->server = s;
    c->in.max = HTTP1_HEAD_BYTES_MAX;
    c->deadline.fire = deadline_passed;
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    s->nconns++;
    s->handles++;
    uv_pipe_init(loop_uv(s->loop), &c->handle, 0);
    c->handle.data = c;
    return c;
}

/* Without memory for a connection the peer waits in the backlog until one closes. */
static void connection_came(uv_stream_t *listener, int status)
{
    struct http1_server *s = listener->data;
    struct http1_request full = {
        .refused = 503, .why = "too many connections: try again", .close = true};
    struct conn *c;
    bool over;

    if (status < 0) {
        log_warn("admin socket: accept: %s", uv_strerror(status));
        return;
    }
    over = s->nconns >= s->opts.connections_max;
    c = conn_new(s);
    if (!c)
        return;
    if (uv_accept(listener, (uv_stream_t *)&c->handle) < 0) {
        conn_close(c);
        return;
    }
    conn_enter(c, HEAD);
    if (over)
        conn_respond(c, &full);
    else
        conn_parse(c);
}

/* --- the socket file --- */

static int io_err(struct err *err, const char *what, const char *path)
{
    return err_set(err, errno == EACCES || errno == EPERM ? ERR_DENIED : ERR_IO, errno, "%s %s",
                   what, path);
}

/* Removes the file at path where it is a socket that nobody listens at. */
static int remove_stale(const struct sockaddr_un *addr, struct err *err)
{
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;

    if (fd < 0 || lstat(addr->sun_path, &st) < 0)
        return io_err(err, "socket", addr->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_EXISTS, 0, "%s is no socket: move it away", addr->sun_path);
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno != ECONNREFUSED)
        return err_set(err, ERR_EXISTS, 0, "another process listens at %s", addr->sun_path);
    return unlink(addr->sun_path) < 0 ? io_err(err, "remove", addr->sun_path) : 0;
}

/* The umask is the process's: this is called before threads that create files are started. */
static int bind_private(int fd, const struct sockaddr_un *addr)
{
    mode_t before = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)addr, sizeof(*addr));

    umask(before);
    return rc;
}

/* Binds, in place of a stale socket where there is one. */
static int bind_at(int fd, const struct sockaddr_un *addr, struct err *err)
{
    if (bind_private(fd, addr) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return io_err(err, "bind", addr->sun_path);
    if (remove_stale(addr, err) < 0)
        return -1;
    return bind_private(fd, addr) < 0 ? io_err(err, "bind", addr->sun_path) : 0;
}

/* A bound socket at s->path, 0600 from its first moment. The caller closes *out, set or not. */
static int make_socket(struct http1_server *s, int *out, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct stat st;

    if (strlen(s->path) >= sizeof(addr.sun_path))
        return err_set(err, ERR_LIMIT, 0, "%s: path of %zu bytes, limit %zu for a socket", s->path,
                       strlen(s->path), sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, s->path, strlen(s->path) + 1);
    *out = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*out < 0)
        return io_err(err, "socket", s->path);
    if (bind_at(*out, &addr, err) < 0)
        return -1;
    if (lstat(s->path, &st) < 0)
        return io_err(err, "stat", s->path);
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    return 0;
}

static void remove_socket(const struct http1_server *s)
{
    struct stat st;

    if (s->ino && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
        unlink(s->path);
}

/* --- life --- */

static void options_fill(struct http1_options *to, const struct http1_options *from)
{
    static const struct http1_options none = {0};
    const struct http1_options *o = from ? from : &none;

    to->connections_max = o->connections_max ? o->connections_max : HTTP1_CONNECTIONS_MAX;
    to->head_timeout_ms = o->head_timeout_ms ? o->head_timeout_ms : HTTP1_HEAD_TIMEOUT_MS;
    to->idle_timeout_ms = o->idle_timeout_ms ? o->idle_timeout_ms : HTTP1_IDLE_TIMEOUT_MS;
    to->write_timeout_ms = o->write_timeout_ms ? o->write_timeout_ms : HTTP1_WRITE_TIMEOUT_MS;
}

static void listener_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

void http1_server_free(struct http1_server *s)
{
    if (!s)
        return;
    remove_socket(s);
    while (s->conns)
        conn_close(s->conns);
    uv_close((uv_handle_t *)&s->listener, listener_closed);
}

int http1_serve_unix(struct http1_server **out, struct loop *loop, const char *path,
                     const struct http1_options *opts, http1_handler *handler, void *ctx,
                     struct err *err)
{
    struct http1_server *s = calloc(1, sizeof(*s));
    int fd = -1, rc;

    *out = NULL;
    if (!s || !(s->path = strdup(path))) {
        free(s);
        return err_set(err, ERR_NOMEM, 0, "no memory for the server at %s", path);
    }
    s->loop = loop;
    s->handler = handler;
    s->ctx = ctx;
    options_fill(&s->opts, opts);
    if (make_socket(s, &fd, err) < 0) {
        if (fd >= 0)
            close(fd);
        free(s->path);
        free(s);
        return -1;
    }
    uv_pipe_init(loop_uv(loop), &s->listener, 0);
    s->listener.data = s;
    s->handles = 1;
    rc = uv_pipe_open(&s->listener, fd);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&s->listener, HTTP1_BACKLOG, connection_came);
    else
        close(fd);
    if (rc) {
        http1_server_free(s);
        return err_set(err, ERR_IO, -rc, "listen at %s", path);
    }
    *out = s;
    return 0;
}

unsigned http1_server_connections(const struct http1_server *s)
{
    return s->nconns;
}
