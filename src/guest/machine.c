/* The states of a guest, as one table with one setter.
 *
 * A row is a state, a column an event; a cell says the next state and what to do. Actions may post
 * another event (post), which is handled after they return; they never call guest_step. An empty
 * cell is a mistake of ours and stops the program. Whether there is anything to do is asked in
 * actions, not in the table: `rest` posts WAKE if the mailbox has a key that is due.
 */
#include "base/limits.h"
#include "base/text.h"
#include "guest/guest.h"
#include "guest/iopool.h"
#include "guest/ticker.h"
#include "guest/worker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static void post(struct guest *g, enum guest_event ev)
{
    assert(g->posted == GE_NONE);
    g->posted = ev;
}

static uint64_t now_of(const struct guest *g)
{
    return g->all->opts.clock.mono_ns(g->all->opts.clock.ctx);
}

static bool key_due(const struct guest *g, uint64_t now)
{
    uint64_t due = mailbox_next_due(g->mailbox);

    return due && due <= now;
}

/* Something to wake for: a key, or somebody who asked for it. */
static bool is_wanted(const struct guest *g)
{
    return g->wake_now || key_due(g, now_of(g));
}

void guest_note_error(struct guest *g, const char *text)
{
    char *copy = text[0] ? strdup(text) : NULL;

    if (g->last_error[0])
        free((char *)(uintptr_t)g->last_error);
    if (copy)
        text_clean(copy); /* some of it is the guest's or the server's */
    g->last_error = copy ? copy : "";
    g->last_reason = "";
    g->last_error_wall_ms = copy ? g->all->opts.clock.wall_ms(g->all->opts.clock.ctx) : 0;
}

void guest_note_err(struct guest *g, const struct err *err)
{
    guest_note_error(g, err->msg);
    g->last_reason = err_reason_of(err);
}

/* --- the timer: one for each guest, for whatever is next in its state --- */

static void look_again(struct guest *g);

/* Not while more waits for the database than it should: its record could not be kept. */
static bool may_sleep(const struct guest *g)
{
    return guest_sleeps(g) && db_has_room(g->all->opts.db);
}

/* What happens to it when it has nothing more to do; its worker may do the same. */
static bool sleeps_at_once(const struct guest *g)
{
    return g->sleep_now || (g->spec->sleep_after_ns + g->save_delay_ns == 0 && may_sleep(g));
}

/* Asleep or cold, so that what is recorded and its memory agree. */
static void record_again(struct guest *g)
{
    if (g->record_due && (g->state == G_ASLEEP || g->state == G_COLD))
        guest_record_put(g, NULL, 0);
}

static void timer_fired(struct timer *t)
{
    struct guest *g = container_of(t, struct guest, timer);
    uint64_t now = now_of(g);

    if (g->state == G_FAILED) {
        if (g->retry_ns <= now)
            guest_step(g, g->snapshot ? GE_REVIVE : GE_RETRY);
        else
            guest_kick(g);
        return;
    }
    if (g->state == G_IDLE && (g->hold || !key_due(g, now)) && guest_sleeps(g) &&
        g->idle_since_ns + g->spec->sleep_after_ns + g->save_delay_ns <= now) {
        if (may_sleep(g)) {
            guest_step(g, GE_SLEEP);
            return;
        }
        g->save_delay_ns += RECORD_RETRY_NS;
    }
    record_again(g);
    look_again(g);
    guest_kick(g);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0)
        return a | b;
    return a < b ? a : b;
}

static void timer_at(struct guest *g, uint64_t due)
{
    g->timer.fire = timer_fired;
    if (loop_timer_set(g->all->opts.loop, &g->timer, due, NULL) < 0)
        log_line(LOG_ERROR, g->id, "no memory for its timer: it sleeps until its next event");
}

