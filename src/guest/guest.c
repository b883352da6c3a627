/* The registry of guests, and what a guest's other files share. See guest.h. */
#include "guest/guest.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/sched.h"
#include "base/text.h"
#include "engine/rewrite.h"
#include "guest/iopool.h"
#include "guest/spares.h"
#include "guest/ticker.h"
#include "guest/worker.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

/* A record from the database whose guest was not added yet. Its snapshot keeps its place until the
 * guest comes, in this life of the daemon or in a later one: a manifest may be missing by mistake.
 */
struct orphan {
    struct orphan *next;
    char *id;
    char *refused; /* why, where it was no good: then it is removed from the database */
    bool claimed;
    size_t len;
    uint8_t value[];
};

static const char *const state_names[GUEST_STATES] = {
    [G_COLD] = "Cold",     [G_ASLEEP] = "Asleep", [G_RUNNING] = "Running",   [G_IDLE] = "Awake",
    [G_SAVING] = "Saving", [G_FAILED] = "Failed", [G_STOPPING] = "Stopping", [G_GONE] = "Gone",
};

const char *guest_state_name(enum guest_state s)
{
    return state_names[s];
}

bool guest_sleeps(const struct guest *g)
{
    return g->spec->sleep_mode != SLEEP_NEVER;
}

uint64_t guest_seen(const struct guest *g, uint16_t trigger)
{
    return g->progress[trigger].seen;
}

uint64_t guest_needs_after(const struct guest *g, uint16_t trigger, uint64_t newest, bool live)
{
    const struct progress *p = &g->progress[trigger];

    if (!p->recorded || (live && !g->behind && p->saved == p->seen))
        return newest;
    return p->saved;
}

/* --- what the threads that own an awake ask --- */

struct image *guest_image(const struct guest *g)
{
    return g->image;
}

uint64_t guest_time_max(const struct guest *g)
{
    return g->spec->limits.time_ns;
}

uint64_t guest_memory_max(const struct guest *g)
{
    return g->spec->limits.memory_bytes;
}

uint32_t guest_calls_max(const struct guest *g)
{
    return g->spec->limits.calls;
}

void guest_instance_opts(struct awake *a, struct instance_opts *opts)
{
    const struct guest *g = a->guest;

    *opts = (struct instance_opts){.memory_bytes_max = g->spec->limits.memory_bytes,
                                   .cpu_ns_max = g->spec->limits.cpu_ns,
                                   .args = g->argv,
                                   .env = g->argv + g->spec->nargs + 2,
                                   .nargs = g->spec->nargs + 1,
                                   .nenv = g->spec->nenv,
                                   .user = a};
}

void guest_call_owner(struct awake *a, struct call_owner *owner)
{
    *owner = (struct call_owner){.loop = worker_loop(a->worker),
                                 .capabilities = worker_capabilities(a->worker),
                                 .guest = a->guest,
                                 .put_ns = a->put_ns,
                                 .woke = a->woke || a->fresh,
                                 .first = a->next_handle == 0};
}

static size_t put_line(char *out, size_t used, size_t cap, const char *name, const char *value)
{
    int n;

    if (!value || used >= cap)
        return used;
    n = snprintf(out + used, cap - used, "%s: %s\n", name, value);
    return n < 0 || (size_t)n >= cap - used ? used : used + (size_t)n;
}

size_t guest_event_lines(const struct awake *a, char *out, size_t cap)
{
    const struct event *ev = &a->ev;
    const char *slash = ev->key ? strchr(ev->key, '/') : NULL;
    char text[64], namespace_[256];
    size_t n = 0;

    if (!ev->key) /* it was woken without an event */
        return 0;

    n = put_line(out, n, cap, "type", ev->type);
    n = put_line(out, n, cap, "source", ev->source);
    n = put_line(out, n, cap, "subject", ev->key);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)ev->id);
    n = put_line(out, n, cap, "id", text);
    text_time(text, ev->due_wall_ms);
    n = put_line(out, n, cap, "time", text);
    n = put_line(out, n, cap, "key", ev->key);
    if (slash) {
        snprintf(namespace_, sizeof(namespace_), "%.*s", (int)(slash - ev->key), ev->key);
        n = put_line(out, n, cap, "namespace", namespace_);
    }
    n = put_line(out, n, cap, "name", slash ? slash + 1 : ev->key);
    snprintf(text, sizeof(text), "%u", ev->trigger);
    n = put_line(out, n, cap, "trigger", text);
    n = put_line(out, n, cap, "uid", ev->uid);
    snprintf(text, sizeof(text), "%u", ev->failures);
    return put_line(out, n, cap, "failures", text);
}

