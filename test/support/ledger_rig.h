/* Many ledgers on one rig, and what each of them last wrote about itself.
 *
 * A ledger (examples/operators/ledger) notices what was lost in its sleep; its account goes to the
 * rig's `kube:`, and here into a book for each guest. Keys are "NAMESPACE/GUEST-N", each the matter
 * of one guest. What was handled is seen from outside too: the last change of each key whose event
 * ended well.
 */
#ifndef ROOST_TEST_LEDGER_RIG_H
#define ROOST_TEST_LEDGER_RIG_H

#include "rig/rig.h"

#include "support/own_signals.h"
#include "support/tmp_dir.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <jansson.h>

#ifndef LEDGERS_MAX
#define LEDGERS_MAX 32
#endif
#define SETTLE_S 60u

struct book {
    char id[64]; /* of the guest */
    long long events, repeats, starts, errors, reports;
    char boot[24];
};

struct ledgers {
    struct rig rig;
    struct tmp_dir dir;
    struct book books[LEDGERS_MAX];
    size_t nbooks;
    struct guest *guests[LEDGERS_MAX];
    size_t n;
    size_t written;                /* bytes of bodies that came in pieces */
    uint64_t handled[RIG_OBJECTS]; /* the last change that was handled well, by object */
    void (*seen)(struct ledgers *l, const struct guest *g, enum guest_event ev);
    void *ctx;
};

static inline struct book *book_of(struct ledgers *l, const char *id)
{
    for (size_t i = 0; i < l->nbooks; i++)
        if (!strcmp(l->books[i].id, id))
            return &l->books[i];
    assert_true(l->nbooks < LEDGERS_MAX);
    snprintf(l->books[l->nbooks].id, sizeof(l->books[0].id), "%s", id);
    return &l->books[l->nbooks++];
}

static inline long long book_number(const json_t *data, const char *name)
{
    const char *text = json_string_value(json_object_get(data, name));

    return text ? strtoll(text, NULL, 10) : -1;
}

static inline void ledgers_report(void *ctx, struct call *c, const struct guest *g)
{
    static const char head[] = "content-type: application/json\n";
    struct ledgers *l = ctx;
    struct book *b = book_of(l, g->id);
    struct bytes body = call_body(c);
    json_t *doc = json_loadb((const char *)body.data, body.len, 0, NULL);
    const json_t *data = json_object_get(doc, "data");
    const char *boot = json_string_value(json_object_get(data, "boot"));

    b->events = book_number(data, "events");
    b->repeats = book_number(data, "repeats");
    b->starts = book_number(data, "starts");
    b->errors = book_number(data, "errors");
    b->reports++;
    snprintf(b->boot, sizeof(b->boot), "%s", boot ? boot : "");
    json_decref(doc);
    call_head(c, 200, head, sizeof(head) - 1);
    call_data(c, (const uint8_t *)"{}", 2);
    call_end(c, true);
}

static inline void ledgers_written(void *ctx, struct call *c, const uint8_t *data, size_t len,
                                   bool last)
{
    struct ledgers *l = ctx;

    (void)c;
    (void)data;
    (void)last;
    l->written += len;
}

static inline void ledgers_observe(struct rig *r, const struct guest *g, enum guest_event ev)
{
    struct ledgers *l = r->ctx;

    bool handled = (ev == GE_DONE || ev == GE_SLEPT) && g->awake->result == 0;

    for (size_t i = 0; handled && i < r->nobjects; i++)
        if (!strcmp(r->objects[i].key, g->awake->ev.key) && g->awake->ev.seq)
            l->handled[i] = g->awake->ev.seq;
    if (l->seen)
        l->seen(l, g, ev);
}

/* Starts, or starts again on what is there. */
static inline void ledgers_open(struct ledgers *l, size_t workers, bool same_boot)
{
    l->rig.ctx = l;
    l->rig.own_keys = true;
    l->rig.observe = ledgers_observe;
    l->n = 0;
    assert_true(rig_open(&l->rig, l->dir.path, workers, same_boot));
    signals_own();
    l->rig.kube.ctx = l;
    l->rig.kube.start = ledgers_report;
    l->rig.kube.write = ledgers_written;
}

static inline void ledgers_close(struct ledgers *l)
{
    rig_close(&l->rig);
}

/* Adds the next one: its name is the letter of its number, its seed the number. Keys that it has
 * not seen are put into its mailbox, as a watch does. */
static inline struct guest *ledgers_add(struct ledgers *l, unsigned mib, unsigned dirty_kib,
                                        void (*tweak)(struct guest_spec *spec))
{
    char seed[32], memory[32], dirty[32], name[8];
    const char *env[] = {seed, memory, dirty, "GROW_EVERY=3", NULL};
    struct guest *g;

    assert_true(l->n < LEDGERS_MAX);
    snprintf(name, sizeof(name), "%c%zu", (int)('a' + l->n % 26), l->n / 26);
    snprintf(seed, sizeof(seed), "SEED=%zu", l->n + 1);
    snprintf(memory, sizeof(memory), "MEMORY_MIB=%u", mib);
    snprintf(dirty, sizeof(dirty), "DIRTY_KIB=%u", dirty_kib);
    g = rig_add(&l->rig, "ledger", name, env, tweak);
    assert_non_null(g);
    l->guests[l->n++] = g;
    l->rig.trigger.due_since(&l->rig, g, 0, guest_seen(g, 0));
    return g;
}

