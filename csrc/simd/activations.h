/* exp, sigmoid, tanh and every elementwise activation, over the names of a vector header.
 *
 * Coefficients come from tools/fit_activations.py. The errors are measured by tools/check_activations.py with FMA, in
 * units in the last place (ulp) of the true value, denormals flushed to zero: a result or factor below 2^-126 may be 0.
 * What has no figure here is a few exact operations.
 *
 * NaN gives NaN in every function: v_min and v_max return their second operand where one is NaN, so x stands there, and
 * what a comparison with NaN selects (the last operand) depends on x. Infinity gives what Keras' formula gives: silu,
 * gelu, gelu_tanh, mish and hard_silu end in -inf · 0 = NaN, softsign in inf / inf = NaN; squareplus alone goes on to
 * its limit. tanh_shrink is x − tanh x as in Keras: near 0 it cancels, its error is 1.5e-7 · max(1, |y|).
 */
#ifndef FG_ACTIVATIONS_H
#define FG_ACTIVATIONS_H

#include <math.h>

#include "../fastgru.h"

#define LOG2_E 1.44269504f
#define LN_2 0.693147181f
#define LN_2_HIGH 0.693145752f  /* 15 bits: times any exponent it is exact */
#define LN_2_LOW 1.42860677e-6f /* ln 2 − LN_2_HIGH */

/* w·(e^r − 1 − r) / h² for r = u·h, |r| ≤ 0.3469. With it e^r − 1 = r + (u·h)²·P(r), relative error 1.4e-8. The scales
 * u and w are constants, powers of two up to sign: they melt into the coefficients and cost neither time nor bits. */
static inline vec v_exp_tail(vec h, const float u, const float w)
{
    vec p = v_set(1.38394127e-3f * w * u * u * u * u * u * u);
    p = v_fma(p, h, v_set(8.36705696e-3f * w * u * u * u * u * u));
    p = v_fma(p, h, v_set(4.16677445e-2f * w * u * u * u * u));
    p = v_fma(p, h, v_set(1.66665390e-1f * w * u * u * u));
    return v_fma(p, h, v_set(4.99999970e-1f * w * u * u));
}

/* 1 / (1 + e^-x). e^-x = 2^n · e^r, n = round(-x / ln 2), r = -x − n ln 2 in two steps, as n reaches 127. The clamps
 * keep n there; past them the result is 0 (flushed) and 1. e^r − 1 is scaled, not e^r, which saves a rounding. Error:
 * 1.9991 ulp over all floats, at -3.4e-4; 1 + s e^r (two roundings) and the division make it up. 16 operations. */
static inline vec v_sigmoid(vec x)
{
    x = v_min(v_set(88.0f), v_max(v_set(-88.37f), x));
    const vec m = v_fnma(x, v_set(LOG2_E), v_set(V_POW2_BIAS));
    const vec n = v_sub(m, v_set(V_POW2_BIAS));
    const vec h = v_fma(n, v_set(LN_2_LOW), v_fma(n, v_set(LN_2_HIGH), x));     /* -r */
    const vec e = v_mul(h, v_fma(h, v_exp_tail(h, -1.0f, 1.0f), v_set(-1.0f))); /* e^r − 1 */
    const vec s = v_pow2(m);
    return v_div(v_set(1.0f), v_add(v_fma(s, e, v_set(1.0f)), s));
}

/* With t = (1 − e^-2|x|) / 2: tanh|x| = t / (1 − t), without cancellation at 0. e^-2|x| = s · e^r, s = 2^n; ln 2 in
 * one step, since n's error is damped by s. 1 − t comes from s and r itself: taken from the rounded t it would cost
 * half an ulp more. From 9.02 on the result is exactly 1. Error: 1.93 ulp over all floats, at 0.517; the roundings of
 * t and 1 − t and the division make it up. 19 operations. */
