/* The daemon, a real API server, and a client of it: what the end-to-end drivers share.
 *
 * A driver runs cases one after the other and prints `ok NAME` or `not ok NAME` for each; what was
 * not as expected goes to stderr, with the place. Everything blocks and turns the loop of the
 * ring's client meanwhile. Files are below the folder given to e2e_open; the daemon ends with the
 * driver.
 */
#ifndef ROOST_TEST_E2E_H
#define ROOST_TEST_E2E_H

#include "ringkit.h"

#include <jansson.h>
#include <stdbool.h>

#define E2E_WAIT_S 60u

struct e2e {
    struct ring ring;
    struct child child;
    char dir[256], guests[300], state[300], log[300], socket[320], roost[1024];
    const char *kubeconfig, *name; /* of the case */
    unsigned cases, failed;
    bool good;
    struct err err; /* of the last request */
};

/* kubeconfig is borrowed. operators: of the ring, two at least. False with a line on stderr. */
bool e2e_open(struct e2e *e, const char *kubeconfig, unsigned operators);
/* Stops the daemon, removes the folder; the exit status. */
int e2e_close(struct e2e *e);

void e2e_case(struct e2e *e, const char *name);
/* Prints ok or not ok for the case. */
void e2e_done(struct e2e *e);
#define CHECK(e, condition, ...)                                                                   \
    e2e_check(e, (condition), __FILE__, __LINE__, #condition, __VA_ARGS__)
bool e2e_check(struct e2e *e, bool condition, const char *file, int line, const char *text,
               const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* --- the API server --- */
/* The answer as JSON (the caller's), or NULL with e->err. path and body are printf's with one
 * allocation each; body NULL: none. */
json_t *e2e_get(struct e2e *e, const char *path, ...) __attribute__((format(printf, 2, 3)));
bool e2e_create(struct e2e *e, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
json_t *e2e_patch(struct e2e *e, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool e2e_delete(struct e2e *e, const char *path);
/* A TestResource's nonce; the new resourceVersion goes to version (64 bytes), where it is given. */
bool e2e_touch(struct e2e *e, const char *namespace, const char *name, long long nonce,
               char *version);
/* Namespace and service account `ledger` in it, with the rights of a ledger: on all TestResources
 * and ConfigMaps of the namespace. */
bool e2e_namespace(struct e2e *e, const char *name);
bool e2e_grant(struct e2e *e, const char *namespace, const char *of_namespace);
/* A ledger's account in its namespace; false where there is none. */
struct account {
    long long events, repeats, starts, errors;
    char boot[32], key[128], version[64];
};
bool e2e_account(struct e2e *e, const char *namespace, const char *name, struct account *a);

/* --- the daemon --- */
/* A manifest of a ledger in its namespace; namespaces is the list of its watch. */
bool e2e_ledger(struct e2e *e, const char *namespace, const char *name, const char *namespaces,
                const char *more);
bool e2e_file(struct e2e *e, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool e2e_start(struct e2e *e, bool ready);
bool e2e_ready(struct e2e *e);
int e2e_stop(struct e2e *e);
void e2e_kill(struct e2e *e);
/* From the admin API, the caller's; NULL: no answer. */
json_t *e2e_admin(struct e2e *e, const char *target, int *status);
/* One number or text of one guest, by `roost describe`'s names; -1 and "" where there is none. */
long long e2e_guest_number(struct e2e *e, const char *id, const char *field);
void e2e_guest_text(struct e2e *e, const char *id, const char *field, char *out, size_t cap);
/* Runs the program with these arguments (NULL ends them); its exit status; stdout and stderr go to
 * out. */
int e2e_run(struct e2e *e, char *out, size_t cap, ...) __attribute__((sentinel));

/* Asks every few milliseconds; false after E2E_WAIT_S. */
bool e2e_wait(struct e2e *e, bool (*what)(struct e2e *e, void *ctx), void *ctx);

#endif
