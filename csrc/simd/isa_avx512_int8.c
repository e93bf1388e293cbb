#include "ints_avx512.h"
#include "int8_pairs.h"
#include "int8_terms.h"
#define FG_TILES fg_int8_avx512
#include "tiles_body.h"
