/* An API server for the density benchmark: one kind, N TestResources that it makes up as they are
 * asked for, streaming lists, watches, and every access review allowed. HTTP/2 over TLS on
 * 127.0.0.1, a thread of its own, a few bytes an object.
 *
 * Object i is "d-IIIIIII/ball", some 400 bytes.
 */
#ifndef ROOST_BENCH_LISTSERVER_H
#define ROOST_BENCH_LISTSERVER_H

#include "base/err.h"

#include <stdint.h>

struct listserver;

struct listserver_counts {
    uint64_t reviews, objects, streams; /* objects sent, streams opened, all so far */
};

int listserver_start(struct listserver **out, uint32_t objects, struct err *err) ERR_CHECK;
/* A kubeconfig for it. */
int listserver_kubeconfig(const struct listserver *s, const char *path, struct err *err) ERR_CHECK;
/* Object i changes, and those who watch are told. Any thread. */
void listserver_touch(struct listserver *s, uint32_t i);
void listserver_counts(struct listserver *s, struct listserver_counts *out);
/* NULL is fine. */
void listserver_stop(struct listserver *s);

#endif
