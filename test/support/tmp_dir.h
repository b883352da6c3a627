/* A directory of a test's own, removed with all that is in it. */
#ifndef ROOST_TEST_TMP_DIR_H
#define ROOST_TEST_TMP_DIR_H

#include <ftw.h>
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

static inline int tmp_remove_one(const char *path, const struct stat *st, int kind,
                                 struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

/* What is in a folder goes before it; links are not followed. */
static inline void tmp_dir_remove(struct tmp_dir *d)
{
    nftw(d->path, tmp_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
