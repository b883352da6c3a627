/* One awake guest: a store, an instance, at most one call on a fiber. See engine.h.
 *
 * Polling is where the guest's code runs. Around it stand the guard that turns a read error in the
 * mapped snapshot into a flag (engine/sigbus.h) and the clock of the thread's own CPU time, which
 * the limit `cpu` counts. The engine's epoch advances each millisecond while guests run; at a tick
 * the callback below decides: cut (limit passed, memory poisoned), or yield.
 */
#include "base/auto.h"
#include "base/clock.h"
#include "base/limits.h"
#include "engine/internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; glibc 2.35 */
#endif

#define WASM_PAGE      65536u
#define PAGES_PER_WASM (WASM_PAGE / PAGE_BYTES)

static uint64_t thread_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static wasmtime_error_t *at_tick(wasmtime_context_t *context, void *data, uint64_t *delta,
                                 wasmtime_update_deadline_kind_t *kind)
{
    struct instance *i = data;
    char text[96];

    (void)context;
    if (i->guard.poisoned)
        return wasmtime_error_new("a page of its snapshot could not be read");
    if (i->cpu_ns + (thread_cpu_ns() - i->poll_began_ns) > i->cpu_ns_max) {
        i->cpu_cut = true;
        snprintf(text, sizeof(text), "limit cpu passed: %llu ms in one event",
                 (unsigned long long)(i->cpu_ns_max / NS_PER_MS));
        return wasmtime_error_new(text);
    }
    *delta = 1;
    /* Ticks that passed while it waited or slept are not its own. */
    *kind = atomic_load_explicit(&i->engine->ticks, memory_order_relaxed) == i->poll_began_tick
                ? WASMTIME_UPDATE_DEADLINE_CONTINUE
                : WASMTIME_UPDATE_DEADLINE_YIELD;
    return NULL;
}

static int look_up(struct instance *i, struct err *err)
{
    wasmtime_extern_t item;

    if (!wasmtime_instance_export_get(i->context, &i->instance, "memory", 6, &item))
        return err_set(err, ERR_INVALID, 0, "no memory is exported");
    i->memory = item.of.memory;
    i->has_memory = true;
    return 0;
}

static int instantiate(struct instance *i, struct err *err)
{
    wasmtime_call_future_t *future = wasmtime_instance_pre_instantiate_async(
        i->image->pre, i->context, &i->instance, &i->trap, &i->error);

    /* There is no start section (the rewriter moved it), so nothing can wait in here. */
    while (!wasmtime_call_future_poll(future))
        ;
    wasmtime_call_future_delete(future);
    if (i->trap || i->error) {
        err_wasmtime(err, ERR_NOMEM, i->error, i->trap, "instantiate");
        i->error = NULL;
        i->trap = NULL;
        return -1;
    }
    return 0;
}

static void take_opts(struct instance *i, const struct instance_opts *opts)
{
    const struct image *image = i->image;

    i->user = opts->user;
    i->cpu_ns_max = opts->cpu_ns_max;
    i->wasi = (struct wasi_guest){
        .args = opts->args, .nargs = opts->nargs, .env = opts->env, .nenv = opts->nenv};
    abi_bind_output(i);
    wasmtime_store_limiter(i->store, (int64_t)(opts->memory_bytes_max / image->memories),
                           GUEST_TABLE_ELEMENTS_MAX, 1, GUEST_TABLES_MAX, image->memories);
}

int instance_new(struct instance **out, struct engine *e, struct image *image,
                 const struct instance_opts *opts, struct err *err)
{
    struct instance *i = calloc(1, sizeof(*i));

    if (!i)
        return err_set(err, ERR_NOMEM, 0, "no memory for an instance");
    i->engine = e;
    i->image = image_ref(image);
    i->store = wasmtime_store_new(e->engine, i, NULL);
    i->context = wasmtime_store_context(i->store);
    take_opts(i, opts);
    wasmtime_context_set_epoch_deadline(i->context, 1);
    wasmtime_store_epoch_deadline_callback(i->store, at_tick, i, NULL);
    if (instantiate(i, err) < 0 || look_up(i, err) < 0) {
        instance_free(i);
        return -1;
    }
    *out = i;
    return 0;
}

