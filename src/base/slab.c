/* Pages of 4 KiB, each for blocks of one size (in steps of 16 bytes), with a head that says how
 * they stand; a block finds its page by its address. Pages with room hang in a list by size; those
 * that are empty are in an array, and all but a few have no memory meanwhile (MADV_DONTNEED), only
 * their place. Pages are made by the chunk, and chunks stay: they are address space.
 *
 * Must never: allocate while freeing. So the array has a place for each page that there is.
 */
#include "base/slab.h"

#include <assert.h>
#include <sanitizer/asan_interface.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u

struct slab slab_common = SLAB_INIT;

struct block {
    struct block *next;
};

struct slab_page {
    struct slab_page *next, **link; /* in its size's list, while it has room */
    struct block *free;             /* of those that were in use */
    uint16_t size, used, touched;   /* of a block, in bytes; blocks in use; ever in use */
};

_Static_assert(sizeof(struct slab_page) % 16 == 0, "blocks are aligned");
_Static_assert(SLAB_BLOCK_MAX % 16 == 0 && SLAB_BLOCK_MAX * 4 < PAGE, "some blocks fit in a page");

static unsigned blocks_max(const struct slab_page *p)
{
    return (unsigned)((PAGE - sizeof(*p)) / p->size);
}

static uint16_t size_of(size_t n)
{
    return (uint16_t)(n ? (n + 15) / 16 * 16 : 16);
}

static struct slab_page **list_of(struct slab *s, uint16_t size)
{
    return &s->room[size / 16 - 1];
}

static void list_add(struct slab *s, struct slab_page *p)
{
    struct slab_page **head = list_of(s, p->size);

    p->next = *head;
    p->link = head;
    if (p->next)
        p->next->link = &p->next;
    *head = p;
}

static void list_remove(struct slab_page *p)
{
    *p->link = p->next;
    if (p->next)
        p->next->link = p->link;
}

/* --- pages --- */

/* Behind a chunk's pages: what malloc gave is longer by a page, for their alignment. */
struct slab_chunk {
    struct slab_chunk *next;
    void *from_malloc;
};

/* More empty pages; none where there is no memory. */
static void chunk_add(struct slab *s)
{
    const size_t n = SLAB_CHUNK_BYTES / PAGE;
    struct slab_page **empty = realloc(s->empty, (s->npages + n) * sizeof(struct slab_page *));
    struct slab_chunk *chunk;
    uint8_t *memory, *at;

    if (!empty)
        return;
    s->empty = empty;
    memory = malloc(SLAB_CHUNK_BYTES + PAGE);
    if (!memory)
        return;
    at = memory + (PAGE - (uintptr_t)memory % PAGE) % PAGE; /* at most a page and 16 bytes less */
    chunk = (struct slab_chunk *)(void *)(at + SLAB_CHUNK_BYTES);
    *chunk = (struct slab_chunk){.next = s->chunks, .from_malloc = memory};
    s->chunks = chunk;
    for (size_t i = n; i-- > 0;)
        s->empty[s->nempty++] = (struct slab_page *)(void *)(at + i * PAGE);
    s->npages += n;
}

static struct slab_page *page_take(struct slab *s, uint16_t size)
{
    struct slab_page *p;

    if (!s->nempty)
        chunk_add(s);
    if (!s->nempty)
        return NULL;
    p = s->empty[--s->nempty];
    ASAN_UNPOISON_MEMORY_REGION(p, PAGE);
    *p = (struct slab_page){.size = size};
    ASAN_POISON_MEMORY_REGION(p + 1, PAGE - sizeof(*p));
    list_add(s, p);
    return p;
}

static void page_give_back(struct slab *s, struct slab_page *p)
{
    list_remove(p);
    ASAN_POISON_MEMORY_REGION(p, PAGE);
    if (s->nempty >= SLAB_EMPTY_KEEP)
        madvise(p, PAGE, MADV_DONTNEED);
    s->empty[s->nempty++] = p;
}

/* --- blocks --- */

static void *block_take(struct slab_page *p)
{
    struct block *b = p->free;

    if (!b)
        b = (struct block *)(void *)((uint8_t *)(p + 1) + (size_t)p->touched++ * p->size);
    ASAN_UNPOISON_MEMORY_REGION(b, p->size);
    if (p->free)
        p->free = b->next;
    if (++p->used == blocks_max(p))
        list_remove(p);
    return b;
}

static void block_give_back(struct slab *s, struct slab_page *p, struct block *b)
{
    b->next = p->free;
    p->free = b;
    ASAN_POISON_MEMORY_REGION(b, p->size);
    if (p->used-- == blocks_max(p))
        list_add(s, p);
    if (p->used == 0)
        page_give_back(s, p);
}

void *slab_alloc(struct slab *s, size_t n)
{
    struct slab_page *p;
    void *block = NULL;

    if (n > SLAB_BLOCK_MAX)
        return calloc(1, n);
    pthread_mutex_lock(&s->lock);
    p = *list_of(s, size_of(n));
    if (!p)
        p = page_take(s, size_of(n));
    if (p)
        block = block_take(p);
    pthread_mutex_unlock(&s->lock);
    return block ? memset(block, 0, n) : NULL;
}

void slab_free(struct slab *s, void *block, size_t n)
{
    struct slab_page *p = (struct slab_page *)((uintptr_t)block & ~(uintptr_t)(PAGE - 1));

    if (n > SLAB_BLOCK_MAX || !block) {
        free(block);
        return;
    }
    pthread_mutex_lock(&s->lock);
    assert(p->size == size_of(n) && p->used > 0);
    block_give_back(s, p, block);
    pthread_mutex_unlock(&s->lock);
}

size_t slab_pages(struct slab *s)
{
    size_t n;

    pthread_mutex_lock(&s->lock);
    n = s->npages - s->nempty;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void slab_destroy(struct slab *s)
{
    assert(s->nempty == s->npages);
    for (struct slab_chunk *c = s->chunks, *next; c; c = next) {
        next = c->next;
        ASAN_UNPOISON_MEMORY_REGION(c->from_malloc, SLAB_CHUNK_BYTES + PAGE);
        free(c->from_malloc);
    }
    free(s->empty);
    s->chunks = NULL;
    s->empty = NULL;
    s->nempty = s->npages = 0;
}