static void arm(struct guest *g)
{
    uint64_t due = g->hold ? 0 : mailbox_next_due(g->mailbox);

    if (g->state == G_FAILED)
        due = g->retry_ns;
    else if (g->state == G_IDLE && guest_sleeps(g))
        due = earlier(due, g->idle_since_ns + g->spec->sleep_after_ns + g->save_delay_ns);
    else if (g->state != G_COLD && g->state != G_ASLEEP && g->state != G_IDLE)
        due = 0;
    if (g->behind && g->state != G_FAILED)
        due = earlier(due, now_of(g) + BEHIND_RETRY_NS);
    if (g->record_due && (g->state == G_ASLEEP || g->state == G_COLD))
        due = earlier(due, now_of(g) + RECORD_RETRY_NS);
    if (due == 0)
        loop_timer_clear(g->all->opts.loop, &g->timer);
    else
        timer_at(g, due);
}

/* A guest without an instance: wakes if a key is due and there is room for it. Where there is none
 * it is kicked once there is. */
static void wake_or_arm(struct guest *g)
{
    if (g->hold || g->all->draining || !is_wanted(g))
        arm(g);
    else if (budget_admit(g))
        post(g, GE_WAKE);
    else
        loop_timer_clear(g->all->opts.loop, &g->timer);
}

/* --- actions --- */

static bool awake_make(struct guest *g)
{
    if (g->awake)
        return true;
    if (guest_argv_make(g) == 0)
        g->awake = calloc(1, sizeof(*g->awake));
    if (!g->awake) {
        guest_argv_drop(g);
        return false;
    }
    g->awake->guest = g;
    g->awake->guests = g->all;
    atomic_init(&g->awake->abandon, false);
    g->awake->from = g->snapshot;
    g->awake->verify = g->verify && g->snapshot;
    g->awake->writes_most = (g->heavy & 3) == 3 && g->heavy != HEAVY_HISTORY;
    return true;
}

static void awake_drop(struct guest *g)
{
    budget_release(g);
    if (!g->awake)
        return;
    assert(!g->awake->inst);
    event_clear(&g->awake->ev);
    free(g->awake);
    g->awake = NULL;
    guest_argv_drop(g);
}

static int fill_event(struct guest *g, struct awake *a, const struct mail *mail, uint64_t now)
{
    const struct trigger *trigger = g->all->opts.watch;
    const struct clock *clock = &g->all->opts.clock;

    a->ev.key = strdup(mail->key);
    if (!a->ev.key)
        return err_set(&a->err, ERR_NOMEM, 0, "no memory for an event");
    a->ev.trigger = mail->trigger;
    a->ev.failures = mail->failures;
    a->ev.seq = mail->seq;
    a->ev.id = ++g->all->event_ids;
    a->ev.due_wall_ms = clock->wall_ms(clock->ctx) - (int64_t)((now - mail->put_ns) / NS_PER_MS);
    a->put_ns = mail->put_ns;
    a->debt_ns = g->paid_ns > now ? (g->paid_ns - now) / WORKER_LATE_SHARE : 0;
    return trigger->fill(trigger->ctx, g, mail->trigger, mail->key, &a->ev, &a->err);
}

static void save_as(struct guest *g)
{
    struct awake *a = g->awake;

    memcpy(a->save_as.uid, g->uid, sizeof(g->uid));
    memcpy(a->save_as.module, g->identity, sizeof(g->identity));
    a->save_as.generation = g->generation + 1;
}

/* Few pages were written at its last sleep, and not too many have to be unmapped. */
static bool is_light(const struct guest *g)
{
    return g->snapshot && g->snapshot->memory_pages <= SAVE_IDLE_MEMORY &&
           snapshot_written(g->snapshot) <= SAVE_IDLE_PAGES;
}

