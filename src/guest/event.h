/* One thing to handle, as a guest sees it (docs/abi.md, "The event"), and the guest's answer.
 *
 * Made on the loop thread when handling starts, read by the worker, freed on the loop thread.
 */
#ifndef ROOST_GUEST_EVENT_H
#define ROOST_GUEST_EVENT_H

#include "base/limits.h"

#include <stddef.h>
#include <stdint.h>

/* Shared, immutable bytes: a cached object. */
struct blob {
    const uint8_t *data;
    size_t len;
    void *ref;
    void (*unref)(void *ref); /* any thread; NULL: nothing to release */
};

struct event {
    const char *type; /* static: "dev.roost.reconcile" */
    char *key;        /* owned */
    char *source;     /* owned; NULL: none */
    char *uid;        /* owned; NULL: the object is gone */
    struct blob body;
    uint64_t id;
    uint64_t seq;
    int64_t due_wall_ms;
    uint32_t failures;
    uint16_t trigger;
};

struct answer {
    uint64_t requeue_after_ms;
    int status;
    char error[EVENT_ERROR_MAX + 1];
};

void event_clear(struct event *ev);

#endif