void instance_set_user(struct instance *i, void *user)
{
    i->user = user;
}

/* Unmapping much at once keeps everybody else from mapping anything meanwhile, and that is what a
 * wake does: so the pages go piece by piece, and what is unmapped then is empty. */
static void pages_release(struct instance *i)
{
    uint64_t size = i->has_memory ? instance_memory_bytes(i) : 0;
    uint8_t *data =
        size > INSTANCE_PIECE_BYTES ? wasmtime_memory_data(i->context, &i->memory) : NULL;

    for (uint64_t at = 0; data && at < size; at += INSTANCE_PIECE_BYTES)
        madvise(data + at, size - at < INSTANCE_PIECE_BYTES ? size - at : INSTANCE_PIECE_BYTES,
                MADV_DONTNEED);
}

void instance_free(struct instance *i)
{
    if (!i)
        return;
    instance_cancel(i);
    pages_release(i);
    if (i->store)
        wasmtime_store_delete(i->store);
    wasi_guest_free(&i->wasi);
    image_unref(i->image);
    free(i->globals);
    free(i);
}

static void note_left(struct instance *i, const struct snapshot *s)
{
    const struct run *runs = snapshot_runs(s);

    i->nleft = 0;
    for (uint32_t n = 0; n < s->nruns; n++) {
        if (i->nleft < INSTANCE_LEFT_MAX)
            i->left[i->nleft++] = (struct left){.page = runs[n].page, .count = runs[n].count};
        else /* with what is between */
            i->left[i->nleft - 1].count = runs[n].page + runs[n].count - i->left[i->nleft - 1].page;
    }
}

bool instance_blank(struct instance *i, const struct snapshot *left)
{
    assert(!i->future);
    if (i->mapped || i->cold.closed || i->guard.poisoned || i->image->unsavable ||
        i->image->memories != 1 || ++i->uses >= INSTANCE_USES_MAX)
        return false;
    /* Private pages go, and what shows instead is the module's own data, or zeros. */
    if (!left && madvise(wasmtime_memory_data(i->context, &i->memory), instance_memory_bytes(i),
                         MADV_DONTNEED) < 0)
        return false;
    i->nleft = 0;
    if (left)
        note_left(i, left);
    wasi_guest_free(&i->wasi);
    i->wasi = (struct wasi_guest){0};
    i->user = NULL;
    i->cpu_ns = 0;
    i->fn = INSTANCE_START;
    return true;
}

uint64_t instance_left_pages(const struct instance *i)
{
    uint64_t pages = 0;

    for (unsigned n = 0; n < i->nleft; n++)
        pages += i->left[n].count;
    return pages;
}

bool instance_reuse(struct instance *i, const struct image *image, const struct instance_opts *opts,
                    const struct snapshot *s)
{
    uint64_t bytes = instance_memory_bytes(i);

    if (i->image != image || bytes > (uint64_t)s->memory_pages * PAGE_BYTES ||
        bytes > opts->memory_bytes_max)
        return false;
    take_opts(i, opts);
    return true;
}

uint64_t instance_memory_bytes(const struct instance *i)
{
    return wasmtime_memory_data_size(i->context, &i->memory);
}

/* --- running --- */

static const char *const fn_names[] = {
    [INSTANCE_START] = "roost:start",
    [INSTANCE_INITIALIZE] = "_initialize",
    [INSTANCE_HANDLE] = "handle",
};

