/* A folder whose changes somebody wants to know of (inotify).
 *
 * Nothing is said of what changed: whoever is told looks at the folder. A burst of changes is one:
 * the callback comes once nothing has changed for `settle_ms`, and at the latest DIRWATCH_LATEST
 * times that after the first change, so that a folder that never rests is looked at too. Loop
 * thread.
 */
#ifndef ROOST_BASE_DIRWATCH_H
#define ROOST_BASE_DIRWATCH_H

#include "base/loop.h"

struct dirwatch;

/* ERR_NOT_FOUND, ERR_DENIED, ERR_LIMIT (of inotify's watches), ERR_IO. */
int dirwatch_new(struct dirwatch **out, struct loop *loop, const char *path, unsigned settle_ms,
                 void (*changed)(void *ctx), void *ctx, struct err *err) ERR_CHECK;
/* Its memory goes when the loop has closed the handle. NULL is fine. */
void dirwatch_free(struct dirwatch *w);

#endif
