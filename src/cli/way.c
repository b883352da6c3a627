/* Where the daemon is asked. Without --server it is the socket in the state directory. */
#include "base/file.h"
#include "base/limits.h"
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *env(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static int bad_server(const char *server, struct err *err)
{
    return err_set(err, ERR_USAGE, 0,
                   "--server %.120s: must be https://HOST:PORT or unix:PATH of a socket", server);
}

/* HOST:PORT, with an IPv6 address in brackets; a slash at the end means nothing. */
static int take_address(struct cli_way *way, const char *server, const char *text, struct err *err)
{
    size_t len = strcspn(text, "/"), host;
    const char *colon = memrchr(text, ':', len);
    bool six = *text == '[';

    if (!colon || text[len + (text[len] == '/')])
        return bad_server(server, err);
    host = (size_t)(colon - text);
    if (six && (host < 3 || text[host - 1] != ']'))
        return bad_server(server, err);
    snprintf(way->host, sizeof(way->host), "%.*s", (int)(host - 2 * six), text + six);
    snprintf(way->port, sizeof(way->port), "%.*s", (int)(len - host - 1), colon + 1);
    if (!*way->host || !*way->port || host >= sizeof(way->host) ||
        strspn(way->port, "0123456789") != len - host - 1)
        return bad_server(server, err);
    return 0;
}

static int take_token(struct cli_way *way, const char *path, struct err *err)
{
    struct buf text = {.max = ADMIN_TOKEN_MAX + 3};
    int rc = file_read(&text, path, err);

    if (rc == 0) {
        size_t len = text.len && text.data[text.len - 1] == '\n' ? text.len - 1 : text.len;

        for (size_t i = 0; i < len && rc == 0; i++)
            if (text.data[i] <= ' ' || text.data[i] >= 0x7f)
                rc = err_set(err, ERR_INVALID, 0, "%s: a token is one line without blanks", path);
        if (len == 0 || len > ADMIN_TOKEN_MAX)
            rc = err_set(err, ERR_INVALID, 0, "%s: a token has from 1 to %u characters", path,
                         ADMIN_TOKEN_MAX);
        if (rc == 0)
            memcpy(way->token, text.data, len);
    }
    if (text.data)
        explicit_bzero(text.data, text.cap);
    buf_free(&text);
    return rc < 0 ? err_wrap(err, "--token-file") : 0;
}

static int open_tls(struct cli_way *way, const char *server, struct http1_question *question,
                    struct err *err)
{
    const char *token = env("ROOST_TOKEN_FILE"), *ca = env("ROOST_CA_FILE");

    if (take_address(way, server, server + strlen("https://"), err) < 0)
        return -1;
    if (!token)
        return err_set(err, ERR_USAGE, 0,
                       "--server %.120s needs --token-file FILE: what its admin.tokenFile has",
                       server);
    if (take_token(way, token, err) < 0)
        return -1;
    if (ca && file_read(&way->ca, ca, err) < 0)
        return err_wrap(err, "--ca-file");
    way->remote = (struct http1_remote){.host = way->host, .port = way->port};
    if (ca && !(way->remote.ca_pem = buf_cstr(&way->ca)))
        return err_set(err, ERR_NOMEM, 0, "--ca-file");
    way->over_tls = true;
    way->shown = server;
    question->remote = &way->remote;
    question->token = way->token;
    return 0;
}

int cli_way_open(struct cli_way *way, const char *state, struct http1_question *question,
                 struct err *err)
{
    const char *server = env("ROOST_SERVER");
    int n;

    *way = (struct cli_way){.ca = {.max = ADMIN_PEM_BYTES_MAX + 1}};
    way->shown = way->path;
    if (server && strncmp(server, "https://", 8) == 0)
        return open_tls(way, server, question, err);
    if (server && strncmp(server, "unix:", 5) != 0)
        return bad_server(server, err);
    n = server ? snprintf(way->path, sizeof(way->path), "%s", server + 5)
               : snprintf(way->path, sizeof(way->path), "%s/admin.sock", state);
    if (n >= (int)sizeof(way->path))
        return err_set(err, ERR_LIMIT, 0, "--state %.80s...: the path is too long", state);
    return 0;
}

void cli_way_free(struct cli_way *way)
{
    explicit_bzero(way->token, sizeof(way->token));
    buf_free(&way->ca);
}