bool instance_begin(struct instance *i, enum instance_fn fn)
{
    wasmtime_extern_t item;

    assert(!i->future);
    if ((fn == INSTANCE_START && !i->image->has_start) ||
        (fn == INSTANCE_INITIALIZE && !i->image->has_initialize))
        return false;
    if (!wasmtime_instance_export_get(i->context, &i->instance, fn_names[fn], strlen(fn_names[fn]),
                                      &item))
        return false;
    i->func = item.of.func;
    i->cpu_cut = false;
    if (i->fn == INSTANCE_HANDLE) /* a new event; a fresh start belongs to the one it is made for */
        i->cpu_ns = 0;
    i->fn = fn;
    i->result = (wasmtime_val_t){.kind = WASMTIME_I32};
    i->future = wasmtime_func_call_async(i->context, &i->func, NULL, 0, &i->result,
                                         fn == INSTANCE_HANDLE ? 1 : 0, &i->trap, &i->error);
    return true;
}

static enum run_result ended(struct instance *i, int32_t *result, struct err *err)
{
    wasmtime_call_future_delete(i->future);
    i->future = NULL;
    wasi_flush(&i->wasi);
    if (i->guard.poisoned) { /* whatever came of it */
        err_set(err, ERR_CORRUPT, 0, "a page of its snapshot could not be read");
        instance_cancel(i);
        return RUN_TRAPPED;
    }
    if (i->trap || i->error) {
        err_wasmtime(err, ERR_TRAP, i->error, i->trap, "trapped");
        (void)err_blame(err, i->cpu_cut ? REASON_CPU_LIMIT : REASON_TRAPPED);
        i->trap = NULL;
        i->error = NULL;
        return RUN_TRAPPED;
    }
    *result = i->result.of.i32;
    return RUN_DONE;
}

enum run_result instance_poll(struct instance *i, int32_t *result, struct err *err)
{
    bool done;

    assert(i->future);
    i->waiting = false;
    i->guard.base = wasmtime_memory_data(i->context, &i->memory);
    i->guard.len = wasmtime_memory_data_size(i->context, &i->memory);
    i->poll_began_ns = thread_cpu_ns();
    i->poll_began_tick = atomic_load_explicit(&i->engine->ticks, memory_order_relaxed);
    atomic_fetch_add_explicit(&i->engine->computing, 1, memory_order_relaxed);
    sigbus_enter(&i->guard);
    cold_enter(i->cold.closed ? &i->cold : NULL);
    done = wasmtime_call_future_poll(i->future);
    cold_leave();
    sigbus_leave(&i->guard);
    atomic_fetch_sub_explicit(&i->engine->computing, 1, memory_order_relaxed);
    i->cpu_ns += thread_cpu_ns() - i->poll_began_ns;
    if (done)
        return ended(i, result, err);
    return i->waiting ? RUN_WAITING : RUN_YIELDED;
}

void instance_cancel(struct instance *i)
{
    if (i->future) {
        wasmtime_call_future_delete(i->future);
        i->future = NULL;
    }
    if (i->trap)
        wasm_trap_delete(i->trap);
    if (i->error)
        wasmtime_error_delete(i->error);
    i->trap = NULL;
    i->error = NULL;
}

uint64_t instance_cpu_ns(const struct instance *i)
{
    return i->cpu_ns;
}

bool instance_poisoned(const struct instance *i)
{
    return i->guard.poisoned;
}

/* --- globals --- */

static int globals_look_up(struct instance *i, struct err *err)
{
    struct image *im = i->image;
    wasmtime_extern_t item;

    if (i->globals || im->nglobals == 0)
        return 0;
    i->globals = calloc(im->nglobals, sizeof(*i->globals));
    if (!i->globals)
        return err_set(err, ERR_NOMEM, 0, "no memory for %u globals", im->nglobals);
    for (uint32_t n = 0; n < im->nglobals; n++) {
        if (!wasmtime_instance_export_get(i->context, &i->instance, im->globals[n],
                                          strlen(im->globals[n]), &item))
            return err_set(err, ERR_INVALID, 0, "global %s is not there", im->globals[n]);
        i->globals[n] = item.of.global;
    }
    return 0;
}

