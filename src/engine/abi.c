/* The imports of a guest: module "roost" (docs/abi.md) and WASI preview 1.
 *
 * Here pointers and lengths of the guest become checked memory, and nothing else happens: what the
 * calls mean is struct host_calls of the layer above. Those that never wait use Wasmtime's
 * unchecked entry points (some 10 ns); `wait`, `read` and `attr` are asynchronous: where the layer
 * above answers HOST_PENDING, the fiber is suspended and the same function is tried again at the
 * next poll, with its pointers checked again, since memory may have grown.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* WASI preview 1's numbers, as docs/abi.md gives them. */
enum { ABI_EFAULT = -21, ABI_EIO = -29, ABI_ENOENT = -44, ABI_EPERM = -63, ABI_ETIMEDOUT = -73 };

static struct instance *instance_of(wasmtime_caller_t *caller)
{
    return wasmtime_context_get_data(wasmtime_caller_context(caller));
}

/* Guest memory at ptr..ptr+len, or NULL where that reaches outside. With len 0 the pointer is not
 * looked at; the result is then some valid pointer. */
static uint8_t *guest_at(struct instance *i, uint32_t ptr, uint32_t len)
{
    size_t size = wasmtime_memory_data_size(i->context, &i->memory);
    uint8_t *data = wasmtime_memory_data(i->context, &i->memory);

    if (len == 0)
        return data;
    if (ptr > size || len > size - ptr)
        return NULL;
    return data + ptr;
}

/* What the host is to take out of guest memory. Each page is looked at here: where it cannot be
 * read, the guest is poisoned before anything was done with the bytes that stand in for it. */
static bool guest_bytes(struct instance *i, uint32_t ptr, uint32_t len, struct bytes *out)
{
    out->data = guest_at(i, ptr, len);
    out->len = len;
    if (!out->data)
        return false;
    if (len > ABI_BODY_MAX)
        return true; /* longer than anything that is taken: refused by its length alone */
    for (size_t at = 0; at < len; at += PAGE_BYTES)
        (void)*(const volatile uint8_t *)(out->data + at);
    if (len)
        (void)*(const volatile uint8_t *)(out->data + len - 1);
    return !i->guard.poisoned;
}

static wasm_trap_t *trap_text(const char *text)
{
    return wasmtime_trap_new(text, strlen(text));
}

static const char poisoned_text[] = "a page of its snapshot could not be read";

/* What the layer above hears of: errors that are not of the world, nor an attribute that is not
 * there, which is a way to ask. */
static void note_misuse(struct instance *i, const char *name, int32_t rc, bool asks)
{
    if (rc >= 0 || rc == ABI_EIO || rc == ABI_ETIMEDOUT || (rc == ABI_ENOENT && asks))
        return;
    i->engine->calls->misused(i->user, name, rc);
}

/* --- imports that never wait --- */

typedef int32_t (*plain_fn)(struct instance *i, const wasmtime_val_raw_t *a);

static uint32_t arg(const wasmtime_val_raw_t *a, int n)
{
    return (uint32_t)a[n].i32;
}

static int32_t plain_call(struct instance *i, const wasmtime_val_raw_t *a)
{
    struct host_call call = {.flags = arg(a, 8)};

    if (!guest_bytes(i, arg(a, 0), arg(a, 1), &call.method) ||
        !guest_bytes(i, arg(a, 2), arg(a, 3), &call.target) ||
        !guest_bytes(i, arg(a, 4), arg(a, 5), &call.headers) ||
        !guest_bytes(i, arg(a, 6), arg(a, 7), &call.body))
        return ABI_EFAULT;
    return i->engine->calls->call(i->user, &call);
}

static int32_t plain_write(struct instance *i, const wasmtime_val_raw_t *a)
{
    struct bytes data;

    if (!guest_bytes(i, arg(a, 1), arg(a, 2), &data))
        return ABI_EFAULT;
    return i->engine->calls->write(i->user, a[0].i32, data);
}

