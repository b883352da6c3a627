/* What ring decides, apart from all calls, so that a test can hold every branch.
 *
 * A TestResource carries spec.nonce and spec.updated_at. The copy in the next namespace must exist
 * and must not have a lower nonce; a copy that is equal or ahead is left alone, so that a value
 * that has gone all the way round the ring stops.
 */
#ifndef RING_LOGIC_H
#define RING_LOGIC_H

#include <roost.h>

enum ring_step {
    RING_DONE,   /* nothing (more) to do */
    RING_CREATE, /* the copy is missing */
    RING_UPDATE, /* the copy is behind */
    RING_REREAD, /* the copy changed under our hands: look again */
    RING_LATER,  /* failed: again in RING_RETRY_MS */
};

#define RING_RETRY_MS  1000u
#define RING_READS_MAX 3

/* What matters of an object. */
struct ring_object {
    bool has_nonce;
    int64_t nonce;
    struct roost_json updated_at; /* as it stands in the text; NONE if missing */
};

/* 0, or negative: not JSON, or a nonce that is no integer. A missing nonce is no error. */
static inline int ring_parse(const char *text, size_t len, struct ring_object *out)
{
    int rc = roost_json_get_int(text, len, "/spec/nonce", &out->nonce);

    out->has_nonce = rc == 0;
    if (rc < 0 && rc != ROOST_ENOENT)
        return rc;
    rc = roost_json_get(text, len, "/spec/updated_at", &out->updated_at);
    return rc == ROOST_ENOENT ? 0 : rc;
}

/* here: ours; there: the copy, as read with this status (only looked at if that is 200). */
static inline enum ring_step ring_after_get(int status, const struct ring_object *here,
                                            const struct ring_object *there)
{
    if (status == 404)
        return RING_CREATE;
    if (status != 200)
        return RING_LATER;
    return !there->has_nonce || there->nonce < here->nonce ? RING_UPDATE : RING_DONE;
}

static inline enum ring_step ring_after_write(int status)
{
    if (status == 409) /* somebody created or changed it meanwhile */
        return RING_REREAD;
    return status >= 200 && status < 300 ? RING_DONE : RING_LATER;
}

/* {"nonce":…,"updated_at":…} */
static inline int ring_spec(struct roost_buf *out, const struct ring_object *here)
{
    roost_buf_str(out, "{\"nonce\":");
    roost_buf_int(out, here->nonce);
    if (here->updated_at.type != ROOST_JSON_NONE) {
        roost_buf_str(out, ",\"updated_at\":");
        roost_buf_add(out, here->updated_at.at, here->updated_at.len);
    }
    return roost_buf_str(out, "}");
}

/* The copy as it is created. */
static inline int ring_new_copy(struct roost_buf *out, const struct ring_object *here,
                                const char *name)
{
    roost_buf_str(out, "{\"apiVersion\":\"amurant.io/v1\",\"kind\":\"TestResource\","
                       "\"metadata\":{\"name\":\"");
    roost_buf_str(out, name); /* the target was made of it, so it needs no escape */
    roost_buf_str(out, "\"},\"spec\":");
    ring_spec(out, here);
    return roost_buf_str(out, "}");
}

/* The copy as it is updated: the text that was read with another spec. All the rest stays, the
 * resourceVersion included, so that a change in between is a conflict. */
static inline int ring_changed_copy(struct roost_buf *out, const struct ring_object *here,
                                    const char *there, size_t there_len)
{
    struct roost_json spec;
    size_t before = 0;
    int rc = roost_json_get(there, there_len, "/spec", &spec);

    if (rc == ROOST_ENOENT) { /* cannot be with this CRD; a member more, then */
        rc = roost_json_get(there, there_len, "", &spec);
        if (rc < 0 || spec.type != ROOST_JSON_OBJECT)
            return ROOST_EINVAL;
        roost_buf_str(out, "{\"spec\":");
        ring_spec(out, here);
        roost_buf_str(out, ",");
        return roost_buf_add(out, spec.at + 1, spec.len - 1);
    }
    if (rc < 0)
        return rc;
    before = (size_t)(spec.at - there);
    roost_buf_add(out, there, before);
    ring_spec(out, here);
    return roost_buf_add(out, spec.at + spec.len, there_len - before - spec.len);
}

#endif
