/* Each allocation of our own fails in turn, once and from then on, while the trigger `watch` finds
 * its resource, asks for rights, lists, watches, is cut off, is told that its version is too old,
 * and is restarted: nothing crashes or leaks, nobody is told what is not so, and once the fault is
 * gone every guest has been told of every object as it is.
 *
 * The API server is a model behind kube/'s seam (fake_kube.h): objects with versions, and the
 * history of their changes. Time is the test's. The guests never run: what a guest would have seen
 * of an object when it handled its key is noted instead, with its version.
 */
#include "fake_kube.h"
#include "fault/seam.h"

#include "base/limits.h"
#include "base/log.h"
#include "engine/snapshot.h"
#include "guest/guest.h"
#include "support/tmp_dir.h"
#include "trigger/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* --- the cluster --- */

#define OBJECTS_MAX 8
#define HISTORY_MAX 64
#define GUESTS      2

struct change {
    unsigned version, object;
    bool deleted;
};

/* All of it is copied for each round. */
static struct cluster {
    struct object {
        char namespace_[4], name[8];
        unsigned version; /* 0: it is not there */
        unsigned last;    /* of its last change, its deletion included */
    } objects[OBJECTS_MAX];
    size_t nobjects;
    struct change history[HISTORY_MAX];
    size_t nchanges;
    unsigned version;
    unsigned seen[GUESTS]
                 [OBJECTS_MAX]; /* what each guest saw last: its version, 0: gone or never */
} cluster;

static unsigned object_at(const char *namespace_, const char *name)
{
    unsigned i = 0;

    while (i < cluster.nobjects && (strcmp(cluster.objects[i].name, name) != 0 ||
                                    strcmp(cluster.objects[i].namespace_, namespace_) != 0))
        i++;
    assert_true(i < OBJECTS_MAX);
    if (i == cluster.nobjects) {
        snprintf(cluster.objects[i].namespace_, 4, "%s", namespace_);
        snprintf(cluster.objects[i].name, 8, "%s", name);
        cluster.nobjects++;
    }
    return i;
}

static void change(const char *namespace_, const char *name, bool deleted)
{
    unsigned i = object_at(namespace_, name);

    assert_true(cluster.nchanges < HISTORY_MAX);
    cluster.objects[i].last = ++cluster.version;
    cluster.objects[i].version = deleted ? 0 : cluster.version;
    cluster.history[cluster.nchanges++] =
        (struct change){.version = cluster.version, .object = i, .deleted = deleted};
}

/* --- the server --- */

static struct fake_kube fake;
static unsigned sent_to[FAKE_STREAMS_MAX]; /* of each watch; UINT32_MAX: it was not answered yet */

static void send_object(struct kube_stream *s, const char *type, unsigned i, unsigned version)
{
    const struct object *o = &cluster.objects[i];
    char text[600];

    snprintf(text, sizeof(text),
             "{\"type\":\"%s\",\"object\":{\"apiVersion\":\"amurant.io/v1\",\"kind\":"
             "\"TestResource\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"%s\",\"uid\":"
             "\"uid-%u\",\"resourceVersion\":\"%u\"},\"spec\":{\"nonce\":%u}}}\n",
             type, o->name, o->namespace_, i, version, version);
    if (s->open)
        fake_data(s, text, strlen(text));
}

static void send_list(struct kube_stream *s)
{
    char text[300];

    for (unsigned i = 0; i < cluster.nobjects; i++)
        if (cluster.objects[i].version)
            send_object(s, "ADDED", i, cluster.objects[i].version);
    snprintf(text, sizeof(text),
             "{\"type\":\"BOOKMARK\",\"object\":{\"apiVersion\":\"amurant.io/v1\",\"kind\":"
             "\"TestResource\",\"metadata\":{\"resourceVersion\":\"%u\",\"annotations\":{"
             "\"k8s.io/initial-events-end\":\"true\"}}}}\n",
             cluster.version);
    if (s->open)
        fake_data(s, text, strlen(text));
}

static bool is_watch(const struct kube_stream *s)
{
    return strstr(s->path, "watch=true") != NULL;
}

