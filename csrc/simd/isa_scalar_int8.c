#include "ints_scalar.h"
#include "int8_pairs.h"
#include "int8_terms.h"
#define FG_TILES fg_int8_scalar
#include "tiles_body.h"