static int global_read(struct instance *i, uint32_t n, struct global_bits *out, struct err *err)
{
    wasmtime_val_t value;

    wasmtime_global_get(i->context, &i->globals[n], &value);
    *out = (struct global_bits){0};
    switch (value.kind) {
    case WASMTIME_I32:
    case WASMTIME_F32:
        out->lo = (uint32_t)value.of.i32;
        return 0;
    case WASMTIME_I64:
    case WASMTIME_F64:
        out->lo = (uint64_t)value.of.i64;
        return 0;
    case WASMTIME_V128:
        memcpy(&out->lo, value.of.v128, 8);
        memcpy(&out->hi, value.of.v128 + 8, 8);
        return 0;
    default:
        return err_set(err, ERR_UNSUPPORTED, 0, "global %s cannot be saved", i->image->globals[n]);
    }
}

static int global_write(struct instance *i, uint32_t n, const struct global_bits *bits,
                        struct err *err)
{
    wasmtime_val_t value;
    wasmtime_error_t *error;

    wasmtime_global_get(i->context, &i->globals[n], &value); /* for its type */
    if (value.kind == WASMTIME_V128) {
        memcpy(value.of.v128, &bits->lo, 8);
        memcpy(value.of.v128 + 8, &bits->hi, 8);
    } else if (value.kind == WASMTIME_I32 || value.kind == WASMTIME_F32) {
        value.of.i32 = (int32_t)(uint32_t)bits->lo;
    } else {
        value.of.i64 = (int64_t)bits->lo;
    }
    error = wasmtime_global_set(i->context, &i->globals[n], &value);
    if (error)
        return err_wasmtime(err, ERR_CORRUPT, error, NULL, i->image->globals[n]);
    return 0;
}

/* --- sleeping and waking --- */

int instance_save(struct snapshot **out, struct slot *dropped, size_t *ndropped, struct instance *i,
                  struct arena *arena, const struct snapshot *base, const struct snapshot_id *id,
                  uint32_t pages_most, atomic_bool *abandon, struct err *err)
{
    AUTO_FREE struct global_bits *globals = calloc(i->image->nglobals + 1u, sizeof(*globals));
    struct save save = {.arena = arena,
                        .memory = wasmtime_memory_data(i->context, &i->memory),
                        .globals = globals,
                        .nglobals = (uint16_t)i->image->nglobals,
                        .base = base,
                        .id = *id,
                        .pages_most = pages_most,
                        .abandon = abandon};
    int rc;

    assert(!i->future);
    if (i->image->unsavable)
        return err_set(err, ERR_UNSUPPORTED, 0, "its module cannot be saved: %s",
                       i->image->unsavable);
    if (!globals)
        return err_set(err, ERR_NOMEM, 0, "no memory for %u globals", i->image->nglobals);
    save.memory_pages = (uint32_t)(instance_memory_bytes(i) / PAGE_BYTES);
    if (globals_look_up(i, err) < 0)
        return -1;
    for (uint32_t n = 0; n < i->image->nglobals; n++)
        if (global_read(i, n, &globals[n], err) < 0)
            return -1;
    i->guard.base = save.memory;
    i->guard.len = instance_memory_bytes(i);
    if (!cold_open(&i->cold))
        return err_set(err, ERR_NOMEM, ENOMEM, "memory that was not read yet cannot be opened");
    sigbus_enter(&i->guard);
    rc = snapshot_save(out, dropped, ndropped, &save, err);
    sigbus_leave(&i->guard);
    if (rc == 0 && i->guard.poisoned) {
        /* What was written is not what the guest had. */
        snapshot_discard(*out, arena);
        *out = NULL;
        return err_set(err, ERR_CORRUPT, 0, "a page of the mapped snapshot could not be read");
    }
    return rc;
}

