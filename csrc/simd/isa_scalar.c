#include "vec_scalar.h"
#define FG_COMMON fg_common_scalar
#include "common_body.h"
#include "float32_terms.h"
#define FG_TILES fg_float32_scalar
#include "tiles_body.h"
