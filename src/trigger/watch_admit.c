/* Who may see what: SubjectAccessReviews for list and for watch, in each namespace of a sub, as its
 * guest's service account.
 *
 * A hundred thousand guests ask at once when the daemon starts, so: at most WATCH_REVIEWS_MAX
 * reviews are under way, the others wait in line; who asks what is being asked already waits for
 * the same answer; and what was allowed is remembered (by its whole text) until the line is empty.
 * That holds for one burst of questions and no longer, since rights may be taken away. A refusal is
 * not remembered: it is asked again, with back-off.
 */
#include "base/hash.h"
#include "trigger/watch_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const verbs[] = {"list", "watch"};

static void ask(struct sub *sub);

static const char *asked_namespace(const struct sub *sub)
{
    const struct watch_spec *spec = sub_spec(sub);

    return spec->nnamespaces ? spec->namespaces[sub->question / 2] : "";
}

/* The question as text: two that are equal have one answer. */
static char *question_key(const struct sub *sub)
{
    const struct guest_spec *spec = sub->guest->spec;
    char *key;

    if (asprintf(&key, "%s\n%s\n%s\n%s\n%s\n%s", spec->namespace_, spec->service_account,
                 sub->source->resource.group, sub->source->resource.resource, asked_namespace(sub),
                 verbs[sub->question % 2]) < 0)
        return NULL;
    return key;
}

/* --- answers of this burst --- */

static char **answer_place(struct admit *a, const char *key)
{
    return &a->allowed[watch_hash(key, strlen(key)) % WATCH_ANSWERS_MAX];
}

static bool was_allowed(struct admit *a, const char *key)
{
    const char *known = *answer_place(a, key);

    return known && strcmp(known, key) == 0;
}

/* Takes key. */
static void remember(struct admit *a, char *key)
{
    char **place = answer_place(a, key);

    free(*place);
    *place = key;
}

static void answers_drop(struct admit *a)
{
    for (size_t i = 0; i < WATCH_ANSWERS_MAX; i++) {
        free(a->allowed[i]);
        a->allowed[i] = NULL;
    }
}

/* --- the end of asking --- */

static void decided(struct sub *sub, bool admitted, bool denied)
{
    sub->source->undecided -= !sub->admitted && !sub->denied;
    sub->admitted = admitted;
    sub->denied = denied;
    sub->source->undecided += !sub->admitted && !sub->denied;
}

static void admitted(struct sub *sub)
{
    decided(sub, true, false);
    if (sub->trouble) {
        guest_note_error(sub->guest, "");
        admit_forget(sub);
    }
    watch_admitted(sub);
}

static void review_again(struct timer *t)
{
    admit_ask(container_of(t, struct trouble, retry)->sub);
}

static void not_admitted(struct sub *sub, bool denied, bool again, const char *why)
{
    struct trouble *t = sub->trouble;
    bool news = !t || strcmp(t->reason, why) != 0;

    if (news)
        log_line(LOG_WARN, sub->guest->id, "trigger %u: %s%s", sub->trigger, why,
                 again ? "; asking again" : "");
    guest_note_error(sub->guest, why);
    if (denied)
        sub->guest->last_reason = err_reason_row(REASON_MAY_NOT_WATCH)->name;
    decided(sub, false, denied);
    sub->question = 0;
    if (!t && !(t = sub->trouble = calloc(1, sizeof(*t)))) {
        log_line(LOG_ERROR, sub->guest->id, "trigger %u: no memory to ask again", sub->trigger);
        sweep_later(sub->source->watch);
        return;
    }
    t->sub = sub;
    snprintf(t->reason, sizeof(t->reason), "%s", why);
    if (again)
        watch_retry(sub->source->watch, &t->retry, review_again, &t->tries);
}

static void refused(struct sub *sub, const char *reason)
{
    char why[ERR_MSG_MAX];

    snprintf(why, sizeof(why),
             "service account %s may not %s %s in %s%s%s%s (give it a role that allows it)",
             sub->guest->spec->service_account, verbs[sub->question % 2],
             sub->source->resource.resource,
             sub_spec(sub)->nnamespaces ? "namespace " : "all namespaces", asked_namespace(sub),
             reason[0] ? ": " : "", reason);
    not_admitted(sub, true, true, why);
}

/* --- asking --- */

static struct flight *flight_find(struct admit *a, const char *key)
{
    for (size_t i = 0; i < WATCH_REVIEWS_MAX; i++)
        if (a->flights[i].review && strcmp(a->flights[i].key, key) == 0)
            return &a->flights[i];
    return NULL;
}

static struct flight *flight_free(struct admit *a)
{
    for (size_t i = 0; i < WATCH_REVIEWS_MAX; i++)
        if (!a->flights[i].review)
            return &a->flights[i];
    return NULL;
}

/* Those in line have their turn, as many as may be under way. */
static void pump(struct watch *w)
{
    struct admit *a = &w->admit;

    while (a->queue && a->nflights < WATCH_REVIEWS_MAX && !w->stopped) {
        struct sub *sub = a->queue;

        a->queue = sub->waiting;
        if (!a->queue)
            a->queue_tail = &a->queue;
        ask(sub);
    }
    if (!a->queue && a->nflights == 0)
        answers_drop(a);
}

