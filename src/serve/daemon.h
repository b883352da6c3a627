/* The daemon: everything put together, from start to clean end.
 *
 * Start: state directory (locked), database, arena, engine, guests' records; then the API server,
 * manifests, images (compiled by roost-compile where they are missing), watches; the admin socket
 * answers from the first moment. SIGTERM or SIGINT: no new events, events in hand are finished,
 * every guest is saved, the database is synced; a second signal ends at once. SIGHUP: the options
 * are read again, and those that can change do.
 */
#ifndef ROOST_SERVE_DAEMON_H
#define ROOST_SERVE_DAEMON_H

#include "base/err.h"
#include "serve/options.h"

/* Runs until it was told to stop and all guests are saved. Takes what opts holds (it is empty
 * afterwards); source, which opts was loaded from, is read again at each SIGHUP and borrowed until
 * return. */
int daemon_run(struct daemon_opts *opts, const struct options_source *source, struct err *err)
    ERR_CHECK;

/* What a start would look at before anything else: the files that options name, for --check-config.
 */
int daemon_check(const struct daemon_opts *opts, struct err *err) ERR_CHECK;

#endif
