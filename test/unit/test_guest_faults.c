/* Faults of what a sleeping guest is kept in: the arena's file cut off or overwritten, another
 * guest's bytes, a damaged record, pages that cannot be read while the guest runs.
 *
 * Each test has guests beside the one that is hit: they are not woken by it, and go on with all
 * that they had.
 */
#include "support/ledger_rig.h"

#include "base/hash.h"
#include "base/limits.h"
#include "engine/arena.h"

#include <fcntl.h>
#include <sys/stat.h>

#define NEIGHBOURS   3
#define FILLED_BYTES MIB /* of memory, by test/guests/pointer.c */

/* Neighbours first, so that their slots lie before the victim's. */
struct scene {
    struct ledgers *l;
    struct guest *near[NEIGHBOURS], *victim;
    struct untouched was[NEIGHBOURS];
    char boot[24]; /* the victim's */
    uint64_t fresh_before;
};

static void scene_add(struct scene *s)
{
    for (size_t i = 0; i < NEIGHBOURS; i++)
        s->near[i] = ledgers_add(s->l, 1, 64, NULL);
    s->victim = ledgers_add(s->l, 2, 64, NULL);
}

/* All have handled an event, the victim two, and are asleep. */
static void scene_open(struct scene *s, struct ledgers *l)
{
    s->l = l;
    ledgers_open(l, 2, true);
    scene_add(s);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        ledgers_round(l, s->near[i]);
    ledgers_change(l, s->victim, 1); /* one sleep after both, and so one slot */
    ledgers_round(l, s->victim);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        untouched_note(l, s->near[i], &s->was[i]);
    memcpy(s->boot, book_of(l, s->victim->id)->boot, sizeof(s->boot));
    s->fresh_before = s->victim->counts.fresh_starts;
}

/* The daemon ended well and begins again. */
static void scene_restart(struct scene *s, bool same_boot)
{
    ledgers_open(s->l, 2, same_boot);
    scene_add(s);
    s->fresh_before = 0;
    for (size_t i = 0; i < NEIGHBOURS; i++) {
        untouched_note(s->l, s->near[i], &s->was[i]);
        assert_int_equal(s->near[i]->state, G_ASLEEP);
    }
}

/* After the arena was cut off there is no room: the victim stays awake with what it has, until the
 * daemon starts again. Then its events are due once more, since they were not saved. */
static void scene_begin_anew(struct scene *s)
{
    if (!strstr(s->victim->last_error, "cut off"))
        fail_msg("last error: %s", s->victim->last_error);
    ledgers_close(s->l);
    scene_restart(s, true);
    ledgers_settle(s->l);
    assert_int_equal(s->victim->counts.fresh_starts, 1);
    assert_int_equal(s->victim->counts.events, 2);
    assert_string_equal(s->victim->last_error, "");
    ledgers_round(s->l, s->victim);
    ledgers_check_whole(s->l, s->victim);
}

static void scene_close(struct scene *s)
{
    for (size_t i = 0; i < NEIGHBOURS; i++)
        untouched_check(s->l, s->near[i], &s->was[i]);
    ledgers_check_handled(s->l);
    ledgers_close(s->l);
}

/* The victim was started afresh and handled both of its keys again. */
static void check_started_afresh(struct scene *s)
{
    const struct book *b = book_of(s->l, s->victim->id);

    assert_string_not_equal(b->boot, s->boot);
    ledgers_check_whole(s->l, s->victim);
    assert_int_equal(b->events, 2);
    assert_int_equal(s->victim->counts.fresh_starts, s->fresh_before + 1);
}

/* The same; it says why, and works. */
static void check_fresh(struct scene *s, const char *why)
{
    const struct book *b = book_of(s->l, s->victim->id);

    ledgers_settle(s->l);
    if (!strstr(s->victim->last_error, why))
        fail_msg("last error: %s", s->victim->last_error);
    check_started_afresh(s);
    for (int i = 1; i <= 3; i++) {
        ledgers_round(s->l, s->victim);
        assert_int_equal(b->events, 2 + i);
        ledgers_check_whole(s->l, s->victim);
    }
}