static int32_t plain_end(struct instance *i, const wasmtime_val_raw_t *a)
{
    return i->engine->calls->end(i->user, a[0].i32);
}

static int32_t plain_set(struct instance *i, const wasmtime_val_raw_t *a)
{
    struct bytes name, value;

    if (!guest_bytes(i, arg(a, 1), arg(a, 2), &name) ||
        !guest_bytes(i, arg(a, 3), arg(a, 4), &value))
        return ABI_EFAULT;
    return i->engine->calls->set(i->user, a[0].i32, name, value);
}

static int32_t plain_close(struct instance *i, const wasmtime_val_raw_t *a)
{
    return i->engine->calls->close(i->user, a[0].i32);
}

static int32_t plain_log(struct instance *i, const wasmtime_val_raw_t *a)
{
    struct bytes text;

    if (!guest_bytes(i, arg(a, 1), arg(a, 2), &text))
        return ABI_EFAULT;
    return i->engine->calls->log(i->user, a[0].i32, text);
}

struct plain {
    const char *name;
    size_t params;
    plain_fn fn;
    bool always; /* also outside an event */
};

static const struct plain plain_imports[] = {
    {"call", 9, plain_call, false}, {"write", 3, plain_write, false}, {"end", 1, plain_end, false},
    {"set", 5, plain_set, false},   {"close", 1, plain_close, false}, {"log", 3, plain_log, true},
};

static wasm_trap_t *plain_entry(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *args,
                                size_t nargs)
{
    const struct plain *import = env;
    struct instance *i = instance_of(caller);

    (void)nargs;
    if (i->guard.poisoned)
        return trap_text(poisoned_text);
    if (!import->always && i->fn != INSTANCE_HANDLE)
        args[0].i32 = ABI_EPERM;
    else
        args[0].i32 = import->fn(i, args);
    note_misuse(i, import->name, args[0].i32, false);
    return i->guard.poisoned ? trap_text(poisoned_text) : NULL;
}

/* --- imports that may wait --- */

static int32_t again_wait(struct instance *i, const wasmtime_val_t *a)
{
    uint32_t n = (uint32_t)a[1].of.i32;
    uint8_t *handles;

    if (n > UINT32_MAX / 4 || !(handles = guest_at(i, (uint32_t)a[0].of.i32, n * 4)))
        return ABI_EFAULT;
    return i->engine->calls->wait(i->user, handles, n, a[2].of.i32);
}

static int32_t again_read(struct instance *i, const wasmtime_val_t *a)
{
    uint32_t cap = (uint32_t)a[2].of.i32;
    uint8_t *buf = guest_at(i, (uint32_t)a[1].of.i32, cap);

    if (!buf)
        return ABI_EFAULT;
    return i->engine->calls->read(i->user, a[0].of.i32, buf, cap);
}

static int32_t again_attr(struct instance *i, const wasmtime_val_t *a)
{
    uint32_t cap = (uint32_t)a[4].of.i32;
    uint8_t *buf = guest_at(i, (uint32_t)a[3].of.i32, cap);
    struct bytes name;

    if (!buf || !guest_bytes(i, (uint32_t)a[1].of.i32, (uint32_t)a[2].of.i32, &name))
        return ABI_EFAULT;
    return i->engine->calls->attr(i->user, a[0].of.i32, name, buf, cap);
}

struct waiting {
    const char *name;
    size_t params;
    int32_t (*again)(struct instance *i, const wasmtime_val_t *args);
    bool asks; /* for what may not be there */
};

static const struct waiting waiting_imports[] = {
    {"wait", 3, again_wait, false},
    {"read", 3, again_read, false},
    {"attr", 5, again_attr, true},
};

static bool continue_at_once(void *env)
{
    (void)env;
    return true;
}

