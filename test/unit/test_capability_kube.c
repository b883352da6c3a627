/* What a guest may ask of `kube:` (docs/abi.md, "kube: the Kubernetes API"): each rule for targets
 * and headers, from both sides. */
#include "capability/kube.h"

#include "base/buf.h"
#include "base/limits.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- targets --- */

static void passes(const char *target)
{
    struct err err = {0};

    if (kube_target_check(target, &err) < 0)
        fail_msg("%s: %s", target, err.msg);
}

/* Refused, for a reason that names `why`. */
static void refused(const char *target, const char *why)
{
    struct err err = {0};

    if (kube_target_check(target, &err) == 0)
        fail_msg("%s passes", target);
    assert_int_equal(err.code, ERR_DENIED);
    if (!strstr(err.msg, why))
        fail_msg("%s: %s", target, err.msg);
}

static void test_paths_that_pass(void **state)
{
    (void)state;
    passes("/api");
    passes("/apis");
    passes("/version");
    passes("/api?timeout=5s");
    passes("/version?x");
    passes("/api/v1");
    passes("/api/v1/namespaces/ring-0/configmaps/a");
    passes("/apis/amurant.io/v1/namespaces/ring-1/testresources/a/status");
    passes("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node");
    passes("/api/v1/namespaces/x/pods/p/log?follow=true&container=c");
    passes("/api/v1/nodes?labelSelector=a%3Db%2Cc%20in%20%28d%29&limit=500");
    passes("/api/v1/namespaces/a%20b"); /* an escape that stands for nothing special */
    passes("/api/v1/namespaces/watch/configmaps/watch"); /* names */
    passes("/apis/x.io/v1/namespaces/n/watch");
    passes("/api/v1/namespaces?continue=watch&fieldManager=watch");
    passes("/api/v1/namespaces?watching=1&unwatch=1");
}

static void test_only_three_roots(void **state)
{
    (void)state;
    refused("", "must be /api");
    refused("/", "must be /api");
    refused("api/v1", "must be /api");
    refused("/apiserver", "must be /api");
    refused("/apisx", "must be /api");
    refused("/API/v1", "must be /api");
    refused("/versions", "must be /api");
    refused("/version/", "must be /api");
    refused("/metrics", "must be /api");
    refused("/openapi/v3", "must be /api");
    refused("/readyz", "must be /api");
    refused("//api/v1", "must be /api");
    refused("/%61pi/v1", "must be /api");
    refused("?/api", "must be /api");
    refused("@evil/api/v1", "must be /api");
    refused("//evil/api/v1", "must be /api");
    refused("https://evil/api", "must be /api");
    refused(":443/api", "must be /api");
}

static void test_no_way_out_of_a_path(void **state)
{
    (void)state;
    refused("/api/../metrics", "segment ..");
    refused("/api/v1/./pods", "segment .");
    refused("/api/v1/..", "segment ..");
    refused("/api/v1/.", "segment .");
    refused("/api//v1", "empty segment");
    refused("/api/", "empty segment");
    refused("/api/v1/pods/", "empty segment");
    refused("/api/v1//", "empty segment");
    refused("/api/v1/%2e%2e/metrics", "%2e");
    refused("/api/v1/%2E./metrics", "%2E");
    refused("/api/v1/.%2e", "%2e");
    refused("/api/v1%2fpods", "%2f");
    refused("/api/v1%2Fpods", "%2F");
    refused("/api/v1%5c..", "%5c");
    refused("/api/v1/%252e%252e", "%25"); /* what would be unescaped twice */
    refused("/api/v1\\..\\metrics", "0x5c");
    passes("/api/v1/..."); /* three are a name */
    passes("/api/v1/..a");
}

static void test_no_bytes_that_others_read_otherwise(void **state)
{
    char target[16] = "/api/v1/x?a=", text[64];

    (void)state;
    for (int c = 1; c < 256; c++) {
        bool bad = c <= 0x20 || c >= 0x7f || c == '\\' || c == '#';

        snprintf(text, sizeof(text), "0x%02x", (unsigned)c);
        snprintf(target, sizeof(target), "/api/v1/x%cy", c);
        if (bad)
            refused(target, text);
        else if (c != '%' && c != '?')
            passes(target);
        snprintf(target, sizeof(target), "/api?a=x%cy", c);
        if (bad)
            refused(target, text);
        else if (c != '%')
            passes(target);
    }
}

