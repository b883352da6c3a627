/* How the kernel's scheduler is to treat a thread. Hints: where the kernel does not know them,
 * nothing changes, and threads that are made later do not inherit them. */
#ifndef ROOST_BASE_SCHED_H
#define ROOST_BASE_SCHED_H

/* The calling thread does little at a time, and others wait for it: once it has something to do it
 * is to have the next turn, before threads that compute. It asks for short turns in exchange
 * (SCHED_PROMPT_NS), not for more of the processor. */
void sched_prompt(void);

#endif
