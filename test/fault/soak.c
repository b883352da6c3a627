/* Ledger guests for as long as one likes: changes at random, sleeps that are forced, faults of
 * disk, database and memory, slow disks, ends and kills, start after start on one state directory.
 *
 *   soak [--seconds N] [--kills N] [--guests N] [--check-every N] [--seed N]
 *
 * A child process lives each life; now and then this one does, without faults, and looks: every
 * change was handled, every ledger found its memory whole at each event and remembers what it
 * handled, and the arena holds no more than twice what is live and 64 MiB. It ends after that many
 * seconds or kills, with a line of counts; its exit status is 0 only if all that held.
 */
#include "fault/seam.h"
#include "support/fault_disk.h"
#include "support/ledger_rig.h"

#include "base/limits.h"
#include "engine/arena.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define KEYS        2u
#define SLOW_BYTES  (20u * 1000 * 1000) /* a second, of a slow disk */
#define EXTRA_PAGES (64u * MIB / PAGE_BYTES)
#define ENDED       0

/* In memory that all lives share. */
static struct shared {
    struct ledgers ledgers;
    struct guest_counts counts; /* of lives that said so */
    uint64_t faults, changes;
} * shared;
static struct ledgers *l;
static int shared_fd;

static struct {
    unsigned seconds, kills, guests, check_every, seed;
} opts = {.seconds = 60, .kills = 0, .guests = 40, .check_every = 8};

static unsigned below(unsigned n)
{
    return (unsigned)rand_r(&opts.seed) % n;
}

/* --- a life of the child --- */

static struct fault_disk disk;
static struct timer moment;
static bool slow;

static ssize_t slow_pwritev(void *ctx, int fd, const struct iovec *iov, int n, off_t offset)
{
    ssize_t len = fault_pwritev(ctx, fd, iov, n, offset);

    if (slow && len > 0)
        usleep((useconds_t)((uint64_t)len * 1000000 / SLOW_BYTES));
    return len;
}

static void fault_begin(void)
{
    static const int errors[] = {EIO, ENOSPC, EROFS};
    unsigned kind = below(3);
    bool sticky = below(2) != 0;

    if (kind == 0) {
        atomic_store(&disk.calls, 0);
        atomic_store(&disk.fired, 0);
        disk.sticky = sticky;
        disk.sys = errors[below(3)];
        disk.nth = 1 + below(30);
    } else if (kind == 1) {
        seam_arm(SEAM_DB, 1 + below(20), sticky, errors[below(3)]);
    } else {
        seam_arm(SEAM_ALLOC, 1 + below(200), sticky, ENOMEM);
    }
}

static void fault_end(void)
{
    shared->faults +=
        atomic_exchange(&disk.fired, 0) + seam_fired(SEAM_DB) + seam_fired(SEAM_ALLOC);
    disk.nth = 0;
    seam_arm(SEAM_DB, 0, false, 0);
    seam_arm(SEAM_ALLOC, 0, false, 0);
}

static void change_one(void)
{
    shared->changes++;
    ledgers_change(l, l->guests[below((unsigned)l->n)], below(KEYS));
}

static void at_moment(struct timer *t)
{
    for (unsigned n = below(6); n > 0; n--)
        change_one();
    guest_sleep_now(l->guests[below((unsigned)l->n)]);
    if (below(12) == 0)
        fault_begin();
    else if (below(6) == 0)
        fault_end();
    if (loop_timer_set(l->rig.loop, t, clock_now_ns() + below(3 * NS_PER_MS), NULL) < 0)
        abort(); /* it was set: there is room */
}

static void add_all(void)
{
    for (unsigned i = 0; i < opts.guests; i++)
        ledgers_add(l, i % 8 ? 1 : 2, i % 5 ? 8 : 300, NULL);
}

static bool its_time(struct rig *r, void *ctx)
{
    const uint64_t *end = ctx;

    (void)r;
    return clock_now_ns() >= *end;
}

