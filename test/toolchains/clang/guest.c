/* What the folders beside this have in other languages, in C: counts events in a list on the heap
 * and reports `clang NAME env=VALUE events=N keys=K`. The name is argv[0], which an SDK does not
 * show.
 */
#include <roost.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

struct entry {
    struct entry *next;
    unsigned events;
    char key[];
};

static struct entry *entries;

static struct entry *entry_of(const char *key)
{
    struct entry *e = entries;

    while (e && strcmp(e->key, key) != 0)
        e = e->next;
    if (e)
        return e;
    e = calloc(1, sizeof(*e) + strlen(key) + 1);
    if (!e)
        return NULL;
    memcpy(e->key, key, strlen(key) + 1);
    e->next = entries;
    entries = e;
    return e;
}

static const char *name(void)
{
    static uint8_t buf[1024];
    static uint8_t *argv[64];
    __wasi_size_t n = 0, bytes = 0;

    if (__wasi_args_sizes_get(&n, &bytes) || n > 64 || bytes > sizeof(buf) ||
        __wasi_args_get(argv, buf) || n == 0)
        return "?";
    return (const char *)argv[0];
}

ROOST_HANDLE
{
    const char *word = getenv("WORD");
    unsigned events = 0, keys = 0;
    char key[256], text[512];
    struct entry *e;
    int h;

    if (roost_event("key", key, sizeof(key)) < 0 || !(e = entry_of(key)))
        return roost_fail("clang: no key, or no memory");
    e->events++;
    for (e = entries; e; e = e->next, keys++)
        events += e->events;
    snprintf(text, sizeof(text), "clang %s env=%s events=%u keys=%u", name(), word ? word : "",
             events, keys);
    puts(text);
    h = roost_call_start("POST", "kube:/api/v1/report", NULL, text, strlen(text));
    return h > 0 && roost_abi_close(h) == 0 ? 0 : 1;
}
