/* What this CPU can do, and the floating-point mode of a computing thread. */
#ifndef FASTGRU_CPU_H
#define FASTGRU_CPU_H

#include "kernels.h"

/* The kernel set of that name, or the best one this CPU can run where name is NULL; NULL where there is none. */
const fg_kernels *fg_kernels_find(const char *name);

/* Size of a core's private L2 in bytes (a guess of 1 MB where the system does not say). */
int64_t fg_cpu_l2_bytes(void);

/* Sets rounding to nearest, flush-to-zero and denormals-are-zero; returns what was set before, for fg_float_restore. */
unsigned fg_float_enter(void);
void fg_float_restore(unsigned before);

#endif
