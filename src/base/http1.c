/* The server. A connection is in one of seven phases, and each has its deadline:
 *
 *   IDLE     between requests; nothing of a head is there yet   idle_timeout
 *   HEAD     some bytes of a head                               head_timeout, from its first byte
 *   BODY     a head, and not all of its body                    body_timeout
 *   WORKING  the answer comes later; nothing is read            work_timeout, then 504
 *   WRITING  an answer is on its way; nothing is read           write_timeout
 *   STREAMING  the answer is a stream (http1_stream.c); what    write_timeout, for each write
 *            is read is thrown away: it is the last answer,
 *            but reading shows that the peer went
 *   CLOSING  its handle is being closed
 *
 * A new connection is in HEAD: whoever connects has something to say. Bytes that came behind a
 * request wait in `in` until its answer is written (pipelining), which is why reading stops: `in`
 * never holds more than one head's maximum. A body is read into its own buffer, and not a byte more
 * than was stated.
 *
 * Memory: the listener and each connection hold a libuv handle and are released in its close
 * callback; the server goes with the last of them. An answer that comes later is its owner's, and
 * knows its connection for as long as that is there.
 */
#include "base/auto.h"
#include "base/clock.h"
#include "base/http1_internal.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static void conn_parse(struct conn *c);
static void conn_handle(struct conn *c);

/* --- closing --- */

static void handle_gone(struct http1_server *s)
{
    if (--s->handles > 0)
        return;
    free(s->path);
    free(s);
}

/* The request is over: its body gives back its room. */
static void request_free(struct conn *c)
{
    if (!c->req)
        return;
    c->server->bodies -= c->req->body_len;
    buf_free(&c->body);
    free(c->req);
    c->req = NULL;
}

static void conn_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    struct http1_server *s = c->server;

    buf_free(&c->in);
    buf_free(&c->res.body);
    http1_stream_free(c);
    free(c);
    handle_gone(s);
}

void http1_conn_close(struct conn *c)
{
    struct http1_server *s = c->server;

    if (c->phase == CLOSING)
        return;
    c->phase = CLOSING;
    loop_timer_clear(s->loop, &c->deadline);
    request_free(c);
    if (c->later)
        c->later->conn = NULL;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->nconns--;
    uv_close((uv_handle_t *)&c->handle, conn_closed);
    http1_stream_gone(c);
}

/* --- phases --- */

static void conn_answer(struct conn *c, bool head_only);

/* Its work goes on, and is nobody's to tell of. */
static void give_up(struct conn *c)
{
    c->later->conn = NULL;
    c->later = NULL;
    c->last = true;
    http1_problem(&c->res, 504, "this takes longer than can be waited for; it goes on");
    conn_answer(c, c->head_only);
}

static void deadline_passed(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, deadline);

    if (c->phase == WORKING)
        give_up(c);
    else if (c->phase == STREAMING)
        http1_stream_timer(c);
    else
        http1_conn_close(c);
}

/* Enters a phase and starts its deadline. Entering the phase that it is in changes nothing: that is
 * what makes deadlines absolute. */
static void conn_enter(struct conn *c, enum phase phase)
{
    const struct http1_options *o = &c->server->opts;
    const unsigned timeouts[] = {
        [IDLE] = o->idle_timeout_ms,     [HEAD] = o->head_timeout_ms,
        [BODY] = o->body_timeout_ms,     [WORKING] = o->work_timeout_ms,
        [WRITING] = o->write_timeout_ms, [STREAMING] = o->write_timeout_ms};

    if (c->phase == phase || c->phase == CLOSING)
        return;
    c->phase = phase;
    if (loop_timer_set(c->server->loop, &c->deadline,
                       loop_now_ns(c->server->loop) + timeouts[phase] * NS_PER_MS, NULL) < 0)
        http1_conn_close(c); /* without a deadline it must not stay */
}

/* --- reading --- */

static size_t body_missing(const struct conn *c)
{
    return (size_t)c->req->body_len - c->body.len;
}

