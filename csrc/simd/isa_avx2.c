#include "vec_avx2.h"
#define FG_NAME "avx2"
#define FG_TABLE fg_kernels_avx2
#include "kernels_body.h"
