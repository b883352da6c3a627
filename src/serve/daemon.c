/* See daemon.h. The struct holds what must be freed, in the order in which it was made; daemon_free
 * goes backwards and accepts any half of it.
 */
#include "serve/daemon.h"

#include "base/cgroup.h"
#include "base/clock.h"
#include "base/db.h"
#include "base/heap.h"
#include "base/limits.h"
#include "base/notify.h"
#include "base/state_dir.h"
#include "capability/kube.h"
#include "engine/cold.h"
#include "engine/sigbus.h"
#include "guest/guest.h"
#include "kube/kubeconfig.h"
#include "serve/admin.h"
#include "serve/deploy.h"
#include "serve/guests_view.h"
#include "serve/metrics.h"
#include "serve/remote.h"
#include "serve/report.h"
#include "trigger/watch.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

struct daemon {
    struct daemon_opts opts;
    const struct options_source *source; /* where opts are from; borrowed */
    struct state_dir *state;
    struct kube_config *config;
    struct loop *loop;
    struct notify *notify;
    struct db *db;
    struct arena *arena;
    struct engine *engine;
    struct kube_client *client;
    struct kube_client *call_clients[WORKERS_MAX + 1]; /* of the workers with threads */
    struct kube_client *clients[WORKERS_MAX + 2];      /* all, for metrics */
    struct kube_capability *kube[WORKERS_MAX + 1];
    size_t nkube;
    struct capability_source capabilities;
    struct watch *watch;
    struct guests *guests;
    struct deploy_rows *rows; /* at start */
    struct deploy *deploy;
    struct guests_view view;
    struct msg budget_msg;
    bool budget_due;
    struct admin *admin;
    struct metrics *metrics;
    struct http1_tls *remote; /* the admin API over TCP */
    struct report report;
    struct timer trim, kube_retry;
    uint64_t trim_due_ns;
    uint64_t sleeps_seen; /* by trim */
    unsigned rests;
    struct kube_stream *probe;
    bool kube_ready, stopping;
    char kube_trouble[ERR_MSG_MAX];
    size_t workers;
    uint64_t started_ns;
};

/* --- the API server: there, and lets us in --- */

static void kube_probe(struct daemon *d);

static void probe_head(void *ctx, int status, const char *headers, size_t len)
{
    struct daemon *d = ctx;

    (void)headers;
    (void)len;
    d->kube_ready = status == 200;
    if (!d->kube_ready)
        snprintf(d->kube_trouble, sizeof(d->kube_trouble),
                 "the API server answers /version with %d", status);
}

static void probe_data(void *ctx, const uint8_t *data, size_t len)
{
    struct daemon *d = ctx;

    (void)data;
    kube_consume(d->probe, len);
}

static void probe_again(struct timer *t)
{
    kube_probe(container_of(t, struct daemon, kube_retry));
}

static void probe_failed(struct daemon *d, const char *why)
{
    if (strcmp(d->kube_trouble, why) != 0)
        log_warn("API server: %s; trying again", why);
    snprintf(d->kube_trouble, sizeof(d->kube_trouble), "%s", why);
    d->kube_retry.fire = probe_again;
    if (loop_timer_set(d->loop, &d->kube_retry, loop_now_ns(d->loop) + NS_PER_S, NULL) < 0)
        log_error("no memory for a timer");
}

static void probe_end(void *ctx, const struct err *err)
{
    struct daemon *d = ctx;

    d->probe = NULL;
    if (err || !d->kube_ready) {
        d->kube_ready = false;
        probe_failed(d, err ? err->msg : d->kube_trouble);
        return;
    }
    log_info("API server %s: connected", d->config->authority);
    d->kube_trouble[0] = 0;
}

static void kube_probe(struct daemon *d)
{
    static const struct kube_receiver receiver = {
        .on_head = probe_head, .on_data = probe_data, .on_end = probe_end};
    struct kube_request req = {.method = "GET", .path = "/version", .lane = KUBE_CALL};
    struct err err = {0};

    if (kube_send(&d->probe, d->client, &req, &receiver, d, &err) < 0)
        probe_failed(d, err.msg);
}

/* --- guests --- */

static void apply_overrides(const struct daemon_opts *opts, struct guest_spec *spec)
{
    if (opts->never_sleep) {
        spec->sleep_mode = SLEEP_NEVER;
        spec->sleep_mode_set = false;
    }
    if (!spec->sleep_after_set)
        spec->sleep_after_ns = opts->sleep_after_ns;
}

static void override(void *ctx, struct guest_spec *spec)
{
    const struct daemon *d = ctx;

    apply_overrides(&d->opts, spec);
}

