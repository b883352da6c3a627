/* What a sleep costs on disk, in parts: micro_snapshot FILE [rounds]. The arena is FILE, removed at
 * the end; it should lie on the disk that the state directory will be on.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "engine/arena.h"
#include "engine/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MEMORY_PAGES (91u * MIB / PAGE_BYTES)
#define ROUNDS_MAX   10000u

static double samples[ROUNDS_MAX], cpu[ROUNDS_MAX];

struct watch {
    uint64_t wall, cpu;
};

static uint64_t cpu_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static struct watch watch_start(void)
{
    return (struct watch){.wall = clock_now_ns(), .cpu = cpu_now_ns()};
}

static void watch_stop(struct watch start, unsigned i)
{
    cpu[i] = (double)(cpu_now_ns() - start.cpu) / 1e3;
    samples[i] = (double)(clock_now_ns() - start.wall) / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void report(const char *what, unsigned n)
{
    qsort(samples, n, sizeof(samples[0]), by_value);
    qsort(cpu, n, sizeof(cpu[0]), by_value);
    printf("%-44s p50 %9.1f us (%9.1f on the processor)  p99 %9.1f us\n", what, samples[n / 2],
           cpu[n / 2], samples[n * 99 / 100]);
    fflush(stdout);
}

static void die(const struct err *err)
{
    fprintf(stderr, "%s\n", err->msg);
    exit(1);
}

static uint8_t *fresh(void)
{
    uint8_t *m = mmap(NULL, (size_t)MEMORY_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (m == MAP_FAILED)
        exit(1);
    madvise(m, (size_t)MEMORY_PAGES * PAGE_BYTES, MADV_NOHUGEPAGE);
    return m;
}

static void change(uint8_t *m, uint32_t from, uint32_t pages, uint32_t step)
{
    static uint64_t value;

    for (uint32_t i = 0; i < pages; i++) {
        uint64_t *at = (uint64_t *)(void *)(m + (size_t)(from + i * step) * PAGE_BYTES);

        for (unsigned k = 0; k < PAGE_BYTES / 8; k++)
            at[k] = ++value * 0x9e3779b97f4a7c15ull;
    }
}

static struct snapshot *save(struct arena *a, const uint8_t *m, const struct snapshot *base,
                             struct slot *dropped, size_t *n)
{
    struct save args = {.arena = a, .memory = m, .memory_pages = MEMORY_PAGES, .base = base};
    struct snapshot *s = NULL;
    struct err err = {0};

    args.id.generation = base ? base->id.generation + 1 : 1;
    if (snapshot_save(&s, dropped, n, &args, &err) < 0)
        die(&err);
    return s;
}

static uint8_t *wake(const struct snapshot *s, const struct arena *a)
{
    uint8_t *m = fresh();
    const struct run *r = snapshot_runs(s);

    for (uint32_t i = 0; i < s->nruns; i++, r++)
        if (mmap(m + (size_t)r->page * PAGE_BYTES, (size_t)r->count * PAGE_BYTES,
                 PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, arena_fd(a),
                 (off_t)(r->offset * PAGE_BYTES)) == MAP_FAILED)
            exit(1);
    return m;
}

/* Sleeps without a base; where `reuse`, to the place that the last one left. */
static void bench_full(struct arena *a, uint32_t pages, unsigned rounds, int reuse)
{
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    struct snapshot **kept = calloc(rounds, sizeof(struct snapshot *));
    uint8_t *m = fresh();
    char what[80];
    size_t n;

    for (unsigned i = 0; kept && i < rounds; i++) {
        struct watch start;

        change(m, 0, pages, 1);
        start = watch_start();
        kept[i] = save(a, m, NULL, dropped, &n);
        watch_stop(start, i);
        if (reuse)
            snapshot_discard(kept[i], a);
    }
    for (unsigned i = 0; kept && i < rounds && !reuse; i++)
        snapshot_discard(kept[i], a);
    snprintf(what, sizeof(what), "save %u KiB, all, %s extents", pages * 4,
             reuse ? "reused" : "new");
    report(what, rounds);
    free(kept);
    munmap(m, (size_t)MEMORY_PAGES * PAGE_BYTES);
}