/* --- its log --- */

/* GUEST_LOG_RATE lines a second, GUEST_LOG_BURST at once. */
static bool log_allowed(struct log_bucket *b, uint64_t now)
{
    const uint64_t full = (uint64_t)GUEST_LOG_BURST * 1000;
    uint64_t gained = (now - b->last_ns) / NS_PER_MS * GUEST_LOG_RATE;

    if (b->last_ns == 0) {
        b->tokens_milli = full;
        b->last_ns = now;
    } else if (gained) {
        b->tokens_milli = b->tokens_milli + gained < full ? b->tokens_milli + gained : full;
        b->last_ns = now;
    }
    if (b->tokens_milli < 1000) {
        b->dropped++;
        return false;
    }
    b->tokens_milli -= 1000;
    return true;
}

static void say(struct guest *g, enum journal_stream stream, enum log_level level, uint64_t dropped,
                const char *text, size_t len)
{
    log_text(level, g->id, text, len);
    journal_line(g->all->journal, g->id, stream, level,
                 dropped < UINT32_MAX ? (uint32_t)dropped : UINT32_MAX, text, len);
}

static void say_dropped(struct guest *g)
{
    char text[JOURNAL_DROPPED_TEXT];

    say(g, JOURNAL_LOG, LOG_WARN, g->log.dropped, text, journal_dropped_text(text, g->log.dropped));
    g->log.dropped = 0;
}

void guest_log(struct awake *a, enum journal_stream stream, enum log_level level, const char *text,
               size_t len)
{
    static const char mark[] = " [cut]";
    char cut[ABI_LOG_MAX + sizeof(mark)];
    struct guest *g = a->guest;

    if (level < log_level_get())
        return;
    if (!log_allowed(&g->log, clock_now_ns())) {
        session_refused(a, "log: lines were dropped, more than GUEST_LOG_RATE a second");
        return;
    }
    if (g->log.dropped)
        say_dropped(g);
    if (len > ABI_LOG_MAX) {
        memcpy(cut, text, ABI_LOG_MAX);
        memcpy(cut + ABI_LOG_MAX, mark, sizeof(mark));
        text = cut;
        len = sizeof(cut) - 1;
    }
    say(g, stream, level, 0, text, len);
}

void guest_log_settle(struct guest *g)
{
    if (g->log.dropped)
        journal_dropped(g->all->journal, g->id, g->log.dropped);
    g->log.dropped = 0;
}

/* --- what happened to it --- */

void guest_note_event(struct guest *g, enum journal_reason reason, const char *why)
{
    char text[JOURNAL_TEXT_MAX + 1];

    if (g->awake->ev.key)
        snprintf(text, sizeof(text), "event of %s: %s", g->awake->ev.key, why);
    else
        snprintf(text, sizeof(text), "%s", why);
    journal_event(g->all->journal, reason, g->id, text);
}

void guest_note_woken(struct guest *g)
{
    const struct awake *a = g->awake;

    journal_event(g->all->journal, a->woke ? JOURNAL_WOKEN : JOURNAL_FRESH_START, g->id,
                  a->ev.key ? a->ev.key : "");
}

void guest_note_slept(struct guest *g)
{
    const char *why = g->charge.leaving ? "early: others needed its room"
                      : g->sleep_asked  ? "it was told to"
                                        : "";

    g->sleep_asked = false;
    journal_event(g->all->journal, JOURNAL_SLEPT, g->id, why);
}

/* --- making and freeing a guest --- */