/* What the worker may do by itself when the event is handled. */
static void plan_end(struct guest *g, uint64_t now)
{
    struct awake *a = g->awake;
    uint64_t due = mailbox_next_due(g->mailbox), rest = g->spec->sleep_after_ns + g->save_delay_ns;

    atomic_store(&a->abandon, false);
    a->alone = !g->behind && !g->all->budget.waiting && (due == 0 || due > now + QUIET_NS);
    a->stays = !guest_sleeps(g) || rest >= QUIET_NS;
    a->save_here =
        a->alone && g->spec->sleep_mode == SLEEP_AUTO && is_light(g) && sleeps_at_once(g);
    if (a->save_here)
        save_as(g);
}

static void send(struct guest *g, uint64_t now)
{
    struct awake *a = g->awake;

    loop_timer_clear(g->all->opts.loop, &g->timer);
    budget_busy(g);
    plan_end(g, now);
    a->worker_at = guests_pick_worker(g);
    ticker_begin(g->all->ticker, a->worker_at == 0);
    a->picked_ns = 0;
    worker_run(g->all->workers[a->worker_at], a);
}

/* Takes the next key and gives it to a worker: the guest's own if it is awake, else the least
 * loaded. Without a key it is only made awake, where somebody asked for that. */
static void dispatch(struct guest *g)
{
    uint64_t now = now_of(g);
    bool only_wake = g->wake_now && !key_due(g, now) && !(g->awake && g->awake->inst);
    struct mail mail = {.put_ns = now};
    struct awake *a;

    g->wake_now = false;
    if (!awake_make(g) || (!only_wake && !mailbox_take(&g->mailbox, now, &mail))) {
        post(g, g->awake && g->awake->inst ? GE_KEPT : GE_NO_ROOM);
        return;
    }
    a = g->awake;
    a->no_event = only_wake;
    a->put_ns = now;
    if (!only_wake && fill_event(g, a, &mail, now) < 0) {
        event_clear(&a->ev);
        mailbox_untake(&g->mailbox, now);
        post(g, a->inst ? GE_KEPT : GE_NO_ROOM);
        return;
    }
    send(g, now);
}

/* Why is kept as it was the last time. */
static void note_refusals(struct guest *g)
{
    struct awake *a = g->awake;
    char *why;

    if (a->refusals == 0)
        return;
    g->counts.refusals += a->refusals;
    g->all->stats.counts.refusals += a->refusals;
    a->refusals = 0;
    why = strdup(a->refusal);
    if (!why)
        return;
    text_clean(why); /* some of it is the guest's */
    free(g->last_refusal);
    g->last_refusal = why;
    journal_event(g->all->journal, JOURNAL_REFUSED, g->id, why);
}

/* The worker gave it back: what all ends have in common. */
static void event_over(struct guest *g)
{
    note_refusals(g);
    guest_log_settle(g);
    g->counts.cpu_ns += g->awake->cpu_ns;
    g->all->stats.counts.cpu_ns += g->awake->cpu_ns;
    ticker_end(g->all->ticker);
    event_clear(&g->awake->ev);
}

/* A guest pays for its running time with a part of the time that goes by. */
static void note_running(struct guest *g)
{
    uint64_t now = now_of(g), most = now + WORKER_LATE_SHARE * WORKER_DEBT_MAX_NS;

    if (g->paid_ns < now)
        g->paid_ns = now;
    g->paid_ns += WORKER_LATE_SHARE * g->awake->cpu_ns;
    if (g->paid_ns > most)
        g->paid_ns = most;
}

static void note_wake(struct guest *g)
{
    const struct awake *a = g->awake;

    if (!a->woke && !a->fresh)
        return;
    g->counts.wakes += a->woke;
    g->all->stats.counts.wakes += a->woke;
    g->counts.fresh_starts += a->fresh;
    g->all->stats.counts.fresh_starts += a->fresh;
    guest_note_woken(g);
}

