/* An admin API with made-up guests on its own thread, for tests of both its ends. */
#ifndef ROOST_TEST_ADMIN_FAKE_H
#define ROOST_TEST_ADMIN_FAKE_H

#include "base/limits.h"
#include "serve/admin.h"
#include "support/tmp_dir.h"

#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct admin_fake {
    char dir[64], path[80]; /* a state directory, and the socket in it */
    struct loop *loop;
    struct admin *admin;
    pthread_t thread;
    struct msg stop;
    /* What is answered; set before admin_fake_start. */
    const char *guests;  /* JSON array; NULL: no memory */
    const char *reasons; /* NULL: ready */
    unsigned resets;
};

static void fake_ready(void *ctx, admin_check *check, void *to)
{
    const struct admin_fake *f = ctx;

    check(to, "made-up", f->reasons);
    check(to, "always", NULL);
}

static int fake_list(void *ctx, json_t *array)
{
    const struct admin_fake *f = ctx;
    json_t *guests = f->guests ? json_loads(f->guests, 0, NULL) : NULL;
    int rc = guests ? json_array_extend(array, guests) : -1;

    json_decref(guests);
    return rc;
}

static int fake_describe(void *ctx, const char *namespace_, const char *name, json_t **out)
{
    json_t *guests = json_array(), *guest;
    size_t i;

    if (fake_list(ctx, guests) == 0) {
        json_array_foreach(guests, i, guest)
        {
            if (strcmp(json_string_value(json_object_get(guest, "namespace")), namespace_) == 0 &&
                strcmp(json_string_value(json_object_get(guest, "name")), name) == 0)
                *out = json_incref(guest);
        }
    }
    json_decref(guests);
    return *out ? 0 : -1;
}

static json_t *fake_stats(void *ctx)
{
    const struct admin_fake *f = ctx;

    return json_pack("{s:i}", "resets", (int)f->resets);
}

static void fake_reset(void *ctx)
{
    struct admin_fake *f = ctx;

    f->resets++;
}

static void fake_stop(struct msg *m)
{
    struct admin_fake *f = container_of(m, struct admin_fake, stop);

    admin_free(f->admin);
    loop_stop(f->loop);
}

static void *fake_run(void *loop)
{
    loop_run(loop);
    return NULL;
}

/* 0, or -1 with errno's text on stderr. */
static int admin_fake_start(struct admin_fake *f)
{
    struct admin_source source = {.ctx = f,
                                  .ready = fake_ready,
                                  .list = fake_list,
                                  .describe = fake_describe,
                                  .stats = fake_stats,
                                  .reset = fake_reset};
    struct err err = {0};

    signal(SIGPIPE, SIG_IGN);
    f->stop.run = fake_stop;
    snprintf(f->dir, sizeof(f->dir), "%s/roost-admin-XXXXXX", tmp_base());
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->path, sizeof(f->path), "%s/admin.sock", f->dir);
    if (loop_new(&f->loop, &err) < 0 ||
        admin_new(&f->admin, f->loop, f->path, NULL, &source, &err) < 0 ||
        pthread_create(&f->thread, NULL, fake_run, f->loop)) {
        fprintf(stderr, "admin_fake: %s\n", err.msg);
        return -1;
    }
    return 0;
}

static int admin_fake_stop(struct admin_fake *f)
{
    loop_post(f->loop, &f->stop);
    if (pthread_join(f->thread, NULL))
        return -1;
    loop_free(f->loop);
    return rmdir(f->dir);
}

#endif