int guest_argv_make(struct guest *g)
{
    const struct guest_spec *s = g->spec;
    size_t room = (s->nargs + s->nenv + 3) * sizeof(char *);
    const char **at;
    char *text;

    if (g->argv)
        return 0;
    for (size_t i = 0; i < s->nenv; i++)
        room += strlen(s->env[i].name) + strlen(s->env[i].value) + 2;
    at = g->argv = malloc(room);
    if (!at)
        return -1;
    text = (char *)(at + s->nargs + s->nenv + 3);
    *at++ = s->name;
    for (size_t i = 0; i < s->nargs; i++)
        *at++ = s->args[i];
    *at++ = NULL;
    for (size_t i = 0; i < s->nenv; i++) {
        *at++ = text;
        text = text_put(text, s->env[i].name);
        *text++ = '=';
        text = text_put(text, s->env[i].value) + 1;
    }
    *at = NULL;
    return 0;
}

void guest_argv_drop(struct guest *g)
{
    free(g->argv);
    g->argv = NULL;
}

/* What the guest's memory belongs to: module, rewriter, arguments, environment. Not the engine's
 * version: an update of the engine keeps the snapshots. */
static int make_identity(struct guest *g, const uint8_t digest[32])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    /* The number of arguments too: one that looks like a variable is none. */
    const uint32_t first[] = {REWRITER_VERSION, (uint32_t)g->spec->nargs};
    unsigned n = 0;
    int ok;

    ok = ctx && guest_argv_make(g) == 0 && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) &&
         EVP_DigestUpdate(ctx, digest, 32) && EVP_DigestUpdate(ctx, first, sizeof(first));
    for (size_t i = 0; ok && i < g->spec->nargs + g->spec->nenv + 2; i++)
        if (g->argv[i]) /* NULL between the two */
            ok = EVP_DigestUpdate(ctx, g->argv[i], strlen(g->argv[i]) + 1);
    ok = ok && EVP_DigestFinal_ex(ctx, g->identity, &n) && n == sizeof(g->identity);
    EVP_MD_CTX_free(ctx);
    guest_argv_drop(g);
    return ok ? 0 : -1;
}

static uint64_t watch_hash(const struct watch_spec *w)
{
    struct hash h;

    hash_begin(&h);
    hash_add(&h, w->api_version, strlen(w->api_version) + 1);
    hash_add(&h, w->kind, strlen(w->kind) + 1);
    for (size_t i = 0; i < w->nnamespaces; i++)
        hash_add(&h, w->namespaces[i], strlen(w->namespaces[i]) + 1);
    return hash_end(&h);
}

static int make_progress(struct guest *g)
{
    g->progress = calloc(g->spec->nwatches ? g->spec->nwatches : 1, sizeof(*g->progress));
    if (!g->progress)
        return -1;
    for (size_t i = 0; i < g->spec->nwatches; i++)
        g->progress[i].spec_hash = watch_hash(&g->spec->watches[i]);
    return 0;
}

void guest_free(struct guest *g)
{
    if (!g)
        return;
    census_forget(&g->all->census, g);
    guest_change_free(g);
    if (g->awake) {
        assert(!g->awake->inst);
        free(g->awake);
    }
    guest_note_error(g, "");
    guest_record_forget(g);
    free(g->last_refusal);
    free(g->rejected);
    free(g->argv);
    free(g->progress);
    free(g->subs);
    mailbox_free(g->mailbox);
    snapshot_free(g->snapshot);
    image_unref(g->image);
    guest_spec_free(g->spec);
    free(g->id);
    free(g);
}

int guest_make(struct guest **out, struct guests *all, struct guest_spec *spec,
               const uint8_t digest[32], struct err *err)
{
    struct guest *g = calloc(1, sizeof(*g));

    if (!g) {
        guest_spec_free(spec);
        return err_set(err, ERR_NOMEM, 0, "no memory for a guest");
    }
    g->all = all;
    g->spec = spec;
    g->state = G_COLD;
    g->last_error = g->last_reason = "";
    g->hold = 1;
    g->created_wall_ms = all->opts.clock.wall_ms(all->opts.clock.ctx);
    memcpy(g->module_digest, digest, sizeof(g->module_digest));
    if (asprintf(&g->id, "%s/%s", spec->namespace_, spec->name) < 0)
        g->id = NULL;
    if (!g->id || make_progress(g) < 0 || make_identity(g, digest) < 0 ||
        getrandom(g->uid, sizeof(g->uid), 0) != sizeof(g->uid)) {
        guest_free(g);
        return err_set(err, ERR_NOMEM, 0, "no memory for a guest");
    }
    *out = g;
    return 0;
}

