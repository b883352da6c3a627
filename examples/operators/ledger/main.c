/* ledger: a test guest that notices when anything of it was lost in its sleep.
 *
 * At each event it checks all of its memory and its globals (ledger.h), counts, changes some pages,
 * grows now and then, and writes its account to the ConfigMap `ledger-NAME` and to its log. A test
 * that drove N changes asserts: events N, starts 1, errors 0, and the same `boot` all the time (it
 * is drawn at each fresh start).
 *
 * Environment: SEED; MEMORY_MIB, filled at the start (1); GROW_EVERY events it grows by 64 KiB (8;
 * 0: never), up to GROW_MIB more (1); DIRTY_KIB, changed at each event (64); REPORT: kube or log
 * (kube); REPORT_NAMESPACE (the event's); REPORT_NAME (the guest's name).
 */
#include "ledger.h"

#include <string.h>
#include <unistd.h>

#ifdef __wasm__
#include <wasi/api.h>
#endif

#define NAME_SIZE 512u

static struct ledger ledger;
static struct {
    uint32_t grow_every, dirty_leaves;
    bool kube, ready;
    const char *report_namespace;
    char report_name[NAME_SIZE];
} settings;

static struct roost_buf object = ROOST_BUF_GROW(4u << 20);

static uint32_t env_number(const char *name, uint32_t fallback, uint32_t max)
{
    const char *text = getenv(name);
    unsigned long n = text && *text ? strtoul(text, NULL, 10) : fallback;

    return n < max ? (uint32_t)n : max;
}

/* The guest's name is its argument 0. */
static void own_name(char *out, size_t size)
{
    const char *given = getenv("REPORT_NAME");
    const char *name = "guest";
#ifdef __wasm__
    static char text[4096];
    static uint8_t *args[64];
    __wasi_size_t n = 0, bytes = 0;

    if (__wasi_args_sizes_get(&n, &bytes) == 0 && n > 0 && n <= 64 && bytes <= sizeof(text) &&
        __wasi_args_get(args, (uint8_t *)text) == 0)
        name = (const char *)args[0];
#endif
    strncpy(out, given ? given : name, size - 1);
}

ROOST_START
{
    uint32_t mib = env_number("MEMORY_MIB", 1, LEDGER_MIB_MAX);
    uint32_t more = env_number("GROW_MIB", 1, LEDGER_MIB_MAX);
    const char *seed = getenv("SEED"), *report = getenv("REPORT");

    own_name(settings.report_name, sizeof(settings.report_name));
    settings.grow_every = env_number("GROW_EVERY", 8, UINT32_MAX);
    settings.dirty_leaves = env_number("DIRTY_KIB", 64, 1u << 20) * 1024 / LEAF_BYTES;
    settings.kube = !report || strcmp(report, "log") != 0;
    settings.report_namespace = getenv("REPORT_NAMESPACE");
    ledger.starts++;
    settings.ready =
        getentropy(&ledger.boot, sizeof(ledger.boot)) == 0 &&
        ledger_open(&ledger, seed ? strtoull(seed, NULL, 10) : 0, mib * 16, (mib + more) * 16);
}

/* Creates or updates the ConfigMap with the account, and hands its JSON over for the log. */
static int report_kube(const char *ns, const char *account)
{
    char target[ROOST_TARGET_SIZE], text[2048];
    struct roost_buf path = ROOST_BUF_FIXED(target), body = ROOST_BUF_FIXED(text);

    roost_buf_str(&path, "kube:/api/v1/namespaces/");
    roost_buf_str(&path, ns);
    roost_buf_str(&path, "/configmaps/ledger-");
    roost_buf_str(&path, settings.report_name);
    roost_buf_str(&path, "?fieldManager=ledger&force=true");
    roost_buf_str(&body, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":"
                         "\"ledger-");
    roost_buf_str(&body, settings.report_name);
    roost_buf_str(&body, "\"},\"data\":");
    roost_buf_str(&body, account);
    roost_buf_str(&body, "}");
    if (path.error || body.error)
        return ROOST_E2BIG;
    return roost_kube_apply(target, body.data, body.len, NULL);
}

/* True: written, or not wanted. */
static bool report(const char *key, const char *version)
{
    char account[1024], ns[NAME_SIZE];
    struct roost_buf text = ROOST_BUF_FIXED(account);
    int status = 200;

    if (ledger_account(&text, &ledger, key, version) < 0)
        return false;
    roost_log_pieces(ledger.errors ? ROOST_ERROR : ROOST_INFO, "ledger ", account, (char *)0);
    if (!settings.kube)
        return true;
    if (settings.report_namespace)
        status = report_kube(settings.report_namespace, account);
    else if (roost_event("namespace", ns, sizeof(ns)) > 0)
        status = report_kube(ns, account);
    if (status < 200 || status > 299)
        roost_warn("report: ", status < 0 ? "error " : "status ", ROOST_DEC(status));
    return status >= 200 && status <= 299;
}

/* The version of the object that this event is about: "" if it is gone. */
static int object_version(char *out, size_t cap)
{
    int n = 0;

    out[0] = '\0';
    roost_buf_clear(&object);
    n = roost_event_body(&object);
    if (n <= 0)
        return n;
    return roost_json_get_string(object.data, object.len, "/metadata/resourceVersion", out, cap);
}

ROOST_HANDLE
{
    char key[NAME_SIZE], version[64];

    if (!settings.ready)
        return roost_fail("ledger: no memory at the start");
    if (roost_event("key", key, sizeof(key)) < 0)
        return roost_fail("ledger: the event has no key");
    if (object_version(version, sizeof(version)) < 0)
        return roost_fail("ledger: the object cannot be read");
    ledger_verify(&ledger);
    if (ledger_seen(&ledger, key, version)) {
        ledger.repeats++;
    } else {
        if (settings.grow_every && (ledger.events + 1) % settings.grow_every == 0)
            ledger_grow(&ledger);
        ledger_advance(&ledger, settings.dirty_leaves);
    }
    return report(key, version) ? 0 : roost_fail("ledger: the report was not written");
}
