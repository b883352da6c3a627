/* The parts of roost-compile, private to it (engine/compile_*.c). */
#ifndef ROOST_ENGINE_COMPILE_PARTS_H
#define ROOST_ENGINE_COMPILE_PARTS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct compile_args {
    const char *in, *out;  /* out is NULL with --check */
    const char *sha256;    /* hex digits that the module must have, or NULL */
    uint64_t memory_bytes; /* of this process */
    uint32_t cpu_s;
    bool check;
};

/* Limits this process and takes from it what it does not need (network, new privileges, inherited
 * files). ERR_IO where a limit cannot be set. Before anything foreign is read. */
int compile_confine(const struct compile_args *args, struct err *err) ERR_CHECK;

/* From here on a crash, an abort (Rust's way to say that memory is short, or that it has a bug) or
 * the end of the CPU time is one line on stderr and an exit status as for any other error. What
 * libraries print goes to nobody but that line. file is named in it; borrowed for ever. */
int compile_guard(const struct compile_args *args, struct err *err) ERR_CHECK;
/* The file descriptor that is the real stderr: 2 before compile_guard. */
int compile_stderr(void);

/* Reads, rewrites and compiles args->in and writes args->out; with args->check it validates instead
 * and prints what it found as JSON on stdout. */
int compile_run(const struct compile_args *args, struct err *err) ERR_CHECK;

#endif