static void read_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = handle->data;
    size_t room = c->phase == BODY ? body_missing(c) : HTTP1_HEAD_BYTES_MAX - c->in.len;
    size_t scratch = sizeof(c->server->scratch);

    (void)suggested;
    *buf = uv_buf_init(c->server->scratch, (unsigned)(room < scratch ? room : scratch));
}

static void read_came(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    bool body = c->phase == BODY;

    if (n == 0 || (n > 0 && c->phase == STREAMING))
        return;
    if (n < 0 || buf_append(body ? &c->body : &c->in, buf->base, (size_t)n, NULL) < 0) {
        http1_conn_close(c);
        return;
    }
    if (!body)
        conn_parse(c);
    else if (body_missing(c) == 0)
        conn_handle(c);
}

static void read_on(struct conn *c)
{
    int rc = 0;

    if (c->phase != CLOSING)
        rc = uv_read_start((uv_stream_t *)&c->handle, read_alloc, read_came);
    if (rc && rc != UV_EALREADY)
        http1_conn_close(c);
}

/* --- answering --- */

static void write_done(uv_write_t *req, int status)
{
    struct conn *c = req->data;

    buf_free(&c->res.body);
    if (c->phase == CLOSING)
        return;
    if (status < 0 || c->last) {
        http1_conn_close(c);
        return;
    }
    conn_enter(c, c->in.len ? HEAD : IDLE);
    conn_parse(c);
}

static void make_head(struct conn *c)
{
    const struct http1_response *res = &c->res;
    char more[96] = "", framing[64] = "Transfer-Encoding: chunked"; /* HEAD of a stream */
    int n;

    if (res->status == 405)
        snprintf(more, sizeof(more), "Allow: %s\r\n", res->allow[0] ? res->allow : HTTP1_METHODS);
    if (res->status == 401)
        snprintf(more, sizeof(more), "WWW-Authenticate: Bearer realm=\"roost\"\r\n");
    if (!res->streamed)
        snprintf(framing, sizeof(framing), "Content-Length: %zu", res->body.len);
    n = snprintf(c->head, sizeof(c->head),
                 "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%s\r\nCache-Control: no-store\r\n%s%s\r\n",
                 res->status, http1_reason(res->status), res->content_type, framing, more,
                 c->last ? "Connection: close\r\n" : "");
    assert(n > 0 && (size_t)n < sizeof(c->head));
}

static void conn_answer(struct conn *c, bool head_only)
{
    struct http1_response *res = &c->res;
    uv_buf_t parts[2];

    make_head(c);
    parts[0] = uv_buf_init(c->head, (unsigned)strlen(c->head));
    parts[1] = uv_buf_init((char *)res->body.data, head_only ? 0 : (unsigned)res->body.len);
    uv_read_stop((uv_stream_t *)&c->handle);
    conn_enter(c, WRITING);
    c->write.data = c;
    if (c->phase == WRITING &&
        uv_write(&c->write, (uv_stream_t *)&c->handle, parts, parts[1].len ? 2 : 1, write_done))
        http1_conn_close(c);
}

/* --- handling --- */

static void response_begin(struct http1_response *res)
{
    *res = (struct http1_response){
        .status = 200, .content_type = "application/json", .body.max = HTTP1_BODY_BYTES_MAX};
}

/* An answer without the handler. The body, where one was stated, is not read. */
static void conn_refuse(struct conn *c, const struct http1_request *req)
{
    c->last = req->close || req->body_len > 0;
    c->head_only = req->head;
    conn_answer(c, req->head);
}

static void conn_refuse_with(struct conn *c, const struct http1_request *req, int status,
                             const char *why)
{
    response_begin(&c->res);
    http1_problem(&c->res, status, why);
    conn_refuse(c, req);
}

struct http1_later *http1_later_begin(struct http1_response *res)
{
    struct conn *c = container_of(res, struct conn, res);
    struct http1_later *later = calloc(1, sizeof(*later));

    assert(c->handling && !c->later);
    if (!later) {
        http1_problem(res, 503, "no memory for this: try again");
        return NULL;
    }
    response_begin(&later->res);
    later->conn = c;
    c->later = later;
    return later;
}

