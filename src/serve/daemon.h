/* The daemon: everything put together, from start to clean end.
 *
 * Start: state directory (locked), database, arena, engine, guests' records; then the API server,
 * manifests, images (compiled by roost-compile where they are missing), watches; the admin socket
 * answers from the first moment. SIGTERM or SIGINT: no new events, events in hand are finished,
 * every guest is saved, the database is synced; a second signal ends at once.
 */
#ifndef ROOST_SERVE_DAEMON_H
#define ROOST_SERVE_DAEMON_H

#include "base/err.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct daemon_opts {
    const char *guests_dir; /* manifests; NULL: none */
    const char *state_dir;
    const char *kubeconfig; /* NULL: $KUBECONFIG, ~/.kube/config */
    const char *context;    /* NULL: the kubeconfig's current one */
    bool no_kubernetes;     /* guests with watches stay held */
    size_t workers;         /* 0: one for each core */
    size_t io_threads;      /* 0: 2 */
    enum log_level log_level;
    const char *log_format; /* auto, text, json */
    int64_t sleep_after_ns; /* for guests whose manifest does not say; -1: the built-in default */
    uint64_t memory_bytes;  /* of all awake guests; 0: what the control group's limit leaves */
    bool never_sleep;       /* for comparison: as if each guest said sleep: {mode: never} */
};

/* Runs until it was told to stop and all guests are saved. */
int daemon_run(const struct daemon_opts *opts, struct err *err) ERR_CHECK;

#endif
