/* Tries to call what it was not granted, and to be somebody else: each scheme, target, method and
 * header of the tables below must be refused by the host. Done (0) if all were; else the number of
 * those that were not, with the last in `error`. Under the key good-…: calls that pass.
 */
#include "bad.h"

#include <stdio.h>

static int passed;

static void not_refused(const char *what, const char *which, int status)
{
    char text[200];

    passed++;
    snprintf(text, sizeof(text), "%s was not refused (%d): %s", what, status, which);
    (void)roost_fail(text);
}

/* By a 403 of the host's own (status), or because it is malformed (a negative number). */
static int answer_of(const char *method, const char *target, const char *headers)
{
    int h = roost_call_start(method, target, headers, NULL, 0), status;
    char type[64], problem[1024];
    int n;

    if (h < 0)
        return h;
    status = roost_status(h);
    n = roost_abi_read(h, problem, sizeof(problem));
    if (status == 403 &&
        (n <= 0 || roost_json_get_string(problem, (size_t)n, "/type", type, sizeof(type)) < 0 ||
         strcmp(type, "roost:denied") != 0))
        status = 200; /* somebody else's 403 */
    (void)roost_abi_close(h);
    return status;
}

static void refused(const char *what, const char *which, int status)
{
    if (status != 403 && status != ROOST_EINVAL)
        not_refused(what, which, status);
}

static void schemes(void)
{
    static const char *const all[] = {"http://127.0.0.1/",
                                      "https://kubernetes.default/",
                                      "file:/etc/passwd",
                                      "state:/x",
                                      "nats:subject",
                                      "guest:test/other",
                                      "unix:/admin.sock",
                                      "kubex:/api",
                                      "kub:/api",
                                      "KUBE:/api",
                                      "kube/api",
                                      ":/api",
                                      "kube",
                                      "/api",
                                      "roost:/",
                                      "log:x",
                                      "k\xc3\xbc:/api",
                                      " kube:/api",
                                      "kube :/api",
                                      ""};

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        refused("scheme", all[i], answer_of("GET", all[i], NULL));
}

static void targets(void)
{
    static const char *const all[] = {
        "kube:",
        "kube:/",
        "kube:api",
        "kube://evil/api/v1",
        "kube:https://evil/api",
        "kube:@evil/api",
        "kube:/metrics",
        "kube:/api/../metrics",
        "kube:/api/v1/..",
        "kube:/api/v1/%2e%2e/metrics",
        "kube:/api/v1/%2E%2E/metrics",
        "kube:/api/v1/.%2e/metrics",
        "kube:/api/v1/%252e%252e/metrics",
        "kube:/api/v1%2f..%2fmetrics",
        "kube:/api/v1%5c..",
        "kube:/api/v1\\..\\metrics",
        "kube:/api//v1",
        "kube:/%61pi/v1",
        "kube:/API/v1",
        "kube:/api/v1/pods#x",
        "kube:/api/v1/pods HTTP/1.1",
        "kube:/api/v1/pods\r\nImpersonate-User: system:admin",
        "kube:/api/v1/pods\nx",
        "kube:/api/v1/pods\t",
        "kube:/api/v1/pods%0d%0aImpersonate-User:%20a",
        "kube:/api/v1/pods%00",
        "kube:/api/v1/pods\x7f",
        "kube:/api/v1/pods\xc0\xae\xc0\xae/",
        "kube:/api/v1/pods?watch=1",
        "kube:/api/v1/pods?%77atch=1",
        "kube:/api/v1/watch/pods",
        "kube:/api/v1/namespaces/n/pods/p/exec?command=sh",
        "kube:/api/v1/namespaces/n/pods/p/attach",
        "kube:/api/v1/namespaces/n/pods/p/portforward",
        "kube:/api/v1/namespaces/n/services/s/proxy/",
        "kube:/api/v1/nodes/n/proxy",
    };

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        refused("target", all[i], answer_of("GET", all[i], NULL));
}

static void methods(void)
{
    static const char *const all[] = {"CONNECT", "TRACE", "OPTIONS",   "get",  "PRI",
                                      "WATCH",   "G ET",  "GET\r\nX:", "GET ", ""};

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        refused("method", all[i], answer_of(all[i], "kube:/version", NULL));
}

static void headers(void)
{
    static const char *const all[] = {
        "Impersonate-User: system:admin\n",
        "impersonate-user: system:admin\n",
        "IMPERSONATE-USER: system:admin\n",
        "Impersonate-Group: system:masters\n",
        "Impersonate-Uid: 0\n",
        "Impersonate-Extra-scopes: all\n",
        "Authorization: Bearer x\n",
        "aUTHORIZATION: Basic eDp5\n",
        "Proxy-Authorization: x\n",
        "Cookie: a=b\n",
        "X-Remote-User: system:admin\n",
        "X-Remote-Group: system:masters\n",
        "X-Forwarded-For: 127.0.0.1\n",
        "Forwarded: for=127.0.0.1\n",
        "X-Forwarded-Host: evil\n",
        "X-HTTP-Method-Override: DELETE\n",
        "Host: evil\n",
        ":authority: evil\n",
        ":path: /metrics\n",
        "Connection: upgrade\n",
        "Upgrade: websocket\n",
        "Transfer-Encoding: chunked\n",
        "Content-Length: 0\n",
        "TE: trailers\n",
        "Expect: 100-continue\n",
        "User-Agent: kubectl\n",
        "Origin: https://evil\n",
        "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.eA\n",
        "Accept: a\r\nImpersonate-User: system:admin\n",
        "Accept: a\nImpersonate-User: system:admin\n",
        "Accept: a\rImpersonate-User: system:admin\n",
        "Accept: a\n Impersonate-User: system:admin\n",
        "Accept : a\n",
        " Accept: a\n",
        "Accept: a\x01\n",
        "Accept\t: a\n",
        "Acc\xc3\xa9pt: a\n",
        "\n",
        "Accept\n",
        ": a\n",
    };

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        refused("header", all[i], answer_of("GET", "kube:/version", all[i]));
}

/* What may pass is not refused: so what is refused is not refused for another reason. */
static int good(void)
{
    static const char plain[] = "Accept: application/json\nIf-None-Match: \"1\"\n";

    return answer_of("GET", "kube:/version", plain) == 403 ||
           answer_of("DELETE", "kube:/api/v1/namespaces/n/pods/exec?gracePeriodSeconds=0", NULL) ==
               403;
}

ROOST_HANDLE
{
    if (spared())
        return good();
    passed = 0;
    schemes();
    targets();
    methods();
    headers();
    return passed;
}
