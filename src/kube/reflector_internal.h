/* What the two files of the reflector share: reflector.c, the machine, and reflector_answer.c,
 * which reads what the server sends and posts the machine's events.
 */
#ifndef ROOST_KUBE_REFLECTOR_INTERNAL_H
#define ROOST_KUBE_REFLECTOR_INTERNAL_H

#include "base/buf.h"
#include "base/limits.h"
#include "kube/reflector.h"
#include "kube/watchdec.h"

enum reflector_event {
    EV_START,
    EV_STOP,
    EV_SYNCED,  /* a stream's initial events are complete */
    EV_REFUSED, /* the server knows no such stream */
    EV_PAGE,    /* a page is complete, another follows */
    EV_LISTED,  /* the last page is complete */
    EV_EXPIRED, /* a page could not be had, since its token is too old */
    EV_ENDED,   /* a watch came to its clean end */
    EV_FAILED,
    EV_GONE,    /* what we hold cannot be gone on from */
    EV_REWOUND, /* the server's state is older than what was seen */
    EV_TIMER,
    EVENTS
};

#define EVENTS_QUEUED_MAX 8u

enum answer { ANSWER_NONE, ANSWER_STREAM, ANSWER_LIST, ANSWER_ERROR };

struct reflector {
    struct reflector_opts opts; /* strings are own copies */
    enum reflector_state state;
    struct {
        enum reflector_event ev;
        uint64_t turn; /* of the stream that it is about */
    } queue[EVENTS_QUEUED_MAX];
    unsigned queued;
    bool stepping, notify;

    struct kube_stream *stream;
    uint64_t turn;      /* of the stream: a new number whenever it begins or ends */
    enum answer answer; /* what its bytes are */
    int status;
    struct watchdec watch;
    struct listdec list;
    struct buf error_body;

    char version[KUBE_VERSION_MAX + 1]; /* newest; "" before the first list */
    char continue_[KUBE_CONTINUE_MAX + 1];
    bool no_stream;   /* the server refused streaming lists */
    bool full_list;   /* without pages, since a token expired */
    bool anew;        /* this list is believed whatever version it has */
    bool page_known;  /* this page's version was looked at */
    unsigned rewound; /* lists in a row that were older than what was seen */

    struct timer timer;
    uint64_t deadline_ns; /* waiting: the end of the pause; else when silence begins to count */
    uint64_t began_ns;    /* the request that is under way */
    uint64_t healthy_ns;  /* since when; 0: not */
    uint64_t watch_events;
    unsigned failures; /* in a row, without health between them */
    uint32_t retry_after_s;
    uint64_t rng;

    struct err err; /* code 0 while all is well */
    struct reflector_stats stats;
};

extern const struct kube_receiver reflector_receiver;
/* The decoders' sinks. */
void reflector_answer_init(struct reflector *r);

/* Posts an event and works off all there are; from within an action it is only noted. What was
 * posted about a stream that is no more counts no more. */
void reflector_step(struct reflector *r, enum reflector_event ev);
/* Tells the sink where state or trouble changed. */
void reflector_notify(struct reflector *r);
void reflector_end_stream(struct reflector *r);
/* The server does as it should. */
void reflector_healthy(struct reflector *r);
/* To be filled with the reason of the event that is posted next. */
struct err *reflector_trouble(struct reflector *r);
uint64_t reflector_now(const struct reflector *r);

#endif