static void begin_watch(size_t at)
{
    struct kube_stream *s = fake.streams[at];
    const char *from = strstr(s->path, "resourceVersion=");

    fake_head(s, 200, "");
    if (strstr(s->path, "sendInitialEvents")) {
        send_list(s);
        sent_to[at] = cluster.version;
    } else {
        assert_non_null(from);
        sent_to[at] = (unsigned)strtoul(from + strlen("resourceVersion="), NULL, 10);
    }
}

static void go_on(size_t at)
{
    struct kube_stream *s = fake.streams[at];

    for (size_t i = 0; i < cluster.nchanges && s->open; i++) {
        const struct change *c = &cluster.history[i];

        if (c->version <= sent_to[at])
            continue;
        sent_to[at] = c->version;
        send_object(s, c->deleted ? "DELETED" : "MODIFIED", c->object, c->version);
    }
}

static void answer(struct kube_stream *s)
{
    static const char kinds[] =
        "{\"resources\":[{\"name\":\"testresources\",\"kind\":\"TestResource\",\"namespaced\":"
        "true,\"verbs\":[\"list\",\"watch\"]}]}";

    if (strcmp(s->path, "/apis/amurant.io/v1") == 0)
        fake_answer(s, 200, "", kinds);
    else if (strstr(s->path, "subjectaccessreviews"))
        fake_answer(s, 201, "", "{\"status\":{\"allowed\":true}}");
    else
        fail_msg("a request that the server does not know: %s", s->path);
}

static void serve(void)
{
    for (size_t i = 0; i < fake.n; i++) {
        struct kube_stream *s = fake.streams[i];

        if (!s->open)
            continue;
        if (!is_watch(s)) {
            answer(s);
            continue;
        }
        if (sent_to[i] == UINT32_MAX)
            begin_watch(i);
        if (s->open)
            go_on(i);
    }
}

static void cut_watches(bool too_old)
{
    static const char gone[] =
        "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":"
        "\"Expired\",\"message\":\"too old\"}}\n";

    for (size_t i = 0; i < fake.n; i++) {
        struct kube_stream *s = fake.streams[i];

        if (!s->open || !is_watch(s) || sent_to[i] == UINT32_MAX)
            continue;
        if (too_old)
            fake_data(s, gone, strlen(gone));
        else
            fake_break(s);
    }
}

/* --- a daemon's life --- */

static struct tmp_dir dir;

static struct {
    struct loop *loop;
    struct db *db;
    struct arena *arena;
    struct guests *guests;
    struct watch *watch;
    struct guest *g[GUESTS]; /* NULL: it could not be added */
    bool drained;
} life;

static void drained(void *ctx)
{
    (void)ctx;
    life.drained = true;
}

static int no_capabilities(void *ctx, size_t worker, struct loop *loop, struct capabilities *out,
                           struct err *err)
{
    (void)ctx;
    (void)worker;
    (void)err;
    *out = (struct capabilities){.loop = loop};
    return 0;
}

static void close_nothing(void *ctx, size_t worker)
{
    (void)ctx;
    (void)worker;
}

static const struct capability_source no_source = {.open = no_capabilities, .close = close_nothing};

static struct guest_spec *spec_of(int which)
{
    struct guest_spec *s = calloc(1, sizeof(*s));

    s->name = strdup(which ? "all" : "a");
    s->namespace_ = strdup("home");
    s->module = strdup("none");
    s->file = strdup("test");
    s->service_account = strdup(which ? "one" : "two");
    s->watches = calloc(1, sizeof(*s->watches));
    s->nwatches = 1;
    s->watches->api_version = strdup("amurant.io/v1");
    s->watches->kind = strdup("TestResource");
    if (which == 0) {
        s->watches->nnamespaces = 2;
        s->watches->namespaces = calloc(2, sizeof(char *));
        s->watches->namespaces[0] = strdup("a");
        s->watches->namespaces[1] = strdup("c");
    }
    return s;
}

/* True: its watch is there too. A daemon whose guest cannot be added says so; the test adds it
 * again in its next life. */
static void add(int which)
{
    const uint8_t digest[32] = {1};
    struct err err = {0};
    struct guest *g;

    if (guests_add(&g, life.guests, spec_of(which), digest, &err) == 0 &&
        watch_subscribe(life.watch, g, &err) == 0)
        life.g[which] = g;
    else
        assert_true(err.code != ERR_NONE && err.msg[0]);
}