static void test_escapes(void **state)
{
    char target[32], text[8];

    (void)state;
    for (unsigned v = 0; v < 256; v++) {
        bool bad = v < 0x20 || v == 0x7f || v == '/' || v == '\\' || v == '%' || v == '-' ||
                   v == '_' || v == '~' || v == '.' || (v < 0x80 && isalnum((int)v));

        snprintf(text, sizeof(text), "%%%02x", v);
        snprintf(target, sizeof(target), "/api/v1/x%%%02xy", v);
        if (bad)
            refused(target, text);
        else
            passes(target);
    }
    refused("/api/v1/%", "two hexadecimal");
    refused("/api/v1/%4", "two hexadecimal");
    refused("/api/v1/%4?", "two hexadecimal");
    refused("/api/v1/%g1", "two hexadecimal");
    refused("/api/v1/%1g", "two hexadecimal");
    refused("/api/v1/%-1", "two hexadecimal");
    refused("/api/v1/x?a=%", "two hexadecimal");
    refused("/api/v1/x?a=%zz", "two hexadecimal");
}

static void test_no_watches(void **state)
{
    (void)state;
    refused("/api/v1/pods?watch", "watches are triggers");
    refused("/api/v1/pods?watch=1", "watches are triggers");
    refused("/api/v1/pods?watch=", "watches are triggers");
    refused("/api/v1/pods?watch=false", "watches are triggers");
    refused("/api/v1/pods?WATCH=1", "watches are triggers");
    refused("/api/v1/pods?limit=1&Watch=1", "watches are triggers");
    refused("/api/v1/pods?a&&watch=1", "watches are triggers");
    refused("/api/v1/pods?%77atch=1", "name of a query parameter");
    refused("/api/v1/pods?a=1&wat%63h=1", "name of a query parameter");
    refused("/api/v1/pods?a%20=1", "name of a query parameter");
    refused("/api/v1/watch/pods", "watches are triggers");
    refused("/api/v1/watch/namespaces/n/pods", "watches are triggers");
    refused("/api/v1/watch", "watches are triggers");
    refused("/apis/amurant.io/v1/watch/testresources", "watches are triggers");
}

static void test_no_upgrades(void **state)
{
    (void)state;
    refused("/api/v1/namespaces/n/pods/p/exec", "exec");
    refused("/api/v1/namespaces/n/pods/p/exec?command=sh", "exec");
    refused("/api/v1/namespaces/n/pods/p/attach", "attach");
    refused("/api/v1/namespaces/n/pods/p/portforward", "portforward");
    refused("/api/v1/namespaces/n/services/s/proxy", "proxy");
    refused("/api/v1/namespaces/n/services/s/proxy/inside/it", "proxy");
    refused("/api/v1/proxy/nodes/n", "proxy");
    refused("/api/v1/namespaces/n/services/s/%70roxy/", "%70");
    refused("/api/v1/%77atch/pods", "%77");
    refused("/api/v1/nodes/n/proxy", "proxy");
    refused("/apis/g/v1/namespaces/n/things/t/proxy", "proxy");
    passes("/api/v1/namespaces/proxy/pods/exec"); /* names, not subresources */
    passes("/apis/g/v1/namespaces/exec/proxy/attach");
    passes("/api/v1/namespaces/n/pods/exec-1");
}

static void test_longest_target(void **state)
{
    char *target = malloc(ABI_TARGET_MAX + 2);

    (void)state;
    memset(target, 'x', ABI_TARGET_MAX + 2);
    memcpy(target, "/api/v1/", 8);
    target[ABI_TARGET_MAX] = 0;
    passes(target);
    target[ABI_TARGET_MAX] = 'x';
    target[ABI_TARGET_MAX + 1] = 0;
    refused(target, "over");
    free(target);
}

/* --- headers --- */

/* What passes of some lines, and whether they forbid asking the server. */
static void filtered(const char *headers, const char *want, bool cached)
{
    AUTO_BUF struct buf out = {.max = 64 * KIB};
    struct err err = {0};
    bool only_if_cached = !cached;

    if (kube_headers_filter(&out, headers, &only_if_cached, &err) < 0)
        fail_msg("%s: %s", headers, err.msg);
    assert_string_equal(out.len ? buf_cstr(&out) : "", want);
    assert_int_equal(only_if_cached, cached);
}

