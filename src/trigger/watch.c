/* See watch.h. A source is one resource: discovery, then reflector and table; a sub is one trigger
 * of one guest. A sub is asked about (watch_admit.c) and then admitted or in trouble; it is live
 * once it is admitted and its source is synced: then what changed since the guest's number is put
 * into its mailbox, its hold ends, and from there on each change comes as it happens.
 *
 * A change finds those whom it concerns through the source's index: a hash of namespaces, with a
 * place for each namespace of each sub, and for those that see all namespaces one of the name "".
 */
#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "trigger/watch_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE "change"

int watch_timer_in(struct watch *w, struct timer *t, uint64_t ns, struct err *err)
{
    const struct kube_time *time = &w->opts.time;

    return time->set(time->ctx, t, time->now_ns(time->ctx) + ns, err);
}

/* --- persistence of the table --- */

static void batch_submit(struct watch *w)
{
    if (w->batch)
        db_submit(w->opts.db, w->batch, NULL, NULL);
    w->batch = NULL;
    w->batched = 0;
}

static void flush(struct msg *m)
{
    struct watch *w = container_of(m, struct watch, flush);

    w->flush_posted = false;
    batch_submit(w);
}

/* The batch of this turn. */
static struct db_batch *batch_open(struct watch *w, struct err *err)
{
    if (w->batched >= WATCH_BATCH_MAX)
        batch_submit(w);
    if (!w->batch && db_batch_new(&w->batch, err) < 0)
        return NULL;
    w->batched++;
    if (!w->flush_posted) {
        w->flush_posted = true;
        w->flush.run = flush;
        loop_post_quietly(w->opts.loop, &w->flush);
    }
    return w->batch;
}

static int entry_key(struct buf *out, const struct source *s, const char *key, struct err *err)
{
    return buf_printf(out, err, "%s %s %s", s->api_version, s->kind, key);
}

static void persist(struct source *s, const struct table_entry *e, bool drop)
{
    AUTO_BUF struct buf key = {.max = 2 * DB_KEY_MAX}, value = {.max = DB_VALUE_MAX};
    struct err err = {0};
    struct db_batch *b = batch_open(s->watch, &err);
    int rc = -1;

    if (b && entry_key(&key, s, table_entry_key(e), &err) == 0) {
        if (drop)
            rc = db_batch_delete(b, TABLE, key.data, key.len, &err);
        else if (table_entry_encode(&value, e, &err) == 0)
            rc = db_batch_put(b, TABLE, key.data, key.len, value.data, value.len, &err);
    }
    if (rc < 0) /* after a restart the object counts as changed once more: nothing is lost */
        log_warn("change table of %s: %s: %s", s->kind, table_entry_key(e), err.msg);
}

/* --- who is concerned --- */

uint32_t watch_hash(const char *text, size_t len)
{
    return (uint32_t)hash_bytes(text, len);
}

const struct watch_spec *sub_spec(const struct sub *sub)
{
    return &sub->guest->spec->watches[sub->trigger];
}

static struct sub *sub_of(struct place *p)
{
    return (struct sub *)(void *)((char *)(p - p->at) - offsetof(struct sub, places));
}

static const char *place_name(const struct sub *sub, const struct place *p)
{
    const struct watch_spec *spec = sub_spec(sub);

    return spec->nnamespaces ? spec->namespaces[p->at] : "";
}

/* At most as many places as buckets. Without memory the chains grow longer. */
static void index_grow(struct source *s)
{
    size_t n = s->nindex ? s->nindex * 2 : 16;
    struct place **index;

    if (s->nplaces < s->nindex)
        return;
    index = calloc(n, sizeof(struct place *));
    if (!index)
        return;
    for (size_t i = 0; i < s->nindex; i++) {
        for (struct place *p = s->index[i], *next; p; p = next) {
            next = p->next;
            p->next = index[p->hash & (n - 1)];
            index[p->hash & (n - 1)] = p;
        }
    }
    free(s->index);
    s->index = index;
    s->nindex = n;
}

