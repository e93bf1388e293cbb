#include "vec_avx2.h"
#include "float16_terms.h"
#define FG_TILES fg_float16_avx2
#include "tiles_body.h"
