/* A daemon without a network: real engine, arena, database, workers and I/O threads; its trigger is
 * the test itself, and `kube:` is a table in memory that answers 200 to everything.
 *
 * For tests of a guest's life and for the wake benchmark. One thread: rig_run turns the loop until
 * what the caller waits for has happened.
 */
#ifndef ROOST_TEST_RIG_H
#define ROOST_TEST_RIG_H

#include "base/disk.h"
#include "guest/guest.h"

#include <stdbool.h>

#ifndef RIG_OBJECTS
#define RIG_OBJECTS 256
#endif

/* One key that the trigger knows of; body is what the guest sees ("" is: gone). */
struct rig_object {
    char key[128];
    char body[512];
    char guest[64]; /* the id of the first that it was changed for */
    uint64_t seq;
};

#define RIG_IMAGES 16

struct rig {
    char dir[256];
    struct {
        char path[512];
        struct image *image;
    } images[RIG_IMAGES];
    size_t nimages;
    struct loop *loop;
    struct db *db;
    struct arena *arena;
    struct engine *engine;
    struct guests *guests;
    struct trigger trigger;
    struct capability kube;
    struct capability_source capabilities;
    struct rig_object objects[RIG_OBJECTS];
    size_t nobjects;
    uint64_t seq;
    char last_body[8192]; /* of the last call that a guest made with one */
    char last_target[1024];
    unsigned calls;
    uint64_t boot, own_boot; /* own: the test says which, and same_boot does not count */
    bool drained;
    size_t workers;
    const struct disk *disk; /* the arena's, set before rig_open; NULL: the real one */
    bool kube_on_workers;    /* `kube:` lives on each worker's loop, as the daemon's does */
    bool own_keys;           /* an object is the matter of that guest, and of no other */
    bool may_fail;           /* rig_open and rig_add may: no line on stderr for that */
    char error[ERR_MSG_MAX]; /* why they did */
    /* What the caller waits for; looked at after each event of a guest. */
    bool (*until)(struct rig *r, void *ctx);
    void *until_ctx;
    void (*observe)(struct rig *r, const struct guest *g, enum guest_event ev);
    void *ctx;
};

/* Starts on dir (kept by the caller), as the daemon does. False with a line on stderr, nothing
 * kept.
 */
bool rig_open(struct rig *r, const char *dir, size_t workers, bool same_boot);
/* Drains and closes, as SIGTERM does. */
void rig_close(struct rig *r);
/* A guest of guests/NAME.wasm in the build folder (compiled into the build folder's cache). env:
 * "NAME=value" strings, NULL-terminated. */
struct guest *rig_add(struct rig *r, const char *module, const char *name, const char *const *env,
                      void (*tweak)(struct guest_spec *spec));
/* The same in the place of one that is there: guest_replace. */
int rig_replace(struct rig *r, struct guest *g, const char *module, const char *const *env,
                void (*tweak)(struct guest_spec *spec), guest_changed_over *done, void *ctx,
                struct err *err);
/* A change of one object; the guest gets its key. */
void rig_change(struct rig *r, struct guest *g, const char *key, const char *body);
/* Turns the loop until `until` is true; false after about `seconds`. */
bool rig_run(struct rig *r, bool (*until)(struct rig *r, void *ctx), void *ctx, unsigned seconds);
/* Until the guest is asleep (or cold) with an empty mailbox, or with `seconds` over: false. */
bool rig_settle(struct rig *r, const struct guest *g, unsigned seconds);
/* The path of a compiled guest module's image; "" with a line on stderr where that failed. */
const char *rig_image(const char *module, uint8_t digest[32]);

#endif