/* --- tools --- */

static const char *arena_path(struct ledgers *l)
{
    return tmp_file(&l->dir, "arena");
}

static const struct slot *newest(const struct guest *g)
{
    assert_non_null(g->snapshot);
    return &snapshot_slots(g->snapshot)[g->snapshot->nslots - 1];
}

/* Where the victim's largest run begins, in pages of the arena. */
static uint64_t largest_run(const struct guest *g, uint32_t *count)
{
    const struct run *runs = snapshot_runs(g->snapshot), *best = runs;

    for (uint32_t i = 1; i < g->snapshot->nruns; i++)
        if (runs[i].count > best->count)
            best = &runs[i];
    assert_true(best->count > RESTORE_READ_PAGES_MAX); /* else it is read, not mapped */
    if (count)
        *count = best->count;
    return best->offset;
}

static void arena_cut(struct ledgers *l, uint64_t page)
{
    for (size_t i = 0; i + 1 < l->n; i++) /* the last one is the victim */
        for (uint16_t k = 0; k < l->guests[i]->snapshot->nslots; k++) {
            const struct slot *slot = &snapshot_slots(l->guests[i]->snapshot)[k];

            assert_true(slot->offset + slot->pages <= page);
        }
    assert_int_equal(truncate(arena_path(l), (off_t)(page * PAGE_BYTES)), 0);
}

static void arena_write(struct ledgers *l, uint64_t page, const void *data, size_t len)
{
    int fd = open(arena_path(l), O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, (off_t)(page * PAGE_BYTES)), (ssize_t)len);
    close(fd);
}

static void arena_read(struct ledgers *l, uint64_t page, void *data, size_t len)
{
    int fd = open(arena_path(l), O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, data, len, (off_t)(page * PAGE_BYTES)), (ssize_t)len);
    close(fd);
}

/* A record as the database has it, between two lives of the rig. */
struct record {
    char id[64];
    uint8_t value[64 * 1024];
    size_t len;
};

static int record_found(void *ctx, const void *key, size_t key_len, const void *value, size_t len,
                        struct err *err)
{
    struct record *r = ctx;

    (void)err;
    if (key_len == strlen(r->id) && !memcmp(key, r->id, key_len)) {
        assert_true(len <= sizeof(r->value));
        memcpy(r->value, value, len);
        r->len = len;
    }
    return 0;
}

static struct db *database(struct ledgers *l)
{
    struct db *db;
    struct err err;

    assert_int_equal(db_open(&db, tmp_file(&l->dir, "db"), &err), 0);
    return db;
}

/* len stays as it is where there is none. */
static void record_look(struct ledgers *l, struct record *r)
{
    struct db *db = database(l);
    struct err err;

    assert_int_equal(db_scan(db, "guest", record_found, r, &err), 0);
    db_close(db);
}

static void record_get(struct ledgers *l, const char *id, struct record *r)
{
    snprintf(r->id, sizeof(r->id), "%s", id);
    r->len = 0;
    record_look(l, r);
    assert_true(r->len > 0);
}

static void record_put(struct ledgers *l, const char *id, const struct record *r)
{
    struct db *db = database(l);
    struct db_batch *batch;
    struct err err;

    assert_int_equal(db_batch_new(&batch, &err), 0);
    assert_int_equal(db_batch_put(batch, "guest", id, strlen(id), r->value, r->len, &err), 0);
    db_submit(db, batch, NULL, NULL);
    db_close(db);
}

/* --- the arena cut off --- */

static void note_corrupt(struct ledgers *l, const struct guest *g, enum guest_event ev)
{
    if (ev == GE_CORRUPT)
        snprintf(l->ctx, ERR_MSG_MAX, "%s", g->awake->err.msg);
}