static int index_add(struct source *s, struct sub *sub, struct err *err)
{
    for (uint16_t i = 0; i < sub->nplaces; i++) {
        struct place *p = &sub->places[i];
        const char *name;

        p->at = i;
        name = place_name(sub, p);
        p->hash = watch_hash(name, strlen(name));
        index_grow(s);
        if (!s->nindex)
            return err_set(err, ERR_NOMEM, 0, "no memory for a watch");
        p->next = s->index[p->hash & (s->nindex - 1)];
        s->index[p->hash & (s->nindex - 1)] = p;
        s->nplaces++;
    }
    return 0;
}

static void index_remove(struct source *s, struct sub *sub)
{
    for (uint16_t i = 0; i < sub->nplaces; i++) {
        struct place **at = &s->index[sub->places[i].hash & (s->nindex - 1)];

        while (*at != &sub->places[i])
            at = &(*at)->next;
        *at = sub->places[i].next;
        s->nplaces--;
    }
}

static void tell(struct source *s, const char *name, size_t len, const struct table_entry *e)
{
    uint32_t hash = watch_hash(name, len);
    struct place *p = s->nindex ? s->index[hash & (s->nindex - 1)] : NULL;

    for (; p; p = p->next) {
        struct sub *sub;
        const char *own;

        if (p->hash != hash)
            continue;
        sub = sub_of(p);
        own = place_name(sub, p);
        if (sub->live && strlen(own) == len && memcmp(own, name, len) == 0)
            guest_changed(sub->guest, sub->trigger, table_entry_key(e), table_entry_seq(e));
    }
}

static bool concerns(const struct sub *sub, const char *key)
{
    const struct watch_spec *spec = sub_spec(sub);
    size_t n = strcspn(key, "/");

    if (spec->nnamespaces == 0)
        return true;
    if (!key[n])
        return false; /* of the cluster */
    for (size_t i = 0; i < spec->nnamespaces; i++)
        if (strlen(spec->namespaces[i]) == n && !memcmp(spec->namespaces[i], key, n))
            return true;
    return false;
}

/* --- changes --- */

static void forget_tombstones(struct source *s)
{
    uint64_t newest = table_seq(s->table), least = newest;

    for (const struct sub *sub = s->subs; sub; sub = sub->next) {
        uint64_t need = guest_needs_after(sub->guest, sub->trigger, newest, sub->live);

        if (need < least)
            least = need;
    }
    table_forget_tombstones(s->table, least);
    s->since_forget = 0;
}

static void entry_changed(void *ctx, const struct table_entry *e)
{
    struct source *s = ctx;
    const char *key = table_entry_key(e);
    size_t len = strcspn(key, "/");

    s->since_forget++;
    tell(s, "", 0, e);
    if (key[len]) /* else of the cluster */
        tell(s, key, len, e);
    /* Last: by now its guest is on its way to a worker. Should a record with this number be on disk
     * before the entry is, the next relist finds another version and gives a new number. */
    persist(s, e, false);
}

static void entry_forgotten(void *ctx, const struct table_entry *e)
{
    persist(ctx, e, true);
}

static int put_entry(void *ctx, const struct table_entry *e)
{
    struct sub *sub = ctx;

    if (concerns(sub, table_entry_key(e)))
        guest_changed(sub->guest, sub->trigger, table_entry_key(e), table_entry_seq(e));
    return 0;
}

struct gathered {
    const struct table_entry **v;
    size_t n, room;
};

static int gather(void *ctx, const struct table_entry *e)
{
    struct gathered *g = ctx;

    if (g->n == g->room) {
        size_t room = g->room ? g->room * 2 : 64;
        const struct table_entry **v = realloc(g->v, room * sizeof(*v));

        if (!v)
            return -1;
        g->v = v;
        g->room = room;
    }
    g->v[g->n++] = e;
    return 0;
}

static int by_seq(const void *a, const void *b)
{
    const struct table_entry *const *x = a, *const *y = b;
    uint64_t i = table_entry_seq(*x), k = table_entry_seq(*y);

    return (i > k) - (i < k);
}

/* Of several namespaces, in the order of their numbers: should the mailbox be full half way, the
 * guest's number must not be past what was left out. */