static void note_latency(struct guest *g)
{
    struct guests_stats *st = &g->all->stats;
    const struct awake *a = g->awake;

    if (a->woke || a->fresh) {
        hist_add(&st->wake, a->done_ns - a->put_ns);
        hist_add(&st->worker, a->done_ns - a->picked_ns);
    } else {
        hist_add(&st->event, a->done_ns - a->put_ns);
    }
    note_wake(g);
    note_running(g);
    g->counts.handled_ns += a->done_ns - a->put_ns;
    st->counts.handled_ns += a->done_ns - a->put_ns;
    g->counts.events++;
    st->counts.events++;
    st->retries += a->ev.failures > 0;
    if (!g->named && g->counts.events >= g->all->census.bar)
        census_event(&g->all->census, g);
}

static void look_again(struct guest *g)
{
    const struct trigger *trigger = g->all->opts.watch;

    if (!g->behind || mailbox_len(g->mailbox) > MAILBOX_KEYS_MAX / 2)
        return;
    g->behind = false;
    for (uint16_t t = 0; t < g->spec->nwatches; t++)
        trigger->due_since(trigger->ctx, g, t, g->progress[t].seen);
}

static void rest_awake(struct guest *g)
{
    arm(g);
    budget_idle(g);
}

static void rest(struct guest *g)
{
    uint64_t now = now_of(g);

    g->idle_since_ns = now;
    look_again(g);
    if (g->hold == 0 && !g->all->draining && key_due(g, now))
        post(g, GE_WAKE);
    else if (sleeps_at_once(g))
        post(g, GE_SLEEP);
    else
        rest_awake(g);
}

static void event_failed(struct guest *g)
{
    const struct answer *answer = &g->awake->answer;
    char text[EVENT_ERROR_MAX + 64];
    uint64_t delay = mailbox_failed(&g->mailbox, now_of(g));

    if (answer->error[0])
        snprintf(text, sizeof(text), "%s", answer->error);
    else
        snprintf(text, sizeof(text), "handle returned %d", g->awake->result);
    log_line(LOG_WARN, g->id, "event of %s failed: %s (again in %llu ms)", g->awake->ev.key, text,
             (unsigned long long)(delay / NS_PER_MS));
    guest_note_error(g, text);
    g->last_reason = err_reason_row(REASON_HANDLER_FAILED)->name;
    guest_note_event(g, JOURNAL_FAILED, text);
    g->counts.failures++;
    g->all->stats.counts.failures++;
}

static uint32_t us_of(uint64_t ns)
{
    return ns / 1000 < UINT32_MAX / 2 ? (uint32_t)(ns / 1000) + 1 : UINT32_MAX / 2;
}

/* What it took from its worker: running, by the processor's clock; waking, and sleeping where that
 * was done there, by the wall's. The latter counts only if it was so twice, since it is also what
 * others did when this thread had to wait for them. */
static uint32_t busy_us(struct guest *g)
{
    const struct awake *a = g->awake;
    uint32_t wall = us_of((a->woke ? a->handling_ns - a->picked_ns : 0) +
                          (a->outcome == OUT_SLEPT ? a->slept_ns - a->decided_ns : 0));
    uint32_t before = g->wall_us;

    g->wall_us = wall;
    return us_of(a->cpu_ns) + (before && before < wall ? before : wall);
}

/* It held up the loop, by computing or by waiting for the disk: not there again for a while. */
static void note_slow_on_loop(struct guest *g)
{
    const struct awake *a = g->awake;

    if (a->worker_at == 0 && (a->cpu_ns > TICK_NS || a->faulted))
        g->off_loop_ns = now_of(g) + OFF_LOOP_NS;
}

/* Awake on demand: it stays so for a while, or there was no use in it. */
static void woken(struct guest *g)
{
    event_over(g);
    g->awake->no_event = false;
    g->idle_since_ns = now_of(g);
    if (g->save_delay_ns < WAKE_STAY_NS && g->spec->sleep_after_ns < WAKE_STAY_NS)
        g->save_delay_ns = WAKE_STAY_NS - g->spec->sleep_after_ns;
    note_wake(g);
    if (g->hold == 0 && !g->all->draining && key_due(g, now_of(g)))
        post(g, GE_WAKE);
    else if (g->sleep_now)
        post(g, GE_SLEEP);
    else
        rest_awake(g);
}

