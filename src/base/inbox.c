#include "base/inbox.h"

#include "base/clock.h"

#include <assert.h>
#include <time.h>

void inbox_init(struct inbox *in)
{
    pthread_mutex_init(&in->lock, NULL);
    clock_cond_init(&in->ready);
    in->head = NULL;
    in->tail = &in->head;
    in->told = false;
}

void inbox_destroy(struct inbox *in)
{
    assert(!in->head);
    pthread_cond_destroy(&in->ready);
    pthread_mutex_destroy(&in->lock);
}

static void put_locked(struct inbox *in, struct msg *m)
{
    m->next = NULL;
    *in->tail = m;
    in->tail = &m->next;
}

bool inbox_put(struct inbox *in, struct msg *m)
{
    bool tell;

    pthread_mutex_lock(&in->lock);
    put_locked(in, m);
    tell = !in->told;
    in->told = true;
    pthread_mutex_unlock(&in->lock);
    if (tell)
        pthread_cond_signal(&in->ready);
    return tell;
}

void inbox_put_quietly(struct inbox *in, struct msg *m)
{
    pthread_mutex_lock(&in->lock);
    put_locked(in, m);
    pthread_mutex_unlock(&in->lock);
}

bool inbox_remove(struct inbox *in, struct msg *m)
{
    struct msg **at;
    bool found;

    pthread_mutex_lock(&in->lock);
    for (at = &in->head; *at && *at != m;)
        at = &(*at)->next;
    found = *at != NULL;
    if (found) {
        *at = m->next;
        if (!m->next)
            in->tail = at;
    }
    pthread_mutex_unlock(&in->lock);
    return found;
}

bool inbox_untold(struct inbox *in)
{
    bool untold;

    pthread_mutex_lock(&in->lock);
    untold = in->head && !in->told;
    if (untold)
        in->told = true;
    pthread_mutex_unlock(&in->lock);
    return untold;
}

static struct msg *take_locked(struct inbox *in)
{
    struct msg *m = in->head;

    in->head = NULL;
    in->tail = &in->head;
    in->told = false;
    return m;
}

struct msg *inbox_take(struct inbox *in)
{
    struct msg *m;

    pthread_mutex_lock(&in->lock);
    m = take_locked(in);
    pthread_mutex_unlock(&in->lock);
    return m;
}

struct msg *inbox_wait(struct inbox *in, unsigned long long deadline_ns)
{
    struct timespec ts = clock_timespec(deadline_ns);
    struct msg *m;
    int rc = 0;

    pthread_mutex_lock(&in->lock);
    while (!in->head && rc == 0) {
        if (deadline_ns)
            rc = pthread_cond_timedwait(&in->ready, &in->lock, &ts);
        else
            pthread_cond_wait(&in->ready, &in->lock);
    }
    m = take_locked(in);
    pthread_mutex_unlock(&in->lock);
    return m;
}