static void counts_add(void)
{
    const struct guest_counts *c = &guests_stats(l->rig.guests)->counts;

    shared->counts.wakes += c->wakes;
    shared->counts.sleeps += c->sleeps;
    shared->counts.events += c->events;
    shared->counts.fresh_starts += c->fresh_starts;
    shared->counts.abandoned += c->abandoned;
    shared->counts.failures += c->failures;
}

/* Until it is killed, or for so long. */
static int child_life(unsigned ms)
{
    uint64_t end = clock_now_ns() + ms * NS_PER_MS;

    fault_disk_init(&disk);
    disk.disk.pwritev = slow_pwritev;
    slow = below(4) == 0;
    l->rig.disk = &disk.disk;
    ledgers_open(l, 2, true);
    add_all();
    moment.fire = at_moment;
    at_moment(&moment);
    rig_run(&l->rig, its_time, &end, ms / 1000 + 2);
    loop_timer_clear(l->rig.loop, &moment);
    fault_end();
    counts_add();
    ledgers_close(l);
    return ENDED;
}

static pid_t child(unsigned ms)
{
    char fd[16], guests[16], seed[16], life[16];
    pid_t pid = fork();

    if (pid == 0) {
        snprintf(fd, sizeof(fd), "%d", shared_fd);
        snprintf(guests, sizeof(guests), "%u", opts.guests);
        snprintf(seed, sizeof(seed), "%u", opts.seed);
        snprintf(life, sizeof(life), "%u", ms);
        execl("/proc/self/exe", "life", "--life", life, "--shared", fd, "--guests", guests,
              "--seed", seed, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* --- looking --- */

static void change_all(bool anew)
{
    for (size_t i = 0; i < l->n; i++) {
        for (unsigned k = 0; k < KEYS; k++) {
            char key[96], body[sizeof(l->rig.objects[0].body)] = "";

            snprintf(key, sizeof(key), "test/%s-%u", l->guests[i]->spec->name, k);
            for (size_t o = 0; !anew && o < l->rig.nobjects; o++)
                if (!strcmp(l->rig.objects[o].key, key))
                    memcpy(body, l->rig.objects[o].body, sizeof(body));
            if (anew)
                ledgers_change(l, l->guests[i], k);
            else
                rig_change(&l->rig, l->guests[i], key, body);
        }
    }
    ledgers_settle(l);
}

/* Each object once more, as it is: who remembers it counts a repeat, and nothing else. */
static void check_remembered(void)
{
    static struct book was[LEDGERS_MAX];

    for (size_t i = 0; i < l->n; i++)
        was[i] = *book_of(l, l->guests[i]->id);
    change_all(false);
    for (size_t i = 0; i < l->n; i++) {
        const struct book *b = book_of(l, l->guests[i]->id);

        if (b->events != was[i].events || b->repeats != was[i].repeats + KEYS)
            fail_msg("%s: events %lld after %lld, repeats %lld after %lld", b->id, b->events,
                     was[i].events, b->repeats, was[i].repeats);
    }
}

/* What the daemon does each second, until it holds no more than so much, or for five. */
static uint64_t held_at_rest(uint64_t most)
{
    const uint64_t end = clock_now_ns() + 5 * NS_PER_S;
    struct arena_stats st;

    for (;;) {
        arena_stats(l->rig.arena, &st);
        if (st.held_pages <= most || clock_now_ns() > end)
            return st.held_pages;
        guests_rest(l->rig.guests);
        usleep(10000);
    }
}

static void check_arena(void)
{
    uint64_t live = 0, held;

    db_idle(l->rig.db);
    for (size_t i = 0; i < l->n; i++)
        for (uint16_t k = 0; l->guests[i]->snapshot && k < l->guests[i]->snapshot->nslots; k++)
            live += snapshot_slots(l->guests[i]->snapshot)[k].live;
    held = held_at_rest(2 * live + EXTRA_PAGES);
    if (held > 2 * live + EXTRA_PAGES)
        fail_msg("the arena holds %" PRIu64 " pages, %" PRIu64 " are live", held, live);
}

static void look(void)
{
    l->rig.disk = NULL;
    ledgers_open(l, 2, true);
    add_all();
    change_all(true);
    ledgers_check_handled(l);
    for (size_t i = 0; i < l->n; i++)
        ledgers_check_whole(l, l->guests[i]);
    check_remembered();
    check_arena();
    counts_add();
    ledgers_close(l);
}

/* --- the whole --- */

static struct {
    unsigned lives, kills, ends, looks;
} done;

static void live_once(void)
{
    unsigned ms = 50 + below(400);
    bool kills = below(10) < 7;
    pid_t pid = child(kills ? 60000 : ms);
    int status;

    if (pid < 0) {
        perror("soak: fork");
        exit(1);
    }
    if (kills) {
        usleep((ms + opts.guests / 2) * 1000);
        kill(pid, SIGKILL);
    }
    if (waitpid(pid, &status, 0) != pid || (!kills && status != 0) ||
        (kills && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))) {
        fprintf(stderr, "soak: a life ended with status %d\n", status);
        exit(1);
    }
    done.lives++;
    done.kills += kills;
    done.ends += !kills;
}

static int soak(void)
{
    uint64_t end = clock_now_ns() + opts.seconds * NS_PER_S;

    look(); /* the guests' first start */
    while (opts.kills ? done.kills < opts.kills : clock_now_ns() < end) {
        live_once();
        if (done.lives % opts.check_every == 0) {
            look();
            done.looks++;
        }
    }
    look();
    done.looks++;
    printf("soak: %u guests, %u lives: %u killed, %u ended; looked at %u times: all is well\n"
           "soak: %" PRIu64 " changes, %" PRIu64 " calls failed; at least %" PRIu64
           " events, %" PRIu64 " wakes, %" PRIu64 " sleeps, %" PRIu64 " fresh starts\n",
           opts.guests, done.lives, done.kills, done.ends, done.looks, shared->changes,
           shared->faults, shared->counts.events, shared->counts.wakes, shared->counts.sleeps,
           shared->counts.fresh_starts);
    return 0;
}

static int map_shared(void)
{
    void *at = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);

    if (at == MAP_FAILED)
        return -1;
    shared = at;
    l = &shared->ledgers;
    return 0;
}

static int first_process(void)
{
    int rc;

    shared_fd = memfd_create("soak", 0);
    if (shared_fd < 0 || ftruncate(shared_fd, sizeof(*shared)) < 0 || map_shared() < 0 ||
        tmp_dir_make(&l->dir) < 0) {
        perror("soak");
        return 1;
    }
    printf("soak: seed %u, in %s\n", opts.seed, l->dir.path);
    fflush(stdout);
    rc = soak();
    tmp_dir_remove(&l->dir);
    return rc;
}

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
    static const struct option long_opts[] = {
        {"seconds", required_argument, NULL, 's'}, {"kills", required_argument, NULL, 'k'},
        {"guests", required_argument, NULL, 'g'},  {"check-every", required_argument, NULL, 'c'},
        {"seed", required_argument, NULL, 'r'},    {"life", required_argument, NULL, 'l'},
        {"shared", required_argument, NULL, 'f'},  {NULL, 0, NULL, 0}};
    unsigned life = 0;
    int c;

    opts.seed = (unsigned)clock_now_ns();
    while ((c = getopt_long(argc, argv, "", long_opts, NULL)) != -1) {
        if (c == 's')
            opts.seconds = number(optarg);
        else if (c == 'k')
            opts.kills = number(optarg);
        else if (c == 'g')
            opts.guests = number(optarg);
        else if (c == 'c')
            opts.check_every = number(optarg);
        else if (c == 'r')
            opts.seed = number(optarg);
        else if (c == 'l')
            life = number(optarg);
        else if (c == 'f')
            shared_fd = (int)strtol(optarg, NULL, 10);
        else
            return 2;
    }
    if (!opts.guests || opts.guests > LEDGERS_MAX || opts.guests * KEYS > RIG_OBJECTS ||
        !opts.check_every)
        return 2;
    setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failing assertion ends the process there */
    /* In a life with faults each of them is a line or many. */
    log_init(LOG_ERROR, "text");
    if (!life)
        return first_process();
    if (!getenv("SOAK_LOG"))
        dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
    return map_shared() < 0 ? 1 : child_life(life);
}