static int grow_to(struct instance *i, uint32_t pages, struct err *err)
{
    uint32_t have = (uint32_t)(instance_memory_bytes(i) / PAGE_BYTES);
    wasmtime_error_t *error;
    uint64_t before;

    if (pages <= have)
        return 0;
    error = wasmtime_memory_grow(i->context, &i->memory, (pages - have) / PAGES_PER_WASM, &before);
    if (error)
        return err_wasmtime(err, ERR_LIMIT, error, NULL, "memory of the snapshot");
    return 0;
}

static int run_map(uint8_t *memory, const struct run *run, int fd, unsigned how, struct err *err)
{
    int access = how & RESTORE_COLD ? PROT_NONE : PROT_READ | PROT_WRITE;
    void *at = mmap(memory + (size_t)run->page * PAGE_BYTES, (size_t)run->count * PAGE_BYTES,
                    access, MAP_PRIVATE | MAP_FIXED, fd, (off_t)(run->offset * PAGE_BYTES));

    if (at == MAP_FAILED)
        return err_set(err, ERR_NOMEM, errno, "map %u pages of the snapshot", run->count);
    return 0;
}

static bool read_not_mapped(const struct run *run, unsigned how)
{
    return how & RESTORE_READ || run->count <= RESTORE_READ_PAGES_MAX;
}

/* Reads runs that lie one behind the other in the arena with one call. Returns how many it took. */
static ssize_t runs_read(uint8_t *memory, const struct run *runs, size_t n, int fd, unsigned how,
                         struct err *err)
{
    const int flags = how & RESTORE_NOWAIT ? RWF_NOWAIT : 0;
    struct iovec iov[RESTORE_IOV_MAX];
    uint64_t end = runs[0].offset;
    size_t k = 0, bytes = 0;
    ssize_t got;

    while (k < n && k < RESTORE_IOV_MAX && read_not_mapped(&runs[k], how) &&
           runs[k].offset == end) {
        iov[k].iov_base = memory + (size_t)runs[k].page * PAGE_BYTES;
        iov[k].iov_len = (size_t)runs[k].count * PAGE_BYTES;
        bytes += iov[k].iov_len;
        end += runs[k].count;
        k++;
    }
    got = preadv2(fd, iov, (int)k, (off_t)(runs[0].offset * PAGE_BYTES), flags);
    if (got == (ssize_t)bytes)
        return (ssize_t)k;
    if (flags && (got >= 0 || errno == EAGAIN || errno == EOPNOTSUPP))
        return err_set(err, ERR_AGAIN, 0, "not in the page cache");
    if (got < 0)
        return err_set(err, ERR_CORRUPT, errno, "read of the snapshot");
    return err_set(err, ERR_CORRUPT, 0, "the arena ends inside the snapshot");
}

static int runs_restore(struct instance *i, const struct snapshot *s, int fd, unsigned how,
                        struct err *err)
{
    uint8_t *memory = wasmtime_memory_data(i->context, &i->memory);
    const struct run *runs = snapshot_runs(s);

    for (size_t n = 0; n < s->nruns;) {
        ssize_t took = 1;

        if (!read_not_mapped(&runs[n], how)) {
            i->mapped = true;
            if (run_map(memory, &runs[n], fd, how, err) < 0)
                return -1;
        } else {
            took = runs_read(memory, runs + n, s->nruns - n, fd, how, err);
            if (took < 0)
                return -1;
        }
        n += (size_t)took;
    }
    return 0;
}

static int discard(const struct instance *i, uint64_t page, uint64_t end, struct err *err)
{
    uint8_t *memory = wasmtime_memory_data(i->context, &i->memory);

    if (end > page &&
        madvise(memory + page * PAGE_BYTES, (end - page) * PAGE_BYTES, MADV_DONTNEED) < 0)
        return err_set(err, ERR_NOMEM, errno, "give back a guest's memory");
    return 0;
}

/* What the last guest has left goes, but for pages that will be read over: both lists are by page.
 */
