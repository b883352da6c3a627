/* A `kube:` whose answers follow a script, for the rig: at once, in pieces at random moments,
 * never, or broken off. By the call's target:
 *
 *   /quick    200 and a body of two bytes, at once
 *   /stream   200 and a body of `bytes` bytes in pieces of random sizes, some of them later; never
 *             more on its way than `window` that the guest has not read
 *   /broken   the same, until half of it has come
 *   /hang     nothing
 *   /echo     200 and the request's body, once it has ended
 *   /gone     the host's own 502
 *   others    404
 */
#ifndef ROOST_TEST_SCRIPT_KUBE_H
#define ROOST_TEST_SCRIPT_KUBE_H

#include "rig/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct script {
    struct rig *rig;
    size_t bytes, window;
    unsigned seed;
    unsigned started, cancelled, ended; /* calls */
    size_t unread_max;                  /* the most that was on its way */
};

struct scripted {
    struct script *script;
    struct call *call;
    struct timer later;
    size_t sent, read, until;
    bool ok, echo;
    uint8_t *body; /* of an echo */
    size_t body_len;
};

static inline void scripted_free(struct scripted *s)
{
    loop_timer_clear(s->script->rig->loop, &s->later);
    free(s->body);
    free(s);
}

static inline void scripted_end(struct scripted *s, bool ok)
{
    s->script->ended++;
    call_end(s->call, ok);
    scripted_free(s);
}

static inline void scripted_go_on(struct scripted *s)
{
    struct script *script = s->script;

    while (s->sent < s->until) {
        size_t n = 1 + (size_t)rand_r(&script->seed) % 5000,
               room = s->read + script->window - s->sent;
        uint8_t piece[5000];

        n = n < s->until - s->sent ? n : s->until - s->sent;
        n = n < room ? n : room;
        if (n == 0)
            return; /* until more is read */
        for (size_t i = 0; i < n; i++)
            piece[i] = (uint8_t)((s->sent + i) * 7 + (s->sent + i) / 251);
        s->sent += n;
        if (s->sent - s->read > script->unread_max)
            script->unread_max = s->sent - s->read;
        call_data(s->call, piece, n);
        if (rand_r(&script->seed) % 3 == 0) {
            if (loop_timer_set(script->rig->loop, &s->later,
                               clock_now_ns() + (unsigned)rand_r(&script->seed) % (NS_PER_MS / 2),
                               NULL) < 0)
                abort();
            return;
        }
    }
    scripted_end(s, s->ok);
}

static inline void scripted_later(struct timer *t)
{
    scripted_go_on(container_of(t, struct scripted, later));
}

static inline void script_answer(struct call *c, int status, const char *body)
{
    static const char head[] = "content-type: application/json\n";

    call_head(c, status, head, sizeof(head) - 1);
    call_data(c, (const uint8_t *)body, strlen(body));
    call_end(c, true);
}

static inline void script_stream(struct script *script, struct call *c, bool broken)
{
    static const char head[] = "content-type: text/plain\nx-pieces: yes\n";
    struct scripted *s = calloc(1, sizeof(*s));

    s->script = script;
    s->call = c;
    s->ok = !broken;
    s->until = broken ? script->bytes / 2 : script->bytes;
    s->later.fire = scripted_later;
    call_set_impl(c, s);
    call_head(c, 200, head, sizeof(head) - 1);
    scripted_go_on(s);
}

static inline void script_keep(struct script *script, struct call *c, bool echo)
{
    struct scripted *s = calloc(1, sizeof(*s));
    struct bytes body = call_body(c);

    s->script = script;
    s->call = c;
    s->echo = echo;
    s->body = malloc(body.len + 1);
    memcpy(s->body, body.data, body.len);
    s->body_len = body.len;
    call_set_impl(c, s);
}

static inline void script_start(void *ctx, struct call *c, const struct guest *g)
{
    struct script *script = ctx;
    const char *target = call_target(c);

    (void)g;
    script->started++;
    if (!strcmp(target, "/quick"))
        script_answer(c, 200, "{}");
    else if (!strcmp(target, "/gone"))
        call_problem(c, 502, "unreachable", "as the script has it");
    else if (!strcmp(target, "/stream") || !strcmp(target, "/broken"))
        script_stream(script, c, target[1] == 'b');
    else if (!strcmp(target, "/hang") || !strcmp(target, "/echo"))
        script_keep(script, c, target[1] == 'e');
    else
        script_answer(c, 404, "{}");
}

static inline void script_write(void *ctx, struct call *c, const uint8_t *data, size_t len,
                                bool last)
{
    struct scripted *s = call_impl(c);

    (void)ctx;
    if (!s || !s->echo)
        return;
    s->body = realloc(s->body, s->body_len + len + 1);
    if (len)
        memcpy(s->body + s->body_len, data, len);
    s->body_len += len;
    if (!last)
        return;
    call_head(c, 200, "", 0);
    call_data(c, s->body, s->body_len);
    scripted_end(s, true);
}

static inline void script_consume(void *ctx, struct call *c, size_t n)
{
    struct scripted *s = call_impl(c);

    (void)ctx;
    if (!s)
        return;
    s->read += n;
    if (!s->later.at)
        scripted_go_on(s);
}

static inline void script_cancel(void *ctx, struct call *c)
{
    struct script *script = ctx;
    struct scripted *s = call_impl(c);

    script->cancelled++;
    if (s)
        scripted_free(s);
}

/* After rig_open. */
static inline void script_install(struct script *script, struct rig *r)
{
    script->rig = r;
    script->window = script->window ? script->window : SIZE_MAX / 2;
    r->kube.ctx = script;
    r->kube.start = script_start;
    r->kube.write = script_write;
    r->kube.consume = script_consume;
    r->kube.cancel = script_cancel;
}

#endif
