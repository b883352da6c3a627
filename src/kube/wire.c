#include "kube/wire.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Strings and where they begin, until it is known how many there are. */
struct draft {
    struct buf text; /* name NUL value NUL ... */
    struct {
        uint32_t name, value;
        bool secret;
    } at[H2_HEADERS_MAX];
    size_t count;
};

/* Who we are, whom we talk to, and what belongs to the connection is never the caller's. A name
 * that ends in '*' stands for all that begin so. */
static const char *const denied[] = {
    "authorization", "cookie",        "host",       "impersonate-*",  "x-remote-*",
    "connection",    "keep-alive",    "te",         "trailer",        "transfer-encoding",
    "upgrade",       "proxy-*",       "user-agent", "content-length", "http2-settings",
    "expect",        "x-forwarded-*", "forwarded",
};

static bool name_matches(const char *name, const char *pattern)
{
    size_t n = strlen(pattern);

    if (pattern[n - 1] == '*')
        return strncmp(name, pattern, n - 1) == 0;
    return strcmp(name, pattern) == 0;
}

static bool is_denied(const char *name)
{
    for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++)
        if (name_matches(name, denied[i]))
            return true;
    return false;
}

/* --- what may stand where --- */

static bool is_token(const char *s, size_t len)
{
    static const char more[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < len; i++) {
        char c = s[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) &&
            (c == 0 || !strchr(more, c)))
            return false;
    }
    return len > 0;
}

/* A header's value: no control characters but the tab, and no space at its ends. */
static bool is_value(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return len == 0 || (s[0] != ' ' && s[0] != '\t' && s[len - 1] != ' ' && s[len - 1] != '\t');
}

static bool is_path(const char *s)
{
    if (s[0] != '/')
        return false;
    for (; *s; s++)
        if (*s <= ' ' || *s >= 0x7f || *s == '#')
            return false;
    return true;
}

/* --- building --- */

/* The value is a and b, one behind the other. */
static int add(struct draft *d, const char *name, struct bytes a, struct bytes b, struct err *err)
{
    if (d->count == H2_HEADERS_MAX)
        return err_set(err, ERR_LIMIT, 0, "more than %u headers", H2_HEADERS_MAX);
    d->at[d->count].name = (uint32_t)d->text.len;
    d->at[d->count].secret = false;
    if (buf_append(&d->text, name, strlen(name) + 1, err) < 0)
        return -1;
    d->at[d->count].value = (uint32_t)d->text.len;
    if (buf_append(&d->text, a.data, a.len, err) < 0 ||
        buf_append(&d->text, b.data, b.len, err) < 0 || buf_append(&d->text, "", 1, err) < 0)
        return -1;
    d->count++;
    return 0;
}

static int add_text(struct draft *d, const char *name, const char *value, struct err *err)
{
    return add(d, name, bytes_of(value), bytes_of(""), err);
}

static int add_checked(struct draft *d, const char *name, const char *value, struct err *err)
{
    if (!*value || !is_value(value, strlen(value)))
        return err_set(err, ERR_INVALID, 0,
                       "%s: empty, or with a line break, a control character or a space at an end",
                       name);
    return add_text(d, name, value, err);
}

static int add_target(struct draft *d, const struct kube_config *config,
                      const struct kube_request *req, struct err *err)
{
    if (!is_token(req->method, strlen(req->method)))
        return err_set(err, ERR_INVALID, 0, "the method is not a word");
    if (!is_path(req->path))
        return err_set(err, ERR_INVALID, 0,
                       "the path must begin with / and hold no space, # or control character");
    return add_text(d, ":method", req->method, err) < 0 ||
                   add_text(d, ":scheme", "https", err) < 0 ||
                   add_text(d, ":authority", config->authority, err) < 0 ||
                   add(d, ":path", bytes_of(config->path_prefix), bytes_of(req->path), err) < 0
               ? -1
               : 0;
}