static int left_discard(struct instance *i, const struct snapshot *s, unsigned how, struct err *err)
{
    const struct run *run = snapshot_runs(s), *last = run + s->nruns;

    for (unsigned n = 0; n < i->nleft; n++) {
        uint64_t at = i->left[n].page, end = at + i->left[n].count;

        while (run < last && (uint64_t)run->page + run->count <= at)
            run++;
        for (const struct run *r = run; at < end && r < last && r->page < end; r++) {
            if (!read_not_mapped(r, how))
                continue;
            if (discard(i, at, r->page, err) < 0)
                return -1;
            at = (uint64_t)r->page + r->count;
        }
        if (discard(i, at, end, err) < 0)
            return -1;
    }
    i->nleft = 0;
    return 0;
}

int instance_restore(struct instance *i, const struct snapshot *s, const struct arena *arena,
                     unsigned flags, struct err *err)
{
    const bool nowait = flags & RESTORE_NOWAIT;
    const struct global_bits *globals = snapshot_globals(s);

    assert(!i->future);
    if (s->nglobals != i->image->nglobals)
        return err_set(err, ERR_CORRUPT, 0, "%u globals in the snapshot, %u in the module",
                       s->nglobals, i->image->nglobals);
    if (snapshot_check_header(s, arena, nowait, err) < 0 || globals_look_up(i, err) < 0 ||
        grow_to(i, s->memory_pages, err) < 0)
        return -1;
    if (instance_memory_bytes(i) != (uint64_t)s->memory_pages * PAGE_BYTES)
        return err_set(err, ERR_CORRUPT, 0, "snapshot of %u pages, less than the module's own",
                       s->memory_pages);
    if (left_discard(i, s, flags, err) < 0 || runs_restore(i, s, arena_fd(arena), flags, err) < 0)
        return -1;
    if (flags & RESTORE_COLD)
        i->cold = (struct cold){.memory = wasmtime_memory_data(i->context, &i->memory),
                                .runs = snapshot_runs(s),
                                .nruns = s->nruns,
                                .run_pages_min = RESTORE_READ_PAGES_MAX,
                                .fd = arena_fd(arena),
                                .closed = true};
    for (uint32_t n = 0; n < s->nglobals; n++)
        if (global_write(i, n, &globals[n], err) < 0)
            return -1;
    return 0;
}

/* Has the disk begin to read the header and all small runs at once: it has them sooner than one
 * after the other. What fails here is only not ahead of time. */
static void fetch_ahead(const struct snapshot *s, int fd)
{
    const struct slot *newest = snapshot_slots(s) + s->nslots - 1;
    const struct run *runs = snapshot_runs(s);

    if (s->nslots)
        posix_fadvise(fd, (off_t)(newest->offset * PAGE_BYTES), PAGE_BYTES, POSIX_FADV_WILLNEED);
    for (size_t n = 0; n < s->nruns; n++)
        if (runs[n].count <= RESTORE_READ_PAGES_MAX)
            posix_fadvise(fd, (off_t)(runs[n].offset * PAGE_BYTES),
                          (off_t)runs[n].count * (off_t)PAGE_BYTES, POSIX_FADV_WILLNEED);
}

int snapshot_fetch(const struct snapshot *s, const struct arena *arena, struct err *err)
{
    uint8_t sink[RESTORE_READ_PAGES_MAX * PAGE_BYTES];
    const struct run *runs = snapshot_runs(s);

    fetch_ahead(s, arena_fd(arena));
    if (snapshot_check_header(s, arena, false, err) < 0)
        return -1;
    for (size_t n = 0; n < s->nruns; n++) {
        if (runs[n].count > RESTORE_READ_PAGES_MAX)
            continue;
        if (pread(arena_fd(arena), sink, (size_t)runs[n].count * PAGE_BYTES,
                  (off_t)(runs[n].offset * PAGE_BYTES)) < 0)
            return err_set(err, ERR_CORRUPT, errno, "read of the snapshot");
    }
    return 0;
}
