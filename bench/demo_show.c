/* What the demo shows: the live display, lines where there is none, and the report. */
#include "demo.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LABEL_COLS    9 /* "  memory " */
#define BAR_TEXT_COLS 41
#define BAR_COLS_MIN  8
#define BAR_COLS_MAX  60
#define LINES_FULL    (14 + DEMO_NOTES)

#define BOLD  "\033[1m"
#define DIM   "\033[2m"
#define GREEN "\033[32m"
#define BLUE  "\033[34m"
#define PLAIN "\033[0m"

/* --- numbers --- */

/* "87 us", "3.2 ms": three digits at most; "-" where there was nothing to measure. */
static const char *show_us(const struct demo *d, char out[static 32], double us)
{
    if (us <= 0)
        snprintf(out, 32, "-");
    else if (us < 1000)
        snprintf(out, 32, "%.0f %s", us, d->screen.utf8 ? "µs" : "us");
    else if (us < 100e3)
        snprintf(out, 32, "%.1f ms", us / 1e3);
    else
        snprintf(out, 32, "%.0f ms", us / 1e3);
    return out;
}

/* Columns, not bytes: µ has two of these. */
static int pad(const char *text, int cols)
{
    int wide = 0;

    for (const char *p = text; *p; p++)
        wide += ((unsigned char)*p & 0xC0) == 0x80;
    return cols + wide;
}

static double kib_each(const struct demo *d, double mib)
{
    return mib * 1024 / d->ring.n;
}

/* --- lines --- */

void show_note(struct demo *d, const char *fmt, ...)
{
    char line[DEMO_NOTE_BYTES];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (!d->screen.live) {
        puts(line);
        fflush(stdout);
        return;
    }
    memcpy(d->notes[d->nnotes++ % DEMO_NOTES], line, sizeof(line));
    show_frame(d);
}

/* --- the display --- */

static void bar_line(struct demo *d, const char *label, const char *colour, double done,
                     double total, const char *text)
{
    unsigned cols = d->screen.cols, width = BAR_COLS_MIN;
    char bar[BAR_COLS_MAX * 4 + 1];

    if (cols > LABEL_COLS + BAR_TEXT_COLS + BAR_COLS_MIN)
        width = cols - LABEL_COLS - BAR_TEXT_COLS;
    if (width > BAR_COLS_MAX)
        width = BAR_COLS_MAX;
    screen_bar(&d->screen, bar, sizeof(bar), width, done, total);
    screen_line(&d->screen, "  " DIM "%-6s" PLAIN " %s%s" PLAIN "  %s", label, colour, bar, text);
}

static void gap(struct demo *d)
{
    if (d->screen.rows >= LINES_FULL)
        screen_line(&d->screen, " ");
}

static void phase_line(struct demo *d)
{
    static const char *const names[DEMO_PHASES] = {"set up", "start", "rounds", "rest"};
    char text[512] = "";
    size_t len = 0;

    for (enum demo_phase p = 0; p < DEMO_PHASES; p++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%s" PLAIN,
                                p ? (d->screen.utf8 ? " › " : " > ") : "",
                                p == d->phase ? BOLD : DIM, names[p]);
    screen_line(&d->screen, "  %s", text);
}

static void setup_lines(struct demo *d)
{
    char text[64];

    snprintf(text, sizeof(text), "%u of %u namespaces", d->ring.set_up, d->ring.n);
    bar_line(d, "set up", BLUE, d->ring.set_up, d->ring.n, text);
}

static void guests_line(struct demo *d)
{
    const struct demo_stats *s = &d->now;
    char text[96];

    if (s->cold)
        snprintf(text, sizeof(text), "%u awake, %u asleep, %u not started", s->awake, s->asleep,
                 s->cold);
    else
        snprintf(text, sizeof(text), "%u awake, %u asleep", s->awake, s->asleep);
    bar_line(d, "guests", GREEN, s->awake, d->ring.n, text);
}

static void round_line(struct demo *d)
{
    unsigned arrived = demo_arrived(d);
    char text[96];

    if (d->phase == DEMO_ROUNDS && d->round)
        snprintf(text, sizeof(text), "round %u of %u: hop %u of %u, %.2f s", d->round, d->rounds,
                 arrived, d->ring.n, (double)(clock_now_ns() - d->round_ns) / 1e9);
    else
        snprintf(text, sizeof(text), "%u rounds done", d->round);
    bar_line(d, "ring", BLUE, d->round ? arrived : 0, d->ring.n, text);
}