/* What awake guests may have: as was said, or as the control group's limit has it. */
static void set_budget(struct daemon *d)
{
    uint64_t limit = cgroup_memory_limit(), bytes = d->opts.memory_bytes;

    if (!bytes && limit != UINT64_MAX) {
        bytes = budget_memory_default(limit, guests_stats(d->guests)->guests);
        log_info("memory limit %llu MiB: awake guests may have %llu MiB of it",
                 (unsigned long long)(limit / MIB), (unsigned long long)(bytes / MIB));
    }
    guests_set_memory(d->guests, bytes);
}

/* Their number has changed, and each is a part of what the daemon itself needs. */
static void budget_again(struct msg *m)
{
    struct daemon *d = container_of(m, struct daemon, budget_msg);
    uint64_t limit = cgroup_memory_limit(), bytes = d->opts.memory_bytes;

    d->budget_due = false;
    if (!bytes && limit != UINT64_MAX)
        bytes = budget_memory_default(limit, guests_stats(d->guests)->guests);
    guests_set_memory(d->guests, bytes);
}

/* --- what the admin API shows --- */

static void check_lines(admin_check *check, void *to, const char *name, bool failed,
                        struct buf *lines)
{
    const char *text = failed ? buf_cstr(lines) : NULL;

    check(to, name, failed && !text ? "" : text);
    lines->len = 0;
}

static void readiness(void *ctx, admin_check *check, void *to)
{
    AUTO_BUF struct buf why = {0};
    struct daemon *d = ctx;
    bool failed;

    check(to, "running", d->stopping ? "stopping\n" : NULL);
    failed = !deploy_ready(d->deploy, &why);
    check_lines(check, to, "modules", failed, &why);
    if (!d->opts.kubernetes)
        return;
    if (!d->kube_ready)
        (void)!buf_printf(&why, NULL, "API server: %s\n",
                          d->kube_trouble[0] ? d->kube_trouble : "connecting");
    check_lines(check, to, "api-server", !d->kube_ready, &why);
    failed = !watch_ready(d->watch, &why);
    check_lines(check, to, "watches", failed, &why);
}

static const struct err *reject_at(const void *ctx, size_t i)
{
    return deploy_reject_at(ctx, i);
}

static void guest_moved(void *ctx, struct guest *g, const char *id)
{
    struct daemon *d = ctx;

    guests_view_moved(&d->view, g, id);
    if (!d->budget_due) {
        d->budget_due = true;
        d->budget_msg.run = budget_again;
        loop_post(d->loop, &d->budget_msg);
    }
}

static void guest_stepped(void *ctx, const struct guest *g, enum guest_event ev)
{
    struct daemon *d = ctx;

    (void)ev;
    guests_view_changed(&d->view, (struct guest *)(uintptr_t)g);
}

static int describe(void *ctx, const char *namespace_, const char *name, json_t **out)
{
    struct daemon *d = ctx;
    char id[SPEC_SUBDOMAIN_MAX * 2 + 2];
    const struct guest *g;

    snprintf(id, sizeof(id), "%s/%s", namespace_, name);
    g = guests_find(d->guests, id);
    if (!g)
        return -1;
    *out = report_describe(g, d->watch);
    return *out ? 0 : -1;
}

static json_t *stats(void *ctx)
{
    struct daemon *d = ctx;

    return report_stats(&d->report);
}

static void reset(void *ctx)
{
    struct daemon *d = ctx;

    report_reset(&d->report);
}

/* --- signals --- */

static void drained(void *ctx)
{
    struct daemon *d = ctx;

    loop_stop(d->loop);
}

static void told_to_stop(void *ctx, int signum)
{
    struct daemon *d = ctx;

    if (d->stopping) {
        log_warn("signal %d again: ending at once; guests resume from their last sleep", signum);
        _exit(1);
    }
    d->stopping = true;
    notify_send(d->notify, "STOPPING=1\nSTATUS=saving %zu guests\n",
                guests_stats(d->guests)->guests);
    log_info("signal %d: finishing what is in hand, saving all guests", signum);
    watch_stop(d->watch);
    guests_drain(d->guests);
}

/* --- the options, read again --- */

/* trouble: what is wrong, or empty. */
static void notify_ready(struct daemon *d, const char *trouble)
{
    notify_send(d->notify, "READY=1\nSTATUS=%zu guests%s%s\n", guests_stats(d->guests)->guests,
                *trouble ? "; options read again: " : "", trouble);
}

static void change_sleep_after(struct daemon *d)
{
    for (size_t i = 0; guests_at(d->guests, i); i++)
        apply_overrides(&d->opts, guests_at(d->guests, i)->spec);
}