static int put_several(struct sub *sub, uint64_t seen)
{
    const struct watch_spec *spec = sub_spec(sub);
    struct gathered all = {0};
    int rc = 0;

    for (size_t i = 0; i < spec->nnamespaces && rc == 0; i++)
        rc = table_each(sub->source->table, spec->namespaces[i], seen, gather, &all);
    if (rc == 0 && all.n)
        qsort(all.v, all.n, sizeof(*all.v), by_seq);
    for (size_t i = 0; i < all.n && rc == 0; i++)
        put_entry(sub, all.v[i]);
    free(all.v);
    return rc;
}

static void put_since(struct sub *sub, uint64_t seen)
{
    const struct watch_spec *spec = sub_spec(sub);

    if (spec->nnamespaces > 1 && put_several(sub, seen) == 0)
        return;
    /* All of it is filtered by put_entry: without memory to sort, the slow way. */
    table_each(sub->source->table, spec->nnamespaces == 1 ? spec->namespaces[0] : NULL, seen,
               put_entry, sub);
}

static void due_since(void *ctx, struct guest *g, uint16_t trigger, uint64_t seen)
{
    struct sub *sub = g->subs ? g->subs[trigger] : NULL;

    (void)ctx;
    if (sub && sub->live)
        put_since(sub, seen);
}

void watch_admitted(struct sub *sub)
{
    if (sub->live || !sub->admitted || !sub->source->synced || sub->source->watch->stopped)
        return;
    sub->live = true;
    put_since(sub, guest_seen(sub->guest, sub->trigger));
    guest_release(sub->guest);
}

/* --- filling in an event --- */

static void unref_object(void *ref)
{
    kube_object_unref(ref);
}

static char *collection(const struct kube_resource *r, const char *key)
{
    size_t n = strcspn(key, "/");
    char *out;
    const char *base = r->group[0] ? "apis/" : "api/";
    int rc;

    if (key[n])
        rc = asprintf(&out, "kube:/%s%s%s%s/namespaces/%.*s/%s", base, r->group,
                      r->group[0] ? "/" : "", r->version, (int)n, key, r->resource);
    else
        rc = asprintf(&out, "kube:%s", r->path);
    return rc < 0 ? NULL : out;
}

static int fill(void *ctx, const struct guest *g, uint16_t trigger, const char *key,
                struct event *ev, struct err *err)
{
    const struct sub *sub = g->subs ? g->subs[trigger] : NULL;
    const struct table_entry *e;
    struct kube_object *obj;

    (void)ctx;
    ev->type = "dev.roost.reconcile";
    if (!sub)
        return 0;
    ev->source = collection(&sub->source->resource, key);
    if (!ev->source)
        return err_set(err, ERR_NOMEM, 0, "no memory for an event");
    /* A key may be older than the manifest: what it is not admitted to it does not see. */
    e = concerns(sub, key) ? table_find(sub->source->table, key) : NULL;
    obj = e && !table_entry_deleted(e) ? table_entry_object(e) : NULL;
    if (!obj)
        return 0;
    ev->uid = strdup(obj->uid);
    if (!ev->uid)
        return err_set(err, ERR_NOMEM, 0, "no memory for an event");
    ev->body = (struct blob){.data = (const uint8_t *)obj->json,
                             .len = obj->json_len,
                             .ref = kube_object_ref(obj),
                             .unref = unref_object};
    return 0;
}

/* --- the reflector's sink --- */

static void relist_begin(void *ctx, bool anew)
{
    struct source *s = ctx;

    table_relist_begin(s->table, anew);
}

static void relist_now(struct timer *t)
{
    struct source *s = container_of(t, struct source, relist);
    struct err err = {0};

    s->relist_missed = false;
    reflector_stop(s->reflector);
    if (reflector_start(s->reflector, &err) == 0)
        return;
    log_error("watch of %s: %s", s->kind, err.msg);
    sweep_later(s->watch);
}

/* A change was lost for want of memory, and the reflector is past it: only a relist brings it back.
 */
