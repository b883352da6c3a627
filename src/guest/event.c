#include "guest/event.h"

#include <stdlib.h>
#include <string.h>

void event_clear(struct event *ev)
{
    free(ev->key);
    free(ev->source);
    free(ev->uid);
    if (ev->body.unref)
        ev->body.unref(ev->body.ref);
    memset(ev, 0, sizeof(*ev));
}