/* --- the index --- */

static size_t index_at(const struct guests *all, const char *id)
{
    size_t i = (size_t)hash_bytes(id, strlen(id)) & (all->index_room - 1);

    while (all->index[i] && strcmp(all->index[i]->id, id) != 0)
        i = (i + 1) & (all->index_room - 1);
    return i;
}

struct guest *guests_find(const struct guests *all, const char *id)
{
    return all->index_room ? all->index[index_at(all, id)] : NULL;
}

struct guest *guests_at(const struct guests *all, size_t i)
{
    return i < all->n ? all->list[i] : NULL;
}

static int index_grow(struct guests *all, struct err *err)
{
    size_t room = all->index_room ? all->index_room * 2 : 64;
    struct guest **index = calloc(room, sizeof(*index)), **old = all->index;
    size_t old_room = all->index_room;

    if (!index)
        return err_set(err, ERR_NOMEM, 0, "no memory for %zu guests", room);
    all->index = index;
    all->index_room = room;
    for (size_t i = 0; i < old_room; i++)
        if (old[i])
            all->index[index_at(all, old[i]->id)] = old[i];
    free(old);
    return 0;
}

/* Those behind it in its chain move up, so that no search stops at the hole. */
static void index_remove(struct guests *all, const char *id)
{
    const size_t mask = all->index_room - 1;
    size_t hole = index_at(all, id);

    for (size_t i = (hole + 1) & mask; all->index[i]; i = (i + 1) & mask) {
        const char *other = all->index[i]->id;
        size_t home = (size_t)hash_bytes(other, strlen(other)) & mask;

        if (((i - home) & mask) < ((i - hole) & mask))
            continue; /* it is between its home and itself: the hole is before */
        all->index[hole] = all->index[i];
        hole = i;
    }
    all->index[hole] = NULL;
}

void guests_forget(struct guests *all, struct guest *g)
{
    size_t i = 0;

    index_remove(all, g->id);
    while (all->list[i] != g)
        i++;
    all->n--;
    memmove(&all->list[i], &all->list[i + 1], (all->n - i) * sizeof(all->list[0]));
    all->stats.by_state[g->state]--;
    guests_note_gone(all);
}

static int make_room(struct guests *all, struct err *err)
{
    size_t room = all->room ? all->room * 2 : 32;
    struct guest **list;

    if (all->n >= GUESTS_MAX)
        return err_set(err, ERR_LIMIT, 0, "%zu guests, limit %u", all->n, GUESTS_MAX);
    if ((all->n + 1) * 2 > all->index_room && index_grow(all, err) < 0)
        return -1;
    /* So that no guest is ever without its timer, which would be without its next event. */
    if (loop_timers_reserve(all->opts.loop, all->n + 1 + GUESTS_TIMERS_SPARE, err) < 0)
        return -1;
    if (all->n < all->room)
        return 0;
    list = realloc(all->list, room * sizeof(*list));
    if (!list)
        return err_set(err, ERR_NOMEM, 0, "no memory for %zu guests", room);
    all->list = list;
    all->room = room;
    return 0;
}

/* --- records read at start --- */

static struct orphan **record_bucket(const struct guests *all, const char *id)
{
    return &all->records[hash_bytes(id, strlen(id)) & (all->records_room - 1)];
}

/* At most as many records as buckets. Without memory the chains grow longer. */
static int records_grow(struct guests *all)
{
    size_t room = all->records_room ? all->records_room * 2 : 64, old_room = all->records_room;
    struct orphan **old = all->records, **records;

    if (all->nrecords < all->records_room)
        return 0;
    records = calloc(room, sizeof(struct orphan *));
    if (!records)
        return old ? 0 : -1;
    all->records = records;
    all->records_room = room;
    for (size_t i = 0; i < old_room; i++) {
        for (struct orphan *o = old[i], *next; o; o = next) {
            struct orphan **bucket = record_bucket(all, o->id);

            next = o->next;
            o->next = *bucket;
            *bucket = o;
        }
    }
    free(old);
    return 0;
}

