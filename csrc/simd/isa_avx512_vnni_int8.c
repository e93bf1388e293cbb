#include "ints_avx512.h"
#include "int8_fours.h"
#include "int8_terms.h"
#define FG_TILES fg_int8_avx512_vnni
#include "tiles_body.h"
