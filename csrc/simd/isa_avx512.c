#include "vec_avx512.h"
#define FG_NAME "avx512"
#define FG_TABLE fg_kernels_avx512
#include "kernels_body.h"
