/* Has a MiB of memory that it fills once and then does not look at itself, but hands to the host:
 * what a fault in a mapped snapshot is like inside a host call.
 *
 * The event's name says what: fill-… it, log-…, call-… (as a body), write-… (of a body), read-…
 * (the event's body into it), random-…, sum-… (looks at it itself), look-… (the same, and returns 1
 * if a byte is wrong), anything else: only counts.
 */
#include <roost.h>

#include <string.h>
#include <wasi/api.h>

#define BIG (1u << 20)

#define LATE (big + BIG / 2) /* what the test takes away begins before here */

static unsigned char *big; /* grown behind all that the guest itself uses */
static volatile unsigned events;

static bool is(const char *name, const char *what)
{
    return strncmp(name, what, strlen(what)) == 0;
}

static void fill(void)
{
    if (!big)
        big = (unsigned char *)(__builtin_wasm_memory_grow(0, BIG / 65536) * 65536);
    memset(big, 'x', BIG);
}

static int look(void)
{
    for (size_t i = 0; i < BIG; i++)
        if (big[i] != 'x')
            return 1;
    return 0;
}

static int write_more(void)
{
    static const char target[] = "kube:/api/v1/x";
    int h = roost_abi_call("POST", 4, target, sizeof(target) - 1, NULL, 0, NULL, 0, ROOST_MORE);

    return h < 0 || roost_abi_write(h, LATE, BIG / 2) < 0 || roost_abi_end(h) < 0;
}

ROOST_HANDLE
{
    static const char target[] = "kube:/api/v1/x";
    char name[64];

    events = events + 1;
    if (roost_event("name", name, sizeof(name)) < 0)
        return 2;
    if (is(name, "fill"))
        fill();
    if (!big)
        return 0; /* a fresh start: nothing to hand out */
    if (is(name, "log"))
        return roost_abi_log(ROOST_ERROR, (const char *)LATE, 100);
    if (is(name, "call"))
        return roost_abi_call("POST", 4, target, sizeof(target) - 1, NULL, 0, LATE, BIG / 2, 0) < 0;
    if (is(name, "write"))
        return write_more();
    if (is(name, "read"))
        return roost_abi_read(0, LATE, 100) < 0;
    if (is(name, "random"))
        return __wasi_random_get(LATE, 100) != 0;
    if (is(name, "sum"))
        return (look(), 0);
    return is(name, "look") ? look() : 0;
}
