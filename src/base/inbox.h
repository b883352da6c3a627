/* Messages between threads: an intrusive list behind a mutex.
 *
 * A message is embedded in the thing that sends it (a guest, a call, a save), so sending never
 * allocates and never finds a ring full: there are at most as many messages as there are senders,
 * and those have maxima of their own. Its `run` is called by the thread that takes it. A message
 * must not be put again before it was run.
 */
#ifndef ROOST_BASE_INBOX_H
#define ROOST_BASE_INBOX_H

#include <pthread.h>
#include <stdbool.h>

struct msg {
    struct msg *next;
    void (*run)(struct msg *m);
};

struct inbox {
    pthread_mutex_t lock;
    pthread_cond_t ready; /* on CLOCK_MONOTONIC */
    struct msg *head, **tail;
    bool told; /* since it was emptied, somebody was told that something is in it */
};

/* The struct that embeds a message (or any other member). */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

void inbox_init(struct inbox *in);
/* The inbox must be empty. */
void inbox_destroy(struct inbox *in);
/* Any thread. True if nobody was told yet of what is in it: then whoever sleeps on it outside
 * (a loop) must be told. Threads that sleep in inbox_wait are told here. */
bool inbox_put(struct inbox *in, struct msg *m);
/* The same, and nobody is told: for what is in time whenever the reader looks next. */
void inbox_put_quietly(struct inbox *in, struct msg *m);
/* Takes one message out again, unread. False if it is not there. */
bool inbox_remove(struct inbox *in, struct msg *m);
/* Something is in it and nobody was told yet; who asks tells now. */
bool inbox_untold(struct inbox *in);
/* All messages, oldest first; NULL if there are none. */
struct msg *inbox_take(struct inbox *in);
/* Waits for a message until CLOCK_MONOTONIC reaches deadline_ns (0: for ever); NULL at the
 * deadline. */
struct msg *inbox_wait(struct inbox *in, unsigned long long deadline_ns);

#endif
