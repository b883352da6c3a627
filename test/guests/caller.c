/* Calls in all the ways in which answers can come, or not. The event's name says which; the test's
 * `kube:` knows the targets. Done (0), or the number of the line that was not as expected.
 */
#include <roost.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANDLES_MAX 1024

static int handles[HANDLES_MAX + 1];
static int last_handle;
static char text[65536];

#define EXPECT(what)                                                                               \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            snprintf(text, sizeof(text), "line %d: %s", __LINE__, #what);                          \
            (void)roost_fail(text);                                                                \
            return __LINE__;                                                                       \
        }                                                                                          \
    } while (0)

static int get(const char *target)
{
    return roost_call_start("GET", target, NULL, NULL, 0);
}

/* The type of the host's own answer. */
static bool refused(int h, int status, const char *type)
{
    char got[64];
    int n = 0, len = 0;

    if (roost_status(h) != status)
        return false;
    while ((n = roost_abi_read(h, text + len, sizeof(text) - 1 - (size_t)len)) > 0)
        len += n;
    return roost_json_get_string(text, (size_t)len, "/type", got, sizeof(got)) >= 0 &&
           strcmp(got, type) == 0;
}

/* More calls under way than limits.calls (4 here): the others are refused, until one is over. */
static int many(void)
{
    int h[6], one, status;

    for (int i = 0; i < 6; i++)
        EXPECT((h[i] = get("kube:/hang")) > 0);
    EXPECT(refused(h[4], 429, "roost:limit") && refused(h[5], 429, "roost:limit"));
    EXPECT(roost_abi_wait(h, 4, 0) == ROOST_ETIMEDOUT); /* the first four are under way */
    EXPECT(roost_abi_close(h[2]) == 0);
    EXPECT((one = get("kube:/quick")) > 0 && roost_status(one) == 200);
    /* An answer that has come is no call under way, read or not. Its head may be here before. */
    do {
        EXPECT((one = get("kube:/quick")) > 0);
        status = roost_status(one);
        EXPECT(status == 200 || roost_abi_close(one) == 0);
    } while (status == 429);
    EXPECT(status == 200);
    return 0;
}

/* As many handles as there may be, each a new number; what is open at the end the host closes. */
static int open_handles(void)
{
    for (int i = 0; i < HANDLES_MAX; i++) {
        handles[i] = get("kube:/quick");
        EXPECT(handles[i] > 0 && (i == 0 || handles[i] > handles[i - 1]));
        EXPECT(roost_status(handles[i]) == 200);
    }
    EXPECT(get("kube:/quick") == ROOST_EMFILE);
    EXPECT(roost_abi_close(handles[7]) == 0);
    EXPECT(roost_abi_close(handles[7]) == ROOST_EBADF);
    EXPECT((handles[7] = get("kube:/quick")) > handles[HANDLES_MAX - 1]);
    EXPECT(get("kube:/quick") == ROOST_EMFILE);
    EXPECT(roost_abi_wait(handles, HANDLES_MAX, -1) == 0);
    last_handle = handles[7];
    return 0;
}

/* The next event knows nothing of the handles of the last one. */
static int known(void)
{
    EXPECT(last_handle > 0);
    EXPECT(roost_abi_attr(last_handle, "status", 6, text, 3) == ROOST_EBADF);
    EXPECT(roost_abi_attr(1, "status", 6, text, 3) == ROOST_EBADF);
    EXPECT(get("kube:/quick") == 1);
    return 0;
}

static int leave(void)
{
    for (int i = 0; i < 4; i++)
        EXPECT(get("kube:/hang") > 0);
    return 0;
}

/* Reads a whole answer of the test's pattern, by pieces of cap bytes; how much it was, or -1. */
static long read_pattern(int h, size_t cap)
{
    long total = 0;
    int n;

    while ((n = roost_abi_read(h, text, cap)) > 0)
        for (int i = 0; i < n; i++, total++)
            if ((unsigned char)text[i] != (unsigned char)(total * 7 + total / 251))
                return -1;
    return n == 0 ? total : n;
}

static int stream(long bytes)
{
    int h = get("kube:/stream");

    EXPECT(h > 0 && roost_status(h) == 200);
    EXPECT(roost_header(h, "x-pieces", text, sizeof(text)) > 0);
    EXPECT(read_pattern(h, sizeof(text)) == bytes);
    EXPECT(roost_abi_read(h, text, 1) == 0); /* as often as asked */
    return 0;
}