static void event_done(struct guest *g)
{
    struct awake *a = g->awake;

    note_latency(g);
    g->busy_us = busy_us(g);
    note_slow_on_loop(g);
    g->crashes = 0;
    g->verify = false;
    a->verify = false;
    if (a->result == 0)
        mailbox_done(&g->mailbox, now_of(g), a->answer.requeue_after_ms * NS_PER_MS);
    else
        event_failed(g);
    event_over(g);
}

static void handled(struct guest *g)
{
    event_done(g);
    rest(g);
}

/* The snapshot is of no use any more: its space is free once a record without it is on disk. */
static void snapshot_forget(struct guest *g)
{
    struct snapshot *old = g->snapshot;

    guest_set_snapshot(g, NULL);
    g->verify = false;
    if (g->awake)
        g->awake->from = NULL;
    guest_record_put(g, old ? snapshot_slots(old) : NULL, old ? old->nslots : 0);
    snapshot_free(old);
}

static uint64_t crash_delay(struct guest *g)
{
    uint64_t delay = CRASH_BACKOFF_MIN_NS;

    for (uint32_t i = 0; i < g->crashes && delay < CRASH_BACKOFF_MAX_NS; i++)
        delay *= 2;
    g->crashes++;
    return delay < CRASH_BACKOFF_MAX_NS ? delay : CRASH_BACKOFF_MAX_NS;
}

static void trapped(struct guest *g)
{
    uint64_t delay = crash_delay(g), now = now_of(g);

    note_latency(g);
    log_line(LOG_ERROR, g->id, "event of %s: %s; fresh start in %llu ms",
             g->awake->no_event ? "none" : g->awake->ev.key, g->awake->err.msg,
             (unsigned long long)(delay / NS_PER_MS));
    guest_note_err(g, &g->awake->err);
    guest_note_event(g, JOURNAL_TRAPPED, g->awake->err.msg);
    g->busy_us = 0;
    note_slow_on_loop(g);
    g->counts.traps++;
    g->all->stats.counts.traps++;
    if (!g->awake->no_event)
        mailbox_failed(&g->mailbox, now);
    event_over(g);
    if (g->spec->on_fresh_start == FRESH_ALL && g->crashes == 1) /* once for a row of failures */
        guest_all_due(g);
    snapshot_forget(g); /* with a record that says so */
    awake_drop(g);
    g->retry_ns = now + delay;
    arm(g);
}

/* The event in hand, if there is one, is due again; that is not its failure. */
static void event_back(struct guest *g)
{
    if (g->awake->no_event) {
        g->awake->no_event = false;
        event_over(g);
        return;
    }
    if (!g->awake->ev.key)
        return;
    mailbox_untake(&g->mailbox, now_of(g));
    event_over(g);
}

static void no_room(struct guest *g)
{
    uint64_t now = now_of(g), delay = crash_delay(g);

    if (g->awake && (g->awake->ev.key || g->awake->no_event)) { /* it was with a worker */
        log_line(LOG_WARN, g->id, "could not be made awake: %s; again in %llu ms",
                 g->awake->err.msg, (unsigned long long)(delay / NS_PER_MS));
        guest_note_err(g, &g->awake->err);
        journal_event(g->all->journal, JOURNAL_NO_ROOM, g->id, g->awake->err.msg);
        event_back(g);
    }
    awake_drop(g);
    g->retry_ns = now + delay;
    arm(g);
}

