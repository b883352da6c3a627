/* The arena: one sparse file of slots, and the map of what is free in it.
 *
 * What is free is a set of extents that neither touch nor overlap, in a treap: a search tree by
 * offset that is a heap by a random priority, and so of logarithmic depth. Each node knows the
 * longest extent below it, which finds the first fit in address order in O(log n). Why the first
 * and not the best fit: it keeps what is in use at the low end, so that the tail can be cut off,
 * and it comes back soon to what was released a moment ago: writing to pages that are in the page
 * cache is three times faster than to new ones.
 *
 * Nodes live in one array and refer to each other by index. There are never more free extents than
 * slots in use and one, so the array grows when a slot is taken (where failing is possible), and
 * giving back needs no memory. One mutex; under it there is no I/O but fstat, and ftruncate of a
 * file that grows, or whose end is a hole already.
 *
 * A free extent is `clean` when it is known to be a hole of the file. Trimming takes an extent out
 * of the map, punches it without the lock, and puts it back clean.
 *
 * What is in use is nowhere on disk: at start-up all is free, and the records claim theirs. Nothing
 * here may ever write to, or cut off, an extent that is in use.
 */
#include "engine/arena.h"

#include "base/limits.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROW_PAGES     (ARENA_GROW_BYTES / PAGE_BYTES)
#define KEEP_PAGES     (ARENA_FREE_KEEP_BYTES / PAGE_BYTES)
#define PUNCH_PAGES    (ARENA_PUNCH_MIN_BYTES / PAGE_BYTES)
#define FILE_PAGES_MAX (ARENA_BYTES_MAX / PAGE_BYTES)
#define ALIGN_PAGES    (SAVE_CHUNK_BYTES / PAGE_BYTES)
#define NODES_SPARE    4u /* for an extent that is split, and one that is being punched */

/* A free extent. Index 0 is no node. */
struct node {
    uint32_t offset, pages;
    uint32_t left, right; /* right also links the spare nodes */
    uint32_t priority;
    uint32_t longest, longest_dirty; /* pages, of this node and those below */
    bool clean;
};

struct arena {
    const struct disk *disk;
    int fd;
    pthread_mutex_t lock; /* all below */
    struct node *nodes;
    uint32_t cap, root, spare;
    uint32_t slots; /* in use */
    uint32_t free_extents;
    uint64_t file_pages, free_pages, dirty_pages; /* dirty: free, but not clean */
    uint32_t random;
    bool trimming;
    bool cannot_punch;
};

/* --- nodes --- */

static uint32_t next_random(struct arena *a)
{
    a->random ^= a->random << 13;
    a->random ^= a->random >> 17;
    a->random ^= a->random << 5;
    return a->random;
}

/* Room for what one more slot in use can bring. */
static int nodes_reserve(struct arena *a, struct err *err)
{
    uint32_t need = a->slots + 1 + NODES_SPARE, cap = a->cap;
    struct node *nodes;

    if (a->slots >= ARENA_SLOTS_MAX)
        return err_set(err, ERR_LIMIT, 0, "arena: %u slots in use, limit %u", a->slots,
                       ARENA_SLOTS_MAX);
    if (need < cap)
        return 0;
    while (cap <= need)
        cap = cap ? cap * 2 : 64;
    nodes = realloc(a->nodes, cap * sizeof(*nodes));
    if (!nodes)
        return err_set(err, ERR_NOMEM, 0, "no memory for the arena's map of %u extents", cap);
    memset(nodes + a->cap, 0, (cap - a->cap) * sizeof(*nodes));
    a->nodes = nodes;
    for (uint32_t i = cap - 1; i >= a->cap && i > 0; i--) {
        nodes[i].right = a->spare;
        a->spare = i;
    }
    a->cap = cap;
    return 0;
}

static uint32_t node_new(struct arena *a, uint32_t offset, uint32_t pages, bool clean)
{
    uint32_t i = a->spare;
    struct node *n = &a->nodes[i];

    assert(i && pages);
    a->spare = n->right;
    *n = (struct node){.offset = offset,
                       .pages = pages,
                       .priority = next_random(a),
                       .longest = pages,
                       .longest_dirty = clean ? 0 : pages,
                       .clean = clean};
    a->free_extents++;
    a->free_pages += pages;
    a->dirty_pages += clean ? 0 : pages;
    return i;
}

static void node_free(struct arena *a, uint32_t i)
{
    struct node *n = &a->nodes[i];

    a->free_extents--;
    a->free_pages -= n->pages;
    a->dirty_pages -= n->clean ? 0 : n->pages;
    *n = (struct node){.right = a->spare};
    a->spare = i;
}

