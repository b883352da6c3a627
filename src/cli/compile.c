/* A module compiled as the daemon would have it compiled, by roost-compile, with nothing else going
 * on meanwhile: for compile and inspect. */
#include "cli/cli.h"

#include "base/loop.h"
#include "engine/imagecache.h"

#include <signal.h>

struct inspection {
    struct loop *loop;
    struct compile *compile;
    struct err err; /* why it failed */
    int signum;     /* what ended it early */
};

static void compiled(void *ctx, const struct err *err)
{
    struct inspection *in = ctx;

    in->compile = NULL;
    if (err)
        in->err = *err;
    loop_stop(in->loop);
}

static void interrupted(void *ctx, int signum)
{
    struct inspection *in = ctx;

    in->signum = signum;
    loop_stop(in->loop);
}

static int run_compiler(struct inspection *in, const struct compile_opts *opts, struct err *err)
{
    if (loop_on_signal(in->loop, SIGINT, interrupted, in, err) < 0 ||
        loop_on_signal(in->loop, SIGTERM, interrupted, in, err) < 0 ||
        compile_start(&in->compile, in->loop, opts, compiled, in, err) < 0)
        return -1;
    loop_run(in->loop);
    compile_cancel(in->compile);
    if (in->err.code)
        *err = in->err;
    return in->err.code || in->signum ? -1 : 0;
}

int cli_compile(const char *module, const uint8_t *digest, const char *image, int *signum,
                struct err *err)
{
    struct compile_opts opts = {.module_path = module, .image_path = image, .digest = digest};
    struct inspection in = {.loop = NULL};
    int rc;

    if (loop_new(&in.loop, err) < 0)
        return -1;
    rc = run_compiler(&in, &opts, err);
    loop_free(in.loop);
    *signum = in.signum;
    return rc;
}
