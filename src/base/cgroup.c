#include "base/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CGROUP_PATH_MAX 4096

/* "max", or a number; version 1 writes a huge number for none. */
static uint64_t read_limit(const char *path)
{
    FILE *f = fopen(path, "re");
    uint64_t limit = UINT64_MAX;
    char line[64], *end;

    if (f && fgets(line, sizeof(line), f)) {
        unsigned long long n = strtoull(line, &end, 10);

        if (end != line && n > 0 && n < (1ull << 60))
            limit = n;
    }
    if (f)
        fclose(f);
    return limit;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Of the group and of all above it. */
static uint64_t limit_up(const char *root, char *group, const char *const *files)
{
    uint64_t limit = UINT64_MAX;
    char path[2 * CGROUP_PATH_MAX];

    for (;;) {
        char *slash;

        for (size_t i = 0; files[i]; i++) {
            snprintf(path, sizeof(path), "%s%s/%s", root, group, files[i]);
            limit = least(limit, read_limit(path));
        }
        slash = strrchr(group, '/');
        if (!slash)
            return limit;
        *slash = 0;
    }
}

/* Whether one of the names between commas is "memory". */
static int has_memory(const char *names, size_t len)
{
    for (const char *p = names, *end = names + len; p < end;) {
        size_t n = strcspn(p, ",:");

        if (n == 6 && memcmp(p, "memory", 6) == 0)
            return 1;
        p += n + 1;
    }
    return 0;
}

/* "7:memory:/a/b" (version 1), "0::/a/b" (version 2). */
static uint64_t limit_of_line(char *line, const char *root)
{
    static const char *const v1[] = {"memory.limit_in_bytes", NULL};
    static const char *const v2[] = {"memory.max", "memory.high", NULL};
    char *names = strchr(line, ':'), *group = names ? strchr(names + 1, ':') : NULL;
    char under[CGROUP_PATH_MAX];

    if (!group)
        return UINT64_MAX;
    names++;
    group++;
    group[strcspn(group, "\n")] = 0;
    if (group - 1 == names)
        return limit_up(root, group, v2);
    if (!has_memory(names, (size_t)(group - 1 - names)))
        return UINT64_MAX;
    snprintf(under, sizeof(under), "%s/memory", root);
    return limit_up(under, group, v1);
}

uint64_t cgroup_memory_limit_at(const char *self, const char *root)
{
    FILE *f = fopen(self, "re");
    uint64_t limit = UINT64_MAX;
    char line[CGROUP_PATH_MAX];

    while (f && fgets(line, sizeof(line), f))
        limit = least(limit, limit_of_line(line, root));
    if (f)
        fclose(f);
    return limit;
}

uint64_t cgroup_memory_limit(void)
{
    return cgroup_memory_limit_at("/proc/self/cgroup", "/sys/fs/cgroup");
}
