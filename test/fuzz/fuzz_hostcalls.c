/* A guest made of fuzz input: the bytes say which imports it calls with what
 * (test/guests/puppet.c), on the real engine, ABI, session and worker; `kube:` answers in whatever
 * way the target says. Whatever it does, each result is one that docs/abi.md has, the event ends,
 * its calls are over, and the next event finds a host that works.
 */
#include "rig/rig.h"

#include "base/limits.h"
#include "support/tmp_dir.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUPPET_BROKEN 0x5eed
#define SECONDS_MAX   4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct {
    struct rig rig;
    struct tmp_dir dir;
    struct guest *g;
    const uint8_t *data;
    size_t len;
    unsigned long events;
    char key[48];
    bool over;
} f;

static int fill_with_input(void *ctx, const struct guest *g, uint16_t trigger, const char *key,
                           struct event *ev, struct err *err)
{
    uint8_t *copy = malloc(f.len + 1);

    (void)ctx;
    (void)g;
    (void)trigger;
    (void)key;
    ev->type = "dev.roost.reconcile";
    ev->source = strdup("kube:/apis/amurant.io/v1/namespaces/test/testresources");
    if (!copy || !ev->source)
        return err_set(err, ERR_NOMEM, 0, "no memory");
    memcpy(copy, f.data, f.len);
    ev->body = (struct blob){.data = copy, .len = f.len, .ref = copy, .unref = free};
    return 0;
}

/* By the last letter of the target. */
static void answer(void *ctx, struct call *c, const struct guest *g)
{
    static const char head[] = "content-type: text/plain\nx: 1\nstatus: 3\nx: 2\n";
    size_t n = strlen(call_target(c));
    char how = n ? call_target(c)[n - 1] : 'a';

    (void)ctx;
    (void)g;
    if (how == 'h')
        return; /* never */
    if (how == 'd') {
        call_problem(c, 403, "denied", "no");
        return;
    }
    call_head(c, 200, head, sizeof(head) - 1);
    if (how == 'o')
        return; /* an open end */
    for (int i = 0; i < 3; i++)
        call_data(c, (const uint8_t *)"0123456789", 10);
    call_end(c, how != 'b');
}

/* What the input asked for that would take time is forgotten: to be tried again, a back-off. */
static void observe(struct rig *r, const struct guest *g, enum guest_event ev)
{
    (void)r;
    if (ev != GE_DONE && ev != GE_SLEPT && ev != GE_TRAP)
        return;
    assert(g->awake->result != PUPPET_BROKEN || ev == GE_TRAP);
    assert(g->awake->ncalls == 0);
    f.over |= !strcmp(g->awake->ev.key, f.key);
    f.g->awake->result = 0;
    f.g->awake->answer.requeue_after_ms = 0;
    f.g->crashes = 0;
}

static bool is_over(struct rig *r, void *ctx)
{
    (void)r;
    (void)ctx;
    return f.over && f.g->state != G_RUNNING;
}

static void tweak(struct guest_spec *spec)
{
    spec->sleep_mode = SLEEP_FRESH; /* each input begins with the module's own memory */
    spec->limits.memory_bytes = 8 * MIB;
    spec->limits.cpu_ns = NS_PER_S;
    spec->limits.time_ns = 5 * NS_PER_MS;
}

static void leave(void)
{
    rig_close(&f.rig);
    tmp_dir_remove(&f.dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_init(LOG_ERROR + 1, "text");
    f.rig.observe = observe;
    if (tmp_dir_make(&f.dir) < 0 || !rig_open(&f.rig, f.dir.path, 1, true))
        abort();
    f.rig.trigger.fill = fill_with_input;
    f.rig.kube.start = answer;
    f.g = rig_add(&f.rig, "puppet", "puppet", NULL, tweak);
    if (!f.g)
        abort();
    atexit(leave);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    f.data = data;
    f.len = len < 4096 ? len : 4096;
    f.over = false;
    snprintf(f.key, sizeof(f.key), "test/%lu", ++f.events);
    guest_changed(f.g, 0, f.key, ++f.rig.seq);
    if (!rig_run(&f.rig, is_over, NULL, SECONDS_MAX)) {
        fprintf(stderr, "the event is not over after %u s: %s\n", SECONDS_MAX,
                guest_state_name(f.g->state));
        abort();
    }
    return 0;
}
