/* The blocks are taken out of the thread's store by asking for them, and freed by a thread that is
 * made for it and ends: its own store is emptied by that.
 */
#include "base/heap.h"

#include "base/limits.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

struct block {
    struct block *next;
};

/* As many of each size as the store can hold, in a list. */
static struct block *take_all(void)
{
    struct block *taken = NULL;

    for (size_t size = HEAP_KEPT_MIN; size <= HEAP_KEPT_MAX; size += HEAP_KEPT_STEP)
        for (unsigned n = 0; n < HEAP_KEPT_BLOCKS; n++) {
            struct block *b = malloc(size);

            if (!b)
                return taken;
            b->next = taken;
            taken = b;
        }
    return taken;
}

static void *free_all(void *arg)
{
    for (struct block *b = arg, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    return NULL;
}

void heap_flush(void)
{
    struct block *taken = take_all();
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, HEAP_STACK_BYTES);
    rc = pthread_create(&thread, &attr, free_all, taken);
    pthread_attr_destroy(&attr);
    if (rc)
        free_all(taken); /* without a thread nothing is gained, and nothing lost */
    else
        pthread_join(thread, NULL);
}
