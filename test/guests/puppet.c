/* Does what its event's body says: a list of calls of imports with their arguments, byte by byte,
 * for the fuzzer of host calls (test/fuzz/fuzz_hostcalls.c). Any bytes are such a list.
 *
 * A call is a byte, which import, and for each of its arguments a byte that says how to make it:
 *   0-95     that number            96-127   one of the last results, such as a handle
 *   128-175  a place in the body: two bytes follow
 *   176-207  a place in an area that may be written to
 *   208-231  a number at which something ends (below)
 *   232-255  any number: four bytes follow
 *
 * Done (0), or PUPPET_BROKEN if an import gave a result that docs/abi.md does not have.
 */
#include <roost.h>

#include <string.h>

#define PUPPET_BROKEN 0x5eed
#define BODY_MAX      4096
#define CALLS_MAX     200

typedef uint32_t u;
typedef uint64_t uu;

#define FROM(module, name) __attribute__((import_module(module), import_name(name)))
#define WASI(name)         FROM("wasi_snapshot_preview1", name)

int r_call(u, u, u, u, u, u, u, u, u) FROM("roost", "call");
int r_write(u, u, u) FROM("roost", "write");
int r_end(u) FROM("roost", "end");
int r_wait(u, u, u) FROM("roost", "wait");
int r_read(u, u, u) FROM("roost", "read");
int r_attr(u, u, u, u, u) FROM("roost", "attr");
int r_set(u, u, u, u, u) FROM("roost", "set");
int r_close(u) FROM("roost", "close");
int r_log(u, u, u) FROM("roost", "log");
int w_args_get(u, u) WASI("args_get");
int w_environ_sizes_get(u, u) WASI("environ_sizes_get");
int w_clock_time_get(u, uu, u) WASI("clock_time_get");
int w_fd_fdstat_get(u, u) WASI("fd_fdstat_get");
int w_fd_prestat_get(u, u) WASI("fd_prestat_get");
int w_fd_read(u, u, u, u) WASI("fd_read");
int w_fd_seek(u, uu, u, u) WASI("fd_seek");
int w_fd_write(u, u, u, u) WASI("fd_write");
int w_path_open(u, u, u, u, u, uu, uu, u, u) WASI("path_open");
int w_poll_oneoff(u, u, u, u) WASI("poll_oneoff");
int w_random_get(u, u) WASI("random_get");

static uint8_t body[BODY_MAX];
static _Alignas(64) uint8_t area[32 * 64];
static u results[32];
static size_t at, len;

#define AT(p) ((u)(uintptr_t)(p))

static u byte(void)
{
    return at < len ? body[at++] : 0;
}

static u argument(void)
{
    static const u ends[] = {0xffffffff, 0x7fffffff, 0x80000000, 0xfffffffc, 32,     33,
                             256,        257,        1024,       1025,       4096,   4097,
                             8192,       8193,       16384,      16385,      65536,  65537,
                             4u << 20,   4194305,    1u << 20,   1048577,    262144, 0x40000001};
    u how = byte(), n;

    if (how < 96)
        return how;
    if (how < 128)
        return results[how - 96];
    if (how < 176) {
        n = byte();
        return AT(body) + (n | byte() << 8) % BODY_MAX;
    }
    if (how < 208)
        return AT(area) + (how - 176) * 64;
    if (how < 232)
        return ends[how - 208];
    n = byte();
    n |= byte() << 8;
    n |= byte() << 16;
    return n | byte() << 24;
}

/* Arguments are read in their order: C does not say in which order a call's are. */
static int roost_import(u which)
{
    const u params[] = {9, 3, 1, 3, 3, 5, 5, 1, 3};
    u a[9] = {0};

    for (u i = 0; i < params[which]; i++)
        a[i] = argument();
    switch (which) {
    case 0:
        return r_call(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]);
    case 1:
        return r_write(a[0], a[1], a[2]);
    case 2:
        return r_end(a[0]);
    case 3: /* rarely for long: that is the fuzzer's time */
        return r_wait(a[0], a[1], a[2] & 0x80000003);
    case 4:
        return r_read(a[0], a[1], a[2]);
    case 5:
        return r_attr(a[0], a[1], a[2], a[3], a[4]);
    case 6:
        return r_set(a[0], a[1], a[2], a[3], a[4]);
    case 7:
        return r_close(a[0]);
    default:
        return r_log(a[0], a[1], a[2]);
    }
}

static int wasi_import(u which)
{
    const u params[] = {2, 2, 3, 2, 2, 4, 4, 4, 9, 4, 2};
    u a[9] = {0};

    for (u i = 0; i < params[which]; i++)
        a[i] = argument();
    switch (which) {
    case 0:
        return w_args_get(a[0], a[1]);
    case 1:
        return w_environ_sizes_get(a[0], a[1]);
    case 2:
        return w_clock_time_get(a[0], a[1], a[2]);
    case 3:
        return w_fd_fdstat_get(a[0], a[1]);
    case 4:
        return w_fd_prestat_get(a[0], a[1]);
    case 5:
        return w_fd_read(a[0], a[1], a[2], a[3]);
    case 6:
        return w_fd_seek(a[0], a[1], a[2], a[3]);
    case 7:
        return w_fd_write(a[0], a[1], a[2], a[3]);
    case 8:
        return w_path_open(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]);
    case 9:
        return w_poll_oneoff(a[0], a[1], a[2], a[3]);
    default:
        return w_random_get(a[0], a[1]);
    }
}

static bool is_error(int rc)
{
    static const int8_t errors[] = {-1, -8, -21, -28, -29, -33, -44, -48, -64, -73};

    for (unsigned i = 0; i < sizeof(errors); i++)
        if (rc == errors[i])
            return true;
    return false;
}

ROOST_HANDLE
{
    int n, rc;

    at = len = 0;
    while (len < sizeof(body) && (n = roost_abi_read(0, body + len, sizeof(body) - len)) > 0)
        len += (size_t)n;
    for (u calls = 0; at < len && calls < CALLS_MAX; calls++) {
        u which = byte() % 20;

        rc = which < 9 ? roost_import(which) : wasi_import(which - 9);
        if (which < 9 ? rc < 0 && !is_error(rc) : rc < 0 || rc > 76)
            return PUPPET_BROKEN;
        results[calls % 32] = (u)rc;
    }
    return 0;
}