/* The same while it was awake: it stays so, with what it has in memory. */
static void no_room_awake(struct guest *g)
{
    uint64_t now = now_of(g), delay = crash_delay(g);

    log_line(LOG_WARN, g->id, "no memory for its next event; again in %llu ms",
             (unsigned long long)(delay / NS_PER_MS));
    g->idle_since_ns = now;
    timer_at(g, now + delay); /* not when the key is due: it is */
}

/* A damaged or missing snapshot: nothing that it had handled can be relied on. */
static void corrupt(struct guest *g)
{
    log_line(LOG_ERROR, g->id, "its snapshot cannot be used: %s; fresh start, all keys due",
             g->awake->err.msg);
    (void)err_blame(&g->awake->err, REASON_SNAPSHOT_DAMAGED);
    guest_note_err(g, &g->awake->err);
    journal_event(g->all->journal, JOURNAL_SNAPSHOT_LOST, g->id, g->awake->err.msg);
    event_back(g);
    guest_all_due(g);
    snapshot_forget(g); /* with a record that says so */
    awake_drop(g);
    wake_or_arm(g);
}

static void save(struct guest *g)
{
    struct awake *a = g->awake;

    loop_timer_clear(g->all->opts.loop, &g->timer);
    budget_busy(g);
    g->sleep_now = false;
    a->drop_only = g->spec->sleep_mode != SLEEP_AUTO || guest_change_drops(g);
    save_as(g);
    iopool_save(g->all->io, a);
}

static void abandon(struct guest *g)
{
    atomic_store_explicit(&g->awake->abandon, true, memory_order_relaxed);
}

/* Whether most of the snapshot's pages are in the slot that this sleep wrote. */
static bool wrote_most(const struct snapshot *s)
{
    const struct slot *slots = snapshot_slots(s);
    uint64_t live = 0, newest = 0;

    for (uint16_t i = 0; i < s->nslots; i++) {
        live += slots[i].live;
        if (slots[i].generation == s->id.generation)
            newest += slots[i].live;
    }
    return newest >= HEAVY_PAGES_MIN && newest * 2 >= live;
}

/* A guest whose memory was read and not mapped looks as if it had written to all of it; so now and
 * then it is mapped again, to see. */
static void note_heavy(struct guest *g, bool most)
{
    if (g->heavy == HEAVY_HISTORY)
        g->heavy = most ? 3 : 0;
    else
        g->heavy = (uint8_t)(g->heavy << 1 | most);
}

/* The record is switched: from here on the guest is what was saved. */
static void switch_record(struct guest *g)
{
    struct awake *a = g->awake;
    struct snapshot *old = g->snapshot;

    g->counts.sleeps++;
    g->all->stats.counts.sleeps++;
    guest_note_slept(g);
    hist_add(&g->all->stats.sleep, a->slept_ns - a->decided_ns);
    g->save_delay_ns = 0;
    g->sleep_now = false;
    if (a->saved) {
        note_heavy(g, wrote_most(a->saved));
        guest_set_snapshot(g, a->saved);
        g->generation = a->save_as.generation;
        a->saved = NULL;
        guest_record_put(g, a->dropped, a->ndropped);
        snapshot_free(old);
    } else if (g->spec->sleep_mode == SLEEP_FRESH) {
        guest_record_put(g, NULL, 0); /* what it has handled, and its timers */
    }
    awake_drop(g);
}

static void slept(struct guest *g)
{
    switch_record(g);
    wake_or_arm(g);
}

static void handled_and_slept(struct guest *g)
{
    event_done(g);
    slept(g);
}

static void kept(struct guest *g)
{
    if (g->awake->outcome == OUT_ABANDONED) {
        g->counts.abandoned++;
        g->all->stats.counts.abandoned++;
    } else {
        g->save_delay_ns = g->save_delay_ns ? g->save_delay_ns * 2 : SAVE_RETRY_MIN_NS;
        if (g->save_delay_ns > SAVE_RETRY_MAX_NS)
            g->save_delay_ns = SAVE_RETRY_MAX_NS;
        log_line(LOG_ERROR, g->id, "could not be put to sleep: %s; stays awake, again in %llu ms",
                 g->awake->err.msg, (unsigned long long)(g->save_delay_ns / NS_PER_MS));
        guest_note_err(g, &g->awake->err);
        journal_event(g->all->journal, JOURNAL_KEPT_AWAKE, g->id, g->awake->err.msg);
    }
    rest(g);
}

