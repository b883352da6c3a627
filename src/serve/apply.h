/* One POST /v1/apply: {"dryRun", "files": [{"name", "text", "modules": {WRITTEN: "sha256:HEX"}}]}.
 *
 * Everything is read and checked on another thread first. If anything is wrong nothing is done, and
 * the answer (422) names every mistake with file, line and field. Else the manifests are written to
 * the database, and once that is on disk they are carried out, a few in each turn of the loop, and
 * answered: what was created, configured or unchanged.
 */
#ifndef ROOST_SERVE_APPLY_H
#define ROOST_SERVE_APPLY_H

#include "base/http1.h"
#include "serve/deploy.h"

/* Takes what is in body. The answer goes to res, now or later. Loop thread. */
void apply_begin(struct deploy *d, struct buf *body, struct http1_response *res);

/* For the fuzzer: reads and checks a body; the number of mistakes, -1 where it is no such request.
 * state_dir: where modules would be. */
int apply_check(const char *body, size_t len, const char *state_dir);

#endif
