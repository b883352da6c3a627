/* Ownership made visible: AUTO_FREE char *s = ...; is freed when it goes out of scope, whichever
 * way. To hand the thing over, copy the pointer and set the local to NULL, or take_fd(&fd).
 */
#ifndef ROOST_BASE_AUTO_H
#define ROOST_BASE_AUTO_H

#include <stdlib.h>
#include <unistd.h>

static inline void auto_free(void *p)
{
    free(*(void **)p);
}

static inline void auto_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* Gives the descriptor away: the local is -1 afterwards. */
static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

#define AUTO_FREE  __attribute__((cleanup(auto_free)))
#define AUTO_CLOSE __attribute__((cleanup(auto_close)))

#endif
