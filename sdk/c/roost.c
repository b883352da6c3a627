/* The C SDK: text buffers, the event, calls and Kubernetes, over the nine imports.
 *
 * It keeps no state, and allocates only in growing buffers. Every length is checked against what is
 * left before a byte is written.
 */
#include "roost.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* --- Buffers --- */

#define GROW_FIRST 1024u

static int buf_fail(struct roost_buf *b, int error)
{
    if (!b->error)
        b->error = error;
    return b->error;
}

/* The next capacity that holds need bytes: doubled, at most max. */
static size_t grown(const struct roost_buf *b, size_t need)
{
    size_t cap = b->cap ? b->cap : GROW_FIRST;

    while (cap < need)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    return cap < b->max ? cap : b->max;
}

int roost_buf_reserve(struct roost_buf *b, size_t extra)
{
    char *data = NULL;
    size_t cap = 0;

    if (b->error)
        return b->error;
    if (b->cap > b->len && extra < b->cap - b->len)
        return 0;
    if (b->max == 0 || b->len >= b->max || extra >= b->max - b->len)
        return buf_fail(b, ROOST_E2BIG);
    cap = grown(b, b->len + extra + 1);
    data = realloc(b->data, cap);
    if (!data)
        return buf_fail(b, ROOST_ENOMEM);
    b->data = data;
    b->cap = cap;
    return 0;
}

int roost_buf_add(struct roost_buf *b, const void *data, size_t len)
{
    if (roost_buf_reserve(b, len) < 0)
        return b->error;
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return 0;
}

int roost_buf_str(struct roost_buf *b, const char *text)
{
    return roost_buf_add(b, text, strlen(text));
}

int roost_buf_uint(struct roost_buf *b, uint64_t n)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    return roost_buf_add(b, digits + at, sizeof(digits) - at);
}

