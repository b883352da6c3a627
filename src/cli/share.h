/* Where the SDK and what else comes with the program is: PREFIX/share/roost, or a build's. */
#ifndef ROOST_CLI_SHARE_H
#define ROOST_CLI_SHARE_H

#include "base/err.h"

#include <limits.h>
#include <stdbool.h>

/* The whole path of `what` there: $ROOST_SHARE, else beside the folder of this program, else in it
 * (a build). ERR_NOT_FOUND. */
int share_path(char out[PATH_MAX], const char *what, struct err *err) ERR_CHECK;
/* Whether `roost` is found in $PATH and is this program; out is this program's path. */
bool share_on_path(char out[PATH_MAX]);

#endif