static inline vec v_tanh(vec x)
{
    const vec a = v_min(v_set(10.0f), v_abs(x));
    const vec m = v_fnma(a, v_set(2.0f * LOG2_E), v_set(V_POW2_BIAS));
    const vec n = v_sub(m, v_set(V_POW2_BIAS));
    const vec h = v_fma(n, v_set(0.5f * LN_2), a); /* -r / 2 */
    const vec s = v_pow2(m);
    const vec t0 = v_fma(v_mul(h, h), v_exp_tail(h, -2.0f, -0.5f), h); /* (1 − e^r) / 2 */
    const vec t = v_fma(s, t0, v_fma(s, v_set(-0.5f), v_set(0.5f)));
    const vec u = v_fnma(s, t0, v_fma(s, v_set(0.5f), v_set(0.5f)));
    return v_copysign(v_div(t, u), x);
}

/* e^x: 0 below ln 2^-126, infinity above ln FLT_MAX. Error: 0.88 ulp. */
static inline vec v_exp(vec x)
{
    const vec n = v_sub(v_fma(x, v_set(LOG2_E), v_set(V_POW2_BIAS)), v_set(V_POW2_BIAS));
    const vec r = v_fnma(n, v_set(LN_2_LOW), v_fnma(n, v_set(LN_2_HIGH), x));
    const vec e = v_fma(r, v_fma(r, v_exp_tail(r, 1.0f, 1.0f), v_set(1.0f)), v_set(1.0f));
    const vec y = v_select(v_lt(x, v_set(-87.3365f)), v_zero(), v_scale(e, n));
    return v_select(v_lt(v_set(88.72283f), x), v_set(INFINITY), y);
}

/* e^x − 1 for x ≤ 88; above, its value at 88. Error: 0.93 ulp for x ≤ 0, 1.51 above. */
static inline vec v_expm1(vec x)
{
    x = v_min(v_set(88.0f), v_max(v_set(-30.0f), x));
    const vec m = v_fma(x, v_set(LOG2_E), v_set(V_POW2_BIAS));
    const vec n = v_sub(m, v_set(V_POW2_BIAS));
    const vec r = v_fnma(n, v_set(LN_2_LOW), v_fnma(n, v_set(LN_2_HIGH), x));
    const vec s = v_pow2(m);
    const vec t = v_fma(v_mul(r, r), v_exp_tail(r, 1.0f, 1.0f), r);
    return v_fma(s, t, v_sub(s, v_set(1.0f)));
}

/* log(1 + f) for sqrt(1/2) ≤ 1 + f ≤ sqrt(2), relative error of the polynomial 1.9e-8. */
static inline vec v_log_near_1(vec f)
{
    vec p = v_set(-7.34816343e-2f);
    p = v_fma(p, f, v_set(1.28102452e-1f));
    p = v_fma(p, f, v_set(-1.32870853e-1f));
    p = v_fma(p, f, v_set(1.41961887e-1f));
    p = v_fma(p, f, v_set(-1.66066468e-1f));
    p = v_fma(p, f, v_set(2.00012013e-1f));
    p = v_fma(p, f, v_set(-2.50016391e-1f));
    p = v_fma(p, f, v_set(3.33333373e-1f));
    p = v_fma(p, f, v_set(-4.99999881e-1f));
    return v_fma(v_mul(f, f), p, f);
}

/* log x for a positive, normal x: what log_softmax needs. Error: 0.92 ulp. */
static inline vec v_log_normal(vec x)
{
    vec n;
    const vec s = v_split(x, &n);
    return v_fma(n, v_set(LN_2), v_log_near_1(v_sub(s, v_set(1.0f))));
}

/* log x: -infinity at 0, which a denormal is, NaN below. Error: 0.92 ulp. */
static inline vec v_log(vec x)
{
    const vec special = v_select(v_eq(x, v_zero()), v_set(-INFINITY), v_set(NAN));
    const vec y = v_select(v_lt(v_zero(), x), v_log_normal(x), special);
    return v_select(v_eq(x, v_set(INFINITY)), x, y);
}

/* log(1 + e) for 0 ≤ e ≤ 1: past sqrt(2) the argument is halved. Error: 1.54 ulp. */
static inline vec v_log1p_unit(vec e)
{
    const vmask halve = v_lt(v_set(0.414213562f), e);
    const vec f = v_select(halve, v_fma(e, v_set(0.5f), v_set(-0.5f)), e);
    return v_add(v_log_near_1(f), v_select(halve, v_set(LN_2), v_zero()));
}

