/* The names for whole numbers over one lane: the reference for what they mean. Every ints_*.h gives them the same
 * meaning, bit for bit, over the lanes of its vec_*.h. A lane is a number of 32 bits, two of 16 or four of 8. */
#ifndef FG_INTS_H
#define FG_INTS_H

#include "vec_scalar.h"

typedef int32_t ivec;

static inline ivec iv_zero(void)
{
    return 0;
}
/* A vector of lanes, aligned to it. */
static inline ivec iv_load(const void *p)
{
    ivec a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline void iv_store(void *p, ivec a)
{
    memcpy(p, &a, sizeof a);
}
/* The same lane everywhere. */
static inline ivec iv_set(int32_t a)
{
    return a;
}

static inline ivec iv_add(ivec a, ivec b)
{
    return (ivec)((uint32_t)a + (uint32_t)b);
}
static inline ivec iv_times_256(ivec a)
{
    return (ivec)((uint32_t)a << 8);
}
/* Of the four bytes of a lane the first and third, or the second and fourth, as 16 bits each. */
static inline ivec iv_even(ivec w)
{
    int8_t bytes[4];
    memcpy(bytes, &w, sizeof w);
    const int16_t chosen[2] = {bytes[0], bytes[2]};
    return iv_load(chosen);
}
static inline ivec iv_odd(ivec w)
{
    int8_t bytes[4];
    memcpy(bytes, &w, sizeof w);
    const int16_t chosen[2] = {bytes[1], bytes[3]};
    return iv_load(chosen);
}
/* Each 16 bits without their lower byte. */
static inline ivec iv_upper(ivec a)
{
    return (ivec)((uint32_t)a & 0xff00ff00);
}
/* a · b of a pair of 16 bits: the sum of two products. */
static inline ivec iv_pairs(ivec a, ivec b)
{
    int16_t x[2], y[2];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    return x[0] * y[0] + x[1] * y[1];
}
/* sum + a · b of two of them. Some sets also have, of one four of bytes, iv_add_fours, where those of a have no sign,
 * and iv_add_signed_fours, where all have one: a[0] holds magnitudes and a[1] signs, 0 or -1, and of each negative one
 * its magnitude is missing from the sum; with these iv_over_256, which rounds downwards. */
static inline ivec iv_add_pairs(ivec sum, const ivec *a, const ivec *b)
{
    return sum + iv_pairs(a[0], b[0]) + iv_pairs(a[1], b[1]);
}

static inline vec iv_float(ivec a)
{
    return (float)a;
}
/* To nearest, to even; what 32 bits do not hold, and NaN, becomes a number whose lower 16 bits are zero. */
static inline ivec iv_round(vec a)
{
    const float beyond_fractions = 12582912.0f; /* 1.5 · 2^23 */
    return a >= -32768.0f && a <= 32768.0f ? (ivec)((a + beyond_fractions) - beyond_fractions) : 0;
}
/* The larger one of `most` and the bits of |a|: above those of infinity where a is NaN. */
static inline ivec iv_magnitude(ivec most, vec a)
{
    const ivec bits = (ivec)(v_bits(a) & 0x7fffffff);
    return bits > most ? bits : most;
}
/* The float whose bits are the largest lane. */
static inline float iv_largest(ivec magnitudes)
{
    return v_from_bits((uint32_t)magnitudes);
}

/* Store the lower 16 bits of lanes that stand from number k on, a multiple of the lanes. Of each four numbers the first
 * and the third stand in front, then the second and the fourth. */
static inline void iv_store_pairs(char *row, int64_t k, ivec a)
{
    static const int place[] = {0, 2, 1, 3};
    const int16_t number = (int16_t)a;
    memcpy(row + ((k & ~(int64_t)3) + place[k & 3]) * 2, &number, sizeof number);
}
/* Vector sets also have, for the lower bits of numbers:
 * iv_store_halves: the second bytes of four numbers, then their first bytes;
 * iv_store_bytes: the first byte of each number;
 * iv_store_signed: the magnitudes of four numbers, then their signs, 0 or -1; iv_negative_total sums the magnitudes of
 * the negative ones. */

#endif