/* A record that is no good does not stay: at the next start it might take the place of another's.
 * Its guest hears why when it comes. */
static char *refuse_record(struct guests *all, const char *id, const struct err *why)
{
    struct err err = {0};

    log_line(LOG_ERROR, id, "%s: removed; it will start afresh, all keys due", why->msg);
    if (guest_record_remove(all, id, NULL, 0, false, &err) < 0)
        log_line(LOG_WARN, id, "its record could not be removed: %s", err.msg);
    return strdup(why->msg);
}

static int read_record(void *ctx, const void *key, size_t key_len, const void *value, size_t len,
                       struct err *err)
{
    struct guests *all = ctx;
    struct orphan *o = malloc(sizeof(*o) + len), **bucket;
    struct err why = {0};

    if (!o || !(o->id = strndup(key, key_len)) || records_grow(all) < 0) {
        if (o)
            free(o->id);
        free(o);
        return err_set(err, ERR_NOMEM, 0, "no memory for a record");
    }
    o->claimed = guest_record_claim(all->opts.arena, value, len, &why) == 0;
    o->refused = !o->claimed && why.code == ERR_CORRUPT ? refuse_record(all, o->id, &why) : NULL;
    o->len = len;
    memcpy(o->value, value, len);
    bucket = record_bucket(all, o->id);
    o->next = *bucket;
    *bucket = o;
    all->nrecords++;
    return 0;
}

static void orphan_free(struct orphan *o)
{
    free(o->refused);
    free(o->id);
    free(o);
}

/* The guest's record, off the list; NULL: none. */
static struct orphan *record_take(struct guests *all, const char *id)
{
    struct orphan **at = all->nrecords ? record_bucket(all, id) : NULL, *o;

    while (at && *at && strcmp((*at)->id, id) != 0)
        at = &(*at)->next;
    o = at ? *at : NULL;
    if (!o)
        return NULL;
    *at = o->next;
    if (--all->nrecords == 0) {
        free(all->records);
        all->records = NULL;
        all->records_room = 0;
    }
    return o;
}

static void records_free(struct guests *all)
{
    for (size_t i = 0; i < all->records_room; i++) {
        for (struct orphan *o = all->records[i], *next; o; o = next) {
            next = o->next;
            orphan_free(o);
        }
    }
    free(all->records);
}

/* True: it is noted, or gone. */
static bool forget_absent(struct guests *all, struct orphan *o, int64_t now, bool remove)
{
    int64_t since = guest_record_absent(o->value, o->len);
    struct err err = {0};

    if (since == 0 && guest_record_note_absent(all, o->id, o->value, o->len, now, &err) < 0)
        log_line(LOG_WARN, o->id, "that it is missing could not be noted: %s", err.msg);
    if (since == 0 || !remove || now - since < ORPHAN_KEEP_MS)
        return false;
    if (guest_record_remove(all, o->id, o->value, o->len, o->claimed, &err) < 0) {
        log_line(LOG_WARN, o->id, "its record could not be removed: %s", err.msg);
        return false;
    }
    log_line(LOG_WARN, o->id, "was missing for %u days: its record and snapshot are removed",
             (unsigned)((now - since) / (24ll * 3600 * 1000)));
    return true;
}

void guests_forget_absent(struct guests *all, bool remove)
{
    int64_t now = all->opts.clock.wall_ms(all->opts.clock.ctx);
    size_t kept = 0;

    for (size_t i = 0; i < all->records_room; i++) {
        for (struct orphan **at = &all->records[i], *o; (o = *at);) {
            if (!o->refused && !forget_absent(all, o, now, remove)) {
                kept++;
                at = &o->next;
                continue;
            }
            *at = o->next;
            all->nrecords--;
            orphan_free(o);
        }
    }
    if (kept)
        log_warn("%zu guests with a record are missing; their snapshots are kept for %u days", kept,
                 (unsigned)(ORPHAN_KEEP_MS / (24ll * 3600 * 1000)));
}

