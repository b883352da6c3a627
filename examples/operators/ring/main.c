/* ring: copies each TestResource of IN_NAMESPACE to the same name in OUT_NAMESPACE.
 *
 * N of these (i to i+1, the last to the first) form a ring: a nonce that is raised in one namespace
 * goes once round. What is to be done is decided in ring_logic.h; here it is carried out.
 *
 * Environment: OUT_NAMESPACE; IN_NAMESPACE (objects of other namespaces are passed over, if set);
 * HEAP_MEM_SIZE, bytes that are allocated and written at the start, to stand for a larger operator.
 */
#include "ring_logic.h"

#include <stdlib.h>
#include <string.h>

#define API        "amurant.io/v1"
#define PLURAL     "testresources"
#define NAME_SIZE  254u
#define OBJECT_MAX (4u << 20)

static const char *in_namespace, *out_namespace;
static char *ballast; /* kept, so that it is not optimised away */

/* They keep their memory from one event to the next. */
static struct roost_buf object = ROOST_BUF_GROW(OBJECT_MAX);
static struct roost_buf copy = ROOST_BUF_GROW(OBJECT_MAX);
static struct roost_buf body = ROOST_BUF_GROW(OBJECT_MAX);

ROOST_START
{
    const char *size = getenv("HEAP_MEM_SIZE");
    size_t bytes = size ? strtoul(size, NULL, 10) : 0;

    in_namespace = getenv("IN_NAMESPACE");
    out_namespace = getenv("OUT_NAMESPACE");
    ballast = bytes ? malloc(bytes) : NULL;
    if (ballast)
        memset(ballast, 0x5a, bytes);
    else if (bytes)
        roost_error("HEAP_MEM_SIZE: no memory for ", size, " bytes");
}

/* The request failed: what is it about, and when again. */
static int later(const char *verb, const char *target, int status)
{
    roost_warn(verb, " ", target, ": ", status < 0 ? "error " : "status ", ROOST_DEC(status));
    roost_requeue_after_ms(RING_RETRY_MS);
    return 0;
}

/* Reads the copy and says what it needs. */
static enum ring_step look(const char *target, const struct ring_object *here, int *status)
{
    struct ring_object there = {0};

    roost_buf_clear(&copy);
    *status = roost_kube_get(target, &copy);
    if (*status == 200 && ring_parse(copy.data, copy.len, &there) < 0)
        *status = ROOST_EINVAL;
    return ring_after_get(*status, here, &there);
}

static enum ring_step create(const char *name, const struct ring_object *here, int *status)
{
    char collection[ROOST_TARGET_SIZE];

    roost_buf_clear(&body);
    *status = roost_kube_target(collection, sizeof(collection), API, out_namespace, PLURAL, NULL);
    if (*status >= 0)
        *status = ring_new_copy(&body, here, name);
    if (*status >= 0)
        *status = roost_kube_create(collection, body.data, body.len, NULL);
    return ring_after_write(*status);
}

static enum ring_step update(const char *target, const struct ring_object *here, int *status)
{
    roost_buf_clear(&body);
    *status = ring_changed_copy(&body, here, copy.data, copy.len);
    if (*status >= 0)
        *status = roost_kube_update(target, body.data, body.len, NULL);
    return ring_after_write(*status);
}

/* Looks and acts until the copy is as it should be. */
static int carry(const char *name, const struct ring_object *here)
{
    char target[ROOST_TARGET_SIZE];
    enum ring_step step = RING_REREAD;
    int status = roost_kube_target(target, sizeof(target), API, out_namespace, PLURAL, name);

    if (status < 0)
        return roost_fail("OUT_NAMESPACE or the object's name is no name");
    for (int reads = 0; step == RING_REREAD && reads < RING_READS_MAX; reads++) {
        step = look(target, here, &status);
        if (step == RING_LATER)
            return later("GET", target, status);
        if (step == RING_CREATE)
            step = create(name, here, &status);
        else if (step == RING_UPDATE)
            step = update(target, here, &status);
    }
    return step == RING_DONE ? 0 : later("write", target, status);
}

ROOST_HANDLE
{
    struct ring_object here;
    char ns[NAME_SIZE], name[NAME_SIZE];

    if (!out_namespace || !*out_namespace)
        return roost_fail("OUT_NAMESPACE is not set");
    if (roost_event("name", name, sizeof(name)) < 0 || roost_event("namespace", ns, sizeof(ns)) < 0)
        return roost_fail("the event names no object in a namespace");
    if (in_namespace && *in_namespace && strcmp(ns, in_namespace) != 0)
        return 0;
    roost_buf_clear(&object);
    if (roost_event_body(&object) < 0)
        return roost_fail("the object cannot be read");
    if (object.len == 0) /* it is gone; its copy may live */
        return 0;
    if (ring_parse(object.data, object.len, &here) < 0)
        return roost_fail("the object's nonce is no integer");
    return here.has_nonce ? carry(name, &here) : 0;
}