static bool stays_awake(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_IDLE && g->save_delay_ns && mailbox_len(g->mailbox) == 0;
}

/* Its next event, after the file was cut off at a page; why its memory could not be had. */
static void wake_after_cut(struct scene *s, uint64_t page, const char *why)
{
    char said[ERR_MSG_MAX] = "";

    arena_cut(s->l, page);
    s->l->seen = note_corrupt;
    s->l->ctx = said;
    ledgers_change(s->l, s->victim, 0);
    if (!rig_run(&s->l->rig, stays_awake, s->victim, SETTLE_S))
        fail_msg("%s: %s", guest_state_name(s->victim->state), s->victim->last_error);
    s->l->seen = NULL;
    if (!strstr(said, why))
        fail_msg("fresh start because of: %s", said);
    check_started_afresh(s);
    scene_begin_anew(s);
}

/* The header is still there, so it wakes; then its first look at its memory is a fault. */
static void test_truncated_behind_its_header(void **state)
{
    struct scene s;

    scene_open(&s, *state);
    wake_after_cut(&s, largest_run(s.victim, NULL) + 1, "could not be read");
    scene_close(&s);
}

static void test_truncated_at_its_header(void **state)
{
    struct scene s;

    scene_open(&s, *state);
    wake_after_cut(&s, newest(s.victim)->offset, "snapshot slot at page");
    scene_close(&s);
}

static void test_truncated_while_the_daemon_was_away(void **state)
{
    struct scene s;
    uint64_t at;

    scene_open(&s, *state);
    at = snapshot_slots(s.victim->snapshot)[0].offset + 1;
    ledgers_close(s.l);
    assert_int_equal(truncate(arena_path(s.l), (off_t)(at * PAGE_BYTES)), 0);
    scene_restart(&s, true);
    check_fresh(&s, "arena");
    scene_close(&s);
}

static void test_missing_arena_after_a_restart(void **state)
{
    struct ledgers *l = *state;
    struct guest *g;
    struct book before;

    ledgers_open(l, 1, true);
    ledgers_round(l, ledgers_add(l, 1, 64, NULL));
    before = *book_of(l, "test/a0");
    ledgers_close(l);
    assert_int_equal(unlink(arena_path(l)), 0);
    ledgers_open(l, 1, true);
    g = ledgers_add(l, 1, 64, NULL);
    ledgers_settle(l);
    assert_int_equal(g->counts.events, 1); /* all keys due */
    assert_int_equal(g->counts.fresh_starts, 1);
    assert_non_null(strstr(g->last_error, "arena"));
    assert_string_not_equal(book_of(l, g->id)->boot, before.boot);
    ledgers_round(l, g);
    ledgers_check_whole(l, g);
    ledgers_close(l);
}

/* --- the arena overwritten --- */

static void test_overwritten_header(void **state)
{
    static const uint8_t nonsense[PAGE_BYTES] = {1, 2, 3};
    struct scene s;

    scene_open(&s, *state);
    arena_write(s.l, newest(s.victim)->offset, nonsense, sizeof(nonsense));
    ledgers_change(s.l, s.victim, 0);
    check_fresh(&s, "no snapshot header");
    scene_close(&s);
}

/* One bit of one data page. Within a boot that is not looked for; after another one it is. */
static void test_flipped_bit_after_another_boot(void **state)
{
    uint8_t page[PAGE_BYTES];
    struct scene s;
    uint64_t at;

    scene_open(&s, *state);
    at = largest_run(s.victim, NULL) + 3;
    ledgers_close(s.l);
    arena_read(s.l, at, page, sizeof(page));
    page[1234] ^= 0x10;
    arena_write(s.l, at, page, sizeof(page));
    scene_restart(&s, false);
    ledgers_change(s.l, s.victim, 0);
    ledgers_change(s.l, s.victim, 1);
    check_fresh(&s, "checksum");
    scene_close(&s);
}

