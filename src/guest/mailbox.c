/* How it works: every key is one block (struct item), found by name through a balanced tree (the C
 * library's tsearch, so no choice of names makes it slow), and, while it waits, by its due time
 * through a heap. Keys that are due and keys that wait for a timer are in the same heap: the one
 * due first is on top either way, and among those due at the same moment the one that was put
 * first. Everything is O(log n). The key being handled is in the tree only; what is put meanwhile
 * is noted in `again`.
 *
 * Never in the way of a worker that has finished: only putting a new key allocates, and it
 * allocates all that the key will ever need here, so done, failed and untake cannot fail.
 *
 * Back-off is the greater of two delays, as client-go's MaxOfRateLimiter has it. That of the key
 * doubles with its failures. That of all keys is a bucket of tokens, kept as one number: the time
 * at which it will be full again. A failure takes a token, which moves that time on by the time
 * that a token takes to come; what is missing below an empty bucket is the delay. Two differences
 * to client-go: the bucket never owes more tokens than there are keys (there a key that fails and
 * changes all the time puts off the retries of all others without end), and it is full when the
 * mailbox has been empty.
 */
#include "guest/mailbox.h"

#include "base/limits.h"

#include <assert.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#define TRIGGER_ALL UINT16_MAX

/* By what an item is found. */
struct name {
    const char *key;
    uint16_t trigger;
};

struct item {
    struct name name;
    uint32_t failures;
    uint64_t seq;
    uint64_t due_ns, order; /* its place in the heap: by due_ns, then by order */
    size_t at;              /* index in the heap; meaningless while it is handled */
    char key[];
};

struct mailbox {
    void *tree; /* of all entries, by name */
    struct item **heap;
    size_t waiting, room; /* room is never less than all keys, the one being handled included */
    struct item *handled;
    struct {
        uint64_t due_ns; /* 0: it was not put again */
        uint64_t order, seq;
    } again;
    uint64_t orders;         /* given so far */
    uint64_t bucket_full_ns; /* when all tokens will have come back */
};

/* --- the heap --- */

