#include "vec_avx512.h"
#include "float16_terms.h"
#define FG_TILES fg_float16_avx512
#include "tiles_body.h"