/* Another's whole slot, of the same length, where the victim's was. */
static void test_slot_of_another_guest(void **state)
{
    struct scene s;
    const struct slot *mine, *other;
    uint8_t *slot;
    struct guest *twin;

    scene_open(&s, *state);
    twin = ledgers_add(s.l, 2, 64, NULL);
    ledgers_round(s.l, twin);
    mine = newest(s.victim);
    other = newest(twin);
    slot = calloc(other->pages, PAGE_BYTES);
    arena_read(s.l, other->offset, slot, (size_t)other->pages * PAGE_BYTES);
    arena_write(s.l, mine->offset, slot,
                (size_t)(other->pages < mine->pages ? other->pages : mine->pages) * PAGE_BYTES);
    free(slot);
    ledgers_change(s.l, s.victim, 0);
    check_fresh(&s, "another guest's");
    ledgers_round(s.l, twin);
    ledgers_check_whole(s.l, twin);
    scene_close(&s);
}

/* --- records --- */

static void test_record_of_another_guest(void **state)
{
    static struct record r;
    struct scene s;

    scene_open(&s, *state);
    ledgers_close(s.l);
    record_get(s.l, "test/a0", &r);
    record_put(s.l, "test/d0", &r);
    scene_restart(&s, true);
    ledgers_settle(s.l);
    assert_int_equal(s.victim->counts.fresh_starts, 1);
    assert_int_equal(s.victim->counts.events, 2); /* all keys are due */
    assert_string_not_equal(book_of(s.l, s.victim->id)->boot, s.boot);
    ledgers_round(s.l, s.victim);
    ledgers_check_whole(s.l, s.victim);
    scene_close(&s);
}

static void test_damaged_record(void **state)
{
    static struct record r;
    struct scene s;

    scene_open(&s, *state);
    ledgers_close(s.l);
    record_get(s.l, "test/d0", &r);
    r.value[r.len / 2] ^= 1;
    record_put(s.l, "test/d0", &r);
    scene_restart(&s, true);
    check_fresh(&s, "checksum");
    scene_close(&s);
}

static void test_record_cut_short(void **state)
{
    static struct record r;
    struct scene s;

    scene_open(&s, *state);
    ledgers_close(s.l);
    record_get(s.l, "test/d0", &r);
    r.len = 5;
    record_put(s.l, "test/d0", &r);
    scene_restart(&s, true);
    check_fresh(&s, "record of 5 bytes");
    scene_close(&s);
}

/* Each bit of a record flipped, and each length of it: refused, and nothing is claimed. With the
 * checksum made right again it is refused or sound. */
