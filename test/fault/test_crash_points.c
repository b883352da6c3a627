/* The process ends before or after each write and sync of sleeps and of their commit; or the whole
 * machine does, and of what was not synced all or a part is gone.
 *
 * A child process lives such a life on a copy of one state directory, up to the N-th of those
 * calls. There it takes back what was not synced (where the machine is to go down), and is gone.
 * The next life must then find of each guest one of its own consistent states: its ledger finds
 * each byte as it was, and for every change it either remembers that it handled it, or is told of
 * it again. (A sleep and a commit rename nothing.)
 */
#include "fault/seam.h"
#include "support/ledger_rig.h"

#include "base/limits.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define GUESTS     2u
#define KEYS       2u
#define WRITES_MAX 4096u
#define CRASHED    7
#define WHOLE      0

enum lost { NOTHING, ALL, SOME }; /* of what was not synced */

static int shared_fd;
static struct ledgers *l; /* in memory that child and parent share */

/* --- the child: calls are counted, writes can be taken back --- */

struct undo {
    int fd;
    off_t offset;
    size_t len;
    uint8_t *was;
    ino_t file;
};

static struct {
    pthread_mutex_t lock;
    unsigned calls, at;
    bool after;
    enum lost lost;
    unsigned seed;
    struct undo undo[WRITES_MAX];
    size_t n;
} crash = {.lock = PTHREAD_MUTEX_INITIALIZER};

static ino_t file_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* Newest first, so that the oldest content of a place is what stays. */
static void take_back(void)
{
    for (size_t i = crash.n; i-- > 0;) {
        const struct undo *u = &crash.undo[i];

        if (crash.lost == SOME && rand_r(&crash.seed) % 2)
            continue;
        if (pwrite(u->fd, u->was, u->len, u->offset) != (ssize_t)u->len)
            _exit(1);
    }
}

static void crash_if(bool after)
{
    if (crash.calls != crash.at || crash.after != after)
        return;
    if (crash.lost != NOTHING)
        take_back();
    _exit(CRASHED);
}

static void note_write(int fd, size_t len, off_t offset)
{
    struct undo *u = &crash.undo[crash.n];
    ssize_t n;

    if (crash.lost == NOTHING || (fcntl(fd, F_GETFL) & O_DSYNC) == O_DSYNC)
        return;
    if (crash.n == WRITES_MAX || !(u->was = calloc(1, len + 1)))
        _exit(1);
    n = pread(fd, u->was, len, offset);
    *u = (struct undo){.fd = fd, .offset = offset, .len = len, .was = u->was, .file = file_of(fd)};
    crash.n += n >= 0;
}

static void note_sync(int fd)
{
    ino_t file = file_of(fd);
    size_t kept = 0;

    for (size_t i = 0; i < crash.n; i++) {
        if (crash.undo[i].file == file)
            free(crash.undo[i].was);
        else
            crash.undo[kept++] = crash.undo[i];
    }
    crash.n = kept;
}

/* The lock is held from before a call until after it, so that calls are one after the other. */
static void before(enum seam_op op, int fd, size_t len, off_t offset)
{
    pthread_mutex_lock(&crash.lock);
    crash.calls++;
    crash_if(false);
    if (op == SEAM_WRITE)
        note_write(fd, len, offset);
}

static void after(enum seam_op op, int fd)
{
    if (op == SEAM_SYNC)
        note_sync(fd);
    crash_if(true);
    pthread_mutex_unlock(&crash.lock);
}

static ssize_t arena_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    ssize_t n;

    before(SEAM_WRITE, fd, len, offset);
    n = disk_real.pwrite(ctx, fd, buf, len, offset);
    after(SEAM_WRITE, fd);
    return n;
}

static ssize_t arena_pwritev(void *ctx, int fd, const struct iovec *iov, int niov, off_t offset)
{
    size_t len = 0;
    ssize_t n;

    for (int i = 0; i < niov; i++)
        len += iov[i].iov_len;
    before(SEAM_WRITE, fd, len, offset);
    n = disk_real.pwritev(ctx, fd, iov, niov, offset);
    after(SEAM_WRITE, fd);
    return n;
}

/* --- lives --- */

static void open_life(uint64_t boot, const struct disk *disk)
{
    l->rig.own_boot = boot;
    l->rig.disk = disk;
    ledgers_open(l, 1, true);
    for (unsigned i = 0; i < GUESTS; i++)
        ledgers_add(l, 1, 4, NULL);
}

static void change_all(void)
{
    for (unsigned k = 0; k < KEYS; k++) {
        for (unsigned i = 0; i < GUESTS; i++)
            ledgers_change(l, l->guests[i], k);
        ledgers_settle(l);
        db_idle(l->rig.db); /* a commit for each */
    }
}

static int child_life(void)
{
    static struct disk disk;

    disk = disk_real;
    disk.pwrite = arena_pwrite;
    disk.pwritev = arena_pwritev;
    seam_watch.before = before;
    seam_watch.after = after;
    open_life(1, &disk);
    change_all();
    return WHOLE;
}

