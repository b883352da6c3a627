/* Label selectors as kubectl has them: "app=web,tier!=db,env in (a, b),!old,new". */
#ifndef ROOST_SERVE_SELECTOR_H
#define ROOST_SERVE_SELECTOR_H

#include "base/limits.h"
#include "guest/spec.h"

enum selector_op { SELECT_IN = 1, SELECT_NOT_IN, SELECT_EXISTS, SELECT_NOT_EXISTS };

struct selector_term {
    enum selector_op op;
    const char *key;
    const char *values; /* each with its NUL, then an empty one more */
    size_t nvalues;
};

/* Terms point into text. */
struct selector {
    char text[2 * SELECTOR_BYTES_MAX];
    struct selector_term terms[SELECTOR_TERMS_MAX];
    size_t n;
};

/* ERR_INVALID: no selector, with what is wrong; ERR_LIMIT. The empty text selects all. Pure. */
int selector_read(struct selector *s, const char *text, struct err *err) ERR_CHECK;
bool selector_matches(const struct selector *s, const struct env_var *labels, size_t n);

#endif