static void open_rest(void)
{
    struct err err = {0};

    memset(sent_to, 0xff, sizeof(sent_to));
    memset(&life, 0, sizeof(life));
    fake_init(&fake);
    assert_int_equal(loop_new(&life.loop, &err), 0);
    assert_int_equal(db_open(&life.db, tmp_file(&dir, "db"), &err), 0);
    assert_int_equal(arena_open(&life.arena, tmp_file(&dir, "arena"), &err), 0);
}

static bool open_watch(void)
{
    struct watch_opts watch = {
        .loop = life.loop, .db = life.db, .http = fake_http(&fake), .time = fake_time(&fake)};
    struct guests_opts guests = {.clock = clock_real,
                                 .capabilities = &no_source,
                                 .workers = 1,
                                 .io_threads = 1,
                                 .boot = 1,
                                 .loop = life.loop,
                                 .db = life.db,
                                 .arena = life.arena,
                                 .drained = drained};
    struct err err = {0};

    if (watch_new(&life.watch, &watch, &err) == 0) {
        guests.watch = watch_trigger(life.watch);
        if (guests_new(&life.guests, &guests, &err) == 0)
            return true;
    }
    assert_true(err.code != ERR_NONE && err.msg[0]);
    return false;
}

static void close_life(void)
{
    if (life.guests) {
        watch_stop(life.watch);
        guests_drain(life.guests);
        for (int i = 0; i < 1000 && !life.drained; i++)
            loop_turn(life.loop, false);
        assert_true(life.drained);
    }
    watch_free(life.watch);
    guests_free(life.guests);
    db_close(life.db);
    arena_close(life.arena);
    loop_free(life.loop);
    fake_free(&fake);
}

/* --- what a guest sees --- */

/* The version of the object as the event has it: what it must be is the newest, or an older one
 * that the host has not heard of yet; and gone only what was deleted. */
static unsigned look(const struct event *ev, unsigned object)
{
    const char *nonce = ev->body.len ? memmem(ev->body.data, ev->body.len, "\"nonce\":", 8) : NULL;
    bool was_deleted = false;

    if (nonce)
        return (unsigned)strtoul(nonce + 8, NULL, 10);
    for (size_t i = 0; i < cluster.nchanges; i++)
        was_deleted |= cluster.history[i].object == object && cluster.history[i].deleted;
    if (!was_deleted)
        fail_msg("%s/%s is said to be gone", cluster.objects[object].namespace_,
                 cluster.objects[object].name);
    return 0;
}

static bool see(int which, const char *key)
{
    const struct trigger *t = watch_trigger(life.watch);
    char namespace_[4], name[8];
    struct event ev = {0};
    struct err err = {0};
    unsigned object;

    assert_int_equal(sscanf(key, "%3[^/]/%7s", namespace_, name), 2);
    object = object_at(namespace_, name);
    if (t->fill(t->ctx, life.g[which], 0, key, &ev, &err) < 0) {
        assert_int_equal(err.code, ERR_NOMEM);
        event_clear(&ev);
        return false;
    }
    cluster.seen[which][object] = look(&ev, object);
    event_clear(&ev);
    return true;
}

/* As guest/machine.c: what there was no memory for is looked up again. */
static void look_again(struct guest *g)
{
    const struct trigger *t = watch_trigger(life.watch);

    if (!g->behind)
        return;
    g->behind = false;
    t->due_since(t->ctx, g, 0, g->progress[0].seen);
}

static void handle(int which)
{
    struct guest *g = life.g[which];
    uint64_t much_later = clock_now_ns() + 3600 * NS_PER_S;
    struct mail mail;

    if (!g)
        return;
    look_again(g);
    while (mailbox_take(&g->mailbox, much_later, &mail)) {
        if (!see(which, mail.key)) {
            mailbox_untake(&g->mailbox, much_later);
            break;
        }
        mailbox_done(&g->mailbox, much_later, 0);
    }
    guest_record_put(g, NULL, 0);
}