/* log(1 + x) = log u + c for u = 1 + x rounded, of which c = (x − (u − 1)) / u makes up the rounding. Error: 1.66 ulp.
 */
static inline vec v_log1p(vec x)
{
    const vec one = v_set(1.0f), u = v_add(one, x);
    const vec c = v_div(v_sub(x, v_sub(u, one)), u);
    const vec log = v_log(u);
    return v_select(v_lt(v_abs(log), v_set(INFINITY)), v_add(log, c), log);
}

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|). Error: 1.85 ulp. */
static inline vec v_softplus(vec x)
{
    return v_add(v_max(v_zero(), x), v_log1p_unit(v_exp(v_neg(v_abs(x)))));
}

/* x Φ(x). With a = |x|: Φ(-a) = e^(-a²/2) · t · P(1 − t), t = 1 / (1 + 0.3 a), relative error of P 4.3e-9 for a ≤ 14.
 * The rounding of a² is made up for: in the negative tail it would cost a²/2 units. Error: 7.7 ulp in the tail, 5.2
 * for x > 0 (1.2e-7 of y); the rounding of P dominates. */
static inline vec v_gelu(vec x)
{
    const vec a = v_min(v_set(14.0f), v_abs(x));
    const vec t = v_div(v_set(1.0f), v_fma(a, v_set(0.3f), v_set(1.0f)));
    const vec u = v_sub(v_set(1.0f), t);
    vec p = v_set(0.0207574107f);
    p = v_fma(p, u, v_set(-0.0735727996f));
    p = v_fma(p, u, v_set(0.0716225132f));
    p = v_fma(p, u, v_set(0.00989229418f));
    p = v_fma(p, u, v_set(0.0233884677f));
    p = v_fma(p, u, v_set(-0.139710099f));
    p = v_fma(p, u, v_set(-0.0810297206f));
    p = v_fma(p, u, v_set(0.618146777f));
    p = v_fma(p, u, v_set(-0.829807281f));
    p = v_fma(p, u, v_set(0.5f));
    p = v_mul(p, t);
    const vec square = v_mul(a, a);
    const vec rest = v_fma(a, a, v_neg(square));
    const vec e = v_exp(v_mul(square, v_set(-0.5f)));
    const vec below = v_mul(e, v_fma(v_mul(rest, v_set(-0.5f)), p, p)); /* Φ(-a) */
    return v_mul(x, v_select(v_lt(v_zero(), x), v_sub(v_set(1.0f), below), below));
}

/* x (1 + tanh u) / 2 with u = sqrt(2/π) (x + 0.044715 x³) is x sigmoid(2u): no cancellation where x < 0. Error: 2.7
 * ulp for x > -1; below, 2u is rounded and costs |2u| units: 1.7e-7 · max(1, |y|) at most. */
static inline vec v_gelu_tanh(vec x)
{
    const vec slope = v_fma(v_mul(x, x), v_set(0.0713548163f), v_set(1.59576912f));
    return v_mul(x, v_sigmoid(v_mul(x, slope)));
}

/* x tanh(softplus x) = x (e² + 2e) / (e² + 2e + 2) with e = e^x; from 20 on the fraction is 1. Error: 4.0 ulp. */
static inline vec v_mish(vec x)
{
    const vec e = v_exp(v_min(v_set(20.0f), x));
    const vec a = v_mul(e, v_add(e, v_set(2.0f)));
    return v_mul(x, v_div(a, v_add(a, v_set(2.0f))));
}

/* (x + sqrt(x² + b)) / 2. For x ≤ 0 as (b/4) / that of -x, without the cancellation: the limit 0 at -infinity, where
 * Keras has inf − inf. For |x| > 1e18 the root is |x|: x² might overflow. Error: 2.8 ulp. */
