/* kill_driver [--kills N] [--seed N]: a ring of operators and ten ledgers under steady changes, and
 * the daemon killed at random moments, start-up included. At the end: every value went round the
 * ring, every ledger has seen the last version of its object with the memory that it began with,
 * and the guests that had nothing to do were never woken.
 */
#include "e2e.h"

#include "base/clock.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPERATORS    10
#define LEDGERS      10
#define BYSTANDERS   3 /* of them: nothing of theirs ever changes */
#define LIFE_MS_MAX  700u
#define LOOK_EVERY   5 /* lives, until one is looked at before it is killed */
#define QUIET_ROUNDS 3

struct kill {
    struct e2e e;
    unsigned kills, seed;
    long long nonce[LEDGERS], rounds, changes;
    char version[LEDGERS][64]; /* the last that was made */
    struct account first[LEDGERS];
};

static bool busy(unsigned i)
{
    return i >= BYSTANDERS;
}

static const char *place(unsigned i)
{
    static char name[4][32];
    static unsigned turn;
    char *out = name[turn++ % 4];

    snprintf(out, sizeof(name[0]), "ledger-%u", i);
    return out;
}

static const char *id(unsigned i)
{
    static char name[4][64];
    static unsigned turn;
    char *out = name[turn++ % 4];

    snprintf(out, sizeof(name[0]), "ledger-%u/l", i);
    return out;
}

/* --- changes --- */

static bool change(struct kill *k, unsigned i)
{
    k->changes++;
    return CHECK(&k->e, e2e_touch(&k->e, place(i), "a", ++k->nonce[i], k->version[i]), "%s",
                 k->e.err.msg);
}

/* Some changes, one after the other, for so long; the ring's next round whenever one is over. */
static void restless(struct kill *k, unsigned ms)
{
    struct ring *r = &k->e.ring;
    uint64_t until = clock_now_ns() + ms * NS_PER_MS;

    while (clock_now_ns() < until && !r->interrupted && k->e.good) {
        if (r->nonce[r->n - 1] == r->round) {
            r->round++;
            k->rounds++;
            CHECK(&k->e, e2e_touch(&k->e, "ring-0", "ball", r->round, NULL), "%s", k->e.err.msg);
        }
        change(k, BYSTANDERS + (unsigned)rand_r(&k->seed) % (LEDGERS - BYSTANDERS));
        ring_rest(r, 1 + (unsigned)rand_r(&k->seed) % 8);
    }
}

/* --- what must be --- */

static bool ring_is_round(struct e2e *e, void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < e->ring.n; i++)
        if (e->ring.nonce[i] != e->ring.round)
            return false;
    return true;
}

static bool ledgers_are_done(struct e2e *e, void *ctx)
{
    const struct kill *k = ctx;
    struct account a;

    for (unsigned i = 0; i < LEDGERS; i++)
        if (!e2e_account(e, place(i), "l", &a) || strcmp(a.version, k->version[i]) != 0)
            return false;
    return true;
}

static bool all_at_rest(struct e2e *e, void *ctx)
{
    json_t *stats = e2e_admin(e, "/v1/stats", NULL), *states = json_object_get(stats, "states");
    long long asleep = json_integer_value(json_object_get(states, "Asleep"));

    (void)ctx;
    json_decref(stats);
    return asleep == OPERATORS + LEDGERS;
}

static void settle(struct kill *k)
{
    struct e2e *e = &k->e;

    if (!CHECK(e, e2e_wait(e, ring_is_round, k), "value %lld is not everywhere", e->ring.round))
        for (unsigned i = 0; i < e->ring.n; i++)
            fprintf(stderr, "  ring-%u has %lld\n", i, e->ring.nonce[i]);
    CHECK(e, e2e_wait(e, ledgers_are_done, k), "not every ledger has its last version");
    CHECK(e, e2e_wait(e, all_at_rest, k), "not all are asleep");
}

/* Errors, starts and boot of each. */
static void check_accounts(struct kill *k)
{
    for (unsigned i = 0; i < LEDGERS; i++) {
        struct account a;

        if (!CHECK(&k->e, e2e_account(&k->e, place(i), "l", &a), "%s: %s", id(i), k->e.err.msg))
            continue;
        CHECK(&k->e, a.errors == 0 && a.starts == 1, "%s: errors %lld, starts %lld", id(i),
              a.errors, a.starts);
        CHECK(&k->e, strcmp(a.boot, k->first[i].boot) == 0, "%s: boot %s, at first %s", id(i),
              a.boot, k->first[i].boot);
        CHECK(&k->e, strcmp(a.version, k->version[i]) == 0, "%s: version %s, the last is %s", id(i),
              a.version, k->version[i]);
        CHECK(&k->e, a.events >= k->first[i].events && a.events <= k->nonce[i],
              "%s: %lld events of %lld versions", id(i), a.events, k->nonce[i]);
        if (!busy(i))
            CHECK(&k->e, a.events == 1 && a.repeats == 0, "%s: %lld events", id(i), a.events);
    }
}

