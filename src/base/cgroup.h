/* The memory limit that this process is under: the least of its control group and those above it.
 *
 * Version 2 (memory.high, memory.max) and version 1 (memory.limit_in_bytes). At start only: reads
 * files.
 */
#ifndef ROOST_BASE_CGROUP_H
#define ROOST_BASE_CGROUP_H

#include <stdint.h>

/* In bytes; UINT64_MAX: none, or it cannot be read. */
uint64_t cgroup_memory_limit(void);
/* The same with other paths than /proc/self/cgroup and /sys/fs/cgroup, for tests. */
uint64_t cgroup_memory_limit_at(const char *self, const char *root);

#endif
