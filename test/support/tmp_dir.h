/* A directory of a test's own, removed with all that is in it (files only). */
#ifndef ROOST_TEST_TMP_DIR_H
#define ROOST_TEST_TMP_DIR_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tmp_dir {
    char path[256];
    char file[512]; /* the last that tmp_file made up */
};

/* Where temporary files go: what runs the tests gives them a folder that it removes. */
static inline const char *tmp_base(void)
{
    const char *base = getenv("TMPDIR");

    return base && *base ? base : "/tmp";
}

static inline int tmp_dir_make(struct tmp_dir *d)
{
    snprintf(d->path, sizeof(d->path), "%s/roost-test-XXXXXX", tmp_base());
    return mkdtemp(d->path) ? 0 : -1;
}

static inline const char *tmp_file(struct tmp_dir *d, const char *name)
{
    snprintf(d->file, sizeof(d->file), "%s/%s", d->path, name);
    return d->file;
}

static inline void tmp_dir_remove(struct tmp_dir *d)
{
    DIR *dir = opendir(d->path);
    struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlink(tmp_file(d, e->d_name));
    if (dir)
        closedir(dir);
    rmdir(d->path);
}

#endif