/* What the daemon of this life says: nobody started afresh, nobody was woken without need. */
static void check_life(struct kill *k)
{
    int status = 0;
    json_t *doc = e2e_admin(&k->e, "/v1/guests", &status), *guest;
    const json_t *items = json_object_get(doc, "items");
    size_t n;

    CHECK(&k->e, json_array_size(items) == OPERATORS + LEDGERS, "status %d", status);
    json_array_foreach(items, n, guest)
    {
        const char *namespace = json_string_value(json_object_get(guest, "namespace"));
        long long fresh = json_integer_value(json_object_get(guest, "freshStarts"));
        long long wakes = json_integer_value(json_object_get(guest, "wakes"));
        long long traps = json_integer_value(json_object_get(guest, "traps"));
        bool ledger = strncmp(namespace, "ledger-", 7) == 0;

        CHECK(&k->e, fresh == 0 && traps == 0, "%s: %lld fresh starts, %lld traps: %s", namespace,
              fresh, traps, json_string_value(json_object_get(guest, "lastError")));
        if (ledger && !busy((unsigned)strtoul(namespace + 7, NULL, 10)))
            CHECK(&k->e, wakes == 0, "%s: woken %lld times", namespace, wakes);
    }
    json_decref(doc);
}

/* --- cases --- */

static void set_up(struct kill *k)
{
    struct e2e *e = &k->e;
    char module[1024];

    build_path(module, sizeof(module), "guests/ring.wasm");
    CHECK(e, ring_manifests(&e->ring, e->guests, module, &e->err) == 0, "%s", e->err.msg);
    for (unsigned i = 0; i < LEDGERS; i++) {
        CHECK(e, e2e_namespace(e, place(i)) && e2e_grant(e, place(i), place(i)), "%s", e->err.msg);
        CHECK(e, e2e_ledger(e, place(i), "l", place(i), ""), "manifest");
        change(k, i);
    }
    CHECK(e, ring_watch(&e->ring, &e->err) == 0, "%s", e->err.msg);
}

/* A first life that ends well: all have their memory on disk. */
static void first_life(struct kill *k)
{
    struct e2e *e = &k->e;

    e2e_case(e, "kill_setup");
    set_up(k);
    if (e->good && e2e_start(e, true)) {
        e->ring.round = 1;
        CHECK(e, e2e_touch(e, "ring-0", "ball", 1, NULL), "%s", e->err.msg);
        settle(k);
        for (unsigned i = 0; i < LEDGERS; i++) {
            e2e_account(e, place(i), "l", &k->first[i]);
            CHECK(e, k->first[i].starts == 1 && k->first[i].events == 1, "%s: %lld events", id(i),
                  k->first[i].events);
        }
        CHECK(e, e2e_stop(e) == 0, "exit status");
    }
    e2e_done(e);
}

static void lives(struct kill *k)
{
    struct e2e *e = &k->e;

    e2e_case(e, "kill_at_random_moments");
    for (unsigned n = 1; n <= k->kills && e->good && !e->ring.interrupted; n++) {
        if (!e2e_start(e, n % LOOK_EVERY == 0))
            break;
        restless(k, (unsigned)rand_r(&k->seed) % LIFE_MS_MAX);
        if (n % LOOK_EVERY == 0)
            check_life(k);
        e2e_kill(e);
        if (n % 10 == 0)
            fprintf(stderr, "kill: %u of %u; round %lld of the ring, %lld changes of ledgers\n", n,
                    k->kills, e->ring.round, k->changes);
    }
    e2e_done(e);
}

static void last_life(struct kill *k)
{
    struct e2e *e = &k->e;

    e2e_case(e, "kill_end_state");
    if (e2e_start(e, true)) {
        settle(k);
        check_accounts(k);
        check_life(k);
    }
    e2e_done(e);
}

/* The guests are as good as before: each change is one event. */
static void quiet_rounds(struct kill *k)
{
    struct e2e *e = &k->e;

    e2e_case(e, "kill_then_each_change_is_one_event");
    for (unsigned n = 0; n < QUIET_ROUNDS && e->good; n++) {
        struct account before[LEDGERS], after;
        uint64_t took;

        for (unsigned i = 0; i < LEDGERS; i++)
            e2e_account(e, place(i), "l", &before[i]);
        for (unsigned i = BYSTANDERS; i < LEDGERS; i++)
            change(k, i);
        CHECK(e, ring_round(&e->ring, E2E_WAIT_S, &took, &e->err) == 0, "%s", e->err.msg);
        settle(k);
        for (unsigned i = 0; i < LEDGERS; i++) {
            e2e_account(e, place(i), "l", &after);
            CHECK(e, after.events == before[i].events + busy(i), "%s: %lld events after %lld",
                  id(i), after.events, before[i].events);
        }
    }
    check_accounts(k);
    CHECK(e, e2e_stop(e) == 0, "exit status");
    e2e_done(e);
}

static bool usage(int argc, char **argv, struct kill *k)
{
    static const struct option options[] = {
        {"kills", required_argument, NULL, 'k'}, {"seed", required_argument, NULL, 's'}, {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        unsigned long n = optarg ? strtoul(optarg, NULL, 10) : 0;

        if (c == 'k' && n > 0)
            k->kills = (unsigned)n;
        else if (c == 's')
            k->seed = (unsigned)n;
        else
            return false;
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    static struct kill k;
    unsigned kills = 10, seed = (unsigned)clock_now_ns();

    k.kills = kills;
    k.seed = seed;
    if (!usage(argc, argv, &k)) {
        fprintf(stderr, "Usage: kill_driver [--kills N] [--seed N]; $KUBECONFIG\n");
        return 2;
    }
    kills = k.kills;
    fprintf(stderr, "kill: %u times, seed %u\n", kills, k.seed);
    if (!e2e_open(&k.e, getenv("KUBECONFIG"), OPERATORS))
        return 1;
    first_life(&k);
    if (k.e.failed == 0) {
        lives(&k);
        last_life(&k);
        quiet_rounds(&k);
    }
    fprintf(stderr, "kill: round %lld of the ring, %lld changes of ledgers\n", k.e.ring.round,
            k.changes);
    return e2e_close(&k.e);
}