static void change_log_level(struct daemon *d)
{
    log_level_set((enum log_level)d->opts.log_level);
}

/* What takes a changed option in; where there is none, it is read from opts when it is needed. */
static void (*change_of(const struct option_def *def))(struct daemon *d)
{
    static const struct {
        const char *path;
        void (*change)(struct daemon *d);
    } changes[] = {
        {"memory", set_budget},
        {"sleep.after", change_sleep_after},
        {"log.level", change_log_level},
    };

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        if (strcmp(changes[i].path, def->path) == 0)
            return changes[i].change;
    return NULL;
}

/* "a, b" of the changed options that can, or cannot, change while the daemon runs. */
static const char *name_changes(const struct daemon_opts *a, const struct daemon_opts *b,
                                bool reload, char *out, size_t size)
{
    size_t n, used = 0;
    const struct option_def *table = options_table(&n);

    out[0] = 0;
    for (size_t i = 0; i < n && used < size; i++)
        if (table[i].reload == reload && !options_same(a, b, &table[i]))
            used +=
                (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", table[i].path);
    return out;
}

static void take_options(struct daemon *d, struct daemon_opts *fresh)
{
    size_t n;
    const struct option_def *table = options_table(&n);
    char changed[512], kept[512];

    name_changes(&d->opts, fresh, true, changed, sizeof(changed));
    name_changes(&d->opts, fresh, false, kept, sizeof(kept));
    for (size_t i = 0; i < n; i++) {
        void (*change)(struct daemon * d) = change_of(&table[i]);

        if (!table[i].reload || options_same(&d->opts, fresh, &table[i]))
            continue;
        options_swap(&d->opts, fresh, &table[i]);
        if (change)
            change(d);
    }
    log_info("options read again: %s%s", *changed ? "changed " : "nothing changed", changed);
    if (*kept)
        log_warn("options read again: %s cannot change while the daemon runs: start it again for "
                 "them",
                 kept);
}

/* Everything is read and checked before anything changes. */
static int reload(struct daemon *d, struct err *err)
{
    struct tls_context *context = NULL;
    struct tls_token token = {0};
    struct daemon_opts fresh;

    if (options_load(&fresh, d->source, err) < 0)
        return -1;
    if (d->remote && remote_load(&context, &token, &fresh, err) < 0) {
        options_free(&fresh);
        return -1;
    }
    if (context) /* the files may hold something new under their old names */
        http1_tls_change(d->remote, context, &token);
    take_options(d, &fresh);
    options_free(&fresh);
    return 0;
}

static void told_to_reload(void *ctx, int signum)
{
    struct daemon *d = ctx;
    struct err err = {0};

    (void)signum;
    if (d->stopping)
        return;
    notify_reloading(d->notify);
    if (reload(d, &err) < 0)
        log_error("options read again: %s; all stay as they were", err.msg);
    notify_ready(d, err.msg);
}

/* --- memory: what freed instances leave in the allocator goes back to the system --- */

/* All of it, once guests have rested for a while, and after the start. In steps: what the workers'
 * threads give up at one is given back at the next. */
static void trim_all(struct daemon *d)
{
    engine_trim(d->engine);
    if (++d->rests < TRIM_RESTS)
        guests_flush(d->guests);
    heap_flush();
    malloc_trim(0);
}

/* Only when nothing runs: it takes the allocator's locks for a millisecond. */
static void trim(struct timer *t)
{
    struct daemon *d = container_of(t, struct daemon, trim);
    const struct guests_stats *st = guests_stats(d->guests);
    bool slept = st->counts.sleeps != d->sleeps_seen;

    metrics_lag(d->metrics, clock_now_ns() - d->trim_due_ns);
    d->sleeps_seen = st->counts.sleeps;
    if (slept)
        d->rests = 0;
    if (st->by_state[G_RUNNING] == 0 && slept) {
        malloc_trim(64 * KIB);
    } else if (st->by_state[G_RUNNING] == 0 && d->rests < TRIM_RESTS) {
        trim_all(d);
    }
    guests_rest(d->guests);
    d->trim_due_ns = clock_now_ns() + TRIM_EVERY_NS;
    if (loop_timer_set(d->loop, t, d->trim_due_ns, NULL) < 0)
        log_error("no memory for a timer");
}

/* --- start and end --- */

static void daemon_free(struct daemon *d)
{
    if (d->guests)
        guests_view_free(&d->view);
    admin_free(d->admin);
    metrics_free(d->metrics);
    http1_tls_free(d->remote);
    deploy_stop(d->deploy);
    guests_free(d->guests);
    watch_free(d->watch);
    deploy_rows_free(d->rows);
    if (d->probe)
        kube_cancel(d->probe);
    kube_client_free(d->client);
    engine_free(d->engine);
    db_close(d->db); /* commits what waits, and releases into the arena */
    arena_close(d->arena);
    notify_close(d->notify);
    loop_free(d->loop);
    deploy_free(d->deploy);
    kube_config_free(d->config);
    state_dir_close(d->state);
    options_free(&d->opts);
}

static int open_state(struct daemon *d, struct err *err)
{
    char path[4096];

    if (state_dir_open(&d->state, d->opts.state_dir, err) < 0)
        return -1;
    snprintf(path, sizeof(path), "%s/db", d->opts.state_dir);
    if (db_open(&d->db, path, err) < 0)
        return -1;
    snprintf(path, sizeof(path), "%s/arena", d->opts.state_dir);
    if (arena_open(&d->arena, path, err) < 0)
        return -1;
    return deploy_rows_read(&d->rows, d->db, err);
}

static int connect_kube(struct daemon *d, struct err *err)
{
    if (!d->opts.kubernetes)
        return 0;
    if (kube_config_load(&d->config, d->opts.kubeconfig, d->opts.context, err) < 0 ||
        kube_client_new(&d->client, d->loop, d->config, err) < 0)
        return -1;
    kube_probe(d);
    return 0;
}

/* A worker's own capabilities, with a connection of their own; the one on the loop has the loop's.
 */
static int open_capabilities(void *ctx, size_t worker, struct loop *loop, struct capabilities *out,
                             struct err *err)
{
    struct daemon *d = ctx;
    struct kube_client *client = d->client;

    if (d->config && loop != d->loop) {
        if (kube_client_new(&d->call_clients[worker], loop, d->config, err) < 0)
            return -1;
        client = d->call_clients[worker];
    }
    if (kube_capability_new(&d->kube[worker], loop, client, err) < 0)
        return -1;
    d->nkube = worker + 1;
    *out =
        (struct capabilities){.loop = loop, .all = {kube_capability_of(d->kube[worker])}, .n = 1};
    return 0;
}

static void close_capabilities(void *ctx, size_t worker)
{
    struct daemon *d = ctx;

    kube_capability_free(d->kube[worker]);
    d->kube[worker] = NULL;
    kube_client_free(d->call_clients[worker]);
    d->call_clients[worker] = NULL;
}

static int make_guests(struct daemon *d, struct err *err)
{
    struct watch_opts wopts = {.loop = d->loop, .db = d->db, .time = kube_time_of(d->loop)};
    struct guests_opts gopts = {.loop = d->loop,
                                .clock = clock_real,
                                .engine = d->engine,
                                .arena = d->arena,
                                .db = d->db,
                                .capabilities = &d->capabilities,
                                .workers = d->workers,
                                .io_threads = d->opts.io_threads,
                                .maps_max = budget_maps_default(),
                                .boot = state_dir_boot(),
                                .drained = drained,
                                .after = guest_stepped,
                                .ctx = d};

    struct deploy_opts dopts = {.loop = d->loop,
                                .db = d->db,
                                .engine = d->engine,
                                .state_dir = d->opts.state_dir,
                                .guests_dir = d->opts.guests_dir,
                                .override = override,
                                .moved = guest_moved,
                                .ctx = d};

    d->capabilities = (struct capability_source){
        .ctx = d, .open = open_capabilities, .close = close_capabilities};
    if (d->client)
        wopts.http = kube_http_of(d->client);
    if (getrandom(&wopts.seed, sizeof(wopts.seed), 0) != sizeof(wopts.seed))
        return err_set(err, ERR_IO, errno, "random numbers");
    if (watch_new(&d->watch, &wopts, err) < 0)
        return -1;
    gopts.watch = watch_trigger(d->watch);
    if (guests_new(&d->guests, &gopts, err) < 0)
        return -1;
    d->view.loop = d->loop;
    d->view.guests = d->guests;
    dopts.guests = d->guests;
    if (deploy_new(&d->deploy, &dopts, err) < 0)
        return -1;
    d->view.reject_at = reject_at;
    d->view.ctx = d->deploy;
    return 0;
}

static void metrics_rest(void *ctx, struct metrics_rest *out)
{
    struct daemon *d = ctx;

    out->connections = report_connections(&d->report);
    deploy_images(d->deploy, &out->images, &out->image_bytes);
}

static int open_metrics(struct daemon *d, struct err *err)
{
    struct metrics_source source = {.loop = d->loop,
                                    .guests = d->guests,
                                    .watch = d->watch,
                                    .arena = d->arena,
                                    .db = d->db,
                                    .clients = d->clients,
                                    .nclients = WORKERS_MAX + 2,
                                    .without_names = &d->opts.metrics_without_names,
                                    .rest = metrics_rest,
                                    .ctx = d};

    d->clients[0] = d->client;
    memcpy(&d->clients[1], d->call_clients, sizeof(d->call_clients));
    return metrics_new(&d->metrics, &source, err);
}

static int open_admin(struct daemon *d, struct err *err)
{
    struct admin_source source = {.ctx = d,
                                  .journal = guests_journal(d->guests),
                                  .ready = readiness,
                                  .view = &d->view,
                                  .deploy = d->deploy,
                                  .describe = describe,
                                  .stats = stats,
                                  .reset = reset};
    struct admin_socket socket;
    char path[4096];

    d->report = (struct report){.guests = d->guests,
                                .kube = d->kube,
                                .nkube = d->nkube,
                                .client = d->client,
                                .arena = d->arena,
                                .db = d->db,
                                .started_ns = d->started_ns};
    snprintf(path, sizeof(path), "%s/admin.sock", d->opts.state_dir);
    if (open_metrics(d, err) < 0)
        return -1;
    source.metrics = d->metrics;
    if (admin_socket_of(&socket, &d->opts, err) < 0 ||
        admin_new(&d->admin, d->loop, d->opts.admin.socket ? d->opts.admin.socket : path, &socket,
                  &source, err) < 0 ||
        remote_new(&d->remote, d->loop, d->admin, &d->opts, err) < 0)
        return -1;
    if (d->remote)
        log_info("admin API over TCP: port %u of %s", http1_tls_port(d->remote),
                 d->opts.admin.listen);
    return 0;
}

static int start(struct daemon *d, struct err *err)
{
    if (notify_open(&d->notify, err) < 0 || open_state(d, err) < 0 || loop_new(&d->loop, err) < 0 ||
        loop_on_signal(d->loop, SIGTERM, told_to_stop, d, err) < 0 ||
        loop_on_signal(d->loop, SIGINT, told_to_stop, d, err) < 0 ||
        loop_on_signal(d->loop, SIGHUP, told_to_reload, d, err) < 0 ||
        engine_new(&d->engine, &session_calls, err) < 0 || sigbus_install(err) < 0 ||
        cold_install(err) < 0 || connect_kube(d, err) < 0 || make_guests(d, err) < 0 ||
        open_admin(d, err) < 0 || deploy_start(d->deploy, d->rows, err) < 0)
        return -1;
    deploy_rows_free(d->rows);
    d->rows = NULL;
    set_budget(d);
    watch_start(d->watch);
    d->trim.fire = trim;
    if (notify_watchdog(d->notify, d->loop, err) < 0)
        return -1;
    d->trim_due_ns = clock_now_ns() + TRIM_EVERY_NS;
    return loop_timer_set(d->loop, &d->trim, d->trim_due_ns, err);
}

/* Two arenas are enough for so few threads, and what is freed goes back soon. */
static void tune_process(void)
{
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_TRIM_THRESHOLD, 128 * 1024);
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
}