static int add_token(struct draft *d, const char *token, struct err *err)
{
    if (!token)
        return 0;
    if (add(d, "authorization", bytes_of("Bearer "), bytes_of(token), err) < 0)
        return -1;
    d->at[d->count - 1].secret = true;
    return 0;
}

static int add_identity(struct draft *d, const struct kube_config *config,
                        const struct kube_request *req, struct err *err)
{
    if (add_text(d, "user-agent", "roost/" ROOST_VERSION, err) < 0 ||
        add_token(d, config->token, err) < 0)
        return -1;
    if (req->groups && !req->user)
        return err_set(err, ERR_INVALID, 0, "impersonate-group without impersonate-user");
    if (req->user && add_checked(d, "impersonate-user", req->user, err) < 0)
        return -1;
    for (const char *const *g = req->groups; g && *g; g++)
        if (add_checked(d, "impersonate-group", *g, err) < 0)
            return -1;
    return 0;
}

/* One line without its end: "Name: value". */
static int add_line(struct draft *d, const char *line, size_t len, struct err *err)
{
    const char *colon = memchr(line, ':', len), *value;
    size_t name_len = colon ? (size_t)(colon - line) : 0, value_len;
    char name[64];

    if (!colon || !is_token(line, name_len) || name_len >= sizeof(name))
        return err_set(err, ERR_INVALID, 0, "a header has no proper name (of at most 63 bytes)");
    for (size_t i = 0; i < name_len; i++)
        name[i] = (char)(line[i] >= 'A' && line[i] <= 'Z' ? line[i] | 0x20 : line[i]);
    name[name_len] = 0;
    if (is_denied(name))
        return err_set(err, ERR_DENIED, 0, "header %s cannot be set by a request", name);
    value = colon + 1;
    value_len = len - name_len - 1;
    for (; value_len && (*value == ' ' || *value == '\t'); value_len--)
        value++;
    if (!is_value(value, value_len))
        return err_set(err, ERR_INVALID, 0, "header %s: a control character or a space at the end",
                       name);
    return add(d, name, (struct bytes){(const uint8_t *)value, value_len}, bytes_of(""), err);
}

static int add_lines(struct draft *d, const char *lines, struct err *err)
{
    while (lines && *lines) {
        size_t len = strcspn(lines, "\n");

        if (len && add_line(d, lines, len, err) < 0)
            return -1;
        lines += len + (lines[len] == '\n');
    }
    return 0;
}

static int add_length(struct draft *d, const struct kube_request *req, struct err *err)
{
    char text[24];

    if (req->body_more || req->body_len == 0)
        return 0;
    snprintf(text, sizeof(text), "%zu", req->body_len);
    return add_text(d, "content-length", text, err);
}

static struct kube_wire *assemble(const struct draft *d)
{
    size_t head = sizeof(struct kube_wire) + d->count * sizeof(struct h2_header);
    struct kube_wire *w = malloc(head + d->text.len);
    char *text = (char *)w + head;

    if (!w)
        return NULL;
    memcpy(text, d->text.data, d->text.len);
    w->count = d->count;
    for (size_t i = 0; i < d->count; i++)
        w->headers[i] = (struct h2_header){.name = text + d->at[i].name,
                                           .value = text + d->at[i].value,
                                           .secret = d->at[i].secret};
    return w;
}

int kube_wire_new(struct kube_wire **out, const struct kube_config *config,
                  const struct kube_request *req, struct err *err)
{
    struct draft d = {.text.max = KUBE_REQUEST_BYTES_MAX};
    int rc = add_target(&d, config, req, err) < 0 || add_identity(&d, config, req, err) < 0 ||
                     add_lines(&d, req->headers, err) < 0 || add_length(&d, req, err) < 0
                 ? -1
                 : 0;

    if (rc == 0) {
        *out = assemble(&d);
        if (!*out)
            rc = err_set(err, ERR_NOMEM, 0, "no memory for a request");
    }
    buf_free(&d.text);
    return rc;
}
