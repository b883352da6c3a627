/* Calls out of the program that tests make fail: of our own code allocations (SEAM_ALLOC), mappings
 * and what is asked of them (SEAM_MAP), reads of files (SEAM_READ), beside the seam `struct disk`;
 * LMDB's I/O (SEAM_DB); libuv's sockets (SEAM_NET).
 *
 * The programs of test/fault link copies of our libraries and of LMDB's in which the names of these
 * functions are others (objcopy, test/CMakeLists.txt): malloc is seam_malloc there, defined in
 * seam.c, which counts, fails the one with the number that was asked for (and with `sticky` all
 * later ones), or passes on. So no code of ours is built differently for it.
 *
 * What is not failed: allocations made inside other libraries. Wasmtime's and Rust's end the
 * process when there is no memory, libuv's, OpenSSL's and nghttp2's are theirs to test; the daemon
 * meets their errors as results of their functions.
 */
#ifndef ROOST_TEST_FAULT_SEAM_H
#define ROOST_TEST_FAULT_SEAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum seam_kind { SEAM_ALLOC, SEAM_MAP, SEAM_READ, SEAM_DB, SEAM_NET, SEAM_KINDS };

/* From now on: the nth call of that kind fails with sys; what has fired is 0 again. */
void seam_arm(enum seam_kind kind, unsigned nth, bool sticky, int sys);
void seam_disarm(void);
/* Allocations of other threads than this one do not fail, nor count: a server of the test's. */
void seam_here_only(void);
/* How many calls were failed since seam_arm; how many there were. */
unsigned seam_fired(enum seam_kind kind);
unsigned seam_calls(enum seam_kind kind);

/* LMDB's writes, as they are about to happen; NULL: nobody wants to know. `done` comes after. */
enum seam_op { SEAM_WRITE, SEAM_SYNC, SEAM_RENAME };
struct seam_watch {
    void (*before)(enum seam_op op, int fd, size_t len, off_t offset);
    void (*after)(enum seam_op op, int fd);
};
extern struct seam_watch seam_watch;

#endif
