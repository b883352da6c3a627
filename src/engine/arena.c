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
 * Of a free extent it is known which part may hold blocks of the disk (it was in use once and is
 * `dirty`); the rest is a hole of the file. Trimming takes that part out of the map, punches it
 * without the lock, and puts it back clean. So what the file takes on disk is what is in use, and
 * no more than ARENA_FREE_KEEP_BYTES beside; while guests sleep one after the other it may be twice
 * what counts of what is in use, and that: a hole that is punched is a hole to fill, and while one
 * is punched nobody can write.
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

/* A free extent; what is dirty of it lies within [dirty, dirty_end). */
struct extent {
    uint32_t offset, pages, dirty, dirty_end;
};

/* Index 0 is no node. */
struct node {
    struct extent free;
    uint32_t left, right; /* right also links the spare nodes */
    uint32_t priority;
    uint32_t longest, longest_dirty; /* pages, of this node and those below */
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
    int64_t live;  /* pages in use that count, as we were told */
    bool resting;  /* nothing was taken for a while */
    bool uncached; /* and its free tail has left the page cache */
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

static uint32_t dirty_pages(const struct extent *e)
{
    return e->dirty_end - e->dirty;
}

static uint64_t extent_end(const struct extent *e)
{
    return (uint64_t)e->offset + e->pages;
}

static struct extent extent_of(uint64_t offset, uint64_t end, bool clean)
{
    return (struct extent){.offset = (uint32_t)offset,
                           .pages = (uint32_t)(end - offset),
                           .dirty = (uint32_t)offset,
                           .dirty_end = (uint32_t)(clean ? offset : end)};
}

/* The part of it in [from, to). */
static struct extent extent_part(const struct extent *e, uint64_t from, uint64_t to)
{
    struct extent part = extent_of(from, to, true);

    part.dirty = e->dirty > from ? e->dirty : (uint32_t)from;
    part.dirty_end = e->dirty_end < to ? e->dirty_end : (uint32_t)to;
    if (part.dirty >= part.dirty_end)
        part.dirty = part.dirty_end = part.offset;
    return part;
}

/* Both in one; b begins where a ends. */
static struct extent extent_join(const struct extent *a, const struct extent *b)
{
    struct extent both = extent_of(a->offset, extent_end(b), true);