static pid_t child(unsigned at, bool after_it, enum lost lost)
{
    char fd[16], n[16], how[16];
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        snprintf(fd, sizeof(fd), "%d", shared_fd);
        snprintf(n, sizeof(n), "%u", at);
        snprintf(how, sizeof(how), "%d", (int)lost * 2 + after_it);
        setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failing assertion ends the child there */
        execl("/proc/self/exe", "life", fd, n, how, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* --- the parent --- */

static struct {
    struct ledgers ledgers;
    uint8_t db[MIB], arena[4 * MIB];
    size_t db_len, arena_len;
    off_t arena_size;
} first;

static size_t file_get(const char *name, uint8_t *to, size_t max, off_t *size)
{
    int fd = open(tmp_file(&l->dir, name), O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t n;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    n = pread(fd, to, max, 0);
    assert_true(n > 0);
    close(fd);
    *size = st.st_size;
    return (size_t)n;
}

static void file_put(const char *name, const uint8_t *data, size_t len, off_t size)
{
    int fd = open(tmp_file(&l->dir, name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, 0), (ssize_t)len);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static void prepare(void)
{
    off_t size;

    open_life(1, NULL);
    change_all();
    ledgers_close(l);
    first.db_len = file_get("db", first.db, sizeof(first.db), &size);
    first.arena_len = file_get("arena", first.arena, sizeof(first.arena), &first.arena_size);
    first.ledgers = *l;
}

/* Each object once more, as it is: who remembers it counts a repeat, and nothing else. */
static void check_remembered(void)
{
    struct book was[GUESTS];

    for (unsigned i = 0; i < GUESTS; i++)
        was[i] = *book_of(l, l->guests[i]->id);
    for (size_t o = 0; o < l->rig.nobjects; o++) {
        struct rig_object *object = &l->rig.objects[o];
        char body[sizeof(object->body)];

        memcpy(body, object->body, sizeof(body));
        for (unsigned i = 0; i < GUESTS; i++)
            if (!strcmp(object->guest, l->guests[i]->id))
                rig_change(&l->rig, l->guests[i], object->key, body);
        ledgers_settle(l);
    }
    for (unsigned i = 0; i < GUESTS; i++) {
        const struct book *b = book_of(l, l->guests[i]->id);

        assert_int_equal(b->events, was[i].events);
        assert_int_equal(b->repeats, was[i].repeats + KEYS);
    }
}

static void check_next_life(enum lost lost)
{
    open_life(lost == NOTHING ? 1 : 2, NULL);
    for (unsigned i = 0; i < GUESTS; i++)
        ledgers_change(l, l->guests[i], 0); /* so that each has said how it is */
    ledgers_settle(l);
    for (unsigned i = 0; i < GUESTS; i++) {
        ledgers_check_whole(l, l->guests[i]);
        if (lost == NOTHING) /* only a machine that goes down takes memory with it */
            assert_int_equal(l->guests[i]->counts.fresh_starts, 0);
    }
    check_remembered();
    ledgers_close(l);
}

static bool crash_once(unsigned at, bool after_it, enum lost lost)
{
    int status;
    pid_t pid;

    *l = first.ledgers;
    file_put("db", first.db, first.db_len, (off_t)first.db_len);
    file_put("arena", first.arena, first.arena_len, first.arena_size);
    pid = child(at, after_it, lost);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == CRASHED || WEXITSTATUS(status) == WHOLE);
    check_next_life(lost);
    return WEXITSTATUS(status) == CRASHED;
}

static void each_point(enum lost lost)
{
    unsigned n = 0;

    prepare();
    while (crash_once(n + 1, false, lost) && crash_once(n + 1, true, lost))
        n++;
    print_message("ended before and after each of %u calls\n", n);
    assert_true(n >= 12);
}

static void test_the_process_ends(void **state)
{
    (void)state;
    each_point(NOTHING);
}

static void test_the_machine_goes_down_with_all_that_was_not_synced(void **state)
{
    (void)state;
    each_point(ALL);
}

static void test_the_machine_goes_down_with_some_of_it(void **state)
{
    (void)state;
    each_point(SOME);
}

static int map_shared(void)
{
    void *at = mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);

    l = at;
    log_init(getenv("LEDGERS_LOG") ? LOG_DEBUG : LOG_ERROR, "text");
    return at == MAP_FAILED ? -1 : 0;
}

static int setup(void **state)
{
    (void)state;
    shared_fd = memfd_create("ledgers", 0);
    if (shared_fd < 0 || ftruncate(shared_fd, sizeof(*l)) < 0 || map_shared() < 0)
        return -1;
    return tmp_dir_make(&l->dir);
}

static int teardown(void **state)
{
    (void)state;
    tmp_dir_remove(&l->dir);
    munmap(l, sizeof(*l));
    return close(shared_fd);
}

static int live(char **argv)
{
    unsigned how = (unsigned)strtoul(argv[3], NULL, 10);

    shared_fd = (int)strtol(argv[1], NULL, 10);
    crash.at = (unsigned)strtoul(argv[2], NULL, 10);
    crash.after = how % 2;
    crash.lost = (enum lost)(how / 2);
    crash.seed = crash.at * 2 + crash.after;
    if (map_shared() < 0)
        return 1;
    _exit(child_life()); /* nothing is closed */
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_process_ends),
        TEST(test_the_machine_goes_down_with_all_that_was_not_synced),
        TEST(test_the_machine_goes_down_with_some_of_it),
    };

    if (argc == 4)
        return live(argv);
    return cmocka_run_group_tests_name("crash points", tests, NULL, NULL);
}
