/* A validating JSON scanner for the bytes of the API server: no tree, no allocation.
 *
 * Names begin with jscan_, since jansson has those with json_. A cursor walks over bytes that it
 * does not own. Every byte that it passes is checked against RFC 8259, UTF-8 included, also in what
 * is skipped; a scanner that trusts what it skips would hand broken documents on to guests. Strings
 * are given as the span between their quotes, with their escapes; most have none and are compared
 * and copied as they are. Duplicate members are not refused: as with Go's and most other decoders
 * the last one counts, which is up to the caller. Unpaired surrogates in escapes are grammatical;
 * they are read as U+FFFD, as Go does.
 *
 * Errors stick: after one, all further calls fail, so that callers look once. JSCAN_MORE means that
 * the bytes ended inside a value: the same start with more bytes behind it may be valid.
 *
 * jscan_frame finds only where a value ends, over bytes that come in pieces cut anywhere. It checks
 * nothing but brackets and quotes; whoever frames scans the whole value afterwards. For every valid
 * value both agree on its end.
 */
#ifndef ROOST_KUBE_JSON_H
#define ROOST_KUBE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum jscan_rc {
    JSCAN_OK = 0,
    JSCAN_MORE,
    JSCAN_BAD,
    JSCAN_DEEP /* JSON_DEPTH_MAX of base/limits.h */
};

struct jscan {
    const uint8_t *at, *end;
    enum jscan_rc rc; /* at stays near the first error */
    uint32_t depth;
    bool opened; /* a bracket was just passed: no comma comes first */
};

/* Bytes between the quotes. at is NULL where there is no string. */
struct jscan_str {
    const uint8_t *at;
    size_t len;
    bool escaped; /* holds a backslash */
};

void jscan_init(struct jscan *j, const uint8_t *data, size_t len);

uint8_t jscan_peek_past_space(struct jscan *j);

/* The next byte that is no white space, not passed; 0 at the end of the bytes or after an error. */
static inline uint8_t jscan_peek(struct jscan *j)
{
    if (j->rc == JSCAN_OK && j->at<j->end && * j->at> ' ')
        return *j->at;
    return jscan_peek_past_space(j);
}

/* Each passes one whole value of the kind; false after an error. */
bool jscan_skip(struct jscan *j);
bool jscan_string(struct jscan *j, struct jscan_str *out);
/* Any value; where it is an integer of int64, *out is it and *is_int true. */
bool jscan_int(struct jscan *j, int64_t *out, bool *is_int);

/* Members of an object:
 *     if (jscan_open(j, '{')) while (jscan_member(j, &key)) ... pass one value ...;
 * and elements of an array the same way with '[' and jscan_element. Each loop ends after the
 * closing bracket was passed, or after an error. */
bool jscan_open(struct jscan *j, char bracket);
bool jscan_member(struct jscan *j, struct jscan_str *key);
bool jscan_element(struct jscan *j);

/* True where nothing but white space is left and there was no error. */
bool jscan_done(struct jscan *j);
/* What the error is, for people. */
const char *jscan_rc_text(enum jscan_rc rc);

/* Whether the string, unescaped, is text. */
bool jscan_str_is(const struct jscan_str *s, const char *text);
/* The same for a literal, fast where the string has no escapes. */
#define jscan_key_is(s, literal)                                                                   \
    ((s)->escaped                                                                                  \
         ? jscan_str_is(s, literal)                                                                \
         : (s)->len == sizeof(literal) - 1 && memcmp((s)->at, literal, sizeof(literal) - 1) == 0)
/* The string unescaped, with a NUL behind it. -1: it does not fit in cap, or holds a NUL. */
int jscan_str_copy(char *out, size_t cap, const struct jscan_str *s);

/* --- framing --- */
struct jscan_frame {
    uint32_t depth;
    uint8_t kind; /* what the value began with; 0 before its first byte */
    bool in_string, after_backslash;
};

/* Looks at the next bytes of a value. True: it ends after *used bytes (0 for a scalar that ended at
 * the end of the last piece). False: *used is len, go on with the next piece. The caller skips
 * white space before a value and starts each with a zeroed frame. */
bool jscan_frame(struct jscan_frame *f, const uint8_t *data, size_t len, size_t *used);

static inline bool jscan_is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

#endif
