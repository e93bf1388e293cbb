/* Gates beside products that round their rows, in two thirds of the time that the functions of activations.h take.
 * Errors: of a sigmoid 8e-7, of a tanh 1.5e-6; of h' 2.5e-6 · max(1, |h|), where what r multiplies is at most 1, and
 * else 8e-7 of it more. A state that closed gates keep stays to the bit. Every line stands for several vectors side by
 * side: one alone waits for itself, 100 cycles long.
 *
 * The coefficients come from tools/fit_activations.py. NaN gives NaN. */
#ifndef FG_QUICK_GATES_H
#define FG_QUICK_GATES_H

#include "activations.h"
#include "tile.h"

/* Vectors side by side. */
#define QUICK_SIDE 4
#define EACH_QUICK _Pragma("GCC unroll 4") for (int i = 0; i < n; i++)

/* e^(factor · x) = power · part = 2^m · 2^f with m whole and |f| ≤ 1/2. 2^f = 1 + f·P(f), relative error 2.8e-6. For
 * exponents of up to 87. */
TILE void quick_exp(const int n, const vec *x, const float factor, vec *power, vec *part)
{
    const vec slope = v_set(factor * LOG2_E), bias = v_set(V_POW2_BIAS);
    vec f[QUICK_SIDE]; /* -f */
    EACH_QUICK power[i] = v_fma(x[i], slope, bias);
    EACH_QUICK f[i] = v_fnma(x[i], slope, v_sub(power[i], bias));
    EACH_QUICK power[i] = v_pow2(power[i]);
    EACH_QUICK part[i] = v_fma(v_set(9.58277658e-3f), f[i], v_set(-5.59072122e-2f));
    EACH_QUICK part[i] = v_fma(part[i], f[i], v_set(2.40241051e-1f));
    EACH_QUICK part[i] = v_fma(part[i], f[i], v_set(-6.93124115e-1f));
    EACH_QUICK part[i] = v_fma(part[i], f[i], v_set(1.0f));
}

/* e^-x, for a sigmoid of x: 1 / (1 + e^-x). Beyond the clamp that is 1e-13, or 1 to the bit. */
TILE void quick_exp_of_sigmoid(const int n, const vec *x, vec *power, vec *part)
{
    vec clamped[QUICK_SIDE];
    EACH_QUICK clamped[i] = v_clamp(x[i], -30.0f, 60.0f);
    quick_exp(n, clamped, -1.0f, power, part);
}

/* x = sigmoid x */
TILE void quick_sigmoids(const int n, vec *x)
{
    vec power[QUICK_SIDE], part[QUICK_SIDE];
    quick_exp_of_sigmoid(n, x, power, part);
    EACH_QUICK x[i] = v_div(v_set(1.0f), v_fma(power[i], part[i], v_set(1.0f)));
}

/* tanh x = over / under: ±(1 − e^-2|x|) / (1 + e^-2|x|) */
TILE void quick_tanh_parts(const int n, const vec *x, vec *over, vec *under)
{
    vec a[QUICK_SIDE], power[QUICK_SIDE], part[QUICK_SIDE];
    EACH_QUICK a[i] = v_min(v_set(30.0f), v_abs(x[i]));
    quick_exp(n, a, -2.0f, power, part);
    EACH_QUICK over[i] = v_copysign(v_fnma(power[i], part[i], v_set(1.0f)), x[i]);
    EACH_QUICK under[i] = v_fma(power[i], part[i], v_set(1.0f));
}

/* x = tanh x */
TILE void quick_tanhs(const int n, vec *x)
{
    vec over[QUICK_SIDE], under[QUICK_SIDE];
    quick_tanh_parts(n, x, over, under);
    EACH_QUICK x[i] = v_div(over[i], under[i]);
}

/* h = z·h + (1 − z)·n. sums[PANEL·i] are those of z, then come those of r and of what r multiplies. With z = 1 / (1 +
 * a) and n = over / under, h' is h + a·(over − h·under) / ((1 + a)·under): two divisions instead of three. Rounding
 * may take it 3e-7 beyond h and n. For |h| up to 1e25. */
TILE void quick_states(const int n, const vec *sums, const vec *input_n, vec *h)
{
    vec r[QUICK_SIDE], z[QUICK_SIDE], power[QUICK_SIDE], part[QUICK_SIDE], over[QUICK_SIDE], under[QUICK_SIDE];
    EACH_QUICK r[i] = sums[i * PANEL + 1];
    quick_sigmoids(n, r);
    EACH_QUICK z[i] = sums[i * PANEL];
    quick_exp_of_sigmoid(n, z, power, part);
    EACH_QUICK r[i] = v_fma(r[i], sums[i * PANEL + 2], input_n[i]);
    quick_tanh_parts(n, r, over, under);
    EACH_QUICK
    {
        const vec way = v_mul(v_mul(power[i], part[i]), v_fnma(h[i], under[i], over[i]));
        h[i] = v_add(h[i], v_div(way, v_mul(v_fma(power[i], part[i], v_set(1.0f)), under[i])));
    }
}

#endif