static void change_lost(struct source *s, const struct err *err)
{
    s->relist.fire = relist_now;
    if (!s->relist.at &&
        watch_timer_in(s->watch, &s->relist, WATCH_RETRY_MAX_MS * NS_PER_MS, NULL) < 0) {
        s->relist_missed = true;
        sweep_later(s->watch);
    }
    log_error("watch of %s: %s; listing it again soon", s->kind, err->msg);
    snprintf(s->trouble, sizeof(s->trouble), "%s", err->msg);
}

static void table_trouble(struct source *s, enum table_change change, const struct err *err)
{
    if (change == TABLE_FAILED)
        change_lost(s, err);
}

static void upsert(void *ctx, struct kube_object *obj)
{
    struct source *s = ctx;
    struct err err = {0};

    table_trouble(s, table_upsert(s->table, obj, &err), &err);
}

static void deleted(void *ctx, struct kube_object *obj)
{
    struct source *s = ctx;
    struct err err = {0};

    table_trouble(s, table_delete(s->table, obj, &err), &err);
    if (s->since_forget > WATCH_FORGET_EVERY)
        forget_tombstones(s);
}

static void relist_end(void *ctx)
{
    struct source *s = ctx;

    table_relist_end(s->table);
    if (!s->synced)
        log_info("watch of %s (%s): synced", s->kind, s->resource.path);
    s->synced = true;
    for (struct sub *sub = s->subs; sub; sub = sub->next)
        watch_admitted(sub);
    forget_tombstones(s);
}

static void skipped(void *ctx, const char *namespace_, const char *name, const struct err *err)
{
    struct source *s = ctx;

    table_touch(s->table, namespace_, name);
    if (err->code == ERR_NOMEM)
        change_lost(s, err);
    else
        log_warn("watch of %s: %s/%s left out: %s", s->kind, namespace_, name, err->msg);
}

static void state_changed(void *ctx, enum reflector_state state, const struct err *err)
{
    struct source *s = ctx;

    (void)state;
    if (err && strcmp(s->trouble, err->msg) != 0)
        log_warn("watch of %s: %s", s->kind, err->msg);
    snprintf(s->trouble, sizeof(s->trouble), "%s", err ? err->msg : "");
}

/* --- from a manifest's kind to a running reflector --- */

static void source_resolve(struct source *s);

static uint64_t retry_delay_ns(uint32_t *tries)
{
    uint64_t ms = WATCH_RETRY_MIN_MS;

    for (uint32_t i = 0; i < *tries && ms < WATCH_RETRY_MAX_MS; i++)
        ms *= 2;
    (*tries)++;
    return (ms < WATCH_RETRY_MAX_MS ? ms : WATCH_RETRY_MAX_MS) * NS_PER_MS;
}

void watch_retry(struct watch *w, struct timer *t, void (*fire)(struct timer *), uint32_t *tries)
{
    struct err err = {0};

    t->fire = fire;
    if (watch_timer_in(w, t, retry_delay_ns(tries), &err) == 0)
        return;
    log_error("watch: %s", err.msg);
    sweep_later(w);
}

static void resolve_again(struct timer *t)
{
    source_resolve(container_of(t, struct source, retry));
}

static void source_trouble(struct source *s, const struct err *err)
{
    if (strcmp(s->trouble, err->msg) != 0)
        log_warn("watch of %s %s: %s; trying again", s->api_version, s->kind, err->msg);
    snprintf(s->trouble, sizeof(s->trouble), "%s", err->msg);
    watch_retry(s->watch, &s->retry, resolve_again, &s->tries);
}

static int reflect(struct source *s, struct err *err)
{
    struct reflector_opts opts = {.path = s->resource.path,
                                  .kind = {.api_version = s->api_version, .kind = s->kind},
                                  .seed = s->watch->opts.seed ^ (uintptr_t)s,
                                  .http = s->watch->opts.http,
                                  .time = s->watch->opts.time,
                                  .sink = {.relist_begin = relist_begin,
                                           .upsert = upsert,
                                           .deleted = deleted,
                                           .relist_end = relist_end,
                                           .skipped = skipped,
                                           .state = state_changed,
                                           .ctx = s}};

    if (reflector_new(&s->reflector, &opts, err) < 0)
        return -1;
    return reflector_start(s->reflector, err);
}

