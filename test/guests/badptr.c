/* Gives each import pointers that reach outside memory, and handles, lengths and values that are
 * none. Each must be refused with the number that docs/abi.md says, and nothing may happen.
 *
 * Returns how many were not (0: all is well) and says which in the log and in `error`.
 */
#include <roost.h>

#include <string.h>

#define OUTSIDE ((char *)0xfffffff0u) /* 16 bytes before the end of 32 bits */
#define BEYOND  64u                   /* from there round to 0 and on */

static int failures;
static char big[20000];

static void expect(const char *what, int got, int want)
{
    struct roost_decimal g, w;

    if (got == want)
        return;
    failures++;
    roost_error(what, ": got ", roost_decimal(&g, got), ", not ", roost_decimal(&w, want));
    (void)roost_fail(what);
}

/* The last byte of memory: one byte there is fine, two are not. */
static char *last_byte(void)
{
    return (char *)(__builtin_wasm_memory_size(0) * 65536u - 1);
}

static void try_call(void)
{
    static const char get[] = "GET", target[] = "kube:/version";

    expect("call: method outside", roost_abi_call(OUTSIDE, BEYOND, target, 13, NULL, 0, NULL, 0, 0),
           ROOST_EFAULT);
    expect("call: target outside", roost_abi_call(get, 3, OUTSIDE, BEYOND, NULL, 0, NULL, 0, 0),
           ROOST_EFAULT);
    expect("call: headers outside", roost_abi_call(get, 3, target, 13, OUTSIDE, BEYOND, NULL, 0, 0),
           ROOST_EFAULT);
    expect("call: body outside", roost_abi_call(get, 3, target, 13, NULL, 0, OUTSIDE, BEYOND, 0),
           ROOST_EFAULT);
    expect("call: body across the end",
           roost_abi_call(get, 3, target, 13, NULL, 0, last_byte(), 2, 0), ROOST_EFAULT);
    expect("call: length of 4 GiB", roost_abi_call(get, 3, target, 13, NULL, 0, get, UINT32_MAX, 0),
           ROOST_EFAULT);
    expect("call: long method", roost_abi_call(big, 33, target, 13, NULL, 0, NULL, 0, 0),
           ROOST_E2BIG);
    expect("call: long target", roost_abi_call(get, 3, big, 8193, NULL, 0, NULL, 0, 0),
           ROOST_E2BIG);
    expect("call: long headers", roost_abi_call(get, 3, target, 13, big, 16385, NULL, 0, 0),
           ROOST_E2BIG);
    expect("call: no method", roost_abi_call(NULL, 0, target, 13, NULL, 0, NULL, 0, 0),
           ROOST_EINVAL);
    expect("call: method with a space", roost_abi_call("G T", 3, target, 13, NULL, 0, NULL, 0, 0),
           ROOST_EINVAL);
    expect("call: target without scheme",
           roost_abi_call(get, 3, "/version", 8, NULL, 0, NULL, 0, 0), ROOST_EINVAL);
    expect("call: header without colon",
           roost_abi_call(get, 3, target, 13, "Accept", 6, NULL, 0, 0), ROOST_EINVAL);
    expect("call: carriage return", roost_abi_call(get, 3, target, 13, "A: b\r\n", 6, NULL, 0, 0),
           ROOST_EINVAL);
    expect("call: unknown flag", roost_abi_call(get, 3, target, 13, NULL, 0, NULL, 0, 2),
           ROOST_EINVAL);
}

/* Where several are wrong at once, the first in docs/abi.md's order is given. */
static void try_order(void)
{
    static const char get[] = "GET", target[] = "kube:/version";
    int handles[2] = {0, 77};
    char lines[3 * 65];

    for (unsigned i = 0; i < 65; i++)
        memcpy(lines + 3 * i, i ? "A:\n" : "??\n", 3);
    expect("order: fault, then size",
           roost_abi_call(big, 33, target, 13, NULL, 0, OUTSIDE, BEYOND, 0), ROOST_EFAULT);
    expect("order: fault, then handle", roost_abi_write(77, OUTSIDE, BEYOND), ROOST_EFAULT);
    expect("order: fault, then value", roost_abi_log(9, OUTSIDE, BEYOND), ROOST_EFAULT);
    expect("order: handle, then size", roost_abi_set(77, big, 257, "1", 1), ROOST_EBADF);
    expect("order: handle, then no room", roost_abi_read(77, OUTSIDE, 0), ROOST_EBADF);
    expect("order: size, then method", roost_abi_call("?", 1, big, 8193, NULL, 0, NULL, 0, 0),
           ROOST_E2BIG);
    expect("order: lines, then a malformed one",
           roost_abi_call(get, 3, target, 13, lines, sizeof(lines), NULL, 0, 0), ROOST_E2BIG);
    expect("order: a malformed line of so many as may be",
           roost_abi_call(get, 3, target, 13, lines, sizeof(lines) - 3, NULL, 0, 0), ROOST_EINVAL);
    expect("order: size, then no such name", roost_abi_set(0, "nonsense", 8, big, 4097),
           ROOST_E2BIG);
    expect("order: a bad handle behind a readable one", roost_abi_wait(handles, 2, 0), ROOST_EBADF);
}