static void retry(struct guest *g)
{
    g->retry_ns = 0;
    wake_or_arm(g);
}

/* Another one, with nothing of the old one's memory. */
static void renewed(struct guest *g)
{
    struct snapshot *old = g->snapshot;

    guest_set_snapshot(g, NULL);
    g->verify = false;
    g->heavy = 0;
    g->crashes = 0;
    g->retry_ns = g->save_delay_ns = 0;
    g->generation++;
    guest_record_put(g, old ? snapshot_slots(old) : NULL, old ? old->nslots : 0);
    snapshot_free(old);
    loop_timer_clear(g->all->opts.loop, &g->timer);
}

/* --- draining --- */

static void gone(struct guest *g)
{
    loop_timer_clear(g->all->opts.loop, &g->timer);
    guests_note_gone(g->all);
}

static void stop_handled(struct guest *g)
{
    struct awake *a = g->awake;

    note_latency(g);
    if (a->result == 0)
        mailbox_done(&g->mailbox, now_of(g), a->answer.requeue_after_ms * NS_PER_MS);
    else
        event_failed(g);
    event_over(g);
    save(g);
}

static void stop_woken(struct guest *g)
{
    event_over(g);
    g->awake->no_event = false;
    save(g);
}

static void stop_trapped(struct guest *g)
{
    trapped(g);
    gone(g);
}

static void stop_corrupt(struct guest *g)
{
    event_back(g);
    awake_drop(g); /* its record stays: the next start finds the same and says so */
    gone(g);
}

static void stop_saved(struct guest *g)
{
    switch_record(g);
    gone(g);
}

static void stop_slept(struct guest *g)
{
    event_done(g);
    stop_saved(g);
}

/* One more try, for a save that was abandoned; a failed one costs what came since the last. */
static void stop_kept(struct guest *g)
{
    if (g->stop_saved && g->awake->outcome != OUT_ABANDONED) {
        log_line(LOG_ERROR, g->id,
                 "could not be saved: %s; what it handled since its last sleep "
                 "is due again",
                 g->awake->err.msg);
        g->awake->drop_only = true;
        iopool_save(g->all->io, g->awake);
        return;
    }
    g->stop_saved = true;
    save(g);
}

/* --- the table --- */

struct step {
    enum guest_state next;
    void (*act)(struct guest *g);
};

