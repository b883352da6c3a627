/* Every setting is named, also where it is the default: a default that changes with Wasmtime's
 * version would be a change of guests' behaviour that nobody decided.
 *
 * What the settings are and why:
 *  - epochs interrupt guests (ticks of a millisecond): cheaper than fuel, and enough.
 *  - memories: the on-demand allocator, copy-on-write images, 4 GiB of address space for each and a
 *    guard behind it, so that bounds are checked by the MMU and a memory never moves. Never the
 *    pooling allocator: it would hand one guest's mapped snapshot to the next.
 *  - no unwind tables: nothing native unwinds through guests, and images become much smaller.
 *  - Wasm features: those of the core specification 2.0, tail calls, several memories, and atomic
 *    instructions (never a shared memory: the rewriter makes it a plain one). The others are
 * refused by the rewriter by name; they are off here so that a gap in it is no hole. Typed function
 *    references, GC and exceptions have no switch without Wasmtime's feature "gc", which is not
 *    built: gc_support covers them.
 */
#include "engine/config.h"

#include "engine/rewrite.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif
#include <wasm.h>
#include <wasmtime.h>

#define MEMORY_RESERVATION_BYTES (4ull << 30)
#define MEMORY_GUARD_BYTES       (32ull << 20)

/* Of the settings below; raise it when one changes. */
#define SETTINGS_VERSION 2

static void config_features(wasm_config_t *c)
{
    wasmtime_config_gc_support_set(c, false);
    wasmtime_config_shared_memory_set(c, false);
    wasmtime_config_wasm_tail_call_set(c, true);
    wasmtime_config_wasm_relaxed_simd_set(c, false);
    wasmtime_config_wasm_simd_set(c, true);
    wasmtime_config_wasm_bulk_memory_set(c, true);
    wasmtime_config_wasm_multi_value_set(c, true);
    wasmtime_config_wasm_multi_memory_set(c, true);
#ifdef WASMTIME_FEATURE_THREADS
    wasmtime_config_wasm_threads_set(c, true);
#endif
    wasmtime_config_wasm_memory64_set(c, false);
    wasmtime_config_wasm_wide_arithmetic_set(c, false);
    wasmtime_config_wasm_branch_hinting_set(c, false);
    wasmtime_config_wasm_custom_page_sizes_set(c, false);
}

static void config_memory(wasm_config_t *c)
{
    wasmtime_config_memory_init_cow_set(c, true);
    wasmtime_config_memory_may_move_set(c, false);
    wasmtime_config_memory_reservation_set(c, MEMORY_RESERVATION_BYTES);
    wasmtime_config_memory_reservation_for_growth_set(c, 0);
    wasmtime_config_memory_guard_size_set(c, MEMORY_GUARD_BYTES);
}

static void config_compiler(wasm_config_t *c, bool compiler)
{
#ifdef WASMTIME_FEATURE_COMPILER
    if (!compiler)
        return;
    wasmtime_config_strategy_set(c, WASMTIME_STRATEGY_CRANELIFT);
    wasmtime_config_cranelift_opt_level_set(c, WASMTIME_OPT_LEVEL_SPEED);
    wasmtime_config_cranelift_debug_verifier_set(c, false);
    wasmtime_config_cranelift_nan_canonicalization_set(c, false);
#else
    (void)c;
    assert(!compiler);
#endif
}

struct wasm_config_t *engine_config(bool compiler)
{
    wasm_config_t *c = wasm_config_new();

    wasmtime_config_debug_info_set(c, false);
    wasmtime_config_profiler_set(c, WASMTIME_PROFILING_STRATEGY_NONE);
    wasmtime_config_consume_fuel_set(c, false);
    wasmtime_config_epoch_interruption_set(c, true);
    wasmtime_config_signals_based_traps_set(c, true);
    wasmtime_config_native_unwind_info_set(c, false);
    wasmtime_config_max_wasm_stack_set(c, ENGINE_WASM_STACK_BYTES);
    wasmtime_config_async_stack_size_set(c, ENGINE_FIBER_STACK_BYTES);
    config_features(c);
    config_memory(c);
    config_compiler(c, compiler);
    return c;
}

/* --- the key --- */

static char key[256];
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

/* The compiler uses what this machine's processor has; an image made for more than the processor at
 * hand (another node's cache, a moved virtual machine) must not be found. */
#if defined(__x86_64__)
#define TARGET "x86_64-linux"
static uint64_t cpu_features(void)
{
    uint64_t bits = 0;

    __builtin_cpu_init();
#define FEATURE(at, name) bits |= (uint64_t)(__builtin_cpu_supports(name) != 0) << (at)
    FEATURE(0, "sse3");
    FEATURE(1, "ssse3");
    FEATURE(2, "sse4.1");
    FEATURE(3, "sse4.2");
    FEATURE(4, "popcnt");
    FEATURE(5, "avx");
    FEATURE(6, "avx2");
    FEATURE(7, "fma");
    FEATURE(8, "bmi");
    FEATURE(9, "bmi2");
    FEATURE(10, "avx512f");
    FEATURE(11, "avx512dq");
    FEATURE(12, "avx512vl");
    FEATURE(13, "avx512bitalg");
    FEATURE(14, "avx512vbmi");
#undef FEATURE
    return bits;
}
#elif defined(__aarch64__)
#define TARGET "aarch64-linux"
static uint64_t cpu_features(void)
{
    return getauxval(AT_HWCAP);
}
#else
#error "Roost runs on x86_64 and aarch64"
#endif

static void key_make(void)
{
    snprintf(key, sizeof(key),
             "wasmtime %s; rewriter %u; " TARGET " cpu %llx; settings %d: stack %u/%u, memory "
             "%llu+%llu, epochs, speed",
             WASMTIME_VERSION, REWRITER_VERSION, (unsigned long long)cpu_features(),
             SETTINGS_VERSION, ENGINE_WASM_STACK_BYTES, ENGINE_FIBER_STACK_BYTES,
             MEMORY_RESERVATION_BYTES, MEMORY_GUARD_BYTES);
}

const char *engine_config_key(void)
{
    pthread_once(&key_once, key_make);
    return key;
}
