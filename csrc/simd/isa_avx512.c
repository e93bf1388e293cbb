#include "vec_avx512.h"
#define FG_COMMON fg_common_avx512
#include "common_body.h"
#include "float32_terms.h"
#define FG_TILES fg_float32_avx512
#include "tiles_body.h"