static void answer_one(struct sub *sub, bool allowed, const char *reason, const struct err *err)
{
    char why[ERR_MSG_MAX];

    sub->asking = false;
    if (err) {
        snprintf(why, sizeof(why), "review of its rights: %s", err->msg);
        not_admitted(sub, false, true, why);
    } else if (!allowed) {
        refused(sub, reason);
    } else {
        sub->question++;
        ask(sub);
    }
}

static void reviewed(void *ctx, bool allowed, const char *reason, const struct err *err)
{
    struct flight *f = ctx;
    struct watch *w = f->watch;
    struct sub *sub = f->waiters;
    char *key = f->key;

    *f = (struct flight){0};
    w->admit.nflights--;
    if (allowed && !err)
        remember(&w->admit, key);
    else
        free(key);
    while (sub) {
        struct sub *next = sub->waiting;

        answer_one(sub, allowed, reason, err);
        sub = next;
    }
    pump(w);
}

static int review(struct flight *f, const struct sub *sub, struct err *err)
{
    const struct guest_spec *spec = sub->guest->spec;
    const struct kube_resource *r = &sub->source->resource;
    char user[2 * SPEC_SUBDOMAIN_MAX + 32], of_namespace[SPEC_SUBDOMAIN_MAX + 32];
    const char *groups[] = {"system:serviceaccounts", of_namespace, "system:authenticated", NULL};
    struct review_question q = {.user = user,
                                .groups = groups,
                                .verb = verbs[sub->question % 2],
                                .group = r->group,
                                .resource = r->resource,
                                .namespace_ = asked_namespace(sub)};

    snprintf(user, sizeof(user), "system:serviceaccount:%s:%s", spec->namespace_,
             spec->service_account);
    snprintf(of_namespace, sizeof(of_namespace), "system:serviceaccounts:%s", spec->namespace_);
    return review_start(&f->review, &f->watch->opts.http, &q, reviewed, f, err);
}

static void wait_in_line(struct sub *sub)
{
    struct admit *a = &sub->source->watch->admit;

    sub->asking = true;
    sub->waiting = NULL;
    *a->queue_tail = sub;
    a->queue_tail = &sub->waiting;
}

/* The sub's next question, takes key. */
static void ask_key(struct sub *sub, char *key)
{
    struct watch *w = sub->source->watch;
    struct flight *f = flight_find(&w->admit, key);
    struct err err = {0};

    sub->asking = true;
    if (f) {
        free(key);
        sub->waiting = f->waiters;
        f->waiters = sub;
        return;
    }
    f = flight_free(&w->admit);
    if (!f) {
        free(key);
        wait_in_line(sub);
        return;
    }
    sub->waiting = NULL;
    *f = (struct flight){.watch = w, .key = key, .waiters = sub};
    if (review(f, sub, &err) < 0) {
        free(key);
        *f = (struct flight){0};
        sub->asking = false;
        not_admitted(sub, false, true, err.msg);
        return;
    }
    w->admit.nflights++;
}

/* The next question of it that has no answer yet; with none left it is admitted. */
static void ask(struct sub *sub)
{
    const size_t all = 2u * sub->nplaces;

    for (; sub->question < all; sub->question++) {
        char *key = question_key(sub);

        if (!key) {
            sub->asking = false;
            not_admitted(sub, false, true, "no memory to ask for its rights");
            return;
        }
        if (!was_allowed(&sub->source->watch->admit, key)) {
            ask_key(sub, key);
            return;
        }
        free(key);
    }
    sub->asking = false;
    admitted(sub);
}

void admit_ask(struct sub *sub)
{
    struct watch *w = sub->source->watch;

    if (sub->admitted || sub->asking || w->stopped || !sub->source->resolved)
        return;
    if (!sub->guest->spec->service_account) {
        not_admitted(sub, true, false, "a watch needs capabilities.kube.serviceAccount");
        return;
    }
    wait_in_line(sub);
    pump(w);
}

/* --- life --- */

void admit_init(struct admit *a)
{
    a->queue_tail = &a->queue;
}

void admit_stop(struct watch *w)
{
    struct admit *a = &w->admit;

    for (size_t i = 0; i < WATCH_REVIEWS_MAX; i++) {
        review_cancel(a->flights[i].review);
        free(a->flights[i].key);
        a->flights[i] = (struct flight){0};
    }
    a->nflights = 0;
    a->queue = NULL;
    a->queue_tail = &a->queue;
    answers_drop(a);
}

void admit_forget(struct sub *sub)
{
    const struct kube_time *time = &sub->source->watch->opts.time;

    if (!sub->trouble)
        return;
    time->clear(time->ctx, &sub->trouble->retry);
    free(sub->trouble);
    sub->trouble = NULL;
}

/* Whether it was in that line, and is not any more. */
static bool line_remove(struct sub **at, const struct sub *sub)
{
    while (*at && *at != sub)
        at = &(*at)->waiting;
    if (!*at)
        return false;
    *at = sub->waiting;
    return true;
}

static void queue_end(struct admit *a)
{
    a->queue_tail = &a->queue;
    while (*a->queue_tail)
        a->queue_tail = &(*a->queue_tail)->waiting;
}

void admit_leave(struct sub *sub)
{
    struct admit *a = &sub->source->watch->admit;

    if (sub->asking && line_remove(&a->queue, sub))
        queue_end(a);
    for (size_t i = 0; sub->asking && i < WATCH_REVIEWS_MAX; i++)
        line_remove(&a->flights[i].waiters, sub); /* the answer finds nobody */
    sub->asking = false;
    sub->source->undecided -= !sub->admitted && !sub->denied;
    admit_forget(sub);
}
