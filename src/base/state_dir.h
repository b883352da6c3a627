/* The state directory: one process at a time, nobody else's business, and whether the machine went
 * down since it was last whole.
 *
 * What lies in it survives the daemon, but is not synced all the time. So after the machine itself
 * went down, which the kernel's boot id tells, what is in it must be checked before it is believed.
 * The directory then counts as unchecked, also for later starts, until state_dir_checked is called.
 */
#ifndef ROOST_BASE_STATE_DIR_H
#define ROOST_BASE_STATE_DIR_H

#include "base/err.h"

#include <stdbool.h>

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

/* True: the machine was up all the time since state_dir_checked (or the directory is new), so what
 * was written is what is read. Stays as it is until the next state_dir_open. */
bool state_dir_same_boot(const struct state_dir *dir);
/* All that was there before this boot has been checked or thrown away: later starts in this boot
 * may believe the rest. ERR_IO: not noted, and they will check again. */
int state_dir_checked(struct state_dir *dir, struct err *err) ERR_CHECK;

#endif
