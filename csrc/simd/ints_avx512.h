/* The names for whole numbers over sixteen lanes with AVX-512 F, VL, DQ and BW. What each one means stands in
 * ints_scalar.h. */
#ifndef FG_INTS_H
#define FG_INTS_H

#include "vec_avx512.h"

typedef __m512i ivec;

static inline ivec iv_zero(void)
{
    return _mm512_setzero_si512();
}
static inline ivec iv_load(const void *p)
{
    return _mm512_load_si512(p);
}
/* The same, once and in an instruction of its own: GCC 12 would rather load a weight anew for every row. */
static inline ivec iv_load_once(const void *p)
{
    ivec a;
    __asm__("vmovdqa64 %1, %0" : "=v"(a) : "m"(*(const __m512i *)p));
    return a;
}
static inline void iv_store(void *p, ivec a)
{
    _mm512_store_si512(p, a);
}
static inline ivec iv_set(int32_t a)
{
    return _mm512_set1_epi32(a);
}

static inline ivec iv_add(ivec a, ivec b)
{
    return _mm512_add_epi32(a, b);
}
static inline ivec iv_times_256(ivec a)
{
    return _mm512_slli_epi32(a, 8);
}
static inline ivec iv_even(ivec w)
{
    return _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8);
}
static inline ivec iv_odd(ivec w)
{
    return _mm512_srai_epi16(w, 8);
}
static inline ivec iv_upper(ivec a)
{
    return _mm512_and_si512(a, _mm512_set1_epi32((int32_t)0xff00ff00));
}
static inline ivec iv_pairs(ivec a, ivec b)
{
    return _mm512_madd_epi16(a, b);
}
static inline ivec iv_add_pairs(ivec sum, const ivec *a, const ivec *b)
{
    const ivec products = iv_add(iv_pairs(a[0], b[0]), iv_pairs(a[1], b[1]));
    __asm__("vpaddd %1, %0, %0" : "+v"(sum) : "v"(products)); /* as below */
    return sum;
}
#ifdef __AVX512VNNI__
static inline ivec iv_add_fours(ivec sum, ivec a, ivec b)
{
    /* not the intrinsic: GCC 12 copies its sums from register to register in every turn of a loop */
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "vm"(b));
    return sum;
}
#endif

static inline vec iv_float(ivec a)
{
    return _mm512_cvtepi32_ps(a);
}
static inline ivec iv_round(vec a)
{
    return _mm512_cvtps_epi32(a);
}
static inline ivec iv_magnitude(ivec most, vec a)
{
    return _mm512_max_epi32(most, _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff)));
}
static inline float iv_largest(ivec magnitudes)
{
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(magnitudes))));
}

static inline void iv_store_pairs(char *row, int64_t k, ivec a)
{
    const __m256i swap =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    _mm256_store_si256((__m256i *)(row + 2 * k), _mm256_shuffle_epi8(_mm512_cvtepi32_epi16(a), swap));
}
static inline void iv_store_halves(char *row, int64_t k, ivec a)
{
    const __m256i part =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14));
    _mm256_store_si256((__m256i *)(row + 2 * k), _mm256_shuffle_epi8(_mm512_cvtepi32_epi16(a), part));
}
static inline void iv_store_bytes(char *row, int64_t k, ivec a)
{
    _mm_store_si128((__m128i *)(row + k), _mm512_cvtepi32_epi8(a));
}

#endif
