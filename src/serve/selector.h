/* Label selectors as kubectl has them: "app=web,tier!=db,env in (a, b),!old,new". */
#ifndef ROOST_SERVE_SELECTOR_H
#define ROOST_SERVE_SELECTOR_H

#include "base/limits.h"
#include "guest/spec.h"

#include <stdint.h>

enum selector_op { SELECT_IN = 1, SELECT_NOT_IN, SELECT_EXISTS, SELECT_NOT_EXISTS };

struct selector_term {
    enum selector_op op;
    uint16_t key, values; /* where they begin in text; values are one behind the other */
    size_t nvalues;
};

/* May be copied: terms say places in text, and do not point there. */
struct selector {
    char text[2 * SELECTOR_BYTES_MAX];
    struct selector_term terms[SELECTOR_TERMS_MAX];
    size_t n;
};
_Static_assert(2 * SELECTOR_BYTES_MAX <= UINT16_MAX, "a place in text is 16 bits");

/* ERR_INVALID: no selector, with what is wrong; ERR_LIMIT. The empty text selects all. Pure. */
int selector_read(struct selector *s, const char *text, struct err *err) ERR_CHECK;
bool selector_matches(const struct selector *s, const struct env_var *labels, size_t n);

#endif
