/* Exercises calls, several under way at once: call, wait, attr, read, set, close, and with
 * ECHO_TARGET also write and end.
 *
 * Environment: TARGET (kube:/version): a GET must give status 200 and a body; ECHO_TARGET: a POST
 * must give its own body back (left out if unset); REFUSALS=no: `kube:` is a stand-in that checks
 * neither headers nor targets. Returns 0, or the number of the step that
 * failed, with `error` set.
 */
#include <roost.h>

#include <stdlib.h>
#include <string.h>

#define CALLS 5

static struct roost_buf first = ROOST_BUF_GROW(1u << 20), next = ROOST_BUF_GROW(1u << 20);

static int failed(int step, const char *what)
{
    (void)roost_fail(what);
    return step;
}

/* One call by the SDK, the measure for the rest. */
static int one_call(const char *target)
{
    roost_buf_clear(&first);
    if (roost_call("GET", target, NULL, NULL, 0, &first) != 200)
        return failed(1, "GET: not 200");
    return first.len ? 0 : failed(2, "GET: no body");
}

/* Reads an answer in small pieces, through wait. */
static int read_slowly(int h)
{
    char piece[7];
    int n = 1;

    while (n > 0) {
        if (roost_abi_wait(&h, 1, -1) != 0)
            return -1;
        n = roost_abi_read(h, piece, sizeof(piece));
        if (n > 0)
            roost_buf_add(&next, piece, (size_t)n);
    }
    return n;
}

static int many_calls(const char *target)
{
    int handles[CALLS], left = CALLS;

    for (int i = 0; i < CALLS; i++) {
        handles[i] = roost_call_start("GET", target, "Accept: application/json\n", NULL, 0);
        if (handles[i] < 1)
            return failed(3, "call: no handle");
        for (int k = 0; k < i; k++)
            if (handles[k] == handles[i])
                return failed(4, "call: the same handle twice");
    }
    while (left > 0) {
        int at = roost_wait(handles, (size_t)left, -1);

        if (at < 0 || at >= left)
            return failed(5, "wait: no index");
        roost_buf_clear(&next);
        if (roost_status(handles[at]) != 200 || read_slowly(handles[at]) != 0)
            return failed(6, "read: failed");
        if (next.len != first.len)
            return failed(7, "read: another body");
        if (roost_abi_close(handles[at]) != 0)
            return failed(8, "close: failed");
        if (roost_abi_close(handles[at]) != ROOST_EBADF)
            return failed(25, "close: twice");
        handles[at] = handles[--left];
    }
    return 0;
}

static int attributes(const char *target)
{
    static char all[16384];
    char type[128];
    int h = roost_call_start("GET", target, NULL, NULL, 0);
    int whole = roost_abi_attr(h, "", 0, NULL, 0);

    if (whole <= 0 || whole >= (int)sizeof(all))
        return failed(9, "attr: no list");
    if (roost_abi_attr(h, "", 0, all, sizeof(all)) != whole ||
        strncmp(all, "status: 200\n", 12) != 0 || all[whole - 1] != '\n')
        return failed(10, "attr: the list does not begin with the status");
    if (roost_header(h, "content-type", type, sizeof(type)) <= 0 || !strstr(all, type))
        return failed(11, "attr: content-type is not in the list");
    if (roost_header(h, "x-nonsense", type, sizeof(type)) != ROOST_ENOENT)
        return failed(12, "attr: a header that is not there");
    if (roost_abi_attr(h, "status", 6, type, 1) != 3 || type[0] != '2')
        return failed(13, "attr: cut wrongly");
    return roost_abi_close(h) == 0 ? 0 : failed(14, "close: before the body was read");
}

/* A header that may not pass is refused by an answer, not by a number. */
static int refusals(void)
{
    char type[64];

    roost_buf_clear(&next);
    if (roost_call("GET", "kube:/version", "Authorization: Bearer x\n", NULL, 0, &next) != 403)
        return failed(15, "Authorization: not refused");
    if (roost_json_get_string(next.data, next.len, "/type", type, sizeof(type)) < 0 ||
        strcmp(type, "roost:denied") != 0)
        return failed(16, "Authorization: refused by another");
    if (roost_call("GET", "kube:/api/../version", NULL, NULL, 0, NULL) != 403)
        return failed(17, "target with ..: not refused");
    if (roost_call("GET", "nonsense:x", NULL, NULL, 0, NULL) != 403)
        return failed(18, "unknown scheme: not refused");
    return 0;
}

static int echo(const char *target)
{
    static const char body[] = "{\"a\":1}";
    int h = roost_abi_call("POST", 4, target, strlen(target), NULL, 0, body, 3, ROOST_MORE);

    if (h < 1 || roost_abi_write(h, body + 3, 2) != 2 || roost_abi_write(h, body + 5, 2) != 2)
        return failed(19, "write: failed");
    if (roost_abi_end(h) != 0)
        return failed(20, "end: failed");
    if (roost_abi_end(h) != ROOST_EPIPE)
        return failed(26, "end: twice");
    if (roost_abi_write(h, body, 1) != ROOST_EPIPE)
        return failed(21, "write after the end");
    roost_buf_clear(&next);
    if (roost_call_finish(h, &next) != 200 || next.len != 7 || memcmp(next.data, body, 7) != 0)
        return failed(22, "echo: another body");
    return 0;
}

/* A pause, and a call whose answer nobody waits for: the host closes it. */
static int leave_open(const char *target)
{
    if (roost_wait(NULL, 0, 1) != ROOST_ETIMEDOUT)
        return failed(23, "wait: no pause");
    return roost_call_start("GET", target, NULL, NULL, 0) > 0 ? 0 : failed(24, "call: no handle");
}

ROOST_HANDLE
{
    const char *target = getenv("TARGET"), *echo_target = getenv("ECHO_TARGET");
    const char *checks = getenv("REFUSALS");
    int step = 0;

    target = target ? target : "kube:/version";
    if ((step = one_call(target)) || (step = many_calls(target)) || (step = attributes(target)) ||
        ((!checks || strcmp(checks, "no") != 0) && (step = refusals())) ||
        (echo_target && (step = echo(echo_target))) || (step = leave_open(target)))
        return step;
    return 0;
}
