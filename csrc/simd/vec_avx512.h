/* The vector names over sixteen floats with AVX-512 F, VL, DQ and BW. What each one means stands in vec_scalar.h. */
#ifndef FG_VEC_H
#define FG_VEC_H

#include <immintrin.h>
#include <stdint.h>

#define V_LANES 16
#define V_ROWS 8

typedef __m512 vec;
typedef __mmask16 vmask;

static inline vec v_set(float a)
{
    return _mm512_set1_ps(a);
}
static inline vec v_zero(void)
{
    return _mm512_setzero_ps();
}

static inline __mmask16 v_first(int64_t n)
{
    return (__mmask16)((1u << n) - 1u);
}

static inline vec v_load(const float *p)
{
    return _mm512_load_ps(p);
}
static inline vec v_loadu(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, vec a)
{
    _mm512_store_ps(p, a);
}
static inline void v_storeu(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}
static inline vec v_load_int8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}
static inline vec v_load_bfloat16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
static inline vec v_load_float16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
/* The same quarter of rows r, r + 4, r + 8 and r + 12. */
static inline vec v_quarters(const float *p, int64_t stride)
{
    vec a = _mm512_castps128_ps512(_mm_loadu_ps(p));
    a = _mm512_mask_broadcast_f32x4(a, 0x00f0, _mm_loadu_ps(p + 4 * stride));
    a = _mm512_mask_broadcast_f32x4(a, 0x0f00, _mm_loadu_ps(p + 8 * stride));
    return _mm512_mask_broadcast_f32x4(a, 0xf000, _mm_loadu_ps(p + 12 * stride));
}
static inline void v_load_columns(vec *columns, const float *p, int64_t stride)
{
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4, p += 4) {
        const vec a = v_quarters(p, stride), b = v_quarters(p + stride, stride);
        const vec c = v_quarters(p + 2 * stride, stride), d = v_quarters(p + 3 * stride, stride);
        const vec ab = _mm512_unpacklo_ps(a, b), cd = _mm512_unpacklo_ps(c, d);
        const vec ab_high = _mm512_unpackhi_ps(a, b), cd_high = _mm512_unpackhi_ps(c, d);
        columns[i] = _mm512_shuffle_ps(ab, cd, 0x44);
        columns[i + 1] = _mm512_shuffle_ps(ab, cd, 0xee);
        columns[i + 2] = _mm512_shuffle_ps(ab_high, cd_high, 0x44);
        columns[i + 3] = _mm512_shuffle_ps(ab_high, cd_high, 0xee);
    }
}
static inline vec v_load_or(const float *p, int64_t n, vec rest)
{
    return _mm512_mask_loadu_ps(rest, v_first(n), p);
}
static inline void v_store_n(float *p, vec a, int64_t n)
{
    _mm512_mask_storeu_ps(p, v_first(n), a);
}

static inline vec v_first_bfloat16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_load_si512(p), 16));
}
static inline vec v_second_bfloat16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_load_si512(p), _mm512_set1_epi32(-0x10000)));
}
static inline vec v_either_bfloat16(const void *p, int which)
{
    const __m512i half = _mm512_srl_epi32(_mm512_load_si512(p), _mm_cvtsi32_si128(16 * which));
    return _mm512_castsi512_ps(_mm512_slli_epi32(half, 16));
}

static inline vec v_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
static inline vec v_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
static inline vec v_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
static inline vec v_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}
static inline vec v_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vec v_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
static inline vec v_sqrt(vec a)
{
    return _mm512_sqrt_ps(a);
}
static inline vec v_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}
static inline vec v_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

static inline vec v_abs(vec a)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a);
}
static inline vec v_neg(vec a)
{
    return _mm512_xor_ps(_mm512_set1_ps(-0.0f), a);
}
static inline vec v_copysign(vec magnitude, vec sign)
{
    return _mm512_or_ps(magnitude, _mm512_and_ps(_mm512_set1_ps(-0.0f), sign));
}

static inline vmask v_lt(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline vmask v_le(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}
static inline vmask v_eq(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
static inline vmask v_unordered(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q);
}
static inline vec v_select(vmask m, vec if_true, vec if_false)
{
    return _mm512_mask_blend_ps(m, if_false, if_true);
}

static inline vec v_scale(vec a, vec n)
{
    __m512i exponent = _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23); /* NaN converts to 2^31, which shifts out */
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), exponent));
}

#define V_POW2_BIAS 12583039.0f
static inline vec v_pow2(vec m)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(m), 23));
}

#define V_SQRT_HALF 0x3f3504f3
static inline vec v_split(vec a, vec *n)
{
    __m512i base = _mm512_set1_epi32(V_SQRT_HALF);
    __m512i bits = _mm512_sub_epi32(_mm512_castps_si512(a), base);
    *n = _mm512_cvtepi32_ps(_mm512_srai_epi32(bits, 23));
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_and_si512(bits, _mm512_set1_epi32(0x007fffff)), base));
}

#endif
