/* The vector names over one float: the reference for what they mean, and the kernels of any machine.
 *
 * Every vec_*.h gives the same names the same meaning, bit for bit, with one exception: v_fma and v_fnma round twice
 * here and once elsewhere. Masks come from ordered comparisons: false where an operand is NaN.
 */
#ifndef FG_VEC_H
#define FG_VEC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#else
#include <math.h>
#endif

#define V_LANES 1
#define V_ROWS 4

typedef float vec;
typedef bool vmask;

static inline uint32_t v_bits(vec a)
{
    uint32_t u;
    memcpy(&u, &a, sizeof u);
    return u;
}
static inline vec v_from_bits(uint32_t u)
{
    vec a;
    memcpy(&a, &u, sizeof a);
    return a;
}

static inline vec v_set(float a)
{
    return a;
}
static inline vec v_zero(void)
{
    return 0.0f;
}

/* v_load and v_store need pointers aligned to a vector, v_loadu and v_storeu do not. */
static inline vec v_load(const float *p)
{
    return *p;
}
static inline vec v_loadu(const float *p)
{
    return *p;
}
static inline void v_store(float *p, vec a)
{
    *p = a;
}
static inline void v_storeu(float *p, vec a)
{
    *p = a;
}
/* V_LANES numbers of other types as floats, at any alignment; no value is rounded, a NaN stays one. */
static inline vec v_load_int8(const void *p)
{
    int8_t a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline vec v_load_bfloat16(const void *p)
{
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return v_from_bits((uint32_t)bits << 16);
}
static inline vec v_load_float16(const void *p)
{
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    const uint32_t sign = (uint32_t)(bits >> 15) << 31, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    if (exponent == 31)
        return v_from_bits(sign | 0x7f800000u | fraction << 13 | (fraction ? 0x400000u : 0));
    if (exponent > 0)
        return v_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    const float tiny = (float)(int32_t)fraction * 0x1p-24f; /* what is denormal there is normal here */
    return v_from_bits(sign | v_bits(tiny));
}
/* V_LANES rows of V_LANES floats, at any alignment, as columns: lane i of columns[j] is p[i · stride + j]. */
static inline void v_load_columns(vec *columns, const float *p, int64_t stride)
{
    (void)stride;
    columns[0] = *p;
}
/* The first n lanes, 0 <= n <= V_LANES: the others load as those of `rest`, and are not stored. No memory
 * past them is touched. */
static inline vec v_load_or(const float *p, int64_t n, vec rest)
{
    return n ? *p : rest;
}
static inline void v_store_n(float *p, vec a, int64_t n)
{
    if (n)
        *p = a;
}

/* V_LANES pairs of bfloat16, aligned to a vector: the first or the second of each. */
static inline vec v_first_bfloat16(const void *p)
{
    uint32_t pair;
    memcpy(&pair, p, sizeof pair);
    return v_from_bits(pair << 16);
}
static inline vec v_second_bfloat16(const void *p)
{
    uint32_t pair;
    memcpy(&pair, p, sizeof pair);
    return v_from_bits(pair & 0xffff0000u);
}
static inline vec v_either_bfloat16(const void *p, int which)
{
    uint32_t pair;
    memcpy(&pair, p, sizeof pair);
    return v_from_bits(pair >> 16 * which << 16);
}

static inline vec v_add(vec a, vec b)
{
    return a + b;
}
static inline vec v_sub(vec a, vec b)
{
    return a - b;
}
static inline vec v_mul(vec a, vec b)
{
    return a * b;
}
static inline vec v_div(vec a, vec b)
{
    return a / b;
}
static inline vec v_fma(vec a, vec b, vec c)
{
    return a * b + c;
}
static inline vec v_fnma(vec a, vec b, vec c)
{
    return c - a * b;
}
static inline vec v_sqrt(vec a)
{
#if defined(__SSE2__)
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a)));
#else
    return sqrtf(a);
#endif
}

/* Where an operand is NaN, and for two zeros, b: so v_min(limit, x) lets a NaN in x through. */
static inline vec v_min(vec a, vec b)
{
    return a < b ? a : b;
}
static inline vec v_max(vec a, vec b)
{
    return a > b ? a : b;
}

static inline vec v_abs(vec a)
{
    return v_from_bits(v_bits(a) & 0x7fffffffu);
}
static inline vec v_neg(vec a)
{
    return v_from_bits(v_bits(a) ^ 0x80000000u);
}
/* A magnitude that is not negative, with the sign of `sign`. */
static inline vec v_copysign(vec magnitude, vec sign)
{
    return v_from_bits(v_bits(magnitude) | (v_bits(sign) & 0x80000000u));
}

static inline vmask v_lt(vec a, vec b)
{
    return a < b;
}
static inline vmask v_le(vec a, vec b)
{
    return a <= b;
}
static inline vmask v_eq(vec a, vec b)
{
    return a == b;
}
static inline vmask v_unordered(vec a, vec b)
{
    return a != a || b != b;
}
static inline vec v_select(vmask m, vec if_true, vec if_false)
{
    return m ? if_true : if_false;
}

/* a · 2^n for a normal a and an integral n whose result is normal too. Two NaN give NaN. All else is undefined. */
static inline vec v_scale(vec a, vec n)
{
    int32_t exponent = v_abs(n) < 512.0f ? (int32_t)n : 0;
    return v_from_bits(v_bits(a) + ((uint32_t)exponent << 23));
}

/* 2^n, given m = n + V_POW2_BIAS with -127 <= n <= 128: m's low bits are then the exponent field. The ends give 0
 * and infinity; NaN gives anything. */
#define V_POW2_BIAS 12583039.0f /* 1.5 · 2^23 + 127 */
static inline vec v_pow2(vec m)
{
    return v_from_bits(v_bits(m) << 23);
}

/* For a positive, normal a: the s in [sqrt(1/2), sqrt(2)) and the integral n with a = s · 2^n. */
#define V_SQRT_HALF 0x3f3504f3
static inline vec v_split(vec a, vec *n)
{
    int32_t bits = (int32_t)(v_bits(a) - V_SQRT_HALF);
    *n = (vec)(bits >> 23);
    return v_from_bits((uint32_t)(bits & 0x007fffff) + V_SQRT_HALF);
}

#endif
