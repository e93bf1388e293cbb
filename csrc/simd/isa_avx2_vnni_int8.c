/* Dot products of AVX-VNNI; isa_avx2_vnni_evex_int8.c has those of AVX-512. */
#include "ints_avx2.h"
#include "int8_fours.h"
#include "int8_terms.h"
#define FG_TILES fg_int8_avx2_vnni
#include "tiles_body.h"