/* --- the treap; recursion is as deep as the tree, some forty for 100,000 extents --- */

static uint32_t max3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t m = a > b ? a : b;

    return m > c ? m : c;
}

static void node_update(struct arena *a, uint32_t i)
{
    struct node *n = &a->nodes[i];
    const struct node *l = &a->nodes[n->left], *r = &a->nodes[n->right];

    n->longest = max3(n->pages, l->longest, r->longest);
    n->longest_dirty = max3(n->clean ? 0 : n->pages, l->longest_dirty, r->longest_dirty);
}

/* Joins two trees; all of l lies before all of r. */
static uint32_t merge(struct arena *a, uint32_t l, uint32_t r)
{
    if (!l || !r)
        return l ? l : r;
    if (a->nodes[l].priority > a->nodes[r].priority) {
        a->nodes[l].right = merge(a, a->nodes[l].right, r);
        node_update(a, l);
        return l;
    }
    a->nodes[r].left = merge(a, l, a->nodes[r].left);
    node_update(a, r);
    return r;
}

/* Parts a tree in extents that begin before `offset` and the others. */
static void split(struct arena *a, uint32_t i, uint64_t offset, uint32_t *l, uint32_t *r)
{
    struct node *n = &a->nodes[i];

    if (!i) {
        *l = *r = 0;
    } else if (n->offset < offset) {
        split(a, n->right, offset, &n->right, r);
        *l = i;
        node_update(a, i);
    } else {
        split(a, n->left, offset, l, &n->left);
        *r = i;
        node_update(a, i);
    }
}

static uint32_t first_of(const struct arena *a, uint32_t i)
{
    while (i && a->nodes[i].left)
        i = a->nodes[i].left;
    return i;
}

static uint32_t last_of(const struct arena *a, uint32_t i)
{
    while (i && a->nodes[i].right)
        i = a->nodes[i].right;
    return i;
}

/* Takes the first fit out of the tree below i, which has one; the tree that is left. */
static uint32_t take_fit(struct arena *a, uint32_t i, uint32_t pages, uint32_t *offset)
{
    struct node *n = &a->nodes[i];

    if (a->nodes[n->left].longest >= pages) {
        n->left = take_fit(a, n->left, pages, offset);
    } else if (n->pages >= pages) {
        *offset = n->offset;
        if (n->pages == pages) {
            uint32_t rest = merge(a, n->left, n->right);

            node_free(a, i);
            return rest;
        }
        n->offset += pages;
        n->pages -= pages;
        a->free_pages -= pages;
        a->dirty_pages -= n->clean ? 0 : pages;
    } else {
        n->right = take_fit(a, n->right, pages, offset);
    }
    node_update(a, i);
    return i;
}

static uint64_t node_end(const struct arena *a, uint32_t i)
{
    return (uint64_t)a->nodes[i].offset + a->nodes[i].pages;
}

/* Takes the extent at `offset`, which is in the map, out of it. */
static void map_remove(struct arena *a, uint32_t offset)
{
    uint32_t l, one, r;

    split(a, a->root, offset, &l, &r);
    split(a, r, (uint64_t)offset + 1, &one, &r);
    assert(one && !a->nodes[one].left && !a->nodes[one].right);
    node_free(a, one);
    a->root = merge(a, l, r);
}

/* Adds free space, joined with what it touches. */
static void map_add(struct arena *a, uint32_t offset, uint32_t pages, bool clean)
{
    uint64_t end = (uint64_t)offset + pages;
    uint32_t l, r, before, after, mid;

    split(a, a->root, offset, &l, &r);
    a->root = 0;
    before = last_of(a, l);
    after = first_of(a, r);
    assert(!before || node_end(a, before) <= offset); /* else it was free already */
    assert(!after || a->nodes[after].offset >= end);
    if (before && node_end(a, before) == offset) {
        clean = clean && a->nodes[before].clean;
        offset = a->nodes[before].offset;
        a->root = l;
        map_remove(a, offset);
        l = a->root;
    }
    if (after && a->nodes[after].offset == end) {
        clean = clean && a->nodes[after].clean;
        end = node_end(a, after);
        a->root = r;
        map_remove(a, a->nodes[after].offset);
        r = a->root;
    }
    mid = node_new(a, offset, (uint32_t)(end - offset), clean);
    a->root = merge(a, merge(a, l, mid), r);
}

