/* All guests in the order of "namespace/name", for lists in pages. Sorted when it is first asked
 * for, from then on kept so; until then it costs nothing. Loop thread.
 */
#ifndef ROOST_SERVE_ORDER_H
#define ROOST_SERVE_ORDER_H

#include "guest/guest.h"

struct order {
    struct guest **v;
    size_t n, room;
    bool sorted;
};

/* A guest came (it is in the registry), or goes (g may be freed; id is its name). Without memory it
 * is sorted anew when it is next asked for. True: it is known to be new. */
bool order_came(struct order *o, struct guest *g);
void order_went(struct order *o, const char *id);
/* Sorts, where that is to be done. -1: no memory. */
int order_ready(struct order *o, const struct guests *all);
/* The place of the first guest behind id ("": the first of all). */
size_t order_after(const struct order *o, const char *id);
void order_free(struct order *o);

#endif
