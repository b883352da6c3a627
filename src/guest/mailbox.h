/* The mailbox of one guest: a Kubernetes work queue.
 *
 * A key is in it at most once; a key that is being handled and changes again is due again once it
 * is done; no key is handled twice at once. Failures back off for each key (5 ms doubling to 1000
 * s), over all keys at 10 a second with a burst of 100; success forgets the count; "requeue after"
 * is exact. The same rules as client-go's work queue with its default rate limiters, plus: each key
 * carries the change number (seq) of its newest change, so that what was handled can be told in one
 * number and a short list of exceptions.
 *
 * Pure: no clock, no loop. Times are CLOCK_MONOTONIC ns given by the caller. Loop thread only. An
 * empty mailbox owns no memory.
 */
#ifndef ROOST_GUEST_MAILBOX_H
#define ROOST_GUEST_MAILBOX_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mailbox; /* embedded by pointer: NULL is an empty mailbox */

/* One thing to handle, as taken from the mailbox. */
struct mail {
    const char
        *key; /* "namespace/name", or "name" where there is no namespace; borrowed until done */
    uint16_t trigger;  /* which trigger of the guest */
    uint64_t seq;      /* the newest change it covers; 0 where none (a timer) */
    uint32_t failures; /* so far, in a row */
    uint64_t put_ns;   /* when it became due: for the latency histograms */
};

/* Puts a key, due now. Joins one that waits (also one that backs off or waits for its timer: it is
 * due now, its failures kept). ERR_LIMIT: MAILBOX_KEYS_MAX or MAILBOX_KEY_BYTES_MAX, with nothing
 * changed; ERR_NOMEM: the same. A trigger is less than UINT16_MAX. */
int mailbox_put(struct mailbox **mb, uint16_t trigger, const char *key, uint64_t seq,
                uint64_t now_ns, struct err *err) ERR_CHECK;
/* The same, due at due_ns, with a count of failures: what a restored record holds. Never delays a
 * key that is due earlier. */
int mailbox_put_at(struct mailbox **mb, uint16_t trigger, const char *key, uint64_t seq,
                   uint64_t due_ns, uint32_t failures, struct err *err) ERR_CHECK;

/* The next key that is due, oldest first; false if there is none. It is then being handled until
 * one of the three calls below. One at a time. */
bool mailbox_take(struct mailbox **mb, uint64_t now_ns, struct mail *out);
/* Handled. requeue_after_ns 0: forgotten, unless it was put again meanwhile (then due now). Else
 * due then, or earlier if it was put again meanwhile; a timer's seq is 0. */
void mailbox_done(struct mailbox **mb, uint64_t now_ns, uint64_t requeue_after_ns);
/* Failed: due again after its back-off, or earlier if it was put again meanwhile. Returns the delay
 * in ns. */
uint64_t mailbox_failed(struct mailbox **mb, uint64_t now_ns);
/* Not handled through no fault of its own (abandoned, daemon stops): due now, before those that
 * were put later, count unchanged. */
void mailbox_untake(struct mailbox **mb, uint64_t now_ns);

/* When the next key is due: 0 if none waits, <= now if one is due now. */
uint64_t mailbox_next_due(const struct mailbox *mb);
/* Keys in it, the one being handled included. */
size_t mailbox_len(const struct mailbox *mb);
/* The age of the oldest key that is due, in ns; 0 if none. */
uint64_t mailbox_oldest_ns(const struct mailbox *mb, uint64_t now_ns);

/* Calls each for every key in no order, the one being handled included (as due now, with the newest
 * change put meanwhile). due_ns <= now: due. each must not change the mailbox. */
void mailbox_each(const struct mailbox *mb,
                  void (*each)(void *ctx, uint16_t trigger, const char *key, uint64_t seq,
                               uint64_t due_ns, uint32_t failures),
                  void *ctx);
/* Forgets all of one trigger, or of all (trigger UINT16_MAX) but what is being handled. */
void mailbox_clear(struct mailbox **mb, uint16_t trigger);
void mailbox_free(struct mailbox *mb);

#endif