static void header_refused(const char *headers, const char *named)
{
    AUTO_BUF struct buf out = {.max = 64 * KIB};
    struct err err = {0};
    bool only_if_cached;

    if (kube_headers_filter(&out, headers, &only_if_cached, &err) == 0)
        fail_msg("%s passes", headers);
    assert_int_equal(err.code, ERR_DENIED);
    if (!strstr(err.msg, named))
        fail_msg("%s: %s", headers, err.msg);
}

static void test_headers_that_pass(void **state)
{
    static const char all[] = "Accept: application/json\nContent-Type: application/json\n"
                              "If-Match: \"1\"\nIf-None-Match: *\nIf-Modified-Since: x\n"
                              "If-Unmodified-Since: x\nIf-Range: x\nRange: bytes=0-9\n"
                              "traceparent: 00-1-2-01\n";

    (void)state;
    filtered("", "", false);
    filtered(all, all, false);
    filtered("accept: a\nACCEPT: b\n", "accept: a\nACCEPT: b\n", false); /* repeats, any case */
    filtered("Accept:a", "Accept: a\n", false);                          /* no space, no line end */
    filtered("Accept: \t a b \t \n", "Accept: a b\n", false);
    filtered("Accept:\n", "Accept: \n", false);
    filtered("Accept: a: b\n", "Accept: a: b\n", false);
    filtered("Content-Type: x; charset=utf-8\n", "Content-Type: x; charset=utf-8\n", false);
}

static void test_cache_control_is_the_hosts_business(void **state)
{
    (void)state;
    filtered("Cache-Control: max-stale=5\nAccept: a\n", "Accept: a\n", false);
    filtered("cache-control: only-if-cached\n", "", true);
    filtered("Cache-Control: max-stale=5, only-if-cached\n", "", true);
    filtered("Cache-Control: no-cache\nCache-Control: only-if-cached\n", "", true);
    filtered("Accept: only-if-cached\n", "Accept: only-if-cached\n", false);
}

/* Who it is, where it goes, how it goes: all the host's; and whatever nobody thought of. */
static void test_headers_that_do_not(void **state)
{
    static const char *const names[] = {"Authorization",
                                        "authorization",
                                        "Impersonate-User",
                                        "impersonate-group",
                                        "Impersonate-Uid",
                                        "Impersonate-Extra-scopes",
                                        "X-Remote-User",
                                        "X-Remote-Group",
                                        "X-Remote-Extra-a",
                                        "Host",
                                        "Cookie",
                                        "Proxy-Authorization",
                                        "Connection",
                                        "Upgrade",
                                        "HTTP2-Settings",
                                        "TE",
                                        "Trailer",
                                        "Transfer-Encoding",
                                        "Keep-Alive",
                                        "Content-Length",
                                        "Content-Encoding",
                                        "Accept-Encoding",
                                        "Expect",
                                        "User-Agent",
                                        "Forwarded",
                                        "X-Forwarded-For",
                                        "X-HTTP-Method-Override",
                                        "Audit-ID",
                                        "Origin",
                                        "Acceptx",
                                        "Accep",
                                        "If-Matchx",
                                        "x"};
    char lines[128];

    (void)state;
    header_refused("Accept\nRange: a\n", "no colon");
    header_refused("\n", "no colon");
    header_refused("Range", "no colon");
    header_refused(": a\n", "header ");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(lines, sizeof(lines), "%s: a\n", names[i]);
        header_refused(lines, names[i]);
        snprintf(lines, sizeof(lines), "Accept: a\n%s: a\n", names[i]);
        header_refused(lines, names[i]);
        snprintf(lines, sizeof(lines), "Accept: a\n%s:", names[i]);
        header_refused(lines, names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_that_pass),
        cmocka_unit_test(test_only_three_roots),
        cmocka_unit_test(test_no_way_out_of_a_path),
        cmocka_unit_test(test_no_bytes_that_others_read_otherwise),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_no_watches),
        cmocka_unit_test(test_no_upgrades),
        cmocka_unit_test(test_longest_target),
        cmocka_unit_test(test_headers_that_pass),
        cmocka_unit_test(test_cache_control_is_the_hosts_business),
        cmocka_unit_test(test_headers_that_do_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
