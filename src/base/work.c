/* See work.h: uv_queue_work with its request in a block of its own. */
#include "base/work.h"

#include "base/limits.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

struct work {
    uv_work_t req;
    void (*run)(void *ctx);
    void (*done)(void *ctx);
    void *ctx;
};

/* What guests do goes first, where there are too few cores. */
static void be_nice(void)
{
    static _Thread_local bool nice;

    if (!nice)
        setpriority(PRIO_PROCESS, (id_t)gettid(),
                    getpriority(PRIO_PROCESS, (id_t)gettid()) + IO_THREAD_NICE);
    nice = true;
}

static void runs(uv_work_t *req)
{
    struct work *w = req->data;

    be_nice();
    w->run(w->ctx);
}

static void is_done(uv_work_t *req, int status)
{
    struct work *w = req->data;
    void (*done)(void *ctx) = w->done;
    void *ctx = w->ctx;

    (void)status; /* nothing is ever cancelled */
    free(w);
    done(ctx);
}

int work_start(struct loop *loop, void (*run)(void *ctx), void (*done)(void *ctx), void *ctx,
               struct err *err)
{
    struct work *w = malloc(sizeof(*w));

    if (!w)
        return err_set(err, ERR_NOMEM, 0, "no memory for work on another thread");
    *w = (struct work){.run = run, .done = done, .ctx = ctx};
    w->req.data = w;
    if (uv_queue_work(loop_uv(loop), &w->req, runs, is_done) == 0)
        return 0;
    free(w);
    return err_set(err, ERR_NOMEM, 0, "no thread for work");
}
