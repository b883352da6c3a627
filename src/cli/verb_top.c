/* `roost top`: what guests do, live.
 *
 * A look, a frame, then waiting: for the time until the next look, a key, a window of another size
 * or Ctrl-C, whichever comes first. Signals only set a flag, and come only while we wait (ppoll),
 * so that none is missed between a look at the flag and the wait; the terminal is put back by the
 * one way out, and a signal that ends us is raised again after that.
 */
#include "cli/top.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECONDS_MAX 3600.0
#define COUNT_MAX   1000000000ul

struct view {
    const struct cli_line *line;
    bool batch, reverse, quit, ended;
    enum top_key key;
    unsigned long count; /* looks to take; 0: for ever */
    double seconds;
    sigset_t mask; /* of signals, while we wait */
    struct screen screen;
    struct top top;
};

static volatile sig_atomic_t ended_by;
static volatile sig_atomic_t resized;

static void note_signal(int signum)
{
    if (signum == SIGWINCH)
        resized = 1;
    else
        ended_by = signum;
}

static void catch_signals(struct view *v)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH};
    struct sigaction sa = {.sa_handler = note_signal};
    sigset_t caught;

    sigemptyset(&caught);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        sigaction(signals[i], &sa, NULL);
        sigaddset(&caught, signals[i]);
    }
    sigprocmask(SIG_BLOCK, &caught, &v->mask);
}

/* --- a look and a frame --- */

static int look(struct view *v, struct err *err)
{
    const char *state = cli_state(v->line);
    json_t *stats = NULL, *list = NULL;

    if (cli_fetch(&stats, state, "/v1/stats", err) < 0)
        return -1;
    if (cli_fetch(&list, state, "/v1/guests", err) < 0) {
        json_decref(stats);
        return -1;
    }
    return top_take(&v->top, stats, list, cli_value(v->line, "namespace"), clock_now_ns(), err);
}

static void plain_line(void *ctx, bool head, const char *text)
{
    (void)ctx;
    (void)head;
    puts(text);
}

static void screen_text(void *ctx, bool head, const char *text)
{
    struct view *v = ctx;

    screen_line(&v->screen, head ? "\033[1m%s\033[0m" : "%s", *text ? text : " ");
}

static void show(struct view *v)
{
    top_sort(&v->top, v->key, v->reverse);
    if (v->batch) {
        top_print(&v->top, v->key, v->reverse, false, 0, plain_line, NULL);
        v->ended = fflush(stdout) != 0;
        return;
    }
    screen_begin(&v->screen);
    top_print(&v->top, v->key, v->reverse, v->screen.utf8,
              v->screen.rows > TOP_HEAD_LINES + 1 ? v->screen.rows - TOP_HEAD_LINES - 1 : 1,
              screen_text, v);
    if (v->screen.rows > TOP_HEAD_LINES + v->top.nrows + 1)
        screen_text(v, false, "");
    screen_text(v, false,
                "\033[2mName State Wakes Events Latency qUeue Cpu Memory Disk sort; r reverses; q "
                "quits\033[0m");
    screen_end(&v->screen);
}

/* --- waiting --- */

static void take_key(struct view *v, char c)
{
    static const char letters[TOP_KEYS] = {
        [TOP_NAME] = 'n',   [TOP_STATE] = 's',   [TOP_WAKES] = 'w',
        [TOP_EVENTS] = 'e', [TOP_LATENCY] = 'l', [TOP_QUEUE] = 'u',
        [TOP_CPU] = 'c',    [TOP_MEMORY] = 'm',  [TOP_DISK] = 'd'};
    const char *at = memchr(letters, c, sizeof(letters));

    if (c == 'r' || (at && v->key == (enum top_key)(at - letters))) {
        v->reverse = !v->reverse;
    } else if (at) {
        v->key = (enum top_key)(at - letters);
        v->reverse = false;
    } else if (c == 'q' || c == 'Q') {
        v->quit = true;
    }
}

/* Until the next look is due; keys and sizes are shown at once. */
static void wait_for_more(struct view *v, uint64_t until_ns)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

    for (;;) {
        uint64_t now = clock_now_ns(), left = until_ns > now ? until_ns - now : 0;
        struct timespec wait = {.tv_sec = (time_t)(left / NS_PER_S),
                                .tv_nsec = (long)(left % NS_PER_S)};
        int n = v->quit || ended_by ? 0 : ppoll(&p, v->screen.keys, &wait, &v->mask);
        char c = 0;

        if (v->quit || ended_by || (n == 0 && left == 0))
            return;

        if (n > 0 && read(STDIN_FILENO, &c, 1) == 1)
            take_key(v, c);
        else if (n > 0)
            v->screen.keys = false; /* the terminal is gone */
        if (c || resized) {
            resized = 0;
            show(v);
        }
    }
}

