/* The vector names over eight floats with AVX2, FMA and F16C. What each one means stands in vec_scalar.h. */
#ifndef FG_VEC_H
#define FG_VEC_H

#include <immintrin.h>
#include <stdint.h>

#define V_LANES 8
#define V_ROWS 4

typedef __m256 vec;
typedef __m256 vmask; /* all ones or all zeros in each lane */

static inline vec v_set(float a)
{
    return _mm256_set1_ps(a);
}
static inline vec v_zero(void)
{
    return _mm256_setzero_ps();
}

static inline __m256i v_first(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vec v_load(const float *p)
{
    return _mm256_load_ps(p);
}
static inline vec v_loadu(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void v_store(float *p, vec a)
{
    _mm256_store_ps(p, a);
}
static inline void v_storeu(float *p, vec a)
{
    _mm256_storeu_ps(p, a);
}
static inline vec v_load_int8(const void *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
}
static inline vec v_load_bfloat16(const void *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
static inline vec v_load_float16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}
/* The same half of rows r and r + 4. */
static inline vec v_halves(const float *p, int64_t stride)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * stride), 1);
}
static inline void v_load_columns(vec *columns, const float *p, int64_t stride)
{
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4, p += 4) {
        const vec a = v_halves(p, stride), b = v_halves(p + stride, stride);
        const vec c = v_halves(p + 2 * stride, stride), d = v_halves(p + 3 * stride, stride);
        const vec ab = _mm256_unpacklo_ps(a, b), cd = _mm256_unpacklo_ps(c, d);
        const vec ab_high = _mm256_unpackhi_ps(a, b), cd_high = _mm256_unpackhi_ps(c, d);
        columns[i] = _mm256_shuffle_ps(ab, cd, 0x44);
        columns[i + 1] = _mm256_shuffle_ps(ab, cd, 0xee);
        columns[i + 2] = _mm256_shuffle_ps(ab_high, cd_high, 0x44);
        columns[i + 3] = _mm256_shuffle_ps(ab_high, cd_high, 0xee);
    }
}
static inline vec v_load_or(const float *p, int64_t n, vec rest)
{
    return _mm256_blendv_ps(rest, _mm256_maskload_ps(p, v_first(n)), _mm256_castsi256_ps(v_first(n)));
}
static inline void v_store_n(float *p, vec a, int64_t n)
{
    _mm256_maskstore_ps(p, v_first(n), a);
}

static inline vec v_first_bfloat16(const void *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_load_si256(p), 16));
}
static inline vec v_second_bfloat16(const void *p)
{
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_load_si256(p), _mm256_set1_epi32(-0x10000)));
}
static inline vec v_either_bfloat16(const void *p, int which)
{
    const __m256i half = _mm256_srl_epi32(_mm256_load_si256(p), _mm_cvtsi32_si128(16 * which));
    return _mm256_castsi256_ps(_mm256_slli_epi32(half, 16));
}

static inline vec v_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
static inline vec v_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}
static inline vec v_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}
static inline vec v_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}
static inline vec v_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vec v_fnma(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
static inline vec v_sqrt(vec a)
{
    return _mm256_sqrt_ps(a);
}
static inline vec v_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}
static inline vec v_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

static inline vec v_abs(vec a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vec v_neg(vec a)
{
    return _mm256_xor_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vec v_copysign(vec magnitude, vec sign)
{
    return _mm256_or_ps(magnitude, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign));
}

static inline vmask v_lt(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
static inline vmask v_le(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_LE_OQ);
}
static inline vmask v_eq(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}
static inline vmask v_unordered(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_UNORD_Q);
}
static inline vec v_select(vmask m, vec if_true, vec if_false)
{
    return _mm256_blendv_ps(if_false, if_true, m);
}

static inline vec v_scale(vec a, vec n)
{
    __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23); /* NaN converts to 2^31, which shifts out */
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent));
}

#define V_POW2_BIAS 12583039.0f
static inline vec v_pow2(vec m)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(m), 23));
}

#define V_SQRT_HALF 0x3f3504f3
static inline vec v_split(vec a, vec *n)
{
    __m256i base = _mm256_set1_epi32(V_SQRT_HALF);
    __m256i bits = _mm256_sub_epi32(_mm256_castps_si256(a), base);
    *n = _mm256_cvtepi32_ps(_mm256_srai_epi32(bits, 23));
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x007fffff)), base));
}

#endif