static inline vec v_squareplus(vec x, float b)
{
    const vec a = v_abs(x);
    const vec near = v_min(v_set(1e18f), a);
    const vec root = v_max(a, v_sqrt(v_fma(near, near, v_set(b))));
    const vec above = v_fma(root, v_set(0.5f), v_mul(a, v_set(0.5f)));
    const vec below = v_div(v_set(0.25f * b), v_max(v_set(1e-37f), above));
    return v_select(v_le(x, v_zero()), below, above);
}

/* scale · x for x ≥ 0, else alpha · (e^x − 1): elu and, with both constants in alpha, selu. Error: 1.9 ulp. */
static inline vec v_elu(vec x, float scale, float alpha)
{
    const vec below = v_mul(v_set(alpha), v_expm1(v_min(v_zero(), x)));
    return v_select(v_le(v_zero(), x), v_mul(v_set(scale), x), below);
}

static inline vec v_clamp(vec x, float low, float high)
{
    return v_min(v_set(high), v_max(v_set(low), x));
}

static inline vec v_hard_sigmoid(vec x, float slope, float offset)
{
    return v_clamp(v_fma(x, v_set(slope), v_set(offset)), 0.0f, 1.0f);
}

/* min(x if x > threshold else slope (x − threshold), max_value). Without a slope the lower branch is plain 0. */
static inline vec v_relu(vec x, float max_value, float slope, float threshold)
{
    const vec below = slope == 0.0f ? v_zero() : v_mul(v_set(slope), v_sub(x, v_set(threshold)));
    return v_min(v_set(max_value), v_select(v_le(x, v_set(threshold)), below, x));
}

/* max(x, 0) + alpha (e^(min(x, 0) / alpha) − 1) */
static inline vec v_celu(vec x, float alpha)
{
    const vec below = v_expm1(v_div(v_min(v_zero(), x), v_set(alpha)));
    return v_fma(v_set(alpha), below, v_max(v_zero(), x));
}

static inline vec v_soft_shrink(vec x, float threshold)
{
    const vec low = v_set(-threshold), high = v_set(threshold);
    const vec below = v_select(v_le(low, x), v_zero(), v_add(x, high));
    return v_select(v_le(x, high), below, v_sub(x, high));
}

/* 0 up to -1, (x + 1)² / 4 up to 1, then x */
static inline vec v_sparse_plus(vec x)
{
    const vec root = v_add(x, v_set(1.0f));
    const vec middle = v_mul(v_mul(root, root), v_set(0.25f));
    return v_select(v_le(x, v_set(-1.0f)), v_zero(), v_select(v_lt(x, v_set(1.0f)), middle, x));
}

/* erf x. With a = |x|: below 0.9 x + x·P(x²), relative error of the fit 1.4e-8; above 1 − e^(a·Q(a)), relative error
 * 1e-9, which is 1 from 4 on. Error: 0.99 ulp, at 0.933; the exponent and the last sum make it up. */
static inline vec v_erf(vec x)
{
    const vec a = v_min(v_set(4.0f), v_abs(x)), s = v_mul(a, a);
    vec p = v_set(-6.02079846e-4f);
    p = v_fma(p, s, v_set(4.99895914e-3f));
    p = v_fma(p, s, v_set(-2.67704930e-2f));
    p = v_fma(p, s, v_set(1.12819217e-1f));
    p = v_fma(p, s, v_set(-3.76125038e-1f));
    p = v_fma(p, s, v_set(1.28379151e-1f));
    vec q = v_set(-1.04295841e-5f);
    q = v_fma(q, a, v_set(3.14828969e-4f));
    q = v_fma(q, a, v_set(-3.61025077e-3f));
    q = v_fma(q, a, v_set(2.36944314e-2f));
    q = v_fma(q, a, v_set(-1.06158957e-1f));
    q = v_fma(q, a, v_set(-6.35198057e-1f));
    q = v_fma(q, a, v_set(-1.12863708f));
    const vec far = v_sub(v_set(1.0f), v_exp(v_mul(q, a)));
    return v_select(v_lt(a, v_set(0.9f)), v_fma(x, p, x), v_copysign(far, x));
}