/* The free extent that holds all of [offset, end), or 0. */
static uint32_t map_find(const struct arena *a, uint64_t offset, uint64_t end)
{
    uint32_t i = a->root, found = 0;

    while (i) {
        if (a->nodes[i].offset <= offset) {
            found = i;
            i = a->nodes[i].right;
        } else {
            i = a->nodes[i].left;
        }
    }
    return found && node_end(a, found) >= end ? found : 0;
}

/* --- the file --- */

static int file_resize(struct arena *a, uint64_t pages, struct err *err)
{
    if (a->disk->ftruncate(a->disk->ctx, a->fd, (off_t)(pages * PAGE_BYTES)) < 0)
        return disk_error(err, errno, "arena: change of the file's size");
    return 0;
}

/* Makes the free tail at least `pages` long. */
static int file_grow(struct arena *a, uint32_t pages, struct err *err)
{
    uint32_t last = last_of(a, a->root);
    uint64_t tail = last && node_end(a, last) == a->file_pages ? a->nodes[last].pages : 0;
    uint64_t size = a->file_pages - tail + pages;

    size = (size + GROW_PAGES - 1) / GROW_PAGES * GROW_PAGES;
    if (size > FILE_PAGES_MAX)
        return err_set(err, ERR_LIMIT, 0, "arena: %u more pages in a file of %llu, limit %llu",
                       pages, (unsigned long long)a->file_pages,
                       (unsigned long long)FILE_PAGES_MAX);
    if (file_resize(a, size, err) < 0)
        return -1;
    map_add(a, (uint32_t)a->file_pages, (uint32_t)(size - a->file_pages), true);
    a->file_pages = size;
    return 0;
}

static int file_open(struct arena *a, const char *path, struct err *err)
{
    struct stat st;

    a->fd = a->disk->open(a->disk->ctx, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (a->fd < 0 || a->disk->fstat(a->disk->ctx, a->fd, &st) < 0)
        return disk_error(err, errno, "open");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, 0, "not a regular file");
    if ((uint64_t)st.st_size > ARENA_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "%lld bytes, limit %llu", (long long)st.st_size,
                       ARENA_BYTES_MAX);
    a->file_pages = (uint64_t)st.st_size / PAGE_BYTES;
    if (nodes_reserve(a, err) < 0)
        return -1;
    if (a->file_pages)
        map_add(a, 0, (uint32_t)a->file_pages, false);
    return 0;
}

int arena_open_on(struct arena **out, const char *path, const struct disk *disk, struct err *err)
{
    struct arena *a = calloc(1, sizeof(*a));

    if (!a)
        return err_set(err, ERR_NOMEM, 0, "arena %s: no memory", path);
    a->disk = disk;
    a->fd = -1;
    a->random = 2463534242u;
    pthread_mutex_init(&a->lock, NULL);
    if (file_open(a, path, err) < 0) {
        arena_close(a);
        return err_wrap(err, "arena %s", path);
    }
    *out = a;
    return 0;
}

int arena_open(struct arena **out, const char *path, struct err *err)
{
    return arena_open_on(out, path, &disk_real, err);
}

void arena_close(struct arena *a)
{
    if (!a)
        return;
    if (a->fd >= 0)
        close(a->fd);
    pthread_mutex_destroy(&a->lock);
    free(a->nodes);
    free(a);
}

int arena_fd(const struct arena *a)
{
    return a->fd;
}

const struct disk *arena_disk(const struct arena *a)
{
    return a->disk;
}

/* --- slots --- */

/* Pages that the file really has: less than file_pages where somebody else cut it off. Then it must
 * not grow any more, by a write behind its end either: what was lost would read as zeros, by guests
 * that have it mapped as well, instead of being an error. */
static int file_whole(const struct arena *a, uint64_t *pages, struct err *err)
{
    struct stat st;

    if (a->disk->fstat(a->disk->ctx, a->fd, &st) < 0)
        return disk_error(err, errno, "arena: size of the file");
    *pages = (uint64_t)st.st_size / PAGE_BYTES;
    return 0;
}

static int cut_error(const struct arena *a, uint64_t whole, struct err *err)
{
    return err_set(err, ERR_IO, 0,
                   "arena: its file was cut off from outside, %llu of %llu pages are left: the "
                   "daemon must be started again",
                   (unsigned long long)whole, (unsigned long long)a->file_pages);
}

/* Takes the first fit with its padding, and puts back what is before and behind it. */
static uint32_t take_aligned(struct arena *a, uint32_t pages, uint32_t pad)
{
    uint32_t from = 0, at;

    a->root = take_fit(a, a->root, pages + pad, &from);
    if (!pad)
        return from;
    at = (from + 1 + pad) / ALIGN_PAGES * ALIGN_PAGES - 1; /* a header page, then the data */
    if (at > from)
        map_add(a, from, at - from, false);
    if (from + pad > at)
        map_add(a, at + pages, from + pad - at, false);
    return at;
}