static const struct step steps[GUEST_STATES][GUEST_EVENTS] = {
    [G_COLD] = {[GE_WAKE] = {G_RUNNING, dispatch},
                [GE_SLEEP] = {G_COLD, NULL},
                [GE_RESUME] = {G_ASLEEP, NULL},
                [GE_RENEW] = {G_COLD, renewed},
                [GE_STOP] = {G_GONE, gone}},
    [G_ASLEEP] = {[GE_WAKE] = {G_RUNNING, dispatch},
                  [GE_SLEEP] = {G_ASLEEP, NULL},
                  [GE_RENEW] = {G_COLD, renewed},
                  [GE_STOP] = {G_GONE, gone}},
    [G_RUNNING] = {[GE_WAKE] = {G_RUNNING, NULL},
                   [GE_DONE] = {G_IDLE, handled},
                   [GE_WOKEN] = {G_IDLE, woken},
                   [GE_SLEPT] = {G_ASLEEP, handled_and_slept},
                   [GE_TRAP] = {G_FAILED, trapped},
                   [GE_CORRUPT] = {G_COLD, corrupt},
                   [GE_NO_ROOM] = {G_FAILED, no_room},
                   [GE_KEPT] = {G_IDLE, no_room_awake},
                   [GE_SLEEP] = {G_RUNNING, NULL},
                   [GE_STOP] = {G_STOPPING, NULL}},
    [G_IDLE] = {[GE_WAKE] = {G_RUNNING, dispatch},
                [GE_SLEEP] = {G_SAVING, save},
                [GE_STOP] = {G_STOPPING, save}},
    [G_SAVING] = {[GE_WAKE] = {G_SAVING, abandon},
                  [GE_SAVED] = {G_ASLEEP, slept},
                  [GE_KEPT] = {G_IDLE, kept},
                  [GE_CORRUPT] = {G_COLD, corrupt},
                  [GE_SLEEP] = {G_SAVING, NULL},
                  [GE_STOP] = {G_STOPPING, NULL}},
    [G_FAILED] = {[GE_WAKE] = {G_FAILED, NULL},
                  [GE_RETRY] = {G_COLD, retry},
                  [GE_REVIVE] = {G_ASLEEP, retry},
                  [GE_RENEW] = {G_COLD, renewed},
                  [GE_SLEEP] = {G_FAILED, NULL},
                  [GE_STOP] = {G_GONE, gone}},
    [G_STOPPING] = {[GE_WAKE] = {G_STOPPING, NULL},
                    [GE_DONE] = {G_STOPPING, stop_handled},
                    [GE_WOKEN] = {G_STOPPING, stop_woken},
                    [GE_SLEPT] = {G_GONE, stop_slept},
                    [GE_TRAP] = {G_GONE, stop_trapped},
                    [GE_CORRUPT] = {G_GONE, stop_corrupt},
                    [GE_NO_ROOM] = {G_GONE, stop_corrupt},
                    [GE_SAVED] = {G_GONE, stop_saved},
                    [GE_KEPT] = {G_STOPPING, stop_kept},
                    [GE_SLEEP] = {G_STOPPING, NULL},
                    [GE_STOP] = {G_STOPPING, NULL}},
    [G_GONE] =
        {[GE_WAKE] = {G_GONE, NULL}, [GE_SLEEP] = {G_GONE, NULL}, [GE_STOP] = {G_GONE, NULL}},
};

enum guest_state guest_next_state(enum guest_state from, enum guest_event ev)
{
    return steps[from][ev].next;
}

void guest_step(struct guest *g, enum guest_event ev)
{
    assert(!g->stepping);
    g->stepping = true;
    while (ev != GE_NONE) {
        const struct step *s = &steps[g->state][ev];

        assert(s->next != 0);
        g->all->stats.by_state[g->state]--;
        g->all->stats.by_state[s->next]++;
        g->state = s->next; /* the only assignment in the program */
        if (g->all->opts.observe)
            g->all->opts.observe(g->all->opts.ctx, g, ev);
        if (s->act)
            s->act(g);
        if (g->all->opts.after)
            g->all->opts.after(g->all->opts.ctx, g, ev);
        ev = g->posted;
        g->posted = GE_NONE;
    }
    g->stepping = false;
    if (g->change)
        guest_change_moved(g);
}

void guest_kick(struct guest *g)
{
    /* Its worker must not keep it to itself until the next tick. */
    if (g->state == G_RUNNING) {
        atomic_store(&g->awake->abandon, true);
        worker_hurry(g->all->workers[g->awake->worker_at]);
    }
    /* While it is stepping, the action looks at the mailbox itself at its end. */
    if (g->stepping || g->state == G_RUNNING || g->state == G_GONE || g->state == G_STOPPING)
        return;
    if (g->hold || g->all->draining || !is_wanted(g))
        arm(g);
    else if (budget_admit(g))
        guest_step(g, GE_WAKE);
    else
        loop_timer_clear(g->all->opts.loop, &g->timer);
}
