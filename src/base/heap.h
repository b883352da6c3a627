/* Giving memory back that the allocator keeps for a thread.
 *
 * glibc keeps up to seven freed blocks of each small size with the thread that freed them. Those of
 * a burst lie all over the heap, and none of the pages between them can go back to the system: with
 * a thousand guests that had all run once it was .6 MB. There is no call that empties this store,
 * only the end of a thread does.
 */
#ifndef ROOST_BASE_HEAP_H
#define ROOST_BASE_HEAP_H

/* Empties the store of the calling thread, so that malloc_trim has whole pages. A fraction of a
 * millisecond: for threads that have nothing to do for a while. */
void heap_flush(void);

#endif
