/* See table.h.
 *
 *   hash      open addressing over pointers to entries, by the key's hash
 *   orders    two doubly linked lists of all entries, living and dead, each by seq; an entry that
 *             changes goes to the newest end of its list, so they stay sorted by themselves
 *   spaces    one list more for each namespace, of both kinds
 *
 * Forgetting takes tombstones from the oldest end of the dead. Entries never move, so `struct
 * table_entry *` are good until they are forgotten.
 */
#include "kube/table.h"

#include "base/limits.h"
#include "base/slab.h"
#include "kube/table_record.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct link {
    struct table_entry *older, *newer;
};

struct space; /* the entries of one namespace */

struct table_entry {
    uint64_t seq;
    struct kube_object *object;
    struct space *space;
    struct link all, same; /* same: of its namespace */
    struct table_id id;
    uint32_t hash;
    uint32_t relist; /* the one that saw it; 0: none */
    bool deleted;
    char key[];
};

struct order {
    struct table_entry *oldest, *newest;
    size_t n;
};

struct space {
    struct space *next;
    uint32_t hash;
    struct order order;
    char name[];
};

struct table {
    struct table_opts opts;
    struct table_entry **slots;
    size_t nslots; /* a power of two, or 0 */
    size_t entries;
    struct order living, dead;
    uint64_t seq;
    uint64_t hash_seed;
    uint32_t relist;
    size_t seen; /* living entries of this relist */
    bool relisting, anew, restoring;
    size_t cached;
    uint64_t object_bytes, stale;
    struct space **spaces; /* by name; a power of two, or 0 */
    size_t nbuckets, nspaces;
};

/* --- lists --- */

/* The two lists differ in which link they use, so it is passed as its offset. */
static struct link *link_at(struct table_entry *e, size_t offset)
{
    return (struct link *)(void *)((char *)e + offset);
}

#define ALL  offsetof(struct table_entry, all)
#define SAME offsetof(struct table_entry, same)

static void order_remove(struct order *o, struct table_entry *e, size_t offset)
{
    struct link *l = link_at(e, offset);

    if (l->older)
        link_at(l->older, offset)->newer = l->newer;
    else
        o->oldest = l->newer;
    if (l->newer)
        link_at(l->newer, offset)->older = l->older;
    else
        o->newest = l->older;
    *l = (struct link){0};
    o->n--;
}

static void order_append(struct order *o, struct table_entry *e, size_t offset)
{
    *link_at(e, offset) = (struct link){.older = o->newest};
    if (o->newest)
        link_at(o->newest, offset)->newer = e;
    else
        o->oldest = e;
    o->newest = e;
    o->n++;
}

/* The oldest entry above seq, found from the newest end. */
static struct table_entry *order_after(const struct order *o, uint64_t seq, size_t offset)
{
    struct table_entry *e = o->newest, *found = NULL;

    while (e && e->seq > seq) {
        found = e;
        e = link_at(e, offset)->older;
    }
    return found;
}

static struct order *order_of(struct table *t, const struct table_entry *e)
{
    return e->deleted ? &t->dead : &t->living;
}

/* --- the hash --- */

/* FNV-1a from a seed, finished so that its low bits are good. */
static uint32_t key_hash(const struct table *t, const char *key)
{
    uint64_t h = 14695981039346656037ull ^ t->hash_seed;

    for (; *key; key++)
        h = (h ^ (uint8_t)*key) * 1099511628211ull;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ull;
    return (uint32_t)(h ^ h >> 32);
}

static struct table_entry *find(const struct table *t, const char *key, uint32_t hash)
{
    for (size_t i = hash; t->nslots; i++) {
        struct table_entry *e = t->slots[i & (t->nslots - 1)];

        if (!e || (e->hash == hash && strcmp(e->key, key) == 0))
            return e;
    }
    return NULL;
}

static void slot_put(struct table *t, struct table_entry *e)
{
    size_t i = e->hash;

    while (t->slots[i & (t->nslots - 1)])
        i++;
    t->slots[i & (t->nslots - 1)] = e;
}

