/* From bytes to objects: the framing of a watch stream and of a LIST answer, however they are cut.
 *
 * A watch answers with JSON documents, one for each event, mostly one a line. A LIST answers with
 * one document that may be larger than memory should be; its items are delivered one by one while
 * the bytes arrive, so one item is held at most. Both decoders work on the piece that came where a
 * value is whole in it (scanned once, not copied); what a piece cuts is framed and kept until its
 * end came, and scanned then.
 *
 * Every byte is checked. Bytes that are no JSON end the decoding (ERR_INVALID): nothing after them
 * can be trusted. A value that is too large, or nested too deeply, is skipped, told by `skipped`,
 * and decoding goes on; what was not kept of it is framed but not checked. Loop thread; no decoder
 * calls anything but its sink.
 */
#ifndef ROOST_KUBE_WATCHDEC_H
#define ROOST_KUBE_WATCHDEC_H

#include "base/buf.h"
#include "base/err.h"
#include "kube/object.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum watch_type { WATCH_ADDED = 1, WATCH_MODIFIED, WATCH_DELETED, WATCH_BOOKMARK, WATCH_ERROR };

/* Results of what a sink returns and of feeding: */
enum { DEC_GO_ON = 0, DEC_STOP = 1 };

/* One value being put together from pieces. */
struct frame_buf {
    struct jscan_frame frame;
    struct buf bytes;
    size_t max, dropped; /* bytes beyond max, which are counted and not kept */
    bool active;
};

/* --- watch streams --- */

/* All pointers given to these are good until they return. Each may return DEC_STOP: nothing more is
 * delivered and the decoder may be freed after the feeding returned. */
struct watchdec_sink {
    /* WATCH_ERROR: scan->code, reason, message are those of the Status. */
    int (*event)(void *ctx, enum watch_type type, const struct object_scan *scan);
    /* An event over KUBE_EVENT_MAX, or nested deeper than JSON_DEPTH_MAX, was left out. scan is
     * what its first bytes told (its name may be missing), err says what was too much. type is 0
     * where it is not known. */
    int (*skipped)(void *ctx, enum watch_type type, const struct object_scan *scan,
                   const struct err *err);
    void *ctx;
};

struct watchdec {
    struct frame_buf value;
    struct watchdec_sink sink;
    uint64_t events, bytes;
};

void watchdec_init(struct watchdec *d, const struct watchdec_sink *sink);
/* Delivers all events that end in these bytes, in order. DEC_GO_ON, DEC_STOP, or -1: ERR_INVALID
 * (no JSON, or no watch event), ERR_NOMEM. After DEC_STOP or -1 feed no more. */
int watchdec_feed(struct watchdec *d, const uint8_t *data, size_t len, struct err *err) ERR_CHECK;
/* The stream is over. -1 with ERR_NET: it was cut in the middle of an event. */
int watchdec_end(const struct watchdec *d, struct err *err) ERR_CHECK;
/* Ready for another stream; the sink stays. */
void watchdec_reset(struct watchdec *d);
void watchdec_free(struct watchdec *d);

/* --- lists --- */

struct listdec_sink {
    int (*item)(void *ctx, const struct object_scan *scan);
    int (*skipped)(void *ctx, const struct object_scan *scan, const struct err *err);
    void *ctx;
};

enum listdec_state {
    LISTDEC_START = 0,
    LISTDEC_FIRST_KEY,
    LISTDEC_KEY,
    LISTDEC_COLON,
    LISTDEC_VALUE,
    LISTDEC_FIRST_ITEM,
    LISTDEC_ITEM,
    LISTDEC_ITEM_BEHIND,
    LISTDEC_BEHIND,
    LISTDEC_DONE
};

struct listdec {
    enum listdec_state state;
    uint8_t member; /* which one the value belongs to */
    struct frame_buf value;
    struct listdec_sink sink;
    uint64_t items, bytes;
    /* What the list says of itself; complete once listdec_end returned 0. Wherever its metadata
     * comes before its items (as from Kubernetes) they are known when the first item is delivered.
     */
    bool has_metadata;
    char resource_version[KUBE_VERSION_MAX + 1];
    char continue_[KUBE_CONTINUE_MAX + 1]; /* "": no further page */
};

void listdec_init(struct listdec *d, const struct listdec_sink *sink);
/* As watchdec_feed. */
int listdec_feed(struct listdec *d, const uint8_t *data, size_t len, struct err *err) ERR_CHECK;
/* -1 with ERR_NET: cut before its end; ERR_INVALID: complete, but without a resourceVersion. */
int listdec_end(const struct listdec *d, struct err *err) ERR_CHECK;
/* Ready for another list; the sink stays. */
void listdec_reset(struct listdec *d);
void listdec_free(struct listdec *d);

#endif