static int alloc_locked(struct arena *a, uint64_t *offset, uint32_t pages, uint32_t pad,
                        struct err *err)
{
    uint64_t whole;
    uint32_t at;

    if (nodes_reserve(a, err) < 0 || file_whole(a, &whole, err) < 0)
        return -1;
    if (a->nodes[a->root].longest < pages + pad) {
        if (whole < a->file_pages)
            return cut_error(a, whole, err);
        if (file_grow(a, pages + pad, err) < 0)
            return -1;
        whole = a->file_pages;
    }
    at = take_aligned(a, pages, pad);
    if ((uint64_t)at + pages > whole) {
        map_add(a, at, pages, false);
        return cut_error(a, whole, err);
    }
    a->slots++;
    *offset = at;
    return 0;
}

static int alloc(struct arena *a, uint64_t *offset, uint32_t pages, uint32_t pad, struct err *err)
{
    int rc;

    assert(pages);
    pthread_mutex_lock(&a->lock);
    rc = alloc_locked(a, offset, pages, pad, err);
    pthread_mutex_unlock(&a->lock);
    return rc;
}

int arena_alloc(struct arena *a, uint64_t *offset, uint32_t pages, struct err *err)
{
    return alloc(a, offset, pages, 0, err);
}

int arena_alloc_slot(struct arena *a, uint64_t *offset, uint32_t pages, struct err *err)
{
    return alloc(a, offset, pages, pages > ALIGN_PAGES ? ALIGN_PAGES - 1 : 0, err);
}

static int claim_locked(struct arena *a, uint64_t offset, uint32_t pages, struct err *err)
{
    uint64_t end = offset + pages, from, to;
    uint32_t i;
    bool clean;

    if (!pages || offset > a->file_pages || end > a->file_pages)
        return err_set(err, ERR_CORRUPT, 0, "arena: pages %llu to %llu are beyond its end at %llu",
                       (unsigned long long)offset, (unsigned long long)end,
                       (unsigned long long)a->file_pages);
    i = map_find(a, offset, end);
    if (!i)
        return err_set(err, ERR_CORRUPT, 0,
                       "arena: pages %llu to %llu are in use by another snapshot",
                       (unsigned long long)offset, (unsigned long long)end);
    if (nodes_reserve(a, err) < 0)
        return -1;
    from = a->nodes[i].offset;
    to = node_end(a, i);
    clean = a->nodes[i].clean;
    map_remove(a, (uint32_t)from);
    if (from < offset)
        map_add(a, (uint32_t)from, (uint32_t)(offset - from), clean);
    if (end < to)
        map_add(a, (uint32_t)end, (uint32_t)(to - end), clean);
    a->slots++;
    return 0;
}

int arena_claim(struct arena *a, uint64_t offset, uint32_t pages, struct err *err)
{
    int rc;

    pthread_mutex_lock(&a->lock);
    rc = claim_locked(a, offset, pages, err);
    pthread_mutex_unlock(&a->lock);
    return rc;
}

void arena_give(struct arena *a, uint64_t offset, uint32_t pages)
{
    pthread_mutex_lock(&a->lock);
    assert(a->slots && pages && offset + pages <= a->file_pages);
    map_add(a, (uint32_t)offset, pages, false);
    a->slots--;
    pthread_mutex_unlock(&a->lock);
}

void arena_release(struct arena *a, const struct slot *slots, size_t n)
{
    for (size_t i = 0; i < n; i++)
        arena_give(a, slots[i].offset, slots[i].pages);
}

void arena_stats(struct arena *a, struct arena_stats *out)
{
    pthread_mutex_lock(&a->lock);
    *out = (struct arena_stats){.file_pages = a->file_pages,
                                .used_pages = a->file_pages - a->free_pages,
                                .free_extents = a->free_extents};
    pthread_mutex_unlock(&a->lock);
}

/* --- trimming --- */

/* Where the file could end, a step of free space kept; its present end if that is not worth it. */
static uint64_t tail_cut(const struct arena *a)
{
    uint32_t last = last_of(a, a->root);
    uint64_t cut;

    if (!last || node_end(a, last) != a->file_pages || a->nodes[last].pages <= 2 * GROW_PAGES)
        return a->file_pages;
    cut = ((uint64_t)a->nodes[last].offset + GROW_PAGES - 1) / GROW_PAGES * GROW_PAGES;
    return cut + GROW_PAGES;
}