/* At most three quarters full. */
static int slots_grow(struct table *t, struct err *err)
{
    size_t n = t->nslots ? t->nslots * 2 : 64, old = t->nslots;
    struct table_entry **from = t->slots, **slots;

    if (t->entries < t->nslots / 4 * 3)
        return 0;
    slots = calloc(n, sizeof(*slots));
    if (!slots)
        return err_set(err, ERR_NOMEM, 0, "no memory for a change table of %zu", n);
    t->slots = slots;
    t->nslots = n;
    for (size_t i = 0; i < old; i++)
        if (from[i])
            slot_put(t, from[i]);
    free(from);
    return 0;
}

/* Empties the entry's slot and moves back those behind it that were pushed there. */
static void slot_remove(struct table *t, const struct table_entry *e)
{
    size_t mask = t->nslots - 1, hole = e->hash & mask, i;

    while (t->slots[hole] != e)
        hole = (hole + 1) & mask;
    for (i = (hole + 1) & mask; t->slots[i]; i = (i + 1) & mask) {
        size_t home = t->slots[i]->hash & mask;

        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->slots[hole] = t->slots[i];
            hole = i;
        }
    }
    t->slots[hole] = NULL;
}

/* --- namespaces --- */

static size_t space_len(const char *key)
{
    const char *slash = strchr(key, '/');

    return slash ? (size_t)(slash - key) : 0;
}

static uint32_t space_hash(const struct table *t, const char *name, size_t len)
{
    char copy[KUBE_NAMESPACE_MAX + 1];

    memcpy(copy, name, len);
    copy[len] = 0;
    return key_hash(t, copy);
}

/* Where the namespace hangs, or would; there are buckets. */
static struct space **space_place(const struct table *t, const char *name, size_t len)
{
    uint32_t hash = space_hash(t, name, len);
    struct space **at = &t->spaces[hash & (t->nbuckets - 1)];

    while (*at && ((*at)->hash != hash || strncmp((*at)->name, name, len) != 0 || (*at)->name[len]))
        at = &(*at)->next;
    return at;
}

/* At most as many namespaces as buckets. Without memory the chains grow longer. */
static int spaces_grow(struct table *t)
{
    size_t n = t->nbuckets ? t->nbuckets * 2 : 16;
    struct space **spaces;

    if (t->nspaces < t->nbuckets)
        return 0;
    spaces = calloc(n, sizeof(struct space *));
    if (!spaces)
        return t->nbuckets ? 0 : -1;
    for (size_t i = 0; i < t->nbuckets; i++) {
        for (struct space *s = t->spaces[i], *next; s; s = next) {
            next = s->next;
            s->next = spaces[s->hash & (n - 1)];
            spaces[s->hash & (n - 1)] = s;
        }
    }
    free(t->spaces);
    t->spaces = spaces;
    t->nbuckets = n;
    return 0;
}

static struct space *space_get(struct table *t, const char *name, size_t len, struct err *err)
{
    struct space **at, *s = NULL;

    if (spaces_grow(t) == 0) {
        at = space_place(t, name, len);
        if (*at)
            return *at;
        s = *at = slab_alloc(&slab_common, sizeof(struct space) + len + 1);
    }
    if (!s) {
        err_set(err, ERR_NOMEM, 0, "namespace %.*s", (int)len, name);
        return NULL;
    }
    memcpy(s->name, name, len);
    s->hash = space_hash(t, name, len);
    t->nspaces++;
    return s;
}

static void space_free(struct space *s)
{
    slab_free(&slab_common, s, sizeof(*s) + strlen(s->name) + 1);
}

static void space_drop_if_empty(struct table *t, struct space *s)
{
    struct space **at = space_place(t, s->name, strlen(s->name));

    if (s->order.n)
        return;
    *at = s->next;
    t->nspaces--;
    space_free(s);
}

/* --- entries --- */

void table_entry_uid(const struct table_entry *e, char out[KUBE_UID_MAX + 1])
{
    table_id_uid(&e->id, out);
}

void table_entry_version(const struct table_entry *e, char out[KUBE_VERSION_MAX + 1])
{
    table_id_version(&e->id, out);
}

/* Takes the identity. */
static void entry_set_id(struct table_entry *e, const struct table_id *id)
{
    table_id_free(&e->id);
    e->id = *id;
}

static size_t entry_room(size_t key_len)
{
    return offsetof(struct table_entry, key) + key_len + 1;
}

