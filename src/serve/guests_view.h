/* All guests as the admin API shows them, in lists and streams (admin_guests.c). Zero-initialised
 * but for loop, guests and reject_at; loop thread.
 */
#ifndef ROOST_SERVE_GUESTS_VIEW_H
#define ROOST_SERVE_GUESTS_VIEW_H

#include "base/buf.h"
#include "serve/order.h"
#include "serve/selector.h"

struct listing;
struct watcher;

struct guests_view {
    struct loop *loop;
    struct guests *guests;
    const struct err *(*reject_at)(const void *ctx, size_t i);
    const void *ctx;
    struct order order;
    struct listing *listings;
    size_t nlistings;
    struct watcher *watchers;
    struct guest **changed; /* to be told; NULL: it went */
    size_t nchanged, changed_room;
    struct timer telling;
    struct buf line;
};

/* It has another state, or other counts. Cheap where nobody watches. */
void guests_view_changed(struct guests_view *v, struct guest *g);
/* It came or has another manifest; g NULL: it went. */
void guests_view_moved(struct guests_view *v, struct guest *g, const char *id);
/* Before the server of the admin API: ends its streams. */
void guests_view_free(struct guests_view *v);

#endif
