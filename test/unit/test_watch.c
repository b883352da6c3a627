/* The trigger `watch`: who is told of what, and what of it outlives the daemon. The API server is
 * the test (fake_kube.h), the database is real. The guests never run: their image does not come, so
 * what they are told stays in their mailboxes, and handle_all says that it was handled.
 */
#include "fake_kube.h"

#include "base/buf.h"
#include "base/limits.h"
#include "engine/snapshot.h"
#include "guest/guest.h"
#include "support/tmp_dir.h"
#include "trigger/watch.h"

#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>

struct world {
    struct tmp_dir *dir;
    struct fake_kube fake;
    struct loop *loop;
    struct db *db;
    struct arena *arena;
    struct guests *guests;
    struct watch *watch;
    const char *deny; /* reviews whose body holds this are denied */
    unsigned reviews;
    bool drained;
};

static void drained(void *ctx)
{
    ((struct world *)ctx)->drained = true;
}

/* --- a daemon's life --- */

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

static void open_world(struct world *w, struct tmp_dir *dir)
{
    struct watch_opts watch = {0};
    struct guests_opts guests = {.clock = clock_real,
                                 .capabilities = &no_source,
                                 .workers = 1,
                                 .io_threads = 1,
                                 .boot = 1,
                                 .drained = drained,
                                 .ctx = w};
    struct err err = {0};

    *w = (struct world){.dir = dir};
    fake_init(&w->fake);
    assert_int_equal(loop_new(&w->loop, &err), 0);
    assert_int_equal(db_open(&w->db, tmp_file(dir, "db"), &err), 0);
    assert_int_equal(arena_open(&w->arena, tmp_file(dir, "arena"), &err), 0);
    watch = (struct watch_opts){
        .loop = w->loop, .db = w->db, .http = fake_http(&w->fake), .time = fake_time(&w->fake)};
    assert_int_equal(watch_new(&w->watch, &watch, &err), 0);
    guests.loop = w->loop;
    guests.db = w->db;
    guests.arena = w->arena;
    guests.watch = watch_trigger(w->watch);
    assert_int_equal(guests_new(&w->guests, &guests, &err), 0);
}

static void close_world(struct world *w)
{
    watch_stop(w->watch);
    guests_drain(w->guests);
    assert_true(w->drained);
    watch_free(w->watch);
    guests_free(w->guests);
    db_close(w->db);
    arena_close(w->arena);
    loop_free(w->loop);
    fake_free(&w->fake);
}

/* A guest of service account `account` in namespace "home". namespaces: NULL-terminated, none: all.
 */
static struct guest *add(struct world *w, const char *name, const char *account,
                         const char *const *namespaces)
{
    struct guest_spec *s = calloc(1, sizeof(*s));
    const uint8_t digest[32] = {1};
    struct watch_spec *watch = calloc(1, sizeof(*watch));
    struct err err = {0};
    struct guest *g;

    s->name = strdup(name);
    s->namespace_ = strdup("home");
    s->module = strdup("none");
    s->file = strdup("test");
    s->service_account = account ? strdup(account) : NULL;
    s->watches = watch;
    s->nwatches = 1;
    watch->api_version = strdup("amurant.io/v1");
    watch->kind = strdup("TestResource");
    while (namespaces && namespaces[watch->nnamespaces])
        watch->nnamespaces++;
    if (watch->nnamespaces)
        watch->namespaces = calloc(watch->nnamespaces, sizeof(char *));
    for (size_t i = 0; i < watch->nnamespaces; i++)
        watch->namespaces[i] = strdup(namespaces[i]);
    assert_int_equal(guests_add(&g, w->guests, s, digest, &err), 0);
    assert_int_equal(watch_subscribe(w->watch, g, &err), 0);
    return g;
}

#define IN(...)                                                                                    \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/* --- the API server --- */

static const char kinds[] =
    "{\"resources\":[{\"name\":\"testresources\",\"kind\":\"TestResource\",\"namespaced\":true,"
    "\"verbs\":[\"list\",\"watch\"]}]}";

static bool is_review(const struct kube_stream *s)
{
    return strstr(s->path, "subjectaccessreviews") != NULL;
}

static void answer_review(struct world *w, struct kube_stream *s)
{
    w->reviews++;
    if (w->deny && strstr(s->body, w->deny))
        fake_answer(s, 201, "", "{\"status\":{\"allowed\":false,\"reason\":\"as told\"}}");
    else
        fake_answer(s, 201, "", "{\"status\":{\"allowed\":true}}");
}

