/* A guest is taken away, or another manifest takes its place, while the daemon runs.
 *
 * Either begins with a hold: no event begins any more, the one in hand is finished. What comes next
 * is looked at after each step of the guest, in a turn of its own (turn), since whoever made the
 * step may still be using the guest.
 *
 *   remove    GE_STOP, which drops the instance; once it is gone: record and snapshot, then itself.
 *   replace   with the same module, arguments and environment: asleep, then the new manifest is
 *             put in place of the old, and the snapshot stays.
 *             With others: the new one is made as a guest of its own that nobody knows (next), and
 *             started on a worker without an event. Only if it starts does it take the old one's
 *             place, whose instance and snapshot go then; else the old one goes on as if nothing
 *             had been. It may be idle with an instance all the while: then even one that never
 *             sleeps has lost nothing.
 *
 * At most TRIES_MAX are being started at once, whatever else is awake; the others wait in line.
 *
 * Must never: let both handle an event, or free a guest within its own step. Loop thread.
 */
#include "base/limits.h"
#include "guest/guest.h"
#include "guest/iopool.h"
#include "guest/ticker.h"
#include "guest/worker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum phase_of_change {
    REMOVE,      /* waits until it is gone */
    QUIET,       /* waits until no event is in hand */
    TRY_WAITING, /* the new one waits for its turn to be started */
    TRYING,      /* it is being started */
    DROPPING,    /* it was: the old one's instance goes, unless it could not start */
};

struct change {
    struct guest *guest;
    struct guest *next; /* the one to be; NULL: the guest is taken away */
    enum phase_of_change phase;
    bool keeps;           /* its memory, and what it has handled */
    bool asked, posted;   /* to sleep; the message */
    bool start_failed;    /* err says why */
    struct change *queue; /* of tries */
    struct msg msg;
    struct timer retry;
    struct err err;
    guest_changed_over *done;
    void *ctx;
};

static void turn(struct msg *m);

static struct loop *loop_of(const struct change *c)
{
    return c->guest->all->opts.loop;
}

static void post(struct change *c)
{
    if (c->posted)
        return;
    c->posted = true;
    c->msg.run = turn;
    loop_post(loop_of(c), &c->msg);
}

void guest_change_moved(struct guest *g)
{
    if (g->change->guest == g) /* not the one to be */
        post(g->change);
}

bool guest_change_drops(const struct guest *g)
{
    const struct change *c = g->change;

    if (!c || c->guest != g)
        return false;
    return c->phase == REMOVE ||
           (c->phase == DROPPING && !c->start_failed && !g->all->draining); /* it goes back */
}

bool guest_leaves(const struct guest *g)
{
    return g->change && g->change->phase == REMOVE;
}

static void leave(struct guest *g)
{
    const struct trigger *t = g->all->opts.watch;

    if (t->leave)
        t->leave(t->ctx, g);
}

/* --- the end of a change --- */

static void tries_remove(struct change *c)
{
    struct guests *all = c->guest->all;
    struct change **at = &all->tries;

    while (*at && *at != c)
        at = &(*at)->queue;
    if (!*at)
        return;
    *at = c->queue;
    if (all->tries_tail == &c->queue)
        all->tries_tail = at;
}

void guest_change_free(struct guest *g)
{
    struct change *c = g->change;

    g->change = NULL;
    if (!c || c->guest != g)
        return;
    tries_remove(c);
    if (c->posted)
        loop_unpost(loop_of(c), &c->msg);
    loop_timer_clear(loop_of(c), &c->retry);
    guest_free(c->next);
    free(c);
}

/* The change is over, and the guest as it is now goes on. err: it was not made. */
static void over(struct change *c, const struct err *err)
{
    guest_changed_over *done = c->done;
    struct err why = err ? *err : (struct err){0};
    struct guest *g = c->guest;
    void *ctx = c->ctx;

    guest_change_free(g);
    guest_release(g);
    if (done)
        done(ctx, err ? &why : NULL);
}

/* --- taking away --- */

static void again(struct timer *t)
{
    post(container_of(t, struct change, retry));
}

static void gone(struct change *c)
{
    struct guest *g = c->guest;
    guest_changed_over *done = c->done;
    void *ctx = c->ctx;

    if (guest_record_end(g, &c->err) < 0) {
        log_line(LOG_WARN, g->id, "its record could not be removed: %s; tried again", c->err.msg);
        c->retry.fire = again;
        if (loop_timer_set(loop_of(c), &c->retry, loop_now_ns(loop_of(c)) + RECORD_RETRY_NS, NULL) <
            0)
            post(c);
        return;
    }
    guests_forget(g->all, g);
    loop_timer_clear(loop_of(c), &g->timer);
    guest_free(g);
    if (done)
        done(ctx, NULL);
}

/* --- putting another in its place --- */