static int stream_slowly(long bytes)
{
    int h = get("kube:/stream");
    long total = 0;

    EXPECT(h > 0);
    for (int n = 1; n > 0; total += n) {
        EXPECT(roost_abi_wait(&h, 1, -1) == 0);
        n = roost_abi_read(h, text, 3);
        EXPECT(n >= 0 && n <= 3);
    }
    EXPECT(total == bytes);
    return 0;
}

/* Several at once, in whatever order they come. */
static int streams(long bytes)
{
    int h[4], left = 4;
    long total = 0;

    for (int i = 0; i < 4; i++)
        EXPECT((h[i] = get("kube:/stream")) > 0);
    while (left > 0) {
        int at = roost_abi_wait(h, (size_t)left, -1), n;

        EXPECT(at >= 0 && at < left);
        n = roost_abi_read(h[at], text, sizeof(text));
        EXPECT(n >= 0);
        total += n;
        if (n == 0) {
            EXPECT(roost_abi_close(h[at]) == 0);
            h[at] = h[--left];
        }
    }
    EXPECT(total == 4 * bytes);
    return 0;
}

/* It breaks off: what came is read, then that is said, as often as asked. */
static int broken(long bytes)
{
    int h = get("kube:/broken");

    EXPECT(h > 0 && roost_status(h) == 200);
    EXPECT(read_pattern(h, 1000) == ROOST_EIO);
    EXPECT(roost_abi_read(h, text, 1) == ROOST_EIO);
    EXPECT(roost_abi_wait(&h, 1, -1) == 0);
    (void)bytes;
    return 0;
}

static int unreachable(void)
{
    EXPECT(refused(get("kube:/gone"), 502, "roost:unreachable"));
    EXPECT(refused(get("nonsense:x"), 403, "roost:denied"));
    EXPECT(roost_status(get("kube:/missing")) == 404);
    return 0;
}

/* A body in pieces; its echo. */
static int echo(void)
{
    static const char target[] = "kube:/echo";
    int h = roost_abi_call("POST", 4, target, sizeof(target) - 1, "Content-Type: text/plain\n", 25,
                           "begin ", 6, ROOST_MORE);
    int n = 0, len = 0;

    EXPECT(h > 0);
    for (int i = 0; i < 100; i++)
        EXPECT(roost_abi_write(h, "0123456789", 10) == 10);
    EXPECT(roost_abi_end(h) == 0);
    EXPECT(roost_abi_write(h, "x", 1) == ROOST_EPIPE && roost_abi_end(h) == ROOST_EPIPE);
    EXPECT(roost_status(h) == 200);
    while ((n = roost_abi_read(h, text + len, sizeof(text) - (size_t)len)) > 0)
        len += n;
    EXPECT(n == 0 && len == 1006 && !memcmp(text, "begin 0123456789", 16));
    return 0;
}

/* The answer is there before the body has ended: the rest counts as taken. */
static int early(void)
{
    static const char target[] = "kube:/quick";
    int h = roost_abi_call("POST", 4, target, sizeof(target) - 1, NULL, 0, NULL, 0, ROOST_MORE);

    EXPECT(h > 0 && roost_status(h) == 200);
    EXPECT(roost_abi_write(h, text, 1000) == 1000);
    EXPECT(roost_abi_end(h) == 0);
    return 0;
}

/* ABI_BODY_MAX in all, to the byte. */
static int body_limit(void)
{
    static const char target[] = "kube:/hang";
    int h = roost_abi_call("POST", 4, target, sizeof(target) - 1, NULL, 0, text, 65536, ROOST_MORE);

    EXPECT(h > 0);
    for (int i = 1; i < 64; i++)
        EXPECT(roost_abi_write(h, text, 65536) == 65536);
    EXPECT(roost_abi_write(h, text, 1) == ROOST_E2BIG);
    EXPECT(roost_abi_write(h, text, 0) == 0);
    EXPECT(roost_abi_end(h) == 0);
    EXPECT(roost_abi_write(h, text, 1) == ROOST_E2BIG); /* the size first, then the end */
    EXPECT(roost_abi_write(h, text, 0) == ROOST_EPIPE);
    return 0;
}