    if (dirty_pages(a) || dirty_pages(b)) {
        both.dirty = dirty_pages(a) ? a->dirty : b->dirty;
        both.dirty_end = dirty_pages(b) ? b->dirty_end : a->dirty_end;
    }
    return both;
}

static uint32_t node_new(struct arena *a, const struct extent *e)
{
    uint32_t i = a->spare;
    struct node *n = &a->nodes[i];

    assert(i && e->pages);
    a->spare = n->right;
    *n = (struct node){.free = *e,
                       .priority = next_random(a),
                       .longest = e->pages,
                       .longest_dirty = dirty_pages(e)};
    a->free_extents++;
    a->free_pages += e->pages;
    a->dirty_pages += dirty_pages(e);
    return i;
}

static void node_free(struct arena *a, uint32_t i)
{
    struct node *n = &a->nodes[i];

    a->free_extents--;
    a->free_pages -= n->free.pages;
    a->dirty_pages -= dirty_pages(&n->free);
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

    n->longest = max3(n->free.pages, l->longest, r->longest);
    n->longest_dirty = max3(dirty_pages(&n->free), l->longest_dirty, r->longest_dirty);
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
    } else if (n->free.offset < offset) {
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
static uint32_t take_fit(struct arena *a, uint32_t i, uint32_t pages, struct extent *out)
{
    struct node *n = &a->nodes[i];

    if (a->nodes[n->left].longest >= pages) {
        n->left = take_fit(a, n->left, pages, out);
    } else if (n->free.pages >= pages) {
        uint64_t at = n->free.offset, to = at + pages, end = extent_end(&n->free);

        *out = extent_part(&n->free, at, to);
        if (n->free.pages == pages) {
            uint32_t rest = merge(a, n->left, n->right);

            node_free(a, i);
            return rest;
        }
        n->free = extent_part(&n->free, to, end);
        a->free_pages -= pages;
        a->dirty_pages -= dirty_pages(out);
    } else {
        n->right = take_fit(a, n->right, pages, out);
    }
    node_update(a, i);
    return i;
}

static uint64_t node_end(const struct arena *a, uint32_t i)
{
    return extent_end(&a->nodes[i].free);
}

/* Takes the extent at `offset`, which is in the map, out of it. */
static struct extent map_remove(struct arena *a, uint32_t offset)
{
    struct extent e;
    uint32_t l, one, r;

    split(a, a->root, offset, &l, &r);
    split(a, r, (uint64_t)offset + 1, &one, &r);
    assert(one && !a->nodes[one].left && !a->nodes[one].right);
    e = a->nodes[one].free;
    node_free(a, one);
    a->root = merge(a, l, r);
    return e;
}

/* Adds free space, if it is any, joined with what it touches. */
static void map_add(struct arena *a, struct extent e)
{
    uint32_t l, r, before, after, mid;
    struct extent other;

    if (!e.pages)
        return;
    split(a, a->root, e.offset, &l, &r);
    a->root = 0;
    before = last_of(a, l);
    after = first_of(a, r);
    assert(!before || node_end(a, before) <= e.offset); /* else it was free already */
    assert(!after || a->nodes[after].free.offset >= extent_end(&e));
    if (before && node_end(a, before) == e.offset) {
        a->root = l;
        other = map_remove(a, a->nodes[before].free.offset);
        e = extent_join(&other, &e);
        l = a->root;
    }
    if (after && a->nodes[after].free.offset == extent_end(&e)) {
        a->root = r;
        other = map_remove(a, a->nodes[after].free.offset);
        e = extent_join(&e, &other);
        r = a->root;
    }
    mid = node_new(a, &e);
    a->root = merge(a, merge(a, l, mid), r);
}

/* The free extent that holds all of [offset, end), or 0. */
static uint32_t map_find(const struct arena *a, uint64_t offset, uint64_t end)
{
    uint32_t i = a->root, found = 0;

    while (i) {
        if (a->nodes[i].free.offset <= offset) {
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
    uint64_t tail = last && node_end(a, last) == a->file_pages ? a->nodes[last].free.pages : 0;
    uint64_t size = a->file_pages - tail + pages;

    size = (size + GROW_PAGES - 1) / GROW_PAGES * GROW_PAGES;
    if (size > FILE_PAGES_MAX)
        return err_set(err, ERR_LIMIT, 0, "arena: %u more pages in a file of %llu, limit %llu",
                       pages, (unsigned long long)a->file_pages,
                       (unsigned long long)FILE_PAGES_MAX);
    if (file_resize(a, size, err) < 0)
        return -1;
    map_add(a, extent_of(a->file_pages, size, true));
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
        map_add(a, extent_of(0, a->file_pages, false));
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
    struct extent took = {0};
    uint64_t at, end;

    a->root = take_fit(a, a->root, pages + pad, &took);
    if (!pad)
        return took.offset;
    end = extent_end(&took);
    /* a header page, then the data */
    at = ((uint64_t)took.offset + 1 + pad) / ALIGN_PAGES * ALIGN_PAGES - 1;
    map_add(a, extent_part(&took, took.offset, at));
    map_add(a, extent_part(&took, at + pages, end));
    return (uint32_t)at;
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
        map_add(a, extent_of(at, (uint64_t)at + pages, false));
        return cut_error(a, whole, err);
    }
    a->slots++;
    a->resting = a->uncached = false;
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
    uint64_t end = offset + pages;
    struct extent was;
    uint32_t i;

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
    was = map_remove(a, a->nodes[i].free.offset);
    map_add(a, extent_part(&was, was.offset, offset));
    map_add(a, extent_part(&was, end, extent_end(&was)));
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
    map_add(a, extent_of(offset, offset + pages, false));
    a->slots--;
    pthread_mutex_unlock(&a->lock);
}

void arena_release(struct arena *a, const struct slot *slots, size_t n)
{
    for (size_t i = 0; i < n; i++)
        arena_give(a, slots[i].offset, slots[i].pages);
}

void arena_live(struct arena *a, int64_t pages)
{
    pthread_mutex_lock(&a->lock);
    a->live += pages;
    pthread_mutex_unlock(&a->lock);
}

void arena_rest(struct arena *a)
{
    pthread_mutex_lock(&a->lock);
    a->resting = true;
    pthread_mutex_unlock(&a->lock);
}

void arena_stats(struct arena *a, struct arena_stats *out)
{
    pthread_mutex_lock(&a->lock);
    *out = (struct arena_stats){.file_pages = a->file_pages,
                                .used_pages = a->file_pages - a->free_pages,
                                .held_pages = a->file_pages - a->free_pages + a->dirty_pages,
                                .free_extents = a->free_extents};
    pthread_mutex_unlock(&a->lock);
}

/* --- trimming --- */

/* Where the file could end, a step of free space kept; its present end if that is not worth it. */
static uint64_t tail_cut(const struct arena *a)
{
    uint32_t last = last_of(a, a->root);
    uint64_t cut;

    if (!last || node_end(a, last) != a->file_pages || a->nodes[last].free.pages <= 2 * GROW_PAGES)
        return a->file_pages;
    cut = ((uint64_t)a->nodes[last].free.offset + GROW_PAGES - 1) / GROW_PAGES * GROW_PAGES;
    return cut + GROW_PAGES;
}

/* The last extent with at least so many pages that may hold blocks; there is one. */
static uint32_t last_dirty(const struct arena *a, uint32_t pages)
{
    uint32_t i = a->root;

    for (;;) {
        const struct node *n = &a->nodes[i];

        assert(i);
        if (a->nodes[n->right].longest_dirty >= pages)
            i = n->right;
        else if (dirty_pages(&n->free) >= pages)
            return i;
        else
            i = n->left;
    }
}

/* Free pages that may go on holding blocks. Trimming that has begun goes on down to three quarters
 * of that. */
static uint64_t keep_pages(const struct arena *a)
{
    int64_t used = (int64_t)(a->file_pages - a->free_pages), keep = KEEP_PAGES;

    if (!a->resting && keep < 2 * a->live + (int64_t)KEEP_PAGES - used)
        keep = 2 * a->live + (int64_t)KEEP_PAGES - used;
    return (uint64_t)(a->trimming ? keep / 4 * 3 : keep);
}

/* The extent to punch next, or 0: of the large ones the last, since what lies low is used again
 * first. Where all are small, one of the larger half, so that few calls give back much. */
static uint32_t punch_next(const struct arena *a)
{
    uint32_t tail = last_of(a, a->root), longest = a->nodes[a->root].longest_dirty;

    if (a->cannot_punch)
        return 0;
    if (tail_cut(a) < a->file_pages && dirty_pages(&a->nodes[tail].free))
        return tail;
    if (a->dirty_pages <= keep_pages(a))
        return 0;
    return last_dirty(a, longest >= PUNCH_PAGES ? PUNCH_PAGES : (longest + 1) / 2);
}

/* The lock is held on entry and return, not meanwhile. */
static int punch(struct arena *a, uint32_t i, struct err *err)
{
    struct extent whole = map_remove(a, a->nodes[i].free.offset);
    struct extent dirty = extent_part(&whole, whole.dirty, whole.dirty_end);
    int rc, sys;

    map_add(a, extent_part(&whole, whole.offset, whole.dirty));
    map_add(a, extent_part(&whole, whole.dirty_end, extent_end(&whole)));
    pthread_mutex_unlock(&a->lock);
    rc = a->disk->fallocate(a->disk->ctx, a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            (off_t)dirty.offset * PAGE_BYTES, (off_t)dirty.pages * PAGE_BYTES);
    sys = errno;
    pthread_mutex_lock(&a->lock);
    map_add(a, extent_of(dirty.offset, extent_end(&dirty), rc == 0));
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
    struct extent last;

    if (cut >= a->file_pages)
        return 0;
    if (file_whole(a, &whole, err) < 0)
        return -1;
    if (whole < a->file_pages)
        return cut_error(a, whole, err);
    if (file_resize(a, cut, err) < 0)
        return -1;
    last = map_remove(a, a->nodes[last_of(a, a->root)].free.offset);
    map_add(a, extent_part(&last, last.offset, cut));
    a->file_pages = cut;
    return 0;
}

/* Of the free tail the page cache holds what was written there, and what the kernel read ahead of
 * holes; nobody will want it soon. What is dropped is on disk, or nothing: a slot that is taken
 * meanwhile loses no write by it. */
static void uncache_tail(struct arena *a)
{
    uint32_t last = last_of(a, a->root);
    off_t at = (off_t)a->nodes[last].free.offset * PAGE_BYTES;

    a->uncached = true;
    if (!last)
        return;
    pthread_mutex_unlock(&a->lock);
    posix_fadvise(a->fd, at, 0, POSIX_FADV_DONTNEED); /* to the end */
    pthread_mutex_lock(&a->lock);
}

bool arena_trim_due(struct arena *a)
{
    bool due;

    pthread_mutex_lock(&a->lock);
    due = !a->trimming &&
          (punch_next(a) || tail_cut(a) < a->file_pages || (a->resting && !a->uncached));
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
    if (cut_tail(a, err) < 0)
        return -1;
    if (a->resting && !a->uncached)
        uncache_tail(a);
    return 0;
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
    assert(n->free.pages);
    assert(sum->extents == 0 || n->free.offset > sum->end); /* neither overlap nor touch */
    assert(n->free.dirty >= n->free.offset && n->free.dirty <= n->free.dirty_end);
    assert(n->free.dirty_end <= node_end(a, i));
    assert(n->priority >= l->priority && n->priority >= r->priority);
    assert(n->longest == max3(n->free.pages, l->longest, r->longest));
    assert(n->longest_dirty == max3(dirty_pages(&n->free), l->longest_dirty, r->longest_dirty));
    sum->extents++;
    sum->pages += n->free.pages;
    sum->dirty += dirty_pages(&n->free);
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