/* What was handled of a trigger that is the same holds for the new one too. */
static void keep_progress(struct guest *g, struct guest *next)
{
    uint16_t old = g->spec->nwatches, new = next->spec->nwatches;

    for (uint16_t t = 0; t < old || t < new; t++) {
        if (t < old && t < new && g->progress[t].spec_hash == next->progress[t].spec_hash)
            next->progress[t] = g->progress[t];
        else
            mailbox_clear(&g->mailbox, t);
    }
}

static void swap(struct guest *g, struct guest *next)
{
    struct guest_spec *spec = g->spec;
    struct progress *progress = g->progress;
    struct image *image = g->image;

    g->spec = next->spec;
    g->progress = next->progress;
    g->image = next->image;
    memcpy(g->identity, next->identity, sizeof(g->identity));
    memcpy(g->module_digest, next->module_digest, sizeof(g->module_digest));
    next->spec = spec;
    next->progress = progress;
    next->image = image;
}

/* It has no record to go on from, as after guests_add. */
static void forget_recorded(struct guest *g)
{
    for (uint16_t t = 0; t < g->spec->nwatches; t++) {
        g->progress[t].saved = 0;
        g->progress[t].recorded = false;
    }
}

static void renew(struct guest *g)
{
    guest_step(g, GE_RENEW); /* with a record that says so */
    if (!guest_sleeps(g))
        forget_recorded(g);
}

static void follow(struct guest *g)
{
    const struct trigger *t = g->all->opts.watch;
    struct err err = {0};

    if (t->follow && t->follow(t->ctx, g, &err) < 0) {
        log_line(LOG_ERROR, g->id, "%s", err.msg);
        guest_note_err(g, &err);
    }
}

/* The new one's is the place. */
static void adopt(struct change *c)
{
    struct guest *g = c->guest;
    bool held_for_image = !g->image;
    bool same = c->keeps && guest_spec_triggers_same(g->spec, c->next->spec);

    if (!same) /* else it goes on being told, and need not ask for its rights again */
        leave(g);
    if (c->keeps)
        keep_progress(g, c->next);
    else
        mailbox_clear(&g->mailbox, UINT16_MAX);
    swap(g, c->next);
    g->behind = false;
    g->off_loop_ns = 0;
    g->busy_us = 0;
    free(g->rejected);
    g->rejected = NULL;
    guest_note_error(g, "");
    if (c->keeps && g->spec->sleep_mode == SLEEP_AUTO)
        guest_record_put(g, NULL, 0);
    else
        renew(g);
    if (g->state == G_FAILED) /* that was the old one's failure */
        guest_step(g, g->snapshot ? GE_REVIVE : GE_RETRY);
    if (!same)
        follow(g);
    if (!c->keeps)
        guest_all_due(g);
    if (held_for_image)
        guest_release(g);
    over(c, NULL);
}

/* The old one goes on, where there is one. */
static void go_back(struct change *c)
{
    struct guest *g = c->guest;
    struct err why = c->err;

    if (!g->image)
        guest_reject(g, &why);
    else
        log_line(LOG_ERROR, g->id, "%s; the old one goes on", why.msg);
    guest_note_err(g, &why);
    over(c, &why);
}

/* --- starting the new one --- */

static void try_next(struct guests *all);

static void tried(struct change *c)
{
    struct guests *all = c->guest->all;
    struct guest *next = c->next;

    free(next->awake);
    next->awake = NULL;
    guest_argv_drop(next);
    all->ntries--;
    c->phase = DROPPING;
    if (all->draining)
        guests_note_gone(all);
    post(c);
}

static void try_over(struct change *c)
{
    struct guests *all = c->guest->all;

    tried(c);
    try_next(all);
}

static void try_failed(struct change *c)
{
    const struct awake *a = c->next->awake;

    c->start_failed = true;
    err_set_status(&c->err, a->err.code, 0, "%s:%u: the new module cannot start: %s",
                   c->next->spec->file, c->next->spec->line, a->err.msg);
}

bool guest_change_tried(struct awake *a)
{
    struct change *c = a->guest->change;

    if (!c || c->next != a->guest)
        return false;
    if (a->outcome != OUT_SAVED) { /* it comes from the worker */
        ticker_end(a->guests->ticker);
        event_clear(&a->ev);
        if (a->outcome != OUT_DONE)
            try_failed(c);
    }
    if (a->inst) {
        a->drop_only = true;
        iopool_save(a->guests->io, a);
    } else {
        try_over(c);
    }
    return true;
}