/* A guest of 90 MiB that changes some pages between sleeps: wake, change, sleep, commit. */
static void bench_delta(struct arena *a, uint32_t pages, uint32_t step, unsigned rounds)
{
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    struct snapshot *s;
    uint8_t *m = fresh();
    char what[80];
    uint32_t runs = 0;
    size_t n;

    change(m, 0, 90u * MIB / PAGE_BYTES, 1);
    s = save(a, m, NULL, dropped, &n);
    for (unsigned i = 0; i < rounds; i++) {
        struct snapshot *next;
        struct watch start;

        munmap(m, (size_t)MEMORY_PAGES * PAGE_BYTES);
        m = wake(s, a);
        change(m, (i * 7919u) % (MEMORY_PAGES - pages * step - 300), pages, step);
        start = watch_start();
        next = save(a, m, s, dropped, &n);
        watch_stop(start, i);
        snapshot_free(s);
        s = next;
        runs = s->nruns > runs ? s->nruns : runs;
        arena_release(a, dropped, n);
    }
    snprintf(what, sizeof(what), "save %u KiB of 90 MiB, step %u, <= %u runs", pages * 4, step,
             runs);
    report(what, rounds);
    arena_release(a, snapshot_slots(s), s->nslots);
    snapshot_free(s);
    munmap(m, (size_t)MEMORY_PAGES * PAGE_BYTES);
}

/* What a run costs at a wake: map, touch one page of it, unmap. */
static void bench_wake(struct arena *a, uint32_t count, unsigned rounds)
{
    struct slot dropped[SNAPSHOT_SLOTS_MAX];
    uint8_t *m = fresh();
    struct snapshot *s;
    char what[80];
    size_t n;

    for (uint32_t i = 0; i < count; i++)
        change(m, i * 30, 12, 1);
    s = save(a, m, NULL, dropped, &n);
    munmap(m, (size_t)MEMORY_PAGES * PAGE_BYTES);
    for (unsigned i = 0; i < rounds; i++) {
        struct watch start = watch_start();

        m = wake(s, a);
        munmap(m, (size_t)MEMORY_PAGES * PAGE_BYTES);
        watch_stop(start, i);
    }
    snprintf(what, sizeof(what), "map and unmap %u runs", s->nruns);
    report(what, rounds);
    snapshot_discard(s, a);
}

static void bench_hash(void)
{
    const size_t sizes[] = {SAVE_CHUNK_BYTES, 90u * MIB};
    uint8_t *m = fresh();

    change(m, 0, MEMORY_PAGES, 1);
    for (int i = 0; i < 2; i++) {
        unsigned reps = (unsigned)(2000u * (size_t)MIB / sizes[i]);
        uint64_t start = clock_now_ns(), sum = 0;

        for (unsigned k = 0; k < reps; k++)
            sum += hash_bytes(m, sizes[i]);
        printf("hash of %zu KiB: %.1f GB/s (%llx)\n", sizes[i] / 1024,
               (double)reps * (double)sizes[i] / (double)(clock_now_ns() - start),
               (unsigned long long)sum & 0xf);
    }
    munmap(m, (size_t)MEMORY_PAGES * PAGE_BYTES);
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 200;
    struct arena *a = NULL;
    struct err err = {0};

    if (argc < 2 || rounds < 10 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "micro_snapshot FILE [rounds]\n");
        return 2;
    }
    if (arena_open(&a, argv[1], &err) < 0)
        die(&err);
    bench_hash();
    for (int reuse = 0; reuse < 2; reuse++) {
        bench_full(a, 16, rounds, reuse);
        bench_full(a, 1u * MIB / PAGE_BYTES, rounds, reuse);
        bench_full(a, 10u * MIB / PAGE_BYTES, rounds / 4, reuse);
        bench_full(a, 90u * MIB / PAGE_BYTES, rounds / 10, reuse);
    }
    bench_delta(a, 1, 1, rounds);
    bench_delta(a, 16, 1, rounds);
    bench_delta(a, 1u * MIB / PAGE_BYTES, 1, rounds);
    bench_delta(a, 1u * MIB / PAGE_BYTES, 3, rounds);
    for (uint32_t count = 1; count <= 256; count *= 4)
        bench_wake(a, count, rounds);
    arena_close(a);
    unlink(argv[1]);
    return 0;
}
