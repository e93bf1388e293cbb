#include "vec_scalar.h"
#include "bfloat16_terms.h"
#define FG_TILES fg_bfloat16_scalar
#include "tiles_body.h"
