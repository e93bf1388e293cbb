#include "vec_avx512_bf16.h"
#include "bfloat16_pairs_terms.h"
#define FG_TILES fg_bfloat16_avx512_bf16
#include "tiles_body.h"