static void try_handles(int none)
{
    char byte = 0;

    expect("write: no such handle", roost_abi_write(none, &byte, 1), ROOST_EBADF);
    expect("end: no such handle", roost_abi_end(none), ROOST_EBADF);
    expect("read: no such handle", roost_abi_read(none, &byte, 1), ROOST_EBADF);
    expect("attr: no such handle", roost_abi_attr(none, "status", 6, &byte, 1), ROOST_EBADF);
    expect("set: no such handle", roost_abi_set(none, "status", 6, "200", 3), ROOST_EBADF);
    expect("close: no such handle", roost_abi_close(none), ROOST_EBADF);
    expect("wait: no such handle", roost_abi_wait(&none, 1, 0), ROOST_EBADF);
}

static void try_event(void)
{
    char byte = 0;
    int zero = 0;

    expect("write: outside", roost_abi_write(0, OUTSIDE, BEYOND), ROOST_EFAULT);
    expect("write: no body of a reconcile event", roost_abi_write(0, &byte, 1), ROOST_EPIPE);
    expect("end: no body of a reconcile event", roost_abi_end(0), ROOST_EPIPE);
    expect("read: outside", roost_abi_read(0, OUTSIDE, BEYOND), ROOST_EFAULT);
    expect("read: across the end", roost_abi_read(0, last_byte(), 2), ROOST_EFAULT);
    expect("read: no room", roost_abi_read(0, &byte, 0), ROOST_EINVAL);
    expect("attr: name outside", roost_abi_attr(0, OUTSIDE, BEYOND, &byte, 1), ROOST_EFAULT);
    expect("attr: buffer outside", roost_abi_attr(0, "key", 3, OUTSIDE, BEYOND), ROOST_EFAULT);
    expect("attr: no such name", roost_abi_attr(0, "nonsense", 8, &byte, 1), ROOST_ENOENT);
    expect("attr: long name", roost_abi_attr(0, big, 257, &byte, 1), ROOST_E2BIG);
    expect("set: name outside", roost_abi_set(0, OUTSIDE, BEYOND, "1", 1), ROOST_EFAULT);
    expect("set: value outside", roost_abi_set(0, "error", 5, OUTSIDE, BEYOND), ROOST_EFAULT);
    expect("set: no such name", roost_abi_set(0, "nonsense", 8, "1", 1), ROOST_ENOENT);
    expect("set: long value", roost_abi_set(0, "error", 5, big, 4097), ROOST_E2BIG);
    expect("set: no number", roost_abi_set(0, "requeue-after", 13, "1s", 2), ROOST_EINVAL);
    expect("set: more than a year", roost_abi_set(0, "requeue-after", 13, "31536000001", 11),
           ROOST_EINVAL);
    expect("close: the event", roost_abi_close(0), ROOST_EBADF);
    expect("wait: outside", roost_abi_wait((int *)(void *)OUTSIDE, 16, 0), ROOST_EFAULT);
    expect("wait: too many", roost_abi_wait((int *)(void *)big, 1025, 0), ROOST_E2BIG);
    expect("wait: nothing, for ever", roost_abi_wait(NULL, 0, -1), ROOST_EINVAL);
    expect("wait: nothing, now", roost_abi_wait(NULL, 0, 0), ROOST_ETIMEDOUT);
    expect("wait: the event", roost_abi_wait(&zero, 1, 0), 0);
    expect("log: outside", roost_abi_log(ROOST_INFO, OUTSIDE, BEYOND), ROOST_EFAULT);
    expect("log: no such level", roost_abi_log(4, "x", 1), ROOST_EINVAL);
    expect("log: nothing", roost_abi_log(ROOST_DEBUG, OUTSIDE, 0), 0);
    expect("log: the last byte", roost_abi_log(ROOST_DEBUG, last_byte(), 1), 0);
}

ROOST_HANDLE
{
    failures = 0;
    memset(big, 'A', sizeof(big));
    try_call();
    try_handles(77);
    try_handles(-1);
    try_handles(INT32_MIN);
    try_event();
    try_order();
    return failures;
}
