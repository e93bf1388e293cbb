/* The vector names of AVX-512, and those of pairs of bfloat16 that AVX512_BF16 multiplies. */
#ifndef FG_VEC_PAIRS_H
#define FG_VEC_PAIRS_H

#include "vec_avx512.h"

/* A pair of bfloat16 in each lane. */
typedef __m512bh vec_pairs;

static inline vec_pairs v_set_pair(int32_t pair)
{
    return (vec_pairs)_mm512_set1_epi32(pair);
}
static inline vec_pairs v_load_pairs(const void *p)
{
    return (vec_pairs)_mm512_load_si512(p);
}
/* c plus both products of a pair. */
static inline vec v_dot_pairs(vec_pairs a, vec_pairs b, vec c)
{
    return _mm512_dpbf16_ps(c, a, b);
}
/* The floats of `low`, then those of `high`, to the nearest bfloat16, ties to even; denormals become zero, NaN stays.
 */
static inline void v_store_bfloat16(void *p, vec low, vec high)
{
    _mm512_store_si512(p, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}
/* The same of the first n floats of `low` alone, 1 to 16, and zeros behind them. */
static inline void v_store_half_bfloat16(void *p, vec low, int64_t n)
{
    _mm256_store_si256((__m256i *)p, (__m256i)_mm512_maskz_cvtneps_pbh(v_first(n), low));
}

#endif
