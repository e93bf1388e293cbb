#include "vec_avx512.h"
#include "bfloat16_terms.h"
#define FG_TILES fg_bfloat16_avx512
#include "tiles_body.h"