static void apply_record(struct guest *g)
{
    struct orphan *o = record_take(g->all, g->id);
    struct err err = {0};

    if (!o)
        return;
    if (o->refused) {
        guest_note_error(g, o->refused);
    } else if (guest_record_apply(g, o->value, o->len, o->claimed, &err) < 0) {
        log_line(LOG_ERROR, g->id, "%s; fresh start, all keys due", err.msg);
        (void)err_blame(&err, REASON_SNAPSHOT_DAMAGED);
        guest_note_err(g, &err);
    }
    orphan_free(o);
    if (g->snapshot)
        guest_step(g, GE_RESUME);
}

int guests_add(struct guest **out, struct guests *all, struct guest_spec *spec,
               const uint8_t module_digest[32], struct err *err)
{
    struct guest *g = NULL;

    if (make_room(all, err) < 0) {
        guest_spec_free(spec);
        return -1;
    }
    if (guest_make(&g, all, spec, module_digest, err) < 0)
        return -1;
    if (guests_find(all, g->id)) {
        err_set(err, ERR_EXISTS, 0, "guest %s is there already", g->id);
        guest_free(g);
        return -1;
    }
    all->index[index_at(all, g->id)] = g;
    all->list[all->n++] = g;
    all->stats.by_state[g->state]++;
    apply_record(g);
    if (out)
        *out = g;
    return 0;
}

/* --- holding back, changes --- */

void guest_hold(struct guest *g)
{
    g->hold++;
}

void guest_release(struct guest *g)
{
    assert(g->hold > 0);
    g->hold--;
    if (g->hold == 0)
        guest_kick(g);
}

/* It has no memory to go with what an earlier life of the daemon has handled. */
static void never_sleeps(struct guest *g)
{
    bool recorded = false;

    for (size_t t = 0; t < g->spec->nwatches; t++) {
        recorded |= g->progress[t].recorded;
        g->progress[t].saved = 0;
        g->progress[t].recorded = false;
    }
    if (recorded)
        guest_all_due(g);
}

int guest_mode_for(struct guest_spec *spec, const struct image *image, struct err *err)
{
    const char *unsavable = image_unsavable(image);

    if (!unsavable || spec->sleep_mode != SLEEP_AUTO)
        return 0;
    if (spec->sleep_mode_set) {
        err_set(err, ERR_UNSUPPORTED, 0,
                "%s:%u: spec.sleep.mode auto: a sleep would lose some of its module's state: %s; "
                "say never (its default) or fresh",
                spec->file, spec->line, unsavable);
        return err_blame(err, REASON_CANNOT_SLEEP);
    }
    spec->sleep_mode = SLEEP_NEVER;
    return 1;
}

void guest_image_ready(struct guest *g, struct image *image)
{
    struct err err = {0};
    int never = guest_mode_for(g->spec, image, &err);

    if (never < 0) {
        image_unref(image);
        guest_reject(g, &err);
        return;
    }
    if (never)
        never_sleeps(g);
    g->image = image;
    guest_release(g);
}

void guest_reject(struct guest *g, const struct err *err)
{
    if (!g->rejected)
        g->rejected = malloc(sizeof(*g->rejected));
    if (g->rejected)
        *g->rejected = *err;
    log_line(LOG_ERROR, g->id, "cannot be deployed: %s", err->msg);
    journal_event(g->all->journal, JOURNAL_REJECTED, g->id, err->msg);
}

void guest_changed(struct guest *g, uint16_t trigger, const char *key, uint64_t seq)
{
    const struct clock *clock = &g->all->opts.clock;
    struct err err = {0};

    if (g->behind) /* all that came since is looked up in order, when there is room again */
        return;
    if (mailbox_put(&g->mailbox, trigger, key, seq, clock->mono_ns(clock->ctx), &err) < 0) {
        g->behind = true;
        log_line(LOG_WARN, g->id, "%s: its changes wait until there is room", err.msg);
        guest_kick(g); /* its timer */
        return;
    }
    if (seq > g->progress[trigger].seen)
        g->progress[trigger].seen = seq;
    guest_kick(g);
}

void guest_all_due(struct guest *g)
{
    const struct trigger *trigger = g->all->opts.watch;

    for (uint16_t t = 0; t < g->spec->nwatches; t++) {
        g->progress[t].seen = 0;
        trigger->due_since(trigger->ctx, g, t, 0);
    }
}

