/* The parts of roost-compile, private to it (engine/compile_*.c).
 *
 * Two processes. The first (compile_files.c) opens the module and starts the second, which takes
 * from itself all that a compiler does not need (compile_confine.c), reads the module from its
 * stdin, and writes the image into a pipe (compile_run.c). The first puts what comes into a file.
 * So the process that looks at foreign bytes has no file but its input and output, not even a name
 * of one.
 */
#ifndef ROOST_ENGINE_COMPILE_PARTS_H
#define ROOST_ENGINE_COMPILE_PARTS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct compile_args {
    const char *in, *out;  /* out is NULL with --check */
    uint64_t in_bytes;     /* of the module, which is COMPILE_FD_IN */
    const char *sha256;    /* hex digits that the module must have, or NULL */
    uint64_t memory_bytes; /* of this process */
    uint32_t cpu_s;
    bool check;
};

/* Where the second process has its module, and where its image goes. */
enum { COMPILE_FD_IN = 0, COMPILE_FD_OUT = 3 };

/* The first process's work, from opening the module to the image in its place: whole or absent.
 * Returns the exit status; what was wrong is one line on stderr. */
int compile_in_child(struct compile_args *args);

/* Limits this process (memory, CPU time, sizes, open files) and takes from it all that it does not
 * need: the network, new privileges, and every file but stdin, stdout, stderr and, unless args->out
 * is NULL, COMPILE_FD_OUT. ERR_IO where a limit cannot be set. */
int compile_confine(const struct compile_args *args, struct err *err) ERR_CHECK;
/* Leaves this process nothing but computing, memory, and reading and writing what is open: every
 * other system call is EPERM from here on. The last step, after compile_guard. ERR_UNSUPPORTED: the
 * kernel has no seccomp. */
int compile_seal(struct err *err) ERR_CHECK;

/* From here on a crash, an abort (Rust's way to say that memory is short, or that it has a bug) or
 * the end of the CPU time is one line on stderr and an exit status as for any other error. What
 * libraries print goes to nobody but that line. file is named in it; borrowed for ever. */
int compile_guard(const struct compile_args *args, struct err *err) ERR_CHECK;
/* The file descriptor that is the real stderr: 2 before compile_guard. */
int compile_stderr(void);

/* Reads, rewrites and compiles the module and writes its image; with args->check it validates
 * instead and prints what it found as JSON on stdout. The second process's. */
int compile_run(const struct compile_args *args, struct err *err) ERR_CHECK;

#endif