/* Polled with the instance: true when the import has its answer. */
static bool continue_pending(void *env)
{
    struct instance *i = env;
    struct pending *p = &i->pending;
    int32_t rc;

    if (i->guard.poisoned) {
        *p->trap = trap_text(poisoned_text);
        return true;
    }
    rc = p->again(i, p->args);
    if (rc == HOST_PENDING) {
        i->waiting = true;
        return false;
    }
    if (p->import)
        note_misuse(i, p->import->name, rc, p->import->asks);
    *p->result = (wasmtime_val_t){.kind = WASMTIME_I32, .of.i32 = rc};
    return true;
}

static void waiting_entry(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args,
                          size_t nargs, wasmtime_val_t *results, size_t nresults,
                          wasm_trap_t **trap, wasmtime_async_continuation_t *continuation)
{
    const struct waiting *import = env;
    struct instance *i = instance_of(caller);

    (void)nargs;
    (void)nresults;
    continuation->callback = continue_at_once;
    continuation->env = i;
    continuation->finalizer = NULL;
    results[0] = (wasmtime_val_t){.kind = WASMTIME_I32, .of.i32 = ABI_EPERM};
    if (i->fn != INSTANCE_HANDLE) {
        note_misuse(i, import->name, ABI_EPERM, false);
        return;
    }
    i->pending = (struct pending){
        .again = import->again, .import = import, .args = args, .result = results, .trap = trap};
    continuation->callback = continue_pending;
}

/* --- WASI --- */

static int32_t call_wasi(struct instance *i, const struct wasi_function *f, const union wasi_arg *a)
{
    struct wasi_mem mem = {.data = wasmtime_memory_data(i->context, &i->memory),
                           .len = wasmtime_memory_data_size(i->context, &i->memory)};

    return f->fn(&i->wasi, mem, a);
}

static wasm_trap_t *wasi_entry(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *args,
                               size_t nargs)
{
    const struct wasi_function *f = env;
    struct instance *i = instance_of(caller);
    union wasi_arg a[WASI_PARAMS_MAX] = {0};
    int32_t rc;

    if (i->guard.poisoned)
        return trap_text(poisoned_text);
    for (size_t n = 0; f->params[n]; n++) {
        if (f->params[n] == 'I')
            a[n].i64 = args[n].i64;
        else
            a[n].i32 = args[n].i32;
    }
    (void)nargs;
    rc = call_wasi(i, f, a);
    if (rc == WASI_EXIT) {
        char text[64];

        snprintf(text, sizeof(text), "proc_exit(%d)", a[0].i32);
        return trap_text(text);
    }
    if (f->has_result)
        args[0].i32 = rc;
    return NULL;
}

/* A sleep (poll_oneoff) is a wait for nothing: the layer above has the timers. When it says that
 * the time passed, WASI is asked again and may not wait once more. */
static int32_t sleep_on(struct instance *i)
{
    uint64_t now = clock_now_ns(), left = i->wasi.resume_ns > now ? i->wasi.resume_ns - now : 1;
    uint64_t ms = (left - 1) / NS_PER_MS + 1;
    int32_t rc = i->engine->calls->wait(i->user, wasmtime_memory_data(i->context, &i->memory), 0,
                                        ms < INT32_MAX ? (int32_t)ms : INT32_MAX);

    i->sleeping = rc == HOST_PENDING;
    return rc;
}

static int32_t again_wasi(struct instance *i, const wasmtime_val_t *args)
{
    const struct wasi_function *f = i->pending.env;
    union wasi_arg a[WASI_PARAMS_MAX] = {0};
    int32_t rc;

    for (size_t n = 0; f->params[n]; n++)
        a[n].i64 = f->params[n] == 'I' ? args[n].of.i64 : (uint32_t)args[n].of.i32;
    if (i->sleeping) {
        if (sleep_on(i) == HOST_PENDING)
            return HOST_PENDING;
        i->wasi.can_wait = false;
    }
    rc = call_wasi(i, f, a);
    if (rc != WASI_PENDING)
        return rc;
    if (sleep_on(i) == HOST_PENDING)
        return HOST_PENDING;
    i->wasi.can_wait = false;
    return call_wasi(i, f, a);
}