static void resolved(void *ctx, const struct kube_resource *resource, const struct err *err)
{
    struct source *s = ctx;
    struct err own = {0};

    s->discovery = NULL;
    if (!err && !resource->can_watch) {
        err_set(&own, ERR_UNSUPPORTED, 0, "the server cannot list and watch it");
        err = &own;
    }
    if (err) {
        source_trouble(s, err);
        return;
    }
    s->resource = *resource;
    s->resolved = true;
    s->trouble[0] = 0;
    if (reflect(s, &own) < 0) {
        reflector_free(s->reflector);
        s->reflector = NULL;
        s->resolved = false;
        source_trouble(s, &own);
        return;
    }
    for (struct sub *sub = s->subs; sub; sub = sub->next)
        admit_ask(sub);
}

static void source_resolve(struct source *s)
{
    struct err err = {0};

    if (s->watch->stopped)
        return;
    if (discovery_start(&s->discovery, &s->watch->opts.http, s->api_version, s->kind, resolved, s,
                        &err) < 0)
        source_trouble(s, &err);
}

static void start_again(struct timer *t);

static void source_start(struct source *s)
{
    struct err err = {0};
    uint64_t most = 0;

    for (const struct sub *sub = s->subs; sub; sub = sub->next)
        if (guest_seen(sub->guest, sub->trigger) > most)
            most = guest_seen(sub->guest, sub->trigger);
    if (!s->restored && table_restored(s->table, most, &err) < 0) {
        log_error("change table of %s: %s; trying again", s->kind, err.msg);
        watch_retry(s->watch, &s->retry, start_again, &s->tries);
        return;
    }
    s->restored = true;
    s->idle = false;
    if (s->watch->opts.http.send)
        source_resolve(s);
}

static void start_again(struct timer *t)
{
    watch_source_again(container_of(t, struct source, retry));
}

void watch_source_again(struct source *s)
{
    struct reflector_stats stats;

    if (!s->subs || s->watch->stopped || s->retry.at || s->relist.at || s->discovery)
        return;
    if (!s->restored) {
        source_start(s);
        return;
    }
    if (!s->resolved) {
        if (s->watch->opts.http.send)
            source_resolve(s);
        return;
    }
    reflector_stats(s->reflector, &stats);
    if (s->relist_missed || stats.state == REFLECTOR_IDLE)
        relist_now(&s->relist);
}

/* --- life --- */

static struct source *source_find(const struct watch *w, const char *api_version, const char *kind)
{
    for (struct source *s = w->sources; s; s = s->next)
        if (!strcmp(s->api_version, api_version) && !strcmp(s->kind, kind))
            return s;
    return NULL;
}

static void source_free(struct source *s)
{
    reflector_free(s->reflector);
    discovery_cancel(s->discovery);
    s->watch->opts.time.clear(s->watch->opts.time.ctx, &s->retry);
    s->watch->opts.time.clear(s->watch->opts.time.ctx, &s->relist);
    for (struct sub *sub = s->subs, *next; sub; sub = next) {
        next = sub->next;
        admit_forget(sub);
        free(sub);
    }
    table_free(s->table);
    free(s->index);
    free(s->api_version);
    free(s->kind);
    free(s);
}

