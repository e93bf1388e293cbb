#include "vec_scalar.h"
#include "float16_terms.h"
#define FG_TILES fg_float16_scalar
#include "tiles_body.h"