/* Answers all that can be answered at once, until nothing is asked any more. */
static void answer_all(struct world *w, bool reviews)
{
    for (size_t i = 0; i < w->fake.n; i++) {
        struct kube_stream *s = w->fake.streams[i];

        if (!s->open)
            continue;
        if (strcmp(s->path, "/apis/amurant.io/v1") == 0)
            fake_answer(s, 200, "", kinds);
        else if (is_review(s) && reviews)
            answer_review(w, s);
    }
    loop_turn(w->loop, false);
}

static unsigned reviews_open(const struct world *w)
{
    unsigned n = 0;

    for (size_t i = 0; i < w->fake.n; i++)
        n += w->fake.streams[i]->open && is_review(w->fake.streams[i]);
    return n;
}

/* The watch that is under way; NULL: none is. */
static struct kube_stream *watching(struct world *w)
{
    for (size_t i = w->fake.n; i-- > 0;)
        if (w->fake.streams[i]->open && strstr(w->fake.streams[i]->path, "watch=true"))
            return w->fake.streams[i];
    return NULL;
}

static struct kube_stream *stream(struct world *w)
{
    struct kube_stream *s = watching(w);

    assert_non_null(s);
    return s;
}

static void event(struct world *w, const char *type, const char *namespace_, const char *name,
                  unsigned version)
{
    char text[600];

    snprintf(text, sizeof(text),
             "{\"type\":\"%s\",\"object\":{\"apiVersion\":\"amurant.io/v1\",\"kind\":"
             "\"TestResource\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"%s\",\"uid\":"
             "\"uid-%s-%s\",\"resourceVersion\":\"%u\"},\"spec\":{\"nonce\":%u}}}\n",
             type, name, namespace_, namespace_, name, version, version);
    fake_data(stream(w), text, strlen(text));
}

/* Of a list: "ns/name@version", NULL-terminated; then its end. */
static void list(struct world *w, const char *const *objects)
{
    static const char end[] =
        "{\"type\":\"BOOKMARK\",\"object\":{\"apiVersion\":\"amurant.io/v1\",\"kind\":"
        "\"TestResource\",\"metadata\":{\"resourceVersion\":\"1000\",\"annotations\":{"
        "\"k8s.io/initial-events-end\":\"true\"}}}}\n";

    fake_head(stream(w), 200, "");
    for (; objects && *objects; objects++) {
        char copy[128], *name, *version;

        snprintf(copy, sizeof(copy), "%s", *objects);
        name = strchr(copy, '/');
        version = strchr(copy, '@');
        *name++ = *version++ = 0;
        event(w, "ADDED", copy, name, (unsigned)strtoul(version, NULL, 10));
    }
    fake_data(stream(w), end, strlen(end));
    loop_turn(w->loop, false);
}

/* Starts, and all reviews and the first list are over. */
static void begin(struct world *w, const char *const *objects)
{
    watch_start(w->watch);
    answer_all(w, true);
    list(w, objects);
    answer_all(w, true);
}

/* The server has forgotten: everything is listed again. */
static void relist(struct world *w, const char *const *objects)
{
    fake_data(stream(w),
              "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":"
              "\"Expired\",\"message\":\"too old\"}}\n",
              strlen("{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,"
                     "\"reason\":\"Expired\",\"message\":\"too old\"}}\n"));
    for (int i = 0; i < 100 && !watching(w); i++)
        fake_pass(&w->fake, NS_PER_S / 10);
    list(w, objects);
}

/* --- what a guest was told --- */

struct keys {
    char text[20][64];
    size_t n;
};

