/* See dirwatch.h: uv_fs_event and a timer. */
#include "base/dirwatch.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

#include <stdlib.h>
#include <uv.h>

struct dirwatch {
    uv_fs_event_t handle;
    struct loop *loop;
    struct timer settled;
    uint64_t settle_ns, first_ns; /* first: of this burst; 0: none */
    void (*changed)(void *ctx);
    void *ctx;
};

static void is_settled(struct timer *t)
{
    struct dirwatch *w = container_of(t, struct dirwatch, settled);

    w->first_ns = 0;
    w->changed(w->ctx);
}

static void came(uv_fs_event_t *handle, const char *name, int events, int status)
{
    struct dirwatch *w = handle->data;
    uint64_t now = loop_now_ns(w->loop), due = now + w->settle_ns, latest;

    (void)name;
    (void)events;
    (void)status; /* whatever it is, the folder is to be looked at */
    if (!w->first_ns)
        w->first_ns = now;
    latest = w->first_ns + DIRWATCH_LATEST * w->settle_ns;
    w->settled.fire = is_settled;
    if (loop_timer_set(w->loop, &w->settled, due < latest ? due : latest, NULL) < 0)
        log_error("no memory for a timer: a changed folder is looked at with its next change");
}

static void closed(uv_handle_t *handle)
{
    free(handle->data);
}

static enum err_code code_of(int rc)
{
    if (rc == UV_ENOENT || rc == UV_ENOTDIR)
        return ERR_NOT_FOUND;
    if (rc == UV_EACCES || rc == UV_EPERM)
        return ERR_DENIED;
    return rc == UV_ENOSPC || rc == UV_EMFILE ? ERR_LIMIT : ERR_IO;
}

int dirwatch_new(struct dirwatch **out, struct loop *loop, const char *path, unsigned settle_ms,
                 void (*changed)(void *ctx), void *ctx, struct err *err)
{
    struct dirwatch *w = calloc(1, sizeof(*w));
    int rc;

    *out = NULL;
    if (!w)
        return err_set(err, ERR_NOMEM, 0, "no memory to watch %s", path);
    w->loop = loop;
    w->settle_ns = settle_ms * NS_PER_MS;
    w->changed = changed;
    w->ctx = ctx;
    uv_fs_event_init(loop_uv(loop), &w->handle);
    w->handle.data = w;
    rc = uv_fs_event_start(&w->handle, came, path, 0);
    if (rc) {
        uv_close((uv_handle_t *)&w->handle, closed);
        return err_set(err, code_of(rc), -rc, "watch of %s", path);
    }
    *out = w;
    return 0;
}

void dirwatch_free(struct dirwatch *w)
{
    if (!w)
        return;
    loop_timer_clear(w->loop, &w->settled);
    uv_close((uv_handle_t *)&w->handle, closed);
}
