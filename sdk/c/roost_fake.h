/* A host of a few lines, for tests of guests that are compiled natively: the nine functions of
 * roost.h.
 *
 * A test sets the event and the answers to the calls it expects, in order, runs the guest's code,
 * and looks at what the guest did. Included once in a program. Nothing waits: an answer is there as
 * soon as it is asked for.
 */
#ifndef ROOST_FAKE_H
#define ROOST_FAKE_H

#include <roost.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FAKE_CALLS_MAX 16
#define FAKE_ATTRS_MAX 8

struct fake_answer {
    int status;
    const char *headers; /* of one header: "name: value" */
    const char *body;
    size_t chunk;  /* at most so many bytes for each read; 0: as asked */
    size_t breaks; /* after so many bytes the answer breaks off; 0: not */
};

struct fake_call {
    char method[16], target[256], headers[256], body[4096];
    size_t read;
    bool closed;
};

static struct {
    struct {
        const char *name, *value;
    } event[FAKE_ATTRS_MAX];
    const char *event_body;
    size_t event_chunk, event_read;
    struct fake_answer answers[FAKE_CALLS_MAX];
    struct fake_call calls[FAKE_CALLS_MAX];
    int ncalls, open;
    char requeue_after[32], error[256], log[1024];
    int log_level, lines;
} fake;

static inline void fake_reset(void)
{
    memset(&fake, 0, sizeof(fake));
}

static inline void fake_attr(int i, const char *name, const char *value)
{
    fake.event[i].name = name;
    fake.event[i].value = value;
}

static void fake_copy(char *out, size_t cap, const void *data, size_t len)
{
    len = len < cap ? len : cap - 1;
    if (len)
        memcpy(out, data, len);
    out[len] = '\0';
}

static struct fake_call *fake_handle(int h)
{
    return h >= 1 && h <= fake.ncalls && !fake.calls[h - 1].closed ? &fake.calls[h - 1] : NULL;
}

int roost_abi_call(const char *method, size_t method_len, const char *target, size_t target_len,
                   const char *headers, size_t headers_len, const void *body, size_t body_len,
                   uint32_t flags)
{
    struct fake_call *c = &fake.calls[fake.ncalls];

    if (fake.ncalls == FAKE_CALLS_MAX)
        return ROOST_EMFILE;
    if (flags != 0)
        return ROOST_EINVAL;
    fake_copy(c->method, sizeof(c->method), method, method_len);
    fake_copy(c->target, sizeof(c->target), target, target_len);
    fake_copy(c->headers, sizeof(c->headers), headers, headers_len);
    fake_copy(c->body, sizeof(c->body), body, body_len);
    fake.open++;
    return ++fake.ncalls;
}

int roost_abi_write(int h, const void *data, size_t len)
{
    (void)data;
    (void)len;
    return h == 0 || fake_handle(h) ? ROOST_EPIPE : ROOST_EBADF;
}

int roost_abi_end(int h)
{
    return roost_abi_write(h, NULL, 0);
}

int roost_abi_wait(const int *handles, size_t n, int timeout_ms)
{
    (void)timeout_ms;
    if (n == 0)
        return ROOST_ETIMEDOUT;
    return fake_handle(handles[0]) ? 0 : ROOST_EBADF;
}

/* Copies what is next of a body. */
static int fake_read(const char *body, size_t *at, size_t chunk, void *buf, size_t cap)
{
    size_t n = body ? strlen(body) - *at : 0;

    n = n < cap ? n : cap;
    n = chunk && n > chunk ? chunk : n;
    if (n)
        memcpy(buf, body + *at, n);
    *at += n;
    return (int)n;
}

int roost_abi_read(int h, void *buf, size_t cap)
{
    struct fake_call *c = fake_handle(h);
    const struct fake_answer *a = c ? &fake.answers[h - 1] : NULL;

    if (cap == 0)
        return ROOST_EINVAL;
    if (h == 0)
        return fake_read(fake.event_body, &fake.event_read, fake.event_chunk, buf, cap);
    if (!a)
        return ROOST_EBADF;
    if (a->breaks && c->read >= a->breaks)
        return ROOST_EIO;
    return fake_read(a->body, &c->read, a->chunk, buf, cap);
}

static int fake_value(const char *value, char *buf, size_t cap)
{
    size_t len = strlen(value);

    if (len && cap)
        memcpy(buf, value, len < cap ? len : cap);
    return (int)len;
}

static int fake_event_attr(const char *name, size_t name_len, char *buf, size_t cap)
{
    for (int i = 0; i < FAKE_ATTRS_MAX && fake.event[i].name; i++)
        if (strlen(fake.event[i].name) == name_len &&
            memcmp(fake.event[i].name, name, name_len) == 0)
            return fake_value(fake.event[i].value, buf, cap);
    return ROOST_ENOENT;
}

int roost_abi_attr(int h, const char *name, size_t name_len, char *buf, size_t cap)
{
    const struct fake_answer *a = fake_handle(h) ? &fake.answers[h - 1] : NULL;
    char status[16];

    if (h == 0)
        return fake_event_attr(name, name_len, buf, cap);
    if (!a)
        return ROOST_EBADF;
    if (name_len == 6 && memcmp(name, "status", 6) == 0) {
        snprintf(status, sizeof(status), "%d", a->status);
        return fake_value(status, buf, cap);
    }
    if (a->headers && strncmp(a->headers, name, name_len) == 0 && a->headers[name_len] == ':')
        return fake_value(a->headers + name_len + 2, buf, cap);
    return ROOST_ENOENT;
}

int roost_abi_set(int h, const char *name, size_t name_len, const char *value, size_t value_len)
{
    if (h != 0)
        return ROOST_EBADF;
    if (name_len == 13 && memcmp(name, "requeue-after", 13) == 0)
        fake_copy(fake.requeue_after, sizeof(fake.requeue_after), value, value_len);
    else if (name_len == 5 && memcmp(name, "error", 5) == 0)
        fake_copy(fake.error, sizeof(fake.error), value, value_len);
    else
        return ROOST_ENOENT;
    return 0;
}

int roost_abi_close(int h)
{
    struct fake_call *c = fake_handle(h);

    if (!c)
        return ROOST_EBADF;
    c->closed = true;
    fake.open--;
    return 0;
}

int roost_abi_log(int level, const char *text, size_t len)
{
    fake.log_level = level;
    fake.lines++;
    fake_copy(fake.log, sizeof(fake.log), text, len);
    return 0;
}

#endif
