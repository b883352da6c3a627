#include "rig/rig.h"

#include "base/limits.h"
#include "engine/arena.h"
#include "engine/cold.h"
#include "engine/imagecache.h"
#include "engine/sigbus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the trigger: what the test says --- */

static struct rig_object *object_of(struct rig *r, const char *key)
{
    for (size_t i = 0; i < r->nobjects; i++)
        if (!strcmp(r->objects[i].key, key))
            return &r->objects[i];
    return NULL;
}

/* A copy: the object may change while the guest reads it. */
static int fill_body(struct event *ev, const char *body, struct err *err)
{
    char *copy = strdup(body);

    if (!copy)
        return err_set(err, ERR_NOMEM, 0, "no memory");
    ev->body = (struct blob){
        .data = (const uint8_t *)copy, .len = strlen(copy), .ref = copy, .unref = free};
    return 0;
}

static int fill(void *ctx, const struct guest *g, uint16_t trigger, const char *key,
                struct event *ev, struct err *err)
{
    struct rig_object *o = object_of(ctx, key);

    (void)g;
    (void)trigger;
    ev->type = "dev.roost.reconcile";
    ev->source = strdup("kube:/apis/amurant.io/v1/namespaces/test/testresources");
    ev->uid = o ? strdup("00000000-0000-0000-0000-000000000001") : NULL;
    if (!ev->source)
        return err_set(err, ERR_NOMEM, 0, "no memory");
    return o ? fill_body(ev, o->body, err) : 0;
}

static void due_since(void *ctx, struct guest *g, uint16_t trigger, uint64_t seen)
{
    struct rig *r = ctx;

    for (size_t i = 0; i < r->nobjects; i++) {
        const struct rig_object *o = &r->objects[i];

        if (o->seq > seen && (!r->own_keys || !strcmp(o->guest, g->id)))
            guest_changed(g, trigger, o->key, o->seq);
    }
}

/* --- kube: --- */

static bool granted(void *ctx, const struct guest *g)
{
    (void)ctx;
    (void)g;
    return true;
}

static void kube_start(void *ctx, struct call *c, const struct guest *g)
{
    struct rig *r = ctx;
    struct bytes body = call_body(c);
    static const char head[] = "content-type: application/json\n";

    (void)g;
    r->calls++;
    snprintf(r->last_target, sizeof(r->last_target), "%s", call_target(c));
    if (body.len)
        snprintf(r->last_body, sizeof(r->last_body), "%.*s", (int)body.len,
                 (const char *)body.data);
    call_head(c, 200, head, sizeof(head) - 1);
    call_data(c, (const uint8_t *)"{}", 2);
    call_end(c, true);
}

static void kube_write(void *ctx, struct call *c, const uint8_t *data, size_t len, bool last)
{
    (void)ctx;
    (void)c;
    (void)data;
    (void)len;
    (void)last;
}

static void kube_consume_none(void *ctx, struct call *c, size_t n)
{
    (void)ctx;
    (void)c;
    (void)n;
}

static void kube_cancel_none(void *ctx, struct call *c)
{
    (void)ctx;
    (void)c;
}

/* The rig's `kube:` lives on the test's own loop, so that tests need no locks: calls change threads
 * here, by messages, unless it says otherwise. */
static int open_capabilities(void *ctx, size_t worker, struct loop *loop, struct capabilities *out,
                             struct err *err)
{
    struct rig *r = ctx;

    (void)worker;
    (void)err;
    *out = (struct capabilities){
        .loop = r->kube_on_workers ? loop : r->loop, .all = {&r->kube}, .n = 1};
    return 0;
}

static void close_capabilities(void *ctx, size_t worker)
{
    (void)ctx;
    (void)worker;
}

/* --- images, made once for all tests of a build --- */