static inline void ledgers_change(struct ledgers *l, struct guest *g, unsigned k)
{
    char key[96], body[256];

    snprintf(key, sizeof(key), "test/%s-%u", g->spec->name, k);
    snprintf(body, sizeof(body),
             "{\"apiVersion\":\"amurant.io/v1\",\"kind\":\"TestResource\",\"metadata\":{\"name\":"
             "\"%s-%u\",\"namespace\":\"test\",\"uid\":\"u\",\"resourceVersion\":\"%" PRIu64 "\"}}",
             g->spec->name, k, l->rig.seq + 1);
    rig_change(&l->rig, g, key, body);
}

static inline bool ledgers_quiet(struct rig *r, void *ctx)
{
    const struct ledgers *l = ctx;

    (void)r;
    for (size_t i = 0; i < l->n; i++) {
        const struct guest *g = l->guests[i];

        if ((g->state != G_ASLEEP && g->state != G_COLD) || mailbox_len(g->mailbox) ||
            g->posted != GE_NONE)
            return false;
    }
    return true;
}

/* Until all are asleep and have nothing to do. */
static inline void ledgers_settle(struct ledgers *l)
{
    if (!rig_run(&l->rig, ledgers_quiet, l, SETTLE_S)) {
        for (size_t i = 0; i < l->n; i++)
            print_error("%s: %s, %zu keys, last error: %s\n", l->guests[i]->id,
                        guest_state_name(l->guests[i]->state), mailbox_len(l->guests[i]->mailbox),
                        l->guests[i]->last_error);
        fail_msg("not all are asleep after %u s", SETTLE_S);
    }
}

/* For rig_run: true at each event, for a caller that looks by itself what happened. */
static inline bool ledgers_any_event(struct rig *r, void *ctx)
{
    (void)ctx;
    return r->until != NULL;
}

/* One change of one key, handled, and asleep again. */
static inline void ledgers_round(struct ledgers *l, struct guest *g)
{
    ledgers_change(l, g, 0);
    ledgers_settle(l);
}

/* A neighbour that has something to do all the time, until g has had so many events; how many of
 * its own events ended meanwhile. */
static inline unsigned ledgers_beside(struct ledgers *l, struct guest *near, const struct guest *g,
                                      uint64_t events)
{
    uint64_t before = near->counts.events, last = before - 1;
    unsigned turns = 0;

    while (g->counts.events < events) {
        if (near->counts.events != last)
            ledgers_change(l, near, turns++ % 3);
        last = near->counts.events;
        if (!rig_run(&l->rig, ledgers_any_event, NULL, SETTLE_S))
            fail_msg("nothing happens for %u s", SETTLE_S);
    }
    return (unsigned)(near->counts.events - before);
}

/* Every change of every key was handled. */
static inline void ledgers_check_handled(const struct ledgers *l)
{
    for (size_t i = 0; i < l->rig.nobjects; i++)
        if (l->handled[i] != l->rig.objects[i].seq)
            fail_msg("%s: change %" PRIu64 " was not handled, the last that was is %" PRIu64,
                     l->rig.objects[i].key, l->rig.objects[i].seq, l->handled[i]);
}

/* What it remembers is whole, and it was never started again. */
static inline void ledgers_check_whole(struct ledgers *l, const struct guest *g)
{
    const struct book *b = book_of(l, g->id);

    if (b->errors || b->starts != 1)
        fail_msg("%s: errors %lld, starts %lld", g->id, b->errors, b->starts);
}

/* For each guest of a rig, what must not change while something happens to another. */
struct untouched {
    uint64_t wakes, fresh_starts, events, generation;
    char boot[24];
};

static inline void untouched_note(struct ledgers *l, const struct guest *g, struct untouched *u)
{
    *u = (struct untouched){g->counts.wakes, g->counts.fresh_starts, g->counts.events,
                            g->generation, ""};
    memcpy(u->boot, book_of(l, g->id)->boot, sizeof(u->boot));
}

/* It was not woken, and one event later it is the same as before. */
static inline void untouched_check(struct ledgers *l, struct guest *g, const struct untouched *u)
{
    long long events = book_of(l, g->id)->events;

    assert_int_equal(g->counts.wakes, u->wakes);
    assert_int_equal(g->counts.fresh_starts, u->fresh_starts);
    assert_int_equal(g->counts.events, u->events);
    assert_int_equal(g->generation, u->generation);
    assert_string_equal(g->last_error, "");
    ledgers_round(l, g);
    assert_int_equal(book_of(l, g->id)->events, events + 1);
    assert_string_equal(book_of(l, g->id)->boot, u->boot);
    ledgers_check_whole(l, g);
}

/* Until all that was submitted is committed, or has failed. */
static inline void db_idle(struct db *db)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    struct db_stats st;

    for (db_stats(db, &st); st.bytes_queued; db_stats(db, &st))
        nanosleep(&moment, NULL);
}

static inline int ledgers_setup(void **state)
{
    static struct ledgers l;

    memset(&l, 0, sizeof(l));
    *state = &l;
    log_init(getenv("LEDGERS_LOG") ? LOG_DEBUG : LOG_WARN, "text");
    return tmp_dir_make(&l.dir);
}

static inline int ledgers_teardown(void **state)
{
    struct ledgers *l = *state;

    tmp_dir_remove(&l->dir);
    return 0;
}

#endif