/* The first look was taken already. */
static int go_on(struct view *v, struct err *err)
{
    for (unsigned long n = 1;; n++) {
        uint64_t until_ns = clock_now_ns() + (uint64_t)(v->seconds * 1e9);

        if (n > 1 && look(v, err) < 0)
            return -1;
        show(v);
        if ((v->count && n >= v->count) || v->ended)
            return 0;
        wait_for_more(v, until_ns);
        if (v->quit || ended_by)
            return 0;
        if (v->batch)
            puts("");
    }
}

/* --- the verb --- */

static int read_options(struct view *v, struct err *err)
{
    const char *count = cli_value(v->line, "count"), *delay = cli_value(v->line, "delay");
    const char *sort = cli_value(v->line, "sort");
    char *end;

    v->seconds = 2;
    v->key = TOP_CPU;
    v->batch = cli_flag(v->line, "batch");
    errno = 0;
    if (count && (*count == '-' || (v->count = strtoul(count, &end, 10)) == 0 || *end || errno ||
                  v->count > COUNT_MAX))
        return err_set(err, ERR_USAGE, 0, "-n %.40s: a number from 1 to %lu", count, COUNT_MAX);
    if (delay && ((v->seconds = strtod(delay, &end)) < .1 || *end || !(v->seconds <= SECONDS_MAX)))
        return err_set(err, ERR_USAGE, 0, "-d %.40s: seconds from 0.1 to %.0f", delay, SECONDS_MAX);
    for (int k = 0; sort && k < TOP_KEYS; k++)
        if (strcmp(top_keys[k], sort) == 0)
            v->key = (enum top_key)k;
    return 0;
}

static int run(const struct cli_line *line, struct err *err)
{
    static struct view v; /* a frame is large */
    int rc;

    v = (struct view){.line = line};
    if (line->nargs)
        return err_set(err, ERR_USAGE, 0, "top takes no arguments, only options: %.40s",
                       line->args[0]);
    if (read_options(&v, err) < 0)
        return -1;
    if (!v.batch && !isatty(STDOUT_FILENO))
        v.batch = true;
    if (look(&v, err) < 0) { /* said in the shell's own page */
        top_free(&v.top);
        return -1;
    }
    catch_signals(&v);
    if (!v.batch && !screen_open(&v.screen))
        v.batch = true;
    screen_keys(&v.screen);
    rc = go_on(&v, err);
    screen_close(&v.screen);
    top_free(&v.top);
    sigprocmask(SIG_SETMASK, &v.mask, NULL);
    if (ended_by) {
        signal(ended_by, SIG_DFL);
        raise(ended_by);
    }
    return rc;
}

static const struct cli_option options[] = {
    {.name = "batch", .letter = 'b', .help = "plain text, all guests; so it is without a terminal"},
    {.name = "count", .letter = 'n', .arg = "N", .help = "end after so many", .def = "never"},
    {.name = "delay",
     .letter = 'd',
     .arg = "SECONDS",
     .help = "time from one look to the next",
     .def = "2"},
    {.name = "sort",
     .letter = 's',
     .arg = "KEY",
     .help = "what is first",
     .words = top_keys,
     .def = "cpu"},
    {.name = "namespace",
     .arg = "NAME",
     .what = CLI_SPACE,
     .help = "only guests of this namespace",
     .def = "of all"},
    CLI_OPTION_STATE,
    {0},
};
static const char *const synopsis[] = {"[options]", "-b [-n N] [-d SECONDS] [options]", NULL};
static const struct cli_section sections[] = {
    {"Keys", "  n s w e l   sort by name, state, wakes, events, latency\n"
             "  u c m d     sort by queue, CPU, memory, disk\n"
             "  r           turn the order round; so does the same key again\n"
             "  q, Ctrl-C   leave\n"},
    {"Columns", "  STATE      as in roost get\n"
                "  WAKE/S     wakes from disk; EV/S: events handled; both a second\n"
                "  LATENCY    of an event, from being due until handled, on average\n"
                "  QUEUE      keys that wait\n"
                "  CPU%       of one core\n"
                "  MEMORY     while awake; DISK: of its snapshot\n"},
    {0},
};
static const struct cli_example examples[] = {
    {"live", "roost top"},
    {"what waits longest", "roost top --sort latency"},
    {"one look, for a file", "roost top -b -n 1"},
    {"a minute, each 10 seconds", "roost top -b -n 6 -d 10"},
    {0},
};
static const enum err_code exits[] = {ERR_DENIED, ERR_NET, ERR_TIMEOUT, ERR_NONE};
static const char *const see[] = {"get", "events", NULL};

const struct verb verb_top = {
    .name = "top",
    .brief = "show what guests do, live",
    .about = "Shows guests by state, wakes and events a second, latencies, queues, memory awake "
             "and on disk, and CPU, of each guest and of all. Figures are of the time since the "
             "last look; of the first look, since the daemon started. Quantiles are since the "
             "daemon started.",
    .synopsis = synopsis,
    .options = options,
    .sections = sections,
    .examples = examples,
    .exits = exits,
    .see = see,
    .run = run,
};
