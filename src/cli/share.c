/* What is installed beside the program, and where it is in a build: there CMake leaves links in
 * BUILD/share/roost, so that both look alike from here. */
#include "cli/share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder that this program is in. */
static int program_dir(char out[PATH_MAX], struct err *err)
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    char *slash;

    if (n < 0)
        return err_set(err, ERR_IO, errno, "/proc/self/exe");
    out[n] = 0;
    slash = strrchr(out, '/');
    if (slash)
        *slash = 0;
    return 0;
}

int share_path(char out[PATH_MAX], const char *what, struct err *err)
{
    const char *given = getenv("ROOST_SHARE");
    const char *const below[] = {"/../share/roost", "/share/roost"};
    char dir[PATH_MAX], path[PATH_MAX + 64];

    if (given && *given) {
        snprintf(path, sizeof(path), "%s/%s", given, what);
        if (realpath(path, out))
            return 0;
        return err_set(err, ERR_NOT_FOUND, errno, "$ROOST_SHARE: %s", path);
    }
    if (program_dir(dir, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++) {
        snprintf(path, sizeof(path), "%.*s%s/%s", PATH_MAX - 1, dir, below[i], what);
        if (realpath(path, out))
            return 0;
    }
    return err_set(err, ERR_NOT_FOUND, 0,
                   "there is no %s in %s/../share/roost (ROOST_SHARE says where it is)", what, dir);
}

bool share_on_path(char out[PATH_MAX])
{
    char self[PATH_MAX], found[PATH_MAX], dir[PATH_MAX];
    const char *path = getenv("PATH");

    if (!realpath("/proc/self/exe", self))
        return false;
    snprintf(out, PATH_MAX, "%s", self);
    for (const char *p = path ? path : ""; *p;) {
        size_t n = strcspn(p, ":");

        if (n && n + sizeof("/roost") <= sizeof(dir)) {
            snprintf(dir, sizeof(dir), "%.*s/roost", (int)n, p);
            if (access(dir, X_OK) == 0)
                return realpath(dir, found) && strcmp(found, self) == 0;
        }
        p += n + (p[n] == ':');
    }
    return false;
}