static void latency_line(struct demo *d, const char *label, const struct latency *l,
                         const char *what)
{
    char p50[32], p99[32];

    show_us(d, p50, l->p50_us);
    show_us(d, p99, l->p99_us);
    screen_line(&d->screen, "  " DIM "%-6s" PLAIN " p50 %*s   p99 %*s   " DIM "%s" PLAIN, label,
                -pad(p50, 8), p50, -pad(p99, 8), p99, what);
}

static void figures(struct demo *d)
{
    const struct demo_stats *s = &d->now;

    guests_line(d);
    round_line(d);
    gap(d);
    screen_line(&d->screen,
                "  " DIM "memory" PLAIN " " BOLD "%.1f MiB" PLAIN
                " (PSS of the daemon), %.0f KiB an operator",
                s->pss_mib, kib_each(d, s->pss_mib));
    screen_line(&d->screen, "  " DIM "wakes " PLAIN " " BOLD "%.0f" PLAIN " a second, %lld in all",
                d->wakes_per_s, d->first.wakes + s->wakes);
    latency_line(d, "wake", &s->wake, "event read to first request sent");
    latency_line(d, "event", &s->event, "wake and handler, its API calls included");
    latency_line(d, "sleep", &s->sleep, "until saved and its memory freed");
}

static void note_lines(struct demo *d)
{
    unsigned first = d->nnotes > DEMO_NOTES ? d->nnotes - DEMO_NOTES : 0;

    for (unsigned i = first; i < d->nnotes; i++)
        screen_line(&d->screen, "  " DIM "%s" PLAIN, d->notes[i % DEMO_NOTES]);
}

void show_frame(struct demo *d)
{
    if (!d->screen.live)
        return;
    screen_begin(&d->screen);
    screen_line(&d->screen,
                BOLD "Roost" PLAIN ": %u Kubernetes operators in one process  " DIM
                     "%.0f s, Ctrl-C ends it" PLAIN,
                d->ring.n, (double)(clock_now_ns() - d->began_ns) / 1e9);
    phase_line(d);
    gap(d);
    if (d->phase <= DEMO_START)
        setup_lines(d);
    else
        figures(d);
    gap(d);
    note_lines(d);
    screen_end(&d->screen);
}

/* --- the report --- */

static void report_memory(const struct demo *d)
{
    printf("  memory (PSS)      idle %.1f MiB, active %.1f MiB; an operator %.0f and %.0f KiB\n",
           d->idle_pss_mib, d->active_pss_mib, kib_each(d, d->idle_pss_mib),
           kib_each(d, d->active_pss_mib));
    if (d->idle_cgroup_mib < 0)
        printf("  memory (cgroup)   no cgroup can be made here\n");
    else
        printf("  memory (cgroup)   idle %.1f MiB, active %.1f MiB; idle without page cache %.1f\n",
               d->idle_cgroup_mib, d->active_cgroup_mib, d->idle_cgroup_rss_mib);
}

static void report_latency(const struct demo *d, const char *label, const struct latency *l,
                           const char *what)
{
    char p50[32], p99[32];

    show_us(d, p50, l->p50_us);
    show_us(d, p99, l->p99_us);
    printf("  %-17s p50 %*s p99 %*s %s\n", label, -pad(p50, 8), p50, -pad(p99, 8), p99, what);
}

/* As all rest: when the last hop arrived, the handler that sent it had not returned yet. An event
 * that found its guest awake is neither a wake nor a start. */
static void report_counts(const struct demo *d)
{
    const struct demo_stats *a = &d->first, *b = &d->now;
    long long wakes = a->wakes + b->wakes, starts = a->fresh_starts + b->fresh_starts;
    long long awake = a->events + b->events - wakes - starts;

    printf("  guests            %lld wakes from disk, %lld fresh starts, ", wakes, starts);
    if (awake)
        printf("%lld events while awake, ", awake);
    printf("%lld failed events\n", a->failures + b->failures);
}

void show_report(struct demo *d)
{
    double p50 = samples_quantile(&d->took, .5), p99 = samples_quantile(&d->took, .99);

    printf("\n%u operators, %u rounds, %u hops: each arrived.\n", d->ring.n, d->rounds,
           d->rounds * d->ring.n);
    report_counts(d);
    report_memory(d);
    printf("  ring              p50 %.3f s, p99 %.3f s; %.1f ms a hop\n", p50, p99,
           p50 * 1e3 / d->ring.n);
    report_latency(d, "wake, host's part", &d->active.wake, "event read to first request sent");
    report_latency(d, "wake and handler", &d->active.event, "with its calls to the API server");
    report_latency(d, "sleep", &d->active.sleep, "until saved and its memory freed");
    if (d->rounds > 1)
        printf(
            "  (times without the first round, which makes the objects and starts the guests)\n");
}