/* The server answers, time passes, the guests handle what they have. */
static void pass(unsigned seconds)
{
    for (unsigned i = 0; i < seconds * 2; i++) {
        serve();
        loop_turn(life.loop, false);
        fake_pass(&fake, NS_PER_S / 2);
    }
    for (int which = 0; which < GUESTS; which++)
        handle(which);
    loop_turn(life.loop, false);
}

/* Changes at each stage of a watch's life. */
static void work(void)
{
    watch_start(life.watch);
    pass(3);
    change("a", "x", false);
    change("b", "new", false);
    change("c", "z", true);
    pass(1);
    change("a", "y", false);
    serve();
    cut_watches(false);
    change("a", "x", false);
    change("a", "w", true);
    pass(3);
    cut_watches(true);
    change("c", "z", false);
    change("b", "u", true);
    change("a", "y", false);
    pass(3);
    change("b", "new", false);
    pass(1);
}

static void all_seen(void)
{
    for (int which = 0; which < GUESTS; which++) {
        for (unsigned i = 0; i < cluster.nobjects; i++) {
            const struct object *o = &cluster.objects[i];

            if (!life.g[which] || (which == 0 && strcmp(o->namespace_, "b") == 0))
                continue;
            if (cluster.seen[which][i] != o->version)
                fail_msg("guest %d saw %s/%s at version %u, it is at %u (%s%s)", which,
                         o->namespace_, o->name, cluster.seen[which][i], o->version,
                         life.g[which]->behind ? "behind" : "", life.g[which]->last_error);
        }
    }
}

/* --- rounds --- */

static int stderr_fd = -1, null_fd = -1;

static void quiet(bool on)
{
    if (getenv("TORTURE_LOG"))
        return;
    if (stderr_fd < 0) {
        stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
        null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    }
    dup2(on ? null_fd : stderr_fd, STDERR_FILENO);
}

static void life_without(void)
{
    open_rest();
    assert_true(open_watch());
    for (int which = 0; which < GUESTS; which++)
        add(which);
    assert_true(life.g[0] && life.g[1]);
    work();
    pass(10);
    all_seen();
    close_life();
}

static bool life_with_fault(unsigned nth, bool sticky)
{
    bool hit;

    open_rest();
    seam_arm(SEAM_ALLOC, nth, sticky, ENOMEM);
    if (open_watch()) {
        for (int which = 0; which < GUESTS; which++)
            add(which);
        work();
        hit = seam_fired(SEAM_ALLOC) > 0;
        seam_disarm();
        pass(90); /* the longest that anything waits is a minute */
        all_seen();
    } else {
        hit = true;
        seam_disarm();
    }
    close_life();
    return hit;
}

static unsigned torture(const struct cluster *before, const char *from, bool sticky)
{
    unsigned nth = 0;
    bool hit;

    do {
        cluster = *before;
        tmp_dir_remove(&dir);
        assert_int_equal(tmp_dir_make(&dir), 0);
        if (from) { /* as an earlier life left it */
            quiet(true);
            life_without();
        }
        quiet(true);
        hit = life_with_fault(++nth, sticky);
        life_without();
        quiet(false);
    } while (hit);
    print_message("each of %u allocations failed %s%s\n", nth - 1, sticky ? "from then on" : "once",
                  from ? from : "");
    return nth - 1;
}

static void turns(const char *from)
{
    struct cluster before;

    memset(&cluster, 0, sizeof(cluster));
    change("a", "x", false);
    change("a", "w", false);
    change("b", "u", false);
    change("c", "z", false);
    before = cluster;
    assert_true(torture(&before, from, false) > 100);
    assert_true(torture(&before, from, true) > 100);
}

static void test_each_allocation_of_a_first_start(void **state)
{
    (void)state;
    turns(NULL);
}

static void test_each_allocation_of_a_restart(void **state)
{
    (void)state;
    turns(", after a restart");
}

static int setup(void **state)
{
    (void)state;
    log_init(getenv("TORTURE_LOG") ? LOG_INFO : LOG_ERROR, "text");
    return tmp_dir_make(&dir);
}

static int teardown(void **state)
{
    (void)state;
    seam_disarm();
    quiet(false);
    tmp_dir_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_allocation_of_a_first_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_allocation_of_a_restart, setup, teardown),
    };

    return cmocka_run_group_tests_name("watch torture", tests, NULL, NULL);
}
