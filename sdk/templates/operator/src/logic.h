/* What @NAME@ decides, apart from all calls, so that a test can hold every branch. */
#ifndef LOGIC_H
#define LOGIC_H

#include <roost.h>

#include <string.h>

#define API_VERSION "@API_VERSION@"
#define PLURAL      "@PLURAL@"
#define INPUT       "@INPUT@"  /* who is to be greeted */
#define OUTPUT      "@OUTPUT@" /* the greeting */

enum decision { NOTHING_TO_DO, PATCH };

/* Looks at an object and says what it lacks: with PATCH, the merge patch for it is in patch.
 * Negative: the object is malformed, or does not fit. */
static inline int decide(const char *object, size_t len, struct roost_buf *patch)
{
    char who[64], is[128], should_be[128] = "";
    struct roost_buf greeting = ROOST_BUF_FIXED(should_be);
    int rc = roost_json_get_string(object, len, INPUT, who, sizeof(who));

    if (rc == ROOST_ENOENT) /* it wants no greeting */
        return NOTHING_TO_DO;
    if (rc < 0)
        return rc;
    roost_buf_str(&greeting, "Hello, ");
    roost_buf_str(&greeting, who);
    rc = roost_buf_str(&greeting, "!");
    if (rc < 0)
        return rc;
    if (roost_json_get_string(object, len, OUTPUT, is, sizeof(is)) >= 0 &&
        strcmp(is, should_be) == 0)
        return NOTHING_TO_DO;
    roost_buf_str(patch, "{\"@OUTPUT_MEMBER@\":{\"greeting\":");
    roost_buf_json(patch, should_be, strlen(should_be));
    rc = roost_buf_str(patch, "}}");
    return rc < 0 ? rc : PATCH;
}

#endif