void guest_sleep_now(struct guest *g)
{
    g->sleep_now = g->sleep_asked = guest_sleeps(g);
    if (g->sleep_now && g->state == G_IDLE)
        guest_step(g, GE_SLEEP);
}

void guest_wake_now(struct guest *g)
{
    g->wake_now = g->state == G_COLD || g->state == G_ASLEEP || g->state == G_FAILED;
    if (g->state == G_FAILED)
        guest_step(g, g->snapshot ? GE_REVIVE : GE_RETRY);
    else
        guest_kick(g);
}

/* --- workers --- */

/* workers[0] is the one on the loop, the others have threads. */
static size_t least_loaded(const struct guests *all)
{
    size_t best = 1;

    for (size_t i = 2; i < all->nworkers; i++)
        if (worker_load(all->workers[i]) < worker_load(all->workers[best]))
            best = i;
    return best;
}

/* Its last event took not much more than waking another thread for it, it does not compute all the
 * time, and nothing says that this event will be different. */
static bool is_quick(const struct guest *g)
{
    const struct awake *a = g->awake;
    const struct clock *clock = &g->all->opts.clock;

    return g->busy_us && g->busy_us < GUEST_QUICK_US && a->debt_ns == 0 &&
           g->off_loop_ns <= clock->mono_ns(clock->ctx) &&
           (a->inst || (a->from && !a->verify && !a->writes_most));
}

size_t guests_pick_worker(const struct guest *g)
{
    const struct guests *all = g->all;

    if (is_quick(g) && worker_free_now(all->workers[0]))
        return 0;
    if (g->awake->inst && g->awake->worker_at > 0)
        return g->awake->worker_at;
    return least_loaded(all);
}

static void elsewhere(struct awake *a)
{
    a->worker_at = least_loaded(a->guests);
    a->worker = a->guests->workers[a->worker_at];
}

/* An awake comes back, from a worker or an I/O thread. */
static void came_back(struct msg *m)
{
    static const enum guest_event events[] = {
        [OUT_DONE] = GE_DONE,       [OUT_SLEPT] = GE_SLEPT,     [OUT_TRAPPED] = GE_TRAP,
        [OUT_CORRUPT] = GE_CORRUPT, [OUT_NO_ROOM] = GE_NO_ROOM, [OUT_SAVED] = GE_SAVED,
        [OUT_ABANDONED] = GE_KEPT,  [OUT_UNSAVED] = GE_KEPT,
    };
    struct awake *a = container_of(m, struct awake, msg);
    enum guest_event ev = events[a->outcome];

    spares_tend(a->guests->spares);
    if (guest_change_tried(a))
        return;
    guest_step(a->guest, ev == GE_DONE && a->no_event ? GE_WOKEN : ev);
}

/* --- the registry --- */

static void sweep_spares(void *ctx)
{
    struct guests *all = ctx;

    iopool_sweep(all->io);
}

static int start_threads(struct guests *all, struct err *err)
{
    struct iopool_env io = {
        .loop = all->opts.loop, .arena = all->opts.arena, .spares = all->spares, .back = came_back};
    struct worker_env env = {.loop = all->opts.loop,
                             .engine = all->opts.engine,
                             .arena = all->opts.arena,
                             .capabilities = all->opts.capabilities,
                             .spares = all->spares,
                             .slow_save_ns = &all->slow_save_ns,
                             .back = came_back,
                             .elsewhere = elsewhere};

    if (iopool_start(&all->io, &io, all->opts.io_threads, err) < 0 ||
        ticker_start(&all->ticker, all->opts.engine, all->opts.loop, err) < 0)
        return -1;
    env.io = all->io;
    for (; all->nworkers <= all->opts.workers && all->nworkers <= WORKERS_MAX; all->nworkers++) {
        env.index = all->nworkers;
        env.on_loop = all->nworkers == 0;
        if (worker_start(&all->workers[all->nworkers], &env, err) < 0)
            return -1;
    }
    sched_prompt(); /* the loop: all that comes waits for it */
    return 0;
}

