/* The ledger's memory: what is in it follows from a seed and from what was done to it, so that any
 * byte that got lost, stale or mixed up on the way to disk and back is found.
 *
 * Memory is grown in blocks and cut into leaves of 4 KiB. Each leaf has a version, kept apart from
 * it; word i of leaf n in version v is a function of (seed, n, v, i). A leaf that was not restored,
 * restored from an older snapshot, or put in another's place does not fit its version. A version
 * that is stale does not fit its leaf. The sum of the versions and the count of events are held in
 * ordinary memory and again in two Wasm globals.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include <roost.h>

#include <stdlib.h>

#define LEAF_BYTES      4096u
#define LEAF_WORDS      (LEAF_BYTES / 8)
#define BLOCK_BYTES     65536u /* a page of WebAssembly */
#define BLOCK_LEAVES    (BLOCK_BYTES / LEAF_BYTES)
#define LEDGER_MIB_MAX  1024u
#define LEDGER_SEEN_MAX 1024u

/* globals.s; natively the test's own. */
uint64_t ledger_globals_get_events(void);
uint64_t ledger_globals_get_mix(void);
void ledger_globals_set(uint64_t events, uint64_t mix);

struct ledger {
    uint64_t seed, boot;
    uint64_t starts, events, repeats, errors, mutations, checksum;
    uint64_t **blocks; /* BLOCK_BYTES each */
    uint32_t *versions;
    uint32_t nblocks, nblocks_max;
    uint64_t seen[LEDGER_SEEN_MAX]; /* the last version handled of a key, both hashed */
};

static inline uint64_t ledger_hash(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t ledger_hash_text(uint64_t h, const char *text)
{
    for (; *text; text++)
        h = ledger_hash(h ^ (unsigned char)*text);
    return h;
}

static inline uint64_t *ledger_leaf(const struct ledger *l, uint32_t leaf)
{
    return l->blocks[leaf / BLOCK_LEAVES] + (size_t)(leaf % BLOCK_LEAVES) * LEAF_WORDS;
}

static inline uint64_t ledger_word(uint64_t key, uint64_t i)
{
    return (key + i) * 0xff51afd7ed558ccdu ^ key >> 29;
}

static inline uint64_t ledger_key(const struct ledger *l, uint32_t leaf)
{
    return ledger_hash(l->seed ^ ledger_hash((uint64_t)leaf << 32 | l->versions[leaf]));
}

static inline void ledger_leaf_write(struct ledger *l, uint32_t leaf)
{
    uint64_t *words = ledger_leaf(l, leaf), key = 0;

    l->versions[leaf]++;
    l->mutations++;
    key = ledger_key(l, leaf);
    for (uint32_t i = 0; i < LEAF_WORDS; i++)
        words[i] = ledger_word(key, i);
}

static inline bool ledger_leaf_check(struct ledger *l, uint32_t leaf)
{
    const uint64_t *words = ledger_leaf(l, leaf);
    uint64_t key = ledger_key(l, leaf), differ = 0, sum = 0;

    for (uint32_t i = 0; i < LEAF_WORDS; i++) {
        differ |= words[i] ^ ledger_word(key, i);
        sum += words[i];
    }
    l->checksum = (l->checksum << 5 | l->checksum >> 59) ^ sum;
    return differ == 0;
}

static inline uint64_t *ledger_block_new(void)
{
#ifdef __wasm__ /* straight from the host, past malloc: the guest's memory really grows */
    size_t at = __builtin_wasm_memory_grow(0, 1);

    return at == SIZE_MAX ? NULL : (uint64_t *)(at * BLOCK_BYTES);
#else
    return malloc(BLOCK_BYTES);
#endif
}

/* One block more, filled. False: the limit, or memory was refused. */
static inline bool ledger_grow(struct ledger *l)
{
    uint64_t *block = l->nblocks < l->nblocks_max ? ledger_block_new() : NULL;

    if (!block)
        return false;
    l->blocks[l->nblocks++] = block;
    for (uint32_t i = 0; i < BLOCK_LEAVES; i++)
        ledger_leaf_write(l, (l->nblocks - 1) * BLOCK_LEAVES + i);
    return true;
}

static inline uint64_t ledger_mix(const struct ledger *l)
{
    return ledger_hash(l->seed ^ l->events ^ l->mutations << 20);
}

/* Blocks of memory now, and at most later. False: no memory. */
static inline bool ledger_open(struct ledger *l, uint64_t seed, uint32_t blocks, uint32_t max)
{
    l->seed = seed;
    l->nblocks_max = max;
    l->blocks = calloc(max, sizeof(*l->blocks));
    l->versions = calloc((size_t)max * BLOCK_LEAVES, sizeof(*l->versions));
    if (!l->blocks || !l->versions)
        return false;
    while (l->nblocks < blocks)
        if (!ledger_grow(l))
            return false;
    ledger_globals_set(l->events, ledger_mix(l));
    return true;
}

/* Looks at everything; adds what is wrong to errors. */
static inline void ledger_verify(struct ledger *l)
{
    uint64_t sum = 0;

    l->checksum = l->seed;
    for (uint32_t leaf = 0; leaf < l->nblocks * BLOCK_LEAVES; leaf++) {
        l->errors += !ledger_leaf_check(l, leaf);
        sum += l->versions[leaf];
    }
    l->errors += sum != l->mutations;
    l->errors += ledger_globals_get_events() != l->events;
    l->errors += ledger_globals_get_mix() != ledger_mix(l);
}

/* Counts one event and changes so many leaves, which ones following from its number. */
static inline void ledger_advance(struct ledger *l, uint32_t leaves)
{
    uint32_t total = l->nblocks * BLOCK_LEAVES;

    l->events++;
    for (uint32_t i = 0; i < leaves && total > 0; i++)
        ledger_leaf_write(l, (uint32_t)(ledger_hash(l->seed ^ l->events << 16 ^ i) % total));
    ledger_globals_set(l->events, ledger_mix(l));
}

/* Has this version of this key been handled before? (The event of a failed try comes again.) */
static inline bool ledger_seen(struct ledger *l, const char *key, const char *version)
{
    uint64_t h = ledger_hash_text(l->seed, key), v = ledger_hash_text(h, version);
    uint64_t *slot = &l->seen[h % LEDGER_SEEN_MAX];

    if (*slot == v)
        return true;
    *slot = v;
    return false;
}

/* The account as members of a JSON object, all values strings. */
static inline int ledger_account(struct roost_buf *out, const struct ledger *l,
                                 const char *last_key, const char *last_version)
{
    const struct {
        const char *name;
        uint64_t n;
    } counts[] = {{"events", l->events},
                  {"starts", l->starts},
                  {"repeats", l->repeats},
                  {"errors", l->errors},
                  {"blocks", l->nblocks}};

    roost_buf_str(out, "{");
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        roost_buf_json(out, counts[i].name, __builtin_strlen(counts[i].name));
        roost_buf_str(out, ":\"");
        roost_buf_uint(out, counts[i].n);
        roost_buf_str(out, "\",");
    }
    roost_buf_str(out, "\"boot\":\"");
    roost_buf_hex(out, l->boot);
    roost_buf_str(out, "\",\"checksum\":\"");
    roost_buf_hex(out, l->checksum);
    roost_buf_str(out, "\",\"lastKey\":");
    roost_buf_json(out, last_key, __builtin_strlen(last_key));
    roost_buf_str(out, ",\"lastVersion\":");
    roost_buf_json(out, last_version, __builtin_strlen(last_version));
    return roost_buf_str(out, "}");
}

#endif