static bool run_compiler(const char *module, const char *image)
{
    char program[] = ROOST_BINARY_DIR "/roost-compile";
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        execl(program, program, module, image, (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

const char *rig_image(const char *module, uint8_t digest[32])
{
    static char image[1024], last[64];
    static uint8_t last_digest[32];
    char path[512];
    struct err err = {0};

    if (!strcmp(last, module)) {
        memcpy(digest, last_digest, sizeof(last_digest));
        return image;
    }
    last[0] = 0;

    snprintf(path, sizeof(path), "%s/guests/%s.wasm", ROOST_BINARY_DIR, module);
    mkdir(ROOST_BINARY_DIR "/images", 0700);
    if (image_digest(path, digest, NULL, &err) < 0 ||
        image_path(image, sizeof(image), ROOST_BINARY_DIR "/images", digest, &err) < 0) {
        fprintf(stderr, "rig: %s\n", err.msg);
        return "";
    }
    if (image_check(image, &err) < 0 && !run_compiler(path, image)) {
        fprintf(stderr, "rig: %s could not be compiled\n", path);
        return "";
    }
    memcpy(last_digest, digest, sizeof(last_digest));
    snprintf(last, sizeof(last), "%s", module);
    return image;
}

/* --- life --- */

static void drained(void *ctx)
{
    struct rig *r = ctx;

    r->drained = true;
    loop_stop(r->loop);
}

static void observed(void *ctx, const struct guest *g, enum guest_event ev)
{
    struct rig *r = ctx;

    if (r->observe)
        r->observe(r, g, ev);
}

static void after(void *ctx, const struct guest *g, enum guest_event ev)
{
    struct rig *r = ctx;

    (void)g;
    (void)ev;
    if (r->until && r->until(r, r->until_ctx))
        loop_stop(r->loop);
}

static int open_all(struct rig *r, struct err *err)
{
    char path[512];
    struct guests_opts opts = {.clock = clock_real,
                               .capabilities = &r->capabilities,
                               .watch = &r->trigger,
                               .workers = r->workers,
                               .io_threads = 2,
                               .boot = r->boot,
                               .drained = drained,
                               .observe = observed,
                               .after = after,
                               .ctx = r};

    if (loop_new(&r->loop, err) < 0)
        return -1;
    snprintf(path, sizeof(path), "%s/db", r->dir);
    if (db_open(&r->db, path, err) < 0)
        return -1;
    snprintf(path, sizeof(path), "%s/arena", r->dir);
    if (arena_open_on(&r->arena, path, r->disk ? r->disk : &disk_real, err) < 0 ||
        engine_new(&r->engine, &session_calls, err) < 0 || sigbus_install(err) < 0 ||
        cold_install(err) < 0)
        return -1;
    opts.loop = r->loop;
    opts.engine = r->engine;
    opts.arena = r->arena;
    opts.db = r->db;
    return guests_new(&r->guests, &opts, err);
}

static void close_all(struct rig *r)
{
    guests_free(r->guests);
    while (r->nimages)
        image_unref(r->images[--r->nimages].image);
    engine_free(r->engine);
    db_close(r->db);
    arena_close(r->arena);
    loop_free(r->loop);
    r->guests = NULL;
}

bool rig_open(struct rig *r, const char *dir, size_t workers, bool same_boot)
{
    static uint64_t boot = 1; /* of this process's make-believe machine */
    struct err err = {0};

    snprintf(r->dir, sizeof(r->dir), "%s", dir);
    r->workers = workers;
    if (!same_boot)
        boot++;
    r->boot = r->own_boot ? r->own_boot : boot;
    r->drained = false;
    r->nimages = 0;
    r->until = NULL;
    r->trigger = (struct trigger){.ctx = r, .fill = fill, .due_since = due_since};
    r->kube = (struct capability){.scheme = "kube",
                                  .ctx = r,
                                  .granted = granted,
                                  .start = kube_start,
                                  .write = kube_write,
                                  .consume = kube_consume_none,
                                  .cancel = kube_cancel_none};
    r->capabilities = (struct capability_source){
        .ctx = r, .open = open_capabilities, .close = close_capabilities};
    r->loop = NULL;
    r->db = NULL;
    r->arena = NULL;
    r->engine = NULL;
    r->guests = NULL;
    if (open_all(r, &err) < 0) {
        snprintf(r->error, sizeof(r->error), "%s", err.msg);
        if (!r->may_fail)
            fprintf(stderr, "rig: %s\n", err.msg);
        close_all(r);
        return false;
    }
    return true;
}

void rig_close(struct rig *r)
{
    r->until = NULL;
    guests_drain(r->guests);
    if (!r->drained)
        loop_run(r->loop);
    close_all(r);
}

static struct guest_spec *make_spec(const char *module, const char *name, const char *const *env)
{
    struct guest_spec *s = calloc(1, sizeof(*s));
    size_t n = 0;

    while (env && env[n])
        n++;
    s->name = strdup(name);
    s->namespace_ = strdup("test");
    s->module = strdup(module);
    s->service_account = strdup("test");
    s->file = strdup("test");
    s->env = calloc(n + 1, sizeof(*s->env));
    for (; s->nenv < n; s->nenv++) {
        const char *eq = strchr(env[s->nenv], '=');

        s->env[s->nenv].name = strndup(env[s->nenv], (size_t)(eq - env[s->nenv]));
        s->env[s->nenv].value = strdup(eq + 1);
    }
    s->limits.memory_bytes = 256ull * MIB;
    s->limits.cpu_ns = 10 * NS_PER_S;
    s->limits.time_ns = 30 * NS_PER_S;
    s->limits.calls = 16;
    s->nwatches = 1;
    s->watches = calloc(1, sizeof(*s->watches));
    s->watches[0].api_version = strdup("amurant.io/v1");
    s->watches[0].kind = strdup("TestResource");
    return s;
}

/* As in the daemon, the guests of a module have one image. */
static int image_shared(struct image **out, struct rig *r, const char *path, struct err *err)
{
    size_t i = 0;

    while (i < r->nimages && strcmp(r->images[i].path, path) != 0)
        i++;
    if (i < r->nimages) {
        *out = image_ref(r->images[i].image);
        return 0;
    }
    if (image_load(out, r->engine, path, err) < 0)
        return -1;
    if (i < RIG_IMAGES) {
        snprintf(r->images[i].path, sizeof(r->images[i].path), "%s", path);
        r->images[i].image = image_ref(*out);
        r->nimages++;
    }
    return 0;
}

struct guest *rig_add(struct rig *r, const char *module, const char *name, const char *const *env,
                      void (*tweak)(struct guest_spec *spec))
{
    struct guest_spec *spec = make_spec(module, name, env);
    uint8_t digest[32];
    const char *path = rig_image(module, digest);
    struct image *image;
    struct err err = {0};
    struct guest *g;

    if (tweak)
        tweak(spec);
    if (!path[0] || guests_add(&g, r->guests, spec, digest, &err) < 0) {
        snprintf(r->error, sizeof(r->error), "%s", err.msg);
        if (!r->may_fail)
            fprintf(stderr, "rig: %s: %s\n", module, err.msg);
        return NULL;
    }
    if (image_shared(&image, r, path, &err) < 0) {
        guest_reject(g, &err);
        return r->may_fail ? g : NULL;
    }
    guest_image_ready(g, image);
    return g;
}

int rig_replace(struct rig *r, struct guest *g, const char *module, const char *const *env,
                void (*tweak)(struct guest_spec *spec), guest_changed_over *done, void *ctx,
                struct err *err)
{
    struct guest_spec *spec = make_spec(module, g->spec->name, env);
    uint8_t digest[32];
    const char *path = rig_image(module, digest);
    struct image *image;

    if (tweak)
        tweak(spec);
    if (!path[0] || image_shared(&image, r, path, err) < 0) {
        guest_spec_free(spec);
        return -1;
    }
    return guest_replace(g, spec, digest, image, done, ctx, err);
}

void rig_change(struct rig *r, struct guest *g, const char *key, const char *body)
{
    struct rig_object *o = object_of(r, key);

    if (!o && r->nobjects < RIG_OBJECTS) {
        o = &r->objects[r->nobjects++];
        snprintf(o->key, sizeof(o->key), "%s", key);
        snprintf(o->guest, sizeof(o->guest), "%s", g->id);
    }
    if (o) {
        snprintf(o->body, sizeof(o->body), "%s", body);
        o->seq = ++r->seq;
    }
    guest_changed(g, 0, key, r->seq);
}

struct deadline {
    struct timer timer;
    struct loop *loop;
    bool passed;
};

static void deadline_passed(struct timer *t)
{
    struct deadline *d = container_of(t, struct deadline, timer);

    d->passed = true;
    loop_stop(d->loop);
}

bool rig_run(struct rig *r, bool (*until)(struct rig *r, void *ctx), void *ctx, unsigned seconds)
{
    struct deadline d = {.timer = {.fire = deadline_passed}, .loop = r->loop};
    struct err err;

    if (until(r, ctx))
        return true;
    if (loop_timer_set(r->loop, &d.timer, clock_now_ns() + seconds * NS_PER_S, &err) < 0)
        return false;
    r->until = until;
    r->until_ctx = ctx;
    loop_run(r->loop);
    r->until = NULL;
    loop_timer_clear(r->loop, &d.timer);
    return !d.passed;
}

static bool settled(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return (g->state == G_ASLEEP || g->state == G_COLD) && mailbox_len(g->mailbox) == 0 &&
           g->posted == GE_NONE;
}

bool rig_settle(struct rig *r, const struct guest *g, unsigned seconds)
{
    return rig_run(r, settled, (void *)(uintptr_t)g, seconds);
}