int guests_new(struct guests **out, const struct guests_opts *opts, struct err *err)
{
    struct guests *all = calloc(1, sizeof(*all));

    if (!all)
        return err_set(err, ERR_NOMEM, 0, "no memory for the guests");
    all->opts = *opts;
    all->tries_tail = &all->tries;
    budget_init(&all->budget);
    all->budget.maps_max = opts->maps_max;
    /* Ids of deliveries go on growing over restarts: guests remember them. */
    all->event_ids = (uint64_t)opts->clock.wall_ms(opts->clock.ctx) << 20;
    if (journal_new(&all->journal, opts->loop, &opts->clock, err) < 0 ||
        spares_new(&all->spares, opts->loop, sweep_spares, all, err) < 0 ||
        db_scan(opts->db, "guest", read_record, all, err) < 0 || start_threads(all, err) < 0) {
        guests_free(all);
        return -1;
    }
    *out = all;
    return 0;
}

void guests_free(struct guests *all)
{
    if (!all)
        return;
    ticker_stop(all->ticker);
    loop_timer_clear(all->opts.loop, &all->budget.again);
    if (all->budget.pump_posted)
        loop_turn(all->opts.loop, false);
    /* Each may still be leaving a function that gave the other its last guest. */
    iopool_join(all->io);
    for (size_t i = 0; i < all->nworkers; i++)
        worker_stop(all->workers[i]);
    iopool_stop(all->io);
    spares_free(all->spares);
    for (size_t i = 0; i < all->n; i++) {
        loop_timer_clear(all->opts.loop, &all->list[i]->timer);
        guest_free(all->list[i]);
    }
    journal_free(all->journal);
    records_free(all);
    free(all->list);
    free(all->index);
    free(all);
}

struct journal *guests_journal(struct guests *all)
{
    return all->journal;
}

const struct guests_stats *guests_stats(struct guests *all)
{
    all->stats.guests = all->n;
    return &all->stats;
}

void guest_set_snapshot(struct guest *g, struct snapshot *s)
{
    arena_live(g->all->opts.arena, (int64_t)snapshot_live(s) - snapshot_live(g->snapshot));
    g->snapshot = s;
}

void guests_rest(struct guests *all)
{
    if (all->stats.counts.sleeps == all->rested_at)
        arena_rest(all->opts.arena);
    all->rested_at = all->stats.counts.sleeps;
    iopool_trim(all->io);
}

void guests_flush(struct guests *all)
{
    for (size_t i = 0; i < all->nworkers; i++)
        worker_rest(all->workers[i]);
}

void guests_set_memory(struct guests *all, uint64_t bytes)
{
    all->budget.pages_max = bytes / PAGE_BYTES;
}

void guests_totals(struct guests *all, struct guests_stats *out)
{
    const struct guests_stats *now = &all->stats;
    struct guests_stats sum = all->past;

    sum.guests = all->n;
    memcpy(sum.by_state, now->by_state, sizeof(sum.by_state));
    census_add(&sum.counts, &now->counts);
    sum.retries += now->retries;
    hist_merge(&sum.wake, &now->wake);
    hist_merge(&sum.worker, &now->worker);
    hist_merge(&sum.sleep, &now->sleep);
    hist_merge(&sum.event, &now->event);
    *out = sum;
}

void guests_stats_reset(struct guests *all)
{
    struct guests_stats now = {.guests = all->n};

    guests_totals(all, &all->past);
    memcpy(now.by_state, all->stats.by_state, sizeof(now.by_state));
    all->stats = now;
    all->budget.awake_max = all->budget.awake;
    all->budget.waited = all->budget.early = 0;
}

static void report_if_drained(struct guests *all)
{
    if (!all->draining || all->drained || all->ntries)
        return;
    for (size_t i = 0; i < all->n; i++)
        if (all->list[i]->state != G_GONE)
            return;
    all->drained = true;
    all->opts.drained(all->opts.ctx);
}

void guests_note_gone(struct guests *all)
{
    if (all->stats.by_state[G_GONE] == all->n)
        report_if_drained(all);
}

void guests_drain(struct guests *all)
{
    if (all->draining)
        return;
    all->draining = true;
    for (size_t i = 0; i < all->n; i++)
        guest_step(all->list[i], GE_STOP);
    report_if_drained(all);
}