static void try(struct change *c)
{
    struct guest *next = c->next;
    struct guests *all = next->all;

    c->phase = TRYING;
    all->ntries++;
    next->awake = guest_argv_make(next) == 0 ? calloc(1, sizeof(*next->awake)) : NULL;
    if (!next->awake) {
        c->start_failed = true;
        err_set(&c->err, ERR_NOMEM, 0, "no memory to start the new module");
        tried(c); /* try_next goes on with the others */
        return;
    }
    next->awake->guest = next;
    next->awake->guests = all;
    next->awake->no_event = true;
    next->awake->put_ns = all->opts.clock.mono_ns(all->opts.clock.ctx);
    atomic_init(&next->awake->abandon, false);
    next->awake->worker_at = guests_pick_worker(next);
    ticker_begin(all->ticker, next->awake->worker_at == 0);
    worker_run(all->workers[next->awake->worker_at], next->awake);
}

static void try_next(struct guests *all)
{
    while (all->tries && all->ntries < TRIES_MAX) {
        struct change *c = all->tries;

        all->tries = c->queue;
        if (!all->tries)
            all->tries_tail = &all->tries;
        try(c);
    }
}

static void try_later(struct change *c)
{
    struct guests *all = c->guest->all;

    c->phase = TRY_WAITING;
    c->queue = NULL;
    *all->tries_tail = c;
    all->tries_tail = &c->queue;
    try_next(all);
}

/* --- what comes next --- */

static bool has_instance(const struct guest *g)
{
    return g->state == G_IDLE || g->state == G_RUNNING || g->state == G_SAVING;
}

/* Asleep once: where its save fails its own timer tries again. */
static void ask_to_sleep(struct change *c)
{
    if (c->guest->state != G_IDLE || c->asked)
        return;
    c->asked = true;
    guest_step(c->guest, GE_SLEEP);
}

static void quiet(struct change *c)
{
    const struct guest *g = c->guest;

    if (!c->keeps && g->state != G_RUNNING && g->state != G_SAVING)
        try_later(c);
    else if (!has_instance(g))
        adopt(c);
    else
        ask_to_sleep(c);
}

static void dropping(struct change *c)
{
    if (c->start_failed)
        go_back(c);
    else if (!has_instance(c->guest))
        adopt(c);
    else
        ask_to_sleep(c);
}

static void turn(struct msg *m)
{
    struct change *c = container_of(m, struct change, msg);
    struct err stops = {.code = ERR_AGAIN, .msg = "the daemon stops"};

    c->posted = false;
    if (c->phase == REMOVE) {
        if (c->guest->state == G_GONE)
            gone(c);
        return;
    }
    if (c->guest->all->draining && c->phase != TRYING) {
        over(c, &stops);
        return;
    }
    if (c->phase == QUIET)
        quiet(c);
    else if (c->phase == DROPPING)
        dropping(c);
}

/* --- beginning --- */

static int begin(struct change **out, struct guest *g, enum phase_of_change phase,
                 guest_changed_over *done, void *ctx, struct err *err)
{
    struct change *c;

    if (g->change || g->all->draining)
        return err_set(err, ERR_AGAIN, 0, "guest %s: %s: try again", g->id,
                       g->change ? "it is being changed" : "the daemon stops");
    c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, ERR_NOMEM, 0, "guest %s: no memory", g->id);
    *c = (struct change){.guest = g, .phase = phase, .done = done, .ctx = ctx};
    *out = c;
    return 0;
}

/* From here on no event of it begins. */
static void hold(struct change *c)
{
    struct guest *g = c->guest;

    g->change = c;
    guest_hold(g);
    budget_forget(g);
    g->wake_now = false;
    guest_kick(g); /* its worker must not keep it to itself */
    post(c);
}

int guest_remove(struct guest *g, guest_changed_over *done, void *ctx, struct err *err)
{
    struct change *c;

    if (begin(&c, g, REMOVE, done, ctx, err) < 0)
        return -1;
    hold(c);
    leave(g);
    guest_step(g, GE_STOP);
    return 0;
}

/* A guest to be, with its image, whose mode is what its module allows. */
static int next_make(struct change *c, struct guest_spec *spec, const uint8_t digest[32],
                     struct image *image, struct err *err)
{
    struct guest *g = c->guest;

    if (guest_make(&c->next, g->all, spec, digest, err) < 0) { /* it took spec */
        image_unref(image);
        return -1;
    }
    c->next->image = image;
    c->next->change = c;
    if (guest_mode_for(c->next->spec, image, err) < 0)
        return -1;
    c->keeps = g->image && memcmp(g->identity, c->next->identity, sizeof(g->identity)) == 0 &&
               guest_sleeps(g) && guest_sleeps(c->next);
    return 0;
}

int guest_replace(struct guest *g, struct guest_spec *spec, const uint8_t module_digest[32],
                  struct image *image, guest_changed_over *done, void *ctx, struct err *err)
{
    struct change *c = NULL;

    if (begin(&c, g, QUIET, done, ctx, err) < 0) {
        guest_spec_free(spec);
        image_unref(image);
        return -1;
    }
    if (next_make(c, spec, module_digest, image, err) < 0) {
        guest_free(c->next);
        free(c);
        return -1;
    }
    hold(c);
    return 0;
}
