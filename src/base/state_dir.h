/* The state directory: one process at a time, nobody else's business.
 *
 * What lies in it survives the daemon, but is not synced all the time. So after the machine itself
 * went down, which the kernel's boot id tells, what is in it must be checked before it is believed:
 * each record says in which boot that was done last (guest/record.c).
 */
#ifndef ROOST_BASE_STATE_DIR_H
#define ROOST_BASE_STATE_DIR_H

#include "base/err.h"

#include <stdint.h>

#define STATE_PATH_MAX 4096

struct state_dir;

/* Opens the directory, which is created (0700) if only its last part is missing, and locks it until
 * state_dir_close or the end of the process, however that comes. Blocks for disk I/O.
 * ERR_EXISTS: another process uses it (named). ERR_DENIED: it belongs to somebody else, or others
 * may enter it; the message says what to do. ERR_NOT_FOUND: its parent is missing. ERR_IO. */
int state_dir_open(struct state_dir **out, const char *path, struct err *err) ERR_CHECK;
/* Releases it. NULL is fine. */
void state_dir_close(struct state_dir *dir);

/* Its absolute path. Lives as long as dir. */
const char *state_dir_path(const struct state_dir *dir);
/* The absolute path of a file in it, in out. ERR_LIMIT: longer than STATE_PATH_MAX. */
int state_dir_file(const struct state_dir *dir, const char *name, char out[STATE_PATH_MAX],
                   struct err *err) ERR_CHECK;

/* The machine's present boot; 0: the kernel does not say. Another one means that the machine went
 * down in between, and what was not synced may be gone. */
uint64_t state_dir_boot(void);

#endif