/* Outside an event nobody would poll again: sleeps end at once there. */
static void wasi_waiting_entry(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args,
                               size_t nargs, wasmtime_val_t *results, size_t nresults,
                               wasm_trap_t **trap, wasmtime_async_continuation_t *continuation)
{
    struct instance *i = instance_of(caller);

    (void)nargs;
    (void)nresults;
    i->wasi.can_wait = i->fn == INSTANCE_HANDLE;
    i->sleeping = false;
    i->pending = (struct pending){
        .again = again_wasi, .env = env, .args = args, .result = results, .trap = trap};
    continuation->callback = continue_pending;
    continuation->env = i;
    continuation->finalizer = NULL;
}

/* --- definition --- */

static wasm_functype_t *func_type(const char *params, size_t nresults)
{
    wasm_valtype_vec_t in, out;
    size_t n = strlen(params);

    wasm_valtype_vec_new_uninitialized(&in, n);
    for (size_t k = 0; k < n; k++)
        in.data[k] = wasm_valtype_new(params[k] == 'I' ? WASM_I64 : WASM_I32);
    wasm_valtype_vec_new_uninitialized(&out, nresults);
    for (size_t k = 0; k < nresults; k++)
        out.data[k] = wasm_valtype_new(WASM_I32);
    return wasm_functype_new(&in, &out);
}

static int define_plain(struct engine *e, const char *module, const char *name, const char *params,
                        size_t nresults, wasmtime_func_unchecked_callback_t fn, void *env,
                        struct err *err)
{
    wasm_functype_t *type = func_type(params, nresults);
    wasmtime_error_t *error = wasmtime_linker_define_func_unchecked(
        e->linker, module, strlen(module), name, strlen(name), type, fn, env, NULL);

    wasm_functype_delete(type);
    return error ? err_wasmtime(err, ERR_INVALID, error, NULL, name) : 0;
}

static int define_waiting(struct engine *e, const char *module, const char *name,
                          const char *params, wasmtime_func_async_callback_t fn, const void *env,
                          struct err *err)
{
    wasm_functype_t *type = func_type(params, 1);
    wasmtime_error_t *error =
        wasmtime_linker_define_async_func(e->linker, module, strlen(module), name, strlen(name),
                                          type, fn, (void *)(uintptr_t)env, NULL);

    wasm_functype_delete(type);
    return error ? err_wasmtime(err, ERR_INVALID, error, NULL, name) : 0;
}

static int define_wasi(struct engine *e, const struct wasi_function *f, struct err *err)
{
    static const char module[] = "wasi_snapshot_preview1";

    if (f->may_wait)
        return define_waiting(e, module, f->name, f->params, wasi_waiting_entry, f, err);
    return define_plain(e, module, f->name, f->params, f->has_result, wasi_entry,
                        (void *)(uintptr_t)f, err);
}

int abi_define(struct engine *e, struct err *err)
{
    static const char ints[] = "iiiiiiiiii";
    const size_t most = sizeof(ints) - 1;

    for (size_t k = 0; k < sizeof(plain_imports) / sizeof(plain_imports[0]); k++)
        if (define_plain(e, "roost", plain_imports[k].name, ints + most - plain_imports[k].params,
                         1, plain_entry, (void *)(uintptr_t)&plain_imports[k], err) < 0)
            return -1;
    for (size_t k = 0; k < sizeof(waiting_imports) / sizeof(waiting_imports[0]); k++)
        if (define_waiting(e, "roost", waiting_imports[k].name,
                           ints + most - waiting_imports[k].params, waiting_entry,
                           &waiting_imports[k], err) < 0)
            return -1;
    for (size_t k = 0; k < wasi_functions_n; k++)
        if (define_wasi(e, &wasi_functions[k], err) < 0)
            return -1;
    return 0;
}

static void output_line(void *ctx, int fd, const char *text, size_t len)
{
    struct instance *i = ctx;

    i->engine->calls->output(i->user, fd, text, len);
}

void abi_bind_output(struct instance *i)
{
    i->wasi.output = output_line;
    i->wasi.ctx = i;
}
