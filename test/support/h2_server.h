/* An HTTP/2 server over TLS on 127.0.0.1 for tests, with a thread of its own. What it does is asked
 * for by the path of a request:
 *
 *   /echo            200; body: the request's head as lines ("name: value\n"), an empty line, its
 * body /bytes/N         200; N bytes, byte i is i % 251 /hold            200, then nothing until
 * h2_server_do(HOLD_END) /tick            200, then "tick\n" for each h2_server_do(TICK) /never no
 * answer at all /status/N        status N, no body /early           200 and the end of the answer,
 * before the request's body was read /reset           200, 10 bytes, RST_STREAM(INTERNAL_ERROR)
 *   /refuse/N        RST_STREAM(REFUSED_STREAM) for the first N of these, then as /echo
 *   /goaway          for the first of these GOAWAY that leaves it unprocessed, then as /echo
 *   /last            GOAWAY that includes it, then as /echo
 *   /drop            200, 10 bytes of an answer of 100, then the connection is closed
 *   /freeze          the connection stays open and is never served again
 *   /bigheader/N     200 with two headers of N bytes each
 */
#ifndef TEST_SUPPORT_H2_SERVER_H
#define TEST_SUPPORT_H2_SERVER_H

#include "support/pki.h"

#include <stdbool.h>
#include <stdint.h>

struct h2_server;

struct h2_server_options {
    const struct test_pki *pki;
    unsigned streams_max; /* SETTINGS_MAX_CONCURRENT_STREAMS; 0: 100 */
    unsigned piece;       /* bytes of each write to the socket; 0: as they come */
    bool need_client;     /* a client certificate is asked for and checked */
    bool mute;            /* accepts, and never says a word */
    bool no_alpn;         /* does not agree on h2 */
    bool close_at_once;   /* each connection, as soon as it was accepted */
    uint16_t port;        /* 0: any */
};

enum h2_server_order { HOLD_END, TICK, GOAWAY_ALL, DROP_ALL };

struct h2_server_counts {
    unsigned connections;  /* accepted so far */
    unsigned open;         /* of them still open */
    unsigned requests;     /* heads received */
    unsigned streams_peak; /* most at once on one connection */
    unsigned resets;       /* RST_STREAM received */
    uint64_t body_sent;    /* bytes of answers' bodies */
};

/* Asserts that it works. */
struct h2_server *h2_server_start(const struct h2_server_options *options);
uint16_t h2_server_port(const struct h2_server *s);
void h2_server_do(struct h2_server *s, enum h2_server_order order);
void h2_server_counts(struct h2_server *s, struct h2_server_counts *out);
void h2_server_stop(struct h2_server *s);

#endif