static void entry_free(struct table_entry *e)
{
    kube_object_unref(e->object);
    table_id_free(&e->id);
    slab_free(&slab_common, e, entry_room(strlen(e->key)));
}

/* A new entry in hash and namespace, in no order yet. */
static struct table_entry *entry_new(struct table *t, const char *key, struct err *err)
{
    size_t len = strlen(key), max = t->opts.entries_max;
    struct table_entry *e;

    if (t->entries >= max) {
        err_set(err, ERR_LIMIT, 0, "change table: %zu entries, limit %zu", t->entries + 1, max);
        return NULL;
    }
    if (slots_grow(t, err) < 0)
        return NULL;
    e = slab_alloc(&slab_common, entry_room(len));
    if (!e) {
        err_set(err, ERR_NOMEM, 0, "change table entry");
        return NULL;
    }
    memcpy(e->key, key, len + 1);
    e->hash = key_hash(t, key);
    e->space = space_get(t, key, space_len(key), err);
    if (!e->space) {
        slab_free(&slab_common, e, entry_room(len));
        return NULL;
    }
    slot_put(t, e);
    t->entries++;
    return e;
}

static void entry_cache(struct table *t, struct table_entry *e, struct kube_object *obj)
{
    if (obj) {
        kube_object_ref(obj);
        t->cached++;
        t->object_bytes += obj->json_len;
    }
    if (e->object) {
        t->cached--;
        t->object_bytes -= e->object->json_len;
        kube_object_unref(e->object);
    }
    e->object = obj;
}

static void entry_seen(struct table *t, struct table_entry *e)
{
    if (!t->relisting || e->deleted || e->relist == t->relist)
        return;
    e->relist = t->relist;
    t->seen++;
}

static void entry_unlink(struct table *t, struct table_entry *e)
{
    order_remove(order_of(t, e), e, ALL);
    order_remove(&e->space->order, e, SAME);
    if (!e->deleted && t->relisting && e->relist == t->relist) {
        t->seen--;
        e->relist = 0;
    }
}

static void entry_link(struct table *t, struct table_entry *e)
{
    order_append(order_of(t, e), e, ALL);
    order_append(&e->space->order, e, SAME);
}

/* It is now this, and newest of all. */
static void entry_change(struct table *t, struct table_entry *e, bool deleted)
{
    if (e->seq)
        entry_unlink(t, e);
    e->deleted = deleted;
    e->seq = ++t->seq;
    entry_link(t, e);
    entry_seen(t, e);
    if (t->opts.changed)
        t->opts.changed(t->opts.ctx, e);
}

static bool entry_is(const struct table_entry *e, const char *uid, const char *version)
{
    char own[KUBE_VERSION_MAX + KUBE_UID_MAX + 1];

    table_entry_version(e, own);
    if (strcmp(own, version) != 0)
        return false;
    table_entry_uid(e, own);
    return strcmp(own, uid) == 0;
}

/* True where what came is older than what is known, and is to be left alone. */
static bool is_stale(struct table *t, const struct table_entry *e, const struct kube_object *obj)
{
    char own[KUBE_VERSION_MAX + 1];
    bool known;

    if (t->relisting && t->anew)
        return false;
    table_entry_version(e, own);
    if (kube_version_compare(obj->resource_version, own, &known) >= 0)
        return false;
    t->stale++;
    return true;
}

/* --- public --- */

int table_new(struct table **out, const struct table_opts *opts, struct err *err)
{
    struct table *t = calloc(1, sizeof(*t));

    if (!t)
        return err_set(err, ERR_NOMEM, 0, "change table");
    t->opts = *opts;
    if (!t->opts.entries_max)
        t->opts.entries_max = TABLE_ENTRIES_MAX;
    t->hash_seed = (uint64_t)(uintptr_t)t * 0x9e3779b97f4a7c15ull;
    *out = t;
    return 0;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->nslots; i++)
        if (t->slots[i])
            entry_free(t->slots[i]);
    for (size_t i = 0; i < t->nbuckets; i++) {
        struct space *s = t->spaces[i], *next;

        for (; s; s = next) {
            next = s->next;
            space_free(s);
        }
    }
    free(t->spaces);
    free(t->slots);
    free(t);
}