static int source_get(struct source **out, struct watch *w, const char *api_version,
                      const char *kind, struct err *err)
{
    struct source *s = source_find(w, api_version, kind);
    struct table_opts opts = {.changed = entry_changed, .forgotten = entry_forgotten};

    if (s) {
        *out = s;
        return 0;
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(err, ERR_NOMEM, 0, "no memory for a watch");
    s->watch = w;
    s->api_version = strdup(api_version);
    s->kind = strdup(kind);
    opts.ctx = s;
    if (!s->api_version || !s->kind || table_new(&s->table, &opts, err) < 0) {
        source_free(s);
        return err_set(err, ERR_NOMEM, 0, "no memory for a watch");
    }
    s->next = w->sources;
    w->sources = s;
    *out = s;
    return 0;
}

/* "apiVersion kind key" */
static int restore(void *ctx, const void *key, size_t key_len, const void *value, size_t len,
                   struct err *err)
{
    struct watch *w = ctx;
    char text[2 * DB_KEY_MAX + 1], *kind, *name;
    struct table_record record;
    struct source *s;
    struct err why = {0};

    if (key_len >= sizeof(text))
        return 0;
    memcpy(text, key, key_len);
    text[key_len] = 0;
    kind = strchr(text, ' ');
    name = kind ? strchr(kind + 1, ' ') : NULL;
    if (!name)
        return 0;
    *kind++ = 0;
    *name++ = 0;
    if (source_get(&s, w, text, kind, err) < 0)
        return -1;
    /* What cannot be read counts as never seen: the relist brings it back as a change. */
    if (table_entry_decode(&record, value, len, &why) < 0 ||
        table_restore(s->table, name, &record, &why) < 0)
        log_warn("change table of %s: %s: %s", kind, name, why.msg);
    return 0;
}

static int follow(void *ctx, struct guest *g, struct err *err)
{
    return watch_subscribe(ctx, g, err);
}

/* Nobody needs the resource any more: its upstream watch ends. The table stays, so that whoever
 * comes next finds the same numbers. */
static void source_rest(struct source *s)
{
    const struct kube_time *time = &s->watch->opts.time;

    reflector_free(s->reflector);
    s->reflector = NULL;
    discovery_cancel(s->discovery);
    s->discovery = NULL;
    time->clear(time->ctx, &s->retry);
    time->clear(time->ctx, &s->relist);
    s->resolved = s->synced = s->relist_missed = false;
    s->tries = 0;
    s->trouble[0] = 0;
    s->idle = true;
}

static void rest_later(struct msg *m)
{
    struct watch *w = container_of(m, struct watch, rest);

    w->rest_posted = false;
    for (struct source *s = w->sources; s; s = s->next)
        if (!s->subs && !s->idle && w->started && !w->stopped)
            source_rest(s);
}

static void unsubscribe(struct sub *sub)
{
    struct source *s = sub->source;
    struct guest *g = sub->guest;
    bool held = !sub->live;

    admit_leave(sub);
    index_remove(s, sub);
    *sub->prev = sub->next;
    if (sub->next)
        sub->next->prev = sub->prev;
    free(sub);
    if (held)
        guest_release(g);
}

/* May be called from within a source's own callbacks: what nobody needs ends in a later turn. */
static void leave(void *ctx, struct guest *g)
{
    struct watch *w = ctx;

    for (uint16_t t = 0; g->subs && t < g->spec->nwatches; t++)
        if (g->subs[t])
            unsubscribe(g->subs[t]);
    free(g->subs);
    g->subs = NULL;
    if (!w->rest_posted) {
        w->rest_posted = true;
        w->rest.run = rest_later;
        loop_post(w->opts.loop, &w->rest);
    }
}

int watch_new(struct watch **out, const struct watch_opts *opts, struct err *err)
{
    struct watch *w = calloc(1, sizeof(*w));

    if (!w)
        return err_set(err, ERR_NOMEM, 0, "no memory for the watches");
    w->opts = *opts;
    admit_init(&w->admit);
    w->trigger = (struct trigger){
        .ctx = w, .fill = fill, .due_since = due_since, .follow = follow, .leave = leave};
    if (sweep_init(w, err) < 0 || db_scan(opts->db, TABLE, restore, w, err) < 0) {
        watch_free(w);
        return -1;
    }
    *out = w;
    return 0;
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    admit_stop(w);
    sweep_stop(w);
    for (struct source *s = w->sources, *next; s; s = next) {
        next = s->next;
        source_free(s);
    }
    loop_unpost(w->opts.loop, &w->flush);
    loop_unpost(w->opts.loop, &w->rest);
    batch_submit(w);
    free(w);
}

const struct trigger *watch_trigger(const struct watch *w)
{
    return &w->trigger;
}

static int subscribe(struct watch *w, struct guest *g, uint16_t trigger, struct err *err)
{
    const struct watch_spec *spec = &g->spec->watches[trigger];
    size_t nplaces = spec->nnamespaces ? spec->nnamespaces : 1;
    struct sub *sub = calloc(1, sizeof(*sub) + nplaces * sizeof(sub->places[0]));
    struct source *s;

    if (!sub || source_get(&s, w, spec->api_version, spec->kind, err) < 0) {
        free(sub);
        return err_set(err, ERR_NOMEM, 0, "no memory for a watch");
    }
    sub->source = s;
    sub->guest = g;
    sub->trigger = trigger;
    sub->nplaces = (uint16_t)nplaces;
    if (index_add(s, sub, err) < 0) { /* then nothing is in it yet */
        free(sub);
        return -1;
    }
    sub->next = s->subs;
    sub->prev = &s->subs;
    if (sub->next)
        sub->next->prev = &sub->next;
    s->subs = sub;
    s->undecided++;
    g->subs[trigger] = sub;
    guest_hold(g);
    /* It knows of more than this table, which may have been lost: all is due. */
    if (s->restored && guest_seen(g, trigger) > table_seq(s->table))
        g->progress[trigger].seen = 0;
    if (w->started && (!s->restored || s->idle))
        source_start(s);
    else if (w->started)
        admit_ask(sub);
    return 0;
}

int watch_subscribe(struct watch *w, struct guest *g, struct err *err)
{
    g->subs = calloc(g->spec->nwatches + 1, sizeof(*g->subs));
    if (!g->subs)
        return err_set(err, ERR_NOMEM, 0, "no memory for watches");
    for (uint16_t t = 0; t < g->spec->nwatches; t++)
        if (subscribe(w, g, t, err) < 0)
            return -1;
    return 0;
}

void watch_start(struct watch *w)
{
    w->started = true;
    for (struct source *s = w->sources; s; s = s->next)
        if (s->subs)
            source_start(s);
}

void watch_stop(struct watch *w)
{
    w->stopped = true;
    admit_stop(w);
    sweep_stop(w);
    for (struct source *s = w->sources; s; s = s->next) {
        if (s->reflector)
            reflector_stop(s->reflector);
        discovery_cancel(s->discovery);
        s->discovery = NULL;
        w->opts.time.clear(w->opts.time.ctx, &s->retry);
        w->opts.time.clear(w->opts.time.ctx, &s->relist);
        for (struct sub *sub = s->subs; sub; sub = sub->next)
            if (sub->trouble)
                w->opts.time.clear(w->opts.time.ctx, &sub->trouble->retry);
    }
}

/* --- how it is --- */

void watch_numbers(const struct watch *w, struct watch_numbers *out)
{
    *out = (struct watch_numbers){0};
    for (const struct source *s = w->sources; s; s = s->next) {
        struct reflector_stats r = {0};
        struct table_stats t;

        table_stats(s->table, &t);
        if (s->reflector)
            reflector_stats(s->reflector, &r);
        out->watches += s->reflector != NULL;
        out->synced += s->synced;
        out->events += r.events;
        out->relists += r.relists;
        out->reconnects += r.reconnects;
        out->objects += t.cached;
        out->object_bytes += t.object_bytes;
    }
}

bool watch_ready(const struct watch *w, struct buf *why)
{
    bool ready = true;

    for (const struct source *s = w->sources; s; s = s->next) {
        if (s->subs && (!s->synced || s->undecided)) {
            ready = false;
            if (why)
                (void)!buf_printf(why, NULL, "watch of %s %s: %s%s\n", s->api_version, s->kind,
                                  s->synced ? "guests under review" : "not synced",
                                  s->trouble[0] ? " (in trouble: see its log)" : "");
        }
    }
    return ready;
}

json_t *watch_describe(const struct watch *w, const struct guest *g, uint16_t trigger)
{
    const struct sub *sub = g->subs ? g->subs[trigger] : NULL;
    const struct source *s = sub ? sub->source : NULL;

    (void)w;
    if (!sub)
        return json_null();
    return json_pack("{s:s, s:s, s:s, s:b, s:b, s:I, s:s, s:s}", "apiVersion", s->api_version,
                     "kind", s->kind, "path", s->resource.path, "synced", s->synced, "admitted",
                     sub->admitted, "handled", (json_int_t)guest_seen(sub->guest, sub->trigger),
                     "reason", sub->trouble ? sub->trouble->reason : "", "trouble", s->trouble);
}