/* 1, -1 or 0 */
static inline vec v_sign(vec x)
{
    const vec zero = v_mul(x, v_zero()); /* or NaN */
    return v_select(v_lt(v_zero(), x), v_set(1.0f), v_select(v_lt(x, v_zero()), v_set(-1.0f), zero));
}

/* To the nearest whole number, of two the even one: next to 2^23 there are no others. */
static inline vec v_round(vec x)
{
    const vec large = v_copysign(v_set(8388608.0f), x);
    const vec whole = v_copysign(v_abs(v_sub(v_add(x, large), large)), x);
    return v_select(v_lt(v_abs(x), v_set(8388608.0f)), whole, x);
}

static inline vec v_floor(vec x)
{
    const vec y = v_round(x);
    return v_select(v_lt(x, y), v_sub(y, v_set(1.0f)), y);
}

/* The elementwise functions by name; a row-wise one returns x. */
static inline vec v_activate(const fg_activation *f, vec x)
{
    const float *p = f->p;
    switch (f->function) {
    case FG_RELU: return v_relu(x, p[0], p[1], p[2]);
    case FG_SIGMOID: return v_sigmoid(x);
    case FG_TANH: return v_tanh(x);
    case FG_HARD_SIGMOID: return v_hard_sigmoid(x, p[0], p[1]);
    case FG_HARD_SILU: return v_mul(x, v_hard_sigmoid(x, 1.0f / 6.0f, 0.5f));
    case FG_HARD_TANH: return v_clamp(x, -1.0f, 1.0f);
    case FG_SOFTPLUS: return v_softplus(x);
    case FG_SOFTSIGN: return v_div(x, v_add(v_set(1.0f), v_abs(x)));
    case FG_ELU: return v_elu(x, 1.0f, p[0]);
    case FG_SELU: return v_elu(x, 1.05070099f, 1.75809934f);
    case FG_CELU: return v_celu(x, p[0]);
    case FG_GELU: return v_gelu(x);
    case FG_GELU_TANH: return v_gelu_tanh(x);
    case FG_SILU: return v_mul(x, v_sigmoid(x));
    case FG_MISH: return v_mish(x);
    case FG_EXPONENTIAL: return v_exp(x);
    case FG_LOG_SIGMOID: return v_neg(v_softplus(v_neg(x)));
    case FG_SQUAREPLUS: return v_squareplus(x, p[0]);
    case FG_SOFT_SHRINK: return v_soft_shrink(x, p[0]);
    case FG_HARD_SHRINK: return v_select(v_le(v_abs(x), v_set(p[0])), v_zero(), x);
    case FG_TANH_SHRINK: return v_sub(x, v_tanh(x));
    case FG_SPARSE_PLUS: return v_sparse_plus(x);
    case FG_SPARSE_SIGMOID: return v_hard_sigmoid(x, 0.5f, 0.5f);
    case FG_THRESHOLD: return v_select(v_le(x, v_set(p[0])), v_set(p[1]), x);
    case FG_ABS: return v_abs(x);
    case FG_NEGATIVE: return v_neg(x);
    case FG_SQUARE: return v_mul(x, x);
    case FG_SQRT: return v_sqrt(x);
    case FG_RSQRT: return v_div(v_set(1.0f), v_sqrt(x)); /* Error: 1.49 ulp. */
    case FG_RECIPROCAL: return v_div(v_set(1.0f), x);
    case FG_EXPM1: return v_select(v_lt(v_set(40.0f), x), v_exp(x), v_expm1(x));
    case FG_LOG: return v_log(x);
    case FG_LOG1P: return v_log1p(x);
    case FG_CLIP: return v_clamp(x, p[0], p[1]);
    case FG_AFFINE: return v_fma(x, v_set(p[0]), v_set(p[1]));
    case FG_SCALED_TANH: return v_mul(v_set(p[0]), v_tanh(v_mul(x, v_set(p[1])))); /* Error: 3.4 ulp. */
    case FG_ERF: return v_erf(x);
    case FG_SIGN: return v_sign(x);
    case FG_FLOOR: return v_floor(x);
    case FG_CEIL: return v_neg(v_floor(v_neg(x)));
    case FG_ROUND: return v_round(x);
    default: return x;
    }
}

#endif