struct http1_response *http1_later_response(struct http1_later *later)
{
    return &later->res;
}

/* A body that was taken counts among those under way until its answer is sent: it is in memory as
 * before. The server is there for that long. */
static void later_hold(struct http1_later *later, const struct conn *c)
{
    if (c->body.data || !c->req->body_len)
        return;
    later->server = c->server;
    later->held = c->req->body_len;
    c->server->bodies += later->held;
    c->server->handles++;
}

void http1_later_send(struct http1_later *later)
{
    struct http1_server *holder = later->server;
    struct conn *c = later->conn;

    if (holder)
        holder->bodies -= later->held;

    if (c) {
        c->later = NULL;
        c->res = later->res;
        /* From within its handler: it is answered when that returns. */
        if (!c->handling)
            conn_answer(c, c->head_only);
    } else {
        buf_free(&later->res.body);
    }
    free(later);
    if (holder)
        handle_gone(holder);
}

static void conn_stream(struct conn *c)
{
    conn_enter(c, STREAMING);
    buf_free(&c->in);
    read_on(c);
    if (c->phase == STREAMING)
        http1_stream_begin(c);
}

/* The request is there, whole. */
static void conn_handle(struct conn *c)
{
    struct http1_server *s = c->server;

    uv_read_stop((uv_stream_t *)&c->handle);
    c->last = c->req->close;
    c->head_only = c->req->head;
    c->req->body = &c->body;
    response_begin(&c->res);
    c->handling = true;
    s->handler(s->ctx, c->req, &c->res);
    c->handling = false;
    if (c->later)
        later_hold(c->later, c);
    request_free(c);
    if (c->stream)
        conn_stream(c);
    else if (c->later)
        conn_enter(c, WORKING);
    else
        conn_answer(c, c->head_only);
}

/* Some peers send nothing of a large body before they know that it is wanted. */
static void say_continue(struct conn *c)
{
    static char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    uv_buf_t part = uv_buf_init(text, sizeof(text) - 1);

    if (uv_try_write((uv_stream_t *)&c->handle, &part, 1) != (int)part.len)
        http1_conn_close(c);
}

/* Takes what came behind the head, and reads what is missing. */
static void conn_read_body(struct conn *c)
{
    size_t n = c->in.len < c->req->body_len ? c->in.len : (size_t)c->req->body_len;

    if (buf_append(&c->body, c->in.data, n, NULL) < 0) {
        http1_conn_close(c);
        return;
    }
    buf_consume(&c->in, n);
    if (body_missing(c) == 0) {
        conn_handle(c);
        return;
    }
    conn_enter(c, BODY);
    if (c->req->expects && n == 0)
        say_continue(c);
    read_on(c);
}

/* Whether the request's body is taken; else it was answered. */
static bool body_admit(struct conn *c, const struct http1_request *req)
{
    struct http1_server *s = c->server;
    uint64_t max;
    char why[96];

    response_begin(&c->res);
    max = s->opts.body_max ? s->opts.body_max(s->ctx, req, &c->res) : 0;
    if (c->res.status != 200) {
        conn_refuse(c, req);
        return false;
    }
    buf_free(&c->res.body);
    if (req->body_len <= max && s->bodies + req->body_len <= HTTP1_BODIES_BYTES_MAX)
        return true;
    if (req->body_len <= max)
        snprintf(why, sizeof(why), "too many bodies of requests are under way: try again");
    else if (max)
        snprintf(why, sizeof(why), "a body of %llu bytes, limit %llu",
                 (unsigned long long)req->body_len, (unsigned long long)max);
    else
        snprintf(why, sizeof(why), "this request takes no body");
    conn_refuse_with(c, req, req->body_len <= max ? 503 : 413, why);
    return false;
}

static void conn_begin(struct conn *c, const struct http1_request *req)
{
    if (!body_admit(c, req))
        return;
    c->req = malloc(sizeof(*req));
    if (!c->req) {
        conn_refuse_with(c, req, 503, "no memory for this: try again");
        return;
    }
    *c->req = *req;
    c->req->query = c->req->path + (req->query - req->path);
    c->body = (struct buf){.max = (size_t)req->body_len + 1};
    c->server->bodies += req->body_len;
    conn_read_body(c);
}