enum table_change table_upsert(struct table *t, struct kube_object *obj, struct err *err)
{
    char key[OBJECT_KEY_MAX + 1];
    struct table_id id;
    struct table_entry *e;

    assert(!t->restoring);
    kube_object_key(key, obj);
    e = find(t, key, key_hash(t, key));
    if (e && !e->deleted && entry_is(e, obj->uid, obj->resource_version)) {
        entry_cache(t, e, obj);
        entry_seen(t, e);
        return TABLE_SAME;
    }
    if (e && is_stale(t, e, obj)) {
        entry_seen(t, e);
        return TABLE_STALE;
    }
    if (e) /* it is there, also where memory for its change is not: no relist may call it deleted */
        entry_seen(t, e);
    if (table_id_make(&id, obj->uid, obj->resource_version, err) < 0)
        return TABLE_FAILED;
    if (!e && !(e = entry_new(t, key, err))) {
        table_id_free(&id);
        return TABLE_FAILED;
    }
    entry_set_id(e, &id);
    entry_cache(t, e, obj);
    entry_change(t, e, false);
    return TABLE_CHANGED;
}

enum table_change table_delete(struct table *t, const struct kube_object *obj, struct err *err)
{
    char key[OBJECT_KEY_MAX + 1];
    struct table_id id;
    struct table_entry *e;

    assert(!t->restoring);
    kube_object_key(key, obj);
    e = find(t, key, key_hash(t, key));
    if (!e || e->deleted)
        return TABLE_SAME;
    if (is_stale(t, e, obj))
        return TABLE_STALE;
    if (table_id_make(&id, obj->uid, obj->resource_version, err) < 0)
        return TABLE_FAILED;
    entry_set_id(e, &id);
    entry_cache(t, e, NULL);
    entry_change(t, e, true);
    return TABLE_CHANGED;
}

void table_relist_begin(struct table *t, bool anew)
{
    assert(!t->restoring);
    t->relist = (t->relist + 1) & 0x7fffffff;
    /* After two billion relists an old mark could be taken for a new one; never 0, which is none.
     */
    if (t->relist == 0)
        t->relist = 1;
    t->seen = 0;
    t->relisting = true;
    t->anew = anew;
}

void table_relist_end(struct table *t)
{
    struct table_entry *e = t->living.oldest, *next, *last = t->living.newest;

    assert(t->relisting);
    for (; e && t->seen < t->living.n; e = next) {
        next = e == last ? NULL : e->all.newer;
        if (e->relist == t->relist)
            continue;
        entry_cache(t, e, NULL);
        entry_change(t, e, true);
    }
    t->relisting = false;
    t->anew = false;
}

void table_touch(struct table *t, const char *namespace_, const char *name)
{
    char key[OBJECT_KEY_MAX + 1];
    struct table_entry *e;

    if (!name[0] || strlen(namespace_) > KUBE_NAMESPACE_MAX || strlen(name) > KUBE_NAME_MAX)
        return;
    snprintf(key, sizeof(key), "%s%s%s", namespace_, namespace_[0] ? "/" : "", name);
    e = find(t, key, key_hash(t, key));
    if (e)
        entry_seen(t, e);
}

void table_forget_tombstones(struct table *t, uint64_t handled_seq)
{
    struct table_entry *e;

    while ((e = t->dead.oldest) && e->seq <= handled_seq) {
        struct space *space = e->space;

        if (t->opts.forgotten)
            t->opts.forgotten(t->opts.ctx, e);
        entry_unlink(t, e);
        slot_remove(t, e);
        t->entries--;
        entry_free(e);
        space_drop_if_empty(t, space);
    }
}

/* --- persistence --- */

int table_entry_encode(struct buf *out, const struct table_entry *e, struct err *err)
{
    struct table_record r = {.seq = e->seq, .deleted = e->deleted};

    table_id_uid(&e->id, r.uid);
    table_id_version(&e->id, r.version);
    return table_record_encode(out, &r, err);
}

static bool is_key(const char *key)
{
    const char *slash = strchr(key, '/'), *name = slash ? slash + 1 : key;

    return name[0] && strlen(name) <= KUBE_NAME_MAX && !strchr(name, '/') && slash != key &&
           space_len(key) <= KUBE_NAMESPACE_MAX;
}