static bool before(const struct item *a, const struct item *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void heap_put(struct mailbox *m, size_t i, struct item *it)
{
    m->heap[i] = it;
    it->at = i;
}

static void heap_up(struct mailbox *m, size_t i)
{
    struct item *it = m->heap[i];

    for (; i > 0 && before(it, m->heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap_put(m, i, m->heap[(i - 1) / 2]);
    heap_put(m, i, it);
}

static void heap_down(struct mailbox *m, size_t i)
{
    struct item *it = m->heap[i];

    for (size_t child; (child = 2 * i + 1) < m->waiting; i = child) {
        if (child + 1 < m->waiting && before(m->heap[child + 1], m->heap[child]))
            child++;
        if (!before(m->heap[child], it))
            break;
        heap_put(m, i, m->heap[child]);
    }
    heap_put(m, i, it);
}

static void heap_add(struct mailbox *m, struct item *it)
{
    assert(m->waiting < m->room);
    heap_put(m, m->waiting, it);
    heap_up(m, m->waiting++);
}

static struct item *heap_pop(struct mailbox *m)
{
    struct item *top = m->heap[0];

    if (--m->waiting > 0) {
        heap_put(m, 0, m->heap[m->waiting]);
        heap_down(m, 0);
    }
    return top;
}

static int heap_reserve(struct mailbox *m, size_t keys, struct err *err)
{
    size_t room = m->room ? m->room * 2 : 4;
    struct item **heap;

    if (keys <= m->room)
        return 0;
    heap = realloc(m->heap, room * sizeof(*heap));
    if (!heap)
        return err_set(err, ERR_NOMEM, 0, "no memory for a mailbox of %zu keys", room);
    m->heap = heap;
    m->room = room;
    return 0;
}

/* --- names --- */

static int compare(const void *a, const void *b)
{
    const struct name *x = a, *y = b;

    if (x->trigger != y->trigger)
        return x->trigger < y->trigger ? -1 : 1;
    return strcmp(x->key, y->key);
}

static struct item *find(const struct mailbox *m, uint16_t trigger, const char *key)
{
    struct name name = {.key = key, .trigger = trigger};
    void *node = m ? tfind(&name, &m->tree, compare) : NULL;

    /* A node begins with a pointer to what was put in it: the name, which begins the item. */
    return node ? *(struct item **)node : NULL;
}

static void item_forget(struct mailbox *m, struct item *it)
{
    tdelete(&it->name, &m->tree, compare);
    free(it);
}

/* The last step of whatever may have taken the last key out. */
static void free_if_empty(struct mailbox **mb)
{
    if (*mb && mailbox_len(*mb) == 0) {
        mailbox_free(*mb);
        *mb = NULL;
    }
}

/* --- putting --- */

static struct item *item_new(struct mailbox *m, uint16_t trigger, const char *key)
{
    size_t size = strlen(key) + 1;
    struct item *it = calloc(1, sizeof(*it) + size);

    if (!it)
        return NULL;
    memcpy(it->key, key, size);
    it->name = (struct name){.key = it->key, .trigger = trigger};
    if (!tsearch(&it->name, &m->tree, compare)) {
        free(it);
        return NULL;
    }
    return it;
}

static int put_new(struct mailbox *m, uint16_t trigger, const char *key, const struct item *value,
                   struct err *err)
{
    size_t keys = mailbox_len(m);
    struct item *it;

    if (keys >= MAILBOX_KEYS_MAX)
        return err_set(err, ERR_LIMIT, 0, "mailbox: %zu keys, limit %u", keys, MAILBOX_KEYS_MAX);
    if (strlen(key) > MAILBOX_KEY_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "mailbox: a key of %zu bytes, limit %u", strlen(key),
                       MAILBOX_KEY_BYTES_MAX);
    if (heap_reserve(m, keys + 1, err) < 0)
        return -1;
    it = item_new(m, trigger, key);
    if (!it)
        return err_set(err, ERR_NOMEM, 0, "no memory for a key of a mailbox");
    it->seq = value->seq;
    it->failures = value->failures;
    it->due_ns = value->due_ns;
    it->order = m->orders++;
    heap_add(m, it);
    return 0;
}

static void join_handled(struct mailbox *m, const struct item *value)
{
    if (value->seq > m->again.seq)
        m->again.seq = value->seq;
    if (m->again.due_ns == 0 || value->due_ns < m->again.due_ns) {
        m->again.due_ns = value->due_ns;
        m->again.order = m->orders++;
    }
}

static void join_waiting(struct mailbox *m, struct item *it, const struct item *value)
{
    if (value->seq > it->seq)
        it->seq = value->seq;
    if (value->due_ns < it->due_ns) {
        it->due_ns = value->due_ns;
        it->order = m->orders++;
        heap_up(m, it->at);
    }
}

int mailbox_put_at(struct mailbox **mb, uint16_t trigger, const char *key, uint64_t seq,
                   uint64_t due_ns, uint32_t failures, struct err *err)
{
    struct item *it = find(*mb, trigger, key);
    struct item value = {.seq = seq, .due_ns = due_ns ? due_ns : 1, .failures = failures};
    int rc;

    assert(trigger != TRIGGER_ALL);
    if (it) {
        if (failures > it->failures)
            it->failures = failures;
        if (it == (*mb)->handled)
            join_handled(*mb, &value);
        else
            join_waiting(*mb, it, &value);
        return 0;
    }
    if (!*mb && !(*mb = calloc(1, sizeof(**mb))))
        return err_set(err, ERR_NOMEM, 0, "no memory for a mailbox");
    rc = put_new(*mb, trigger, key, &value, err);
    free_if_empty(mb);
    return rc;
}

int mailbox_put(struct mailbox **mb, uint16_t trigger, const char *key, uint64_t seq,
                uint64_t now_ns, struct err *err)
{
    return mailbox_put_at(mb, trigger, key, seq, now_ns, 0, err);
}

/* --- handling --- */

bool mailbox_take(struct mailbox **mb, uint64_t now_ns, struct mail *out)
{
    struct mailbox *m = *mb;
    struct item *it;

    if (!m || m->waiting == 0 || m->heap[0]->due_ns > now_ns)
        return false;
    assert(!m->handled);
    it = m->handled = heap_pop(m);
    memset(&m->again, 0, sizeof(m->again));
    *out = (struct mail){.key = it->key,
                         .trigger = it->name.trigger,
                         .seq = it->seq,
                         .failures = it->failures,
                         .put_ns = it->due_ns};
    return true;
}

static struct item *handled_end(struct mailbox *m)
{
    struct item *it = m ? m->handled : NULL;

    assert(it);
    m->handled = NULL;
    return it;
}

/* Waits until due_ns, or less if it was put meanwhile. */
static void wait_again(struct mailbox *m, struct item *it, uint64_t due_ns, uint64_t order)
{
    bool sooner = m->again.due_ns != 0 && m->again.due_ns < due_ns;

    it->due_ns = sooner ? m->again.due_ns : due_ns;
    it->order = sooner ? m->again.order : order;
    if (m->again.seq > it->seq)
        it->seq = m->again.seq;
    heap_add(m, it);
}

static uint64_t later(uint64_t now_ns, uint64_t delay_ns)
{
    return delay_ns < UINT64_MAX - now_ns ? now_ns + delay_ns : UINT64_MAX;
}

void mailbox_done(struct mailbox **mb, uint64_t now_ns, uint64_t requeue_after_ns)
{
    struct mailbox *m = *mb;
    struct item *it = handled_end(m);

    it->seq = 0; /* handled: what is left is a timer, or the change that came meanwhile */
    it->failures = 0;
    if (requeue_after_ns)
        wait_again(m, it, later(now_ns, requeue_after_ns), m->orders++);
    else if (m->again.due_ns)
        wait_again(m, it, UINT64_MAX, m->orders++);
    else
        item_forget(m, it);
    free_if_empty(mb);
}

static uint64_t key_delay(uint32_t failures)
{
    uint64_t delay = MAILBOX_BACKOFF_MIN_NS;

    for (; failures > 0 && delay < MAILBOX_BACKOFF_MAX_NS; failures--)
        delay *= 2;
    return delay < MAILBOX_BACKOFF_MAX_NS ? delay : MAILBOX_BACKOFF_MAX_NS;
}

/* Takes a token, which may be one that is yet to come: how long that takes. */
static uint64_t bucket_delay(struct mailbox *m, uint64_t now_ns)
{
    uint64_t burst = MAILBOX_RETRY_BURST * MAILBOX_RETRY_TOKEN_NS;
    uint64_t most = now_ns + burst + mailbox_len(m) * MAILBOX_RETRY_TOKEN_NS;

    if (m->bucket_full_ns < now_ns)
        m->bucket_full_ns = now_ns;
    m->bucket_full_ns += MAILBOX_RETRY_TOKEN_NS;
    if (m->bucket_full_ns > most)
        m->bucket_full_ns = most;
    return m->bucket_full_ns > now_ns + burst ? m->bucket_full_ns - now_ns - burst : 0;
}

uint64_t mailbox_failed(struct mailbox **mb, uint64_t now_ns)
{
    struct mailbox *m = *mb;
    uint64_t of_all = bucket_delay(m, now_ns), of_key;
    struct item *it = handled_end(m);

    of_key = key_delay(it->failures);
    if (it->failures < UINT32_MAX)
        it->failures++;
    wait_again(m, it, later(now_ns, of_key > of_all ? of_key : of_all), m->orders++);
    return it->due_ns > now_ns ? it->due_ns - now_ns : 0;
}

void mailbox_untake(struct mailbox **mb, uint64_t now_ns)
{
    struct mailbox *m = *mb;
    struct item *it = handled_end(m);

    assert(it->due_ns <= now_ns);
    wait_again(m, it, it->due_ns, it->order); /* at its old place */
}

/* --- looking --- */

uint64_t mailbox_next_due(const struct mailbox *m)
{
    return m && m->waiting ? m->heap[0]->due_ns : 0;
}

size_t mailbox_len(const struct mailbox *m)
{
    return m ? m->waiting + (m->handled ? 1 : 0) : 0;
}

uint64_t mailbox_oldest_ns(const struct mailbox *m, uint64_t now_ns)
{
    uint64_t due = mailbox_next_due(m);

    return due && due < now_ns ? now_ns - due : 0;
}

void mailbox_each(const struct mailbox *m,
                  void (*each)(void *ctx, uint16_t trigger, const char *key, uint64_t seq,
                               uint64_t due_ns, uint32_t failures),
                  void *ctx)
{
    const struct item *it = m ? m->handled : NULL;

    if (it)
        each(ctx, it->name.trigger, it->key, m->again.seq > it->seq ? m->again.seq : it->seq,
             it->due_ns, it->failures);
    for (size_t i = 0; m && i < m->waiting; i++) {
        it = m->heap[i];
        each(ctx, it->name.trigger, it->key, it->seq, it->due_ns, it->failures);
    }
}

/* --- forgetting --- */

void mailbox_clear(struct mailbox **mb, uint16_t trigger)
{
    struct mailbox *m = *mb;
    size_t kept = 0;

    if (!m)
        return;
    for (size_t i = 0; i < m->waiting; i++) {
        if (trigger == TRIGGER_ALL || m->heap[i]->name.trigger == trigger)
            item_forget(m, m->heap[i]);
        else
            heap_put(m, kept++, m->heap[i]);
    }
    m->waiting = kept;
    for (size_t i = kept / 2; i-- > 0;)
        heap_down(m, i);
    if (m->handled && (trigger == TRIGGER_ALL || m->handled->name.trigger == trigger))
        memset(&m->again, 0, sizeof(m->again));
    free_if_empty(mb);
}

void mailbox_free(struct mailbox *m)
{
    if (!m)
        return;
    if (m->handled)
        item_forget(m, m->handled);
    for (size_t i = 0; i < m->waiting; i++)
        item_forget(m, m->heap[i]);
    free(m->heap);
    free(m);
}
