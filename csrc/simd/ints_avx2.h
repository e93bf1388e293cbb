/* The names for whole numbers over eight lanes with AVX2. What each one means stands in ints_scalar.h. */
#ifndef FG_INTS_H
#define FG_INTS_H

#include "vec_avx2.h"

typedef __m256i ivec;

static inline ivec iv_zero(void)
{
    return _mm256_setzero_si256();
}
static inline ivec iv_load(const void *p)
{
    return _mm256_load_si256((const __m256i *)p);
}
static inline void iv_store(void *p, ivec a)
{
    _mm256_store_si256((__m256i *)p, a);
}
static inline ivec iv_set(int32_t a)
{
    return _mm256_set1_epi32(a);
}

static inline ivec iv_add(ivec a, ivec b)
{
    return _mm256_add_epi32(a, b);
}
static inline ivec iv_times_256(ivec a)
{
    return _mm256_slli_epi32(a, 8);
}
static inline ivec iv_even(ivec w)
{
    return _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8);
}
static inline ivec iv_odd(ivec w)
{
    return _mm256_srai_epi16(w, 8);
}
static inline ivec iv_upper(ivec a)
{
    return _mm256_and_si256(a, _mm256_set1_epi32((int32_t)0xff00ff00));
}
static inline ivec iv_pairs(ivec a, ivec b)
{
    return _mm256_madd_epi16(a, b);
}
static inline ivec iv_add_pairs(ivec sum, const ivec *a, const ivec *b)
{
    const ivec products = iv_add(iv_pairs(a[0], b[0]), iv_pairs(a[1], b[1]));
    __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products)); /* see iv_add_fours in ints_avx512.h */
    return sum;
}
#define IV_SIGNED_FOURS
static inline ivec iv_over_256(ivec a)
{
    return _mm256_srai_epi32(a, 8);
}
static inline void iv_add_signed_fours(ivec *sum, const ivec *x, const void *w)
{
    ivec products;
    __asm__("vpxor %[w], %[sign], %[products]\n\t"
            "vpmaddubsw %[products], %[magnitude], %[products]\n\t"
            "vpmaddwd %[ones], %[products], %[products]\n\t"
            "vpaddd %[products], %[sum], %[sum]"
            : [sum] "+x"(*sum), [products] "=&x"(products)
            : [w] "m"(*(const ivec *)w), [magnitude] "x"(x[0]), [sign] "x"(x[1]), [ones] "x"(_mm256_set1_epi16(1)));
}
/* Of `count` numbers from number k on. */
static inline int32_t iv_negative_total(const char *row, int64_t k, int64_t count)
{
    __m128i sum = _mm_setzero_si128();
    for (int64_t i = k; i < k + count; i += 8) {
        const __m128i eight = _mm_load_si128((const __m128i *)(row + 2 * i));
        const __m128i pairs = _mm_maddubs_epi16(eight, _mm_srli_epi64(eight, 32));
        sum = _mm_sub_epi32(sum, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
    }
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e)));
}
#if defined(__AVXVNNI__)
static inline ivec iv_add_fours(ivec sum, ivec a, ivec b)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a), "xm"(b)); /* see ints_avx512.h */
    return sum;
}
#elif defined(__AVX512VNNI__)
static inline ivec iv_add_fours(ivec sum, ivec a, ivec b)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "vm"(b));
    return sum;
}
#endif

static inline vec iv_float(ivec a)
{
    return _mm256_cvtepi32_ps(a);
}
static inline ivec iv_round(vec a)
{
    return _mm256_cvtps_epi32(a);
}
static inline ivec iv_magnitude(ivec most, vec a)
{
    return _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7fffffff)));
}
static inline float iv_largest(ivec magnitudes)
{
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128(magnitudes), _mm256_extracti128_si256(magnitudes, 1));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(most));
}

/* Of each half of a vector the bytes named, which go to eight bytes each. */
static inline __m128i iv_eights(ivec a, __m128i bytes)
{
    const ivec chosen = _mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(bytes));
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(chosen, 0x08));
}
static inline void iv_store_pairs(char *row, int64_t k, ivec a)
{
    const __m128i bytes = _mm_setr_epi8(0, 1, 8, 9, 4, 5, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
    _mm_store_si128((__m128i *)(row + 2 * k), iv_eights(a, bytes));
}
static inline void iv_store_halves(char *row, int64_t k, ivec a)
{
    const __m128i bytes = _mm_setr_epi8(1, 5, 9, 13, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1);
    _mm_store_si128((__m128i *)(row + 2 * k), iv_eights(a, bytes));
}
static inline void iv_store_bytes(char *row, int64_t k, ivec a)
{
    const __m128i bytes = _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    _mm_storel_epi64((__m128i *)(row + k), _mm_shuffle_epi32(iv_eights(a, bytes), 0x08));
}
static inline void iv_store_signed(char *row, int64_t k, ivec a)
{
    const __m128i bytes = _mm_setr_epi8(0, 4, 8, 12, 3, 7, 11, 15, -1, -1, -1, -1, -1, -1, -1, -1);
    const ivec magnitude_and_sign = _mm256_blend_epi16(_mm256_abs_epi32(a), a, 0xaa);
    _mm_store_si128((__m128i *)(row + 2 * k), iv_eights(magnitude_and_sign, bytes));
}

#endif