static void note_key(void *ctx, uint16_t trigger, const char *key, uint64_t seq, uint64_t due_ns,
                     uint32_t failures)
{
    struct keys *k = ctx;

    (void)trigger;
    (void)seq;
    (void)due_ns;
    (void)failures;
    assert_true(k->n < 20);
    snprintf(k->text[k->n++], 64, "%s", key);
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Its keys in order, with spaces between. */
#define assert_keys(g, want) assert_keys_at(g, want, __FILE__, __LINE__)

static void assert_keys_at(const struct guest *g, const char *want, const char *file, int line)
{
    struct keys k = {0};
    char all[1400] = "";
    size_t used = 0;

    mailbox_each(g->mailbox, note_key, &k);
    qsort(k.text, k.n, sizeof(k.text[0]), compare);
    for (size_t i = 0; i < k.n; i++)
        used += (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", i ? " " : "", k.text[i]);
    _assert_string_equal(all, want, file, line);
}

/* It handled all it has, and went to sleep. */
static void handle_all(struct world *w, struct guest *g)
{
    struct mail mail;

    while (mailbox_take(&g->mailbox, clock_now_ns(), &mail))
        mailbox_done(&g->mailbox, clock_now_ns(), 0);
    guest_record_put(g, NULL, 0);
    loop_turn(w->loop, false);
}

static void body_of(struct world *w, struct guest *g, const char *key, char *out, size_t cap)
{
    const struct trigger *t = watch_trigger(w->watch);
    struct event ev = {0};
    struct err err = {0};

    assert_int_equal(t->fill(t->ctx, g, 0, key, &ev, &err), 0);
    assert_string_equal(ev.type, "dev.roost.reconcile");
    snprintf(out, cap, "%.*s", (int)ev.body.len, ev.body.data ? (const char *)ev.body.data : "");
    event_clear(&ev);
}

/* --- tests --- */

static struct tmp_dir dir;

static int set_up(void **state)
{
    (void)state;
    return tmp_dir_make(&dir);
}

static int tear_down(void **state)
{
    (void)state;
    tmp_dir_remove(&dir);
    return 0;
}

static void test_each_guest_is_told_of_its_namespaces_only(void **state)
{
    struct guest *a, *b, *both, *all;
    struct world w;

    (void)state;
    open_world(&w, &dir);
    a = add(&w, "a", "one", IN("a"));
    b = add(&w, "b", "one", IN("b"));
    both = add(&w, "both", "one", IN("b", "a"));
    all = add(&w, "all", "one", NULL);
    begin(&w, IN("a/x@1", "b/y@2", "c/z@3"));
    assert_keys(a, "a/x");
    assert_keys(b, "b/y");
    assert_keys(both, "a/x b/y");
    assert_keys(all, "a/x b/y c/z");
    event(&w, "ADDED", "a", "new", 10);
    event(&w, "MODIFIED", "c", "z", 11);
    event(&w, "DELETED", "b", "y", 12);
    assert_keys(a, "a/new a/x");
    assert_keys(b, "b/y");
    assert_keys(both, "a/new a/x b/y");
    assert_keys(all, "a/new a/x b/y c/z");
    close_world(&w);
}

static void test_nothing_is_told_before_both_review_and_list(void **state)
{
    struct guest *a, *late;
    struct world w;

    (void)state;
    open_world(&w, &dir);
    a = add(&w, "a", "one", IN("a"));
    watch_start(w.watch);
    answer_all(&w, false);
    list(&w, IN("a/x@1"));
    event(&w, "ADDED", "a", "y", 2);
    assert_keys(a, "");
    answer_all(&w, true);
    assert_keys(a, "a/x a/y");
    /* One that comes later is reviewed by itself. */
    late = add(&w, "late", "two", IN("a"));
    assert_keys(late, "");
    answer_all(&w, true);
    assert_keys(late, "a/x a/y");
    close_world(&w);
}

static void test_a_relist_tells_only_what_changed(void **state)
{
    struct guest *all;
    struct world w;

    (void)state;
    open_world(&w, &dir);
    all = add(&w, "all", "one", NULL);
    begin(&w, IN("a/x@1", "a/y@2", "a/z@3"));
    handle_all(&w, all);
    assert_keys(all, "");
    relist(&w, IN("a/x@1", "a/y@7"));
    assert_keys(all, "a/y a/z");
    close_world(&w);
}

static void test_after_a_restart_only_what_changed_is_told(void **state)
{
    struct guest *a, *b;
    struct world w;

    (void)state;
    open_world(&w, &dir);
    a = add(&w, "a", "one", IN("a"));
    b = add(&w, "b", "one", IN("b", "c"));
    begin(&w, IN("a/x@1", "a/gone@2", "b/y@3", "c/z@4"));
    handle_all(&w, a);
    handle_all(&w, b);
    close_world(&w);

    open_world(&w, &dir);
    a = add(&w, "a", "one", IN("a"));
    b = add(&w, "b", "one", IN("b", "c"));
    begin(&w, IN("a/x@1", "a/new@6", "b/y@3", "c/z@9"));
    assert_keys(a, "a/gone a/new");
    assert_keys(b, "c/z");
    close_world(&w);

    open_world(&w, &dir); /* what was told and not handled is told again */
    a = add(&w, "a", "one", IN("a"));
    b = add(&w, "b", "one", IN("b", "c"));
    begin(&w, IN("a/x@1", "a/new@6", "b/y@3", "c/z@9"));
    assert_keys(a, "a/gone a/new");
    assert_keys(b, "c/z");
    handle_all(&w, a);
    handle_all(&w, b);
    close_world(&w);

    open_world(&w, &dir);
    a = add(&w, "a", "one", IN("a"));
    b = add(&w, "b", "one", IN("b", "c"));
    begin(&w, IN("a/x@1", "a/new@6", "b/y@3", "c/z@9"));
    assert_keys(a, "");
    assert_keys(b, "");
    close_world(&w);
}

static int count_entry(void *ctx, const void *key, size_t key_len, const void *value, size_t len,
                       struct err *err)
{
    (void)key;
    (void)key_len;
    (void)value;
    (void)len;
    (void)err;
    ++*(unsigned *)ctx;
    return 0;
}

static unsigned entries_on_disk(void)
{
    struct err err = {0};
    unsigned n = 0;
    struct db *db;

    assert_int_equal(db_open(&db, tmp_file(&dir, "db"), &err), 0);
    assert_int_equal(db_scan(db, "change", count_entry, &n, &err), 0);
    db_close(db);
    return n;
}

static void test_tombstones_wait_for_the_slowest_guest(void **state)
{
    struct guest *a, *slow;
    struct world w;

    (void)state;
    open_world(&w, &dir);
    a = add(&w, "a", "one", NULL);
    slow = add(&w, "slow", "one", NULL);
    begin(&w, IN("a/x@1", "a/y@2"));
    handle_all(&w, a);
    handle_all(&w, slow);
    event(&w, "DELETED", "a", "y", 3);
    handle_all(&w, a);
    relist(&w, IN("a/x@1"));
    close_world(&w);
    assert_int_equal(entries_on_disk(), 2);

    open_world(&w, &dir);
    a = add(&w, "a", "one", NULL);
    slow = add(&w, "slow", "one", NULL);
    begin(&w, IN("a/x@1"));
    assert_keys(a, "");
    assert_keys(slow, "a/y");
    handle_all(&w, slow);
    relist(&w, IN("a/x@1"));
    close_world(&w);
    assert_int_equal(entries_on_disk(), 1);
}

/* What a killed daemon leaves: life() runs in a process of its own, which just ends. */
static void in_a_killed_daemon(void (*life)(struct world *w))
{
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        struct world w;

        open_world(&w, &dir);
        life(&w);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* Until all that was submitted is on disk: one more batch, and its callback. */
static void committed(void *ctx, const struct err *err)
{
    assert_null(err);
    atomic_store((atomic_bool *)ctx, true);
}

static void wait_for_disk(struct world *w)
{
    struct db_batch *batch = NULL;
    struct err err = {0};
    atomic_bool done = false;

    loop_turn(w->loop, false);
    assert_int_equal(db_batch_new(&batch, &err), 0);
    assert_int_equal(db_batch_put(batch, "test", "k", 1, "v", 1, &err), 0);
    db_submit(w->db, batch, committed, &done);
    while (!atomic_load(&done))
        sched_yield();
}

static void handled_and_recorded(struct world *w)
{
    struct guest *all = add(w, "all", "one", NULL);

    begin(w, IN("a/x@1", "a/y@2"));
    handle_all(w, all);
    wait_for_disk(w);
}

/* The change is in the table on disk, that the guest handled it is not. */
static void changed_and_not_recorded(struct world *w)
{
    struct guest *all = add(w, "all", "one", NULL);
    struct mail mail;

    begin(w, IN("a/x@1", "a/y@5"));
    assert_true(mailbox_take(&all->mailbox, clock_now_ns(), &mail));
    mailbox_done(&all->mailbox, clock_now_ns(), 0);
    wait_for_disk(w);
}

/* The guest's record is on disk, the table's entry is not: it was not even submitted. */
static void recorded_before_the_table(struct world *w)
{
    struct guest *all = add(w, "all", "one", NULL);
    struct mail mail;

    begin(w, IN("a/x@1", "a/y@5"));
    handle_all(w, all);
    wait_for_disk(w);
    event(w, "MODIFIED", "a", "x", 9);
    assert_true(mailbox_take(&all->mailbox, clock_now_ns(), &mail));
    mailbox_done(&all->mailbox, clock_now_ns(), 0);
    guest_record_put(all, NULL, 0);
    _exit(0);
}

static void test_a_kill_between_table_and_record_tells_again(void **state)
{
    struct guest *all;
    struct world w;

    (void)state;
    in_a_killed_daemon(handled_and_recorded);
    in_a_killed_daemon(changed_and_not_recorded);
    open_world(&w, &dir);
    all = add(&w, "all", "one", NULL);
    begin(&w, IN("a/x@1", "a/y@5"));
    assert_keys(all, "a/y");
    handle_all(&w, all);
    close_world(&w);
    in_a_killed_daemon(recorded_before_the_table);
    open_world(&w, &dir);
    all = add(&w, "all", "one", NULL);
    begin(&w, IN("a/x@9", "a/y@5"));
    assert_keys(all, "a/x");
    close_world(&w);
}

static void test_one_that_may_not_see_it_is_asked_about_again(void **state)
{
    struct guest *no, *yes;
    struct world w;
    json_t *d;

    (void)state;
    open_world(&w, &dir);
    w.deny = "serviceaccount:home:no\"";
    no = add(&w, "no", "no", IN("a"));
    yes = add(&w, "yes", "yes", IN("a"));
    begin(&w, IN("a/x@1"));
    assert_keys(no, "");
    assert_keys(yes, "a/x");
    assert_non_null(strstr(no->last_error, "may not list testresources in namespace a: as told"));
    d = watch_describe(w.watch, no, 0);
    assert_string_equal(json_string_value(json_object_get(d, "reason")), no->last_error);
    assert_string_equal(no->last_reason, "MayNotWatch");
    assert_true(json_is_false(json_object_get(d, "admitted")));
    json_decref(d);
    assert_true(watch_ready(w.watch, NULL)); /* it is decided */
    w.deny = NULL;
    fake_pass(&w.fake, NS_PER_S);
    answer_all(&w, true);
    assert_keys(no, "a/x");
    assert_string_equal(no->last_error, "");
    d = watch_describe(w.watch, no, 0);
    assert_string_equal(json_string_value(json_object_get(d, "reason")), "");
    assert_true(json_is_true(json_object_get(d, "admitted")));
    json_decref(d);
    close_world(&w);
}

static void test_one_without_an_account_is_told_nothing(void **state)
{
    struct guest *none;
    struct world w;

    (void)state;
    open_world(&w, &dir);
    none = add(&w, "none", NULL, IN("a"));
    begin(&w, IN("a/x@1"));
    assert_keys(none, "");
    assert_non_null(strstr(none->last_error, "serviceAccount"));
    assert_int_equal(w.reviews, 0);
    close_world(&w);
}

static void test_an_event_has_the_object_as_it_is_now(void **state)
{
    char body[1024];
    struct guest *a;
    struct world w;

    (void)state;
    open_world(&w, &dir);
    a = add(&w, "a", "one", IN("a"));
    begin(&w, IN("a/x@1", "b/y@2"));
    event(&w, "MODIFIED", "a", "x", 77);
    body_of(&w, a, "a/x", body, sizeof(body));
    assert_non_null(strstr(body, "\"nonce\":77"));
    body_of(&w, a, "b/y", body, sizeof(body)); /* not its own */
    assert_string_equal(body, "");
    event(&w, "DELETED", "a", "x", 78);
    body_of(&w, a, "a/x", body, sizeof(body));
    assert_string_equal(body, "");
    close_world(&w);
}

static void test_the_same_question_is_asked_once(void **state)
{
    struct guest *g[3];
    struct world w;

    (void)state;
    open_world(&w, &dir);
    g[0] = add(&w, "a", "one", IN("a"));
    g[1] = add(&w, "b", "one", IN("a"));
    g[2] = add(&w, "c", "two", IN("a"));
    begin(&w, IN("a/x@1"));
    assert_int_equal(w.reviews, 4); /* list and watch, of two accounts */
    for (int i = 0; i < 3; i++)
        assert_keys(g[i], "a/x");
    close_world(&w);
}

static void test_what_was_allowed_is_not_believed_for_long(void **state)
{
    struct guest *later;
    struct world w;

    (void)state;
    open_world(&w, &dir);
    add(&w, "a", "one", IN("a"));
    begin(&w, IN("a/x@1"));
    w.deny = "list";
    later = add(&w, "later", "one", IN("a"));
    answer_all(&w, true);
    assert_keys(later, "");
    assert_int_equal(w.reviews, 3);
    close_world(&w);
}

static void test_a_broken_review_is_asked_again_for_all_who_wait(void **state)
{
    struct guest *a, *b;
    struct world w;

    (void)state;
    open_world(&w, &dir);
    a = add(&w, "a", "one", IN("a"));
    b = add(&w, "b", "one", IN("a"));
    watch_start(w.watch);
    answer_all(&w, false);
    list(&w, IN("a/x@1"));
    assert_int_equal(reviews_open(&w), 1);
    for (size_t i = 0; i < w.fake.n; i++)
        if (w.fake.streams[i]->open && is_review(w.fake.streams[i]))
            fake_break(w.fake.streams[i]);
    assert_non_null(strstr(a->last_error, "connection lost"));
    assert_non_null(strstr(b->last_error, "connection lost"));
    assert_false(watch_ready(w.watch, NULL));
    fake_pass(&w.fake, NS_PER_S);
    answer_all(&w, true);
    assert_keys(a, "a/x");
    assert_keys(b, "a/x");
    assert_string_equal(a->last_error, "");
    close_world(&w);
}

#define MANY 300

static void test_many_ask_a_few_at_a_time_and_each_is_told_of_its_own(void **state)
{
    static struct guest *g[MANY];
    char name[MANY][16], object[32];
    struct world w;

    (void)state;
    open_world(&w, &dir);
    for (int i = 0; i < MANY; i++) {
        snprintf(name[i], sizeof(name[i]), "n%d", i);
        g[i] = add(&w, name[i], name[i], IN(name[i]));
    }
    watch_start(w.watch);
    answer_all(&w, false);
    list(&w, NULL);
    assert_int_equal(reviews_open(&w), WATCH_REVIEWS_MAX);
    answer_all(&w, true);
    assert_int_equal(w.reviews, 2 * MANY);
    assert_true(watch_ready(w.watch, NULL));
    for (int i = 0; i < MANY; i++)
        event(&w, "ADDED", name[i], "x", (unsigned)i + 1);
    for (int i = 0; i < MANY; i++) {
        snprintf(object, sizeof(object), "n%d/x", i);
        assert_keys(g[i], object);
    }
    close_world(&w);
}

static void test_several_namespaces_are_told_in_the_order_of_changes(void **state)
{
    const char *want[] = {"b/1", "a/2", "b/3", "a/4"};
    struct guest *both;
    struct mail mail;
    struct world w;

    (void)state;
    open_world(&w, &dir);
    both = add(&w, "both", "one", IN("a", "b"));
    begin(&w, IN("b/1@1", "a/2@2", "c/0@3", "b/3@4", "a/4@5"));
    for (int i = 0; i < 4; i++) {
        assert_true(mailbox_take(&both->mailbox, clock_now_ns(), &mail));
        assert_string_equal(mail.key, want[i]);
        mailbox_done(&both->mailbox, clock_now_ns(), 0);
    }
    assert_int_equal(mailbox_len(both->mailbox), 0);
    close_world(&w);
}

static void test_readiness_says_what_is_missing(void **state)
{
    AUTO_BUF struct buf why = {0};
    struct world w;

    (void)state;
    open_world(&w, &dir);
    add(&w, "a", "one", IN("a"));
    watch_start(w.watch);
    assert_false(watch_ready(w.watch, &why));
    assert_non_null(strstr(buf_cstr(&why), "amurant.io/v1 TestResource: not synced"));
    answer_all(&w, false);
    list(&w, NULL);
    why.len = 0;
    assert_false(watch_ready(w.watch, &why));
    assert_non_null(strstr(buf_cstr(&why), "guests under review"));
    assert_true(reviews_open(&w) > 0);
    answer_all(&w, true);
    assert_true(watch_ready(w.watch, NULL));
    close_world(&w);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_each_guest_is_told_of_its_namespaces_only),
        T(test_nothing_is_told_before_both_review_and_list),
        T(test_a_relist_tells_only_what_changed),
        T(test_after_a_restart_only_what_changed_is_told),
        T(test_tombstones_wait_for_the_slowest_guest),
        T(test_a_kill_between_table_and_record_tells_again),
        T(test_one_that_may_not_see_it_is_asked_about_again),
        T(test_one_without_an_account_is_told_nothing),
        T(test_an_event_has_the_object_as_it_is_now),
        T(test_the_same_question_is_asked_once),
        T(test_what_was_allowed_is_not_believed_for_long),
        T(test_a_broken_review_is_asked_again_for_all_who_wait),
        T(test_many_ask_a_few_at_a_time_and_each_is_told_of_its_own),
        T(test_several_namespaces_are_told_in_the_order_of_changes),
        T(test_readiness_says_what_is_missing),
    };

    log_init(LOG_ERROR + 1, "text");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
