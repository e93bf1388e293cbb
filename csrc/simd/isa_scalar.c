#include "vec_scalar.h"
#define FG_NAME "scalar"
#define FG_TABLE fg_kernels_scalar
#include "kernels_body.h"
