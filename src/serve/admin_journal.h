/* /v1/logs and /v1/events: the journal of guests, as a stream of one JSON object a line. */
#ifndef ROOST_SERVE_ADMIN_JOURNAL_H
#define ROOST_SERVE_ADMIN_JOURNAL_H

#include "guest/journal.h"
#include "serve/admin_route.h"

/* The parameters that both know. */
#define ADMIN_JOURNAL_QUERY "namespace name since tail follow"

/* Answers with what is there, and, with follow, with what comes from then on. Loop thread. The
 * streams end before the journal is freed. */
void admin_logs(struct journal *j, const struct admin_call *call);
void admin_events(struct journal *j, const struct admin_call *call);

#endif
