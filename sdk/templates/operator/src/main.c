/* @NAME@: called with each @KIND@ that may have changed; makes the world fit it.
 *
 * Static variables stay, also while the guest sleeps on disk: buffers are used again.
 */
#include "logic.h"

#define OBJECT_MAX (4u << 20)
#define PATCH_MAX  4096u
#define NAME_SIZE  254u

static int patch_object(const char *ns, const char *name, const struct roost_buf *patch)
{
    char target[ROOST_TARGET_SIZE];
    struct roost_buf whole = ROOST_BUF_FIXED(target);
    int status = roost_kube_target(target, sizeof(target), API_VERSION, ns, PLURAL, name);

    if (status < 0)
        return roost_fail("the object's name is no name");
    whole.len = (size_t)status;
    if (roost_buf_str(&whole, "@SUBRESOURCE@") < 0)
        return roost_fail("the object's name is too long");
    status = roost_kube_patch(target, patch->data, patch->len, NULL);
    if (status == 404) /* it went meanwhile */
        return 0;
    if (status < 200 || status > 299) { /* the same key comes again, later and later */
        roost_warn("PATCH ", target, ": ", status < 0 ? "error " : "status ", ROOST_DEC(status));
        return roost_fail("the object could not be patched");
    }
    roost_info(ns, "/", name, " is greeted");
    return 0;
}

ROOST_HANDLE
{
    static struct roost_buf object = ROOST_BUF_GROW(OBJECT_MAX), patch = ROOST_BUF_GROW(PATCH_MAX);
    char ns[NAME_SIZE], name[NAME_SIZE];
    int decision;

    roost_buf_clear(&object);
    roost_buf_clear(&patch);
    if (roost_event("namespace", ns, sizeof(ns)) < 0 ||
        roost_event("name", name, sizeof(name)) < 0 || roost_event_body(&object) < 0)
        return roost_fail("the event cannot be read");
    if (object.len == 0) { /* it is gone */
        roost_info(ns, "/", name, " is gone");
        return 0;
    }
    decision = decide(object.data, object.len, &patch);
    if (decision < 0)
        return roost_fail(INPUT " is no text of at most 63 bytes");
    return decision == PATCH ? patch_object(ns, name, &patch) : 0;
}