/* Reads on where no whole head is there, else begins its request. */
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
    if (used < 0) {
        conn_refuse_with(c, &req, req.refused, req.why);
        return;
    }
    if (c->guard && !c->guard->admit(c->guard->ctx, req.credentials, req.credentials_len)) {
        req.close = true;
        conn_refuse_with(c, &req, 401,
                         "over TCP a bearer token is needed: that of admin.tokenFile");
        return;
    }
    req.credentials = NULL; /* it points into what is dropped now */
    buf_consume(&c->in, (size_t)used);
    conn_begin(c, &req);
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

/* The connection's handle is open. */
static void conn_start(struct conn *c, bool over)
{
    struct http1_request none = {.close = true};

    conn_enter(c, HEAD);
    if (over)
        conn_refuse_with(c, &none, 503, "too many connections: try again");
    else
        conn_parse(c);
}

int http1_server_adopt(struct http1_server *s, int fd, const struct http1_guard *guard,
                       struct err *err)
{
    bool over = s->nconns >= s->opts.connections_max;
    struct conn *c = conn_new(s);
    int rc = c ? uv_pipe_open(&c->handle, fd) : 0;

    if (c && rc == 0) {
        c->guard = guard;
        conn_start(c, over);
        return 0;
    }
    close(fd);
    if (!c)
        return err_set(err, ERR_NOMEM, 0, "no memory for a connection");
    http1_conn_close(c);
    return err_set(err, ERR_IO, -rc, "a connection");
}

/* Without memory for a connection the peer waits in the backlog until one closes. */
static void connection_came(uv_stream_t *listener, int status)
{
    struct http1_server *s = listener->data;
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
        http1_conn_close(c);
        return;
    }
    conn_start(c, over);
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
    if (!S_ISSOCK(st.st_mode)) {
        err_set(err, ERR_EXISTS, 0, "%s is no socket: move it away", addr->sun_path);
        return err_blame(err, REASON_SOCKET_IN_USE);
    }
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno != ECONNREFUSED) {
        err_set(err, ERR_EXISTS, 0, "another process listens at %s: stop it, or use another socket",
                addr->sun_path);
        return err_blame(err, REASON_SOCKET_IN_USE);
    }
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

/* The group first: nobody else is let in on the way. */
static int open_to_group(const struct http1_server *s, struct err *err)
{
    if (s->opts.group && lchown(s->path, (uid_t)-1, s->opts.group) < 0)
        return io_err(err, "give to the group", s->path);
    if (s->opts.mode && chmod(s->path, s->opts.mode) < 0)
        return io_err(err, "change the mode of", s->path);
    return 0;
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
    return open_to_group(s, err);
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
    to->body_timeout_ms = o->body_timeout_ms ? o->body_timeout_ms : HTTP1_BODY_TIMEOUT_MS;
    to->work_timeout_ms = o->work_timeout_ms ? o->work_timeout_ms : HTTP1_WORK_TIMEOUT_MS;
    to->body_max = o->body_max;
    to->mode = o->mode;
    to->group = o->group;
    to->idle_timeout_ms = o->idle_timeout_ms ? o->idle_timeout_ms : HTTP1_IDLE_TIMEOUT_MS;
    to->write_timeout_ms = o->write_timeout_ms ? o->write_timeout_ms : HTTP1_WRITE_TIMEOUT_MS;
    to->streams_max = o->streams_max ? o->streams_max : HTTP1_STREAMS_MAX;
    to->stream_backlog_max = o->stream_backlog_max ? o->stream_backlog_max : HTTP1_STREAM_BACKLOG;
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
    while (s->conns) {
        http1_stream_farewell(s->conns);
        http1_conn_close(s->conns);
    }
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
        remove_socket(s);
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

unsigned http1_server_streams(const struct http1_server *s)
{
    return s->nstreams;
}
