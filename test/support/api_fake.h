/* A daemon's admin API of canned answers, on its own thread, for tests of the command line: which
 * request gets which answer is a table, and what was asked is written down.
 */
#ifndef ROOST_TEST_API_FAKE_H
#define ROOST_TEST_API_FAKE_H

#include "base/http1.h"
#include "base/limits.h"
#include "support/tmp_dir.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct api_answer {
    enum http1_method method;
    const char *target; /* with its query; a last '*' stands for anything */
    int status;
    const char *body;    /* of a stream: its lines, whole */
    bool stream, broken; /* broken: it ends by the server's end, not by its own */
    unsigned times;      /* how often it is given; then the next row that fits is. 0: always */
};

struct api_fake {
    char dir[64], path[80]; /* a state directory, and the socket in it */
    struct api_answer answers[32];
    struct loop *loop;
    struct http1_server *server;
    pthread_t thread;
    struct msg stop;
    struct buf log; /* "METHOD target body\n" of each request; read it after api_fake_stop */
};

static inline bool api_fits(const struct api_answer *a, const struct http1_request *req)
{
    char target[HTTP1_TARGET_MAX + 2];
    size_t n = strlen(a->target);

    snprintf(target, sizeof(target), "%s%s%s", req->path, *req->query ? "?" : "", req->query);
    if (a->method != req->method)
        return false;
    if (n && a->target[n - 1] == '*')
        return strncmp(a->target, target, n - 1) == 0;
    return strcmp(a->target, target) == 0;
}

static inline void api_log(struct api_fake *f, const struct http1_request *req)
{
    (void)!buf_printf(&f->log, NULL, "%s %s%s%s", http1_method_name(req->method), req->path,
                      *req->query ? "?" : "", req->query);
    if (req->body && req->body->len && req->body->len < 2000)
        (void)!buf_printf(&f->log, NULL, " %.*s", (int)req->body->len, (char *)req->body->data);
    else if (req->body && req->body->len)
        (void)!buf_printf(&f->log, NULL, " %zu bytes", req->body->len);
    (void)!buf_puts(&f->log, "\n", NULL);
}

static inline void api_gone(void *ctx)
{
    (void)ctx;
}

static inline void api_stream(const struct api_answer *a, const struct http1_request *req,
                              struct http1_response *res)
{
    static const struct http1_stream_owner owner = {NULL, api_gone};
    struct http1_stream *s = NULL;

    if (http1_stream_open(&s, req, res, "application/x-ndjson", &owner, NULL) < 0 || !s)
        return;
    http1_stream_push(s, a->body, strlen(a->body));
    if (!a->broken)
        http1_stream_end(s);
}

static inline void api_handle(void *ctx, const struct http1_request *req,
                              struct http1_response *res)
{
    struct api_fake *f = ctx;

    api_log(f, req);
    for (struct api_answer *a = f->answers; a->target; a++) {
        if (!api_fits(a, req) || a->times == UINT32_MAX)
            continue;
        if (a->times && --a->times == 0)
            a->times = UINT32_MAX;
        if (a->stream) {
            api_stream(a, req, res);
            return;
        }
        res->status = a->status ? a->status : 200;
        (void)!buf_puts(&res->body, a->body ? a->body : "", NULL);
        return;
    }
    http1_problem(res, 404, "there is nothing at this path");
}

static inline uint64_t api_body_max(void *ctx, const struct http1_request *req,
                                    struct http1_response *res)
{
    (void)ctx;
    (void)req;
    (void)res;
    return HTTP1_BODY_BYTES_MAX;
}

static inline void api_stop(struct msg *m)
{
    struct api_fake *f = container_of(m, struct api_fake, stop);

    http1_server_free(f->server);
    loop_stop(f->loop);
}

static inline void *api_run(void *loop)
{
    loop_run(loop);
    return NULL;
}

/* 0, or -1 with the reason on stderr. */
static inline int api_fake_start(struct api_fake *f)
{
    struct http1_options opts = {.body_max = api_body_max};
    struct err err = {0};

    signal(SIGPIPE, SIG_IGN);
    f->stop.run = api_stop;
    snprintf(f->dir, sizeof(f->dir), "%s/roost-api-XXXXXX", tmp_base());
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->path, sizeof(f->path), "%s/admin.sock", f->dir);
    if (loop_new(&f->loop, &err) < 0 ||
        http1_serve_unix(&f->server, f->loop, f->path, &opts, api_handle, f, &err) < 0 ||
        pthread_create(&f->thread, NULL, api_run, f->loop)) {
        fprintf(stderr, "api_fake: %s\n", err.msg);
        return -1;
    }
    return setenv("ROOST_STATE", f->dir, 1);
}

/* The log stays; free it with buf_free. */
static inline int api_fake_stop(struct api_fake *f)
{
    loop_post(f->loop, &f->stop);
    if (pthread_join(f->thread, NULL))
        return -1;
    loop_free(f->loop);
    unsetenv("ROOST_STATE");
    return rmdir(f->dir);
}

#endif