/* Starts a call with a body of 64 KiB times n that goes on. */
static int start_body(int n)
{
    static const char target[] = "kube:/hang";
    int h = roost_abi_call("POST", 4, target, sizeof(target) - 1, NULL, 0, NULL, 0, ROOST_MORE);

    for (int i = 0; i < n; i++)
        EXPECT(roost_abi_write(h, text, 65536) == 65536);
    return h;
}

/* ABI_BODIES_MAX over all calls, to the byte. */
static int full(void)
{
    static const char target[] = "kube:/hang";
    int h[5], over;

    for (int i = 0; i < 4; i++)
        EXPECT((h[i] = start_body(i < 3 ? 64 : 63)) > 0);
    EXPECT((h[4] = start_body(0)) > 0);
    EXPECT(roost_abi_write(h[4], text, 65535) == 65535);
    EXPECT(roost_abi_write(h[4], text, 2) == ROOST_E2BIG);
    over = roost_abi_call("POST", 4, target, sizeof(target) - 1, NULL, 0, text, 2, 0);
    EXPECT(refused(over, 429, "roost:limit"));
    EXPECT(roost_abi_write(h[4], text, 1) == 1);
    EXPECT(refused(get("kube:/quick"), 429, "roost:limit"));
    EXPECT(roost_abi_close(h[0]) == 0);
    EXPECT(roost_abi_write(h[4], text, 65536) == 65536);
    for (int i = 1; i < 5; i++)
        EXPECT(roost_abi_close(h[i]) == 0);
    return 0;
}

/* The next answer, once the last one has come whole: limits.calls is 1 here. 0: the host holds too
 * much of them already. */
static int next_answer(void)
{
    int h, n;

    while (roost_status(h = get("kube:/stream")) == 429) {
        n = roost_abi_read(h, text, sizeof(text) - 1);
        EXPECT(n > 0 && roost_abi_close(h) == 0);
        text[n] = 0;
        if (strstr(text, "ABI_BODIES_MAX"))
            return 0;
    }
    return h;
}

static int unread(long bytes)
{
    int n = 0;

    while ((handles[n] = next_answer()) > 0)
        n++;
    EXPECT(n == (16 * 1024 * 1024 + bytes - 1) / bytes);
    EXPECT(read_pattern(handles[0], sizeof(text)) == bytes);
    EXPECT(next_answer() > 0);
    return 0;
}

static int hang(void)
{
    int h = get("kube:/hang");

    return roost_abi_read(h, text, 1);
}

/* A long wait is not running time. */
static int pauses(void)
{
    int h = get("kube:/hang");

    EXPECT(roost_abi_wait(NULL, 0, 30) == ROOST_ETIMEDOUT);
    EXPECT(roost_abi_wait(&h, 1, 30) == ROOST_ETIMEDOUT);
    EXPECT(roost_abi_wait(&h, 1, 0) == ROOST_ETIMEDOUT);
    return 0;
}

ROOST_HANDLE
{
    const char *size = getenv("BYTES");
    long bytes = size ? strtol(size, NULL, 10) : 0;
    char name[32];

    if (roost_event("name", name, sizeof(name)) < 0)
        return 1;
    switch (name[0] << 8 | name[1]) {
    case 'm' << 8 | 'a':
        return many();
    case 'o' << 8 | 'p':
        return open_handles();
    case 'k' << 8 | 'n':
        return known();
    case 'l' << 8 | 'e':
        return leave();
    case 's' << 8 | 't':
        return stream(bytes);
    case 's' << 8 | 'l':
        return stream_slowly(bytes);
    case 's' << 8 | 'e':
        return streams(bytes);
    case 'b' << 8 | 'r':
        return broken(bytes);
    case 'u' << 8 | 'n':
        return unreachable();
    case 'e' << 8 | 'c':
        return echo();
    case 'e' << 8 | 'a':
        return early();
    case 'b' << 8 | 'o':
        return body_limit();
    case 'f' << 8 | 'u':
        return full();
    case 'w' << 8 | 'a':
        return unread(bytes);
    case 'h' << 8 | 'a':
        return hang();
    case 'p' << 8 | 'a':
        return pauses();
    default:
        return 0;
    }
}