static void test_each_bit_and_length_of_a_record(void **state)
{
    static struct record r;
    struct scene s;
    struct arena_stats before, after;
    struct err err;

    scene_open(&s, *state);
    ledgers_close(s.l);
    record_get(s.l, "test/d0", &r);
    ledgers_open(s.l, 2, true); /* no guest is there: the records' places are claimed */
    arena_stats(s.l->rig.arena, &before);
    for (size_t at = 0; at < r.len; at++) {
        assert_int_equal(guest_record_claim(s.l->rig.arena, r.value, at, &err), -1);
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    for (size_t bit = 0; bit < r.len * 8; bit++) {
        r.value[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(guest_record_claim(s.l->rig.arena, r.value, r.len, &err), -1);
        assert_int_equal(err.code, ERR_CORRUPT);
        r.value[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    arena_stats(s.l->rig.arena, &after);
    assert_int_equal(before.used_pages, after.used_pages);
    for (size_t bit = 0; bit < (r.len - 8) * 8; bit++) {
        uint64_t sum;

        r.value[bit / 8] ^= (uint8_t)(1u << bit % 8);
        sum = hash_bytes(r.value, r.len - 8);
        memcpy(r.value + r.len - 8, &sum, sizeof(sum));
        if (guest_record_claim(s.l->rig.arena, r.value, r.len, &err) < 0)
            assert_int_equal(err.code, ERR_CORRUPT); /* in use, at the latest */
        r.value[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    arena_check(s.l->rig.arena);
    ledgers_close(s.l);
    scene_restart(&s, true);
    scene_close(&s);
}

/* A record that names another's place is refused and does not come back: at a later start, when
 * that place is free, it must not be taken by it. */
static void test_a_refused_record_is_removed(void **state)
{
    static struct record good, r;
    struct scene s;

    scene_open(&s, *state);
    ledgers_close(s.l);
    record_get(s.l, "test/a0", &good);
    record_put(s.l, "test/z9", &good); /* of no guest that is there */
    scene_restart(&s, true);
    ledgers_close(s.l);
    snprintf(r.id, sizeof(r.id), "test/z9");
    r.len = 0;
    record_look(s.l, &r);
    assert_int_equal(r.len, 0);
    scene_restart(&s, true);
    scene_close(&s);
}

/* In each boot the pages are checked once for each guest, whenever the others wake. */
static void test_each_record_knows_its_boot(void **state)
{
    struct scene s;

    scene_open(&s, *state);
    ledgers_close(s.l);
    scene_restart(&s, false);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        assert_true(s.near[i]->verify);
    ledgers_round(s.l, s.victim); /* it alone wakes, and is checked */
    assert_false(s.victim->verify);
    ledgers_close(s.l);
    scene_restart(&s, true);
    assert_false(s.victim->verify);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        assert_true(s.near[i]->verify);
    scene_close(&s);
}

/* --- guests that are not there --- */

static int64_t days_later;

static int64_t later(void *ctx)
{
    (void)ctx;
    return clock_real.wall_ms(ctx) + days_later * 24 * 3600 * 1000;
}

static void restart_without_victim(struct scene *s, int64_t days)
{
    ledgers_open(s->l, 2, true);
    days_later = days;
    s->l->rig.guests->opts.clock.wall_ms = later;
    for (size_t i = 0; i < NEIGHBOURS; i++)
        s->near[i] = ledgers_add(s->l, 1, 64, NULL);
    guests_forget_absent(s->l->rig.guests, true);
    db_idle(s->l->rig.db);
}

static uint64_t pages_used(struct ledgers *l)
{
    struct arena_stats st;

    arena_stats(l->rig.arena, &st);
    return st.used_pages;
}

/* Its record and its place are kept for a week after it was first missing, and then are not. */
static void test_guest_that_does_not_come_back(void **state)
{
    static struct record r;
    struct scene s;
    uint64_t before;

    scene_open(&s, *state);
    before = pages_used(s.l);
    ledgers_close(s.l);
    for (int64_t day = 0; day < 7; day += 3) {
        restart_without_victim(&s, day);
        assert_int_equal(pages_used(s.l), before);
        ledgers_close(s.l);
    }
    restart_without_victim(&s, 8);
    assert_true(pages_used(s.l) < before);
    ledgers_close(s.l);
    snprintf(r.id, sizeof(r.id), "test/d0");
    r.len = 0;
    record_look(s.l, &r);
    assert_int_equal(r.len, 0);
    scene_restart(&s, true);
    ledgers_settle(s.l);
    assert_int_equal(s.victim->counts.fresh_starts, 1);
    scene_close(&s);
}

/* --- another module, another environment --- */

static void greeting(struct guest_spec *spec)
{
    free(spec->env[0].value);
    spec->env[0].value = strdup("4711");
}

/* The manifest's environment changes and, later, changes back. In between nothing of the guest
 * happens, so nothing of it is written; but others sleep, and they must not do so in the place of
 * what the old record still points to. */
static void test_environment_changed_and_changed_back(void **state)
{
    struct scene s;

    scene_open(&s, *state);
    ledgers_close(s.l);

    ledgers_open(s.l, 2, true);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        s.near[i] = ledgers_add(s.l, 1, 64, NULL);
    s.victim = rig_add(
        &s.l->rig, "ledger", "d0",
        (const char *const[]){"SEED=4", "MEMORY_MIB=2", "DIRTY_KIB=64", "GROW_EVERY=3", NULL},
        greeting);
    assert_non_null(s.victim);
    assert_int_equal(s.victim->state, G_COLD); /* another environment: nothing of the old one */
    for (size_t i = 0; i < NEIGHBOURS; i++)
        for (int k = 0; k < 8; k++)
            ledgers_round(s.l, s.near[i]);
    ledgers_close(s.l);

    scene_restart(&s, true);
    ledgers_settle(s.l);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        assert_string_equal(s.near[i]->last_error, "");
    ledgers_round(s.l, s.victim);
    ledgers_check_whole(s.l, s.victim);
    scene_close(&s);
}

/* A manifest is away for one life of the daemon (a slip in its file, say), and back in the next. */
static void test_guest_that_was_away_resumes(void **state)
{
    struct scene s;
    struct ledgers *l = *state;
    long long events;

    scene_open(&s, l);
    events = book_of(l, s.victim->id)->events;
    ledgers_close(l);

    ledgers_open(l, 2, true);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        s.near[i] = ledgers_add(l, 1, 64, NULL);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        for (int k = 0; k < 8; k++)
            ledgers_round(l, s.near[i]);
    ledgers_close(l);

    ledgers_open(l, 2, true);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        s.near[i] = ledgers_add(l, 1, 64, NULL);
    s.victim = ledgers_add(l, 2, 64, NULL);
    for (size_t i = 0; i < NEIGHBOURS; i++) {
        assert_int_equal(s.near[i]->state, G_ASLEEP);
        assert_string_equal(s.near[i]->last_error, "");
        untouched_note(l, s.near[i], &s.was[i]);
    }
    assert_int_equal(s.victim->state, G_ASLEEP);
    ledgers_round(l, s.victim);
    assert_int_equal(book_of(l, s.victim->id)->events, events + 1);
    assert_string_equal(book_of(l, s.victim->id)->boot, s.boot);
    ledgers_check_whole(l, s.victim);
    scene_close(&s);
}

/* --- faults while it is awake --- */

static void lies_awake(struct guest_spec *spec)
{
    spec->sleep_after_ns = 3600 * NS_PER_S;
}

static bool is_idle(struct rig *r, void *ctx)
{
    const struct guest *g = ctx;

    (void)r;
    return g->state == G_IDLE && mailbox_len(g->mailbox) == 0;
}

/* Runs one event of a guest that stays awake afterwards. */
static void awake_round(struct ledgers *l, struct guest *g, const char *key)
{
    rig_change(&l->rig, g, key, "{\"metadata\":{\"resourceVersion\":\"1\"}}");
    if (!rig_run(&l->rig, is_idle, g, SETTLE_S))
        fail_msg("%s: %s, %s", g->id, guest_state_name(g->state), g->last_error);
}

static void go_to_sleep(struct ledgers *l, struct guest *g)
{
    guest_sleep_now(g);
    if (!rig_settle(&l->rig, g, SETTLE_S))
        fail_msg("%s: %s, %s", g->id, guest_state_name(g->state), g->last_error);
}

/* `pointer` was woken by mapping its snapshot, lies awake, and has not looked at its memory. Events
 * of the neighbours come first, so that their slots lie before. */
static struct guest *mapped(struct scene *s, struct ledgers *l)
{
    struct guest *g;

    s->l = l;
    ledgers_open(l, 2, true);
    for (size_t i = 0; i < NEIGHBOURS; i++) {
        s->near[i] = ledgers_add(l, 1, 64, NULL);
        ledgers_round(l, s->near[i]);
        untouched_note(l, s->near[i], &s->was[i]);
    }
    g = rig_add(&l->rig, "pointer", "pointer", NULL, lies_awake);
    assert_non_null(g);
    awake_round(l, g, "test/fill-1");
    go_to_sleep(l, g);
    awake_round(l, g, "test/wake-1");
    assert_int_equal(g->counts.wakes, 1);
    return g;
}

static void arena_cut_under(struct ledgers *l, const struct guest *g)
{
    uint32_t count = 0;
    uint64_t page = largest_run(g, &count);

    /* The guest's big piece of memory is the end of the run. */
    page += count - FILLED_BYTES / PAGE_BYTES + 1;
    l->guests[l->n++] = NULL;
    arena_cut(l, page);
    l->n--;
}

/* The fault ends the event; all keys are due again, by a fresh start, whose memory is empty. */
static void faults(struct ledgers *l, const char *key)
{
    struct scene s;
    struct guest *g = mapped(&s, l);

    arena_cut_under(l, g);
    awake_round(l, g, key);
    if (!strstr(g->last_error, "could not be read"))
        fail_msg("last error: %s", g->last_error);
    assert_int_equal(g->counts.fresh_starts, 2);
    assert_int_equal(g->counts.failures, 0);
    assert_int_equal(g->counts.traps, 0);
    /* What stands in for the damaged bytes was not sent: no call, or one whose body did not go on.
     */
    assert_int_equal(book_of(l, g->id)->reports, strstr(key, "write") != NULL);
    assert_int_equal(l->written, 0);
    awake_round(l, g, "test/fill-2");
    awake_round(l, g, "test/look-1");
    assert_int_equal(g->counts.failures, 0);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        assert_int_equal(s.near[i]->counts.wakes, s.was[i].wakes);
    ledgers_close(l);

    ledgers_open(l, 2, true);
    for (size_t i = 0; i < NEIGHBOURS; i++) {
        s.near[i] = ledgers_add(l, 1, 64, NULL);
        assert_int_equal(s.near[i]->state, G_ASLEEP);
        untouched_note(l, s.near[i], &s.was[i]);
    }
    g = rig_add(&l->rig, "pointer", "pointer", NULL, lies_awake);
    assert_non_null(g);
    awake_round(l, g, "test/fill-1");
    go_to_sleep(l, g);
    awake_round(l, g, "test/look-1");
    assert_int_equal(g->counts.failures, 0);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        untouched_check(l, s.near[i], &s.was[i]);
    ledgers_close(l);
}

static void test_fault_in_guest_code(void **state)
{
    faults(*state, "test/sum-1");
}

static void test_fault_in_a_log_line(void **state)
{
    faults(*state, "test/log-1");
}

static void test_fault_in_a_calls_body(void **state)
{
    faults(*state, "test/call-1");
}

static void test_fault_in_more_of_a_calls_body(void **state)
{
    faults(*state, "test/write-1");
}

static void test_fault_where_an_answer_goes(void **state)
{
    faults(*state, "test/read-1");
}

static void test_fault_where_random_numbers_go(void **state)
{
    faults(*state, "test/random-1");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, ledgers_setup, ledgers_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_truncated_behind_its_header),
        TEST(test_truncated_at_its_header),
        TEST(test_truncated_while_the_daemon_was_away),
        TEST(test_missing_arena_after_a_restart),
        TEST(test_overwritten_header),
        TEST(test_flipped_bit_after_another_boot),
        TEST(test_slot_of_another_guest),
        TEST(test_record_of_another_guest),
        TEST(test_damaged_record),
        TEST(test_record_cut_short),
        TEST(test_each_bit_and_length_of_a_record),
        TEST(test_a_refused_record_is_removed),
        TEST(test_each_record_knows_its_boot),
        TEST(test_guest_that_does_not_come_back),
        TEST(test_environment_changed_and_changed_back),
        TEST(test_guest_that_was_away_resumes),
        TEST(test_fault_in_guest_code),
        TEST(test_fault_in_a_log_line),
        TEST(test_fault_in_a_calls_body),
        TEST(test_fault_in_more_of_a_calls_body),
        TEST(test_fault_where_an_answer_goes),
        TEST(test_fault_where_random_numbers_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
