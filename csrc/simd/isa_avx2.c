#include "vec_avx2.h"
#define FG_COMMON fg_common_avx2
#include "common_body.h"
#include "float32_terms.h"
#define FG_TILES fg_float32_avx2
#include "tiles_body.h"
