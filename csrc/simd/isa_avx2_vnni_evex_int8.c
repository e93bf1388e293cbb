/* As isa_avx2_vnni_int8.c, for CPUs whose dot products of 256 bits are those of AVX-512. */
#include "ints_avx2.h"
#include "int8_fours.h"
#include "int8_terms.h"
#define FG_TILES fg_int8_avx2_vnni_evex
#include "tiles_body.h"