int table_restore(struct table *t, const char *key, const struct table_record *record,
                  struct err *err)
{
    struct table_entry *e;
    struct table_id id;

    assert(t->seq == 0);
    t->restoring = true;
    if (!is_key(key) || record->seq == 0)
        return err_set(err, ERR_CORRUPT, 0, "change table: key %.300s, number %llu", key,
                       (unsigned long long)record->seq);
    if (find(t, key, key_hash(t, key)))
        return err_set(err, ERR_EXISTS, 0, "change table: %.300s twice", key);
    if (table_id_make(&id, record->uid, record->version, err) < 0)
        return -1;
    e = entry_new(t, key, err);
    if (!e) {
        table_id_free(&id);
        return -1;
    }
    entry_set_id(e, &id);
    e->seq = record->seq;
    e->deleted = record->deleted;
    return 0;
}

static int by_seq(const void *a, const void *b)
{
    const struct table_entry *x = *(struct table_entry *const *)a;
    const struct table_entry *y = *(struct table_entry *const *)b;

    return (x->seq > y->seq) - (x->seq < y->seq);
}

int table_restored(struct table *t, uint64_t seq_min, struct err *err)
{
    struct table_entry **sorted;
    size_t n = 0;

    assert(t->seq == 0);
    sorted = malloc((t->entries + 1) * sizeof(*sorted));
    if (!sorted)
        return err_set(err, ERR_NOMEM, 0, "no memory to sort %zu changes", t->entries);
    t->restoring = false;
    t->seq = seq_min;
    for (size_t i = 0; i < t->nslots; i++)
        if (t->slots[i])
            sorted[n++] = t->slots[i];
    qsort(sorted, n, sizeof(*sorted), by_seq);
    for (size_t i = 0; i < n; i++)
        entry_link(t, sorted[i]);
    if (n && sorted[n - 1]->seq > t->seq)
        t->seq = sorted[n - 1]->seq;
    free(sorted);
    return 0;
}

/* --- reading --- */

const struct table_entry *table_find(const struct table *t, const char *key)
{
    return find(t, key, key_hash(t, key));
}

const char *table_entry_key(const struct table_entry *e)
{
    return e->key;
}

uint64_t table_entry_seq(const struct table_entry *e)
{
    return e->seq;
}

bool table_entry_deleted(const struct table_entry *e)
{
    return e->deleted;
}

struct kube_object *table_entry_object(const struct table_entry *e)
{
    return e->object;
}

static int each_of_space(const struct space *s, uint64_t seq,
                         int (*each)(void *ctx, const struct table_entry *e), void *ctx)
{
    int rc = 0;

    for (struct table_entry *e = order_after(&s->order, seq, SAME); e && rc == 0; e = e->same.newer)
        rc = each(ctx, e);
    return rc;
}

/* Both orders merged. */
static int each_of_all(const struct table *t, uint64_t seq,
                       int (*each)(void *ctx, const struct table_entry *e), void *ctx)
{
    struct table_entry *live = order_after(&t->living, seq, ALL);
    struct table_entry *dead = order_after(&t->dead, seq, ALL);
    int rc = 0;

    while ((live || dead) && rc == 0) {
        struct table_entry **next = !dead || (live && live->seq < dead->seq) ? &live : &dead;
        struct table_entry *e = *next;

        *next = e->all.newer;
        rc = each(ctx, e);
    }
    return rc;
}

int table_each(const struct table *t, const char *namespace_, uint64_t seq,
               int (*each)(void *ctx, const struct table_entry *e), void *ctx)
{
    size_t len = namespace_ ? strlen(namespace_) : 0;
    const struct space *s;

    if (!namespace_)
        return each_of_all(t, seq, each, ctx);
    if (len > KUBE_NAMESPACE_MAX || !t->nbuckets)
        return 0;
    s = *space_place(t, namespace_, len);
    return s ? each_of_space(s, seq, each, ctx) : 0;
}

uint64_t table_seq(const struct table *t)
{
    return t->seq;
}

void table_stats(const struct table *t, struct table_stats *out)
{
    *out = (struct table_stats){.entries = t->entries,
                                .tombstones = t->dead.n,
                                .cached = t->cached,
                                .object_bytes = t->object_bytes,
                                .stale = t->stale,
                                .relisting = t->relisting};
}