int roost_buf_int(struct roost_buf *b, int64_t n)
{
    if (n < 0)
        roost_buf_add(b, "-", 1);
    return roost_buf_uint(b, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

static const char hex_digits[] = "0123456789abcdef";

int roost_buf_hex(struct roost_buf *b, uint64_t n)
{
    char digits[16];

    for (size_t i = sizeof(digits); i-- > 0; n >>= 4)
        digits[i] = hex_digits[n & 15];
    return roost_buf_add(b, digits, sizeof(digits));
}

static void buf_json_char(struct roost_buf *b, unsigned char c)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    const char *known = memchr(from, c, sizeof(from) - 1);
    char text[6] = {'\\', 'u', '0', '0', hex_digits[c >> 4], hex_digits[c & 15]};

    if (known)
        text[1] = to[known - from];
    roost_buf_add(b, text, known ? 2 : sizeof(text));
}

int roost_buf_json(struct roost_buf *b, const char *text, size_t len)
{
    size_t plain = 0; /* start of what needs no escape */

    roost_buf_add(b, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        if (i > plain)
            roost_buf_add(b, text + plain, i - plain);
        buf_json_char(b, c);
        plain = i + 1;
    }
    if (len > plain)
        roost_buf_add(b, text + plain, len - plain);
    return roost_buf_add(b, "\"", 1);
}

void roost_buf_clear(struct roost_buf *b)
{
    b->len = 0;
    b->error = 0;
    if (b->cap)
        b->data[0] = '\0';
}

void roost_buf_free(struct roost_buf *b)
{
    if (b->max) {
        free(b->data);
        b->data = NULL;
        b->cap = 0;
    }
    roost_buf_clear(b);
}

/* --- Logging --- */

void roost_log(enum roost_level level, const char *text)
{
    (void)roost_abi_log((int)level, text, strlen(text));
}

void roost_log_pieces(enum roost_level level, ...)
{
    char line[512];
    size_t len = 0;
    va_list ap;

    va_start(ap, level);
    for (const char *s = va_arg(ap, const char *); s; s = va_arg(ap, const char *))
        while (*s && len < sizeof(line) - 1)
            line[len++] = *s++;
    va_end(ap);
    (void)roost_abi_log((int)level, line, len);
}

const char *roost_decimal(struct roost_decimal *d, int64_t n)
{
    struct roost_buf b = ROOST_BUF_FIXED(d->text);

    roost_buf_int(&b, n);
    return d->text;
}

/* --- The event, and reading --- */

/* Any attribute, as text with a NUL: all of it or an error. */
static int attr_text(int h, const char *name, char *out, size_t cap)
{
    int n = 0;

    if (cap == 0)
        return ROOST_E2BIG;
    n = roost_abi_attr(h, name, strlen(name), out, cap - 1);
    if (n >= 0 && (size_t)n >= cap)
        n = ROOST_E2BIG;
    out[n < 0 ? 0 : n] = '\0';
    return n;
}

/* The buffer is full: is that all? */
static int body_ended(int h, struct roost_buf *b)
{
    char one;
    int n = roost_abi_read(h, &one, 1);

    if (n > 0)
        return buf_fail(b, ROOST_E2BIG);
    return n;
}

/* Adds all that is left of a body; 0 or negative. */
static int read_all(int h, struct roost_buf *b)
{
    for (;;) {
        int n = 0;

        if (b->error)
            return b->error;
        if (b->len + 1 >= b->cap && b->len + 1 >= b->max)
            return body_ended(h, b);
        if (roost_buf_reserve(b, 1) < 0)
            return b->error;
        n = roost_abi_read(h, b->data + b->len, b->cap - b->len - 1);
        if (n <= 0)
            return n;
        b->len += (size_t)n;
        b->data[b->len] = '\0';
    }
}

/* Reads a body to its end and drops it. */
static int drain(int h)
{
    char scratch[256];
    int n = 0;

    do {
        n = roost_abi_read(h, scratch, sizeof(scratch));
    } while (n > 0);
    return n;
}

int roost_event(const char *name, char *out, size_t cap)
{
    return attr_text(0, name, out, cap);
}

int roost_event_body(struct roost_buf *b)
{
    size_t before = b->len;
    int rc = read_all(0, b);

    return rc < 0 ? rc : (int)(b->len - before);
}

int roost_requeue_after_ms(uint64_t ms)
{
    char text[24];
    struct roost_buf b = ROOST_BUF_FIXED(text);

    roost_buf_uint(&b, ms);
    return roost_abi_set(0, "requeue-after", 13, b.data, b.len);
}

int roost_fail(const char *why)
{
    (void)roost_abi_set(0, "error", 5, why, strlen(why));
    return 1;
}

/* --- Calls --- */

int roost_call_start(const char *method, const char *target, const char *headers, const void *body,
                     size_t body_len)
{
    return roost_abi_call(method, strlen(method), target, strlen(target), headers,
                          headers ? strlen(headers) : 0, body, body_len, 0);
}

int roost_status(int h)
{
    char text[4];
    int n = attr_text(h, "status", text, sizeof(text));

    if (n < 0)
        return n;
    if (n != 3)
        return ROOST_EINVAL;
    for (int i = 0; i < 3; i++)
        if (text[i] < '0' || text[i] > '9')
            return ROOST_EINVAL;
    return (text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0');
}

int roost_header(int h, const char *name, char *out, size_t cap)
{
    return attr_text(h, name, out, cap);
}

int roost_call_finish(int h, struct roost_buf *answer)
{
    int status = roost_status(h), rc = 0;

    if (status >= 0)
        rc = answer ? read_all(h, answer) : drain(h);
    (void)roost_abi_close(h);
    return rc < 0 ? rc : status;
}

int roost_call(const char *method, const char *target, const char *headers, const void *body,
               size_t body_len, struct roost_buf *answer)
{
    int h = roost_call_start(method, target, headers, body, body_len);

    return h < 0 ? h : roost_call_finish(h, answer);
}

int roost_wait(const int *handles, size_t n, int timeout_ms)
{
    return roost_abi_wait(handles, n, timeout_ms);
}

/* --- Kubernetes --- */

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Adds one segment of a path, after checking that it can be nothing else. */
static void add_segment(struct roost_buf *b, const char *text, size_t len)
{
    bool dots = len <= 2;

    for (size_t i = 0; i < len; i++) {
        dots = dots && text[i] == '.';
        if (!is_alnum(text[i]) && (text[i] == '\0' || !strchr("-._:", text[i])))
            buf_fail(b, ROOST_EINVAL);
    }
    if (dots) /* "", "." and ".." */
        buf_fail(b, ROOST_EINVAL);
    roost_buf_str(b, "/");
    roost_buf_add(b, text, len);
}

static void add_api(struct roost_buf *b, const char *api_version)
{
    const char *slash = strchr(api_version, '/');

    roost_buf_str(b, slash ? "kube:/apis" : "kube:/api");
    if (slash)
        add_segment(b, api_version, (size_t)(slash - api_version));
    add_segment(b, slash ? slash + 1 : api_version, strlen(slash ? slash + 1 : api_version));
}

int roost_kube_target(char *out, size_t cap, const char *api_version, const char *ns,
                      const char *plural, const char *name)
{
    struct roost_buf b = {out, 0, cap, 0, 0};

    add_api(&b, api_version);
    if (ns && *ns) {
        roost_buf_str(&b, "/namespaces");
        add_segment(&b, ns, strlen(ns));
    }
    add_segment(&b, plural, strlen(plural));
    if (name && *name)
        add_segment(&b, name, strlen(name));
    if (b.error && cap)
        out[0] = '\0';
    return b.error ? b.error : (int)b.len;
}

#define ACCEPT_JSON "Accept: application/json\n"
#define SEND(type)  ACCEPT_JSON "Content-Type: " type "\n"

int roost_kube_get(const char *target, struct roost_buf *answer)
{
    return roost_call("GET", target, ACCEPT_JSON, NULL, 0, answer);
}

int roost_kube_create(const char *collection, const char *object, size_t len,
                      struct roost_buf *answer)
{
    return roost_call("POST", collection, SEND("application/json"), object, len, answer);
}

int roost_kube_update(const char *target, const char *object, size_t len, struct roost_buf *answer)
{
    return roost_call("PUT", target, SEND("application/json"), object, len, answer);
}

int roost_kube_patch(const char *target, const char *patch, size_t len, struct roost_buf *answer)
{
    return roost_call("PATCH", target, SEND("application/merge-patch+json"), patch, len, answer);
}

int roost_kube_apply(const char *target, const char *object, size_t len, struct roost_buf *answer)
{
    return roost_call("PATCH", target, SEND("application/apply-patch+yaml"), object, len, answer);
}

int roost_kube_delete(const char *target, struct roost_buf *answer)
{
    return roost_call("DELETE", target, ACCEPT_JSON, NULL, 0, answer);
}
