/* Instances that guests have left and others may have.
 *
 * Making an instance maps address space, dropping it unmaps that, of which every other processor
 * must be told; and each page that a guest touches first is a fault, which costs more than copying
 * the page. So the instance of a guest that went to sleep is kept for a second, for the next guest
 * of the same image. It is blank: nothing of the guest can be seen in it (engine.h,
 * instance_blank).
 *
 * Pages that the guest had changed stay as they are, up to SPARES_KEPT_BYTES in all; the next
 * guest's are read over them. Where there are many, the instance goes only to a guest that writes
 * to most of its memory, whose snapshot is read whole: the others would drop what is left, and pay
 * for it when they wake.
 *
 * One pool for all workers and I/O threads, behind a mutex; all functions but spares_tend may be
 * called by any thread.
 */
#ifndef ROOST_GUEST_SPARES_H
#define ROOST_GUEST_SPARES_H

#include "base/loop.h"
#include "engine/engine.h"

struct spares;

/* sweep is called on the loop when there are some that nobody wanted for SPARE_NS: it has another
 * thread call spares_sweep, since unmapping takes its time. */
int spares_new(struct spares **out, struct loop *loop, void (*sweep)(void *ctx), void *ctx,
               struct err *err) ERR_CHECK;
/* Frees what is in it. Loop thread. NULL is fine. */
void spares_free(struct spares *s);

/* In place of freeing it: takes the instance of a guest that was just saved as `saved`. Frees it
 * where it cannot be used again. */
void spares_put(struct spares *s, struct instance *i, const struct snapshot *saved);
/* An instance for a guest of that image that will be restored from `from`, or NULL. writes_most:
 * with RESTORE_READ. */
struct instance *spares_take(struct spares *s, const struct image *image,
                             const struct instance_opts *opts, const struct snapshot *from,
                             bool writes_most);
/* Frees those that nobody wanted for SPARE_NS. */
void spares_sweep(struct spares *s);
/* Loop thread, now and then while guests sleep: sees to it that they are swept. */
void spares_tend(struct spares *s);

#endif
