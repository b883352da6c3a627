/* Fiber stacks from a free list.
 *
 * Each call into a guest runs on a fiber; Wasmtime would map a stack for each instance and unmap it
 * with the store (two system calls and the page faults of a fresh mapping, at each wake). Here a
 * stack goes back to a short list and is used by the next guest, its top pages still warm. Stacks
 * are not zeroed: compiled Wasm code cannot read what it did not write, and the host's own frames
 * are not a guest's to see. Below each stack is a guard page.
 */
#include "base/limits.h"
#include "engine/internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

struct stack {
    struct stacks *owner;
    struct stack *next;
    uint8_t *mapping; /* guard page first */
    size_t len;       /* without it */
};

struct stacks {
    pthread_mutex_t lock;
    struct stack *free;
    size_t nfree;
};

int stacks_new(struct stacks **out, struct err *err)
{
    struct stacks *s = calloc(1, sizeof(*s));

    if (!s)
        return err_set(err, ERR_NOMEM, 0, "no memory for the list of stacks");
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return 0;
}

static void stack_unmap(struct stack *st)
{
    munmap(st->mapping, st->len + PAGE_BYTES);
    free(st);
}

static struct stack *stack_map(struct stacks *owner, size_t len)
{
    struct stack *st = malloc(sizeof(*st));
    void *at;

    if (!st)
        return NULL;
    at = mmap(NULL, len + PAGE_BYTES, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        free(st);
        return NULL;
    }
    *st = (struct stack){.owner = owner, .mapping = at, .len = len};
    if (mprotect(at, PAGE_BYTES, PROT_NONE) < 0) {
        stack_unmap(st);
        return NULL;
    }
    return st;
}

void stacks_trim(struct stacks *s)
{
    struct stack *more = NULL, **last;

    pthread_mutex_lock(&s->lock);
    last = &s->free;
    for (s->nfree = 0; *last && s->nfree < STACKS_IDLE_MAX; s->nfree++)
        last = &(*last)->next;
    more = *last;
    *last = NULL;
    pthread_mutex_unlock(&s->lock);
    for (struct stack *next; more; more = next) {
        next = more->next;
        stack_unmap(more);
    }
}

static uint8_t *stack_memory(void *env, size_t *out_len)
{
    struct stack *st = env;

    *out_len = st->len;
    return st->mapping + PAGE_BYTES + st->len; /* the top: stacks grow down */
}

static void stack_give_back(void *env)
{
    struct stack *st = env;
    struct stacks *s = st->owner;

    pthread_mutex_lock(&s->lock);
    if (s->nfree < STACKS_FREE_MAX) {
        st->next = s->free;
        s->free = st;
        s->nfree++;
        st = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    if (st)
        stack_unmap(st);
}

static wasmtime_error_t *stack_new(void *env, size_t size, bool zeroed,
                                   wasmtime_stack_memory_t *out)
{
    struct stacks *s = env;
    struct stack *st;

    (void)zeroed;
    size = (size + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
    pthread_mutex_lock(&s->lock);
    st = s->free;
    if (st) {
        s->free = st->next;
        s->nfree--;
    }
    pthread_mutex_unlock(&s->lock);
    if (st && st->len < size) { /* never: the configuration has one size */
        stack_unmap(st);
        st = NULL;
    }
    if (!st)
        st = stack_map(s, size);
    if (!st)
        return wasmtime_error_new("no memory for a fiber stack");
    out->env = st;
    out->get_stack_memory = stack_memory;
    out->finalizer = stack_give_back;
    return NULL;
}

static void stacks_free(void *env)
{
    struct stacks *s = env;

    for (struct stack *st = s->free, *next; st; st = next) {
        next = st->next;
        stack_unmap(st);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void stacks_install(struct stacks *stacks, wasm_config_t *config)
{
    wasmtime_stack_creator_t creator = {
        .env = stacks, .new_stack = stack_new, .finalizer = stacks_free};

    wasmtime_config_host_stack_creator_set(config, &creator);
}