static size_t count_workers(const struct daemon_opts *opts)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (opts->workers)
        return opts->workers;
    return cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (size_t)cores;
}

int daemon_check(const struct daemon_opts *opts, struct err *err)
{
    struct tls_context *context;
    struct admin_socket socket;
    struct tls_token token;

    if (admin_socket_of(&socket, opts, err) < 0 || remote_load(&context, &token, opts, err) < 0)
        return -1;
    tls_context_free(context);
    return 0;
}

int daemon_run(struct daemon_opts *opts, const struct options_source *source, struct err *err)
{
    struct daemon d = {.opts = *opts, .source = source, .started_ns = clock_now_ns()};

    *opts = (struct daemon_opts){0};
    tune_process();
    log_init((enum log_level)d.opts.log_level, option_log_formats[d.opts.log_format]);
    d.workers = count_workers(&d.opts);
    if (start(&d, err) < 0) {
        daemon_free(&d);
        return -1;
    }
    log_info("roost " ROOST_VERSION ": %zu guests, %zu workers, state in %s",
             guests_stats(d.guests)->guests, d.workers, d.opts.state_dir);
    notify_ready(&d, "");
    loop_run(d.loop);
    loop_turn(d.loop, false); /* what was posted for its end */
    loop_timer_clear(d.loop, &d.trim);
    loop_timer_clear(d.loop, &d.kube_retry);
    daemon_free(&d);
    log_info("ended");
    return 0;
}