/* The last extent that is worth punching, or 0: what lies low is used again first. */
static uint32_t punch_next(const struct arena *a)
{
    uint32_t i = a->root, tail = last_of(a, a->root);

    if (a->cannot_punch)
        return 0;
    if (tail_cut(a) < a->file_pages && !a->nodes[tail].clean)
        return tail;
    if (a->dirty_pages <= KEEP_PAGES || a->nodes[i].longest_dirty < PUNCH_PAGES)
        return 0;
    for (;;) {
        const struct node *n = &a->nodes[i];

        if (a->nodes[n->right].longest_dirty >= PUNCH_PAGES)
            i = n->right;
        else if (!n->clean && n->pages >= PUNCH_PAGES)
            return i;
        else
            i = n->left;
    }
}

/* The lock is held on entry and return, not meanwhile. */
static int punch(struct arena *a, uint32_t i, struct err *err)
{
    uint32_t offset = a->nodes[i].offset, pages = a->nodes[i].pages;
    int rc, sys;

    map_remove(a, offset);
    pthread_mutex_unlock(&a->lock);
    rc = a->disk->fallocate(a->disk->ctx, a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            (off_t)offset * PAGE_BYTES, (off_t)pages * PAGE_BYTES);
    sys = errno;
    pthread_mutex_lock(&a->lock);
    map_add(a, offset, pages, rc == 0);
    if (rc == 0)
        return 0;
    if (sys == EOPNOTSUPP) {
        a->cannot_punch = true;
        return 0;
    }
    return disk_error(err, sys, "arena: punch of free space");
}

static int cut_tail(struct arena *a, struct err *err)
{
    uint64_t cut = tail_cut(a), whole;
    uint32_t last = last_of(a, a->root), offset;
    bool clean;

    if (cut >= a->file_pages)
        return 0;
    if (file_whole(a, &whole, err) < 0)
        return -1;
    if (whole < a->file_pages)
        return cut_error(a, whole, err);
    if (file_resize(a, cut, err) < 0)
        return -1;
    offset = a->nodes[last].offset;
    clean = a->nodes[last].clean;
    map_remove(a, offset);
    map_add(a, offset, (uint32_t)(cut - offset), clean);
    a->file_pages = cut;
    return 0;
}

bool arena_trim_due(struct arena *a)
{
    bool due;

    pthread_mutex_lock(&a->lock);
    due = !a->trimming && (punch_next(a) || tail_cut(a) < a->file_pages);
    pthread_mutex_unlock(&a->lock);
    return due;
}

static int trim_locked(struct arena *a, struct err *err)
{
    for (unsigned k = 0; k < ARENA_TRIM_EXTENTS_MAX; k++) {
        uint32_t i = punch_next(a);

        if (!i)
            break;
        if (punch(a, i, err) < 0)
            return -1;
    }
    return cut_tail(a, err);
}

int arena_trim(struct arena *a, struct err *err)
{
    int rc = 0;

    pthread_mutex_lock(&a->lock);
    if (!a->trimming) {
        a->trimming = true;
        rc = trim_locked(a, err);
        a->trimming = false;
    }
    pthread_mutex_unlock(&a->lock);
    return rc;
}

/* --- soundness --- */

struct sum {
    uint64_t extents, pages, dirty, end;
};

static void check_below(const struct arena *a, uint32_t i, struct sum *sum)
{
    const struct node *n = &a->nodes[i], *l = &a->nodes[n->left], *r = &a->nodes[n->right];

    if (!i)
        return;
    check_below(a, n->left, sum);
    assert(n->pages && (sum->extents == 0 || n->offset > sum->end)); /* neither overlap nor touch */
    assert(n->priority >= l->priority && n->priority >= r->priority);
    assert(n->longest == max3(n->pages, l->longest, r->longest));
    assert(n->longest_dirty == max3(n->clean ? 0 : n->pages, l->longest_dirty, r->longest_dirty));
    sum->extents++;
    sum->pages += n->pages;
    sum->dirty += n->clean ? 0 : n->pages;
    sum->end = node_end(a, i);
    check_below(a, n->right, sum);
}

void arena_check(struct arena *a)
{
    struct sum sum = {0};

    pthread_mutex_lock(&a->lock);
    check_below(a, a->root, &sum);
    assert(sum.end <= a->file_pages && sum.extents == a->free_extents);
    assert(sum.pages == a->free_pages && sum.dirty == a->dirty_pages);
    assert(a->free_extents <= a->slots + 1);
    pthread_mutex_unlock(&a->lock);
}
