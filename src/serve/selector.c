/* See selector.h. Words are copied out one after the other, each with its NUL. As in Kubernetes, a
 * label that is not there is not equal to, and not in, anything.
 */
#include "serve/selector.h"

#include <stdio.h>
#include <string.h>

struct reader {
    const char *p;
    struct selector *out;
    size_t used;
    struct err *err;
};

static void skip(struct reader *r)
{
    while (*r->p == ' ')
        r->p++;
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-_./", c));
}

static int wrong(struct reader *r, const char *what)
{
    return err_set(r->err, ERR_INVALID, 0, "label selector: %s at \"%.40s\"", what, r->p);
}

/* A word, which may be empty: where it is in the selector's text. */
static uint16_t word(struct reader *r)
{
    uint16_t place = (uint16_t)r->used;
    char *at = r->out->text + r->used;
    size_t n = 0;

    skip(r);
    while (is_word_char(r->p[n]))
        n++;
    memcpy(at, r->p, n);
    at[n] = 0;
    r->used += n + 1;
    r->p += n;
    skip(r);
    return place;
}

static bool take(struct reader *r, const char *text)
{
    if (strncmp(r->p, text, strlen(text)) != 0)
        return false;
    r->p += strlen(text);
    skip(r);
    return true;
}

static int values(struct reader *r, struct selector_term *t)
{
    if (!take(r, "("))
        return wrong(r, "a list in brackets is missing");
    do {
        uint16_t value = word(r);

        if (!t->nvalues++)
            t->values = value;
    } while (take(r, ","));
    return take(r, ")") ? 0 : wrong(r, "a closing bracket is missing");
}

static int value(struct reader *r, struct selector_term *t, enum selector_op op)
{
    t->op = op;
    t->values = word(r);
    t->nvalues = 1;
    return 0;
}

static int after_key(struct reader *r, struct selector_term *t)
{
    if (take(r, "==") || take(r, "="))
        return value(r, t, SELECT_IN);
    if (take(r, "!="))
        return value(r, t, SELECT_NOT_IN);
    if (strncmp(r->p, "in ", 3) == 0 || strncmp(r->p, "in(", 3) == 0) {
        r->p += 2;
        t->op = SELECT_IN;
    } else if (strncmp(r->p, "notin ", 6) == 0 || strncmp(r->p, "notin(", 6) == 0) {
        r->p += 5;
        t->op = SELECT_NOT_IN;
    } else {
        t->op = SELECT_EXISTS;
        return 0;
    }
    skip(r);
    return values(r, t);
}

static int term(struct reader *r, struct selector_term *t)
{
    bool absent;

    skip(r);
    absent = take(r, "!");
    t->key = word(r);
    if (!r->out->text[t->key])
        return wrong(r, "a label's name is missing");
    if (absent) {
        t->op = SELECT_NOT_EXISTS;
        return 0;
    }
    return after_key(r, t);
}

int selector_read(struct selector *s, const char *text, struct err *err)
{
    struct reader r = {.p = text, .out = s, .err = err};

    s->n = 0;
    if (strlen(text) > SELECTOR_BYTES_MAX - 1)
        return err_set(err, ERR_LIMIT, 0, "label selector: more than %u bytes",
                       SELECTOR_BYTES_MAX - 1);
    skip(&r);
    if (!*r.p)
        return 0;
    do {
        if (s->n == SELECTOR_TERMS_MAX)
            return err_set(err, ERR_LIMIT, 0, "label selector: more than %u terms",
                           SELECTOR_TERMS_MAX);
        s->terms[s->n] = (struct selector_term){0};
        if (term(&r, &s->terms[s->n++]) < 0)
            return -1;
    } while (take(&r, ","));
    return *r.p ? wrong(&r, "a comma is missing") : 0;
}

static bool has_value(const struct selector *s, const struct selector_term *t, const char *label)
{
    const char *p = s->text + t->values;

    for (size_t i = 0; i < t->nvalues; i++, p += strlen(p) + 1)
        if (strcmp(p, label) == 0)
            return true;
    return false;
}

bool selector_matches(const struct selector *s, const struct env_var *labels, size_t n)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct selector_term *t = &s->terms[i];
        const char *label = NULL;
        bool fits;

        for (size_t k = 0; k < n && !label; k++)
            if (strcmp(labels[k].name, s->text + t->key) == 0)
                label = labels[k].value;
        fits = label && (t->op == SELECT_EXISTS || (t->nvalues && has_value(s, t, label)));
        if (t->op == SELECT_NOT_IN || t->op == SELECT_NOT_EXISTS)
            fits = t->op == SELECT_NOT_IN ? !fits : !label;
        if (!fits)
            return false;
    }
    return true;
}
