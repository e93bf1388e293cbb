#include "vec_avx2.h"
#include "bfloat16_terms.h"
#define FG_TILES fg_bfloat16_avx2
#include "tiles_body.h"
